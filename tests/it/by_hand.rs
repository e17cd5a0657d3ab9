//! A vault that Fermata wrote, read without Fermata.

#![expect(clippy::unwrap_used, reason = "these are helpers of tests, where a panic is the message")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use fermata_core::FORMAT;
use fermata_core::manifest::{Entry, EntryStatus, Layer, LayerKind, Manifest, Status};
use fermata_core::names::{RunId, Tenant};
use fermata_vault::{Environment, Identity, InitOptions, Known, OpenChunk, Vault, nonce};
use jiff::Timestamp;
use tempfile::TempDir;

use crate::root;
use crate::stage::{Stage, TENANT};

const TOOLS: [&str; 4] = ["age", "zstd", "sha256sum", "jq"];
const RUN: &str = "20260301T020000Z-aaaaaa";
/// Numbers and spaces that would not survive a parser, one piece for each page.
const SWEEP: [&[&str]; 2] = [
    &[
        "{\"tempoWorklogId\":1,\"x\":12345678901234567890}\n{\"tempoWorklogId\":2}\n",
        "{\"tempoWorklogId\": 3 }\n",
    ],
    &["{\"tempoWorklogId\":5}\n{\"tempoWorklogId\":4,\"description\":\"\\u00e9\\t\"}\n"],
];
const DELETIONS: &str = "{\"action\":\"Deleted\",\"entityType\":\"worklog\",\"entityId\":\"5\"}\n";
const CHANGES: &str = "{\"tempoWorklogId\":2,\"form\":1.0}\n{\"tempoWorklogId\":2,\"form\":2.00}\n";

struct Room {
    folder: TempDir,
    key_file: PathBuf,
}

#[tokio::test]
async fn a_sealed_vault_is_read_by_hand() {
    read_by_hand(&Room::new(true).await);
}

#[tokio::test]
async fn a_plain_vault_is_read_by_hand() {
    read_by_hand(&Room::new(false).await);
}

#[tokio::test]
async fn damage_is_found_by_hand() {
    let room = Room::new(true).await;
    let chunks = room.folder.path().join("vault/tenants/acme/chunks");
    let chunk = std::fs::read_dir(chunks).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&chunk).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&chunk, bytes).unwrap();
    let output = room.run(&["check", "vault", "acme", RUN]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let name = chunk.file_name().unwrap().to_str().unwrap();
    assert_eq!(text(&output.stdout), format!("damaged: {name}\n"));
}

/// With the lines of docs/formats.md.
#[tokio::test]
async fn a_signature_is_checked_by_hand() {
    let room = Room::new(true).await;
    let page = std::fs::read_to_string(root().join("docs/formats.md")).unwrap();
    let (_, lines) = page.split_once("```sh\n").unwrap();
    let (lines, _) = lines.split_once("```").unwrap();
    let check = |document: &str| {
        let script = lines.replace("fermata-data", "vault").replace("$document", document);
        let output =
            Command::new("bash").args(["-euc", &script]).current_dir(room.folder.path()).output().unwrap();
        (output.status.success(), text(&output.stdout))
    };
    let documents = ["vault/fermata.json".to_owned(), format!("vault/tenants/acme/snapshots/{RUN}.json")];
    for document in documents {
        assert_eq!(check(&document), (true, "Signature Verified Successfully\n".to_owned()), "{document}");
        let file = room.folder.path().join(&document);
        std::fs::write(
            &file,
            std::fs::read_to_string(&file).unwrap().replace("\"schema\": 1", "\"schema\":  1"),
        )
        .unwrap();
        assert!(!check(&document).0, "{document} was changed");
    }
}

#[tokio::test]
async fn a_missing_key_is_said() {
    let room = Room::new(true).await;
    std::fs::remove_file(&room.key_file).unwrap();
    let output = room.run(&["read", "vault", "acme", RUN, "worklogs"]);
    assert!(!output.status.success() && text(&output.stderr).contains("key"), "{output:?}");
}

#[tokio::test]
async fn an_entity_that_is_not_there_is_not_taken_for_an_empty_one() {
    let output = Room::new(false).await.run(&["read", "vault", "acme", RUN, "worklog"]);
    assert_eq!((output.status.code(), &*text(&output.stderr)), (Some(1), "no such entity: worklog\n"));
}

/// The program's own vault, sealed and plain: the script reads what the program exports.
#[test]
fn what_the_program_wrote_is_read_by_hand() {
    for flags in ["", "--no-encryption"] {
        let stage = Stage::new();
        stage.fermata(&format!("init {flags}")).run().code(0);
        stage.add_tenant(TENANT, 1);
        let backup = stage.fermata("backup acme --json").run().code(0).json();
        let snapshot = backup["tenants"][0]["snapshot"].as_str().unwrap();
        let by_hand = |what: &str| {
            let line = format!("{} {what}", script().display());
            let ended = stage.shell(&line).env("FERMATA_KEY_FILE", "fermata.key").run().code(0);
            assert_eq!(ended.stderr, "", "{line}");
            ended.stdout
        };
        assert!(by_hand("list fermata-data acme").starts_with(snapshot));
        let check = by_hand(&format!("check fermata-data acme {snapshot}"));
        assert!(check.contains("worklogs\tcomplete\t1000\t"), "{check}");
        stage.fermata("export acme --out exported").run().code(0);
        for (entity, id) in [("worklogs", ".tempoWorklogId"), ("holidays", "[._parent,.id]"), ("teams", "")] {
            let read = by_hand(&format!("read fermata-data acme {snapshot} {entity} '{id}'"));
            let exported = std::fs::read_to_string(stage.at(&format!("exported/{entity}.ndjson"))).unwrap();
            assert!(read == exported && !read.is_empty(), "{entity} {flags}");
        }
    }
}

fn read_by_hand(room: &Room) {
    let list = room.answer(&["list", "vault", "acme"]);
    assert_eq!(list, format!("{RUN}\tpartial\t2026-03-01T02:10:00Z\t4\n"));
    let check = room.answer(&["check", "vault", "acme", RUN]);
    assert_eq!(check, "worklogs\tcomplete\t4\t\nteams\tskipped\t0\tgrant the Teams scope\n");
    let all = SWEEP.concat().concat() + CHANGES;
    assert_eq!(room.answer(&["read", "vault", "acme", RUN, "worklogs"]), all);
    let view: String =
        [0, 2, 4, 6].map(|line| all.lines().nth(line).unwrap().to_owned() + "\n").into_iter().collect();
    assert_eq!(room.answer(&["read", "vault", "acme", RUN, "worklogs", ".tempoWorklogId"]), view);
    assert_eq!(room.answer(&["read", "vault", "acme", RUN, "teams"]), "");
}

impl Room {
    async fn new(sealed: bool) -> Self {
        let folder = TempDir::new().unwrap();
        let (place, key_file) = (folder.path().join("vault"), folder.path().join("fermata.key"));
        let key = Identity::generate();
        key.write_new(&key_file, now()).unwrap();
        let options = InitOptions {
            worker: key.recipient(),
            data_recipients: if sealed { vec![key.recipient()] } else { vec![] },
            single_writer: false,
            now: now(),
        };
        let store = fermata_vault::create(place.to_str().unwrap(), &Environment::default()).unwrap();
        Vault::init(store.clone(), options).await.unwrap();
        let vault = Vault::open(store, [key]).await.unwrap();
        fill(&vault).await;
        Self { folder, key_file }
    }

    /// Runs the script where the vault is.
    fn run(&self, arguments: &[&str]) -> Output {
        for tool in TOOLS {
            let found = Command::new(tool).arg("--version").output().is_ok();
            assert!(found, "this test runs {tool}: sudo apt-get install {}", TOOLS.join(" "));
        }
        Command::new(script())
            .args(arguments)
            .current_dir(self.folder.path())
            .env("FERMATA_KEY_FILE", &self.key_file)
            .output()
            .unwrap()
    }

    fn answer(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success() && output.stderr.is_empty(), "{arguments:?}: {output:?}");
        text(&output.stdout)
    }
}

/// A snapshot of two entities: one with chunks of several frames and changes, one that was refused.
async fn fill(vault: &Vault) {
    let tenant: Tenant = "acme".parse().unwrap();
    let mut sweep = Vec::new();
    for pages in SWEEP {
        sweep.push(chunk(vault, &tenant, pages).await);
    }
    let changes = vec![chunk(vault, &tenant, &[CHANGES]).await];
    let deletions = vec![chunk(vault, &tenant, &[DELETIONS]).await];
    let bytes = sweep.iter().chain(&deletions).chain(&changes).map(|chunk| chunk.bytes).sum();
    let worklogs = Entry {
        records: 4,
        bytes,
        layers: vec![
            Layer { kind: LayerKind::Sweep, added: 5, deleted: 0, chunks: sweep },
            Layer { kind: LayerKind::Deletions, added: 0, deleted: 1, chunks: deletions },
            Layer { kind: LayerKind::Changes, added: 0, deleted: 0, chunks: changes },
        ],
        ..entry("worklogs", EntryStatus::Complete, None)
    };
    let teams = entry("teams", EntryStatus::Skipped, Some("grant the Teams scope"));
    let manifest = Manifest {
        schema: FORMAT,
        run: RUN.parse::<RunId>().unwrap(),
        tenant: tenant.clone(),
        nonce: nonce(),
        written_by: "a test".to_owned(),
        previous: None,
        wish: fermata_core::plan::Wish::default(),
        base_url: "https://api.tempo.io".to_owned(),
        started: now(),
        sealed: "2026-03-01T02:10:00Z".parse().unwrap(),
        status: Status::Partial,
        windows: [].into(),
        entities: vec![worklogs, teams],
    };
    vault.write_manifest(&manifest).await.unwrap();
    let report = vault.verify(&manifest, true, &|_| ()).await.unwrap();
    assert!(report.ok, "{report:?}");
}

async fn chunk(vault: &Vault, tenant: &Tenant, pages: &[&str]) -> fermata_core::manifest::Chunk {
    let mut open = OpenChunk::default();
    for page in pages {
        open.add(page.as_bytes());
    }
    vault.close_chunk(tenant, LayerKind::Sweep, &open, &Known::default()).await.unwrap().chunk
}

fn entry(entity: &str, status: EntryStatus, reason: Option<&str>) -> Entry {
    Entry { status, reason: reason.map(str::to_owned), requests: 1, ..Entry::new(entity) }
}

fn script() -> PathBuf {
    root().join(Path::new("deploy/restore-by-hand.sh"))
}

fn now() -> Timestamp {
    "2026-03-01T02:00:00Z".parse().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}
