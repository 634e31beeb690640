//! Who attributes in a DataNet: a committee drawn by lot, weighted by power, and redrawn slowly.
//!
//! Rules:
//!
//! - **Draw** (rendezvous hashing): every validator's number for a DataNet is u in (0, 1], made of a beacon, the DataNet
//!   and its key; its score is -log2(u) / power, and the least scores are in. So a place falls to each in proportion to
//!   power, and who leaves or comes changes one place.
//! - **Period**: every `redraw_epochs` the beacon of the period's first block is kept. Each validator's number for a
//!   DataNet is drawn anew once in a period, at a turn of its own: before it from the last period's beacon, from it on from
//!   this period's. So in one epoch only those change whose turn it is.
//! - **Newcomers**: whoever bonded after a beacon was known could have chosen a key that it favours, and stands behind all
//!   others until a later beacon.
//! - Committee size 0, or one of everybody, is the whole set.

use super::keys;
use super::records::BeaconRecord;
use super::run::{Context, Run};
use super::view::Read;
use crate::block::{Block, Validator, ValidatorSet};
use crate::crypto::{committee_draw, committee_turn};
use crate::evidence::log2_q32;
use crate::genesis::StakeParams;
use crate::ids::{Account, DataNetId};
use std::cmp::Ordering;

/// A validator with its score: -log2(u) in Q32 over its power.
struct Drawn<'a> {
    member: &'a Validator,
    is_newcomer: bool,
    negative_log: u64,
}

impl Drawn<'_> {
    fn compare(&self, other: &Self) -> Ordering {
        // a / p < b / q if and only if a q < b p: below 2^38 times 2^60.
        let cross = |log: u64, power: u64| u128::from(log) * u128::from(power);
        let score = cross(self.negative_log, other.member.power).cmp(&cross(other.negative_log, self.member.power));
        self.is_newcomer.cmp(&other.is_newcomer).then(score).then(self.member.key.cmp(&other.member.key))
    }
}

/// The turn of a validator in each period of a DataNet's committee: the first epoch of the period at which its new number
/// counts.
pub fn turn(params: &StakeParams, datanet: &DataNetId, validator: &Account) -> u64 {
    first_number(&committee_turn(datanet, validator)) % params.redraw_epochs.max(1)
}

fn first_number(bytes: &[u8; 32]) -> u64 {
    bytes.first_chunk().copied().map(u64::from_be_bytes).unwrap_or_default()
}

/// The committee of a DataNet at a height. `since` says when a validator first bonded.
pub fn draw(
    set: &ValidatorSet,
    params: &StakeParams,
    beacons: &BeaconRecord,
    datanet: &DataNetId,
    height: u64,
    since: impl Fn(&Account) -> u64,
) -> ValidatorSet {
    let size = usize::try_from(params.committee_size).unwrap_or(usize::MAX);
    if size == 0 || size >= set.members().len() {
        return set.clone();
    }
    let start = beacons.period.saturating_mul(params.redraw_epochs);
    let drawn = set.members().iter().map(|member| {
        let Validator { key, .. } = member;
        // The block that begins a period is carried out before its beacon is kept: then every turn of the last is over.
        let (beacon, known) = match height.saturating_sub(start) >= turn(params, datanet, key) {
            true => (&beacons.current, start),
            false => (&beacons.previous, start.saturating_sub(params.redraw_epochs)),
        };
        let bonded = since(key);
        let number = first_number(&committee_draw(beacon, datanet, key));
        // log2 of u = number / 2^64 is below 0, so that this is at least 1.
        let negative_log = (64 << 32) - log2_q32(number);
        Drawn { member, is_newcomer: bonded > 0 && bonded >= known, negative_log }
    });
    let mut all: Vec<Drawn<'_>> = drawn.collect();
    all.sort_by(Drawn::compare);
    ValidatorSet::new(all.into_iter().take(size).map(|drawn| drawn.member.clone()).collect())
}

/// The committee of a DataNet for the block of this context.
pub fn current_committee(state: &impl Read, ctx: &Context, datanet: &DataNetId) -> ValidatorSet {
    committee_at(state, ctx, datanet, ctx.height)
}

/// Will a validator be in a DataNet's committee at the end of this period, as far as is known now? It should have the
/// content by then.
pub fn is_expected(state: &impl Read, ctx: &Context, datanet: &DataNetId, validator: &Account) -> bool {
    let period = ctx.params.stake.redraw_epochs;
    let last = (ctx.height / period.max(1)).saturating_add(1).saturating_mul(period).saturating_sub(1);
    [ctx.height, last].into_iter().any(|height| committee_at(state, ctx, datanet, height).get(validator).is_some())
}

fn committee_at(state: &impl Read, ctx: &Context, datanet: &DataNetId, height: u64) -> ValidatorSet {
    let Some(beacons) = state.record::<BeaconRecord>(keys::BEACONS) else { return ctx.validators.clone() };
    let since = |key: &Account| state.candidate(key).map_or(0, |record| record.since);
    draw(&ctx.validators, &ctx.params.stake, &beacons, datanet, height, since)
}

impl Run<'_> {
    /// At a block's end: keeps the beacon of a period's first block.
    pub(super) fn keep_beacon(&mut self, block: &Block) {
        let Some(mut beacons) = self.view.record::<BeaconRecord>(keys::BEACONS) else { return };
        let period = self.ctx.height / self.ctx.params.stake.redraw_epochs.max(1);
        if period > beacons.period {
            beacons = BeaconRecord { period, current: block.header.beacon, previous: beacons.current };
            self.view.put(keys::BEACONS.to_vec(), &beacons);
        }
    }
}
