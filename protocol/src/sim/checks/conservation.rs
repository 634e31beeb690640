//! No money is made and none is lost: after every block, all places together hold what the genesis handed out.

use crate::genesis::Genesis;
use crate::ledger::keys;
use crate::ledger::records::{AccountRecord, ValidatorRecord};
use crate::objects::Drops;
use crate::sim::member::Member;

/// All money there ever is, and the height up to which it was counted.
pub(super) struct Conservation {
    supply: u128,
    height: u64,
}

impl Conservation {
    /// Nothing counted yet.
    pub(super) fn new(genesis: &Genesis) -> Self {
        // Restated on purpose: balances, and the bonds that make the first validators' powers.
        let unit = genesis.params.stake.power_unit.0;
        let bonds = genesis.validators.iter().map(|validator| u128::from(validator.power) * unit);
        Self { supply: genesis.accounts.iter().map(|(_, balance)| balance.0).chain(bonds).sum(), height: 0 }
    }

    /// Counts the raw records on a disk, if it is further than any before. A new place for money is a new term here.
    pub(super) fn count(&mut self, member: &Member) -> Result<(), String> {
        let height = member.disk.height();
        if height <= self.height {
            return Ok(());
        }
        self.height = height;
        let entries = member.disk.entries();
        let single = |key: &[u8]| entries.get(key).and_then(|value| borsh::from_slice::<Drops>(value).ok());
        let accounts = entries.range(vec![keys::ACCOUNTS]..vec![keys::ACCOUNTS + 1]);
        let mut held = 0_u128;
        for (_, value) in accounts {
            let record: AccountRecord = borsh::from_slice(value).map_err(|error| error.to_string())?;
            held += record.available.0 + record.pending.0;
        }
        for (_, value) in entries.range(vec![keys::CANDIDATE]..vec![keys::CANDIDATE + 1]) {
            let record: ValidatorRecord = borsh::from_slice(value).map_err(|error| error.to_string())?;
            held += record.bond.0;
        }
        for (_, value) in entries.range(vec![keys::UNBONDING]..vec![keys::UNBONDING + 1]) {
            held += borsh::from_slice::<Drops>(value).map_err(|error| error.to_string())?.0;
        }
        for key in [keys::ESCROW, keys::TREASURY] {
            held += single(key).ok_or("a balance is missing")?.0;
        }
        let recorded = single(keys::SUPPLY).ok_or("the supply is missing")?.0;
        if held == self.supply && recorded == self.supply {
            return Ok(());
        }
        Err(format!("at height {height} all places hold {held} of {} drops; {recorded} are recorded", self.supply))
    }
}
