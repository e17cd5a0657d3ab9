//! Names that become part of a path: tenants and runs.
//!
//! A name is checked when it is made, so nothing that holds one can leave its folder.

use std::fmt;
use std::str::FromStr;

use jiff::{Timestamp, tz::TimeZone};
use serde::{Deserialize, Serialize};

/// Longest tenant name, so that it fits a DNS label and a Kubernetes object name.
const TENANT_CHARS_MAX: usize = 63;
/// Characters of a run's random tail: enough that two runs of one second differ.
pub const RUN_TAIL_CHARS: usize = 6;

/// One Jira site with Tempo: `[a-z0-9][a-z0-9-]{0,62}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Tenant(String);

/// One backup of one tenant: the UTC second it started and a random tail, sortable as text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RunId(String);

/// A name that cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NameError {
    /// Not a tenant name.
    #[error(
        "{0:?} is not a tenant name: use lower-case letters, digits and hyphens, a letter or digit first, at most {TENANT_CHARS_MAX}"
    )]
    Tenant(String),
    /// Not a run name.
    #[error("{0:?} is not a run name: runs look like 20260301T020000Z-k3f9a2")]
    Run(String),
}

impl Tenant {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl RunId {
    /// Names a run by its start and a tail of [`RUN_TAIL_CHARS`] lower-case letters or digits.
    pub fn new(started: Timestamp, tail: &str) -> Result<Self, NameError> {
        format!("{}-{tail}", started.strftime("%Y%m%dT%H%M%SZ")).parse()
    }

    /// The second in the name, if there is such a second.
    pub fn began(&self) -> Option<Timestamp> {
        let second = self.0.get(.."00000000T000000".len())?;
        let second = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%S", second).ok()?;
        TimeZone::UTC.to_timestamp(second).ok()
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tenant {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let fits = (1..=TENANT_CHARS_MAX).contains(&text.len());
        let chars = text.bytes().all(|byte| plain(byte) || byte == b'-');
        if fits && chars && !text.starts_with('-') {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError::Tenant(text.to_owned()))
        }
    }
}

impl FromStr for RunId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        const SHAPE: &str = "00000000T000000Z-";
        let fits = text.len() == SHAPE.len() + RUN_TAIL_CHARS
            && text
                .bytes()
                .zip(SHAPE.bytes())
                .all(|(byte, shape)| if shape == b'0' { byte.is_ascii_digit() } else { byte == shape })
            && text.bytes().skip(SHAPE.len()).all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        if fits { Ok(Self(text.to_owned())) } else { Err(NameError::Run(text.to_owned())) }
    }
}

macro_rules! text_name {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }
    };
}

text_name!(Tenant);
text_name!(RunId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenants_stay_in_their_folder() {
        for good in ["acme", "a", "0", "acme-eu-2", &"a".repeat(63)] {
            assert!(good.parse::<Tenant>().is_ok(), "{good}");
        }
        let long = "a".repeat(64);
        for bad in ["", "-a", "Acme", "a.b", "../x", "a/b", "a b", "a\0", "é", long.as_str()] {
            assert!(bad.parse::<Tenant>().is_err(), "{bad}");
        }
    }

    #[test]
    fn runs_sort_by_their_start() {
        let early: Timestamp = "2026-03-01T02:00:00Z".parse().unwrap();
        let late: Timestamp = "2026-03-01T02:00:01Z".parse().unwrap();
        let (early, late) = (RunId::new(early, "zzzzzz").unwrap(), RunId::new(late, "aaaaaa").unwrap());
        assert_eq!(early.as_str(), "20260301T020000Z-zzzzzz");
        assert!(early < late);
        assert_eq!(late.began(), Some("2026-03-01T02:00:01Z".parse().unwrap()));
        assert_eq!("20261301T020000Z-aaaaaa".parse::<RunId>().unwrap().began(), None);
        for bad in [
            "20260301T020000Z-zzz",
            "20260301T020000Z-ZZZZZZ",
            "20260301T020000Z_aaaaaa",
            "../../etc/passwd-xxxxxxx",
        ] {
            assert!(bad.parse::<RunId>().is_err(), "{bad}");
        }
    }
}
