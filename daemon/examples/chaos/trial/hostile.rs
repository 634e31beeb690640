//! A peer that is none of the nodes, and sends what it should not: malformed, oversized, stolen and replayed objects.

use super::load::WRITERS;
use super::net::{DEADLINE, Net, listens};
use super::random::Random;
use anyhow::Context as _;
use daemon::network::{self, NetworkConfig, NetworkEvent, Topic};
use protocol::crypto::{Kind, Purpose, SecretKey};
use protocol::envelope::seal;
use protocol::limits::MAX_GOSSIP_BYTES;
use protocol::objects::{Action, Drops, Object, Operation};
use protocol::wire;
use std::collections::BTreeSet;
use tokio::time::timeout;

/// Refused gossip costs 20 of the 100 strikes that a peer has; one more, because a node may be busy with another.
const PAYLOADS: u8 = 6;

/// What a stranger joins with: a key of its own, made from `seed`.
pub(crate) fn stranger(net: &Net, seed: u8) -> anyhow::Result<NetworkConfig> {
    Ok(NetworkConfig {
        keypair_seed: [seed; 32],
        listen: vec!["/ip4/127.0.0.1/tcp/0".parse()?],
        peers: (0..net.nodes()).map(|i| listens(&net.devnet, i)).collect::<anyhow::Result<_>>()?,
        external: Vec::new(),
        mdns: false,
        network: net.devnet.network().to_owned(),
        genesis8: net.hash.to_string().chars().take(8).collect(),
        memory_limit_bytes: None,
    })
}

/// One peer's crime.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Crime {
    Malformed,
    Oversized,
    /// Somebody's money, under another's signature.
    Stolen,
    /// What has long been decided.
    Replayed,
}

impl Crime {
    pub(crate) const ALL: [Self; 4] = [Self::Malformed, Self::Oversized, Self::Stolen, Self::Replayed];

    fn payload(self, net: &Net, random: &mut Random, n: u8) -> anyhow::Result<(Topic, Vec<u8>)> {
        let noise = |random: &mut Random| (0..32).flat_map(|_| random.next().to_be_bytes()).collect::<Vec<u8>>();
        Ok(match self {
            Self::Malformed => {
                let topics: Vec<Topic> = Topic::ALL.into_iter().filter(|topic| *topic != Topic::Consensus).collect();
                (topics[usize::from(n) % topics.len()], noise(random))
            }
            Self::Oversized => {
                let mut bytes = vec![n; MAX_GOSSIP_BYTES + 1];
                bytes.splice(..8, random.next().to_be_bytes());
                (Topic::Receipt, bytes)
            }
            Self::Stolen => {
                let (victim, thief) = (net.key("alice"), SecretKey::from_seed([n; 32]));
                let action = Action::Transfer { to: thief.account(), amount: Drops::CREDIT };
                let fee = net.genesis.params.object_fee;
                let operation = Operation { account: victim.account(), nonce: random.next() % 8, fee, action };
                let mut envelope = seal(&Object::Operation(operation), &[&victim], &net.hash)?;
                let signature = thief.sign(Purpose::Author(Kind::Operation), &net.hash, &envelope.payload);
                envelope.signatures.iter_mut().for_each(|signed| signed.1 = signature);
                (Topic::Operation, wire::encode_envelopes(vec![envelope]))
            }
            Self::Replayed => {
                // The first thing that the first writer did.
                let (from, to) = (net.key(WRITERS[0]), net.key(WRITERS[1]).account());
                let fee = net.genesis.params.object_fee;
                let action = Action::Transfer { to, amount: Drops(1) };
                let operation = Operation { account: from.account(), nonce: 0, fee, action };
                (
                    Topic::Operation,
                    wire::encode_envelopes(vec![seal(&Object::Operation(operation), &[&from], &net.hash)?]),
                )
            }
        })
    }

    /// Commits the crime until every node has turned away; a replay is nobody's fault, and only has to change nothing.
    pub(crate) fn commit(self, net: &Net, random: &mut Random) -> anyhow::Result<()> {
        let payloads: Vec<_> = (0..PAYLOADS).map(|n| self.payload(net, random, n)).collect::<anyhow::Result<_>>()?;
        // A key that no earlier one has: nodes remember whom they banned.
        let mut config = stranger(net, 0)?;
        config.keypair_seed = std::array::from_fn(|_| random.next().to_be_bytes()[0]);
        let nodes = net.nodes();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let story = async {
            let (handle, mut events) = network::start(config).await?;
            let (mut peers, mut sent) = (BTreeSet::new(), false);
            loop {
                match events.recv().await.context("the stranger's own network ended")? {
                    NetworkEvent::PeerConnected { peer } => drop(peers.insert(peer)),
                    NetworkEvent::PeerDisconnected { peer } => drop(peers.remove(&peer)),
                    _ => {}
                }
                if peers.len() == nodes && !sent {
                    sent = true;
                    for (topic, payload) in &payloads {
                        handle.publish(*topic, payload.clone())?;
                    }
                }
                let done = sent && (peers.is_empty() || matches!(self, Self::Replayed));
                if done {
                    handle.shutdown().await;
                    return anyhow::Ok(());
                }
            }
        };
        // Inside, because a deadline needs the runtime's clock.
        let told = runtime.block_on(async { timeout(DEADLINE, story).await });
        let seconds = DEADLINE.as_secs();
        told.with_context(|| {
            format!("{self:?}: not all nodes turned away within {seconds} s, far beyond what it takes")
        })?
    }
}
