//! `tributary train`: a small model from nothing, or an adapter beside a model, on texts or on a DataNet.

use super::Context;
use super::objects::remote;
use crate::models::{DEFAULT_WINDOW, lineage_texts};
use crate::output::{Failure, Paint};
use anyhow::Context as _;
use attribution::model::{
    Config, Example, LoraConfig, Model, Parameters, Progress, Schedule, Targets, Tokenizer, TrainOptions, Trainer,
    load, save, save_adapter,
};
use attribution::tracer::{Checkpoint, Corpus};
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use protocol::crypto::document_hash;
use protocol::ids::{ContributionId, ManifestId};
use protocol::limits::{EXAMPLE_BYTES, MAX_DOCUMENT_BYTES, MAX_MANIFEST_BYTES};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

/// Steps between two savings of the run's state.
const SAVED_EVERY: usize = 25;
/// Where the state of a run stands until it is over.
const STATE: &str = "train.state";
/// Columns of the curve of losses.
const CURVE: usize = 60;

/// Sizes of models that are trained from nothing.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Size {
    /// 63 thousand weights: a minute on one core
    Tiny,
    /// 600 thousand weights: some ten minutes
    Small,
}

impl Size {
    const fn config(self) -> Config {
        match self {
            Self::Tiny => Config::TINY,
            Self::Small => Config { width: 112, hidden: 304, blocks: 4, heads: 8, kv_heads: 4, ..Config::TINY },
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct Train {
    /// The folder for the checkpoint, which must not exist
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// A text file, or a folder of them, to train on; may be repeated
    #[arg(long = "text", value_name = "PATH", required_unless_present = "from")]
    texts: Vec<PathBuf>,
    /// A version of a DataNet to train on, with all before it; may be repeated
    #[arg(long, value_name = "MANIFEST")]
    from: Vec<ManifestId>,
    /// Train an adapter beside this model: a folder in Hugging Face's form, a GGUF file, or a checkpoint of ours
    #[arg(long, value_name = "PATH")]
    base: Option<PathBuf>,
    /// The size of a model that is trained from nothing
    #[arg(long, value_enum, default_value = "tiny", conflicts_with = "base")]
    size: Size,
    /// The adapter's rank
    #[arg(long, default_value_t = 4, requires = "base", value_name = "N")]
    rank: usize,
    /// The adapter counts alpha / rank times
    #[arg(long, default_value_t = 8.0, requires = "base", value_name = "NUMBER")]
    alpha: f64,
    /// The layers that the adapter changes
    #[arg(long, value_delimiter = ',', default_value = "q_proj,v_proj", requires = "base", value_name = "NAMES")]
    targets: Vec<String>,
    /// Steps of the run
    #[arg(long, default_value_t = 300, value_name = "N")]
    steps: usize,
    /// Examples in a step
    #[arg(long, default_value_t = 8, value_name = "N")]
    batch: usize,
    /// The highest learning rate
    #[arg(long, default_value_t = 3e-3, value_name = "RATE")]
    rate: f64,
    /// Most bytes of an example: the same as in `tributary model register`
    #[arg(long, default_value_t = DEFAULT_WINDOW, value_name = "BYTES")]
    window: u32,
    /// Decides the first weights and the order of the examples
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,
    /// Go on with a run that was cut off
    #[arg(long)]
    resume: bool,
}

/// What came of a run.
#[derive(Debug, Serialize)]
struct Trained {
    checkpoint: PathBuf,
    parameters: usize,
    trained: usize,
    examples: usize,
    steps: usize,
    first_loss: f64,
    last_loss: f64,
    seconds: f64,
    losses: Vec<f64>,
}

impl Train {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        let began = Instant::now();
        let state = self.out.join(STATE);
        match (self.resume, self.out.exists()) {
            (false, true) => {
                let message = format!("{} is there already", self.out.display());
                let hint = "name another folder, or go on with a run that was cut off: --resume";
                return Err(Failure::new("exists", message).hint(hint).into());
            }
            (true, _) if !state.is_file() => {
                let message = format!("{} holds no run that was cut off", self.out.display());
                return Err(Failure::new("nofile", message).into());
            }
            _ => {}
        }
        let (model, tokenizer) = self.model()?;
        let checkpoint = Checkpoint::new(model, tokenizer);
        let examples = self.examples(context, &checkpoint)?;
        let count = examples.len();
        let options = self.options(checkpoint.model());
        let trainer = match self.resume {
            true => Trainer::resume(checkpoint.model(), examples, options, &state)?,
            false => Trainer::new(checkpoint.model(), examples, options)?,
        };
        // Made only now, so that a run that cannot begin leaves nothing.
        std::fs::create_dir_all(&self.out).with_context(|| format!("cannot make {}", self.out.display()))?;
        let (model, losses) = self.train(context, trainer, &state)?;
        self.save(&model, checkpoint.tokenizer())?;
        std::fs::remove_file(&state).ok();
        let adapter = model.adapter_parameters();
        let parameters = model.config().weights();
        let trained = Trained {
            checkpoint: self.out.clone(),
            parameters,
            trained: if adapter > 0 { adapter } else { parameters },
            examples: count,
            steps: losses.len(),
            first_loss: losses.first().copied().unwrap_or_default(),
            last_loss: tail(&losses),
            seconds: began.elapsed().as_secs_f64(),
            losses,
        };
        context.out.print(&trained, |paint| trained.to_text(paint))
    }

    fn model(&self) -> anyhow::Result<(Model, Tokenizer)> {
        let Some(path) = &self.base else {
            return Ok((Model::random(self.size.config(), self.seed)?, Tokenizer::BYTES));
        };
        // A checkpoint of ours holds a model and perhaps an adapter, which is not taken along.
        let inner = [path.join("base"), path.join("base.gguf")].into_iter().find(|inner| inner.exists());
        let path = inner.unwrap_or_else(|| path.clone());
        let (mut model, tokenizer) =
            load(&path).with_context(|| format!("the model in {} cannot be read", path.display()))?;
        let targets = Targets::Names(self.targets.clone());
        model.attach(&LoraConfig { rank: self.rank, alpha: self.alpha, targets }, self.seed)?;
        Ok((model, tokenizer))
    }

    fn options(&self, model: &Model) -> TrainOptions {
        let parameters = if model.adapter().is_some() { Parameters::Adapter } else { Parameters::All };
        let schedule = Schedule { peak: self.rate, warm_up: (self.steps / 10).min(20), last: 0.1 };
        TrainOptions {
            parameters,
            steps: self.steps,
            batch: self.batch,
            schedule,
            seed: self.seed,
            ..TrainOptions::default()
        }
    }

    fn examples(&self, context: &Context, checkpoint: &Checkpoint) -> anyhow::Result<Vec<Example>> {
        if !EXAMPLE_BYTES.contains(&self.window) {
            let (least, most) = (EXAMPLE_BYTES.start(), EXAMPLE_BYTES.end());
            let message = format!("a window of {} bytes; it must be {least} to {most}", self.window);
            return Err(Failure::new("usage", message).into());
        }
        let spinner = context.out.spinner("reading the texts");
        let mut texts = Vec::new();
        let mut bytes = 0;
        for path in &self.texts {
            read_texts(path, &mut texts, &mut bytes)?;
        }
        if !self.from.is_empty() {
            let remote = remote(context)?;
            for manifest in &self.from {
                let found = lineage_texts(&remote, *manifest, &mut |what| spinner.set_message(what))?;
                texts.extend(found.into_iter().map(|(_, _, text)| text));
            }
        }
        spinner.finish_and_clear();
        let mut examples = Vec::new();
        for text in &texts {
            let mut corpus = Corpus::new(self.window)?;
            corpus.add(document_hash(text.as_bytes()), ContributionId([0; 32]), text)?;
            for passage in corpus.passages() {
                examples.push(checkpoint.example(text.get(passage.range).unwrap_or_default())?);
            }
        }
        match examples.is_empty() {
            true => {
                Err(Failure::new("empty", "there is no text to train on: the files or the DataNet are empty").into())
            }
            false => Ok(examples),
        }
    }

    fn train(&self, context: &Context, mut trainer: Trainer, state: &Path) -> anyhow::Result<(Model, Vec<f64>)> {
        let bar = if context.out.is_json() { ProgressBar::hidden() } else { ProgressBar::new(self.steps as u64) };
        if let Ok(style) = ProgressStyle::with_template("{spinner} training {bar:30} {pos}/{len}  {msg}  {eta} left") {
            bar.set_style(style);
        }
        let stop = AtomicBool::new(false);
        while !trainer.outcome().finished {
            // Some steps at a time, so that what was done outlives a power cut.
            let mut done = 0;
            let mut report = |progress: &Progress| {
                bar.set_position(progress.step as u64);
                bar.set_message(format!("loss {:.3}, {:.0} tokens/s", progress.loss, progress.tokens_per_second));
                done += 1;
                stop.store(done >= SAVED_EVERY, std::sync::atomic::Ordering::Relaxed);
            };
            stop.store(false, std::sync::atomic::Ordering::Relaxed);
            trainer.run(&stop, &mut report)?;
            trainer.save(state)?;
        }
        bar.finish_and_clear();
        let losses = trainer.outcome().losses;
        Ok((trainer.into_model()?, losses))
    }

    fn save(&self, model: &Model, tokenizer: &Tokenizer) -> anyhow::Result<()> {
        let gguf = self
            .base
            .as_ref()
            .and_then(|base| [base.clone(), base.join("base.gguf")].into_iter().find(|path| path.is_file()));
        match gguf {
            Some(gguf) => {
                let to = self.out.join("base.gguf");
                std::fs::copy(&gguf, &to).with_context(|| format!("cannot copy {}", gguf.display()))?;
            }
            None => save(model, tokenizer, &self.out.join("base"))?,
        }
        if model.adapter().is_some() {
            let base = self.base.as_ref().map_or_else(String::new, |base| base.display().to_string());
            save_adapter(model, &base, &self.out.join("adapter"))?;
        }
        Ok(())
    }
}

/// All texts of a file or folder, in the order of their names.
fn read_texts(path: &Path, texts: &mut Vec<String>, bytes: &mut u64) -> anyhow::Result<()> {
    if path.is_dir() {
        let entries = std::fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut paths: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
        paths.sort();
        return paths.iter().try_for_each(|path| read_texts(path, texts, bytes));
    }
    let text = crate::files::read_text(path, MAX_DOCUMENT_BYTES)
        .with_context(|| format!("the text {} cannot be read", path.display()))?;
    *bytes += text.len() as u64;
    if *bytes > MAX_MANIFEST_BYTES {
        let message = format!("the texts have more than {MAX_MANIFEST_BYTES} bytes together");
        return Err(Failure::new("too_large", message).into());
    }
    texts.push(text);
    Ok(())
}

/// The mean of the last losses: one alone depends on its batch.
fn tail(losses: &[f64]) -> f64 {
    let last = &losses[losses.len().saturating_sub(10)..];
    last.iter().sum::<f64>() / last.len().max(1) as f64
}

impl Trained {
    fn to_text(&self, paint: Paint) -> String {
        let fields = [
            ("checkpoint", paint.bold(self.checkpoint.display())),
            ("trained", format!("{} parameters of {} on {} examples", self.trained, self.parameters, self.examples)),
            ("loss", format!("{:.3} to {:.3} nats a token", self.first_loss, self.last_loss)),
            ("", paint.dim(curve(&self.losses))),
            ("time", format!("{} steps in {:.0} s", self.steps, self.seconds)),
        ];
        paint.fields(&fields)
    }
}

/// Losses as a line of bars, each the mean of some steps.
fn curve(losses: &[f64]) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    if losses.is_empty() {
        return String::new();
    }
    let means: Vec<f64> =
        losses.chunks(losses.len().div_ceil(CURVE)).map(|part| part.iter().sum::<f64>() / part.len() as f64).collect();
    let highest = means.iter().copied().fold(f64::MIN, f64::max);
    let lowest = means.iter().copied().fold(f64::MAX, f64::min);
    let bar = |mean: &f64| {
        let part = (mean - lowest) / (highest - lowest).max(f64::MIN_POSITIVE);
        // The eighth of the height in which it is.
        let place = (1..BARS.len()).take_while(|bar| part * 8.0 >= *bar as f64).count();
        BARS[place]
    };
    means.iter().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_falls_from_the_highest_bar_to_the_lowest() {
        let losses: Vec<f64> = (0..240).map(|step| 5.0 - f64::from(step) / 60.0).collect();
        let curve = curve(&losses);
        assert_eq!(curve.chars().count(), 60);
        assert!(curve.starts_with('█') && curve.ends_with('▁'), "{curve}");
        assert_eq!(super::curve(&[1.0]), "▁");
        assert_eq!(super::curve(&[]), "");
    }

    #[test]
    fn the_sizes_are_sound() {
        for size in [Size::Tiny, Size::Small] {
            assert!(size.config().checked().is_ok(), "{size:?}");
        }
        assert!((500_000..700_000).contains(&Size::Small.config().weights()));
    }
}
