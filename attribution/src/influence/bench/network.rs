//! The small networks that suites train: linear layers with rectified units between them, in double precision.

use super::table::Table;
use crate::influence::gradients::{Factors, GradientError, Gradients, LayerFactors};
use crate::influence::layout::{Block, Layout, LayoutError};
use crate::influence::linear::product;
use faer::{Mat, MatRef};

/// Weights in the order of a [`Layout`]: layer by layer a matrix of inputs and one more for the bias, by outputs.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    widths: Vec<usize>,
    parameters: Vec<f64>,
}

/// At which labels gradients are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Labels {
    /// Those of the table.
    Data,
    /// Every label of each row, row by row; the gradient times the root of the label's probability. Their second moment is
    /// the expectation over the model's own distribution.
    All,
}

/// What goes through the layers: the inputs of each, with a 1 for the bias, and the logits.
struct Pass {
    inputs: Vec<Mat<f64>>,
    logits: Mat<f64>,
}

impl Network {
    /// A network of these widths, all weights 0.
    pub fn new(widths: &[usize]) -> Self {
        let parameters = widths.windows(2).map(|pair| (pair[0] + 1) * pair[1]).sum();
        Self { widths: widths.to_vec(), parameters: vec![0.0; parameters] }
    }

    /// The features, the units of each layer between, the classes.
    pub fn widths(&self) -> &[usize] {
        &self.widths
    }

    /// All weights.
    pub fn parameters(&self) -> &[f64] {
        &self.parameters
    }

    /// All weights, to be changed.
    pub fn parameters_mut(&mut self) -> &mut [f64] {
        &mut self.parameters
    }

    /// The layout of its gradients.
    pub fn layout(&self) -> Result<Layout, LayoutError> {
        let block = |(number, pair): (usize, &[usize])| Block {
            name: format!("layer {number}"),
            inputs: u32::try_from(pair[0] + 1).unwrap_or(u32::MAX),
            outputs: u32::try_from(pair[1]).unwrap_or(u32::MAX),
        };
        Layout::new(self.widths.windows(2).enumerate().map(block).collect())
    }

    /// The log-likelihood of each row's label.
    pub fn log_likelihoods(&self, table: &Table) -> Vec<f64> {
        let log_probabilities = self.log_probabilities(table);
        table.labels().iter().enumerate().map(|(row, label)| log_probabilities[(row, *label)]).collect()
    }

    /// The part of rows whose most likely label is theirs.
    pub fn accuracy(&self, table: &Table) -> f64 {
        let log_probabilities = self.log_probabilities(table);
        let best = |row: usize| {
            let likelihood = |label: &usize| log_probabilities[(row, *label)];
            (0..log_probabilities.ncols()).max_by(|a, b| likelihood(a).total_cmp(&likelihood(b)))
        };
        let right = table.labels().iter().enumerate().filter(|(row, label)| best(*row) == Some(**label)).count();
        right as f64 / table.len() as f64
    }

    /// The log-probability of each label, a row for each row.
    pub(super) fn log_probabilities(&self, table: &Table) -> Mat<f64> {
        log_softmax(self.pass(features(table)).logits)
    }

    /// What gradients of the log-likelihood are made of.
    pub fn factors(&self, table: &Table, labels: Labels) -> Result<Factors, FactorsError> {
        let pass = self.pass(features(table));
        let log_probabilities = log_softmax(pass.logits.clone());
        let classes = log_probabilities.ncols();
        let targets: Vec<(usize, usize, f64)> = match labels {
            Labels::Data => table.labels().iter().enumerate().map(|(row, label)| (row, *label, 1.0)).collect(),
            Labels::All => (0..table.len())
                .flat_map(|row| (0..classes).map(move |label| (row, label)))
                .map(|(row, label)| (row, label, (log_probabilities[(row, label)] / 2.0).exp()))
                .collect(),
        };
        let deltas = Mat::from_fn(targets.len(), classes, |at, class| {
            let (row, label, weight) = targets[at];
            weight * (f64::from(u8::from(class == label)) - log_probabilities[(row, class)].exp())
        });
        let rows: Vec<usize> = targets.iter().map(|(row, ..)| *row).collect();
        let deltas = self.backward(&pass, &rows, deltas);
        let single = |matrix: &Mat<f64>, row: usize| {
            #[expect(clippy::cast_possible_truncation, reason = "rows are single precision")]
            (0..matrix.ncols()).map(|at| matrix[(row, at)] as f32).collect::<Vec<f32>>()
        };
        let layers = pass.inputs.iter().zip(&deltas).map(|(inputs, deltas)| LayerFactors {
            inputs: rows.iter().flat_map(|row| single(inputs, *row)).collect(),
            deltas: (0..deltas.nrows()).flat_map(|row| single(deltas, row)).collect(),
        });
        let ends = (1..=rows.len()).collect();
        Ok(Factors::new(self.layout()?, layers.collect(), ends)?)
    }

    /// Gradients of the log-likelihood, one for each target.
    pub fn gradients(&self, table: &Table, labels: Labels) -> Result<Gradients, FactorsError> {
        Ok(self.factors(table, labels)?.gradients()?)
    }

    /// The gradient of the mean cross entropy of rows, in the order of the weights.
    pub(super) fn loss_gradient(&self, table: &Table) -> Vec<f64> {
        let pass = self.pass(features(table));
        let mut deltas = log_softmax(pass.logits.clone());
        for row in 0..deltas.nrows() {
            for class in 0..deltas.ncols() {
                let wanted = f64::from(u8::from(class == table.labels()[row]));
                deltas[(row, class)] = (deltas[(row, class)].exp() - wanted) / table.len() as f64;
            }
        }
        let rows: Vec<usize> = (0..table.len()).collect();
        let deltas = self.backward(&pass, &rows, deltas);
        let mut gradient = Vec::with_capacity(self.parameters.len());
        for (inputs, deltas) in pass.inputs.iter().zip(&deltas) {
            let part = product(inputs.transpose(), deltas.as_ref());
            gradient.extend(
                (0..part.nrows()).flat_map(|row| (0..part.ncols()).map(move |at| (row, at))).map(|at| part[at]),
            );
        }
        gradient
    }

    fn layer(&self, number: usize) -> MatRef<'_, f64> {
        let size = |pair: &[usize]| (pair[0] + 1) * pair[1];
        let start: usize = self.widths.windows(2).take(number).map(size).sum();
        let (inputs, outputs) = (self.widths[number] + 1, self.widths[number + 1]);
        MatRef::from_row_major_slice(&self.parameters[start..start + inputs * outputs], inputs, outputs)
    }

    fn pass(&self, features: MatRef<'_, f64>) -> Pass {
        let layers = self.widths.len() - 1;
        let mut inputs = vec![with_one(features)];
        for number in 0..layers - 1 {
            let outputs = product(inputs[number].as_ref(), self.layer(number));
            inputs.push(with_one(
                Mat::from_fn(outputs.nrows(), outputs.ncols(), |i, j| outputs[(i, j)].max(0.0)).as_ref(),
            ));
        }
        let logits = product(inputs[layers - 1].as_ref(), self.layer(layers - 1));
        Pass { inputs, logits }
    }

    /// The gradients with respect to the outputs of each layer, given those of the last, of which each belongs to a row of
    /// the pass.
    fn backward(&self, pass: &Pass, rows: &[usize], last: Mat<f64>) -> Vec<Mat<f64>> {
        let mut deltas = vec![last];
        for number in (1..self.widths.len() - 1).rev() {
            let above = &deltas[deltas.len() - 1];
            let mut below = product(above.as_ref(), self.layer(number).transpose());
            // The last input is the 1 of the bias: nothing flows through it.
            below.resize_with(below.nrows(), self.widths[number], |_, _| 0.0);
            for (at, row) in rows.iter().enumerate() {
                for unit in 0..below.ncols() {
                    if pass.inputs[number][(*row, unit)] <= 0.0 {
                        below[(at, unit)] = 0.0;
                    }
                }
            }
            deltas.push(below);
        }
        deltas.reverse();
        deltas
    }
}

/// Why factors could not be made.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence on each variant is its documentation, and names its fields")]
pub enum FactorsError {
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error(transparent)]
    Gradient(#[from] GradientError),
}

impl From<FactorsError> for super::BenchError {
    fn from(error: FactorsError) -> Self {
        match error {
            FactorsError::Layout(error) => error.into(),
            FactorsError::Gradient(error) => error.into(),
        }
    }
}

pub(super) fn features(table: &Table) -> MatRef<'_, f64> {
    MatRef::from_row_major_slice(table.features(), table.len(), table.width())
}

/// A matrix with a column of ones behind it.
pub(super) fn with_one(matrix: MatRef<'_, f64>) -> Mat<f64> {
    let width = matrix.ncols();
    Mat::from_fn(matrix.nrows(), width + 1, |row, at| if at < width { matrix[(row, at)] } else { 1.0 })
}

fn log_softmax(mut logits: Mat<f64>) -> Mat<f64> {
    for row in 0..logits.nrows() {
        let entries = 0..logits.ncols();
        let largest = entries.clone().map(|at| logits[(row, at)]).fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = entries.clone().map(|at| (logits[(row, at)] - largest).exp()).sum();
        for at in entries {
            logits[(row, at)] -= largest + sum.ln();
        }
    }
    logits
}

#[cfg(test)]
mod tests {
    use super::super::draw::Draw;
    use super::*;

    fn drawn(widths: &[usize], rows: usize) -> (Network, Table) {
        let mut draw = Draw::new(5, 5);
        let mut network = Network::new(widths);
        network.parameters_mut().iter_mut().for_each(|weight| *weight = draw.normal() * 0.5);
        let (width, classes) = (widths[0], widths[widths.len() - 1]);
        let features = (0..rows * width).map(|_| draw.normal()).collect();
        let labels = (0..rows).map(|row| if row == 0 { classes - 1 } else { draw.below(classes) }).collect();
        (network, Table::from_parts(width, features, labels).unwrap())
    }

    #[test]
    fn gradients_are_those_of_finite_differences() {
        for widths in [&[4, 3][..], &[4, 6, 3], &[3, 5, 4, 2]] {
            let (network, table) = drawn(widths, 7);
            let gradients = network.gradients(&table, Labels::Data).unwrap();
            assert_eq!(gradients.dimension(), network.parameters().len());
            let loss = network.loss_gradient(&table);
            for parameter in 0..network.parameters().len() {
                let moved = |by: f64| {
                    let mut moved = network.clone();
                    moved.parameters_mut()[parameter] += by;
                    moved.log_likelihoods(&table)
                };
                let step = 1e-5;
                let differences: Vec<f64> =
                    moved(step).iter().zip(moved(-step)).map(|(up, down)| (up - down) / (2.0 * step)).collect();
                for (row, difference) in gradients.rows().zip(&differences) {
                    let found = f64::from(row[parameter]);
                    assert!((found - difference).abs() < 1e-5, "{widths:?} {parameter}: {found} {difference}");
                }
                let mean = -differences.iter().sum::<f64>() / 7.0;
                assert!((loss[parameter] - mean).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn gradients_at_all_labels_are_an_expectation() {
        let (network, table) = drawn(&[4, 6, 3], 5);
        let all = network.gradients(&table, Labels::All).unwrap();
        assert_eq!(all.len(), 15);
        for label in 0..3 {
            // The same gradients by taking each label as if it were the data's.
            let labels = vec![label; 5];
            let relabelled = Table::from_parts(4, table.features().to_vec(), labels).unwrap().with_classes(3);
            let plain = network.gradients(&relabelled, Labels::Data).unwrap();
            for (row, likelihood) in network.log_likelihoods(&relabelled).iter().enumerate() {
                let (weighted, plain) = (all.rows().nth(row * 3 + label).unwrap(), plain.rows().nth(row).unwrap());
                for (weighted, plain) in weighted.iter().zip(plain) {
                    assert!((f64::from(*weighted) - f64::from(*plain) * (likelihood / 2.0).exp()).abs() < 1e-6);
                }
            }
        }
        let total: f64 = network.log_probabilities(&table).row(0).iter().map(|value| value.exp()).sum();
        assert!((total - 1.0).abs() < 1e-12);
    }
}
