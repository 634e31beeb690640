//! Measures methods where the truth can be had: small models, trained again without half of their data, a hundred times.
//!
//! # What is measured
//!
//! **LDS** (linear datamodeling score; Park and others, "TRAK: attributing model behavior at scale", 2023): for each of
//! many random halves of the training data a model is trained on that half alone, and the log-likelihood of each test
//! example is noted. A method predicts it by the sum of the influences of the rows in the half. The score is the rank
//! correlation (Spearman) of both over the halves, averaged over test examples. Its interval is of a bootstrap over tests
//! and halves.
//!
//! **AUC of noisy labels**: a tenth of the labels are wrong, and examples are ordered by how much they influence
//! themselves.
//!
//! # The suites
//!
//! | suite | model | truth |
//! | --- | --- | --- |
//! | `digits-lr` | logistic regression, L2 of 1e-3, by Newton's method to convergence | 100 halves |
//! | `digits-mlp` | one hidden layer of 64, SGD with momentum, 30 epochs | 100 halves, each with several seeds |
//! | `noisy-labels` | both | which labels were changed |
//! | `lora-lm` | a perceptron over the embeddings of 12 characters, with LoRA of rank 4 beside each layer; the base is made of other text and frozen | 100 halves of 300 documents, each with several orders |
//! | `lora-lm`, transformer | four blocks of [`crate::model`] over bytes, with LoRA of rank 4 on queries and values | 100 halves of 200 documents, each with two orders |
//!
//! Every random choice is drawn from one seed by a generator whose numbers are the same on every machine. Damping is fixed
//! in [`Model::regulariser`], and at one mean eigenvalue for adapters, before any truth is looked at.
//!
//! A suite is a [`Trial`]: it says what its [`Problem`]s are, the gradients of its models, and [`measure`] does the rest.
//! Experiments are written as `.npy` files and read back, so that other programs measure themselves with the same models,
//! halves and truth; see [`Experiment::write`] and [`CharacterTrial::new`] for the names.

mod characters;
mod draw;
mod experiment;
mod files;
mod halves;
mod language;
mod lds;
mod measure;
mod network;
mod noisy;
mod npy;
mod problem;
mod report;
mod table;
mod text;
mod train;
mod transformer;

pub use characters::{Adapter, Base, Shape};
pub use experiment::{Experiment, Options};
pub use files::{FilesError, read_scores, write_scores};
pub use halves::Halves;
pub use language::CharacterTrial;
pub use lds::{Lds, auc, lds};
pub use measure::{ROW_BUDGETS, Trial, Way, best_within, digits_lr, digits_mlp, measure};
pub use network::{FactorsError, Labels, Network};
pub use noisy::{noisy_labels, self_influence};
pub use npy::NpyError;
pub use problem::Problem;
pub use report::{Line, Report};
pub use table::{Table, TableError};
pub use text::{Documents, Text, TextError};
pub use transformer::TransformerTrial;

use super::artifact::ArtifactError;
use super::gradients::GradientError;
use super::layout::LayoutError;
use super::methods::{MethodError, Regulariser};
use super::quantise::QuantiseError;
use super::score::ScorerError;
use super::solve::SolveError;
use crate::model;
use protocol::influence::GramError;

/// The models that suites train.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// Multinomial logistic regression.
    Logistic,
    /// One hidden layer of rectified linear units.
    Perceptron,
}

impl Model {
    /// ρ of the objective: mean cross entropy + ½ ρ |θ|².
    pub const L2: f64 = 1e-3;
    /// Units of the hidden layer.
    pub const HIDDEN: usize = 64;

    /// One word for reports and folders.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Logistic => "lr",
            Self::Perceptron => "mlp",
        }
    }

    /// λ. Logistic regression with L2 has one optimum, and its Hessian is F plus the regulariser, so that is λ; the other
    /// model is not at an optimum, and has one mean eigenvalue.
    pub fn regulariser(self, examples: usize) -> Regulariser {
        match self {
            Self::Logistic => Regulariser::Absolute(Self::L2 * examples as f64),
            Self::Perceptron => Regulariser::MeanEigenvalue(1.0),
        }
    }
}

/// Why a suite did not run to its end.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence on each variant is its documentation, and names its fields")]
pub enum BenchError {
    #[error("the table has {got} rows, but {train} to train with and {test} to test with are asked for")]
    Rows { got: usize, train: usize, test: usize },
    #[error("{what} is {got}; it must be at least {least}")]
    Option { what: &'static str, got: usize, least: usize },
    #[error("training did not converge: the gradient is still {gradient} after {steps} steps")]
    Diverged { gradient: f64, steps: usize },
    #[error(
        "training on half {half} ended in likelihoods that are no numbers: on this data the suite's rate is too high"
    )]
    Unstable { half: usize },
    #[error("λ = {lambda} is out of the range of dampings")]
    Damping { lambda: f64 },
    #[error(transparent)]
    Table(#[from] TableError),
    #[error(transparent)]
    Text(#[from] TextError),
    #[error(transparent)]
    Config(#[from] model::ConfigError),
    #[error(transparent)]
    Lora(#[from] model::LoraError),
    #[error(transparent)]
    Train(#[from] model::TrainError),
    #[error(transparent)]
    Likelihood(#[from] model::LikelihoodError),
    #[error(transparent)]
    ModelGradient(#[from] model::GradientError),
    #[error("the model's weights could not be copied")]
    Weights(#[from] candle_core::Error),
    #[error(transparent)]
    Files(#[from] FilesError),
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error(transparent)]
    Gradient(#[from] GradientError),
    #[error(transparent)]
    Method(#[from] MethodError),
    #[error(transparent)]
    Quantise(#[from] QuantiseError),
    #[error(transparent)]
    Gram(#[from] GramError),
    #[error(transparent)]
    Solve(#[from] SolveError),
    #[error(transparent)]
    Scorer(#[from] ScorerError),
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
}
