//! What the program says of itself: help, completions, manual pages; and docs/commands.md, which says the same.

use std::collections::BTreeSet;

use crate::stage::Stage;
use crate::{assert_none, root};

/// A terminal that is not narrow; help is to fit.
const COLUMNS: usize = 100;

#[test]
fn help_of_every_command_fits_and_is_on_the_page() {
    let stage = Stage::new();
    let page = std::fs::read_to_string(root().join("docs/commands.md")).unwrap();
    let mut problems = Vec::new();
    let mut options = BTreeSet::new();
    let mut waiting = vec![String::new()];
    while let Some(command) = waiting.pop() {
        let help = stage.fermata(&format!("{command} --help")).run().code(0);
        assert_eq!(help.stderr, "", "help is data");
        let help = help.stdout;
        for line in help.lines().filter(|line| line.chars().count() > COLUMNS) {
            problems.push(format!("fermata {command}: {} columns: {line}", line.chars().count()));
        }
        let short = stage.fermata(&format!("{command} -h")).run().code(0).stdout;
        assert!(!short.is_empty());
        let below = subcommands(&help);
        if below.is_empty() {
            let last = command.rsplit(' ').next().unwrap_or_default();
            if !page.contains(last) {
                problems.push(format!("docs/commands.md does not name {command}"));
            }
        }
        options.extend(flags(&help));
        waiting.extend(below.iter().map(|name| format!("{command} {name}").trim().to_owned()));
    }
    for option in &options {
        if !page.contains(&format!("`{option}")) && !page.contains(&format!(" {option}")) {
            problems.push(format!("docs/commands.md does not name {option}"));
        }
    }
    let named: BTreeSet<String> = flags(&page);
    for option in named.difference(&options) {
        problems.push(format!("docs/commands.md names {option}, and no command takes it"));
    }
    assert!(options.len() > 20, "{options:?}");
    assert_none(&problems);
}

#[test]
fn completions_are_scripts_of_their_shells() {
    let stage = Stage::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = stage.fermata(&format!("completions {shell}")).run().code(0).stdout;
        assert!(script.contains("fermata") && script.contains("snapshots"), "{shell}: {script}");
        stage.write(&format!("completions.{shell}"), &script);
    }
    stage.shell("bash -n completions.bash && source completions.bash && complete -p fermata").run().code(0);
    for shell in ["zsh", "fish"] {
        // Checked where that shell is; that the text is there is checked everywhere.
        let check = format!("! command -v {shell} >/dev/null || {shell} -n completions.{shell}");
        stage.shell(&check).run().code(0);
    }
    stage.fermata("completions tcsh").run().error(2, &["tcsh", "possible values: bash"]);
}

#[test]
fn manual_pages_are_written() {
    let stage = Stage::new();
    let page = stage.fermata("man").run().code(0).stdout;
    assert!(page.contains(".TH fermata 1"), "{page}");
    stage.fermata("man --out pages").run().code(0);
    for name in ["fermata", "fermata-backup", "fermata-token-set", "fermata-snapshots-verify"] {
        let page = std::fs::read_to_string(stage.at(&format!("pages/{name}.1"))).unwrap();
        assert!(page.contains(".SH NAME"), "{name}: {page}");
    }
    stage.write("file", "");
    stage.fermata("man --out file").run().error(1, &["cannot write manual pages to file"]);
}

#[test]
fn the_demo_ends_well_and_keeps_what_it_is_told_to_keep() {
    let stage = Stage::new();
    let said = stage.fermata("demo --worklogs 500 --keep kept").run().code(0).stdout;
    for words in ["Killed after", "OK: every record", "All 500 worklogs are there", "Done in"] {
        assert!(said.contains(words), "no {words:?} in {said}");
    }
    assert!(stage.at("kept/export/worklogs.ndjson").exists() && stage.at("kept/fermata.key").exists());
}

fn subcommands(help: &str) -> Vec<String> {
    let Some((_, list)) = help.split_once("\nCommands:\n") else { return Vec::new() };
    let list = list.lines().take_while(|line| !line.is_empty());
    // A line that goes on is further in.
    let names = list.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names = names.filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

/// Every word of a text that begins as a long option does.
fn flags(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_lowercase() || c == '-'));
    let flags = words.filter(|word| word.len() > 3 && word.starts_with("--") && !word.ends_with('-'));
    flags.map(str::to_owned).collect()
}
