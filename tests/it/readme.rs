//! The README, to the letter.

use crate::root;
use crate::stage::Stage;

#[test]
fn its_five_commands_make_a_verified_backup() {
    let readme = readme();
    let block = readme.split("```sh").find(|block| block.contains("fermata init")).expect("the first backup");
    let block = block.split("```").next().unwrap_or_default();
    let commands: Vec<&str> = block.lines().filter(|line| line.starts_with("fermata ")).collect();
    assert_eq!(commands.len(), 5, "{commands:?}");
    let stage = Stage::new();
    stage.write("token.txt", stage.sim.token(1) + "\n");
    for command in commands {
        stage.shell(command).run().code(0);
        if command.starts_with("fermata tenant add") {
            // All that keeps the README from asking the real Tempo.
            let here = format!("tenant set acme --rate 1000 --base-url {}", stage.sim.base_url());
            stage.fermata(&here).run().code(0);
        }
    }
    for command in ["fermata backup --all", "fermata export acme --format csv --out acme-csv"] {
        assert!(readme.contains(&format!("`{command}`")), "the README no longer says {command}");
        stage.shell(command).run().code(0);
    }
    assert!(stage.at("acme-csv/worklogs.csv").exists());
}

#[test]
fn its_exit_codes_are_those_of_the_help_and_the_commands_page() {
    let codes = |text: &str| -> Vec<String> {
        let rows = text.lines().filter(|line| line.starts_with("| ") && line.as_bytes()[2].is_ascii_digit());
        rows.map(|row| row.chars().take(3).collect()).collect()
    };
    let page = std::fs::read_to_string(root().join("docs/commands.md")).unwrap();
    assert_eq!(codes(&readme()), codes(&page));
    let help = Stage::new().fermata("--help").run().code(0).stdout;
    for code in codes(&readme()) {
        let code = code.trim_start_matches("| ");
        assert!(help.contains(&format!(" {code} ")), "{help}");
    }
}

fn readme() -> String {
    std::fs::read_to_string(root().join("README.md")).expect("there is a README")
}
