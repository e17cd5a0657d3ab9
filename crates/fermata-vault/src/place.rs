//! From an address to a store.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use url::Url;

use crate::error::VaultError;

/// Opens the store at an address: `file:///path`, a plain path, or `memory:` (empty, for tests).
///
/// A folder must be there.
pub fn open(url: &str) -> Result<Arc<dyn ObjectStore>, VaultError> {
    match place(url)? {
        Place::Memory => Ok(Arc::new(InMemory::new())),
        Place::Folder(path) if !path.exists() => Err(VaultError::NoVault),
        Place::Folder(path) => folder(url, &path),
    }
}

/// The folder of a store that is one.
pub fn folder_of(url: &str) -> Option<PathBuf> {
    match place(url) {
        Ok(Place::Folder(path)) => Some(path),
        _ => None,
    }
}

/// Opens the store at an address, and makes the folder when there is none.
pub fn create(url: &str) -> Result<Arc<dyn ObjectStore>, VaultError> {
    if let Place::Folder(path) = place(url)? {
        private_folder(&path).map_err(|error| address(url, format!("{error}")))?;
    }
    open(url)
}

/// Makes a folder that only its owner may look into; one that is there stays as it is.
fn private_folder(path: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(path)
}

enum Place {
    Memory,
    Folder(PathBuf),
}

fn place(url: &str) -> Result<Place, VaultError> {
    let Some((scheme, rest)) = url.split_once(':').filter(|(scheme, _)| is_scheme(scheme)) else {
        return if url.is_empty() {
            Err(address(url, "it is empty"))
        } else {
            Ok(Place::Folder(PathBuf::from(url)))
        };
    };
    match scheme {
        "memory" if rest.is_empty() || rest == "//" => Ok(Place::Memory),
        "file" => {
            let parsed = Url::parse(url).map_err(|error| address(url, error.to_string()))?;
            let path = parsed.to_file_path();
            path.map(Place::Folder)
                .map_err(|()| address(url, "a folder is written file:///absolute/path or as a plain path"))
        }
        "s3" | "gs" | "az" => Err(address(url, format!("{scheme}:// does not work yet; use a folder"))),
        _ => Err(address(url, "use file:///absolute/path or a plain path")),
    }
}

/// Two letters at least: a single one is a drive.
fn is_scheme(text: &str) -> bool {
    text.len() > 1 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

fn folder(url: &str, path: &Path) -> Result<Arc<dyn ObjectStore>, VaultError> {
    let store = LocalFileSystem::new_with_prefix(path).map_err(|error| address(url, error.to_string()))?;
    // A checkpoint that was acknowledged must survive a power cut, and swept runs leave no empty folders.
    Ok(Arc::new(store.with_fsync(true).with_automatic_cleanup(true)))
}

fn address(url: &str, why: impl Into<String>) -> VaultError {
    VaultError::Address { url: url.to_owned(), why: why.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str, expect: &str) {
        let got = match place(url) {
            Ok(Place::Memory) => "memory".to_owned(),
            Ok(Place::Folder(path)) => path.display().to_string(),
            Err(error) => error.to_string(),
        };
        assert_eq!(got, expect, "{url}");
    }

    #[test]
    fn addresses() {
        check("memory:", "memory");
        check("./fermata-data", "./fermata-data");
        check("/srv/a:b", "/srv/a:b");
        check("file:///srv/tempo%20data", "/srv/tempo data");
        check("s3://bucket/x", "\"s3://bucket/x\" is no store: s3:// does not work yet; use a folder");
        check("http://x", "\"http://x\" is no store: use file:///absolute/path or a plain path");
        check("", "\"\" is no store: it is empty");
    }

    #[test]
    fn a_folder_is_made_only_when_told_to() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/er");
        let url = path.to_str().unwrap();
        assert!(matches!(open(url), Err(VaultError::NoVault)));
        assert!(!path.exists());
        assert!(create(url).is_ok());
        assert!(open(url).is_ok());
    }
}
