//! Words: the unit in which text is compared, counted and paid.
//!
//! Every code point is of one of three classes, fixed by the tables below:
//!
//! - a **separator** belongs to no word: ASCII whitespace, control characters and punctuation, and the listed ranges;
//! - a code point of a **script written without spaces** (Han, kana, bopomofo, Thai, Lao, Khmer, Burmese) is a word of
//!   its own;
//! - any other code point **joins** its joining neighbours: a longest run of them is a word.
//!
//! Whether a word starts or ends at a place therefore depends on the two code points around that place and on nothing
//! else. Attribution rests on this: two texts that agree on some bytes agree on the word bounds inside them.
//!
//! The tables are part of the protocol: validators that disagree on one range pay different people. They change only
//! with a new protocol version, so they are written out here and follow no outside library's Unicode version.

use std::ops::Range;

/// What a code point does to the words around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Part of no word.
    Separator,
    /// Part of the same word as a joining neighbour.
    Joining,
    /// A word of its own.
    Alone,
}

/// Separators beyond ASCII: inclusive ranges, ascending.
///
/// U+200C and U+200D are missing on purpose: Persian and the Indic scripts use these two inside words.
const SEPARATORS: &[(u32, u32)] = &[
    (0x0080, 0x00A9), // C1 controls, no-break space, Latin-1 signs
    (0x00AB, 0x00B1),
    (0x00B4, 0x00B4),
    (0x00B6, 0x00B8),
    (0x00BB, 0x00BB),
    (0x00BF, 0x00BF),
    (0x00D7, 0x00D7), // multiplication sign
    (0x00F7, 0x00F7), // division sign
    (0x02C2, 0x02C5), // modifier arrowheads
    (0x037E, 0x037E), // Greek
    (0x0387, 0x0387),
    (0x055A, 0x055F), // Armenian
    (0x0589, 0x058A),
    (0x05BE, 0x05BE), // Hebrew
    (0x05C0, 0x05C0),
    (0x05C3, 0x05C3),
    (0x05C6, 0x05C6),
    (0x05F3, 0x05F4),
    (0x0600, 0x060F), // Arabic
    (0x061B, 0x061F),
    (0x066A, 0x066D),
    (0x06D4, 0x06D4),
    (0x06DD, 0x06DE),
    (0x0700, 0x070F), // Syriac
    (0x0964, 0x0965), // dandas
    (0x0970, 0x0970),
    (0x0DF4, 0x0DF4), // Sinhala
    (0x0E3F, 0x0E3F), // Thai
    (0x0E4F, 0x0E4F),
    (0x0E5A, 0x0E5B),
    (0x0F01, 0x0F17), // Tibetan, whose tsheg divides syllables
    (0x0F3A, 0x0F3D),
    (0x0F85, 0x0F85),
    (0x0FBE, 0x0FDA),
    (0x104A, 0x104F), // Burmese
    (0x10FB, 0x10FB), // Georgian
    (0x1360, 0x1368), // Ethiopic
    (0x1400, 0x1400), // Canadian syllabics
    (0x166D, 0x166E),
    (0x1680, 0x1680), // Ogham
    (0x169B, 0x169C),
    (0x16EB, 0x16ED), // Runic
    (0x1735, 0x1736), // Philippine scripts
    (0x17D4, 0x17D6), // Khmer
    (0x17D8, 0x17DB),
    (0x1800, 0x180A), // Mongolian
    (0x180E, 0x180E),
    (0x2000, 0x200B), // spaces
    (0x200E, 0x206F), // dashes, quotation marks, line ends, directions
    (0x20A0, 0x20CF), // currencies
    (0x2190, 0x2BFF), // arrows, mathematics, technical signs, boxes, dingbats
    (0x2E00, 0x2E7F), // supplemental punctuation
    (0x2FF0, 0x3004), // ideographic description, space, comma, full stop
    (0x3008, 0x3020), // brackets
    (0x302A, 0x3030),
    (0x3036, 0x3037),
    (0x303D, 0x303F),
    (0x30A0, 0x30A0), // katakana double hyphen
    (0x30FB, 0x30FB), // katakana middle dot
    (0xA4FE, 0xA4FF), // Lisu
    (0xA60D, 0xA60F), // Vai
    (0xA8CE, 0xA8CF), // Saurashtra
    (0xD7FC, 0xD7FF),
    (0xFD3E, 0xFD3F), // ornate parentheses
    (0xFE00, 0xFE1F), // variation selectors, vertical forms
    (0xFE30, 0xFE6F), // compatibility and small forms
    (0xFEFF, 0xFEFF), // byte order mark
    (0xFF00, 0xFF0F), // full-width punctuation
    (0xFF1A, 0xFF20),
    (0xFF3B, 0xFF40),
    (0xFF5B, 0xFF65),
    (0xFFE0, 0xFFFF),   // full-width signs, specials
    (0x1F000, 0x1FAFF), // pictures
    (0xE0000, 0xE0FFF), // tags, variation selectors
];

/// Scripts written without spaces: inclusive ranges, ascending. A separator inside such a range stays a separator.
const ALONE: &[(u32, u32)] = &[
    (0x0E01, 0x0E5B),   // Thai
    (0x0E80, 0x0EFF),   // Lao
    (0x1000, 0x109F),   // Burmese
    (0x1780, 0x17FF),   // Khmer
    (0x19E0, 0x19FF),   // Khmer symbols
    (0x2E80, 0x2FDF),   // radicals
    (0x3005, 0x3007),   // iteration mark, closing mark, zero
    (0x3021, 0x3029),   // Hangzhou numerals
    (0x3031, 0x303C),   // kana repeat marks
    (0x3040, 0x312F),   // hiragana, katakana, bopomofo
    (0x31A0, 0x9FFF),   // bopomofo, strokes, katakana, enclosed, Han with extension A
    (0xA9E0, 0xA9FE),   // Burmese extended
    (0xAA60, 0xAA7F),   // Burmese extended
    (0xF900, 0xFAFF),   // Han, compatibility
    (0xFF66, 0xFF9F),   // half-width katakana
    (0x1AFF0, 0x1B16F), // kana extended
    (0x20000, 0x3FFFF), // Han, extensions B and later
];

const fn ascii_class(byte: u8) -> Class {
    if byte.is_ascii_alphanumeric() { Class::Joining } else { Class::Separator }
}

/// The class of each ASCII byte, since most text is ASCII and is walked whole when an index is built.
static ASCII: [Class; 128] = {
    let mut table = [Class::Separator; 128];
    let mut byte: u8 = 0;
    while byte < 128 {
        table[byte as usize] = ascii_class(byte);
        byte += 1;
    }
    table
};

/// The class of a code point.
#[inline]
pub fn class_of(character: char) -> Class {
    let code = u32::from(character);
    if let Some(class) = ASCII.get(code as usize) { *class } else { class_beyond_ascii(code) }
}

fn class_beyond_ascii(code: u32) -> Class {
    if holds(SEPARATORS, code) {
        Class::Separator
    } else if holds(ALONE, code) {
        Class::Alone
    } else {
        Class::Joining
    }
}

fn holds(ranges: &[(u32, u32)], code: u32) -> bool {
    let index = ranges.partition_point(|&(_, last)| last < code);
    ranges.get(index).is_some_and(|&(first, _)| first <= code)
}

/// The byte ranges of the words of `text`, ascending.
pub fn words(text: &str) -> Words<'_> {
    Words { text, at: 0 }
}

/// The byte offsets at which the words of `text` start, ascending.
pub fn word_starts(text: &str) -> impl Iterator<Item = usize> {
    words(text).map(|word| word.start)
}

/// Does a word end between two neighbouring code points? None after the last one is the text's end.
pub fn ends_word(before: char, after: Option<char>) -> bool {
    match class_of(before) {
        Class::Separator => false,
        Class::Alone => true,
        Class::Joining => after.is_none_or(|after| class_of(after) != Class::Joining),
    }
}

/// The words of a text, as [`words`] gives them.
#[derive(Clone, Debug)]
pub struct Words<'a> {
    text: &'a str,
    /// Everything before this offset has been given out or skipped.
    at: usize,
}

impl Iterator for Words<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        let from = self.at;
        self.at = self.text.len();
        let mut rest = self.text[from..].char_indices().map(|(offset, character)| (from + offset, class_of(character)));
        let (start, class) = rest.find(|(_, class)| *class != Class::Separator)?;
        let end = match class {
            Class::Alone => rest.next(),
            _ => rest.find(|(_, class)| *class != Class::Joining),
        };
        self.at = end.map_or(self.text.len(), |(offset, _)| offset);
        Some(start..self.at)
    }
}

impl std::iter::FusedIterator for Words<'_> {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(text: &str) -> Vec<&str> {
        words(text).map(|word| &text[word]).collect()
    }

    #[test]
    fn tables_are_ascending_and_disjoint() {
        for table in [SEPARATORS, ALONE] {
            assert!(table.iter().all(|(first, last)| first <= last && *first >= 128));
            for pair in table.windows(2) {
                assert!(pair[0].1 < pair[1].0, "{:x?}", pair);
            }
        }
    }

    #[test]
    fn words_of_many_scripts() {
        let table: &[(&str, &[&str])] = &[
            ("", &[]),
            (" \t\n.,;!", &[]),
            ("one", &["one"]),
            ("  one, two\nthree.", &["one", "two", "three"]),
            ("don't snake_case x2", &["don", "t", "snake", "case", "x2"]),
            ("naïve café — “quoted”…", &["naïve", "café", "quoted"]),
            ("Привет, мир!", &["Привет", "мир"]),
            ("안녕 세상", &["안녕", "세상"]),
            ("日本語です。", &["日", "本", "語", "で", "す"]),
            ("日本abc語", &["日", "本", "abc", "語"]),
            ("カタ・カナ", &["カ", "タ", "カ", "ナ"]),
            ("ไทย", &["ไ", "ท", "ย"]),
            ("ຂ້າ", &["ຂ", "້", "າ"]),
            ("ភាសា។", &["ភ", "ា", "ស", "ា"]),
            ("မြန်။", &["မ", "ြ", "န", "်"]),
            ("می\u{200c}خواهم", &["می\u{200c}خواهم"]),
            ("नमस्ते।", &["नमस्ते"]),
            ("a😀b", &["a", "b"]),
            ("𠀀𠀁", &["𠀀", "𠀁"]),
        ];
        for (text, expected) in table {
            assert_eq!(split(text), *expected, "{text}");
        }
        assert_eq!(word_starts("ab  cd").collect::<Vec<_>>(), [0, 4]);
    }

    proptest! {
        /// Cutting a text at any word bound, and only there, leaves its words as they are.
        #[test]
        fn word_bounds_depend_on_their_two_neighbours_only(text in "[ab .é日本ก😀]{0,24}") {
            let all: Vec<_> = words(&text).collect();
            for cut in (0..=text.len()).filter(|&cut| text.is_char_boundary(cut)) {
                let right = words(&text[cut..]).map(|word| word.start + cut..word.end + cut);
                let parts: Vec<_> = words(&text[..cut]).chain(right).collect();
                let inside = all.iter().any(|word| word.start < cut && cut < word.end);
                prop_assert_eq!(parts == all, !inside);
                let ends = text[..cut].chars().next_back().is_some_and(|c| ends_word(c, text[cut..].chars().next()));
                prop_assert_eq!(ends, all.iter().any(|word| word.end == cut));
            }
        }
    }
}
