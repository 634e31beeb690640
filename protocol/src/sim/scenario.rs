//! What is tried: a table, a row each.

use super::attackers::Crime;
use super::network::Links;

/// How often what fails while a scenario lasts. Numbers are events in the whole window.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Power cuts, between inputs or in the middle of effects.
    pub cuts: u64,
    /// After every cut, the agreement's log is gone.
    pub lost_logs: bool,
    /// Disks on which a bit flips while their node is off.
    pub corruptions: u64,
    /// Disks that are replaced by empty ones.
    pub wipes: u64,
    /// Partitions, each of a random kind.
    pub partitions: u64,
    /// Clocks that jump.
    pub jumps: u64,
    /// Clocks run fast or slow by up to so many parts in a million.
    pub drift_ppm: i64,
    /// An honest node hears only criminals for a while.
    pub eclipses: u64,
}

/// One thing to try.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// What it is called.
    pub name: &'static str,
    /// What it tries, in a few words.
    pub about: &'static str,
    /// Validators; criminals among them are less than a third.
    pub validators: usize,
    /// Nodes that only follow.
    pub observers: usize,
    /// The links while faults last.
    pub links: Links,
    /// What fails.
    pub faults: Faults,
    /// One criminal of each of these.
    pub crimes: &'static [fn() -> Box<dyn Crime>],
    /// Milliseconds of the world for which faults and load last.
    pub window_ms: u64,
    /// Milliseconds between two things that people do, on average.
    pub pace_ms: u64,
}

const NOTHING: Faults = Faults {
    cuts: 0,
    lost_logs: false,
    corruptions: 0,
    wipes: 0,
    partitions: 0,
    jumps: 0,
    drift_ppm: 0,
    eclipses: 0,
};

const CALM: Scenario = Scenario {
    name: "calm",
    about: "nothing fails",
    validators: 4,
    observers: 1,
    links: Links::LAN,
    faults: NOTHING,
    crimes: &[],
    window_ms: 2_500,
    pace_ms: 50,
};

const LOSSY: Links = Links { jitter_ms: 30, loss: 100, twice: 50, late: 100, late_ms: 400, ..Links::LAN };

/// All scenarios.
pub const SCENARIOS: &[Scenario] = &[
    CALM,
    Scenario { name: "lossy", about: "messages are lost, doubled and overtaken", links: LOSSY, ..CALM },
    Scenario {
        name: "crash",
        about: "power is cut between inputs and in the middle of effects",
        faults: Faults { cuts: 10, ..NOTHING },
        window_ms: 5_000,
        pace_ms: 80,
        ..CALM
    },
];

/// The scenario of a name.
pub fn find(name: &str) -> Option<&'static Scenario> {
    SCENARIOS.iter().find(|scenario| scenario.name == name)
}
