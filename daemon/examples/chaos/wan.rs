//! How fast real processes agree when they are far from each other: relays give every link the delay of a distance.
//!
//! One client at each of a few nodes sends a transfer, waits until it is decided, and sends the next: so what is measured
//! is agreement, not a queue. All runs on this machine's cores, the relays too.

use crate::trial::net::{Links, Net};
use anyhow::Context as _;
use protocol::envelope::seal;
use protocol::objects::{Action, Drops, Object, Operation};
use protocol::wire;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often the first node is looked at; latencies are no finer than this.
const LOOK: Duration = Duration::from_millis(3);
/// Time for connections and the gossip's mesh to come about.
const WARM_UP: Duration = Duration::from_secs(4);
/// Accounts that write, each at a node of its own.
const WRITERS: [&str; 4] = ["alice", "bob", "carol", "dave"];

/// One-way milliseconds between five regions (Frankfurt, Virginia, Oregon, Singapore, São Paulo): half of the round
/// trips that public clouds report between them, in round figures.
const WORLD_MS: [[u64; 5]; 5] =
    [[1, 45, 72, 80, 102], [45, 1, 32, 110, 58], [72, 32, 1, 82, 88], [80, 110, 82, 1, 162], [102, 58, 88, 162, 1]];

fn one_city(_: usize, _: usize) -> Duration {
    Duration::from_millis(1)
}

fn one_continent(_: usize, _: usize) -> Duration {
    Duration::from_millis(15)
}

fn world(i: usize, j: usize) -> Duration {
    Duration::from_millis(WORLD_MS[i % 5][j % 5])
}

/// A name, what it means, and the delays.
type Distance = (&'static str, &'static str, fn(usize, usize) -> Duration);

const DISTANCES: [Distance; 3] = [
    ("city", "1 ms each way", one_city),
    ("continent", "15 ms each way", one_continent),
    ("world", "five regions, 32 to 162 ms each way", world),
];

/// Measures each distance with each number of nodes.
pub(crate) fn measure(program: &Path, time: Duration, sizes: &[usize], seed: u64) -> anyhow::Result<Value> {
    let mut rows = Vec::new();
    println!(
        "| nodes | distance | epochs per second | between blocks, p50, p99 | acknowledged to decided, p50, p99 | later rounds |"
    );
    println!("| ---: | --- | ---: | ---: | ---: | ---: |");
    for nodes in sizes {
        for (name, meaning, delay) in DISTANCES {
            let row = one(program, time, *nodes, delay, seed).with_context(|| format!("{nodes} nodes, {name}"))?;
            println!(
                "| {nodes} | {name}: {meaning} | {:.2} | {} ms, {} ms | {} ms, {} ms | {} of {} |",
                row["epochs_per_second"].as_f64().unwrap_or(0.0),
                row["between_blocks_ms"]["p50"],
                row["between_blocks_ms"]["p99"],
                row["decided_after_ms"]["p50"],
                row["decided_after_ms"]["p99"],
                row["later_rounds"],
                row["epochs"],
            );
            rows.push(json!({ "nodes": nodes, "distance": name, "meaning": meaning, "measured": row }));
        }
    }
    Ok(Value::Array(rows))
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    /// When each transfer that waits was acknowledged.
    waiting: Mutex<BTreeMap<String, Instant>>,
    decided: Mutex<BTreeMap<String, Instant>>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn one(
    program: &Path,
    time: Duration,
    nodes: usize,
    delay: fn(usize, usize) -> Duration,
    seed: u64,
) -> anyhow::Result<Value> {
    let mut net = Net::start(program, nodes, 0, Links::Relayed(delay), seed, |_| Ok(()))?;
    net.until("the first epochs", |net| Ok((net.height(0)? >= 3).then_some(())))?;
    std::thread::sleep(WARM_UP);
    let shared = Shared::default();
    let measured = std::thread::scope(|scope| {
        let writers: Vec<_> = WRITERS
            .iter()
            .enumerate()
            .map(|(i, name)| {
                scope.spawn({
                    let (net, shared) = (&net, &shared);
                    move || write(net, shared, i % nodes, name)
                })
            })
            .collect();
        let measured = watch(&net, &shared, time);
        shared.stop.store(true, Ordering::Relaxed);
        for writer in writers {
            writer.join().map_err(|_| anyhow::anyhow!("a writer panicked"))??;
        }
        measured
    })?;
    for (name, how) in net.devnet.stop_all() {
        anyhow::ensure!(how == daemon::supervisor::Ended::Gracefully, "{name} stopped {how:?}");
    }
    Ok(measured)
}

/// Transfers at one node, one after another.
fn write(net: &Net, shared: &Shared, node: usize, name: &str) -> anyhow::Result<()> {
    let (key, api) = (net.key(name), net.api(node)?);
    let (to, fee) = (net.key("erin").account(), net.genesis.params.object_fee);
    for nonce in 0.. {
        let operation =
            Operation { account: key.account(), nonce, fee, action: Action::Transfer { to, amount: Drops(1) } };
        let envelope = seal(&Object::Operation(operation), &[&key], &net.hash)?;
        let _: Value = api.post_bytes("/v1/objects", &wire::encode_envelope(&envelope))?;
        let id = envelope.id().to_string();
        lock(&shared.waiting).insert(id.clone(), Instant::now());
        while !lock(&shared.decided).contains_key(&id) {
            if shared.stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            std::thread::sleep(LOOK);
        }
    }
    Ok(())
}

fn watch(net: &Net, shared: &Shared, time: Duration) -> anyhow::Result<Value> {
    let api = net.api(0)?;
    let (from, began) = (net.height(0)?, Instant::now());
    let (mut height, mut later_rounds) = (from, 0);
    let (mut latencies, mut intervals, mut last) = (Vec::new(), Vec::new(), None);
    while began.elapsed() < time {
        std::thread::sleep(LOOK);
        let now = api.status()?.height;
        let seen = Instant::now();
        for each in height + 1..=now {
            let epoch: Value = api.get(&format!("/v1/epochs/{each}"))?;
            later_rounds += u64::from(epoch["round"].as_u64().unwrap_or(0) > 0);
            let time_ms = epoch["time_ms"].as_u64().context("a block's time")?;
            intervals.extend(last.replace(time_ms).map(|last| time_ms.saturating_sub(last)));
            for id in epoch["ids"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                lock(&shared.decided).insert(id.to_owned(), seen);
            }
        }
        height = now;
    }
    for (id, acknowledged) in lock(&shared.waiting).iter() {
        // Decided before its acknowledgement was noted here: no time at all.
        let took = lock(&shared.decided).get(id).map(|decided| decided.saturating_duration_since(*acknowledged));
        latencies.extend(took.map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX)));
    }
    let epochs = height - from;
    Ok(json!({
        "epochs": epochs,
        "epochs_per_second": epochs as f64 / began.elapsed().as_secs_f64(),
        "later_rounds": later_rounds,
        "between_blocks_ms": spread(intervals),
        "transfers": latencies.len(),
        "decided_after_ms": spread(latencies),
    }))
}

fn spread(mut values: Vec<u64>) -> Value {
    values.sort_unstable();
    let at = |percent: usize| values.get((values.len() * percent).div_ceil(100).max(1) - 1);
    json!({ "p50": at(50), "p99": at(99), "max": at(100) })
}
