//! Explaining a span to people: everyone who holds it, and the text around its earliest occurrence. Not agreed on by
//! validators, so nothing here decides a payment.

use super::SpanIndex;
use super::build::narrow;
use super::marked::is_continuation;
use protocol::evidence::Holder;
use protocol::ids::ContributionId;
use protocol::words::ends_word;
use std::collections::BTreeMap;
use std::ops::Range;

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

    /// How often it stands anywhere.
    pub fn occurrences(&self) -> u64 {
        self.contributions.values().map(|contributed| contributed.occurrences).sum()
    }

    /// The occurrences in two indices without common documents.
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

impl SpanIndex {
    /// Where `passage`, the text of a span, stands in this index's documents, with up to `around` bytes of text on each
    /// side of its earliest occurrence. Takes time in proportion to the number of occurrences.
    pub fn explain(&self, passage: &str, around: usize) -> Occurrences {
        let mut found = Occurrences::default();
        if !passage.chars().next_back().is_some_and(|last| ends_word(last, None)) {
            return found; // Not the text of a span: that ends with a word.
        }
        let mut places: Vec<u32> = self.suffixes.range(self.occurrences_of(passage)).collect();
        places.sort_unstable();
        let mut rest = places.as_slice();
        while let Some(&place) = rest.first() {
            // All that stand in one document.
            let first = self.holder_at(place);
            let end = self.document_bounds(place).end;
            let here = rest.partition_point(|place| *place < end);
            let occurrences = here as u64;
            found.add((first.order, first.contribution), Contributed { first, documents: 1, occurrences });
            rest = &rest[here..];
        }
        found.context = places.first().map(|place| self.context(*place, passage.len(), around));
        found
    }

    /// Where the document that holds a place starts and ends in the text, its end mark included.
    fn document_bounds(&self, place: u32) -> Range<u32> {
        let after = self.documents.partition_point(|document| document.start <= place);
        let end = self.documents.get(after).map_or(narrow(self.text.len()), |next| next.start);
        self.documents[after - 1].start..end
    }

    fn context(&self, place: u32, length: usize, around: usize) -> Context {
        let document = self.document_bounds(place);
        let (start, end) = (place as usize, place as usize + length);
        let mut before = start.saturating_sub(around).max(document.start as usize);
        let mut after = end.saturating_add(around).min(document.end as usize - 1);
        while is_continuation(self.text[before]) {
            before += 1;
        }
        while is_continuation(self.text[after]) {
            after -= 1;
        }
        let text = |range: Range<usize>| String::from_utf8_lossy(&self.text[range]).into_owned();
        Context { before: text(before..start), passage: text(start..end), after: text(end..after) }
    }
}
