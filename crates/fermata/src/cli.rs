//! What can be asked.
#![allow(
    clippy::doc_markdown,
    rustdoc::bare_urls,
    rustdoc::invalid_html_tags,
    reason = "doc comments are help texts here"
)]

mod queue;
mod user;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use fermata_core::names::{RunId, Tenant};
use fermata_core::retention::Policy;
use fermata_engine::export::Format;
use fermata_engine::find::Condition;
use jiff::civil::Date;

use crate::config::LogFormat;
pub(crate) use queue::{JobsAction, JobsCommand, QueueAction, QueueCommand, WhichJobs, WorkerAction};
use tracing_subscriber::filter::LevelFilter;
pub(crate) use user::{UserAction, UserCommand, UserSet};

/// Backs up what Tempo keeps outside Jira: worklogs, teams, accounts, plans and the rest.
#[derive(Debug, Parser)]
#[command(name = "fermata", version, max_term_width = 100, arg_required_else_help = true)]
#[command(
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong command or configuration, 3 partial, 4 token refused.

The first backup:
  fermata init
  fermata tenant add acme
  fermata token set acme < token.txt
  fermata backup acme"
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// Configuration file [default: ./fermata.toml, if there is one]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Store: a folder, s3://bucket/prefix, gs:// or az:// [environment: FERMATA_STORE] [default: ./fermata-data]
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) store: Option<String>,
    /// Queue of a fleet, without a password [environment: FERMATA_REDIS]
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) redis: Option<String>,
    /// How the log on stderr is written [what it holds: FERMATA_LOG]
    #[arg(long, global = true, value_enum, default_value_t)]
    pub(crate) log: LogFormat,
    /// One JSON document on stdout
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// No progress
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Only check arguments, settings and the files that they name; ask nobody
    #[arg(long, global = true)]
    pub(crate) check_config: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make the key file and the vault
    Init(Init),
    /// Tenants: the Jira sites that are backed up
    #[command(subcommand)]
    Tenant(TenantCommand),
    /// API tokens
    #[command(subcommand)]
    Token(TokenCommand),
    /// Back tenants up, from where the last backup was interrupted if it was
    Backup(Backup),
    /// Plan tenants' backups and put their jobs into the queue, for workers to carry out
    Enqueue(Enqueue),
    /// Carry out jobs from the queue until told to stop
    Worker(Worker),
    /// Enqueue tenants when they are due, and keep the queue whole, until told to stop
    Scheduler(Scheduler),
    /// Ask a worker, scheduler or dashboard on this machine how it is, or tell a worker that it will be stopped
    #[command(subcommand)]
    Probe(Probe),
    /// Serve the page where tokens are stored and failed jobs are retried, until told to stop
    Dashboard(Dashboard),
    /// Who may sign in on that page, and what they may do there
    User(UserCommand),
    /// Put back into the queue what unfinished runs lack there
    Reconcile,
    /// Jobs in the queue: what they are at, and what an operator does about it
    #[command(subcommand)]
    Jobs(JobsCommand),
    /// The queue as a whole
    #[command(subcommand)]
    Queue(QueueCommand),
    /// Unfinished runs
    #[command(subcommand)]
    Runs(RunsCommand),
    /// Snapshots
    #[command(subcommand)]
    Snapshots(SnapshotsCommand),
    /// The vault's keys
    #[command(subcommand)]
    Key(KeyCommand),
    /// Write a snapshot's records to files that other programs open
    Export(Export),
    /// Look for what is wrong, and say what to do about it
    Doctor,
    /// A simulated Tempo, a backup killed and resumed, verified and exported: all in one command
    Demo(Demo),
    /// Completions for a shell, on stdout
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Manual pages
    Man {
        /// Write a page for each command to this folder; without it the first page goes to stdout
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
}

impl Command {
    /// What the log holds when nobody says otherwise: what runs for weeks tells what it does.
    pub(crate) fn log_level(&self) -> LevelFilter {
        match self {
            Self::Worker(_) | Self::Scheduler(_) | Self::Dashboard(_) => LevelFilter::INFO,
            _ => LevelFilter::ERROR,
        }
    }

    /// Its name in traces, where its work is worth some: what others do is over before anybody asks where the time went.
    pub(crate) fn traced(&self) -> Option<&'static str> {
        match self {
            Self::Backup(_) => Some("backup"),
            Self::Worker(_) => Some("worker"),
            Self::Scheduler(_) => Some("scheduler"),
            Self::Dashboard(_) => Some("dashboard"),
            _ => None,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Init {
    /// Store records as they are, compressed but not encrypted; tokens are always encrypted
    #[arg(long)]
    pub(crate) no_encryption: bool,
    /// Only one process will ever write to this store, so it need not keep two apart
    #[arg(long)]
    pub(crate) single_writer: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TenantCommand {
    /// Add a tenant
    Add(TenantSettings),
    /// Change a tenant's settings; what is not named stays
    Set(TenantSettings),
    /// All tenants
    List,
    /// One tenant's settings
    Show {
        /// Which
        tenant: Tenant,
    },
    /// Hold a tenant's backups back
    Pause {
        /// Which
        tenant: Tenant,
    },
    /// Let a tenant's backups go on
    Resume {
        /// Which
        tenant: Tenant,
    },
    /// Forget a tenant and its token; its snapshots stay unless --data is given
    Remove {
        /// Which
        tenant: Tenant,
        /// Delete its snapshots too, for good
        #[arg(long)]
        data: bool,
        /// Do it; without this the command only says what it would do
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct TenantSettings {
    /// A short name of your choice: a-z, 0-9 and hyphens
    pub(crate) tenant: Tenant,
    /// A name for people
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Tempo's address: https://api.tempo.io, or of a region, https://api.eu.tempo.io or https://api.us.tempo.io
    #[arg(long, value_name = "URL")]
    pub(crate) base_url: Option<String>,
    /// Requests per second; Tempo allows 5
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) rate: Option<f64>,
    /// When it is due: five fields of cron in its time zone, like "30 2 * * *", or @daily; "none" takes it back.
    /// `fermata scheduler` or `fermata enqueue --due` carries it out
    #[arg(long, value_name = "CRON")]
    pub(crate) schedule: Option<String>,
    /// The time zone of the schedule, like Europe/Berlin; UTC unless set
    #[arg(long, value_name = "TZ")]
    pub(crate) time_zone: Option<String>,
    /// How large its share of the workers is beside other tenants: 1 (unless set) to 100
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) weight: Option<i64>,
    /// Which snapshots `fermata snapshots prune` keeps: daily=7,weekly=5,monthly=12,yearly=3, last=10, or all
    #[arg(long, value_name = "RULES")]
    pub(crate) keep: Option<String>,
    /// Days after which worklogs and plans are all read again and not only what changed: 7 unless set
    #[arg(long, value_name = "DAYS", allow_negative_numbers = true)]
    pub(crate) sweep_every: Option<i64>,
    /// Percent of its records that an entity may lose before the snapshot is suspect: 20 unless set
    #[arg(long, value_name = "PERCENT", allow_negative_numbers = true)]
    pub(crate) shrink: Option<i64>,
    /// Leave an entity out on purpose (again for more; "none" takes all back in)
    #[arg(long, value_name = "ENTITY")]
    pub(crate) without: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Store a token: from stdin or a file, never from the command line
    Set {
        /// Whose
        tenant: Tenant,
        /// The file that holds it [default: stdin]
        #[arg(long)]
        file: Option<PathBuf>,
        /// The day it expires, as Tempo showed it; you are warned before
        #[arg(long, value_name = "DATE", value_parser = date)]
        expires: Option<Date>,
        /// Store it without asking Tempo whether it is good
        #[arg(long)]
        no_check: bool,
    },
    /// Show what the token may read, entity by entity, and what it may not and why
    Check {
        /// Whose
        tenant: Tenant,
    },
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("who").required(true).multiple(false))]
pub(crate) struct Backup {
    /// Which
    #[arg(group = "who")]
    pub(crate) tenants: Vec<Tenant>,
    /// Every tenant that is not paused
    #[arg(long, group = "who")]
    pub(crate) all: bool,
    /// Only this entity and what it hangs on (again for more)
    #[arg(long, value_name = "ENTITY")]
    pub(crate) entity: Vec<String>,
    /// Read everything, also where what changed since the last snapshot would do
    #[arg(long)]
    pub(crate) full: bool,
    /// How far back timesheet periods and approvals are read [default: one year]
    #[arg(long, value_name = "DATE", value_parser = date)]
    pub(crate) from: Option<Date>,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("who").required(true).multiple(false))]
pub(crate) struct Enqueue {
    /// Which
    #[arg(group = "who")]
    pub(crate) tenants: Vec<Tenant>,
    /// Every tenant that is not paused
    #[arg(long, group = "who")]
    pub(crate) all: bool,
    /// Every tenant whose schedule says so; for a site without a scheduler, from cron
    #[arg(long, group = "who")]
    pub(crate) due: bool,
    /// Only this entity and what it hangs on (again for more)
    #[arg(long, value_name = "ENTITY", conflicts_with = "due")]
    pub(crate) entity: Vec<String>,
    /// Read everything, also where what changed since the last snapshot would do
    #[arg(long)]
    pub(crate) full: bool,
    /// How far back timesheet periods and approvals are read [default: one year]
    #[arg(long, value_name = "DATE", value_parser = date, conflicts_with = "due")]
    pub(crate) from: Option<Date>,
}

#[derive(Debug, Args)]
pub(crate) struct Worker {
    /// Jobs to work on at once
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) concurrency: u16,
    /// Where probes and metrics are served, like 0.0.0.0:9464; nowhere without
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<SocketAddr>,
    /// Seconds that a job may hold its place while others wait
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) slice: u64,
    /// Seconds after which a worker that gives no sign of life is taken for lost
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(3..=600))]
    pub(crate) lease: u64,
    /// Seconds that the worker has to log what has come and give its jobs back, once it is told to stop
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub(crate) stop_timeout: u64,
    /// The address that this worker's requests come from, by a name of your choice; with --egress-rate
    #[arg(long, value_name = "NAME", requires = "egress_rate")]
    pub(crate) egress: Option<String>,
    /// Requests per second that all workers behind that address make together, for all tenants
    #[arg(long, value_name = "N", requires = "egress", value_parser = rate)]
    pub(crate) egress_rate: Option<f64>,
}

#[derive(Debug, Args)]
pub(crate) struct Scheduler {
    /// Where probes and metrics are served, like 0.0.0.0:9464; nowhere without
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<SocketAddr>,
    /// Minutes over which tenants that are due at the same time are spread
    #[arg(long, value_name = "MINUTES", default_value_t = 30, value_parser = clap::value_parser!(u64).range(0..=1440))]
    pub(crate) spread: u64,
    /// Seconds between two looks at all tenants and their unfinished runs
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86400))]
    pub(crate) sweep: u64,
    /// Requests per second that all workers behind one address make together; `/scale` asks for no more of them than that feeds
    #[arg(long, value_name = "N", value_parser = rate)]
    pub(crate) egress_rate: Option<f64>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Probe {
    /// Whether it answers at all
    Live(Port),
    /// Whether it has begun
    Started(Port),
    /// Whether it does what it is for: not before it has begun, nor while it stops
    Ready(Port),
    /// Tell a worker to take no new jobs, and wait until those at work have come to the end of their slice
    Quiet {
        #[command(flatten)]
        port: Port,
        /// Seconds to wait at most
        #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(0..=3600))]
        wait: u64,
    },
}

/// Where a process of the fleet serves its probes.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Port {
    /// What it was given with --listen, or --probes
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9464")]
    pub(crate) address: SocketAddr,
}

#[derive(Debug, Args)]
pub(crate) struct Dashboard {
    /// Where the page is served
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8480")]
    pub(crate) listen: SocketAddr,
    /// Where probes and metrics are served, like 0.0.0.0:9464; nowhere without
    #[arg(long, value_name = "ADDR")]
    pub(crate) probes: Option<SocketAddr>,
    /// Users file: who may sign in [environment: FERMATA_USERS] [default: ./fermata-users.toml, if there is one]
    #[arg(long, value_name = "FILE")]
    pub(crate) users: Option<PathBuf>,
    /// Key file with which records may be looked at and downloaded; without it the page shows counts alone
    #[arg(long, value_name = "FILE")]
    pub(crate) data_key: Option<PathBuf>,
    /// Seconds between two looks at all tenants in the store; what changes in between is seen by the queue or by the page itself
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86400))]
    pub(crate) refresh: u64,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RunsCommand {
    /// Runs that are not finished
    List {
        /// Whose; all when none is named
        tenant: Option<Tenant>,
    },
    /// How far a run is
    Show {
        /// Whose
        tenant: Tenant,
        /// Which; the unfinished one when none is named
        run: Option<RunId>,
    },
    /// Drop an unfinished run, so that the next backup begins anew
    Abandon {
        /// Whose
        tenant: Tenant,
        /// Which; the unfinished one when none is named
        run: Option<RunId>,
        /// Do it; without this the command only says what it would do
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a new key and seal everything from now on to it; older snapshots stay readable with the old one
    Rotate,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SnapshotsCommand {
    /// All snapshots of a tenant
    List {
        /// Whose
        tenant: Tenant,
    },
    /// What a snapshot holds, and what it lacks and why; or records of an entity
    Show(Show),
    /// What differs between two snapshots: records that were added, changed and deleted
    Diff(Diff),
    /// Check that a snapshot is whole
    Verify {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        depth: HowDeep,
    },
    /// Say that a suspect snapshot is right: what it lacks was deleted, and not hidden from the token
    Accept {
        #[command(flatten)]
        which: Which,
    },
    /// Delete the snapshots that a tenant's rules do not keep, and what then belongs to none
    Prune(Prune),
}

#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct HowDeep {
    /// Read, decrypt and count every record too
    #[arg(long)]
    pub(crate) data: bool,
    /// Read the stored bytes of every chunk, which takes no key
    #[arg(long, conflicts_with = "data")]
    pub(crate) stored: bool,
    /// Read some of the chunks, other ones each time: this share of each entity's, and at least one
    #[arg(long, value_name = "PERCENT", value_parser = share, conflicts_with_all = ["data", "stored"])]
    pub(crate) sample: Option<f64>,
    /// Read the chunks that --sample read when it said this seed
    #[arg(long, value_name = "N", requires = "sample")]
    pub(crate) seed: Option<u64>,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("who").required(true).multiple(false))]
pub(crate) struct Prune {
    /// Whose
    #[arg(group = "who")]
    pub(crate) tenants: Vec<Tenant>,
    /// Every tenant's
    #[arg(long, group = "who")]
    pub(crate) all: bool,
    /// Which to keep, other than `fermata tenant set --keep` says: daily=7,weekly=5,monthly=12,yearly=3, last=10, or all
    #[arg(long, value_name = "RULES")]
    pub(crate) keep: Option<Policy>,
    /// Do it; without this the command only says what it would do
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    #[command(flatten)]
    pub(crate) which: Which,
    /// Show records of this entity
    #[arg(long, value_name = "ENTITY")]
    pub(crate) entity: Option<String>,
    /// Only records of which this is so, like author.accountId=5b10a or _parent.team=12 (again for more, all of which must be so)
    #[arg(long = "where", value_name = "FIELD=VALUE", requires = "entity")]
    pub(crate) conditions: Vec<Condition>,
    /// The most records to show [default: 20]
    #[arg(long, value_name = "N", requires = "entity")]
    pub(crate) limit: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// Whose
    pub(crate) tenant: Tenant,
    /// The earlier snapshot: its name, latest, or previous
    #[arg(value_name = "FROM", default_value = "previous")]
    pub(crate) from: String,
    /// The later one
    #[arg(value_name = "TO", default_value = "latest")]
    pub(crate) to: String,
    /// Only this entity (again for more)
    #[arg(long, value_name = "ENTITY")]
    pub(crate) entity: Vec<String>,
    /// The most records to show of an entity [default: 20; with --json all]
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct Which {
    /// Whose
    pub(crate) tenant: Tenant,
    /// Which snapshot: its name, latest, or previous
    #[arg(long, value_name = "ID", default_value = "latest")]
    pub(crate) snapshot: String,
}

#[derive(Debug, Args)]
pub(crate) struct Export {
    #[command(flatten)]
    pub(crate) which: Which,
    /// Only this entity (again for more)
    #[arg(long, value_name = "ENTITY")]
    pub(crate) entity: Vec<String>,
    /// ndjson: records as Tempo sent them; csv, parquet: a column for each field
    #[arg(long, value_name = "ndjson|csv|parquet", default_value = "ndjson")]
    pub(crate) format: Format,
    /// The folder for the files
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Replace files that are there
    #[arg(long)]
    pub(crate) overwrite: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Worklogs of the simulated site
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    pub(crate) worklogs: usize,
    /// Keep the vault and the exported files in this folder, to look at
    #[arg(long, value_name = "DIR")]
    pub(crate) keep: Option<PathBuf>,
}

/// A part of one, from a percentage.
fn share(text: &str) -> Result<f64, &'static str> {
    let percent = text.strip_suffix('%').unwrap_or(text).parse().ok();
    let percent = percent.filter(|percent| *percent > 0.0 && *percent <= 100.0);
    percent.map(|percent: f64| percent / 100.0).ok_or("a share looks like 5%, and is at most 100%")
}

fn rate(text: &str) -> Result<f64, &'static str> {
    let number = text.parse().ok().filter(|rate: &f64| rate.is_finite() && *rate > 0.0);
    number.ok_or("it is a number of requests per second, more than 0")
}

fn date(text: &str) -> Result<Date, &'static str> {
    text.parse().map_err(|_| "a date looks like 2026-11-24")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_commands_are_sound() {
        Cli::command().debug_assert();
    }
}
