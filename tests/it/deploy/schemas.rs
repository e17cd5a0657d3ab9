//! Objects against schemas: those of Kubernetes for the oldest and the newest version, and for kinds that others bring our own,
//! which know the fields that we use and refuse every other.

#![expect(clippy::unwrap_used, reason = "these are helpers of tests, where a panic is the message")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use jsonschema::Validator;
use serde_json::{Value, json};

use super::objects::{Objects, name, text};
use super::render;
use crate::assert_none;

/// The oldest Kubernetes that is supported, and the newest.
const VERSIONS: [&str; 2] = ["1.32", "1.37"];

/// Kinds that others bring, each with the schema that its project documents, as far as it is used here.
const FOREIGN: [(&str, &str, &str); 4] = [
    ("keda.sh/v1alpha1", "ScaledObject", include_str!("schemas/scaled-object.json")),
    ("external-secrets.io/v1", "ExternalSecret", include_str!("schemas/external-secret.json")),
    ("monitoring.coreos.com/v1", "PodMonitor", include_str!("schemas/pod-monitor.json")),
    ("monitoring.coreos.com/v1", "ServiceMonitor", include_str!("schemas/service-monitor.json")),
];

#[test]
fn every_object_follows_its_schema() {
    let mut problems = Vec::new();
    let scratch = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    // Most renderings have most objects in common: each is looked at once.
    let mut seen = BTreeSet::new();
    for (number, rendering) in render::all().enumerate() {
        let (foreign, mut native) = divide(&rendering.objects);
        native.retain(|object| seen.insert(object.to_string()));
        for object in foreign {
            problems.extend(flaws(&object).iter().map(|flaw| format!("{}: {flaw}", rendering.name)));
        }
        files.push((format!("{number}.yaml"), native, rendering.name));
    }
    for version in VERSIONS {
        problems.extend(kubernetes(version, scratch.path(), &files));
    }
    assert_none(&problems);
}

#[test]
fn kubernetes_refuses_what_it_does_not_know() {
    let prod = render::kustomize("overlays/prod");
    let worker = prod.find("Deployment", "fermata-worker").unwrap();
    for (what, pointer, value) in [
        (
            "livenessProb",
            "/spec/template/spec/containers/0",
            json!({"httpGet": {"path": "/livez", "port": 1}}),
        ),
        ("replicas", "/spec", json!("three")),
        ("kind", "", json!("Deploymint")),
    ] {
        let mut edited = worker.clone();
        edited.pointer_mut(pointer).unwrap()[what] = value;
        for version in VERSIONS {
            let scratch = tempfile::tempdir().unwrap();
            let file = ("worker.yaml".to_owned(), vec![edited.clone()], "overlays/prod".to_owned());
            let problems = kubernetes(version, scratch.path(), &[file]);
            assert_eq!(problems.len(), 1, "{version}, {what}: {problems:?}");
        }
    }
}

#[test]
fn schemas_of_others_refuse_what_is_unknown_and_miss_what_must_be_there() {
    let mut seen = Vec::new();
    for rendering in ["overlays/prod", "components/external-secrets"].map(render::kustomize) {
        for object in divide(&rendering).0 {
            seen.push(text(&object, "/kind").to_owned());
            assert_eq!(flaws(&object), [""; 0]);
            refuses_each_change(&object);
        }
    }
    let service_monitor = json!({
        "apiVersion": "monitoring.coreos.com/v1", "kind": "ServiceMonitor", "metadata": {"name": "fermata"},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "endpoints": [{"port": "probes", "path": "/metrics"}]},
    });
    assert_eq!(flaws(&service_monitor), [""; 0]);
    refuses_each_change(&service_monitor);
    seen.push("ServiceMonitor".to_owned());
    let unseen = FOREIGN.iter().filter(|(_, kind, _)| !seen.iter().any(|one| one == kind));
    assert_none(
        &unseen.map(|(_, kind, _)| format!("no object tries the schema of {kind}")).collect::<Vec<_>>(),
    );
}

/// Puts a field that nobody knows into each part of an object's spec, and takes away what its schema says must be there.
fn refuses_each_change(object: &Value) {
    for part in parts(object, "/spec") {
        // Labels, and a trigger's metadata, are names that somebody chose.
        if part.ends_with("/matchLabels") {
            continue;
        }
        let mut edited = object.clone();
        edited.pointer_mut(&part).unwrap()["surprise"] = json!(true);
        assert_eq!(flaws(&edited).len(), 1, "{} takes an unknown field at {part}", name(object));
    }
    let required: &[&str] = match text(object, "/kind") {
        "ScaledObject" => &[
            "/spec/scaleTargetRef",
            "/spec/triggers",
            "/spec/triggers/0/metadata",
            "/spec/scaleTargetRef/name",
        ],
        "ExternalSecret" => &["/spec/secretStoreRef", "/spec/secretStoreRef/name"],
        "PodMonitor" => &["/spec/selector", "/spec/podMetricsEndpoints"],
        _ => &["/spec/selector", "/spec/endpoints"],
    };
    for pointer in required {
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        let mut edited = object.clone();
        edited.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(field).unwrap();
        assert!(!flaws(&edited).is_empty(), "{} does without {pointer}", name(object));
    }
}

/// The places of all that has fields, in and below this one.
fn parts(object: &Value, pointer: &str) -> Vec<String> {
    let mut all = Vec::new();
    match object.pointer(pointer).unwrap() {
        Value::Object(fields) => {
            all.push(pointer.to_owned());
            for field in fields.keys() {
                all.extend(parts(object, &format!("{pointer}/{}", field.replace('/', "~1"))));
            }
        }
        Value::Array(list) => {
            all.extend((0..list.len()).flat_map(|place| parts(object, &format!("{pointer}/{place}"))));
        }
        _ => {}
    }
    all
}

/// The objects of kinds that others bring, and those of Kubernetes.
fn divide(objects: &Objects) -> (Vec<Value>, Vec<Value>) {
    objects.0.iter().cloned().partition(|object| schema(object).is_some())
}

/// What is wrong with an object by our schema of its kind.
fn flaws(object: &Value) -> Vec<String> {
    let schema = schema(object).unwrap();
    schema
        .iter_errors(object)
        .map(|error| format!("{}{}: {error}", name(object), error.instance_path()))
        .collect()
}

fn schema(object: &Value) -> Option<&'static Validator> {
    static SCHEMAS: OnceLock<Vec<Validator>> = OnceLock::new();
    let schemas = SCHEMAS.get_or_init(|| {
        let read = |text| jsonschema::validator_for(&serde_json::from_str::<Value>(text).unwrap()).unwrap();
        FOREIGN.iter().map(|(_, _, text)| read(text)).collect()
    });
    let of = (text(object, "/apiVersion"), text(object, "/kind"));
    FOREIGN.iter().zip(schemas).find(|((api, kind, _), _)| (*api, *kind) == of).map(|(_, schema)| schema)
}

/// What kubernetes-validate says of these objects. Of what it has no schema for it warns, and ends well.
fn kubernetes(version: &str, scratch: &Path, files: &[(String, Vec<Value>, String)]) -> Vec<String> {
    let mut count = 0;
    for (file, objects, _) in files {
        let documents: Vec<_> = objects.iter().map(Value::to_string).collect();
        count += documents.len();
        std::fs::write(scratch.join(file), documents.join("\n---\n")).unwrap();
    }
    let program = render::installed("kubernetes-validate/bin/kubernetes-validate");
    let output = Command::new(&program)
        .args(["--kubernetes-version", version, "--strict"])
        .args(files.iter().map(|(file, _, _)| file))
        .current_dir(scratch)
        .output()
        .unwrap_or_else(|error| {
            panic!("cannot start {} ({error}): run ./test, which installs it", program.display())
        });
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8(said).unwrap();
    let (passed, rest): (Vec<_>, Vec<_>) = said.lines().partition(|line| line.starts_with("INFO"));
    let mut problems: Vec<_> = rest
        .iter()
        .map(|line| {
            let file = files.iter().find(|(file, _, _)| line.contains(&format!(" {file} ")));
            format!("{}, Kubernetes {version}: {line}", file.map_or("", |(_, _, name)| name))
        })
        .collect();
    if problems.is_empty() && (passed.len() != count || !output.status.success()) {
        problems.push(format!(
            "Kubernetes {version}: of {count} objects {} were looked at: {said}",
            passed.len()
        ));
    }
    problems
}
