//! The fingerprints of a text: the winnowed hashes of its runs of words.

use super::fold::fold;
use protocol::words::{ends_word, words};
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::LazyLock;

/// What the words of a gram weigh together at least. A word weighs one for each of its code points, three at most; a
/// Han or kana code point, which is a word of its own and says about twice as much as a letter, weighs two.
///
/// So a gram is 8 words of three letters and more, 9 words of common English, 12 of Han or kana, 24 code points
/// of Thai: passages that independent authors rarely write alike. Eight single digits of a table are no gram.
pub const GRAM_WEIGHT: u32 = 24;

/// Out of so many consecutive grams at least one is chosen.
pub const WINDOW: usize = 8;

const MAX_WORD_WEIGHT: u32 = 3;
const DENSE_WEIGHT: u32 = 2;

// Two consecutive fingerprints leave no word between them, so that a copied passage is covered without gaps.
const _: () = assert!(WINDOW <= (GRAM_WEIGHT / MAX_WORD_WEIGHT) as usize);

/// Stands behind each word of a gram when it is hashed. It never occurs in UTF-8.
const WORD_END: u8 = 0xFF;

/// A chosen gram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// Its hash.
    pub value: u64,
    /// The document in which it starts.
    pub document: u32,
    /// Its words, counted over all documents.
    pub words: Range<u64>,
}

/// The fingerprints of a contribution's documents, in order of their words. Where documents end makes no difference to
/// them, as the division into lines makes none.
pub fn fingerprints<'a>(documents: &'a [&'a str]) -> Fingerprints<impl Iterator<Item = (u32, &'a str)>> {
    let numbered = (0..).zip(documents);
    let words = numbered.flat_map(|(document, text)| words(text).map(move |word| (document, &text[word])));
    Fingerprints { grams: Grams::new(words), window: VecDeque::new(), chosen: None }
}

/// Robust winnowing, as the module says it.
#[derive(Debug)]
pub struct Fingerprints<I> {
    grams: Grams<I>,
    /// The last grams, at most [`WINDOW`] of them.
    window: VecDeque<Fingerprint>,
    /// The gram chosen last, by its first word.
    chosen: Option<u64>,
}

impl<'a, I: Iterator<Item = (u32, &'a str)>> Fingerprints<I> {
    /// How many words were read so far.
    pub fn words(&self) -> u64 {
        self.grams.seen
    }

    fn choose(&mut self, index: usize) -> Option<Fingerprint> {
        let gram = self.window.get(index)?;
        (self.chosen.replace(gram.words.start) != Some(gram.words.start)).then(|| gram.clone())
    }

    /// Which gram of a full window is chosen.
    fn least(&self) -> usize {
        let least = self.window.iter().map(|gram| gram.value).min();
        let is_least = |gram: &Fingerprint| Some(gram.value) == least;
        let same = self.window.iter().position(|gram| Some(gram.words.start) == self.chosen && is_least(gram));
        same.or_else(|| self.window.iter().rposition(is_least)).unwrap_or(0)
    }
}

impl<'a, I: Iterator<Item = (u32, &'a str)>> Iterator for Fingerprints<I> {
    type Item = Fingerprint;

    fn next(&mut self) -> Option<Fingerprint> {
        while let Some(gram) = self.grams.next() {
            if self.window.len() == WINDOW {
                self.window.pop_front();
            }
            self.window.push_back(gram);
            let index = match self.window.len() {
                _ if self.chosen.is_none() => 0,
                WINDOW => self.least(),
                _ => continue,
            };
            if let Some(chosen) = self.choose(index) {
                return Some(chosen);
            }
        }
        self.choose(self.window.len().checked_sub(1)?)
    }
}

/// All grams of a text, one for each word from which the text goes on long enough.
#[derive(Debug)]
struct Grams<I> {
    /// Words with the number of their document.
    words: I,
    /// How many were taken from `words`.
    seen: u64,
    /// The words of the next gram, as far as they were read. Without the last one they weigh less than a gram.
    waiting: VecDeque<Word>,
    /// What the waiting words weigh.
    weight: u32,
    /// The folded bytes of the waiting words, from `start` on.
    folded: Vec<u8>,
    start: usize,
}

#[derive(Debug)]
struct Word {
    document: u32,
    /// Folded bytes, with the mark behind.
    bytes: usize,
    weight: u32,
}

impl<'a, I: Iterator<Item = (u32, &'a str)>> Grams<I> {
    fn new(words: I) -> Self {
        Self { words, seen: 0, waiting: VecDeque::new(), weight: 0, folded: Vec::new(), start: 0 }
    }

    fn read_word(&mut self) -> Option<()> {
        let (document, word) = self.words.next()?;
        if self.start > self.folded.len() / 2 {
            self.folded.drain(..self.start);
            self.start = 0;
        }
        let before = self.folded.len();
        fold(word, &mut self.folded);
        self.folded.push(WORD_END);
        let weight = weight(word);
        self.waiting.push_back(Word { document, bytes: self.folded.len() - before, weight });
        self.weight += weight;
        self.seen += 1;
        Some(())
    }

    fn next(&mut self) -> Option<Fingerprint> {
        while self.weight < GRAM_WEIGHT {
            self.read_word()?;
        }
        let value = gram_hash(self.folded.get(self.start..)?);
        let words = self.seen - self.waiting.len() as u64..self.seen;
        let first = self.waiting.pop_front()?;
        self.weight -= first.weight;
        self.start += first.bytes;
        Some(Fingerprint { value, document: first.document, words })
    }
}

/// At least one.
fn weight(word: &str) -> u32 {
    // U+2E80 is the first of the radicals; below and in A9E0 to AA7F stand Thai, Lao, Khmer and Burmese.
    let is_dense =
        |first| first >= '\u{2E80}' && !('\u{A9E0}'..='\u{AA7F}').contains(&first) && ends_word(first, Some('a'));
    match word.chars().next() {
        Some(first) if is_dense(first) => DENSE_WEIGHT,
        _ => (1..).zip(word.chars().take(MAX_WORD_WEIGHT as usize)).map(|(count, _)| count).last().unwrap_or(1),
    }
}

/// The hash of folded words, each with its mark behind. Keyed BLAKE3 of one or two blocks, cut to 64 bits: nobody can
/// find a text with given hashes, as he could for a polynomial that rolls, and it still takes less time than a page
/// from disk.
fn gram_hash(folded: &[u8]) -> u64 {
    static KEY: LazyLock<[u8; 32]> = LazyLock::new(|| blake3::derive_key("tributary v1 near gram", b""));
    let hash = blake3::keyed_hash(&KEY, folded);
    u64::from_le_bytes(std::array::from_fn(|at| hash.as_bytes()[at]))
}
