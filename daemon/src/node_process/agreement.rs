//! Messages of agreement on their way out and in.
//!
//! They go straight to every connected peer. Where that reaches every validator, gossip would only bring the same messages
//! again, several times over; so it stays quiet until a height takes longer than `FALLBACK`, and then carries what was
//! said of it after all. Where it does not (a validator is heard only through others, or a peer is nobody who was heard
//! straight, such as an observer), gossip carries everything at once, and what came straight is passed on by it too.
//!
//! Nobody is believed to be a validator's peer but for what this costs: whoever sends another's messages straight can make
//! gossip start `FALLBACK` later, and nothing else.

use super::alive::PanicGuard;
use crate::metrics;
use crate::network::{Fault, NetworkHandle, Topic, Verdict};
use libp2p::PeerId;
use protocol::ids::Account;
use protocol::limits::MAX_VALIDATORS;
use protocol::node;
use protocol::wire::{self, ConsensusMessage};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};

/// How long a message has to do without gossip, where streams reach every validator: less than any step of agreement
/// waits, more than a height takes among near validators.
const FALLBACK: Duration = Duration::from_millis(150);
/// Messages that may yet be gossiped; what does not fit is gossiped at once.
const MAX_LATER: usize = 1024;
/// How long a validator's voice is remembered.
const REMEMBERED: Duration = Duration::from_secs(600);
/// A validator is heard straight while what others pass on of it is at most so much newer.
const LAPSE: Duration = Duration::from_secs(2);

/// How a message of agreement came.
#[derive(Debug)]
pub enum Via {
    /// By gossip.
    Gossip(crate::network::GossipId),
    /// Straight from a peer; with its bytes, to be passed on.
    Stream(PeerId, Vec<u8>),
}

struct Later {
    due: tokio::time::Instant,
    height: u64,
    bytes: Vec<u8>,
}

/// Sends, and judges what came. Cheap to clone.
#[derive(Clone)]
pub struct Agreement {
    network: NetworkHandle,
    voices: Arc<Mutex<Voices>>,
    later: mpsc::Sender<Later>,
}

impl Agreement {
    /// Starts the task that gossips what took too long. `height` follows the last committed one.
    pub fn start(network: NetworkHandle, runtime: &Handle, height: watch::Receiver<u64>, guard: PanicGuard) -> Self {
        let (later, mut waiting) = mpsc::channel::<Later>(MAX_LATER);
        let gossip = network.clone();
        runtime.spawn(async move {
            let _guard = guard;
            // All wait equally long, so the first is always the next.
            while let Some(Later { due, height: of, bytes }) = waiting.recv().await {
                tokio::time::sleep_until(due).await;
                if *height.borrow() < of {
                    publish(&gossip, bytes);
                }
            }
        });
        Self { network, voices: Arc::default(), later }
    }

    /// Tells all validators.
    pub(super) fn publish(&self, message: &ConsensusMessage) {
        let bytes = wire::encode_consensus(message);
        let straight = self.network.send_direct(bytes.clone());
        if !straight || !self.reaches_all() {
            return publish(&self.network, bytes);
        }
        let later = Later { due: tokio::time::Instant::now() + FALLBACK, height: message.height(), bytes };
        if let Err(full) = self.later.try_send(later) {
            publish(&self.network, full.into_inner().bytes);
        }
    }

    /// What the core says of a message. `signer` is whose it is, for those that have one author.
    pub(super) fn judge(&self, via: Via, signer: Option<Account>, verdict: node::Verdict) {
        let verdict = verdict_of(verdict);
        match via {
            Via::Gossip(id) => {
                self.network.validate(id, verdict);
                if let (Verdict::Accept, Some(signer)) = (verdict, signer) {
                    self.lock().heard(signer, Instant::now());
                }
            }
            Via::Stream(peer, bytes) => match verdict {
                Verdict::Reject(word) => {
                    metrics::refused("consensus", word);
                    self.network.blame(peer, Fault::BadMessage);
                }
                Verdict::Accept => {
                    if let Some(signer) = signer {
                        let now = Instant::now();
                        let mut voices = self.lock();
                        voices.heard(signer, now);
                        voices.straight(&signer, peer, now);
                    }
                    if !self.reaches_all() {
                        publish(&self.network, bytes);
                    }
                }
                // It is the same message that was accepted when it came another way.
                Verdict::Ignore("known") => {
                    if let Some(signer) = signer {
                        self.lock().straight(&signer, peer, Instant::now());
                    }
                }
                Verdict::Ignore(_) => {}
            },
        }
    }

    fn reaches_all(&self) -> bool {
        self.lock().reach_all(&self.network.peer_ids(), Instant::now())
    }

    fn lock(&self) -> MutexGuard<'_, Voices> {
        self.voices.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn publish(network: &NetworkHandle, bytes: Vec<u8>) {
    // Gossip is best effort: what is lost here is counted there.
    if let Err(error) = network.publish(Topic::Consensus, bytes) {
        tracing::debug!("a message of agreement is not published: {error}");
    }
}

/// The network's word for the core's.
pub(super) fn verdict_of(verdict: node::Verdict) -> Verdict {
    match verdict {
        node::Verdict::Accept => Verdict::Accept,
        node::Verdict::Reject(word) => Verdict::Reject(word),
        node::Verdict::Ignore(word) => Verdict::Ignore(word),
    }
}

/// The author of a message, if it has one.
pub(super) fn signer(message: &ConsensusMessage) -> Option<Account> {
    match message {
        ConsensusMessage::Vote(vote) => Some(vote.validator),
        ConsensusMessage::Proposal(proposal) => Some(proposal.validator),
        ConsensusMessage::Polka(_) | ConsensusMessage::Round(_) => None,
    }
}

#[derive(Clone, Copy, Debug)]
struct Voice {
    /// When a message of this validator was last new here.
    heard: Instant,
    /// Who sent one of them straight, and when last.
    straight: Option<(PeerId, Instant)>,
}

/// The other validators, as far as they were heard.
#[derive(Debug, Default)]
struct Voices(BTreeMap<Account, Voice>);

impl Voices {
    /// A message of this validator holds, and was new.
    fn heard(&mut self, signer: Account, now: Instant) {
        if self.0.len() >= MAX_VALIDATORS {
            self.0.retain(|_, voice| now.saturating_duration_since(voice.heard) < REMEMBERED);
        }
        if let Some(voice) = self.0.get_mut(&signer) {
            voice.heard = now;
        } else if self.0.len() < MAX_VALIDATORS {
            self.0.insert(signer, Voice { heard: now, straight: None });
        }
    }

    /// A message of this validator, which holds, came straight from this peer.
    fn straight(&mut self, signer: &Account, peer: PeerId, now: Instant) {
        if let Some(voice) = self.0.get_mut(signer) {
            voice.straight = Some((peer, now));
        }
    }

    /// Does what is sent straight to these peers reach every validator that is known, and nobody else who wants to hear
    /// of agreement?
    fn reach_all(&self, peers: &[PeerId], now: Instant) -> bool {
        let mut known =
            self.0.values().filter(|voice| now.saturating_duration_since(voice.heard) < REMEMBERED).peekable();
        if known.peek().is_none() {
            return false;
        }
        let is_straight = |voice: &Voice| {
            voice
                .straight
                .is_some_and(|(peer, at)| voice.heard.saturating_duration_since(at) < LAPSE && peers.contains(&peer))
        };
        let speaks =
            |peer: &PeerId| self.0.values().any(|voice| voice.straight.is_some_and(|(straight, _)| straight == *peer));
        known.all(is_straight) && peers.iter().all(speaks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(n: u8) -> Account {
        Account([n; 32])
    }

    #[test]
    fn gossip_stays_quiet_only_while_every_voice_comes_straight() {
        let (mut voices, start) = (Voices::default(), Instant::now());
        let peers = [PeerId::random(), PeerId::random()];
        assert!(!voices.reach_all(&peers, start), "nobody was heard yet");
        for (n, peer) in (0..).zip(peers) {
            voices.heard(account(n), start);
            assert!(!voices.reach_all(&peers, start), "heard, but not straight");
            voices.straight(&account(n), peer, start);
        }
        assert!(voices.reach_all(&peers, start));
        assert!(!voices.reach_all(&peers[..1], start), "one of them is gone");
        assert!(!voices.reach_all(&[peers[0], peers[1], PeerId::random()], start), "somebody else listens");

        // Another validator is heard through gossip alone.
        voices.heard(account(9), start);
        assert!(!voices.reach_all(&peers, start));
        let mut voices = Voices(voices.0.into_iter().filter(|(key, _)| *key != account(9)).collect());
        // One goes on to be heard, but not straight any more.
        voices.heard(account(0), start + LAPSE);
        assert!(!voices.reach_all(&peers, start + LAPSE));
        voices.straight(&account(0), peers[0], start + LAPSE);
        assert!(voices.reach_all(&peers, start + LAPSE));
        // Silence of all is no reason to gossip: epochs may be minutes apart. In the end it is forgotten who they were.
        assert!(voices.reach_all(&peers, start + REMEMBERED / 2));
        assert!(!voices.reach_all(&peers, start + 2 * REMEMBERED));
    }

    #[test]
    fn only_who_was_heard_counts_and_memory_is_bounded() {
        let (mut voices, now, peer) = (Voices::default(), Instant::now(), PeerId::random());
        voices.straight(&account(1), peer, now);
        assert!(voices.0.is_empty(), "a peer's word alone makes nobody a validator");
        for n in 0..2 * MAX_VALIDATORS {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&(n as u64).to_be_bytes());
            voices.heard(Account(key), now);
        }
        assert_eq!(voices.0.len(), MAX_VALIDATORS);
        voices.heard(account(7), now + REMEMBERED);
        assert_eq!(voices.0.len(), 1, "who was silent for long makes room");
    }
}
