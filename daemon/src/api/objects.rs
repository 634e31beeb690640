//! Submitting objects, and following what became of them.

use super::Api;
use super::error::ApiError;
use super::known;
use super::receipts::receipt_state;
use super::types::{Accepted, EnvelopeJson, ErrorDocument, ObjectShown, SignatureJson};
use super::view::{View, parse, read};
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use futures::StreamExt as _;
use protocol::crypto::{Kind, Signature};
use protocol::ids::{Account, Hash32, ObjectId, to_hex};
use protocol::ledger::keys;
use protocol::ledger::records::{Admission, AdmissionRecord, ManifestState, ManifestStatus};
use protocol::limits::{MAX_ENVELOPE_BYTES, MAX_GOSSIP_BYTES};
use protocol::objects::{Envelope, Object};
use protocol::refusal::Refusal;
use protocol::wire::{decode_envelope, gossip_room};
use std::collections::{BTreeMap, VecDeque};
use std::sync::PoisonError;
use std::time::Duration;
use storage::Place;

/// Objects dropped from the pool whose reasons are remembered; the oldest are forgotten first.
const MAX_DROPPED: usize = 10_000;
/// Bytes of a submission: an envelope in hex, with its frame.
pub(super) const MAX_SUBMISSION_BYTES: usize = 2 * MAX_ENVELOPE_BYTES + 4096;
/// Bytes of a body that is too large which are read and thrown away, so that its sender gets to read the answer.
const MAX_DISCARDED_BYTES: usize = 16 * 1024 * 1024;

/// How long the notice of a dropped object may be on its way here after the object left the disk.
const NOTICE_WITHIN: Duration = Duration::from_millis(100);

/// What was dropped from the pool, and why.
#[derive(Debug, Default)]
pub(super) struct Dropped {
    reasons: BTreeMap<ObjectId, Refusal>,
    order: VecDeque<ObjectId>,
}

impl Dropped {
    pub(super) fn insert(&mut self, id: ObjectId, refusal: Refusal) {
        if self.reasons.insert(id, refusal).is_none() {
            self.order.push_back(id);
        }
        if self.order.len() > MAX_DROPPED
            && let Some(oldest) = self.order.pop_front()
        {
            self.reasons.remove(&oldest);
        }
    }

    fn get(&self, id: &ObjectId) -> Option<Refusal> {
        self.reasons.get(id).cloned()
    }
}

/// The bytes of a request's body, unless they are more than `limit`.
pub(super) async fn body(
    what: &'static str,
    limit: usize,
    headers: &HeaderMap,
    body: Body,
) -> Result<Vec<u8>, ApiError> {
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let mut bytes = Vec::new();
    let mut got = 0;
    let mut stream = body.into_data_stream();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|error| ApiError::malformed(format!("{what} broke off: {error}")))?;
        got += chunk.len();
        if got <= limit {
            bytes.extend_from_slice(&chunk);
        } else {
            bytes = Vec::new();
            if got > limit.saturating_add(MAX_DISCARDED_BYTES) {
                break;
            }
        }
    }
    if got > limit {
        let got = announced.unwrap_or(got as u64).max(got as u64);
        return Err(Refusal::Oversize { what, got, limit: limit as u64 }.into());
    }
    Ok(bytes)
}

/// Takes an object: `202` when it is durable on this node.
#[utoipa::path(post, path = "/v1/objects", tag = "objects",
    request_body(content((EnvelopeJson = "application/json"), (Vec<u8> = "application/octet-stream")),
        description = "The envelope as JSON, or its protobuf bytes as application/octet-stream"),
    responses(
        (status = 202, description = "It waits for a block", body = Accepted),
        (status = 400, description = "It is wrong in itself", body = ErrorDocument),
        (status = 402, description = "Its author cannot pay", body = ErrorDocument),
        (status = 403, description = "Its author may not", body = ErrorDocument),
        (status = 404, description = "It names something that is not there", body = ErrorDocument),
        (status = 409, description = "It is known already, or out of order", body = ErrorDocument),
        (status = 413, description = "It is too large", body = ErrorDocument),
        (status = 503, description = "No room, or stopping", body = ErrorDocument),
))]
pub(super) async fn submit(
    State(api): State<Api>,
    headers: HeaderMap,
    request: Body,
) -> Result<(StatusCode, Json<Accepted>), ApiError> {
    let bytes = body("the submission", MAX_SUBMISSION_BYTES, &headers, request).await?;
    let accepted = accept(&api, is_json(&headers), &bytes, None).await?;
    Ok((StatusCode::ACCEPTED, Json(accepted)))
}

/// Takes one envelope, of any kind or of one alone.
pub(super) async fn accept(api: &Api, is_json: bool, bytes: &[u8], only: Option<Kind>) -> Result<Accepted, ApiError> {
    if bytes.len() > MAX_SUBMISSION_BYTES {
        let (got, limit) = (bytes.len() as u64, MAX_SUBMISSION_BYTES as u64);
        return Err(Refusal::Oversize { what: "the submission", got, limit }.into());
    }
    let envelope = if is_json { envelope_of(bytes)? } else { decode_envelope(bytes)? };
    let kind = envelope.kind;
    let object = api.services.checks.check(vec![envelope]).await?.pop().unwrap_or_else(|| Err(unchecked()))?;
    of_kind(kind, only)?;
    if let Object::Contribution(contribution) = object.object() {
        known::check(api, contribution).await?;
    }
    let id = api.services.driver.submit(object).await?;
    Ok(Accepted { id: id.to_string(), state: "pooled".to_owned() })
}

pub(super) fn is_json(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_none_or(|kind| !kind.as_bytes().starts_with(b"application/octet-stream"))
}

/// Every envelope that is given to be checked comes back.
pub(super) fn unchecked() -> Refusal {
    Refusal::Unavailable { reason: "it was not checked".to_owned() }
}

/// Where one kind alone is taken, others are refused.
pub(super) fn of_kind(kind: Kind, only: Option<Kind>) -> Result<(), Refusal> {
    match only {
        Some(only) if only != kind => {
            let reason = format!("this is a {}; other objects go to /v1/objects", kind.as_str());
            Err(Refusal::Malformed { kind: only.as_str(), reason })
        }
        _ => Ok(()),
    }
}

pub(super) fn malformed(reason: String) -> Refusal {
    Refusal::Malformed { kind: "submission", reason }
}

fn envelope_of(bytes: &[u8]) -> Result<Envelope, Refusal> {
    envelope(&serde_json::from_slice(bytes).map_err(|error| malformed(error.to_string()))?)
}

/// The envelope that JSON says.
pub(crate) fn envelope(json: &EnvelopeJson) -> Result<Envelope, Refusal> {
    let named = Kind::ALL.into_iter().find(|kind| kind.as_str() == json.kind);
    let kind = named.ok_or_else(|| malformed(format!("there is no kind {:?}", json.kind)))?;
    let payload = from_hex(&json.payload).ok_or_else(|| malformed("the payload is not lower-case hex".to_owned()))?;
    let mut signatures = Vec::new();
    for signed in &json.signatures {
        let signer: Account = signed.signer.parse().map_err(|error| malformed(format!("signer: {error}")))?;
        let signature = from_hex(&signed.signature).and_then(|bytes| bytes.try_into().ok());
        let signature = signature.ok_or_else(|| malformed("a signature is 64 bytes in lower-case hex".to_owned()))?;
        signatures.push((signer, Signature(signature)));
    }
    let envelope = Envelope { kind, payload, signatures };
    // The wire's bounds hold for whichever way an envelope comes.
    let size = gossip_room(&envelope);
    if size > MAX_GOSSIP_BYTES {
        let (got, limit) = (size as u64, MAX_GOSSIP_BYTES as u64);
        return Err(Refusal::Oversize { what: "the envelope", got, limit });
    }
    Ok(envelope)
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| Some(value(*pair.first()?)? << 4 | value(*pair.get(1)?)?)).collect()
}

pub(super) fn envelope_json(envelope: &Envelope) -> EnvelopeJson {
    let signature = |(signer, signature): &(Account, Signature)| SignatureJson {
        signer: signer.to_string(),
        signature: to_hex(&signature.0),
    };
    EnvelopeJson {
        kind: envelope.kind.as_str().to_owned(),
        payload: to_hex(&envelope.payload),
        signatures: envelope.signatures.iter().map(signature).collect(),
    }
}

/// An object, where it is, and what became of it.
#[utoipa::path(get, path = "/v1/objects/{id}", tag = "objects",
    params(("id" = String, Path, description = "Its id")), responses(
    (status = 200, description = "The object", body = ObjectShown),
    (status = 404, description = "It is not here", body = ErrorDocument),
))]
pub(super) async fn show(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<ObjectShown>, ApiError> {
    let id: ObjectId = parse(&id)?;
    if let Some(shown) = stored(&api, id).await? {
        return Ok(Json(shown));
    }
    for wait in [Duration::ZERO, NOTICE_WITHIN] {
        tokio::time::sleep(wait).await;
        if let Some(refusal) = api.dropped.lock().unwrap_or_else(PoisonError::into_inner).get(&id) {
            return Ok(Json(refused(id, &refusal)));
        }
    }
    Err(ApiError::unknown("object", &id.to_string()))
}

/// An object that waits or is in a block.
async fn stored(api: &Api, id: ObjectId) -> Result<Option<ObjectShown>, ApiError> {
    let work = move |view: &View<'_>| match view.0.object(&id)? {
        Some(found) => {
            let mut shown = ObjectShown {
                id: id.to_string(),
                kind: Some(found.envelope.kind.as_str().to_owned()),
                state: "pooled".to_owned(),
                code: None,
                message: None,
                height: None,
                index: None,
                envelope: Some(envelope_json(&found.envelope)),
            };
            if let Place::Block { height, index } = found.place {
                (shown.height, shown.index) = (Some(height), Some(index));
                fill_state(view, id, found.envelope.kind, &mut shown)?;
            }
            Ok(Some(shown))
        }
        None => Ok(None),
    };
    read(&api.services, work).await
}

/// An object that was dropped from the pool.
fn refused(id: ObjectId, refusal: &Refusal) -> ObjectShown {
    ObjectShown {
        id: id.to_string(),
        kind: None,
        state: "refused".to_owned(),
        code: Some(refusal.as_str().to_owned()),
        message: Some(refusal.to_string()),
        height: None,
        index: None,
        envelope: None,
    }
}

/// What became of an object that is in a block.
fn fill_state(view: &View<'_>, id: ObjectId, kind: Kind, shown: &mut ObjectShown) -> Result<(), ApiError> {
    shown.state = match kind {
        Kind::Contribution => match view.record::<AdmissionRecord>(&keys::admission(&id.into()))? {
            Some(AdmissionRecord { state: Admission::Rejected { reason, .. }, .. }) => {
                (shown.code, shown.message) = (Some("rejected".to_owned()), Some(reason));
                "rejected"
            }
            Some(AdmissionRecord { state: Admission::Admitted { .. }, .. }) => "admitted",
            Some(AdmissionRecord { state: Admission::Pending, .. }) => "pending",
            None => "included",
        },
        Kind::DatasetManifest => match view.record::<ManifestStatus>(&keys::manifest_status(&id.into()))? {
            Some(status) => manifest_state(&status.state),
            None => "included",
        },
        Kind::Receipt => match view.record(&keys::receipt(&id.into()))? {
            Some(record) => receipt_state(view, &record)?,
            None => "included",
        },
        _ => "included",
    }
    .to_owned();
    Ok(())
}

pub(super) fn manifest_state(state: &ManifestState) -> &'static str {
    match state {
        ManifestState::Proposed => "proposed",
        ManifestState::Active { .. } => "active",
        ManifestState::Superseded { .. } => "superseded",
    }
}

/// A hash in a path.
pub(super) fn hash(text: &str) -> Result<Hash32, ApiError> {
    parse(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_dropped_objects_is_bounded() {
        let mut dropped = Dropped::default();
        let id = |n: usize| {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&(n as u64).to_be_bytes());
            ObjectId(id)
        };
        for n in 0..=MAX_DROPPED {
            dropped.insert(id(n), Refusal::Empty { document: String::new() });
        }
        assert_eq!(dropped.reasons.len(), MAX_DROPPED);
        assert!(dropped.get(&id(0)).is_none() && dropped.get(&id(MAX_DROPPED)).is_some());
    }

    #[test]
    fn hex_is_lower_case_and_whole() {
        assert_eq!(from_hex("00ff"), Some(vec![0, 255]));
        for wrong in ["0", "0G", "FF", "é"] {
            assert_eq!(from_hex(wrong), None, "{wrong}");
        }
    }
}
