//! A vault: its card, its keys, and the door to its store.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use fermata_core::FORMAT;
use jiff::Timestamp;
use object_store::ObjectStore;
use serde::{Deserialize, Serialize};

use crate::error::VaultError;
use crate::identity::{Identity, Recipient};
use crate::layout;
use crate::probe::{Verdict, probe};
use crate::seal::{self, NamingKey};
use crate::signature::{SigningKey, VerifyingKey};
use crate::store::{self, Door, Once};

/// Bytes of a nonce: two documents never share one.
const NONCE_BYTES: usize = 16;

/// An open vault. A clone is the same vault.
#[derive(Clone)]
pub struct Vault(Arc<Inner>);

struct Inner {
    door: Door,
    card: Card,
    identities: Vec<Identity>,
    secrets: Option<Secrets>,
}

/// What only the workers' key opens.
struct Secrets {
    naming: NamingKey,
    signing: SigningKey,
}

/// What a vault is made with.
#[derive(Clone, Debug)]
pub struct InitOptions {
    /// Whose key opens tokens and checkpoints.
    pub worker: Recipient,
    /// Whose keys open records; nobody's when empty, and then records are not encrypted.
    pub data_recipients: Vec<Recipient>,
    /// Whether only one process will ever write, so that the store need not keep two apart.
    pub single_writer: bool,
    /// When.
    pub now: Timestamp,
}

/// `fermata.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Card {
    schema: u32,
    vault: String,
    created: Timestamp,
    worker_recipient: Recipient,
    data_recipients: Vec<Recipient>,
    /// Sealed to the worker's key, in base64.
    naming_key: String,
    /// Sealed to the worker's key, in base64.
    signing_key: String,
    verifying_key: VerifyingKey,
    single_writer: bool,
    probe: Verdict,
}

/// A fresh nonce, in hexadecimal digits.
pub fn nonce() -> String {
    seal::hex(&rand::random::<[u8; NONCE_BYTES]>())
}

impl Vault {
    /// Makes a vault in a store that has none, and returns it as it opens without a key.
    ///
    /// Refuses a store that does not keep two writers apart, unless `single_writer` says that it need not.
    pub async fn init(store: Arc<dyn ObjectStore>, options: InitOptions) -> Result<Self, VaultError> {
        let door = Door { store, single_writer: options.single_writer };
        if door.exists(&layout::card()).await? {
            return Err(VaultError::AlreadyThere);
        }
        let verdict = probe(&door.store).await?.verdict;
        if verdict != Verdict::Honoured && !options.single_writer {
            return Err(VaultError::NotHonoured(verdict));
        }
        let (naming, signing) = (NamingKey::generate(), SigningKey::generate());
        let seal_key = |key: &[u8]| BASE64_STANDARD.encode(seal::seal([&options.worker], key));
        let card = Card {
            schema: FORMAT,
            vault: nonce(),
            created: options.now,
            naming_key: seal_key(naming.as_bytes()),
            signing_key: seal_key(signing.as_bytes()),
            verifying_key: signing.public(),
            worker_recipient: options.worker,
            data_recipients: options.data_recipients,
            single_writer: options.single_writer,
            probe: verdict,
        };
        match door.put_once(&layout::card(), signing.sign(&store::document(&card))).await? {
            Once::Mine => Ok(Self::with(door, card, Vec::new(), None)),
            Once::Theirs(_) => Err(VaultError::AlreadyThere),
        }
    }

    /// Opens a vault with the keys at hand: the workers', the data's, both or none.
    ///
    /// What needs a key that is not among them fails with [`VaultError::NeedsKey`] when it is tried.
    pub async fn open(
        store: Arc<dyn ObjectStore>,
        identities: impl IntoIterator<Item = Identity>,
    ) -> Result<Self, VaultError> {
        let key = layout::card();
        let mut door = Door { store, single_writer: false };
        let bytes = door.find(&key).await?.ok_or(VaultError::NoVault)?;
        let card: Card = store::parse(&key, &bytes)?;
        door.single_writer = card.single_writer;
        let identities: Vec<Identity> = identities.into_iter().collect();
        let mine = |recipient: &Recipient| {
            *recipient == card.worker_recipient || card.data_recipients.contains(recipient)
        };
        if !identities.is_empty() && !identities.iter().any(|identity| mine(&identity.recipient())) {
            let offline = card.data_recipients.iter().filter(|data| **data != card.worker_recipient);
            let wanted = std::iter::once(&card.worker_recipient).chain(offline);
            return Err(VaultError::WrongKey {
                given: list(identities.iter().map(Identity::recipient)),
                wanted: list(wanted.cloned()),
            });
        }
        let secrets = match identities.iter().find(|identity| identity.recipient() == card.worker_recipient) {
            Some(worker) => Some(secrets(&card, worker)?),
            None => None,
        };
        Ok(Self::with(door, card, identities, secrets))
    }

    fn with(door: Door, card: Card, identities: Vec<Identity>, secrets: Option<Secrets>) -> Self {
        Self(Arc::new(Inner { door, card, identities, secrets }))
    }

    /// The name that no other vault has.
    pub fn id(&self) -> &str {
        &self.0.card.vault
    }

    /// When it was made.
    pub fn created(&self) -> Timestamp {
        self.0.card.created
    }

    /// Whose key opens tokens and checkpoints.
    pub fn worker_recipient(&self) -> &Recipient {
        &self.0.card.worker_recipient
    }

    /// Whose keys open records; empty when records are not encrypted.
    pub fn data_recipients(&self) -> &[Recipient] {
        &self.0.card.data_recipients
    }

    /// Whether it was made for a single process that writes.
    pub fn single_writer(&self) -> bool {
        self.0.card.single_writer
    }

    /// What the store was found to do with create-if-absent.
    pub fn verdict(&self) -> Verdict {
        self.0.card.probe
    }

    /// Whether the workers' key is at hand: to open tokens, to resume jobs and to write chunks.
    pub fn can_work(&self) -> bool {
        self.0.secrets.is_some()
    }

    /// Whether records can be read with the keys at hand.
    pub fn can_read_data(&self) -> bool {
        self.data_recipients().is_empty()
            || self.0.identities.iter().any(|key| self.data_recipients().contains(&key.recipient()))
    }

    pub(crate) fn door(&self) -> &Door {
        &self.0.door
    }

    pub(crate) fn identities(&self) -> &[Identity] {
        &self.0.identities
    }

    pub(crate) fn naming(&self) -> Option<&NamingKey> {
        self.0.secrets.as_ref().map(|secrets| &secrets.naming)
    }

    /// Says which key is needed when the workers' is not at hand; else there is the naming key.
    pub(crate) fn worker(&self, what: &'static str) -> Result<&NamingKey, VaultError> {
        self.secrets(what).map(|secrets| &secrets.naming)
    }

    /// A document with its signature.
    pub(crate) fn sign(&self, document: &[u8]) -> Result<Bytes, VaultError> {
        Ok(self.secrets("sealing a snapshot")?.signing.sign(document))
    }

    /// Whether a document is as this vault's workers signed it.
    pub(crate) fn is_signed(&self, document: &[u8]) -> bool {
        self.0.card.verifying_key.fits(document)
    }

    fn secrets(&self, what: &'static str) -> Result<&Secrets, VaultError> {
        let needs = || VaultError::NeedsKey { what, recipient: self.worker_recipient().to_string() };
        self.0.secrets.as_ref().ok_or_else(needs)
    }

    /// Says which key is needed when records cannot be read.
    pub(crate) fn data(&self) -> Result<(), VaultError> {
        if self.can_read_data() {
            return Ok(());
        }
        let recipient = self.data_recipients().first().map(ToString::to_string).unwrap_or_default();
        Err(VaultError::NeedsKey { what: "reading records", recipient })
    }
}

fn secrets(card: &Card, worker: &Identity) -> Result<Secrets, VaultError> {
    let open = |sealed: &str| {
        let sealed = BASE64_STANDARD.decode(sealed).ok()?;
        seal::unseal(std::slice::from_ref(worker), &sealed).ok()
    };
    let damaged = |what: &str| VaultError::corrupt(&layout::card(), format!("its {what} key does not open"));
    let naming = open(&card.naming_key).and_then(|key| NamingKey::from_bytes(&key));
    let signing = open(&card.signing_key).and_then(|key| SigningKey::from_bytes(&key));
    Ok(Secrets {
        naming: naming.ok_or_else(|| damaged("naming"))?,
        signing: signing.ok_or_else(|| damaged("signing"))?,
    })
}

fn list(recipients: impl Iterator<Item = Recipient>) -> String {
    recipients.map(|recipient| recipient.to_string()).collect::<Vec<_>>().join(" or ")
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Vault({} in {})", self.id(), self.0.door.store)
    }
}
