//! Measures the store of fingerprints on a text file: `near_bench FILE [CONTRIBUTIONS]`.
//!
//! The file is cut into that many contributions (100 without) of documents of about 64 KiB. Prints how fast it is
//! fingerprinted, added, and looked up when nothing of it is known, when all of it is, and in one merged run; and what
//! the store takes on disk and in memory.

use attribution::near::{Store, fingerprints};
use protocol::ids::ContributionId;
use std::time::{Duration, Instant};

const DOCUMENT_BYTES: usize = 64 * 1024;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: near_bench FILE [CONTRIBUTIONS]")?;
    let contributions: usize = arguments.next().map_or(Ok(100), |number| number.parse())?;
    let text = std::fs::read_to_string(path)?;
    let documents: Vec<&str> = documents(&text).collect();
    let contributions: Vec<&[&str]> = documents.chunks(documents.len().div_ceil(contributions).max(1)).collect();
    let megabytes = text.len() as f64 / 1e6;
    let show = |what: &str, took: Duration| println!("{what}: {took:.2?}, {:.1} MB/s", megabytes / took.as_secs_f64());

    let start = Instant::now();
    let mut found = fingerprints(&documents);
    let count = found.by_ref().count();
    show("fingerprinting", start.elapsed());
    println!("{} bytes, {} words, {count} fingerprints", text.len(), found.words());

    let folder = tempfile::tempdir()?;
    let mut store = Store::open(folder.path())?;
    let (mut adding, mut measuring) = (Vec::new(), Vec::new());
    let mut shares = Vec::new();
    for (order, documents) in (0_u64..).zip(&contributions) {
        let start = Instant::now();
        shares.push(store.snapshot().measure(documents, order)?.share_basis_points());
        measuring.push(start.elapsed());
        let start = Instant::now();
        let mut id = [0; 32];
        id[..8].copy_from_slice(&order.to_le_bytes());
        store.add(order, ContributionId(id), documents)?;
        adding.push(start.elapsed());
    }
    show("adding, with merges", adding.iter().sum());
    adding.sort();
    println!("    each: p50 {:.2?}, longest {:.2?}", adding[adding.len() / 2], adding[adding.len() - 1]);
    show("measuring each before it is added", measuring.iter().sum());
    shares.sort_unstable();
    println!("    share known of each: p50 {}, most {}", shares[shares.len() / 2], shares[shares.len() - 1]);

    for state in ["as added", "merged"] {
        let start = Instant::now();
        for documents in &contributions {
            let known = store.snapshot().measure(documents, u64::MAX)?;
            assert!(known.known_words + 2 >= known.words, "what was added is known: {known:?}");
        }
        show(&format!("measuring what is known, {state}"), start.elapsed());
        let snapshot = store.snapshot();
        let (disk, entries) = (snapshot.disk_bytes() as f64, snapshot.fingerprints() as f64);
        println!(
            "    {} runs, {entries} entries, {disk} bytes on disk: {:.3} MB for each MB of text, {:.2} bytes an entry; \
             {} bytes of memory, {:.4} an entry",
            snapshot.runs(),
            disk / 1e6 / megabytes,
            disk / entries,
            snapshot.memory_bytes(),
            snapshot.memory_bytes() as f64 / entries,
        );
        let start = Instant::now();
        store.compact()?;
        println!("    merging all: {:.2?}", start.elapsed());
    }
    Ok(())
}

/// The text in pieces of about [`DOCUMENT_BYTES`], cut at code points.
fn documents(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let end = (DOCUMENT_BYTES..rest.len()).find(|at| rest.is_char_boundary(*at)).unwrap_or(rest.len());
        let (document, later) = rest.split_at(end);
        rest = later;
        (!document.is_empty()).then_some(document)
    })
}
