//! The users file: who may sign in, and what they may do.
//!
//! ```toml
//! [users.ann]
//! role = "admin"
//! password = "$argon2id$v=19$..."
//!
//! [users."bob@example.com"]     # signs in through the identity provider
//! role = "operator"
//! tenants = ["acme"]            # sees and touches no others
//! api_key = "<SHA-256>"
//!
//! [groups.timesheets]           # of the identity provider
//! role = "viewer"
//! ```
//!
//! It is read again when it has changed. If what is there then is no users file, what held before holds on and the log says so:
//! a slip of the hand must not lock everybody out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use fermata_core::names::Tenant;
use toml::Value;

use super::password::PasswordHash;
use super::person::{Role, Standing};
use super::secrets::Digest;

/// The users file when none is named.
pub(crate) const FILE: &str = "./fermata-users.toml";
/// Longer than any name, and than any address of mail.
const NAME_CHARS_MAX: usize = 254;

/// Who may sign in.
#[derive(Debug, Default)]
pub(crate) struct Users {
    people: BTreeMap<String, User>,
    groups: BTreeMap<String, Standing>,
    keys: BTreeMap<Digest, String>,
}

/// One person of the file.
#[derive(Clone, Debug)]
pub(crate) struct User {
    /// What they may do.
    pub(crate) standing: Standing,
    /// The hash of their password, if they sign in with one.
    pub(crate) password: Option<PasswordHash>,
    /// The digest of their API key, if they have one.
    pub(crate) api_key: Option<Digest>,
}

/// A users file that cannot be used, with every mistake in it.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n       "))]
pub(crate) struct UsersError(pub(crate) Vec<String>);

impl Users {
    /// Reads the text of a users file; every mistake in it is reported.
    pub(crate) fn parse(text: &str) -> Result<Self, Vec<String>> {
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
            let line = text[..error.span().map_or(0, |span| span.start)].matches('\n').count() + 1;
            vec![format!("line {line}: {}", error.message().replace('\n', " "))]
        })?;
        let mut users = Self::default();
        let mut wrong = Vec::new();
        for (section, entries) in table {
            let Value::Table(entries) = entries else {
                wrong.push(format!("{section} is no table, like [users.ann] or [groups.ops]"));
                continue;
            };
            for (name, entry) in entries {
                let mut entry = Entry::new(format!("{section}.{name}"), entry, &mut wrong);
                if let Some(fault) = name_fault(&name) {
                    entry.wrong(fault);
                }
                match section.as_str() {
                    "users" => users.add(name, entry.user()),
                    "groups" => {
                        users.groups.extend(entry.group().map(|standing| (name, standing)));
                    }
                    _ => entry.wrong("is unknown; there are [users.<name>] and [groups.<name>]"),
                }
            }
        }
        for (name, other) in users.keys_given_twice() {
            wrong.push(format!("users.{name}: api_key is that of {other}, too"));
        }
        if wrong.is_empty() { Ok(users) } else { Err(wrong) }
    }

    fn add(&mut self, name: String, user: Option<User>) {
        let Some(user) = user else { return };
        if let Some(key) = user.api_key {
            self.keys.entry(key).or_insert_with(|| name.clone());
        }
        self.people.insert(name, user);
    }

    fn keys_given_twice(&self) -> Vec<(String, String)> {
        let of = |(name, user): (&String, &User)| {
            let other = self.keys.get(&user.api_key?)?;
            (other != name).then(|| (name.clone(), other.clone()))
        };
        self.people.iter().filter_map(of).collect()
    }

    /// A person of the file.
    pub(crate) fn user(&self, name: &str) -> Option<&User> {
        self.people.get(name)
    }

    /// All people, by name.
    pub(crate) fn people(&self) -> impl Iterator<Item = (&str, &User)> {
        self.people.iter().map(|(name, user)| (name.as_str(), user))
    }

    /// All groups of the identity provider, by name.
    pub(crate) fn groups(&self) -> impl Iterator<Item = (&str, &Standing)> {
        self.groups.iter().map(|(name, standing)| (name.as_str(), standing))
    }

    /// Whose API key has this digest.
    pub(crate) fn of_key(&self, key: Digest) -> Option<(&str, &User)> {
        let name = self.keys.get(&key)?;
        self.people.get(name).map(|user| (name.as_str(), user))
    }

    /// What somebody may do whom the identity provider vouches for: the entry of the name, else the highest role of
    /// their groups, with the tenants of all groups that give it.
    pub(crate) fn standing(&self, name: &str, groups: &[String]) -> Option<Standing> {
        if let Some(user) = self.people.get(name) {
            return Some(user.standing.clone());
        }
        let given: Vec<_> = groups.iter().filter_map(|group| self.groups.get(group)).collect();
        let role = given.iter().map(|standing| standing.role).max()?;
        let highest = given.iter().filter(|standing| standing.role == role);
        let tenants: Option<Vec<_>> = highest.map(|standing| standing.tenants.as_ref()).collect();
        let tenants = tenants.map(|sets| sets.into_iter().flatten().cloned().collect());
        Some(Standing { role, tenants })
    }

    /// Whether anybody signs in with a password.
    pub(crate) fn has_passwords(&self) -> bool {
        self.people.values().any(|user| user.password.is_some())
    }

    /// Whether anybody could sign in: with a password, a key, or through a provider where there is one.
    pub(crate) fn lets_somebody_in(&self, has_provider: bool) -> bool {
        let by_provider = has_provider && !(self.people.is_empty() && self.groups.is_empty());
        by_provider || self.people.values().any(|user| user.password.is_some() || user.api_key.is_some())
    }
}

/// What is wrong with a name.
pub(crate) fn name_fault(name: &str) -> Option<&'static str> {
    let fits = (1..=NAME_CHARS_MAX).contains(&name.chars().count());
    let plain = !name.chars().any(char::is_control) && name.trim() == name;
    (!fits || !plain)
        .then_some("is no name: 1 to 254 characters, none of them a control character, no blank at its ends")
}

/// One table of the file, taken apart.
struct Entry<'a> {
    place: String,
    fields: toml::Table,
    wrong: &'a mut Vec<String>,
}

impl<'a> Entry<'a> {
    fn new(place: String, value: Value, wrong: &'a mut Vec<String>) -> Self {
        let fields = if let Value::Table(fields) = value {
            fields
        } else {
            wrong.push(format!("{place} is no table, like [{place}]"));
            toml::Table::new()
        };
        Self { place, fields, wrong }
    }

    fn wrong(&mut self, fault: &str) {
        self.wrong.push(format!("{}: {fault}", self.place));
    }

    fn user(mut self) -> Option<User> {
        let password =
            self.text("password").and_then(|text| self.take("password", PasswordHash::parse(&text)));
        let api_key = self.text("api_key").and_then(|text| self.take("api_key", text.parse()));
        let standing = self.standing("role, tenants, password, api_key");
        standing.map(|standing| User { standing, password, api_key })
    }

    fn group(mut self) -> Option<Standing> {
        self.standing("role, tenants")
    }

    fn standing(&mut self, known: &str) -> Option<Standing> {
        let role = self.text("role").and_then(|text| {
            let role = Role::ALL.into_iter().find(|role| role.name() == text);
            self.take("role", role.ok_or("is none of viewer, operator, admin"))
        });
        if role.is_none() && !self.fields.contains_key("role") {
            self.wrong("has no role: viewer, operator or admin");
        }
        let tenants = self.tenants();
        for field in ["role", "tenants", "password", "api_key"] {
            if known.split(", ").any(|known| known == field) {
                self.fields.remove(field);
            }
        }
        for field in std::mem::take(&mut self.fields).keys() {
            self.wrong(&format!("there is no {field:?}; there are {known}"));
        }
        role.map(|role| Standing { role, tenants })
    }

    /// The tenants named. A fault narrows, and the file is not used anyway.
    fn tenants(&mut self) -> Option<BTreeSet<Tenant>> {
        let fault = "tenants must be a list of names, like [\"acme\"]";
        let Value::Array(names) = self.fields.get("tenants")?.clone() else {
            self.wrong(fault);
            return Some(BTreeSet::new());
        };
        let mut tenants = BTreeSet::new();
        for name in names {
            match name.as_str().map(str::parse) {
                Some(Ok(tenant)) => drop(tenants.insert(tenant)),
                Some(Err(error)) => self.wrong(&format!("{error}")),
                None => self.wrong(fault),
            }
        }
        Some(tenants)
    }

    fn text(&mut self, field: &str) -> Option<String> {
        if let Value::String(text) = self.fields.get(field)? {
            Some(text.clone())
        } else {
            self.wrong(&format!("{field} must be text in quotes"));
            None
        }
    }

    fn take<T>(&mut self, field: &str, parsed: Result<T, &'static str>) -> Option<T> {
        parsed.map_err(|fault| self.wrong(&format!("{field} {fault}"))).ok()
    }
}

/// The file on disk, as it was when it was last good.
#[derive(Debug)]
pub(crate) struct UsersFile {
    path: PathBuf,
    read: Mutex<(Option<Stamp>, Arc<Users>)>,
}

/// What changes with a file: when it was written, how long it is, and which file it is.
type Stamp = (Option<SystemTime>, u64, u64);

impl UsersFile {
    /// Reads the file.
    pub(crate) fn open(path: &Path) -> Result<Self, UsersError> {
        let stamp = stamp(path);
        let users = read(path)?;
        Ok(Self { path: path.to_owned(), read: Mutex::new((stamp, Arc::new(users))) })
    }

    /// Who may sign in now.
    pub(crate) fn users(&self) -> Arc<Users> {
        let mut read_before = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = stamp(&self.path);
        if stamp != read_before.0 {
            read_before.0 = stamp;
            match read(&self.path) {
                Ok(users) => {
                    tracing::info!("the users file has changed and was read again");
                    read_before.1 = Arc::new(users);
                }
                Err(error) => {
                    tracing::error!(
                        "{error}; who might sign in before still may, until the file is corrected"
                    );
                }
            }
        }
        read_before.1.clone()
    }
}

#[cfg(unix)]
fn stamp(path: &Path) -> Option<Stamp> {
    let file = std::fs::metadata(path).ok()?;
    Some((file.modified().ok(), file.len(), std::os::unix::fs::MetadataExt::ino(&file)))
}

#[cfg(not(unix))]
fn stamp(path: &Path) -> Option<Stamp> {
    let file = std::fs::metadata(path).ok()?;
    Some((file.modified().ok(), file.len(), 0))
}

/// Reads a users file, whole.
pub(crate) fn read(path: &Path) -> Result<Users, UsersError> {
    let shown = path.display();
    let text =
        std::fs::read_to_string(path).map_err(|error| UsersError(vec![format!("{shown}: {error}")]))?;
    let named = |wrong: Vec<String>| wrong.iter().map(|fault| format!("{shown}: {fault}")).collect();
    Users::parse(&text).map_err(|wrong| UsersError(named(wrong)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str =
        "$argon2id$v=19$m=19456,t=2,p=1$Rmt2cHlJZG9ZQ1hEbmZLNA$q0bJ2W7n3sYJ5bTg0pXw4LkR8vZc1uHfE6dMaQoNiSU";

    fn standing(role: Role, tenants: Option<&[&str]>) -> Standing {
        let tenants = tenants.map(|names| names.iter().map(|name| name.parse().unwrap()).collect());
        Standing { role, tenants }
    }

    #[test]
    fn a_file_of_every_kind_of_entry() {
        let key = Digest::of("fmk_x");
        let text = format!(
            "[users.ann]\nrole = \"admin\"\npassword = \"{HASH}\"\n\
             [users.\"bob@example.com\"]\nrole = \"operator\"\ntenants = [\"acme\"]\napi_key = \"{key}\"\n\
             [groups.ops]\nrole = \"viewer\"\ntenants = []\n"
        );
        let users = Users::parse(&text).unwrap();
        assert_eq!(users.user("ann").unwrap().standing, standing(Role::Admin, None));
        let (name, bob) = users.of_key(key).unwrap();
        assert_eq!((name, &bob.standing), ("bob@example.com", &standing(Role::Operator, Some(&["acme"]))));
        assert_eq!(users.groups().collect::<Vec<_>>(), [("ops", &standing(Role::Viewer, Some(&[])))]);
        assert!(users.user("Ann").is_none() && users.of_key(Digest::of("fmk_y")).is_none());
    }

    #[test]
    fn every_mistake_is_reported_at_once() {
        let key = Digest::of("fmk_x");
        let text = format!(
            "role = 1\n[users.ann]\nrole = \"root\"\npassword = \"hunter2\"\n[users.bob]\ntenants = [\"A b\", 5]\nmail = \"x\"\n\
             [users.\" carl\"]\nrole = \"viewer\"\ntenants = \"acme\"\napi_key = \"{key}\"\n[users.dora]\nrole = \"viewer\"\napi_key = \"{key}\"\n\
             [groups.ops]\nrole = 7\npassword = \"x\"\n[teams.x]\nrole = \"viewer\"\n"
        );
        let mut wrong = Users::parse(&text).unwrap_err();
        wrong.sort();
        let begins = [
            "groups.ops: role must be text in quotes",
            "groups.ops: there is no \"password\"; there are role, tenants",
            "role is no table, like [users.ann] or [groups.ops]",
            "teams.x: is unknown; there are [users.<name>] and [groups.<name>]",
            "users. carl: is no name",
            "users. carl: tenants must be a list of names, like [\"acme\"]",
            "users.ann: password is no hash of a password",
            "users.ann: role is none of viewer, operator, admin",
            "users.bob: \"A b\" is not a tenant name",
            "users.bob: has no role: viewer, operator or admin",
            "users.bob: tenants must be a list of names",
            "users.bob: there is no \"mail\"; there are role, tenants, password, api_key",
            "users.dora: api_key is that of  carl, too",
        ];
        assert_eq!(wrong.len(), begins.len(), "{wrong:#?}");
        for (fault, begin) in wrong.iter().zip(begins) {
            assert!(fault.starts_with(begin), "{fault} | {begin}");
        }
        assert_eq!(Users::parse("\n[users.ann\n").unwrap_err().len(), 1);
        assert!(Users::parse("\n[users.ann\n").unwrap_err()[0].starts_with("line 2: "));
    }

    #[test]
    fn the_name_comes_before_groups_and_the_highest_group_before_others() {
        let text = "[users.ann]\nrole = \"viewer\"\n[groups.all]\nrole = \"viewer\"\n\
                    [groups.one]\nrole = \"operator\"\ntenants = [\"acme\"]\n[groups.two]\nrole = \"operator\"\ntenants = [\"bolt\"]\n\
                    [groups.every]\nrole = \"operator\"\n";
        let users = Users::parse(text).unwrap();
        let check = |name: &str, groups: &[&str], expect: Option<Standing>| {
            let groups: Vec<_> = groups.iter().map(|group| (*group).to_owned()).collect();
            assert_eq!(users.standing(name, &groups), expect, "{name} {groups:?}");
        };
        check("ann", &["every"], Some(standing(Role::Viewer, None)));
        check("bob", &["all"], Some(standing(Role::Viewer, None)));
        check("bob", &["all", "one", "two"], Some(standing(Role::Operator, Some(&["acme", "bolt"]))));
        check("bob", &["one", "every"], Some(standing(Role::Operator, None)));
        check("bob", &["others"], None);
        check("bob", &[], None);
    }

    #[test]
    fn the_file_is_read_again_and_a_damaged_one_changes_nothing() {
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let write = |text: &str| std::fs::write(&path, text).unwrap();
        write("[users.ann]\nrole = \"viewer\"\n");
        let file = UsersFile::open(&path).unwrap();
        let role = || file.users().user("ann").map(|user| user.standing.role);
        assert_eq!(role(), Some(Role::Viewer));
        write("[users.ann]\nrole = \"operator\"\n");
        assert_eq!(role(), Some(Role::Operator));
        write("[users.ann]\nrole = \"nobody in particular\"\n");
        assert_eq!(role(), Some(Role::Operator));
        write("");
        assert_eq!(role(), None);
        let error = UsersFile::open(Path::new("/nowhere/users.toml")).unwrap_err().to_string();
        assert!(error.starts_with("/nowhere/users.toml: "), "{error}");
    }
}
