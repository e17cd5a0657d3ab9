//! Exports as another program reads them: a real DuckDB, which knows nothing of ours.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempo_sim::{Mutation, Op};

use crate::stage::Stage;

/// Asks each line of stdin, and answers with a line of JSON: the list of its rows.
const ASK: &str = "
import json, sys, duckdb
for line in sys.stdin:
    print(json.dumps(duckdb.sql(json.loads(line)).fetchall()))
";
/// What a CSV file could trip over.
const AWKWARD: &str = "\"q\", 'a';\r\n\n\\n größer 日本語 😀 =1+1 null";

/// Three snapshots of a site: as it was; after a worklog went, one changed, and one lost its description; the same again.
/// All but the first are deltas. There are no programs.
struct Exported {
    stage: Stage,
    changed: u64,
    deleted: u64,
    bare: u64,
}

impl Exported {
    fn new() -> Self {
        let stage = Stage::new().ready();
        stage.sim.mutate(1, &[Mutation::new(Op::Delete).entity("programs").count(2)]).unwrap();
        stage.fermata("backup acme").run().code(0);
        let shown =
            stage.fermata("snapshots show acme --entity worklogs --limit 3 --json").run().code(0).json();
        let [changed, deleted, bare] =
            [0, 1, 2].map(|at| shown["records"][at]["tempoWorklogId"].as_u64().unwrap());
        let ops = [
            Mutation::new(Op::Update).id(changed).set("description", AWKWARD),
            Mutation::new(Op::Update).id(bare).set("description", Value::Null),
            Mutation::new(Op::Delete).id(deleted),
        ];
        stage.sim.mutate(1, &ops).unwrap();
        stage.fermata("backup acme").run().code(0);
        stage.sim.mutate(1, &[Mutation::new(Op::Touch).count(20)]).unwrap();
        stage.fermata("backup acme").run().code(0);
        Self { stage, changed, deleted, bare }
    }

    fn export(&self, snapshot: &str, format: &str) {
        let out = format!("{snapshot}-{format}");
        let line = format!("export acme --snapshot {snapshot} --format {format} --out {out}");
        self.stage.fermata(&line).run().code(0);
    }

    fn snapshots(&self) -> Vec<String> {
        let list = self.stage.fermata("snapshots list acme --json").run().code(0).json();
        let all = list["snapshots"].as_array().unwrap();
        all.iter().map(|row| row["snapshot"].as_str().unwrap().to_owned()).collect()
    }

    /// The rows that each question to DuckDB comes to.
    fn ask(&self, questions: &[String]) -> Vec<Value> {
        let lines: String = questions.iter().map(|sql| json!(sql).to_string() + "\n").collect();
        self.stage.write("questions", lines);
        let questions = std::fs::File::open(self.stage.at("questions")).unwrap();
        let mut duckdb = Command::new(python());
        duckdb.args(["-c", ASK]).current_dir(self.stage.path()).stdin(questions);
        let output = duckdb.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout)
            .unwrap()
            .lines()
            .map(|rows| serde_json::from_str(rows).unwrap())
            .collect()
    }

    fn ask_one(&self, question: String) -> Value {
        self.ask(&[question]).remove(0)
    }
}

fn python() -> PathBuf {
    let python = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("duckdb/bin/python");
    assert!(python.exists(), "DuckDB is not there: ./test puts it into {}", python.display());
    python
}

/// A CSV file of an export, every value as text.
fn csv(snapshot: &str, entity: &str) -> String {
    let options =
        r#"header = true, all_varchar = true, delim = ',', quote = '"', escape = '"', strict_mode = true"#;
    format!("read_csv('{snapshot}-csv/{entity}.csv', {options})")
}

#[test]
fn every_table_holds_the_view_of_its_snapshot() {
    let exported = Exported::new();
    for snapshot in exported.snapshots() {
        for format in ["ndjson", "csv", "parquet"] {
            exported.export(&snapshot, format);
        }
        let manifest = exported
            .stage
            .fermata(&format!("snapshots show acme --snapshot {snapshot} --json"))
            .run()
            .code(0)
            .json();
        let held: BTreeMap<String, u64> = manifest["entities"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| (entry["entity"].as_str().unwrap().to_owned(), entry["records"].as_u64().unwrap()))
            .collect();
        assert!(held.len() > 40, "{held:?}");
        let counts = held.iter().map(|(entity, records)| {
            // A CSV file without a record has no header, so there is nothing to read.
            let csv = if *records == 0 { "(SELECT 1 WHERE false)".to_owned() } else { csv(&snapshot, entity) };
            format!(
                "SELECT (SELECT count(*) FROM '{snapshot}-parquet/{entity}.parquet'), (SELECT count(*) FROM {csv}), \
                 (SELECT count(*) FROM read_ndjson_objects('{snapshot}-ndjson/{entity}.ndjson'))"
            )
        });
        let counts = exported.ask(&counts.collect::<Vec<_>>());
        for ((entity, records), counts) in held.iter().zip(counts) {
            assert_eq!(counts, json!([[records, records, records]]), "{snapshot} {entity}");
        }
        // To the value, in the order of the view, read by the three readers.
        let columns = |from: &str| format!("SELECT row_number() OVER () AS at, {from}");
        let parquet = columns(&format!(
            "tempoWorklogId::VARCHAR AS id, description, \"author.accountId\" AS author, startDate::VARCHAR AS day \
             FROM '{snapshot}-parquet/worklogs.parquet'"
        ));
        let csv = columns(&format!(
            "tempoWorklogId AS id, description, \"author.accountId\" AS author, startDate AS day FROM {}",
            csv(&snapshot, "worklogs")
        ));
        let ndjson = columns(&format!(
            "json->>'tempoWorklogId' AS id, json->>'description' AS description, json->>'$.author.accountId' AS author, \
             json->>'startDate' AS day FROM read_ndjson_objects('{snapshot}-ndjson/worklogs.ndjson')"
        ));
        for (one, other) in [(&parquet, &ndjson), (&ndjson, &parquet), (&csv, &ndjson), (&ndjson, &csv)] {
            let rows = exported.ask_one(format!("({one}) EXCEPT ({other})"));
            assert_eq!(rows, json!([]), "{snapshot}: {one} EXCEPT {other}");
        }
    }
}

#[test]
fn columns_have_types_and_awkward_values_come_through() {
    let exported = Exported::new();
    for format in ["parquet", "csv"] {
        exported.export("latest", format);
    }
    let types = |entity: &str| -> BTreeMap<String, String> {
        let rows = exported.ask_one(format!("DESCRIBE SELECT * FROM 'latest-parquet/{entity}.parquet'"));
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        rows.as_array().unwrap().iter().map(|row| (text(&row[0]), text(&row[1]))).collect()
    };
    for (entity, column, expect) in [
        ("worklogs", "tempoWorklogId", "BIGINT"),
        ("worklogs", "issue.id", "BIGINT"),
        ("worklogs", "startDate", "DATE"),
        ("worklogs", "updatedAt", "TIMESTAMP WITH TIME ZONE"),
        ("worklogs", "startTime", "VARCHAR"),
        ("worklogs", "description", "VARCHAR"),
        ("worklogs", "attributes.values", "VARCHAR"),
        ("team-links", "_parent.team", "BIGINT"),
        ("teams", "administrative", "BOOLEAN"),
        ("project-expenses", "amount.value", "DOUBLE"),
    ] {
        let types = types(entity);
        assert_eq!(types.get(column).map(String::as_str), Some(expect), "{entity} {column}: {types:#?}");
    }
    let Exported { changed, deleted, bare, .. } = exported;
    let awkward = json!([[AWKWARD]]);
    for table in ["'latest-parquet/worklogs.parquet'".to_owned(), csv("latest", "worklogs")] {
        let description = |id: u64| {
            exported.ask_one(format!("SELECT description FROM {table} WHERE tempoWorklogId = {id}"))
        };
        assert_eq!(description(changed), awkward, "{table}");
        assert_eq!(description(bare), json!([[null]]), "{table}");
        assert_eq!(description(deleted), json!([]), "{table}");
    }
    // JSON text is JSON, and the types are what questions need.
    let keys = exported.ask_one(
        "SELECT DISTINCT v->>'key' AS key FROM (SELECT unnest(from_json(\"attributes.values\", '[\"JSON\"]')) AS v \
         FROM 'latest-parquet/worklogs.parquet') ORDER BY key"
            .to_owned(),
    );
    assert!(keys.as_array().is_some_and(|keys| keys.contains(&json!(["_Account_"]))), "{keys}");
    let hours = exported.ask_one(
        "SELECT count(*) > 0, bool_and(hours > 0) FROM (SELECT date_trunc('month', startDate), sum(timeSpentSeconds) / 3600 \
         AS hours FROM 'latest-parquet/worklogs.parquet' GROUP BY 1)"
            .to_owned(),
    );
    assert_eq!(hours, json!([[true, true]]));
    assert_eq!(exported.stage.files("latest-csv")["programs.csv"], b"");
    let programs = exported.ask_one("SELECT count(*) FROM 'latest-parquet/programs.parquet'".to_owned());
    assert_eq!(programs, json!([[0]]));
}
