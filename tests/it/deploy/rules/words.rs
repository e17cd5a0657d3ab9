//! Names, labels and versions; and that nothing secret is written down.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Rule;
use crate::deploy::NAMESPACE;
use crate::deploy::objects::{Objects, at, is_absent, label, list, members, name, text, texts};

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "no-secret-objects",
        why: "a manifest is read by many: secrets are made by an operator, or fetched",
        check: no_secret_objects,
    },
    Rule {
        name: "no-plain-secrets",
        why: "what stands in a ConfigMap, a variable or an argument is read by whoever may look at the namespace",
        check: no_plain_secrets,
    },
    Rule {
        name: "no-rbac",
        why: "nothing here needs a right in the cluster, so a role would be a way in",
        check: no_rbac,
    },
    Rule {
        name: "labels",
        why: "whoever looks for what belongs to Fermata, or which version runs, looks by these",
        check: labels,
    },
    Rule {
        name: "minimal-selectors",
        why: "a selector can never be changed, so nothing may stand in it that a release changes",
        check: minimal_selectors,
    },
    Rule { name: "names", why: "the cluster refuses a name that is none of DNS", check: names },
    Rule {
        name: "unique",
        why: "of two objects, or variables, of one name the last one wins in silence",
        check: unique,
    },
    Rule {
        name: "namespace",
        why: "an object without one lands wherever the operator's terminal stands",
        check: namespace,
    },
    Rule {
        name: "pod-security-labels",
        why: "the cluster holds us to the restricted standard only if the namespace asks it to, and to which version of it",
        check: pod_security_labels,
    },
    Rule {
        name: "images",
        why: "what a tag like latest means changes by itself, and one node runs another version than the next",
        check: images,
    },
    Rule {
        name: "supported-apis",
        why: "an upgrade of the cluster must find nothing that it no longer serves",
        check: supported_apis,
    },
];

/// What is served and not deprecated in each Kubernetes from 1.32 to 1.37, and by what brings its own kinds.
const APIS: [(&str, &[&str]); 9] = [
    ("v1", &["ConfigMap", "Namespace", "PersistentVolumeClaim", "Service", "ServiceAccount"]),
    ("apps/v1", &["Deployment", "StatefulSet"]),
    ("autoscaling/v2", &["HorizontalPodAutoscaler"]),
    ("batch/v1", &["CronJob", "Job"]),
    ("networking.k8s.io/v1", &["Ingress", "NetworkPolicy"]),
    ("policy/v1", &["PodDisruptionBudget"]),
    ("external-secrets.io/v1", &["ExternalSecret"]),
    ("keda.sh/v1alpha1", &["ScaledObject"]),
    ("monitoring.coreos.com/v1", &["PodMonitor", "ServiceMonitor"]),
];
/// Kinds that have no namespace, of those in `APIS`.
const CLUSTER_WIDE: [&str; 1] = ["Namespace"];
/// What a selector may look at.
const SELECTED_BY: [&str; 2] = ["app.kubernetes.io/component", "app.kubernetes.io/name"];
/// Annotations and fields of a pod that became something else.
const OUTDATED: [&str; 4] = [
    "kubernetes.io/ingress.class",
    "seccomp.security.alpha.kubernetes.io/pod",
    "container.apparmor.security.beta.kubernetes.io/",
    "scheduler.alpha.kubernetes.io/critical-pod",
];

fn no_secret_objects(objects: &Objects) -> Vec<String> {
    objects.of("Secret").map(|secret| format!("{} is a secret", name(secret))).collect()
}

fn no_plain_secrets(objects: &Objects) -> Vec<String> {
    let mut problems = objects.each_container(|_, container, problem| {
        for variable in list(container, "/env") {
            let (name, value) = (text(variable, "/name"), text(variable, "/value"));
            if is_secret(name, value) {
                problem(format!("{name} holds a secret"));
            }
        }
        let mut flag = "";
        for argument in texts(container, "/command").chain(texts(container, "/args")) {
            // A value stands behind its flag, or behind a sign in the same word.
            let (name, value) = if argument.starts_with('-') {
                argument.split_once('=').unwrap_or((argument, ""))
            } else {
                (flag, argument)
            };
            if is_secret(name, value) {
                problem(format!("{name} holds a secret"));
            }
            flag = argument;
        }
    });
    for map in objects.of("ConfigMap") {
        for (key, value) in members(map, "/data") {
            if is_secret(key, value.as_str().unwrap_or_default()) {
                problems.push(format!("{}: {key} holds a secret", name(map)));
            }
        }
    }
    problems
}

/// Whether a value is secret by what it is called or by what it looks like.
fn is_secret(name: &str, value: &str) -> bool {
    const NAMES: [&str; 7] =
        ["SECRET", "PASSWORD", "REQUIREPASS", "TOKEN", "CREDENTIAL", "ACCESS_KEY", "OTLP_HEADERS"];
    const VALUES: [&str; 4] = ["AGE-SECRET-KEY-", "PRIVATE KEY-----", "SharedAccessSignature", "sig="];
    let name = name.to_uppercase().replace('-', "_");
    let by_name = NAMES.iter().any(|word| name.contains(word)) && !name.ends_with("_FILE");
    let has_password = value.split_once("://").is_some_and(|(_, rest)| {
        let authority = rest.split('/').next().unwrap_or_default();
        authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'))
    });
    let by_value =
        VALUES.iter().any(|mark| value.contains(mark)) || has_password || value.starts_with("AKIA");
    // `$(NAME)` is the value of a variable, which has been looked at.
    !value.is_empty() && !value.starts_with("$(") && (by_name || by_value)
}

fn no_rbac(objects: &Objects) -> Vec<String> {
    let rbac = objects.0.iter().filter(|object| text(object, "/apiVersion").starts_with("rbac."));
    rbac.map(|object| format!("{} gives rights", name(object))).collect()
}

fn labels(objects: &Objects) -> Vec<String> {
    let mut problems = Vec::new();
    for object in &objects.0 {
        for wanted in ["name", "component", "part-of"] {
            if label(at(object, "/metadata/labels"), wanted).is_empty() {
                problems.push(format!("{}: its label {wanted} is missing", name(object)));
            }
        }
    }
    for pod in objects.pods() {
        for wanted in ["name", "component", "part-of"] {
            if label(pod.labels(), wanted).is_empty() {
                problems.push(format!("{}: the label {wanted} of its pods is missing", pod.name()));
            }
        }
        for labels in [pod.labels(), at(pod.owner, "/metadata/labels")] {
            if pod.is_ours() && label(labels, "version") != env!("CARGO_PKG_VERSION") {
                problems.push(format!("{}: its version is not {}", pod.name(), env!("CARGO_PKG_VERSION")));
            }
        }
    }
    problems
}

fn minimal_selectors(objects: &Objects) -> Vec<String> {
    let mut problems = Vec::new();
    for object in &objects.0 {
        let labels = match text(object, "/kind") {
            "Service" => "/spec/selector",
            "NetworkPolicy" => "/spec/podSelector/matchLabels",
            _ => "/spec/selector/matchLabels",
        };
        let keys: BTreeSet<_> = members(object, labels).map(|(key, _)| key).collect();
        let is_workload = ["Deployment", "StatefulSet"].contains(&text(object, "/kind"));
        let allowed: BTreeSet<_> = SELECTED_BY.into();
        if !keys.is_subset(&allowed) || (is_workload && keys != allowed) {
            problems.push(format!("{}: it chooses by {keys:?}", name(object)));
        }
    }
    problems
}

fn names(objects: &Objects) -> Vec<String> {
    let mut problems = Vec::new();
    for object in &objects.0 {
        let length_max = match text(object, "/kind") {
            // What it starts has a suffix of eleven.
            "CronJob" => 52,
            "Service" | "Namespace" | "StatefulSet" => 63,
            _ => 253,
        };
        let own = text(object, "/metadata/name");
        if own.len() > length_max || !own.split('.').all(is_dns_label) {
            problems.push(format!("{}: this is no name", name(object)));
        }
    }
    problems.extend(objects.each_container(|_, container, problem| {
        if !is_dns_label(text(container, "/name")) {
            problem("this is no name".to_owned());
        }
        for port in list(container, "/ports").map(|port| text(port, "/name")) {
            let has_letter = port.contains(|letter: char| letter.is_ascii_lowercase());
            if port.len() > 15 || !is_dns_label(port) || !has_letter {
                problem(format!("{port:?} is no name of a port"));
            }
        }
    }));
    problems
}

fn is_dns_label(name: &str) -> bool {
    let letters = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    letters && !name.is_empty() && name.len() <= 63 && !name.starts_with('-') && !name.ends_with('-')
}

fn unique(objects: &Objects) -> Vec<String> {
    let mut problems = Vec::new();
    let mut seen = BTreeSet::new();
    for object in &objects.0 {
        if !seen.insert((text(object, "/metadata/namespace"), name(object))) {
            problems.push(format!("{} is there twice", name(object)));
        }
    }
    problems.extend(objects.each_container(|_, container, problem| {
        let mut seen = BTreeSet::new();
        for variable in list(container, "/env").map(|variable| text(variable, "/name")) {
            if !seen.insert(variable) {
                problem(format!("{variable} is there twice"));
            }
        }
    }));
    problems
}

fn namespace(objects: &Objects) -> Vec<String> {
    let mut problems = Vec::new();
    for object in &objects.0 {
        let expect = if CLUSTER_WIDE.contains(&text(object, "/kind")) { "" } else { NAMESPACE };
        if text(object, "/metadata/namespace") != expect {
            problems.push(format!("{}: its namespace is not {expect:?}", name(object)));
        }
    }
    problems
}

fn pod_security_labels(objects: &Objects) -> Vec<String> {
    let mut problems = Vec::new();
    for namespace in objects.of("Namespace") {
        let labels = at(namespace, "/metadata/labels");
        for mode in ["enforce", "audit", "warn"] {
            let label = |suffix: &str| {
                let label = labels.get(format!("pod-security.kubernetes.io/{mode}{suffix}"));
                label.and_then(Value::as_str).unwrap_or_default()
            };
            if label("") != "restricted" || !label("-version").starts_with("v1.") {
                problems.push(format!("{}: {mode} is not restricted as of a version", name(namespace)));
            }
        }
    }
    problems
}

fn images(objects: &Objects) -> Vec<String> {
    objects.each_container(|pod, container, problem| {
        let image = text(container, "/image");
        let digest = image.split_once("@sha256:").is_some_and(|(_, digest)| digest.len() == 64);
        let tag = image.rsplit('/').next().and_then(|last| last.split_once(':')).map(|(_, tag)| tag);
        if !digest && matches!(tag, None | Some("" | "latest")) {
            problem(format!("{image:?} names no version"));
        }
        let is_version = |tag: &&str| tag.starts_with(|digit: char| digit.is_ascii_digit());
        if pod.is_ours() && tag.filter(is_version).is_some_and(|tag| tag != env!("CARGO_PKG_VERSION")) {
            problem(format!("{image:?} is another version"));
        }
    })
}

fn supported_apis(objects: &Objects) -> Vec<String> {
    let mut problems = Vec::new();
    for object in &objects.0 {
        let (version, kind) = (text(object, "/apiVersion"), text(object, "/kind"));
        let known = APIS.iter().any(|(api, kinds)| *api == version && kinds.contains(&kind));
        // What must not be there at all has a rule of its own.
        let elsewhere = kind == "Secret" || version.starts_with("rbac.");
        if !known && !elsewhere {
            problems.push(format!("{}: {version} is not known to be served by all versions", name(object)));
        }
        let annotations = members(object, "/metadata/annotations");
        for (key, _) in annotations.filter(|(key, _)| OUTDATED.iter().any(|old| key.starts_with(old))) {
            problems.push(format!("{}: {key} is outdated", name(object)));
        }
    }
    for pod in objects.pods().filter(|pod| !is_absent(pod.spec(), "/serviceAccount")) {
        problems.push(format!("{}: serviceAccount is called serviceAccountName now", pod.name()));
    }
    problems
}

#[test]
fn secrets_are_known_by_name_and_by_look() {
    for (name, value, expect) in [
        ("FERMATA_OIDC_CLIENT_SECRET", "x", true),
        ("FERMATA_OIDC_CLIENT_SECRET", "", false),
        ("FERMATA_OIDC_CLIENT_ID", "fermata", false),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "/var/run/token", false),
        ("AWS_SECRET_ACCESS_KEY", "x", true),
        ("--requirepass", "x", true),
        ("--requirepass", "$(REDIS_PASSWORD)", false),
        ("FERMATA_REDIS", "redis://redis:6379/0", false),
        ("FERMATA_REDIS", "rediss://default:geheim@redis:6379/0", true),
        ("NOTE", "AGE-SECRET-KEY-1QQQ", true),
        ("FERMATA_KEY_FILE", "/etc/fermata/key/fermata.key", false),
    ] {
        assert_eq!(is_secret(name, value), expect, "{name}={value}");
    }
}
