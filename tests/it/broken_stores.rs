//! A store that is full, read-only or damaged: said plainly, nothing lost, and the same command goes on once it is mended.

use std::path::PathBuf;

use crate::stage::{Ended, Stage};

/// Whether a file system of one's own can be mounted here.
fn can_mount(stage: &Stage) -> bool {
    let probe = stage.shell("mkdir -p probe && unshare -m mount -t tmpfs none probe; echo $?").run();
    let can = probe.stdout.trim() == "0";
    if !can {
        announce(
            "no tmpfs can be mounted (root and `unshare` are needed); the full and the read-only disk were not tested",
        );
    }
    can
}

#[expect(clippy::print_stderr, reason = "a test that cannot run must not be silent about it")]
fn announce(words: &str) {
    eprintln!("NOTICE: {words}");
}

/// Runs a script with mounts of its own.
fn apart(stage: &Stage, script: &str) -> Ended {
    stage.write("script.sh", script);
    stage.shell("unshare -m bash -eu script.sh").run()
}

#[test]
fn a_full_disk_stops_a_backup_and_room_lets_it_go_on() {
    let stage = Stage::new();
    if !can_mount(&stage) {
        return;
    }
    stage.write("token.txt", stage.sim.token(1));
    let base_url = stage.sim.base_url();
    let ended = apart(
        &stage,
        &format!(
            "mkdir fermata-data && mount -t tmpfs -o size=400k none fermata-data
            fermata init -q >&2
            fermata tenant add acme -q --rate 1000 --base-url {base_url} >&2
            fermata token set acme -q < token.txt >&2
            code=0; fermata backup acme -q > full.out 2> full.err || code=$?
            echo $code
            fermata snapshots list acme -q --json
            mount -o remount,size=50m fermata-data
            fermata backup acme -q --json
            fermata snapshots verify acme --data -q --json
            fermata export acme -q --out exported --entity worklogs >&2"
        ),
    )
    .code(0);
    let said = std::fs::read_to_string(stage.at("full.err")).unwrap();
    assert!(said.starts_with("error: the store is full: ") && said.contains("free some room"), "{said}");
    assert_eq!(said.lines().count(), 2, "{said}");
    let lines: Vec<&str> = ended.stdout.lines().collect();
    let [code, list, backup, verify] = lines[..] else { panic!("{ended:?}") };
    assert_eq!((code, list), ("1", "{\"schema\":1,\"snapshots\":[]}"));
    let backup: serde_json::Value = serde_json::from_str(backup).unwrap();
    let tenant = &backup["tenants"][0];
    assert_eq!((&tenant["resumed"], &tenant["status"]), (&true.into(), &"complete".into()));
    assert!(verify.contains("\"ok\":true"), "{verify}");
    let exported = std::fs::read_to_string(stage.at("exported/worklogs.ndjson")).unwrap();
    assert_eq!(exported.lines().count(), 1_000);
}

#[test]
fn a_read_only_store_is_said_and_can_be_read() {
    let stage = Stage::new().ready();
    stage.fermata("backup acme").run().code(0);
    if !can_mount(&stage) {
        return;
    }
    let before = stage.stored();
    let ended = apart(
        &stage,
        "mount --bind fermata-data fermata-data && mount -o remount,ro,bind fermata-data
        for line in 'backup acme' 'tenant pause acme' 'tenant remove acme --data --yes' doctor; do
            code=0; fermata $line -q > \"${line// /-}.out\" 2> \"${line// /-}.err\" || code=$?
            echo $code
        done
        fermata snapshots verify acme --data -q >&2
        fermata export acme --out exported -q >&2
        mkdir read-only && mount -t tmpfs -o ro none read-only
        code=0; fermata export acme --out read-only -q 2> export.err || code=$?
        echo $code",
    )
    .code(0);
    assert_eq!(ended.stdout.lines().collect::<Vec<_>>(), ["1"; 5], "{ended:?}");
    let said = |file: &str| std::fs::read_to_string(stage.at(file)).unwrap();
    for file in ["backup-acme.err", "tenant-pause-acme.err", "tenant-remove-acme---data---yes.err"] {
        let said = said(file);
        assert!(said.starts_with("error: the store is read-only"), "{file}: {said}");
        assert!(said.contains("right to write there") && said.lines().count() == 2, "{file}: {said}");
    }
    let said_of_export = said("export.err");
    assert!(
        said_of_export.starts_with("error: read-only/") && said_of_export.lines().count() == 1,
        "{said_of_export}"
    );
    assert!(said("doctor.out").contains("read-only"), "{}", said("doctor.out"));
    assert_eq!(stage.changed_since(&before), [""; 0]);
}

#[test]
fn a_file_in_the_place_of_a_folder_is_said() {
    let stage = Stage::new().ready();
    let tenants = stage.at("fermata-data/tenants/acme/runs");
    std::fs::write(&tenants, "").unwrap();
    let ended = stage.fermata("backup acme").run().error(1, &["tenants/acme/runs"]);
    assert_eq!(stage.sim.ledger().total.requests, 1, "{ended:?}");
    std::fs::remove_file(&tenants).unwrap();
    stage.fermata("backup acme").run().code(0);
}

/// A chunk of worklogs, which Tempo still has.
fn chunk_of_worklogs(stage: &Stage) -> PathBuf {
    let shown = stage.fermata("snapshots show acme --json").run().code(0).json();
    let entities = shown["entities"].as_array().expect("a manifest has entities");
    let worklogs =
        entities.iter().find(|entity| entity["entity"] == "worklogs").expect("worklogs are among them");
    let name = worklogs["layers"][0]["chunks"][0]["name"].as_str().expect("it has a chunk");
    stage.at(&format!("fermata-data/tenants/acme/chunks/{name}"))
}

#[test]
fn damage_is_found_and_named_and_the_next_backup_is_whole() {
    let stage = Stage::new().ready();
    stage.fermata("backup acme").run().code(0);
    let whole = stage.exported();
    let chunk = chunk_of_worklogs(&stage);
    let name = chunk.file_name().unwrap().to_str().unwrap().to_owned();

    // One bit, in the middle.
    let mut bad = std::fs::read(&chunk).unwrap();
    let middle = bad.len() / 2;
    bad[middle] ^= 1;
    std::fs::write(&chunk, &bad).unwrap();
    stage.fermata("snapshots verify acme").run().code(0);
    let said = stage.fermata("snapshots verify acme --data").run().code(1).stdout;
    assert!(said.contains("NOT WHOLE") && said.contains(&name), "{said}");
    stage.fermata("export acme --out damaged").run().error(1, &[&name]);
    // What it says mends it: the next backup reads Tempo and puts the records there again.
    assert!(said.contains("move the chunks") && said.contains("fermata backup acme"), "{said}");
    std::fs::remove_file(&chunk).unwrap();
    stage.fermata("backup acme").run().code(0);
    stage.fermata("snapshots verify acme --data").run().code(0);
    assert!(stage.exported() == whole);
}

#[test]
fn a_chunk_that_is_cut_off_is_found_without_reading_and_not_used_again() {
    let stage = Stage::new().ready();
    stage.fermata("backup acme").run().code(0);
    let whole = stage.exported();
    let chunk = chunk_of_worklogs(&stage);
    let good = std::fs::read(&chunk).unwrap();
    std::fs::write(&chunk, &good[..good.len() / 2]).unwrap();
    stage.fermata("snapshots verify acme").run().code(1);
    stage.fermata("backup acme").run().code(0);
    stage.fermata("snapshots verify acme --data").run().code(0);
    assert!(stage.exported() == whole);
}

#[test]
fn damaged_documents_are_named() {
    let stage = Stage::new().ready();
    stage.fermata("backup acme").run().code(0);
    for (what, commands, code) in [
        ("/snapshots/", ["snapshots show acme", "export acme --out out", "snapshots list acme"], 1),
        ("/settings/", ["tenant show acme", "backup acme", "token check acme"], 1),
        ("fermata.json", ["tenant list", "backup acme", "snapshots list acme"], 1),
    ] {
        let file = largest(&stage, what);
        let good = std::fs::read(&file).unwrap();
        let name = file.strip_prefix(stage.at("fermata-data")).unwrap().to_str().unwrap();
        for bad in [&b""[..], b"{}", b"not JSON", &good[..good.len() / 2], br#"{"schema": 99}"#] {
            std::fs::write(&file, bad).unwrap();
            for line in commands {
                stage.fermata(line).run().error(code, &[name]);
            }
        }
        std::fs::write(&file, good).unwrap();
    }
    stage.fermata("backup acme").run().code(0);
}

#[test]
fn a_damaged_checkpoint_costs_its_pages_and_no_more() {
    let stage = Stage::new().ready();
    stage.sim.reset_ledger();
    stage.fermata("backup acme").run().code(0);
    let requests = stage.sim.ledger().total.requests;
    let whole = stage.exported();
    stage.fermata("tenant remove acme --data --yes").run().code(0);
    stage.add_tenant("acme", 1);
    stage.sim.reset_ledger();
    let backup = stage.fermata("backup acme").start();
    stage.wait_for_requests(requests / 2);
    backup.kill().killed();
    let events: Vec<PathBuf> =
        stage.stored().into_keys().filter(|name| is_event(name)).map(PathBuf::from).collect();
    assert!(events.len() > 10, "{events:?}");
    // One of each kind of damage.
    let file = |at: usize| stage.at("fermata-data").join(&events[at]);
    std::fs::write(file(0), "").unwrap();
    std::fs::remove_file(file(events.len() / 2)).unwrap();
    let mut bytes = std::fs::read(file(events.len() - 1)).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(file(events.len() - 1), bytes).unwrap();

    let document = stage.fermata("backup acme --json").run().code(0).json();
    assert_eq!(document["tenants"][0]["resumed"], true);
    assert!(stage.exported() == whole);
    stage.fermata("snapshots verify acme --data").run().code(0);
}

#[test]
fn a_plan_that_is_damaged_is_said_and_can_be_dropped() {
    let stage = Stage::new().ready();
    let backup = stage.fermata("backup acme").start();
    stage.wait_for_requests(20);
    backup.kill().killed();
    let run =
        stage.fermata("runs list --json").run().code(0).json()["runs"][0]["run"].as_str().unwrap().to_owned();
    std::fs::write(largest(&stage, "plan.json"), "{").unwrap();
    stage.fermata("backup acme").run().error(1, &["plan.json is damaged"]);
    stage.fermata(&format!("runs abandon acme {run} --yes")).run().code(0);
    stage.fermata("backup acme").run().code(0);
}

fn is_event(name: &str) -> bool {
    name.contains("/runs/") && !name.contains('#') && !name.ends_with("plan.json")
}

/// The largest file of the vault whose path holds this.
fn largest(stage: &Stage, part: &str) -> PathBuf {
    let stored = stage.stored();
    let found = stored.iter().filter(|(name, _)| name.contains(part)).max_by_key(|(_, bytes)| bytes.len());
    let (name, _) = found.unwrap_or_else(|| panic!("nothing in the vault has {part} in its name"));
    stage.at("fermata-data").join(name)
}
