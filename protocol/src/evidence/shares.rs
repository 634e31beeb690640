//! From evidence to shares, in integers.
//!
//! Rules:
//!
//! - With N all words of the lineage's DataNets and c(w) the count of word w in them, a span's **weight** is
//!   Σ log2(N / c(w)) over its words, minus log2(N): its information beyond the chance that it stands *somewhere* in N
//!   places. Logarithms are [`log2_q16`]; a count of 0 counts as 1.
//! - A span that weighs less than [`MIN_SPAN_BITS`] earns nothing: among words that really depend on each other, phrases
//!   of a few common words come up everywhere, and whoever used one first did not make the answer possible. At this
//!   threshold, words drawn at random would give one such span in 2^16 answers for each place where a span can start.
//! - **Each word is paid once**: of the sets of spans that share no word, the heaviest is paid. Of two equally heavy
//!   sets it is the one that takes the earlier-starting span where they first differ.
//! - **Each word is paid to who held it first**: a word of a paid span goes to the earliest holder of a context around it
//!   ([`super::Evidence::earlier`]), if that one was admitted before the holder of the span. So a paid span falls into
//!   parts. Its weight is divided among them in proportion to the information of their words.
//! - Where there are **influences** there are no spans: all of the answer is claimed, in proportion to them.
//! - Amounts are divided by **largest remainder**; equal remainders go to the lower index. The sum is always exact.
//! - The **cap**: no key gets more than the larger of `cap` of the amount (rounded down) and an equal part of it
//!   (rounded up). The equal part makes the cap one that can always be kept: a single key gets everything.

use super::earlier::{Occurrence, parts_by_earliest};
use super::{Answer, Evidence, Influence, Span, log2_q16, maximal};
use crate::ids::ContributionId;
use std::collections::BTreeMap;
use std::ops::Range;

/// The least weight of a span that is paid, in bits.
pub const MIN_SPAN_BITS: u64 = 16;

/// The whole, in basis points.
pub const BASIS_POINTS: u32 = 10_000;

/// A span with its weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PaidSpan {
    /// The span.
    pub span: Span,
    /// Its information beyond chance, or its part of that: bits times 2^16.
    pub bits_q16: u64,
}

/// What an answer owes to whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attribution {
    /// The spans that are paid: ascending, no two share a word.
    pub spans: Vec<PaidSpan>,
    /// Their parts, each with who is paid for it: ascending, no two share a word.
    pub paid: Vec<PaidSpan>,
    /// How many words of the answer stand in paid spans.
    pub covered_words: u32,
    /// How many words the answer has.
    pub total_words: u32,
    /// The weight of each contribution: the sum of its paid bits (Q16.16), or its influence.
    pub by_contribution: BTreeMap<ContributionId, u128>,
}

/// Why an amount cannot be divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DivideError {
    /// All weights are 0, or there are none: nobody to give the amount to.
    #[error("nobody has a weight above 0")]
    NoWeight,
    /// The weights add to 2^128 or more.
    #[error("the weights add to more than 128 bits")]
    Overflow,
}

/// Every maximal span with its information beyond chance, 0 where there is none; paid or not.
pub fn weigh(answer: &Answer<'_>, evidence: &Evidence) -> Vec<PaidSpan> {
    let weigher = Weigher::new(answer, evidence);
    let weighed = maximal(evidence.spans.clone()).into_iter().filter_map(|span| {
        let words = answer.words_of(span.start, span.end)?;
        Some(PaidSpan { span, bits_q16: weigher.beyond_chance_q16(&words) })
    });
    weighed.collect()
}

/// What `answer` owes to whom by `evidence`, which has passed [`Evidence::check`] for this answer.
pub fn attribute(answer: &Answer<'_>, evidence: &Evidence) -> Attribution {
    if !evidence.influence.sums.is_empty() {
        return by_influence(answer, &evidence.influence);
    }
    let weigher = Weigher::new(answer, evidence);
    let candidates = maximal(evidence.spans.clone()).into_iter().filter_map(|span| {
        let words = answer.words_of(span.start, span.end)?;
        let bits_q16 = weigher.bits_q16(&words)?;
        Some((PaidSpan { span, bits_q16 }, words))
    });
    let total_words = count(answer.words().len());
    let mut attribution = Attribution { total_words, ..Attribution::default() };
    let earliest = parts_by_earliest(answer, &evidence.spans, &evidence.earlier);
    for (span, words) in heaviest(candidates.collect()) {
        attribution.covered_words += count(words.len());
        for part in parts_by_holder(answer, &span, words, &earliest, &weigher) {
            *attribution.by_contribution.entry(part.span.holder.contribution).or_default() += u128::from(part.bits_q16);
            attribution.paid.push(part);
        }
        attribution.spans.push(span);
    }
    attribution
}

/// Influence claims the whole answer, as it does not know of words.
fn by_influence(answer: &Answer<'_>, influence: &Influence) -> Attribution {
    let total_words = count(answer.words().len()).max(1);
    let by_contribution = influence.sums.clone();
    Attribution { covered_words: total_words, total_words, by_contribution, ..Attribution::default() }
}

/// The parts of a paid span, each with the earliest holder of its words, by who held which words of the answer first.
fn parts_by_holder(
    answer: &Answer<'_>,
    whole: &PaidSpan,
    words: Range<usize>,
    earliest: &[(Range<usize>, Occurrence)],
    weigher: &Weigher,
) -> Vec<PaidSpan> {
    let its_own = Occurrence::of(&whole.span);
    let (mut parts, mut at) = (Vec::new(), words.start);
    for (held, occurrence) in &earliest[earliest.partition_point(|(held, _)| held.end <= words.start)..] {
        let held = held.start.max(words.start)..held.end.min(words.end);
        if held.is_empty() {
            break;
        }
        if occurrence.order < whole.span.holder.order {
            parts.extend((at < held.start).then_some((at..held.start, its_own)));
            at = held.end;
            parts.push((held, *occurrence));
        }
    }
    parts.extend((at < words.end).then_some((at..words.end, its_own)));
    let told = |(words, occurrence): (Range<usize>, Occurrence)| {
        (occurrence.span(answer, words.clone()), weigher.information_q16(&words))
    };
    let told: Vec<(Span, u64)> = parts.into_iter().map(told).collect();
    let bits = divide(u128::from(whole.bits_q16), &told).unwrap_or_default();
    // A part of a u64 is one.
    bits.into_iter().map(|(span, bits)| PaidSpan { span, bits_q16: u64::try_from(bits).unwrap_or(u64::MAX) }).collect()
}

/// An answer has at most `MAX_ANSWER_BYTES` words.
fn count(words: usize) -> u32 {
    u32::try_from(words).unwrap_or(u32::MAX)
}

/// Knows what the words of an answer tell.
struct Weigher {
    /// log2(N), Q16.16.
    chance: u64,
    /// For each place between words, the information of all words before it, Q16.16.
    before: Vec<u64>,
}

impl Weigher {
    fn new(answer: &Answer<'_>, evidence: &Evidence) -> Self {
        let frequencies = || evidence.frequencies.values();
        let all = frequencies().fold(0_u64, |sum, each| sum.saturating_add(each.words));
        let chance = u64::from(log2_q16(all));
        let information: Vec<u64> = (0..answer.distinct_words())
            .map(|distinct| {
                let counts = frequencies().map(|each| each.counts.get(distinct).copied().unwrap_or(0));
                chance.saturating_sub(u64::from(log2_q16(counts.fold(0, u64::saturating_add))))
            })
            .collect();
        let mut sum = 0;
        let before = std::iter::once(0)
            .chain(answer.words().iter().map(|word| {
                // At most 2^15 words of less than 2^22 each.
                sum += information[word.distinct as usize];
                sum
            }))
            .collect();
        Self { chance, before }
    }

    /// The information of a run of words.
    fn information_q16(&self, words: &Range<usize>) -> u64 {
        self.before[words.end] - self.before[words.start]
    }

    /// The information of a run of words beyond chance.
    fn beyond_chance_q16(&self, words: &Range<usize>) -> u64 {
        self.information_q16(words).saturating_sub(self.chance)
    }

    /// The weight of a run of words, if it is enough to be paid.
    fn bits_q16(&self, words: &Range<usize>) -> Option<u64> {
        Some(self.beyond_chance_q16(words)).filter(|bits| *bits >= MIN_SPAN_BITS << 16)
    }
}

/// Weighted interval scheduling: the heaviest set of spans that share no word. `spans` ascend and none holds another.
fn heaviest(spans: Vec<(PaidSpan, Range<usize>)>) -> Vec<(PaidSpan, Range<usize>)> {
    let next = |index: usize| spans.partition_point(|(paid, _)| paid.span.start < spans[index].0.span.end);
    // best[i] is the heaviest weight that spans i.. can make.
    let mut best = vec![0_u64; spans.len() + 1];
    let with = |best: &[u64], index: usize| spans[index].0.bits_q16 + best[next(index)];
    for index in (0..spans.len()).rev() {
        best[index] = best[index + 1].max(with(&best, index));
    }
    let mut chosen = Vec::new();
    let mut index = 0;
    while index < spans.len() {
        if with(&best, index) == best[index] {
            chosen.push(spans[index].clone());
            index = next(index);
        } else {
            index += 1;
        }
    }
    chosen
}

/// Divides `amount` in proportion to `weights`, by largest remainder. The parts add to `amount`, in the given order.
pub fn divide<K: Clone, W: Copy + Into<u128>>(amount: u128, weights: &[(K, W)]) -> Result<Vec<(K, u128)>, DivideError> {
    let plain: Vec<u128> = weights.iter().map(|(_, weight)| (*weight).into()).collect();
    let parts = parts(amount, &plain)?;
    Ok(weights.iter().zip(parts).map(|((key, _), part)| (key.clone(), part)).collect())
}

/// Like [`divide`], but nobody gets more than `cap` basis points of the amount, or an equal part if that is more.
///
/// What is above the cap goes to the others in proportion to their weights, again under the cap.
pub fn divide_capped<K: Clone, W: Copy + Into<u128>>(
    amount: u128,
    weights: &[(K, W)],
    cap: u32,
) -> Result<Vec<(K, u128)>, DivideError> {
    let mut open: Vec<u128> = weights.iter().map(|(_, weight)| (*weight).into()).collect();
    let keys = u128::try_from(open.iter().filter(|weight| **weight > 0).count()).unwrap_or(u128::MAX);
    if keys == 0 {
        return Err(DivideError::NoWeight);
    }
    let (cap_part, _) = multiply_divide(amount, u128::from(cap.min(BASIS_POINTS)), u128::from(BASIS_POINTS));
    let limit = cap_part.max(amount.div_ceil(keys));
    let mut capped = vec![false; open.len()];
    let mut rest = amount;
    // Everyone over the limit is set to it and leaves; then the others share the rest. All limits together hold the
    // amount, so those still open can always hold the rest: they never all go over.
    let shares = loop {
        let shares = if rest == 0 { vec![0; open.len()] } else { parts(rest, &open)? };
        let over: Vec<usize> = (0..shares.len()).filter(|&index| shares[index] > limit).collect();
        if over.is_empty() {
            break shares;
        }
        for index in over {
            capped[index] = true;
            open[index] = 0;
            rest -= limit;
        }
    };
    let part = |index: usize| if capped[index] { limit } else { shares[index] };
    Ok(weights.iter().enumerate().map(|(index, (key, _))| (key.clone(), part(index))).collect())
}

/// The parts of `amount` by largest remainder.
fn parts(amount: u128, weights: &[u128]) -> Result<Vec<u128>, DivideError> {
    let total = weights.iter().try_fold(0_u128, |sum, weight| sum.checked_add(*weight)).ok_or(DivideError::Overflow)?;
    if total == 0 {
        return Err(DivideError::NoWeight);
    }
    let (mut parts, remainders): (Vec<u128>, Vec<u128>) =
        weights.iter().map(|weight| multiply_divide(amount, *weight, total)).unzip();
    // Each remainder is below `total` and together they are `missing` times it. So unless nothing is missing, more than
    // `missing` of them are above 0: a weight of 0 never gets anything.
    let missing = amount - parts.iter().sum::<u128>();
    let mut by_remainder: Vec<usize> = (0..parts.len()).collect();
    by_remainder.sort_by_key(|&index| std::cmp::Reverse(remainders[index]));
    for (index, _) in by_remainder.into_iter().zip(0..missing) {
        parts[index] += 1;
    }
    Ok(parts)
}

/// `amount` * `weight` divided by `total`, with the remainder, exactly. `weight` is at most `total`, which is not 0.
fn multiply_divide(amount: u128, weight: u128, total: u128) -> (u128, u128) {
    if let Some(product) = amount.checked_mul(weight) {
        return (product / total, product % total);
    }
    if weight == total {
        return (amount, 0);
    }
    // Both below `total`, whose sum may not fit 128 bits: the sum modulo `total`, and whether it went over.
    let add = |left: u128, right: u128| {
        let gap = total - right;
        if left >= gap { (left - gap, 1) } else { (left + right, 0) }
    };
    // One bit of `amount` after the other, highest first: the bits so far times `weight` are
    // `quotient` * `total` + `remainder`. The quotient is at most the bits so far, so it fits.
    let (mut quotient, mut remainder) = (0_u128, 0_u128);
    for bit in (0..u128::BITS).rev() {
        let (doubled, carry) = add(remainder, remainder);
        (quotient, remainder) = (quotient * 2 + carry, doubled);
        if amount >> bit & 1 == 1 {
            let (sum, carry) = add(remainder, weight);
            (quotient, remainder) = (quotient + carry, sum);
        }
    }
    (quotient, remainder)
}

#[cfg(test)]
mod tests;
