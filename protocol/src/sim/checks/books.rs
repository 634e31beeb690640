//! Nobody is paid twice, nor too little: every account's balance follows from the genesis, the decided blocks and the
//! payouts of settled receipts, every bond from what was bonded and withdrawn, and what was withdrawn is paid back in time.
//! And who only copied or lied about attribution was paid nothing for it.

use crate::envelope::Verified;
use crate::genesis::Genesis;
use crate::ids::Account;
use crate::ledger::records::{AccountRecord, DividendRecord, ReceiptRecord, ReceiptState, Role, ValidatorRecord};
use crate::ledger::{Event, keys};
use crate::objects::{Action, Envelope, Object};
use crate::sim::member::Member;
use crate::sim::world::NodeIndex;
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

/// What nodes said of punishments, by height. Who is punished when is for tests of the ledger; here it must only be said
/// by all nodes alike, and be what is missing from bonds.
#[derive(Debug, Default)]
pub(super) struct Slashes(BTreeMap<u64, Vec<(Account, u128)>>);

impl Slashes {
    /// A node committed an epoch.
    pub(super) fn committed(&mut self, index: NodeIndex, height: u64, events: &[Event]) -> Result<(), String> {
        let slashed = |event: &Event| match event {
            Event::Slashed { validator, amount, .. } => Some((*validator, amount.0)),
            _ => None,
        };
        let slashes: Vec<(Account, u128)> = events.iter().filter_map(slashed).collect();
        let first = self.0.entry(height).or_insert_with(|| slashes.clone());
        if *first == slashes { Ok(()) } else { Err(format!("node {index} punishes others than were at {height}")) }
    }
}

/// What does not add up at a node.
pub(super) fn audit(
    genesis: &Genesis,
    member: &Member,
    parasites: &BTreeSet<Account>,
    slashes: &Slashes,
) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut balances: Balances =
        genesis.accounts.iter().map(|(account, balance)| (*account, signed(balance.0))).collect();
    let stakes = spend(genesis, member, &mut balances, slashes);
    stakes.compare(member, &mut wrong);
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

/// What validators have at stake by the decided blocks. Criminals, who are slashed for what they sign, withdraw nothing.
struct Stakes {
    /// All that was ever bonded, and neither withdrawn nor lost.
    bonds: Balances,
    payouts: BTreeMap<Account, Account>,
    /// What is paid back, by height.
    due: BTreeMap<u64, Vec<(Account, u128)>>,
}

impl Stakes {
    fn of_genesis(genesis: &Genesis) -> Self {
        let unit = genesis.params.stake.power_unit.0;
        let bonds =
            genesis.validators.iter().map(|first| (first.key, signed(u128::from(first.power) * unit))).collect();
        let payouts = genesis.validators.iter().map(|first| (first.key, first.payout)).collect();
        Self { bonds, payouts, due: BTreeMap::new() }
    }

    /// A block begins by paying back what is due, to whoever is paid at that time.
    fn pay_back(&mut self, height: u64, balances: &mut Balances) {
        for (validator, amount) in self.due.remove(&height).unwrap_or_default() {
            move_in(balances, self.payouts.get(&validator).copied().unwrap_or(validator), amount);
        }
    }

    fn operate(&mut self, account: Account, height: u64, wait: u64, action: &Action) {
        match action {
            Action::Bond { amount, payout, .. } => {
                move_in(&mut self.bonds, account, amount.0);
                self.payouts.insert(account, *payout);
            }
            Action::Unbond { amount } => {
                move_out(&mut self.bonds, account, amount.0);
                self.due.entry(height + wait).or_default().push((account, amount.0));
            }
            _ => {}
        }
    }

    /// Bonds on the disk must be these.
    fn compare(mut self, member: &Member, wrong: &mut Vec<String>) {
        for (key, value) in member.disk.entries().range(vec![keys::CANDIDATE]..vec![keys::CANDIDATE + 1]) {
            let Ok(record) = borsh::from_slice::<ValidatorRecord>(value) else { continue };
            let validator = Account(keys::last_id(key));
            let expected = self.bonds.remove(&validator).unwrap_or(0);
            let held = signed(record.bond.0);
            if held != expected {
                wrong.push(format!("{validator} has {held} drops at stake; by the blocks it should be {expected}"));
            }
        }
        for (validator, rest) in self.bonds.into_iter().filter(|(_, rest)| *rest != 0) {
            wrong.push(format!("{validator} is forgotten; by the blocks it should have {rest} drops at stake"));
        }
        for (validator, amount) in self.due.into_values().flatten() {
            let waits =
                member.disk.entries().range(keys::unbonding_of(&validator)..keys::unbonding(&validator, u64::MAX));
            if waits.count() == 0 {
                wrong.push(format!("{validator} withdrew {amount} drops, which are not kept for it"));
            }
        }
    }
}

/// What objects in decided blocks cost and move, and put at stake.
fn spend(genesis: &Genesis, member: &Member, balances: &mut Balances, slashes: &Slashes) -> Stakes {
    let mut stakes = Stakes::of_genesis(genesis);
    for (height, decided) in member.disk.blocks() {
        stakes.pay_back(*height, balances);
        spend_in(genesis, *height, &decided.0.body.envelopes, balances, &mut stakes);
        for (validator, amount) in slashes.0.get(height).into_iter().flatten() {
            move_out(&mut stakes.bonds, *validator, *amount);
        }
    }
    stakes
}

fn spend_in(genesis: &Genesis, height: u64, envelopes: &[Envelope], balances: &mut Balances, stakes: &mut Stakes) {
    let (fee, wait) = (genesis.params.object_fee.0, genesis.params.stake.unbonding_epochs);
    for object in envelopes.iter().filter_map(|envelope| Verified::from_disk(envelope.clone()).ok()) {
        match object.object() {
            Object::Receipt(receipt) => move_out(balances, receipt.payer, receipt.fee.0),
            Object::Operation(operation) => {
                move_out(balances, operation.account, operation.fee.0);
                stakes.operate(operation.account, height, wait, &operation.action);
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
