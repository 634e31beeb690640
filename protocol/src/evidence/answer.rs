//! An answer, cut into words once.

use crate::fold::{Folded, MAX_EXPANSION, fold};
use crate::limits::MAX_ANSWER_BYTES;
use crate::words::{Class, class_of, words};
use std::collections::BTreeMap;
use std::ops::Range;

/// Bytes of a folded answer at most.
const MAX_FOLDED_BYTES: usize = MAX_ANSWER_BYTES * MAX_EXPANSION;
/// What a context weighs at least: eight words, or twelve of scripts written without spaces.
const CONTEXT_WEIGHT: u32 = 24;
/// What a word weighs in a context.
const WORD_WEIGHT: u32 = 3;
/// What a word of a script written without spaces, which is one code point, weighs in a context.
const ALONE_WEIGHT: u32 = 2;

/// An answer of acceptable size with its words.
#[derive(Clone, Debug)]
pub struct Answer<'a> {
    text: &'a str,
    words: Vec<Word>,
    distinct: usize,
}

/// One word of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word {
    /// Its first byte.
    pub start: u32,
    /// The byte after its last.
    pub end: u32,
    /// Which of the answer's distinct words it is, numbered by first occurrence.
    pub distinct: u32,
    /// The number of the word behind the **context** that starts with this one: the shortest run of words that is long
    /// enough to be somebody's, whoever holds a longer one around it. None where the answer ends before that.
    pub context_end: Option<u32>,
}

/// The answer is longer than what can be attributed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer has {length} bytes; at most {most} can be attributed")]
pub struct AnswerTooLong {
    /// Its length in bytes.
    pub length: usize,
    /// The limit.
    pub most: usize,
}

/// The text of a receipt's answer in which evidence looks: folded, so that light edits do not matter.
///
/// # Errors
/// When the answer is longer than one may be.
pub fn fold_answer(output: &str) -> Result<Folded, AnswerTooLong> {
    let (length, most) = (output.len(), MAX_ANSWER_BYTES);
    if length > most { Err(AnswerTooLong { length, most }) } else { Ok(fold(output)) }
}

impl<'a> Answer<'a> {
    /// The words of an answer that [`fold_answer`] folded.
    ///
    /// # Errors
    /// When its folded text is longer than what folding makes of any answer.
    pub fn of(folded: &'a Folded) -> Result<Self, AnswerTooLong> {
        Self::up_to(MAX_FOLDED_BYTES, folded.text())
    }

    /// Cuts a text into words as it is.
    ///
    /// # Errors
    /// When it is longer than an answer may be.
    pub fn new(text: &'a str) -> Result<Self, AnswerTooLong> {
        Self::up_to(MAX_ANSWER_BYTES, text)
    }

    /// Cuts a text of at most so many bytes into words: one that belongs to no receipt may be longer than an answer.
    ///
    /// # Errors
    /// When it is longer than that.
    pub fn up_to(most: usize, text: &'a str) -> Result<Self, AnswerTooLong> {
        let too_long = AnswerTooLong { length: text.len(), most };
        if text.len() > most {
            return Err(too_long);
        }
        let narrow = |offset: usize| u32::try_from(offset).map_err(|_| too_long.clone());
        let mut numbers = BTreeMap::new();
        let mut list = Vec::new();
        for word in words(text) {
            let next = numbers.len();
            let distinct = *numbers.entry(&text[word.clone()]).or_insert(next);
            let (start, end, distinct) = (narrow(word.start)?, narrow(word.end)?, narrow(distinct)?);
            list.push(Word { start, end, distinct, context_end: None });
        }
        mark_contexts(text, &mut list);
        Ok(Self { text, words: list, distinct: numbers.len() })
    }

    /// The answer's text.
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// Its words, ascending.
    pub fn words(&self) -> &[Word] {
        &self.words
    }

    /// How many different words it has.
    pub fn distinct_words(&self) -> usize {
        self.distinct
    }

    /// The indices of the words from byte `start` to byte `end`, if a word starts at the one and ends at the other.
    pub fn words_of(&self, start: u32, end: u32) -> Option<Range<usize>> {
        let first = self.words.binary_search_by_key(&start, |word| word.start).ok()?;
        let last = self.words.binary_search_by_key(&end, |word| word.end).ok()?;
        (first <= last).then(|| first..last + 1)
    }

    /// The words with which the contexts that lie in a run of words start.
    pub(super) fn contexts_in(&self, words: Range<usize>) -> Range<usize> {
        let lies_in = |word: &Word| word.context_end.is_some_and(|end| end as usize <= words.end);
        // No context ends before one that starts earlier.
        words.start..words.start + self.words[words.clone()].partition_point(lies_in)
    }
}

fn mark_contexts(text: &str, words: &mut [Word]) {
    let weight = |word: &Word| match text[word.start as usize..].chars().next().map(class_of) {
        Some(Class::Alone) => ALONE_WEIGHT,
        _ => WORD_WEIGHT,
    };
    let (mut end, mut weighs) = (0, 0);
    for first in 0..words.len() {
        while weighs < CONTEXT_WEIGHT && end < words.len() {
            weighs += weight(&words[end]);
            end += 1;
        }
        if weighs < CONTEXT_WEIGHT {
            break;
        }
        words[first].context_end = u32::try_from(end).ok();
        weighs -= weight(&words[first]);
    }
}
