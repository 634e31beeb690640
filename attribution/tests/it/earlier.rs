//! Copies with something added: who held the copied part first is found, and paid for it.

use crate::docs::{Doc, answer, contribution, docs, evidence, found, naive_words};
use proptest::prelude::*;
use protocol::evidence::{Evidence, Holder, Partial, Span, attribute};

/// Words of a context, in texts that have spaces.
const CONTEXT: usize = 8;

/// A part of an earlier text, or words of one's own.
#[derive(Clone, Debug)]
enum Piece {
    Quoted(prop::sample::Index, prop::sample::Index, usize),
    Own(Vec<&'static str>),
}

fn any_pieces() -> impl Strategy<Value = Vec<Piece>> {
    let word = prop::sample::select(vec!["one", "two", "three", "four", "five"]);
    let quoted = (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 4_usize..24)
        .prop_map(|(text, from, words)| Piece::Quoted(text, from, words));
    let own = prop::collection::vec(word, 1..14).prop_map(Piece::Own);
    prop::collection::vec(prop_oneof![2 => quoted, 1 => own], 1..5)
}

fn spell(pieces: &[Piece], texts: &[String]) -> String {
    let spelled = pieces.iter().map(|piece| match piece {
        Piece::Own(words) => words.join(" "),
        Piece::Quoted(text, from, count) if !texts.is_empty() => {
            let text = &texts[text.index(texts.len())];
            let words = naive_words(text);
            let from = from.index(words.len());
            let last = (from + count).min(words.len()) - 1;
            text[words[from].0..words[last].1].to_owned()
        }
        Piece::Quoted(..) => "nothing yet".to_owned(),
    });
    spelled.collect::<Vec<_>>().join(", ")
}

/// Documents that quote each other, some later ones of earlier contributions, and an answer that quotes them.
fn any_case() -> impl Strategy<Value = (Vec<Doc>, String)> {
    (prop::collection::vec((0_u64..5, any_pieces()), 1..7), any_pieces()).prop_map(|(list, asked)| {
        let mut texts: Vec<(u64, String)> = Vec::new();
        for (order, pieces) in list {
            let before: Vec<String> = texts.iter().map(|(_, text)| text.clone()).collect();
            texts.push((order, spell(&pieces, &before)));
        }
        let all: Vec<String> = texts.iter().map(|(_, text)| text.clone()).collect();
        let documents = docs(&texts.iter().map(|(order, text)| (*order, text.as_str())).collect::<Vec<_>>());
        (documents, spell(&asked, &all))
    })
}

/// The earliest occurrence of a passage, from a word's start to a word's end, by looking everywhere.
fn earliest(docs: &[Doc], passage: &str) -> Option<Holder> {
    let places = docs.iter().flat_map(|doc| {
        let words = naive_words(&doc.text);
        let ends: Vec<usize> = words.iter().map(|word| word.1).collect();
        let starts = words.into_iter().map(|word| word.0);
        let here =
            starts.filter(move |at| doc.text[*at..].starts_with(passage) && ends.contains(&(at + passage.len())));
        here.map(|at| Holder {
            order: doc.order,
            contribution: contribution(doc.order),
            document: doc.document,
            offset: at as u64,
        })
    });
    places.min()
}

/// The words of each context of a text.
fn contexts(text: &str) -> Vec<(usize, usize)> {
    let words = naive_words(text);
    words.windows(CONTEXT).map(|context| (context[0].0, context[CONTEXT - 1].1)).collect()
}

/// Who is said to hold a context first, by all spans and runs around it.
fn said(evidence: &Evidence, (start, end): (usize, usize)) -> Option<Holder> {
    let around = evidence.spans.iter().chain(&evidence.earlier);
    let around = around.filter(|span| span.start as usize <= start && end <= span.end as usize);
    around.map(|span| Holder { offset: span.holder.offset + (start - span.start as usize) as u64, ..span.holder }).min()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_first_holder_of_each_context_is_told((docs, text) in any_case()) {
        let evidence = evidence(&docs, &text);
        for (start, end) in contexts(&text) {
            prop_assert_eq!(said(&evidence, (start, end)), earliest(&docs, &text[start..end]), "{}", &text[start..end]);
        }
    }

    #[test]
    fn any_division_tells_the_same((docs, text) in any_case(), shards in prop::collection::vec(0_usize..3, 7)) {
        let answer = answer(&text);
        let of = |number: usize| docs.iter().zip(&shards).filter(move |(_, shard)| **shard == number).map(|(doc, _)| doc);
        let [a, b, c] = [0, 1, 2].map(|number| found(of(number), &answer));
        let whole = found(&docs, &answer);
        let join = |left: Partial, right: &Partial| left.combine(&answer, right).expect("one answer");
        prop_assert_eq!(&join(join(a.clone(), &b), &c), &whole);
        prop_assert_eq!(&join(c, &join(b, &a)), &whole);
    }

    /// No word of a paid span goes to somebody if another held it before him, in a context of the span.
    #[test]
    fn what_another_held_first_is_not_paid_to_a_copier((docs, text) in any_case()) {
        let attribution = attribute(&answer(&text), &evidence(&docs, &text));
        let inside = |(start, end): (usize, usize), span: &Span| {
            span.start as usize <= start && end <= span.end as usize
        };
        for whole in &attribution.spans {
            let parts: Vec<_> = attribution.paid.iter().filter(|part| {
                inside((part.span.start as usize, part.span.end as usize), &whole.span)
            }).collect();
            let words: Vec<_> = naive_words(&text).into_iter().filter(|word| inside(*word, &whole.span)).collect();
            // The parts are the span, each word and each bit of it once, and each stands where it is said to.
            let of_parts = parts.iter().flat_map(|part| words.iter().filter(|word| inside(**word, &part.span)));
            prop_assert!(of_parts.eq(words.iter()));
            prop_assert_eq!(parts.iter().map(|part| part.bits_q16).sum::<u64>(), whole.bits_q16);
            for part in &parts {
                let Holder { order, document, offset, .. } = part.span.holder;
                let doc = docs.iter().find(|doc| (doc.order, doc.document) == (order, document)).expect("a document");
                let passage = &text[part.span.start as usize..part.span.end as usize];
                prop_assert!(doc.text[usize::try_from(offset).expect("small")..].starts_with(passage));
                for word in words.iter().filter(|word| inside(**word, &part.span)) {
                    let around = contexts(&text).into_iter().filter(|(start, end)| {
                        *start <= word.0 && word.1 <= *end && inside((*start, *end), &whole.span)
                    });
                    let first = around.filter_map(|(start, end)| earliest(&docs, &text[start..end])).min();
                    let first = first.map_or(whole.span.holder.order, |first| first.order.min(whole.span.holder.order));
                    prop_assert!(order <= first, "{:?} is paid to {}, and {} held it first", word, order, first);
                }
            }
        }
    }

    /// Whoever contributes the answer itself takes nothing that anybody held in a context.
    #[test]
    fn contributing_the_answer_takes_nothing_from_anybody((docs, text) in any_case()) {
        let mut with_thief = docs.clone();
        with_thief.push(Doc { order: 77, document: 0, text: format!("So it was said: {text}, and so on.") });
        let after = attribute(&answer(&text), &evidence(&with_thief, &text));
        for part in after.paid.iter().filter(|part| part.span.holder.order == 77) {
            let (from, to) = (part.span.start as usize, part.span.end as usize);
            for (start, end) in contexts(&text) {
                prop_assert!(start >= to || end <= from || earliest(&docs, &text[start..end]).is_none());
            }
        }
    }
}
