//! Adapters on disk, in the form of PEFT: `adapter_config.json` and `adapter_model.safetensors`.
//!
//! An adapter is worth nothing beside another model than its own. What is saved here records the
//! digest of its base under a key of ours, `tributary`, and is refused beside any other; an adapter
//! from elsewhere records none, and is refused if a name or a shape does not fit. What PEFT can do
//! and this code does not is refused, never ignored.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::error::{LoadError, SaveError};
use super::files::{MAX_TEXT_BYTES, TensorFile, read_bounded, write_tensors};
use super::lora::{Lora, LoraConfig, LoraError, MAX_RANK, MAX_TARGETS, Targets};
use super::store::{check_digest, write_json};
use super::transformer::Model;

/// Largest file of an adapter that is opened, in bytes.
pub const MAX_ADAPTER_BYTES: u64 = 512 << 20;

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";

/// Puts the adapter in `folder` beside the model.
///
/// # Errors
/// If the model has an adapter, or this one is not for it; the model is then as it was.
pub fn load_adapter(model: &mut Model, folder: &Path) -> Result<(), LoadError> {
    let json: Value = serde_json::from_slice(&read_bounded(&folder.join(CONFIG), MAX_TEXT_BYTES)?)
        .map_err(|_| LoadError::AdapterConfig { key: "text", wanted: "JSON" })?;
    let config = parse(&json)?;
    if let Some(recorded) = json.pointer("/tributary/base_blake3") {
        let found = model.digest()?.to_hex().to_string();
        if recorded.as_str() != Some(found.as_str()) {
            let recorded = recorded.as_str().unwrap_or("that is no text").to_owned();
            return Err(LoadError::AdapterBase { recorded, found });
        }
    }
    let path = folder.join(WEIGHTS);
    let mut file = TensorFile::open(&path, MAX_ADAPTER_BYTES)?;
    check_digest(&path, &json, CONFIG)?;
    let mut names = file.names();
    let selected = config.select(model.linears().map(|linear| linear.name.as_str()))?;
    for (linear, _) in model.linears().zip(selected).filter(|(_, selected)| *selected) {
        names.retain(|found| {
            *found != tensor_name(&linear.name, "lora_A") && *found != tensor_name(&linear.name, "lora_B")
        });
    }
    if let Some(name) = names.into_iter().next() {
        return Err(LoadError::UnexpectedTensor { name });
    }
    model.attach_with(&config, |layer, (outputs, inputs)| {
        Ok::<_, LoadError>(Lora {
            a: file.tensor(&tensor_name(layer, "lora_A"), &[config.rank, inputs])?,
            b: file.tensor(&tensor_name(layer, "lora_B"), &[outputs, config.rank])?,
            scale: config.scale(),
        })
    })
}

/// Saves the model's adapter as a folder that [`load_adapter`] and PEFT read. `base` is the name or
/// path under which the base model is known.
///
/// # Errors
/// If there is no adapter, a value is not finite, or the system refuses.
pub fn save_adapter(model: &Model, base: &str, folder: &Path) -> Result<(), SaveError> {
    let config = model.adapter().ok_or(SaveError::NoAdapter)?;
    fs::create_dir_all(folder).map_err(|source| SaveError::Unwritable { path: folder.to_path_buf(), source })?;
    let weights = model.adapter_weights().into_iter().map(|(name, weight)| (name, weight.detach())).collect();
    let digest = write_tensors(&folder.join(WEIGHTS), &weights, None)?;
    let targets = match &config.targets {
        Targets::Names(names) => json!(names),
        Targets::Pattern(pattern) => json!(pattern),
    };
    let json = json!({
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": config.rank,
        "lora_alpha": config.alpha,
        "lora_dropout": 0.0,
        "target_modules": targets,
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
        "use_rslora": false,
        "use_dora": false,
        "modules_to_save": null,
        "tributary": { "base_blake3": model.digest()?.to_hex().to_string(), "weights_blake3": digest },
    });
    write_json(&folder.join(CONFIG), &json)
}

fn tensor_name(layer: &str, part: &str) -> String {
    format!("base_model.model.{layer}.{part}.weight")
}

/// What PEFT can also do: the key, what it must be here where it is present, and that in words.
const PLAIN: [(&str, &[Plain], &str); 12] = [
    ("bias", &[Plain::Text("none")], "\"none\""),
    ("fan_in_fan_out", &[Plain::False], "false"),
    ("use_rslora", &[Plain::False], "false"),
    ("use_dora", &[Plain::False], "false"),
    ("lora_bias", &[Plain::False], "false"),
    ("modules_to_save", &[Plain::Empty], "null: only linear layers are adapted"),
    ("layers_to_transform", &[Plain::Empty], "null: name the layers in target_modules"),
    ("layer_replication", &[Plain::Empty], "null"),
    ("rank_pattern", &[Plain::Empty], "empty: there is one rank"),
    ("alpha_pattern", &[Plain::Empty], "empty: there is one alpha"),
    ("exclude_modules", &[Plain::Empty], "null: name the layers in target_modules"),
    ("trainable_token_indices", &[Plain::Empty], "null"),
];

enum Plain {
    Text(&'static str),
    False,
    Empty,
}

impl Plain {
    fn is(&self, value: &Value) -> bool {
        match self {
            Self::Text(text) => value == text,
            Self::False => value == &Value::Bool(false),
            Self::Empty => {
                value.as_object().is_some_and(|map| map.is_empty()) || value.as_array().is_some_and(Vec::is_empty)
            }
        }
    }
}

fn parse(json: &Value) -> Result<LoraConfig, LoadError> {
    let wrong = |key, wanted| LoadError::AdapterConfig { key, wanted };
    if json.get("peft_type").and_then(Value::as_str) != Some("LORA") {
        return Err(wrong("peft_type", "\"LORA\""));
    }
    for (key, accepted, wanted) in PLAIN {
        let found = json.get(key).filter(|found| !found.is_null());
        if found.is_some_and(|found| !accepted.iter().any(|plain| plain.is(found))) {
            return Err(wrong(key, wanted));
        }
    }
    let targets = match json.get("target_modules") {
        Some(Value::String(pattern)) => Targets::Pattern(pattern.clone()),
        Some(Value::Array(names)) if names.len() <= MAX_TARGETS => {
            let names = names.iter().map(|name| name.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>();
            Targets::Names(names.ok_or(wrong("target_modules", "a list of names, or a pattern"))?)
        }
        Some(Value::Array(names)) => {
            return Err(LoraError::TooManyTargets { found: names.len(), limit: MAX_TARGETS }.into());
        }
        _ => return Err(wrong("target_modules", "a list of names, or a pattern")),
    };
    let rank = json.get("r").and_then(Value::as_u64).ok_or(wrong("r", "a whole number"))?;
    let rank = usize::try_from(rank).unwrap_or(usize::MAX);
    if rank > MAX_RANK {
        return Err(LoraError::Rank { found: rank, limit: MAX_RANK }.into());
    }
    let alpha = json.get("lora_alpha").and_then(Value::as_f64).ok_or(wrong("lora_alpha", "a number"))?;
    Ok(LoraConfig { rank, alpha, targets })
}
