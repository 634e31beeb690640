//! A peer with a key of its own that speaks the network's protocols fluently, and lies. What it sends is refused with
//! its reason and counted, goes no further, and costs it its place; the network goes on.

use super::*;
use daemon::config::Config;
use daemon::keys::NodeKeys;
use daemon::network::{self, NetworkConfig, NetworkEvent, NetworkHandle, Topic};
use libp2p::{Multiaddr, PeerId, multiaddr};
use protocol::crypto::{Purpose, Signature};
use protocol::limits::MAX_GOSSIP_BYTES;
use protocol::wire::ConsensusMessage;
use std::collections::BTreeSet;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// A peer of the network that is none of its nodes.
struct Stranger {
    handle: NetworkHandle,
    events: mpsc::Receiver<NetworkEvent>,
    /// Gossip it heard.
    heard: Vec<(Topic, Vec<u8>)>,
    peers: BTreeSet<PeerId>,
}

impl Stranger {
    /// Joins, and is a peer of every node.
    async fn join(net: &Net, seed: u8) -> Self {
        let config = NetworkConfig {
            keypair_seed: [seed; 32],
            listen: vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()],
            peers: (0..net.devnet.len()).map(|i| address(net, i)).collect(),
            external: Vec::new(),
            mdns: false,
            network: net.devnet.network().to_owned(),
            genesis8: net.genesis.to_string()[..8].to_owned(),
            memory_limit_bytes: None,
        };
        let (handle, events) = network::start(config).await.unwrap();
        let mut stranger = Self { handle, events, heard: Vec::new(), peers: BTreeSet::new() };
        let nodes = net.devnet.len();
        stranger.wait("a peer of all", |stranger| stranger.peers.len() == nodes).await;
        stranger
    }

    async fn wait(&mut self, what: &str, enough: impl Fn(&Self) -> bool) {
        let waiting = async {
            while !enough(self) {
                match self.events.recv().await.expect("the network runs") {
                    NetworkEvent::PeerConnected { peer } => drop(self.peers.insert(peer)),
                    NetworkEvent::PeerDisconnected { peer } => drop(self.peers.remove(&peer)),
                    // Nothing is accepted, so nothing is passed on.
                    NetworkEvent::Gossip { topic, data, .. } => self.heard.push((topic, data)),
                    NetworkEvent::Direct { .. } | NetworkEvent::Request { .. } | NetworkEvent::Listening { .. } => {}
                }
            }
        };
        let waited = timeout(DEADLINE, waiting).await;
        assert!(waited.is_ok(), "not within {DEADLINE:?}: {what}");
    }

    fn heard(&self, payload: &[u8]) -> bool {
        self.heard.iter().any(|(_, data)| data == payload)
    }
}

/// Where node `i` listens for peers, over TCP, with its id.
fn address(net: &Net, i: usize) -> Multiaddr {
    let config = Config::load(net.devnet.home(i), [], &[]).unwrap();
    let id = network::peer_id(NodeKeys::load(&config).unwrap().node).unwrap();
    let over_tcp = |address: &&Multiaddr| address.to_string().contains("/tcp/");
    let address = config.network.listen.iter().find(over_tcp).unwrap();
    address.clone().with(multiaddr::Protocol::P2p(id))
}

/// The sum of a counter over all its labels that include those given, on one node.
pub(super) fn counted(net: &Net, i: usize, name: &str, labels: &[&str]) -> f64 {
    let text = net.api(i).get_text("/metrics").unwrap();
    let lines = text.lines().filter(|line| line.starts_with(name) && labels.iter().all(|label| line.contains(label)));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// What a crime sends, the reason that it must be refused with, and where that is counted.
struct Crime {
    name: &'static str,
    source: &'static str,
    reason: &'static str,
    payloads: Vec<(Topic, Vec<u8>)>,
}

/// Refused gossip costs 20 of the 100 strikes that a peer has.
const PAYLOADS: u8 = 6;
/// Messages of several epochs.
const LATER: usize = 50;

/// When votes that were not turned away from are sent anew.
const AGAIN: Duration = Duration::from_millis(200);

/// A vote, moved to a height that is near; anything else as it is.
fn near(net: &Net, payload: &[u8]) -> Vec<u8> {
    match wire::decode_consensus(payload) {
        Ok(ConsensusMessage::Vote(mut vote)) => {
            vote.height = net.height(0) + 2;
            wire::encode_consensus(&ConsensusMessage::Vote(vote))
        }
        _ => payload.to_vec(),
    }
}

fn crimes(net: &Net, vote: &ConsensusMessage, random: &mut Random) -> Vec<Crime> {
    let (erin, bob) = (net.key("erin"), net.key("bob").account());
    let encode = |envelope: &Envelope| wire::encode_envelopes(vec![envelope.clone()]);
    let each = |make: &mut dyn FnMut(u8) -> (Topic, Vec<u8>)| (0..PAYLOADS).map(make).collect::<Vec<_>>();
    let garbage = |random: &mut Random| -> Vec<u8> { (0..32).flat_map(|_| random.next().to_be_bytes()).collect() };

    let everywhere = |random: &mut Random| {
        let objects = Topic::ALL.into_iter().filter(|topic| *topic != Topic::Consensus).cycle();
        objects.take(PAYLOADS.into()).map(|topic| (topic, garbage(random))).collect::<Vec<_>>()
    };
    let forged = each(&mut |nonce| {
        let mut envelope = net.transfer(&erin, nonce.into(), bob, 1_000_000);
        envelope.signatures[0].1.0[random.below(32)] ^= 1;
        (Topic::Operation, encode(&envelope))
    });
    let one_of_many = each(&mut |nonce| {
        let mut envelopes: Vec<Envelope> = (0..9).map(|n| net.transfer(&erin, u64::from(nonce) + n, bob, 1)).collect();
        envelopes[random.below(9)].signatures[0].1.0[random.below(32)] ^= 1;
        (Topic::Operation, wire::encode_envelopes(envelopes))
    });
    let stolen = each(&mut |nonce| {
        let (mut envelope, thief) = (net.transfer(&erin, nonce.into(), bob, 1_000_000), SecretKey::from_seed([9; 32]));
        envelope.signatures[0].1 = thief.sign(Purpose::Author(envelope.kind), &net.genesis, &envelope.payload);
        (Topic::Operation, encode(&envelope))
    });
    let foreign = each(&mut |nonce| {
        let other = Hash32([7; 32]);
        (Topic::Operation, encode(&transfer(&erin, nonce.into(), bob, 1, net.object_fee, &other)))
    });
    let misplaced = each(&mut |nonce| (Topic::Receipt, encode(&net.transfer(&erin, nonce.into(), bob, 2))));
    let oversize = each(&mut |n| (Topic::Receipt, vec![n; MAX_GOSSIP_BYTES + 1]));
    let unknown_field = each(&mut |nonce| {
        let mut bytes = encode(&net.transfer(&erin, nonce.into(), bob, 3));
        bytes.extend([0x7a, 1, 0]);
        (Topic::Operation, bytes)
    });
    let mut votes = Vec::new();
    for n in 0..PAYLOADS {
        let mut vote = vote.clone();
        if let ConsensusMessage::Vote(vote) = &mut vote {
            vote.signature = Signature([n; 64]);
        }
        votes.push((Topic::Consensus, wire::encode_consensus(&vote)));
    }
    let noise = each(&mut |_| (Topic::Consensus, garbage(random)));
    let crime = |name, source, reason, payloads| Crime { name, source, reason, payloads };
    vec![
        crime("garbage on every topic", "gossip", "malformed", everywhere(random)),
        crime("garbage as votes", "consensus", "malformed", noise),
        crime("altered signatures", "gossip", "signature", forged),
        crime("one altered signature among good ones", "gossip", "signature", one_of_many),
        crime("money of others under a thief's signature", "gossip", "signature", stolen),
        crime("objects of another network", "gossip", "signature", foreign),
        crime("objects on another topic", "gossip", "topic", misplaced),
        crime("oversize objects", "gossip", "oversize", oversize),
        crime("unknown fields", "gossip", "malformed", unknown_field),
        crime("votes that nobody signed", "", "signature", votes),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_peer_is_refused_counted_not_passed_on_and_banned() {
    let mut random = Random::of_this_run();
    let net = Net::start(4, 100);
    let mut honest = Stranger::join(&net, 200).await;
    let a_vote = |data: &(Topic, Vec<u8>)| match wire::decode_consensus(&data.1) {
        Ok(vote @ ConsensusMessage::Vote(_)) => Some(vote),
        _ => None,
    };
    honest.wait("a vote", |honest| honest.heard.iter().any(|data| a_vote(data).is_some())).await;
    let vote = honest.heard.iter().find_map(a_vote).unwrap();

    for (key, crime) in (100_u8..).zip(crimes(&net, &vote, &mut random)) {
        let mut hostile = Stranger::join(&net, key).await;
        let (name, labels) = match crime.source {
            "" => ("tributary_network_verdicts_total", vec![format!("reason=\"{}\"", crime.reason)]),
            source => (
                "tributary_refused_total",
                vec![format!("source=\"{source}\""), format!("reason=\"{}\"", crime.reason)],
            ),
        };
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        let counts = |net: &Net| (0..4).map(|i| counted(net, i, name, &labels)).collect::<Vec<f64>>();
        let bans = |net: &Net| (0..4).map(|i| counted(net, i, "tributary_network_bans_total", &[])).sum::<f64>();
        let (before, banned_before) = (counts(&net), bans(&net));
        let (began, mut sent) = (Instant::now(), Vec::new());
        // Votes count only near the height that is agreed on, which moves on: more are sent until they meet it.
        while !hostile.peers.is_empty() {
            assert!(began.elapsed() < DEADLINE, "not all turn away from {}", crime.name);
            if sent.is_empty() || crime.source.is_empty() {
                for (topic, payload) in &crime.payloads {
                    let payload = near(&net, payload);
                    hostile.handle.publish(*topic, payload.clone()).unwrap();
                    sent.push(payload);
                }
            }
            let turned_away = hostile.wait("all turn away", |hostile| hostile.peers.is_empty());
            let _ = timeout(AGAIN, turned_away).await;
        }
        let after = counts(&net);
        assert!(before.iter().zip(&after).all(|(before, after)| after > before), "{}: {after:?}", crime.name);
        assert_eq!(bans(&net) - banned_before, 4.0, "{}: every node bans", crime.name);
        // What comes after it has come: had it been passed on, it would be here.
        let so_far = honest.heard.len();
        honest.wait("later gossip", |honest| honest.heard.len() >= so_far + LATER).await;
        for payload in &sent {
            assert!(!honest.heard(payload), "{} is passed on", crime.name);
        }
        eprintln!("{}: refused {after:?}", crime.name);
        hostile.handle.shutdown().await;
    }
    replays_change_nothing(&net, &mut honest).await;
    same_chain(&net);
}

/// A transfer that has been made is sent again, by a peer that did not make it: it is neither made twice nor blamed on
/// anybody, because honest peers are late too. Meanwhile what is honest arrives at everybody.
async fn replays_change_nothing(net: &Net, honest: &mut Stranger) {
    let (erin, bob) = (net.key("erin"), net.key("bob").account());
    let envelope = net.transfer(&erin, 0, bob, 5);
    let bytes = wire::encode_envelopes(vec![envelope.clone()]);
    let id = submit(&net.api(0), &envelope).unwrap();
    honest.wait("the transfer as gossip", |honest| honest.heard(&bytes)).await;
    for i in 0..4 {
        net.place(i, &id);
    }
    let shown = account(&net.api(1), erin.account());

    let replayer = Stranger::join(net, 150).await;
    let ignored = |i| counted(net, i, "tributary_network_verdicts_total", &["verdict=\"ignore\"", "topic=\"op\""]);
    let before: Vec<f64> = (0..4).map(ignored).collect();
    until("the replay, ignored by all", || {
        // The first copy is one that all have seen; later ones are sent as new.
        replayer.handle.publish(Topic::Operation, bytes.clone()).unwrap();
        (0..4).all(|i| ignored(i) > before[i]).then_some(())
    });
    let height = net.height(1);
    until("two more epochs", || (net.height(1) >= height + 2).then_some(()));
    assert_eq!(account(&net.api(1), erin.account()), shown);
    assert_eq!(replayer.handle.peers().len(), 4, "nobody is banned for being late");
}
