//! A checkpoint in a folder.

use crate::model::{self, Example, LoadError, MAX_TEXT_BYTES, Model, Tokenizer, TokenizerError};
use serde_json::Value;
use std::path::{Path, PathBuf};

const BASE: &str = "base";
const GGUF: &str = "base.gguf";
const ADAPTER: &str = "adapter";
/// What the files of a checkpoint may be called.
const NAMES: [&str; 7] = [
    "adapter/adapter_config.json",
    "adapter/adapter_model.safetensors",
    "base.gguf",
    "base/config.json",
    "base/model.safetensors",
    "base/tokenizer.json",
    "base/tokenizer_config.json",
];

/// A model with its tokenizer, and perhaps an adapter.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    model: Model,
    tokenizer: Tokenizer,
}

/// Why a folder is no checkpoint.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence on each variant is its documentation, and names its fields")]
pub enum CheckpointError {
    #[error("{} holds neither base.gguf nor base/config.json; `tributary train` makes such a folder", folder.display())]
    Base { folder: PathBuf },
    #[error("{} holds both base.gguf and base/; one of them must go", folder.display())]
    TwoBases { folder: PathBuf },
    #[error(
        "the tokenizer in {} may take for ever on a text, or make any number of tokens of it: {reason}; validators take \
         plain byte-level BPE, or a GGUF file",
        path.display()
    )]
    Tokenizer { path: PathBuf, reason: &'static str },
    #[error("the model in {} cannot be read: {source}", path.display())]
    Load { path: PathBuf, source: LoadError },
}

/// The names of a checkpoint's files that are in a folder, ascending.
pub fn checkpoint_files(folder: &Path) -> Vec<&'static str> {
    NAMES.into_iter().filter(|name| folder.join(name).is_file()).collect()
}

/// May a file of a checkpoint be called so?
pub fn is_checkpoint_file(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Has a tokenizer a regular expression of its own? What cannot be read, or is no JSON, is refused by whoever loads it.
fn has_pattern(rules: &Path) -> bool {
    fn is_in(json: &Value) -> bool {
        match json {
            Value::Object(map) => map.contains_key("Regex") || map.values().any(is_in),
            Value::Array(items) => items.iter().any(is_in),
            _ => false,
        }
    }
    if !std::fs::metadata(rules).is_ok_and(|file| file.len() <= MAX_TEXT_BYTES) {
        return false;
    }
    let json = std::fs::read(rules).ok().and_then(|text| serde_json::from_slice::<Value>(&text).ok());
    json.is_some_and(|json| ["normalizer", "pre_tokenizer", "decoder"].iter().any(|part| is_in(&json[*part])))
}

impl Checkpoint {
    /// Reads the checkpoint in a folder.
    ///
    /// # Errors
    /// If there is none, or a file of it is bad.
    pub fn load(folder: &Path) -> Result<Self, CheckpointError> {
        let base = match (folder.join(GGUF), folder.join(BASE)) {
            (gguf, dir) if gguf.is_file() && dir.exists() => {
                return Err(CheckpointError::TwoBases { folder: folder.to_owned() });
            }
            (gguf, _) if gguf.is_file() => gguf,
            (_, dir) if dir.join("config.json").is_file() => dir,
            _ => return Err(CheckpointError::Base { folder: folder.to_owned() }),
        };
        let rules = base.join("tokenizer.json");
        if has_pattern(&rules) {
            return Err(CheckpointError::Tokenizer { path: rules, reason: "it has a regular expression of its own" });
        }
        let (mut model, tokenizer) =
            model::load(&base).map_err(|source| CheckpointError::Load { path: base, source })?;
        if let Some(reason) = tokenizer.excess() {
            return Err(CheckpointError::Tokenizer { path: rules, reason });
        }
        let adapter = folder.join(ADAPTER);
        if adapter.is_dir() {
            model::load_adapter(&mut model, &adapter)
                .map_err(|source| CheckpointError::Load { path: adapter, source })?;
        }
        Ok(Self { model, tokenizer })
    }

    /// A model that is at hand already.
    pub fn new(model: Model, tokenizer: Tokenizer) -> Self {
        Self { model, tokenizer }
    }

    /// The model, with its adapter.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Its tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// A passage as a training example, cut off where the model's context ends.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub fn example(&self, text: &str) -> Result<Example, TokenizerError> {
        Ok(self.tokenizer.passage(text)?.truncated(self.model.config().context + 1))
    }
}
