//! Where the words of a folded text come from.
//!
//! A [`FoldMap`] is a list of byte ranges of the original text, one for each folded word. None is empty, and neither
//! their starts nor their ends ever go backwards; they may overlap, since one code point can fold to several words.
//!
//! As bytes, in memory and on disk alike, each range is
//!
//! - one byte below [`FAR`], `32 * gap + length - 1`, if it starts `gap` bytes (0 to 6) behind the end of the range
//!   before it (behind 0, for the first) and is `length` bytes long (1 to 32);
//! - else the byte [`FAR`] and two numbers, how far its start is behind the start before it, and how far its end is
//!   behind the end before it: seven bits a byte, the lowest first, the eighth bit set in all bytes but the last.
//!
//! There is one way to write a map, and no other is read. Nearly every word of natural text takes one byte.

use std::ops::Range;

/// One more than the longest range that takes one byte, and how far apart gaps are in that byte.
const LENGTHS: usize = 32;

/// One more than the widest gap that takes one byte.
const GAPS: usize = 7;

/// Says that a range follows as two numbers.
const FAR: u8 = 0xE0;

/// How many ranges are read one by one at most to find one by its number.
pub(super) const BLOCK_WORDS: usize = 64;

const _: () = assert!(GAPS * LENGTHS == FAR as usize, "each short range has its own byte, and FAR is none of them");

/// A range of bytes in the original text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Origin {
    /// The smallest range with both in it.
    pub(super) fn with(self, other: Self) -> Self {
        Self { start: self.start.min(other.start), end: self.end.max(other.end) }
    }
}

/// Why bytes are no map.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// They end within a range.
    #[error("the map ends within the range of word {word}")]
    Cut {
        /// The word, counted from 0.
        word: usize,
    },
    /// A byte that starts no range.
    #[error("the range of word {word} starts with the byte {byte:#04x}, which starts none")]
    Unknown {
        /// The word, counted from 0.
        word: usize,
        /// The byte.
        byte: u8,
    },
    /// A number, or a sum of them, is above what memory can be addressed with.
    #[error("the range of word {word} has a number that is too great")]
    TooGreat {
        /// The word, counted from 0.
        word: usize,
    },
    /// There is a shorter way to write the same range.
    #[error("the range of word {word} is not written in the shortest way")]
    NotShortest {
        /// The word, counted from 0.
        word: usize,
    },
    /// A word that comes from nothing.
    #[error("the range of word {word} ends where it starts, or before that")]
    Empty {
        /// The word, counted from 0.
        word: usize,
    },
    /// A range ends behind the original text.
    #[error("the range of word {word} ends at byte {end}, but the original text has {original_bytes}")]
    Beyond {
        /// The word, counted from 0.
        word: usize,
        /// Where its range ends.
        end: usize,
        /// The length of the original text.
        original_bytes: usize,
    },
}

impl MapError {
    /// The reason as one word, for logs, metrics and the API.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Cut { .. } => "cut",
            Self::Unknown { .. } => "unknown",
            Self::TooGreat { .. } => "too_great",
            Self::NotShortest { .. } => "not_shortest",
            Self::Empty { .. } => "empty",
            Self::Beyond { .. } => "beyond",
        }
    }
}

/// For each word of a folded text, in order, the range of bytes of the original text that it comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoldMap {
    bytes: Vec<u8>,
    words: usize,
    last: Origin,
    blocks: Vec<Block>,
}

/// Where every [`BLOCK_WORDS`]th range is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Block {
    /// In the bytes.
    at: usize,
    /// The range before it.
    before: Origin,
}

impl FoldMap {
    /// Appends the range of the next word, which is not empty; neither its start nor its end is before the last one's.
    pub(super) fn push(&mut self, origin: Origin) {
        debug_assert!(origin.start < origin.end, "a word comes from nothing");
        if self.words.is_multiple_of(BLOCK_WORDS) {
            self.blocks.push(Block { at: self.bytes.len(), before: self.last });
        }
        match short(self.last, origin) {
            Some(byte) => self.bytes.push(byte),
            None => {
                self.bytes.push(FAR);
                write_number(&mut self.bytes, origin.start - self.last.start);
                write_number(&mut self.bytes, origin.end - self.last.end);
            }
        }
        self.words += 1;
        self.last = origin;
    }

    /// The map with these bytes, for an original text of so many bytes.
    ///
    /// Whether the folded text has as many words, and whether the ranges are at code points of the original text, can
    /// only be seen with those texts at hand: take slices of a text by `get` if the bytes come from outside.
    pub fn decode(bytes: &[u8], original_bytes: usize) -> Result<Self, MapError> {
        let mut map = Self { bytes: bytes.to_vec(), ..Self::default() };
        let mut rest = bytes;
        while !rest.is_empty() {
            if map.words.is_multiple_of(BLOCK_WORDS) {
                map.blocks.push(Block { at: bytes.len() - rest.len(), before: map.last });
            }
            map.last = read(&mut rest, map.last, map.words)?;
            if map.last.end > original_bytes {
                return Err(MapError::Beyond { word: map.words, end: map.last.end, original_bytes });
            }
            map.words += 1;
        }
        Ok(map)
    }

    /// The map as bytes, which [`FoldMap::decode`] reads.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many words the folded text has.
    pub fn len(&self) -> usize {
        self.words
    }

    /// Has the folded text no words?
    pub fn is_empty(&self) -> bool {
        self.words == 0
    }

    /// The ranges of all words.
    pub fn ranges(&self) -> Ranges<'_> {
        Ranges { rest: &self.bytes, last: Origin::default() }
    }

    /// The range of the original text that some words of the folded text come from; none if there are no such words.
    pub fn original(&self, words: Range<usize>) -> Option<Range<usize>> {
        let last = words.end.checked_sub(1).filter(|last| words.start <= *last)?;
        let (first, last) = (self.range(words.start)?, self.range(last)?);
        Some(first.start..last.end)
    }

    fn range(&self, word: usize) -> Option<Range<usize>> {
        let block = self.blocks.get(word / BLOCK_WORDS)?;
        Ranges { rest: &self.bytes[block.at..], last: block.before }.nth(word % BLOCK_WORDS)
    }
}

/// The ranges of a map, as [`FoldMap::ranges`] gives them.
#[derive(Clone, Debug)]
pub struct Ranges<'a> {
    rest: &'a [u8],
    last: Origin,
}

impl Iterator for Ranges<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        // A map's bytes were written here or read through, so only their end is an error.
        self.last = read(&mut self.rest, self.last, 0).ok()?;
        Some(self.last.start..self.last.end)
    }
}

impl std::iter::FusedIterator for Ranges<'_> {}

/// The one byte for a range behind another, if one is enough.
fn short(last: Origin, origin: Origin) -> Option<u8> {
    let gap = origin.start.checked_sub(last.end).filter(|gap| *gap < GAPS)?;
    let length = origin.end.checked_sub(origin.start + 1).filter(|length| *length < LENGTHS)?;
    u8::try_from(gap * LENGTHS + length).ok()
}

fn write_number(bytes: &mut Vec<u8>, mut number: usize) {
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            return bytes.push(low & 0x7F);
        }
        bytes.push(low | 0x80);
    }
}

/// Takes a range off the front of `rest`. `word` is its number, for the error.
fn read(rest: &mut &[u8], last: Origin, word: usize) -> Result<Origin, MapError> {
    let byte = take_byte(rest, word)?;
    if byte > FAR {
        return Err(MapError::Unknown { word, byte });
    }
    let sum = |base: usize, number| base.checked_add(number).ok_or(MapError::TooGreat { word });
    if byte < FAR {
        let start = sum(last.end, usize::from(byte) / LENGTHS)?;
        return Ok(Origin { start, end: sum(start, usize::from(byte) % LENGTHS + 1)? });
    }
    let start = sum(last.start, read_number(rest, word)?)?;
    let end = sum(last.end, read_number(rest, word)?)?;
    let origin = Origin { start, end };
    if start >= end {
        return Err(MapError::Empty { word });
    }
    if short(last, origin).is_some() {
        return Err(MapError::NotShortest { word });
    }
    Ok(origin)
}

fn read_number(rest: &mut &[u8], word: usize) -> Result<usize, MapError> {
    let mut number = 0;
    for shift in (0..usize::BITS).step_by(7) {
        let byte = take_byte(rest, word)?;
        let bits = usize::from(byte & 0x7F);
        if bits << shift >> shift != bits {
            return Err(MapError::TooGreat { word });
        }
        number |= bits << shift;
        if byte < 0x80 {
            return if byte == 0 && shift > 0 { Err(MapError::NotShortest { word }) } else { Ok(number) };
        }
    }
    Err(MapError::TooGreat { word })
}

fn take_byte(rest: &mut &[u8], word: usize) -> Result<u8, MapError> {
    let (byte, after) = rest.split_first().ok_or(MapError::Cut { word })?;
    *rest = after;
    Ok(*byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMIT: usize = 1 << 20;

    fn map_of(ranges: impl IntoIterator<Item = Range<usize>>) -> FoldMap {
        let mut map = FoldMap::default();
        ranges.into_iter().for_each(|range| map.push(Origin { start: range.start, end: range.end }));
        map
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(
            steps in prop::collection::vec((0_usize..9, 0_usize..40, prop::bool::weighted(0.1)), 0..300),
        ) {
            let mut last = 0..0;
            let ranges: Vec<_> = steps.into_iter().map(|(gap, length, overlaps)| {
                let start = if overlaps { last.start + gap } else { last.end + gap };
                last = start..last.end.max(start + 1) + length;
                last.clone()
            }).collect();
            let map = map_of(ranges.iter().cloned());
            prop_assert_eq!(map.ranges().collect::<Vec<_>>(), ranges.clone());
            prop_assert_eq!(FoldMap::decode(map.as_bytes(), last.end), Ok(map.clone()));
            for (first, range) in ranges.iter().enumerate() {
                let end = (first + 70).min(ranges.len());
                prop_assert_eq!(map.original(first..end), Some(range.start..ranges[end - 1].end));
            }
            prop_assert_eq!(map.original(0..ranges.len() + 1), None);
        }

        #[test]
        fn whatever_is_read_is_what_would_be_written(
            bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(FAR), Just(1), Just(0x80)], 0..40),
        ) {
            let Ok(map) = FoldMap::decode(&bytes, LIMIT) else { return Ok(()) };
            let ranges: Vec<_> = map.ranges().collect();
            prop_assert_eq!(ranges.len(), map.len());
            prop_assert!(ranges.iter().all(|range| range.start < range.end && range.end <= LIMIT));
            prop_assert!(ranges.windows(2).all(|pair| pair[0].start <= pair[1].start && pair[0].end <= pair[1].end));
            let again = map_of(ranges);
            prop_assert_eq!(again.as_bytes(), &bytes[..]);
        }
    }

    #[test]
    fn what_is_wrong_with_a_map() {
        let table: &[(&[u8], MapError)] = &[
            (&[0xE0], MapError::Cut { word: 0 }),
            (&[5, 0xE0, 0x80], MapError::Cut { word: 1 }),
            (&[5, 0xFF], MapError::Unknown { word: 1, byte: 0xFF }),
            (&[0xE1], MapError::Unknown { word: 0, byte: 0xE1 }),
            (&[0xE0, 0, 0], MapError::Empty { word: 0 }),
            (&[0xE0, 9, 9], MapError::Empty { word: 0 }),
            (&[0xE0, 1, 5], MapError::NotShortest { word: 0 }),
            (&[0xE0, 9, 0x8A, 0], MapError::NotShortest { word: 0 }),
            (&[0xE0, 9, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 2], MapError::TooGreat { word: 0 }),
            (&[0xE0, 9, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x81, 0], MapError::TooGreat { word: 0 }),
            (&[31, 31, 31, 31], MapError::Beyond { word: 3, end: 128, original_bytes: 100 }),
        ];
        for (bytes, expected) in table {
            assert_eq!(FoldMap::decode(bytes, 100).as_ref(), Err(expected), "{bytes:x?}");
        }
        // A first end as far away as can be, and then one more.
        let far = [0xE0, 9, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1, 0];
        assert_eq!(FoldMap::decode(&far, usize::MAX), Err(MapError::TooGreat { word: 1 }));
        assert!(FoldMap::decode(&far[..12], usize::MAX).is_ok());
    }
}
