//! `fermata backup`: plan and run here, without a queue.

use std::collections::BTreeSet;

use fermata_core::checkpoint::Tally;
use fermata_core::manifest::EntryStatus;
use fermata_core::names::Tenant;
use fermata_core::plan::{Mode, Wish};
use fermata_engine::report::{EntityReport, Report, ReportStatus};
use fermata_engine::{BackupError, Clock, Engine, Teller};
use fermata_tempo::Options;
use fermata_vault::Vault;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::cli::Backup;
use crate::config::Config;
use crate::exit::{self, Usage};
use crate::lock;
use crate::out::{self, Out, table};
use crate::progress;

#[derive(Serialize)]
struct Document {
    schema: u32,
    tenants: Vec<Report>,
}

pub(crate) async fn run(backup: Backup, config: &Config, out: Out, now: Timestamp) -> anyhow::Result<u8> {
    let vault = super::open(config).await?;
    let (tenants, unreadable) =
        if backup.all { super::all_settings(&vault).await? } else { (Vec::new(), Vec::new()) };
    let nobody = tenants.is_empty() && unreadable.is_empty() && backup.tenants.is_empty();
    let active = tenants.into_iter().filter(|settings| !settings.paused).map(|settings| settings.tenant);
    // Named twice is asked once.
    let named: BTreeSet<Tenant> = active.chain(backup.tenants).collect();
    if nobody {
        return Err(
            Usage("there is no tenant to back up; `fermata tenant add NAME` adds one".to_owned()).into()
        );
    }
    if named.is_empty() {
        out.say("Every tenant is paused: nothing was backed up.");
    }
    let today = now.to_zoned_datetime(TimeZone::UTC).date();
    if let Some(day) = backup.from.filter(|day| *day > today) {
        return Err(Usage(format!("--from: {day} is yet to come; today is {today}")).into());
    }
    let wish = Wish { only: backup.entity.into_iter().collect(), from: backup.from, full: backup.full };
    let stop = super::stop_signal();
    let (teller, listener) = tokio::sync::mpsc::unbounded_channel();
    let shown = tokio::spawn(progress::show(listener, out));
    let engine = Engine {
        vault,
        clock: Clock::new(now),
        client: Options::default(),
        attempt_pause: std::time::Duration::from_secs(2),
        teller: Teller::new(teller),
    };
    // One after the other: Tempo counts requests by their address too, and they all come from this one.
    let mut ended: Vec<_> = unreadable.into_iter().map(|(tenant, error)| (tenant, Err(error))).collect();
    for tenant in named {
        let result = one(&engine, config, &tenant, wish.clone(), &stop).await;
        ended.push((tenant, result));
    }
    let warnings = expiring(&engine.vault, &ended, now).await;
    drop(engine);
    shown.await?;
    let alone = ended.len() == 1;
    let mut codes = Vec::new();
    let mut reports = Vec::new();
    for (tenant, result) in ended {
        match result {
            Ok(report) => {
                codes.push(if report.status == ReportStatus::Complete { exit::DONE } else { exit::PARTIAL });
                reports.push(report);
            }
            Err(error) if alone && !out.is_json() => return Err(error),
            Err(error) => {
                codes.push(exit::code(&error));
                reports.push(Report::failed(&tenant, None, Tally::default(), 0.0, out::causes(&error)));
                out.error(&error.context(tenant));
            }
        }
    }
    for warning in warnings {
        out.say(&warning);
    }
    let document = Document { schema: fermata_core::FORMAT, tenants: reports };
    out.result(&document, || document.tenants.iter().map(text).collect::<Vec<_>>().join("\n\n"))?;
    Ok(exit::sum(&codes))
}

async fn one(
    engine: &Engine,
    config: &Config,
    tenant: &Tenant,
    wish: Wish,
    stop: &CancellationToken,
) -> anyhow::Result<Report> {
    if stop.is_cancelled() {
        return Err(BackupError::Stopped.into());
    }
    // Of a tenant that nobody added nothing is to be left in the store, not even a lock.
    super::settings(&engine.vault, tenant).await?;
    let _lock = lock::take(config, tenant)?;
    Ok(engine.backup(tenant, wish, stop).await?)
}

/// A line for each tenant whose token is about to expire.
async fn expiring(vault: &Vault, ended: &[(Tenant, anyhow::Result<Report>)], now: Timestamp) -> Vec<String> {
    let mut lines = Vec::new();
    for (tenant, _) in ended {
        let Ok(Some(settings)) = vault.settings(tenant).await else { continue };
        let days = settings.token.and_then(|token| token.days_left(now));
        if let Some(days) = days.filter(|days| *days <= super::EXPIRY_DAYS) {
            lines.push(format!(
                "{tenant}: the token expires in {days} days; make a new one: fermata token set {tenant}"
            ));
        }
    }
    lines
}

/// What else is to be said of an entity, the gravest first.
fn note(entity: &EntityReport) -> String {
    let mut notes: Vec<String> = entity.suspect.iter().chain(&entity.reason).cloned().collect();
    notes.extend(entity.warnings.iter().cloned());
    if let Some(drift) = entity.drift.filter(|drift| *drift > 0) {
        notes.push(format!("{} that Tempo had not told of", out::several(drift, "change", "changes")));
    }
    let counts = [(entity.added, "new"), (entity.changed, "changed"), (entity.deleted, "deleted")];
    let is_first = entity.added == Some(entity.records) && entity.deleted == Some(0);
    let counted =
        counts.into_iter().filter_map(|(count, what)| Some((count.filter(|count| *count > 0)?, what)));
    let counted: Vec<_> = counted.map(|(count, what)| format!("{} {what}", out::count(count))).collect();
    if !is_first && !counted.is_empty() {
        notes.push(counted.join(", "));
    }
    notes.extend(entity.why.iter().map(|why| match entity.mode {
        Mode::Sweep => format!("all was read: {why}"),
        Mode::Delta => why.clone(),
    }));
    notes.join("; ")
}

fn text(report: &Report) -> String {
    let Some(snapshot) = &report.snapshot else {
        return format!("{}: failed: {}", report.tenant, report.reason.as_deref().unwrap_or("unknown"));
    };
    let rows =
        report.entities.iter().filter(|entity| entity.records > 0 || entity.status != EntryStatus::Complete);
    let rows = rows.map(|entity| {
        let status = match entity.status {
            EntryStatus::Complete if entity.suspect.is_some() => "SUSPECT",
            EntryStatus::Complete => "complete",
            EntryStatus::LeftOut => "left out",
            EntryStatus::Skipped => "SKIPPED",
            EntryStatus::Failed => "FAILED",
        };
        let read = if entity.mode == Mode::Delta { "changes" } else { "all" };
        let (records, bytes) = (out::count(entity.records), out::bytes(entity.bytes));
        [entity.entity.clone(), status.to_owned(), read.to_owned(), records, bytes, note(entity)]
    });
    let records: u64 = report.entities.iter().map(|entity| entity.records).sum();
    let bytes: u64 = report.entities.iter().map(|entity| entity.bytes).sum();
    let gaps = report.entities.iter().filter(|entity| entity.status.is_gap()).count();
    let suspects: Vec<_> = report
        .entities
        .iter()
        .filter(|entity| entity.suspect.is_some())
        .map(|entity| &*entity.entity)
        .collect();
    let status = match gaps {
        0 if suspects.is_empty() => "complete".to_owned(),
        0 => "SUSPECT".to_owned(),
        gaps => format!("PARTIAL: {gaps} of {} entities have gaps", report.entities.len()),
    };
    let advice = if suspects.is_empty() {
        String::new()
    } else {
        format!(
            "\nMany records of {} are gone. If they were deleted: fermata snapshots accept {1}\n\
             If the token can no longer see them: fermata token check {1}",
            suspects.join(", "),
            report.tenant
        )
    };
    let throttled = match report.throttled {
        0 => String::new(),
        throttled => format!(", {throttled} of them too early"),
    };
    format!(
        "{}\n\n{}: snapshot {snapshot}, {status}\n{} records, {} in {} requests{throttled}, {:.1} s{}{advice}",
        table(["ENTITY", "STATUS", "READ", "RECORDS", "SIZE", "NOTE"], rows),
        report.tenant,
        out::count(records),
        out::bytes(bytes),
        out::count(report.requests),
        report.seconds,
        if report.resumed { ", resumed" } else { "" },
    )
}
