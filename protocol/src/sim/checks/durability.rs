//! Nothing acknowledged is lost, and nothing is carried out twice: each object that a node promised to keep is in
//! exactly one decided block, or was dropped for a reason that holds.

use crate::envelope::Verified;
use crate::ids::{Account, DataNetId, ObjectId};
use crate::ledger::keys;
use crate::ledger::records::ValidatorRecord;
use crate::node::{Commit, Token};
use crate::objects::{Action, Drops, Object, Operation};
use crate::refusal::Refusal;
use crate::sim::member::Member;
use crate::sim::world::NodeIndex;
use std::collections::{BTreeMap, BTreeSet};

/// What was promised, and what became of it.
#[derive(Debug, Default)]
pub(super) struct Durability {
    asked: BTreeMap<Token, Verified>,
    promised: BTreeMap<ObjectId, (NodeIndex, Verified)>,
    decided: BTreeMap<ObjectId, u64>,
    /// Nonces used by decided operations.
    nonces: BTreeMap<(Account, u64), ObjectId>,
    /// Versions of manifests that are decided.
    versions: BTreeSet<(DataNetId, u32)>,
    dropped: BTreeMap<ObjectId, Refusal>,
    height: u64,
    /// Who lost a part of its bond, and so may have less to withdraw than it thought.
    slashed: BTreeSet<Account>,
}

impl Durability {
    pub(super) fn submitted(&mut self, token: Token, object: &Verified) {
        self.asked.insert(token, object.clone());
    }

    pub(super) fn replied(&mut self, index: NodeIndex, token: Token, result: &Result<ObjectId, Refusal>) {
        if let (Some(object), Ok(id)) = (self.asked.remove(&token), result) {
            self.promised.entry(*id).or_insert((index, object));
        }
    }

    pub(super) fn dropped(&mut self, index: NodeIndex, id: ObjectId, refusal: &Refusal) {
        // Others may drop what they like; the promise is that of the node that gave it.
        if self.promised.get(&id).is_some_and(|(keeper, _)| *keeper == index) {
            self.dropped.insert(id, refusal.clone());
        }
    }

    pub(super) fn committed(&mut self, commit: &Commit) -> Result<(), String> {
        let height = commit.block.header.height;
        if height <= self.height {
            return Ok(());
        }
        self.height = height;
        let bonds = commit.changes.range(vec![keys::CANDIDATE]..vec![keys::CANDIDATE + 1]);
        for (key, value) in bonds {
            let record = value.as_ref().and_then(|bytes| borsh::from_slice::<ValidatorRecord>(bytes).ok());
            if record.is_some_and(|record| record.slashed > Drops::ZERO) {
                self.slashed.insert(Account(keys::last_id(key)));
            }
        }
        for envelope in &commit.block.body.envelopes {
            let id = envelope.id();
            if let Some(before) = self.decided.insert(id, height) {
                return Err(format!("object {id} is in blocks {before} and {height}"));
            }
            match Verified::from_disk(envelope.clone()).map(|object| object.object().clone()) {
                Ok(Object::Operation(operation)) => {
                    let number = operation.nonce;
                    if let Some(other) = self.nonces.insert((operation.account, number), id) {
                        return Err(format!("operations {other} and {id} both are number {number} of an account"));
                    }
                }
                Ok(Object::DatasetManifest(manifest)) => {
                    self.versions.insert((manifest.datanet, manifest.version));
                }
                _ => {}
            }
        }
        Ok(())
    }

    pub(super) fn wiped(&mut self, index: NodeIndex) {
        self.promised.retain(|id, (keeper, _)| *keeper != index || self.decided.contains_key(id));
    }

    /// What was promised, is nowhere, and could be in a block.
    pub(super) fn missing(&self) -> impl Iterator<Item = &ObjectId> {
        let gone = |(id, (_, object)): &(&ObjectId, &(NodeIndex, Verified))| {
            !self.decided.contains_key(id) && !self.dropped.contains_key(id) && !self.is_held_up(object.object())
        };
        self.promised.iter().filter(gone).map(|(id, _)| id)
    }

    /// Does an operation wait for an earlier one of its account that nobody promised to keep, as it was on a disk that
    /// is gone? Whoever made it has to fill the gap.
    fn is_held_up(&self, object: &Object) -> bool {
        let Object::Operation(operation) = object else { return false };
        let account = operation.account;
        let next = self.nonces.range((account, 0)..=(account, u64::MAX)).count() as u64;
        let is_promised = |nonce: u64| {
            self.promised.values().any(|(_, object)| match object.object() {
                Object::Operation(other) => other.account == account && other.nonce == nonce,
                _ => false,
            })
        };
        (next..operation.nonce).any(|nonce| !is_promised(nonce))
    }

    pub(super) fn finish(&self, members: &[Member]) -> Vec<String> {
        let lost = self.missing().map(|id| {
            let keeper = self.promised.get(id).map_or(0, |(keeper, _)| *keeper);
            let waits = members[keeper].node.as_ref().is_some_and(|node| node.is_pooled(id));
            let where_it_is = if waits { "and still waits there" } else { "and is lost" };
            format!("object {id} was acknowledged by node {keeper}, is in no block {where_it_is}")
        });
        let unfounded = self.dropped.iter().filter(|(id, _)| !self.decided.contains_key(id)).filter_map(|(id, why)| {
            let (keeper, object) = self.promised.get(id)?;
            let why_not = self.unfounded(object.object(), why)?;
            Some(format!("node {keeper} dropped object {id} ({why}), but {why_not}"))
        });
        lost.chain(unfounded).collect()
    }

    /// What is wrong with a reason for dropping an object; none when it holds.
    fn unfounded(&self, object: &Object, why: &Refusal) -> Option<String> {
        match (why, object) {
            (Refusal::Expired { .. }, Object::Receipt(receipt)) if receipt.expiry <= self.height => None,
            (Refusal::Nonce { .. }, Object::Operation(operation)) => {
                let taken = self.nonces.contains_key(&(operation.account, operation.nonce));
                (!taken).then(|| format!("no operation of that account had number {}", operation.nonce))
            }
            // Somebody else's manifest of the same version came first, of which the keeper knew too late.
            (Refusal::Field { field: "version", .. }, Object::DatasetManifest(manifest)) => {
                let (datanet, version) = (manifest.datanet, manifest.version);
                let taken = self.versions.contains(&(datanet, version));
                (!taken).then(|| format!("no manifest of that DataNet has version {version}"))
            }
            // The load is careful to spend no more than people have, so nobody runs out of money.
            (Refusal::Funds { .. }, Object::Operation(operation)) if matches!(&operation.action, Action::Transfer { amount, .. } if amount.0 > 1 << 90) => {
                None
            }
            (_, Object::Operation(Operation { account, action: Action::Unbond { .. }, .. }))
                if self.slashed.contains(account) =>
            {
                None
            }
            _ => Some("that is no reason".to_owned()),
        }
    }
}
