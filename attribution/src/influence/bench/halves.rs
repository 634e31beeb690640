//! Halves of the data, and the truth that models trained on them tell.

use super::draw::Draw;
use super::lds::spearman;
use super::{BenchError, Options};

/// Halves of the rows, and what was found of the tests after training on each.
#[derive(Clone, Debug, PartialEq)]
pub struct Halves {
    /// The rows of each half, ascending.
    pub subsets: Vec<Vec<usize>>,
    /// The log-likelihood of each test by the models of each half, half by half.
    pub truth: Vec<f64>,
    /// The rank correlation between truths of different seeds: no method can be expected above its root. None where there
    /// is one seed.
    pub agreement: Option<f64>,
}

impl Halves {
    /// Draws halves of so many rows and trains on each, `seeds` times: `train` gets a half and the seed of a model, and says
    /// the log-likelihood of each test. `progress` is told after each half.
    pub(super) fn new(
        rows: usize,
        seeds: usize,
        options: &Options,
        mut train: impl FnMut(&[usize], u64) -> Result<Vec<f64>, BenchError>,
        mut progress: impl FnMut(usize, usize),
    ) -> Result<Self, BenchError> {
        let mut draw = Draw::new(options.seed, 2);
        let subsets: Vec<Vec<usize>> = (0..options.subsets).map(|_| draw.subset(rows, rows / 2)).collect();
        let mut by_seed: Vec<Vec<f64>> = vec![Vec::new(); seeds];
        for (number, subset) in subsets.iter().enumerate() {
            for (seed, truth) in by_seed.iter_mut().enumerate() {
                let seed = model_seed(options.seed, 1_000 + number * options.seeds + seed);
                let found = train(subset, seed)?;
                // One such number would spoil the ranks of its half, and the score would not show it.
                if found.iter().any(|likelihood| !likelihood.is_finite()) {
                    return Err(BenchError::Unstable { half: number });
                }
                truth.extend(found);
            }
            progress(number + 1, options.subsets);
        }
        let (truth, agreement) = averaged(&by_seed, subsets.len());
        Ok(Self { subsets, truth, agreement })
    }
}

/// The seed of one of many models.
pub(super) fn model_seed(seed: u64, number: usize) -> u64 {
    seed.wrapping_mul(1_000_003).wrapping_add(number as u64)
}

/// The mean over seeds, and how well the first half of them agrees with the second.
fn averaged(by_seed: &[Vec<f64>], subsets: usize) -> (Vec<f64>, Option<f64>) {
    let mean = |parts: &[Vec<f64>]| -> Vec<f64> {
        let length = parts.first().map_or(0, Vec::len);
        (0..length).map(|at| parts.iter().map(|part| part[at]).sum::<f64>() / parts.len() as f64).collect()
    };
    let agreement = (by_seed.len() > 1).then(|| {
        let (first, second) = by_seed.split_at(by_seed.len() / 2);
        let (first, second) = (mean(first), mean(second));
        let tests = first.len() / subsets;
        let column = |all: &[f64], test: usize| all.iter().skip(test).step_by(tests).copied().collect::<Vec<_>>();
        (0..tests).map(|test| spearman(&column(&first, test), &column(&second, test))).sum::<f64>() / tests as f64
    });
    (mean(by_seed), agreement)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_truth_that_is_no_number_is_refused_with_its_half() {
        let options = Options { subsets: 4, seeds: 2, ..Options::default() };
        let mut runs = 0;
        let train = |subset: &[usize], _| {
            assert_eq!(subset.len(), 5);
            runs += 1;
            Ok(vec![-1.0, if runs == 6 { f64::NAN } else { -2.0 }])
        };
        let refused = Halves::new(10, 2, &options, train, |_, _| ()).unwrap_err();
        assert!(matches!(refused, BenchError::Unstable { half: 2 }), "{refused}");
    }
}
