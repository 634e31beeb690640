//! The ledger: who owns what, who contributed what, and what every block changes. A pure function of the block.
//!
//! Rules, beside those that each part states itself:
//!
//! - **Order of a block**: payouts whose dispute window ended become available and receipts that were not agreed on in
//!   time are refunded (`run`); then the envelopes in order; then the settlements, ascending by (epoch, DataNet);
//!   then commits close, new attribution opens, base dividends and payouts are booked, absences are
//!   counted, and validators are elected.
//! - **All or nothing**: an object is carried out whole, or refused without a trace. A block that holds one object or
//!   settlement that is refused is no block.
//! - **Conservation**: supply = available + pending + escrow + treasury + bonds + withdrawals + deposits, at every
//!   height. [`audit()`] recomputes it.
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
pub mod committee;
pub mod content;
mod event;
pub mod keys;
#[cfg(any(test, feature = "sim"))]
pub(crate) mod memo;
mod offences;
mod pay;
mod presence;
pub mod records;
mod rows;
mod run;
mod serving;
pub mod settle;
mod stake;
mod view;
mod work;

pub use agree::BodyRefused;
pub use audit::{Mismatch, Totals, audit};
pub use block::{BlockRefused, Executed, Limits, Proposal, execute_block, propose};
pub use body::AttributionBody;
pub use committee::{current_committee, is_expected};
pub use event::Event;
pub use records::{AccountRecord, ReceiptRecord, ReceiptState};
pub use run::{Context, EPOCHS_AHEAD, NONCE_WINDOW, check_object};
pub use stake::elect;
pub use view::{Changes, Overlay, Read, State, UnsoundEntry};
pub use work::{Phase, Work, answers_for, drawn_receipts, offered_rows, open_work, unattested};

use crate::block::ValidatorSet;
use crate::crypto::document_hash;
use crate::genesis::{Genesis, canonical};
use crate::objects::Drops;
use records::{BeaconRecord, ValidatorRecord, ValidatorState};

/// The entries that a network starts with: the state at height 0.
pub fn genesis_changes(genesis: &Genesis) -> Changes {
    let set = ValidatorSet::of_genesis(genesis);
    let beacon = genesis.hash();
    let beacons = BeaconRecord { period: 0, current: beacon, previous: beacon };
    let mut entries = vec![
        (keys::HEIGHT.to_vec(), canonical(&0_u64)),
        (keys::PARAMS.to_vec(), canonical(&genesis.params)),
        (keys::VALIDATORS.to_vec(), canonical(&set)),
        (keys::NEXT_VALIDATORS.to_vec(), canonical(&set)),
        (keys::LAST_VALIDATORS.to_vec(), canonical(&set)),
        (keys::CANDIDATES.to_vec(), canonical(&(genesis.validators.len() as u64))),
        (keys::BEACONS.to_vec(), canonical(&beacons)),
        (keys::SUPPLY.to_vec(), canonical(&genesis.supply())),
        (keys::TREASURY.to_vec(), canonical(&Drops::ZERO)),
        (keys::ESCROW.to_vec(), canonical(&Drops::ZERO)),
        (keys::NEXT_ORDER.to_vec(), canonical(&0_u64)),
    ];
    for (account, balance) in &genesis.accounts {
        let record = AccountRecord { available: *balance, ..AccountRecord::default() };
        entries.push((keys::account(account), canonical(&record)));
    }
    for validator in &genesis.validators {
        let record = ValidatorRecord {
            payout: validator.payout,
            name: validator.name.clone(),
            bond: genesis.params.stake.bond_of(validator.power),
            state: ValidatorState::Active,
            since: 0,
            slashed: Drops::ZERO,
            jailings: 0,
        };
        let name = document_hash(validator.name.as_bytes());
        entries.push((keys::candidate(&validator.key), canonical(&record)));
        entries.push((keys::candidate_name(&name), canonical(&validator.key)));
    }
    entries.into_iter().map(|(key, value)| (key, Some(value))).collect()
}
