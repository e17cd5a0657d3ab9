//! How far jobs are, read without any key.

use std::collections::BTreeMap;

use fermata_core::checkpoint::Head;
use fermata_vault::{Known, Log, VaultError};
use object_store::ObjectStoreExt;

use crate::job::{ENTITY, Room, acme, pages, run, take_page};
use crate::logs::{events, flip, forge, open, take};

async fn heads(room: &Room) -> Result<BTreeMap<String, Head>, VaultError> {
    let keyless = room.open([]).await.unwrap();
    room.store.reset();
    Log::heads(&keyless, &acme(), &run("aaaaaa")).await
}

#[tokio::test]
async fn whoever_can_list_the_store_sees_how_far_jobs_are() {
    for room in Room::everywhere().await {
        assert_eq!(heads(&room).await.unwrap(), BTreeMap::new(), "{}: nothing has begun", room.kind);
        let mut log = open(&room).await;
        take(&mut log, 4).await;
        let mut teams = Log::open(&room.vault, &acme(), &run("aaaaaa"), "teams").await.unwrap();
        for number in 0..6 {
            take_page(&mut teams, number, &pages(), &Known::default()).await.unwrap();
        }
        let heads = heads(&room).await.unwrap();
        let mut verbs: Vec<_> =
            room.store.trace().iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect();
        verbs.sort();
        assert_eq!(verbs, ["get", "get", "list"], "{}: one look for each job", room.kind);
        assert_eq!(heads.keys().collect::<Vec<_>>(), ["teams", ENTITY]);
        let (worklogs, teams_head) = (&heads[ENTITY], &heads["teams"]);
        assert_eq!((worklogs.seq, worklogs.ended, worklogs.tally), (3, false, log.state().tally));
        assert_eq!((teams_head.seq, teams_head.ended, teams_head.tally), (5, true, teams.state().tally));
    }
}

#[tokio::test]
async fn of_a_fork_the_side_that_counts_is_shown() {
    let room = Room::in_memory().await;
    let mut one = open(&room).await;
    take(&mut one, 2).await;
    let mut two = open(&room).await;
    take(&mut one, 3).await;
    take(&mut two, 5).await;
    assert_eq!(heads(&room).await.unwrap()[ENTITY].tally, two.state().tally);
}

#[tokio::test]
async fn a_head_that_cannot_be_read_hides_no_other() {
    let room = Room::in_memory().await;
    let mut log = open(&room).await;
    take(&mut log, 2).await;
    let tally = log.state().tally;
    take(&mut log, 3).await;
    let (last, _) = events(&room).await[2].clone();
    let whole = room.store.inner().get(&last).await.unwrap().bytes().await.unwrap();
    let cut = whole.slice(..20);
    room.store.inner().put(&last, cut.into()).await.unwrap();
    assert_eq!(heads(&room).await.unwrap()[ENTITY].tally, tally, "the event before");
    room.store.inner().put(&last, whole.into()).await.unwrap();
    flip(&room, &last).await;
    assert_eq!(
        heads(&room).await.unwrap()[ENTITY].tally,
        log.state().tally,
        "what is sealed is not looked at"
    );
}

#[tokio::test]
async fn a_head_by_a_later_release_is_named() {
    let room = Room::in_memory().await;
    take(&mut open(&room).await, 2).await;
    let (key, _) = events(&room).await[1].clone();
    let mut newer = room.store.inner().get(&key).await.unwrap().bytes().await.unwrap().to_vec();
    let at = newer.windows(10).position(|part| part == br#""schema":1"#).unwrap();
    newer[at + 9] = b'2';
    forge(&room, 1, newer).await;
    assert!(matches!(heads(&room).await, Err(VaultError::Newer { schema: 2, .. })));
}
