//! A snapshot as it is stored: signed, and following the one before.

use fermata_core::manifest::Manifest;
use fermata_core::names::{RunId, Tenant};

use super::{Depth, Flaw, Problem, Progress, Report};
use crate::error::VaultError;
use crate::layout;
use crate::seal;
use crate::store;
use crate::vault::Vault;

impl Vault {
    /// Checks a snapshot as it is stored; nothing if there is none of this name.
    ///
    /// Beside what [`verify`](Self::verify) checks: the signatures of the manifest and of the card, that the snapshot
    /// before is the one that this one followed, and that the tenant's settings are as they were written.
    pub async fn verify_snapshot(
        &self,
        tenant: &Tenant,
        run: &RunId,
        depth: Depth,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Option<Report>, VaultError> {
        let key = layout::snapshot(tenant, run);
        let Some(bytes) = self.door().find(&key).await? else { return Ok(None) };
        let problem = |what, salvage: &str| Problem {
            object: key.to_string(),
            entity: None,
            what,
            salvage: salvage.to_owned(),
        };
        let mut problems = Vec::new();
        if !self.is_signed(&bytes) {
            problems.push(problem(Flaw::Signature, "what it says is in doubt"));
        }
        let manifest: Option<Manifest> = match store::parse::<Manifest>(&key, &bytes) {
            Ok(manifest) if manifest.tenant != *tenant || manifest.run != *run => {
                problems.push(problem(
                    Flaw::Manifest("it holds the manifest of another snapshot"),
                    "nothing of this one",
                ));
                None
            }
            Ok(manifest) => Some(manifest),
            Err(VaultError::Corrupt { why, .. }) => {
                problems.push(problem(Flaw::Document(why), "its chunks, by hand"));
                None
            }
            Err(error) => return Err(error),
        };
        let mut report = match &manifest {
            Some(manifest) => self.examine(manifest, depth, progress).await?,
            None => Report::empty(run),
        };
        if let Some(manifest) = &manifest {
            self.follows(manifest, &mut problems, &mut report.notes).await?;
        }
        problems.extend(self.key_problems().await?);
        problems.extend(self.settings_problem(tenant).await?);
        report.problems.splice(0..0, problems);
        report.ok = report.problems.is_empty();
        self.advise(tenant, run, manifest.as_ref(), &mut report).await?;
        Ok(Some(report))
    }

    /// Whether the snapshot before is the one that was there.
    async fn follows(
        &self,
        manifest: &Manifest,
        problems: &mut Vec<Problem>,
        notes: &mut Vec<String>,
    ) -> Result<(), VaultError> {
        let Some(previous) = &manifest.previous else { return Ok(()) };
        let key = layout::snapshot(&manifest.tenant, &previous.run);
        match self.door().find(&key).await? {
            None => {
                notes.push(format!("the snapshot before it, {}, is gone: pruned or removed", previous.run));
            }
            Some(bytes) if seal::hex(&seal::sha256(&bytes)) == previous.sha256 => {}
            Some(_) => problems.push(Problem {
                object: key.to_string(),
                entity: None,
                what: Flaw::Previous(previous.run.clone()),
                salvage: "this snapshot is not touched by it".to_owned(),
            }),
        }
        Ok(())
    }

    /// What is wrong with the tenant's settings. They belong to no snapshot, but without them there is no next one.
    async fn settings_problem(&self, tenant: &Tenant) -> Result<Option<Problem>, VaultError> {
        match self.settings(tenant).await {
            Err(VaultError::Corrupt { key, why }) => Ok(Some(Problem {
                object: key,
                entity: None,
                what: Flaw::Document(why),
                salvage: "every record; delete it, and add the tenant and its token again".to_owned(),
            })),
            Err(error @ VaultError::Newer { .. }) => Err(error),
            found => found.map(|_| None),
        }
    }

    /// What is wrong with the card and the keys that came after.
    async fn key_problems(&self) -> Result<Vec<Problem>, VaultError> {
        let mut problems = Vec::new();
        for key in self.key_documents() {
            if !self.is_signed(&self.door().get(key).await?) {
                problems.push(Problem {
                    object: key.to_string(),
                    entity: None,
                    what: Flaw::Signature,
                    salvage: "a copy of it; records need it only for its keys".to_owned(),
                });
            }
        }
        Ok(problems)
    }
}

impl Report {
    fn empty(run: &RunId) -> Self {
        Self {
            snapshot: run.clone(),
            ok: false,
            data: false,
            ids: false,
            chunks: 0,
            records: 0,
            bytes: 0,
            read: 0,
            seed: None,
            problems: Vec::new(),
            notes: Vec::new(),
        }
    }
}
