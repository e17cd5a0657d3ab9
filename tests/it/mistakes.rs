//! Mistakes of the person at the keyboard: each gets one clear line, its exit code, and leaves no trace.

use std::time::Instant;

use crate::stage::Stage;

#[test]
fn without_a_vault_every_command_says_how_to_make_one() {
    let stage = Stage::new();
    for line in
        ["tenant add acme", "tenant list", "snapshots list acme", "runs list", "export acme --out out"]
    {
        stage.fermata(line).run().error(2, &["./fermata-data: there is no vault here", "fermata init"]);
    }
    for line in ["backup acme", "token check acme"] {
        stage.fermata(line).run().error(2, &["there is no key file ./fermata.key", "fermata init"]);
    }
    stage.fermata("init").run().code(0);
    for line in ["--store elsewhere tenant list", "--store elsewhere backup acme"] {
        stage.fermata(line).run().error(2, &["elsewhere: there is no vault here", "fermata init"]);
    }
    assert!(!stage.at("elsewhere").exists() && !stage.at("out").exists());
    let before = stage.stored();
    stage.fermata("init").run().error(2, &["./fermata-data: there is a vault here already"]);
    stage.fermata("init --store ftp://host/x").run().error(2, &["ftp://host/x", "use a plain path"]);
    stage.write("file", "");
    stage.fermata("init --store file").run().error(2, &["file"]);
    assert_eq!(stage.changed_since(&before), [""; 0]);
}

#[test]
fn names_and_values_that_make_no_sense_are_named() {
    let stage = Stage::new().ready();
    let before = stage.stored();
    for (line, words) in [
        ("backup", "--all"),
        ("backup acme --all", "--all"),
        ("backup ACME", "lower-case letters"),
        ("backup ../acme", "lower-case letters"),
        ("backup nobody", "there is no tenant nobody"),
        ("backup acme --entity nope", "there is no entity \"nope\""),
        ("backup acme --from yesterday", "2026-11-24"),
        ("backup acme --from 2026-02-30", "2026-11-24"),
        ("backup acme --from 2999-01-01", "yet to come"),
        ("backup acme --frob", "--frob"),
        ("frob", "frob"),
        ("tenant add acme", "fermata tenant set acme"),
        ("tenant add a_b", "lower-case letters"),
        ("tenant set nobody --rate 5", "there is no tenant nobody"),
        ("tenant set acme --rate -1", "between 0 and 1000"),
        ("tenant set acme --rate 0", "between 0 and 1000"),
        ("tenant set acme --rate NaN", "between 0 and 1000"),
        ("tenant set acme --rate fast", "fast"),
        ("tenant set acme --base-url acme.atlassian.net", "https://api.tempo.io"),
        ("tenant set acme --base-url ftp://api.tempo.io", "https://api.tempo.io"),
        ("tenant set acme --base-url http://api.tempo.io", "plain http is for this machine alone"),
        ("tenant set acme --base-url https://api.tempo.io/4/", "without its path"),
        ("tenant set acme --schedule daily", "five fields"),
        ("tenant set acme --schedule @reboot", "--schedule: \"@reboot\" is not known; there are @hourly"),
        ("tenant set acme --weight 0", "--weight: 0 is not between 1 and 100"),
        ("tenant set acme --weight -1", "--weight: -1 is not between 1 and 100"),
        ("tenant set acme --weight 101", "--weight: 101 is not between 1 and 100"),
        ("tenant set acme --time-zone Mars/Olympus", "Europe/Berlin"),
        ("tenant set acme --keep forever", "daily=7"),
        ("tenant set acme --without nope", "there is no entity \"nope\""),
        ("tenant show nobody", "there is no tenant nobody"),
        ("tenant remove nobody --yes", "there is no tenant nobody"),
        ("token check nobody", "there is no tenant nobody"),
        ("token set acme --expires soon", "2026-11-24"),
        ("token set acme --expires 2020-01-01", "is past"),
        ("token set acme --file nowhere.txt", "nowhere.txt"),
        ("token set acme --file .", "cannot read ."),
        ("runs list nobody", "there is no tenant nobody"),
        ("runs show acme 20260301T020000Z-aaaaaa", "no unfinished run"),
        ("runs abandon acme yesterday", "20260301T020000Z-k3f9a2"),
        ("snapshots list nobody", "there is no tenant nobody"),
        ("snapshots show acme", "fermata backup acme"),
        ("snapshots verify acme --snapshot yesterday", "20260301T020000Z-k3f9a2"),
        ("snapshots show acme --snapshot 20260301T020000Z-aaaaaa", "fermata snapshots list acme"),
        ("export acme", "--out"),
        ("export acme --out out", "fermata backup acme"),
        ("export acme --out out --format xml", "ndjson, csv and parquet"),
        ("--config nowhere.toml tenant list", "nowhere.toml"),
        ("--log loud tenant list", "text, json"),
        ("completions", "SHELL"),
    ] {
        let said = stage.fermata(line).run().error(2, &[words]);
        assert_eq!(said.stdout, "", "{line}");
    }
    assert_eq!(stage.changed_since(&before), [""; 0], "nothing is stored");
    let never = stage.shell("fermata tenant set acme --schedule '0 0 30 2 *'").run();
    never.error(2, &["--schedule: \"0 0 30 2 *\" never comes"]);
    // All that is wrong with one tenant is said at once.
    let line = "tenant set acme --rate 0 --base-url x --schedule x --time-zone x --keep x --without x";
    let said = stage.fermata(line).run().code(2).stderr;
    assert_eq!(said.lines().count(), 6, "{said}");
    assert!(!stage.at("fermata-data/.nobody.lock").exists(), "not even a lock");
}

#[test]
fn every_mistake_of_the_configuration_is_said_in_one_run() {
    let stage = Stage::new().ready();
    stage.write(
        "fermata.toml",
        "store = 5\nlog_level = \"loud\"\nrecipients = \"age1x, AGE-SECRET-KEY-1\"\nkeyfile = \"x\"\n",
    );
    let ended = stage.fermata("tenant list").run().code(2);
    for words in [
        "store must be text",
        "\"keyfile\"",
        "key_file",
        "\"loud\" is none of",
        "\"age1x\" is not",
        "\"...\" is not",
    ] {
        assert!(ended.stderr.contains(words), "no {words:?} in {}", ended.stderr);
    }
    assert_eq!(ended.stderr.lines().count(), 5, "{}", ended.stderr);
    assert!(!ended.stderr.contains("AGE-SECRET-KEY"), "{}", ended.stderr);
    stage.write("fermata.toml", "store = \"elsewhere\nkey_file = 3");
    stage.fermata("tenant list").run().error(2, &["fermata.toml line 1"]);
    // Flags come before variables, those before the file.
    stage.write("fermata.toml", "store = \"elsewhere\"\n");
    stage.fermata("tenant list").run().error(2, &["elsewhere: there is no vault"]);
    let there = stage.at("fermata-data");
    let call = stage.fermata("tenant list").env("FERMATA_STORE", there.to_str().unwrap_or_default());
    assert!(call.run().code(0).stdout.contains("acme"));
    let url = format!("--store file://{} tenant list", there.display());
    assert!(stage.fermata(&url).env("FERMATA_STORE", "nowhere").run().code(0).stdout.contains("acme"));
    stage.fermata("--config fermata.key tenant list").run().code(2);
}

#[test]
fn what_is_no_token_is_not_taken() {
    let stage = Stage::new();
    stage.fermata("init").run().code(0);
    stage.fermata(&format!("tenant add acme --base-url {}", stage.sim.base_url())).run().code(0);
    stage.fermata("backup acme").run().error(2, &["acme has no token", "fermata token set acme"]);
    let before = stage.stored();
    stage.fermata("token check acme").run().error(2, &["acme has no token", "fermata token set acme"]);
    for (bytes, words) in [
        (Vec::new(), "it is empty"),
        (b" \n\n".to_vec(), "it is empty"),
        (vec![b'x'; 1 << 20], "longer than any token"),
        (vec![0, 159, 146, 150, 255], "characters that no token has"),
        (b"two words".to_vec(), "white space"),
        (b"line\nline".to_vec(), "white space"),
        ("t\u{f6}ken".as_bytes().to_vec(), "characters that no token has"),
    ] {
        stage.fermata("token set acme").stdin(bytes).run().error(2, &["this is no token", words]);
    }
    assert_eq!(stage.sim.ledger().total.requests, 0, "Tempo is not asked with what is no token");
    stage
        .set_token("acme", "not-a-token-of-this-tempo")
        .error(4, &["the token was not stored", "HTTP 401", "--base-url"]);
    stage.fermata("token set nobody").stdin("x").run().error(2, &["there is no tenant nobody"]);
    assert_eq!(stage.changed_since(&before), [""; 0]);
}

#[test]
fn a_refused_token_is_asked_nothing_and_a_new_one_goes_on() {
    let stage = Stage::new().ready();
    // It expires in the middle of a backup.
    let mut spec = tempo_sim::TokenSpec::full(1);
    spec.expired = true;
    let backup = stage.fermata("backup acme").start();
    stage.wait_for_requests(40);
    stage.sim.restrict_token(spec);
    backup.wait().error(4, &["Tempo refuses the token of tenant acme", "fermata token set acme"]);
    let asked = stage.sim.ledger().total.requests;
    for _ in 0..2 {
        stage.fermata("backup acme").run().error(4, &["Tempo refuses the token", "fermata token set acme"]);
    }
    assert_eq!(stage.sim.ledger().total.requests, asked, "nothing more is asked with it");
    assert!(stage.fermata("tenant list").run().code(0).stdout.contains("refused by Tempo"));
    stage.set_token("acme", &stage.sim.token(1)).error(4, &["the token was not stored"]);

    let mut spec = tempo_sim::TokenSpec::full(1);
    spec.token.push_str("-new");
    stage.sim.restrict_token(spec.clone());
    stage.set_token("acme", &spec.token).code(0);
    let document = stage.fermata("backup acme --json").run().code(0).json();
    assert_eq!(document["tenants"][0]["resumed"], true);
    assert_eq!(stage.exported()["worklogs"].len(), 1_000);
}

#[test]
fn a_tempo_that_is_not_there_is_said_soon() {
    let stage = Stage::new();
    stage.fermata("init").run().code(0);
    stage.fermata("tenant add acme --base-url http://127.0.0.1:9").run().code(0);
    let before = stage.stored();
    let asked = Instant::now();
    let words = ["the token was not stored", "could not connect", "base URL"];
    stage.set_token("acme", "token").error(1, &words);
    assert!(asked.elapsed().as_secs() < 10, "a person waits");
    assert_eq!(stage.changed_since(&before), [""; 0]);
    stage.fermata("token set acme --no-check").stdin("token").run().code(0);
    stage.fermata("token check acme").run().error(1, &["could not connect"]);
    let said = stage.fermata("doctor").run().code(1).stdout;
    assert!(said.contains("could not connect"), "{said}");
    // With the right address it gets there.
    let backup = stage.fermata("backup acme").start();
    while stage.fermata("runs list --json").run().code(0).json()["runs"] == serde_json::json!([]) {}
    backup.terminate().error(1, &["stopped; nothing is lost"]);
    stage.fermata(&format!("tenant set acme --rate 1000 --base-url {}", stage.sim.base_url())).run().code(0);
    stage.set_token("acme", &stage.sim.token(1)).code(0);
    stage.fermata("backup acme").run().code(0);
    assert_eq!(stage.exported()["worklogs"].len(), 1_000);
}

#[cfg(unix)]
#[test]
fn a_key_that_is_not_the_vaults_or_not_private_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let stage = Stage::new().ready();
    stage.fermata("backup acme").run().code(0);
    let before = stage.stored();
    let mode = |name: &str, mode| {
        std::fs::set_permissions(stage.at(name), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    stage.fermata("init --store other").env("FERMATA_KEY_FILE", "other.key").run().code(0);
    stage.write("junk.key", "this is no key\n");
    mode("junk.key", 0o600);
    stage.write("empty.key", "# nothing\n");
    mode("empty.key", 0o600);
    std::fs::copy(stage.at("fermata.key"), stage.at("open.key")).unwrap();
    mode("open.key", 0o644);
    for (key, words) in [
        ("other.key", ["does not open this vault", "FERMATA_KEY_FILE"]),
        ("missing.key", ["there is no key file missing.key", "bring back the copy"]),
        ("open.key", ["others may read the key file open.key (mode 644)", "chmod 600 open.key"]),
        ("junk.key", ["line 1 of the key file junk.key is not an age secret key", ""]),
        ("empty.key", ["the key file empty.key holds no key", ""]),
        (".", ["the key file . cannot be used", "directory"]),
    ] {
        for line in ["backup acme", "export acme --out out", "snapshots verify acme --data"] {
            let said = stage.fermata(line).env("FERMATA_KEY_FILE", key).run().error(2, &words);
            assert!(!said.stderr.contains("AGE-SECRET"), "{said:?}");
        }
    }
    assert!(!stage.at("out").exists() && !stage.at("missing.key").exists());
    assert_eq!(stage.changed_since(&before), [""; 0]);
    // What needs no key goes without.
    for line in
        ["tenant list", "snapshots list acme", "snapshots show acme", "snapshots verify acme", "runs list"]
    {
        stage.fermata(line).env("FERMATA_KEY_FILE", "missing.key").run().code(0);
    }
    // And `init` makes no vault for a key that it cannot read.
    stage.fermata("init --store third").env("FERMATA_KEY_FILE", "open.key").run().error(2, &["chmod 600"]);
    stage.fermata("init --store third").env("FERMATA_RECIPIENTS", "age1nonsense").run().error(2, &["age1"]);
    assert!(!stage.at("third/fermata.json").exists());
}

#[test]
fn an_export_replaces_nothing_that_it_was_not_told_to() {
    let stage = Stage::new().ready();
    stage.fermata("backup acme").run().code(0);
    stage.fermata("export acme --out out --entity teams").run().code(0);
    stage.write("out/teams.ndjson", "mine\n");
    let words = ["out/teams.ndjson is there already", "--overwrite"];
    stage.fermata("export acme --out out --entity teams").run().error(2, &words);
    assert_eq!(std::fs::read(stage.at("out/teams.ndjson")).unwrap(), b"mine\n");
    stage.fermata("export acme --out out --entity teams --overwrite").run().code(0);
    assert_eq!(std::fs::read_to_string(stage.at("out/teams.ndjson")).unwrap().lines().count(), 3);
    stage.write("file", "");
    stage.fermata("export acme --out file").run().error(2, &["file is not a folder"]);
    stage.fermata("export acme --out file/below").run().error(2, &["is not a folder"]);
    stage.fermata("export acme --out new --entity nope").run().error(2, &["there is no entity \"nope\""]);
    assert!(!stage.at("new").exists());
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let stage = Stage::new().ready();
    stage.fermata("backup acme").run().code(0);
    let commands = [
        "snapshots show acme",
        "snapshots show acme --entity worklogs --limit 1000",
        "backup acme --json",
        "completions zsh",
        "man",
        "--help",
        "tenant --help",
    ];
    for line in commands {
        let script = format!("set -o pipefail; fermata {line} | true; exit ${{PIPESTATUS[0]}}");
        let ended = stage.shell(&script).run().code(0);
        assert!(!ended.stderr.contains("panicked") && !ended.stderr.contains("error"), "{ended:?}");
    }
    if cfg!(target_os = "linux") {
        stage.shell("fermata snapshots show acme > /dev/full").run().error(1, &["No space left"]);
    }
}

#[test]
fn all_tenants_but_those_that_are_held_back() {
    let stage = Stage::of(crate::stage::site().tenants(2)).ready();
    stage.add_tenant("beta", 2);
    stage.add_tenant("held", 2);
    stage.fermata("tenant pause held").run().code(0);
    let document = stage.fermata("backup --all --json").run().code(0).json();
    let of = |document: &serde_json::Value, name: &str| {
        let mut tenants = document["tenants"].as_array().into_iter().flatten();
        tenants.find(|tenant| tenant["tenant"] == name).cloned().unwrap_or_default()
    };
    assert_eq!(document["tenants"].as_array().map(Vec::len), Some(2), "{document}");
    assert_eq!(
        (&of(&document, "acme")["status"], &of(&document, "beta")["status"]),
        (&"complete".into(), &"complete".into())
    );
    // One without a token fails, and is named; the others are backed up all the same.
    stage.fermata("tenant add bare").run().code(0);
    let ended = stage.fermata("backup --all --json").run().code(3);
    assert!(ended.stderr.contains("error: bare: tenant bare has no token"), "{}", ended.stderr);
    let document = ended.json();
    assert_eq!(
        (&of(&document, "bare")["status"], &of(&document, "beta")["status"]),
        (&"failed".into(), &"complete".into())
    );
    assert!(
        of(&document, "bare")["reason"].as_str().is_some_and(|why| why.contains("fermata token set bare"))
    );
    stage.fermata("backup held").run().error(2, &["held is paused", "fermata tenant resume held"]);
    for tenant in ["acme", "beta", "bare"] {
        stage.fermata(&format!("tenant remove {tenant} --yes")).run().code(0);
    }
    let ended = stage.fermata("backup --all").run().code(0);
    assert!(ended.stderr.contains("Every tenant is paused"), "{ended:?}");
}

#[test]
fn a_check_of_the_configuration_asks_nobody_and_says_all_that_is_wrong() {
    let stage = Stage::new().ready();
    let before = stage.stored();
    // Nobody listens at either, and the bucket is nobody's.
    let check = |line: &str| {
        stage
            .fermata(&format!("{line} --check-config"))
            .env("FERMATA_REDIS", "redis://127.0.0.1:1/0")
            .env("AWS_ACCESS_KEY_ID", "nobody")
            .env("AWS_SECRET_ACCESS_KEY", "nothing")
            .env("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    };
    for line in
        ["worker --concurrency 8", "scheduler", "dashboard", "enqueue --due", "backup --all", "reconcile"]
    {
        let said = check(line).run().code(0);
        assert_eq!(
            (said.stdout.as_str(), said.stderr.as_str()),
            ("the configuration is fine\n", ""),
            "{line}"
        );
    }
    let elsewhere = "worker --store s3://bucket/prefix --json";
    assert_eq!(check(elsewhere).run().code(0).json()["ok"], true);
    check("scheduler").env("FERMATA_KEY_FILE", "nowhere.key").run().code(0);
    stage.write("not.key", "nothing");
    for (call, words) in [
        (check("worker --store ftp://host"), &["ftp://host"][..]),
        (check("worker").env("FERMATA_KEY_FILE", "nowhere.key"), &["there is no key file nowhere.key"]),
        (check("scheduler").env("FERMATA_KEY_FILE", "not.key"), &["not.key"]),
        (check("worker").env("FERMATA_REDIS", ""), &["there is no queue"]),
        (check("worker").env("FERMATA_REDIS", "localhost"), &["\"localhost\" is no address of a Redis"]),
        (check("worker").env("FERMATA_REDDIS", "x"), &["no variable FERMATA_REDDIS", "FERMATA_REDIS"]),
        (
            check("worker").env("FERMATA_KEYFILE", "x").env("FERMATA_LOG", "loud"),
            &["FERMATA_KEYFILE", "loud"],
        ),
        (check("worker --store s3://b").env("FERMATA_KEY_FILE", "x"), &["there is no key file x"]),
        (check("worker --frob"), &["--frob"]),
        (check("worker --stop-timeout 0"), &["--stop-timeout"]),
        (check("scheduler --egress-rate 0"), &["more than 0"]),
        (check("dashboard --listen 0.0.0.0:0"), &["there is no users file", "fermata user set"]),
        (check("dashboard --users nowhere.toml"), &["nowhere.toml"]),
        (check("dashboard --data-key not.key --users nowhere.toml"), &["not.key", "nowhere.toml"]),
    ] {
        call.run().error(2, words);
    }
    assert_eq!(stage.changed_since(&before), [""; 0]);
}
