//! The house rules, as far as a program can check them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use fermata_core::catalogue::{ENTITIES, Entity, Method};
use serde_json::Value;

use crate::{assert_none, root};

/// Who may depend on whom, besides this package. The arrows of ARCHITECTURE.md.
const ARROWS: &[(&str, &[&str])] = &[
    ("fermata-core", &[]),
    ("fermata-tempo", &["fermata-core"]),
    ("fermata-vault", &["fermata-core"]),
    ("fermata-engine", &["fermata-core", "fermata-tempo", "fermata-vault"]),
    ("fermata-fleet", &["fermata-core", "fermata-tempo", "fermata-vault", "fermata-engine"]),
    (
        "fermata",
        &["fermata-core", "fermata-tempo", "fermata-vault", "fermata-engine", "fermata-fleet", "tempo-sim"],
    ),
    ("tempo-sim", &[]),
];
/// This package, which may see them all.
const TESTS: &str = "fermata-tests";
/// Crates whose own tests may run against the simulator.
const TEST_WITH_SIMULATOR: [&str; 4] = ["fermata-tempo", "fermata-engine", "fermata-fleet", "fermata"];
/// A file that is longer holds two things.
const FILE_LINES_MAX: usize = 800;
/// The README is for a tired administrator.
const README_LINES_MAX: usize = 100;
/// Names that say nothing of what is inside.
const EMPTY_NAMES: [&str; 6] = ["common", "utils", "util", "types", "helpers", "misc"];
/// What the variables begin with that the binary reads, but for those of clouds.
const VARIABLES: [&str; 2] = ["FERMATA_", "OTEL_"];

#[test]
fn arrows_go_inward() {
    let mut problems = Vec::new();
    let packages = packages();
    for package in packages.iter().filter(|package| package["name"] != TESTS) {
        let name = text(&package["name"]);
        let Some((_, allowed)) = ARROWS.iter().find(|(known, _)| *known == name) else {
            problems.push(format!("{name} has no place in ARROWS"));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let to = text(&dependency["name"]);
            let inside = packages.iter().any(|package| package["name"] == to);
            let for_tests = dependency["kind"] == "dev"
                && (to == name || (to == "tempo-sim" && TEST_WITH_SIMULATOR.contains(&name)));
            if inside && !for_tests && !allowed.contains(&to) {
                problems.push(format!("{name} must not see {to}"));
            }
        }
    }
    assert_none(&problems);
}

#[test]
fn every_package_is_kept_alike() {
    let mut problems = Vec::new();
    let architecture = read(&root().join("ARCHITECTURE.md"));
    for package in packages() {
        let name = text(&package["name"]);
        let manifest = Path::new(text(&package["manifest_path"]));
        let folder = manifest.parent().expect("a manifest lies in a folder");
        let toml: toml::Table = read(manifest).parse().expect("cargo has read it");
        let mut want = |holds: bool, what: &str| {
            if !holds {
                problems.push(format!("{name}: {what}"));
            }
        };
        want(toml.get("lints") == Some(&inherited()), "its lints are not the workspace's");
        let package = toml["package"].as_table().expect("cargo has read it");
        for field in ["version", "edition", "rust-version", "license", "publish"] {
            want(package.get(field) == Some(&inherited()), &format!("its {field} is not the workspace's"));
        }
        want(description_is_real(package), "it has no description");
        want(architecture.contains(&format!("`{name}`")), "ARCHITECTURE.md does not name it");
        let front = ["src/lib.rs", "src/main.rs", "it/main.rs"].iter().map(|file| folder.join(file));
        let front = front.into_iter().find(|file| file.exists()).map(|file| read(&file)).unwrap_or_default();
        want(
            front.starts_with("#![doc = include_str!(\"../README.md\")]"),
            "its README is not the front page of its documentation",
        );
        let readme = folder.join("README.md");
        want(readme.exists() && read(&readme).lines().count() > 2, "it has no README");
        want(name == TESTS || folder.ends_with(name), "its folder has another name");
        for table in ["dependencies", "dev-dependencies", "build-dependencies"] {
            for (dependency, spec) in toml.get(table).and_then(toml::Value::as_table).into_iter().flatten() {
                let versioned = spec.as_str().is_some() || spec.get("version").is_some();
                want(
                    !versioned,
                    &format!("the version of {dependency} belongs into the workspace's manifest"),
                );
            }
        }
    }
    assert_none(&problems);
}

#[test]
fn files_are_short_and_well_named() {
    let mut problems = Vec::new();
    for file in files() {
        let shown = file.strip_prefix(root()).expect("files lie in the workspace").display().to_string();
        let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let text = read(&file);
        let lines = text.lines().count();
        if lines > FILE_LINES_MAX {
            problems.push(format!("{shown} has {lines} lines, more than {FILE_LINES_MAX}"));
        }
        if file.ends_with("mod.rs") {
            problems.push(format!("{shown}: name it after its folder, beside it"));
        }
        if shown.split('/').any(|part| EMPTY_NAMES.contains(&part)) || EMPTY_NAMES.contains(&stem) {
            problems.push(format!("{shown}: its name says nothing"));
        }
        for word in banned() {
            if text.contains(&word) {
                problems.push(format!("{shown} has {word:?} in it"));
            }
        }
    }
    let lines = read(&root().join("README.md")).lines().count();
    if lines > README_LINES_MAX {
        problems.push(format!("README.md has {lines} lines, more than {README_LINES_MAX}"));
    }
    assert_none(&problems);
}

#[test]
fn every_variable_is_in_the_papers() {
    let sources = files_under(&root().join("crates/fermata/src"));
    let read_by_it: BTreeSet<String> =
        sources.iter().flat_map(|file| variables(&read(file)).collect::<Vec<_>>()).collect();
    let papers: String = files_under(&root().join("docs")).iter().map(|file| read(file)).collect();
    let named: BTreeSet<String> = variables(&papers).collect();
    let missing = read_by_it.difference(&named).map(|name| format!("docs/ does not name {name}"));
    assert_none(&missing.collect::<Vec<_>>());
}

#[test]
fn every_variable_of_a_cloud_is_in_the_papers() {
    let page = read(&root().join("docs/storage.md"));
    let missing =
        fermata_vault::Environment::names().iter().filter(|name| !page.contains(&format!("`{name}`")));
    assert_none(&missing.map(|name| format!("docs/storage.md does not name {name}")).collect::<Vec<_>>());
}

#[test]
fn the_token_page_says_what_each_entity_needs() {
    let page = read(&root().join("docs/tempo-token.md"));
    let problems: Vec<_> = ENTITIES
        .iter()
        .filter(|entity| {
            let (name, grant) = (format!("`{}`", entity.name), format!("| {} |", entity.family.grant()));
            !page.lines().any(|line| line.contains(&name) && line.contains(&grant))
        })
        .map(|entity| format!("docs/tempo-token.md: {} needs {}", entity.name, entity.family.grant()))
        .collect();
    assert_none(&problems);
}

#[test]
fn the_token_page_says_what_viewing_misses() {
    let page = read(&root().join("docs/tempo-token.md"));
    let (_, rest) = page.split_once("## What a token that may only view misses").expect("the section");
    let section = rest.split("##").next().unwrap_or_default();
    let searches = |entity: &&Entity| entity.reads.iter().any(|read| read.method == Method::Post);
    for entity in ENTITIES.iter().filter(searches) {
        let misses = entity.fallback.is_none_or(|second| !second.misses.is_empty());
        let named = section.contains(&format!("`{}`", entity.name));
        assert_eq!(misses, named, "docs/tempo-token.md: {}", entity.name);
    }
}

#[test]
fn links_in_the_papers_lead_somewhere() {
    let mut problems = Vec::new();
    for file in files().iter().filter(|file| file.extension().is_some_and(|kind| kind == "md")) {
        let folder = file.parent().expect("a file lies in a folder");
        for target in read(file).split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
            // What has no dot and no slash is a link to an item, which rustdoc checks.
            let is_path = target.contains(['.', '/']) && !target.contains("://") && !target.contains("::");
            if is_path && !folder.join(target).exists() {
                problems.push(format!("{}: {target} is not there", file.display()));
            }
        }
    }
    assert_none(&problems);
}

/// What no file may hold, put together here so that this file does not hold it either.
fn banned() -> [String; 6] {
    let join = |parts: [&str; 2]| parts.concat();
    [
        // A test that does not run proves nothing.
        join(["#[ign", "ore"]),
        // Paths of one machine.
        join(["/wo", "rk/"]),
        join(["/ho", "me/"]),
        join(["/Us", "ers/"]),
        join(["/ro", "ot/"]),
        join(["/tmp/ba", "sh"]),
    ]
}

fn description_is_real(package: &toml::Table) -> bool {
    package.get("description").and_then(toml::Value::as_str).is_some_and(|said| said.len() > 20)
}

fn inherited() -> toml::Value {
    toml::Table::from_iter([("workspace".to_owned(), true.into())]).into()
}

/// The members of the workspace, as cargo sees them.
fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo runs, since it built this");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo writes JSON");
    serde_json::from_value(metadata["packages"].take()).expect("the packages are a list")
}

/// Every file that people wrote.
fn files() -> Vec<PathBuf> {
    let root = root();
    let mut files: Vec<_> = [".ci", "crates", "deploy", "docs", "tests"]
        .iter()
        .flat_map(|folder| files_under(&root.join(folder)))
        .collect();
    let top = std::fs::read_dir(root).expect("the workspace's folder can be read").flatten();
    let written = ["md", "toml", "sh", ""];
    files.extend(top.map(|entry| entry.path()).filter(|path| {
        let kind = path.extension().and_then(|kind| kind.to_str()).unwrap_or_default();
        path.is_file() && written.contains(&kind)
    }));
    files
}

fn files_under(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(files_under(&path));
        } else if std::fs::read_to_string(&path).is_ok() {
            files.push(path);
        }
    }
    files
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn text(value: &Value) -> &str {
    value.as_str().expect("cargo writes text here")
}

/// Every word in a text that begins like a variable.
fn variables(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'))
        .filter(|word| VARIABLES.iter().any(|begins| word.len() > begins.len() && word.starts_with(begins)))
        .map(str::to_owned)
}
