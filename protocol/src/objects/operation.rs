//! What accounts command, in their own order.

use super::Drops;
use crate::ids::{Account, ContributionId, ManifestId};

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
}

impl Action {
    /// What it takes from the account beside the fee.
    pub fn spends(&self) -> Drops {
        match self {
            Self::Transfer { amount, .. } | Self::Bond { amount, .. } => *amount,
            Self::Attest { .. } | Self::Approve { .. } | Self::Reject { .. } | Self::Unbond { .. } | Self::Unjail => {
                Drops::ZERO
            }
        }
    }

    /// Does it cost nothing? Only what each validator can do once for each occasion.
    pub fn is_free(&self) -> bool {
        matches!(self, Self::Attest { .. } | Self::Unjail)
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
