//! One form for words that differ in case alone.
//!
//! The table is written out and follows no library's Unicode version: two nodes that fold one letter differently
//! disagree on what is a copy. It holds the letters of Latin, Greek, Cyrillic and Armenian in wide use, each with its
//! simple lower case as Unicode has it, and the final sigma, whose capital is that of the other one. Letters that are
//! missing are their own form. It changes only together with [`FORMAT`](super::FORMAT).

/// Code points with a lower case: the first, the last, the step from one to the next, what to add. Ascending.
const CASES: &[(u32, u32, u32, i32)] = &[
    (0x00C0, 0x00D6, 1, 32), // Latin-1
    (0x00D8, 0x00DE, 1, 32),
    (0x0100, 0x012E, 2, 1), // Latin Extended-A; U+0130, the dotted capital, is its own form
    (0x0132, 0x0136, 2, 1),
    (0x0139, 0x0147, 2, 1),
    (0x014A, 0x0176, 2, 1),
    (0x0178, 0x0178, 1, -121),
    (0x0179, 0x017D, 2, 1),
    (0x01A0, 0x01A0, 1, 1), // Vietnamese
    (0x01AF, 0x01AF, 1, 1),
    (0x0218, 0x021A, 2, 1),  // Romanian
    (0x0386, 0x0386, 1, 38), // Greek
    (0x0388, 0x038A, 1, 37),
    (0x038C, 0x038C, 1, 64),
    (0x038E, 0x038F, 1, 63),
    (0x0391, 0x03A1, 1, 32),
    (0x03A3, 0x03AB, 1, 32),
    (0x03C2, 0x03C2, 1, 1),  // final sigma
    (0x0400, 0x040F, 1, 80), // Cyrillic
    (0x0410, 0x042F, 1, 32),
    (0x0460, 0x0480, 2, 1),
    (0x048A, 0x04BE, 2, 1),
    (0x04C0, 0x04C0, 1, 15),
    (0x04C1, 0x04CD, 2, 1),
    (0x04D0, 0x052E, 2, 1),
    (0x0531, 0x0556, 1, 48), // Armenian
    (0x1E00, 0x1E94, 2, 1),  // Latin Extended Additional
    (0x1E9E, 0x1E9E, 1, -7615),
    (0x1EA0, 0x1EFE, 2, 1),
    (0xFF21, 0xFF3A, 1, 32), // full-width Latin
];

/// Appends the one form of a word. The two joiners, which Persian and Indic texts put or leave out, vanish.
pub(super) fn fold(word: &str, folded: &mut Vec<u8>) {
    if word.is_ascii() {
        folded.extend(word.bytes().map(|byte| byte.to_ascii_lowercase()));
        return;
    }
    for character in word.chars().filter(|character| !matches!(character, '\u{200C}' | '\u{200D}')) {
        folded.extend_from_slice(lower(character).encode_utf8(&mut [0; 4]).as_bytes());
    }
}

fn lower(character: char) -> char {
    let code = u32::from(character);
    if character.is_ascii() {
        return character.to_ascii_lowercase();
    }
    match CASES.get(CASES.partition_point(|&(_, last, ..)| last < code)) {
        Some(&(first, _, step, add)) if first <= code && (code - first).is_multiple_of(step) => {
            code.checked_add_signed(add).and_then(char::from_u32).unwrap_or(character)
        }
        _ => character,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_ascending() {
        assert!(CASES.iter().all(|&(first, last, step, _)| first <= last && (last - first) % step == 0));
        assert!(CASES.windows(2).all(|pair| pair[0].1 < pair[1].0));
    }

    /// Unicode never changes the case of a letter that has one, so this holds with any version of it.
    #[test]
    fn letters_of_the_table_have_their_simple_lower_case_and_others_stay() {
        for character in '\0'..=char::MAX {
            let unicode = match character {
                'ς' => 'σ',
                _ => character.to_lowercase().next().unwrap(),
            };
            assert!([character, unicode].contains(&lower(character)), "{character:?}");
        }
        let lowered = |text: &str| text.chars().map(lower).collect::<String>();
        for (upper, expected) in [
            ("ABC XYZ 019", "abc xyz 019"),
            ("ÀÖØÞ×ÿŸĀĮİĲĹŊŶŹŽẞ", "àöøþ×ÿÿāįİĳĺŋŷźžß"),
            ("ƠƯȘȚẠỸ", "ơưșțạỹ"),
            ("ΆΈΉΊΌΎΏΑΡΣΩΪΫ ΛΟΓΟΣ λογος", "άέήίόύώαρσωϊϋ λογοσ λογοσ"),
            ("ЀЏАЯѠҀҊҾӀӁӍӐԮ", "ѐџаяѡҁҋҿӏӂӎӑԯ"),
            ("ԱՖ ＡＺ 日本 ก", "աֆ ａｚ 日本 ก"),
        ] {
            assert_eq!(lowered(upper), expected);
        }
    }

    #[test]
    fn joiners_vanish() {
        let mut folded = Vec::new();
        fold("می\u{200C}خواهم", &mut folded);
        assert_eq!(folded, "میخواهم".as_bytes());
    }
}
