//! A linear layer without bias, with an adapter beside it perhaps, in the three ways it is run.

use candle_core::{Result, Tensor, Var};

use super::lora::Lora;
use super::ops::times_frozen;

/// What a pass through the model is for.
pub(super) enum Pass<'a> {
    /// Answers only: nothing is kept for a backward pass.
    Infer,
    /// Variables among the weights get gradients.
    Train,
    /// Every weight is frozen; what [`Recorder`] asks for gets a tap.
    Record(&'a mut Recorder),
}

/// The taps of one pass. A tap is a variable of zeros added to a layer's output: its gradient after
/// the backward pass is the loss's gradient at that output, for every row at once.
#[derive(Default)]
pub(super) struct Recorder {
    pub(super) scope: Scope,
    pub(super) taps: Vec<Tap>,
}

/// Which parameters per-example gradients are wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scope {
    /// The matrices of the adapter.
    Adapter,
    /// The linear layers of all blocks, without embedding, norms and output matrix: what EK-FAC
    /// approximates.
    Linear,
    /// Every weight of the model itself.
    #[default]
    Full,
}

/// What one layer took in, and the variable at its output.
pub(super) struct Tap {
    pub(super) input: Input,
    pub(super) tap: Var,
    /// Are its rows those only that predict a token that counts?
    pub(super) predicting: bool,
}

/// What a layer's gradient is made of, beside the gradient at its output.
pub(super) enum Input {
    /// Of a matrix: its rows of input.
    Rows(Tensor),
    /// Of an adapter: the layer's input, and what `A` made of it; `B`, and the scale.
    Lora { input: Tensor, low: Tensor, b: Tensor, scale: f64 },
    /// Of the embedding: each row's token is in the batch.
    Tokens,
    /// Of a norm: its input divided by the root mean square.
    Normalised(Tensor),
}

impl Recorder {
    pub(super) fn new(scope: Scope) -> Self {
        Self { scope, taps: Vec::new() }
    }

    /// `output` with a tap, where the whole model is recorded.
    pub(super) fn tap_full(&mut self, output: Tensor, input: impl FnOnce() -> Result<Input>) -> Result<Tensor> {
        match self.scope {
            Scope::Full => self.tap(output, input()?, false),
            Scope::Adapter | Scope::Linear => Ok(output),
        }
    }

    fn tap(&mut self, output: Tensor, input: Input, predicting: bool) -> Result<Tensor> {
        let tap = Var::zeros(output.shape(), output.dtype(), output.device())?;
        let tapped = (output + tap.as_tensor())?;
        self.taps.push(Tap { input, tap, predicting });
        Ok(tapped)
    }
}

/// `x Wᵀ`, for rows of `x`.
#[derive(Debug, Clone)]
pub(super) struct Linear {
    /// Its name in Hugging Face's llama, such as `model.layers.0.self_attn.q_proj`.
    pub(super) name: String,
    /// `(outputs, inputs)`.
    pub(super) weight: Tensor,
    pub(super) lora: Option<Lora>,
}

impl Linear {
    pub(super) fn new(name: String, weight: Tensor) -> Self {
        Self { name, weight, lora: None }
    }

    /// Is it the output matrix, which no block holds?
    pub(super) fn is_head(&self) -> bool {
        self.name == HEAD
    }

    pub(super) fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor> {
        let train = matches!(pass, Pass::Train);
        let output = times(x, &self.weight, train)?;
        let Some(lora) = &self.lora else {
            return match pass {
                Pass::Record(recorder) if self.recorded(recorder.scope) => {
                    recorder.tap(output, Input::Rows(x.detach()), self.is_head())
                }
                _ => Ok(output),
            };
        };
        let low = times(x, &lora.a, train)?;
        let output = (output + (times(&low, &lora.b, train)? * lora.scale)?)?;
        match pass {
            Pass::Record(recorder) if recorder.scope == Scope::Adapter => {
                let (input, low, b) = (x.detach(), low.detach(), lora.b.detach());
                recorder.tap(output, Input::Lora { input, low, b, scale: lora.scale }, self.is_head())
            }
            Pass::Record(recorder) if self.recorded(recorder.scope) => {
                recorder.tap(output, Input::Rows(x.detach()), self.is_head())
            }
            _ => Ok(output),
        }
    }

    /// Is this layer's own matrix wanted?
    fn recorded(&self, scope: Scope) -> bool {
        match scope {
            Scope::Adapter => false,
            Scope::Linear => !self.is_head(),
            Scope::Full => true,
        }
    }
}

/// The output matrix's name.
pub(super) const HEAD: &str = "lm_head";

fn times(x: &Tensor, weight: &Tensor, train: bool) -> Result<Tensor> {
    match train && weight.is_variable() {
        true => x.matmul(&weight.t()?),
        false => times_frozen(x, weight),
    }
}
