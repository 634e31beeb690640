//! Marked text: UTF-8 with a mark behind every word.

use protocol::evidence::Answer;
use protocol::words::words;
use std::ops::Range;

/// Stands behind every word. It never occurs in UTF-8.
pub(super) const WORD_END: u8 = 0xFE;

/// Stands behind every document. It never occurs in UTF-8, and in no marked answer.
pub(super) const DOCUMENT_END: u8 = 0xFF;

/// Appends `text` with its marks to `marked`, and tells `on_word` where in `marked` each word starts.
pub(super) fn mark(text: &str, marked: &mut Vec<u8>, mut on_word: impl FnMut(usize)) {
    let mut copied = 0;
    for word in words(text) {
        marked.extend_from_slice(&text.as_bytes()[copied..word.start]);
        on_word(marked.len());
        marked.extend_from_slice(&text.as_bytes()[word.clone()]);
        marked.push(WORD_END);
        copied = word.end;
    }
    marked.extend_from_slice(&text.as_bytes()[copied..]);
}

/// An answer's marked text and where its words lie in it.
pub(super) struct MarkedAnswer {
    text: Vec<u8>,
    starts: Vec<usize>,
    /// The place behind each word's mark.
    ends: Vec<usize>,
}

impl MarkedAnswer {
    pub(super) fn new(answer: &Answer<'_>) -> Self {
        let mut text = Vec::with_capacity(answer.text().len() + answer.words().len());
        mark(answer.text(), &mut text, |_| ());
        // Before a word there is one mark for each word before it.
        let place = |offset: u32, marks: usize| offset as usize + marks;
        let words = || answer.words().iter().enumerate();
        Self {
            text,
            starts: words().map(|(index, word)| place(word.start, index)).collect(),
            ends: words().map(|(index, word)| place(word.end, index + 1)).collect(),
        }
    }

    /// The marked text of a run of words, which is not empty.
    pub(super) fn run(&self, words: Range<usize>) -> &[u8] {
        &self.text[self.starts[words.start]..self.ends[words.end - 1]]
    }

    /// The marked text from a word's start to the answer's end.
    pub(super) fn from(&self, word: usize) -> &[u8] {
        &self.text[self.starts[word]..]
    }

    /// The end of the longest run of words from `first` on that fits into `length` bytes of [`MarkedAnswer::from`].
    pub(super) fn words_within(&self, first: usize, length: usize) -> usize {
        let limit = self.starts[first] + length;
        self.ends.partition_point(|end| *end <= limit)
    }
}

/// How many bytes two texts agree on from their start, when they are known to agree on `known` bytes.
pub(super) fn common_prefix(left: &[u8], right: &[u8], known: usize) -> usize {
    const STEP: usize = size_of::<u64>();
    let (left_rest, right_rest) = (&left[known..], &right[known..]);
    let (left_steps, _) = left_rest.as_chunks::<STEP>();
    let (right_steps, _) = right_rest.as_chunks::<STEP>();
    let equal = left_steps.iter().zip(right_steps).take_while(|(left, right)| left == right).count() * STEP;
    let more = left_rest[equal..].iter().zip(&right_rest[equal..]).take_while(|(left, right)| left == right).count();
    known + equal + more
}
