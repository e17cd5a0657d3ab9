//! Every served operation against the official specification.

use std::path::Path;

use jsonschema::{Draft, Validator};
use serde_json::{Map, Value, json};
use tempo_sim::{OPERATIONS, Sim};

use crate::{Site, builder};

/// The official document, if it lies beside this workspace.
fn document() -> Option<Value> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/tempo-openapi.yaml");
    let text = std::fs::read_to_string(file).ok()?;
    let mut document: Value = yaml_serde::from_str(&text).expect("the specification is YAML");
    strict(&mut document);
    Some(document)
}

/// Makes OpenAPI's dialect JSON Schema's, and objects refuse members that the specification does not know.
fn strict(node: &mut Value) {
    match node {
        Value::Array(items) => items.iter_mut().for_each(strict),
        Value::Object(members) => {
            for member in members.values_mut() {
                strict(member);
            }
            if members.get("nullable") == Some(&json!(true)) && members["type"].is_string() {
                members["type"] = json!([members["type"], "null"]);
            }
            let combined = members.contains_key("oneOf") || members.contains_key("allOf");
            if members.get("properties").is_some_and(Value::is_object) && !combined {
                members.entry("additionalProperties").or_insert(json!(false));
            }
            if let Some(Value::String(target)) = members.get_mut("$ref") {
                *target = target.replace(' ', "_");
            }
            if let Some(Value::Object(schemas)) = members.get_mut("schemas") {
                *schemas =
                    std::mem::take(schemas).into_iter().map(|(key, v)| (key.replace(' ', "_"), v)).collect();
            }
        }
        _ => {}
    }
}

fn validator(document: &Value, method: &str, template: &str) -> Validator {
    let answer = &document["paths"][template][method.to_lowercase()]["responses"]["200"]["content"];
    // There the document says "string", and has a schema for the object that it describes.
    let misdrawn = json!({"": {"schema": {"$ref": "#/components/schemas/PlanReviewersResult"}}});
    let answer = if template == "/4/plan-permissions/plan-reviewers" { &misdrawn } else { answer };
    let content = answer.as_object().and_then(|content| content.values().next());
    let mut schema =
        content.unwrap_or_else(|| panic!("{method} {template} has no 200 with a body"))["schema"].clone();
    schema["components"] = document["components"].clone();
    let options = jsonschema::options().with_draft(Draft::Draft4).should_validate_formats(true);
    options.build(&schema).expect("a schema")
}

/// A member of the first record of an entity that has it.
fn member(sim: &Sim, entity: &str, pointer: &str) -> String {
    let rows = sim.truth(1, entity);
    let mut found =
        rows.iter().filter_map(|row| serde_json::from_str::<Value>(row).ok()?.pointer(pointer).cloned());
    let value = found.next().unwrap_or_else(|| panic!("{entity} has a {pointer}"));
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Which entity and member a template's `{..}` stands for.
fn fill(sim: &Sim, template: &str) -> String {
    let of = |entity: &str, pointer: &str| member(sim, entity, pointer);
    let collection = template.split('/').nth(2).unwrap_or("");
    let mut path = String::new();
    for part in template.split('/').skip(1) {
        path.push('/');
        match part {
            "{accountId}" => path += &of("worklogs", "/author/accountId"),
            "{teamId}" => path += &of("teams", "/id"),
            "{accountKey}" => path += &of("accounts", "/key"),
            "{projectId}" if template.starts_with("/4/worklogs") => path += "10000",
            "{projectId}" => path += &of("projects", "/id"),
            "{issueId}" => path += &of("worklogs", "/issue/id"),
            "{schemeId}" => path += &of("holidays", "/schemeId"),
            "{holidayId}" => path += &of("holidays", "/id"),
            "{assigneeId}" => path += &of("skill-assignments", "/assigneeId"),
            "{assigneeType}" => path += "USER",
            "{resourceId}" | "{genericResourceId}" => path += &of("generic-resources", "/id"),
            "{linkId}" => path += &of("team-links", "/id"),
            "{expenseId}" => path += &of("project-expenses", "/id"),
            "{fixedRevenueId}" => path += &of("project-fixed-revenues", "/id"),
            "{portfolioId}" => path += &of("portfolios", "/id"),
            "{billingRatesTableId}" => path += "default",
            "{roleId}" => path.push('1'),
            "{reportId}" => path += &of("cost-revenue-reports", "/id"),
            "{teamMemberId}" => path += &of("project-time-approvals", "/user/id"),
            "{key}" if template.ends_with("work-attribute-values/{key}") => path += "_Account_",
            "{key}" => path += &of(collection, "/key"),
            "{id}" if template.contains("-links/project") => path += "10000",
            "{id}" if collection == "worklogs" => path += &with_account(sim),
            "{id}" if collection == "webhooks" => path += &of("webhook-subscriptions", "/id"),
            "{id}" => path += &of(collection, "/id"),
            fixed => path += fixed,
        }
    }
    path
}

/// A worklog that has an account.
fn with_account(sim: &Sim) -> String {
    let rows = sim.truth(1, "worklogs");
    let row = rows.iter().find(|row| row.contains("_Account_")).expect("a worklog with an account");
    serde_json::from_str::<Value>(row).expect("JSON")["tempoWorklogId"].to_string()
}

fn body(sim: &Sim, template: &str) -> Value {
    let worklog = || {
        sim.truth(1, "jira-worklog-ids").iter().map(|row| serde_json::from_str(row).expect("JSON")).collect()
    };
    let pairs: Vec<Value> = worklog();
    let one = |key: &str| json!([pairs[0][key], pairs[1][key]]);
    match template {
        "/4/worklogs/tempo-to-jira" | "/4/worklogs/work-attribute-values/search" => {
            json!({"tempoWorklogIds": one("tempoWorklogId")})
        }
        "/4/worklogs/jira-to-tempo" => json!({"jiraWorklogIds": one("jiraWorklogId")}),
        "/4/workload-schemes/members/search" => json!({"schemeIds": [2, 5]}),
        "/4/holiday-schemes/members/search" => json!({"schemeIds": [3, 4]}),
        "/4/papertrail/search" => json!({"from": "2025-12-01T00:00:00Z"}),
        "/4/plans/search" => {
            json!({"from": "2020-01-01", "to": "2030-01-01", "plannedTimeBreakdown": ["DAILY", "PERIOD"]})
        }
        "/4/skill-assignments/search" => {
            json!({"assignees": [{"assigneeId": member(sim, "skill-assignments", "/assigneeId"), "assigneeType": "USER"}]})
        }
        "/4/flex-plans/search" => json!({"includeUnassigned": true}),
        _ => json!({}),
    }
}

fn query(sim: &Sim, template: &str) -> String {
    if template.contains("papertrail") && !template.starts_with("/4") {
        return "?updatedFrom=2025-10-01T00:00:00Z".into();
    }
    if template.contains("global-rates") {
        return "?rateCategory=COST".into();
    }
    if template == "/4/plan-permissions/plan-reviewers" {
        return "?accountId=x".into();
    }
    let mut query =
        "?includeMemberships=true&limit=200&plannedTimeBreakdown=DAILY&from=2023-01-01&to=2026-02-28"
            .to_owned();
    if template.ends_with("labor-costs") {
        query.push_str("&teamMemberId=");
        query.push_str(&member(sim, "project-labor-actuals", "/user/id"));
    }
    query
}

fn rows_in(answer: &Value) -> usize {
    let members = [
        "results",
        "members",
        "periods",
        "milestones",
        "rates",
        "roles",
        "projectShares",
        "projectAttributes",
        "flexPlans",
    ];
    match answer {
        Value::Array(rows) => rows.len(),
        Value::Object(object) => {
            members.iter().filter_map(|key| object.get(*key)?.as_array()).map(Vec::len).max().unwrap_or(1)
        }
        _ => 0,
    }
}

/// Lists that may be empty by the choice of the sample.
const MAY_BE_EMPTY: &[&str] =
    &["/4/timesheet-approvals/waiting", "/4/projects/{projectId}/budget-milestones"];

#[tokio::test]
async fn every_operation_keeps_to_the_specification() {
    let Some(document) = document() else {
        crate::notice("shared/data/tempo-openapi.yaml is not beside the workspace: nothing is checked");
        return;
    };
    let site = Site::start(builder(2_000).unknown_fields(false)).await;
    let mut wrong = Map::new();
    for (method, template) in OPERATIONS {
        let path = format!("{}{}", fill(&site.sim, template), query(&site.sim, template));
        let body = (*method == "POST").then(|| body(&site.sim, template));
        let answer = site.send(&path, body.as_ref()).await;
        let (status, text) = (answer.status(), answer.text().await.expect("text"));
        let Ok(answer) = serde_json::from_str::<Value>(&text) else {
            wrong.insert((*template).into(), format!("{path}: {status} {text}").into());
            continue;
        };
        let errors: Vec<String> = validator(&document, method, template)
            .iter_errors(&answer)
            .take(3)
            .map(|error| {
                format!(
                    "{} at {}",
                    error.to_string().chars().take(300).collect::<String>(),
                    error.instance_path()
                )
            })
            .collect();
        if status != 200 || !errors.is_empty() {
            wrong.insert((*template).into(), json!([path, status.as_u16(), errors]));
        } else if rows_in(&answer) == 0 && !MAY_BE_EMPTY.contains(template) {
            wrong.insert((*template).into(), format!("{path} is empty").into());
        }
    }
    assert!(wrong.is_empty(), "{}", serde_json::to_string_pretty(&wrong).expect("JSON"));
}

#[test]
fn the_check_can_fail() {
    let Some(document) = document() else { return };
    let validator = validator(&document, "GET", "/4/roles");
    let role = json!({"self": "x", "id": 1, "name": "Member", "default": true});
    let envelope = |role: Value| json!({"self": "x", "metadata": {"count": 1}, "results": [role]});
    assert!(validator.is_valid(&envelope(role.clone())));
    for (key, value) in [("id", json!("1")), ("isDefault", json!(true)), ("name", Value::Null)] {
        let mut bent = role.clone();
        bent[key] = value;
        assert!(!validator.is_valid(&envelope(bent)), "{key}");
    }
}

#[test]
fn every_read_of_the_specification_is_served() {
    let Some(document) = document() else { return };
    let reads_by_post =
        |path: &str| path.ends_with("/search") || path.contains("-to-") || path.ends_with("for-review");
    let mut missing = Vec::new();
    for (path, operations) in document["paths"].as_object().expect("paths") {
        for method in operations.as_object().expect("operations").keys() {
            let read = method == "get" || (method == "post" && reads_by_post(path));
            if read && !OPERATIONS.iter().any(|(m, t)| m.eq_ignore_ascii_case(method) && t == path) {
                missing.push(format!("{method} {path}"));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}
