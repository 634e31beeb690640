//! What one shard of a DataNet says about an answer.

use super::earlier::canonical;
use super::{Answer, Evidence, Frequencies, Influence, Span};
use crate::ids::DataNetId;
use std::collections::BTreeMap;

/// Spans and word counts found in one shard of a DataNet. Shards are disjoint sets of documents, so their counts add.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partial {
    spans: Vec<Span>,
    earlier: Vec<Span>,
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
        Self::new(answer, Vec::new(), &[], Frequencies { words: 0, counts: vec![0; answer.distinct_words()] })
    }

    /// The findings of one shard: matching spans in any order, the maximal ones among them; and, in any order as well, the
    /// earliest occurrence of each context in them of which no such span tells, alone or in longer runs.
    pub fn new(answer: &Answer<'_>, spans: Vec<Span>, contexts: &[Span], frequencies: Frequencies) -> Self {
        let (spans, earlier) = canonical(answer, spans, contexts);
        Self { spans, earlier, frequencies }
    }

    /// What both shards say together of `answer`. Associative and commutative.
    ///
    /// # Errors
    /// When they cannot be of one answer, or count more words than there can be.
    pub fn combine(mut self, answer: &Answer<'_>, other: &Self) -> Result<Self, CombineError> {
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
        self.earlier.extend_from_slice(&other.earlier);
        (self.spans, self.earlier) = canonical(answer, self.spans, &self.earlier);
        Ok(self)
    }

    /// The evidence of DataNet `datanet`, once all its shards are combined. Should there be more spans and earlier runs
    /// together than words in the answer, the last runs are left out, so that evidence has its place in a block.
    pub fn into_evidence(mut self, answer: &Answer<'_>, datanet: DataNetId) -> Evidence {
        self.earlier.truncate(answer.words().len().saturating_sub(self.spans.len()));
        Evidence {
            spans: self.spans,
            earlier: self.earlier,
            frequencies: BTreeMap::from([(datanet, self.frequencies)]),
            influence: Influence::default(),
        }
    }

    /// The maximal spans found, ascending.
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// Runs of contexts that others held before the holders of these spans, ascending.
    pub fn earlier(&self) -> &[Span] {
        &self.earlier
    }

    /// The word counts.
    pub fn frequencies(&self) -> &Frequencies {
        &self.frequencies
    }
}
