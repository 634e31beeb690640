//! Objects that wait for a block: bounded in number and bytes, in order of arrival, each at most once.

use crate::envelope::Verified;
use crate::ids::{Account, ObjectId};
use crate::limits::{MAX_POOL_BYTES, MAX_POOL_ENVELOPES, MAX_POOL_EVIDENCE, MAX_POOL_FREE};
use crate::objects::{Drops, Object};
use crate::refusal::Refusal;
use std::collections::BTreeMap;

/// What costs nothing, so that its number is bounded for each validator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Free {
    Attribution,
    Evidence,
}

impl Free {
    fn of(object: &Object) -> Option<(Self, Account)> {
        match object {
            Object::AttributionCommit(commit) => Some((Self::Attribution, commit.validator)),
            Object::AttributionReveal(reveal) => Some((Self::Attribution, reveal.validator)),
            Object::Evidence(evidence) => Some((Self::Evidence, evidence.offence.validator)),
            _ => None,
        }
    }

    fn limit(self) -> (usize, &'static str) {
        match self {
            Self::Attribution => (MAX_POOL_FREE, "commits and reveals of one validator"),
            Self::Evidence => (MAX_POOL_EVIDENCE, "reports against one validator"),
        }
    }
}

/// One that waits.
#[derive(Clone, Debug)]
struct Waiting {
    object: Verified,
    arrival: u64,
}

/// The objects that wait.
#[derive(Clone, Debug, Default)]
pub(super) struct Pool {
    waiting: BTreeMap<ObjectId, Waiting>,
    order: BTreeMap<u64, ObjectId>,
    /// What each account would pay if all of its objects were taken.
    promised: BTreeMap<Account, u128>,
    /// How many commits and reveals of each validator wait, and how much evidence against it: what costs nothing is
    /// counted.
    free: BTreeMap<(Free, Account), usize>,
    arrivals: u64,
    bytes: usize,
}

impl Pool {
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn get(&self, id: &ObjectId) -> Option<&Verified> {
        self.waiting.get(id).map(|waiting| &waiting.object)
    }

    /// The ids of all that wait, ascending.
    pub(super) fn ids(&self) -> impl Iterator<Item = &ObjectId> {
        self.waiting.keys()
    }

    /// All that wait, in order of arrival.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Verified> {
        self.order.values().filter_map(|id| self.get(id))
    }

    /// What an account has promised to pay.
    pub(super) fn promised(&self, account: &Account) -> u128 {
        self.promised.get(account).copied().unwrap_or(0)
    }

    /// Takes an object, or says why not: known already, no room, or promises beyond `available`.
    pub(super) fn insert(&mut self, object: Verified, available: Drops, object_fee: Drops) -> Result<(), Refusal> {
        let id = object.id();
        if self.waiting.contains_key(&id) {
            return Err(Refusal::Duplicate { id });
        }
        if self.len() >= MAX_POOL_ENVELOPES {
            return Err(Refusal::Full { limit: MAX_POOL_ENVELOPES as u64, unit: "objects" });
        }
        let size = object.envelope().payload.len();
        if self.bytes + size > MAX_POOL_BYTES {
            return Err(Refusal::Full { limit: MAX_POOL_BYTES as u64, unit: "bytes" });
        }
        let (account, cost) = cost(object.object(), object_fee);
        let free = Free::of(object.object());
        if let Some((kind, _)) = free {
            let (limit, unit) = kind.limit();
            if free.and_then(|free| self.free.get(&free)).is_some_and(|count| *count >= limit) {
                return Err(Refusal::Full { limit: limit as u64, unit });
            }
        }
        let promised = self.promised(&account).saturating_add(cost);
        if cost > 0 && promised > available.0 {
            return Err(Refusal::Funds { account, available, needed: Drops(promised) });
        }
        if cost > 0 {
            self.promised.insert(account, promised);
        }
        if let Some(free) = free {
            *self.free.entry(free).or_default() += 1;
        }
        self.bytes += size;
        self.order.insert(self.arrivals, id);
        self.waiting.insert(id, Waiting { object, arrival: self.arrivals });
        self.arrivals += 1;
        Ok(())
    }

    /// Takes an object out.
    pub(super) fn remove(&mut self, id: &ObjectId, object_fee: Drops) -> Option<Verified> {
        let Waiting { object, arrival } = self.waiting.remove(id)?;
        self.order.remove(&arrival);
        self.bytes -= object.envelope().payload.len();
        let (account, cost) = cost(object.object(), object_fee);
        if let Some(free) = Free::of(object.object())
            && let Some(count) = self.free.get_mut(&free)
        {
            *count -= 1;
            if *count == 0 {
                self.free.remove(&free);
            }
        }
        if let Some(promised) = self.promised.get_mut(&account) {
            *promised = promised.saturating_sub(cost);
            if *promised == 0 {
                self.promised.remove(&account);
            }
        }
        Some(object)
    }
}

/// Who pays for an object, and how much.
pub(super) fn cost(object: &Object, object_fee: Drops) -> (Account, u128) {
    match object {
        Object::DataNet(object) => (object.owner, object_fee.0),
        Object::Contribution(object) => (object.contributor, object_fee.0),
        Object::DatasetManifest(object) => (object.owner, object_fee.0),
        Object::ModelManifest(object) => (object.builder, object_fee.0),
        Object::Receipt(receipt) => (receipt.payer, receipt.fee.0),
        Object::Operation(operation) => {
            (operation.account, operation.fee.0.saturating_add(operation.action.spends().0))
        }
        Object::AttributionCommit(object) => (object.validator, 0),
        Object::AttributionReveal(object) => (object.validator, 0),
        Object::Evidence(object) => (object.reporter, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::SecretKey;
    use crate::envelope::seal;
    use crate::ids::{DataNetId, Hash32};
    use crate::objects::AttributionCommit;

    #[test]
    fn one_validator_fills_no_pool() {
        let (key, network) = (SecretKey::from_seed([1; 32]), Hash32([2; 32]));
        let commit = |epoch: u64| {
            let datanet = DataNetId([3; 32]);
            let object = AttributionCommit { validator: key.account(), epoch, datanet, commitment: Hash32([4; 32]) };
            let envelope = seal(&Object::AttributionCommit(object), &[&key], &network).unwrap();
            Verified::check(envelope, &network).unwrap()
        };
        let mut pool = Pool::default();
        for epoch in 0..MAX_POOL_FREE as u64 {
            pool.insert(commit(epoch), Drops::ZERO, Drops::ZERO).unwrap();
        }
        let one_more = commit(MAX_POOL_FREE as u64);
        assert!(matches!(pool.insert(one_more.clone(), Drops::ZERO, Drops::ZERO), Err(Refusal::Full { .. })));
        pool.remove(&commit(0).id(), Drops::ZERO).unwrap();
        pool.insert(one_more, Drops::ZERO, Drops::ZERO).unwrap();
    }
}
