//! What the commands of a fleet share: the queue and the engine.

use std::time::Duration;

use fermata_core::names::Tenant;
use fermata_engine::{Clock, Engine, Teller};
use fermata_fleet::link::{self, ServerInfo};
use fermata_fleet::{Link, LinkError, ProduceError, Producer, Queue};
use fermata_tempo::Options;
use fermata_vault::Vault;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::exit::Usage;
use crate::out::{self, Out};

/// A job of a fleet has a place again at once, and others use it meanwhile: it can wait a little longer.
const ATTEMPT_PAUSE: Duration = Duration::from_secs(5);
/// The pause before a process that starts asks an absent Redis again.
const START_PAUSE: Duration = Duration::from_secs(1);

/// The queue of the vault's fleet: several vaults may share a Redis.
pub(crate) fn queue(config: &Config, vault: &Vault) -> anyhow::Result<Queue> {
    if vault.single_writer() {
        let what = "this store was made for a single writer (`fermata init --single-writer`), and a fleet is many; use `fermata backup`";
        return Err(Usage(what.to_owned()).into());
    }
    Ok(Queue::new(Link::new(config.redis()?, vault.id())?))
}

/// The same, where it must answer now.
pub(crate) async fn queue_at_once(config: &Config, vault: &Vault, out: Out) -> anyhow::Result<Queue> {
    let queue = queue(config, vault)?;
    warn_of_policy(&greet(&queue, config).await?, |line| out.say(line));
    Ok(queue)
}

/// The queue of a vault that has a fleet, for commands that work without it too; an error if it does not answer.
pub(crate) async fn queue_if_any(config: &Config, vault: &Vault) -> Option<anyhow::Result<Queue>> {
    config.redis_if_any().filter(|_| !vault.single_writer())?;
    let queue = async {
        let queue = queue(config, vault)?;
        greet(&queue, config).await?;
        Ok(queue)
    };
    Some(queue.await)
}

/// Tells the queue, where there is a fleet, what the store has already. That Redis is away is said and is no failure:
/// workers and the scheduler look at the store by themselves.
pub(crate) async fn tell<T, F>(
    config: &Config,
    vault: &Vault,
    out: Out,
    tell: impl FnOnce(Producer) -> F,
) -> Option<T>
where
    F: Future<Output = Result<T, ProduceError>>,
{
    let told = match queue_if_any(config, vault).await? {
        Ok(queue) => tell(producer(vault.clone(), queue)).await.map_err(anyhow::Error::from),
        Err(error) => Err(error),
    };
    match told {
        Ok(told) => Some(told),
        Err(error) => {
            let why = out::causes(&error);
            out.say(&format!(
                "warning: the queue was not told: {why}; workers and the scheduler see it by themselves within a minute"
            ));
            None
        }
    }
}

/// Lets a tenant's jobs go on at once, if its settings no longer hold them back.
pub(crate) async fn look_again(config: &Config, vault: &Vault, tenant: &Tenant, out: Out) {
    let told = tell(config, vault, out, |producer| async move { producer.look_again(tenant).await });
    if told.await == Some(true) {
        out.say(&format!("Jobs of {tenant} that were held back go on."));
    }
}

/// Connects, and looks at what is there. An answer that makes no sense is not one of Redis.
pub(crate) async fn greet(queue: &Queue, config: &Config) -> anyhow::Result<ServerInfo> {
    let greeted = queue.link().greet().await;
    greeted.map_err(|error| match (error, config.redis_if_any()) {
        (LinkError::Odd(_), Some(address)) => Usage(format!(
            "what answers at {} is no Redis; FERMATA_REDIS names one, or with redis+sentinel:// its Sentinels",
            link::shown(address)
        ))
        .into(),
        (error, _) => error.into(),
    })
}

/// Waits until Redis answers; what does not pass by waiting is an error.
pub(crate) async fn await_redis(
    queue: &Queue,
    config: &Config,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let mut said = false;
    loop {
        match greet(queue, config).await {
            Ok(info) => {
                tracing::info!(version = info.version, "connected to Redis");
                warn_of_policy(&info, |line| tracing::warn!("{line}"));
                return Ok(());
            }
            Err(error) if error.downcast_ref().is_some_and(LinkError::may_pass) => {
                if !said {
                    tracing::warn!("{}; waiting for it", out::causes(&error));
                }
                said = true;
            }
            Err(error) => return Err(error),
        }
        tokio::select! {
            () = tokio::time::sleep(START_PAUSE) => {}
            () = stop.cancelled() => return Ok(()),
        }
    }
}

fn warn_of_policy(info: &ServerInfo, mut say: impl FnMut(&str)) {
    let policy = info.maxmemory_policy.as_deref().unwrap_or("noeviction");
    if policy != "noeviction" {
        say(&format!(
            "warning: this Redis throws keys away when its memory is full (maxmemory-policy {policy}); jobs would vanish until `fermata reconcile`: set it to noeviction"
        ));
    }
}

/// The engine of a process that works for long.
pub(crate) fn engine(vault: Vault) -> Engine {
    Engine {
        vault,
        clock: Clock::new(Timestamp::now()),
        client: Options::default(),
        attempt_pause: ATTEMPT_PAUSE,
        teller: Teller::default(),
    }
}

/// What enqueues.
pub(crate) fn producer(vault: Vault, queue: Queue) -> Producer {
    Producer { engine: engine(vault), queue, now: Timestamp::now }
}
