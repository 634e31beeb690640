//! The form of a segment: an immutable file that holds documents and the order of their words, so that passages in them
//! are found, counted and proved.
//!
//! Text is cut into **words** (see [`crate::words`]) and **gaps**, the separators between one word and the next; a gap
//! may be empty. The documents of a segment stand one after the other in order of admission, each closed by the byte
//! [`DOCUMENT_END`], which occurs in no UTF-8 and counts as a separator.
//!
//! The **order of suffixes**: two texts that start with a word are compared word by word and gap by gap (first word,
//! the gap behind it, the next word, …). Each is compared as bytes, and what ends first stands first. So all suffixes
//! that start with the same words in the same gaps are neighbours, as are all that start with the same code points. The
//! order is a function of the text alone: whoever has the text can make the segment again and compare its root.
//!
//! A segment is a header of [`HEADER_BYTES`] and sections, each at the next multiple of [`ALIGNMENT`], numbers in little
//! endian. The header holds the length and the BLAKE3 hash of each section; its own hash is the segment's **root**. With
//! the root, a BLAKE3 slice shows any part of a section to somebody who has nothing else.
//!
//! | section | what it holds |
//! | --- | --- |
//! | text | the documents |
//! | suffixes | where words start in the text, in the order of suffixes; packed |
//! | minima | the least place of each 64 suffixes, of each 64 of these, and so on; `u32` |
//! | words | for each distinct word, in order, its first suffix; one more at the end; packed |
//! | slots | the numbers of distinct words plus one by hash, 0 for none; packed |
//! | documents | [`DocumentRecord`] for each |
//! | contributions, contributors | 32 bytes each |
//! | document names, contributor names | where each ends in the bytes that follow, `u32`; then these bytes, UTF-8 |
//! | origins | for folded text: as names, but for each document the map of its words to the text before folding |
//! | groups | the BLAKE3 chaining value of each 16 KiB of each section that is longer than that |
//!
//! **Packed** numbers have as few bits as the greatest possible one needs, from the lowest bit of each byte up, with
//! [`PADDING`] bytes behind them.

use crate::crypto;
use crate::ids::Hash32;
use std::ops::Range;

/// What every segment starts with.
pub const MAGIC: [u8; 8] = *b"trib-seg";
/// The version of this form.
pub const VERSION: u32 = 1;
/// Where sections start: at multiples of this.
pub const ALIGNMENT: u64 = 64;
/// Stands behind every document.
pub const DOCUMENT_END: u8 = 0xFF;
/// Bytes behind packed numbers, so that each can be read as a part of eight bytes.
pub const PADDING: usize = 8;
/// Suffixes that one number of the minima sums up, and numbers that one of the next level does.
pub const FAN_OUT: usize = 64;
/// Bytes that one chaining value of the groups covers.
pub const GROUP_BYTES: usize = 16 * 1024;
/// Bytes of text in a segment at most: places are suffix array entries of 31 bits.
pub const MAX_TEXT_BYTES: u64 = i32::MAX as u64;
/// The latest rule of folding text; 0 is none.
pub const MAX_FOLD: u32 = 1;
/// Bytes of a [`DocumentRecord`].
pub const DOCUMENT_BYTES: usize = 24;

/// How many sections there are.
pub const SECTIONS: usize = 11;
/// Bytes before the lengths and hashes of sections.
const FIXED_BYTES: usize = 48;
/// Bytes of a section's length and hash.
const ENTRY_BYTES: usize = 40;
/// Bytes of the header.
pub const HEADER_BYTES: usize = 576;

const _: () = assert!(FIXED_BYTES + SECTIONS * ENTRY_BYTES + 32 <= HEADER_BYTES);
const _: () = assert!((HEADER_BYTES as u64).is_multiple_of(ALIGNMENT));

/// A part of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(usize)]
pub enum Section {
    /// The documents.
    Text,
    /// Where words start, in the order of suffixes.
    Suffixes,
    /// The least places of ranges of suffixes.
    Minima,
    /// The first suffix of each distinct word.
    Words,
    /// Distinct words by hash.
    Slots,
    /// A record for each document.
    Documents,
    /// Ids of contributions.
    Contributions,
    /// Ids of contributors.
    Contributors,
    /// What people call the documents.
    DocumentNames,
    /// What people call the contributors.
    ContributorNames,
    /// Where folded words stood.
    Origins,
}

impl Section {
    /// All of them, in the order of the file.
    pub const ALL: [Self; SECTIONS] = [
        Self::Text,
        Self::Suffixes,
        Self::Minima,
        Self::Words,
        Self::Slots,
        Self::Documents,
        Self::Contributions,
        Self::Contributors,
        Self::DocumentNames,
        Self::ContributorNames,
        Self::Origins,
    ];

    /// Its name in messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Suffixes => "suffixes",
            Self::Minima => "minima",
            Self::Words => "words",
            Self::Slots => "slots",
            Self::Documents => "documents",
            Self::Contributions => "contributions",
            Self::Contributors => "contributors",
            Self::DocumentNames => "document names",
            Self::ContributorNames => "contributor names",
            Self::Origins => "origins",
        }
    }
}

/// The length and hash of a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SectionEntry {
    /// Bytes.
    pub length: u64,
    /// The BLAKE3 hash of these bytes.
    pub hash: Hash32,
}

/// What a segment starts with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The version of the rule by which its text was folded; 0 for text as it was contributed.
    pub fold: u32,
    /// Documents.
    pub documents: u32,
    /// Contributions that they belong to.
    pub contributions: u32,
    /// Contributors that these come from.
    pub contributors: u32,
    /// Words in all documents, one suffix each.
    pub words: u64,
    /// Words that differ.
    pub distinct: u64,
    /// The sections, in the order of [`Section::ALL`].
    pub sections: [SectionEntry; SECTIONS],
}

/// A document of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DocumentRecord {
    /// Where it starts in the text.
    pub start: u32,
    /// Its index in the contribution.
    pub document: u32,
    /// The contribution's place in the order of admission.
    pub order: u64,
    /// The contribution's number in this segment.
    pub contribution: u32,
    /// The contributor's number in this segment.
    pub contributor: u32,
}

/// Why bytes are not the header of a segment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// There are too few bytes.
    #[error("{got} bytes are too few for a segment, whose header alone has {HEADER_BYTES}")]
    Short {
        /// How many there are.
        got: u64,
    },
    /// It is something else.
    #[error("this is no segment: it does not start with the bytes that every segment starts with")]
    Magic,
    /// It was made by another version of this software.
    #[error("this segment has version {got}; this software reads version {VERSION}: build the index again")]
    Version {
        /// Its version.
        got: u32,
    },
    /// Its hash is not that of its bytes.
    #[error("the segment's header was altered: its hash is {computed}, and it says {written}")]
    Altered {
        /// What the hash is.
        computed: Hash32,
        /// What the header says.
        written: Hash32,
    },
    /// The lengths of its sections do not follow from its counts.
    #[error("the segment's {} section has {got} bytes; by its counts it must have {expected}", .section.as_str())]
    Length {
        /// The section.
        section: Section,
        /// What the header says.
        got: u64,
        /// What it must be.
        expected: u64,
    },
    /// A count is above what a segment can hold.
    #[error("the segment's header claims {got} {what}; a segment holds at most {most}")]
    Count {
        /// What is counted.
        what: &'static str,
        /// How many.
        got: u64,
        /// How many there may be.
        most: u64,
    },
}

impl Header {
    /// The bytes of the header, with its hash at the end.
    pub fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let mut at = 0;
        let mut put = |part: &[u8]| {
            bytes[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        };
        put(&MAGIC);
        for number in [VERSION, self.fold, self.documents, self.contributions, self.contributors, 0] {
            put(&number.to_le_bytes());
        }
        put(&self.words.to_le_bytes());
        put(&self.distinct.to_le_bytes());
        for entry in &self.sections {
            put(&entry.length.to_le_bytes());
            put(&entry.hash.0);
        }
        let root = crypto::segment_root(&bytes[..HEADER_BYTES - 32]);
        bytes[HEADER_BYTES - 32..].copy_from_slice(&root.0);
        bytes
    }

    /// The segment's root: the hash of its header, and by it of everything in it.
    pub fn root(&self) -> Hash32 {
        let bytes = self.to_bytes();
        crypto::segment_root(&bytes[..HEADER_BYTES - 32])
    }

    /// The header that a segment's bytes start with.
    ///
    /// # Errors
    /// When they start with no header, or one that contradicts itself.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, HeaderError> {
        let Some((bytes, _)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
            return Err(HeaderError::Short { got: bytes.len() as u64 });
        };
        let mut reader = Reader { bytes, at: 0 };
        if reader.take::<8>() != MAGIC {
            return Err(HeaderError::Magic);
        }
        let version = reader.u32();
        if version != VERSION {
            return Err(HeaderError::Version { got: version });
        }
        let computed = crypto::segment_root(&bytes[..HEADER_BYTES - 32]);
        let [fold, documents, contributions, contributors, _] = [(); 5].map(|()| reader.u32());
        let (words, distinct) = (reader.u64(), reader.u64());
        let sections =
            [(); SECTIONS].map(|()| SectionEntry { length: reader.u64(), hash: Hash32(reader.take::<32>()) });
        let header = Self { fold, documents, contributions, contributors, words, distinct, sections };
        // The same header has one form: what is between its parts must be 0 as well.
        let written = header.to_bytes();
        if written != *bytes {
            let says = Hash32(bytes[HEADER_BYTES - 32..].try_into().unwrap_or_default());
            return Err(HeaderError::Altered { computed, written: says });
        }
        header.check()?;
        Ok(header)
    }

    /// Do the lengths follow from the counts?
    fn check(&self) -> Result<(), HeaderError> {
        let text = self.length(Section::Text);
        for (what, got, most) in [
            ("bytes of text", text, MAX_TEXT_BYTES),
            ("words", self.words, text),
            ("distinct words", self.distinct, self.words),
            ("documents", self.documents.into(), text),
            ("contributions", self.contributions.into(), self.documents.into()),
            ("contributors", self.contributors.into(), self.documents.into()),
            ("as its rule of folding", self.fold.into(), MAX_FOLD.into()),
            ("bytes of names", self.length(Section::DocumentNames), u32::MAX.into()),
            ("bytes of names", self.length(Section::ContributorNames), u32::MAX.into()),
            ("bytes of origins", self.length(Section::Origins), u32::MAX.into()),
        ] {
            if got > most {
                return Err(HeaderError::Count { what, got, most });
            }
        }
        for (section, expected) in [
            (Section::Suffixes, packed_bytes(self.words, self.place_bits())),
            (Section::Minima, 4 * minima_lengths(self.words).iter().sum::<u64>()),
            (Section::Words, packed_bytes(self.distinct + 1, self.suffix_bits())),
            (Section::Slots, packed_bytes(self.slots(), self.slot_bits())),
            (Section::Documents, DOCUMENT_BYTES as u64 * u64::from(self.documents)),
            (Section::Contributions, 32 * u64::from(self.contributions)),
            (Section::Contributors, 32 * u64::from(self.contributors)),
        ] {
            let got = self.length(section);
            if got != expected {
                return Err(HeaderError::Length { section, got, expected });
            }
        }
        let origins = if self.fold == 0 { 0 } else { self.documents };
        if self.fold == 0 && self.length(Section::Origins) > 0 {
            let got = self.length(Section::Origins);
            return Err(HeaderError::Length { section: Section::Origins, got, expected: 0 });
        }
        for (section, names) in [
            (Section::DocumentNames, self.documents),
            (Section::ContributorNames, self.contributors),
            (Section::Origins, origins),
        ] {
            let (got, expected) = (self.length(section), 4 * u64::from(names));
            if got < expected {
                return Err(HeaderError::Length { section, got, expected });
            }
        }
        Ok(())
    }

    /// The length and hash of a section.
    pub fn section(&self, section: Section) -> &SectionEntry {
        &self.sections[section as usize]
    }

    /// The length of a section in bytes.
    pub fn length(&self, section: Section) -> u64 {
        self.section(section).length
    }

    /// Where each section stands in the file; the groups come last.
    pub fn layout(&self) -> [Range<u64>; SECTIONS + 1] {
        let mut at = HEADER_BYTES as u64;
        let mut next = |length: u64| {
            let start = at.next_multiple_of(ALIGNMENT);
            at = start + length;
            start..at
        };
        let groups: u64 = self.sections.iter().map(|entry| 32 * groups_of(entry.length)).sum();
        std::array::from_fn(|index| next(self.sections.get(index).map_or(groups, |entry| entry.length)))
    }

    /// Bytes of the whole file.
    pub fn file_bytes(&self) -> u64 {
        self.layout()[SECTIONS].end
    }

    /// Bits of a place in the text.
    pub fn place_bits(&self) -> u32 {
        bits_for(self.length(Section::Text))
    }

    /// Bits of a suffix's number.
    pub fn suffix_bits(&self) -> u32 {
        bits_for(self.words)
    }

    /// Bits of a slot.
    pub fn slot_bits(&self) -> u32 {
        bits_for(self.distinct)
    }

    /// How many slots there are: half as many again as distinct words.
    pub fn slots(&self) -> u64 {
        self.distinct + self.distinct / 2 + 1
    }
}

impl DocumentRecord {
    /// Its bytes in the section of documents.
    pub fn to_bytes(self) -> [u8; DOCUMENT_BYTES] {
        let mut bytes = [0; DOCUMENT_BYTES];
        bytes[..4].copy_from_slice(&self.start.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.document.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.order.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.contribution.to_le_bytes());
        bytes[20..].copy_from_slice(&self.contributor.to_le_bytes());
        bytes
    }

    /// The record whose bytes these are.
    pub fn from_bytes(bytes: &[u8; DOCUMENT_BYTES]) -> Self {
        let mut reader = Reader { bytes, at: 0 };
        let (start, document, order) = (reader.u32(), reader.u32(), reader.u64());
        Self { start, document, order, contribution: reader.u32(), contributor: reader.u32() }
    }
}

/// Bits that a number up to `greatest` needs.
pub const fn bits_for(greatest: u64) -> u32 {
    u64::BITS - greatest.leading_zeros()
}

/// Bytes of so many packed numbers.
pub const fn packed_bytes(count: u64, bits: u32) -> u64 {
    (count * bits as u64).div_ceil(8) + PADDING as u64
}

/// One number out of packed ones. None when the bytes end before it.
pub fn packed_number(bytes: &[u8], bits: u32, index: u64) -> Option<u64> {
    packed_at(bytes, bits, index.checked_mul(bits.into())?)
}

/// The number of so many bits, 56 at most, that starts at a bit. None when the bytes end less than eight behind it.
pub fn packed_at(bytes: &[u8], bits: u32, bit: u64) -> Option<u64> {
    let window = bytes.get(usize::try_from(bit / 8).ok()?..)?.first_chunk::<8>()?;
    Some(u64::from_le_bytes(*window) >> (bit % 8) & ((1 << bits) - 1))
}

/// How many numbers each level of the minima has.
pub fn minima_lengths(words: u64) -> Vec<u64> {
    let next = |below: &u64| (*below > FAN_OUT as u64).then(|| below.div_ceil(FAN_OUT as u64));
    std::iter::successors(next(&words), next).collect()
}

/// How many groups a section has; one of a single group needs none, as its hash serves.
pub const fn groups_of(length: u64) -> u64 {
    if length > GROUP_BYTES as u64 { length.div_ceil(GROUP_BYTES as u64) } else { 0 }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    /// The next bytes; zeros where there are none, which does not happen in bytes of a fixed length.
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let found = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk::<N>()).copied();
        self.at += N;
        found.unwrap_or([0; N])
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(text: u64, words: u64, distinct: u64, documents: u32) -> Header {
        let sections = [SectionEntry { length: 0, hash: Hash32([7; 32]) }; SECTIONS];
        let mut header =
            Header { fold: 0, documents, contributions: documents, contributors: 1, words, distinct, sections };
        let lengths = [
            text,
            packed_bytes(words, bits_for(text)),
            4 * minima_lengths(words).iter().sum::<u64>(),
            packed_bytes(distinct + 1, bits_for(words)),
            packed_bytes(header.slots(), bits_for(distinct)),
            24 * u64::from(documents),
            32 * u64::from(documents),
            32,
            4 * u64::from(documents) + 5,
            4,
            0,
        ];
        for (entry, length) in header.sections.iter_mut().zip(lengths) {
            entry.length = length;
        }
        header
    }

    #[test]
    fn a_header_is_read_as_it_was_written_and_every_flipped_bit_is_refused() {
        let header = header(10_000, 2_000, 900, 3);
        let bytes = header.to_bytes();
        assert_eq!(Header::from_bytes(&bytes), Ok(header.clone()));
        assert_eq!(bytes[HEADER_BYTES - 32..], header.root().0);
        for at in 0..HEADER_BYTES * 8 {
            let mut wrong = bytes;
            wrong[at / 8] ^= 1 << (at % 8);
            assert!(Header::from_bytes(&wrong).is_err(), "bit {at}");
        }
        assert_eq!(Header::from_bytes(&bytes[1..]), Err(HeaderError::Short { got: 575 }));
        assert_eq!(header.layout()[0], 576..10_576);
        assert_eq!(header.layout()[1].start % ALIGNMENT, 0);
        assert_eq!(header.file_bytes(), header.layout()[SECTIONS].end);
    }

    #[test]
    fn lengths_that_do_not_follow_from_counts_are_refused() {
        let mut wrong = header(10_000, 2_000, 900, 3);
        wrong.words += 8;
        assert!(matches!(
            Header::from_bytes(&wrong.to_bytes()),
            Err(HeaderError::Length { section: Section::Suffixes, .. })
        ));
        let wrong = header(1, 2, 1, 1);
        assert!(matches!(Header::from_bytes(&wrong.to_bytes()), Err(HeaderError::Count { what: "words", .. })));
    }

    proptest! {
        #[test]
        fn headers_of_any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), HEADER_BYTES)) {
            let mut bytes = bytes;
            bytes[..8].copy_from_slice(&MAGIC);
            bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
            let root = crypto::segment_root(&bytes[..HEADER_BYTES - 32]);
            bytes[HEADER_BYTES - 32..].copy_from_slice(&root.0);
            prop_assert!(Header::from_bytes(&bytes).is_err());
        }

        #[test]
        fn document_records_come_back(start: u32, document: u32, order: u64, contribution: u32, contributor: u32) {
            let record = DocumentRecord { start, document, order, contribution, contributor };
            prop_assert_eq!(DocumentRecord::from_bytes(&record.to_bytes()), record);
        }
    }
}
