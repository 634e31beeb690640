//! Marked text: UTF-8 with a mark behind every word.
//!
//! Only the suffix sorter sees the marks as bytes. An index keeps the text without them: where one stands follows from the
//! two code points around a place ([`ends_word`]), so two texts that agree on some bytes agree on the marks inside, and a
//! mark is looked for only where they part.

use protocol::words::{ends_word, words};
use std::cmp::Ordering;

/// Stands behind every word. It never occurs in UTF-8.
pub(super) const WORD_END: u8 = 0xFE;

/// Stands behind every document. It never occurs in UTF-8, and in no answer.
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

/// How far two texts agree: so many bytes, and then perhaps the mark behind them. Ascending in that order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Agreement {
    bytes: usize,
    mark: bool,
}

impl Agreement {
    /// On so many bytes, perhaps without the mark behind them.
    pub(super) fn bytes(bytes: usize) -> Self {
        Self { bytes, mark: false }
    }

    /// On a passage that ends with a word, and on that word's end.
    pub(super) fn words(passage: &str) -> Self {
        Self { bytes: passage.len(), mark: true }
    }

    /// On how many bytes they agree up to which a word may end.
    pub(super) fn bytes_of_words(self) -> usize {
        if self.mark { self.bytes } else { self.bytes.saturating_sub(1) }
    }
}

/// How far a suffix of indexed text agrees with a pattern, and the order of the two with their marks. They are known to
/// agree as far as `known`. Behind the pattern's last code point nothing joins it.
pub(super) fn compare(suffix: &[u8], pattern: &str, known: Agreement) -> (Agreement, Ordering) {
    let bytes = common_prefix(suffix, pattern.as_bytes(), known.bytes);
    // The code point in which they part; a suffix ends with the mark of its document, so there is a next byte.
    let parts_at = (0..=bytes).rev().find(|at| !is_continuation(suffix[*at])).unwrap_or(0);
    let before = pattern[..parts_at].chars().next_back();
    let ends = |after| before.is_some_and(|before| ends_word(before, after));
    let (suffix_ends, pattern_ends) = (ends(char_at(&suffix[parts_at..])), ends(pattern[parts_at..].chars().next()));
    let symbol = |at: usize| pattern.as_bytes().get(at).copied();
    match (suffix_ends, pattern_ends) {
        (true, false) => (Agreement::bytes(parts_at), Some(WORD_END).cmp(&symbol(parts_at))),
        (false, true) => (Agreement::bytes(parts_at), suffix[parts_at].cmp(&WORD_END)),
        (both, _) => {
            let agreement = Agreement { bytes, mark: both && bytes == parts_at };
            (agreement, Some(suffix[bytes]).cmp(&symbol(bytes)))
        }
    }
}

/// The number of the first two bytes of a text with its marks, which starts with a word. A word has at least one byte
/// and its mark.
pub(super) fn byte_pair(text: &[u8]) -> usize {
    let first = char_at(text);
    let after = first.and_then(|first| text.get(first.len_utf8()..)).and_then(char_at);
    let is_whole_word = first.is_some_and(|first| first.len_utf8() == 1 && ends_word(first, after));
    let second = if is_whole_word { WORD_END } else { text.get(1).copied().unwrap_or(DOCUMENT_END) };
    usize::from(u16::from_be_bytes([text.first().copied().unwrap_or(DOCUMENT_END), second]))
}

/// The code point that a text starts with; none at a document's end.
fn char_at(text: &[u8]) -> Option<char> {
    let length = match *text.first()? {
        first @ ..0x80 => return Some(char::from(first)),
        0x80..0xE0 => 2,
        0xE0..0xF0 => 3,
        0xF0..WORD_END => 4,
        _ => return None,
    };
    std::str::from_utf8(text.get(..length)?).ok()?.chars().next()
}

/// Whether a byte of UTF-8 is inside a code point.
pub(super) fn is_continuation(byte: u8) -> bool {
    byte & 0b1100_0000 == 0b1000_0000
}

/// How many bytes two texts agree on from their start, when they are known to agree on `known` bytes.
fn common_prefix(left: &[u8], right: &[u8], known: usize) -> usize {
    const STEP: usize = size_of::<u64>();
    let (left_rest, right_rest) = (&left[known..], &right[known..]);
    let (left_steps, _) = left_rest.as_chunks::<STEP>();
    let (right_steps, _) = right_rest.as_chunks::<STEP>();
    let equal = left_steps.iter().zip(right_steps).take_while(|(left, right)| left == right).count() * STEP;
    let more = left_rest[equal..].iter().zip(&right_rest[equal..]).take_while(|(left, right)| left == right).count();
    known + equal + more
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The same by definition: both texts with their marks, byte by byte.
    fn by_definition(suffix: &str, pattern: &str) -> (usize, Ordering) {
        let marked = |text: &str| {
            let mut marked = Vec::new();
            mark(text, &mut marked, |_| ());
            marked
        };
        let mut suffix = marked(suffix);
        suffix.push(DOCUMENT_END);
        let pattern = marked(pattern);
        let agreed = suffix.iter().zip(&pattern).take_while(|(left, right)| left == right).count();
        (agreed, suffix.get(agreed).cmp(&pattern.get(agreed)))
    }

    proptest! {
        #[test]
        fn comparing_needs_no_marks(suffix in "[ab .é日ก😀]{1,12}", pattern in "[ab .é日ก😀]{1,12}", cut in 0_usize..12) {
            // Often with a common beginning.
            let cut = (0..=cut.min(suffix.len())).rev().find(|at| suffix.is_char_boundary(*at)).unwrap_or(0);
            for pattern in [pattern.clone(), format!("{}{pattern}", &suffix[..cut])] {
                let bytes = [suffix.as_bytes(), &[DOCUMENT_END]].concat();
                let (agreement, order) = compare(&bytes, &pattern, Agreement::bytes(0));
                let (agreed, expected) = by_definition(&suffix, &pattern);
                prop_assert_eq!(order, expected);
                let with_marks = words(&pattern).filter(|word| {
                    word.end < agreement.bytes || word.end == agreement.bytes && agreement.mark
                });
                prop_assert_eq!(agreement.bytes + with_marks.count(), agreed);
            }
            let bytes = [suffix.as_bytes(), &[DOCUMENT_END]].concat();
            let mut marked = Vec::new();
            mark(&suffix, &mut marked, |_| ());
            if words(&suffix).next().is_some_and(|word| word.start == 0) {
                prop_assert_eq!(byte_pair(&bytes), usize::from(u16::from_be_bytes([marked[0], marked[1]])));
            }
        }
    }
}
