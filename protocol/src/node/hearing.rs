//! What was heard of agreement: nothing is checked, fed to agreement or forwarded twice in a short time, and nobody can
//! make this node keep or forward more than agreement needs.

use crate::crypto;
use crate::genesis::canonical;
use crate::ids::Account;
use crate::wire::ConsensusMessage;
use std::collections::BTreeMap;

/// Milliseconds after which a message that was forwarded may be forwarded again: long enough that repeating others'
/// messages multiplies nothing, short enough that what was lost comes through when its sender sends it again.
const FORWARD_AGAIN_MS: u64 = 2_000;
/// Messages remembered as heard. With more, those are forgotten that may be forwarded again anyway.
const MAX_HEARD: usize = 32 * 1024;
/// Messages of one validator for one place (height, round, step): the second proves that it signed two.
const MAX_IN_PLACE: u32 = 2;
/// Certificates of one round: they need no key, and every choice of signers makes another.
const MAX_CERTIFICATES: u32 = 64;

/// A message's height and hash.
pub(super) type Name = (u64, [u8; 32]);

/// Height, signer (none of a certificate), round, step.
type Place = (u64, Option<Account>, u32, u8);

/// How new a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hearing {
    /// It was never heard.
    New,
    /// It was heard, and it is time to forward it again.
    Again,
    /// It was heard just now.
    Known,
    /// There is no more room for its like.
    TooMuch,
}

/// What was heard.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// When each message was forwarded last.
    forwarded: BTreeMap<Name, u64>,
    /// How many messages were heard for each place.
    said: BTreeMap<Place, u32>,
}

impl Heard {
    /// Forgets what was heard of heights below `height`.
    pub(super) fn forget_below(&mut self, height: u64) {
        self.forwarded = self.forwarded.split_off(&(height, [0; 32]));
        self.said = self.said.split_off(&(height, None, 0, 0));
    }

    /// How new is a message of this name?
    pub(super) fn hear(&self, now_ms: u64, name: &Name, message: &ConsensusMessage) -> Hearing {
        match self.forwarded.get(name) {
            Some(last) if now_ms.saturating_sub(*last) >= FORWARD_AGAIN_MS => Hearing::Again,
            Some(_) => Hearing::Known,
            None => {
                let (place, limit) = place(message);
                let said = self.said.get(&place).copied().unwrap_or(0);
                if said >= limit || self.is_full(now_ms) { Hearing::TooMuch } else { Hearing::New }
            }
        }
    }

    fn is_full(&self, now_ms: u64) -> bool {
        let recent = |last: &&u64| now_ms.saturating_sub(**last) < FORWARD_AGAIN_MS;
        self.forwarded.len() >= MAX_HEARD && self.forwarded.values().filter(recent).count() >= MAX_HEARD
    }

    /// A message of this name, whose signatures hold, is forwarded now.
    pub(super) fn forward(&mut self, now_ms: u64, name: Name, message: &ConsensusMessage) {
        if self.forwarded.len() >= MAX_HEARD {
            self.forwarded.retain(|_, last| now_ms.saturating_sub(*last) < FORWARD_AGAIN_MS);
        }
        if self.forwarded.insert(name, now_ms).is_none() {
            let said = self.said.entry(place(message).0).or_default();
            *said = said.saturating_add(1);
        }
    }
}

/// What a message is known by.
pub(super) fn name(message: &ConsensusMessage) -> Name {
    (message.height(), crypto::state_hash(&canonical(message)))
}

fn place(message: &ConsensusMessage) -> (Place, u32) {
    match message {
        ConsensusMessage::Vote(vote) => {
            ((vote.height, Some(vote.validator), vote.round, 1 + vote.step as u8), MAX_IN_PLACE)
        }
        ConsensusMessage::Proposal(said) => ((said.height, Some(said.validator), said.round, 0), MAX_IN_PLACE),
        ConsensusMessage::Polka(polka) => ((polka.height, None, polka.round, 0), MAX_CERTIFICATES),
        ConsensusMessage::Round(round) => ((round.height, None, round.round, 1 + round.kind as u8), MAX_CERTIFICATES),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::VoteStep;
    use crate::crypto::Signature;
    use crate::ids::BlockId;
    use crate::wire::SignedVote;

    fn vote(height: u64, round: u32, block: u8) -> ConsensusMessage {
        ConsensusMessage::Vote(SignedVote {
            step: VoteStep::Prevote,
            height,
            round,
            block: Some(BlockId([block; 32])),
            validator: Account([1; 32]),
            signature: Signature([0; 64]),
        })
    }

    #[test]
    fn repeating_others_multiplies_nothing() {
        let mut heard = Heard::default();
        let message = vote(5, 0, 1);
        assert_eq!(heard.hear(1_000, &name(&message), &message), Hearing::New);
        heard.forward(1_000, name(&message), &message);
        assert_eq!(heard.hear(1_000 + FORWARD_AGAIN_MS - 1, &name(&message), &message), Hearing::Known);
        assert_eq!(heard.hear(1_000 + FORWARD_AGAIN_MS, &name(&message), &message), Hearing::Again);
        heard.forward(1_000 + FORWARD_AGAIN_MS, name(&message), &message);
        assert_eq!(heard.hear(1_001 + FORWARD_AGAIN_MS, &name(&message), &message), Hearing::Known);
        heard.forget_below(6);
        assert_eq!(heard.hear(1_001 + FORWARD_AGAIN_MS, &name(&message), &message), Hearing::New);
    }

    #[test]
    fn who_contradicts_himself_is_heard_twice_and_no_more() {
        let mut heard = Heard::default();
        let hear = |heard: &Heard, message: &ConsensusMessage| heard.hear(0, &name(message), message);
        for block in 0..u8::try_from(MAX_IN_PLACE).unwrap() {
            assert_eq!(hear(&heard, &vote(5, 0, block)), Hearing::New);
            heard.forward(0, name(&vote(5, 0, block)), &vote(5, 0, block));
        }
        assert_eq!(hear(&heard, &vote(5, 0, 100)), Hearing::TooMuch);
        assert_eq!(hear(&heard, &vote(5, 1, 100)), Hearing::New, "another round");
        assert_eq!(hear(&heard, &vote(6, 0, 100)), Hearing::New, "another height");
    }
}
