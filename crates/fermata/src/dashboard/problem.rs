//! What a page or an answer of the API cannot do, and why.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use fermata_core::names::Tenant;
use fermata_fleet::{LinkError, ProduceError};
use fermata_vault::VaultError;

use crate::exit;
use crate::out;

/// A request that was not carried out.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    /// What is wrong, and what would be right.
    pub(crate) what: String,
    /// What to do about it, where `what` does not say so.
    pub(crate) hint: Option<String>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, what: impl Into<String>) -> Self {
        Self { status, what: what.into(), hint: None }
    }

    /// What was asked for cannot be.
    pub(crate) fn bad(what: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, what)
    }

    /// There is no such thing, or none that this person may know of.
    pub(crate) fn missing(what: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, what)
    }

    /// It is otherwise than whoever asked believed.
    pub(crate) fn conflict(what: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, what)
    }

    /// It needs the key to records, which this page was not given; `line` does it on the command line.
    pub(crate) fn needs_data_key(line: &str) -> Self {
        Self {
            hint: Some(format!("where the key is: {line}")),
            ..Self::conflict("this page was not given the key to records (--data-key)")
        }
    }

    pub(crate) fn no_tenant(tenant: &Tenant) -> Self {
        Self::missing(format!("there is no tenant {tenant}"))
    }
}

impl From<anyhow::Error> for Problem {
    fn from(error: anyhow::Error) -> Self {
        let away = error.chain().any(|cause| {
            cause.downcast_ref().is_some_and(LinkError::may_pass)
                || cause.downcast_ref().is_some_and(VaultError::is_transient)
        });
        let taken = error.chain().any(|cause| matches!(cause.downcast_ref(), Some(VaultError::Taken { .. })));
        let status = match exit::code(&error) {
            _ if away => StatusCode::SERVICE_UNAVAILABLE,
            _ if taken => StatusCode::CONFLICT,
            exit::USAGE | exit::TOKEN => StatusCode::UNPROCESSABLE_ENTITY,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!("{}", out::causes(&error));
        }
        Self { status, what: out::causes(&error), hint: exit::hint(&error).map(str::to_owned) }
    }
}

impl From<VaultError> for Problem {
    fn from(error: VaultError) -> Self {
        anyhow::Error::from(error).into()
    }
}

impl From<LinkError> for Problem {
    fn from(error: LinkError) -> Self {
        anyhow::Error::from(error).into()
    }
}

impl From<ProduceError> for Problem {
    fn from(error: ProduceError) -> Self {
        anyhow::Error::from(error).into()
    }
}

/// Only says what it is; whoever knows whether a person or a program asked puts it into words.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}
