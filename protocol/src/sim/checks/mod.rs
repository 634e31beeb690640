//! Who looks for broken promises. Each checker restates its rule in its own arithmetic and asks nothing of the code that
//! it watches: it reads what leaves a node, what reaches its disk, and the raw records there.

mod agreement;
mod durability;
mod escrow;
mod signatures;

use super::member::Member;
use super::world::NodeIndex;
use crate::envelope::Verified;
use crate::genesis::Genesis;
use crate::ids::{Account, ObjectId};
use crate::node::{Effect, Notice, Token, Write};
use crate::refusal::Refusal;
use crate::wire::ConsensusMessage;

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which checker saw it.
    pub check: &'static str,
    /// When, in milliseconds of the world.
    pub at_ms: u64,
    /// What happened.
    pub what: String,
}

/// All checkers.
pub struct Checks {
    agreement: agreement::Agreement,
    durability: durability::Durability,
    signatures: signatures::Signatures,
    violations: Vec<Violation>,
}

impl Checks {
    /// Checkers that have seen nothing.
    pub fn new(_genesis: &Genesis, _real_signatures: bool) -> Self {
        Self {
            agreement: agreement::Agreement::default(),
            durability: durability::Durability::default(),
            signatures: signatures::Signatures::default(),
            violations: Vec::new(),
        }
    }

    /// What was found.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// Something is wrong.
    pub fn report(&mut self, check: &'static str, at_ms: u64, what: String) {
        self.violations.push(Violation { check, at_ms, what });
    }

    fn judge(&mut self, check: &'static str, at_ms: u64, result: Result<(), String>) {
        if let Err(what) = result {
            self.report(check, at_ms, what);
        }
    }

    /// An honest core asked for something; it may not be carried out any more.
    pub(super) fn asked(&mut self, _now: u64, index: NodeIndex, effect: &Effect, _member: &Member) {
        if let Effect::Tell(Notice::Dropped { id, refusal }) = effect {
            self.durability.dropped(index, *id, refusal);
        }
    }

    /// An honest node wrote something.
    pub(super) fn wrote(&mut self, now: u64, index: NodeIndex, write: &Write) {
        if let Write::Commit(commit) = write {
            let result = self.agreement.committed(index, commit);
            self.judge("agreement", now, result);
            let result = self.durability.committed(commit);
            self.judge("durability", now, result);
        }
    }

    /// A message leaves an honest node.
    pub(super) fn published(&mut self, now: u64, index: NodeIndex, message: &ConsensusMessage) {
        let result = self.signatures.published(index, message);
        self.judge("signatures", now, result);
    }

    /// People gave an object to a node.
    pub(super) fn submitted(&mut self, token: Token, object: &Verified) {
        self.durability.submitted(token, object);
    }

    /// An honest node answered them.
    pub(super) fn replied(&mut self, _now: u64, index: NodeIndex, token: Token, result: &Result<ObjectId, Refusal>) {
        self.durability.replied(index, token, result);
    }

    /// An honest node punishes another.
    pub(super) fn rejected(&mut self, now: u64, by: NodeIndex, of: NodeIndex, word: &str) {
        self.report("manners", now, format!("honest node {by} rejects what honest node {of} sent: {word}"));
    }

    /// An honest node saw a validator sign two messages in one place.
    pub(super) fn accused(&mut self, _now: u64, _by: NodeIndex, _validator: &Account) {}

    /// An honest node publishes an object that does not hold.
    pub(super) fn unsound_object(&mut self, now: u64, index: NodeIndex, refusal: &Refusal) {
        self.report("validity", now, format!("node {index} publishes an object that does not hold: {refusal}"));
    }

    /// An honest node stops by itself.
    pub(super) fn stopped(&mut self, now: u64, index: NodeIndex, reason: &str) {
        self.report("liveness", now, format!("node {index} stopped: {reason}"));
    }

    /// A node's disk is gone: what was on it alone is lost by nobody's fault.
    pub(super) fn wiped(&mut self, index: NodeIndex) {
        self.durability.wiped(index);
    }

    /// All effects of an input are carried out.
    pub(super) fn settled_down(&mut self, _now: u64, _index: NodeIndex, _member: &Member) {}

    /// Is everything that was acknowledged in a decided block, or dropped for a reason?
    pub fn all_kept(&self) -> bool {
        self.durability.missing().next().is_none()
    }

    /// Receipts of honest nodes that have neither been settled nor refunded.
    pub fn unended(&self, members: &[Member]) -> Vec<String> {
        escrow::unended(members)
    }

    /// The greatest height that an honest node has committed.
    pub fn height(&self) -> u64 {
        self.agreement.height()
    }

    /// The world has healed and had its time: what must be so by now?
    pub fn finish(&mut self, now: u64, members: &[Member]) {
        let results: Vec<String> = self.durability.finish(members);
        for what in results {
            self.report("durability", now, what);
        }
    }
}
