//! Tributary's rules, without any I/O.
//!
//! The same inputs give the same bytes on any machine: nothing here reads a clock, a file, a socket, an environment
//! variable or a random source, iterates in an undefined order, or is a float (`clippy.toml` bans it).
//!
//! Read it in this order: [`objects`] is what people sign, [`wire`] its bytes, [`envelope`] the border where bytes become
//! trusted; [`ledger`] is what a block does, [`tree`] the Merkle state over it; [`node`] is the state machine, whose
//! whole contract is [`node::Input`] and [`node::Effect`]; [`evidence`] is who is owed what for an answer, [`influence`] the same where models say it; [`proof`]
//! shows it to somebody who trusts nobody, by way of [`light`]; [`snapshot`] hands a whole state to a new node.

#![forbid(unsafe_code)]

pub mod block;
pub mod crypto;
pub mod envelope;
mod epoch;
pub mod evidence;
pub mod fold;
pub mod genesis;
pub mod ids;
pub mod influence;
pub mod ledger;
pub mod light;
pub mod limits;
pub mod node;
pub mod objects;
pub mod offence;
pub mod passage;
pub mod proof;
pub mod refusal;
pub mod segment;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
pub mod slice;
pub mod snapshot;
pub mod tree;
pub mod wire;
pub mod words;

pub use epoch::{closed_record, signed_place};
