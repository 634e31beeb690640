//! Measures how fast rows are scored, beside a plain sum over the same bytes: `influence_bandwidth [ROWS] [DIMENSION]`.
//!
//! 200,000 rows of 4,810 codes without, which is more than caches hold. One thread. The plain sum is the speed of memory:
//! each byte is read once and added up, 8 at a time.

use attribution::influence::Scorer;
use protocol::ids::{ContributionId, Hash32};
use protocol::influence::{Rows, Solution, Source, score};
use std::hint::black_box;
use std::time::{Duration, Instant};

const REPEATS: usize = 5;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let count: usize = arguments.next().map_or(Ok(200_000), |number| number.parse())?;
    let dimension: usize = arguments.next().map_or(Ok(4_810), |number| number.parse())?;
    let mut state = 1_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let code = |word: u64| i8::try_from(word % 255).map_or(-1, |code| code);
    let mut codes: Vec<i8> = (0..count * dimension).map(|_| code(next())).collect();
    codes.iter_mut().step_by(dimension).for_each(|code| *code = 127);
    let source = Source { example: Hash32([0; 32]), contribution: ContributionId([0; 32]) };
    let rows = Rows::from_parts(dimension, vec![source; count], vec![1_000; count], codes)?;
    let solution = |_| {
        let code = |word: u64| i32::try_from(word % (1 << 30)).unwrap_or(0) - (1 << 29);
        Solution { shift: 0, codes: (0..dimension).map(|_| code(next())).collect() }
    };
    let solutions: Vec<Solution> = (0..8).map(solution).collect();
    let bytes = rows.codes().len() as f64 / 1e9;
    println!("{count} rows of {dimension} codes, {bytes:.2} GB; best of {REPEATS}, one thread");
    let rate = |what: &str, took: Duration, queries: usize| {
        let rate = bytes * queries as f64 / took.as_secs_f64();
        println!("{what:<28} {took:>10.2?}  {rate:>6.1} GB of codes a second and query");
    };

    rate("plain sum of the bytes", best(|| plain_sum(rows.codes())), 1);
    for queries in [1, 2, 4, 8] {
        let scorer = Scorer::new(dimension, &solutions[..queries])?;
        rate(
            &format!("scores of {queries} queries"),
            best(|| scorer.score(&rows, 1).map(|scores| scores[0]).ok()),
            queries,
        );
    }
    let few = rows.iter().take(count.div_ceil(50));
    let start = Instant::now();
    let sum: i128 = few.filter_map(|row| score(&row, &solutions[0]).ok()).sum();
    rate("the protocol's definition", start.elapsed() * 50, 1);
    black_box(sum);
    Ok(())
}

fn best<T>(mut work: impl FnMut() -> T) -> Duration {
    let mut once = || {
        let start = Instant::now();
        black_box(work());
        start.elapsed()
    };
    (0..REPEATS).map(|_| once()).min().unwrap_or_default()
}

fn plain_sum(codes: &[i8]) -> u64 {
    let (words, rest) = codes.as_chunks::<8>();
    let word = |codes: &[i8; 8]| u64::from_le_bytes(codes.map(i8::cast_unsigned));
    let words = words.iter().fold(0_u64, |sum, codes| sum.wrapping_add(word(codes)));
    rest.iter().fold(words, |sum, code| sum.wrapping_add(u64::from(code.cast_unsigned())))
}
