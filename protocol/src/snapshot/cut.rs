//! Cutting a state: the largest subtrees whose entries fit into a chunk, and the siblings of each.

use super::{
    CHUNK_ENTRY_BYTES, MAX_CHUNKS, MAX_LONE_CHUNK_BYTES, MAX_PATH_BYTES, Plan, SnapshotError, Subtree, Summary,
    summarize,
};
use crate::crypto::{state_hash, state_key};
use crate::ids::Hash32;
use std::ops::Range;

/// Bytes that framing adds to an entry: the lengths of key and value.
const ENTRY_FRAME_BYTES: usize = 8;

/// Bytes of an entry that is a chunk by itself.
const MAX_LONE_ENTRY_BYTES: u64 = (MAX_LONE_CHUNK_BYTES - MAX_PATH_BYTES - 64) as u64;

/// What cutting must know of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Leaf {
    /// The place of its key.
    pub place: [u8; 32],
    /// The hash of its value.
    pub value: [u8; 32],
    /// Its bytes in a chunk.
    pub bytes: usize,
}

impl Leaf {
    /// What cutting must know of this entry.
    pub fn of(key: &[u8], value: &[u8]) -> Self {
        let bytes = key.len().saturating_add(value.len()).saturating_add(ENTRY_FRAME_BYTES);
        Self { place: state_key(key), value: state_hash(value), bytes }
    }
}

/// One chunk to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Its subtree.
    pub subtree: Subtree,
    /// Which of the leaves are in it.
    pub leaves: Range<usize>,
    /// Its [`super::Chunk::siblings`].
    pub siblings: Vec<Summary>,
}

/// A state that is cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The state's root.
    pub root: Hash32,
    /// How it is cut.
    pub plan: Plan,
    /// The chunks, in the plan's order.
    pub pieces: Vec<Piece>,
}

/// Cuts a state with these leaves, which ascend by place.
///
/// # Errors
/// They do not ascend; an entry is too large to travel; or the chunks would be too many.
pub fn cut(leaves: &[Leaf]) -> Result<Cut, SnapshotError> {
    if !leaves.is_sorted_by(|a, b| a.place < b.place) {
        return Err(SnapshotError::Uncuttable("its leaves do not ascend"));
    }
    // Sums before each leaf: the bytes of any range in one subtraction.
    let mut sums = Vec::with_capacity(leaves.len().saturating_add(1));
    sums.push(0_u64);
    for leaf in leaves {
        let before = sums.last().copied().unwrap_or_default();
        sums.push(before.saturating_add(leaf.bytes as u64));
    }
    let hashes: Vec<([u8; 32], [u8; 32])> = leaves.iter().map(|leaf| (leaf.place, leaf.value)).collect();
    let mut cutting = Cutting { leaves: &hashes, sums: &sums, pieces: Vec::new() };
    let root = cutting.cut(Subtree::ROOT, 0..leaves.len())?;
    let pieces = cutting.pieces;
    let depths: Vec<u8> = pieces.iter().map(|piece| piece.subtree.depth()).collect();
    Ok(Cut { root: Hash32(root.hash()), plan: Plan::from_depths(&depths)?, pieces })
}

struct Cutting<'a> {
    leaves: &'a [([u8; 32], [u8; 32])],
    sums: &'a [u64],
    pieces: Vec<Piece>,
}

impl Cutting<'_> {
    fn cut(&mut self, subtree: Subtree, range: Range<usize>) -> Result<Summary, SnapshotError> {
        let bytes = self.sums[range.end] - self.sums[range.start];
        if range.len() <= 1 || bytes <= CHUNK_ENTRY_BYTES as u64 {
            return self.piece(subtree, range, bytes);
        }
        let (left, right) = subtree.halves().ok_or(SnapshotError::Uncuttable("its entries lie too close"))?;
        let leaves = &self.leaves[range.clone()];
        let middle = range.start + leaves.partition_point(|(place, _)| left.holds(place));
        let first = self.pieces.len();
        let left = self.cut(left, range.start..middle)?;
        let second = self.pieces.len();
        let right = self.cut(right, middle..range.end)?;
        for piece in &mut self.pieces[first..second] {
            piece.siblings.push(right);
        }
        for piece in &mut self.pieces[second..] {
            piece.siblings.push(left);
        }
        Ok(Summary::join(&left, &right))
    }

    fn piece(&mut self, subtree: Subtree, range: Range<usize>, bytes: u64) -> Result<Summary, SnapshotError> {
        if bytes > MAX_LONE_ENTRY_BYTES {
            return Err(SnapshotError::Uncuttable("an entry is larger than a block"));
        }
        if self.pieces.len() >= MAX_CHUNKS {
            return Err(SnapshotError::Uncuttable("it needs more chunks than a snapshot has"));
        }
        let summary = summarize(&self.leaves[range.clone()], usize::from(subtree.depth()));
        self.pieces.push(Piece { subtree, leaves: range, siblings: Vec::new() });
        Ok(summary)
    }
}
