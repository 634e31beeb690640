//! Reads a GGUF checkpoint of the llama family: its sizes, its tensors and its tokenizer.
//!
//! The file comes from somebody else. Nothing is allocated on its word alone: the header must lie
//! in the first [`MAX_HEADER_BYTES`], each size has a bound, and each tensor must have exactly the
//! shape that the sizes imply before a byte of it is read. Every refusal is a [`LoadError`].
//!
//! The rows of its query and key matrices are laid out for a rotation of neighbouring pairs. They
//! are put into the order of a rotation of halves here, once, which is the only one that the
//! transformer has.

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

use candle_core::quantized::gguf_file::{Content, Value};
use candle_core::{Device, Tensor};
use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::{AddedToken, Tokenizer as Bpe};

use super::config::{Config, MAX_BLOCKS, MAX_CONTEXT_TOKENS, MAX_HEAD_WIDTH, MAX_VOCABULARY, MAX_WEIGHTS, MAX_WIDTH};
use super::error::LoadError;
use super::files::{MAX_HEADER_BYTES, finite, open_bounded};
use super::tokenizer::{Chat, Kind, Tokenizer};
use super::transformer::Model;

/// Largest GGUF checkpoint that is opened, in bytes: a small model, not a data centre's.
pub const MAX_CHECKPOINT_BYTES: u64 = 512 << 20;

/// GGUF's number for a control token, such as the marks around a turn of a chat.
const TOKEN_TYPE_CONTROL: i32 = 3;

/// An opened checkpoint: the parsed header, and the file to read tensors from.
pub(super) struct Checkpoint {
    file: File,
    content: Content,
}

impl Checkpoint {
    pub(super) fn open(path: &Path) -> Result<Self, LoadError> {
        let unreadable = |source| LoadError::Unreadable { path: path.to_path_buf(), source };
        let mut file = open_bounded(path, MAX_CHECKPOINT_BYTES)?;
        let mut header = Vec::new();
        Read::by_ref(&mut file).take(MAX_HEADER_BYTES).read_to_end(&mut header).map_err(unreadable)?;
        // The reader divides by this field without looking at it. Files with the default
        // alignment, which is all that llama.cpp writes, do not carry it.
        const ALIGNMENT: &[u8] = b"general.alignment";
        if header.windows(ALIGNMENT.len()).any(|w| w == ALIGNMENT) {
            return Err(LoadError::BadValue {
                key: "general.alignment".into(),
                wanted: "absent, for the default alignment of 32",
            });
        }
        let content = Content::read(&mut Cursor::new(header)).map_err(|source| LoadError::NotGguf { source })?;
        let weights = content.tensor_infos.values().try_fold(0usize, |sum, info| {
            let product = info.shape.dims().iter().try_fold(1usize, |n, &dim| n.checked_mul(dim));
            sum.checked_add(product?).filter(|&sum| sum <= MAX_WEIGHTS)
        });
        if weights.is_none() {
            return Err(LoadError::TooManyWeights { limit: MAX_WEIGHTS });
        }
        Ok(Self { file, content })
    }

    /// The model's sizes, each checked against its bound and against the others.
    pub(super) fn config(&self) -> Result<Config, LoadError> {
        let architecture = self.text("general.architecture")?;
        if architecture != "llama" {
            return Err(LoadError::Architecture { found: architecture.to_owned() });
        }
        let width = self.size("llama.embedding_length", MAX_WIDTH)?;
        let heads = self.size("llama.attention.head_count", MAX_WIDTH)?;
        let kv_heads = self.size("llama.attention.head_count_kv", MAX_WIDTH)?;
        let head_width = self.size("llama.rope.dimension_count", MAX_HEAD_WIDTH)?;
        if heads.checked_mul(head_width) != Some(width) {
            return Err(LoadError::BadValue {
                key: "llama.rope.dimension_count".into(),
                wanted: "the embedding length divided by the number of heads",
            });
        }
        let config = Config {
            vocabulary: self.list("tokenizer.ggml.tokens", MAX_VOCABULARY)?.len(),
            width,
            hidden: self.size("llama.feed_forward_length", MAX_WIDTH)?,
            blocks: self.size("llama.block_count", MAX_BLOCKS)?,
            heads,
            kv_heads,
            context: self.size("llama.context_length", usize::MAX)?.min(MAX_CONTEXT_TOKENS),
            rope_base: f64::from(self.float("llama.rope.freq_base", 1.0, 1e9)?),
            norm_epsilon: f64::from(self.float("llama.attention.layer_norm_rms_epsilon", 1e-12, 1e-2)?),
            tied_embeddings: !self.has("output.weight"),
        };
        Ok(config.checked()?)
    }

    /// The model: its tensors under the names and in the order that the transformer has.
    pub(super) fn model(&mut self) -> Result<Model, LoadError> {
        let config = self.config()?;
        Model::build(config, |name, shape| {
            let tensor = self.tensor(&gguf_name(name), shape)?;
            match name {
                _ if name.ends_with("q_proj.weight") => halves(&tensor, config.heads),
                _ if name.ends_with("k_proj.weight") => halves(&tensor, config.kv_heads),
                _ => Ok(tensor),
            }
        })
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.content.tensor_infos.contains_key(name)
    }

    /// The weights of that name as floats, if they have exactly this shape.
    pub(super) fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, LoadError> {
        let info =
            self.content.tensor_infos.get(name).ok_or_else(|| LoadError::MissingTensor { name: name.to_owned() })?;
        if info.shape.dims() != shape {
            return Err(LoadError::TensorShape {
                name: name.to_owned(),
                wanted: shape.to_vec(),
                found: info.shape.dims().to_vec(),
            });
        }
        let packed = self.content.tensor(&mut self.file, name, &Device::Cpu)?;
        finite(packed.dequantize(&Device::Cpu)?, name)
    }

    /// The tokenizer that the checkpoint describes: byte-level BPE that takes digits one by one.
    pub(super) fn tokenizer(&self) -> Result<Tokenizer, LoadError> {
        for (key, wanted) in [("tokenizer.ggml.model", "gpt2"), ("tokenizer.ggml.pre", "smollm")] {
            if self.text(key)? != wanted {
                return Err(LoadError::BadValue { key: key.into(), wanted });
            }
        }
        let tokens = self.texts("tokenizer.ggml.tokens", MAX_VOCABULARY)?;
        let vocabulary: Vocab = (0u32..).zip(&tokens).map(|(id, t)| ((*t).to_owned(), id)).collect();
        if vocabulary.len() != tokens.len() {
            return Err(LoadError::BadValue { key: "tokenizer.ggml.tokens".into(), wanted: "free of repeated tokens" });
        }
        let merges = self
            .texts("tokenizer.ggml.merges", MAX_VOCABULARY)?
            .into_iter()
            .map(|pair| {
                let (left, right) = pair.split_once(' ')?;
                Some((left.to_owned(), right.to_owned()))
            })
            .collect::<Option<Merges>>()
            .ok_or(LoadError::BadValue {
                key: "tokenizer.ggml.merges".into(),
                wanted: "pairs of tokens with a space between",
            })?;
        let control = self.control_tokens(&tokens)?;
        let bpe = BPE::builder().vocab_and_merges(vocabulary, merges).build()?;
        let mut tokenizer = Bpe::new(bpe);
        tokenizer.with_pre_tokenizer(Some(Sequence::new(vec![
            Digits::new(true).into(),
            ByteLevel::new(false, true, true).into(),
        ])));
        tokenizer.with_decoder(Some(ByteLevel::new(false, true, true)));
        tokenizer.add_special_tokens(control)?;
        tokenizer.set_encode_special_tokens(true);
        let template = match self.has_key("tokenizer.chat_template") {
            true => Some(self.text("tokenizer.chat_template")?.to_owned()),
            false => None,
        };
        let chat = Chat::new(&tokenizer, template)?;
        let key = "tokenizer.ggml.eos_token_id";
        let end = match self.content.metadata.get(key) {
            None => None,
            Some(Value::U32(end)) if (*end as usize) < tokens.len() => Some(*end),
            Some(_) => return Err(LoadError::BadValue { key: key.into(), wanted: "the number of a token" }),
        };
        Ok(Tokenizer(Kind::Pieces { bpe: Box::new(tokenizer), chat, end }))
    }

    fn control_tokens(&self, tokens: &[&str]) -> Result<Vec<AddedToken>, LoadError> {
        let key = "tokenizer.ggml.token_type";
        let types = self.list(key, MAX_VOCABULARY)?;
        if types.len() != tokens.len() {
            return Err(LoadError::BadValue { key: key.into(), wanted: "as long as the list of tokens" });
        }
        let mut control = Vec::new();
        for (token, kind) in tokens.iter().zip(types) {
            let Value::I32(kind) = kind else {
                return Err(LoadError::WrongType { key: key.into(), wanted: "i32" });
            };
            if *kind == TOKEN_TYPE_CONTROL {
                control.push(AddedToken::from((*token).to_owned(), true));
            }
        }
        Ok(control)
    }

    fn has_key(&self, key: &str) -> bool {
        self.content.metadata.contains_key(key)
    }

    fn value(&self, key: &str) -> Result<&Value, LoadError> {
        self.content.metadata.get(key).ok_or_else(|| LoadError::MissingKey { key: key.to_owned() })
    }

    fn size(&self, key: &str, limit: usize) -> Result<usize, LoadError> {
        let wrong = || LoadError::WrongType { key: key.to_owned(), wanted: "u32" };
        let Value::U32(found) = self.value(key)? else {
            return Err(wrong());
        };
        match usize::try_from(*found) {
            Ok(size) if (1..=limit).contains(&size) => Ok(size),
            _ => Err(LoadError::OutOfRange { key: key.to_owned(), found: u64::from(*found), limit }),
        }
    }

    fn float(&self, key: &str, least: f32, most: f32) -> Result<f32, LoadError> {
        let Value::F32(found) = self.value(key)? else {
            return Err(LoadError::WrongType { key: key.to_owned(), wanted: "f32" });
        };
        if !(least..=most).contains(found) {
            return Err(LoadError::BadValue { key: key.to_owned(), wanted: "a finite number in the usual range" });
        }
        Ok(*found)
    }

    fn text(&self, key: &str) -> Result<&str, LoadError> {
        match self.value(key)? {
            Value::String(text) => Ok(text),
            _ => Err(LoadError::WrongType { key: key.to_owned(), wanted: "string" }),
        }
    }

    fn list(&self, key: &str, limit: usize) -> Result<&[Value], LoadError> {
        let Value::Array(list) = self.value(key)? else {
            return Err(LoadError::WrongType { key: key.to_owned(), wanted: "array" });
        };
        if list.is_empty() || list.len() > limit {
            return Err(LoadError::OutOfRange { key: key.to_owned(), found: list.len() as u64, limit });
        }
        Ok(list)
    }

    fn texts(&self, key: &str, limit: usize) -> Result<Vec<&str>, LoadError> {
        self.list(key, limit)?
            .iter()
            .map(|value| match value {
                Value::String(text) => Ok(text.as_str()),
                _ => Err(LoadError::WrongType { key: key.to_owned(), wanted: "array of strings" }),
            })
            .collect()
    }
}

/// GGUF's name of a weight that Hugging Face calls `name`.
fn gguf_name(name: &str) -> String {
    let parts = [
        ("model.embed_tokens", "token_embd"),
        ("model.norm", "output_norm"),
        ("lm_head", "output"),
        ("model.layers.", "blk."),
        ("input_layernorm", "attn_norm"),
        ("post_attention_layernorm", "ffn_norm"),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
    ];
    parts.iter().fold(name.to_owned(), |name, (from, to)| name.replace(from, to))
}

/// The rows of each head in another order: first those that were first of their pair, then those
/// that were second.
fn halves(weight: &Tensor, heads: usize) -> Result<Tensor, LoadError> {
    let (outputs, inputs) = weight.dims2()?;
    let pairs = weight.reshape((heads, outputs / heads.max(1) / 2, 2, inputs))?;
    Ok(pairs.transpose(1, 2)?.contiguous()?.reshape((outputs, inputs))?)
}
