//! Keys: the secret half in a file, the public half anywhere.
//!
//! They are age X25519 keys in age's own file format, so that `age` itself opens what Fermata sealed.

use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use age::x25519;
use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// Longest key file that is read; a real one is under 200 bytes a key.
const KEY_FILE_BYTES_MAX: u64 = 64 * 1024;

/// The secret half of a key. It has no text form but the key file.
#[derive(Clone)]
pub struct Identity(pub(crate) x25519::Identity);

/// The public half of a key: `age1...`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Recipient(pub(crate) x25519::Recipient);

/// Text that is not the public half of a key.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not a public key; they look like age1 and 58 more characters")]
pub struct BadRecipient(String);

/// A key file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Others may read it.
    #[error("others may read the key file {path} (mode {mode:03o}); `chmod 600 {path}` keeps it private", path = path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// A line of it is no key.
    #[error("line {line} of the key file {path} is not an age secret key", path = path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// It holds no key.
    #[error("the key file {path} holds no key", path = path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// It is there already, and is not written over.
    #[error("the key file {path} is there already", path = path.display())]
    AlreadyThere {
        /// The file.
        path: PathBuf,
    },
    /// There is no such file.
    #[error("there is no key file {path}", path = path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be read or written.
    #[error("the key file {path} cannot be used", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Identity {
    /// A new key, from the operating system's randomness.
    pub fn generate() -> Self {
        Self(x25519::Identity::generate())
    }

    /// The public half.
    pub fn recipient(&self) -> Recipient {
        Recipient(self.0.to_public())
    }

    /// The keys in a file, one a line, in age's format. Refuses a file that others may read.
    pub fn read(path: &Path) -> Result<Vec<Self>, KeyError> {
        let text = read_private(path)?;
        let mut keys = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let malformed = |_| KeyError::Malformed { path: path.to_owned(), line: at + 1 };
            keys.push(Self(line.parse().map_err(malformed)?));
        }
        if keys.is_empty() { Err(KeyError::Empty { path: path.to_owned() }) } else { Ok(keys) }
    }

    /// Writes the key to a new file that only its owner may read.
    pub fn write_new(&self, path: &Path, now: Timestamp) -> Result<(), KeyError> {
        let fail = |source: io::Error| match source.kind() {
            io::ErrorKind::AlreadyExists => KeyError::AlreadyThere { path: path.to_owned() },
            _ => KeyError::Io { path: path.to_owned(), source },
        };
        let text = self.text(now);
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path).map_err(fail)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(fail)
    }
}

impl Identity {
    /// Puts the key before those in a key file, which stay: what was sealed to them still opens.
    ///
    /// The file is replaced as a whole, so that a crash leaves the old or the new one.
    pub fn prepend(&self, path: &Path, now: Timestamp) -> Result<(), KeyError> {
        let fail = |source: io::Error| KeyError::Io { path: path.to_owned(), source };
        let old = read_private(path)?;
        let text = Zeroizing::new(format!("{}{}", *self.text(now), *old));
        // A key file may be a link to where it really is.
        let path = std::fs::canonicalize(path).map_err(fail)?;
        let mut name = path.clone().into_os_string();
        name.push(".new");
        let beside = PathBuf::from(name);
        // What a crash left of another attempt holds nothing that was used.
        if beside.exists() {
            std::fs::remove_file(&beside).map_err(fail)?;
        }
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&beside).map_err(fail)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(fail)?;
        std::fs::rename(&beside, &path).map_err(fail)
    }

    fn text(&self, now: Timestamp) -> Zeroizing<String> {
        let secret = self.0.to_string();
        Zeroizing::new(format!(
            "# created: {now:.0}\n# public key: {}\n{}\n",
            self.recipient(),
            secret.expose_secret()
        ))
    }
}

fn read_private(path: &Path) -> Result<Zeroizing<String>, KeyError> {
    use std::io::Read;
    let fail = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => KeyError::Missing { path: path.to_owned() },
        _ => KeyError::Io { path: path.to_owned(), source },
    };
    let file = std::fs::File::open(path).map_err(fail)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let metadata = file.metadata().map_err(fail)?;
        if metadata.is_dir() {
            return Err(fail(io::ErrorKind::IsADirectory.into()));
        }
        let (mode, owner) = (metadata.mode() & 0o777, metadata.uid());
        let reader = std::fs::metadata("/proc/self").map(|process| process.uid()).ok();
        if exposed(mode, owner, reader) {
            return Err(KeyError::Exposed { path: path.to_owned(), mode });
        }
    }
    let mut text = Zeroizing::new(String::new());
    file.take(KEY_FILE_BYTES_MAX).read_to_string(&mut text).map_err(fail)?;
    Ok(text)
}

/// Whether others than its reader may read, or anybody else change, a file. What root hands to a group is handed to whoever reads it
/// through that group: so Kubernetes mounts a Secret for a process that is not root.
#[cfg(unix)]
fn exposed(mode: u32, owner: u32, reader: Option<u32>) -> bool {
    let handed = owner == 0 && reader.is_some_and(|reader| reader != 0);
    mode & if handed { 0o037 } else { 0o077 } != 0
}

impl FromStr for Recipient {
    type Err = BadRecipient;

    fn from_str(text: &str) -> Result<Self, BadRecipient> {
        // A secret key given by mistake must not come back in the message.
        let shown = || if text.starts_with("age1") { text.to_owned() } else { String::from("...") };
        text.parse().map(Self).map_err(|_| BadRecipient(shown()))
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.recipient())
    }
}

impl TryFrom<String> for Recipient {
    type Error = BadRecipient;

    fn try_from(text: String) -> Result<Self, BadRecipient> {
        text.parse()
    }
}

impl From<Recipient> for String {
    fn from(recipient: Recipient) -> Self {
        recipient.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_is_private_and_never_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let key = Identity::generate();
        assert!(matches!(Identity::read(&path), Err(KeyError::Missing { .. })));
        key.write_new(&path, "2026-03-01T02:00:00.5Z".parse().unwrap()).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let head =
            format!("# created: 2026-03-01T02:00:00Z\n# public key: {}\nAGE-SECRET-KEY-1", key.recipient());
        assert!(text.starts_with(&head), "{}", &text[..120]);
        let read = Identity::read(&path).unwrap();
        assert_eq!(read.iter().map(Identity::recipient).collect::<Vec<_>>(), [key.recipient()]);
        let again = Identity::generate().write_new(&path, Timestamp::UNIX_EPOCH);
        assert!(matches!(again, Err(KeyError::AlreadyThere { .. })));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }

    #[cfg(unix)]
    #[test]
    fn a_key_that_others_may_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        Identity::generate().write_new(&path, Timestamp::UNIX_EPOCH).unwrap();
        let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        for exposed in [0o640, 0o604, 0o610, 0o666] {
            mode(exposed);
            let error = Identity::read(&path).unwrap_err();
            assert!(matches!(error, KeyError::Exposed { mode, .. } if mode == exposed), "{error}");
            assert!(error.to_string().contains("chmod 600"), "{error}");
        }
        for private in [0o600, 0o400] {
            mode(private);
            assert!(Identity::read(&path).is_ok());
        }
    }

    #[cfg(unix)]
    #[test]
    fn root_may_hand_a_key_to_a_group() {
        let (root, us) = (0, 65532);
        for handed in [0o440, 0o640, 0o400] {
            assert!(!exposed(handed, root, Some(us)), "{handed:o}");
        }
        for exposed_to_more in [0o444, 0o460, 0o450, 0o644] {
            assert!(exposed(exposed_to_more, root, Some(us)), "{exposed_to_more:o}");
        }
        for (owner, reader) in [(us, Some(us)), (root, Some(root)), (1000, Some(us)), (root, None)] {
            assert!(exposed(0o440, owner, reader), "{owner} {reader:?}");
        }
    }

    #[test]
    fn what_is_no_key_is_named_by_its_line_and_not_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let key = Identity::generate();
        key.write_new(&path, Timestamp::UNIX_EPOCH).unwrap();
        let text = std::fs::read_to_string(&path).unwrap().replace("AGE-SECRET-KEY-1", "AGE-SECRET-KEY-1X");
        std::fs::write(&path, text).unwrap();
        let error = Identity::read(&path).unwrap_err();
        assert!(matches!(error, KeyError::Malformed { line: 3, .. }), "{error}");
        std::fs::write(&path, "# nothing\n").unwrap();
        assert!(matches!(Identity::read(&path), Err(KeyError::Empty { .. })));
        let secret = key.0.to_string();
        let refused = secret.expose_secret().parse::<Recipient>().unwrap_err();
        assert!(!format!("{refused} {key:?}").contains(&secret.expose_secret()[20..40]));
    }
}
