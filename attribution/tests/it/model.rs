//! Small models that are made, trained and asked here, in seconds.

use attribution::model::{
    Config, Example, Generator, GradientError, Gradients, Labels, LoraConfig, Model, Options, Parameters, ResumeError,
    Schedule, Scope, Targets, Tokenizer, TrainError, TrainOptions, Trainer,
};
use std::sync::atomic::{AtomicBool, Ordering};

/// What the small models learn.
const TEXT: &str = "The river takes the rain of the hills, and the sea takes the river. \
    Who gave the rain is not asked at the sea; here it is written down. \
    The miller has the river's strength, the fisher has its fish, and the field has its water. \
    Each of them gives a part of what he has to the hills. \
    The hills give the rain, the rain gives the river, and the river gives to each of them again.";

pub(crate) const NANO: Config = Config {
    vocabulary: 257,
    width: 16,
    hidden: 32,
    blocks: 2,
    heads: 4,
    kv_heads: 2,
    context: 64,
    rope_base: 10_000.0,
    norm_epsilon: 1e-5,
    tied_embeddings: true,
};

fn examples() -> Vec<Example> {
    let tokens = Tokenizer::BYTES.document(TEXT).expect("bytes encode");
    Example::windows(&tokens, 49)
}

fn options(steps: usize) -> TrainOptions {
    TrainOptions { steps, batch: 4, seed: 5, ..TrainOptions::default() }
}

pub(crate) fn lora(targets: &[&str]) -> LoraConfig {
    let targets = Targets::Names(targets.iter().map(|name| (*name).to_owned()).collect());
    LoraConfig { rank: 3, alpha: 6.0, targets }
}

fn train(trainer: &mut Trainer) -> Vec<f64> {
    trainer.run(&AtomicBool::new(false), &mut |_| {}).expect("trains").losses
}

/// A trained adapter beside a fresh model: neither matrix is zero.
pub(crate) fn adapted(seed: u64) -> Model {
    let mut model = Model::random(NANO, seed).expect("sizes are good");
    model.attach(&lora(&["q_proj", "v_proj"]), 1).expect("attaches");
    let options = TrainOptions { parameters: Parameters::Adapter, ..options(3) };
    let mut trainer = Trainer::new(&model, examples(), options).expect("begins");
    train(&mut trainer);
    trainer.into_model().expect("a model")
}

#[test]
fn windows_count_every_token_once() {
    for (tokens, length) in [(100, 7), (100, 100), (100, 101), (100, 300), (2, 2), (8, 1)] {
        let tokens: Vec<u32> = (0..tokens).collect();
        let windows = Example::windows(&tokens, length);
        assert!(windows.iter().all(|window| window.tokens().len() <= length.max(2)));
        let counted: Vec<u32> = windows.iter().flat_map(|window| window.tokens()[1..].to_vec()).collect();
        assert_eq!(counted, tokens[1..], "windows of {length}");
    }
    assert!(Example::windows(&[1], 8).is_empty());
}

#[test]
fn a_seed_decides_a_model() {
    let digest = |config, seed| Model::random(config, seed).expect("sizes are good").digest().expect("a digest");
    assert_eq!(digest(NANO, 1), digest(NANO, 1));
    assert_ne!(digest(NANO, 1), digest(NANO, 2));
    assert_ne!(digest(NANO, 1), digest(Config { rope_base: 500.0, ..NANO }, 1));
    // The same on every machine: no logarithm, no cosine, only exact steps.
    assert_eq!(digest(NANO, 1).to_hex().as_str()[..16], *"750265819de2f8d5");
}

#[test]
fn a_small_model_learns_a_text_and_says_it() {
    let model = Model::random(Config::TINY, 1).expect("sizes are good");
    let before: f64 = model.log_likelihoods(&examples()).expect("likelihoods").iter().sum();
    let fast = TrainOptions { schedule: Schedule { peak: 1e-2, warm_up: 20, last: 0.1 }, batch: 8, ..options(200) };
    let mut trainer = Trainer::new(&model, examples(), fast).expect("begins");
    let mut reported = Vec::new();
    let outcome = trainer.run(&AtomicBool::new(false), &mut |progress| reported.push(*progress)).expect("trains");
    assert!(outcome.finished);
    assert_eq!(outcome.losses, reported.iter().map(|progress| progress.loss).collect::<Vec<_>>());
    assert!((outcome.losses[0] - 257f64.ln()).abs() < 0.1, "at first all bytes are alike: {}", outcome.losses[0]);
    let last = outcome.losses[190..].iter().sum::<f64>() / 10.0;
    assert!(last < 0.6, "after 200 steps the loss is still {last} nats a byte");
    let trained = trainer.into_model().expect("a model");
    let after: f64 = trained.log_likelihoods(&examples()).expect("likelihoods").iter().sum();
    assert!(after > before / 5.0, "{before}, then {after}");
    let generator = Generator::new(trained, Tokenizer::BYTES);
    let options = Options { max_tokens: 30, ..Options::default() };
    let said = generator.complete("The river takes the rain of", &options).expect("an answer").text;
    assert!(said.starts_with(" the hills"), "{said:?}");
    let unchanged: f64 = model.log_likelihoods(&examples()).expect("likelihoods").iter().sum();
    assert!(unchanged.to_bits() == before.to_bits(), "training changed the model it began from");
}

#[test]
fn an_adapter_learns_and_the_base_stays() {
    let fast = TrainOptions { schedule: Schedule { peak: 1e-2, warm_up: 5, last: 1.0 }, ..options(40) };
    let base = Model::random(NANO, 2).expect("sizes are good");
    let mut trainer = Trainer::new(&base, examples(), TrainOptions { steps: 15, ..fast }).expect("begins");
    train(&mut trainer);
    let base = trainer.into_model().expect("a model");
    let mut model = base.clone();
    model
        .attach(&LoraConfig { targets: Targets::Pattern(".*_proj|lm_head".into()), ..lora(&[]) }, 1)
        .expect("attaches");
    let mut trainer =
        Trainer::new(&model, examples(), TrainOptions { parameters: Parameters::Adapter, ..fast }).expect("begins");
    let losses = train(&mut trainer);
    let trained = trainer.into_model().expect("a model");
    assert!(losses[39] < losses[0] - 0.2, "{} to {}", losses[0], losses[39]);
    assert_eq!(trained.digest().expect("a digest"), base.digest().expect("a digest"), "the base changed");
    let mut bare = trained.clone();
    bare.detach();
    let said = |model: &Model| model.log_likelihoods(&examples()).expect("likelihoods");
    assert_eq!(said(&bare), said(&base));
    assert_eq!(said(&model), said(&base), "a fresh adapter changes nothing");
    assert_ne!(said(&trained), said(&base));
}

/// A whole model, and an adapter: interrupted, saved, taken up by another trainer.
#[test]
fn a_resumed_run_gives_the_same_losses() {
    let whole = Model::random(NANO, 6).expect("sizes are good");
    let mut beside = whole.clone();
    beside.attach(&lora(&["q_proj", "down_proj"]), 2).expect("attaches");
    let folder = tempfile::tempdir().expect("a folder");
    for (model, parameters) in [(whole, Parameters::All), (beside, Parameters::Adapter)] {
        let options = TrainOptions { parameters, ..options(20) };
        let path = folder.path().join("run.safetensors");
        let mut straight = Trainer::new(&model, examples(), options).expect("begins");
        let wanted = train(&mut straight);
        let mut first = Trainer::new(&model, examples(), options).expect("begins");
        let stop = AtomicBool::new(false);
        let halfway = first
            .run(&stop, &mut |progress| stop.store(progress.step == 9, Ordering::Relaxed))
            .expect("trains until it is stopped");
        assert_eq!((halfway.losses.len(), halfway.finished), (9, false));
        first.save(&path).expect("saves");
        drop(first);
        let mut second = Trainer::resume(&model, examples(), options, &path).expect("goes on");
        assert_eq!(train(&mut second), wanted, "{parameters:?}");
        let weights =
            |trainer: Trainer| trainer.into_model().expect("a model").log_likelihoods(&examples()).expect("some");
        assert_eq!(weights(straight), weights(second));

        let other = TrainOptions { seed: 6, ..options };
        assert!(matches!(Trainer::resume(&model, examples(), other, &path), Err(ResumeError::OtherRun)));
        let fewer = examples()[1..].to_vec();
        assert!(matches!(Trainer::resume(&model, fewer, options, &path), Err(ResumeError::OtherRun)));
        let bytes = std::fs::read(&path).expect("reads");
        std::fs::write(&path, &bytes[..bytes.len() - 4]).expect("writes");
        assert!(matches!(Trainer::resume(&model, examples(), options, &path), Err(ResumeError::Load(_))));
    }
}

#[test]
fn a_run_that_diverges_says_at_which_step() {
    let model = Model::random(NANO, 6).expect("sizes are good");
    let schedule = Schedule { peak: 1e38, warm_up: 0, last: 1.0 };
    let mut trainer = Trainer::new(&model, examples(), TrainOptions { schedule, ..options(20) }).expect("begins");
    let error = trainer.run(&AtomicBool::new(false), &mut |_| {}).expect_err("it cannot end well");
    let done = trainer.outcome().losses.len();
    assert!(
        matches!(&error, TrainError::NotFinite { step, what } if *step == done && what == "loss"),
        "{error} after {done}"
    );
}

#[test]
fn what_cannot_be_trained_is_refused() {
    let model = Model::random(NANO, 6).expect("sizes are good");
    let refusal = |model: &Model, examples: Vec<Example>, options| match Trainer::new(model, examples, options) {
        Ok(_) => panic!("it begins"),
        Err(error) => error.to_string(),
    };
    let good = options(5);
    let table = [
        (vec![], good, "no example"),
        (vec![Example::text(vec![3])], good, "example 0 has no token that counts"),
        (vec![Example::text(vec![3, 4]), Example::text(vec![3, 999])], good, "example 1 has the token 999"),
        (vec![Example::text(vec![3; 66])], good, "example 0 has 66 tokens; the model holds 65"),
        (examples(), TrainOptions { steps: 0, ..good }, "steps must be"),
        (examples(), TrainOptions { batch: 0, ..good }, "batch must be"),
        (examples(), TrainOptions { clip: f64::NAN, ..good }, "clip must be"),
        (examples(), TrainOptions { parameters: Parameters::Adapter, ..good }, "no adapter"),
    ];
    for (examples, options, wanted) in table {
        let error = refusal(&model, examples, options);
        assert!(error.contains(wanted), "{error}, not {wanted}");
    }
    assert!(refusal(&adapted(1), examples(), good).contains("without an adapter"));
    let large = TrainOptions { batch: 2000, ..good };
    let error = Trainer::new(&model, examples(), large).expect("begins").step().expect_err("too large").to_string();
    assert!(error.contains("a batch of 96000 positions is too large"), "{error}");
}

/// A whole answer from the cache, against a pass over the whole sequence for each token.
#[test]
fn answers_with_and_without_a_cache_agree() {
    let fast = TrainOptions { schedule: Schedule { peak: 2e-2, warm_up: 5, last: 0.1 }, ..options(120) };
    let fresh = Model::random(NANO, 3).expect("sizes are good");
    let mut trainer = Trainer::new(&fresh, examples(), fast).expect("begins");
    train(&mut trainer);
    let model = trainer.into_model().expect("a model");
    let generator = Generator::new(model.clone(), Tokenizer::BYTES);
    let options = Options { max_tokens: 24, ..Options::default() };
    let cached = generator.complete("The river", &options).expect("an answer");
    let mut tokens = Tokenizer::BYTES.encode("The river").expect("encodes");
    for _ in 0..cached.tokens_out {
        let likelihood = |token: u32| {
            let mut longer = tokens.clone();
            longer.push(token);
            let prompt = longer.len() - 1;
            model.log_likelihoods(&[Example::answer(&longer[..prompt], &longer[prompt..])]).expect("a likelihood")[0]
        };
        let best = (0..257u32).max_by(|a, b| likelihood(*a).total_cmp(&likelihood(*b))).expect("a token");
        tokens.push(best);
    }
    let slow = Tokenizer::BYTES.decode(&tokens[9..]).expect("decodes");
    assert_eq!(cached.text, slow);
}

#[test]
fn rows_do_not_depend_on_the_batch() {
    let model = adapted(4);
    let mut examples = examples();
    examples.push(Example::answer(&[70, 71, 72], &[73, 74]));
    for (scope, labels) in [
        (Scope::Adapter, Labels::Given),
        (Scope::Adapter, Labels::sampled([8; 32], 3)),
        (Scope::Linear, Labels::sampled([8; 32], 3)),
        (Scope::Full, Labels::Given),
    ] {
        let taker = Gradients::new(&model, scope).expect("a taker");
        let together = taker.rows(&examples, labels).expect("rows");
        let alone = taker.clone().with_batch_tokens(1).rows(&examples, labels).expect("rows");
        for (index, (a, b)) in together.iter().zip(&alone).enumerate() {
            let size = a.iter().fold(0f32, |size, g| size.max(g.abs()));
            let worst = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
            assert!(size > 0.0 && worst <= 1e-5 * size, "{scope:?} {labels:?} row {index}: {worst} of {size}");
        }
    }
}

/// A step along an example's own row makes that example likelier: the sign that influence has.
#[test]
fn a_row_points_where_its_example_becomes_likelier() {
    let model = Model::random(NANO, 7).expect("sizes are good");
    let example = examples().swap_remove(0);
    let row = Gradients::new(&model, Scope::Full)
        .expect("a taker")
        .rows(std::slice::from_ref(&example), Labels::Given)
        .expect("a row");
    let along: f32 = row[0].iter().map(|g| g * g).sum();
    assert!(along > 0.0);
    let options = TrainOptions { schedule: Schedule { peak: 1e-3, warm_up: 0, last: 1.0 }, batch: 1, ..options(1) };
    let mut trainer = Trainer::new(&model, vec![example.clone()], options).expect("begins");
    train(&mut trainer);
    let trained = trainer.into_model().expect("a model");
    let likelihood = |model: &Model| model.log_likelihoods(std::slice::from_ref(&example)).expect("a likelihood")[0];
    assert!(likelihood(&trained) > likelihood(&model));
}

#[test]
fn sampled_labels_follow_the_seed_and_the_model() {
    let model = adapted(5);
    let taker = Gradients::new(&model, Scope::Adapter).expect("a taker");
    let rows = |seed| taker.rows(&examples(), Labels::sampled([seed; 32], 0)).expect("rows");
    assert_eq!(rows(1), rows(1));
    assert_ne!(rows(1), rows(2));
    assert_ne!(rows(1), taker.rows(&examples(), Labels::Given).expect("rows"));
    // Under the model's own labels the mean gradient is zero: over many draws the mean shrinks.
    let example = [examples().swap_remove(1)];
    let mut mean = vec![0f64; taker.layout().parameters()];
    let mut square = 0f64;
    let draws = 400u32;
    for number in 0..draws {
        let row = &taker.rows(&example, Labels::sampled([9; 32], number.into())).expect("a row")[0];
        square += row.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>() / f64::from(draws);
        mean.iter_mut().zip(row).for_each(|(mean, g)| *mean += f64::from(*g) / f64::from(draws));
    }
    let of_mean: f64 = mean.iter().map(|g| g * g).sum();
    assert!(of_mean < 4.0 * square / f64::from(draws), "{of_mean} beside {square}");
}

#[test]
fn the_layout_covers_a_row_in_order() {
    let model = adapted(1);
    let width = NANO.width;
    for (scope, blocks, len) in [
        (Scope::Adapter, 8, 2 * (3 * width + width * 3 + 3 * width + NANO.kv_width() * 3)),
        (Scope::Linear, 14, NANO.weights() - 257 * width - 5 * width),
        (Scope::Full, 20, NANO.weights()),
    ] {
        let taker = Gradients::new(&model, scope).expect("a taker");
        let layout = taker.layout();
        assert_eq!((layout.blocks().len(), layout.parameters()), (blocks, len), "{scope:?}");
    }
    let names: Vec<String> = Gradients::new(&model, Scope::Adapter)
        .expect("a taker")
        .layout()
        .blocks()
        .iter()
        .take(2)
        .map(|block| block.name.clone())
        .collect();
    assert_eq!(
        names,
        ["A", "B"].map(|part| format!("base_model.model.model.layers.0.self_attn.q_proj.lora_{part}.weight"))
    );
    let bare = Model::random(NANO, 1).expect("sizes are good");
    assert!(matches!(Gradients::new(&bare, Scope::Adapter), Err(GradientError::NoAdapter)));
    let whole = Gradients::new(&bare, Scope::Full).expect("a taker");
    assert!(matches!(whole.factors(&examples(), Labels::Given), Err(GradientError::NotFactored)));
}
