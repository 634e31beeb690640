//! A segment: documents and the order of their words, immutable.

use super::minima::Minima;
use super::packed::Packed;
use super::sections::Sections;
use super::{DocumentRef, SegmentError};
use protocol::evidence::Holder;
use protocol::fold::FoldMap;
use protocol::ids::{ContributionId, Hash32};
use protocol::segment::{DOCUMENT_BYTES, DocumentRecord, Header, Section};
use protocol::words::words;
use std::ops::Range;
use std::path::Path;

/// An immutable index of documents, in memory or mapped from a file.
#[derive(Debug)]
pub struct Segment {
    pub(super) sections: Sections,
    /// Where words start in the text, in the order of suffixes.
    pub(super) suffixes: Packed,
    /// The first suffix of each distinct word.
    pub(super) firsts: Packed,
    /// The numbers of distinct words plus one by hash.
    pub(super) slots: Packed,
    pub(super) minima: Minima,
}

impl Segment {
    pub(super) fn new(sections: Sections) -> Self {
        let header = sections.header();
        let narrow = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        Self {
            suffixes: Packed::new(Section::Suffixes, header.place_bits(), narrow(header.words)),
            firsts: Packed::new(Section::Words, header.suffix_bits(), narrow(header.distinct + 1)),
            slots: Packed::new(Section::Slots, header.slot_bits(), narrow(header.slots())),
            minima: Minima::new(header.words),
            sections,
        }
    }

    /// Opens a segment. Reads its header; the rest is mapped, and checked as it is used.
    ///
    /// # Errors
    /// When there is no such file, or it is no segment, cut short, altered, or of another version.
    pub fn open(path: &Path) -> Result<Self, SegmentError> {
        Ok(Self::new(Sections::open(path)?))
    }

    /// What it starts with.
    pub fn header(&self) -> &Header {
        self.sections.header()
    }

    /// The hash by which everything in it can be proved.
    pub fn root(&self) -> Hash32 {
        self.sections.root()
    }

    /// How many words its documents have.
    pub fn words(&self) -> u64 {
        self.header().words
    }

    /// How many documents there are.
    pub fn documents(&self) -> u32 {
        self.header().documents
    }

    /// Bytes of the whole segment.
    pub fn bytes(&self) -> usize {
        self.sections.len()
    }

    /// The whole segment as it is written to a file; not checked.
    pub fn raw(&self) -> &[u8] {
        self.sections.raw()
    }

    /// Checks all of its bytes against its root.
    ///
    /// # Errors
    /// When they are not those that it was made of.
    pub fn verify(&self) -> Result<(), SegmentError> {
        self.sections.verify()
    }

    /// A document's record by its number.
    ///
    /// # Errors
    /// When there is none, or the file is damaged.
    pub fn document(&self, number: u32) -> Result<DocumentRecord, SegmentError> {
        let at = number as usize * DOCUMENT_BYTES;
        let bytes = self.sections.get(Section::Documents, at..at + DOCUMENT_BYTES)?;
        bytes
            .first_chunk()
            .map(DocumentRecord::from_bytes)
            .ok_or(SegmentError::Contradiction { section: Section::Documents })
    }

    /// The number of the document that holds a place in the text.
    pub(super) fn document_at(&self, place: u32) -> Result<u32, SegmentError> {
        let (mut low, mut high) = (0, self.documents());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.document(middle)?.start <= place {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low.checked_sub(1).ok_or(SegmentError::Contradiction { section: Section::Documents })
    }

    /// Where a document starts and ends in the text, without its end mark.
    pub(super) fn bounds(&self, number: u32) -> Result<Range<usize>, SegmentError> {
        let end = match number + 1 {
            next if next < self.documents() => u64::from(self.document(next)?.start),
            _ => self.header().length(Section::Text),
        };
        let (start, end) = (self.document(number)?.start as usize, usize::try_from(end).unwrap_or(usize::MAX));
        if start < end { Ok(start..end - 1) } else { Err(SegmentError::Contradiction { section: Section::Documents }) }
    }

    /// The contribution with this number.
    ///
    /// # Errors
    /// When there is none, or the file is damaged.
    pub fn contribution(&self, number: u32) -> Result<ContributionId, SegmentError> {
        self.id(Section::Contributions, number).map(ContributionId)
    }

    /// The contributor with this number.
    ///
    /// # Errors
    /// When there is none, or the file is damaged.
    pub fn contributor(&self, number: u32) -> Result<[u8; 32], SegmentError> {
        self.id(Section::Contributors, number)
    }

    fn id(&self, section: Section, number: u32) -> Result<[u8; 32], SegmentError> {
        let at = number as usize * 32;
        let bytes = self.sections.get(section, at..at + 32)?;
        bytes.first_chunk().copied().ok_or(SegmentError::Contradiction { section })
    }

    /// What people call a document.
    ///
    /// # Errors
    /// When there is none of this number, or the file is damaged.
    pub fn document_name(&self, number: u32) -> Result<&str, SegmentError> {
        self.name(Section::DocumentNames, number, self.header().documents)
    }

    /// What people call a contributor.
    ///
    /// # Errors
    /// When there is none of this number, or the file is damaged.
    pub fn contributor_name(&self, number: u32) -> Result<&str, SegmentError> {
        self.name(Section::ContributorNames, number, self.header().contributors)
    }

    fn name(&self, section: Section, number: u32, count: u32) -> Result<&str, SegmentError> {
        std::str::from_utf8(self.part(section, number, count)?).map_err(|_| SegmentError::Contradiction { section })
    }

    /// One of the parts of a section that says first where each of them ends.
    fn part(&self, section: Section, number: u32, count: u32) -> Result<&[u8], SegmentError> {
        let wrong = SegmentError::Contradiction { section };
        if number >= count {
            return Err(wrong);
        }
        let end = |number: u32| -> Result<usize, SegmentError> {
            let at = number as usize * 4;
            let bytes = self.sections.get(section, at..at + 4)?;
            Ok(bytes.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes)) as usize)
        };
        let start = number.checked_sub(1).map_or(Ok(0), end)?;
        let before = count as usize * 4;
        let (from, to) = (before + start, before + end(number)?);
        if from > to {
            return Err(wrong);
        }
        let part = self.sections.get(section, from..to)?;
        if part.len() == to - from { Ok(part) } else { Err(wrong) }
    }

    /// Where the words of a document's folded text stood before; empty where text is not folded.
    ///
    /// # Errors
    /// When there is no document of this number, or the file is damaged.
    pub fn origins(&self, number: u32) -> Result<&[u8], SegmentError> {
        match self.header().fold {
            0 => Ok(&[]),
            _ => self.part(Section::Origins, number, self.header().documents),
        }
    }

    /// Where in the document as it was contributed some words of its indexed text come from.
    ///
    /// # Errors
    /// When there is no document of this number, no word of it in that range, or the file is damaged.
    pub fn original(&self, number: u32, indexed: Range<u64>) -> Result<Range<u64>, SegmentError> {
        if self.header().fold == 0 {
            return Ok(indexed);
        }
        let wrong = |_| SegmentError::Contradiction { section: Section::Origins };
        let map = FoldMap::decode(self.origins(number)?, usize::MAX).map_err(wrong)?;
        let mut words = words(self.document_text(number)?).map(|word| word.start as u64).peekable();
        let mut count = |end: u64| std::iter::from_fn(|| words.next_if(|start| *start < end)).count();
        let before = count(indexed.start);
        let original = map.original(before..before + count(indexed.end));
        let original = original.ok_or(SegmentError::Contradiction { section: Section::Origins })?;
        Ok(original.start as u64..original.end as u64)
    }

    /// The text of a document.
    ///
    /// # Errors
    /// When there is none of this number, or the file is damaged.
    pub fn document_text(&self, number: u32) -> Result<&str, SegmentError> {
        let bytes = self.sections.get(Section::Text, self.bounds(number)?)?;
        std::str::from_utf8(bytes).map_err(|_| SegmentError::Contradiction { section: Section::Text })
    }

    /// Everything that it was made of, for making another one.
    ///
    /// # Errors
    /// When there is no document of this number, or the file is damaged.
    pub fn document_ref(&self, number: u32) -> Result<DocumentRef<'_>, SegmentError> {
        let record = self.document(number)?;
        Ok(DocumentRef {
            order: record.order,
            contribution: self.contribution(record.contribution)?,
            document: record.document,
            contributor: self.contributor(record.contributor)?,
            name: self.document_name(number)?,
            contributor_name: self.contributor_name(record.contributor)?,
            text: self.document_text(number)?,
            origins: self.origins(number)?,
        })
    }

    /// A place in the text as a place in admitted data.
    pub(super) fn holder_at(&self, place: u32) -> Result<Holder, SegmentError> {
        let record = self.document(self.document_at(place)?)?;
        let wrong = SegmentError::Contradiction { section: Section::Documents };
        Ok(Holder {
            order: record.order,
            contribution: self.contribution(record.contribution)?,
            document: record.document,
            offset: u64::from(place.checked_sub(record.start).ok_or(wrong)?),
        })
    }

    /// The text from a place on, as far as a comparison with so many bytes reads it: up to the end of the code point at
    /// which the two part.
    pub(super) fn text_at(&self, place: u32, length: usize) -> Result<&[u8], SegmentError> {
        let place = place as usize;
        self.sections.get(Section::Text, place..place.saturating_add(length).saturating_add(4))
    }

    /// Reads a byte of the text, so that it is near when it is looked at soon.
    pub(super) fn touch(&self, place: u32) {
        std::hint::black_box(self.sections.near(Section::Text, place as usize));
    }
}

#[cfg(test)]
mod tests {
    use super::super::prove::Prover;
    use super::super::search::Search;
    use super::*;
    use crate::span::SegmentBuilder;
    use proptest::prelude::*;
    use protocol::evidence::Answer;

    fn made() -> super::super::MadeSegment {
        let texts = ["one two three, four", "日本語 two three five", "", "two three four — one two"];
        let mut builder = SegmentBuilder::new();
        for (text, order) in texts.into_iter().zip(0..) {
            let contribution = ContributionId([u8::try_from(order).expect("few"); 32]);
            let document = DocumentRef {
                order,
                contribution,
                document: 0,
                contributor: [7; 32],
                name: "name",
                contributor_name: "who",
                text,
                origins: &[],
            };
            builder.add(document).expect("in order");
        }
        builder.finish().expect("small")
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

        /// A segment whose hashes fit and whose sections are nonsense is answered with errors or nonsense, never a panic.
        #[test]
        fn segments_against_the_rules_stop_nobody(
            section in prop::sample::select(&Section::ALL[..]), seed in prop::collection::vec(any::<u8>(), 1..24), keep in 0_usize..64,
        ) {
            let sound = made().into_segment().expect("memory");
            let old = sound.sections.all(section).expect("sound").to_vec();
            let bytes = old.iter().enumerate().map(|(at, byte)| if at < keep { *byte } else { seed[at % seed.len()] });
            let segment = made().with(section, bytes.collect()).into_segment().expect("memory");
            let answer = Answer::new("so one two three, four and 日本語 two three five one two").expect("short");
            let _ = segment.evidence(&answer);
            for passage in ["one two", "three", "two three five", "日本"] {
                let _ = segment.explain(passage, 9);
                if let Ok(prover) = Prover::new(&segment) {
                    let _ = prover.passage(passage).map(|proof| proof.check(passage));
                    let _ = prover.inversion();
                }
            }
            if let Ok(search) = Search::new(&segment, &answer) {
                for word in 0..answer.words().len() {
                    let _ = super::super::trace::longest(std::slice::from_ref(&search), word, &answer);
                }
            }
            for number in 0..5 {
                let _ = segment.document_ref(number);
            }
        }
    }
}
