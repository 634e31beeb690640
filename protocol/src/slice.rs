//! Verified slices: a part of a document with just the hashes that tie it to the document's BLAKE3 hash.
//!
//! Two grains: [`Grain::Transfer`] checks 16 KiB at a time, for moving whole documents between nodes; [`Grain::Proof`]
//! checks 1 KiB at a time, so that a proof of a sentence stays small. Both are bao encodings (the BLAKE3 paper, 6.4).

use crate::ids::Hash32;
use bao_tree::io::outboard::PreOrderMemOutboard;
use bao_tree::io::sync::{DecodeResponseIter, encode_ranges_validated};
use bao_tree::io::{BaoContentItem, round_up_to_chunks};
use bao_tree::{BaoTree, BlockSize, ByteRanges, ChunkRanges};
use std::io::{Cursor, Read};
use std::ops::Range;

/// How many bytes are checked at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grain {
    /// 16 KiB.
    Transfer,
    /// 1 KiB.
    Proof,
}

impl Grain {
    const fn block(self) -> BlockSize {
        match self {
            Self::Transfer => BlockSize::from_chunk_log(4),
            Self::Proof => BlockSize::ZERO,
        }
    }
}

/// A slice that cannot be made, or that does not belong to its document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SliceError {
    /// The range is empty or ends after the document.
    #[error("bytes {start} to {end} are not a part of a document of {size} bytes")]
    Range {
        /// First byte.
        start: u64,
        /// Byte after the last.
        end: u64,
        /// The document's length.
        size: u64,
    },
    /// Bytes or hashes were altered, or there are too few or too many.
    #[error("the slice does not belong to document {document}: {reason}")]
    Mismatch {
        /// The document's hash.
        document: Hash32,
        /// What did not fit.
        reason: String,
    },
}

/// A document with the hash tree over it, from which slices are cut.
pub struct Sliced<'a> {
    data: &'a [u8],
    tree: PreOrderMemOutboard,
}

impl<'a> Sliced<'a> {
    /// Hashes a document once, for any number of slices.
    pub fn new(data: &'a [u8], grain: Grain) -> Self {
        Self { data, tree: PreOrderMemOutboard::create(data, grain.block()) }
    }

    /// The document's hash.
    pub fn hash(&self) -> Hash32 {
        Hash32(*self.tree.root.as_bytes())
    }

    /// The part of the document with its proof.
    pub fn cut(&self, range: Range<u64>) -> Result<Vec<u8>, SliceError> {
        let chunks = chunks(&range, self.data.len() as u64)?;
        let mut out = Vec::new();
        encode_ranges_validated(self.data, &self.tree, &chunks, &mut out)
            .map_err(|error| SliceError::Mismatch { document: self.hash(), reason: error.to_string() })?;
        Ok(out)
    }
}

/// The bytes of `range` that a slice holds, checked against the hash and length of the document.
///
/// Reads at most what the range needs, and refuses a slice with anything left over.
pub fn open(
    document: &Hash32,
    size: u64,
    range: Range<u64>,
    slice: &[u8],
    grain: Grain,
) -> Result<Vec<u8>, SliceError> {
    let chunks = chunks(&range, size)?;
    let mismatch = |reason: String| SliceError::Mismatch { document: *document, reason };
    let mut reader = Cursor::new(slice);
    let tree = BaoTree::new(size, grain.block());
    let mut bytes = Vec::new();
    for item in DecodeResponseIter::new(document.0.into(), tree, &mut reader, &chunks) {
        if let BaoContentItem::Leaf(leaf) = item.map_err(|error| mismatch(error.to_string()))? {
            let end = leaf.offset + leaf.data.len() as u64;
            let from = range.start.clamp(leaf.offset, end) - leaf.offset;
            let to = range.end.clamp(leaf.offset, end) - leaf.offset;
            let index = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
            bytes.extend_from_slice(&leaf.data[index(from)..index(to)]);
        }
    }
    if reader.read(&mut [0]).unwrap_or(0) > 0 {
        return Err(mismatch("bytes are left over".to_owned()));
    }
    if bytes.len() as u64 != range.end - range.start {
        return Err(mismatch("bytes are missing".to_owned()));
    }
    Ok(bytes)
}

fn chunks(range: &Range<u64>, size: u64) -> Result<ChunkRanges, SliceError> {
    if range.start >= range.end || range.end > size {
        return Err(SliceError::Range { start: range.start, end: range.end, size });
    }
    Ok(round_up_to_chunks(&ByteRanges::from(range.clone())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn slices_open_to_what_was_cut_and_any_flipped_bit_is_refused(
            size in 1_u64..60_000, a in any::<u64>(), b in any::<u64>(), flip in any::<u64>(), coarse in any::<bool>()
        ) {
            let grain = if coarse { Grain::Transfer } else { Grain::Proof };
            let data: Vec<u8> = (0..size).map(|i| (i.wrapping_mul(2_654_435_761) >> 7).to_le_bytes()[0]).collect();
            let index = |at: u64| usize::try_from(at).unwrap();
            let (a, b) = (a % size, b % size);
            let range = a.min(b)..a.max(b) + 1;
            let document = crate::crypto::document_hash(&data);
            let sliced = Sliced::new(&data, grain);
            prop_assert_eq!(sliced.hash(), document);
            let mut slice = sliced.cut(range.clone()).expect("the range is inside");
            let wanted = &data[index(range.start)..index(range.end)];
            let opened = open(&document, size, range.clone(), &slice, grain).expect("it was just cut");
            prop_assert_eq!(opened, wanted);
            let at = index(flip % slice.len() as u64);
            slice[at] ^= 1 << (flip % 8);
            prop_assert!(open(&document, size, range.clone(), &slice, grain).is_err());
            slice[at] ^= 1 << (flip % 8);
            slice.push(0);
            prop_assert!(open(&document, size, range.clone(), &slice, grain).is_err());
            slice.truncate(slice.len() - 2);
            prop_assert!(open(&document, size, range, &slice, grain).is_err());
        }
    }

    #[test]
    fn ranges_outside_are_refused() {
        let data = [7; 100];
        for range in [0..0, 5..5, 90..101, 100..101] {
            assert!(matches!(Sliced::new(&data, Grain::Proof).cut(range), Err(SliceError::Range { .. })));
        }
        assert!(open(&Hash32([0; 32]), u64::MAX, 0..u64::MAX, &[], Grain::Proof).is_err());
    }
}
