//! Every method in floats and in integers against the truth, and which is best for the size of its rows.

use super::halves::Halves;
use super::lds::{Lds, lds};
use super::problem::{Problem, Projected};
use super::report::{Line, Report};
use super::{BenchError, Experiment, Model, Options, Table};
use crate::influence::layout::{Layout, Projection, Space};
use crate::influence::methods::Method;
use protocol::ids::Hash32;
use std::time::Instant;

/// Bytes of a row beside its codes: example, contribution and scale.
pub(super) const ROW_BYTES: usize = 68;

/// Bytes a row for which the best way is named: those of 512 and 1,024 codes, and of small adapters as they are.
pub const ROW_BUDGETS: [usize; 3] = [580, 1_100, 2_800];

/// A projection, and the methods that are measured in it.
pub type Way = (Projection, Vec<Method>);

/// What methods are measured on: models trained on everything, and the truth of halves.
pub trait Trial {
    /// The halves.
    fn halves(&self) -> &Halves;

    /// Rows to train with, and tests.
    fn sizes(&self) -> [usize; 2];

    /// How many models were trained on everything.
    fn checkpoints(&self) -> usize;

    /// What methods know of one of them.
    fn problem(&self, checkpoint: usize) -> Result<Problem, BenchError>;

    /// What is measured on a problem of this trial.
    fn ways(&self, problem: &Problem) -> Vec<Way>;

    /// Facts about the models, each a sentence.
    fn facts(&self) -> Result<Vec<String>, BenchError>;
}

/// Logistic regression on a table, `digits-lr`.
pub fn digits_lr(table: &Table, options: &Options, progress: impl FnMut(usize, usize)) -> Result<Report, BenchError> {
    let experiment = Experiment::new(Model::Logistic, table, options, progress)?;
    measure("digits-lr", &experiment, options, |_| ())
}

/// A perceptron on a table, `digits-mlp`.
pub fn digits_mlp(table: &Table, options: &Options, progress: impl FnMut(usize, usize)) -> Result<Report, BenchError> {
    let experiment = Experiment::new(Model::Perceptron, table, options, progress)?;
    measure("digits-mlp", &experiment, options, |_| ())
}

/// Measures every method of a trial, with influences summed over its checkpoints. `done` gets each line as soon as it is
/// there.
pub fn measure(
    suite: &str,
    trial: &dyn Trial,
    options: &Options,
    mut done: impl FnMut(&Line),
) -> Result<Report, BenchError> {
    let mut sums: Vec<Sum> = Vec::new();
    let mut lines = Vec::new();
    for checkpoint in 0..trial.checkpoints() {
        let problem = trial.problem(checkpoint)?;
        let mut number = 0;
        for (projection, methods) in trial.ways(&problem) {
            let projected = problem.project(projection)?;
            for method in methods {
                if checkpoint == 0 {
                    sums.push(Sum::new(method, projection, &problem));
                }
                sums[number].add(&projected, method)?;
                if checkpoint + 1 == trial.checkpoints() {
                    let line = sums[number].line(trial, options);
                    done(&line);
                    lines.push(line);
                }
                number += 1;
            }
        }
    }
    let facts = facts(trial, &lines)?;
    Ok(Report { suite: suite.to_owned(), measure: "LDS", facts, lines })
}

fn facts(trial: &dyn Trial, lines: &[Line]) -> Result<Vec<String>, BenchError> {
    let mut facts = trial.facts()?;
    facts.push(format!("truth: {} halves", trial.halves().subsets.len()));
    if let Some(agreement) = trial.halves().agreement {
        facts.push(format!("truths of one half of the seeds and of the other agree to {agreement:.3}"));
    }
    if trial.checkpoints() > 1 {
        facts.push(format!("influences are averages over {} checkpoints", trial.checkpoints()));
    }
    for bytes in ROW_BUDGETS {
        if let Some(line) = best_within(lines, bytes) {
            let score = line.integer.unwrap_or(line.float);
            facts.push(format!("best of int8 within {bytes} bytes a row: {}, {score:.4}", line.method));
        }
    }
    Ok(facts)
}

/// The line with the highest score of those whose rows take at most so many bytes: in integers, as rows are kept.
pub fn best_within(lines: &[Line], bytes: usize) -> Option<&Line> {
    let score = |line: &Line| line.integer.unwrap_or(line.float);
    lines.iter().filter(|line| line.bytes_per_row <= bytes).max_by(|a, b| score(a).total_cmp(&score(b)))
}

/// Scores of one method, summed over checkpoints.
struct Sum {
    method: String,
    float: Vec<f64>,
    integer: Vec<f64>,
    float_seconds: f64,
    integer_seconds: f64,
    dimension: usize,
}

impl Sum {
    fn new(method: Method, projection: Projection, problem: &Problem) -> Self {
        let count = problem.rows.len() * problem.queries.len();
        Self {
            method: format!("{}{}", method.as_str(), described(projection)),
            float: vec![0.0; count],
            integer: vec![0.0; count],
            float_seconds: 0.0,
            integer_seconds: 0.0,
            dimension: 0,
        }
    }

    fn add(&mut self, problem: &Projected<'_>, method: Method) -> Result<(), BenchError> {
        self.dimension = problem.rows.dimension();
        let start = Instant::now();
        add(&mut self.float, &problem.float_scores(method)?);
        self.float_seconds += start.elapsed().as_secs_f64();
        let start = Instant::now();
        add(&mut self.integer, &problem.integer_scores(method)?);
        self.integer_seconds += start.elapsed().as_secs_f64();
        Ok(())
    }

    /// The sums against the truth.
    fn line(&self, trial: &dyn Trial, options: &Options) -> Line {
        let halves = trial.halves();
        let score = |scores: &[f64], replicates| -> Lds {
            lds(&halves.subsets, scores, &halves.truth, replicates, options.seed)
        };
        let line = Line {
            method: self.method.clone(),
            dimension: self.dimension,
            float: 0.0,
            interval: None,
            integer: Some(score(&self.integer, 0).mean),
            float_seconds: self.float_seconds,
            integer_seconds: self.integer_seconds,
            // Each checkpoint has its own rows.
            bytes_per_row: trial.checkpoints() * (ROW_BYTES + self.dimension),
        };
        line.with_interval(score(&self.float, options.replicates))
    }
}

fn add(sums: &mut [f64], scores: &[f64]) {
    sums.iter_mut().zip(scores).for_each(|(sum, score)| *sum += score);
}

/// A projection in the name of a line.
pub(super) fn described(projection: Projection) -> String {
    match projection {
        Projection::None => String::new(),
        Projection::Signs { dimension } => format!(", signs {dimension}"),
        Projection::Factored { inputs, outputs } => format!(", factored {inputs} x {outputs}"),
        Projection::Basis { dimension, .. } => format!(", principal {dimension}"),
    }
}

/// The ways that the tables' networks are measured in: every method unprojected, and by random signs to each of
/// `dimensions`.
pub(super) fn ways_of_networks(layout: &Layout, dimensions: &[u32]) -> Vec<Way> {
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
        ways.push((principal(256), vec![Method::GaussNewton]));
    }
    ways
}

/// The ways that adapters are measured in: besides, both sides of each layer to as many dimensions as random signs, and
/// principal directions.
pub(super) fn ways_of_adapters(problem: &Problem) -> Vec<Way> {
    let layout = problem.layout();
    let fewer = |dimension: &u32| (*dimension as usize) < layout.parameters();
    let mut ways = vec![(Projection::None, Method::ALL.to_vec())];
    for dimension in [512, 1_024].into_iter().filter(fewer) {
        ways.push((Projection::Signs { dimension }, vec![Method::EmpiricalFisher, Method::GaussNewton]));
        if let Some(projection) = factored_within(layout, dimension as usize) {
            ways.push((projection, vec![Method::GaussNewton]));
        }
    }
    let found = |dimension: &u32| *dimension as usize <= problem.fisher.len();
    for dimension in [128, 256, 512, 1_024].into_iter().filter(fewer).filter(found) {
        ways.push((principal(dimension), vec![Method::GaussNewton]));
    }
    ways
}

/// The largest projection of both sides of each layer, to the same number, within so many dimensions.
fn factored_within(layout: &Layout, most: usize) -> Option<Projection> {
    let sides = (1..=layout.parameters()).map_while(|side| {
        let side = u32::try_from(side).ok()?;
        let projection = Projection::Factored { inputs: side, outputs: side };
        let space = Space::new(layout.clone(), projection).ok()?;
        (space.dimension() <= most && space.dimension() < layout.parameters()).then_some(projection)
    });
    sides.last()
}

fn principal(dimension: u32) -> Projection {
    Projection::Basis { dimension, digest: Hash32([0; 32]) }
}

#[cfg(test)]
mod tests;
