//! The ledger's key space: one prefix byte, then fixed-width parts, numbers big-endian so that they sort.
//!
//! Nothing but these functions makes a key. No key is a prefix of another of the same kind.

use crate::ids::{Account, ContributionId, DataNetId, Hash32, ManifestId, ModelId, ReceiptId};

/// The last block's height.
pub const HEIGHT: &[u8] = &[0x01];
/// The network's parameters.
pub const PARAMS: &[u8] = &[0x02];
/// The validator set of the next height.
pub const VALIDATORS: &[u8] = &[0x03];
/// All money there is.
pub const SUPPLY: &[u8] = &[0x04];
/// The treasury's balance.
pub const TREASURY: &[u8] = &[0x05];
/// The fees of all sealed receipts that are neither settled nor refunded.
pub const ESCROW: &[u8] = &[0x06];
/// How many contributions were admitted so far: the next one's place in the order of admission.
pub const NEXT_ORDER: &[u8] = &[0x07];
/// The validator set of the height after the next.
pub const NEXT_VALIDATORS: &[u8] = &[0x08];
/// The validator set of the last block: who could have signed for it.
pub const LAST_VALIDATORS: &[u8] = &[0x09];
/// How many accounts have a bond.
pub const CANDIDATES: &[u8] = &[0x0a];
/// What committees are drawn from.
pub const BEACONS: &[u8] = &[0x0b];
/// How many blocks each validator missed of late.
pub const ABSENCES: &[u8] = &[0x0c];

/// Accounts.
pub const ACCOUNTS: u8 = 0x10;
/// Payouts that become available, by height and account.
pub const VESTING: u8 = 0x11;
/// DataNets.
pub const DATANETS: u8 = 0x20;
/// Documents, by DataNet and hash.
pub const DOCUMENTS: u8 = 0x21;
/// What contributions say.
pub const CONTRIBUTIONS: u8 = 0x22;
/// What became of contributions.
pub const ADMISSIONS: u8 = 0x23;
/// What manifests say.
pub const MANIFESTS: u8 = 0x24;
/// What became of manifests.
pub const MANIFEST_STATUS: u8 = 0x25;
/// Active manifests, by DataNet and version.
pub const VERSIONS: u8 = 0x26;
/// Manifests that wait for attestations.
pub const PROPOSED: u8 = 0x27;
/// Bytes in active manifests, by DataNet and contributor.
pub const CONTRIBUTORS: u8 = 0x28;
/// Models.
pub const MODELS: u8 = 0x30;
/// What models by influence offer and others say of it.
pub const MODEL_ROWS: u8 = 0x31;
/// Models by influence that wait for a beacon.
pub const UNDRAWN_MODELS: u8 = 0x32;
/// Models by influence whose rows wait for a judgement.
pub const OFFERED_ROWS: u8 = 0x33;
/// Accounts that put something aside to answer for what they serve.
pub const SERVERS: u8 = 0x34;
/// Receipts.
pub const RECEIPTS: u8 = 0x40;
/// Answers of receipts that are not settled.
pub const ANSWERS: u8 = 0x41;
/// Evidence found for receipts that other DataNets are still searched for.
pub const PARTS: u8 = 0x42;
/// Divisions of base dividends, by height and DataNet.
pub const DIVIDENDS: u8 = 0x43;
/// What influences follow from, of receipts that are not settled.
pub const TRACES: u8 = 0x44;
/// Receipts that their servers answer for, by the height at which that ends.
pub const AUDITS: u8 = 0x45;
/// Open attribution, by epoch and DataNet.
pub const WORK: u8 = 0x50;
/// The receipts of open attribution, by epoch and DataNet.
pub const WORK_RECEIPTS: u8 = 0x51;
/// What validators said in open attribution, by epoch, DataNet and validator.
pub const SAID: u8 = 0x52;
/// Who agreed, by epoch and DataNet, until the whole epoch is settled.
pub const AGREED: u8 = 0x53;
/// Who attributes, by epoch and DataNet, while it is open.
pub const COMMITTEES: u8 = 0x54;
/// Accounts with a bond.
pub const CANDIDATE: u8 = 0x60;
/// Their names, by hash.
pub const CANDIDATE_NAMES: u8 = 0x61;
/// Bonds being withdrawn, by validator and height.
pub const UNBONDING: u8 = 0x62;
/// The same, by height and validator.
pub const UNBONDING_DUE: u8 = 0x63;
/// Who did not sign for a block, by its height.
pub const ABSENT: u8 = 0x64;
/// What a validator failed to do for attribution.
pub const DUTIES: u8 = 0x65;
/// Who signed twice, and has nothing at stake any more.
pub const TOMBSTONES: u8 = 0x66;

fn key(prefix: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + parts.iter().map(|part| part.len()).sum::<usize>());
    key.push(prefix);
    for part in parts {
        key.extend_from_slice(part);
    }
    key
}

/// The first key after all that begin with `prefix`. No prefix byte in use is 0xff.
pub fn after(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            break;
        }
    }
    end
}

/// An account's record.
pub fn account(account: &Account) -> Vec<u8> {
    key(ACCOUNTS, &[&account.0])
}

/// What becomes available to an account at a height.
pub fn vesting(height: u64, account: &Account) -> Vec<u8> {
    key(VESTING, &[&height.to_be_bytes(), &account.0])
}

/// All that becomes available at a height, or starts there in a range.
pub fn vesting_at(height: u64) -> Vec<u8> {
    key(VESTING, &[&height.to_be_bytes()])
}

/// A DataNet's record.
pub fn datanet(id: &DataNetId) -> Vec<u8> {
    key(DATANETS, &[&id.0])
}

/// The holder of a document in a DataNet.
pub fn document(datanet: &DataNetId, hash: &Hash32) -> Vec<u8> {
    key(DOCUMENTS, &[&datanet.0, &hash.0])
}

/// What a contribution says.
pub fn contribution(id: &ContributionId) -> Vec<u8> {
    key(CONTRIBUTIONS, &[&id.0])
}

/// What became of a contribution.
pub fn admission(id: &ContributionId) -> Vec<u8> {
    key(ADMISSIONS, &[&id.0])
}

/// What a manifest says.
pub fn manifest(id: &ManifestId) -> Vec<u8> {
    key(MANIFESTS, &[&id.0])
}

/// What became of a manifest.
pub fn manifest_status(id: &ManifestId) -> Vec<u8> {
    key(MANIFEST_STATUS, &[&id.0])
}

/// A DataNet's active manifest of a version.
pub fn version(datanet: &DataNetId, version: u32) -> Vec<u8> {
    key(VERSIONS, &[&datanet.0, &version.to_be_bytes()])
}

/// All of a DataNet's active manifests.
pub fn versions(datanet: &DataNetId) -> Vec<u8> {
    key(VERSIONS, &[&datanet.0])
}

/// Manifests that wait for attestations and whose id begins with a byte.
pub fn proposed_in(first: u8) -> Vec<u8> {
    key(PROPOSED, &[&[first]])
}

/// A manifest that waits for attestations.
pub fn proposed(id: &ManifestId) -> Vec<u8> {
    key(PROPOSED, &[&id.0])
}

/// A contributor's bytes in a DataNet's active manifests.
pub fn contributor(datanet: &DataNetId, account: &Account) -> Vec<u8> {
    key(CONTRIBUTORS, &[&datanet.0, &account.0])
}

/// All contributors of a DataNet.
pub fn contributors(datanet: &DataNetId) -> Vec<u8> {
    key(CONTRIBUTORS, &[&datanet.0])
}

/// A model's record.
pub fn model(id: &ModelId) -> Vec<u8> {
    key(MODELS, &[&id.0])
}

/// What a model by influence offers.
pub fn model_rows(id: &ModelId) -> Vec<u8> {
    key(MODEL_ROWS, &[&id.0])
}

/// A model by influence that waits for a beacon.
pub fn undrawn_model(id: &ModelId) -> Vec<u8> {
    key(UNDRAWN_MODELS, &[&id.0])
}

/// A model by influence whose rows wait for a judgement.
pub fn offered_rows(id: &ModelId) -> Vec<u8> {
    key(OFFERED_ROWS, &[&id.0])
}

/// Models by influence whose rows wait for a judgement, and whose id begins with a byte.
pub fn offered_rows_in(first: u8) -> Vec<u8> {
    key(OFFERED_ROWS, &[&[first]])
}

/// What an account put aside.
pub fn server(account: &Account) -> Vec<u8> {
    key(SERVERS, &[&account.0])
}

/// What a receipt's influences follow from, while it is needed.
pub fn trace(id: &ReceiptId) -> Vec<u8> {
    key(TRACES, &[&id.0])
}

/// A receipt that its server answers for until a height.
pub fn audit(until: u64, id: &ReceiptId) -> Vec<u8> {
    key(AUDITS, &[&until.to_be_bytes(), &id.0])
}

/// All receipts that servers answer for until a height, or from it on in a range.
pub fn audits_until(height: u64) -> Vec<u8> {
    key(AUDITS, &[&height.to_be_bytes()])
}

/// A receipt's record.
pub fn receipt(id: &ReceiptId) -> Vec<u8> {
    key(RECEIPTS, &[&id.0])
}

/// A receipt's answer, while it is needed.
pub fn answer(id: &ReceiptId) -> Vec<u8> {
    key(ANSWERS, &[&id.0])
}

/// What one DataNet's settlement found for a receipt.
pub fn part(receipt: &ReceiptId, datanet: &DataNetId) -> Vec<u8> {
    key(PARTS, &[&receipt.0, &datanet.0])
}

/// All parts of a receipt's evidence.
pub fn parts(receipt: &ReceiptId) -> Vec<u8> {
    key(PARTS, &[&receipt.0])
}

/// The division of a DataNet's base dividend at a height.
pub fn dividend(height: u64, datanet: &DataNetId) -> Vec<u8> {
    key(DIVIDENDS, &[&height.to_be_bytes(), &datanet.0])
}

/// Open attribution of an epoch in a DataNet.
pub fn work(epoch: u64, datanet: &DataNetId) -> Vec<u8> {
    key(WORK, &[&epoch.to_be_bytes(), &datanet.0])
}

/// Open attribution of an epoch, or from it on in a range.
pub fn work_of(epoch: u64) -> Vec<u8> {
    key(WORK, &[&epoch.to_be_bytes()])
}

/// The receipts of open attribution.
pub fn work_receipts(epoch: u64, datanet: &DataNetId) -> Vec<u8> {
    key(WORK_RECEIPTS, &[&epoch.to_be_bytes(), &datanet.0])
}

/// What a validator said.
pub fn said(epoch: u64, datanet: &DataNetId, validator: &Account) -> Vec<u8> {
    key(SAID, &[&epoch.to_be_bytes(), &datanet.0, &validator.0])
}

/// What all validators said of one (epoch, DataNet).
pub fn said_of(epoch: u64, datanet: &DataNetId) -> Vec<u8> {
    key(SAID, &[&epoch.to_be_bytes(), &datanet.0])
}

/// Who agreed on one (epoch, DataNet).
pub fn agreed(epoch: u64, datanet: &DataNetId) -> Vec<u8> {
    key(AGREED, &[&epoch.to_be_bytes(), &datanet.0])
}

/// Who agreed on an epoch.
pub fn agreed_of(epoch: u64) -> Vec<u8> {
    key(AGREED, &[&epoch.to_be_bytes()])
}

/// The committee of open attribution.
pub fn committee(epoch: u64, datanet: &DataNetId) -> Vec<u8> {
    key(COMMITTEES, &[&epoch.to_be_bytes(), &datanet.0])
}

/// An account with a bond.
pub fn candidate(validator: &Account) -> Vec<u8> {
    key(CANDIDATE, &[&validator.0])
}

/// A validator that signed twice and has nothing at stake any more.
pub fn tombstone(validator: &Account) -> Vec<u8> {
    key(TOMBSTONES, &[&validator.0])
}

/// The account that validates under a name, given the name's hash.
pub fn candidate_name(hash: &Hash32) -> Vec<u8> {
    key(CANDIDATE_NAMES, &[&hash.0])
}

/// What a validator gets back at a height.
pub fn unbonding(validator: &Account, height: u64) -> Vec<u8> {
    key(UNBONDING, &[&validator.0, &height.to_be_bytes()])
}

/// All that a validator gets back.
pub fn unbonding_of(validator: &Account) -> Vec<u8> {
    key(UNBONDING, &[&validator.0])
}

/// That a validator gets something back at a height.
pub fn unbonding_due(height: u64, validator: &Account) -> Vec<u8> {
    key(UNBONDING_DUE, &[&height.to_be_bytes(), &validator.0])
}

/// Whoever gets something back at a height, or from it on in a range.
pub fn unbonding_due_at(height: u64) -> Vec<u8> {
    key(UNBONDING_DUE, &[&height.to_be_bytes()])
}

/// Who did not sign for the block of a height.
pub fn absent(height: u64) -> Vec<u8> {
    key(ABSENT, &[&height.to_be_bytes()])
}

/// What a validator failed to do for attribution.
pub fn duties(validator: &Account) -> Vec<u8> {
    key(DUTIES, &[&validator.0])
}

/// The 32 bytes at the end of a key: the id or account that it is about.
pub fn last_id(key: &[u8]) -> [u8; 32] {
    key.last_chunk().copied().unwrap_or_default()
}

/// The number after the prefix byte.
pub fn first_number(key: &[u8]) -> u64 {
    key.get(1..9).and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes).unwrap_or_default()
}

/// The number at the end of a key.
pub fn last_number(key: &[u8]) -> u64 {
    key.last_chunk().copied().map(u64::from_be_bytes).unwrap_or_default()
}
