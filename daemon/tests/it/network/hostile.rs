//! Peers that speak libp2p and mean harm: nothing they send gets through, and they are shut out for it.

use std::io;

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, StreamExt};
use libp2p::{
    Multiaddr, StreamProtocol, Swarm, SwarmBuilder, gossipsub, identify,
    request_response::{self, ProtocolSupport},
    swarm::{NetworkBehaviour, SwarmEvent},
};

use super::*;

#[derive(NetworkBehaviour)]
struct Hostile {
    identify: identify::Behaviour,
    gossip: gossipsub::Behaviour,
    streams: request_response::Behaviour<Raw>,
}

/// Writes what it is given, as it is.
#[derive(Clone, Default)]
struct Raw;

impl request_response::Codec for Raw {
    type Protocol = StreamProtocol;
    type Request = Vec<u8>;
    type Response = Vec<u8>;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        self.read_response(&StreamProtocol::new("/"), io).await
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        let mut bytes = Vec::new();
        io.read_to_end(&mut bytes).await?;
        Ok(bytes)
    }

    async fn write_request<T>(&mut self, _: &StreamProtocol, io: &mut T, bytes: Vec<u8>) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        io.write_all(&bytes).await?;
        io.flush().await
    }

    async fn write_response<T>(&mut self, name: &StreamProtocol, io: &mut T, bytes: Vec<u8>) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        self.write_request(name, io, bytes).await
    }
}

fn name(kind: &str) -> String {
    format!("/tributary/testnet/{GENESIS}/{kind}/1")
}

/// A peer that says it is one of us, and opens streams of `protocol` to write whatever it likes.
fn hostile(victim: &Multiaddr, protocol: &str, listens: bool) -> Swarm<Hostile> {
    let settings = gossipsub::ConfigBuilder::default()
        .validation_mode(gossipsub::ValidationMode::None)
        .max_transmit_size(64 << 20)
        .message_id_fn(|message| blake3::hash(&message.data).as_bytes().to_vec().into())
        .build()
        .expect("settings");
    let mut gossip = gossipsub::Behaviour::new(gossipsub::MessageAuthenticity::Anonymous, settings).expect("gossipsub");
    if listens {
        gossip.subscribe(&gossipsub::IdentTopic::new(name("consensus"))).expect("subscribed");
    }
    let protocol = StreamProtocol::try_from_owned(protocol.to_owned()).expect("a name");
    let streams =
        request_response::Behaviour::new([(protocol, ProtocolSupport::Outbound)], request_response::Config::default());
    let mut swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(Default::default(), libp2p::noise::Config::new, libp2p::yamux::Config::default)
        .expect("transport")
        .with_behaviour(|key| {
            let says = format!("/tributary/testnet/{GENESIS}/1");
            let identify = identify::Behaviour::new(identify::Config::new(says, key.public()));
            Hostile { identify, gossip, streams }
        })
        .expect("behaviour")
        .with_swarm_config(|swarm| swarm.with_idle_connection_timeout(DEADLINE))
        .build();
    swarm.dial(victim.clone()).expect("dials");
    swarm
}

/// Lets the hostile peer act on every beat until the victim ends the connection.
async fn attack(mut swarm: Swarm<Hostile>, mut act: impl FnMut(&mut Swarm<Hostile>, u64)) {
    let mut beat = tokio::time::interval(LOOK);
    let mut n = 0;
    let attacked = timeout(DEADLINE, async {
        loop {
            tokio::select! {
                event = swarm.select_next_some() => {
                    if let SwarmEvent::ConnectionClosed { .. } = event {
                        return;
                    }
                }
                _ = beat.tick() => {
                    n += 1;
                    act(&mut swarm, n);
                }
            }
        }
    });
    let ended = attacked.await;
    assert!(ended.is_ok(), "the victim does not end the connection\n{}", counters());
}

/// The first gossip and the first request that the victim hears are those of an honest peer.
async fn hears_only_the_honest(victim: &mut Node) {
    let mut honest = Node::over(Over::Tcp, 9, &[&victim.address]).await;
    victim.connected(honest.id()).await;
    honest.connected(victim.id()).await;
    honest.publish(b"honest");
    assert_eq!(victim.gossip().await.1, b"honest");
    let asked = honest.handle.request(victim.handle.local_peer_id(), Protocol::Status, b"honest".to_vec());
    let answers = async {
        let (_, data, reply) = victim.request().await;
        assert_eq!(data, b"honest");
        reply.send(data).expect("sent");
    };
    let (got, ()) = tokio::join!(asked, answers);
    assert_eq!(got.expect("answered"), b"honest");
}

fn bans(reason: &str) -> f64 {
    count("tributary_network_bans_total", &[&format!("reason=\"{reason}\"")])
}

#[tokio::test(flavor = "multi_thread")]
async fn oversize_gossip_gets_its_sender_banned() {
    let mut victim = Node::over(Over::Tcp, 1, &[]).await;
    let topic = gossipsub::IdentTopic::new(name("consensus"));
    attack(hostile(&victim.address, "/nothing", true), |swarm, n| {
        let mut message = vec![0; 2 * constants::CONSENSUS_BYTES];
        message[8..16].copy_from_slice(&n.to_be_bytes());
        // Until the victim listens there is nobody to publish to.
        let _ = swarm.behaviour_mut().gossip.publish(topic.hash(), message);
    })
    .await;
    until("banned", || bans("graylisted") >= 1.0).await;
    hears_only_the_honest(&mut victim).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gossip_without_a_frame_gets_its_sender_banned() {
    let mut victim = Node::over(Over::Tcp, 1, &[]).await;
    let topic = gossipsub::IdentTopic::new(name("consensus"));
    attack(hostile(&victim.address, "/nothing", true), |swarm, n| {
        let _ = swarm.behaviour_mut().gossip.publish(topic.hash(), n.to_be_bytes()[1..].to_vec());
    })
    .await;
    until("banned", || bans("malformed_gossip") >= 1.0).await;
    hears_only_the_honest(&mut victim).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_get_their_sender_banned() {
    let mut victim = Node::over(Over::Tcp, 1, &[]).await;
    let id = victim.id();
    attack(hostile(&victim.address, &name("block"), true), |swarm, _| {
        // Four gigabytes are announced, and never sent.
        swarm.behaviour_mut().streams.send_request(&id, vec![0xff, 0xff, 0xff, 0xff, 1, 2, 3]);
    })
    .await;
    until("banned", || bans("malformed_frame") >= 1.0).await;
    hears_only_the_honest(&mut victim).await;
}

/// A burst beyond the rate is refused and forgiven; a flood that goes on is not.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_requests_gets_its_sender_banned() {
    let mut victim = Node::over(Over::Tcp, 1, &[]).await;
    let id = victim.id();
    attack(hostile(&victim.address, &name("status"), true), |swarm, _| {
        for _ in 0..40 {
            swarm.behaviour_mut().streams.send_request(&id, vec![0, 0, 0, 0]);
        }
    })
    .await;
    until("banned", || bans("rate_limited") >= 1.0).await;
    // Those within the rate came through.
    victim.passed.retain(|event| !matches!(event, NetworkEvent::Request { .. }));
    while let Ok(event) = victim.events.try_recv() {
        if !matches!(event, NetworkEvent::Request { .. }) {
            victim.passed.push(event);
        }
    }
    hears_only_the_honest(&mut victim).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_direct_messages_get_their_sender_banned() {
    let mut victim = Node::over(Over::Tcp, 1, &[]).await;
    let id = victim.id();
    attack(hostile(&victim.address, &name("direct"), true), |swarm, _| {
        // The first frame may hold anything; the second announces four gigabytes.
        swarm.behaviour_mut().streams.send_request(&id, vec![0, 0, 0, 1, 9, 0xff, 0xff, 0xff, 0xff, 1, 2]);
    })
    .await;
    until("banned", || bans("malformed_message") >= 1.0).await;
    hears_only_the_honest(&mut victim).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_in_place_of_gossip_gets_nothing_through() {
    let mut victim = Node::over(Over::Tcp, 1, &[]).await;
    let id = victim.id();
    // It never says what it listens to, so it never becomes a peer and is turned away in time.
    attack(hostile(&victim.address, "/meshsub/1.2.0", false), |swarm, n| {
        let mut garbage = blake3::hash(&n.to_be_bytes()).as_bytes().repeat(64);
        if n % 2 == 0 {
            garbage[..10].fill(0xff);
        }
        swarm.behaviour_mut().streams.send_request(&id, garbage);
    })
    .await;
    assert!(victim.handle.peers().is_empty());
    hears_only_the_honest(&mut victim).await;
}
