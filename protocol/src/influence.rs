//! Influence in integers: what validators agree on when a model's training data is asked how much of an answer is owed
//! to whom.
//!
//! For an answer whose log-likelihood has the gradient q, a training example with the gradient g has the influence
//! gᵀ (F + λ)⁻¹ q: positive when adding the example raises the likelihood of the answer. F = Σ f fᵀ over the *Fisher
//! rows* f, gradients at labels that the model itself would have drawn. Gradients are floats and differ in their last
//! bits from machine to machine; here they are rounded already, and everything that follows is exact.
//!
//! # The rules
//!
//! 1. **A row** is a gradient as codes in -127..=127 and a scale: entry j is `codes[j] · scale · 2^-e`, where the
//!    exponent e is one number for the whole model. The code of the largest entry in magnitude is 127 or -127. A zero
//!    gradient, or one that is zero in this fixed point, has scale 0 and codes 0. So each gradient has one form.
//! 2. **A row is bound** to its example and contribution by its leaf hash; the leaves make a tree of the shape of RFC
//!    6962, so that one row is shown with some thirty hashes. The [`Header`] names the roots of rows and Fisher rows,
//!    and its own hash is the *influence root*, which a model's manifest holds.
//! 3. **K** = Σ s² z zᵀ over the Fisher rows, of scale s and codes z, and **λ** = ⌊tr(K) · damping / k⌋, at least 1, for k
//!    dimensions. (K is F in units of 2^-2e. λ is some 2⁴⁰ and more, so that rounding it changes nothing.)
//! 4. **A receipt** carries q as 16-bit codes c with a scale t in the rows' fixed point, and x as 32-bit codes ξ with a
//!    shift h. Nobody solves: validators check that |(K + λ) ξ − c·2^h| is at most the tolerance times |c|·2^h, both in
//!    the largest entry. Then ξ · t · 2^(e-h) solves (F + λ) x = q as well as the manifest demands.
//! 5. **A score** is s · ⟨z, ξ⟩. In the units of the floats it is that times t · 2^-h, whatever e is; within a receipt
//!    this factor is the same for all rows, so that shares need no floats.
//! 6. **A contribution** earns the sum of the positive scores of its rows.
//! 7. **An audit** computes a row anew: every code within 1, at most 1 % of the codes different, and the scale within
//!    1e-4 of itself, or 1. See [`audit`].
//!
//! # What is guaranteed
//!
//! Sums are of integers, so that order, threads and division of the work change nothing. No sum overflows: the bounds
//! below and [`MAX_TRACE`] leave room in 128 bits, and the compiler checks that they do. Bytes from outside that
//! exceed a bound are refused by an error that names it.
//!
//! K need not be made: [`Fisher::product`] gives Kξ from the Fisher rows, which is the shorter way when there are fewer of
//! them than dimensions. [`Gram`] is K itself; both give the same integers.

mod audit;
mod gram;
mod header;
mod merkle;
mod rows;
mod solution;

pub use audit::{Disagreement, audit, audit_query, drawn_rows};
pub use gram::{Fisher, Gram, GramError, Product};
pub use header::{Damping, DampingError, HEADER_BYTES, Header, HeaderError, Tolerance};
pub use merkle::{MAX_PATH, MerkleError, RowProof, tree_root};
pub use rows::{Row, RowError, RowName, Rows, Source};
pub use solution::{Query, Residual, ResidualError, ScoreError, Solution, positive_sums, residual, score};

/// Dimensions of a row.
pub const MAX_DIMENSION: usize = 1 << 24;
/// Dimensions for which K itself may be made: it then takes two gigabytes.
pub const MAX_GRAM_DIMENSION: usize = 1 << 14;
/// Rows of one model.
pub const MAX_ROWS: u64 = 1 << 28;
/// Fisher rows of one model.
pub const MAX_FISHER_ROWS: u64 = 1 << 24;
/// The greatest magnitude of a row's code.
pub const MAX_CODE: i8 = 127;
/// The greatest magnitude of a query's code.
pub const MAX_QUERY_CODE: i16 = 32_767;
/// The greatest magnitude of a solution's code: two halves of 16 bits multiply with codes of rows in half the time.
pub const MAX_SOLUTION_CODE: i32 = 1 << 30;
/// Bits of [`MAX_TRACE`].
const TRACE_BITS: u32 = 82;
/// tr(K). A builder whose Fisher rows exceed it chooses a smaller exponent, at the cost of bits of the scales.
pub const MAX_TRACE: u128 = 1 << TRACE_BITS;
/// λ is at most this many times the mean eigenvalue of K.
pub const MAX_DAMPING: u32 = 256;
/// The greatest shift of a solution.
pub const MAX_SHIFT: u8 = 109;
/// The greatest magnitude of the exponent of the rows' fixed point.
pub const MAX_EXPONENT: i16 = 256;

const fn bits(greatest: u128) -> u32 {
    u128::BITS - greatest.leading_zeros()
}

// ⟨z, ξ⟩ fits 64 bits, and the scores of all rows together 128.
const DOT_BITS: u32 = bits(MAX_CODE as u128) + bits(MAX_SOLUTION_CODE as u128) + bits(MAX_DIMENSION as u128 - 1);
const _: () = assert!(DOT_BITS < i64::BITS);
const _: () = assert!(DOT_BITS + u32::BITS + bits(MAX_ROWS as u128 - 1) < i128::BITS);

// tr(K) = Σ s² |z|² is added up before it is compared with MAX_TRACE.
const _: () = assert!(
    2 * u32::BITS + 2 * bits(MAX_CODE as u128) + bits(MAX_DIMENSION as u128 - 1) + bits(MAX_FISHER_ROWS as u128 - 1)
        <= u128::BITS
);

// By Cauchy and Schwarz |K ξ| ≤ tr(K) · √k · |ξ|, and so are the sums of magnitudes, whether over the entries of K or over
// rows. With λξ ≤ tr(K) · MAX_DAMPING · |ξ| and c·2^h the residual is a sum of three, each below 2¹²⁵.
const PRODUCT_BITS: u32 =
    TRACE_BITS + 1 + bits(MAX_DIMENSION as u128 - 1).div_ceil(2) + bits(MAX_SOLUTION_CODE as u128);
const _: () = assert!(PRODUCT_BITS + 2 <= i128::BITS);
const _: () = assert!(TRACE_BITS + 1 + bits(MAX_DAMPING as u128) + bits(MAX_SOLUTION_CODE as u128) + 3 <= i128::BITS);
const _: () = assert!(bits(MAX_QUERY_CODE as u128) + MAX_SHIFT as u32 + 3 <= i128::BITS);
// λ's numerator.
const _: () = assert!(TRACE_BITS + 1 + u32::BITS <= u128::BITS);
