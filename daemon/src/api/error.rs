//! Refusals as answers: a status, one word, a sentence. Every one is counted.

use super::types::{ErrorBody, ErrorDocument};
use crate::metrics;
use crate::proof::Unbuilt;
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use protocol::refusal::Refusal;
use storage::{BlobError, StoreError};

/// Why a request has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    /// A path's or query's part that cannot be read.
    pub(super) fn malformed(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", message)
    }

    /// The ledger knows it, and its block is not here any more, or never was.
    pub(super) fn pruned(what: &str, id: &str) -> Self {
        let message = format!("the block with {what} {id} is not on this node: ask one that keeps all blocks");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message)
    }

    /// As much is under way as there are places for.
    pub(super) fn busy(limit: usize, what: &str) -> Self {
        let message = format!("{limit} {what} are under way, as many as this node has places for; try again soon");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "full", message)
    }

    /// What is asked for is not here.
    pub(super) fn unknown(what: &str, id: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "unknown", format!("there is no {what} {id}"))
    }
}

/// The status that says to programs what the word says to people.
fn status_of(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::Unknown { .. } => StatusCode::NOT_FOUND,
        Refusal::Duplicate { .. }
        | Refusal::Repeated { .. }
        | Refusal::Nonce { .. }
        | Refusal::Taken { .. }
        | Refusal::State { .. } => StatusCode::CONFLICT,
        Refusal::Oversize { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        Refusal::Funds { .. } => StatusCode::PAYMENT_REQUIRED,
        Refusal::Forbidden { .. } => StatusCode::FORBIDDEN,
        Refusal::Full { .. } | Refusal::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::BAD_REQUEST,
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        Self::new(status_of(&refusal), refusal.as_str(), refusal.to_string())
    }
}

impl From<Unbuilt> for ApiError {
    fn from(unbuilt: Unbuilt) -> Self {
        match unbuilt {
            Unbuilt::Refused(refusal) => refusal.into(),
            Unbuilt::Early { height, epoch_ms } => {
                let wait = epoch_ms.div_ceil(1000);
                let message = format!(
                    "epoch {height}, which signs the proof's state, is not decided yet: epochs take {wait} s and more; ask again"
                );
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "early", message)
            }
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        tracing::error!("the database cannot be read: {error}");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", format!("the database cannot be read: {error}"))
    }
}

impl From<BlobError> for ApiError {
    fn from(error: BlobError) -> Self {
        let (status, code) = match &error {
            BlobError::Quota { .. } | BlobError::Full { .. } | BlobError::Busy { .. } => {
                (StatusCode::SERVICE_UNAVAILABLE, "full")
            }
            BlobError::Range { .. } | BlobError::Length { .. } | BlobError::Mismatch { .. } => {
                (StatusCode::BAD_REQUEST, "field")
            }
            _ => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        metrics::refused("api", self.code);
        let error = ErrorBody { code: self.code.to_owned(), message: self.message };
        (self.status, Json(ErrorDocument { error })).into_response()
    }
}
