//! Gradient dot: no curvature at all.

use super::{Method, MethodError, Preconditioner};
use crate::influence::gradients::{Gradients, Vectors};

/// F = 1.
#[derive(Clone, Copy, Debug, Default)]
pub struct GradientDot;

impl Preconditioner for GradientDot {
    fn method(&self) -> Method {
        Method::GradientDot
    }

    fn apply(&self, queries: &Gradients) -> Result<Vectors, MethodError> {
        let values = queries.values().iter().map(|value| f64::from(*value)).collect();
        Ok(Vectors::new(queries.dimension(), values)?)
    }
}
