//! Models by influence: what their builders offer, and what servers answer for.

use crate::ids::{Account, Hash32, ModelId};
use crate::influence::{Header, RowName};
use crate::objects::Drops;
use borsh::{BorshDeserialize, BorshSerialize};
use std::collections::{BTreeMap, BTreeSet};

/// What the builder of a model by influence offers.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct RowsRecord {
    /// The seed of everything random about the rows, once a beacon was drawn after the model was registered.
    pub seed: Option<[u8; 32]>,
    /// The rows, once they are offered.
    pub offer: Option<RowsOffer>,
    /// How far they are.
    pub state: RowsState,
    /// What the builder has at stake while they are judged.
    pub bond: Drops,
    /// The validators that found the rows right.
    pub attested: BTreeSet<Account>,
    /// The validators that found one wrong, and which.
    pub refuted: BTreeMap<Account, RowName>,
}

/// The rows of a model.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct RowsOffer {
    /// What they are; its root commits to each of them.
    pub header: Header,
    /// BLAKE3 of the artifact.
    pub artifact: Hash32,
    /// Its bytes.
    pub bytes: u64,
    /// The peer that serves it first.
    pub host: Vec<u8>,
    /// When it was offered.
    pub height: u64,
    /// The beacon of the next block, by which validators draw the rows that they compute anew.
    pub beacon: Option<Hash32>,
}

/// How far the rows of a model are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum RowsState {
    /// They are not offered yet.
    Awaited,
    /// Validators look at them.
    Offered,
    /// Receipts are attributed by them.
    Active {
        /// The first epoch that may seal receipts of the model.
        from: u64,
    },
    /// More than two thirds found one that is wrong. The model is out for ever.
    Refuted {
        /// Since when.
        height: u64,
    },
}

impl RowsState {
    /// One word for logs and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Awaited => "awaited",
            Self::Offered => "offered",
            Self::Active { .. } => "active",
            Self::Refuted { .. } => "refuted",
        }
    }
}

/// An account that serves models by influence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ServerRecord {
    /// What it put aside.
    pub deposit: Drops,
    /// The part of that which receipts in their audit window depend on.
    pub locked: Drops,
    /// What it has lost so far.
    pub forfeited: Drops,
}

/// A receipt that its server answers for.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct AuditRecord {
    /// Who served.
    pub server: Account,
    /// The model.
    pub model: ModelId,
    /// What the server loses when the query is refuted.
    pub locked: Drops,
    /// Did the beacon of the epoch after pick it to be looked at? None before that epoch.
    pub drawn: Option<bool>,
    /// The validators that refute its query.
    pub refuted: BTreeSet<Account>,
}
