//! Is all money accounted for? Recomputed from the entries alone, by its own arithmetic.

use super::keys;
use super::records::*;
use super::view::{Read, State, decode};
use crate::ids::{Account, ReceiptId};
use crate::objects::Drops;
use std::collections::{BTreeMap, BTreeSet};

/// Where all money is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// All there is.
    pub supply: Drops,
    /// What accounts can spend.
    pub available: Drops,
    /// Payouts in their dispute window.
    pub pending: Drops,
    /// Fees of sealed receipts.
    pub escrow: Drops,
    /// The treasury's balance.
    pub treasury: Drops,
    /// What validators have at stake.
    pub bonded: Drops,
    /// What validators are withdrawing.
    pub unbonding: Drops,
    /// What builders of models by influence have at stake.
    pub rows_bonds: Drops,
    /// What servers put aside.
    pub deposits: Drops,
    /// Fees of settled receipts, all divided.
    pub divided: Drops,
}

/// What does not add up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// Money appeared or is lost.
    #[error("there are {supply} drops, but all places together hold {counted}")]
    Supply {
        /// What there should be.
        supply: Drops,
        /// What there is.
        counted: Drops,
    },
    /// The escrow is not the fees of the sealed receipts.
    #[error("the escrow says {recorded} drops, but the sealed receipts' fees are {counted}")]
    Escrow {
        /// What the escrow says.
        recorded: Drops,
        /// What the receipts say.
        counted: Drops,
    },
    /// An account's pending payouts are not those that will become available.
    #[error("{account} has {recorded} drops pending, but {counted} will become available")]
    Pending {
        /// Whose.
        account: Account,
        /// What the account says.
        recorded: Drops,
        /// What the queue says.
        counted: Drops,
    },
    /// What a validator withdraws is not queued to be paid, or the other way round.
    #[error("{validator} withdraws bonds that are not queued, or the other way round")]
    Unbonding {
        /// Which.
        validator: Account,
    },
    /// What of a server's deposit is locked is not what receipts depend on, or more than it has.
    #[error("{server} has {recorded} drops locked, but receipts depend on {counted}, or the deposit is smaller")]
    Locked {
        /// Whose.
        server: Account,
        /// What the server's record says.
        recorded: Drops,
        /// What the receipts say.
        counted: Drops,
    },
    /// A receipt's payouts are not its fee.
    #[error("receipt {receipt} paid {fee} drops, but its payouts add up to {counted}")]
    Lines {
        /// Which.
        receipt: ReceiptId,
        /// What was paid.
        fee: Drops,
        /// What was handed out.
        counted: Drops,
    },
    /// A dividend's parts are not the dividend.
    #[error("a dividend of {amount} drops at height {height} has parts that add up to {counted}")]
    Dividend {
        /// When.
        height: u64,
        /// All of it.
        amount: Drops,
        /// Its parts together.
        counted: Drops,
    },
    /// A sum does not fit 128 bits.
    #[error("amounts add up to more than can be counted")]
    Overflow,
}

fn sum(amounts: impl IntoIterator<Item = Drops>) -> Result<Drops, Mismatch> {
    amounts.into_iter().try_fold(Drops::ZERO, Drops::checked_add).ok_or(Mismatch::Overflow)
}

fn all<T: borsh::BorshDeserialize>(state: &State, prefix: u8) -> impl Iterator<Item = (&[u8], T)> {
    state.scan(&[prefix]).into_iter().map(|(key, value)| (key, decode(key, value)))
}

/// Recounts all money by looking at every entry. Takes time in proportion to the whole state.
pub fn audit(state: &State) -> Result<Totals, Mismatch> {
    let accounts: BTreeMap<Account, AccountRecord> =
        all(state, keys::ACCOUNTS).map(|(key, record)| (Account(keys::last_id(key)), record)).collect();
    let totals = Totals {
        supply: state.supply(),
        available: sum(accounts.values().map(|account| account.available))?,
        pending: sum(accounts.values().map(|account| account.pending))?,
        escrow: state.escrow(),
        treasury: state.treasury(),
        bonded: sum(all::<ValidatorRecord>(state, keys::CANDIDATE).map(|(_, record)| record.bond))?,
        unbonding: sum(all::<Drops>(state, keys::UNBONDING).map(|(_, amount)| amount))?,
        rows_bonds: sum(all::<RowsRecord>(state, keys::MODEL_ROWS).map(|(_, record)| record.bond))?,
        deposits: sum(all::<ServerRecord>(state, keys::SERVERS).map(|(_, record)| record.deposit))?,
        divided: check_receipts(state)?,
    };
    let counted = sum([
        totals.available,
        totals.pending,
        totals.escrow,
        totals.treasury,
        totals.bonded,
        totals.unbonding,
        totals.rows_bonds,
        totals.deposits,
    ])?;
    if counted != totals.supply {
        return Err(Mismatch::Supply { supply: totals.supply, counted });
    }
    check_pending(state, &accounts)?;
    check_dividends(state)?;
    check_unbonding(state)?;
    check_servers(state)?;
    Ok(totals)
}

/// The fees of settled receipts, each equal to its payouts; those of sealed ones equal to the escrow.
fn check_receipts(state: &State) -> Result<Drops, Mismatch> {
    let (mut sealed, mut settled) = (Vec::new(), Vec::new());
    for (key, record) in all::<ReceiptRecord>(state, keys::RECEIPTS) {
        match record.state {
            ReceiptState::Sealed { .. } => sealed.push(record.fee),
            ReceiptState::Refunded { .. } => {}
            ReceiptState::Settled(settlement) => {
                let counted = sum(settlement.lines.iter().map(|line| line.amount))?;
                if counted != record.fee {
                    let receipt = ReceiptId(keys::last_id(key));
                    return Err(Mismatch::Lines { receipt, fee: record.fee, counted });
                }
                settled.push(record.fee);
            }
        }
    }
    let (recorded, counted) = (state.escrow(), sum(sealed)?);
    if recorded != counted {
        return Err(Mismatch::Escrow { recorded, counted });
    }
    sum(settled)
}

fn check_pending(state: &State, accounts: &BTreeMap<Account, AccountRecord>) -> Result<(), Mismatch> {
    let mut queued: BTreeMap<Account, Drops> = accounts.keys().map(|account| (*account, Drops::ZERO)).collect();
    for (key, amount) in all::<Drops>(state, keys::VESTING) {
        let total = queued.entry(Account(keys::last_id(key))).or_default();
        *total = total.checked_add(amount).ok_or(Mismatch::Overflow)?;
    }
    for (account, counted) in queued {
        let recorded = accounts.get(&account).map(|record| record.pending).unwrap_or_default();
        if recorded != counted {
            return Err(Mismatch::Pending { account, recorded, counted });
        }
    }
    Ok(())
}

/// Both orders of the queue name the same heights and validators, each with a record to be paid by.
fn check_unbonding(state: &State) -> Result<(), Mismatch> {
    let by_validator: BTreeSet<(Account, u64)> = (state.scan(&[keys::UNBONDING]).into_keys())
        .map(|key| {
            let validator = key.get(1..33).and_then(|bytes| bytes.try_into().ok()).unwrap_or_default();
            (Account(validator), keys::last_number(key))
        })
        .collect();
    let by_height: BTreeSet<(Account, u64)> = (state.scan(&[keys::UNBONDING_DUE]).into_keys())
        .map(|key| (Account(keys::last_id(key)), keys::first_number(key)))
        .collect();
    let odd = by_validator.symmetric_difference(&by_height).next();
    let ownerless = by_height.iter().find(|(validator, _)| state.candidate(validator).is_none());
    match odd.or(ownerless) {
        Some((validator, _)) => Err(Mismatch::Unbonding { validator: *validator }),
        None => Ok(()),
    }
}

/// What of each deposit is locked is what receipts in their audit window depend on, and no more than the deposit.
fn check_servers(state: &State) -> Result<(), Mismatch> {
    let mut locked: BTreeMap<Account, Drops> = BTreeMap::new();
    for (_, audit) in all::<AuditRecord>(state, keys::AUDITS) {
        let together = locked.entry(audit.server).or_default();
        *together = together.checked_add(audit.locked).ok_or(Mismatch::Overflow)?;
    }
    let records = all::<ServerRecord>(state, keys::SERVERS).map(|(key, record)| (Account(keys::last_id(key)), record));
    let records: BTreeMap<Account, ServerRecord> = records.collect();
    for server in locked.keys().chain(records.keys()) {
        let record = records.get(server).copied().unwrap_or_default();
        let counted = locked.get(server).copied().unwrap_or_default();
        if record.locked != counted || counted > record.deposit {
            return Err(Mismatch::Locked { server: *server, recorded: record.locked, counted });
        }
    }
    Ok(())
}

fn check_dividends(state: &State) -> Result<(), Mismatch> {
    for (key, record) in all::<DividendRecord>(state, keys::DIVIDENDS) {
        let counted = sum(record.parts.iter().map(|(_, part)| *part))?;
        if !record.parts.is_empty() && counted != record.amount {
            return Err(Mismatch::Dividend { height: keys::first_number(key), amount: record.amount, counted });
        }
    }
    Ok(())
}
