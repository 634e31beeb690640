//! The sizes that a llama-family model is built from, and their form in Hugging Face's `config.json`.
//!
//! A [`Config`] may come from a stranger's file, so there is no way to one around
//! [`Config::checked`]: each size has a bound, they agree with each other, and all weights together
//! stay below [`MAX_WEIGHTS`], before anything is allocated on their word.

use serde_json::{Value, json};

/// Most weights in a model: unpacked, each takes four bytes of memory.
pub const MAX_WEIGHTS: usize = 1 << 29;
/// Most tokens in a vocabulary.
pub const MAX_VOCABULARY: usize = 1 << 18;
/// Most transformer blocks.
pub const MAX_BLOCKS: usize = 128;
/// Largest width of any layer.
pub const MAX_WIDTH: usize = 1 << 13;
/// Largest width of an attention head.
pub const MAX_HEAD_WIDTH: usize = 1 << 10;
/// Positions a conversation may use, whatever the checkpoint claims to support.
pub const MAX_CONTEXT_TOKENS: usize = 4096;

/// The sizes of a model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Config {
    /// Tokens in the vocabulary.
    pub vocabulary: usize,
    /// Width of the residual stream.
    pub width: usize,
    /// Width between the two halves of a feed-forward layer.
    pub hidden: usize,
    /// Transformer blocks.
    pub blocks: usize,
    /// Query heads of a block.
    pub heads: usize,
    /// Key and value heads of a block; they are shared by groups of query heads.
    pub kv_heads: usize,
    /// Positions that a sequence may have.
    pub context: usize,
    /// Base of the rotary embedding's frequencies.
    pub rope_base: f64,
    /// What RMS norm adds to the mean square.
    pub norm_epsilon: f64,
    /// Is the output matrix the embedding again?
    pub tied_embeddings: bool,
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The text is not JSON.
    #[error("config.json is not JSON")]
    NotJson(#[source] serde_json::Error),
    /// Something is absent, of the wrong type, or not what this code computes.
    #[error("config.json's {key} must be {wanted}")]
    Value {
        /// The key.
        key: &'static str,
        /// What it must be.
        wanted: &'static str,
    },
    /// A size is zero or too large.
    #[error("the model's {name} is {found}; it must be from 1 to {limit}")]
    OutOfRange {
        /// Which size.
        name: &'static str,
        /// The size.
        found: usize,
        /// The largest allowed.
        limit: usize,
    },
    /// Two sizes contradict each other.
    #[error("the model's {name} must be {wanted}")]
    Contradiction {
        /// Which size.
        name: &'static str,
        /// What it must be.
        wanted: &'static str,
    },
    /// The matrices that the sizes imply have too many weights together.
    #[error("the model has more than {limit} weights")]
    TooManyWeights {
        /// The most allowed.
        limit: usize,
    },
}

impl Config {
    /// A byte-level model of 63 thousand weights, which learns a page of text in a minute on one
    /// core: for tests, and for experiments that need many models.
    pub const TINY: Self = Self {
        vocabulary: 257,
        width: 48,
        hidden: 128,
        blocks: 2,
        heads: 4,
        kv_heads: 2,
        context: 256,
        rope_base: 10_000.0,
        norm_epsilon: 1e-5,
        tied_embeddings: true,
    };

    /// Width of one attention head.
    #[must_use]
    pub fn head_width(&self) -> usize {
        self.width / self.heads.max(1)
    }

    /// Width of all key heads together, and of all value heads.
    #[must_use]
    pub fn kv_width(&self) -> usize {
        self.kv_heads * self.head_width()
    }

    /// The configuration, if every size is within its bound and agrees with the others.
    ///
    /// # Errors
    /// Names the first size that is not.
    pub fn checked(self) -> Result<Self, ConfigError> {
        let ranges = [
            ("vocabulary", self.vocabulary, MAX_VOCABULARY),
            ("width", self.width, MAX_WIDTH),
            ("hidden width", self.hidden, MAX_WIDTH),
            ("number of blocks", self.blocks, MAX_BLOCKS),
            ("number of heads", self.heads, MAX_WIDTH),
            ("number of key/value heads", self.kv_heads, MAX_WIDTH),
            ("context", self.context, MAX_CONTEXT_TOKENS),
        ];
        for (name, found, limit) in ranges {
            if !(1..=limit).contains(&found) {
                return Err(ConfigError::OutOfRange { name, found, limit });
            }
        }
        if !self.width.is_multiple_of(self.heads) || !self.head_width().is_multiple_of(2) {
            let wanted = "an even multiple of the number of heads";
            return Err(ConfigError::Contradiction { name: "width", wanted });
        }
        if self.head_width() > MAX_HEAD_WIDTH {
            let (name, limit) = ("width of a head", MAX_HEAD_WIDTH);
            return Err(ConfigError::OutOfRange { name, found: self.head_width(), limit });
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            let wanted = "a divisor of the number of heads";
            return Err(ConfigError::Contradiction { name: "number of key/value heads", wanted });
        }
        if !(1.0..=1e9).contains(&self.rope_base) {
            return Err(ConfigError::Contradiction { name: "rope base", wanted: "a number from 1 to 1e9" });
        }
        if !(1e-12..=1e-2).contains(&self.norm_epsilon) {
            return Err(ConfigError::Contradiction { name: "norm epsilon", wanted: "a number from 1e-12 to 0.01" });
        }
        if self.weights() > MAX_WEIGHTS {
            return Err(ConfigError::TooManyWeights { limit: MAX_WEIGHTS });
        }
        Ok(self)
    }

    /// All weights of the model. The bounds of [`Self::checked`] keep it far from overflow.
    #[must_use]
    pub fn weights(&self) -> usize {
        let attention = 2 * self.width * (self.width + self.kv_width());
        let block = attention + 3 * self.width * self.hidden + 2 * self.width;
        let embeddings = if self.tied_embeddings { 1 } else { 2 };
        self.blocks * block + self.width + embeddings * self.vocabulary * self.width
    }

    /// Reads Hugging Face's `config.json` of a llama-family model.
    pub(super) fn from_json(text: &[u8]) -> Result<Self, ConfigError> {
        let json: Value = serde_json::from_slice(text).map_err(ConfigError::NotJson)?;
        let plain = |key: &'static str, accepted: &[Value], wanted| match json.get(key) {
            Some(value) if !value.is_null() && !accepted.contains(value) => Err(ConfigError::Value { key, wanted }),
            _ => Ok(()),
        };
        if json.get("model_type") != Some(&json!("llama")) {
            return Err(ConfigError::Value { key: "model_type", wanted: "\"llama\"" });
        }
        plain("hidden_act", &[json!("silu")], "\"silu\"")?;
        plain("rope_scaling", &[], "null: scaled rotary embeddings are not known here")?;
        plain("attention_bias", &[json!(false)], "false: no layer here has a bias")?;
        plain("mlp_bias", &[json!(false)], "false: no layer here has a bias")?;
        let size = |key: &'static str| {
            let found = json.get(key).and_then(Value::as_u64).and_then(|size| usize::try_from(size).ok());
            found.ok_or(ConfigError::Value { key, wanted: "a whole number" })
        };
        let number = |key: &'static str, value: Option<&Value>, default: f64| match value {
            None | Some(Value::Null) => Ok(default),
            Some(value) => value.as_f64().ok_or(ConfigError::Value { key, wanted: "a number" }),
        };
        let rope = json.get("rope_parameters").filter(|value| !value.is_null());
        if rope.is_some_and(|rope| rope.get("rope_type").is_some_and(|kind| *kind != json!("default"))) {
            let wanted = "of rope_type \"default\": scaled rotary embeddings are not known here";
            return Err(ConfigError::Value { key: "rope_parameters", wanted });
        }
        let rope_base = rope.and_then(|rope| rope.get("rope_theta")).or_else(|| json.get("rope_theta"));
        let heads = size("num_attention_heads")?;
        let config = Self {
            vocabulary: size("vocab_size")?,
            width: size("hidden_size")?,
            hidden: size("intermediate_size")?,
            blocks: size("num_hidden_layers")?,
            heads,
            kv_heads: match json.get("num_key_value_heads") {
                None | Some(Value::Null) => heads,
                Some(_) => size("num_key_value_heads")?,
            },
            context: size("max_position_embeddings")?.min(MAX_CONTEXT_TOKENS),
            rope_base: number("rope_theta", rope_base, 10_000.0)?,
            norm_epsilon: number("rms_norm_eps", json.get("rms_norm_eps"), 1e-6)?,
            tied_embeddings: match json.get("tie_word_embeddings") {
                None | Some(Value::Null) => false,
                Some(value) => {
                    value.as_bool().ok_or(ConfigError::Value { key: "tie_word_embeddings", wanted: "true or false" })?
                }
            },
        };
        let config = config.checked()?;
        if json.get("head_dim").is_some_and(|found| !found.is_null() && *found != json!(config.head_width())) {
            return Err(ConfigError::Value { key: "head_dim", wanted: "hidden_size divided by num_attention_heads" });
        }
        Ok(config)
    }

    /// The same as Hugging Face's `config.json`.
    pub(super) fn to_json(self) -> Value {
        json!({
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_act": "silu",
            "attention_bias": false,
            "mlp_bias": false,
            "torch_dtype": "float32",
            "vocab_size": self.vocabulary,
            "hidden_size": self.width,
            "intermediate_size": self.hidden,
            "num_hidden_layers": self.blocks,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_width(),
            "max_position_embeddings": self.context,
            "rope_theta": self.rope_base,
            "rope_scaling": null,
            "rms_norm_eps": self.norm_epsilon,
            "tie_word_embeddings": self.tied_embeddings,
        })
    }
}

/// Together the bounds keep every product in [`Config::weights`] within 64 bits.
const _: () = assert!(MAX_BLOCKS * 8 * MAX_WIDTH * MAX_WIDTH + 2 * MAX_VOCABULARY * MAX_WIDTH < 1 << 40);
