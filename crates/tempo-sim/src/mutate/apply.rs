//! Making the changes.

use serde_json::{Map, Value, json};

use super::{Change, Moment, MutateError, Mutation, Op};
use crate::clock;
use crate::generate::audit::Event;
use crate::quirks::Quirks;
use crate::random::Random;
use crate::site::Site;
use crate::tables::Record;
use crate::text;
use crate::truth::ENTITIES;
use crate::worklogs::Row;

/// A tenant's site with the memory of its changes.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) site: Site,
    pub(crate) history: Vec<Change>,
    pub(crate) random: Random,
}

impl State {
    /// Makes a change; answers the ids that it touched.
    pub(crate) fn mutate(
        &mut self,
        mutation: &Mutation,
        moment: &Moment<'_>,
    ) -> Result<Vec<String>, MutateError> {
        if mutation.op == Op::Purge {
            return self.purge(mutation, moment);
        }
        let entity = ENTITIES
            .iter()
            .copied()
            .find(|entity| *entity == mutation.entity)
            .ok_or_else(|| MutateError::Entity(mutation.entity.clone()))?;
        let count = if mutation.id.is_some() { 1 } else { mutation.count.unwrap_or(1) };
        let mut ids = Vec::new();
        for _ in 0..count {
            let made = if entity == "worklogs" {
                self.one_worklog(mutation, moment)?
            } else {
                self.one_record(entity, mutation, moment)?
            };
            ids.extend(made);
        }
        Ok(ids)
    }

    fn one_worklog(
        &mut self,
        mutation: &Mutation,
        moment: &Moment<'_>,
    ) -> Result<Option<String>, MutateError> {
        if mutation.op == Op::Insert {
            return self.insert_worklog(mutation, moment).map(Some);
        }
        let worklogs = &self.site.worklogs;
        let slot = match &mutation.id {
            Some(id) => id.as_i64().or_else(|| id.as_str()?.parse().ok()).and_then(|id| worklogs.find(id)),
            None if worklogs.len() == 0 => return Ok(None),
            None => Some(worklogs.index(crate::worklogs::Key::Id)[self.random.index(worklogs.len())]),
        };
        let slot = slot.ok_or_else(|| unknown(mutation))?;
        let before = worklogs.json(slot);
        let id = worklogs.row(slot).id.to_string();
        if mutation.op == Op::Delete {
            let row = worklogs.row(slot).clone();
            self.site.worklogs.remove(slot);
            self.audit_worklog("Deleted", &row, moment);
            self.remember("worklogs", &id, Op::Delete, moment, Some(before), None);
            return Ok(Some(id));
        }
        self.change_worklog(slot, mutation, moment)?;
        let row = self.site.worklogs.row(slot).clone();
        if moment.quirks.visibility_delay_ms > 0 {
            self.site.worklogs.hide(slot, moment.now_ms + moment.quirks.visibility_delay_ms as i64);
        }
        self.audit_worklog("Updated", &row, moment);
        let after = self.site.worklogs.json(slot);
        self.remember("worklogs", &id, mutation.op, moment, Some(before), Some(after));
        Ok(Some(id))
    }

    fn insert_worklog(&mut self, mutation: &Mutation, moment: &Moment<'_>) -> Result<String, MutateError> {
        let now = moment.now_ms.div_euclid(1000);
        let row = self.site.worklogs.new_row(&self.site.facts, &mut self.random, now);
        let slot = self.site.worklogs.insert(row);
        if !mutation.fields.is_empty() {
            self.give_fields(slot, &mutation.fields)?;
        }
        let quirks = moment.quirks;
        if quirks.visibility_delay_ms > 0 {
            self.site.worklogs.hide(slot, moment.now_ms + quirks.visibility_delay_ms as i64);
        }
        if quirks.jira_id_delay_ms > 0 {
            self.site.worklogs.delay_jira_id(slot, moment.now_ms + quirks.jira_id_delay_ms as i64);
        }
        let row = self.site.worklogs.row(slot).clone();
        self.audit_worklog("Created", &row, moment);
        let record = self.site.worklogs.json(slot);
        let id = row.id.to_string();
        self.remember("worklogs", &id, Op::Insert, moment, None, Some(record));
        Ok(id)
    }

    fn change_worklog(
        &mut self,
        slot: u32,
        mutation: &Mutation,
        moment: &Moment<'_>,
    ) -> Result<(), MutateError> {
        let now = moment.now_ms.div_euclid(1000);
        let mut row = self.site.worklogs.row(slot).clone();
        let given = self.site.worklogs.given(slot).is_some();
        if given || !mutation.fields.is_empty() {
            let mut fields = Map::new();
            fields.insert("updatedAt".into(), clock::instant(now).into());
            if mutation.op == Op::Update && mutation.fields.is_empty() {
                fields
                    .insert("description".into(), format!("Edited {}", self.random.below(1_000_000)).into());
            }
            fields.extend(mutation.fields.clone());
            return self.give_fields(slot, &fields);
        }
        row.updated = now as u32;
        if mutation.op == Op::Update {
            match self.random.below(10) {
                0..3 => row.day += self.random.below(60) as i32 - 30,
                3..6 => row.seconds = 900 * (1 + self.random.below(30) as u32),
                _ => row.seed = self.random.next() as u32,
            }
        }
        self.site.worklogs.replace(slot, row, None);
        Ok(())
    }

    fn give_fields(&mut self, slot: u32, fields: &Map<String, Value>) -> Result<(), MutateError> {
        let worklogs = &mut self.site.worklogs;
        let unread = |error| MutateError::Fields("worklogs".into(), error);
        let text = text::edit(&worklogs.json(slot), fields).map_err(unread)?;
        let record: Value = serde_json::from_str(&text).map_err(unread)?;
        let old = worklogs.row(slot).clone();
        let mut row = worklogs.keys_of(&record, Some(&old));
        row.id = old.id;
        worklogs.replace(slot, row, Some(text.into()));
        Ok(())
    }

    fn one_record(
        &mut self,
        entity: &'static str,
        mutation: &Mutation,
        moment: &Moment<'_>,
    ) -> Result<Option<String>, MutateError> {
        let unread = |error| MutateError::Fields(entity.into(), error);
        let rows = self.site.tables.rows_mut(entity);
        let wanted = mutation.id.as_ref().map(|id| id.as_str().map_or_else(|| id.to_string(), str::to_owned));
        let at = match &wanted {
            Some(id) => rows.iter().position(|row| row.id == *id || row.str("key") == id),
            None if rows.is_empty() => None,
            None => Some(self.random.index(rows.len())),
        };
        let now = clock::instant(moment.now_ms.div_euclid(1000));
        if mutation.op == Op::Insert {
            let template = rows.last().cloned().unwrap_or_else(|| Record::new("", "{}".into()));
            let ids = self.history.iter().filter(|change| change.entity == entity).map(|change| &*change.id);
            let used = ids.chain(rows.iter().map(|row| &*row.id)).filter_map(|id| id.parse().ok()).max();
            let fields = new_fields(used, &template, mutation, &now, &mut self.random);
            let record = Record::new(&template.parent, text::edit(&template.text, &fields).map_err(unread)?);
            let (id, text) = (record.id.clone(), record.text.to_string());
            rows.push(record);
            self.audit(entity, "Created", &id, moment);
            self.remember(entity, &id, Op::Insert, moment, None, Some(text));
            return Ok(Some(id));
        }
        let Some(at) = at else {
            return if wanted.is_some() { Err(unknown(mutation)) } else { Ok(None) };
        };
        let old = rows[at].clone();
        if mutation.op == Op::Delete {
            rows.remove(at);
            self.audit(entity, "Deleted", &old.id, moment);
            self.remember(entity, &old.id, Op::Delete, moment, Some(old.text.to_string()), None);
            return Ok(Some(old.id));
        }
        let mut fields = Map::new();
        if old.value().get("updatedAt").is_some() {
            fields.insert("updatedAt".into(), now.into());
        }
        if mutation.op == Op::Update && mutation.fields.is_empty() {
            let member = if old.value().get("name").is_some() { "name" } else { "description" };
            fields.insert(member.into(), format!("Edited {}", self.random.below(1_000_000)).into());
        }
        fields.extend(mutation.fields.clone());
        let new = Record::new(&old.parent, text::edit(&old.text, &fields).map_err(unread)?);
        let text = new.text.to_string();
        rows[at] = new;
        self.audit(entity, "Updated", &old.id, moment);
        self.remember(entity, &old.id, mutation.op, moment, Some(old.text.to_string()), Some(text));
        Ok(Some(old.id))
    }

    fn purge(&mut self, mutation: &Mutation, moment: &Moment<'_>) -> Result<Vec<String>, MutateError> {
        let before = mutation.before.as_deref().and_then(clock::parse_date).ok_or(MutateError::Before)?;
        let quirks = Quirks { audited: moment.quirks.retention_audited, ..moment.quirks.clone() };
        let moment = Moment { quirks: &quirks, ..*moment };
        let worklogs = &self.site.worklogs;
        let old = worklogs.index(crate::worklogs::Key::Start).iter().map(|slot| worklogs.row(*slot));
        let old: Vec<i64> = old.take_while(|row| row.day < before).map(|row| row.id).collect();
        let text = clock::date(before);
        let plans = self.site.tables.all("plans").iter().filter(|plan| plan.str("endDate") < text.as_str());
        let plans: Vec<String> = plans.map(|plan| plan.id.clone()).collect();
        let mut ids = Vec::new();
        for id in old {
            ids.extend(self.mutate(&Mutation::new(Op::Delete).id(id), &moment)?);
        }
        for id in plans {
            ids.extend(self.mutate(&Mutation::new(Op::Delete).entity("plans").id(id), &moment)?);
        }
        Ok(ids)
    }

    fn remember(
        &mut self,
        entity: &str,
        id: &str,
        op: Op,
        moment: &Moment<'_>,
        before: Option<String>,
        record: Option<String>,
    ) {
        let (after_request, at_ms) = (moment.after_request, moment.now_ms);
        self.history.push(Change {
            entity: entity.into(),
            id: id.into(),
            op,
            after_request,
            at_ms,
            before,
            record,
        });
    }

    fn audit_worklog(&mut self, action: &str, row: &Row, moment: &Moment<'_>) {
        let who = self.site.worklogs.authors[row.author as usize].account_id.clone();
        let (id, parent) = (row.id.to_string(), row.issue.to_string());
        self.event("worklog", action, &id, &parent, &who, Some(&who), moment);
    }

    fn audit(&mut self, entity: &str, action: &str, id: &str, moment: &Moment<'_>) {
        if let Some(entity_type) = audit_type(entity) {
            let who = self.site.facts.people[0].account_id.clone();
            self.event(entity_type, action, id, "", &who, None, moment);
        }
    }

    #[allow(clippy::too_many_arguments, reason = "an event has that many texts, and two callers")]
    fn event(
        &mut self,
        entity_type: &str,
        action: &str,
        entity_id: &str,
        parent_id: &str,
        author: &str,
        worker: Option<&str>,
        moment: &Moment<'_>,
    ) {
        if moment.quirks.audited {
            let at = moment.now_ms.div_euclid(1000);
            let event = Event { action, entity_type, entity_id, parent_id, author, worker, at };
            self.site.tables.add("audit-events", "", event.text());
        }
    }
}

fn unknown(mutation: &Mutation) -> MutateError {
    let id = mutation.id.as_ref().map(Value::to_string).unwrap_or_default();
    MutateError::Record(mutation.entity.clone(), id)
}

/// The fields that make a new record of a template: an id above all that were ever used, its links, its times and what
/// was asked for.
fn new_fields(
    used: Option<i64>,
    template: &Record,
    mutation: &Mutation,
    now: &str,
    random: &mut Random,
) -> Map<String, Value> {
    let mut fields = Map::new();
    let new_id = match template.value().get("id") {
        Some(Value::Number(_)) => Some(json!(used.unwrap_or(0) + 1)),
        Some(_) => Some(json!(random.uuid())),
        None => None,
    };
    if let Some(id) = new_id {
        let text = id.as_str().map_or_else(|| id.to_string(), str::to_owned);
        if let Some(stem) = template.str("self").strip_suffix(&template.id) {
            fields.insert("self".into(), format!("{stem}{text}").into());
        }
        if template.value().get("key").is_some() {
            fields.insert("key".into(), format!("NEW-{text}").into());
        }
        fields.insert("id".into(), id);
    }
    for member in ["createdAt", "updatedAt"] {
        if template.value().get(member).is_some() {
            fields.insert(member.into(), now.into());
        }
    }
    fields.extend(mutation.fields.clone());
    fields
}

/// Under which name the audit log reports changes of an entity; those without a name are not reported.
fn audit_type(entity: &str) -> Option<&'static str> {
    Some(match entity {
        "accounts" => "account",
        "account-categories" => "accountcategory",
        "account-links" => "accountlink",
        "customers" => "customer",
        "teams" => "team",
        "team-memberships" => "teammembership",
        "team-links" => "teamlink",
        "programs" => "program",
        "roles" => "role",
        "permission-roles" => "permissiongroup",
        "skills" => "skill",
        "skill-assignments" => "skillassignment",
        "work-attributes" => "workattribute",
        "workload-schemes" => "workload",
        "workload-scheme-members" => "workloadmembership",
        "holiday-schemes" => "holidayscheme",
        "holidays" => "holiday",
        "holiday-scheme-members" => "holidaymembership",
        "plans" => "allocation",
        "global-configuration" => "globalconfiguration",
        "projects" => "project",
        _ => return None,
    })
}
