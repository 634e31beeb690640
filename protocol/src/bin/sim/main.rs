//! `sim`: runs the simulator's scenarios over many seeds and says whether every promise was kept.
//!
//! Threads, the clock, files and arguments live here; what is simulated knows none of them, so the digests do not depend
//! on how many threads there are.

mod args;
mod latency;
mod report;

use args::{Command, Simulate};
use protocol::sim::run::{Options, Outcome, run};
use report::Summary;
use std::sync::atomic::{AtomicU64, Ordering};

/// Simulated nodes are made of small pieces that come and go: with the system's allocator this
/// takes a seventh longer.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    #[expect(clippy::disallowed_methods, reason = "a program reads its arguments")]
    let words = std::env::args().skip(1);
    let done = match args::parse(words) {
        Ok(Command::Simulate(command)) => simulate(&command),
        Ok(Command::Latency(command)) => {
            latency::run(&command);
            Ok(true)
        }
        Ok(Command::List) => {
            report::list();
            Ok(true)
        }
        Err(reason) => Err(format!("{reason}\n\n{}", args::USAGE)),
    };
    match done {
        Ok(true) => std::process::ExitCode::SUCCESS,
        Ok(false) => std::process::ExitCode::FAILURE,
        Err(reason) => {
            eprintln!("{reason}");
            std::process::ExitCode::from(2)
        }
    }
}

/// Runs all cases. True when all is as it should be.
fn simulate(command: &Simulate) -> Result<bool, String> {
    let mut all_well = true;
    let mut summaries = Vec::new();
    for (scenario, ablation) in &command.cases {
        let options = |seed| Options {
            scenario,
            seed,
            ablation: *ablation,
            validators: command.validators,
            logged: command.log.is_some(),
        };
        let outcomes = run_all(command, &options);
        if let (Some(path), Some(log)) = (&command.log, outcomes.first().and_then(|outcome| outcome.log.as_ref())) {
            #[expect(clippy::disallowed_methods, reason = "the program writes its log")]
            std::fs::write(path, log).map_err(|error| format!("{path}: {error}"))?;
        }
        let summary = Summary::of(scenario, *ablation, command.validators, &outcomes);
        all_well &= summary.is_well();
        if !command.json {
            summary.print();
        }
        summaries.push(summary);
    }
    if command.json {
        report::print_json(&summaries);
    }
    Ok(all_well)
}

/// Runs every seed of one case, on all threads; the outcomes come back in the order of seeds.
fn run_all(command: &Simulate, options: &(impl Fn(u64) -> Options + Sync)) -> Vec<Outcome> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = command.jobs.unwrap_or(processors);
    let next = AtomicU64::new(command.seeds.start);
    let work = || {
        let mut done = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= command.seeds.end {
                return done;
            }
            let outcome = run(&options(seed));
            report::progress(&options(seed), &outcome, command.seeds.end - command.seeds.start);
            done.push(outcome);
        }
    };
    let mut outcomes: Vec<Outcome> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    outcomes.sort_by_key(|outcome| outcome.seed);
    outcomes
}
