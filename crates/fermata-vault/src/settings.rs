//! Tenants, their settings, and their sealed tokens.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use fermata_core::FORMAT;
use fermata_core::names::Tenant;
use fermata_core::settings::{Settings, Token};
use futures::{StreamExt, TryStreamExt, stream};
use jiff::{Timestamp, civil::Date};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::error::VaultError;
use crate::layout;
use crate::seal;
use crate::store::{self, Once};
use crate::vault::{Vault, nonce};

/// Listings under way at once.
const LISTS_CONCURRENT: usize = 16;
/// First line of a sealed token; what follows is bound to it.
const TOKEN_HEAD: &str = "fermata token 1";
/// Hexadecimal digits of a token's hash that people see.
const FINGERPRINT_CHARS: usize = 8;

impl Vault {
    /// Every tenant that has settings, sorted.
    pub async fn tenants(&self) -> Result<Vec<Tenant>, VaultError> {
        let names = self.door().folders(&layout::tenants()).await?;
        // A volume that is not mounted any more is no vault without tenants.
        if names.is_empty() && self.door().find(&layout::card()).await?.is_none() {
            return Err(VaultError::NoVault);
        }
        let tenants = names.into_iter().filter_map(|name| name.parse::<Tenant>().ok());
        stream::iter(tenants)
            .map(|tenant| async move {
                let any = self.newest_settings(&tenant).await?.is_some();
                Ok(any.then_some(tenant))
            })
            .buffered(LISTS_CONCURRENT)
            .try_filter_map(|tenant| async move { Ok(tenant) })
            .try_collect()
            .await
    }

    /// The newest settings of a tenant.
    pub async fn settings(&self, tenant: &Tenant) -> Result<Option<Settings>, VaultError> {
        // Newer ones may have come, and the older gone, between the listing and the look.
        let mut gone = None;
        loop {
            let Some(seq) = self.newest_settings(tenant).await? else { return Ok(None) };
            let key = layout::settings(tenant, seq);
            let Some(bytes) = self.door().find(&key).await? else {
                if gone == Some(seq) {
                    return Ok(None);
                }
                gone = Some(seq);
                continue;
            };
            // A later release is named as such, whatever it does about hashes.
            let settings: Settings = store::parse(&key, &bytes)?;
            if !store::is_hashed(&bytes) {
                return Err(VaultError::corrupt(&key, "it does not hash to what it says"));
            }
            if settings.tenant != *tenant || settings.seq != seq {
                return Err(VaultError::corrupt(&key, "it holds the settings of another name"));
            }
            return Ok(Some(settings));
        }
    }

    /// Stores the settings that follow the ones they were made from (by `seq`; 0 for a new tenant), and
    /// deletes the older ones: a token that was replaced must not lie about.
    ///
    /// [`VaultError::Taken`] says that somebody else changed them in between: read them and decide again.
    pub async fn save_settings(&self, settings: Settings, now: Timestamp) -> Result<Settings, VaultError> {
        let seq = settings.seq + 1;
        let settings = Settings { schema: FORMAT, seq, nonce: nonce(), saved: now, ..settings };
        let key = layout::settings(&settings.tenant, seq);
        match self.door().put_once(&key, store::hashed(&settings)).await? {
            Once::Theirs(_) => return Err(VaultError::Taken { key: key.to_string() }),
            Once::Mine => {}
        }
        let stored = self.settings_stored(&settings.tenant).await?;
        if stored.iter().any(|other| *other > seq) {
            // Somebody was two steps ahead, and had deleted the place that we then took.
            self.door().delete(vec![key.clone()]).await?;
            return Err(VaultError::Taken { key: key.to_string() });
        }
        let older = stored.into_iter().filter(|other| *other < seq);
        self.door().delete(older.map(|other| layout::settings(&settings.tenant, other)).collect()).await?;
        Ok(settings)
    }

    /// Seals a tenant's token to the workers' key; needs no key.
    pub fn seal_token(
        &self,
        tenant: &Tenant,
        token: &SecretString,
        now: Timestamp,
        expires: Option<Date>,
    ) -> Token {
        let secret = token.expose_secret();
        let plain = Zeroizing::new(format!("{}{secret}", self.token_head(tenant)));
        let mut fingerprint = seal::hex(&seal::sha256(secret.as_bytes()));
        fingerprint.truncate(FINGERPRINT_CHARS);
        Token {
            sealed: BASE64_STANDARD.encode(seal::seal([self.worker_recipient()], plain.as_bytes())),
            fingerprint,
            stored: now,
            stored_by: None,
            expires,
            refused: None,
            checked: None,
        }
    }

    /// Opens the token in a tenant's settings; refuses one that was sealed for another tenant or vault.
    pub fn open_token(&self, settings: &Settings) -> Result<SecretString, VaultError> {
        let tenant = &settings.tenant;
        let token = settings.token.as_ref().ok_or_else(|| VaultError::NoToken(tenant.clone()))?;
        self.worker("opening a token")?;
        let key = layout::settings(tenant, settings.seq);
        let damaged = || VaultError::corrupt(&key, "its token does not open");
        let sealed = BASE64_STANDARD.decode(&token.sealed).map_err(|_| damaged())?;
        let plain = seal::unseal(self.identities(), &sealed).map_err(|_| damaged())?;
        let plain = std::str::from_utf8(&plain).map_err(|_| damaged())?;
        match plain.strip_prefix(&self.token_head(tenant)) {
            Some(secret) => Ok(secret.into()),
            None => Err(VaultError::corrupt(&key, "its token was sealed for another tenant")),
        }
    }

    /// Deletes all of a tenant: snapshots first, so that no half of one looks whole, settings last, so
    /// that an interrupted deletion still names the tenant.
    pub async fn delete_tenant(&self, tenant: &Tenant) -> Result<(), VaultError> {
        self.door().delete_under(&layout::snapshots(tenant)).await?;
        self.door().delete_under(&layout::runs(tenant)).await?;
        self.door().delete_under(&layout::chunks(tenant)).await?;
        self.door().delete_under(&layout::tenant(tenant)).await
    }

    async fn newest_settings(&self, tenant: &Tenant) -> Result<Option<u32>, VaultError> {
        Ok(self.settings_stored(tenant).await?.into_iter().max())
    }

    pub(crate) async fn settings_stored(&self, tenant: &Tenant) -> Result<Vec<u32>, VaultError> {
        let found = self.door().list(&layout::all_settings(tenant)).await?;
        Ok(found.iter().filter_map(|found| layout::seq(&found.location)).collect())
    }

    fn token_head(&self, tenant: &Tenant) -> String {
        format!("{TOKEN_HEAD}\n{}\n{tenant}\n", self.id())
    }
}
