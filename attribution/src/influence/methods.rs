//! The methods: each turns a query q into x, such that ⟨g, x⟩ is the influence of a row g.

mod datainf;
mod dot;
mod ekfac;
mod fisher;

pub use datainf::DataInf;
pub use dot::GradientDot;
pub use ekfac::EkFac;
pub use fisher::FisherInverse;
pub(super) use fisher::dual;

use super::gradients::{GradientError, Gradients, Vectors};

/// The methods by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    /// Inner products of gradients, as TracIn has them for one checkpoint.
    GradientDot,
    /// The mean of the inverses of each row's own rank-one matrix.
    DataInf,
    /// The inverse of Σ g gᵀ at the labels of the data.
    EmpiricalFisher,
    /// Kronecker-factored eigenvectors with fitted eigenvalues.
    EkFac,
    /// The inverse of Σ f fᵀ at labels of the model's own distribution, which is the Gauss-Newton matrix.
    GaussNewton,
}

impl Method {
    /// All of them, the simplest first.
    pub const ALL: [Self; 5] =
        [Self::GradientDot, Self::DataInf, Self::EmpiricalFisher, Self::EkFac, Self::GaussNewton];

    /// One word for manifests, tables and the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::GradientDot => "gradient-dot",
            Self::DataInf => "datainf",
            Self::EmpiricalFisher => "empirical-fisher",
            Self::EkFac => "ek-fac",
            Self::GaussNewton => "gauss-newton",
        }
    }
}

/// λ, fixed before anybody looks at results.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Regulariser {
    /// So many mean eigenvalues of F.
    MeanEigenvalue(f64),
    /// This number, in the units of F = Σ f fᵀ: for n examples and an objective with the regulariser ½ ρ |θ|² in its mean,
    /// that is n ρ.
    Absolute(f64),
}

/// What makes influence of gradients: it is applied to queries, never to rows.
pub trait Preconditioner {
    /// Which method it is.
    fn method(&self) -> Method;

    /// x for each query.
    fn apply(&self, queries: &Gradients) -> Result<Vectors, MethodError>;
}

/// Why a method cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence on each variant is its documentation, and names its fields")]
pub enum MethodError {
    #[error("{got} dimensions, but the method was made for {expected}")]
    Dimension { got: usize, expected: usize },
    #[error("there are no rows to learn the curvature from")]
    Empty,
    #[error("a damping of {got}; it must be above 0 and finite. All-zero rows have no mean eigenvalue")]
    Damping { got: f64 },
    #[error("the curvature with a damping of {lambda} is not positive definite in double precision; use a larger one")]
    Singular { lambda: f64 },
    #[error("the eigenvectors of block `{block}` could not be found")]
    Eigenvectors { block: String },
    #[error(transparent)]
    Gradient(#[from] GradientError),
}

impl Regulariser {
    /// λ for F of this trace and dimension.
    pub(super) fn lambda(self, trace: f64, dimension: usize) -> Result<f64, MethodError> {
        let got = match self {
            Self::MeanEigenvalue(times) => times * trace / dimension as f64,
            Self::Absolute(lambda) => lambda,
        };
        if got > 0.0 && got.is_finite() { Ok(got) } else { Err(MethodError::Damping { got }) }
    }
}

fn check_dimension(queries: &Gradients, expected: usize) -> Result<(), MethodError> {
    match queries.dimension() {
        got if got == expected => Ok(()),
        got => Err(MethodError::Dimension { got, expected }),
    }
}

#[cfg(test)]
mod tests;
