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

use super::{constants::*, frame, handle::RequestError, names::Protocol, standing::TokenBucket};

/// Who waits for the answer.
pub(super) type Asker = oneshot::Sender<Result<Vec<u8>, RequestError>>;

type Question = (Vec<u8>, Asker);

/// Requests of ours.
#[derive(Debug, Default)]
pub(super) struct Outbound {
    sent: BTreeMap<(Protocol, OutboundRequestId), (PeerId, Asker)>,
    queued: BTreeMap<(PeerId, Protocol), VecDeque<Question>>,
    /// How much may be asked now. It outlives connections: whoever answers remembers us as well.
    buckets: BTreeMap<(PeerId, Protocol), TokenBucket>,
}

impl Outbound {
    /// Whether one more would be too many.
    pub(super) fn is_full(&self) -> bool {
        self.sent.len() + self.queued.values().map(VecDeque::len).sum::<usize>() >= REQUESTS_OUT
    }

    pub(super) fn queue(&mut self, peer: PeerId, protocol: Protocol, request: Vec<u8>, asker: Asker) {
        self.queued.entry((peer, protocol)).or_default().push_back((request, asker));
    }

    /// The next request whose turn it is with this peer: what exceeds the places or the rate of its answers waits.
    pub(super) fn next(&mut self, peer: PeerId, protocol: Protocol, now: Instant) -> Option<Question> {
        let under_way = self.sent.iter().filter(|((sent, _), (to, _))| *sent == protocol && *to == peer).count();
        if under_way >= protocol.in_flight() / REQUESTS_OUT_PART {
            return None;
        }
        let queue = self.queued.get_mut(&(peer, protocol))?;
        // Nobody waits any more for those whose deadline has passed.
        queue.retain(|(_, asker)| !asker.is_closed());
        let rate = protocol.asking_rate();
        let bucket = self.buckets.entry((peer, protocol)).or_insert_with(|| TokenBucket::full(rate, now));
        let next = if queue.is_empty() || !bucket.take(rate, now) { None } else { queue.pop_front() };
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

    /// Forgets requests that nobody waits for, and peers that may be asked as much as any other.
    pub(super) fn forget_abandoned(&mut self, now: Instant) {
        self.sent.retain(|_, (_, asker)| !asker.is_closed());
        self.buckets.retain(|(_, protocol), bucket| !bucket.is_full(protocol.asking_rate(), now));
        while self.buckets.len() > STANDINGS {
            self.buckets.pop_first();
        }
    }

    /// With whom requests wait for their turn.
    pub(super) fn waiting(&self) -> Vec<(PeerId, Protocol)> {
        self.queued.keys().copied().collect()
    }
}

/// Requests of peers that we are answering.
#[derive(Debug, Default)]
pub(super) struct Inbound {
    open: BTreeMap<(Protocol, InboundRequestId), (PeerId, Instant)>,
}

impl Inbound {
    /// Takes a place for a request; false if there is none, for anybody or for this peer. A quarter is left to the peers of the
    /// configuration: names cost nothing, and a few that read slowly can hold all the others.
    pub(super) fn open(
        &mut self,
        peer: PeerId,
        is_configured: bool,
        protocol: Protocol,
        id: InboundRequestId,
        now: Instant,
    ) -> bool {
        let same = self.open.iter().filter(|((open, _), _)| *open == protocol);
        let (all, of_peer) =
            same.fold((0, 0), |(all, of_peer), (_, (from, _))| (all + 1, of_peer + usize::from(*from == peer)));
        let places = protocol.in_flight();
        let allowed = if is_configured { places } else { places - places / 4 };
        if all >= allowed || of_peer >= places / REQUESTS_IN_PART {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn we_ask_at_half_the_rate_of_answers_and_the_rest_waits() {
        let (mut outbound, peer, start) = (Outbound::default(), PeerId::random(), Instant::now());
        let (protocol, rate) = (Protocol::Blob, Protocol::Blob.rate());
        let mut answers = Vec::new();
        for _ in 0..rate.burst {
            let (asker, answer) = oneshot::channel();
            outbound.queue(peer, protocol, Vec::new(), asker);
            answers.push(answer);
        }
        let sent = |outbound: &mut Outbound, now| std::iter::from_fn(|| outbound.next(peer, protocol, now)).count();
        assert_eq!(sent(&mut outbound, start), rate.burst as usize / 2);
        assert_eq!(outbound.waiting(), [(peer, protocol)]);
        assert_eq!(sent(&mut outbound, start + Duration::from_secs(1)), rate.per_second as usize / 2);
        // Those whose askers are gone take no part of the rate.
        drop(answers);
        assert_eq!(sent(&mut outbound, start + Duration::from_secs(2)), 0);
        assert!(outbound.waiting().is_empty());
        outbound.forget_abandoned(start + Duration::from_secs(2));
        assert_eq!(outbound.buckets.len(), 1, "it is not full again");
        outbound.forget_abandoned(start + Duration::from_secs(60));
        assert!(outbound.buckets.is_empty());
    }
}
