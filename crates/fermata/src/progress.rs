//! Progress: a bar for each tenant on a terminal, plain lines elsewhere.

use std::collections::BTreeMap;
use std::time::Duration;

use fermata_core::checkpoint::{Outcome, Tally};
use fermata_core::names::Tenant;
use fermata_engine::Progress;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Instant;

use crate::out::{Out, count, duration};

/// Time between two plain lines of one tenant.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// What is known of a tenant's run.
struct Shown {
    began: Instant,
    jobs: usize,
    ended: usize,
    expected: Option<u64>,
    tallies: BTreeMap<&'static str, Tally>,
    bar: Option<ProgressBar>,
    said: Instant,
    waited: Option<Instant>,
    resumed: (u64, u64),
}

/// Shows what is told until nobody tells any more.
pub(crate) async fn show(mut told: UnboundedReceiver<Progress>, out: Out) {
    let bars = MultiProgress::new();
    let mut tenants: BTreeMap<Tenant, Shown> = BTreeMap::new();
    let say = |line: &str| {
        if out.draws() {
            let _ = bars.println(line);
        } else {
            out.say(line);
        }
    };
    while let Some(progress) = told.recv().await {
        match progress {
            Progress::Begun { tenant, run, resumed, jobs, expected } => {
                let verb = if resumed { "resumed" } else { "begun" };
                say(&format!("{tenant}: run {run} {verb}, {jobs} entities"));
                let shown = Shown::new(jobs, expected, out.draws().then(|| bars.add(bar(&tenant, jobs))));
                tenants.insert(tenant, shown);
            }
            Progress::Dropped { tenant, run, why } => {
                say(&format!("{tenant}: unfinished run {run} dropped: {why}"));
            }
            Progress::Page { tenant, entity, tally } => {
                if let Some(shown) = tenants.get_mut(&tenant) {
                    shown.page(entity, tally);
                    if let Some(line) = shown.line(&tenant, entity) {
                        say(&line);
                    }
                }
            }
            Progress::Waiting { tenant, entity, seconds, why } => {
                // When Tempo is away all jobs wait: one line in a while speaks for them.
                if tenants.get_mut(&tenant).is_none_or(Shown::speaks_of_waiting) {
                    say(&format!("{tenant}: {entity} waits {seconds} s: {why}"));
                }
            }
            Progress::Ended { tenant, entity, outcome, tally } => {
                if let Some(shown) = tenants.get_mut(&tenant) {
                    shown.ended += 1;
                    shown.page(entity, tally);
                }
                match outcome {
                    Outcome::Complete => {}
                    // Whoever watches the bar sees the table that follows it.
                    _ if out.draws() => {}
                    Outcome::Skipped(why) => say(&format!("{tenant}: {entity} skipped: {why}")),
                    Outcome::Failed(why) => say(&format!("{tenant}: {entity} failed: {why}")),
                }
            }
            Progress::Sealed { tenant, run } => {
                if let Some(bar) = tenants.get_mut(&tenant).and_then(|shown| shown.bar.take()) {
                    bar.finish_and_clear();
                }
                say(&format!("{tenant}: snapshot {run} sealed"));
            }
        }
    }
    for bar in tenants.values_mut().filter_map(|shown| shown.bar.take()) {
        bar.finish_and_clear();
    }
}

impl Shown {
    fn new(jobs: usize, expected: Option<u64>, bar: Option<ProgressBar>) -> Self {
        let now = Instant::now();
        Self {
            began: now,
            jobs,
            ended: 0,
            expected,
            tallies: BTreeMap::new(),
            bar,
            said: now,
            waited: None,
            resumed: (0, 0),
        }
    }

    fn page(&mut self, entity: &'static str, tally: Tally) {
        if !self.tallies.contains_key(entity) {
            // What an earlier process did is no speed of ours.
            self.resumed.0 += tally.requests.saturating_sub(1);
            self.resumed.1 += tally.records;
        }
        self.tallies.insert(entity, tally);
        if let Some(bar) = &self.bar {
            let (requests, records) = self.totals();
            if let Some(expected) = self.expected {
                bar.set_length(expected.max(records));
                bar.set_position(records);
            } else {
                bar.set_length(self.jobs as u64);
                bar.set_position(self.ended as u64);
            }
            bar.set_message(self.words(entity, requests, records));
        }
    }

    fn speaks_of_waiting(&mut self) -> bool {
        let speaks = self.waited.is_none_or(|said| said.elapsed() >= LINE_EVERY);
        if speaks {
            self.waited = Some(Instant::now());
        }
        speaks
    }

    fn totals(&self) -> (u64, u64) {
        self.tallies
            .values()
            .fold((0, 0), |(requests, records), tally| (requests + tally.requests, records + tally.records))
    }

    fn words(&self, entity: &str, requests: u64, records: u64) -> String {
        let seconds = self.began.elapsed().as_secs_f64().max(0.001);
        let rate = requests.saturating_sub(self.resumed.0) as f64 / seconds;
        let speed = records.saturating_sub(self.resumed.1) as f64 / seconds;
        let left = match self.expected {
            Some(expected) if expected > records && speed > 0.0 => {
                format!(", {} left", duration((expected - records) as f64 / speed))
            }
            _ => String::new(),
        };
        format!(
            "{}/{} entities, {} records, {rate:.1} requests/s{left} ({entity})",
            self.ended,
            self.jobs,
            count(records)
        )
    }

    /// A plain line now and then, where there is no bar.
    fn line(&mut self, tenant: &Tenant, entity: &str) -> Option<String> {
        if self.bar.is_some() || self.said.elapsed() < LINE_EVERY {
            return None;
        }
        self.said = Instant::now();
        let (requests, records) = self.totals();
        Some(format!("{tenant}: {}", self.words(entity, requests, records)))
    }
}

fn bar(tenant: &Tenant, jobs: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix} {elapsed} {bar:10} {wide_msg}");
    let style = style.expect("a template that a test draws");
    let bar = ProgressBar::new(jobs as u64).with_style(style).with_prefix(tenant.to_string());
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_can_be_drawn() {
        bar(&"acme".parse().unwrap(), 57).finish_and_clear();
    }
}
