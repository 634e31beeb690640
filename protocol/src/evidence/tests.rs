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

/// Evidence that passes the check for [`ANSWER`].
fn sound() -> Evidence {
    let frequencies = Frequencies { words: 1 << 20, counts: vec![1 << 16, 4, 4, 2, 2, 2] };
    Evidence {
        spans: vec![span(0, 15, 3), span(10, 24, 1), span(16, 33, 2)],
        frequencies: BTreeMap::from([(datanet(1), frequencies)]),
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

#[test]
fn only_canonical_bytes_are_read() {
    let mut evidence = Evidence::empty();
    evidence.frequencies = (1..=2).map(|number| (datanet(number), Frequencies::default())).collect();
    let bytes = evidence.to_bytes();
    assert_eq!(Evidence::from_bytes(&bytes), Ok(evidence));
    // No spans, two DataNets of 32 + 8 + 4 bytes each.
    let mut swapped = bytes[..8].to_vec();
    swapped.extend_from_slice(&bytes[52..]);
    swapped.extend_from_slice(&bytes[8..52]);
    let trailing = [&bytes[..], &[0]].concat();
    let endless = [0xff; 12];
    for wrong in [&swapped[..], &trailing, &bytes[..51], &endless, &[]] {
        assert_eq!(Evidence::from_bytes(wrong), Err(EvidenceError::Encoding { length: wrong.len() }));
    }
}

#[test]
fn disagreement_on_frequencies_is_an_error() {
    let mut other = sound();
    other.frequencies.insert(datanet(1), Frequencies::default());
    assert_eq!(sound().merge(&other), Err(MergeError::Frequencies { datanet: datanet(1) }));
    let one = Partial::empty(&answer("one"));
    assert_eq!(
        one.clone().combine(&Partial::empty(&answer("one two"))),
        Err(CombineError::CountsLength { left: 1, right: 2 })
    );
    let full = Partial::new(Vec::new(), Frequencies { words: u64::MAX, counts: vec![0] });
    let more = Partial::new(Vec::new(), Frequencies { words: 1, counts: vec![1] });
    assert_eq!(full.combine(&more), Err(CombineError::Overflow));
}

fn any_spans() -> impl Strategy<Value = Vec<Span>> {
    prop::collection::vec((0_u32..12, 1_u32..8, 0_u64..6), 0..10)
        .prop_map(|spans| spans.into_iter().map(|(start, length, order)| span(start, start + length, order)).collect())
}

fn any_evidence() -> impl Strategy<Value = Evidence> {
    (any_spans(), prop::collection::btree_set(0_u8..4, 0..4)).prop_map(|(spans, datanets)| Evidence {
        spans: maximal(spans),
        frequencies: datanets
            .into_iter()
            .map(|number| (datanet(number), Frequencies { words: 9, counts: vec![u64::from(number)] }))
            .collect(),
    })
}

fn any_partial() -> impl Strategy<Value = Partial> {
    (any_spans(), 0_u64..100, prop::collection::vec(0_u64..100, 3))
        .prop_map(|(spans, words, counts)| Partial::new(spans, Frequencies { words, counts }))
}

fn merged(left: &Evidence, right: &Evidence) -> Evidence {
    left.clone().merge(right).expect("frequencies agree")
}

fn combined(left: &Partial, right: &Partial) -> Partial {
    left.clone().combine(right).expect("counts fit")
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
        prop_assert_eq!(combined(&a, &Partial::empty(&answer("one two three"))), a);
    }

    /// However occurrences are dealt out to shards and the shards are joined, the bytes are the same.
    #[test]
    fn any_division_gives_the_same_bytes(
        occurrences in prop::collection::vec(((0_u32..12, 1_u32..8, 0_u64..6), 0_usize..5), 0..24),
        joins in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 4),
    ) {
        let shard = |number: Option<usize>| {
            let mine = occurrences.iter().filter(|(_, shard)| number.is_none_or(|number| number == *shard));
            let spans: Vec<Span> =
                mine.map(|&((start, length, order), _)| span(start, start + length, order)).collect();
            let count = spans.len() as u64;
            Partial::new(spans, Frequencies { words: count, counts: vec![count] })
        };
        let mut shards: Vec<Partial> = (0..5).map(|number| shard(Some(number))).collect();
        for (left, right) in joins {
            let left = shards.swap_remove(left.index(shards.len()));
            let right = shards.swap_remove(right.index(shards.len()));
            shards.push(combined(&left, &right));
        }
        let whole = shard(None).into_evidence(datanet(1)).to_bytes();
        prop_assert_eq!(shards.remove(0).into_evidence(datanet(1)).to_bytes(), whole);
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
