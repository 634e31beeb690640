//! Measures the model: `cargo run --release -p tributary-attribution --example model_bench -- smol MODEL.gguf`
//! for SmolLM2-135M with an adapter, `… -- tiny` for a byte-level model trained from nothing. With
//! `RAYON_NUM_THREADS=1` the figures are of one core. Seconds are the processor's, so that what else runs beside it
//! does not count.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use attribution::model::{
    Config, Example, Generator, Gradients, Labels, LoraConfig, Model, Options, Parameters, Prompt, Schedule, Scope,
    Targets, Tokenizer, TrainOptions, Trainer, load,
};

/// Any text of some length that belongs to this repository.
const TEXT: &str = include_str!("../../ARCHITECTURE.md");

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next()) {
        (Some("smol"), Some(path)) => smol(Path::new(&path)),
        (Some("tiny"), None) => tiny(),
        _ => Err("usage: model_bench smol MODEL.gguf | tiny".into()),
    }
}

/// A checkpoint: loading, answering, training an adapter, rows of gradients.
fn smol(path: &Path) -> Result<(), Failure> {
    let began = processor();
    let (mut model, tokenizer) = load(path)?;
    println!("loaded in {:.2} s", processor() - began);
    let began = processor();
    let digest = model.digest()?.to_hex();
    println!("digest {} in {:.2} s", &digest[..16], processor() - began);
    let generator = Generator::new(model.clone(), tokenizer.clone());
    let began = processor();
    let prompt = Prompt { system: None, user: "What is the capital of France?" };
    let answer = generator.generate(&prompt, &Options { max_tokens: 64, ..Options::default() })?;
    let seconds = processor() - began;
    println!("{:?}: {} tokens read, {} written in {seconds:.2} s", answer.text, answer.tokens_in, answer.tokens_out);
    let targets = Targets::Names(vec!["q_proj".into(), "v_proj".into()]);
    model.attach(&LoraConfig { rank: 8, alpha: 16.0, targets }, 1)?;
    let examples = Example::windows(&tokenizer.encode(TEXT)?, 129);
    let options = TrainOptions {
        parameters: Parameters::Adapter,
        steps: 6,
        batch: 1,
        schedule: Schedule { peak: 2e-3, warm_up: 1, last: 1.0 },
        ..TrainOptions::default()
    };
    let mut trainer = Trainer::new(&model, vec![examples[0].clone()], options)?;
    report(&mut trainer)?;
    rows(&trainer.into_model()?, Scope::Adapter, &examples[..8])
}

/// A model from nothing: training, rows of gradients.
fn tiny() -> Result<(), Failure> {
    for config in [Config::TINY, Config { width: 128, hidden: 344, blocks: 4, ..Config::TINY }] {
        println!("{} weights", config.weights());
        let examples = Example::windows(&Tokenizer::BYTES.document(TEXT)?, 129);
        let options = TrainOptions { steps: 60, batch: 16, ..TrainOptions::default() };
        let mut trainer = Trainer::new(&Model::random(config, 1)?, examples.clone(), options)?;
        report(&mut trainer)?;
        let model = trainer.into_model()?;
        rows(&model, Scope::Full, &examples[..64])?;
        rows(&model, Scope::Linear, &examples[..64])?;
    }
    Ok(())
}

fn report(trainer: &mut Trainer) -> Result<(), Failure> {
    let (began, mut tokens) = (processor(), 0);
    let outcome = trainer.run(&AtomicBool::new(false), &mut |progress| {
        tokens += progress.tokens;
        if progress.step == 1 || progress.step.is_multiple_of(20) || progress.steps < 20 {
            println!("step {}: loss {:.3}", progress.step, progress.loss);
        }
    })?;
    let seconds = processor() - began;
    println!("{} steps in {seconds:.1} s, {:.0} tokens a second", outcome.losses.len(), tokens as f64 / seconds);
    memory();
    Ok(())
}

fn rows(model: &Model, scope: Scope, examples: &[Example]) -> Result<(), Failure> {
    let taker = Gradients::new(model, scope)?;
    for (what, labels, batch) in [
        ("one by one", Labels::Given, 1),
        ("in batches", Labels::Given, 1 << 10),
        ("in batches, sampled", Labels::sampled([1; 32], 0), 1 << 10),
    ] {
        let began = processor();
        let mut count = 0;
        taker.clone().with_batch_tokens(batch).for_each(examples, labels, &mut |_, _| count += 1)?;
        let each = (processor() - began) / f64::from(count);
        println!("{scope:?}: {count} rows of {} {what}: {:.1} ms each", taker.layout().parameters(), each * 1e3);
    }
    memory();
    Ok(())
}

/// Seconds of processor that this process has had, in hundredths; 0 where the system does not say.
fn processor() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // After the name in brackets; user and system time are the 12th and 13th field behind it.
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields).split(' ');
    fields.skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// The most memory that this process ever had, where the system says.
fn memory() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    if let Some(peak) = status.lines().find(|line| line.starts_with("VmHWM")) {
        println!("{peak}");
    }
}
