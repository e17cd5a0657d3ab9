//! A queue behind TLS, with a certificate of the operator's own.

#![expect(clippy::unwrap_used, reason = "these are helpers of tests, where a panic is the message")]

use std::process::Command;

use fermata_fleet::testing::RedisServer;

use crate::program::program;

/// What a server on this machine shows, by an authority that nobody knows. All of it as PEM.
pub(crate) struct Papers {
    pub(crate) authority: String,
    pub(crate) server: String,
    pub(crate) key: String,
}

impl Papers {
    pub(crate) fn new() -> Self {
        let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority_key = rcgen::KeyPair::generate().unwrap();
        let authority_paper = authority.self_signed(&authority_key).unwrap();
        let issuer = rcgen::Issuer::new(authority, authority_key);
        let key = rcgen::KeyPair::generate().unwrap();
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let server = rcgen::CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
        Self { authority: authority_paper.pem(), server: server.pem(), key: key.serialize_pem() }
    }
}

#[test]
fn a_queue_behind_tls_is_reached_and_a_stranger_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let shown = |name: &str| at(name).display().to_string();
    let papers = Papers::new();
    for (name, text) in
        [("ca.pem", papers.authority), ("server.pem", papers.server), ("server.key", papers.key)]
    {
        std::fs::write(at(name), text).unwrap();
    }
    let files = ["ca.pem", "server.pem", "server.key"].map(shown);
    let server = RedisServer::start(
        folder.path(),
        &[
            "--port",
            "0",
            "--tls-port",
            "{port}",
            "--tls-auth-clients",
            "no",
            "--requirepass",
            "secret",
            "--tls-ca-cert-file",
            &files[0],
            "--tls-cert-file",
            &files[1],
            "--tls-key-file",
            &files[2],
        ],
    );
    assert!(
        Command::new(program()).args(["init", "-q"]).current_dir(folder.path()).status().unwrap().success()
    );
    let status = |scheme: &str, trusted: Option<&str>| {
        let mut command = Command::new(program());
        command.args(["queue", "status"]).current_dir(folder.path());
        command.env("FERMATA_REDIS", format!("{scheme}://:secret@127.0.0.1:{}/0", server.port()));
        // rustls asks where the machine's certificates are as every other program does.
        command.env("SSL_CERT_FILE", trusted.unwrap_or("/dev/null"));
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(status("rediss", Some(&files[0])).0, Some(0), "{:?}", status("rediss", Some(&files[0])));
    for (scheme, trusted) in [("rediss", None), ("redis", Some(files[0].as_str()))] {
        let (code, said) = status(scheme, trusted);
        assert_eq!(code, Some(1), "{scheme}: {said}");
        assert!(said.starts_with("error: ") && !said.contains("secret"), "{scheme}: {said}");
    }
}
