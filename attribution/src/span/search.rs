//! Searching a segment for the spans of an answer.
//!
//! From each word the longest match is found by binary search. A start further right never matches less far, so the maximal
//! spans are the longest matches of those words that reach further than all before. Where a match is long, the words in it
//! are skipped: the next maximal span starts at the leftmost word from which the answer matches up to and including the
//! first word not reached so far, which is found by doubling steps leftwards.
//!
//! Whether a context in a maximal span stands anywhere before the span is seen among the suffixes that start with it, for
//! each context once.

use super::SegmentError;
use super::build::{first_slot, narrow};
use super::order::{Agreement, common_prefix, compare, starts_with_word};
use super::segment::Segment;
use protocol::evidence::{Answer, Frequencies, Holder, Partial, Span};
use protocol::segment::Section;
use std::cmp::Ordering;
use std::ops::Range;

/// Words of an answer that are searched for together: enough to wait for memory once for all of them.
const LANES: usize = 32;

/// Bytes that are looked at beyond those known to be equal, before more are.
const FIRST_REACH: usize = 256;

impl Segment {
    /// What this segment's documents say about an answer.
    ///
    /// # Errors
    /// When the file is damaged.
    pub fn evidence(&self, answer: &Answer<'_>) -> Result<Partial, SegmentError> {
        let search = Search::new(self, answer)?;
        let counts = search.ranges.iter().map(|range| range.len() as u64).collect();
        let spans = search.maximal_spans()?;
        let contexts = search.earlier_contexts(&spans)?;
        Ok(Partial::new(answer, spans, &contexts, Frequencies { words: self.words(), counts }))
    }

    /// Reads what finding these words will read first, step by step for all of them together, so that one waits for memory
    /// once for all.
    fn approach(&self, words: &[&str]) -> Result<(), SegmentError> {
        let text = &self.header().section(Section::Text).hash;
        let mut at: Vec<usize> = words.iter().map(|word| first_slot(text, word.as_bytes(), self.slots.len())).collect();
        for numbers in [self.slots, self.firsts, self.suffixes] {
            for number in &mut at {
                // Where a free slot, or the last of anything, leads does not matter.
                *number = numbers.get(&self.sections, (*number).min(numbers.len().saturating_sub(1)))? as usize;
            }
        }
        at.into_iter().for_each(|place| self.touch(narrow(place)));
        Ok(())
    }

    /// The suffixes that start with a word, whole.
    pub(super) fn occurrences_of_word(&self, word: &str) -> Result<Range<usize>, SegmentError> {
        let slots = self.slots.len();
        let mut slot = first_slot(&self.header().section(Section::Text).hash, word.as_bytes(), slots);
        for _ in 0..slots {
            let Some(number) = self.slots.get(&self.sections, slot)?.checked_sub(1) else { break };
            let number = number as usize;
            if number + 1 >= self.firsts.len() {
                return Err(SegmentError::Contradiction { section: Section::Slots });
            }
            let start = self.firsts.get(&self.sections, number)? as usize;
            let end = self.firsts.get(&self.sections, number + 1)? as usize;
            if start >= end || end > self.suffixes.len() {
                return Err(SegmentError::Contradiction { section: Section::Words });
            }
            let place = self.suffixes.get(&self.sections, start)?;
            if starts_with_word(self.text_at(place, word.len())?, word) {
                return Ok(start..end);
            }
            slot = if slot + 1 == slots { 0 } else { slot + 1 };
        }
        Ok(0..0)
    }

    /// The suffixes that start with `passage`, which starts and ends with words, as words.
    pub(super) fn occurrences_of(&self, passage: &str) -> Result<Range<usize>, SegmentError> {
        let Some(word) = protocol::words::words(passage).next() else { return Ok(0..0) };
        let first = &passage[word];
        let within = self.occurrences_of_word(first)?;
        if first.len() == passage.len() || within.is_empty() {
            return Ok(within);
        }
        self.narrowed(within, Agreement::words(first), passage)
    }

    /// Of the suffixes in `within`, which all agree with `passage` as far as `known`, those that start with its words.
    pub(super) fn narrowed(
        &self,
        within: Range<usize>,
        known: Agreement,
        passage: &str,
    ) -> Result<Range<usize>, SegmentError> {
        let is_whole = |agrees: Agreement| agrees == Agreement::words(passage);
        let (start, longest) = self.bound(within.clone(), known, passage, |_| false)?;
        if !is_whole(longest) {
            return Ok(start..start);
        }
        let (end, _) = self.bound(start..within.end, known, passage, is_whole)?;
        Ok(start..end)
    }

    /// The suffixes in `within` that start with the words of `passage`: all up to `middle` from some on, and all from there
    /// to some other. There are few of them as a rule, so they are looked for from the middle outwards.
    fn around(
        &self,
        middle: usize,
        within: Range<usize>,
        known: Agreement,
        passage: &str,
    ) -> Result<Range<usize>, SegmentError> {
        let starts_with_it = |suffix: usize| {
            let place = self.suffixes.get(&self.sections, suffix)?;
            Ok(self.compare_at(place, passage, known)?.0 == Agreement::words(passage))
        };
        let start = first_true(within.start..middle, starts_with_it)?;
        // Those behind the middle, counted from the end.
        let behind = within.end - middle;
        let missing = first_true(0..behind, |from_end| starts_with_it(within.end - 1 - from_end))?;
        Ok(start..within.end - missing)
    }

    /// The first suffix in `within` that is not below `pattern` and does not agree with it so far that it is to be
    /// `skipped` as well, and how far any suffix in `within` agrees with `pattern` at most. All of them agree as far as
    /// `known`.
    ///
    /// A suffix between two others agrees with the pattern on no less than the lesser of the two, so those bytes are
    /// not compared again. The suffixes next to the result were both compared, and none agrees on more than the better
    /// one of these two.
    pub(super) fn bound(
        &self,
        within: Range<usize>,
        known: Agreement,
        pattern: &str,
        skipped: impl Fn(Agreement) -> bool,
    ) -> Result<(usize, Agreement), SegmentError> {
        let Range { start: mut low, end: mut high } = within;
        let (mut low_agrees, mut high_agrees, mut longest) = (known, known, Agreement::bytes(0));
        while low < high {
            let middle = low + (high - low) / 2;
            let place = self.suffixes.get(&self.sections, middle)?;
            let (agrees, order) = self.compare_at(place, pattern, low_agrees.min(high_agrees))?;
            longest = longest.max(agrees);
            if order.is_lt() || skipped(agrees) {
                (low, low_agrees) = (middle + 1, agrees);
            } else {
                (high, high_agrees) = (middle, agrees);
            }
        }
        Ok((low, longest))
    }

    /// How far the suffix at a place agrees with a pattern, and their order. Looks at no more of either than it must: a
    /// pattern may be as long as a book.
    fn compare_at(&self, place: u32, pattern: &str, known: Agreement) -> Result<(Agreement, Ordering), SegmentError> {
        let (mut known, mut reach) = (known.bytes, known.bytes + FIRST_REACH);
        loop {
            let suffix = self.text_at(place, reach.min(pattern.len()))?;
            known = common_prefix(suffix, pattern.as_bytes(), known);
            if known < reach || reach >= pattern.len() {
                return Ok(compare(suffix, pattern, known));
            }
            reach *= 2;
        }
    }
}

/// The first number of a range from which on something holds for all of them; the range's end if it does not hold for the
/// last one. It is looked for from the end, by steps that double until one misses, and then between miss and hit.
fn first_true(
    range: Range<usize>,
    mut holds: impl FnMut(usize) -> Result<bool, SegmentError>,
) -> Result<usize, SegmentError> {
    let Range { start: mut low, end: mut high } = range;
    let mut step = 1;
    while low < high {
        let probe = high.saturating_sub(step).max(low);
        if holds(probe)? {
            (high, step) = (probe, step * 2);
        } else {
            low = probe + 1;
            break;
        }
    }
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle)? {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Ok(high)
}

/// The text of a run of an answer's words, which is not empty.
pub(super) fn run<'a>(answer: &Answer<'a>, words: Range<usize>) -> &'a str {
    let (first, last) = (&answer.words()[words.start], &answer.words()[words.end - 1]);
    &answer.text()[first.start as usize..last.end as usize]
}

/// The search of one answer in one segment.
pub(super) struct Search<'a> {
    pub(super) segment: &'a Segment,
    pub(super) answer: &'a Answer<'a>,
    /// The occurrences of each distinct word of the answer.
    pub(super) ranges: Vec<Range<usize>>,
}

impl<'a> Search<'a> {
    pub(super) fn new(segment: &'a Segment, answer: &'a Answer<'a>) -> Result<Self, SegmentError> {
        let mut distinct = Vec::with_capacity(answer.distinct_words());
        for (index, word) in answer.words().iter().enumerate() {
            // Distinct words are numbered by first occurrence, so a new one has the next number.
            if word.distinct as usize == distinct.len() {
                distinct.push(run(answer, index..index + 1));
            }
        }
        segment.approach(&distinct)?;
        let ranges = distinct.into_iter().map(|word| segment.occurrences_of_word(word)).collect::<Result<_, _>>()?;
        Ok(Self { segment, answer, ranges })
    }

    fn maximal_spans(&self) -> Result<Vec<Span>, SegmentError> {
        let words = self.answer.words().len();
        let mut spans = Vec::new();
        // A start further right never matches less far: a span is maximal where a word reaches further than all before.
        let (mut first, mut reached) = (0, 0);
        while reached < words {
            if reached > first + LANES {
                // A long match: the next maximal span holds the word behind it, or starts behind that word.
                first = if self.word_range(reached).is_empty() { reached + 1 } else { self.leftmost(first, reached)? };
            }
            let lanes = self.reach(first..words.min(first + LANES))?;
            for Lane { word, range, agrees, .. } in lanes {
                let end = self.end_of(word, agrees);
                if end > reached {
                    let (all, passage) = (self.word_range(word), run(self.answer, word..end));
                    let range = match end - word {
                        1 => all,
                        _ => self.segment.around(range.start, all, self.known(word), passage)?,
                    };
                    spans.push(self.span(word..end, range)?);
                    reached = end;
                }
            }
            first += LANES;
            reached = reached.max(first);
        }
        Ok(spans)
    }

    /// The contexts in maximal spans that stand somewhere before these.
    fn earlier_contexts(&self, spans: &[Span]) -> Result<Vec<Span>, SegmentError> {
        let (mut contexts, mut next) = (Vec::new(), 0);
        for span in spans {
            let Some(words) = self.answer.words_of(span.start, span.end) else { continue };
            for first in next.max(words.start)..words.end {
                let end = self.answer.words()[first].context_end.map(|end| end as usize);
                let Some(end) = end.filter(|end| *end <= words.end) else { break };
                next = first + 1;
                let passage = run(self.answer, first..end);
                let range = self.segment.narrowed(self.word_range(first), self.known(first), passage)?;
                let context = self.span(first..end, range)?;
                let within = span.holder.offset + u64::from(context.start - span.start);
                if context.holder < (Holder { offset: within, ..span.holder }) {
                    contexts.push(context);
                }
            }
        }
        Ok(contexts)
    }

    /// How far each of some words matches, of those that occur: bounds of all of them step by step together, so that the
    /// memory that one waits for comes while others are looked at.
    fn reach(&self, words: Range<usize>) -> Result<Vec<Lane>, SegmentError> {
        let segment = self.segment;
        let mut lanes: Vec<Lane> = words
            .map(|word| Lane {
                known: self.known(word),
                agrees: self.known(word),
                ..Lane::new(word, self.word_range(word))
            })
            .filter(|lane| !lane.range.is_empty())
            .collect();
        let texts: Vec<&str> =
            lanes.iter().map(|lane| &self.answer.text()[self.answer.words()[lane.word].start as usize..]).collect();
        let mut is_done = false;
        while !is_done {
            for lane in lanes.iter_mut().filter(|lane| !lane.range.is_empty()) {
                lane.place = segment.suffixes.get(&segment.sections, lane.middle())?;
            }
            for lane in lanes.iter().filter(|lane| !lane.range.is_empty()) {
                segment.touch(lane.place + narrow(lane.shared().bytes));
            }
            is_done = true;
            for (lane, text) in lanes.iter_mut().zip(&texts).filter(|(lane, _)| !lane.range.is_empty()) {
                let (agrees, order) = segment.compare_at(lane.place, text, lane.shared())?;
                lane.halve(agrees, order.is_lt());
                is_done &= lane.range.is_empty();
            }
        }
        Ok(lanes)
    }

    /// The word behind the last one that a match from `word` reaches, which agrees so far.
    fn end_of(&self, word: usize, agrees: Agreement) -> usize {
        let reached = self.answer.words()[word].start as usize + agrees.bytes_of_words().max(self.known(word).bytes);
        self.answer.words().partition_point(|word| word.end as usize <= reached)
    }

    /// How far all occurrences of a word agree with it.
    pub(super) fn known(&self, word: usize) -> Agreement {
        Agreement::words(run(self.answer, word..word + 1))
    }

    pub(super) fn word_range(&self, word: usize) -> Range<usize> {
        self.ranges[self.answer.words()[word].distinct as usize].clone()
    }

    /// The leftmost word from `first` on from which the answer matches up to and including word `last`, which matches
    /// alone. If it matches from one word, it does from every word between that and `last`.
    fn leftmost(&self, first: usize, last: usize) -> Result<usize, SegmentError> {
        first_true(first..last, |start| self.occurs(start..last + 1))
    }

    fn occurs(&self, words: Range<usize>) -> Result<bool, SegmentError> {
        let within = self.word_range(words.start);
        if within.is_empty() {
            return Ok(false);
        }
        let (known, passage) = (self.known(words.start), run(self.answer, words));
        let (_, longest) = self.segment.bound(within, known, passage, |_| false)?;
        Ok(longest == Agreement::words(passage))
    }

    /// A run of words as a span that its suffixes, of which there are some, hold.
    fn span(&self, words: Range<usize>, range: Range<usize>) -> Result<Span, SegmentError> {
        let segment = self.segment;
        let earliest = segment.minima.smallest(&segment.sections, segment.suffixes, range)?;
        let earliest = earliest.ok_or(SegmentError::Contradiction { section: Section::Suffixes })?;
        let (first, last) = (&self.answer.words()[words.start], &self.answer.words()[words.end - 1]);
        Ok(Span { start: first.start, end: last.end, holder: segment.holder_at(earliest)? })
    }
}

/// The binary search for one word of the answer, as far as it has come.
struct Lane {
    word: usize,
    /// Where the bound is still to be looked for; empty at the end, at the bound.
    range: Range<usize>,
    /// How far all suffixes in it agree.
    known: Agreement,
    /// How far the suffixes before and behind it agree, once some were looked at.
    sides: [Option<Agreement>; 2],
    /// How far any that was looked at agrees.
    agrees: Agreement,
    /// The place of the suffix in the middle.
    place: u32,
}

impl Lane {
    fn new(word: usize, range: Range<usize>) -> Self {
        let nothing = Agreement::bytes(0);
        Self { word, range, known: nothing, sides: [None, None], agrees: nothing, place: 0 }
    }

    fn middle(&self) -> usize {
        self.range.start + self.range.len() / 2
    }

    /// How far all suffixes in the range agree with the text: no less than the lesser of its two sides.
    fn shared(&self) -> Agreement {
        let [before, behind] = self.sides.map(|side| side.unwrap_or(self.known));
        before.min(behind)
    }

    fn halve(&mut self, agrees: Agreement, is_below: bool) {
        let middle = self.middle();
        self.agrees = self.agrees.max(agrees);
        if is_below {
            (self.range.start, self.sides[0]) = (middle + 1, Some(agrees));
        } else {
            (self.range.end, self.sides[1]) = (middle, Some(agrees));
        }
    }
}
