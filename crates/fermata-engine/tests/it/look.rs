//! Looking into snapshots: what differs between two, and which records say what.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;

use fermata_core::FORMAT;
use fermata_core::catalogue::entity;
use fermata_core::index;
use fermata_core::manifest::{Entry, EntryStatus, Layer, LayerKind, Manifest, Status};
use fermata_core::names::{RunId, Tenant};
use fermata_engine::diff::{self, Comparison, Difference, Outline};
use fermata_engine::find::{self, Condition, FindError};
use fermata_engine::page::{self, Cursor, Page, Record};
use fermata_engine::view;
use fermata_tempo::row;
use fermata_vault::{Identity, InitOptions, Known, OpenChunk, Vault, VaultError};
use jiff::Timestamp;
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use proptest::prelude::*;

/// A vault whose data key is kept offline.
struct Room {
    store: Arc<InMemory>,
    workers: Identity,
    data: Identity,
}

/// Records by id, as a snapshot has them.
type Records = BTreeMap<u64, String>;

impl Room {
    async fn new() -> Self {
        let room = Self { store: Arc::default(), workers: Identity::generate(), data: Identity::generate() };
        let options = InitOptions {
            worker: room.workers.recipient(),
            data_recipients: vec![room.data.recipient()],
            single_writer: false,
            now: now(),
        };
        Vault::init(room.store.clone(), options).await.unwrap();
        room
    }

    async fn open(&self, keys: &[&Identity]) -> Vault {
        Vault::open(self.store.clone(), keys.iter().map(|key| (*key).clone())).await.unwrap()
    }

    async fn both(&self) -> Vault {
        self.open(&[&self.workers, &self.data]).await
    }

    async fn push(&self, entry: &mut Entry, kind: LayerKind, lines: &[String]) {
        if lines.is_empty() {
            return;
        }
        let mut open = OpenChunk::default();
        open.add(format!("{}\n", lines.join("\n")).as_bytes());
        let chunk =
            self.both().await.close_chunk(&tenant(), kind, &open, &Known::default()).await.unwrap().chunk;
        entry.push(Layer { kind, added: 0, deleted: 0, chunks: vec![chunk] });
    }

    /// All records of an entity, and their index.
    async fn sweep(&self, name: &str, lines: &[String]) -> Entry {
        let mut entry = Entry { status: EntryStatus::Complete, ..Entry::new(name) };
        self.push(&mut entry, LayerKind::Sweep, lines).await;
        self.push(&mut entry, LayerKind::Index, &index_of(name, lines)).await;
        entry.records = lines.len() as u64;
        entry
    }

    /// Worklogs that build on a snapshot of them.
    async fn delta(&self, base: &Entry, before: &Records, after: &Records) -> Entry {
        let mut entry = base.clone();
        let gone: Vec<u64> = before.keys().filter(|id| !after.contains_key(id)).copied().collect();
        let told: Vec<_> = gone
            .iter()
            .map(|id| format!(r#"{{"action":"Deleted","entityType":"worklog","entityId":"{id}"}}"#))
            .collect();
        let lines: Vec<_> = after
            .iter()
            .filter(|(id, line)| before.get(id) != Some(line))
            .map(|(_, line)| line.clone())
            .collect();
        let said = gone.iter().map(u64::to_string).chain(index_of("worklogs", &lines)).collect::<Vec<_>>();
        self.push(&mut entry, LayerKind::Deletions, &told).await;
        self.push(&mut entry, LayerKind::Changes, &lines).await;
        self.push(&mut entry, LayerKind::Index, &said).await;
        entry.records = after.len() as u64;
        entry
    }
}

fn index_of(name: &str, lines: &[String]) -> Vec<String> {
    let mut text = Vec::new();
    for line in lines {
        let row = row::read(entity(name).unwrap(), line, None);
        index::put(row.id.unwrap_or(row.mark), row.mark, &mut text);
    }
    String::from_utf8(text).unwrap().lines().map(str::to_owned).collect()
}

fn now() -> Timestamp {
    "2026-03-06T02:00:00Z".parse().unwrap()
}

fn tenant() -> Tenant {
    "acme".parse().unwrap()
}

fn snapshot(tail: &str, entities: Vec<Entry>) -> Manifest {
    Manifest {
        schema: FORMAT,
        run: RunId::new(now(), tail).unwrap(),
        tenant: tenant(),
        previous: None,
        nonce: String::new(),
        written_by: "test".to_owned(),
        wish: fermata_core::plan::Wish::default(),
        base_url: "https://api.tempo.io".to_owned(),
        started: now(),
        sealed: now(),
        status: Status::Complete,
        windows: BTreeMap::new(),
        entities,
    }
}

fn worklog(id: u64, text: &str) -> String {
    format!(r#"{{"tempoWorklogId":{id},"description":"{text}","author":{{"accountId":"a{}"}}}}"#, id % 2)
}

fn lines(records: &Records) -> Vec<String> {
    records.values().cloned().collect()
}

/// What differs, told as text and sorted.
async fn told(vault: &Vault, before: &Manifest, after: &Manifest, name: &str, most: u64) -> BTreeSet<String> {
    let mut told = BTreeSet::new();
    let Comparison::Differs(found) = diff::compare(vault, before, after, name).await.unwrap() else {
        return told;
    };
    let each = found.each(most, |difference| {
        assert!(told.insert(match difference {
            Difference::Added(line) => format!("+{line}"),
            Difference::Deleted(line) => format!("-{line}"),
            Difference::Changed { before, after } => format!("~{before}{after}"),
        }));
        Ok::<_, Infallible>(())
    });
    each.await.unwrap();
    assert_eq!(told.len() as u64, found.count().min(most));
    told
}

fn expected(before: &Records, after: &Records) -> BTreeSet<String> {
    let deleted = before.iter().filter(|(id, _)| !after.contains_key(id)).map(|(_, line)| format!("-{line}"));
    let rest = after.iter().filter_map(|(id, line)| match before.get(id) {
        None => Some(format!("+{line}")),
        Some(known) if known == line => None,
        Some(known) => Some(format!("~{known}{line}")),
    });
    deleted.chain(rest).collect()
}

fn records() -> impl Strategy<Value = Records> {
    prop::collection::btree_map(1_u64..12, 0_u8..3, 0..10)
        .prop_map(|map| map.into_iter().map(|(id, text)| (id, worklog(id, &text.to_string()))).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever the layers are and whichever keys are at hand, in whichever direction: the difference of two maps.
    #[test]
    fn a_difference_is_that_of_two_maps(states in prop::collection::vec((records(), any::<bool>()), 2..5), from: prop::sample::Index, to: prop::sample::Index) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let room = Room::new().await;
            let mut entries: Vec<Entry> = Vec::new();
            for (at, (state, sweep)) in states.iter().enumerate() {
                entries.push(match entries.last() {
                    Some(base) if !sweep => room.delta(base, &states[at - 1].0, state).await,
                    _ => room.sweep("worklogs", &lines(state)).await,
                });
            }
            let (from, to) = (from.index(states.len()), to.index(states.len()));
            let (before, after) = (&states[from].0, &states[to].0);
            let manifests = (snapshot("aaaaaa", vec![entries[from].clone()]), snapshot("bbbbbb", vec![entries[to].clone()]));
            for vault in [room.both().await, room.open(&[&room.data]).await] {
                prop_assert_eq!(told(&vault, &manifests.0, &manifests.1, "worklogs", u64::MAX).await, expected(before, after));
                let some = told(&vault, &manifests.0, &manifests.1, "worklogs", 2).await;
                prop_assert!(some.is_subset(&expected(before, after)));
            }
            let vault = room.both().await;
            let mut viewed = Vec::new();
            let take = |line: &str| {
                viewed.push(line.to_owned());
                Ok::<_, Infallible>(())
            };
            let worklogs = entity("worklogs").unwrap();
            let records = view::each(&vault, &tenant(), worklogs, &entries[to], take).await.unwrap();
            prop_assert_eq!(records, after.len() as u64);
            for most in 1..5 {
                prop_assert_eq!(&paged(&vault, &entries[to], most).await, &viewed);
            }
            viewed.sort();
            let mut expected = lines(after);
            expected.sort();
            prop_assert_eq!(viewed, expected);
            Ok(())
        })?;
    }
}

/// The pages of an entry, one after the other.
async fn paged(vault: &Vault, entry: &Entry, most: usize) -> Vec<String> {
    let (mut records, mut from) = (Vec::new(), Cursor::default());
    loop {
        let Page { records: more, next, .. } =
            page::page(vault, &tenant(), entity(&entry.entity).unwrap(), entry, &[], from, most)
                .await
                .unwrap();
        assert!(more.len() == most || next.is_none(), "a page before the last is full");
        records.extend(more.into_iter().map(|record| record.text));
        match next {
            Some(next) => from = next.to_string().parse().unwrap(),
            None => return records,
        }
    }
}

#[tokio::test]
async fn a_page_deep_in_a_snapshot_costs_the_chunks_it_lies_in() {
    let room = Room::new().await;
    let mut entry = Entry { status: EntryStatus::Complete, ..Entry::new("worklogs") };
    for chunk in 0..4 {
        let lines: Vec<_> = (0..3).map(|row| worklog(chunk * 3 + row, "a")).collect();
        room.push(&mut entry, LayerKind::Sweep, &lines).await;
    }
    room.push(&mut entry, LayerKind::Changes, &[worklog(10, "b"), worklog(10, "c")]).await;
    // Without the first two chunks: whoever needs them fails.
    for chunk in &entry.layers[0].chunks[..2] {
        let key = format!("tenants/acme/chunks/{}", chunk.name).into();
        room.store.delete(&key).await.unwrap();
    }
    let vault = room.both().await;
    let worklogs = entity("worklogs").unwrap();
    let from = async |place: &str| {
        page::page(&vault, &tenant(), worklogs, &entry, &[], place.parse().unwrap(), 4).await
    };
    let found = from("7").await.unwrap();
    let record = |at: &str, text| Record { at: at.parse().unwrap(), text };
    let expect = [("7", 7), ("8", 8), ("9", 9), ("11", 11)].map(|(at, id)| record(at, worklog(id, "a")));
    assert_eq!(found.records, expect);
    assert_eq!(found.next.unwrap().to_string(), "13", "the form of 10 that counts");
    let records = vec![record("13", worklog(10, "c"))];
    assert_eq!(from("13").await.unwrap(), Page { records, looked: 1, ..Page::default() });
    assert_eq!(from("99").await.unwrap(), Page::default());
    assert!(matches!(from("5").await, Err(VaultError::Missing { .. })));
    for bad in ["", "-1", "x"] {
        assert!(bad.parse::<Cursor>().is_err(), "{bad:?}");
    }
}

#[tokio::test]
async fn a_page_with_conditions_says_how_far_it_looked() {
    let room = Room::new().await;
    let of = |id| worklog(id, if id == 30_000 { "rare" } else { "usual" });
    let entry = room.sweep("worklogs", &(1..=30_001).map(of).collect::<Vec<_>>()).await;
    let vault = room.both().await;
    let worklogs = entity("worklogs").unwrap();
    let find = async |condition: &str, from| {
        let conditions = [condition.parse().unwrap()];
        page::page(&vault, &tenant(), worklogs, &entry, &conditions, from, 10).await.unwrap()
    };
    let first = find("description=rare", Cursor::default()).await;
    assert_eq!((first.records.len(), first.looked, first.unknown), (0, 20_000, None));
    let second = find("description=rare", first.next.unwrap()).await;
    assert_eq!((second.records[0].text.clone(), second.looked, second.next), (of(30_000), 10_001, None));
    let unknown = find("colour=red", Cursor::default()).await.unknown;
    let known = ["author.accountId", "description", "tempoWorklogId"].map(str::to_owned);
    assert_eq!(unknown, Some(("colour".to_owned(), known.to_vec())));
}

#[tokio::test]
async fn counts_take_the_workers_key_and_fields_the_data_key() {
    let room = Room::new().await;
    let before = Records::from([(1, worklog(1, "a")), (2, worklog(2, "b"))]);
    let after = Records::from([(2, worklog(2, "c")), (3, worklog(3, "d"))]);
    let sweep = room.sweep("worklogs", &lines(&before)).await;
    let delta = room.delta(&sweep, &before, &after).await;
    let (before, after) = (snapshot("aaaaaa", vec![sweep]), snapshot("bbbbbb", vec![delta]));
    let workers = room.open(&[&room.workers]).await;
    let Comparison::Differs(found) = diff::compare(&workers, &before, &after, "worklogs").await.unwrap()
    else {
        panic!("they differ")
    };
    assert_eq!((found.added(), found.changed(), found.deleted()), (1, 1, 1));
    let read = found.each(u64::MAX, |_| Ok::<_, Infallible>(())).await;
    assert!(matches!(read, Err(view::ViewError::Vault(VaultError::NeedsKey { .. }))), "{read:?}");
    let nobody = room.open(&[]).await;
    let compared = diff::compare(&nobody, &before, &after, "worklogs").await;
    assert!(matches!(compared, Err(VaultError::NeedsKey { .. })), "{compared:?}");
    let same = diff::compare(&nobody, &before, &before, "worklogs").await.unwrap();
    assert!(matches!(same, Comparison::Same), "the layers alone say so: {same:?}");
}

#[tokio::test]
async fn manifests_alone_tell_what_came_of_the_comparison_with_their_base() {
    let room = Room::new().await;
    let before = Records::from([(1, worklog(1, "a")), (2, worklog(2, "b"))]);
    let after = Records::from([(2, worklog(2, "c")), (3, worklog(3, "d"))]);
    let first = snapshot("aaaaaa", vec![room.sweep("worklogs", &lines(&before)).await]);
    let (base, swept) = (first.run.clone(), room.sweep("worklogs", &lines(&after)).await);
    let counted = |added, entry: &Entry| Entry {
        base: Some(base.clone()),
        added: Some(added),
        changed: Some(added),
        deleted: Some(added),
        ..entry.clone()
    };
    let outline = |entry| diff::outline(&first, &snapshot("bbbbbb", vec![entry]), "worklogs");
    assert_eq!(outline(counted(1, &swept)), Outline::Counted { added: 1, changed: 1, deleted: 1 });
    assert_eq!(outline(counted(0, &swept)), Outline::Same);
    assert_eq!(outline(swept.clone()), Outline::Unknown, "its base is another");
    assert_eq!(outline(first.entities[0].clone()), Outline::Same, "the layers alone say so");
    let skipped = Entry { status: EntryStatus::Skipped, ..Entry::new("worklogs") };
    assert!(matches!(outline(skipped), Outline::Incomplete { gap: true, .. }));
    assert_eq!(
        diff::outline(
            &snapshot("cccccc", vec![Entry::new("worklogs")]),
            &snapshot("dddddd", vec![Entry::new("worklogs")]),
            "worklogs"
        ),
        Outline::Neither
    );
}

#[tokio::test]
async fn what_is_not_complete_is_not_taken_for_deleted() {
    let room = Room::new().await;
    let sweep = room.sweep("worklogs", &[worklog(1, "a")]).await;
    let gap =
        |status, reason: &str| Entry { status, reason: Some(reason.to_owned()), ..Entry::new("worklogs") };
    let whole = snapshot("aaaaaa", vec![sweep]);
    let vault = room.both().await;
    let check =
        async |before: &Manifest, after: &Manifest, expect: &str, expect_gap: bool| match diff::compare(
            &vault, before, after, "worklogs",
        )
        .await
        .unwrap()
        {
            Comparison::Incomplete { why, gap } => assert_eq!((why.as_str(), gap), (expect, expect_gap)),
            other => panic!("{other:?}"),
        };
    let skipped = snapshot("bbbbbb", vec![gap(EntryStatus::Skipped, "forbidden")]);
    let failed = snapshot("cccccc", vec![gap(EntryStatus::Failed, "a request failed")]);
    let left_out = snapshot("dddddd", vec![gap(EntryStatus::LeftOut, "not asked for")]);
    let none = snapshot("eeeeee", Vec::new());
    check(&whole, &skipped, "20260306T020000Z-bbbbbb holds nothing of it (forbidden)", true).await;
    check(&failed, &whole, "20260306T020000Z-cccccc does not hold all of it (a request failed)", true).await;
    check(&whole, &left_out, "20260306T020000Z-dddddd leaves it out (not asked for)", false).await;
    let both =
        "20260306T020000Z-eeeeee does not list it; 20260306T020000Z-bbbbbb holds nothing of it (forbidden)";
    check(&none, &skipped, both, true).await;
    let neither = diff::compare(&vault, &none, &left_out, "worklogs").await.unwrap();
    assert!(matches!(neither, Comparison::Neither), "{neither:?}");
}

/// Nothing identifies them, so their content does.
#[tokio::test]
async fn records_that_nothing_identifies_come_and_go() {
    let room = Room::new().await;
    let name = "global-rates";
    assert!(entity(name).unwrap().identity.is_empty());
    let of = |texts: &[&str]| texts.iter().map(|text| format!(r#"{{"rate":"{text}"}}"#)).collect::<Vec<_>>();
    let before = snapshot("aaaaaa", vec![room.sweep(name, &of(&["a", "b"])).await]);
    let after = snapshot("bbbbbb", vec![room.sweep(name, &of(&["b", "c"])).await]);
    let told = told(&room.both().await, &before, &after, name, u64::MAX).await;
    assert_eq!(told, [r#"+{"rate":"c"}"#, r#"-{"rate":"a"}"#].map(str::to_owned).into());
}

async fn found(
    room: &Room,
    entry: &Entry,
    conditions: &[&str],
    most: u64,
) -> Result<(Vec<String>, bool), String> {
    let conditions: Vec<Condition> = conditions.iter().map(|text| text.parse().unwrap()).collect();
    let mut records = Vec::new();
    let row = entity(&entry.entity).unwrap();
    let take = |record: &str| {
        records.push(record.to_owned());
        Ok::<_, Infallible>(())
    };
    match find::find(&room.both().await, &tenant(), row, entry, &conditions, most, take).await {
        Ok(more) => Ok((records, more)),
        Err(error @ FindError::UnknownField { .. }) => Err(error.to_string()),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn records_are_found_by_what_they_say() {
    let room = Room::new().await;
    let before: Records = (1..=6).map(|id| (id, worklog(id, "a=b"))).collect();
    let mut after = before.clone();
    after.remove(&1);
    after.insert(3, worklog(3, "é"));
    let sweep = room.sweep("worklogs", &lines(&before)).await;
    let entry = room.delta(&sweep, &before, &after).await;
    let ids = |ids: &[u64]| ids.iter().map(|id| after[id].clone()).collect::<Vec<_>>();
    let found = async |conditions: &[&str], most| found(&room, &entry, conditions, most).await;
    assert_eq!(found(&["author.accountId=a1"], 9).await.unwrap(), (ids(&[5, 3]), false));
    assert_eq!(found(&["author.accountId=a1", "description=a=b"], 9).await.unwrap(), (ids(&[5]), false));
    assert_eq!(found(&["tempoWorklogId=1"], 9).await.unwrap(), (ids(&[]), false), "it is gone");
    assert_eq!(found(&["description=é"], 9).await.unwrap(), (ids(&[3]), false));
    assert_eq!(found(&[], 2).await.unwrap(), (ids(&[2, 4]), true));
    assert_eq!(found(&["author.accountId=a0"], 3).await.unwrap(), (ids(&[2, 4, 6]), false));
    let error = found(&["author=a1", "tempoWorklogId=2"], 9).await.unwrap_err();
    assert_eq!(
        error,
        "no record has a field \"author\"; there are author.accountId, description, tempoWorklogId"
    );
    let empty = room.sweep("worklogs", &[]).await;
    assert_eq!(self::found(&room, &empty, &["author=a1"], 9).await.unwrap(), (Vec::new(), false));
    for bad in ["", "x", "=x"] {
        assert!(bad.parse::<Condition>().is_err(), "{bad:?}");
    }
}
