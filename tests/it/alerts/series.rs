//! Series: those that a scrape shows, and those that a text names.

use std::collections::{BTreeMap, BTreeSet};

/// What every metric begins with.
const PREFIX: &str = "fermata_";
/// Labels that Prometheus gives to what it scrapes; histograms have their bounds.
const NOT_OURS: [&str; 4] = ["namespace", "instance", "job", "le"];

/// One line of a scrape.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    /// The metric, with what its kind adds to its name.
    pub(super) name: String,
    pub(super) labels: BTreeMap<String, String>,
    /// As it is written.
    pub(super) value: String,
}

/// The samples of a scrape.
pub(super) fn samples(scrape: &str) -> Vec<Sample> {
    let lines = scrape.lines().filter(|line| !line.starts_with('#'));
    let sample = |line: &str| {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let (name, matchers, _) = selector(series);
        let labels = matchers.into_iter().map(|(label, value)| (label.to_owned(), value.to_owned()));
        Sample { name: name.to_owned(), labels: labels.collect(), value: value.to_owned() }
    };
    lines.map(sample).collect()
}

/// Metrics and values of labels that a text names and no sample has.
pub(super) fn unknown(text: &str, shown: &[Sample]) -> Vec<String> {
    let mut problems = BTreeSet::new();
    let mut rest = text;
    while let Some(at) = rest.find(PREFIX) {
        let (name, matchers, after) = selector(&rest[at..]);
        rest = after;
        let of_name: Vec<_> = shown.iter().filter(|sample| sample.name == name).collect();
        if of_name.is_empty() {
            problems.insert(format!("{name}: no scrape has it"));
            continue;
        }
        for (label, values) in matchers.iter().filter(|(label, _)| !NOT_OURS.contains(label)) {
            let known = |value: &str| {
                of_name.iter().any(|sample| sample.labels.get(*label).is_some_and(|has| has == value))
            };
            for value in values.split('|').filter(|value| !known(value)) {
                problems.insert(format!("{name}: no scrape has it with {label} {value}"));
            }
        }
    }
    problems.into_iter().collect()
}

/// The name at the beginning of a text, the labels in braces behind it with their values, and the rest.
fn selector(text: &str) -> (&str, Vec<(&str, &str)>, &str) {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let Some((inside, after)) = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')) else {
        return (name, Vec::new(), rest);
    };
    // label="value", also with !=, =~ and !~
    let mut labels = Vec::new();
    let mut parts = inside.split('"');
    while let (Some(label), Some(value)) = (parts.next(), parts.next()) {
        labels.push((label.trim_matches(|c: char| !(c.is_ascii_alphanumeric() || c == '_')), value));
    }
    (name, labels, after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_scrape_has_is_found() {
        let shown = samples(
            "# TYPE fermata_a counter\nfermata_a_total{what=\"x\",how=\"y\"} 3\nfermata_b 0.5\n# EOF\n",
        );
        assert_eq!((&*shown[1].name, &*shown[1].value), ("fermata_b", "0.5"));
        let check = |text: &str, expect: &[&str]| assert_eq!(unknown(text, &shown), expect, "{text}");
        check("sum by (what) (rate(fermata_a_total{what=~\"x\", instance=\"z\"}[5m])) / fermata_b", &[]);
        check("fermata_c > 1", &["fermata_c: no scrape has it"]);
        check("fermata_a", &["fermata_a: no scrape has it"]);
        check("fermata_a_total{what=~\"x|z\"}", &["fermata_a_total: no scrape has it with what z"]);
        check("fermata_b{what!=\"x\"}", &["fermata_b: no scrape has it with what x"]);
    }
}
