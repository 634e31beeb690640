//! The little of linear algebra that methods and solvers share, in double precision and one thread.

use super::gradients::{Gradients, Vectors};
use faer::linalg::matmul::matmul;
use faer::linalg::matmul::triangular::{self, BlockStructure};
use faer::linalg::solvers::{Llt, Solve};
use faer::{Accum, Mat, MatMut, MatRef, Par, Side};

/// Rows that are widened to double precision at a time.
const ROWS_AT_ONCE: usize = 1024;

/// Σ g gᵀ over the rows, both triangles.
pub(super) fn second_moment(rows: &Gradients) -> Mat<f64> {
    let dimension = rows.dimension();
    let mut sum = Mat::zeros(dimension, dimension);
    for part in rows.values().chunks(ROWS_AT_ONCE * dimension) {
        add_second_moment(sum.as_mut(), widened(part, dimension).as_ref());
    }
    mirror(sum.as_mut());
    sum
}

/// Adds Aᵀ A to the lower triangle of a matrix.
pub(super) fn add_second_moment(sum: MatMut<'_, f64>, rows: MatRef<'_, f64>) {
    triangular::matmul(
        sum,
        BlockStructure::TriangularLower,
        Accum::Add,
        rows.transpose(),
        BlockStructure::Rectangular,
        rows,
        BlockStructure::Rectangular,
        1.0,
        Par::Seq,
    );
}

/// Copies the lower triangle to the upper one.
pub(super) fn mirror(mut matrix: MatMut<'_, f64>) {
    for row in 0..matrix.nrows() {
        for column in 0..row {
            matrix[(column, row)] = matrix[(row, column)];
        }
    }
}

/// The inner products of all rows with each other.
pub(super) fn inner_products(rows: &Gradients) -> Mat<f64> {
    let all = widened(rows.values(), rows.dimension());
    let mut sum = Mat::zeros(rows.len(), rows.len());
    matmul(&mut sum, Accum::Replace, &all, all.transpose(), 1.0, Par::Seq);
    sum
}

/// Rows as a matrix of double precision.
pub(super) fn matrix(rows: &Gradients) -> Mat<f64> {
    widened(rows.values(), rows.dimension())
}

fn widened(values: &[f32], dimension: usize) -> Mat<f64> {
    let rows = MatRef::from_row_major_slice(values, values.len() / dimension, dimension);
    Mat::from_fn(rows.nrows(), rows.ncols(), |row, column| f64::from(rows[(row, column)]))
}

/// Each row's inner product with each vector, row by row.
pub(super) fn products(rows: &Gradients, vectors: &Vectors) -> Vec<f64> {
    let dimension = rows.dimension();
    let right = MatRef::from_row_major_slice(vectors.values(), vectors.len(), dimension);
    let mut all = Vec::with_capacity(rows.len() * vectors.len());
    for part in rows.values().chunks(ROWS_AT_ONCE * dimension) {
        let left = widened(part, dimension);
        let mut found = Mat::zeros(left.nrows(), vectors.len());
        matmul(&mut found, Accum::Replace, &left, right.transpose(), 1.0, Par::Seq);
        all.extend(by_rows(found.as_ref()));
    }
    all
}

/// A product of two matrices.
pub(super) fn product(left: MatRef<'_, f64>, right: MatRef<'_, f64>) -> Mat<f64> {
    let mut found = Mat::zeros(left.nrows(), right.ncols());
    matmul(&mut found, Accum::Replace, left, right, 1.0, Par::Seq);
    found
}

/// The entries of a matrix, row by row.
pub(super) fn by_rows(matrix: MatRef<'_, f64>) -> impl Iterator<Item = f64> {
    (0..matrix.nrows()).flat_map(move |row| (0..matrix.ncols()).map(move |column| matrix[(row, column)]))
}

/// A symmetric positive definite matrix, ready to solve with.
#[derive(Debug)]
pub(super) struct Definite(Llt<f64>);

impl Definite {
    /// Factorises `matrix + lambda`, of which the lower triangle counts. None if that is not positive definite.
    pub(super) fn new(mut matrix: Mat<f64>, lambda: f64) -> Option<Self> {
        for at in 0..matrix.nrows() {
            matrix[(at, at)] += lambda;
        }
        let sound = |at: usize| matrix[(at, at)].is_finite();
        if !(0..matrix.nrows()).all(sound) {
            return None;
        }
        Llt::new(matrix.as_ref(), Side::Lower).ok().map(Self)
    }

    /// Solves for the columns of a matrix, in place.
    pub(super) fn solve(&self, columns: MatMut<'_, f64>) {
        self.0.solve_in_place(columns);
    }
}
