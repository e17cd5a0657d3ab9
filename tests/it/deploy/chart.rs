//! The chart: the same objects as Kustomize's production, every switch, and values that it refuses.

#![expect(clippy::unwrap_used, reason = "these are helpers of tests, where a panic is the message")]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::objects::{Objects, members, name};
use super::render;
use crate::{assert_none, root};

pub(crate) fn folder() -> PathBuf {
    root().join("deploy/helm/fermata")
}

/// The chart's own values, then one set for each way to turn a switch: what is true or false the other way, and what is one
/// of several as each of the others.
pub(crate) fn switches() -> Vec<Vec<String>> {
    let schema = schema();
    let turned = leaves(&values(), "").into_iter().flat_map(|(path, value)| {
        let others = match &value {
            Value::Bool(on) => vec![json!(!on)],
            value => choices(&schema, &path).into_iter().filter(|choice| choice != value).collect(),
        };
        others.into_iter().map(move |other| vec![format!("{path}={other}")])
    });
    [Vec::new()].into_iter().chain(turned).collect()
}

#[test]
fn the_chart_is_the_production_overlay() {
    let by_name = |objects: &Objects| -> BTreeMap<String, Value> {
        objects.0.iter().map(|object| (name(object), object.clone())).collect()
    };
    let (mut overlay, chart) =
        (by_name(&render::rendering("overlays/prod").objects), by_name(&render::rendering("helm").objects));
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
fn the_chart_refuses_values_that_it_does_not_know() {
    let mut problems = Vec::new();
    let mut refused = 0;
    for (path, value) in leaves(&values(), "") {
        // What is a list or a word must not be a number, and a number no word.
        let other = if value.is_number() || value.is_boolean() { json!("surprise") } else { json!(7) };
        problems.extend(takes(&format!("{path}={other}")));
        refused += 1;
    }
    for path in maps(&values(), "") {
        problems.extend(takes(&format!("{path}surprise=1")));
        refused += 1;
    }
    assert!(refused > 20, "{refused}");
    assert_none(&problems);
}

/// A problem if the chart takes this value.
fn takes(value: &str) -> Option<String> {
    match render::helm(&[value.to_owned()]) {
        Ok(_) => Some(format!("the chart takes {value}")),
        Err(said) if said.contains("don't meet the specifications of the schema") => None,
        Err(said) => Some(format!("not the schema refuses {value}: {said}")),
    }
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
