//! Accounts, their categories, customers and links, and work attributes.

use super::Making;
use crate::text::{Obj, array, quote};
use crate::worklogs::render::WORK_TYPES;

const CATEGORIES: &[(i64, &str, &str, Option<&str>)] = &[
    (3, "BILL", "Billable work", Some("BILLABLE")),
    (1, "INT", "Internal", Some("INTERNAL")),
    (2, "CAP", "Capitalized \"assets\"", Some("CAPITALIZED")),
    (4, "OPS", "Betrieb & Übergabe", Some("OPERATIONAL")),
    (5, "OLD", "Without a type", None),
];
const CATEGORY_TYPES: &[&str] = &["BILLABLE", "CAPITALIZED", "INTERNAL", "OPERATIONAL"];
const CUSTOMER_NAMES: &[&str] =
    &["Acme Ltd", "Globex", "Initech \\ Co", "株式会社テンポ", "Møller & Sønn", "O'Neil \"Ltd\""];

pub(super) fn make(making: &mut Making) {
    categories(making);
    customers(making);
    for place in 0..making.facts.accounts.len() {
        account(making, place);
        links(making, place);
    }
    attributes(making);
}

fn category(n: usize) -> String {
    let (id, key, name, kind) = CATEGORIES[n % CATEGORIES.len()];
    Obj::at(format!("account-categories/{key}"))
        .raw("id", id)
        .text("key", key)
        .text("name", name)
        .maybe(kind, |o, kind| o.raw("type", Obj::new().text("name", kind).end()))
        .end()
}

fn categories(making: &mut Making) {
    for n in 0..CATEGORIES.len() {
        making.tables.add("account-categories", "", category(n));
    }
    for name in CATEGORY_TYPES {
        making.tables.add("account-category-types", "", Obj::new().text("name", name).end());
    }
}

fn customer(n: usize) -> String {
    Obj::at(format!("customers/{}", n + 9))
        .raw("id", n + 9)
        .text("key", &format!("CUST-{}", n + 1))
        .text("name", CUSTOMER_NAMES[n % CUSTOMER_NAMES.len()])
        .end()
}

fn customers(making: &mut Making) {
    for n in 0..making.facts.sizes.customers {
        making.tables.add("customers", "", customer(n));
    }
}

fn account(making: &mut Making, place: usize) {
    let facts = making.facts;
    let (id, key) = &facts.accounts[place];
    let n = *id as usize;
    let status = match n % 7 {
        5 => "CLOSED",
        6 => "ARCHIVED",
        _ => "OPEN",
    };
    let contact = match n % 3 {
        0 => Some(Obj::new().text("type", "EXTERNAL").text("displayName", "Pat Doe \u{1f600}").end()),
        1 => {
            let account_id = &facts.people[n % facts.people.len()].account_id;
            let link = format!("{}/rest/api/2/user?accountId={account_id}", facts.jira);
            Some(Obj::new().text("type", "USER").text("accountId", account_id).text("self", &link).end())
        }
        _ => None,
    };
    let text = Obj::at(format!("accounts/{id}"))
        .text("key", key)
        .raw("id", id)
        .raw("name", format!("\"Account {id} \\u00e9t\\u00e9 \\/ {}\"", n % 4))
        .text("status", status)
        .raw("global", n.is_multiple_of(6))
        .maybe((n % 4 == 1).then_some(n * 40), |o, budget| o.raw("monthlyBudget", budget))
        .raw("lead", facts.person(n))
        .maybe((n % 5 != 4).then(|| category(n)), |o, category| o.raw("category", category))
        .maybe((n % 3 != 2).then(|| customer(n % facts.sizes.customers)), |o, customer| {
            o.raw("customer", customer)
        })
        .maybe(contact, |o, contact| o.raw("contact", contact))
        .link("links", format!("accounts/{key}/links"))
        .maybe((facts.unknown_fields && n % 8 == 3).then_some("1.50"), |o, x| o.raw("xRate", x))
        .end();
    making.tables.add("accounts", "", text);
}

fn links(making: &mut Making, place: usize) {
    let facts = making.facts;
    let (id, key) = &facts.accounts[place];
    for n in 0..making.random.below(4) as i64 {
        let link = 70 + id * 4 + n;
        let project = facts.jira_projects[(*id + n) as usize % facts.jira_projects.len()];
        let scope = Obj::new()
            .text("self", &format!("{}/rest/api/2/project/{project}", facts.jira))
            .raw("id", project)
            .text("type", "PROJECT")
            .end();
        let text = Obj::at(format!("account-links/{link}"))
            .raw("id", link)
            .raw("default", n == 0)
            .link("account", format!("accounts/{id}"))
            .raw("scope", scope)
            .end();
        making.tables.add("account-links", key, text);
    }
}

fn attributes(making: &mut Making) {
    let values = array(WORK_TYPES.iter().map(|value| quote(value)));
    let names = WORK_TYPES.iter().enumerate().fold(Obj::new(), |o, (n, value)| {
        o.text(value, ["Standard", "Überstunden", "Overtime", "On call"][n % 4])
    });
    let base = |key: &str, name: &str, kind: &str, required: bool| {
        Obj::at(format!("work-attributes/{key}"))
            .text("key", key)
            .text("name", name)
            .text("type", kind)
            .raw("required", required)
    };
    let records = [
        base("_Account_", "Account", "ACCOUNT", true).end(),
        base("_WorkType_", "Work type", "STATIC_LIST", false)
            .raw("values", values)
            .raw("names", names.end())
            .end(),
        base("_Remote_", "Remote?", "CHECKBOX", false).end(),
        base("_Travel_", "Kilometres travelled", "INPUT_NUMERIC", false).end(),
        base("_Ticket_", "External \"ticket\"", "INPUT_FIELD", false).end(),
    ];
    for text in records {
        making.tables.add("work-attributes", "", text);
    }
}
