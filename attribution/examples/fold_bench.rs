//! Folds a text file: `fold_bench FILE [TIMES]`. Prints how fast, and how long text and map come out.

use protocol::fold::{FoldMap, fold};
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: fold_bench FILE [TIMES]")?;
    let times: u32 = arguments.next().map_or(Ok(5), |number| number.parse())?;
    let text = std::fs::read_to_string(path)?;
    let ascii = text.bytes().filter(u8::is_ascii).count();

    let mut best = Duration::MAX;
    for _ in 0..times {
        let start = Instant::now();
        let folded = fold(&text);
        best = best.min(start.elapsed());
        drop(folded);
    }
    let (folded, map) = fold(&text).into_parts();
    let start = Instant::now();
    let decoded = FoldMap::decode(map.as_bytes(), text.len())?;
    let decoding = start.elapsed();

    let (bytes, words, map_bytes) = (text.len() as f64, decoded.len() as f64, map.as_bytes().len() as f64);
    println!(
        "{} bytes ({:.1} % ASCII), folded in {best:?}: {:.1} MB/s",
        text.len(),
        100.0 * ascii as f64 / bytes,
        bytes / best.as_secs_f64() / 1e6
    );
    println!(
        "{} bytes folded, {} words; map of {} bytes, {:.3} a word, {:.3} a byte of text, read in {decoding:?}",
        folded.len(),
        decoded.len(),
        map.as_bytes().len(),
        map_bytes / words,
        map_bytes / bytes
    );
    Ok(())
}
