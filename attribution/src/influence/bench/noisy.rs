//! The suite of wrong labels: does an example that influences itself much have one?

use super::draw::Draw;
use super::experiment::split;
use super::lds::auc;
use super::measure::{ROW_BYTES, described};
use super::problem::{Problem, Projected};
use super::report::{Line, Report};
use super::train::train;
use super::{BenchError, Model, Options, Table};
use crate::influence::gradients::Gradients;
use crate::influence::layout::Projection;
use crate::influence::methods::{Method, Preconditioner};
use std::time::Instant;

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
        let problem = Problem::of_network(model, &network, &noisy, &noisy)?;
        for (projection, method) in ways {
            let problem = problem.project(projection)?;
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

fn self_influence_of(problem: &Projected<'_>, method: Method) -> Result<Vec<f64>, BenchError> {
    self_influence(&problem.rows, problem.preconditioner(method)?.as_ref())
}

/// The diagonal of the integer scores, where queries are the rows.
fn integer_self_influence(problem: &Projected<'_>, method: Method) -> Result<Vec<f64>, BenchError> {
    let scores = problem.integer_scores(method)?;
    let count = problem.rows.len();
    Ok((0..count).map(|row| scores[row * count + row]).collect())
}
