//! Explaining a span to people: everyone who holds it, and the text around its earliest occurrence. Not agreed on by
//! validators, so nothing here decides a payment.

use super::SegmentError;
use super::order::is_continuation;
use super::segment::Segment;
use protocol::evidence::Holder;
use protocol::ids::ContributionId;
use protocol::segment::Section;
use protocol::words::words;
use std::collections::{BTreeMap, BTreeSet};

/// All occurrences of a span, counted exactly.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Occurrences {
    /// How often it stands in each contribution that holds it, in order of admission.
    pub contributions: BTreeMap<(u64, ContributionId), Contributed>,
    /// The text around the earliest occurrence.
    pub context: Option<Context>,
}

/// How one contribution holds a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contributed {
    /// Its earliest occurrence there.
    pub first: Holder,
    /// In how many of its documents it stands.
    pub documents: u64,
    /// How often it stands there in all.
    pub occurrences: u64,
    /// Whose contribution it is.
    pub contributor: [u8; 32],
}

/// A passage with the text around it, cut at code points.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// The text before it.
    pub before: String,
    /// The passage.
    pub passage: String,
    /// The text behind it.
    pub after: String,
}

impl Occurrences {
    /// The earliest occurrence, which is the one that is paid.
    pub fn holder(&self) -> Option<Holder> {
        self.contributions.values().next().map(|contributed| contributed.first)
    }

    /// The earliest occurrence in each later contribution, earliest first, at most `limit` of them.
    pub fn later(&self, limit: usize) -> impl Iterator<Item = Holder> {
        self.contributions.values().skip(1).take(limit).map(|contributed| contributed.first)
    }

    /// In how many documents it stands.
    pub fn documents(&self) -> u64 {
        self.contributions.values().map(|contributed| contributed.documents).sum()
    }

    /// In how many contributors' documents it stands.
    pub fn contributors(&self) -> u64 {
        let distinct: BTreeSet<&[u8; 32]> = self.contributions.values().map(|found| &found.contributor).collect();
        distinct.len() as u64
    }

    /// How often it stands anywhere.
    pub fn occurrences(&self) -> u64 {
        self.contributions.values().map(|contributed| contributed.occurrences).sum()
    }

    /// The occurrences in two segments without common documents.
    pub fn merge(mut self, other: Self) -> Self {
        if other.holder().is_some_and(|theirs| self.holder().is_none_or(|ours| theirs < ours)) {
            self.context = other.context;
        }
        for (key, theirs) in other.contributions {
            self.add(key, theirs);
        }
        self
    }

    fn add(&mut self, key: (u64, ContributionId), more: Contributed) {
        let add = |known: &mut Contributed| {
            known.first = known.first.min(more.first);
            known.documents += more.documents;
            known.occurrences += more.occurrences;
        };
        self.contributions.entry(key).and_modify(add).or_insert(more);
    }
}

impl Segment {
    /// Where `passage`, the text of a span, stands in this segment's documents, with up to `around` bytes of text on each
    /// side of its earliest occurrence. Takes time in proportion to the number of occurrences.
    ///
    /// # Errors
    /// When the file is damaged.
    pub fn explain(&self, passage: &str, around: usize) -> Result<Occurrences, SegmentError> {
        let mut found = Occurrences::default();
        let all = words(passage);
        let (mut first, mut last) = (None, None);
        for word in all {
            first = first.or(Some(word.start));
            last = Some(word.end);
        }
        if (first, last) != (Some(0), Some(passage.len())) {
            return Ok(found); // Not the text of a span, which starts and ends with words.
        }
        let mut places = Vec::new();
        self.suffixes.each(&self.sections, self.occurrences_of(passage)?, |place| places.push(place))?;
        places.sort_unstable();
        found.context = places.first().map(|place| self.context(*place, passage.len(), around)).transpose()?;
        let mut rest = places.as_slice();
        while let Some(&place) = rest.first() {
            // All that stand in one document.
            let number = self.document_at(place)?;
            let (record, first, end) = (self.document(number)?, self.holder_at(place)?, self.bounds(number)?.end);
            let here = rest.partition_point(|place| (*place as usize) < end).max(1);
            let (occurrences, contributor) = (here as u64, self.contributor(record.contributor)?);
            found.add((first.order, first.contribution), Contributed { first, documents: 1, occurrences, contributor });
            rest = &rest[here..];
        }
        Ok(found)
    }

    fn context(&self, place: u32, length: usize, around: usize) -> Result<Context, SegmentError> {
        let document = self.bounds(self.document_at(place)?)?;
        let (start, end) = (place as usize, place as usize + length);
        let before = start.saturating_sub(around).max(document.start);
        let after = end.saturating_add(around).min(document.end);
        let bytes = self.sections.get(Section::Text, before..after)?;
        let wrong = SegmentError::Contradiction { section: Section::Text };
        if before > start || start > end || end > after || bytes.len() != after - before {
            return Err(wrong);
        }
        let (head, rest) = bytes.split_at(start - before);
        let (passage, tail) = rest.split_at(end - start);
        // Cut at code points: the first one may have begun before, the last one may go on behind.
        let from = head.iter().position(|byte| !is_continuation(*byte)).unwrap_or(head.len());
        let goes_on =
            self.sections.get(Section::Text, after..after + 1)?.first().is_some_and(|byte| is_continuation(*byte));
        let cut = goes_on.then(|| tail.iter().rposition(|byte| !is_continuation(*byte)).unwrap_or(0));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Context {
            before: text(&head[from..]),
            passage: text(passage),
            after: text(&tail[..cut.unwrap_or(tail.len())]),
        })
    }
}
