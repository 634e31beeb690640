//! Verified slices: a part of a document with just the hashes that tie it to the document's BLAKE3 hash.
//!
//! Two grains: [`Grain::Transfer`] checks 16 KiB at a time, for moving whole documents between nodes; [`Grain::Proof`]
//! checks 1 KiB at a time, so that a proof of a sentence stays small. Both are bao encodings (the BLAKE3 paper, 6.4).

use crate::ids::Hash32;
use bao_tree::io::outboard::{PreOrderMemOutboard, PreOrderOutboard};
use bao_tree::io::sync::{CreateOutboard as _, DecodeResponseIter, ReadAt, encode_ranges_validated};
use bao_tree::io::{BaoContentItem, round_up_to_chunks};
use bao_tree::{BaoTree, BlockSize, ByteRanges, ChunkRanges};
use std::io::{self, Cursor, Read};
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

/// Bytes that [`Grain::Transfer`] checks at a time.
pub const GROUP_BYTES: u64 = 16 * 1024;

/// A document's hash, and the hash tree over its 16 KiB groups (64 bytes for each group but one): with it, slices can be
/// cut for [`Grain::Transfer`] without the rest of the document. No more than a group of it is held at a time.
///
/// # Errors
/// It cannot be read, or ends before `size`.
pub fn outboard(document: impl Read, size: u64) -> io::Result<(Hash32, Vec<u8>)> {
    let outboard = PreOrderOutboard::<Vec<u8>>::create_sized(document, size, Grain::Transfer.block())?;
    Ok((Hash32(*outboard.root.as_bytes()), outboard.data))
}

/// Bytes of the [`outboard`] of a document of this size.
pub fn outboard_bytes(size: u64) -> u64 {
    BaoTree::new(size, Grain::Transfer.block()).outboard_size()
}

/// The whole groups that a range lies in: what [`cut_groups`] needs of a document.
///
/// # Errors
/// [`SliceError::Range`].
pub fn groups(range: &Range<u64>, size: u64) -> Result<Range<u64>, SliceError> {
    chunks(range, size)?;
    let end = range.end.div_ceil(GROUP_BYTES).saturating_mul(GROUP_BYTES).min(size);
    Ok(range.start / GROUP_BYTES * GROUP_BYTES..end)
}

/// The same slice as that of [`Sliced::cut`], from the [`groups`] of the range and the hash tree alone, of which only the
/// nodes above the range are read.
///
/// # Errors
/// [`SliceError::Mismatch`] when groups or hash tree are not those of the document.
pub fn cut_groups(
    document: &Hash32,
    size: u64,
    outboard: impl ReadAt,
    range: &Range<u64>,
    bytes: &[u8],
) -> Result<Vec<u8>, SliceError> {
    let start = groups(range, size)?.start;
    let tree = BaoTree::new(size, Grain::Transfer.block());
    let tree = PreOrderOutboard { root: document.0.into(), tree, data: outboard };
    let mismatch = |reason: String| SliceError::Mismatch { document: *document, reason };
    let mut out = Vec::new();
    encode_ranges_validated(Window { start, bytes }, &tree, &chunks(range, size)?, &mut out)
        .map_err(|error| mismatch(error.to_string()))?;
    Ok(out)
}

/// A part of a document at its place.
struct Window<'a> {
    start: u64,
    bytes: &'a [u8],
}

impl ReadAt for Window<'_> {
    fn read_at(&self, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let from = at.checked_sub(self.start).and_then(|from| usize::try_from(from).ok());
        let rest = from.and_then(|from| self.bytes.get(from..)).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
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
            if grain == Grain::Transfer {
                let (root, tree) = outboard(data.as_slice(), size).expect("memory is read");
                prop_assert!(outboard(data.as_slice(), size + 1).is_err());
                prop_assert_eq!((root, tree.len() as u64), (document, outboard_bytes(size)));
                let whole = groups(&range, size).expect("the range is inside");
                let mut part = data[index(whole.start)..index(whole.end)].to_vec();
                prop_assert_eq!(&cut_groups(&document, size, tree.as_slice(), &range, &part).expect("all is right"), &slice);
                let (last, mut wrong) = (part.len() - 1, tree.clone());
                part[last] ^= 1;
                prop_assert!(cut_groups(&document, size, tree.as_slice(), &range, &part).is_err());
                part[last] ^= 1;
                prop_assert!(cut_groups(&document, size, tree.as_slice(), &range, &part[1..]).is_err());
                // The first pair is the root's, which every slice needs.
                if let Some(byte) = wrong.first_mut() {
                    *byte ^= 1;
                    prop_assert!(cut_groups(&document, size, wrong.as_slice(), &range, &part).is_err());
                    prop_assert!(cut_groups(&document, size, &tree[1..], &range, &part).is_err());
                }
            }
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
            assert!(matches!(groups(&range, 100), Err(SliceError::Range { .. })));
            assert!(matches!(Sliced::new(&data, Grain::Proof).cut(range), Err(SliceError::Range { .. })));
        }
        assert!(open(&Hash32([0; 32]), u64::MAX, 0..u64::MAX, &[], Grain::Proof).is_err());
    }
}
