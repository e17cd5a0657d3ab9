//! The keys of a vault, and how they are replaced.
//!
//! The card has the first, and each rotation adds a numbered document beside it; the newest counts, and nothing is
//! overwritten. What was written before stays as it is and opens with the old secret halves, which the key file keeps. The
//! keys that name chunks and sign documents stay the same and are sealed anew; so whoever has an old workers' key and once
//! read the card still has those two.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use fermata_core::FORMAT;
use fermata_core::names::Tenant;
use jiff::Timestamp;
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use crate::error::VaultError;
use crate::identity::{Identity, Recipient};
use crate::layout;
use crate::seal::{self, NamingKey};
use crate::signature::{SigningKey, VerifyingKey};
use crate::store::{self, Door, Once};
use crate::vault::{Vault, nonce};

/// Attempts to save settings that somebody else changes at the same time.
const SAVE_TRIES: u32 = 4;

/// The public halves, and what is sealed to the workers'.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Keys {
    pub(crate) worker_recipient: Recipient,
    pub(crate) data_recipients: Vec<Recipient>,
    /// Sealed to the workers' key, in base64.
    naming_key: String,
    /// Sealed to the workers' key, in base64.
    signing_key: String,
    pub(crate) verifying_key: VerifyingKey,
}

/// What only the workers' key opens.
pub(crate) struct Secrets {
    pub(crate) naming: NamingKey,
    pub(crate) signing: SigningKey,
}

/// `keys/<seq>.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Document {
    schema: u32,
    vault: String,
    seq: u32,
    nonce: String,
    created: Timestamp,
    #[serde(flatten)]
    keys: Keys,
}

/// What became of the tokens when keys were replaced.
#[derive(Debug, Default)]
pub struct Resealed {
    /// Tokens that are sealed to the new key.
    pub tokens: u64,
    /// Tenants whose token is not, and why.
    pub failed: Vec<(Tenant, VaultError)>,
}

impl Secrets {
    pub(crate) fn generate() -> Self {
        Self { naming: NamingKey::generate(), signing: SigningKey::generate() }
    }
}

impl Keys {
    pub(crate) fn new(worker: Recipient, data: Vec<Recipient>, secrets: &Secrets) -> Self {
        let sealed = |key: &[u8]| BASE64_STANDARD.encode(seal::seal([&worker], key));
        Self {
            naming_key: sealed(secrets.naming.as_bytes()),
            signing_key: sealed(secrets.signing.as_bytes()),
            verifying_key: secrets.signing.public(),
            worker_recipient: worker,
            data_recipients: data,
        }
    }

    /// Whether a key is the workers' or one of the data's.
    pub(crate) fn have(&self, recipient: &Recipient) -> bool {
        *recipient == self.worker_recipient || self.data_recipients.contains(recipient)
    }

    pub(crate) fn open(&self, document: &Path, worker: &Identity) -> Result<Secrets, VaultError> {
        let open = |sealed: &str| {
            let sealed = BASE64_STANDARD.decode(sealed).ok()?;
            seal::unseal(std::slice::from_ref(worker), &sealed).ok()
        };
        let damaged = |what: &str| VaultError::corrupt(document, format!("its {what} key does not open"));
        let naming = open(&self.naming_key).and_then(|key| NamingKey::from_bytes(&key));
        let signing = open(&self.signing_key).and_then(|key| SigningKey::from_bytes(&key));
        Ok(Secrets {
            naming: naming.ok_or_else(|| damaged("naming"))?,
            signing: signing.ok_or_else(|| damaged("signing"))?,
        })
    }
}

/// The keys that came after the card's, oldest first, with their documents. One that these workers did not sign is
/// refused: else whoever can write to the store could have records sealed to a key of their own.
pub(crate) async fn later(
    door: &Door,
    vault: &str,
    verifying: &VerifyingKey,
) -> Result<Vec<(Path, Keys)>, VaultError> {
    let mut later = Vec::new();
    for found in door.list(&layout::all_keys()).await? {
        let key = found.location;
        let Some(seq) = layout::seq(&key) else { continue };
        let bytes = door.get(&key).await?;
        let document: Document = store::parse(&key, &bytes)?;
        if !verifying.fits(&bytes) || document.vault != vault || document.seq != seq {
            return Err(VaultError::corrupt(&key, "it was not signed by this vault's workers"));
        }
        later.push((key, document.keys));
    }
    Ok(later)
}

impl Vault {
    /// Says which key is needed if the keys cannot be replaced with those at hand.
    pub fn check_can_rotate(&self) -> Result<(), VaultError> {
        self.secrets("replacing the keys").map(drop)
    }

    /// Replaces the keys: what is written from now on by whoever opens the vault anew is sealed to these. Needs the
    /// workers' key of before.
    ///
    /// [`VaultError::Taken`] when somebody else replaces them at the same time.
    pub async fn rotate(
        &self,
        worker: Recipient,
        data: Vec<Recipient>,
        now: Timestamp,
    ) -> Result<u32, VaultError> {
        let secrets = self.secrets("replacing the keys")?;
        let seq = self.keys_seq() + 1;
        let document = Document {
            schema: FORMAT,
            vault: self.id().to_owned(),
            seq,
            nonce: nonce(),
            created: now,
            keys: Keys::new(worker, data, secrets),
        };
        let key = layout::keys(seq);
        match self.door().put_once(&key, secrets.signing.sign(&store::document(&document))).await? {
            Once::Mine => Ok(seq),
            Once::Theirs(_) => Err(VaultError::Taken { key: key.to_string() }),
        }
    }

    /// Seals every tenant's token to the workers' key that counts now. Doing it again does no harm.
    pub async fn reseal_tokens(&self, now: Timestamp) -> Result<Resealed, VaultError> {
        let mut resealed = Resealed::default();
        for tenant in self.tenants().await? {
            match self.reseal_token(&tenant, now).await {
                Ok(done) => resealed.tokens += u64::from(done),
                Err(error) => resealed.failed.push((tenant, error)),
            }
        }
        Ok(resealed)
    }

    async fn reseal_token(&self, tenant: &Tenant, now: Timestamp) -> Result<bool, VaultError> {
        let mut attempt = 0;
        loop {
            let Some(mut settings) = self.settings(tenant).await? else { return Ok(false) };
            let Some(token) = settings.token.clone() else { return Ok(false) };
            let secret = self.open_token(&settings)?;
            let sealed = self.seal_token(tenant, &secret, now, token.expires).sealed;
            settings.token = Some(fermata_core::settings::Token { sealed, ..token });
            attempt += 1;
            match self.save_settings(settings, now).await {
                Ok(_) => return Ok(true),
                Err(VaultError::Taken { .. }) if attempt < SAVE_TRIES => {}
                Err(error) => return Err(error),
            }
        }
    }
}
