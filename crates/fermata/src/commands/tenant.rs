//! `fermata tenant`: the Jira sites that are backed up.

use fermata_core::names::Tenant;
use fermata_core::settings::Settings;
use fermata_fleet::Producer;
use fermata_fleet::queue::HeldFor;
use fermata_vault::Vault;
use jiff::Timestamp;
use serde::Serialize;

use super::fleet;
use crate::cli::{TenantCommand, TenantSettings};
use crate::config::Config;
use crate::desk::tenants::{self, Change, TokenView, View, schedule_in_words};
use crate::exit::{self, Usage};
use crate::lock;
use crate::out::{Out, several, table};

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

async fn view(vault: &Vault, settings: &Settings, now: Timestamp) -> anyhow::Result<View> {
    let last = vault.snapshots(&settings.tenant).await?.pop();
    Ok(tenants::view(settings, last.as_ref(), now))
}

/// The settings and flags of a command as a change.
fn change(settings: &mut Settings, given: TenantSettings) -> Result<(), Usage> {
    let TenantSettings {
        tenant: _,
        name,
        base_url,
        rate,
        schedule,
        time_zone,
        weight,
        keep,
        sweep_every,
        shrink,
        without,
    } = given;
    let change =
        Change { name, base_url, rate, schedule, time_zone, weight, keep, sweep_every, shrink, without };
    tenants::change(settings, change).map_err(|mistakes| {
        Usage(mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n       "))
    })
}

/// A line for each.
fn due_next(settings: &Settings, due: &[Timestamp]) -> String {
    let lines = tenants::due_next_in_words(settings, due);
    if lines.is_empty() { "never".to_owned() } else { lines.join(&format!("\n{:15}", "")) }
}

fn token_state(token: Option<&TokenView>) -> String {
    match token {
        None => "none".to_owned(),
        Some(TokenView { fingerprint, refused: Some(_), .. }) => format!("{fingerprint}, refused by Tempo"),
        Some(TokenView { fingerprint, expires: Some(day), .. }) => format!("{fingerprint}, expires {day}"),
        Some(TokenView { fingerprint, .. }) => fingerprint.clone(),
    }
}
