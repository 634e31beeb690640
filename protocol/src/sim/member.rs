//! One node with its disk, its clock and its power supply.

use super::attackers::Crime;
use super::clock::Clock;
use super::disk::Disk;
use crate::block::Block;
use crate::crypto::SecretKey;
use crate::ids::{Account, BlockId};
use crate::node::{Node, Peer, Timer};
use std::collections::BTreeMap;
use std::rc::Rc;

/// A node of a simulation.
pub struct Member {
    /// Its key: a validator's, or one that is in no set.
    pub key: SecretKey,
    /// It runs under a key of its own, with no say, until it has reached this height: how an operator brings back a
    /// validator whose last-sign record is gone.
    pub guest_until: Option<u64>,
    /// Is its key in the validator set of the genesis?
    pub validator: bool,
    /// The running core; none while it is down.
    pub node: Option<Node>,
    /// Its disk.
    pub disk: Disk,
    /// Its clock.
    pub clock: Clock,
    /// When its timers are due, by its own clock.
    pub timers: BTreeMap<Timer, u64>,
    /// Blocks that it offers.
    pub offered: BTreeMap<BlockId, Rc<Block>>,
    /// How often it was started: what was on its way to an earlier life does not reach a later one.
    pub life: u32,
    /// Does its driver gather the writes of several inputs into one batch?
    pub batches: bool,
    /// Power fails after so many more effects.
    pub fuse: Option<u64>,
    /// Are promises expected of it?
    pub honest: bool,
    /// What it does against the rules; of an honest one, what an ablation makes it do.
    pub crime: Option<Box<dyn Crime>>,
}

impl Member {
    /// Is it one of whom promises are expected?
    pub fn is_honest(&self) -> bool {
        self.honest
    }

    /// The account that it signs with.
    pub fn account(&self) -> Account {
        self.key.account()
    }

    /// The last height that it has committed.
    pub fn height(&self) -> u64 {
        self.node.as_ref().map_or(self.disk.height(), Node::height)
    }

    /// Nothing of what only memory held is left.
    pub fn power_off(&mut self) {
        self.node = None;
        self.timers.clear();
        self.offered.clear();
        self.fuse = None;
    }
}

/// A node's network id.
pub fn peer(index: usize) -> Peer {
    Peer((index as u64).to_be_bytes().to_vec())
}

/// The node with a network id; none when there is none.
pub fn index_of(peer: &Peer, nodes: usize) -> Option<usize> {
    let number = u64::from_be_bytes(peer.0.as_slice().try_into().ok()?);
    usize::try_from(number).ok().filter(|index| *index < nodes)
}
