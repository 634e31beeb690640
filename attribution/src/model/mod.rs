//! Small language models on the CPU: answering, training, adapters, and gradients per example.
//!
//! [`Model`] is one transformer of the llama family for all of it. [`load`] reads it from a GGUF
//! file such as SmolLM2-135M-Instruct's or from a folder in Hugging Face's form, [`Model::random`]
//! makes a fresh one, and with [`Tokenizer::BYTES`] it can be small enough to be trained in a
//! minute. [`Generator`] answers prompts, each from an empty cache, so that no prompt can colour the
//! answer to the next one. [`Trainer`] trains a whole small model, or the adapter beside one.
//! [`Gradients`] gives the gradient of each example's log-likelihood, from which influence is worked
//! out.
//!
//! The same weights, input and seeds give the same floats on the same machine with the same number
//! of threads; elsewhere the last bits may differ. So nothing that validators agree on is computed
//! here: what they compare allows for it.

mod adapter;
mod config;
mod error;
mod example;
mod files;
mod generate;
mod gguf;
mod gradients;
mod linear;
mod lora;
mod ops;
mod optimizer;
mod random;
mod store;
#[cfg(test)]
mod tests;
mod tokenizer;
mod train;
mod transformer;

pub use adapter::{MAX_ADAPTER_BYTES, load_adapter, save_adapter};
pub use config::{
    Config, ConfigError, MAX_BLOCKS, MAX_CONTEXT_TOKENS, MAX_HEAD_WIDTH, MAX_VOCABULARY, MAX_WEIGHTS, MAX_WIDTH,
};
pub use error::{LoadError, SaveError};
pub use example::{Example, ExampleError, MAX_BATCH_TOKENS};
pub use files::{MAX_HEADER_BYTES, MAX_TEXT_BYTES};
pub use generate::{GenerateError, Generation, Generator, Options};
pub use gguf::MAX_CHECKPOINT_BYTES;
pub use gradients::{DEFAULT_BATCH_TOKENS, GradientError, Gradients, Labels};
pub use linear::Scope;
pub use lora::{LoraConfig, LoraError, MAX_RANK, MAX_TARGETS, Targets};
pub use optimizer::Schedule;
pub use store::{MAX_TENSOR_FILE_BYTES, load, save};
pub use tokenizer::{Prompt, Tokenizer, TokenizerError};
pub use train::{MAX_STEPS, Outcome, Parameters, Progress, ResumeError, TrainError, TrainOptions, Trainer};
pub use transformer::{LikelihoodError, Model};
