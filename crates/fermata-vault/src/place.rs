//! From an address to a store.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path as Key;
use object_store::prefix::PrefixStore;
use url::Url;

use crate::cloud::Cloud;
use crate::environment::Environment;
use crate::error::VaultError;

/// Opens the store at an address: a plain path, `file:///path`, `s3://bucket/prefix`, `gs://bucket/prefix`,
/// `az://container/prefix`, or `memory:` (empty, for tests).
///
/// A folder must be there. Of a bucket nothing is asked yet.
pub fn open(url: &str, environment: &Environment) -> Result<Arc<dyn ObjectStore>, VaultError> {
    match place(url)? {
        Place::Memory => Ok(Arc::new(InMemory::new())),
        Place::Folder(path) if !path.exists() => Err(VaultError::NoVault),
        Place::Folder(path) => folder(url, &path),
        Place::Bucket { cloud, bucket, prefix } => {
            let store = cloud.open(&bucket, environment).map_err(|why| VaultError::Environment { why })?;
            Ok(if prefix.is_root() { store } else { Arc::new(PrefixStore::new(store, prefix)) })
        }
    }
}

/// The folder of a store that is one.
pub fn folder_of(url: &str) -> Option<PathBuf> {
    match place(url) {
        Ok(Place::Folder(path)) => Some(path),
        _ => None,
    }
}

/// Opens the store at an address, and makes the folder when there is none. Buckets are made by their owners.
pub fn create(url: &str, environment: &Environment) -> Result<Arc<dyn ObjectStore>, VaultError> {
    if let Place::Folder(path) = place(url)? {
        private_folder(&path).map_err(|error| address(url, format!("{error}")))?;
    }
    open(url, environment)
}

/// Makes a folder that only its owner may look into; one that is there stays as it is.
fn private_folder(path: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(path)
}

#[derive(Debug)]
enum Place {
    Memory,
    Folder(PathBuf),
    Bucket { cloud: Cloud, bucket: String, prefix: Key },
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
        _ => match Cloud::of(scheme) {
            Some(cloud) => bucket(cloud, rest).map_err(|why| address(url, why)),
            None => Err(address(url, "use a plain path, file:///absolute/path, s3://, gs:// or az://")),
        },
    }
}

/// What follows `s3:`, read strictly: a prefix that one program writes in another way than the next is two vaults.
fn bucket(cloud: Cloud, rest: &str) -> Result<Place, String> {
    if rest.contains(['@', '?']) {
        return Err("credentials and options do not belong into an address, which others see; the environment has them"
            .to_owned());
    }
    let rest = rest.strip_prefix("//").unwrap_or_default();
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.contains(':') {
        return Err("a bucket has no port; AWS_ENDPOINT_URL, STORAGE_EMULATOR_HOST and AZURE_STORAGE_ENDPOINT name servers"
            .to_owned());
    }
    let plain = |part: &str| {
        let taken = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.=".contains(&byte);
        !part.is_empty() && part != "." && part != ".." && part.bytes().all(taken)
    };
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    if !plain(bucket) || !(prefix.is_empty() || prefix.split('/').all(plain)) {
        return Err("a bucket is written like s3://bucket/prefix, in letters, digits, and - _ . =".to_owned());
    }
    Ok(Place::Bucket { cloud, bucket: bucket.to_owned(), prefix: Key::from(prefix) })
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

/// An address that cannot be used, without what may be a secret in it.
fn address(url: &str, why: impl Into<String>) -> VaultError {
    let shown = match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, after))) => format!("{scheme}://...@{after}"),
        _ => url.to_owned(),
    };
    let shown = shown.split_once('?').map_or(shown.clone(), |(before, _)| format!("{before}?..."));
    VaultError::Address { url: shown, why: why.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str, expect: &str) {
        let got = match place(url) {
            Ok(Place::Memory) => "memory".to_owned(),
            Ok(Place::Folder(path)) => path.display().to_string(),
            Ok(Place::Bucket { cloud, bucket, prefix }) => format!("{cloud:?} {bucket} {prefix}"),
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
        check("s3://bucket", "Aws bucket ");
        check("s3://my.bucket/", "Aws my.bucket ");
        check("gs://bucket_1/a/b.c/", "Google bucket_1 a/b.c");
        check("az://box/year=2026", "Azure box year=2026");
        let others = "is no store: use a plain path, file:///absolute/path, s3://, gs:// or az://";
        check("http://x", &format!("\"http://x\" {others}"));
        check("http://me:secret@x/a?key=secret", &format!("\"http://...@x/a?...\" {others}"));
        check("", "\"\" is no store: it is empty");
    }

    #[test]
    fn addresses_that_would_be_read_in_two_ways() {
        let written = "a bucket is written like s3://bucket/prefix, in letters, digits, and - _ . =";
        for url in
            ["s3:", "s3://", "s3:///a", "s3:bucket", "s3://b/a//b", "s3://b/../a", "gs://b/%61", "az://b/a b"]
        {
            check(url, &format!("{url:?} is no store: {written}"));
        }
    }

    #[test]
    fn an_address_holds_no_secrets() {
        let refused = "is no store: credentials and options do not belong into an address, which others see; the environment has them";
        check("s3://key:sec/ret@bucket/a", &format!("\"s3://...@bucket/a\" {refused}"));
        check("s3://bucket/a?token=secret", &format!("\"s3://bucket/a?...\" {refused}"));
        let port = "a bucket has no port; AWS_ENDPOINT_URL, STORAGE_EMULATOR_HOST and AZURE_STORAGE_ENDPOINT name servers";
        check("s3://localhost:9000/b", &format!("\"s3://localhost:9000/b\" is no store: {port}"));
    }

    #[test]
    fn a_folder_is_made_only_when_told_to() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/er");
        let url = path.to_str().unwrap();
        let none = Environment::default();
        assert!(matches!(open(url, &none), Err(VaultError::NoVault)));
        assert!(!path.exists());
        assert!(create(url, &none).is_ok());
        assert!(open(url, &none).is_ok());
    }
}
