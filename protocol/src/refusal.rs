//! Why something is refused: one word, the same in the API, the log, the metric and the peer's score, and a sentence.

use crate::crypto::Kind;
use crate::ids::{Account, ObjectId};
use crate::objects::Drops;
use borsh::BorshSerialize;

/// Why an object is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence on each variant is its documentation, and names its fields")]
pub enum Refusal {
    #[error("the bytes are not a {kind}: {reason}")]
    Malformed { kind: &'static str, reason: String },
    #[error("{what} has {got} bytes; the limit is {limit}")]
    Oversize { what: &'static str, got: u64, limit: u64 },
    #[error("{what}: {got} is more than the limit of {limit}")]
    TooMany { what: &'static str, got: u64, limit: u64 },
    #[error("the signature of {signer} does not hold on this network: a wrong key, altered bytes, or another network")]
    Signature { signer: Account },
    #[error("a {kind} needs the signatures of {expected}, in this order", kind = kind.as_str())]
    Signers { kind: Kind, expected: String },
    #[error("{field} is wrong: {reason}")]
    Field { field: &'static str, reason: String },
    #[error("{id} is already known here")]
    Duplicate { id: ObjectId },
    #[error("document {document} is already in this DataNet, admitted with contribution {holder}")]
    Repeated { document: String, holder: ObjectId },
    #[error("there is no {kind} {id}")]
    Unknown { kind: &'static str, id: ObjectId },
    #[error("{account} may not do this: {reason}")]
    Forbidden { account: Account, reason: &'static str },
    #[error("the next nonce of {account} is {expected}, not {got}")]
    Nonce { account: Account, expected: u64, got: u64 },
    #[error("operation {id} of {account} with nonce {nonce} waits here already")]
    Taken { account: Account, nonce: u64, id: ObjectId },
    #[error("{account} has {available} drops available and needs {needed}")]
    Funds { account: Account, available: Drops, needed: Drops },
    #[error("the fee is {got} drops; this costs {expected}")]
    Fee { got: Drops, expected: Drops },
    #[error("the fee is {got} drops; a receipt on this network costs at least {least}")]
    MinimumFee { got: Drops, least: Drops },
    #[error("it could be sealed up to epoch {expiry}; it is epoch {epoch} now")]
    Expired { expiry: u64, epoch: u64 },
    #[error("its expiry lies {ahead} epochs ahead; the limit is {limit}")]
    Expiry { ahead: u64, limit: u64 },
    #[error("{what} is not in a state for this: {reason}")]
    State { what: &'static str, reason: String },
    #[error("the pool is full ({limit} {unit}); try again after the next epoch")]
    Full { limit: u64, unit: &'static str },
    #[error("document {document} is empty")]
    Empty { document: String },
    #[error("document {document} is not UTF-8 text: the first wrong byte is at {at}")]
    NotUtf8 { document: String, at: u64 },
    #[error("document {document} does not have the promised content: {reason}")]
    Content { document: String, reason: String },
    #[error("this node is stopping or cannot write: {reason}")]
    Unavailable { reason: String },
}

impl Refusal {
    /// The one word.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "malformed",
            Self::Oversize { .. } => "oversize",
            Self::TooMany { .. } => "toomany",
            Self::Signature { .. } => "signature",
            Self::Signers { .. } => "signers",
            Self::Field { .. } => "field",
            Self::Duplicate { .. } => "duplicate",
            Self::Repeated { .. } => "repeated",
            Self::Unknown { .. } => "unknown",
            Self::Forbidden { .. } => "forbidden",
            Self::Nonce { .. } => "nonce",
            Self::Taken { .. } => "taken",
            Self::Funds { .. } => "funds",
            Self::Fee { .. } => "fee",
            Self::MinimumFee { .. } => "minimumfee",
            Self::Expired { .. } => "expired",
            Self::Expiry { .. } => "expiry",
            Self::State { .. } => "state",
            Self::Full { .. } => "full",
            Self::Empty { .. } => "empty",
            Self::NotUtf8 { .. } => "notutf8",
            Self::Content { .. } => "content",
            Self::Unavailable { .. } => "unavailable",
        }
    }

    /// Is it the fault of whoever sent it, whatever this node knows or lacks? Only then may a peer be punished for it.
    pub const fn is_senders_fault(&self) -> bool {
        matches!(
            self,
            Self::Malformed { .. }
                | Self::Oversize { .. }
                | Self::TooMany { .. }
                | Self::Signature { .. }
                | Self::Signers { .. }
                | Self::Field { .. }
        )
    }
}
