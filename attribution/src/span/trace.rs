//! Tracing texts through an index: what of each stands in whose documents, for people and programs that are not part
//! of a network. By the same rules and in the same arithmetic as the network's.

use super::index::{Index, IndexError};
use super::order::Agreement;
use super::search::Search;
use super::{Occurrences, SegmentError};
use protocol::evidence::{Answer, MIN_SPAN_BITS, PaidSpan, attribute, divide, weigh};
use protocol::ids::DataNetId;
use std::collections::BTreeMap;

/// The whole, in parts per million.
pub const MILLION: u128 = 1_000_000;

/// What of a text stands in whose documents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// Words of the text.
    pub words: u32,
    /// Words of it that stand in paid spans.
    pub covered_words: u32,
    /// Spans, ascending.
    pub spans: Vec<TracedSpan>,
    /// The parts of those that are paid, each with who held it first, ascending.
    pub parts: Vec<PaidSpan>,
    /// Who is owed what, most first.
    pub shares: Vec<Share>,
}

/// A passage of the text that stands in documents and in which no longer one holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracedSpan {
    /// Its first byte.
    pub start: u32,
    /// The byte after its last.
    pub end: u32,
    /// Its information beyond chance: bits times 2^16, 0 if there is none.
    pub bits_q16: u64,
    /// Is it among the heaviest spans that share no word?
    pub is_paid: bool,
    /// Where it stands, counted exactly.
    pub occurrences: Occurrences,
}

/// Which spans a trace lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Of those that are not paid, the ones of at least so many bits.
    pub min_bits: u64,
    /// None that occur more often than this, paid or not: counting their documents takes time in proportion.
    pub max_count: Option<u64>,
    /// With so many bytes of text on each side of the earliest occurrence.
    pub around: usize,
}

/// What a contributor is owed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// What people call the contributor.
    pub contributor: String,
    /// The sum of his parts of paid spans: bits times 2^16.
    pub bits_q16: u64,
    /// His part of all, in parts per million; together they are a million.
    pub ppm: u128,
}

/// The longest match from one word of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Longest {
    /// Where the word starts.
    pub start: u32,
    /// The most bytes from there, up to a code point's end, that stand somewhere from a word's start on.
    pub bytes: u32,
    /// How often these do.
    pub count: u64,
    /// The most bytes from there that end with a word, and stand somewhere as whole words.
    pub whole: u32,
    /// How often these do.
    pub whole_count: u64,
}

impl Index {
    /// Traces a text: the spans that are to be listed, and who is owed what.
    ///
    /// # Errors
    /// When a segment is damaged.
    pub fn trace(&self, answer: &Answer<'_>, listed: Listed) -> Result<Trace, IndexError> {
        let evidence = self.evidence(answer)?.into_evidence(answer, DataNetId::default());
        let attribution = attribute(answer, &evidence);
        let mut trace =
            Trace { words: attribution.total_words, covered_words: attribution.covered_words, ..Trace::default() };
        let mut owed: BTreeMap<String, u64> = BTreeMap::new();
        for paid in &attribution.paid {
            let name = self.contributor_of(&paid.span.holder)?;
            *owed.entry(name).or_default() += paid.bits_q16;
        }
        for weighed in weigh(answer, &evidence) {
            let span = weighed.span;
            let is_paid = attribution.spans.binary_search_by_key(&span.start, |paid| paid.span.start).is_ok();
            if !is_paid && weighed.bits_q16 < listed.min_bits << 16 {
                continue;
            }
            let passage = &answer.text()[span.start as usize..span.end as usize];
            if let Some(most) = listed.max_count
                && self.count(passage)? > most
            {
                continue;
            }
            let occurrences = self.explain(passage, listed.around)?;
            let (start, end, bits_q16) = (span.start, span.end, weighed.bits_q16);
            trace.spans.push(TracedSpan { start, end, bits_q16, is_paid, occurrences });
        }
        let weights: Vec<(String, u64)> = owed.into_iter().collect();
        // No weight, no shares.
        let parts = divide(MILLION, &weights).unwrap_or_default();
        let share = |((contributor, bits_q16), (_, ppm))| Share { contributor, bits_q16, ppm };
        trace.shares = weights.into_iter().zip(parts).map(share).collect();
        trace.parts = attribution.paid;
        trace.shares.sort_by(|left, right| {
            right.bits_q16.cmp(&left.bits_q16).then_with(|| left.contributor.cmp(&right.contributor))
        });
        Ok(trace)
    }

    /// The longest match from each word of a text.
    ///
    /// # Errors
    /// When a segment is damaged.
    pub fn longest(&self, answer: &Answer<'_>) -> Result<Vec<Longest>, IndexError> {
        let searches = self.segments().map(|segment| self.in_segment(segment, Search::new(segment, answer)));
        let searches = searches.collect::<Result<Vec<_>, _>>()?;
        let found = (0..answer.words().len()).map(|word| longest(&searches, word, answer).map_err(IndexError::from));
        found.collect()
    }
}

/// The longest match from a word of the answer in all segments.
pub(super) fn longest(searches: &[Search<'_>], word: usize, answer: &Answer<'_>) -> Result<Longest, SegmentError> {
    let (mut bytes, mut whole) = (0, 0);
    for search in searches {
        let found = search.longest_from(word)?;
        (bytes, whole) = (bytes.max(found.0), whole.max(found.1));
    }
    let (mut count, mut whole_count) = (0, 0);
    for search in searches {
        count += search.count_prefix(word, bytes)?;
        whole_count += search.count_whole(word, whole)?;
    }
    let narrow = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
    let start = answer.words()[word].start;
    Ok(Longest { start, bytes: narrow(bytes), count, whole: narrow(whole), whole_count })
}

impl Search<'_> {
    /// How many bytes match from a word on, up to a code point's end, and up to a word's.
    fn longest_from(&self, word: usize) -> Result<(usize, usize), SegmentError> {
        let (text, from) = (self.answer.text(), self.answer.words()[word].start as usize);
        let within = self.word_range(word);
        let (within, known) = match within.is_empty() {
            true => (0..self.segment.suffixes.len(), Agreement::bytes(0)),
            false => (within, self.known(word)),
        };
        let (_, longest) = self.segment.bound(within, known, &text[from..], |_| false)?;
        let bytes =
            (0..=longest.bytes.max(known.bytes)).rev().find(|end| text.is_char_boundary(from + end)).unwrap_or(0);
        let reached = from + longest.max(known).bytes_of_words();
        let last = self.answer.words().partition_point(|word| word.end as usize <= reached);
        let whole = if last > word { self.answer.words()[last - 1].end as usize - from } else { 0 };
        Ok((bytes, whole))
    }

    /// How often so many bytes from a word on stand in the segment from a word's start on.
    fn count_prefix(&self, word: usize, bytes: usize) -> Result<u64, SegmentError> {
        if bytes == 0 {
            return Ok(0);
        }
        let from = self.answer.words()[word].start as usize;
        let prefix = &self.answer.text()[from..from + bytes];
        let known = self.known(word);
        let (within, known) = match bytes > known.bytes {
            // What follows the word does not join it.
            true => (self.word_range(word), known),
            false => (0..self.segment.suffixes.len(), Agreement::bytes(0)),
        };
        let end = within.end;
        let (start, _) = self.segment.bound(within, known, prefix, |_| false)?;
        let (end, _) = self.segment.bound(start..end, known, prefix, |agrees| agrees.bytes >= bytes)?;
        Ok((end - start) as u64)
    }

    /// How often so many bytes from a word on, which end with a word, stand in the segment as whole words.
    fn count_whole(&self, word: usize, bytes: usize) -> Result<u64, SegmentError> {
        let within = self.word_range(word);
        if bytes == 0 || within.is_empty() {
            return Ok(0);
        }
        let from = self.answer.words()[word].start as usize;
        let range = self.segment.narrowed(within, self.known(word), &self.answer.text()[from..from + bytes])?;
        Ok(range.len() as u64)
    }
}

/// The least bits of a span that is paid.
pub const PAID_BITS: u64 = MIN_SPAN_BITS;
