//! What a validator owes to models by influence: to look at rows that are offered, and at queries that the beacon picks.
//!
//! Rules:
//!
//! - Rows whose draw is known are looked at once, and again for every row that others refute meanwhile. A validator attests
//!   them, or refutes the row that it found wrong.
//! - Each receipt that was drawn is looked at, some at a time, while its server still answers for it. Who finds its query
//!   right says nothing.
//! - What was found stays known until the ledger has it, so that what is dropped on the way is said again.
//! - Without an answer from outside, because nobody serves the rows say, nothing is said: rows then never count.

use super::{Effect, Node};
use crate::envelope::Verified;
use crate::ids::{Account, Hash32, ModelId, ReceiptId};
use crate::influence::RowName;
use crate::ledger;
use crate::ledger::records::RowsRecord;
use crate::limits::MAX_QUERY_AUDITS;
use crate::objects::{Action, Drops, Object, Operation};
use std::collections::{BTreeMap, BTreeSet};

/// What is done and under way.
#[derive(Debug, Default)]
pub(super) struct Audits {
    rows: BTreeMap<ModelId, RowsAudit>,
    /// The first epoch whose drawn receipts are not gathered yet.
    next_epoch: u64,
    /// Receipts to be looked at.
    waiting: BTreeSet<ReceiptId>,
    /// Receipts that are looked at now.
    under_way: BTreeSet<ReceiptId>,
    /// Receipts whose queries were found wrong.
    wrong: BTreeSet<ReceiptId>,
}

/// What this node knows of the rows that a model's builder offers.
#[derive(Debug)]
struct RowsAudit {
    root: Hash32,
    under_way: bool,
    /// Rows that others refute and that were looked at here too.
    looked_at: BTreeSet<RowName>,
    /// What was found: nothing wrong, or a wrong row.
    found: Option<Result<(), RowName>>,
}

/// What is to be done about rows.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    None,
    Look(Vec<RowName>),
    Attest,
    Refute(RowName),
}

impl RowsAudit {
    fn next(&self, record: &RowsRecord, own: &Account) -> Step {
        let challenged: BTreeSet<RowName> = record.refuted.values().copied().collect();
        let news = || challenged.difference(&self.looked_at).next().is_some();
        match self.found {
            // Nobody takes a refutation back.
            _ if record.refuted.contains_key(own) => Step::None,
            Some(Err(row)) => Step::Refute(row),
            _ if self.under_way => Step::None,
            Some(Ok(())) if !news() && record.attested.contains(own) => Step::None,
            Some(Ok(())) if !news() => Step::Attest,
            _ => Step::Look(challenged.into_iter().collect()),
        }
    }
}

impl Node {
    /// Rows were looked at: none is wrong, or this one is.
    pub(super) fn on_rows_audited(&mut self, model: ModelId, root: Hash32, wrong: Option<RowName>) {
        if let Some(audit) = self.audits.rows.get_mut(&model).filter(|audit| audit.root == root && audit.under_way) {
            audit.under_way = false;
            // What was wrong once stays wrong, whatever else is right.
            if !matches!(audit.found, Some(Err(_))) {
                audit.found = Some(wrong.map_or(Ok(()), Err));
            }
        }
        self.audit();
    }

    /// A receipt's query was looked at.
    pub(super) fn on_query_audited(&mut self, receipt: ReceiptId, is_wrong: bool) {
        if self.audits.under_way.remove(&receipt) && is_wrong {
            self.audits.wrong.insert(receipt);
        }
        self.audit();
    }

    /// Looks at what is to be looked at, and says what is to be said.
    pub(super) fn audit(&mut self) {
        if self.set.get(&self.address).is_some() {
            self.audit_rows();
            self.audit_queries();
        }
    }

    fn audit_rows(&mut self) {
        let offered = ledger::offered_rows(&self.state);
        self.audits.rows.retain(|model, _| offered.contains_key(model));
        let mut owed = Vec::new();
        for (model, (root, record)) in offered {
            let new = || RowsAudit { root, under_way: false, looked_at: BTreeSet::new(), found: None };
            let audit = self.audits.rows.entry(model).or_insert_with(new);
            if audit.root != root {
                *audit = new();
            }
            match audit.next(&record, &self.address) {
                Step::None => {}
                Step::Attest => owed.push(Action::AttestRows { model, root }),
                Step::Refute(row) => owed.push(Action::RefuteRows { model, root, row }),
                Step::Look(challenged) => {
                    audit.under_way = true;
                    audit.looked_at.extend(&challenged);
                    self.effects.push(Effect::AuditRows { model, root, challenged });
                }
            }
        }
        self.say(owed);
    }

    fn audit_queries(&mut self) {
        // The beacon of an epoch draws from the receipts of the one before.
        if self.audits.next_epoch < self.head.height {
            let drawn = ledger::drawn_receipts(&self.state, self.audits.next_epoch, &self.address);
            self.audits.waiting.extend(drawn);
            self.audits.next_epoch = self.head.height;
        }
        while self.audits.under_way.len() < MAX_QUERY_AUDITS
            && let Some(receipt) = self.audits.waiting.pop_first()
        {
            if ledger::answers_for(&self.state, &receipt, &self.address) {
                self.audits.under_way.insert(receipt);
                self.effects.push(Effect::AuditQuery { receipt });
            }
        }
        let (state, address) = (&self.state, self.address);
        self.audits.wrong.retain(|receipt| ledger::answers_for(state, receipt, &address));
        let owed = self.audits.wrong.iter().map(|receipt| Action::RefuteQuery { receipt: *receipt }).collect();
        self.say(owed);
    }

    /// Sends those of these operations that do not wait in the pool already.
    fn say(&mut self, owed: Vec<Action>) {
        if owed.is_empty() {
            return; // Nearly always, and then the pool need not be looked through.
        }
        let own = |object: &Verified| match object.object() {
            Object::Operation(Operation { account, action, .. }) => (*account == self.address).then(|| action.clone()),
            _ => None,
        };
        let sent: Vec<Action> = self.pool.iter().filter_map(own).collect();
        for action in owed.into_iter().filter(|action| !sent.contains(action)) {
            let nonce = self.next_nonce(&self.address);
            self.send_own(Object::Operation(Operation { account: self.address, nonce, fee: Drops::ZERO, action }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::records::RowsState;
    use crate::objects::Drops;

    const OWN: Account = Account([1; 32]);
    const OTHER: Account = Account([2; 32]);
    const ROW: RowName = RowName { fisher: false, index: 3 };
    const ANOTHER: RowName = RowName { fisher: true, index: 9 };

    fn record(attested: &[Account], refuted: &[(Account, RowName)]) -> RowsRecord {
        RowsRecord {
            seed: None,
            offer: None,
            state: RowsState::Offered,
            bond: Drops::ZERO,
            attested: attested.iter().copied().collect(),
            refuted: refuted.iter().copied().collect(),
        }
    }

    fn audit(under_way: bool, looked_at: &[RowName], found: Option<Result<(), RowName>>) -> RowsAudit {
        RowsAudit { root: Hash32([0; 32]), under_way, looked_at: looked_at.iter().copied().collect(), found }
    }

    #[test]
    fn rows_are_looked_at_once_and_again_when_others_refute_one() {
        let table = [
            (audit(false, &[], None), record(&[], &[]), Step::Look(vec![])),
            (audit(true, &[], None), record(&[], &[]), Step::None),
            (audit(false, &[], Some(Ok(()))), record(&[], &[]), Step::Attest),
            (audit(false, &[], Some(Ok(()))), record(&[OWN], &[]), Step::None),
            // Somebody refutes a row, before or after this node attested.
            (audit(false, &[], Some(Ok(()))), record(&[OWN], &[(OTHER, ROW)]), Step::Look(vec![ROW])),
            (audit(false, &[], None), record(&[], &[(OTHER, ROW)]), Step::Look(vec![ROW])),
            (audit(true, &[ROW], Some(Ok(()))), record(&[OWN], &[(OTHER, ROW)]), Step::None),
            (audit(false, &[ROW], Some(Ok(()))), record(&[], &[(OTHER, ROW)]), Step::Attest),
            (audit(false, &[ROW], Some(Ok(()))), record(&[OWN], &[(OTHER, ROW)]), Step::None),
            // What is found wrong is said, whatever else is under way, and once it counts no more.
            (audit(false, &[ROW], Some(Err(ROW))), record(&[OWN], &[(OTHER, ROW)]), Step::Refute(ROW)),
            (audit(true, &[], Some(Err(ANOTHER))), record(&[], &[]), Step::Refute(ANOTHER)),
            (audit(false, &[], Some(Err(ANOTHER))), record(&[], &[(OWN, ANOTHER)]), Step::None),
        ];
        for (at, (audit, record, wanted)) in table.into_iter().enumerate() {
            assert_eq!(audit.next(&record, &OWN), wanted, "{at}: {audit:?}");
        }
    }
}
