//! One simulated site: who works there, on what, and everything it has recorded.
//!
//! Promises that all of it follows from the seed, the tenant's number, the sizes and "now".

use crate::clock;
use crate::random::Random;
use crate::tables::Tables;
use crate::text::Obj;
use crate::worklogs::Worklogs;

/// The account id under which Tempo shows users who were removed.
pub(crate) const UNKNOWN_USER: &str = "__tempo-io__unknown_user";

/// How many of each; [`Sizes::for_worklogs`] gives a believable site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sizes {
    /// Worklogs at the start.
    pub worklogs: usize,
    /// People, with those who left.
    pub users: usize,
    /// Teams.
    pub teams: usize,
    /// Accounts of all statuses.
    pub accounts: usize,
    /// Customers.
    pub customers: usize,
    /// Jira projects that worklogs, plans and links name.
    pub jira_projects: usize,
    /// Jira issues that have worklogs.
    pub issues: usize,
    /// Plans (resource allocations).
    pub plans: usize,
    /// Flex plans.
    pub flex_plans: usize,
    /// Generic resources.
    pub generic_resources: usize,
    /// Skills.
    pub skills: usize,
    /// Financial Manager projects.
    pub projects: usize,
    /// Portfolios of those.
    pub portfolios: usize,
    /// Audit events of the last 180 days, besides those of mutations.
    pub audit_events: usize,
    /// How many days of history lie before today.
    pub days: usize,
}

impl Sizes {
    /// Sizes that go with so many worklogs: 10,000 worklogs make a site that about 300 requests read whole.
    pub fn for_worklogs(worklogs: usize) -> Self {
        Self {
            worklogs,
            users: (worklogs / 1_700).clamp(if worklogs < 1_000 { 6 } else { 12 }, 600),
            teams: (worklogs / 20_000).clamp(3, 40),
            accounts: (worklogs / 3_000).clamp(14, 300),
            customers: (worklogs / 10_000).clamp(6, 80),
            jira_projects: (worklogs / 10_000).clamp(6, 60),
            issues: (worklogs / 12).clamp(40, 80_000),
            plans: (worklogs / 80).clamp(60, 12_000),
            flex_plans: (worklogs / 1_000).clamp(8, 200),
            generic_resources: (worklogs / 20_000).clamp(4, 30),
            skills: (worklogs / 10_000).clamp(8, 60),
            projects: (worklogs / 50_000).clamp(2, 20),
            portfolios: (worklogs / 100_000).clamp(1, 5),
            audit_events: (worklogs / 20).clamp(200, 20_000),
            days: 3 * 365,
        }
    }
}

/// Someone who works at the site.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    pub(crate) account_id: String,
    /// The id that the Financial Manager uses.
    pub(crate) uuid: String,
    pub(crate) part_time: bool,
    pub(crate) removed: bool,
    /// Hours east of UTC.
    pub(crate) zone_hours: i64,
}

/// A team and who was ever in it.
#[derive(Debug, Clone)]
pub(crate) struct Team {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) members: Vec<usize>,
}

/// What the generators share.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) jira: String,
    /// Seconds; the generator's "now".
    pub(crate) now: i64,
    pub(crate) today: i32,
    pub(crate) first_day: i32,
    pub(crate) sizes: Sizes,
    pub(crate) people: Vec<Person>,
    pub(crate) teams: Vec<Team>,
    /// Ids and keys of accounts, in the order in which they are served.
    pub(crate) accounts: Vec<(i64, String)>,
    pub(crate) jira_projects: Vec<i64>,
    pub(crate) unknown_fields: bool,
}

/// The default workload scheme and the part-timers' one.
pub(crate) const FULL_TIME: i64 = 2;
pub(crate) const PART_TIME: i64 = 5;

impl Facts {
    /// Lays out people, teams, accounts and projects; their records come from the generators.
    pub(crate) fn new(tenant: u32, seed: u64, now: i64, sizes: Sizes, unknown_fields: bool) -> Self {
        let mut random = Random::new(seed, u64::from(tenant));
        let today = now.div_euclid(clock::DAY) as i32;
        let people: Vec<Person> = (0..sizes.users)
            .map(|n| Person {
                account_id: account_id(n, sizes.users, &mut random),
                uuid: random.uuid(),
                part_time: n % 5 == 3,
                removed: n + 1 == sizes.users,
                zone_hours: (n % 5) as i64 - 1,
            })
            .collect();
        let teams = (0..sizes.teams)
            .map(|n| Team {
                id: 3 + 2 * n as i64,
                name: format!("{} {}", TEAM_NAMES[n % TEAM_NAMES.len()], n / TEAM_NAMES.len() + 1),
                members: (0..people.len())
                    .filter(|p| p % sizes.teams == n || (p + 1) % (sizes.teams * 3) == n)
                    .collect(),
            })
            .collect();
        let mut accounts: Vec<(i64, String)> = (0..sizes.accounts)
            .map(|n| (2 + n as i64, format!("{}-{}", ACCOUNT_KEYS[n % ACCOUNT_KEYS.len()], n + 1)))
            .collect();
        // Recorded accounts come as 4, 2, 3, 5: not sorted by id.
        for start in (0..accounts.len().saturating_sub(2)).step_by(5) {
            accounts[start..start + 3].rotate_right(1);
        }
        Self {
            jira: format!("https://sim-{tenant}.atlassian.net"),
            now,
            today,
            first_day: today - sizes.days as i32,
            people,
            teams,
            accounts,
            jira_projects: (0..sizes.jira_projects).map(|n| 10_000 + n as i64).collect(),
            sizes,
            unknown_fields,
        }
    }

    /// `{"self":..,"accountId":..}`.
    pub(crate) fn user(&self, account_id: &str) -> String {
        let link = format!("{}/rest/api/2/user?accountId={account_id}", self.jira);
        Obj::new().text("self", &link).text("accountId", account_id).end()
    }

    /// The same for a person by number.
    pub(crate) fn person(&self, number: usize) -> String {
        self.user(&self.people[number % self.people.len()].account_id)
    }

    /// A user as the Financial Manager shows one.
    pub(crate) fn fm_user(&self, number: usize) -> String {
        let person = &self.people[number % self.people.len()];
        let linked = Obj::new()
            .text("ecosystem", "JIRA")
            .text("originId", &person.account_id)
            .text("self", &format!("{}/rest/api/2/user?accountId={}", self.jira, person.account_id));
        let link = Obj::new().raw("linked", linked.end()).end();
        Obj::new().text("id", &person.uuid).raw("userLink", link).end()
    }

    /// The Jira issue with this number among those that have worklogs.
    pub(crate) fn issue_id(number: usize) -> i64 {
        20_000 + number as i64
    }

    /// Which project (index) an issue belongs to.
    pub(crate) fn project_of_issue(&self, number: usize) -> usize {
        number * self.jira_projects.len() / self.sizes.issues.max(1)
    }

    /// The month periods that touch a range of days, oldest first; a site has none before its first month.
    pub(crate) fn periods(&self, from: i32, to: i32) -> Vec<(i32, i32)> {
        let mut periods = Vec::new();
        let mut day = from.max(clock::month_around(self.first_day).0);
        // The month after next is as far as Tempo's users plan their timesheets.
        let last = to.min(self.today + 60);
        while day <= last {
            let month = clock::month_around(day);
            periods.push(month);
            day = month.1 + 1;
        }
        periods
    }
}

/// Everything that one tenant has.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) facts: Facts,
    pub(crate) tables: Tables,
    pub(crate) worklogs: Worklogs,
}

const TEAM_NAMES: &[&str] =
    &["Platform", "Payments", "Móvil", "Support", "データ", "Design", "Field \"B\"", "Operations"];
const ACCOUNT_KEYS: &[&str] =
    &["ACME-SUPPORT", "INTERNAL", "GLOBEX.ROLLOUT", "CAPEX_2025", "TRAINING", "INITECH-TM"];

fn account_id(number: usize, of: usize, random: &mut Random) -> String {
    if number + 1 == of {
        return UNKNOWN_USER.to_owned();
    }
    // Atlassian has an old form and one with a prefix and a UUID.
    if number % 4 == 1 {
        format!("712020:{}", random.uuid())
    } else {
        format!("{:016x}{:08x}", random.next(), random.next() as u32)
    }
}
