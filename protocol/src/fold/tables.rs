//! What folding needs to know about a code point.

use crate::words::ends_word;
use caseless::Caseless;

/// The version of Unicode whose tables fold text. Another one would fold some texts otherwise, so it changes only
/// together with every index that holds folded text.
pub const UNICODE_VERSION: (u8, u8, u8) = (16, 0, 0);

// Both libraries are of that version, or nothing is built.
const _: () = {
    let (major, minor, patch) = UNICODE_VERSION;
    let normal = unicode_normalization::UNICODE_VERSION;
    assert!(normal.0 == major && normal.1 == minor && normal.2 == patch, "normalisation is of another Unicode version");
    let case = caseless::UNICODE_VERSION;
    assert!(
        case.0 == major as u64 && case.1 == minor as u64 && case.2 == patch as u64,
        "case folding is of another Unicode version"
    );
};

/// Code points that leave no trace, inclusive ranges, ascending: those of Unicode's property
/// `Default_Ignorable_Code_Point`, and U+0640.
const REMOVED: &[(u32, u32)] = &[
    (0x00AD, 0x00AD), // soft hyphen
    (0x034F, 0x034F), // combining grapheme joiner
    (0x061C, 0x061C), // Arabic letter mark
    (0x0640, 0x0640), // tatweel: stretches a line of Arabic and is no letter
    (0x115F, 0x1160), // Hangul fillers
    (0x17B4, 0x17B5), // Khmer inherent vowels
    (0x180B, 0x180F), // Mongolian selectors and vowel separator
    (0x200B, 0x200F), // zero-width space, non-joiner and joiner, directions
    (0x202A, 0x202E), // embeddings
    (0x2060, 0x206F), // word joiner, invisible operators, isolates
    (0x3164, 0x3164), // Hangul filler
    (0xFE00, 0xFE0F), // variation selectors
    (0xFEFF, 0xFEFF), // byte order mark
    (0xFFA0, 0xFFA0), // half-width Hangul filler
    (0xFFF0, 0xFFF8),
    (0x1BCA0, 0x1BCA3), // shorthand controls
    (0x1D173, 0x1D17A), // musical controls
    (0xE0000, 0xE0FFF), // tags, variation selectors
];

/// Letters that look like an apostrophe and are typed as one as often as not: inclusive ranges, ascending. Ukrainian
/// and Breton write U+02BC, Hawaiian U+02BB, transliterations the others, languages of Mexico U+A78C; an apostrophe
/// divides words, so these have to as well.
const APOSTROPHES: &[(u32, u32)] = &[
    (0x02B9, 0x02BF), // primes, turned and reversed commas, half rings
    (0x02C8, 0x02C8), // vertical line
    (0x02EE, 0x02EE), // double apostrophe
    (0xA78B, 0xA78C), // saltillo
];

/// The dot of a small i, which it has anyway.
pub(super) const DOT_ABOVE: char = '\u{307}';

/// The one mark whose case folding is a letter, `IOTA`.
pub(super) const YPOGEGRAMMENI: char = '\u{345}';

/// What `YPOGEGRAMMENI` folds to.
pub(super) const IOTA: char = 'ι';

/// What a code point does to the words around it: [`crate::words`], with apostrophes among the separators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Part of no word.
    Separator,
    /// Part of the same word as a joining neighbour.
    Joining,
    /// A word of its own.
    Alone,
}

/// The class of a code point.
pub(super) fn class_of(character: char) -> Class {
    if !ends_word(character, None) || holds(APOSTROPHES, character) {
        Class::Separator
    } else if ends_word(character, Some('a')) {
        Class::Alone
    } else {
        Class::Joining
    }
}

/// Does a code point leave no trace?
pub(super) fn is_removed(character: char) -> bool {
    character > '\u{AC}' && holds(REMOVED, character)
}

fn holds(ranges: &[(u32, u32)], character: char) -> bool {
    let code = u32::from(character);
    let index = ranges.partition_point(|&(_, last)| last < code);
    ranges.get(index).is_some_and(|&(first, _)| first <= code)
}

/// The case folding of a code point that has no decomposition, as full case folding has it but for the dotless i.
pub(super) fn fold_case(character: char) -> impl Iterator<Item = char> {
    // The capital of a dotless i is I, whose folding has to be i.
    let character = if character == 'ı' { 'i' } else { character };
    std::iter::once(character).default_case_fold()
}

#[cfg(test)]
mod tests {
    use super::*;
    use unicode_normalization::UnicodeNormalization;
    use unicode_normalization::char::{canonical_combining_class, compose, decompose_canonical};

    fn all() -> impl Iterator<Item = char> {
        '\0'..=char::MAX
    }

    fn decomposed(text: impl IntoIterator<Item = char>) -> Vec<char> {
        text.into_iter().nfkd().collect()
    }

    #[test]
    fn tables_are_ascending_and_disjoint() {
        for table in [REMOVED, APOSTROPHES] {
            assert!(table.iter().all(|(first, last)| first <= last));
            assert!(table.windows(2).all(|pair| pair[0].1 < pair[1].0), "{table:x?}");
        }
    }

    /// Why one order of marks is enough: folding leaves them marks, of the same class, and decomposed.
    #[test]
    fn folding_case_brings_no_new_marks_and_nothing_to_decompose() {
        for character in all().filter(|c| decomposed([*c]) == [*c] && !is_removed(*c)) {
            let folded: Vec<char> = fold_case(character).collect();
            let again: Vec<char> = folded.iter().flat_map(|c| fold_case(*c)).collect();
            assert_eq!(again, folded, "{character:?}");
            assert_eq!(decomposed(folded.iter().copied()), folded, "{character:?}");
            assert!(!folded.iter().any(|c| is_removed(*c)), "{character:?}");
            if canonical_combining_class(character) == 0 {
                assert!(folded.iter().all(|c| canonical_combining_class(*c) == 0), "{character:?}");
            } else if character == YPOGEGRAMMENI {
                assert_eq!(folded, [IOTA]);
            } else {
                assert_eq!(folded, [character], "marks are not folded");
            }
        }
        assert!(all().all(|c| canonical_combining_class(c) <= canonical_combining_class(YPOGEGRAMMENI)));
    }

    /// Why it does not matter whether text is divided into words before or after it is composed.
    #[test]
    fn composing_changes_no_class() {
        let mut pairs = 0;
        for character in all() {
            let mut parts = Vec::new();
            decompose_canonical(character, |part| parts.push(part));
            if decomposed([character]) != parts {
                continue; // A pair that is never met, as its parts are decomposed further.
            }
            let Some((last, front)) = parts.split_last() else { continue };
            let front: Vec<char> = front.iter().copied().nfc().collect();
            let &[first] = front.as_slice() else { continue };
            if compose(first, *last) != Some(character) {
                continue;
            }
            pairs += 1;
            assert!(*last >= '\u{300}', "nothing below U+0300 is composed with what is before it");
            let classes = [first, *last, character].map(class_of);
            match classes[0] {
                // What is struck out: the stroke stands on nothing, and is dropped.
                Class::Separator => assert_eq!(classes, [Class::Separator, Class::Joining, Class::Separator]),
                class => assert_eq!(classes, [class; 3], "{character:?}"),
            }
        }
        assert!(pairs > 12_000, "Hangul alone has 11,172 pairs, and here are {pairs}");
    }

    #[test]
    fn marks_that_are_separators() {
        let marks = all().filter(|c| canonical_combining_class(*c) > 0 && class_of(*c) == Class::Separator);
        let expected = ['\u{FC6}', '\u{302A}', '\u{302B}', '\u{302C}', '\u{302D}', '\u{302E}', '\u{302F}'];
        assert_eq!(marks.collect::<Vec<_>>(), expected);
    }
}
