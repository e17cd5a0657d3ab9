//! What people wrote about alerts, and what of it does not fit together.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use crate::root;

/// The page that is of no alert.
const INDEX: &str = "README";
/// What a page has, in this order.
const SECTIONS: [&str; 5] = ["What it means", "How bad it is", "Look", "Do", "When it is nothing"];
const SEVERITIES: [&str; 2] = ["page", "ticket"];

/// All of it.
pub(super) struct Papers {
    /// The rule file.
    pub(super) rules: Value,
    /// Files of scenarios, by name.
    pub(super) scenarios: BTreeMap<String, Value>,
    /// The dashboard for Grafana.
    pub(super) picture: Value,
    /// Pages by the names of their alerts.
    pub(super) pages: BTreeMap<String, String>,
    /// The operators' guide, which has a table of all alerts.
    pub(super) fleet: String,
}

impl Papers {
    pub(super) fn read() -> Self {
        let mut pages = texts("docs/runbooks", ".md");
        pages.remove(INDEX).unwrap();
        let prometheus = texts("deploy/prometheus", ".yaml");
        let yaml = |text: &str| yaml_serde::from_str::<Value>(text).unwrap();
        let is_scenario = |name: &&String| name.contains(".test");
        Self {
            rules: yaml(&prometheus["alerts"]),
            scenarios: prometheus
                .iter()
                .filter(|(name, _)| is_scenario(name))
                .map(|(name, text)| (name.clone(), yaml(text)))
                .collect(),
            picture: serde_json::from_str(&texts("deploy/grafana", ".json")["fermata"]).unwrap(),
            pages,
            fleet: std::fs::read_to_string(root().join("docs/fleet.md")).unwrap(),
        }
    }

    pub(super) fn rules(&self) -> impl Iterator<Item = &Value> {
        let groups = self.rules["groups"].as_array().unwrap();
        groups.iter().flat_map(|group| group["rules"].as_array().unwrap())
    }

    pub(super) fn rules_mut(&mut self) -> impl Iterator<Item = &mut Value> {
        let groups = self.rules["groups"].as_array_mut().unwrap();
        groups.iter_mut().flat_map(|group| group["rules"].as_array_mut().unwrap())
    }

    pub(super) fn spoil_page(&mut self, name: &str, from: &str, to: &str) {
        let page = self.pages.get_mut(name).unwrap();
        assert!(page.contains(from), "{page}");
        *page = page.replace(from, to);
    }

    /// What Grafana asks, with its variables filled in.
    pub(super) fn asked(&self) -> Vec<String> {
        let panels = self.picture["panels"].as_array().unwrap();
        let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
        let annotations = self.picture["annotations"]["list"].as_array().unwrap();
        let all = targets.chain(annotations).map(|target| target["expr"].as_str().unwrap());
        all.map(|expr| expr.replace("$namespace", ".*")).collect()
    }

    /// Commands of ours that the pages tell people to give.
    pub(super) fn commands(&self) -> BTreeSet<String> {
        let lines = self.pages.values().flat_map(|page| page.lines());
        lines
            .filter_map(|line| line.strip_prefix("$ "))
            .filter(|line| line.starts_with("fermata "))
            .map(str::to_owned)
            .collect()
    }

    /// Every text in which metrics are named, and where it stands.
    pub(super) fn about_metrics(&self) -> Vec<(String, String)> {
        let mut all = Vec::new();
        for rule in self.rules() {
            all.push((format!("alert {}", rule["alert"]), rule["expr"].as_str().unwrap().to_owned()));
        }
        for (file, scenarios) in &self.scenarios {
            for scenario in scenarios["tests"].as_array().unwrap() {
                let series = scenario["input_series"].as_array().unwrap();
                let series = series.iter().map(|series| series["series"].as_str().unwrap().to_owned());
                all.extend(series.map(|series| (format!("{file}, {}", scenario["name"]), series)));
            }
        }
        all.extend(self.asked().into_iter().map(|expr| ("Grafana".to_owned(), expr)));
        all.extend(self.pages.iter().map(|(name, text)| (format!("page {name}"), text.clone())));
        all
    }

    /// Where alerts, pages, the table and the picture do not fit.
    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for rule in self.rules() {
            self.problems_of(rule, &mut problems);
        }
        for name in self.pages.keys().filter(|name| !self.rules().any(|rule| rule["alert"] == **name)) {
            problems.push(format!("page {name}: there is no alert of this name"));
        }
        picture_problems(&self.picture, &mut problems);
        problems
    }

    fn problems_of(&self, rule: &Value, problems: &mut Vec<String>) {
        let name = rule["alert"].as_str().unwrap_or_default();
        let mut want = |holds: bool, what: &str| {
            if !holds {
                problems.push(format!("{name}: {what}"));
            }
        };
        for text in ["summary", "description"] {
            let said = rule["annotations"][text].as_str().unwrap_or_default();
            want(said.len() > 20, &format!("has no {text}"));
        }
        let severity = rule["labels"]["severity"].as_str().unwrap_or_default();
        want(SEVERITIES.contains(&severity), "its severity is neither page nor ticket");
        let address = format!("/docs/runbooks/{name}.md");
        let named = rule["annotations"]["runbook_url"].as_str().unwrap_or_default();
        want(named.ends_with(&address), &format!("its page is not {address}"));
        let row = format!("| [`{name}`](runbooks/{name}.md) | {severity} |");
        want(self.fleet.contains(&row), "has no row in docs/fleet.md, or not with this severity");
        let Some(page) = self.pages.get(name) else { return want(false, "has no page") };
        want(page.starts_with(&format!("# {name}\n")), "its title on the page is another");
        want(page.contains(&format!("\n**{severity}**: ")), "its severity on the page is another");
        let sections: Vec<_> = page.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        want(sections == SECTIONS, &format!("the page has {sections:?} and not {}", SECTIONS.join(", ")));
        want(page.contains("\n$ fermata "), "the page has no command to look with");
        let where_to = format!("({INDEX}.md#where-to-give-the-commands)");
        want(page.contains(&where_to), "the page does not say where to give the commands");
    }
}

/// What is wrong with a dashboard before anybody loads it.
fn picture_problems(picture: &Value, problems: &mut Vec<String>) {
    let panels = picture["panels"].as_array().unwrap();
    let place = |panel: &Value| {
        let at = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        (at("x"), at("y"), at("x") + at("w"), at("y") + at("h"))
    };
    for (number, panel) in panels.iter().enumerate() {
        let title = &panel["title"];
        for other in &panels[..number] {
            if panel["id"] == other["id"] {
                problems.push(format!("Grafana: two panels have the number {}", panel["id"]));
            }
            let (one, two) = (place(panel), place(other));
            if one.0 < two.2 && two.0 < one.2 && one.1 < two.3 && two.1 < one.3 {
                problems.push(format!("Grafana: {title} and {} lie one over the other", other["title"]));
            }
        }
        if panel["type"] == "row" {
            continue;
        }
        if panel["datasource"]["uid"] != "${datasource}" {
            problems.push(format!("Grafana: {title}: its datasource is not the one that was chosen"));
        }
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expr = target["expr"].as_str().unwrap();
            if expr.matches("fermata_").count() != expr.matches("namespace=~\"$namespace\"").count() {
                problems.push(format!("Grafana: {title}: it is not told apart by namespace"));
            }
        }
    }
}

/// Files of a folder with this ending, by their names without it.
fn texts(folder: &str, ending: &str) -> BTreeMap<String, String> {
    let entries = std::fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let named = entries.filter_map(|path| {
        let name = Path::new(path.file_name()?).to_str()?.strip_suffix(ending)?.to_owned();
        Some((name, std::fs::read_to_string(path).unwrap()))
    });
    named.collect()
}
