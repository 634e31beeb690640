//! What the program says: lines for people on the standard output, or one JSON object; progress on the standard error.

use protocol::ids::to_hex;
use protocol::sim::ablation::Ablation;
use protocol::sim::checks::Violation;
use protocol::sim::run::{Options, Outcome};
use protocol::sim::scenario::{SCENARIOS, Scenario};
use std::collections::BTreeMap;

/// Failing seeds that are shown with what went wrong.
const SHOWN: usize = 5;

/// All seeds of one case.
pub(crate) struct Summary {
    scenario: &'static Scenario,
    ablation: Option<Ablation>,
    validators: Option<usize>,
    seeds: u64,
    epochs: u64,
    world_ms: u64,
    faults: BTreeMap<&'static str, u64>,
    violations: u64,
    /// Seeds with a violation, and their first one.
    failed: Vec<(u64, Violation)>,
    /// How often each checker was the first to see something.
    by_check: BTreeMap<&'static str, u64>,
    digest: String,
}

impl Summary {
    /// Sums up outcomes in the order of their seeds.
    pub(crate) fn of(
        scenario: &'static Scenario,
        ablation: Option<Ablation>,
        validators: Option<usize>,
        outcomes: &[Outcome],
    ) -> Self {
        let mut digest = blake3::Hasher::new();
        let mut faults: BTreeMap<&'static str, u64> = BTreeMap::new();
        let mut by_check: BTreeMap<&'static str, u64> = BTreeMap::new();
        let mut failed = Vec::new();
        for outcome in outcomes {
            digest.update(&outcome.seed.to_le_bytes());
            digest.update(&outcome.digest);
            for (kind, count) in &outcome.faults {
                *faults.entry(kind).or_default() += count;
            }
            if let Some(first) = outcome.violations.first() {
                *by_check.entry(first.check).or_default() += 1;
                failed.push((outcome.seed, first.clone()));
            }
        }
        Self {
            scenario,
            ablation,
            validators,
            seeds: outcomes.len() as u64,
            epochs: outcomes.iter().map(|outcome| outcome.epochs).sum(),
            world_ms: outcomes.iter().map(|outcome| outcome.world_ms).sum(),
            faults,
            violations: outcomes.iter().map(|outcome| outcome.violations.len() as u64).sum(),
            failed,
            by_check,
            digest: to_hex(digest.finalize().as_bytes()),
        }
    }

    /// No promise was broken; or, with something taken away, one was, and a checker saw it.
    pub(crate) fn is_well(&self) -> bool {
        self.failed.is_empty() != self.ablation.is_some()
    }

    fn name(&self) -> String {
        match self.ablation {
            None => self.scenario.name.to_owned(),
            Some(ablation) => format!("{} without {}", self.scenario.name, ablation.as_str().trim_start_matches("no-")),
        }
    }

    fn replay(&self, seed: u64) -> String {
        let mut command = format!(
            "cargo run --release -p tributary-protocol --features sim --bin sim -- --seeds {seed}..{} --scenario {}",
            seed + 1,
            self.scenario.name
        );
        if let Some(ablation) = self.ablation {
            command += &format!(" --ablate {}", ablation.as_str());
        }
        if let Some(validators) = self.validators {
            command += &format!(" --validators {validators}");
        }
        command + " --log events.log"
    }

    /// Lines for people.
    pub(crate) fn print(&self) {
        let verdict = match (self.failed.len(), self.ablation) {
            (0, None) => "every promise kept".to_owned(),
            (0, Some(_)) => "NOT CAUGHT".to_owned(),
            (seeds, None) => format!("{} VIOLATIONS in {seeds} seeds", self.violations),
            (seeds, Some(_)) => format!("caught in {seeds} of {} seeds", self.seeds),
        };
        let secs = self.world_ms / 1000;
        println!("{}: {} seeds, {} epochs, {secs} s of its world: {verdict}", self.name(), self.seeds, self.epochs);
        let counted = |counts: &BTreeMap<&'static str, u64>| {
            counts.iter().map(|(kind, count)| format!("{kind} {count}")).collect::<Vec<_>>().join(", ")
        };
        if !self.faults.is_empty() {
            println!("  faults: {}", counted(&self.faults));
        }
        println!("  digest: {}", self.digest);
        if !self.by_check.is_empty() {
            println!("  seen by: {}", counted(&self.by_check));
        }
        for (seed, violation) in self.failed.iter().take(if self.ablation.is_some() { 1 } else { SHOWN }) {
            println!("  seed {seed}: [{}] at {} ms: {}", violation.check, violation.at_ms, violation.what);
            println!("    {}", self.replay(*seed));
        }
    }

    fn json(&self) -> String {
        let counts = |counts: &BTreeMap<&'static str, u64>| {
            let fields: Vec<String> = counts.iter().map(|(kind, count)| format!("{}:{count}", text(kind))).collect();
            format!("{{{}}}", fields.join(","))
        };
        let failed: Vec<String> = (self.failed.iter())
            .map(|(seed, violation)| {
                format!(
                    "{{\"seed\":{seed},\"check\":{},\"at_ms\":{},\"what\":{},\"replay\":{}}}",
                    text(violation.check),
                    violation.at_ms,
                    text(&violation.what),
                    text(&self.replay(*seed))
                )
            })
            .collect();
        format!(
            "{{\"scenario\":{},\"ablation\":{},\"seeds\":{},\"epochs\":{},\"world_ms\":{},\"faults\":{},\"violations\":{},\
             \"seen_by\":{},\"failed\":[{}],\"well\":{},\"digest\":{}}}",
            text(self.scenario.name),
            self.ablation.map_or("null".to_owned(), |ablation| text(ablation.as_str())),
            self.seeds,
            self.epochs,
            self.world_ms,
            counts(&self.faults),
            self.violations,
            counts(&self.by_check),
            failed.join(","),
            self.is_well(),
            text(&self.digest)
        )
    }
}

/// One JSON object for all cases.
pub(crate) fn print_json(summaries: &[Summary]) {
    let all: Vec<String> = summaries.iter().map(Summary::json).collect();
    let well = summaries.iter().all(Summary::is_well);
    println!("{{\"well\":{well},\"scenarios\":[{}]}}", all.join(","));
}

/// A JSON string.
fn text(plain: &str) -> String {
    let mut quoted = String::from("\"");
    for c in plain.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c < ' ' => quoted += &format!("\\u{:04x}", u32::from(c)),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

/// Says on the standard error that a seed is done, if it failed or enough are done.
pub(crate) fn progress(options: &Options, outcome: &Outcome, seeds: u64) {
    let step = (seeds / 20).max(10);
    let is_failure = !outcome.violations.is_empty() && options.ablation.is_none();
    if is_failure || options.seed.is_multiple_of(step) {
        let verdict = if is_failure { "FAILED" } else { "done" };
        eprintln!("{} seed {}: {verdict}", options.scenario.name, options.seed);
    }
}

/// Names scenarios and ablations.
pub(crate) fn list() {
    for scenario in SCENARIOS {
        println!("{:14} {}", scenario.name, scenario.about);
    }
    for ablation in Ablation::ALL {
        println!("{:14} ablation, seen in {}", ablation.as_str(), ablation.scenario());
    }
}
