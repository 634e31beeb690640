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

/// Waits until so many peers are there.
pub(super) async fn connected(network: &NetworkHandle, count: usize) {
    while network.peers().len() < count {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A peer that answers as it is told to.
pub(super) async fn answering(
    seed: u8,
    mut answer: impl FnMut(Request) -> Result<Response, Refusal> + Send + 'static,
) -> (Multiaddr, PeerId) {
    let (handle, mut events) = start(seed, Vec::new()).await;
    let id = handle.local_peer_id();
    let address = loop {
        if let Some(NetworkEvent::Listening { addr }) = events.recv().await {
            break addr.with(multiaddr::Protocol::P2p(id));
        }
    };
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
