//! Tests of the core from outside.

mod ledger;
mod tree;
mod wire;
