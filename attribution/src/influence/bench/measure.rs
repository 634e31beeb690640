//! The suites: every method in floats and in integers against the truth.

use super::draw::Draw;
use super::experiment::split;
use super::lds::{Lds, auc, lds};
use super::network::{Labels, Network};
use super::report::{Line, Report};
use super::train::train;
use super::{BenchError, Experiment, Model, Options, Table};
use crate::influence::gradients::Gradients;
use crate::influence::layout::{Projection, Space};
use crate::influence::methods::{DataInf, EkFac, FisherInverse, GradientDot, Method, Preconditioner, Regulariser};
use crate::influence::projection::{Projector, principal_basis};
use crate::influence::quantise::{choose_exponent, power_of_two, quantise_query, quantise_rows, quantise_solution};
use crate::influence::score::Scorer;
use crate::influence::solve::Solver;
use protocol::ids::{ContributionId, Hash32};
use protocol::influence::{Damping, Fisher, Query, Rows, Solution, Source, Tolerance};
use std::time::Instant;

/// Bytes of a row beside its codes: example, contribution and scale.
const ROW_BYTES: usize = 68;

/// The seed of projections.
const PROJECTION_SEED: [u8; 32] = *b"tributary influence bench seed 1";

/// Logistic regression on a table, `digits-lr`.
pub fn digits_lr(table: &Table, options: &Options, progress: impl FnMut(usize, usize)) -> Result<Report, BenchError> {
    let experiment = Experiment::new(Model::Logistic, table, options, progress)?;
    measure("digits-lr", &experiment, options, &[64, 128, 256, 512], |_| ())
}

/// A perceptron on a table, `digits-mlp`.
pub fn digits_mlp(table: &Table, options: &Options, progress: impl FnMut(usize, usize)) -> Result<Report, BenchError> {
    let experiment = Experiment::new(Model::Perceptron, table, options, progress)?;
    measure("digits-mlp", &experiment, options, &[512, 1024], |_| ())
}

/// Measures every method on an experiment, unprojected and by random signs to each of `dimensions`. `done` gets each line
/// as soon as it is there.
pub fn measure(
    suite: &str,
    experiment: &Experiment,
    options: &Options,
    dimensions: &[u32],
    mut done: impl FnMut(&Line),
) -> Result<Report, BenchError> {
    let mut facts = facts(experiment);
    let mut lines = Vec::new();
    let layout = experiment.networks[0].layout()?;
    let parameters = layout.parameters();
    let mut ways = vec![(Projection::None, Method::ALL.to_vec())];
    for dimension in dimensions.iter().filter(|dimension| (**dimension as usize) < parameters) {
        let projection = Projection::Signs { dimension: *dimension };
        ways.push((projection, vec![Method::EmpiricalFisher, Method::GaussNewton]));
    }
    // Both sides of a layer: about the dimensions of the projection before.
    for inputs in [16, 32] {
        let projection = Projection::Factored { inputs, outputs: 10 };
        if Space::new(layout.clone(), projection).is_ok_and(|space| space.dimension() < parameters) {
            ways.push((projection, vec![Method::GaussNewton]));
        }
    }
    if (257..=1_024).contains(&parameters) {
        ways.push((Projection::Basis { dimension: 256, digest: Hash32([0; 32]) }, vec![Method::GaussNewton]));
    }
    for (projection, methods) in ways {
        for method in methods {
            let line = line(experiment, options, projection, method)?;
            done(&line);
            lines.push(line);
        }
    }
    if experiment.networks.len() > 1 {
        facts.push(format!("influences are averages over {} checkpoints", experiment.networks.len()));
    }
    Ok(Report { suite: suite.to_owned(), measure: "LDS", facts, lines })
}

fn facts(experiment: &Experiment) -> Vec<String> {
    let network = &experiment.networks[0];
    let mut facts = vec![
        format!(
            "{} parameters, {} rows to train and {} to test, test accuracy {:.3}",
            network.parameters().len(),
            experiment.train.len(),
            experiment.test.len(),
            network.accuracy(&experiment.test)
        ),
        format!("truth: {} halves", experiment.subsets.len()),
    ];
    if let Some(agreement) = experiment.agreement {
        facts.push(format!("truths of one half of the seeds and of the other agree to {agreement:.3}"));
    }
    facts
}

/// One method, summed over checkpoints, against the truth.
fn line(
    experiment: &Experiment,
    options: &Options,
    projection: Projection,
    method: Method,
) -> Result<Line, BenchError> {
    let count = experiment.train.len() * experiment.test.len();
    let (mut float, mut integer) = (vec![0.0; count], vec![0.0; count]);
    let (mut float_seconds, mut integer_seconds) = (0.0, 0.0);
    let mut dimension = 0;
    for network in &experiment.networks {
        let problem = Problem::new(experiment.model, network, &experiment.train, &experiment.test, projection)?;
        dimension = problem.rows.dimension();
        let start = Instant::now();
        add(&mut float, &problem.float_scores(method)?);
        float_seconds += start.elapsed().as_secs_f64();
        let start = Instant::now();
        add(&mut integer, &problem.integer_scores(method)?);
        integer_seconds += start.elapsed().as_secs_f64();
    }
    let score = |scores: &[f64], replicates| -> Lds {
        lds(&experiment.subsets, scores, &experiment.truth, replicates, options.seed)
    };
    let line = Line {
        method: format!("{}{}", method.as_str(), described(projection)),
        dimension,
        float: 0.0,
        interval: None,
        integer: Some(score(&integer, 0).mean),
        float_seconds,
        integer_seconds,
        bytes_per_row: ROW_BYTES + dimension,
    };
    Ok(line.with_interval(score(&float, options.replicates)))
}

fn add(sums: &mut [f64], scores: &[f64]) {
    sums.iter_mut().zip(scores).for_each(|(sum, score)| *sum += score);
}

fn described(projection: Projection) -> String {
    match projection {
        Projection::None => String::new(),
        Projection::Signs { dimension } => format!(", signs {dimension}"),
        Projection::Factored { inputs, outputs } => format!(", factored {inputs} x {outputs}"),
        Projection::Basis { dimension, .. } => format!(", principal {dimension}"),
    }
}

/// The gradients of one checkpoint, projected.
struct Problem<'a> {
    model: Model,
    network: &'a Network,
    train: &'a Table,
    projection: Projection,
    rows: Gradients,
    queries: Gradients,
    fisher: Gradients,
}

impl<'a> Problem<'a> {
    fn new(
        model: Model,
        network: &'a Network,
        train: &'a Table,
        test: &Table,
        projection: Projection,
    ) -> Result<Self, BenchError> {
        let (rows, queries) = (network.gradients(train, Labels::Data)?, network.gradients(test, Labels::Data)?);
        let fisher = network.gradients(train, Labels::All)?;
        let layout = network.layout()?;
        let projector = match projection {
            Projection::Basis { dimension, .. } => {
                let basis = principal_basis(&fisher, dimension as usize)?;
                Projector::with_basis(&Space::new(layout, Projection::None)?, &basis)?
            }
            projection => Projector::new(Space::new(layout, projection)?, PROJECTION_SEED)?,
        };
        let (rows, queries) = (projector.project(&rows)?, projector.project(&queries)?);
        Ok(Self { model, network, train, projection, rows, queries, fisher: projector.project(&fisher)? })
    }

    /// λ in the space of the rows. An absolute one grows with the length that random signs give to each parameter.
    fn regulariser(&self, method: Method) -> Regulariser {
        if method == Method::EmpiricalFisher {
            return Regulariser::MeanEigenvalue(1.0);
        }
        match (self.model.regulariser(self.train.len()), self.projection) {
            (Regulariser::Absolute(lambda), Projection::Signs { .. } | Projection::Factored { .. }) => {
                let parameters = self.network.parameters().len() as f64;
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

    fn preconditioner(&self, method: Method) -> Result<Box<dyn Preconditioner>, BenchError> {
        Ok(match method {
            Method::GradientDot => Box::new(GradientDot),
            Method::DataInf => Box::new(DataInf::new(&self.network.layout()?, &self.rows, DataInf::PART)?),
            Method::EkFac => Box::new(EkFac::new(&self.network.factors(self.train, Labels::Data)?, EkFac::PART)?),
            Method::EmpiricalFisher | Method::GaussNewton => Box::new(self.fisher_inverse(method)?),
        })
    }

    fn float_scores(&self, method: Method) -> Result<Vec<f64>, BenchError> {
        let vectors = self.preconditioner(method)?.apply(&self.queries)?;
        Ok(self.rows.scores(&vectors)?)
    }

    /// What a network computes: rows of 8 bits, and solutions that validators accept, where the method has them.
    fn integer_scores(&self, method: Method) -> Result<Vec<f64>, BenchError> {
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

/// A tenth of the labels changed, and found again by self-influence, `noisy-labels`.
pub fn noisy_labels(table: &Table, options: &Options) -> Result<Report, BenchError> {
    let (mut facts, mut lines) = (Vec::new(), Vec::new());
    for model in [Model::Logistic, Model::Perceptron] {
        let (train_table, test) = split(table, options)?;
        let (noisy, changed) = train_table.with_noise(options.train / 10, &mut Draw::new(options.seed, 9));
        let network = train(model, &noisy, options.seed, None)?;
        facts.push(format!(
            "{}: {} of {} labels changed, test accuracy {:.3}",
            model.as_str(),
            options.train / 10,
            noisy.len(),
            network.accuracy(&test)
        ));
        let mut ways = vec![
            (Projection::None, Method::GradientDot),
            (Projection::None, Method::EmpiricalFisher),
            (Projection::None, Method::GaussNewton),
        ];
        if network.parameters().len() > 512 {
            let signs = Projection::Signs { dimension: 512 };
            ways.extend([(signs, Method::EmpiricalFisher), (signs, Method::GaussNewton)]);
        }
        for (projection, method) in ways {
            let problem = Problem::new(model, &network, &noisy, &noisy, projection)?;
            let found = |values: &[f64]| auc(values, &changed).unwrap_or(f64::NAN);
            let start = Instant::now();
            let float = found(&self_influence_of(&problem, method)?);
            let float_seconds = start.elapsed().as_secs_f64();
            let start = Instant::now();
            let integer = found(&integer_self_influence(&problem, method)?);
            lines.push(Line {
                method: format!("{}: {}{}", model.as_str(), method.as_str(), described(projection)),
                dimension: problem.rows.dimension(),
                float,
                interval: None,
                integer: Some(integer),
                float_seconds,
                integer_seconds: start.elapsed().as_secs_f64(),
                bytes_per_row: ROW_BYTES + problem.rows.dimension(),
            });
        }
    }
    Ok(Report { suite: "noisy-labels".to_owned(), measure: "AUC", facts, lines })
}

/// How much each row influences itself: g (F + λ)⁻¹ g.
pub fn self_influence(rows: &Gradients, preconditioner: &dyn Preconditioner) -> Result<Vec<f64>, BenchError> {
    let vectors = preconditioner.apply(rows)?;
    let product = |(row, vector): (&[f32], &[f64])| row.iter().zip(vector).map(|(g, x)| f64::from(*g) * x).sum();
    Ok(rows.rows().zip(vectors.rows()).map(product).collect())
}

fn self_influence_of(problem: &Problem<'_>, method: Method) -> Result<Vec<f64>, BenchError> {
    self_influence(&problem.rows, problem.preconditioner(method)?.as_ref())
}

/// The diagonal of the integer scores, where queries are the rows.
fn integer_self_influence(problem: &Problem<'_>, method: Method) -> Result<Vec<f64>, BenchError> {
    let scores = problem.integer_scores(method)?;
    let count = problem.rows.len();
    Ok((0..count).map(|row| scores[row * count + row]).collect())
}

#[cfg(test)]
mod tests;
