//! The ledger: stories of money, content and agreement; all refusals; conservation under random use.

mod committees;
mod conservation;
mod content;
mod influence;
mod money;
mod offences;
mod phases;
mod presence;
mod pressure;
mod propose;
mod refusals;
mod stake;
pub(crate) mod world;
