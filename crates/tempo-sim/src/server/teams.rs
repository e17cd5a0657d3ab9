//! Teams, memberships, links, roles, resources and skills.

use serde_json::Value;

use super::call::{Answer, Call, bad, json, missing, texts};
use crate::clock;
use crate::tables::Record;
use crate::text::{Obj, array, edit};

pub(crate) fn list(call: &Call<'_>) -> Answer {
    let (ids, name, members) = (call.list("teamIds"), call.one("name"), call.list("teamMembers"));
    let matches = |team: &&Record| {
        ids.as_ref().is_none_or(|ids| ids.contains(&team.id))
            && name.is_none_or(|name| team.str("name").to_lowercase().contains(&name.to_lowercase()))
            && members
                .as_ref()
                .is_none_or(|wanted| memberships(call, team).any(|m| wanted.iter().any(|w| w == member(m))))
    };
    let teams = call.all("teams").iter().filter(matches);
    if call.one("includeMemberships") == Some("true") {
        let with: Vec<String> = teams.map(|team| with_members(call, team)).collect();
        return call.p1(with.iter().map(String::as_str));
    }
    call.p1(texts(teams))
}

fn memberships<'a>(call: &Call<'a>, team: &'a Record) -> impl Iterator<Item = &'a Record> {
    call.site.tables.of("team-memberships", &team.id)
}

fn member(membership: &Record) -> &str {
    membership.value()["member"]["accountId"].as_str().unwrap_or("")
}

fn with_members(call: &Call<'_>, team: &Record) -> String {
    let summary = |membership: &Record| {
        let commitment = membership.value()["commitmentPercent"].as_f64().unwrap_or(0.0) / 100.0;
        let date = |key| membership.value().get(key).and_then(Value::as_str);
        let one = Obj::new()
            .raw("id", &membership.id)
            .raw("role", &membership.value()["role"])
            .raw("commitment", format!("{commitment:.1}"))
            .maybe(date("from"), |o, from| o.text("startDate", from))
            .maybe(date("inclusiveTo"), |o, to| o.text("endDate", to))
            .end();
        let who = &membership.value()["member"];
        Obj::new()
            .maybe(who["self"].as_str(), |o, link| o.text("self", link))
            .text("accountId", who["accountId"].as_str().unwrap_or(""))
            .raw("memberships", array([one]))
            .end()
    };
    let members = array(memberships(call, team).map(summary));
    let mut fields = serde_json::Map::new();
    let mut link = team.value()["members"].clone();
    link["teamMembers"] = serde_json::from_str(&members).unwrap_or(Value::Null);
    fields.insert("members".into(), link);
    edit(&team.text, &fields).unwrap_or_else(|_| team.text.to_string())
}

pub(crate) fn links(call: &Call<'_>) -> Answer {
    call.p1(call.children("teams", "team-links")?.into_iter())
}

pub(crate) fn links_of_project(call: &Call<'_>) -> Answer {
    let project = call.param(0);
    call.p0(texts(call.all("team-links").iter().filter(|link| link.names("/scope/id", project))))
}

/// Only those whose membership is active today.
pub(crate) fn members(call: &Call<'_>) -> Answer {
    let team = call.record("teams", "Team")?;
    let today = clock::date(call.today());
    let active = |membership: &&Record| {
        let date = |key| membership.value().get(key).and_then(Value::as_str);
        date("from").is_none_or(|from| from <= today.as_str())
            && date("inclusiveTo").is_none_or(|to| to >= today.as_str())
    };
    let item = |membership: &Record| {
        let at = format!("teams/{}/members/{}", team.id, member(membership));
        let memberships =
            Obj::at(format!("{at}/memberships")).raw("active", without_text_members(membership)).end();
        Obj::new()
            .link("team", format!("teams/{}", team.id))
            .raw("member", &membership.value()["member"])
            .raw("memberships", memberships)
            .end()
    };
    let items: Vec<String> = memberships(call, team).filter(active).map(item).collect();
    call.p1(items.iter().map(String::as_str))
}

/// There a membership names its team and member by link alone.
fn without_text_members(membership: &Record) -> String {
    let mut fields = serde_json::Map::new();
    for key in ["team", "member"] {
        fields.insert(key.into(), serde_json::json!({"self": membership.value()[key]["self"]}));
    }
    edit(&membership.text, &fields).unwrap_or_default()
}

pub(crate) fn memberships_search(call: &Call<'_>) -> Answer {
    let (accounts, roles, teams) = (call.list("accountIds"), call.list("roleIds"), call.list("teamIds"));
    let within =
        |list: &Option<Vec<String>>, text: String| list.as_ref().is_none_or(|list| list.contains(&text));
    let matches = |m: &&Record| {
        within(&accounts, member(m).to_owned())
            && within(&roles, m.value()["role"]["id"].to_string())
            && within(&teams, m.parent.clone())
    };
    call.p1(texts(call.all("team-memberships").iter().filter(matches)))
}

pub(crate) fn memberships_of_team(call: &Call<'_>) -> Answer {
    call.p0(call.children("teams", "team-memberships")?)
}

pub(crate) fn program_teams(call: &Call<'_>) -> Answer {
    let program = call.record("programs", "Program")?;
    let teams = program.value()["teams"]["values"].as_array();
    let teams: Vec<String> =
        teams.map(|teams| teams.iter().map(Value::to_string).collect()).unwrap_or_default();
    call.p0(teams.iter().map(String::as_str))
}

pub(crate) fn default_role(call: &Call<'_>) -> Answer {
    let role = call.all("roles").iter().find(|role| role.value()["default"] == true);
    json(role.ok_or_else(|| missing("Role"))?.text.as_bytes())
}

/// Roles of teams, or of one; the global ones have a list of their own.
pub(crate) fn permission_roles(call: &Call<'_>) -> Answer {
    let team = call.one("teamId");
    let matches = |role: &&Record| role.parent != "global" && team.is_none_or(|team| role.parent == team);
    call.p1(texts(call.all("permission-roles").iter().filter(matches)))
}

pub(crate) fn global_permission_roles(call: &Call<'_>) -> Answer {
    call.p1(texts(call.site.tables.of("permission-roles", "global")))
}

pub(crate) fn generic_resources(call: &Call<'_>) -> Answer {
    let (ids, query) = (call.list("ids"), call.value("query"));
    let matches = |resource: &&Record| {
        ids.as_ref().is_none_or(|ids| ids.contains(&resource.id))
            && query.as_ref().is_none_or(|query| resource.str("name").contains(query.as_str()))
    };
    call.p1_without_self(texts(call.all("generic-resources").iter().filter(matches)))
}

pub(crate) fn team_generic_resources(call: &Call<'_>) -> Answer {
    let members = call.children("teams", "team-generic-resources")?;
    let team = call.param(0);
    let text = Obj::new()
        .text("self", &call.url(&[]))
        .raw("count", members.len())
        .raw("team", Obj::at(format!("teams/{team}")).raw("id", team).end())
        .raw("members", array(members))
        .end();
    json(text)
}

pub(crate) fn team_generic_resource(call: &Call<'_>) -> Answer {
    let team = call.param(0);
    let member =
        call.site.tables.of("team-generic-resources", team).find(|member| member.id == call.param(1));
    let member = member.ok_or_else(|| missing("Generic resource"))?;
    let resource =
        call.site.tables.find("generic-resources", &member.id).ok_or_else(|| missing("Generic resource"))?;
    let text = Obj::new()
        .text("self", &call.url(&[]))
        .text("assignedToTeamAt", resource.str("createdAt"))
        .raw("assignedToTeamBy", &resource.value()["createdBy"])
        .raw("member", &member.text)
        .raw("team", Obj::at(format!("teams/{team}")).raw("id", team).end())
        .end();
    json(text)
}

pub(crate) fn skills(call: &Call<'_>) -> Answer {
    let (ids, query) = (call.list("id"), call.one("query"));
    let matches = |skill: &&Record| {
        ids.as_ref().is_none_or(|ids| ids.contains(&skill.id))
            && query.is_none_or(|query| skill.str("name").contains(query))
    };
    call.p1(texts(call.all("skills").iter().filter(matches)))
}

pub(crate) fn skill_assignments(call: &Call<'_>) -> Answer {
    let assignees = call
        .body
        .get("assignees")
        .and_then(Value::as_array)
        .ok_or_else(|| bad("assignees must not be null"))?;
    let wanted: Vec<String> = assignees
        .iter()
        .map(|one| {
            format!(
                "{}/{}",
                one["assigneeType"].as_str().unwrap_or(""),
                one["assigneeId"].as_str().unwrap_or("")
            )
        })
        .collect();
    call.p1(texts(
        call.all("skill-assignments").iter().filter(|assignment| wanted.contains(&assignment.parent)),
    ))
}

pub(crate) fn skills_of(call: &Call<'_>) -> Answer {
    let key = format!("{}/{}", call.param(1), call.param(0));
    let assignment = call.site.tables.of("skill-assignments", &key).next();
    json(assignment.map_or_else(|| "[]".to_owned(), |assignment| assignment.value()["skills"].to_string()))
}
