//! The inverse of F + λ, for the empirical Fisher and for Gauss-Newton: they differ in the labels of the rows alone.

use super::{Method, MethodError, Preconditioner, Regulariser, check_dimension};
use crate::influence::gradients::{Gradients, Vectors};
use crate::influence::linear::{Definite, by_rows, inner_products, matrix, product, second_moment};
use faer::{Mat, MatRef};

/// (Σ f fᵀ + λ)⁻¹, factorised once.
#[derive(Debug)]
pub struct FisherInverse {
    method: Method,
    dimension: usize,
    lambda: f64,
    form: Form,
}

#[derive(Debug)]
enum Form {
    /// The inverse itself, for as many rows as parameters and more.
    Primal(Definite),
    /// For fewer rows B than parameters: (Bᵀ B + λ)⁻¹ = (1 − Bᵀ (B Bᵀ + λ)⁻¹ B) / λ.
    Dual { rows: Mat<f64>, inner: Definite },
}

impl FisherInverse {
    /// F of gradients at the labels of the data.
    pub fn empirical(rows: &Gradients, regulariser: Regulariser) -> Result<Self, MethodError> {
        Self::new(Method::EmpiricalFisher, rows, regulariser)
    }

    /// F of gradients at labels of the model's own distribution: sampled, or each label's times the root of its
    /// probability.
    pub fn gauss_newton(rows: &Gradients, regulariser: Regulariser) -> Result<Self, MethodError> {
        Self::new(Method::GaussNewton, rows, regulariser)
    }

    fn new(method: Method, rows: &Gradients, regulariser: Regulariser) -> Result<Self, MethodError> {
        if rows.is_empty() {
            return Err(MethodError::Empty);
        }
        let dimension = rows.dimension();
        let lambda = regulariser.lambda(rows.square(), dimension)?;
        let singular = MethodError::Singular { lambda };
        let form = if rows.len() < dimension {
            let inner = Definite::new(inner_products(rows), lambda).ok_or(singular)?;
            Form::Dual { rows: matrix(rows), inner }
        } else {
            Form::Primal(Definite::new(second_moment(rows), lambda).ok_or(singular)?)
        };
        Ok(Self { method, dimension, lambda, form })
    }

    /// λ in the units of F.
    pub fn lambda(&self) -> f64 {
        self.lambda
    }
}

impl Preconditioner for FisherInverse {
    fn method(&self) -> Method {
        self.method
    }

    fn apply(&self, queries: &Gradients) -> Result<Vectors, MethodError> {
        check_dimension(queries, self.dimension)?;
        let mut columns = matrix(queries).transpose().to_owned();
        match &self.form {
            Form::Primal(factor) => factor.solve(columns.as_mut()),
            Form::Dual { rows, inner } => dual(rows.as_ref(), inner, self.lambda, &mut columns),
        }
        Ok(Vectors::new(self.dimension, by_rows(columns.transpose()).collect())?)
    }
}

/// Solves with Bᵀ B + λ for the columns of a matrix, in place, given B Bᵀ + λ.
pub(in crate::influence) fn dual(rows: MatRef<'_, f64>, inner: &Definite, lambda: f64, columns: &mut Mat<f64>) {
    let mut weights = product(rows, columns.as_ref());
    inner.solve(weights.as_mut());
    let seen = product(rows.transpose(), weights.as_ref());
    for column in 0..columns.ncols() {
        for row in 0..columns.nrows() {
            columns[(row, column)] = (columns[(row, column)] - seen[(row, column)]) / lambda;
        }
    }
}
