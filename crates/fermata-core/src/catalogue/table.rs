//! The table itself. Facts are from the official specification of April 2026 and from the API
//! notes it is quoted in; where the two differ from what live sites do, the live sites win.

use super::{
    Closing, Delta, Entity, Fallback, Family, Key, Method, Over, Paging, Read, Records, Restore, Yield,
};

/// Rows asked for at once where Tempo names no maximum: its knowledge base says 5,000 for v4.
const PAGE_ROWS: u32 = 5_000;
/// Plans asked for at once: each comes with a row for every day, so 5,000 of them are tens of megabytes.
const PLAN_ROWS: u32 = 1_000;
/// `papertrail/search` takes 1 to 1,000.
const AUDIT_ROWS: u32 = 1_000;
/// Scheme ids in one member search; the specification names no maximum.
const SCHEMES_AT_ONCE: usize = 200;
/// Assignees in one skill search; the specification names no maximum.
const ASSIGNEES_AT_ONCE: usize = 100;
/// Worklog ids in one mapping request: one answer then holds them all, and live sites take it.
const WORKLOG_IDS_AT_ONCE: usize = 5_000;

/// Every entity, in the order in which their tables are shown.
pub static ENTITIES: &[Entity] = &[
    Entity {
        name: "accounts",
        reads: &[paged(post("/4/accounts/search", r#"{"statuses":["OPEN","CLOSED","ARCHIVED"]}"#))],
        fallback: Some(Fallback { reads: &[paged(get("/4/accounts"))], misses: "archived accounts" }),
        yields: &[gives(Key::Account, "key"), gives(Key::User, "lead.accountId")],
        audit_type: Some("account"),
        restore: Restore::Step(2, "key"),
        ..row(Family::Accounts)
    },
    Entity {
        name: "account-categories",
        reads: &[get("/4/account-categories")],
        audit_type: Some("accountcategory"),
        restore: Restore::Step(1, "key"),
        ..row(Family::Accounts)
    },
    Entity {
        name: "account-category-types",
        reads: &[get("/4/account-category-types")],
        identity: &["name"],
        restore: Restore::No("a fixed list"),
        ..row(Family::Accounts)
    },
    Entity {
        name: "account-links",
        reads: &[each(&[Key::Account], paged(get("/4/accounts/{account}/links")))],
        audit_type: Some("accountlink"),
        restore: Restore::Step(6, "account and project"),
        ..row(Family::Accounts)
    },
    Entity {
        name: "customers",
        reads: &[paged(get("/4/customers"))],
        audit_type: Some("customer"),
        restore: Restore::Step(1, "key"),
        ..row(Family::Accounts)
    },
    Entity {
        name: "teams",
        reads: &[paged(get("/4/teams"))],
        yields: &[gives(Key::Team, "id"), gives(Key::User, "lead.accountId")],
        audit_type: Some("team"),
        restore: Restore::Step(5, "name"),
        ..row(Family::Teams)
    },
    Entity {
        name: "team-memberships",
        reads: &[paged(post("/4/team-memberships/search", "{}"))],
        fallback: Some(Fallback {
            reads: &[each(&[Key::Team], get("/4/team-memberships/team/{team}"))],
            misses: "",
        }),
        yields: &[gives(Key::User, "member.accountId")],
        audit_type: Some("teammembership"),
        restore: Restore::Step(6, "team, user and first day"),
        ..row(Family::Teams)
    },
    Entity {
        name: "team-links",
        reads: &[each(&[Key::Team], paged(get("/4/teams/{team}/links")))],
        audit_type: Some("teamlink"),
        restore: Restore::Step(6, "team and project"),
        ..row(Family::Teams)
    },
    Entity {
        name: "generic-resources",
        reads: &[paged_in_body(post("/4/generic-resources/search", "{}"))],
        changed_at: Some("updatedAt"),
        yields: &[gives(Key::GenericResource, "id")],
        restore: Restore::Step(3, "name"),
        ..row(Family::GenericResources)
    },
    Entity {
        name: "team-generic-resources",
        reads: &[each(&[Key::Team], under("members", get("/4/teams/{team}/generic-resources")))],
        // The same resource stands in many teams, so its id names no record.
        identity: &[],
        restore: Restore::Step(6, "team and resource"),
        ..row(Family::GenericResources)
    },
    Entity {
        name: "programs",
        reads: &[get("/4/programs")],
        audit_type: Some("program"),
        restore: Restore::Step(4, "name"),
        ..row(Family::Plans)
    },
    Entity {
        name: "roles",
        reads: &[get("/4/roles")],
        audit_type: Some("role"),
        restore: Restore::Step(3, "name"),
        ..row(Family::Teams)
    },
    Entity {
        name: "permission-roles",
        reads: &[paged(get("/4/permission-roles")), paged(get("/4/permission-roles/global"))],
        audit_type: Some("permissiongroup"),
        restore: Restore::Step(7, "name and access"),
        ..row(Family::PermissionRoles)
    },
    Entity {
        name: "skills",
        reads: &[paged(get("/4/skills"))],
        audit_type: Some("skill"),
        restore: Restore::Step(3, "name"),
        ..row(Family::Skills)
    },
    Entity {
        name: "skill-assignments",
        reads: &[
            linked(batch(
                Key::User,
                ASSIGNEES_AT_ONCE,
                post(
                    "/4/skill-assignments/search",
                    r#"{"assignees":[{"assigneeId":"{user}","assigneeType":"USER"}]}"#,
                ),
            )),
            linked(batch(
                Key::GenericResource,
                ASSIGNEES_AT_ONCE,
                post(
                    "/4/skill-assignments/search",
                    r#"{"assignees":[{"assigneeId":"{genericResource}","assigneeType":"GENERIC"}]}"#,
                ),
            )),
        ],
        identity: &["assigneeType", "assigneeId"],
        audit_type: Some("skillassignment"),
        restore: Restore::Step(8, "assignee"),
        ..row(Family::Skills)
    },
    Entity {
        name: "work-attributes",
        reads: &[paged(get("/4/work-attributes"))],
        identity: &["key"],
        audit_type: Some("workattribute"),
        restore: Restore::Step(3, "key"),
        ..row(Family::Worklogs)
    },
    Entity {
        name: "worklogs",
        reads: &[Read { paging: Paging::Changes, limit: PAGE_ROWS, ..post("/4/worklogs/search", "{}") }],
        fallback: Some(Fallback {
            reads: &[Read { paging: Paging::Days, limit: PAGE_ROWS, ..get("/4/worklogs") }],
            misses: "",
        }),
        delta: Some(Delta::Feed(deleted(
            r#"{"from":"{since}","action":["Deleted"],"entityType":["worklog"]}"#,
        ))),
        identity: &["tempoWorklogId"],
        changed_at: Some("updatedAt"),
        day: Some("startDate"),
        yields: &[gives(Key::Worklog, "tempoWorklogId"), gives(Key::User, "author.accountId")],
        audit_type: Some("worklog"),
        restore: Restore::Step(10, "issue, author, start and duration"),
        ..row(Family::Worklogs)
    },
    Entity {
        name: "jira-worklog-ids",
        reads: &[batch(
            Key::Worklog,
            WORKLOG_IDS_AT_ONCE,
            Read {
                closing: Closing::Never,
                ..paged(post("/4/worklogs/tempo-to-jira", r#"{"tempoWorklogIds":["{worklog}"]}"#))
            },
        )],
        delta: Some(Delta::Keys),
        identity: &["tempoWorklogId"],
        restore: Restore::No("Jira numbers its worklogs itself; the map serves a restore to another site"),
        ..row(Family::Worklogs)
    },
    Entity {
        name: "workload-schemes",
        reads: &[paged(get("/4/workload-schemes"))],
        yields: &[gives(Key::WorkloadScheme, "id")],
        audit_type: Some("workload"),
        restore: Restore::Step(9, "name"),
        ..row(Family::Schemes)
    },
    Entity {
        name: "workload-scheme-members",
        reads: &[batch(
            Key::WorkloadScheme,
            SCHEMES_AT_ONCE,
            paged_in_body(post(
                "/4/workload-schemes/members/search",
                r#"{"schemeIds":["{workloadScheme}"]}"#,
            )),
        )],
        fallback: Some(Fallback {
            reads: &[each(
                &[Key::WorkloadScheme],
                paged(get("/4/workload-schemes/{workloadScheme}/members")),
            )],
            misses: "",
        }),
        identity: &["schemeId", "member.accountId", "accountId"],
        yields: &[gives(Key::User, "member.accountId"), gives(Key::User, "accountId")],
        audit_type: Some("workloadmembership"),
        restore: Restore::Step(9, "scheme and user"),
        ..row(Family::Schemes)
    },
    Entity {
        name: "holiday-schemes",
        reads: &[get("/4/holiday-schemes")],
        yields: &[gives(Key::HolidayScheme, "id")],
        audit_type: Some("holidayscheme"),
        restore: Restore::Step(9, "name"),
        ..row(Family::Schemes)
    },
    Entity {
        name: "holidays",
        // Any one year shows all fixed holidays; the floating call shows the others of all years.
        reads: &[
            each(&[Key::HolidayScheme], get("/4/holiday-schemes/{holidayScheme}/holidays")),
            each(&[Key::HolidayScheme], get("/4/holiday-schemes/{holidayScheme}/holidays/floating")),
        ],
        day: Some("date"),
        audit_type: Some("holiday"),
        restore: Restore::Step(9, "scheme, type, date and name"),
        ..row(Family::Schemes)
    },
    Entity {
        name: "holiday-scheme-members",
        reads: &[batch(
            Key::HolidayScheme,
            SCHEMES_AT_ONCE,
            paged_in_body(post("/4/holiday-schemes/members/search", r#"{"schemeIds":["{holidayScheme}"]}"#)),
        )],
        fallback: Some(Fallback {
            reads: &[each(&[Key::HolidayScheme], paged(get("/4/holiday-schemes/{holidayScheme}/members")))],
            misses: "",
        }),
        identity: &["schemeId", "member.accountId", "accountId"],
        yields: &[gives(Key::User, "member.accountId"), gives(Key::User, "accountId")],
        audit_type: Some("holidaymembership"),
        restore: Restore::Step(9, "scheme and user"),
        ..row(Family::Schemes)
    },
    Entity {
        name: "plans",
        reads: &[Read {
            closing: Closing::Since,
            limit: PLAN_ROWS,
            ..paged_in_body(post(
                "/4/plans/search",
                r#"{"from":"{plansFrom}","to":"{plansTo}","plannedTimeBreakdown":["DAILY"]}"#,
            ))
        }],
        fallback: Some(Fallback {
            reads: &[Read {
                closing: Closing::Since,
                limit: PLAN_ROWS,
                query: &[("from", "{plansFrom}"), ("to", "{plansTo}"), ("plannedTimeBreakdown", "DAILY")],
                ..paged(get("/4/plans"))
            }],
            misses: "",
        }),
        delta: Some(Delta::Feed(deleted(
            r#"{"from":"{since}","action":["Deleted"],"entityType":["allocation"]}"#,
        ))),
        changed_at: Some("updatedAt"),
        day: Some("startDate"),
        audit_type: Some("allocation"),
        restore: Restore::Step(11, "assignee, item and dates"),
        ..row(Family::Plans)
    },
    Entity {
        name: "flex-plans",
        reads: &[under("flexPlans", post("/4/flex-plans/search", r#"{"includeUnassigned":true}"#))],
        day: Some("startDate"),
        restore: Restore::Step(11, "team, issue and dates"),
        ..row(Family::Plans)
    },
    Entity {
        name: "timesheet-approvals",
        reads: &[Read {
            query: &[("from", "{from}"), ("to", "{to}")],
            ..each(&[Key::Team, Key::Period], get("/4/timesheet-approvals/team/{team}"))
        }],
        identity: &[],
        restore: Restore::Step(12, "user and period"),
        ..row(Family::Approvals)
    },
    Entity {
        name: "timesheet-approval-log",
        reads: &[tokens(
            PAGE_ROWS,
            post("/4/timesheet-approvals/logs/search", r#"{"updatedFrom":"{logFrom}"}"#),
        )],
        delta: Some(Delta::Append("logFrom")),
        identity: &[],
        restore: Restore::No("Tempo writes its own history"),
        ..row(Family::Approvals)
    },
    Entity {
        name: "periods",
        reads: &[under(
            "periods",
            Read { query: &[("from", "{periodsFrom}"), ("to", "{periodsTo}")], ..get("/4/periods") },
        )],
        identity: &["from", "to"],
        day: Some("from"),
        yields: &[gives(Key::Period, "")],
        restore: Restore::No("Tempo derives them from its configuration"),
        ..row(Family::Periods)
    },
    Entity {
        name: "user-schedules",
        reads: &[Read {
            query: &[("from", "{schedulesFrom}"), ("to", "{schedulesTo}")],
            ..each(&[Key::User], get("/4/user-schedule/{user}"))
        }],
        identity: &[],
        day: Some("date"),
        restore: Restore::No("Tempo derives them from workload and holiday schemes"),
        ..row(Family::Schemes)
    },
    Entity {
        name: "global-configuration",
        reads: &[itself(get("/4/globalconfiguration"))],
        identity: &[],
        restore: Restore::No("Tempo has no call that writes it"),
        ..row(Family::Configuration)
    },
    Entity {
        name: "webhook-subscriptions",
        reads: &[paged(get("/4/webhooks/subscriptions"))],
        changed_at: Some("updatedAt"),
        secret: Some("sharedSecret"),
        restore: Restore::Step(14, "url and event"),
        ..row(Family::Webhooks)
    },
    Entity {
        name: "audit-events",
        reads: &[tokens(AUDIT_ROWS, post("/4/papertrail/search", r#"{"from":"{auditFrom}"}"#))],
        fallback: Some(Fallback {
            reads: &[
                last_key(get("/papertrail/1/events/deleted/types/worklog")),
                last_key(get("/papertrail/1/events/deleted/types/allocation")),
            ],
            misses: "everything but deletions of worklogs and plans",
        }),
        delta: Some(Delta::Append("auditFrom")),
        identity: &[],
        restore: Restore::No("Tempo writes its own history"),
        ..row(Family::Audit)
    },
    Entity {
        name: "projects",
        reads: &[paged(get("/4/projects"))],
        yields: &[gives(Key::Project, "id")],
        audit_type: Some("project"),
        restore: Restore::Step(13, "name"),
        ..row(Family::Projects)
    },
    of_project("project-scopes", &[itself(each(PROJECT, get("/4/projects/{project}/scope")))]),
    of_project("project-scope-tasks", &[each(PROJECT, paged(get("/4/projects/{project}/scope/tasks")))]),
    of_project("project-timeframes", &[itself(each(PROJECT, get("/4/projects/{project}/timeframe")))]),
    of_project("project-budgets", &[itself(each(PROJECT, get("/4/projects/{project}/budget")))]),
    of_project(
        "project-budget-milestones",
        &[under("milestones", each(PROJECT, get("/4/projects/{project}/budget-milestones")))],
    ),
    Entity {
        identity: &["id"],
        ..of_project("project-expenses", &[each(PROJECT, paged(get("/4/projects/{project}/expenses")))])
    },
    Entity {
        identity: &["id"],
        ..of_project(
            "project-fixed-revenues",
            &[each(PROJECT, paged(get("/4/projects/{project}/fixed-revenues")))],
        )
    },
    of_project(
        "project-rates",
        &[under("rates", each(PROJECT, get("/4/projects/{project}/team-members/rates")))],
    ),
    of_project(
        "project-roles",
        &[under("roles", each(PROJECT, get("/4/projects/{project}/team-members/roles")))],
    ),
    of_project(
        "project-shares",
        &[under("projectShares", each(PROJECT, get("/4/projects/{project}/shares")))],
    ),
    of_project(
        "project-time-approvers",
        &[Read {
            records: Records::Bare,
            ..each(PROJECT, get("/4/projects/{project}/project-time-approvers"))
        }],
    ),
    computed(
        "project-time-approvals",
        &[Read {
            query: &[("from", "{from}"), ("to", "{to}")],
            ..each(&[Key::Project, Key::Period], paged(get("/4/projects/{project}/time-approvals")))
        }],
    ),
    computed("project-labor-actuals", &[each(PROJECT, paged(get("/4/projects/{project}/actuals/labor")))]),
    computed(
        "project-expense-actuals",
        &[each(PROJECT, paged(get("/4/projects/{project}/actuals/expenses")))],
    ),
    computed("project-labor-plans", &[each(PROJECT, paged(get("/4/projects/{project}/plans/labor")))]),
    computed("project-financials", &[itself(each(PROJECT, get("/4/projects/{project}/financials/summary")))]),
    Entity {
        name: "portfolios",
        reads: &[paged(get("/4/portfolios"))],
        yields: &[gives(Key::Portfolio, "id")],
        restore: Restore::Step(13, "name"),
        ..row(Family::Projects)
    },
    Entity {
        name: "portfolio-projects",
        reads: &[each(&[Key::Portfolio], paged(get("/4/portfolios/{portfolio}/projects")))],
        // One project may stand in many portfolios.
        identity: &[],
        restore: Restore::Step(13, "portfolio and project"),
        ..row(Family::Projects)
    },
    Entity {
        name: "project-attributes",
        reads: &[under("projectAttributes", get("/4/project-attributes"))],
        restore: Restore::Step(13, "name"),
        ..row(Family::Projects)
    },
    Entity {
        name: "billing-rates-tables",
        reads: &[paged(get("/4/billing-rates-tables"))],
        yields: &[gives(Key::RatesTable, "id")],
        restore: Restore::Step(13, "name"),
        ..row(Family::Rates)
    },
    Entity {
        name: "billing-rates",
        // The list shows the tables only; their rates come one table at a time.
        reads: &[itself(each(&[Key::RatesTable], get("/4/billing-rates-tables/{ratesTable}")))],
        restore: Restore::Step(13, "table"),
        ..row(Family::Rates)
    },
    Entity {
        name: "global-rates",
        reads: &[
            Read { query: &[("rateCategory", "BILLING")], ..get("/4/global-rates/by-role") },
            Read { query: &[("rateCategory", "COST")], ..get("/4/global-rates/by-role") },
        ],
        identity: &[],
        restore: Restore::Step(13, "category and role"),
        ..row(Family::Rates)
    },
    Entity {
        name: "cost-revenue-reports",
        reads: &[paged(get("/4/reports/costs-and-revenues"))],
        yields: &[gives(Key::Report, "id")],
        restore: Restore::Step(13, "name; Tempo computes the report again"),
        ..row(Family::Projects)
    },
    Entity {
        name: "cost-revenue-report-data",
        reads: &[itself(each(&[Key::Report], get("/4/reports/costs-and-revenues/{report}/data")))],
        restore: Restore::No("computed"),
        ..row(Family::Projects)
    },
];

const PROJECT: &[Key] = &[Key::Project];

/// What most rows share: an integer `id`, nothing special.
const fn row(family: Family) -> Entity {
    Entity {
        name: "",
        family,
        reads: &[],
        fallback: None,
        delta: None,
        identity: &["id"],
        changed_at: None,
        day: None,
        yields: &[],
        secret: None,
        audit_type: None,
        restore: Restore::No(""),
    }
}

/// A part of a Financial Manager project; it is known by its project, not by an id of its own.
const fn of_project(name: &'static str, reads: &'static [Read]) -> Entity {
    Entity { name, reads, identity: &[], restore: Restore::Step(13, "project"), ..row(Family::Projects) }
}

/// What Financial Manager computes from other records.
const fn computed(name: &'static str, reads: &'static [Read]) -> Entity {
    Entity { restore: Restore::No("computed"), ..of_project(name, reads) }
}

/// A GET that answers everything at once, under `results`.
const fn get(path: &'static str) -> Read {
    Read {
        method: Method::Get,
        path,
        query: &[],
        body: None,
        paging: Paging::Whole,
        limit: 0,
        records: Records::Under("results"),
        over: Over::Once,
        closing: Closing::Again,
    }
}

/// A POST search that answers everything at once, under `results`.
const fn post(path: &'static str, body: &'static str) -> Read {
    Read { method: Method::Post, body: Some(body), ..get(path) }
}

const fn paged(read: Read) -> Read {
    Read { paging: Paging::Offset, limit: PAGE_ROWS, ..read }
}

/// Paged by links, with no documented `offset` or `limit` to ask for.
const fn linked(read: Read) -> Read {
    Read { paging: Paging::Offset, limit: 0, ..read }
}

const fn paged_in_body(read: Read) -> Read {
    Read { paging: Paging::OffsetInBody, limit: PAGE_ROWS, ..read }
}

const fn tokens(limit: u32, read: Read) -> Read {
    Read { paging: Paging::PageToken, limit, ..read }
}

/// What was deleted since a moment, from the audit search.
const fn deleted(body: &'static str) -> Read {
    tokens(AUDIT_ROWS, post("/4/papertrail/search", body))
}

/// The deprecated deletion feeds; they take a limit of 50 to 1,000.
const fn last_key(read: Read) -> Read {
    Read { paging: Paging::LastKey, limit: AUDIT_ROWS, query: &[("updatedFrom", "{auditFrom}")], ..read }
}

const fn under(member: &'static str, read: Read) -> Read {
    Read { records: Records::Under(member), ..read }
}

const fn itself(read: Read) -> Read {
    Read { records: Records::Itself, ..read }
}

const fn each(keys: &'static [Key], read: Read) -> Read {
    Read { over: Over::Each(keys), ..read }
}

const fn batch(key: Key, at_once: usize, read: Read) -> Read {
    Read { over: Over::Batch(key, at_once), ..read }
}

const fn gives(key: Key, member: &'static str) -> Yield {
    Yield { key, member }
}
