//! The catalogue against Tempo's specification: what a row asks is there to be asked, what it
//! expects of the answer is there to be found, and no readable operation is forgotten.

mod spec;

use std::collections::BTreeMap;

use fermata_core::catalogue::{Closing, ENTITIES, Entity, Key, LEFT_OUT, Over, Paging, Read, Records};
use fermata_core::checkpoint::Place;
use fermata_core::names::RunId;
use fermata_core::plan::{Wish, plan};
use fermata_core::settings::Settings;
use fermata_tempo::paging;
use fermata_tempo::request::{Request, Values};
use jiff::Timestamp;
use serde_json::Value;

use crate::assert_none;
use spec::{Operation, Spec};

/// Searches in all but name.
const READING_POSTS: [&str; 3] =
    ["/4/worklogs/tempo-to-jira", "/4/worklogs/jira-to-tempo", "/4/plan-approvals/plans-for-review"];

/// Lists whose answers do not say that they go on, and are too short to.
const FITS_ONE_PAGE: [&str; 1] = [
    // Tempo allows 25; its default page holds 50.
    "webhook-subscriptions",
];

/// The windows of a plan that rows name.
const WINDOWS: [&str; 8] = [
    "periodsFrom",
    "periodsTo",
    "plansFrom",
    "plansTo",
    "schedulesFrom",
    "schedulesTo",
    "auditFrom",
    "logFrom",
];

#[test]
fn requests_are_what_the_specification_takes() {
    check(|_, read, operation, spec| {
        let mut problems = Vec::new();
        for place in places(read) {
            let request = request(read, &place);
            let mut found = unknown_in_query(read, &request, operation, spec);
            match (&request.body, operation.body()) {
                (Some(body), Some(schema)) => spec.misfits(schema, body, "the body", &mut found),
                (Some(_), None) => found.push("it takes no body".to_owned()),
                (None, _) => {}
            }
            let body = request.body.as_ref().map(Value::to_string).unwrap_or_default();
            if request.path().contains('{') || format!("{:?}{body}", request.query).contains("\"{") {
                found.push(format!(
                    "a name was not filled in: {} {:?} {body}",
                    request.path(),
                    request.query
                ));
            }
            problems.extend(found.into_iter().map(|what| format!("at {place:?} {what}")));
        }
        problems
    });
}

#[test]
fn answers_are_paged_as_the_rows_say() {
    check(|entity, read, operation, _| {
        let asks = |name| operation.parameters("query").contains_key(name);
        let tells = |name| operation.body().is_some_and(|body| operation.spec.has(body, name));
        let shows = |name| operation.metadata_has(name);
        let (by_offset, in_body) = (asks("offset") && asks("limit"), tells("offset") && tells("limit"));
        let by_token = asks("nextPageToken") || asks("lastEvaluatedKey");
        let fits = match read.paging {
            Paging::Whole => !by_offset && !in_body && !by_token && !shows("next"),
            // Without a limit a row follows links alone.
            Paging::Offset if read.limit == 0 => !by_offset && !in_body && shows("next"),
            Paging::Offset => {
                by_offset && (shows("next") || shows("limit") || FITS_ONE_PAGE.contains(&entity.name))
            }
            Paging::OffsetInBody => in_body && !by_offset,
            Paging::PageToken => asks("nextPageToken") && shows("nextPageToken"),
            Paging::LastKey => asks("lastEvaluatedKey") && shows("lastEvaluatedKey"),
            Paging::Changes => by_offset && tells("updatedFrom") && tells("orderBy"),
            Paging::Days => by_offset && asks("from") && asks("to") && asks("updatedFrom"),
        };
        if fits { vec![] } else { vec![format!("it is not paged by {:?}", read.paging)] }
    });
}

#[test]
fn records_and_their_members_are_where_the_rows_say() {
    check(|entity, read, operation, spec| {
        let Some(record) = record(read, operation, spec) else {
            return vec![format!("no records are at {:?} of its answer", read.records)];
        };
        let missing = |member: &str, what: &str| {
            (!spec.has(record, member)).then(|| format!("its records have no member {member:?} ({what})"))
        };
        let mut problems: Vec<String> = [
            entity.changed_at.and_then(|member| missing(member, "changed_at")),
            entity.day.and_then(|member| missing(member, "day")),
            entity.secret.and_then(|member| missing(member, "secret")),
        ]
        .into_iter()
        .flatten()
        .collect();
        if !entity.identity.is_empty() && !entity.identity.iter().any(|member| spec.has(record, member)) {
            problems.push(format!("its records have none of {:?} (identity)", entity.identity));
        }
        problems
    });
}

/// Two ways to read an entity may differ in what they show; some way must show each member.
#[test]
fn identities_and_keys_are_in_some_record() {
    let Some(spec) = Spec::read() else { return };
    let mut problems = Vec::new();
    for entity in ENTITIES {
        let records: Vec<_> = reads(entity)
            .filter_map(|read| record(read, spec.operation(&read.method.to_string(), read.path)?, &spec))
            .collect();
        let mut want = |member: &str, what: &str| {
            if !records.iter().any(|record| spec.has(record, member)) {
                problems.push(format!("{}: no record has {member:?} ({what})", entity.name));
            }
        };
        for member in entity.identity {
            want(member, "identity");
        }
        for given in entity.yields {
            match given.member {
                "" => ["from", "to"].iter().for_each(|member| want(member, "a period")),
                member => want(member, "yields"),
            }
        }
        // A generic resource is numbered, and asked for by text: `assigneeId` is a string.
        let single = |key| key != Key::Period && key != Key::GenericResource;
        for given in entity.yields.iter().filter(|given| single(given.key)) {
            let kinds = records.iter().filter_map(|record| spec.reach(record, given.member));
            if kinds.into_iter().any(|kind| (kind["type"] == "integer") != given.key.is_integer()) {
                problems.push(format!("{}: {:?} is not of the type of its key", entity.name, given.member));
            }
        }
    }
    assert_none(&problems);
}

#[test]
fn audit_types_are_words_of_the_audit_log() {
    let Some(spec) = Spec::read() else { return };
    let search = spec.operation("POST", "/4/papertrail/search").expect("the audit log can be searched");
    let kinds = search.body().and_then(|body| spec.reach(body, "entityType")).expect("by entity type");
    let words = spec.elements(kinds).and_then(|kind| kind["enum"].as_array()).expect("of a list of words");
    let unknown = ENTITIES.iter().filter(|entity| {
        entity.audit_type.is_some_and(|audit_type| !words.contains(&Value::from(audit_type)))
    });
    let problems: Vec<_> =
        unknown.map(|entity| format!("{}: unknown {:?}", entity.name, entity.audit_type)).collect();
    assert_none(&problems);
}

#[test]
fn every_readable_operation_is_read_or_left_out_for_a_reason() {
    let Some(spec) = Spec::read() else { return };
    let used: Vec<_> = ENTITIES
        .iter()
        .flat_map(reads)
        .filter_map(|read| spec.operation(&read.method.to_string(), read.path))
        .map(|operation| (operation.method, operation.path))
        .collect();
    let mut left_out: BTreeMap<(String, &str), &str> = BTreeMap::new();
    let mut problems = Vec::new();
    for (method, path, reason) in LEFT_OUT {
        if reason.len() < 10 {
            problems.push(format!("{method} {path} is left out without a reason"));
        }
        if left_out.insert((method.to_lowercase(), path), reason).is_some() {
            problems.push(format!("{method} {path} is left out twice"));
        }
    }
    for operation in spec.operations().filter(is_readable) {
        let Operation { method, path, .. } = operation;
        let excuse = left_out.remove(&(method.to_owned(), path));
        match (used.contains(&(method, path)), excuse) {
            (false, None) => problems.push(format!("{method} {path} is neither read nor left out")),
            (true, Some(_)) => problems.push(format!("{method} {path} is read and left out")),
            (true, None) | (false, Some(_)) => {}
        }
    }
    problems.extend(left_out.keys().map(|(method, path)| format!("{method} {path} is left out but unknown")));
    assert_none(&problems);
}

/// Holds every request of every row against the operation that it names.
fn check(rule: impl Fn(&Entity, &Read, Operation, &Spec) -> Vec<String>) {
    let Some(spec) = Spec::read() else { return };
    let mut problems = Vec::new();
    for entity in ENTITIES {
        for read in reads(entity) {
            let found = match spec.operation(&read.method.to_string(), read.path) {
                Some(operation) => rule(entity, read, operation, &spec),
                None => vec!["there is no such operation".to_owned()],
            };
            let about = |what| format!("{} ({} {}): {what}", entity.name, read.method, read.path);
            problems.extend(found.into_iter().map(about));
        }
    }
    assert_none(&problems);
}

/// Every request of an entity, in either form.
fn reads(entity: &Entity) -> impl Iterator<Item = &'static Read> {
    entity.reads.iter().chain(entity.fallback.iter().flat_map(|fallback| fallback.reads))
}

fn is_readable(operation: &Operation) -> bool {
    let searches = operation.path.ends_with("/search") || READING_POSTS.contains(&operation.path);
    operation.is("GET") || (operation.is("POST") && searches)
}

/// One place of each kind that the request's paging and closing can come to.
fn places(read: &Read) -> Vec<Place> {
    let since = now();
    let closing = Place::Closing { since, offset: 7, pass: 1, news: true };
    let days =
        |from: &str| Place::Days { from: from.parse().expect("a date"), days: 2, offset: 7, open: false };
    let mut places = vec![Place::Start];
    match read.paging {
        Paging::Whole => {}
        Paging::Offset | Paging::OffsetInBody => {
            places.push(Place::Offset { offset: 7, pass: 0, news: true });
            if read.closing == Closing::Since {
                places.push(closing);
            }
        }
        Paging::PageToken | Paging::LastKey => {
            places.push(Place::Token { token: "token".to_owned(), idle: 0 });
        }
        Paging::Changes => places.push(Place::Changes { since, offset: 7 }),
        Paging::Days => places.extend([days("2026-01-01"), days("2026-03-01"), closing]),
    }
    places
}

fn now() -> Timestamp {
    "2026-03-01T02:00:00Z".parse().expect("a time")
}

/// The request for a place, with a key of each kind and the windows that a plan gives.
fn request(read: &Read, place: &Place) -> Request {
    let settings = Settings::new("acme".parse().expect("a tenant"), now());
    let run = RunId::new(now(), "aaaaaa").expect("a run");
    let plan = plan(&settings, Wish::default(), &[], run, now()).expect("a plan of everything");
    let key = |key: Key| match key {
        Key::Period => "2026-01-01/2026-01-07".to_owned(),
        _ if key.is_integer() => "12".to_owned(),
        _ => "x".to_owned(),
    };
    let (keys, batch) = match read.over {
        Over::Batch(kind, _) => (vec![], Some((kind, vec![key(kind)]))),
        Over::Once | Over::Each(_) => {
            (read.over.keys().iter().map(|kind| (*kind, key(*kind))).collect(), None)
        }
    };
    let windows = WINDOWS.into_iter().map(|name| {
        let window = plan.windows.get(name).cloned();
        (name, window.unwrap_or_else(|| "2026-02-28T02:00:00Z".to_owned()))
    });
    let windows = windows.collect();
    paging::request(read, place, &Values { keys, batch, windows }, read.limit.into(), None)
}

/// Query parameters that the operation does not take, or takes with other values, or misses.
fn unknown_in_query(read: &Read, request: &Request, operation: Operation, spec: &Spec) -> Vec<String> {
    let mut problems = Vec::new();
    let known = operation.parameters("query");
    for (name, value) in &request.query {
        let Some(parameter) = known.get(name.as_str()) else {
            // A row without a limit repeats the offset of a link that an answer gave.
            if name != "offset" || read.limit > 0 {
                problems.push(format!("it takes no {name:?} in its query"));
            }
            continue;
        };
        let schema = &parameter["schema"];
        let schema = spec.elements(schema).unwrap_or(schema);
        let typed = match schema["type"].as_str() {
            Some("integer") => value.parse::<u64>().map(Value::from).unwrap_or_default(),
            _ => Value::from(value.as_str()),
        };
        spec.misfits(schema, &typed, name, &mut problems);
        if let (Some(value), Some(most)) = (typed.as_u64(), schema["maximum"].as_u64())
            && value > most
        {
            problems.push(format!("it takes at most {most} as {name}"));
        }
    }
    let asked = |name: &str| request.query.iter().any(|(asked, _)| asked == name);
    let missing = known.iter().filter(|(name, parameter)| parameter["required"] == true && !asked(name));
    problems.extend(missing.map(|(name, _)| format!("it wants a {name:?} in its query")));
    problems
}

/// The schema of one record of the answer.
fn record<'a>(read: &Read, operation: Operation<'a>, spec: &'a Spec) -> Option<&'a Value> {
    let answer = operation.answer()?;
    match read.records {
        Records::Under(member) => spec.elements(spec.reach(answer, member)?),
        Records::Bare => spec.elements(answer),
        Records::Itself => {
            (spec.elements(answer).is_none() && !spec.has(answer, "results")).then_some(answer)
        }
    }
}
