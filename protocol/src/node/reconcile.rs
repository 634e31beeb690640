//! Pools compared with those of peers, so that all validators come to hold what one of them acknowledged, whatever gossip
//! dropped and however long a partition lasted.
//!
//! Range-based set reconciliation (A. Meyer, "Range-Based Set Reconciliation", 2022; the negentropy protocol, version 1):
//! two sides narrow down the ranges of ids whose fingerprints differ until the ids themselves are told. It costs bytes
//! in proportion to what differs, not to what waits. One comparison runs at a time, with each known peer in turn; it only
//! ever fetches what this node lacks, as the other side compares on its own account.

use super::{Effect, Node, Peer, PoolAnswer, PoolQuestion, Timer};
use crate::genesis::canonical;
use crate::ids::ObjectId;
use crate::limits::{MAX_ASKED_OBJECTS, MAX_RECONCILE_BYTES, MAX_SYNC_BYTES};
use crate::objects::Envelope;
use negentropy::{Id, Negentropy, NegentropyStorageVector};
use std::collections::BTreeSet;

/// Milliseconds between two comparisons.
const EVERY_MS: u64 = 3_000;
/// Milliseconds after which a question counts as not answered.
const ANSWER_MS: u64 = 5_000;
/// Messages of one comparison: each halves nothing less than sixteen ranges, so honest ones need two or three.
const MAX_MESSAGES: u32 = 12;
/// Bytes that framing adds to an envelope in an answer, at most.
const FRAME_BYTES: usize = 16;

/// The comparison under way.
#[derive(Debug, Default)]
pub(super) struct Reconcile {
    /// With whom.
    with: Option<Peer>,
    /// Who was compared with last.
    last: Option<Peer>,
    messages: u32,
    /// Ids that the peer has and this node lacks.
    lacks: BTreeSet<ObjectId>,
}

impl Node {
    /// Sets the time of the next comparison.
    pub(super) fn plan_reconciling(&mut self, now_ms: u64) {
        self.reconcile.with = None;
        self.reconcile.lacks.clear();
        self.effect(Effect::SetTimer(Timer::Reconcile, now_ms.saturating_add(EVERY_MS)));
    }

    /// It is time to compare, or the peer did not answer.
    pub(super) fn on_reconcile_timer(&mut self, now_ms: u64) {
        self.plan_reconciling(now_ms);
        let Some(peer) = self.sync.peer_after(self.reconcile.last.as_ref()) else { return };
        self.reconcile.last = Some(peer.clone());
        let Some(message) = self.negentropy(|negentropy| negentropy.initiate().ok()).flatten() else { return };
        (self.reconcile.with, self.reconcile.messages) = (Some(peer.clone()), 1);
        self.ask(now_ms, peer, PoolQuestion::Reconcile(message));
    }

    fn ask(&mut self, now_ms: u64, peer: Peer, question: PoolQuestion) {
        self.effect(Effect::SetTimer(Timer::Reconcile, now_ms.saturating_add(ANSWER_MS)));
        self.effect(Effect::Ask { peer, question });
    }

    /// A peer asks.
    pub(super) fn on_asked(&mut self, token: super::Token, question: PoolQuestion) {
        let answer = match question {
            PoolQuestion::Reconcile(message) if message.len() <= MAX_RECONCILE_BYTES => {
                // What is no message of the protocol is answered by nothing, as if all were equal.
                let answer = self.negentropy(|negentropy| negentropy.reconcile(&message).ok()).flatten();
                PoolAnswer::Reconcile(answer.unwrap_or_default())
            }
            PoolQuestion::Reconcile(_) => PoolAnswer::Reconcile(Vec::new()),
            PoolQuestion::Objects(ids) => PoolAnswer::Objects(self.waiting(&ids)),
        };
        self.effect(Effect::Answer { token, answer });
    }

    /// Those of the objects that wait here, as many as one answer holds.
    fn waiting(&self, ids: &[ObjectId]) -> Vec<Envelope> {
        let mut room = MAX_SYNC_BYTES / 2;
        let found = ids.iter().take(MAX_ASKED_OBJECTS).filter_map(|id| self.pool.get(id));
        let fits = |envelope: &&Envelope| {
            let size = canonical(*envelope).len() + FRAME_BYTES;
            let fits = size <= room;
            room = room.saturating_sub(size);
            fits
        };
        found.map(|object| object.envelope()).take_while(fits).cloned().collect()
    }

    /// The peer answers, or cannot.
    pub(super) fn on_answered(&mut self, now_ms: u64, peer: &Peer, answer: Option<PoolAnswer>) {
        if self.reconcile.with.as_ref() != Some(peer) {
            return;
        }
        match answer {
            Some(PoolAnswer::Reconcile(message)) => self.on_comparison(now_ms, peer.clone(), &message),
            Some(PoolAnswer::Objects(_)) => self.fetch_lacking(now_ms, peer.clone()),
            None => self.plan_reconciling(now_ms),
        }
    }

    fn on_comparison(&mut self, now_ms: u64, peer: Peer, message: &[u8]) {
        let (mut have, mut need) = (Vec::new(), Vec::new());
        let next = self.negentropy(|negentropy| {
            negentropy.set_initiator();
            negentropy.reconcile_with_ids(message, &mut have, &mut need).ok().flatten()
        });
        let room = MAX_ASKED_OBJECTS * 8;
        for id in need.into_iter().map(|id| ObjectId(id.to_bytes())) {
            if self.reconcile.lacks.len() < room {
                self.reconcile.lacks.insert(id);
            }
        }
        self.reconcile.messages += 1;
        match next.flatten() {
            Some(message) if self.reconcile.messages <= MAX_MESSAGES && self.reconcile.lacks.len() < room => {
                self.ask(now_ms, peer, PoolQuestion::Reconcile(message));
            }
            _ => self.fetch_lacking(now_ms, peer),
        }
    }

    /// Asks for the next of the objects that are lacking, or ends the comparison.
    fn fetch_lacking(&mut self, now_ms: u64, peer: Peer) {
        let mut ids = Vec::new();
        while ids.len() < MAX_ASKED_OBJECTS
            && let Some(id) = self.reconcile.lacks.pop_first()
        {
            if self.pool.get(&id).is_none() {
                ids.push(id);
            }
        }
        if ids.is_empty() {
            return self.plan_reconciling(now_ms);
        }
        self.ask(now_ms, peer, PoolQuestion::Objects(ids));
    }

    /// Does something with the ids of all that waits here.
    fn negentropy<T>(&self, act: impl FnOnce(&mut Negentropy<'_, NegentropyStorageVector>) -> T) -> Option<T> {
        let mut ids = NegentropyStorageVector::with_capacity(self.pool.len());
        for id in self.pool.ids() {
            // All of one time, so they are in the order of their ids.
            ids.insert(0, Id::from_byte_array(id.0)).ok()?;
        }
        ids.seal().ok()?;
        let mut negentropy = Negentropy::borrowed(&ids, MAX_RECONCILE_BYTES as u64).ok()?;
        Some(act(&mut negentropy))
    }
}
