//! The transformer's operations that candle has in no form that is both fast and differentiable.
//!
//! candle's own fused norm, softmax and rotary embedding have no backward pass: a gradient that
//! meets one of them ends there without an error. Its composed forms are differentiable, but keep
//! several tensors the size of their input for each step, and its matrix product works out the
//! gradient of both sides even where one is frozen. So each operation here is one node of the graph
//! with its own backward pass, for `f32` and, so that tests can hold it against finite differences,
//! for `f64`. Only the CPU is served. Whatever comes in is contiguous.

use std::sync::Arc;

use candle_core::backend::BackendStorage;
use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Storage, Tensor, WithDType, bail,
};

/// `x`, `(rows, inputs)`, times the transpose of `weight`, `(outputs, inputs)`, which is frozen: the
/// gradient passes through to `x`, and none is worked out for `weight`.
pub(super) fn times_frozen(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    x.apply_op1(TimesFrozen { weight: weight.detach() })
}

/// Each row of `x`, `(rows, width)`, divided by its root mean square, times `weight`, `(width)`.
pub(super) fn rms_norm(x: &Tensor, weight: &Tensor, epsilon: f64) -> Result<Tensor> {
    x.apply_op2(weight, RmsNorm { epsilon })
}

/// Rows of `x` divided by their root mean square; no gradient passes.
pub(super) fn normalised(x: &Tensor, epsilon: f64) -> Result<Tensor> {
    let ones = Tensor::ones(x.dim(1)?, x.dtype(), x.device())?;
    x.apply_op2_no_bwd(&ones, &RmsNorm { epsilon })
}

/// The rotary embedding of `x`, `(rows, heads * head width)`: row `r` stands at position
/// `first + r % length`, and element `i` of a head is turned with element `i + head width / 2`.
pub(super) fn rotate(x: &Tensor, rotary: &Arc<Rotary>, first: usize, length: usize) -> Result<Tensor> {
    x.apply_op1(Rotate { rotary: Arc::clone(rotary), first, length, back: false })
}

/// Attention weights from `scores`, `(batch, rows, keys)`: row `r` is of the query `r % queries`, the
/// queries are the last of the keys' positions, and none sees a later one.
pub(super) fn causal_softmax(scores: &Tensor, queries: usize, scale: f64) -> Result<Tensor> {
    scores.apply_op1(CausalSoftmax { queries, scale })
}

/// `silu(gate) * up`, of equal shapes.
pub(super) fn swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    gate.apply_op2(up, SwiGlu)
}

/// The logarithm of the probability that each row of `logits`, `(rows, vocabulary)`, gives its
/// target; `(rows)`.
pub(super) fn log_likelihood(logits: &Tensor, targets: &[u32]) -> Result<Tensor> {
    logits.apply_op1(LogLikelihood { targets: Arc::from(targets) })
}

/// Cosine and sine per position and pair.
#[derive(Debug)]
pub(super) struct Rotary {
    half: usize,
    cos: Vec<f64>,
    sin: Vec<f64>,
}

impl Rotary {
    /// The angles are position times `base^(-2i / head width)`, in doubles: at late positions a
    /// float's error in the frequency would grow into a visible angle.
    pub(super) fn new(context: usize, head_width: usize, base: f64) -> Self {
        let half = head_width / 2;
        let angles = (0..context)
            .flat_map(|position| (0..half).map(move |pair| position as f64 * base.powf(-(pair as f64) / half as f64)));
        let (cos, sin) = angles.map(|angle| (angle.cos(), angle.sin())).unzip();
        Self { half, cos, sin }
    }
}

/// What the operations need of a float beyond candle's own trait.
trait Number: WithDType {
    fn exp(self) -> Self;
}

impl Number for f32 {
    fn exp(self) -> Self {
        f32::exp(self)
    }
}

impl Number for f64 {
    fn exp(self) -> Self {
        f64::exp(self)
    }
}

/// The elements of a contiguous operand.
fn elements<'a, T: WithDType>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [T]> {
    let Some((start, end)) = layout.contiguous_offsets() else { bail!("an operand is not contiguous") };
    match storage.as_slice::<T>()?.get(start..end) {
        Some(elements) => Ok(elements),
        None => bail!("an operand is shorter than its shape"),
    }
}

/// Runs a generic function for the type of float that the first storage holds.
macro_rules! by_float {
    ($function:ident($($storage:expr, $layout:expr);+ $(, $argument:expr)*)) => {
        match by_float!(@first $($storage),+) {
            CpuStorage::F32(_) => CpuStorage::F32($function::<f32>($(elements($storage, $layout)?,)+ $($argument),*)),
            CpuStorage::F64(_) => CpuStorage::F64($function::<f64>($(elements($storage, $layout)?,)+ $($argument),*)),
            _ => bail!("only f32 and f64 have these operations"),
        }
    };
    (@first $first:expr $(, $rest:expr)*) => { $first };
}

struct TimesFrozen {
    weight: Tensor,
}

impl CustomOp1 for TimesFrozen {
    fn name(&self) -> &'static str {
        "times-frozen"
    }

    fn cpu_fwd(&self, x: &CpuStorage, x_layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (rows, inputs) = x_layout.shape().dims2()?;
        let (outputs, weight_inputs) = self.weight.dims2()?;
        if inputs != weight_inputs {
            bail!("{inputs} inputs meet a matrix that takes {weight_inputs}");
        }
        let (weight, weight_layout) = self.weight.storage_and_layout();
        let Storage::Cpu(weight) = &*weight else { bail!("a weight is not on the CPU") };
        let product = x.matmul(weight, (1, rows, outputs, inputs), x_layout, &weight_layout.transpose(0, 1)?)?;
        Ok((product, (rows, outputs).into()))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        gradient.matmul(&self.weight).map(Some)
    }
}

struct RmsNorm {
    epsilon: f64,
}

impl CustomOp2 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms-norm"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout, w: &CpuStorage, wl: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok((by_float!(norm_rows(x, xl; w, wl, self.epsilon)), xl.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, w: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let of_x = x.apply_op3_no_bwd(w, &gradient, &RmsNormInput { epsilon: self.epsilon })?;
        // The weight's is worked out only where the weight is trained.
        let of_w = match w.is_variable() {
            true => Some(x.apply_op2_no_bwd(&gradient, &RmsNormWeight { epsilon: self.epsilon })?),
            false => None,
        };
        Ok((Some(of_x), of_w))
    }
}

/// One over the root mean square of a row; the sum in doubles, so that its order hardly matters.
fn inverse_rms<T: Number>(row: &[T], epsilon: f64) -> f64 {
    let squares: f64 = row.iter().map(|x| x.to_f64() * x.to_f64()).sum();
    1.0 / (squares / row.len() as f64 + epsilon).sqrt()
}

fn norm_rows<T: Number>(x: &[T], weight: &[T], epsilon: f64) -> Vec<T> {
    let mut out = Vec::with_capacity(x.len());
    for row in x.chunks_exact(weight.len().max(1)) {
        let inverse = T::from_f64(inverse_rms(row, epsilon));
        out.extend(row.iter().zip(weight).map(|(&x, &w)| x * inverse * w));
    }
    out
}

struct RmsNormInput {
    epsilon: f64,
}

impl CustomOp3 for RmsNormInput {
    fn name(&self) -> &'static str {
        "rms-norm-input"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        w: &CpuStorage,
        wl: &Layout,
        g: &CpuStorage,
        gl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        Ok((by_float!(norm_input_gradient(x, xl; w, wl; g, gl, self.epsilon)), xl.shape().clone()))
    }
}

/// With `r` the inverse root mean square: `r w g - x r^3 mean(w g x)`.
fn norm_input_gradient<T: Number>(x: &[T], weight: &[T], gradient: &[T], epsilon: f64) -> Vec<T> {
    let width = weight.len().max(1);
    let mut out = Vec::with_capacity(x.len());
    for (row, gradient) in x.chunks_exact(width).zip(gradient.chunks_exact(width)) {
        let inverse = inverse_rms(row, epsilon);
        let products = row.iter().zip(weight).zip(gradient);
        let dot: f64 = products.clone().map(|((x, w), g)| x.to_f64() * w.to_f64() * g.to_f64()).sum();
        let along = T::from_f64(inverse.powi(3) * dot / width as f64);
        let inverse = T::from_f64(inverse);
        out.extend(products.map(|((&x, &w), &g)| inverse * w * g - x * along));
    }
    out
}

struct RmsNormWeight {
    epsilon: f64,
}

impl CustomOp2 for RmsNormWeight {
    fn name(&self) -> &'static str {
        "rms-norm-weight"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout, g: &CpuStorage, gl: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, width) = xl.shape().dims2()?;
        Ok((by_float!(norm_weight_gradient(x, xl; g, gl, width, self.epsilon)), width.into()))
    }
}

fn norm_weight_gradient<T: Number>(x: &[T], gradient: &[T], width: usize, epsilon: f64) -> Vec<T> {
    let mut sums = vec![0f64; width];
    let width = width.max(1);
    for (row, gradient) in x.chunks_exact(width).zip(gradient.chunks_exact(width)) {
        let inverse = inverse_rms(row, epsilon);
        for ((sum, x), g) in sums.iter_mut().zip(row).zip(gradient) {
            *sum += x.to_f64() * inverse * g.to_f64();
        }
    }
    sums.into_iter().map(T::from_f64).collect()
}

struct Rotate {
    rotary: Arc<Rotary>,
    first: usize,
    length: usize,
    /// By the negative angle: a rotation's backward pass.
    back: bool,
}

impl CustomOp1 for Rotate {
    fn name(&self) -> &'static str {
        "rotate"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, width) = xl.shape().dims2()?;
        let half = self.rotary.half;
        if half == 0 || !width.is_multiple_of(2 * half) || (self.first + self.length) * half > self.rotary.cos.len() {
            bail!("rows of {width} cannot be turned at positions up to {}", self.first + self.length);
        }
        Ok((by_float!(rotate_rows(x, xl, width, self)), xl.shape().clone()))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let back = Self { rotary: Arc::clone(&self.rotary), back: !self.back, ..*self };
        gradient.contiguous()?.apply_op1_no_bwd(&back).map(Some)
    }
}

fn rotate_rows<T: Number>(x: &[T], width: usize, by: &Rotate) -> Vec<T> {
    let half = by.rotary.half;
    let mut out = x.to_vec();
    for (index, row) in out.chunks_exact_mut(width.max(1)).enumerate() {
        let at = (by.first + index % by.length) * half;
        let (cos, sin) = (&by.rotary.cos[at..at + half], &by.rotary.sin[at..at + half]);
        for head in row.chunks_exact_mut(2 * half) {
            let (left, right) = head.split_at_mut(half);
            for ((a, b), (cos, sin)) in left.iter_mut().zip(right).zip(cos.iter().zip(sin)) {
                let (cos, sin) = (T::from_f64(*cos), T::from_f64(if by.back { -*sin } else { *sin }));
                (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
            }
        }
    }
    out
}

struct CausalSoftmax {
    queries: usize,
    scale: f64,
}

impl CustomOp1 for CausalSoftmax {
    fn name(&self) -> &'static str {
        "causal-softmax"
    }

    fn cpu_fwd(&self, scores: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, rows, keys) = layout.shape().dims3()?;
        if self.queries == 0 || self.queries > keys || !rows.is_multiple_of(self.queries) {
            bail!("{rows} rows of scores do not divide into {} queries of {keys} keys", self.queries);
        }
        Ok((by_float!(softmax_rows(scores, layout, keys, self)), layout.shape().clone()))
    }

    fn bwd(&self, _: &Tensor, weights: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        weights.apply_op2_no_bwd(&gradient.contiguous()?, &CausalSoftmaxInput { scale: self.scale }).map(Some)
    }
}

fn softmax_rows<T: Number>(scores: &[T], keys: usize, by: &CausalSoftmax) -> Vec<T> {
    let scale = T::from_f64(by.scale);
    let mut out = vec![T::zero(); scores.len()];
    for (index, (row, out)) in scores.chunks_exact(keys).zip(out.chunks_exact_mut(keys)).enumerate() {
        let seen = keys - by.queries + index % by.queries + 1;
        let mut top = row[0];
        for &score in &row[1..seen] {
            top = if score > top { score } else { top };
        }
        let mut sum = T::zero();
        for (out, &score) in out.iter_mut().zip(&row[..seen]) {
            *out = ((score - top) * scale).exp();
            sum += *out;
        }
        let inverse = T::one() / sum;
        for out in &mut out[..seen] {
            *out *= inverse;
        }
    }
    out
}

struct CausalSoftmaxInput {
    scale: f64,
}

impl CustomOp2 for CausalSoftmaxInput {
    fn name(&self) -> &'static str {
        "causal-softmax-input"
    }

    fn cpu_fwd(&self, p: &CpuStorage, pl: &Layout, g: &CpuStorage, gl: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, _, keys) = pl.shape().dims3()?;
        Ok((by_float!(softmax_gradient(p, pl; g, gl, keys, self.scale)), pl.shape().clone()))
    }
}

/// `scale p (g - sum(p g))`; hidden keys have `p = 0`, and so no gradient.
fn softmax_gradient<T: Number>(weights: &[T], gradient: &[T], keys: usize, scale: f64) -> Vec<T> {
    let scale = T::from_f64(scale);
    let mut out = Vec::with_capacity(weights.len());
    for (p, g) in weights.chunks_exact(keys.max(1)).zip(gradient.chunks_exact(keys.max(1))) {
        let mut dot = T::zero();
        for (&p, &g) in p.iter().zip(g) {
            dot += p * g;
        }
        out.extend(p.iter().zip(g).map(|(&p, &g)| p * (g - dot) * scale));
    }
    out
}

struct SwiGlu;

impl CustomOp2 for SwiGlu {
    fn name(&self) -> &'static str {
        "swiglu"
    }

    fn cpu_fwd(&self, a: &CpuStorage, al: &Layout, b: &CpuStorage, bl: &Layout) -> Result<(CpuStorage, Shape)> {
        if al.dims() != bl.dims() {
            bail!("a gate of shape {:?} meets {:?}", al.dims(), bl.dims());
        }
        Ok((by_float!(gated(a, al; b, bl)), al.shape().clone()))
    }

    fn bwd(
        &self,
        gate: &Tensor,
        up: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let of_gate = gate.apply_op3_no_bwd(up, &gradient, &SwiGluGate)?;
        let of_up = gate.apply_op2_no_bwd(&gradient, &SwiGlu)?;
        Ok((Some(of_gate), Some(of_up)))
    }
}

fn sigmoid<T: Number>(x: T) -> T {
    T::one() / (T::one() + (T::zero() - x).exp())
}

fn gated<T: Number>(gate: &[T], up: &[T]) -> Vec<T> {
    gate.iter().zip(up).map(|(&gate, &up)| gate * sigmoid(gate) * up).collect()
}

struct SwiGluGate;

impl CustomOp3 for SwiGluGate {
    fn name(&self) -> &'static str {
        "swiglu-gate"
    }

    fn cpu_fwd(
        &self,
        a: &CpuStorage,
        al: &Layout,
        b: &CpuStorage,
        bl: &Layout,
        g: &CpuStorage,
        gl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        Ok((by_float!(gate_gradient(a, al; b, bl; g, gl)), al.shape().clone()))
    }
}

/// The derivative of `silu` is `s (1 + x (1 - s))` with `s` the sigmoid.
fn gate_gradient<T: Number>(gate: &[T], up: &[T], gradient: &[T]) -> Vec<T> {
    let pairs = gate.iter().zip(up).zip(gradient);
    pairs
        .map(|((&gate, &up), &gradient)| {
            let s = sigmoid(gate);
            gradient * up * s * (T::one() + gate * (T::one() - s))
        })
        .collect()
}

struct LogLikelihood {
    targets: Arc<[u32]>,
}

impl LogLikelihood {
    fn check(&self, layout: &Layout) -> Result<usize> {
        let (rows, vocabulary) = layout.shape().dims2()?;
        if rows != self.targets.len() || self.targets.iter().any(|&target| target as usize >= vocabulary) {
            bail!("{} targets do not suit logits of shape {:?}", self.targets.len(), layout.dims());
        }
        Ok(vocabulary)
    }
}

impl CustomOp1 for LogLikelihood {
    fn name(&self) -> &'static str {
        "log-likelihood"
    }

    fn cpu_fwd(&self, logits: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let vocabulary = self.check(layout)?;
        Ok((by_float!(target_log_likelihood(logits, layout, vocabulary, &self.targets)), self.targets.len().into()))
    }

    fn bwd(&self, logits: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let input = LogLikelihoodInput(LogLikelihood { targets: Arc::clone(&self.targets) });
        logits.apply_op2_no_bwd(&gradient.contiguous()?, &input).map(Some)
    }
}

/// The largest of a row and the sum of `exp(x - largest)`, in doubles.
fn exponentials<T: Number>(row: &[T]) -> (T, f64) {
    let mut top = T::from_f64(f64::NEG_INFINITY);
    for &x in row {
        top = if x > top { x } else { top };
    }
    (top, row.iter().map(|&x| (x - top).exp().to_f64()).sum())
}

fn target_log_likelihood<T: Number>(logits: &[T], vocabulary: usize, targets: &[u32]) -> Vec<T> {
    let rows = logits.chunks_exact(vocabulary.max(1)).zip(targets);
    rows.map(|(row, &target)| {
        let (top, sum) = exponentials(row);
        T::from_f64((row[target as usize] - top).to_f64() - sum.ln())
    })
    .collect()
}

struct LogLikelihoodInput(LogLikelihood);

impl CustomOp2 for LogLikelihoodInput {
    fn name(&self) -> &'static str {
        "log-likelihood-input"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout, g: &CpuStorage, gl: &Layout) -> Result<(CpuStorage, Shape)> {
        let vocabulary = self.0.check(xl)?;
        Ok((by_float!(likelihood_gradient(x, xl; g, gl, vocabulary, &self.0.targets)), xl.shape().clone()))
    }
}

/// `g (1[target] - p)`.
fn likelihood_gradient<T: Number>(logits: &[T], gradient: &[T], vocabulary: usize, targets: &[u32]) -> Vec<T> {
    let mut out = Vec::with_capacity(logits.len());
    for ((row, &target), &gradient) in logits.chunks_exact(vocabulary.max(1)).zip(targets).zip(gradient) {
        let (top, sum) = exponentials(row);
        let scale = gradient * T::from_f64(-1.0 / sum);
        let start = out.len();
        out.extend(row.iter().map(|&x| (x - top).exp() * scale));
        out[start + target as usize] += gradient;
    }
    out
}
