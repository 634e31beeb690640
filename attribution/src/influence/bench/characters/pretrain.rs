//! Making a base model of a text: every weight trained by Adam (Kingma and Ba, 2014).

use super::{Adapter, Base, LAYERS, Shape};
use crate::influence::bench::draw::Draw;
use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, Par};

/// Positions whose gradient makes one step.
const BATCH: usize = 256;
const RATE: f64 = 2e-3;
const BETA_1: f64 = 0.9;
const BETA_2: f64 = 0.999;
const EPSILON: f64 = 1e-8;

impl Base {
    /// A model trained on a text for so many steps, each on positions drawn from all of it.
    pub fn pretrained(shape: Shape, text: &[usize], steps: usize, seed: u64) -> Self {
        let mut base = Self::fresh(shape, seed);
        let mut draw = Draw::new(seed, 8);
        let count = base.weights.len();
        let (mut first, mut second) = (vec![0.0; count], vec![0.0; count]);
        let Some(starts) = text.len().checked_sub(shape.context).filter(|starts| *starts > 0) else { return base };
        for step in 1..=steps {
            let start = |_| draw.below(starts);
            let windows: Vec<Vec<usize>> =
                (0..BATCH).map(start).map(|start| text[start..=start + shape.context].to_vec()).collect();
            let gradient = base.full_gradient(&windows);
            let power = i32::try_from(step).unwrap_or(i32::MAX);
            // The averages began at 0; early on they are too small by these factors.
            let (short_1, short_2) = (1.0 - BETA_1.powi(power), 1.0 - BETA_2.powi(power));
            let moments = first.iter_mut().zip(&mut second);
            for ((weight, entry), (first, second)) in base.weights.iter_mut().zip(gradient).zip(moments) {
                *first = BETA_1 * *first + (1.0 - BETA_1) * entry;
                *second = BETA_2 * *second + (1.0 - BETA_2) * entry * entry;
                *weight += RATE * (*first / short_1) / ((*second / short_2).sqrt() + EPSILON);
            }
        }
        base
    }

    fn fresh(shape: Shape, seed: u64) -> Self {
        let mut draw = Draw::new(seed, 7);
        let mut weights = vec![0.0; shape.biases(LAYERS - 1).end];
        let mut fill = |weights: &mut [f64], size: f64| {
            weights.iter_mut().for_each(|weight| *weight = size * draw.normal());
        };
        fill(&mut weights[..shape.embeddings()], 0.5);
        for (layer, (inputs, _)) in shape.layers().into_iter().enumerate() {
            let last = layer + 1 == LAYERS;
            fill(&mut weights[shape.weights(layer)], if last { 0.1 } else { (2.0 / inputs as f64).sqrt() });
        }
        Self { shape, weights }
    }

    /// The gradient of the mean log-likelihood of the last symbol of each window, with respect to every weight.
    pub(super) fn full_gradient(&self, documents: &[Vec<usize>]) -> Vec<f64> {
        let (shape, none) = (&self.shape, Adapter { parameters: vec![0.0; self.shape.adapter_parameters()] });
        let windows = self.windows(documents);
        let pass = self.pass(&none, &windows);
        let deltas = self.backward(&none, &pass, &windows.targets, 1.0 / windows.targets.len() as f64);
        let mut gradient = vec![0.0; self.weights.len()];
        for (layer, deltas) in deltas.iter().enumerate() {
            let (inputs, outputs) = shape.layers()[layer];
            let into = MatMut::from_row_major_slice_mut(&mut gradient[shape.weights(layer)], inputs, outputs);
            matmul(into, Accum::Replace, pass.input(layer), deltas.output.transpose(), 1.0, Par::Seq);
            let biases = &mut gradient[shape.biases(layer)];
            for column in 0..deltas.output.ncols() {
                biases.iter_mut().zip(deltas.output.col_as_slice(column)).for_each(|(sum, delta)| *sum += delta);
            }
        }
        let below = crate::influence::linear::product(self.weight(0), deltas[0].output.as_ref());
        for (column, window) in documents.iter().flat_map(|document| document.windows(shape.context + 1)).enumerate() {
            for (place, symbol) in below.col_as_slice(column).chunks_exact(shape.embedding).zip(window) {
                let into = &mut gradient[symbol * shape.embedding..][..shape.embedding];
                into.iter_mut().zip(place).for_each(|(sum, delta)| *sum += delta);
            }
        }
        gradient
    }
}
