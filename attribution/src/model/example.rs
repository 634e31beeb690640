//! Sequences of tokens, and which of them count; several at once make a batch.
//!
//! A batch is padded at the end. Attention looks back only, so no token sees the padding, and what
//! is not counted has no part in a loss: the padding needs no token of its own and no mask in the
//! attention.

use std::ops::Range;

use super::config::Config;

/// Most positions, padding included, that one pass through a model may hold.
pub const MAX_BATCH_TOKENS: usize = 1 << 16;

/// A sequence of tokens of which some count: those whose likelihood, given all tokens before them,
/// is trained or asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    tokens: Vec<u32>,
    counted: Vec<bool>,
}

/// Why examples cannot go through a model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExampleError {
    /// There is none.
    #[error("there is no example")]
    None,
    /// It has no token to predict.
    #[error("example {index} has no token that counts")]
    NothingCounted {
        /// Which example of those given.
        index: usize,
    },
    /// It is longer than the model's context.
    #[error("example {index} has {found} tokens; the model holds {limit}")]
    TooLong {
        /// Which example of those given.
        index: usize,
        /// Its length.
        found: usize,
        /// The longest possible.
        limit: usize,
    },
    /// It has a token that the model does not know.
    #[error("example {index} has the token {found}; the vocabulary ends at {vocabulary}")]
    UnknownToken {
        /// Which example of those given.
        index: usize,
        /// The token.
        found: u32,
        /// Tokens in the vocabulary.
        vocabulary: usize,
    },
    /// One batch of them would hold too many positions.
    #[error("a batch of {found} positions is too large; at most {limit} go through a model at once")]
    BatchTooLarge {
        /// Positions with padding.
        found: usize,
        /// The most possible.
        limit: usize,
    },
}

impl ExampleError {
    /// The same of a list that stands behind so many examples in the caller's.
    pub(super) fn after(mut self, examples: usize) -> Self {
        match &mut self {
            Self::NothingCounted { index } | Self::TooLong { index, .. } | Self::UnknownToken { index, .. } => {
                *index += examples;
            }
            Self::None | Self::BatchTooLarge { .. } => {}
        }
        self
    }
}

impl Example {
    /// A text of which every token but the first counts; the first has nothing before it.
    #[must_use]
    pub fn text(tokens: Vec<u32>) -> Self {
        let counted = (0..tokens.len()).map(|index| index > 0).collect();
        Self { tokens, counted }
    }

    /// An answer to a prompt: only the answer's tokens count.
    #[must_use]
    pub fn answer(prompt: &[u32], answer: &[u32]) -> Self {
        let tokens: Vec<u32> = prompt.iter().chain(answer).copied().collect();
        let counted = (0..tokens.len()).map(|index| index >= prompt.len().max(1)).collect();
        Self { tokens, counted }
    }

    /// A long text in pieces of at most `length` tokens. Each begins with the last token of the one
    /// before, so that every token but the very first counts exactly once.
    #[must_use]
    pub fn windows(tokens: &[u32], length: usize) -> Vec<Self> {
        let step = length.max(2) - 1;
        let starts = (0..tokens.len().saturating_sub(1)).step_by(step);
        starts.map(|start| Self::text(tokens[start..tokens.len().min(start + step + 1)].to_vec())).collect()
    }

    /// The tokens.
    #[must_use]
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Tokens that count.
    #[must_use]
    pub fn counted(&self) -> usize {
        self.counted.iter().filter(|counted| **counted).count()
    }

    /// The first `length` tokens of it.
    #[must_use]
    pub fn truncated(mut self, length: usize) -> Self {
        self.tokens.truncate(length);
        self.counted.truncate(length);
        self
    }

    /// A digest of the tokens and of which of them count.
    pub(super) fn digest_into(&self, hasher: &mut blake3::Hasher) {
        hasher.update(&(self.tokens.len() as u64).to_le_bytes());
        for (token, counted) in self.tokens.iter().zip(&self.counted) {
            hasher.update(&token.to_le_bytes());
            hasher.update(&[u8::from(*counted)]);
        }
    }
}

/// Examples side by side, checked against a model. Position `p` of example `e` is row
/// `e * length + p`; it holds a token and predicts the next, so the last token has no row.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) tokens: Vec<u32>,
    pub(super) length: usize,
    /// Rows of each example, without its padding.
    pub(super) rows: Vec<Range<usize>>,
    /// The rows that predict a token that counts, one example after another.
    pub(super) predicting: Vec<u32>,
    /// For each of them the token that follows.
    pub(super) targets: Vec<u32>,
    /// Which of `predicting` belong to each example.
    pub(super) counted: Vec<Range<usize>>,
}

impl Batch {
    pub(super) fn new<'a>(
        examples: impl IntoIterator<Item = &'a Example>,
        config: &Config,
    ) -> Result<Self, ExampleError> {
        let examples: Vec<&Example> = examples.into_iter().collect();
        for (index, example) in examples.iter().enumerate() {
            check(index, example, config)?;
        }
        let length = examples.iter().map(|example| example.tokens.len() - 1).max().ok_or(ExampleError::None)?;
        let found = length.saturating_mul(examples.len());
        if found > MAX_BATCH_TOKENS {
            return Err(ExampleError::BatchTooLarge { found, limit: MAX_BATCH_TOKENS });
        }
        let mut batch = Self {
            tokens: Vec::with_capacity(found),
            length,
            rows: Vec::with_capacity(examples.len()),
            predicting: Vec::new(),
            targets: Vec::new(),
            counted: Vec::with_capacity(examples.len()),
        };
        for example in examples {
            let start = batch.tokens.len();
            let (first, used) = (batch.targets.len(), example.tokens.len() - 1);
            batch.tokens.extend(&example.tokens[..used]);
            batch.tokens.resize(start + length, 0);
            batch.rows.push(start..start + used);
            let following = example.tokens.iter().zip(&example.counted).skip(1);
            for (row, (&token, &counted)) in (start..).zip(following) {
                if counted {
                    batch.predicting.push(u32::try_from(row).unwrap_or(u32::MAX));
                    batch.targets.push(token);
                }
            }
            batch.counted.push(first..batch.targets.len());
        }
        Ok(batch)
    }
}

fn check(index: usize, example: &Example, config: &Config) -> Result<(), ExampleError> {
    if example.counted() == 0 {
        return Err(ExampleError::NothingCounted { index });
    }
    // The last token is only predicted, so it needs no position.
    let (found, limit) = (example.tokens.len(), config.context + 1);
    if found > limit {
        return Err(ExampleError::TooLong { index, found, limit });
    }
    let vocabulary = config.vocabulary;
    match example.tokens.iter().find(|&&token| token as usize >= vocabulary) {
        Some(&found) => Err(ExampleError::UnknownToken { index, found, vocabulary }),
        None => Ok(()),
    }
}

const _: () = assert!(MAX_BATCH_TOKENS <= u32::MAX as usize);
