//! Each rule broken by a small edit of what is really rendered: exactly that rule must complain.

#![expect(clippy::unwrap_used, reason = "these are helpers of tests, where a panic is the message")]

mod table;

use serde_json::Value;

use super::objects::{Objects, name};
pub(crate) use table::MUTATIONS;

/// A small edit, and the rule that it breaks.
pub(crate) struct Mutation {
    pub(crate) rule: &'static str,
    /// The rendering that is edited.
    pub(crate) on: &'static str,
    /// The object, as `Kind/name`.
    pub(crate) object: &'static str,
    pub(crate) edit: Edit,
}

/// What is done to the object. Values are written as YAML.
#[derive(Debug)]
pub(crate) enum Edit {
    /// Puts a value at a place; what the place is in must be there. `-` is the place after the last of a list, `@pod` and
    /// `@container` at the beginning the pod's spec and its first container.
    Set(&'static str, &'static str),
    /// Takes away what is at a place.
    Remove(&'static str),
    /// Takes away the object.
    Drop,
    /// Puts another object beside it.
    Add(&'static str),
}

impl Mutation {
    /// The objects as they are after the edit, which must have changed something.
    pub(crate) fn of(&self, objects: &Objects) -> Objects {
        let mut edited = objects.clone();
        let place = edited.0.iter().position(|object| name(object) == self.object);
        let place = place.unwrap_or_else(|| panic!("{} has no {}", self.on, self.object));
        match self.edit {
            Edit::Set(pointer, yaml) => set(&mut edited.0[place], pointer, value(yaml)),
            Edit::Remove(pointer) => remove(&mut edited.0[place], pointer),
            Edit::Drop => drop(edited.0.remove(place)),
            Edit::Add(yaml) => edited.0.push(value(yaml)),
        }
        assert_ne!(edited.0, objects.0, "{self}: it changes nothing");
        edited
    }
}

impl std::fmt::Display for Mutation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: in {}, {} {:?}", self.rule, self.on, self.object, self.edit)
    }
}

fn value(yaml: &str) -> Value {
    yaml_serde::from_str(yaml).unwrap()
}

/// A pointer without its shorthand.
fn full(object: &Value, pointer: &str) -> String {
    let pod = match object["kind"].as_str() {
        Some("CronJob") => "/spec/jobTemplate/spec/template/spec",
        _ => "/spec/template/spec",
    };
    pointer.replace("@pod", pod).replace("@container", &format!("{pod}/containers/0"))
}

/// What a place is in, and the last part of its pointer.
fn parent<'a>(object: &'a mut Value, pointer: &str) -> (&'a mut Value, String) {
    let pointer = full(object, pointer);
    let (above, last) = pointer.rsplit_once('/').unwrap();
    let parent = object.pointer_mut(above).unwrap_or_else(|| panic!("there is no {above}"));
    (parent, last.replace("~1", "/"))
}

fn set(object: &mut Value, pointer: &str, value: Value) {
    let (parent, last) = parent(object, pointer);
    match parent {
        Value::Array(items) if last == "-" => items.push(value),
        Value::Array(items) => items[last.parse::<usize>().unwrap()] = value,
        parent => drop(parent.as_object_mut().unwrap().insert(last, value)),
    }
}

fn remove(object: &mut Value, pointer: &str) {
    let (parent, last) = parent(object, pointer);
    match parent {
        Value::Array(items) => drop(items.remove(last.parse().unwrap())),
        parent => {
            let removed = parent.as_object_mut().unwrap().remove(&last);
            assert!(removed.is_some(), "there is no {pointer}");
        }
    }
}
