//! The suites on problems that take a second.

use super::super::draw::Draw;
use super::super::files::{read_scores, write_scores};
use super::super::noisy::noisy_labels;
use super::*;

/// Points around one centre for each of three classes, some of them far off.
fn clusters(rows: usize) -> Table {
    let mut draw = Draw::new(4, 4);
    let labels: Vec<usize> = (0..rows).map(|row| row % 3).collect();
    let features = labels.iter().flat_map(|label| {
        let centre = |at: usize| if at == *label { 1.5 } else { 0.0 };
        (0..4).map(|at| centre(at) + draw.normal()).collect::<Vec<_>>()
    });
    Table::from_parts(4, features.collect(), labels.clone()).unwrap()
}

fn options() -> Options {
    Options { train: 120, test: 12, subsets: 40, seeds: 2, checkpoints: 2, replicates: 20, seed: 1 }
}

fn find<'a>(report: &'a Report, method: &str) -> &'a Line {
    report.lines.iter().find(|line| line.method == method).unwrap()
}

#[test]
fn gauss_newton_tells_halves_apart_and_integers_do_as_floats_do() {
    let report = digits_lr(&clusters(140), &options(), |_, _| ()).unwrap();
    for line in &report.lines {
        assert!((line.float - line.integer.unwrap()).abs() < 0.01, "{report}");
        let (low, high) = line.interval.unwrap();
        assert!(low <= line.float + 0.1 && line.float - 0.1 <= high);
    }
    assert!(find(&report, "gauss-newton").float > 0.9, "{report}");
    assert!(find(&report, "gauss-newton").float > find(&report, "gradient-dot").float, "{report}");
}

#[test]
fn integer_scores_are_float_scores_in_the_same_units() {
    let experiment = Experiment::new(Model::Perceptron, &clusters(140), &options(), |_, _| ()).unwrap();
    let problem = experiment.problem(0).unwrap();
    for projection in [Projection::None, Projection::Signs { dimension: 64 }] {
        let problem = problem.project(projection).unwrap();
        let methods = if projection == Projection::None { &Method::ALL[..] } else { &Method::ALL[4..] };
        for method in methods {
            let (float, integer) = (problem.float_scores(*method).unwrap(), problem.integer_scores(*method).unwrap());
            // The slope of one over the other, and how well it fits: rounding to 8 bits adds noise, and no more.
            let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            let slope = product(&float, &integer) / product(&float, &float);
            let fit = product(&float, &integer) / (product(&float, &float) * product(&integer, &integer)).sqrt();
            assert!((slope - 1.0).abs() < 0.02 && fit > 0.99, "{method:?} {slope} {fit}");
        }
    }
}

#[test]
fn an_experiment_comes_back_from_its_files() {
    let experiment = Experiment::new(Model::Perceptron, &clusters(140), &options(), |_, _| ()).unwrap();
    assert_eq!(experiment.networks.len(), 2);
    let folder = tempfile::tempdir().unwrap();
    experiment.write(folder.path()).unwrap();
    let again = Experiment::read(folder.path()).unwrap();
    let halves = Halves { agreement: None, ..experiment.halves.clone() };
    assert_eq!(again, Experiment { halves, ..experiment.clone() });
    let scores: Vec<f64> = (0..120 * 12).map(f64::from).collect();
    write_scores(folder.path(), "scores", [120, 12], &scores).unwrap();
    assert_eq!(read_scores(folder.path(), "scores", [120, 12]).unwrap(), scores);
    assert!(read_scores(folder.path(), "truth", [120, 12]).is_err());
    std::fs::write(folder.path().join("subsets.npy"), b"nothing").unwrap();
    let error = Experiment::read(folder.path()).unwrap_err();
    assert!(matches!(error, BenchError::Files(crate::influence::bench::FilesError::Array { .. })), "{error}");
}

#[test]
fn wrong_labels_influence_themselves() {
    let report = noisy_labels(&clusters(140), &options()).unwrap();
    let line = find(&report, "lr: gauss-newton");
    assert!(line.float > 0.7 && (line.float - line.integer.unwrap()).abs() < 0.02, "{report}");
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let table = clusters(30);
    let refused = |options: Options| digits_lr(&table, &options, |_, _| ()).unwrap_err();
    assert!(matches!(refused(options()), BenchError::Rows { got: 30, train: 120, test: 12 }));
    assert!(matches!(refused(Options { train: usize::MAX, ..options() }), BenchError::Rows { .. }));
    let few = Options { train: 20, test: 5, ..options() };
    assert!(matches!(refused(Options { subsets: 0, ..few }), BenchError::Option { got: 0, .. }));
}
