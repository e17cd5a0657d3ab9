use super::*;

/// The columns of some records, and each record laid out in them.
fn lay_out(records: &[&str]) -> Result<(Vec<String>, Vec<String>), Flaw> {
    let mut shape = Shape::default();
    for record in records {
        shape.learn(record)?;
    }
    let mut columns = shape.columns();
    let names = columns.list().iter().map(|column| column.name.clone()).collect();
    let rows = records.iter().map(|record| {
        let cells = columns.read(record)?.map(|(_, cell)| cell.unwrap_or("-"));
        Ok(cells.collect::<Vec<_>>().join(" | "))
    });
    Ok((names, rows.collect::<Result<_, Flaw>>()?))
}

fn check(records: &[&str], names: &[&str], rows: &[&str]) {
    let (found_names, found_rows) = lay_out(records).unwrap();
    assert_eq!(found_names, names, "{records:?}");
    assert_eq!(found_rows, rows, "{records:?}");
}

#[test]
fn objects_become_dotted_columns_in_the_order_first_seen() {
    check(
        &[
            r#"{"_parent":{"team":3},"id":1,"issue":{"id":7},"x":0.10}"#,
            r#"{"id":2,"new":true,"issue":{"self":"s","id":8}}"#,
            r#" {"issue" : null , "id":null} "#,
        ],
        &["_parent.team", "id", "issue.id", "issue.self", "x", "new"],
        &["3 | 1 | 7 | - | 0.10 | -", r#"- | 2 | 8 | "s" | - | true"#, "- | - | - | - | - | -"],
    );
}

#[test]
fn what_cannot_be_spread_stays_json() {
    let kind_of = |records: &[&str], name: &str| {
        let mut shape = Shape::default();
        for record in records {
            shape.learn(record).unwrap();
        }
        shape.columns().list().iter().find(|column| column.name == name).unwrap().kind
    };
    check(
        &[r#"{"a":[1, 2],"b":{"x":1},"c":{}}"#, r#"{"a":null,"b":"text","c":{ }}"#],
        &["a", "b", "c"],
        &[r#"[1, 2] | {"x":1} | {}"#, r#"- | "text" | { }"#],
    );
    assert_eq!(kind_of(&[r#"{"b":{"x":1}}"#, r#"{"b":"text"}"#], "b"), Kind::Json);
    assert_eq!(kind_of(&[r#"{"b":{"x":1}}"#, r#"{"b":[]}"#, r#"{"b":{"y":1}}"#], "b"), Kind::Json);
    // An object that has a member somewhere is no value of its own.
    check(&[r#"{"a":{}}"#, r#"{"a":{"x":1}}"#], &["a.x"], &["-", "1"]);
}

#[test]
fn names_that_meet_are_told_apart() {
    check(
        &[r#"{"a":{"b":1},"a.b":2,"a.b_2":3,"":4,"_":5,"é":6,"A.B":7}"#],
        &["a.b", "a.b_2", "a.b_2_2", "_", "__2", "é", "A.B"],
        &["1 | 2 | 3 | 4 | 5 | 6 | 7"],
    );
    check(&[r#"{"":{"":1}}"#], &["_._"], &["1"]);
    // The same name, spelt in two ways.
    check(&[r#"{"ab":1}"#, r#"{"a\u0062":2}"#], &["ab"], &["1", "2"]);
}

#[test]
fn of_two_members_with_one_name_the_last_counts() {
    check(
        &[r#"{"a":1,"b":2,"a":3}"#, r#"{"a":1,"a":null}"#, r#"{"a":5}"#],
        &["a", "b"],
        &["3 | 2", "- | -", "5 | -"],
    );
    check(
        &[r#"{"a":{"x":1,"y":2},"a":{"y":3}}"#, r#"{"a":{"x":1,"x":2},"a":null}"#],
        &["a.x", "a.y"],
        &["- | 3", "- | -"],
    );
}

#[test]
fn records_that_are_no_objects_are_one_column() {
    check(&["1", " \"x\" ", "null"], &["_record"], &["1", "\"x\"", "-"]);
    check(&["[1]", r#"{"a":1}"#], &["_record"], &["[1]", r#"{"a":1}"#]);
    check(&["{}"], &["_record"], &["{}"]);
    check(&["null", r#"{"a":1}"#], &["a"], &["-", "1"]);
}

#[test]
fn deep_and_wide_records_are_bounded() {
    let deep = |depth: usize| format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
    let (names, rows) = lay_out(&[&deep(DEPTH_MAX)]).unwrap();
    assert_eq!((names[0].as_str(), rows[0].as_str()), ([["a"; DEPTH_MAX].join(".").as_str(), "1"].into()));
    let (names, rows) = lay_out(&[&deep(100_000)]).unwrap();
    assert_eq!((names.len(), rows[0].as_str()), (1, deep(100_000 - DEPTH_MAX).as_str()));

    // A map by id: its keys are data.
    let map: Vec<_> =
        (0..20_000).map(|id| format!(r#"{{"id":{id},"rates":{{"k{id}":{{"x":1,"y":2}}}}}}"#)).collect();
    let map: Vec<_> = map.iter().map(String::as_str).collect();
    let (names, rows) = lay_out(&map).unwrap();
    assert_eq!(names, ["id", "rates"]);
    assert_eq!(rows[7], r#"7 | {"k7":{"x":1,"y":2}}"#);

    let wide: Vec<_> = (0..=COLUMNS_MAX).map(|column| format!("\"c{column}\":1")).collect();
    assert!(matches!(lay_out(&[&format!("{{{}}}", wide.join(","))]), Err(Flaw::TooWide)));
    assert_eq!(lay_out(&[&format!("{{{}}}", wide[1..].join(","))]).unwrap().0.len(), COLUMNS_MAX);
}

#[test]
fn what_is_not_json_is_refused() {
    for bad in ["", "{", r#"{"a":1}x"#, r#"{"a":01}"#, r#"{"a":{"b":}}"#, r#"{"a":"\x"}"#, "nul", "1 2"] {
        assert!(matches!(lay_out(&[bad]), Err(Flaw::NotJson(_))), "{bad}");
        assert!(matches!(lay_out(&["[]", r#"{"a":1}"#, bad]), Err(Flaw::NotJson(_))), "{bad}");
    }
}

#[test]
fn a_second_pass_over_other_records_is_noticed() {
    let mut shape = Shape::default();
    shape.learn(r#"{"a":{"b":1}}"#).unwrap();
    let mut columns = shape.columns();
    for other in [r#"{"a":{"c":1}}"#, r#"{"x":1}"#, r#"{"a":1}"#] {
        assert!(matches!(columns.read(other).map(drop), Err(Flaw::Changed)), "{other}");
    }
}
