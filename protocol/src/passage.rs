//! Proofs about passages, against the root of a segment: that a passage stands in its documents, how often, where first,
//! and that it does not.
//!
//! All suffixes that start with a passage's words are neighbours in the order of suffixes (see [`crate::segment`]). So
//! the suffix before the first of them and the one behind the last, each shown with the text that follows it, prove
//! their number; where there is none, the two between which they would stand prove that. A proof holds the header, whose
//! hash is the root, and BLAKE3 slices of the segment's sections.
//!
//! What rests on whom: a proof shows what is in the segment with this root. That the segment's suffixes are in order is
//! what its maker answers for. The order is a function of the text, so anyone with the text can make the segment again and
//! compare roots; and whoever finds two neighbours in the wrong order shows just these ([`Inversion`]).
//!
//! A passage of an answer is **maximal** in a segment if it occurs, and with the answer's next word on either side it
//! does not.
//!
//! Nothing here is used for searching: the order is checked by its definition, element by element.

use crate::evidence::Answer;
use crate::ids::{ContributionId, Hash32};
use crate::segment::{DOCUMENT_BYTES, DOCUMENT_END, DocumentRecord, Header, HeaderError, Section, packed_at};
use crate::slice::{self, Grain, SliceError};
use crate::words::words;
use borsh::{BorshDeserialize, BorshSerialize};
use std::cmp::Ordering;
use std::ops::Range;

/// The most occurrences whose places a proof shows, so that the earliest of them is proved as well.
pub const MAX_PLACES: u64 = 4096;
/// Bytes of a passage at most.
pub const MAX_PASSAGE_BYTES: usize = 64 * 1024;
/// Bytes that a suffix is shown for beyond the passage, so that its next code point is.
pub const MARGIN: u64 = 4;

/// What a proof says of a passage, once it was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proved {
    /// The segment.
    pub root: Hash32,
    /// How often the passage stands in it.
    pub count: u64,
    /// Where it stands first, in the order of admission; unknown where it stands more than [`MAX_PLACES`] times.
    pub earliest: Option<Earliest>,
}

/// The first document of a segment that holds a passage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Earliest {
    /// The contribution's place in the order of admission.
    pub order: u64,
    /// The contribution.
    pub contribution: ContributionId,
    /// The document's index in the contribution.
    pub document: u32,
    /// The byte at which the passage starts in the document.
    pub offset: u64,
}

/// How often, and where first, a passage stands in a segment.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct PassageProof {
    /// The segment's header.
    pub header: Vec<u8>,
    /// The number of the first suffix that does not stand before the passage.
    pub first: u64,
    /// How many suffixes start with its words.
    pub count: u64,
    /// The suffixes around and among them: one slice, or two where there are too many to show all.
    pub suffixes: Vec<Vec<u8>>,
    /// The text of each [`borders`] suffix.
    pub texts: Vec<Vec<u8>>,
    /// The document that holds the first of them in the order of admission.
    pub holder: Option<HolderProof>,
}

/// The document that holds a place in the text.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct HolderProof {
    /// Its number in the segment.
    pub number: u32,
    /// Its record, and the next one if there is one.
    pub records: Vec<u8>,
    /// Its contribution's id.
    pub contribution: Vec<u8>,
}

/// Two neighbours among a segment's suffixes that are in the wrong order: proof that the segment was not made by the rules.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Inversion {
    /// The segment's header.
    pub header: Vec<u8>,
    /// The number of the first of the two.
    pub first: u64,
    /// Both, as a slice of the suffixes.
    pub suffixes: Vec<u8>,
    /// How many bytes of each one's text are shown.
    pub length: u64,
    /// The text of each.
    pub texts: [Vec<u8>; 2],
}

/// What an index, a list of segments, says about a span of a text: how often it occurs, and that no longer one does.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SpanProof {
    /// The text.
    pub text: String,
    /// The byte at which the span starts, with a word.
    pub start: u32,
    /// The byte behind the span, where a word ends.
    pub end: u32,
    /// For each segment, proofs of the [`maximality`] passages.
    pub segments: Vec<Vec<PassageProof>>,
}

/// What a proof says of a span, once it was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvedSpan {
    /// How often it stands in all segments.
    pub count: u64,
    /// Does it occur, and not with the text's next word on either side?
    pub is_maximal: bool,
    /// What is proved of the span in each segment.
    pub segments: Vec<Proved>,
}

impl ProvedSpan {
    /// Where it stands first, and in which segment; unknown where it stands in a segment too often to show.
    pub fn earliest(&self) -> Option<(Hash32, Earliest)> {
        let mut first = None;
        for proved in self.segments.iter().filter(|proved| proved.count > 0) {
            let here = proved.earliest?;
            let place = |earliest: &Earliest| (earliest.order, earliest.document, earliest.offset);
            if first.is_none_or(|(_, known)| place(&here) < place(&known)) {
                first = Some((proved.root, here));
            }
        }
        first
    }
}

/// The passages whose proofs show that a span of a text is maximal: the span itself, and the span with the text's next word
/// on either side, where there is one.
pub fn maximality<'a>(answer: &Answer<'a>, words: Range<usize>) -> Vec<&'a str> {
    let longer = [
        Some(words.clone()),
        words.start.checked_sub(1).map(|start| start..words.end),
        Some(words.start..words.end + 1).filter(|longer| longer.end <= answer.words().len()),
    ];
    let text = |words: Range<usize>| {
        let (first, last) = (answer.words().get(words.start)?, answer.words().get(words.end.checked_sub(1)?)?);
        answer.text().get(first.start as usize..last.end as usize)
    };
    longer.into_iter().flatten().filter_map(text).collect()
}

impl SpanProof {
    /// What every such file starts with.
    pub const MAGIC: [u8; 8] = *b"trib-spn";

    /// The bytes of the proof's file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Self::MAGIC.to_vec();
        // Writing to memory fails only for more than 2^32 parts.
        borsh::to_writer(&mut bytes, self).expect("a proof has few parts");
        bytes
    }

    /// The proof in a file.
    ///
    /// # Errors
    /// When it is none.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PassageError> {
        let body =
            bytes.strip_prefix(&Self::MAGIC).ok_or(PassageError::Form { what: "the file is no proof of a span" })?;
        borsh::from_slice(body).map_err(|_| PassageError::Form { what: "the file is cut short, altered, or goes on" })
    }

    /// What this proves.
    ///
    /// # Errors
    /// When it proves nothing.
    pub fn check(&self) -> Result<ProvedSpan, PassageError> {
        let answer = Answer::up_to(MAX_PASSAGE_BYTES, &self.text).map_err(|_| PassageError::Passage)?;
        let words = answer.words_of(self.start, self.end).ok_or(PassageError::Passage)?;
        let passages = maximality(&answer, words);
        let mut proved = ProvedSpan { count: 0, is_maximal: true, segments: Vec::new() };
        for proofs in &self.segments {
            if proofs.len() != passages.len() {
                return Err(PassageError::Form { what: "a proof for the span and for each longer one" });
            }
            let all: Vec<Proved> =
                proofs.iter().zip(&passages).map(|(proof, passage)| proof.check(passage)).collect::<Result<_, _>>()?;
            let (span, longer) = all.split_first().ok_or(PassageError::Form { what: "a proof for the span" })?;
            if longer.iter().any(|longer| longer.root != span.root)
                || proved.segments.iter().any(|other| other.root == span.root)
            {
                return Err(PassageError::Form { what: "each segment once, and its proofs together" });
            }
            proved.count = proved.count.saturating_add(span.count);
            proved.is_maximal &= longer.iter().all(|longer| longer.count == 0);
            proved.segments.push(span.clone());
        }
        proved.is_maximal &= proved.count > 0;
        Ok(proved)
    }
}

/// Why a proof proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PassageError {
    /// The passage does not start and end with words, or is too long.
    #[error("this is no passage: it must start and end with words, and have at most {MAX_PASSAGE_BYTES} bytes")]
    Passage,
    /// The header is none.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// A slice does not belong to its section.
    #[error("the {}: {source}", .section.as_str())]
    Slice {
        /// The section.
        section: Section,
        /// What is wrong.
        source: SliceError,
    },
    /// There are too few or too many parts, or numbers beyond the segment.
    #[error("the proof's parts do not fit each other: {what}")]
    Form {
        /// Which.
        what: &'static str,
    },
    /// A suffix does not stand where the proof says.
    #[error("suffix {number} of the segment {wrong}, so the passage's number is not proved")]
    Order {
        /// The suffix.
        number: u64,
        /// What is wrong with it.
        wrong: &'static str,
    },
    /// The two suffixes are in order.
    #[error("suffixes {first} and {} are in order as far as they are shown: this proves nothing", first + 1)]
    NoInversion {
        /// The first one.
        first: u64,
    },
}

/// The numbers of the suffixes whose text a proof shows: those before and behind the occurrences, and the first and last
/// of these, ascending.
pub fn borders(words: u64, first: u64, count: u64) -> Vec<u64> {
    let before = first.checked_sub(1);
    let inside = (count > 0).then(|| [first, first + count - 1]);
    let behind = (first + count < words).then_some(first + count);
    let mut all: Vec<u64> = before.into_iter().chain(inside.into_iter().flatten()).chain(behind).collect();
    all.dedup();
    all
}

/// The ranges of suffixes that a proof shows: all around and among the occurrences, or the two ends.
pub fn shown(words: u64, first: u64, count: u64) -> Vec<Range<u64>> {
    let (start, end) = (first.saturating_sub(1), (first + count + 1).min(words));
    let ends = [start..(first + 1).min(words), (first + count).saturating_sub(1)..end];
    let all = std::iter::once(start..end).filter(|_| count <= MAX_PLACES);
    let ranges = all.chain(ends.into_iter().filter(|_| count > MAX_PLACES));
    ranges.filter(|range| !range.is_empty()).collect()
}

/// The bytes of a section of packed numbers that hold a range of them.
pub fn packed_range(numbers: &Range<u64>, bits: u32) -> Range<u64> {
    let bits = u64::from(bits);
    numbers.start * bits / 8..(numbers.end * bits).div_ceil(8).max(numbers.start * bits / 8 + 1)
}

impl PassageProof {
    /// What this proves of a passage.
    ///
    /// # Errors
    /// When it proves nothing.
    pub fn check(&self, passage: &str) -> Result<Proved, PassageError> {
        let wanted = elements(passage.as_bytes());
        if passage.len() > MAX_PASSAGE_BYTES || !is_passage(passage) {
            return Err(PassageError::Passage);
        }
        let header = Header::from_bytes(&self.header)?;
        let form = |what| PassageError::Form { what };
        let end = self.first.checked_add(self.count).filter(|end| *end <= header.words);
        let end = end.ok_or_else(|| form("there are fewer suffixes in the segment"))?;
        let places = self.places(&header)?;
        let text_bytes = header.length(Section::Text);
        let borders = borders(header.words, self.first, self.count);
        if borders.len() != self.texts.len() {
            return Err(form("as many texts as suffixes at the borders"));
        }
        for (&number, text) in borders.iter().zip(&self.texts) {
            let place = places.iter().find(|(at, _)| *at == number).map(|(_, place)| *place);
            let place = place.filter(|place| *place < text_bytes).ok_or_else(|| form("a suffix is beyond the text"))?;
            let range = place..(place + passage.len() as u64 + MARGIN).min(text_bytes);
            let bytes = open(&header, Section::Text, range, text)?;
            let (order, is_start) = compare(&elements(&bytes), &wanted);
            let is_inside = (self.first..end).contains(&number);
            let wrong = match (is_inside, is_start, order) {
                (true, true, _) => continue,
                (true, false, _) => "does not start with the passage",
                (false, true, _) => "starts with the passage too",
                (false, false, order) if order.is_lt() == (number < self.first) => continue,
                _ => "stands on the wrong side",
            };
            return Err(PassageError::Order { number, wrong });
        }
        let inside = places.iter().filter(|(number, _)| (self.first..end).contains(number));
        let least = inside.map(|(_, place)| *place).min().filter(|_| self.count <= MAX_PLACES);
        let earliest = match (least, &self.holder) {
            (Some(place), Some(holder)) => Some(holder.check(&header, place)?),
            (None, None) => None,
            _ => return Err(form("a holder where the passage occurs and its places are shown, and nowhere else")),
        };
        Ok(Proved { root: header.root(), count: self.count, earliest })
    }

    /// The suffixes that are shown, by number.
    fn places(&self, header: &Header) -> Result<Vec<(u64, u64)>, PassageError> {
        let ranges = shown(header.words, self.first, self.count);
        if ranges.len() != self.suffixes.len() {
            return Err(PassageError::Form { what: "as many slices as ranges of suffixes" });
        }
        let mut places = Vec::new();
        for (range, slice) in ranges.iter().zip(&self.suffixes) {
            places.extend(suffixes(header, range, slice)?);
        }
        Ok(places)
    }
}

impl HolderProof {
    fn check(&self, header: &Header, place: u64) -> Result<Earliest, PassageError> {
        let form = |what| PassageError::Form { what };
        if self.number >= header.documents {
            return Err(form("there are fewer documents in the segment"));
        }
        let count = u64::from(self.number + 1 < header.documents) + 1;
        let (at, each) = (u64::from(self.number) * DOCUMENT_BYTES as u64, DOCUMENT_BYTES as u64);
        let bytes = open(header, Section::Documents, at..at + count * each, &self.records)?;
        let mut records = bytes.as_chunks().0.iter().map(DocumentRecord::from_bytes);
        let record = records.next().ok_or_else(|| form("a record of the document"))?;
        let next = records.next().map_or(header.length(Section::Text), |next| next.start.into());
        if !(u64::from(record.start)..next).contains(&place) {
            return Err(form("the document does not hold the passage"));
        }
        let at = u64::from(record.contribution) * 32;
        let id = open(header, Section::Contributions, at..at + 32, &self.contribution)?;
        let contribution = ContributionId(id.try_into().map_err(|_| form("an id of 32 bytes"))?);
        let offset = place - u64::from(record.start);
        Ok(Earliest { order: record.order, contribution, document: record.document, offset })
    }
}

impl Inversion {
    /// The root of the segment whose suffixes are proved to be out of order.
    ///
    /// # Errors
    /// When nothing is proved.
    pub fn check(&self) -> Result<Hash32, PassageError> {
        let header = Header::from_bytes(&self.header)?;
        let last = self.first.checked_add(2).filter(|end| *end <= header.words);
        let range = self.first..last.ok_or(PassageError::Form { what: "there are fewer suffixes in the segment" })?;
        let places = suffixes(&header, &range, &self.suffixes)?;
        let text_bytes = header.length(Section::Text);
        let text = |(_, place): &(u64, u64), slice: &[u8]| {
            let end = place.saturating_add(self.length).min(text_bytes);
            open(&header, Section::Text, *place..end, slice)
        };
        let [left, right] = places.as_slice() else { return Err(PassageError::Form { what: "two suffixes" }) };
        let (left, right) = (text(left, &self.texts[0])?, text(right, &self.texts[1])?);
        let agreed = left.iter().zip(&right).take_while(|(left, right)| left == right).count() as u64;
        // Where both go on behind what is shown, only what stands well before the end of that tells anything.
        if agreed + MARGIN <= self.length && elements(&left) > elements(&right) {
            Ok(header.root())
        } else {
            Err(PassageError::NoInversion { first: self.first })
        }
    }
}

/// The numbers of suffixes and their places, out of a slice.
fn suffixes(header: &Header, range: &Range<u64>, slice: &[u8]) -> Result<Vec<(u64, u64)>, PassageError> {
    let bits = header.place_bits();
    let bytes = packed_range(range, bits);
    let skipped = range.start * u64::from(bits) - bytes.start * 8;
    let mut found = open(header, Section::Suffixes, bytes, slice)?;
    found.extend([0; 8]);
    let numbers = range.clone().zip(0_u64..).map(|(number, index)| {
        // The first number starts some bits into the slice.
        let place = packed_at(&found, bits, skipped + index * u64::from(bits));
        place.map(|place| (number, place)).ok_or(PassageError::Form { what: "a slice of whole suffixes" })
    });
    numbers.collect()
}

fn open(header: &Header, section: Section, range: Range<u64>, slice: &[u8]) -> Result<Vec<u8>, PassageError> {
    let entry = header.section(section);
    slice::open(&entry.hash, entry.length, range, slice, Grain::Proof)
        .map_err(|source| PassageError::Slice { section, source })
}

/// Does a text start and end with words?
pub fn is_passage(text: &str) -> bool {
    let mut all = words(text);
    let first = all.next();
    let last = all.last().or_else(|| first.clone());
    first.is_some_and(|first| first.start == 0) && last.is_some_and(|last| last.end == text.len())
}

/// The words and gaps, in turn, of a text that starts with a word. A document's end is part of a gap.
fn elements(text: &[u8]) -> Vec<&[u8]> {
    let (mut list, mut start, mut end) = (Vec::new(), 0, None);
    for document in text.split(|byte| *byte == DOCUMENT_END) {
        // The last code point may be cut off.
        let readable = match std::str::from_utf8(document) {
            Ok(readable) => readable,
            Err(error) => std::str::from_utf8(&document[..error.valid_up_to()]).unwrap_or_default(),
        };
        for word in words(readable) {
            list.extend(end.map(|end: usize| &text[end..start + word.start]));
            list.push(&text[start + word.start..start + word.end]);
            end = Some(start + word.end);
        }
        start += document.len() + 1;
    }
    list.extend(end.filter(|end| *end < text.len()).map(|end| &text[end..]));
    list
}

/// The order of a suffix and a passage, and whether the one starts with the other's words.
fn compare(suffix: &[&[u8]], passage: &[&[u8]]) -> (Ordering, bool) {
    let is_start = suffix.len() >= passage.len() && suffix.iter().zip(passage).all(|(left, right)| left == right);
    (suffix.cmp(passage), is_start)
}
