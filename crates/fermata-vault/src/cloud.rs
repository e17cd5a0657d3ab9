//! The doors to S3 and its kin, Google Cloud Storage and Azure Blob Storage.
//!
//! Each is built here, option by option, since the library's own way from an address to a store drops options that
//! it does not know, and cannot be told when to give up.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, Checksum};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GcpCredential, GoogleCloudStorageBuilder};
use object_store::{
    BackoffConfig, ClientOptions, CredentialProvider, Error, ObjectStore, Result, RetryConfig,
    StaticCredentialProvider,
};

use crate::environment::Environment;

/// A host that does not take the connection in this time is away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A request with its body. The largest are chunks of at most some megabytes: enough for a line of a megabit.
const REQUEST_TIMEOUT: Duration = Duration::from_mins(1);
/// Repeats of a request that a store answered with 5xx or 429, or did not answer. With the waits below that is a
/// quarter of a minute, as a rule: longer than a store stumbles, and as long as a person waits to be told.
const RETRIES: usize = 8;
/// The first wait before a repeat, and the longest; each is drawn from the first to [`RETRY_GROWTH`] times the last.
const RETRY_WAITS: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// With less, waits drawn like that hardly grow.
const RETRY_GROWTH: f64 = 3.0;
/// After this long nothing is repeated: signatures are not renewed between repeats, and go stale in minutes.
const RETRY_TIMEOUT: Duration = Duration::from_mins(2);
/// A machine of a cloud answers for its credentials at once. Any other machine has nobody at that address, and a
/// person waits to be told so.
const METADATA_TIMEOUT: Duration = Duration::from_secs(2);

/// Azurite's account and key: the same everywhere, and in its documentation.
pub(crate) const EMULATOR: (&str, &str, &str) = (
    "devstoreaccount1",
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==",
    "http://127.0.0.1:10000/devstoreaccount1",
);

const NO_AWS: &str = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set, and this machine has no role";
const NO_GOOGLE: &str = "GOOGLE_APPLICATION_CREDENTIALS is not set, and this machine has no service account";
const NO_AZURE: &str = "AZURE_STORAGE_KEY is not set, and this machine has no managed identity";

/// Which cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cloud {
    Aws,
    Google,
    Azure,
}

impl Cloud {
    /// The cloud of an address that begins so.
    pub(crate) fn of(scheme: &str) -> Option<Self> {
        match scheme {
            "s3" => Some(Self::Aws),
            "gs" => Some(Self::Google),
            "az" => Some(Self::Azure),
            _ => None,
        }
    }

    /// Opens a bucket or container; nothing is asked yet. An error says what is wrong with the environment.
    pub(crate) fn open(
        self,
        bucket: &str,
        environment: &Environment,
    ) -> Result<Arc<dyn ObjectStore>, String> {
        match self {
            Self::Aws => aws(bucket, environment),
            Self::Google => google(bucket, environment),
            Self::Azure => azure(bucket, environment),
        }
    }
}

/// Nobody gave credentials, and what could have given some says why not.
#[derive(Debug, thiserror::Error)]
#[error("{wanted}")]
pub(crate) struct NoCredentials {
    wanted: &'static str,
}

fn aws(bucket: &str, environment: &Environment) -> Result<Arc<dyn ObjectStore>, String> {
    const OPTIONS: &[(&str, AmazonS3ConfigKey)] = &[
        ("AWS_ACCESS_KEY_ID", AmazonS3ConfigKey::AccessKeyId),
        ("AWS_SECRET_ACCESS_KEY", AmazonS3ConfigKey::SecretAccessKey),
        ("AWS_SESSION_TOKEN", AmazonS3ConfigKey::Token),
        ("AWS_REGION", AmazonS3ConfigKey::Region),
        ("AWS_DEFAULT_REGION", AmazonS3ConfigKey::DefaultRegion),
        ("AWS_ROLE_ARN", AmazonS3ConfigKey::RoleArn),
        ("AWS_ROLE_SESSION_NAME", AmazonS3ConfigKey::RoleSessionName),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", AmazonS3ConfigKey::WebIdentityTokenFile),
        ("AWS_ENDPOINT_URL_STS", AmazonS3ConfigKey::StsEndpoint),
        ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", AmazonS3ConfigKey::ContainerCredentialsRelativeUri),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", AmazonS3ConfigKey::ContainerCredentialsFullUri),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", AmazonS3ConfigKey::ContainerAuthorizationTokenFile),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", AmazonS3ConfigKey::MetadataEndpoint),
        ("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", AmazonS3ConfigKey::VirtualHostedStyleRequest),
    ];
    let set = |name| environment.get(name).is_some();
    if set("AWS_ACCESS_KEY_ID") != set("AWS_SECRET_ACCESS_KEY") {
        return Err("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY go together, and one is not set".to_owned());
    }
    let pointed = set("AWS_ACCESS_KEY_ID")
        || (set("AWS_WEB_IDENTITY_TOKEN_FILE") && set("AWS_ROLE_ARN"))
        || set("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
        || (set("AWS_CONTAINER_CREDENTIALS_FULL_URI") && set("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"));
    if !pointed && environment.says_yes("AWS_EC2_METADATA_DISABLED") {
        return Err(
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set, and AWS_EC2_METADATA_DISABLED is"
                .to_owned(),
        );
    }
    let endpoint = environment.first(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]);
    let mut builder = AmazonS3Builder::new().with_bucket_name(bucket).with_client_options(client(endpoint));
    if let Some(endpoint) = endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    // The hash is made for the signature anyway. Buckets with object lock take no object without one.
    if environment.get("AWS_REQUEST_CHECKSUM_CALCULATION") != Some("when_required") {
        builder = builder.with_checksum_algorithm(Checksum::SHA256);
    }
    for (name, key) in OPTIONS {
        if let Some(value) = environment.get(name) {
            builder = builder.with_config(*key, value);
        }
    }
    let asked = builder.clone().with_retry(retry(pointed)).build().map_err(said)?;
    let keeper = Keeper::new(Arc::clone(asked.credentials()), (!pointed).then_some(NO_AWS));
    let store = builder.with_credentials(Arc::new(keeper)).with_retry(retry(true)).build();
    Ok(Arc::new(store.map_err(said)?))
}

fn google(bucket: &str, environment: &Environment) -> Result<Arc<dyn ObjectStore>, String> {
    // As Google's own clients take it: with or without a scheme, and nobody there to ask for credentials.
    let emulator = environment.get("STORAGE_EMULATOR_HOST");
    let emulator =
        emulator.map(|host| if host.contains("://") { host.to_owned() } else { format!("http://{host}") });
    let new = || {
        let mut builder = GoogleCloudStorageBuilder::new()
            .with_bucket_name(bucket)
            .with_client_options(client(emulator.as_deref()));
        if let Some(host) = &emulator {
            builder = builder.with_base_url(host);
        }
        builder
    };
    let bearer = environment.get("CLOUDSDK_AUTH_ACCESS_TOKEN").or_else(|| emulator.as_ref().map(|_| ""));
    let keeper = if let Some(bearer) = bearer {
        let credential = GcpCredential { bearer: bearer.to_owned() };
        Keeper::new(Arc::new(StaticCredentialProvider::new(credential)), None)
    } else {
        let named = environment.get("GOOGLE_APPLICATION_CREDENTIALS");
        let logged_in = environment.get("HOME").is_some_and(|home| {
            std::path::Path::new(home).join(".config/gcloud/application_default_credentials.json").exists()
        });
        let pointed = named.is_some() || logged_in;
        let mut builder = new().with_retry(retry(pointed));
        if let Some(file) = named {
            builder = builder.with_application_credentials(file);
        }
        let wrong = |error| format!("GOOGLE_APPLICATION_CREDENTIALS: {}", said(error));
        let asked = builder.build().map_err(wrong)?;
        Keeper::new(Arc::clone(asked.credentials()), (!pointed).then_some(NO_GOOGLE))
    };
    let store = new().with_credentials(Arc::new(keeper)).with_retry(retry(true)).build();
    Ok(Arc::new(store.map_err(said)?))
}

fn azure(container: &str, environment: &Environment) -> Result<Arc<dyn ObjectStore>, String> {
    const OPTIONS: &[(&str, AzureConfigKey)] = &[
        ("AZURE_STORAGE_SAS_TOKEN", AzureConfigKey::SasKey),
        ("AZURE_TENANT_ID", AzureConfigKey::AuthorityId),
        ("AZURE_CLIENT_ID", AzureConfigKey::ClientId),
        ("AZURE_CLIENT_SECRET", AzureConfigKey::ClientSecret),
        ("AZURE_FEDERATED_TOKEN_FILE", AzureConfigKey::FederatedTokenFile),
        ("AZURE_AUTHORITY_HOST", AzureConfigKey::AuthorityHost),
        ("IDENTITY_ENDPOINT", AzureConfigKey::MsiEndpoint),
    ];
    let emulator = environment.says_yes("AZURE_STORAGE_USE_EMULATOR");
    let or_emulators = |set: Option<_>, known| set.or_else(|| emulator.then_some(known));
    let account = environment.first(&["AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_ACCOUNT_NAME"]);
    let key = environment.first(&["AZURE_STORAGE_KEY", "AZURE_STORAGE_ACCOUNT_KEY"]);
    let (account, key) = (or_emulators(account, EMULATOR.0), or_emulators(key, EMULATOR.1));
    let endpoint = or_emulators(environment.get("AZURE_STORAGE_ENDPOINT"), EMULATOR.2);
    let Some(account) = account else {
        return Err("AZURE_STORAGE_ACCOUNT names the storage account, and is not set".to_owned());
    };
    let mut builder = MicrosoftAzureBuilder::new()
        .with_account(account)
        .with_container_name(container)
        .with_client_options(client(endpoint));
    if let Some(endpoint) = endpoint {
        builder = builder.with_endpoint(endpoint.to_owned());
    }
    if let Some(key) = key {
        builder = builder.with_access_key(key);
    }
    for (name, key) in OPTIONS {
        if let Some(value) = environment.get(name) {
            builder = builder.with_config(*key, value);
        }
    }
    let secret =
        ["AZURE_STORAGE_SAS_TOKEN", "AZURE_CLIENT_SECRET", "AZURE_FEDERATED_TOKEN_FILE", "IDENTITY_ENDPOINT"];
    let pointed = key.is_some() || environment.first(&secret).is_some();
    let asked = builder.clone().with_retry(retry(pointed)).build().map_err(said)?;
    let keeper = Keeper::new(Arc::clone(asked.credentials()), (!pointed).then_some(NO_AZURE));
    let store = builder.with_credentials(Arc::new(keeper)).with_retry(retry(true)).build();
    Ok(Arc::new(store.map_err(said)?))
}

/// In clear only where whoever runs it wrote `http://`.
fn client(endpoint: Option<&str>) -> ClientOptions {
    ClientOptions::new()
        .with_timeout(REQUEST_TIMEOUT)
        .with_connect_timeout(CONNECT_TIMEOUT)
        .with_allow_http(endpoint.is_some_and(|endpoint| endpoint.starts_with("http://")))
}

/// When to ask again: a store, or whoever was named to give credentials, more often than a machine that may be of
/// no cloud at all.
fn retry(pointed: bool) -> RetryConfig {
    let backoff =
        BackoffConfig { init_backoff: RETRY_WAITS.0, max_backoff: RETRY_WAITS.1, base: RETRY_GROWTH };
    if pointed {
        RetryConfig { backoff, max_retries: RETRIES, retry_timeout: RETRY_TIMEOUT }
    } else {
        RetryConfig { backoff, max_retries: 1, retry_timeout: METADATA_TIMEOUT }
    }
}

/// What the library says is wrong, without what it says of itself.
fn said(error: Error) -> String {
    match error {
        Error::Generic { source, .. } => source.to_string(),
        error => error.to_string(),
    }
}

/// Gives credentials on, and keeps them from being shown: whoever prints a store would print them.
struct Keeper<C> {
    inner: Arc<dyn CredentialProvider<Credential = C>>,
    /// What to say when there are none, where nothing in the environment leads to any.
    wanted: Option<&'static str>,
    /// Whether there were some. Then a failure is one of the moment.
    had: AtomicBool,
}

impl<C> Keeper<C> {
    fn new(inner: Arc<dyn CredentialProvider<Credential = C>>, wanted: Option<&'static str>) -> Self {
        Self { inner, wanted, had: AtomicBool::new(false) }
    }
}

#[async_trait]
impl<C: Send + Sync> CredentialProvider for Keeper<C> {
    type Credential = C;

    async fn get_credential(&self) -> Result<Arc<C>> {
        let given = self.inner.get_credential().await;
        match (&given, self.wanted) {
            (Ok(_), _) => self.had.store(true, Ordering::Relaxed),
            (Err(_), Some(wanted)) if !self.had.load(Ordering::Relaxed) => {
                let source = Box::new(NoCredentials { wanted });
                return Err(Error::Unauthenticated { path: String::new(), source });
            }
            (Err(_), _) => {}
        }
        given
    }
}

impl<C> fmt::Debug for Keeper<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("credentials")
    }
}
