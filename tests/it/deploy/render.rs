//! What `deploy/` becomes: kubectl and helm as real processes, and the objects that they print.

#![expect(clippy::unwrap_used, reason = "these are helpers of tests, where a panic is the message")]

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde::Deserialize as _;

use super::objects::Objects;
use super::{NAMESPACE, chart};
use crate::root;

/// What is no whole by itself.
const PART: &str = "namespace";

/// Objects as an operator would apply them.
pub(crate) struct Rendering {
    /// The folder below `deploy/kustomize`, or `helm` and the values.
    pub(crate) name: String,
    pub(crate) objects: Objects,
}

/// Every form of `deploy/`: whatever Kustomize folder is there, and the chart with each of its switches.
pub(crate) fn all() -> impl Iterator<Item = Rendering> {
    let folders = kustomizations().into_iter();
    let folders = folders.map(|name| Rendering { objects: kustomize(&name), name });
    let charts = chart::switches().into_iter().map(|values| Rendering {
        objects: helm(NAMESPACE, &values).unwrap_or_else(|error| panic!("helm with {values:?}: {error}")),
        name: ["helm".to_owned()].into_iter().chain(values).collect::<Vec<_>>().join(" "),
    });
    folders.chain(charts)
}

/// Builds a folder. A component is no whole: it is put onto the base in a folder made for that.
pub(crate) fn kustomize(name: &str) -> Objects {
    let scratch = tempfile::tempdir().unwrap();
    let at = if name.starts_with("components/") {
        // Kustomize takes relative paths alone, and follows no link out of the scratch folder.
        let above = "../".repeat(scratch.path().canonicalize().unwrap().components().count() - 1);
        let tree = folder().canonicalize().unwrap();
        let tree = format!("{above}{}", tree.strip_prefix("/").unwrap().display());
        let lines = format!("resources: [{tree}/base]\ncomponents: [{tree}/{name}]\n");
        std::fs::write(scratch.path().join("kustomization.yaml"), lines).unwrap();
        scratch.path().to_owned()
    } else {
        folder().join(name)
    };
    let output = run("kubectl", [OsStr::new("kustomize"), at.as_os_str()]);
    let said = String::from_utf8_lossy(&output.stderr);
    // What Kustomize warns of is what it will refuse one day.
    assert!(output.status.success() && said.is_empty(), "kubectl kustomize {name}: {said}");
    documents(&output.stdout)
}

/// The chart with these values instead of its own, or what helm has against them.
pub(crate) fn helm(namespace: &str, values: &[String]) -> Result<Objects, String> {
    let mut arguments =
        vec!["template".to_owned(), "fermata".to_owned(), chart::folder().display().to_string()];
    arguments.extend(["--namespace", namespace].map(str::to_owned));
    arguments.extend(values.iter().flat_map(|value| ["--set-json".to_owned(), value.clone()]));
    let output = run("helm", arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(documents(&output.stdout)) } else { Err(stderr.into_owned()) }
}

/// kubectl or helm, as `./test` installed it or from PATH.
pub(crate) fn run(tool: &str, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Output {
    let installed = installed(tool);
    let program = if installed.exists() { installed.as_os_str() } else { OsStr::new(tool) };
    Command::new(program)
        .args(arguments)
        // Neither is to find a cluster, or settings of whoever runs the tests.
        .env("KUBECONFIG", "/dev/null")
        .env("HOME", env!("CARGO_TARGET_TMPDIR"))
        .output()
        .unwrap_or_else(|error| panic!("cannot start {tool} ({error}): run ./test, which installs it"))
}

/// Where `./test` puts a tool of this gate.
pub(crate) fn installed(tool: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("kubernetes").join(tool)
}

/// Reads a stream of YAML documents, and leaves out those that are empty.
fn documents(yaml: &[u8]) -> Objects {
    let yaml = std::str::from_utf8(yaml).unwrap();
    let documents = yaml_serde::Deserializer::from_str(yaml).map(|document| {
        // By way of a value of YAML, which refuses a name that is there twice: helm does not.
        serde_json::to_value(yaml_serde::Value::deserialize(document).unwrap()).unwrap()
    });
    Objects(documents.filter(|document| !document.is_null()).collect())
}

/// Every folder that Kustomize builds, but for what is a part of all the others.
fn kustomizations() -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder()];
    while let Some(next) = folders.pop() {
        let entries = std::fs::read_dir(&next).unwrap().map(|entry| entry.unwrap().path());
        folders.extend(entries.filter(|path| path.is_dir()));
        if next.join("kustomization.yaml").exists() {
            found.push(next.strip_prefix(folder()).unwrap().to_str().unwrap().to_owned());
        }
    }
    found.retain(|name| name != PART);
    found.sort_unstable();
    found
}

fn folder() -> PathBuf {
    root().join("deploy/kustomize")
}
