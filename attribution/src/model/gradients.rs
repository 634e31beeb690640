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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
        /// Which of the close calls (see [`Gradients::close_calls`]) take the second of the two tokens: bit 0 is the
        /// closest. A machine whose arithmetic differs in the last bits may have drawn that one.
        second: u32,
    },
}

impl Labels {
    /// Labels drawn by the model.
    #[must_use]
    pub const fn sampled(seed: [u8; 32], first: u64) -> Self {
        Self::Sampled { seed, first, second: 0 }
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

    /// How many of an example's labels, drawn with this seed and number, another token missed by less than machines may
    /// differ.
    ///
    /// # Errors
    /// If the example does not fit.
    pub fn close_calls(&self, example: &Example, seed: &[u8; 32], number: u64) -> Result<usize, GradientError> {
        let batch = Batch::new([example], self.model.config())?;
        let hidden = self.model.hidden(&batch.tokens, batch.length, None, &mut Pass::Infer)?;
        let logits = self.model.predicting_logits(&hidden, &batch, &mut Pass::Infer)?;
        Ok(Draws::of(&logits, seed, number)?.close.len())
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
                Labels::Sampled { seed, first, second } => {
                    Labels::Sampled { seed, first: first + start as u64, second }
                }
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
        if let Labels::Sampled { seed, first, second } = labels {
            for (number, counted) in (first..).zip(&batch.counted) {
                let rows = logits.narrow(0, counted.start, counted.len())?.detach();
                batch.targets[counted.clone()].copy_from_slice(&Draws::of(&rows, &seed, number)?.labels(second));
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

/// Nats by which a token may be ahead of the next one, and still lose on another machine: a hundred times what batches and
/// kernels were seen to change logits by.
const CLOSE: f64 = 1e-3;

/// Tokens drawn for rows of logits, by the probabilities that they mean.
///
/// Each token gets its logit and a number of Gumbel's distribution, and the largest sum wins. Nothing is added up over the
/// vocabulary, so that a small change of the logits matters only where two tokens are nearly even.
struct Draws {
    first: Vec<u32>,
    second: Vec<u32>,
    /// Rows in which the second is close to the first, the closest first.
    close: Vec<usize>,
}

impl Draws {
    fn of(logits: &Tensor, seed: &[u8; 32], number: u64) -> Result<Self, candle_core::Error> {
        let mut bits = crypto::label_bits(seed, number);
        let rows = logits.to_dtype(DType::F64)?.to_vec2::<f64>()?;
        let (mut first, mut second) = (Vec::with_capacity(rows.len()), Vec::with_capacity(rows.len()));
        let mut close = Vec::new();
        let mut bytes = vec![0; 8 * rows.first().map_or(0, Vec::len)];
        for (row, logits) in rows.iter().enumerate() {
            bits.fill(&mut bytes);
            let (mut best, mut next) = ((0, f64::NEG_INFINITY), (0, f64::NEG_INFINITY));
            for ((token, logit), drawn) in (0u32..).zip(logits).zip(bytes.as_chunks::<8>().0) {
                let sum = logit + gumbel(u64::from_le_bytes(*drawn));
                if sum > best.1 {
                    (best, next) = ((token, sum), best);
                } else if sum > next.1 {
                    next = (token, sum);
                }
            }
            first.push(best.0);
            second.push(next.0);
            if best.1 - next.1 < CLOSE {
                close.push((best.1 - next.1, row));
            }
        }
        close.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        Ok(Self { first, second, close: close.into_iter().map(|(_, row)| row).collect() })
    }

    /// The labels, with the second token at those of the close calls whose bits are set.
    fn labels(mut self, second: u32) -> Vec<u32> {
        for (bit, row) in self.close.iter().enumerate().take(32) {
            if second >> bit & 1 == 1 {
                self.first[*row] = self.second[*row];
            }
        }
        self.first
    }
}

/// A number of Gumbel's distribution, of 64 random bits.
fn gumbel(bits: u64) -> f64 {
    // One of 2^53 numbers between 0 and 1, neither of which it is.
    let uniform = ((bits >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    -(-uniform.ln()).ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn draws(rows: &[Vec<f64>], number: u64) -> Draws {
        let logits = Tensor::from_vec(rows.concat(), (rows.len(), rows[0].len()), &Device::Cpu).unwrap();
        Draws::of(&logits, &[7; 32], number).unwrap()
    }

    #[test]
    fn tokens_are_drawn_as_often_as_their_logits_say() {
        let odds = [0.5, 0.25, 0.15, 0.1_f64];
        let row: Vec<f64> = odds.iter().map(|p| p.ln() + 3.0).collect();
        let count = 20_000;
        let drawn = draws(&vec![row; count], 1).labels(0);
        for (token, p) in (0u32..).zip(odds) {
            let found = drawn.iter().filter(|drawn| **drawn == token).count() as f64;
            let deviation = (count as f64 * p * (1.0 - p)).sqrt();
            assert!((found - count as f64 * p).abs() < 4.0 * deviation, "token {token}: {found}");
        }
    }

    /// What an auditor's machine computes a little differently: of a large vocabulary, with a long tail.
    #[test]
    fn a_small_change_of_logits_changes_close_calls_alone() {
        let tokens = 1_000_u32;
        let row: Vec<f64> = (0..tokens).map(|token| -2.0 * f64::from(token + 1).ln()).collect();
        // Less than half of what is close, either way.
        let noise = |row: u32, token: u32| f64::from((token.wrapping_mul(2_654_435_761) ^ row) % 200) / 2.5e5 - 4e-4;
        let rows = vec![row; 6_000];
        let change = |(at, row): (u32, &Vec<f64>)| -> Vec<f64> {
            (0..tokens).zip(row).map(|(token, logit)| logit + noise(at, token)).collect()
        };
        let moved: Vec<Vec<f64>> = (0..).zip(&rows).map(change).collect();
        let (one, other) = (draws(&rows, 2), draws(&moved, 2));
        let mut differ = 0;
        for row in 0..rows.len() {
            if one.first[row] != other.first[row] {
                differ += 1;
                assert!(one.close.contains(&row) && one.second[row] == other.first[row], "row {row}");
            }
        }
        assert!((1..=12).contains(&differ), "{differ} of {} labels", rows.len());
    }

    #[test]
    fn bits_choose_the_second_token_of_close_calls() {
        // Two tokens that are even but for what is drawn, and a third far below: the draw decides, never closely but here.
        let rows: Vec<Vec<f64>> = vec![vec![0.0; 3]; 4_000];
        let found = draws(&rows, 3);
        let (first, second, close) = (found.first.clone(), found.second.clone(), found.close.clone());
        assert!((1..40).contains(&close.len()), "{}", close.len());
        let labels = found.labels(0b1);
        let changed: Vec<usize> = (0..rows.len()).filter(|row| labels[*row] != first[*row]).collect();
        assert_eq!(changed, close[..1]);
        assert_eq!(labels[close[0]], second[close[0]]);
        assert_ne!(first[close[0]], second[close[0]]);
    }
}
