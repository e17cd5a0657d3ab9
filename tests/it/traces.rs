//! Traces: what a collector hears of a night, and what it never hears.

mod collector;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use tempo_sim::{Fault, TokenSpec};

use crate::fleet::Fleet;
use crate::page::Page;
use crate::secrets;
use crate::stage::{Call, Server, Stage, site};
use collector::{Answers, Collector, Heard, Span};

/// What a collector knows us by.
const KEY: &str = "k3y-f0r-th3-c0ll3ct0r";
/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_mins(1);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long the end of a process waits for a collector: not at all would be too short, and an answer's whole time too long.
const END: (Duration, Duration) = (Duration::from_millis(1_900), Duration::from_secs(8));

/// A command that sends its traces there.
fn traced<'a>(call: Call<'a>, endpoint: &str) -> Call<'a> {
    let headers = format!("x-key={KEY}");
    call.env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint).env("OTEL_EXPORTER_OTLP_HEADERS", &headers)
}

/// The spans that add up to what was read and stored, whoever worked.
struct Sums<'a> {
    requests: Vec<&'a Span>,
    turns: Vec<&'a Span>,
    puts: Vec<&'a Span>,
}

impl<'a> Sums<'a> {
    fn of(heard: &'a Heard) -> Self {
        let named = |name: &str| heard.spans.iter().filter(|span| span.name.starts_with(name)).collect();
        let requests = heard.spans.iter().filter(|span| span.is_asked).collect();
        Self { requests, turns: named("turn "), puts: named("put ") }
    }

    /// How many bytes of what kind of object were put, and how many objects.
    fn put(&self, kind: &str) -> (usize, u64) {
        let puts: Vec<_> = self.puts.iter().filter(|span| span.get("fermata.object.kind") == kind).collect();
        let bytes = |span: &&&Span| span.get("fermata.object.bytes").parse::<u64>().expect("it is a number");
        (puts.len(), puts.iter().map(bytes).sum())
    }
}

/// Of each trace its root, and every other span hangs on one that is there and lasts as long.
fn roots(spans: &[Span]) -> Vec<&Span> {
    let by_id: BTreeMap<_, _> = spans.iter().map(|span| ((&span.trace, &span.id), span)).collect();
    assert_eq!(by_id.len(), spans.len(), "no span is sent twice");
    let mut roots = BTreeMap::new();
    for span in spans {
        if span.parent.is_empty() {
            assert!(roots.insert(&span.trace, span).is_none(), "a trace has one root: {span:?}");
        } else {
            let parent = by_id.get(&(&span.trace, &span.parent));
            let parent = parent.unwrap_or_else(|| panic!("it hangs on nothing: {span:?}"));
            assert!(parent.took.0 <= span.took.0 && span.took.1 <= parent.took.1, "{parent:?}\n{span:?}");
        }
    }
    roots.into_values().collect()
}

#[test]
fn a_backup_is_a_trace_that_adds_up() {
    let stage = Stage::new().ready();
    stage.sim.fault(Fault::status(429).path("/4/teams"));
    stage.sim.fault(Fault::status(500).path("/4/customers"));
    let (collector, before) = (Collector::start(Answers::Taken), stage.sim.ledger().total);
    let ended = traced(stage.fermata("backup acme --json"), &collector.endpoint()).run().code(0);
    let (report, heard) = (ended.json(), collector.heard());
    let [root] = roots(&heard.spans)[..] else { panic!("one tenant is one trace") };
    assert_eq!((&*root.name, root.get("fermata.tenant"), root.failed), ("backup", "acme", false));
    assert_eq!(root.get("fermata.run"), report["tenants"][0]["run"]);
    assert!(heard.spans.iter().all(|span| span.service == "fermata-backup"));

    let sums = Sums::of(&heard);
    let asked = stage.sim.ledger().total.requests - before.requests;
    assert_eq!(sums.requests.len() as u64, asked, "a span for each request");
    let failed = sums.requests.iter().filter(|span| span.failed);
    let failed: BTreeSet<_> = failed.map(|span| (span.get("error.type"), &*span.name)).collect();
    assert_eq!(failed, [("429", "GET /4/teams"), ("500", "GET /4/customers")].into());
    for span in &sums.requests {
        let (status, template) = (span.get("http.response.status_code"), span.get("url.template"));
        assert_eq!(span.name, format!("{} {template}", span.get("http.request.method")));
        assert!(span.failed != status.starts_with('2'), "{span:?}");
        assert!(span.failed != span.get("fermata.pause_seconds").is_empty(), "{span:?}");
        assert!(span.get("fermata.pace.waited_seconds").parse::<f64>().is_ok(), "{span:?}");
        let filled = |rest: &str| rest.contains('?') || rest.contains(char::is_numeric);
        assert!(template.strip_prefix("/4/").is_some_and(|rest| !filled(rest)), "{span:?}");
    }
    let again = |span: &&&Span| !span.get("http.request.resend_count").is_empty();
    assert_eq!(sums.requests.iter().filter(again).count(), 2);

    let entities: BTreeSet<_> = sums.turns.iter().map(|span| span.get("fermata.entity")).collect();
    let planned = report["tenants"][0]["entities"].as_array().expect("it is a list");
    let planned: BTreeSet<_> = planned.iter().filter_map(|entity| entity["entity"].as_str()).collect();
    assert_eq!(entities, planned);
    assert!(sums.turns.iter().all(|span| span.get("fermata.outcome") == "done"), "{:?}", sums.turns);

    let stored = stage.stored();
    let chunks =
        stored.iter().filter(|(name, _)| name.contains("/chunks/")).map(|(_, bytes)| bytes.len() as u64);
    assert_eq!(sums.put("chunk"), (chunks.clone().count(), chunks.sum()));
    assert_eq!((sums.put("plan").0, sums.put("manifest").0), (1, 1));
    assert!(sums.put("event").0 >= planned.len());
}

#[test]
fn in_a_fleet_each_turn_is_a_trace_of_its_own() {
    let fleet = Fleet::start(site(), 1, 1_000.0);
    let collector = Collector::start(Answers::Taken);
    let call = |arguments: &str| traced(fleet.fermata(arguments), &collector.endpoint());
    let scheduler = call("scheduler --log json").serve("scheduler.log");
    let before = fleet.stage.sim.ledger().total.requests;
    fleet.fermata("enqueue sim-1").run().code(0);
    let worker = call("worker --log json").serve("worker.log");
    let tenant = &fleet.tenants[0];
    let sealed = || fleet.stage.block_on(fleet.vault.latest(tenant)).expect("the store is there");
    let manifest = wait(sealed);
    stop(worker);
    wait(|| collector.heard().spans.iter().any(|span| span.name == "sweep").then_some(()));
    stop(scheduler);

    let mut heard = collector.heard();
    assert!(heard.spans.iter().any(|span| span.service == "fermata-scheduler"));
    heard.spans.retain(|span| span.service == "fermata-worker");
    let sums = Sums::of(&heard);
    let asked = fleet.stage.sim.ledger().total.requests - before;
    assert_eq!(sums.requests.len() as u64, asked, "a span for each request");
    let roots = roots(&heard.spans);
    assert_eq!(roots.len(), sums.turns.len());
    for root in &roots {
        assert!(root.name.starts_with("turn ") && root.get("fermata.tenant") == "sim-1", "{root:?}");
        assert_eq!(root.get("fermata.run"), manifest.run.as_str());
    }
    let done = sums.turns.iter().filter(|span| span.get("fermata.outcome") == "done");
    let done: BTreeSet<_> = done.map(|span| span.get("fermata.entity")).collect();
    let read = manifest.entities.iter().filter(|entry| entry.requests > 0).map(|entry| &*entry.entity);
    assert!(read.chain(["seal"]).all(|entity| done.contains(entity)), "{done:?}");
    let seal = heard.spans.iter().filter(|span| span.name == "seal");
    assert_eq!(seal.map(|span| span.get("fermata.status")).collect::<Vec<_>>(), ["complete"]);
    assert_eq!(sums.put("manifest").0, 1);
}

#[test]
fn a_page_is_told_of_by_its_route() {
    let stage = Stage::new().ready();
    let collector = Collector::start(Answers::Taken);
    let page = Page::open_with(&stage, "", &[("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint())]);
    page.get("/tenants/acme").code(200);
    page.get("/tenants/nobody").code(404);
    let named = || {
        let heard = collector.heard();
        let asked = heard.spans.into_iter().filter(|span| span.name == "GET /tenants/{tenant}");
        let asked: BTreeSet<_> = asked.map(|span| span.get("http.response.status_code").to_owned()).collect();
        (asked.len() == 2).then_some(asked)
    };
    assert_eq!(wait(named), ["200".to_owned(), "404".to_owned()].into());
    let bytes = collector.heard().bytes;
    assert!(!holds(&bytes, "nobody"));
}

#[test]
fn no_secret_and_no_record_reaches_a_collector() {
    let mut spec = TokenSpec::full(1);
    secrets::TOKEN.clone_into(&mut spec.token);
    let stage = Stage::of(site().token(spec));
    stage.fermata("init").run().code(0);
    stage.fermata(&format!("tenant add acme --rate 1000 --base-url {}", stage.sim.base_url())).run().code(0);
    stage.set_token("acme", secrets::TOKEN).code(0);
    // What goes wrong is where an answer's own words could get in.
    stage.sim.fault(Fault::status(429).path("/4/teams"));
    stage.sim.fault(Fault::status(403).path("/4/customers"));
    let collector = Collector::start(Answers::Taken);
    let endpoint = collector.endpoint();
    let loud = |line: &str| traced(stage.fermata(line), &endpoint).env("FERMATA_LOG", "trace");
    let ended = [loud("backup acme").run().code(3), loud("backup acme --log json").run().code(0)];
    let heard = collector.heard();
    assert!(heard.spans.len() > 200 && holds(&heard.bytes, KEY));
    for needle in secrets::needles(&stage).iter().map(String::as_str).chain([secrets::TOKEN]) {
        assert!(!holds(&heard.bytes, needle), "a collector heard {needle:?}");
    }
    for ended in ended {
        assert!(!ended.stdout.contains(KEY) && !ended.stderr.contains(KEY), "{ended:?}");
    }
}

#[test]
fn the_log_is_the_same_with_traces_and_without() {
    let collector = Collector::start(Answers::Taken);
    let lines = |format: &str, endpoint: &str| {
        let stage = Stage::new().ready();
        let call = stage.fermata(&format!("backup acme --log {format}")).env("FERMATA_LOG", "trace");
        let ended = call.env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint).run().code(0);
        let events = ended.stderr.lines().filter(|line| line.contains("TRACE"));
        // Without the moment at the beginning, and in any order: jobs work beside each other.
        let mut events: Vec<_> =
            events.filter_map(|line| Some(line.split_once("TRACE")?.1.to_owned())).collect();
        events.sort_unstable();
        assert!(events.len() > 100, "{}", ended.stderr);
        events
    };
    for format in ["text", "json"] {
        assert_eq!(lines(format, ""), lines(format, &collector.endpoint()), "{format}");
    }
    assert!(collector.heard().calls > 0);
}

#[cfg(target_os = "linux")]
#[test]
fn nothing_is_started_where_no_collector_is_named() {
    let stage = Stage::new().ready();
    let collector = Collector::start(Answers::Taken);
    stage.sim.fault(Fault::new(tempo_sim::FaultKind::Hang { seconds: 300.0 }).times(1_000));
    let threads = |line: &str, endpoint: &str| {
        let asked = stage.sim.ledger().total.requests;
        let running = stage.fermata(line).env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint).start();
        stage.wait_for_requests(asked + 1);
        let tasks = std::fs::read_dir(format!("/proc/{}/task", running.id())).expect("it runs");
        let names = tasks.flatten().filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
        let sends = names.filter(|name| name.starts_with("OpenTelemetry")).count();
        running.kill().killed();
        sends
    };
    assert_eq!(threads("backup acme", ""), 0);
    assert_eq!(threads("backup acme", &collector.endpoint()), 1);
    // What is over at once sends nothing, wherever a collector is named.
    assert_eq!(threads("token check acme", &collector.endpoint()), 0);
}

#[test]
fn a_collector_that_takes_nothing_costs_a_backup_nothing() {
    let away = Collector::away();
    let (refuses, silent) = (Collector::start(Answers::Refused), Collector::start(Answers::Nothing));
    for (endpoint, says) in [
        (away, "cannot be asked"),
        (refuses.endpoint(), "answers with HTTP 503"),
        (silent.endpoint(), "did not take them in time"),
    ] {
        let stage = Stage::new().ready();
        let ended = traced(stage.fermata("backup acme"), &endpoint).run().code(0);
        let waited = since_sealed(&stage);
        let warnings = ended.stderr.lines().filter(|line| line.contains("traces")).collect::<Vec<_>>();
        assert_eq!(warnings.len(), 1, "{}", ended.stderr);
        assert!(
            warnings[0].starts_with("warning: traces were not sent: ") && warnings[0].contains(says),
            "{warnings:?}"
        );
        assert!(waited < END.1, "{endpoint}: {waited:?} after all was done");
        if endpoint == silent.endpoint() {
            assert!(waited > END.0, "what is left is given its time: {waited:?}");
        }
    }
    assert!(refuses.heard().calls > 0 && silent.heard().calls > 0);
}

#[test]
fn a_worker_says_once_that_its_collector_is_away() {
    let fleet = Fleet::start(site(), 1, 1_000.0);
    fleet.fermata("enqueue sim-1").run().code(0);
    let worker = traced(fleet.fermata("worker --log json"), &Collector::away()).serve("worker.log");
    let sealed = || fleet.stage.block_on(fleet.vault.latest(&fleet.tenants[0])).expect("the store is there");
    wait(sealed);
    let log = || std::fs::read_to_string(fleet.stage.at("worker.log")).expect("it logs");
    wait(|| log().contains("traces are not taken").then_some(()));
    stop(worker);
    assert_eq!(log().matches("traces are not taken").count(), 1, "{}", log());
}

#[test]
fn where_traces_go_is_checked_before_anything_is_done() {
    let stage = Stage::new();
    let call = |endpoint: &str| traced(stage.fermata("backup acme"), endpoint);
    call("collector:4318").run().error(2, &["OTEL_EXPORTER_OTLP_ENDPOINT", "like http://collector:4318"]);
    let both = call("http://me:hush@collector").env("OTEL_EXPORTER_OTLP_HEADERS", "hush").run();
    let both = both.code(2);
    assert!(both.stderr.contains("OTEL_EXPORTER_OTLP_HEADERS") && !both.stderr.contains("hush"), "{both:?}");
}

#[test]
fn a_share_of_traces_and_a_service_of_ones_own() {
    let stage = Stage::new().ready();
    let collector = Collector::start(Answers::Taken);
    let call = || traced(stage.fermata("backup acme"), &collector.endpoint());
    call().env("OTEL_TRACES_SAMPLER_ARG", "0").run().code(0);
    assert_eq!(collector.heard().spans.len(), 0);
    call().env("OTEL_SERVICE_NAME", "nightly").run().code(0);
    let heard = collector.heard();
    assert!(!heard.spans.is_empty() && heard.spans.iter().all(|span| span.service == "nightly"));
}

/// How long ago the newest snapshot was sealed: the last thing that a backup does.
fn since_sealed(stage: &Stage) -> Duration {
    let folder =
        std::fs::read_dir(stage.at("fermata-data/tenants/acme/snapshots")).expect("there is a snapshot");
    let times =
        folder.map(|entry| entry.and_then(|entry| entry.metadata()?.modified()).expect("it has a time"));
    times.max().and_then(|sealed| sealed.elapsed().ok()).expect("it is before now")
}

fn holds(bytes: &[u8], needle: &str) -> bool {
    String::from_utf8_lossy(bytes).contains(needle)
}

fn stop(mut server: Server) {
    server.signal("TERM");
    assert!(wait(|| server.ended()).success());
}

fn wait<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(began.elapsed() < PATIENCE, "nothing came of it in {PATIENCE:?}");
        std::thread::park_timeout(LOOK_EVERY);
    }
}
