//! What a person does on a page or through the API. Each deed is written into the audit list before it is done.

use std::collections::VecDeque;
use std::sync::Mutex;

use fermata_core::manifest::Manifest;
use fermata_core::names::Tenant;
use fermata_core::plan::Wish;
use fermata_core::settings::Settings;
use fermata_engine::{Clock, coverage};
use fermata_fleet::queue::{AuditEntry, HeldFor};
use fermata_tempo::Client;
use jiff::civil::Date;

use super::access::Person;
use super::problem::Problem;
use super::tasks::{self, Check};
use super::{App, Shared, now};
use crate::commands::fleet;
use crate::desk::snapshots::{self, Acceptance};
use crate::desk::tenants::{self, Change, Mistake};
use crate::desk::tokens;
use crate::out;

/// Lines that are kept where there is no queue to keep them.
const LEDGER_MAX: usize = 1_000;

/// What people did, where there is no queue that keeps it: since the page was started.
#[derive(Debug, Default)]
pub(crate) struct Ledger(Mutex<VecDeque<AuditEntry>>);

impl Ledger {
    /// What was done, newest first.
    pub(crate) fn entries(&self) -> Vec<AuditEntry> {
        self.0.lock().expect(HELD).iter().cloned().collect()
    }

    fn write(&self, entry: AuditEntry) {
        let mut entries = self.0.lock().expect(HELD);
        entries.push_front(entry);
        entries.truncate(LEDGER_MAX);
    }
}

const HELD: &str = "nobody panics while holding it";

/// Why settings stay as they are.
#[derive(Debug)]
pub(crate) enum Unchanged {
    /// These fields cannot be so.
    Mistakes(Vec<Mistake>),
    /// Something else.
    Problem(Problem),
}

impl<E: Into<Problem>> From<E> for Unchanged {
    fn from(error: E) -> Self {
        Self::Problem(error.into())
    }
}

/// Writes down what is about to be done.
pub(crate) async fn note(
    app: &App,
    person: &Person,
    action: &str,
    target: &str,
    reason: Option<String>,
) -> Result<(), Problem> {
    let entry = AuditEntry {
        at: now(),
        who: person.name.clone(),
        action: action.to_owned(),
        target: target.to_owned(),
        count: 1,
        reason,
    };
    if let Some(queue) = &app.queue {
        return Ok(queue.audit(&entry).await?);
    }
    tracing::info!(who = entry.who, action = entry.action, target = entry.target, "audit");
    app.ledger.write(entry);
    Ok(())
}

/// The settings of a tenant that is there.
pub(crate) async fn settings(app: &App, tenant: &Tenant) -> Result<Settings, Problem> {
    let settings = app.vault.settings(tenant).await?.filter(|settings| !settings.removed);
    settings.ok_or_else(|| Problem::no_tenant(tenant))
}

/// Begins a backup: its jobs are enqueued, or a process of its own is started for it.
pub(crate) async fn back_up(
    app: &Shared,
    person: &Person,
    tenant: &Tenant,
    wish: Wish,
) -> Result<(), Problem> {
    for entity in &wish.only {
        if fermata_core::catalogue::entity(entity).is_none() {
            return Err(Problem::bad(format!("there is no entity {entity:?}")));
        }
    }
    let settings = settings(app, tenant).await?;
    if settings.paused {
        return Err(Problem::conflict(format!("{tenant} is paused; let it go on first")));
    }
    if settings.token.is_none() {
        return Err(Problem::conflict(format!("{tenant} has no token; store one first")));
    }
    note(app, person, "backup", tenant.as_str(), None).await?;
    match &app.queue {
        Some(queue) => {
            fleet::producer(app.vault.clone(), queue.clone()).enqueue(tenant, wish).await?;
        }
        None if !tasks::back_up(app, tenant, &wish, &person.name)? => {
            return Err(Problem::conflict(format!("a backup of {tenant} is under way")));
        }
        None => {}
    }
    app.board.look(&app.vault, tenant).await;
    app.changes.tell();
    Ok(())
}

/// Holds a tenant's backups back, or lets them go on.
pub(crate) async fn hold(app: &App, person: &Person, tenant: &Tenant, paused: bool) -> Result<(), Problem> {
    let mut settings = settings(app, tenant).await?;
    note(app, person, if paused { "pause" } else { "resume" }, tenant.as_str(), None).await?;
    settings.paused = paused;
    app.vault.save_settings(settings, now()).await?;
    if let (Some(queue), true) = (&app.queue, paused) {
        queue.hold(tenant, HeldFor::Paused).await?;
    }
    tell_queue(app, tenant).await;
    app.board.look(&app.vault, tenant).await;
    Ok(())
}

/// Seals a token and stores it, if Tempo takes it; then asks what it may read.
pub(crate) async fn store_token(
    app: &Shared,
    person: &Person,
    tenant: &Tenant,
    given: &str,
    expires: Option<Date>,
) -> Result<(), Problem> {
    let token = tokens::parse(given.as_bytes())
        .map_err(|fault| Problem::bad(format!("this is no token: {fault}; paste the token alone")))?;
    tokens::check_expiry(expires, now())
        .map_err(|what| Problem::bad(format!("the day of expiry: {what}")))?;
    let settings = settings(app, tenant).await?;
    let client = tokens::client(&settings, &token)?;
    tokens::first_question(&client).await?;
    note(app, person, "store token", tenant.as_str(), None).await?;
    let stored = tokens::store(&app.vault, settings, &token, expires, &person.name, now()).await?;
    tell_queue(app, tenant).await;
    app.board.look(&app.vault, tenant).await;
    tokio::spawn(check_coverage(app.clone(), stored, client));
    Ok(())
}

/// Asks for a little of each entity, and keeps what came of it.
async fn check_coverage(app: Shared, settings: Settings, client: Client) {
    let tenant = &settings.tenant;
    let Some(fingerprint) = settings.token.as_ref().map(|token| token.fingerprint.clone()) else { return };
    let plan = match tokens::everything(&settings, now()) {
        Ok(plan) => plan,
        Err(error) => return tracing::warn!(%tenant, "what the token may read was not checked: {error}"),
    };
    let check = Check { fingerprint: fingerprint.clone(), all: plan.jobs.len(), ..Check::default() };
    app.tasks.begin_check(tenant, check);
    let told = |coverage: &coverage::Coverage| {
        app.tasks.checking(tenant, &fingerprint, |check| check.entities.push(coverage.clone()));
    };
    let ended = tokio::select! {
        checked = coverage::check(&client, &plan, Clock::new(now()), told) => checked,
        () = app.end.cancelled() => return,
    };
    let ended = match ended.map_err(anyhow::Error::from) {
        Ok(found) => coverage::keep(&app.vault, &settings, &found, now()).await.map(drop).map_err(Into::into),
        Err(error) => Err(error),
    };
    let ended = ended.map_err(|error| out::causes(&error));
    app.tasks.checking(tenant, &fingerprint, |check| check.ended = Some(ended));
}

/// Forgets a token. Tempo itself still takes it until it is revoked there.
pub(crate) async fn remove_token(app: &App, person: &Person, tenant: &Tenant) -> Result<(), Problem> {
    let mut settings = settings(app, tenant).await?;
    if settings.token.is_none() {
        return Err(Problem::conflict(format!("{tenant} has no token")));
    }
    note(app, person, "remove token", tenant.as_str(), None).await?;
    settings.token = None;
    app.vault.save_settings(settings, now()).await?;
    app.tasks.forget(tenant);
    tell_queue(app, tenant).await;
    app.board.look(&app.vault, tenant).await;
    Ok(())
}

/// Says that a suspect snapshot is right.
pub(crate) async fn accept(app: &App, person: &Person, manifest: &Manifest) -> Result<Acceptance, Problem> {
    let settings = settings(app, &manifest.tenant).await?;
    note(app, person, "accept snapshot", &format!("{}/{}", manifest.tenant, manifest.run), None).await?;
    let accepted = snapshots::accept(&app.vault, settings, manifest, now()).await?;
    app.board.look(&app.vault, &manifest.tenant).await;
    Ok(accepted)
}

/// Adds a tenant.
pub(crate) async fn add(
    app: &App,
    person: &Person,
    tenant: &Tenant,
    given: Change,
) -> Result<Settings, Unchanged> {
    if person.tenants.is_some() {
        return Err(Problem::new(
            axum::http::StatusCode::FORBIDDEN,
            "adding a tenant takes an admin of all tenants",
        )
        .into());
    }
    let before = app.vault.settings(tenant).await?;
    if before.as_ref().is_some_and(|settings| !settings.removed) {
        let what = format!("there is a tenant {tenant} already");
        return Err(Unchanged::Mistakes(vec![Mistake { field: "tenant", what }]));
    }
    let mut settings = Settings::new(tenant.clone(), now());
    // Settings are a sequence; that of a tenant who comes back goes on.
    settings.seq = before.map_or(0, |settings| settings.seq);
    save(app, person, "add tenant", settings, given).await
}

/// Changes settings. `seq` is that of the settings that the person saw.
pub(crate) async fn change(
    app: &App,
    person: &Person,
    tenant: &Tenant,
    seq: Option<u32>,
    given: Change,
) -> Result<Settings, Unchanged> {
    let settings = settings(app, tenant).await?;
    if seq.is_some_and(|seq| seq != settings.seq) {
        let what = format!("somebody else changed the settings of {tenant} meanwhile; look at them again");
        return Err(Problem::conflict(what).into());
    }
    save(app, person, "change settings", settings, given).await
}

async fn save(
    app: &App,
    person: &Person,
    action: &str,
    mut settings: Settings,
    given: Change,
) -> Result<Settings, Unchanged> {
    let before = settings.base_url.clone();
    tenants::change(&mut settings, given).map_err(Unchanged::Mistakes)?;
    if !may_keep_token(&before, &settings.base_url) {
        settings.token = None;
    }
    note(app, person, action, settings.tenant.as_str(), None).await?;
    let saved = app.vault.save_settings(settings, now()).await?;
    app.board.look(&app.vault, &saved.tenant).await;
    Ok(saved)
}

/// Whether a token that was given to one address may be sent to another: only Tempo's own regions are told of it. Whoever
/// changes an address must not learn a token by it, and here nobody is shown one.
fn may_keep_token(before: &str, after: &str) -> bool {
    let host = |url: &str| {
        url::Url::parse(url).ok().filter(|url| url.scheme() == "https")?.host_str().map(str::to_owned)
    };
    let is_tempo = |url| {
        host(url).is_some_and(|host| {
            host == "api.tempo.io" || (host.starts_with("api.") && host.ends_with(".tempo.io"))
        })
    };
    before == after || (is_tempo(before) && is_tempo(after))
}

/// Forgets a tenant and its token; its snapshots stay.
pub(crate) async fn remove(app: &App, person: &Person, tenant: &Tenant) -> Result<(), Problem> {
    let mut settings = settings(app, tenant).await?;
    note(app, person, "remove tenant", tenant.as_str(), None).await?;
    settings.removed = true;
    settings.token = None;
    app.vault.save_settings(settings, now()).await?;
    app.tasks.forget(tenant);
    tell_queue(app, tenant).await;
    app.board.look(&app.vault, tenant).await;
    Ok(())
}

/// Tells the queue what the store has already. That Redis is away is no failure: the scheduler sees it by itself.
async fn tell_queue(app: &App, tenant: &Tenant) {
    let Some(queue) = &app.queue else { return };
    if let Err(error) = fleet::producer(app.vault.clone(), queue.clone()).look_again(tenant).await {
        tracing::warn!(%tenant, "the queue was not told: {}", out::causes(&error.into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_does_not_move_to_another_host() {
        let check =
            |before, after, expect| assert_eq!(may_keep_token(before, after), expect, "{before} {after}");
        check("https://api.tempo.io", "https://api.eu.tempo.io", true);
        check("http://127.0.0.1:8080", "http://127.0.0.1:8080", true);
        check("https://api.tempo.io", "https://api.tempo.io.example.com", false);
        check("https://api.tempo.io", "https://evil-tempo.io", false);
        check("https://api.tempo.io", "http://127.0.0.1:8080", false);
        check("http://127.0.0.1:8080", "https://api.tempo.io", false);
    }
}
