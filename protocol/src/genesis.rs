//! What a network starts from: its name, its parameters, its validators, its accounts.
//!
//! The genesis hash is in everything that is signed, so nothing of one network means anything on another.

use crate::crypto;
use crate::ids::{Account, Hash32};
use crate::limits::{MAX_BLOCK_BYTES, MAX_BLOCK_ENVELOPES, MAX_NAME_BYTES, MAX_VALIDATORS};
use crate::objects::Drops;
use borsh::{BorshDeserialize, BorshSerialize};
use std::collections::BTreeSet;

/// Basis points in the whole.
pub const WHOLE_BP: u32 = 10_000;

/// How a fee is divided, in basis points that add up to [`WHOLE_BP`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct FeeSplit {
    /// To contributors.
    pub data_bp: u32,
    /// To the model's builders.
    pub model_bp: u32,
    /// To the node that ran the inference.
    pub serving_bp: u32,
    /// To the validators that attributed it rightly.
    pub validators_bp: u32,
    /// To the treasury.
    pub treasury_bp: u32,
}

/// What governance may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Params {
    /// Milliseconds between the decision of an epoch and the start of the next.
    pub epoch_ms: u64,
    /// Bytes of a whole block.
    pub max_block_bytes: u64,
    /// Envelopes in a block.
    pub max_block_envelopes: u32,
    /// Epochs for which a payout is pending.
    pub dispute_window: u64,
    /// Epochs after sealing for which attribution commits are accepted at least.
    pub commit_window: u64,
    /// Epochs after sealing at which a receipt without agreement is refunded.
    pub settle_timeout: u64,
    /// Epochs that a receipt's expiry may lie ahead.
    pub max_expiry: u64,
    /// How a fee is divided.
    pub split: FeeSplit,
    /// Most of one receipt's claimed data part that goes to one contribution, in basis points, unless it is alone.
    pub share_cap_bp: u32,
    /// What it costs to register a DataNet, contribution, manifest or model; the least fee of an operation.
    pub object_fee: Drops,
}

impl Params {
    /// A network for trying things: epochs of one second, a dispute window of twenty.
    pub const fn devnet() -> Self {
        Self {
            epoch_ms: 1_000,
            max_block_bytes: MAX_BLOCK_BYTES as u64,
            max_block_envelopes: 10_000,
            dispute_window: 20,
            commit_window: 2,
            settle_timeout: 10,
            max_expiry: 10_000,
            split: FeeSplit {
                data_bp: 5_000,
                model_bp: 2_000,
                serving_bp: 1_500,
                validators_bp: 1_200,
                treasury_bp: 300,
            },
            share_cap_bp: 8_000,
            object_fee: Drops(1_000_000),
        }
    }
}

/// A validator of the first epoch.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct GenesisValidator {
    /// The key that signs votes, commits, reveals and attestations.
    pub key: Account,
    /// The account that is paid.
    pub payout: Account,
    /// Its weight in agreement; at least 1.
    pub power: u64,
    /// What people call it.
    pub name: String,
}

/// A network's beginning.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Genesis {
    /// The network's name: lower-case letters, digits and dashes.
    pub network: String,
    /// When it began, in milliseconds since 1970.
    pub time_ms: u64,
    /// Its parameters.
    pub params: Params,
    /// Its first validators, by key in ascending order.
    pub validators: Vec<GenesisValidator>,
    /// Its first balances, by account in ascending order.
    pub accounts: Vec<(Account, Drops)>,
}

/// What is wrong with a genesis.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GenesisError {
    /// The name cannot stand in a topic.
    #[error("the network's name must be 1 to 32 lower-case letters, digits or dashes, not {0:?}")]
    Name(String),
    /// There must be validators, and not too many.
    #[error("a network has 1 to {MAX_VALIDATORS} validators, not {0}")]
    ValidatorCount(usize),
    /// Lists are in ascending order without repetition, so that a genesis has one form.
    #[error("{0} must be in ascending order without repetition")]
    Order(&'static str),
    /// A validator without power, or a name too long, or power that overflows.
    #[error(
        "validator {0} needs a power of at least 1, together at most 2^60, and a name of at most {MAX_NAME_BYTES} bytes"
    )]
    Validator(Account),
    /// A parameter outside its bounds.
    #[error("parameter {name} is out of its bounds: {bounds}")]
    Param {
        /// Which.
        name: &'static str,
        /// What it may be.
        bounds: &'static str,
    },
    /// More money than can be counted.
    #[error("the balances add up to more than 2^100 drops")]
    Supply,
}

impl Genesis {
    /// The network's name in everything that is signed.
    ///
    /// # Panics
    /// Never: writing to memory does not fail.
    pub fn hash(&self) -> Hash32 {
        crypto::genesis_hash(&canonical(self))
    }

    /// Refuses what no network can start from.
    pub fn check(&self) -> Result<(), GenesisError> {
        let name_ok = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if !(1..=32).contains(&self.network.len()) || !self.network.chars().all(name_ok) {
            return Err(GenesisError::Name(self.network.clone()));
        }
        if !(1..=MAX_VALIDATORS).contains(&self.validators.len()) {
            return Err(GenesisError::ValidatorCount(self.validators.len()));
        }
        if !self.validators.is_sorted_by(|a, b| a.key < b.key) {
            return Err(GenesisError::Order("validators"));
        }
        if !self.accounts.is_sorted_by(|a, b| a.0 < b.0) {
            return Err(GenesisError::Order("accounts"));
        }
        let mut power = 0_u64;
        for validator in &self.validators {
            power = power.saturating_add(validator.power);
            if validator.power == 0 || power > 1 << 60 || validator.name.len() > MAX_NAME_BYTES {
                return Err(GenesisError::Validator(validator.key));
            }
        }
        let names: BTreeSet<&str> = self.validators.iter().map(|validator| validator.name.as_str()).collect();
        if names.len() != self.validators.len() {
            return Err(GenesisError::Order("validators' names"));
        }
        let mut supply = 0_u128;
        for (_, balance) in &self.accounts {
            supply = supply.saturating_add(balance.0);
            if supply > 1 << 100 {
                return Err(GenesisError::Supply);
            }
        }
        self.params.check()
    }
}

impl Params {
    fn check(&self) -> Result<(), GenesisError> {
        let split = &self.split;
        let parts = [split.data_bp, split.model_bp, split.serving_bp, split.validators_bp, split.treasury_bp];
        let whole: u64 = parts.iter().map(|part| u64::from(*part)).sum();
        let blocks = 256 * 1024..=MAX_BLOCK_BYTES as u64;
        let envelopes = 1..=u32::try_from(MAX_BLOCK_ENVELOPES).unwrap_or(u32::MAX);
        let rules = [
            (self.epoch_ms <= 3_600_000, "epoch_ms", "at most one hour"),
            (blocks.contains(&self.max_block_bytes), "max_block_bytes", "256 KiB to 4 MiB"),
            (envelopes.contains(&self.max_block_envelopes), "max_block_envelopes", "1 to 10,000"),
            ((1..=1_000_000).contains(&self.dispute_window), "dispute_window", "1 to 1,000,000 epochs"),
            ((1..=100).contains(&self.commit_window), "commit_window", "1 to 100 epochs"),
            (
                self.settle_timeout > self.commit_window + 2 && self.settle_timeout <= 1000,
                "settle_timeout",
                "more than commit_window + 2, at most 1000 epochs",
            ),
            ((1..=1_000_000).contains(&self.max_expiry), "max_expiry", "1 to 1,000,000 epochs"),
            (whole == u64::from(WHOLE_BP), "split", "five parts that add up to 10,000 basis points"),
            ((1..=WHOLE_BP).contains(&self.share_cap_bp), "share_cap_bp", "1 to 10,000"),
            (self.object_fee.0 <= 1 << 64, "object_fee", "at most 2^64 drops"),
        ];
        for (holds, name, bounds) in rules {
            if !holds {
                return Err(GenesisError::Param { name, bounds });
            }
        }
        Ok(())
    }
}

/// The canonical bytes of one of our own records.
///
/// # Panics
/// Never: writing to memory does not fail.
#[expect(clippy::expect_used, reason = "writing to a Vec cannot fail")]
pub fn canonical<T: BorshSerialize>(record: &T) -> Vec<u8> {
    borsh::to_vec(record).expect("writing to memory does not fail")
}
