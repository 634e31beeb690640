//! Every escrow ends: a sealed receipt is settled or refunded, and what is in escrow is the fees of those that wait.

use crate::ledger::keys;
use crate::ledger::records::{ReceiptRecord, ReceiptState};
use crate::sim::member::Member;

/// Receipts that wait, at the honest node that is furthest.
pub(super) fn unended(members: &[Member]) -> Vec<String> {
    let honest = members.iter().enumerate().filter(|(_, member)| member.is_honest());
    let Some((index, member)) = honest.max_by_key(|(_, member)| member.disk.height()) else { return Vec::new() };
    let receipts = member.disk.entries().range(vec![keys::RECEIPTS]..vec![keys::RECEIPTS + 1]);
    let waits = |(key, value): (&Vec<u8>, &Vec<u8>)| {
        let record: ReceiptRecord = borsh::from_slice(value).ok()?;
        matches!(record.state, ReceiptState::Sealed { .. })
            .then(|| format!("receipt {} of epoch {} is neither settled nor refunded at node {index}, height {}",
                crate::ids::to_hex(&key[1..]), record.epoch, member.disk.height()))
    };
    receipts.filter_map(waits).collect()
}
