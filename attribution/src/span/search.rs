//! Searching an index for the spans of an answer.

use super::SpanIndex;
use super::marked::{Agreement, byte_pair, compare};
use protocol::evidence::{Answer, Frequencies, Holder, Partial, Span};
use std::ops::Range;

impl SpanIndex {
    /// What this index's documents say about an answer.
    pub fn evidence(&self, answer: &Answer<'_>) -> Partial {
        let mut ranges = vec![0..0; answer.distinct_words()];
        let mut seen = 0;
        for (index, word) in answer.words().iter().enumerate() {
            // Distinct words are numbered by first occurrence, so a new one has the next number.
            if word.distinct as usize == seen {
                ranges[seen] = self.occurrences_of(run(answer, index..index + 1));
                seen += 1;
            }
        }
        let counts = ranges.iter().map(|range| range.len() as u64).collect();
        let spans = Search { index: self, answer, ranges }.maximal_spans();
        Partial::new(spans, Frequencies { words: self.words(), counts })
    }

    /// The suffixes that start with `passage`, which starts and ends with words, as words.
    pub(super) fn occurrences_of(&self, passage: &str) -> Range<usize> {
        let pair = byte_pair(passage.as_bytes());
        // Of the pair's second byte it is not known here whether it is a mark.
        self.narrowed(self.buckets[pair] as usize..self.buckets[pair + 1] as usize, Agreement::bytes(1), passage)
    }

    /// Of the suffixes in `within`, which all agree with `passage` as far as `known`, those that start with its words.
    fn narrowed(&self, within: Range<usize>, known: Agreement, passage: &str) -> Range<usize> {
        let (start, longest) = self.bound(within.clone(), known, passage, false);
        if longest < Agreement::words(passage) {
            return start..start;
        }
        let (end, _) = self.bound(start..within.end, known, passage, true);
        start..end
    }

    /// The first suffix in `within` that is not below `pattern` (with `behind`: and does not start with its words), and
    /// how far any suffix in `within` agrees with `pattern` at most. All of them agree as far as `known`.
    ///
    /// A suffix between two others agrees with the pattern on no less than the lesser of the two, so those bytes are
    /// not compared again. The suffixes next to the result were both compared, and none agrees on more than the better
    /// one of these two.
    fn bound(&self, within: Range<usize>, known: Agreement, pattern: &str, behind: bool) -> (usize, Agreement) {
        let Range { start: mut low, end: mut high } = within;
        let (mut low_agrees, mut high_agrees, mut longest) = (known, known, Agreement::bytes(0));
        while low < high {
            let middle = low + (high - low) / 2;
            let suffix = &self.text[self.suffixes.get(middle) as usize..];
            let (agrees, order) = compare(suffix, pattern, low_agrees.min(high_agrees));
            longest = longest.max(agrees);
            let below = if agrees == Agreement::words(pattern) { behind } else { order.is_lt() };
            if below {
                (low, low_agrees) = (middle + 1, agrees);
            } else {
                (high, high_agrees) = (middle, agrees);
            }
        }
        (low, longest)
    }

    /// The place in the text as a place in admitted data.
    pub(super) fn holder_at(&self, place: u32) -> Holder {
        let after = self.documents.partition_point(|document| document.start <= place);
        let document = &self.documents[after - 1];
        Holder {
            order: document.order,
            contribution: document.contribution,
            document: document.document,
            offset: u64::from(place - document.start),
        }
    }
}

/// The text of a run of an answer's words, which is not empty.
fn run<'a>(answer: &Answer<'a>, words: Range<usize>) -> &'a str {
    let (first, last) = (&answer.words()[words.start], &answer.words()[words.end - 1]);
    &answer.text()[first.start as usize..last.end as usize]
}

/// One search.
struct Search<'a> {
    index: &'a SpanIndex,
    answer: &'a Answer<'a>,
    /// The occurrences of each distinct word of the answer.
    ranges: Vec<Range<usize>>,
}

impl Search<'_> {
    fn maximal_spans(&self) -> Vec<Span> {
        let words = self.answer.words().len();
        let mut spans = Vec::new();
        // Every maximal span not found yet starts at `first` or later and holds word `reached` or ends behind it.
        let (mut first, mut reached) = (0, 0);
        while reached < words {
            if self.word_range(reached).is_empty() {
                reached += 1;
                first = reached;
                continue;
            }
            let start = self.leftmost(first, reached);
            let (end, earliest) = self.longest(start);
            spans.push(self.span(start..end, earliest));
            (first, reached) = (start + 1, end);
        }
        spans
    }

    /// How far all occurrences of a word agree with it.
    fn known(&self, word: usize) -> Agreement {
        Agreement::words(run(self.answer, word..word + 1))
    }

    fn word_range(&self, word: usize) -> Range<usize> {
        self.ranges[self.answer.words()[word].distinct as usize].clone()
    }

    /// The leftmost word from `first` on from which the answer matches up to and including word `last`, which matches
    /// alone. If it matches from one word, it does from every word between that and `last`.
    fn leftmost(&self, first: usize, last: usize) -> usize {
        let (mut low, mut high) = (first, last);
        // Most matches are short: steps leftwards, doubling, until one misses; then halving between miss and match.
        let mut step = 1;
        while low < high {
            let probe = high.saturating_sub(step).max(low);
            if self.occurs(probe..last + 1) {
                (high, step) = (probe, step * 2);
            } else {
                low = probe + 1;
                break;
            }
        }
        while low < high {
            let middle = low + (high - low) / 2;
            if self.occurs(middle..last + 1) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        high
    }

    fn occurs(&self, words: Range<usize>) -> bool {
        let within = self.word_range(words.start);
        let known = self.known(words.start);
        let passage = run(self.answer, words);
        !within.is_empty() && self.index.bound(within, known, passage, false).1 == Agreement::words(passage)
    }

    /// The end of the longest match from a word that occurs, and the earliest place of that match.
    fn longest(&self, start: usize) -> (usize, u32) {
        let (within, known) = (self.word_range(start), self.known(start));
        let from = self.answer.words()[start].start as usize;
        let (_, longest) = self.index.bound(within.clone(), known, &self.answer.text()[from..], false);
        let reached = from + longest.bytes_of_words();
        let end = self.answer.words().partition_point(|word| word.end as usize <= reached);
        let range = self.index.narrowed(within, known, run(self.answer, start..end));
        let earliest = self.index.minima.smallest(&self.index.suffixes, range);
        (end, earliest.expect("a match has an occurrence"))
    }

    fn span(&self, words: Range<usize>, earliest: u32) -> Span {
        let (first, last) = (&self.answer.words()[words.start], &self.answer.words()[words.end - 1]);
        Span { start: first.start, end: last.end, holder: self.index.holder_at(earliest) }
    }
}
