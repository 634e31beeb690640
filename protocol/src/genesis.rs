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
/// Most units of power together: products of two powers and a third stay far below 2^128.
const MAX_POWER: u128 = 1 << 60;
/// Members of a committee that does not hold everybody: fewer could not agree with one of them away.
const MIN_COMMITTEE: u32 = 4;
/// The most of a window's blocks that a validator may have to sign. A certificate holds two thirds of the power, and the
/// proposer chooses whose: if more were asked for, a few proposers could have honest validators jailed.
const MOST_SIGNED_BP: u32 = 6_600;

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
    /// The least fee of a receipt for each DataNet that is searched for it; at least one drop, or receipts could be made
    /// without end.
    pub min_receipt_fee: Drops,
    /// Epochs beyond [`Params::settle_timeout`] for which an agreed result waits for a proposer that has its body.
    pub agreed_timeout: u64,
    /// What validators put at stake and answer for.
    pub stake: StakeParams,
    /// What builders and servers of models by influence put at stake.
    pub influence: InfluenceParams,
}

/// What builders and servers of models by influence put at stake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct InfluenceParams {
    /// What a builder loses when rows that he offers are refuted.
    pub rows_bond: Drops,
    /// The part of receipts whose query is computed anew, in basis points.
    pub audit_bp: u32,
    /// Epochs for which a server answers for a receipt after it must be settled or refunded.
    pub audit_window: u64,
}

impl InfluenceParams {
    /// A network for trying things: every receipt is looked at.
    pub const fn devnet() -> Self {
        Self { rows_bond: Drops(10 * Drops::CREDIT.0), audit_bp: WHOLE_BP, audit_window: 20 }
    }

    /// What a server loses for a receipt of this fee whose query is refuted. Half of it is lost to whoever it is in league
    /// with as well, and that, times the chance to be looked at, is the whole fee: more than a lie can gain.
    pub fn penalty(&self, fee: Drops) -> Drops {
        // A fee is below 2^100.
        Drops(fee.0 * 2 * u128::from(WHOLE_BP) / u128::from(self.audit_bp.max(1)))
    }

    fn rules(&self) -> [(bool, &'static str, &'static str); 3] {
        [
            (self.rows_bond.0 <= 1 << 90, "rows_bond", "at most 2^90 drops"),
            ((1..=WHOLE_BP).contains(&self.audit_bp), "audit_bp", "1 to 10,000"),
            ((1..=1_000_000).contains(&self.audit_window), "audit_window", "1 to 1,000,000 epochs"),
        ]
    }
}

/// What validators put at stake and answer for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct StakeParams {
    /// Drops of bond for one unit of power.
    pub power_unit: Drops,
    /// The least bond that counts; at least one unit.
    pub min_bond: Drops,
    /// Validators in a set: those with the greatest bonds.
    pub max_validators: u32,
    /// Epochs for which a bond that is withdrawn can still be slashed.
    pub unbonding_epochs: u64,
    /// Epochs after which a double signature is not punished any more.
    pub evidence_age: u64,
    /// What a double signature costs, in basis points of bond and withdrawn bond.
    pub double_sign_slash_bp: u32,
    /// Epochs over which presence is counted.
    pub downtime_window: u64,
    /// Part of the window's blocks that a validator must have signed, in basis points.
    pub min_signed_bp: u32,
    /// What being away for longer costs, in basis points of the bond.
    pub downtime_slash_bp: u32,
    /// Epochs that a validator is jailed for at least.
    pub jail_epochs: u64,
    /// Epochs over which failures to attribute are counted.
    pub duty_window: u64,
    /// Blocks of one window in which a validator may be found to have missed a commit or reveal.
    pub max_missed_duties: u32,
    /// Blocks of one window in which a validator may be found to have revealed a wrong root.
    pub max_wrong_roots: u32,
    /// Validators that attribute in one DataNet; 0 for all of them.
    pub committee_size: u32,
    /// Epochs within which every place of every committee is drawn anew once.
    pub redraw_epochs: u64,
}

impl StakeParams {
    /// A network for trying things: a credit is a unit of power, and everybody is in every committee.
    pub const fn devnet() -> Self {
        Self {
            power_unit: Drops::CREDIT,
            min_bond: Drops::CREDIT,
            max_validators: 64,
            unbonding_epochs: 100,
            evidence_age: 50,
            double_sign_slash_bp: 500,
            downtime_window: 1_000,
            min_signed_bp: 5_000,
            downtime_slash_bp: 0,
            jail_epochs: 30,
            duty_window: 1_000,
            max_missed_duties: 500,
            max_wrong_roots: 5,
            committee_size: 0,
            redraw_epochs: 500,
        }
    }

    /// The bond that makes a power.
    pub fn bond_of(&self, power: u64) -> Drops {
        Drops(self.power_unit.0.saturating_mul(u128::from(power)))
    }

    /// The power that a bond makes; none below the least bond.
    pub fn power_of(&self, bond: Drops) -> u64 {
        if bond < self.min_bond {
            return 0;
        }
        // All money together makes less than 2^60, which the genesis was checked for.
        u64::try_from(bond.0 / self.power_unit.0.max(1)).unwrap_or(1 << 60)
    }

    /// The blocks of a window that a validator may miss.
    pub fn misses_allowed(&self) -> u64 {
        let must = self.downtime_window.saturating_mul(u64::from(self.min_signed_bp)).div_ceil(u64::from(WHOLE_BP));
        self.downtime_window.saturating_sub(must)
    }

    fn rules(&self) -> [(bool, &'static str, &'static str); 14] {
        let validators = u32::try_from(MAX_VALIDATORS).unwrap_or(u32::MAX);
        let committee = self.committee_size == 0 || (MIN_COMMITTEE..=validators).contains(&self.committee_size);
        // A validator still votes in the epoch after the one that withdraws its bond.
        let punishable = (1..=10_000_000).contains(&self.evidence_age)
            && self.evidence_age.saturating_add(1) < self.unbonding_epochs
            && self.unbonding_epochs <= 10_000_000;
        [
            ((1..=1 << 80).contains(&self.power_unit.0), "power_unit", "1 to 2^80 drops"),
            ((self.power_unit.0..=1 << 90).contains(&self.min_bond.0), "min_bond", "one power_unit to 2^90 drops"),
            ((1..=validators).contains(&self.max_validators), "max_validators", "1 to 256"),
            ((4..=10_000_000).contains(&self.unbonding_epochs), "unbonding_epochs", "4 to 10,000,000 epochs"),
            (punishable, "evidence_age", "at least 1 epoch and less than unbonding_epochs - 1"),
            ((1..=5_000).contains(&self.double_sign_slash_bp), "double_sign_slash_bp", "1 to 5,000"),
            ((10..=100_000).contains(&self.downtime_window), "downtime_window", "10 to 100,000 epochs"),
            (self.min_signed_bp <= MOST_SIGNED_BP, "min_signed_bp", "at most 6,600"),
            (self.downtime_slash_bp <= 1_000, "downtime_slash_bp", "at most 1,000"),
            ((1..=1_000_000).contains(&self.jail_epochs), "jail_epochs", "1 to 1,000,000 epochs"),
            ((1..=100_000).contains(&self.duty_window), "duty_window", "1 to 100,000 epochs"),
            (
                self.max_missed_duties >= 1 && self.max_wrong_roots >= 1,
                "max_missed_duties",
                "at least 1, as max_wrong_roots",
            ),
            (committee, "committee_size", "0, or 4 to 256"),
            ((2..=1_000_000).contains(&self.redraw_epochs), "redraw_epochs", "2 to 1,000,000 epochs"),
        ]
    }
}

impl Params {
    /// The height from which a server does not answer any more for a receipt that this epoch sealed. A solution is refused
    /// only when the receipt is settled, so the window begins where that must be over.
    pub fn audit_end(&self, epoch: u64) -> u64 {
        let over = epoch.saturating_add(self.settle_timeout).saturating_add(self.agreed_timeout);
        over.saturating_add(self.influence.audit_window)
    }

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
            min_receipt_fee: Drops(1),
            agreed_timeout: 0,
            stake: StakeParams::devnet(),
            influence: InfluenceParams::devnet(),
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
    /// Its weight in agreement; at least 1. Its bond is so many [`StakeParams::power_unit`], beside the balances.
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
    #[error("the balances and bonds add up to more than 2^100 drops, or to more than 2^60 units of power")]
    Supply,
    /// A first validator whose bond would not count.
    #[error("validator {0} has a power whose bond is below min_bond")]
    Bond(Account),
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
            if validator.power == 0 || u128::from(power) > MAX_POWER || validator.name.len() > MAX_NAME_BYTES {
                return Err(GenesisError::Validator(validator.key));
            }
        }
        let names: BTreeSet<&str> = self.validators.iter().map(|validator| validator.name.as_str()).collect();
        if names.len() != self.validators.len() {
            return Err(GenesisError::Order("validators' names"));
        }
        self.params.check()?;
        let stake = &self.params.stake;
        if self.validators.len() as u64 > u64::from(stake.max_validators) {
            return Err(GenesisError::Param { name: "max_validators", bounds: "at least the first validators" });
        }
        if let Some(poor) = self.validators.iter().find(|validator| stake.power_of(stake.bond_of(validator.power)) == 0)
        {
            return Err(GenesisError::Bond(poor.key));
        }
        let supply = self.supply().0;
        if supply > 1 << 100 || supply / stake.power_unit.0 > MAX_POWER {
            return Err(GenesisError::Supply);
        }
        Ok(())
    }

    /// All money there is: the balances, and the bonds that make the first validators' powers.
    pub fn supply(&self) -> Drops {
        let balances = self.accounts.iter().map(|(_, balance)| balance.0);
        let bonds = self.validators.iter().map(|validator| self.params.stake.bond_of(validator.power).0);
        Drops(balances.chain(bonds).fold(0, u128::saturating_add))
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
            ((1..=1 << 64).contains(&self.min_receipt_fee.0), "min_receipt_fee", "1 to 2^64 drops"),
            (self.agreed_timeout <= 10_000, "agreed_timeout", "at most 10,000 epochs"),
        ];
        for (holds, name, bounds) in rules.into_iter().chain(self.stake.rules()).chain(self.influence.rules()) {
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
    // As many bytes as it takes: the library begins with 1024, which most records would keep and not fill.
    let mut bytes = Vec::with_capacity(borsh::object_length(record).expect("counting does not fail"));
    record.serialize(&mut bytes).expect("writing to memory does not fail");
    bytes
}
