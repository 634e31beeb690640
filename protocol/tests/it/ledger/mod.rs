//! The ledger: stories of money, content and agreement; all refusals; conservation under random use.

mod conservation;
mod content;
mod money;
mod phases;
mod propose;
mod refusals;
mod world;
