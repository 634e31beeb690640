//! DataInf (Kwon, Wu, Wu and Zou, "DataInf: efficiently estimating data influence in LoRA-tuned LLMs and diffusion models",
//! 2023): per block, the mean over rows of (g gᵀ + λ)⁻¹ in the place of the inverse of the mean.

use super::{Method, MethodError, Preconditioner, check_dimension};
use crate::influence::gradients::{Gradients, Vectors};
use crate::influence::layout::Layout;
use crate::influence::linear::{matrix, product};
use faer::Mat;
use std::ops::Range;

/// (1/n) Σ (g gᵀ + λ)⁻¹ for each block, with λ a part of the mean square of the block's gradients.
#[derive(Debug)]
pub struct DataInf {
    dimension: usize,
    blocks: Vec<Block>,
}

#[derive(Debug)]
struct Block {
    range: Range<usize>,
    rows: Mat<f64>,
    lambda: f64,
    /// 1 / (λ + |g|²) for each row.
    weights: Vec<f64>,
}

impl DataInf {
    /// What the authors take: a tenth of the mean square.
    pub const PART: f64 = 0.1;

    /// Learns from gradients at the labels of the data. A block without gradients has no influence.
    pub fn new(layout: &Layout, rows: &Gradients, part: f64) -> Result<Self, MethodError> {
        check_dimension(rows, layout.parameters())?;
        if rows.is_empty() {
            return Err(MethodError::Empty);
        }
        if !(part > 0.0 && part.is_finite()) {
            return Err(MethodError::Damping { got: part });
        }
        let all = matrix(rows);
        let mut blocks = Vec::new();
        for (_, range) in layout.ranges() {
            let rows = all.as_ref().subcols(range.start, range.len()).to_owned();
            let squares: Vec<f64> =
                (0..rows.nrows()).map(|row| (0..rows.ncols()).map(|at| rows[(row, at)].powi(2)).sum()).collect();
            let lambda = part * squares.iter().sum::<f64>() / (rows.nrows() * rows.ncols()) as f64;
            if lambda > 0.0 {
                let weights = squares.iter().map(|square| 1.0 / (lambda + square)).collect();
                blocks.push(Block { range, rows, lambda, weights });
            }
        }
        Ok(Self { dimension: layout.parameters(), blocks })
    }
}

impl Preconditioner for DataInf {
    fn method(&self) -> Method {
        Method::DataInf
    }

    fn apply(&self, queries: &Gradients) -> Result<Vectors, MethodError> {
        check_dimension(queries, self.dimension)?;
        let queries = matrix(queries);
        let mut values = vec![0.0; queries.nrows() * self.dimension];
        for Block { range, rows, lambda, weights } in &self.blocks {
            let part = queries.as_ref().subcols(range.start, range.len());
            let mut shares = product(part, rows.transpose());
            for (row, weight) in weights.iter().enumerate() {
                for query in 0..shares.nrows() {
                    shares[(query, row)] *= weight / weights.len() as f64;
                }
            }
            let seen = product(shares.as_ref(), rows.as_ref());
            for (query, values) in values.chunks_exact_mut(self.dimension).enumerate() {
                for (at, value) in values[range.clone()].iter_mut().enumerate() {
                    *value = (part[(query, at)] - seen[(query, at)]) / lambda;
                }
            }
        }
        Ok(Vectors::new(self.dimension, values)?)
    }
}
