//! The laws of evidence, and hostile evidence.

use super::*;
use proptest::prelude::*;

const ANSWER: &str = "the quick brown fox, the lazy dog";

fn holder(order: u64) -> Holder {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&order.to_le_bytes());
    Holder { order, contribution: ContributionId(id), document: 0, offset: 0 }
}

fn span(start: u32, end: u32, order: u64) -> Span {
    Span { start, end, holder: holder(order) }
}

fn datanet(number: u8) -> DataNetId {
    DataNetId([number; 32])
}

fn answer(text: &str) -> Answer<'_> {
    Answer::new(text).expect("a short answer")
}

/// An answer of twenty words, each two bytes behind the one before it.
const TWENTY: &str = "a b c d e f g h i j k l m n o p q r s t";

/// Some words of [`TWENTY`], by their numbers.
fn words_of_twenty(first: u32, words: u32, order: u64, offset: u64) -> Span {
    let end = (first + words).min(20);
    Span { start: 2 * first, end: 2 * end - 1, holder: Holder { offset, ..holder(order) } }
}

/// Evidence that passes the check for [`ANSWER`].
fn sound() -> Evidence {
    let frequencies = Frequencies { words: 1 << 20, counts: vec![1 << 16, 4, 4, 2, 2, 2] };
    Evidence {
        spans: vec![span(0, 15, 3), span(10, 24, 1), span(16, 33, 2)],
        earlier: Vec::new(),
        frequencies: BTreeMap::from([(datanet(1), frequencies)]),
        ..Evidence::default()
    }
}

#[test]
fn sound_evidence_passes_and_reads_back() {
    let evidence = sound();
    assert_eq!(evidence.check(&answer(ANSWER)), Ok(()));
    assert_eq!(Evidence::from_bytes(&evidence.to_bytes()), Ok(evidence));
    assert_eq!(Evidence::empty().check(&answer(ANSWER)), Ok(()));
    assert_eq!(Evidence::empty().check(&answer("")), Ok(()));
}

#[test]
fn hostile_evidence_is_refused() {
    type Crime = (&'static str, fn(&mut Evidence));
    fn first(evidence: &mut Evidence) -> &mut Frequencies {
        evidence.frequencies.get_mut(&datanet(1)).expect("sound evidence has DataNet 1")
    }
    let crimes: &[Crime] = &[
        ("SpanBounds", |e| e.spans[0].start = 1),
        ("SpanBounds", |e| e.spans[0].end = 14),
        ("SpanBounds", |e| e.spans[2].end = 34),
        ("SpanBounds", |e| e.spans[2].end = u32::MAX),
        ("SpanBounds", |e| (e.spans[0].start, e.spans[0].end) = (4, 3)),
        ("SpanBounds", |e| e.spans[0].end = e.spans[0].start),
        ("SpanOrder", |e| e.spans.swap(0, 1)),
        ("SpanOrder", |e| e.spans.insert(1, e.spans[0])),
        ("SpanOrder", |e| e.spans[1].end = 15),
        ("SpanOrder", |e| e.spans[1].start = 0),
        ("UnknownWord", |e| first(e).counts[2] = 0),
        ("UnknownWord", |e| e.frequencies.clear()),
        ("CountsLength", |e| first(e).counts.push(0)),
        ("CountsLength", |e| first(e).counts.truncate(5)),
        ("CountsAboveWords", |e| first(e).words = 13),
        ("CountsAboveWords", |e| first(e).counts[0] = u64::MAX),
        ("TooManyWords", |e| first(e).words = MAX_DATANET_WORDS + 1),
        ("TooManyDataNets", |e| {
            let frequencies = first(e).clone();
            e.frequencies.extend((0..=64).map(|number| (datanet(number), frequencies.clone())));
        }),
    ];
    for (index, (expected, commit)) in crimes.iter().enumerate() {
        let mut evidence = sound();
        commit(&mut evidence);
        let error = format!("{:?}", evidence.check(&answer(ANSWER)).expect_err(expected));
        assert!(error.starts_with(expected), "crime {index}: {error}");
        // Total also on what the check refuses.
        attribute(&answer(ANSWER), &evidence);
    }
    assert!(Answer::new(&"a".repeat(MAX_ANSWER_BYTES)).is_ok());
    assert_eq!(
        Answer::new(&"a".repeat(MAX_ANSWER_BYTES + 1)).map(|_| ()),
        Err(AnswerTooLong { length: MAX_ANSWER_BYTES + 1, most: MAX_ANSWER_BYTES })
    );
}

/// Contribution 9 holds all of the answer; 4 held ten words of it before, in one place; 2 held eight of these first.
fn copied() -> Evidence {
    let text = answer(TWENTY);
    let spans = vec![words_of_twenty(0, 20, 9, 500), words_of_twenty(3, 10, 4, 70)];
    let found = Partial::new(
        &text,
        spans,
        &[words_of_twenty(4, 8, 2, 11)],
        Frequencies { words: 1 << 20, counts: vec![1; 20] },
    );
    found.into_evidence(&text, datanet(1))
}

#[test]
fn who_held_parts_of_a_span_before_its_holder_is_told() {
    let evidence = copied();
    assert_eq!(evidence.spans, [words_of_twenty(0, 20, 9, 500)]);
    // Three contexts of the ten words: the first and the last are 4's, the one between them is 2's.
    let runs = [words_of_twenty(3, 8, 4, 70), words_of_twenty(4, 8, 2, 11), words_of_twenty(5, 8, 4, 74)];
    assert_eq!(evidence.earlier, runs);
    assert_eq!(evidence.check(&answer(TWENTY)), Ok(()));
    let crimes: &[fn(&mut Evidence)] = &[
        |e| e.earlier.swap(0, 1),
        |e| e.earlier[1] = e.earlier[0],
        // Not earlier than the holder of the span.
        |e| e.earlier[0].holder.order = 10,
        // Less than a context.
        |e| e.earlier[0].end -= 2,
        // Not at a word's start.
        |e| e.earlier[0].start -= 1,
        // In no span.
        |e| e.spans[0] = words_of_twenty(4, 16, 9, 500),
        |e| e.spans.clear(),
        // One occurrence in two runs.
        |e| e.earlier = vec![words_of_twenty(3, 8, 4, 70), words_of_twenty(4, 8, 4, 72)],
        |e| e.earlier[2].holder.offset = u64::MAX,
    ];
    for (number, commit) in crimes.iter().enumerate() {
        let mut evidence = copied();
        commit(&mut evidence);
        let checked = evidence.check(&answer(TWENTY));
        // The last is odd, but for the ledger to refuse, which knows how long the document is.
        let expected = if number + 1 == crimes.len() { Ok(()) } else { Err(EvidenceError::Earlier) };
        assert_eq!(checked, expected, "crime {number}");
        attribute(&answer(TWENTY), &evidence);
    }
}

#[test]
fn a_context_is_eight_words_or_twelve_without_spaces() {
    let ends = |text: &str| answer(text).words().iter().map(|word| word.context_end).collect::<Vec<_>>();
    assert_eq!(ends("a b c d e f g"), [None; 7]);
    assert_eq!(ends("a b c d e f g h i"), [Some(8), Some(9), None, None, None, None, None, None, None]);
    let han = ends("日本語日本語日本語日本語日");
    assert_eq!((han[0], han[1], han[2]), (Some(12), Some(13), None));
    // Six Han of two each and four words of three each.
    assert_eq!(ends("日本語日本語 a b c d")[0], Some(10));
}

#[test]
fn only_canonical_bytes_are_read() {
    let mut evidence = Evidence::empty();
    evidence.frequencies = (1..=2).map(|number| (datanet(number), Frequencies::default())).collect();
    let bytes = evidence.to_bytes();
    assert_eq!(Evidence::from_bytes(&bytes), Ok(evidence));
    // No spans, no earlier runs, two DataNets of 32 + 8 + 4 bytes each.
    let mut swapped = bytes[..12].to_vec();
    swapped.extend_from_slice(&bytes[56..]);
    swapped.extend_from_slice(&bytes[12..56]);
    let trailing = [&bytes[..], &[0]].concat();
    let endless = [0xff; 12];
    for wrong in [&swapped[..], &trailing, &bytes[..55], &endless, &[]] {
        assert_eq!(Evidence::from_bytes(wrong), Err(EvidenceError::Encoding { length: wrong.len() }));
    }
}

#[test]
fn disagreement_on_frequencies_is_an_error() {
    let mut other = sound();
    other.frequencies.insert(datanet(1), Frequencies::default());
    assert_eq!(sound().merge(&answer(ANSWER), &other), Err(MergeError::Frequencies { datanet: datanet(1) }));
    let text = answer("one");
    let one = Partial::empty(&text);
    assert_eq!(
        one.clone().combine(&text, &Partial::empty(&answer("one two"))),
        Err(CombineError::CountsLength { left: 1, right: 2 })
    );
    let full = Partial::new(&text, Vec::new(), &[], Frequencies { words: u64::MAX, counts: vec![0] });
    let more = Partial::new(&text, Vec::new(), &[], Frequencies { words: 1, counts: vec![1] });
    assert_eq!(full.combine(&text, &more), Err(CombineError::Overflow));
}

/// Spans of [`TWENTY`], of which some are parts of one occurrence.
fn any_spans() -> impl Strategy<Value = Vec<Span>> {
    let span = (0_u32..19, 1_u32..16, 0_u64..6, 0_u64..3).prop_map(|(first, words, order, shift)| {
        words_of_twenty(first, words, order, 100 * shift + 2 * u64::from(first))
    });
    prop::collection::vec(span, 0..10)
}

fn any_evidence() -> impl Strategy<Value = Evidence> {
    (any_spans(), any_spans(), prop::collection::btree_set(0_u8..4, 0..4)).prop_map(|(spans, contexts, datanets)| {
        let (spans, earlier) = canonical(&answer(TWENTY), spans, &contexts);
        let frequencies = |number| (datanet(number), Frequencies { words: 9, counts: vec![u64::from(number)] });
        Evidence { spans, earlier, frequencies: datanets.into_iter().map(frequencies).collect(), ..Evidence::default() }
    })
}

fn any_partial() -> impl Strategy<Value = Partial> {
    (any_spans(), any_spans(), 0_u64..100, prop::collection::vec(0_u64..100, 20)).prop_map(
        |(spans, contexts, words, counts)| {
            Partial::new(&answer(TWENTY), spans, &contexts, Frequencies { words, counts })
        },
    )
}

fn merged(left: &Evidence, right: &Evidence) -> Evidence {
    left.clone().merge(&answer(TWENTY), right).expect("frequencies agree")
}

fn combined(left: &Partial, right: &Partial) -> Partial {
    left.clone().combine(&answer(TWENTY), right).expect("counts fit")
}

proptest! {
    #[test]
    fn merge_is_associative_commutative_and_idempotent(
        a in any_evidence(), b in any_evidence(), c in any_evidence(),
    ) {
        prop_assert_eq!(merged(&merged(&a, &b), &c), merged(&a, &merged(&b, &c)));
        prop_assert_eq!(merged(&a, &b), merged(&b, &a));
        prop_assert_eq!(merged(&a, &a), a.clone());
        prop_assert_eq!(merged(&a, &Evidence::empty()), a.clone());
        prop_assert_eq!(Evidence::from_bytes(&a.to_bytes()), Ok(a));
    }

    #[test]
    fn combine_is_associative_and_commutative(a in any_partial(), b in any_partial(), c in any_partial()) {
        prop_assert_eq!(combined(&combined(&a, &b), &c), combined(&a, &combined(&b, &c)));
        prop_assert_eq!(combined(&a, &b), combined(&b, &a));
        prop_assert_eq!(combined(&a, &Partial::empty(&answer(TWENTY))), a);
    }

    /// However occurrences are dealt out to shards and the shards are joined, the bytes are the same.
    #[test]
    fn any_division_gives_the_same_bytes(
        occurrences in prop::collection::vec(((0_u32..19, 1_u32..16, 0_u64..6), 0_usize..5), 0..24),
        joins in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 4),
    ) {
        let text = answer(TWENTY);
        let shard = |number: Option<usize>| {
            let mine = occurrences.iter().filter(|(_, shard)| number.is_none_or(|number| number == *shard));
            let spans: Vec<Span> =
                mine.map(|&((first, words, order), _)| words_of_twenty(first, words, order, 0)).collect();
            let count = spans.len() as u64;
            Partial::new(&text, spans, &[], Frequencies { words: count, counts: vec![count; 20] })
        };
        let mut shards: Vec<Partial> = (0..5).map(|number| shard(Some(number))).collect();
        for (left, right) in joins {
            let left = shards.swap_remove(left.index(shards.len()));
            let right = shards.swap_remove(right.index(shards.len()));
            shards.push(combined(&left, &right));
        }
        let whole = shard(None).into_evidence(&text, datanet(1)).to_bytes();
        prop_assert_eq!(shards.remove(0).into_evidence(&text, datanet(1)).to_bytes(), whole);
    }

    /// The maximal spans by their definition.
    #[test]
    fn maximal_spans_are_those_in_no_other(spans in any_spans()) {
        let inside = |small: &Span, large: &Span| {
            large.start <= small.start && small.end <= large.end
                && ((large.start, large.end) != (small.start, small.end) || large.holder < small.holder)
        };
        let mut expected: Vec<Span> =
            spans.iter().filter(|small| !spans.iter().any(|large| inside(small, large))).copied().collect();
        expected.sort();
        expected.dedup();
        prop_assert_eq!(maximal(spans), expected);
    }
}
