//! How a job ended, read from its last event.

use std::collections::BTreeSet;

use fermata_core::catalogue::Key;
use fermata_core::checkpoint::{Next, Outcome};
use fermata_vault::{Ended, Known, Log, VaultError};
use object_store::ObjectStoreExt;
use roaring::RoaringTreemap;

use crate::job::{ENTITY, Room, acme, at_page, pages, run, step, take_page};
use crate::logs::{events, flip, forge, open, take};

async fn ended(room: &Room, entity: &str) -> Result<Option<Ended>, VaultError> {
    Log::ended(&room.vault, &acme(), &run("aaaaaa"), entity).await
}

/// The same where the answer is known, and what it took: verbs of the store.
async fn counted(room: &Room) -> (Option<Ended>, Vec<String>) {
    room.store.reset();
    let ended = ended(room, ENTITY).await.unwrap();
    let verbs = room.store.trace().iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect();
    (ended, verbs)
}

fn users(upto: usize) -> BTreeSet<String> {
    (0..upto).map(|number| format!("user-{number}")).collect()
}

#[tokio::test]
async fn the_last_event_says_it_all() {
    for room in Room::each().await {
        assert_eq!(counted(&room).await, (None, vec!["list".to_owned()]), "it has not begun");
        let mut log = open(&room).await;
        take(&mut log, 5).await;
        let (under_way, verbs) = counted(&room).await;
        assert_eq!((under_way, verbs), (None, vec!["list".to_owned(), "get".to_owned()]));
        // Another worker adds the last page: that what came before is repeated is no matter of one process.
        let mut log = open(&room).await;
        take(&mut log, 6).await;
        let (ended, verbs) = counted(&room).await;
        let ended = ended.unwrap();
        assert_eq!(verbs, ["list", "get"]);
        assert_eq!((&ended.state.outcome, ended.state.tally), (&Some(Outcome::Complete), log.state().tally));
        assert_eq!(ended.keys[&Key::User], users(6));
        assert_eq!(ended.ids, (0..6).collect::<RoaringTreemap>());
        let again = open(&room).await;
        assert_eq!((again.keys(), again.seen().ids()), (&ended.keys, &ended.ids), "a replay is a union");
    }
}

#[tokio::test]
async fn ids_that_nobody_is_asked_by_are_not_repeated() {
    let room = Room::in_memory().await;
    let mut log = Log::open(&room.vault, &acme(), &run("aaaaaa"), "teams").await.unwrap();
    for number in 0..6 {
        take_page(&mut log, number, &pages(), &Known::default()).await.unwrap();
    }
    let ended = ended(&room, "teams").await.unwrap().unwrap();
    assert_eq!(ended.keys[&Key::User], users(6));
    assert_eq!(ended.ids, RoaringTreemap::from_iter([5]));
}

#[tokio::test]
async fn a_damaged_end_is_none_unless_another_chain_has_one() {
    let room = Room::in_memory().await;
    let mut one = open(&room).await;
    take(&mut one, 3).await;
    let mut two = open(&room).await;
    // One worker gives up early, the other reads to the end: the longer chain counts.
    let failed = Outcome::Failed("test".to_owned());
    one.close_chunks(&Known::default()).await.unwrap();
    let tally = one.state().tally;
    one.append(step(Next::End(failed.clone()), tally.records, tally.bytes)).await.unwrap();
    take(&mut two, 6).await;
    assert_eq!(ended(&room, ENTITY).await.unwrap().unwrap().state.outcome, Some(Outcome::Complete));
    let last = events(&room).await.into_iter().max_by_key(|(_, name)| name.seq).unwrap();
    flip(&room, &last.0).await;
    assert_eq!(ended(&room, ENTITY).await.unwrap(), None, "five pages are read");
    // Where more of it is damaged, the end of the other is left.
    for (key, name) in events(&room).await {
        let bytes = room.store.inner().get(&key).await.unwrap().bytes().await.unwrap();
        let ends = bytes.windows(12).any(|part| part == br#""ended":true"#);
        if (3..5).contains(&name.seq) && !ends {
            flip(&room, &key).await;
        }
    }
    let left = ended(&room, ENTITY).await.unwrap().unwrap();
    assert_eq!((left.state.outcome, left.state.tally), (Some(failed), tally));
    assert_eq!((&left.keys[&Key::User], &left.ids), (&users(3), &(0..3).collect()));
}

#[tokio::test]
async fn a_last_event_that_is_another_does_not_count() {
    let room = Room::in_memory().await;
    let mut log = open(&room).await;
    take(&mut log, 2).await;
    log.close_chunks(&Known::default()).await.unwrap();
    let tally = log.state().tally;
    log.append(step(at_page(2), tally.records, tally.bytes)).await.unwrap();
    log.append(step(Next::End(Outcome::Complete), tally.records, tally.bytes)).await.unwrap();
    let [.., before, end] = &events(&room).await[..] else { panic!("four events") };
    // The end lies under the name of the event before it, which is the last then.
    let bytes = room.store.inner().get(&end.0).await.unwrap().bytes().await.unwrap();
    room.store.inner().delete(&end.0).await.unwrap();
    let before = events(&room).await.iter().position(|event| event == before).unwrap();
    forge(&room, before, bytes.to_vec()).await;
    assert_eq!(ended(&room, ENTITY).await.unwrap(), None);
}

#[tokio::test]
async fn an_end_by_a_later_release_is_named() {
    let room = Room::in_memory().await;
    take(&mut open(&room).await, 6).await;
    let (key, _) = events(&room).await[5].clone();
    let mut newer = room.store.inner().get(&key).await.unwrap().bytes().await.unwrap().to_vec();
    let at = newer.windows(10).position(|part| part == br#""schema":1"#).unwrap();
    newer[at + 9] = b'2';
    forge(&room, 5, newer).await;
    assert!(matches!(ended(&room, ENTITY).await, Err(VaultError::Newer { schema: 2, .. })));
}

#[tokio::test]
async fn it_needs_the_workers_key() {
    let room = Room::in_memory().await;
    let vault = room.open([]).await.unwrap();
    let refused = Log::ended(&vault, &acme(), &run("aaaaaa"), ENTITY).await;
    assert!(matches!(refused, Err(VaultError::NeedsKey { .. })));
}
