//! What is tried: a table, a row each.

use super::attackers::{Amnesiac, Copycat, Crime, Eclipse, Equivocator, Forger, Liar, Replayer, Spammer, Withholder};
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
    /// They are drawn from these, not taken in order.
    pub draws_crimes: bool,
    /// Milliseconds of the world for which faults and load last.
    pub window_ms: u64,
    /// Milliseconds between two things that people do, on average.
    pub pace_ms: u64,
    /// Validators come and go, on committees that are redrawn.
    pub churns: bool,
}

const NOTHING: Faults =
    Faults { cuts: 0, lost_logs: false, corruptions: 0, wipes: 0, partitions: 0, jumps: 0, drift_ppm: 0, eclipses: 0 };

const CALM: Scenario = Scenario {
    name: "calm",
    about: "nothing fails",
    validators: 4,
    observers: 1,
    links: Links::LAN,
    faults: NOTHING,
    crimes: &[],
    draws_crimes: false,
    window_ms: 2_500,
    pace_ms: 50,
    churns: false,
};

const LOSSY: Links = Links { jitter_ms: 30, loss: 100, twice: 50, late: 100, late_ms: 400, ..Links::LAN };

/// Seven validators, of which two may be criminals.
const ATTACKED: Scenario =
    Scenario { validators: 7, observers: 0, links: Links { jitter_ms: 20, ..Links::LAN }, ..CALM };

/// All scenarios.
pub const SCENARIOS: &[Scenario] = &[
    CALM,
    Scenario {
        name: "wan",
        about: "eight regions of the world",
        validators: 7,
        links: Links::WAN,
        pace_ms: 100,
        window_ms: 5_000,
        ..CALM
    },
    Scenario { name: "lossy", about: "messages are lost, doubled and overtaken", links: LOSSY, ..CALM },
    Scenario {
        name: "partition",
        about: "the network falls apart: one alone, a minority, halves, one way",
        validators: 5,
        links: Links { jitter_ms: 30, loss: 10, ..Links::LAN },
        faults: Faults { partitions: 4, ..NOTHING },
        window_ms: 10_000,
        pace_ms: 200,
        ..CALM
    },
    Scenario {
        name: "crash",
        about: "power is cut between inputs and in the middle of effects",
        faults: Faults { cuts: 10, ..NOTHING },
        window_ms: 5_000,
        pace_ms: 80,
        ..CALM
    },
    Scenario {
        name: "disk",
        about: "power cuts, and disks that corrupt records",
        faults: Faults { cuts: 4, corruptions: 3, ..NOTHING },
        window_ms: 6_000,
        pace_ms: 100,
        ..CALM
    },
    Scenario {
        name: "lostlog",
        about: "a validator's agreement log is gone after each power cut",
        faults: Faults { cuts: 6, lost_logs: true, ..NOTHING },
        links: Links { jitter_ms: 40, ..Links::LAN },
        window_ms: 6_000,
        pace_ms: 120,
        ..CALM
    },
    Scenario {
        name: "clocks",
        about: "clocks drift and jump by up to half a minute",
        faults: Faults { jumps: 4, drift_ppm: 500, ..NOTHING },
        window_ms: 5_000,
        pace_ms: 100,
        ..CALM
    },
    Scenario {
        name: "wiped",
        about: "disks are replaced by empty ones",
        faults: Faults { wipes: 3, cuts: 1, ..NOTHING },
        window_ms: 6_000,
        pace_ms: 100,
        ..CALM
    },
    Scenario {
        name: "equivocator",
        about: "criminals sign two messages in one place",
        crimes: &[Equivocator::create, Equivocator::create],
        ..ATTACKED
    },
    Scenario {
        name: "withholder",
        about: "criminals keep back blocks, votes and answers",
        crimes: &[Withholder::create, Withholder::create],
        ..ATTACKED
    },
    Scenario {
        name: "forger",
        about: "criminals sign for others",
        crimes: &[Forger::create, Forger::create],
        ..ATTACKED
    },
    Scenario {
        name: "replayer",
        about: "criminals say again what was said",
        crimes: &[Replayer::create, Replayer::create],
        ..ATTACKED
    },
    Scenario {
        name: "spammer",
        about: "a criminal floods the network with receipts",
        validators: 4,
        crimes: &[Spammer::create],
        ..ATTACKED
    },
    Scenario {
        name: "copycat",
        about: "criminals reveal what others found",
        crimes: &[Copycat::create, Copycat::create],
        ..ATTACKED
    },
    Scenario {
        name: "amnesiac",
        about: "criminals forget what they are locked on, and messages are lost",
        links: Links { jitter_ms: 40, loss: 60, ..Links::LAN },
        crimes: &[Amnesiac::create, Amnesiac::create],
        ..ATTACKED
    },
    Scenario { name: "liar", about: "criminals attribute wrongly", crimes: &[Liar::create, Liar::create], ..ATTACKED },
    Scenario {
        name: "eclipse",
        about: "a node hears only criminals for a while",
        faults: Faults { eclipses: 3, ..NOTHING },
        crimes: &[Eclipse::create, Eclipse::create],
        window_ms: 6_000,
        pace_ms: 100,
        ..ATTACKED
    },
    Scenario {
        name: "big",
        about: "twenty-five validators over the world",
        validators: 25,
        observers: 0,
        links: Links::WAN,
        window_ms: 1_000,
        pace_ms: 200,
        ..CALM
    },
    Scenario {
        name: "churn",
        about: "validators join, leave and change their power, with committees of four and a power cut",
        validators: 7,
        observers: 3,
        links: Links { jitter_ms: 20, ..Links::LAN },
        faults: Faults { cuts: 1, ..NOTHING },
        window_ms: 8_000,
        pace_ms: 150,
        churns: true,
        ..CALM
    },
    Scenario {
        name: "everything",
        about: "all of it at once, with two criminals of any kind among ten",
        // A validator that lost its memory keeps silent for a while: with the criminals that is just below a third.
        validators: 10,
        links: Links { wan: true, jitter_ms: 30, loss: 30, twice: 20, late: 30, late_ms: 300 },
        faults: Faults {
            cuts: 5,
            lost_logs: false,
            corruptions: 1,
            wipes: 1,
            partitions: 2,
            jumps: 1,
            drift_ppm: 200,
            eclipses: 1,
        },
        crimes: ANY,
        draws_crimes: true,
        observers: 1,
        window_ms: 8_000,
        pace_ms: 200,
        churns: false,
    },
];

const ANY: &[fn() -> Box<dyn Crime>] = &[
    Equivocator::create,
    Withholder::create,
    Forger::create,
    Replayer::create,
    Spammer::create,
    Copycat::create,
    Amnesiac::create,
    Liar::create,
    Eclipse::create,
];

/// The scenario of a name.
pub fn find(name: &str) -> Option<&'static Scenario> {
    SCENARIOS.iter().find(|scenario| scenario.name == name)
}
