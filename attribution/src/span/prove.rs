//! Making the proofs of [`protocol::passage`] out of a segment, and looking for a segment that was made wrongly.

use super::SegmentError;
use super::segment::Segment;
use protocol::passage::{HolderProof, Inversion, MARGIN, MAX_PLACES, PassageProof, borders, packed_range, shown};
use protocol::segment::{DOCUMENT_BYTES, Section};
use protocol::slice::{Grain, Sliced};
use std::ops::Range;

/// Bytes of a document's record.
const EACH: u64 = DOCUMENT_BYTES as u64;

/// Cuts slices of a segment's sections; hashes each section once.
pub struct Prover<'a> {
    segment: &'a Segment,
    text: Sliced<'a>,
    suffixes: Sliced<'a>,
    documents: Sliced<'a>,
    contributions: Sliced<'a>,
}

impl std::fmt::Debug for Prover<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Prover").field("root", &self.segment.root()).finish_non_exhaustive()
    }
}

impl<'a> Prover<'a> {
    /// Hashes what proofs are cut from: about a second for each gigabyte.
    ///
    /// # Errors
    /// When the file is damaged.
    pub fn new(segment: &'a Segment) -> Result<Self, SegmentError> {
        let sliced = |section| segment.sections.all(section).map(|bytes| Sliced::new(bytes, Grain::Proof));
        Ok(Self {
            text: sliced(Section::Text)?,
            suffixes: sliced(Section::Suffixes)?,
            documents: sliced(Section::Documents)?,
            contributions: sliced(Section::Contributions)?,
            segment,
        })
    }

    /// Proves how often a passage, which starts and ends with words, stands in the segment, and where first.
    ///
    /// # Errors
    /// When it is no passage; when the file is damaged.
    pub fn passage(&self, passage: &str) -> Result<PassageProof, SegmentError> {
        let (segment, whole) = (self.segment, self.segment.suffixes.len());
        // By one search over all suffixes, also where the first word does not occur.
        let nothing = super::order::Agreement::bytes(0);
        let found = segment.narrowed(0..whole, nothing, passage)?;
        let header = segment.header();
        let (first, count) = (found.start as u64, found.len() as u64);
        let mut suffixes = Vec::new();
        for range in shown(header.words, first, count) {
            suffixes.push(self.cut(&self.suffixes, Section::Suffixes, packed_range(&range, header.place_bits()))?);
        }
        let mut texts = Vec::new();
        for number in borders(header.words, first, count) {
            texts.push(self.text_of(number, passage.len() as u64 + MARGIN)?);
        }
        let earliest = match count <= MAX_PLACES {
            true => segment.minima.smallest(&segment.sections, segment.suffixes, found)?,
            false => None,
        };
        let holder = earliest.map(|place| self.holder(place)).transpose()?;
        Ok(PassageProof { header: header.to_bytes().to_vec(), first, count, suffixes, texts, holder })
    }

    /// Two neighbouring suffixes that are in the wrong order, if there are any. Compares each with the next: it takes a
    /// while, and as long as the text has repeats.
    ///
    /// # Errors
    /// When the file is damaged.
    pub fn inversion(&self) -> Result<Option<Inversion>, SegmentError> {
        let segment = self.segment;
        let text = segment.sections.all(Section::Text)?;
        let mut before: Option<u32> = None;
        for number in 0..segment.suffixes.len() {
            let place = segment.suffixes.get(&segment.sections, number)?;
            let last = before.replace(place);
            let Some((last, left)) = last.and_then(|last| Some((last, text.get(last as usize..)?))) else { continue };
            let right = text.get(place as usize..).ok_or(SegmentError::Contradiction { section: Section::Suffixes })?;
            let agreed = left.iter().zip(right).take_while(|(left, right)| left == right).count();
            if !super::order::is_in_order(left, right, agreed) {
                let (first, length) = (number as u64 - 1, agreed as u64 + MARGIN);
                let bytes = packed_range(&(first..first + 2), segment.header().place_bits());
                let part = |place: u32| self.text_at(place, length);
                return Ok(Some(Inversion {
                    header: segment.header().to_bytes().to_vec(),
                    first,
                    suffixes: self.cut(&self.suffixes, Section::Suffixes, bytes)?,
                    length,
                    texts: [part(last)?, part(place)?],
                }));
            }
        }
        Ok(None)
    }

    fn holder(&self, place: u32) -> Result<HolderProof, SegmentError> {
        let number = self.segment.document_at(place)?;
        let record = self.segment.document(number)?;
        let count = u64::from(number + 1 < self.segment.documents()) + 1;
        let (records, id) = (u64::from(number) * EACH, u64::from(record.contribution) * 32);
        Ok(HolderProof {
            number,
            records: self.cut(&self.documents, Section::Documents, records..records + count * EACH)?,
            contribution: self.cut(&self.contributions, Section::Contributions, id..id + 32)?,
        })
    }

    fn text_of(&self, number: u64, length: u64) -> Result<Vec<u8>, SegmentError> {
        let number = usize::try_from(number).unwrap_or(usize::MAX);
        self.text_at(self.segment.suffixes.get(&self.segment.sections, number)?, length)
    }

    fn text_at(&self, place: u32, length: u64) -> Result<Vec<u8>, SegmentError> {
        let place = u64::from(place);
        let end = (place + length).min(self.segment.header().length(Section::Text));
        self.cut(&self.text, Section::Text, place..end)
    }

    fn cut(&self, sliced: &Sliced<'_>, section: Section, range: Range<u64>) -> Result<Vec<u8>, SegmentError> {
        sliced.cut(range).map_err(|_| SegmentError::Contradiction { section })
    }
}

#[cfg(test)]
mod tests {
    use super::super::packed::pack;
    use super::*;
    use crate::span::{DocumentRef, SegmentBuilder};
    use proptest::prelude::*;
    use protocol::ids::ContributionId;
    use protocol::passage::PassageError;

    fn made(texts: &[String]) -> super::super::MadeSegment {
        let mut builder = SegmentBuilder::new();
        for (text, order) in texts.iter().zip(0..) {
            let contribution = ContributionId([u8::try_from(order).expect("few"); 32]);
            let (document, contributor, name, contributor_name) = (0, [0; 32], "", "");
            let origins = &[];
            let document =
                DocumentRef { order, contribution, document, contributor, name, contributor_name, text, origins };
            builder.add(document).expect("in order");
        }
        builder.finish().expect("small")
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

        /// Whoever puts any two suffixes in each other's place is found out, and whoever keeps to the order is not.
        #[test]
        fn suffixes_in_the_wrong_order_are_proved(
            texts in prop::collection::vec("[ab .é—日ก😀]{1,16}", 1..4), swapped in (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
        ) {
            let segment = made(&texts).into_segment().expect("memory");
            prop_assert_eq!(Prover::new(&segment).expect("sound").inversion().expect("sound"), None);
            let mut places = Vec::new();
            segment.suffixes.each(&segment.sections, 0..segment.suffixes.len(), |place| places.push(place)).expect("sound");
            prop_assume!(places.len() > 1);
            let (a, b) = (swapped.0.index(places.len()), swapped.1.index(places.len()));
            prop_assume!(a != b);
            places.swap(a, b);
            let bits = segment.header().place_bits();
            let wrong = made(&texts).with(Section::Suffixes, pack(places.into_iter(), bits)).into_segment().expect("memory");
            let proof = Prover::new(&wrong).expect("hashes fit").inversion().expect("sound").expect("it is out of order");
            prop_assert_eq!(proof.check().expect("it was just made"), wrong.root());
            // The same about a sound segment proves nothing.
            let sound = Prover::new(&segment).expect("sound");
            let range = packed_range(&(proof.first..proof.first + 2), bits);
            let slice = sound.cut(&sound.suffixes, Section::Suffixes, range).expect("sound");
            let first = usize::try_from(proof.first).expect("small");
            let text = |number| sound.text_at(segment.suffixes.get(&segment.sections, number).expect("sound"), proof.length).expect("sound");
            let texts = [text(first), text(first + 1)];
            let header = segment.header().to_bytes().to_vec();
            let accused = Inversion { header, suffixes: slice, texts, ..proof };
            let refused = matches!(accused.check(), Err(PassageError::NoInversion { .. }));
            prop_assert!(refused);
        }
    }
}
