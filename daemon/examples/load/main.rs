//! Measures a network of real processes on this machine: epochs with empty and with full blocks, the time from an
//! acknowledgement to a decision, receipts taken by one node beside what signature checks alone would allow, memory
//! and disk. Prints one JSON document, and a table on standard error.
//!
//! ```text
//! cargo build --release --bin tributary
//! cargo run --release -p tributary-daemon --example load -- [--seconds 20] [--only verify,empty,full,latency,pool]
//! ```
//!
//! Clients run on the same machine and take their part of it. How busy it was otherwise, `load_average` tells; what a
//! node itself used is measured as its processor time, which other work disturbs less than it disturbs the clock.

mod drive;
mod net;
mod people;

use anyhow::Context as _;
use net::{Net, Use};
use people::People;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Validators of the network that is measured.
const NODES: usize = 4;
/// Connections that bring receipts to one node.
const CONNECTIONS: usize = 32;
/// Receipts that wait for a decision while full blocks are measured: several blocks of them.
const WAITING_FULL: usize = 8_000;
/// Receipts that wait for a decision while latency is measured: one for each node.
const WAITING_LATENCY: usize = NODES;
/// Receipts of one array, where they come by the array.
const ARRAY: usize = 500;
/// Connections that bring arrays to one node.
const CONNECTIONS_OF_ARRAYS: usize = 4;
/// Receipts of one burst to one node: fewer than make it start an epoch early.
const BURST: usize = 4_000;
/// Bursts, to see the spread.
const BURSTS: usize = 3;
/// Milliseconds between epochs while bursts are measured: a burst ends before the next epoch.
const BURST_EPOCH_MS: u64 = 3_000;
/// Time for a network to settle before it is measured.
const WARM_UP: Duration = Duration::from_secs(2);

/// What can be measured.
const PARTS: [&str; 5] = ["verify", "empty", "latency", "full", "pool"];

struct Options {
    time: Duration,
    only: Vec<String>,
}

fn options() -> anyhow::Result<Options> {
    let mut options = Options { time: Duration::from_secs(20), only: PARTS.map(str::to_owned).into() };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().with_context(|| format!("{word} needs a value"))?;
        match word.as_str() {
            "--seconds" => options.time = Duration::from_secs(value.parse().context("--seconds takes a number")?),
            "--only" => options.only = value.split(',').map(str::to_owned).collect(),
            _ => anyhow::bail!("{word} is neither --seconds nor --only"),
        }
    }
    let unknown = options.only.iter().find(|part| !PARTS.contains(&part.as_str()));
    anyhow::ensure!(unknown.is_none(), "{unknown:?} is none of {PARTS:?}");
    Ok(options)
}

fn main() -> anyhow::Result<()> {
    let Options { time, only } = options()?;
    let wanted = |part: &str| only.iter().any(|each| each == part);
    let mut report = json!({ "load_average": load_average(), "cores": std::thread::available_parallelism()?.get() });
    let mut add = |name: &str, value: Value| {
        eprintln!("{name}: {value:#}");
        report[name] = value;
    };
    if wanted("verify") || wanted("pool") {
        add("verify", verify());
    }
    if wanted("empty") {
        add("empty", empty(time)?);
    }
    if wanted("full") || wanted("latency") {
        let mut net = Net::start(NODES, 0)?;
        let people = People::settle(&net)?;
        std::thread::sleep(WARM_UP);
        if wanted("latency") {
            add("latency", drive::drive(&net, &people, time, WAITING_LATENCY)?);
        }
        if wanted("full") {
            add("full", drive::drive(&net, &people, time, WAITING_FULL)?);
        }
        add("nodes_at_the_end", json!(net.uses()?));
        net.stop();
    }
    if wanted("pool") {
        add("pool", pool()?);
    }
    report["load_average_at_the_end"] = load_average();
    println!("{report:#}");
    Ok(())
}

fn load_average() -> Value {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    json!(text.split(' ').take(3).collect::<Vec<_>>().join(" "))
}

fn per_second(count: usize, took: Duration) -> u128 {
    count as u128 * 1_000_000 / took.as_micros().max(1)
}

/// How many signatures one thread checks in a second, one by one, and how many whole receipts.
fn verify() -> Value {
    const ROUNDS: usize = 5;
    let receipts = People::strangers().receipts(2_000);
    let genesis = people::NOBODY;
    let rate = |count: usize, check: &dyn Fn()| -> Vec<u128> {
        let round = || {
            let began = Instant::now();
            check();
            per_second(count, began.elapsed())
        };
        let mut rates: Vec<u128> = (0..ROUNDS).map(|_| round()).collect();
        rates.sort_unstable();
        rates
    };
    let signatures = rate(receipts.len(), &|| {
        for (envelope, _) in &receipts {
            let (signer, signature) = &envelope.signatures[0];
            let purpose = protocol::crypto::Purpose::ReceiptPayer;
            assert!(protocol::crypto::verify(signer, purpose, &genesis, &envelope.payload, signature));
        }
    });
    let whole = rate(receipts.len(), &|| {
        for (_, bytes) in &receipts {
            assert!(protocol::envelope::Verified::from_wire(bytes, &genesis).is_ok());
        }
    });
    json!({ "signatures_per_second_of_one_core": signatures, "receipts_read_and_checked_per_second_of_one_core": whole })
}

/// Epochs without objects, as fast as they go.
fn empty(time: Duration) -> anyhow::Result<Value> {
    let mut net = Net::start(NODES, 0)?;
    std::thread::sleep(WARM_UP);
    let before = net.uses()?;
    let (from, writes, began) = (net.height(0)?, net.store_writes()?, Instant::now());
    let mut by_second = Vec::new();
    let mut last = from;
    while began.elapsed() < time {
        std::thread::sleep(Duration::from_secs(1));
        let height = net.height(0)?;
        by_second.push(height - last);
        last = height;
    }
    let seconds = began.elapsed().as_secs_f64();
    let after = net.uses()?;
    let epochs = last - from;
    let now = net.store_writes()?;
    let [count, spent, logged] = std::array::from_fn(|i| now[i] - writes[i]);
    let cpu: Vec<u64> = cpu_ms(&before, &after).iter().map(|ms| ms * 1000 / epochs.max(1)).collect();
    by_second.sort_unstable();
    let value = json!({
        "epochs_per_second": epochs as f64 / seconds,
        "slowest_and_fastest_second": [by_second.first(), by_second.last()],
        "interval_ms": drive::intervals(&net, from + 1, last)?,
        "cpu_us_per_epoch_and_node": cpu,
        "synced_writes_per_epoch": count / epochs.max(1) as f64,
        "ms_per_synced_write": spent * 1000.0 / count.max(1.0),
        "agreement_log_bytes_per_epoch": logged / epochs.max(1) as f64,
        "nodes_at_the_end": after,
    });
    net.stop();
    Ok(value)
}

fn cpu_ms(before: &[Use], after: &[Use]) -> Vec<u64> {
    before.iter().zip(after).map(|(before, after)| after.cpu_ms - before.cpu_ms).collect()
}

/// Receipts that one node acknowledges as durable, in bursts between two epochs: one in a request, then many.
fn pool() -> anyhow::Result<Value> {
    let mut net = Net::start(1, BURST_EPOCH_MS)?;
    let people = People::settle(&net)?;
    let one_by_one =
        bursts(&net, &people, |receipts| Box::new(move |net| drive::bring(net, 0, CONNECTIONS, &receipts)))?;
    let in_arrays = bursts(&net, &people, |receipts| {
        let arrays: Vec<Vec<u8>> = receipts.chunks(ARRAY).map(drive::array).collect();
        Box::new(move |net| drive::bring_arrays(net, 0, CONNECTIONS_OF_ARRAYS, &arrays))
    })?;
    let value = json!({
        "receipts": BURST,
        "connections": CONNECTIONS,
        "bursts": one_by_one,
        "receipts_in_an_array": ARRAY,
        "connections_of_arrays": CONNECTIONS_OF_ARRAYS,
        "bursts_of_arrays": in_arrays,
        "node": net.uses()?,
    });
    net.stop();
    Ok(value)
}

/// Brings receipts that were made ready before.
type Bring = Box<dyn FnOnce(&Net) -> anyhow::Result<()>>;

fn bursts(
    net: &Net,
    people: &People,
    ready: impl Fn(Vec<(protocol::objects::Envelope, Vec<u8>)>) -> Bring,
) -> anyhow::Result<Vec<Value>> {
    let mut bursts = Vec::new();
    for _ in 0..BURSTS {
        let bring = ready(people.receipts(BURST));
        net.until("an empty pool at the start of an epoch's rest", |net| Ok(net.api(0)?.status()?.pool == 0))?;
        let height = net.height(0)?;
        net.until("the next epoch", |net| Ok(net.height(0)? > height))?;
        let before = net.uses()?;
        let began = Instant::now();
        bring(net)?;
        let took = began.elapsed();
        let cpu = cpu_ms(&before, &net.uses()?)[0];
        bursts.push(json!({
            "receipts_per_second": per_second(BURST, took),
            "receipts_per_second_of_node_cpu": BURST as u64 * 1000 / cpu.max(1),
            "epochs_meanwhile": net.height(0)? - height - 1,
        }));
    }
    Ok(bursts)
}
