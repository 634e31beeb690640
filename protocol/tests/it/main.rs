//! Tests of the core from outside.

#![expect(clippy::unwrap_used, reason = "a panic here is a failed test, with its place")]

mod fold;
mod fuzz;
mod ledger;
mod light;
mod snapshot;
mod tree;
mod wire;
