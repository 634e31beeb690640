//! `tributary influence`: rows of models ([`rows`]), and how well the methods predict what training data does.

use super::{Context, rows};
use crate::output::{Failure, Paint};
use anyhow::Context as _;
use attribution::influence::bench::{
    BenchError, CharacterTrial, Experiment, Lds, Line, Model, Options, Report, Table, TransformerTrial, Trial, lds,
    measure, noisy_labels, read_scores,
};
use clap::{Args, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Bytes of a table at most, and of a text.
const MAX_TABLE_BYTES: u64 = 1 << 30;
/// Files of a folder of text at most.
const MAX_TEXT_FILES: usize = 1 << 12;

/// Influence: which training data an answer depends on.
#[derive(Debug, Subcommand)]
pub(super) enum InfluenceCommand {
    /// Measure the methods where the truth can be had, by training again without half of the data
    Bench(Bench),
    /// Make the rows of a model that was registered with a checkpoint, and offer them to its network
    Build(rows::Build),
    /// Show which training examples an answer of a model comes from
    Query(rows::Query),
    /// Compute rows of a model anew, and compare
    Audit(rows::Audit),
}

impl InfluenceCommand {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        match self {
            Self::Bench(command) => command.run(context),
            Self::Build(command) => command.run(context),
            Self::Query(command) => command.run(context),
            Self::Audit(command) => command.run(context),
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Suite {
    /// Logistic regression
    DigitsLr,
    /// One hidden layer
    DigitsMlp,
    /// Which of the labels are wrong?
    NoisyLabels,
    /// Adapters beside a small language model, which is made of the first half of a text
    LoraLm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LanguageModel {
    /// Two hidden layers over twelve characters: minutes
    Characters,
    /// Four blocks of attention over bytes: a quarter of an hour
    Transformer,
}

#[derive(Debug, Args)]
pub(super) struct Bench {
    /// What to train
    #[arg(long)]
    suite: Suite,
    /// A CSV file of numbers, a row each line; for lora-lm a UTF-8 text, or a folder of texts, taken in the order of their
    /// names. At most 1 GiB (`make bench-influence` fetches digits and a text)
    #[arg(long, value_name = "CSV|TEXT")]
    data: PathBuf,
    /// The language model of lora-lm
    #[arg(long, value_name = "MODEL", default_value = "characters")]
    model: LanguageModel,
    /// The column of the label, by name or by number from 1 [default: the last]
    #[arg(long, value_name = "COLUMN")]
    label: Option<String>,
    /// What features are divided by: those of the digits are 0 to 16
    #[arg(long, value_name = "NUMBER", default_value_t = 16.0)]
    divide: f64,
    /// Halves of the data to train on
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(2..=10_000))]
    subsets: u32,
    /// Models for each half, where training depends on a seed [default: 6; 2 of the transformer]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    seeds: Option<u32>,
    /// Models whose influences are averaged, where training depends on a seed
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    checkpoints: u32,
    /// Where all random choices come from
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// A folder for data, models, halves and truth, as .npy files for other programs; what is there is not trained again
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Measure scores that other programs wrote into that folder, instead of ours, by the names of their files
    #[arg(long, value_name = "NAME", value_delimiter = ',', requires = "keep")]
    scores: Vec<String>,
}

impl Bench {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        if !(self.divide.is_finite() && self.divide > 0.0) {
            return Err(Failure::new("usage", "--divide takes a number above 0".to_owned()).into());
        }
        let options = self.options();
        let failed = |error: BenchError| Failure::new("bench", error.to_string());
        let (name, trial): (_, Box<dyn Trial>) = match self.suite {
            Suite::NoisyLabels => {
                let report = noisy_labels(&self.table()?, &options).map_err(failed)?;
                return context.out.print(&as_json(&report), |paint| as_text(&report, paint));
            }
            Suite::DigitsLr => ("digits-lr", Box::new(self.experiment(Model::Logistic, &options)?)),
            Suite::DigitsMlp => ("digits-mlp", Box::new(self.experiment(Model::Perceptron, &options)?)),
            Suite::LoraLm => ("lora-lm", self.adapters(&options)?),
        };
        if !self.scores.is_empty() {
            return self.compare(trial.as_ref(), &options, context);
        }
        let bar = spinner("measuring");
        let done = |line: &Line| bar.set_message(format!("{}: {:.4}", line.method, line.float));
        let report = measure(name, trial.as_ref(), &options, done).map_err(failed)?;
        bar.finish_and_clear();
        context.out.print(&as_json(&report), |paint| as_text(&report, paint))
    }

    fn table(&self) -> anyhow::Result<Table> {
        let text = read_text(&self.data)?;
        let table = Table::from_csv(&text, self.divide, self.label.as_deref());
        Ok(table.map_err(|error| Failure::new("table", format!("{}: {error}", self.data.display())))?)
    }

    /// All texts of the folder, or the one file.
    fn text(&self) -> anyhow::Result<String> {
        let folder = self.data.display();
        if !self.data.is_dir() {
            return read_text(&self.data);
        }
        let entries = std::fs::read_dir(&self.data).with_context(|| format!("{folder} cannot be read"))?;
        let mut paths = Vec::new();
        for entry in entries {
            paths.push(entry.with_context(|| format!("{folder} cannot be read"))?.path());
            if paths.len() > MAX_TEXT_FILES {
                let message = format!("{folder} has more than {MAX_TEXT_FILES} files");
                return Err(Failure::new("too_large", message).into());
            }
        }
        paths.retain(|path| path.is_file());
        paths.sort();
        let texts: Vec<String> = paths.iter().map(|path| read_text(path)).collect::<anyhow::Result<_>>()?;
        Ok(texts.join("\n"))
    }

    fn options(&self) -> Options {
        let suite = match (self.suite, self.model) {
            (Suite::LoraLm, LanguageModel::Characters) => CharacterTrial::options(),
            (Suite::LoraLm, LanguageModel::Transformer) => TransformerTrial::options(),
            _ => Options::default(),
        };
        Options {
            subsets: self.subsets as usize,
            seeds: self.seeds.map_or(suite.seeds, |seeds| seeds as usize),
            checkpoints: self.checkpoints as usize,
            seed: self.seed,
            ..suite
        }
    }

    fn experiment(&self, model: Model, options: &Options) -> anyhow::Result<Experiment> {
        let table = self.table()?;
        let unreadable = |folder: &Path| format!("the experiment in {}", folder.display());
        if let Some(folder) = self.keep.as_deref().filter(|folder| folder.join("truth.npy").exists()) {
            return Experiment::read(folder).with_context(|| unreadable(folder));
        }
        let bar = training(options);
        let experiment = Experiment::new(model, &table, options, |done, _| bar.set_position(done as u64));
        bar.finish_and_clear();
        let experiment = experiment.map_err(|error| Failure::new("bench", error.to_string()))?;
        if let Some(folder) = &self.keep {
            experiment.write(folder).with_context(|| unreadable(folder))?;
        }
        Ok(experiment)
    }

    fn adapters(&self, options: &Options) -> anyhow::Result<Box<dyn Trial>> {
        let text = self.text()?;
        let bar = training(options);
        let progress = |done, _| bar.set_position(done as u64);
        let trial: Result<Box<dyn Trial>, BenchError> = match self.model {
            LanguageModel::Characters => CharacterTrial::new(&text, options, self.keep.as_deref(), progress)
                .map(|trial| -> Box<dyn Trial> { Box::new(trial) }),
            LanguageModel::Transformer => TransformerTrial::new(&text, options, self.keep.as_deref(), progress)
                .map(|trial| -> Box<dyn Trial> { Box::new(trial) }),
        };
        bar.finish_and_clear();
        Ok(trial.map_err(|error| Failure::new("bench", error.to_string()))?)
    }

    fn compare(&self, trial: &dyn Trial, options: &Options, context: &Context) -> anyhow::Result<()> {
        let Some(folder) = &self.keep else { return Ok(()) };
        let halves = trial.halves();
        let mut found = Vec::new();
        for name in &self.scores {
            let scores = read_scores(folder, name, trial.sizes()).with_context(|| format!("the scores {name}"))?;
            found.push((name, lds(&halves.subsets, &scores, &halves.truth, options.replicates, options.seed)));
        }
        let as_json =
            |(name, lds): &(&String, Lds)| json!({ "name": name, "lds": lds.mean, "low": lds.low, "high": lds.high });
        let all: Vec<Value> = found.iter().map(as_json).collect();
        context.out.print(&json!({ "scores": all }), |paint| {
            let row = |(name, lds): &(&String, Lds)| {
                vec![(*name).clone(), format!("{:.4}", lds.mean), format!("{:.3} to {:.3}", lds.low, lds.high)]
            };
            paint.table(&["scores", "LDS", "95 %"], &found.iter().map(row).collect::<Vec<_>>())
        })
    }
}

fn read_text(path: &Path) -> anyhow::Result<String> {
    let name = path.display();
    let size = std::fs::metadata(path).with_context(|| format!("{name} cannot be read"))?.len();
    if size > MAX_TABLE_BYTES {
        let message = format!("{name} has {size} bytes; a table or text has at most {MAX_TABLE_BYTES}");
        return Err(Failure::new("too_large", message).into());
    }
    std::fs::read_to_string(path).with_context(|| format!("{name} cannot be read"))
}

/// Shows how many halves have been trained on.
fn training(options: &Options) -> ProgressBar {
    let bar = ProgressBar::new(options.subsets as u64);
    if let Ok(style) = ProgressStyle::with_template("{spinner} training {bar:30} {pos}/{len} {eta}") {
        bar.set_style(style);
    }
    bar
}

fn spinner(what: &'static str) -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    bar.set_message(what);
    bar.enable_steady_tick(std::time::Duration::from_millis(200));
    bar
}

fn as_json(report: &Report) -> Value {
    let line = |line: &Line| {
        json!({
            "method": line.method,
            "dimension": line.dimension,
            "score": line.float,
            "low": line.interval.map(|interval| interval.0),
            "high": line.interval.map(|interval| interval.1),
            "score_int8": line.integer,
            "seconds": line.float_seconds,
            "seconds_int8": line.integer_seconds,
            "bytes_per_row": line.bytes_per_row,
        })
    };
    json!({
        "suite": report.suite,
        "measure": report.measure,
        "facts": report.facts,
        "lines": report.lines.iter().map(line).collect::<Vec<_>>(),
    })
}

fn as_text(report: &Report, paint: Paint) -> String {
    let mut text = format!("{}\n", paint.bold(&report.suite));
    for fact in &report.facts {
        text += &format!("{fact}\n");
    }
    let row = |line: &Line| {
        vec![
            line.method.clone(),
            line.dimension.to_string(),
            format!("{:.4}", line.float),
            line.interval.map(|(low, high)| format!("{low:.3} to {high:.3}")).unwrap_or_default(),
            line.integer.map(|score| format!("{score:.4}")).unwrap_or_default(),
            format!("{:.2}", line.float_seconds),
            format!("{:.2}", line.integer_seconds),
            line.bytes_per_row.to_string(),
        ]
    };
    let rows: Vec<Vec<String>> = report.lines.iter().map(row).collect();
    text += "\n";
    text + &paint.table(&["method", "k", report.measure, "95 %", "int8", "s", "int8 s", "bytes a row"], &rows)
}
