//! What is in `deploy/`: rendered by the real kubectl and helm, then held against rules, schemas and the program.
//!
//! No cluster is asked. What only a cluster knows, like what its admission makes of a pod, is not shown here.

mod chart;
mod mutations;
mod objects;
mod render;
mod rules;
mod schemas;
mod settings;
mod yaml;

use std::collections::{BTreeMap, BTreeSet};

use self::mutations::MUTATIONS;
use crate::{assert_none, root};

/// Where all of it lives.
const NAMESPACE: &str = "fermata";

/// The Secrets that an operator makes, with their keys; one without is taken as it is.
const SECRETS: [(&str, &[&str]); 6] = [
    // The password is for the Redis to try out.
    ("fermata-redis", &["url", "password"]),
    ("fermata-key", &["fermata.key"]),
    ("fermata-users", &["users.toml"]),
    ("fermata-oidc", &["client-secret"]),
    ("fermata-store", &[]),
    ("fermata-tls", &[]),
];

/// The keys of a Secret that an operator makes.
fn secret_keys(name: &str) -> Option<&'static [&'static str]> {
    SECRETS.iter().find(|(secret, _)| *secret == name).map(|(_, keys)| *keys)
}

/// Rules that a rendering breaks because it was asked to: whoever switches our policies off has others.
const WAIVED: (&str, [&str; 4]) =
    ("helm networkPolicy.enabled=false", ["default-deny", "dns", "doors", "redis"]);

#[test]
fn every_rendering_follows_every_rule() {
    let mut problems = Vec::new();
    for rendering in render::all() {
        assert!(!rendering.objects.0.is_empty(), "{} is empty", rendering.name);
        for rule in rules::all() {
            let broken = (rule.check)(&rendering.objects);
            if rendering.name == WAIVED.0 && WAIVED.1.contains(&rule.name) {
                assert!(!broken.is_empty(), "{}: {} need not be waived", rendering.name, rule.name);
                continue;
            }
            problems.extend(
                broken.iter().map(|what| format!("{}: {what} ({}: {})", rendering.name, rule.name, rule.why)),
            );
        }
    }
    assert_none(&problems);
}

#[test]
#[expect(clippy::print_stdout, reason = "what each mutation breaks is there to be read")]
fn every_mutation_breaks_its_rule_alone() {
    let mut problems = Vec::new();
    let mut rendered = BTreeMap::new();
    for mutation in MUTATIONS {
        let objects = rendered.entry(mutation.on).or_insert_with(|| render::kustomize(mutation.on));
        let edited = mutation.of(objects);
        let broken: BTreeMap<_, _> = rules::all()
            .map(|rule| (rule.name, (rule.check)(&edited)))
            .filter(|(_, problems)| !problems.is_empty())
            .collect();
        println!("{mutation}\n    {:?}", broken.get(mutation.rule).unwrap_or(&Vec::new()));
        if !broken.keys().eq([&mutation.rule]) {
            problems.push(format!("{mutation}\n    it breaks {broken:#?}"));
        }
    }
    assert_none(&problems);
}

#[test]
fn every_rule_has_a_mutation_and_a_reason() {
    let rules: Vec<_> = rules::all().map(|rule| rule.name).collect();
    let names: BTreeSet<_> = rules.iter().copied().collect();
    assert_eq!(names.len(), rules.len(), "two rules have one name");
    let broken: BTreeSet<_> = MUTATIONS.iter().map(|mutation| mutation.rule).collect();
    assert_eq!(names, broken);
    assert!(rules::all().all(|rule| rule.why.len() > 20));
}

#[test]
fn what_an_operator_has_to_make_is_in_the_papers() {
    let page = std::fs::read_to_string(root().join("deploy/README.md")).unwrap();
    let names = SECRETS.iter().map(|(name, _)| *name);
    let keys = SECRETS.iter().flat_map(|(_, keys)| *keys).copied();
    let missing = names.chain(keys).filter(|word| !page.contains(word));
    assert_none(&missing.map(|word| format!("deploy/README.md does not name {word}")).collect::<Vec<_>>());
}
