//! What a complete backup of a tenant would hold.
//!
//! Promises, for each entity, the records byte for byte as the API serves them to the full token, in the order in which
//! a fan-out over parents meets them. What depends on the range asked for follows [`TruthWindow`]:
//! - `plans`: all that touch `from..=to`, window-dependent members for exactly that window and breakdown;
//! - `periods`: all that touch `from..=to`; a site has none before its first month, nor more than 60 days ahead;
//! - `timesheet-approvals` and `project-time-approvals`: every such period up to today, team by team (a user who is in
//!   two teams stands there twice) or project by project;
//! - `user-schedules`: user by user, the days of `from..=to` between the site's first day and a year from now;
//! - `audit-events`: everything, of generated events only those of the last 180 days exist;
//! - `holidays`: of each scheme the fixed ones, then the floating ones of all years, each once.

use crate::clock;
use crate::server::{approvals, plans, schedules};
use crate::site::Site;
use crate::worklogs::Key;

/// The names of all entities, in kebab case.
pub const ENTITIES: &[&str] = &[
    "accounts",
    "account-categories",
    "account-category-types",
    "account-links",
    "customers",
    "teams",
    "team-memberships",
    "team-links",
    "generic-resources",
    "team-generic-resources",
    "programs",
    "roles",
    "permission-roles",
    "skills",
    "skill-assignments",
    "work-attributes",
    "worklogs",
    "jira-worklog-ids",
    "workload-schemes",
    "workload-scheme-members",
    "holiday-schemes",
    "holidays",
    "holiday-scheme-members",
    "plans",
    "flex-plans",
    "timesheet-approvals",
    "timesheet-approval-log",
    "periods",
    "user-schedules",
    "global-configuration",
    "webhook-subscriptions",
    "audit-events",
    "projects",
    "project-scopes",
    "project-scope-tasks",
    "project-timeframes",
    "project-budgets",
    "project-budget-milestones",
    "project-expenses",
    "project-fixed-revenues",
    "project-rates",
    "project-roles",
    "project-shares",
    "project-time-approvers",
    "project-time-approvals",
    "project-labor-actuals",
    "project-expense-actuals",
    "project-labor-plans",
    "project-financials",
    "portfolios",
    "portfolio-projects",
    "project-attributes",
    "billing-rates-tables",
    "billing-rates",
    "global-rates",
    "cost-revenue-reports",
    "cost-revenue-report-data",
];

/// The range for which range-dependent entities are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TruthWindow {
    /// The first day (`YYYY-MM-DD`).
    pub from: String,
    /// The last day, inclusive.
    pub to: String,
    /// `DAILY`, `PERIOD` or neither, for the `plannedTime` of plans.
    pub plan_breakdown: Option<String>,
}

impl Default for TruthWindow {
    /// 2000-01-01 to 2100-01-01, plans day by day.
    fn default() -> Self {
        Self { from: "2000-01-01".into(), to: "2100-01-01".into(), plan_breakdown: Some("DAILY".into()) }
    }
}

impl Site {
    /// The records of an entity; empty for a name that is none.
    pub(crate) fn truth(&self, entity: &str, window: &TruthWindow) -> Vec<String> {
        let from = clock::parse_date(&window.from).unwrap_or(i32::MIN / 2);
        let to = clock::parse_date(&window.to).unwrap_or(i32::MAX / 2);
        let periods = || self.facts.periods(from, to);
        match entity {
            "worklogs" => self.worklogs.index(Key::Id).iter().map(|slot| self.worklogs.json(*slot)).collect(),
            "jira-worklog-ids" => {
                let pairs = self.worklogs.index(Key::Id).iter();
                pairs
                    .filter_map(|slot| crate::server::worklogs::id_pair(&self.worklogs, *slot, i64::MAX))
                    .collect()
            }
            "plans" => {
                let breakdown: Vec<&str> = window.plan_breakdown.as_deref().into_iter().collect();
                let plans = self.tables.all("plans").iter();
                plans.filter_map(|plan| plans::in_window(plan, from, to, &breakdown)).collect()
            }
            "periods" => self.facts.periods(from, to).into_iter().map(approvals::period).collect(),
            "timesheet-approvals" => {
                let of_team = |team: &crate::site::Team| {
                    let members = team.members.clone();
                    periods().into_iter().flat_map(move |p| members.clone().into_iter().map(move |m| (p, m)))
                };
                let all = self.facts.teams.iter().flat_map(of_team);
                all.map(|(period, person)| approvals::timesheet(&self.facts, person, period)).collect()
            }
            "project-time-approvals" => {
                let mut all = Vec::new();
                for project in self.tables.all("projects") {
                    for period in periods() {
                        all.extend(approvals::of_project(&self.facts, &project.id, period));
                    }
                }
                all
            }
            "user-schedules" => {
                let (from, to) = (from.max(self.facts.first_day), to.min(self.facts.today + 731));
                let people = 0..self.facts.people.len();
                people.flat_map(|person| schedules::days(self, person, from, to)).collect()
            }
            _ => self.tables.all(entity).iter().map(|record| record.text.to_string()).collect(),
        }
    }
}
