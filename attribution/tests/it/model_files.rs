//! Models and adapters on disk: what is saved comes back bit for bit, and what is damaged, altered
//! or meant for something else is refused with its reason.

use crate::model::{NANO, adapted, lora};
use attribution::model::{
    Config, Example, LoadError, LoraConfig, Model, SaveError, Targets, Tokenizer, load, load_adapter, save,
    save_adapter,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::Path;

fn digest(model: &Model) -> String {
    model.digest().expect("a digest").to_hex().to_string()
}

fn likelihood(model: &Model) -> f64 {
    let tokens = Tokenizer::BYTES.document("what was said").expect("encodes");
    model.log_likelihoods(&[Example::text(tokens)]).expect("a likelihood")[0]
}

/// The whole chain of reasons.
fn reasons(error: &dyn Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", reasons(source)),
        None => error.to_string(),
    }
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("reads")).expect("is JSON")
}

/// Changes a JSON file; a null in `changes` takes its key away.
fn change_json(path: &Path, changes: &[(&str, Value)]) {
    let mut json = read_json(path);
    for (key, value) in changes {
        match value {
            Value::Null => drop(json.as_object_mut().expect("an object").remove(*key)),
            value => json[*key] = value.clone(),
        }
    }
    fs::write(path, json.to_string()).expect("writes");
}

/// Shape and values of each tensor in a file.
type Stored = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// A safetensors file put together by hand, to be spoilt.
fn tensor_file(tensors: &Stored) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    let mut data = Vec::new();
    for (name, (shape, values)) in tensors {
        let start = data.len();
        data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        header.insert(name.clone(), json!({ "dtype": "F32", "shape": shape, "data_offsets": [start, data.len()] }));
    }
    let header = Value::Object(header).to_string();
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

/// The tensors of a file, by hand.
fn tensors(bytes: &[u8]) -> Stored {
    let length = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"));
    let length = usize::try_from(length).expect("64 bit");
    let header: Value = serde_json::from_slice(&bytes[8..8 + length]).expect("is JSON");
    let number = |value: &Value| usize::try_from(value.as_u64().expect("a number")).expect("64 bit");
    let entries = header.as_object().expect("an object").iter().filter(|(name, _)| *name != "__metadata__");
    entries
        .map(|(name, info)| {
            let shape = info["shape"].as_array().expect("a list").iter().map(number).collect();
            let at = |index: usize| 8 + length + number(&info["data_offsets"][index]);
            let floats = bytes[at(0)..at(1)].chunks_exact(4);
            let values = floats.map(|float| f32::from_le_bytes(float.try_into().expect("four bytes"))).collect();
            (name.clone(), (shape, values))
        })
        .collect()
}

#[test]
fn a_model_comes_back_as_it_was() {
    for config in [NANO, Config { tied_embeddings: false, kv_heads: 4, ..NANO }] {
        let folder = tempfile::tempdir().expect("a folder");
        let model = Model::random(config, 1).expect("sizes are good");
        save(&model, &Tokenizer::BYTES, folder.path()).expect("saves");
        let (found, tokenizer) = load(folder.path()).expect("loads");
        assert_eq!(*found.config(), config);
        assert_eq!(digest(&found), digest(&model));
        assert_eq!(likelihood(&found).to_bits(), likelihood(&model).to_bits());
        assert_eq!(tokenizer.vocabulary(), 257);
        // Saved again over itself, the file has the same bytes; and nothing temporary is left.
        let bytes = fs::read(folder.path().join("model.safetensors")).expect("reads");
        save(&found, &tokenizer, folder.path()).expect("saves");
        assert_eq!(fs::read(folder.path().join("model.safetensors")).expect("reads"), bytes);
        assert_eq!(fs::read_dir(folder.path()).expect("lists").count(), 2);
        let names: Vec<String> = tensors(&bytes).into_keys().collect();
        assert!(names.contains(&"model.layers.1.mlp.down_proj.weight".to_owned()), "{names:?}");
        assert_eq!(names.contains(&"lm_head.weight".to_owned()), !config.tied_embeddings);
    }
}

#[test]
fn an_adapter_comes_back_as_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = adapted(1);
    save_adapter(&model, "tributary/nano", folder.path()).expect("saves");
    let json = read_json(&folder.path().join("adapter_config.json"));
    assert_eq!(json["base_model_name_or_path"], "tributary/nano");
    assert_eq!((&json["r"], &json["lora_alpha"]), (&json!(3), &json!(6.0)));
    assert_eq!(json["target_modules"], json!(["q_proj", "v_proj"]));
    let stored = tensors(&fs::read(folder.path().join("adapter_model.safetensors")).expect("reads"));
    assert_eq!(stored.len(), 8);
    assert_eq!(stored["base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"].0, [3, 16]);
    assert_eq!(stored["base_model.model.model.layers.1.self_attn.v_proj.lora_B.weight"].0, [8, 3]);
    let mut base = model.clone();
    base.detach();
    assert_ne!(likelihood(&base), likelihood(&model));
    load_adapter(&mut base, folder.path()).expect("loads");
    assert_eq!(base.adapter(), model.adapter());
    assert_eq!(likelihood(&base).to_bits(), likelihood(&model).to_bits());
    assert!(matches!(
        save_adapter(&Model::random(NANO, 1).expect("good"), "", folder.path()),
        Err(SaveError::NoAdapter)
    ));
}

/// What PEFT writes itself: no digests, a pattern, keys that are not known here.
#[test]
fn an_adapter_from_elsewhere_is_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = adapted(1);
    save_adapter(&model, "nano", folder.path()).expect("saves");
    let path = folder.path().join("adapter_config.json");
    let pattern = r"model\.layers\.\d+\.self_attn\.(q|v)_proj";
    let changes = [
        ("tributary", Value::Null),
        ("target_modules", json!(pattern)),
        ("lora_alpha", json!(6)),
        ("rank_pattern", json!({})),
        ("megatron_core", json!("megatron.core")),
        ("lora_dropout", json!(0.05)),
    ];
    change_json(&path, &changes);
    let mut base = model.clone();
    base.detach();
    load_adapter(&mut base, folder.path()).expect("loads");
    assert_eq!(base.adapter().expect("an adapter").targets, Targets::Pattern(pattern.to_owned()));
    assert_eq!(likelihood(&base).to_bits(), likelihood(&model).to_bits());
}

#[test]
fn target_modules_mean_what_peft_means() {
    let blocks = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<String>>();
    let table: [(Targets, usize); 7] = [
        (Targets::Names(blocks(&["q_proj"])), 2),
        (Targets::Names(blocks(&["proj"])), 0),
        (Targets::Names(blocks(&["self_attn.q_proj", "model.layers.1.mlp.up_proj"])), 3),
        (Targets::Names(blocks(&["lm_head"])), 1),
        (Targets::Pattern("all-linear".into()), 14),
        (Targets::Pattern("q_proj".into()), 0),
        (Targets::Pattern(r".*layers\.1\.mlp\..*|lm_head".into()), 4),
    ];
    for (targets, wanted) in table {
        let mut model = Model::random(NANO, 1).expect("sizes are good");
        let result = model.attach(&LoraConfig { targets: targets.clone(), ..lora(&[]) }, 1);
        assert_eq!(result.is_ok(), wanted > 0, "{targets:?}: {result:?}");
        if wanted > 0 {
            let taker =
                attribution::model::Gradients::new(&model, attribution::model::Scope::Adapter).expect("a taker");
            assert_eq!(taker.layout().blocks().len(), 2 * wanted, "{targets:?}");
        }
    }
    let mut model = Model::random(NANO, 1).expect("sizes are good");
    for (config, wanted) in [
        (LoraConfig { rank: 0, ..lora(&["q_proj"]) }, "rank is 0"),
        (LoraConfig { rank: 5000, ..lora(&["q_proj"]) }, "rank is 5000"),
        (LoraConfig { alpha: f64::NAN, ..lora(&["q_proj"]) }, "alpha is NaN"),
        (LoraConfig { targets: Targets::Pattern("(".into()), ..lora(&[]) }, "no regular expression"),
        (LoraConfig { targets: Targets::Pattern("(?=q).*".into()), ..lora(&[]) }, "no regular expression"),
        (LoraConfig { targets: Targets::Pattern("a".repeat(5000)), ..lora(&[]) }, "list or pattern of 5000"),
        (LoraConfig { targets: Targets::Pattern(".{1000}{1000}".into()), ..lora(&[]) }, "no regular expression"),
    ] {
        let error = model.attach(&config, 1).expect_err(wanted).to_string();
        assert!(error.contains(wanted), "{error}");
    }
    model.attach(&lora(&["q_proj"]), 1).expect("attaches");
    assert!(model.attach(&lora(&["v_proj"]), 1).expect_err("there is one").to_string().contains("already"));
}

#[test]
fn an_adapter_for_another_base_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    save_adapter(&adapted(1), "nano", folder.path()).expect("saves");
    let refused = |mut model: Model| {
        let before = likelihood(&model);
        let error = load_adapter(&mut model, folder.path()).expect_err("it is for another");
        assert!(model.adapter().is_none() && likelihood(&model).to_bits() == before.to_bits(), "{error}");
        reasons(&error)
    };
    // Same shapes, other weights: only the digest tells.
    let error = refused(Model::random(NANO, 2).expect("good"));
    assert!(error.contains("made for another base model"), "{error}");
    change_json(&folder.path().join("adapter_config.json"), &[("tributary", Value::Null)]);
    let error = refused(Model::random(Config { width: 32, ..NANO }, 1).expect("good"));
    assert!(error.contains("has shape [3, 16]; the model's sizes need [3, 32]"), "{error}");
    let error = refused(Model::random(Config { blocks: 3, ..NANO }, 1).expect("good"));
    assert!(error.contains("no tensor base_model.model.model.layers.2.self_attn.q_proj.lora_A.weight"), "{error}");
    let error = refused(Model::random(Config { blocks: 1, ..NANO }, 1).expect("good"));
    assert!(error.contains("a tensor base_model.model.model.layers.1"), "{error}");
}

#[test]
fn an_adapter_that_asks_for_more_is_refused() {
    let table = [
        ("peft_type", json!("IA3"), "peft_type must be \"LORA\""),
        ("bias", json!("all"), "bias must be \"none\""),
        ("use_dora", json!(true), "use_dora must be false"),
        ("use_rslora", json!(true), "use_rslora must be false"),
        ("fan_in_fan_out", json!(true), "fan_in_fan_out must be false"),
        ("modules_to_save", json!(["lm_head"]), "modules_to_save must be null"),
        ("rank_pattern", json!({ "q_proj": 2 }), "rank_pattern must be empty"),
        ("layers_to_transform", json!([0]), "layers_to_transform must be null"),
        ("target_modules", json!(7), "target_modules must be a list"),
        ("target_modules", json!([7]), "target_modules must be a list"),
        ("target_modules", json!(vec!["q_proj"; 2000]), "list or pattern of 2000"),
        ("target_modules", json!(["nothing"]), "name no linear layer"),
        ("r", json!(-1), "r must be a whole number"),
        ("r", json!(0), "rank is 0"),
        ("r", json!(1_000_000_000), "rank is 1000000000"),
        ("r", json!(4), "has shape [3, 16]"),
        ("lora_alpha", json!("x"), "lora_alpha must be a number"),
        ("lora_alpha", json!(0), "alpha is 0"),
    ];
    let folder = tempfile::tempdir().expect("a folder");
    let model = adapted(1);
    for (key, value, wanted) in table {
        save_adapter(&model, "nano", folder.path()).expect("saves");
        change_json(&folder.path().join("adapter_config.json"), &[(key, value)]);
        let mut base = model.clone();
        base.detach();
        let error = reasons(&load_adapter(&mut base, folder.path()).expect_err(key));
        assert!(error.contains(wanted), "{key}: {error}");
        assert!(base.adapter().is_none());
    }
}

#[test]
fn a_configuration_that_cannot_be_is_refused() {
    let table = [
        ("model_type", json!("gpt2"), "model_type must be \"llama\""),
        ("hidden_act", json!("gelu"), "hidden_act must be"),
        ("rope_scaling", json!({ "factor": 8 }), "rope_scaling must be null"),
        ("rope_parameters", json!({ "rope_type": "yarn" }), "rope_parameters must be"),
        ("attention_bias", json!(true), "attention_bias must be false"),
        ("vocab_size", Value::Null, "vocab_size must be a whole number"),
        ("vocab_size", json!(1.5), "vocab_size must be a whole number"),
        ("vocab_size", json!(u64::MAX), "vocabulary is 18446744073709551615"),
        ("vocab_size", json!(200), "has shape [257, 16]"),
        ("hidden_size", json!(0), "width is 0"),
        ("hidden_size", json!(18), "width must be an even multiple"),
        ("hidden_size", json!(12), "width must be an even multiple"),
        ("intermediate_size", json!(1 << 20), "hidden width is 1048576"),
        ("intermediate_size", json!(33), "has shape [32, 16]; the model's sizes need [33, 16]"),
        ("num_hidden_layers", json!(129), "number of blocks is 129"),
        ("num_hidden_layers", json!(3), "no tensor model.layers.2"),
        ("num_hidden_layers", json!(1), "a tensor model.layers.1"),
        ("num_key_value_heads", json!(3), "a divisor of the number of heads"),
        ("head_dim", json!(8), "head_dim must be"),
        ("rope_theta", json!(-1), "rope base must be"),
        ("rms_norm_eps", json!("x"), "rms_norm_eps must be a number"),
        ("tie_word_embeddings", json!(false), "no tensor lm_head.weight"),
        ("tributary", json!({ "tokenizer": "words" }), "tributary.tokenizer must be"),
    ];
    let folder = tempfile::tempdir().expect("a folder");
    let model = Model::random(NANO, 1).expect("sizes are good");
    for (key, value, wanted) in table {
        save(&model, &Tokenizer::BYTES, folder.path()).expect("saves");
        change_json(&folder.path().join("config.json"), &[(key, value)]);
        let error = reasons(&load(folder.path()).expect_err(key));
        assert!(error.contains(wanted), "{key}: {error}");
    }
    fs::write(folder.path().join("config.json"), "{").expect("writes");
    assert!(reasons(&load(folder.path()).expect_err("no JSON")).contains("not JSON"));
    let large = Config { width: 8192, hidden: 8192, heads: 64, kv_heads: 64, ..NANO };
    assert!(Model::random(large, 1).expect_err("too large").to_string().contains("more than 536870912 weights"));
}

/// A file of weights that is cut, changed, or says what cannot be, with and without its digest.
#[test]
fn damaged_weights_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.safetensors");
    let model = Model::random(NANO, 1).expect("sizes are good");
    save(&model, &Tokenizer::BYTES, folder.path()).expect("saves");
    let good = fs::read(&path).expect("reads");
    let refused = |bytes: &[u8], what: &str| {
        fs::write(&path, bytes).expect("writes");
        reasons(&load(folder.path()).expect_err(what))
    };
    let mut changed = good.clone();
    *changed.last_mut().expect("not empty") ^= 1;
    assert!(refused(&changed, "one bit").contains("was altered"));

    // From here on without the digest: the file alone must tell.
    change_json(&folder.path().join("config.json"), &[("tributary", json!({ "tokenizer": "bytes" }))]);
    let header = usize::try_from(u64::from_le_bytes(good[..8].try_into().expect("eight"))).expect("64 bit") + 8;
    for end in (0..header).step_by(61).chain((header..good.len()).step_by(4999)).chain([good.len() - 1]) {
        let error = refused(&good[..end], "cut");
        assert!(error.contains("not a safetensors file, or it is damaged"), "cut at {end}: {error}");
    }
    let longer = [good.as_slice(), &[0]].concat();
    assert!(refused(&longer, "longer").contains("does not account for every byte"));
    assert!(refused(b"GGUF\x03\x00\x00\x00", "magic").contains("at most 16777216 are allowed"));
    assert!(refused(&u64::MAX.to_le_bytes(), "huge header").contains("at most 16777216 are allowed"));
    assert!(refused(&tensor_file(&BTreeMap::new()), "empty").contains("no tensor model.embed_tokens.weight"));

    let spoil = |change: &dyn Fn(&mut Stored)| {
        let mut tensors = tensors(&good);
        change(&mut tensors);
        tensor_file(&tensors)
    };
    fs::write(&path, spoil(&|_| {})).expect("writes");
    assert_eq!(digest(&load(folder.path()).expect("put together by hand it loads").0), digest(&model));
    let norm = "model.norm.weight";
    let value = |x: f32| spoil(&move |tensors| tensors.get_mut(norm).expect("it is there").1[3] = x);
    for x in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        assert!(
            refused(&value(x), "no number")
                .contains("tensor model.norm.weight has a value that is not a finite number")
        );
    }
    let without = spoil(&|tensors| drop(tensors.remove(norm)));
    assert!(refused(&without, "missing").contains("no tensor model.norm.weight"));
    let more = spoil(&|tensors| drop(tensors.insert("model.norm.bias".into(), (vec![1], vec![0.0]))));
    assert!(refused(&more, "unexpected").contains("a tensor model.norm.bias"));
    let shape = spoil(&|tensors| tensors.get_mut(norm).expect("it is there").0 = vec![4, 4]);
    assert!(refused(&shape, "shape").contains("has shape [4, 4]; the model's sizes need [16]"));

    let header = |text: &str| [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat();
    let entry = |shape: &str, end: u64| {
        header(&format!("{{\"a\":{{\"dtype\":\"F32\",\"shape\":{shape},\"data_offsets\":[0,{end}]}}}}"))
    };
    for (bytes, what) in [
        (entry("[9223372036854775807,4]", 0), "a product that overflows"),
        (entry("[1000000000000]", 4_000_000_000_000), "more than the file has"),
        (entry("[-1]", 4), "a negative size"),
        (entry("[1]", 8), "offsets that do not fit the shape"),
        (header("[]"), "a list"),
        (header("{\"a\":1}"), "a number"),
        (header(&"[".repeat(100_000)), "deep nesting"),
    ] {
        let error = refused(&bytes, what);
        assert!(error.contains("not a safetensors file, or it is damaged"), "{what}: {error}");
    }
    let packed =
        header("{\"model.embed_tokens.weight\":{\"dtype\":\"I8\",\"shape\":[257,16],\"data_offsets\":[0,4112]}}");
    let error = refused(&[packed, vec![0; 4112]].concat(), "bytes");
    assert!(error.contains("is stored as I8"), "{error}");
    fs::remove_file(&path).expect("removes");
    assert!(matches!(load(folder.path()), Err(LoadError::Unreadable { .. })));
}

/// Files of training elsewhere are often in half precision.
#[test]
fn half_precision_is_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.safetensors");
    let model = Model::random(NANO, 1).expect("sizes are good");
    save(&model, &Tokenizer::BYTES, folder.path()).expect("saves");
    change_json(&folder.path().join("config.json"), &[("tributary", json!({ "tokenizer": "bytes" }))]);
    // bfloat16 is the upper half of a float.
    let stored = tensors(&fs::read(&path).expect("reads"));
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, (shape, values)) in stored {
        let start = data.len();
        data.extend(values.iter().flat_map(|value| value.to_le_bytes()[2..].to_vec()));
        header.insert(name, json!({ "dtype": "BF16", "shape": shape, "data_offsets": [start, data.len()] }));
    }
    let header = Value::Object(header).to_string();
    let bytes = [(header.len() as u64).to_le_bytes().to_vec(), header.into_bytes(), data].concat();
    fs::write(&path, bytes).expect("writes");
    let (found, _) = load(folder.path()).expect("loads");
    assert!((likelihood(&found) - likelihood(&model)).abs() < 0.5);
    assert_ne!(digest(&found), digest(&model));
}
