//! Every way in which a snapshot can be damaged, and what `verify` says of it.

use std::sync::Mutex;

use fermata_core::manifest::{Chunk, EntryStatus, LayerKind, Manifest, Status};
use fermata_vault::{Flaw, Known, OpenChunk, Problem, Progress, Report};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::job::{Room, acme, back_up, expected, pages, records, run};

struct Snapshot {
    room: Room,
    manifest: Manifest,
}

impl Snapshot {
    async fn new() -> Self {
        Self::within(Room::in_memory().await).await
    }

    async fn within(room: Room) -> Self {
        let manifest = back_up(&room.vault, &run("aaaaaa"), &pages(), &mut 0).await.unwrap();
        Self { room, manifest }
    }

    fn store(&self) -> &dyn ObjectStore {
        self.room.store.inner()
    }

    fn chunk(&self, at: usize) -> &Chunk {
        self.manifest.chunks().nth(at).unwrap()
    }

    fn key(&self, at: usize) -> Path {
        Path::from(format!("tenants/acme/chunks/{}", self.chunk(at).name))
    }

    async fn stored(&self, at: usize) -> Vec<u8> {
        self.store().get(&self.key(at)).await.unwrap().bytes().await.unwrap().to_vec()
    }

    async fn replace(&self, at: usize, bytes: Vec<u8>) {
        self.store().put(&self.key(at), bytes.into()).await.unwrap();
    }

    async fn verify(&self, data: bool) -> Report {
        self.room.vault.verify(&self.manifest, data, &|_| {}).await.unwrap()
    }

    /// What is wrong with the chunk at this place, and nothing with others.
    async fn flaws_of(&self, at: usize, data: bool) -> Vec<Flaw> {
        let report = self.verify(data).await;
        assert_eq!(report.ok, report.problems.is_empty());
        let key = self.key(at).to_string();
        for Problem { object, entity, salvage, .. } in &report.problems {
            assert_eq!((object, entity.as_deref()), (&key, Some("worklogs")));
            assert!(!salvage.is_empty());
        }
        report.problems.into_iter().map(|problem| problem.what).collect()
    }
}

#[tokio::test]
async fn a_good_snapshot_is_good() {
    for room in Room::each().await {
        let snapshot = Snapshot::within(room).await;
        let report = snapshot.verify(true).await;
        assert_eq!(report.problems, []);
        assert!(report.ok && report.data && report.ids);
        assert_eq!(report.records, pages().iter().flatten().count() as u64);
        assert_eq!(report.bytes, snapshot.manifest.chunks().map(|chunk| chunk.stored).sum::<u64>());
        assert!(!snapshot.verify(false).await.data);
    }
}

#[tokio::test]
async fn progress_reaches_the_end() {
    let snapshot = Snapshot::new().await;
    let seen = Mutex::new(Vec::new());
    let note = |progress: Progress| seen.lock().unwrap().push(progress);
    let report = snapshot.room.vault.verify(&snapshot.manifest, true, &note).await.unwrap();
    let seen = seen.into_inner().unwrap();
    let end = Progress { chunks: report.chunks, chunks_total: report.chunks, bytes: report.bytes };
    assert_eq!((seen.len() as u64, seen.last()), (report.chunks, Some(&end)));
}

#[tokio::test]
async fn any_flipped_bit_is_found() {
    let snapshot = Snapshot::new().await;
    let good = snapshot.stored(1).await;
    for byte in (0..good.len()).step_by(7) {
        let mut bytes = good.clone();
        bytes[byte] ^= 0x10;
        snapshot.replace(1, bytes).await;
        let flaws = snapshot.flaws_of(1, true).await;
        assert_eq!(flaws[0], Flaw::Hash, "byte {byte}");
    }
    assert_eq!(snapshot.flaws_of(1, false).await, [], "a listing cannot show it");
}

#[tokio::test]
async fn a_cut_or_padded_chunk_is_found_by_the_listing_too() {
    let snapshot = Snapshot::new().await;
    let good = snapshot.stored(2).await;
    for bytes in [good[..good.len() - 1].to_vec(), [&good[..], b"x"].concat(), Vec::new()] {
        let size = Flaw::Size { found: bytes.len() as u64, named: good.len() as u64 };
        snapshot.replace(2, bytes).await;
        assert_eq!(snapshot.flaws_of(2, false).await, std::slice::from_ref(&size));
        let flaws = snapshot.flaws_of(2, true).await;
        assert_eq!(flaws[..2], [size, Flaw::Hash]);
        assert!(matches!(flaws[2], Flaw::Unreadable(_)), "{flaws:?}");
    }
}

#[tokio::test]
async fn swapped_chunks_are_found() {
    let snapshot = Snapshot::new().await;
    let (one, two) = (snapshot.stored(0).await, snapshot.stored(1).await);
    snapshot.replace(0, two).await;
    snapshot.replace(1, one).await;
    let report = snapshot.verify(true).await;
    let wrong = |at: usize| {
        let key = snapshot.key(at).to_string();
        let of = report.problems.iter().filter(|problem| problem.object == key);
        of.map(|problem| problem.what.clone()).collect::<Vec<_>>()
    };
    for at in [0, 1] {
        assert!(wrong(at).contains(&Flaw::Hash) && wrong(at).contains(&Flaw::Id), "{:?}", wrong(at));
    }
    assert_eq!(wrong(2), []);
}

#[tokio::test]
async fn a_missing_chunk_is_found_and_comes_back_with_the_next_snapshot() {
    let snapshot = Snapshot::new().await;
    snapshot.store().delete(&snapshot.key(1)).await.unwrap();
    for data in [false, true] {
        assert_eq!(snapshot.flaws_of(1, data).await, [Flaw::Missing]);
    }
    let next = back_up(&snapshot.room.vault, &run("bbbbbb"), &pages(), &mut 0).await.unwrap();
    assert_eq!(records(&snapshot.room.vault, &next).await, expected(&pages()));
    let report = snapshot.verify(false).await;
    assert_eq!(report.problems.len(), 1, "the old object is still gone");
    assert!(
        report.problems[0].salvage.starts_with("the same records are stored as"),
        "{:?}",
        report.problems
    );
}

#[tokio::test]
async fn all_flaws_are_found_and_not_the_first() {
    let snapshot = Snapshot::new().await;
    snapshot.store().delete(&snapshot.key(0)).await.unwrap();
    let mut bytes = snapshot.stored(2).await;
    bytes.truncate(10);
    snapshot.replace(2, bytes).await;
    let report = snapshot.verify(true).await;
    let objects: std::collections::BTreeSet<_> =
        report.problems.iter().map(|problem| problem.object.as_str()).collect();
    assert_eq!(objects.len(), 2, "{:?}", report.problems);
}

/// Stores a chunk of these lines under a true name and puts it in place of the snapshot's first.
async fn with_chunk(lines: &str, change: impl Fn(&mut Chunk)) -> Vec<Flaw> {
    let mut snapshot = Snapshot::new().await;
    let mut open = OpenChunk::default();
    open.add(lines.as_bytes());
    let closing =
        snapshot.room.vault.close_chunk(&acme(), LayerKind::Sweep, &open, &Known::default()).await.unwrap();
    let entry = &mut snapshot.manifest.entities[0];
    let chunk = &mut entry.layers[0].chunks[0];
    *chunk = closing.chunk;
    change(chunk);
    entry.records = entry.layers[0].chunks.iter().map(|chunk| chunk.records).sum();
    entry.layers[0].added = entry.records;
    entry.bytes = entry.layers[0].chunks.iter().map(|chunk| chunk.bytes).sum();
    snapshot.flaws_of(0, true).await
}

#[tokio::test]
async fn a_line_that_is_no_object_is_found() {
    assert_eq!(with_chunk("{\"id\":1}\n{}\n", |_| {}).await, []);
    for (lines, record) in [("{}\n[1]\n", 2), ("{\"a\":}\n{}\n", 1), ("{}\n{}\n\n", 3), ("{} {}\n", 1)] {
        assert_eq!(with_chunk(lines, |_| {}).await, [Flaw::Record(record)], "{lines:?}");
    }
}

#[tokio::test]
async fn a_manifest_that_says_other_than_the_chunk_is_found() {
    let count = |of, found, named| Flaw::Count { of, found, named };
    let lines = "{\"id\":1}\n{}\n";
    assert_eq!(with_chunk(lines, |chunk| chunk.records = 3).await, [count("records", 2, 3)]);
    assert_eq!(with_chunk(lines, |chunk| chunk.bytes = 13).await, [count("bytes", 12, 13)]);
    let short = with_chunk(lines, |chunk| chunk.bytes = 9).await;
    assert!(short.contains(&count("bytes", 10, 9)), "no more is read than was said: {short:?}");
    let named = with_chunk(lines, |chunk| chunk.name.replace_range(..1, "x")).await;
    assert_eq!(named, [Flaw::Name]);
}

#[tokio::test]
async fn a_manifest_that_contradicts_itself_is_found() {
    let check = async |change: fn(&mut Manifest), expect: &str| {
        let mut snapshot = Snapshot::new().await;
        change(&mut snapshot.manifest);
        let report = snapshot.verify(false).await;
        let found: Vec<String> = report.problems.iter().map(|problem| problem.what.to_string()).collect();
        assert!(found.iter().any(|what| what == expect), "{expect}: {found:?}");
    };
    check(|m| m.entities[0].records += 1, "22 records were found, not 23").await;
    check(|m| m.entities[0].layers[0].added -= 1, "21 records were found, not 22").await;
    let layer = "a layer's counts do not agree with its chunks";
    check(|m| m.entities[0].layers[0].chunks.truncate(2), layer).await;
    for kind in [LayerKind::Deletions, LayerKind::Index] {
        let mut snapshot = Snapshot::new().await;
        snapshot.manifest.entities[0].layers[0].kind = kind;
        let report = snapshot.verify(false).await;
        assert!(report.problems.iter().any(|problem| problem.what.to_string() == layer), "{report:?}");
    }
    check(
        |m| m.entities[0].suspect = Some(String::new()),
        "the snapshot's status does not agree with its entities'",
    )
    .await;
    check(|m| m.entities[0].bytes = 1, "1486 bytes were found, not 1").await;
    check(|m| m.entities.push(m.entities[0].clone()), "the entity is listed twice").await;
    check(|m| m.schema = 2, "the manifest has another format").await;
    let status = "the snapshot's status does not agree with its entities'";
    check(|m| m.status = Status::Partial, status).await;
    check(|m| m.entities[0].status = EntryStatus::Failed, status).await;
    check(|m| m.entities[0].status = EntryStatus::Failed, "the entity has a gap without a reason").await;
    check(|m| m.entities[0].status = EntryStatus::LeftOut, "the entity was not read and has records").await;
    check(
        |m| {
            let mut changes = m.entities[0].layers[0].clone();
            changes.kind = LayerKind::Changes;
            m.entities[0].layers.insert(0, changes);
        },
        "the entity has a sweep after other layers",
    )
    .await;
}

#[tokio::test]
async fn records_are_read_one_at_a_time() {
    let snapshot = Snapshot::new().await;
    let (mut read, mut line) = (String::new(), Vec::new());
    for chunk in snapshot.manifest.chunks() {
        let mut reader = snapshot.room.vault.chunk_reader(&acme(), chunk).await.unwrap();
        while reader.next_record(&mut line).unwrap() {
            read.push_str(std::str::from_utf8(&line).unwrap());
            read.push('\n');
        }
    }
    assert_eq!(read, expected(&pages()));
}
