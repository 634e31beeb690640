//! Objects that wait for a block: bounded in number and bytes, in order of arrival, each at most once.
//!
//! Whoever fills a pool must pay for it, sooner or later:
//!
//! - Of one account's operations with the same nonce only the first waits, as no block could hold both.
//! - Operations whose turn has not come cost nothing while they wait, so there is a bound for them alone.
//! - What is paid for leaves a quarter to what validators owe, and what a node owes itself always finds room.

use crate::envelope::Verified;
use crate::ids::{Account, ObjectId};
use crate::limits::{MAX_POOL_BYTES, MAX_POOL_EARLY, MAX_POOL_ENVELOPES, MAX_POOL_EVIDENCE, MAX_POOL_FREE};
use crate::objects::{Drops, Object};
use crate::refusal::Refusal;
use std::collections::{BTreeMap, BTreeSet};

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

/// What an object is taken under.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// What its payer has.
    pub(super) available: Drops,
    /// The next nonce of its payer.
    pub(super) nonce: u64,
    /// What registering an object costs.
    pub(super) object_fee: Drops,
    /// Is it this node's own, or was it taken before a restart? Then there is always room.
    pub(super) is_own: bool,
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
    /// Operations by account and nonce.
    operations: BTreeMap<(Account, u64), ObjectId>,
    /// Of these the ones whose turn comes only after an operation that is not here, with their bytes.
    early: BTreeMap<(Account, u64), usize>,
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

    /// How many objects, and how many bytes of them, a block could hold now.
    pub(super) fn ready(&self) -> (usize, usize) {
        (self.len() - self.early.len(), self.bytes - self.early.values().sum::<usize>())
    }

    /// Does an object's turn come only after an operation that is not here?
    pub(super) fn is_early(&self, object: &Verified) -> bool {
        turn_of(object.object()).is_some_and(|turn| self.early.contains_key(&turn))
    }

    /// The nonces of an account's operations, ascending.
    pub(super) fn nonces(&self, account: &Account) -> impl Iterator<Item = u64> {
        self.operations.range((*account, 0)..=(*account, u64::MAX)).map(|((_, nonce), _)| *nonce)
    }

    /// Takes an object, or says why not: known already, no room, or promises beyond what its payer has.
    pub(super) fn insert(&mut self, object: Verified, terms: Terms) -> Result<(), Refusal> {
        let id = object.id();
        if self.waiting.contains_key(&id) {
            return Err(Refusal::Duplicate { id });
        }
        let size = object.envelope().payload.len();
        let (account, cost) = cost(object.object(), terms.object_fee);
        let turn = turn_of(object.object());
        if let Some(other) = turn.and_then(|turn| self.operations.get(&turn)) {
            return Err(Refusal::Taken { account, nonce: turn.map_or(0, |(_, nonce)| nonce), id: *other });
        }
        let free = Free::of(object.object());
        if !terms.is_own {
            self.check_room(size, cost, free)?;
            self.check_turn(turn, terms.nonce)?;
        }
        let promised = self.promised(&account).saturating_add(cost);
        if cost > 0 && promised > terms.available.0 {
            return Err(Refusal::Funds { account, available: terms.available, needed: Drops(promised) });
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
        if let Some(turn) = turn {
            self.operations.insert(turn, id);
            self.reorder(&account, terms.nonce);
        }
        Ok(())
    }

    fn check_room(&self, size: usize, cost: u128, free: Option<(Free, Account)>) -> Result<(), Refusal> {
        let most = |all: usize| if cost > 0 { all / 4 * 3 } else { all };
        let (objects, bytes) = (most(MAX_POOL_ENVELOPES), most(MAX_POOL_BYTES));
        if self.len() >= objects {
            return Err(Refusal::Full { limit: objects as u64, unit: "objects" });
        }
        if self.bytes + size > bytes {
            return Err(Refusal::Full { limit: bytes as u64, unit: "bytes" });
        }
        if let Some((kind, _)) = free {
            let (limit, unit) = kind.limit();
            if free.and_then(|free| self.free.get(&free)).is_some_and(|count| *count >= limit) {
                return Err(Refusal::Full { limit: limit as u64, unit });
            }
        }
        Ok(())
    }

    fn check_turn(&self, turn: Option<(Account, u64)>, next: u64) -> Result<(), Refusal> {
        let Some((account, nonce)) = turn else { return Ok(()) };
        let before = (account, nonce.saturating_sub(1));
        let follows = nonce <= next || self.operations.contains_key(&before) && !self.early.contains_key(&before);
        if !follows && self.early.len() >= MAX_POOL_EARLY {
            return Err(Refusal::Full { limit: MAX_POOL_EARLY as u64, unit: "operations whose turn has not come" });
        }
        Ok(())
    }

    /// Finds out whose turn has come of an account's operations, given its next nonce.
    fn reorder(&mut self, account: &Account, next: u64) {
        let mut due = next;
        for nonce in self.nonces(account).collect::<Vec<u64>>() {
            let turn = (*account, nonce);
            if nonce > due {
                let size = self.operations.get(&turn).and_then(|id| self.get(id)).map(|it| it.envelope().payload.len());
                self.early.insert(turn, size.unwrap_or(0));
            } else {
                self.early.remove(&turn);
            }
            due += u64::from(nonce == due);
        }
    }

    /// The same for all accounts that have early ones, after a block.
    pub(super) fn reorder_all(&mut self, next: impl Fn(&Account) -> u64) {
        let accounts: BTreeSet<Account> = self.early.keys().map(|(account, _)| *account).collect();
        for account in accounts {
            self.reorder(&account, next(&account));
        }
    }

    /// Takes out what is in a block.
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
        if let Some(turn) = turn_of(object.object()) {
            self.operations.remove(&turn);
            self.early.remove(&turn);
        }
        if let Some(promised) = self.promised.get_mut(&account) {
            *promised = promised.saturating_sub(cost);
            if *promised == 0 {
                self.promised.remove(&account);
            }
        }
        Some(object)
    }

    /// Takes out what no block will ever hold; what came after it waits for another in its place.
    pub(super) fn drop_object(&mut self, id: &ObjectId, object_fee: Drops, next: impl Fn(&Account) -> u64) {
        let turn = self.remove(id, object_fee).and_then(|object| turn_of(object.object()));
        if let Some((account, _)) = turn {
            self.reorder(&account, next(&account));
        }
    }
}

/// The place of an operation among those of its account.
fn turn_of(object: &Object) -> Option<(Account, u64)> {
    match object {
        Object::Operation(operation) => Some((operation.account, operation.nonce)),
        _ => None,
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
    use crate::objects::{Action, AttributionCommit, Operation};

    const NETWORK: Hash32 = Hash32([2; 32]);
    const FEE: Drops = Drops(1);
    const TERMS: Terms = Terms { available: Drops(u128::MAX), nonce: 0, object_fee: FEE, is_own: false };

    fn sealed(key: &SecretKey, object: &Object) -> Verified {
        Verified::check(seal(object, &[key], &NETWORK).unwrap(), &NETWORK).unwrap()
    }

    fn commit(key: &SecretKey, epoch: u64) -> Verified {
        let (datanet, commitment) = (DataNetId([3; 32]), Hash32([4; 32]));
        let object = AttributionCommit { validator: key.account(), epoch, datanet, commitment };
        sealed(key, &Object::AttributionCommit(object))
    }

    fn transfer(key: &SecretKey, nonce: u64, amount: u128) -> Verified {
        let action = Action::Transfer { to: Account([9; 32]), amount: Drops(amount) };
        sealed(key, &Object::Operation(Operation { account: key.account(), nonce, fee: FEE, action }))
    }

    fn account(number: u64) -> SecretKey {
        let mut seed = [7; 32];
        seed[..8].copy_from_slice(&number.to_be_bytes());
        SecretKey::from_seed(seed)
    }

    #[test]
    fn one_validator_fills_no_pool() {
        let key = SecretKey::from_seed([1; 32]);
        let mut pool = Pool::default();
        for epoch in 0..MAX_POOL_FREE as u64 {
            pool.insert(commit(&key, epoch), TERMS).unwrap();
        }
        let one_more = commit(&key, MAX_POOL_FREE as u64);
        assert!(matches!(pool.insert(one_more.clone(), TERMS), Err(Refusal::Full { .. })));
        pool.remove(&commit(&key, 0).id(), FEE).unwrap();
        pool.insert(one_more, TERMS).unwrap();
    }

    #[test]
    fn operations_whose_turn_never_comes_leave_room_for_others() {
        let mut pool = Pool::default();
        for number in 0..MAX_POOL_EARLY as u64 {
            pool.insert(transfer(&account(number / 64), 1 + number % 64, 0), TERMS).unwrap();
        }
        assert_eq!(pool.ready(), (0, 0));
        let other = account(u64::MAX);
        let early = pool.insert(transfer(&other, 1, 0), TERMS);
        assert!(matches!(early, Err(Refusal::Full { limit, .. }) if limit == MAX_POOL_EARLY as u64));
        pool.insert(transfer(&other, 0, 0), TERMS).unwrap();
        pool.insert(transfer(&other, 1, 0), TERMS).unwrap();
        assert_eq!(pool.ready().0, 2);
        // The first that was missing comes, and all 64 behind it are ready.
        pool.insert(transfer(&account(0), 0, 0), TERMS).unwrap();
        assert_eq!(pool.ready().0, 2 + 65);
        pool.insert(transfer(&other, 3, 0), TERMS).unwrap();
        // What can never be carried out leaves a gap; what was carried out does not.
        pool.drop_object(&transfer(&other, 0, 0).id(), FEE, |_| 0);
        assert_eq!(pool.ready().0, 65);
        pool.remove(&transfer(&account(0), 0, 0).id(), FEE).unwrap();
        pool.reorder_all(|key| u64::from(*key == account(0).account()));
        assert_eq!(pool.ready().0, 64);
    }

    #[test]
    fn one_operation_waits_for_each_turn() {
        let (key, mut pool) = (account(0), Pool::default());
        let first = transfer(&key, 0, 1);
        pool.insert(first.clone(), TERMS).unwrap();
        let taken = Refusal::Taken { account: key.account(), nonce: 0, id: first.id() };
        assert_eq!(pool.insert(transfer(&key, 0, 2), TERMS), Err(taken));
        pool.drop_object(&first.id(), FEE, |_| 0);
        pool.insert(transfer(&key, 0, 2), TERMS).unwrap();
        assert_eq!(pool.nonces(&key.account()).collect::<Vec<_>>(), [0]);
    }

    #[test]
    fn what_is_paid_for_leaves_room_for_what_is_owed() {
        let mut pool = Pool::default();
        let paid = MAX_POOL_ENVELOPES / 4 * 3;
        for number in 0..paid as u64 {
            pool.insert(transfer(&account(number / 64), number % 64, 0), TERMS).unwrap();
        }
        let one_more = transfer(&account(u64::MAX), 0, 0);
        assert!(matches!(pool.insert(one_more.clone(), TERMS), Err(Refusal::Full { .. })));
        pool.insert(commit(&account(u64::MAX), 1), TERMS).unwrap();
        pool.insert(one_more, Terms { is_own: true, ..TERMS }).unwrap();
        assert_eq!(pool.len(), paid + 2);
    }
}
