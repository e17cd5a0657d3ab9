//! One request to Tempo, made from a row of the catalogue.

use fermata_core::catalogue::{Key, Method, Read};
use serde_json::Value;

/// What is asked. The host and the token are the client's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// GET or POST.
    pub method: Method,
    /// The path as the catalogue has it: what errors and logs say, since keys may name people.
    pub label: &'static str,
    /// The path's segments, not yet percent-encoded.
    pub segments: Vec<String>,
    /// Query parameters.
    pub query: Vec<(String, String)>,
    /// A JSON body.
    pub body: Option<Value>,
}

/// The values for the names in a request.
#[derive(Debug, Default)]
pub struct Values {
    /// One key of each kind that the request is repeated over.
    pub keys: Vec<(Key, String)>,
    /// The keys of a batch.
    pub batch: Option<(Key, Vec<String>)>,
    /// The plan's windows.
    pub windows: Vec<(&'static str, String)>,
}

impl Request {
    /// The request of a row, before any paging.
    pub fn new(read: &Read, values: &Values) -> Self {
        Self {
            method: read.method,
            label: read.path,
            segments: read
                .path
                .split('/')
                .filter(|part| !part.is_empty())
                .map(|part| values.fill(part))
                .collect(),
            query: read.query.iter().map(|(name, value)| ((*name).to_owned(), values.fill(value))).collect(),
            body: read.body.map(|body| {
                let mut body = serde_json::from_str(body).expect("a test reads every body of the catalogue");
                values.fill_json(&mut body);
                body
            }),
        }
    }

    /// The path as people write it.
    pub fn path(&self) -> String {
        self.segments.iter().fold(String::new(), |path, segment| path + "/" + segment)
    }

    /// Sets a query parameter.
    pub fn ask(&mut self, name: &str, value: &(impl ToString + ?Sized)) {
        self.query.retain(|(known, _)| known != name);
        self.query.push((name.to_owned(), value.to_string()));
    }

    /// Sets a member of the body.
    pub fn tell(&mut self, name: &str, value: impl Into<Value>) {
        if let Some(Value::Object(body)) = &mut self.body {
            body.insert(name.to_owned(), value.into());
        }
    }
}

impl Values {
    /// The leading `_parent` of the records that a request with these keys answers.
    pub fn parent(&self) -> Option<String> {
        if self.keys.is_empty() {
            return None;
        }
        let members = self.keys.iter().map(|(key, value)| (key.name().to_owned(), json(*key, value)));
        Some(Value::Object(members.collect()).to_string())
    }

    fn fill(&self, text: &str) -> String {
        let mut filled = text.to_owned();
        for (key, value) in &self.keys {
            filled = filled.replace(&placeholder(key.name()), value);
            if let (Key::Period, Some((from, to))) = (key, value.split_once('/')) {
                filled = filled.replace("{from}", from).replace("{to}", to);
            }
        }
        for (name, value) in &self.windows {
            filled = filled.replace(&placeholder(name), value);
        }
        filled
    }

    /// Fills the names in all strings. An array of one element that names the batch's key gets one
    /// such element for each key.
    fn fill_json(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.fill(text),
            Value::Object(members) => {
                for value in members.values_mut() {
                    self.fill_json(value);
                }
            }
            Value::Array(elements) => {
                if let (Some((key, batch)), [pattern]) = (&self.batch, elements.as_slice())
                    && pattern.to_string().contains(&placeholder(key.name()))
                {
                    *elements = batch.iter().map(|value| one_of_batch(pattern, *key, value)).collect();
                } else {
                    for value in elements {
                        self.fill_json(value);
                    }
                }
            }
            _ => {}
        }
    }
}

fn one_of_batch(pattern: &Value, key: Key, value: &str) -> Value {
    match pattern {
        Value::String(text) if *text == placeholder(key.name()) => json(key, value),
        Value::Object(members) => Value::Object(
            members.iter().map(|(name, inner)| (name.clone(), one_of_batch(inner, key, value))).collect(),
        ),
        other => other.clone(),
    }
}

fn placeholder(name: &str) -> String {
    format!("{{{name}}}")
}

fn json(key: Key, value: &str) -> Value {
    match value.parse::<u64>() {
        Ok(number) if key.is_integer() => number.into(),
        _ => value.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fermata_core::catalogue::entity;

    #[test]
    fn keys_and_windows_are_filled_in() {
        let approvals = entity("timesheet-approvals").unwrap();
        let values = Values {
            keys: vec![(Key::Team, "12".to_owned()), (Key::Period, "2026-03-02/2026-03-08".to_owned())],
            ..Values::default()
        };
        let request = Request::new(&approvals.reads[0], &values);
        assert_eq!(request.path(), "/4/timesheet-approvals/team/12");
        assert_eq!(request.query, [("from".into(), "2026-03-02".into()), ("to".into(), "2026-03-08".into())]);
        assert_eq!(values.parent().as_deref(), Some(r#"{"period":"2026-03-02/2026-03-08","team":12}"#));
    }

    #[test]
    fn batches_become_arrays() {
        let batch = |name: &str, key, values: &[&str]| {
            let values = Values {
                batch: Some((key, values.iter().map(|v| (*v).to_owned()).collect())),
                ..Values::default()
            };
            Request::new(&entity(name).unwrap().reads[0], &values).body.unwrap().to_string()
        };
        assert_eq!(batch("jira-worklog-ids", Key::Worklog, &["1", "2"]), r#"{"tempoWorklogIds":[1,2]}"#);
        assert_eq!(
            batch("skill-assignments", Key::User, &["5b:1"]),
            r#"{"assignees":[{"assigneeId":"5b:1","assigneeType":"USER"}]}"#
        );
    }
}
