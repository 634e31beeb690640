//! A trial: a network of real processes under load, faults one after another at random moments by one seed, and what
//! must hold at the end. The example `chaos` runs long ones; the tests run short ones.
//!
//! What is checked, always from outside:
//!
//! - nothing that any node acknowledged is lost, and nothing is decided twice;
//! - all nodes have the same blocks, state roots and objects, each block decided by more than two thirds of all power;
//! - no validator ever signs two votes in one place, as far as a listener hears;
//! - no drop appears or disappears; every receipt ends settled or refunded; proofs hold offline;
//! - what must go on during a fault goes on, and what is hurt comes back, votes again and is in step.

mod checks;
pub(crate) mod disk;
mod faults;
pub(crate) mod hostile;
mod load;
pub(crate) mod namespaces;
pub(crate) mod net;
mod observer;
pub(crate) mod random;
mod relay;

use disk::SmallDisk;
use load::{Load, Model, WRITERS};
use net::{Between, Links, Net};
use observer::Observer;
use random::Random;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// kill -9 of nodes that have long been connected; now and then of two, or of all.
    Kill,
    /// The same soon after another start, as in a crash loop.
    KillSoon,
    /// SIGSTOP, and SIGCONT later.
    Freeze,
    /// No room on the disk.
    FullDisk,
    /// A clock that is wrong by an hour.
    Clock,
    /// All data gone.
    Wipe,
    /// Every node stopped and started in its turn.
    Rolling,
    /// An operator gives a node another voting key: one validator joins, one leaves.
    Rotate,
    /// A peer that sends what it should not.
    Hostile,
    /// Nothing gets through; nothing is lost.
    Silence,
    /// Connections reset and refused.
    Cut,
}

impl Fault {
    /// All, in the order of the report.
    pub(crate) const ALL: [Self; 11] = [
        Self::Kill,
        Self::KillSoon,
        Self::Freeze,
        Self::FullDisk,
        Self::Clock,
        Self::Wipe,
        Self::Rolling,
        Self::Rotate,
        Self::Hostile,
        Self::Silence,
        Self::Cut,
    ];

    /// One word.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::KillSoon => "kill-soon",
            Self::Freeze => "freeze",
            Self::FullDisk => "disk",
            Self::Clock => "clock",
            Self::Wipe => "wipe",
            Self::Rolling => "rolling",
            Self::Rotate => "rotate",
            Self::Hostile => "hostile",
            Self::Silence => "silence",
            Self::Cut => "cut",
        }
    }

    /// Does it need links that can be cut?
    pub(crate) const fn is_partition(self) -> bool {
        matches!(self, Self::Silence | Self::Cut)
    }
}

/// What to do.
pub(crate) struct Plan {
    pub(crate) program: PathBuf,
    pub(crate) seed: u64,
    pub(crate) nodes: usize,
    pub(crate) epoch_ms: u64,
    pub(crate) links: Links,
    /// In this order.
    pub(crate) faults: Vec<Fault>,
    /// Give the last node a small file system of its own, if that is allowed.
    pub(crate) small_disk: bool,
    /// Tell of each fault on standard error.
    pub(crate) talk: bool,
}

/// Durations in milliseconds, and what of them is told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spread(Vec<u64>);

impl Spread {
    fn note(&mut self, took: Duration) {
        self.0.push(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        self.0.sort_unstable();
    }

    /// How many were no longer than this.
    pub(crate) fn within(&self, ms: u64) -> usize {
        self.0.iter().filter(|took| **took <= ms).count()
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The least number that this many percent are not greater than.
    pub(crate) fn percentile(&self, percent: usize) -> u64 {
        let rank = (self.0.len() * percent).div_ceil(100).max(1);
        self.0.get(rank - 1).copied().unwrap_or(0)
    }
}

impl Serialize for Spread {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let counts = [("count", self.count() as u64), ("within_a_second", self.within(1_000) as u64)];
        let values = [("p50", 50), ("p99", 99), ("max", 100)];
        let values = values.into_iter().map(|(name, percent)| (name, self.percentile(percent)));
        serializer.collect_map(counts.into_iter().chain(values))
    }
}

/// What happened.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) seed: u64,
    pub(crate) nodes: usize,
    pub(crate) epoch_ms: u64,
    pub(crate) seconds: u64,
    /// Faults, by name.
    pub(crate) faults: BTreeMap<&'static str, u64>,
    /// Processes killed by [`Fault::Kill`] and [`Fault::KillSoon`].
    pub(crate) kills: u64,
    pub(crate) acknowledged: u64,
    pub(crate) decided: u64,
    pub(crate) receipts: BTreeMap<&'static str, u64>,
    pub(crate) epochs: u64,
    /// Headers that lead from the genesis to the proofs that were checked: more than the last one once all validators are others.
    pub(crate) light_headers: u64,
    /// Of the largest of these proofs.
    pub(crate) proof_bytes: u64,
    /// Epochs that needed more than one round.
    pub(crate) later_rounds: u64,
    /// Different votes that the listener heard.
    pub(crate) votes_heard: u64,
    pub(crate) supply_credits: String,
    /// From a start after any kill to `/readyz`.
    pub(crate) ready_ms: Spread,
    /// From a start after [`Fault::Kill`] of one node to its first new vote that somebody else heard.
    pub(crate) votes_again_ms: Spread,
    /// From the same start until it has decided an epoch that nobody had decided then.
    pub(crate) in_step_ms: Spread,
    /// Both after [`Fault::KillSoon`].
    pub(crate) soon_votes_again_ms: Spread,
    pub(crate) soon_in_step_ms: Spread,
    /// From a start without any data to the others' height.
    pub(crate) wiped_in_step_ms: Spread,
    /// From the end of a partition until all have decided new epochs.
    pub(crate) healed_ms: Spread,
    /// What could not be tried as it should be, and why.
    pub(crate) notes: Vec<String>,
    /// What does not hold. The first one ends a trial.
    pub(crate) violations: Vec<String>,
}

/// A network in trouble, and whoever watches it.
struct Trial<'a> {
    net: &'a mut Net,
    load: &'a Load,
    observer: &'a Observer,
    small_disk: Option<SmallDisk>,
    random: Random,
    /// Objects decided that cost a fee, beside operations.
    paid_objects: u64,
    /// When a node was last started or reached anew.
    last_start: Instant,
    report: Report,
}

struct StopOnDrop<'a>(&'a Load);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// Runs a trial. What does not hold stands in the report; an error says that there was no trial at all.
pub(crate) fn run(plan: &Plan) -> anyhow::Result<Report> {
    let began = Instant::now();
    let mut random = Random::new(plan.seed);
    let mut small_disk = None;
    let mut net = Net::start(&plan.program, plan.nodes, plan.epoch_ms, plan.links, random.next(), |devnet| {
        if plan.small_disk {
            small_disk = SmallDisk::mount(devnet, devnet.len() - 1)?;
        }
        Ok(())
    })?;
    let mut report = Report { seed: plan.seed, nodes: plan.nodes, epoch_ms: plan.epoch_ms, ..Report::default() };
    if plan.small_disk && small_disk.is_none() {
        report.notes.push(
            "no right to mount a file system: a full disk was made by a limit on the size of files (RLIMIT_FSIZE)"
                .to_owned(),
        );
    }
    if let Between::Namespaces(spaces) = &net.between {
        report.notes.extend(spaces.note());
    }
    let (model, load, observer) = (Model::register(&net)?, Load::new(&net)?, Observer::start(&net)?);
    let writers: Vec<_> = WRITERS.iter().map(|name| net.key(name)).collect();
    let mut trial = Trial {
        net: &mut net,
        load: &load,
        observer: &observer,
        small_disk,
        random: random.fork(),
        paid_objects: 0,
        last_start: Instant::now(),
        report,
    };
    let outcome = std::thread::scope(|scope| {
        for (i, key) in writers.iter().enumerate() {
            let (load, to, random) = (&load, writers[(i + 1) % writers.len()].account(), random.fork());
            scope.spawn(move || load.transfer(key, to, random));
        }
        let payer = random.fork();
        let (load, model) = (&load, &model);
        scope.spawn(move || load.pay(model, payer));
        // However the faults end, the writers end too.
        let _stop = StopOnDrop(load);
        for (n, fault) in plan.faults.iter().enumerate() {
            let started = Instant::now();
            trial.suffer(*fault)?;
            if plan.talk {
                let (count, took) = (trial.load.count(), started.elapsed());
                let all = plan.faults.len();
                eprintln!("{}/{all} {}: {took:.1?}, {count} objects acknowledged so far", n + 1, fault.as_str());
            }
        }
        anyhow::Ok(())
    });
    let outcome = outcome.and_then(|()| trial.check_all(&plan.program));
    let (mut report, small_disk) = (trial.report, trial.small_disk);
    report.acknowledged = load.count() as u64;
    report.votes_heard = observer.count();
    report.seconds = began.elapsed().as_secs();
    if let Err(error) = outcome {
        report.violations.push(format!("{error:#}"));
    }
    for (name, how) in net.devnet.stop_all() {
        if how != daemon::supervisor::Ended::Gracefully {
            report.violations.push(format!("{name} did not stop in order at the end: {how:?}"));
        }
    }
    if !report.violations.is_empty()
        && let Some(folder) = net.keep_folder()
    {
        report.notes.push(format!("the nodes' homes with their logs are kept in {}", folder.display()));
    }
    drop(small_disk);
    Ok(report)
}
