//! Projection of gradients to fewer dimensions: random signs, the same on both sides of each layer, or a basis.
//!
//! Signs are bits of BLAKE3 streams of a 32-byte seed, one stream for each entry that is projected: bit j is the sign with
//! which the entry goes into sum j, 0 for plus. Sums are divided by the root of their number, so that lengths and inner
//! products keep their expected values.

use super::gradients::{GradientError, Gradients};
use super::layout::{Projection, Space};
use super::linear::{by_rows, inner_products, matrix, product, second_moment};
use super::methods::MethodError;
use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatRef, Par, Side};
use protocol::crypto;
use protocol::ids::Hash32;

/// Entries whose signs are made at a time.
const ENTRIES_AT_ONCE: usize = 1024;
/// Streams of a factored projection: bit 63, the block, the side, the entry.
const FACTORED: u64 = 1 << 63;

/// Projects gradients into a space.
#[derive(Debug)]
pub struct Projector {
    space: Space,
    seed: [u8; 32],
    /// By columns, if the space has a basis.
    basis: Option<Mat<f64>>,
}

impl Projector {
    /// A projector by random signs, or one that changes nothing. A space with a basis needs [`Self::with_basis`].
    pub fn new(space: Space, seed: [u8; 32]) -> Result<Self, MethodError> {
        match space.projection() {
            Projection::Basis { dimension, .. } => {
                Err(MethodError::Dimension { got: 0, expected: dimension.try_into().unwrap_or(usize::MAX) })
            }
            _ => Ok(Self { space, seed, basis: None }),
        }
    }

    /// A projector by a basis, one vector a row, and the space that names it.
    pub fn with_basis(space: &Space, basis: &Gradients) -> Result<Self, MethodError> {
        let parameters = space.layout().parameters();
        if basis.dimension() != parameters || basis.is_empty() || basis.len() > parameters {
            return Err(MethodError::Dimension { got: basis.dimension(), expected: parameters });
        }
        let bytes: Vec<u8> = basis.values().iter().flat_map(|value| value.to_le_bytes()).collect();
        let digest = Hash32(*blake3::hash(&bytes).as_bytes());
        let dimension = u32::try_from(basis.len()).unwrap_or(u32::MAX);
        let space = Space::new(space.layout().clone(), Projection::Basis { dimension, digest });
        let error = MethodError::Dimension { got: basis.len(), expected: parameters };
        let space = space.map_err(|_| error)?;
        Ok(Self { space, seed: [0; 32], basis: Some(matrix(basis).transpose().to_owned()) })
    }

    /// The space of what it makes.
    pub fn space(&self) -> &Space {
        &self.space
    }

    /// The gradients in fewer dimensions.
    pub fn project(&self, gradients: &Gradients) -> Result<Gradients, MethodError> {
        let (got, expected) = (gradients.dimension(), self.space.layout().parameters());
        if got != expected {
            return Err(MethodError::Dimension { got, expected });
        }
        let projected = match (self.space.projection(), &self.basis) {
            (Projection::None, _) => return Ok(gradients.clone()),
            (Projection::Signs { dimension }, _) => self.signs(gradients, dimension as usize),
            (Projection::Factored { inputs, outputs }, _) => self.factored(gradients, inputs, outputs),
            (Projection::Basis { .. }, Some(basis)) => product(matrix(gradients).as_ref(), basis.as_ref()),
            (Projection::Basis { dimension, .. }, None) => {
                return Err(MethodError::Dimension { got: 0, expected: dimension as usize });
            }
        };
        // Sums of finite numbers may be none in single precision; `new` looks.
        #[expect(clippy::cast_possible_truncation, reason = "rows are single precision, and codes coarser still")]
        let values = by_rows(projected.as_ref()).map(|value| value as f32).collect();
        Ok(Gradients::new(self.space.dimension(), values)?)
    }

    fn signs(&self, gradients: &Gradients, dimension: usize) -> Mat<f64> {
        let rows = MatRef::from_row_major_slice(gradients.values(), gradients.len(), gradients.dimension());
        let mut sums = Mat::zeros(rows.nrows(), dimension);
        for start in (0..rows.ncols()).step_by(ENTRIES_AT_ONCE) {
            let count = ENTRIES_AT_ONCE.min(rows.ncols() - start);
            let part = Mat::from_fn(rows.nrows(), count, |row, at| f64::from(rows[(row, start + at)]));
            let signs = sign_matrix(&self.seed, start as u64, count, dimension);
            matmul(&mut sums, Accum::Add, &part, &signs, 1.0, Par::Seq);
        }
        sums
    }

    fn factored(&self, gradients: &Gradients, inputs: u32, outputs: u32) -> Mat<f64> {
        let mut all = Mat::zeros(gradients.len(), self.space.dimension());
        let mut start = 0;
        for (number, (block, range)) in (0_u64..).zip(self.space.layout().ranges()) {
            let stream = FACTORED | number << 34;
            let left = self.side(stream, block.inputs, inputs);
            let right = self.side(stream | 1 << 33, block.outputs, outputs);
            let wide = block.outputs as usize;
            for (row, gradient) in gradients.rows().enumerate() {
                let gradient = MatRef::from_row_major_slice(&gradient[range.clone()], block.inputs as usize, wide);
                let gradient = Mat::from_fn(gradient.nrows(), wide, |i, j| f64::from(gradient[(i, j)]));
                let both = product(product(left.transpose(), gradient.as_ref()).as_ref(), right.as_ref());
                for (at, value) in by_rows(both.as_ref()).enumerate() {
                    all[(row, start + at)] = value;
                }
            }
            start += left.ncols() * right.ncols();
        }
        all
    }

    /// Signs for one side of a block, or the identity where there is nothing to save.
    fn side(&self, stream: u64, entries: u32, sums: u32) -> Mat<f64> {
        let (entries, sums) = (entries as usize, sums as usize);
        if sums >= entries { Mat::identity(entries, entries) } else { sign_matrix(&self.seed, stream, entries, sums) }
    }
}

/// Signs over the root of their number, a row for each entry that is projected.
fn sign_matrix(seed: &[u8; 32], first: u64, entries: usize, sums: usize) -> Mat<f64> {
    let size = 1.0 / (sums as f64).sqrt();
    let mut signs = Mat::zeros(entries, sums);
    let mut bits = vec![0_u8; sums.div_ceil(8)];
    for (entry, stream) in (0..entries).zip(first..) {
        crypto::projection_bits(seed, stream).fill(&mut bits);
        for sum in 0..sums {
            signs[(entry, sum)] = if bits[sum / 8] >> (sum % 8) & 1 == 0 { size } else { -size };
        }
    }
    signs
}

/// The eigenvectors of F = Σ f fᵀ that belong to its largest eigenvalues, largest first, one a row.
pub fn principal_basis(rows: &Gradients, dimension: usize) -> Result<Gradients, MethodError> {
    let most = rows.len().min(rows.dimension());
    if dimension == 0 || dimension > most {
        return Err(MethodError::Dimension { got: dimension, expected: most });
    }
    let none = |_| MethodError::Eigenvectors { block: "all".to_owned() };
    let dual = rows.len() < rows.dimension();
    let moment = if dual { inner_products(rows) } else { second_moment(rows) };
    let eigen = moment.self_adjoint_eigen(Side::Lower).map_err(none)?;
    // Eigenvalues come in ascending order.
    let (count, values) = (moment.nrows(), eigen.S().column_vector());
    let mut vectors = eigen.U().subcols(count - dimension, dimension).to_owned();
    if dual {
        // If B Bᵀ u = σ² u, then Bᵀ u / σ is the eigenvector of Bᵀ B.
        vectors = product(matrix(rows).transpose(), vectors.as_ref());
        for column in 0..dimension {
            let sigma = values[count - dimension + column].max(f64::MIN_POSITIVE).sqrt();
            for row in 0..vectors.nrows() {
                vectors[(row, column)] /= sigma;
            }
        }
    }
    let entries = (0..dimension).rev().flat_map(|column| (0..vectors.nrows()).map(move |row| (row, column)));
    #[expect(clippy::cast_possible_truncation, reason = "a basis is single precision, as its digest says")]
    let values = entries.map(|place| vectors[place] as f32).collect();
    let basis = Gradients::new(rows.dimension(), values);
    basis.map_err(|error: GradientError| error.into())
}

#[cfg(test)]
mod tests {
    use super::super::layout::{Block, Layout};
    use super::*;

    fn layout() -> Layout {
        let block = |inputs, outputs| Block { name: String::new(), inputs, outputs };
        Layout::new(vec![block(50, 30), block(20, 5)]).unwrap()
    }

    fn space(projection: Projection) -> Space {
        Space::new(layout(), projection).unwrap()
    }

    /// Gradients with one entry of one each, which show the projection itself.
    fn units(entries: &[usize]) -> Gradients {
        let mut values = vec![0.0; 1_600 * entries.len()];
        entries.iter().enumerate().for_each(|(row, entry)| values[row * 1_600 + entry] = 1.0);
        Gradients::new(1_600, values).unwrap()
    }

    #[test]
    fn signs_are_the_bits_of_the_seed() {
        let projector = Projector::new(space(Projection::Signs { dimension: 100 }), [7; 32]).unwrap();
        // One entry from each side of where signs are made in parts.
        let entries = [0, 1_023, 1_024, 1_599];
        let found = projector.project(&units(&entries)).unwrap();
        for (entry, row) in entries.iter().zip(found.rows()) {
            let mut bits = [0; 13];
            crypto::projection_bits(&[7; 32], *entry as u64).fill(&mut bits);
            for (sum, value) in row.iter().enumerate() {
                let minus = bits[sum / 8] >> (sum % 8) & 1 == 1;
                assert_eq!(*value, if minus { -0.1 } else { 0.1 });
            }
        }
        let other = Projector::new(space(Projection::Signs { dimension: 100 }), [8; 32]).unwrap();
        assert_ne!(other.project(&units(&entries)).unwrap(), found);
        assert_eq!(projector.project(&units(&entries[..1])).unwrap().values(), &found.values()[..100]);
    }

    #[test]
    fn a_factored_projection_is_that_of_both_sides() {
        let projector = Projector::new(space(Projection::Factored { inputs: 8, outputs: 6 }), [7; 32]).unwrap();
        assert_eq!(projector.space().dimension(), 8 * 6 + 8 * 5);
        // Entry (17, 4) of the first block; entry (3, 2) of the second, whose outputs are kept as they are.
        let found = projector.project(&units(&[17 * 30 + 4, 1_500 + 3 * 5 + 2])).unwrap();
        let sign = |stream: u64, sum: usize| {
            let mut bits = [0; 1];
            crypto::projection_bits(&[7; 32], stream).fill(&mut bits);
            if bits[0] >> sum & 1 == 1 { -1.0 } else { 1.0 }
        };
        let rows: Vec<&[f32]> = found.rows().collect();
        for at in 0..88 {
            let expected = match at {
                0..48 => {
                    let both = sign(FACTORED | 17, at / 6) * sign(FACTORED | 1 << 33 | 4, at % 6);
                    [both / 48_f64.sqrt(), 0.0]
                }
                _ => {
                    let (input, output) = ((at - 48) / 5, (at - 48) % 5);
                    let kept = if output == 2 { sign(FACTORED | 1 << 34 | 3, input) / 8_f64.sqrt() } else { 0.0 };
                    [0.0, kept]
                }
            };
            for (row, expected) in rows.iter().zip(expected) {
                assert!((f64::from(row[at]) - expected).abs() < 1e-6, "{at}");
            }
        }
    }

    #[test]
    fn inner_products_are_about_kept() {
        let values = (0..3_200).map(|at| ((at * 37 % 101) as f32 - 50.0) / 50.0).collect();
        let gradients = Gradients::new(1_600, values).unwrap();
        let square = |rows: &Gradients| rows.rows().next().unwrap().iter().map(|v| f64::from(*v).powi(2)).sum::<f64>();
        let projector = Projector::new(space(Projection::Signs { dimension: 1_000 }), [1; 32]).unwrap();
        let ratio = square(&projector.project(&gradients).unwrap()) / square(&gradients);
        assert!((0.8..1.2).contains(&ratio), "{ratio}");
    }

    #[test]
    fn a_principal_basis_holds_the_largest_eigenvalues_in_both_forms() {
        // F is diagonal here: 9, 4, 1 and 0 on the axes 2, 0, 3 and 1.
        let rows = [[0.0, 0.0, 3.0, 0.0], [-2.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]];
        for repeats in [1, 2] {
            let rows = Gradients::new(4, rows.as_flattened().repeat(repeats)).unwrap();
            let basis = principal_basis(&rows, 2).unwrap();
            let sizes: Vec<f32> = basis.values().iter().map(|value| value.abs()).collect();
            for (found, expected) in sizes.iter().zip([0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0]) {
                assert!((found - expected).abs() < 1e-6, "{sizes:?}");
            }
            assert!(matches!(principal_basis(&rows, 5), Err(MethodError::Dimension { .. })));
        }
        let layout = Layout::new(vec![Block { name: String::new(), inputs: 2, outputs: 2 }]).unwrap();
        let space = Space::new(layout, Projection::None).unwrap();
        let basis = Gradients::new(4, vec![0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0]).unwrap();
        let projector = Projector::with_basis(&space, &basis).unwrap();
        let found = projector.project(&Gradients::new(4, vec![5.0, 6.0, 7.0, 8.0]).unwrap()).unwrap();
        assert_eq!(found.values(), [7.0, 5.0]);
        assert!(Projector::new(projector.space().clone(), [0; 32]).is_err());
        assert!(matches!(projector.project(&units(&[0])), Err(MethodError::Dimension { got: 1_600, expected: 4 })));
    }
}
