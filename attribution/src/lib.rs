//! Tributary's heavy arithmetic: which admitted text an answer holds, which training
//! data it depends on, and small language models.
//!
//! Floats live here and nowhere else in Tributary; what leaves for agreement is integers.

pub mod influence;
pub mod model;
pub mod near;
pub mod span;
pub mod tracer;
