//! Documents for tests: texts that repeat and touch each other in every way.

use attribution::span::{DocumentRef, Segment, SegmentBuilder};
use proptest::prelude::*;
use protocol::evidence::{Answer, Evidence, Partial};
use protocol::ids::{ContributionId, DataNetId};
use std::collections::BTreeMap;

pub(crate) const DATANET: DataNetId = DataNetId([9; 32]);

/// A document of a test.
#[derive(Clone, Debug)]
pub(crate) struct Doc {
    pub(crate) order: u64,
    pub(crate) document: u32,
    pub(crate) text: String,
}

pub(crate) fn contribution(order: u64) -> ContributionId {
    let mut id = [0; 32];
    // Ids that do not rise with the order of admission.
    id[..8].copy_from_slice(&order.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
    ContributionId(id)
}

pub(crate) fn docs(texts: &[(u64, &str)]) -> Vec<Doc> {
    let mut documents = BTreeMap::new();
    let number = |order: u64| {
        let next = documents.entry(order).or_insert(0);
        *next += 1;
        *next - 1
    };
    let numbers: Vec<u32> = texts.iter().map(|(order, _)| *order).map(number).collect();
    let with_number = texts.iter().zip(numbers);
    with_number.map(|((order, text), document)| Doc { order: *order, document, text: (*text).to_owned() }).collect()
}

pub(crate) fn document(doc: &Doc) -> DocumentRef<'_> {
    DocumentRef {
        order: doc.order,
        contribution: contribution(doc.order),
        document: doc.document,
        // Two contributions of each contributor.
        contributor: contribution(doc.order / 2).0,
        name: "",
        contributor_name: "",
        text: &doc.text,
        origins: &[],
    }
}

pub(crate) fn segment<'a>(docs: impl IntoIterator<Item = &'a Doc>) -> Segment {
    let mut docs: Vec<&Doc> = docs.into_iter().collect();
    docs.sort_by_key(|doc| (doc.order, doc.document));
    let mut builder = SegmentBuilder::new();
    for doc in docs {
        builder.add(document(doc)).expect("documents in order");
    }
    builder.finish().expect("small documents").into_segment().expect("memory")
}

/// A text cut into words.
pub(crate) fn answer(text: &str) -> Answer<'_> {
    Answer::new(text).expect("a short answer")
}

/// What an index of documents says of an answer.
pub(crate) fn found<'a>(docs: impl IntoIterator<Item = &'a Doc>, answer: &Answer<'_>) -> Partial {
    segment(docs).evidence(answer).expect("a sound segment")
}

/// The same as evidence, which passes the check.
pub(crate) fn evidence(docs: &[Doc], text: &str) -> Evidence {
    let answer = answer(text);
    let evidence = found(docs, &answer).into_evidence(&answer, DATANET);
    evidence.check(&answer).expect("what an index finds passes the check");
    evidence
}

/// Words by their definition, for the code points that these tests use.
pub(crate) fn naive_words(text: &str) -> Vec<(usize, usize)> {
    let alone = |c: char| ('\u{4e00}'..='\u{9fff}').contains(&c) || ('\u{e01}'..='\u{e3a}').contains(&c);
    let joins = |c: char| c.is_alphanumeric() && !alone(c);
    let mut list: Vec<(usize, usize)> = Vec::new();
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        let end = at + c.len_utf8();
        match list.last_mut() {
            Some(word) if joins(c) && joins(before) => word.1 = end,
            _ if joins(c) || alone(c) => list.push((at, end)),
            _ => (),
        }
        before = c;
    }
    list
}

/// Texts of few words, so that passages repeat, that touch in every way: prefixes of each other, scripts without
/// spaces, bytes shared by different code points, separators of one and of three bytes.
pub(crate) fn any_text(max: usize) -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "a", "b", "ab", "abc", "é", "è", "ж", "日", "本", "ก", "ข", " ", " ", " ", " ", ", ", "\n", "。", "—", "😀",
    ]);
    prop::collection::vec(piece, 0..max).prop_map(|pieces| pieces.concat())
}

/// Documents of a few contributions, of which some are copies, cut at code points, of what came before.
pub(crate) fn any_docs() -> impl Strategy<Value = Vec<Doc>> {
    let document = (0_u64..5, any_text(24), prop::option::of((any::<prop::sample::Index>(), 0_usize..12)));
    prop::collection::vec(document, 0..9).prop_map(|list| {
        let mut texts: Vec<(u64, String)> = Vec::new();
        for (order, text, copied) in list {
            let copy = copied.filter(|_| !texts.is_empty()).map(|(source, cut)| {
                let source: Vec<char> = texts[source.index(texts.len())].1.chars().collect();
                source[cut.min(source.len())..].iter().collect::<String>() + &text
            });
            texts.push((order, copy.unwrap_or(text)));
        }
        docs(&texts.iter().map(|(order, text)| (*order, text.as_str())).collect::<Vec<_>>())
    })
}
