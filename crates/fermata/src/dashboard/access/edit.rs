//! Changes the users file, and leaves what else is in it as somebody wrote it: order, comments, entries.

use std::io::Write;
use std::path::{Path, PathBuf};

use fermata_core::names::Tenant;
use toml_edit::{Array, DocumentMut, Item, Table, TableLike, value};

use super::password::PasswordHash;
use super::person::Standing;
use super::secrets::Digest;
use super::users::{Users, UsersError};

/// The text of a users file, to be changed.
#[derive(Debug)]
pub(crate) struct Draft {
    path: PathBuf,
    document: DocumentMut,
}

impl Draft {
    /// Opens a users file, which must be without a mistake; one that is not there is empty.
    pub(crate) fn open(path: &Path) -> Result<(Self, Users), UsersError> {
        let shown = path.display();
        // It may be a link to where it really is.
        let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let text = match std::fs::read_to_string(&real) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(UsersError(vec![format!("{shown}: {error}")])),
        };
        let named = |fault: &String| format!("{shown}: {fault}");
        let users = Users::parse(&text).map_err(|wrong| UsersError(wrong.iter().map(named).collect()))?;
        let document = text.parse().map_err(|error| UsersError(vec![format!("{shown}: {error}")]))?;
        Ok((Self { path: real, document }, users))
    }

    /// Sets what somebody may do.
    pub(crate) fn set_standing(&mut self, name: &str, standing: &Standing) {
        let user = self.user(name);
        user.insert("role", value(standing.role.name()));
        match &standing.tenants {
            Some(tenants) => {
                let names: Array = tenants.iter().map(Tenant::as_str).collect();
                user.insert("tenants", value(names));
            }
            None => drop(user.remove("tenants")),
        }
    }

    /// Sets somebody's password, or takes it away.
    pub(crate) fn set_password(&mut self, name: &str, password: Option<&PasswordHash>) {
        let user = self.user(name);
        match password {
            Some(hash) => drop(user.insert("password", value(hash.as_str()))),
            None => drop(user.remove("password")),
        }
    }

    /// Sets somebody's API key.
    pub(crate) fn set_api_key(&mut self, name: &str, key: Digest) {
        self.user(name).insert("api_key", value(key.to_string()));
    }

    /// Takes somebody out.
    pub(crate) fn remove(&mut self, name: &str) {
        if let Some(users) = self.document.get_mut("users").and_then(Item::as_table_like_mut) {
            users.remove(name);
        }
    }

    /// Writes the file, whole or not at all, for nobody else to read.
    pub(crate) fn save(self) -> anyhow::Result<()> {
        let text = self.document.to_string();
        Users::parse(&text).map_err(UsersError)?;
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        // Such a file is made with mode 0600.
        let mut file = tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(&self.path)?;
        Ok(())
    }

    fn user(&mut self, name: &str) -> &mut dyn TableLike {
        const SOUND: &str = "a file without a mistake has tables of users";
        let users = self.document.entry("users").or_insert_with(|| {
            let mut users = Table::new();
            users.set_implicit(true);
            Item::Table(users)
        });
        let users = users.as_table_like_mut().expect(SOUND);
        let user = users.entry(name).or_insert_with(|| Item::Table(Table::new()));
        user.as_table_like_mut().expect(SOUND)
    }
}

#[cfg(test)]
mod tests {
    use super::super::person::Role;
    use super::*;

    #[test]
    fn what_somebody_wrote_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.toml");
        std::fs::write(
            &path,
            "# ours\n[users.bob]\nrole = \"viewer\" # for now\n\n[groups.ops]\nrole = \"admin\"\n",
        )
        .unwrap();
        let (mut draft, users) = Draft::open(&path).unwrap();
        assert!(users.user("bob").is_some());
        let tenants = Some(["acme".parse().unwrap()].into());
        draft.set_standing("ann@example.com", &Standing { role: Role::Operator, tenants });
        draft.set_api_key("ann@example.com", Digest::of("x"));
        draft.set_password("bob", None);
        draft.save().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let expect = format!(
            "# ours\n[users.bob]\nrole = \"viewer\" # for now\n\n[users.\"ann@example.com\"]\nrole = \"operator\"\ntenants = [\"acme\"]\napi_key = \"{}\"\n\n[groups.ops]\nrole = \"admin\"\n",
            Digest::of("x")
        );
        assert_eq!(text, expect);
        let (mut draft, _) = Draft::open(&path).unwrap();
        draft.remove("ann@example.com");
        draft.set_standing("bob", &Standing { role: Role::Admin, tenants: None });
        draft.save().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("# ours\n[users.bob]\nrole = \"admin\"") && !text.contains("ann"), "{text}");
    }

    #[cfg(unix)]
    #[test]
    fn nobody_else_may_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.toml");
        let (mut draft, _) = Draft::open(&path).unwrap();
        draft.set_standing("ann", &Standing { role: Role::Admin, tenants: None });
        draft.save().unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "[users.ann]\nrole = \"admin\"\n");
        std::fs::write(&path, "[users.ann]\n").unwrap();
        assert!(
            Draft::open(&path)
                .unwrap_err()
                .to_string()
                .ends_with("users.ann: has no role: viewer, operator or admin")
        );
    }
}
