//! K = Σ s² z zᵀ over the Fisher rows, and its products with solutions.

use super::header::Damping;
use super::rows::Rows;
use super::{MAX_FISHER_ROWS, MAX_GRAM_DIMENSION, MAX_SOLUTION_CODE, MAX_TRACE};
use std::ops::Range;

/// Fisher rows whose K stays within bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fisher {
    rows: Rows,
    trace: u128,
}

/// K itself, exactly: its lower triangle, row by row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gram {
    dimension: usize,
    entries: Vec<i128>,
    trace: u128,
}

/// K times the codes of a solution, with what λ is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Product {
    entries: Vec<i128>,
    trace: u128,
}

/// Why there is no K, or no product with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence on each variant is its documentation, and names its fields")]
pub enum GramError {
    #[error("{got} Fisher rows; at most {MAX_FISHER_ROWS} are allowed")]
    Rows { got: usize },
    #[error("K of {got} dimensions; it is made for 1 to {MAX_GRAM_DIMENSION}, beyond that multiply with its rows")]
    Dimension { got: usize },
    #[error("the trace of K is {got}, at most {MAX_TRACE} is allowed; make the rows with a smaller exponent")]
    Trace { got: u128 },
    #[error("K of {dimension} dimensions has {expected} entries in its lower triangle, not {got}")]
    Entries { dimension: usize, expected: usize, got: usize },
    #[error("the entries of K at {row}, {column} and on the diagonal are no sum of squares")]
    Indefinite { row: usize, column: usize },
    #[error("a solution of {got} codes for K of {expected} dimensions")]
    Codes { got: usize, expected: usize },
    #[error("code {at} of the solution exceeds {MAX_SOLUTION_CODE} in magnitude")]
    Code { at: usize },
}

impl Fisher {
    /// Fisher rows, once their number and trace are found to be within bounds.
    pub fn new(rows: Rows) -> Result<Self, GramError> {
        if rows.len() as u64 > MAX_FISHER_ROWS {
            return Err(GramError::Rows { got: rows.len() });
        }
        let trace = rows.iter().map(|row| u128::from(row.scale).pow(2) * u128::from(row.square())).sum();
        if trace > MAX_TRACE { Err(GramError::Trace { got: trace }) } else { Ok(Self { rows, trace }) }
    }

    /// The rows.
    pub fn rows(&self) -> &Rows {
        &self.rows
    }

    /// tr(K).
    pub fn trace(&self) -> u128 {
        self.trace
    }

    /// Kξ, by two passes over the rows and without K.
    pub fn product(&self, codes: &[i32]) -> Result<Product, GramError> {
        check_codes(codes, self.rows.dimension())?;
        let mut entries = vec![0_i128; codes.len()];
        for row in self.rows.iter() {
            let dot: i64 = row.codes.iter().zip(codes).map(|(z, x)| i64::from(*z) * i64::from(*x)).sum();
            let weight = i128::from(row.scale) * i128::from(row.scale) * i128::from(dot);
            for (entry, code) in entries.iter_mut().zip(row.codes) {
                *entry += weight * i128::from(*code);
            }
        }
        Ok(Product { entries, trace: self.trace })
    }

    /// K itself, entry by entry. This is the definition and not the fast way: that is attribution's.
    pub fn gram(&self) -> Result<Gram, GramError> {
        let dimension = self.rows.dimension();
        let mut entries = vec![0; Gram::count(dimension)?];
        for row in self.rows.iter() {
            let square = i128::from(row.scale).pow(2);
            for (at, code) in row.codes.iter().enumerate().filter(|(_, code)| **code != 0) {
                let weight = square * i128::from(*code);
                for (entry, other) in entries[triangle(at)].iter_mut().zip(row.codes) {
                    *entry += weight * i128::from(*other);
                }
            }
        }
        Ok(Gram { dimension, entries, trace: self.trace })
    }
}

impl Gram {
    /// How many entries the lower triangle of K has. An error for more dimensions than K is made for.
    pub fn count(dimension: usize) -> Result<usize, GramError> {
        match dimension {
            1..=MAX_GRAM_DIMENSION => Ok(triangle(dimension).start),
            got => Err(GramError::Dimension { got }),
        }
    }

    /// K of the entries of its lower triangle, which somebody else added up.
    ///
    /// # Errors
    /// When a product with it could overflow: the trace is too large, or a minor of two by two is negative, which no sum
    /// of squares has.
    pub fn from_entries(dimension: usize, entries: Vec<i128>) -> Result<Self, GramError> {
        let (expected, got) = (Self::count(dimension)?, entries.len());
        if got != expected {
            return Err(GramError::Entries { dimension, expected, got });
        }
        let mut trace = 0_u128;
        let mut diagonal = Vec::with_capacity(dimension);
        for (row, range) in (0..dimension).map(|row| (row, triangle(row))) {
            let entry = entries[range.end - 1];
            let entry = u128::try_from(entry).map_err(|_| GramError::Indefinite { row, column: row })?;
            trace = trace.saturating_add(entry);
            diagonal.push(entry);
        }
        if trace > MAX_TRACE {
            return Err(GramError::Trace { got: trace });
        }
        for row in 0..dimension {
            for (column, entry) in entries[triangle(row)].iter().enumerate() {
                let size = entry.unsigned_abs();
                if wide(size, size) > wide(diagonal[row], diagonal[column]) {
                    return Err(GramError::Indefinite { row, column });
                }
            }
        }
        Ok(Self { dimension, entries, trace })
    }

    /// Rows and columns.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// tr(K).
    pub fn trace(&self) -> u128 {
        self.trace
    }

    /// The entries of a row up to the diagonal; none for a row that there is not.
    pub fn row(&self, row: usize) -> &[i128] {
        if row < self.dimension { &self.entries[triangle(row)] } else { &[] }
    }

    /// Kξ.
    pub fn product(&self, codes: &[i32]) -> Result<Product, GramError> {
        check_codes(codes, self.dimension)?;
        let mut entries = vec![0_i128; self.dimension];
        for (row, code) in codes.iter().enumerate() {
            let (above, rest) = entries.split_at_mut(row);
            let Some((diagonal, off)) = self.row(row).split_last() else { continue };
            let mut sum = diagonal * i128::from(*code);
            for ((entry, other), mirrored) in off.iter().zip(codes).zip(above) {
                sum += entry * i128::from(*other);
                *mirrored += entry * i128::from(*code);
            }
            rest[0] += sum;
        }
        Ok(Product { entries, trace: self.trace })
    }
}

impl Product {
    /// Its entries.
    pub fn entries(&self) -> &[i128] {
        &self.entries
    }

    /// λ = ⌊tr(K) · damping / k⌋, at least 1.
    pub fn lambda(&self, damping: Damping) -> u128 {
        damping.lambda(self.trace, self.entries.len())
    }
}

/// Where a row of the lower triangle stands.
fn triangle(row: usize) -> Range<usize> {
    row * (row + 1) / 2..(row + 1) * (row + 2) / 2
}

fn check_codes(codes: &[i32], expected: usize) -> Result<(), GramError> {
    if codes.len() != expected {
        return Err(GramError::Codes { got: codes.len(), expected });
    }
    let beyond = |code: &i32| code.unsigned_abs() > MAX_SOLUTION_CODE.unsigned_abs();
    codes.iter().position(beyond).map_or(Ok(()), |at| Err(GramError::Code { at }))
}

/// A product of 256 bits, its upper half first.
fn wide(a: u128, b: u128) -> (u128, u128) {
    const LOW: u128 = u64::MAX as u128;
    let (a1, a0, b1, b0) = (a >> 64, a & LOW, b >> 64, b & LOW);
    let low = a0 * b0;
    // Each is below 2^128: (2^64 - 1)² and two numbers below 2^64.
    let middle = a1 * b0 + (low >> 64);
    let other = a0 * b1 + (middle & LOW);
    (a1 * b1 + (middle >> 64) + (other >> 64), other << 64 | low & LOW)
}

#[cfg(test)]
mod tests {
    use super::super::{Row, Source};
    use super::*;
    use crate::ids::{ContributionId, Hash32};
    use proptest::prelude::*;

    const SOURCE: Source = Source { example: Hash32([0; 32]), contribution: ContributionId([0; 32]) };

    fn fisher(dimension: usize, rows: &[(u32, Vec<i8>)]) -> Result<Fisher, GramError> {
        let mut all = Rows::new(dimension).unwrap();
        for (scale, codes) in rows {
            all.push(Row { source: SOURCE, scale: *scale, codes }).unwrap();
        }
        Fisher::new(all)
    }

    /// Rows of `dimension` codes, each with one of 127.
    fn some_rows(dimension: usize) -> impl Strategy<Value = Vec<(u32, Vec<i8>)>> {
        let row = (1..1_u32 << 31, prop::collection::vec(-127..=127_i8, dimension), 0..dimension, any::<bool>());
        let row = row.prop_map(|(scale, mut codes, at, negative)| {
            codes[at] = if negative { -127 } else { 127 };
            (scale, codes)
        });
        prop::collection::vec(row, 0..9)
    }

    #[test]
    fn a_trace_beyond_the_bound_is_refused() {
        // Each row of one code adds 2^62 · 127² or so: 127² · 65 is just below 2^20.
        let row = (1 << 31, vec![127]);
        assert!(fisher(1, &vec![row.clone(); 65]).is_ok());
        assert!(matches!(fisher(1, &vec![row; 66]), Err(GramError::Trace { .. })));
    }

    #[test]
    fn the_largest_product_fits() {
        let fisher = fisher(2, &vec![(1 << 31, vec![127, -127]); 32]).unwrap();
        let codes = [MAX_SOLUTION_CODE, -MAX_SOLUTION_CODE];
        let product = fisher.product(&codes).unwrap();
        assert_eq!(product, fisher.gram().unwrap().product(&codes).unwrap());
        assert_eq!(product.entries[0], 32 * 127 * 127 * (1_i128 << 62) * 2 * i128::from(MAX_SOLUTION_CODE));
        for wrong in [i32::MIN, MAX_SOLUTION_CODE + 1, -MAX_SOLUTION_CODE - 1] {
            assert_eq!(fisher.product(&[0, wrong]), Err(GramError::Code { at: 1 }));
        }
        assert_eq!(fisher.product(&[0]), Err(GramError::Codes { got: 1, expected: 2 }));
    }

    #[test]
    fn what_is_no_sum_of_squares_is_refused() {
        let entries = |entries: &[i128]| Gram::from_entries(2, entries.to_vec());
        assert!(entries(&[4, 6, 9]).is_ok());
        assert_eq!(entries(&[4, 7, 9]), Err(GramError::Indefinite { row: 1, column: 0 }));
        assert_eq!(entries(&[4, i128::MIN, 9]), Err(GramError::Indefinite { row: 1, column: 0 }));
        assert_eq!(entries(&[-4, 0, 9]), Err(GramError::Indefinite { row: 0, column: 0 }));
        assert!(matches!(entries(&[i128::MAX, 0, i128::MAX]), Err(GramError::Trace { .. })));
        assert!(matches!(entries(&[4, 6]), Err(GramError::Entries { expected: 3, got: 2, .. })));
        assert!(matches!(Gram::from_entries(0, Vec::new()), Err(GramError::Dimension { got: 0 })));
        assert!(matches!(Gram::count(usize::MAX), Err(GramError::Dimension { .. })));
    }

    proptest! {
        #[test]
        fn both_ways_give_the_same_integers(rows in some_rows(5), codes in prop::collection::vec(-MAX_SOLUTION_CODE..=MAX_SOLUTION_CODE, 5)) {
            let fisher = fisher(5, &rows).unwrap();
            let gram = fisher.gram().unwrap();
            prop_assert_eq!(fisher.product(&codes).unwrap(), gram.product(&codes).unwrap());
            // The definition once more, without either.
            for (row, product) in gram.product(&codes).unwrap().entries.iter().enumerate() {
                let mut sum = 0_i128;
                for (column, code) in codes.iter().enumerate() {
                    let entry: i128 = rows
                        .iter()
                        .map(|(s, z)| i128::from(*s) * i128::from(*s) * i128::from(z[row]) * i128::from(z[column]))
                        .sum();
                    let stored = if column <= row { gram.row(row)[column] } else { gram.row(column)[row] };
                    prop_assert_eq!(entry, stored);
                    sum += entry * i128::from(*code);
                }
                prop_assert_eq!(sum, *product);
            }
            prop_assert_eq!(Gram::from_entries(5, gram.entries.clone()).unwrap(), gram);
        }

        #[test]
        fn wide_products_are_products(a: u128, b: u128) {
            // By another division of the work: b in four parts of 32 bits, by addition with carry.
            let mut total = (0_u128, 0_u128);
            for bit in (0..128).filter(|bit| b >> bit & 1 == 1) {
                let shifted = (a.checked_shr(128 - bit).unwrap_or(0), a << bit);
                let (low, carry) = total.1.overflowing_add(shifted.1);
                total = (total.0 + shifted.0 + u128::from(carry), low);
            }
            prop_assert_eq!(wide(a, b), total);
        }
    }
}
