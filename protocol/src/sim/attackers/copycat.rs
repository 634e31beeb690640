//! Attributes nothing itself: it commits to what others committed to, or not at all, and reveals the root that others
//! revealed. With the commit phase gone, it learns honest roots in time to commit to them.

use super::{Act, Crime, Tools, unchecked};
use crate::crypto::attribution_commitment;
use crate::evidence::Evidence;
use crate::ids::{DataNetId, Hash32, ReceiptId};
use crate::ledger::AttributionBody;
use crate::node::{Effect, Input};
use crate::objects::{AttributionCommit, AttributionReveal, Object};
use std::collections::{BTreeMap, BTreeSet};

type Work = (u64, DataNetId);

/// Copies results.
#[derive(Default)]
pub struct Copycat {
    committed: BTreeSet<Work>,
    revealed: BTreeSet<Work>,
    leaked: BTreeMap<Work, Hash32>,
}

impl Copycat {
    /// One that has not begun.
    pub fn create() -> Box<dyn Crime> {
        Box::new(Self::default())
    }

    fn commit(&mut self, tools: &Tools<'_>, (epoch, datanet): Work, commitment: Hash32, acts: &mut Vec<Act>) {
        if self.committed.insert((epoch, datanet)) {
            let object = AttributionCommit { validator: tools.key.account(), epoch, datanet, commitment };
            let sealed = tools.seal(&Object::AttributionCommit(object), &[tools.key]);
            acts.extend(sealed.map(|envelope| Act::Gossip(unchecked(envelope))));
        }
    }
}

impl Crime for Copycat {
    fn name(&self) -> &'static str {
        "copycat"
    }

    fn hears(&mut self, tools: &mut Tools<'_>, input: &mut Input, acts: &mut Vec<Act>) -> bool {
        for ((epoch, datanet), root) in std::mem::take(&mut self.leaked) {
            let commitment = attribution_commitment(&tools.key.account(), epoch, &datanet, &root);
            self.commit(tools, (epoch, datanet), commitment, acts);
        }
        let Input::Object(object, _) = input else { return true };
        match object.object() {
            Object::AttributionCommit(other) => {
                let work = (other.epoch, other.datanet);
                if tools.dice.chance(500) {
                    self.commit(tools, work, other.commitment, acts);
                }
            }
            Object::AttributionReveal(other) if self.revealed.insert((other.epoch, other.datanet)) => {
                let reveal = AttributionReveal { validator: tools.key.account(), ..*other };
                let sealed = tools.seal(&Object::AttributionReveal(reveal), &[tools.key]);
                acts.extend(sealed.map(|envelope| Act::Gossip(unchecked(envelope))));
            }
            _ => {}
        }
        true
    }

    fn asked(&mut self, _: &mut Tools<'_>, effect: Effect, acts: &mut Vec<Act>) {
        if !matches!(effect, Effect::Attribute { .. }) {
            acts.push(Act::Do(effect));
        }
    }

    fn leaked(&mut self, epoch: u64, datanet: DataNetId, evidence: &[(ReceiptId, Evidence)]) {
        let body = AttributionBody { epoch, datanet, receipts: evidence.to_vec() };
        self.leaked.insert((epoch, datanet), body.root());
    }
}
