//! Every escrow ends: a sealed receipt is settled, or refunded once the network's timeout is over; where its result is
//! agreed on and only the body is missing, a second timeout later.

use crate::ids::to_hex;
use crate::ledger::keys;
use crate::ledger::records::{ReceiptRecord, ReceiptState};
use crate::sim::member::Member;

/// The honest node that is furthest.
fn furthest(members: &[Member]) -> Option<&Member> {
    members.iter().filter(|member| member.is_honest()).max_by_key(|member| member.disk.height())
}

fn sealed(member: &Member) -> impl Iterator<Item = (String, ReceiptRecord)> {
    let receipts = member.disk.entries().range(vec![keys::RECEIPTS]..vec![keys::RECEIPTS + 1]);
    receipts.filter_map(|(key, value)| {
        let record: ReceiptRecord = borsh::from_slice(value).ok()?;
        matches!(record.state, ReceiptState::Sealed { .. }).then(|| (to_hex(&key[1..]), record))
    })
}

/// Does no receipt wait that was sealed before an epoch?
pub(super) fn all_ended(members: &[Member], before: u64) -> bool {
    furthest(members).is_none_or(|member| sealed(member).all(|(_, record)| record.epoch >= before))
}

/// Receipts that have waited too long.
pub(super) fn overdue(members: &[Member], timeout: u64, agreed_timeout: u64) -> Vec<String> {
    let Some(member) = furthest(members) else { return Vec::new() };
    let height = member.disk.height();
    let is_agreed = |epoch: u64| {
        let key = keys::agreed_of(epoch);
        member.disk.entries().range(key.clone()..).next().is_some_and(|(found, _)| found.starts_with(&key))
    };
    let grace = |epoch| if agreed_timeout > 0 && is_agreed(epoch) { agreed_timeout } else { 0 };
    let late = sealed(member).filter(|(_, record)| record.epoch + timeout + grace(record.epoch) <= height);
    late.map(|(id, record)| {
        format!("receipt {id} of epoch {} is neither settled nor refunded at height {height}", record.epoch)
    })
    .collect()
}
