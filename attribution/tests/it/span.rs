//! The span index against a naive search, over random texts and random divisions of them; and the laws of copying.

#![expect(clippy::cast_possible_truncation, reason = "places in texts of a few bytes")]

use crate::docs::{
    DATANET, Doc, answer, any_docs, any_text, contribution, docs, evidence, found, naive_words, segment,
};
use attribution::span::{BuildError, DocumentError, DocumentRef, SegmentBuilder, check_document};
use proptest::prelude::*;
use protocol::evidence::{Frequencies, Holder, Partial, Span, attribute};
use std::collections::{BTreeMap, BTreeSet};

/// Evidence by its definition: every run of words at every place of every document.
fn naive(docs: &[Doc], text: &str) -> Partial {
    let words = naive_words(text);
    let mut found: BTreeMap<(usize, usize), Holder> = BTreeMap::new();
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    let mut all = 0;
    for doc in docs {
        let theirs = naive_words(&doc.text);
        let ends: BTreeSet<usize> = theirs.iter().map(|word| word.1).collect();
        all += theirs.len() as u64;
        for &(at, end) in &theirs {
            *counts.entry(&doc.text[at..end]).or_default() += 1;
            for (first, &(from, _)) in words.iter().enumerate() {
                for &(_, to) in &words[first..] {
                    if doc.text[at..].starts_with(&text[from..to]) && ends.contains(&(at + to - from)) {
                        let (order, document, offset) = (doc.order, doc.document, at as u64);
                        let here = Holder { order, contribution: contribution(order), document, offset };
                        let holder = found.entry((from, to)).or_insert(here);
                        *holder = here.min(*holder);
                    }
                }
            }
        }
    }
    // What of all that matches is evidence is the protocol's to say, and its tests'.
    let spans = found.iter();
    let spans = spans.map(|(&(start, end), &holder)| Span { start: start as u32, end: end as u32, holder }).collect();
    let mut distinct: Vec<&str> = Vec::new();
    for &(start, end) in &words {
        if !distinct.contains(&&text[start..end]) {
            distinct.push(&text[start..end]);
        }
    }
    let counts = distinct.iter().map(|word| counts.get(word).copied().unwrap_or(0)).collect();
    Partial::new(&answer(text), spans, &[], Frequencies { words: all, counts })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn finds_what_a_naive_search_finds(docs in any_docs(), text in any_text(40)) {
        let answer = answer(&text);
        let found = found(&docs, &answer);
        prop_assert_eq!(&found, &naive(&docs, &text));
        prop_assert_eq!(found.into_evidence(&answer, DATANET).check(&answer), Ok(()));
    }

    /// However documents are divided among indices and in whichever order these are joined: the same bytes.
    #[test]
    fn any_division_gives_the_same_bytes(
        docs in any_docs(),
        text in any_text(40),
        shards in prop::collection::vec(0_usize..4, 9),
        joins in prop::collection::vec(any::<prop::sample::Index>(), 3),
    ) {
        let answer = answer(&text);
        let mine = |number: usize| docs.iter().zip(&shards).filter(move |(_, shard)| **shard == number);
        let mut partials: Vec<Partial> =
            (0..4).map(|number| found(mine(number).map(|(doc, _)| doc), &answer)).collect();
        for join in joins {
            let left = partials.swap_remove(join.index(partials.len()));
            let right = partials.swap_remove(0);
            partials.push(left.combine(&answer, &right).expect("one answer"));
        }
        let whole = found(&docs, &answer).into_evidence(&answer, DATANET).to_bytes();
        prop_assert_eq!(partials.remove(0).into_evidence(&answer, DATANET).to_bytes(), whole);
    }

    /// Whoever admits a passage of an admitted document later, in whatever name, earns nothing by any answer.
    #[test]
    fn a_later_copy_earns_nothing(
        docs in any_docs(), text in any_text(40), source in any::<prop::sample::Index>(),
        cut in (any::<prop::sample::Index>(), any::<prop::sample::Index>()), times in 1_u32..4,
    ) {
        prop_assume!(!docs.is_empty());
        let source = &docs[source.index(docs.len())].text;
        // Cut at word bounds: half a word is a word that nobody has admitted yet.
        let words = naive_words(source);
        prop_assume!(!words.is_empty());
        let (a, b) = (cut.0.index(words.len()), cut.1.index(words.len()));
        let copy = &source[words[a.min(b)].0..words[a.max(b)].1];
        let mut with_copies = docs.clone();
        with_copies.extend((0..times).map(|document| Doc { order: 77, document, text: copy.to_owned() }));
        let paid = attribute(&answer(&text), &evidence(&with_copies, &text));
        prop_assert!(!paid.by_contribution.contains_key(&contribution(77)));
        // Everyone else holds what they held.
        prop_assert_eq!(evidence(&with_copies, &text).spans, evidence(&docs, &text).spans);
    }

    /// Whoever deals his documents out to several contributions, admitted then or later, earns no more in all.
    #[test]
    fn splitting_a_contribution_earns_no_more(
        docs in any_docs(), text in any_text(40), parts in prop::collection::vec(0_u64..4, 9), late in 0_u64..40,
    ) {
        // Places in the order of admission, ten apart, with room for the parts behind the place of the second.
        let spread: Vec<Doc> = docs.iter().map(|doc| Doc { order: doc.order * 10, ..doc.clone() }).collect();
        let mut split = spread.clone();
        let mut numbers = [0; 4];
        for (doc, part) in split.iter_mut().zip(&parts).filter(|(doc, _)| doc.order == 10) {
            // Part 0 keeps the place; the others come later, each at a place that ends in 1 to 3.
            doc.order = if *part == 0 { 10 } else { (10 + late) / 10 * 10 + part };
            doc.document = numbers[*part as usize];
            numbers[*part as usize] += 1;
        }
        let earned = |docs: &[Doc], is_his: fn(u64) -> bool| {
            let his: BTreeSet<_> = docs.iter().map(|doc| doc.order).filter(|o| is_his(*o)).map(contribution).collect();
            let paid = attribute(&answer(&text), &evidence(docs, &text)).by_contribution;
            paid.iter().filter(|(id, _)| his.contains(id)).map(|(_, bits)| *bits).sum::<u128>()
        };
        let one = earned(&spread, |order| order == 10);
        let many = earned(&split, |order| order == 10 || order % 10 != 0);
        prop_assert!(many <= one, "{many} > {one}");
    }

    #[test]
    fn explanations_count_every_occurrence(docs in any_docs(), text in any_text(24), around in 0_usize..20) {
        for span in evidence(&docs, &text).spans {
            let passage = &text[span.start as usize..span.end as usize];
            let mut places: Vec<Holder> = Vec::new();
            for doc in &docs {
                let words = naive_words(&doc.text);
                places.extend(words.iter().filter(|(at, _)| {
                    let end = at + passage.len();
                    doc.text[*at..].starts_with(passage) && words.iter().any(|word| word.1 == end)
                }).map(|(at, _)| Holder {
                    order: doc.order, contribution: contribution(doc.order), document: doc.document, offset: *at as u64,
                }));
            }
            places.sort();
            let found = segment(&docs).explain(passage, around).unwrap();
            prop_assert_eq!(found.holder(), Some(span.holder));
            prop_assert_eq!(found.occurrences(), places.len() as u64);
            let documents: BTreeSet<_> = places.iter().map(|place| (place.order, place.document)).collect();
            prop_assert_eq!(found.documents(), documents.len() as u64);
            let mut firsts = places.clone();
            firsts.dedup_by_key(|place| place.order);
            prop_assert_eq!(found.contributions.len(), firsts.len());
            let later: Vec<_> = firsts[1..].iter().take(2).copied().collect();
            prop_assert_eq!(found.later(2).collect::<Vec<_>>(), later);
            // Divided in two, the explanation is the same.
            let (left, right) = docs.split_at(docs.len() / 2);
            let joined = segment(left).explain(passage, around).unwrap();
            let joined = joined.merge(segment(right).explain(passage, around).unwrap());
            prop_assert_eq!(&joined, &found);
            // The context is the document's text, cut at code points, as long as it may be.
            let context = found.context.expect("it occurs");
            let doc = docs.iter().find(|doc| (doc.order, doc.document) == (span.holder.order, span.holder.document));
            let text = &doc.expect("the holder is a document").text;
            let (start, end) = (span.holder.offset as usize, span.holder.offset as usize + passage.len());
            let from = (start.saturating_sub(around)..=start).find(|at| text.is_char_boundary(*at));
            let to = (end..=(end + around).min(text.len())).rev().find(|at| text.is_char_boundary(*at));
            prop_assert_eq!(&context.before, &text[from.expect("the start is one")..start]);
            prop_assert_eq!(&context.passage, passage);
            prop_assert_eq!(&context.after, &text[end..to.expect("the end is one")]);
        }
    }
}

/// A story that a reader can check: three contributions, one copied.
#[test]
fn the_first_contribution_that_holds_a_passage_is_its_holder() {
    let docs = docs(&[
        (3, "It was the best of times, it was the worst of times."),
        (1, "All happy families are alike."),
        (7, "A copy: it was the worst of times. All happy families are alike."),
    ]);
    let text = "Indeed it was the worst of times; all happy families are alike, it was the worst";
    let spans = evidence(&docs, text).spans;
    let shown: Vec<_> = spans.iter().map(|s| (&text[s.start as usize..s.end as usize], s.holder.order)).collect();
    assert_eq!(shown, [("it was the worst of times", 3), ("happy families are alike", 1), ("it was the worst", 3),]);
    assert_eq!(spans[0].holder.offset, 26);
    let found = segment(&docs).explain("happy families are alike", 5).unwrap();
    let context = found.context.as_ref().map(|c| (c.before.as_str(), c.passage.as_str(), c.after.as_str()));
    assert_eq!(context, Some(("All ", "happy families are alike", ".")));
    assert_eq!((found.documents(), found.occurrences()), (2, 2));
    assert_eq!(found.later(9).map(|holder| holder.order).collect::<Vec<_>>(), [7]);
    for nothing in ["", " ", "happy ", "happ", "sad families"] {
        assert_eq!(segment(&docs).explain(nothing, 5).unwrap().holder(), None, "{nothing:?}");
    }
}

#[test]
fn documents_that_cannot_stand_together_are_refused() {
    let named = |order, id, document| {
        let contribution = contribution(id);
        DocumentRef {
            order,
            contribution,
            document,
            contributor: [1; 32],
            name: "",
            contributor_name: "",
            text: "a",
            origins: &[],
        }
    };
    let build = |documents: &[DocumentRef<'_>]| {
        let mut builder = SegmentBuilder::new();
        documents.iter().try_for_each(|document| builder.add(*document))?;
        builder.finish().map(|made| made.header().words)
    };
    assert_eq!(build(&[]), Ok(0));
    assert_eq!(build(&[named(1, 1, 0), named(1, 1, 1), named(2, 2, 0)]), Ok(3));
    let twice = BuildError::Twice { contribution: contribution(1), document: 0 };
    assert_eq!(build(&[named(1, 1, 0), named(1, 1, 0)]), Err(twice));
    assert!(matches!(build(&[named(1, 1, 0), named(1, 2, 0)]), Err(BuildError::SameOrder { order: 1, .. })));
    assert_eq!(build(&[named(1, 1, 1), named(1, 1, 0)]), Err(BuildError::Order { order: 1, document: 0 }));
    assert_eq!(build(&[named(2, 2, 0), named(1, 1, 1)]), Err(BuildError::Order { order: 1, document: 1 }));
}

#[test]
fn admission_refuses_what_is_no_text() {
    assert_eq!(check_document("Text.".as_bytes()), Ok("Text."));
    let refused = |bytes: &[u8]| check_document(bytes).map_err(|error| (error.as_str(), error)).expect_err("refused");
    assert_eq!(refused(b""), ("empty", DocumentError::Empty));
    assert_eq!(refused(b" \n--"), ("empty", DocumentError::Empty));
    assert_eq!(refused(b"ab\xffcd"), ("not_utf8", DocumentError::NotUtf8 { at: 2 }));
    let length = 64 * 1024 * 1024 + 1;
    assert_eq!(refused(&vec![b'a'; length]), ("too_large", DocumentError::TooLarge { length }));
    assert!(check_document(&vec![b'a'; length - 1]).is_ok());
}

/// Texts made to be slow, as long as they may be: a search that compared every start in full would not end here.
#[test]
fn long_repeats_are_found() {
    let repeated = "a ".repeat(200_000);
    let docs = docs(&[(1, &repeated), (2, &repeated), (3, "a b a")]);
    let text = "a ".repeat(16_000);
    let spans = evidence(&docs, &text).spans;
    assert_eq!(spans.len(), 1);
    assert_eq!((spans[0].start, spans[0].end, spans[0].holder.order), (0, 31_999, 1));
    let text = "a a a b ".repeat(4_000);
    let spans = evidence(&docs, &text).spans;
    assert_eq!(spans.len(), 8_000);
}
