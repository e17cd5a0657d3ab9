//! A rolling upgrade, rehearsed with real processes as Kubernetes would do it: under load a new worker starts and is
//! ready, then an old one hears of its end from its preStop hook, is told to stop, and would be killed after its grace.
//!
//! What is run, and in what time, is read from `deploy/kustomize`. Nothing is lost, read twice, tried again or taken over.

#![expect(clippy::unwrap_used, reason = "these are helpers of tests, where a panic is the message")]

use std::net::TcpListener;
use std::time::{Duration, Instant};

use fermata_core::names::Tenant;
use fermata_fleet::JobState;
use fermata_fleet::queue::Filter;
use serde_json::Value;
use tempo_sim::{Quirks, Sim, SimBuilder, Sizes};

use crate::fleet::Fleet;
use crate::stage::Server;
use crate::{assert_none, root};

/// Workers of the fleet.
const WORKERS: usize = 3;
/// Tenants that are enqueued before each round.
const WAVE: u32 = 3;
/// What their quotas allow, so little that work lasts for a round.
const RATE: u32 = 10;
/// Rows of a page: few, so that jobs are of many pages.
const PAGE_ROWS: u32 = 50;
/// How long an answer takes: so long that whoever is stopped has requests under way.
const LATENCY: Duration = Duration::from_millis(100);
/// In place of the arguments that the manifest has: places that fill, and slices that end while a test waits.
const INSTEAD: [&str; 2] = ["--concurrency=4", "--slice=1"];
/// All is done in this time after the last round.
const REST_MAX: Duration = Duration::from_mins(2);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What the manifest says of a worker.
struct Pod {
    /// What it is started with, but for the address of its probes.
    arguments: Vec<String>,
    /// What runs in it before it is told to stop, without the program's path.
    pre_stop: Vec<String>,
    /// From then on until it is killed.
    grace: Duration,
}

/// A worker that is up.
struct Worker {
    server: Server,
    port: u16,
}

/// A fleet whose workers come and go.
struct Rollout {
    fleet: Fleet,
    pod: Pod,
    workers: Vec<Worker>,
    started: u32,
    enqueued: usize,
    /// What each that was stopped had at work when it heard of it.
    busy: Vec<u64>,
    /// Jobs that were at work when a signal came: each may have had a page under way.
    cut: u64,
    problems: Vec<String>,
}

impl Pod {
    fn read() -> Self {
        let text = std::fs::read_to_string(root().join("deploy/kustomize/base/worker.yaml")).unwrap();
        let deployment: Value = yaml_serde::from_str(text.split("\n---\n").next().unwrap()).unwrap();
        let spec = &deployment["spec"]["template"]["spec"];
        let container = &spec["containers"][0];
        let words = |list: &Value| -> Vec<String> {
            list.as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
        };
        let mut arguments = words(&container["args"]);
        let option = |word: &str| word.split('=').next().unwrap_or_default().to_owned();
        arguments.retain(|word| {
            option(word) != "--listen" && INSTEAD.iter().all(|new| option(new) != option(word))
        });
        arguments.extend(INSTEAD.map(str::to_owned));
        let mut pre_stop = words(&container["lifecycle"]["preStop"]["exec"]["command"]);
        assert_eq!(pre_stop.remove(0), "/usr/bin/fermata");
        let grace = Duration::from_secs(spec["terminationGracePeriodSeconds"].as_u64().unwrap());
        Self { arguments, pre_stop, grace }
    }
}

impl Rollout {
    /// With all workers up and ready, and nothing to do.
    fn new(rounds: u32) -> Self {
        let fleet = Fleet::start(sites(rounds * WAVE), rounds * WAVE, f64::from(RATE));
        let mut rollout = Self {
            fleet,
            pod: Pod::read(),
            workers: Vec::new(),
            started: 0,
            enqueued: 0,
            busy: Vec::new(),
            cut: 0,
            problems: Vec::new(),
        };
        for _ in 0..WORKERS {
            rollout.start();
        }
        rollout
    }

    /// Enqueues the next tenants, and waits until all workers have something of them.
    fn load(&mut self) {
        let tenants: Vec<&str> =
            self.fleet.tenants[self.enqueued..][..WAVE as usize].iter().map(Tenant::as_str).collect();
        self.fleet.fermata(&format!("enqueue {}", tenants.join(" "))).run().code(0);
        self.enqueued += WAVE as usize;
        let all_busy = || self.workers.iter().all(|worker| self.busy_of(worker) > 0);
        self.until("all workers are busy", all_busy);
    }

    /// Starts a worker, and waits until it is ready.
    fn start(&mut self) {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let line = format!("{} --listen=127.0.0.1:{port}", self.pod.arguments.join(" "));
        let server = self.fleet.fermata(&line).serve(&format!("worker-{}.log", self.started));
        self.started += 1;
        let worker = Worker { server, port };
        self.until("it is ready", || self.ask(&worker, "/readyz").is_some());
        self.workers.push(worker);
    }

    /// Stops the oldest so many workers at once as Kubernetes would: the hook, the signal, and after the grace the end.
    fn stop(&mut self, many: usize, hook_seconds: Option<u64>) {
        let mut old: Vec<Worker> = self.workers.drain(..many).collect();
        self.busy.extend(old.iter().map(|worker| self.busy_of(worker)).collect::<Vec<_>>());
        let told = Instant::now();
        let hooks: Vec<_> = old.iter().map(|worker| self.hook(worker, hook_seconds).start()).collect();
        for hook in hooks {
            hook.wait().code(0);
        }
        for worker in &old {
            let busy = self.busy_of(worker);
            if hook_seconds.is_none() && busy > 0 {
                self.problems.push(format!("its hook left it with {busy} jobs at work"));
            }
            self.cut += busy;
            assert_eq!(self.ask(worker, "/readyz"), None, "nobody sends it anything any more");
            worker.server.signal("TERM");
        }
        for worker in &mut old {
            let mut ended = None;
            while ended.is_none() && told.elapsed() < self.pod.grace {
                self.pause();
                ended = worker.server.ended();
            }
            if ended.is_none() {
                worker.server.signal("KILL");
            }
            if ended.is_none_or(|ended| !ended.success()) {
                self.problems.push(format!("{:?} after it was told to stop: {ended:?}", told.elapsed()));
            }
        }
    }

    /// The manifest's hook; or one that waits only so long, as where the grace is too short for it.
    fn hook(&self, worker: &Worker, seconds: Option<u64>) -> crate::stage::Call<'_> {
        let mut line = self.pod.pre_stop.join(" ");
        if let Some(seconds) = seconds {
            line =
                line.split(" --wait").next().unwrap_or_default().to_owned() + &format!(" --wait={seconds}");
        }
        self.fleet.stage.fermata(&format!("{line} --address=127.0.0.1:{}", worker.port))
    }

    /// One new worker for each old one, never fewer than there should be.
    fn replace_all(&mut self, hook_seconds: Option<u64>) {
        for _ in 0..WORKERS {
            self.start();
            self.stop(1, hook_seconds);
        }
    }

    /// The answer, where it is a good one.
    fn ask(&self, worker: &Worker, path: &str) -> Option<String> {
        let url = format!("http://127.0.0.1:{}{path}", worker.port);
        self.fleet.stage.block_on(async {
            let answer = reqwest::get(url).await.ok()?.error_for_status().ok()?;
            answer.text().await.ok()
        })
    }

    fn busy_of(&self, worker: &Worker) -> u64 {
        let quiet: Value = serde_json::from_str(&self.ask(worker, "/quiet").unwrap()).unwrap();
        quiet["busy"].as_u64().unwrap()
    }

    fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let began = Instant::now();
        while !holds() {
            assert!(began.elapsed() < REST_MAX, "in vain: {what}");
            self.pause();
        }
    }

    fn pause(&self) {
        self.fleet.stage.block_on(async { tokio::time::sleep(LOOK_EVERY).await });
    }

    /// Waits until all is done, stops who is left, and looks at everything.
    fn prove(mut self) {
        assert_eq!(self.enqueued, self.fleet.tenants.len(), "every tenant had its turn");
        self.until("every tenant has a snapshot", || self.done() == self.enqueued);
        self.stop(self.workers.len(), None);
        let mut problems = std::mem::take(&mut self.problems);
        problems.extend(self.fleet.stage.block_on(left_over(&self.fleet)));
        let mut needed = 0;
        for (site, tenant) in (1..).zip(&self.fleet.tenants) {
            let snapshots = self.fleet.stage.block_on(self.fleet.snapshots(tenant));
            assert_eq!(snapshots.len(), 1, "{tenant}");
            needed += snapshots[0].entities.iter().map(|entry| entry.requests).sum::<u64>();
            problems.extend(self.fleet.stage.block_on(self.fleet.flaws(site, &snapshots[0])));
            self.fleet.stage.fermata(&format!("snapshots verify {tenant} --data")).run().code(0);
        }
        let made = self.fleet.stage.sim.ledger().total.requests;
        say(&format!(
            "{made} requests, {needed} needed; at work in each when it heard: {:?}, when it was told to stop: {}",
            self.busy, self.cut
        ));
        if made < needed || made - needed > self.cut {
            problems
                .push(format!("{made} requests where {needed} were needed, and {} may be more", self.cut));
        }
        for number in 0..self.started {
            let log = std::fs::read_to_string(self.fleet.stage.at(&format!("worker-{number}.log"))).unwrap();
            let loud =
                |line: &&str| line.contains(r#""level":"WARN""#) || line.contains(r#""level":"ERROR""#);
            problems.extend(log.lines().filter(loud).map(|line| format!("worker-{number}: {line}")));
        }
        assert_none(&problems);
    }

    fn done(&self) -> usize {
        self.fleet.stage.block_on(async {
            let mut done = 0;
            for tenant in &self.fleet.tenants {
                done += usize::from(!self.fleet.vault.snapshots(tenant).await.unwrap().is_empty());
            }
            done
        })
    }
}

/// Jobs that spent an attempt, were taken over or did not end, and what was counted of such.
async fn left_over(fleet: &Fleet) -> Vec<String> {
    let (jobs, _) = fleet.queue.list(&Filter::default(), usize::MAX).await.unwrap();
    let is_spent = |job: &&fermata_fleet::queue::JobView| {
        job.state != JobState::Done || job.attempt != 1 || job.lost > 0 || job.error.is_some()
    };
    let mut problems: Vec<_> = jobs.iter().filter(is_spent).map(|job| format!("{job:?}")).collect();
    let view = fleet.queue.view().await.unwrap();
    for (event, times) in &view.counters {
        if !matches!(event.as_str(), "enqueued" | "done") && *times > 0 {
            problems.push(format!("{times} {event}"));
        }
    }
    problems
}

/// Of three sites one is large.
fn sites(tenants: u32) -> SimBuilder {
    let quirks = Quirks { limit_max: Some(PAGE_ROWS), ..Quirks::default() };
    let sim = Sim::builder().rate(0.0).latency(LATENCY).quirks(quirks);
    (1..=tenants).fold(sim, |sim, tenant| {
        let worklogs = if tenant % WAVE == 1 { 3_000 } else { 600 };
        sim.sizes_of(
            tenant,
            Sizes { users: 4, teams: 2, accounts: 4, plans: 20, ..Sizes::for_worklogs(worklogs) },
        )
    })
}

#[test]
fn three_upgrades_under_load_lose_nothing_and_read_nothing_twice() {
    let mut rollout = Rollout::new(3);
    // The second time the hook has no time to wait, and the signal finds jobs at work.
    for hook_seconds in [None, Some(0), None] {
        rollout.load();
        rollout.replace_all(hook_seconds);
    }
    let mut rounds = rollout.busy.chunks(WORKERS);
    assert!(rounds.all(|round| round.iter().any(|busy| *busy > 0)), "{:?}", rollout.busy);
    rollout.prove();
}

#[test]
fn scaled_down_to_one_and_up_again_it_loses_nothing() {
    let mut rollout = Rollout::new(2);
    rollout.load();
    rollout.stop(WORKERS - 1, None);
    rollout.load();
    while rollout.workers.len() < WORKERS {
        rollout.start();
    }
    rollout.prove();
}

#[expect(clippy::print_stderr, reason = "what a rehearsal came to is worth reading")]
fn say(line: &str) {
    eprintln!("{line}");
}
