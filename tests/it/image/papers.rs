//! The Dockerfile and what it is given, read and held against the workspace. No engine is there to build it.

use std::process::Command;

use serde_json::Value;

use crate::root;

/// The program's own account of itself.
fn package(folder: &std::path::Path, extra: &[&str]) -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .args(extra)
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    packages.iter().find(|package| package["name"] == "fermata").unwrap().clone()
}

fn dockerfile() -> String {
    let text = std::fs::read_to_string(root().join("deploy/Dockerfile")).unwrap();
    text.replace("\\\n", " ")
}

#[test]
fn the_last_stage_is_the_tree_and_nothing_else() {
    let text = dockerfile();
    let (build, last) = text.split_once("\nFROM scratch\n").expect("the last stage begins with nothing");
    assert!(build.contains("&& deploy/image-root target/release/fermata /image"), "{build}");
    assert!(build.contains("cargo build --release --locked --package fermata"), "{build}");
    let mut kept = Vec::new();
    for line in last.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
        if !line.starts_with("LABEL ") {
            kept.push(line);
        }
    }
    assert_eq!(
        kept,
        [
            "COPY --from=build /image /",
            "USER 65532:65532",
            "EXPOSE 8480 9464",
            "ENTRYPOINT [\"/usr/bin/fermata\"]"
        ]
    );
    // Whatever is given to a build stays readable in the image's history.
    assert!(!text.contains("ARG ") && !text.contains("ENV "), "{text}");
}

#[test]
fn its_labels_and_its_compiler_are_those_of_the_workspace() {
    let (text, package) = (dockerfile(), package(root(), &[]));
    for (label, member) in [("description", "description"), ("version", "version"), ("licenses", "license")] {
        let label = format!("org.opencontainers.image.{label}={}", package[member]);
        assert!(text.contains(&label), "no {label}");
    }
    let compiler = package["rust_version"].as_str().unwrap();
    assert!(text.contains(&format!("FROM rust:{compiler}-")), "the compiler is not {compiler}");
}

#[test]
fn what_the_build_is_given_is_a_workspace_and_holds_no_secret() {
    let list = std::fs::read_to_string(root().join(".dockerignore")).unwrap();
    let mut rules = list.lines().filter(|line| !line.starts_with('#'));
    assert_eq!(rules.next(), Some("*"), "nothing is given but what is named");
    let folder = tempfile::tempdir().unwrap();
    for name in rules {
        let name = name.strip_prefix('!').expect("the rest is named");
        let to = folder.path().join(name);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        let copied = Command::new("cp").arg("-R").arg(root().join(name)).arg(&to).status().unwrap();
        assert!(copied.success(), "{name}");
    }
    assert_eq!(package(folder.path(), &["--locked"])["name"], "fermata");
    assert!(folder.path().join("deploy/image-root").exists());
}
