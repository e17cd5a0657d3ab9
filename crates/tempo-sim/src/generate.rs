//! The records of a generated site, family by family.
//!
//! Promises that they hang together (links name ids that exist) and that every optional member is present somewhere
//! and missing somewhere. Refuses to be complete: a site has what a backup reads.

mod accounts;
pub(crate) mod audit;
mod finance;
mod plans;
mod schemes;
mod teams;

use crate::random::Random;
use crate::site::{Facts, Site, Sizes};
use crate::tables::Tables;
use crate::worklogs::Worklogs;

/// What the generators of records write to.
pub(crate) struct Making<'a> {
    pub(crate) facts: &'a Facts,
    pub(crate) tables: Tables,
    pub(crate) worklogs: &'a Worklogs,
    pub(crate) random: Random,
}

impl Site {
    /// A whole site.
    pub(crate) fn generate(tenant: u32, seed: u64, now: i64, sizes: &Sizes, unknown_fields: bool) -> Self {
        let facts = Facts::new(tenant, seed, now, sane(sizes), unknown_fields);
        let mut random = Random::new(seed ^ 0x00C0_FFEE, u64::from(tenant));
        let worklogs = Worklogs::generate(&facts, &mut random);
        let mut making = Making { facts: &facts, tables: Tables::default(), worklogs: &worklogs, random };
        accounts::make(&mut making);
        teams::make(&mut making);
        schemes::make(&mut making);
        plans::make(&mut making);
        finance::make(&mut making);
        audit::make(&mut making);
        let tables = making.tables;
        Self { facts, tables, worklogs }
    }
}

/// A site needs at least one of what others refer to.
fn sane(sizes: &Sizes) -> Sizes {
    Sizes {
        users: sizes.users.max(2),
        teams: sizes.teams.max(1),
        accounts: sizes.accounts.max(1),
        customers: sizes.customers.max(1),
        jira_projects: sizes.jira_projects.max(1),
        issues: sizes.issues.max(1),
        generic_resources: sizes.generic_resources.max(1),
        skills: sizes.skills.max(1),
        days: sizes.days.max(1),
        ..sizes.clone()
    }
}
