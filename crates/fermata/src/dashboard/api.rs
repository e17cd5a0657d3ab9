//! `/api/v1`: what the pages show and do, for programs, in the documents that the commands write.
//!
//! `api/openapi.json` describes it; a test holds it against the table of routes.

pub(crate) mod failures;
pub(crate) mod jobs;
pub(crate) mod queue;
pub(crate) mod snapshots;
pub(crate) mod tenants;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::problem::Problem;

const OPENAPI: &str = include_str!("api/openapi.json");

/// A document as JSON.
pub(crate) type Answer<T> = Result<Json<T>, Problem>;

/// Describes the API.
pub(crate) async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

/// What a request brings. No body stands for an empty one.
#[derive(Debug)]
pub(crate) struct Sent<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Sent<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let bad = |what: String| Problem::new(StatusCode::BAD_REQUEST, what);
        let bytes = Bytes::from_request(request, state).await.map_err(|error| bad(error.to_string()))?;
        let text = if bytes.is_empty() { &b"{}"[..] } else { &bytes };
        serde_json::from_slice(text).map(Self).map_err(|error| bad(format!("the body: {error}")))
    }
}

/// That something was done, where there is nothing to show for it.
#[derive(Debug, Serialize)]
pub(crate) struct Done {
    schema: u32,
    done: bool,
}

pub(crate) fn done() -> Json<Done> {
    Json(Done { schema: fermata_core::FORMAT, done: true })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::dashboard::routes::{self, API, Need};

    #[test]
    fn the_description_names_every_route_and_who_may() {
        let document: serde_json::Value = serde_json::from_str(OPENAPI).unwrap();
        let mut described = BTreeMap::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            for (method, about) in
                methods.as_object().unwrap().iter().filter(|(name, _)| *name != "parameters")
            {
                let role = about["x-role"].as_str().unwrap().to_owned();
                described.insert((path.clone(), method.to_uppercase()), role);
            }
        }
        let mut served = BTreeMap::new();
        for route in routes::table() {
            let Some(path) = route.path.strip_prefix(API) else { continue };
            let role = match route.need {
                Need::Public => "anybody",
                Need::Role(role) => role.name(),
            };
            served.insert((path.to_owned(), route.method.to_string()), role.to_owned());
        }
        assert_eq!(described, served);
    }
}
