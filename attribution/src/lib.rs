//! Tributary's heavy arithmetic: which admitted text an answer holds, and small language models.
//!
//! Floats live here and nowhere else in Tributary; what leaves for agreement is integers.

pub mod model;
pub mod near;
pub mod span;
