//! promtool, the real one, in a folder of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::papers::Papers;

/// Rules, scenarios, and what promtool says of them.
pub(super) struct Promtool {
    folder: TempDir,
    scenarios: Vec<String>,
}

impl Promtool {
    /// With these papers. JSON is YAML, too.
    pub(super) fn with(papers: &Papers) -> Self {
        let mut promtool = Self { folder: TempDir::new().unwrap(), scenarios: Vec::new() };
        promtool.write("alerts.yaml", &papers.rules);
        for (name, scenario) in &papers.scenarios {
            promtool.add(name, scenario);
        }
        promtool
    }

    /// With these rules and this one file of scenarios.
    pub(super) fn with_one(rules: &Value, scenario: &Value) -> Self {
        let mut promtool = Self { folder: TempDir::new().unwrap(), scenarios: Vec::new() };
        promtool.write("alerts.yaml", rules);
        promtool.add("one", scenario);
        promtool
    }

    fn add(&mut self, name: &str, scenario: &Value) {
        let file = format!("{name}.yaml");
        self.write(&file, scenario);
        self.scenarios.push(file);
    }

    fn write(&self, name: &str, content: &Value) {
        std::fs::write(self.folder.path().join(name), content.to_string()).unwrap();
    }

    /// What it says of the rules, if it does not take them.
    pub(super) fn check(&self) -> Result<(), String> {
        run(self.folder.path(), &["check", "rules", "--lint-fatal", "alerts.yaml"])
    }

    /// What it says of the scenarios, if they do not hold.
    pub(super) fn test(&self) -> Result<(), String> {
        let files = self.scenarios.iter().map(String::as_str);
        run(self.folder.path(), &["test", "rules"].into_iter().chain(files).collect::<Vec<_>>())
    }
}

/// What promtool says of these expressions, if it does not understand one.
pub(super) fn parse(expressions: &[String]) -> Result<(), String> {
    let rules: Vec<_> = expressions
        .iter()
        .enumerate()
        .map(|(number, expr)| json!({"record": format!("asked:{number}"), "expr": expr}))
        .collect();
    let folder = TempDir::new().unwrap();
    let groups = json!({"groups": [{"name": "asked", "rules": rules}]});
    std::fs::write(folder.path().join("asked.yaml"), groups.to_string()).unwrap();
    run(folder.path(), &["check", "rules", "asked.yaml"])
}

fn run(folder: &Path, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program()).args(arguments).current_dir(folder).output().unwrap();
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    if output.status.success() { Ok(()) } else { Err(said.concat()) }
}

fn program() -> PathBuf {
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("prometheus/promtool");
    assert!(program.exists(), "promtool is not there: ./test puts it into {}", program.display());
    program
}
