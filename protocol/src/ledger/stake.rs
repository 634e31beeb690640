//! Who may validate, and what it stakes for that.
//!
//! Rules:
//!
//! - **Bond**: an account puts drops of its own at stake, at least `min_bond`, and then validates with its own key under a
//!   name that nobody else has. It may add to the bond and name another payout account at any time.
//! - **Election**: at a block's end the active candidates with the greatest bonds, at most `max_validators`, ties by key,
//!   make the set that counts two heights later. Power is bond by `power_unit`, rounded down.
//! - **Unbond**: what is withdrawn counts no more at h + 2, can be slashed for `unbonding_epochs`, and then goes to the
//!   payout account. What stays is nothing, or enough to count. Who has nothing left and nothing to come is forgotten.
//! - **Jail**: a jailed validator is no candidate until it says that it is ready again, `jail_epochs` later at the
//!   earliest.
//! - **Slash**: what is lost goes to the treasury. Bond and withdrawals lose by the same rate, rounded down.
//! - **Tombstone**: whoever signed twice is out for ever. See `offences`.
//! - **There is always a set**: the last candidate can neither withdraw nor be jailed, and if none is left after all, the
//!   set stays as it was.

use super::content::state;
use super::event::Event;
use super::keys;
use super::records::*;
use super::run::Run;
use super::view::Read;
use crate::block::{Validator, ValidatorSet};
use crate::crypto::document_hash;
use crate::genesis::{StakeParams, WHOLE_BP};
use crate::ids::Account;
use crate::limits::{MAX_CANDIDATES, MAX_UNBONDINGS};
use crate::objects::Drops;
use crate::refusal::Refusal;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// The set that candidates make: a pure function of the records and the parameters.
pub fn elect(candidates: &BTreeMap<Account, ValidatorRecord>, params: &StakeParams) -> ValidatorSet {
    let mut able: Vec<(&Account, &ValidatorRecord)> =
        candidates.iter().filter(|(_, record)| is_able(record, params)).collect();
    able.sort_by_key(|(key, record)| (Reverse(record.bond), **key));
    able.truncate(usize::try_from(params.max_validators).unwrap_or(usize::MAX));
    let member = |(key, record): (&Account, &ValidatorRecord)| Validator {
        key: *key,
        payout: record.payout,
        power: params.power_of(record.bond),
    };
    ValidatorSet::new(able.into_iter().map(member).collect())
}

/// Can it be elected?
fn is_able(record: &ValidatorRecord, params: &StakeParams) -> bool {
    record.state == ValidatorState::Active && params.power_of(record.bond) > 0
}

impl Run<'_> {
    pub(super) fn bond(&mut self, key: &Account, amount: Drops, payout: Account, name: &str) -> Result<(), Refusal> {
        let known = self.view.candidate(key).or_else(|| self.view.record(&keys::tombstone(key)));
        let is_new = known.is_none();
        let mut record = match known {
            Some(record) => record,
            None => self.enrol(payout)?,
        };
        if let ValidatorState::Tombstoned { height, .. } = record.state {
            return Err(state("the validator", format!("it signed twice and is out for ever, since epoch {height}")));
        }
        self.take_name(key, &record.name, name)?;
        record.bond.0 += amount.0;
        let least = self.ctx.params.stake.min_bond;
        if record.bond < least && (is_new || amount > Drops::ZERO) {
            let reason = format!("its bond would be {} drops, and the least that counts is {least}", record.bond);
            return Err(state("the validator", reason));
        }
        record.payout = payout;
        record.name = name.to_owned();
        self.view.put(keys::candidate(key), &record);
        self.events.push(Event::Bonded { validator: *key, amount });
        Ok(())
    }

    /// A record for somebody who has none.
    fn enrol(&mut self, payout: Account) -> Result<ValidatorRecord, Refusal> {
        let count: u64 = self.view.record(keys::CANDIDATES).unwrap_or_default();
        if count >= MAX_CANDIDATES {
            return Err(state(
                "the network",
                format!("{MAX_CANDIDATES} accounts have a bond, and there may be no more"),
            ));
        }
        self.view.put(keys::CANDIDATES.to_vec(), &(count + 1));
        Ok(ValidatorRecord {
            payout,
            name: String::new(),
            bond: Drops::ZERO,
            state: ValidatorState::Active,
            since: self.ctx.height,
            slashed: Drops::ZERO,
            jailings: 0,
        })
    }

    /// Makes a name this validator's in place of the one that it had.
    fn take_name(&mut self, key: &Account, old: &str, new: &str) -> Result<(), Refusal> {
        let place = keys::candidate_name(&document_hash(new.as_bytes()));
        match self.view.record::<Account>(&place) {
            Some(holder) if holder == *key => return Ok(()),
            Some(holder) => return Err(state("the name", format!("{holder} validates under it"))),
            None => {}
        }
        if !old.is_empty() {
            self.view.remove(keys::candidate_name(&document_hash(old.as_bytes())));
        }
        self.view.put(place, key);
        Ok(())
    }

    pub(super) fn unbond(&mut self, key: &Account, amount: Drops) -> Result<(), Refusal> {
        let mut record = self.bonded(key)?;
        let Some(rest) = record.bond.checked_sub(amount) else {
            return Err(Refusal::Funds { account: *key, available: record.bond, needed: amount });
        };
        let params = &self.ctx.params.stake;
        if rest > Drops::ZERO && rest < params.min_bond {
            let reason = format!("{rest} drops would stay, less than the {} that count; withdraw all", params.min_bond);
            return Err(state("the bond", reason));
        }
        let was_able = is_able(&record, params);
        record.bond = rest;
        if was_able && !is_able(&record, params) && self.is_alone(key) {
            return Err(state("the validator", "nobody else could validate if it left"));
        }
        let due = self.ctx.height.saturating_add(params.unbonding_epochs);
        let place = keys::unbonding(key, due);
        let queued = self.view.unbonding(key);
        if queued.len() >= MAX_UNBONDINGS && !queued.contains_key(&due) {
            return Err(state("the bond", format!("{MAX_UNBONDINGS} withdrawals wait already; wait for the first")));
        }
        let together = Drops(queued.get(&due).copied().unwrap_or_default().0 + amount.0);
        self.view.put(place, &together);
        self.view.put(keys::unbonding_due(due, key), &());
        self.view.put(keys::candidate(key), &record);
        self.events.push(Event::Unbonding { validator: *key, amount, until: due });
        Ok(())
    }

    pub(super) fn unjail(&mut self, key: &Account) -> Result<(), Refusal> {
        let mut record = self.bonded(key)?;
        let until = match record.state {
            ValidatorState::Jailed { until, .. } => until,
            ValidatorState::Active => return Err(state("the validator", "it is not jailed")),
            ValidatorState::Tombstoned { .. } => {
                return Err(state("the validator", "it signed twice and is out for ever"));
            }
        };
        if self.ctx.height < until {
            return Err(state("the validator", format!("it is jailed until epoch {until}")));
        }
        if self.ctx.params.stake.power_of(record.bond) == 0 {
            let least = self.ctx.params.stake.min_bond;
            let reason = format!("its bond is {} drops, and the least that counts is {least}", record.bond);
            return Err(state("the validator", reason));
        }
        record.state = ValidatorState::Active;
        self.view.put(keys::candidate(key), &record);
        self.events.push(Event::Unjailed { validator: *key });
        Ok(())
    }

    fn bonded(&self, key: &Account) -> Result<ValidatorRecord, Refusal> {
        self.view.candidate(key).ok_or_else(|| state("the account", "it has no bond"))
    }

    /// Could nobody but this validator be elected?
    fn is_alone(&self, key: &Account) -> bool {
        let params = &self.ctx.params.stake;
        !self.view.candidates().iter().any(|(other, record)| other != key && is_able(record, params))
    }

    /// Jails a validator at a block's end, unless it is the last. Did it?
    pub(super) fn jail(&mut self, key: &Account, reason: JailReason) -> bool {
        let Some(mut record) = self.view.candidate(key) else { return false };
        if record.state != ValidatorState::Active || self.is_alone(key) {
            return false;
        }
        let until = self.ctx.height.saturating_add(self.ctx.params.stake.jail_epochs);
        record.state = ValidatorState::Jailed { until, reason };
        record.jailings = record.jailings.saturating_add(1);
        self.view.put(keys::candidate(key), &record);
        self.events.push(Event::Jailed { validator: *key, until, reason });
        if reason == JailReason::Downtime {
            self.slash(key, self.ctx.params.stake.downtime_slash_bp, SlashReason::Downtime);
        }
        true
    }

    /// Takes a part of a validator's bond, and after a double signature of what it is withdrawing too.
    pub(super) fn slash(&mut self, key: &Account, rate_bp: u32, reason: SlashReason) {
        let Some(mut record) = self.view.candidate(key) else { return };
        let part = |amount: Drops| amount.0 * u128::from(rate_bp.min(WHOLE_BP)) / u128::from(WHOLE_BP);
        let mut lost = part(record.bond);
        record.bond.0 -= lost;
        if reason == SlashReason::DoubleSign {
            for (due, amount) in self.view.unbonding(key) {
                let cut = part(amount);
                lost += cut;
                self.view.put(keys::unbonding(key, due), &Drops(amount.0 - cut));
            }
        }
        if lost == 0 {
            return;
        }
        record.slashed.0 += lost;
        self.view.put(keys::candidate(key), &record);
        self.fund_treasury(Drops(lost));
        self.events.push(Event::Slashed { validator: *key, amount: Drops(lost), reason });
    }

    /// At a block's start: withdrawals that were waited for are paid.
    pub(super) fn pay_unbonded(&mut self) {
        let end = keys::unbonding_due_at(self.ctx.height.saturating_add(1));
        let due = self.view.range(&keys::unbonding_due_at(0), &end).into_keys();
        let due: Vec<(u64, Account)> = due.map(|key| (keys::first_number(key), Account(keys::last_id(key)))).collect();
        for (height, validator) in due {
            let place = keys::unbonding(&validator, height);
            let amount: Drops = self.view.record(&place).unwrap_or_default();
            self.view.remove(place);
            self.view.remove(keys::unbonding_due(height, &validator));
            let Some(record) = self.view.candidate(&validator) else { continue };
            self.credit(&record.payout, amount);
            self.events.push(Event::PaidBack { validator, amount });
            self.forget_if_gone(&validator, &record);
        }
    }

    /// Removes a validator that has nothing at stake and nothing to come. Of one that signed twice the tombstone and the
    /// name stay, but it takes no candidate's place: or a few could take them all, one after the other with the same money.
    fn forget_if_gone(&mut self, key: &Account, record: &ValidatorRecord) {
        if record.bond > Drops::ZERO || !self.view.unbonding(key).is_empty() {
            return;
        }
        match record.state {
            ValidatorState::Tombstoned { .. } => self.view.put(keys::tombstone(key), record),
            _ => self.view.remove(keys::candidate_name(&document_hash(record.name.as_bytes()))),
        }
        let count: u64 = self.view.record(keys::CANDIDATES).unwrap_or_default();
        self.view.put(keys::CANDIDATES.to_vec(), &count.saturating_sub(1));
        self.view.remove(keys::duties(key));
        self.view.remove(keys::candidate(key));
    }

    /// At a block's end: the sets move on by one height.
    pub(super) fn elect_validators(&mut self) {
        let next = self.view.next_validators();
        self.view.put(keys::LAST_VALIDATORS.to_vec(), &self.ctx.validators);
        if let Some(next) = &next {
            self.view.put(keys::VALIDATORS.to_vec(), next);
        }
        if !self.view.touched(keys::CANDIDATE) {
            return;
        }
        let elected = elect(&self.view.candidates(), &self.ctx.params.stake);
        if !elected.members().is_empty() && next.as_ref() != Some(&elected) {
            self.events.push(Event::ValidatorsElected { height: self.ctx.height.saturating_add(2) });
            self.view.put(keys::NEXT_VALIDATORS.to_vec(), &elected);
        }
    }
}
