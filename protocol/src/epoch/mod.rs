//! Agreement on epochs: Tendermint by Malachite's core (Buchman, Kwon, Milosevic, "The latest gossip on BFT consensus",
//! arXiv 1807.04938), wrapped without I/O.
//!
//! - [`host`] feeds the core and turns its effects into an ordered list; [`context`] and [`convert`] translate types;
//!   [`sign_record`] keeps a validator from ever contradicting itself; [`signatures`] checks what others signed.
//! - The core is used in its `ProposalAndParts` mode with the value = block id. The block is fetched beside it, checked
//!   by the ledger, and only then counted, so a validator never votes for what it has not checked.
//! - The core never fetches decided blocks; the node does that, and starts the core again at the height it reached.

mod context;
mod convert;
mod host;
#[cfg(test)]
mod kinds;
mod sign_record;
mod signatures;

pub(crate) use host::{Host, Out};
#[cfg(test)]
pub(crate) use kinds::{IDLE, LIVE};
pub(crate) use sign_record::SignRecord;
pub use sign_record::{closed_record, signed_place};
