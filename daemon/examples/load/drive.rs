//! Receipts brought to nodes, and what becomes of them.

use crate::net::Net;
use crate::people::People;
use anyhow::Context as _;
use protocol::ids::to_hex;
use protocol::objects::Envelope;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Threads that bring receipts to each node.
const WRITERS: usize = 24;
/// How often the network is looked at; latencies are no finer than this.
const LOOK: Duration = Duration::from_millis(2);
/// How long a writer waits when enough wait already.
const PAUSE: Duration = Duration::from_micros(500);

/// HTTP/1.1 over one connection, as plain as it gets: what the client costs is taken from the node it measures.
struct Connection {
    stream: BufReader<TcpStream>,
    host: String,
    out: Vec<u8>,
}

impl Connection {
    fn open(url: &str) -> anyhow::Result<Self> {
        let host = url.strip_prefix("http://").context("an API's address")?.to_owned();
        let stream = TcpStream::connect(&host)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream), host, out: Vec::new() })
    }

    /// Submits an envelope; an error if it is not acknowledged.
    fn submit(&mut self, envelope: &[u8]) -> anyhow::Result<()> {
        self.post("objects", "octet-stream", envelope).map(drop)
    }

    /// Submits an array of receipts; an error if not all are acknowledged.
    fn submit_all(&mut self, receipts: &[u8]) -> anyhow::Result<()> {
        let reply: Value = serde_json::from_slice(&self.post("receipts", "json", receipts)?)?;
        anyhow::ensure!(reply["refused"] == 0, "refused: {reply:.200}");
        Ok(())
    }

    /// What the node answers, if it accepts.
    fn post(&mut self, path: &str, form: &str, body: &[u8]) -> anyhow::Result<Vec<u8>> {
        self.out.clear();
        let (host, length) = (&self.host, body.len());
        write!(
            self.out,
            "POST /v1/{path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/{form}\r\n\
             content-length: {length}\r\n\r\n"
        )?;
        self.out.extend_from_slice(body);
        self.stream.get_mut().write_all(&self.out)?;
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let status = line.split(' ').nth(1).unwrap_or_default().to_owned();
        let mut length = 0;
        loop {
            line.clear();
            self.stream.read_line(&mut line)?;
            let header = line.trim().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        anyhow::ensure!(status.starts_with('2'), "{status}: {}", String::from_utf8_lossy(&body));
        Ok(body)
    }
}

/// Receipts as one JSON array.
pub(crate) fn array(receipts: &[(Envelope, Vec<u8>)]) -> Vec<u8> {
    let signature = |(signer, signature): &(protocol::ids::Account, protocol::crypto::Signature)| json!({ "signer": signer.to_string(), "signature": to_hex(&signature.0) });
    let one = |(envelope, _): &(Envelope, Vec<u8>)| {
        let signatures: Vec<Value> = envelope.signatures.iter().map(signature).collect();
        json!({ "kind": "receipt", "payload": to_hex(&envelope.payload), "signatures": signatures })
    };
    Value::Array(receipts.iter().map(one).collect()).to_string().into_bytes()
}

/// Brings arrays of receipts to one node over several connections, and returns when all are acknowledged.
pub(crate) fn bring_arrays(net: &Net, node: usize, connections: usize, arrays: &[Vec<u8>]) -> anyhow::Result<()> {
    let url = net.devnet.api_url(node);
    let part = arrays.len().div_ceil(connections);
    std::thread::scope(|scope| {
        let writers: Vec<_> = arrays
            .chunks(part)
            .map(|part| {
                let url = &url;
                scope.spawn(move || -> anyhow::Result<()> {
                    let mut connection = Connection::open(url)?;
                    part.iter().try_for_each(|array| connection.submit_all(array))
                })
            })
            .collect();
        writers.into_iter().try_for_each(|writer| writer.join().map_err(|_| anyhow::anyhow!("a writer panicked"))?)
    })
}

/// Brings receipts to one node over several connections, and returns when all are acknowledged.
pub(crate) fn bring(
    net: &Net,
    node: usize,
    connections: usize,
    receipts: &[(Envelope, Vec<u8>)],
) -> anyhow::Result<()> {
    let url = net.devnet.api_url(node);
    let part = receipts.len().div_ceil(connections);
    std::thread::scope(|scope| {
        let writers: Vec<_> = receipts
            .chunks(part)
            .map(|part| {
                let url = &url;
                scope.spawn(move || -> anyhow::Result<()> {
                    let mut connection = Connection::open(url)?;
                    part.iter().try_for_each(|(_, bytes)| connection.submit(bytes))
                })
            })
            .collect();
        writers.into_iter().try_for_each(|writer| writer.join().map_err(|_| anyhow::anyhow!("a writer panicked"))?)
    })
}

/// What writers and watcher share.
struct Shared {
    stop: AtomicBool,
    waiting: AtomicI64,
    /// When each receipt that waits was acknowledged.
    acknowledged: Mutex<BTreeMap<String, Instant>>,
}

/// Keeps `target` receipts waiting for a while, spread over all nodes, and watches node 0 decide them.
pub(crate) fn drive(net: &Net, people: &People, time: Duration, target: usize) -> anyhow::Result<Value> {
    let target = i64::try_from(target)?;
    let shared =
        Shared { stop: AtomicBool::new(false), waiting: AtomicI64::new(0), acknowledged: Mutex::new(BTreeMap::new()) };
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..net.devnet.len() * WRITERS)
            .map(|i| {
                let (shared, url) = (&shared, net.devnet.api_url(i % net.devnet.len()));
                scope.spawn(move || write(shared, &url, people, target))
            })
            .collect();
        let watched = watch(&shared, net, time);
        shared.stop.store(true, Ordering::Relaxed);
        for writer in writers {
            writer.join().map_err(|_| anyhow::anyhow!("a writer panicked"))??;
        }
        watched
    })
}

fn write(shared: &Shared, url: &str, people: &People, target: i64) -> anyhow::Result<()> {
    let mut connection = Connection::open(url)?;
    while !shared.stop.load(Ordering::Relaxed) {
        if shared.waiting.fetch_add(1, Ordering::Relaxed) >= target {
            shared.waiting.fetch_sub(1, Ordering::Relaxed);
            sleep(PAUSE);
            continue;
        }
        let (envelope, bytes) = people.receipt();
        connection.submit(&bytes)?;
        let id = envelope.id().to_string();
        lock(&shared.acknowledged).insert(id, Instant::now());
    }
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn watch(shared: &Shared, net: &Net, time: Duration) -> anyhow::Result<Value> {
    let api = net.api(0)?;
    let mut height = api.status()?.height;
    let (from, began, before, [.., logged]) = (height, Instant::now(), net.uses()?, net.store_writes()?);
    let (mut latencies, mut sizes, mut receipts) = (Vec::new(), Vec::new(), 0_u64);
    // Decided before its acknowledgement was noted here.
    let mut early: Vec<String> = Vec::new();
    while began.elapsed() < time {
        sleep(LOOK);
        let now = api.status()?.height;
        let seen = Instant::now();
        for each in height + 1..=now {
            let epoch: Value = api.get(&format!("/v1/epochs/{each}"))?;
            let ids = epoch["ids"].as_array().map(Vec::as_slice).unwrap_or_default();
            let decided = epoch["objects"]["receipt"].as_u64().unwrap_or(0);
            sizes.push(decided);
            receipts += decided;
            shared.waiting.fetch_sub(i64::try_from(decided)?, Ordering::Relaxed);
            let mut acknowledged = lock(&shared.acknowledged);
            for id in ids.iter().filter_map(Value::as_str) {
                match acknowledged.remove(id) {
                    Some(at) => latencies.push(u64::try_from((seen - at).as_micros())?),
                    None => early.push(id.to_owned()),
                }
            }
        }
        height = now;
    }
    let seconds = began.elapsed().as_secs_f64();
    let after = net.uses()?;
    let [.., logged_after] = net.store_writes()?;
    let epochs = height - from;
    let early = early.iter().filter(|id| lock(&shared.acknowledged).contains_key(*id)).count();
    latencies.sort_unstable();
    sizes.sort_unstable();
    Ok(json!({
        "epochs_per_second": epochs as f64 / seconds,
        "receipts_per_second": receipts as f64 / seconds,
        "receipts_in_a_block": spread(&sizes),
        "interval_ms": intervals(net, from + 1, height)?,
        "acknowledged_to_decided_us": spread(&latencies),
        "decided_before_acknowledged": early,
        "cpu_ms": crate::cpu_ms(&before, &after),
        "agreement_log_bytes_per_epoch": (logged_after - logged) / epochs.max(1) as f64,
        "seconds": seconds,
    }))
}

/// Milliseconds between the blocks of a range, by their proposers' clocks, which are this machine's one clock.
pub(crate) fn intervals(net: &Net, from: u64, to: u64) -> anyhow::Result<Value> {
    let api = net.api(0)?;
    let time = |height: u64| -> anyhow::Result<u64> {
        let epoch: Value = api.get(&format!("/v1/epochs/{height}"))?;
        epoch["time_ms"].as_u64().context("an epoch's time")
    };
    let times: Vec<u64> = (from..=to).map(time).collect::<anyhow::Result<_>>()?;
    let mut intervals: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    intervals.sort_unstable();
    Ok(spread(&intervals))
}

/// Median and tail of sorted values.
fn spread(sorted: &[u64]) -> Value {
    let at = |percent: usize| sorted.get((sorted.len() * percent / 100).min(sorted.len().saturating_sub(1)));
    json!({ "count": sorted.len(), "p50": at(50), "p90": at(90), "p99": at(99), "max": sorted.last() })
}
