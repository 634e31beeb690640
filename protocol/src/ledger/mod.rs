//! The ledger: who owns what, who contributed what, and what every block changes. A pure function of the block.
//!
//! Rules, beside those that each part states itself:
//!
//! - **Order of a block**: payouts whose dispute window ended become available and receipts that were not agreed on in
//!   time are refunded (`run`); then the envelopes in order; then the settlements, ascending by (epoch, DataNet);
//!   then commits close, new attribution opens, and base dividends and payouts are booked.
//! - **All or nothing**: an object is carried out whole, or refused without a trace. A block that holds one object or
//!   settlement that is refused is no block.
//! - **Conservation**: supply = available + pending + escrow + treasury, at every height. [`audit()`] recomputes it.
//! - **Ids are for ever**: an object enters the ledger once; its record stays. Operations have account nonces instead.
//! - **Bounds**: what a block seals, a block can settle ([`body::evidence_budget`]); a manifest adds at most
//!   [`content::MAX_MANIFEST_DOCUMENTS`] documents; a DataNet has at most [`content::MAX_CONTRIBUTORS`] contributors,
//!   because each of its base dividends is divided among all of them.
//!
//! Everything is read through [`Read`], from committed entries ([`State`]) or from those with a block's changes on top
//! ([`Overlay`]). Keys are in [`keys`], values in [`records`].

mod agree;
pub mod audit;
mod block;
pub mod body;
pub mod content;
mod event;
pub mod keys;
mod pay;
pub mod records;
mod run;
pub mod settle;
mod view;
mod work;

pub use agree::BodyRefused;
pub use audit::{Mismatch, Totals, audit};
pub use block::{BlockRefused, Executed, Limits, Proposal, execute_block, propose};
pub use body::AttributionBody;
pub use event::Event;
pub use records::{AccountRecord, ReceiptRecord, ReceiptState};
pub use run::{Context, EPOCHS_AHEAD, NONCE_WINDOW, check_object};
pub use view::{Changes, Overlay, Read, State, UnsoundEntry};
pub use work::{Phase, Work, open_work, unattested};

use crate::block::ValidatorSet;
use crate::genesis::{Genesis, canonical};
use crate::objects::Drops;

/// The entries that a network starts with: the state at height 0.
pub fn genesis_changes(genesis: &Genesis) -> Changes {
    let supply = genesis.accounts.iter().map(|(_, balance)| balance.0).sum();
    let mut entries = vec![
        (keys::HEIGHT.to_vec(), canonical(&0_u64)),
        (keys::PARAMS.to_vec(), canonical(&genesis.params)),
        (keys::VALIDATORS.to_vec(), canonical(&ValidatorSet::of_genesis(genesis))),
        (keys::NEXT_VALIDATORS.to_vec(), canonical(&ValidatorSet::of_genesis(genesis))),
        (keys::LAST_VALIDATORS.to_vec(), canonical(&ValidatorSet::of_genesis(genesis))),
        (keys::SUPPLY.to_vec(), canonical(&Drops(supply))),
        (keys::TREASURY.to_vec(), canonical(&Drops::ZERO)),
        (keys::ESCROW.to_vec(), canonical(&Drops::ZERO)),
        (keys::NEXT_ORDER.to_vec(), canonical(&0_u64)),
    ];
    for (account, balance) in &genesis.accounts {
        let record = AccountRecord { available: *balance, ..AccountRecord::default() };
        entries.push((keys::account(account), canonical(&record)));
    }
    entries.into_iter().map(|(key, value)| (key, Some(value))).collect()
}
