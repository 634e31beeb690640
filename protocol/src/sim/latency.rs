//! How long an epoch and a receipt take over the WAN table, in milliseconds of the world.
//!
//! Latency is that of the links alone: neither bandwidth nor CPU time is in it, and messages go directly.

use super::load::Load;
use super::network::Links;
use super::world::{Setup, World, person};
use crate::genesis::Params;
use crate::ids::{BlockId, ReceiptId};
use crate::ledger::{Read as _, ReceiptState};
use crate::objects::Object;
use std::collections::BTreeMap;

/// Milliseconds of the world within which people prepare, and within which an epoch must come.
const PATIENCE_MS: u64 = 600_000;

/// Milliseconds, in the order they were measured.
#[derive(Clone, Debug, Default)]
pub struct Latencies {
    /// From a proposal to the commit of its block at the last honest node.
    pub epoch_ms: Vec<u64>,
    /// From a receipt's submission to its block's commit at the node that took it.
    pub sealed_ms: Vec<u64>,
    /// From a receipt's submission to its settlement there.
    pub settled_ms: Vec<u64>,
    /// Epochs that needed more than one round.
    pub later_rounds: u64,
    /// The digest of the run.
    pub digest: [u8; 32],
}

/// When what was first seen.
#[derive(Debug, Default)]
pub(super) struct Stopwatch {
    proposed: BTreeMap<BlockId, u64>,
    /// The last commit of each block, and how many nodes committed it.
    committed: BTreeMap<BlockId, (u64, usize, u32)>,
}

impl Stopwatch {
    pub(super) fn proposed(&mut self, now_ms: u64, block: BlockId) {
        self.proposed.entry(block).or_insert(now_ms);
    }

    pub(super) fn committed(&mut self, now_ms: u64, block: BlockId, round: u32) {
        let (last, count, _) = self.committed.entry(block).or_insert((0, 0, round));
        (*last, *count) = (now_ms, *count + 1);
    }
}

/// A network that is ready to be measured.
pub struct Measurement {
    world: World,
    load: Load,
    params: Params,
}

impl Measurement {
    /// So many validators over the world, with epochs of a devnet, and a model to pay for.
    pub fn prepare(seed: u64, validators: usize, real_signatures: bool) -> Self {
        let params = Params::devnet();
        let setup =
            Setup { validators, links: Links::WAN, params, real_signatures, checked: false, ..Setup::new(seed) };
        let (mut world, mut load) = (World::new(setup), Load::new(seed));
        let deadline = world.now + PATIENCE_MS;
        while !load.is_ready(&world) && world.now < deadline {
            load.tick(&mut world);
            let next = world.now + 200;
            if !world.run_until(PATIENCE_MS, |world| world.now >= next) {
                break;
            }
        }
        Self { world, load, params }
    }

    /// Lets so many epochs pass, a receipt in each at another node.
    pub fn measure(&mut self, epochs: u64) -> Latencies {
        let count = self.world.members.len();
        self.world.stopwatch = Some(Stopwatch::default());
        let mut latencies = Latencies::default();
        let mut waiting: Vec<(ReceiptId, usize, u64, bool)> = Vec::new();
        let first = self.world.heights()[0];
        let mut given = 0;
        while self.world.heights()[0] < first + epochs || !waiting.is_empty() {
            let at = usize::try_from(given).unwrap_or(0) * 7 % count;
            let height = self.world.heights()[0];
            if given < epochs && height >= first + given {
                waiting.extend(self.give(at, height));
                given += 1;
            }
            if !self.world.step() {
                break;
            }
            let world = &self.world;
            waiting.retain_mut(|(id, at, since, sealed)| {
                let Some(node) = &world.members[*at].node else { return false };
                let Some(record) = node.state().receipt(id) else { return true };
                if !std::mem::replace(sealed, true) {
                    latencies.sealed_ms.push(world.now - *since);
                }
                let is_settled = matches!(record.state, ReceiptState::Settled(_));
                if is_settled {
                    latencies.settled_ms.push(world.now - *since);
                }
                matches!(record.state, ReceiptState::Sealed { .. })
            });
        }
        let watch = self.world.stopwatch.take().unwrap_or_default();
        for (block, (last, nodes, round)) in watch.committed {
            if let Some(proposed) = watch.proposed.get(&block).filter(|_| nodes == count) {
                latencies.epoch_ms.push(last - proposed);
                latencies.later_rounds += u64::from(round > 0);
            }
        }
        latencies.digest = self.world.journal.digest();
        latencies
    }

    fn give(&mut self, at: usize, height: u64) -> Option<(ReceiptId, usize, u64, bool)> {
        let (payer, server) = (person(5), person(8));
        let mut receipt = self.load.receipt(self.load.model()?, &payer, &server, height);
        receipt.expiry = height + self.params.max_expiry / 2;
        let id = self.world.submit(at, &Object::Receipt(receipt), &[&payer, &server])?.ok()?;
        Some((id.into(), at, self.world.now, false))
    }
}

/// The value below which so many in a hundred lie; none of nothing.
pub fn percentile(values: &[u64], percent: usize) -> Option<u64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let last = sorted.len().checked_sub(1)?;
    sorted.get((last * percent).div_ceil(100)).copied()
}
