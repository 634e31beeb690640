//! `sim latency`: how long epochs and receipts take by the number of validators, and what they cost in CPU time.

use super::args::Latency;
use protocol::sim::latency::{Latencies, Measurement, percentile};

/// What we want: CPU time of one epoch at one node, in microseconds, with 100 validators.
const GOAL_CPU_US: u128 = 10_000;

struct Row {
    validators: usize,
    latencies: Latencies,
    /// CPU time of an epoch and node in microseconds; only meaningful with real signatures.
    cpu_us: u128,
}

/// Measures and prints.
pub(crate) fn run(command: &Latency) {
    let rows: Vec<Row> = command.sizes.iter().map(|validators| measure(command, *validators)).collect();
    if command.json {
        let rows: Vec<String> = rows.iter().map(|row| row.json(command.real_signatures)).collect();
        return println!("{{\"real_signatures\":{},\"rows\":[{}]}}", command.real_signatures, rows.join(","));
    }
    println!("WAN of eight regions, epochs of 1 s; latencies in ms, p50/p99");
    println!(
        "validators   epoch        receipt sealed   receipt settled   epochs with more rounds   CPU us per epoch and node"
    );
    for row in &rows {
        let cpu = if command.real_signatures { row.cpu_us.to_string() } else { "-".to_owned() };
        println!(
            "{:10}   {:10}   {:14}   {:15}   {:23}   {cpu}",
            row.validators,
            pair(&row.latencies.epoch_ms),
            pair(&row.latencies.sealed_ms),
            pair(&row.latencies.settled_ms),
            format!("{} of {}", row.latencies.later_rounds, row.latencies.epoch_ms.len()),
        );
    }
    if command.real_signatures {
        println!("The goal is {GOAL_CPU_US} us of CPU time per epoch and node with 100 validators.");
    }
}

#[expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "CPU time is measured here, with a clock")]
fn measure(command: &Latency, validators: usize) -> Row {
    let (mut all, mut spent_us, mut epochs) = (Latencies::default(), 0, 0);
    for seed in command.seeds.clone() {
        eprintln!("{validators} validators, seed {seed}");
        let mut measurement = Measurement::prepare(seed, validators, command.real_signatures);
        let begun = std::time::Instant::now();
        let latencies = measurement.measure(command.epochs);
        // One thread does all the work of all nodes, and waits for nothing.
        spent_us += begun.elapsed().as_micros();
        epochs += latencies.epoch_ms.len() as u128;
        all.epoch_ms.extend(latencies.epoch_ms);
        all.sealed_ms.extend(latencies.sealed_ms);
        all.settled_ms.extend(latencies.settled_ms);
        all.later_rounds += latencies.later_rounds;
    }
    Row { validators, latencies: all, cpu_us: spent_us / (epochs * validators as u128).max(1) }
}

fn pair(values: &[u64]) -> String {
    let show = |percent| percentile(values, percent).map_or("-".to_owned(), |value| value.to_string());
    format!("{}/{}", show(50), show(99))
}

impl Row {
    fn json(&self, real_signatures: bool) -> String {
        let both = |values: &[u64]| {
            let show = |percent| percentile(values, percent).map_or("null".to_owned(), |value| value.to_string());
            format!("{{\"p50\":{},\"p99\":{},\"count\":{}}}", show(50), show(99), values.len())
        };
        format!(
            "{{\"validators\":{},\"epoch_ms\":{},\"sealed_ms\":{},\"settled_ms\":{},\"later_rounds\":{},\"cpu_us\":{}}}",
            self.validators,
            both(&self.latencies.epoch_ms),
            both(&self.latencies.sealed_ms),
            both(&self.latencies.settled_ms),
            self.latencies.later_rounds,
            if real_signatures { self.cpu_us.to_string() } else { "null".to_owned() },
        )
    }
}
