//! Who reaches whom, and how long it takes.
//!
//! Every node speaks with every other directly. Bandwidth is not modelled: a message takes its link's latency and
//! jitter, whatever its size.

use super::dice::Dice;
use std::collections::BTreeSet;

/// Where nodes stand, for the WAN: eight regions of the big clouds.
pub const REGIONS: [&str; 8] =
    ["us-east", "us-west", "eu-west", "eu-central", "sa-east", "ap-south", "ap-southeast", "ap-northeast"];

/// Milliseconds one way between regions: half of round trips as public latency monitors of the big clouds show them,
/// rounded.
const WAN_MS: [[u64; 8]; 8] = [
    [1, 32, 38, 46, 57, 95, 110, 75],
    [32, 1, 65, 73, 88, 110, 85, 54],
    [38, 65, 1, 13, 90, 61, 88, 105],
    [46, 73, 13, 1, 102, 55, 80, 112],
    [57, 88, 90, 102, 1, 152, 165, 130],
    [95, 110, 61, 55, 152, 1, 30, 62],
    [110, 85, 88, 80, 165, 30, 1, 35],
    [75, 54, 105, 112, 130, 62, 35, 1],
];

/// What every link is like.
#[derive(Clone, Copy, Debug)]
pub struct Links {
    /// Latency by region; otherwise 1 ms.
    pub wan: bool,
    /// Up to so many milliseconds are added.
    pub jitter_ms: u64,
    /// Messages lost, in a thousand.
    pub loss: u64,
    /// Messages that arrive twice, in a thousand.
    pub twice: u64,
    /// Messages that are overtaken by others, in a thousand.
    pub late: u64,
    /// By up to so many milliseconds.
    pub late_ms: u64,
}

impl Links {
    /// One room, nothing lost.
    pub const LAN: Self = Self { wan: false, jitter_ms: 8, loss: 0, twice: 0, late: 0, late_ms: 0 };
    /// The whole world, nothing lost.
    pub const WAN: Self = Self { wan: true, jitter_ms: 12, ..Self::LAN };

    /// The same links when nothing is lost, doubled or overtaken.
    pub fn calm(self) -> Self {
        Self { loss: 0, twice: 0, late: 0, ..self }
    }
}

/// What becomes of one message.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fate {
    /// It arrives after so many milliseconds; none when it is lost.
    pub after_ms: Option<u64>,
    /// It arrives again.
    pub again_ms: Option<u64>,
}

/// The network.
#[derive(Debug)]
pub struct Network {
    /// What every link is like now.
    pub links: Links,
    regions: Vec<usize>,
    /// From whom nothing reaches whom.
    cut: BTreeSet<(usize, usize)>,
    dice: Dice,
}

impl Network {
    /// A network of so many nodes, spread over the regions.
    pub fn new(links: Links, nodes: usize, seed: u64) -> Self {
        let mut dice = Dice::new(seed, "network");
        let mut regions: Vec<usize> = (0..nodes).map(|node| node % REGIONS.len()).collect();
        dice.shuffle(&mut regions);
        Self { links, regions, cut: BTreeSet::new(), dice }
    }

    /// Does anything sent reach the other?
    pub fn reaches(&self, from: usize, to: usize) -> bool {
        self.cut.is_empty() || !self.cut.contains(&(from, to))
    }

    /// Milliseconds that one message takes that is not lost.
    pub fn latency(&mut self, from: usize, to: usize) -> u64 {
        let base = match self.links.wan {
            true => WAN_MS[self.regions[from]][self.regions[to]],
            false => 1,
        };
        let late = if self.dice.chance(self.links.late) { self.dice.roll(self.links.late_ms + 1) } else { 0 };
        base + self.dice.roll(self.links.jitter_ms + 1) + late
    }

    /// Is this message lost?
    pub fn loses(&mut self, from: usize, to: usize) -> bool {
        !self.reaches(from, to) || self.dice.chance(self.links.loss)
    }

    /// What becomes of a message.
    pub fn fate(&mut self, from: usize, to: usize) -> Fate {
        if self.loses(from, to) {
            return Fate::default();
        }
        let after_ms = Some(self.latency(from, to));
        let again_ms = self.dice.chance(self.links.twice).then(|| self.latency(from, to) + 1);
        Fate { after_ms, again_ms }
    }

    /// Cuts all links from one group to another, and back unless it is `one_way`.
    pub fn part(&mut self, group: &BTreeSet<usize>, one_way: bool) {
        for node in 0..self.regions.len() {
            for other in group.iter().copied().filter(|_| !group.contains(&node)) {
                self.cut.insert((node, other));
                if !one_way {
                    self.cut.insert((other, node));
                }
            }
        }
    }

    /// Leaves one node only links to some.
    pub fn eclipse(&mut self, victim: usize, left: &BTreeSet<usize>) {
        for node in (0..self.regions.len()).filter(|node| *node != victim && !left.contains(node)) {
            self.cut.insert((node, victim));
            self.cut.insert((victim, node));
        }
    }

    /// Mends all links.
    pub fn mend(&mut self) {
        self.cut.clear();
    }
}
