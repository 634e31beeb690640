//! The gradient of each example's log-likelihood, several examples in one backward pass.
//!
//! What is summed over an example is the log-likelihood of its counted tokens, so a gradient points
//! where the example becomes likelier. Loss functions have the opposite sign.
//!
//! A layer's matrix `W` gets from an example `Σ δₜ xₜᵀ` over its tokens, with `x` what went in and
//! `δ` the gradient at the output. All weights are frozen; a variable of zeros added to the output of
//! each layer that is asked for, a tap, has `δ` for every token of the batch as its gradient. No
//! example sees another's tokens, and the padding predicts nothing, so the sums fall apart by
//! example. An adapter needs the one tap at its layer's output: with `u = A x`, the gradient of `B`
//! is `s δ uᵀ` and that of `A` is `s (Bᵀ δ) xᵀ`.
//!
//! A row is flat, in the order of its [`Layout`]. A block is `Σ xₜ δₜᵀ`, row by row: `(inputs, outputs)`, where a file of
//! weights has `(outputs, inputs)`. The embedding's inputs are the tokens; a norm's one input is always 1.

use std::ops::Range;

use candle_core::{DType, Tensor};
use protocol::crypto;

use super::example::{Batch, Example, ExampleError};
use super::files::values;
use super::linear::{Input, Pass, Recorder, Scope};
use super::ops::log_likelihood;
use super::transformer::{EMBEDDING, Model};
use crate::influence::{self, Block, Factors, LayerFactors, Layout, LayoutError};

/// Positions that go through the model at once unless told otherwise. SmolLM2 with an adapter on two
/// layers of each block keeps about 2 MB a position until the backward pass is over, and larger
/// batches were not faster: short examples gain from company, long ones do not.
pub const DEFAULT_BATCH_TOKENS: usize = 1 << 8;

/// Whose likelihood is asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Labels {
    /// The example's own tokens.
    Given,
    /// In place of each counted token one that the model draws there: the rows whose second moment
    /// is the Fisher matrix. The draws of an example follow from the seed and its number alone, not
    /// from the batch that it is in.
    Sampled {
        /// Decides the draws.
        seed: [u8; 32],
        /// The number of the first example given; the others follow it.
        first: u64,
        /// Added to each number that is drawn from 0 to 1. A machine whose arithmetic differs in the
        /// last bits draws another token where a number falls just beside a token's bound: whoever
        /// compares looks at both sides.
        lean: f64,
    },
}

impl Labels {
    /// Labels drawn by the model.
    #[must_use]
    pub const fn sampled(seed: [u8; 32], first: u64) -> Self {
        Self::Sampled { seed, first, lean: 0.0 }
    }
}

/// Why gradients could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GradientError {
    /// The adapter's are asked for, and there is none.
    #[error("the model has no adapter to take gradients of")]
    NoAdapter,
    /// Embedding and norms have no factors.
    #[error("the whole model's gradients have no factors; ask for its linear layers or its adapter")]
    NotFactored,
    /// An example does not fit the model.
    #[error(transparent)]
    Example(#[from] ExampleError),
    /// A gradient is infinite or no number.
    #[error("the gradient of example {index} has a value that is not a finite number")]
    NotFinite {
        /// Which example of those given.
        index: usize,
    },
    /// A layer got no gradient: this code has a fault.
    #[error("the block {name} got no gradient")]
    NoGradient {
        /// The block.
        name: String,
    },
    /// The parameters are too many for a row.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The factors are not finite.
    #[error(transparent)]
    Factors(#[from] influence::GradientError),
    /// The arithmetic failed.
    #[error("the model's arithmetic failed")]
    Compute(#[from] candle_core::Error),
}

/// Takes gradients of one model.
#[derive(Debug, Clone)]
pub struct Gradients {
    model: Model,
    scope: Scope,
    layout: Layout,
    ranges: Vec<Range<usize>>,
    batch_tokens: usize,
}

/// The parameters in a scope, block after block.
fn layout_of(model: &Model, scope: Scope) -> Result<Layout, GradientError> {
    let inner = |name: &String| name.contains("_proj.");
    let weights = match scope {
        Scope::Adapter => model.adapter_weights(),
        Scope::Linear => model.weights().into_iter().filter(|(name, _)| inner(name)).collect(),
        Scope::Full => model.weights(),
    };
    let mut blocks = Vec::with_capacity(weights.len());
    for (name, weight) in weights {
        let (outputs, inputs) = match (weight.rank(), name == EMBEDDING) {
            (1, _) => (weight.dim(0)?, 1),
            // A token is an input of which one entry is 1.
            (_, true) => (weight.dim(1)?, weight.dim(0)?),
            (_, false) => weight.dims2()?,
        };
        // Sizes of models are far below 2^32.
        let size = |size: usize| u32::try_from(size).unwrap_or(u32::MAX);
        blocks.push(Block { name, inputs: size(inputs), outputs: size(outputs) });
    }
    Ok(Layout::new(blocks)?)
}

impl Gradients {
    /// Gradients of a model for the parameters in `scope`.
    ///
    /// # Errors
    /// If the scope is the adapter and there is none.
    pub fn new(model: &Model, scope: Scope) -> Result<Self, GradientError> {
        if scope == Scope::Adapter && model.adapter().is_none() {
            return Err(GradientError::NoAdapter);
        }
        let layout = layout_of(model, scope)?;
        let ranges = layout.ranges().map(|(_, range)| range).collect();
        Ok(Self { model: model.clone(), scope, layout, ranges, batch_tokens: DEFAULT_BATCH_TOKENS })
    }

    /// The same with another bound on the positions that go through the model at once. An example
    /// that is longer goes alone.
    #[must_use]
    pub fn with_batch_tokens(mut self, batch_tokens: usize) -> Self {
        self.batch_tokens = batch_tokens;
        self
    }

    /// What stands where in a row.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// One row for each example.
    ///
    /// # Errors
    /// If an example does not fit, or a gradient is not finite.
    pub fn rows(&self, examples: &[Example], labels: Labels) -> Result<Vec<Vec<f32>>, GradientError> {
        let mut rows = Vec::with_capacity(examples.len());
        self.for_each(examples, labels, &mut |_, row| rows.push(row))?;
        Ok(rows)
    }

    /// Gives each example's place and row, in order, and holds no more than one batch.
    ///
    /// # Errors
    /// If an example does not fit, or a gradient is not finite; rows given before stay good.
    pub fn for_each(
        &self,
        examples: &[Example],
        labels: Labels,
        each: &mut dyn FnMut(usize, Vec<f32>),
    ) -> Result<(), GradientError> {
        self.batches(examples, labels, &mut |index, pass, example| {
            let mut row = vec![0.0; self.layout.parameters()];
            for (place, tap) in pass.taps.iter().enumerate() {
                self.add(&mut row, place, tap, pass, example)?;
            }
            if row.iter().any(|value| !value.is_finite()) {
                return Err(GradientError::NotFinite { index });
            }
            each(index, row);
            Ok(())
        })
    }

    /// The factors of each block: what EK-FAC is made from.
    ///
    /// # Errors
    /// If the scope is the whole model, or as [`Self::rows`].
    pub fn factors(&self, examples: &[Example], labels: Labels) -> Result<Factors, GradientError> {
        if self.scope == Scope::Full {
            return Err(GradientError::NotFactored);
        }
        let none = LayerFactors { inputs: Vec::new(), deltas: Vec::new() };
        let mut layers = vec![none; self.layout.blocks().len()];
        let mut ends = Vec::with_capacity(examples.len());
        self.batches(examples, labels, &mut |_, pass, example| {
            let mut blocks = layers.iter_mut();
            for tap in &pass.taps {
                for (pair, layer) in pass.pairs(tap, example)?.into_iter().zip(&mut blocks) {
                    layer.inputs.extend(pass.by_tokens(tap, &pair.0, example)?);
                    layer.deltas.extend(pass.by_tokens(tap, &pair.1, example)?);
                }
            }
            ends.push(ends.last().copied().unwrap_or(0) + pass.batch.rows[example].len());
            Ok(())
        })?;
        Ok(Factors::new(self.layout.clone(), layers, ends)?)
    }

    /// Runs the examples batch by batch, and gives each one's place, its pass, and its place therein.
    fn batches(
        &self,
        examples: &[Example],
        labels: Labels,
        each: &mut dyn FnMut(usize, &Recorded, usize) -> Result<(), GradientError>,
    ) -> Result<(), GradientError> {
        let mut start = 0;
        while start < examples.len() {
            let end = start + self.fitting(&examples[start..]);
            let labels = match labels {
                Labels::Given => labels,
                Labels::Sampled { seed, first, lean } => Labels::Sampled { seed, first: first + start as u64, lean },
            };
            let pass = self.record(&examples[start..end], labels).map_err(|error| match error {
                GradientError::Example(error) => GradientError::Example(error.after(start)),
                error => error,
            })?;
            for example in 0..end - start {
                each(start + example, &pass, example)?;
            }
            start = end;
        }
        Ok(())
    }

    /// How many of the first examples go together.
    fn fitting(&self, examples: &[Example]) -> usize {
        let mut longest = 0;
        let fits = |(index, example): &(usize, &Example)| {
            longest = longest.max(example.tokens().len());
            (index + 1).saturating_mul(longest) <= self.batch_tokens
        };
        examples.iter().enumerate().take_while(fits).count().max(1)
    }

    /// One forward and one backward pass.
    fn record(&self, examples: &[Example], labels: Labels) -> Result<Recorded, GradientError> {
        let mut batch = Batch::new(examples, self.model.config())?;
        let mut recorder = Recorder::new(self.scope);
        let mut pass = Pass::Record(&mut recorder);
        let hidden = self.model.hidden(&batch.tokens, batch.length, None, &mut pass)?;
        let logits = self.model.predicting_logits(&hidden, &batch, &mut pass)?;
        if let Labels::Sampled { seed, first, lean } = labels {
            for (number, counted) in (first..).zip(&batch.counted) {
                let rows = logits.narrow(0, counted.start, counted.len())?.detach();
                batch.targets[counted.clone()].copy_from_slice(&draw(&rows, &seed, number, lean)?);
            }
        }
        let mut store = log_likelihood(&logits, &batch.targets)?.sum_all()?.backward()?;
        let mut taps = Vec::with_capacity(recorder.taps.len());
        for (place, tap) in recorder.taps.into_iter().enumerate() {
            let name = || self.layout.blocks().get(place).map_or_else(String::new, |block| block.name.clone());
            let delta = store.remove(&tap.tap).ok_or_else(|| GradientError::NoGradient { name: name() })?;
            taps.push(Filled { input: tap.input, predicting: tap.predicting, delta });
        }
        Ok(Recorded { batch, taps })
    }

    /// Adds what the tap at `place` of the forward pass says of an example to the example's row.
    fn add(
        &self,
        row: &mut [f32],
        place: usize,
        tap: &Filled,
        pass: &Recorded,
        example: usize,
    ) -> Result<(), GradientError> {
        match &tap.input {
            Input::Rows(_) => {
                for (inputs, deltas) in pass.pairs(tap, example)? {
                    match self.ranges.get(place) {
                        Some(range) => add_to(&mut row[range.clone()], &product(&inputs, &deltas)?),
                        // A tied output matrix has no block of its own: it is the embedding, which is first, and whose
                        // inputs are what it puts out.
                        None => add_to(&mut row[self.ranges[0].clone()], &product(&deltas, &inputs)?),
                    }
                }
            }
            Input::Lora { .. } => {
                for (part, (inputs, deltas)) in pass.pairs(tap, example)?.into_iter().enumerate() {
                    add_to(&mut row[self.ranges[2 * place + part].clone()], &product(&inputs, &deltas)?);
                }
            }
            Input::Tokens => {
                let width = tap.delta.dim(1)?;
                let tokens = &pass.batch.tokens[pass.batch.rows[example].clone()];
                let deltas = values(&pass.rows(tap, &tap.delta, example)?)?;
                let table = &mut row[self.ranges[place].clone()];
                for (&token, delta) in tokens.iter().zip(deltas.chunks_exact(width)) {
                    add_to(&mut table[token as usize * width..][..width], delta);
                }
            }
            Input::Normalised(normalised) => {
                let products = (pass.rows(tap, normalised, example)? * pass.rows(tap, &tap.delta, example)?)?;
                add_to(&mut row[self.ranges[place].clone()], &values(&products.sum(0)?)?);
            }
        }
        Ok(())
    }
}

/// A batch after its backward pass.
struct Recorded {
    batch: Batch,
    taps: Vec<Filled>,
}

/// A tap with its gradient.
struct Filled {
    input: Input,
    predicting: bool,
    delta: Tensor,
}

impl Recorded {
    /// Those rows of a tensor at a tap that are an example's.
    fn rows(&self, tap: &Filled, tensor: &Tensor, example: usize) -> Result<Tensor, candle_core::Error> {
        let rows = if tap.predicting { &self.batch.counted[example] } else { &self.batch.rows[example] };
        tensor.narrow(0, rows.start, rows.len())
    }

    /// A tensor at a tap as numbers, a row for each of an example's tokens: zeros where one predicts nothing that counts.
    fn by_tokens(&self, tap: &Filled, tensor: &Tensor, example: usize) -> Result<Vec<f32>, candle_core::Error> {
        let found = values(tensor)?;
        if !tap.predicting {
            return Ok(found);
        }
        let (rows, width) = (self.batch.rows[example].clone(), tensor.dim(1)?);
        let mut all = vec![0.0; rows.len() * width];
        let predicting = &self.batch.predicting[self.batch.counted[example].clone()];
        for (row, found) in predicting.iter().zip(found.chunks_exact(width)) {
            all[(*row as usize - rows.start) * width..][..width].copy_from_slice(found);
        }
        Ok(all)
    }

    /// Inputs and deltas of the blocks at a tap, for one example.
    fn pairs(&self, tap: &Filled, example: usize) -> Result<Vec<(Tensor, Tensor)>, candle_core::Error> {
        let delta = self.rows(tap, &tap.delta, example)?;
        match &tap.input {
            Input::Rows(inputs) => Ok(vec![(self.rows(tap, inputs, example)?, delta)]),
            Input::Lora { input, low, b, scale } => {
                let delta = (delta * *scale)?;
                let input = self.rows(tap, input, example)?;
                Ok(vec![(input, delta.matmul(b)?), (self.rows(tap, low, example)?, delta)])
            }
            Input::Tokens | Input::Normalised(_) => Ok(Vec::new()),
        }
    }
}

/// `inputsᵀ deltas`, row by row.
fn product(inputs: &Tensor, deltas: &Tensor) -> Result<Vec<f32>, candle_core::Error> {
    values(&inputs.t()?.matmul(deltas)?)
}

fn add_to(sums: &mut [f32], values: &[f32]) {
    sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
}

/// Draws a token for each row of logits, by the probabilities that they mean.
fn draw(logits: &Tensor, seed: &[u8; 32], number: u64, lean: f64) -> Result<Vec<u32>, candle_core::Error> {
    let mut bits = crypto::label_bits(seed, number);
    let rows = logits.to_dtype(DType::F64)?.to_vec2::<f64>()?;
    let one = |row: Vec<f64>| {
        let mut drawn = [0; 8];
        bits.fill(&mut drawn);
        // One of 2^53 numbers from 0 to below 1.
        let drawn = (u64::from_le_bytes(drawn) >> 11) as f64 / (1_u64 << 53) as f64 + lean;
        let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = row.iter().map(|logit| (logit - top).exp()).sum();
        let mut left = drawn * total;
        for (token, logit) in (0u32..).zip(&row) {
            left -= (logit - top).exp();
            if left < 0.0 {
                return token;
            }
        }
        // Rounding may leave a rest too small to matter: the last token takes it.
        u32::try_from(row.len() - 1).unwrap_or(0)
    };
    Ok(rows.into_iter().map(one).collect())
}
