//! What can be asked about who may sign in on the page.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use fermata_core::names::Tenant;

use crate::dashboard::access::Role;

#[derive(Debug, Args)]
pub(crate) struct UserCommand {
    /// Users file [environment: FERMATA_USERS] [default: ./fermata-users.toml]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) users: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) action: UserAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum UserAction {
    /// Add somebody, or change what they may do; what is not named stays
    Set(UserSet),
    /// Make an API key for somebody and show it, this once; the one before ends
    Key {
        /// Whose
        name: String,
    },
    /// All who may sign in, and groups of the identity provider
    List,
    /// Take somebody out; whoever is signed in is signed out
    Remove {
        /// Whom
        name: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct UserSet {
    /// The name to sign in with; of people who come through the identity provider, what it knows them by
    pub(crate) name: String,
    /// viewer looks; operator also backs up, retries and pauses; admin also stores tokens, changes settings, discards
    #[arg(long)]
    pub(crate) role: Option<Role>,
    /// The only tenant that they see and touch (again for more)
    #[arg(long, value_name = "TENANT", conflicts_with = "all_tenants")]
    pub(crate) tenant: Vec<Tenant>,
    /// They see and touch every tenant, as somebody new does unless --tenant is given
    #[arg(long)]
    pub(crate) all_tenants: bool,
    /// Give them a new password, from stdin or as you type it; somebody new is given one anyway
    #[arg(long, conflicts_with = "no_password")]
    pub(crate) password: bool,
    /// They have no password: they sign in through the identity provider, or use an API key
    #[arg(long)]
    pub(crate) no_password: bool,
}
