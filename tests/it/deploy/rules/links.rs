//! What one object says about another: that it is there, and that it is the one that is meant.

use serde_json::Value;

use super::Rule;
use crate::deploy::objects::{Objects, Pod, at, is_absent, label, list, matches, members, name, text};
use crate::deploy::secret_keys;

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "own-pods",
        why: "a workload that does not know its own pods, or takes another's for its own, is refused or starts them without end",
        check: own_pods,
    },
    Rule {
        name: "services",
        why: "a Service that chooses no pod answers nobody, and one that chooses two kinds answers at random",
        check: services,
    },
    Rule {
        name: "budgets",
        why: "a pod without a budget goes with its node at any moment, and one with two goes never",
        check: budgets,
    },
    Rule {
        name: "policies",
        why: "a policy that names no pod protects nothing, and one that lets nobody in helps nobody",
        check: policies,
    },
    Rule {
        name: "scale-targets",
        why: "an autoscaler without a target says so only in its status",
        check: scale_targets,
    },
    Rule {
        name: "accounts",
        why: "a pod whose account is not there is never started, and the default one has whatever others gave it",
        check: accounts,
    },
    Rule {
        name: "mounts",
        why: "a mount without its volume is refused, and a volume that nobody mounts is a file that somebody looks for",
        check: mounts,
    },
    Rule { name: "keys", why: "a pod that asks for a key that nobody makes waits for ever", check: keys },
    Rule {
        name: "external-secrets",
        why: "a secret that is fetched under another name is fetched for nobody",
        check: external_secrets,
    },
    Rule {
        name: "monitors",
        why: "what chooses nothing measures nothing, and what is chosen twice is counted twice",
        check: monitors,
    },
];

fn own_pods(objects: &Objects) -> Vec<String> {
    let mut problems = Vec::new();
    for pod in objects.pods().filter(|pod| pod.is_server()) {
        let selector = at(pod.owner, "/spec/selector");
        if !matches(selector, pod.labels()) {
            problems.push(format!("{}: its selector does not match its pods", pod.name()));
        }
        let others = objects.chosen(selector).filter(|other| other.owner != pod.owner);
        problems.extend(others.map(|other| format!("{}: its selector takes {}", pod.name(), other.name())));
    }
    problems
}

fn services(objects: &Objects) -> Vec<String> {
    let mut problems = Vec::new();
    for service in objects.of("Service") {
        let owners: Vec<_> = behind(objects, service).map(Pod::name).collect();
        if owners.len() != 1 {
            problems.push(format!("{}: it chooses {owners:?}", name(service)));
        }
    }
    problems
}

/// The pods that a Service chooses.
pub(super) fn behind<'a>(objects: &'a Objects, service: &'a Value) -> impl Iterator<Item = Pod<'a>> {
    let selector = at(service, "/spec/selector");
    let chosen = |pod: &Pod<'_>| {
        let mut wanted = members(selector, "").peekable();
        wanted.peek().is_some() && wanted.all(|(key, value)| pod.labels().get(key) == Some(value))
    };
    objects.pods().filter(move |pod| chosen(pod))
}

fn budgets(objects: &Objects) -> Vec<String> {
    let mut problems = Vec::new();
    for budget in objects.of("PodDisruptionBudget") {
        if objects.chosen(at(budget, "/spec/selector")).count() != 1 {
            problems.push(format!("{}: it is not about one workload", name(budget)));
        }
    }
    for pod in objects.pods().filter(|pod| pod.is_ours() && pod.is_server()) {
        let is_its = |budget: &&Value| matches(at(budget, "/spec/selector"), pod.labels());
        let count = objects.of("PodDisruptionBudget").filter(is_its).count();
        if count != 1 {
            problems.push(format!("{}: it has {count} budgets", pod.name()));
        }
    }
    problems
}

fn policies(objects: &Objects) -> Vec<String> {
    let mut problems = Vec::new();
    for policy in objects.of("NetworkPolicy") {
        if objects.chosen(at(policy, "/spec/podSelector")).next().is_none() {
            problems.push(format!("{}: it is about no pod", name(policy)));
        }
        let inward = list(policy, "/spec/ingress").flat_map(|rule| list(rule, "/from"));
        let outward = list(policy, "/spec/egress").flat_map(|rule| list(rule, "/to"));
        // Pods of other namespaces, and a Redis that the operator runs, are not ours to know.
        let ours = inward.chain(outward).filter(|peer| {
            let labels = at(peer, "/podSelector/matchLabels");
            is_absent(peer, "/namespaceSelector") && label(labels, "name") == "fermata"
        });
        for peer in ours.filter(|peer| objects.chosen(at(peer, "/podSelector")).next().is_none()) {
            problems.push(format!("{}: nobody is {}", name(policy), at(peer, "/podSelector")));
        }
    }
    problems
}

fn scale_targets(objects: &Objects) -> Vec<String> {
    let autoscalers = objects.of("HorizontalPodAutoscaler").chain(objects.of("ScaledObject"));
    let lost = autoscalers.filter(|autoscaler| {
        let target = at(autoscaler, "/spec/scaleTargetRef");
        let kind = if is_absent(target, "/kind") { "Deployment" } else { text(target, "/kind") };
        objects.find(kind, text(target, "/name")).is_none()
    });
    lost.map(|autoscaler| format!("{}: what it scales is not there", name(autoscaler))).collect()
}

fn accounts(objects: &Objects) -> Vec<String> {
    let mut problems = Vec::new();
    for pod in objects.pods().filter(|pod| pod.is_ours()) {
        let account = text(pod.spec(), "/serviceAccountName");
        if objects.find("ServiceAccount", account).is_none() {
            problems.push(format!("{}: its account {account:?} is not there", pod.name()));
        }
    }
    problems
}

fn mounts(objects: &Objects) -> Vec<String> {
    let mut problems = objects.each_container(|pod, container, problem| {
        let mut paths: Vec<_> =
            list(container, "/volumeMounts").map(|mount| text(mount, "/mountPath")).collect();
        let count = paths.len();
        paths.sort_unstable();
        paths.dedup();
        if paths.len() < count {
            problem("two mounts are at one place".to_owned());
        }
        for mount in list(container, "/volumeMounts").map(|mount| text(mount, "/name")) {
            if !volumes(pod).any(|volume| volume == mount) {
                problem(format!("its mount {mount} is no volume"));
            }
        }
    });
    for pod in objects.pods() {
        for volume in volumes(pod) {
            let mut mounts = pod.containers().flat_map(|container| list(container, "/volumeMounts"));
            if !mounts.any(|mount| text(mount, "/name") == volume) {
                problems.push(format!("{}: nobody mounts its volume {volume}", pod.name()));
            }
        }
    }
    problems
}

/// The names of a pod's volumes, those included that a `StatefulSet` claims for it.
fn volumes(pod: Pod<'_>) -> impl Iterator<Item = &str> {
    let claimed = list(pod.owner, "/spec/volumeClaimTemplates").map(|claim| text(claim, "/metadata/name"));
    list(pod.spec(), "/volumes").map(|volume| text(volume, "/name")).chain(claimed)
}

/// A key that a pod asks for; no key where it takes all of them.
struct Asked<'a> {
    kind: &'static str,
    name: &'a str,
    key: Option<&'a str>,
}

/// What a pod asks for of Secrets and `ConfigMap`s.
fn asked(pod: Pod<'_>) -> Vec<Asked<'_>> {
    let mut all = Vec::new();
    for container in pod.containers() {
        for source in list(container, "/envFrom") {
            for (kind, at) in [("Secret", "/secretRef/name"), ("ConfigMap", "/configMapRef/name")] {
                all.push(Asked { kind, name: text(source, at), key: None });
            }
        }
        for variable in list(container, "/env") {
            for (kind, at) in
                [("Secret", "/valueFrom/secretKeyRef"), ("ConfigMap", "/valueFrom/configMapKeyRef")]
            {
                let (name, key) =
                    (text(variable, &format!("{at}/name")), text(variable, &format!("{at}/key")));
                all.push(Asked { kind, name, key: Some(key) });
            }
        }
    }
    for volume in list(pod.spec(), "/volumes") {
        let projected = list(volume, "/projected/sources");
        for (kind, source, name) in
            [("Secret", "/secret", "/secretName"), ("ConfigMap", "/configMap", "/name")]
        {
            let source = at(volume, source);
            all.push(Asked { kind, name: text(source, name), key: None });
            let keys = list(source, "/items").map(|item| text(item, "/key"));
            all.extend(keys.map(|key| Asked { kind, name: text(source, name), key: Some(key) }));
        }
        for source in projected {
            for (kind, at) in [("Secret", "/secret/name"), ("ConfigMap", "/configMap/name")] {
                all.push(Asked { kind, name: text(source, at), key: None });
            }
        }
    }
    all.retain(|asked| !asked.name.is_empty());
    all
}

fn keys(objects: &Objects) -> Vec<String> {
    let mut problems = Vec::new();
    for pod in objects.pods() {
        for Asked { kind, name, key } in asked(pod) {
            let there = match (kind, key) {
                ("Secret", None) => secret_keys(name).is_some(),
                ("Secret", Some(key)) => secret_keys(name).is_some_and(|keys| keys.contains(&key)),
                (_, None) => objects.find(kind, name).is_some(),
                (_, Some(key)) => {
                    objects.find(kind, name).is_some_and(|map| at(map, "/data").get(key).is_some())
                }
            };
            if !there {
                problems.push(format!(
                    "{}: nobody makes {} of {kind} {name}",
                    pod.name(),
                    key.unwrap_or("any")
                ));
            }
        }
    }
    for ingress in objects.of("Ingress") {
        for secret in list(ingress, "/spec/tls").map(|tls| text(tls, "/secretName")) {
            if secret_keys(secret).is_none() {
                problems.push(format!("{}: nobody makes Secret {secret}", name(ingress)));
            }
        }
    }
    problems
}

fn external_secrets(objects: &Objects) -> Vec<String> {
    let mut problems = Vec::new();
    for external in objects.of("ExternalSecret") {
        let target = text(external, "/spec/target/name");
        let target = if target.is_empty() { text(external, "/metadata/name") } else { target };
        let asked: Vec<_> = objects
            .pods()
            .flat_map(asked)
            .filter(|asked| asked.kind == "Secret" && asked.name == target)
            .collect();
        if asked.is_empty() {
            problems.push(format!("{}: nobody asks for {target}", name(external)));
        }
        let made: Vec<_> = list(external, "/spec/data").map(|data| text(data, "/secretKey")).collect();
        let whole = list(external, "/spec/dataFrom").next().is_some();
        let missing = asked.iter().filter_map(|asked| asked.key).filter(|key| !whole && !made.contains(key));
        problems.extend(missing.map(|key| format!("{}: it does not fetch {key}", name(external))));
    }
    problems
}

fn monitors(objects: &Objects) -> Vec<String> {
    let mut problems = Vec::new();
    let mut measured = Vec::new();
    for monitor in objects.of("ServiceMonitor") {
        let services: Vec<_> = objects
            .of("Service")
            .filter(|service| matches(at(monitor, "/spec/selector"), at(service, "/metadata/labels")))
            .collect();
        if services.is_empty() {
            problems.push(format!("{}: it chooses no Service", name(monitor)));
        }
        measured.extend(services.iter().flat_map(|service| behind(objects, service)).map(Pod::name));
    }
    for monitor in objects.of("PodMonitor") {
        let pods: Vec<_> = objects.chosen(at(monitor, "/spec/selector")).map(Pod::name).collect();
        if pods.is_empty() {
            problems.push(format!("{}: it chooses no pod", name(monitor)));
        }
        measured.extend(pods);
    }
    if objects.0.iter().any(is_monitor) {
        for pod in objects.pods().filter(|pod| pod.is_ours() && pod.has_port("probes")) {
            let times = measured.iter().filter(|name| **name == pod.name()).count();
            if times != 1 {
                problems.push(format!("{}: it is measured {times} times", pod.name()));
            }
        }
    }
    problems
}

/// Whether an object tells Prometheus what to ask.
pub(super) fn is_monitor(object: &Value) -> bool {
    ["PodMonitor", "ServiceMonitor"].contains(&text(object, "/kind"))
}
