//! What the disk takes: `cargo run --release -p tributary-storage --example measure`.

#[path = "../tests/it/bench.rs"]
#[expect(dead_code, reason = "the tests use the rest of it")]
mod bench;

use bench::{Backend, Bench, commit, committed, envelope, wal};
use protocol::node::Write;
use std::path::Path;
use std::time::{Duration, Instant};

fn bytes_in(path: &Path) -> u64 {
    let entries = std::fs::read_dir(path).expect("a folder");
    entries.map(|entry| entry.expect("an entry").metadata().expect("metadata").len()).sum()
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1000.0;
    println!("{what}: median {:.2} ms, 95 % {:.2} ms, worst {:.2} ms", at(50), at(95), at(100));
}

fn main() {
    let mut bench = Bench::new(Backend::Rocks);
    println!("empty: {} KiB on disk", bytes_in(&bench.path("database")) / 1024);
    let (mut small, mut large) = (Vec::new(), Vec::new());
    let timed = |store: &dyn storage::Store, writes: &[Write], times: &mut Vec<Duration>| {
        let begin = Instant::now();
        store.write(writes).expect("a write");
        times.push(begin.elapsed());
    };
    for height in 1..=1000_u64 {
        for index in 0..4 {
            timed(bench.store(), &[wal(height, index), Write::SignRecord(vec![7; 200])], &mut small);
        }
        let mut next = commit(height, (0..100).map(envelope).collect());
        for entry in 0..200_u64 {
            let key = [b"account/".as_slice(), &(height * 31 % 50 + entry).to_be_bytes()].concat();
            next.changes.insert(key.clone(), Some(vec![1; 80]));
            next.nodes.push(([&height.to_be_bytes()[..], &key].concat(), vec![2; 200]));
            next.stale_nodes.push([&(height - 1).to_be_bytes()[..], &key].concat());
        }
        timed(bench.store(), &[committed(next)], &mut large);
    }
    report("a log entry and the last-sign record", small);
    report("a commit of 100 envelopes, 200 entries, 200 nodes", large);
    let begin = Instant::now();
    bench.reopen();
    let opened = begin.elapsed();
    let loaded = bench.store().load().expect("a load");
    println!("opened in {opened:.1?}, loaded {} entries in {:.1?}", loaded.state.len(), begin.elapsed() - opened);
    println!("after {} epochs: {} KiB on disk", loaded.height, bytes_in(&bench.path("database")) / 1024);
}
