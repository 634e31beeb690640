//! Whole blocks: carrying one out, and choosing what the next one holds.

use super::agree::BodyRefused;
use super::body::content_bytes;
use super::event::Event;
use super::run::{Context, NONCE_WINDOW, Run};
use super::view::{Changes, Read, State};
use crate::block::Block;
use crate::envelope::Verified;
use crate::genesis::Params;
use crate::ids::{Account, DataNetId, ModelId, ObjectId};
use crate::limits::{MAX_BLOCK_BYTES, MAX_BLOCK_SETTLEMENTS};
use crate::objects::{Envelope, Object};
use crate::refusal::Refusal;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// What a block does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executed {
    /// Entries written and removed.
    pub changes: Changes,
    /// What happened, in order.
    pub events: Vec<Event>,
}

/// Why the ledger does not accept a block.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockRefused {
    /// The state has no genesis.
    #[error("the ledger has no genesis yet")]
    NoGenesis,
    /// Not the next height.
    #[error("the next block is of height {expected}, not {got}")]
    Height {
        /// The next height.
        expected: u64,
        /// The block's.
        got: u64,
    },
    /// The checked envelopes are not the block's: the caller's mistake.
    #[error("the checked envelopes are not those of the block")]
    Envelopes,
    /// Too many of something.
    #[error("the block has {got} {what}; the limit is {limit}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        got: usize,
        /// How many there may be.
        limit: usize,
    },
    /// An object that cannot be carried out there.
    #[error("object {id} at place {index} cannot be carried out")]
    Object {
        /// Its place.
        index: usize,
        /// Which.
        id: ObjectId,
        /// Why.
        #[source]
        source: Refusal,
    },
    /// A settlement that settles nothing.
    #[error("the settlement at place {index} does not hold")]
    Settlement {
        /// Its place.
        index: usize,
        /// Why.
        #[source]
        source: BodyRefused,
    },
    /// Settlements are ascending by (epoch, DataNet).
    #[error("the settlement at place {index} is not in ascending order")]
    Order {
        /// Its place.
        index: usize,
    },
}

fn max_envelopes(params: &Params) -> usize {
    usize::try_from(params.max_block_envelopes).unwrap_or(usize::MAX)
}

/// Carries out a block after `state`, given its envelopes as they were checked at the border.
///
/// Judges what concerns the ledger; the header, the body's hash and size, and the certificate are the node's to judge.
pub fn execute_block(state: &State, block: &Block, verified: &[Verified]) -> Result<Executed, BlockRefused> {
    let ctx = Context::next(state).ok_or(BlockRefused::NoGenesis)?;
    if block.header.height != ctx.height {
        return Err(BlockRefused::Height { expected: ctx.height, got: block.header.height });
    }
    let body = &block.body;
    let limits = [
        ("envelopes", body.envelopes.len(), max_envelopes(&ctx.params)),
        ("settlements", body.settlements.len(), MAX_BLOCK_SETTLEMENTS),
    ];
    if let Some((what, got, limit)) = limits.into_iter().find(|(_, got, limit)| got > limit) {
        return Err(BlockRefused::TooMany { what, got, limit });
    }
    if !verified.iter().map(Verified::envelope).eq(&body.envelopes) {
        return Err(BlockRefused::Envelopes);
    }
    let mut run = Run::begin(state, &ctx);
    for (index, object) in verified.iter().enumerate() {
        run.apply(object).map_err(|source| BlockRefused::Object { index, id: object.id(), source })?;
    }
    let mut last = None;
    for (index, bytes) in body.settlements.iter().enumerate() {
        let place = run.settle(bytes).map_err(|source| BlockRefused::Settlement { index, source })?;
        if last.is_some_and(|last| last >= place) {
            return Err(BlockRefused::Order { index });
        }
        last = Some(place);
    }
    let (changes, events) = run.finish(block);
    Ok(Executed { changes, events })
}

/// How much a proposed block may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of envelopes and settlements together.
    pub bytes: u64,
    /// Envelopes.
    pub envelopes: usize,
    /// Settlements.
    pub settlements: usize,
}

impl Limits {
    /// The most that the network's parameters allow.
    pub fn of(params: &Params) -> Self {
        Self { bytes: content_bytes(params), envelopes: max_envelopes(params), settlements: MAX_BLOCK_SETTLEMENTS }
    }
}

/// What the next block is to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proposal {
    /// Envelopes, in order.
    pub envelopes: Vec<Envelope>,
    /// Attribution bodies, in order.
    pub settlements: Vec<Vec<u8>>,
    /// Objects that no later block will accept either, as things stand: the pool drops them.
    pub refused: Vec<(ObjectId, Refusal)>,
}

/// Chooses what the block after `state` holds: of the candidates, in their order, all that can be carried out and for
/// which there is room; of the bodies that this node computed, by (epoch, DataNet), all that are agreed on.
///
/// An operation whose turn comes only after another candidate is taken after that one, and not looked at before. Receipts
/// that pay more for what they cost go first. What may come later is neither taken nor refused.
pub fn propose<'a>(
    state: &State,
    ctx: &Context,
    candidates: impl IntoIterator<Item = &'a Verified>,
    bodies: &BTreeMap<(u64, DataNetId), Vec<u8>>,
    limits: Limits,
) -> Proposal {
    let mut chooser = Chooser {
        run: Run::begin(state, ctx),
        proposal: Proposal::default(),
        waiting: BTreeMap::new(),
        limits,
        room: limits.bytes.saturating_sub(settlement_room(state, bodies, limits)),
        in_vain: 0,
    };
    for candidate in by_fee(state, candidates) {
        chooser.consider(candidate);
    }
    let used: u64 = chooser.proposal.envelopes.iter().map(envelope_bytes).sum();
    chooser.room = limits.bytes.saturating_sub(used);
    for body in bodies.values() {
        chooser.consider_body(body);
    }
    chooser.proposal
}

/// The candidates in their order; but in the places of receipts those first that pay most for each DataNet that must be
/// searched for them. What a block can search is scarce, and whoever came first cannot keep it for little.
fn by_fee<'a>(state: &State, candidates: impl IntoIterator<Item = &'a Verified>) -> Vec<&'a Verified> {
    let mut ordered: Vec<&Verified> = candidates.into_iter().collect();
    let mut searched: BTreeMap<ModelId, u128> = BTreeMap::new();
    let mut receipts = Vec::new();
    for (place, candidate) in ordered.iter().enumerate() {
        let Object::Receipt(receipt) = candidate.object() else { continue };
        let lineage = || state.model(&receipt.model).map_or(1, |model| model.lineage.len().max(1) as u128);
        let searched = *searched.entry(receipt.model).or_insert_with(lineage);
        receipts.push((place, receipt.fee.0 / searched, *candidate));
    }
    let places: Vec<usize> = receipts.iter().map(|(place, ..)| *place).collect();
    receipts.sort_by_key(|(_, fee, _)| Reverse(*fee));
    for (place, (.., receipt)) in places.into_iter().zip(receipts) {
        ordered[place] = receipt;
    }
    ordered
}

/// The room that envelopes leave to bodies whose work is open: at most half, which holds all that a block can seal.
fn settlement_room(state: &State, bodies: &BTreeMap<(u64, DataNetId), Vec<u8>>, limits: Limits) -> u64 {
    let may_settle =
        |(epoch, datanet): &(u64, DataNetId)| state.work(*epoch, datanet).is_some_and(|work| work.closed.is_some());
    let bytes = bodies.iter().filter(|(place, _)| may_settle(place)).map(|(_, body)| body_bytes(body)).sum::<u64>();
    bytes.min(limits.bytes / 2)
}

/// What an envelope takes in a block: kind, payload and signatures with their lengths.
fn envelope_bytes(envelope: &Envelope) -> u64 {
    (1 + 4 + envelope.payload.len() + 4 + envelope.signatures.len() * (32 + 64)) as u64
}

/// What a settlement takes in a block.
fn body_bytes(body: &[u8]) -> u64 {
    4 + body.len() as u64
}

struct Chooser<'a, 'c> {
    run: Run<'a>,
    proposal: Proposal,
    /// Operations whose turn has not come, by account and nonce.
    waiting: BTreeMap<(Account, u64), &'c Verified>,
    limits: Limits,
    /// Bytes that are left.
    room: u64,
    /// Bytes of receipts that were looked at and must wait for another block.
    in_vain: usize,
}

impl<'c> Chooser<'_, 'c> {
    fn consider(&mut self, candidate: &'c Verified) {
        if self.must_wait(candidate) {
            return;
        }
        let mut next = Some(candidate);
        while let Some(candidate) = next.take() {
            if !self.has_room(candidate) {
                return;
            }
            match self.run.apply(candidate) {
                Ok(()) => {
                    self.room -= envelope_bytes(candidate.envelope());
                    self.proposal.envelopes.push(candidate.envelope().clone());
                    next = self.successor(candidate.object());
                }
                Err(refusal) => self.put_aside(candidate, refusal),
            }
        }
    }

    /// Keeps what cannot be carried out yet from being tried again for each block, as that would cost its author nothing.
    fn must_wait(&mut self, candidate: &'c Verified) -> bool {
        match candidate.object() {
            Object::Operation(operation) => {
                let next = self.run.view.account(&operation.account).nonce;
                let is_early = (next + 1..=next.saturating_add(NONCE_WINDOW)).contains(&operation.nonce);
                if is_early {
                    self.waiting.entry((operation.account, operation.nonce)).or_insert(candidate);
                }
                is_early
            }
            Object::Receipt(_) => self.in_vain >= MAX_BLOCK_BYTES / 2,
            _ => false,
        }
    }

    fn has_room(&self, candidate: &Verified) -> bool {
        let fits = envelope_bytes(candidate.envelope()) <= self.room;
        fits && self.proposal.envelopes.len() < self.limits.envelopes
    }

    fn put_aside(&mut self, candidate: &'c Verified, refusal: Refusal) {
        if !self.run.may_come_later(candidate.object(), &refusal) {
            self.proposal.refused.push((candidate.id(), refusal));
        } else if matches!(candidate.object(), Object::Receipt(_)) {
            self.in_vain += candidate.envelope().payload.len();
        }
    }

    /// The operation that waited for this one.
    fn successor(&mut self, object: &Object) -> Option<&'c Verified> {
        let Object::Operation(operation) = object else { return None };
        self.waiting.remove(&(operation.account, operation.nonce.checked_add(1)?))
    }

    fn consider_body(&mut self, body: &[u8]) {
        let fits = body_bytes(body) <= self.room && self.proposal.settlements.len() < self.limits.settlements;
        if fits && self.run.settle(body).is_ok() {
            self.room -= body_bytes(body);
            self.proposal.settlements.push(body.to_vec());
        }
    }
}
