//! Gradients against finite differences, and training that learns.

use super::*;
use crate::influence::gradients::Gradients;

const SHAPE: Shape = Shape { vocabulary: 7, context: 3, embedding: 4, hidden: 10, rank: 2 };

/// Documents in which each symbol follows from the one before, most of the time.
fn documents(count: usize, length: usize) -> Vec<Vec<usize>> {
    let mut draw = Draw::new(2, 2);
    let mut document = || {
        let mut symbol = draw.below(7);
        let mut next = |_| {
            symbol = if draw.below(5) == 0 { draw.below(7) } else { (symbol + 2) % 7 };
            symbol
        };
        (0..length).map(&mut next).collect()
    };
    (0..count).map(|_| document()).collect()
}

fn base() -> Base {
    let text: Vec<usize> = documents(40, 20).concat();
    Base::pretrained(SHAPE, &text, 30, 1)
}

/// An adapter with nothing at 0, so that every gradient flows.
fn adapter() -> Adapter {
    let mut draw = Draw::new(3, 3);
    Adapter { parameters: (0..SHAPE.adapter_parameters()).map(|_| 0.3 * draw.normal()).collect() }
}

#[test]
fn the_adapter_of_the_suite_has_as_many_parameters_as_the_book_says() {
    // Ranks of 4 beside 192 x 96, 96 x 96 and 96 x 85.
    assert_eq!(Shape::of_suite(85).adapter_parameters(), 4 * (192 + 96) + 4 * (96 + 96) + 4 * (96 + 85));
    assert_eq!(Shape::of_suite(85).adapter_parameters(), 2_644);
    assert_eq!(Shape::of_suite(85).layout().unwrap().parameters(), 2_644);
}

#[test]
fn gradients_of_adapters_are_those_of_finite_differences() {
    let (base, adapter) = (base(), adapter());
    let windows = base.windows(&documents(4, 8));
    assert_eq!((windows.documents(), windows.each), (4, 5));
    let rows = base.factors(&adapter, &windows, None).unwrap().gradients().unwrap();
    let mean = base.mean_gradient(&adapter, &windows);
    let step = 1e-5;
    for parameter in 0..adapter.parameters.len() {
        let moved = |by: f64| {
            let mut moved = adapter.clone();
            moved.parameters[parameter] += by;
            base.log_likelihoods(&moved, &windows)
        };
        let differences: Vec<f64> =
            moved(step).iter().zip(moved(-step)).map(|(up, down)| (up - down) / (2.0 * step)).collect();
        for (row, difference) in rows.rows().zip(&differences) {
            let found = f64::from(row[parameter]);
            assert!((found - difference).abs() < 1e-4, "{parameter}: {found} {difference}");
        }
        let sum = differences.iter().sum::<f64>() / windows.targets.len() as f64;
        assert!((mean[parameter] - sum).abs() < 1e-7, "{parameter}: {} {sum}", mean[parameter]);
    }
}

#[test]
fn gradients_of_bases_are_those_of_finite_differences() {
    let base = base();
    let documents = documents(3, 6);
    let gradient = base.full_gradient(&documents);
    let fresh = Adapter::fresh(&SHAPE);
    for (weight, found) in gradient.iter().enumerate() {
        let moved = |by: f64| {
            let mut moved = base.clone();
            moved.weights[weight] += by;
            let windows = moved.windows(&documents);
            moved.log_likelihoods(&fresh, &windows).iter().sum::<f64>() / windows.targets.len() as f64
        };
        let difference = (moved(1e-5) - moved(-1e-5)) / 2e-5;
        assert!((found - difference).abs() < 1e-7, "{weight}: {found} {difference}");
    }
}

#[test]
fn drawn_labels_follow_the_model() {
    let (base, adapter) = (base(), adapter());
    let windows = base.windows(&documents(1, 4));
    let probabilities: Vec<f64> = {
        let pass = base.pass(&adapter, &windows);
        pass.log_probabilities.col_as_slice(0).iter().map(|value| value.exp()).collect()
    };
    // The mean of the last layer's δ over draws is 0: the model expects what it says.
    let deltas = |seed| base.factors(&adapter, &windows, Some(seed)).unwrap().layers()[5].deltas.clone();
    let draws = 4_000;
    let mut counts = [0.0; 7];
    for seed in 0..draws {
        let drawn = deltas(seed);
        let label = (0..7).max_by(|a, b| drawn[*a].total_cmp(&drawn[*b])).unwrap();
        counts[label] += 1.0 / draws as f64;
    }
    for (count, probability) in counts.iter().zip(&probabilities) {
        assert!((count - probability).abs() < 0.04, "{counts:?} {probabilities:?}");
    }
    assert_eq!(deltas(5), deltas(5));
}

#[test]
fn adapters_learn_and_depend_on_documents_and_seed_alone() {
    let base = base();
    let windows = base.windows(&documents(40, 13));
    let all: Vec<usize> = (0..40).collect();
    let trained = base.adapt(&windows, &all, 1);
    let likelihood = |adapter: &Adapter| base.log_likelihoods(adapter, &windows).iter().sum::<f64>();
    assert!(likelihood(&trained) > likelihood(&Adapter::fresh(&SHAPE)) + 20.0);
    assert_eq!(base.adapt(&windows, &all, 1), trained);
    assert_ne!(base.adapt(&windows, &all, 2), trained);
    assert_ne!(base.adapt(&windows, &all[..20], 1), trained);
    let rows: Gradients = base.factors(&trained, &windows, None).unwrap().gradients().unwrap();
    assert_eq!((rows.len(), rows.dimension()), (40, SHAPE.adapter_parameters()));
}
