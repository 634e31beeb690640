//! Training an adapter on documents, and the gradients of what was trained.

use super::{Adapter, Base, LAYERS, SCALE, Windows};
use crate::influence::bench::draw::Draw;
use crate::influence::bench::network::FactorsError;
use crate::influence::gradients::{Factors, LayerFactors};
use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatMut, Par};

/// Passes through the documents.
pub(in crate::influence::bench) const EPOCHS: usize = 8;
/// Documents whose gradient makes one step.
pub(in crate::influence::bench) const BATCH: usize = 10;
const RATE: f64 = 0.15;
const MOMENTUM: f64 = 0.9;

impl Base {
    /// An adapter trained on some documents: SGD with momentum, the rate falling to 0 in a line. The seed decides the order.
    pub(in crate::influence::bench) fn adapt(&self, windows: &Windows, documents: &[usize], seed: u64) -> Adapter {
        let mut adapter = Adapter::fresh(&self.shape);
        let mut draw = Draw::new(seed, 5);
        let mut velocity = vec![0.0; adapter.parameters.len()];
        let mut order = documents.to_vec();
        let batches = (order.len() / BATCH).max(1);
        for epoch in 0..EPOCHS {
            draw.shuffle(&mut order);
            for (number, batch) in order.chunks(BATCH).take(batches).enumerate() {
                let gradient = self.mean_gradient(&adapter, &windows.select(batch));
                let rate = RATE * (1.0 - (epoch * batches + number) as f64 / (EPOCHS * batches) as f64);
                for ((weight, velocity), entry) in adapter.parameters.iter_mut().zip(&mut velocity).zip(gradient) {
                    *velocity = MOMENTUM * *velocity + entry;
                    *weight += rate * *velocity;
                }
            }
        }
        adapter
    }

    /// The gradient of the mean log-likelihood of all positions.
    pub(super) fn mean_gradient(&self, adapter: &Adapter, windows: &Windows) -> Vec<f64> {
        let pass = self.pass(adapter, windows);
        let deltas = self.backward(adapter, &pass, &windows.targets, 1.0 / windows.targets.len() as f64);
        let mut gradient = vec![0.0; adapter.parameters.len()];
        for (layer, deltas) in deltas.iter().enumerate() {
            let mut add = |block: usize, inputs, deltas: &Mat<f64>, scale| {
                let (rows, columns) = self.shape.blocks()[block];
                let into = MatMut::from_row_major_slice_mut(&mut gradient[self.shape.block(block)], rows, columns);
                matmul(into, Accum::Replace, inputs, deltas.transpose(), scale, Par::Seq);
            };
            add(2 * layer, pass.input(layer), &deltas.low, 1.0);
            add(2 * layer + 1, pass.lows[layer].as_ref(), &deltas.output, SCALE);
        }
        gradient
    }

    /// What gradients of the documents' log-likelihood are made of; at labels that the model draws, if there is a seed.
    pub(in crate::influence::bench) fn factors(
        &self,
        adapter: &Adapter,
        windows: &Windows,
        drawn: Option<u64>,
    ) -> Result<Factors, FactorsError> {
        let pass = self.pass(adapter, windows);
        let labels = match drawn {
            None => windows.targets.clone(),
            Some(seed) => drawn_labels(&pass.log_probabilities, seed),
        };
        let deltas = self.backward(adapter, &pass, &labels, 1.0);
        let mut layers = Vec::with_capacity(2 * LAYERS);
        for (layer, deltas) in deltas.iter().enumerate() {
            let inputs = single(&pass.input(layer).to_owned(), 1.0);
            layers.push(LayerFactors { inputs, deltas: single(&deltas.low, 1.0) });
            let inputs = single(&pass.lows[layer], 1.0);
            layers.push(LayerFactors { inputs, deltas: single(&deltas.output, SCALE) });
        }
        let ends = (1..=windows.documents()).map(|document| document * windows.each).collect();
        Ok(Factors::new(self.shape.layout()?, layers, ends)?)
    }
}

/// A label for each position, by the model's probabilities.
fn drawn_labels(log_probabilities: &Mat<f64>, seed: u64) -> Vec<usize> {
    let mut draw = Draw::new(seed, 6);
    let one = |column: usize| {
        let units = log_probabilities.col_as_slice(column);
        let mut left = draw.uniform();
        let label = units.iter().position(|unit| {
            left -= unit.exp();
            left < 0.0
        });
        // Rounding may leave a rest too small to matter: the last label takes it.
        label.unwrap_or(units.len() - 1)
    };
    (0..log_probabilities.ncols()).map(one).collect()
}

/// Position by position, in single precision.
fn single(matrix: &Mat<f64>, scale: f64) -> Vec<f32> {
    #[expect(clippy::cast_possible_truncation, reason = "rows are single precision")]
    let single = |value: &f64| (scale * value) as f32;
    (0..matrix.ncols()).flat_map(|column| matrix.col_as_slice(column).iter().map(single)).collect()
}
