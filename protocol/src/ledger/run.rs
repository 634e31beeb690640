//! One block being carried out, object by object.

use super::event::Event;
use super::keys;
use super::records::DutyRecord;
use super::view::{Overlay, Read, State};
use crate::block::{Block, ValidatorSet};
use crate::envelope::Verified;
use crate::genesis::Params;
use crate::ids::{Account, DataNetId, ReceiptId};
use crate::objects::{Drops, Object};
use crate::refusal::Refusal;
use std::collections::{BTreeMap, BTreeSet};

/// How far ahead of an account's next operation a pool keeps its operations.
pub const NONCE_WINDOW: u64 = 64;
/// How many epochs ahead of this node a pool keeps validators' commits and reveals, for a node that is behind.
pub const EPOCHS_AHEAD: u64 = 64;

/// What holds for one block whatever it contains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// The block's height.
    pub height: u64,
    /// The parameters in force.
    pub params: Params,
    /// Who validates.
    pub validators: ValidatorSet,
}

impl Context {
    /// The context of the block after `state`; none before a genesis was applied.
    pub fn next(state: &State) -> Option<Self> {
        Some(Self { height: state.height() + 1, params: state.params()?, validators: state.validators()? })
    }
}

/// A block being carried out.
pub(super) struct Run<'a> {
    pub(super) view: Overlay<'a>,
    pub(super) ctx: &'a Context,
    pub(super) events: Vec<Event>,
    /// Receipts sealed in this block, with the DataNets that must be searched.
    pub(super) sealed: Vec<(ReceiptId, Vec<DataNetId>)>,
    /// The DataNets in which they open work.
    pub(super) works: BTreeSet<DataNetId>,
    /// The bound of their evidence, in bytes.
    pub(super) evidence_bytes: u64,
    /// Payouts of this block, booked at its end.
    pub(super) payouts: BTreeMap<Account, u128>,
    /// Base dividends of this block, divided at its end.
    pub(super) dividends: BTreeMap<DataNetId, u128>,
    /// What validators are found to have failed to do in this block, booked at its end.
    pub(super) failures: BTreeMap<Account, DutyRecord>,
}

impl<'a> Run<'a> {
    /// Begins a block: what is due becomes available, what was withdrawn long enough ago is paid, what servers
    /// answered for long enough is free, what was not agreed on in time is refunded.
    pub(super) fn begin(state: &'a State, ctx: &'a Context) -> Self {
        let mut run = Self::scratch(state, ctx);
        run.vest();
        run.pay_unbonded();
        run.release_audits();
        run.refund_overdue();
        run
    }

    /// A run that carries out nothing of itself.
    fn scratch(state: &'a State, ctx: &'a Context) -> Self {
        Self {
            view: Overlay::new(state),
            ctx,
            events: Vec::new(),
            sealed: Vec::new(),
            works: BTreeSet::new(),
            evidence_bytes: 0,
            payouts: BTreeMap::new(),
            dividends: BTreeMap::new(),
            failures: BTreeMap::new(),
        }
    }

    /// Carries out one object, or refuses it without a trace.
    pub(super) fn apply(&mut self, verified: &Verified) -> Result<(), Refusal> {
        self.view.checkpoint();
        let events = self.events.len();
        // Before settlements there are none but what cheats forfeited.
        let dividends = self.dividends.clone();
        let result = self.dispatch(verified);
        if result.is_err() {
            self.view.rollback();
            self.events.truncate(events);
            self.dividends = dividends;
        }
        result
    }

    fn dispatch(&mut self, verified: &Verified) -> Result<(), Refusal> {
        let id = verified.id();
        match verified.object() {
            Object::DataNet(object) => self.datanet(id.into(), object),
            Object::Contribution(object) => self.contribution(id.into(), object),
            Object::DatasetManifest(object) => self.manifest(id.into(), object),
            Object::ModelManifest(object) => self.model(id.into(), object),
            Object::Receipt(object) => self.receipt(id.into(), object),
            Object::Operation(object) => self.operation(object),
            Object::AttributionCommit(object) => self.commit(object),
            Object::AttributionReveal(object) => self.reveal(object),
            Object::Evidence(object) => self.evidence(id, object),
        }
    }

    /// Ends a block: commits close, new attribution opens, dividends are divided, payouts are booked, absences and
    /// failures are counted, and the validators of the height after the next are elected.
    pub(super) fn finish(mut self, block: &Block) -> (super::Changes, Vec<Event>) {
        self.recount_attestations();
        self.recount_rows();
        self.draw_rows(block);
        self.draw_audits(block);
        self.close_commits();
        self.open_work();
        self.divide_dividends();
        self.book_payouts();
        self.book_failures();
        self.note_absences(block);
        self.elect_validators();
        self.keep_beacon(block);
        self.view.put(keys::HEIGHT.to_vec(), &self.ctx.height);
        (self.view.into_changes(), self.events)
    }

    /// Could what was refused be accepted in a later block, without anything new from its author?
    ///
    /// A pool keeps such objects: operations a little ahead of their account's order, and what validators say of epochs
    /// or phases that this node has not reached.
    pub(super) fn may_come_later(&self, object: &Object, refusal: &Refusal) -> bool {
        let last_ahead = self.ctx.height.saturating_add(EPOCHS_AHEAD);
        let ahead = |epoch: u64| (self.ctx.height..=last_ahead).contains(&epoch);
        match (refusal, object) {
            (Refusal::Full { .. }, _) => true,
            (Refusal::Nonce { expected, got, .. }, _) => {
                got > expected && *got <= expected.saturating_add(NONCE_WINDOW)
            }
            (Refusal::State { .. }, Object::AttributionCommit(commit)) => ahead(commit.epoch),
            (Refusal::State { .. }, Object::AttributionReveal(reveal)) => {
                let work = self.view.work(reveal.epoch, &reveal.datanet);
                ahead(reveal.epoch) || work.is_some_and(|work| work.closed.is_none())
            }
            _ => false,
        }
    }

    // Money. Every movement takes from one place exactly what it gives to another.

    /// Takes from what an account has available.
    pub(super) fn debit(&mut self, account: &Account, amount: Drops) -> Result<(), Refusal> {
        let mut record = self.view.account(account);
        let Some(rest) = record.available.checked_sub(amount) else {
            return Err(Refusal::Funds { account: *account, available: record.available, needed: amount });
        };
        record.available = rest;
        self.view.put(keys::account(account), &record);
        Ok(())
    }

    /// Gives to what an account has available.
    pub(super) fn credit(&mut self, account: &Account, amount: Drops) {
        let mut record = self.view.account(account);
        record.available.0 += amount.0;
        self.view.put(keys::account(account), &record);
    }

    /// Gives to the treasury.
    pub(super) fn fund_treasury(&mut self, amount: Drops) {
        let treasury = Drops(self.view.treasury().0 + amount.0);
        self.view.put(keys::TREASURY.to_vec(), &treasury);
    }

    /// Gives a sealed receipt's fee to the escrow.
    pub(super) fn lock_fee(&mut self, amount: Drops) {
        let escrow = Drops(self.view.escrow().0 + amount.0);
        self.view.put(keys::ESCROW.to_vec(), &escrow);
    }

    /// Takes a sealed receipt's fee out of the escrow.
    pub(super) fn release_fee(&mut self, amount: Drops) {
        let escrow = Drops(self.view.escrow().0 - amount.0);
        self.view.put(keys::ESCROW.to_vec(), &escrow);
    }

    /// What registering an object costs its author.
    pub(super) fn pay_object_fee(&mut self, author: &Account) -> Result<(), Refusal> {
        self.debit(author, self.ctx.params.object_fee)?;
        self.fund_treasury(self.ctx.params.object_fee);
        Ok(())
    }

    fn vest(&mut self) {
        let due = self.view.range(&keys::vesting_at(0), &keys::vesting_at(self.ctx.height.saturating_add(1)));
        let due: Vec<(Vec<u8>, Drops)> =
            due.into_iter().map(|(key, value)| (key.to_vec(), super::view::decode(key, value))).collect();
        for (key, amount) in due {
            let account = Account(keys::last_id(&key));
            let mut record = self.view.account(&account);
            record.pending.0 -= amount.0;
            record.available.0 += amount.0;
            self.view.put(keys::account(&account), &record);
            self.view.remove(key);
        }
    }

    fn book_payouts(&mut self) {
        let due = self.ctx.height.saturating_add(self.ctx.params.dispute_window);
        for (account, amount) in std::mem::take(&mut self.payouts) {
            let mut record = self.view.account(&account);
            record.pending.0 += amount;
            self.view.put(keys::account(&account), &record);
            self.view.put(keys::vesting(due, &account), &Drops(amount));
        }
    }
}

/// Would the next block after `state` accept this object, or a block soon after it? For admission to a pool.
pub fn check_object(state: &State, ctx: &Context, verified: &Verified) -> Result<(), Refusal> {
    let mut run = Run::scratch(state, ctx);
    match run.apply(verified) {
        Err(refusal) if !run.may_come_later(verified.object(), &refusal) => Err(refusal),
        _ => Ok(()),
    }
}
