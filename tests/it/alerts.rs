//! The alerts, their pages, and the picture in Grafana: against promtool, against each other, and against what real
//! processes show.

#![expect(clippy::unwrap_used, reason = "these are helpers of tests, where a panic is the message")]

mod papers;
mod promtool;
mod recorded;
mod series;

use papers::Papers;
use promtool::Promtool;
use serde_json::{Value, json};

use crate::stage::Stage;

/// The first alert of the file, which is spoiled to see that it is seen.
const FIRST: &str = "FermataBackupsOverdue";

#[test]
fn rules_and_their_scenarios_hold() {
    let promtool = Promtool::with(&Papers::read());
    promtool.check().unwrap();
    promtool.test().unwrap();
}

#[test]
fn each_alert_has_a_near_miss() {
    is_seen("always fires", |rule| {
        rule["expr"] = json!("vector(1)");
        rule.as_object_mut().unwrap().remove("for");
        true
    });
}

#[test]
fn each_alert_fires_in_a_scenario() {
    is_seen("never fires", |rule| {
        rule["expr"] = json!("vector(0) > 1");
        true
    });
}

#[test]
fn each_alert_that_waits_does_not_fire_before() {
    is_seen("does not wait", |rule| rule.as_object_mut().unwrap().remove("for").is_some());
}

#[test]
fn each_condition_is_needed() {
    for place in 1..=3 {
        is_seen(&format!("lacks condition {place}"), |rule| without_condition(rule, place));
    }
}

/// Spoils rules, those of which it says so, and has promtool name each of them.
fn is_seen(what: &str, spoil: impl Fn(&mut Value) -> bool) {
    let mut papers = Papers::read();
    let spoilt = papers.rules_mut().filter_map(|rule| {
        let name = rule["alert"].as_str().unwrap().to_owned();
        spoil(rule).then_some(name)
    });
    let spoilt: Vec<_> = spoilt.collect();
    assert!(!spoilt.is_empty(), "{what}");
    let said = Promtool::with(&papers).test().expect_err("every scenario was passed");
    let unseen = spoilt.iter().filter(|name| !said.contains(&format!("{name}\"")));
    crate::assert_none(
        &unseen.map(|name| format!("no scenario sees that {name} {what}")).collect::<Vec<_>>(),
    );
}

/// Takes a line that begins with `and`, `or` or `unless` out of an expression, if it has so many.
fn without_condition(rule: &mut Value, place: usize) -> bool {
    let lines: Vec<_> = rule["expr"].as_str().unwrap().lines().map(str::to_owned).collect();
    let is_condition = |line: &&String| ["and ", "or ", "unless "].iter().any(|word| line.starts_with(word));
    let Some(condition) = lines.iter().filter(is_condition).nth(place - 1) else { return false };
    let rest: Vec<_> = lines.iter().filter(|line| *line != condition).map(String::as_str).collect();
    rule["expr"] = json!(rest.join("\n"));
    true
}

#[test]
fn alerts_pages_and_the_table_name_each_other() {
    let papers = Papers::read();
    assert!(papers.rules().count() > 15);
    crate::assert_none(&papers.problems());
    let broken = |what: &str, spoil: &dyn Fn(&mut Papers)| {
        let mut papers = Papers::read();
        spoil(&mut papers);
        let problems = papers.problems();
        assert!(problems.iter().any(|problem| problem.contains(what)), "not {what:?} but {problems:?}");
    };
    let first = |papers: &mut Papers, spoil: &dyn Fn(&mut Value)| spoil(papers.rules_mut().next().unwrap());
    broken("has no summary", &|papers| first(papers, &|rule| rule["annotations"]["summary"] = json!("")));
    broken("has no description", &|papers| {
        first(papers, &|rule| drop(rule["annotations"]["description"].take()));
    });
    broken("severity", &|papers| first(papers, &|rule| rule["labels"]["severity"] = json!("critical")));
    broken("its page is not", &|papers| {
        first(papers, &|rule| rule["annotations"]["runbook_url"] = json!("https://example.com/a.md"));
    });
    broken("no page", &|papers| drop(papers.pages.remove(FIRST)));
    broken("no alert", &|papers| drop(papers.pages.insert("FermataNothing".to_owned(), String::new())));
    broken("its title", &|papers| papers.spoil_page(FIRST, "# Fermata", "# fermata"));
    broken("its severity", &|papers| papers.spoil_page(FIRST, "**page**", "**ticket**"));
    broken("What it means, How bad it is", &|papers| papers.spoil_page(FIRST, "## Do\n", "## Then\n"));
    broken("no command", &|papers| papers.spoil_page(FIRST, "$ fermata", "$ formato"));
    broken("where to give", &|papers| papers.spoil_page(FIRST, "(README.md#where", "(README.md"));
    broken("has no row", &|papers| papers.fleet = papers.fleet.replace("runbooks/FermataNoWorker.md", ""));
    broken("two panels", &|papers| papers.picture["panels"][2]["id"] = json!(1));
    broken("one over the other", &|papers| papers.picture["panels"][2]["gridPos"]["x"] = json!(0));
    broken("its datasource", &|papers| papers.picture["panels"][2]["datasource"]["uid"] = json!("abc"));
    broken("is not told apart by namespace", &|papers| {
        papers.picture["panels"][2]["targets"][0]["expr"] = json!("max(fermata_workers)");
    });
}

#[test]
fn grafana_asks_what_prometheus_understands() {
    let papers = Papers::read();
    promtool::parse(&papers.asked()).unwrap();
    let mut asked = papers.asked();
    asked[3].push(')');
    assert!(promtool::parse(&asked).unwrap_err().contains("parse error"));
}

#[test]
fn commands_on_the_pages_are_commands() {
    let stage = Stage::new();
    stage.fermata("init").run().code(0);
    let check = |line: &str| {
        let script = format!("{line} --check-config --redis redis://localhost:6379");
        stage.shell(&script).run()
    };
    let commands = Papers::read().commands();
    assert!(commands.len() > 15, "{commands:?}");
    for line in &commands {
        check(line).code(0);
    }
    check("fermata queue statu").code(2);
}
