//! The suite `lora-lm` on the model of characters: adapters trained on documents and on halves of them.

use super::characters::{Adapter, BATCH, Base, EPOCHS, Shape, Windows};
use super::files::{keep, kept, put};
use super::halves::{Halves, model_seed};
use super::measure::{Trial, Way, ways_of_adapters};
use super::problem::Problem;
use super::text::{Documents, Text};
use super::{BenchError, Options};
use crate::influence::gradients::Gradients;
use crate::influence::methods::Regulariser;
use std::path::Path;

/// Labels drawn for each position: so many Fisher rows has each document.
pub(super) const DRAWS: usize = 4;
/// Positions of a document that are predicted.
const PREDICTED: usize = 64;
/// Steps in which the base model is made.
const BASE_STEPS: usize = 1_500;

/// A base model, its adapters, and the truth of halves.
pub struct CharacterTrial {
    base: Base,
    documents: Documents,
    train: Windows,
    test: Windows,
    adapters: Vec<Adapter>,
    halves: Halves,
    seed: u64,
}

/// How large a model is, and how long its base is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Recipe {
    pub(super) shape: Shape,
    pub(super) predicted: usize,
    pub(super) base_steps: usize,
}

impl CharacterTrial {
    /// The suite's sizes: documents to train with and to test with.
    pub fn options() -> Options {
        Options { train: 300, test: 60, ..Options::default() }
    }

    /// Makes a base of a text's first half, and trains adapters on documents of the second and on halves of these.
    /// `progress` is told after each half. The halves and their truth are taken from a folder that has them, and written
    /// there otherwise, with what other programs need; see [`super::Experiment::write`] for the files that all suites have.
    /// Besides:
    ///
    /// | file | shape | what |
    /// | --- | --- | --- |
    /// | `train_x`, `test_x` | documents × symbols, i64 | numbers of symbols |
    /// | `shape` | 5, i64 | vocabulary, context, width of embeddings, hidden units, rank |
    /// | `base` | weights, f64 | embeddings; weights and biases of each layer, inputs × outputs |
    /// | `parameters` | checkpoints × parameters, f64 | A and B of each layer, inputs × outputs |
    /// | `fisher_gradients` | rows × parameters, f32 | at drawn labels, first checkpoint |
    pub fn new(
        text: &str,
        options: &Options,
        folder: Option<&Path>,
        progress: impl FnMut(usize, usize),
    ) -> Result<Self, BenchError> {
        let text = Text::of_characters(text)?;
        let shape = Shape::of_suite(text.vocabulary());
        Self::with(Recipe { shape, predicted: PREDICTED, base_steps: BASE_STEPS }, &text, options, folder, progress)
    }

    pub(super) fn with(
        recipe: Recipe,
        text: &Text,
        options: &Options,
        folder: Option<&Path>,
        progress: impl FnMut(usize, usize),
    ) -> Result<Self, BenchError> {
        options.check()?;
        let documents = text.documents(recipe.shape.context + recipe.predicted, options)?;
        let base = Base::pretrained(recipe.shape, text.base(), recipe.base_steps, options.seed);
        let (train, test) = (base.windows(&documents.train), base.windows(&documents.test));
        let all: Vec<usize> = (0..train.documents()).collect();
        let adapter = |number| base.adapt(&train, &all, model_seed(options.seed, number));
        let adapters = (0..options.checkpoints).map(adapter).collect();
        let found = folder.map(|folder| kept(folder, &documents)).transpose()?.flatten();
        let is_new = found.is_none();
        let halves = match found {
            Some(halves) => halves,
            None => {
                let retrain =
                    |subset: &[usize], seed| Ok(base.log_likelihoods(&base.adapt(&train, subset, seed), &test));
                Halves::new(all.len(), options.seeds, options, retrain, progress)?
            }
        };
        let trial = Self { base, documents, train, test, adapters, halves, seed: options.seed };
        if let Some(folder) = folder.filter(|_| is_new) {
            trial.write(folder)?;
        }
        Ok(trial)
    }

    fn write(&self, folder: &Path) -> Result<(), BenchError> {
        keep(folder, &self.documents, &self.halves, &self.problem(0)?)?;
        let Shape { vocabulary, context, embedding, hidden, rank } = *self.base.shape();
        let shape = [vocabulary, context, embedding, hidden, rank];
        put(folder, "shape", &[shape.len()], shape.into_iter().map(|size| size as i64))?;
        let weights = self.base.weights();
        put(folder, "base", &[weights.len()], weights.iter().copied())?;
        let parameters = self.adapters.iter().flat_map(|adapter| adapter.parameters.iter().copied());
        put(folder, "parameters", &[self.adapters.len(), self.base.shape().adapter_parameters()], parameters)
    }

    /// Nats a character of the tests, with an adapter.
    fn loss(&self, adapter: &Adapter) -> f64 {
        let likelihood: f64 = self.base.log_likelihoods(adapter, &self.test).iter().sum();
        -likelihood / self.test.positions() as f64
    }
}

impl Trial for CharacterTrial {
    fn halves(&self) -> &Halves {
        &self.halves
    }

    fn sizes(&self) -> [usize; 2] {
        [self.train.documents(), self.test.documents()]
    }

    fn checkpoints(&self) -> usize {
        self.adapters.len()
    }

    fn problem(&self, checkpoint: usize) -> Result<Problem, BenchError> {
        let adapter = &self.adapters[checkpoint];
        let mut fisher = Vec::new();
        for draw in 0..DRAWS {
            let seed = model_seed(self.seed, 100 + checkpoint * DRAWS + draw);
            fisher.extend_from_slice(self.base.factors(adapter, &self.train, Some(seed))?.gradients()?.values());
        }
        let factors = self.base.factors(adapter, &self.train, None)?;
        Ok(Problem {
            rows: factors.gradients()?,
            queries: self.base.factors(adapter, &self.test, None)?.gradients()?,
            fisher: Gradients::new(self.base.shape().adapter_parameters(), fisher)?,
            factors,
            regulariser: Regulariser::MeanEigenvalue(1.0),
        })
    }

    fn ways(&self, problem: &Problem) -> Vec<Way> {
        ways_of_adapters(problem)
    }

    fn facts(&self) -> Result<Vec<String>, BenchError> {
        let shape = self.base.shape();
        let (before, after) = (self.loss(&Adapter::fresh(shape)), self.loss(&self.adapters[0]));
        let [train, test] = self.sizes();
        Ok(vec![
            format!(
                "a model of {} characters, {} weights, with an adapter of rank {} and {} parameters",
                shape.vocabulary,
                self.base.weights().len(),
                shape.rank,
                shape.adapter_parameters()
            ),
            format!(
                "{train} documents of {} predicted characters to train and {test} to test, {EPOCHS} epochs in batches of \
                 {BATCH}: {before:.3} nats a character of the tests before, {after:.3} after",
                self.test.positions() / test
            ),
            format!("Fisher rows: labels drawn from the model, {DRAWS} times each document"),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::super::measure::measure;
    use super::*;

    fn recipe(text: &Text) -> Recipe {
        let shape = Shape { vocabulary: text.vocabulary(), context: 4, embedding: 4, hidden: 12, rank: 2 };
        Recipe { shape, predicted: 8, base_steps: 20 }
    }

    fn options() -> Options {
        Options { train: 12, test: 3, subsets: 6, seeds: 2, checkpoints: 2, replicates: 10, seed: 3 }
    }

    /// Some words over and over, in an order that does not repeat.
    fn text() -> Text {
        let words = ["river", "stone", "of", "the", "carries", "water"];
        let text: Vec<&str> = (0..160_usize).map(|at| words[at * at % 7 % words.len()]).collect();
        Text::of_characters(&text.join(" ")).unwrap()
    }

    #[test]
    fn a_tiny_experiment_runs_to_its_end_twice_alike() {
        let text = text();
        let run = |folder: Option<&Path>| {
            let trial = CharacterTrial::with(recipe(&text), &text, &options(), folder, |_, _| ()).unwrap();
            assert_eq!((trial.checkpoints(), trial.sizes()), (2, [12, 3]));
            let report = measure("lora-lm", &trial, &options(), |_| ()).unwrap();
            (trial.halves, report)
        };
        let ((halves, first), (_, second)) = (run(None), run(None));
        assert_eq!((halves.subsets.len(), halves.truth.len()), (6, 18));
        let scores = |report: &super::super::Report| {
            report.lines.iter().map(|line| (line.method.clone(), line.float, line.integer)).collect::<Vec<_>>()
        };
        assert_eq!(scores(&first), scores(&second));
        assert!(first.lines.len() >= 5 && first.lines.iter().all(|line| line.float.abs() <= 1.0), "{first}");

        // Kept halves are read back, and those of other documents are refused.
        let folder = tempfile::tempdir().unwrap();
        let (written, _) = run(Some(folder.path()));
        assert_eq!(written, halves);
        let (read, third) = run(Some(folder.path()));
        assert_eq!(read, Halves { agreement: None, ..halves });
        assert_eq!(scores(&third), scores(&first));
        let other = Options { seed: 4, ..options() };
        let refused = CharacterTrial::with(recipe(&text), &text, &other, Some(folder.path()), |_, _| ()).err().unwrap();
        assert!(matches!(refused, BenchError::Files(super::super::FilesError::Others { .. })), "{refused}");
    }
}
