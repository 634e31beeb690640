//! Segments as files: what is written is read, and whatever is altered is found out.

use crate::docs::{Doc, any_docs, any_text, docs, document, segment};
use attribution::span::{Segment, SegmentBuilder, SegmentError, write_file};
use proptest::prelude::*;
use protocol::evidence::Answer;
use protocol::segment::{HEADER_BYTES, HeaderError, Section};
use std::path::Path;

fn write(docs: &[Doc], path: &Path) {
    let mut builder = SegmentBuilder::new();
    let mut sorted: Vec<&Doc> = docs.iter().collect();
    sorted.sort_by_key(|doc| (doc.order, doc.document));
    sorted.into_iter().for_each(|doc| builder.add(document(doc)).expect("in order"));
    write_file(path, &builder.finish().expect("small")).expect("a disk");
}

/// Puts other bytes in the place of a file that nobody may change.
fn replace(path: &Path, bytes: &[u8]) {
    std::fs::remove_file(path).expect("it is there");
    std::fs::write(path, bytes).expect("a disk");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_file_says_what_memory_says(docs in any_docs(), text in any_text(40)) {
        let folder = tempfile::tempdir().expect("a disk");
        let path = folder.path().join("a.segment");
        write(&docs, &path);
        let (file, memory) = (Segment::open(&path).expect("just written"), segment(&docs));
        prop_assert_eq!(file.root(), memory.root());
        prop_assert_eq!(file.raw(), memory.raw());
        let answer = Answer::new(&text).expect("short");
        prop_assert_eq!(file.evidence(&answer).expect("sound"), memory.evidence(&answer).expect("sound"));
        file.verify().expect("sound");
        for (doc, number) in file_order(&docs).iter().zip(0..) {
            prop_assert_eq!(file.document_ref(number).expect("it is there"), document(doc));
        }
    }

    /// Nobody who alters a byte is believed: opening, checking or the first use says so.
    #[test]
    fn an_altered_byte_is_found(
        docs in any_docs(), at in any::<prop::sample::Index>(), bit in 0_u32..8,
    ) {
        let folder = tempfile::tempdir().expect("a disk");
        let path = folder.path().join("a.segment");
        write(&docs, &path);
        let mut bytes = std::fs::read(&path).expect("just written");
        let at = at.index(bytes.len());
        let is_padding = !is_content(&Segment::open(&path).expect("sound"), at);
        bytes[at] ^= 1 << bit;
        replace(&path, &bytes);
        let found = Segment::open(&path).and_then(|segment| segment.verify());
        prop_assert_eq!(found.is_err(), !is_padding, "byte {} of {}", at, bytes.len());
    }
}

fn file_order(docs: &[Doc]) -> Vec<&Doc> {
    let mut sorted: Vec<&Doc> = docs.iter().collect();
    sorted.sort_by_key(|doc| (doc.order, doc.document));
    sorted
}

/// Is a byte of the file in its header or a section? Between them stand zeros that mean nothing.
fn is_content(segment: &Segment, at: usize) -> bool {
    at < HEADER_BYTES || segment.header().layout().iter().any(|range| range.contains(&(at as u64)))
}

#[test]
fn large_sections_are_checked_group_by_group_as_they_are_used() {
    // Enough text for several groups of each large section.
    let text: String =
        (0..120_000).map(|number: u32| format!("word{} ", number.wrapping_mul(2_654_435_761) % 30_000)).collect();
    let docs = docs(&[(1, &text), (2, "the last words of all stand alone")]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.segment");
    write(&docs, &path);
    let segment = Segment::open(&path).unwrap();
    segment.verify().unwrap();
    let layout = segment.header().layout();
    drop(segment);
    let sound = std::fs::read(&path).unwrap();
    for section in [Section::Text, Section::Suffixes, Section::Words, Section::Slots] {
        let range = &layout[section as usize];
        assert!(range.end - range.start > 3 * 16 * 1024, "{section:?}");
        let at = usize::try_from(range.start).unwrap() + 2 * 16 * 1024 + 5;
        let mut bytes = sound.clone();
        bytes[at] ^= 4;
        replace(&path, &bytes);
        let error = Segment::open(&path).unwrap().verify().unwrap_err();
        assert!(matches!(error, SegmentError::Damaged { section: s, at: 32_768 } if s == section), "{error}");
        assert!(error.to_string().contains("from byte 32768 on"), "{error}");
    }
    // Damage to a document does not keep others from being read.
    let mut bytes = sound.clone();
    bytes[usize::try_from(layout[0].start).unwrap()] ^= 1;
    replace(&path, &bytes);
    let segment = Segment::open(&path).unwrap();
    assert!(segment.document_text(0).is_err());
    assert_eq!(segment.document_text(1).unwrap(), "the last words of all stand alone");
    assert!(segment.explain("word0", 0).is_err());
    // An altered hash of a part.
    let mut bytes = sound.clone();
    bytes[usize::try_from(layout[11].start).unwrap() + 3] ^= 1;
    replace(&path, &bytes);
    let error = Segment::open(&path).unwrap().verify().unwrap_err();
    assert!(matches!(error, SegmentError::Groups { section: Section::Text }), "{error}");
}

#[test]
fn files_that_are_no_segments_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.segment");
    write(&docs(&[(1, "one two three")]), &path);
    let sound = std::fs::read(&path).unwrap();
    assert!(std::fs::metadata(&path).unwrap().permissions().readonly());
    let opened = |bytes: &[u8]| {
        replace(&path, bytes);
        Segment::open(&path).map(|_| ()).unwrap_err()
    };
    let length = sound.len() as u64;
    let cut = opened(&sound[..sound.len() - 1]);
    assert!(matches!(cut, SegmentError::Length { expected, got } if expected == length && got == length - 1), "{cut}");
    let longer = opened(&[&sound[..], b"x"].concat());
    assert!(matches!(longer, SegmentError::Length { .. }), "{longer}");
    assert!(matches!(opened(b""), SegmentError::Length { got: 0, .. }));
    assert!(matches!(opened(&sound[..100]), SegmentError::Length { got: 100, .. }));
    let text = "not a segment ".repeat(100);
    assert!(matches!(opened(text.as_bytes()), SegmentError::Header { source: HeaderError::Magic }));
    let mut newer = sound.clone();
    newer[8] = 2;
    let error = opened(&newer);
    assert!(matches!(error, SegmentError::Header { source: HeaderError::Version { got: 2 } }));
    assert_eq!(error.to_string(), "this segment has version 2; this software reads version 1: build the index again");
    let mut altered = sound.clone();
    altered[300] ^= 1;
    assert!(matches!(opened(&altered), SegmentError::Header { source: HeaderError::Altered { .. } }));
    assert!(matches!(Segment::open(&folder.path().join("none")), Err(SegmentError::Io { .. })));
}

/// The root is a function of the documents alone. It changes only with the form, and CHANGELOG.md says so then.
#[test]
fn the_root_is_frozen() {
    let docs = docs(&[
        (1, "The quick brown fox — jumps over the lazy dog."),
        (1, "日本語のテキスト、and English."),
        (4, "The quick brown fox. The quick brown cat."),
    ]);
    let segment = segment(&docs);
    assert_eq!(segment.header().words, 27);
    assert_eq!(segment.root().to_string(), "17c75b4dbbbd6e3b629fd64806f1d1ef07db3b7925b82df964e77723fde89b53");
}
