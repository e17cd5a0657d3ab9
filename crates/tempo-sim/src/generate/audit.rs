//! The audit events of the last 180 days and the log of timesheet approvals.

use super::Making;
use crate::clock::{self, DAY};
use crate::site::Facts;
use crate::text::{Obj, array};

/// The window of the audit search.
const KEPT_DAYS: i64 = 180;

pub(super) fn make(making: &mut Making) {
    events(making);
    approvals(making);
}

/// One event's text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Event<'a> {
    pub(crate) action: &'a str,
    pub(crate) entity_type: &'a str,
    pub(crate) entity_id: &'a str,
    pub(crate) parent_id: &'a str,
    pub(crate) author: &'a str,
    pub(crate) worker: Option<&'a str>,
    /// Seconds of UTC.
    pub(crate) at: i64,
}

impl Event<'_> {
    pub(crate) fn text(&self) -> String {
        let (previous, new) = match self.action {
            "Created" => ("null", "\"3600\""),
            "Deleted" => ("\"3600\"", "null"),
            _ => ("\"3600\"", "\"5400\""),
        };
        let change =
            Obj::new().text("field", "timeSpentSeconds").raw("previous", previous).raw("new", new).end();
        Obj::new()
            .text("action", self.action)
            .text("entityType", self.entity_type)
            .text("entityId", self.entity_id)
            .text("parentId", self.parent_id)
            .text("author", self.author)
            .text("timestamp", &clock::instant(self.at))
            .maybe(self.worker, |o, worker| o.text("worker", worker))
            .raw("changes", array([change]))
            .end()
    }
}

fn events(making: &mut Making) {
    let facts = making.facts;
    let count = facts.sizes.audit_events;
    let window = KEPT_DAYS * DAY - 3_600;
    let others = ["team", "account", "teammembership", "workload", "holiday", "allocation"];
    for n in 0..count {
        let at = facts.now - window + window * n as i64 / count as i64;
        let who = &facts.people[making.random.index(facts.people.len())].account_id;
        let action = *making.random.pick(&["Created", "Updated", "Updated", "Deleted"]);
        let of_worklog = n % 4 != 3;
        let mut id = 1_000 + making.random.below(making.worklogs.next_id.max(1_001) as u64 - 1_000) as i64;
        // What is there was not deleted.
        while of_worklog && action == "Deleted" && making.worklogs.find(id).is_some() {
            id += 1;
        }
        let parent = Facts::issue_id(making.random.index(facts.sizes.issues)).to_string();
        let entity_type = if of_worklog { "worklog" } else { others[n / 4 % others.len()] };
        if entity_type != "worklog" {
            id = 60_000 + n as i64;
        }
        let event = Event {
            action,
            entity_type,
            entity_id: &id.to_string(),
            parent_id: if of_worklog { &parent } else { "" },
            author: who,
            worker: of_worklog.then_some(who),
            at,
        };
        making.tables.add("audit-events", "", event.text());
    }
}

fn approvals(making: &mut Making) {
    let facts = making.facts;
    for (from, to) in facts.periods(facts.first_day, facts.today - 10) {
        for n in 0..facts.people.len() {
            let updated = (i64::from(to + 3) * DAY + n as i64 * 60).min(facts.now - 1);
            let status = Obj::new()
                .text("key", if n % 6 == 5 { "IN_REVIEW" } else { "APPROVED" })
                .maybe((n % 4 == 1).then_some("ok \u{1f44d}"), |o, text| o.text("comment", text))
                .raw("actor", facts.person(n + 1))
                .text("updatedAt", &clock::instant(updated))
                .raw("requiredSecondsAtSubmit", 576_000)
                .raw("timeSpentSecondsAtSubmit", 570_000 + n)
                .end();
            let period = Obj::new().text("from", &clock::date(from)).text("to", &clock::date(to)).end();
            let text = Obj::new()
                .raw("user", facts.person(n))
                .raw("period", period)
                .raw("status", status)
                .maybe((n % 3 != 0).then(|| facts.person(n + 1)), |o, reviewer| o.raw("reviewer", reviewer))
                .end();
            making.tables.add("timesheet-approval-log", &facts.people[n].account_id, text);
        }
    }
}
