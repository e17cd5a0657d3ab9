//! Documents that are signed: whoever has the vault's public key can tell that one was written with the workers' key and
//! not changed since.
//!
//! The second line of a signed document holds its signature, and what is signed are its bytes without that line. So `sed 2d`
//! gives what `openssl pkeyutl -verify` is to check.

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// Bytes of the secret half.
const SEED_BYTES: usize = 32;
/// What stands before the key itself in the encoding that openssl reads, RFC 8410.
const SPKI_HEAD: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// What stands around a signature.
const LINE: (&[u8], &[u8]) = (b"  \"signature\": \"", b"\",\n");
/// The first line of every document.
const BEGIN: &[u8] = b"{\n";

/// The secret half of the key that signs.
#[derive(Clone)]
pub(crate) struct SigningKey(Zeroizing<[u8; SEED_BYTES]>);

/// The public half, as base64 of the encoding that openssl reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct VerifyingKey(String);

impl SigningKey {
    pub(crate) fn generate() -> Self {
        let mut seed = Zeroizing::new([0; SEED_BYTES]);
        rand::fill(&mut seed[..]);
        Self(seed)
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(|seed| Self(Zeroizing::new(seed)))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0[..]
    }

    pub(crate) fn public(&self) -> VerifyingKey {
        let key = [&SPKI_HEAD[..], self.pair().public_key().as_ref()].concat();
        VerifyingKey(BASE64_STANDARD.encode(key))
    }

    /// The document with its signature.
    pub(crate) fn sign(&self, document: &[u8]) -> Bytes {
        let rest = document.strip_prefix(BEGIN).expect("a document begins with a line of its own");
        let signature = BASE64_STANDARD.encode(self.pair().sign(document));
        [BEGIN, LINE.0, signature.as_bytes(), LINE.1, rest].concat().into()
    }

    fn pair(&self) -> Ed25519KeyPair {
        Ed25519KeyPair::from_seed_unchecked(&self.0[..]).expect("every 32 bytes are a key")
    }
}

impl VerifyingKey {
    /// Whether a document was signed with the secret half, and is as it was then.
    pub(crate) fn fits(&self, document: &[u8]) -> bool {
        self.fitting(document).is_some()
    }

    fn fitting(&self, document: &[u8]) -> Option<()> {
        let rest = document.strip_prefix(BEGIN)?.strip_prefix(LINE.0)?;
        let end = rest.iter().position(|byte| *byte == b'"')?;
        let signature = BASE64_STANDARD.decode(&rest[..end]).ok()?;
        let signed = [BEGIN, rest[end..].strip_prefix(LINE.1)?].concat();
        let key = BASE64_STANDARD.decode(&self.0).ok()?;
        let key = key.strip_prefix(&SPKI_HEAD)?;
        UnparsedPublicKey::new(&ED25519, key).verify(&signed, &signature).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &[u8] = b"{\n  \"schema\": 1,\n  \"x\": [\n    1\n  ]\n}\n";

    #[test]
    fn a_signature_is_that_of_rfc_8032() {
        // Its second test, whose message is one byte.
        let hex = |text: &str| -> Vec<u8> {
            (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
        };
        let seed = hex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb");
        let key = SigningKey::from_bytes(&seed).unwrap();
        let public = BASE64_STANDARD.decode(key.public().0).unwrap();
        assert_eq!(public[12..], hex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"));
        let signature = "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
                         085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00";
        assert_eq!(key.pair().sign(&[0x72]).as_ref(), hex(signature));
    }

    #[test]
    fn the_second_line_holds_it_and_the_rest_is_signed() {
        let key = SigningKey::generate();
        let signed = key.sign(DOCUMENT);
        let lines: Vec<&[u8]> = signed.split_inclusive(|byte| *byte == b'\n').collect();
        assert!(lines[1].starts_with(b"  \"signature\": \""));
        assert_eq!([&lines[..1], &lines[2..]].concat().concat(), DOCUMENT, "what `sed 2d` leaves");
        assert!(key.public().fits(&signed));
        assert!(!SigningKey::generate().public().fits(&signed), "another's");
        assert!(!key.public().fits(DOCUMENT), "none");
    }

    #[test]
    fn any_flipped_bit_is_found() {
        let key = SigningKey::generate();
        let signed = key.sign(DOCUMENT);
        for bit in 0..signed.len() * 8 {
            let mut flipped = signed.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(!key.public().fits(&flipped), "bit {bit}");
        }
        assert!(
            !key.public().fits(&signed[..signed.len() - 1])
                && !key.public().fits(&[&signed[..], b"\n"].concat())
        );
    }
}
