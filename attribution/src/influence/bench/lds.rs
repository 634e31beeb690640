//! The linear datamodeling score, with its interval, and the area under the curve.

use super::draw::Draw;
use std::fmt;

/// A score between -1 and 1 and the interval that holds it with 95 %.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lds {
    /// The mean over tests.
    pub mean: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl fmt::Display for Lds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.4} [{:.3}, {:.3}]", self.mean, self.low, self.high)
    }
}

/// How well sums of scores over subsets rank the truth: `scores` has a row for each training example and `truth` one for
/// each subset, both with a column for each test. The interval is of `replicates` draws of tests and subsets.
pub fn lds(subsets: &[Vec<usize>], scores: &[f64], truth: &[f64], replicates: usize, seed: u64) -> Lds {
    let count = subsets.len();
    let tests = truth.len().checked_div(count).unwrap_or(0);
    let mut columns = Vec::with_capacity(tests);
    for test in 0..tests {
        let sum = |subset: &Vec<usize>| subset.iter().filter_map(|row| scores.get(row * tests + test)).sum::<f64>();
        let predicted: Vec<f64> = subsets.iter().map(sum).collect();
        let truth: Vec<f64> = (0..count).map(|subset| truth[subset * tests + test]).collect();
        columns.push((predicted, truth));
    }
    let mean = average(columns.iter().map(|(predicted, truth)| spearman(predicted, truth)));
    let mut draw = Draw::new(seed, 77);
    let mut means: Vec<f64> = (0..replicates)
        .map(|_| {
            let subsets: Vec<usize> = (0..count).map(|_| draw.below(count)).collect();
            let drawn = |column: &[f64]| subsets.iter().map(|subset| column[*subset]).collect::<Vec<_>>();
            average((0..tests).map(|_| {
                let (predicted, truth) = &columns[draw.below(tests)];
                spearman(&drawn(predicted), &drawn(truth))
            }))
        })
        .collect();
    means.sort_by(f64::total_cmp);
    let quantile = |part: f64| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of a length")]
        let at = (part * means.len() as f64) as usize;
        means.get(at.min(means.len().saturating_sub(1))).copied().unwrap_or(mean)
    };
    Lds { mean, low: quantile(0.025), high: quantile(0.975) }
}

/// The mean of what is a number.
fn average(values: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut count) = (0.0, 0.0);
    for value in values.filter(|value| !value.is_nan()) {
        sum += value;
        count += 1.0;
    }
    sum / count
}

/// The correlation of ranks; none where one side is constant.
pub(super) fn spearman(a: &[f64], b: &[f64]) -> f64 {
    let (a, b) = (ranks(a), ranks(b));
    let middle = (a.len() as f64 + 1.0) / 2.0;
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - middle) * (b - middle)).sum::<f64>();
    product(&a, &b) / (product(&a, &a) * product(&b, &b)).sqrt()
}

/// Ranks from 1; equal values share the mean of theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    for group in order.chunk_by(|a, b| values[*a] == values[*b]) {
        let rank = start as f64 + (group.len() as f64 + 1.0) / 2.0;
        group.iter().for_each(|at| ranks[*at] = rank);
        start += group.len();
    }
    ranks
}

/// How likely a marked value is larger than an unmarked one; equal ones count half. None if there are not both.
pub fn auc(values: &[f64], marked: &[bool]) -> Option<f64> {
    let ranks = ranks(values);
    let count = marked.iter().filter(|marked| **marked).count() as f64;
    let others = values.len() as f64 - count;
    let sum: f64 = ranks.iter().zip(marked).filter(|(_, marked)| **marked).map(|(rank, _)| rank).sum();
    (count > 0.0 && others > 0.0).then(|| (sum - count * (count + 1.0) / 2.0) / (count * others))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_and_correlations_are_the_books() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 2.0]), [3.5, 1.0, 3.5, 2.0]);
        assert_eq!(spearman(&[1.0, 2.0, 3.0], &[10.0, 20.0, 900.0]), 1.0);
        assert_eq!(spearman(&[1.0, 2.0, 3.0], &[3.0, 2.0, 1.0]), -1.0);
        // 1 - 6 Σ d² / (n (n² - 1)) with d² = 1 + 1 + 0 + 4 + 4 for five without ties.
        let found = spearman(&[1.0, 2.0, 3.0, 4.0, 5.0], &[2.0, 1.0, 5.0, 4.0, 3.0]);
        assert!((found - (1.0 - 6.0 * 10.0 / 120.0)).abs() < 1e-12);
        assert!(spearman(&[1.0, 1.0], &[1.0, 2.0]).is_nan());
        assert_eq!(auc(&[0.1, 0.9, 0.5, 0.5], &[false, true, true, false]), Some(0.875));
        assert_eq!(auc(&[0.1], &[true]), None);
    }

    #[test]
    fn the_score_is_one_where_the_truth_is_additive() {
        let mut draw = Draw::new(1, 1);
        let (rows, tests) = (40, 6);
        let scores: Vec<f64> = (0..rows * tests).map(|_| draw.normal()).collect();
        let subsets: Vec<Vec<usize>> = (0..30).map(|_| draw.subset(rows, rows / 2)).collect();
        let sums = |subset: &Vec<usize>| {
            (0..tests).map(|test| subset.iter().map(|row| scores[row * tests + test]).sum::<f64>()).collect::<Vec<_>>()
        };
        let truth: Vec<f64> = subsets.iter().flat_map(sums).collect();
        let found = lds(&subsets, &scores, &truth, 20, 1);
        assert!((found.mean - 1.0).abs() < 1e-12 && (found.low - 1.0).abs() < 1e-12);
        let noise: Vec<f64> = (0..rows * tests).map(|_| draw.normal()).collect();
        let found = lds(&subsets, &noise, &truth, 100, 1);
        assert!(found.mean.abs() < 0.3 && found.low < found.mean && found.mean < found.high, "{found}");
        let negated: Vec<f64> = scores.iter().map(|score| -score).collect();
        assert!((lds(&subsets, &negated, &truth, 0, 1).mean + 1.0).abs() < 1e-12);
    }
}
