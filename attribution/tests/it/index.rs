//! Indices: however documents come in, the answers are the same; nothing half-done is ever seen.

use crate::docs::{any_docs, any_text, naive_words};
use attribution::span::{Added, FOLDED, Index, IndexError, IndexWriter, Limits, Listed, Longest, NewDocument};
use proptest::prelude::*;
use protocol::evidence::Answer;
use protocol::fold::fold;
use protocol::ids::DataNetId;
use std::collections::BTreeSet;
use std::path::Path;

/// Every span.
const ALL: Listed = Listed { min_bits: 0, max_count: None, around: 10 };

fn documents(texts: &[String]) -> Vec<NewDocument> {
    let named = |number: u64, text: &String| {
        NewDocument::unadmitted(number, format!("d{number}"), format!("c{}", number % 3), text.clone())
    };
    texts.iter().zip(0..).map(|(text, number)| named(number, text)).collect()
}

fn add(writer: &mut IndexWriter, limits: &Limits, documents: &[NewDocument]) -> Added {
    let mut rest = documents.iter().cloned();
    let next = || Ok::<_, IndexError>(rest.next());
    writer.add(limits, next, |_| ()).expect("a disk")
}

fn build(folder: &Path, limits: &Limits, documents: &[NewDocument]) -> Index {
    let mut writer = IndexWriter::create(folder, 0).expect("a new folder");
    add(&mut writer, limits, documents);
    Index::open(folder).expect("just written")
}

/// What an index says about a text, without what depends on the segments.
fn said(index: &Index, text: &str) -> (Vec<u8>, Vec<Longest>, String) {
    let answer = Answer::new(text).expect("short");
    let evidence = index.evidence(&answer).expect("sound").into_evidence(&answer, DataNetId::default());
    let trace = index.trace(&answer, ALL).expect("sound");
    (evidence.to_bytes(), index.longest(&answer).expect("sound"), format!("{trace:?}"))
}

/// Segments of so many bytes of text at most.
fn small(segment_bytes: usize, threads: usize) -> Limits {
    Limits { segment_bytes, threads, ..Limits::default() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    /// One segment or many, one thread or several, added at once or bit by bit, joined or not.
    #[test]
    fn the_division_changes_nothing(
        docs in any_docs(), text in any_text(40), segment_bytes in 1_usize..60, threads in 1_usize..4,
        cut in any::<prop::sample::Index>(),
    ) {
        let texts: Vec<String> = docs.into_iter().map(|doc| doc.text).collect();
        let documents = documents(&texts);
        let folder = tempfile::tempdir().expect("a disk");
        let whole = said(&build(&folder.path().join("whole"), &Limits::default(), &documents), &text);
        let parts = folder.path().join("parts");
        let mut writer = IndexWriter::create(&parts, 0).expect("a new folder");
        let (first, second) = documents.split_at(cut.index(documents.len() + 1));
        add(&mut writer, &small(segment_bytes, threads), first);
        add(&mut writer, &small(segment_bytes, threads), second);
        let divided = Index::open(&parts).expect("just written");
        prop_assert_eq!(&said(&divided, &text), &whole);
        let before = divided.segments().count();
        let mut joined = 0;
        while let count @ 1.. = writer.join(&Limits::default()).expect("a disk") {
            joined += count - 1;
        }
        // Who opened it before still sees what was there.
        prop_assert_eq!(&said(&divided, &text), &whole);
        let after = Index::open(&parts).expect("just written");
        prop_assert_eq!(after.segments().count(), before - joined);
        prop_assert!(after.segments().count() < 4);
        prop_assert_eq!(&said(&after, &text), &whole);
    }

    /// Struck documents leave nothing behind: the index answers as if they had never been there.
    #[test]
    fn what_is_struck_was_never_there(
        docs in any_docs(), text in any_text(40), struck in prop::collection::vec(any::<bool>(), 9), segment_bytes in 1_usize..60,
    ) {
        let texts: Vec<String> = docs.into_iter().map(|doc| doc.text).collect();
        let all = documents(&texts);
        let is_struck = |document: &NewDocument| struck[document.name[1..].parse::<usize>().expect("a number")];
        let names: BTreeSet<String> = all.iter().filter(|d| is_struck(d)).map(|d| d.name.clone()).collect();
        let folder = tempfile::tempdir().expect("a disk");
        let path = folder.path().join("all");
        let mut writer = IndexWriter::create(&path, 0).expect("a new folder");
        add(&mut writer, &small(segment_bytes, 1), &all);
        let limits = Limits::default();
        prop_assert_eq!(writer.strike(&limits, &names).expect("a disk"), names.len() as u64);
        let left = Index::open(&path).expect("just written");
        // Built of the others alone, places in the order of admission are other ones; the rest must be the same.
        let kept: Vec<NewDocument> = all.iter().filter(|d| !is_struck(d)).cloned().collect();
        let fresh = build(&folder.path().join("kept"), &limits, &kept);
        let answer = Answer::new(&text).expect("short");
        prop_assert_eq!(left.longest(&answer).expect("sound"), fresh.longest(&answer).expect("sound"));
        let (left, fresh) = (left.trace(&answer, ALL).expect("sound"), fresh.trace(&answer, ALL).expect("sound"));
        prop_assert_eq!(left.shares, fresh.shares);
        for (left, fresh) in left.spans.iter().zip(&fresh.spans) {
            prop_assert_eq!((left.start, left.end, left.bits_q16), (fresh.start, fresh.end, fresh.bits_q16));
            prop_assert_eq!(left.occurrences.documents(), fresh.occurrences.documents());
            prop_assert_eq!(left.occurrences.occurrences(), fresh.occurrences.occurrences());
            prop_assert_eq!(left.occurrences.contributors(), fresh.occurrences.contributors());
            prop_assert_eq!(&left.occurrences.context, &fresh.occurrences.context);
        }
    }

    /// The longest match from each word, by its definition.
    #[test]
    fn longest_matches_are_those_of_a_naive_search(docs in any_docs(), text in any_text(30)) {
        let texts: Vec<String> = docs.into_iter().map(|doc| doc.text).collect();
        let folder = tempfile::tempdir().expect("a disk");
        let index = build(folder.path(), &Limits::default(), &documents(&texts));
        let answer = Answer::new(&text).expect("short");
        let found = index.longest(&answer).expect("sound");
        let words = naive_words(&text);
        prop_assert_eq!(found.len(), words.len());
        for (longest, &(start, _)) in found.iter().zip(&words) {
            let (mut bytes, mut whole) = ((0, 0), (0, 0));
            for end in (start + 1..=text.len()).filter(|end| text.is_char_boundary(*end)) {
                let passage = &text[start..end];
                let ends_here = words.iter().any(|word| word.1 == end);
                let (mut count, mut whole_count) = (0, 0);
                for text in &texts {
                    let theirs = naive_words(text);
                    for &(at, _) in theirs.iter().filter(|(at, _)| text[*at..].starts_with(passage)) {
                        count += 1;
                        whole_count += u64::from(ends_here && theirs.iter().any(|word| word.1 == at + passage.len()));
                    }
                }
                if count > 0 {
                    bytes = (passage.len(), count);
                }
                if whole_count > 0 {
                    whole = (passage.len(), whole_count);
                }
            }
            prop_assert_eq!((longest.bytes as usize, longest.count), bytes, "from byte {}", start);
            prop_assert_eq!((longest.whole as usize, longest.whole_count), whole, "from byte {}", start);
        }
    }
}

#[test]
fn whatever_a_crash_leaves_is_the_old_version_or_the_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index");
    let texts = ["one two three".to_owned(), "four five six".to_owned()];
    let documents = documents(&texts);
    // A writer that died before its first version: there is no index, and the folder can be used again.
    std::fs::create_dir(&path).unwrap();
    std::fs::write(path.join("aa.segment"), b"half").unwrap();
    std::fs::write(path.join("index.new"), b"half").unwrap();
    assert!(matches!(Index::open(&path), Err(IndexError::Missing { .. })));
    let index = build(&path, &Limits::default(), &documents[..1]);
    assert_eq!(index.segments().count(), 1);
    assert!(!path.join("aa.segment").exists() && !path.join("index.new").exists());
    let old = said(&index, "one two three four five six");
    // A writer that died with segments on the disk and no version that names them.
    std::fs::write(path.join("bb.segment"), b"whole").unwrap();
    std::fs::write(path.join("index.new"), b"half").unwrap();
    assert_eq!(said(&Index::open(&path).unwrap(), "one two three four five six"), old);
    // An error in the middle of what is added: nothing is.
    let mut writer = IndexWriter::open(&path).unwrap();
    assert!(!path.join("bb.segment").exists());
    let mut given = 0;
    let failing = || {
        given += 1;
        if given < 3 {
            Ok(Some(NewDocument { order: 10 + given, ..documents[1].clone() }))
        } else {
            Err(IndexError::NoDocument { name: "x".to_owned() })
        }
    };
    writer.add(&small(1, 2), failing, |_| ()).unwrap_err();
    assert_eq!(said(&Index::open(&path).unwrap(), "one two three four five six"), old);
    // The same writer goes on.
    add(&mut writer, &Limits::default(), &documents[1..]);
    assert_eq!(Index::open(&path).unwrap().segments().count(), 2);
    assert_eq!(Index::open(&path).unwrap().version(), 2);
    assert!(matches!(IndexWriter::open(&path), Err(IndexError::Locked { .. })));
    drop(writer);
    assert!(matches!(IndexWriter::create(&path, 0), Err(IndexError::NotEmpty { .. })));
    let mut writer = IndexWriter::open(&path).unwrap();
    let nobody = BTreeSet::from(["nobody".to_owned()]);
    assert!(
        matches!(writer.strike(&Limits::default(), &nobody), Err(IndexError::NoDocument { name }) if name == "nobody")
    );
}

#[test]
fn a_damaged_version_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    build(folder.path(), &Limits::default(), &documents(&["one two".to_owned()]));
    let file = folder.path().join("index");
    let sound = std::fs::read(&file).unwrap();
    for at in 0..sound.len() {
        let mut bytes = sound.clone();
        bytes[at] ^= 1;
        std::fs::write(&file, &bytes).unwrap();
        let error = Index::open(folder.path()).unwrap_err();
        assert!(matches!(error, IndexError::Damaged { .. } | IndexError::Form { .. }), "{at}: {error}");
    }
    for length in 0..sound.len() {
        std::fs::write(&file, &sound[..length]).unwrap();
        assert!(matches!(Index::open(folder.path()), Err(IndexError::Damaged { .. })), "{length}");
    }
    std::fs::write(&file, &sound).unwrap();
    let index = Index::open(folder.path()).unwrap();
    let segment = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let segment = segment.into_iter().find(|path| path.extension().is_some_and(|ending| ending == "segment")).unwrap();
    std::fs::remove_file(&segment).unwrap();
    let error = Index::open(folder.path()).unwrap_err();
    assert!(matches!(&error, IndexError::Segment { path, .. } if *path == segment), "{error}");
    // Who has it open can go on.
    assert_eq!(index.explain("one two", 0).unwrap().documents(), 1);
}

#[test]
fn odd_documents_are_no_trouble() {
    let folder = tempfile::tempdir().unwrap();
    let nul = "a\0b \0\0 c";
    let texts =
        ["", " \n", nul, "\u{feff}", "x", "same same", "same same", &"w".repeat(3_000_000), &" ".repeat(100_000)];
    let texts: Vec<String> = texts.into_iter().map(ToOwned::to_owned).collect();
    let index = build(folder.path(), &Limits::default(), &documents(&texts));
    let found = |passage: &str| index.explain(passage, 3).unwrap();
    assert_eq!(found("a\0b \0\0 c").documents(), 1);
    assert_eq!((found("same").occurrences(), found("same same").documents()), (4, 2));
    assert_eq!(found(&"w".repeat(3_000_000)).documents(), 1);
    assert_eq!(found(&"w".repeat(2_999_999)).documents(), 0);
    // A document that takes more memory than there may be used is refused, and says how much it takes.
    let mut writer = IndexWriter::open(folder.path()).unwrap();
    let limits = Limits { memory_bytes: 1 << 20, ..Limits::default() };
    let mut large = Some(NewDocument::unadmitted(99, "large".to_owned(), String::new(), "a b ".repeat(1 << 19)));
    let error = writer.add(&limits, || Ok::<_, IndexError>(large.take()), |_| ()).unwrap_err();
    assert!(matches!(&error, IndexError::DocumentTooLarge { name, .. } if name == "large"), "{error}");
}

/// Texts that are slow for whoever compares suffixes in full: the same word throughout, Fibonacci words, long repeats.
#[test]
fn repetitive_text_is_indexed_in_linear_time() {
    let mut fibonacci = ("a ".to_owned(), "a b ".to_owned());
    while fibonacci.1.len() < 2_000_000 {
        let next = fibonacci.1.clone() + &fibonacci.0;
        fibonacci = (fibonacci.1, next);
    }
    let body: String = (0..50_000).map(|number: u32| format!("{} ", number.wrapping_mul(2_654_435_761))).collect();
    let texts = [
        "z ".repeat(1_000_000),
        fibonacci.1,
        format!("first {body}"),
        format!("second {body}"),
        format!("third {body}"),
    ];
    let folder = tempfile::tempdir().unwrap();
    let index = build(folder.path(), &Limits::default(), &documents(&texts));
    assert_eq!(index.explain("z z z z", 0).unwrap().occurrences(), 999_997);
    // A repeat of half a megabyte in three documents: all three are in order.
    let passage = body[..30_000].rsplit_once(' ').map_or("", |(whole, _)| whole);
    assert_eq!(index.explain(passage, 0).unwrap().documents(), 3);
    let answer = Answer::new(passage).unwrap();
    assert!(index.longest(&answer).unwrap().iter().all(|longest| longest.whole_count == 3));
    let answer = "a b a a b a b a a b a a b".to_owned();
    let longest = index.longest(&Answer::new(&answer).unwrap()).unwrap();
    assert_eq!(longest[0].whole as usize, answer.len());
}

#[test]
fn folded_text_is_found_whatever_its_dress() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = IndexWriter::create(folder.path(), FOLDED).unwrap();
    let text = "Preface.\u{a0}THE QUICK—brown  fox; jumps\tover the ﬁrst lazy dog.";
    let other = "Something else, and the quick brown fox.";
    add(&mut writer, &small(10, 2), &documents(&[text.to_owned(), other.to_owned()]));
    let index = Index::open(folder.path()).unwrap();
    let asked = fold("“The quick brown fox jumps over the first lazy dog”");
    let trace = index.trace(&Answer::new(asked.text()).unwrap(), ALL).unwrap();
    let holder = trace.spans[0].occurrences.holder().unwrap();
    assert_eq!((trace.spans.len(), index.name_of(&holder).unwrap().as_str()), (1, "d0"));
    assert!(text[usize::try_from(index.original_offset(&holder).unwrap()).unwrap()..].starts_with("THE QUICK"));
    let found = index.explain("the quick brown fox", 0).unwrap();
    assert_eq!(found.documents(), 2);
    for later in found.later(1) {
        assert_eq!(index.original_offset(&later).unwrap(), 20);
    }
    // Joined and struck, the way back stays.
    let mut more = documents(&["x".to_owned(), "y".to_owned(), "z".to_owned()]);
    more.iter_mut().for_each(|document| document.order += 10);
    add(&mut writer, &small(1, 1), &more);
    assert!(writer.join(&Limits::default()).unwrap() > 0);
    writer.strike(&Limits::default(), &BTreeSet::from(["d0".to_owned()])).unwrap();
    let index = Index::open(folder.path()).unwrap();
    let holder = index.explain("the quick brown fox", 0).unwrap().holder().unwrap();
    assert_eq!(index.original_offset(&holder).unwrap(), 20);
}

#[test]
fn frequent_spans_are_left_out_where_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let texts = ["a b c d", "a b x", "a b y", "a z"].map(ToOwned::to_owned);
    let index = build(folder.path(), &Limits::default(), &documents(&texts));
    let answer = Answer::new("a b c, a b q, a q").unwrap();
    let spans = |max_count| {
        let trace = index.trace(&answer, Listed { max_count, ..ALL }).unwrap();
        trace.spans.iter().map(|span| span.occurrences.occurrences()).collect::<Vec<_>>()
    };
    assert_eq!(spans(None), [1, 3, 4]);
    assert_eq!(spans(Some(3)), [1, 3]);
    assert_eq!(spans(Some(0)), [0; 0]);
    assert_eq!((index.count("a b").unwrap(), index.count("b a").unwrap()), (3, 0));
}

#[test]
fn many_small_documents() {
    let texts: Vec<String> = (0..100_000).map(|number| format!("note {number}")).collect();
    let folder = tempfile::tempdir().unwrap();
    let index = build(folder.path(), &Limits::default(), &documents(&texts));
    let found = index.explain("note", 0).unwrap();
    assert_eq!((found.documents(), found.contributors()), (100_000, 3));
    let found = index.explain("note 77777", 0).unwrap();
    assert_eq!(index.name_of(&found.holder().unwrap()).unwrap(), "d77777");
    assert_eq!(index.contributor_of(&found.holder().unwrap()).unwrap(), "c2");
}
