//! Who may speak to whom.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::Rule;
use crate::deploy::objects::{Objects, Pod, at, is_absent, list, matches, name, text, texts};

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "default-deny",
        why: "what is not named must be closed, also for a pod that somebody adds later",
        check: default_deny,
    },
    Rule {
        name: "both-ways",
        why: "rules of a way that policyTypes does not name are never looked at",
        check: both_ways,
    },
    Rule {
        name: "no-open-door",
        why: "a rule that names nobody is for everybody, and one without a port is for all of them",
        check: no_open_door,
    },
    Rule {
        name: "no-node-metadata",
        why: "there a cloud hands the node's own credentials to whoever asks",
        check: no_node_metadata,
    },
    Rule { name: "dns", why: "a pod that may not look up a name reaches nothing that has one", check: dns },
    Rule {
        name: "redis",
        why: "a process that is told of a Redis and may not reach it never starts",
        check: redis,
    },
];

/// Redis's own port.
const REDIS_PORT: u64 = 6379;
/// Where clouds answer for the node, by IPv4 and by IPv6.
const NODE_METADATA: [&str; 2] = ["169.254.0.0/16", "fd00:ec2::254/128"];

fn default_deny(objects: &Objects) -> Vec<String> {
    let denies = |way: &str| {
        objects.of("NetworkPolicy").any(|policy| {
            let all = at(policy, "/spec/podSelector").as_object().is_some_and(serde_json::Map::is_empty);
            let closed = list(policy, &format!("/spec/{}", way.to_lowercase())).next().is_none();
            all && closed && texts(policy, "/spec/policyTypes").any(|one| one == way)
        })
    };
    let open = ["Ingress", "Egress"].into_iter().filter(|way| !denies(way));
    open.map(|way| format!("no NetworkPolicy closes {way} for all pods")).collect()
}

fn both_ways(objects: &Objects) -> Vec<String> {
    let mut problems = Vec::new();
    for policy in objects.of("NetworkPolicy") {
        for (way, rules) in [("Ingress", "/spec/ingress"), ("Egress", "/spec/egress")] {
            let named = texts(policy, "/spec/policyTypes").any(|one| one == way);
            if !is_absent(policy, rules) && !named {
                problems.push(format!("{}: policyTypes lacks {way}", name(policy)));
            }
        }
    }
    problems
}

/// Each rule of each policy with the policy's name, and the list of its peers.
fn rules(objects: &Objects) -> impl Iterator<Item = (String, &Value, &Value)> {
    objects.of("NetworkPolicy").flat_map(|policy| {
        let inward = list(policy, "/spec/ingress").map(|rule| (rule, at(rule, "/from")));
        let outward = list(policy, "/spec/egress").map(|rule| (rule, at(rule, "/to")));
        inward.chain(outward).map(|(rule, peers)| (name(policy), rule, peers))
    })
}

fn no_open_door(objects: &Objects) -> Vec<String> {
    let mut problems = Vec::new();
    for (policy, rule, peers) in rules(objects) {
        if list(peers, "").next().is_none() {
            problems.push(format!("{policy}: a rule is for everybody"));
        }
        if list(rule, "/ports").next().is_none() || list(rule, "/ports").any(|port| is_absent(port, "/port"))
        {
            problems.push(format!("{policy}: a rule is for every port"));
        }
    }
    problems
}

fn no_node_metadata(objects: &Objects) -> Vec<String> {
    let mut problems = Vec::new();
    for policy in objects.of("NetworkPolicy") {
        let peers = list(policy, "/spec/egress").flat_map(|rule| list(rule, "/to"));
        for block in peers.map(|peer| at(peer, "/ipBlock")).filter(|block| !block.is_null()) {
            let cidr = text(block, "/cidr");
            for metadata in NODE_METADATA {
                let excluded = texts(block, "/except").any(|except| covers(except, metadata));
                if (covers(cidr, metadata) || covers(metadata, cidr)) && !excluded {
                    problems.push(format!("{}: {cidr} has {metadata} in it", name(policy)));
                }
            }
        }
    }
    problems
}

/// Whether one range of addresses holds all of another.
fn covers(range: &str, other: &str) -> bool {
    // The address from the left, the bits that count, and whether it is of IPv6.
    let read = |range: &str| {
        let (address, bits) = range.split_once('/')?;
        let bits = bits.parse::<u32>().ok()?;
        let (address, bits_max) = match address.parse().ok()? {
            IpAddr::V4(address) => (u128::from(u32::from(address)) << 96, 32),
            IpAddr::V6(address) => (u128::from(address), 128),
        };
        (bits <= bits_max).then_some((address, bits, bits_max))
    };
    let (Some((start, bits, family)), Some((other, other_bits, other_family))) = (read(range), read(other))
    else {
        return false;
    };
    let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
    family == other_family && bits <= other_bits && start & mask == other & mask
}

fn dns(objects: &Objects) -> Vec<String> {
    let mut problems = Vec::new();
    for pod in objects.pods().filter(|pod| pod.is_ours()) {
        let rules = outward(objects, pod).filter(|rule| list(rule, "/to").any(is_dns));
        let ports: Vec<_> = rules.flat_map(|rule| list(rule, "/ports")).collect();
        for protocol in ["UDP", "TCP"] {
            let may = |port: &&Value| at(port, "/port") == 53 && text(port, "/protocol") == protocol;
            if !ports.iter().any(may) {
                problems.push(format!("{}: it may not ask for names by {protocol}", pod.name()));
            }
        }
    }
    problems
}

/// Whether a peer is the pods that answer for names.
fn is_dns(peer: &Value) -> bool {
    let system = json!({"kubernetes.io/metadata.name": "kube-system"});
    matches(at(peer, "/namespaceSelector"), &system)
        && matches(at(peer, "/podSelector"), &json!({"k8s-app": "kube-dns"}))
}

/// The rules for what a pod may reach.
fn outward<'a>(objects: &'a Objects, pod: Pod<'a>) -> impl Iterator<Item = &'a Value> {
    let chosen = move |policy: &&Value| matches(at(policy, "/spec/podSelector"), pod.labels());
    objects.of("NetworkPolicy").filter(chosen).flat_map(|policy| list(policy, "/spec/egress"))
}

fn redis(objects: &Objects) -> Vec<String> {
    let servers: Vec<_> = objects.pods().filter(|pod| pod.has_port("redis")).collect();
    objects.each_container(|pod, container, problem| {
        let is_told = list(container, "/env").any(|one| text(one, "/name") == "FERMATA_REDIS");
        let leads_there = |rule: &Value| {
            let mut peers = list(rule, "/to").map(|peer| at(peer, "/podSelector"));
            let is_server = |peer: &Value| servers.iter().any(|server| matches(peer, server.labels()));
            list(rule, "/ports").any(|port| at(port, "/port") == REDIS_PORT)
                && (servers.is_empty() || peers.any(is_server))
        };
        if is_told && !outward(objects, pod).any(leads_there) {
            problem("it may not reach Redis".to_owned());
        }
    })
}

#[test]
fn ranges_cover() {
    for (range, other, expect) in [
        ("0.0.0.0/0", "169.254.0.0/16", true),
        ("169.254.0.0/16", "169.254.169.254/32", true),
        ("169.254.169.254/32", "169.254.0.0/16", false),
        ("10.0.0.0/8", "169.254.0.0/16", false),
        ("::/0", "169.254.0.0/16", false),
        ("::/0", "fd00:ec2::254/128", true),
        ("fc00::/7", "fd00:ec2::254/128", true),
        ("fe80::/10", "fd00:ec2::254/128", false),
        ("10.0.0.0/33", "10.0.0.0/33", false),
        ("nonsense", "169.254.0.0/16", false),
    ] {
        assert_eq!(covers(range, other), expect, "{range} {other}");
    }
}
