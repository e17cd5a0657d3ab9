//! Passwords: kept as Argon2id hashes, checked two at a time.
//!
//! A check takes 19 MiB and some 30 ms on purpose. So that many sign-ins at once cannot take all memory, only
//! [`CHECKS_MAX`] run at a time; and so that names cannot be found out by the time an answer takes, a name that is
//! not there costs the same.

use std::sync::Arc;
use std::time::Duration;

use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{ARGON2ID_IDENT, Algorithm, Argon2, Params, Version};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;

use super::secrets::Digest;

/// Fewer are guessed.
pub(crate) const PASSWORD_CHARS_MIN: usize = 12;
/// Longer ones are somebody's file.
pub(crate) const PASSWORD_BYTES_MAX: usize = 1_024;
/// Passwords that are checked at once.
const CHECKS_MAX: usize = 2;
/// How long a check waits for its turn.
const TURN: Duration = Duration::from_secs(5);

/// OWASP's first choice for Argon2id: 19 MiB, two passes, one lane.
/// <https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html>
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// A hash made elsewhere may ask for more, up to this.
const MEMORY_KIB_MAX: u32 = 65_536;
const PASSES_MAX: u32 = 10;

/// What is checked where nobody has a name: 32 random bytes that are no password's hash.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$Rmt2cHlJZG9ZQ1hEbmZLNA$q0bJ2W7n3sYJ5bTg0pXw4LkR8vZc1uHfE6dMaQoNiSU";

/// An Argon2id hash, as `$argon2id$v=19$m=19456,t=2,p=1$<salt>$<hash>`.
#[derive(Clone)]
pub(crate) struct PasswordHash(String);

/// Too many passwords are waiting to be checked.
#[derive(Debug, thiserror::Error)]
#[error("too many are signing in at once; try again in a moment")]
pub(crate) struct Busy;

impl PasswordHash {
    /// Hashes a password; takes a while.
    pub(crate) fn make(password: &SecretString) -> Self {
        let params = Params::new(MEMORY_KIB, PASSES, LANES, None).expect("constants within Argon2's limits");
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let hash = argon2.hash_password(password.expose_secret().as_bytes());
        Self(hash.expect("a password within Argon2's limits and a random salt").to_string())
    }

    /// Takes what a file holds; says what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let hash = argon2::PasswordHash::new(text).map_err(
            |_| "is no hash of a password, like $argon2id$v=19$m=19456,t=2,p=1$...; `fermata user set` makes one",
        )?;
        let params = Params::try_from(&hash).map_err(|_| "has parameters that Argon2 does not know")?;
        if hash.algorithm != ARGON2ID_IDENT {
            Err("is a hash of another kind than argon2id; `fermata user set` makes one")
        } else if params.m_cost() > MEMORY_KIB_MAX || params.t_cost() > PASSES_MAX {
            Err("takes more memory or time than a sign-in may: at most m=65536 and t=10")
        } else if hash.salt.is_none() || hash.hash.is_none() {
            Err("is cut off; `fermata user set` makes one")
        } else {
            Ok(Self(text.to_owned()))
        }
    }

    /// The hash as text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// What tells this password from the next.
    pub(crate) fn digest(&self) -> Digest {
        Digest::of(&self.0)
    }

    /// Whether this is the hash of a password; takes a while.
    fn is_of(&self, password: &SecretString) -> bool {
        let hash = argon2::PasswordHash::new(&self.0);
        hash.is_ok_and(|hash| {
            Argon2::default().verify_password(password.expose_secret().as_bytes(), &hash).is_ok()
        })
    }
}

impl std::fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}

/// Says what is wrong with a password that somebody chose.
pub(crate) fn fault(password: &str) -> Option<&'static str> {
    if password.chars().count() < PASSWORD_CHARS_MIN {
        Some("a password has at least 12 characters")
    } else if password.len() > PASSWORD_BYTES_MAX {
        Some("a password has at most 1024 bytes")
    } else {
        None
    }
}

/// Checks passwords, a few at a time.
#[derive(Debug)]
pub(crate) struct Checker(Arc<Semaphore>);

impl Default for Checker {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(CHECKS_MAX)))
    }
}

impl Checker {
    /// Whether a password is the one of a hash; where there is none it takes as long and is not.
    pub(crate) async fn check(
        &self,
        hash: Option<PasswordHash>,
        password: SecretString,
    ) -> Result<bool, Busy> {
        let turn = tokio::time::timeout(TURN, self.0.clone().acquire_owned()).await;
        let Ok(Ok(turn)) = turn else { return Err(Busy) };
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| PasswordHash(NOBODY.to_owned()));
        let checked = tokio::task::spawn_blocking(move || {
            // Held until it is done, and not only for as long as somebody waits for it.
            let _turn = turn;
            password.expose_secret().len() <= PASSWORD_BYTES_MAX && hash.is_of(&password)
        });
        Ok(known & checked.await.unwrap_or(false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_right_password_and_no_other() {
        let checker = Checker::default();
        let hash = PasswordHash::make(&"correct horse".into());
        assert!(hash.as_str().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", hash.as_str());
        let hash = PasswordHash::parse(hash.as_str()).unwrap();
        assert!(checker.check(Some(hash.clone()), "correct horse".into()).await.unwrap());
        assert!(!checker.check(Some(hash.clone()), "correct horsf".into()).await.unwrap());
        assert!(!checker.check(Some(hash), "".into()).await.unwrap());
        assert!(!checker.check(None, "correct horse".into()).await.unwrap());
    }

    #[test]
    fn a_name_that_is_not_there_costs_the_same() {
        let of = |text: &str| {
            let hash = argon2::PasswordHash::new(text).unwrap();
            let output = hash.hash.unwrap().as_bytes().len();
            (hash.algorithm.to_string(), hash.params.to_string(), output)
        };
        assert_eq!(of(NOBODY), of(PasswordHash::make(&"correct horse".into()).as_str()));
        PasswordHash::parse(NOBODY).unwrap();
    }

    #[test]
    fn hashes_that_are_none_are_refused() {
        let check = |text: &str, expect: &str| {
            let fault = PasswordHash::parse(text).unwrap_err();
            assert!(fault.contains(expect), "{text}: {fault}");
        };
        let rest = NOBODY.strip_prefix("$argon2id$v=19$m=19456,t=2").unwrap();
        check("hunter2", "no hash of a password");
        check(&format!("$argon2i$v=19$m=19456,t=2{rest}"), "another kind");
        check(&format!("$argon2id$v=19$m=1000000,t=2{rest}"), "more memory");
        check(&format!("$argon2id$v=19$m=19456,t=99{rest}"), "more memory");
        check("$argon2id$v=19$m=19456,t=2,p=1", "cut off");
    }
}
