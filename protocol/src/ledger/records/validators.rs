//! What validators have at stake, and what is counted against them.

use crate::ids::{Account, Hash32, ObjectId};
use crate::objects::Drops;
use borsh::{BorshDeserialize, BorshSerialize};
use std::collections::BTreeMap;

/// An account with a bond, in the validator set or not; by its key.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ValidatorRecord {
    /// The account that is paid.
    pub payout: Account,
    /// What people call it.
    pub name: String,
    /// What is at stake, without what is being withdrawn.
    pub bond: Drops,
    /// May it validate?
    pub state: ValidatorState,
    /// When it first bonded.
    pub since: u64,
    /// What it lost so far.
    pub slashed: Drops,
    /// How often it was jailed.
    pub jailings: u32,
}

/// May a validator validate?
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum ValidatorState {
    /// Yes.
    Active,
    /// No, until it says that it is ready again.
    Jailed {
        /// The first height at which it may.
        until: u64,
        /// Why.
        reason: JailReason,
    },
    /// Never again: it signed twice.
    Tombstoned {
        /// Since when.
        height: u64,
        /// The proof.
        evidence: ObjectId,
    },
}

impl ValidatorState {
    /// One word for logs, metrics and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Jailed { .. } => "jailed",
            Self::Tombstoned { .. } => "tombstoned",
        }
    }
}

/// Why a validator is jailed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum JailReason {
    /// It was away for too many blocks.
    Downtime,
    /// It committed to or revealed too few results.
    MissedDuties,
    /// It revealed too many results that others did not find.
    WrongRoots,
}

impl JailReason {
    /// One word for logs, metrics and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Downtime => "downtime",
            Self::MissedDuties => "missed_duties",
            Self::WrongRoots => "wrong_roots",
        }
    }
}

/// Why a validator lost money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum SlashReason {
    /// It signed two messages that exclude each other.
    DoubleSign,
    /// It was away for too long.
    Downtime,
}

impl SlashReason {
    /// One word for logs, metrics and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DoubleSign => "double_sign",
            Self::Downtime => "downtime",
        }
    }
}

/// Blocks that one validator did not sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct AbsenceRecord {
    /// Absences of earlier heights do not count any more.
    pub since: u64,
    /// How many of the window's blocks it did not sign, from `since` on.
    pub missed: u64,
}

/// Everybody's absences within the window; who has none is not listed.
pub type Absences = BTreeMap<Account, AbsenceRecord>;

/// What a validator failed to do for attribution in one window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct DutyRecord {
    /// The window's number: its heights divided by its length.
    pub window: u64,
    /// Results that were settled without its commit.
    pub missed_commits: u32,
    /// Results that it committed to and that were settled without its reveal.
    pub missed_reveals: u32,
    /// Results of which it revealed another root than was agreed on.
    pub wrong_roots: u32,
    /// Blocks that settled something without its commit or reveal.
    pub missed_blocks: u32,
    /// Blocks that settled something of which it revealed another root.
    pub wrong_blocks: u32,
}

/// What committees are drawn from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct BeaconRecord {
    /// The period's number: its heights divided by its length.
    pub period: u64,
    /// The beacon of the period's first block.
    pub current: Hash32,
    /// The beacon of the first block of the period before.
    pub previous: Hash32,
}
