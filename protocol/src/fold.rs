//! Folded text: a second field of a text, in which light edits do not matter.
//!
//! Two texts that differ in case, in spacing, in punctuation, in how the same letters are encoded or in what nobody
//! sees fold to the same text. A folded text is its words with single spaces between them: no separator but U+0020,
//! none at its start or end, and none beside a word of a script without spaces that had none beside it.
//!
//! # The rules
//!
//! Unicode's toNFKC_Casefold (The Unicode Standard, section 3.13, D146 and D147; UAX #15; UAX #31) with the words of
//! [`crate::words`], in one pass over the text:
//!
//! 1. **Decompose.** Every code point is replaced by its full compatibility decomposition (NFKD): full width, half
//!    width, ligatures, circled, superscript and mathematical letters, fractions, presentation forms of Arabic, Hangul
//!    syllables.
//! 2. **Remove what leaves no trace**: code points with the property `Default_Ignorable_Code_Point` (soft hyphen,
//!    zero-width space, joiner and non-joiner, directions, variation selectors, byte order mark, Hangul fillers),
//!    U+0640 (tatweel), and the marks that are separators for [`crate::words`] (U+302A to U+302F, U+0FC6).
//! 3. **Order marks** canonically. A mark, here, is a code point with a canonical combining class above 0, any other is
//!    a starter. Of more than 30 marks in a row the first 30 in that order are kept, and no more are ever held in
//!    memory.
//! 4. **Fold case**, fully and without a language (CaseFolding.txt, status C and F). U+0131 (dotless i) folds to i.
//! 5. **Drop marks that stand on nothing**: a mark that joins words for [`crate::words`], but does not follow a code
//!    point that does. And drop U+0307 (dot above) among the marks on an i.
//! 6. **Compose** canonically (NFC).
//! 7. **Divide into words.** Every longest run of separators becomes one space, or nothing at the start and at the end.
//!    Separators are those of [`crate::words`], and the letters that look like apostrophes (U+02B9 to U+02BF, U+02C8,
//!    U+02EE, U+A78B, U+A78C).
//!
//! The tables are those of Unicode 16.0, whatever the machine ([`UNICODE_VERSION`]).
//!
//! # Where this is not toNFKC_Casefold, and why
//!
//! - Rule 5, marks: spacing accents decompose to a space with a mark, and many who type `don´t` mean an apostrophe.
//! - Rule 5, dot, and the dotless i of rule 4: a text does not say that it is Turkish, so I, i, İ and ı have to be one
//!   letter for case not to matter. The price is that Turkish words which differ in nothing else fold to the same.
//! - Apostrophes and tatweel: the same text is written with and without them.
//! - The 30 marks: a bound on what hostile text costs whoever looks at the original of each of its words. It is what
//!   Unicode's stream-safe text allows, but where that process (UAX #15, D4) puts a joiner between, here the rest is
//!   dropped: a joiner is removed when folded text is folded again, which would change it.
//!
//! What stays different on purpose: letters with and without accents, Arabic with and without vowels, simplified and
//! traditional Han, hiragana and katakana, `co-operate` and `cooperate`, a word broken at a line's end by a hyphen that
//! is not soft, and numbers in different digits. Zero-width spaces are removed and do not divide words.
//!
//! # Guaranteed
//!
//! - Folding a folded text changes nothing.
//! - Canonically equivalent texts (NFC, NFD) fold to the same text, and so does a text in upper or lower case.
//! - The words of the folded text, as [`crate::words`] divides it, are those of its [`FoldMap`], whose ranges are at
//!   code points of the original text, lie inside it and never go backwards. They need not be at word bounds of the
//!   original text: one code point can hold several folded words. The original range of a word, folded alone, holds
//!   that word, and all ranges together are at most 32 times as long as the text.
//! - Time is linear in the length of the text, for any text, and memory at most [`MAX_EXPANSION`] times its length and
//!   a map, which takes a byte a word in natural text.

mod folder;
mod map;
mod marks;
mod tables;

pub use map::{FoldMap, MapError, Ranges};
pub use tables::UNICODE_VERSION;

use crate::words::words;
use folder::Folder;
use map::BLOCK_WORDS;
use std::ops::Range;

/// How many times as long as the text its folding is at most, in bytes. The worst is U+FDFA, a blessing of 18 letters
/// and spaces in one code point.
pub const MAX_EXPANSION: usize = 11;

/// A folded text, and where its words come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folded {
    text: String,
    map: FoldMap,
    /// Where every [`BLOCK_WORDS`]th word starts in the text.
    blocks: Vec<usize>,
}

/// Folds a text.
pub fn fold(text: &str) -> Folded {
    Folder::default().fold(text)
}

impl Folded {
    /// The folded text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Where its words come from.
    pub fn map(&self) -> &FoldMap {
        &self.map
    }

    /// The folded text and where its words come from.
    pub fn into_parts(self) -> (String, FoldMap) {
        (self.text, self.map)
    }

    /// The range of the original text from which the words in a range of bytes of the folded text come. Words that lie
    /// in it in part count in full; none if no word does.
    pub fn original(&self, bytes: Range<usize>) -> Option<Range<usize>> {
        let first = self.count(|word| word.end <= bytes.start);
        let end = self.count(|word| word.start < bytes.end);
        self.map.original(first..end)
    }

    /// How many words there are up to the first one for which `before` does not hold; it holds for none behind that.
    fn count(&self, before: impl Fn(&Range<usize>) -> bool) -> usize {
        let word_at = |start: usize| words(&self.text[start..]).map(move |word| start + word.start..start + word.end);
        let blocks = self.blocks.partition_point(|start| word_at(*start).next().is_some_and(|word| before(&word)));
        let Some(block) = blocks.checked_sub(1) else { return 0 };
        block * BLOCK_WORDS + word_at(self.blocks[block]).take(BLOCK_WORDS).take_while(before).count()
    }
}
