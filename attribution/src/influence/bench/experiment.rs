//! An experiment: data, halves of it, the models trained on all of it, and the truth from those trained on halves.

use super::draw::Draw;
use super::halves::{Halves, model_seed};
use super::measure::{Trial, Way, ways_of_networks};
use super::network::{Labels, Network};
use super::problem::Problem;
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

impl Options {
    /// There must be one of each thing that is averaged over.
    pub(super) fn check(&self) -> Result<(), BenchError> {
        for (what, got) in [
            ("the number of halves", self.subsets),
            ("the number of seeds", self.seeds),
            ("the number of checkpoints", self.checkpoints),
        ] {
            if got == 0 {
                return Err(BenchError::Option { what, got, least: 1 });
            }
        }
        Ok(())
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
    /// Halves of the rows, and the truth of them.
    pub halves: Halves,
}

impl Experiment {
    /// Splits a table, trains on all and on halves. `progress` is told after each half.
    pub fn new(
        model: Model,
        table: &Table,
        options: &Options,
        progress: impl FnMut(usize, usize),
    ) -> Result<Self, BenchError> {
        let (train_table, test_table) = split(table, options)?;
        options.check()?;
        let depends_on_seed = model == Model::Perceptron;
        let count = |wanted: usize| if depends_on_seed { wanted } else { 1 };
        let networks: Vec<Network> = (0..count(options.checkpoints))
            .map(|number| train(model, &train_table, model_seed(options.seed, number), None))
            .collect::<Result<_, _>>()?;
        let retrain = |subset: &[usize], seed: u64| {
            let half = train_table.select(subset);
            let half = half.ok_or(BenchError::Rows { got: options.train, train: 2, test: 1 })?;
            let start = (!depends_on_seed).then_some(&networks[0]);
            Ok(train(model, &half, seed, start)?.log_likelihoods(&test_table))
        };
        let halves = Halves::new(train_table.len(), count(options.seeds), options, retrain, progress)?;
        Ok(Self { model, train: train_table, test: test_table, networks, halves })
    }
}

impl Trial for Experiment {
    fn halves(&self) -> &Halves {
        &self.halves
    }

    fn sizes(&self) -> [usize; 2] {
        [self.train.len(), self.test.len()]
    }

    fn checkpoints(&self) -> usize {
        self.networks.len()
    }

    fn problem(&self, checkpoint: usize) -> Result<Problem, BenchError> {
        Problem::of_network(self.model, &self.networks[checkpoint], &self.train, &self.test)
    }

    fn ways(&self, problem: &Problem) -> Vec<Way> {
        let dimensions: &[u32] = match self.model {
            Model::Logistic => &[64, 128, 256, 512],
            Model::Perceptron => &[512, 1_024],
        };
        ways_of_networks(problem.layout(), dimensions)
    }

    fn facts(&self) -> Result<Vec<String>, BenchError> {
        let network = &self.networks[0];
        Ok(vec![format!(
            "{} parameters, {} rows to train and {} to test, test accuracy {:.3}",
            network.parameters().len(),
            self.train.len(),
            self.test.len(),
            network.accuracy(&self.test)
        )])
    }
}

impl Problem {
    /// What methods see of a network: its Gauss-Newton rows are of every label, and so exact.
    pub(super) fn of_network(model: Model, network: &Network, train: &Table, test: &Table) -> Result<Self, BenchError> {
        Ok(Self {
            rows: network.gradients(train, Labels::Data)?,
            queries: network.gradients(test, Labels::Data)?,
            fisher: network.gradients(train, Labels::All)?,
            factors: network.factors(train, Labels::Data)?,
            regulariser: model.regulariser(train.len()),
        })
    }
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
