//! Azurite, Microsoft's own emulator of Azure Blob Storage, started for a test. It checks signatures.

use std::io;
use std::path::PathBuf;
use std::process::Stdio;

use axum::http::{Method, Request, Uri};
use object_store::ClientOptions;
use object_store::azure::{AzureAccessKey, AzureAuthorizer, AzureCredential};
use object_store::client::{HttpConnector, HttpRequestBody, ReqwestConnector};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::cloud::EMULATOR;
use crate::environment::Environment;

/// The one container that there is.
pub const CONTAINER: &str = "container";
/// What it says when it can be asked.
const READY: &str = "successfully listens on ";

/// A running Azurite with one container; it ends when this is dropped.
#[derive(Debug)]
pub struct Azurite {
    endpoint: String,
    _child: Child,
}

impl Azurite {
    /// Starts it on a port of its own, from where `./test` has installed it.
    pub async fn start() -> io::Result<Self> {
        let program = installed()?;
        let mut child = Command::new("node")
            .arg(program)
            .args([
                "--blobHost",
                "127.0.0.1",
                "--blobPort",
                "0",
                "--inMemoryPersistence",
                "--disableTelemetry",
                "--silent",
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("node: {error} (`./test` installs it)")))?;
        let stdout = child.stdout.take().ok_or_else(|| io::Error::other("it has no output"))?;
        let mut lines = BufReader::new(stdout).lines();
        while let Some(line) = lines.next_line().await? {
            if let Some((_, address)) = line.split_once(READY) {
                // It goes on talking, and stops when nobody listens.
                tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
                let azurite = Self { endpoint: format!("{address}/{}", EMULATOR.0), _child: child };
                azurite.make_container().await?;
                return Ok(azurite);
            }
        }
        Err(io::Error::other("Azurite ended before it was ready"))
    }

    /// What leads `az://container` here.
    pub fn variables(&self) -> [(&'static str, String); 3] {
        [
            ("AZURE_STORAGE_ACCOUNT", EMULATOR.0.to_owned()),
            ("AZURE_STORAGE_KEY", EMULATOR.1.to_owned()),
            ("AZURE_STORAGE_ENDPOINT", self.endpoint.clone()),
        ]
    }

    /// The same, as the vault takes it.
    pub fn environment(&self) -> Environment {
        self.variables().into()
    }

    /// The library makes none, so this signs one request of its own.
    async fn make_container(&self) -> io::Result<()> {
        let credential =
            AzureCredential::AccessKey(AzureAccessKey::try_new(EMULATOR.1).map_err(io::Error::other)?);
        let mut request = Request::new(HttpRequestBody::empty());
        *request.method_mut() = Method::PUT;
        *request.uri_mut() = format!("{}/{CONTAINER}?restype=container", self.endpoint)
            .parse::<Uri>()
            .map_err(io::Error::other)?;
        AzureAuthorizer::new(&credential, EMULATOR.0)
            .try_authorize(&mut request)
            .map_err(io::Error::other)?;
        let client = ReqwestConnector::default().connect(&ClientOptions::new().with_allow_http(true));
        let answer = client.map_err(io::Error::other)?.execute(request).await.map_err(io::Error::other)?;
        if answer.status().is_success() { Ok(()) } else { Err(io::Error::other(answer.status().to_string())) }
    }
}

/// Where `./test` puts it, beside what cargo builds.
fn installed() -> io::Result<PathBuf> {
    let test = std::env::current_exe()?;
    let found = test.ancestors().map(|folder| folder.join("azurite/node_modules/.bin/azurite-blob"));
    let missing = || {
        io::Error::other(
            "Azurite is not installed; `./test` does it, or npm install --prefix target/azurite azurite",
        )
    };
    found.into_iter().find(|program| program.exists()).ok_or_else(missing)
}
