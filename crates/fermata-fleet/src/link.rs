//! The connection to Redis: one script at a time, and what an error means.
//!
//! A connection that broke is made anew by the next call, where the master is then: a restart or a failover
//! costs the calls that were under way and nothing else. A call whose answer was lost may have been carried out,
//! so every script is safe to repeat.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ErrorKind, RedisError, Script, ServerErrorKind, TlsMode,
    Value,
};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use url::Url;

/// The oldest Redis whose scripts may read the clock and write after it, and which knows every command used here.
const VERSION_MIN: (u32, u32) = (6, 2);
/// Longest time to a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Longest time to an answer: a server that saves to a slow disk may be silent for seconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// The first pause before a call is made again while Redis is away.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
/// The longest.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// The port of a Sentinel that names none.
const SENTINEL_PORT: u16 = 26379;

/// A connection to Redis. Clones share it.
#[derive(Clone)]
pub struct Link {
    maker: Arc<Mutex<Maker>>,
    current: Arc<Mutex<Option<MultiplexedConnection>>>,
    prefix: Arc<str>,
}

/// Where connections come from.
enum Maker {
    Server(Box<Client>),
    Sentinel(Box<SentinelClient>),
}

/// A call that brought no answer.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Not an address.
    #[error(
        "{shown:?} is no address of a Redis, like redis://host:6379/0, rediss://user:password@host, or redis+sentinel://host1,host2/master"
    )]
    Address {
        /// As given, without its password.
        shown: String,
    },
    /// A user or password that it does not take, or a command that the user may not give.
    #[error(
        "Redis refuses us: {0}; check the user and password in FERMATA_REDIS, and that it may run scripts"
    )]
    Refused(String),
    /// Too old.
    #[error("this is Redis {version}; Fermata needs {}.{} or later", VERSION_MIN.0, VERSION_MIN.1)]
    Old {
        /// As it says.
        version: String,
    },
    /// It answers, and takes nothing more.
    #[error(
        "Redis has no memory left for the queue; raise its maxmemory (nothing is lost, and work goes on once there is room)"
    )]
    Full,
    /// It does not answer, is starting, or is no master now.
    #[error("Redis does not answer")]
    Away(#[source] RedisError),
    /// It answers, and not what was asked.
    #[error("Redis gave an answer that makes no sense here")]
    Odd(#[source] RedisError),
}

/// What a server says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerInfo {
    /// Its version, as far as commands go.
    pub version: String,
    /// What it does when its memory is full; it may not say.
    pub maxmemory_policy: Option<String>,
    /// Keys that it threw away for want of memory since it was started.
    pub evicted_keys: u64,
    /// Bytes that it uses.
    pub memory: u64,
    /// Bytes that it may use; 0 where there is no limit.
    pub memory_max: u64,
}

impl Link {
    /// A link to the Redis at an address; no connection is made yet. `space` keeps several queues in one Redis
    /// apart.
    pub fn new(address: &str, space: &str) -> Result<Self, LinkError> {
        let maker = maker(address).ok_or_else(|| LinkError::Address { shown: shown(address) })?;
        Ok(Self {
            maker: Arc::new(Mutex::new(maker)),
            current: Arc::default(),
            // All keys hash to one slot, as a cluster asks of keys that one script touches.
            prefix: format!("{{fermata:{space}}}").into(),
        })
    }

    /// What every key begins with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Connects, and looks at what is there.
    pub async fn greet(&self) -> Result<ServerInfo, LinkError> {
        let said: String = self.ask(&redis::cmd("INFO")).await?;
        let line = |name: &str| {
            let mut lines = said.lines().filter_map(|line| line.split_once(':'));
            lines.find(|(key, _)| *key == name).map(|(_, value)| value.trim().to_owned())
        };
        let version = line("redis_version").unwrap_or_else(|| "of an unknown version".to_owned());
        let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
        if (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) < VERSION_MIN {
            return Err(LinkError::Old { version });
        }
        let number = |name: &str| line(name).and_then(|value| value.parse().ok()).unwrap_or(0);
        Ok(ServerInfo {
            version,
            maxmemory_policy: line("maxmemory_policy"),
            evicted_keys: number("evicted_keys"),
            memory: number("used_memory"),
            memory_max: number("maxmemory"),
        })
    }

    /// Runs a script once. Its one key is the [`prefix`](Self::prefix).
    pub async fn run(&self, script: &Script, args: &[&[u8]]) -> Result<Value, LinkError> {
        let mut invocation = script.key(&*self.prefix);
        for arg in args {
            invocation.arg(*arg);
        }
        let mut connection = self.connection().await?;
        let answer = invocation.invoke_async(&mut connection).await;
        self.heed(answer).await
    }

    /// Runs a script, again for as long as Redis is away; `None` when told to stop.
    ///
    /// Every script is safe to repeat, so an answer that was lost does no harm.
    pub async fn run_until(
        &self,
        script: &Script,
        args: &[&[u8]],
        stop: &CancellationToken,
    ) -> Option<Result<Value, LinkError>> {
        let mut pause = PAUSE_FIRST;
        loop {
            let error = match self.run(script, args).await {
                Err(error) if error.may_pass() => error,
                answer => return Some(answer),
            };
            tracing::debug!(?pause, "{error}; asking again");
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => return None,
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Gives one command.
    pub async fn ask<T: redis::FromRedisValue>(&self, command: &redis::Cmd) -> Result<T, LinkError> {
        let mut connection = self.connection().await?;
        let answer = command.query_async(&mut connection).await;
        self.heed(answer).await
    }

    /// Gives several commands in one go.
    pub async fn ask_all<T: redis::FromRedisValue>(
        &self,
        commands: &redis::Pipeline,
    ) -> Result<T, LinkError> {
        let mut connection = self.connection().await?;
        let answer = commands.query_async(&mut connection).await;
        self.heed(answer).await
    }

    /// A connection of its own, for messages.
    pub(crate) async fn messages(&self) -> Result<redis::aio::PubSub, LinkError> {
        let client = self.client().await?;
        client.get_async_pubsub().await.map_err(LinkError::from)
    }

    async fn connection(&self) -> Result<MultiplexedConnection, LinkError> {
        let mut current = self.current.lock().await;
        if let Some(connection) = &*current {
            return Ok(connection.clone());
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(ANSWER_TIMEOUT));
        let client = self.client().await?;
        let connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        *current = Some(connection.clone());
        Ok(connection)
    }

    async fn client(&self) -> Result<Client, LinkError> {
        match &mut *self.maker.lock().await {
            Maker::Server(client) => Ok((**client).clone()),
            Maker::Sentinel(sentinel) => Ok(sentinel.async_get_client().await?),
        }
    }

    /// Drops a connection that is of no use any more.
    async fn heed<T>(&self, answer: Result<T, RedisError>) -> Result<T, LinkError> {
        let error = match answer {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        // A server that is no master any more answers well, and never what we need.
        let elsewhere = matches!(
            error.kind(),
            ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown)
        );
        if elsewhere || error.is_io_error() || error.is_unrecoverable_error() {
            *self.current.lock().await = None;
        }
        Err(error.into())
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Link({})", self.prefix)
    }
}

impl LinkError {
    /// Whether the same call may succeed later without anybody's doing.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Away(_) | Self::Full)
    }
}

impl From<RedisError> for LinkError {
    fn from(error: RedisError) -> Self {
        match error.kind() {
            ErrorKind::AuthenticationFailed | ErrorKind::Server(ServerErrorKind::NoPerm) => {
                Self::Refused(refusal(&error))
            }
            ErrorKind::Io
            | ErrorKind::MasterNameNotFoundBySentinel
            | ErrorKind::NoValidReplicasFoundBySentinel
            | ErrorKind::Server(
                ServerErrorKind::BusyLoading
                | ServerErrorKind::MasterDown
                | ServerErrorKind::ReadOnly
                | ServerErrorKind::TryAgain
                | ServerErrorKind::ClusterDown,
            ) => Self::Away(error),
            _ => match error.code() {
                Some("OOM") => Self::Full,
                Some("WRONGPASS" | "NOAUTH" | "NOPERM") => Self::Refused(refusal(&error)),
                // Saving fails, a script holds it up, too few replicas: it will pass, or the operator sees Redis's own alarm.
                Some("MISCONF" | "BUSY" | "NOREPLICAS" | "UNBLOCKED") => Self::Away(error),
                _ => Self::Odd(error),
            },
        }
    }
}

/// What Redis says of it, which is no whole sentence of ours.
fn refusal(error: &RedisError) -> String {
    error.detail().unwrap_or("wrong user or password").trim_end_matches('.').to_owned()
}

fn maker(address: &str) -> Option<Maker> {
    for (scheme, tls) in [("redis+sentinel://", false), ("rediss+sentinel://", true)] {
        if let Some(rest) = address.strip_prefix(scheme) {
            return sentinel(rest, tls).map(|client| Maker::Sentinel(Box::new(client)));
        }
    }
    Client::open(address).ok().map(|client| Maker::Server(Box::new(client)))
}

/// `[user:password@]host[:port][,host[:port]...]/master[/db]`; user and password are those of the Redis.
fn sentinel(rest: &str, tls: bool) -> Option<SentinelClient> {
    let (hosts, master) = rest.split_once('/')?;
    let (login, hosts) = hosts.rsplit_once('@').map_or((None, hosts), |(login, hosts)| (Some(login), hosts));
    let (master, db) = master.split_once('/').map_or((master, "0"), |(master, db)| (master, db));
    let mut sentinels = Vec::new();
    for host in hosts.split(',') {
        // One at a time they are addresses like any other, so the parser of addresses reads them.
        let url = Url::parse(&format!("redis://{host}")).ok()?;
        let (host, port) = (url.host_str()?.to_owned(), url.port().unwrap_or(SENTINEL_PORT));
        sentinels.push(if tls {
            ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
        } else {
            ConnectionAddr::Tcp(host, port)
        });
    }
    if master.is_empty() || sentinels.is_empty() {
        return None;
    }
    let mut builder = SentinelClientBuilder::new(sentinels, master, SentinelServerType::Master).ok()?;
    builder = builder.set_client_to_redis_db(db.parse().ok()?);
    if tls {
        builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
    }
    if let Some(login) = login {
        let url = Url::parse(&format!("redis://{login}@host")).ok()?;
        let plain = |text: &str| percent_decoded(text);
        if !url.username().is_empty() {
            builder = builder.set_client_to_redis_username(plain(url.username()));
        }
        if let Some(password) = url.password() {
            builder = builder.set_client_to_redis_password(plain(password));
        }
    }
    builder.build().ok()
}

fn percent_decoded(text: &str) -> String {
    // The form decoder also knows `+`, which stands for itself here.
    let text = text.replace('+', "%2B");
    url::form_urlencoded::parse(text.as_bytes()).map(|(key, _)| key.into_owned()).next().unwrap_or_default()
}

/// Whether an address carries a password.
pub fn has_password(address: &str) -> bool {
    shown(address) != address
}

/// An address without its password, for people. What is no address at all may hold one too.
pub fn shown(address: &str) -> String {
    let (scheme, rest) = match address.find("://") {
        Some(at) => address.split_at(at + 3),
        None => ("", address),
    };
    // The last one: a password that was not encoded may hold more of them, and slashes.
    let Some((login, host)) = rest.rsplit_once('@') else { return address.to_owned() };
    match login.split_once(':') {
        Some((user, _)) => format!("{scheme}{user}:***@{host}"),
        None if scheme.is_empty() => format!("***@{host}"),
        None => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let check =
            |address: &str, good: bool| assert_eq!(Link::new(address, "x").is_ok(), good, "{address}");
        check("redis://localhost", true);
        check("redis://:secret@localhost:6380/2", true);
        check("rediss://user:secret@redis.example.com:6380", true);
        check("redis+sentinel://one,two:26380/mymaster", true);
        check("rediss+sentinel://user:s%40cret@one:1,two:2/mymaster/3", true);
        check("redis+sentinel://one,two", false);
        check("redis+sentinel://one/mymaster/x", false);
        check("redis+sentinel:///mymaster", false);
        check("http://localhost", false);
        check("localhost:6379", false);
        check("", false);
    }

    #[test]
    fn no_password_is_shown() {
        let check = |address: &str, expect: &str| assert_eq!(shown(address), expect);
        check("redis://localhost:1/0", "redis://localhost:1/0");
        check("redis://:s3cret@localhost:1/0", "redis://:***@localhost:1/0");
        check("rediss://user:a@b:c@host/0", "rediss://user:***@host/0");
        check("redis+sentinel://u:p@a,b/m", "redis+sentinel://u:***@a,b/m");
        check("redis://:pa/s:s@w@localhost/0", "redis://:***@localhost/0");
        check("user:s3cret@localhost", "user:***@localhost");
        check("redis:/u:s3cret@localhost", "redis:***@localhost");
        check("s3cret@localhost", "***@localhost");
        check("nonsense", "nonsense");
        assert!(has_password("redis://:x@h") && !has_password("redis://user@h"));
    }
}
