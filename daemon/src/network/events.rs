//! What libp2p reports, turned into what the driver hears.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use libp2p::{
    Multiaddr, PeerId, allow_block_list, connection_limits,
    gossipsub::{self, MessageAcceptance, MessageId},
    identify, mdns, ping,
    request_response::{self, InboundRequestId, Message, OutboundFailure},
    swarm::{
        ConnectionDenied, DialError, ListenError, SwarmEvent,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use tokio::sync::mpsc::error::TrySendError;

use super::{
    behaviour::BehaviourEvent,
    constants::*,
    counters, direct,
    frame::{self, Answer, FrameError, Question, Refusal},
    handle::{GossipId, NetworkEvent, ReplyHandle, RequestError},
    memory::MemoryShort,
    names::{Protocol, Topic},
    standing::{Admission, Misdeed},
    task::{Connection, Task},
};

impl Task {
    pub(super) fn on_swarm_event(&mut self, event: SwarmEvent<BehaviourEvent>, now: Instant) {
        match event {
            SwarmEvent::Behaviour(event) => self.on_behaviour_event(event, now),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.dialer.on_connected(connection_id, peer_id);
                let peer = self.peers.entry(peer_id).or_default();
                let apart = |older: &Connection| now.saturating_duration_since(older.since) > SIMULTANEOUS_DIAL;
                let lost_the_first = endpoint.is_listener() && peer.connections.values().any(apart);
                let address = endpoint.get_remote_address().clone();
                peer.connections.insert(connection_id, Connection { address, since: now });
                // gossipsub greets a peer on its first connection only. A peer that restarted without our noticing
                // would never learn what we listen to, so both begin anew.
                if lost_the_first {
                    self.turn_away(peer_id, "connected_anew");
                }
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, num_established, .. } => {
                if let Some(peer) = self.peers.get_mut(&peer_id) {
                    peer.connections.remove(&connection_id);
                }
                if num_established == 0 {
                    self.peers.remove(&peer_id);
                    self.outbound.lost(peer_id);
                    self.dialer.on_lost(&peer_id, now);
                }
            }
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
                tracing::debug!(%error, "a dial failed");
                match error {
                    DialError::LocalPeerId { .. } => self.dialer.on_own_address(connection_id),
                    _ => self.dialer.on_dial_failed(connection_id, now),
                }
            }
            SwarmEvent::IncomingConnectionError { error: ListenError::Denied { cause }, .. } => {
                counters::turned_away(denial(&cause));
            }
            SwarmEvent::NewListenAddr { address, .. } => {
                tracing::info!(%address, "listening");
                // The view tells it too, should the queue be full.
                let _ = self.events.try_send(NetworkEvent::Listening { addr: address });
                self.show(now);
            }
            SwarmEvent::ListenerClosed { addresses, reason: Err(error), .. } => {
                tracing::error!(?addresses, %error, "no longer listening");
                self.show(now);
            }
            SwarmEvent::ListenerError { error, .. } => tracing::warn!(%error, "a listener reports an error"),
            _ => {}
        }
    }

    fn on_behaviour_event(&mut self, event: BehaviourEvent, now: Instant) {
        match event {
            BehaviourEvent::Gossip(event) => self.on_gossip_event(event, now),
            BehaviourEvent::Direct(direct::Event::Message { peer, data }) => self.on_direct(peer, data, now),
            BehaviourEvent::Direct(direct::Event::Malformed { peer }) => {
                self.misbehaved(peer, Misdeed::MalformedMessage, now);
            }
            BehaviourEvent::Block(event) => self.on_request_event(Protocol::Block, event, now),
            BehaviourEvent::Object(event) => self.on_request_event(Protocol::Object, event, now),
            BehaviourEvent::Blob(event) => self.on_request_event(Protocol::Blob, event, now),
            BehaviourEvent::Status(event) => self.on_request_event(Protocol::Status, event, now),
            BehaviourEvent::Identify(identify::Event::Received { peer_id, info, .. }) => {
                self.on_identified(peer_id, &info, now);
            }
            BehaviourEvent::Ping(ping::Event { peer, result, .. }) => self.on_ping(peer, &result),
            BehaviourEvent::Mdns(mdns::Event::Discovered(found)) => self.on_discovered(found),
            _ => {}
        }
    }

    fn on_identified(&mut self, id: PeerId, info: &identify::Info, now: Instant) {
        let ours = self.names.identity();
        if info.protocol_version != ours {
            // What the peer sent is shown no longer than our own could be.
            let theirs: String = info.protocol_version.chars().take(3 * NETWORK_NAME_BYTES).collect();
            tracing::warn!(peer = %id, theirs, ours, "a peer of another network");
            self.misbehaved(id, Misdeed::OtherNetwork, now);
            self.turn_away(id, Misdeed::OtherNetwork.as_str());
            return;
        }
        self.dialer.on_identified(id, &info.listen_addrs);
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.identified = true;
        }
        self.on_maybe_ready(&id);
    }

    fn on_maybe_ready(&mut self, id: &PeerId) {
        if self.peers.get(id).is_some_and(super::task::Peer::is_ready) {
            self.dialer.on_ready(id);
        }
    }

    fn on_ping(&mut self, id: PeerId, result: &Result<std::time::Duration, ping::Failure>) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        match result {
            Ok(_) => peer.ping_failures = 0,
            Err(ping::Failure::Unsupported) => {}
            Err(_) => {
                peer.ping_failures += 1;
                if peer.ping_failures >= PING_FAILURES {
                    self.turn_away(id, "no_answer_to_ping");
                }
            }
        }
    }

    fn on_discovered(&mut self, found: Vec<(PeerId, Multiaddr)>) {
        let mut by_peer: BTreeMap<PeerId, Vec<Multiaddr>> = BTreeMap::new();
        for (peer, address) in found {
            by_peer.entry(peer).or_default().push(address);
        }
        for (peer, addresses) in by_peer {
            let dial = DialOpts::peer_id(peer)
                .condition(PeerCondition::DisconnectedAndNotDialing)
                .addresses(addresses)
                .build();
            if let Err(error) = self.swarm.dial(dial) {
                tracing::debug!(%peer, %error, "a peer found by mDNS is not dialled");
            }
        }
    }

    fn on_gossip_event(&mut self, event: gossipsub::Event, now: Instant) {
        match event {
            gossipsub::Event::Message { propagation_source, message_id, message } => {
                self.on_gossip(propagation_source, message_id, message, now);
            }
            gossipsub::Event::Subscribed { peer_id, topic } => {
                if self.names.topic(&topic).is_some()
                    && let Some(peer) = self.peers.get_mut(&peer_id)
                {
                    peer.subscribed = true;
                }
                self.on_maybe_ready(&peer_id);
            }
            gossipsub::Event::SlowPeer { peer_id, failed_messages } => {
                let lost = failed_messages.priority + failed_messages.non_priority;
                tracing::debug!(peer = %peer_id, lost, "a slow peer");
                counters::slow_peer(lost);
            }
            gossipsub::Event::Unsubscribed { .. } | gossipsub::Event::GossipsubNotSupported { .. } => {}
        }
    }

    fn on_gossip(&mut self, source: PeerId, message: MessageId, received: gossipsub::Message, now: Instant) {
        // The subscription filter lets no other topic through.
        let Some(topic) = self.names.topic(&received.topic) else { return };
        let payload = frame::gossip_payload(received.data).filter(|payload| payload.len() <= topic.limit_bytes());
        let Some(data) = payload else {
            counters::gossip_dropped(topic, "malformed");
            self.report(&message, &source, MessageAcceptance::Reject);
            self.misbehaved(source, Misdeed::MalformedGossip, now);
            return;
        };
        match self.hand_over(topic, source, data, message.clone()) {
            Ok(()) => counters::gossip_received(topic),
            Err(reason) => {
                counters::gossip_dropped(topic, reason);
                self.report(&message, &source, MessageAcceptance::Ignore);
            }
        }
    }

    fn on_direct(&mut self, peer: PeerId, data: Vec<u8>, now: Instant) {
        let admission = self.standings.tell(peer, now);
        if admission != Admission::Taken {
            counters::direct_dropped("rate_limited");
            return self.on_too_often(peer, admission, now);
        }
        // Messages come with as little claim on the queue as gossip of agreement has.
        let dropped = self.events.capacity() <= EVENT_RESERVE_PEERS
            || self.events.try_send(NetworkEvent::Direct { peer, data }).is_err();
        match dropped {
            true => counters::direct_dropped("event_queue_full"),
            false => counters::direct_received(),
        }
    }

    /// Gives gossip to the driver, if there is room for its kind.
    fn hand_over(&self, topic: Topic, source: PeerId, data: Vec<u8>, message: MessageId) -> Result<(), &'static str> {
        let urgent = topic == Topic::Consensus;
        let places = if urgent { EVENT_RESERVE_PEERS } else { EVENT_RESERVE_CONSENSUS };
        if self.events.capacity() <= places {
            return Err("event_queue_full");
        }
        let reserve = if urgent { 0 } else { GOSSIP_UNJUDGED_RESERVE };
        if self.unjudged.available_permits() < reserve + data.len() {
            return Err("too_much_unjudged");
        }
        let bytes = u32::try_from(data.len()).map_err(|_| "malformed")?;
        let share = Arc::clone(&self.unjudged).try_acquire_many_owned(bytes).map_err(|_| "too_much_unjudged")?;
        let id = GossipId { message, source, topic, _share: share };
        self.events.try_send(NetworkEvent::Gossip { topic, source, data, id }).map_err(|_| "event_queue_full")
    }

    fn report(&mut self, message: &MessageId, source: &PeerId, acceptance: MessageAcceptance) {
        self.swarm.behaviour_mut().gossip.report_message_validation_result(message, source, acceptance);
    }

    fn on_request_event(&mut self, protocol: Protocol, event: request_response::Event<Question, Answer>, now: Instant) {
        use request_response::Event;
        match event {
            Event::Message { peer, message: Message::Request { request_id, request, channel }, .. } => {
                let reply = ReplyHandle::new(protocol, channel, self.replies.clone());
                match self.admit(peer, protocol, request_id, request, now) {
                    Ok(data) => self.hand_request(NetworkEvent::Request { peer, protocol, data, reply }),
                    Err(reason) => drop(reply.refuse(reason)),
                }
            }
            Event::Message { peer, message: Message::Response { request_id, response }, .. } => {
                let outcome = match response {
                    Answer::Bytes(bytes) => Ok(bytes),
                    Answer::Refused(reason) => Err(RequestError::Refused { reason }),
                };
                self.outbound.answer(protocol, request_id, outcome);
                self.send_requests(peer, protocol, now);
            }
            Event::OutboundFailure { peer, request_id, error, .. } => {
                if frame_error_out(&error).is_some() {
                    self.misbehaved(peer, Misdeed::MalformedFrame, now);
                }
                self.outbound.answer(protocol, request_id, Err(request_error(protocol, peer, &error)));
                self.send_requests(peer, protocol, now);
            }
            Event::InboundFailure { request_id, .. } | Event::ResponseSent { request_id, .. } => {
                self.inbound.close(protocol, request_id);
            }
        }
    }

    /// Whether the driver hears of a peer's request.
    fn admit(
        &mut self,
        peer: PeerId,
        protocol: Protocol,
        id: InboundRequestId,
        question: Question,
        now: Instant,
    ) -> Result<Vec<u8>, Refusal> {
        let bytes = match question {
            Question::Bytes(bytes) => bytes,
            Question::Malformed(fault) => {
                tracing::info!(%peer, protocol = protocol.as_str(), %fault, "malformed request");
                self.misbehaved(peer, Misdeed::MalformedFrame, now);
                return Err(Refusal::Malformed);
            }
        };
        let admission = self.standings.ask(peer, protocol, now);
        if admission != Admission::Taken {
            self.on_too_often(peer, admission, now);
            return Err(Refusal::RateLimited);
        }
        let room = self.events.capacity() > EVENT_RESERVE_CONSENSUS;
        let is_configured = self.dialer.is_configured(&peer);
        if !room || !self.inbound.open(peer, is_configured, protocol, id, now) {
            return Err(Refusal::Busy);
        }
        Ok(bytes)
    }

    /// Refusing is enough for a peer that asks too often; only one that goes on regardless is to blame.
    fn on_too_often(&mut self, peer: PeerId, admission: Admission, now: Instant) {
        if admission == Admission::Flood {
            self.misbehaved(peer, Misdeed::RateLimited, now);
        }
    }

    fn hand_request(&self, event: NetworkEvent) {
        // A handle that comes back tells the peer, when it is dropped here, that there will be no answer.
        if let Err(TrySendError::Full(event) | TrySendError::Closed(event)) = self.events.try_send(event) {
            drop(event);
        }
    }
}

fn frame_error_out(error: &OutboundFailure) -> Option<FrameError> {
    match error {
        OutboundFailure::Io(error) => FrameError::of(error),
        _ => None,
    }
}

fn request_error(protocol: Protocol, peer: PeerId, error: &OutboundFailure) -> RequestError {
    match (error, frame_error_out(error)) {
        (_, Some(fault)) => RequestError::MalformedAnswer { protocol, detail: fault.to_string() },
        (OutboundFailure::Timeout, _) => {
            RequestError::TimedOut { protocol, after: frame::transport_patience(protocol) }
        }
        (OutboundFailure::UnsupportedProtocols, _) => RequestError::Unsupported { protocol },
        (OutboundFailure::DialFailure, _) => RequestError::NotConnected { peer },
        (OutboundFailure::ConnectionClosed | OutboundFailure::Io(_), _) => {
            RequestError::ConnectionLost { detail: error.to_string() }
        }
    }
}

/// Why a connection was refused.
fn denial(cause: &ConnectionDenied) -> &'static str {
    if cause.downcast_ref::<connection_limits::Exceeded>().is_some() {
        "too_many_connections"
    } else if cause.downcast_ref::<MemoryShort>().is_some() {
        "memory_short"
    } else if cause.downcast_ref::<allow_block_list::Blocked>().is_some() {
        "banned"
    } else {
        "denied"
    }
}
