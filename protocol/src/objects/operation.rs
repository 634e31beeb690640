//! What accounts command, in their own order.

use super::Drops;
use crate::ids::{Account, ContributionId, Hash32, ManifestId, ModelId, ReceiptId};
use crate::influence::{Header, RowName};

/// What an account commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Pay somebody.
    Transfer {
        /// Who is paid.
        to: Account,
        /// How much.
        amount: Drops,
    },
    /// A validator has and has indexed a manifest's content.
    Attest {
        /// Which.
        manifest: ManifestId,
    },
    /// The owner of a curated DataNet admits a contribution.
    Approve {
        /// Which.
        contribution: ContributionId,
    },
    /// The owner of a curated DataNet turns a contribution down.
    Reject {
        /// Which.
        contribution: ContributionId,
        /// Why, in a sentence for its contributor.
        reason: String,
    },
    /// The account puts money at stake to validate with its key, or more of it, or says anew who is paid.
    Bond {
        /// How much more.
        amount: Drops,
        /// The account that is paid for validating, and paid back.
        payout: Account,
        /// What people call the validator.
        name: String,
    },
    /// A validator withdraws some of what it has at stake.
    Unbond {
        /// How much.
        amount: Drops,
    },
    /// A validator that was jailed is ready again.
    Unjail,
    /// The builder of a model by influence shows the rows of its training examples, and puts a bond on them.
    OfferRows {
        /// The model.
        model: ModelId,
        /// What the rows are; its root commits to each of them.
        header: Box<Header>,
        /// BLAKE3 of the artifact.
        artifact: Hash32,
        /// Bytes of the artifact.
        bytes: u64,
        /// The peer id (multihash bytes) of a node that serves it.
        host: Vec<u8>,
    },
    /// A validator has a model's rows, and those that it computed anew are as they should be.
    AttestRows {
        /// The model.
        model: ModelId,
        /// The influence root.
        root: Hash32,
    },
    /// A validator says that a row is not the gradient of its example; others look at it too.
    RefuteRows {
        /// The model.
        model: ModelId,
        /// The influence root.
        root: Hash32,
        /// Which row.
        row: RowName,
    },
    /// The account puts money aside to answer for what it serves.
    Deposit {
        /// How much more.
        amount: Drops,
    },
    /// The account takes back what it put aside and nothing depends on.
    Withdraw {
        /// How much.
        amount: Drops,
    },
    /// A validator says that a receipt's query is not the gradient of its answer.
    RefuteQuery {
        /// Which receipt.
        receipt: ReceiptId,
    },
}

impl Action {
    /// What it takes from the account beside the fee.
    pub fn spends(&self) -> Drops {
        match self {
            Self::Transfer { amount, .. } | Self::Bond { amount, .. } | Self::Deposit { amount } => *amount,
            Self::Attest { .. }
            | Self::Approve { .. }
            | Self::Reject { .. }
            | Self::Unbond { .. }
            | Self::Unjail
            | Self::OfferRows { .. }
            | Self::AttestRows { .. }
            | Self::RefuteRows { .. }
            | Self::Withdraw { .. }
            | Self::RefuteQuery { .. } => Drops::ZERO,
        }
    }

    /// Does it cost nothing? Only what each validator can do once for each occasion.
    pub fn is_free(&self) -> bool {
        matches!(
            self,
            Self::Attest { .. }
                | Self::Unjail
                | Self::AttestRows { .. }
                | Self::RefuteRows { .. }
                | Self::RefuteQuery { .. }
        )
    }
}

/// A command of an account, in the account's own order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Who commands and pays the fee.
    pub account: Account,
    /// The number of operations of this account before this one.
    pub nonce: u64,
    /// What it costs, to the treasury; at least the network's parameter, unless [`Action::is_free`].
    pub fee: Drops,
    /// What to do.
    pub action: Action,
}
