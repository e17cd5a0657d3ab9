//! The controls under `/_sim`: no token, no quota, no ledger.

use axum::http::Method;
use axum::http::request::Parts;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::answer::Out;
use super::call;
use crate::faults::Fault;
use crate::schedule::Schedule;
use crate::script::TenantMutations;
use crate::text::Obj;
use crate::tokens::TokenSpec;
use crate::truth::{ENTITIES, TruthWindow};
use crate::world::{World, lock, read, write};

/// One value or a list of them.
#[derive(serde::Deserialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    Many(Vec<T>),
    One(T),
}

impl<T> OneOrMany<T> {
    fn all(self) -> Vec<T> {
        match self {
            Self::Many(all) => all,
            Self::One(one) => vec![one],
        }
    }
}

type Done = Result<Out, String>;

pub(crate) fn handle(world: &World, parts: &Parts, body: &[u8]) -> Out {
    let path = parts.uri.path().trim_end_matches('/');
    let query = call::pairs(parts.uri.query().unwrap_or(""));
    let one = |name: &str| query.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.as_str());
    let done = match (parts.method.as_str(), path) {
        ("GET", "/_sim") => Ok(Out::json(200, &Obj::new().raw("operations", super::OPERATIONS.len()).end())),
        ("GET", "/_sim/ledger") => shown(&lock(&world.books).ledger()),
        ("DELETE", "/_sim/ledger") => {
            *lock(&world.books) = crate::ledger::Books::default();
            Ok(Out::json(204, ""))
        }
        ("GET", "/_sim/quirks") => shown(&*read(&world.quirks)),
        ("POST", "/_sim/quirks") => quirks(world, body),
        ("GET", "/_sim/tokens") => shown(&read(&world.tokens).list()),
        ("POST", "/_sim/tokens") => each::<TokenSpec>(body, |spec| {
            world.tenant(&spec.tenant).ok_or_else(|| format!("unknown tenant {:?}", spec.tenant))?;
            write(&world.tokens).put(spec);
            Ok(())
        }),
        ("GET", "/_sim/faults") => shown(&lock(&world.faults).list()),
        ("POST", "/_sim/faults") => each::<Fault>(body, |fault| {
            lock(&world.faults).add(fault);
            Ok(())
        }),
        ("DELETE", "/_sim/faults") => {
            lock(&world.faults).clear();
            Ok(Out::json(204, ""))
        }
        ("POST", "/_sim/mutate") => mutate(world, body),
        ("POST", "/_sim/schedule") => {
            each::<Schedule>(body, |schedule| world.schedule(schedule).map_err(|error| error.to_string()))
        }
        ("DELETE", "/_sim/schedule") => {
            for tenant in &world.tenants {
                lock(&tenant.schedules).clear();
            }
            Ok(Out::json(204, ""))
        }
        ("GET", "/_sim/history") => history(world, one("tenant"), one("entity")),
        ("GET", "/_sim/truth") => truth(world, one("tenant"), one("entity")),
        (_, path) => {
            return Out::json(404, &error(&format!("no control {} {path}", Method::as_str(&parts.method))));
        }
    };
    done.unwrap_or_else(|message| Out::json(400, &error(&message)))
}

fn error(message: &str) -> String {
    Obj::new().text("error", message).end()
}

fn shown(value: &impl Serialize) -> Done {
    Ok(Out::json(200, &serde_json::to_string(value).map_err(|error| error.to_string())?))
}

fn parsed<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| format!("the body cannot be read: {error}"))
}

fn each<T: DeserializeOwned>(body: &[u8], mut put: impl FnMut(T) -> Result<(), String>) -> Done {
    // Twice, since an untagged enum hides what is wrong.
    let all: Vec<T> = match parsed::<OneOrMany<T>>(body) {
        Ok(all) => all.all(),
        Err(_) if body.first() == Some(&b'[') => parsed(body)?,
        Err(_) => vec![parsed(body)?],
    };
    for one in all {
        put(one)?;
    }
    Ok(Out::json(204, ""))
}

fn quirks(world: &World, body: &[u8]) -> Done {
    let partial: serde_json::Value = parsed(body)?;
    let changed = read(&world.quirks).overlaid(&partial).map_err(|error| error.to_string())?;
    world.set_quirks(changed);
    shown(&*read(&world.quirks))
}

fn mutate(world: &World, body: &[u8]) -> Done {
    let asked: TenantMutations = parsed(body)?;
    let ids = world.mutate(&asked.tenant, &asked.ops).map_err(|error| error.to_string())?;
    shown(&serde_json::json!({ "ids": ids }))
}

fn history(world: &World, tenant: &str, entity: &str) -> Done {
    let tenant =
        world.tenant(tenant).ok_or_else(|| format!("unknown tenant {tenant:?}: give ?tenant=sim-1"))?;
    let state = read(tenant.state());
    let changes: Vec<_> =
        state.history.iter().filter(|change| entity.is_empty() || change.entity == entity).collect();
    shown(&changes)
}

fn truth(world: &World, tenant: &str, entity: &str) -> Done {
    let tenant =
        world.tenant(tenant).ok_or_else(|| format!("unknown tenant {tenant:?}: give ?tenant=sim-1"))?;
    if !ENTITIES.contains(&entity) {
        return Err(format!("unknown entity {entity:?}: give ?entity=worklogs"));
    }
    let lines = read(tenant.state()).site.truth(entity, &TruthWindow::default());
    let mut out = Out::json(200, &lines.join("\n"));
    out.content_type = "application/x-ndjson".into();
    Ok(out)
}
