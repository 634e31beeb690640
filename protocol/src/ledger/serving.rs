//! What servers of models by influence answer for.
//!
//! Who is paid for an answer follows from the query and the solution that its server put into the receipt. So:
//!
//! - **Deposit**: an account puts drops aside. A receipt is sealed only if enough of them is free, and locks that part:
//!   [`InfluenceParams::penalty`](crate::genesis::InfluenceParams::penalty) of its fee.
//! - **Draw**: the beacon of the epoch after picks receipts whose queries validators compute anew.
//! - **Forfeit**: when more than two thirds of all power refute a query within the audit window, or the solution is found not
//!   to solve, what is locked is lost: half to the contributors of the model's data.
//! - **Release**: at the end of the window, which begins when the receipt must be settled, what is locked is free again.

use super::content::state;
use super::event::Event;
use super::keys;
use super::records::*;
use super::run::Run;
use super::view::{Read, decode};
use crate::block::Block;
use crate::crypto::query_draw;
use crate::genesis::WHOLE_BP;
use crate::ids::{Account, ReceiptId};
use crate::objects::{Drops, Receipt};
use crate::refusal::Refusal;
use std::collections::BTreeSet;

impl Run<'_> {
    /// Takes what an operation paid.
    pub(super) fn deposit(&mut self, account: &Account, amount: Drops) {
        let mut record = self.view.server(account);
        record.deposit.0 += amount.0;
        self.view.put(keys::server(account), &record);
        self.events.push(Event::Deposited { server: *account, amount });
    }

    pub(super) fn withdraw(&mut self, account: &Account, amount: Drops) -> Result<(), Refusal> {
        let mut record = self.view.server(account);
        let available = free(&record);
        if amount > available {
            let reason = format!(
                "{available} drops of it are free, and not {amount}; what receipts in their audit window hold is free after"
            );
            return Err(state("the deposit", reason));
        }
        record.deposit.0 -= amount.0;
        self.credit(account, amount);
        match record == ServerRecord::default() {
            true => self.view.remove(keys::server(account)),
            false => self.view.put(keys::server(account), &record),
        }
        self.events.push(Event::Withdrawn { server: *account, amount });
        Ok(())
    }

    /// A server answers for a receipt of a model by influence.
    pub(super) fn answer_for(&mut self, id: &ReceiptId, receipt: &Receipt) -> Result<(), Refusal> {
        let mut record = self.view.server(&receipt.server);
        let (available, locked) = (free(&record), self.ctx.params.influence.penalty(receipt.fee));
        if locked > available {
            let reason = format!(
                "it answers for this receipt with {locked} drops, and {available} of its deposit are free; deposit more, or \
                 wait until receipts leave their audit window"
            );
            return Err(state("the server", reason));
        }
        record.locked.0 += locked.0;
        self.view.put(keys::server(&receipt.server), &record);
        let until = self.ctx.params.audit_end(self.ctx.height);
        let (server, model) = (receipt.server, receipt.model);
        let audit = AuditRecord { server, model, locked, drawn: None, refuted: BTreeSet::new() };
        self.view.put(keys::audit(until, id), &audit);
        Ok(())
    }

    /// The place of a receipt that its server answers for.
    fn audit_of(&self, id: &ReceiptId) -> Option<(Vec<u8>, AuditRecord)> {
        let until = self.ctx.params.audit_end(self.view.receipt(id)?.epoch);
        let key = keys::audit(until, id);
        let record = self.view.record(&key)?;
        Some((key, record))
    }

    pub(super) fn refute_query(&mut self, validator: &Account, id: ReceiptId) -> Result<(), Refusal> {
        if self.ctx.validators.get(validator).is_none() {
            return Err(Refusal::Forbidden { account: *validator, reason: "only a validator refutes a query" });
        }
        let Some((key, mut audit)) = self.audit_of(&id) else {
            return Err(state("the receipt", format!("nobody answers for the query of receipt {id} now")));
        };
        if !audit.refuted.insert(*validator) {
            return Err(state("the receipt", "this validator has refuted its query already"));
        }
        self.view.put(key, &audit);
        let power = audit.refuted.iter().filter_map(|key| self.ctx.validators.get(key)).map(|member| member.power);
        if self.ctx.validators.is_quorum(power.sum()) {
            self.forfeit(&id);
        }
        Ok(())
    }

    /// A server loses what it answers with for a receipt.
    pub(super) fn forfeit(&mut self, id: &ReceiptId) {
        let Some((key, audit)) = self.audit_of(id) else { return };
        let (server, amount) = (audit.server, audit.locked);
        let mut record = self.view.server(&server);
        record.deposit.0 -= amount.0;
        record.locked.0 -= amount.0;
        record.forfeited.0 += amount.0;
        self.view.put(keys::server(&server), &record);
        self.view.remove(key);
        self.compensate(&audit.model, amount);
        self.events.push(Event::Forfeited { server, receipt: *id, amount });
    }

    /// At a block's end: picks receipts of the epoch before.
    pub(super) fn draw_audits(&mut self, block: &Block) {
        let until = self.ctx.params.audit_end(self.ctx.height.saturating_sub(1));
        let entries = self.view.scan(&keys::audits_until(until)).into_iter();
        let audits: Vec<(Vec<u8>, AuditRecord)> =
            entries.map(|(key, value)| (key.to_vec(), decode(key, value))).collect();
        for (key, mut audit) in audits {
            let number = query_draw(&block.header.beacon, &ReceiptId(keys::last_id(&key)));
            audit.drawn = Some(number % u64::from(WHOLE_BP) < u64::from(self.ctx.params.influence.audit_bp));
            self.view.put(key, &audit);
        }
    }

    /// At a block's start: servers do not answer any more for receipts whose audit window is over.
    pub(super) fn release_audits(&mut self) {
        let due = self.view.range(&keys::audits_until(0), &keys::audits_until(self.ctx.height.saturating_add(1)));
        let due: Vec<(Vec<u8>, AuditRecord)> =
            due.into_iter().map(|(key, value)| (key.to_vec(), decode(key, value))).collect();
        for (key, audit) in due {
            let mut record = self.view.server(&audit.server);
            record.locked.0 -= audit.locked.0;
            self.view.put(keys::server(&audit.server), &record);
            self.view.remove(key);
        }
    }
}

/// What of a deposit nothing depends on.
fn free(record: &ServerRecord) -> Drops {
    record.deposit.checked_sub(record.locked).unwrap_or_default()
}
