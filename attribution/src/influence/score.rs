//! Scores of many rows at the speed of memory, to the same integers as [`protocol::influence::score`].
//!
//! A code of a solution is hi · 2¹⁶ + lo with both halves of 16 bits; a row's codes multiply with each half, and the
//! products are added in 32 bits, only so many at a time that this cannot overflow. Processors with AVX2 do that 16 codes
//! at once; which instructions there are is asked when the program runs. Integers add up to the same sum in any order.

use protocol::influence::{MAX_CODE, MAX_SOLUTION_CODE, Rows, Solution};
#[cfg(target_arch = "x86_64")]
use pulp::x86::V3;
use pulp::{Arch, Simd, WithSimd};
use std::thread;

/// Codes whose products are added in 32 bits.
const BLOCK: usize = 512;

// The largest sums of products with a low half, -2¹⁵ to 2¹⁵ - 1, and with a high half.
const _: () = assert!(BLOCK as i64 * MAX_CODE as i64 * (1 << 15) <= i32::MAX as i64);
const _: () = assert!((MAX_SOLUTION_CODE as i64 + (1 << 15)) >> 16 <= 1 << 15);

/// Solutions, prepared to score rows.
#[derive(Clone, Debug)]
pub struct Scorer {
    dimension: usize,
    queries: Vec<Halves>,
}

#[derive(Clone, Debug)]
struct Halves {
    low: Vec<i16>,
    high: Vec<i16>,
}

/// Why rows cannot be scored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence on each variant is its documentation, and names its fields")]
pub enum ScorerError {
    #[error("solution {solution} has {got} codes, where {expected} are expected")]
    Dimension { solution: usize, got: usize, expected: usize },
    #[error("code {at} of solution {solution} is {got}; at most {MAX_SOLUTION_CODE} in magnitude is allowed")]
    Code { solution: usize, at: usize, got: i32 },
    #[error("rows of {got} dimensions for solutions of {expected}")]
    Rows { got: usize, expected: usize },
}

impl Scorer {
    /// Prepares solutions of rows of so many dimensions.
    pub fn new(dimension: usize, solutions: &[Solution]) -> Result<Self, ScorerError> {
        let halves = |(solution, codes): (usize, &Vec<i32>)| {
            if codes.len() != dimension {
                return Err(ScorerError::Dimension { solution, got: codes.len(), expected: dimension });
            }
            let beyond = |code: &i32| code.unsigned_abs() > MAX_SOLUTION_CODE.unsigned_abs();
            if let Some(at) = codes.iter().position(beyond) {
                return Err(ScorerError::Code { solution, at, got: codes[at] });
            }
            #[expect(clippy::cast_possible_truncation, reason = "the low half")]
            let low = codes.iter().map(|code| *code as i16).collect();
            #[expect(clippy::cast_possible_truncation, reason = "what is left is a multiple of 2^16, below 2^31")]
            let high = codes.iter().map(|code| ((code - i32::from(*code as i16)) >> 16) as i16).collect();
            Ok(Halves { low, high })
        };
        let queries = solutions.iter().map(|solution| &solution.codes).enumerate().map(halves);
        Ok(Self { dimension, queries: queries.collect::<Result<_, _>>()? })
    }

    /// What each row scores with each solution, row by row, computed in so many threads.
    pub fn score(&self, rows: &Rows, threads: usize) -> Result<Vec<i128>, ScorerError> {
        if rows.dimension() != self.dimension {
            return Err(ScorerError::Rows { got: rows.dimension(), expected: self.dimension });
        }
        let queries = self.queries.len();
        let mut scores = vec![0; rows.len() * queries];
        let share = rows.len().div_ceil(threads.max(1)).max(1);
        if queries == 0 || rows.is_empty() {
            return Ok(scores);
        }
        thread::scope(|scope| {
            let codes = rows.codes().chunks(share * self.dimension);
            for ((scores, scales), codes) in
                scores.chunks_mut(share * queries).zip(rows.scales().chunks(share)).zip(codes)
            {
                let part = Part { scorer: self, scales, codes, scores };
                let work = move || part.score();
                if threads > 1 { drop(scope.spawn(work)) } else { work() }
            }
        });
        Ok(scores)
    }
}

/// Some rows, scored with whatever instructions there are.
struct Part<'a> {
    scorer: &'a Scorer,
    scales: &'a [u32],
    codes: &'a [i8],
    scores: &'a mut [i128],
}

impl Part<'_> {
    fn score(self) {
        #[cfg(target_arch = "x86_64")]
        if let Some(simd) = V3::try_new() {
            return Simd::vectorize(simd, avx2::Avx2 { simd, part: self });
        }
        Arch::new().dispatch(self);
    }
}

impl WithSimd for Part<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { scorer: Scorer { dimension, queries }, scales, codes, scores } = self;
        let rows = scales.iter().zip(codes.chunks_exact(*dimension));
        for ((scale, codes), scores) in rows.zip(scores.chunks_exact_mut(queries.len())) {
            for (query, score) in queries.iter().zip(scores) {
                *score = i128::from(*scale) * i128::from(dot(codes, &query.low, &query.high));
            }
        }
    }
}

/// ⟨z, ξ⟩, as a compiler for any processor sees it.
#[inline(always)]
fn dot(codes: &[i8], low: &[i16], high: &[i16]) -> i64 {
    let mut sum = 0_i64;
    for ((codes, low), high) in codes.chunks(BLOCK).zip(low.chunks(BLOCK)).zip(high.chunks(BLOCK)) {
        let (mut lows, mut highs) = (0_i32, 0_i32);
        for ((code, low), high) in codes.iter().zip(low).zip(high) {
            // Wrapping, because a check for overflow keeps the compiler from adding many at once; nothing wraps.
            let code = i32::from(*code);
            lows = lows.wrapping_add(code.wrapping_mul(i32::from(*low)));
            highs = highs.wrapping_add(code.wrapping_mul(i32::from(*high)));
        }
        sum += i64::from(lows) + (i64::from(highs) << 16);
    }
    sum
}

/// ⟨z, ξ⟩ for processors with AVX2, whose one instruction multiplies 16 pairs of 16 bits and adds neighbours: compilers do
/// not find it by themselves.
#[cfg(target_arch = "x86_64")]
mod avx2 {
    use super::{MAX_CODE, Part, Scorer, dot};
    use pulp::bytemuck::cast;
    use pulp::x86::V3;
    use pulp::{Simd, WithSimd};
    use std::arch::x86_64::__m256i;

    /// Codes that one instruction takes.
    const LANES: usize = 16;
    /// Codes whose products are added in 32 bits, in eight sums of two products a step.
    const BLOCK: usize = 4096;

    const _: () = assert!((BLOCK / LANES * 2) as i64 * MAX_CODE as i64 * (1 << 15) <= i32::MAX as i64);

    pub(super) struct Avx2<'a> {
        pub(super) simd: V3,
        pub(super) part: Part<'a>,
    }

    impl WithSimd for Avx2<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) {
            let Self { simd, part: Part { scorer: Scorer { dimension, queries }, scales, codes, scores } } = self;
            let rows = scales.iter().zip(codes.chunks_exact(*dimension));
            for ((scale, codes), scores) in rows.zip(scores.chunks_exact_mut(queries.len())) {
                for (query, score) in queries.iter().zip(scores) {
                    *score = i128::from(*scale) * i128::from(wide_dot(simd, codes, &query.low, &query.high));
                }
            }
        }
    }

    #[inline(always)]
    fn wide_dot(simd: V3, codes: &[i8], low: &[i16], high: &[i16]) -> i64 {
        let mut sum = 0_i64;
        for ((codes, low), high) in codes.chunks(BLOCK).zip(low.chunks(BLOCK)).zip(high.chunks(BLOCK)) {
            let ((codes, codes_left), (low, low_left), (high, high_left)) =
                (codes.as_chunks::<LANES>(), low.as_chunks::<LANES>(), high.as_chunks::<LANES>());
            let zero = simd.avx._mm256_setzero_si256();
            let (mut lows, mut highs) = (zero, zero);
            for ((codes, low), high) in codes.iter().zip(low).zip(high) {
                let codes = simd.avx2._mm256_cvtepi8_epi16(cast(*codes));
                lows = simd.avx2._mm256_add_epi32(lows, simd.avx2._mm256_madd_epi16(codes, cast(*low)));
                highs = simd.avx2._mm256_add_epi32(highs, simd.avx2._mm256_madd_epi16(codes, cast(*high)));
            }
            sum += total(lows) + (total(highs) << 16) + dot(codes_left, low_left, high_left);
        }
        sum
    }

    #[inline(always)]
    fn total(sums: __m256i) -> i64 {
        let sums: [i32; 8] = cast(sums);
        sums.into_iter().map(i64::from).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use protocol::ids::{ContributionId, Hash32};
    use protocol::influence::{Row, Source, score};

    fn rows(dimension: usize, rows: &[(u32, Vec<i8>)]) -> Rows {
        let source = Source { example: Hash32([0; 32]), contribution: ContributionId([0; 32]) };
        let mut all = Rows::new(dimension).unwrap();
        rows.iter().for_each(|(scale, codes)| all.push(Row { source, scale: *scale, codes }).unwrap());
        all
    }

    #[test]
    fn the_largest_sums_fit() {
        for code in [MAX_SOLUTION_CODE, -MAX_SOLUTION_CODE, 32_767, 32_768, -32_768, -32_769] {
            let solution = Solution { shift: 0, codes: vec![code; 9_000] };
            for z in [127, -127] {
                let rows = rows(9_000, &[(u32::MAX, vec![z; 9_000])]);
                let scores = Scorer::new(9_000, std::slice::from_ref(&solution)).unwrap().score(&rows, 1).unwrap();
                assert_eq!(scores, [i128::from(u32::MAX) * 9_000 * i128::from(z) * i128::from(code)]);
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let solution = |codes: &[i32]| Solution { shift: 0, codes: codes.to_vec() };
        let new = |codes: &[i32]| Scorer::new(2, &[solution(&[0, 0]), solution(codes)]).map(|_| ());
        assert_eq!(new(&[1]), Err(ScorerError::Dimension { solution: 1, got: 1, expected: 2 }));
        for got in [i32::MIN, i32::MAX, MAX_SOLUTION_CODE + 1] {
            assert_eq!(new(&[1, got]), Err(ScorerError::Code { solution: 1, at: 1, got }));
        }
        let scorer = Scorer::new(2, &[solution(&[1, 2])]).unwrap();
        assert_eq!(scorer.score(&rows(3, &[]), 1), Err(ScorerError::Rows { got: 3, expected: 2 }));
        assert_eq!(scorer.score(&rows(2, &[]), 4), Ok(Vec::new()));
        assert_eq!(Scorer::new(2, &[]).unwrap().score(&rows(2, &[(0, vec![0, 0])]), 4), Ok(Vec::new()));
    }

    proptest! {
        #[test]
        fn any_division_gives_the_protocols_scores(
            dimension in prop_oneof![1..40_usize, 500..530_usize, 1_020..1_030_usize, 4_090..4_120_usize],
            count in 0..12_usize,
            queries in 1..4_usize,
            threads in 0..6_usize,
            seed: u64,
        ) {
            let mut state = seed | 1;
            let mut next = move || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) as u32
            };
            let row = |_| {
                let mut codes: Vec<i8> = (0..dimension).map(|_| (next() % 255) as i8).map(|c| c.max(-127)).collect();
                codes[0] = 127;
                (next(), codes)
            };
            let all: Vec<(u32, Vec<i8>)> = (0..count).map(row).map(|(scale, codes)| (scale.max(1), codes)).collect();
            let rows = rows(dimension, &all);
            let mut state = seed;
            let mut next = move || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 33) as i32 - (1 << 30)
            };
            let solutions: Vec<Solution> = (0..queries)
                .map(|_| Solution { shift: 0, codes: (0..dimension).map(|_| next()).collect() })
                .collect();
            let scorer = Scorer::new(dimension, &solutions).unwrap();
            let scores = scorer.score(&rows, threads).unwrap();
            for (at, row) in rows.iter().enumerate() {
                for (query, solution) in solutions.iter().enumerate() {
                    let found = scores[at * queries + query];
                    prop_assert_eq!(found, score(&row, solution).unwrap());
                    // And by nothing but 128-bit integers.
                    let slow: i128 =
                        row.codes.iter().zip(&solution.codes).map(|(z, x)| i128::from(*z) * i128::from(*x)).sum();
                    prop_assert_eq!(found, i128::from(row.scale) * slow);
                    let Halves { low, high } = &scorer.queries[query];
                    prop_assert_eq!(i128::from(dot(row.codes, low, high)), slow);
                }
            }
        }
    }
}
