//! What a real fleet shows: that it has every metric that people named, and which alerts it raises, at a good moment and at
//! a broken one.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tempo_sim::{Fault, TokenSpec};

use super::papers::Papers;
use super::promtool::Promtool;
use super::series::{Sample, samples, unknown};
use crate::fleet::Fleet;
use crate::fleet_commands::processes::{free_port, get};
use crate::fleet_commands::until;
use crate::stage::{Server, site};

/// How long the good moment lasts, and the broken one after it.
const GOOD_MINUTES: u32 = 60;
const BROKEN_MINUTES: u32 = 180;

/// The three processes, on ports that show their metrics.
struct Processes {
    fleet: Fleet,
    running: BTreeMap<&'static str, (u16, Server)>,
}

/// What each process showed.
type Moment = BTreeMap<&'static str, Vec<Sample>>;

impl Processes {
    fn start() -> Self {
        let mut processes = Self { fleet: Fleet::start(site(), 3, 1_000.0), running: BTreeMap::new() };
        for (name, line) in [
            ("worker", "worker --listen"),
            ("scheduler", "scheduler --listen"),
            ("dashboard", "dashboard --listen 127.0.0.1:0 --refresh 1 --probes"),
        ] {
            let port = free_port();
            let server = processes.fleet.serve(&format!("{line} 127.0.0.1:{port}"), &format!("{name}.log"));
            processes.running.insert(name, (port, server));
        }
        processes
    }

    fn scrape(&self, name: &str) -> String {
        get(self.running[name].0, "/metrics").map(|(_, text)| text).unwrap_or_default()
    }

    /// Waits until a process shows all of these.
    fn until(&self, name: &str, lines: &[&str]) {
        until(&self.fleet, &format!("{name} shows {lines:?}"), || {
            // Of a gauge without labels the braces are empty.
            let text = self.scrape(name).replace("{}", "");
            lines.iter().all(|line| text.lines().any(|shown| shown == *line))
        });
    }

    fn moment(&self) -> Moment {
        self.running.keys().map(|name| (*name, samples(&self.scrape(name)))).collect()
    }

    /// All tenants have a snapshot of everything.
    fn work(&self) {
        self.fleet.fermata("enqueue --all").run().code(0);
        self.until("dashboard", &["fermata_tenants{health=\"good\"} 3"]);
        self.until("scheduler", &["fermata_queue_jobs{state=\"dead\"} 0", "fermata_workers 1"]);
    }

    /// Tempo refuses a request of two tenants and the token of the third, and the worker goes away with work to do.
    fn spoil(&mut self) {
        let sim = &self.fleet.stage.sim;
        sim.fault(Fault::status(400).path("/4/roles").times(u64::MAX));
        sim.restrict_token(TokenSpec { expired: true, ..TokenSpec::full(2) });
        self.fleet.fermata("enqueue --all").run().code(0);
        let seen = ["fermata_tenants{health=\"refused\"} 1", "fermata_tenants{health=\"failing\"} 2"];
        self.until("dashboard", &seen);
        let (_, mut worker) = self.running.remove("worker").unwrap();
        worker.signal("TERM");
        until(&self.fleet, "the worker ends", || worker.ended().is_some());
        self.fleet.fermata("enqueue sim-1").run().code(0);
        self.until("scheduler", &["fermata_workers 0", "fermata_scale_workers 1"]);
    }
}

#[test]
fn a_real_fleet_shows_what_is_named_and_raises_the_right_alerts() {
    let papers = Papers::read();
    let mut processes = Processes::start();
    processes.work();
    let good = processes.moment();
    let shown: Vec<_> = good.values().flatten().cloned().collect();
    let named = papers.about_metrics();
    let unknown = named.iter().flat_map(|(place, text)| {
        unknown(text, &shown).into_iter().map(move |what| format!("{place}: {what}"))
    });
    crate::assert_none(&unknown.collect::<Vec<_>>());

    processes.spoil();
    let broken = processes.moment();
    let minutes = |after: u32| GOOD_MINUTES + after;
    let raised = [
        (GOOD_MINUTES, vec![]),
        (minutes(10), vec!["FermataJobsGivenUp"]),
        (minutes(40), vec!["FermataJobsGivenUp", "FermataNoWorker"]),
        (minutes(120), vec!["FermataNoWorker", "FermataTenantsFailing", "FermataTokenRefused"]),
    ];
    let play = |rules: &Value, raised: &[(u32, Vec<&str>)]| {
        let scenario = scenario(&input_series(&good, &broken), raised);
        Promtool::with_one(rules, &scenario).test()
    };
    play(&papers.rules, &raised).unwrap();
    let mut less = raised.clone();
    less[3].1.pop();
    assert!(play(&papers.rules, &less).unwrap_err().contains("FermataTokenRefused"));
}

/// A scenario for promtool: after so many minutes these alerts fire, and no others.
fn scenario(series: &[Value], raised: &[(u32, Vec<&str>)]) -> Value {
    let tests: Vec<_> = raised
        .iter()
        .map(|(minutes, alerts)| {
            let fired = |name: &&str| json!({"labels": format!("{{alertname=\"{name}\"}}"), "value": 1});
            json!({
                "expr": "count by (alertname) (ALERTS{alertstate=\"firing\"})",
                "eval_time": format!("{minutes}m"),
                "exp_samples": alerts.iter().map(fired).collect::<Vec<_>>(),
            })
        })
        .collect();
    json!({
        "rule_files": ["alerts.yaml"],
        "evaluation_interval": "1m",
        "tests": [{"interval": "1m", "input_series": series, "promql_expr_test": tests}],
    })
}

/// The good moment for its time, then the broken one; whatever is gone then is stale, as Prometheus has it.
fn input_series(good: &Moment, broken: &Moment) -> Vec<Value> {
    let (good, broken) = (by_series(good), by_series(broken));
    let names = good.keys().chain(broken.keys().filter(|name| !good.contains_key(*name)));
    let series = names.map(|name| {
        let before = good
            .get(name)
            .map_or_else(|| format!("_x{}", GOOD_MINUTES + 1), |value| format!("{value}x{GOOD_MINUTES}"));
        let after =
            broken.get(name).map_or_else(|| "stale".to_owned(), |value| format!("{value}x{BROKEN_MINUTES}"));
        json!({"series": name, "values": format!("{before} {after}")})
    });
    series.collect()
}

fn by_series(moment: &Moment) -> BTreeMap<String, String> {
    let all =
        moment.iter().flat_map(|(process, samples)| samples.iter().map(move |sample| (process, sample)));
    let named = all.map(|(process, Sample { name, labels, value })| {
        let instance = ("instance", *process);
        let labels = labels.iter().map(|(label, value)| (label.as_str(), value.as_str())).chain([instance]);
        let labels: Vec<_> = labels.map(|(label, value)| format!("{label}=\"{value}\"")).collect();
        (format!("{name}{{{}}}", labels.join(", ")), value.clone())
    });
    named.collect()
}
