//! Random words that prove something: session cookies, form tokens, sign-in codes, API keys.
//!
//! Whoever has one is let in, so only their digests are kept, and they are looked up by digest: how long that takes says
//! nothing about the word.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

/// So that a scanner of leaked secrets knows one, and a person too.
const API_KEY_PREFIX: &str = "fmk_";

/// 32 random bytes as 43 characters that need no escaping anywhere.
pub(crate) fn random() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())
}

/// A new API key.
pub(crate) fn api_key() -> String {
    format!("{API_KEY_PREFIX}{}", random())
}

/// The SHA-256 of a word. Written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Digest([u8; 32]);

impl Digest {
    /// The digest of a word.
    pub(crate) fn of(word: &str) -> Self {
        Self(Sha256::digest(word).into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(..)")
    }
}

impl FromStr for Digest {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fault = "is no SHA-256: 64 hexadecimal digits";
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(fault);
        }
        let mut bytes = [0; 32];
        for (byte, digits) in bytes.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&text[digits..digits + 2], 16).map_err(|_| fault)?;
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_have_a_text_form() {
        let digest = Digest::of("abc");
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest.to_string(), text);
        assert_eq!(text.parse(), Ok(digest));
        assert!("ba78".parse::<Digest>().is_err() && "ä".repeat(32).parse::<Digest>().is_err());
        assert!(!format!("{digest:?}").contains("ba78"));
    }

    #[test]
    fn no_word_comes_twice() {
        assert_eq!(random().len(), 43);
        assert_ne!(random(), random());
        assert!(api_key().starts_with("fmk_"));
    }
}
