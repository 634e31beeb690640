//! The ledger's entries: committed ([`State`]), and with changes on top ([`Overlay`]). Both are read through [`Read`].

use super::keys;
use super::records::*;
use crate::block::ValidatorSet;
use crate::genesis::{Params, canonical};
use crate::ids::{Account, ContributionId, DataNetId, ManifestId, ModelId, ReceiptId, to_hex};
use crate::objects::{Drops, Trace};
use borsh::{BorshDeserialize, BorshSerialize};
use std::collections::BTreeMap;

/// Entries written (a value) or removed (none).
pub type Changes = BTreeMap<Vec<u8>, Change>;
/// What becomes of an entry.
type Change = Option<Vec<u8>>;

/// Reading entries. What does not exist reads as none, or as the zero of its kind.
///
/// # Panics
/// When an entry does not decode: entries are our own, and [`State::load`] refuses any that is not sound.
pub trait Read {
    /// An entry.
    fn get(&self, key: &[u8]) -> Option<&[u8]>;

    /// All entries with `from <= key < to`.
    fn range(&self, from: &[u8], to: &[u8]) -> BTreeMap<&[u8], &[u8]>;

    /// All entries whose key begins with `prefix`.
    fn scan(&self, prefix: &[u8]) -> BTreeMap<&[u8], &[u8]> {
        self.range(prefix, &keys::after(prefix))
    }

    /// An entry's record.
    fn record<T: BorshDeserialize>(&self, key: &[u8]) -> Option<T> {
        self.get(key).map(|value| decode(key, value))
    }

    /// The last block's height.
    fn height(&self) -> u64 {
        self.record(keys::HEIGHT).unwrap_or_default()
    }

    /// The network's parameters; none before the genesis.
    fn params(&self) -> Option<Params> {
        self.record(keys::PARAMS)
    }

    /// The validator set of the next height; none before the genesis.
    fn validators(&self) -> Option<ValidatorSet> {
        self.record(keys::VALIDATORS)
    }

    /// The validator set that decided the last height; none before the genesis.
    fn last_validators(&self) -> Option<ValidatorSet> {
        self.record(keys::LAST_VALIDATORS)
    }

    /// The validator set of the height after the next; none before the genesis.
    fn next_validators(&self) -> Option<ValidatorSet> {
        self.record(keys::NEXT_VALIDATORS)
    }

    /// What an account has at stake; none without a bond.
    fn candidate(&self, validator: &Account) -> Option<ValidatorRecord> {
        self.record(&keys::candidate(validator))
    }

    /// Everybody who has something at stake, by key.
    fn candidates(&self) -> BTreeMap<Account, ValidatorRecord> {
        let entries = self.scan(&[keys::CANDIDATE]).into_iter();
        entries.map(|(key, value)| (Account(keys::last_id(key)), decode(key, value))).collect()
    }

    /// What a validator gets back, by height.
    fn unbonding(&self, validator: &Account) -> BTreeMap<u64, Drops> {
        let entries = self.scan(&keys::unbonding_of(validator)).into_iter();
        entries.map(|(key, value)| (keys::last_number(key), decode(key, value))).collect()
    }

    /// Everybody's absences within the window.
    fn absences(&self) -> Absences {
        self.record(keys::ABSENCES).unwrap_or_default()
    }

    /// What a validator failed to do for attribution, in the last window in which it failed at all.
    fn failures(&self, validator: &Account) -> DutyRecord {
        self.record(&keys::duties(validator)).unwrap_or_default()
    }

    /// Who attributes an epoch's receipts in a DataNet, while that is open.
    fn committee(&self, epoch: u64, datanet: &DataNetId) -> Option<ValidatorSet> {
        self.record(&keys::committee(epoch, datanet))
    }

    /// All money there is.
    fn supply(&self) -> Drops {
        self.record(keys::SUPPLY).unwrap_or_default()
    }

    /// The treasury's balance.
    fn treasury(&self) -> Drops {
        self.record(keys::TREASURY).unwrap_or_default()
    }

    /// Fees of sealed receipts.
    fn escrow(&self) -> Drops {
        self.record(keys::ESCROW).unwrap_or_default()
    }

    /// An account; all zero when nothing ever happened to it.
    fn account(&self, account: &Account) -> AccountRecord {
        self.record(&keys::account(account)).unwrap_or_default()
    }

    /// A DataNet.
    fn datanet(&self, id: &DataNetId) -> Option<DataNetRecord> {
        self.record(&keys::datanet(id))
    }

    /// What a contribution says.
    fn contribution(&self, id: &ContributionId) -> Option<ContributionRecord> {
        self.record(&keys::contribution(id))
    }

    /// What became of a contribution.
    fn admission(&self, id: &ContributionId) -> Option<AdmissionRecord> {
        self.record(&keys::admission(id))
    }

    /// What a manifest says.
    fn manifest(&self, id: &ManifestId) -> Option<ManifestRecord> {
        self.record(&keys::manifest(id))
    }

    /// What became of a manifest.
    fn manifest_status(&self, id: &ManifestId) -> Option<ManifestStatus> {
        self.record(&keys::manifest_status(id))
    }

    /// A DataNet's active manifest of a version.
    fn manifest_at(&self, datanet: &DataNetId, version: u32) -> Option<ManifestId> {
        self.record(&keys::version(datanet, version))
    }

    /// A DataNet's active manifests, oldest first.
    fn active_manifests(&self, datanet: &DataNetId) -> Vec<ManifestId> {
        self.scan(&keys::versions(datanet)).into_iter().map(|(key, value)| decode(key, value)).collect()
    }

    /// A DataNet's contributors with their bytes in active manifests.
    fn contributors(&self, datanet: &DataNetId) -> BTreeMap<Account, u64> {
        let entries = self.scan(&keys::contributors(datanet)).into_iter();
        entries.map(|(key, value)| (Account(keys::last_id(key)), decode(key, value))).collect()
    }

    /// A model.
    fn model(&self, id: &ModelId) -> Option<ModelRecord> {
        self.record(&keys::model(id))
    }

    /// What the builder of a model by influence offers.
    fn model_rows(&self, id: &ModelId) -> Option<RowsRecord> {
        self.record(&keys::model_rows(id))
    }

    /// What an account put aside to answer for what it serves.
    fn server(&self, account: &Account) -> ServerRecord {
        self.record(&keys::server(account)).unwrap_or_default()
    }

    /// What the influences of a receipt that is not settled follow from.
    fn trace(&self, id: &ReceiptId) -> Option<Trace> {
        self.record(&keys::trace(id))
    }

    /// A receipt.
    fn receipt(&self, id: &ReceiptId) -> Option<ReceiptRecord> {
        self.record(&keys::receipt(id))
    }

    /// The answer of a receipt that is not settled.
    fn answer(&self, id: &ReceiptId) -> Option<String> {
        self.record(&keys::answer(id))
    }

    /// The division of a DataNet's base dividend at a height.
    fn dividend(&self, height: u64, datanet: &DataNetId) -> Option<DividendRecord> {
        self.record(&keys::dividend(height, datanet))
    }

    /// Open attribution.
    fn work(&self, epoch: u64, datanet: &DataNetId) -> Option<WorkRecord> {
        self.record(&keys::work(epoch, datanet))
    }

    /// The receipts of open attribution, in the block's order.
    fn work_receipts(&self, epoch: u64, datanet: &DataNetId) -> Vec<ReceiptId> {
        self.record(&keys::work_receipts(epoch, datanet)).unwrap_or_default()
    }

    /// What a validator said in open attribution.
    fn said(&self, epoch: u64, datanet: &DataNetId, validator: &Account) -> Option<SaidRecord> {
        self.record(&keys::said(epoch, datanet, validator))
    }
}

pub(super) fn decode<T: BorshDeserialize>(key: &[u8], value: &[u8]) -> T {
    match borsh::from_slice(value) {
        Ok(record) => record,
        Err(error) => panic!("the ledger's own entry {} does not decode: {error}", to_hex(key)),
    }
}

/// The committed entries after some height.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State(BTreeMap<Vec<u8>, Vec<u8>>);

/// A stored entry that is none of ours: the disk lies.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stored ledger entry {} is not one that this version writes; restore the data or sync anew", to_hex(key))]
pub struct UnsoundEntry {
    /// Its key.
    pub key: Vec<u8>,
}

impl State {
    /// The state that stored entries make.
    pub fn load(entries: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>) -> Result<Self, UnsoundEntry> {
        let entries: BTreeMap<_, _> = entries.into_iter().collect();
        match entries.iter().find(|(key, value)| !is_sound(key, value)) {
            Some((key, _)) => Err(UnsoundEntry { key: key.clone() }),
            None => Ok(Self(entries)),
        }
    }

    /// Carries out changes.
    pub fn apply(&mut self, changes: &Changes) {
        for (key, value) in changes {
            match value {
                Some(value) => self.0.insert(key.clone(), value.clone()),
                None => self.0.remove(key),
            };
        }
    }

    /// All entries, ascending.
    pub fn entries(&self) -> &BTreeMap<Vec<u8>, Vec<u8>> {
        &self.0
    }
}

impl Read for State {
    fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.0.get(key).map(Vec::as_slice)
    }

    fn range(&self, from: &[u8], to: &[u8]) -> BTreeMap<&[u8], &[u8]> {
        if from >= to {
            return BTreeMap::new();
        }
        self.0.range::<[u8], _>(bounds(from, to)).map(|(key, value)| (key.as_slice(), value.as_slice())).collect()
    }
}

fn bounds<'a>(from: &'a [u8], to: &'a [u8]) -> (std::ops::Bound<&'a [u8]>, std::ops::Bound<&'a [u8]>) {
    (std::ops::Bound::Included(from), std::ops::Bound::Excluded(to))
}

/// Committed entries with changes on top, the last of which can be taken back.
#[derive(Clone, Debug)]
pub struct Overlay<'a> {
    base: &'a State,
    changes: Changes,
    /// What stood in `changes` before each write since the last checkpoint.
    journal: Vec<(Vec<u8>, Option<Change>)>,
}

impl<'a> Overlay<'a> {
    /// No changes yet.
    pub fn new(base: &'a State) -> Self {
        Self { base, changes: Changes::new(), journal: Vec::new() }
    }

    /// Was any entry written or removed whose key begins with `prefix`?
    pub fn touched(&self, prefix: u8) -> bool {
        let (from, to) = ([prefix], keys::after(&[prefix]));
        self.changes.range::<[u8], _>(bounds(&from, &to)).next().is_some()
    }

    /// From here on [`Overlay::rollback`] goes back to here.
    pub fn checkpoint(&mut self) {
        self.journal.clear();
    }

    /// Takes back every write since the last checkpoint.
    pub fn rollback(&mut self) {
        while let Some((key, before)) = self.journal.pop() {
            match before {
                Some(change) => self.changes.insert(key, change),
                None => self.changes.remove(&key),
            };
        }
    }

    /// Writes an entry.
    pub fn put<T: BorshSerialize>(&mut self, key: Vec<u8>, record: &T) {
        self.write(key, Some(canonical(record)));
    }

    /// Removes an entry.
    pub fn remove(&mut self, key: Vec<u8>) {
        self.write(key, None);
    }

    /// Removes all entries whose key begins with `prefix`.
    pub fn remove_all(&mut self, prefix: &[u8]) {
        let found: Vec<Vec<u8>> = self.scan(prefix).into_keys().map(<[u8]>::to_vec).collect();
        for key in found {
            self.remove(key);
        }
    }

    fn write(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        let before = self.changes.insert(key.clone(), value);
        self.journal.push((key, before));
    }

    /// What differs from the committed entries.
    pub fn into_changes(self) -> Changes {
        let Self { base, mut changes, .. } = self;
        changes.retain(|key, value| base.get(key) != value.as_deref());
        changes
    }
}

impl Read for Overlay<'_> {
    fn get(&self, key: &[u8]) -> Option<&[u8]> {
        match self.changes.get(key) {
            Some(change) => change.as_deref(),
            None => self.base.get(key),
        }
    }

    fn range(&self, from: &[u8], to: &[u8]) -> BTreeMap<&[u8], &[u8]> {
        let mut entries = self.base.range(from, to);
        if from < to {
            for (key, change) in self.changes.range::<[u8], _>(bounds(from, to)) {
                match change {
                    Some(value) => entries.insert(key, value),
                    None => entries.remove(key.as_slice()),
                };
            }
        }
        entries
    }
}

#[cfg(test)]
mod tests;
