//! The suite `lora-lm` on a byte-level transformer: LoRA beside query and value matrices, as served models have it.

use super::files::{keep, kept};
use super::halves::{Halves, model_seed};
use super::language::DRAWS;
use super::measure::{Trial, Way, ways_of_adapters};
use super::problem::Problem;
use super::text::Text;
use super::{BenchError, Options};
use crate::influence::gradients::Gradients;
use crate::influence::methods::Regulariser;
use crate::model::{
    self, Config, Example, Labels, LoraConfig, Model, Parameters, Schedule, Scope, Targets, TrainOptions, Trainer,
};
use std::path::Path;
use std::sync::atomic::AtomicBool;

/// How large a model is, and how long it is trained.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recipe {
    pub(super) config: Config,
    /// Bytes of a document; all but the first are predicted.
    pub(super) bytes: usize,
    pub(super) base_steps: usize,
    pub(super) epochs: usize,
}

/// The suite's: half a million weights.
const RECIPE: Recipe = Recipe {
    config: Config {
        vocabulary: 257,
        width: 96,
        hidden: 288,
        blocks: 4,
        heads: 4,
        kv_heads: 4,
        context: 64,
        rope_base: 10_000.0,
        norm_epsilon: 1e-5,
        tied_embeddings: true,
    },
    bytes: 65,
    base_steps: 500,
    epochs: 4,
};
/// Documents whose gradient makes one step of an adapter.
const BATCH: usize = 10;
/// Pieces of text whose gradient makes one step of the base.
const BASE_BATCH: usize = 16;
const RANK: usize = 4;
/// The seed of fresh adapters: truths differ in the data and its order alone.
const ADAPTER_SEED: u64 = 0;

/// A base model, the same with adapters, and the truth of halves.
pub struct TransformerTrial {
    recipe: Recipe,
    base: Model,
    adapted: Vec<Model>,
    train: Vec<Example>,
    test: Vec<Example>,
    halves: Halves,
    seed: u64,
}

impl TransformerTrial {
    /// The suite's sizes: documents to train with and to test with.
    pub fn options() -> Options {
        Options { train: 200, test: 50, seeds: 2, ..Options::default() }
    }

    /// Makes a base of a text's first half, and trains adapters on documents of the second and on halves of these.
    /// `progress` is told after each half. The halves and their truth are taken from a folder that has them, and written
    /// there otherwise, with documents and gradients as [`super::CharacterTrial::new`] writes them.
    pub fn new(
        text: &str,
        options: &Options,
        folder: Option<&Path>,
        progress: impl FnMut(usize, usize),
    ) -> Result<Self, BenchError> {
        Self::with(RECIPE, &Text::of_bytes(text)?, options, folder, progress)
    }

    pub(super) fn with(
        recipe: Recipe,
        text: &Text,
        options: &Options,
        folder: Option<&Path>,
        progress: impl FnMut(usize, usize),
    ) -> Result<Self, BenchError> {
        options.check()?;
        let documents = text.documents(recipe.bytes, options)?;
        let (train, test) = (examples(&documents.train), examples(&documents.test));
        let base = pretrained(&recipe, text, options.seed)?;
        let adapter = |number| adapted(&recipe, &base, train.clone(), model_seed(options.seed, number));
        let models = (0..options.checkpoints).map(adapter).collect::<Result<Vec<_>, _>>()?;
        let found = folder.map(|folder| kept(folder, &documents)).transpose()?.flatten();
        let is_new = found.is_none();
        let halves = match found {
            Some(halves) => halves,
            None => {
                let retrain = |subset: &[usize], seed| {
                    let half = subset.iter().map(|document| train[*document].clone()).collect();
                    Ok(adapted(&recipe, &base, half, seed)?.log_likelihoods(&test)?)
                };
                Halves::new(train.len(), options.seeds, options, retrain, progress)?
            }
        };
        let trial = Self { recipe, base, adapted: models, train, test, halves, seed: options.seed };
        if let Some(folder) = folder.filter(|_| is_new) {
            keep(folder, &documents, &trial.halves, &trial.problem(0)?)?;
        }
        Ok(trial)
    }

    /// Nats a byte of the tests.
    fn loss(&self, model: &Model) -> Result<f64, BenchError> {
        let likelihood: f64 = model.log_likelihoods(&self.test)?.iter().sum();
        Ok(-likelihood / (self.test.len() * (self.recipe.bytes - 1)) as f64)
    }
}

/// Documents as the model takes them.
fn examples(documents: &[Vec<usize>]) -> Vec<Example> {
    documents.iter().map(|document| Example::text(tokens(document))).collect()
}

fn tokens(bytes: &[usize]) -> Vec<u32> {
    bytes.iter().filter_map(|byte| u32::try_from(*byte).ok()).collect()
}

fn pretrained(recipe: &Recipe, text: &Text, seed: u64) -> Result<Model, BenchError> {
    let schedule = Schedule { peak: 3e-3, warm_up: recipe.base_steps / 20, last: 0.1 };
    let options =
        TrainOptions { steps: recipe.base_steps, batch: BASE_BATCH, schedule, seed, ..TrainOptions::default() };
    let pieces = Example::windows(&tokens(text.base()), recipe.bytes);
    run(Trainer::new(&Model::random(recipe.config, seed)?, pieces, options)?)
}

/// The base with an adapter trained on documents; the seed decides their order.
fn adapted(recipe: &Recipe, base: &Model, documents: Vec<Example>, seed: u64) -> Result<Model, BenchError> {
    let mut model = base.clone();
    let targets = Targets::Names(vec!["q_proj".to_owned(), "v_proj".to_owned()]);
    model.attach(&LoraConfig { rank: RANK, alpha: 2.0 * RANK as f64, targets }, ADAPTER_SEED)?;
    let options = TrainOptions {
        parameters: Parameters::Adapter,
        steps: recipe.epochs * (documents.len() / BATCH).max(1),
        batch: BATCH,
        schedule: Schedule { peak: 5e-3, warm_up: 2, last: 0.0 },
        weight_decay: 0.0,
        clip: 1.0,
        seed,
    };
    run(Trainer::new(&model, documents, options)?)
}

fn run(mut trainer: Trainer) -> Result<Model, BenchError> {
    trainer.run(&AtomicBool::new(false), &mut |_| ())?;
    Ok(trainer.into_model()?)
}

impl Trial for TransformerTrial {
    fn halves(&self) -> &Halves {
        &self.halves
    }

    fn sizes(&self) -> [usize; 2] {
        [self.train.len(), self.test.len()]
    }

    fn checkpoints(&self) -> usize {
        self.adapted.len()
    }

    fn problem(&self, checkpoint: usize) -> Result<Problem, BenchError> {
        let gradients = model::Gradients::new(&self.adapted[checkpoint], Scope::Adapter)?;
        let rows = |examples: &[Example], labels| gradients.rows(examples, labels);
        let together = |rows: Vec<Vec<f32>>| Gradients::new(gradients.layout().parameters(), rows.concat());
        let mut fisher = Vec::new();
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&model_seed(self.seed, 100 + checkpoint).to_le_bytes());
        for draw in 0..DRAWS {
            fisher.extend(rows(&self.train, Labels::sampled(seed, (draw * self.train.len()) as u64))?);
        }
        Ok(Problem {
            rows: together(rows(&self.train, Labels::Given)?)?,
            queries: together(rows(&self.test, Labels::Given)?)?,
            fisher: together(fisher)?,
            factors: gradients.factors(&self.train, Labels::Given)?,
            regulariser: Regulariser::MeanEigenvalue(1.0),
        })
    }

    fn ways(&self, problem: &Problem) -> Vec<Way> {
        ways_of_adapters(problem)
    }

    fn facts(&self) -> Result<Vec<String>, BenchError> {
        let (before, after) = (self.loss(&self.base)?, self.loss(&self.adapted[0])?);
        let [train, test] = self.sizes();
        let parameters = model::Gradients::new(&self.adapted[0], Scope::Adapter)?.layout().parameters();
        Ok(vec![
            format!(
                "a byte-level transformer of {} weights, with an adapter of rank {RANK} and {parameters} parameters",
                self.recipe.config.weights()
            ),
            format!(
                "{train} documents of {} predicted bytes to train and {test} to test, {} epochs in batches of {BATCH}: \
                 {before:.3} nats a byte of the tests before, {after:.3} after",
                self.recipe.bytes - 1,
                self.recipe.epochs
            ),
            format!("Fisher rows: labels drawn from the model, {DRAWS} times each document"),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::super::measure::measure;
    use super::*;

    #[test]
    fn a_tiny_transformer_is_measured() {
        let config = Config { width: 16, hidden: 24, blocks: 1, heads: 2, kv_heads: 1, context: 16, ..RECIPE.config };
        let recipe = Recipe { config, bytes: 9, base_steps: 4, epochs: 1 };
        let text = Text::of_bytes(&"The river of stone carries the water of the river. ".repeat(10)).unwrap();
        let options = Options { train: 20, test: 3, subsets: 4, seeds: 1, checkpoints: 1, replicates: 5, seed: 1 };
        let trial = TransformerTrial::with(recipe, &text, &options, None, |_, _| ()).unwrap();
        assert_eq!((trial.halves().truth.len(), trial.halves().agreement), (12, None));
        let problem = trial.problem(0).unwrap();
        // A and B of q, 16 to 16, and of v, 16 to 8, with a rank of 4.
        assert_eq!(problem.layout().parameters(), 4 * (16 + 16) + 4 * (16 + 8));
        assert_eq!((problem.rows.len(), problem.queries.len(), problem.fisher.len()), (20, 3, 80));
        let report = measure("lora-lm", &trial, &options, |_| ()).unwrap();
        assert!(report.lines.iter().all(|line| line.float.abs() <= 1.0), "{report}");
    }

    #[test]
    fn the_suite_has_half_a_million_weights() {
        assert!(RECIPE.config.checked().is_ok_and(|config| config.weights() >= 500_000));
        assert_eq!(RECIPE.bytes, RECIPE.config.context + 1);
    }
}
