//! A small language model that answers prompts, from a GGUF checkpoint, on the CPU.
//!
//! [`Generator::load`] opens a llama-family checkpoint such as SmolLM2-135M-Instruct and
//! [`Generator::generate`] answers one prompt in the chat form the model was tuned on. Each call
//! starts from an empty cache, so no prompt can colour the answer to the next one. The same
//! checkpoint, prompt and [`Options`] give the same tokens on the same machine; across machines the
//! last bits of floating point may differ, so nothing that validators agree on is computed here.

mod checkpoint;
mod llama;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use tokenizers::Tokenizer;

use checkpoint::Checkpoint;
pub use checkpoint::{
    MAX_BLOCKS, MAX_CHECKPOINT_BYTES, MAX_CONTEXT_TOKENS, MAX_HEAD_WIDTH, MAX_HEADER_BYTES, MAX_VOCABULARY,
    MAX_WEIGHTS, MAX_WIDTH,
};
use llama::{Cache, Llama};

/// The most likely tokens among which a sampled answer chooses.
const SAMPLED_TOKENS: usize = 40;

/// Why a model could not be loaded, or could not answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The file could not be opened or read.
    #[error("cannot read the checkpoint {}", path.display())]
    Unreadable {
        /// The file asked for.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is larger than any model meant for this purpose.
    #[error("the checkpoint has {bytes} bytes; at most {limit} are allowed")]
    TooLarge {
        /// Its size.
        bytes: u64,
        /// The largest allowed.
        limit: u64,
    },
    /// The tensors together have more weights than any model meant for this purpose.
    #[error("the checkpoint lists more than {limit} weights")]
    TooManyWeights {
        /// The most allowed.
        limit: usize,
    },
    /// The header is not GGUF, is cut off, or does not end within [`MAX_HEADER_BYTES`].
    #[error("the file is not a GGUF checkpoint, or it is damaged")]
    NotGguf {
        /// What the parser said.
        source: candle_core::Error,
    },
    /// A model of another family.
    #[error("the checkpoint holds a model of the family {found:?}; only \"llama\" is known")]
    Architecture {
        /// The family that the checkpoint names.
        found: String,
    },
    /// A metadata key that every such model has is absent.
    #[error("the checkpoint has no metadata key {key}")]
    MissingKey {
        /// The key.
        key: String,
    },
    /// A metadata value has another type than its key demands.
    #[error("the checkpoint's {key} is not of type {wanted}")]
    WrongType {
        /// The key.
        key: String,
        /// The type it must have.
        wanted: &'static str,
    },
    /// A size or a list's length is zero or too large.
    #[error("the checkpoint's {key} is {found}; it must be from 1 to {limit}")]
    OutOfRange {
        /// The key.
        key: String,
        /// The value, or the list's length.
        found: u64,
        /// The largest allowed.
        limit: usize,
    },
    /// A metadata value contradicts another, or is one that this loader does not handle.
    #[error("the checkpoint's {key} must be {wanted}")]
    BadValue {
        /// The key.
        key: String,
        /// What it must be.
        wanted: &'static str,
    },
    /// A weight is absent.
    #[error("the checkpoint has no tensor {name}")]
    MissingTensor {
        /// The tensor's name.
        name: String,
    },
    /// A weight has another shape than the model's sizes imply.
    #[error("the checkpoint's tensor {name} has shape {found:?}; the model's sizes need {wanted:?}")]
    TensorShape {
        /// The tensor's name.
        name: String,
        /// The shape that the sizes imply.
        wanted: Vec<usize>,
        /// The shape in the file.
        found: Vec<usize>,
    },
    /// The vocabulary lacks a token that the chat form needs.
    #[error("the checkpoint's vocabulary has no {token}, which its chat form needs")]
    MissingToken {
        /// The token.
        token: &'static str,
    },
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
    /// The tokenizer could not be built or could not encode.
    #[error("the checkpoint's tokenizer failed")]
    Tokenizer(#[from] tokenizers::Error),
    /// The arithmetic failed, for example on a tensor that the file cuts off.
    #[error("the model's arithmetic failed")]
    Compute(#[from] candle_core::Error),
}

/// What to say to the model.
#[derive(Debug, Clone, Copy)]
pub struct Prompt<'a> {
    /// How the model shall behave, if that is to be said.
    pub system: Option<&'a str>,
    /// The question.
    pub user: &'a str,
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
pub struct Generator {
    model: Llama,
    tokenizer: Tokenizer,
    turn_start: u32,
    turn_end: u32,
}

impl Generator {
    /// Loads a checkpoint; the file is not needed afterwards.
    ///
    /// # Errors
    /// Whatever in the file is missing, of the wrong kind, contradictory or too large.
    pub fn load(path: &Path) -> Result<Self, ModelError> {
        let mut checkpoint = Checkpoint::open(path)?;
        let tokenizer = checkpoint.tokenizer()?;
        let token = |token| tokenizer.token_to_id(token).ok_or(ModelError::MissingToken { token });
        let (turn_start, turn_end) = (token("<|im_start|>")?, token("<|im_end|>")?);
        Ok(Self { model: Llama::load(&mut checkpoint)?, tokenizer, turn_start, turn_end })
    }

    /// Answers one prompt, from nothing but that prompt.
    ///
    /// # Errors
    /// If the prompt does not fit, or the arithmetic fails.
    pub fn generate(&self, prompt: &Prompt<'_>, options: &Options<'_>) -> Result<Generation, ModelError> {
        let prompt = self.encode(prompt)?;
        let limit = self.model.context();
        if prompt.len().saturating_add(options.max_tokens) > limit {
            return Err(ModelError::PromptTooLong { prompt: prompt.len(), answer: options.max_tokens, limit });
        }
        let mut cache = Cache::default();
        let mut draws = SplitMix(options.seed);
        let mut answer = Vec::new();
        let mut scores = self.model.forward(&prompt, &mut cache)?;
        while answer.len() < options.max_tokens {
            let token = if options.temperature > 0.0 {
                sample(&scores, options.temperature, draws.unit())
            } else {
                likeliest(&scores)
            };
            if token == self.turn_end {
                break;
            }
            answer.push(token);
            if !options.stop.is_empty() && self.stopped(&answer, options.stop)?.is_some() {
                break;
            }
            if answer.len() < options.max_tokens {
                scores = self.model.forward(&[token], &mut cache)?;
            }
        }
        let text = match self.stopped(&answer, options.stop)? {
            Some(text) => text,
            None => self.tokenizer.decode(&answer, true)?,
        };
        Ok(Generation { text, tokens_in: prompt.len(), tokens_out: answer.len() })
    }

    /// The tokens of a whole chat up to where the model's answer begins.
    fn encode(&self, prompt: &Prompt<'_>) -> Result<Vec<u32>, ModelError> {
        let mut tokens = Vec::new();
        let turns = prompt.system.map(|text| ("system", text));
        for (role, text) in turns.into_iter().chain([("user", prompt.user)]) {
            tokens.push(self.turn_start);
            tokens.extend(self.tokenizer.encode(format!("{role}\n{text}"), false)?.get_ids());
            tokens.push(self.turn_end);
            tokens.extend(self.tokenizer.encode("\n", false)?.get_ids());
        }
        tokens.push(self.turn_start);
        tokens.extend(self.tokenizer.encode("assistant\n", false)?.get_ids());
        Ok(tokens)
    }

    /// The answer up to the first stop text, if it holds one.
    fn stopped(&self, answer: &[u32], stop: &[&str]) -> Result<Option<String>, ModelError> {
        if stop.is_empty() {
            return Ok(None);
        }
        let mut text = self.tokenizer.decode(answer, true)?;
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

/// SplitMix64 (Steele, Lea, Flood 2014): the choices of a sampled answer, from its seed alone.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in [0, 1), one of 65,536: exact in a float, and fine enough among forty tokens.
    fn unit(&mut self) -> f32 {
        let bits = u16::try_from(self.next() >> 48).unwrap_or(0);
        f32::from(bits) / 65_536.0
    }
}
