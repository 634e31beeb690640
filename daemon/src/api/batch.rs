//! `POST /v1/receipts`: one receipt, or many with a reply for each.
//!
//! A service that answers many prompts has many receipts; one request for each of them would cost more than checking and
//! keeping it. A batch is checked as one, and what of it is good is durable by one synced write before any reply.

use super::Api;
use super::error::ApiError;
use super::objects::{self, MAX_SUBMISSION_BYTES, accept, body, is_json, of_kind, unchecked};
use super::types::{BatchReply, EnvelopeJson, ErrorDocument, ReceiptReply, ReceiptsGiven, ReceiptsTaken};
use super::view::blocking;
use crate::metrics;
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_LENGTH;
use axum::http::{HeaderMap, StatusCode};
use protocol::crypto::Kind;
use protocol::envelope::Verified;
use protocol::ids::ObjectId;
use protocol::objects::Envelope;
use protocol::refusal::Refusal;

/// Receipts of one request: enough to share what a request costs, few enough to be answered at once.
pub const MAX_BATCH_RECEIPTS: usize = 1_000;
/// Bytes of such a request. A usual receipt takes 1.5 KiB as JSON; of long answers fewer fit.
pub const MAX_BATCH_BYTES: usize = 4 * 1024 * 1024;
/// Large requests that are received at once: each is held in memory.
pub(super) const MAX_BATCHES: usize = 16;

/// Takes a receipt, or an array of up to 1,000 receipts of 4 MiB together, and nothing else: `202` when whatever is
/// called `pooled` is durable on this node. An array has one reply for each receipt, in its order.
#[utoipa::path(post, path = "/v1/receipts", tag = "receipts",
    request_body(content((ReceiptsGiven = "application/json"), (Vec<u8> = "application/octet-stream")),
        description = "The envelope as JSON, an array of such envelopes, or the protobuf bytes of one as \
                       application/octet-stream"),
    responses(
        (status = 202, description = "It waits for a block; of an array, each reply says so", body = ReceiptsTaken),
        (status = 400, description = "It is wrong in itself", body = ErrorDocument),
        (status = 402, description = "Its payer cannot pay", body = ErrorDocument),
        (status = 404, description = "There is no such model", body = ErrorDocument),
        (status = 409, description = "It is known already", body = ErrorDocument),
        (status = 413, description = "It is too large", body = ErrorDocument),
        (status = 503, description = "No room, or stopping", body = ErrorDocument),
))]
pub(super) async fn submit(
    State(api): State<Api>,
    headers: HeaderMap,
    request: Body,
) -> Result<(StatusCode, Json<ReceiptsTaken>), ApiError> {
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    let is_small = announced.is_some_and(|bytes| bytes <= MAX_SUBMISSION_BYTES);
    let (limit, _place) = if is_small || !is_json(&headers) {
        (MAX_SUBMISSION_BYTES, None)
    } else {
        let stopping = |_| Refusal::Unavailable { reason: "the node is stopping".to_owned() };
        (MAX_BATCH_BYTES, Some(api.batches.acquire().await.map_err(stopping)?))
    };
    let bytes = body("the submission", limit, &headers, request).await?;
    let is_array = is_json(&headers) && bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    let taken = match is_array {
        true => ReceiptsTaken::Many(accept_all(&api, bytes).await?),
        false => ReceiptsTaken::One(accept(&api, is_json(&headers), &bytes, Some(Kind::Receipt)).await?),
    };
    Ok((StatusCode::ACCEPTED, Json(taken)))
}

async fn accept_all(api: &Api, bytes: Vec<u8>) -> Result<BatchReply, ApiError> {
    let read = move || {
        let all: Vec<EnvelopeJson> =
            serde_json::from_slice(&bytes).map_err(|error| objects::malformed(error.to_string()))?;
        if all.len() > MAX_BATCH_RECEIPTS {
            let (got, limit) = (all.len() as u64, MAX_BATCH_RECEIPTS as u64);
            return Err(Refusal::TooMany { what: "receipts of the request", got, limit }.into());
        }
        let read = |json: &EnvelopeJson| {
            let envelope = objects::envelope(json)?;
            of_kind(envelope.kind, Some(Kind::Receipt)).map(|()| envelope)
        };
        Ok(all.iter().map(read).collect::<Vec<Result<Envelope, Refusal>>>())
    };
    let envelopes = blocking(read).await?;
    let checked = check(api, envelopes).await?;
    let (good, places): (Vec<Verified>, Vec<Option<Refusal>>) = split(checked);
    let mut pooled = api.services.driver.submit_all(good).await.into_iter();
    let results = places.into_iter().map(|refused| match refused {
        Some(refusal) => Err(refusal),
        None => pooled.next().unwrap_or_else(|| Err(unchecked())),
    });
    let receipts: Vec<ReceiptReply> = results.map(reply).collect();
    let accepted = receipts.iter().filter(|each| each.code.is_none()).count();
    Ok(BatchReply { accepted, refused: receipts.len() - accepted, receipts })
}

/// Checks what could be read.
async fn check(
    api: &Api,
    envelopes: Vec<Result<Envelope, Refusal>>,
) -> Result<Vec<Result<Verified, Refusal>>, ApiError> {
    let (readable, places) = split(envelopes);
    let mut checked = api.services.checks.check(readable).await?.into_iter();
    let verdict = |refused: Option<Refusal>| match refused {
        Some(refusal) => Err(refusal),
        None => checked.next().unwrap_or_else(|| Err(unchecked())),
    };
    Ok(places.into_iter().map(verdict).collect())
}

/// What is good, and for each place why not, or none where the next good one belongs.
fn split<T>(results: Vec<Result<T, Refusal>>) -> (Vec<T>, Vec<Option<Refusal>>) {
    let mut good = Vec::with_capacity(results.len());
    let place = |result| match result {
        Ok(value) => {
            good.push(value);
            None
        }
        Err(refusal) => Some(refusal),
    };
    let places = results.into_iter().map(place).collect();
    (good, places)
}

fn reply(result: Result<ObjectId, Refusal>) -> ReceiptReply {
    match result {
        Ok(id) => ReceiptReply { id: Some(id.to_string()), state: "pooled".to_owned(), code: None, message: None },
        Err(refusal) => {
            metrics::refused("api", refusal.as_str());
            let (code, message) = (Some(refusal.as_str().to_owned()), Some(refusal.to_string()));
            ReceiptReply { id: None, state: "refused".to_owned(), code, message }
        }
    }
}
