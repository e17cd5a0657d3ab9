//! Exports out of a vault in memory, and the laws that tables keep.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use fermata_core::FORMAT;
use fermata_core::manifest::{Chunk, Layer, LayerKind, Status};
use fermata_core::names::{RunId, Tenant};
use fermata_vault::{Identity, InitOptions, Known, OpenChunk};
use jiff::Timestamp;
use object_store::memory::InMemory;
use tempfile::TempDir;

use super::*;

mod table;

const WORKLOGS: [&str; 3] = [
    r#"{"tempoWorklogId":1,"startDate":"2026-03-03","description":"a, \"b\"\nc","cost":0.10}"#,
    r#"{"tempoWorklogId":2,"startDate":"2026-03-04","description":"größer","cost":1}"#,
    r#"{ "tempoWorklogId": 3, "startDate": null, "tempoWorklogId": 3 }"#,
];
/// As worklog 2 became later.
const CHANGED: &str = r#"{"tempoWorklogId":2,"startDate":"2026-03-05","description":"","cost":2.5}"#;

/// A vault, and a snapshot in it.
struct Room {
    vault: Vault,
    manifest: Manifest,
}

impl Room {
    async fn new() -> Self {
        let store = Arc::new(InMemory::new());
        let identity = Identity::generate();
        let now: Timestamp = "2026-03-06T02:00:00Z".parse().unwrap();
        let options = InitOptions {
            worker: identity.recipient(),
            data_recipients: vec![identity.recipient()],
            single_writer: false,
            now,
        };
        Vault::init(store.clone(), options).await.unwrap();
        let vault = Vault::open(store, [identity]).await.unwrap();
        let manifest = Manifest {
            schema: FORMAT,
            run: RunId::new(now, "aaaaaa").unwrap(),
            tenant: tenant(),
            nonce: fermata_vault::nonce(),
            written_by: "test".to_owned(),
            previous: None,
            wish: fermata_core::plan::Wish::default(),
            base_url: "https://api.tempo.io".to_owned(),
            started: now,
            sealed: now,
            status: Status::Partial,
            windows: BTreeMap::new(),
            entities: Vec::new(),
        };
        Self { vault, manifest }
    }

    async fn chunk(&self, records: &[&str]) -> Chunk {
        let mut open = OpenChunk::default();
        open.add(format!("{}\n", records.join("\n")).as_bytes());
        self.vault.close_chunk(&tenant(), LayerKind::Sweep, &open, &Known::default()).await.unwrap().chunk
    }

    /// Adds an entity; each layer is a chunk.
    async fn add(&mut self, entity: &str, status: EntryStatus, layers: &[(LayerKind, &[&str])]) {
        let mut stored = Vec::new();
        for (kind, records) in layers {
            stored.push(Layer { kind: *kind, added: 0, deleted: 0, chunks: vec![self.chunk(records).await] });
        }
        let records = stored.iter().flat_map(|layer| &layer.chunks).map(|chunk| chunk.records).sum();
        self.manifest.entities.push(Entry {
            status,
            records,
            layers: stored,
            requests: 1,
            ..Entry::new(entity)
        });
    }

    async fn with_worklogs() -> Self {
        let mut room = Self::new().await;
        room.add("worklogs", EntryStatus::Complete, &[(LayerKind::Sweep, &WORKLOGS)]).await;
        room
    }

    async fn export(&self, format: Format, out: &Path) -> Result<Vec<Exported>, ExportError> {
        self.export_only(&[], format, out, false).await
    }

    async fn export_only(
        &self,
        only: &[&str],
        format: Format,
        out: &Path,
        overwrite: bool,
    ) -> Result<Vec<Exported>, ExportError> {
        let only = only.iter().map(|name| (*name).to_owned()).collect();
        export(&self.vault, &self.manifest, &only, format, out, overwrite, |_, _| ()).await
    }
}

fn tenant() -> Tenant {
    "acme".parse().unwrap()
}

fn sendable<T: Send>(value: T) -> T {
    value
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn records_come_out_as_they_went_in() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("new/folder");
    let exported = Room::with_worklogs().await.export(Format::Ndjson, &out).await.unwrap();
    let expect = format!("{}\n", WORKLOGS.join("\n"));
    assert_eq!(fs::read_to_string(out.join("worklogs.ndjson")).unwrap(), expect);
    let file = out.join("worklogs.ndjson");
    let bytes = expect.len() as u64;
    assert_eq!(exported, [Exported { entity: "worklogs".to_owned(), file, records: 3, bytes }]);
}

#[tokio::test]
async fn a_csv_has_the_values_as_they_are_written() {
    let folder = TempDir::new().unwrap();
    Room::with_worklogs().await.export(Format::Csv, folder.path()).await.unwrap();
    let expect = "tempoWorklogId,startDate,description,cost\r\n\
        1,2026-03-03,\"a, \"\"b\"\"\nc\",0.10\r\n\
        2,2026-03-04,größer,1\r\n\
        3,,,\r\n";
    assert_eq!(fs::read_to_string(folder.path().join("worklogs.csv")).unwrap(), expect);
}

#[tokio::test]
async fn an_export_is_of_the_view() {
    let mut room = Room::new().await;
    let layers: [(_, &[&str]); 2] = [(LayerKind::Sweep, &WORKLOGS), (LayerKind::Changes, &[CHANGED])];
    room.add("worklogs", EntryStatus::Complete, &layers).await;
    for format in Format::ALL {
        let folder = TempDir::new().unwrap();
        let exported = room.export(format, folder.path()).await.unwrap();
        assert_eq!(exported[0].records, 3, "{format}");
        if format == Format::Ndjson {
            let lines = fs::read_to_string(&exported[0].file).unwrap();
            assert_eq!(lines.lines().collect::<Vec<_>>(), [WORKLOGS[0], WORKLOGS[2], CHANGED]);
        }
    }
}

#[tokio::test]
async fn there_is_a_file_where_there_is_something_to_say() {
    let mut room = Room::new().await;
    let sweep: (LayerKind, &[&str]) = (LayerKind::Sweep, &[r#"{"id":1}"#]);
    room.add("accounts", EntryStatus::Complete, &[]).await;
    room.add("customers", EntryStatus::Failed, &[]).await;
    room.add("teams", EntryStatus::Failed, &[sweep]).await;
    room.add("roles", EntryStatus::Skipped, &[]).await;
    room.add("skills", EntryStatus::LeftOut, &[]).await;
    for format in Format::ALL {
        let folder = TempDir::new().unwrap();
        let exported = room.export(format, folder.path()).await.unwrap();
        assert_eq!(names(folder.path()), [format!("accounts.{format}"), format!("teams.{format}")]);
        let records: Vec<_> = exported.iter().map(|exported| exported.records).collect();
        assert_eq!(records, [0, 1], "{format}");
        assert_eq!(exported[0].bytes == 0, format != Format::Parquet, "{format}");
        assert_eq!(exported[1].bytes, fs::metadata(&exported[1].file).unwrap().len(), "{format}");
    }
    let folder = TempDir::new().unwrap();
    let exported = room.export_only(&["teams", "roles"], Format::Csv, folder.path(), false).await.unwrap();
    assert_eq!(exported.len(), 1);
    let error = room.export_only(&["tems"], Format::Csv, folder.path(), false).await.unwrap_err();
    assert_eq!(error.to_string(), "this snapshot has no entity \"tems\"; it holds accounts, teams");
    room.add("../x", EntryStatus::Complete, &[]).await;
    let error = room.export(Format::Csv, &folder.path().join("sub")).await.unwrap_err();
    assert!(matches!(error, ExportError::LaterEntity(name) if name == "../x"));
}

#[tokio::test]
async fn a_file_is_replaced_only_when_that_is_asked_for() {
    let mut room = Room::with_worklogs().await;
    room.add("accounts", EntryStatus::Complete, &[]).await;
    let folder = TempDir::new().unwrap();
    let taken = folder.path().join("accounts.csv");
    fs::write(&taken, "of yesterday").unwrap();
    let error = room.export(Format::Csv, folder.path()).await.unwrap_err();
    assert!(matches!(&error, ExportError::AlreadyThere(file) if *file == taken), "{error}");
    // It is noticed before anything is written.
    assert_eq!(names(folder.path()), ["accounts.csv"]);
    room.export_only(&[], Format::Csv, folder.path(), true).await.unwrap();
    assert_eq!(fs::read(&taken).unwrap(), b"");
}

#[tokio::test]
async fn a_folder_that_is_none_is_said_so() {
    let room = Room::with_worklogs().await;
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    for out in [file.clone(), file.join("below")] {
        let error = room.export(Format::Ndjson, &out).await.unwrap_err();
        assert!(matches!(&error, ExportError::NotAFolder(at) if *at == out), "{error}");
    }
    let kinds = [
        (io::ErrorKind::StorageFull, "no space is left for x"),
        (io::ErrorKind::PermissionDenied, "x may not be written"),
        (io::ErrorKind::TimedOut, "x could not be written"),
    ];
    for (kind, expect) in kinds {
        assert_eq!(ExportError::file(Path::new("x"), kind.into()).to_string(), expect);
    }
}

#[tokio::test]
async fn an_export_that_stops_leaves_no_half_file() {
    let mut room = Room::with_worklogs().await;
    let mut missing = room.chunk(&["{}"]).await;
    missing.name = missing.name.chars().rev().collect();
    room.manifest.entities[0].layers[0].chunks.push(missing);
    let mut broken = Room::new().await;
    let layers: (LayerKind, &[&str]) = (LayerKind::Sweep, &["{}", "{"]);
    broken.add("worklogs", EntryStatus::Complete, &[layers]).await;
    for format in Format::ALL {
        let folder = TempDir::new().unwrap();
        let error = room.export(format, folder.path()).await.unwrap_err();
        assert!(matches!(error, ExportError::Vault { entity: "worklogs", .. }), "{format}: {error}");
        assert_eq!(names(folder.path()), [] as [&str; 0], "{format}");
        if format != Format::Ndjson {
            let error = broken.export(format, folder.path()).await.unwrap_err();
            assert!(matches!(error, ExportError::Record { number: 2, .. }), "{format}: {error}");
            assert_eq!(names(folder.path()), [] as [&str; 0], "{format}");
        }
    }
}

#[tokio::test]
async fn a_caller_hears_how_far_it_is() {
    let records: Vec<_> = (0..25_000).map(|id| format!("{{\"tempoWorklogId\":{id}}}")).collect();
    let records: Vec<_> = records.iter().map(String::as_str).collect();
    let mut room = Room::new().await;
    room.add("worklogs", EntryStatus::Complete, &[(LayerKind::Sweep, &records)]).await;
    let folder = TempDir::new().unwrap();
    let mut heard = Vec::new();
    let all = BTreeSet::new();
    let exporting =
        export(&room.vault, &room.manifest, &all, Format::Csv, folder.path(), false, |_, records| {
            heard.push(records);
        });
    // It can be a task of its own.
    sendable(exporting).await.unwrap();
    assert_eq!(heard, [0, 10_000, 20_000, 25_000]);
}

#[test]
fn formats_have_names() {
    for format in Format::ALL {
        assert_eq!(format.to_string().parse(), Ok(format));
    }
    let error = "xlsx".parse::<Format>().unwrap_err();
    assert_eq!(error.to_string(), "there is no format \"xlsx\"; there are ndjson, csv and parquet");
}
