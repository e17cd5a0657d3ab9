//! `/tenants/{tenant}/snapshots/{run}/export`: the records of an entity as a file.

use std::collections::BTreeSet;
use std::path::Path;
use std::{fs, io};

use axum::body::{Body, Bytes};
use axum::extract::{self, Query, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use fermata_core::manifest::Manifest;
use fermata_engine::export::{self, Format};
use futures::stream;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use tempfile::TempDir;
use tokio::fs::File;
use tokio::io::AsyncReadExt;
use tokio::sync::OwnedSemaphorePermit;

use super::records::Source;
use super::snapshot::Of;
use crate::dashboard::problem::Problem;
use crate::dashboard::reading::apart;
use crate::dashboard::routes::{Asker, Theirs};
use crate::dashboard::{Shared, deeds};

/// Bytes that are sent at once.
const PIECE_BYTES: usize = 64 << 10;

/// How the name of a folder with records begins.
const PREFIX: &str = "fermata-export-";
/// How old a folder is that nobody downloads from any more.
const LEFT_AFTER: SignedDuration = SignedDuration::from_hours(24);

/// What of a snapshot, and as what.
#[derive(Debug, Deserialize)]
pub(crate) struct Asked {
    #[serde(default)]
    entity: String,
    #[serde(default)]
    format: String,
}

pub(crate) async fn download(
    State(app): State<Shared>,
    person: Asker,
    Theirs(tenant): Theirs,
    extract::Path(of): extract::Path<Of>,
    Query(asked): Query<Asked>,
) -> Result<Response, Problem> {
    let format: Format = match asked.format.as_str() {
        "" => Format::Ndjson,
        name => name.parse().map_err(|error: export::UnknownFormat| Problem::bad(error.to_string()))?,
    };
    let source = Source::find(&app, &tenant, &of.run, &asked.entity).await?;
    let Source { manifest, entity } = source;
    let Manifest { run, .. } = &manifest;
    let Some(data) = app.data.clone() else {
        let line = format!("fermata export {tenant} --snapshot {run} --entity {} --out FOLDER", entity.name);
        return Err(Problem::needs_data_key(&line));
    };
    let place = app.reading.download()?;
    deeds::note(&app, &person, "export", &format!("{tenant}/{run}/{}", entity.name), None).await?;
    let name = format!("{tenant}-{run}-{}.{format}", entity.name);
    let made = apart(async move {
        let folder = Folder { inner: tempfile::Builder::new().prefix(PREFIX).tempdir()?, _place: place };
        let only = BTreeSet::from([entity.name.to_owned()]);
        let files =
            export::export(&data, &manifest, &only, format, folder.inner.path(), false, |_, _| ()).await?;
        Ok::<_, anyhow::Error>((folder, files.into_iter().next()))
    });
    let (folder, Some(exported)) = made.await? else {
        return Err(Problem::missing(format!("this snapshot holds nothing of {}", entity.name)));
    };
    let file = File::open(&exported.file).await.map_err(anyhow::Error::from)?;
    let kind = match format {
        Format::Ndjson => "application/x-ndjson",
        Format::Csv => "text/csv; charset=utf-8",
        Format::Parquet => "application/vnd.apache.parquet",
    };
    let disposition = format!("attachment; filename=\"{name}\"");
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CONTENT_LENGTH, HeaderValue::from(exported.bytes)),
        (
            header::CONTENT_DISPOSITION,
            HeaderValue::from_str(&disposition).expect("names are of letters and digits"),
        ),
    ];
    Ok((headers, sent(file, folder)).into_response())
}

/// Records in clear on their way to somebody, and the place among the downloads that they take.
struct Folder {
    inner: TempDir,
    _place: OwnedSemaphorePermit,
}

/// Takes away the records that a page left behind which was killed.
pub(crate) fn clear(parent: &Path, now: Timestamp) -> io::Result<()> {
    for entry in parent.read_dir()? {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) || !entry.file_type()?.is_dir() {
            continue;
        }
        let changed = Timestamp::try_from(entry.metadata()?.modified()?).map_err(io::Error::other)?;
        if now.duration_since(changed) > LEFT_AFTER {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// A file piece by piece; its folder goes when all was sent, or nobody wants it any more.
fn sent(file: File, folder: Folder) -> Body {
    Body::from_stream(stream::try_unfold((file, folder), async |(mut file, folder)| {
        let mut piece = vec![0; PIECE_BYTES];
        let length = file.read(&mut piece).await?;
        piece.truncate(length);
        Ok::<_, io::Error>((length > 0).then(|| (Bytes::from(piece), (file, folder))))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_old_folders_of_downloads_are_taken_away() {
        let parent = tempfile::tempdir().unwrap();
        for name in ["fermata-export-a1b2c3", "fermata-data"] {
            fs::create_dir(parent.path().join(name)).unwrap();
        }
        let left = |now| {
            clear(parent.path(), now).unwrap();
            let names = parent.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name());
            names.collect::<BTreeSet<_>>()
        };
        let now = Timestamp::now();
        assert_eq!(left(now + SignedDuration::from_hours(23)).len(), 2, "somebody may be downloading it");
        let later = left(now + SignedDuration::from_hours(25));
        assert_eq!(later, BTreeSet::from(["fermata-data".into()]));
    }
}
