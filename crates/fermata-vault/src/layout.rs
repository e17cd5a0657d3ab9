//! The names of objects: the one place that knows the layout.

use fermata_core::names::{RunId, Tenant};
use object_store::path::Path;

/// Digits of the number of a document of settings or keys, so that names sort as numbers do.
const SEQ_CHARS: usize = 6;

pub(crate) fn card() -> Path {
    Path::from_iter(["fermata.json"])
}

pub(crate) fn all_keys() -> Path {
    Path::from_iter(["keys"])
}

pub(crate) fn keys(seq: u32) -> Path {
    all_keys().join(format!("{seq:0SEQ_CHARS$}.json"))
}

pub(crate) fn tenants() -> Path {
    Path::from_iter(["tenants"])
}

pub(crate) fn tenant(tenant: &Tenant) -> Path {
    tenants().join(tenant.as_str())
}

pub(crate) fn all_settings(tenant: &Tenant) -> Path {
    self::tenant(tenant).join("settings")
}

pub(crate) fn settings(tenant: &Tenant, seq: u32) -> Path {
    all_settings(tenant).join(format!("{seq:0SEQ_CHARS$}.json"))
}

/// The number in the name of a document of settings or keys.
pub(crate) fn seq(key: &Path) -> Option<u32> {
    let digits = key.filename()?.strip_suffix(".json")?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

pub(crate) fn runs(tenant: &Tenant) -> Path {
    self::tenant(tenant).join("runs")
}

pub(crate) fn run(tenant: &Tenant, run: &RunId) -> Path {
    runs(tenant).join(run.as_str())
}

pub(crate) fn plan(tenant: &Tenant, run: &RunId) -> Path {
    self::run(tenant, run).join("plan.json")
}

pub(crate) fn job(tenant: &Tenant, run: &RunId, entity: &str) -> Path {
    self::run(tenant, run).join(entity)
}

pub(crate) fn chunks(tenant: &Tenant) -> Path {
    self::tenant(tenant).join("chunks")
}

pub(crate) fn chunk(tenant: &Tenant, name: &str) -> Path {
    chunks(tenant).join(name)
}

pub(crate) fn snapshots(tenant: &Tenant) -> Path {
    self::tenant(tenant).join("snapshots")
}

pub(crate) fn snapshot(tenant: &Tenant, run: &RunId) -> Path {
    snapshots(tenant).join(format!("{run}.json"))
}

/// The run in the name of a manifest.
pub(crate) fn snapshot_run(key: &Path) -> Option<RunId> {
    key.filename()?.strip_suffix(".json")?.parse().ok()
}

/// What an object is, in a word that says nothing of whose it is.
pub(crate) fn kind(key: &Path) -> &'static str {
    let parts: Vec<_> = key.parts().collect();
    let parts: Vec<_> = parts.iter().map(AsRef::as_ref).collect();
    match parts[..] {
        ["tenants", _, "settings", ..] => "settings",
        ["tenants", _, "runs", _, "plan.json"] => "plan",
        ["tenants", _, "runs", ..] => "event",
        ["tenants", _, "chunks", ..] => "chunk",
        ["tenants", _, "snapshots", ..] => "manifest",
        ["keys", ..] => "keys",
        ["fermata.json"] => "card",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_object_has_a_kind() {
        let tenant: Tenant = "acme".parse().unwrap();
        let run: RunId = "20261124T020000Z-4f9a1c".parse().unwrap();
        let objects = [
            (card(), "card"),
            (keys(1), "keys"),
            (settings(&tenant, 1), "settings"),
            (plan(&tenant, &run), "plan"),
            (job(&tenant, &run, "teams").join("00000000-0-1"), "event"),
            (chunk(&tenant, "1-2"), "chunk"),
            (snapshot(&tenant, &run), "manifest"),
            (Path::from("probe/1"), "other"),
        ];
        for (key, expect) in objects {
            assert_eq!(kind(&key), expect, "{key}");
        }
    }
}
