//! Evidence by spans: which passages of an answer stand word for word in whose contribution, first admitted when.
//!
//! Rules:
//!
//! - A **span** runs from the start of one word of the answer to the end of another (see [`crate::words`]). It
//!   *matches* where the same bytes stand in one document and start and end at word bounds there too: `cat` never
//!   matches `category`. In a network both are folded before (see [`crate::fold`], docs/adr/0021).
//! - Every part of a matching span matches as well, so evidence keeps only **maximal** spans: those in no longer one.
//! - The **holder** of a span is its earliest occurrence by admission order, then document, then offset.
//! - Who held parts of a span before its holder stands beside the spans: **earlier** runs of words (docs/adr/0020).
//! - Beside the spans stand the **frequencies** of the answer's words in each DataNet, from which [`shares`] computes
//!   what a span tells beyond chance.
//!
//! Evidence is a commutative monoid. [`Evidence::merge`] joins what different DataNets (or people) found and is also
//! idempotent; [`Partial::combine`] joins what disjoint shards of *one* DataNet found, and adds their counts. What
//! matches in a union of shards is the union of what matches in each; a span that is maximal in the union is maximal in
//! every shard that holds it, so no holder is lost. However documents are divided, the result is the same to the byte.
//!
//! Evidence comes out of blocks that others propose: [`Evidence::from_bytes`] refuses bytes that are not canonical, and
//! [`Evidence::check`] whatever the answer's text alone can refute. That a holder exists is the ledger's to check.

pub mod answer;
mod earlier;
pub mod influence;
pub mod log2;
pub mod partial;
pub mod shares;

pub use answer::{Answer, AnswerTooLong, fold_answer};
use earlier::canonical;
pub use influence::Influence;
pub use log2::{log2_q16, log2_q32};
pub use partial::{CombineError, Partial};
pub use shares::{
    Attribution, BASIS_POINTS, DivideError, MIN_SPAN_BITS, PaidSpan, attribute, divide, divide_capped, weigh,
};

use crate::fold::MAX_EXPANSION;
use crate::ids::{ContributionId, DataNetId};
use crate::limits::{MAX_ANSWER_BYTES, MAX_LINEAGE};
use borsh::{BorshDeserialize, BorshSerialize};
use std::collections::BTreeMap;

/// The most words one DataNet may claim to hold.
pub const MAX_DATANET_WORDS: u64 = 1 << 48;

// An evidence speaks of at most the DataNets of a lineage; the sums over them must fit.
const _: () = assert!(MAX_DATANET_WORDS <= u64::MAX / MAX_LINEAGE as u64);
// Offsets into an answer are u32.
const _: () = assert!(MAX_ANSWER_BYTES * MAX_EXPANSION < u32::MAX as usize);

/// Where a span stands in admitted data. The earlier of two holders is the smaller one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct Holder {
    /// The contribution's place in the ledger's order of admission: smaller is earlier, and no two share one.
    pub order: u64,
    /// The contribution.
    pub contribution: ContributionId,
    /// The document's index in the contribution.
    pub document: u32,
    /// The byte at which the span starts in that document's text: the folded one, in a network.
    pub offset: u64,
}

/// A passage of an answer, and who holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct Span {
    /// The byte of the answer at which its first word starts.
    pub start: u32,
    /// The byte of the answer at which its last word ends.
    pub end: u32,
    /// Its earliest occurrence.
    pub holder: Holder,
}

/// How often the answer's words occur in one DataNet.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Frequencies {
    /// All words in the DataNet.
    pub words: u64,
    /// For each distinct word of the answer, in order of first occurrence, its count in the DataNet.
    pub counts: Vec<u64>,
}

/// What spans say about one answer. Its Borsh encoding is canonical: its hash is what validators agree on.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Evidence {
    /// Maximal spans, ascending: both starts and ends rise strictly.
    pub spans: Vec<Span>,
    /// Runs of words, at least a context long, that others held before the holders of the spans around them: ascending.
    pub earlier: Vec<Span>,
    /// Word frequencies of each DataNet that was searched.
    pub frequencies: BTreeMap<DataNetId, Frequencies>,
    /// What influence says, where the model is attributed by it.
    pub influence: Influence,
}

/// Why two pieces of evidence cannot be of the same answer and data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// They give different frequencies for one DataNet.
    #[error("two pieces of evidence disagree on the word frequencies of DataNet {datanet}")]
    Frequencies {
        /// The DataNet.
        datanet: DataNetId,
    },
    /// They give one contribution different sums.
    #[error("two pieces of evidence disagree on the influence of contribution {contribution}")]
    Influence {
        /// The contribution.
        contribution: ContributionId,
    },
}

/// Why evidence cannot be about an answer, whatever the data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceError {
    /// The bytes are not the one encoding of an evidence.
    #[error("these {length} bytes are not the canonical encoding of an evidence")]
    Encoding {
        /// How many bytes there were.
        length: usize,
    },
    /// More DataNets than a lineage may have.
    #[error("evidence speaks of {got} DataNets; at most {MAX_LINEAGE} are allowed")]
    TooManyDataNets {
        /// How many there were.
        got: usize,
    },
    /// A DataNet claims more words than any may hold.
    #[error("DataNet {datanet} claims {words} words; at most {MAX_DATANET_WORDS} are allowed")]
    TooManyWords {
        /// The DataNet.
        datanet: DataNetId,
        /// What it claims.
        words: u64,
    },
    /// Not one count for each distinct word of the answer.
    #[error("DataNet {datanet} gives {got} word counts; the answer has {expected} distinct words")]
    CountsLength {
        /// The DataNet.
        datanet: DataNetId,
        /// How many counts it gives.
        got: usize,
        /// How many distinct words the answer has.
        expected: usize,
    },
    /// The counted words are more than all words.
    #[error("DataNet {datanet} counts more occurrences than its {words} words")]
    CountsAboveWords {
        /// The DataNet.
        datanet: DataNetId,
        /// All its words.
        words: u64,
    },
    /// A span does not run from a word's start to a word's end inside the answer.
    #[error("span {index} ({start}..{end}) does not run from a word's start to a word's end of the answer")]
    SpanBounds {
        /// Its place in the list.
        index: usize,
        /// Its first byte.
        start: u32,
        /// The byte after its last.
        end: u32,
    },
    /// A span does not both start and end after the span before it.
    #[error("span {index} does not start and end after the span before it: spans are ascending and none holds another")]
    SpanOrder {
        /// Its place in the list.
        index: usize,
    },
    /// The earlier runs are not those that there is one way to write.
    #[error("the earlier runs do not lie in spans of later holders, ascending, in the one way to write them")]
    Earlier,
    /// Influences that no rows can have.
    #[error("the influences are not above 0, too many or too large, or of a solution that was refused")]
    Influence,
    /// A span holds a word that occurs in no DataNet.
    #[error("span {index} holds the word at byte {at}, which by the counts occurs in no DataNet")]
    UnknownWord {
        /// The span's place in the list.
        index: usize,
        /// Where the word starts in the answer.
        at: u32,
    },
}

impl Evidence {
    /// Evidence of nothing, which changes nothing it is merged with.
    pub fn empty() -> Self {
        Self::default()
    }

    /// What both pieces of evidence say together of `answer`. Associative, commutative and idempotent.
    ///
    /// # Errors
    /// When they cannot be of one answer and data.
    pub fn merge(mut self, answer: &Answer<'_>, other: &Self) -> Result<Self, MergeError> {
        for (&datanet, frequencies) in &other.frequencies {
            let known = self.frequencies.entry(datanet).or_insert_with(|| frequencies.clone());
            if known != frequencies {
                return Err(MergeError::Frequencies { datanet });
            }
        }
        self.spans.extend_from_slice(&other.spans);
        self.earlier.extend_from_slice(&other.earlier);
        (self.spans, self.earlier) = canonical(answer, self.spans, &self.earlier);
        self.influence = self.influence.merge(&other.influence)?;
        Ok(self)
    }

    /// The canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Writing to a Vec fails only when a length exceeds u32, which no checked evidence comes near.
        borsh::to_vec(self).expect("evidence is far below 2^32 entries")
    }

    /// The evidence whose canonical bytes these are.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EvidenceError> {
        let error = EvidenceError::Encoding { length: bytes.len() };
        let Ok(evidence) = borsh::from_slice::<Self>(bytes) else { return Err(error) };
        // Borsh reads map keys in any order; only the ascending one is ours.
        if evidence.to_bytes() == bytes { Ok(evidence) } else { Err(error) }
    }

    /// Refuses evidence that cannot be about `answer`, whatever the data.
    pub fn check(&self, answer: &Answer<'_>) -> Result<(), EvidenceError> {
        self.check_frequencies(answer)?;
        self.influence.check()?;
        let known = |distinct: usize| self.frequencies.values().any(|frequencies| frequencies.counts[distinct] > 0);
        for (index, span) in self.spans.iter().enumerate() {
            let Some(words) = answer.words_of(span.start, span.end) else {
                return Err(EvidenceError::SpanBounds { index, start: span.start, end: span.end });
            };
            if index.checked_sub(1).is_some_and(|before| {
                let before = &self.spans[before];
                span.start <= before.start || span.end <= before.end
            }) {
                return Err(EvidenceError::SpanOrder { index });
            }
            if let Some(word) = answer.words()[words].iter().find(|word| !known(word.distinct as usize)) {
                return Err(EvidenceError::UnknownWord { index, at: word.start });
            }
        }
        // Of the spans that start no later than a run, the last one ends last.
        let is_inside = |run: &Span| {
            let spans = self.spans.partition_point(|span| span.start <= run.start);
            spans.checked_sub(1).is_some_and(|last| run.end <= self.spans[last].end)
        };
        let is_canonical = || canonical(answer, self.spans.clone(), &self.earlier).1 == self.earlier;
        if self.earlier.iter().all(is_inside) && is_canonical() { Ok(()) } else { Err(EvidenceError::Earlier) }
    }

    fn check_frequencies(&self, answer: &Answer<'_>) -> Result<(), EvidenceError> {
        if self.frequencies.len() > MAX_LINEAGE {
            return Err(EvidenceError::TooManyDataNets { got: self.frequencies.len() });
        }
        for (&datanet, Frequencies { words, counts }) in &self.frequencies {
            let words = *words;
            if words > MAX_DATANET_WORDS {
                return Err(EvidenceError::TooManyWords { datanet, words });
            }
            if counts.len() != answer.distinct_words() {
                let (got, expected) = (counts.len(), answer.distinct_words());
                return Err(EvidenceError::CountsLength { datanet, got, expected });
            }
            let sum = counts.iter().try_fold(0, |sum: u64, count| sum.checked_add(*count));
            if sum.is_none_or(|sum| sum > words) {
                return Err(EvidenceError::CountsAboveWords { datanet, words });
            }
        }
        Ok(())
    }
}

/// The spans that no other contains, ascending; of equal spans the one with the earliest holder.
pub(crate) fn maximal(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort_unstable_by_key(|span| (span.start, std::cmp::Reverse(span.end), span.holder));
    // In this order a span is contained in an earlier one exactly if it ends no later than some earlier one.
    let mut reached = None;
    spans.retain(|span| {
        let further = reached.is_none_or(|reached| span.end > reached);
        if further {
            reached = Some(span.end);
        }
        further
    });
    spans
}

#[cfg(test)]
mod tests;
