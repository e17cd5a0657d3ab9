use std::collections::BTreeSet;

use super::*;

#[test]
fn names_are_kebab_case_and_stand_once() {
    let names: BTreeSet<_> = ENTITIES.iter().map(|entity| entity.name).collect();
    assert_eq!(names.len(), ENTITIES.len());
    for name in names {
        assert!(!name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{name}");
    }
}

#[test]
fn every_key_that_is_needed_is_given_and_no_one_waits_for_itself() {
    for entity in ENTITIES {
        for key in entity.needs() {
            assert!(ENTITIES.iter().any(|other| other.gives(key)), "{}: {key:?}", entity.name);
        }
    }
    // Entities can be read in rounds: each has its parents in an earlier one.
    let mut done: BTreeSet<&str> = BTreeSet::new();
    while done.len() < ENTITIES.len() {
        let ready: Vec<_> = ENTITIES
            .iter()
            .filter(|entity| {
                !done.contains(entity.name) && entity.parents().all(|parent| done.contains(parent.name))
            })
            .collect();
        assert!(!ready.is_empty(), "the rest wait for each other");
        done.extend(ready.iter().map(|entity| entity.name));
    }
}

/// What an entity yields is repeated where its job ends, so it is to be worth its bytes.
#[test]
fn every_key_that_is_given_is_needed_by_another() {
    for entity in ENTITIES {
        for given in entity.yields {
            let needed = ENTITIES
                .iter()
                .any(|other| other.name != entity.name && other.needs().any(|key| key == given.key));
            assert!(needed, "{}: {:?}", entity.name, given.key);
        }
    }
}

#[test]
fn rows_are_small_enough_for_their_readers() {
    for entity in ENTITIES {
        assert!(entity.identity.len() <= 3 && entity.yields.len() <= 2, "{}", entity.name);
    }
}

#[test]
fn bodies_are_json_and_posts_have_one() {
    let reads =
        ENTITIES.iter().flat_map(|entity| entity.reads(Way::Delta).chain(entity.reads(Way::Fallback)));
    for read in reads {
        assert_eq!(read.method == Method::Post, read.body.is_some(), "{}", read.path);
        if let Some(body) = read.body {
            assert!(serde_json::from_str::<serde_json::Value>(body).is_ok(), "{}", read.path);
        }
    }
}
