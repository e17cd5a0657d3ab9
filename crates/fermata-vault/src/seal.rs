//! Sealing to public keys with age, opening with secret ones, and the few encodings around it.

use std::fmt::Write as _;
use std::io::{BufRead, Read, Write};

use age::{DecryptError, Decryptor, Encryptor};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::identity::{Identity, Recipient};

/// Bytes of a naming key.
const NAMING_KEY_BYTES: usize = 32;
/// Hexadecimal digits of a chunk's id: 128 bits.
pub(crate) const ID_CHARS: usize = 32;
/// How an age file begins.
pub(crate) const AGE_BEGINS: &[u8] = b"age-encryption.org/v1\n";
/// An age header and what it adds to a short message, for one recipient.
const AGE_HEAD_BYTES: usize = 256;

/// The key that turns a hash of records into a name which nobody without it can confirm a guess by.
#[derive(Clone)]
pub(crate) struct NamingKey(Zeroizing<[u8; NAMING_KEY_BYTES]>);

impl NamingKey {
    pub(crate) fn generate() -> Self {
        let mut key = Zeroizing::new([0; NAMING_KEY_BYTES]);
        rand::fill(&mut key[..]);
        Self(key)
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(|key| Self(Zeroizing::new(key)))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0[..]
    }

    /// The id of records with this SHA-256.
    pub(crate) fn id(&self, plain: &[u8; 32]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0[..]).expect("HMAC takes keys of any length");
        mac.update(plain);
        hex(&mac.finalize().into_bytes()[..ID_CHARS / 2])
    }
}

/// Seals `plain` to every one of the recipients, of which there must be one.
pub(crate) fn seal<'a>(recipients: impl IntoIterator<Item = &'a Recipient>, plain: &[u8]) -> Vec<u8> {
    let recipients = recipients.into_iter().map(|recipient| &recipient.0 as &dyn age::Recipient);
    let encryptor = Encryptor::with_recipients(recipients).expect("X25519 recipients, at least one");
    let mut sealed = Vec::with_capacity(plain.len() + plain.len() / 4096 + AGE_HEAD_BYTES);
    let mut writer = encryptor.wrap_output(&mut sealed).expect("a Vec takes every write");
    writer.write_all(plain).expect("a Vec takes every write");
    writer.finish().expect("a Vec takes every write");
    sealed
}

/// Opens what was sealed to one of the identities.
pub(crate) fn unseal(identities: &[Identity], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, DecryptError> {
    let mut plain = Zeroizing::new(Vec::with_capacity(sealed.len()));
    unseal_reader(identities, sealed)?.read_to_end(&mut plain)?;
    Ok(plain)
}

/// As [`unseal`], in pieces of 64 KiB, each authentic before it is given out.
pub(crate) fn unseal_reader<R: BufRead>(
    identities: &[Identity],
    sealed: R,
) -> Result<age::stream::StreamReader<R>, DecryptError> {
    Decryptor::new_buffered(sealed)?.decrypt(identities.iter().map(|key| &key.0 as &dyn age::Identity))
}

/// The SHA-256 of some bytes.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes every write");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_hmac_sha256() {
        // RFC 4231 has no 32-byte key with a 32-byte message; checked with
        // `printf '%064d' 0 | xxd -r -p | openssl dgst -sha256 -mac HMAC -macopt hexkey:$(printf '0b%.0s' {1..32})`.
        let key = NamingKey::from_bytes(&[0x0b; 32]).unwrap();
        assert_eq!(key.id(&[0; 32]), EXPECTED_ID);
        assert!(NamingKey::from_bytes(&[0; 31]).is_none());
    }

    const EXPECTED_ID: &str = "abf0195cf7a503e61897b7bb6f36beb7";

    #[test]
    fn sealed_opens_for_its_recipients_alone() {
        let (one, two, three) = (Identity::generate(), Identity::generate(), Identity::generate());
        let sealed = seal([&one.recipient(), &two.recipient()], b"plain");
        for key in [one, two] {
            assert_eq!(&unseal(&[key], &sealed).unwrap()[..], b"plain");
        }
        assert!(matches!(unseal(&[three], &sealed), Err(DecryptError::NoMatchingKeys)));
    }
}
