//! How many tenants fare at once.

use fermata_core::names::Tenant;
use fermata_fleet::Turn;
use fermata_fleet::queue::{HeldFor, Place};
use jiff::Timestamp;

use crate::stage::{RUN, START_MS, Stage};

fn tenants(names: &[&str]) -> Vec<Tenant> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

#[tokio::test]
async fn tenants_are_told_in_their_order() {
    let stage = Stage::new();
    let queue = &stage.queue;
    stage.push("acme", &[("a", &[]), ("b", &[]), ("c", &["b"])]).await;
    // A name that begins like another's is another tenant.
    stage.push("acme-2", &[("a", &[])]).await;
    queue.hold(&"acme-2".parse().unwrap(), HeldFor::Queue).await.unwrap();
    assert_eq!(stage.turn(&Turn::Done).await.as_deref(), Some("a"));
    assert_eq!(stage.turn(&Turn::Dead("no".to_owned())).await.as_deref(), Some("b"));
    let places = queue.places(&tenants(&["nobody", "acme-2", "acme"])).await.unwrap();
    assert_eq!(places[0], Place::default());
    assert_eq!(places[1].queue.held.as_deref(), Some("queue"));
    let run = places[2].run.as_ref().unwrap();
    assert_eq!((run.run.as_str(), run.all, run.ended, run.given_up), (RUN, 3, 2, 1));
    assert_eq!((places[2].queue.ready, places[1].run.as_ref().unwrap().ended), (1, 0));
    assert_eq!(queue.places(&[]).await.unwrap(), []);
}

#[tokio::test]
async fn a_run_that_ended_is_told_once_it_has() {
    let stage = Stage::new();
    stage.push("acme", &[("a", &[])]).await;
    let begin = Timestamp::from_millisecond(i64::try_from(START_MS).unwrap()).unwrap();
    assert_eq!(stage.queue.ended_since(begin).await.unwrap(), []);
    stage.turn(&Turn::Done).await.unwrap();
    stage.pass_tended(5_000).await;
    assert_eq!(stage.turn(&Turn::Done).await.as_deref(), Some("seal"));
    let ended = begin + jiff::SignedDuration::from_secs(5);
    let acme = tenants(&["acme"]);
    assert_eq!(stage.queue.ended_since(ended).await.unwrap(), [(acme[0].clone(), ended)]);
    assert_eq!(stage.queue.ended_since(ended + jiff::SignedDuration::from_millis(1)).await.unwrap(), []);
    assert_eq!(stage.queue.places(&acme).await.unwrap()[0].run, None);
}
