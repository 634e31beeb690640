//! A text in two parts: one that a model is made of, and documents to adapt it to.

use super::draw::Draw;
use super::{BenchError, Options};
use std::collections::BTreeMap;

/// Different characters of a text.
const MAX_SYMBOLS: usize = 1 << 10;
/// Symbols of a text.
const MAX_LENGTH: usize = 1 << 26;

/// Why a text cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence on each variant is its documentation, and names its fields")]
pub enum TextError {
    #[error("the text has {got} different characters; at most {MAX_SYMBOLS} are allowed")]
    Symbols { got: usize },
    #[error("the text has {got} symbols; there may be {least} to {MAX_LENGTH}")]
    Length { got: usize, least: usize },
}

/// A text as numbers of symbols: its first half is to learn the language from, its second to cut documents from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    vocabulary: usize,
    symbols: Vec<usize>,
}

/// Documents of one length, in a random order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Documents {
    /// To train with.
    pub train: Vec<Vec<usize>>,
    /// To test with.
    pub test: Vec<Vec<usize>>,
}

impl Text {
    /// Characters, numbered in their order.
    pub fn of_characters(text: &str) -> Result<Self, TextError> {
        let mut numbers: BTreeMap<char, usize> = text.chars().map(|character| (character, 0)).collect();
        numbers.values_mut().enumerate().for_each(|(number, place)| *place = number);
        if numbers.len() > MAX_SYMBOLS {
            return Err(TextError::Symbols { got: numbers.len() });
        }
        let symbols = text.chars().filter_map(|character| numbers.get(&character).copied()).collect();
        Self::checked(numbers.len(), symbols)
    }

    /// Bytes, which are their own numbers.
    pub fn of_bytes(text: &str) -> Result<Self, TextError> {
        Self::checked(256, text.bytes().map(usize::from).collect())
    }

    fn checked(vocabulary: usize, symbols: Vec<usize>) -> Result<Self, TextError> {
        let least = 2;
        match symbols.len() {
            got if (least..=MAX_LENGTH).contains(&got) => Ok(Self { vocabulary, symbols }),
            got => Err(TextError::Length { got, least }),
        }
    }

    /// How many symbols there can be.
    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    /// The first half.
    pub fn base(&self) -> &[usize] {
        &self.symbols[..self.symbols.len() / 2]
    }

    /// Pieces of the second half, each of so many symbols, drawn without overlap.
    pub fn documents(&self, length: usize, options: &Options) -> Result<Documents, BenchError> {
        let Options { train, test, .. } = *options;
        let mut pieces: Vec<&[usize]> = self.symbols[self.symbols.len() / 2..].chunks_exact(length.max(1)).collect();
        if train < 2 || test == 0 || train.checked_add(test).is_none_or(|sum| sum > pieces.len()) {
            return Err(BenchError::Rows { got: pieces.len(), train, test });
        }
        Draw::new(options.seed, 1).shuffle(&mut pieces);
        let owned = |pieces: &[&[usize]]| pieces.iter().map(|piece| piece.to_vec()).collect();
        Ok(Documents { train: owned(&pieces[..train]), test: owned(&pieces[train..train + test]) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_two_halves_and_documents_are_of_the_second() {
        let text = Text::of_characters("abcabc\u{e9}xyzxyz\u{e9}").unwrap();
        assert_eq!(text.vocabulary(), 7);
        assert_eq!(text.base(), [0, 1, 2, 0, 1, 2, 6]);
        let options = Options { train: 2, test: 1, ..Options::default() };
        let documents = text.documents(2, &options).unwrap();
        let mut all = [documents.train, documents.test].concat();
        all.sort();
        assert_eq!(all, [[3, 4], [4, 5], [5, 3]]);
        assert!(matches!(text.documents(3, &options), Err(BenchError::Rows { got: 2, .. })));
        assert!(matches!(text.documents(0, &Options { train: 1, ..options }), Err(BenchError::Rows { .. })));
        assert_eq!(Text::of_bytes("\u{e9}\u{e9}").unwrap().base(), [0xc3, 0xa9]);
    }

    #[test]
    fn what_is_no_text_is_refused() {
        assert_eq!(Text::of_characters("a"), Err(TextError::Length { got: 1, least: 2 }));
        let many: String = (0x4e00..0x5300).filter_map(char::from_u32).collect();
        assert_eq!(Text::of_characters(&many), Err(TextError::Symbols { got: 0x500 }));
    }
}
