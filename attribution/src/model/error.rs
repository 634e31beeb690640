//! Why a model, a tokenizer or an adapter could not be read, or could not be written.

use std::path::PathBuf;

use super::config::ConfigError;
use super::lora::LoraError;

/// Why a file of a model could not be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file could not be opened or read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file asked for.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is larger than any meant for this purpose.
    #[error("{} has {bytes} bytes; at most {limit} are allowed", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
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
    /// The header is not GGUF, is cut off, or does not end within
    /// [`MAX_HEADER_BYTES`](super::MAX_HEADER_BYTES).
    #[error("the file is not a GGUF checkpoint, or it is damaged")]
    NotGguf {
        /// What the parser said.
        source: candle_core::Error,
    },
    /// The file is not safetensors, is cut off, or its header does not fit its length.
    #[error("{} is not a safetensors file, or it is damaged: {reason}", path.display())]
    NotSafetensors {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The file is not what was written beside its digest.
    #[error("{} was altered: it does not have the digest that {beside} records", path.display())]
    Altered {
        /// The file.
        path: PathBuf,
        /// Where the digest stands.
        beside: &'static str,
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
    /// The sizes are unusable.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A weight is absent.
    #[error("the checkpoint has no tensor {name}")]
    MissingTensor {
        /// The tensor's name.
        name: String,
    },
    /// There is a weight that the model has no place for.
    #[error("the checkpoint has a tensor {name}, which the model has no place for")]
    UnexpectedTensor {
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
    /// A weight is stored in a form that is not read here.
    #[error("the checkpoint's tensor {name} is stored as {found}; F32, F16 and BF16 are read")]
    TensorType {
        /// The tensor's name.
        name: String,
        /// How it is stored.
        found: String,
    },
    /// A weight is infinite or no number.
    #[error("the checkpoint's tensor {name} has a value that is not a finite number")]
    NotFinite {
        /// The tensor's name.
        name: String,
    },
    /// The checkpoint's chat form is not the one that is written here.
    #[error(
        "the checkpoint's chat template is not ChatML (<|im_start|>role … <|im_end|>), which is the only one known"
    )]
    ChatTemplate,
    /// The vocabulary lacks a token that the chat form needs.
    #[error("the checkpoint's vocabulary has no {token}, which its chat form needs")]
    MissingToken {
        /// The token.
        token: &'static str,
    },
    /// The tokenizer and the model do not have the same number of tokens.
    #[error("the tokenizer has {tokenizer} tokens, the model {model}")]
    Vocabulary {
        /// Tokens of the tokenizer.
        tokenizer: usize,
        /// Tokens of the model.
        model: usize,
    },
    /// The adapter's configuration is not usable here.
    #[error("adapter_config.json's {key} must be {wanted}")]
    AdapterConfig {
        /// The key.
        key: &'static str,
        /// What it must be.
        wanted: &'static str,
    },
    /// The adapter was trained beside another model.
    #[error("the adapter was made for another base model: it records the digest {recorded}, this one has {found}")]
    AdapterBase {
        /// The digest that the adapter records.
        recorded: String,
        /// The digest of the model at hand.
        found: String,
    },
    /// The adapter does not suit the model.
    #[error(transparent)]
    Lora(#[from] LoraError),
    /// The tokenizer could not be built.
    #[error("the checkpoint's tokenizer failed")]
    Tokenizer(#[from] tokenizers::Error),
    /// The arithmetic failed, for example on a tensor that the file cuts off.
    #[error("the checkpoint's tensors could not be unpacked")]
    Compute(#[from] candle_core::Error),
}

/// Why a model or an adapter could not be written. Nothing half-written stands under a final name.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SaveError {
    /// The model has no adapter to save.
    #[error("the model has no adapter to save")]
    NoAdapter,
    /// A weight is infinite or no number, so nobody could load the file again.
    #[error("the model's {name} has a value that is not a finite number")]
    NotFinite {
        /// The tensor's name.
        name: String,
    },
    /// The tokenizer could not be written out.
    #[error("the tokenizer could not be written out")]
    Tokenizer(#[from] tokenizers::Error),
    /// The weights could not be taken out of memory.
    #[error("the model's weights could not be read from memory")]
    Compute(#[from] candle_core::Error),
    /// The system refused.
    #[error("cannot write {}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}
