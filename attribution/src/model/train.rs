//! Training: a whole small model, or the adapter beside one that stays as it is.
//!
//! - The loss of a step is the mean negative log-likelihood of the batch's counted tokens, in nats.
//! - Each epoch goes through all examples in an order that follows from the seed and the epoch; a
//!   batch may begin in one epoch and end in the next, so every step has a full batch.
//! - AdamW; the learning rate warms up and falls by a cosine; the gradient is cut to a largest norm
//!   over all tensors together; matrices decay, norms do not.
//! - A loss or gradient that is no finite number ends the run before it touches a weight, and so
//!   does a tensor that gets no gradient.
//! - What follows depends only on weights, moments and step. All three are in the file that
//!   [`Trainer::save`] writes, so that a resumed run gives bit for bit the losses of one that was
//!   not interrupted, on the same machine with the same number of threads.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use candle_core::{Device, Tensor, Var};
use serde_json::{Value, json};

use super::error::{LoadError, SaveError};
use super::example::{Batch, Example, ExampleError};
use super::files::{TensorFile, values, write_tensors};
use super::linear::Pass;
use super::optimizer::{AdamW, Moments, Schedule};
use super::random::SplitMix;
use super::store::MAX_TENSOR_FILE_BYTES;
use super::transformer::Model;

/// Most steps of a run.
pub const MAX_STEPS: usize = 10_000_000;

/// Which parameters are trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parameters {
    /// Every weight of a model without an adapter.
    All,
    /// The matrices of the model's adapter.
    Adapter,
}

/// How to train.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrainOptions {
    /// What is trained.
    pub parameters: Parameters,
    /// Steps of the whole run.
    pub steps: usize,
    /// Examples in a step.
    pub batch: usize,
    /// The learning rate.
    pub schedule: Schedule,
    /// How much of a matrix goes in a step, times the learning rate.
    pub weight_decay: f64,
    /// Largest norm of a step's gradient.
    pub clip: f64,
    /// Decides the order of the examples.
    pub seed: u64,
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self {
            parameters: Parameters::All,
            steps: 200,
            batch: 8,
            schedule: Schedule { peak: 3e-3, warm_up: 20, last: 0.1 },
            weight_decay: 0.01,
            clip: 1.0,
            seed: 0,
        }
    }
}

/// A step that was done.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Steps done so far.
    pub step: usize,
    /// Steps of the whole run.
    pub steps: usize,
    /// The loss before this step's update, in nats a token.
    pub loss: f64,
    /// Positions that went through the model, padding included.
    pub tokens: usize,
    /// Positions a second, of this step.
    pub tokens_per_second: f64,
}

/// Where a run stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The loss of each step done.
    pub losses: Vec<f64>,
    /// Were all steps done, or was the run stopped?
    pub finished: bool,
}

/// Why training cannot begin or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// An option is out of its range.
    #[error("the option {name} must be {wanted}")]
    Option {
        /// The option.
        name: &'static str,
        /// What it must be.
        wanted: &'static str,
    },
    /// The adapter is to be trained, and there is none.
    #[error("the model has no adapter to train")]
    NoAdapter,
    /// The whole model is to be trained, and an adapter stands beside it.
    #[error("a model is trained whole only without an adapter beside it")]
    AdapterPresent,
    /// An example does not fit the model.
    #[error(transparent)]
    Example(#[from] ExampleError),
    /// The loss or the gradient became infinite or no number.
    #[error("at step {step} the {what} is not a finite number; a lower learning rate may help")]
    NotFinite {
        /// The step, counted from 0.
        step: usize,
        /// What it was: the loss, or a tensor's gradient.
        what: String,
    },
    /// A tensor that is trained got no gradient: this code has a fault.
    #[error("at step {step} the tensor {name} got no gradient")]
    NoGradient {
        /// The step, counted from 0.
        step: usize,
        /// The tensor.
        name: String,
    },
    /// The arithmetic failed.
    #[error("the model's arithmetic failed")]
    Compute(#[from] candle_core::Error),
}

/// Why a run cannot be taken up again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResumeError {
    /// A run with these parts cannot even begin.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// The file cannot be used.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The file is of a run with another model, other examples or other options.
    #[error("the file is of another run: its model, examples or options are not these")]
    OtherRun,
    /// The file does not say where its run stands.
    #[error("the file holds no state of a run")]
    NoState,
}

/// A run of training.
pub struct Trainer {
    /// Its trained tensors are variables.
    model: Model,
    options: TrainOptions,
    examples: Vec<Example>,
    variables: Vec<Variable>,
    losses: Vec<f64>,
    order: Order,
    /// Of everything that the run follows from.
    run: String,
}

/// A trained tensor and what the optimizer knows of it.
struct Variable {
    name: String,
    var: Var,
    moments: Moments,
}

const ADAM: AdamW = AdamW { beta1: 0.9, beta2: 0.95, epsilon: 1e-8 };

impl Trainer {
    /// Begins a run.
    ///
    /// # Errors
    /// If an option is out of range, an example does not fit, or there is nothing to train.
    pub fn new(model: &Model, examples: Vec<Example>, options: TrainOptions) -> Result<Self, TrainError> {
        check(&options)?;
        match (options.parameters, model.adapter()) {
            (Parameters::Adapter, None) => return Err(TrainError::NoAdapter),
            (Parameters::All, Some(_)) => return Err(TrainError::AdapterPresent),
            _ => {}
        }
        if examples.is_empty() {
            return Err(ExampleError::None.into());
        }
        for (index, example) in examples.iter().enumerate() {
            Batch::new([example], model.config()).map_err(|error| error.after(index))?;
        }
        let run = run_digest(model, &examples, &options)?;
        let mut variables = Vec::new();
        let model = model.map(|name, weight| {
            let trained = options.parameters == Parameters::All || name.contains(".lora_");
            if !trained {
                return Ok(weight.clone());
            }
            let var = Var::from_tensor(weight)?;
            let tensor = var.as_tensor().clone();
            variables.push(Variable { name: name.to_owned(), moments: Moments::zero(var.elem_count()), var });
            Ok::<_, candle_core::Error>(tensor)
        })?;
        let order = Order::new(options.seed, examples.len());
        Ok(Self { model, options, examples, variables, losses: Vec::new(), order, run })
    }

    /// Takes up a run that [`Self::save`] wrote, from the same model, examples and options.
    ///
    /// # Errors
    /// If they are not the same, or the file is damaged.
    pub fn resume(
        model: &Model,
        examples: Vec<Example>,
        options: TrainOptions,
        path: &Path,
    ) -> Result<Self, ResumeError> {
        let mut trainer = Self::new(model, examples, options)?;
        let mut file = TensorFile::open(path, 3 * MAX_TENSOR_FILE_BYTES)?;
        let note: Value =
            serde_json::from_str(file.note().ok_or(ResumeError::NoState)?).map_err(|_| ResumeError::NoState)?;
        if note.get("run").and_then(Value::as_str) != Some(trainer.run.as_str()) {
            return Err(ResumeError::OtherRun);
        }
        // JSON's numbers are doubles in their shortest exact form, so the losses come back as they were.
        let losses = note.get("losses").and_then(Value::as_array).ok_or(ResumeError::NoState)?;
        if losses.len() > options.steps {
            return Err(ResumeError::NoState);
        }
        trainer.losses = losses.iter().map(Value::as_f64).collect::<Option<_>>().ok_or(ResumeError::NoState)?;
        for variable in &mut trainer.variables {
            let shape = variable.var.dims().to_vec();
            let mut read = |part: &str| file.tensor(&format!("{part}.{}", variable.name), &shape);
            let (weight, first, second) = (read("weight")?, read("first")?, read("second")?);
            variable.var.set(&weight).map_err(TrainError::Compute)?;
            variable.moments.first = values(&first).map_err(TrainError::Compute)?;
            variable.moments.second = values(&second).map_err(TrainError::Compute)?;
        }
        Ok(trainer)
    }

    /// Writes all that the rest of the run depends on into one file, whole or not at all.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn save(&self, path: &Path) -> Result<(), SaveError> {
        let mut tensors = BTreeMap::new();
        for Variable { name, var, moments } in &self.variables {
            let tensor = |values: &[f32]| Tensor::from_slice(values, var.dims(), &Device::Cpu);
            tensors.insert(format!("weight.{name}"), var.as_detached_tensor());
            tensors.insert(format!("first.{name}"), tensor(&moments.first)?);
            tensors.insert(format!("second.{name}"), tensor(&moments.second)?);
        }
        let note = json!({ "run": self.run, "losses": self.losses });
        write_tensors(path, &tensors, Some(note.to_string())).map(|_| ())
    }

    /// Trains until all steps are done or `stop` is set, and reports each step.
    ///
    /// # Errors
    /// If a number is not finite, or the arithmetic fails.
    pub fn run(&mut self, stop: &AtomicBool, report: &mut dyn FnMut(&Progress)) -> Result<Outcome, TrainError> {
        while self.losses.len() < self.options.steps && !stop.load(Ordering::Relaxed) {
            report(&self.step()?);
        }
        Ok(self.outcome())
    }

    /// Where the run stands.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        Outcome { losses: self.losses.clone(), finished: self.losses.len() >= self.options.steps }
    }

    /// One step, even past the last that was planned.
    ///
    /// # Errors
    /// If a number is not finite, or the arithmetic fails.
    pub fn step(&mut self) -> Result<Progress, TrainError> {
        let (began, step) = (Instant::now(), self.losses.len());
        let first = step * self.options.batch;
        let chosen: Vec<usize> = (first..first + self.options.batch).map(|place| self.order.at(place)).collect();
        let batch = Batch::new(chosen.iter().map(|&index| &self.examples[index]), self.model.config())?;
        let (loss, gradients) = self.gradients(&batch, step)?;
        let squares = |gradient: &Vec<f32>| gradient.iter().map(|g| f64::from(*g) * f64::from(*g)).sum::<f64>();
        let norm = gradients.iter().map(squares).sum::<f64>().sqrt();
        if !norm.is_finite() {
            let broken = gradients.iter().position(|gradient| !squares(gradient).is_finite()).unwrap_or(0);
            let what = format!("gradient of {}", self.variables[broken].name);
            return Err(TrainError::NotFinite { step, what });
        }
        let cut = if norm > self.options.clip { self.options.clip / norm } else { 1.0 };
        let rate = self.options.schedule.rate(step, self.options.steps);
        for (variable, mut gradient) in self.variables.iter_mut().zip(gradients) {
            gradient.iter_mut().for_each(|g| *g *= super::random::single(cut));
            let decay = if variable.var.rank() > 1 { self.options.weight_decay } else { 0.0 };
            let mut weights = values(variable.var.as_tensor())?;
            ADAM.update(&mut weights, &gradient, &mut variable.moments, step, rate, decay);
            variable.var.set(&Tensor::from_vec(weights, variable.var.dims(), &Device::Cpu)?)?;
        }
        self.losses.push(loss);
        let tokens = batch.tokens.len();
        let tokens_per_second = tokens as f64 / began.elapsed().as_secs_f64().max(1e-9);
        Ok(Progress { step: step + 1, steps: self.options.steps, loss, tokens, tokens_per_second })
    }

    /// The loss of a batch, and its gradient for each variable.
    fn gradients(&self, batch: &Batch, step: usize) -> Result<(f64, Vec<Vec<f32>>), TrainError> {
        let loss = mean_loss(&self.model, batch)?;
        let value = f64::from(loss.to_scalar::<f32>()?);
        if !value.is_finite() {
            return Err(TrainError::NotFinite { step, what: "loss".to_owned() });
        }
        let mut store = loss.backward()?;
        let mut gradients = Vec::with_capacity(self.variables.len());
        for Variable { name, var, .. } in &self.variables {
            let gradient = store.remove(var).ok_or_else(|| TrainError::NoGradient { step, name: name.clone() })?;
            gradients.push(values(&gradient)?);
        }
        Ok((value, gradients))
    }

    /// The model as it is now; training does not change it further.
    ///
    /// # Errors
    /// If a tensor cannot be copied.
    pub fn snapshot(&self) -> candle_core::Result<Model> {
        self.model.map(|_, weight| match weight.is_variable() {
            true => weight.detach().copy(),
            false => Ok(weight.clone()),
        })
    }

    /// The trained model.
    ///
    /// # Errors
    /// If a tensor cannot be copied.
    pub fn into_model(self) -> candle_core::Result<Model> {
        self.snapshot()
    }
}

impl std::fmt::Debug for Trainer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trainer")
            .field("options", &self.options)
            .field("steps", &self.losses.len())
            .finish_non_exhaustive()
    }
}

/// The mean negative log-likelihood of a batch's counted tokens, as the root of a backward pass.
pub(super) fn mean_loss(model: &Model, batch: &Batch) -> candle_core::Result<Tensor> {
    let hidden = model.hidden(&batch.tokens, batch.length, None, &mut Pass::Train)?;
    let likelihoods = model.batch_log_likelihood(&hidden, batch, &mut Pass::Train)?;
    likelihoods.sum_all()? * (-1.0 / batch.targets.len().max(1) as f64)
}

fn check(options: &TrainOptions) -> Result<(), TrainError> {
    let positive = |number: f64| number.is_finite() && number > 0.0;
    let Schedule { peak, last, .. } = options.schedule;
    let rules = [
        ("steps", (1..=MAX_STEPS).contains(&options.steps), "from 1 to 10,000,000"),
        ("batch", (1..=super::example::MAX_BATCH_TOKENS).contains(&options.batch), "from 1 to 65,536"),
        ("schedule.peak", positive(peak), "a positive number"),
        ("schedule.last", (0.0..=1.0).contains(&last), "from 0 to 1"),
        ("weight_decay", (0.0..1.0).contains(&options.weight_decay), "from 0, below 1"),
        ("clip", positive(options.clip), "a positive number"),
    ];
    match rules.into_iter().find(|(_, holds, _)| !holds) {
        Some((name, _, wanted)) => Err(TrainError::Option { name, wanted }),
        None => Ok(()),
    }
}

/// A digest of all that a run follows from: the model before it, the examples, the options.
fn run_digest(model: &Model, examples: &[Example], options: &TrainOptions) -> candle_core::Result<String> {
    let mut hasher = blake3::Hasher::new_derive_key("tributary v1 model training");
    hasher.update(model.digest()?.as_bytes());
    for (name, weight) in model.adapter_weights() {
        hasher.update(name.as_bytes());
        super::store::hash_values(&mut hasher, weight)?;
    }
    // The debug form has every option, and floats in it are exact.
    hasher.update(format!("{options:?} {:?} {ADAM:?}", model.adapter()).as_bytes());
    for example in examples {
        example.digest_into(&mut hasher);
    }
    Ok(hasher.finalize().to_hex().to_string())
}

/// The order of the examples: a new permutation for each epoch.
struct Order {
    seed: u64,
    epoch: usize,
    permutation: Vec<usize>,
}

impl Order {
    fn new(seed: u64, examples: usize) -> Self {
        let mut order = Self { seed, epoch: 0, permutation: (0..examples).collect() };
        order.shuffle(0);
        order
    }

    /// The example at a place of the endless sequence of epochs.
    fn at(&mut self, place: usize) -> usize {
        let epoch = place / self.permutation.len();
        if epoch != self.epoch {
            self.shuffle(epoch);
        }
        self.permutation[place % self.permutation.len()]
    }

    /// Fisher and Yates, from the examples' own order each time: an epoch's does not depend on those
    /// before it.
    fn shuffle(&mut self, epoch: usize) {
        self.epoch = epoch;
        self.permutation.sort_unstable();
        let mut draws = SplitMix::keyed(self.seed, &(epoch as u64).to_le_bytes());
        for last in (1..self.permutation.len()).rev() {
            self.permutation.swap(last, draws.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_epoch_has_every_example_once_in_an_order_of_its_own() {
        let mut order = Order::new(3, 12);
        let mut epochs: Vec<Vec<usize>> =
            (0..4).map(|e| (e * 12..(e + 1) * 12).map(|p| order.at(p)).collect()).collect();
        // Asked again, and out of turn, it is the same.
        assert_eq!((12..24).map(|place| order.at(place)).collect::<Vec<_>>(), epochs[1]);
        for (index, epoch) in epochs.iter().enumerate() {
            assert!(epochs[..index].iter().all(|other| other != epoch), "epoch {index} repeats another");
        }
        epochs.iter_mut().for_each(|epoch| epoch.sort_unstable());
        assert!(epochs.iter().all(|epoch| *epoch == (0..12).collect::<Vec<_>>()));
    }
}
