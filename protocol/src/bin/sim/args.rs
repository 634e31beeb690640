//! The command line, read by hand: the program has few words, and the pure core's crate no parser.

use protocol::limits::MAX_VALIDATORS;
use protocol::sim::ablation::Ablation;
use protocol::sim::scenario::{SCENARIOS, Scenario, find};
use std::ops::Range;

/// How it is used.
pub(crate) const USAGE: &str = "\
sim --seeds A..B --scenario NAME|all [--ablate NAME|all] [--validators N] [--jobs N] [--json] [--log FILE]
sim latency [--seeds A..B] [--sizes 4,10,50,100] [--epochs N] [--real-signatures] [--json]
sim list

  --seeds A..B       seeds A to B - 1
  --scenario NAME    one of `sim list`
  --ablate NAME      take away what the design rests on; succeeds only if a checker sees it
  --validators N     other than the scenario's number
  --jobs N           threads (default: one for each processor)
  --json             one JSON object instead of lines
  --log FILE         write what happened, line by line; for one seed of one scenario
  --real-signatures  ed25519, not hashes, and the CPU time of an epoch";

/// What to do.
pub(crate) enum Command {
    /// Run scenarios.
    Simulate(Simulate),
    /// Measure latencies.
    Latency(Latency),
    /// Name what there is.
    List,
}

/// Which scenarios, and how.
pub(crate) struct Simulate {
    pub(crate) seeds: Range<u64>,
    /// Each scenario with what is taken away from it.
    pub(crate) cases: Vec<(&'static Scenario, Option<Ablation>)>,
    pub(crate) validators: Option<usize>,
    pub(crate) jobs: Option<usize>,
    pub(crate) json: bool,
    pub(crate) log: Option<String>,
}

/// What to measure.
pub(crate) struct Latency {
    pub(crate) seeds: Range<u64>,
    pub(crate) sizes: Vec<usize>,
    pub(crate) epochs: u64,
    pub(crate) real_signatures: bool,
    pub(crate) json: bool,
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("`{text}` is not a number"))
}

/// How many validators.
fn size(text: &str) -> Result<usize, String> {
    let size = number(text)?;
    if (1..=MAX_VALIDATORS).contains(&size) {
        Ok(size)
    } else {
        Err(format!("a network has 1 to {MAX_VALIDATORS} validators, not {size}"))
    }
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let (from, to) = text.split_once("..").ok_or(format!("`{text}` should be A..B"))?;
    let range = number(from)?..number(to)?;
    if range.is_empty() { Err(format!("there is no seed in {text}")) } else { Ok(range) }
}

/// Reads the words after the program's name.
pub(crate) fn parse(words: impl Iterator<Item = String>) -> Result<Command, String> {
    let mut words = words.peekable();
    match words.peek().map(String::as_str) {
        Some("list") => Ok(Command::List),
        Some("latency") => latency(words.skip(1)).map(Command::Latency),
        _ => simulate(words).map(Command::Simulate),
    }
}

fn simulate(mut words: impl Iterator<Item = String>) -> Result<Simulate, String> {
    let (mut scenario, mut ablation) = (None, None);
    let mut command = Simulate { seeds: 0..0, cases: Vec::new(), validators: None, jobs: None, json: false, log: None };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            "--seeds" => command.seeds = seeds(&value()?)?,
            "--scenario" => scenario = Some(value()?),
            "--ablate" => ablation = Some(value()?),
            "--validators" => command.validators = Some(size(&value()?)?),
            "--jobs" => command.jobs = Some(number::<usize>(&value()?)?.max(1)),
            "--json" => command.json = true,
            "--log" => command.log = Some(value()?),
            other => return Err(format!("`{other}` is unknown")),
        }
    }
    if command.seeds.is_empty() {
        return Err("--seeds A..B is missing".to_owned());
    }
    command.cases = cases(scenario.as_deref(), ablation.as_deref())?;
    if command.log.is_some() && (command.cases.len() > 1 || command.seeds.end - command.seeds.start > 1) {
        return Err("--log is for one seed of one scenario".to_owned());
    }
    Ok(command)
}

type Case = (&'static Scenario, Option<Ablation>);

fn cases(scenario: Option<&str>, ablation: Option<&str>) -> Result<Vec<Case>, String> {
    let named = |name: &str| find(name).ok_or(format!("there is no scenario `{name}`; `sim list` names them"));
    let ablations = match ablation {
        None => {
            return match scenario {
                None => Err("--scenario NAME|all is missing".to_owned()),
                Some("all") => Ok(SCENARIOS.iter().map(|scenario| (scenario, None)).collect()),
                Some(name) => Ok(vec![(named(name)?, None)]),
            };
        }
        Some("all") => Ablation::ALL.to_vec(),
        Some(name) => {
            vec![Ablation::find(name).ok_or(format!("there is no ablation `{name}`; `sim list` names them"))?]
        }
    };
    // Where it hurts, unless another place is named.
    let place = |ablation: Ablation| match scenario {
        None | Some("all") => named(ablation.scenario()),
        Some(name) => named(name),
    };
    ablations.into_iter().map(|ablation| Ok((place(ablation)?, Some(ablation)))).collect()
}

fn latency(mut words: impl Iterator<Item = String>) -> Result<Latency, String> {
    let mut command =
        Latency { seeds: 0..1, sizes: vec![4, 10, 50, 100], epochs: 20, real_signatures: false, json: false };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            "--seeds" => command.seeds = seeds(&value()?)?,
            "--sizes" => command.sizes = value()?.split(',').map(size).collect::<Result<_, _>>()?,
            "--epochs" => command.epochs = number(&value()?)?,
            "--real-signatures" => command.real_signatures = true,
            "--json" => command.json = true,
            other => return Err(format!("`{other}` is unknown")),
        }
    }
    Ok(command)
}
