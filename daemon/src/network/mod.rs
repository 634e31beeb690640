//! The libp2p layer: moves opaque bytes between the nodes of one network, and knows nothing of what they mean.
//!
//! - [`start`] gives a [`NetworkHandle`], which never waits but for a request's answer, and a queue of
//!   [`NetworkEvent`]s. One task owns the swarm.
//! - **Gossip** on five [`Topic`]s is best effort. A payload goes straight to every connected peer and from there on
//!   only when the driver of that node says [`Verdict::Accept`]. What is not sent or not delivered is counted by its
//!   reason; whatever must be complete is completed by requests. The same payload may be published again.
//! - **Direct** messages go to every connected peer over a stream of its own, if the peers are few; for agreement.
//! - **Requests** on four [`Protocol`]s go to one connected peer. They have limits, a deadline of our own and places
//!   for so many at once; a peer that will not answer says why.
//! - **Peers** are reported once they have said that they are of our network and genesis and listen to our topics,
//!   so that what is published afterwards reaches them. Configured peers are dialled until they are there.
//! - **Misbehaviour** costs strikes that decay; enough of them are a ban that ends. Gossip scores run beside it.
//!
//! Every name carries network, genesis and version (`names`), every bound is a named constant ([`constants`]), every
//! drop a metric (`counters`).

use std::{
    io,
    net::{IpAddr, TcpListener},
    sync::Arc,
};

use libp2p::{Multiaddr, PeerId, TransportError, identity::Keypair};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

mod behaviour;
pub mod constants;
mod counters;
mod dialer;
mod direct;
mod events;
mod frame;
mod handle;
mod memory;
mod names;
mod publications;
mod requests;
mod standing;
mod task;

pub use frame::Refusal;
pub use handle::{
    Fault, GossipId, NetworkEvent, NetworkHandle, PeerInfo, PublishRefused, ReplyError, ReplyHandle, RequestError,
    Verdict,
};
pub use names::{Protocol, Topic};

use names::Names;

/// What a node's network needs to know.
#[derive(Clone)]
pub struct NetworkConfig {
    /// The ed25519 seed of this node's identity among peers.
    pub keypair_seed: [u8; 32],
    /// Where to listen; port 0 takes any free one.
    pub listen: Vec<Multiaddr>,
    /// Peers to keep connected, best with `/p2p/<peer>` at the end.
    pub peers: Vec<Multiaddr>,
    /// Addresses under which others reach us, where they differ from `listen`.
    pub external: Vec<Multiaddr>,
    /// Whether to find peers in the local network by mDNS.
    pub mdns: bool,
    /// The network's name.
    pub network: String,
    /// The first eight hex digits of the genesis hash.
    pub genesis8: String,
    /// No connections are taken while this process uses more memory.
    pub memory_limit_bytes: Option<u64>,
}

/// Why the network did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A network's name or genesis cannot be part of a protocol's name.
    #[error(
        "{name:?} cannot be part of a protocol's name: use 1 to {} of A-Z a-z 0-9 - _",
        constants::NETWORK_NAME_BYTES
    )]
    Name {
        /// What was given.
        name: String,
    },
    /// The seed makes no key.
    #[error("the network key's seed is not usable: {detail}")]
    Key {
        /// What is wrong.
        detail: String,
    },
    /// More peers are configured than are kept connected.
    #[error("{count} peers are configured, at most {} are kept connected", constants::CONFIGURED_PEERS)]
    TooManyPeers {
        /// How many.
        count: usize,
    },
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: is the port taken, or the transport not QUIC or TCP?")]
    Listen {
        /// The address.
        address: Multiaddr,
        /// What the system says.
        #[source]
        source: TransportError<io::Error>,
    },
    /// The transports cannot be built.
    #[error("cannot build the transports: {detail}")]
    Transport {
        /// What is wrong.
        detail: String,
    },
    /// gossipsub refuses its settings.
    #[error("gossipsub refuses its settings: {detail}")]
    Gossip {
        /// What is wrong.
        detail: String,
    },
    /// mDNS cannot be started.
    #[error("mDNS cannot be started; turn it off where there is no multicast")]
    Mdns(#[source] io::Error),
    /// The system gives no randomness.
    #[error("the system gives no randomness: {detail}")]
    Randomness {
        /// What the system says.
        detail: String,
    },
}

/// The identity that a seed gives among peers.
pub fn peer_id(keypair_seed: [u8; 32]) -> Result<PeerId, StartError> {
    keypair(keypair_seed).map(|keypair| keypair.public().to_peer_id())
}

fn keypair(seed: [u8; 32]) -> Result<Keypair, StartError> {
    Keypair::ed25519_from_bytes(seed).map_err(|error| StartError::Key { detail: error.to_string() })
}

/// libp2p shares TCP ports: a second node on the same one would start, and take half of the first one's connections.
/// A plain listener is refused where another listens.
fn tcp_port_is_free(address: &Multiaddr) -> io::Result<()> {
    use libp2p::multiaddr::Protocol as Part;
    let mut parts = address.iter();
    let ip: IpAddr = match parts.next() {
        Some(Part::Ip4(ip)) => ip.into(),
        Some(Part::Ip6(ip)) => ip.into(),
        _ => return Ok(()),
    };
    match parts.next() {
        Some(Part::Tcp(port)) => TcpListener::bind((ip, port)).map(drop),
        _ => Ok(()),
    }
}

/// Starts the network inside the current tokio runtime. It stops by [`NetworkHandle::shutdown`], or when the last
/// handle or the receiver of events is dropped.
pub async fn start(config: NetworkConfig) -> Result<(NetworkHandle, mpsc::Receiver<NetworkEvent>), StartError> {
    let names = Names::new(&config.network, &config.genesis8)?;
    if config.peers.len() > constants::CONFIGURED_PEERS {
        return Err(StartError::TooManyPeers { count: config.peers.len() });
    }
    let keypair = keypair(config.keypair_seed)?;
    let local = keypair.public().to_peer_id();
    let first_salt = getrandom::u64().map_err(|error| StartError::Randomness { detail: error.to_string() })?;

    let mut swarm = behaviour::swarm(keypair, &names, &config)?;
    for address in &config.listen {
        let listening = tcp_port_is_free(address).map_err(TransportError::Other);
        let listening = listening.and_then(|()| swarm.listen_on(address.clone()));
        listening.map_err(|source| StartError::Listen { address: address.clone(), source })?;
    }
    for address in &config.external {
        swarm.add_external_address(address.clone());
    }

    let (commands, command_queue) = mpsc::channel(constants::COMMAND_QUEUE);
    let (events, event_queue) = mpsc::channel(constants::EVENT_QUEUE);
    let (view_sender, view) = watch::channel(handle::View::default());
    let stop = CancellationToken::new();
    let task = task::Task::new(swarm, names, &config.peers, first_salt, events, view_sender);
    tokio::spawn(task.run(command_queue, stop.clone()));

    let last_one_stops = Arc::new(stop.clone().drop_guard());
    Ok((NetworkHandle { local, commands, view, stop, _last_one_stops: last_one_stops }, event_queue))
}
