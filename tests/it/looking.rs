//! `fermata snapshots diff` and `snapshots show --entity`, as an administrator gives them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use serde_json::{Value, json};
use tempo_sim::{Family, Mutation, Op, TokenSpec};

use crate::documents::shape_of;
use crate::stage::{Stage, TENANT};

/// Two snapshots, between which a worklog came, one changed and one went.
struct Change {
    stage: Stage,
    changed: u64,
    deleted: u64,
}

impl Change {
    fn new() -> Self {
        let stage = Stage::new().ready();
        stage.fermata("backup acme").run().code(0);
        let shown =
            stage.fermata("snapshots show acme --entity worklogs --limit 2 --json").run().code(0).json();
        let [changed, deleted] = [0, 1].map(|at| shown["records"][at]["tempoWorklogId"].as_u64().unwrap());
        let text = "im Büro, \"leise\"\u{1b}[2J";
        let ops = [
            Mutation::new(Op::Update).id(changed).set("description", text).set("timeSpentSeconds", 77),
            Mutation::new(Op::Delete).id(deleted),
            Mutation::new(Op::Insert),
        ];
        stage.sim.mutate(1, &ops).unwrap();
        stage.fermata("backup acme").run().code(0);
        Self { stage, changed, deleted }
    }

    fn say(&self, line: &str) -> String {
        self.stage.fermata(line).run().code(0).stdout
    }
}

#[test]
fn what_differs_is_shown_with_its_fields() {
    let change = Change::new();
    let said = change.say("snapshots diff acme --entity worklogs --entity teams");
    let expect = [
        "worklogs: 1 added, 1 changed, 1 deleted\n".to_owned(),
        format!("\n  - tempoWorklogId={}\n      issue.id: ", change.deleted),
        format!("\n  ~ tempoWorklogId={}\n      timeSpentSeconds: ", change.changed),
        " -> 77\n".to_owned(),
        r#" -> "im Büro, \"leise\"\u001b[2"#.to_owned(),
        "\n  + tempoWorklogId=".to_owned(),
        "\nthe same: 1 other entity\n".to_owned(),
    ];
    for words in expect {
        assert!(said.contains(&words), "no {words:?} in {said}");
    }
    assert!(!said.contains('\u{1b}'), "{said:?}");
    assert_eq!(said.lines().find(|line| line.chars().count() > 80), None);

    let shown = change.say("snapshots diff acme --entity worklogs --limit 1");
    assert!(shown.contains("\n  - ") && shown.contains("and 2 more") && !shown.contains("\n  ~ "), "{shown}");
    let [back, none] = ["latest previous", "latest"]
        .map(|of| change.say(&format!("snapshots diff acme {of} --entity worklogs")));
    assert!(back.contains(&format!("\n  + tempoWorklogId={}\n", change.deleted)), "{back}");
    assert!(none.contains("Nothing differs"), "{none}");
    let first =
        change.say("snapshots list acme").lines().nth(1).unwrap().split(' ').next().unwrap().to_owned();
    assert_eq!(change.say(&format!("snapshots diff acme {first} --entity worklogs --entity teams")), said);
}

#[test]
fn what_differs_as_a_document() {
    let change = Change::new();
    let document = change.stage.fermata("snapshots diff acme --json").run().code(0).json();
    let of = |name: &str| {
        let all = document["entities"].as_array().unwrap();
        all.iter().find(|entity| entity["entity"] == name).unwrap().clone()
    };
    assert_eq!(document["entities"].as_array().unwrap().len(), fermata_core::catalogue::ENTITIES.len());
    let worklogs = of("worklogs");
    let shape = json!({
        "entity": "text", "status": "text", "added": "number", "changed": "number", "deleted": "number",
        "reason": "null", "suspect": "null", "records": [{"change": "text", "record": "object", "fields?": [
            {"field": "text", "old": "number or text", "new": "number or text"},
        ]}],
    });
    let mut found = shape_of(&worklogs);
    found["records"][0]["record"] = "object".into();
    assert_eq!(found, shape);
    let records = worklogs["records"].as_array().unwrap();
    let ids: Vec<_> =
        records.iter().map(|record| (&record["change"], &record["record"]["tempoWorklogId"])).collect();
    assert_eq!(
        ids[..2],
        [(&json!("deleted"), &json!(change.deleted)), (&json!("changed"), &json!(change.changed))]
    );
    assert!(
        records[1]["fields"]
            .as_array()
            .unwrap()
            .iter()
            .any(|field| field["field"] == "timeSpentSeconds" && field["new"] == 77)
    );
    assert_eq!(records[1]["record"]["description"], "im Büro, \"leise\"\u{1b}[2J");
    let same = json!({
        "entity": "teams", "status": "same", "added": 0, "changed": 0, "deleted": 0, "reason": null, "suspect": null,
        "records": [],
    });
    assert_eq!(of("teams"), same);
    assert_eq!((&of("audit-events")["added"], &of("audit-events")["deleted"]), (&json!(3), &json!(0)));
}

#[test]
fn the_workers_key_alone_shows_counts() {
    let stage = Stage::new();
    let spare =
        stage.fermata("init --store spare --json").env("FERMATA_KEY_FILE", "offline.key").run().code(0);
    let recipient = spare.json()["recipients"][0].as_str().unwrap().to_owned();
    stage.fermata("init").env("FERMATA_RECIPIENTS", &recipient).run().code(0);
    stage.add_tenant(TENANT, 1);
    stage.fermata("backup acme").run().code(0);
    stage.sim.mutate(1, &[Mutation::new(Op::Touch).count(2)]).unwrap();
    stage.fermata("backup acme").run().code(0);
    let said = stage.fermata("snapshots diff acme").run().code(0).stdout;
    assert!(said.contains("worklogs: 2 changed\n") && said.contains(&recipient), "{said}");
    assert!(!said.contains("tempoWorklogId"), "{said}");
    let document = stage.fermata("snapshots diff acme --entity worklogs --json").run().code(0).json();
    let worklogs = &document["entities"][0];
    assert_eq!((&worklogs["changed"], &worklogs["records"]), (&json!(2), &Value::Null));
    assert!(worklogs["reason"].as_str().unwrap().contains(&recipient), "{worklogs}");
    stage
        .fermata("snapshots show acme --entity worklogs")
        .run()
        .error(2, &["reading records needs the key", &recipient]);
    let offline =
        stage.fermata("snapshots diff acme").env("FERMATA_KEY_FILE", "offline.key").run().code(0).stdout;
    assert_eq!(offline.matches("\n  ~ tempoWorklogId=").count(), 2, "{offline}");
}

#[test]
fn what_a_snapshot_lacks_is_not_compared() {
    let stage = Stage::new().ready();
    stage.fermata("snapshots diff acme").run().error(2, &["no snapshot before the latest"]);
    stage.fermata("backup acme").run().code(0);
    let list = stage.fermata("snapshots list acme --json").run().code(0).json();
    let first = list["snapshots"][0]["snapshot"].as_str().unwrap().to_owned();
    // On purpose is no gap, unless it is asked for.
    stage.fermata("backup acme --entity teams").run().code(0);
    let said = stage.fermata("snapshots diff acme").run().code(0).stdout;
    assert!(
        said.matches("NOT COMPARED:\n").count() == 1 && said.contains("leaves it out (not asked for)"),
        "{said}"
    );
    stage.fermata("snapshots diff acme --entity worklogs").run().code(3);
    stage.fermata("snapshots diff acme --entity nope").run().error(2, &["there is no entity \"nope\""]);
    let mut spec = TokenSpec::full(1);
    spec.deny = [Family::Audit].into();
    stage.sim.restrict_token(spec);
    stage.fermata("backup acme").run().code(3);
    let said = stage.fermata(&format!("snapshots diff acme {first} latest")).run().code(3).stdout;
    assert!(said.contains("NOT COMPARED:\n      audit-events\n  20") && said.contains("403"), "{said}");
    let document = stage
        .fermata(&format!("snapshots diff acme {first} --json --entity audit-events"))
        .run()
        .code(3)
        .json();
    let events = &document["entities"][0];
    assert_eq!((&events["status"], &events["deleted"]), (&json!("not-compared"), &Value::Null));
}

#[test]
fn records_are_shown_by_what_they_say() {
    let change = Change::new();
    let stage = &change.stage;
    let id = change.changed;
    let said = change.say(&format!("snapshots show acme --entity worklogs --where tempoWorklogId={id}"));
    assert!(
        said.contains(&format!("\ntempoWorklogId:    {id}\n")) && said.contains("\ntimeSpentSeconds:  77\n"),
        "{said}"
    );
    assert!(said.contains("\ndescription:       im Büro, \"leise\" [2J\n"), "{said}");
    assert_eq!(said.lines().find(|line| line.chars().count() > 80), None);
    let before = change.say(&format!(
        "snapshots show acme --snapshot previous --entity worklogs --where tempoWorklogId={}",
        change.deleted
    ));
    assert!(before.contains(&change.deleted.to_string()), "{before}");
    let none = stage
        .fermata(&format!("snapshots show acme --entity worklogs --where tempoWorklogId={}", change.deleted));
    let none = none.run().code(0);
    assert!(none.stdout.is_empty() && none.stderr.contains("None of 1,000 records is so."), "{none:?}");

    let line =
        "snapshots show acme --entity team-links --where _parent.team=3 --where scope.type=PROJECT --json";
    let document = stage.fermata(line).run().code(0).json();
    let exported = stage.exported();
    let expect: Vec<Value> =
        exported["team-links"].iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let expect: Vec<_> = expect
        .iter()
        .filter(|record| record["_parent"]["team"] == 3 && record["scope"]["type"] == "PROJECT")
        .collect();
    let mut found: Vec<_> = document["records"].as_array().unwrap().iter().collect();
    found.sort_by_key(|record| record["id"].as_u64());
    assert!(!expect.is_empty());
    assert_eq!((found, &document["more"]), (expect, &json!(false)));
    let document =
        stage.fermata("snapshots show acme --entity worklogs --limit 3 --json").run().code(0).json();
    assert_eq!((document["records"].as_array().unwrap().len(), &document["more"]), (3, &json!(true)));
    let none = stage
        .fermata("snapshots show acme --entity worklogs --where tempoWorklogId=0 --json")
        .run()
        .code(0)
        .json();
    assert_eq!(
        (&none["records"], &none["more"], &none["entity"]),
        (&json!([]), &json!(false), &json!("worklogs"))
    );

    for (line, words) in [
        ("--entity nope", "there is no entity \"nope\""),
        ("--entity worklogs --where author=x", "no record has a field \"author\"; there are "),
        ("--entity worklogs --where author", "one looks like author.accountId=5b10a"),
        ("--where a=b", "--entity"),
    ] {
        let said = stage.fermata(&format!("snapshots show acme {line}")).run().error(2, &[words]);
        assert_eq!(said.stdout, "", "{line}");
    }
    let shown = change.say("snapshots show acme");
    let row = shown.lines().find(|line| line.starts_with("worklogs ")).unwrap();
    assert!(row.contains(" changes ") && row.contains("builds on 20"), "{row}");
}
