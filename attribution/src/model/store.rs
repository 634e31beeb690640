//! Models on disk: a GGUF file, or a folder in Hugging Face's form.
//!
//! A folder holds `config.json`, `model.safetensors` and, unless the model is byte-level,
//! `tokenizer.json` with `tokenizer_config.json`. What is saved here carries one key more in
//! `config.json`, `tributary`: the digest of the weights' file, so that a changed file is noticed,
//! and the byte-level tokenizer's name. Weights are written first and `config.json` last, each file
//! whole or not at all.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use candle_core::Tensor;
use serde_json::{Value, json};
use tokenizers::Tokenizer as Bpe;

use super::config::{Config, MAX_WEIGHTS};
use super::error::{LoadError, SaveError};
use super::files::{
    MAX_HEADER_BYTES, MAX_TEXT_BYTES, TensorFile, file_digest, read_bounded, values, write_tensors, write_whole,
};
use super::gguf::Checkpoint;
use super::tokenizer::{Chat, Kind, Tokenizer};
use super::transformer::Model;

/// Largest safetensors file of a model that is opened, in bytes.
pub const MAX_TENSOR_FILE_BYTES: u64 = 4 * MAX_WEIGHTS as u64 + MAX_HEADER_BYTES;

const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.safetensors";
const TOKENIZER: &str = "tokenizer.json";
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";

/// Loads a model and its tokenizer from a GGUF file, or from a folder in Hugging Face's form.
///
/// # Errors
/// Whatever in the files is missing, of the wrong kind, contradictory, altered or too large.
pub fn load(path: &Path) -> Result<(Model, Tokenizer), LoadError> {
    if path.is_dir() {
        return load_folder(path);
    }
    let mut checkpoint = Checkpoint::open(path)?;
    let tokenizer = checkpoint.tokenizer()?;
    Ok((checkpoint.model()?, tokenizer))
}

/// Saves a model without its adapter, and its tokenizer, as a folder that [`load`] and Hugging
/// Face's libraries read. The folder is made where it does not exist.
///
/// # Errors
/// If a value is not finite, or the system refuses.
pub fn save(model: &Model, tokenizer: &Tokenizer, folder: &Path) -> Result<(), SaveError> {
    fs::create_dir_all(folder).map_err(|source| SaveError::Unwritable { path: folder.to_path_buf(), source })?;
    let weights = model.weights().into_iter().map(|(name, weight)| (name, weight.detach())).collect();
    let digest = write_tensors(&folder.join(WEIGHTS), &weights, None)?;
    let mut ours = json!({ "weights_blake3": digest });
    match &tokenizer.0 {
        Kind::Bytes => ours["tokenizer"] = json!("bytes"),
        Kind::Pieces { bpe, chat, end } => {
            let text = bpe.to_string(false)?;
            write_whole(&folder.join(TOKENIZER), |file| file.write_all(text.as_bytes()))?;
            let end = end.or(tokenizer.end()).and_then(|end| bpe.id_to_token(end));
            let template = chat.as_ref().and_then(|chat| chat.template.clone());
            write_json(&folder.join(TOKENIZER_CONFIG), &json!({ "chat_template": template, "eos_token": end }))?;
        }
    }
    let mut config = model.config().to_json();
    config["tributary"] = ours;
    write_json(&folder.join(CONFIG), &config)
}

pub(super) fn write_json(path: &Path, json: &Value) -> Result<(), SaveError> {
    write_whole(path, |file| writeln!(file, "{json:#}"))
}

/// Compares a file with the digest that stands beside it, where one does.
pub(super) fn check_digest(path: &Path, json: &Value, beside: &'static str) -> Result<(), LoadError> {
    let Some(recorded) = json.pointer("/tributary/weights_blake3") else { return Ok(()) };
    let found = file_digest(path).map_err(|source| LoadError::Unreadable { path: path.to_path_buf(), source })?;
    match recorded.as_str() == Some(found.as_str()) {
        true => Ok(()),
        false => Err(LoadError::Altered { path: path.to_path_buf(), beside }),
    }
}

fn load_folder(folder: &Path) -> Result<(Model, Tokenizer), LoadError> {
    let text = read_bounded(&folder.join(CONFIG), MAX_TEXT_BYTES)?;
    let config = Config::from_json(&text)?;
    let json: Value = serde_json::from_slice(&text).map_err(super::config::ConfigError::NotJson)?;
    let path = folder.join(WEIGHTS);
    let mut file = TensorFile::open(&path, MAX_TENSOR_FILE_BYTES)?;
    check_digest(&path, &json, CONFIG)?;
    let mut names = file.names();
    let model = Model::build(config, |name, shape| {
        names.retain(|found| found != name);
        file.tensor(name, shape)
    })?;
    // Some files repeat the tied matrix; what else is left over belongs to another kind of model.
    if let Some(name) = names.into_iter().find(|name| !(config.tied_embeddings && name == "lm_head.weight")) {
        return Err(LoadError::UnexpectedTensor { name });
    }
    let tokenizer = match json.pointer("/tributary/tokenizer").and_then(Value::as_str) {
        Some("bytes") => Tokenizer::BYTES,
        Some(_) => return Err(LoadError::BadValue { key: "tributary.tokenizer".into(), wanted: "\"bytes\"" }),
        None => load_tokenizer(folder)?,
    };
    if tokenizer.vocabulary() > config.vocabulary {
        return Err(LoadError::Vocabulary { tokenizer: tokenizer.vocabulary(), model: config.vocabulary });
    }
    Ok((model, tokenizer))
}

fn load_tokenizer(folder: &Path) -> Result<Tokenizer, LoadError> {
    let mut bpe = Bpe::from_bytes(read_bounded(&folder.join(TOKENIZER), MAX_TEXT_BYTES)?)?;
    bpe.set_encode_special_tokens(true);
    let path = folder.join(TOKENIZER_CONFIG);
    let (mut template, mut end) = (None, None);
    if path.exists() {
        let wrong = |key: &str, wanted| LoadError::BadValue { key: key.to_owned(), wanted };
        let json: Value = serde_json::from_slice(&read_bounded(&path, MAX_TEXT_BYTES)?)
            .map_err(|_| wrong(TOKENIZER_CONFIG, "JSON"))?;
        template = match json.get("chat_template") {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text.clone()),
            Some(_) => return Err(wrong("chat_template", "a text")),
        };
        let token = json.get("eos_token").map(|token| token.get("content").unwrap_or(token));
        end = token.and_then(Value::as_str).and_then(|token| bpe.token_to_id(token));
    }
    let chat = Chat::new(&bpe, template)?;
    Ok(Tokenizer(Kind::Pieces { bpe: Box::new(bpe), chat, end }))
}

impl Model {
    /// A digest of the sizes and of every weight of the model itself, as floats: the same for the
    /// same weights in whatever file, and without any adapter.
    ///
    /// # Errors
    /// If a tensor cannot be read from memory.
    pub fn digest(&self) -> candle_core::Result<blake3::Hash> {
        let mut hasher = blake3::Hasher::new_derive_key("tributary v1 model");
        let config = self.config();
        for size in [config.vocabulary, config.width, config.hidden, config.blocks, config.heads, config.kv_heads] {
            hasher.update(&(size as u64).to_le_bytes());
        }
        for number in [config.rope_base, config.norm_epsilon] {
            hasher.update(&number.to_le_bytes());
        }
        hasher.update(&[u8::from(config.tied_embeddings)]);
        for (_, weight) in self.weights() {
            hash_values(&mut hasher, weight)?;
        }
        Ok(hasher.finalize())
    }
}

/// Feeds a tensor's values to a hasher, as little-endian floats.
pub(super) fn hash_values(hasher: &mut blake3::Hasher, tensor: &Tensor) -> candle_core::Result<()> {
    for piece in values(tensor)?.chunks(1 << 12) {
        let bytes: Vec<u8> = piece.iter().flat_map(|value| value.to_le_bytes()).collect();
        hasher.update(&bytes);
    }
    Ok(())
}
