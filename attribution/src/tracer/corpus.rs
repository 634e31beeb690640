//! A model's training text, cut into passages.

use super::fisher_rows;
use protocol::crypto;
use protocol::ids::{ContributionId, Hash32};
use protocol::influence::{MAX_ROWS, Source};
use protocol::limits::EXAMPLE_BYTES;
use std::ops::Range;

/// Where the passages of a model's training text stand: the texts themselves are not held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corpus {
    window: u32,
    documents: Vec<(Hash32, ContributionId)>,
    passages: Vec<Place>,
}

/// A passage: which document, and from which byte to which.
type Place = (u32, u32, u32);

/// One training example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passage {
    /// The hash of its document.
    pub document: Hash32,
    /// Who brought it.
    pub contribution: ContributionId,
    /// Its bytes in the document.
    pub range: Range<usize>,
}

/// Why texts are no training text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence on each variant is its documentation, and names its fields")]
pub enum CorpusError {
    #[error("a window of {got} bytes; it must be {} to {}", EXAMPLE_BYTES.start(), EXAMPLE_BYTES.end())]
    Window { got: u32 },
    #[error("more than {MAX_ROWS} passages")]
    Passages,
}

impl Passage {
    /// What its row is bound to.
    pub fn source(&self) -> Source {
        let (start, end) = (self.range.start as u64, self.range.end as u64);
        Source { example: crypto::influence_example(&self.document, start, end), contribution: self.contribution }
    }
}

impl Corpus {
    /// No text yet. A passage is at most so many bytes.
    ///
    /// # Errors
    /// If the window is out of its range.
    pub fn new(window: u32) -> Result<Self, CorpusError> {
        match EXAMPLE_BYTES.contains(&window) {
            true => Ok(Self { window, documents: Vec::new(), passages: Vec::new() }),
            false => Err(CorpusError::Window { got: window }),
        }
    }

    /// Adds a document with its text.
    ///
    /// # Errors
    /// If there are too many passages.
    pub fn add(&mut self, document: Hash32, contribution: ContributionId, text: &str) -> Result<(), CorpusError> {
        let number = u32::try_from(self.documents.len()).map_err(|_| CorpusError::Passages)?;
        self.documents.push((document, contribution));
        for range in cut(text, self.window as usize) {
            if self.passages.len() as u64 >= MAX_ROWS {
                return Err(CorpusError::Passages);
            }
            // A document has at most 64 MiB.
            let place = |at: usize| u32::try_from(at).map_err(|_| CorpusError::Passages);
            self.passages.push((number, place(range.start)?, place(range.end)?));
        }
        Ok(())
    }

    /// How many passages there are: as many as rows.
    pub fn len(&self) -> usize {
        self.passages.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.passages.is_empty()
    }

    /// A passage by its number, which is that of its row.
    pub fn passage(&self, number: usize) -> Option<Passage> {
        let (document, start, end) = *self.passages.get(number)?;
        let (document, contribution) = *self.documents.get(document as usize)?;
        Some(Passage { document, contribution, range: start as usize..end as usize })
    }

    /// All passages, in order.
    pub fn passages(&self) -> impl ExactSizeIterator<Item = Passage> {
        self.passages.iter().map(|(document, start, end)| {
            let (document, contribution) = self.documents[*document as usize];
            Passage { document, contribution, range: *start as usize..*end as usize }
        })
    }

    /// The number of the passage that a Fisher row is of: all in turn, or, where there are fewer rows than passages, as
    /// evenly as can be.
    pub fn of_fisher_row(&self, row: u64, dimension: usize) -> Option<usize> {
        let (passages, rows) = (self.len() as u64, fisher_rows(self.len() as u64, dimension));
        if row >= rows {
            return None;
        }
        let number = if rows >= passages { row % passages } else { row * passages / rows };
        usize::try_from(number).ok()
    }
}

/// Cuts a text into passages of about the same length, none longer than the window, after white space where there is any.
pub(super) fn cut(text: &str, window: usize) -> impl Iterator<Item = Range<usize>> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let rest = text.get(start..).filter(|rest| !rest.is_empty())?;
        let goal = rest.len().div_ceil(rest.len().div_ceil(window).max(1));
        let length = if goal == rest.len() { goal } else { end_of_piece(rest, goal) };
        let range = start..start + length;
        start = range.end;
        Some(range)
    })
}

/// Where a piece of at most `goal` bytes ends: behind the last white space in its second half, else at its last character.
fn end_of_piece(text: &str, goal: usize) -> usize {
    let last = (0..=goal).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let piece = &text[..last];
    let white = piece.char_indices().rev().find(|(_, letter)| letter.is_whitespace());
    match white.map(|(at, letter)| at + letter.len_utf8()) {
        Some(end) if end > goal / 2 => end,
        // A window is longer than any character.
        _ => last.max(text.chars().next().map_or(1, char::len_utf8)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pieces(text: &str, window: usize) -> Vec<&str> {
        cut(text, window).map(|range| &text[range]).collect()
    }

    #[test]
    fn a_text_is_cut_after_white_space_into_even_pieces() {
        let words = "one two three four five six seven eight nine ten ".repeat(3);
        let found = pieces(&words, 64);
        assert_eq!(found.concat(), words);
        assert_eq!(found.len(), 3);
        assert!(found.iter().all(|piece| piece.ends_with(' ') && (32..=64).contains(&piece.len())), "{found:?}");
        assert_eq!(pieces("", 64), Vec::<&str>::new());
        assert_eq!(pieces("short", 64), ["short"]);
        assert_eq!(pieces(&"x".repeat(130), 64).iter().map(|piece| piece.len()).collect::<Vec<_>>(), [44, 43, 43]);
    }

    proptest! {
        #[test]
        fn pieces_are_the_whole_text_in_order(text in "[a-zßあ \n🌊]{0,600}", window in 64_usize..200) {
            let found = pieces(&text, window);
            prop_assert_eq!(found.concat(), text.clone());
            prop_assert!(found.iter().all(|piece| !piece.is_empty() && piece.len() <= window));
            // Not many more than needed.
            prop_assert!(found.len() <= 1 + 2 * text.len().div_ceil(window), "{} of {}", found.len(), text.len());
        }
    }

    #[test]
    fn fisher_rows_go_round_or_are_spread_evenly() {
        let mut corpus = Corpus::new(64).unwrap();
        for document in 0..10 {
            corpus.add(Hash32([document; 32]), ContributionId([1; 32]), "a few words").unwrap();
        }
        let of = |dimension| (0..).map_while(|row| corpus.of_fisher_row(row, dimension)).collect::<Vec<_>>();
        assert_eq!(of(100), (0..10).cycle().take(40).collect::<Vec<_>>());
        assert_eq!(of(2), [0, 1, 2, 3, 5, 6, 7, 8]);
        assert_eq!(Corpus::new(63), Err(CorpusError::Window { got: 63 }));
    }

    #[test]
    fn a_source_depends_on_document_place_and_contribution() {
        let passage = Passage { document: Hash32([1; 32]), contribution: ContributionId([2; 32]), range: 3..9 };
        let source = passage.source();
        assert_ne!(Passage { range: 3..10, ..passage.clone() }.source(), source);
        assert_ne!(Passage { range: 4..9, ..passage.clone() }.source(), source);
        assert_ne!(Passage { document: Hash32([2; 32]), ..passage.clone() }.source(), source);
        assert_ne!(Passage { contribution: ContributionId([3; 32]), ..passage }.source(), source);
    }
}
