//! The tree over rows, of the shape of RFC 6962: a leaf alone is its own root; of more, the left half holds the largest
//! power of two that is less than their number.
//!
//! Leaves and inner nodes are hashed in different domains, so that neither passes for the other, and the number of leaves
//! is in the header beside the root, so that a path has exactly one length.

use super::{MAX_ROWS, Row};
use crate::crypto;
use crate::ids::Hash32;
use borsh::{BorshDeserialize, BorshSerialize};

/// Hashes of a path at most.
pub const MAX_PATH: usize = 28;

const _: () = assert!(MAX_ROWS == 1 << MAX_PATH);

/// What ties a row to the root: its number, and the siblings on the way up.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct RowProof {
    /// The row's number.
    pub row: u64,
    /// The siblings, the leaf's own first.
    pub path: Vec<Hash32>,
}

/// Why a proof shows nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence on each variant is its documentation, and names its fields")]
pub enum MerkleError {
    #[error("there is no row {row} among {count}")]
    Row { row: u64, count: u64 },
    #[error("a path of {got} hashes does not lead from row {row} of {count} to the root")]
    Path { row: u64, count: u64, got: usize },
    #[error("the row does not stand at {row} under the root {root}")]
    Root { row: u64, root: Hash32 },
}

impl RowProof {
    /// Is `row` the one with this number, among `count` under this root?
    pub fn verify(&self, row: &Row<'_>, count: u64, root: &Hash32) -> Result<(), MerkleError> {
        if self.row >= count || count > MAX_ROWS {
            return Err(MerkleError::Row { row: self.row, count });
        }
        let error = MerkleError::Path { row: self.row, count, got: self.path.len() };
        let found = climb(self.row, count, row.hash(), &self.path).ok_or(error)?;
        if found == *root { Ok(()) } else { Err(MerkleError::Root { row: self.row, root: *root }) }
    }
}

/// The root over leaves; that of none is a hash of nothing.
pub fn tree_root(leaves: &[Hash32]) -> Hash32 {
    match leaves {
        [] => crypto::influence_empty(),
        [leaf] => *leaf,
        more => {
            let (left, right) = more.split_at(half(more.len()));
            crypto::influence_node(&tree_root(left), &tree_root(right))
        }
    }
}

/// The proof of one leaf. None if there is no such one.
pub(super) fn prove(leaves: &[Hash32], row: usize) -> Option<RowProof> {
    leaves.get(row)?;
    let mut path = Vec::new();
    let (mut rest, mut at) = (leaves, row);
    while rest.len() > 1 {
        let (left, right) = rest.split_at(half(rest.len()));
        if at < left.len() {
            path.push(tree_root(right));
            rest = left;
        } else {
            path.push(tree_root(left));
            at -= left.len();
            rest = right;
        }
    }
    path.reverse();
    Some(RowProof { row: row as u64, path })
}

/// The root to which a path leads. None if it is longer or shorter than the way.
fn climb(row: u64, count: u64, leaf: Hash32, path: &[Hash32]) -> Option<Hash32> {
    if count <= 1 {
        return path.is_empty().then_some(leaf);
    }
    let (sibling, below) = path.split_last()?;
    let left = 1_u64 << (count - 1).ilog2();
    Some(match row.checked_sub(left) {
        None => crypto::influence_node(&climb(row, left, leaf, below)?, sibling),
        Some(row) => crypto::influence_node(sibling, &climb(row, count - left, leaf, below)?),
    })
}

fn half(count: usize) -> usize {
    1 << (count - 1).ilog2()
}

#[cfg(test)]
mod tests {
    use super::super::{Rows, Source};
    use super::*;
    use crate::ids::ContributionId;

    fn rows(count: u8) -> Rows {
        let mut rows = Rows::new(2).unwrap();
        for number in 0..count {
            let source = Source { example: Hash32([number; 32]), contribution: ContributionId([7; 32]) };
            rows.push(Row { source, scale: 9, codes: &[127, 3] }).unwrap();
        }
        rows
    }

    #[test]
    fn each_row_is_shown_at_its_own_place_only() {
        for count in 1..20_u8 {
            let rows = rows(count);
            let (root, count) = (rows.root(), u64::from(count));
            for (at, row) in rows.iter().enumerate() {
                let proof = rows.prove(at).unwrap();
                assert!(proof.path.len() <= 5);
                assert_eq!(proof.verify(&row, count, &root), Ok(()));
                for wrong in (0..count).filter(|wrong| *wrong != at as u64) {
                    let moved = RowProof { row: wrong, ..proof.clone() };
                    assert!(moved.verify(&row, count, &root).is_err(), "{at} as {wrong} of {count}");
                }
                let changed = Row { scale: 8, ..row };
                assert_eq!(proof.verify(&changed, count, &root), Err(MerkleError::Root { row: at as u64, root }));
                let mut longer = proof.clone();
                longer.path.push(root);
                assert!(matches!(longer.verify(&row, count, &root), Err(MerkleError::Path { .. })));
                for sibling in 0..proof.path.len() {
                    let mut altered = proof.clone();
                    altered.path[sibling].0[0] ^= 1;
                    assert!(altered.verify(&row, count, &root).is_err());
                    altered.path.remove(sibling);
                    assert!(altered.verify(&row, count, &root).is_err());
                }
                assert!(matches!(proof.verify(&row, at as u64, &root), Err(MerkleError::Row { .. })));
            }
            assert_eq!(rows.prove(rows.len()), None);
        }
        assert_eq!(rows(0).root(), crypto::influence_empty());
    }
}
