//! The queue against a simple model of it, and against its laws, under any sequence of operations.
//!
//! A failure names its seed and the shortest sequence; `FERMATA_SEED=17 cargo nextest run -p fermata-fleet model` replays it.

mod simple;

use std::time::Duration;

use fermata_fleet::JobId;
use fermata_fleet::queue::{Action, Claim, Claimed, HeldFor, Hold, RunJobs, Turn};
use jiff::Timestamp;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};

use crate::laws;
use crate::stage::{DAY_MS, LEASE, RUN, START_MS, Stage, jobs};
use simple::Model;

const SEEDS: std::ops::Range<u64> = 1..6;
const CASES: u32 = 24;
const STEPS: usize = 60;
const TENANTS: [&str; 3] = ["acme", "beta", "beta-2"];
const RUNS: [&str; 2] = [RUN, "20261125T020000Z-000000"];
const ENTITIES: [&str; 6] = ["a", "b", "c", "d", "e", "seal"];
const WORKERS: [&str; 3] = ["w1", "w2", "w3"];
const WHO: &str = "ann";

#[derive(Clone, Debug)]
enum Step {
    Push(&'static str, &'static str, usize),
    Claim(&'static str),
    /// The same question again.
    ClaimAgain(&'static str),
    Renew(&'static str),
    Opened(usize, u32),
    Settle(usize, Turn),
    Reopen(&'static str, &'static str, &'static str),
    Hold(&'static str, HeldFor),
    Free(&'static str, Option<HeldFor>),
    Paused(bool),
    Act(Action, &'static str, &'static str, &'static str),
    Drop(&'static str, &'static str),
    Cool(&'static str, u64),
    Pass(u64),
    Bye(&'static str),
    Tend,
    Flush,
}

fn shape(number: usize) -> &'static [(&'static str, &'static [&'static str])] {
    match number {
        0 => &[("a", &[]), ("b", &[]), ("c", &["a"]), ("d", &["a", "b"])],
        1 => &[("a", &[]), ("b", &[])],
        2 => &[("c", &["b"]), ("e", &["d"]), ("d", &["c", "missing"])],
        _ => &[],
    }
}

fn one<T: Clone + std::fmt::Debug + 'static>(of: &'static [T]) -> impl Strategy<Value = T> {
    prop::sample::select(of)
}

fn turn() -> impl Strategy<Value = Turn> {
    let pause = || one(&[0_u64, 1_000, 7_000]).prop_map(Duration::from_millis);
    let entities = prop::collection::vec(one(&ENTITIES[..5]), 0..3);
    prop_oneof![
        6 => Just(Turn::Done),
        2 => Just(Turn::Dead("broken".to_owned())),
        1 => Just(Turn::Again),
        1 => Just(Turn::Back),
        1 => pause().prop_map(|pause| Turn::Waiting { pause, why: "quota".to_owned() }),
        1 => (pause(), 1_u32..9, 0_u32..9).prop_map(|(pause, attempts, mark)| {
            Turn::Retry { pause, error: "a fault".to_owned(), attempts, mark }
        }),
        2 => entities.prop_map(|all| Turn::Reopen(all.into_iter().map(str::to_owned).collect())),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let tenant = || one(&TENANTS);
    let run = || one(&RUNS);
    let worker = || one(&WORKERS);
    let why = || one(&[HeldFor::Token, HeldFor::Paused, HeldFor::Queue]);
    let until = one(&[START_MS, START_MS + DAY_MS, START_MS + 30 * DAY_MS])
        .prop_map(|ms| Action::Snooze(Timestamp::from_millisecond(ms.try_into().unwrap()).unwrap()));
    let action = prop_oneof![3 => one(&[Action::Retry, Action::Cancel, Action::Discard]), 1 => until];
    let pass = one(&[200, 1_000, 6_000, 14_000, 16_000, 31_000, 3_600_000, DAY_MS]);
    prop_oneof![
        6 => (tenant(), run(), 0_usize..4).prop_map(|(tenant, run, shape)| Step::Push(tenant, run, shape)),
        16 => worker().prop_map(Step::Claim),
        1 => worker().prop_map(Step::ClaimAgain),
        3 => worker().prop_map(Step::Renew),
        1 => (0_usize..4, 0_u32..9).prop_map(|(which, events)| Step::Opened(which, events)),
        14 => (0_usize..6, turn()).prop_map(|(which, turn)| Step::Settle(which, turn)),
        1 => (tenant(), run(), one(&ENTITIES[..5])).prop_map(|(tenant, run, entity)| {
            Step::Reopen(tenant, run, entity)
        }),
        2 => (tenant(), why()).prop_map(|(tenant, why)| Step::Hold(tenant, why)),
        2 => (tenant(), prop::option::of(why())).prop_map(|(tenant, why)| Step::Free(tenant, why)),
        1 => prop::bool::weighted(0.3).prop_map(Step::Paused),
        6 => (action, tenant(), run(), one(&ENTITIES)).prop_map(|(action, tenant, run, entity)| {
            Step::Act(action, tenant, run, entity)
        }),
        1 => (tenant(), run()).prop_map(|(tenant, run)| Step::Drop(tenant, run)),
        1 => (tenant(), one(&[600, 5_000])).prop_map(|(tenant, ms)| Step::Cool(tenant, ms)),
        8 => pass.prop_map(Step::Pass),
        1 => worker().prop_map(Step::Bye),
        1 => Just(Step::Tend),
    ]
}

fn steps() -> impl Strategy<Value = Vec<(Step, bool)>> {
    // Redis is emptied rarely, or nothing would ever grow old.
    let step = prop_oneof![199 => step(), 1 => Just(Step::Flush)];
    prop::collection::vec((step, prop::bool::weighted(0.3)), 1..STEPS)
}

/// The queue and the model, side by side.
struct Pair<'a> {
    stage: &'a Stage,
    model: Model,
    /// What was ever claimed, newest last.
    claims: Vec<(&'static str, Claimed)>,
    tokens: [String; WORKERS.len()],
}

impl<'a> Pair<'a> {
    async fn new(stage: &'a Stage) -> Self {
        let () = stage.raw(&["FLUSHALL", "SYNC"]).await;
        Self {
            stage,
            model: Model::new(stage.now()),
            claims: Vec::new(),
            tokens: WORKERS.map(|_| "none".to_owned()),
        }
    }

    /// Does a step, perhaps twice, as after an answer that was lost, and compares.
    async fn step(&mut self, step: &Step, twice: bool) -> Result<(), String> {
        self.carry_out(step).await?;
        self.model.tidy();
        let dump = self.stage.dump().await;
        laws::check(&dump)?;
        self.model.compare(&dump)?;
        let repeated = match step {
            Step::Claim(worker) => Some(Step::ClaimAgain(worker)),
            Step::Pass(_) | Step::Cool(..) | Step::Flush => None,
            other => Some(other.clone()),
        };
        // Nothing was claimed, and the question comes again: that is two questions.
        let claimed = !matches!(step, Step::Claim(_) | Step::ClaimAgain(_)) || self.model.claimed_last;
        if let Some(step) = repeated.filter(|_| twice && claimed) {
            self.carry_out(&step).await?;
            let again = self.stage.dump().await;
            if dump != again {
                return Err(format!("twice is not once: {dump:#?}\n{again:#?}"));
            }
        }
        Ok(())
    }

    async fn carry_out(&mut self, step: &Step) -> Result<(), String> {
        let queue = &self.stage.queue;
        match step {
            Step::Push(tenant, run, number) => {
                let wanted: RunJobs = RunJobs { cap: 2, ..jobs(tenant, run, shape(*number)) };
                let pushed = queue.push(&wanted).await.unwrap();
                same("push", (pushed.added, pushed.open), self.model.push(&wanted))
            }
            Step::Claim(worker) => {
                self.tokens[place(worker)] = self.stage.token();
                self.claim(worker).await
            }
            Step::ClaimAgain(worker) => self.claim(worker).await,
            Step::Renew(worker) => {
                let own = |(by, _): &&(&str, Claimed)| by == worker;
                let held: Vec<Claimed> = self
                    .claims
                    .iter()
                    .rev()
                    .filter(own)
                    .take(4)
                    .map(|(_, claimed)| claimed.clone())
                    .collect();
                let line = |held: &Claimed| (held.id.to_string(), held.fence.clone(), String::new());
                let lines: Vec<_> = held.iter().map(line).collect();
                let renewed = queue.renew(worker, LEASE, "{}", &lines).await.unwrap();
                let expect: Vec<Hold> = self.model.renew(worker, &held);
                same("renew", renewed.holds, expect)
            }
            Step::Opened(which, events) => {
                let Some((_, claimed)) = self.claims.iter().rev().nth(*which) else { return Ok(()) };
                queue.opened(claimed, *events).await.unwrap();
                self.model.opened(claimed, *events);
                Ok(())
            }
            Step::Settle(which, turn) => {
                let Some((_, claimed)) = self.claims.iter().rev().nth(*which) else { return Ok(()) };
                // Only a seal waits for the rest of its run.
                let turn = match turn {
                    Turn::Reopen(_) if claimed.id.entity != "seal" => &Turn::Done,
                    turn => turn,
                };
                let settled = queue.settle(claimed, turn).await.unwrap();
                same("settle", settled, self.model.settle(claimed, turn))
            }
            Step::Reopen(tenant, run, entity) => {
                queue.reopen(&tenant.parse().unwrap(), &run.parse().unwrap(), &[entity]).await.unwrap();
                self.model.reopen(&format!("{tenant}/{run}"), &[(*entity).to_owned()]);
                Ok(())
            }
            Step::Bye(worker) => {
                queue.bye(worker).await.unwrap();
                self.model.bye(worker);
                Ok(())
            }
            other => self.operate(other).await,
        }
    }

    /// What operators do, and what time does.
    async fn operate(&mut self, step: &Step) -> Result<(), String> {
        let queue = &self.stage.queue;
        match step {
            Step::Hold(tenant, why) => {
                let parked = queue.hold(&tenant.parse().unwrap(), *why).await.unwrap();
                same("hold", parked, self.model.hold(tenant, why.name()))
            }
            Step::Free(tenant, why) => {
                let freed = queue.free(&tenant.parse().unwrap(), *why).await.unwrap();
                same("free", freed, self.model.free(tenant, why.map(HeldFor::name)))
            }
            Step::Paused(true) => {
                self.model.paused = true;
                queue.pause(WHO).await.unwrap();
                Ok(())
            }
            Step::Paused(false) => {
                queue.resume().await.unwrap();
                self.model.paused = false;
                Ok(())
            }
            Step::Act(action, tenant, run, entity) => {
                let id = id(tenant, run, entity);
                let said = queue.act(*action, &id, WHO, None).await.unwrap();
                same("act", said.is_ok(), self.model.act(*action, &id.to_string(), WHO))
            }
            Step::Drop(tenant, run) => {
                let told =
                    queue.drop_run(&tenant.parse().unwrap(), &run.parse().unwrap(), WHO).await.unwrap();
                same("drop", told, self.model.drop_run(&format!("{tenant}/{run}"), WHO))
            }
            Step::Cool(tenant, ms) => {
                let until = self.model.cool(tenant, *ms).to_string();
                let () = self.stage.raw(&["SET", &self.stage.key(&format!("cool:{tenant}")), &until]).await;
                Ok(())
            }
            Step::Pass(ms) => {
                self.stage.pass(*ms);
                self.model.now += ms;
                Ok(())
            }
            Step::Tend => {
                queue.tend().await.unwrap();
                self.model.tend();
                Ok(())
            }
            _ => {
                let () = self.stage.raw(&["FLUSHALL", "SYNC"]).await;
                self.model = Model::new(self.stage.now());
                Ok(())
            }
        }
    }

    async fn claim(&mut self, worker: &'static str) -> Result<(), String> {
        let token = self.tokens[place(worker)].clone();
        let answer = self.stage.queue.claim(worker, &token, LEASE).await.unwrap();
        self.model.claimed_last = matches!(answer, Claim::Job(_));
        match answer {
            Claim::Job(claimed) => {
                self.model.claimed(worker, &token, &claimed)?;
                if !self.claims.iter().any(|(_, known)| *known == claimed) {
                    self.claims.push((worker, claimed));
                }
                Ok(())
            }
            Claim::Nothing(_) => self.model.claimed_nothing(worker, &token),
            Claim::Unreadable(name) => Err(name),
        }
    }

    /// Carries everything to its end, and waits until it is forgotten.
    async fn end(mut self) -> Result<(), String> {
        for tenant in TENANTS {
            self.step(&Step::Free(tenant, None), false).await?;
        }
        self.step(&Step::Paused(false), false).await?;
        for _ in 0..400 {
            self.step(&Step::Claim("w1"), false).await?;
            if self.model.claimed_last {
                self.step(&Step::Settle(0, Turn::Done), false).await?;
            } else if self.model.at_rest() {
                break;
            } else {
                self.step(&Step::Pass(3_600_000), false).await?;
            }
        }
        for (tenant, run) in TENANTS.iter().flat_map(|tenant| RUNS.map(|run| (*tenant, run))) {
            for entity in ENTITIES {
                self.step(&Step::Act(Action::Discard, tenant, run, entity), false).await?;
            }
        }
        self.step(&Step::Pass(DAY_MS), false).await?;
        for _ in 0..3 {
            self.step(&Step::Pass(200), false).await?;
            self.step(&Step::Tend, false).await?;
        }
        let stays = ["counters", "failures", "fence", "grace", "tended", "turn"];
        let dump = self.stage.dump().await;
        let left: Vec<_> =
            dump.keys().into_iter().filter(|key| !stays.contains(key) && !key.starts_with("cool:")).collect();
        same("keys that are left", left, Vec::new())
    }
}

fn place(worker: &str) -> usize {
    WORKERS.iter().position(|known| *known == worker).unwrap()
}

fn id(tenant: &str, run: &str, entity: &str) -> JobId {
    JobId { tenant: tenant.parse().unwrap(), run: run.parse().unwrap(), entity: entity.to_owned() }
}

#[expect(clippy::needless_pass_by_value, reason = "most are made for this")]
fn same<T: PartialEq + std::fmt::Debug>(what: &str, real: T, model: T) -> Result<(), String> {
    if real == model { Ok(()) } else { Err(format!("{what}: {real:?}, by the model {model:?}")) }
}

#[test]
fn the_queue_does_as_the_model() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let stage = Stage::new();
    for seed in crate::seed::seeds(SEEDS) {
        let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let outcome = TestRunner::new_with_rng(config, random).run(&steps(), |steps| {
            let outcome: Result<(), String> = runtime.block_on(async {
                let mut pair = Pair::new(&stage).await;
                for (step, twice) in &steps {
                    pair.step(step, *twice).await.map_err(|why| format!("at {step:?}: {why}"))?;
                }
                pair.end().await.map_err(|why| format!("at the end: {why}"))
            });
            outcome.map_err(TestCaseError::fail)
        });
        if let Err(TestError::Fail(why, steps)) = outcome {
            panic!("{why}\n{steps:#?}\nreplay with FERMATA_SEED={seed}");
        }
        outcome.unwrap();
    }
}
