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
//! A row is flat, in the order of [`Layout`]; each block is a matrix row by row, `(outputs, inputs)`,
//! as it lies in the file of weights.

use std::ops::Range;

use candle_core::{DType, Tensor};

use super::example::{Batch, Example, ExampleError};
use super::files::values;
use super::linear::{Input, Pass, Recorder, Scope};
use super::ops::log_likelihood;
use super::random::SplitMix;
use super::transformer::Model;

/// Positions that go through the model at once unless told otherwise. SmolLM2 with an adapter on two
/// layers of each block keeps about 2 MB a position until the backward pass is over, and larger
/// batches were not faster: short examples gain from company, long ones do not.
pub const DEFAULT_BATCH_TOKENS: usize = 1 << 8;

/// Where each parameter stands in a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    blocks: Vec<Block>,
}

/// One matrix of the parameters, `(outputs, inputs)`, row by row. A norm's weight has one input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Its name in a file of weights.
    pub name: String,
    /// Columns.
    pub inputs: usize,
    /// Rows.
    pub outputs: usize,
    /// Its place in a row of gradients.
    pub range: Range<usize>,
}

/// Whose likelihood is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Labels {
    /// The example's own tokens.
    Given,
    /// In place of each counted token one that the model draws there: the rows whose second moment
    /// is the Fisher matrix. The draws follow from the seed and the example alone, not from the
    /// batch that it is in; other draws of the same example take another seed.
    Sampled {
        /// Decides the draws.
        seed: u64,
    },
}

/// What a block's gradient is made of, for one example: `deltasᵀ inputs`.
#[derive(Debug, Clone, PartialEq)]
pub struct Factors {
    /// Tokens of the example: rows of both.
    pub tokens: usize,
    /// What went into the block, `(tokens, inputs)`, row by row.
    pub inputs: Vec<f32>,
    /// The gradient at its output, `(tokens, outputs)`, row by row.
    pub deltas: Vec<f32>,
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
    batch_tokens: usize,
}

impl Layout {
    /// The blocks, in the order of their ranges.
    #[must_use]
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// Floats in a row.
    #[must_use]
    pub fn len(&self) -> usize {
        self.blocks.last().map_or(0, |block| block.range.end)
    }

    /// Is there no parameter?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    fn of(model: &Model, scope: Scope) -> candle_core::Result<Self> {
        let inner = |name: &String| name.contains("_proj.");
        let weights = match scope {
            Scope::Adapter => model.adapter_weights(),
            Scope::Linear => model.weights().into_iter().filter(|(name, _)| inner(name)).collect(),
            Scope::Full => model.weights(),
        };
        let mut start = 0;
        let mut blocks = Vec::with_capacity(weights.len());
        for (name, weight) in weights {
            let (outputs, inputs) = if weight.rank() == 1 { (weight.dim(0)?, 1) } else { weight.dims2()? };
            let range = start..start + outputs * inputs;
            start = range.end;
            blocks.push(Block { name, inputs, outputs, range });
        }
        Ok(Self { blocks })
    }
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
        let layout = Layout::of(model, scope)?;
        Ok(Self { model: model.clone(), scope, layout, batch_tokens: DEFAULT_BATCH_TOKENS })
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
            let mut row = vec![0.0; self.layout.len()];
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

    /// For each example the factors of each block, in the layout's order: what EK-FAC is made from.
    ///
    /// # Errors
    /// If the scope is the whole model, or as [`Self::rows`].
    pub fn factors(&self, examples: &[Example], labels: Labels) -> Result<Vec<Vec<Factors>>, GradientError> {
        if self.scope == Scope::Full {
            return Err(GradientError::NotFactored);
        }
        let mut all = Vec::with_capacity(examples.len());
        self.batches(examples, labels, &mut |_, pass, example| {
            let mut factors = Vec::with_capacity(self.layout.blocks.len());
            for tap in &pass.taps {
                for (inputs, deltas) in pass.pairs(tap, example)? {
                    let tokens = inputs.dim(0)?;
                    factors.push(Factors { tokens, inputs: values(&inputs)?, deltas: values(&deltas)? });
                }
            }
            all.push(factors);
            Ok(())
        })?;
        Ok(all)
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
        if let Labels::Sampled { seed } = labels {
            for (example, counted) in examples.iter().zip(&batch.counted) {
                let rows = logits.narrow(0, counted.start, counted.len())?.detach();
                batch.targets[counted.clone()].copy_from_slice(&draw(&rows, example, seed)?);
            }
        }
        let mut store = log_likelihood(&logits, &batch.targets)?.sum_all()?.backward()?;
        let mut taps = Vec::with_capacity(recorder.taps.len());
        for (place, tap) in recorder.taps.into_iter().enumerate() {
            let name = || self.layout.blocks.get(place).map_or_else(String::new, |block| block.name.clone());
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
        let block = |place: usize| &self.layout.blocks[place];
        match &tap.input {
            Input::Rows(_) => {
                // A tied output matrix has no block of its own: it is the embedding, which is first.
                let place = if place < self.layout.blocks.len() { place } else { 0 };
                for (inputs, deltas) in pass.pairs(tap, example)? {
                    add_to(&mut row[block(place).range.clone()], &product(&inputs, &deltas)?);
                }
            }
            Input::Lora { .. } => {
                for (part, (inputs, deltas)) in pass.pairs(tap, example)?.into_iter().enumerate() {
                    add_to(&mut row[block(2 * place + part).range.clone()], &product(&inputs, &deltas)?);
                }
            }
            Input::Tokens => {
                let Block { inputs: width, range, .. } = block(place);
                let tokens = &pass.batch.tokens[pass.batch.rows[example].clone()];
                let deltas = values(&pass.rows(tap, &tap.delta, example)?)?;
                let table = &mut row[range.clone()];
                for (&token, delta) in tokens.iter().zip(deltas.chunks_exact(*width)) {
                    add_to(&mut table[token as usize * width..][..*width], delta);
                }
            }
            Input::Normalised(normalised) => {
                let products = (pass.rows(tap, normalised, example)? * pass.rows(tap, &tap.delta, example)?)?;
                add_to(&mut row[block(place).range.clone()], &values(&products.sum(0)?)?);
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

/// `deltasᵀ inputs`, row by row.
fn product(inputs: &Tensor, deltas: &Tensor) -> Result<Vec<f32>, candle_core::Error> {
    values(&deltas.t()?.matmul(inputs)?)
}

fn add_to(sums: &mut [f32], values: &[f32]) {
    sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
}

/// Draws a token for each row of logits, by the probabilities that they mean.
fn draw(logits: &Tensor, example: &Example, seed: u64) -> Result<Vec<u32>, candle_core::Error> {
    let mut hasher = blake3::Hasher::new_derive_key("tributary v1 model sampled labels");
    example.digest_into(&mut hasher);
    let mut draws = SplitMix::keyed(seed, hasher.finalize().as_bytes());
    let rows = logits.to_dtype(DType::F64)?.to_vec2::<f64>()?;
    let one = |row: Vec<f64>| {
        let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = row.iter().map(|logit| (logit - top).exp()).sum();
        let mut left = draws.double() * total;
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
