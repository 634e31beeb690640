//! A model of characters: the next one from the embeddings of those before, by two hidden layers, with an adapter of low
//! rank beside each linear layer. In double precision, by hand, and fast enough to be trained a thousand times.
//!
//! A layer gives `Wᵀ h + b + s Bᵀ u` with `u = Aᵀ h`; W, b and the embeddings are frozen once the model is made. Columns
//! are positions. The layout of an adapter's gradient is A, B of each layer, both inputs by outputs: A takes h in and gives
//! u, B takes u in.

mod adapt;
mod pretrain;

pub(super) use adapt::{BATCH, EPOCHS};

use super::draw::Draw;
use crate::influence::layout::{Block, Layout, LayoutError};
use crate::influence::linear::product;
use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatRef, Par};
use std::ops::Range;

/// Linear layers.
const LAYERS: usize = 3;
/// How often an adapter's output counts.
const SCALE: f64 = 2.0;
/// The seed of fresh adapters: truths differ in the data and its order alone.
const ADAPTER_SEED: u64 = 0;

/// The sizes of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Different characters.
    pub vocabulary: usize,
    /// Characters that are looked back at.
    pub context: usize,
    /// Width of a character's embedding.
    pub embedding: usize,
    /// Units of each hidden layer.
    pub hidden: usize,
    /// Rank of the adapter.
    pub rank: usize,
}

/// The frozen part of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Base {
    shape: Shape,
    /// Embeddings, then weights and biases of each layer, matrices row by row, inputs first.
    weights: Vec<f64>,
}

/// The part that is trained on documents: all of A and B, in the order of the layout.
#[derive(Clone, Debug, PartialEq)]
pub struct Adapter {
    pub(super) parameters: Vec<f64>,
}

/// Positions, with all that does not depend on the adapter.
pub(super) struct Windows {
    /// Embeddings of the characters before each position.
    inputs: Mat<f64>,
    /// What the first layer makes of them without an adapter.
    frozen: Mat<f64>,
    /// The character that follows.
    targets: Vec<usize>,
    /// Positions of each document.
    each: usize,
}

/// What goes through the layers.
pub(super) struct Pass<'a> {
    first: &'a Mat<f64>,
    hidden: Vec<Mat<f64>>,
    /// u of each layer.
    lows: Vec<Mat<f64>>,
    log_probabilities: Mat<f64>,
}

/// Gradients with respect to u and to the output of one layer.
pub(super) struct Deltas {
    low: Mat<f64>,
    output: Mat<f64>,
}

impl Shape {
    /// That of the suite, for so many characters.
    pub const fn of_suite(vocabulary: usize) -> Self {
        Self { vocabulary, context: 12, embedding: 16, hidden: 96, rank: 4 }
    }

    /// Inputs and outputs of each layer.
    const fn layers(&self) -> [(usize, usize); LAYERS] {
        [(self.context * self.embedding, self.hidden), (self.hidden, self.hidden), (self.hidden, self.vocabulary)]
    }

    /// Inputs and outputs of each matrix of an adapter.
    const fn blocks(&self) -> [(usize, usize); 2 * LAYERS] {
        let ([first, second, third], rank) = (self.layers(), self.rank);
        [(first.0, rank), (rank, first.1), (second.0, rank), (rank, second.1), (third.0, rank), (rank, third.1)]
    }

    fn block(&self, number: usize) -> Range<usize> {
        let size = |(inputs, outputs): &(usize, usize)| inputs * outputs;
        let start = self.blocks().iter().take(number).map(size).sum();
        start..start + size(&self.blocks()[number])
    }

    /// Parameters of an adapter.
    pub fn adapter_parameters(&self) -> usize {
        self.block(2 * LAYERS - 1).end
    }

    /// The layout of an adapter's gradients.
    pub fn layout(&self) -> Result<Layout, LayoutError> {
        let block = |(number, (inputs, outputs)): (usize, (usize, usize))| Block {
            name: format!("layer {} {}", number / 2, if number % 2 == 0 { "a" } else { "b" }),
            inputs: u32::try_from(inputs).unwrap_or(u32::MAX),
            outputs: u32::try_from(outputs).unwrap_or(u32::MAX),
        };
        Layout::new(self.blocks().into_iter().enumerate().map(block).collect())
    }

    fn embeddings(&self) -> usize {
        self.vocabulary * self.embedding
    }

    /// Where the weights of a layer are; its biases follow.
    fn weights(&self, layer: usize) -> Range<usize> {
        let size = |(inputs, outputs): (usize, usize)| inputs * outputs;
        let before: usize = self.layers().into_iter().take(layer).map(|sides| size(sides) + sides.1).sum();
        let start = self.embeddings() + before;
        start..start + size(self.layers()[layer])
    }

    fn biases(&self, layer: usize) -> Range<usize> {
        let start = self.weights(layer).end;
        start..start + self.layers()[layer].1
    }
}

impl Adapter {
    /// One that changes nothing: A is drawn, B is 0.
    pub(super) fn fresh(shape: &Shape) -> Self {
        let mut draw = Draw::new(ADAPTER_SEED, 4);
        let mut parameters = vec![0.0; shape.adapter_parameters()];
        for layer in 0..LAYERS {
            let size = (shape.layers()[layer].0 as f64).sqrt();
            parameters[shape.block(2 * layer)].iter_mut().for_each(|weight| *weight = draw.normal() / size);
        }
        Self { parameters }
    }

    fn matrix(&self, shape: &Shape, block: usize) -> MatRef<'_, f64> {
        let (inputs, outputs) = shape.blocks()[block];
        MatRef::from_row_major_slice(&self.parameters[shape.block(block)], inputs, outputs)
    }
}

impl Windows {
    /// The positions of some documents, in the order in which these are named.
    fn select(&self, documents: &[usize]) -> Self {
        let place = |column: usize| documents[column / self.each] * self.each + column % self.each;
        let count = documents.len() * self.each;
        let gather = |from: &Mat<f64>| {
            let mut to = Mat::zeros(from.nrows(), count);
            for column in 0..count {
                to.col_as_slice_mut(column).copy_from_slice(from.col_as_slice(place(column)));
            }
            to
        };
        Self {
            inputs: gather(&self.inputs),
            frozen: gather(&self.frozen),
            targets: (0..count).map(|column| self.targets[place(column)]).collect(),
            each: self.each,
        }
    }

    /// How many positions there are.
    pub(super) fn positions(&self) -> usize {
        self.targets.len()
    }

    /// How many documents there are.
    pub(super) fn documents(&self) -> usize {
        self.targets.len() / self.each
    }
}

impl Pass<'_> {
    fn input(&self, layer: usize) -> MatRef<'_, f64> {
        if layer == 0 { self.first.as_ref() } else { self.hidden[layer - 1].as_ref() }
    }
}

impl Base {
    /// The sizes.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Embeddings, then weights and biases of each layer.
    pub fn weights(&self) -> &[f64] {
        &self.weights
    }

    fn weight(&self, layer: usize) -> MatRef<'_, f64> {
        let (inputs, outputs) = self.shape.layers()[layer];
        MatRef::from_row_major_slice(&self.weights[self.shape.weights(layer)], inputs, outputs)
    }

    /// The positions of documents that have a whole context before them.
    pub(super) fn windows(&self, documents: &[Vec<usize>]) -> Windows {
        let context = self.shape.context;
        let each = documents.first().map_or(0, |document| document.len().saturating_sub(context));
        let windows: Vec<&[usize]> = documents.iter().flat_map(|document| document.windows(context + 1)).collect();
        let mut inputs = Mat::zeros(context * self.shape.embedding, windows.len());
        for (column, window) in windows.iter().enumerate() {
            let places = inputs.col_as_slice_mut(column).chunks_exact_mut(self.shape.embedding);
            for (place, symbol) in places.zip(*window) {
                place.copy_from_slice(&self.weights[symbol * self.shape.embedding..][..self.shape.embedding]);
            }
        }
        let frozen = self.linear(0, inputs.as_ref());
        let targets = windows.iter().map(|window| window[context]).collect();
        Windows { inputs, frozen, targets, each }
    }

    /// What a layer gives without an adapter.
    fn linear(&self, layer: usize, inputs: MatRef<'_, f64>) -> Mat<f64> {
        let biases = &self.weights[self.shape.biases(layer)];
        let mut outputs = Mat::from_fn(biases.len(), inputs.ncols(), |unit, _| biases[unit]);
        matmul(&mut outputs, Accum::Add, self.weight(layer).transpose(), inputs, 1.0, Par::Seq);
        outputs
    }

    /// All positions through all layers.
    pub(super) fn pass<'a>(&self, adapter: &Adapter, windows: &'a Windows) -> Pass<'a> {
        let (mut hidden, mut lows) = (Vec::<Mat<f64>>::with_capacity(LAYERS), Vec::with_capacity(LAYERS));
        for layer in 0..LAYERS {
            let input = if layer == 0 { &windows.inputs } else { &hidden[layer - 1] };
            let low = product(adapter.matrix(&self.shape, 2 * layer).transpose(), input.as_ref());
            let mut output = if layer == 0 { windows.frozen.clone() } else { self.linear(layer, input.as_ref()) };
            let wide = adapter.matrix(&self.shape, 2 * layer + 1);
            matmul(&mut output, Accum::Add, wide.transpose(), &low, SCALE, Par::Seq);
            for column in 0..output.ncols() {
                let units = output.col_as_slice_mut(column);
                if layer + 1 < LAYERS {
                    units.iter_mut().for_each(|unit| *unit = unit.max(0.0));
                } else {
                    log_softmax(units);
                }
            }
            lows.push(low);
            hidden.push(output);
        }
        let log_probabilities = hidden.pop().unwrap_or_else(|| Mat::zeros(0, 0));
        Pass { first: &windows.inputs, hidden, lows, log_probabilities }
    }

    /// Gradients of `weight` times the log-likelihood of a label at each position, layer by layer.
    pub(super) fn backward(&self, adapter: &Adapter, pass: &Pass<'_>, labels: &[usize], weight: f64) -> Vec<Deltas> {
        let mut output = pass.log_probabilities.clone();
        for (column, label) in labels.iter().enumerate() {
            let units = output.col_as_slice_mut(column);
            units.iter_mut().for_each(|unit| *unit = -weight * unit.exp());
            units[*label] += weight;
        }
        let mut deltas = Vec::with_capacity(LAYERS);
        for layer in (0..LAYERS).rev() {
            let mut low = Mat::zeros(self.shape.rank, output.ncols());
            let wide = adapter.matrix(&self.shape, 2 * layer + 1);
            matmul(&mut low, Accum::Replace, wide, &output, SCALE, Par::Seq);
            let mut below = Mat::zeros(0, 0);
            if layer > 0 {
                below = product(self.weight(layer), output.as_ref());
                let narrow = adapter.matrix(&self.shape, 2 * layer);
                matmul(&mut below, Accum::Add, narrow, &low, 1.0, Par::Seq);
                let units = &pass.hidden[layer - 1];
                for column in 0..below.ncols() {
                    let active = units.col_as_slice(column).iter();
                    let closed =
                        below.col_as_slice_mut(column).iter_mut().zip(active).filter(|(_, unit)| **unit <= 0.0);
                    closed.for_each(|(delta, _)| *delta = 0.0);
                }
            }
            deltas.push(Deltas { low, output });
            output = below;
        }
        deltas.reverse();
        deltas
    }

    /// The log-likelihood of each document, summed over its positions.
    pub(super) fn log_likelihoods(&self, adapter: &Adapter, windows: &Windows) -> Vec<f64> {
        let pass = self.pass(adapter, windows);
        let of = |(column, target): (usize, &usize)| pass.log_probabilities[(*target, column)];
        let all: Vec<f64> = windows.targets.iter().enumerate().map(of).collect();
        all.chunks(windows.each).map(|document| document.iter().sum()).collect()
    }
}

fn log_softmax(units: &mut [f64]) {
    let largest = units.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = units.iter().map(|unit| (unit - largest).exp()).sum();
    let whole = largest + sum.ln();
    units.iter_mut().for_each(|unit| *unit -= whole);
}

#[cfg(test)]
mod tests;
