//! A receipt's part of influence: the query, its solution, the check of one against the other, and what rows score.

use super::gram::Product;
use super::header::{Damping, Tolerance};
use super::rows::{Row, Rows};
use super::{MAX_QUERY_CODE, MAX_SHIFT};
use crate::ids::ContributionId;
use borsh::{BorshDeserialize, BorshSerialize};
use std::collections::BTreeMap;

/// The gradient of an answer's log-likelihood: entry j is `codes[j] · scale · 2^-e`.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Query {
    /// What a code of one is worth, in the rows' fixed point.
    pub scale: u32,
    /// The entries; the largest in magnitude is [`MAX_QUERY_CODE`], unless all are 0.
    pub codes: Vec<i16>,
}

/// What solves (K + λ) ξ = c · 2^shift, for the query's codes c.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Solution {
    /// h: by how many bits the query is shifted, so that the codes are as large as they can be.
    pub shift: u8,
    /// ξ.
    pub codes: Vec<i32>,
}

/// How well a solution solves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Residual {
    /// The largest magnitude of an entry of (K + λ) ξ − c · 2^h.
    pub largest: u128,
    /// The most that it may be.
    pub allowed: u128,
}

/// Why a receipt's influence counts for nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence on each variant is its documentation, and names its fields")]
pub enum ResidualError {
    #[error("a query of {query} codes and a solution of {solution} for rows of {dimension}")]
    Dimension { query: usize, solution: usize, dimension: usize },
    #[error("the largest code of the query is {largest} and its scale {scale}; it must be {MAX_QUERY_CODE}, or both 0")]
    Query { largest: u16, scale: u32 },
    #[error("a shift of {got} bits; at most {MAX_SHIFT} are allowed")]
    Shift { got: u8 },
    #[error("the solution is off by {got} in entry {at}, where {allowed} is allowed; solve more exactly")]
    TooLarge { at: usize, got: u128, allowed: u128 },
}

/// Why rows have no scores.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence on each variant is its documentation, and names its fields")]
pub enum ScoreError {
    #[error("a solution of {got} codes for rows of {expected}")]
    Dimension { got: usize, expected: usize },
    #[error("{got} scores for {expected} rows")]
    Count { got: usize, expected: usize },
}

impl Query {
    /// Has it the one form of its gradient?
    pub fn check(&self) -> Result<(), ResidualError> {
        let largest = self.largest();
        let sound = if self.scale == 0 { largest == 0 } else { largest == MAX_QUERY_CODE.unsigned_abs() };
        if sound { Ok(()) } else { Err(ResidualError::Query { largest, scale: self.scale }) }
    }

    fn largest(&self) -> u16 {
        self.codes.iter().fold(0, |largest, code| largest.max(code.unsigned_abs()))
    }
}

/// Checks that a solution solves, given the product of K with its codes.
pub fn residual(
    product: &Product,
    damping: Damping,
    tolerance: Tolerance,
    query: &Query,
    solution: &Solution,
) -> Result<Residual, ResidualError> {
    let dimension = product.entries().len();
    if query.codes.len() != dimension || solution.codes.len() != dimension {
        let (query, solution) = (query.codes.len(), solution.codes.len());
        return Err(ResidualError::Dimension { query, solution, dimension });
    }
    query.check()?;
    let shift = solution.shift;
    if shift > MAX_SHIFT {
        return Err(ResidualError::Shift { got: shift });
    }
    let allowed = u128::from(query.largest()) * u128::from(tolerance.parts());
    let allowed = match shift.checked_sub(Tolerance::BITS) {
        Some(up) => allowed << up,
        None => allowed >> (Tolerance::BITS - shift),
    };
    let lambda = product.lambda(damping).cast_signed();
    let codes = query.codes.iter().zip(&solution.codes);
    let mut largest = 0;
    for (at, (product, (c, xi))) in product.entries().iter().zip(codes).enumerate() {
        let wanted = i128::from(*c) << shift;
        let got = (product + lambda * i128::from(*xi) - wanted).unsigned_abs();
        if got > allowed {
            return Err(ResidualError::TooLarge { at, got, allowed });
        }
        largest = largest.max(got);
    }
    Ok(Residual { largest, allowed })
}

/// The score of one row: its scale times ⟨z, ξ⟩. Many rows are scored faster, to the same integers, by attribution.
pub fn score(row: &Row<'_>, solution: &Solution) -> Result<i128, ScoreError> {
    if row.codes.len() != solution.codes.len() {
        return Err(ScoreError::Dimension { got: solution.codes.len(), expected: row.codes.len() });
    }
    let dot: i64 = row.codes.iter().zip(&solution.codes).map(|(z, xi)| i64::from(*z) * i64::from(*xi)).sum();
    Ok(i128::from(row.scale) * i128::from(dot))
}

/// What each contribution earns: the sum of its rows' positive scores. Who has none is not there.
pub fn positive_sums(rows: &Rows, scores: &[i128]) -> Result<BTreeMap<ContributionId, u128>, ScoreError> {
    if scores.len() != rows.len() {
        return Err(ScoreError::Count { got: scores.len(), expected: rows.len() });
    }
    let mut sums: BTreeMap<ContributionId, u128> = BTreeMap::new();
    for (source, score) in rows.sources().iter().zip(scores) {
        if *score > 0 {
            let sum = sums.entry(source.contribution).or_default();
            // Scores of rows fit; whoever hands in others gets the largest number, not a panic.
            *sum = sum.saturating_add(score.unsigned_abs());
        }
    }
    Ok(sums)
}

#[cfg(test)]
mod tests {
    use super::super::{Fisher, MAX_SOLUTION_CODE, Source};
    use super::*;
    use crate::ids::Hash32;

    const FULL: Tolerance = Tolerance::new(1 << Tolerance::BITS).unwrap();

    fn source(contribution: u8) -> Source {
        Source { example: Hash32([0; 32]), contribution: ContributionId([contribution; 32]) }
    }

    fn rows(rows: &[(u8, u32, [i8; 2])]) -> Rows {
        let mut all = Rows::new(2).unwrap();
        for (contribution, scale, codes) in rows {
            all.push(Row { source: source(*contribution), scale: *scale, codes }).unwrap();
        }
        all
    }

    #[test]
    fn a_solution_is_held_to_the_tolerance_to_the_last_unit() {
        // K = [[127², 0], [0, 127²]], tr(K)/2 = 127²; so K + λ = 2 · 127².
        let fisher = Fisher::new(rows(&[(0, 1, [127, 0]), (0, 1, [0, 127])])).unwrap();
        let query = Query { scale: 1, codes: vec![32_767, -16_384] };
        let check = |codes: [i32; 2], shift, parts| {
            let solution = Solution { shift, codes: codes.to_vec() };
            let product = fisher.product(&solution.codes).unwrap();
            residual(&product, Damping::ONE, Tolerance::new(parts).unwrap(), &query, &solution)
        };
        // 32,767 · 2^29 / 32,258 = 545,342,215.06, and for the other entry -272,679,429.05.
        let xi = [545_342_215, -272_679_429];
        let found = check(xi, 29, 1).unwrap();
        assert!(found.largest < 32_258 / 2 && found.allowed == 32_767 << 5, "{found:?}");
        // A unit of ξ is worth 32,258, the tolerance 1,048,544: 32.5 units.
        let off = |units| check([xi[0] + units, xi[1]], 29, 1);
        assert!(off(32).is_ok() && off(-32).is_ok());
        assert!(matches!(off(33), Err(ResidualError::TooLarge { at: 0, .. })));
        assert!(matches!(off(-33), Err(ResidualError::TooLarge { at: 0, .. })));
        assert!(matches!(check(xi, 30, 1), Err(ResidualError::TooLarge { .. })));
        assert!(matches!(check([0, 0], 29, FULL.parts() - 1), Err(ResidualError::TooLarge { .. })));
        assert!(check([0, 0], 29, FULL.parts()).is_ok());
        assert_eq!(check(xi, MAX_SHIFT + 1, 1), Err(ResidualError::Shift { got: MAX_SHIFT + 1 }));
    }

    #[test]
    fn the_largest_numbers_of_all_do_not_overflow() {
        let fisher = Fisher::new(rows(&[(0, 1 << 31, [127, -127]); 32])).unwrap();
        let query = Query { scale: u32::MAX, codes: vec![-32_767, 32_767] };
        let solution = Solution { shift: MAX_SHIFT, codes: vec![MAX_SOLUTION_CODE, -MAX_SOLUTION_CODE] };
        let product = fisher.product(&solution.codes).unwrap();
        let damping = Damping::new(256, 1).unwrap();
        assert!(matches!(
            residual(&product, damping, FULL, &query, &solution),
            Err(ResidualError::TooLarge { at: 0, .. })
        ));
    }

    #[test]
    fn a_query_has_one_form_and_fits_its_rows() {
        let fisher = Fisher::new(rows(&[(0, 1, [127, 0])])).unwrap();
        let product = fisher.product(&[0, 0]).unwrap();
        let check = |scale, codes: &[i16], solution: &[i32]| {
            let (query, solution) =
                (Query { scale, codes: codes.to_vec() }, Solution { shift: 0, codes: solution.to_vec() });
            residual(&product, Damping::ONE, FULL, &query, &solution)
        };
        assert!(check(0, &[0, 0], &[0, 0]).is_ok());
        assert!(check(1, &[0, -32_767], &[0, 0]).is_ok());
        for (scale, codes) in [(0, [1, 0]), (1, [32_766, 0]), (1, [0, 0]), (1, [i16::MIN, 0])] {
            assert!(matches!(check(scale, &codes, &[0, 0]), Err(ResidualError::Query { .. })), "{scale} {codes:?}");
        }
        assert!(matches!(check(1, &[32_767], &[0, 0]), Err(ResidualError::Dimension { query: 1, .. })));
        assert!(matches!(check(1, &[32_767, 0], &[0]), Err(ResidualError::Dimension { solution: 1, .. })));
        // Nothing but zero solves for a query of zero.
        let solution = Solution { shift: 0, codes: vec![0, 1] };
        let product = fisher.product(&solution.codes).unwrap();
        let query = Query { scale: 0, codes: vec![0, 0] };
        assert!(residual(&product, Damping::ONE, FULL, &query, &solution).is_err());
    }

    #[test]
    fn contributions_earn_their_positive_scores() {
        let rows = rows(&[(1, 2, [127, 1]), (2, 3, [-127, 0]), (1, 5, [127, -127]), (3, 0, [0, 0])]);
        let solution = Solution { shift: 0, codes: vec![10, -20] };
        let scores: Vec<i128> = rows.iter().map(|row| score(&row, &solution).unwrap()).collect();
        assert_eq!(scores, [2 * (1_270 - 20), -3 * 1_270, 5 * 3 * 1_270, 0]);
        let sums = positive_sums(&rows, &scores).unwrap();
        assert_eq!(sums, BTreeMap::from([(ContributionId([1; 32]), 21_550)]));
        assert_eq!(positive_sums(&rows, &scores[1..]), Err(ScoreError::Count { got: 3, expected: 4 }));
        let short = Solution { shift: 0, codes: vec![10] };
        let row = rows.get(0).unwrap();
        assert_eq!(score(&row, &short), Err(ScoreError::Dimension { got: 1, expected: 2 }));
    }
}
