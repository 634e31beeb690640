//! A transformer of the llama family: one forward pass for answering, training and attribution.
//!
//! Each block: RMS norm, attention with rotary positions and grouped key/value heads, RMS norm,
//! SwiGLU. Weights are named, laid out and rotated as Hugging Face has them: element `i` of a head
//! is turned with element `i + head width / 2`. GGUF lays the rows of query and key matrices out for
//! neighbouring pairs; its reader puts them into this order, so that there is one rotation here.
//!
//! A model outside of a [`Trainer`](super::Trainer) holds no variables: a clone of it shares its
//! weights and nobody changes them. Weights are floats. Products with packed ones take a quarter of
//! the memory, but without the processor's vector units, and a prompt took ten times as long.

use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor};

use super::config::{Config, ConfigError};
use super::example::{Batch, Example, ExampleError};
use super::linear::{HEAD, Input, Linear, Pass};
use super::lora::{Lora, LoraConfig, LoraError};
use super::ops::{Rotary, causal_softmax, log_likelihood, normalised, rms_norm, rotate, swiglu};
use super::random::SplitMix;

/// The name of the matrix that tokens are looked up in.
pub(super) const EMBEDDING: &str = "model.embed_tokens.weight";
/// Standard deviation of fresh weights.
const INITIAL_DEVIATION: f64 = 0.02;

/// A model. It holds no state of any conversation.
#[derive(Debug, Clone)]
pub struct Model {
    pub(super) config: Config,
    /// Vocabulary by width.
    pub(super) embedding: Tensor,
    pub(super) blocks: Vec<Block>,
    pub(super) output_norm: Tensor,
    /// Its weight is the embedding where the configuration ties the two.
    pub(super) output: Linear,
    rotary: Arc<Rotary>,
    pub(super) lora: Option<LoraConfig>,
}

#[derive(Debug, Clone)]
pub(super) struct Block {
    pub(super) attention_norm: Tensor,
    pub(super) query: Linear,
    pub(super) key: Linear,
    pub(super) value: Linear,
    pub(super) attention_output: Linear,
    pub(super) feed_forward_norm: Tensor,
    pub(super) gate: Linear,
    pub(super) up: Linear,
    pub(super) down: Linear,
}

/// Keys and values of the positions of one sequence seen so far, per block.
#[derive(Default)]
pub(super) struct Cache {
    positions: usize,
    /// Each `(kv heads, positions, head width)`.
    blocks: Vec<(Tensor, Tensor)>,
}

/// Why a model could not say how likely something is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LikelihoodError {
    /// The examples do not fit the model.
    #[error(transparent)]
    Example(#[from] ExampleError),
    /// The arithmetic failed.
    #[error("the model's arithmetic failed")]
    Compute(#[from] candle_core::Error),
}

impl Model {
    /// A model of random weights that follow from the seed, the same on every machine.
    ///
    /// # Errors
    /// If a size is out of its bounds.
    pub fn random(config: Config, seed: u64) -> std::result::Result<Self, ConfigError> {
        let config = config.checked()?;
        // What adds to the residual stream is made smaller, so that the stream's variance does not
        // grow with the number of blocks (Radford et al. 2019).
        let residual = INITIAL_DEVIATION / (2.0 * config.blocks as f64).sqrt();
        let made = Self::build(config, |name, shape| {
            let count = shape.iter().product();
            let deviation = match name {
                _ if shape.len() == 1 => return Tensor::ones(shape, DType::F32, &Device::Cpu),
                _ if name.ends_with("o_proj.weight") || name.ends_with("down_proj.weight") => residual,
                _ => INITIAL_DEVIATION,
            };
            let draws = SplitMix::keyed(seed, name.as_bytes()).floats(count, deviation * 3f64.sqrt());
            Tensor::from_vec(draws, shape, &Device::Cpu)
        });
        made.map_err(|_: candle_core::Error| ConfigError::TooManyWeights { limit: super::config::MAX_WEIGHTS })
    }

    /// Puts a model together from what `weight` gives for each name and shape, in the order of
    /// [`Self::weights`]. The configuration is a checked one.
    pub(super) fn build<E>(
        config: Config,
        mut weight: impl FnMut(&str, &[usize]) -> std::result::Result<Tensor, E>,
    ) -> std::result::Result<Self, E> {
        let Config { vocabulary, width, hidden, .. } = config;
        let embedding = weight(EMBEDDING, &[vocabulary, width])?;
        let mut blocks = Vec::with_capacity(config.blocks);
        for index in 0..config.blocks {
            let mut norm = |part: &str| weight(&format!("model.layers.{index}.{part}.weight"), &[width]);
            let attention_norm = norm("input_layernorm")?;
            let mut linear = |part: &str, outputs: usize, inputs: usize| {
                let name = format!("model.layers.{index}.{part}");
                weight(&format!("{name}.weight"), &[outputs, inputs]).map(|weight| Linear::new(name, weight))
            };
            let query = linear("self_attn.q_proj", width, width)?;
            let key = linear("self_attn.k_proj", config.kv_width(), width)?;
            let value = linear("self_attn.v_proj", config.kv_width(), width)?;
            let attention_output = linear("self_attn.o_proj", width, width)?;
            let mut norm = |part: &str| weight(&format!("model.layers.{index}.{part}.weight"), &[width]);
            let feed_forward_norm = norm("post_attention_layernorm")?;
            let mut linear = |part: &str, outputs: usize, inputs: usize| {
                let name = format!("model.layers.{index}.{part}");
                weight(&format!("{name}.weight"), &[outputs, inputs]).map(|weight| Linear::new(name, weight))
            };
            let gate = linear("mlp.gate_proj", hidden, width)?;
            let up = linear("mlp.up_proj", hidden, width)?;
            let down = linear("mlp.down_proj", width, hidden)?;
            blocks.push(Block {
                attention_norm,
                query,
                key,
                value,
                attention_output,
                feed_forward_norm,
                gate,
                up,
                down,
            });
        }
        let output_norm = weight("model.norm.weight", &[width])?;
        let output = match config.tied_embeddings {
            true => embedding.clone(),
            false => weight("lm_head.weight", &[vocabulary, width])?,
        };
        Ok(Self {
            embedding,
            blocks,
            output_norm,
            output: Linear::new(HEAD.to_owned(), output),
            rotary: Arc::new(Rotary::new(config.context, config.head_width(), config.rope_base)),
            lora: None,
            config,
        })
    }

    /// The model's sizes.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The adapter beside the model, if it has one.
    #[must_use]
    pub fn adapter(&self) -> Option<&LoraConfig> {
        self.lora.as_ref()
    }

    /// Puts a fresh adapter beside the model. It changes nothing until it is trained.
    ///
    /// # Errors
    /// If the model has one, or the configuration is unusable.
    pub fn attach(&mut self, config: &LoraConfig, seed: u64) -> std::result::Result<(), LoraError> {
        self.attach_with(config, |name, shape| Ok(Lora::fresh(config, name, shape, seed)?))
    }

    /// Takes the adapter away.
    pub fn detach(&mut self) {
        self.lora = None;
        self.linears_mut().for_each(|linear| linear.lora = None);
    }

    /// Puts beside each layer that `config` selects what `pair` gives for its name and its
    /// `(outputs, inputs)`. An error leaves the model without an adapter.
    pub(super) fn attach_with<E: From<LoraError>>(
        &mut self,
        config: &LoraConfig,
        mut pair: impl FnMut(&str, (usize, usize)) -> std::result::Result<Lora, E>,
    ) -> std::result::Result<(), E> {
        if self.lora.is_some() {
            return Err(LoraError::Occupied.into());
        }
        let selected = config.select(self.linears().map(|linear| linear.name.as_str()))?;
        let shape = |linear: &Linear| linear.weight.dims2().map_err(LoraError::Compute);
        let chosen = self.linears().zip(&selected).filter(|(_, selected)| **selected);
        let pairs =
            chosen.map(|(linear, _)| pair(&linear.name, shape(linear)?)).collect::<std::result::Result<Vec<_>, E>>()?;
        let chosen = self.linears_mut().zip(selected).filter(|(_, selected)| *selected);
        chosen.zip(pairs).for_each(|((linear, _), pair)| linear.lora = Some(pair));
        self.lora = Some(config.clone());
        Ok(())
    }

    /// Every linear layer, in the order of the forward pass.
    pub(super) fn linears(&self) -> impl Iterator<Item = &Linear> {
        let blocks = self.blocks.iter().flat_map(|block| {
            let Block { query, key, value, attention_output, gate, up, down, .. } = block;
            [query, key, value, attention_output, gate, up, down]
        });
        blocks.chain([&self.output])
    }

    fn linears_mut(&mut self) -> impl Iterator<Item = &mut Linear> {
        let blocks = self.blocks.iter_mut().flat_map(|block| {
            let Block { query, key, value, attention_output, gate, up, down, .. } = block;
            [query, key, value, attention_output, gate, up, down]
        });
        blocks.chain([&mut self.output])
    }

    /// Every weight of the model itself with its name in a file, in the order of the forward pass.
    /// A tied output matrix is not listed again.
    pub(super) fn weights(&self) -> Vec<(String, &Tensor)> {
        let mut weights = vec![(EMBEDDING.to_owned(), &self.embedding)];
        for (index, block) in self.blocks.iter().enumerate() {
            let name = |part: &str| format!("model.layers.{index}.{part}.weight");
            weights.push((name("input_layernorm"), &block.attention_norm));
            for linear in [&block.query, &block.key, &block.value, &block.attention_output] {
                weights.push((format!("{}.weight", linear.name), &linear.weight));
            }
            weights.push((name("post_attention_layernorm"), &block.feed_forward_norm));
            for linear in [&block.gate, &block.up, &block.down] {
                weights.push((format!("{}.weight", linear.name), &linear.weight));
            }
        }
        weights.push(("model.norm.weight".to_owned(), &self.output_norm));
        if !self.config.tied_embeddings {
            weights.push(("lm_head.weight".to_owned(), &self.output.weight));
        }
        weights
    }

    /// Weights of the adapter; 0 without one.
    #[must_use]
    pub fn adapter_parameters(&self) -> usize {
        self.adapter_weights().iter().map(|(_, weight)| weight.elem_count()).sum()
    }

    /// Every matrix of the adapter, named as PEFT names it, in the order of the forward pass.
    pub(super) fn adapter_weights(&self) -> Vec<(String, &Tensor)> {
        let pairs = self.linears().filter_map(|linear| Some((&linear.name, linear.lora.as_ref()?)));
        pairs
            .flat_map(|(name, lora)| {
                let name = |part| format!("base_model.model.{name}.{part}.weight");
                [(name("lora_A"), &lora.a), (name("lora_B"), &lora.b)]
            })
            .collect()
    }

    /// The same model with each weight, and each of the adapter, replaced by what `change` makes of
    /// it. The two uses of a tied embedding stay one tensor.
    pub(super) fn map<E>(
        &self,
        mut change: impl FnMut(&str, &Tensor) -> std::result::Result<Tensor, E>,
    ) -> std::result::Result<Self, E> {
        let mut old = self.weights().into_iter();
        let mut last = self.embedding.clone();
        let mut new = Self::build(self.config, |name, _| {
            if let Some((_, weight)) = old.next() {
                last = change(name, weight)?;
            }
            Ok(last.clone())
        })?;
        for (linear, old) in new.linears_mut().zip(self.linears()) {
            let Some(lora) = &old.lora else { continue };
            let name = |part| format!("base_model.model.{}.{part}.weight", old.name);
            let (a, b) = (change(&name("lora_A"), &lora.a)?, change(&name("lora_B"), &lora.b)?);
            linear.lora = Some(Lora { a, b, scale: lora.scale });
        }
        new.lora.clone_from(&self.lora);
        Ok(new)
    }

    /// The log-likelihood of the tokens that count in each example, given all before them: natural
    /// logarithm, summed.
    ///
    /// # Errors
    /// If an example does not fit the model, or the arithmetic fails.
    pub fn log_likelihoods(&self, examples: &[Example]) -> std::result::Result<Vec<f64>, LikelihoodError> {
        let mut sums = Vec::with_capacity(examples.len());
        for (index, example) in examples.iter().enumerate() {
            let batch = Batch::new([example], &self.config).map_err(|error| error.after(index))?;
            let hidden = self.hidden(&batch.tokens, batch.length, None, &mut Pass::Infer)?;
            let likelihoods = self.batch_log_likelihood(&hidden, &batch, &mut Pass::Infer)?;
            let likelihoods: Vec<f64> = likelihoods.to_dtype(DType::F64)?.to_vec1()?;
            sums.push(likelihoods.iter().sum());
        }
        Ok(sums)
    }

    /// The logits of the token after these, one for each word of the vocabulary.
    ///
    /// # Errors
    /// If the tokens do not fit the model, or the arithmetic fails.
    pub fn logits(&self, tokens: &[u32]) -> std::result::Result<Vec<f32>, LikelihoodError> {
        // What follows is not known yet: any token stands for it.
        Batch::new([&Example::text([tokens, &[0]].concat())], &self.config)?;
        Ok(self.next_logits(tokens, &mut Cache::default())?)
    }

    /// From the rows of [`Self::hidden`]: per target its log-likelihood.
    pub(super) fn batch_log_likelihood(&self, hidden: &Tensor, batch: &Batch, pass: &mut Pass<'_>) -> Result<Tensor> {
        log_likelihood(&self.predicting_logits(hidden, batch, pass)?, &batch.targets)
    }

    /// The logits of those rows only that predict something that counts: the output matrix is often
    /// the largest of all.
    pub(super) fn predicting_logits(&self, hidden: &Tensor, batch: &Batch, pass: &mut Pass<'_>) -> Result<Tensor> {
        let predicting = Tensor::new(batch.predicting.as_slice(), &Device::Cpu)?;
        self.output.forward(&hidden.index_select(&predicting, 0)?, pass)
    }

    /// Feeds `tokens` after what `cache` holds; gives the logits of the next token.
    pub(super) fn next_logits(&self, tokens: &[u32], cache: &mut Cache) -> Result<Vec<f32>> {
        let hidden = self.hidden(tokens, tokens.len(), Some(cache), &mut Pass::Infer)?;
        let last = hidden.narrow(0, tokens.len() - 1, 1)?;
        self.output.forward(&last, &mut Pass::Infer)?.squeeze(0)?.to_dtype(DType::F32)?.to_vec1()
    }

    /// The residual stream after the last norm, `(tokens, width)`, of sequences of `length` tokens
    /// one after another; with a cache of one sequence, which goes on from there.
    pub(super) fn hidden(
        &self,
        tokens: &[u32],
        length: usize,
        mut cache: Option<&mut Cache>,
        pass: &mut Pass<'_>,
    ) -> Result<Tensor> {
        debug_assert!(cache.is_none() || tokens.len() == length, "a cache is of one sequence");
        let first = cache.as_ref().map_or(0, |cache| cache.positions);
        let embedding = self.trained(&self.embedding, pass);
        let mut x = embedding.index_select(&Tensor::new(tokens, &Device::Cpu)?, 0)?;
        if let Pass::Record(recorder) = pass {
            x = recorder.tap_full(x, || Ok(Input::Tokens))?;
        }
        for (index, block) in self.blocks.iter().enumerate() {
            let normed = self.norm(&x, &block.attention_norm, pass)?;
            let span = Span { first, length, block: index };
            x = (x + self.attend(block, &span, &normed, cache.as_deref_mut(), pass)?)?;
            let normed = self.norm(&x, &block.feed_forward_norm, pass)?;
            let hidden = swiglu(&block.gate.forward(&normed, pass)?, &block.up.forward(&normed, pass)?)?;
            x = (x + block.down.forward(&hidden, pass)?)?;
        }
        if let Some(cache) = cache {
            cache.positions += length;
        }
        self.norm(&x, &self.output_norm, pass)
    }

    /// Attention of one block over `x`, `(rows, width)`; adds these keys and values to the cache.
    fn attend(
        &self,
        block: &Block,
        span: &Span,
        x: &Tensor,
        cache: Option<&mut Cache>,
        pass: &mut Pass<'_>,
    ) -> Result<Tensor> {
        let Config { heads, kv_heads, width, .. } = self.config;
        let (head_width, length) = (self.config.head_width(), span.length);
        let count = x.dim(0)? / length.max(1);
        let turned = |x: Tensor| rotate(&x, &self.rotary, span.first, length);
        // To `(sequences * kv heads, length, head width)`.
        let by_head = |x: Tensor| {
            let split = x.reshape((count, length, kv_heads, head_width))?.transpose(1, 2)?.contiguous()?;
            split.reshape((count * kv_heads, length, head_width))
        };
        let query = turned(block.query.forward(x, pass)?)?;
        let mut key = by_head(turned(block.key.forward(x, pass)?)?)?;
        let mut value = by_head(block.value.forward(x, pass)?)?;
        if let Some(cache) = cache {
            if let Some((keys, values)) = cache.blocks.get(span.block) {
                key = Tensor::cat(&[keys, &key], 1)?;
                value = Tensor::cat(&[values, &value], 1)?;
            }
            match cache.blocks.get_mut(span.block) {
                Some(kept) => *kept = (key.clone(), value.clone()),
                None => cache.blocks.push((key.clone(), value.clone())),
            }
        }
        // Neighbouring query heads share a key/value head: a group's rows lie one after another, and
        // one product serves the whole group, without repeating keys or values.
        let group = heads / kv_heads;
        let query = query.reshape((count, length, kv_heads, group, head_width))?.permute((0, 2, 3, 1, 4))?;
        let query = query.contiguous()?.reshape((count * kv_heads, group * length, head_width))?;
        let scores = query.matmul(&key.t()?)?;
        let weights = causal_softmax(&scores, length, 1.0 / (head_width as f64).sqrt())?;
        let mixed = weights.matmul(&value)?.reshape((count, kv_heads, group, length, head_width))?;
        let joined = mixed.permute((0, 3, 1, 2, 4))?.contiguous()?.reshape((count * length, width))?;
        block.attention_output.forward(&joined, pass)
    }

    fn norm(&self, x: &Tensor, weight: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor> {
        let epsilon = self.config.norm_epsilon;
        let normed = rms_norm(x, &self.trained(weight, pass), epsilon)?;
        match pass {
            Pass::Record(recorder) => {
                recorder.tap_full(normed, || Ok(Input::Normalised(normalised(&x.detach(), epsilon)?)))
            }
            Pass::Infer | Pass::Train => Ok(normed),
        }
    }

    /// The weight as it takes part in this pass: outside of training nothing is kept for it.
    fn trained(&self, weight: &Tensor, pass: &Pass<'_>) -> Tensor {
        match pass {
            Pass::Train => weight.clone(),
            Pass::Infer | Pass::Record(_) => weight.detach(),
        }
    }
}

/// Where in its sequences, and in which block, attention is computed.
struct Span {
    first: usize,
    length: usize,
    block: usize,
}
