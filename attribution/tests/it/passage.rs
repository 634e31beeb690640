//! Proofs about passages: what they show is what a naive count says, and nothing altered is believed.

use crate::docs::{any_docs, any_text, contribution, docs, naive_words, segment};
use attribution::span::Prover;
use proptest::prelude::*;
use protocol::evidence::Answer;
use protocol::passage::{Earliest, PassageError, PassageProof, SpanProof, is_passage, maximality};

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn proofs_count_and_find_the_earliest(
        docs in any_docs(), text in any_text(12), cut in (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
        source in any::<prop::sample::Index>(), flip in any::<prop::sample::Index>(), bit in 0_u32..8,
    ) {
        // A passage of a document, or of another text.
        let texts: Vec<&str> = docs.iter().map(|doc| doc.text.as_str()).chain([text.as_str()]).collect();
        let text = texts[source.index(texts.len())];
        let words = naive_words(text);
        prop_assume!(!words.is_empty());
        let (a, b) = (cut.0.index(words.len()), cut.1.index(words.len()));
        let passage = &text[words[a.min(b)].0..words[a.max(b)].1];
        let mut places = Vec::new();
        for doc in &docs {
            let words = naive_words(&doc.text);
            let ends = |at: usize| words.iter().any(|word| word.1 == at + passage.len());
            let here = words.iter().filter(|(at, _)| doc.text[*at..].starts_with(passage) && ends(*at));
            places.extend(here.map(|(at, _)| Earliest {
                order: doc.order, contribution: contribution(doc.order), document: doc.document, offset: *at as u64,
            }));
        }
        let segment = segment(&docs);
        let proof = Prover::new(&segment).expect("sound").passage(passage).expect("sound");
        let proved = proof.check(passage).expect("it was just made");
        prop_assert_eq!(proved.root, segment.root());
        prop_assert_eq!(proved.count, places.len() as u64);
        prop_assert_eq!(proved.earliest, places.into_iter().min_by_key(|place| (place.order, place.document, place.offset)));
        // Whoever claims another number is refused.
        for (first, count) in [(0, 1), (1, 0), (0, 2), (1, 1)].map(|(a, b)| (proof.first + a, proof.count + b)) {
            let wrong = PassageProof { first, count, ..proof.clone() }.check(passage);
            prop_assert!(wrong.is_err());
        }
        if proof.count > 0 {
            let wrong = PassageProof { count: proof.count - 1, ..proof.clone() }.check(passage);
            prop_assert!(wrong.is_err());
        }
        // So is whoever alters a bit, or takes it for another passage.
        let mut bytes = borsh::to_vec(&proof).expect("memory");
        let at = flip.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(altered) = borsh::from_slice::<PassageProof>(&bytes) {
            prop_assert!(altered.check(passage).is_err(), "byte {}", at);
        }
        // What does not occur may stand where the passage would: the same proof may show both.
        if proof.count > 0 {
            let other = format!("{passage} zzz");
            prop_assert!(proof.check(&other).is_err());
        }
    }
}

#[test]
fn a_maximal_span_is_proved_by_what_does_not_occur() {
    let docs = docs(&[(1, "one two three four"), (2, "zero one two"), (3, "two three five")]);
    let segment = segment(&docs);
    let prover = Prover::new(&segment).unwrap();
    let answer = Answer::new("so zero one two three five").unwrap();
    let counts = |words| {
        let all = maximality(&answer, words);
        all.into_iter()
            .map(|passage| prover.passage(passage).unwrap().check(passage).unwrap().count)
            .collect::<Vec<_>>()
    };
    assert_eq!(maximality(&answer, 1..4), ["zero one two", "so zero one two", "zero one two three"]);
    assert_eq!(counts(1..4), [1, 0, 0]);
    // One that is not: with its next word it occurs as well.
    assert_eq!(counts(2..4), [2, 1, 1]);
    assert_eq!(maximality(&answer, 0..6), ["so zero one two three five"]);
}

#[test]
fn a_span_is_proved_over_all_segments() {
    let texts = docs(&[(1, "one two three four"), (2, "zero one two"), (3, "two three five")]);
    let segments = [segment(&texts[..1]), segment(&texts[1..])];
    let answer = Answer::new("so one two three five").unwrap();
    let prove = |start: u32, end: u32| {
        let passages = maximality(&answer, answer.words_of(start, end).unwrap());
        let proofs = segments.iter().map(|segment| {
            let prover = Prover::new(segment).unwrap();
            passages.iter().map(|passage| prover.passage(passage).unwrap()).collect()
        });
        SpanProof { text: answer.text().to_owned(), start, end, segments: proofs.collect() }
    };
    let proof = prove(3, 16); // one two three
    let proved = SpanProof::from_bytes(&proof.to_bytes()).unwrap().check().unwrap();
    assert!(proved.is_maximal);
    assert_eq!((proved.count, proved.earliest().unwrap().1.order), (1, 1));
    let proved = prove(3, 10).check().unwrap(); // one two
    assert_eq!((proved.count, proved.is_maximal, proved.earliest().unwrap().1.order), (2, false, 1));
    let proved = prove(7, 21).check().unwrap(); // two three five
    assert_eq!((proved.count, proved.is_maximal, proved.earliest().unwrap().0), (1, true, segments[1].root()));
    let proved = prove(0, 2).check().unwrap(); // so
    assert_eq!((proved.count, proved.is_maximal, proved.earliest()), (0, false, None));
    // A segment shown twice counts once: it is refused.
    let mut twice = proof.clone();
    twice.segments[1] = twice.segments[0].clone();
    assert!(matches!(twice.check(), Err(PassageError::Form { .. })));
    assert!(SpanProof { start: 4, ..proof.clone() }.check().is_err());
    assert!(SpanProof::from_bytes(&proof.to_bytes()[1..]).is_err());
    assert!(SpanProof::from_bytes(&[&proof.to_bytes()[..], b"x"].concat()).is_err());
}

#[test]
fn what_is_no_passage_is_not_proved() {
    let segment = segment(&docs(&[(1, "one two")]));
    let proof = Prover::new(&segment).unwrap().passage("one two").unwrap();
    for wrong in ["", " one", "one ", " "] {
        assert!(!is_passage(wrong));
        assert_eq!(proof.check(wrong), Err(PassageError::Passage));
    }
    assert!(is_passage("one"));
    // An empty segment proves that nothing stands in it.
    let empty = crate::docs::segment(&[]);
    let proof = Prover::new(&empty).unwrap().passage("one").unwrap();
    assert_eq!(proof.check("one").unwrap().count, 0);
}
