//! The last thing this validator signed, so that nothing else is ever signed in its place.
//!
//! It stands beside the write-ahead log and does not trust it: with the log lost, a validator refuses to sign again
//! for a place it may have signed before, which costs time but never a slash.

use crate::crypto::Signature;
use crate::genesis::canonical;
use crate::ids::Hash32;
use borsh::{BorshDeserialize, BorshSerialize};
use malachite_types::Round;

/// A place in agreement where at most one message may be signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub(crate) struct Slot {
    height: u64,
    round: u32,
    step: u8,
}

impl Slot {
    pub(crate) const PROPOSAL: u8 = 1;
    pub(crate) const PREVOTE: u8 = 2;
    pub(crate) const PRECOMMIT: u8 = 3;

    pub(crate) fn new(height: u64, round: Round, step: u8) -> Self {
        Self { height, round: round.as_u32().unwrap_or(u32::MAX), step }
    }
}

/// The record, as it stands on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct SignRecord {
    last: Option<(Slot, Hash32, Signature)>,
    /// The place signed for before the last, if it is of the same height.
    before: Option<Slot>,
}

/// The place of the last signature in a stored record, as height, round and step; none when it holds none. Places are
/// ordered as agreement passes through them.
pub fn signed_place(record: &[u8]) -> Option<(u64, u32, u8)> {
    let record: SignRecord = borsh::from_slice(record).ok()?;
    record.last.map(|(slot, ..)| (slot.height, slot.round, slot.step))
}

/// A record that refuses every signature at this height and below: for a validator whose log of the height is lost, and
/// with it what it locked on.
pub fn closed_record(height: u64) -> Vec<u8> {
    let slot = Slot { height, round: u32::MAX, step: Slot::PRECOMMIT };
    canonical(&SignRecord { last: Some((slot, Hash32::default(), Signature([0; 64]))), before: None })
}

/// Signing would contradict, or might contradict, what was signed before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "refused to sign at height {}, round {}, step {}: the last-sign record says that something else was signed at \
     height {}, round {}, step {}. Is another node running with this key, or was the database damaged or restored from a \
     backup?",
    asked.height, asked.round, asked.step, last.height, last.round, last.step
)]
pub(crate) struct DoubleSign {
    asked: Slot,
    last: Slot,
}

impl SignRecord {
    /// Does this place come after everything that was signed?
    pub(crate) fn is_before(&self, slot: Slot) -> bool {
        self.last.is_none_or(|(last, ..)| last < slot)
    }

    /// Can a height go on whose log holds this as the last place that was signed for? A power cut may take the last
    /// signature from a log, never more: then what it led to, above all what this validator is locked on, is lost.
    pub(crate) fn may_continue(&self, height: u64, logged: Option<Slot>) -> bool {
        match self.last {
            Some((last, ..)) if last.height == height => logged == Some(last) || logged == self.before,
            _ => true,
        }
    }

    /// The signature for a place: a new one, or the one given before for exactly these bytes.
    pub(crate) fn sign(
        &mut self,
        slot: Slot,
        payload: &[u8],
        sign: impl FnOnce() -> Signature,
    ) -> Result<Signature, DoubleSign> {
        let digest = crate::crypto::document_hash(payload);
        if let Some((last, signed, signature)) = self.last {
            if last == slot && signed == digest {
                return Ok(signature);
            }
            if slot <= last {
                return Err(DoubleSign { asked: slot, last });
            }
        }
        let signature = sign();
        self.before = self.last.map(|(last, ..)| last).filter(|last| last.height == slot.height);
        self.last = Some((slot, digest, signature));
        Ok(signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_lost_more_than_the_last_signature_is_not_gone_on_with() {
        let mut record = SignRecord::default();
        let slot = |height, round, step| Slot::new(height, Round::new(round), step);
        let sign = |record: &mut SignRecord, slot| record.sign(slot, b"a", || Signature([1; 64])).unwrap();
        assert!(record.may_continue(5, None));
        sign(&mut record, slot(4, 0, Slot::PRECOMMIT));
        assert!(record.may_continue(5, None), "nothing was signed at this height");
        sign(&mut record, slot(5, 0, Slot::PREVOTE));
        assert!(record.may_continue(5, None), "the first signature may be missing");
        sign(&mut record, slot(5, 0, Slot::PRECOMMIT));
        assert!(!record.may_continue(5, None));
        assert!(record.may_continue(5, Some(slot(5, 0, Slot::PREVOTE))));
        assert!(record.may_continue(5, Some(slot(5, 0, Slot::PRECOMMIT))));
        assert!(record.may_continue(6, None));
    }

    #[test]
    fn a_closed_record_refuses_its_height_and_no_other() {
        let mut record: SignRecord = borsh::from_slice(&closed_record(5)).expect("it was just written");
        assert_eq!(signed_place(&closed_record(5)), Some((5, u32::MAX, 3)));
        assert_eq!(signed_place(&canonical(&SignRecord::default())), None);
        assert_eq!(signed_place(b"something else"), None);
        for (height, round) in [(4, 0), (5, 0), (5, 1000)] {
            let slot = Slot::new(height, Round::new(round), Slot::PRECOMMIT);
            assert!(record.sign(slot, b"a", || Signature([1; 64])).is_err(), "{height} {round}");
        }
        let slot = Slot::new(6, Round::new(0), Slot::PROPOSAL);
        assert!(record.sign(slot, b"a", || Signature([1; 64])).is_ok());
    }

    #[test]
    fn each_place_is_signed_once() {
        let mut record = SignRecord::default();
        let slot = |round, step| Slot::new(5, Round::new(round), step);
        let first = record.sign(slot(0, Slot::PREVOTE), b"a", || Signature([1; 64]));
        assert_eq!(first, Ok(Signature([1; 64])));
        // The same bytes give the same signature; other bytes, or an earlier place, none.
        assert_eq!(record.sign(slot(0, Slot::PREVOTE), b"a", || Signature([2; 64])), first);
        assert!(record.sign(slot(0, Slot::PREVOTE), b"b", || Signature([2; 64])).is_err());
        assert!(record.sign(slot(0, Slot::PROPOSAL), b"b", || Signature([2; 64])).is_err());
        assert!(record.sign(slot(0, Slot::PRECOMMIT), b"b", || Signature([2; 64])).is_ok());
        assert!(record.sign(slot(1, Slot::PROPOSAL), b"c", || Signature([3; 64])).is_ok());
        let reread: SignRecord = borsh::from_slice(&canonical(&record)).expect("it was just written");
        assert_eq!(reread, record);
    }
}
