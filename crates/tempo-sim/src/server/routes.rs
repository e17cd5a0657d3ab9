//! Which operation a path is, and who serves it.
//!
//! Fixed segments come before `{..}` ones where both would match (`/projects/time-approvals/..` before
//! `/projects/{id}/..`). Writes are not served; they would be further rows here.

use axum::http::Method;

use super::call::{Answer, Call, json, texts};
use super::{accounts, approvals, audit, finance, plans, schedules, schemes, teams, worklogs};
use crate::tokens::Family;

/// One operation.
pub(crate) struct Route {
    method: &'static str,
    pub(crate) template: &'static str,
    pub(crate) family: Family,
    pub(crate) serve: fn(&Call<'_>) -> Answer,
}

/// The operation of a request and the values of its template.
pub(crate) struct Found {
    pub(crate) route: &'static Route,
    pub(crate) params: Vec<String>,
}

/// Method and path template of every operation that is served.
pub const OPERATIONS: &[(&str, &str)] = &operations();

const fn operations() -> [(&'static str, &'static str); ROUTES.len()] {
    let mut all = [("", ""); ROUTES.len()];
    let mut n = 0;
    while n < ROUTES.len() {
        all[n] = (ROUTES[n].method, ROUTES[n].template);
        n += 1;
    }
    all
}

const fn get(template: &'static str, family: Family, serve: fn(&Call<'_>) -> Answer) -> Route {
    Route { method: "GET", template, family, serve }
}

const fn post(template: &'static str, family: Family, serve: fn(&Call<'_>) -> Answer) -> Route {
    Route { method: "POST", template, family, serve }
}

/// Finds the operation; values are percent-decoded.
pub(crate) fn find(method: &Method, path: &str) -> Option<Found> {
    ROUTES.iter().filter(|route| route.method == method.as_str()).find_map(|route| {
        let mut params = Vec::new();
        let mut parts = path.split('/');
        for wanted in route.template.split('/') {
            let part = parts.next()?;
            if wanted.starts_with('{') {
                params.push(decoded(part));
            } else if wanted != part {
                return None;
            }
        }
        parts.next().is_none().then_some(Found { route, params })
    })
}

fn decoded(part: &str) -> String {
    // A path may hold `+`, which form decoding would take for a space.
    let escaped = part.replace('+', "%2B");
    url::form_urlencoded::parse(escaped.as_bytes())
        .next()
        .map_or_else(String::new, |(text, _)| text.into_owned())
}

use Family as F;

/// All operations.
const ROUTES: &[Route] = &[
    get("/4/account-categories", F::Accounts, accounts::categories),
    get("/4/account-categories/{key}", F::Accounts, |c| {
        accounts::by_key(c, "account-categories", "Category")
    }),
    get("/4/account-category-types", F::Accounts, |c| c.whole("account-category-types")),
    get("/4/account-links/project/{id}", F::Accounts, accounts::links_of_project),
    get("/4/account-links/{id}", F::Accounts, |c| c.by_id("account-links", "Account link")),
    get("/4/accounts", F::Accounts, accounts::list),
    post("/4/accounts/search", F::Accounts, accounts::search),
    get("/4/accounts/{id}", F::Accounts, |c| c.by_id("accounts", "Account")),
    get("/4/accounts/{key}/links", F::Accounts, accounts::links),
    get("/4/customers", F::Accounts, |c| c.list_all("customers")),
    post("/4/customers/search", F::Accounts, accounts::customers_search),
    get("/4/customers/{id}", F::Accounts, |c| c.by_id("customers", "Customer")),
    get("/4/customers/{id}/accounts", F::Accounts, accounts::customer_accounts),
    get("/4/teams", F::Teams, teams::list),
    get("/4/teams/{id}", F::Teams, |c| c.by_id("teams", "Team")),
    get("/4/teams/{id}/links", F::Teams, teams::links),
    get("/4/teams/{id}/members", F::Teams, teams::members),
    get("/4/teams/{teamId}/generic-resources", F::GenericResources, teams::team_generic_resources),
    get(
        "/4/teams/{teamId}/generic-resources/{resourceId}",
        F::GenericResources,
        teams::team_generic_resource,
    ),
    get("/4/team-links/project/{id}", F::Teams, teams::links_of_project),
    get("/4/team-links/{linkId}", F::Teams, |c| c.by_id("team-links", "Team link")),
    post("/4/team-memberships/search", F::Teams, teams::memberships_search),
    get("/4/team-memberships/team/{teamId}", F::Teams, teams::memberships_of_team),
    get("/4/team-memberships/{id}", F::Teams, |c| c.by_id("team-memberships", "Membership")),
    post("/4/generic-resources/search", F::GenericResources, teams::generic_resources),
    get("/4/generic-resources/{id}", F::GenericResources, |c| {
        c.by_id("generic-resources", "Generic resource")
    }),
    get("/4/programs", F::Plans, |c| c.whole("programs")),
    get("/4/programs/{id}", F::Plans, |c| c.by_id("programs", "Program")),
    get("/4/programs/{id}/teams", F::Plans, teams::program_teams),
    get("/4/roles", F::Teams, |c| c.whole("roles")),
    get("/4/roles/default", F::Teams, teams::default_role),
    get("/4/roles/{id}", F::Teams, |c| c.by_id("roles", "Role")),
    get("/4/permission-roles", F::Roles, teams::permission_roles),
    get("/4/permission-roles/global", F::Roles, teams::global_permission_roles),
    get("/4/permission-roles/{id}", F::Roles, |c| c.by_id("permission-roles", "Permission role")),
    get("/4/skills", F::Skills, teams::skills),
    get("/4/skills/{id}", F::Skills, |c| c.by_id("skills", "Skill")),
    post("/4/skill-assignments/search", F::Skills, teams::skill_assignments),
    get("/4/skill-assignments/{assigneeId}/{assigneeType}", F::Skills, teams::skills_of),
    get("/4/work-attributes", F::Worklogs, |c| c.list_all("work-attributes")),
    get("/4/work-attributes/{key}", F::Worklogs, |c| {
        accounts::by_key(c, "work-attributes", "Work attribute")
    }),
    get("/4/worklogs", F::Worklogs, worklogs::list),
    post("/4/worklogs/search", F::Worklogs, worklogs::search),
    post("/4/worklogs/tempo-to-jira", F::Worklogs, worklogs::tempo_to_jira),
    post("/4/worklogs/jira-to-tempo", F::Worklogs, worklogs::jira_to_tempo),
    post("/4/worklogs/work-attribute-values/search", F::Worklogs, worklogs::attribute_values_search),
    get("/4/worklogs/user/{accountId}", F::Worklogs, worklogs::of_user),
    get("/4/worklogs/team/{teamId}", F::Worklogs, worklogs::of_team),
    get("/4/worklogs/account/{accountKey}", F::Worklogs, worklogs::of_account),
    get("/4/worklogs/project/{projectId}", F::Worklogs, worklogs::of_project),
    get("/4/worklogs/issue/{issueId}", F::Worklogs, worklogs::of_issue),
    get("/4/worklogs/{id}", F::Worklogs, worklogs::one),
    get("/4/worklogs/{id}/work-attribute-values", F::Worklogs, worklogs::attribute_values),
    get("/4/worklogs/{id}/work-attribute-values/{key}", F::Worklogs, worklogs::attribute_value),
    get("/4/workload-schemes", F::Schemes, |c| c.list_all("workload-schemes")),
    post("/4/workload-schemes/members/search", F::Schemes, |c| {
        schemes::members_search(c, "workload-scheme-members")
    }),
    get("/4/workload-schemes/users/{accountId}", F::Schemes, |c| {
        schemes::of_user(c, "workload-schemes", "workload-scheme-members")
    }),
    get("/4/workload-schemes/{id}", F::Schemes, |c| c.by_id("workload-schemes", "Workload scheme")),
    get("/4/workload-schemes/{id}/members", F::Schemes, |c| {
        schemes::members(c, "workload-schemes", "workload-scheme-members")
    }),
    get("/4/holiday-schemes", F::Schemes, |c| c.whole("holiday-schemes")),
    post("/4/holiday-schemes/members/search", F::Schemes, |c| {
        schemes::members_search(c, "holiday-scheme-members")
    }),
    get("/4/holiday-schemes/users/{accountId}", F::Schemes, |c| {
        schemes::of_user(c, "holiday-schemes", "holiday-scheme-members")
    }),
    get("/4/holiday-schemes/{schemeId}", F::Schemes, |c| c.by_id("holiday-schemes", "Holiday scheme")),
    get("/4/holiday-schemes/{schemeId}/members", F::Schemes, |c| {
        schemes::members(c, "holiday-schemes", "holiday-scheme-members")
    }),
    get("/4/holiday-schemes/{schemeId}/holidays", F::Schemes, schemes::holidays),
    get("/4/holiday-schemes/{schemeId}/holidays/floating", F::Schemes, schemes::floating),
    get("/4/holiday-schemes/{schemeId}/holidays/{holidayId}", F::Schemes, schemes::holiday),
    get("/4/user-schedule", F::Schemes, schedules::own),
    get("/4/user-schedule/{accountId}", F::Schemes, schedules::of_user),
    get("/4/plans", F::Plans, plans::list),
    post("/4/plans/search", F::Plans, plans::search),
    get("/4/plans/user/{accountId}", F::Plans, |c| plans::of_assignee(c, "USER")),
    get("/4/plans/generic-resource/{genericResourceId}", F::Plans, |c| plans::of_assignee(c, "GENERIC")),
    get("/4/plans/{id}", F::Plans, plans::one),
    post("/4/flex-plans/search", F::Plans, plans::flex_search),
    get("/4/flex-plans/{id}", F::Plans, |c| c.by_id("flex-plans", "Flex plan")),
    post("/4/plan-approvals/plans-for-review", F::Plans, plans::for_review),
    get("/4/plan-permissions/plan-reviewers", F::Plans, plans::reviewers),
    get("/4/timesheet-approvals/waiting", F::Approvals, approvals::waiting),
    get("/4/timesheet-approvals/team/{teamId}", F::Approvals, approvals::of_team),
    get("/4/timesheet-approvals/user/{accountId}", F::Approvals, approvals::of_user),
    get("/4/timesheet-approvals/user/{accountId}/reviewers", F::Approvals, approvals::reviewers),
    post("/4/timesheet-approvals/logs/search", F::Approvals, approvals::log),
    get("/4/periods", F::Periods, approvals::periods),
    get("/4/globalconfiguration", F::Configuration, configuration),
    get("/4/webhooks/subscriptions", F::Webhooks, webhooks),
    get("/4/webhooks/subscriptions/{id}", F::Webhooks, |c| c.by_id("webhook-subscriptions", "Subscription")),
    post("/4/papertrail/search", F::Audit, audit::search),
    get("/papertrail/1/events/deleted/types/worklog", F::Audit, audit::deleted),
    get("/papertrail/1/events/deleted/types/allocation", F::Audit, audit::deleted),
    get("/4/projects", F::Financial, |c| c.list_all("projects")),
    get(
        "/4/projects/time-approvals/team-member/{teamMemberId}",
        F::Financial,
        approvals::project_time_of_member,
    ),
    get("/4/projects/{id}", F::Financial, |c| c.by_id("projects", "Project")),
    get("/4/projects/{projectId}/scope", F::Financial, |c| finance::single(c, "project-scopes")),
    get("/4/projects/{projectId}/scope/tasks", F::Financial, |c| finance::paged(c, "project-scope-tasks")),
    get("/4/projects/{projectId}/timeframe", F::Financial, |c| finance::single(c, "project-timeframes")),
    get("/4/projects/{projectId}/budget", F::Financial, |c| finance::single(c, "project-budgets")),
    get("/4/projects/{projectId}/budget-milestones", F::Financial, |c| {
        finance::wrapped(c, "project-budget-milestones", "milestones", true)
    }),
    get("/4/projects/{projectId}/expenses", F::Financial, |c| finance::paged(c, "project-expenses")),
    get("/4/projects/{projectId}/expenses/{expenseId}", F::Financial, |c| {
        finance::part(c, "project-expenses")
    }),
    get("/4/projects/{projectId}/fixed-revenues", F::Financial, |c| {
        finance::paged(c, "project-fixed-revenues")
    }),
    get("/4/projects/{projectId}/fixed-revenues/{fixedRevenueId}", F::Financial, |c| {
        finance::part(c, "project-fixed-revenues")
    }),
    get("/4/projects/{projectId}/team-members/rates", F::Financial, |c| {
        finance::wrapped(c, "project-rates", "rates", false)
    }),
    get("/4/projects/{projectId}/team-members/roles", F::Financial, |c| {
        finance::wrapped(c, "project-roles", "roles", false)
    }),
    get("/4/projects/{projectId}/shares", F::Financial, |c| {
        finance::wrapped(c, "project-shares", "projectShares", false)
    }),
    get("/4/projects/{projectId}/project-time-approvers", F::Financial, finance::time_approvers),
    get("/4/projects/{projectId}/time-approvals", F::Financial, approvals::project_time),
    get("/4/projects/{projectId}/time-approvals/labor-costs", F::Financial, approvals::labor_costs),
    get("/4/projects/{projectId}/actuals/labor", F::Financial, |c| {
        finance::dated(c, "project-labor-actuals")
    }),
    get("/4/projects/{projectId}/actuals/expenses", F::Financial, |c| {
        finance::dated(c, "project-expense-actuals")
    }),
    get("/4/projects/{projectId}/plans/labor", F::Financial, |c| finance::dated(c, "project-labor-plans")),
    get("/4/projects/{projectId}/financials/summary", F::Financial, |c| {
        finance::single(c, "project-financials")
    }),
    get("/4/portfolios", F::Financial, |c| c.list_all("portfolios")),
    get("/4/portfolios/{portfolioId}", F::Financial, |c| c.by_id("portfolios", "Portfolio")),
    get("/4/portfolios/{portfolioId}/projects", F::Financial, finance::portfolio_projects),
    get("/4/project-attributes", F::Financial, finance::attributes),
    get("/4/billing-rates-tables", F::Financial, |c| c.list_all("billing-rates-tables")),
    get("/4/billing-rates-tables/{billingRatesTableId}", F::Financial, finance::rates_table),
    get("/4/global-rates/by-role", F::Financial, finance::global_rates),
    get("/4/global-rates/by-role/{roleId}", F::Financial, finance::global_rates_of_role),
    get("/4/reports/costs-and-revenues", F::Financial, |c| c.list_all("cost-revenue-reports")),
    get("/4/reports/costs-and-revenues/{reportId}", F::Financial, |c| {
        c.by_id("cost-revenue-reports", "Report")
    }),
    get("/4/reports/costs-and-revenues/{reportId}/data", F::Financial, finance::report_data),
];

fn configuration(call: &Call<'_>) -> Answer {
    json(call.all("global-configuration").first().map_or("{}", |record| &*record.text).as_bytes())
}

/// Takes offset and limit, yet has no links and no total: its metadata is a count.
fn webhooks(call: &Call<'_>) -> Answer {
    let window = call.window()?;
    call.p0(texts(call.all("webhook-subscriptions").iter().skip(window.row_offset).take(window.row_limit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_segments_win_and_values_are_decoded() {
        let at = |path: &str| find(&Method::GET, path).map(|found| (found.route.template, found.params));
        assert_eq!(
            at("/4/projects/time-approvals/team-member/7").unwrap().0,
            "/4/projects/time-approvals/team-member/{teamMemberId}"
        );
        assert_eq!(at("/4/worklogs/user/712020%3Aa+b").unwrap().1, ["712020:a+b"]);
        assert_eq!(at("/4/roles/default").unwrap().0, "/4/roles/default");
        assert!(at("/4/worklogs/").is_none_or(|found| found.1 == [""]));
        assert!(at("/4/nothing").is_none() && at("/4/teams/1/links/2").is_none());
    }
}
