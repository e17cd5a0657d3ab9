//! The pages of `fermata dashboard` with five thousand tenants and a hundred thousand failed jobs. `just bench dashboard`.

pub(crate) mod crowd;

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use fermata_fleet::{Link, Queue};
use fermata_vault::{Environment, Identity, InitOptions, Vault};
use jiff::Timestamp;

use crate::sheet;

/// The first argument, for data to look at: `just bench dashboard-data FOLDER REDIS`.
pub(crate) const DATA: &str = "dashboard-data";

const TENANTS: usize = 5_000;

/// Makes a vault and its key in a folder that has none, and failed jobs in a Redis; `fermata dashboard` can be started on them.
pub(crate) async fn data(args: &[String]) -> Result<()> {
    let (folder, rest) = args.split_first().context("which folder? dashboard-data FOLDER REDIS [TENANTS]")?;
    let (redis, rest) = rest
        .split_first()
        .context("which Redis? dashboard-data FOLDER redis://127.0.0.1:6379/0 [TENANTS]")?;
    let tenants = rest.first().map_or(Ok(TENANTS), |tenants| tenants.parse())?;
    let (began, now) = (Instant::now(), Timestamp::now());
    let vault = vault(Path::new(folder), now).await?;
    crowd::settle(&vault, tenants, now).await?;
    sheet::note(&format!("{tenants} tenants after {:.1?}", began.elapsed()));
    let failed = crowd::fail(&Queue::new(Link::new(redis, vault.id())?), tenants, now).await?;
    sheet::note(&format!("{failed} failed jobs after {:.1?}", began.elapsed()));
    sheet::note(&format!("cd {folder} && FERMATA_REDIS={redis} fermata dashboard"));
    Ok(())
}

/// A new vault in a folder, as `fermata init` makes it.
async fn vault(folder: &Path, now: Timestamp) -> Result<Vault> {
    let (store, key) = (folder.join("fermata-data"), folder.join("fermata.key"));
    std::fs::create_dir_all(&store)?;
    let identity = Identity::generate();
    identity.write_new(&key, now)?;
    let open = || {
        let store = store.to_str().context("a path of plain letters")?;
        Ok::<_, anyhow::Error>(fermata_vault::open(store, &Environment::default())?)
    };
    let worker = identity.recipient();
    let data_recipients = vec![identity.recipient()];
    Vault::init(open()?, InitOptions { worker, data_recipients, single_writer: false, now }).await?;
    Ok(Vault::open(open()?, [identity]).await?)
}
