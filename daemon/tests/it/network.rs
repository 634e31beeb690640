//! Nodes that speak over real sockets on loopback: what gets through, what does not, and what comes back.

use std::time::{Duration, Instant};

use daemon::network::{
    self, GossipId, NetworkConfig, NetworkEvent, NetworkHandle, Protocol, PublishRefused, Refusal, ReplyError,
    ReplyHandle, RequestError, StartError, Topic, Verdict, constants,
};
use libp2p::{Multiaddr, PeerId, multiaddr};
use tokio::{sync::mpsc, time::timeout};

mod hostile;
mod state_sync;

/// Far more than anything here takes; a test that needs it has failed.
const DEADLINE: Duration = Duration::from_secs(60);
/// How often a condition is looked at that nothing announces.
const LOOK: Duration = Duration::from_millis(20);
const GENESIS: &str = "0123abcd";

#[derive(Clone, Copy, Debug)]
enum Over {
    Tcp,
    Quic,
}

impl Over {
    fn any_port(self) -> Multiaddr {
        let address = match self {
            Over::Tcp => "/ip4/127.0.0.1/tcp/0",
            Over::Quic => "/ip4/127.0.0.1/udp/0/quic-v1",
        };
        address.parse().expect("an address")
    }
}

struct Node {
    handle: NetworkHandle,
    events: mpsc::Receiver<NetworkEvent>,
    /// Events that came while another one was waited for.
    passed: Vec<NetworkEvent>,
    /// The first address it listens on, with its peer id.
    address: Multiaddr,
}

fn config(seed: u8, listen: Multiaddr, peers: &[&Multiaddr]) -> NetworkConfig {
    NetworkConfig {
        keypair_seed: [seed; 32],
        listen: vec![listen],
        peers: peers.iter().map(|peer| (*peer).clone()).collect(),
        external: Vec::new(),
        mdns: false,
        network: "testnet".to_owned(),
        genesis8: GENESIS.to_owned(),
        memory_limit_bytes: None,
    }
}

impl Node {
    async fn start(config: NetworkConfig) -> Node {
        let _ = daemon::metrics::install();
        let start = Instant::now();
        let mut look = tokio::time::interval(LOOK);
        let (handle, events) = loop {
            match network::start(config.clone()).await {
                Ok(started) => break started,
                // The system may need a moment to give back the port of a node that stopped.
                Err(StartError::Listen { .. }) if start.elapsed() < DEADLINE => look.tick().await,
                Err(error) => panic!("{error}"),
            };
        };
        let mut node = Node { handle, events, passed: Vec::new(), address: Multiaddr::empty() };
        let listening = |event: &NetworkEvent| matches!(event, NetworkEvent::Listening { .. });
        if let NetworkEvent::Listening { addr } = node.wait("listening", listening).await {
            node.address = addr.with(multiaddr::Protocol::P2p(node.id()));
        }
        node
    }

    async fn over(over: Over, seed: u8, peers: &[&Multiaddr]) -> Node {
        Node::start(config(seed, over.any_port(), peers)).await
    }

    fn id(&self) -> PeerId {
        self.handle.local_peer_id()
    }

    /// The first event of a kind; others are kept for later.
    async fn wait(&mut self, what: &str, wanted: impl Fn(&NetworkEvent) -> bool) -> NetworkEvent {
        if let Some(place) = self.passed.iter().position(&wanted) {
            return self.passed.remove(place);
        }
        let found = timeout(DEADLINE, async {
            loop {
                let event = self.events.recv().await.expect("the network runs");
                if wanted(&event) {
                    return event;
                }
                self.passed.push(event);
            }
        });
        found.await.unwrap_or_else(|_| panic!("no {what} within {DEADLINE:?}"))
    }

    async fn connected(&mut self, other: PeerId) {
        self.wait("peer", |event| matches!(event, NetworkEvent::PeerConnected { peer } if *peer == other)).await;
    }

    async fn disconnected(&mut self, other: PeerId) {
        self.wait("farewell", |event| matches!(event, NetworkEvent::PeerDisconnected { peer } if *peer == other)).await;
    }

    async fn gossip(&mut self) -> (Topic, Vec<u8>, GossipId) {
        match self.wait("gossip", |event| matches!(event, NetworkEvent::Gossip { .. })).await {
            NetworkEvent::Gossip { topic, data, id, .. } => (topic, data, id),
            other => panic!("{other:?} is no gossip"),
        }
    }

    async fn direct(&mut self) -> (PeerId, Vec<u8>) {
        match self.wait("message", |event| matches!(event, NetworkEvent::Direct { .. })).await {
            NetworkEvent::Direct { peer, data } => (peer, data),
            other => panic!("{other:?} is no direct message"),
        }
    }

    async fn request(&mut self) -> (Protocol, Vec<u8>, ReplyHandle) {
        match self.wait("request", |event| matches!(event, NetworkEvent::Request { .. })).await {
            NetworkEvent::Request { protocol, data, reply, .. } => (protocol, data, reply),
            other => panic!("{other:?} is no request"),
        }
    }

    fn publish(&self, payload: &[u8]) {
        self.handle.publish(Topic::Consensus, payload.to_vec()).expect("taken");
    }
}

/// Two nodes that see each other.
async fn pair(over: Over) -> (Node, Node) {
    let mut a = Node::over(over, 1, &[]).await;
    let mut b = Node::over(over, 2, &[&a.address]).await;
    a.connected(b.id()).await;
    b.connected(a.id()).await;
    (a, b)
}

/// The counters of this process, as text. A process has one recorder: other tests of it may have installed it already.
fn counters() -> String {
    let _ = daemon::metrics::install();
    daemon::metrics::render()
}

/// The sum of a counter over all label sets that have these labels.
fn count(name: &str, labels: &[&str]) -> f64 {
    let rendered = counters();
    let lines = rendered.lines().filter(|line| line.starts_with(name) && labels.iter().all(|has| line.contains(has)));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let mut look = tokio::time::interval(LOOK);
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < DEADLINE, "{what}: not within {DEADLINE:?}\n{}", counters());
        look.tick().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn gossip_goes_on_only_when_it_is_accepted() {
    let mut b = Node::over(Over::Tcp, 2, &[]).await;
    let mut a = Node::over(Over::Tcp, 1, &[&b.address]).await;
    let mut c = Node::over(Over::Tcp, 3, &[&b.address]).await;
    for end in [&mut a, &mut c] {
        end.connected(b.id()).await;
        b.connected(end.id()).await;
    }
    let mut held = Vec::new();
    for payload in [&b"held back"[..], b"ignored", b"rejected", b"accepted"] {
        a.publish(payload);
        let (topic, data, id) = b.gossip().await;
        assert_eq!((topic, data.as_slice()), (Topic::Consensus, payload));
        match payload {
            b"ignored" => b.handle.validate(id, Verdict::Ignore("known")),
            b"rejected" => b.handle.validate(id, Verdict::Reject("bad_signature")),
            b"accepted" => b.handle.validate(id, Verdict::Accept),
            _ => held.push(id),
        }
    }
    // Were any of the first three forwarded, it would have come before.
    assert_eq!(c.gossip().await.1, b"accepted");
    b.handle.validate(held.remove(0), Verdict::Accept);
    assert_eq!(c.gossip().await.1, b"held back");
    until("the rejection is counted", || count("tributary_network_verdicts_total", &["bad_signature"]) >= 1.0).await;
    until("the strike shows", || b.handle.peers().iter().any(|peer| peer.peer == a.id() && peer.strikes == 20)).await;
}

/// Every connected peer gets every message once, in its order, over either transport, and nobody passes it on.
#[tokio::test(flavor = "multi_thread")]
async fn direct_messages_reach_each_connected_peer_in_order() {
    const MESSAGES: u32 = 100;
    let mut b = Node::over(Over::Tcp, 2, &[]).await;
    let mut a = Node::over(Over::Tcp, 1, &[&b.address]).await;
    let mut c = Node::over(Over::Quic, 3, &[&b.address]).await;
    for end in [&mut a, &mut c] {
        end.connected(b.id()).await;
        b.connected(end.id()).await;
    }
    let largest = vec![7; constants::CONSENSUS_BYTES];
    assert!(!b.handle.send_direct(vec![7; constants::CONSENSUS_BYTES + 1]), "too large for anybody");
    assert!(b.handle.send_direct(largest.clone()));
    for n in 0..MESSAGES {
        assert!(b.handle.send_direct(n.to_be_bytes().to_vec()));
    }
    assert!(a.handle.send_direct(b"of a".to_vec()));
    for end in [&mut a, &mut c] {
        assert_eq!(end.direct().await, (b.id(), largest.clone()));
        for n in 0..MESSAGES {
            assert_eq!(end.direct().await, (b.id(), n.to_be_bytes().to_vec()));
        }
    }
    assert_eq!(b.direct().await, (a.id(), b"of a".to_vec()));
    // Had b passed on what a said, it would have come to c before this.
    assert!(b.handle.send_direct(b"last".to_vec()));
    assert_eq!(c.direct().await, (b.id(), b"last".to_vec()));
}

#[tokio::test(flavor = "multi_thread")]
async fn four_nodes_all_hear_each_other_on_every_topic() {
    let mut nodes: Vec<Node> = Vec::new();
    for seed in 1..=4 {
        let known: Vec<&Multiaddr> = nodes.iter().map(|node| &node.address).collect();
        let over = if seed % 2 == 0 { Over::Tcp } else { Over::Quic };
        let node = Node::over(over, seed, &known).await;
        nodes.push(node);
    }
    let ids: Vec<PeerId> = nodes.iter().map(Node::id).collect();
    for node in &mut nodes {
        let own = node.id();
        for other in ids.iter().filter(|other| **other != own) {
            node.connected(*other).await;
        }
        assert_eq!(node.handle.peers().len(), 3);
    }
    for topic in Topic::ALL {
        for speaker in 0..4 {
            let payload = vec![u8::try_from(speaker).expect("small"); topic.limit_bytes()];
            nodes[speaker].handle.publish(topic, payload.clone()).expect("the limit itself is not too large");
            for listener in (0..4).filter(|listener| *listener != speaker) {
                let (heard, data, _) = nodes[listener].gossip().await;
                assert!(heard == topic && data == payload, "{listener} hears {speaker} on {topic:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_reaches_nobody_is_counted_and_what_is_too_large_is_refused() {
    let alone = Node::over(Over::Tcp, 1, &[]).await;
    alone.publish(b"is anybody there?");
    let nobody = || count("tributary_network_publish_dropped_total", &["consensus", "no_peers"]) >= 1.0;
    until("counted", nobody).await;
    for topic in Topic::ALL {
        let limit = topic.limit_bytes();
        let refused = alone.handle.publish(topic, vec![0; limit + 1]);
        assert_eq!(refused, Err(PublishRefused::TooLarge { topic, limit, size: limit + 1 }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_payload_can_be_published_again() {
    let (mut a, b) = pair(Over::Tcp).await;
    b.publish(b"vote");
    assert_eq!(a.gossip().await.1, b"vote");
    let start = Instant::now();
    let mut look = tokio::time::interval(LOOK);
    let again = timeout(DEADLINE, async {
        loop {
            tokio::select! {
                (_, data, _) = a.gossip() => return data,
                _ = look.tick() => b.publish(b"vote"),
            }
        }
    });
    assert_eq!(again.await.expect("it arrives a second time"), b"vote");
    assert!(start.elapsed() >= constants::REPUBLISH_AFTER, "not in a storm");
    assert!(count("tributary_network_publish_dropped_total", &["published_just_now"]) >= 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_answered_over_both_transports() {
    for over in [Over::Tcp, Over::Quic] {
        let (mut a, b) = pair(over).await;
        for protocol in Protocol::ALL {
            let question = vec![1; protocol.request_limit_bytes()];
            let answer = vec![2; protocol.response_limit_bytes()];
            let asked = b.handle.request(a.id(), protocol, question.clone());
            let answers = async {
                let (heard, data, reply) = a.request().await;
                assert!(heard == protocol && data == question);
                reply.send(answer.clone()).expect("the limit itself is not too large");
            };
            let (got, ()) = tokio::join!(asked, answers);
            assert!(got.expect("answered") == answer, "{protocol:?} over {over:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_requests_than_places_wait_their_turn() {
    let (mut a, b) = pair(Over::Tcp).await;
    let ids = (0..200_u32).map(|n| b.handle.request(a.id(), Protocol::Block, n.to_be_bytes().to_vec()));
    let asked = futures::future::join_all(ids);
    let answers = async {
        for _ in 0..200 {
            let (_, data, reply) = a.request().await;
            reply.send(data).expect("sent");
        }
    };
    let (got, ()) = tokio::join!(asked, answers);
    for (n, answer) in (0..200_u32).zip(got) {
        assert_eq!(answer.expect("answered"), n.to_be_bytes());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_fail_with_their_reason() {
    let (mut a, b) = pair(Over::Tcp).await;
    let ask = |bytes| b.handle.request(a.handle.local_peer_id(), Protocol::Blob, bytes);
    let (protocol, limit) = (Protocol::Blob, constants::BLOB_REQUEST_BYTES);

    let too_large = ask(vec![0; limit + 1]).await;
    assert_eq!(too_large, Err(RequestError::TooLarge { protocol, limit, size: limit + 1 }));
    let message = too_large.expect_err("refused").to_string();
    assert!(message.contains(&limit.to_string()), "{message} names the limit");

    let stranger = PeerId::random();
    let to_nobody = b.handle.request(stranger, protocol, Vec::new()).await;
    assert_eq!(to_nobody, Err(RequestError::NotConnected { peer: stranger }));

    // What each kind of answer becomes on the other side.
    let limit = constants::BLOB_RESPONSE_BYTES;
    let too_large = ReplyError::TooLarge { protocol, limit, size: limit + 1 };
    for (n, reason) in [Refusal::NotFound, Refusal::TooLarge, Refusal::Unanswered].into_iter().enumerate() {
        let answers = async {
            let (_, _, reply) = a.request().await;
            match reason {
                Refusal::TooLarge => assert_eq!(reply.send(vec![0; limit + 1]), Err(too_large)),
                Refusal::Unanswered => drop(reply),
                _ => reply.refuse(reason).expect("sent"),
            }
        };
        let question = b.handle.request(b.handle.peers()[0].peer, protocol, vec![u8::try_from(n).expect("small")]);
        let (got, ()) = tokio::join!(question, answers);
        assert_eq!(got, Err(RequestError::Refused { reason }));
    }

    let after = Duration::from_millis(200);
    let asked = b.handle.request_within(a.handle.local_peer_id(), protocol, Vec::new(), after);
    let (got, (_, _, reply)) = tokio::join!(asked, a.request());
    assert_eq!(got, Err(RequestError::TimedOut { protocol, after }));
    drop(reply);

    a.handle.shutdown().await;
    let to_the_gone = b.handle.request(a.handle.local_peer_id(), protocol, Vec::new()).await;
    assert!(
        matches!(to_the_gone, Err(RequestError::NotConnected { .. } | RequestError::ConnectionLost { .. })),
        "{to_the_gone:?}"
    );
    assert_eq!(a.handle.publish(Topic::Receipt, Vec::new()), Err(PublishRefused::Stopped));
}

/// A node that has much to ask, as one that fetches all content anew: it takes its time, and nobody blames it.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_wants_much_at_once_is_answered_and_not_blamed() {
    /// More than a peer answers at once.
    const WANTED: usize = 900;
    let (mut a, b) = pair(Over::Tcp).await;
    let (asker, to, server) = (b.id(), a.id(), a.handle.clone());
    let serving = tokio::spawn(async move {
        loop {
            let (_, data, reply) = a.request().await;
            // It may wait no longer.
            let _ = reply.send(data);
        }
    });
    let asked = (0..WANTED).map(|_| b.handle.request(to, Protocol::Blob, Vec::new()));
    let outcomes = futures::future::join_all(asked).await;
    let failed: Vec<_> = outcomes.into_iter().filter_map(Result::err).collect();
    assert_eq!(failed, [], "of {WANTED}");
    assert!(server.peers().iter().any(|peer| peer.peer == asker && peer.strikes == 0), "{:?}", server.peers());
    serving.abort();
}

/// A peer that refuses for now is asked again, and one that never answers is given up.
#[tokio::test(flavor = "multi_thread")]
async fn a_busy_peer_is_asked_again() {
    let (mut a, b) = pair(Over::Tcp).await;
    let answers = async {
        for reason in [Refusal::Busy, Refusal::RateLimited, Refusal::Busy] {
            let (_, _, reply) = a.request().await;
            reply.refuse(reason).expect("sent");
        }
        let (_, data, reply) = a.request().await;
        reply.send(data).expect("sent");
        let (_, _, reply) = a.request().await;
        reply.refuse(Refusal::NotFound).expect("sent");
        for _ in 0..constants::BUSY_TRIES {
            let (_, _, reply) = a.request().await;
            reply.refuse(Refusal::Busy).expect("sent");
        }
    };
    let to = b.handle.peers()[0].peer;
    let asks = async {
        let ask = || b.handle.request_patiently(to, Protocol::Blob, b"which".to_vec());
        assert_eq!(ask().await, Ok(b"which".to_vec()));
        assert_eq!(ask().await, Err(RequestError::Refused { reason: Refusal::NotFound }), "no is no");
        assert_eq!(ask().await, Err(RequestError::Refused { reason: Refusal::Busy }));
    };
    tokio::join!(answers, asks);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_receipts_does_not_starve_votes() {
    let (mut a, b) = pair(Over::Tcp).await;
    let full = || count("tributary_network_gossip_dropped_total", &["receipt", "event_queue_full"]) >= 1.0;
    let mut n = 0_u64;
    until("the receiver's queue is full", || {
        for _ in 0..200 {
            n += 1;
            // The publisher's own queue may be full as well.
            let _ = b.handle.publish(Topic::Receipt, n.to_be_bytes().to_vec());
        }
        full()
    })
    .await;
    b.publish(b"vote");
    let is_vote = |event: &NetworkEvent| matches!(event, NetworkEvent::Gossip { topic: Topic::Consensus, .. });
    a.wait("vote", is_vote).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_of_another_network_is_turned_away() {
    let mut a = Node::over(Over::Tcp, 1, &[]).await;
    let mut foreign = config(2, Over::Tcp.any_port(), &[&a.address]);
    foreign.genesis8 = "ffffffff".to_owned();
    let foreign = Node::start(foreign).await;
    let reason = ["reason=\"other_network\""];
    until("turned away", || count("tributary_network_turned_away_total", &reason) >= 1.0).await;
    foreign.publish(b"hello");

    let mut b = Node::over(Over::Tcp, 3, &[&a.address]).await;
    a.connected(b.id()).await;
    b.connected(a.id()).await;
    b.publish(b"ours");
    assert_eq!(a.gossip().await.1, b"ours");
    assert!(!a.passed.iter().any(|event| matches!(event, NetworkEvent::PeerConnected { .. })), "{:?}", a.passed);
    assert!(a.handle.peers().iter().all(|peer| peer.peer == b.id()));
    assert!(foreign.handle.peers().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_restarts_is_found_again() {
    for over in [Over::Tcp, Over::Quic] {
        let mut b = Node::over(over, 2, &[]).await;
        let mut a = Node::over(over, 1, &[&b.address]).await;
        a.connected(b.id()).await;
        b.connected(a.id()).await;
        let (address, id) = (b.address.clone(), b.id());
        b.handle.shutdown().await;
        a.disconnected(id).await;
        assert!(a.handle.peers().is_empty());

        let mut b = Node::start(config(2, bare(&address), &[])).await;
        assert_eq!(b.address, address);
        a.connected(id).await;
        b.connected(a.id()).await;
        speak_both_ways(&mut a, &mut b).await;
    }
}

/// A killed process says no goodbye over UDP, and is back before the other side has noticed. A second connection
/// that comes so late tells that the first is dead.
#[test]
fn a_peer_that_is_killed_and_restarts_is_heard_again() {
    killed_after(2 * constants::SIMULTANEOUS_DIAL);
    assert!(count("tributary_network_turned_away_total", &["connected_anew"]) >= 1.0);
}

/// Killed so soon that both connections could have been dialled at once: then the handshake's deadline tells.
#[test]
fn a_peer_that_is_killed_at_once_and_restarts_is_heard_again() {
    killed_after(Duration::ZERO);
}

fn killed_after(age: Duration) {
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let survivors = runtime().expect("a runtime");
    let killed = runtime().expect("a runtime");
    let mut a = survivors.block_on(Node::over(Over::Quic, 1, &[]));
    let mut b = killed.block_on(Node::over(Over::Quic, 2, &[&a.address]));
    survivors.block_on(a.connected(b.id()));
    killed.block_on(b.connected(a.id()));
    let connected = Instant::now();
    survivors.block_on(until("old enough", || connected.elapsed() >= age));
    let id = b.id();
    // Nothing of it runs any more, and nothing is closed.
    killed.shutdown_background();
    std::mem::forget(b);

    survivors.block_on(async {
        let mut b = Node::over(Over::Quic, 2, &[&a.address]).await;
        assert_eq!(b.id(), id);
        b.connected(a.id()).await;
        speak_both_ways(&mut a, &mut b).await;
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_named() {
    for over in [Over::Tcp, Over::Quic] {
        let first = Node::over(over, 1, &[]).await;
        match network::start(config(2, bare(&first.address), &[])).await {
            Err(StartError::Listen { address, .. }) => assert_eq!(address, bare(&first.address)),
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("two listen on {}", first.address),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_short_of_memory_takes_no_connections() {
    let mut short = config(1, Over::Tcp.any_port(), &[]);
    short.memory_limit_bytes = Some(1);
    let short = Node::start(short).await;
    let _other = Node::over(Over::Tcp, 2, &[&short.address]).await;
    until("refused", || count("tributary_network_turned_away_total", &["memory_short"]) >= 1.0).await;
    assert!(short.handle.peers().is_empty());
}

fn bare(address: &Multiaddr) -> Multiaddr {
    address.iter().filter(|part| !matches!(part, multiaddr::Protocol::P2p(_))).collect()
}

async fn speak_both_ways(a: &mut Node, b: &mut Node) {
    let mut look = tokio::time::interval(Duration::from_millis(200));
    let (mut a_heard, mut b_heard, mut n) = (false, false, 0_u32);
    let start = Instant::now();
    while !(a_heard && b_heard) {
        assert!(start.elapsed() < DEADLINE, "a heard: {a_heard}, b heard: {b_heard}");
        tokio::select! {
            _ = a.gossip() => a_heard = true,
            _ = b.gossip() => b_heard = true,
            _ = look.tick() => {
                n += 1;
                a.publish(&n.to_be_bytes());
                b.publish(&[&n.to_be_bytes()[..], b"b"].concat());
            }
        }
    }
}
