//! Whether the program takes what the manifests give it: each container's arguments and variables, its hooks, and the paths
//! that are asked of it.

#![expect(clippy::unwrap_used, reason = "these are helpers of tests, where a panic is the message")]

mod compose;
mod served;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::objects::{Objects, Pod, at, is, list, members, text, texts};
use super::render;
use super::secret_keys;
use crate::assert_none;
use crate::program::program;

/// Where the image has the program, which is also its entry point.
const PROGRAM: &str = "/usr/bin/fermata";
/// What somebody with an identity provider sets besides its secret.
const PROVIDER: [(&str, &str); 3] = [
    ("FERMATA_OIDC_ISSUER", "https://id.example.com"),
    ("FERMATA_OIDC_CLIENT_ID", "fermata"),
    ("FERMATA_PUBLIC_URL", "https://fermata.example.com"),
];
/// Of somebody who may sign in.
const PASSWORD: &[u8] = b"correct horse battery staple";

/// What a container of ours starts with.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Start {
    args: Vec<String>,
    variables: BTreeMap<String, String>,
}

/// A folder in which the files are that a cluster would mount.
struct Mounts {
    folder: TempDir,
}

#[test]
fn the_program_takes_what_every_container_gives_it() {
    let mounts = Mounts::new();
    let mut problems = Vec::new();
    let mut seen = BTreeSet::new();
    for rendering in render::all() {
        for pod in rendering.objects.pods().filter(|pod| pod.is_ours()) {
            for container in pod.containers() {
                let who = format!("{}: {}, {}", rendering.name, pod.name(), text(container, "/name"));
                if !is_entry_point(container) {
                    problems.push(format!("{who}: its command is not the program"));
                }
                for with_optional in [false, true] {
                    let start = mounts.start(&rendering.objects, pod, container, with_optional);
                    if seen.insert(start.clone()) {
                        problems.extend(refusal(&start).map(|said| format!("{who}: {said}")));
                    }
                }
                for hook in hooks(container) {
                    let own = hook.first().is_some_and(|program| *program == PROGRAM);
                    let start = Start {
                        args: hook.iter().skip(1).map(|word| (*word).to_owned()).collect(),
                        variables: BTreeMap::new(),
                    };
                    if !own {
                        problems.push(format!("{who}: the image has no {hook:?}"));
                    } else if seen.insert(start.clone()) {
                        problems.extend(refusal(&start).map(|said| format!("{who}: {said}")));
                    }
                }
            }
        }
    }
    assert!(seen.len() > 5, "{seen:?}");
    assert_none(&problems);
}

#[test]
fn the_program_refuses_what_it_does_not_know() {
    let mounts = Mounts::new();
    let objects = &render::kustomize("overlays/prod");
    let start = |name: &str| {
        let pod = objects.pods().find(|pod| is(pod.owner, "Deployment", name)).unwrap();
        mounts.start(objects, pod, pod.containers().next().unwrap(), false)
    };
    let renamed = |from: &str, to: &str| {
        let mut start = start("fermata-worker");
        let value = start.variables.remove(from).unwrap();
        start.variables.insert(to.to_owned(), value);
        start
    };
    let given = |name: &str, value: &str| {
        let mut start = start("fermata-worker");
        start.variables.insert(name.to_owned(), value.to_owned());
        start
    };
    let argued = |deployment: &str, argument: &str| {
        let mut start = start(deployment);
        start.args.push(argument.to_owned());
        start
    };
    for (wrong, words) in [
        (renamed("FERMATA_STORE", "FERMATA_STOR"), "FERMATA_STOR"),
        (renamed("FERMATA_REDIS", "FERMATA_REDIS_URL"), "FERMATA_REDIS_URL"),
        (given("FERMATA_STORE", "s4://bucket"), "s4"),
        (given("FERMATA_KEY_FILE", "/etc/fermata/key/another.key"), "another.key"),
        (given("FERMATA_REDIS", "http://redis"), "FERMATA_REDIS"),
        (given("FERMATA_LOG", "much"), "FERMATA_LOG"),
        (argued("fermata-worker", "--concurency=8"), "--concurency"),
        (argued("fermata-worker", "--egress-rate=8"), "--egress"),
        (argued("fermata-scheduler", "--slice=8"), "--slice"),
        (argued("fermata-dashboard", "--probe=0.0.0.0:1"), "--probe"),
    ] {
        let said = refusal(&wrong).unwrap_or_else(|| panic!("it takes {wrong:?}"));
        assert!(said.contains(words), "{words}: {said}");
    }
    let hook = Start { args: vec!["probe".to_owned(), "quite".to_owned()], variables: BTreeMap::new() };
    assert!(refusal(&hook).unwrap().contains("quite"));
}

#[test]
fn what_leaves_nothing_to_change_names_a_store() {
    let mounts = Mounts::new();
    let mut problems = Vec::new();
    let whole = render::all().filter(|one| one.name != "base" && !one.name.starts_with("components/"));
    for rendering in whole {
        for pod in rendering.objects.pods().filter(|pod| pod.is_ours()) {
            let start = pod.containers().map(|one| mounts.start(&rendering.objects, pod, one, false));
            if start.flat_map(|start| start.variables.into_keys()).all(|name| name != "FERMATA_STORE") {
                problems.push(format!("{}: {} has no store", rendering.name, pod.name()));
            }
        }
    }
    assert_none(&problems);
}

impl Mounts {
    /// With the files that the program makes for an operator to put into Secrets.
    fn new() -> Self {
        let mounts = Self { folder: tempfile::tempdir().unwrap() };
        mounts.make("init --store vault");
        mounts.make("user set ann --role admin --users users.toml");
        mounts
    }

    fn make(&self, arguments: &str) {
        let mut child = Command::new(program())
            .args(arguments.split(' '))
            .env_clear()
            .current_dir(self.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(PASSWORD).unwrap();
        assert!(child.wait().unwrap().success(), "{arguments}");
    }

    /// What a container starts with, where the Secrets that may be absent are, or are not.
    fn start(&self, objects: &Objects, pod: Pod<'_>, container: &Value, with_optional: bool) -> Start {
        let mut variables = BTreeMap::new();
        for source in list(container, "/envFrom") {
            let map = objects.find("ConfigMap", text(source, "/configMapRef/name"));
            for (name, value) in map.into_iter().flat_map(|map| members(map, "/data")) {
                variables.insert(name.to_owned(), value.as_str().unwrap().to_owned());
            }
        }
        for variable in list(container, "/env") {
            let secret = at(variable, "/valueFrom/secretKeyRef");
            let (secret, key, optional) =
                (text(secret, "/name"), text(secret, "/key"), at(secret, "/optional") == true);
            if optional && !with_optional {
                continue;
            }
            let value =
                if key.is_empty() { text(variable, "/value").to_owned() } else { stand_in(secret, key) };
            variables.insert(text(variable, "/name").to_owned(), value);
        }
        if variables.contains_key("FERMATA_OIDC_CLIENT_SECRET") {
            for (name, value) in PROVIDER {
                variables.entry(name.to_owned()).or_insert_with(|| value.to_owned());
            }
        }
        let mut args: Vec<_> = texts(container, "/args").map(str::to_owned).collect();
        let mounts: Vec<_> = list(container, "/volumeMounts")
            .map(|mount| (text(mount, "/mountPath"), self.mount(pod, mount)))
            .collect();
        for value in variables.values_mut().chain(&mut args) {
            *value = moved(value, &mounts);
        }
        Start { args, variables }
    }

    /// The folder that stands for a mount, with what the volume holds.
    fn mount(&self, pod: Pod<'_>, mount: &Value) -> PathBuf {
        let name = text(mount, "/name");
        let volume = list(pod.spec(), "/volumes").find(|one| text(one, "/name") == name);
        let secret = volume.map_or("", |volume| text(volume, "/secret/secretName"));
        let name = if secret.is_empty() { name } else { secret };
        self.volume(name, secret_keys(secret).unwrap_or_default())
    }

    /// The folder that stands for a volume, with these files in it.
    fn volume(&self, name: &str, files: &[&str]) -> PathBuf {
        let here = self.folder.path().join("volumes").join(name);
        std::fs::create_dir_all(&here).unwrap();
        for file in files {
            std::fs::copy(self.folder.path().join(file), here.join(file)).unwrap();
        }
        here
    }
}

/// An argument or a variable, with the path in it moved to where its mount is here.
fn moved(value: &str, mounts: &[(&str, PathBuf)]) -> String {
    let (flag, path) = value.split_at(value.find('=').map_or(0, |sign| sign + 1));
    let inside = |(mount, here): &(&str, PathBuf)| {
        let rest = path.strip_prefix(mount)?.strip_prefix('/')?;
        Some(format!("{flag}{}", here.join(rest).display()))
    };
    mounts.iter().find_map(inside).unwrap_or_else(|| value.to_owned())
}

/// What an operator might put into a Secret for a variable.
fn stand_in(secret: &str, key: &str) -> String {
    match (secret, key) {
        ("fermata-redis", "url") => "rediss://fermata:geheim@redis.example.com:6380/0",
        ("fermata-oidc", "client-secret") => "geheim",
        _ => panic!("nobody knows what {secret} has as {key}"),
    }
    .to_owned()
}

/// What the program has against this, if anything.
fn refusal(start: &Start) -> Option<String> {
    let output = Command::new(program())
        .args(&start.args)
        .arg("--check-config")
        .env_clear()
        .envs(&start.variables)
        .current_dir(Path::new("/"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    match output.status.code() {
        Some(0) => None,
        Some(2) => Some(said),
        code => panic!("{start:?} ended with {code:?}: {said}"),
    }
}

/// Whether a container starts the program.
fn is_entry_point(container: &Value) -> bool {
    texts(container, "/command").next().is_none_or(|program| program == PROGRAM)
}

/// The commands that are started in a container besides its own.
fn hooks(container: &Value) -> impl Iterator<Item = Vec<&str>> {
    let places =
        ["startupProbe", "livenessProbe", "readinessProbe", "lifecycle/preStop", "lifecycle/postStart"];
    let commands =
        places.map(|place| texts(container, &format!("/{place}/exec/command")).collect::<Vec<_>>());
    commands.into_iter().filter(|command| !command.is_empty())
}
