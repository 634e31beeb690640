//! The order of suffixes: word by word and gap by gap, each as bytes, what ends first first (see [`protocol::segment`]).
//!
//! Where a word or a gap ends follows from the two code points around a place, so two texts that agree on some bytes have
//! the same words and gaps in them. They differ in order from plain bytes only where they part inside a run that ends for
//! one of them and goes on for the other.

use protocol::words::{Class, class_of};
use std::cmp::Ordering;

/// How far two texts agree: on so many bytes, and then perhaps in that a word ends there. Ascending in that order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Agreement {
    pub(super) bytes: usize,
    pub(super) word_ends: bool,
}

impl Agreement {
    /// On so many bytes, perhaps without a word's end behind them.
    pub(super) fn bytes(bytes: usize) -> Self {
        Self { bytes, word_ends: false }
    }

    /// On a passage that ends with a word, and on that word's end.
    pub(super) fn words(passage: &str) -> Self {
        Self { bytes: passage.len(), word_ends: true }
    }

    /// On how many bytes they agree up to which a word may end.
    pub(super) fn bytes_of_words(self) -> usize {
        if self.word_ends { self.bytes } else { self.bytes.saturating_sub(1) }
    }
}

/// How far a suffix of indexed text agrees with a pattern, and the order of the two, when `bytes` are all the bytes that
/// they have in common. The suffix goes on for four bytes more, unless it ends. Behind the pattern's last code point
/// nothing joins it. A suffix that starts with the whole pattern stands behind it.
#[inline]
pub(super) fn compare(suffix: &[u8], pattern: &str, bytes: usize) -> (Agreement, Ordering) {
    let theirs = (suffix.get(bytes).copied(), pattern.as_bytes().get(bytes).copied());
    if let ((Some(left), Some(right)), Some(before)) = (theirs, bytes.checked_sub(1)) {
        let before = pattern.as_bytes()[before];
        if left | right | before < 0x80 {
            // Nearly always, and then each byte is a code point.
            let (left, right, before) = (char::from(left), char::from(right), Some(char::from(before)));
            return part(bytes, bytes, before, (Some(left), Some(right)), left.cmp(&right));
        }
    }
    // The code point in which they part.
    let parts_at = (0..=bytes).rev().find(|at| pattern.is_char_boundary(*at)).unwrap_or(0);
    let before = pattern[..parts_at].chars().next_back();
    let next = (char_at(&suffix[parts_at..]), pattern[parts_at..].chars().next());
    let (agreement, order) = part(bytes, parts_at, before, next, theirs.0.cmp(&theirs.1));
    // What starts with the whole pattern stands behind it.
    (agreement, if parts_at == pattern.len() { Ordering::Greater } else { order })
}

/// How far two texts agree and their order, when they have so many bytes in common and part in the code point that starts
/// at `parts_at`, between the one `before` and those that come `next`; `order` is that of their first different bytes.
#[inline]
fn part(
    bytes: usize,
    parts_at: usize,
    before: Option<char>,
    next: (Option<char>, Option<char>),
    order: Ordering,
) -> (Agreement, Ordering) {
    let (left, right) = (Next::new(before, next.0), Next::new(before, next.1));
    let agreed = if left == right { bytes } else { parts_at };
    let ends = |next: Next| before.is_some_and(|before| class_of(before) != Class::Separator) && next != Next::Joined;
    let word_ends = agreed == parts_at && ends(left) && ends(right);
    (Agreement { bytes: agreed, word_ends }, left.cmp(&right).then(order))
}

/// Does one suffix stand before another? `bytes` are all the bytes that they have in common.
pub(super) fn is_in_order(left: &[u8], right: &[u8], bytes: usize) -> bool {
    let is_start = |at: &usize| left.get(*at).or(right.get(*at)).is_none_or(|byte| !is_continuation(*byte));
    let parts_at = (0..=bytes).rev().find(is_start).unwrap_or(0);
    let start = (0..parts_at).rev().find(is_start).unwrap_or(0);
    let before = char_at(&left[start..parts_at]);
    let next = |text: &[u8]| Next::new(before, char_at(text.get(parts_at..).unwrap_or_default()));
    let order = next(left).cmp(&next(right)).then_with(|| left.get(bytes).cmp(&right.get(bytes)));
    // What ends with the whole text stands first.
    if left.len() == bytes { true } else { right.len() != bytes && order.is_lt() }
}

/// What a code point is to the one before it, in the order of suffixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Next {
    /// It starts a word: the gap before it ends here, or is empty.
    Word,
    /// It is part of a gap; so is a document's end.
    Gap,
    /// It goes on with a word.
    Joined,
}

impl Next {
    fn new(before: Option<char>, after: Option<char>) -> Self {
        match after.map(class_of) {
            None | Some(Class::Separator) => Self::Gap,
            Some(Class::Joining) if before.is_some_and(|before| class_of(before) == Class::Joining) => Self::Joined,
            Some(_) => Self::Word,
        }
    }
}

/// The code point that a text starts with; none at a document's end.
fn char_at(text: &[u8]) -> Option<char> {
    let length = match *text.first()? {
        first @ ..0x80 => return Some(char::from(first)),
        0x80..0xE0 => 2,
        0xE0..0xF0 => 3,
        0xF0..0xF8 => 4,
        _ => return None,
    };
    std::str::from_utf8(text.get(..length)?).ok()?.chars().next()
}

/// Whether a byte of UTF-8 is inside a code point.
pub(super) fn is_continuation(byte: u8) -> bool {
    byte & 0b1100_0000 == 0b1000_0000
}

/// Does the word `word` stand at the start of `suffix`, whole?
pub(super) fn starts_with_word(suffix: &[u8], word: &str) -> bool {
    suffix
        .strip_prefix(word.as_bytes())
        .is_some_and(|rest| Next::new(word.chars().next_back(), char_at(rest)) != Next::Joined)
}

/// How many bytes two texts agree on from their start, when they are known to agree on `known` bytes.
#[inline]
pub(super) fn common_prefix(left: &[u8], right: &[u8], known: usize) -> usize {
    const STEP: usize = size_of::<u64>();
    let mut at = known.min(left.len()).min(right.len());
    let chunk = |text: &[u8], at: usize| text.get(at..)?.first_chunk::<STEP>().map(|chunk| u64::from_le_bytes(*chunk));
    while let (Some(left), Some(right)) = (chunk(left, at), chunk(right, at)) {
        let different = left ^ right;
        if different != 0 {
            // The lowest byte is the first.
            return at + (different.trailing_zeros() / u8::BITS) as usize;
        }
        at += STEP;
    }
    at + left[at..].iter().zip(&right[at..]).take_while(|(left, right)| left == right).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use protocol::segment::DOCUMENT_END;
    use protocol::words::words;

    /// Words and gaps in turn, beginning with a word (which may be empty); a document's end belongs to the last gap.
    fn elements(text: &str, at_end: bool) -> Vec<Vec<u8>> {
        let mut list = Vec::new();
        let mut end = None;
        for word in words(text) {
            match end {
                None if word.start > 0 => list.extend([Vec::new(), text.as_bytes()[..word.start].to_vec()]),
                None => {}
                Some(end) => list.push(text.as_bytes()[end..word.start].to_vec()),
            }
            list.push(text.as_bytes()[word.clone()].to_vec());
            end = Some(word.end);
        }
        let rest = &text.as_bytes()[end.unwrap_or(0)..];
        if end.is_none() {
            list.push(Vec::new());
        }
        if at_end {
            list.push([rest, &[DOCUMENT_END]].concat());
        } else if !rest.is_empty() {
            list.push(rest.to_vec());
        }
        list
    }

    proptest! {
        #[test]
        fn texts_are_in_the_order_of_their_words_and_gaps(
            suffix in "[ab .é—日ก😀]{1,12}", pattern in "[ab .é—日ก😀]{1,12}", cut in 0_usize..12,
        ) {
            let starts_with_word = |text: &str| words(text).next().is_some_and(|word| word.start == 0);
            prop_assume!(starts_with_word(&suffix));
            // Often with a common beginning.
            let cut = (0..=cut.min(suffix.len())).rev().find(|at| suffix.is_char_boundary(*at)).unwrap_or(0);
            for pattern in [pattern.clone(), format!("{}{pattern}", &suffix[..cut])] {
                prop_assume!(starts_with_word(&pattern));
                let bytes = [suffix.as_bytes(), &[DOCUMENT_END]].concat();
                let (agreement, order) = compare(&bytes, &pattern, common_prefix(&bytes, pattern.as_bytes(), 0));
                if !bytes.starts_with(pattern.as_bytes()) {
                    prop_assert_eq!(order, elements(&suffix, true).cmp(&elements(&pattern, false)));
                    prop_assert_ne!(order, Ordering::Equal);
                } else {
                    prop_assert_eq!(order, Ordering::Greater);
                    prop_assert_eq!(agreement.bytes, pattern.len());
                }
                // The words that stand whole in both are those that the agreement holds.
                let common = bytes.iter().zip(pattern.as_bytes()).take_while(|(a, b)| a == b).count();
                let theirs: Vec<_> = words(&suffix).filter(|word| word.end <= common).collect();
                let both = words(&pattern).filter(|word| theirs.contains(word)).count();
                let held = words(&pattern).filter(|word| word.end <= agreement.bytes_of_words()).count();
                prop_assert_eq!(held, both);
                if let Some(first) = words(&pattern).next() {
                    let first = &pattern[first];
                    prop_assert_eq!(super::starts_with_word(&bytes, first), words(&suffix).next().is_some_and(|word| &suffix[word] == first));
                }
            }
        }
    }
}
