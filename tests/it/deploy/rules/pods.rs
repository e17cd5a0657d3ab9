//! What a pod may do to the node and to the cluster.

use serde_json::Value;

use super::Rule;
use crate::deploy::objects::{Objects, Pod, at, is_absent, list, members, text, texts};

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "restricted",
        why: "the namespace enforces the restricted standard, and refuses a pod that does not meet it",
        check: |objects| each_pod(objects, restricted),
    },
    Rule {
        name: "user",
        why: "the image's folders belong to 65532, which is also no user of the node",
        check: |objects| each_pod(objects, user),
    },
    Rule {
        name: "read-only-root",
        why: "whoever gets in can leave no program behind",
        check: read_only_root,
    },
    Rule {
        name: "sized-empty-dirs",
        why: "a folder without a limit fills the node's disk, and everybody is evicted",
        check: |objects| each_pod(objects, sized_empty_dirs),
    },
    Rule {
        name: "no-api-token",
        why: "nothing here asks the cluster's API, so nothing should be able to",
        check: no_api_token,
    },
    Rule {
        name: "no-service-links",
        why: "a Service called fermata would put variables called FERMATA_... into every pod, which the program refuses",
        check: |objects| each_pod(objects, no_service_links),
    },
];

/// Kinds of volumes that the restricted standard allows.
const VOLUMES: [&str; 8] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
];
/// Kernel settings that it allows.
const SYSCTLS: [&str; 9] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_rmem",
];
/// `SELinux` types that it allows; none is fine too.
const SELINUX: [&str; 5] = ["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];
/// The user of the image.
const USER: u64 = 65532;

fn each_pod(objects: &Objects, check: fn(Pod<'_>, &mut dyn FnMut(String))) -> Vec<String> {
    let mut problems = Vec::new();
    for pod in objects.pods() {
        check(pod, &mut |what| problems.push(format!("{}: {what}", pod.name())));
    }
    problems
}

/// Source: <https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted>.
fn restricted(pod: Pod<'_>, problem: &mut dyn FnMut(String)) {
    let spec = pod.spec();
    for host in ["hostNetwork", "hostPID", "hostIPC"] {
        if spec.get(host).is_some_and(|set| set != false) {
            problem(format!("{host} is set"));
        }
    }
    for volume in list(spec, "/volumes") {
        for (kind, _) in members(volume, "").filter(|(kind, _)| *kind != "name" && !VOLUMES.contains(kind)) {
            problem(format!("volume {} is a {kind}", text(volume, "/name")));
        }
    }
    for sysctl in list(spec, "/securityContext/sysctls") {
        if !SYSCTLS.contains(&text(sysctl, "/name")) {
            problem(format!("sysctl {} is not among the safe ones", text(sysctl, "/name")));
        }
    }
    restricted_context(at(spec, "/securityContext"), problem);
    for container in pod.containers() {
        let mut problem = |what: String| problem(format!("container {}: {what}", text(container, "/name")));
        restricted_context(at(container, "/securityContext"), &mut problem);
        restricted_container(spec, container, &mut problem);
    }
}

/// What may stand in the context of a pod and of a container.
fn restricted_context(context: &Value, problem: &mut dyn FnMut(String)) {
    if at(context, "/windowsOptions/hostProcess") == true {
        problem("hostProcess is set".to_owned());
    }
    if !["", "RuntimeDefault", "Localhost"].contains(&text(context, "/appArmorProfile/type")) {
        problem("the AppArmor profile is neither RuntimeDefault nor Localhost".to_owned());
    }
    if !SELINUX.contains(&text(context, "/seLinuxOptions/type")) {
        problem("the SELinux type is none of a container's".to_owned());
    }
    for field in ["user", "role"] {
        if !text(context, &format!("/seLinuxOptions/{field}")).is_empty() {
            problem(format!("seLinuxOptions has a {field}"));
        }
    }
    if at(context, "/runAsUser") == 0 {
        problem("it runs as root".to_owned());
    }
    if at(context, "/runAsNonRoot") == false {
        problem("runAsNonRoot is false".to_owned());
    }
    if text(context, "/seccompProfile/type") == "Unconfined" {
        problem("seccomp is unconfined".to_owned());
    }
}

/// What must hold for a container, in its own context or, where that says nothing, in the pod's.
fn restricted_container(spec: &Value, container: &Value, problem: &mut dyn FnMut(String)) {
    let context = at(container, "/securityContext");
    let inherited = |field: &str| {
        let own = at(context, field);
        if own.is_null() { at(spec, &format!("/securityContext{field}")) } else { own }
    };
    if inherited("/runAsNonRoot") != true {
        problem("runAsNonRoot is not true".to_owned());
    }
    if !["RuntimeDefault", "Localhost"]
        .contains(&inherited("/seccompProfile/type").as_str().unwrap_or_default())
    {
        problem("there is no seccomp profile".to_owned());
    }
    if at(context, "/privileged") == true {
        problem("it is privileged".to_owned());
    }
    if at(context, "/allowPrivilegeEscalation") != false {
        problem("allowPrivilegeEscalation is not false".to_owned());
    }
    if !["", "Default"].contains(&text(context, "/procMount")) {
        problem("procMount is not the default".to_owned());
    }
    if !texts(context, "/capabilities/drop").any(|dropped| dropped == "ALL") {
        problem("it does not drop ALL capabilities".to_owned());
    }
    for added in texts(context, "/capabilities/add").filter(|added| *added != "NET_BIND_SERVICE") {
        problem(format!("it adds the capability {added}"));
    }
    for port in list(container, "/ports").filter(|port| at(port, "/hostPort").as_u64().unwrap_or(0) != 0) {
        problem(format!("port {} is one of the node", text(port, "/name")));
    }
    for hook in
        ["livenessProbe", "readinessProbe", "startupProbe", "lifecycle/preStop", "lifecycle/postStart"]
    {
        for way in ["httpGet", "tcpSocket"] {
            if !is_absent(container, &format!("/{hook}/{way}/host")) {
                problem(format!("{hook} asks a host of its own"));
            }
        }
    }
}

fn user(pod: Pod<'_>, problem: &mut dyn FnMut(String)) {
    for field in ["runAsUser", "runAsGroup"] {
        if at(pod.spec(), &format!("/securityContext/{field}")).as_u64() != Some(USER) {
            problem(format!("{field} is not {USER}"));
        }
        for container in pod.containers() {
            if !is_absent(container, &format!("/securityContext/{field}")) {
                problem(format!("container {} has a {field} of its own", text(container, "/name")));
            }
        }
    }
}

fn read_only_root(objects: &Objects) -> Vec<String> {
    objects.each_container(|_, container, problem| {
        if at(container, "/securityContext/readOnlyRootFilesystem") != true {
            problem("readOnlyRootFilesystem is not true".to_owned());
        }
    })
}

fn sized_empty_dirs(pod: Pod<'_>, problem: &mut dyn FnMut(String)) {
    for volume in list(pod.spec(), "/volumes") {
        if !is_absent(volume, "/emptyDir") && is_absent(volume, "/emptyDir/sizeLimit") {
            problem(format!("volume {} has no sizeLimit", text(volume, "/name")));
        }
    }
}

fn no_api_token(objects: &Objects) -> Vec<String> {
    let mut problems = each_pod(objects, |pod, problem| {
        if at(pod.spec(), "/automountServiceAccountToken") != false {
            problem("automountServiceAccountToken is not false".to_owned());
        }
        for source in list(pod.spec(), "/volumes").flat_map(|volume| list(volume, "/projected/sources")) {
            // A token for somebody else, like a cloud, names its audience.
            if !is_absent(source, "/serviceAccountToken")
                && is_absent(source, "/serviceAccountToken/audience")
            {
                problem("a projected token is for the cluster's API".to_owned());
            }
        }
    });
    for account in objects.of("ServiceAccount") {
        if at(account, "/automountServiceAccountToken") != false {
            problems.push(format!(
                "ServiceAccount/{}: automountServiceAccountToken is not false",
                text(account, "/metadata/name")
            ));
        }
    }
    problems
}

fn no_service_links(pod: Pod<'_>, problem: &mut dyn FnMut(String)) {
    if at(pod.spec(), "/enableServiceLinks") != false {
        problem("enableServiceLinks is not false".to_owned());
    }
}
