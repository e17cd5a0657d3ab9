//! `worker` and `scheduler` as processes: signals, probes, metrics, and due times.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use fermata_fleet::JobState;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use tempo_sim::{Fault, FaultKind};

use super::{enqueued, fleet, jobs, until};
use crate::fleet::Fleet;
use crate::stage::{Server, signal, site};

/// A worker that is told to stop is gone within this.
const STOP_MAX: Duration = Duration::from_secs(10);

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The status and the body at a path, if anybody listens.
pub(crate) fn get(port: u16, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

fn metric(port: u16, name: &str) -> Option<u64> {
    let (_, text) = get(port, "/metrics")?;
    let mut lines = text.lines();
    let line = lines.find(|line| [" ", "{} "].iter().any(|end| line.starts_with(&format!("{name}{end}"))))?;
    line.rsplit(' ').next()?.parse().ok()
}

fn code(fleet: &Fleet, server: &mut Server) -> Option<i32> {
    let mut ended = None;
    until(fleet, "it ends", || {
        ended = server.ended();
        ended.is_some()
    });
    ended.and_then(|ended| ended.code())
}

#[test]
fn a_worker_that_is_told_to_stop_gives_its_jobs_back_unspent() {
    let fleet = Fleet::start(site().latency(Duration::from_millis(5)), 1, 1_000.0);
    let port = free_port();
    let mut worker = fleet.serve(&format!("worker --listen 127.0.0.1:{port}"), "worker.log");
    until(&fleet, "it is ready", || get(port, "/readyz") == Some((200, "ok\n".to_owned())));
    for probe in ["/livez", "/startedz"] {
        assert_eq!(get(port, probe), Some((200, "ok\n".to_owned())), "{probe}");
    }
    assert_eq!(get(port, "/nothing").map(|(status, _)| status), Some(404));
    fleet.fermata("enqueue sim-1").run().code(0);
    fleet.stage.wait_for_requests(40);
    let told = Instant::now();
    worker.signal("TERM");
    assert_eq!(code(&fleet, &mut worker), Some(0));
    assert!(told.elapsed() < STOP_MAX, "{:?}", told.elapsed());
    let all = jobs(&fleet);
    assert!(all.iter().all(|job| job.state != JobState::Running), "{all:?}");
    assert!(all.iter().any(|job| job.state == JobState::Queued), "it was stopped in the middle: {all:?}");
    for job in &all {
        assert_eq!((job.attempt, job.lost, &job.error), (1, 0, &None), "{job:?}");
    }
    let status = fleet.fermata("queue status --json").run().code(0).json();
    assert_eq!(status["workers"], serde_json::json!([]), "it has said goodbye");
    let log = std::fs::read_to_string(fleet.stage.at("worker.log")).unwrap();
    assert!(log.contains("stopping: what has come is logged"), "{log}");

    let _next = fleet.serve("worker", "next.log");
    let tenant = &fleet.tenants[0];
    until(&fleet, "there is a snapshot", || !fleet.stage.block_on(fleet.snapshots(tenant)).is_empty());
    let snapshot = fleet.stage.block_on(fleet.snapshots(tenant)).remove(0);
    assert_eq!(fleet.stage.block_on(fleet.flaws(1, &snapshot)), [""; 0]);
}

#[test]
fn a_log_in_json_has_nothing_else_on_stderr() {
    let fleet = enqueued();
    let call = |line: &str| fleet.fermata(&format!("{line} --log json"));
    let mut said = vec![
        ("enqueue nobody", call("enqueue nobody").run().code(2)),
        ("worker", fleet.stage.fermata("worker --log json").env("FERMATA_REDIS", "x").run().code(2)),
    ];
    let running = [("worker", call("worker").start()), ("scheduler", call("scheduler").start())];
    let tenant = &fleet.tenants[0];
    until(&fleet, "there is a snapshot", || !fleet.stage.block_on(fleet.snapshots(tenant)).is_empty());
    said.extend(running.map(|(line, process)| (line, process.terminate().code(0))));
    for (line, ended) in said {
        assert!(!ended.stderr.is_empty(), "{line}");
        for text in ended.stderr.lines() {
            let event: serde_json::Value =
                serde_json::from_str(text).unwrap_or_else(|error| panic!("{line}: {error}: {text}"));
            let texts = [&event["timestamp"], &event["level"], &event["fields"]["message"]];
            assert!(texts.iter().all(|text| text.is_string()), "{line}: {text}");
        }
    }
}

#[test]
fn a_second_signal_ends_a_worker_at_once() {
    let fleet = enqueued();
    fleet.stage.sim.fault(Fault::new(FaultKind::Hang { seconds: 300.0 }).times(1_000));
    let port = free_port();
    let mut worker = fleet.serve(&format!("worker --listen 127.0.0.1:{port}"), "worker.log");
    fleet.stage.wait_for_requests(1);
    // It waits some seconds for a Redis that it has jobs to give back to.
    signal(fleet.redis.pid(), "STOP");
    worker.signal("TERM");
    until(&fleet, "it is not ready any more", || {
        get(port, "/readyz").is_some_and(|(status, _)| status == 503)
    });
    assert_eq!(get(port, "/livez"), Some((200, "ok\n".to_owned())));
    assert!(worker.ended().is_none());
    let told = Instant::now();
    worker.signal("TERM");
    assert_eq!(code(&fleet, &mut worker), Some(1));
    assert!(told.elapsed() < Duration::from_secs(2), "{:?}", told.elapsed());
}

#[test]
fn a_scrape_has_every_metric_of_the_page() {
    let fleet = enqueued();
    let [port, scheduler, dashboard] = [free_port(), free_port(), free_port()];
    let mut worker = fleet.serve(&format!("worker --listen 127.0.0.1:{port}"), "worker.log");
    let _scheduler = fleet.serve(&format!("scheduler --listen 127.0.0.1:{scheduler}"), "scheduler.log");
    let at = format!("dashboard --listen 127.0.0.1:0 --refresh 1 --probes 127.0.0.1:{dashboard}");
    let _dashboard = fleet.serve(&at, "dashboard.log");
    let sealed = || metric(port, "fermata_snapshots_sealed_total{status=\"complete\"}");
    until(&fleet, "there is a snapshot", || sealed() == Some(1));
    let good = || metric(dashboard, "fermata_tenants{health=\"good\"}");
    until(&fleet, "the dashboard has looked at it", || good() == Some(1));
    assert!(metric(dashboard, "fermata_snapshot_oldest_seconds").is_some_and(|age| age < 600));
    assert_eq!(metric(dashboard, "fermata_entities_lost"), Some(0));
    assert_eq!(get(dashboard, "/readyz"), Some((200, "ok\n".to_owned())));
    let scraped = [port, scheduler, dashboard].map(|port| get(port, "/metrics").unwrap().1);
    let text = scraped.concat();
    let page = std::fs::read_to_string(crate::root().join("docs/fleet.md")).unwrap();
    let mut problems = Vec::new();
    let names: Vec<_> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    for (name, kind) in &names {
        let name = if *kind == "counter" { format!("{name}_total") } else { (*name).to_owned() };
        if !page.contains(&format!("`{name}`")) && !page.contains(&format!("`{name}{{")) {
            problems.push(format!("docs/fleet.md does not name {name}"));
        }
    }
    let scraped: Vec<_> = names.iter().map(|(name, _)| *name).collect();
    for row in page.lines().filter_map(|line| line.strip_prefix("| `fermata_")) {
        let name = format!("fermata_{}", row.split(['`', '{']).next().unwrap_or_default());
        if !scraped.contains(&name.trim_end_matches("_total")) {
            problems.push(format!("docs/fleet.md names {name}, and no scrape has it"));
        }
    }
    assert!(scraped.len() > 15, "{text}");
    crate::assert_none(&problems);
    assert_eq!(metric(port, "fermata_workers"), Some(1));
    worker.signal("TERM");
    assert_eq!(code(&fleet, &mut worker), Some(0));
}

#[test]
fn the_user_of_the_page_may_do_what_is_needed_and_no_more() {
    let fleet = fleet();
    let page = std::fs::read_to_string(crate::root().join("docs/fleet.md")).unwrap();
    let user = page.lines().find_map(|line| line.strip_prefix("user ")).expect("an example of a user");
    super::tell_redis(&fleet, &format!("ACL SETUSER {}", user.replace("PASSWORD", "s3cret")));
    let address = fleet.redis.url().replace("redis://", "redis://fermata:s3cret@");
    let call = |line: &str| fleet.stage.fermata(line).env("FERMATA_REDIS", &address);
    for line in [
        "enqueue sim-1",
        "queue pause",
        "queue resume",
        "jobs cancel --entity teams --all",
        "jobs retry --all",
        "jobs list --error x",
        "tenant pause sim-1",
        "tenant resume sim-1",
        "queue status",
        "queue audit",
        "reconcile",
    ] {
        call(line).run().code(0);
    }
    let scheduler = call("scheduler --sweep 1").env("FERMATA_LOG", "warn").start();
    let worker = call("worker").env("FERMATA_LOG", "warn").start();
    let tenant = &fleet.tenants[0];
    until(&fleet, "there is a snapshot", || !fleet.stage.block_on(fleet.snapshots(tenant)).is_empty());
    for process in [worker, scheduler] {
        let said = process.terminate().code(0).stderr;
        assert!(!said.contains("WARN") && !said.contains("refuses"), "{said}");
    }
    let mut redis = TcpStream::connect(("127.0.0.1", fleet.redis.port())).unwrap();
    redis.write_all(b"AUTH fermata s3cret\r\nFLUSHALL\r\nSET x y\r\nQUIT\r\n").unwrap();
    let mut said = String::new();
    redis.read_to_string(&mut said).unwrap();
    assert_eq!(said.matches("-NOPERM").count(), 2, "{said}");
}

#[test]
fn of_two_schedulers_one_enqueues_what_is_due() {
    let fleet = fleet();
    // Due ten minutes ago, and not again today; the token was there before.
    let now = Timestamp::now();
    let due = (now - SignedDuration::from_mins(10)).to_zoned_datetime(TimeZone::UTC);
    let tenant = &fleet.tenants[0];
    fleet.stage.block_on(async {
        let mut settings = fleet.vault.settings(tenant).await.unwrap().unwrap();
        settings.schedule = Some(due.strftime("%M %H * * *").to_string());
        settings.token.as_mut().unwrap().stored = now - SignedDuration::from_hours(24 * 2);
        fleet.vault.save_settings(settings, now).await.unwrap();
    });
    let ports = [free_port(), free_port()];
    let mut schedulers = ports.map(|port| {
        let line = format!("scheduler --spread 0 --sweep 1 --listen 127.0.0.1:{port}");
        fleet.serve(&line, &format!("scheduler-{port}.log"))
    });
    let enqueued =
        || ports.iter().filter_map(|port| metric(*port, "fermata_scheduler_due_total")).sum::<u64>();
    until(&fleet, "both are at it", || {
        ports.iter().all(|port| get(*port, "/readyz").is_some_and(|(status, _)| status == 200))
    });
    until(&fleet, "one enqueued it", || enqueued() > 0);
    // And what a scheduler that only looks would miss: its jobs are gone, and come back.
    let found = jobs(&fleet).len();
    super::tell_redis(&fleet, "FLUSHALL");
    until(&fleet, "its jobs are there again", || jobs(&fleet).len() == found);
    let missing =
        || ports.iter().filter_map(|port| metric(*port, "fermata_scheduler_missing_total")).sum::<u64>();
    until(&fleet, "it is counted", || missing() >= found as u64);
    assert_eq!(enqueued(), 1, "each has looked more than once");
    let runs = fleet.fermata("runs list --json").run().code(0).json();
    assert_eq!(runs["runs"].as_array().map(Vec::len), Some(1), "{runs}");
    assert!(fleet.fermata("enqueue --due").run().code(0).stdout.contains("No tenant is due."));
    for scheduler in &mut schedulers {
        scheduler.signal("TERM");
        assert_eq!(code(&fleet, scheduler), Some(0));
    }
}

#[test]
fn a_worker_that_falls_quiet_ends_its_slices_and_takes_no_more() {
    let fleet = Fleet::start(site().latency(Duration::from_millis(20)), 2, 1_000.0);
    let port = free_port();
    let probe = |line: &str| fleet.stage.fermata(&format!("probe {line} --address 127.0.0.1:{port}"));
    probe("live").run().error(1, &["nobody answers", "--listen"]);
    let mut worker =
        fleet.serve(&format!("worker --slice 1 --concurrency 4 --listen 127.0.0.1:{port}"), "worker.log");
    until(&fleet, "it is ready", || get(port, "/readyz").is_some_and(|(status, _)| status == 200));
    for what in ["live", "started", "ready"] {
        probe(what).run().code(0);
    }
    fleet.fermata("enqueue --all").run().code(0);
    fleet.stage.wait_for_requests(20);
    assert_eq!(probe("ready --json").run().code(0).json()["ok"], true);
    let said = probe("quiet --wait 20").run().code(0).stdout;
    assert_eq!(said, "quiet: no job is at work\n");
    assert_eq!(get(port, "/quiet").unwrap().1, r#"{"schema":1,"quiet":true,"busy":0}"#);
    assert_eq!(probe("quiet --json").run().code(0).json()["busy"], 0);
    probe("ready").run().error(1, &["/readyz says 503"]);
    probe("live").run().code(0);
    let asked = fleet.stage.sim.ledger().total.requests;
    let all = jobs(&fleet);
    assert!(all.iter().all(|job| job.state != JobState::Running), "{all:?}");
    assert!(all.iter().any(|job| job.state == JobState::Queued), "there was more to do: {all:?}");
    assert!(all.iter().all(|job| (job.attempt, job.lost) == (1, 0)), "{all:?}");
    let status = fleet.fermata("queue status --json").run().code(0).json();
    assert_eq!(status["workers"][0]["stopping"], true, "{status}");
    worker.signal("TERM");
    assert_eq!(code(&fleet, &mut worker), Some(0));
    assert_eq!(fleet.stage.sim.ledger().total.requests, asked, "nothing was cut off, and nothing begun");
}

#[test]
fn a_scheduler_says_how_many_workers_the_quotas_can_feed() {
    let mut fleet = Fleet::start(site(), 4, 5.0);
    let ports = [free_port(), free_port()];
    let scale = |port: u16| {
        let (status, body) = get(port, "/scale").expect("somebody listens");
        assert_eq!(status, 200, "{body}");
        serde_json::from_str::<serde_json::Value>(&body).unwrap()
    };
    let _all = fleet.serve(&format!("scheduler --listen 127.0.0.1:{}", ports[0]), "scheduler.log");
    let behind_one = format!("scheduler --egress-rate 5 --listen 127.0.0.1:{}", ports[1]);
    let _behind_one = fleet.serve(&behind_one, "behind-one.log");
    for port in ports {
        until(&fleet, "it is ready", || get(port, "/readyz").is_some_and(|(status, _)| status == 200));
    }
    assert_eq!(scale(ports[0])["workers"], 0, "there is nothing to do");
    fleet.fermata("enqueue --all").run().code(0);
    fleet.fermata("tenant pause sim-4").run().code(0);
    let said = scale(ports[0]);
    // Of some fifty jobs of each of three tenants the quota feeds six at a time; 18 take two workers of 16 places.
    let expect = serde_json::json!({
        "schema": 1, "workers": 2, "tenants": 3, "jobs": 18, "requests_per_second": 15.0, "places": 16
    });
    assert_eq!(said, expect);
    assert_eq!(scale(ports[1])["workers"], 1, "one address is asked five times a second");
    assert_eq!(metric(ports[0], "fermata_scale_workers"), Some(2));
    assert_eq!(metric(ports[0], "fermata_redis_up"), Some(1));
    fleet.fermata("queue pause").run().code(0);
    assert_eq!(scale(ports[0])["workers"], 0, "nothing may begin");
    fleet.fermata("queue resume").run().code(0);

    let mut worker = fleet.serve("worker --concurrency 3", "worker.log");
    until(&fleet, "places of a worker that there is", || scale(ports[0])["places"] == 3);
    assert_eq!(scale(ports[0])["workers"], 6);
    worker.signal("TERM");
    assert_eq!(code(&fleet, &mut worker), Some(0));
    assert!(metric(ports[0], "fermata_redis_memory_bytes").is_some_and(|bytes| bytes > 100_000));
    fleet.redis.kill();
    assert_eq!(get(ports[0], "/scale").map(|(status, _)| status), Some(503), "no number is made up");
    assert_eq!(metric(ports[0], "fermata_scale_workers"), None);
    assert_eq!(metric(ports[0], "fermata_workers"), None, "what was last heard is not shown");
    assert_eq!(metric(ports[0], "fermata_redis_up"), Some(0));
    assert_eq!(get(ports[0], "/livez").map(|(status, _)| status), Some(200));
}

#[test]
fn what_a_tenant_lost_is_counted_and_what_it_never_had_is_not() {
    let fleet = Fleet::start(site(), 1, 1_000.0);
    let refuse = |path: &str| fleet.stage.sim.fault(Fault::status(403).path(path).times(1_000));
    refuse("/4/skills");
    let backup = || fleet.fermata("backup sim-1 --json").run().code(3).json()["tenants"][0]["status"].clone();
    assert_eq!(backup(), "partial");
    let lost = |port: u16| metric(port, "fermata_entities_lost");
    let serve = |log: &str| {
        let port = free_port();
        let line = format!("dashboard --listen 127.0.0.1:0 --refresh 1 --probes 127.0.0.1:{port}");
        let server = fleet.serve(&line, log);
        until(&fleet, "it has looked", || lost(port).is_some());
        (port, server)
    };
    let (port, _first) = serve("first.log");
    assert_eq!(lost(port), Some(0), "what a token never could read is no loss");
    refuse("/4/programs");
    backup();
    until(&fleet, "a loss is seen", || lost(port) == Some(1));
    let age = || metric(port, "fermata_snapshot_oldest_seconds");
    until(&fleet, "it is some seconds old", || age() > Some(3));
    backup();
    until(&fleet, "the next one is seen", || age() <= Some(3));
    let (other, _second) = serve("second.log");
    assert_eq!(
        lost(other),
        Some(1),
        "also by one that was not there when it was lost, and two snapshots later"
    );
    assert_eq!(lost(port), Some(1), "a night later it is lost still");
    // A store that cannot be looked through says nothing of anybody, and what was known before is not shown for it.
    let (at, away) = (fleet.stage.at("fermata-data"), fleet.stage.at("away"));
    std::fs::rename(&at, &away).unwrap();
    until(&fleet, "nothing is shown of tenants", || lost(port).is_none());
    let (_, text) = get(port, "/metrics").unwrap();
    assert!(!text.contains("fermata_tenants{") && text.contains("fermata_build_info{"), "{text}");
    std::fs::rename(&away, &at).unwrap();
    fleet.stage.sim.clear_faults();
    fleet.fermata("backup sim-1").run().code(0);
    for port in [port, other] {
        until(&fleet, "it is back", || lost(port) == Some(0));
    }
}
