//! Logs that were forked, damaged or cut, and what a resume makes of them.

use fermata_core::catalogue::Key;
use fermata_core::chain::{EventName, Link};
use fermata_core::checkpoint::{Next, Outcome};
use fermata_core::manifest::LayerKind;
use fermata_vault::{Known, Log, OpenChunk, VaultError};
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use proptest::prelude::*;

use crate::job::{ENTITY, Room, acme, at_page, expected, next_page, page, pages, run, step, take_page};

pub(crate) async fn open(room: &Room) -> Log {
    Log::open(&room.vault, &acme(), &run("aaaaaa"), ENTITY).await.unwrap()
}

pub(crate) async fn events(room: &Room) -> Vec<(Path, EventName)> {
    let folder = Path::from(format!("tenants/acme/runs/{}/{ENTITY}", run("aaaaaa")));
    let found: Vec<_> = room.store.inner().list(Some(&folder)).try_collect().await.unwrap();
    let mut events: Vec<_> = found
        .into_iter()
        .map(|found| (found.location.clone(), found.location.filename().unwrap().parse().unwrap()))
        .collect();
    events.sort();
    events
}

/// Takes pages until `upto` are done.
pub(crate) async fn take(log: &mut Log, upto: usize) {
    while log.state().outcome.is_none() && next_page(log) < upto {
        let number = next_page(log);
        take_page(log, number, &pages(), &Known::default()).await.unwrap();
    }
}

#[tokio::test]
async fn a_resume_is_where_the_job_was() {
    for room in Room::each().await {
        let mut log = open(&room).await;
        assert_eq!((log.state().events, next_page(&log)), (0, 0));
        for upto in 1..pages().len() {
            take(&mut log, upto).await;
            let mut again = open(&room).await;
            assert_eq!(again.state(), log.state());
            assert_eq!(again.keys(), log.keys());
            assert_eq!(again.keys()[&Key::User].len(), upto);
            assert_eq!(again.seen().ids().len(), upto as u64);
            assert!(again.seen().remembers(upto as u64 - 1));
            assert_eq!(again.left_out(), [] as [String; 0]);
            for layer in [LayerKind::Sweep, LayerKind::Changes] {
                let (a, b) = (log.chunk(layer), again.chunk(layer));
                assert_eq!((a.records(), a.bytes(), a.is_empty()), (b.records(), b.bytes(), b.is_empty()));
            }
            log = again;
        }
    }
}

#[tokio::test]
async fn a_chunk_that_was_rebuilt_is_the_same_chunk() {
    let (whole, resumed) = (Room::in_memory().await, Room::in_memory().await);
    let mut straight = open(&whole).await;
    for number in 0..2 {
        take(&mut straight, number + 1).await;
    }
    // The other vault has another naming key, so the two are compared by what they hold.
    for number in 0..2 {
        take(&mut open(&resumed).await, number + 1).await;
    }
    let mut resumed_log = open(&resumed).await;
    let mut read = Vec::new();
    for (room, log) in [(&whole, &mut straight), (&resumed, &mut resumed_log)] {
        log.close_chunk(LayerKind::Sweep, &Known::default()).await.unwrap();
        let state = log.state().clone();
        log.append(step(at_page(9), state.tally.records, state.tally.bytes)).await.unwrap();
        let mut lines = Vec::new();
        for chunk in &log.state().closed[0] {
            lines.extend(room.vault.read_chunk(&acme(), chunk).await.unwrap());
        }
        read.push(String::from_utf8(lines).unwrap());
    }
    assert_eq!(read[0], expected(&pages()[..2]));
    assert_eq!(read[0], read[1]);
}

/// What one run put no other puts again, so that whoever deletes it takes nothing from a run under way.
#[tokio::test]
async fn the_same_records_are_never_the_same_object_twice() {
    for encrypted in [false, true] {
        let room = Room::sealed_to(|worker| if encrypted { vec![worker.clone()] } else { Vec::new() }).await;
        let mut open = OpenChunk::default();
        open.add(b"{\"id\":1}\n");
        let mut names = Vec::new();
        for _ in 0..2 {
            let closing =
                room.vault.close_chunk(&acme(), LayerKind::Sweep, &open, &Known::default()).await.unwrap();
            assert_eq!(room.vault.read_chunk(&acme(), &closing.chunk).await.unwrap(), b"{\"id\":1}\n");
            names.push(closing.chunk.name);
        }
        let id = |name: &str| name.split_once('-').unwrap().0.to_owned();
        assert!(names[0] != names[1] && id(&names[0]) == id(&names[1]), "{names:?}");
    }
}

#[tokio::test]
async fn a_fork_is_harmless_and_the_longer_side_counts() {
    let room = Room::in_memory().await;
    let mut one = open(&room).await;
    take(&mut one, 2).await;
    let mut two = open(&room).await;
    take(&mut one, 3).await;
    take(&mut two, 5).await;
    assert_eq!(events(&room).await.len(), 2 + 1 + 3);
    let resumed = open(&room).await;
    assert_eq!(resumed.state(), two.state());
    assert_eq!(resumed.left_out(), [] as [String; 0], "a fork is no damage");
    // The one that was behind goes on, and neither spoils the other.
    take(&mut one, 6).await;
    let resumed = open(&room).await;
    assert_eq!(resumed.state().outcome, Some(Outcome::Complete));
    assert_eq!(resumed.state(), one.state());
}

/// Flips a bit of an event.
pub(crate) async fn flip(room: &Room, key: &Path) {
    let mut bytes = room.store.inner().get(key).await.unwrap().bytes().await.unwrap().to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    room.store.inner().put(key, bytes.into()).await.unwrap();
}

/// Damages one event of five and says where the resume is then.
async fn after_damage(at: usize, damage: impl AsyncFn(&Room, &Path)) -> (usize, Vec<String>) {
    let room = Room::in_memory().await;
    take(&mut open(&room).await, 5).await;
    let (key, _) = events(&room).await[at].clone();
    damage(&room, &key).await;
    let mut resumed = open(&room).await;
    let (reached, left_out) = (next_page(&resumed), resumed.left_out().to_vec());
    take(&mut resumed, 6).await;
    assert_eq!(resumed.state().outcome, Some(Outcome::Complete), "the job goes on");
    let mut lines = Vec::new();
    for chunk in &resumed.state().closed[0] {
        lines.extend(room.vault.read_chunk(&acme(), chunk).await.unwrap());
    }
    assert_eq!(String::from_utf8(lines).unwrap(), expected(&pages()));
    (reached, left_out)
}

#[tokio::test]
async fn a_damaged_event_is_left_out_with_what_hangs_on_it() {
    for at in 0..5 {
        let (reached, left_out) = after_damage(at, flip).await;
        assert_eq!((reached, left_out.len()), (at, 1));
        assert!(left_out[0].ends_with("it does not hash to its name"), "{left_out:?}");
        let cut = async |room: &Room, key: &Path| {
            let bytes = room.store.inner().get(key).await.unwrap().bytes().await.unwrap();
            room.store.inner().put(key, bytes.slice(..bytes.len() - 1).into()).await.unwrap();
        };
        assert_eq!(after_damage(at, cut).await.0, at);
        let lose = async |room: &Room, key: &Path| room.store.inner().delete(key).await.unwrap();
        assert_eq!(after_damage(at, lose).await, (at, vec![]), "a hole ends the chain");
    }
}

/// From an event's first line and its sealed part.
type Forgery = fn(&str, &[u8]) -> Vec<u8>;

/// Puts an object with a true name in place of event `at`.
pub(crate) async fn forge(room: &Room, at: usize, bytes: Vec<u8>) {
    let (key, name) = events(room).await[at].clone();
    room.store.inner().delete(&key).await.unwrap();
    let forged = EventName { own: Link::of(&bytes), ..name };
    let key = key.parent().unwrap().join(forged.to_string());
    room.store.inner().put(&key, PutPayload::from(bytes)).await.unwrap();
}

#[tokio::test]
async fn an_event_that_hashes_right_and_reads_wrong_is_left_out() {
    let cases: [(&str, Forgery); 3] = [
        ("no end of line", |line, _| line.as_bytes().to_vec()),
        ("first line has a wrong shape", |_, sealed| [b"{}\n", sealed].concat()),
        ("sealed part does not open", |line, sealed| [line.as_bytes(), b"\n", &sealed[1..]].concat()),
    ];
    for (why, forgery) in cases {
        let room = Room::in_memory().await;
        take(&mut open(&room).await, 5).await;
        let (key, _) = events(&room).await[4].clone();
        let bytes = room.store.inner().get(&key).await.unwrap().bytes().await.unwrap();
        let end = bytes.iter().position(|byte| *byte == b'\n').unwrap();
        let line = std::str::from_utf8(&bytes[..end]).unwrap();
        forge(&room, 4, forgery(line, &bytes[end + 1..])).await;
        let resumed = open(&room).await;
        assert_eq!(next_page(&resumed), 4, "{why}");
        assert!(resumed.left_out()[0].contains(why), "{why}: {:?}", resumed.left_out());
    }
}

#[tokio::test]
async fn an_event_under_the_name_of_the_next_is_left_out() {
    let room = Room::in_memory().await;
    take(&mut open(&room).await, 5).await;
    let (key, _) = events(&room).await[3].clone();
    let before = room.store.inner().get(&key).await.unwrap().bytes().await.unwrap();
    forge(&room, 4, before.to_vec()).await;
    let resumed = open(&room).await;
    assert_eq!(next_page(&resumed), 4);
    assert!(resumed.left_out()[0].contains("does not follow event"), "{:?}", resumed.left_out());
}

#[tokio::test]
async fn the_log_of_a_later_release_is_not_worked_against() {
    let room = Room::in_memory().await;
    take(&mut open(&room).await, 2).await;
    let (key, _) = events(&room).await[1].clone();
    let bytes = room.store.inner().get(&key).await.unwrap().bytes().await.unwrap().to_vec();
    let at = bytes.windows(10).position(|part| part == br#""schema":1"#).unwrap();
    let mut newer = bytes.clone();
    newer[at + 9] = b'2';
    forge(&room, 1, newer).await;
    let refused = Log::open(&room.vault, &acme(), &run("aaaaaa"), ENTITY).await;
    assert!(matches!(refused, Err(VaultError::Newer { schema: 2, .. })));
}

#[tokio::test]
async fn a_step_that_does_not_add_up_is_not_stored() {
    let room = Room::in_memory().await;
    let mut log = open(&room).await;
    let line = format!("{}\n", page(0, 1)[0]);
    log.chunk(LayerKind::Sweep).add(line.as_bytes());
    let wrong = log.append(step(at_page(1), 2, 0)).await;
    assert!(matches!(wrong, Err(VaultError::Illegal(_))));
    assert_eq!(events(&room).await, []);
    log.append(step(at_page(1), 1, line.len() as u64)).await.unwrap();
    log.append(step(Next::End(Outcome::Failed("test".to_owned())), 1, line.len() as u64)).await.unwrap();
    let late = log.append(step(at_page(2), 1, 0)).await;
    assert!(matches!(late, Err(VaultError::Illegal(_))), "after the end");
    assert_eq!(open(&room).await.state().events, 2);
}

#[tokio::test]
async fn records_that_were_taken_away_are_missed_at_once() {
    let room = Room::in_memory().await;
    let mut log = open(&room).await;
    take(&mut log, 1).await;
    assert!(!std::mem::take(log.chunk(LayerKind::Sweep)).is_empty());
    let tally = log.state().tally;
    let lost = log.append(step(at_page(2), tally.records, tally.bytes)).await;
    assert!(matches!(lost, Err(VaultError::Illegal(_))), "{lost:?}");
}

#[tokio::test]
async fn marks_are_forgotten_when_a_step_says_so() {
    let room = Room::in_memory().await;
    let mut log = open(&room).await;
    let mut first = step(at_page(1), 0, 0);
    first.marks = vec![7];
    log.append(first).await.unwrap();
    let mut second = step(at_page(2), 0, 0);
    (second.marks, second.fresh) = (vec![8], true);
    log.append(second).await.unwrap();
    for log in [log, open(&room).await] {
        assert!(log.seen().remembers(8) && !log.seen().remembers(7));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// However pages, chunk ends and interruptions fall, the records come out once and in order.
    #[test]
    fn interruptions_change_nothing(
        rows in prop::collection::vec(0_usize..6, 1..10),
        interrupted in prop::collection::vec(any::<bool>(), 10),
    ) {
        let pages: Vec<_> = rows.iter().enumerate().map(|(number, rows)| page(number, *rows)).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let read = runtime.block_on(async {
            let room = Room::in_memory().await;
            let mut log = open(&room).await;
            for (number, interrupted) in (0..pages.len()).zip(interrupted) {
                take_page(&mut log, number, &pages, &Known::default()).await.unwrap();
                if interrupted {
                    log = open(&room).await;
                }
            }
            let mut lines = Vec::new();
            for chunk in &log.state().closed[0] {
                lines.extend(room.vault.read_chunk(&acme(), chunk).await.unwrap());
            }
            String::from_utf8(lines).unwrap()
        });
        prop_assert_eq!(read, expected(&pages));
    }
}
