//! What one shard of a DataNet says about an answer.

use super::{Answer, Evidence, Frequencies, Span, maximal};
use crate::ids::DataNetId;
use std::collections::BTreeMap;

/// Spans and word counts found in one shard of a DataNet. Shards are disjoint sets of documents, so their counts add.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partial {
    spans: Vec<Span>,
    frequencies: Frequencies,
}

/// Why two shards' findings cannot be of the same answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CombineError {
    /// They count different numbers of distinct words.
    #[error("one shard counts {left} distinct words of the answer, another {right}")]
    CountsLength {
        /// How many the first counts.
        left: usize,
        /// How many the second counts.
        right: usize,
    },
    /// A sum of counts does not fit.
    #[error("the shards' word counts add to more than 2^64")]
    Overflow,
}

impl Partial {
    /// What a shard without documents says about `answer`: the neutral element of [`Partial::combine`].
    pub fn empty(answer: &Answer<'_>) -> Self {
        Self::new(Vec::new(), Frequencies { words: 0, counts: vec![0; answer.distinct_words()] })
    }

    /// The findings of one shard: spans in any order, of which the maximal ones are kept.
    pub fn new(spans: Vec<Span>, frequencies: Frequencies) -> Self {
        Self { spans: maximal(spans), frequencies }
    }

    /// What both shards say together. Associative and commutative.
    pub fn combine(mut self, other: &Self) -> Result<Self, CombineError> {
        let (left, right) = (self.frequencies.counts.len(), other.frequencies.counts.len());
        if left != right {
            return Err(CombineError::CountsLength { left, right });
        }
        let add = |sum: &mut u64, more: u64| -> Result<(), CombineError> {
            *sum = sum.checked_add(more).ok_or(CombineError::Overflow)?;
            Ok(())
        };
        add(&mut self.frequencies.words, other.frequencies.words)?;
        for (sum, &more) in self.frequencies.counts.iter_mut().zip(&other.frequencies.counts) {
            add(sum, more)?;
        }
        self.spans.extend_from_slice(&other.spans);
        self.spans = maximal(self.spans);
        Ok(self)
    }

    /// The evidence of DataNet `datanet`, once all its shards are combined.
    pub fn into_evidence(self, datanet: DataNetId) -> Evidence {
        Evidence { spans: self.spans, frequencies: BTreeMap::from([(datanet, self.frequencies)]) }
    }

    /// The maximal spans found, ascending.
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// The word counts.
    pub fn frequencies(&self) -> &Frequencies {
        &self.frequencies
    }
}
