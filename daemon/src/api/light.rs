//! Light blocks, for programs that follow the chain without trusting this node (docs/guide/light.md).

use super::Api;
use super::error::ApiError;
use super::types::ErrorDocument;
use super::view::{View, read};
use axum::Json;
use axum::extract::{Path, State};
use protocol::block::ValidatorSet;
use protocol::genesis::canonical;
use protocol::ids::to_hex;
use protocol::light::LightBlock;
use serde::Serialize;
use utoipa::ToSchema;

/// A decided header with what it takes to check it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LightShown {
    /// The block's id: BLAKE3 in derive_key mode with the context `tributary v1 block`, over the canonical header.
    block: String,
    /// The header.
    header: HeaderShown,
    /// The round that decided.
    round: u32,
    /// Precommits, by validator in ascending order of their keys.
    signatures: Vec<SignatureShown>,
    /// The validators of this height.
    validators: Vec<MemberShown>,
    /// Those of the next height, where they are others.
    changed: Option<Vec<MemberShown>>,
    /// The whole in canonical (borsh) bytes, in hex: what `tributary` itself reads.
    bytes: String,
}

/// A header's fields, hashes in hex.
#[derive(Debug, Serialize, ToSchema)]
struct HeaderShown {
    height: u64,
    parent: String,
    time_ms: u64,
    proposer: String,
    state_root: String,
    validators: String,
    next_validators: String,
    beacon: String,
    body: String,
}

/// One validator's signature.
#[derive(Debug, Serialize, ToSchema)]
struct SignatureShown {
    validator: String,
    signature: String,
}

/// One validator.
#[derive(Debug, Serialize, ToSchema)]
struct MemberShown {
    key: String,
    payout: String,
    power: u64,
}

impl LightShown {
    fn of(light: &LightBlock) -> Self {
        let header = &light.header;
        let signatures = light.certificate.signatures.iter().map(|(validator, signature)| SignatureShown {
            validator: validator.to_string(),
            signature: to_hex(&signature.0),
        });
        Self {
            block: header.id().to_string(),
            header: HeaderShown {
                height: header.height,
                parent: header.parent.to_string(),
                time_ms: header.time_ms,
                proposer: header.proposer.to_string(),
                state_root: header.state_root.to_string(),
                validators: header.validators.to_string(),
                next_validators: header.next_validators.to_string(),
                beacon: header.beacon.to_string(),
                body: header.body.to_string(),
            },
            round: light.certificate.round,
            signatures: signatures.collect(),
            validators: members(&light.validators),
            changed: light.changed.as_ref().map(members),
            bytes: to_hex(&canonical(light)),
        }
    }
}

fn members(set: &ValidatorSet) -> Vec<MemberShown> {
    let member = |member: &protocol::block::Validator| MemberShown {
        key: member.key.to_string(),
        payout: member.payout.to_string(),
        power: member.power,
    };
    set.members().iter().map(member).collect()
}

/// The header that was decided at a height, with everything to check it.
#[utoipa::path(get, path = "/v1/light/{height}", tag = "node",
    params(("height" = u64, Path, description = "The height")), responses(
    (status = 200, description = "The light block", body = LightShown),
    (status = 404, description = "It is not decided yet, or no longer here", body = ErrorDocument),
))]
pub(super) async fn light(State(api): State<Api>, Path(height): Path<u64>) -> Result<Json<LightShown>, ApiError> {
    let found = read(&api.services, move |view: &View<'_>| Ok(view.0.light_block(height)?)).await?;
    let found = found.ok_or_else(|| ApiError::unknown("epoch", &height.to_string()))?;
    Ok(Json(LightShown::of(&found)))
}
