//! Looking through the objects of a cluster.

use serde_json::{Value, json};

/// All objects of one rendering.
#[derive(Clone, Debug)]
pub(crate) struct Objects(pub(crate) Vec<Value>);

/// A pod as a Deployment, a `StatefulSet` or a `CronJob` makes them.
#[derive(Clone, Copy)]
pub(crate) struct Pod<'a> {
    /// What makes it.
    pub(crate) owner: &'a Value,
    /// Its metadata and its spec.
    pub(crate) template: &'a Value,
}

impl Objects {
    /// Those of one kind.
    pub(crate) fn of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.0.iter().filter(move |object| text(object, "/kind") == kind)
    }

    /// The one of this kind and name.
    pub(crate) fn find(&self, kind: &str, name: &str) -> Option<&Value> {
        self.0.iter().find(|object| is(object, kind, name))
    }

    /// Every pod that these make.
    pub(crate) fn pods(&self) -> impl Iterator<Item = Pod<'_>> {
        self.0.iter().filter_map(|owner| {
            let at = if text(owner, "/kind") == "CronJob" {
                "/spec/jobTemplate/spec/template"
            } else {
                "/spec/template"
            };
            owner.pointer(at).map(|template| Pod { owner, template })
        })
    }

    /// The pods that a `labelSelector` chooses.
    pub(crate) fn chosen<'a>(&'a self, selector: &'a Value) -> impl Iterator<Item = Pod<'a>> {
        self.pods().filter(|pod| matches(selector, pod.labels()))
    }

    /// What problems there are with each container, with the container's name before them.
    pub(crate) fn each_container(
        &self,
        mut check: impl FnMut(Pod<'_>, &Value, &mut dyn FnMut(String)),
    ) -> Vec<String> {
        let mut problems = Vec::new();
        for pod in self.pods() {
            for container in pod.containers() {
                let who = format!("{}, container {}", pod.name(), text(container, "/name"));
                check(pod, container, &mut |what| problems.push(format!("{who}: {what}")));
            }
        }
        problems
    }
}

impl<'a> Pod<'a> {
    /// By what makes it.
    pub(crate) fn name(self) -> String {
        name(self.owner)
    }

    pub(crate) fn spec(self) -> &'a Value {
        at(self.template, "/spec")
    }

    pub(crate) fn labels(self) -> &'a Value {
        at(self.template, "/metadata/labels")
    }

    /// Its containers, those that come first included.
    pub(crate) fn containers(self) -> impl Iterator<Item = &'a Value> {
        ["/initContainers", "/containers"].into_iter().flat_map(move |at| list(self.spec(), at))
    }

    /// Whether Fermata runs in it.
    pub(crate) fn is_ours(self) -> bool {
        label(self.labels(), "name") == "fermata"
    }

    /// Whether it runs until it is told to stop.
    pub(crate) fn is_server(self) -> bool {
        ["Deployment", "StatefulSet"].contains(&text(self.owner, "/kind"))
    }

    /// Whether it has a port of this name.
    pub(crate) fn has_port(self, name: &str) -> bool {
        self.containers().any(|container| list(container, "/ports").any(|port| text(port, "/name") == name))
    }
}

/// What is at this place; nothing is null.
pub(crate) fn at<'a>(value: &'a Value, pointer: &str) -> &'a Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}

/// The text at this place; nothing is empty.
pub(crate) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    at(value, pointer).as_str().unwrap_or_default()
}

/// The list at this place; nothing is empty.
pub(crate) fn list<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    at(value, pointer).as_array().into_iter().flatten()
}

/// The texts in the list at this place.
pub(crate) fn texts<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a str> {
    list(value, pointer).filter_map(Value::as_str)
}

/// The members of what is at this place; nothing has none.
pub(crate) fn members<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = (&'a str, &'a Value)> {
    at(value, pointer).as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), value))
}

/// Whether nothing is at this place.
pub(crate) fn is_absent(value: &Value, pointer: &str) -> bool {
    at(value, pointer).is_null()
}

/// `Deployment/fermata-worker`.
pub(crate) fn name(object: &Value) -> String {
    format!("{}/{}", text(object, "/kind"), text(object, "/metadata/name"))
}

/// Whether an object has this kind and name.
pub(crate) fn is(object: &Value, kind: &str, name: &str) -> bool {
    text(object, "/kind") == kind && text(object, "/metadata/name") == name
}

/// One of the labels that Kubernetes recommends, by the last part of its name.
pub(crate) fn label<'a>(labels: &'a Value, name: &str) -> &'a str {
    labels.get(format!("app.kubernetes.io/{name}")).and_then(Value::as_str).unwrap_or_default()
}

/// Whether a `labelSelector` chooses what has these labels. An empty one chooses everything, none nothing.
pub(crate) fn matches(selector: &Value, labels: &Value) -> bool {
    if selector.is_null() {
        return false;
    }
    let has = |key: &str| labels.get(key).and_then(Value::as_str);
    let all_labels = members(selector, "/matchLabels").all(|(key, value)| has(key) == value.as_str());
    all_labels
        && list(selector, "/matchExpressions").all(|expression| {
            let value = has(text(expression, "/key"));
            let named = value.is_some_and(|value| texts(expression, "/values").any(|one| one == value));
            match text(expression, "/operator") {
                "In" => named,
                "NotIn" => !named,
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                _ => false,
            }
        })
}

/// A quantity as Kubernetes writes them: `250m`, `512Mi`, `2`.
pub(crate) fn quantity(value: &Value) -> Option<f64> {
    const UNITS: [(&str, f64); 11] = [
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("n", 1e-9),
        ("u", 1e-6),
        ("m", 1e-3),
    ];
    let Some(text) = value.as_str() else { return value.as_f64() };
    let unit = UNITS.iter().find_map(|(unit, size)| Some((text.strip_suffix(unit)?, *size)));
    let (number, size) = unit.unwrap_or((text, 1.0));
    Some(number.parse::<f64>().ok()? * size)
}

#[test]
fn quantities_are_read() {
    for (written, expect) in [
        (json!("250m"), Some(0.25)),
        (json!("1Gi"), Some(1_073_741_824.0)),
        (json!("1G"), Some(1e9)),
        (json!(2), Some(2.0)),
        (json!("0.5"), Some(0.5)),
        (json!("much"), None),
        (json!(null), None),
    ] {
        assert_eq!(quantity(&written), expect, "{written}");
    }
}

#[test]
fn selectors_choose() {
    let labels = json!({"name": "fermata", "component": "worker"});
    let expression = |operator: &str| json!({"matchExpressions": [{"key": "component", "operator": operator, "values": ["worker"]}]});
    for (selector, expect) in [
        (json!({}), true),
        (json!(null), false),
        (json!({"matchLabels": {"name": "fermata"}}), true),
        (json!({"matchLabels": {"name": "fermata", "component": "scheduler"}}), false),
        (expression("In"), true),
        (expression("NotIn"), false),
        (expression("Exists"), true),
        (expression("DoesNotExist"), false),
        (expression("Near"), false),
    ] {
        assert_eq!(matches(&selector, &labels), expect, "{selector}");
    }
}
