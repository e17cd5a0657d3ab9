//! A person who is signed in, and what they may do.

use std::collections::BTreeSet;

use fermata_core::names::Tenant;
use serde::Serialize;

/// What somebody may do; each may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// Looks.
    Viewer,
    /// Backs up, retries, pauses, looks at records.
    Operator,
    /// Stores tokens, changes settings, discards.
    Admin,
}

impl Role {
    /// All of them, the least first.
    pub(crate) const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Admin];

    /// The role as it is written.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

/// A role, and for which tenants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Standing {
    /// The role.
    pub(crate) role: Role,
    /// The only tenants that the person sees and touches; all when `None`.
    pub(crate) tenants: Option<BTreeSet<Tenant>>,
}

/// How somebody showed who they are at the start of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    /// The one-time link of a page that only this machine reaches.
    Link,
    /// Name and password.
    Password,
    /// The identity provider.
    Oidc,
}

impl Via {
    /// In a word, for the log.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::Password => "password",
            Self::Oidc => "oidc",
        }
    }
}

/// Who asks.
#[derive(Clone, Debug)]
pub(crate) struct Person {
    /// The name, as the audit list has it.
    pub(crate) name: String,
    pub(crate) role: Role,
    /// The tenants that they may know of; all if there is no list.
    pub(crate) tenants: Option<BTreeSet<Tenant>>,
    /// What their forms carry, so that nobody else can send them. Nothing for programs, which bring a key with each request.
    pub(crate) csrf: Option<String>,
}

impl Person {
    /// Whether they may do what needs a role.
    pub(crate) fn may(&self, role: Role) -> bool {
        self.role >= role
    }

    /// Whether they may know of a tenant.
    pub(crate) fn sees(&self, tenant: &Tenant) -> bool {
        self.tenants.as_ref().is_none_or(|tenants| tenants.contains(tenant))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_include_those_before_them_and_tenants_do_not() {
        let tenant = |name: &str| name.parse::<Tenant>().unwrap();
        let person = |role, tenants: Option<&[&str]>| Person {
            name: "ann".to_owned(),
            role,
            tenants: tenants.map(|names| names.iter().map(|name| tenant(name)).collect()),
            csrf: None,
        };
        let operator = person(Role::Operator, Some(&["acme"]));
        assert_eq!(Role::ALL.map(|role| operator.may(role)), [true, true, false]);
        assert_eq!(["acme", "acme-2"].map(|name| operator.sees(&tenant(name))), [true, false]);
        assert!(!person(Role::Admin, Some(&[])).sees(&tenant("acme")));
        assert!(person(Role::Viewer, None).sees(&tenant("acme")));
    }
}
