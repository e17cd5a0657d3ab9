//! `deploy/compose.yaml`: its commands, in the image's tree with the mounts and variables that it gives, and what a laptop
//! must not be asked to put up with. No engine is there to run it.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use super::{TREE, inside, laid_out};
use crate::stage::{Call, Stage};
use crate::{assert_none, root};

/// Where it mounts volumes, and `init` and `user set` write.
const MOUNTS: [&str; 3] = ["var/lib/fermata", "etc/fermata/key", "etc/fermata/users"];
/// The service of the commands that somebody gives.
const BY_HAND: &str = "fermata";

fn text() -> String {
    std::fs::read_to_string(root().join("deploy/compose.yaml")).unwrap()
}

/// The services that run the image, by name, with what they share written out.
fn services(text: &str) -> BTreeMap<String, Value> {
    let mut file: yaml_serde::Value = yaml_serde::from_str(text).unwrap();
    file.apply_merge().unwrap();
    let file: Value = yaml_serde::from_value(file).unwrap();
    let all = file["services"].as_object().unwrap().clone();
    all.into_iter().filter(|(_, service)| service["image"] == "fermata").collect()
}

fn words(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().map(|word| word.as_str().unwrap().to_owned()).collect()
}

/// A command in the tree with a service's variables; those of the machine that runs it are not set.
fn as_service<'a>(stage: &'a Stage, service: &Value, arguments: &str) -> Call<'a> {
    let variables = service["environment"].as_object().unwrap();
    variables.iter().fold(inside(stage, arguments), |call, (name, value)| {
        let value = value.as_str().unwrap();
        let unset = value.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')?.split_once(":-"));
        call.env(name, unset.map_or(value, |(_, default)| default))
    })
}

/// What the head of the file says to do with the commands' service, and then every service's own command.
#[test]
fn every_command_of_it_is_taken_by_the_program() {
    let (stage, text) = (laid_out(Stage::new()), text());
    for mount in MOUNTS {
        let folder = stage.at(TREE).join(mount);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o777)).unwrap();
    }
    let services = services(&text);
    let head = text.lines().take_while(|line| line.starts_with('#'));
    let told: Vec<&str> = head
        .filter_map(|line| line.strip_prefix("#   docker compose run --rm "))
        .map(|rest| rest.trim_start_matches("--no-TTY ").strip_prefix("fermata ").unwrap())
        .map(|rest| rest.split(['#', '<']).next().unwrap().trim())
        .collect();
    let begins = |words: &str| *told.iter().find(|line| line.starts_with(words)).unwrap();
    let by_hand = |line: &str| as_service(&stage, &services[BY_HAND], line);
    by_hand(begins("init")).run().code(0);
    by_hand(begins("user set")).stdin("a good long password\n").run().code(0);
    by_hand(begins("tenant add")).run().code(0);
    for line in told {
        by_hand(&format!("{line} --check-config")).run().code(0);
    }
    for (name, service) in &services {
        let ready = words(&service["healthcheck"]["test"]);
        if name == BY_HAND {
            assert!(ready.is_empty() && service["command"].is_null(), "{service}");
            continue;
        }
        assert_eq!(ready[..2], ["CMD", "/usr/bin/fermata"], "{name}");
        for command in [words(&service["command"]), ready[2..].to_vec()] {
            let said =
                as_service(&stage, service, &format!("{} --check-config", command.join(" "))).run().code(0);
            assert_eq!(said.stdout, "the configuration is fine\n", "{name}");
        }
        let probed = words(&service["command"]).iter().any(|word| word.ends_with("=127.0.0.1:9464"));
        assert!(probed, "{name} serves no probes where its health is asked for");
    }
}

#[test]
fn nobody_has_more_than_they_need() {
    let mut problems = Vec::new();
    for (name, service) in services(&text()) {
        let mut want = |holds: bool, what: &str| {
            if !holds {
                problems.push(format!("{name}: {what}"));
            }
        };
        want(service["read_only"] == true, "its root is not read-only");
        want(words(&service["cap_drop"]) == ["ALL"], "it has capabilities");
        want(words(&service["security_opt"]) == ["no-new-privileges:true"], "it may gain rights");
        want(service["user"].is_null() && service["privileged"].is_null(), "it is not the image's user");
        want(words(&service["ports"]).iter().all(|port| port.starts_with("127.0.0.1:")), "others reach it");
        let mounts = words(&service["volumes"]);
        let has = |path: &str, ways: &str| {
            mounts
                .iter()
                .any(|mount| mount.split_once(':').is_some_and(|(_, to)| to == format!("{path}{ways}")))
        };
        want(has("/var/lib/fermata", ""), "it has no store");
        let by_hand = name == BY_HAND;
        for (path, variable, who) in [
            ("/etc/fermata/key", "FERMATA_KEY_FILE", "worker"),
            ("/etc/fermata/users", "FERMATA_USERS", "dashboard"),
        ] {
            let named = service["environment"][variable].as_str();
            let in_it = named.is_some_and(|file| file.starts_with(path));
            want(in_it == (by_hand || name == who), &format!("{variable} is {named:?}"));
            want(has(path, "") == by_hand, &format!("it may write to {path}, or has to and may not"));
            want(has(path, ":ro") == (name == who), &format!("it sees {path}, or has to and does not"));
        }
        want(
            by_hand == (words(&service["profiles"]) == ["commands"]),
            "it is started with the others, or is not",
        );
    }
    assert_none(&problems);
}

#[test]
fn its_redis_keeps_what_it_is_told() {
    let file: Value = yaml_serde::from_str(&text()).unwrap();
    let command = words(&file["services"]["redis"]["command"]).join(" ");
    assert!(command.contains("--appendonly yes"), "{command}");
    assert!(command.contains("--maxmemory-policy noeviction"), "{command}");
    assert!(file["services"]["redis"]["ports"].is_null(), "nobody else reaches it");
    assert_eq!(words(&file["services"]["owner"]["entrypoint"])[..2], ["chown", "65532:65532"]);
}
