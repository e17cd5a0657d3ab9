//! What a token may read, entity by entity: one small request for each.

use fermata_core::catalogue::{self, ENTITIES, Entity, Read};
use fermata_core::checkpoint::Place;
use fermata_core::plan::Plan;
use fermata_core::settings::{Checked, Settings};
use fermata_tempo::client::Cost;
use fermata_tempo::request::Values;
use fermata_tempo::{Client, Disposition, TempoError, paging, row};
use fermata_vault::{Vault, VaultError};
use jiff::Timestamp;
use serde::Serialize;

use crate::clock::Clock;
use crate::items::Found;
use crate::job;

/// Settings are changed by people: more than so many at once are none.
const SAVE_TRIES: u32 = 5;

/// What a token may do with one entity.
#[derive(Clone, Debug, Serialize)]
pub struct Coverage {
    /// Which entity.
    pub entity: &'static str,
    /// Whether it may be read; nobody knows where there is nothing to ask for.
    pub readable: Option<bool>,
    /// Why not, or what it cannot see, or why nobody knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Asks for each planned entity in turn; `told` hears each answer. Ends early only on a refused token or a
/// Tempo that does not answer at all.
pub async fn check(
    client: &Client,
    plan: &Plan,
    clock: Clock,
    mut told: impl FnMut(&Coverage),
) -> Result<Vec<Coverage>, TempoError> {
    let mut found = Found::default();
    let mut all = Vec::new();
    for entity in in_order().into_iter().filter(|entity| !plan.left_out.contains_key(entity.name)) {
        let coverage = one(client, plan, clock, entity, &mut found).await?;
        told(&coverage);
        all.push(coverage);
    }
    Ok(all)
}

/// Writes down with the token what it was found to read, and that it answers; returns whether it had been refused before.
///
/// Nothing is written of a token that was replaced or removed meanwhile. Needs no key.
pub async fn keep(
    vault: &Vault,
    used: &Settings,
    found: &[Coverage],
    now: Timestamp,
) -> Result<bool, VaultError> {
    let gaps = found.iter().filter(|coverage| coverage.readable == Some(false));
    let gaps = gaps.map(|coverage| (coverage.entity.to_owned(), coverage.reason.clone().unwrap_or_default()));
    let checked = Checked { at: now, gaps: gaps.collect() };
    let mut attempt = 0;
    loop {
        let Some(mut settings) = vault.settings(&used.tenant).await? else { return Ok(false) };
        let sealed = used.token.as_ref().map(|token| &token.fingerprint);
        let token = settings.token.as_mut().filter(|token| Some(&token.fingerprint) == sealed);
        let Some(token) = token else { return Ok(false) };
        let was_refused = token.refused.take().is_some();
        token.checked = Some(checked.clone());
        attempt += 1;
        match vault.save_settings(settings, now).await {
            Ok(_) => return Ok(was_refused),
            Err(VaultError::Taken { .. }) if attempt < SAVE_TRIES => {}
            Err(error) => return Err(error),
        }
    }
}

/// One small question, to see whether Tempo answers and takes the token; returns Tempo's clock.
///
/// A token that may not read this one list is a token all the same.
pub async fn answers(client: &Client) -> Result<Option<Timestamp>, TempoError> {
    let entity = catalogue::entity("work-attributes").expect("a row of the catalogue");
    let read = &entity.reads[0];
    let request = paging::request(read, &Place::Start, &Values::default(), 1, None);
    match client.page(&request, read.records, &mut Cost::default()).await {
        Ok((_, date)) => Ok(date),
        Err(error) if error.disposition() == Disposition::Gap => Ok(None),
        Err(error) => Err(error),
    }
}

/// The entities, parents before their children.
fn in_order() -> Vec<&'static Entity> {
    let mut ordered: Vec<&'static Entity> = Vec::new();
    while ordered.len() < ENTITIES.len() {
        let known = |name: &str| ordered.iter().any(|entity| entity.name == name);
        let next = ENTITIES
            .iter()
            .find(|entity| !known(entity.name) && entity.parents().all(|parent| known(parent.name)));
        ordered.push(next.expect("a test shows that no entities wait for each other"));
    }
    ordered
}

async fn one(
    client: &Client,
    plan: &Plan,
    clock: Clock,
    entity: &'static Entity,
    found: &mut Found,
) -> Result<Coverage, TempoError> {
    let coverage = |readable, reason| Coverage { entity: entity.name, readable, reason };
    match ask(client, plan, clock, entity, entity.reads, found).await {
        None => Ok(coverage(None, Some("there is nothing yet to ask about".to_owned()))),
        Some(Ok(())) => Ok(coverage(Some(true), None)),
        Some(Err(error)) if error.disposition() == Disposition::Token => Err(error),
        Some(Err(error @ TempoError::Network { .. })) => Err(error),
        Some(Err(error)) if error.disposition() == Disposition::Gap => {
            let why = format!("{error}; grant the token {}", entity.family.grant());
            let Some(second) = entity.fallback else { return Ok(coverage(Some(false), Some(why))) };
            match ask(client, plan, clock, entity, second.reads, found).await {
                Some(Ok(())) if second.misses.is_empty() => Ok(coverage(Some(true), None)),
                Some(Ok(())) => {
                    Ok(coverage(Some(false), Some(format!("all but this: {}; {why}", second.misses))))
                }
                _ => Ok(coverage(Some(false), Some(why))),
            }
        }
        Some(Err(error)) => Ok(coverage(None, Some(error.to_string()))),
    }
}

/// Asks for the first row of each request that there are keys for; nothing when there is none.
async fn ask(
    client: &Client,
    plan: &Plan,
    clock: Clock,
    entity: &Entity,
    reads: &[Read],
    found: &mut Found,
) -> Option<Result<(), TempoError>> {
    let mut asked = false;
    for read in reads {
        let Some(mut item) = found.item_after(&read.over, None) else { continue };
        asked = true;
        item.values.windows = job::windows(plan, entity, false, clock.now());
        // The legacy feeds take no limit below 50.
        let limit = u64::from(read.limit.min(50));
        let request = paging::request(read, &Place::Start, &item.values, limit, None);
        match client.page(&request, read.records, &mut Cost::default()).await {
            Ok((page, _)) => learn(entity, &page, found),
            Err(error) => return Some(Err(error)),
        }
    }
    asked.then_some(Ok(()))
}

fn learn(entity: &Entity, page: &fermata_tempo::page::Page, found: &mut Found) {
    let mut keys = fermata_core::checkpoint::body::Keys::new();
    let mut ids = roaring::RoaringTreemap::new();
    for record in page.records() {
        ids.extend(row::read(entity, record, Some(&mut keys)).id);
    }
    found.add(&keys, entity.gives(fermata_core::catalogue::Key::Worklog).then_some(&ids));
}
