//! Remembers what we published, so that the same payload can be sent again.
//!
//! gossipsub drops a message that it has seen, for minutes, at the publisher as at every receiver. So a vote that is
//! sent again after a partition would never leave. The payload's second and later publications therefore take a new
//! salt; they may not follow each other faster than [`REPUBLISH_AFTER`], so that no mistake of ours becomes a storm.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Instant,
};

use super::{constants::*, frame::FIRST_SALT};

type PayloadId = [u8; MESSAGE_ID_BYTES];

#[derive(Debug)]
pub(super) struct Publications {
    sent: BTreeMap<PayloadId, Instant>,
    /// The ids of `sent`, the oldest first.
    order: VecDeque<PayloadId>,
    next_salt: u64,
}

impl Publications {
    /// `first_salt` is random, so that salts do not repeat after a restart.
    pub(super) fn new(first_salt: u64) -> Self {
        Publications { sent: BTreeMap::new(), order: VecDeque::new(), next_salt: first_salt }
    }

    /// The salt to publish a payload under, or none if it was published just now.
    pub(super) fn salt(&mut self, id: &PayloadId, now: Instant) -> Option<[u8; GOSSIP_SALT_BYTES]> {
        let Some(last) = self.sent.get(id) else { return Some(FIRST_SALT) };
        if now.saturating_duration_since(*last) < REPUBLISH_AFTER {
            return None;
        }
        self.next_salt = self.next_salt.checked_add(1).unwrap_or(1);
        Some(self.next_salt.to_le_bytes())
    }

    /// gossipsub knows the payload from now on.
    pub(super) fn remember(&mut self, id: PayloadId, now: Instant) {
        if self.sent.insert(id, now).is_none() {
            self.order.push_back(id);
        }
        if self.order.len() > REPUBLISH_MEMORY
            && let Some(oldest) = self.order.pop_front()
        {
            self.sent.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_payload_takes_a_new_salt_each_time_but_not_too_soon() {
        let (mut publications, id, start) = (Publications::new(u64::MAX - 1), [1; MESSAGE_ID_BYTES], Instant::now());
        assert_eq!(publications.salt(&id, start), Some(FIRST_SALT));
        assert_eq!(publications.salt(&id, start), Some(FIRST_SALT), "what reached nobody keeps its first salt");
        publications.remember(id, start);
        assert_eq!(publications.salt(&id, start), None);
        let again = publications.salt(&id, start + REPUBLISH_AFTER);
        let and_again = publications.salt(&id, start + REPUBLISH_AFTER);
        assert!(again.is_some() && and_again.is_some() && again != and_again);
        assert!(again != Some(FIRST_SALT) && and_again != Some(FIRST_SALT));
    }

    #[test]
    fn memory_is_bounded() {
        let (mut publications, now) = (Publications::new(0), Instant::now());
        for n in 0..2 * REPUBLISH_MEMORY as u64 {
            let mut id = [0; MESSAGE_ID_BYTES];
            id[..8].copy_from_slice(&n.to_le_bytes());
            publications.remember(id, now);
            publications.remember(id, now);
        }
        assert_eq!((publications.sent.len(), publications.order.len()), (REPUBLISH_MEMORY, REPUBLISH_MEMORY));
    }
}
