//! The forward pass of a llama-family model.
//!
//! One sequence at a time. Each block: RMS norm, attention with rotary positions and grouped
//! key/value heads, RMS norm, SwiGLU. Rotary pairs are neighbours (2i, 2i + 1), because that is how
//! GGUF stores the rows of the query and key matrices of this family. The output matrix is the
//! embedding's own where the checkpoint has no other. Inference only: this model is not trained.
//!
//! Weights are unpacked to floats at loading. Products with the packed ones take a quarter of the
//! memory, but without the processor's vector units, and a prompt took ten times as long.

use candle_core::{D, DType, Device, Result, Tensor};

use super::ModelError;
use super::checkpoint::{Checkpoint, Sizes};

/// A loaded model. It holds no state of any conversation; that is [`Cache`].
pub(super) struct Llama {
    sizes: Sizes,
    /// Vocabulary by width.
    embedding: Tensor,
    blocks: Vec<Block>,
    output_norm: Tensor,
    /// Vocabulary by width; the embedding again where the checkpoint has no other.
    output: Tensor,
    /// Cosine and sine per position and pair, context by half a head, 1 at the end to broadcast.
    rotary: (Tensor, Tensor),
}

struct Block {
    attention_norm: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_output: Tensor,
    feed_forward_norm: Tensor,
    gate: Tensor,
    up: Tensor,
    down: Tensor,
}

/// Keys and values of the positions seen so far, per block. A new conversation starts a new one.
#[derive(Default)]
pub(super) struct Cache {
    positions: usize,
    /// Each `(kv heads, positions, head width)`.
    blocks: Vec<(Tensor, Tensor)>,
}

impl Llama {
    pub(super) fn load(checkpoint: &mut Checkpoint) -> std::result::Result<Self, ModelError> {
        let sizes = checkpoint.sizes()?;
        let blocks = (0..sizes.blocks)
            .map(|index| Block::load(checkpoint, &sizes, index))
            .collect::<std::result::Result<Vec<_>, _>>()?;
        let shape = [sizes.vocabulary, sizes.width];
        let embedding = checkpoint.tensor("token_embd.weight", &shape)?;
        let output = match "output.weight" {
            name if checkpoint.has(name) => checkpoint.tensor(name, &shape)?,
            _ => embedding.clone(),
        };
        Ok(Self {
            embedding,
            blocks,
            output_norm: checkpoint.tensor("output_norm.weight", &[sizes.width])?,
            output,
            rotary: rotary(&sizes)?,
            sizes,
        })
    }

    /// Positions that one conversation may use.
    pub(super) fn context(&self) -> usize {
        self.sizes.context
    }

    /// Feeds `tokens` after what `cache` holds; gives the scores of the next token, one per word of
    /// the vocabulary. More than one token at once is for an empty cache (the prompt).
    pub(super) fn forward(&self, tokens: &[u32], cache: &mut Cache) -> Result<Vec<f32>> {
        debug_assert!(tokens.len() == 1 || cache.positions == 0, "a prompt goes into an empty cache");
        let count = tokens.len();
        let mut x = self.embedding.index_select(&Tensor::new(tokens, &Device::Cpu)?, 0)?;
        let rotary =
            (self.rotary.0.narrow(0, cache.positions, count)?, self.rotary.1.narrow(0, cache.positions, count)?);
        let mask = causal_mask(count)?;
        for (index, block) in self.blocks.iter().enumerate() {
            let normed = rms_norm(&x, &block.attention_norm, self.sizes.norm_epsilon)?;
            x = (x + self.attend(block, index, &normed, &rotary, mask.as_ref(), cache)?)?;
            let normed = rms_norm(&x, &block.feed_forward_norm, self.sizes.norm_epsilon)?;
            let hidden = (times(&normed, &block.gate)?.silu()? * times(&normed, &block.up)?)?;
            x = (x + times(&hidden, &block.down)?)?;
        }
        cache.positions += count;
        let last = x.narrow(0, count - 1, 1)?;
        let last = rms_norm(&last, &self.output_norm, self.sizes.norm_epsilon)?;
        times(&last, &self.output)?.squeeze(0)?.to_vec1()
    }

    /// Attention of one block over `x`, `(tokens, width)`; adds these keys and values to the cache.
    fn attend(
        &self,
        block: &Block,
        index: usize,
        x: &Tensor,
        rotary: &(Tensor, Tensor),
        mask: Option<&Tensor>,
        cache: &mut Cache,
    ) -> Result<Tensor> {
        let Sizes { heads, kv_heads, head_width, width, .. } = self.sizes;
        let count = x.dim(0)?;
        let split = |t: Tensor, heads| t.reshape((count, heads, head_width))?.transpose(0, 1)?.contiguous();
        let query = rotate(&split(times(x, &block.query)?, heads)?, rotary)?;
        let mut key = rotate(&split(times(x, &block.key)?, kv_heads)?, rotary)?;
        let mut value = split(times(x, &block.value)?, kv_heads)?;
        if let Some((keys, values)) = cache.blocks.get(index) {
            key = Tensor::cat(&[keys, &key], 1)?;
            value = Tensor::cat(&[values, &value], 1)?;
        }
        // Neighbouring query heads share a key/value head: lay a group's rows one after another
        // and one product serves the whole group, without repeating keys or values.
        let grouped = query.reshape((kv_heads, heads / kv_heads * count, head_width))?;
        let scale = 1.0 / (head_width as f64).sqrt();
        let scores = (grouped.matmul(&key.t()?.contiguous()?)? * scale)?;
        let scores = match mask {
            None => scores,
            Some(mask) => {
                let by_head = scores.reshape((heads, count, ()))?;
                by_head.broadcast_add(mask)?.reshape(scores.shape())?
            }
        };
        let mixed = softmax(&scores)?.matmul(&value)?;
        match cache.blocks.get_mut(index) {
            Some(kept) => *kept = (key, value),
            None => cache.blocks.push((key, value)),
        }
        let joined = mixed.reshape((heads, count, head_width))?.transpose(0, 1)?.contiguous()?;
        times(&joined.reshape((count, width))?, &block.attention_output)
    }
}

impl Block {
    fn load(from: &mut Checkpoint, sizes: &Sizes, index: usize) -> std::result::Result<Self, ModelError> {
        let name = |part: &str| format!("blk.{index}.{part}.weight");
        let Sizes { width, hidden, .. } = *sizes;
        let kv_width = sizes.kv_heads * sizes.head_width;
        Ok(Self {
            attention_norm: from.tensor(&name("attn_norm"), &[width])?,
            query: from.tensor(&name("attn_q"), &[width, width])?,
            key: from.tensor(&name("attn_k"), &[kv_width, width])?,
            value: from.tensor(&name("attn_v"), &[kv_width, width])?,
            attention_output: from.tensor(&name("attn_output"), &[width, width])?,
            feed_forward_norm: from.tensor(&name("ffn_norm"), &[width])?,
            gate: from.tensor(&name("ffn_gate"), &[hidden, width])?,
            up: from.tensor(&name("ffn_up"), &[hidden, width])?,
            down: from.tensor(&name("ffn_down"), &[width, hidden])?,
        })
    }
}

/// Each row of `x` times a weight matrix whose rows are outputs.
fn times(x: &Tensor, weights: &Tensor) -> Result<Tensor> {
    x.matmul(&weights.t()?)
}

fn rms_norm(x: &Tensor, weight: &Tensor, epsilon: f64) -> Result<Tensor> {
    let scale = (x.sqr()?.mean_keepdim(D::Minus1)? + epsilon)?.sqrt()?;
    x.broadcast_div(&scale)?.broadcast_mul(weight)
}

fn softmax(x: &Tensor) -> Result<Tensor> {
    let raised = x.broadcast_sub(&x.max_keepdim(D::Minus1)?)?.exp()?;
    raised.broadcast_div(&raised.sum_keepdim(D::Minus1)?)
}

/// Cosine and sine of position times `base^(-2i / head width)`, worked out in doubles: at late
/// positions a float's error in the frequency would grow into a visible angle.
fn rotary(sizes: &Sizes) -> Result<(Tensor, Tensor)> {
    let half = sizes.head_width / 2;
    let angles: Vec<f64> = (0..sizes.context)
        .flat_map(|position| {
            (0..half).map(move |pair| {
                let exponent = -(pair as f64) / half as f64;
                position as f64 * f64::from(sizes.rope_base).powf(exponent)
            })
        })
        .collect();
    let angles = Tensor::from_vec(angles, (sizes.context, half, 1), &Device::Cpu)?;
    Ok((angles.cos()?.to_dtype(DType::F32)?, angles.sin()?.to_dtype(DType::F32)?))
}

/// Turns each pair of neighbours in `x`, `(heads, tokens, head width)`, by its position's angle.
fn rotate(x: &Tensor, (cos, sin): &(Tensor, Tensor)) -> Result<Tensor> {
    let (heads, count, head_width) = x.dims3()?;
    let pairs = x.reshape((heads, count, head_width / 2, 2))?;
    let (a, b) = (pairs.narrow(3, 0, 1)?, pairs.narrow(3, 1, 1)?);
    let first = (a.broadcast_mul(cos)? - b.broadcast_mul(sin)?)?;
    let second = (a.broadcast_mul(sin)? + b.broadcast_mul(cos)?)?;
    Tensor::cat(&[first, second], 3)?.reshape((heads, count, head_width))
}

/// Minus infinity where a token would look at a later one, `(tokens, tokens)`; none for one token.
fn causal_mask(count: usize) -> Result<Option<Tensor>> {
    if count == 1 {
        return Ok(None);
    }
    let mask: Vec<f32> = (0..count)
        .flat_map(|row| (0..count).map(move |column| if column > row { f32::NEG_INFINITY } else { 0.0 }))
        .collect();
    Tensor::from_vec(mask, (count, count), &Device::Cpu).map(Some)
}
