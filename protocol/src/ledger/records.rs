//! What the ledger's entries say. A value is the Borsh encoding of its record.
//!
//! What an object says for ever and what becomes of it are apart, so that a change of state never rewrites long lists.

mod influence;
mod settlement;
mod validators;

pub use influence::{AuditRecord, RowsOffer, RowsRecord, RowsState, ServerRecord};
pub use settlement::{DividendRecord, Line, PaidPassage, Role, Settlement};
pub use validators::{
    AbsenceRecord, Absences, BeaconRecord, DutyRecord, JailReason, SlashReason, ValidatorRecord, ValidatorState,
};

use super::keys;
use crate::block::ValidatorSet;
use crate::evidence::Evidence;
use crate::genesis::Params;
use crate::ids::{Account, ContributionId, DataNetId, Hash32, ManifestId, ModelId, ReceiptId};
use crate::objects::{Checkpoint, Document, Drops, Method, ModelManifest, Trace};
use borsh::{BorshDeserialize, BorshSerialize};
use std::collections::BTreeSet;

/// An account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct AccountRecord {
    /// What it can spend.
    pub available: Drops,
    /// Payouts in their dispute window.
    pub pending: Drops,
    /// How many operations it made.
    pub nonce: u64,
}

/// A DataNet.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct DataNetRecord {
    /// Who governs it.
    pub owner: Account,
    /// What people call it.
    pub name: String,
    /// What it holds.
    pub description: String,
    /// Does the owner approve contributions?
    pub curated: bool,
    /// Licences it accepts.
    pub licences: Vec<String>,
    /// Most bytes of one contribution.
    pub max_contribution_bytes: u64,
    /// The most of a contribution's words, in basis points, that earlier contributions may hold.
    pub max_known_basis_points: u32,
    /// When it was registered.
    pub height: u64,
    /// Its last active version; 0 before the first.
    pub version: u32,
    /// The manifest that is to be the next version.
    pub proposed: Option<ManifestId>,
    /// Distinct contributors in active manifests.
    pub contributors: u32,
}

/// A contribution, as its contributor signed it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ContributionRecord {
    /// Who is paid.
    pub contributor: Account,
    /// The pool.
    pub datanet: DataNetId,
    /// The name to credit.
    pub credit: String,
    /// What people call it.
    pub title: String,
    /// Where it comes from.
    pub source: String,
    /// BCP-47 language tag.
    pub language: String,
    /// SPDX licence expression.
    pub licence: String,
    /// The contribution it replaces.
    pub previous: Option<ContributionId>,
    /// Its documents, in order.
    pub documents: Vec<Document>,
    /// When it entered a block.
    pub height: u64,
}

/// What became of a contribution.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct AdmissionRecord {
    /// Who is paid.
    pub contributor: Account,
    /// The pool.
    pub datanet: DataNetId,
    /// How many documents it has.
    pub documents: u32,
    /// Their bytes together.
    pub bytes: u64,
    /// Is it admitted?
    pub state: Admission,
    /// The manifest that holds it, active or proposed.
    pub manifest: Option<ManifestId>,
}

/// Is a contribution admitted?
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Admission {
    /// The owner has not decided.
    Pending,
    /// Yes.
    Admitted {
        /// Since when.
        height: u64,
        /// Its place in the order of admission, over all DataNets.
        order: u64,
    },
    /// No.
    Rejected {
        /// Since when.
        height: u64,
        /// The owner's sentence.
        reason: String,
    },
}

/// A manifest, as its owner signed it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ManifestRecord {
    /// Whose content.
    pub datanet: DataNetId,
    /// Its number.
    pub version: u32,
    /// The version before.
    pub parent: Option<ManifestId>,
    /// What it adds, in order.
    pub added: Vec<ContributionId>,
    /// The content root.
    pub content_root: Hash32,
    /// Documents, the parent's included.
    pub documents: u64,
    /// Bytes, the parent's included.
    pub bytes: u64,
    /// The peer that serves it first.
    pub host: Vec<u8>,
    /// When it was proposed.
    pub height: u64,
}

/// What became of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ManifestStatus {
    /// Does it count?
    pub state: ManifestState,
    /// The validators that hold and indexed it.
    pub attested: BTreeSet<Account>,
}

/// Does a manifest count?
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum ManifestState {
    /// It waits for attestations.
    Proposed,
    /// It is part of the DataNet.
    Active {
        /// The first epoch whose receipts are attributed to it.
        from: u64,
    },
    /// Its owner proposed another in its place.
    Superseded {
        /// Which.
        by: ManifestId,
    },
}

/// One source of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Source {
    /// The manifest.
    pub manifest: ManifestId,
    /// Its DataNet.
    pub datanet: DataNetId,
    /// Its part of the base dividend.
    pub weight: u32,
}

/// A model.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ModelRecord {
    /// Who is paid.
    pub builder: Account,
    /// What people call it.
    pub name: String,
    /// BLAKE3 of the weights.
    pub weights: Hash32,
    /// What it was made from.
    pub base: Option<ModelId>,
    /// How many models are below it.
    pub depth: u32,
    /// What it reserves of its descendants' pay.
    pub reserve_bp: u32,
    /// Its sources, in the builder's order.
    pub lineage: Vec<Source>,
    /// How its answers are attributed.
    pub method: Method,
    /// Price of 1000 tokens of prompt.
    pub price_in: Drops,
    /// Price of 1000 tokens of answer.
    pub price_out: Drops,
    /// When it was registered.
    pub height: u64,
    /// What gradients are taken of, of a model by influence.
    pub checkpoint: Option<Checkpoint>,
}

impl ModelRecord {
    /// The fee of an answer, rounded up to the drop; none when it overflows.
    pub fn fee(&self, tokens_in: u64, tokens_out: u64) -> Option<Drops> {
        ModelManifest::price(self.price_in, self.price_out, tokens_in, tokens_out)
    }
}

/// A receipt.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ReceiptRecord {
    /// Who paid.
    pub payer: Account,
    /// Who served.
    pub server: Account,
    /// The model.
    pub model: ModelId,
    /// Commitment to the prompt.
    pub prompt: Hash32,
    /// [`crate::crypto::document_hash`] of the answer.
    pub answer: Hash32,
    /// Tokens of the prompt.
    pub tokens_in: u64,
    /// Tokens of the answer.
    pub tokens_out: u64,
    /// What was paid.
    pub fee: Drops,
    /// The epoch that sealed it.
    pub epoch: u64,
    /// What became of it.
    pub state: ReceiptState,
}

/// What became of a receipt.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum ReceiptState {
    /// The fee is in escrow.
    Sealed {
        /// DataNets that are still searched.
        open: u32,
    },
    /// The fee is paid out.
    Settled(Settlement),
    /// The payer has the fee back.
    Refunded {
        /// Since when.
        height: u64,
        /// Why.
        reason: RefundReason,
    },
}

/// Why a fee was paid back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum RefundReason {
    /// Validators did not agree in time.
    SettleTimeout,
}

impl RefundReason {
    /// One word for logs, metrics and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SettleTimeout => "settle_timeout",
        }
    }
}

/// Open attribution of an epoch's receipts in a DataNet.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct WorkRecord {
    /// The DataNet's last version that was active.
    pub version: u32,
    /// The height at whose end commits closed.
    pub closed: Option<u64>,
    /// The root that a quorum revealed.
    pub root: Option<Hash32>,
    /// The height at which it had a quorum.
    pub agreed: Option<u64>,
}

/// What a validator said of an (epoch, DataNet).
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SaidRecord {
    /// Its commitment; none when it came too late to commit, and reveals unpaid.
    pub commitment: Option<Hash32>,
    /// The root, once revealed.
    pub root: Option<Hash32>,
}

impl SaidRecord {
    /// Of a validator that has not said anything before commits closed.
    pub const LATE: Self = Self { commitment: None, root: None };
}

/// What an (epoch, DataNet) was settled with, until all receipts of the epoch are.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct AgreedRecord {
    /// The root.
    pub root: Hash32,
    /// The accounts paid for those who committed to it and revealed it, with their powers in the committee.
    pub validators: Vec<(Account, u64)>,
}

/// Does an entry hold what its key promises?
pub(super) fn is_sound(key: &[u8], value: &[u8]) -> bool {
    fn is<T: BorshDeserialize>(value: &[u8]) -> bool {
        borsh::from_slice::<T>(value).is_ok()
    }
    let Some(prefix) = key.first() else { return false };
    match (*prefix, key) {
        (_, keys::HEIGHT | keys::NEXT_ORDER) => is::<u64>(value),
        (_, keys::SUPPLY | keys::TREASURY | keys::ESCROW) => is::<Drops>(value),
        (_, keys::PARAMS) => is::<Params>(value),
        (_, keys::VALIDATORS | keys::NEXT_VALIDATORS | keys::LAST_VALIDATORS) => is::<ValidatorSet>(value),
        (_, keys::CANDIDATES) => is::<u64>(value),
        (_, keys::BEACONS) => is::<BeaconRecord>(value),
        (_, keys::ABSENCES) => is::<Absences>(value),
        (keys::CANDIDATE, _) => is::<ValidatorRecord>(value),
        (keys::CANDIDATE_NAMES, _) => is::<Account>(value),
        (keys::UNBONDING, _) => is::<Drops>(value),
        (keys::UNBONDING_DUE, _) => is::<()>(value),
        (keys::ABSENT, _) => is::<Vec<Account>>(value),
        (keys::DUTIES, _) => is::<DutyRecord>(value),
        (keys::COMMITTEES, _) => is::<ValidatorSet>(value),
        (keys::ACCOUNTS, _) => is::<AccountRecord>(value),
        (keys::VESTING, _) => is::<Drops>(value),
        (keys::DATANETS, _) => is::<DataNetRecord>(value),
        (keys::DOCUMENTS, _) => is::<ContributionId>(value),
        (keys::CONTRIBUTIONS, _) => is::<ContributionRecord>(value),
        (keys::ADMISSIONS, _) => is::<AdmissionRecord>(value),
        (keys::MANIFESTS, _) => is::<ManifestRecord>(value),
        (keys::MANIFEST_STATUS, _) => is::<ManifestStatus>(value),
        (keys::VERSIONS, _) => is::<ManifestId>(value),
        (keys::PROPOSED, _) => is::<()>(value),
        (keys::CONTRIBUTORS, _) => is::<u64>(value),
        (keys::MODELS, _) => is::<ModelRecord>(value),
        (keys::MODEL_ROWS, _) => is::<RowsRecord>(value),
        (keys::UNDRAWN_MODELS | keys::OFFERED_ROWS, _) => is::<()>(value),
        (keys::SERVERS, _) => is::<ServerRecord>(value),
        (keys::TRACES, _) => is::<Trace>(value),
        (keys::AUDITS, _) => is::<AuditRecord>(value),
        (keys::RECEIPTS, _) => is::<ReceiptRecord>(value),
        (keys::ANSWERS, _) => is::<String>(value),
        (keys::PARTS, _) => is::<Evidence>(value),
        (keys::DIVIDENDS, _) => is::<DividendRecord>(value),
        (keys::WORK, _) => is::<WorkRecord>(value),
        (keys::WORK_RECEIPTS, _) => is::<Vec<ReceiptId>>(value),
        (keys::SAID, _) => is::<SaidRecord>(value),
        (keys::AGREED, _) => is::<AgreedRecord>(value),
        _ => false,
    }
}
