//! An experiment: data, halves of it, the models trained on all of it, and the truth from those trained on halves.

use super::draw::Draw;
use super::network::Network;
use super::table::Table;
use super::train::train;
use super::{BenchError, Model};

/// How large an experiment is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Rows to train with.
    pub train: usize,
    /// Rows to test with.
    pub test: usize,
    /// Halves of the training data.
    pub subsets: usize,
    /// Models trained on each half, where training depends on a seed: the truth is their mean.
    pub seeds: usize,
    /// Models trained on all of the data, where training depends on a seed: their influences are averaged.
    pub checkpoints: usize,
    /// Replicates of the bootstrap.
    pub replicates: usize,
    /// Where all random choices come from.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { train: 1_000, test: 200, subsets: 100, seeds: 6, checkpoints: 1, replicates: 200, seed: 0 }
    }
}

/// Everything that methods are measured by.
#[derive(Clone, Debug, PartialEq)]
pub struct Experiment {
    /// What was trained.
    pub model: Model,
    /// The rows to train with.
    pub train: Table,
    /// The rows to test with.
    pub test: Table,
    /// Models trained on all rows.
    pub networks: Vec<Network>,
    /// Halves of the rows, each ascending.
    pub subsets: Vec<Vec<usize>>,
    /// The log-likelihood of each test by the models of each half, half by half.
    pub truth: Vec<f64>,
    /// The rank correlation between truths of different seeds: no method can be expected above its root. None where there
    /// is one seed.
    pub agreement: Option<f64>,
}

impl Experiment {
    /// Splits a table, trains on all and on halves. `progress` is told after each half.
    pub fn new(
        model: Model,
        table: &Table,
        options: &Options,
        mut progress: impl FnMut(usize, usize),
    ) -> Result<Self, BenchError> {
        let (train_table, test_table) = split(table, options)?;
        let depends_on_seed = model == Model::Perceptron;
        let count = |wanted: usize| if depends_on_seed { wanted } else { 1 };
        for (what, got) in [
            ("the number of halves", options.subsets),
            ("the number of seeds", options.seeds),
            ("the number of checkpoints", options.checkpoints),
        ] {
            if got == 0 {
                return Err(BenchError::Option { what, got, least: 1 });
            }
        }
        let networks: Vec<Network> = (0..count(options.checkpoints))
            .map(|number| train(model, &train_table, model_seed(options.seed, number), None))
            .collect::<Result<_, _>>()?;
        let mut draw = Draw::new(options.seed, 2);
        let subsets: Vec<Vec<usize>> =
            (0..options.subsets).map(|_| draw.subset(train_table.len(), train_table.len() / 2)).collect();
        let mut by_seed: Vec<Vec<f64>> = vec![Vec::new(); count(options.seeds)];
        for (number, subset) in subsets.iter().enumerate() {
            let rows = options.train;
            let half = train_table.select(subset).ok_or(BenchError::Rows { got: rows, train: 2, test: 1 })?;
            for (seed, truth) in by_seed.iter_mut().enumerate() {
                let start = (!depends_on_seed).then_some(&networks[0]);
                let seed = model_seed(options.seed, 1_000 + number * options.seeds + seed);
                truth.extend(train(model, &half, seed, start)?.log_likelihoods(&test_table));
            }
            progress(number + 1, options.subsets);
        }
        let (truth, agreement) = averaged(&by_seed, subsets.len());
        Ok(Self { model, train: train_table, test: test_table, networks, subsets, truth, agreement })
    }
}

fn model_seed(seed: u64, number: usize) -> u64 {
    seed.wrapping_mul(1_000_003).wrapping_add(number as u64)
}

/// The rows to train and to test with, drawn from a table.
pub(super) fn split(table: &Table, options: &Options) -> Result<(Table, Table), BenchError> {
    let Options { train, test, .. } = *options;
    let error = BenchError::Rows { got: table.len(), train, test };
    if train < 2 || test == 0 || train.checked_add(test).is_none_or(|sum| sum > table.len()) {
        return Err(error);
    }
    let mut order: Vec<usize> = (0..table.len()).collect();
    Draw::new(options.seed, 1).shuffle(&mut order);
    match (table.select(&order[..train]), table.select(&order[train..train + test])) {
        (Some(train), Some(test)) => Ok((train, test)),
        _ => Err(error),
    }
}

/// The mean over seeds, and how well the first half of them agrees with the second.
fn averaged(by_seed: &[Vec<f64>], subsets: usize) -> (Vec<f64>, Option<f64>) {
    let mean = |parts: &[Vec<f64>]| -> Vec<f64> {
        let length = parts.first().map_or(0, Vec::len);
        (0..length).map(|at| parts.iter().map(|part| part[at]).sum::<f64>() / parts.len() as f64).collect()
    };
    let agreement = (by_seed.len() > 1).then(|| {
        let (first, second) = by_seed.split_at(by_seed.len() / 2);
        let (first, second) = (mean(first), mean(second));
        let tests = first.len() / subsets;
        let column = |all: &[f64], test: usize| all.iter().skip(test).step_by(tests).copied().collect::<Vec<_>>();
        (0..tests).map(|test| super::lds::spearman(&column(&first, test), &column(&second, test))).sum::<f64>()
            / tests as f64
    });
    (mean(by_seed), agreement)
}
