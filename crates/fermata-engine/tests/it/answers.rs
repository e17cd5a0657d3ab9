//! What an answer means: the table of the design, row by row.

use std::time::Duration;

use fermata_core::manifest::{EntryStatus, Status};
use fermata_core::settings::Settings;
use fermata_engine::{BackupError, Engine, Progress, Teller};
use jiff::Timestamp;
use tempo_sim::{Family, Fault, FaultKind, Quirks, Sim, TokenSpec};
use tokio::sync::mpsc;

use crate::site::{Site, assert_ended, entry, without_parent};

const LISTS: &[&str] = &["teams", "team-links", "roles", "customers"];

async fn lists() -> Site {
    Site::start(Sim::builder().seed(5).worklogs(60)).await.only(LISTS)
}

/// Whether an entity holds all that the site has of it.
async fn assert_all_there(site: &Site, entities: &[&str]) {
    let manifest = site.latest().await;
    let records = site.records(&manifest).await;
    for entity in entities {
        assert_ended(&manifest, entity, EntryStatus::Complete, "");
        let mut found: Vec<_> = records[*entity].iter().map(|line| without_parent(line)).collect();
        let mut truth = site.sim.truth(1, entity);
        found.sort();
        truth.sort();
        assert!(found == truth, "{entity}: {} of {}", found.len(), truth.len());
    }
}

fn too_fast(retry_after: Option<u32>) -> Fault {
    Fault::new(FaultKind::Status { code: 429, body: None, content_type: None, retry_after })
}

/// Runs a test's clock three hundred times as fast while something is under way: a pause of the engine's
/// is soon over, and the simulator on its sockets notices nothing.
async fn hastened<T>(work: impl Future<Output = T>) -> T {
    tokio::time::pause();
    let hasten = async {
        let mut last = std::time::Instant::now();
        loop {
            tokio::task::yield_now().await;
            let passed = last.elapsed();
            if passed >= Duration::from_millis(1) {
                last = std::time::Instant::now();
                tokio::time::advance(passed * 300).await;
            }
        }
    };
    let done = tokio::select! {
        done = work => done,
        () = hasten => unreachable!("it has no end"),
    };
    tokio::time::resume();
    done
}

#[tokio::test]
async fn too_many_requests_cost_time_and_no_attempt() {
    for retry_after in [None, Some(2)] {
        let mut site = lists().await;
        site.engine.client.read_timeout = Duration::from_mins(10);
        // More than ten in a row, so that the job gives its place back; as often as attempts would be spent.
        let times = if retry_after.is_some() { 100 } else { 15 };
        site.sim.fault(too_fast(retry_after).path("/4/roles").times(times));
        let report = hastened(site.backup()).await.unwrap();
        assert_eq!(report.throttled, times, "{retry_after:?}");
        assert_eq!(report.retries, 0);
        assert_all_there(&site, LISTS).await;
        assert_eq!(entry(&site.latest().await, "roles").throttled, times);
    }
}

#[tokio::test]
async fn retry_after_is_waited_out_by_every_job() {
    let site = lists().await;
    site.sim.fault(too_fast(Some(1)).nth(2));
    let began = tokio::time::Instant::now();
    let report = site.backup().await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(report.throttled, 1);
    assert_all_there(&site, LISTS).await;
}

#[tokio::test]
async fn a_burst_of_failures_is_retried_in_place() {
    for kind in
        [Fault::status(500), Fault::status(503), Fault::new(FaultKind::Reset), Fault::new(FaultKind::Cut)]
    {
        let site = lists().await;
        site.sim.fault(kind.clone().path("/4/teams").times(3));
        let report = site.backup().await.unwrap();
        assert_eq!(report.retries, 3, "{kind:?}");
        assert_all_there(&site, LISTS).await;
    }
}

#[tokio::test]
async fn a_longer_burst_is_retried_as_later_attempts() {
    let site = lists().await;
    site.sim.fault(Fault::status(502).path("/4/roles").times(4 * 7 + 3));
    site.backup().await.unwrap();
    assert_all_there(&site, LISTS).await;
}

#[tokio::test]
async fn eight_attempts_are_the_end_of_one_entity() {
    let site = lists().await;
    site.sim.fault(Fault::status(500).path("/4/teams").times(10_000));
    site.backup().await.unwrap();
    let manifest = site.latest().await;
    assert_eq!(manifest.status, Status::Partial);
    assert_ended(&manifest, "teams", EntryStatus::Failed, "given up after 8 attempts");
    assert_ended(&manifest, "teams", EntryStatus::Failed, "HTTP 500");
    assert_ended(&manifest, "team-links", EntryStatus::Skipped, "teams could not be read");
    assert_eq!(site.requests()["GET /4/teams"], 4 * 8);
    assert_eq!(entry(&manifest, "teams").requests, 4 * 8);
    assert_all_there(&site, &["roles", "customers"]).await;
}

/// What was read before it failed is kept, and its children are read as far as they are known.
#[tokio::test]
async fn what_was_read_is_kept() {
    let quirks = Quirks { limit_max: Some(2), ..Quirks::default() };
    let site = Site::start(Sim::builder().seed(5).worklogs(60).quirks(quirks)).await.only(LISTS);
    site.sim.fault(Fault::status(500).path("/4/customers").nth(2).times(10_000));
    let truth = site.sim.truth(1, "customers");
    site.backup().await.unwrap();
    let manifest = site.latest().await;
    assert_ended(&manifest, "customers", EntryStatus::Failed, "given up after 8 attempts");
    assert_eq!(site.records(&manifest).await["customers"], truth[..2]);
}

#[tokio::test]
async fn a_child_of_a_partial_parent_is_not_complete() {
    let quirks = Quirks { limit_max: Some(2), ..Quirks::default() };
    let site = Site::start(Sim::builder().seed(5).worklogs(60).quirks(quirks)).await.only(LISTS);
    // The links are asked for once the teams are given up, so they get answers again.
    site.sim.fault(Fault::status(500).path("/4/teams").nth(2).times(32));
    site.backup().await.unwrap();
    let manifest = site.latest().await;
    assert_ended(&manifest, "teams", EntryStatus::Failed, "given up after 8 attempts");
    assert!(entry(&manifest, "team-links").records > 0, "the links of the known teams are there");
    assert_ended(&manifest, "team-links", EntryStatus::Failed, "teams could not all be read");
}

#[tokio::test]
async fn a_refused_token_ends_the_run_and_a_new_one_resumes_it() {
    let mut site = Site::start(Sim::builder().seed(5).worklogs(60)).await.only(LISTS);
    // One job at a time would be needed to name the request; that some pages were read is enough.
    site.sim.fault(Fault::status(401).path("/4/teams/{id}/links").nth(2).times(10_000));
    let refused = site.backup().await;
    assert!(matches!(refused, Err(BackupError::TokenRefused(_))), "{refused:?}");
    let settings = site.vault.settings(&site.tenant).await.unwrap().unwrap();
    assert!(settings.token.as_ref().unwrap().refused.is_some());
    assert!(site.manifests().await.is_empty());

    let asked = site.requests();
    for _ in 0..3 {
        assert!(matches!(site.backup().await, Err(BackupError::TokenRefused(_))));
    }
    assert_eq!(site.requests(), asked, "nothing is asked with a token that was refused");

    site.sim.clear_faults();
    let new = TokenSpec { token: "another".to_owned(), ..TokenSpec::full(1) };
    site.sim.restrict_token(new);
    site.sim.restrict_token(TokenSpec { expired: true, ..TokenSpec::full(1) });
    let run = site.vault.unfinished_runs(&site.tenant).await.unwrap();
    let now = Timestamp::now();
    let token = site.vault.seal_token(&site.tenant, &"another".into(), now, None);
    site.vault.save_settings(Settings { token: Some(token), ..settings }, now).await.unwrap();
    site.engine = site.other_process().await.1;
    let report = site.backup().await.unwrap();
    assert!(report.resumed);
    assert_eq!(vec![report.run.unwrap()], run);
    assert_all_there(&site, LISTS).await;
    assert_eq!(site.requests()["GET /4/teams"], 1, "what was logged is not asked again");
}

/// Whoever stores a new token while a run with the old one is still at work must not find it refused.
#[tokio::test]
async fn a_token_stored_meanwhile_is_not_the_one_that_was_refused() {
    let site = Site::start(Sim::builder().seed(5).worklogs(60)).await.only(LISTS);
    let (teller, mut told) = mpsc::unbounded_channel();
    let engine = Engine { teller: Teller::new(teller), ..site.engine.clone() };
    let replace = async {
        while !matches!(told.recv().await, Some(Progress::Page { .. })) {}
        let settings = site.vault.settings(&site.tenant).await.unwrap().unwrap();
        let now = Timestamp::now();
        let token = site.vault.seal_token(&site.tenant, &"another".into(), now, None);
        site.vault.save_settings(Settings { token: Some(token), ..settings }, now).await.unwrap();
    };
    site.sim.restrict_token(TokenSpec { token: "another".to_owned(), ..TokenSpec::full(1) });
    // The old token works until the new one is stored; this request is held that long.
    site.sim.fault(Fault::new(FaultKind::Hang { seconds: 0.2 }).path("/4/customers"));
    site.sim.fault(Fault::status(401).path("/4/customers").nth(1).times(0));
    let expire = async {
        replace.await;
        site.sim.restrict_token(TokenSpec { expired: true, ..TokenSpec::full(1) });
        site.sim.fault(Fault::status(401).times(10_000));
    };
    let (ended, ()) = tokio::join!(site.backup_by(&engine), expire);
    if matches!(ended, Err(BackupError::TokenRefused(_))) {
        let settings = site.vault.settings(&site.tenant).await.unwrap().unwrap();
        assert_eq!(settings.token.unwrap().refused, None, "the new token was never refused");
        site.sim.clear_faults();
        site.backup().await.unwrap();
    }
    assert_all_there(&site, LISTS).await;
}

/// What a token without a family of permissions cannot read is skipped, and says what to grant.
#[tokio::test]
async fn a_family_that_is_denied_is_a_gap_with_its_grant() {
    let cases: &[(Family, &[&str], &str)] = &[
        (Family::Teams, &["teams", "team-memberships", "roles"], "Teams scope"),
        (Family::Accounts, &["accounts", "account-categories", "customers"], "Accounts scope"),
        (Family::Worklogs, &["worklogs", "work-attributes"], "Worklogs scope"),
        (Family::Schemes, &["workload-schemes", "holiday-schemes", "user-schedules"], "Schemes scope"),
        (Family::Plans, &["plans", "flex-plans", "programs"], "Plans scope"),
        (Family::Periods, &["periods"], "Periods scope"),
        (Family::Approvals, &["timesheet-approvals", "timesheet-approval-log"], "Approvals scope"),
        (Family::Audit, &["audit-events"], "Tempo Administrator"),
        (Family::Skills, &["skills"], "full access"),
        (Family::GenericResources, &["generic-resources"], "full access"),
        (Family::Webhooks, &["webhook-subscriptions"], "Tempo Administrator"),
        (Family::Configuration, &["global-configuration"], "Tempo Administrator"),
        (Family::Roles, &["permission-roles"], "Tempo Administrator"),
        (Family::Financial, &["projects", "portfolios", "global-rates"], "Financial Manager"),
    ];
    for status in [403, 404] {
        for (family, entities, grant) in cases {
            let quirks = Quirks { denied_status: status, ..Quirks::default() };
            let site = Site::start(Sim::builder().seed(5).worklogs(60).quirks(quirks)).await;
            site.sim.restrict_token(TokenSpec { deny: [*family].into(), ..TokenSpec::full(1) });
            let manifest = site.sealed(&site.backup().await.unwrap()).await;
            assert_eq!(manifest.status, Status::Partial, "{family:?}");
            for entity in *entities {
                assert_ended(&manifest, entity, EntryStatus::Skipped, grant);
                assert_ended(&manifest, entity, EntryStatus::Skipped, &status.to_string());
                assert_eq!(entry(&manifest, entity).records, 0);
            }
            for entry in &manifest.entities {
                let reason = entry.reason.as_deref().unwrap_or_default();
                assert_eq!(
                    entry.status == EntryStatus::Complete,
                    reason.is_empty(),
                    "{}: {reason}",
                    entry.entity
                );
                assert!(
                    entry.status != EntryStatus::Complete
                        || !entry.entity.starts_with("team-")
                        || *family != Family::Teams
                );
            }
            site.whole(&manifest).await.unwrap();
        }
    }
}

#[tokio::test]
async fn one_key_that_is_refused_is_a_gap_of_one() {
    let site = lists().await;
    let teams = site.sim.truth(1, "teams").len();
    site.sim.fault(Fault::status(403).path("/4/teams/{id}/links").nth(2));
    site.backup().await.unwrap();
    let manifest = site.latest().await;
    assert_ended(
        &manifest,
        "team-links",
        EntryStatus::Failed,
        &format!("1 of {teams} parts could not be read"),
    );
    assert!(entry(&manifest, "team-links").records > 0);
    assert_all_there(&site, &["teams", "roles", "customers"]).await;
}

/// A refusal in the middle of a list does not make what was read before it nothing.
#[tokio::test]
async fn a_list_refused_half_way_is_not_all_there_and_not_nothing() {
    for status in [403, 404] {
        let quirks = Quirks { limit_max: Some(2), ..Quirks::default() };
        let site = Site::start(Sim::builder().seed(5).worklogs(60).quirks(quirks)).await.only(LISTS);
        site.sim.fault(Fault::status(status).path("/4/customers").nth(2).times(100));
        site.backup().await.unwrap();
        let manifest = site.latest().await;
        assert_ended(&manifest, "customers", EntryStatus::Failed, "Accounts scope");
        assert_eq!(entry(&manifest, "customers").records, 2);
    }
}

#[tokio::test]
async fn a_token_that_may_only_view_reads_the_other_way() {
    let site = Site::start(Sim::builder().seed(5).worklogs(300)).await;
    site.sim.restrict_token(TokenSpec { view_only: true, ..TokenSpec::full(1) });
    site.backup().await.unwrap();
    let manifest = site.latest().await;
    assert_eq!(manifest.status, Status::Partial);
    assert_all_there(&site, &["teams", "team-memberships", "worklogs"]).await;
    for entity in ["workload-scheme-members", "holiday-scheme-members"] {
        // Asked per scheme they come without its id, which their `_parent` has.
        assert_eq!(entry(&manifest, entity).records, site.sim.truth(1, entity).len() as u64);
        assert_ended(&manifest, entity, EntryStatus::Complete, "");
    }
    assert_ended(&manifest, "accounts", EntryStatus::Failed, "archived accounts");
    assert_ended(&manifest, "audit-events", EntryStatus::Failed, "deletions of worklogs and plans");
    for entity in ["jira-worklog-ids", "generic-resources", "skill-assignments"] {
        assert_ended(&manifest, entity, EntryStatus::Skipped, "");
    }
    assert!(entry(&manifest, "worklogs").warnings[0].contains("read in another way"));
    assert_eq!(entry(&manifest, "plans").status, EntryStatus::Complete);
}

#[tokio::test]
async fn a_request_that_breaks_the_contract_is_given_up_at_once() {
    for status in [400, 405, 409, 418, 422, 301, 304] {
        let site = lists().await;
        site.sim.fault(Fault::status(status).path("/4/roles").times(100));
        site.backup().await.unwrap();
        let manifest = site.latest().await;
        assert_ended(
            &manifest,
            "roles",
            EntryStatus::Failed,
            &format!("GET /4/roles: Tempo refused the request (HTTP {status})"),
        );
        assert_eq!(site.requests()["GET /4/roles"], 1, "{status}");
        assert_all_there(&site, &["teams", "team-links", "customers"]).await;
    }
}
