//! `deploy/compose.yaml`, which gives the program arguments and variables too.

use serde_json::Value;

use super::super::objects::{list, members, text, texts};
use super::{Mounts, PROGRAM, Start, moved, refusal};
use crate::{assert_none, root};

/// What the volumes hold once somebody has made it, by the names that the file gives them.
const FILES: [(&str, &[&str]); 2] = [("key", &["fermata.key"]), ("users", &["users.toml"])];

#[test]
fn the_program_takes_what_compose_gives_it() {
    let mounts = Mounts::new();
    let mut problems = Vec::new();
    let compose = compose();
    let ours: Vec<_> =
        members(&compose, "/services").filter(|(_, service)| text(service, "/image") == "fermata").collect();
    assert!(ours.len() >= 3, "{ours:?}");
    for (name, service) in ours {
        let start = start(&mounts, service);
        problems.extend(refusal(&start).map(|said| format!("{name}: {said}")));
        let check: Vec<_> = texts(service, "/healthcheck/test").map(str::to_owned).collect();
        match check.as_slice() {
            [] => {}
            [kind, program, args @ ..] if kind == "CMD" && program == PROGRAM => {
                let check = Start { args: args.to_vec(), variables: start.variables };
                problems.extend(refusal(&check).map(|said| format!("{name}, its check: {said}")));
            }
            check => problems.push(format!("{name}: the image has no {check:?}")),
        }
    }
    assert_none(&problems);
}

/// The file, with what its services have in common put into each.
fn compose() -> Value {
    let text = std::fs::read_to_string(root().join("deploy/compose.yaml")).unwrap();
    let mut compose: yaml_serde::Value = yaml_serde::from_str(&text).unwrap();
    compose.apply_merge().unwrap();
    serde_json::to_value(compose).unwrap()
}

fn start(mounts: &Mounts, service: &Value) -> Start {
    let volumes: Vec<_> = list(service, "/volumes")
        .map(|volume| {
            let mut parts = volume.as_str().unwrap().split(':');
            let (name, path) = (parts.next().unwrap(), parts.next().unwrap());
            let files = FILES.iter().find(|(volume, _)| *volume == name).map_or(&[][..], |(_, files)| files);
            (path, mounts.volume(name, files))
        })
        .collect();
    let variables = members(service, "/environment")
        .map(|(name, value)| (name.to_owned(), moved(unset(value.as_str().unwrap()), &volumes)));
    let mut args: Vec<_> = texts(service, "/command").map(|argument| moved(argument, &volumes)).collect();
    if args.is_empty() {
        // For whatever command somebody gives.
        args = ["queue", "status"].map(str::to_owned).into();
    }
    Start { args, variables: variables.collect() }
}

/// What `${NAME:-value}` is where nobody has set the variable.
fn unset(value: &str) -> &str {
    value
        .strip_prefix("${")
        .and_then(|rest| rest.strip_suffix('}')?.split_once(":-"))
        .map_or(value, |(_, value)| value)
}
