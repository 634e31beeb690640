//! Low-rank adapters (LoRA, Hu et al. 2021): beside a frozen matrix `W` two small ones, so that the
//! layer gives `x Wᵀ + (alpha / rank) (x Aᵀ) Bᵀ`. No dropout.

use candle_core::{Device, Tensor};
use regex::RegexBuilder;

use super::random::SplitMix;

/// Largest rank of an adapter.
pub const MAX_RANK: usize = 1 << 10;
/// Most names in a list of target modules, and most bytes in a pattern.
pub const MAX_TARGETS: usize = 1 << 10;

/// How an adapter is built.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraConfig {
    /// Rows of `A`, and columns of `B`.
    pub rank: usize,
    /// The adapter's output counts `alpha / rank` times.
    pub alpha: f64,
    /// The layers that it changes.
    pub targets: Targets,
}

/// Which linear layers an adapter changes, as PEFT's `target_modules` says it. A layer's full name
/// is like `model.layers.0.self_attn.q_proj`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Targets {
    /// Full names, or what they end with after a dot.
    Names(Vec<String>),
    /// A regular expression that matches the full name from its first letter to its last;
    /// `all-linear` means every linear layer but the output matrix.
    Pattern(String),
}

/// Why an adapter cannot be put beside a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoraError {
    /// The rank is zero or too large.
    #[error("the adapter's rank is {found}; it must be from 1 to {limit}")]
    Rank {
        /// The rank.
        found: usize,
        /// The largest allowed.
        limit: usize,
    },
    /// The scale is not a usable number.
    #[error("the adapter's alpha is {found}; it must be a finite number that is not 0")]
    Alpha {
        /// The alpha.
        found: f64,
    },
    /// The pattern does not parse, or is too large.
    #[error("the adapter's pattern of target modules is no regular expression that can be used here")]
    Pattern(#[source] regex::Error),
    /// The list of names or the pattern is too long.
    #[error("the adapter's target modules are a list or pattern of {found}; at most {limit} are allowed")]
    TooManyTargets {
        /// Names, or bytes of the pattern.
        found: usize,
        /// The most allowed.
        limit: usize,
    },
    /// No layer is meant.
    #[error("the adapter's target modules {targets:?} name no linear layer of this model")]
    NoTarget {
        /// What was asked for.
        targets: Targets,
    },
    /// The model has an adapter already.
    #[error("the model has an adapter already")]
    Occupied,
    /// A tensor could not be made.
    #[error("the adapter's tensors could not be made")]
    Compute(#[from] candle_core::Error),
}

impl LoraConfig {
    /// How often the adapter's output counts.
    pub(super) fn scale(&self) -> f64 {
        self.alpha / self.rank.max(1) as f64
    }

    /// Those of `layers` that the adapter changes; at least one.
    pub(super) fn select<'a>(&self, layers: impl Iterator<Item = &'a str>) -> Result<Vec<bool>, LoraError> {
        if !(1..=MAX_RANK).contains(&self.rank) {
            return Err(LoraError::Rank { found: self.rank, limit: MAX_RANK });
        }
        if !self.alpha.is_finite() || self.alpha == 0.0 {
            return Err(LoraError::Alpha { found: self.alpha });
        }
        let selected: Vec<bool> = match &self.targets {
            Targets::Names(names) => {
                within_limit(names.len())?;
                let ends = |layer: &str, name: &str| layer.strip_suffix(name).is_some_and(|rest| rest.ends_with('.'));
                layers.map(|layer| names.iter().any(|name| layer == name || ends(layer, name))).collect()
            }
            Targets::Pattern(pattern) if pattern == "all-linear" => layers.map(|layer| layer != "lm_head").collect(),
            Targets::Pattern(pattern) => {
                within_limit(pattern.len())?;
                let whole = format!("^(?:{pattern})$");
                let pattern = RegexBuilder::new(&whole).size_limit(1 << 20).build().map_err(LoraError::Pattern)?;
                layers.map(|layer| pattern.is_match(layer)).collect()
            }
        };
        match selected.contains(&true) {
            true => Ok(selected),
            false => Err(LoraError::NoTarget { targets: self.targets.clone() }),
        }
    }
}

fn within_limit(found: usize) -> Result<(), LoraError> {
    match found <= MAX_TARGETS {
        true => Ok(()),
        false => Err(LoraError::TooManyTargets { found, limit: MAX_TARGETS }),
    }
}

/// The two matrices of one layer.
#[derive(Debug, Clone)]
pub(super) struct Lora {
    /// `(rank, inputs)`.
    pub(super) a: Tensor,
    /// `(outputs, rank)`.
    pub(super) b: Tensor,
    pub(super) scale: f64,
}

impl Lora {
    /// A fresh pair: `A` uniform within `1 / sqrt(inputs)` as PEFT has it, and `B` zero, so that the
    /// model says at first what it said without.
    pub(super) fn fresh(
        config: &LoraConfig,
        layer: &str,
        shape: (usize, usize),
        seed: u64,
    ) -> candle_core::Result<Self> {
        let (outputs, inputs) = shape;
        let mut draws = SplitMix::keyed(seed, layer.as_bytes());
        let a = draws.floats(config.rank * inputs, 1.0 / (inputs as f64).sqrt());
        Ok(Self {
            a: Tensor::from_vec(a, (config.rank, inputs), &Device::Cpu)?,
            b: Tensor::zeros((outputs, config.rank), candle_core::DType::F32, &Device::Cpu)?,
            scale: config.scale(),
        })
    }
}
