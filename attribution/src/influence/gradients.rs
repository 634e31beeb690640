//! Gradients as they come from models, and the factors that they are made of.

use super::layout::Layout;
use std::ops::Range;

/// Gradients of the log-likelihood, one row after the other, every entry finite.
#[derive(Clone, Debug, PartialEq)]
pub struct Gradients {
    dimension: usize,
    values: Vec<f32>,
}

/// Preconditioned queries: rows of the same dimension in double precision.
#[derive(Clone, Debug, PartialEq)]
pub struct Vectors {
    dimension: usize,
    values: Vec<f64>,
}

/// What gradients of a linear layer are made of: the gradient of an example is Σ x ⊗ δ over its tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerFactors {
    /// The layer's inputs x, token by token.
    pub inputs: Vec<f32>,
    /// The gradients δ of the log-likelihood with respect to the layer's outputs, token by token.
    pub deltas: Vec<f32>,
}

/// The factors of all layers of a layout, for some examples.
#[derive(Clone, Debug, PartialEq)]
pub struct Factors {
    layout: Layout,
    layers: Vec<LayerFactors>,
    /// Behind the last token of each example.
    ends: Vec<usize>,
}

/// Why numbers are no gradients.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence on each variant is its documentation, and names its fields")]
pub enum GradientError {
    #[error("gradients of no dimensions")]
    Dimension,
    #[error("{got} numbers are not a whole number of gradients of {dimension}")]
    Length { got: usize, dimension: usize },
    #[error("entry {at} of gradient {row} is {value}; the model has diverged, or its input was out of range")]
    NotFinite { row: usize, at: usize, value: f64 },
    #[error("factors of {got} layers for a layout of {expected}")]
    Layers { got: usize, expected: usize },
    #[error("layer {layer} has {got} {what} where {expected} belong to its tokens")]
    Factors { layer: usize, what: &'static str, got: usize, expected: usize },
    #[error("the tokens of example {example} end before they begin")]
    Ends { example: usize },
}

impl Gradients {
    /// Rows of `dimension` entries.
    pub fn new(dimension: usize, values: Vec<f32>) -> Result<Self, GradientError> {
        check_length(dimension, values.len())?;
        match values.iter().position(|value| !value.is_finite()) {
            Some(at) => Err(not_finite(dimension, at, values[at].into())),
            None => Ok(Self { dimension, values }),
        }
    }

    /// Entries of each row.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.values.len() / self.dimension
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The rows, in order.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.values.chunks_exact(self.dimension)
    }

    /// All rows, one after the other.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The sum of all squares.
    pub fn square(&self) -> f64 {
        self.values.iter().map(|value| f64::from(*value).powi(2)).sum()
    }

    /// What each row scores with each vector, row by row.
    pub fn scores(&self, vectors: &Vectors) -> Result<Vec<f64>, GradientError> {
        if vectors.dimension != self.dimension {
            return Err(GradientError::Length { got: vectors.dimension, dimension: self.dimension });
        }
        Ok(super::linear::products(self, vectors))
    }
}

impl Vectors {
    /// Rows of `dimension` entries.
    pub fn new(dimension: usize, values: Vec<f64>) -> Result<Self, GradientError> {
        check_length(dimension, values.len())?;
        match values.iter().position(|value| !value.is_finite()) {
            Some(at) => Err(not_finite(dimension, at, values[at])),
            None => Ok(Self { dimension, values }),
        }
    }

    /// Entries of each row.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.values.len() / self.dimension
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The rows, in order.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f64]> {
        self.values.chunks_exact(self.dimension)
    }

    /// All rows, one after the other.
    pub fn values(&self) -> &[f64] {
        &self.values
    }
}

impl Factors {
    /// The factors of each layer of a layout; `ends` holds, for each example, the number of tokens up to its last.
    pub fn new(layout: Layout, layers: Vec<LayerFactors>, ends: Vec<usize>) -> Result<Self, GradientError> {
        if layers.len() != layout.blocks().len() {
            return Err(GradientError::Layers { got: layers.len(), expected: layout.blocks().len() });
        }
        if let Some(example) = ends.windows(2).position(|pair| pair[1] < pair[0]) {
            return Err(GradientError::Ends { example: example + 1 });
        }
        let tokens = ends.last().copied().unwrap_or(0);
        for (layer, (factors, block)) in layers.iter().zip(layout.blocks()).enumerate() {
            for (what, numbers, width) in
                [("inputs", &factors.inputs, block.inputs), ("deltas", &factors.deltas, block.outputs)]
            {
                let (got, width) = (numbers.len(), width as usize);
                if tokens.checked_mul(width) != Some(got) {
                    return Err(GradientError::Factors { layer, what, got, expected: tokens.saturating_mul(width) });
                }
                if let Some(at) = numbers.iter().position(|value| !value.is_finite()) {
                    return Err(not_finite(width, at, numbers[at].into()));
                }
            }
        }
        Ok(Self { layout, layers, ends })
    }

    /// The layout whose layers these are.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The factors of each layer.
    pub fn layers(&self) -> &[LayerFactors] {
        &self.layers
    }

    /// How many tokens there are.
    pub fn tokens(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }

    /// How many examples there are.
    pub fn examples(&self) -> usize {
        self.ends.len()
    }

    /// The tokens of each example.
    pub fn tokens_of_examples(&self) -> impl Iterator<Item = Range<usize>> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| start..*end)
    }

    /// The gradients of the examples: x ⊗ δ, summed over the tokens of each.
    pub fn gradients(&self) -> Result<Gradients, GradientError> {
        let parameters = self.layout.parameters();
        let mut values = vec![0_f32; parameters * self.examples()];
        for ((block, range), factors) in self.layout.ranges().zip(&self.layers) {
            let (inputs, outputs) = (block.inputs as usize, block.outputs as usize);
            for (row, tokens) in values.chunks_exact_mut(parameters).zip(self.tokens_of_examples()) {
                let row = &mut row[range.clone()];
                for token in tokens {
                    let x = &factors.inputs[token * inputs..(token + 1) * inputs];
                    let delta = &factors.deltas[token * outputs..(token + 1) * outputs];
                    for (part, x) in row.chunks_exact_mut(outputs).zip(x) {
                        part.iter_mut().zip(delta).for_each(|(sum, delta)| *sum += x * delta);
                    }
                }
            }
        }
        Gradients::new(parameters, values)
    }
}

fn check_length(dimension: usize, got: usize) -> Result<(), GradientError> {
    match dimension {
        0 => Err(GradientError::Dimension),
        _ if !got.is_multiple_of(dimension) => Err(GradientError::Length { got, dimension }),
        _ => Ok(()),
    }
}

fn not_finite(dimension: usize, at: usize, value: f64) -> GradientError {
    GradientError::NotFinite { row: at / dimension, at: at % dimension, value }
}

#[cfg(test)]
mod tests {
    use super::super::layout::Block;
    use super::*;

    #[test]
    fn what_is_not_finite_is_refused_with_its_place() {
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let error = Gradients::new(2, vec![0.0, 1.0, 2.0, value]).unwrap_err();
            assert!(matches!(error, GradientError::NotFinite { row: 1, at: 1, .. }), "{error}");
        }
        assert_eq!(Gradients::new(2, vec![0.0; 3]), Err(GradientError::Length { got: 3, dimension: 2 }));
        assert_eq!(Gradients::new(0, vec![]), Err(GradientError::Dimension));
        assert!(Gradients::new(2, vec![]).unwrap().is_empty());
        assert!(Vectors::new(1, vec![f64::NAN]).is_err());
    }

    #[test]
    fn factors_give_the_gradients_of_their_examples() {
        let block = |inputs, outputs| Block { name: "layer".to_owned(), inputs, outputs };
        let layout = Layout::new(vec![block(2, 1), block(1, 2)]).unwrap();
        let first = LayerFactors { inputs: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], deltas: vec![1.0, -1.0, 2.0] };
        let second = LayerFactors { inputs: vec![1.0, 2.0, 3.0], deltas: vec![1.0, 0.0, 0.0, 1.0, 1.0, 1.0] };
        let factors = Factors::new(layout.clone(), vec![first.clone(), second.clone()], vec![2, 2, 3]).unwrap();
        let gradients = factors.gradients().unwrap();
        assert_eq!(gradients.values(), [-2.0, -2.0, 1.0, 2.0, 0.0, 0.0, 0.0, 0.0, 10.0, 12.0, 3.0, 3.0]);
        let new = |layers: &[&LayerFactors], ends: &[usize]| {
            Factors::new(layout.clone(), layers.iter().map(|layer| (*layer).clone()).collect(), ends.to_vec())
        };
        assert!(matches!(new(&[&first], &[3]), Err(GradientError::Layers { got: 1, expected: 2 })));
        assert!(matches!(new(&[&first, &second], &[2]), Err(GradientError::Factors { layer: 0, .. })));
        assert!(matches!(new(&[&first, &second], &[2, 1, 3]), Err(GradientError::Ends { example: 1 })));
        assert!(matches!(new(&[&first, &second], &[usize::MAX]), Err(GradientError::Factors { .. })));
    }
}
