//! Reads a GGUF checkpoint of the llama family: its sizes, its tensors and its tokenizer.
//!
//! The file comes from somebody else. Nothing is allocated on its word alone: the header must lie
//! in the first [`MAX_HEADER_BYTES`], each size has a bound, and each tensor must have exactly the
//! shape that the sizes imply before a byte of it is read. Every refusal is a [`ModelError`].

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

use candle_core::quantized::gguf_file::{Content, Value};
use candle_core::{Device, Tensor};
use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::{AddedToken, Tokenizer};

use super::ModelError;

/// Largest checkpoint that is opened, in bytes: a small model, not a data centre's.
pub const MAX_CHECKPOINT_BYTES: u64 = 512 << 20;
/// Most weights in a checkpoint: unpacked, each takes four bytes of memory.
pub const MAX_WEIGHTS: usize = 1 << 29;
/// The metadata and the tensor list must end within this many bytes of the start.
/// SmolLM2's take 1.8 MB. A parsed value takes up to 32 times its bytes, which this bounds too.
pub const MAX_HEADER_BYTES: u64 = 16 << 20;
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

/// GGUF's number for a control token, such as the marks around a turn of a chat.
const TOKEN_TYPE_CONTROL: i32 = 3;

/// The sizes that a llama-family model is built from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) blocks: usize,
    pub(super) width: usize,
    pub(super) hidden: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) head_width: usize,
    pub(super) vocabulary: usize,
    pub(super) context: usize,
    pub(super) rope_base: f32,
    pub(super) norm_epsilon: f64,
}

/// An opened checkpoint: the parsed header, and the file to read tensors from.
pub(super) struct Checkpoint {
    file: File,
    content: Content,
}

impl Checkpoint {
    pub(super) fn open(path: &Path) -> Result<Self, ModelError> {
        let unreadable = |source| ModelError::Unreadable { path: path.to_path_buf(), source };
        let mut file = File::open(path).map_err(unreadable)?;
        let bytes = file.metadata().map_err(unreadable)?.len();
        if bytes > MAX_CHECKPOINT_BYTES {
            return Err(ModelError::TooLarge { bytes, limit: MAX_CHECKPOINT_BYTES });
        }
        let mut header = Vec::new();
        Read::by_ref(&mut file).take(MAX_HEADER_BYTES).read_to_end(&mut header).map_err(unreadable)?;
        // The reader divides by this field without looking at it. Files with the default
        // alignment, which is all that llama.cpp writes, do not carry it.
        const ALIGNMENT: &[u8] = b"general.alignment";
        if header.windows(ALIGNMENT.len()).any(|w| w == ALIGNMENT) {
            return Err(ModelError::BadValue {
                key: "general.alignment".into(),
                wanted: "absent, for the default alignment of 32",
            });
        }
        let content = Content::read(&mut Cursor::new(header)).map_err(|source| ModelError::NotGguf { source })?;
        let weights = content.tensor_infos.values().try_fold(0usize, |sum, info| {
            let product = info.shape.dims().iter().try_fold(1usize, |n, &dim| n.checked_mul(dim));
            sum.checked_add(product?).filter(|&sum| sum <= MAX_WEIGHTS)
        });
        if weights.is_none() {
            return Err(ModelError::TooManyWeights { limit: MAX_WEIGHTS });
        }
        Ok(Self { file, content })
    }

    /// The model's sizes, each checked against its bound and against the others.
    pub(super) fn sizes(&self) -> Result<Sizes, ModelError> {
        let architecture = self.text("general.architecture")?;
        if architecture != "llama" {
            return Err(ModelError::Architecture { found: architecture.to_owned() });
        }
        let width = self.size("llama.embedding_length", MAX_WIDTH)?;
        let heads = self.size("llama.attention.head_count", MAX_WIDTH)?;
        let kv_heads = self.size("llama.attention.head_count_kv", MAX_WIDTH)?;
        let head_width = self.size("llama.rope.dimension_count", MAX_HEAD_WIDTH)?;
        if heads.checked_mul(head_width) != Some(width) || !head_width.is_multiple_of(2) {
            return Err(ModelError::BadValue {
                key: "llama.rope.dimension_count".into(),
                wanted: "even, and the embedding length divided by the number of heads",
            });
        }
        if !heads.is_multiple_of(kv_heads) {
            return Err(ModelError::BadValue {
                key: "llama.attention.head_count_kv".into(),
                wanted: "a divisor of the number of heads",
            });
        }
        Ok(Sizes {
            blocks: self.size("llama.block_count", MAX_BLOCKS)?,
            width,
            hidden: self.size("llama.feed_forward_length", MAX_WIDTH)?,
            heads,
            kv_heads,
            head_width,
            vocabulary: self.list("tokenizer.ggml.tokens", MAX_VOCABULARY)?.len(),
            context: self.size("llama.context_length", usize::MAX)?.min(MAX_CONTEXT_TOKENS),
            rope_base: self.float("llama.rope.freq_base", 1.0, 1e9)?,
            norm_epsilon: f64::from(self.float("llama.attention.layer_norm_rms_epsilon", 1e-12, 1e-2)?),
        })
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.content.tensor_infos.contains_key(name)
    }

    /// The weights of that name as floats, if they have exactly this shape.
    pub(super) fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, ModelError> {
        let info =
            self.content.tensor_infos.get(name).ok_or_else(|| ModelError::MissingTensor { name: name.to_owned() })?;
        if info.shape.dims() != shape {
            return Err(ModelError::TensorShape {
                name: name.to_owned(),
                wanted: shape.to_vec(),
                found: info.shape.dims().to_vec(),
            });
        }
        let packed = self.content.tensor(&mut self.file, name, &Device::Cpu)?;
        Ok(packed.dequantize(&Device::Cpu)?)
    }

    /// The tokenizer that the checkpoint describes: byte-level BPE that takes digits one by one.
    ///
    /// Control tokens written out in a text are encoded as plain text, so that nobody can end a
    /// turn of the chat from inside a prompt; the caller places the real ones by number.
    pub(super) fn tokenizer(&self) -> Result<Tokenizer, ModelError> {
        for (key, wanted) in [("tokenizer.ggml.model", "gpt2"), ("tokenizer.ggml.pre", "smollm")] {
            if self.text(key)? != wanted {
                return Err(ModelError::BadValue { key: key.into(), wanted });
            }
        }
        let tokens = self.texts("tokenizer.ggml.tokens", MAX_VOCABULARY)?;
        let vocabulary: Vocab = (0u32..).zip(&tokens).map(|(id, t)| ((*t).to_owned(), id)).collect();
        if vocabulary.len() != tokens.len() {
            return Err(ModelError::BadValue {
                key: "tokenizer.ggml.tokens".into(),
                wanted: "free of repeated tokens",
            });
        }
        let merges = self
            .texts("tokenizer.ggml.merges", MAX_VOCABULARY)?
            .into_iter()
            .map(|pair| {
                let (left, right) = pair.split_once(' ')?;
                Some((left.to_owned(), right.to_owned()))
            })
            .collect::<Option<Merges>>()
            .ok_or(ModelError::BadValue {
                key: "tokenizer.ggml.merges".into(),
                wanted: "pairs of tokens with a space between",
            })?;
        let control = self.control_tokens(&tokens)?;
        let bpe = BPE::builder().vocab_and_merges(vocabulary, merges).build()?;
        let mut tokenizer = Tokenizer::new(bpe);
        tokenizer.with_pre_tokenizer(Some(Sequence::new(vec![
            Digits::new(true).into(),
            ByteLevel::new(false, true, true).into(),
        ])));
        tokenizer.with_decoder(Some(ByteLevel::new(false, true, true)));
        tokenizer.add_special_tokens(control)?;
        tokenizer.set_encode_special_tokens(true);
        Ok(tokenizer)
    }

    fn control_tokens(&self, tokens: &[&str]) -> Result<Vec<AddedToken>, ModelError> {
        let key = "tokenizer.ggml.token_type";
        let types = self.list(key, MAX_VOCABULARY)?;
        if types.len() != tokens.len() {
            return Err(ModelError::BadValue { key: key.into(), wanted: "as long as the list of tokens" });
        }
        let mut control = Vec::new();
        for (token, kind) in tokens.iter().zip(types) {
            let Value::I32(kind) = kind else {
                return Err(ModelError::WrongType { key: key.into(), wanted: "i32" });
            };
            if *kind == TOKEN_TYPE_CONTROL {
                control.push(AddedToken::from((*token).to_owned(), true));
            }
        }
        Ok(control)
    }

    fn value(&self, key: &str) -> Result<&Value, ModelError> {
        self.content.metadata.get(key).ok_or_else(|| ModelError::MissingKey { key: key.to_owned() })
    }

    fn size(&self, key: &str, limit: usize) -> Result<usize, ModelError> {
        let wrong = || ModelError::WrongType { key: key.to_owned(), wanted: "u32" };
        let Value::U32(found) = self.value(key)? else {
            return Err(wrong());
        };
        match usize::try_from(*found) {
            Ok(size) if (1..=limit).contains(&size) => Ok(size),
            _ => Err(ModelError::OutOfRange { key: key.to_owned(), found: u64::from(*found), limit }),
        }
    }

    fn float(&self, key: &str, least: f32, most: f32) -> Result<f32, ModelError> {
        let Value::F32(found) = self.value(key)? else {
            return Err(ModelError::WrongType { key: key.to_owned(), wanted: "f32" });
        };
        if !(least..=most).contains(found) {
            return Err(ModelError::BadValue { key: key.to_owned(), wanted: "a finite number in the usual range" });
        }
        Ok(*found)
    }

    fn text(&self, key: &str) -> Result<&str, ModelError> {
        match self.value(key)? {
            Value::String(text) => Ok(text),
            _ => Err(ModelError::WrongType { key: key.to_owned(), wanted: "string" }),
        }
    }

    fn list(&self, key: &str, limit: usize) -> Result<&[Value], ModelError> {
        let Value::Array(list) = self.value(key)? else {
            return Err(ModelError::WrongType { key: key.to_owned(), wanted: "array" });
        };
        if list.is_empty() || list.len() > limit {
            return Err(ModelError::OutOfRange { key: key.to_owned(), found: list.len() as u64, limit });
        }
        Ok(list)
    }

    fn texts(&self, key: &str, limit: usize) -> Result<Vec<&str>, ModelError> {
        self.list(key, limit)?
            .iter()
            .map(|value| match value {
                Value::String(text) => Ok(text.as_str()),
                _ => Err(ModelError::WrongType { key: key.to_owned(), wanted: "array of strings" }),
            })
            .collect()
    }
}
