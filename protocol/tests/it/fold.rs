//! Folded text: examples in many scripts, an oracle that follows the rules one by one over whole texts, and the laws.

use caseless::Caseless;
use proptest::prelude::*;
use protocol::fold::{FoldMap, Folded, MAX_EXPANSION, UNICODE_VERSION, fold};
use protocol::words::words;
use std::ops::Range;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::{canonical_combining_class, decompose_compatible, is_public_assigned};

fn folded(text: &str) -> String {
    fold(text).into_parts().0
}

/// Each word of the folded text with the original text that it comes from.
fn origins(text: &str) -> Vec<(String, String)> {
    let folded = fold(text);
    let ranges = folded.map().ranges().map(|range| text[range].to_owned());
    words(folded.text()).map(|word| folded.text()[word].to_owned()).zip(ranges).collect()
}

#[test]
fn examples() {
    let table: &[(&str, &str)] = &[
        // Case, spacing, punctuation.
        ("", ""),
        (" \t\n—…", ""),
        ("  The QUICK, brown\r\n\tfox!  ", "the quick brown fox"),
        ("“Don’t,” he said", "don t he said"),
        ("'Don't', he said", "don t he said"),
        ("``Don´t'' he said", "don t he said"),
        ("co-operate co‑operate co–operate", "co operate co operate co operate"),
        ("snake_case x^2 a+b", "snake case x 2 a b"),
        ("and… so", "and so"),
        ("a=\u{338}b ≠", "a b"),
        // What nobody sees.
        ("co\u{AD}op\u{200B}er\u{2060}ate\u{FEFF}", "cooperate"),
        ("می\u{200c}خواهم", "میخواهم"),
        ("葛\u{E0100}城", "葛城"),
        ("\u{202B}abc\u{202C}", "abc"),
        // German, Turkish, Greek, Cherokee, Georgian.
        ("Straße STRASSE STRAẞE", "strasse strasse strasse"),
        ("ısı ISI İstanbul I\u{307}STANBUL i\u{323}\u{307}", "isi isi istanbul istanbul ị"),
        ("ΟΔΥΣΣΕΥΣ Ὀδυσσεύς", "οδυσσευσ ὀδυσσεύσ"),
        ("ᾼ ᾳ ΑΙ α\u{345}\u{301} ᾴ", "αι αι αι άι άι"),
        ("δ᾿ ἀλλ᾽", "δ ἀλλ"),
        ("ꭰᎠ", "ᎠᎠ"),
        ("ᲐᲑ აბ", "აბ აბ"),
        // Accents, composed, decomposed and in the wrong order.
        ("CAFÉ cafe\u{301}", "café café"),
        ("a\u{301}\u{323} a\u{323}\u{301}", "ạ\u{301} ạ\u{301}"),
        (" \u{301}a ¨ ´b", "a b"),
        ("ǰ ŉ ẚ", "ǰ n a"),
        // Ligatures, fractions, numbers, signs.
        ("ﬁne ﬀ ﬃ ﬅ", "fine ff ffi st"),
        ("1½ ⅔", "11 2 2 3"),
        ("x² H₂O ① ⑴ Ⅳ ㈱ ㍻", "x2 h2o 1 1 iv 株 平成"),
        ("㎏ ™ № ℃ ℡", "kg tm no c tel"),
        ("ＦＵＬＬ　ｗｉｄｔｈ，１２３", "full width 123"),
        ("𝐁𝒪ℒ𝔇 Ⓐⓑ 🄰", "bold ab a"),
        ("coŀlecció col·lecció", "col lecció col lecció"),
        // Scripts without spaces.
        ("日本語です。", "日本語です"),
        ("日本, abc語", "日本 abc語"),
        ("ｶﾞｷﾞ ガギ カ\u{3099}", "ガギ ガギ ガ"),
        ("が か\u{3099} か゛", "が が か \u{3099}"),
        ("ﾊﾟﾝ・パン", "パン パン"),
        ("⼈ 人 \u{F9D1} 六", "人 人 六 六"),
        ("㌀", "アパート"),
        ("日\u{301}本", "日本"),
        ("ไทย ํา ำ", "ไทย ํา ํา"),
        ("ກຳ ກໍາ", "ກໍາ ກໍາ"),
        ("\u{1025}\u{301}\u{102E} ဦ", "ဦ ဦ"),
        // Hangul: jamo, half-width jamo, old letters, tone marks.
        ("한글 한글", "한글 한글"),
        ("ㅎㅏㄴ ﾡ", "하ᄂ ᄀ"),
        ("나\u{302E}랏", "나랏"),
        // Arabic, Hebrew, Indic scripts, Tibetan, Ukrainian, Hawaiian.
        ("ﻣﺤﻤﺪ محمد محـــمد", "محمد محمد محمد"),
        ("ﻻ لا ﷺ", "لا لا صلى الله عليه وسلم"),
        ("שּׁ שׁ\u{5BC} ﬡ", "שּׁ שּׁ א"),
        ("क़ क\u{93C} নো", "क़ क़ নো"),
        ("བོད་ཡིག། བོད༌ཡིག", "བོད ཡིག བོད ཡིག"),
        ("м'ята м’ята мʼята", "м ята м ята м ята"),
        ("Hawaiʻi Hawai'i Hawai‘i", "hawai i hawai i hawai i"),
        ("Йод И\u{306}ОД", "йод йод"),
        ("a😀b 👩‍💻 ❤\u{FE0F}", "a b"),
    ];
    for (text, expected) in table {
        assert_eq!(folded(text).nfd().collect::<String>(), expected.nfd().collect::<String>(), "{text:?}");
        assert!(unicode_normalization::is_nfkc(&folded(text)), "{text:?}");
    }
}

#[test]
fn words_know_where_they_come_from() {
    let table: &[(&str, &[(&str, &str)])] = &[
        ("The  FOX.", &[("the", "The"), ("fox", "FOX")]),
        ("co\u{AD}op, Straße", &[("coop", "co\u{AD}op"), ("strasse", "Straße")]),
        ("a½b", &[("a1", "a½"), ("2b", "½b")]),
        ("㍻", &[("平", "㍻"), ("成", "㍻")]),
        ("cafe\u{301}!", &[("café", "cafe\u{301}")]),
        ("İzmir", &[("izmir", "İzmir")]),
        ("I\u{307} b", &[("i", "I\u{307}"), ("b", "b")]),
        ("ｶﾞｷ", &[("ガ", "ｶﾞ"), ("キ", "ｷ")]),
        ("か\u{338}\u{3099}", &[("が", "か\u{338}\u{3099}")]),
        // In the wrong order, so both come from both.
        ("ก\u{E48}\u{E38}", &[("ก", "ก"), ("\u{E38}", "\u{E48}\u{E38}"), ("\u{E48}", "\u{E48}\u{E38}")]),
        // Composed over a mark between.
        ("か\u{1037}\u{3099}", &[("が", "か\u{1037}\u{3099}"), ("\u{1037}", "\u{1037}\u{3099}")]),
    ];
    for (text, expected) in table {
        let found = origins(text);
        let found: Vec<(&str, &str)> = found.iter().map(|(word, origin)| (word.as_str(), origin.as_str())).collect();
        assert_eq!(found, *expected, "{text:?}");
    }

    let text = "One, «TWO» three";
    let folded = fold(text);
    assert_eq!(folded.text(), "one two three");
    let original = |bytes: Range<usize>| folded.original(bytes).map(|range| &text[range]);
    assert_eq!(original(0..3), Some("One"));
    assert_eq!(original(2..5), Some("One, «TWO"));
    assert_eq!(original(4..13), Some("TWO» three"));
    assert_eq!(original(0..usize::MAX), Some("One, «TWO» three"));
    assert_eq!(original(3..4), None);
    assert_eq!(original(13..20), None);
    assert_eq!(folded.map().original(1..3), Some(7..text.len()));
    assert_eq!(folded.map().original(1..4), None);
    assert_eq!(folded.map().original(2..2), None);
}

#[derive(PartialEq)]
enum Kind {
    Separates,
    Joins,
    Alone,
}

/// What a code point does to words, by asking for the words of a text with it.
fn kind(character: char) -> Kind {
    let apostrophe = "\u{2B9}ʺʻʼʽʾʿˈˮꞋꞌ".contains(character);
    match words(&format!("a{character}")).count() {
        _ if apostrophe || words(&character.to_string()).next().is_none() => Kind::Separates,
        1 => Kind::Joins,
        _ => Kind::Alone,
    }
}

fn leaves_no_trace(character: char) -> bool {
    let ignorable = matches!(
        u32::from(character),
        0xAD | 0x34F | 0x61C | 0x115F..=0x1160 | 0x17B4..=0x17B5 | 0x180B..=0x180F | 0x200B..=0x200F | 0x202A..=0x202E
            | 0x2060..=0x206F | 0x3164 | 0xFE00..=0xFE0F | 0xFEFF | 0xFFA0 | 0xFFF0..=0xFFF8 | 0x1BCA0..=0x1BCA3
            | 0x1D173..=0x1D17A | 0xE0000..=0xE0FFF
    );
    ignorable || character == 'ـ' || canonical_combining_class(character) > 0 && kind(character) == Kind::Separates
}

/// The rules, one after the other.
fn by_the_rules(text: &str) -> String {
    let mut decomposed = String::new();
    text.chars().for_each(|character| decompose_compatible(character, |part| decomposed.push(part)));
    decomposed.retain(|character| !leaves_no_trace(character));
    let (mut kept, mut marks, mut joins, mut on_i) = (String::new(), 0, false, false);
    for character in decomposed.nfd() {
        if canonical_combining_class(character) == 0 {
            let folded: String = [character].into_iter().default_case_fold().collect();
            kept.push_str(if character == 'ı' { "i" } else { &folded });
            (marks, joins, on_i) = (0, kind(character) == Kind::Joins, "iIı".contains(character));
            continue;
        }
        marks += 1;
        let mark_joins = kind(character) == Kind::Joins;
        joins &= mark_joins;
        if marks <= 30 && joins == mark_joins && !(on_i && character == '\u{307}') {
            kept.push(if character == '\u{345}' { 'ι' } else { character });
        }
    }
    let composed: String = kept.nfc().map(|c| if kind(c) == Kind::Separates { ' ' } else { c }).collect();
    let (mut result, mut end) = (String::new(), 0);
    for word in words(&composed) {
        if !result.is_empty() && word.start > end {
            result.push(' ');
        }
        end = word.end;
        result.push_str(&composed[word]);
    }
    result
}

/// All that is promised of one text.
fn keeps_its_promises(text: &str) {
    let folded = fold(text);
    assert_eq!(folded.text(), by_the_rules(text), "{text:?}");
    assert_eq!(self::folded(folded.text()), folded.text(), "folding again changes {text:?}");
    assert!(folded.text().len() <= MAX_EXPANSION * text.len(), "{text:?}");
    for form in [text.nfc().collect::<String>(), text.nfd().collect(), text.nfkc().collect(), text.nfkd().collect()] {
        assert_eq!(self::folded(&form), folded.text(), "{form:?} is {text:?}");
    }
    the_map_is_right(text, &folded);
}

fn the_map_is_right(text: &str, folded: &Folded) {
    let map = folded.map();
    let ranges: Vec<_> = map.ranges().collect();
    let all: Vec<_> = words(folded.text()).collect();
    assert_eq!((ranges.len(), map.len(), map.is_empty()), (all.len(), all.len(), all.is_empty()), "{text:?}");
    for pair in ranges.windows(2) {
        assert!(pair[0].start <= pair[1].start && pair[0].end <= pair[1].end, "{text:?}: {pair:?}");
    }
    for (index, (word, range)) in all.iter().zip(&ranges).enumerate() {
        let original = text.get(range.clone()).unwrap_or_else(|| panic!("{text:?} has no range {range:?}"));
        let (word_text, again) = (&folded.text()[word.clone()], self::folded(original));
        assert!(words(&again).any(|other| &again[other] == word_text), "{word_text:?} is not in {original:?}");
        assert_eq!(map.original(index..index + 1).as_ref(), Some(range));
        assert_eq!(folded.original(word.clone()).as_ref(), Some(range));
        assert_eq!(folded.original(word.start..word.start + 1).as_ref(), Some(range));
        assert_eq!(folded.original(word.start..folded.text().len()), Some(range.start..ranges[all.len() - 1].end));
        assert_eq!(folded.original(0..word.end), Some(ranges[0].start..range.end));
    }
    let decoded = FoldMap::decode(map.as_bytes(), text.len()).expect("a map that was made here");
    assert_eq!(&decoded, map);
}

/// All code points but those of planes 4 to 13, where nothing is, and of the private planes 15 and 16.
fn code_points() -> impl Iterator<Item = char> {
    ('\0'..'\u{40000}').chain('\u{E0000}'..'\u{F0000}')
}

#[test]
fn every_code_point_keeps_its_promises() {
    for character in code_points() {
        let text = character.to_string();
        let alone = folded(&text);
        assert_eq!(alone, by_the_rules(&text), "{character:?}");
        assert_eq!(folded(&alone), alone, "{character:?}");
        let on_a = |text: &str| folded(&format!("a{text}"));
        for other in [character.to_lowercase().collect::<String>(), character.to_uppercase().collect()] {
            // Rust knows cases of letters that are younger than Unicode 16.
            if other.chars().chain([character]).all(is_public_assigned) {
                assert_eq!(on_a(&other), on_a(&text), "{character:?} is {other:?} in another case");
            }
        }
        for text in [format!("a{character}b"), format!("か{character}\u{3099}"), format!("i{character}\u{301}\u{345}")]
        {
            let once = folded(&text);
            assert_eq!(folded(&once), once, "{text:?}");
            assert!(once.len() <= MAX_EXPANSION * text.len(), "{text:?}");
        }
        assert!(folded(&format!("a{character}b")).len() <= 2 + MAX_EXPANSION * text.len(), "{character:?}");
    }
}

/// Whoever changes what any code point folds to, or how it is composed with a few others, changes these digests, and
/// with them every index that holds folded text.
#[test]
fn folding_is_frozen() {
    assert_eq!(UNICODE_VERSION, (16, 0, 0));
    assert_eq!(unicode_normalization::UNICODE_VERSION, (16, 0, 0));
    assert_eq!(caseless::UNICODE_VERSION, (16, 0, 0));
    let digest = |around: (&str, &str)| {
        let mut hasher = blake3::Hasher::new();
        for character in code_points() {
            hasher.update(folded(&format!("{}{character}{}", around.0, around.1)).as_bytes()).update(b"\n");
        }
        hasher.finalize().to_hex()[..16].to_owned()
    };
    let digests = [("", ""), ("a", "b"), ("か", "\u{301}")].map(digest);
    assert_eq!(digests, ["8d89c23b4b7a9c92", "a4d5cbdf64fa8b19", "4b74b439d857db10"]);
}

/// Texts of code points that are likely to get in each other's way.
fn difficult() -> impl Strategy<Value = String> {
    let characters = "aAiIıİßſẞΣσςéÉñǰŉẚﬁ½⅔①⑴㍻ﷺℵ ... ,'’ʼʻ-_\n\u{AD}\u{200B}\u{200D}\u{34F}\u{FE0F}ـ\
        \u{300}\u{301}\u{307}\u{308}\u{323}\u{338}\u{345}\u{344}\u{5B0}\u{5BC}\u{302A}\u{FC6}\u{3099}\u{309A}\
        \u{1037}\u{E38}\u{E48}かガｶﾞ゛ﾟ日本\u{F9D1}⼈ไทยำ\u{1025}\u{102E}ဦ한글\u{1112}\u{1161}\u{11AB}ㅎㅏᄀ\
        \u{1160}\u{FFA0}ᾼᾴαΑ´¨≠=क\u{93C}क़ােো\u{F71}\u{F72}\u{F73}محﻻ\u{FC5E}שּׁ😀𝐁𝅗𝅥\u{1D165}\u{1D16D}";
    let characters: Vec<char> = characters.chars().collect();
    let one = prop_oneof![8 => prop::sample::select(characters), 1 => any::<char>()];
    prop::collection::vec(one, 0..24).prop_map(|characters| characters.into_iter().collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn difficult_texts_keep_their_promises(text in difficult()) {
        keeps_its_promises(&text);
    }

    /// More words than a block of the map has, and more marks than are kept.
    #[test]
    fn long_texts_keep_their_promises(
        text in prop::collection::vec(difficult(), 0..20),
        marks in "[\u{300}\u{307}\u{323}\u{3099}\u{345}\u{E48}]{0,80}",
    ) {
        let text = text.concat();
        let middle = (text.len() / 2..).find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        keeps_its_promises(&format!("{}{marks}{}", &text[..middle], &text[middle..]));
    }

    #[test]
    fn ascii_is_lower_case_with_single_spaces(text in "[ -~\n\t\0]{0,300}") {
        let parts = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        prop_assert_eq!(folded(&text), parts.collect::<Vec<_>>().join(" ").to_ascii_lowercase());
        the_map_is_right(&text, &fold(&text));
    }

    /// Case, spacing, punctuation and what nobody sees.
    #[test]
    fn light_edits_change_nothing(
        all in prop::collection::vec("[a-zäßéıσςжქﬁñ0-9\u{301}]{1,6}|[日本かガ]{1,3}", 1..12),
        edits in prop::collection::vec(any::<u8>(), 1..32),
    ) {
        let mut edits = edits.iter().cycle().copied();
        let mut edit = |choices: &[&str]| choices[usize::from(edits.next().unwrap_or(0)) % choices.len()].to_owned();
        let mut edited = edit(&["", " ", "— ", "\u{FEFF}"]);
        for (index, word) in all.iter().enumerate() {
            if index > 0 {
                edited += &edit(&[" ", ", ", "\n\n", "\u{A0}", "’", " “", "…", "-", "ʼ", "！", "\u{200B} "]);
            }
            for character in word.chars() {
                let (upper, lower) = (character.to_uppercase().to_string(), character.to_lowercase().to_string());
                edited += &edit(&[&character.to_string(), &upper, &lower]);
                edited += &edit(&["", "", "", "\u{AD}", "\u{200D}"]);
            }
        }
        edited += &edit(&["", ".", "?!", "”\n"]);
        prop_assert_eq!(folded(&edited), folded(&all.join(" ")), "{:?}", edited);
    }
}

/// A byte a word, nearly.
#[test]
fn maps_are_small() {
    let text = "It was the best of times, it was the worst of times.\n\n".repeat(100);
    assert_eq!(fold(&text).map().as_bytes().len(), fold(&text).map().len());
    let text = "日本語のテキスト。".repeat(100);
    assert_eq!(fold(&text).map().as_bytes().len(), fold(&text).map().len());
    let text = "Pneumonoultramicroscopicsilicovolcanoconiosis        ½".repeat(100);
    assert!(fold(&text).map().as_bytes().len() <= 5 * fold(&text).map().len());
}

/// What would take hours if anything took time by the square.
#[test]
fn hostile_texts_take_no_longer_than_others() {
    let long = |piece: &str| piece.repeat((1 << 19) / piece.len());
    for piece in [
        "\u{301}",
        "\u{301}\u{323}",
        "\u{E48}\u{E38}",
        "\u{345}",
        "\u{AD}",
        "ـ",
        "ﷺ",
        "\u{1100}",
        "x",
        ".",
        "½",
        "\u{344}\u{F73}",
    ] {
        for text in [long(piece), format!("a{}", long(piece)), format!("か{}b", long(piece))] {
            let folded = fold(&text);
            assert!(folded.text().len() <= MAX_EXPANSION * text.len());
            assert!(folded.map().as_bytes().len() <= folded.text().len() * 6);
            let total: usize = folded.map().ranges().map(|range| range.len()).sum();
            assert!(total <= 32 * text.len(), "{piece:?}");
            assert_eq!(fold(folded.text()).text(), folded.text(), "{piece:?}");
        }
    }
}
