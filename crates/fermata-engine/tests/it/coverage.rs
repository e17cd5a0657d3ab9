//! What a token may read, kept with it.

use fermata_engine::coverage::{self, Coverage};
use jiff::{Timestamp, ToSpan};
use tempo_sim::Sim;

use crate::site::Site;

fn found() -> Vec<Coverage> {
    let of = |entity, readable, reason: Option<&str>| Coverage {
        entity,
        readable,
        reason: reason.map(str::to_owned),
    };
    vec![
        of("worklogs", Some(true), None),
        of("teams", Some(false), Some("forbidden")),
        of("plans", None, Some("nobody knows")),
    ]
}

#[tokio::test]
async fn what_was_found_is_kept_with_the_token_it_was_found_with() {
    let site = Site::start(Sim::builder()).await;
    let now: Timestamp = "2026-03-06T02:00:00Z".parse().unwrap();
    let used = site.engine.settings(&site.tenant).await.unwrap();
    site.engine.mark_refused(&used).await.unwrap();
    assert!(coverage::keep(&site.vault, &used, &found(), now).await.unwrap(), "it had been refused");
    let settings = site.engine.settings(&site.tenant).await.unwrap();
    let kept = settings.token.unwrap();
    assert_eq!(kept.refused, None);
    let kept = kept.checked.unwrap();
    assert_eq!(kept.at, now);
    assert_eq!(kept.gaps.into_iter().collect::<Vec<_>>(), [("teams".to_owned(), "forbidden".to_owned())]);

    let mut replaced = site.engine.settings(&site.tenant).await.unwrap();
    replaced.token = Some(site.vault.seal_token(&site.tenant, &"another".into(), now, None));
    site.vault.save_settings(replaced, now).await.unwrap();
    assert!(!coverage::keep(&site.vault, &used, &found(), now + 1.hour()).await.unwrap());
    let token = site.engine.settings(&site.tenant).await.unwrap().token.unwrap();
    assert_eq!(token.checked, None, "of another token nothing is known");
}
