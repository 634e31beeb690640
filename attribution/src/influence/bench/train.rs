//! Training: logistic regression to its optimum, and a perceptron by stochastic gradient descent.

use super::draw::Draw;
use super::network::{Network, features, with_one};
use super::table::Table;
use super::{BenchError, Model};
use crate::influence::linear::{Definite, mirror, product};
use faer::Mat;

/// Steps of Newton's method at most; it takes some ten.
const MAX_STEPS: usize = 100;
/// The largest entry of the gradient where the optimum is taken to be reached.
const CONVERGED: f64 = 1e-10;

/// Rows whose gradient makes one step.
const BATCH: usize = 50;
const EPOCHS: usize = 30;
const RATE: f64 = 0.1;
const MOMENTUM: f64 = 0.9;

/// Trains a model on a table. `start` saves logistic regression a few steps and changes nothing else.
pub(super) fn train(model: Model, table: &Table, seed: u64, start: Option<&Network>) -> Result<Network, BenchError> {
    match model {
        Model::Logistic => logistic(table, start),
        Model::Perceptron => Ok(perceptron(table, seed)),
    }
}

/// The optimum of mean cross entropy + ½ ρ |θ|², by Newton's method with steps halved until they improve.
fn logistic(table: &Table, start: Option<&Network>) -> Result<Network, BenchError> {
    let fresh = || Network::new(&[table.width(), table.classes()]);
    let mut network = start.cloned().unwrap_or_else(fresh);
    let mut value = objective(&network, table);
    let mut largest = f64::INFINITY;
    for _ in 0..MAX_STEPS {
        let gradient = regularised_gradient(&network, table);
        largest = gradient.iter().fold(0.0, |largest: f64, entry| largest.max(entry.abs()));
        if largest < CONVERGED {
            return Ok(network);
        }
        let diverged = BenchError::Diverged { gradient: largest, steps: MAX_STEPS };
        let hessian = Definite::new(hessian(&network, table), Model::L2).ok_or(diverged)?;
        let mut step = Mat::from_fn(gradient.len(), 1, |at, _| gradient[at]);
        hessian.solve(step.as_mut());
        let mut size = 1.0;
        loop {
            let mut moved = network.clone();
            moved.parameters_mut().iter_mut().enumerate().for_each(|(at, weight)| *weight -= size * step[(at, 0)]);
            let moved_value = objective(&moved, table);
            // Near the optimum the objective has no digits left that would show an improvement.
            if moved_value <= value + 1e-13 * value.abs() {
                (network, value) = (moved, moved_value);
                break;
            }
            size /= 2.0;
            if size < 1e-10 {
                return Err(BenchError::Diverged { gradient: largest, steps: MAX_STEPS });
            }
        }
    }
    Err(BenchError::Diverged { gradient: largest, steps: MAX_STEPS })
}

fn objective(network: &Network, table: &Table) -> f64 {
    let likelihood: f64 = network.log_likelihoods(table).iter().sum();
    let square: f64 = network.parameters().iter().map(|weight| weight * weight).sum();
    0.5 * Model::L2 * square - likelihood / table.len() as f64
}

fn regularised_gradient(network: &Network, table: &Table) -> Vec<f64> {
    let gradient = network.loss_gradient(table);
    gradient.iter().zip(network.parameters()).map(|(entry, weight)| entry + Model::L2 * weight).collect()
}

/// The Hessian of the mean cross entropy of logistic regression, class by class: Xᵀ diag(p_c (δ_cd − p_d)) X / n.
fn hessian(network: &Network, table: &Table) -> Mat<f64> {
    let inputs = with_one(features(table));
    let log_probabilities = network.log_probabilities(table);
    let (wide, classes) = (inputs.ncols(), log_probabilities.ncols());
    let probabilities = Mat::from_fn(table.len(), classes, |row, class| log_probabilities[(row, class)].exp());
    let mut hessian = Mat::zeros(wide * classes, wide * classes);
    for c in 0..classes {
        for d in 0..=c {
            let weighted = Mat::from_fn(table.len(), wide, |row, at| {
                let same = f64::from(u8::from(c == d));
                inputs[(row, at)] * probabilities[(row, c)] * (same - probabilities[(row, d)]) / table.len() as f64
            });
            let part = product(inputs.transpose(), weighted.as_ref());
            for i in 0..wide {
                for j in 0..wide {
                    hessian[(i * classes + c, j * classes + d)] = part[(i, j)];
                    hessian[(j * classes + d, i * classes + c)] = part[(i, j)];
                }
            }
        }
    }
    mirror(hessian.as_mut());
    hessian
}

/// SGD with momentum, the rate falling to 0 in a line, from random weights.
fn perceptron(table: &Table, seed: u64) -> Network {
    let mut network = Network::new(&[table.width(), Model::HIDDEN, table.classes()]);
    let mut draw = Draw::new(seed, 1);
    let widths = network.widths().to_vec();
    let mut weights = network.parameters_mut().iter_mut();
    for pair in widths.windows(2) {
        let size = 0.7 * (2.0 / pair[0] as f64).sqrt();
        weights.by_ref().take(pair[0] * pair[1]).for_each(|weight| *weight = size * draw.normal());
        // Biases begin at 0.
        weights.by_ref().take(pair[1]).for_each(|weight| *weight = 0.0);
    }
    let mut draw = Draw::new(seed, 2);
    let mut velocity = vec![0.0; network.parameters().len()];
    let mut order: Vec<usize> = (0..table.len()).collect();
    let batches = (table.len() / BATCH).max(1);
    for epoch in 0..EPOCHS {
        draw.shuffle(&mut order);
        for (number, batch) in order.chunks(BATCH).take(batches).enumerate() {
            let Some(batch) = table.select(batch) else { continue };
            let gradient = regularised_gradient(&network, &batch);
            let rate = RATE * (1.0 - (epoch * batches + number) as f64 / (EPOCHS * batches) as f64);
            let weights = network.parameters_mut().iter_mut();
            for ((weight, velocity), entry) in weights.zip(&mut velocity).zip(gradient) {
                *velocity = MOMENTUM * *velocity + entry;
                *weight -= rate * *velocity;
            }
        }
    }
    network
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Points around one centre for each class.
    fn clusters(rows: usize, classes: usize) -> Table {
        let mut draw = Draw::new(3, 3);
        let labels: Vec<usize> = (0..rows).map(|row| row % classes).collect();
        let features = labels.iter().flat_map(|label| {
            let centre = |at: usize| if at == *label { 2.0 } else { 0.0 };
            (0..3).map(|at| centre(at) + draw.normal()).collect::<Vec<_>>()
        });
        Table::from_parts(3, features.collect(), labels.clone()).unwrap()
    }

    #[test]
    fn logistic_regression_ends_at_the_optimum_wherever_it_starts() {
        let table = clusters(60, 3);
        let network = logistic(&table, None).unwrap();
        let value = objective(&network, &table);
        for parameter in 0..network.parameters().len() {
            for by in [1e-3, -1e-3] {
                let mut moved = network.clone();
                moved.parameters_mut()[parameter] += by;
                assert!(objective(&moved, &table) > value, "{parameter}");
            }
        }
        let elsewhere = logistic(&clusters(30, 3), None).unwrap();
        let again = logistic(&table, Some(&elsewhere)).unwrap();
        assert!(network.parameters().iter().zip(again.parameters()).all(|(a, b)| (a - b).abs() < 1e-6));
    }

    #[test]
    fn the_hessian_is_that_of_finite_differences() {
        let table = clusters(20, 3);
        let network = logistic(&table, None).unwrap();
        let hessian = hessian(&network, &table);
        for parameter in 0..network.parameters().len() {
            let moved = |by: f64| {
                let mut moved = network.clone();
                moved.parameters_mut()[parameter] += by;
                moved.loss_gradient(&table)
            };
            for (at, (up, down)) in moved(1e-5).iter().zip(moved(-1e-5)).enumerate() {
                assert!(((up - down) / 2e-5 - hessian[(parameter, at)]).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn the_perceptron_learns_and_depends_on_its_seed_alone() {
        let table = clusters(300, 3);
        let network = perceptron(&table, 1);
        assert!(network.accuracy(&table) > 0.8);
        assert_eq!(perceptron(&table, 1), network);
        assert_ne!(perceptron(&table, 2), network);
    }
}
