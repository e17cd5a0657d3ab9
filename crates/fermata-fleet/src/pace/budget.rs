//! The script behind the pace: slots of a tenant's quota, on Redis's clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fermata_core::names::Tenant;
use redis::{FromRedisValue, Script};
use serde::Serialize;

use crate::link::{Link, LinkError};

/// The quotas of all tenants, as this worker sees them. Clones share the link and the counts.
#[derive(Clone, Debug)]
pub struct Budget {
    link: Link,
    script: Arc<Script>,
    worker: Arc<str>,
    pub(super) counts: Arc<Counts>,
    now_us: Option<u64>,
}

/// What a slot is asked of.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// Whose quota.
    pub tenant: &'a Tenant,
    /// Time between two slots; zero for no limit.
    pub period: Duration,
    /// How many slots a rested quota gives at once.
    pub burst: u32,
    /// What is further away than this is not reserved.
    pub wait_max: Duration,
    /// How far ahead slots may have been given that this Redis does not know of.
    pub hold: Duration,
    /// Whether a page was answered since this worker last asked.
    pub accepted: bool,
    /// Whether this worker has just asked Tempo by its local share.
    pub returning: bool,
    /// The address that the request leaves by, and the time between two slots of it.
    pub address: Option<(&'a str, Duration)>,
}

/// The answer to an [`Ask`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slot {
    /// Whether it was reserved.
    pub granted: bool,
    /// How long until then.
    pub wait: Duration,
    /// What it waits for.
    pub because: Because,
    /// Workers that took a slot of this tenant in the last 30 s.
    pub active: u32,
    /// The part of the rate that is used now.
    pub factor: f64,
}

/// What a slot waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Because {
    /// Nothing.
    Free,
    /// The pause after a 429.
    Cooling,
    /// The tenant's quota.
    Tenant,
    /// The quota of the address.
    Address,
}

/// A tenant's pace, for people.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PaceView {
    /// The part of the rate that is used now: below 1 after 429s.
    pub factor: f64,
    /// What is left of the pause after a 429.
    pub cooling: Duration,
    /// Workers that took a slot in the last 30 s.
    pub active: u32,
    /// How far ahead slots are taken.
    pub ahead: Duration,
    /// Slots given, since the tenant was last idle for an hour.
    pub granted: u64,
    /// 429s, likewise.
    pub refused: u64,
    /// 429s that followed each other without an answered page in between.
    pub refused_in_a_row: u64,
}

/// What a process counts.
#[derive(Debug, Default)]
pub struct Counts {
    /// Calls to Redis, answered or not.
    pub calls: AtomicU64,
    /// Turns given: requests to Tempo.
    pub turns: AtomicU64,
    /// Those of them that were taken from the local share.
    pub local: AtomicU64,
    /// Slots that were waited for and then given up, since it was late.
    pub late: AtomicU64,
    /// Turns that were too far away.
    pub deferred: AtomicU64,
}

impl Budget {
    /// The quotas in a Redis, for one worker; its name is to be its own.
    pub fn new(link: Link, worker: &str) -> Self {
        let script = Arc::new(Script::new(include_str!("../../lua/pace.lua")));
        Self { link, script, worker: worker.into(), counts: Arc::default(), now_us: None }
    }

    /// The same at another time than Redis's own, for tests.
    #[cfg(feature = "testing")]
    #[doc(hidden)]
    #[must_use]
    pub fn at(&self, now_us: u64) -> Self {
        Self { now_us: Some(now_us), ..self.clone() }
    }

    /// The same for another worker.
    #[cfg(feature = "testing")]
    #[doc(hidden)]
    #[must_use]
    pub fn of(&self, worker: &str) -> Self {
        Self { worker: worker.into(), ..self.clone() }
    }

    /// What was counted so far.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Reserves the next slot in every quota that applies, or in none.
    pub async fn reserve(&self, ask: Ask<'_>) -> Result<Slot, LinkError> {
        let (address, address_period) = ask.address.unwrap_or_default();
        let args = [
            micros(ask.period),
            ask.burst.to_string(),
            micros(ask.wait_max),
            micros(ask.hold),
            self.worker.to_string(),
            flag(ask.accepted),
            flag(ask.returning),
            address.to_owned(),
            micros(address_period),
        ];
        let (granted, wait, because, active, factor): (bool, u64, String, u32, f64) =
            self.run("reserve", ask.tenant, &args).await?;
        let because = match because.as_str() {
            "cool" => Because::Cooling,
            "tenant" => Because::Tenant,
            "address" => Because::Address,
            _ => Because::Free,
        };
        Ok(Slot { granted, wait: Duration::from_micros(wait), because, active, factor: factor / 1e6 })
    }

    /// Takes note of a 429 for the whole fleet; returns what is left of the pause.
    pub async fn cool(
        &self,
        tenant: &Tenant,
        period: Duration,
        retry_after: Option<Duration>,
        accepted: bool,
    ) -> Result<Duration, LinkError> {
        let args = [micros(period), retry_after.map(micros).unwrap_or_default(), flag(accepted)];
        self.run("cool", tenant, &args).await.map(Duration::from_micros)
    }

    /// How a tenant's pace is.
    pub async fn look(&self, tenant: &Tenant) -> Result<PaceView, LinkError> {
        let (factor, cooling, active, ahead, granted, refused, refused_in_a_row): (
            f64,
            u64,
            u32,
            u64,
            u64,
            u64,
            u64,
        ) = self.run("look", tenant, &[]).await?;
        let (cooling, ahead) = (Duration::from_micros(cooling), Duration::from_micros(ahead));
        Ok(PaceView { factor: factor / 1e6, cooling, active, ahead, granted, refused, refused_in_a_row })
    }

    /// Whether Redis answers.
    pub(super) async fn answers(&self) -> bool {
        self.count_call();
        self.link.ask::<()>(&redis::cmd("PING")).await.is_ok()
    }

    async fn run<T: FromRedisValue>(
        &self,
        operation: &str,
        tenant: &Tenant,
        args: &[String],
    ) -> Result<T, LinkError> {
        self.count_call();
        let now = self.now_us.map(|now| now.to_string()).unwrap_or_default();
        let mut all = vec![operation.as_bytes(), now.as_bytes(), tenant.as_str().as_bytes()];
        all.extend(args.iter().map(String::as_bytes));
        let answer = self.link.run(&self.script, &all).await?;
        redis::from_redis_value(answer).map_err(|error| LinkError::Odd(error.into()))
    }

    fn count_call(&self) {
        self.counts.calls.fetch_add(1, Ordering::Relaxed);
    }
}

fn micros(time: Duration) -> String {
    time.as_micros().to_string()
}

fn flag(on: bool) -> String {
    if on { "1".to_owned() } else { String::new() }
}
