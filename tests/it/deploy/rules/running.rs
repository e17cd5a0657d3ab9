//! What a pod gets, how it is asked, stopped and scaled.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Rule;
use crate::deploy::objects::{Objects, at, is, is_absent, label, list, matches, name, quantity, text, texts};

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "requests",
        why: "without them the scheduler of the cluster puts pods where there is no room",
        check: requests,
    },
    Rule { name: "memory-limit", why: "a leak is to end one pod, and not its node", check: memory_limit },
    Rule {
        name: "no-cpu-limit",
        why: "a cpu limit stops a pod while the node idles, in the midst of a lease",
        check: no_cpu_limit,
    },
    Rule {
        name: "within-limits",
        why: "what requests more than its limit is never started",
        check: within_limits,
    },
    Rule {
        name: "room",
        why: "a pod that fills its folders up to their limits must not be evicted for it",
        check: room,
    },
    Rule {
        name: "probes",
        why: "alive is not ready: a process that is killed because Redis is away takes its jobs with it",
        check: probes,
    },
    Rule {
        name: "grace",
        why: "whoever is killed before it has stopped loses the page it was at, and its jobs wait for their leases to end",
        check: grace,
    },
    Rule {
        name: "slices",
        why: "a slice ends after its page: a wait of one slice alone stops the jobs that had just begun theirs",
        check: slices,
    },
    Rule { name: "spread", why: "one node that dies must not take all workers", check: spread },
    Rule {
        name: "upgrades",
        why: "an upgrade in the night must not slow the night down: new workers come before old ones go",
        check: upgrades,
    },
    Rule {
        name: "one-dashboard",
        why: "sessions are in its memory: a second one would know nobody who signed in at the first",
        check: one_dashboard,
    },
    Rule {
        name: "one-owner-of-replicas",
        why: "each apply would undo what the autoscaler has done, and two autoscalers undo each other's",
        check: one_owner_of_replicas,
    },
    Rule {
        name: "scale-down",
        why: "the end of a burst is not the end of the night: what is taken away has to be drained, and comes back cold",
        check: scale_down,
    },
    Rule { name: "fallback", why: "while the scheduler is away there must be workers", check: fallback },
    Rule {
        name: "drains",
        why: "a budget that lets no pod go holds up every upgrade of a node, and one with both ways is refused",
        check: drains,
    },
    Rule {
        name: "ends",
        why: "a run that hangs would hold its place for ever, and one that cannot succeed must say so instead of being tried again",
        check: ends,
    },
    Rule {
        name: "cron",
        why: "runs must not meet, a cluster that was away must not catch up on all it missed, and a failure must be there to be read",
        check: cron,
    },
];

/// What each probe asks of a process of Fermata.
const PROBES: [(&str, &str); 3] =
    [("startupProbe", "/startedz"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")];
/// What a process needs to end after its last job, and what kubelet is late by.
const GRACE_MARGIN_SECONDS: u64 = 15;
/// `--slice` of a worker, and `--wait` of `probe quiet`, when nobody sets them.
const SLICE_SECONDS: u64 = 30;
/// For the page that is under way when a slice is over.
const PAGE_SECONDS: u64 = 5;
/// `--stop-timeout` when nobody sets it.
const STOP_TIMEOUT_SECONDS: u64 = 10;
/// `terminationGracePeriodSeconds` when nobody sets it.
const GRACE_SECONDS: u64 = 30;
/// How long fewer workers must have been enough.
const SCALE_DOWN_SECONDS_MIN: u64 = 600;
/// The controller looks every ten seconds: a deadline near that starts nothing.
const START_DEADLINE_SECONDS_MIN: u64 = 60;
/// More tries of a command that resumes by itself only hide that it fails.
const TRIES_MAX: u64 = 3;

fn requests(objects: &Objects) -> Vec<String> {
    objects.each_container(|_, container, problem| {
        for resource in ["cpu", "memory", "ephemeral-storage"] {
            if quantity(at(container, &format!("/resources/requests/{resource}"))).is_none() {
                problem(format!("it does not request {resource}"));
            }
        }
    })
}

fn memory_limit(objects: &Objects) -> Vec<String> {
    objects.each_container(|_, container, problem| {
        if quantity(at(container, "/resources/limits/memory")).is_none() {
            problem("its memory has no limit".to_owned());
        }
    })
}

fn no_cpu_limit(objects: &Objects) -> Vec<String> {
    objects.each_container(|_, container, problem| {
        if !is_absent(container, "/resources/limits/cpu") {
            problem("its cpu is limited".to_owned());
        }
    })
}

fn within_limits(objects: &Objects) -> Vec<String> {
    objects.each_container(|_, container, problem| {
        for resource in ["cpu", "memory", "ephemeral-storage"] {
            let of = |which: &str| quantity(at(container, &format!("/resources/{which}/{resource}")));
            if let (Some(request), Some(limit)) = (of("requests"), of("limits"))
                && request > limit
            {
                problem(format!("it requests more {resource} than its limit"));
            }
        }
    })
}

fn room(objects: &Objects) -> Vec<String> {
    let mut problems = Vec::new();
    for pod in objects.pods() {
        let limits = pod.containers().map(|one| quantity(at(one, "/resources/limits/ephemeral-storage")));
        // One container without a limit, and the pod has none.
        let Some(limit) = limits.sum::<Option<f64>>() else { continue };
        let folders =
            list(pod.spec(), "/volumes").filter(|volume| text(volume, "/emptyDir/medium") != "Memory");
        let folders: f64 = folders.filter_map(|volume| quantity(at(volume, "/emptyDir/sizeLimit"))).sum();
        if folders > limit {
            problems
                .push(format!("{}: its folders may hold more than its ephemeral-storage limit", pod.name()));
        }
    }
    problems
}

fn probes(objects: &Objects) -> Vec<String> {
    objects.each_container(|pod, container, problem| {
        if !pod.is_server() {
            return;
        }
        for (probe, path) in PROBES {
            if is_absent(container, &format!("/{probe}")) {
                problem(format!("there is no {probe}"));
            } else if pod.is_ours() && text(container, &format!("/{probe}/httpGet/path")) != path {
                problem(format!("{probe} does not ask {path}"));
            }
        }
    })
}

fn grace(objects: &Objects) -> Vec<String> {
    objects.each_container(|pod, container, problem| {
        let command: Vec<_> = texts(container, "/lifecycle/preStop/exec/command").collect();
        let is_worker = texts(container, "/args").next() == Some("worker");
        if is_worker && !command.windows(2).any(|words| words == ["probe", "quiet"]) {
            problem("preStop does not make it quiet".to_owned());
        }
        let args: Vec<_> = texts(container, "/args").collect();
        let stop = number_after(&args, "--stop-timeout").unwrap_or(STOP_TIMEOUT_SECONDS);
        let needed = number_after(&command, "--wait").unwrap_or(0) + stop + GRACE_MARGIN_SECONDS;
        let given = at(pod.spec(), "/terminationGracePeriodSeconds").as_u64().unwrap_or(GRACE_SECONDS);
        if pod.is_ours() && given < needed {
            problem(format!("{given} s to stop in, and it needs {needed}"));
        }
    })
}

fn slices(objects: &Objects) -> Vec<String> {
    objects.each_container(|_, container, problem| {
        let hook: Vec<_> = texts(container, "/lifecycle/preStop/exec/command").collect();
        let args: Vec<_> = texts(container, "/args").collect();
        let slice = number_after(&args, "--slice").unwrap_or(SLICE_SECONDS);
        let wait = number_after(&hook, "--wait").unwrap_or(SLICE_SECONDS);
        if hook.contains(&"quiet") && wait < slice + PAGE_SECONDS {
            problem(format!("it waits {wait} s, and a slice of {slice} s may need {PAGE_SECONDS} more"));
        }
    })
}

/// The number that a flag is given, as `--flag 5` or `--flag=5`.
fn number_after(words: &[&str], flag: &str) -> Option<u64> {
    let joined = words.iter().find_map(|word| word.strip_prefix(flag)?.strip_prefix('='));
    let next = || words.iter().skip_while(|word| **word != flag).nth(1).copied();
    joined.or_else(next)?.parse().ok()
}

fn spread(objects: &Objects) -> Vec<String> {
    let mut problems = Vec::new();
    for pod in objects.pods() {
        let constraints: Vec<_> = list(pod.spec(), "/topologySpreadConstraints").collect();
        let topologies: BTreeSet<_> = constraints.iter().map(|one| text(one, "/topologyKey")).collect();
        let is_worker = pod.is_ours() && label(pod.labels(), "component") == "worker";
        if is_worker && !topologies.contains("kubernetes.io/hostname") {
            problems.push(format!("{}: it is not spread over nodes", pod.name()));
        }
        for constraint in constraints {
            if !matches(at(constraint, "/labelSelector"), pod.labels()) {
                problems.push(format!("{}: its spread does not count its own pods", pod.name()));
            }
        }
    }
    problems
}

fn upgrades(objects: &Objects) -> Vec<String> {
    let workers = objects.pods().filter(|pod| pod.is_ours() && label(pod.labels(), "component") == "worker");
    let servers = workers.filter(|pod| pod.is_server());
    let fewer = servers.filter(|pod| {
        text(pod.owner, "/spec/strategy/type") != "RollingUpdate"
            || at(pod.owner, "/spec/strategy/rollingUpdate/maxUnavailable") != 0
    });
    fewer.map(|pod| format!("{}: an upgrade leaves fewer of them", pod.name())).collect()
}

fn one_dashboard(objects: &Objects) -> Vec<String> {
    let mut problems = Vec::new();
    let dashboards = objects.pods().filter(|pod| label(pod.labels(), "component") == "dashboard");
    for pod in dashboards {
        if at(pod.owner, "/spec/replicas") != 1 {
            problems.push(format!("{}: it is not one", pod.name()));
        }
        if text(pod.owner, "/spec/strategy/type") != "Recreate" {
            problems.push(format!("{}: a new one starts beside the old one", pod.name()));
        }
    }
    problems
}

/// Every autoscaler with the place of what it scales.
fn autoscalers(objects: &Objects) -> impl Iterator<Item = (&Value, &Value)> {
    let both = objects.of("HorizontalPodAutoscaler").chain(objects.of("ScaledObject"));
    both.map(|autoscaler| (autoscaler, at(autoscaler, "/spec/scaleTargetRef")))
}

fn one_owner_of_replicas(objects: &Objects) -> Vec<String> {
    let mut problems = Vec::new();
    for pod in objects.pods().filter(|pod| pod.is_server()) {
        let scales = |target: &Value| {
            let target_kind = if is_absent(target, "/kind") { "Deployment" } else { text(target, "/kind") };
            is(pod.owner, target_kind, text(target, "/name"))
        };
        let owners = autoscalers(objects).filter(|(_, target)| scales(target)).count();
        let written = usize::from(!is_absent(pod.owner, "/spec/replicas"));
        if owners + written > 1 {
            problems.push(format!("{}: {} say how many there are", pod.name(), owners + written));
        }
    }
    problems
}

fn scale_down(objects: &Objects) -> Vec<String> {
    let mut problems = Vec::new();
    for (autoscaler, _) in autoscalers(objects) {
        let ours = "/spec/behavior/scaleDown";
        let kedas = "/spec/advanced/horizontalPodAutoscalerConfig/behavior/scaleDown";
        let down = autoscaler.pointer(ours).or(autoscaler.pointer(kedas)).unwrap_or(&Value::Null);
        let window = at(down, "/stabilizationWindowSeconds").as_u64().unwrap_or(0);
        if window < SCALE_DOWN_SECONDS_MIN {
            problems.push(format!("{}: it forgets a burst after {window} s", name(autoscaler)));
        }
        let policies: Vec<_> = list(down, "/policies").collect();
        let is_slow = |policy: &&Value| text(policy, "/type") == "Pods" && at(policy, "/value") == 1;
        if policies.is_empty() || !policies.iter().all(is_slow) {
            problems.push(format!("{}: it takes more than one pod away at a time", name(autoscaler)));
        }
    }
    problems
}

fn fallback(objects: &Objects) -> Vec<String> {
    let mut problems = Vec::new();
    for scaled in objects.of("ScaledObject") {
        let replicas = at(scaled, "/spec/fallback/replicas").as_u64().unwrap_or(0);
        let behavior = text(scaled, "/spec/fallback/behavior");
        if replicas == 0 {
            problems.push(format!("{}: it has no fallback", name(scaled)));
        } else if behavior != "currentReplicasIfHigher" {
            problems.push(format!("{}: its fallback takes workers away", name(scaled)));
        }
        // KEDA leaves the fallback out, and says nothing, for every other type.
        if list(scaled, "/spec/triggers").any(|trigger| text(trigger, "/metricType") != "AverageValue") {
            problems.push(format!("{}: there is no fallback from a trigger of its type", name(scaled)));
        }
    }
    problems
}

fn drains(objects: &Objects) -> Vec<String> {
    let mut problems = Vec::new();
    for budget in objects.of("PodDisruptionBudget") {
        let mut problem = |what: &str| problems.push(format!("{}: {what}", name(budget)));
        let (min, max) = (at(budget, "/spec/minAvailable"), at(budget, "/spec/maxUnavailable"));
        if min.is_null() == max.is_null() {
            problem("it has not exactly one of minAvailable and maxUnavailable");
        }
        if max == 0 || max == "0%" || min == "100%" {
            problem("no pod may ever go");
        }
        for pod in objects.chosen(at(budget, "/spec/selector")) {
            let replicas = at(pod.owner, "/spec/replicas").as_u64().unwrap_or(1);
            if min.as_u64().is_some_and(|min| min >= replicas) {
                problem("as many must be there as there are");
            }
        }
        if text(budget, "/spec/unhealthyPodEvictionPolicy") != "AlwaysAllow" {
            problem("a pod that never gets ready holds its node");
        }
    }
    problems
}

fn ends(objects: &Objects) -> Vec<String> {
    let mut problems = Vec::new();
    let jobs = objects.of("Job").map(|job| (job, at(job, "/spec")));
    let crons = objects.of("CronJob").map(|cron| (cron, at(cron, "/spec/jobTemplate/spec")));
    for (owner, job) in jobs.chain(crons) {
        let mut want = |holds: bool, what: &str| {
            if !holds {
                problems.push(format!("{}: {what}", name(owner)));
            }
        };
        want(at(job, "/activeDeadlineSeconds").is_u64(), "it may hang for ever");
        let tries = at(job, "/backoffLimit").as_u64();
        want(tries.is_some_and(|tries| tries <= TRIES_MAX), "it is tried too often");
        want(text(job, "/template/spec/restartPolicy") == "Never", "kubelet tries it again by itself");
    }
    problems
}

fn cron(objects: &Objects) -> Vec<String> {
    let mut problems = Vec::new();
    for cron in objects.of("CronJob") {
        let mut want = |holds: bool, what: &str| {
            if !holds {
                problems.push(format!("{}: {what}", name(cron)));
            }
        };
        let number = |pointer: &str| at(cron, pointer).as_u64().unwrap_or(0);
        want(text(cron, "/spec/concurrencyPolicy") == "Forbid", "its runs may meet");
        let late = number("/spec/startingDeadlineSeconds");
        want(late >= START_DEADLINE_SECONDS_MIN, "it is not said how late a run may begin");
        want(number("/spec/failedJobsHistoryLimit") > 0, "nobody sees why it failed");
        want(
            !text(cron, "/spec/timeZone").is_empty(),
            "its hours are those of whatever clock the cluster has",
        );
    }
    problems
}

#[test]
fn a_flag_is_read_both_ways() {
    for (words, expect) in [
        (&["worker", "--wait", "30"][..], Some(30)),
        (&["worker", "--wait=30"], Some(30)),
        (&["worker", "--wait"], None),
        (&["worker"], None),
    ] {
        assert_eq!(number_after(words, "--wait"), expect, "{words:?}");
    }
}
