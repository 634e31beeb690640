//! Who held which parts of a span before its holder.
//!
//! A span belongs to the earliest contribution that holds all of it. Whoever adds a sentence to a copy holds a longer span
//! than the author of what he copied, and that must not cost the author anything. So beside the maximal spans, evidence
//! says who first held each **context** in them: eight words of the answer in a row
//! ([`super::answer::Word::context_end`]). A span says it of all contexts in it, and for the most part that is all there is
//! to say. Where somebody else held contexts earlier, they stand in **earlier runs**: of contexts that start one word after
//! the other and have one occurrence.
//!
//! The earliest holder of a context is the smallest of all that is said of it. So what spans and runs say can be joined in
//! any order and grouping, and it does not matter how often it is said.

use super::{Answer, Holder, Span, maximal};
use crate::ids::ContributionId;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

/// Where a part of an answer stands in admitted data. The smaller one is the earlier, whichever word of it is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Occurrence {
    pub(super) order: u64,
    contribution: ContributionId,
    document: u32,
    /// How many bytes further on than in the answer it stands in the document.
    shift: i128,
}

impl Occurrence {
    pub(super) fn of(span: &Span) -> Self {
        let Holder { order, contribution, document, offset } = span.holder;
        Self { order, contribution, document, shift: i128::from(offset) - i128::from(span.start) }
    }

    /// A run of an answer's words, of which there are some, as a span.
    pub(super) fn span(&self, answer: &Answer<'_>, words: Range<usize>) -> Span {
        let (start, end) = (answer.words()[words.start].start, answer.words()[words.end - 1].end);
        let Self { order, contribution, document, .. } = *self;
        // A word of a part stands no further in front than the part's start, so this is no less than that offset was.
        let offset = u64::try_from(self.shift + i128::from(start)).unwrap_or(u64::MAX);
        Span { start, end, holder: Holder { order, contribution, document, offset } }
    }
}

/// The maximal ones of some spans, and the earlier runs: what these spans do not say of contexts. Both ascend.
pub(super) fn canonical(answer: &Answer<'_>, spans: Vec<Span>, earlier: &[Span]) -> (Vec<Span>, Vec<Span>) {
    let all = earliest_of_contexts(answer, [&spans, earlier]);
    let spans = maximal(spans);
    let said = earliest_of_contexts(answer, [&spans, &[]]);
    let unsaid = all.zip(said).map(|(all, said)| all.filter(|all| said != Some(*all)));
    let runs = runs_of(unsaid).into_iter().filter_map(|(contexts, occurrence)| {
        let end = answer.words()[contexts.end - 1].context_end?;
        Some(occurrence.span(answer, contexts.start..end as usize))
    });
    (spans, runs.collect())
}

/// The words of an answer that stand in contexts which somebody holds, in parts, each with who held it first: ascending.
pub(super) fn parts_by_earliest(
    answer: &Answer<'_>,
    spans: &[Span],
    earlier: &[Span],
) -> Vec<(Range<usize>, Occurrence)> {
    let runs = runs_of(earliest_of_contexts(answer, [spans, earlier]));
    let words = runs.into_iter().enumerate().filter_map(|(number, (contexts, occurrence))| {
        let end = answer.words()[contexts.end - 1].context_end?;
        Some((contexts.start..end as usize, (occurrence, number)))
    });
    // Parts next to each other that have one occurrence may have other bytes between them.
    let parts = runs_of(smallest(answer.words().len(), words.collect())).into_iter();
    parts.map(|(words, (occurrence, _))| (words, occurrence)).collect()
}

/// For each word the earliest occurrence of the context that starts with it, by what spans and runs say.
fn earliest_of_contexts(answer: &Answer<'_>, said: [&[Span]; 2]) -> impl Iterator<Item = Option<Occurrence>> + use<> {
    let contexts = said.into_iter().flatten().filter_map(|span| {
        let contexts = answer.contexts_in(answer.words_of(span.start, span.end)?);
        Some((contexts, Occurrence::of(span)))
    });
    smallest(answer.words().len(), contexts.collect())
}

/// For each number below a length, the smallest of those things whose range holds it.
fn smallest<T: Copy + Ord>(length: usize, mut things: Vec<(Range<usize>, T)>) -> impl Iterator<Item = Option<T>> {
    things.sort_unstable_by_key(|(range, _)| range.start);
    let mut things = things.into_iter().peekable();
    let mut open = BinaryHeap::new();
    (0..length).map(move |number| {
        while let Some((range, thing)) = things.next_if(|(range, _)| range.start <= number) {
            open.push(Reverse((thing, range.end)));
        }
        while open.peek().is_some_and(|Reverse((_, end))| *end <= number) {
            open.pop();
        }
        open.peek().map(|Reverse((thing, _))| *thing)
    })
}

/// The longest ranges of numbers that all have the same thing.
fn runs_of<T: PartialEq>(things: impl IntoIterator<Item = Option<T>>) -> Vec<(Range<usize>, T)> {
    let mut runs: Vec<(Range<usize>, T)> = Vec::new();
    for (number, thing) in things.into_iter().enumerate() {
        let Some(thing) = thing else { continue };
        match runs.last_mut() {
            Some((run, same)) if run.end == number && *same == thing => run.end += 1,
            _ => runs.push((number..number + 1, thing)),
        }
    }
    runs
}
