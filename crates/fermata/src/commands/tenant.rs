//! `fermata tenant`: the Jira sites that are backed up.

use std::ops::RangeInclusive;

use fermata_core::names::{RunId, Tenant};
use fermata_core::retention::Policy;
use fermata_core::schedule::{Schedule, ScheduleError, time_zone};
use fermata_core::settings::{
    SHRINK_PERCENT, SHRINK_PERCENT_RANGE, SWEEP_DAYS, SWEEP_DAYS_RANGE, Settings, WEIGHTS,
};
use fermata_fleet::Producer;
use fermata_fleet::queue::HeldFor;
use fermata_vault::Vault;
use jiff::Timestamp;
use jiff::civil::Date;
use serde::Serialize;

use super::fleet;
use crate::cli::{TenantCommand, TenantSettings};
use crate::config::Config;
use crate::exit::{self, Usage};
use crate::lock;
use crate::out::{Out, several, table};

/// More than any site of Tempo's allows; above it a typing error is likelier.
const RATE_MAX: f64 = 1_000.0;
/// Enough to see how a schedule goes on.
const DUE_TIMES: usize = 5;
/// What takes a setting back.
const NONE: &str = "none";

/// A tenant as documents show it; of the token only what is not secret.
#[derive(Debug, Serialize)]
pub(crate) struct View {
    tenant: Tenant,
    name: Option<String>,
    base_url: String,
    rate: f64,
    schedule: Option<String>,
    time_zone: Option<String>,
    schedule_in_words: Option<String>,
    due_next: Vec<Timestamp>,
    weight: u32,
    keep: Option<String>,
    sweep_days: u32,
    shrink_percent: u32,
    accepted: Option<RunId>,
    without: Vec<String>,
    paused: bool,
    token: Option<TokenView>,
    last_snapshot: Option<String>,
}

#[derive(Debug, Serialize)]
struct TokenView {
    fingerprint: String,
    stored: Timestamp,
    expires: Option<Date>,
    refused: Option<Timestamp>,
}

pub(crate) async fn run(
    command: TenantCommand,
    config: &Config,
    out: Out,
    now: Timestamp,
) -> anyhow::Result<u8> {
    let vault = super::open_without_key(config).await?;
    match command {
        TenantCommand::Add(given) => add(&vault, given, out, now).await,
        TenantCommand::Set(given) => {
            let mut settings = super::settings(&vault, &given.tenant).await?;
            change(&mut settings, given)?;
            save(&vault, settings, out, now).await
        }
        TenantCommand::List => list(&vault, out, now).await,
        TenantCommand::Show { tenant } => {
            let settings = super::settings(&vault, &tenant).await?;
            show(&vault, &settings, out, now).await
        }
        TenantCommand::Pause { tenant } => hold(&vault, config, &tenant, true, out, now).await,
        TenantCommand::Resume { tenant } => hold(&vault, config, &tenant, false, out, now).await,
        TenantCommand::Remove { tenant, data, yes } => {
            remove(&vault, config, &tenant, data, yes, out, now).await
        }
    }
}

async fn add(vault: &Vault, given: TenantSettings, out: Out, now: Timestamp) -> anyhow::Result<u8> {
    let before = vault.settings(&given.tenant).await?;
    if before.as_ref().is_some_and(|settings| !settings.removed) {
        let tenant = &given.tenant;
        return Err(Usage(format!(
            "there is a tenant {tenant} already; `fermata tenant set {tenant}` changes it"
        ))
        .into());
    }
    let mut settings = Settings::new(given.tenant.clone(), now);
    // Settings are a sequence; that of a tenant who comes back goes on.
    settings.seq = before.map_or(0, |settings| settings.seq);
    change(&mut settings, given)?;
    let tenant = settings.tenant.clone();
    let code = save(vault, settings, out, now).await?;
    out.say(&format!("Next: fermata token set {tenant} < token.txt"));
    Ok(code)
}

/// Takes over what was given, or reports all that is wrong with it.
fn change(settings: &mut Settings, given: TenantSettings) -> Result<(), Usage> {
    let mut wrong = Vec::new();
    if let Some(url) = given.base_url {
        match fermata_tempo::client::base_url(&url) {
            Ok(parsed) if parsed.path() != "/" => {
                wrong.push(format!("--base-url: give {url} without its path, {}", parsed.path()));
            }
            Ok(_) => url.trim_end_matches('/').clone_into(&mut settings.base_url),
            Err(error) => wrong.push(format!("--base-url: {error}; plain http is for this machine alone")),
        }
    }
    match given.rate {
        Some(rate) if rate > 0.0 && rate <= RATE_MAX => settings.rate = rate,
        Some(rate) => {
            wrong.push(format!("--rate: {rate} is not between 0 and {RATE_MAX} requests per second"));
        }
        None => {}
    }
    // Each by itself, so that a mistake in one hides none in the other.
    if let Some(cron) = given.schedule.as_deref().filter(|cron| *cron != NONE) {
        wrong.extend(Schedule::parse(cron, None).err().map(|error| format!("--schedule: {error}")));
    }
    match given.time_zone.as_deref().map(time_zone) {
        // As the database writes it.
        Some(Ok(zone)) => settings.time_zone = zone.iana_name().map(str::to_owned),
        Some(Err(error)) => wrong.push(format!("--time-zone: {error}")),
        None => {}
    }
    match given.keep.as_deref().map(str::parse::<Policy>) {
        Some(Ok(policy)) => settings.keep = Some(policy.to_string()),
        Some(Err(error)) => wrong.push(format!("--keep: {error}")),
        None => {}
    }
    let within = |flag, given: Option<i64>, range: &RangeInclusive<u32>, wrong: &mut Vec<String>| {
        let given = given?;
        let fits = u32::try_from(given).ok().filter(|number| range.contains(number));
        if fits.is_none() {
            wrong.push(format!("{flag}: {given} is not between {} and {}", range.start(), range.end()));
        }
        fits
    };
    settings.weight = within("--weight", given.weight, &WEIGHTS, &mut wrong).unwrap_or(settings.weight);
    settings.sweep_days =
        within("--sweep-every", given.sweep_every, &SWEEP_DAYS_RANGE, &mut wrong).or(settings.sweep_days);
    settings.shrink_percent =
        within("--shrink", given.shrink, &SHRINK_PERCENT_RANGE, &mut wrong).or(settings.shrink_percent);
    for entity in given.without.iter().filter(|name| name.as_str() != NONE) {
        if fermata_core::catalogue::entity(entity).is_none() {
            wrong.push(format!(
                "--without: there is no entity {entity:?}; `fermata token check` lists them all"
            ));
        }
    }
    if !wrong.is_empty() {
        return Err(Usage(wrong.join("\n       ")));
    }
    settings.name = given.name.or(settings.name.take());
    settings.schedule = given.schedule.or(settings.schedule.take()).filter(|cron| cron != NONE);
    if given.without.iter().any(|name| name == NONE) {
        settings.without.clear();
    }
    settings.without.extend(given.without.into_iter().filter(|name| name != NONE));
    Ok(())
}

async fn save(vault: &Vault, settings: Settings, out: Out, now: Timestamp) -> anyhow::Result<u8> {
    let settings = vault.save_settings(settings, now).await?;
    show(vault, &settings, out, now).await
}

async fn hold(
    vault: &Vault,
    config: &Config,
    tenant: &Tenant,
    paused: bool,
    out: Out,
    now: Timestamp,
) -> anyhow::Result<u8> {
    let mut settings = super::settings(vault, tenant).await?;
    settings.paused = paused;
    let code = save(vault, settings, out, now).await?;
    if paused {
        let hold =
            |producer: Producer| async move { Ok(producer.queue.hold(tenant, HeldFor::Paused).await?) };
        if let Some(parked) = fleet::tell(config, vault, out, hold).await {
            let jobs = several(parked, "job waits", "jobs wait");
            out.say(&format!("In the queue {jobs} until `fermata tenant resume {tenant}`."));
        }
    } else {
        fleet::look_again(config, vault, tenant, out).await;
    }
    Ok(code)
}

async fn remove(
    vault: &Vault,
    config: &Config,
    tenant: &Tenant,
    data: bool,
    yes: bool,
    out: Out,
    now: Timestamp,
) -> anyhow::Result<u8> {
    #[derive(Serialize)]
    struct Document<'a> {
        schema: u32,
        tenant: &'a Tenant,
        snapshots: usize,
        data: bool,
        done: bool,
    }
    // A tenant that was removed may still have snapshots to delete.
    let mut settings = match vault.settings(tenant).await? {
        Some(settings) if data || !settings.removed => settings,
        _ => super::settings(vault, tenant).await?,
    };
    let snapshots = vault.snapshots(tenant).await?.len();
    let _lock = if yes { Some(lock::take(config, tenant)?) } else { None };
    if yes && data {
        vault.delete_tenant(tenant).await?;
    } else if yes {
        settings.removed = true;
        settings.token = None;
        vault.save_settings(settings, now).await?;
    }
    if yes {
        // Jobs that were held back find out, and end.
        let _ = fleet::tell(config, vault, out, |producer| async move { producer.look_again(tenant).await })
            .await;
    }
    let document = Document { schema: fermata_core::FORMAT, tenant, snapshots, data, done: yes };
    out.result(&document, || {
        let snapshots =
            if snapshots == 1 { "1 snapshot".to_owned() } else { format!("{snapshots} snapshots") };
        match (yes, data) {
            (true, false) => format!("Forgotten: {tenant} and its token. Kept: {snapshots}."),
            (true, true) => format!("Deleted: {tenant}, its token and {snapshots}."),
            (false, false) => {
                format!("Nothing was done. --yes forgets {tenant} and its token, and keeps {snapshots}.")
            }
            (false, true) => {
                format!("Nothing was done. --yes deletes {tenant}, its token and {snapshots}, for good.")
            }
        }
    })?;
    Ok(exit::DONE)
}

async fn list(vault: &Vault, out: Out, now: Timestamp) -> anyhow::Result<u8> {
    #[derive(Serialize)]
    struct Document {
        schema: u32,
        tenants: Vec<View>,
    }
    let mut tenants = Vec::new();
    let (all, unreadable) = super::all_settings(vault).await?;
    for (tenant, error) in unreadable {
        out.error(&error.context(tenant));
    }
    for settings in all {
        tenants.push(view(vault, &settings, now).await?);
    }
    let document = Document { schema: fermata_core::FORMAT, tenants };
    out.result(&document, || {
        if document.tenants.is_empty() {
            return "There is no tenant yet: fermata tenant add NAME".to_owned();
        }
        let rows = document.tenants.iter().map(|view| {
            let last = view.last_snapshot.clone().unwrap_or_else(|| "none".to_owned());
            let state = if view.paused { "paused" } else { "active" };
            [
                view.tenant.to_string(),
                state.to_owned(),
                token_state(view.token.as_ref()),
                last,
                view.base_url.clone(),
            ]
        });
        table(["TENANT", "STATE", "TOKEN", "LAST SNAPSHOT", "BASE URL"], rows)
    })?;
    Ok(exit::DONE)
}

async fn show(vault: &Vault, settings: &Settings, out: Out, now: Timestamp) -> anyhow::Result<u8> {
    #[derive(Serialize)]
    struct Document<'a> {
        schema: u32,
        #[serde(flatten)]
        view: &'a View,
    }
    let view = view(vault, settings, now).await?;
    out.result(&Document { schema: fermata_core::FORMAT, view: &view }, || {
        let or = |value: &Option<String>, none: &str| value.clone().unwrap_or_else(|| none.to_owned());
        let without = if view.without.is_empty() { "nothing".to_owned() } else { view.without.join(", ") };
        let rows = [
            ["tenant", view.tenant.as_str()],
            ["name", &or(&view.name, "-")],
            ["base URL", &view.base_url],
            ["rate", &format!("{} requests per second", view.rate)],
            ["schedule", &schedule_in_words(settings)],
            ["time zone", &or(&view.time_zone, "UTC")],
            ["due next", &due_next(settings, &view.due_next)],
            ["weight", &view.weight.to_string()],
            ["keep", &or(&view.keep, "every snapshot")],
            ["all is read", &format!("every {}", several(u64::from(view.sweep_days), "day", "days"))],
            ["suspect", &format!("where an entity lost more than {} %", view.shrink_percent)],
            ["left out", &without],
            ["state", if view.paused { "paused" } else { "active" }],
            ["token", &token_state(view.token.as_ref())],
            ["last snapshot", &or(&view.last_snapshot, "none")],
        ];
        rows.map(|[name, value]| format!("{name:<14} {value}")).join("\n")
    })?;
    Ok(exit::DONE)
}

fn schedule(settings: &Settings) -> Option<Result<Schedule, ScheduleError>> {
    let cron = settings.schedule.as_deref()?;
    Some(Schedule::parse(cron, settings.time_zone.as_deref()))
}

fn schedule_in_words(settings: &Settings) -> String {
    let cron = settings.schedule.as_deref().unwrap_or_default();
    match schedule(settings) {
        None => "none; it is backed up by hand".to_owned(),
        Some(Ok(schedule)) if schedule.describe().contains(cron) => schedule.describe(),
        Some(Ok(schedule)) => format!("{} ({cron})", schedule.describe()),
        // From before schedules were checked.
        Some(Err(error)) => format!("never: {error}"),
    }
}

/// A line for each, on the clock of the schedule, which may be put forward or back in between.
fn due_next(settings: &Settings, due: &[Timestamp]) -> String {
    let Some(Ok(schedule)) = schedule(settings) else { return "never".to_owned() };
    let lines = due.iter().map(|due| {
        due.to_zoned_datetime(schedule.time_zone().clone()).strftime("%a %F %H:%M %:z").to_string()
    });
    lines.collect::<Vec<_>>().join(&format!("\n{:15}", ""))
}

async fn view(vault: &Vault, settings: &Settings, now: Timestamp) -> anyhow::Result<View> {
    let last = vault.snapshots(&settings.tenant).await?.pop();
    let schedule = schedule(settings).and_then(Result::ok);
    let due = std::iter::successors(Some(now), |due| schedule.as_ref()?.next_after(*due));
    Ok(View {
        tenant: settings.tenant.clone(),
        name: settings.name.clone(),
        base_url: settings.base_url.clone(),
        rate: settings.rate,
        schedule: settings.schedule.clone(),
        time_zone: settings.time_zone.clone(),
        schedule_in_words: schedule.as_ref().map(Schedule::describe),
        due_next: due.skip(1).take(DUE_TIMES).collect(),
        weight: settings.weight,
        keep: settings.keep.clone(),
        sweep_days: settings.sweep_days.unwrap_or(SWEEP_DAYS),
        shrink_percent: settings.shrink_percent.unwrap_or(SHRINK_PERCENT),
        accepted: settings.accepted.clone(),
        without: settings.without.iter().cloned().collect(),
        paused: settings.paused,
        token: settings.token.as_ref().map(|token| TokenView {
            fingerprint: token.fingerprint.clone(),
            stored: token.stored,
            expires: token.expires,
            refused: token.refused,
        }),
        last_snapshot: last.map(|run| run.to_string()),
    })
}

fn token_state(token: Option<&TokenView>) -> String {
    match token {
        None => "none".to_owned(),
        Some(TokenView { fingerprint, refused: Some(_), .. }) => format!("{fingerprint}, refused by Tempo"),
        Some(TokenView { fingerprint, expires: Some(day), .. }) => format!("{fingerprint}, expires {day}"),
        Some(TokenView { fingerprint, .. }) => fingerprint.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_is_said_in_words() {
        fn check(cron: Option<&str>, expect: &str) {
            let mut settings = Settings::new("acme".parse().unwrap(), Timestamp::UNIX_EPOCH);
            settings.schedule = cron.map(str::to_owned);
            assert_eq!(schedule_in_words(&settings), expect);
        }
        check(None, "none; it is backed up by hand");
        check(Some("@daily"), "every day at 00:00 UTC (@daily)");
        check(Some("0 2 1 * mon"), "0 2 1 * mon UTC");
        check(Some("0 2 * * x"), "never: day of week: \"x\" is none of 0-7 or sun-sat");
    }
}
