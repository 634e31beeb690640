//! Tests of the core from outside.

mod ledger;
mod node;
mod tree;
mod wire;
