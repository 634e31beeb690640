//! The one door from float to integer.
//!
//! A gradient becomes codes and a scale: its largest entry in magnitude has code 127 or -127 (32,767 for a query), each
//! other one the nearest code to its part of that, ties to even; the scale is the size of a code in units of 2^-e,
//! rounded to the nearest. So the error of a code is at most half of one, and that of the scale half a unit. A gradient
//! whose scale would be 0 becomes the zero row.
//!
//! Only products, quotients and rounding are used, which IEEE 754 fixes to the bit: the same gradient gives the same row
//! on every machine.

use super::gradients::{Gradients, Vectors};
use protocol::influence::{
    Fisher, MAX_CODE, MAX_DIMENSION, MAX_EXPONENT, MAX_QUERY_CODE, MAX_SHIFT, MAX_SOLUTION_CODE, Query, RowError, Rows,
    Solution, Source,
};

/// Bits of the largest scale that [`choose_exponent`] aims at: six are left for rows that come later.
const SCALE_BITS: i32 = 26;
/// Bits of tr(K) that it aims at: one below what is allowed, as rounding adds to it.
const TRACE_BITS: i32 = 81;

/// Why a gradient has no form in integers.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence on each variant is its documentation, and names its fields")]
pub enum QuantiseError {
    #[error("{sources} sources for {rows} gradients")]
    Sources { sources: usize, rows: usize },
    #[error("gradients of {got} dimensions; rows have at most {MAX_DIMENSION}")]
    Dimension { got: usize },
    #[error("an exponent of {got}; it must be within {MAX_EXPONENT} of 0")]
    Exponent { got: i16 },
    #[error("entry {at} of gradient {row} is {value}")]
    NotFinite { row: usize, at: usize, value: f64 },
    #[error("gradient {row} has an entry of {largest}, which needs a larger scale than 32 bits at exponent {exponent}")]
    Scale { row: usize, largest: f64, exponent: i16 },
    #[error(transparent)]
    Row(#[from] RowError),
}

/// The exponent for a model's rows: as large as the bounds of scales and of tr(K) allow.
pub fn choose_exponent(rows: &Gradients, fisher: &Gradients) -> i16 {
    let values = rows.values().iter().chain(fisher.values());
    let largest = values.fold(0.0, |largest: f64, value| largest.max(f64::from(value.abs())));
    exponent_for(largest, fisher.square())
}

/// The same, for rows whose largest entry is known, and the sum of all squares of the Fisher rows.
pub(crate) fn exponent_for(largest: f64, fisher_square: f64) -> i16 {
    if largest == 0.0 {
        return 0;
    }
    let scale = largest / f64::from(MAX_CODE);
    let by_scale = SCALE_BITS - exponent_above(scale);
    let trace = fisher_square;
    let by_trace = if trace > 0.0 { (TRACE_BITS - exponent_above(trace)).div_euclid(2) } else { by_scale };
    let most = i32::from(MAX_EXPONENT);
    i16::try_from(by_scale.min(by_trace).clamp(-most, most)).unwrap_or(MAX_EXPONENT)
}

/// Do rows have about the exponent that [`choose_exponent`] chooses? One that is much smaller would make zero of all that is
/// not large.
pub(crate) fn is_fine(rows: &Rows, fisher: &Fisher) -> bool {
    let largest = rows.scales().iter().chain(fisher.rows().scales()).max().copied().unwrap_or(0);
    largest == 0 || largest >> (SCALE_BITS - 2) > 0 || fisher.trace() >> (TRACE_BITS - 4) > 0
}

/// The least n such that 2^n is above a positive number; found by comparison, as logarithms differ between machines.
fn exponent_above(value: f64) -> i32 {
    (-1_100..=1_024).find(|exponent| power_of_two(*exponent) > value).unwrap_or(1_024)
}

/// Rows in integers.
pub fn quantise_rows(gradients: &Gradients, sources: &[Source], exponent: i16) -> Result<Rows, QuantiseError> {
    let mut quantiser = Quantiser::new(gradients.dimension());
    quantiser.add(gradients, sources)?;
    quantiser.finish(exponent)
}

/// Rows whose exponent is not known yet: it depends on all of them, and codes do not depend on it.
#[derive(Debug)]
pub(crate) struct Quantiser {
    dimension: usize,
    sources: Vec<Source>,
    largest: Vec<f64>,
    codes: Vec<i8>,
    square: f64,
}

impl Quantiser {
    pub(crate) fn new(dimension: usize) -> Self {
        Self { dimension, sources: Vec::new(), largest: Vec::new(), codes: Vec::new(), square: 0.0 }
    }

    pub(crate) fn add(&mut self, gradients: &Gradients, sources: &[Source]) -> Result<(), QuantiseError> {
        if sources.len() != gradients.len() {
            return Err(QuantiseError::Sources { sources: sources.len(), rows: gradients.len() });
        }
        if gradients.dimension() != self.dimension {
            return Err(QuantiseError::Dimension { got: gradients.dimension() });
        }
        for gradient in gradients.rows() {
            let largest = largest_of(self.largest.len(), gradient)?;
            let code = |value: &f32| if largest == 0.0 { 0 } else { code_of(*value, largest, MAX_CODE) };
            self.codes.extend(gradient.iter().map(code));
            self.largest.push(largest);
        }
        self.square += gradients.square();
        self.sources.extend(sources);
        Ok(())
    }

    /// The largest magnitude of any entry.
    pub(crate) fn largest(&self) -> f64 {
        self.largest.iter().copied().fold(0.0, f64::max)
    }

    /// The sum of all squares.
    pub(crate) fn square(&self) -> f64 {
        self.square
    }

    pub(crate) fn finish(mut self, exponent: i16) -> Result<Rows, QuantiseError> {
        let mut scales = Vec::with_capacity(self.largest.len());
        for ((row, largest), codes) in self.largest.iter().enumerate().zip(self.codes.chunks_exact_mut(self.dimension))
        {
            let scale = scale_of(row, *largest, MAX_CODE.into(), exponent)?;
            if scale == 0 {
                codes.fill(0);
            }
            scales.push(scale);
        }
        Ok(Rows::from_parts(self.dimension, self.sources, scales, self.codes)?)
    }
}

/// A query in integers, in the fixed point of the rows.
pub fn quantise_query(gradient: &[f32], exponent: i16) -> Result<Query, QuantiseError> {
    if gradient.is_empty() || gradient.len() > MAX_DIMENSION {
        return Err(QuantiseError::Dimension { got: gradient.len() });
    }
    let largest = largest_of(0, gradient)?;
    let scale = scale_of(0, largest, MAX_QUERY_CODE.into(), exponent)?;
    let codes = gradient.iter().map(|value| if scale == 0 { 0 } else { code_of(*value, largest, MAX_QUERY_CODE) });
    let codes = codes.collect();
    Ok(Query { scale, codes })
}

/// Preconditioned queries in integers, for methods whose solutions are not checked: each as large as its codes can be.
pub fn quantise_solution(vectors: &Vectors) -> Vec<Solution> {
    vectors.rows().map(|row| scaled(row).0).collect()
}

/// The codes of x · 2^h for the greatest shift h that fits, and whether it is that of a solution or had to be cut off.
pub(super) fn scaled(x: &[f64]) -> (Solution, bool) {
    let largest = x.iter().fold(0.0, |largest: f64, value| largest.max(value.abs()));
    if largest == 0.0 {
        return (Solution { shift: 0, codes: vec![0; x.len()] }, true);
    }
    // 2^30 = MAX_SOLUTION_CODE is reached at most when rounding up.
    let shift = 30 - exponent_above(largest);
    let size = power_of_two(shift);
    let most = f64::from(MAX_SOLUTION_CODE);
    #[expect(clippy::cast_possible_truncation, reason = "clamped to the range of codes")]
    let codes = x.iter().map(|value| (value * size).round_ties_even().clamp(-most, most) as i32).collect();
    match u8::try_from(shift) {
        Ok(shift) if shift <= MAX_SHIFT => (Solution { shift, codes }, true),
        _ => (Solution { shift: 0, codes }, false),
    }
}

/// The largest magnitude of a gradient.
fn largest_of(row: usize, gradient: &[f32]) -> Result<f64, QuantiseError> {
    if let Some(at) = gradient.iter().position(|value| !value.is_finite()) {
        return Err(QuantiseError::NotFinite { row, at, value: gradient[at].into() });
    }
    Ok(gradient.iter().fold(0.0, |largest: f64, value| largest.max(f64::from(value.abs()))))
}

/// The scale of a gradient with this largest magnitude.
fn scale_of(row: usize, largest: f64, most: i32, exponent: i16) -> Result<u32, QuantiseError> {
    if exponent.unsigned_abs() > MAX_EXPONENT.unsigned_abs() {
        return Err(QuantiseError::Exponent { got: exponent });
    }
    let scale = (largest * power_of_two(exponent.into()) / f64::from(most)).round_ties_even();
    if scale > f64::from(u32::MAX) {
        return Err(QuantiseError::Scale { row, largest, exponent });
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a whole number of 32 bits")]
    Ok(scale as u32)
}

/// The code of one entry; within ± most, as no entry is larger than the largest.
#[expect(clippy::cast_possible_truncation, reason = "a whole number of 16 bits at most")]
fn code_of<T: Copy + Into<f64> + TryFrom<i32>>(value: f32, largest: f64, most: T) -> T {
    let code = (f64::from(value) * most.into() / largest).round_ties_even();
    T::try_from(code as i32).unwrap_or(most)
}

/// 2^n, exactly; 0 and infinity where double precision ends.
pub(super) fn power_of_two(exponent: i32) -> f64 {
    // Halves, because 2^n for n below -1022 has no exponent of its own.
    let half = |exponent: i32| f64::from_bits(u64::try_from(exponent + 1_023).unwrap_or(0) << 52);
    match exponent {
        -2_000..=1_023 => half(exponent / 2) * half(exponent - exponent / 2),
        ..-2_000 => 0.0,
        _ => f64::INFINITY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use protocol::ids::{ContributionId, Hash32};
    use protocol::influence::{Fisher, MAX_TRACE};

    const SOURCE: Source = Source { example: Hash32([0; 32]), contribution: ContributionId([0; 32]) };

    fn rows(dimension: usize, values: &[f32], exponent: i16) -> Result<Rows, QuantiseError> {
        let gradients = Gradients::new(dimension, values.to_vec()).unwrap();
        quantise_rows(&gradients, &vec![SOURCE; gradients.len()], exponent)
    }

    #[test]
    fn powers_of_two_are_exact() {
        let mut power = 2_f64.powi(1_023);
        for exponent in (-1_074..=1_023).rev() {
            assert_eq!(power_of_two(exponent), power, "{exponent}");
            power /= 2.0;
        }
        assert_eq!((power_of_two(-5_000), power_of_two(1_024)), (0.0, f64::INFINITY));
        assert_eq!((exponent_above(1.0), exponent_above(0.99), exponent_above(f64::MAX)), (1, 0, 1_024));
    }

    #[test]
    fn ties_go_to_even() {
        let found = rows(4, &[127.0, 0.5, 1.5, -2.5], 10).unwrap();
        assert_eq!(found.codes(), [127, 0, 2, -2]);
        assert_eq!(found.scales(), [1 << 10]);
        let query = quantise_query(&[32_767.0, -0.5, 1.5], 0).unwrap();
        assert_eq!((query.scale, query.codes), (1, vec![32_767, 0, 2]));
    }

    #[test]
    fn what_is_too_small_is_zero_and_what_is_too_large_is_refused() {
        assert_eq!(rows(2, &[0.0, -0.0], 200).unwrap().scales(), [0]);
        let small = rows(2, &[127.0, 1.0], -2).unwrap();
        assert_eq!((small.scales(), small.codes()), (&[0][..], &[0, 0][..]));
        assert_eq!(rows(1, &[f32::MIN_POSITIVE], 126).unwrap().scales(), [0]);
        assert!(matches!(rows(1, &[f32::MAX], 0), Err(QuantiseError::Scale { row: 0, .. })));
        assert!(matches!(rows(1, &[1.0], 256), Err(QuantiseError::Scale { .. })));
        assert_eq!(rows(1, &[1.0], 257), Err(QuantiseError::Exponent { got: 257 }));
        assert_eq!(rows(1, &[1.0], i16::MIN), Err(QuantiseError::Exponent { got: i16::MIN }));
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let error = quantise_query(&[1.0, value], 0).unwrap_err();
            assert!(matches!(error, QuantiseError::NotFinite { at: 1, .. }), "{error}");
        }
        assert_eq!(quantise_query(&[], 0), Err(QuantiseError::Dimension { got: 0 }));
        let one = Gradients::new(1, vec![1.0]).unwrap();
        assert_eq!(quantise_rows(&one, &[], 0), Err(QuantiseError::Sources { sources: 0, rows: 1 }));
        let none = Gradients::new(1, Vec::new()).unwrap();
        assert!(quantise_rows(&none, &[], 0).unwrap().is_empty());
    }

    #[test]
    fn many_dense_rows_take_a_smaller_exponent_to_keep_the_trace() {
        let gradients = Gradients::new(300, vec![1.0; 360_000]).unwrap();
        let few = Gradients::new(300, vec![1.0; 300]).unwrap();
        let exponent = choose_exponent(&few, &gradients);
        assert!(exponent < choose_exponent(&few, &few));
        let fisher = Fisher::new(quantise_rows(&gradients, &[SOURCE; 1_200], exponent).unwrap()).unwrap();
        assert!((MAX_TRACE >> 3..=MAX_TRACE).contains(&fisher.trace()));
    }

    proptest! {
        #[test]
        fn every_entry_is_within_half_a_code(
            values in prop::collection::vec(-1e6_f32..1e6, 1..40),
            power in -60_i32..60,
        ) {
            let values: Vec<f32> = values.iter().map(|value| value * 2_f32.powi(power)).collect();
            let gradients = Gradients::new(values.len(), values.clone()).unwrap();
            let exponent = choose_exponent(&gradients, &gradients);
            let rows = quantise_rows(&gradients, &[SOURCE], exponent).unwrap();
            let query = quantise_query(&values, exponent).unwrap();
            prop_assert!(query.check().is_ok());
            let largest = values.iter().fold(0.0, |largest: f64, value| largest.max(f64::from(value.abs())));
            let unit = 2_f64.powi(-i32::from(exponent));
            let wide: Vec<i32> = rows.codes().iter().map(|code| i32::from(*code)).collect();
            let finer: Vec<i32> = query.codes.iter().map(|code| i32::from(*code)).collect();
            for (codes, scale, most) in [(&wide, rows.scales()[0], 127.0), (&finer, query.scale, 32_767.0)] {
                prop_assert!((f64::from(scale) * unit - largest / most).abs() <= unit / 2.0 * 1.000_001);
                for (code, value) in codes.iter().zip(&values) {
                    let error = (f64::from(*code) * largest / most - f64::from(*value)).abs();
                    prop_assert!(error <= largest / most * 0.500_001, "{} {} {}", code, value, largest);
                }
            }
        }

        #[test]
        fn the_chosen_exponent_keeps_the_bounds(
            values in prop::collection::vec(-1.0_f32..1.0, 4..400),
            power in -100_i32..100,
        ) {
            let length = values.len() / 4 * 4;
            let values: Vec<f32> = values[..length].iter().map(|value| value * 2_f32.powi(power)).collect();
            let gradients = Gradients::new(4, values).unwrap();
            let exponent = choose_exponent(&gradients, &gradients);
            let rows = quantise_rows(&gradients, &vec![SOURCE; gradients.len()], exponent).unwrap();
            let largest = rows.scales().iter().max().copied().unwrap_or(0);
            prop_assert!(largest <= 1 << SCALE_BITS);
            let fisher = Fisher::new(rows).unwrap();
            prop_assert!(fisher.trace() <= MAX_TRACE);
            // And nothing is given away.
            prop_assert!(largest == 0 || largest >= 1 << (SCALE_BITS - 2) || fisher.trace() > MAX_TRACE >> 6);
        }

        #[test]
        fn solutions_are_as_large_as_they_can_be(values in prop::collection::vec(-1e3_f64..1e3, 1..20)) {
            let (solution, fits) = scaled(&values);
            prop_assert!(fits);
            let largest = solution.codes.iter().map(|code| code.unsigned_abs()).max().unwrap_or(0);
            prop_assert!(largest == 0 || (1 << 29..=1 << 30).contains(&largest), "{}", largest);
            for (code, value) in solution.codes.iter().zip(&values) {
                prop_assert!((f64::from(*code) / 2_f64.powi(solution.shift.into()) - value).abs() <= 1e-6);
            }
        }
    }
}
