//! Just enough of OpenAPI to ask what an operation takes and gives.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::root;

/// Where the specification lies, from the workspace on. It is Tempo's, so it is not in this repository.
const FILE: &str = "../shared/data/tempo-openapi.yaml";
const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// Tempo's official specification.
pub(super) struct Spec(Value);

/// One operation.
#[derive(Clone, Copy)]
pub(super) struct Operation<'a> {
    pub(super) spec: &'a Spec,
    /// `GET`, `POST`, ...
    pub(super) method: &'a str,
    /// The path, with the specification's own names in braces.
    pub(super) path: &'a str,
    value: &'a Value,
}

impl Spec {
    /// The specification, or nothing, and a word about it, where it does not lie beside the repository.
    #[expect(clippy::print_stderr, reason = "a test that did not run says so")]
    pub(super) fn read() -> Option<Self> {
        let file = root().join(FILE);
        let Ok(text) = std::fs::read_to_string(&file) else {
            eprintln!("not checked: there is no {FILE} (Tempo's specification, from its developer site)");
            return None;
        };
        Some(Self(yaml_serde::from_str(&text).expect("the specification is YAML")))
    }

    /// Every operation.
    pub(super) fn operations(&self) -> impl Iterator<Item = Operation<'_>> {
        let paths = self.0["paths"].as_object().expect("a specification has paths");
        paths.iter().flat_map(move |(path, item)| {
            METHODS.into_iter().filter_map(move |method| {
                let (method, value) = item.as_object()?.get_key_value(method)?;
                Some(Operation { spec: self, method, path, value })
            })
        })
    }

    /// The operation whose path has the same segments, whatever the names in braces.
    pub(super) fn operation(&self, method: &str, path: &str) -> Option<Operation<'_>> {
        let wanted = shape(path);
        self.operations().find(|known| known.is(method) && shape(known.path) == wanted)
    }

    /// A schema with its references followed; of a `oneOf` all, as one.
    fn members<'a>(&'a self, schema: &'a Value) -> BTreeMap<&'a str, &'a Value> {
        let schema = self.follow(schema);
        let mut members = BTreeMap::new();
        for one in schema["oneOf"].as_array().into_iter().flatten() {
            members.extend(self.members(one));
        }
        for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
            members.insert(name, inner);
        }
        members
    }

    fn follow<'a>(&'a self, mut schema: &'a Value) -> &'a Value {
        while let Some(to) = schema["$ref"].as_str() {
            let pointer = to.strip_prefix('#').expect("a reference within the document");
            schema = self.0.pointer(pointer).expect("a reference leads somewhere");
        }
        schema
    }

    /// Whether a record of this schema may have the member at a dotted path.
    pub(super) fn has(&self, schema: &Value, path: &str) -> bool {
        self.reach(schema, path).is_some()
    }

    /// The schema of the member at a dotted path.
    pub(super) fn reach<'a>(&'a self, schema: &'a Value, path: &str) -> Option<&'a Value> {
        path.split('.').try_fold(schema, |at, name| self.members(at).get(name).copied())
    }

    /// The schema of the elements of an array; nothing when it is no array.
    pub(super) fn elements<'a>(&'a self, schema: &'a Value) -> Option<&'a Value> {
        let schema = self.follow(schema);
        (schema["type"] == "array").then(|| &schema["items"])
    }

    /// What of a value the schema does not take: unknown and missing members, wrong types, unlisted words.
    pub(super) fn misfits(&self, schema: &Value, value: &Value, at: &str, out: &mut Vec<String>) {
        let schema = self.follow(schema);
        let kind = schema["type"].as_str().unwrap_or_default();
        let fits = match value {
            Value::Object(_) => kind == "object" || !schema["oneOf"].is_null(),
            Value::Array(_) => kind == "array",
            Value::String(_) => kind == "string",
            Value::Number(_) => kind == "integer" || kind == "number",
            Value::Bool(_) => kind == "boolean",
            Value::Null => false,
        };
        if !fits {
            out.push(format!("{at} is {value}; the specification wants {kind}"));
        }
        // Tempo also lists the words for the elements of an array at the array.
        let one = std::slice::from_ref(value);
        let each = value.as_array().map_or(one, Vec::as_slice);
        if let Some(words) = schema["enum"].as_array() {
            let unlisted = each.iter().filter(|word| !words.contains(word));
            out.extend(unlisted.map(|word| format!("{at} is {word}, which is not one of {words:?}")));
        }
        for element in value.as_array().into_iter().flatten() {
            self.misfits(&schema["items"], element, &format!("{at}[]"), out);
        }
        let members = self.members(schema);
        for (name, inner) in value.as_object().into_iter().flatten() {
            match members.get(name.as_str()) {
                Some(schema) => self.misfits(schema, inner, &format!("{at}.{name}"), out),
                None => out.push(format!("{at} has no member {name:?}")),
            }
        }
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if value.is_object() && value.get(name).is_none() {
                out.push(format!("{at} lacks the member {name:?}, which is required"));
            }
        }
    }
}

impl<'a> Operation<'a> {
    pub(super) fn is(&self, method: &str) -> bool {
        self.method.eq_ignore_ascii_case(method)
    }

    /// The parameters in the query or in the path, by name.
    pub(super) fn parameters(&self, place: &str) -> BTreeMap<&'a str, &'a Value> {
        let all = self.value["parameters"].as_array().into_iter().flatten();
        let here = all.filter(|parameter| parameter["in"] == place);
        here.map(|parameter| (parameter["name"].as_str().expect("a parameter has a name"), parameter))
            .collect()
    }

    /// The schema of the body that it takes.
    pub(super) fn body(&self) -> Option<&'a Value> {
        self.value.pointer("/requestBody/content/application~1json/schema")
    }

    /// The schema of its answer.
    pub(super) fn answer(&self) -> Option<&'a Value> {
        self.value.pointer("/responses/200/content/application~1json/schema")
    }

    /// Whether its answer has this member in its metadata.
    pub(super) fn metadata_has(&self, name: &str) -> bool {
        self.answer().is_some_and(|answer| self.spec.has(answer, &format!("metadata.{name}")))
    }
}

fn shape(path: &str) -> Vec<&str> {
    path.split('/').map(|segment| if segment.starts_with('{') { "{}" } else { segment }).collect()
}
