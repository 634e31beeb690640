//! Peers for tests of what is asked of them.

use crate::network::{self, NetworkConfig, NetworkEvent, NetworkHandle, Refusal};
use libp2p::{Multiaddr, PeerId, multiaddr};
use protocol::wire::{self, Request, Response};
use std::time::Duration;
use tokio::sync::mpsc;

/// A node's network that knows these peers.
pub(super) async fn start(seed: u8, peers: Vec<Multiaddr>) -> (NetworkHandle, mpsc::Receiver<NetworkEvent>) {
    let config = NetworkConfig {
        keypair_seed: [seed; 32],
        listen: vec!["/ip4/127.0.0.1/tcp/0".parse().expect("an address")],
        peers,
        external: Vec::new(),
        mdns: false,
        network: "testnet".to_owned(),
        genesis8: "0123abcd".to_owned(),
        memory_limit_bytes: None,
    };
    network::start(config).await.expect("a network")
}

/// Far more than anything takes.
const DEADLINE: Duration = Duration::from_secs(60);

/// Waits until something holds.
pub(super) async fn until(what: &str, holds: impl Fn() -> bool) {
    let looking = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, looking).await.unwrap_or_else(|_| panic!("not within {DEADLINE:?}: {what}"));
}

/// Waits until so many peers are there.
pub(super) async fn connected(network: &NetworkHandle, count: usize) {
    until("the peers connected", || network.peers().len() >= count).await;
}

/// Where a network listens.
pub(super) async fn listening(events: &mut mpsc::Receiver<NetworkEvent>) -> Multiaddr {
    loop {
        if let NetworkEvent::Listening { addr } = events.recv().await.expect("it runs") {
            return addr;
        }
    }
}

/// A peer that answers as it is told to.
pub(super) async fn answering(
    seed: u8,
    mut answer: impl FnMut(Request) -> Result<Response, Refusal> + Send + 'static,
) -> (Multiaddr, PeerId) {
    let (handle, mut events) = start(seed, Vec::new()).await;
    let id = handle.local_peer_id();
    let address = listening(&mut events).await.with(multiaddr::Protocol::P2p(id));
    tokio::spawn(async move {
        let _running = handle;
        while let Some(event) = events.recv().await {
            let NetworkEvent::Request { data, reply, .. } = event else { continue };
            let Ok(request) = wire::decode_request(&data) else { continue };
            // Whoever asked may have gone.
            let _ = match answer(request) {
                Ok(response) => reply.send(wire::encode_response(&response)),
                Err(reason) => reply.refuse(reason),
            };
        }
    });
    (address, id)
}
