//! What this crate promises, tested from outside.

mod span;
