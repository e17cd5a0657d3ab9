//! A vault: its card, its keys, and the door to its store.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use fermata_core::FORMAT;
use jiff::Timestamp;
use object_store::ObjectStore;
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use crate::error::VaultError;
use crate::identity::{Identity, Recipient};
use crate::keys::{self, Keys, Secrets};
use crate::layout;
use crate::probe::{Verdict, probe};
use crate::seal::{self, NamingKey};
use crate::store::{self, Door, Once};

/// Bytes of a nonce: two documents never share one.
const NONCE_BYTES: usize = 16;

/// An open vault. A clone is the same vault.
#[derive(Clone)]
pub struct Vault(Arc<Inner>);

struct Inner {
    door: Door,
    card: Card,
    /// The card's and those that replaced them, with their documents; the last count.
    keys: Vec<(Path, Keys)>,
    identities: Vec<Identity>,
    secrets: Option<Secrets>,
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
    #[serde(flatten)]
    keys: Keys,
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
        let secrets = Secrets::generate();
        let card = Card {
            schema: FORMAT,
            vault: nonce(),
            created: options.now,
            keys: Keys::new(options.worker, options.data_recipients, &secrets),
            single_writer: options.single_writer,
            probe: verdict,
        };
        match door.put_once(&layout::card(), secrets.signing.sign(&store::document(&card))).await? {
            Once::Mine => Ok(Self::with(door, card, Vec::new(), Vec::new(), None)),
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
        let later = keys::later(&door, &card.vault, &card.keys.verifying_key).await?;
        let (document, newest) = later.last().cloned().unwrap_or((key, card.keys.clone()));
        let has = |keys: &Keys| identities.iter().any(|identity| keys.have(&identity.recipient()));
        if !identities.is_empty() && !has(&newest) {
            let offline = newest.data_recipients.iter().filter(|data| **data != newest.worker_recipient);
            let wanted = list(std::iter::once(&newest.worker_recipient).chain(offline).cloned());
            let given = list(identities.iter().map(Identity::recipient));
            let is_old = has(&card.keys) || later.iter().any(|(_, keys)| has(keys));
            return Err(if is_old {
                VaultError::OldKey { given, wanted }
            } else {
                VaultError::WrongKey { given, wanted }
            });
        }
        let worker = identities.iter().find(|identity| identity.recipient() == newest.worker_recipient);
        let secrets = worker.map(|worker| newest.open(&document, worker)).transpose()?;
        Ok(Self::with(door, card, later, identities, secrets))
    }

    fn with(
        door: Door,
        card: Card,
        later: Vec<(Path, Keys)>,
        identities: Vec<Identity>,
        secrets: Option<Secrets>,
    ) -> Self {
        let keys = std::iter::once((layout::card(), card.keys.clone())).chain(later).collect();
        Self(Arc::new(Inner { door, card, keys, identities, secrets }))
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
        &self.newest_keys().worker_recipient
    }

    /// Whose keys open records; empty when records are not encrypted.
    pub fn data_recipients(&self) -> &[Recipient] {
        &self.newest_keys().data_recipients
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
        self.0.keys.iter().any(|(_, keys)| {
            let has = |key: &Identity| keys.data_recipients.contains(&key.recipient());
            keys.data_recipients.is_empty() || self.0.identities.iter().any(has)
        })
    }

    /// How often the keys were replaced.
    pub(crate) fn keys_seq(&self) -> u32 {
        let newest = self.0.keys.last().and_then(|(document, _)| layout::seq(document));
        newest.unwrap_or_default()
    }

    /// The documents that have keys, oldest first.
    pub(crate) fn key_documents(&self) -> impl Iterator<Item = &Path> {
        self.0.keys.iter().map(|(document, _)| document)
    }

    fn newest_keys(&self) -> &Keys {
        self.0.keys.last().map_or(&self.0.card.keys, |(_, keys)| keys)
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
        self.0.card.keys.verifying_key.fits(document)
    }

    pub(crate) fn secrets(&self, what: &'static str) -> Result<&Secrets, VaultError> {
        let needs = || VaultError::NeedsKey { what, recipient: self.worker_recipient().to_string() };
        self.0.secrets.as_ref().ok_or_else(needs)
    }

    /// Says which key is needed when records cannot be read.
    pub(crate) fn data(&self) -> Result<(), VaultError> {
        if self.can_read_data() { Ok(()) } else { Err(self.needs_data_key()) }
    }

    /// Names the keys of records, of now and of before, that are not at hand.
    pub(crate) fn needs_data_key(&self) -> VaultError {
        let mut missing: Vec<Recipient> = Vec::new();
        for recipient in self.0.keys.iter().rev().flat_map(|(_, keys)| &keys.data_recipients) {
            let at_hand = self.0.identities.iter().any(|key| key.recipient() == *recipient);
            if !at_hand && !missing.contains(recipient) {
                missing.push(recipient.clone());
            }
        }
        VaultError::NeedsKey { what: "reading records", recipient: list(missing.into_iter()) }
    }
}

fn list(recipients: impl Iterator<Item = Recipient>) -> String {
    recipients.map(|recipient| recipient.to_string()).collect::<Vec<_>>().join(" or ")
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Vault({} in {})", self.id(), self.0.door.store)
    }
}
