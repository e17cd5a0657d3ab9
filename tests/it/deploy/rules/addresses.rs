//! Ports and addresses: that somebody listens there, and that whoever asks is let in.

use serde_json::{Value, json};

use super::Rule;
use super::links::{behind, is_monitor};
use crate::deploy::NAMESPACE;
use crate::deploy::objects::{Objects, Pod, at, is_absent, list, matches, members, name, text};

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "ports",
        why: "a port that is named and not there is found out by whoever asks in vain",
        check: ports,
    },
    Rule {
        name: "listens",
        why: "a port that the program does not listen on refuses every probe, and the pod is killed for it",
        check: listens,
    },
    Rule {
        name: "scale-address",
        why: "an autoscaler that asks nobody keeps what is there, which looks like no need",
        check: scale_address,
    },
    Rule {
        name: "doors",
        why: "all is closed: what asks a pod and no policy lets in waits until it gives up",
        check: doors,
    },
    Rule {
        name: "tls",
        why: "who signs in without it shows the password to everybody on the way",
        check: tls,
    },
];

/// Where others are, as the manifests take for granted.
const OF_INGRESS: Option<&str> = Some("ingress");
const OF_PROMETHEUS: Option<&str> = Some("monitoring");
const OF_KEDA: Option<&str> = Some("keda");

/// Whoever asks a port of some pods.
struct Caller<'a> {
    name: String,
    /// The namespace that it asks from, unless it is ours.
    from: Option<&'static str>,
    pods: Vec<Pod<'a>>,
    /// The port of the pods, by name or number.
    port: &'a Value,
}

fn ports(objects: &Objects) -> Vec<String> {
    let mut problems = objects.each_container(|_, container, problem| {
        let mut unnamed = |at: &str, port: &Value| {
            if container_port(container, port).is_none() {
                problem(format!("{at}: there is no port {port}"));
            }
        };
        for hook in ["startupProbe", "livenessProbe", "readinessProbe", "lifecycle/preStop"] {
            for way in ["httpGet", "tcpSocket"] {
                let port = at(container, &format!("/{hook}/{way}/port"));
                if !port.is_null() {
                    unnamed(hook, port);
                }
            }
        }
    });
    for service in objects.of("Service") {
        for port in list(service, "/spec/ports") {
            let target = target_port(port);
            for pod in behind(objects, service).filter(|pod| pod_port(*pod, target).is_none()) {
                problems.push(format!("{}: {} has no port {target}", name(service), pod.name()));
            }
        }
    }
    for Caller { name, pods, port, .. } in callers(objects, &mut problems) {
        for pod in pods.iter().filter(|pod| pod_port(**pod, port).is_none()) {
            problems.push(format!("{name}: {} has no port {port}", pod.name()));
        }
    }
    for policy in objects.of("NetworkPolicy") {
        for port in
            list(policy, "/spec/ingress").flat_map(|rule| list(rule, "/ports")).map(|one| at(one, "/port"))
        {
            let mut pods = objects.chosen(at(policy, "/spec/podSelector"));
            if !port.is_null() && !pods.any(|pod| pod_port(pod, port).is_some()) {
                problems.push(format!("{}: it lets into the port {port}, which nobody has", name(policy)));
            }
        }
    }
    problems
}

/// Everybody who asks through an object: an Ingress, a monitor. What does not exist is a problem.
fn callers<'a>(objects: &'a Objects, problems: &mut Vec<String>) -> Vec<Caller<'a>> {
    let mut all = Vec::new();
    for ingress in objects.of("Ingress") {
        let paths = list(ingress, "/spec/rules").flat_map(|rule| list(rule, "/http/paths"));
        let backends = paths.map(|path| at(path, "/backend/service"));
        for backend in backends.chain(ingress.pointer("/spec/defaultBackend/service")) {
            let found = objects.find("Service", text(backend, "/name")).and_then(|service| {
                let wanted = at(backend, "/port");
                let is_it = |port: &&Value| {
                    members(wanted, "").any(|(field, value)| {
                        at(port, if field == "name" { "/name" } else { "/port" }) == value
                    })
                };
                Some((service, list(service, "/spec/ports").find(is_it)?))
            });
            match found {
                Some((service, port)) => all.push(Caller {
                    name: name(ingress),
                    from: OF_INGRESS,
                    pods: behind(objects, service).collect(),
                    port: target_port(port),
                }),
                None => {
                    problems.push(format!("{}: there is no such Service and port: {backend}", name(ingress)));
                }
            }
        }
    }
    for monitor in objects.0.iter().filter(|object| is_monitor(object)) {
        let selector = at(monitor, "/spec/selector");
        for endpoint in list(monitor, "/spec/podMetricsEndpoints") {
            let pods = objects.chosen(selector).collect();
            all.push(Caller { name: name(monitor), from: OF_PROMETHEUS, pods, port: at(endpoint, "/port") });
        }
        for endpoint in list(monitor, "/spec/endpoints") {
            let chosen = |service: &&Value| matches(selector, at(service, "/metadata/labels"));
            for service in objects.of("Service").filter(chosen) {
                let wanted = at(endpoint, "/port");
                match list(service, "/spec/ports").find(|port| at(port, "/name") == wanted) {
                    Some(port) => all.push(Caller {
                        name: name(monitor),
                        from: OF_PROMETHEUS,
                        pods: behind(objects, service).collect(),
                        port: target_port(port),
                    }),
                    None => {
                        problems.push(format!("{}: {} has no port {wanted}", name(monitor), name(service)));
                    }
                }
            }
        }
    }
    all
}

/// Where a Service's port leads.
fn target_port(port: &Value) -> &Value {
    if is_absent(port, "/targetPort") { at(port, "/port") } else { at(port, "/targetPort") }
}

/// The number of a port that a pod has, by name or number.
fn pod_port(pod: Pod<'_>, port: &Value) -> Option<u64> {
    pod.containers().find_map(|container| container_port(container, port))
}

fn container_port(container: &Value, port: &Value) -> Option<u64> {
    let is_it = |one: &&Value| at(one, "/name") == port || at(one, "/containerPort") == port;
    at(list(container, "/ports").find(is_it)?, "/containerPort").as_u64()
}

/// Holds the ports of a container of ours against the addresses in its arguments.
fn listens(objects: &Objects) -> Vec<String> {
    objects.each_container(|pod, container, problem| {
        if !pod.is_ours() {
            return;
        }
        let args = list(container, "/args").filter_map(Value::as_str);
        let addresses =
            args.filter_map(|arg| arg.strip_prefix("--listen=").or(arg.strip_prefix("--probes=")));
        let mut open: Vec<_> =
            addresses.filter_map(|address| address.rsplit(':').next()?.parse::<u64>().ok()).collect();
        let mut named: Vec<_> =
            list(container, "/ports").filter_map(|port| at(port, "/containerPort").as_u64()).collect();
        open.sort_unstable();
        named.sort_unstable();
        if open != named {
            problem(format!("it listens on {open:?}, and names {named:?}"));
        }
    })
}

/// The Service and the port in the address that a `ScaledObject` asks.
fn scale_address(objects: &Objects) -> Vec<String> {
    let mut problems = Vec::new();
    for scaled in objects.of("ScaledObject") {
        for trigger in list(scaled, "/spec/triggers") {
            if text(trigger, "/type") == "metrics-api" {
                let url = text(trigger, "/metadata/url");
                if scaler(objects, url).is_none() {
                    problems.push(format!("{}: no Service here answers {url}", name(scaled)));
                }
            }
        }
    }
    problems
}

/// The pods behind an address of the cluster, and their port.
fn scaler<'a>(objects: &'a Objects, url: &str) -> Option<(Vec<Pod<'a>>, &'a Value)> {
    let url = url::Url::parse(url).ok()?;
    let service = url.host_str()?.split('.').next()?;
    let is_here = [
        format!("{service}.{NAMESPACE}"),
        format!("{service}.{NAMESPACE}.svc"),
        format!("{service}.{NAMESPACE}.svc.cluster.local"),
    ]
    .iter()
    .any(|full| Some(full.as_str()) == url.host_str());
    let service = objects.find("Service", service).filter(|_| is_here)?;
    let number = url.port_or_known_default()?;
    let port = list(service, "/spec/ports").find(|port| at(port, "/port") == number)?;
    Some((behind(objects, service).collect(), target_port(port)))
}

fn doors(objects: &Objects) -> Vec<String> {
    let mut all = callers(objects, &mut Vec::new());
    for scaled in objects.of("ScaledObject") {
        for url in list(scaled, "/spec/triggers").map(|trigger| text(trigger, "/metadata/url")) {
            let caller = |(pods, port)| Caller { name: name(scaled), from: OF_KEDA, pods, port };
            all.extend(scaler(objects, url).map(caller));
        }
    }
    for service in objects.of("Service") {
        let foreign: Vec<_> = behind(objects, service).filter(|pod| !pod.is_ours()).collect();
        for port in list(service, "/spec/ports") {
            let pods = foreign.clone();
            all.push(Caller { name: name(service), from: None, pods, port: target_port(port) });
        }
    }
    let mut problems = Vec::new();
    for Caller { name, from, pods, port } in all {
        let shut = pods
            .iter()
            .filter(|pod| pod_port(**pod, port).is_some_and(|_| !lets_in(objects, from, **pod, port)));
        problems
            .extend(shut.map(|pod| format!("{name}: no policy lets it into port {port} of {}", pod.name())));
    }
    problems
}

/// Whether some policy lets a namespace, or somebody of ours, into a port of a pod.
fn lets_in(objects: &Objects, from: Option<&str>, pod: Pod<'_>, port: &Value) -> bool {
    let number = pod_port(pod, port);
    let comes_from = |peer: &Value| match from {
        Some(namespace) => {
            matches(at(peer, "/namespaceSelector"), &json!({"kubernetes.io/metadata.name": namespace}))
        }
        None => is_absent(peer, "/namespaceSelector"),
    };
    let chosen = |policy: &&Value| matches(at(policy, "/spec/podSelector"), pod.labels());
    let mut rules =
        objects.of("NetworkPolicy").filter(chosen).flat_map(|policy| list(policy, "/spec/ingress"));
    rules.any(|rule| {
        (is_absent(rule, "/from") || list(rule, "/from").any(comes_from))
            && list(rule, "/ports").any(|one| pod_port(pod, at(one, "/port")) == number)
    })
}

fn tls(objects: &Objects) -> Vec<String> {
    let mut problems = Vec::new();
    for ingress in objects.of("Ingress") {
        let secured: Vec<_> = list(ingress, "/spec/tls").flat_map(|tls| list(tls, "/hosts")).collect();
        for host in list(ingress, "/spec/rules").map(|rule| at(rule, "/host")) {
            if !secured.contains(&host) {
                problems.push(format!("{}: {host} has no certificate", name(ingress)));
            }
        }
    }
    problems
}
