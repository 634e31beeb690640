//! A whole ledger state, cut into chunks that are each verified alone.
//!
//! A chunk is one subtree of the Merkle state ([`crate::tree`]): all entries whose place begins with the chunk's bits,
//! and the siblings on the way from there to the root. Its entries are hashed to the subtree's hash, this with the
//! siblings to the root, and the root is in a certified header. So
//!
//! - a chunk proves itself, in any order and from anybody; a false one convicts whoever sent it;
//! - nothing can be left out inside a chunk, because the subtree's hash is made of all its entries;
//! - nothing can be left out between chunks, because the [`Plan`] of a snapshot is a list of subtrees that together are
//!   the whole tree, which is checked on the plan alone;
//! - the cut follows from the state: whoever has the state of a height has the same plan and the same chunks.
//!
//! A sibling that is a leaf is shown with its place: it replaces its parent where the other half is empty, so its place
//! is what tells an empty subtree from one that is hidden.

mod assembler;
mod cut;

pub use assembler::Assembler;
pub use cut::{Cut, Leaf, Piece, cut};

use crate::crypto::{self, state_hash, state_key};
use crate::genesis::canonical;
use crate::ids::Hash32;
use crate::limits::{MAX_BLOCK_BYTES, MAX_SYNC_BYTES};
use borsh::{BorshDeserialize, BorshSerialize};

/// Bytes of a chunk's entries that cutting aims at.
pub const CHUNK_ENTRY_BYTES: usize = 1024 * 1024 - MAX_PATH_BYTES - 64;
/// Bytes of the siblings of the deepest chunk.
const MAX_PATH_BYTES: usize = MAX_DEPTH as usize * 65 + 4;
/// Bytes of a chunk of several entries as it travels.
pub const MAX_CHUNK_BYTES: usize = 1024 * 1024;
/// Bytes of a chunk of one entry, which cannot be cut: no entry is larger than the block that made it.
pub const MAX_LONE_CHUNK_BYTES: usize = MAX_BLOCK_BYTES;
/// Bits of a subtree's place. Places are hashes: to make two entries share more bits than this is beyond anyone.
pub const MAX_DEPTH: u8 = 128;
/// Chunks of one snapshot: 64 GiB.
pub const MAX_CHUNKS: usize = 65_536;
/// Snapshots that a node offers: the latest, and those that others are still fetching.
pub const MAX_OFFERS: usize = 4;
/// The hash of a subtree without entries.
const PLACEHOLDER: [u8; 32] = *b"SPARSE_MERKLE_PLACEHOLDER_HASH__";

const _: () = assert!(MAX_CHUNK_BYTES <= MAX_LONE_CHUNK_BYTES && MAX_LONE_CHUNK_BYTES + 1024 <= MAX_SYNC_BYTES);

/// A subtree: all places that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct Subtree {
    /// The bits, from the highest of the first byte on; the rest is zero.
    prefix: [u8; 32],
    /// How many bits.
    depth: u8,
}

impl Subtree {
    /// The whole tree.
    pub const ROOT: Self = Self { prefix: [0; 32], depth: 0 };

    /// The places that begin with the first `depth` bits of `place`.
    ///
    /// # Errors
    /// More bits than [`MAX_DEPTH`].
    pub fn of(place: &[u8; 32], depth: u8) -> Result<Self, SnapshotError> {
        if depth > MAX_DEPTH {
            return Err(SnapshotError::Plan("it is cut too deep"));
        }
        let mut prefix = [0; 32];
        let whole = usize::from(depth / 8);
        prefix[..whole].copy_from_slice(&place[..whole]);
        if !depth.is_multiple_of(8) {
            prefix[whole] = place[whole] & (0xff_u8 << (8 - depth % 8));
        }
        Ok(Self { prefix, depth })
    }

    /// The bits, the rest zero.
    pub fn prefix(&self) -> &[u8; 32] {
        &self.prefix
    }

    /// How many bits.
    pub fn depth(&self) -> u8 {
        self.depth
    }

    /// Does it hold this place?
    pub fn holds(&self, place: &[u8; 32]) -> bool {
        Self::of(place, self.depth).is_ok_and(|own| own == *self)
    }

    /// Its two halves; none at [`MAX_DEPTH`].
    pub fn halves(&self) -> Option<(Self, Self)> {
        let depth = self.depth.checked_add(1).filter(|depth| *depth <= MAX_DEPTH)?;
        let left = Self { prefix: self.prefix, depth };
        let mut right = left;
        right.prefix[usize::from(self.depth / 8)] |= 0x80 >> (self.depth % 8);
        Some((left, right))
    }

    /// The next subtree of the same depth to its right; none at the right edge.
    fn after(&self) -> Option<[u8; 32]> {
        let mut next = self.prefix;
        for bit in (0..self.depth).rev() {
            let (byte, mask) = (usize::from(bit / 8), 0x80_u8 >> (bit % 8));
            if next[byte] & mask == 0 {
                next[byte] |= mask;
                return Some(next);
            }
            next[byte] &= !mask;
        }
        None
    }
}

/// The hash of a subtree, and what the tree's rule must know of it besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Summary {
    /// No entry.
    Empty,
    /// One entry.
    Leaf {
        /// Its place.
        place: [u8; 32],
        /// The hash of its value.
        value: [u8; 32],
    },
    /// Several entries.
    Inner([u8; 32]),
}

impl Summary {
    /// The summary of an entry.
    pub fn of_entry(key: &[u8], value: &[u8]) -> Self {
        Self::Leaf { place: state_key(key), value: state_hash(value) }
    }

    /// The hash that stands for the subtree in its parent, and at the top is the root.
    pub fn hash(&self) -> [u8; 32] {
        match self {
            Self::Empty => PLACEHOLDER,
            Self::Leaf { place, value } => state_hash(&[b"JMT::LeafNode".as_slice(), place, value].concat()),
            Self::Inner(hash) => *hash,
        }
    }

    /// The subtree of two halves: a lone leaf stands for all of it.
    pub fn join(left: &Self, right: &Self) -> Self {
        match (left, right) {
            (Self::Empty, Self::Empty) => Self::Empty,
            (leaf @ Self::Leaf { .. }, Self::Empty) | (Self::Empty, leaf @ Self::Leaf { .. }) => *leaf,
            _ => Self::Inner(state_hash(&[b"JMT::IntrnalNode".as_slice(), &left.hash(), &right.hash()].concat())),
        }
    }
}

/// The summary of a subtree with these leaves, which lie in it and ascend by place.
pub(crate) fn summarize(leaves: &[([u8; 32], [u8; 32])], depth: usize) -> Summary {
    match leaves {
        [] => Summary::Empty,
        [(place, value)] => Summary::Leaf { place: *place, value: *value },
        _ => {
            // Places that differ do so within 256 bits, so the depth stays below.
            let right = |(place, _): &([u8; 32], [u8; 32])| place[depth / 8] >> (7 - depth % 8) & 1 == 1;
            let (left, right) = leaves.split_at(leaves.partition_point(|leaf| !right(leaf)));
            Summary::join(&summarize(left, depth + 1), &summarize(right, depth + 1))
        }
    }
}

/// What is wrong with a chunk, a plan or a cut.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// More bytes than a chunk has.
    #[error("the chunk has {got} bytes; it may have at most {limit}")]
    Oversize {
        /// How many.
        got: usize,
        /// How many it may have.
        limit: usize,
    },
    /// Not the canonical bytes of a chunk.
    #[error("these bytes are not a chunk: {0}")]
    Encoding(String),
    /// Entries that repeat, are out of order or lie elsewhere; or siblings that cannot be.
    #[error("the chunk is malformed: {0}")]
    Malformed(&'static str),
    /// It does not lead to the root.
    #[error("the chunk does not lead to the root {root}: something in it was altered, added or left out")]
    Wrong {
        /// The root.
        root: Hash32,
    },
    /// Not a list of subtrees that make the whole.
    #[error("the snapshot's plan is malformed: {0}")]
    Plan(&'static str),
    /// No chunk of this number is awaited.
    #[error("chunk {0} is not one that is missing")]
    NotMissing(u32),
    /// A state that cannot be cut.
    #[error("the state cannot be cut into chunks: {0}")]
    Uncuttable(&'static str),
}

/// How a state is cut: the depths of its chunks' subtrees from left to right. Together they are the whole tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan(Vec<Subtree>);

impl Plan {
    /// The plan of chunks with these depths.
    ///
    /// # Errors
    /// The subtrees do not make the whole, without overlap and without a gap; or they are too many.
    pub fn from_depths(depths: &[u8]) -> Result<Self, SnapshotError> {
        if depths.len() > MAX_CHUNKS {
            return Err(SnapshotError::Plan("it has too many chunks"));
        }
        let mut subtrees = Vec::with_capacity(depths.len());
        let mut next = Some([0; 32]);
        for depth in depths {
            let start = next.ok_or(SnapshotError::Plan("it goes on past the end of the tree"))?;
            let subtree = Subtree::of(&start, *depth)?;
            if subtree.prefix != start {
                return Err(SnapshotError::Plan("a chunk begins within another"));
            }
            next = subtree.after();
            subtrees.push(subtree);
        }
        match next {
            None => Ok(Self(subtrees)),
            Some(_) => Err(SnapshotError::Plan("it ends before the end of the tree")),
        }
    }

    /// One byte for each chunk: what travels.
    pub fn depths(&self) -> Vec<u8> {
        self.0.iter().map(|subtree| subtree.depth).collect()
    }

    /// The chunks' subtrees, from left to right.
    pub fn subtrees(&self) -> &[Subtree] {
        &self.0
    }

    /// The plan's name: peers that name the same one for a height can be asked for each other's chunks.
    pub fn hash(&self) -> Hash32 {
        crypto::document_hash(&self.depths())
    }
}

/// A subtree's entries, and what leads from it to the root.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Chunk {
    /// Keys and values, ascending by the place of the key.
    pub entries: Vec<(Vec<u8>, Vec<u8>)>,
    /// The siblings on the way to the root, the deepest first.
    pub siblings: Vec<Summary>,
}

impl Chunk {
    /// The bytes that travel.
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical(self)
    }

    /// Reads a chunk of a subtree out of what anybody sent, and checks it against the root of the state.
    ///
    /// # Errors
    /// Whoever sent it lied, or erred.
    pub fn open(bytes: &[u8], subtree: &Subtree, root: &Hash32) -> Result<Self, SnapshotError> {
        let oversize = |limit| SnapshotError::Oversize { got: bytes.len(), limit };
        if bytes.len() > MAX_LONE_CHUNK_BYTES {
            return Err(oversize(MAX_LONE_CHUNK_BYTES));
        }
        let chunk: Self = borsh::from_slice(bytes).map_err(|error| SnapshotError::Encoding(error.to_string()))?;
        if bytes.len() > MAX_CHUNK_BYTES && chunk.entries.len() > 1 {
            return Err(oversize(MAX_CHUNK_BYTES));
        }
        chunk.check(subtree, root)?;
        Ok(chunk)
    }

    fn check(&self, subtree: &Subtree, root: &Hash32) -> Result<(), SnapshotError> {
        if self.siblings.len() != usize::from(subtree.depth) {
            return Err(SnapshotError::Malformed("it needs one sibling for each bit of its subtree"));
        }
        let leaves: Vec<_> = self.entries.iter().map(|(key, value)| (state_key(key), state_hash(value))).collect();
        if !leaves.is_sorted_by(|a, b| a.0 < b.0) {
            return Err(SnapshotError::Malformed("its entries do not ascend by their places"));
        }
        if !leaves.iter().all(|(place, _)| subtree.holds(place)) {
            return Err(SnapshotError::Malformed("an entry lies outside the chunk's subtree"));
        }
        let mut summary = summarize(&leaves, usize::from(subtree.depth));
        for (depth, sibling) in (0..subtree.depth).rev().zip(&self.siblings) {
            let mut flipped = subtree.prefix;
            flipped[usize::from(depth / 8)] ^= 0x80 >> (depth % 8);
            let beside = Subtree::of(&flipped, depth + 1)?;
            if let Summary::Leaf { place, .. } = sibling
                && !beside.holds(place)
            {
                return Err(SnapshotError::Malformed("a sibling lies elsewhere"));
            }
            let is_right = subtree.prefix[usize::from(depth / 8)] & (0x80 >> (depth % 8)) != 0;
            summary = if is_right { Summary::join(sibling, &summary) } else { Summary::join(&summary, sibling) };
        }
        if summary.hash() != root.0 {
            return Err(SnapshotError::Wrong { root: *root });
        }
        Ok(())
    }
}
