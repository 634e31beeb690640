//! The task that owns the swarm: one loop over what libp2p reports, what the daemon wants, and the time.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use futures::StreamExt;
use libp2p::{
    Multiaddr, PeerId, Swarm,
    gossipsub::{MessageAcceptance, PublishError},
    swarm::ConnectionId,
};
use tokio::{
    sync::{Semaphore, mpsc, watch},
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    behaviour::Behaviour,
    constants::*,
    counters,
    dialer::Dialer,
    direct,
    frame::{self, Answer, Question},
    handle::{Command, GossipId, NetworkEvent, PeerInfo, Reply, RequestError, Verdict, View},
    names::{Names, Protocol, Topic},
    publications::Publications,
    requests::{Inbound, Outbound, REPLY_QUEUE},
    standing::{Misdeed, Standings},
};

/// A peer with at least one connection.
#[derive(Debug, Default)]
pub(super) struct Peer {
    pub(super) connections: BTreeMap<ConnectionId, Connection>,
    /// It said that it is of our network.
    pub(super) identified: bool,
    /// It listens to our topics.
    pub(super) subscribed: bool,
    pub(super) ping_failures: u32,
    /// We are closing its connections.
    pub(super) turned_away: bool,
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) address: Multiaddr,
    pub(super) since: Instant,
}

impl Peer {
    pub(super) fn is_ready(&self) -> bool {
        self.identified && self.subscribed && !self.turned_away
    }

    fn since(&self) -> Option<Instant> {
        self.connections.values().map(|connection| connection.since).min()
    }
}

pub(super) struct Task {
    pub(super) swarm: Swarm<Behaviour>,
    pub(super) names: Names,
    pub(super) dialer: Dialer,
    pub(super) standings: Standings,
    pub(super) peers: BTreeMap<PeerId, Peer>,
    pub(super) outbound: Outbound,
    pub(super) inbound: Inbound,
    pub(super) events: mpsc::Sender<NetworkEvent>,
    pub(super) replies: mpsc::Sender<Reply>,
    pub(super) unjudged: Arc<Semaphore>,
    reply_queue: mpsc::Receiver<Reply>,
    publications: Publications,
    /// The peers that the driver knows of.
    announced: BTreeSet<PeerId>,
    view: watch::Sender<View>,
}

impl Task {
    pub(super) fn new(
        mut swarm: Swarm<Behaviour>,
        names: Names,
        peers: &[Multiaddr],
        first_salt: u64,
        events: mpsc::Sender<NetworkEvent>,
        view: watch::Sender<View>,
    ) -> Self {
        let dialer = Dialer::new(peers, *swarm.local_peer_id(), Instant::now());
        for peer in dialer.named() {
            swarm.behaviour_mut().limits.bypass_peer_id(&peer);
        }
        let (replies, reply_queue) = mpsc::channel(REPLY_QUEUE);
        Task {
            swarm,
            names,
            dialer,
            standings: Standings::default(),
            peers: BTreeMap::new(),
            outbound: Outbound::default(),
            inbound: Inbound::default(),
            events,
            replies,
            unjudged: Arc::new(Semaphore::new(GOSSIP_UNJUDGED_BYTES)),
            reply_queue,
            publications: Publications::new(first_salt),
            announced: BTreeSet::new(),
            view,
        }
    }

    /// Runs until it is told to stop, or nobody receives the events any more.
    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>, stop: CancellationToken) {
        let mut dial_tick = interval(DIAL_TICK);
        let mut care_tick = interval(CARE_TICK);
        dial_tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        care_tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let events = self.events.clone();
        loop {
            tokio::select! {
                event = self.swarm.select_next_some() => self.on_swarm_event(event, Instant::now()),
                Some(command) = commands.recv() => self.on_command(command, Instant::now()),
                Some(reply) = self.reply_queue.recv() => self.on_reply(reply),
                _ = dial_tick.tick() => self.on_dial_tick(Instant::now()),
                _ = care_tick.tick() => self.on_care_tick(Instant::now()),
                () = stop.cancelled() => break,
                () = events.closed() => break,
            }
            self.announce(Instant::now());
        }
        self.finish(commands).await;
    }

    fn on_command(&mut self, command: Command, now: Instant) {
        match command {
            Command::Publish { topic, payload } => self.publish(topic, &payload, now),
            Command::Validate { id, verdict } => self.judge(&id, verdict, now),
            Command::Blame { peer, fault } => self.misbehaved(peer, Misdeed::Content(fault), now),
            Command::Direct { payload } => self.send_direct(&payload),
            Command::Request { peer, answer, .. } if !self.swarm.is_connected(&peer) => {
                let _ = answer.send(Err(RequestError::NotConnected { peer }));
            }
            Command::Request { answer, .. } if self.outbound.is_full() => {
                let _ = answer.send(Err(RequestError::TooManyInFlight { limit: REQUESTS_OUT }));
            }
            Command::Request { peer, protocol, request, answer } => {
                self.outbound.queue(peer, protocol, request, answer);
                self.send_requests(peer, protocol, now);
            }
        }
    }

    fn publish(&mut self, topic: Topic, payload: &[u8], now: Instant) {
        let id = frame::payload_id(topic.as_str(), payload);
        let Some(salt) = self.publications.salt(&id, now) else {
            counters::publish_dropped(topic, "published_just_now");
            return;
        };
        let message = frame::gossip(salt, payload);
        let published = self.swarm.behaviour_mut().gossip.publish(self.names.hash(topic), message);
        // gossipsub forgets only what found no peers; all else it would drop as a duplicate next time.
        if !matches!(published, Err(PublishError::NoPeersSubscribedToTopic)) {
            self.publications.remember(id, now);
        }
        let reason = match published {
            Ok(_) => return counters::published(topic),
            Err(PublishError::NoPeersSubscribedToTopic) => "no_peers",
            Err(PublishError::AllQueuesFull(_)) => "peer_queues_full",
            Err(PublishError::Duplicate) => "already_known",
            Err(PublishError::MessageTooLarge) => "too_large",
            Err(_) => "failed",
        };
        tracing::debug!(topic = topic.as_str(), reason, "a publication was not sent");
        counters::publish_dropped(topic, reason);
    }

    fn send_direct(&mut self, payload: &direct::Payload) {
        let ready = self.peers.iter().filter(|(_, peer)| peer.is_ready()).take(DIRECT_PEERS);
        for peer in ready.map(|(id, _)| *id) {
            if !self.swarm.behaviour_mut().direct.send(peer, payload.clone()) {
                counters::direct_dropped("queue_full");
            }
        }
    }

    fn judge(&mut self, id: &GossipId, verdict: Verdict, now: Instant) {
        let (acceptance, word, reason) = match verdict {
            Verdict::Accept => (MessageAcceptance::Accept, "accept", ""),
            Verdict::Reject(reason) => (MessageAcceptance::Reject, "reject", reason),
            Verdict::Ignore(reason) => (MessageAcceptance::Ignore, "ignore", reason),
        };
        counters::judged(id.topic, word, reason);
        let gossip = &mut self.swarm.behaviour_mut().gossip;
        if !gossip.report_message_validation_result(&id.message, &id.source, acceptance) {
            counters::gossip_dropped(id.topic, "judged_too_late");
        }
        if let Verdict::Reject(reason) = verdict {
            tracing::info!(peer = %id.source, topic = id.topic.as_str(), reason, "gossip rejected");
            self.misbehaved(id.source, Misdeed::RejectedGossip, now);
        }
    }

    /// Sends this peer as many of the waiting requests as it is their turn.
    pub(super) fn send_requests(&mut self, peer: PeerId, protocol: Protocol, now: Instant) {
        while let Some((request, asker)) = self.outbound.next(peer, protocol, now) {
            let id = self.swarm.behaviour_mut().requests(protocol).send_request(&peer, Question::Bytes(request));
            self.outbound.sent(peer, protocol, id, asker);
        }
    }

    fn on_reply(&mut self, reply: Reply) {
        let outcome = match &reply.answer {
            Answer::Bytes(_) => "answered",
            Answer::Refused(reason) => reason.as_str(),
        };
        let sent = self.swarm.behaviour_mut().requests(reply.protocol).send_response(reply.channel, reply.answer);
        counters::request_in(reply.protocol, if sent.is_ok() { outcome } else { "gone" });
    }

    fn on_dial_tick(&mut self, now: Instant) {
        for (peer, protocol) in self.outbound.waiting() {
            self.send_requests(peer, protocol, now);
        }
        let swarm = &self.swarm;
        for dial in self.dialer.due(now, |peer| swarm.is_connected(peer)) {
            let connection = dial.connection_id();
            if let Err(error) = self.swarm.dial(dial) {
                tracing::debug!(%error, "a configured peer cannot be dialled now");
                self.dialer.on_dial_failed(connection, now);
            }
        }
    }

    fn on_care_tick(&mut self, now: Instant) {
        for peer in self.standings.expire(now) {
            self.swarm.behaviour_mut().bans.unblock_peer(peer);
            tracing::info!(%peer, "the ban is over");
        }
        let silent = |peer: &Peer| {
            let waited = peer.since().map(|since| now.saturating_duration_since(since));
            !peer.is_ready() && !peer.turned_away && waited.is_some_and(|waited| waited >= HANDSHAKE)
        };
        let late: Vec<PeerId> = self.peers.iter().filter(|(_, peer)| silent(peer)).map(|(id, _)| *id).collect();
        for peer in late {
            self.misbehaved(peer, Misdeed::NoHandshake, now);
            self.turn_away(peer, Misdeed::NoHandshake.as_str());
        }
        let gossip = &self.swarm.behaviour().gossip;
        let below = |peer: &&PeerId| gossip.peer_score(peer).is_some_and(|score| score < SCORE_GRAYLIST);
        let graylisted: Vec<PeerId> = self.peers.keys().filter(below).copied().collect();
        for peer in graylisted {
            self.misbehaved(peer, Misdeed::Graylisted, now);
        }
        self.inbound.forget_old(now);
        self.outbound.forget_abandoned(now);
        self.show(now);
    }

    /// Counts a misdeed, and bans the peer if it was one too many.
    pub(super) fn misbehaved(&mut self, peer: PeerId, misdeed: Misdeed, now: Instant) {
        let reason = misdeed.as_str();
        counters::strike(reason);
        if self.standings.strike(peer, misdeed, now) {
            counters::ban(reason);
            tracing::warn!(%peer, reason, seconds = BAN.as_secs(), "peer banned");
            self.swarm.behaviour_mut().bans.block_peer(peer);
            if let Some(peer) = self.peers.get_mut(&peer) {
                peer.turned_away = true;
            }
        }
    }

    /// Closes all connections with a peer.
    pub(super) fn turn_away(&mut self, peer: PeerId, reason: &'static str) {
        counters::turned_away(reason);
        tracing::info!(%peer, reason, "connection closed");
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.turned_away = true;
        }
        // An error says that there is no connection any more.
        let _ = self.swarm.disconnect_peer_id(peer);
    }

    /// Tells the driver who came and who went since it was told last. If its queue is full it is told later, and of
    /// what came and went in between not at all.
    fn announce(&mut self, now: Instant) {
        let ready = |id: &PeerId| self.peers.get(id).is_some_and(Peer::is_ready);
        let gone: Vec<PeerId> = self.announced.iter().filter(|id| !ready(id)).copied().collect();
        let new = self.peers.iter().filter(|(id, peer)| peer.is_ready() && !self.announced.contains(id));
        let new: Vec<PeerId> = new.map(|(id, _)| *id).collect();
        if gone.is_empty() && new.is_empty() {
            return;
        }
        // What is shown is true by the time the driver hears of it.
        let events = self.events.clone();
        let mut told = Vec::with_capacity(gone.len() + new.len());
        for peer in gone {
            let Ok(place) = events.try_reserve() else { break };
            self.announced.remove(&peer);
            told.push((place, NetworkEvent::PeerDisconnected { peer }));
        }
        for peer in new {
            let Ok(place) = events.try_reserve() else { break };
            self.announced.insert(peer);
            told.push((place, NetworkEvent::PeerConnected { peer }));
        }
        self.show(now);
        for (place, event) in told {
            place.send(event);
        }
    }

    /// Renews what [`super::NetworkHandle::peers`] shows.
    pub(super) fn show(&mut self, now: Instant) {
        let mut shown = Vec::with_capacity(self.announced.len());
        for id in &self.announced {
            let Some(peer) = self.peers.get(id) else { continue };
            let strikes = self.standings.strikes(id, now);
            let gossip = &mut self.swarm.behaviour_mut().gossip;
            gossip.set_application_score(id, -f64::from(strikes));
            let score = gossip.peer_score(id).unwrap_or_default();
            #[expect(clippy::cast_possible_truncation, reason = "a float beyond i64 becomes its nearest end")]
            let score = score.round() as i64;
            let addresses = peer.connections.values().map(|connection| connection.address.clone()).collect();
            shown.push(PeerInfo { peer: *id, addresses, score, strikes });
        }
        counters::peers(shown.len());
        let listening = self.swarm.listeners().cloned().collect();
        self.view.send_replace(View { peers: shown, listening });
    }

    /// Lets what was published leave, then closes the connections.
    async fn finish(mut self, mut commands: mpsc::Receiver<Command>) {
        commands.close();
        while let Ok(command) = commands.try_recv() {
            self.on_command(command, Instant::now());
        }
        while let Ok(reply) = self.reply_queue.try_recv() {
            self.on_reply(reply);
        }
        let _ = timeout(LINGER, async {
            loop {
                self.swarm.select_next_some().await;
            }
        })
        .await;
        let connected: Vec<PeerId> = self.swarm.connected_peers().copied().collect();
        for peer in connected {
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        let _ = timeout(CLOSING, async {
            while self.swarm.connected_peers().next().is_some() {
                self.swarm.select_next_some().await;
            }
        })
        .await;
    }
}
