//! Teams, memberships, links, programs, roles, permission roles, generic resources and skills.

use super::Making;
use crate::clock;
use crate::site::Facts;
use crate::text::{Obj, array};

const ROLES: &[(i64, &str)] =
    &[(1, "Member"), (2, "Lead"), (5, "Architect"), (4, "Tester"), (7, "Leitung Größe M")];
const SKILLS: &[&str] =
    &["Rust", "Kubernetes", "日本語", "Négociation", "SQL", "Accounting", "First aid", "C++ \"modern\""];

pub(super) fn make(making: &mut Making) {
    roles(making);
    programs(making);
    for n in 0..making.facts.teams.len() {
        let text = team(making.facts, n, None);
        making.tables.add("teams", "", text);
        memberships(making, n);
        links(making, n);
    }
    permission_roles(making);
    generic_resources(making);
    skills(making);
}

fn role_ref(n: usize) -> String {
    let (id, name) = ROLES[n % ROLES.len()];
    Obj::at(format!("roles/{id}")).raw("id", id).text("name", name).end()
}

fn roles(making: &mut Making) {
    for (id, name) in ROLES {
        let text =
            Obj::at(format!("roles/{id}")).raw("id", id).text("name", name).raw("default", *id == 1).end();
        making.tables.add("roles", "", text);
    }
}

fn team_ref(facts: &Facts, n: usize) -> String {
    let team = &facts.teams[n];
    Obj::at(format!("teams/{}", team.id)).raw("id", team.id).text("name", &team.name).end()
}

fn program_of(n: usize) -> Option<i64> {
    (n % 4 != 3).then_some(2 + (n % 2) as i64)
}

fn programs(making: &mut Making) {
    for (id, name) in [(2, "Core"), (3, "Growth & Co")] {
        let facts = making.facts;
        let of_it = (0..facts.teams.len()).filter(|n| program_of(*n) == Some(id));
        let teams = Obj::at(format!("programs/{id}/teams"))
            .raw("values", array(of_it.map(|n| team_ref(facts, n))))
            .end();
        let text = Obj::at(format!("programs/{id}"))
            .raw("id", id)
            .text("name", name)
            .maybe((id == 2).then(|| facts.person(0)), |o, manager| o.raw("manager", manager))
            .raw("teams", teams)
            .end();
        making.tables.add("programs", "", text);
    }
}

/// A team, with its members' memberships where they are asked for.
fn team(facts: &Facts, n: usize, members: Option<String>) -> String {
    let team = &facts.teams[n];
    let at = format!("teams/{}", team.id);
    let program = program_of(n).map(|id| {
        Obj::at(format!("programs/{id}"))
            .raw("id", id)
            .text("name", if id == 2 { "Core" } else { "Growth & Co" })
            .end()
    });
    let members =
        Obj::at(format!("{at}/members")).maybe(members, |o, members| o.raw("teamMembers", members)).end();
    Obj::at(&at)
        .raw("id", team.id)
        .text("name", &team.name)
        .maybe((n % 3 != 1).then_some("Keeps things\nrunning"), |o, summary| o.text("summary", summary))
        .maybe((n % 5 != 2).then(|| facts.person(n)), |o, lead| o.raw("lead", lead))
        .maybe(program, |o, program| o.raw("program", program))
        .raw("administrative", n % 6 == 5)
        .raw("public", n % 4 != 2)
        .link("links", format!("{at}/links"))
        .raw("members", members)
        .link("permissions", format!("permission-roles?teamId={}", team.id))
        .end()
}

fn memberships(making: &mut Making, n: usize) {
    let facts = making.facts;
    let team = &facts.teams[n];
    for (place, person) in team.members.iter().enumerate() {
        let id = 300 + (n * 1_000 + place) as i64;
        let from = (place % 3 != 0).then(|| facts.first_day + (place as i32 * 17) % 500);
        // `to` is exclusive: the day after the last one.
        let last = (place % 4 == 2).then(|| facts.first_day + 520 + (place as i32 * 31) % 400);
        let text = Obj::at(format!("team-memberships/{id}"))
            .raw("id", id)
            .raw("commitmentPercent", if place % 5 == 3 { 80 } else { 100 })
            .maybe(from, |o, from| o.text("from", &clock::date(from)))
            .maybe(last, |o, last| {
                o.text("to", &clock::date(last + 1)).text("inclusiveTo", &clock::date(last))
            })
            .raw("role", role_ref(if place == 0 { 1 } else { place }))
            .raw("team", team_ref(facts, n))
            .raw("member", facts.person(*person))
            .end();
        making.tables.add("team-memberships", team.id, text);
    }
}

fn links(making: &mut Making, n: usize) {
    let facts = making.facts;
    let team_id = facts.teams[n].id;
    for place in 0..=n % 3 {
        let id = 40 + (n * 3 + place) as i64;
        let board = place == 2;
        let scope_id =
            if board { 500 + n as i64 } else { facts.jira_projects[(n + place) % facts.jira_projects.len()] };
        let link = if board { "rest/agile/1.0/board" } else { "rest/api/2/project" };
        let scope = Obj::new()
            .raw("id", scope_id)
            .text("self", &format!("{}/{link}/{scope_id}", facts.jira))
            .text("type", if board { "BOARD" } else { "PROJECT" })
            .end();
        let text = Obj::at(format!("team-links/{id}"))
            .raw("id", id)
            .raw("scope", scope)
            .raw("team", team(facts, n, None))
            .end();
        making.tables.add("team-links", team_id, text);
    }
}

fn permission_roles(making: &mut Making) {
    let facts = making.facts;
    let permissions = |keys: &[&str]| array(keys.iter().map(|key| Obj::new().text("key", key).end()));
    let base = |id: usize, name: &str, access: &str, editable: bool| {
        Obj::at(format!("permission-roles/{id}"))
            .raw("id", id)
            .text("name", name)
            .text("accessType", access)
            .raw("editable", editable)
            .raw(
                "permissions",
                permissions(&["permissions.worklog.view", "permissions.plan.view"][..=id % 2]),
            )
            .raw("permittedUsers", array((0..id % 3).map(|n| facts.person(n + id))))
    };
    let mut made = Vec::new();
    for (n, team) in facts.teams.iter().enumerate() {
        let entity = Obj::at(format!("teams/{}", team.id)).raw("id", team.id).end();
        // Tempo makes a lead's and a member's role with each team.
        for (place, name) in ["Lead", "Member", "Timesheet viewers"][..2 + n % 2].iter().enumerate() {
            let id = 10 + n * 3 + place;
            made.push((
                team.id.to_string(),
                base(id, name, "TEAM", place == 2).raw("accessEntities", array([&entity])).end(),
            ));
        }
    }
    for (n, name) in ["Full access", "Auditors"].iter().enumerate() {
        made.push(("global".into(), base(5 + n, name, "GLOBAL", true).raw("accessEntities", "[]").end()));
    }
    for (parent, text) in made {
        making.tables.add("permission-roles", parent, text);
    }
}

fn generic_resources(making: &mut Making) {
    let facts = making.facts;
    for n in 0..facts.sizes.generic_resources {
        let id = 7 + n;
        let name = format!("Java developer {} (any)", n + 1);
        let made = clock::instant(i64::from(facts.first_day + n as i32) * clock::DAY + 32_400);
        let text = Obj::at(format!("generic-resources/{id}"))
            .raw("id", id)
            .text("name", &name)
            .text("createdAt", &made)
            .raw("createdBy", facts.person(n))
            .text("updatedAt", &made)
            .raw("updatedBy", facts.person(n + 1))
            .end();
        making.tables.add("generic-resources", "", text);
        let member = Obj::at(format!("generic-resources/{id}")).raw("id", id).text("name", &name).end();
        let team = facts.teams[n % facts.teams.len()].id;
        making.tables.add("team-generic-resources", team, member);
    }
}

fn skills(making: &mut Making) {
    let facts = making.facts;
    let skill = |n: usize| {
        let id = 3 + n;
        let name = format!("{} {}", SKILLS[n % SKILLS.len()], n / SKILLS.len() + 1);
        Obj::at(format!("skills/{id}")).raw("id", id).text("name", &name).end()
    };
    let count = facts.sizes.skills;
    for n in 0..count {
        making.tables.add("skills", "", skill(n));
    }
    let mut assign = |assignee: &str, kind: &str, n: usize| {
        let skills = array((0..=n % 3).map(|place| skill((n + place) % count)));
        let text = Obj::at(format!("skill-assignments/{assignee}/{kind}"))
            .text("assigneeId", assignee)
            .text("assigneeType", kind)
            .raw("skills", skills)
            .end();
        making.tables.add("skill-assignments", format!("{kind}/{assignee}"), text);
    };
    for (n, person) in facts.people.iter().enumerate().filter(|(n, _)| n % 3 != 2) {
        assign(&person.account_id, "USER", n);
    }
    for n in (0..facts.sizes.generic_resources).step_by(2) {
        assign(&(7 + n).to_string(), "GENERIC", n);
    }
}
