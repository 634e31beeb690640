//! Answers to prompts, token by token.

use std::path::Path;

use super::error::LoadError;
use super::random::SplitMix;
use super::store::load;
use super::tokenizer::{Prompt, Tokenizer, TokenizerError};
use super::transformer::{Cache, Model};

/// The most likely tokens among which a sampled answer chooses.
const SAMPLED_TOKENS: usize = 40;

/// Why a model could not answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GenerateError {
    /// There is nothing to go on from.
    #[error("the prompt is empty")]
    EmptyPrompt,
    /// The prompt and the answer together do not fit the model's context.
    #[error("the prompt has {prompt} tokens and the answer may have {answer}; the model holds {limit}")]
    PromptTooLong {
        /// Tokens in the prompt, with the chat form's own.
        prompt: usize,
        /// Tokens that the answer may have.
        answer: usize,
        /// Tokens that fit.
        limit: usize,
    },
    /// The prompt could not be encoded, or the answer decoded.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The arithmetic failed.
    #[error("the model's arithmetic failed")]
    Compute(#[from] candle_core::Error),
}

/// How to answer.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// The longest answer, in tokens.
    pub max_tokens: usize,
    /// 0 takes the likeliest token each time; around 0.7 gives varied answers.
    pub temperature: f32,
    /// Decides the choices where the temperature is above 0.
    pub seed: u64,
    /// The answer ends before the first of these texts.
    pub stop: &'a [&'a str],
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self { max_tokens: 256, temperature: 0.0, seed: 0, stop: &[] }
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    /// The text, without the chat form's marks.
    pub text: String,
    /// Tokens read: the prompt with the chat form's own.
    pub tokens_in: usize,
    /// Tokens produced.
    pub tokens_out: usize,
}

/// A loaded model with its tokenizer.
#[derive(Clone)]
pub struct Generator {
    model: Model,
    tokenizer: Tokenizer,
}

impl Generator {
    /// Loads a checkpoint, see [`load`]; the file is not needed afterwards.
    ///
    /// # Errors
    /// Whatever in the file is missing, of the wrong kind, contradictory or too large.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        let (model, tokenizer) = load(path)?;
        Ok(Self { model, tokenizer })
    }

    /// Answers with a model at hand.
    #[must_use]
    pub fn new(model: Model, tokenizer: Tokenizer) -> Self {
        Self { model, tokenizer }
    }

    /// The model.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The tokenizer.
    #[must_use]
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Answers one prompt in the chat form, from nothing but that prompt.
    ///
    /// # Errors
    /// If the prompt does not fit, or the arithmetic fails.
    pub fn generate(&self, prompt: &Prompt<'_>, options: &Options<'_>) -> Result<Generation, GenerateError> {
        self.go_on(&self.tokenizer.chat(prompt)?, options)
    }

    /// Goes on with a text, whatever the model was tuned on.
    ///
    /// # Errors
    /// If the text is empty or does not fit, or the arithmetic fails.
    pub fn complete(&self, text: &str, options: &Options<'_>) -> Result<Generation, GenerateError> {
        self.go_on(&self.tokenizer.encode(text)?, options)
    }

    /// Answers a prompt as receipts have it, see [`Tokenizer::prompt`].
    ///
    /// # Errors
    /// If the prompt does not fit, or the arithmetic fails.
    pub fn respond(&self, prompt: &str, options: &Options<'_>) -> Result<Generation, GenerateError> {
        self.go_on(&self.tokenizer.prompt(prompt)?, options)
    }

    fn go_on(&self, prompt: &[u32], options: &Options<'_>) -> Result<Generation, GenerateError> {
        let limit = self.model.config().context;
        if prompt.is_empty() {
            return Err(GenerateError::EmptyPrompt);
        }
        if prompt.len().saturating_add(options.max_tokens) > limit {
            return Err(GenerateError::PromptTooLong { prompt: prompt.len(), answer: options.max_tokens, limit });
        }
        let mut cache = Cache::default();
        let mut draws = SplitMix::new(options.seed);
        let mut answer = Vec::new();
        let mut logits = self.model.next_logits(prompt, &mut cache)?;
        while answer.len() < options.max_tokens {
            let token = if options.temperature > 0.0 {
                sample(&logits, options.temperature, draws.unit())
            } else {
                likeliest(&logits)
            };
            if Some(token) == self.tokenizer.end() {
                break;
            }
            answer.push(token);
            if !options.stop.is_empty() && self.stopped(&answer, options.stop)?.is_some() {
                break;
            }
            if answer.len() < options.max_tokens {
                logits = self.model.next_logits(&[token], &mut cache)?;
            }
        }
        let text = match self.stopped(&answer, options.stop)? {
            Some(text) => text,
            None => self.tokenizer.decode(&answer)?,
        };
        Ok(Generation { text, tokens_in: prompt.len(), tokens_out: answer.len() })
    }

    /// The answer up to the first stop text, if it holds one.
    fn stopped(&self, answer: &[u32], stop: &[&str]) -> Result<Option<String>, TokenizerError> {
        if stop.is_empty() {
            return Ok(None);
        }
        let mut text = self.tokenizer.decode(answer)?;
        let end = stop.iter().filter_map(|stop| text.find(stop)).min();
        Ok(end.map(|end| {
            text.truncate(end);
            text
        }))
    }
}

impl std::fmt::Debug for Generator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Generator").finish_non_exhaustive()
    }
}

/// The token with the highest score; of equal ones the first.
fn likeliest(scores: &[f32]) -> u32 {
    let mut best = (0u32, f32::NEG_INFINITY);
    for (token, &score) in (0u32..).zip(scores) {
        if score > best.1 {
            best = (token, score);
        }
    }
    best.0
}

/// One of the [`SAMPLED_TOKENS`] best, with odds of `exp(score / temperature)`; `draw` is in [0, 1).
fn sample(scores: &[f32], temperature: f32, draw: f32) -> u32 {
    let mut ranked: Vec<(u32, f32)> = (0u32..).zip(scores.iter().copied()).collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    ranked.truncate(SAMPLED_TOKENS);
    let Some(&(first, top)) = ranked.first() else {
        return 0;
    };
    let odds = |score: f32| ((score - top) / temperature).exp();
    let mut left = draw * ranked.iter().map(|&(_, score)| odds(score)).sum::<f32>();
    for &(token, score) in &ranked {
        left -= odds(score);
        if left < 0.0 {
            return token;
        }
    }
    first
}
