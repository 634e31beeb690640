//! The arithmetic against itself in doubles: every gradient against central finite differences, and
//! gradients by example against those of the whole batch.

use candle_core::{DType, Device, Result, Tensor, Var};

use crate::model::example::{Batch, Example};
use crate::model::linear::{Pass, Scope};
use crate::model::random::SplitMix;
use crate::model::train::mean_loss;
use crate::model::transformer::Model;
use crate::model::{Config, Gradients, Labels, LoraConfig, Targets};

const SMALL: Config = Config {
    vocabulary: 11,
    width: 8,
    hidden: 12,
    blocks: 2,
    heads: 4,
    kv_heads: 2,
    context: 16,
    rope_base: 100.0,
    norm_epsilon: 1e-5,
    tied_embeddings: true,
};

/// A model whose every weight is random and large enough to matter, norms and `B` included.
fn lively(config: Config, adapter: bool) -> Model {
    let mut model = Model::random(config, 3).unwrap();
    if adapter {
        let targets = Targets::Names(["q_proj", "v_proj", "o_proj", "down_proj", "lm_head"].map(String::from).to_vec());
        model.attach(&LoraConfig { rank: 2, alpha: 3.0, targets }, 4).unwrap();
    }
    model
        .map(|name, weight| {
            let draws = SplitMix::keyed(9, name.as_bytes()).floats(weight.elem_count(), 0.6);
            let centre = if weight.rank() == 1 { 1.0 } else { 0.0 };
            Tensor::from_vec(draws, weight.dims(), &Device::Cpu)?.to_dtype(DType::F64)?.affine(1.0, centre)
        })
        .unwrap()
}

/// The same with variables in place of the tensors that are trained.
fn variables(model: &Model, adapter: bool) -> (Model, Vec<(String, Var)>) {
    let mut variables = Vec::new();
    let model = model
        .map(|name, weight| {
            if adapter != name.contains(".lora_") {
                return Ok(weight.clone());
            }
            let var = Var::from_tensor(weight)?;
            variables.push((name.to_owned(), var.clone()));
            Ok::<_, candle_core::Error>(var.as_tensor().clone())
        })
        .unwrap();
    (model, variables)
}

/// Of unequal lengths, with a part that does not count.
fn examples() -> Vec<Example> {
    vec![Example::text(vec![1, 7, 3, 3, 9, 0, 10]), Example::answer(&[4, 5], &[6, 1, 8]), Example::text(vec![2, 2])]
}

fn close(found: f64, wanted: f64, tolerance: f64, size: f64) -> bool {
    (found - wanted).abs() <= tolerance * size.max(1e-3)
}

fn scalar(tensor: &Tensor) -> f64 {
    tensor.to_scalar().unwrap()
}

#[test]
fn every_gradient_agrees_with_finite_differences() {
    for (tied_embeddings, adapter) in [(true, false), (false, false), (true, true), (false, true)] {
        let model = lively(Config { tied_embeddings, ..SMALL }, adapter);
        let (model, variables) = variables(&model, adapter);
        let examples = examples();
        let batch = Batch::new(&examples, model.config()).unwrap();
        let gradients = mean_loss(&model, &batch).unwrap().backward().unwrap();
        assert!(variables.len() >= if adapter { 18 } else { 20 }, "too few tensors are looked at");
        for (name, var) in &variables {
            let gradient = gradients.get(var).unwrap_or_else(|| panic!("{name} has no gradient"));
            let gradient: Vec<f64> = gradient.flatten_all().unwrap().to_vec1().unwrap();
            let size = gradient.iter().fold(0f64, |size, g| size.max(g.abs()));
            assert!(size > 1e-4, "{name} has no gradient to speak of: {size}");
            let weights: Vec<f64> = var.flatten_all().unwrap().to_vec1().unwrap();
            for (index, wanted) in gradient.iter().enumerate() {
                let loss = |change: f64| -> Result<f64> {
                    let mut weights = weights.clone();
                    weights[index] += change;
                    var.set(&Tensor::from_vec(weights, var.dims(), &Device::Cpu)?)?;
                    Ok(scalar(&mean_loss(&model, &batch)?))
                };
                let step = 1e-5;
                let found = (loss(step).unwrap() - loss(-step).unwrap()) / (2.0 * step);
                assert!(close(found, *wanted, 1e-6, size), "{name}[{index}]: {wanted}, by differences {found}");
            }
            var.set(&Tensor::from_vec(weights, var.dims(), &Device::Cpu).unwrap()).unwrap();
        }
    }
}

/// Inference, training and recording run the same arithmetic.
#[test]
fn the_three_kinds_of_pass_agree() {
    let (model, _) = variables(&lively(SMALL, true), true);
    let batch = Batch::new(&examples(), model.config()).unwrap();
    let loss = scalar(&mean_loss(&model, &batch).unwrap());
    let hidden = model.hidden(&batch.tokens, batch.length, None, &mut Pass::Infer).unwrap();
    let likelihoods = model.batch_log_likelihood(&hidden, &batch, &mut Pass::Infer).unwrap();
    let sum = scalar(&likelihoods.sum_all().unwrap());
    assert!(close(-sum / batch.targets.len() as f64, loss, 1e-12, 1.0));
    let alone: f64 = model.log_likelihoods(&examples()).unwrap().iter().sum();
    assert!(close(alone, sum, 1e-12, 1.0), "padding took part: {alone}, {sum}");
}

/// Rows by taps sum to the batch's gradient, and each is the gradient of a batch of its own.
#[test]
fn rows_are_the_gradients_of_single_examples() {
    let cases = [
        (true, false, Scope::Full),
        (false, false, Scope::Full),
        (false, false, Scope::Linear),
        (true, true, Scope::Adapter),
        (false, true, Scope::Adapter),
    ];
    for (tied_embeddings, adapter, scope) in cases {
        let model = lively(Config { tied_embeddings, ..SMALL }, adapter);
        let taker = Gradients::new(&model, scope).unwrap();
        let examples = examples();
        let rows = taker.rows(&examples, Labels::Given).unwrap();
        let (model, variables) = variables(&model, adapter);
        // The log-likelihood's gradient in the layout's order, by candle's own backward pass.
        let whole = |examples: &[Example]| {
            let batch = Batch::new(examples, model.config()).unwrap();
            let store = mean_loss(&model, &batch).unwrap().backward().unwrap();
            let mut row = vec![0f64; taker.layout().parameters()];
            for (block, range) in taker.layout().ranges() {
                let (_, var) = variables.iter().find(|(name, _)| *name == block.name).expect("a variable of that name");
                assert_eq!(var.elem_count(), block.parameters());
                let gradient = store.get(var).expect("a gradient");
                // Rows of inputs; but what looks tokens up has tokens for inputs, and so its table already.
                let by_inputs = gradient.rank() == 1 || block.name == "model.embed_tokens.weight";
                let gradient = if by_inputs { gradient.clone() } else { gradient.t().unwrap() };
                let gradient: Vec<f64> = gradient.flatten_all().unwrap().to_vec1().unwrap();
                for (at, g) in range.zip(gradient) {
                    row[at] = -g * batch.targets.len() as f64;
                }
            }
            row
        };
        let agree = |found: &[f32], wanted: &[f64], what: &str| {
            let size = wanted.iter().fold(0f64, |size, g| size.max(g.abs()));
            for (index, (found, wanted)) in found.iter().zip(wanted).enumerate() {
                assert!(
                    close(f64::from(*found), *wanted, 1e-5, size),
                    "{scope:?} {what} [{index}]: {found}, not {wanted}"
                );
            }
        };
        let mut sum = vec![0f32; taker.layout().parameters()];
        for (index, row) in rows.iter().enumerate() {
            agree(row, &whole(&examples[index..=index]), &format!("row {index}"));
            sum.iter_mut().zip(row).for_each(|(sum, g)| *sum += g);
        }
        agree(&sum, &whole(&examples), "sum");
        if scope == Scope::Full {
            continue;
        }
        let products = taker.factors(&examples, Labels::Given).unwrap().gradients().unwrap();
        assert_eq!(products.len(), rows.len());
        for (row, product) in rows.iter().zip(products.rows()) {
            agree(row, &product.iter().map(|g| f64::from(*g)).collect::<Vec<_>>(), "of factors");
        }
    }
}
