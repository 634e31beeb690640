//! Making a segment.
//!
//! Not bytes are sorted, but words with the gaps behind them: each distinct pair of the two gets its rank, and the suffix
//! sorter orders the sequence of ranks, a tenth to a third as long as the text. That is the order of suffixes, since it
//! is defined word by word and gap by gap.

use super::SegmentError;
use super::minima::minima;
use super::packed::pack;
use super::sections::{Sections, group_values, root};
use super::segment::Segment;
use libsais::SuffixArrayConstruction;
use protocol::crypto;
use protocol::ids::{ContributionId, Hash32};
use protocol::segment::{DOCUMENT_END, DocumentRecord, Header, MAX_TEXT_BYTES, SECTIONS, SectionEntry, bits_for};
use protocol::words::words;
use std::cmp::Ordering;
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io::{self, Write};

/// Bytes of memory that the sorting of one word takes: its rank, its place among the suffixes, and where it starts.
const WORD_BYTES: usize = 12;
/// Bytes of memory of one distinct pair: itself, its rank and its slots.
const PAIR_BYTES: usize = size_of::<Pair>() + 24 + 2 * size_of::<u32>();

/// A document to be indexed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DocumentRef<'a> {
    /// The contribution's place in the order of admission.
    pub order: u64,
    /// The contribution.
    pub contribution: ContributionId,
    /// The document's index in the contribution.
    pub document: u32,
    /// Whose contribution it is.
    pub contributor: [u8; 32],
    /// What people call the document; may be empty.
    pub name: &'a str,
    /// What people call the contributor; may be empty.
    pub contributor_name: &'a str,
    /// Its text.
    pub text: &'a str,
    /// Where the words of folded text stood before; empty for text that is not folded.
    pub origins: &'a [u8],
}

/// Why documents cannot be indexed together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// More text than one segment can hold.
    #[error("a segment holds {MAX_TEXT_BYTES} bytes of text at most; with this document it would have {bytes}")]
    TooLarge {
        /// How many bytes there would be.
        bytes: u64,
    },
    /// More bytes of names than one segment can hold.
    #[error("a segment holds {} bytes of names at most; with this document it would have {bytes}", u32::MAX)]
    Names {
        /// How many bytes there would be.
        bytes: u64,
    },
    /// A document was added twice.
    #[error("document {document} of contribution {contribution} was added twice")]
    Twice {
        /// The contribution.
        contribution: ContributionId,
        /// The document's index in it.
        document: u32,
    },
    /// Two contributions claim the same place in the order of admission.
    #[error("contributions {first} and {second} both claim place {order} in the order of admission")]
    SameOrder {
        /// The place.
        order: u64,
        /// One contribution.
        first: ContributionId,
        /// The other.
        second: ContributionId,
    },
    /// A document was added behind one that was admitted later.
    #[error("document {document} of the contribution admitted in place {order} was added behind one admitted later")]
    Order {
        /// The contribution's place.
        order: u64,
        /// The document's index in it.
        document: u32,
    },
    /// The suffix sorter failed, which it does when memory runs out.
    #[error("sorting {words} words failed: {cause}")]
    Sorting {
        /// How many words there are.
        words: usize,
        /// What the sorter said.
        cause: String,
    },
}

/// Collects documents in the order of their admission, and makes a segment of them.
#[derive(Debug, Default)]
pub struct SegmentBuilder {
    /// The rule by which the texts are folded; 0 for none.
    fold: u32,
    text: Vec<u8>,
    /// Where each word starts.
    starts: Vec<u32>,
    /// The number of each word with the gap behind it, of all but the last.
    pairs: Vec<u32>,
    vocabulary: Vocabulary,
    /// Length of the last word, whose gap goes on.
    open: Option<u32>,
    documents: Vec<DocumentRecord>,
    document_names: Names,
    contributions: Numbered,
    contributors: Numbered,
    contributor_names: Names,
    origins: Names,
}

/// Ids by number, in order of first use.
#[derive(Debug, Default)]
struct Numbered {
    ids: Vec<[u8; 32]>,
    numbers: HashMap<[u8; 32], u32>,
}

impl Numbered {
    /// The number of an id, and whether it is a new one.
    fn number(&mut self, id: [u8; 32]) -> (u32, bool) {
        let next = narrow(self.ids.len());
        let number = *self.numbers.entry(id).or_insert(next);
        if number == next {
            self.ids.push(id);
        }
        (number, number == next)
    }
}

/// Names one after the other, and where each ends.
#[derive(Debug, Default)]
struct Names {
    ends: Vec<u32>,
    bytes: Vec<u8>,
}

impl Names {
    fn push(&mut self, name: &[u8]) {
        self.bytes.extend_from_slice(name);
        self.ends.push(narrow(self.bytes.len()));
    }

    fn section(&self) -> Vec<u8> {
        self.ends.iter().flat_map(|end| end.to_le_bytes()).chain(self.bytes.iter().copied()).collect()
    }

    fn with(&self, name: &[u8]) -> Result<(), BuildError> {
        let bytes = (self.bytes.len() + name.len() + 4 * (self.ends.len() + 1)) as u64;
        if bytes > u32::MAX.into() { Err(BuildError::Names { bytes }) } else { Ok(()) }
    }
}

impl SegmentBuilder {
    /// A builder without documents.
    pub fn new() -> Self {
        Self::default()
    }

    /// A builder for texts that were folded by this rule.
    pub fn folded(fold: u32) -> Self {
        Self { fold, ..Self::default() }
    }

    /// Adds a document, which was admitted after those before it.
    ///
    /// # Errors
    /// When it does not fit or stands at the wrong place; then nothing was added.
    pub fn add(&mut self, document: DocumentRef<'_>) -> Result<(), BuildError> {
        self.check(&document)?;
        let DocumentRef { order, contribution, document: index, contributor, name, contributor_name, text, origins } =
            document;
        let start = narrow(self.text.len());
        self.text.extend_from_slice(text.as_bytes());
        self.text.push(DOCUMENT_END);
        for word in words(text) {
            let at = start + narrow(word.start);
            self.close_word(at);
            self.starts.push(at);
            self.open = Some(narrow(word.len()));
        }
        let (contribution, _) = self.contributions.number(contribution.0);
        let (contributor, is_new) = self.contributors.number(contributor);
        if is_new {
            self.contributor_names.push(contributor_name.as_bytes());
        }
        self.document_names.push(name.as_bytes());
        if self.fold > 0 {
            self.origins.push(origins);
        }
        self.documents.push(DocumentRecord { start, document: index, order, contribution, contributor });
        Ok(())
    }

    fn check(&self, new: &DocumentRef<'_>) -> Result<(), BuildError> {
        let bytes = self.text.len() as u64 + new.text.len() as u64 + 1;
        if bytes > MAX_TEXT_BYTES {
            return Err(BuildError::TooLarge { bytes });
        }
        self.document_names.with(new.name.as_bytes())?;
        self.origins.with(new.origins)?;
        self.contributor_names.with(new.contributor_name.as_bytes())?;
        let (Some(last), contribution) = (self.documents.last(), new.contribution) else { return Ok(()) };
        let before = ContributionId(self.contributions.ids[last.contribution as usize]);
        let (order, document) = (new.order, new.document);
        if order == last.order && before != contribution {
            return Err(BuildError::SameOrder { order, first: before, second: contribution });
        }
        match (order, document).cmp(&(last.order, last.document)) {
            Ordering::Less => Err(BuildError::Order { order, document }),
            Ordering::Equal => Err(BuildError::Twice { contribution, document }),
            Ordering::Greater => Ok(()),
        }
    }

    /// Takes in the last word with the gap behind it, which ends here.
    fn close_word(&mut self, end: u32) {
        if let (Some(word), Some(&start)) = (self.open.take(), self.starts.last()) {
            self.pairs.push(self.vocabulary.number(&self.text, Pair { start, word, length: end - start }));
        }
    }

    /// Bytes of text so far, with an end mark for each document.
    pub fn text_bytes(&self) -> usize {
        self.text.len()
    }

    /// How many documents there are.
    pub fn documents(&self) -> usize {
        self.documents.len()
    }

    /// How many words there are.
    pub fn words(&self) -> usize {
        self.starts.len()
    }

    /// About how many bytes of memory making the segment will take at most, these documents included.
    pub fn memory_bytes(&self) -> usize {
        let names = self.document_names.bytes.len() + self.contributor_names.bytes.len() + self.origins.bytes.len();
        2 * self.text.len()
            + self.starts.len() * WORD_BYTES
            + self.vocabulary.pairs.len() * PAIR_BYTES
            + self.documents.len() * 2 * size_of::<DocumentRecord>()
            + 2 * names
    }

    /// Sorts the words and makes the segment.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn finish(mut self) -> Result<MadeSegment, BuildError> {
        self.close_word(narrow(self.text.len()));
        let Self {
            text,
            starts,
            pairs,
            vocabulary,
            documents,
            document_names,
            contributions,
            contributors,
            contributor_names,
            fold,
            origins,
            ..
        } = self;
        let (ranks, distinct) = vocabulary.ranks(&text, &pairs);
        let order = sort(pairs, &ranks)?;
        drop(ranks);
        let places = || order.iter().map(|word| starts[word.cast_unsigned() as usize]);
        let suffixes = pack(places(), bits_for(text.len() as u64));
        let minima = minima(places(), starts.len());
        let text_hash = hash(&text);
        let firsts = distinct.iter().map(|word| word.first).chain([narrow(starts.len())]);
        let firsts = pack(firsts.collect::<Vec<_>>().into_iter(), bits_for(starts.len() as u64));
        let slots = slots(&text, &text_hash, &distinct);
        let sections = [
            text,
            suffixes,
            minima,
            firsts,
            slots,
            documents.iter().flat_map(|document| document.to_bytes()).collect(),
            contributions.ids.concat(),
            contributors.ids.concat(),
            document_names.section(),
            contributor_names.section(),
            origins.section(),
        ];
        let counts = Counts {
            fold,
            documents: narrow(documents.len()),
            contributions: narrow(contributions.ids.len()),
            contributors: narrow(contributors.ids.len()),
            words: starts.len() as u64,
            distinct: distinct.len() as u64,
        };
        Ok(MadeSegment::new(&counts, sections))
    }
}

/// How many there are of what a segment holds.
struct Counts {
    fold: u32,
    documents: u32,
    contributions: u32,
    contributors: u32,
    words: u64,
    distinct: u64,
}

/// A segment that was made and not written yet.
#[derive(Debug)]
pub struct MadeSegment {
    header: Header,
    sections: [Vec<u8>; SECTIONS],
    groups: Vec<u8>,
}

impl MadeSegment {
    fn new(counts: &Counts, sections: [Vec<u8>; SECTIONS]) -> Self {
        let groups: Vec<Vec<[u8; 32]>> = sections.iter().map(|section| group_values(section)).collect();
        let entry = |index: usize| {
            let (section, values): (&Vec<u8>, &Vec<[u8; 32]>) = (&sections[index], &groups[index]);
            let length = section.len() as u64;
            SectionEntry { length, hash: if values.is_empty() { hash(section) } else { root(values, length) } }
        };
        let &Counts { fold, documents, contributions, contributors, words, distinct } = counts;
        let sections_of = std::array::from_fn(entry);
        let header = Header { fold, documents, contributions, contributors, words, distinct, sections: sections_of };
        Self { header, sections, groups: groups.concat().concat() }
    }

    /// The same with another section, as somebody would make it who does not keep to the rules.
    #[cfg(test)]
    pub(super) fn with(mut self, section: protocol::segment::Section, bytes: Vec<u8>) -> Self {
        self.sections[section as usize] = bytes;
        let Header { fold, documents, contributions, contributors, words, distinct, .. } = self.header;
        Self::new(&Counts { fold, documents, contributions, contributors, words, distinct }, self.sections)
    }

    /// Its header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Writes the segment.
    ///
    /// # Errors
    /// When `out` fails.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let header = self.header.to_bytes();
        out.write_all(&header)?;
        let mut at = header.len() as u64;
        let parts = self.sections.iter().chain([&self.groups]);
        for (range, part) in self.header.layout().into_iter().zip(parts) {
            let gap = usize::try_from(range.start - at).unwrap_or(usize::MAX);
            out.write_all(&[0; 64][..gap.min(64)])?;
            out.write_all(part)?;
            at = range.end;
        }
        Ok(())
    }

    /// The segment, in memory.
    ///
    /// # Errors
    /// None that memory can cause.
    pub fn into_segment(self) -> Result<Segment, SegmentError> {
        let mut bytes = Vec::with_capacity(usize::try_from(self.header.file_bytes()).unwrap_or(0));
        self.write(&mut bytes).map_err(|cause| SegmentError::Io { path: "memory".into(), cause })?;
        Ok(Segment::new(Sections::in_memory(self.header, bytes)))
    }
}

fn hash(bytes: &[u8]) -> Hash32 {
    crypto::document_hash(bytes)
}

/// The words in the order of what follows each.
fn sort(mut pairs: Vec<u32>, ranks: &[u32]) -> Result<Vec<i32>, BuildError> {
    let mut sequence: Vec<i32> = Vec::with_capacity(pairs.len());
    sequence.extend(pairs.drain(..).map(|pair| ranks[pair as usize].cast_signed()));
    drop(pairs);
    if sequence.is_empty() {
        return Ok(Vec::new());
    }
    let words = sequence.len();
    let sorted = SuffixArrayConstruction::for_text_mut(&mut sequence).in_owned_buffer32().single_threaded().run();
    Ok(sorted.map_err(|error| BuildError::Sorting { words, cause: error.to_string() })?.into_vec())
}

/// A word of the text with the gap behind it.
#[derive(Clone, Copy, Debug)]
struct Pair {
    start: u32,
    /// Length of the word.
    word: u32,
    /// Length of both.
    length: u32,
}

impl Pair {
    fn both<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        &text[self.start as usize..(self.start + self.length) as usize]
    }

    fn word<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        &text[self.start as usize..(self.start + self.word) as usize]
    }

    /// The first bytes of the word as a number in their order; what ends first stands first, as no word has a byte 0.
    fn key(&self, text: &[u8]) -> u64 {
        let word = self.word(text);
        let mut first = [0; 8];
        let known = word.len().min(8);
        first[..known].copy_from_slice(&word[..known]);
        u64::from_be_bytes(first)
    }
}

/// A distinct word: where it stands, and its first suffix.
struct Distinct {
    start: u32,
    length: u32,
    first: u32,
}

/// The distinct pairs of words and gaps, by number. Hashed with a key of this process, so that no text is slow to take in;
/// the numbers do not depend on it.
#[derive(Debug, Default)]
struct Vocabulary {
    hasher: RandomState,
    /// Numbers of pairs plus one; a power of two of them, at most half in use.
    slots: Vec<u32>,
    pairs: Vec<Pair>,
}

impl Vocabulary {
    fn number(&mut self, text: &[u8], pair: Pair) -> u32 {
        if self.pairs.len() * 2 >= self.slots.len() {
            self.grow(text);
        }
        let slot = self.slot(text, &pair);
        if self.slots[slot] == 0 {
            self.pairs.push(pair);
            self.slots[slot] = narrow(self.pairs.len());
        }
        self.slots[slot] - 1
    }

    /// The slot that holds a pair equal to this one, or the free one where it belongs.
    fn slot(&self, text: &[u8], pair: &Pair) -> usize {
        let bytes = pair.both(text);
        let mask = self.slots.len() - 1;
        let is_it = |number: u32| self.pairs[number as usize - 1].both(text) == bytes;
        // Only the low bits count, of which there are never more than a pointer's.
        let mut slot = usize::try_from(self.hasher.hash_one(bytes) & mask as u64).unwrap_or(0);
        while self.slots[slot] != 0 && !is_it(self.slots[slot]) {
            slot = (slot + 1) & mask;
        }
        slot
    }

    fn grow(&mut self, text: &[u8]) {
        self.slots = vec![0; (self.slots.len() * 2).max(1024)];
        for number in 0..self.pairs.len() {
            let slot = self.slot(text, &self.pairs[number]);
            self.slots[slot] = narrow(number + 1);
        }
    }

    /// The rank of each pair by its number, and the distinct words in order. `used` are the pairs of all words.
    fn ranks(self, text: &[u8], used: &[u32]) -> (Vec<u32>, Vec<Distinct>) {
        let pairs = self.pairs;
        let mut counts = vec![0_u32; pairs.len()];
        used.iter().for_each(|pair| counts[*pair as usize] += 1);
        let mut order: Vec<(u64, u32)> =
            pairs.iter().zip(0_u32..).map(|(pair, number)| (pair.key(text), number)).collect();
        order.sort_unstable_by(|left, right| {
            let parts = |number: u32| {
                let pair = &pairs[number as usize];
                (pair.word(text), pair.both(text))
            };
            // Of equal words, the longer text is that with more or greater bytes of gap.
            left.0.cmp(&right.0).then_with(|| parts(left.1).cmp(&parts(right.1)))
        });
        let (mut ranks, mut distinct) = (vec![0; pairs.len()], Vec::<Distinct>::new());
        let mut first = 0;
        for (&(_, number), rank) in order.iter().zip(0_u32..) {
            ranks[number as usize] = rank;
            let pair = &pairs[number as usize];
            let last = distinct.last().map(|word| &text[word.start as usize..(word.start + word.length) as usize]);
            if last != Some(pair.word(text)) {
                distinct.push(Distinct { start: pair.start, length: pair.word, first });
            }
            first += counts[number as usize];
        }
        (ranks, distinct)
    }
}

/// The section of slots: each word at the first free slot from its hash on, in order.
fn slots(text: &[u8], text_hash: &Hash32, distinct: &[Distinct]) -> Vec<u8> {
    let mut slots = vec![0_u32; distinct.len() + distinct.len() / 2 + 1];
    for (word, number) in distinct.iter().zip(1_u32..) {
        let bytes = &text[word.start as usize..(word.start + word.length) as usize];
        let mut slot = first_slot(text_hash, bytes, slots.len());
        while slots[slot] != 0 {
            slot = (slot + 1) % slots.len();
        }
        slots[slot] = number;
    }
    pack(slots.into_iter(), bits_for(distinct.len() as u64))
}

/// The slot from which on a word is looked for, of so many.
pub(super) fn first_slot(text_hash: &Hash32, word: &[u8], slots: usize) -> usize {
    let number = (u128::from(crypto::word_number(text_hash, word)) * slots as u128) >> 64;
    usize::try_from(number).unwrap_or(0)
}

/// Places, counts and lengths all fit: a segment has at most `MAX_TEXT_BYTES`.
pub(super) fn narrow(number: usize) -> u32 {
    u32::try_from(number).expect("a segment has less than 2^31 bytes")
}
