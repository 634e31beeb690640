//! Queries solved, solutions checked, and what they say that contributions are owed.

use crate::influence::{Artifact, Curvature, Scorer, ScorerError, SolveError, Solver};
use protocol::evidence::Influence;
use protocol::ids::ContributionId;
use protocol::influence::{Query, Residual, ResidualError, ScoreError, Solution, positive_sums, residual};
use std::collections::BTreeMap;

/// A model's rows, with what solutions are checked against.
#[derive(Debug)]
pub struct Traces {
    artifact: Artifact,
    curvature: Curvature,
}

/// Why there are no scores.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence on each variant is its documentation, and names its fields")]
pub enum TracesError {
    #[error(transparent)]
    Solve(#[from] SolveError),
    #[error(transparent)]
    Scorer(#[from] ScorerError),
    #[error(transparent)]
    Score(#[from] ScoreError),
}

impl Traces {
    /// Of an artifact.
    ///
    /// # Errors
    /// If its Fisher rows are out of bounds.
    pub fn new(artifact: Artifact) -> Result<Self, TracesError> {
        let curvature = Curvature::new(artifact.fisher().clone())?;
        Ok(Self { artifact, curvature })
    }

    /// What solves queries of this model.
    ///
    /// # Errors
    /// If all Fisher rows are zero.
    pub fn solver(artifact: &Artifact) -> Result<Solver, TracesError> {
        Ok(Solver::new(artifact.fisher().clone(), artifact.header().damping)?)
    }

    /// The rows.
    pub fn artifact(&self) -> &Artifact {
        &self.artifact
    }

    /// Does a solution solve?
    ///
    /// # Errors
    /// If it does not; the same on every machine.
    pub fn check(&self, query: &Query, solution: &Solution) -> Result<Residual, ResidualError> {
        let (header, dimension) = (self.artifact.header(), self.artifact.rows().dimension());
        let wrong = || ResidualError::Dimension { query: query.codes.len(), solution: solution.codes.len(), dimension };
        if query.codes.len() != dimension || solution.codes.len() != dimension {
            return Err(wrong());
        }
        // A code of a solution beyond its bounds has no product; the wire refuses such a receipt.
        let product = self.curvature.product(&solution.codes).map_err(|_| wrong())?;
        residual(&product, header.damping, header.tolerance, query, solution)
    }

    /// What each row scores with a solution.
    ///
    /// # Errors
    /// If the solution is of another dimension, or out of bounds.
    pub fn scores(&self, solution: &Solution, threads: usize) -> Result<Vec<i128>, TracesError> {
        let rows = self.artifact.rows();
        Ok(Scorer::new(rows.dimension(), std::slice::from_ref(solution))?.score(rows, threads)?)
    }

    /// What all contributions earn by these scores.
    ///
    /// # Errors
    /// If there are not as many scores as rows.
    pub fn sums(&self, scores: &[i128]) -> Result<BTreeMap<ContributionId, u128>, TracesError> {
        Ok(positive_sums(self.artifact.rows(), scores)?)
    }

    /// What a receipt's influence says of some contributions.
    ///
    /// # Errors
    /// Those of [`Self::scores`]; a solution that does not solve is none.
    pub fn influence(
        &self,
        query: &Query,
        solution: &Solution,
        threads: usize,
        is_asked_for: &mut dyn FnMut(&ContributionId) -> bool,
    ) -> Result<Influence, TracesError> {
        if self.check(query, solution).is_err() {
            return Ok(Influence::refused());
        }
        let sums = self.sums(&self.scores(solution, threads)?)?;
        Ok(Influence::of_datanet(sums.into_iter().filter(|(contribution, _)| is_asked_for(contribution))))
    }
}

/// The rows that matter most for an answer, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranked {
    /// Rows that raised its likelihood, most first: each with its score in millionths of the sum of all positive ones, or,
    /// where there are none, of all negative ones.
    pub raised: Vec<(usize, i64)>,
    /// Rows that lowered it, most first, in the same unit.
    pub lowered: Vec<(usize, i64)>,
    /// How many rows raised it.
    pub raised_count: u64,
}

impl Ranked {
    /// So many of each sign at most.
    pub fn of(scores: &[i128], count: usize) -> Self {
        let sum = |is_wanted: fn(i128) -> bool| scores.iter().copied().filter(|score| is_wanted(*score)).sum::<i128>();
        let raised = sum(|score| score > 0);
        let total = if raised > 0 { raised } else { sum(|score| score < 0).saturating_neg().max(1) };
        // The product with a million fits: all scores together have 127 bits only for more rows than anybody has.
        let parts = |score: i128| {
            let parts = score.saturating_mul(1_000_000) / total;
            i64::try_from(parts).unwrap_or(if parts > 0 { i64::MAX } else { i64::MIN })
        };
        let mut rows: Vec<usize> = (0..scores.len()).filter(|row| scores[*row] != 0).collect();
        rows.sort_by_key(|row| (std::cmp::Reverse(scores[*row]), *row));
        let first = |rows: &mut dyn Iterator<Item = usize>, is_wanted: fn(i128) -> bool| {
            rows.take(count).take_while(|row| is_wanted(scores[*row])).map(|row| (row, parts(scores[row]))).collect()
        };
        Self {
            raised: first(&mut rows.iter().copied(), |score| score > 0),
            lowered: first(&mut rows.iter().rev().copied(), |score| score < 0),
            raised_count: scores.iter().filter(|score| **score > 0).count() as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rows_of_both_signs_are_ranked_by_what_they_did() {
        let found = Ranked::of(&[30, -10, 0, 70, -20, 0], 2);
        assert_eq!(found.raised, [(3, 700_000), (0, 300_000)]);
        assert_eq!(found.lowered, [(4, -200_000), (1, -100_000)]);
        assert_eq!(found.raised_count, 2);
        assert_eq!(Ranked::of(&[-1], 5), Ranked { lowered: vec![(0, -1_000_000)], ..Ranked::default() });
        let lowered = Ranked::of(&[-(1 << 90), -(3 << 90)], 5);
        assert_eq!(lowered, Ranked { lowered: vec![(1, -750_000), (0, -250_000)], ..Ranked::default() });
        let tiny = Ranked::of(&[1, -(1 << 90)], 1);
        assert_eq!((tiny.raised, tiny.lowered), (vec![(0, 1_000_000)], vec![(1, i64::MIN)]));
        assert_eq!(Ranked::of(&[], 5), Ranked::default());
    }
}
