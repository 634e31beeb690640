//! The books of requests: ours that wait, and the peers' that we are answering.
//!
//! libp2p keeps its own, but its reports have been known to be late or missing; what counts here is our own deadline
//! and our own count.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Instant,
};

use libp2p::{
    PeerId,
    request_response::{InboundRequestId, OutboundRequestId},
};
use tokio::sync::oneshot;

use super::{constants::*, frame, handle::RequestError, names::Protocol};

/// Who waits for the answer.
pub(super) type Asker = oneshot::Sender<Result<Vec<u8>, RequestError>>;

type Question = (Vec<u8>, Asker);

/// Requests of ours.
#[derive(Debug, Default)]
pub(super) struct Outbound {
    sent: BTreeMap<(Protocol, OutboundRequestId), (PeerId, Asker)>,
    queued: BTreeMap<(PeerId, Protocol), VecDeque<Question>>,
}

impl Outbound {
    /// Whether one more would be too many.
    pub(super) fn is_full(&self) -> bool {
        self.sent.len() + self.queued.values().map(VecDeque::len).sum::<usize>() >= REQUESTS_OUT
    }

    pub(super) fn queue(&mut self, peer: PeerId, protocol: Protocol, request: Vec<u8>, asker: Asker) {
        self.queued.entry((peer, protocol)).or_default().push_back((request, asker));
    }

    /// The next request whose turn it is with this peer.
    pub(super) fn next(&mut self, peer: PeerId, protocol: Protocol) -> Option<Question> {
        let under_way = self.sent.iter().filter(|((sent, _), (to, _))| *sent == protocol && *to == peer).count();
        if under_way >= protocol.in_flight() / REQUESTS_OUT_PART {
            return None;
        }
        let queue = self.queued.get_mut(&(peer, protocol))?;
        // Nobody waits any more for those whose deadline has passed.
        let next = std::iter::from_fn(|| queue.pop_front()).find(|(_, asker)| !asker.is_closed());
        if queue.is_empty() {
            self.queued.remove(&(peer, protocol));
        }
        next
    }

    pub(super) fn sent(&mut self, peer: PeerId, protocol: Protocol, id: OutboundRequestId, asker: Asker) {
        self.sent.insert((protocol, id), (peer, asker));
    }

    /// Takes a request out of the books; false if nobody waits for it.
    pub(super) fn answer(
        &mut self,
        protocol: Protocol,
        id: OutboundRequestId,
        outcome: Result<Vec<u8>, RequestError>,
    ) -> bool {
        self.sent.remove(&(protocol, id)).is_some_and(|(_, asker)| asker.send(outcome).is_ok())
    }

    /// The peer is gone: those that wait for their turn with it need not.
    pub(super) fn lost(&mut self, peer: PeerId) {
        for protocol in Protocol::ALL {
            for (_, asker) in self.queued.remove(&(peer, protocol)).unwrap_or_default() {
                let _ = asker.send(Err(RequestError::NotConnected { peer }));
            }
        }
    }

    /// Forgets requests that nobody waits for; returns with whom there may be a place again.
    pub(super) fn forget_abandoned(&mut self) -> Vec<(PeerId, Protocol)> {
        self.sent.retain(|_, (_, asker)| !asker.is_closed());
        self.queued.keys().copied().collect()
    }
}

/// Requests of peers that we are answering.
#[derive(Debug, Default)]
pub(super) struct Inbound {
    open: BTreeMap<(Protocol, InboundRequestId), (PeerId, Instant)>,
}

impl Inbound {
    /// Takes a place for a request; false if there is none, for anybody or for this peer.
    pub(super) fn open(&mut self, peer: PeerId, protocol: Protocol, id: InboundRequestId, now: Instant) -> bool {
        let same = self.open.iter().filter(|((open, _), _)| *open == protocol);
        let (all, of_peer) =
            same.fold((0, 0), |(all, of_peer), (_, (from, _))| (all + 1, of_peer + usize::from(*from == peer)));
        let places = protocol.in_flight();
        if all >= places || of_peer >= places / REQUESTS_IN_PART {
            return false;
        }
        self.open.insert((protocol, id), (peer, now));
        true
    }

    pub(super) fn close(&mut self, protocol: Protocol, id: InboundRequestId) {
        self.open.remove(&(protocol, id));
    }

    /// Gives back the places of requests that libp2p must have given up.
    pub(super) fn forget_old(&mut self, now: Instant) {
        self.open.retain(|(protocol, _), (_, since)| {
            now.saturating_duration_since(*since) < frame::transport_patience(*protocol) + REQUEST_GRACE
        });
    }
}

/// Answers that may be on their way into the swarm at once: one for every place.
pub(super) const REPLY_QUEUE: usize = Protocol::Block.in_flight()
    + Protocol::Object.in_flight()
    + Protocol::Blob.in_flight()
    + Protocol::Status.in_flight();
