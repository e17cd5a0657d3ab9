//! `/tenants/{tenant}/snapshots/{run}/export`: the records of an entity as a file.

use std::collections::BTreeSet;

use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use fermata_core::manifest::Manifest;
use fermata_engine::export::{self, Format};
use futures::stream;
use serde::Deserialize;
use tempfile::TempDir;
use tokio::fs::File;
use tokio::io::AsyncReadExt;

use super::records::Source;
use super::snapshot::Of;
use crate::dashboard::problem::Problem;
use crate::dashboard::reading::apart;
use crate::dashboard::routes::{Asker, Theirs};
use crate::dashboard::{Shared, deeds};

/// Bytes that are sent at once.
const PIECE_BYTES: usize = 64 << 10;

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
    Path(of): Path<Of>,
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
    deeds::note(&app, &person, "export", &format!("{tenant}/{run}/{}", entity.name), None).await?;
    let name = format!("{tenant}-{run}-{}.{format}", entity.name);
    let made = apart(&app, async move {
        let folder = tempfile::Builder::new().prefix("fermata-export-").tempdir()?;
        let only = BTreeSet::from([entity.name.to_owned()]);
        let files = export::export(&data, &manifest, &only, format, folder.path(), false, |_, _| ()).await?;
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

/// A file piece by piece; its folder goes when all was sent, or nobody wants it any more.
fn sent(file: File, folder: TempDir) -> Body {
    Body::from_stream(stream::try_unfold((file, folder), async |(mut file, folder)| {
        let mut piece = vec![0; PIECE_BYTES];
        let length = file.read(&mut piece).await?;
        piece.truncate(length);
        Ok::<_, std::io::Error>((length > 0).then(|| (Bytes::from(piece), (file, folder))))
    }))
}
