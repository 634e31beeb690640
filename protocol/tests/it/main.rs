//! Tests of the core from outside.

mod ledger;
mod light;
mod snapshot;
mod tree;
mod wire;
