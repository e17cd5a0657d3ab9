//! What holds in Redis after every operation, whatever came before.

use std::collections::{BTreeMap, BTreeSet};

use fermata_fleet::JobState;

use crate::stage::Dump;

const STATES: [JobState; 7] = JobState::ALL;
const CAP: &str = "6";

/// Checks the laws; `Err` names the first that is broken.
pub(crate) fn check(dump: &Dump) -> Result<(), String> {
    let jobs: BTreeMap<&str, &BTreeMap<String, String>> =
        dump.hashes.iter().filter_map(|(key, fields)| Some((key.strip_prefix("job:")?, fields))).collect();
    states(dump, &jobs)?;
    tenants(dump, &jobs)?;
    runs(dump, &jobs)?;
    workers(dump)
}

/// Each job is in the one set that its state says, and has what belongs to it.
fn states(dump: &Dump, jobs: &BTreeMap<&str, &BTreeMap<String, String>>) -> Result<(), String> {
    for (id, fields) in jobs {
        let state = fields.get("state").map_or("", String::as_str);
        for other in STATES {
            let there = dump.set(other.name()).contains(id);
            ensure(there == (other.name() == state), || {
                format!("{id} is {state}; in {}: {there}", other.name())
            })?;
        }
        let has = |field| fields.contains_key(field);
        ensure(has("worker") == (state == "running"), || format!("{id} is {state} with a worker"))?;
        ensure(!(has("cancel") || has("dropped")) || state == "running", || format!("{id}: a stale cancel"))?;
        ensure(!has("next") || matches!(state, "waiting" | "retry"), || {
            format!("{id} is {state} and has a next")
        })?;
        ensure(!has("why") || state == "waiting", || format!("{id} is {state} and has a why"))?;
        ensure(!has("needs") || matches!(state, "waiting" | "dead" | "retry"), || {
            format!("{id} is {state} and has needs")
        })?;
    }
    for (key, entries) in &dump.lists {
        let Some(id) = key.strip_prefix("past:") else { continue };
        ensure(jobs.contains_key(id), || format!("the past of {id}, which is no more"))?;
        ensure(entries.len() <= 20, || format!("{id} has a past of {}", entries.len()))?;
    }
    for state in STATES {
        for id in dump.set(state.name()) {
            ensure(jobs.contains_key(id), || format!("{id} is in {} and nowhere else", state.name()))?;
        }
    }
    Ok(())
}

/// Places, lines and turns.
fn tenants(dump: &Dump, jobs: &BTreeMap<&str, &BTreeMap<String, String>>) -> Result<(), String> {
    let mut names: BTreeSet<&str> = jobs.keys().filter_map(|id| id.split('/').next()).collect();
    for prefix in ["tenant:", "ready:"] {
        let keys = dump.keys();
        names.extend(keys.into_iter().filter_map(|key| key.strip_prefix(prefix)).collect::<Vec<_>>());
    }
    for set in ["ring", "cooling", "held"] {
        names.extend(dump.set(set));
    }
    for tenant in names {
        let about = format!("tenant:{tenant}");
        let of = |states: &[&str]| -> Vec<&str> {
            let own = |id: &&str| id.split('/').next() == Some(tenant);
            states.iter().flat_map(|state| dump.set(state)).filter(own).collect()
        };
        let busy: usize = dump.field(&about, "busy").unwrap_or("0").parse().unwrap_or(usize::MAX);
        let running = of(&["running"]).len();
        ensure(busy == running, || format!("{tenant}: busy {busy}, running {running}"))?;
        let mut line: Vec<_> = dump.lists.get(&format!("ready:{tenant}")).into_iter().flatten().collect();
        line.sort();
        let mut wanted = of(&["queued", "parked"]);
        wanted.sort_unstable();
        ensure(line == wanted, || format!("{tenant}: line {line:?}, jobs {wanted:?}"))?;
        let held = dump.field(&about, "held").is_some();
        let wrong = of(&[if held { "queued" } else { "parked" }]);
        ensure(wrong.is_empty(), || format!("{tenant}: held {held}, and yet {wrong:?}"))?;
        ensure(dump.set("held").contains(&tenant) == held, || format!("{tenant}: held {held}"))?;
        let run = dump.set("runs").iter().any(|run| run.split('/').next() == Some(tenant));
        let needed = run || held || busy > 0 || !line.is_empty();
        ensure(needed || !dump.hashes.contains_key(&about), || format!("{tenant} has nothing here"))?;
        let cap: usize = dump.field(&about, "cap").unwrap_or(CAP).parse().unwrap();
        let may = !line.is_empty() && !held && busy < cap;
        let (ring, cooling) = (dump.set("ring").contains(&tenant), dump.set("cooling").contains(&tenant));
        ensure(may == (ring || cooling), || {
            format!(
                "{tenant}: in line {}, held {held}, busy {busy}/{cap}; ring {ring}, cooling {cooling}",
                line.len()
            )
        })?;
    }
    Ok(())
}

/// Runs know what has not ended, and end with their seal.
fn runs(dump: &Dump, jobs: &BTreeMap<&str, &BTreeMap<String, String>>) -> Result<(), String> {
    let state = |id: &str| jobs.get(id).and_then(|fields| fields.get("state")).map(String::as_str);
    let known: BTreeMap<&str, &BTreeMap<String, String>> =
        dump.hashes.iter().filter_map(|(key, fields)| Some((key.strip_prefix("run:")?, fields))).collect();
    ensure(known.keys().copied().collect::<Vec<_>>() == dump.set("runs"), || "runs".to_owned())?;
    for (run, fields) in &known {
        let entities = fields.iter().filter(|(name, _)| !name.starts_with(['#', '>']));
        let mut open = 0;
        for (entity, how) in entities {
            let state = state(&format!("{run}/{entity}"));
            open += usize::from(how.is_empty() && entity != "seal");
            let right = match &**how {
                "" => state.is_some_and(|state| state != "dead" && state != "done"),
                "done" => state == Some("done"),
                "dead" => state == Some("dead"),
                _ => state.is_none(),
            };
            ensure(right, || format!("{run}/{entity} is {state:?}, and its run says {how:?}"))?;
        }
        let counted: usize = fields.get("#open").map_or(0, |open| open.parse().unwrap_or(usize::MAX));
        ensure(counted == open, || format!("{run}: #open {counted}, of which there are {open}"))?;
        ensure(open > 0 || fields.contains_key("seal"), || format!("{run} has ended and no seal is due"))?;
        let over = fields.get("seal").is_some_and(|how| !how.is_empty() && how != "dead") && open == 0;
        ensure(dump.set("ended").contains(run) == over, || format!("{run}: over {over}"))?;
        if open == 0 && fields.get("seal").is_some_and(String::is_empty) {
            let score = dump.sets.get("waiting").and_then(|set| set.get(&format!("{run}/seal")));
            ensure(score.is_none_or(|until| *until < 9e15), || format!("{run}: its seal waits for ever"))?;
        }
    }
    for (id, fields) in jobs {
        let (run, entity) = id.rsplit_once('/').unwrap();
        let how = known.get(run).and_then(|fields| fields.get(entity));
        let live = !matches!(&*fields["state"], "dead" | "done") && !fields.contains_key("dropped");
        ensure(live == how.is_some_and(String::is_empty), || {
            format!("{id}: {fields:?}, in its run {how:?}")
        })?;
        let needs: Vec<&str> = fields.get("needs").into_iter().flat_map(|needs| needs.split(' ')).collect();
        if fields["state"] == "waiting" {
            let ended = |parent: &&str| known[run].get(*parent).is_none_or(|how| !how.is_empty());
            let gone: Vec<_> = needs.iter().copied().filter(ended).collect();
            ensure(gone.is_empty(), || format!("{id} waits for {gone:?}, which ended"))?;
            let for_ever = dump.sets["waiting"][*id] >= 9e15;
            ensure(for_ever != needs.is_empty() || entity == "seal", || format!("{id} waits for nothing"))?;
        }
    }
    Ok(())
}

fn workers(dump: &Dump) -> Result<(), String> {
    for hash in ["claims", "workers"] {
        for worker in dump.hashes.get(hash).into_iter().flat_map(BTreeMap::keys) {
            let seen = dump.set("beats").contains(&&**worker);
            ensure(seen, || format!("{worker} is in {hash}, and nobody will see it gone"))?;
        }
    }
    Ok(())
}

fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}
