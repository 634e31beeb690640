//! The libp2p behaviours of a node and their settings.
//!
//! The order of the fields matters: whatever can refuse a connection stands first, because a behaviour that comes
//! before the refusal keeps what it noted about the connection.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use libp2p::{
    Swarm, SwarmBuilder, allow_block_list, connection_limits,
    connection_limits::ConnectionLimits,
    gossipsub::{
        self, IdentityTransform, MaxCountSubscriptionFilter, MessageAuthenticity, PeerScoreParams, PeerScoreThresholds,
        TopicScoreParams, ValidationMode, WhitelistSubscriptionFilter, score_parameter_decay,
    },
    identify,
    identity::Keypair,
    mdns, noise, ping, quic,
    request_response::{self, ProtocolSupport},
    swarm::{NetworkBehaviour, behaviour::toggle::Toggle},
    tcp, yamux,
};

use super::{
    NetworkConfig, StartError,
    constants::*,
    direct,
    frame::{self, FrameCodec},
    memory::MemoryGuard,
    names::{Names, Protocol, Topic},
};

pub(super) type Gossip = gossipsub::Behaviour<IdentityTransform, SubscriptionFilter>;
pub(super) type Requests = request_response::Behaviour<FrameCodec>;
type SubscriptionFilter = MaxCountSubscriptionFilter<WhitelistSubscriptionFilter>;

/// One request behaviour per protocol: each has its own limits and deadline, and a request names one protocol only.
#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    pub(super) limits: connection_limits::Behaviour,
    pub(super) memory: MemoryGuard,
    pub(super) bans: allow_block_list::Behaviour<allow_block_list::BlockedPeers>,
    pub(super) identify: identify::Behaviour,
    pub(super) ping: ping::Behaviour,
    pub(super) mdns: Toggle<mdns::tokio::Behaviour>,
    pub(super) gossip: Gossip,
    pub(super) direct: direct::Behaviour,
    pub(super) block: Requests,
    pub(super) object: Requests,
    pub(super) blob: Requests,
    pub(super) status: Requests,
}

impl Behaviour {
    pub(super) fn requests(&mut self, protocol: Protocol) -> &mut Requests {
        match protocol {
            Protocol::Block => &mut self.block,
            Protocol::Object => &mut self.object,
            Protocol::Blob => &mut self.blob,
            Protocol::Status => &mut self.status,
        }
    }

    fn new(keypair: &Keypair, names: &Names, config: &NetworkConfig) -> Result<Self, StartError> {
        let local = keypair.public().to_peer_id();
        let limits = ConnectionLimits::default()
            .with_max_pending_incoming(Some(CONNECTIONS_PENDING))
            .with_max_pending_outgoing(Some(CONNECTIONS_PENDING))
            .with_max_established_incoming(Some(CONNECTIONS_INBOUND))
            .with_max_established_outgoing(Some(CONNECTIONS_OUTBOUND))
            .with_max_established(Some(CONNECTIONS))
            .with_max_established_per_peer(Some(CONNECTIONS_PER_PEER));
        let identify = identify::Config::new(names.identity(), keypair.public())
            .with_agent_version(concat!("tributary/", env!("CARGO_PKG_VERSION")).to_owned())
            .with_push_listen_addr_updates(true);
        let ping = ping::Config::new().with_interval(PING_INTERVAL).with_timeout(PING_TIMEOUT);
        let mdns = match config.mdns {
            true => Some(mdns::tokio::Behaviour::new(mdns::Config::default(), local).map_err(StartError::Mdns)?),
            false => None,
        };
        Ok(Behaviour {
            limits: connection_limits::Behaviour::new(limits),
            memory: MemoryGuard::new(config.memory_limit_bytes),
            bans: allow_block_list::Behaviour::default(),
            identify: identify::Behaviour::new(identify),
            ping: ping::Behaviour::new(ping),
            mdns: mdns.into(),
            gossip: gossip(names)?,
            direct: direct::Behaviour::new(names.direct()?),
            block: requests(names, Protocol::Block)?,
            object: requests(names, Protocol::Object)?,
            blob: requests(names, Protocol::Blob)?,
            status: requests(names, Protocol::Status)?,
        })
    }
}

/// A swarm that speaks QUIC and TCP+noise+yamux, and listens nowhere yet.
pub(super) fn swarm(keypair: Keypair, names: &Names, config: &NetworkConfig) -> Result<Swarm<Behaviour>, StartError> {
    let behaviour = Behaviour::new(&keypair, names, config)?;
    let yamux = || {
        let mut yamux = yamux::Config::default();
        yamux.set_max_num_streams(STREAMS_PER_CONNECTION);
        yamux
    };
    let swarm = SwarmBuilder::with_existing_identity(keypair)
        .with_tokio()
        .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, yamux)
        .map_err(|error| StartError::Transport { detail: error.to_string() })?
        .with_quic_config(quic_limits)
        .with_behaviour(|_| behaviour)
        .map_err(|error| StartError::Transport { detail: error.to_string() })?
        .with_swarm_config(|swarm| swarm.with_idle_connection_timeout(CONNECTION_IDLE))
        .build();
    Ok(swarm)
}

fn quic_limits(mut quic: quic::Config) -> quic::Config {
    quic.max_concurrent_stream_limit = u32::try_from(STREAMS_PER_CONNECTION).unwrap_or(u32::MAX);
    quic.max_connection_data = QUIC_CONNECTION_BYTES;
    quic.max_stream_data = QUIC_STREAM_BYTES;
    quic.max_idle_timeout = u32::try_from(QUIC_SILENCE.as_millis()).unwrap_or(u32::MAX);
    quic.keep_alive_interval = QUIC_KEEP_ALIVE;
    quic
}

fn requests(names: &Names, protocol: Protocol) -> Result<Requests, StartError> {
    let settings = request_response::Config::default()
        .with_request_timeout(frame::transport_patience(protocol))
        .with_max_concurrent_streams(STREAMS_PER_PROTOCOL);
    let name = names.protocol(protocol)?;
    Ok(request_response::Behaviour::with_codec(FrameCodec::new(protocol), [(name, ProtocolSupport::Full)], settings))
}

fn gossip(names: &Names) -> Result<Gossip, StartError> {
    let failed = |detail: String| StartError::Gossip { detail };
    let mut settings = gossipsub::ConfigBuilder::default();
    settings
        .validation_mode(ValidationMode::Anonymous)
        .validate_messages()
        .message_id_fn(frame::message_id)
        .flood_publish(true)
        .heartbeat_interval(GOSSIP_HEARTBEAT)
        .heartbeat_initial_delay(GOSSIP_FIRST_HEARTBEAT)
        .history_length(GOSSIP_HISTORY)
        .history_gossip(GOSSIP_ADVERTISED)
        .mesh_n(MESH_WANTED)
        .mesh_n_low(MESH_LOW)
        .mesh_n_high(MESH_HIGH)
        .mesh_outbound_min(MESH_OUTBOUND)
        .duplicate_cache_time(GOSSIP_SEEN)
        .max_transmit_size(GOSSIP_RPC_BYTES)
        .max_publish_messages(GOSSIP_MESSAGES_PER_RPC)
        .max_control_messages_sent(GOSSIP_IDS_PER_CONTROL)
        .max_control_message_size(GOSSIP_CONTROL_BYTES)
        .connection_handler_queue_len(GOSSIP_PEER_QUEUE)
        .publish_queue_duration(GOSSIP_PUBLISH_EXPIRY)
        .forward_queue_duration(GOSSIP_FORWARD_EXPIRY)
        .idontwant_message_size_threshold(GOSSIP_IDONTWANT_BYTES);
    for topic in Topic::ALL {
        let largest = topic.limit_bytes() + GOSSIP_SALT_BYTES + GOSSIP_ENVELOPE_BYTES;
        settings.max_transmit_size_for_topic(largest, names.hash(topic));
    }
    let settings = settings.build().map_err(|error| failed(error.to_string()))?;
    let filter = MaxCountSubscriptionFilter {
        filter: WhitelistSubscriptionFilter(Topic::ALL.map(|topic| names.hash(topic)).into()),
        max_subscribed_topics: Topic::ALL.len(),
        max_subscriptions_per_request: 2 * Topic::ALL.len(),
    };
    let mut gossip = Gossip::new_with_subscription_filter(MessageAuthenticity::Anonymous, settings, filter)
        .map_err(|detail| failed(detail.to_owned()))?;
    let (scores, thresholds) = scoring(names);
    gossip.with_peer_score(scores, thresholds).map_err(failed)?;
    for topic in names.topics() {
        gossip.subscribe(topic).map_err(|error| failed(error.to_string()))?;
    }
    Ok(gossip)
}

/// Scores that punish what is provably a peer's fault and little else: silence is no fault on a quiet topic.
fn scoring(names: &Names) -> (PeerScoreParams, PeerScoreThresholds) {
    let faults_decay = score_parameter_decay(SCORE_DECAY);
    let topic = TopicScoreParams {
        topic_weight: SCORE_TOPIC_WEIGHT,
        time_in_mesh_weight: 0.0003,
        time_in_mesh_quantum: Duration::from_secs(1),
        time_in_mesh_cap: 3600.0,
        first_message_deliveries_weight: 0.5,
        first_message_deliveries_decay: score_parameter_decay(Duration::from_secs(600)),
        first_message_deliveries_cap: 100.0,
        mesh_message_deliveries_weight: 0.0,
        mesh_failure_penalty_weight: 0.0,
        invalid_message_deliveries_weight: SCORE_INVALID_WEIGHT,
        invalid_message_deliveries_decay: faults_decay,
        ..TopicScoreParams::default()
    };
    let topics: HashMap<_, _> = Topic::ALL.map(|each| (names.hash(each), topic.clone())).into();
    let loopback: HashSet<IpAddr> = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()].into();
    let scores = PeerScoreParams {
        topics,
        ip_colocation_factor_weight: SCORE_COLOCATED_WEIGHT,
        ip_colocation_factor_threshold: SCORE_COLOCATED,
        ip_colocation_factor_whitelist: loopback,
        behaviour_penalty_weight: SCORE_MANNERS_WEIGHT,
        behaviour_penalty_threshold: SCORE_MANNERS_FORGIVEN,
        behaviour_penalty_decay: faults_decay,
        retain_score: SCORE_RETAINED,
        ..PeerScoreParams::default()
    };
    let thresholds = PeerScoreThresholds {
        gossip_threshold: SCORE_GOSSIP,
        publish_threshold: SCORE_PUBLISH,
        graylist_threshold: SCORE_GRAYLIST,
        ..PeerScoreThresholds::default()
    };
    (scores, thresholds)
}
