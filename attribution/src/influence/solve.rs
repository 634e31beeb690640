//! The solver: x in integers that solves (K + λ) x = q as exactly as validators demand.
//!
//! A float factorisation gives x; its codes are multiplied with K exactly; what is left over is solved for again. Whether
//! the result is good enough is the protocol's word alone, by the same function that validators call.

use super::linear::{Definite, by_rows};
use super::quantise::{power_of_two, scaled};
use faer::linalg::matmul::triangular::{self, BlockStructure};
use faer::{Accum, Mat, MatRef, Par};
use protocol::influence::{
    Damping, Fisher, Gram, GramError, MAX_CODE, MAX_GRAM_DIMENSION, Product, Query, Residual, ResidualError, Solution,
    Tolerance, residual,
};

/// Fisher rows that are multiplied at a time.
const ROWS_AT_ONCE: usize = 2048;
/// Bits of a digit of s².
const DIGIT_BITS: u32 = 28;
/// Times that what is left over is solved for.
const REFINEMENTS: usize = 3;

// Sums of this many products of a digit with two codes are whole numbers that double precision holds exactly, and so are
// all sums on the way, in whatever order they are added.
const _: () = assert!(ROWS_AT_ONCE as u64 * (1 << DIGIT_BITS) * (MAX_CODE as u64).pow(2) <= 1 << f64::MANTISSA_DIGITS);

/// Fisher rows with their factorisation.
#[derive(Debug)]
pub struct Solver {
    curvature: Curvature,
    /// s z of each Fisher row in double precision, where K itself is not made.
    scaled: Option<Mat<f64>>,
    damping: Damping,
    lambda: f64,
    factor: Definite,
}

/// What solutions are multiplied with: exact, and all that whoever only checks them needs.
#[derive(Clone, Debug)]
pub enum Curvature {
    /// K, for as many rows as dimensions and more.
    Gram(Gram),
    /// Fewer rows, or too many dimensions for K.
    Rows(Fisher),
}

impl Curvature {
    /// Of Fisher rows, in the form in which a product takes fewer steps.
    pub fn new(fisher: Fisher) -> Result<Self, SolveError> {
        let (count, dimension) = (fisher.rows().len(), fisher.rows().dimension());
        let small = count >= dimension && dimension <= MAX_GRAM_DIMENSION;
        if small { Ok(Self::Gram(gram(&fisher)?)) } else { Ok(Self::Rows(fisher)) }
    }

    /// K times codes, exactly.
    pub fn product(&self, codes: &[i32]) -> Result<Product, GramError> {
        match self {
            Self::Gram(gram) => gram.product(codes),
            Self::Rows(fisher) => fisher.product(codes),
        }
    }

    fn dimension(&self) -> usize {
        match self {
            Self::Gram(gram) => gram.dimension(),
            Self::Rows(fisher) => fisher.rows().dimension(),
        }
    }
}

/// Why there is no solver, or no solution.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence on each variant is its documentation, and names its fields")]
pub enum SolveError {
    #[error("there are no Fisher rows to solve with, or all of them are zero")]
    Empty,
    #[error("K with this damping is not positive definite in double precision; use a larger damping")]
    Singular,
    #[error("{rows} Fisher rows of {dimension} dimensions; one of the numbers must be at most {MAX_GRAM_DIMENSION}")]
    Large { rows: usize, dimension: usize },
    #[error("the query has {got} codes, the rows {expected}")]
    Dimension { got: usize, expected: usize },
    #[error("the solution is out of the range of its fixed point: damping and exponent do not fit the query")]
    Range,
    #[error(transparent)]
    Gram(#[from] GramError),
    #[error(transparent)]
    Residual(#[from] ResidualError),
}

impl Solver {
    /// Factorises K + λ.
    pub fn new(fisher: Fisher, damping: Damping) -> Result<Self, SolveError> {
        let (count, dimension) = (fisher.rows().len(), fisher.rows().dimension());
        if fisher.trace() == 0 {
            return Err(SolveError::Empty);
        }
        if count.min(dimension) > MAX_GRAM_DIMENSION {
            return Err(SolveError::Large { rows: count, dimension });
        }
        let lambda = fisher.product(&vec![0; dimension])?.lambda(damping) as f64;
        let curvature = Curvature::new(fisher)?;
        let (matrix, scaled) = match &curvature {
            Curvature::Gram(gram) => {
                let entry = |row: usize, column: usize| gram.row(row).get(column).map_or(0.0, |entry| *entry as f64);
                (Mat::from_fn(dimension, dimension, entry), None)
            }
            Curvature::Rows(fisher) => {
                let scaled = float_rows(fisher);
                let mut inner = Mat::zeros(count, count);
                faer::linalg::matmul::matmul(&mut inner, Accum::Replace, &scaled, scaled.transpose(), 1.0, Par::Seq);
                (inner, Some(scaled))
            }
        };
        let factor = Definite::new(matrix, lambda).ok_or(SolveError::Singular)?;
        Ok(Self { curvature, scaled, damping, lambda, factor })
    }

    /// K times codes, exactly.
    pub fn product(&self, codes: &[i32]) -> Result<Product, GramError> {
        self.curvature.product(codes)
    }

    /// The solution of a query, found good by [`residual`].
    pub fn solve(&self, query: &Query, tolerance: Tolerance) -> Result<(Solution, Residual), SolveError> {
        let expected = self.curvature.dimension();
        if query.codes.len() != expected {
            return Err(SolveError::Dimension { got: query.codes.len(), expected });
        }
        let right: Vec<f64> = query.codes.iter().map(|code| f64::from(*code)).collect();
        let mut x = self.float_solution(&right);
        let mut refinements = 0;
        loop {
            let (solution, fits) = scaled(&x);
            if !fits {
                return Err(SolveError::Range);
            }
            let product = self.product(&solution.codes)?;
            match residual(&product, self.damping, tolerance, query, &solution) {
                Ok(residual) => return Ok((solution, residual)),
                Err(ResidualError::TooLarge { .. }) if refinements < REFINEMENTS => {
                    let lambda = product.lambda(self.damping).cast_signed();
                    let size = power_of_two(-i32::from(solution.shift));
                    let codes = query.codes.iter().zip(&solution.codes);
                    let left_over = |(product, (c, xi)): (&i128, (&i16, &i32))| {
                        ((i128::from(*c) << solution.shift) - product - lambda * i128::from(*xi)) as f64 * size
                    };
                    let left_over: Vec<f64> = product.entries().iter().zip(codes).map(left_over).collect();
                    // From the codes and not from x, since it is the codes that were multiplied.
                    let more = self.float_solution(&left_over);
                    x = solution.codes.iter().zip(more).map(|(xi, more)| f64::from(*xi) * size + more).collect();
                    refinements += 1;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn float_solution(&self, right: &[f64]) -> Vec<f64> {
        let mut column = MatRef::from_column_major_slice(right, right.len(), 1).to_owned();
        match &self.scaled {
            None => self.factor.solve(column.as_mut()),
            Some(scaled) => super::methods::dual(scaled.as_ref(), &self.factor, self.lambda, &mut column),
        }
        by_rows(column.as_ref()).collect()
    }
}

/// s z of each Fisher row.
fn float_rows(fisher: &Fisher) -> Mat<f64> {
    let rows = fisher.rows();
    let codes = MatRef::from_row_major_slice(rows.codes(), rows.len(), rows.dimension());
    Mat::from_fn(rows.len(), rows.dimension(), |row, at| f64::from(rows.scales()[row]) * f64::from(codes[(row, at)]))
}

/// K, to the same integers as [`Fisher::gram`], by float products that are exact: s² is cut into digits so short that no
/// sum has more bits than double precision holds.
pub fn gram(fisher: &Fisher) -> Result<Gram, SolveError> {
    let rows = fisher.rows();
    let dimension = rows.dimension();
    let mut entries = vec![0_i128; Gram::count(dimension)?];
    let largest = rows.scales().iter().max().map_or(0, |scale| u64::from(*scale).pow(2));
    let digits = (u64::BITS - largest.leading_zeros()).div_ceil(DIGIT_BITS);
    let parts = rows.scales().chunks(ROWS_AT_ONCE).zip(rows.codes().chunks(ROWS_AT_ONCE * dimension));
    let mut sum = Mat::<f64>::zeros(dimension, dimension);
    for (scales, codes) in parts {
        let codes = MatRef::from_row_major_slice(codes, scales.len(), dimension);
        let left = Mat::from_fn(scales.len(), dimension, |row, at| f64::from(codes[(row, at)]));
        for digit in 0..digits {
            let digit_of = |scale: u32| u64::from(scale).pow(2) >> (digit * DIGIT_BITS) & ((1 << DIGIT_BITS) - 1);
            let weights: Vec<f64> = scales.iter().map(|scale| digit_of(*scale) as f64).collect();
            let right = Mat::from_fn(scales.len(), dimension, |row, at| weights[row] * left[(row, at)]);
            triangular::matmul(
                sum.as_mut(),
                BlockStructure::TriangularLower,
                Accum::Replace,
                left.transpose(),
                BlockStructure::Rectangular,
                right.as_ref(),
                BlockStructure::Rectangular,
                1.0,
                Par::Seq,
            );
            let mut at = entries.iter_mut();
            for row in 0..dimension {
                for (column, entry) in (0..=row).zip(&mut at) {
                    #[expect(clippy::cast_possible_truncation, reason = "a whole number of 53 bits")]
                    let value = sum[(row, column)] as i64;
                    *entry += i128::from(value) << (digit * DIGIT_BITS);
                }
            }
        }
    }
    Ok(Gram::from_entries(dimension, entries)?)
}

/// The damping in integers that gives a λ in the units of rows with this trace: within 2^-20 of itself. None if it is out
/// of bounds.
pub fn damping(lambda: f64, trace: f64, dimension: usize) -> Option<Damping> {
    let ratio = lambda * dimension as f64 / trace;
    let denominator: u32 = if ratio < 1.0 { 1 << 31 } else { 1 << 20 };
    let numerator = (ratio * f64::from(denominator)).round_ties_even();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to fit")]
    let numerator = (numerator >= 1.0 && numerator <= f64::from(u32::MAX)).then_some(numerator as u32)?;
    Damping::new(numerator, denominator).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use protocol::ids::{ContributionId, Hash32};
    use protocol::influence::{MAX_SOLUTION_CODE, Row, Rows, Source};

    fn fisher(dimension: usize, count: usize, greatest: u32, seed: u32) -> Fisher {
        let mut state = seed | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state
        };
        let source = Source { example: Hash32([0; 32]), contribution: ContributionId([0; 32]) };
        let mut rows = Rows::new(dimension).unwrap();
        for _ in 0..count {
            let mut codes: Vec<i8> = (0..dimension).map(|_| (next() % 255) as i8).map(|code| code.max(-127)).collect();
            codes[next() as usize % dimension] = 127;
            rows.push(Row { source, scale: next() % greatest + 1, codes: &codes }).unwrap();
        }
        Fisher::new(rows).unwrap()
    }

    fn query(dimension: usize) -> Query {
        let code = |at: usize| i16::try_from(at * 7_919 % 65_535).map_or(-1, |code| code - 16_000);
        let mut codes: Vec<i16> = (0..dimension).map(code).collect();
        codes[0] = 32_767;
        Query { scale: 1, codes }
    }

    #[test]
    fn solutions_pass_and_fail_once_they_are_changed() {
        for (dimension, count) in [(30, 100), (30, 30), (40, 12), (1, 1), (1, 5)] {
            for damping in [Damping::ONE, Damping::new(1, 20).unwrap()] {
                let fisher = fisher(dimension, count, 1 << 26, 9);
                let solver = Solver::new(fisher.clone(), damping).unwrap();
                let query = query(dimension);
                let (solution, found) = solver.solve(&query, Tolerance::DEFAULT).unwrap();
                assert!(found.largest <= found.allowed);
                let check = |solution: &Solution| {
                    let product = fisher.product(&solution.codes).unwrap();
                    residual(&product, damping, Tolerance::DEFAULT, &query, solution)
                };
                assert_eq!(check(&solution), Ok(found));
                // The residual of a change of one code is at least λ times the change.
                let lambda = fisher.product(&solution.codes).unwrap().lambda(damping);
                let units = i32::try_from(2 * found.allowed / lambda + 2).unwrap();
                for at in 0..dimension {
                    for by in [units, -units] {
                        let mut changed = solution.clone();
                        changed.codes[at] = (changed.codes[at] + by).clamp(-MAX_SOLUTION_CODE, MAX_SOLUTION_CODE);
                        if (changed.codes[at] - solution.codes[at]).abs() == units {
                            assert!(matches!(check(&changed), Err(ResidualError::TooLarge { .. })), "{at} {by}");
                        }
                    }
                }
                let shifted = Solution { shift: solution.shift + 1, ..solution.clone() };
                assert!(matches!(check(&shifted), Err(ResidualError::TooLarge { .. })));
                let negated = Solution { codes: solution.codes.iter().map(|code| -code).collect(), ..solution };
                assert!(matches!(check(&negated), Err(ResidualError::TooLarge { .. })));
            }
        }
    }

    #[test]
    fn what_cannot_be_solved_is_refused() {
        let source = Source { example: Hash32([0; 32]), contribution: ContributionId([0; 32]) };
        let mut rows = Rows::new(2).unwrap();
        assert_eq!(Solver::new(Fisher::new(rows.clone()).unwrap(), Damping::ONE).unwrap_err(), SolveError::Empty);
        rows.push(Row { source, scale: 0, codes: &[0, 0] }).unwrap();
        assert_eq!(Solver::new(Fisher::new(rows).unwrap(), Damping::ONE).unwrap_err(), SolveError::Empty);
        let solver = Solver::new(fisher(5, 9, 100, 1), Damping::ONE).unwrap();
        assert_eq!(
            solver.solve(&query(4), Tolerance::DEFAULT).unwrap_err(),
            SolveError::Dimension { got: 4, expected: 5 }
        );
        let wrong = Query { scale: 1, codes: vec![1; 5] };
        let error = solver.solve(&wrong, Tolerance::DEFAULT).unwrap_err();
        assert!(matches!(error, SolveError::Residual(ResidualError::Query { .. })), "{error}");
        let zero = Query { scale: 0, codes: vec![0; 5] };
        let (solution, _) = solver.solve(&zero, Tolerance::DEFAULT).unwrap();
        assert_eq!(solution.codes, [0; 5]);
    }

    #[test]
    fn k_by_floats_has_the_protocols_integers_at_the_bounds() {
        // Digits of all ones, more rows than are multiplied at once, and codes of one sign: the largest sums there are.
        let source = Source { example: Hash32([0; 32]), contribution: ContributionId([0; 32]) };
        let mut rows = Rows::new(3).unwrap();
        for scale in [(1 << 27) - 1, (1 << 26) + 1, 3].into_iter().cycle().take(2 * ROWS_AT_ONCE + 5) {
            rows.push(Row { source, scale, codes: &[127, -127, 127] }).unwrap();
        }
        let fisher = Fisher::new(rows).unwrap();
        assert_eq!(gram(&fisher).unwrap(), fisher.gram().unwrap());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn k_by_floats_has_the_protocols_integers(
            dimension in 1..40_usize,
            count in 0..60_usize,
            bits in 1..29_u32,
            seed: u32,
        ) {
            let fisher = fisher(dimension, count, 1 << bits, seed);
            prop_assert_eq!(gram(&fisher).unwrap(), fisher.gram().unwrap());
        }
    }
}
