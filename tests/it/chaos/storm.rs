//! The storm: what goes wrong when, and how it is set right again.

#![expect(clippy::unwrap_used, reason = "these are helpers of tests, where a panic is the message")]

use std::time::{Duration, Instant};

use tempo_sim::{Fault, FaultKind};

use super::blow::{Blow, DECK, Log, PLACES, WORKERS};
use super::dice::Dice;
use crate::fleet::Fleet;
use crate::stage::{Server, signal};

/// What each is started with besides; the lease is as short as it may be, so that it runs out often.
const WORKER: &str = "worker --lease 3 --slice 1";
/// What a scheduler is started with.
const SCHEDULER: &str = "scheduler --sweep 3";
/// Schedulers, where there are any.
const SCHEDULERS: usize = 2;
/// In every so many seeds there is none, and an operator reconciles.
const NO_SCHEDULER_EVERY: u64 = 3;
/// An orderly stop takes no longer: what Kubernetes grants is more.
const STOP_SECONDS_MAX: Duration = Duration::from_secs(10);
/// Between two looks at the clock.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// A fault comes after any time up to this, on average half of it.
const FAULT_EVERY_MS: u64 = 1_200;
/// Tenants are enqueued in so many parts all through the storm, few at first, so that runs begin, go on and end in it.
const WAVES: usize = 5;
/// In the first of them little is asked for, so that these runs end while it blows hard.
const WAVES_SMALL: usize = 2;
/// What that is.
const WISH_SMALL: &str = "--entity worklogs --entity team-links --entity permission-roles";
/// The first fault comes when there is work under way.
const CALM_BEFORE: Duration = Duration::from_millis(1_500);

/// What sets right what went wrong.
#[derive(Clone, Debug)]
enum Mend {
    Start(usize),
    Thaw(usize),
    RedisStart,
    RedisThaw,
    Reconcile,
    StartScheduler(usize),
    /// Enqueues these tenants, with what more the command takes.
    Enqueue(Vec<String>, &'static str),
}

/// A worker's place.
enum Place {
    Up(Server),
    Frozen(Server),
    /// Told to stop, then.
    Stopping(Server, Instant),
    Empty,
}

/// A fleet and its weather.
pub(super) struct Storm {
    pub(super) fleet: Fleet,
    pub(super) seed: u64,
    dice: Dice,
    deck: Vec<Blow>,
    workers: Vec<Place>,
    schedulers: Vec<Option<Server>>,
    mends: Vec<(Instant, Mend)>,
    redis_is_well: bool,
    log: Log,
}

impl Storm {
    pub(super) fn new(fleet: Fleet, seed: u64) -> Self {
        let schedulers = if seed.is_multiple_of(NO_SCHEDULER_EVERY) { 0 } else { SCHEDULERS };
        let mut storm = Self {
            fleet,
            seed,
            dice: Dice(seed),
            deck: Vec::new(),
            workers: (0..WORKERS).map(|_| Place::Empty).collect(),
            schedulers: (0..schedulers).map(|_| None).collect(),
            mends: Vec::new(),
            redis_is_well: true,
            log: Log::default(),
        };
        for worker in 0..WORKERS {
            storm.mend(Mend::Start(worker));
        }
        for scheduler in 0..schedulers {
            storm.mend(Mend::StartScheduler(scheduler));
        }
        storm
    }

    /// Lets things go wrong for so long.
    pub(super) fn blow(&mut self, time: Duration) {
        let began = Instant::now();
        let mut next = began + CALM_BEFORE;
        let names: Vec<String> = self.fleet.tenants.iter().map(ToString::to_string).collect();
        let part = |wave: usize| names.len() * wave * wave / (WAVES * WAVES);
        for wave in 0..WAVES {
            let when = began + time * u32::try_from(wave).unwrap() / u32::try_from(WAVES).unwrap();
            let tenants = names[part(wave)..part(wave + 1)].to_vec();
            let wish = if wave < WAVES_SMALL { WISH_SMALL } else { "" };
            self.mends.push((when, Mend::Enqueue(tenants, wish)));
        }
        while began.elapsed() < time {
            self.look();
            if Instant::now() >= next {
                let blow = self.draw();
                if self.strike(blow) {
                    *self.log.blows.entry(blow).or_default() += 1;
                } else {
                    self.deck.push(blow);
                }
                next = Instant::now() + Duration::from_millis(self.dice.up_to(FAULT_EVERY_MS));
            }
            self.pause();
        }
    }

    /// Sets everything right, and leaves the fleet to itself.
    pub(super) fn calm_down(&mut self) -> Log {
        self.fleet.stage.sim.clear_faults();
        while !self.mends.is_empty() || self.workers.iter().any(|place| !matches!(place, Place::Up(_))) {
            self.look();
            self.pause();
        }
        self.log.done = self.fleet.stage.block_on(async {
            let mut done = 0;
            for tenant in &self.fleet.tenants {
                done += usize::from(!self.fleet.vault.snapshots(tenant).await.unwrap().is_empty());
            }
            done
        });
        std::mem::take(&mut self.log)
    }

    /// Tells everybody to stop, and says who does not do it well.
    pub(super) fn stop(&mut self) -> Vec<String> {
        let told = Instant::now();
        for place in &mut self.workers {
            if let Place::Up(server) = std::mem::replace(place, Place::Empty) {
                server.signal("TERM");
                *place = Place::Stopping(server, told);
            }
        }
        for scheduler in self.schedulers.iter().flatten() {
            scheduler.signal("TERM");
        }
        while self.workers.iter().any(|place| !matches!(place, Place::Empty)) {
            self.see_to_those_that_stop();
            self.pause();
        }
        self.mends.clear();
        for number in 0..self.schedulers.len() {
            let Some(mut scheduler) = self.schedulers[number].take() else { continue };
            let ended = loop {
                match scheduler.ended() {
                    None if told.elapsed() < STOP_SECONDS_MAX => self.pause(),
                    ended => break ended,
                }
            };
            if ended.is_none_or(|ended| !ended.success()) {
                self.log.problems.push(format!("scheduler-{number}, told to stop: {ended:?}"));
            }
        }
        std::mem::take(&mut self.log.problems)
    }

    pub(super) fn pause(&self) {
        self.fleet.stage.block_on(async { tokio::time::sleep(LOOK_EVERY).await });
    }

    /// Does what is due, and looks whether everybody who should be there is.
    fn look(&mut self) {
        let now = Instant::now();
        let (due, later) = std::mem::take(&mut self.mends).into_iter().partition(|(when, _)| *when <= now);
        self.mends = later;
        let due: Vec<(Instant, Mend)> = due;
        for (_, mend) in due {
            self.mend(mend);
        }
        self.see_to_those_that_stop();
        for number in 0..WORKERS {
            let Place::Up(server) = &mut self.workers[number] else { continue };
            if let Some(ended) = server.ended() {
                self.log.problems.push(format!("worker-{number} ended by itself: {ended}"));
                self.workers[number] = Place::Empty;
                self.later(0, Mend::Start(number));
            }
        }
    }

    fn see_to_those_that_stop(&mut self) {
        for number in 0..WORKERS {
            let Place::Stopping(server, told) = &mut self.workers[number] else { continue };
            let (took, ended) = (told.elapsed(), server.ended());
            if ended.is_none() && took <= STOP_SECONDS_MAX {
                continue;
            }
            if ended.is_none_or(|ended| !ended.success()) {
                let how = ended.map_or_else(|| "runs on".to_owned(), |ended| ended.to_string());
                self.log.problems.push(format!("worker-{number}, told to stop {took:?} ago: {how}"));
            }
            if ended.is_none() {
                server.signal("KILL");
            }
            self.workers[number] = Place::Empty;
            let ms = self.dice.up_to(1_500);
            self.later(ms, Mend::Start(number));
        }
    }

    /// The next thing that goes wrong.
    fn draw(&mut self) -> Blow {
        if self.deck.is_empty() {
            let deck = DECK.iter().flat_map(|(blow, times)| std::iter::repeat_n(*blow, *times));
            // Where there is no scheduler none dies, and the card would stay for ever.
            let can_be = |blow: &Blow| *blow != Blow::SchedulerKill || !self.schedulers.is_empty();
            self.deck = deck.filter(can_be).collect();
        }
        let card = self.dice.below(self.deck.len());
        self.deck.swap_remove(card)
    }

    /// Does it, if that can be done now.
    fn strike(&mut self, blow: Blow) -> bool {
        match blow {
            Blow::Kill | Blow::Term | Blow::Freeze => {
                let up = |number: &usize| matches!(self.workers[*number], Place::Up(_));
                let up: Vec<_> = (0..WORKERS).filter(up).collect();
                let Some(number) = self.dice.one_of(&up) else { return false };
                self.strike_worker(blow, number);
            }
            Blow::RedisKill
            | Blow::RedisRollback
            | Blow::RedisFreeze
            | Blow::RedisPause
            | Blow::RedisFlush => {
                if !self.redis_is_well {
                    return false;
                }
                self.strike_redis(blow);
            }
            Blow::SchedulerKill => {
                let there = |number: &usize| self.schedulers[*number].is_some();
                let there: Vec<_> = (0..self.schedulers.len()).filter(there).collect();
                let Some(number) = self.dice.one_of(&there) else { return false };
                self.schedulers[number].take().unwrap().end();
                let ms = 500 + self.dice.up_to(2_000);
                self.later(ms, Mend::StartScheduler(number));
            }
            Blow::Tempo => {
                let fault = self.fault();
                self.log.faulty_max += fault.times;
                self.fleet.stage.sim.fault(fault);
            }
        }
        true
    }

    fn strike_worker(&mut self, blow: Blow, number: usize) {
        let Place::Up(server) = std::mem::replace(&mut self.workers[number], Place::Empty) else { return };
        match blow {
            Blow::Term => {
                server.signal("TERM");
                self.workers[number] = Place::Stopping(server, Instant::now());
            }
            Blow::Freeze => {
                server.signal("STOP");
                self.workers[number] = Place::Frozen(server);
                let ms = 3_500 + self.dice.up_to(3_000);
                self.later(ms, Mend::Thaw(number));
            }
            _ => {
                server.end();
                let ms = self.dice.up_to(1_500);
                self.later(ms, Mend::Start(number));
            }
        }
    }

    fn strike_redis(&mut self, blow: Blow) {
        let ms = 300 + self.dice.up_to(4_500);
        match blow {
            Blow::RedisKill | Blow::RedisRollback => {
                self.fleet.redis.kill();
                if blow == Blow::RedisRollback {
                    let bytes = self.dice.up_to(self.fleet.written_by_redis().1 / 20);
                    self.fleet.roll_redis_back(bytes);
                }
                self.redis_is_well = false;
                self.later(ms / 2, Mend::RedisStart);
            }
            Blow::RedisFreeze => {
                signal(self.fleet.redis.pid(), "STOP");
                self.redis_is_well = false;
                self.later(ms, Mend::RedisThaw);
            }
            Blow::RedisPause => self.fleet.tell_redis(&format!("CLIENT PAUSE {ms} ALL")),
            _ => self.fleet.tell_redis("FLUSHALL"),
        }
        let forgets = matches!(blow, Blow::RedisRollback | Blow::RedisFlush);
        if forgets && self.schedulers.is_empty() {
            self.later(1_000, Mend::Reconcile);
        }
    }

    /// One of the ways in which Tempo fails, for some requests of one tenant or of all.
    fn fault(&mut self) -> Fault {
        let seconds = 1.0 + self.dice.up_to(4_000) as f64 / 1_000.0;
        let busy = |retry_after| FaultKind::Status { code: 429, body: None, content_type: None, retry_after };
        let kind = match self.dice.below(10) {
            0 => busy(Some(1)),
            1 => busy(None),
            2 => FaultKind::Hang { seconds },
            3 => FaultKind::Cut,
            4 => FaultKind::Reset,
            5 => FaultKind::AfterEffect,
            6 => FaultKind::Html200,
            7 => return Fault::status(502).times(self.dice.up_to(10) + 1),
            8 => return Fault::status(503).times(self.dice.up_to(10) + 1),
            _ => return Fault::status(500).times(self.dice.up_to(10) + 1),
        };
        let fault = Fault::new(kind).times(self.dice.up_to(12) + 1);
        if self.dice.below(2) == 0 {
            return fault;
        }
        let tenant = self.dice.below(self.fleet.tenants.len()) + 1;
        fault.tenant(u32::try_from(tenant).unwrap())
    }

    fn later(&mut self, ms: u64, mend: Mend) {
        self.mends.push((Instant::now() + Duration::from_millis(ms), mend));
    }

    fn mend(&mut self, mend: Mend) {
        match mend {
            Mend::Start(number) => {
                let worker = format!("{WORKER} --concurrency {PLACES}");
                let server = self.fleet.serve(&worker, &format!("worker-{number}.log"));
                self.workers[number] = Place::Up(server);
            }
            Mend::Thaw(number) => {
                if let Place::Frozen(server) = std::mem::replace(&mut self.workers[number], Place::Empty) {
                    server.signal("CONT");
                    self.workers[number] = Place::Up(server);
                }
            }
            Mend::RedisStart => {
                self.fleet.redis.restart();
                self.redis_is_well = true;
            }
            Mend::RedisThaw => {
                signal(self.fleet.redis.pid(), "CONT");
                self.redis_is_well = true;
            }
            Mend::Reconcile | Mend::Enqueue(..) if !self.redis_is_well => self.later(500, mend),
            // Redis may be on its way back.
            Mend::Reconcile => {
                if !self.fleet.fermata("reconcile").run().is_done() {
                    self.later(500, mend);
                }
            }
            Mend::Enqueue(tenants, wish) => self.enqueue(&tenants, wish),
            Mend::StartScheduler(number) => {
                let server = self.fleet.serve(SCHEDULER, &format!("scheduler-{number}.log"));
                self.schedulers[number] = Some(server);
            }
        }
    }

    /// Enqueues tenants; those that could not be, later.
    fn enqueue(&mut self, tenants: &[String], wish: &'static str) {
        let ended = self.fleet.fermata(&format!("enqueue {} {wish} --json", tenants.join(" "))).run();
        if ended.stdout.is_empty() {
            return self.later(500, Mend::Enqueue(tenants.to_vec(), wish));
        }
        let document = ended.json();
        let failed = document["tenants"].as_array().unwrap().iter().filter(|line| !line["reason"].is_null());
        let failed: Vec<_> = failed.map(|line| line["tenant"].as_str().unwrap().to_owned()).collect();
        if !failed.is_empty() {
            self.log.doubtful.extend(failed.iter().cloned());
            self.later(500, Mend::Enqueue(failed, wish));
        }
    }
}
