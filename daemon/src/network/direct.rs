//! Messages straight to connected peers: one stream each way on each connection, kept open, with frames of
//! `length u32 big-endian ‖ bytes` one after the other and no answers.
//!
//! For agreement, where every hop costs a round its time: gossip would send each message several times over, and a request
//! would open a stream and wait for an answer. What waits for a slow peer is bounded; of more, the oldest is dropped and
//! counted, because in agreement the newest message matters most. Whoever sends here has another way for what is lost.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt, io,
    sync::Arc,
    task::{Context, Poll},
};

use futures::{AsyncReadExt, AsyncWriteExt, FutureExt, future::BoxFuture};
use libp2p::{
    Multiaddr, PeerId, Stream, StreamProtocol,
    core::{Endpoint, transport::PortUse, upgrade::ReadyUpgrade},
    swarm::{
        ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm, NetworkBehaviour,
        NotifyHandler, StreamUpgradeError, SubstreamProtocol, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
        behaviour::{ConnectionClosed, ConnectionEstablished},
        handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound},
    },
};

use super::{constants::*, counters};

/// A message on its way to several peers.
pub(super) type Payload = Arc<[u8]>;

/// What comes of a peer.
#[derive(Debug)]
pub(super) enum Event {
    /// A message.
    Message { peer: PeerId, data: Vec<u8> },
    /// A frame that announces more than any message has.
    Malformed { peer: PeerId },
}

/// Sends to peers that are connected, and receives from all.
pub(super) struct Behaviour {
    protocol: StreamProtocol,
    connections: BTreeMap<PeerId, Vec<ConnectionId>>,
    events: VecDeque<ToSwarm<Event, Payload>>,
}

impl Behaviour {
    pub(super) fn new(protocol: StreamProtocol) -> Self {
        Behaviour { protocol, connections: BTreeMap::new(), events: VecDeque::new() }
    }

    /// Sends a message over the oldest connection with a peer; false if there is none, or too much waits already.
    pub(super) fn send(&mut self, peer: PeerId, payload: Payload) -> bool {
        let Some(connection) = self.connections.get(&peer).and_then(|connections| connections.first()) else {
            return false;
        };
        if self.events.len() >= DIRECT_EVENTS {
            return false;
        }
        let handler = NotifyHandler::One(*connection);
        self.events.push_back(ToSwarm::NotifyHandler { peer_id: peer, handler, event: payload });
        true
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Event;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::new(self.protocol.clone()))
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::new(self.protocol.clone()))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(ConnectionEstablished { peer_id, connection_id, .. }) => {
                self.connections.entry(peer_id).or_default().push(connection_id);
            }
            FromSwarm::ConnectionClosed(ConnectionClosed { peer_id, connection_id, .. }) => {
                if let Some(connections) = self.connections.get_mut(&peer_id) {
                    connections.retain(|connection| *connection != connection_id);
                    if connections.is_empty() {
                        self.connections.remove(&peer_id);
                    }
                }
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        let event = match event {
            Received::Message(data) => Event::Message { peer, data },
            Received::Malformed => Event::Malformed { peer },
        };
        self.events.push_back(ToSwarm::GenerateEvent(event));
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.events.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}

/// What a connection's handler received.
#[derive(Debug)]
pub(super) enum Received {
    Message(Vec<u8>),
    Malformed,
}

/// The stream that we write to.
enum Outgoing {
    /// None yet, or it broke.
    None,
    Requested,
    Idle(Stream),
    Writing(BoxFuture<'static, io::Result<Stream>>),
    /// The peer does not speak this.
    Unsupported,
}

type Reading = BoxFuture<'static, Result<(Stream, Vec<u8>), Broken>>;

/// Why nothing more is read from a stream.
enum Broken {
    /// It ended or failed.
    Gone,
    /// A frame breaks the format.
    Malformed,
}

/// One connection's two streams.
pub(super) struct Handler {
    protocol: StreamProtocol,
    waiting: VecDeque<Payload>,
    outgoing: Outgoing,
    incoming: Option<Reading>,
}

impl fmt::Debug for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handler").field("waiting", &self.waiting.len()).finish_non_exhaustive()
    }
}

impl Handler {
    fn new(protocol: StreamProtocol) -> Self {
        Handler { protocol, waiting: VecDeque::new(), outgoing: Outgoing::None, incoming: None }
    }

    fn take_waiting(&mut self, payload: Payload) {
        if matches!(self.outgoing, Outgoing::Unsupported) {
            return counters::direct_dropped("unsupported");
        }
        if self.waiting.len() >= DIRECT_QUEUE {
            self.waiting.pop_front();
            counters::direct_dropped("slow_peer");
        }
        self.waiting.push_back(payload);
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Payload;
    type ToBehaviour = Received;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(ReadyUpgrade::new(self.protocol.clone()), ())
    }

    fn on_behaviour_event(&mut self, payload: Payload) {
        self.take_waiting(payload);
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Self::InboundProtocol, Self::OutboundProtocol>) {
        match event {
            // A peer that opens a second stream has given the first one up.
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol: mut stream, .. }) => {
                stream.ignore_for_keep_alive();
                self.incoming = Some(read(stream).boxed());
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol: mut stream, .. }) => {
                stream.ignore_for_keep_alive();
                self.outgoing = Outgoing::Idle(stream);
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { error, .. }) => {
                // Whoever was only slow to open the stream is asked again with the next message.
                let (outgoing, reason) = match error {
                    StreamUpgradeError::NegotiationFailed => (Outgoing::Unsupported, "unsupported"),
                    _ => (Outgoing::None, "unopened"),
                };
                for _ in self.waiting.drain(..) {
                    counters::direct_dropped(reason);
                }
                self.outgoing = outgoing;
            }
            _ => {}
        }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, (), Self::ToBehaviour>> {
        if let Some(reading) = &mut self.incoming
            && let Poll::Ready(read_so_far) = reading.poll_unpin(cx)
        {
            self.incoming = None;
            match read_so_far {
                Ok((stream, data)) => {
                    self.incoming = Some(read(stream).boxed());
                    // The next frame is asked for when this is called again, at once.
                    return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(Received::Message(data)));
                }
                Err(Broken::Malformed) => {
                    return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(Received::Malformed));
                }
                Err(Broken::Gone) => {}
            }
        }
        loop {
            match std::mem::replace(&mut self.outgoing, Outgoing::None) {
                Outgoing::None if !self.waiting.is_empty() => {
                    self.outgoing = Outgoing::Requested;
                    let protocol = SubstreamProtocol::new(ReadyUpgrade::new(self.protocol.clone()), ());
                    return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
                }
                Outgoing::Idle(stream) if !self.waiting.is_empty() => {
                    let payloads = std::mem::take(&mut self.waiting);
                    self.outgoing = Outgoing::Writing(write(stream, payloads).boxed());
                }
                Outgoing::Writing(mut writing) => match writing.poll_unpin(cx) {
                    Poll::Ready(Ok(stream)) => self.outgoing = Outgoing::Idle(stream),
                    // What was being written is lost; the next message opens a new stream.
                    Poll::Ready(Err(_)) => counters::direct_dropped("stream_broken"),
                    Poll::Pending => {
                        self.outgoing = Outgoing::Writing(writing);
                        return Poll::Pending;
                    }
                },
                other => {
                    self.outgoing = other;
                    return Poll::Pending;
                }
            }
        }
    }
}

/// The next frame. Memory follows the bytes that came, not the length that was announced.
async fn read(mut stream: Stream) -> Result<(Stream, Vec<u8>), Broken> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).await.map_err(|_| Broken::Gone)?;
    let announced = u32::from_be_bytes(length) as usize;
    if announced > CONSENSUS_BYTES {
        return Err(Broken::Malformed);
    }
    let mut data = Vec::with_capacity(announced.min(DIRECT_AHEAD_BYTES));
    (&mut stream).take(announced as u64).read_to_end(&mut data).await.map_err(|_| Broken::Gone)?;
    if data.len() < announced {
        return Err(Broken::Gone);
    }
    Ok((stream, data))
}

/// All frames that wait, in one go.
async fn write(mut stream: Stream, payloads: VecDeque<Payload>) -> io::Result<Stream> {
    let mut frames = Vec::with_capacity(payloads.iter().map(|payload| payload.len() + 4).sum());
    for payload in payloads {
        let length = u32::try_from(payload.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        frames.extend_from_slice(&length.to_be_bytes());
        frames.extend_from_slice(&payload);
    }
    stream.write_all(&frames).await?;
    stream.flush().await?;
    Ok(stream)
}
