//! Everything a Tempo API token may read, as one table: [`ENTITIES`].
//!
//! Adding an entity is adding a row. A row says what to ask, how the answer is paged, what must be
//! read before, what identifies a record, and what the rest of the product needs to know about it.
//! What the official specification lists and the table leaves out stands in [`LEFT_OUT`] with its
//! reason, and a test holds the two against the specification.

mod left_out;
mod table;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use left_out::LEFT_OUT;
pub use table::ENTITIES;

/// One kind of record.
#[derive(Debug)]
pub struct Entity {
    /// The name in commands, paths and documents, in kebab case.
    pub name: &'static str,
    /// The group of permissions that a token needs for it.
    pub family: Family,
    /// What to ask, in this order.
    pub reads: &'static [Read],
    /// What to ask instead when the token may not use `reads`.
    pub fallback: Option<Fallback>,
    /// How only what changed since an earlier snapshot is read, where that can be done.
    pub delta: Option<Delta>,
    /// The members that identify a record, dotted; empty where Tempo gives none.
    pub identity: &'static [&'static str],
    /// The member with the time of a record's last change, where it has one.
    pub changed_at: Option<&'static str>,
    /// The member with the day a record is about, for the date range in the manifest.
    pub day: Option<&'static str>,
    /// Keys found in the records, over which other entities fan out.
    pub yields: &'static [Yield],
    /// A top-level text member whose value is a secret and is stored as `"[redacted]"`.
    pub secret: Option<&'static str>,
    /// The `entityType` under which Tempo's audit log reports changes of it.
    pub audit_type: Option<&'static str>,
    /// How a restore treats it.
    pub restore: Restore,
}

/// One request, repeated over pages and over the keys it fans out over.
#[derive(Clone, Copy, Debug)]
pub struct Read {
    /// GET or POST.
    pub method: Method,
    /// The path from the host on; `{name}` stands for a key or a window of the plan.
    pub path: &'static str,
    /// Query parameters; values may hold `{name}`.
    pub query: &'static [(&'static str, &'static str)],
    /// The JSON body of a POST; strings may hold `{name}`, a `"{name}"` alone a batch of keys.
    pub body: Option<&'static str>,
    /// How the answer is paged.
    pub paging: Paging,
    /// The `limit` to ask for; what the answer says of its own limit is believed.
    pub limit: u32,
    /// Where the records are.
    pub records: Records,
    /// What the request is repeated over.
    pub over: Over,
    /// How a read of several pages makes up for what changed meanwhile.
    pub closing: Closing,
}

/// A second way to read an entity, and what it cannot see.
#[derive(Clone, Copy, Debug)]
pub struct Fallback {
    /// What to ask.
    pub reads: &'static [Read],
    /// What these requests miss, for the manifest; empty when nothing.
    pub misses: &'static str,
}

/// How what changed since an earlier snapshot is read.
#[derive(Clone, Copy, Debug)]
pub enum Delta {
    /// Its reads take a time of the last change, and this request tells what was deleted: audit events whose `entityId`
    /// is a record's id.
    Feed(Read),
    /// It is a log that Tempo keeps for a while, read from the moment in this window on. What was read once is kept for good.
    Append(&'static str),
    /// Its records never change: it is asked for keys that are new, and loses those that are gone.
    Keys,
}

/// The way in which a job reads its entity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// All of it.
    #[default]
    Sweep,
    /// All of it, with the second choice of requests.
    Fallback,
    /// What changed.
    Delta,
    /// All of it, and before and after it what was deleted, to see whether Tempo had told of all that changed.
    Checked,
}

/// A request's method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// GET.
    Get,
    /// POST of a search; it changes nothing in Tempo.
    Post,
}

/// How an answer is paged (section 3 of the Tempo API notes: P0 to P5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paging {
    /// Not at all: one answer holds everything.
    Whole,
    /// `offset` and `limit` in the query, a `next` link in the answer.
    Offset,
    /// `offset` and `limit` in the body; a link only sometimes.
    OffsetInBody,
    /// `nextPageToken` in the query, a new one in the answer until the last page.
    PageToken,
    /// `lastEvaluatedKey` in the query, a new one in the answer until the last page.
    LastKey,
    /// In the order of the last change: `updatedFrom` moves on with the rows.
    Changes,
    /// In windows of days that fit one page each, closed by a read of what changed meanwhile.
    Days,
}

/// Where an answer keeps its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Records {
    /// In the array under this member.
    Under(&'static str),
    /// The answer is the array.
    Bare,
    /// The answer is the one record.
    Itself,
}

/// How a read of several pages makes up for what changed meanwhile. One page needs nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// It is read again until nothing is new.
    Again,
    /// What changed since it began is read, by `updatedFrom`, until nothing is new.
    Since,
    /// Nothing: its rows do not change, or nothing identifies them.
    Never,
}

/// What a request is repeated over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// Asked once.
    Once,
    /// Asked once for each combination of these keys; records gain a `_parent` that names them.
    Each(&'static [Key]),
    /// Asked with up to this many keys in the body at a time.
    Batch(Key, usize),
}

/// A kind of key that one entity yields and another fans out over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Key {
    /// An account's key.
    Account,
    /// A team's id.
    Team,
    /// A workload scheme's id.
    WorkloadScheme,
    /// A holiday scheme's id.
    HolidayScheme,
    /// A user's Atlassian account id.
    User,
    /// A generic resource's id.
    GenericResource,
    /// A timesheet period, `<from>/<to>`.
    Period,
    /// A Financial Manager project's UUID.
    Project,
    /// A portfolio's UUID.
    Portfolio,
    /// A billing rates table's id.
    RatesTable,
    /// A cost and revenue report's UUID.
    Report,
    /// A worklog's Tempo id; held as a set of integers, not as text.
    Worklog,
}

/// Keys to collect from the records of an entity.
#[derive(Clone, Copy, Debug)]
pub struct Yield {
    /// Which kind.
    pub key: Key,
    /// The member that holds it, dotted. For [`Key::Period`] the object with `from` and `to`.
    pub member: &'static str,
}

/// The groups into which Tempo divides what a token may do (section 1.3 of the Tempo API notes).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// Accounts, categories, links, customers.
    Accounts,
    /// Teams, memberships, roles, links.
    Teams,
    /// Worklogs and work attributes.
    Worklogs,
    /// Workload and holiday schemes, user schedules.
    Schemes,
    /// Plans, flex plans and programs.
    Plans,
    /// Periods.
    Periods,
    /// Timesheet approvals.
    Approvals,
    /// Permission roles.
    PermissionRoles,
    /// Skills.
    Skills,
    /// Generic resources.
    GenericResources,
    /// Global configuration.
    Configuration,
    /// Webhook subscriptions.
    Webhooks,
    /// The audit log.
    Audit,
    /// Financial Manager: projects and portfolios.
    Projects,
    /// Financial Manager: rates.
    Rates,
}

/// How a restore treats an entity (section 8 of the Tempo API notes).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restore {
    /// Written back in this step, found again by this natural key.
    Step(u8, &'static str),
    /// Tempo has no call that writes it.
    No(&'static str),
}

/// The entity of this name.
pub fn entity(name: &str) -> Option<&'static Entity> {
    ENTITIES.iter().find(|entity| entity.name == name)
}

impl Entity {
    /// The requests to make, in their order.
    pub fn reads(&'static self, way: Way) -> impl Iterator<Item = &'static Read> {
        let (first, last) = match (&self.delta, way) {
            (Some(Delta::Feed(deletions)), Way::Delta) => (Some(deletions), None),
            // What is deleted while all is read must not pass for something that Tempo did not tell.
            (Some(Delta::Feed(deletions)), Way::Checked) => (Some(deletions), Some(deletions)),
            _ => (None, None),
        };
        let rest = match self.fallback {
            Some(second) if way == Way::Fallback => second.reads,
            _ => self.reads,
        };
        first.into_iter().chain(rest).chain(last)
    }

    /// Whether a request tells what was deleted, and not what there is.
    pub fn tells_deletions(&self, way: Way, read: usize) -> bool {
        let told = match way {
            Way::Delta => read == 0,
            Way::Checked => read == 0 || read == self.reads.len() + 1,
            Way::Sweep | Way::Fallback => false,
        };
        told && matches!(self.delta, Some(Delta::Feed(_)))
    }

    /// Whether what was read once is kept, since Tempo forgets it.
    pub fn is_log(&self) -> bool {
        matches!(self.delta, Some(Delta::Append(_)))
    }

    /// The kinds of keys that must be known before this entity can be read, in either form.
    pub fn needs(&self) -> impl Iterator<Item = Key> {
        let second = self.fallback.map_or(&[] as &[Read], |fallback| fallback.reads);
        self.reads.iter().chain(second).flat_map(|read| read.over.keys()).copied()
    }

    /// The entities whose keys this one fans out over, in the order of the table.
    pub fn parents(&self) -> impl Iterator<Item = &'static Entity> {
        ENTITIES.iter().filter(|parent| parent.name != self.name && self.needs().any(|key| parent.gives(key)))
    }

    /// A kind of key without which none of the entity's requests can be made, when none is given.
    pub fn orphaned(&'static self, way: Way, given: impl Fn(&Key) -> bool) -> Option<Key> {
        let missing = |read: &'static Read| read.over.keys().iter().find(|key| !given(key)).copied();
        let missing: Option<Vec<Key>> = self.reads(way).map(missing).collect();
        missing?.first().copied()
    }

    /// Whether this entity's records yield keys of this kind.
    pub fn gives(&self, key: Key) -> bool {
        self.yields.iter().any(|given| given.key == key)
    }
}

impl Over {
    /// The kinds of keys, in the order in which they are combined.
    pub fn keys(&self) -> &[Key] {
        match self {
            Self::Once => &[],
            Self::Each(keys) => keys,
            Self::Batch(key, _) => std::slice::from_ref(key),
        }
    }
}

impl Key {
    /// Whether Tempo numbers these, so that they are JSON numbers.
    pub fn is_integer(self) -> bool {
        matches!(self, Self::Team | Self::WorkloadScheme | Self::HolidayScheme | Self::Worklog)
    }

    /// The kind of this [name](Self::name).
    pub fn named(name: &str) -> Option<Self> {
        ENTITIES.iter().flat_map(|entity| entity.yields).map(|given| given.key).find(|key| key.name() == name)
    }

    /// The name in a request's placeholders and in a record's `_parent`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Team => "team",
            Self::WorkloadScheme => "workloadScheme",
            Self::HolidayScheme => "holidayScheme",
            Self::User => "user",
            Self::GenericResource => "genericResource",
            Self::Period => "period",
            Self::Project => "project",
            Self::Portfolio => "portfolio",
            Self::RatesTable => "ratesTable",
            Self::Report => "report",
            Self::Worklog => "worklog",
        }
    }
}

impl Family {
    /// What to grant, in the words of Tempo's settings page.
    pub fn grant(self) -> &'static str {
        match self {
            Self::Accounts => "the Accounts scope",
            Self::Teams => "the Teams scope",
            Self::Worklogs => "the Worklogs scope",
            Self::Schemes => "the Schemes scope",
            Self::Plans => "the Plans scope",
            Self::Periods => "the Periods scope",
            Self::Approvals => "the Approvals scope",
            Self::PermissionRoles | Self::Configuration | Self::Webhooks => {
                "full access, for a user who is a Tempo Administrator"
            }
            Self::Skills | Self::GenericResources => {
                "full access, made after that feature was added to Tempo"
            }
            Self::Audit => "full access, for a user who is a Tempo Administrator (audit log)",
            Self::Projects => "the Financial Manager projects scope (and a Financial Manager licence)",
            Self::Rates => "the Financial Manager rates scope (and a Financial Manager licence)",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Get => "GET",
            Self::Post => "POST",
        })
    }
}

#[cfg(test)]
mod tests;
