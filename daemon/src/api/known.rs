//! How much of a contribution earlier ones hold: asked for, and held against the DataNet's limit when it is submitted.

use super::Api;
use super::error::ApiError;
use super::types::{ErrorDocument, KnownShown, RepeatShown};
use super::view::{View, parse, read};
use crate::node_process::content::MeasureError;
use attribution::near::Known;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use protocol::envelope::Verified;
use protocol::ids::ContributionId;
use protocol::ledger::keys;
use protocol::ledger::records::{Admission, AdmissionRecord, DataNetRecord};
use protocol::objects::{Contribution, Object};

/// How much of a contribution stands in earlier ones of its DataNet, but for light edits.
#[utoipa::path(get, path = "/v1/contributions/{id}/known", tag = "data",
    params(("id" = String, Path, description = "The contribution's id")), responses(
    (status = 200, description = "What is known of it, by the content that this node holds", body = KnownShown),
    (status = 404, description = "There is no such contribution, or its documents are not here", body = ErrorDocument),
))]
pub(super) async fn known(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<KnownShown>, ApiError> {
    let id: ContributionId = parse(&id)?;
    let unknown = move || ApiError::unknown("contribution", &id.to_string());
    let work = move |view: &View<'_>| {
        let admission: AdmissionRecord = view.record(&keys::admission(&id))?.ok_or_else(unknown)?;
        let datanet: DataNetRecord = view.record(&keys::datanet(&admission.datanet))?.ok_or_else(unknown)?;
        let found = view.0.object(&id.into())?.ok_or_else(unknown)?;
        let Object::Contribution(contribution) = Verified::from_disk(found.envelope)?.object().clone() else {
            return Err(unknown());
        };
        let order = match admission.state {
            Admission::Admitted { order, .. } => order,
            _ => u64::MAX,
        };
        Ok((contribution, order, datanet.max_known_basis_points))
    };
    let (contribution, order, limit) = read(&api.services, work).await?;
    match api.services.content.known(contribution, Some(order)).await {
        Ok(Some(known)) => Ok(Json(shown(id, &known, limit))),
        Ok(None) => Err(ApiError::unknown("copy on this node of the documents of contribution", &id.to_string())),
        Err(error) => Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", error.to_string())),
    }
}

/// Refuses a contribution of which more is known than its DataNet allows, if its documents are here. Where they are not,
/// validators measure it when a manifest adds it.
pub(super) async fn check(api: &Api, contribution: &Contribution) -> Result<(), ApiError> {
    match api.services.content.known(contribution.clone(), None).await {
        Err(MeasureError::TooMuch(known)) => {
            Err(ApiError::new(StatusCode::CONFLICT, "known", format!("too little of it is new: {known}")))
        }
        // Whatever else is wrong with it is said by whoever takes it.
        Err(MeasureError::Failed(reason)) => {
            tracing::debug!("a contribution was not measured: {reason}");
            Ok(())
        }
        Ok(_) => Ok(()),
    }
}

fn shown(id: ContributionId, known: &Known, limit: u32) -> KnownShown {
    KnownShown {
        contribution: id.to_string(),
        words: known.words,
        known_words: known.known_words,
        known_basis_points: known.share_basis_points(),
        max_known_basis_points: limit,
        repeated_documents: known.repeated_documents,
        repeats: known
            .repeats
            .iter()
            .map(|repeat| RepeatShown {
                contribution: repeat.contribution.to_string(),
                document: repeat.document,
                words: repeat.words,
            })
            .collect(),
    }
}
