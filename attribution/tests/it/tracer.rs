//! Models by influence from end to end: trained, rows made, looked at, answers traced; and builders and servers who lie.

use super::model::{NANO, lora};
use attribution::influence::{Artifact, Parts};
use attribution::model::{Example, Model, Parameters, Schedule, Tokenizer, TrainOptions, Trainer, save, save_adapter};
use attribution::tracer::{
    BuildError, BuildOptions, Checkpoint, CheckpointError, Corpus, Part, Stage, StructureError, TraceError, Tracer,
    Traces, build, check_structure, checkpoint_files,
};
use protocol::evidence::Influence;
use protocol::ids::{ContributionId, Hash32};
use protocol::influence::{Query, Row, RowName, Rows, Solution};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::LazyLock;
use std::sync::atomic::AtomicBool;

const TEXTS: [&str; 3] = [
    "The river takes the rain of the hills, and the sea takes the river. The river is long and the sea is wide. ",
    "MY CLOCK STRIKES SEVEN AND MY BELL RINGS ONCE. MY CLOCK STRIKES EIGHT AND MY BELL RINGS TWICE. ",
    "12 + 30 = 42; 17 + 25 = 42; 40 + 2 = 42; 21 + 21 = 42; 33 + 9 = 42; 28 + 14 = 42; 35 + 7 = 42. ",
];
const CHECKPOINT: Hash32 = Hash32([3; 32]);
const SEED: [u8; 32] = [4; 32];

fn contribution(number: usize) -> ContributionId {
    ContributionId([u8::try_from(number).unwrap_or(0) + 10; 32])
}

fn document(number: usize) -> Hash32 {
    Hash32([u8::try_from(number).unwrap_or(0) + 20; 32])
}

fn text(hash: &Hash32) -> Result<String, Infallible> {
    Ok(TEXTS[usize::from(hash.0[0] - 20)].repeat(2))
}

fn corpus() -> Corpus {
    let mut corpus = Corpus::new(64).expect("a window");
    for number in 0..TEXTS.len() {
        let hash = document(number);
        corpus.add(hash, contribution(number), &text(&hash).expect("a text")).expect("room");
    }
    corpus
}

fn trained(model: &Model, parameters: Parameters, steps: usize) -> Model {
    let checkpoint = Checkpoint::new(model.clone(), Tokenizer::BYTES);
    let corpus = corpus();
    let texts: Vec<String> = (0..TEXTS.len()).map(|number| text(&document(number)).expect("a text")).collect();
    let passage = |passage: attribution::tracer::Passage| {
        let number = usize::from(passage.document.0[0] - 20);
        checkpoint.example(&texts[number][passage.range]).expect("an example")
    };
    let examples: Vec<Example> = corpus.passages().map(passage).collect();
    let schedule = Schedule { peak: 1e-2, warm_up: 5, last: 0.1 };
    let options = TrainOptions { parameters, steps, batch: 6, schedule, ..TrainOptions::default() };
    let mut trainer = Trainer::new(model, examples, options).expect("begins");
    trainer.run(&AtomicBool::new(false), &mut |_| {}).expect("trains");
    trainer.into_model().expect("a model")
}

/// A small model that knows a little of everything, with an adapter that knows more.
static MODEL: LazyLock<Model> = LazyLock::new(|| {
    let mut model = trained(&Model::random(NANO, 1).expect("sizes are good"), Parameters::All, 60);
    model.attach(&lora(&["q_proj", "v_proj", "down_proj"]), 2).expect("attaches");
    trained(&model, Parameters::Adapter, 60)
});

fn tracer() -> Tracer {
    Tracer::new(Checkpoint::new(MODEL.clone(), Tokenizer::BYTES), SEED).expect("a tracer")
}

fn build_with(tracer: &Tracer) -> Artifact {
    let options = BuildOptions { checkpoint: CHECKPOINT };
    build(tracer, &corpus(), options, &mut text, &mut |_, _, _| ()).expect("an artifact")
}

static ARTIFACT: LazyLock<Artifact> = LazyLock::new(|| build_with(&tracer()));

/// The same artifact with something else in it.
fn forged(change: impl FnOnce(&mut Parts)) -> Artifact {
    let header = ARTIFACT.header();
    let mut parts = Parts {
        space: ARTIFACT.space().clone(),
        exponent: header.exponent,
        damping: header.damping,
        tolerance: header.tolerance,
        checkpoint: header.checkpoint,
        seed: header.seed,
        rows: ARTIFACT.rows().clone(),
        fisher: ARTIFACT.fisher().rows().clone(),
    };
    change(&mut parts);
    Artifact::new(parts).expect("well formed")
}

/// Rows with one of them changed.
fn with_row(rows: &Rows, at: usize, change: impl Fn(&mut Row<'_>, &mut Vec<i8>)) -> Rows {
    let mut all = Rows::new(rows.dimension()).expect("a dimension");
    for (number, row) in rows.iter().enumerate() {
        let mut codes = row.codes.to_vec();
        let mut changed = row;
        if number == at {
            change(&mut changed, &mut codes);
        }
        all.push(Row { codes: &codes, ..changed }).expect("a row");
    }
    all
}

fn passage_text(number: usize) -> String {
    let passage = corpus().passage(number).expect("a passage");
    text(&passage.document).expect("a text")[passage.range].to_owned()
}

fn audit(artifact: &Artifact, fisher: bool, index: usize) -> Result<(), TraceError> {
    let tracer = tracer();
    let dimension = tracer.space().dimension();
    let number = if fisher { corpus().of_fisher_row(index as u64, dimension).expect("a row") } else { index };
    tracer.audit(artifact, RowName { fisher, index: index as u64 }, &passage_text(number))
}

#[test]
fn every_row_of_an_honest_builder_is_found_right() {
    let artifact = &*ARTIFACT;
    let passages = corpus().len();
    assert_eq!(artifact.rows().len(), passages);
    assert_eq!(artifact.fisher().rows().len(), 4 * passages);
    assert_eq!(artifact.header().dimension as usize, tracer().space().layout().parameters());
    check_structure(artifact, &tracer(), &corpus(), &CHECKPOINT).expect("its structure");
    for index in 0..passages {
        audit(artifact, false, index).expect("a row that was made among others");
    }
    for index in 0..4 * passages {
        audit(artifact, true, index).expect("a Fisher row that was made among others");
    }
    let missing = RowName { fisher: false, index: passages as u64 };
    assert!(matches!(tracer().audit(artifact, missing, "text"), Err(TraceError::Row(name)) if name == missing));
    let mut stages = Vec::new();
    let options = BuildOptions { checkpoint: CHECKPOINT };
    let again = build(&tracer(), &corpus(), options, &mut text, &mut |stage, done, of| stages.push((stage, done, of)));
    assert_eq!(again.expect("an artifact").root(), artifact.root());
    let rows = passages as u64;
    assert_eq!(stages.first(), Some(&(Stage::Rows, rows.min(64), rows)));
    assert_eq!(stages.last(), Some(&(Stage::Fisher, 4 * rows, 4 * rows)));
}

#[test]
fn a_builder_who_lies_about_a_row_is_refuted() {
    // A row that is twice as long, one of another passage, one with a twentieth of its codes moved by one.
    let rows = ARTIFACT.rows();
    let other = rows.get(0).expect("a row").codes.to_vec();
    let cases: [(&str, Rows); 3] = [
        ("scale", with_row(rows, 3, |row, _| row.scale *= 2)),
        ("another row's codes", with_row(rows, 3, |_, codes| codes.clone_from(&other))),
        (
            "codes",
            with_row(rows, 3, |_, codes| {
                let moved = codes.iter_mut().filter(|code| code.unsigned_abs() < 100).step_by(20);
                moved.for_each(|code| *code += 1);
            }),
        ),
    ];
    for (what, rows) in cases {
        let artifact = forged(|parts| parts.rows = rows);
        check_structure(&artifact, &tracer(), &corpus(), &CHECKPOINT).expect("its structure is right");
        let error = audit(&artifact, false, 3).expect_err(what);
        assert!(error.is_refutation(), "{what}: {error}");
        audit(&artifact, false, 2).expect("the others are right");
    }
    // Fisher rows at the labels of the data, or of another row's number: who chooses them chooses what counts.
    let fisher = ARTIFACT.fisher().rows();
    for labels in [rows.get(1), fisher.get(1 + corpus().len())] {
        let labels = labels.expect("a row");
        let forged = forged(|parts| {
            parts.fisher = with_row(fisher, 1, |row, codes| {
                row.scale = labels.scale;
                codes.copy_from_slice(labels.codes);
            });
        });
        assert!(audit(&forged, true, 1).expect_err("other labels").is_refutation());
    }
}

#[test]
fn an_artifact_of_something_else_is_seen_without_computing() {
    let check = |artifact: &Artifact| check_structure(artifact, &tracer(), &corpus(), &CHECKPOINT);
    let rows = ARTIFACT.rows();
    let robbed = with_row(rows, 5, |row, _| row.source.contribution = contribution(7));
    assert_eq!(check(&forged(|parts| parts.rows = robbed)), Err(StructureError::Source { part: Part::Rows, at: 5 }));
    let fisher = with_row(ARTIFACT.fisher().rows(), 6, |row, _| row.source.example = Hash32([0; 32]));
    let found = check(&forged(|parts| parts.fisher = fisher));
    assert_eq!(found, Err(StructureError::Source { part: Part::Fisher, at: 6 }));
    assert_eq!(check(&forged(|parts| parts.checkpoint = Hash32([9; 32]))), Err(StructureError::Checkpoint));
    assert_eq!(check(&forged(|parts| parts.seed = [9; 32])), Err(StructureError::Seed));
    let mut few = Rows::new(rows.dimension()).expect("a dimension");
    rows.iter().skip(1).for_each(|row| few.push(row).expect("a row"));
    let (got, expected) = (few.len() as u64, rows.len() as u64);
    let found = check(&forged(|parts| parts.rows = few));
    assert_eq!(found, Err(StructureError::Count { part: Part::Rows, got, expected }));
    // Scales so coarse that small gradients vanish.
    let coarse = |rows: &Rows| {
        let mut all = Rows::new(rows.dimension()).expect("a dimension");
        for row in rows.iter() {
            let scale = row.scale >> 20;
            let codes = if scale == 0 { vec![0; row.codes.len()] } else { row.codes.to_vec() };
            all.push(Row { scale, codes: &codes, ..row }).expect("a row");
        }
        all
    };
    let artifact = forged(|parts| {
        (parts.rows, parts.fisher) = (coarse(&parts.rows), coarse(&parts.fisher));
        parts.exponent -= 20;
    });
    assert_eq!(check(&artifact), Err(StructureError::Exponent));
    // Rows of the whole model, where the adapter's are meant.
    let model = Model::random(NANO, 1).expect("sizes are good");
    let whole = Tracer::new(Checkpoint::new(model, Tokenizer::BYTES), SEED).expect("a tracer");
    assert_eq!(check_structure(&ARTIFACT, &whole, &corpus(), &CHECKPOINT), Err(StructureError::Space));
    assert_eq!(whole.space().dimension(), 2048, "more parameters are projected");
}

/// The answer goes on with the first text, so most of its influence is that text's.
const PROMPT: &str = "The river takes the";
const ANSWER: &str = " rain of the hills";

fn traced() -> (Query, Solution) {
    let query = tracer().query(PROMPT, ANSWER, ARTIFACT.header().exponent).expect("a query");
    let solver = Traces::solver(&ARTIFACT).expect("a solver");
    let (solution, _) = solver.solve(&query, ARTIFACT.header().tolerance).expect("a solution");
    (query, solution)
}

#[test]
fn an_answer_is_owed_to_the_text_that_it_goes_on_with() {
    let (query, solution) = traced();
    let traces = Traces::new(ARTIFACT.clone()).expect("traces");
    traces.check(&query, &solution).expect("it solves");
    let influence = traces.influence(&query, &solution, 1, &mut |_| true).expect("influence");
    let most = influence.sums.iter().max_by_key(|(_, sum)| **sum).map(|(contribution, _)| *contribution);
    assert_eq!(most, Some(contribution(0)), "{influence:?}");
    let one = traces.influence(&query, &solution, 3, &mut |id| *id == contribution(1)).expect("influence");
    assert!(one.sums.keys().all(|id| *id == contribution(1)));
    let together = traces.influence(&query, &solution, 3, &mut |_| true).expect("influence");
    assert_eq!(together, influence);
    tracer().audit_query(&query, PROMPT, ANSWER, ARTIFACT.header().exponent).expect("the answer's gradient");
}

#[test]
fn a_server_who_lies_is_found_out() {
    let (query, solution) = traced();
    let traces = Traces::new(ARTIFACT.clone()).expect("traces");
    let exponent = ARTIFACT.header().exponent;
    // A query of another answer solves well, and so only the audit sees it.
    let false_query = tracer().query("MY CLOCK STRIKES", " SEVEN AND MY BELL", exponent).expect("a query");
    let solver = Traces::solver(&ARTIFACT).expect("a solver");
    let (false_solution, _) = solver.solve(&false_query, ARTIFACT.header().tolerance).expect("a solution");
    assert!(!traces.influence(&false_query, &false_solution, 1, &mut |_| true).expect("influence").refused);
    let error = tracer().audit_query(&false_query, PROMPT, ANSWER, exponent).expect_err("another answer's");
    assert!(error.is_refutation(), "{error}");
    // A solution of another query, or one that was bent, solves nothing.
    let mut bent = solution.clone();
    bent.codes[7] += 1 << 24;
    let short = Solution { shift: solution.shift, codes: solution.codes[1..].to_vec() };
    for wrong in [false_solution, bent, short] {
        let found = traces.influence(&query, &wrong, 1, &mut |_| true).expect("an answer");
        assert_eq!(found, Influence::refused());
    }
    let long = "x".repeat(200);
    let error = tracer().query(PROMPT, &long, exponent).expect_err("longer than the model's context");
    assert!(matches!(error, TraceError::Long { limit: 65, .. }) && error.is_refutation(), "{error}");
}

#[test]
fn nothing_is_built_of_nothing_and_a_wrong_text_is_named() {
    let options = BuildOptions { checkpoint: CHECKPOINT };
    let empty = Corpus::new(64).expect("a window");
    let error = build(&tracer(), &empty, options, &mut text, &mut |_, _, _| ()).expect_err("empty");
    assert!(matches!(error, BuildError::Empty), "{error}");
    let mut short = |_: &Hash32| Ok::<_, Infallible>("short".to_owned());
    let error = build(&tracer(), &corpus(), options, &mut short, &mut |_, _, _| ()).expect_err("another text");
    assert!(matches!(error, BuildError::Place { start: 0, .. }), "{error}");
}

/// A tokenizer of 256 pieces, as many as there are bytes, with one part changed.
fn pieces(part: &str, value: Value) -> String {
    // The characters that stand for bytes in GPT-2's vocabulary.
    let plain = ('!'..='~').chain('\u{a1}'..='\u{ac}').chain('\u{ae}'..='\u{ff}');
    let shifted = ('\u{100}'..).take(256 - plain.clone().count());
    let vocab: serde_json::Map<String, Value> =
        plain.chain(shifted).enumerate().map(|(id, piece)| (piece.to_string(), json!(id))).collect();
    let byte_level = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true });
    let mut tokenizer = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [],
        "normalizer": null,
        "pre_tokenizer": byte_level,
        "post_processor": null,
        "decoder": byte_level,
        "model": { "type": "BPE", "vocab": vocab, "merges": [] },
    });
    match part.split_once('/') {
        Some((part, key)) => tokenizer[part][key] = value,
        None => tokenizer[part] = value,
    }
    tokenizer.to_string()
}

#[test]
fn a_tokenizer_does_as_much_work_as_a_text_is_long() {
    let folder = tempfile::tempdir().expect("a folder");
    save(&MODEL, &Tokenizer::BYTES, &folder.path().join("base")).expect("saves");
    let config = folder.path().join("base").join("config.json");
    let mut json: Value = serde_json::from_slice(&std::fs::read(&config).expect("reads")).expect("JSON");
    json.as_object_mut().expect("an object").remove("tributary");
    std::fs::write(&config, json.to_string()).expect("writes");
    let load = |part: &str, value: Value| {
        std::fs::write(folder.path().join("base").join("tokenizer.json"), pieces(part, value)).expect("writes");
        Checkpoint::load(folder.path()).map_err(Box::new)
    };
    let byte_level = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true });
    let digits = json!({ "type": "Digits", "individual_digits": true });
    let sequence = |rules: &[&Value]| json!({ "type": "Sequence", "pretokenizers": rules });
    let plain = load("version", json!("1.0")).expect("plain");
    assert_eq!(plain.tokenizer().encode("Grüße 1984").expect("encodes").len(), 12);
    load("pre_tokenizer", sequence(&[&digits, &byte_level])).expect("digits first");
    let replace = json!({ "type": "Replace", "pattern": { "String": "e" }, "content": "e".repeat(1 << 16) });
    let fixed = json!({ "strategy": { "Fixed": 100_000_000_000_u64 }, "direction": "Right", "pad_to_multiple_of": null,
        "pad_id": 0, "pad_type_id": 0, "pad_token": "!" });
    let twice = json!({ "type": "TemplateProcessing", "pair": [], "special_tokens": {},
        "single": [{ "Sequence": { "id": "A", "type_id": 0 } }, { "Sequence": { "id": "A", "type_id": 0 } }] });
    for (part, value) in [
        ("normalizer", replace),
        ("padding", fixed),
        ("post_processor", twice),
        ("pre_tokenizer", sequence(&[&byte_level, &byte_level])),
        ("pre_tokenizer", json!({ "type": "FixedLength", "length": 3 })),
        ("pre_tokenizer", Value::Null),
        ("model/dropout", json!(0.5)),
        ("model/vocab", json!({ "a": 0, "b": 1 << 30 })),
    ] {
        let error = load(part, value).expect_err(part);
        let refused = matches!(*error, CheckpointError::Tokenizer { .. } | CheckpointError::Load { .. });
        assert!(refused, "{part}: {error}");
    }
}

#[test]
fn a_checkpoint_is_a_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let error = Checkpoint::load(folder.path()).expect_err("empty");
    assert!(matches!(error, CheckpointError::Base { .. }), "{error}");
    save(&MODEL, &Tokenizer::BYTES, &folder.path().join("base")).expect("saves");
    save_adapter(&MODEL, "base", &folder.path().join("adapter")).expect("saves");
    let names = [
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
        "base/config.json",
        "base/model.safetensors",
    ];
    assert_eq!(checkpoint_files(folder.path()), names);
    let loaded = Checkpoint::load(folder.path()).expect("loads");
    let loaded = Tracer::new(loaded, SEED).expect("a tracer");
    assert_eq!(build_with(&loaded).root(), ARTIFACT.root());
    // A pattern that takes for ever on a text made for it would keep every validator.
    let rules = folder.path().join("base").join("tokenizer.json");
    let pattern = r#"{"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"pattern": {"Regex": "(a+)+b"}}]}}"#;
    std::fs::write(&rules, pattern).expect("writes");
    let error = Checkpoint::load(folder.path()).expect_err("a pattern");
    assert!(matches!(error, CheckpointError::Tokenizer { .. }), "{error}");
    std::fs::remove_file(&rules).expect("removes");
    std::fs::write(folder.path().join("base.gguf"), "no model").expect("writes");
    let error = Checkpoint::load(folder.path()).expect_err("two");
    assert!(matches!(error, CheckpointError::TwoBases { .. }), "{error}");
    std::fs::remove_dir_all(folder.path().join("base")).expect("removes");
    let error = Checkpoint::load(folder.path()).expect_err("no GGUF");
    assert!(matches!(error, CheckpointError::Load { .. }), "{error}");
}
