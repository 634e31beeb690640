//! Ill-treats a network of real processes for a long time, and reports whether all held; or measures how fast it agrees
//! over long distances.
//!
//! ```text
//! make chaos ARGS="[--seed N] [--nodes 4] [--epoch-ms 100] [--kills 100] [--others 3] [--only kill,freeze,…] [--json FILE]"
//! make chaos ARGS="--wan SECONDS [--wan-nodes 4,10] [--json FILE]"
//! ```
//!
//! One network gets `--kills` kills and every other fault `--others` times, in an order and at moments that the printed
//! seed decides. A second one, whose nodes reach each other over relays only, gets the partitions and as many kills as
//! partitions; a third gets the partitions in network namespaces, where the system allows these. The moments are random
//! in the load as it happens to run, so a seed repeats the order of the faults and their victims, not each byte.

mod trial;
mod wan;

use anyhow::Context as _;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};
use trial::namespaces::Namespaces;
use trial::net::Links;
use trial::random::Random;
use trial::{Fault, Plan, Report};

struct Options {
    seed: u64,
    nodes: usize,
    epoch_ms: u64,
    kills: usize,
    others: usize,
    only: Vec<Fault>,
    /// Measure distances for so long each, and nothing else.
    wan: Option<Duration>,
    wan_nodes: Vec<usize>,
    json: Option<PathBuf>,
}

fn options() -> anyhow::Result<Options> {
    let by_time = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| u64::from(since.subsec_nanos()));
    let mut options = Options {
        seed: by_time,
        nodes: 4,
        epoch_ms: 100,
        kills: 100,
        others: 3,
        only: Fault::ALL.to_vec(),
        wan: None,
        wan_nodes: vec![4, 10],
        json: None,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().with_context(|| format!("{word} needs a value"))?;
        let number = || value.parse::<usize>().with_context(|| format!("{word} takes a number, not {value:?}"));
        match word.as_str() {
            "--seed" => options.seed = value.parse().context("--seed takes a number")?,
            "--nodes" => options.nodes = number()?,
            "--epoch-ms" => options.epoch_ms = number()? as u64,
            "--kills" => options.kills = number()?,
            "--others" => options.others = number()?,
            "--wan" => options.wan = Some(Duration::from_secs(number()? as u64)),
            "--wan-nodes" => options.wan_nodes = value.split(',').map(str::parse).collect::<Result<_, _>>()?,
            "--json" => options.json = Some(value.into()),
            "--only" => options.only = value.split(',').map(fault).collect::<anyhow::Result<_>>()?,
            _ => anyhow::bail!("{word} is no option of chaos; its first lines in the source list them"),
        }
    }
    anyhow::ensure!(options.nodes >= 4, "fewer than 4 validators cannot do without one: --nodes 4 or more");
    Ok(options)
}

fn fault(name: &str) -> anyhow::Result<Fault> {
    let names: Vec<&str> = Fault::ALL.iter().map(|fault| fault.as_str()).collect();
    let found = Fault::ALL.into_iter().find(|fault| fault.as_str() == name);
    found.with_context(|| format!("{name} is none of {}", names.join(", ")))
}

impl Options {
    /// The faults of one network, in random order.
    fn faults(&self, random: &mut Random, cut: bool) -> Vec<Fault> {
        let mut faults = Vec::new();
        for fault in &self.only {
            let count = match (fault, cut) {
                // A quarter of them soon after another start.
                (Fault::Kill, false) => self.kills - self.kills / 4,
                (Fault::KillSoon, false) => self.kills / 4,
                (fault, cut) if fault.is_partition() == cut => self.others,
                _ => 0,
            };
            faults.extend(std::iter::repeat_n(*fault, count));
        }
        if cut && self.only.contains(&Fault::Kill) {
            faults.extend(std::iter::repeat_n(Fault::Kill, faults.len()));
        }
        random.shuffle(&mut faults);
        faults
    }

    fn write_json(&self, document: &Value) -> anyhow::Result<()> {
        let Some(path) = &self.json else { return Ok(()) };
        std::fs::write(path, format!("{document:#}\n")).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Where the system has netem, all that a node sends is so late.
const NAMESPACE_DELAY: Duration = Duration::from_millis(20);

/// Relays that only carry.
fn at_once(_: usize, _: usize) -> Duration {
    Duration::ZERO
}

fn main() -> anyhow::Result<ExitCode> {
    let options = options()?;
    eprintln!("seed {}: make chaos ARGS=\"--seed {}\" orders the same faults again", options.seed, options.seed);
    if let Some(time) = options.wan {
        let before = load_average();
        let rows = wan::measure(&built_program()?, time, &options.wan_nodes, options.seed)?;
        let document = json!({ "seed": options.seed, "load_average": [before, load_average()], "distances": rows });
        options.write_json(&document)?;
        return Ok(ExitCode::SUCCESS);
    }
    let (mut random, mut reports) = (Random::new(options.seed), Vec::new());
    let mut skipped = serde_json::Map::new();
    let trials = [
        ("processes", Links::Direct),
        ("partitions by relays", Links::Relayed(at_once)),
        ("partitions of namespaces", Links::Namespaces(NAMESPACE_DELAY)),
    ];
    for (name, links) in trials {
        let faults = options.faults(&mut random, links.can_be_cut());
        if faults.is_empty() {
            continue;
        }
        if matches!(links, Links::Namespaces(_))
            && let Err(error) = Namespaces::allowed()
        {
            let why = format!("network namespaces are not allowed here: {error:#}");
            println!("{name}: SKIPPED, because {why}");
            skipped.insert(name.to_owned(), why.into());
            continue;
        }
        let plan = Plan {
            program: built_program()?,
            seed: random.next(),
            nodes: options.nodes,
            epoch_ms: options.epoch_ms,
            links,
            small_disk: faults.contains(&Fault::FullDisk),
            faults,
            talk: true,
        };
        let report = trial::run(&plan)?;
        print(name, &report);
        reports.push((name.to_owned(), report));
    }
    let held = reports.iter().all(|(_, report)| report.violations.is_empty());
    let trials: serde_json::Map<String, Value> = reports
        .into_iter()
        .map(|(name, report)| Ok((name, serde_json::to_value(report)?)))
        .collect::<anyhow::Result<_>>()?;
    options.write_json(&json!({
        "seed": options.seed, "held": held, "skipped": skipped, "load_average": load_average(), "trials": trials,
    }))?;
    println!("{}", if held { "everything held" } else { "NOT everything held" });
    // Last, so that nobody takes what was not tried for what held.
    for (name, why) in &skipped {
        println!("SKIPPED, so not known to hold: {name}, because {}", why.as_str().unwrap_or_default());
    }
    Ok(if held { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The program that cargo built beside this example's folder.
fn built_program() -> anyhow::Result<PathBuf> {
    Ok(std::env::current_exe()?.ancestors().nth(2).context("no folder above")?.join("tributary"))
}

fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

fn print(name: &str, report: &Report) {
    let faults: Vec<String> = report.faults.iter().map(|(name, count)| format!("{name} {count}")).collect();
    println!("{name}: {} nodes, epochs every {} ms, {} s", report.nodes, report.epoch_ms, report.seconds);
    println!("  faults             {} ({} processes killed with -9)", faults.join(", "), report.kills);
    let (none_lost, none_double) =
        if report.violations.is_empty() { (", none lost", ", none against another") } else { ("", "") };
    println!("  acknowledged       {}{none_lost}; decided {}", report.acknowledged, report.decided);
    println!("  receipts           {:?}", report.receipts);
    println!("  epochs             {}, of them {} in a later round", report.epochs, report.later_rounds);
    println!("  votes heard        {}{none_double}", report.votes_heard);
    println!("  proofs             at most {} bytes, {} headers", report.proof_bytes, report.light_headers);
    println!("  money              {} credits", report.supply_credits);
    let spreads = [
        ("ready after", &report.ready_ms),
        ("votes again after", &report.votes_again_ms),
        ("in step after", &report.in_step_ms),
        ("soon: votes again", &report.soon_votes_again_ms),
        ("soon: in step", &report.soon_in_step_ms),
        ("wiped, in step", &report.wiped_in_step_ms),
        ("healed after", &report.healed_ms),
    ];
    for (what, spread) in spreads.into_iter().filter(|(_, spread)| spread.count() > 0) {
        let [half, most, all] = [50, 99, 100].map(|percent| spread.percentile(percent));
        let (within, count) = (spread.within(1_000), spread.count());
        println!("  {what:<18} p50 {half} ms, p99 {most} ms, max {all} ms; {within} of {count} within a second");
    }
    for note in &report.notes {
        println!("  NOTE: {note}");
    }
    for violation in &report.violations {
        println!("  VIOLATION: {violation}");
    }
}
