//! What must hold in every rendering, and no schema can say.

mod addresses;
mod links;
mod network;
mod pods;
mod running;
mod words;

use super::objects::Objects;

/// One thing that must hold. Each has at least one row in `mutations`, which breaks it and nothing else.
pub(crate) struct Rule {
    pub(crate) name: &'static str,
    /// Why it must.
    pub(crate) why: &'static str,
    /// What does not hold, object by object.
    pub(crate) check: fn(&Objects) -> Vec<String>,
}

/// All of them.
pub(crate) fn all() -> impl Iterator<Item = &'static Rule> {
    [pods::RULES, running::RULES, links::RULES, addresses::RULES, network::RULES, words::RULES]
        .into_iter()
        .flatten()
}
