//! The chart: the same objects as Kustomize's production, every switch, and values that it refuses.

#![expect(clippy::unwrap_used, reason = "these are helpers of tests, where a panic is the message")]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::objects::{Objects, members, name, text};
use super::{NAMESPACE, render};
use crate::{assert_none, root};

pub(crate) fn folder() -> PathBuf {
    root().join("deploy/helm/fermata")
}

/// What operators set besides switches, one set of values each.
const SET: [&[&str]; 12] = [
    &[r#"image.digest="sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855""#],
    &[r#"image.pullSecrets=[{"name":"registry"}]"#],
    &[r#"extraEnv=[{"name":"OTEL_EXPORTER_OTLP_ENDPOINT","value":"https://collector.example.com:4318"}]"#],
    &[r#"serviceAccountAnnotations={"eks.amazonaws.com/role-arn":"arn:aws:iam::123456789012:role/fermata"}"#],
    &[r#"podLabels={"azure.workload.identity/use":"true"}"#],
    &[r#"egress={"name":"nat","rate":50}"#],
    &["worker.stopTimeout=60", "worker.slice=120"],
    &[r#"networkPolicy.redis.to=[{"ipBlock":{"cidr":"10.0.0.7/32"}}]"#],
    &["networkPolicy.redis.ports=[6379,26379]"],
    &[r#"monitoring.labels={"release":"kube-prometheus-stack"}"#],
    &[
        r#"nodeSelector={"kubernetes.io/os":"linux"}"#,
        r#"tolerations=[{"key":"backups","operator":"Exists"}]"#,
        r#"affinity={"nodeAffinity":{"preferredDuringSchedulingIgnoredDuringExecution":[{"weight":1,"preference":{"matchExpressions":[{"key":"size","operator":"In","values":["small"]}]}}]}}"#,
    ],
    &[r#"ingress.className="nginx""#, r#"ingress.annotations={"cert-manager.io/cluster-issuer":"example"}"#],
];
/// What a person gets wrong.
const WRONG: [&str; 13] = [
    r#"image.tag="latest""#,
    r#"image.digest="sha256:1234""#,
    "config.FERMATA_STORE=null",
    r#"config.FERMATA_REDIS="redis://redis:6379""#,
    r#"autoscaling.kind="vpa""#,
    "worker.lease=1",
    "worker.quietWait=30",
    "worker.resources.limits.memory=null",
    "networkPolicy.redis.ports=[]",
    "scheduler.replicas=0",
    "dashboard.replicas=2",
    r#"egress.name="nat""#,
    r#"ingress.host="Fermata.example.com""#,
];

/// The chart's own values; then one set for each way to turn a switch, that is what is true or false the other way, and what is
/// one of several as each of the others; then what operators set.
pub(crate) fn switches() -> Vec<Vec<String>> {
    let schema = schema();
    let turned = leaves(&values(), "").into_iter().flat_map(|(path, value)| {
        let others = match &value {
            Value::Bool(on) => vec![json!(!on)],
            value => choices(&schema, &path).into_iter().filter(|choice| choice != value).collect(),
        };
        others.into_iter().map(move |other| vec![format!("{path}={other}")])
    });
    let set = SET.iter().map(|values| values.iter().map(|value| (*value).to_owned()).collect());
    [Vec::new()].into_iter().chain(turned).chain(set).collect()
}

#[test]
fn the_chart_is_the_production_overlay() {
    let by_name = |objects: &Objects| -> BTreeMap<String, Value> {
        objects.0.iter().map(|object| (name(object), object.clone())).collect()
    };
    let mut overlay = by_name(&render::kustomize("overlays/prod"));
    let chart = by_name(&render::helm(NAMESPACE, &[]).unwrap());
    // Helm installs into a namespace that is there.
    overlay.remove("Namespace/fermata").unwrap();
    let mut problems = Vec::new();
    let names: BTreeSet<_> = overlay.keys().chain(chart.keys()).collect();
    for name in names {
        match (overlay.get(name), chart.get(name)) {
            (Some(overlay), Some(chart)) => {
                differences(overlay, chart, "", &mut |what| problems.push(format!("{name}: {what}")));
            }
            (Some(_), None) => problems.push(format!("{name} is in the overlay alone")),
            _ => problems.push(format!("{name} is in the chart alone")),
        }
    }
    assert_none(&problems);
}

/// Says place by place where two values differ.
fn differences(overlay: &Value, chart: &Value, at: &str, say: &mut dyn FnMut(String)) {
    match (overlay, chart) {
        (Value::Object(one), Value::Object(other)) => {
            let names: BTreeSet<_> = one.keys().chain(other.keys()).collect();
            for name in names {
                let of =
                    |fields: &serde_json::Map<String, Value>| fields.get(name).cloned().unwrap_or_default();
                differences(&of(one), &of(other), &format!("{at}/{name}"), say);
            }
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (place, (one, other)) in one.iter().zip(other).enumerate() {
                differences(one, other, &format!("{at}/{place}"), say);
            }
        }
        _ if overlay == chart => {}
        _ => say(format!("at {at} the overlay has {overlay}, and the chart {chart}")),
    }
}

#[test]
fn a_difference_is_seen_where_it_is() {
    let mut said = Vec::new();
    let (one, other) = (json!({"a": [{"b": 1}], "c": 2}), json!({"a": [{"b": 3}], "d": 2}));
    differences(&one, &other, "", &mut |what| said.push(what));
    assert_eq!(
        said,
        [
            "at /a/0/b the overlay has 1, and the chart 3",
            "at /c the overlay has 2, and the chart null",
            "at /d the overlay has null, and the chart 2"
        ]
    );
}

#[test]
fn helm_has_nothing_against_the_chart() {
    let output = render::run("helm", [OsStr::new("lint"), OsStr::new("--strict"), folder().as_os_str()]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && !said.contains("WARNING"), "{said}");
}

#[test]
fn the_chart_refuses_what_people_get_wrong() {
    let mut problems = Vec::new();
    for value in WRONG {
        match render::helm(NAMESPACE, &[value.to_owned()]) {
            Ok(_) => problems.push(format!("the chart takes {value}")),
            Err(said) if said.contains("don't meet the specifications of the schema") => {}
            Err(said) => problems.push(format!("not the schema refuses {value}: {said}")),
        }
    }
    assert_none(&problems);
}

#[test]
fn the_schema_of_values_knows_each_of_them() {
    let schema = jsonschema::validator_for(&schema()).unwrap();
    let values = values();
    assert!(schema.is_valid(&values));
    let mut edits = Vec::new();
    for (path, value) in leaves(&values, "") {
        // What is a word, a list or a map is no number, and what is a number or a switch no word.
        let other = if value.is_number() || value.is_boolean() { json!("surprise") } else { json!(7) };
        edits.push((path, other));
    }
    edits.extend(maps(&values, "").into_iter().map(|path| (format!("{path}surprise"), json!(1))));
    let mut problems = Vec::new();
    for (path, value) in &edits {
        let mut edited = values.clone();
        let (above, last) = path.rsplit_once('.').unwrap_or(("", path));
        let place = above.split('.').filter(|name| !name.is_empty()).map(|name| format!("/{name}"));
        edited.pointer_mut(&place.collect::<String>()).unwrap()[last] = value.clone();
        if schema.is_valid(&edited) {
            problems.push(format!("it takes {path}={value}"));
        }
    }
    assert!(edits.len() > 40, "{edits:?}");
    assert_none(&problems);
}

#[test]
fn the_chart_can_live_in_any_namespace() {
    let objects = render::helm("backups", &[]).unwrap();
    let elsewhere = objects.0.iter().filter(|object| text(object, "/metadata/namespace") != "backups");
    let mut problems: Vec<_> = elsewhere.map(|object| format!("{} is elsewhere", name(object))).collect();
    let lost = objects.0.iter().filter(|object| object.to_string().contains(".fermata.svc"));
    problems.extend(lost.map(|object| format!("{} asks in another namespace", name(object))));
    assert_none(&problems);
}

fn values() -> Value {
    let text = std::fs::read_to_string(folder().join("values.yaml")).unwrap();
    yaml_serde::from_str(&text).unwrap()
}

fn schema() -> Value {
    let text = std::fs::read_to_string(folder().join("values.schema.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Every value that is no map of others, by its path; empty maps are for whoever installs.
fn leaves(values: &Value, path: &str) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    for (name, value) in members(values, "") {
        if value.as_object().is_some_and(|map| !map.is_empty()) {
            all.extend(leaves(value, &format!("{path}{name}.")));
        } else {
            all.push((format!("{path}{name}"), value.clone()));
        }
    }
    all
}

/// The paths of all maps of values, each with the dot after it.
fn maps(values: &Value, path: &str) -> Vec<String> {
    let below = members(values, "").filter(|(_, value)| value.as_object().is_some_and(|map| !map.is_empty()));
    let below = below.flat_map(|(name, value)| maps(value, &format!("{path}{name}.")));
    [path.to_owned()].into_iter().chain(below).collect()
}

/// What the schema lets a value be one of.
fn choices(schema: &Value, path: &str) -> Vec<Value> {
    let place = path.split('.').fold(String::new(), |place, name| format!("{place}/properties/{name}"));
    let one_of = schema.pointer(&format!("{place}/enum")).and_then(Value::as_array);
    one_of.cloned().unwrap_or_default()
}
