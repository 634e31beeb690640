//! Nobody is paid twice, nor too little: every account's balance follows from the genesis, the decided blocks and the
//! payouts of settled receipts. And who only copied or lied about attribution was paid nothing for it.

use crate::envelope::Verified;
use crate::genesis::Genesis;
use crate::ids::Account;
use crate::ledger::keys;
use crate::ledger::records::{AccountRecord, DividendRecord, ReceiptRecord, ReceiptState, Role};
use crate::objects::{Action, Object};
use crate::sim::member::Member;
use std::collections::{BTreeMap, BTreeSet};

type Balances = BTreeMap<Account, i128>;

fn signed(amount: u128) -> i128 {
    i128::try_from(amount).unwrap_or(i128::MAX)
}

fn move_out(balances: &mut Balances, account: Account, amount: u128) {
    *balances.entry(account).or_default() -= signed(amount);
}

fn move_in(balances: &mut Balances, account: Account, amount: u128) {
    *balances.entry(account).or_default() += signed(amount);
}

/// What does not add up at a node.
pub(super) fn audit(genesis: &Genesis, member: &Member, parasites: &BTreeSet<Account>) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut balances: Balances =
        genesis.accounts.iter().map(|(account, balance)| (*account, signed(balance.0))).collect();
    spend(genesis, member, &mut balances);
    earn(member, parasites, &mut balances, &mut wrong);
    let accounts = member.disk.entries().range(vec![keys::ACCOUNTS]..vec![keys::ACCOUNTS + 1]);
    for (key, value) in accounts {
        let Ok(record) = borsh::from_slice::<AccountRecord>(value) else { continue };
        let account = Account(keys::last_id(key));
        let expected = balances.remove(&account).unwrap_or(0);
        let held = signed(record.available.0) + signed(record.pending.0);
        if held != expected {
            wrong.push(format!("{account} holds {held} drops; by the blocks and payouts it should be {expected}"));
        }
    }
    wrong.extend(balances.into_iter().filter(|(_, rest)| *rest != 0).map(|(account, rest)| {
        format!("{account} has no record; by the blocks and payouts it should hold {rest} drops")
    }));
    wrong
}

/// What objects in decided blocks cost and move.
fn spend(genesis: &Genesis, member: &Member, balances: &mut Balances) {
    let fee = genesis.params.object_fee.0;
    let envelopes = member.disk.blocks().values().flat_map(|decided| &decided.0.body.envelopes);
    for object in envelopes.filter_map(|envelope| Verified::from_disk(envelope.clone()).ok()) {
        match object.object() {
            Object::Receipt(receipt) => move_out(balances, receipt.payer, receipt.fee.0),
            Object::Operation(operation) => {
                move_out(balances, operation.account, operation.fee.0);
                match operation.action {
                    Action::Transfer { to, amount } => {
                        move_out(balances, operation.account, amount.0);
                        move_in(balances, to, amount.0);
                    }
                    Action::Bond { amount, .. } => move_out(balances, operation.account, amount.0),
                    _ => {}
                }
            }
            Object::AttributionCommit(_) | Object::AttributionReveal(_) | Object::Evidence(_) => {}
            other => {
                for (author, _) in other.signers() {
                    move_out(balances, author, fee);
                }
            }
        }
    }
}

/// What receipts pay: each its fee, once, to whom its payouts name; or back.
fn earn(member: &Member, parasites: &BTreeSet<Account>, balances: &mut Balances, wrong: &mut Vec<String>) {
    let entries = member.disk.entries();
    for (key, value) in entries.range(vec![keys::RECEIPTS]..vec![keys::RECEIPTS + 1]) {
        let Ok(record) = borsh::from_slice::<ReceiptRecord>(value) else { continue };
        let name = crate::ids::to_hex(&key[1..]);
        match &record.state {
            ReceiptState::Sealed { .. } => {}
            ReceiptState::Refunded { .. } => move_in(balances, record.payer, record.fee.0),
            ReceiptState::Settled(settlement) => {
                let paid: u128 = settlement.lines.iter().map(|line| line.amount.0).sum();
                if paid != record.fee.0 {
                    wrong.push(format!("receipt {name} cost {} drops and paid {paid}", record.fee.0));
                }
                for line in &settlement.lines {
                    if let Some(account) = line.account {
                        move_in(balances, account, line.amount.0);
                    }
                    if let Some(parasite) = line.account.filter(|account| parasites.contains(account))
                        && line.role == Role::Validators
                    {
                        wrong.push(format!("receipt {name} pays {parasite} for attribution that it never made"));
                    }
                }
            }
        }
    }
    for (_, value) in entries.range(vec![keys::DIVIDENDS]..vec![keys::DIVIDENDS + 1]) {
        let Ok(record) = borsh::from_slice::<DividendRecord>(value) else { continue };
        record.parts.iter().for_each(|(account, part)| move_in(balances, *account, part.0));
    }
}
