//! Rows, many at a time.

use super::merkle::{self, RowProof, tree_root};
use super::{MAX_CODE, MAX_DIMENSION, MAX_ROWS};
use crate::crypto;
use crate::ids::{ContributionId, Hash32};
use borsh::{BorshDeserialize, BorshSerialize};

/// What a row is the gradient of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Source {
    /// The hash of the training example.
    pub example: Hash32,
    /// The contribution that brought it.
    pub contribution: ContributionId,
}

/// One of a model's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct RowName {
    /// Is it one of the Fisher rows?
    pub fisher: bool,
    /// Its number, from 0 in either list.
    pub index: u64,
}

impl std::fmt::Display for RowName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", if self.fisher { "Fisher row" } else { "row" }, self.index)
    }
}

/// One gradient in integers; see [`crate::influence`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row<'a> {
    /// What it is the gradient of.
    pub source: Source,
    /// What a code of one is worth, in units of 2^-e.
    pub scale: u32,
    /// The entries.
    pub codes: &'a [i8],
}

impl Row<'_> {
    /// The leaf that binds codes and scale to their example and contribution.
    pub fn hash(&self) -> Hash32 {
        crypto::influence_row(&self.source.example, &self.source.contribution, self.scale, self.codes)
    }

    /// |z|², the sum of squared codes.
    pub fn square(&self) -> u64 {
        self.codes.iter().map(|code| u64::from(code.unsigned_abs()).pow(2)).sum()
    }
}

/// Rows of one model, all of the same dimension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rows {
    dimension: usize,
    sources: Vec<Source>,
    scales: Vec<u32>,
    codes: Vec<i8>,
}

/// Why a row is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence on each variant is its documentation, and names its fields")]
pub enum RowError {
    #[error("rows of {got} dimensions; there may be 1 to {MAX_DIMENSION}")]
    Dimension { got: usize },
    #[error("row {row} has {got} codes; the rows of this model have {expected}")]
    Length { row: usize, got: usize, expected: usize },
    #[error("there are {MAX_ROWS} rows already, and no more are allowed")]
    Full,
    #[error("the sources, scales and codes of {sources}, {scales} and {codes} rows do not belong together")]
    Parts { sources: usize, scales: usize, codes: usize },
    #[error("code {at} of row {row} is -128; codes are -127 to 127")]
    Code { row: usize, at: usize },
    #[error("the largest code of row {row} is {largest} and its scale {scale}; it must be 127, or both 0")]
    Form { row: usize, largest: u8, scale: u32 },
}

impl Rows {
    /// No rows yet.
    pub fn new(dimension: usize) -> Result<Self, RowError> {
        match dimension {
            1..=MAX_DIMENSION => Ok(Self { dimension, sources: Vec::new(), scales: Vec::new(), codes: Vec::new() }),
            got => Err(RowError::Dimension { got }),
        }
    }

    /// The rows whose parts are these, each part row by row.
    pub fn from_parts(
        dimension: usize,
        sources: Vec<Source>,
        scales: Vec<u32>,
        codes: Vec<i8>,
    ) -> Result<Self, RowError> {
        Self::new(dimension)?;
        let count = sources.len();
        if scales.len() != count || Some(codes.len()) != count.checked_mul(dimension) {
            return Err(RowError::Parts { sources: count, scales: scales.len(), codes: codes.len() / dimension });
        }
        if count as u64 > MAX_ROWS {
            return Err(RowError::Full);
        }
        for (row, (scale, codes)) in scales.iter().zip(codes.chunks_exact(dimension)).enumerate() {
            check(row, *scale, codes)?;
        }
        Ok(Self { dimension, sources, scales, codes })
    }

    /// Adds a row.
    pub fn push(&mut self, row: Row<'_>) -> Result<(), RowError> {
        let at = self.len();
        if at as u64 >= MAX_ROWS {
            return Err(RowError::Full);
        }
        if row.codes.len() != self.dimension {
            return Err(RowError::Length { row: at, got: row.codes.len(), expected: self.dimension });
        }
        check(at, row.scale, row.codes)?;
        self.sources.push(row.source);
        self.scales.push(row.scale);
        self.codes.extend_from_slice(row.codes);
        Ok(())
    }

    /// Entries of each row.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.scales.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.scales.is_empty()
    }

    /// What each row is the gradient of.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// The scale of each row.
    pub fn scales(&self) -> &[u32] {
        &self.scales
    }

    /// The codes of all rows, one row after the other.
    pub fn codes(&self) -> &[i8] {
        &self.codes
    }

    /// A row by its number.
    pub fn get(&self, row: usize) -> Option<Row<'_>> {
        let (source, scale) = (*self.sources.get(row)?, *self.scales.get(row)?);
        let codes = self.codes.chunks_exact(self.dimension).nth(row)?;
        Some(Row { source, scale, codes })
    }

    /// All rows, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Row<'_>> {
        let parts = self.sources.iter().zip(&self.scales).zip(self.codes.chunks_exact(self.dimension));
        parts.map(|((source, scale), codes)| Row { source: *source, scale: *scale, codes })
    }

    /// The leaf of each row.
    pub fn leaves(&self) -> Vec<Hash32> {
        self.iter().map(|row| row.hash()).collect()
    }

    /// The root of the tree over the rows.
    pub fn root(&self) -> Hash32 {
        tree_root(&self.leaves())
    }

    /// What shows that a row is the one with this number. None if there is no such row.
    pub fn prove(&self, row: usize) -> Option<RowProof> {
        merkle::prove(&self.leaves(), row)
    }
}

/// A row has one form: its largest code is 127, or codes and scale are 0.
fn check(row: usize, scale: u32, codes: &[i8]) -> Result<(), RowError> {
    let largest = codes.iter().fold(0, |largest: u8, code| largest.max(code.unsigned_abs()));
    if largest > MAX_CODE.unsigned_abs() {
        let at = codes.iter().position(|code| *code == i8::MIN).unwrap_or_default();
        return Err(RowError::Code { row, at });
    }
    let sound = if scale == 0 { largest == 0 } else { largest == MAX_CODE.unsigned_abs() };
    if sound { Ok(()) } else { Err(RowError::Form { row, largest, scale }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: Source = Source { example: Hash32([1; 32]), contribution: ContributionId([2; 32]) };

    fn pushed(scale: u32, codes: &[i8]) -> Result<(), RowError> {
        Rows::new(3).unwrap().push(Row { source: SOURCE, scale, codes })
    }

    #[test]
    fn a_row_has_one_form() {
        assert_eq!(pushed(5, &[1, -127, 0]), Ok(()));
        assert_eq!(pushed(0, &[0, 0, 0]), Ok(()));
        assert_eq!(pushed(5, &[1, -126, 0]), Err(RowError::Form { row: 0, largest: 126, scale: 5 }));
        assert_eq!(pushed(0, &[1, -127, 0]), Err(RowError::Form { row: 0, largest: 127, scale: 0 }));
        assert_eq!(pushed(5, &[0, 0, 0]), Err(RowError::Form { row: 0, largest: 0, scale: 5 }));
        assert_eq!(pushed(5, &[127, 0, -128]), Err(RowError::Code { row: 0, at: 2 }));
        assert_eq!(pushed(5, &[127, 0]), Err(RowError::Length { row: 0, got: 2, expected: 3 }));
        assert_eq!(Rows::new(0), Err(RowError::Dimension { got: 0 }));
        assert_eq!(Rows::new(MAX_DIMENSION + 1), Err(RowError::Dimension { got: MAX_DIMENSION + 1 }));
    }

    #[test]
    fn parts_must_belong_together() {
        let parts = |sources, scales: &[u32], codes: &[i8]| {
            Rows::from_parts(2, vec![SOURCE; sources], scales.to_vec(), codes.to_vec())
        };
        let rows = parts(2, &[5, 0], &[127, 1, 0, 0]).unwrap();
        let mut pushed = Rows::new(2).unwrap();
        rows.iter().for_each(|row| pushed.push(row).unwrap());
        assert_eq!(rows, pushed);
        assert_eq!(rows.get(1).map(|row| row.scale), Some(0));
        assert_eq!(rows.get(2), None);
        for (sources, scales, codes) in [(1, &[5, 0][..], &[127, 1, 0, 0][..]), (2, &[5], &[127, 1, 0, 0])] {
            assert!(matches!(parts(sources, scales, codes), Err(RowError::Parts { .. })));
        }
        assert!(matches!(parts(2, &[5, 0], &[127, 1, 0]), Err(RowError::Parts { .. })));
        assert!(matches!(parts(2, &[5, 0], &[127, 1, 0, 1]), Err(RowError::Form { row: 1, .. })));
    }

    #[test]
    fn a_leaf_depends_on_all_of_its_row() {
        let row = Row { source: SOURCE, scale: 5, codes: &[127, 1] };
        let other = Source { example: Hash32([3; 32]), ..SOURCE };
        let another = Source { contribution: ContributionId([3; 32]), ..SOURCE };
        for changed in [
            Row { scale: 6, ..row },
            Row { codes: &[127, 2], ..row },
            Row { source: other, ..row },
            Row { source: another, ..row },
        ] {
            assert_ne!(row.hash(), changed.hash());
        }
    }
}
