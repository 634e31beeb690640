//! EK-FAC (George, Laurent, Bouthillier, Ballas and Vincent, "Fast approximate natural gradient descent in a
//! Kronecker-factored eigenbasis", 2018; for influence: Grosse and others, 2023).

use super::{Method, MethodError, Preconditioner, check_dimension};
use crate::influence::gradients::{Factors, Gradients, Vectors};
use crate::influence::linear::{add_second_moment, mirror, product};
use faer::{Mat, MatRef, Side};
use std::ops::Range;

/// Per block, F in the basis U ⊗ V of the eigenvectors of E[x xᵀ] and E[δ δᵀ], where only its diagonal is kept: the mean
/// square of the gradients in that basis.
#[derive(Debug)]
pub struct EkFac {
    dimension: usize,
    blocks: Vec<Block>,
}

#[derive(Debug)]
struct Block {
    range: Range<usize>,
    inputs: Mat<f64>,
    outputs: Mat<f64>,
    /// Fitted eigenvalue plus λ of each pair of eigenvectors, in the order of the block's parameters.
    eigenvalues: Vec<f64>,
}

impl EkFac {
    /// A tenth of the mean eigenvalue of each block.
    pub const PART: f64 = 0.1;

    /// Learns from factors; λ is a part of each block's mean eigenvalue. A block without gradients has no influence.
    pub fn new(factors: &Factors, part: f64) -> Result<Self, MethodError> {
        if factors.examples() == 0 || factors.tokens() == 0 {
            return Err(MethodError::Empty);
        }
        if !(part > 0.0 && part.is_finite()) {
            return Err(MethodError::Damping { got: part });
        }
        let mut blocks = Vec::new();
        for ((block, range), layer) in factors.layout().ranges().zip(factors.layers()) {
            let error = || MethodError::Eigenvectors { block: block.name.clone() };
            let (x, inputs) = in_eigenbasis(&layer.inputs, block.inputs as usize).ok_or_else(error)?;
            let (delta, outputs) = in_eigenbasis(&layer.deltas, block.outputs as usize).ok_or_else(error)?;
            let mut eigenvalues = fitted(factors, &x, &delta);
            let lambda = part * eigenvalues.iter().sum::<f64>() / eigenvalues.len() as f64;
            if lambda > 0.0 {
                eigenvalues.iter_mut().for_each(|value| *value += lambda);
                blocks.push(Block { range, inputs, outputs, eigenvalues });
            }
        }
        Ok(Self { dimension: factors.layout().parameters(), blocks })
    }
}

/// Tokens in the eigenbasis of their second moment, and that basis, by columns.
fn in_eigenbasis(tokens: &[f32], width: usize) -> Option<(Mat<f64>, Mat<f64>)> {
    let rows = MatRef::from_row_major_slice(tokens, tokens.len() / width, width);
    let rows = Mat::from_fn(rows.nrows(), width, |row, column| f64::from(rows[(row, column)]));
    let mut moment = Mat::zeros(width, width);
    add_second_moment(moment.as_mut(), rows.as_ref());
    mirror(moment.as_mut());
    let basis = moment.self_adjoint_eigen(Side::Lower).ok()?.U().to_owned();
    Some((product(rows.as_ref(), basis.as_ref()), basis))
}

/// The mean square of the examples' gradients, given their factors in the eigenbasis.
fn fitted(factors: &Factors, x: &Mat<f64>, delta: &Mat<f64>) -> Vec<f64> {
    let (inputs, outputs) = (x.ncols(), delta.ncols());
    let mut squares = vec![0.0; inputs * outputs];
    let mut gradient = vec![0.0; inputs * outputs];
    for tokens in factors.tokens_of_examples() {
        gradient.fill(0.0);
        for token in tokens {
            for (input, sums) in gradient.chunks_exact_mut(outputs).enumerate() {
                let x = x[(token, input)];
                sums.iter_mut().enumerate().for_each(|(output, sum)| *sum += x * delta[(token, output)]);
            }
        }
        squares.iter_mut().zip(&gradient).for_each(|(sum, value)| *sum += value * value);
    }
    squares.iter_mut().for_each(|sum| *sum /= factors.examples() as f64);
    squares
}

impl Preconditioner for EkFac {
    fn method(&self) -> Method {
        Method::EkFac
    }

    fn apply(&self, queries: &Gradients) -> Result<Vectors, MethodError> {
        check_dimension(queries, self.dimension)?;
        let mut values = vec![0.0; queries.len() * self.dimension];
        for (query, values) in queries.rows().zip(values.chunks_exact_mut(self.dimension)) {
            for Block { range, inputs, outputs, eigenvalues } in &self.blocks {
                let wide = outputs.ncols();
                let query = MatRef::from_row_major_slice(&query[range.clone()], inputs.nrows(), wide);
                let query = Mat::from_fn(query.nrows(), wide, |row, column| f64::from(query[(row, column)]));
                let mut inside = product(product(inputs.transpose(), query.as_ref()).as_ref(), outputs.as_ref());
                for row in 0..inside.nrows() {
                    for column in 0..wide {
                        inside[(row, column)] /= eigenvalues[row * wide + column];
                    }
                }
                let back = product(product(inputs.as_ref(), inside.as_ref()).as_ref(), outputs.transpose());
                for (at, value) in values[range.clone()].iter_mut().enumerate() {
                    *value = back[(at / wide, at % wide)];
                }
            }
        }
        Ok(Vectors::new(self.dimension, values)?)
    }
}
