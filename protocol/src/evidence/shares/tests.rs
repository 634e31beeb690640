//! Weights by hand, the schedule against all subsets, and exact division.

use super::*;
use crate::evidence::{Frequencies, Holder};
use crate::ids::DataNetId;
use proptest::prelude::*;

const BIT: u64 = 1 << 16;

fn contribution(number: u8) -> ContributionId {
    ContributionId([number; 32])
}

fn span(start: u32, end: u32, number: u8) -> Span {
    let holder = Holder { order: u64::from(number), contribution: contribution(number), document: 0, offset: 0 };
    Span { start, end, holder }
}

fn evidence(spans: &[Span], datanets: &[(u64, &[u64])]) -> Evidence {
    let frequencies = datanets
        .iter()
        .zip(0..)
        .map(|(&(words, counts), number)| (DataNetId([number; 32]), Frequencies { words, counts: counts.to_vec() }));
    Evidence { spans: spans.to_vec(), frequencies: frequencies.collect(), ..Evidence::default() }
}

fn attributed(text: &str, evidence: &Evidence) -> Attribution {
    let answer = Answer::new(text).expect("a short answer");
    evidence.check(&answer).expect("sound evidence");
    attribute(&answer, evidence)
}

#[test]
fn a_span_weighs_its_information_beyond_chance() {
    // N = 2^10 over two DataNets. "a": 2^6 -> 4 bits; "b": 2^2 -> 8 bits; "c": 1 -> 10 bits.
    let data: &[(u64, &[u64])] = &[(1000, &[60, 0, 1]), (24, &[4, 4, 0])];
    let got = attributed("a b c b", &evidence(&[span(0, 3, 1), span(2, 7, 2)], data));
    // "a b" tells 12 bits of the 10 that chance takes; "b c b" tells 26.
    assert_eq!(got.paid, [PaidSpan { span: span(2, 7, 2), bits_q16: 16 * BIT }]);
    assert_eq!((got.covered_words, got.total_words), (3, 4));
    assert_eq!(got.by_contribution, BTreeMap::from([(contribution(2), u128::from(16 * BIT))]));
    // A word, however rare, tells no more than chance; and one bit less than sixteen is not enough.
    let common: &[(u64, &[u64])] = &[(1000, &[60, 0, 1]), (24, &[4, 4, 1])];
    assert_eq!(attributed("a b c b", &evidence(&[span(2, 7, 2)], common)).covered_words, 0);
    for (start, end) in [(0, 1), (4, 5)] {
        assert_eq!(attributed("a b c b", &evidence(&[span(start, end, 1)], data)).covered_words, 0);
    }
    let nothing = attributed("a b c b", &Evidence::empty());
    assert_eq!(nothing, Attribution { total_words: 4, ..Attribution::default() });
}

#[test]
fn equal_sets_are_decided_by_the_earlier_start() {
    // Three overlapping pairs of equally rare words: the first and the third together, never the second.
    let data: &[(u64, &[u64])] = &[(1 << 16, &[1, 1, 1, 1])];
    let overlapping = [span(0, 3, 3), span(2, 5, 1), span(4, 7, 2)];
    let got = attributed("a b c d", &evidence(&overlapping, data));
    assert_eq!(got.paid.iter().map(|paid| paid.span).collect::<Vec<_>>(), [overlapping[0], overlapping[2]]);
    let got = attributed("a b c d", &evidence(&overlapping[..2], data));
    assert_eq!(got.paid.iter().map(|paid| paid.span).collect::<Vec<_>>(), [overlapping[0]]);
}

#[test]
fn spans_that_touch_are_both_paid() {
    let touching = [span(0, 6, 1), span(6, 12, 2)];
    let got = attributed("日本語文", &evidence(&touching, &[(1 << 20, &[1, 1, 1, 1])]));
    assert_eq!(got.by_contribution, [1, 2].map(|id| (contribution(id), u128::from(20 * BIT))).into());
    assert_eq!((got.covered_words, got.total_words), (4, 4));
}

/// Of each word the earliest holder is paid, if it held eight words in a row with it.
#[test]
fn a_span_around_a_copy_is_paid_for_what_is_its_own() {
    let text = "a b c d e f g h i j k l m n o p";
    // Each word tells 20 bits, the last one 10: 310 in all, of which chance takes 20.
    let mut counts = [1; 16];
    counts[15] = 1 << 10;
    let mut evidence = evidence(&[span(0, 31, 9)], &[(1 << 20, &counts)]);
    let part = |start, end, number, offset| {
        let mut part = span(start, end, number);
        part.holder.offset = offset;
        part
    };
    let bits = |parts: &[PaidSpan]| parts.iter().map(|part| part.bits_q16).collect::<Vec<_>>();
    let alone = attributed(text, &evidence);
    assert_eq!((alone.paid.clone(), alone.spans), (alone.paid.clone(), alone.paid));
    // Words 2 to 10 are a copy of what contribution 3 held at byte 100.
    evidence.earlier = vec![part(4, 21, 3, 100)];
    let got = attributed(text, &evidence);
    assert_eq!(got.spans, [PaidSpan { span: span(0, 31, 9), bits_q16: 290 * BIT }]);
    let spans: Vec<Span> = got.paid.iter().map(|part| part.span).collect();
    assert_eq!(spans, [span(0, 3, 9), part(4, 21, 3, 100), part(22, 31, 9, 22)]);
    // 40, 180 and 90 of 310, in 2^-16 bits, by largest remainder.
    let whole = 290 * BIT;
    assert_eq!(bits(&got.paid), [whole * 40 / 310 + 1, whole * 180 / 310 + 1, whole * 90 / 310]);
    assert_eq!(bits(&got.paid).iter().sum::<u64>(), whole);
    assert_eq!((got.covered_words, got.total_words), (16, 16));
    // Another document of the span's own holder takes nothing from it.
    evidence.earlier[0].holder = Holder { offset: 0, ..span(0, 31, 9).holder };
    assert_eq!(attributed(text, &evidence).paid, got.spans);
}

/// An answer of ten distinct one-letter words, each two bytes apart.
const TEN: &str = "a b c d e f g h i j";

proptest! {
    #[test]
    fn the_paid_set_is_the_heaviest_that_pays_each_word_once(
        runs in prop::collection::vec((0_u32..10, 1_u32..6, 0_u8..4), 0..9),
        counts in prop::collection::vec(1_u64..4, 10),
    ) {
        let spans: Vec<Span> =
            runs.iter().map(|&(first, words, by)| span(2 * first, 2 * (first + words).min(10) - 1, by)).collect();
        let spans = maximal(spans);
        let got = attributed(TEN, &evidence(&spans, &[(64, &counts)]));
        // The oracle: logarithms of 1, 2 and 3 out of 64, and every subset.
        let log2 = |count: u64| [0, BIT, 103_872][usize::try_from(count - 1).unwrap_or(9)];
        let information = |count: u64| 6 * BIT - log2(count);
        let weight = |span: &Span| {
            let sum: u64 = (span.start / 2..=span.end / 2).map(|word| information(counts[word as usize])).sum();
            Some(sum.saturating_sub(6 * BIT)).filter(|bits| *bits >= 16 * BIT).unwrap_or(0)
        };
        let disjoint = |set: &[&Span]| set.windows(2).all(|pair| pair[0].end <= pair[1].start);
        let subsets = (0_u32..1 << spans.len()).map(|mask| {
            spans.iter().zip(0..).filter(|(_, bit)| mask >> bit & 1 == 1).map(|(span, _)| span).collect::<Vec<_>>()
        });
        let heaviest = subsets.filter(|set| disjoint(set)).map(|set| set.into_iter().map(weight).sum::<u64>()).max();
        prop_assert_eq!(got.paid.iter().map(|paid| paid.bits_q16).sum::<u64>(), heaviest.unwrap_or(0));
        prop_assert!(got.paid.iter().all(|paid| paid.bits_q16 > 0 && paid.bits_q16 == weight(&paid.span)));
        prop_assert!(disjoint(&got.paid.iter().map(|paid| &paid.span).collect::<Vec<_>>()));
        prop_assert_eq!(got.by_contribution.values().sum::<u128>(), u128::from(heaviest.unwrap_or(0)));
        let covered: u32 = got.paid.iter().map(|paid| paid.span.end / 2 - paid.span.start / 2 + 1).sum();
        prop_assert_eq!(got.covered_words, covered);
    }
}

fn values(parts: &[(usize, u128)]) -> Vec<u128> {
    parts.iter().map(|(_, part)| *part).collect()
}

fn keyed(weights: &[u128]) -> Vec<(usize, u128)> {
    weights.iter().copied().enumerate().collect()
}

#[test]
fn division_by_largest_remainder() {
    let table: &[(u128, &[u128], &[u128])] = &[
        (10, &[1, 1, 1], &[4, 3, 3]),
        (11, &[1, 1, 1], &[4, 4, 3]),
        (1, &[1, 2, 2], &[0, 1, 0]),
        (100, &[0, 1, 0], &[0, 100, 0]),
        (0, &[1, 2], &[0, 0]),
        (7, &[3, 2, 2], &[3, 2, 2]),
        (u128::MAX, &[1, 1], &[1 << 127, (1 << 127) - 1]),
        (u128::MAX, &[u128::MAX - 1, 1], &[u128::MAX - 1, 1]),
    ];
    for (amount, weights, expected) in table {
        assert_eq!(divide(*amount, &keyed(weights)).map(|parts| values(&parts)).as_deref(), Ok(*expected));
    }
    assert_eq!(divide::<(), u64>(5, &[]), Err(DivideError::NoWeight));
    assert_eq!(divide(5, &[((), 0_u64)]), Err(DivideError::NoWeight));
    assert_eq!(divide(5, &keyed(&[u128::MAX, 1])), Err(DivideError::Overflow));
}

#[test]
fn the_cap_gives_the_excess_to_the_others() {
    let table: &[(u128, &[u128], u32, &[u128])] = &[
        // Alone: everything.
        (100, &[7], 2_500, &[100]),
        (100, &[0, 7, 0], 0, &[0, 100, 0]),
        // 80 is cut to 50; the 30 above go one to one.
        (100, &[80, 10, 10], 5_000, &[50, 25, 25]),
        // The excess of the first puts the second over too.
        (100, &[70, 20, 5, 5], 3_000, &[30, 30, 20, 20]),
        // A cap of 10 % cannot be kept by two: equal parts.
        (101, &[9, 1], 1_000, &[51, 50]),
        // No cap at all.
        (100, &[70, 20, 5, 5], 10_000, &[70, 20, 5, 5]),
        (100, &[70, 20, 5, 5], u32::MAX, &[70, 20, 5, 5]),
        (0, &[70, 20], 3_000, &[0, 0]),
    ];
    for (amount, weights, cap, expected) in table {
        let parts = divide_capped(*amount, &keyed(weights), *cap).map(|parts| values(&parts));
        assert_eq!(parts.as_deref(), Ok(*expected), "{amount} {weights:?} {cap}");
    }
    assert_eq!(divide_capped(5, &[((), 0_u64)], 5_000), Err(DivideError::NoWeight));
    assert_eq!(divide_capped(5, &keyed(&[u128::MAX, 1]), 5_000), Err(DivideError::Overflow));
}

/// The 256-bit product of two numbers, as its high and low half: schoolbook in 64-bit digits.
fn wide(left: u128, right: u128) -> (u128, u128) {
    let low = |number: u128| number & u128::from(u64::MAX);
    let (a, b, c, d) = (left >> 64, low(left), right >> 64, low(right));
    let middle = ((b * d) >> 64) + low(a * d) + low(b * c);
    (a * c + ((a * d) >> 64) + ((b * c) >> 64) + (middle >> 64), (middle << 64) | low(b * d))
}

#[test]
fn wide_division_of_round_numbers() {
    assert_eq!(multiply_divide(u128::MAX, 1 << 126, 1 << 127), (u128::MAX / 2, 1 << 126));
    assert_eq!(multiply_divide(1 << 127, 1 << 126, 1 << 127), (1 << 126, 0));
    assert_eq!(multiply_divide(u128::MAX, u128::MAX, u128::MAX), (u128::MAX, 0));
}

/// Small, large and enormous numbers alike.
fn any_amount() -> impl Strategy<Value = u128> {
    (any::<u128>(), 0_u32..128).prop_map(|(number, shift)| number >> shift)
}

proptest! {
    #[test]
    fn wide_division_is_exact(amount in any_amount(), a in any_amount(), b in any_amount()) {
        let (weight, total) = (a.min(b), a.max(b).max(1));
        let (quotient, remainder) = multiply_divide(amount, weight, total);
        prop_assert!(remainder < total);
        let (high, low) = wide(quotient, total);
        let (low, carry) = low.overflowing_add(remainder);
        prop_assert_eq!((high + u128::from(carry), low), wide(amount, weight));
    }

    #[test]
    fn parts_add_up_and_are_within_one_of_their_due(
        amount in any_amount(),
        weights in prop::collection::vec(any_amount().prop_map(|weight| weight >> 4), 1..8),
    ) {
        let total: u128 = weights.iter().sum();
        let parts = divide(amount, &keyed(&weights));
        if total == 0 {
            prop_assert_eq!(parts, Err(DivideError::NoWeight));
            return Ok(());
        }
        let parts = values(&parts.expect("there is weight"));
        prop_assert_eq!(parts.iter().sum::<u128>(), amount);
        for (part, weight) in parts.iter().zip(&weights) {
            let (due, remainder) = multiply_divide(amount, *weight, total);
            prop_assert!(*part == due || (*part == due + 1 && remainder > 0));
        }
    }

    #[test]
    fn capped_parts_add_up_and_keep_the_cap(
        amount in any_amount(),
        weights in prop::collection::vec(any_amount().prop_map(|weight| weight >> 4), 1..8),
        cap in 0..=BASIS_POINTS,
    ) {
        let keys = weights.iter().filter(|weight| **weight > 0).count() as u128;
        prop_assume!(keys > 0);
        let parts = values(&divide_capped(amount, &keyed(&weights), cap).expect("there is weight"));
        prop_assert_eq!(parts.iter().sum::<u128>(), amount);
        let limit = multiply_divide(amount, cap.into(), BASIS_POINTS.into()).0.max(amount.div_ceil(keys));
        let plain = values(&divide(amount, &keyed(&weights)).expect("there is weight"));
        for ((part, plain), weight) in parts.iter().zip(&plain).zip(&weights) {
            prop_assert!(*part <= limit);
            prop_assert!(*weight > 0 || *part == 0);
            // Nobody under the cap loses by it, but for the rounding of one unit.
            prop_assert!(*part + 1 >= *plain.min(&limit));
        }
        for (heavy, light) in (0..parts.len()).flat_map(|a| (0..parts.len()).map(move |b| (a, b))) {
            prop_assert!(weights[heavy] <= weights[light] || parts[heavy] + 1 >= parts[light]);
        }
    }
}
