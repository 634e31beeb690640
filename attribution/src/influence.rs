//! Influence: how much each training example raised the likelihood of an answer, in floats up to one door, and in exact
//! integers behind it.
//!
//! # What goes in
//!
//! Gradients of the log-likelihood with respect to the trainable parameters, as flat rows of `f32` in the order of a
//! [`Layout`]: one row for each training example, one for the answer (the query), and *Fisher rows*, which are gradients
//! at labels that the model itself would have drawn. Who makes them (a language model, the small models of [`mod@bench`])
//! does not matter here. As they are gradients of a log-likelihood, a positive influence means that adding the row
//! raises the likelihood of the answer.
//!
//! # What is done
//!
//! 1. A [`Space`] says which parameters there are and whether rows are projected to fewer dimensions. Projection costs
//!    quality; below some eight thousand parameters there is no reason for it.
//! 2. A [`Preconditioner`] turns a query q into x = (F + λ)⁻¹ q; the influence of a row g is then ⟨g, x⟩. It is applied
//!    to the query and never to rows, so that a row depends on checkpoint and example alone and can be audited alone.
//! 3. `quantise` is the one door from float to integer. Rows, Fisher rows and queries pass it.
//! 4. A [`Solver`] finds x in integers, such that [`protocol::influence::residual`] accepts it, and [`Scorer`] scores
//!    rows at the speed of memory, to the same integers as the protocol's definition.
//! 5. An [`Artifact`] is the file of all that, committed to by one root.
//!
//! Damping is fixed beforehand: one mean eigenvalue of F, or, for a strictly convex objective that was trained to
//! convergence, the objective's own regulariser.
//!
//! # Which method
//!
//! | method | F |
//! | --- | --- |
//! | gradient dot | the identity |
//! | DataInf | per block, and the mean of the inverses instead of the inverse of the mean |
//! | empirical Fisher | gradients at the labels of the training data |
//! | EK-FAC | per block, Kronecker-factored eigenvectors with eigenvalues fitted to the gradients |
//! | Gauss-Newton | gradients at labels of the model's own distribution, sampled or in expectation |
//!
//! The first two hardly tell training examples apart; the last is what networks should use. [`mod@bench`] measures it.

mod artifact;
pub mod bench;
mod gradients;
mod layout;
mod linear;
mod methods;
mod projection;
mod quantise;
mod score;
mod solve;

pub use artifact::{Artifact, ArtifactError, MAX_LAYOUT_BYTES, Parts};
pub use gradients::{Factors, GradientError, Gradients, LayerFactors, Vectors};
pub use layout::{Block, Layout, LayoutError, MAX_BLOCK_NAME_BYTES, MAX_BLOCKS, Projection, Space};
pub use methods::{DataInf, EkFac, FisherInverse, GradientDot, Method, MethodError, Preconditioner, Regulariser};
pub use projection::{Projector, principal_basis};
pub use quantise::{QuantiseError, choose_exponent, quantise_query, quantise_rows, quantise_solution};
pub(crate) use quantise::{Quantiser, exponent_for, is_fine};
pub use score::{Scorer, ScorerError};
pub use solve::{Curvature, SolveError, Solver, damping, gram};
