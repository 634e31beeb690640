//! What methods know of one trained model, and what they make of it in floats and in integers.

use super::BenchError;
use crate::influence::gradients::{Factors, Gradients};
use crate::influence::layout::{Layout, Projection, Space};
use crate::influence::methods::{DataInf, EkFac, FisherInverse, GradientDot, Method, Preconditioner, Regulariser};
use crate::influence::projection::{Projector, principal_basis};
use crate::influence::quantise::{choose_exponent, power_of_two, quantise_query, quantise_rows, quantise_solution};
use crate::influence::score::Scorer;
use crate::influence::solve::Solver;
use protocol::ids::{ContributionId, Hash32};
use protocol::influence::{Damping, Fisher, Query, Rows, Solution, Source, Tolerance};

/// The seed of projections.
const PROJECTION_SEED: [u8; 32] = *b"tributary influence bench seed 1";

/// The gradients of one checkpoint, whatever kind of model it is of.
#[derive(Clone, Debug)]
pub struct Problem {
    /// Of the examples to train with.
    pub rows: Gradients,
    /// Of the tests.
    pub queries: Gradients,
    /// At labels of the model's own distribution, for Gauss-Newton.
    pub fisher: Gradients,
    /// What the rows are made of, and the layout of their parameters.
    pub factors: Factors,
    /// λ of Gauss-Newton, unprojected.
    pub regulariser: Regulariser,
}

impl Problem {
    /// The layout of its parameters.
    pub fn layout(&self) -> &Layout {
        self.factors.layout()
    }

    /// The same in fewer dimensions.
    pub(super) fn project(&self, projection: Projection) -> Result<Projected<'_>, BenchError> {
        let layout = self.layout().clone();
        let projector = match projection {
            Projection::Basis { dimension, .. } => {
                let basis = principal_basis(&self.fisher, dimension as usize)?;
                Projector::with_basis(&Space::new(layout, Projection::None)?, &basis)?
            }
            projection => Projector::new(Space::new(layout, projection)?, PROJECTION_SEED)?,
        };
        let (rows, queries) = (projector.project(&self.rows)?, projector.project(&self.queries)?);
        Ok(Projected { problem: self, projection, rows, queries, fisher: projector.project(&self.fisher)? })
    }
}

/// A problem, projected.
pub(super) struct Projected<'a> {
    problem: &'a Problem,
    projection: Projection,
    pub(super) rows: Gradients,
    queries: Gradients,
    fisher: Gradients,
}

impl Projected<'_> {
    /// λ in the space of the rows. An absolute one grows with the length that random signs give to each parameter.
    fn regulariser(&self, method: Method) -> Regulariser {
        if method == Method::EmpiricalFisher {
            return Regulariser::MeanEigenvalue(1.0);
        }
        match (self.problem.regulariser, self.projection) {
            (Regulariser::Absolute(lambda), Projection::Signs { .. } | Projection::Factored { .. }) => {
                let parameters = self.problem.layout().parameters() as f64;
                Regulariser::Absolute(lambda * parameters / self.rows.dimension() as f64)
            }
            (regulariser, _) => regulariser,
        }
    }

    fn fisher_inverse(&self, method: Method) -> Result<FisherInverse, BenchError> {
        let regulariser = self.regulariser(method);
        Ok(match method {
            Method::GaussNewton => FisherInverse::gauss_newton(&self.fisher, regulariser)?,
            _ => FisherInverse::empirical(&self.rows, regulariser)?,
        })
    }

    pub(super) fn preconditioner(&self, method: Method) -> Result<Box<dyn Preconditioner>, BenchError> {
        Ok(match method {
            Method::GradientDot => Box::new(GradientDot),
            Method::DataInf => Box::new(DataInf::new(self.problem.layout(), &self.rows, DataInf::PART)?),
            Method::EkFac => Box::new(EkFac::new(&self.problem.factors, EkFac::PART)?),
            Method::EmpiricalFisher | Method::GaussNewton => Box::new(self.fisher_inverse(method)?),
        })
    }

    pub(super) fn float_scores(&self, method: Method) -> Result<Vec<f64>, BenchError> {
        let vectors = self.preconditioner(method)?.apply(&self.queries)?;
        Ok(self.rows.scores(&vectors)?)
    }

    /// What a network computes: rows of 8 bits, and solutions that validators accept, where the method has them.
    pub(super) fn integer_scores(&self, method: Method) -> Result<Vec<f64>, BenchError> {
        let fisher = if method == Method::GaussNewton { &self.fisher } else { &self.rows };
        let exponent = choose_exponent(&self.rows, fisher);
        let rows = quantised(&self.rows, exponent)?;
        let (solutions, units) = match method {
            Method::EmpiricalFisher | Method::GaussNewton => {
                self.solutions(method, &quantised(fisher, exponent)?, exponent)?
            }
            _ => {
                let solutions = quantise_solution(&self.preconditioner(method)?.apply(&self.queries)?);
                let unit = |solution: &Solution| power_of_two(-i32::from(solution.shift) - i32::from(exponent));
                let units = solutions.iter().map(unit).collect();
                (solutions, units)
            }
        };
        let scores = Scorer::new(rows.dimension(), &solutions)?.score(&rows, 1)?;
        Ok(scores
            .chunks(units.len())
            .flat_map(|row| row.iter().zip(&units))
            .map(|(s, unit)| *s as f64 * unit)
            .collect())
    }

    /// Checked solutions, and what a unit of their scores is worth.
    fn solutions(&self, method: Method, fisher: &Rows, exponent: i16) -> Result<(Vec<Solution>, Vec<f64>), BenchError> {
        let solver = Solver::new(Fisher::new(fisher.clone())?, self.damping(method)?)?;
        let (mut solutions, mut units) = (Vec::new(), Vec::new());
        for query in self.queries.rows() {
            let query: Query = quantise_query(query, exponent)?;
            let (solution, _) = solver.solve(&query, Tolerance::DEFAULT)?;
            units.push(f64::from(query.scale) * power_of_two(-i32::from(solution.shift)));
            solutions.push(solution);
        }
        Ok((solutions, units))
    }

    fn damping(&self, method: Method) -> Result<Damping, BenchError> {
        match self.regulariser(method) {
            Regulariser::MeanEigenvalue(1.0) => Ok(Damping::ONE),
            regulariser => {
                let fisher = if method == Method::GaussNewton { &self.fisher } else { &self.rows };
                let (trace, dimension) = (fisher.square(), fisher.dimension());
                let lambda = regulariser.lambda(trace, dimension)?;
                crate::influence::solve::damping(lambda, trace, dimension).ok_or(BenchError::Damping { lambda })
            }
        }
    }
}

fn quantised(gradients: &Gradients, exponent: i16) -> Result<Rows, BenchError> {
    let source = Source { example: Hash32([0; 32]), contribution: ContributionId([0; 32]) };
    Ok(quantise_rows(gradients, &vec![source; gradients.len()], exponent)?)
}
