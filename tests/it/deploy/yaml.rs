//! Every YAML file of `deploy/`, as text.

use std::path::{Path, PathBuf};

use serde::Deserialize as _;
use yaml_serde::Value;

use crate::{assert_none, root};

#[test]
fn every_yaml_file_is_well_formed() {
    let files = files_under(&root().join("deploy"));
    assert!(files.len() > 20, "{files:?}");
    let mut problems = Vec::new();
    for file in &files {
        let text = std::fs::read_to_string(file).unwrap();
        // What is between braces is helm's, and no YAML yet.
        let is_template = file.components().any(|part| part.as_os_str() == "templates");
        let shown = file.strip_prefix(root()).unwrap().display();
        problems.extend(flaws(&text, is_template).iter().map(|flaw| format!("{shown}: {flaw}")));
    }
    assert_none(&problems);
}

/// What is wrong with a file.
fn flaws(text: &str, is_template: bool) -> Vec<String> {
    let mut flaws = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let mut flaw = |what: &str| flaws.push(format!("line {number} {what}"));
        if line.contains('\t') {
            flaw("has a tab");
        }
        if line.ends_with(' ') || line.ends_with('\r') {
            flaw("ends in a blank");
        }
        // YAML 1.1, by which Kubernetes reads, takes these for true and false, and YAML 1.2 for text.
        let value = line.split_once(": ").map_or("", |(_, value)| value);
        if ["yes", "no", "on", "off"].contains(&value.to_lowercase().as_str()) {
            flaw("has a word that is true or false to some and text to others");
        }
    }
    if !text.ends_with('\n') || text.ends_with("\n\n") {
        flaws.push("it does not end in one line".to_owned());
    }
    if !is_template {
        // The first error is the last: after it the parser stands where it stood.
        let mut documents = yaml_serde::Deserializer::from_str(text).map(Value::deserialize);
        flaws.extend(documents.find_map(Result::err).map(|error| error.to_string()));
    }
    flaws
}

#[test]
fn each_flaw_is_seen() {
    for (text, expect) in [
        ("a: 1\n", ""),
        ("a: 1\n---\nb: 2\n", ""),
        ("a: 1\na: 2\n", "duplicate entry"),
        ("a:\n  b: 1\n  b: 1\n", "duplicate entry"),
        ("a: 1\n---\nb: {\n", "did not find"),
        ("a: 1 \n", "line 1 ends in a blank"),
        ("a: 1", "it does not end in one line"),
        ("a: \"\t\"\n", "line 1 has a tab"),
        ("a: yes\n", "line 1 has a word"),
    ] {
        let flaws = flaws(text, false);
        let seen =
            if expect.is_empty() { flaws.is_empty() } else { flaws.iter().any(|flaw| flaw.contains(expect)) };
        assert!(seen, "{text:?}: {flaws:?}");
    }
    assert_eq!(flaws("{{ .Values.name }}: {{ .x }}\n", true), [""; 0]);
}

fn files_under(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let kind = path.extension().and_then(|kind| kind.to_str()).unwrap_or_default();
        if path.is_dir() {
            files.extend(files_under(&path));
        } else if ["yaml", "yml", "tpl"].contains(&kind) {
            files.push(path);
        }
    }
    files
}
