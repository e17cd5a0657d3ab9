//! `fermata user`: who may sign in on the page, and what they may do there.

use std::collections::BTreeSet;
use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};

use fermata_core::names::Tenant;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;

use crate::cli::{UserAction, UserCommand, UserSet};
use crate::config::Config;
use crate::dashboard::access::edit::Draft;
use crate::dashboard::access::password::{self, PasswordHash};
use crate::dashboard::access::person::{Role, Standing};
use crate::dashboard::access::secrets::{self, Digest};
use crate::dashboard::access::users::{self, User, Users};
use crate::exit::{self, Usage};
use crate::out::{Out, table};

/// One person, as all of these commands say them.
#[derive(Serialize)]
struct Document {
    schema: u32,
    name: String,
    role: Role,
    tenants: Option<BTreeSet<Tenant>>,
    password: bool,
    api_key: bool,
}

pub(crate) fn run(command: UserCommand, config: &Config, out: Out) -> anyhow::Result<u8> {
    let path =
        command.users.or_else(|| config.web.users.clone()).unwrap_or_else(|| PathBuf::from(users::FILE));
    match command.action {
        UserAction::Set(asked) => set(&path, &asked, out),
        UserAction::Key { name } => key(&path, &name, out),
        UserAction::List => list(&path, out),
        UserAction::Remove { name } => remove(&path, &name, out),
    }
}

fn set(path: &Path, asked: &UserSet, out: Out) -> anyhow::Result<u8> {
    let name = &asked.name;
    if let Some(fault) = users::name_fault(name) {
        return Err(Usage(format!("{name:?} {fault}")).into());
    }
    let (mut draft, users) = Draft::open(path)?;
    let before = users.user(name);
    let Some(role) = asked.role.or(before.map(|user| user.standing.role)) else {
        return Err(Usage(format!("there is no {name} yet: say --role viewer, operator or admin")).into());
    };
    let tenants = match before {
        _ if !asked.tenant.is_empty() => Some(asked.tenant.iter().cloned().collect()),
        Some(user) if !asked.all_tenants => user.standing.tenants.clone(),
        _ => None,
    };
    draft.set_standing(name, &Standing { role, tenants });
    let nothing_else = asked.role.is_none() && asked.tenant.is_empty() && !asked.all_tenants;
    if asked.no_password {
        draft.set_password(name, None);
    } else if asked.password || before.is_none() || nothing_else {
        draft.set_password(name, Some(&PasswordHash::make(&read_password(name)?)));
    }
    draft.save()?;
    let users = users::read(path)?;
    let document = document(name, some(&users, name)?);
    out.result(&document, || {
        let sees = sees(document.tenants.as_ref());
        let with = match (document.password, document.api_key) {
            (true, _) => "signs in with a password",
            (false, true) => "has an API key and no password",
            (false, false) => "has no password: signs in through the identity provider",
        };
        format!("{name} is {} of {sees}, and {with}.", role.name())
    })?;
    Ok(exit::DONE)
}

fn key(path: &Path, name: &str, out: Out) -> anyhow::Result<u8> {
    #[derive(Serialize)]
    struct Document<'a> {
        schema: u32,
        name: &'a str,
        api_key: &'a str,
    }
    let (mut draft, users) = Draft::open(path)?;
    let replaces = some(&users, name)?.api_key.is_some();
    let key = secrets::api_key();
    draft.set_api_key(name, Digest::of(&key));
    draft.save()?;
    let document = Document { schema: fermata_core::FORMAT, name, api_key: &key };
    out.result(&document, || key.clone())?;
    out.say("It is not shown again. Send it as `Authorization: Bearer fmk_...`.");
    if replaces {
        out.say("The key from before is good for nothing from now on.");
    }
    Ok(exit::DONE)
}

fn list(path: &Path, out: Out) -> anyhow::Result<u8> {
    #[derive(Serialize)]
    struct Group {
        name: String,
        #[serde(flatten)]
        standing: Standing,
    }
    #[derive(Serialize)]
    struct All {
        schema: u32,
        users: Vec<Document>,
        groups: Vec<Group>,
    }
    let all = users::read(path)?;
    let groups =
        all.groups().map(|(name, standing)| Group { name: name.to_owned(), standing: standing.clone() });
    let document = All {
        schema: fermata_core::FORMAT,
        users: all.people().map(|(name, user)| document(name, user)).collect(),
        groups: groups.collect(),
    };
    out.result(&document, || {
        let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
        let people = document.users.iter().map(|user| {
            let sees = sees(user.tenants.as_ref());
            [user.name.clone(), user.role.name().to_owned(), yes(user.password), yes(user.api_key), sees]
        });
        let groups = document.groups.iter().map(|group| {
            let Standing { role, tenants } = &group.standing;
            [group.name.clone(), role.name().to_owned(), sees(tenants.as_ref())]
        });
        let mut text = table(["NAME", "ROLE", "PASSWORD", "KEY", "TENANTS"], people);
        if !document.groups.is_empty() {
            text = format!("{text}\n\n{}", table(["GROUP", "ROLE", "TENANTS"], groups));
        }
        text
    })?;
    Ok(exit::DONE)
}

fn remove(path: &Path, name: &str, out: Out) -> anyhow::Result<u8> {
    let (mut draft, users) = Draft::open(path)?;
    let document = document(name, some(&users, name)?);
    draft.remove(name);
    draft.save()?;
    out.result(&document, || format!("{name} is taken out, with password and key."))?;
    Ok(exit::DONE)
}

fn some<'a>(users: &'a Users, name: &str) -> Result<&'a User, Usage> {
    users.user(name).ok_or_else(|| Usage(format!("there is no {name}; `fermata user list` shows everybody")))
}

fn document(name: &str, user: &User) -> Document {
    Document {
        schema: fermata_core::FORMAT,
        name: name.to_owned(),
        role: user.standing.role,
        tenants: user.standing.tenants.clone(),
        password: user.password.is_some(),
        api_key: user.api_key.is_some(),
    }
}

fn sees(tenants: Option<&BTreeSet<Tenant>>) -> String {
    match tenants {
        None => "all tenants".to_owned(),
        Some(tenants) if tenants.is_empty() => "no tenant".to_owned(),
        Some(tenants) => tenants.iter().map(Tenant::as_str).collect::<Vec<_>>().join(", "),
    }
}

/// Reads a password from stdin, or twice from a person, without showing it.
fn read_password(name: &str) -> anyhow::Result<SecretString> {
    let chosen: SecretString = if std::io::stdin().is_terminal() {
        let first: SecretString = rpassword::prompt_password(format!("Password of {name}: "))?.into();
        let again: SecretString = rpassword::prompt_password("The same again: ")?.into();
        if first.expose_secret() != again.expose_secret() {
            return Err(Usage("the two are not the same; nothing was changed".to_owned()).into());
        }
        first
    } else {
        let mut text = String::new();
        let most = password::PASSWORD_BYTES_MAX as u64 + 2;
        std::io::stdin().take(most).read_to_string(&mut text)?;
        text.strip_suffix('\n').map_or(&*text, |line| line.strip_suffix('\r').unwrap_or(line)).into()
    };
    match password::fault(chosen.expose_secret()) {
        None => Ok(chosen),
        Some(fault) => Err(Usage(format!("{fault}; give it on stdin, or say --no-password")).into()),
    }
}
