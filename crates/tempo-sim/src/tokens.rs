//! Tokens and what they may see.
//!
//! Promises one full token per tenant (`sim-token-<n>`). These are names in a simulator, not secrets.

use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

/// A group of endpoints that a token may be denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// Worklogs and work attributes.
    Worklogs,
    /// Teams, links, memberships, roles.
    Teams,
    /// Workload and holiday schemes, user schedules.
    Schemes,
    /// Plans, flex plans, plan approvals, programs.
    Plans,
    /// Periods.
    Periods,
    /// Timesheet approvals.
    Approvals,
    /// Accounts, categories, links, customers.
    Accounts,
    /// Projects, portfolios, rates, reports.
    Financial,
    /// Audit events, both feeds.
    Audit,
    /// Skills and their assignments.
    Skills,
    /// Generic resources and their teams.
    GenericResources,
    /// Webhook subscriptions.
    Webhooks,
    /// The global configuration.
    Configuration,
    /// Permission roles.
    Roles,
}

/// A token to add, or to change if it is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenSpec {
    /// The token's text.
    pub token: String,
    /// The tenant's name (`sim-1`).
    pub tenant: String,
    /// Families that answer 403.
    #[serde(default)]
    pub deny: BTreeSet<Family>,
    /// May only GET (see the quirk `view_may_search`).
    #[serde(default)]
    pub view_only: bool,
    /// Jira projects whose worklogs are silently absent.
    #[serde(default)]
    pub hide_projects: Vec<i64>,
    /// Answers 401 to everything.
    #[serde(default)]
    pub expired: bool,
}

impl TokenSpec {
    /// The full token of tenant `sim-<number>`, to be restricted from here.
    pub fn full(number: u32) -> Self {
        Self {
            token: format!("sim-token-{number}"),
            tenant: format!("sim-{number}"),
            deny: BTreeSet::new(),
            view_only: false,
            hide_projects: Vec::new(),
            expired: false,
        }
    }
}

/// All tokens.
#[derive(Debug, Default)]
pub(crate) struct Tokens(HashMap<String, TokenSpec>);

impl Tokens {
    pub(crate) fn put(&mut self, spec: TokenSpec) {
        self.0.insert(spec.token.clone(), spec);
    }

    /// What the `Authorization` header's token may do.
    pub(crate) fn find(&self, header: Option<&str>) -> Option<&TokenSpec> {
        let (scheme, token) = header?.split_once(' ')?;
        self.0.get(token.trim()).filter(|_| scheme.eq_ignore_ascii_case("bearer"))
    }

    pub(crate) fn list(&self) -> Vec<TokenSpec> {
        let mut all: Vec<TokenSpec> = self.0.values().cloned().collect();
        all.sort_by(|a, b| a.token.cmp(&b.token));
        all
    }
}
