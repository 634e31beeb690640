//! How the rest of the daemon speaks with the network: without waiting, but for a request's answer.

use std::{sync::Arc, time::Duration};

use libp2p::{Multiaddr, PeerId, gossipsub::MessageId, request_response::ResponseChannel};
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc, oneshot, watch},
    time::timeout,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    constants::*,
    counters,
    frame::{Answer, Refusal},
    names::{Protocol, Topic},
};

/// What the network tells the driver.
#[derive(Debug)]
pub enum NetworkEvent {
    /// A payload on a topic. It goes no further until [`NetworkHandle::validate`] accepts it.
    Gossip {
        /// Where it was published.
        topic: Topic,
        /// The peer that sent it to us, which need not be its author.
        source: PeerId,
        /// The payload.
        data: Vec<u8>,
        /// Names it in the verdict.
        id: GossipId,
    },
    /// A message of agreement that a peer sent straight to us.
    Direct {
        /// Who sent it.
        peer: PeerId,
        /// The message.
        data: Vec<u8>,
    },
    /// A peer asks. It may ask before it is reported as connected.
    Request {
        /// Who asks.
        peer: PeerId,
        /// What kind of question.
        protocol: Protocol,
        /// The question.
        data: Vec<u8>,
        /// Where the answer goes.
        reply: ReplyHandle,
    },
    /// A peer is there: it said that it is of our network, and what is published from now on reaches it.
    PeerConnected {
        /// Who.
        peer: PeerId,
    },
    /// The last connection with such a peer is gone.
    PeerDisconnected {
        /// Who.
        peer: PeerId,
    },
    /// We can be reached here.
    Listening {
        /// The address, without our peer id.
        addr: Multiaddr,
    },
}

/// Names a gossiped message whose verdict is awaited, and holds its share of the memory for unjudged gossip.
/// Dropping it forwards nothing and blames nobody.
#[derive(Debug)]
pub struct GossipId {
    pub(super) message: MessageId,
    pub(super) source: PeerId,
    pub(super) topic: Topic,
    pub(super) _share: OwnedSemaphorePermit,
}

/// What becomes of gossip. Reject only what is the sender's own fault: signature, encoding, network, size. An unknown
/// parent, a full pool or an error of our own is Ignore; otherwise honest peers shut each other out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is forwarded.
    Accept,
    /// It is dropped and its sender blamed, for this reason.
    Reject(&'static str),
    /// It is dropped, for this reason.
    Ignore(&'static str),
}

/// What a peer did wrong in an answer, as far as only whoever asked can tell. It costs strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Blocks that do not hold.
    BadSync,
    /// Objects whose signatures or fields do not hold.
    BadObjects,
    /// A message of agreement, sent straight to us, that is the sender's fault.
    BadMessage,
}

/// A connected peer, as of about a second ago.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerInfo {
    /// Who.
    pub peer: PeerId,
    /// Where it is connected from or to.
    pub addresses: Vec<Multiaddr>,
    /// Its gossip score, rounded; negative is bad.
    pub score: i64,
    /// Its strikes; a ban comes at [`STRIKES_BAN`].
    pub strikes: u32,
}

/// What the network task shows of itself.
#[derive(Debug, Clone, Default)]
pub(super) struct View {
    pub(super) peers: Vec<PeerInfo>,
    pub(super) listening: Vec<Multiaddr>,
}

/// Why a publication was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PublishRefused {
    /// No peer would take it.
    #[error("{size} bytes are too large for the topic {}, whose limit is {limit}", topic.as_str())]
    TooLarge {
        /// Where it should have gone.
        topic: Topic,
        /// The topic's limit in bytes.
        limit: usize,
        /// The payload's bytes.
        size: usize,
    },
    /// The network is behind.
    #[error("the network's queue is full ({capacity} entries): publish again later")]
    QueueFull {
        /// How many entries it holds.
        capacity: usize,
    },
    /// The network was shut down.
    #[error("the network has stopped")]
    Stopped,
}

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The request was not sent.
    #[error("a {} request of {size} bytes exceeds the limit of {limit}", protocol.as_str())]
    TooLarge {
        /// What was to be asked.
        protocol: Protocol,
        /// The protocol's limit in bytes.
        limit: usize,
        /// The request's bytes.
        size: usize,
    },
    /// The network is behind.
    #[error("the network's queue is full ({capacity} entries): ask again later")]
    QueueFull {
        /// How many entries it holds.
        capacity: usize,
    },
    /// Too many requests of ours wait already.
    #[error("{limit} requests are under way already: ask again later")]
    TooManyInFlight {
        /// How many may.
        limit: usize,
    },
    /// We have no connection with the peer.
    #[error("{peer} is not connected")]
    NotConnected {
        /// Who was to be asked.
        peer: PeerId,
    },
    /// The peer does not speak the protocol, or speaks it for another network.
    #[error("the peer does not answer {} requests of this network", protocol.as_str())]
    Unsupported {
        /// What was asked.
        protocol: Protocol,
    },
    /// The peer said no.
    #[error("the peer refused: {}", reason.as_str())]
    Refused {
        /// Its reason.
        reason: Refusal,
    },
    /// The peer's answer breaks the frame format or its limit.
    #[error("the answer to a {} request is malformed: {detail}", protocol.as_str())]
    MalformedAnswer {
        /// What was asked.
        protocol: Protocol,
        /// What is wrong.
        detail: String,
    },
    /// Our own deadline passed.
    #[error("no answer to a {} request within {after:?}", protocol.as_str())]
    TimedOut {
        /// What was asked.
        protocol: Protocol,
        /// The deadline.
        after: Duration,
    },
    /// The connection failed before the answer came.
    #[error("the connection failed: {detail}")]
    ConnectionLost {
        /// What happened.
        detail: String,
    },
    /// The network was shut down.
    #[error("the network has stopped")]
    Stopped,
}

impl RequestError {
    /// Is it only too much at once, on this side or the other, so that the same question may be asked again?
    pub const fn is_busy(&self) -> bool {
        matches!(
            self,
            RequestError::QueueFull { .. }
                | RequestError::TooManyInFlight { .. }
                | RequestError::Refused { reason: Refusal::Busy | Refusal::RateLimited }
        )
    }

    /// The word for logs and metrics.
    pub const fn as_str(&self) -> &'static str {
        match self {
            RequestError::TooLarge { .. } => "too_large",
            RequestError::QueueFull { .. } => "queue_full",
            RequestError::TooManyInFlight { .. } => "too_many_in_flight",
            RequestError::NotConnected { .. } => "not_connected",
            RequestError::Unsupported { .. } => "unsupported",
            RequestError::Refused { .. } => "refused",
            RequestError::MalformedAnswer { .. } => "malformed_answer",
            RequestError::TimedOut { .. } => "timed_out",
            RequestError::ConnectionLost { .. } => "connection_lost",
            RequestError::Stopped => "stopped",
        }
    }
}

/// Why an answer was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// The peer was told that the answer is too large.
    #[error("a {} answer of {size} bytes exceeds the limit of {limit}", protocol.as_str())]
    TooLarge {
        /// What was asked.
        protocol: Protocol,
        /// The protocol's limit in bytes.
        limit: usize,
        /// The answer's bytes.
        size: usize,
    },
    /// The peer waits no longer, or the network has stopped.
    #[error("nobody waits for this answer any more")]
    Gone,
}

pub(super) enum Command {
    Publish {
        topic: Topic,
        payload: Vec<u8>,
    },
    Validate {
        id: GossipId,
        verdict: Verdict,
    },
    Blame {
        peer: PeerId,
        fault: Fault,
    },
    Direct {
        payload: Arc<[u8]>,
    },
    Request {
        peer: PeerId,
        protocol: Protocol,
        request: Vec<u8>,
        answer: oneshot::Sender<Result<Vec<u8>, RequestError>>,
    },
}

/// An answer on its way back into the swarm.
pub(super) struct Reply {
    pub(super) protocol: Protocol,
    pub(super) channel: ResponseChannel<Answer>,
    pub(super) answer: Answer,
}

/// Answers one request. Dropped without an answer, it tells the peer that there will be none.
#[derive(Debug)]
pub struct ReplyHandle {
    protocol: Protocol,
    channel: Option<ResponseChannel<Answer>>,
    replies: mpsc::Sender<Reply>,
}

impl ReplyHandle {
    pub(super) fn new(protocol: Protocol, channel: ResponseChannel<Answer>, replies: mpsc::Sender<Reply>) -> Self {
        ReplyHandle { protocol, channel: Some(channel), replies }
    }

    /// Sends the answer. Sizes are checked first; if it is too large the peer is told so.
    pub fn send(mut self, answer: Vec<u8>) -> Result<(), ReplyError> {
        let (limit, size) = (self.protocol.response_limit_bytes(), answer.len());
        if size > limit {
            self.answer(Answer::Refused(Refusal::TooLarge))?;
            return Err(ReplyError::TooLarge { protocol: self.protocol, limit, size });
        }
        self.answer(Answer::Bytes(answer))
    }

    /// Tells the peer why there is no answer.
    pub fn refuse(mut self, reason: Refusal) -> Result<(), ReplyError> {
        self.answer(Answer::Refused(reason))
    }

    /// The queue has a place for every request that may be in flight, so it is full for nobody.
    fn answer(&mut self, answer: Answer) -> Result<(), ReplyError> {
        let channel = self.channel.take().filter(ResponseChannel::is_open).ok_or(ReplyError::Gone)?;
        let reply = Reply { protocol: self.protocol, channel, answer };
        self.replies.try_send(reply).map_err(|_| ReplyError::Gone)
    }
}

impl Drop for ReplyHandle {
    fn drop(&mut self) {
        // After an answer the channel is gone and this does nothing.
        let _ = self.answer(Answer::Refused(Refusal::Unanswered));
    }
}

/// Speaks with the network. Cheap to clone; the network stops when the last one is dropped.
#[derive(Debug, Clone)]
pub struct NetworkHandle {
    pub(super) local: PeerId,
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) view: watch::Receiver<View>,
    pub(super) stop: CancellationToken,
    pub(super) _last_one_stops: Arc<DropGuard>,
}

impl NetworkHandle {
    /// Publishes a payload to every peer that listens. Best effort: `Ok` says that it was taken, not that it arrived,
    /// and what reaches nobody is counted. The same payload may be published again after [`REPUBLISH_AFTER`], to
    /// reach those who missed it; sooner than that it is counted and not sent.
    pub fn publish(&self, topic: Topic, payload: Vec<u8>) -> Result<(), PublishRefused> {
        let (limit, size) = (topic.limit_bytes(), payload.len());
        if size > limit {
            counters::publish_dropped(topic, "too_large");
            return Err(PublishRefused::TooLarge { topic, limit, size });
        }
        self.commands.try_send(Command::Publish { topic, payload }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                counters::publish_dropped(topic, "queue_full");
                PublishRefused::QueueFull { capacity: COMMAND_QUEUE }
            }
            mpsc::error::TrySendError::Closed(_) => PublishRefused::Stopped,
        })
    }

    /// Sends a message of agreement straight to every connected peer, if they are at most [`DIRECT_PEERS`]. Best effort:
    /// false says that it was not even taken.
    pub fn send_direct(&self, payload: Vec<u8>) -> bool {
        let few = self.view.borrow().peers.len() <= DIRECT_PEERS && payload.len() <= CONSENSUS_BYTES;
        few && self.commands.try_send(Command::Direct { payload: payload.into() }).is_ok()
    }

    /// Says what becomes of a gossiped message. A verdict that comes later than [`GOSSIP_HISTORY`] heartbeats
    /// forwards nothing any more.
    pub fn validate(&self, id: GossipId, verdict: Verdict) {
        let topic = id.topic;
        if self.commands.try_send(Command::Validate { id, verdict }).is_err() {
            counters::gossip_dropped(topic, "verdict_queue_full");
        }
    }

    /// Counts a fault of a peer against it. Where the network is behind it is forgotten, as strikes are in time.
    pub fn blame(&self, peer: PeerId, fault: Fault) {
        let _ = self.commands.try_send(Command::Blame { peer, fault });
    }

    /// Asks a connected peer, within the protocol's own deadline.
    pub async fn request(&self, peer: PeerId, protocol: Protocol, request: Vec<u8>) -> Result<Vec<u8>, RequestError> {
        self.request_within(peer, protocol, request, protocol.deadline()).await
    }

    /// Asks a connected peer, within a shorter deadline than the protocol's.
    pub async fn request_within(
        &self,
        peer: PeerId,
        protocol: Protocol,
        request: Vec<u8>,
        deadline: Duration,
    ) -> Result<Vec<u8>, RequestError> {
        let after = deadline.min(protocol.deadline());
        let outcome = match timeout(after, self.ask(peer, protocol, request)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(RequestError::TimedOut { protocol, after }),
        };
        counters::request_out(protocol, outcome.as_ref().map_or_else(RequestError::as_str, |_| "answered"));
        outcome
    }

    /// Asks a connected peer, and again a little later as long as it or this node has too much to do.
    pub async fn request_patiently(
        &self,
        peer: PeerId,
        protocol: Protocol,
        request: Vec<u8>,
    ) -> Result<Vec<u8>, RequestError> {
        let mut wait = BUSY_FIRST;
        for _ in 1..BUSY_TRIES {
            match self.request(peer, protocol, request.clone()).await {
                Err(error) if error.is_busy() => tokio::time::sleep(wait).await,
                outcome => return outcome,
            }
            wait = BUSY_LAST.min(wait * 2);
        }
        self.request(peer, protocol, request).await
    }

    async fn ask(&self, peer: PeerId, protocol: Protocol, request: Vec<u8>) -> Result<Vec<u8>, RequestError> {
        let (limit, size) = (protocol.request_limit_bytes(), request.len());
        if size > limit {
            return Err(RequestError::TooLarge { protocol, limit, size });
        }
        let (answer, answered) = oneshot::channel();
        let command = Command::Request { peer, protocol, request, answer };
        self.commands.try_send(command).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => RequestError::QueueFull { capacity: COMMAND_QUEUE },
            mpsc::error::TrySendError::Closed(_) => RequestError::Stopped,
        })?;
        answered.await.unwrap_or(Err(RequestError::Stopped))
    }

    /// The peers that were reported as connected and not as disconnected.
    pub fn peers(&self) -> Vec<PeerInfo> {
        self.view.borrow().peers.clone()
    }

    /// Who they are.
    pub fn peer_ids(&self) -> Vec<PeerId> {
        self.view.borrow().peers.iter().map(|peer| peer.peer).collect()
    }

    /// Where we can be reached.
    pub fn listening(&self) -> Vec<Multiaddr> {
        self.view.borrow().listening.clone()
    }

    /// Who we are.
    pub fn local_peer_id(&self) -> PeerId {
        self.local
    }

    /// Lets the last messages leave, closes the connections and returns once all is closed.
    pub async fn shutdown(&self) {
        self.stop.cancel();
        let mut view = self.view.clone();
        // The task owns the sender: it is gone when the task is.
        while view.changed().await.is_ok() {}
    }
}
