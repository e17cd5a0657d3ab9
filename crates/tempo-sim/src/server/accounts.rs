//! Accounts, links, customers and work attributes.

use super::call::{Answer, Call, json, missing, texts};
use crate::tables::Record;

fn among(list: Option<&Vec<String>>, text: &str) -> bool {
    list.is_none_or(|list| list.iter().any(|one| one == text))
}

/// Plain GET hides archived accounts.
pub(crate) fn list(call: &Call<'_>) -> Answer {
    call.p1(texts(call.all("accounts").iter().filter(|account| account.str("status") != "ARCHIVED")))
}

pub(crate) fn search(call: &Call<'_>) -> Answer {
    let (ids, keys, statuses) = (call.list("ids"), call.list("keys"), call.list("statuses"));
    let global = call.body.get("global").and_then(serde_json::Value::as_bool);
    let matches = |account: &&Record| {
        among(ids.as_ref(), &account.id)
            && among(keys.as_ref(), account.str("key"))
            && among(statuses.as_ref(), account.str("status"))
            && global.is_none_or(|global| account.value()["global"] == global)
    };
    call.p1(texts(call.all("accounts").iter().filter(matches)))
}

/// Links are asked for by the account's key, not its id.
pub(crate) fn links(call: &Call<'_>) -> Answer {
    let account = call.site.tables.by("accounts", "key", call.param(0)).ok_or_else(|| missing("Account"))?;
    call.p1(texts(call.site.tables.of("account-links", account.str("key"))))
}

pub(crate) fn links_of_project(call: &Call<'_>) -> Answer {
    let project = call.param(0);
    call.p0(texts(call.all("account-links").iter().filter(|link| link.names("/scope/id", project))))
}

pub(crate) fn categories(call: &Call<'_>) -> Answer {
    let id = call.one("id");
    call.p0(texts(
        call.all("account-categories").iter().filter(|category| id.is_none_or(|id| category.id == id)),
    ))
}

/// Answers the record whose key the path names.
pub(crate) fn by_key(call: &Call<'_>, entity: &str, what: &str) -> Answer {
    let record = call.site.tables.by(entity, "key", call.param(0)).ok_or_else(|| missing(what))?;
    json(record.text.as_bytes())
}

pub(crate) fn customers_search(call: &Call<'_>) -> Answer {
    let (ids, keys) = (call.list("ids"), call.list("keys"));
    let matches =
        |customer: &&Record| among(ids.as_ref(), &customer.id) && among(keys.as_ref(), customer.str("key"));
    call.p1(texts(call.all("customers").iter().filter(matches)))
}

pub(crate) fn customer_accounts(call: &Call<'_>) -> Answer {
    let customer = call.record("customers", "Customer")?;
    let of_it = |account: &&Record| account.names("/customer/id", &customer.id);
    call.p1(texts(call.all("accounts").iter().filter(of_it)))
}
