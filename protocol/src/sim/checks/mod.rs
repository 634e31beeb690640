//! Who looks for broken promises. Each checker restates its rule in its own arithmetic and asks nothing of the code that
//! it watches: it reads what leaves a node, what reaches its disk, and the raw records there.

mod agreement;
mod books;
mod conservation;
mod durability;
mod escrow;
mod signatures;
mod validity;

use super::member::Member;
use super::world::NodeIndex;
use crate::envelope::Verified;
use crate::genesis::Genesis;
use crate::ids::{Account, ObjectId};
use crate::node::{Effect, Notice, Token, Write};
use crate::refusal::Refusal;
use crate::wire::ConsensusMessage;
use std::collections::BTreeSet;

/// Crimes that must not pay: whoever commits one never finds a root by itself.
const PARASITES: [&str; 2] = ["copycat", "liar"];

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

/// All checkers. Liveness is looked at by [`super::run`], which knows when the world has healed.
pub struct Checks {
    genesis: Genesis,
    agreement: agreement::Agreement,
    validity: validity::Validity,
    conservation: conservation::Conservation,
    durability: durability::Durability,
    signatures: signatures::Signatures,
    slashes: books::Slashes,
    criminals: BTreeSet<Account>,
    violations: Vec<Violation>,
}

impl Checks {
    /// Checkers that have seen nothing.
    pub fn new(genesis: &Genesis, real_signatures: bool) -> Self {
        Self {
            agreement: agreement::Agreement::default(),
            validity: validity::Validity::new(genesis, real_signatures),
            conservation: conservation::Conservation::new(genesis),
            durability: durability::Durability::default(),
            signatures: signatures::Signatures::default(),
            slashes: books::Slashes::default(),
            genesis: genesis.clone(),
            criminals: BTreeSet::new(),
            violations: Vec::new(),
        }
    }

    /// Nothing is expected of this account.
    pub(super) fn criminal(&mut self, account: Account) {
        self.criminals.insert(account);
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
    pub(super) fn asked(&mut self, now: u64, index: NodeIndex, effect: &Effect) {
        match effect {
            Effect::Tell(Notice::Dropped { id, refusal }) => self.durability.dropped(index, *id, refusal),
            Effect::Tell(Notice::Committed { height, events, .. }) => {
                let result = self.slashes.committed(index, *height, events);
                self.judge("agreement", now, result);
            }
            _ => {}
        }
    }

    /// An honest node wrote something.
    pub(super) fn wrote(&mut self, now: u64, index: NodeIndex, write: &Write) {
        if let Write::Commit(commit) = write {
            let results = [
                ("agreement", self.agreement.committed(index, commit)),
                ("validity", self.validity.committed(commit)),
                ("durability", self.durability.committed(commit)),
            ];
            results.into_iter().for_each(|(check, result)| self.judge(check, now, result));
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
    pub(super) fn replied(&mut self, index: NodeIndex, token: Token, result: &Result<ObjectId, Refusal>) {
        self.durability.replied(index, token, result);
    }

    /// An honest node punishes another.
    pub(super) fn rejected(&mut self, now: u64, by: NodeIndex, of: NodeIndex, word: &str) {
        self.report("manners", now, format!("honest node {by} rejects what honest node {of} sent: {word}"));
    }

    /// An honest node saw a validator sign two messages in one place.
    pub(super) fn accused(&mut self, now: u64, by: NodeIndex, validator: &Account) {
        if !self.criminals.contains(validator) {
            self.report("signatures", now, format!("node {by} has proof that the honest {validator} signed twice"));
        }
    }

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

    /// All effects of an input are carried out and on the disk.
    pub(super) fn settled_down(&mut self, now: u64, member: &Member) {
        if member.is_honest() {
            let result = self.conservation.count(member);
            self.judge("conservation", now, result);
        }
    }

    /// Is everything that was acknowledged in a decided block, or dropped for a reason?
    pub fn all_kept(&self) -> bool {
        self.durability.missing().next().is_none()
    }

    /// Is every receipt that was sealed before an epoch settled or refunded?
    pub fn all_ended(&self, members: &[Member], before: u64) -> bool {
        escrow::all_ended(members, before)
    }

    /// The greatest height that an honest node has committed.
    pub fn height(&self) -> u64 {
        self.agreement.height()
    }

    /// The world has healed and had its time: what must be so by now?
    pub fn finish(&mut self, now: u64, members: &[Member]) {
        for what in self.durability.finish(members) {
            self.report("durability", now, what);
        }
        let params = &self.genesis.params;
        for what in escrow::overdue(members, params.settle_timeout, params.agreed_timeout) {
            self.report("escrow", now, what);
        }
        let parasite = |member: &&Member| member.crime.as_ref().is_some_and(|crime| PARASITES.contains(&crime.name()));
        let parasites = members.iter().filter(parasite).map(Member::account).collect();
        let honest = members.iter().filter(|member| member.is_honest());
        if let Some(furthest) = honest.max_by_key(|member| member.disk.height()) {
            for what in books::audit(&self.genesis, furthest, &parasites, &self.slashes) {
                self.report("books", now, what);
            }
        }
    }
}
