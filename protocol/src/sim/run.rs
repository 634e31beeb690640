//! One run: a scenario with a seed, from the genesis to the verdict.
//!
//! First people prepare what receipts need; in one seed of four faults begin at once. Then, for the scenario's window,
//! people go on and things fail. Then everything heals, and within a bound every promise must have been kept.

use super::ablation::Ablation;
use super::checks::Violation;
use super::churn::{self, Churn};
use super::dice::Dice;
use super::faults::FaultPlan;
use super::load::Load;
use super::scenario::Scenario;
use super::world::{Setup, World};
use crate::ledger::Read as _;
use crate::ledger::records::{ValidatorRecord, ValidatorState};
use std::collections::BTreeMap;

/// Milliseconds of the world within which people must have prepared everything, without faults.
const PREPARATION_MS: u64 = 120_000;
/// Milliseconds between two looks at whether an end is reached.
const LOOK_MS: u64 = 200;
/// Milliseconds after healing within which heights rise, and within which every promise is kept: rounds of agreement
/// take some seconds each after a long partition, refunds ten epochs, and objects are gossiped again every sixteen.
pub const HEALING_MS: u64 = 240_000;
/// Epochs that must follow after healing.
const EPOCHS_AFTER: u64 = 3;

/// Epochs after which nothing more will change: objects are gossiped again every 16, receipts refunded after 10.
const EPOCHS_AT_MOST: u64 = 100;

/// What to run.
#[derive(Clone, Copy)]
pub struct Options {
    /// The scenario.
    pub scenario: &'static Scenario,
    /// The seed.
    pub seed: u64,
    /// What is taken away, so that a checker must see it.
    pub ablation: Option<Ablation>,
    /// Other than the scenario's number of validators.
    pub validators: Option<usize>,
    /// Keep an event log.
    pub logged: bool,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// Epochs decided.
    pub epochs: u64,
    /// Milliseconds of the world that passed.
    pub world_ms: u64,
    /// Faults injected, by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Promises broken.
    pub violations: Vec<Violation>,
    /// The digest of everything that happened.
    pub digest: [u8; 32],
    /// The event log, if it was asked for.
    pub log: Option<String>,
}

/// Runs a scenario with a seed.
pub fn run(options: &Options) -> Outcome {
    let mut run = Run::new(options);
    run.prepare();
    run.suffer();
    run.heal();
    run.finish()
}

struct Run {
    scenario: &'static Scenario,
    world: World,
    load: Load,
    plan: FaultPlan,
    /// Where validators come and go.
    churn: Option<Churn>,
    dice: Dice,
    begun_ms: u64,
    seed: u64,
    /// Not everything was in order again in time.
    delayed: bool,
}

impl Run {
    fn new(options: &Options) -> Self {
        let scenario = options.scenario;
        let validators = options.validators.unwrap_or(scenario.validators);
        let mut dice = Dice::new(options.seed, "run");
        let mut places: Vec<usize> = (0..validators).collect();
        dice.shuffle(&mut places);
        // Whoever lost all memory is silent for a while, which is a fault as well: one at a time.
        let without_memory = usize::from(scenario.faults.wipes + scenario.faults.corruptions > 0);
        let most = (validators.saturating_sub(1) / 3).saturating_sub(without_memory);
        let mut makers = scenario.crimes.to_vec();
        if scenario.draws_crimes {
            dice.shuffle(&mut makers);
        }
        let crimes = places.into_iter().zip(makers.into_iter().take(most)).map(|(at, make)| (at, make())).collect();
        let mut setup = Setup {
            validators,
            observers: scenario.observers,
            links: scenario.links,
            crimes,
            logged: options.logged,
            ..Setup::new(options.seed)
        };
        if scenario.churns {
            setup.params = churn::params(setup.params);
        }
        if let Some(ablation) = options.ablation {
            ablation.apply(&mut setup);
        }
        let mut world = World::new(setup);
        let plan = FaultPlan::new(options.seed, scenario, &mut world);
        let begun_ms = world.now;
        let mut run = Self {
            scenario,
            world,
            load: Load::new(options.seed),
            plan,
            churn: scenario.churns.then(|| Churn::new(options.seed)),
            dice,
            begun_ms,
            seed: options.seed,
            delayed: false,
        };
        if !run.dice.chance(250) {
            run.world.network.links = scenario.links.calm();
        }
        run
    }

    /// Lets the world run to a time. False once a promise was broken: what follows would only repeat it.
    fn run_to(&mut self, until: u64) -> bool {
        while self.world.next_at().is_some_and(|at| at <= until) {
            self.world.step();
            if !self.world.checks.violations().is_empty() {
                return false;
            }
        }
        self.world.now = self.world.now.max(until);
        true
    }

    fn prepare(&mut self) {
        let deadline = self.world.now + PREPARATION_MS;
        while !self.load.is_ready(&self.world) {
            let next = self.world.now + self.dice.between(10, 60);
            if !self.run_to(next) {
                return;
            }
            if next > deadline {
                let heights = self.world.heights();
                return self.world.checks.report("liveness", next, format!("nothing is ready; heights {heights:?}"));
            }
            self.load.tick(&mut self.world);
        }
    }

    fn suffer(&mut self) {
        self.world.network.links = self.scenario.links;
        let end = self.world.now + self.scenario.window_ms;
        self.plan.begin(self.world.now, end);
        let mut next_load = self.world.now;
        while self.world.now < end {
            let churned = self.churn.as_ref().map_or(end, Churn::next_at);
            let next = next_load.min(self.plan.next_at().unwrap_or(end)).min(churned).min(end);
            if !self.run_to(next) {
                return;
            }
            self.plan.strike(&mut self.world);
            if let Some(churn) = &mut self.churn {
                churn.tick(&mut self.world);
            }
            if self.world.now >= next_load {
                self.load.tick(&mut self.world);
                next_load = self.world.now + self.dice.between(1, 2 * self.scenario.pace_ms);
            }
        }
    }

    fn heal(&mut self) {
        if !self.world.checks.violations().is_empty() {
            return;
        }
        self.plan.end(&mut self.world);
        self.world.heal(self.scenario.links.calm());
        let deadline = self.world.now + HEALING_MS;
        let goal = self.world.heights().into_iter().max().unwrap_or(0) + EPOCHS_AFTER;
        let last = goal + EPOCHS_AT_MOST;
        loop {
            let now = self.world.now;
            if !self.run_to(now + LOOK_MS) || self.is_over(goal) {
                return;
            }
            if self.world.now > deadline || self.world.honest().all(|(_, member)| member.height() > last) {
                return self.explain_delay(goal);
            }
        }
    }

    /// Is everything in order again?
    fn is_over(&self, goal: u64) -> bool {
        let honest = || self.world.honest().map(|(_, member)| member);
        honest().all(|member| member.height() >= goal && member.guest_until.is_none())
            && self.world.checks.all_kept()
            && self.world.checks.all_ended(&self.world.members, goal)
    }

    fn explain_delay(&mut self, goal: u64) {
        let (now, heights) = (self.world.now, self.world.heights());
        let behind: Vec<usize> =
            self.world.honest().filter(|(_, member)| member.height() < goal).map(|(index, _)| index).collect();
        if !behind.is_empty() {
            self.delayed = true;
            let what = format!("nodes {behind:?} are below height {goal}, {HEALING_MS} ms after healing: {heights:?}");
            self.world.checks.report("liveness", now, what);
        }
        // What else is wrong by now, the checkers say at the end.
    }

    /// How many validators are out for ever, as the furthest honest node has it.
    fn tombstoned(&self) -> u64 {
        let nodes = self.world.honest().filter_map(|(_, member)| member.node.as_ref());
        let records = nodes.max_by_key(|node| node.height()).map(|node| node.state().candidates()).unwrap_or_default();
        let is_out = |record: &&ValidatorRecord| matches!(record.state, ValidatorState::Tombstoned { .. });
        records.values().filter(is_out).count() as u64
    }

    fn finish(mut self) -> Outcome {
        let now = self.world.now;
        if self.world.checks.violations().is_empty() || self.delayed {
            self.world.checks.finish(now, &self.world.members);
        }
        if self.churn.is_some() {
            churn::newcomers(&self.world).iter().for_each(|_| self.world.journal.fault(now, 0, "newcomer votes"));
        }
        let mut faults = std::mem::take(&mut self.world.journal.faults);
        let tombstoned = self.tombstoned();
        if tombstoned > 0 {
            faults.insert("tombstoned", tombstoned);
        }
        Outcome {
            seed: self.seed,
            epochs: self.world.heights().into_iter().max().unwrap_or(0),
            world_ms: now - self.begun_ms,
            faults,
            violations: self.world.checks.violations().to_vec(),
            digest: self.world.journal.digest(),
            log: self.world.journal.log().map(str::to_owned),
        }
    }
}
