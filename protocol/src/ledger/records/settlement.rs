//! How fees were divided.

use crate::ids::{Account, ContributionId, DataNetId, Hash32, ModelId};
use crate::objects::Drops;
use borsh::{BorshDeserialize, BorshSerialize};

/// How a receipt's fee was divided, and why.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Settlement {
    /// When.
    pub height: u64,
    /// [`crate::crypto::document_hash`] of the merged evidence's canonical bytes.
    pub evidence: Hash32,
    /// Words of the answer in paid spans.
    pub covered_words: u32,
    /// Words of the answer.
    pub total_words: u32,
    /// The spans that are paid, ascending.
    pub spans: Vec<PaidPassage>,
    /// Who gets what. The amounts add up to the fee.
    pub lines: Vec<Line>,
}

/// A passage of the answer that is paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct PaidPassage {
    /// Its first byte in the answer, as that was given.
    pub start: u32,
    /// The byte after its last.
    pub end: u32,
    /// Whose it is.
    pub contribution: ContributionId,
    /// The document's index in the contribution.
    pub document: u32,
    /// The byte of the document's folded text at which it starts.
    pub offset: u64,
    /// How many bytes of that it has.
    pub length: u32,
    /// Its weight: bits times 2^16.
    pub bits_q16: u64,
}

/// One payout of a receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Line {
    /// What for.
    pub role: Role,
    /// Who is paid; none for the treasury, and for a base dividend, whose division is in a [`DividendRecord`].
    pub account: Option<Account>,
    /// The DataNet of a data or base line.
    pub datanet: Option<DataNetId>,
    /// The contribution of a data line.
    pub contribution: Option<ContributionId>,
    /// The model of a model line.
    pub model: Option<ModelId>,
    /// How much; never 0.
    pub amount: Drops,
}

/// What a payout is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub enum Role {
    /// Words that stand in a contribution.
    Data,
    /// Words that stand in none: to the lineage's DataNets.
    Base,
    /// Building the model, or one it was made from.
    Model,
    /// Running the model.
    Serving,
    /// Attributing.
    Validators,
    /// The network.
    Treasury,
}

impl Role {
    /// One word for logs, metrics and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Base => "base",
            Self::Model => "model",
            Self::Serving => "serving",
            Self::Validators => "validators",
            Self::Treasury => "treasury",
        }
    }
}

/// How one block's base dividend of a DataNet was divided among its contributors.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct DividendRecord {
    /// All of it.
    pub amount: Drops,
    /// The parts, by account; they add up to the amount.
    pub parts: Vec<(Account, Drops)>,
}
