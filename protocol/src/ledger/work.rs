//! What a node has to do: attribution that is open, manifests to attest.

use super::committee::current_committee;
use super::keys;
use super::records::*;
use super::run::Context;
use super::view::{Read, State, decode};
use crate::block::ValidatorSet;
use crate::ids::{Account, DataNetId, Hash32, ManifestId, ModelId, ReceiptId};
use std::collections::BTreeMap;

/// Open attribution of an epoch's receipts in a DataNet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// The epoch that sealed them.
    pub epoch: u64,
    /// The DataNet.
    pub datanet: DataNetId,
    /// The receipts, in the block's order.
    pub receipts: Vec<ReceiptId>,
    /// The DataNet's versions that count, oldest first.
    pub manifests: Vec<ManifestId>,
    /// Who attributes, and with which power.
    pub committee: ValidatorSet,
    /// How far it is.
    pub phase: Phase,
}

/// How far open attribution is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Validators commit.
    Commit,
    /// Validators reveal what they committed to.
    Reveal,
    /// A quorum revealed this root; a block has to carry the body.
    Agreed(Hash32),
}

/// All open attribution, ascending by (epoch, DataNet).
pub fn open_work(state: &State) -> Vec<Work> {
    let work = |(key, value): (&[u8], &[u8])| {
        let (epoch, datanet) = (keys::first_number(key), DataNetId(keys::last_id(key)));
        let record: WorkRecord = decode(key, value);
        let version = usize::try_from(record.version).unwrap_or(usize::MAX);
        let phase = match (record.closed, record.root) {
            (None, _) => Phase::Commit,
            (Some(_), None) => Phase::Reveal,
            (Some(_), Some(root)) => Phase::Agreed(root),
        };
        Work {
            epoch,
            datanet,
            receipts: state.work_receipts(epoch, &datanet),
            manifests: state.active_manifests(&datanet).into_iter().take(version).collect(),
            committee: state.committee(epoch, &datanet).unwrap_or_default(),
            phase,
        }
    };
    state.scan(&[keys::WORK]).into_iter().map(work).collect()
}

/// The manifests that wait for this validator's attestation, as a member of their DataNets' committees.
pub fn unattested(state: &State, validator: &Account) -> Vec<ManifestId> {
    let proposed = state.scan(&[keys::PROPOSED]).into_keys().map(|key| ManifestId(keys::last_id(key)));
    let waits = |id: &ManifestId| state.manifest_status(id).is_some_and(|status| !status.attested.contains(validator));
    let waiting: Vec<ManifestId> = proposed.filter(waits).collect();
    // Nearly always there are none, and then there is no need to read what holds for the next block.
    let Some(ctx) = (!waiting.is_empty()).then(|| Context::next(state)).flatten() else { return Vec::new() };
    let is_member = |id: &ManifestId| {
        let datanet = state.manifest(id).map(|manifest| manifest.datanet);
        datanet.is_some_and(|datanet| current_committee(state, &ctx, &datanet).get(validator).is_some())
    };
    waiting.into_iter().filter(is_member).collect()
}

/// Rows of models by influence that are to be judged, with their roots: those whose draw is known.
pub fn offered_rows(state: &State) -> BTreeMap<ModelId, (Hash32, RowsRecord)> {
    let offered = state.scan(&[keys::OFFERED_ROWS]).into_keys().map(|key| ModelId(keys::last_id(key)));
    let drawn = |model: ModelId| {
        let record = state.model_rows(&model)?;
        let offer = record.offer.as_ref().filter(|offer| offer.beacon.is_some())?;
        Some((model, (offer.header.root(), record)))
    };
    offered.filter_map(drawn).collect()
}

/// Receipts of an epoch and later ones whose queries are to be looked at, and that a validator did not refute yet.
pub fn drawn_receipts(state: &State, from: u64, validator: &Account) -> Vec<ReceiptId> {
    let Some(params) = state.params() else { return Vec::new() };
    let first = keys::audits_until(params.audit_end(from));
    let audits = state.range(&first, &keys::after(&[keys::AUDITS])).into_iter();
    let is_owed = |(key, value): (&[u8], &[u8])| {
        let audit: AuditRecord = decode(key, value);
        let owed = audit.drawn == Some(true) && !audit.refuted.contains(validator);
        owed.then(|| ReceiptId(keys::last_id(key)))
    };
    audits.filter_map(is_owed).collect()
}

/// Does a server still answer for a receipt, whose query this validator did not refute yet?
pub fn answers_for(state: &State, receipt: &ReceiptId, validator: &Account) -> bool {
    let (Some(params), Some(record)) = (state.params(), state.receipt(receipt)) else { return false };
    let key = keys::audit(params.audit_end(record.epoch), receipt);
    state.record(&key).is_some_and(|audit: AuditRecord| !audit.refuted.contains(validator))
}
