//! A resume reads the last events of a log, however long it is.

use fermata_core::checkpoint::holds_all;
use fermata_vault::{Known, Log};
use object_store::ObjectStoreExt;

use crate::job::{ENTITY, Room, acme, expected, page, run, take_page};
use crate::logs::{events, flip, forge, open};

/// Enough for three events that hold all so far, some with records in an open chunk and some without.
fn many() -> Vec<Vec<String>> {
    (0..110).map(|number| page(number, [1, 4, 0, 7, 2][number % 5])).collect()
}

async fn take(log: &mut Log, upto: usize) {
    while crate::job::next_page(log) < upto && log.state().outcome.is_none() {
        let number = crate::job::next_page(log);
        take_page(log, number, &many(), &Known::default()).await.unwrap();
    }
}

/// Opens the log anew, and counts the events that it fetched.
async fn reopened(room: &Room) -> (Log, usize) {
    room.store.reset();
    let log = open(room).await;
    let gets = room.store.trace().iter().filter(|line| line.starts_with("get ")).count();
    (log, gets)
}

async fn lines(room: &Room, log: &Log) -> String {
    let mut lines = Vec::new();
    for chunk in &log.state().closed[0] {
        lines.extend(room.vault.read_chunk(&acme(), chunk).await.unwrap());
    }
    String::from_utf8(lines).unwrap()
}

#[tokio::test]
async fn a_resume_costs_no_more_than_32_events() {
    let room = Room::in_memory().await;
    let mut straight = open(&room).await;
    let mut begun_late = 0;
    for upto in 1..many().len() {
        take(&mut straight, upto).await;
        let (again, gets) = reopened(&room).await;
        assert!(gets <= 32, "{upto} pages: {gets} events");
        begun_late += usize::from(gets < upto);
        assert_eq!(again.state(), straight.state(), "{upto} pages");
        assert_eq!(again.keys(), straight.keys());
        assert_eq!(again.seen().ids(), straight.seen().ids());
        assert!((0..upto as u64).all(|mark| again.seen().remembers(mark)));
    }
    assert!(begun_late > 70, "{begun_late}");
    // A resume at each step comes to the same records as none.
    let other = Room::in_memory().await;
    while open(&other).await.state().outcome.is_none() {
        let mut log = open(&other).await;
        let next = crate::job::next_page(&log) + 1;
        take(&mut log, next).await;
    }
    take(&mut straight, many().len()).await;
    let (end, _) = reopened(&room).await;
    assert_eq!(lines(&room, &end).await, expected(&many()));
    assert_eq!(lines(&other, &open(&other).await).await, expected(&many()));
    let ended = Log::ended(&room.vault, &acme(), &run("aaaaaa"), ENTITY).await.unwrap().unwrap();
    assert_eq!(
        (&ended.state.closed, ended.state.outcome),
        (&end.state().closed, end.state().outcome.clone())
    );
    assert_eq!(ended.state.notes, end.state().notes);
}

#[tokio::test]
async fn damage_before_what_holds_all_does_no_harm_and_damage_to_it_costs_pages() {
    let room = Room::in_memory().await;
    take(&mut open(&room).await, 70).await;
    let stored = events(&room).await;
    for at in [0, 5, 62] {
        flip(&room, &stored[at].0).await;
    }
    let (log, _) = reopened(&room).await;
    assert_eq!((log.state().events, log.left_out().len()), (70, 0), "they are not read any more");
    // Without the event that holds all there is a hole, and what is damaged before it counts again.
    assert!(holds_all(stored[63].1.seq));
    flip(&room, &stored[63].0).await;
    let (mut log, _) = reopened(&room).await;
    assert_eq!(log.state().events, 62, "{:?}", log.left_out());
    take(&mut log, many().len()).await;
    assert_eq!(lines(&room, &log).await, expected(&many()));
}

#[tokio::test]
async fn an_event_that_should_hold_all_and_does_not_is_left_out() {
    let room = Room::in_memory().await;
    take(&mut open(&room).await, 40).await;
    let stored = events(&room).await;
    // The event before it, in the place of one that holds all.
    let bytes = room.store.inner().get(&stored[30].0).await.unwrap().bytes().await.unwrap();
    forge(&room, 31, bytes.to_vec()).await;
    let (mut log, _) = reopened(&room).await;
    assert_eq!(log.state().events, 31, "{:?}", log.left_out());
    assert_eq!(log.left_out().len(), 1);
    take(&mut log, many().len()).await;
    assert_eq!(lines(&room, &log).await, expected(&many()));
}
