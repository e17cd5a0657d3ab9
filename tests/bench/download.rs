//! The same pages, fetched and thrown away: what HTTP and gzip alone cost. Runs as a process of its own.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use reqwest::header::CONTENT_TYPE;

use crate::site::{Site, TOKEN};

/// The argument that makes this program the download.
pub(crate) const NAME: &str = "download";
/// Worklogs on a page.
pub(crate) const PAGE_ROWS: usize = 5_000;

/// The command that downloads all worklogs of a site.
pub(crate) fn command(site: &Site, worklogs: usize) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args([NAME, &site.url, &worklogs.div_ceil(PAGE_ROWS).to_string()]);
    Ok(command)
}

/// Downloads: the address, the number of pages.
pub(crate) fn run(args: &[String]) -> Result<()> {
    let [url, pages] = args else { anyhow::bail!("download URL PAGES") };
    let pages: usize = pages.parse()?;
    // As `fermata` has it.
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(download(url, pages))
}

async fn download(url: &str, pages: usize) -> Result<()> {
    let client = reqwest::Client::new();
    let body = r#"{"orderBy":[{"field":"UPDATED","order":"ASC"},{"field":"ID","order":"ASC"}]}"#;
    let mut bytes = 0;
    for page in 0..pages {
        let url = format!("{url}/4/worklogs/search?limit={PAGE_ROWS}&offset={}", page * PAGE_ROWS);
        let request = client.post(url).bearer_auth(TOKEN).header(CONTENT_TYPE, "application/json").body(body);
        let mut response = request.send().await?.error_for_status()?;
        while let Some(piece) = response.chunk().await.context("the connection broke off")? {
            bytes += piece.len();
        }
    }
    ensure!(bytes > pages * PAGE_ROWS, "{bytes} bytes are no worklogs");
    Ok(())
}
