//! Each method against its definition, by dense matrices and elimination, on problems small enough to do so.

use super::super::gradients::LayerFactors;
use super::super::layout::{Block, Layout};
use super::*;
use crate::influence::gradients::Factors;

type Dense = Vec<Vec<f64>>;

/// Numbers between -1 and 1 that look drawn.
fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        f64::from(state) / f64::from(u32::MAX) * 2.0 - 1.0
    };
    #[expect(clippy::cast_possible_truncation, reason = "any number between will do")]
    (0..count).map(|_| next() as f32).collect()
}

fn gradients(rows: usize, dimension: usize, seed: u32) -> Gradients {
    Gradients::new(dimension, numbers(rows * dimension, seed)).unwrap()
}

fn wide(row: &[f32]) -> Vec<f64> {
    row.iter().map(|value| f64::from(*value)).collect()
}

fn outer(rows: &[Vec<f64>], lambda: f64) -> Dense {
    let dimension = rows[0].len();
    let entry =
        |i: usize, j: usize| rows.iter().map(|row| row[i] * row[j]).sum::<f64>() + if i == j { lambda } else { 0.0 };
    (0..dimension).map(|i| (0..dimension).map(|j| entry(i, j)).collect()).collect()
}

/// Gaussian elimination with the largest pivot.
fn solve(mut matrix: Dense, mut right: Vec<f64>) -> Vec<f64> {
    let count = right.len();
    for at in 0..count {
        let pivot = (at..count).max_by(|a, b| matrix[*a][at].abs().total_cmp(&matrix[*b][at].abs())).unwrap();
        matrix.swap(at, pivot);
        right.swap(at, pivot);
        for row in at + 1..count {
            let pivot = matrix[at].clone();
            let factor = matrix[row][at] / pivot[at];
            matrix[row].iter_mut().zip(&pivot).skip(at).for_each(|(entry, pivot)| *entry -= factor * pivot);
            right[row] -= factor * right[at];
        }
    }
    for at in (0..count).rev() {
        let known: f64 = (at + 1..count).map(|column| matrix[at][column] * right[column]).sum();
        right[at] = (right[at] - known) / matrix[at][at];
    }
    right
}

fn assert_close(found: &Vectors, expected: &[Vec<f64>]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.rows().zip(expected) {
        let size = expected.iter().fold(0.0_f64, |size, value| size.max(value.abs()));
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-9 * size, "{found} {expected}");
        }
    }
}

fn two_blocks() -> Layout {
    let block = |inputs, outputs| Block { name: format!("{inputs}x{outputs}"), inputs, outputs };
    Layout::new(vec![block(3, 2), block(2, 4)]).unwrap()
}

#[test]
fn fisher_inverts_in_both_forms() {
    let queries = gradients(3, 7, 1);
    for (rows, regulariser) in [
        (20, Regulariser::MeanEigenvalue(1.0)),
        (7, Regulariser::MeanEigenvalue(0.1)),
        (4, Regulariser::MeanEigenvalue(1.0)),
        (4, Regulariser::Absolute(0.5)),
        (1, Regulariser::MeanEigenvalue(0.01)),
    ] {
        let rows = gradients(rows, 7, 2);
        let fisher = FisherInverse::gauss_newton(&rows, regulariser).unwrap();
        let lambda = match regulariser {
            Regulariser::MeanEigenvalue(times) => times * rows.square() / 7.0,
            Regulariser::Absolute(lambda) => lambda,
        };
        assert_eq!(fisher.lambda(), lambda);
        let dense = outer(&rows.rows().map(wide).collect::<Vec<_>>(), lambda);
        let expected: Vec<_> = queries.rows().map(|query| solve(dense.clone(), wide(query))).collect();
        assert_close(&fisher.apply(&queries).unwrap(), &expected);
    }
}

#[test]
fn gradient_dot_changes_nothing() {
    let queries = gradients(3, 7, 1);
    assert_close(&GradientDot.apply(&queries).unwrap(), &queries.rows().map(wide).collect::<Vec<_>>());
}

#[test]
fn datainf_is_the_mean_of_inverses() {
    let layout = two_blocks();
    let (rows, queries) = (gradients(9, 14, 3), gradients(2, 14, 4));
    let method = DataInf::new(&layout, &rows, 0.1).unwrap();
    let mut expected = vec![Vec::new(); 2];
    for (_, range) in layout.ranges() {
        let part: Vec<Vec<f64>> = rows.rows().map(|row| wide(&row[range.clone()])).collect();
        let square: f64 = part.iter().flatten().map(|value| value * value).sum();
        let lambda = 0.1 * square / (part.len() * range.len()) as f64;
        for (query, expected) in queries.rows().zip(&mut expected) {
            let query = wide(&query[range.clone()]);
            let mut mean = vec![0.0; query.len()];
            for row in &part {
                let one = solve(outer(std::slice::from_ref(row), lambda), query.clone());
                mean.iter_mut().zip(one).for_each(|(mean, one)| *mean += one / part.len() as f64);
            }
            expected.extend(mean);
        }
    }
    assert_close(&method.apply(&queries).unwrap(), &expected);
}

/// With one token an example and one example, the gradient is x ⊗ δ, and EK-FAC is F itself: F has no other eigenvectors.
#[test]
fn ekfac_is_exact_where_its_basis_is() {
    let layout = two_blocks();
    let layers = |inputs: usize, outputs, seed| LayerFactors {
        inputs: numbers(inputs, seed),
        deltas: numbers(outputs, seed + 10),
    };
    let factors = Factors::new(layout.clone(), vec![layers(3, 2, 5), layers(2, 4, 6)], vec![1]).unwrap();
    let rows = factors.gradients().unwrap();
    let queries = gradients(2, 14, 7);
    let method = EkFac::new(&factors, 0.1).unwrap();
    let mut expected = vec![Vec::new(); 2];
    for (_, range) in layout.ranges() {
        let part: Vec<Vec<f64>> = rows.rows().map(|row| wide(&row[range.clone()])).collect();
        let lambda = 0.1 * part.iter().flatten().map(|value| value * value).sum::<f64>() / range.len() as f64;
        for (query, expected) in queries.rows().zip(&mut expected) {
            expected.extend(solve(outer(&part, lambda), wide(&query[range.clone()])));
        }
    }
    // Factors are f32, and so is their product.
    for (found, expected) in method.apply(&queries).unwrap().rows().zip(&expected) {
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-5 * expected.abs().max(1.0), "{found} {expected}");
        }
    }
}

/// Many examples of several tokens: the definition step by step, with eigenvectors by Jacobi's rotations.
#[test]
fn ekfac_is_its_definition() {
    let layout = two_blocks();
    let ends = vec![2, 3, 3, 6, 8];
    let layers = |inputs: usize, outputs: usize, seed| LayerFactors {
        inputs: numbers(8 * inputs, seed),
        deltas: numbers(8 * outputs, seed + 10),
    };
    let factors = Factors::new(layout.clone(), vec![layers(3, 2, 8), layers(2, 4, 9)], ends).unwrap();
    let rows = factors.gradients().unwrap();
    let queries = gradients(3, 14, 11);
    let found = EkFac::new(&factors, 0.1).unwrap().apply(&queries).unwrap();
    for ((block, range), layer) in layout.ranges().zip(factors.layers()) {
        let (inputs, outputs) = (block.inputs as usize, block.outputs as usize);
        let basis = |tokens: &[f32], width: usize| {
            eigenvectors(outer(&tokens.chunks(width).map(wide).collect::<Vec<_>>(), 0.0))
        };
        let (u, v) = (basis(&layer.inputs, inputs), basis(&layer.deltas, outputs));
        // The entry of a vector in the direction of eigenvectors i and j.
        let entry = |vector: &[f64], i: usize, j: usize| -> f64 {
            (0..inputs * outputs).map(|at| vector[at] * u[i][at / outputs] * v[j][at % outputs]).sum()
        };
        let part: Vec<Vec<f64>> = rows.rows().map(|row| wide(&row[range.clone()])).collect();
        let fitted = |i, j| part.iter().map(|row| entry(row, i, j).powi(2)).sum::<f64>() / part.len() as f64;
        let pairs = || (0..inputs).flat_map(|i| (0..outputs).map(move |j| (i, j)));
        let lambda = 0.1 * pairs().map(|(i, j)| fitted(i, j)).sum::<f64>() / (inputs * outputs) as f64;
        for (query, found) in queries.rows().zip(found.rows()) {
            let query = wide(&query[range.clone()]);
            for (at, found) in found[range.clone()].iter().enumerate() {
                let expected: f64 = pairs()
                    .map(|(i, j)| {
                        entry(&query, i, j) / (fitted(i, j) + lambda) * u[i][at / outputs] * v[j][at % outputs]
                    })
                    .sum();
                assert!((found - expected).abs() < 1e-4 * expected.abs().max(1.0), "{found} {expected}");
            }
        }
    }
}

/// Eigenvectors of a symmetric matrix, one after the other.
fn eigenvectors(mut matrix: Dense) -> Dense {
    let count = matrix.len();
    let mut vectors: Dense = (0..count).map(|i| (0..count).map(|j| f64::from(u8::from(i == j))).collect()).collect();
    for _ in 0..100 {
        for i in 0..count {
            for j in i + 1..count {
                let angle = 0.5 * (2.0 * matrix[i][j]).atan2(matrix[i][i] - matrix[j][j]);
                let (sine, cosine) = angle.sin_cos();
                for row in &mut matrix {
                    (row[i], row[j]) = (cosine * row[i] + sine * row[j], cosine * row[j] - sine * row[i]);
                }
                for at in 0..count {
                    let (a, b) = (matrix[i][at], matrix[j][at]);
                    (matrix[i][at], matrix[j][at]) = (cosine * a + sine * b, cosine * b - sine * a);
                    let (a, b) = (vectors[i][at], vectors[j][at]);
                    (vectors[i][at], vectors[j][at]) = (cosine * a + sine * b, cosine * b - sine * a);
                }
            }
        }
    }
    vectors
}

#[test]
fn what_cannot_be_learned_from_is_refused() {
    let layout = two_blocks();
    let (rows, none) = (gradients(3, 14, 1), Gradients::new(14, Vec::new()).unwrap());
    let zero = Gradients::new(14, vec![0.0; 28]).unwrap();
    let one = Regulariser::MeanEigenvalue(1.0);
    assert_eq!(FisherInverse::empirical(&none, one).unwrap_err(), MethodError::Empty);
    assert_eq!(FisherInverse::empirical(&zero, one).unwrap_err(), MethodError::Damping { got: 0.0 });
    for got in [0.0, -1.0, f64::INFINITY] {
        assert_eq!(
            FisherInverse::empirical(&rows, Regulariser::Absolute(got)).unwrap_err(),
            MethodError::Damping { got }
        );
        assert_eq!(DataInf::new(&layout, &rows, got).unwrap_err(), MethodError::Damping { got });
    }
    assert!(FisherInverse::empirical(&rows, Regulariser::Absolute(f64::NAN)).is_err());
    assert_eq!(DataInf::new(&layout, &none, 0.1).unwrap_err(), MethodError::Empty);
    assert_eq!(
        DataInf::new(&layout, &gradients(3, 13, 1), 0.1).unwrap_err(),
        MethodError::Dimension { got: 13, expected: 14 }
    );
    let fisher = FisherInverse::empirical(&rows, one).unwrap();
    assert!(matches!(fisher.apply(&gradients(1, 13, 1)), Err(MethodError::Dimension { got: 13, .. })));
    // All-zero rows have no influence, and are no error, where a method works block by block.
    let blocks = DataInf::new(&layout, &zero, 0.1).unwrap().apply(&rows).unwrap();
    assert!(blocks.values().iter().all(|value| *value == 0.0));
}
