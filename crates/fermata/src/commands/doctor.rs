//! `fermata doctor`: look for what is wrong, and say what to do about it.

use fermata_core::catalogue;
use fermata_core::manifest::{Manifest, Status};
use fermata_core::names::Tenant;
use fermata_core::plan;
use fermata_core::settings::Settings;
use fermata_engine::coverage;
use fermata_fleet::JobState;
use fermata_tempo::{Client, Disposition, Pace};
use fermata_vault::{Identity, Vault, VaultError};
use jiff::Timestamp;
use serde::Serialize;

use crate::config::Config;
use crate::exit;
use crate::out::{self, Out};

/// A snapshot older than this is worth a word where backups are nightly.
const SNAPSHOT_HOURS: i64 = 48;
/// Days before Tempo forgets what no snapshot has, from when on it is a problem.
const FORGETTING_DAYS: i64 = 30;
/// Clocks that differ by more than this make times in logs hard to follow; nothing else depends on ours.
const CLOCK_SECONDS: i64 = 120;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Level {
    Ok,
    Warning,
    Problem,
}

#[derive(Debug, Serialize)]
struct Finding {
    level: Level,
    about: String,
    what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

pub(crate) async fn run(config: &Config, out: Out, now: Timestamp) -> anyhow::Result<u8> {
    #[derive(Serialize)]
    struct Document {
        schema: u32,
        ok: bool,
        findings: Vec<Finding>,
    }
    let mut findings = Findings::default();
    if let Some(vault) = vault(config, &mut findings).await {
        tenants(&vault, now, &mut findings).await;
        if config.redis_if_any().is_some() {
            fleet(config, &vault, &mut findings).await;
        }
    }
    let ok = findings.0.iter().all(|finding| finding.level != Level::Problem);
    let document = Document { schema: fermata_core::FORMAT, ok, findings: findings.0 };
    out.result(&document, || document.findings.iter().map(line).collect::<Vec<_>>().join("\n"))?;
    Ok(if ok { exit::DONE } else { exit::FAILED })
}

fn line(finding: &Finding) -> String {
    let mark = match finding.level {
        Level::Ok => "ok     ",
        Level::Warning => "warning",
        Level::Problem => "PROBLEM",
    };
    let advice = finding.advice.as_ref().map(|advice| format!("\n         -> {advice}")).unwrap_or_default();
    format!("{mark}  {}: {}{advice}", finding.about, finding.what)
}

/// Looks at key and store; the vault, if it opens.
async fn vault(config: &Config, findings: &mut Findings) -> Option<Vault> {
    let key = config.key_file.display().to_string();
    let identities = match Identity::read(&config.key_file) {
        Ok(identities) => {
            findings.ok("key", format!("{key}, whose public half is {}", identities[0].recipient()));
            identities
        }
        Err(error) => {
            findings.error("key", &anyhow::Error::from(error), "FERMATA_KEY_FILE names the key file");
            Vec::new()
        }
    };
    let opened =
        async { Vault::open(fermata_vault::open(&config.store, &config.clouds)?, identities).await }.await;
    let vault = match opened {
        Ok(vault) => vault,
        Err(error) => {
            findings.error(
                "store",
                &anyhow::Error::from(error),
                "FERMATA_STORE names the store; `fermata init` makes a vault",
            );
            return None;
        }
    };
    findings.ok("store", format!("{}, vault {}", config.store, vault.id()));
    match async { fermata_vault::probe(&fermata_vault::open(&config.store, &config.clouds)?).await }.await {
        Ok(probe) => findings.ok("store", format!("takes writes; create-if-absent is {}", probe.verdict)),
        Err(error) => findings.error("store", &anyhow::Error::from(error), "backups need to write there"),
    }
    if vault.data_recipients().is_empty() {
        findings.warn("store", "records are not encrypted".to_owned(), "only a new vault can change that");
    } else if !vault.can_read_data() {
        let recipients: Vec<_> = vault.data_recipients().iter().map(ToString::to_string).collect();
        findings.warn(
            "key",
            format!("records are encrypted to {}, whose key is not here", recipients.join(", ")),
            "backups go on without it; export and verify --data need it in the key file",
        );
    }
    Some(vault)
}

async fn tenants(vault: &Vault, now: Timestamp, findings: &mut Findings) {
    let (all, unreadable) = match super::all_settings(vault).await {
        Ok(all) => all,
        Err(error) => return findings.error("tenants", &error, "the settings cannot be read"),
    };
    for (tenant, error) in &unreadable {
        findings.error(&format!("tenant {tenant}"), error, "its settings cannot be read");
    }
    if all.is_empty() && unreadable.is_empty() {
        findings.warn("tenants", "there is none".to_owned(), "fermata tenant add NAME");
    }
    for settings in all {
        let about = format!("tenant {}", settings.tenant);
        if settings.paused {
            findings.warn(
                &about,
                "is paused".to_owned(),
                &format!("fermata tenant resume {}", settings.tenant),
            );
        }
        token(vault, &settings, &about, now, findings).await;
        snapshot(vault, &settings, &about, now, findings).await;
    }
}

async fn token(vault: &Vault, settings: &Settings, about: &str, now: Timestamp, findings: &mut Findings) {
    let tenant = &settings.tenant;
    let renew = format!("make a new token in Tempo, then: fermata token set {tenant}");
    let Some(token) = &settings.token else {
        return findings.problem(about, "has no token".to_owned(), &format!("fermata token set {tenant}"));
    };
    if token.refused.is_some() {
        return findings.problem(about, format!("Tempo refused the token {}", token.fingerprint), &renew);
    }
    match token.days_left(now) {
        Some(days) if days < 0 => {
            findings.problem(about, format!("the token expired {} days ago", -days), &renew);
        }
        Some(days) if days <= super::EXPIRY_DAYS => {
            findings.warn(about, format!("the token expires in {days} days"), &renew);
        }
        Some(days) => findings.ok(about, format!("the token has {days} days left")),
        None => findings.warn(
            about,
            "nobody said when the token expires".to_owned(),
            &format!("store it again with --expires DATE: fermata token set {tenant} --expires DATE"),
        ),
    }
    let secret = match vault.open_token(settings) {
        Ok(secret) => secret,
        Err(error) => {
            return findings.error(about, &anyhow::Error::from(error), "the token cannot be opened");
        }
    };
    let pace = Pace::new(settings.rate);
    let client = match Client::new(&settings.base_url, &secret, pace, &super::impatient()) {
        Ok(client) => client,
        Err(error) => {
            return findings.error(
                about,
                &anyhow::Error::from(error),
                "fermata tenant set changes the base URL",
            );
        }
    };
    match coverage::answers(&client).await {
        Ok(date) => {
            findings.ok(about, format!("Tempo answers at {}", settings.base_url));
            clock(date, findings, now);
        }
        Err(error) if error.disposition() == Disposition::Token => {
            findings.error(about, &anyhow::Error::from(error), &renew);
        }
        Err(error) => findings.error(about, &anyhow::Error::from(error), "try again in a while"),
    }
}

/// Looks at the queue of a fleet.
async fn fleet(config: &Config, vault: &Vault, findings: &mut Findings) {
    let queue = match super::fleet::queue(config, vault) {
        Ok(queue) => queue,
        Err(error) => return findings.error("fleet", &error, "FERMATA_REDIS names the queue"),
    };
    let seen = async {
        let info = super::fleet::greet(&queue, config).await?;
        Ok::<_, anyhow::Error>((info, queue.view().await?))
    };
    let (info, view) = match seen.await {
        Ok(seen) => seen,
        Err(error) => return findings.error("redis", &error, "FERMATA_REDIS names the queue"),
    };
    findings.ok("redis", format!("version {}", info.version));
    match info.maxmemory_policy.as_deref() {
        Some("noeviction") | None => {}
        Some(policy) => findings.warn(
            "redis",
            format!("throws keys away when its memory is full (maxmemory-policy {policy})"),
            "set maxmemory-policy noeviction; what was lost comes back with: fermata reconcile",
        ),
    }
    if let Some(who) = &view.paused {
        findings.warn("queue", format!("was paused by {}", out::plain(who)), "fermata queue resume");
    }
    let (places, busy) = view
        .workers
        .iter()
        .fold((0, 0), |(places, busy), worker| (places + worker.places, busy + worker.busy));
    let jobs = |state| view.jobs.get(&state).copied().unwrap_or(0);
    let open: u64 = JobState::ALL
        .into_iter()
        .filter(|state| !matches!(state, JobState::Done | JobState::Dead))
        .map(jobs)
        .sum();
    match (view.workers.len() as u64, open) {
        (0, 0) => findings.warn("workers", "none is running".to_owned(), "fermata worker"),
        (0, open) => {
            let waiting = out::several(open, "job waits", "jobs wait");
            findings.problem("workers", format!("none is running, and {waiting}"), "fermata worker");
        }
        (workers, _) => {
            let workers = out::several(workers, "worker", "workers");
            findings.ok("workers", format!("{workers}, {busy} of {places} places taken"));
        }
    }
    let dead = jobs(JobState::Dead);
    if dead > 0 {
        findings.problem(
            "jobs",
            out::several(dead, "was given up", "were given up"),
            "why: fermata jobs list --state dead; again: fermata jobs retry --all",
        );
    }
    for (tenant, why) in &view.held {
        let (why, advice) = super::queue::held(tenant, why);
        findings.warn(&format!("tenant {tenant}"), format!("its jobs are held back: {why}"), &advice);
    }
    if view.paused.is_none() && dead == 0 {
        findings.ok("queue", format!("{} open", out::several(open, "job", "jobs")));
    }
}

fn clock(theirs: Option<Timestamp>, findings: &mut Findings, now: Timestamp) {
    let Some(theirs) = theirs else { return };
    let apart = theirs.duration_since(now).as_secs();
    if apart.abs() > CLOCK_SECONDS {
        findings.warn(
            "clock",
            format!("this machine's clock is {apart} s away from Tempo's"),
            "set it by NTP",
        );
    }
}

async fn snapshot(vault: &Vault, settings: &Settings, about: &str, now: Timestamp, findings: &mut Findings) {
    let tenant = &settings.tenant;
    match last_of_all(vault, tenant).await {
        Ok(None) => {
            let how = format!("fermata backup {tenant}");
            findings.warn(about, "has no snapshot of everything yet".to_owned(), &how);
        }
        Ok(Some(manifest)) => {
            logs(&manifest, about, now, findings);
            let hours = now.duration_since(manifest.sealed).as_hours();
            let age = format!("the last snapshot of everything, {}, is {hours} hours old", manifest.run);
            if manifest.status == Status::Partial {
                let how = format!("what it lacks and why: fermata snapshots show {tenant}");
                findings.warn(about, format!("{age} and partial"), &how);
            } else if manifest.status == Status::Suspect {
                let how = format!(
                    "many records are gone, fermata snapshots show {tenant}; if they were deleted: fermata snapshots accept {tenant}"
                );
                findings.problem(about, format!("{age} and suspect"), &how);
            } else if hours >= SNAPSHOT_HOURS {
                findings.warn(about, age, &format!("is the nightly backup running? fermata backup {tenant}"));
            } else {
                findings.ok(about, age);
            }
        }
        Err(error) => findings.error(about, &anyhow::Error::from(error), "the last snapshot cannot be read"),
    }
}

/// Warns before Tempo forgets what no snapshot has.
fn logs(manifest: &Manifest, about: &str, now: Timestamp, findings: &mut Findings) {
    for entry in &manifest.entities {
        let kept = catalogue::entity(&entry.entity).and_then(plan::days_kept);
        let (Some(kept), Some(read)) = (kept, entry.watermark) else { continue };
        let left = kept - now.duration_since(read).as_hours() / 24;
        if left <= FORGETTING_DAYS {
            findings.problem(
                about,
                format!(
                    "{} was last read on {}, and Tempo forgets it in {left} days",
                    entry.entity,
                    read.strftime("%F")
                ),
                &format!("fermata backup {}", manifest.tenant),
            );
        }
    }
}

/// The newest snapshot that was not asked for some entities alone.
async fn last_of_all(vault: &Vault, tenant: &Tenant) -> Result<Option<Manifest>, VaultError> {
    for run in vault.snapshots(tenant).await?.iter().rev() {
        if let Some(manifest) =
            vault.manifest(tenant, run).await?.filter(|manifest| manifest.wish.only.is_empty())
        {
            return Ok(Some(manifest));
        }
    }
    Ok(None)
}

impl Findings {
    fn ok(&mut self, about: &str, what: String) {
        self.0.push(Finding { level: Level::Ok, about: about.to_owned(), what, advice: None });
    }

    fn warn(&mut self, about: &str, what: String, advice: &str) {
        self.push(Level::Warning, about, what, advice);
    }

    fn problem(&mut self, about: &str, what: String, advice: &str) {
        self.push(Level::Problem, about, what, advice);
    }

    /// A failure, with its own advice where it has one.
    fn error(&mut self, about: &str, error: &anyhow::Error, advice: &str) {
        let advice = exit::hint(error).unwrap_or(advice);
        self.push(Level::Problem, about, out::causes(error), advice);
    }

    fn push(&mut self, level: Level, about: &str, what: String, advice: &str) {
        self.0.push(Finding { level, about: about.to_owned(), what, advice: Some(advice.to_owned()) });
    }
}
