//! Snapshots, records and runs on the page and through its API.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use serde_json::{Value, json};
use tempo_sim::{Fault, Mutation, Op};

use crate::page::Page;
use crate::stage::Stage;

const KEY: &str = "--data-key fermata.key";

/// Two snapshots of a site, in which a worklog changed, one came and one went.
fn stage() -> (Stage, [String; 2]) {
    let stage = Stage::new().ready();
    stage.fermata("backup acme").run().code(0);
    let shown = stage.fermata("snapshots show acme --entity worklogs --limit 2 --json").run().code(0).json();
    let [changed, deleted] = [0, 1].map(|at| shown["records"][at]["tempoWorklogId"].as_u64().unwrap());
    let ops = [
        Mutation::new(Op::Update).id(changed).set("description", "<b>été & \"co\"</b>"),
        Mutation::new(Op::Delete).id(deleted),
        Mutation::new(Op::Insert),
    ];
    stage.sim.mutate(1, &ops).unwrap();
    stage.fermata("backup acme").run().code(0);
    let list = stage.fermata("snapshots list acme --json").run().code(0).json();
    let names = [0, 1].map(|at| list["snapshots"][at]["snapshot"].as_str().unwrap().to_owned());
    (stage, names)
}

#[test]
fn snapshots_are_listed_and_shown() {
    let (stage, [first, second]) = stage();
    let page = Page::open(&stage, "");
    let list = page.get("/tenants/acme/snapshots").code(200);
    list.says(&[
        "<svg",
        &format!("/tenants/acme/snapshots/{second}"),
        "complete",
        "fermata snapshots list acme",
    ]);
    let shown = page.get(&format!("/tenants/acme/snapshots/{second}")).code(200);
    shown.says(&["worklogs", "complete", &format!("/tenants/acme/diff?from={first}&amp;to={second}")]);
    shown.says(&["this page was not given the key", &format!("fermata export acme --snapshot {second}")]);
    page.get("/tenants/acme/snapshots/latest").code(200).says(&[&second]);
    for nothing in ["20260101T000000Z-aaaaaa", "x", "..%2f..%2ffermata.json"] {
        page.get(&format!("/tenants/acme/snapshots/{nothing}")).code(404);
    }
    page.get("/tenants/nobody/snapshots/latest").code(404);
    let documents = [
        ("snapshots", "snapshots list acme"),
        ("snapshots/latest", "snapshots show acme"),
        ("runs", "runs list acme"),
    ];
    for (path, command) in documents {
        let answered = page.get(&format!("/api/v1/tenants/acme/{path}")).code(200).json();
        assert_eq!(answered, stage.fermata(&format!("{command} --json")).run().code(0).json(), "{path}");
    }
}

#[test]
fn a_snapshot_is_verified_from_the_page() {
    let (stage, [_, second]) = stage();
    let page = Page::open(&stage, "");
    let here = format!("/tenants/acme/snapshots/{second}");
    let api = format!("/api/v1{here}/verify");
    page.get(&api).code(404);
    assert_eq!(
        page.post(&format!("{here}/verify"), &[("depth", "stored")]).code(303).location(),
        format!("{here}#check")
    );
    page.wait_for(&here, "It is whole: the bytes of all chunks are those that were stored");
    page.post(&format!("{here}/verify"), &[("depth", "data")])
        .code(409)
        .says(&["--data-key", "snapshots verify acme"]);
    page.post(&format!("{here}/verify"), &[("depth", "deep")]).code(422);

    let chunk = stage.stored().into_keys().find(|name| name.starts_with("tenants/acme/chunks/")).unwrap();
    let file = stage.at("fermata-data").join(&chunk);
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[9] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    page.send_json(&api, &json!({"depth": "stored"})).code(202);
    page.wait_for(&here, "It is not whole: 1 problem").says(&[&chunk]);
    let found = page.get(&api).code(200).json();
    assert_eq!((&found["state"], &found["report"]["ok"]), (&json!("done"), &json!(false)));
    assert_eq!(found["report"]["problems"][0]["object"], json!(chunk));

    let keyed = Page::open(&stage, KEY);
    keyed.send_json(&api, &json!({"depth": "data"})).code(202);
    keyed.wait_for(&here, "It is not whole").says(&["Read every record"]);
}

#[test]
fn records_are_shown_to_whoever_has_the_key() {
    let (stage, [_, second]) = stage();
    let here = format!("/tenants/acme/snapshots/{second}/records/worklogs");
    let keyless = Page::open(&stage, "");
    keyless.get(&here).code(200).says(&["was not given the key", "fermata snapshots show acme --snapshot"]);
    keyless.get(&format!("/api/v1{here}")).code(409).says(&["--data-key", "fermata snapshots show"]);

    let page = Page::open(&stage, KEY);
    let table = page.get(&here).code(200);
    table.says(&["tempoWorklogId", "author.accountId", "tabindex=\"0\"", "rel=\"next\""]);
    let all = stage.fermata("snapshots show acme --entity worklogs --limit 5000 --json").run().code(0).json();
    let (mut records, mut next) = (Vec::new(), String::new());
    loop {
        let answer = page.get(&format!("/api/v1{here}?limit=300&from={next}")).code(200).json();
        records.extend(answer["records"].as_array().unwrap().clone());
        match answer["next"].as_str() {
            Some(from) => from.clone_into(&mut next),
            None => break,
        }
    }
    assert_eq!(&records, all["records"].as_array().unwrap(), "the pages are the whole");

    // The record that changed is the last of the view: a person's words stay words.
    let found =
        page.get(&format!("{here}?where=description=%3Cb%3E%C3%A9t%C3%A9+%26+%22co%22%3C/b%3E")).code(200);
    found.says(&["&lt;b&gt;été &amp;"]);
    assert!(!found.text.contains("<b>été"), "{}", found.text);
    let at = found.text.split_once(&format!("{here}/")).unwrap().1.split('"').next().unwrap();
    page.get(&format!("{here}/{at}")).code(200).says(&["description", "As Tempo sent it", "&lt;b&gt;été"]);
    page.get(&format!("{here}?where=colour=red"))
        .code(200)
        .says(&["None of these records has a field", "tempoWorklogId"]);
    for (path, status) in
        [("/99999", 404), ("/x", 404), ("?from=x", 422), ("?limit=0", 422), ("?where=x", 422)]
    {
        page.get(&format!("{here}{path}")).code(status);
    }
    page.get(&format!("/tenants/acme/snapshots/{second}/records/nothing")).code(404);
}

#[test]
fn an_export_is_a_file_to_keep() {
    let (stage, [_, second]) = stage();
    let here = format!("/tenants/acme/snapshots/{second}/export");
    let keyless = Page::open(&stage, "");
    keyless.get(&format!("{here}?entity=worklogs")).code(409).says(&["--data-key", "fermata export acme"]);
    let temporary = stage.at("temporary");
    std::fs::create_dir(&temporary).unwrap();
    let page = Page::open_with(&stage, KEY, &[("TMPDIR", temporary.to_str().unwrap())]);
    stage.fermata("export acme --entity worklogs --format csv --out exported").run().code(0);
    stage.fermata("export acme --entity worklogs --out exported").run().code(0);
    for (format, kind) in [("csv", "text/csv; charset=utf-8"), ("ndjson", "application/x-ndjson")] {
        let file = page.get(&format!("{here}?entity=worklogs&format={format}")).code(200);
        assert_eq!(file.headers["content-type"], kind);
        assert_eq!(file.headers["x-content-type-options"], "nosniff");
        let named = format!("attachment; filename=\"acme-{second}-worklogs.{format}\"");
        assert_eq!(file.headers["content-disposition"], named.as_str());
        let expected =
            std::fs::read_to_string(stage.at("exported").join(format!("worklogs.{format}"))).unwrap();
        assert!(file.text == expected, "{format}");
    }
    page.wait_until(|| std::fs::read_dir(&temporary).unwrap().next().is_none());
    for (query, status) in [("entity=worklogs&format=xls", 422), ("entity=..%2Fkeys", 404), ("", 404)] {
        page.get(&format!("{here}?{query}")).code(status);
    }
}

#[test]
fn two_snapshots_are_compared() {
    let (stage, [first, second]) = stage();
    let there = format!("from={first}&to={second}");
    let keyless = Page::open(&stage, "");
    let counts = keyless.get("/tenants/acme/diff").code(200);
    counts.says(&[
        "worklogs",
        "differs",
        &format!("fermata snapshots diff acme {first} {second}"),
        "was not given the key",
    ]);
    let outline = keyless.get(&format!("/api/v1/tenants/acme/diff?{there}&entity=worklogs")).code(200).json();
    let entity = &outline["entities"][0];
    assert_eq!([&entity["added"], &entity["changed"], &entity["deleted"]], [&json!(1), &json!(1), &json!(1)]);
    assert_eq!((&entity["status"], &entity["records"]), (&json!("differs"), &json!(null)));
    keyless.get("/tenants/acme/diff?from=x").code(404);

    let page = Page::open(&stage, KEY);
    let shown = page.get(&format!("/tenants/acme/diff?{there}&entity=worklogs")).code(200);
    shown.says(&["1 added, 1 changed, 1 deleted", "<td>description</td>", "&lt;b&gt;été"]);
    let answered = page.get(&format!("/api/v1/tenants/acme/diff?{there}&limit=1000")).code(200).json();
    assert_eq!(
        answered,
        stage.fermata(&format!("snapshots diff acme {first} {second} --json")).run().code(0).json()
    );
}

#[test]
fn a_run_is_seen_to_get_on() {
    let stage = Stage::new().ready();
    stage.fermata("backup acme").run().code(0);
    stage.sim.fault(Fault::status(401).path("/4/teams"));
    stage.fermata("backup acme").run().code(4);
    let page = Page::open(&stage, "");
    let runs = page.get("/api/v1/tenants/acme/runs").code(200).json();
    let run = runs["runs"][0]["run"].as_str().unwrap();
    let here = format!("/tenants/acme/runs/{run}");
    assert_eq!(page.get(&format!("/tenants/acme/snapshots/{run}")).code(303).location(), here);
    page.get(&here).code(200).says(&[
        "worklogs",
        "waiting",
        "data-live",
        &format!("fermata runs show acme {run}"),
    ]);
    let jobs = page.get(&format!("/api/v1{here}")).code(200).json();
    assert!(jobs["jobs"].as_array().unwrap().iter().any(|job| job["state"] == "waiting"), "{jobs}");
    page.get("/tenants/acme/runs/20260101T000000Z-aaaaaa").code(404);

    stage.sim.clear_faults();
    stage.set_token("acme", &stage.sim.token(1)).code(0);
    stage.fermata("backup acme").run().code(0);
    let done = page.get(&here).code(303);
    assert_eq!(done.location(), format!("/tenants/acme/snapshots/{run}"));
    page.get("/tenants/acme/snapshots").code(200).says(&[run]);
}

#[test]
fn a_suspect_snapshot_is_accepted() {
    let stage = Stage::new().ready();
    stage.fermata("backup acme").run().code(0);
    let ids = stage.sim.truth(1, "roles");
    let deletes: Vec<_> =
        ids.iter().map(|role| Mutation::new(Op::Delete).entity("roles").id(id_of(role))).collect();
    stage.sim.mutate(1, &deletes).unwrap();
    stage.fermata("backup acme").run().code(3);
    let page = Page::open(&stage, "");
    let here = "/tenants/acme/snapshots/latest";
    let shown = page.get(here).code(200);
    shown.says(&["This snapshot is suspect", "roles", "fermata snapshots accept acme --snapshot"]);
    page.post(&format!("{here}/accept"), &[]).code(303);
    page.get(here).code(200).says(&["said that it is right"]);
    let settings = stage.fermata("tenant show acme --json").run().code(0).json();
    assert!(shown.text.contains(settings["accepted"].as_str().unwrap()));
    page.get("/tenants/acme").code(200);
}

fn id_of(record: &str) -> u64 {
    serde_json::from_str::<Value>(record).unwrap()["id"].as_u64().unwrap()
}

#[test]
fn who_may_see_some_tenants_is_told_of_no_other() {
    let stage = Stage::new().ready();
    stage.fermata("backup acme").run().code(0);
    let key = |name: &str, rights: &str| {
        stage.fermata(&format!("user set {name} --no-password {rights}")).run().code(0);
        stage.fermata(&format!("user key {name} --quiet")).run().code(0).stdout.trim().to_owned()
    };
    let viewer = key("vera", "--role viewer");
    let other = key("otto", "--role admin --tenant bolt");
    let paths = [
        ("snapshots", 200),
        ("snapshots/latest", 200),
        ("snapshots/latest/verify", 404),
        ("snapshots/latest/records/worklogs", 403),
        ("snapshots/latest/export?entity=worklogs", 403),
        ("runs", 200),
    ];
    let page = Page::open_by_key(&stage, KEY, &viewer);
    for (path, status) in paths {
        page.get(&format!("/api/v1/tenants/acme/{path}")).code(status);
    }
    for path in ["accept", "verify"] {
        page.send_json(&format!("/api/v1/tenants/acme/snapshots/latest/{path}"), &json!({})).code(403);
    }
    // What somebody who only looks sees of a difference are counts.
    stage.fermata("backup acme").run().code(0);
    let outline = page.get("/api/v1/tenants/acme/diff").code(200).text;
    assert!(!outline.contains("accountId"), "{outline}");
    page.get("/tenants/acme/snapshots/latest/records/worklogs").code(403);
    let page = Page::open_by_key(&stage, KEY, &other);
    for (path, _) in paths.into_iter().chain([("diff", 0), ("snapshots/latest/records/worklogs/0", 0)]) {
        for answer in
            [page.get(&format!("/api/v1/tenants/acme/{path}")), page.get(&format!("/tenants/acme/{path}"))]
        {
            let is_form = path.ends_with("verify") && answer.status == 405;
            assert!(answer.status == 404 || is_form, "{path}: {}", answer.text);
        }
    }
}
