//! What the image holds, laid out by `deploy/image-root` as its build does, and run with nothing else: another root
//! folder, the image's user, an empty environment but for what a test puts there.

#![expect(clippy::unwrap_used, reason = "these are helpers of tests, where a panic is the message")]

mod compose;
mod papers;

use std::collections::BTreeSet;
use std::fs::{File, Metadata};
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::program::program;
use crate::stage::{Call, Stage, TENANT, site};
use crate::tls::Papers;
use crate::{assert_none, root};

/// The tree's folder in that of its stage.
const TREE: &str = "image";
/// Runs the program in the tree as the image's user: root by a change of the root folder, others in a namespace of
/// their own.
const ENTER: &str = r#"if [ "$(id -u)" = 0 ]; then exec chroot --userspec=65532:65532 image /usr/bin/fermata "$@"
else exec unshare --user --map-user=65532 --map-group=65532 --root=image --wd=/ /usr/bin/fermata "$@"; fi"#;
/// Where the image has the authorities that it trusts.
const AUTHORITIES: &str = "image/etc/ssl/certs/ca-certificates.crt";
/// What anybody may write to there.
const WRITABLE: &str = "tmp";

/// A stage with the image's tree, and in it what any runtime adds.
fn laid_out(stage: Stage) -> Stage {
    let laid =
        Command::new(root().join("deploy/image-root")).arg(program()).arg(stage.at(TREE)).output().unwrap();
    assert!(laid.status.success(), "{laid:?}");
    stage.write("image/etc/hosts", "127.0.0.1 localhost\n");
    let said = inside(&stage, "--version").run();
    assert!(
        said.is_done(),
        "the image's tree cannot be entered: root is needed, or a kernel that gives namespaces to everybody: {said:?}"
    );
    stage
}

/// The program in the tree with these arguments, with blanks between; its vault and its key are in `/tmp` there.
fn inside<'a>(stage: &'a Stage, arguments: &str) -> Call<'a> {
    let call = stage.shell(&format!("set -- {arguments}\n{ENTER}"));
    call.env("FERMATA_STORE", "/tmp/vault").env("FERMATA_KEY_FILE", "/tmp/fermata.key")
}

/// Everything in the tree, by its path there, with what is known of it.
fn entries(stage: &Stage) -> Vec<(PathBuf, Metadata)> {
    let tree = stage.at(TREE);
    let (mut all, mut folders) = (Vec::new(), vec![tree.clone()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let known = path.symlink_metadata().unwrap();
            if known.is_dir() {
                folders.push(path.clone());
            }
            all.push((path.strip_prefix(&tree).unwrap().to_owned(), known));
        }
    }
    all
}

#[test]
fn with_nothing_else_it_backs_up_and_verifies() {
    let stage = laid_out(Stage::new());
    assert_eq!(inside(&stage, "--version").run().code(0).stdout, "fermata 0.1.0\n");
    inside(&stage, "init").run().code(0);
    // By name: who has which address is asked as the tree says.
    let base_url = stage.sim.base_url().replace("127.0.0.1", "localhost");
    inside(&stage, &format!("tenant add {TENANT} --base-url {base_url} --rate 1000")).run().code(0);
    inside(&stage, &format!("token set {TENANT}")).stdin(stage.sim.token(1)).run().code(0);
    inside(&stage, &format!("backup {TENANT}")).run().code(0);
    inside(&stage, &format!("snapshots verify {TENANT} --data")).run().code(0);
    let shown = inside(&stage, &format!("snapshots show {TENANT} --json")).run().code(0).json();
    let entities = shown["entities"].as_array().unwrap();
    let worklogs = entities.iter().find(|entity| entity["entity"] == "worklogs").unwrap();
    assert_eq!(worklogs["records"], stage.sim.truth(1, "worklogs").len());
    // Its own default is the folder that it is started in, which is nobody's to write to.
    let call = stage.shell(&format!("set -- init\n{ENTER}"));
    call.run().error(2, &["fermata-data", "Permission denied"]);
}

#[test]
fn it_trusts_the_authorities_that_it_brings_and_no_others() {
    let stage = laid_out(Stage::of(site()));
    let papers = Papers::new();
    let door = behind_tls(&stage, &papers);
    inside(&stage, "init").run().code(0);
    inside(&stage, &format!("tenant add {TENANT} --base-url https://localhost:{} --rate 1000", door.port()))
        .run()
        .code(0);
    let set = || inside(&stage, &format!("token set {TENANT}")).stdin(stage.sim.token(1)).run();
    assert!(set().error(1, &["certificate"]).stderr.contains("UnknownIssuer"));
    let trusted = File::options().append(true).open(stage.at(AUTHORITIES));
    trusted.unwrap().write_all(papers.authority.as_bytes()).unwrap();
    set().code(0);
    inside(&stage, &format!("backup {TENANT} --entity teams")).run().code(0);
    // Without any it refuses to ask anybody.
    std::fs::remove_file(stage.at(AUTHORITIES)).unwrap();
    set().error(2, &["No CA certificates"]);
}

#[test]
fn nothing_in_it_can_be_written_or_lends_rights() {
    let stage = laid_out(Stage::new());
    let mut problems = Vec::new();
    let mut bytes = 0;
    for (path, known) in entries(&stage) {
        let (mode, shown) = (known.permissions().mode(), path.display());
        bytes += if known.is_file() { known.len() } else { 0 };
        let is_writable = path == Path::new(WRITABLE);
        if known.is_symlink() || !(known.is_file() || known.is_dir()) {
            problems.push(format!("{shown} is neither file nor folder"));
        }
        if mode & 0o6000 != 0 {
            problems.push(format!("{shown} lends its owner's rights: {mode:o}"));
        }
        if mode & 0o022 != 0 && !is_writable {
            problems.push(format!("{shown} can be written by others: {mode:o}"));
        }
        if mode & 0o444 != 0o444 || (known.is_dir() && mode & 0o111 != 0o111) {
            problems.push(format!("{shown} cannot be read by others: {mode:o}"));
        }
        if is_writable && mode & 0o1777 != 0o1777 {
            problems.push(format!("{shown} is not everybody's: {mode:o}"));
        }
    }
    assert_none(&problems);
    say(&format!("the tree holds {:.1} MB", bytes as f64 / 1e6));
    let text = |name: &str| std::fs::read_to_string(stage.at(&format!("{TREE}/etc/{name}"))).unwrap();
    assert!(text("passwd").contains("nonroot:x:65532:65532:"), "{}", text("passwd"));
    assert!(text("group").contains("nonroot:x:65532:"), "{}", text("group"));
    assert!(text("nsswitch.conf").contains("hosts: files dns\n"), "{}", text("nsswitch.conf"));
}

#[test]
fn it_holds_the_libraries_that_the_program_needs_and_no_more() {
    let stage = laid_out(Stage::new());
    let is_ours = |path: &Path| path.starts_with("etc") || path == Path::new("usr/bin/fermata");
    let files = entries(&stage).into_iter().filter(|(_, known)| known.is_file()).map(|(path, _)| path);
    let libraries: BTreeSet<PathBuf> = files.filter(|path| !is_ours(path)).collect();
    assert!(!libraries.is_empty());
    for library in libraries {
        let (here, away) = (stage.at(TREE).join(&library), stage.at("away"));
        std::fs::rename(&here, &away).unwrap();
        let said = inside(&stage, "--version").run();
        assert!(!said.is_done(), "it starts without {}", library.display());
        std::fs::rename(&away, &here).unwrap();
    }
    inside(&stage, "--version").run().code(0);
}

#[test]
fn a_tree_is_laid_out_once_and_never_without_authorities() {
    let stage = Stage::new();
    let lay = || stage.shell(&format!("{}/deploy/image-root {} tree", root().display(), program().display()));
    let said = lay().env("SSL_CERT_FILE", "/nowhere").run().code(1).stderr;
    assert!(said.contains("no certificates at /nowhere: "), "{said}");
    assert!(!stage.at("tree").exists());
    lay().run().code(0);
    lay().run().code(1);
}

/// A door to the simulator that speaks TLS, with these papers.
fn behind_tls(stage: &Stage, papers: &Papers) -> SocketAddr {
    let certificate = CertificateDer::from_pem_slice(papers.server.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(papers.key.as_bytes()).unwrap();
    let config =
        ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let tempo = stage.sim.address();
    stage.block_on(async move {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    // One that does not trust us hangs up.
                    let Ok(mut inner) = acceptor.accept(stream).await else { return };
                    let mut outer = TcpStream::connect(tempo).await.unwrap();
                    let _ = copy_bidirectional(&mut inner, &mut outer).await;
                });
            }
        });
        address
    })
}

#[expect(clippy::print_stderr, reason = "how large it is, is worth reading")]
fn say(line: &str) {
    eprintln!("{line}");
}
