//! The effects that reach the network, the content and the listeners. Each is handed to a task or thread of its own:
//! nothing here waits.

use super::content::Content;
use super::driver::{DriverHandle, Outside};
use super::publisher::Publisher;
use crate::network::{GossipId, NetworkHandle, Protocol, Topic, Verdict};
use libp2p::PeerId;
use protocol::block::Block;
use protocol::crypto::Kind;
use protocol::ids::BlockId;
use protocol::node::{self, Effect, Input, Notice, Peer};
use protocol::objects::Envelope;
use protocol::wire::{self, Request, Response};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{broadcast, watch};

/// Milliseconds between two rounds of asking peers for a proposed block.
const FETCH_RETRY: Duration = Duration::from_millis(40);
/// Rounds of asking before a proposed block is given up; its round of agreement is over long before.
const FETCH_ROUNDS: u32 = 200;
/// How long one peer may take to answer with a proposed block before the next is asked.
const FETCH_PATIENCE: Duration = Duration::from_secs(2);
/// Proposed blocks that are offered at once; older heights leave when a new one is committed.
const MAX_OFFERED: usize = 128;

/// Encoded blocks that peers may ask for by id before they are decided.
#[derive(Clone, Default)]
pub struct Offered(Arc<Mutex<BTreeMap<BlockId, (u64, Block)>>>);

impl Offered {
    /// The block, if it is offered.
    pub fn get(&self, id: &BlockId) -> Option<Block> {
        self.lock().get(id).map(|(_, block)| block.clone())
    }

    fn offer(&self, block: Block) {
        let mut offered = self.lock();
        if offered.len() < MAX_OFFERED {
            offered.insert(block.id(), (block.header.height, block));
        }
    }

    /// Forgets what is older than the block just committed: that one is served from disk.
    fn committed(&self, height: u64) {
        self.lock().retain(|_, (offered, _)| *offered >= height);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<BlockId, (u64, Block)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the driver's effects go.
pub struct Wiring {
    /// The network.
    pub network: NetworkHandle,
    /// Blocks on offer.
    pub offered: Offered,
    /// Objects on their way out.
    pub publisher: Publisher,
    /// Fetches, indexes and searches content.
    pub content: Content,
    /// Gives inputs back.
    pub driver: DriverHandle,
    /// Where tasks run.
    pub runtime: Handle,
    /// Whoever listens.
    pub notices: broadcast::Sender<Arc<Notice>>,
    /// The last committed height, for tasks to see when they are no longer needed.
    pub height: watch::Sender<u64>,
}

impl Outside for Wiring {
    fn judge(&mut self, id: GossipId, verdict: node::Verdict) {
        let verdict = match verdict {
            node::Verdict::Accept => Verdict::Accept,
            node::Verdict::Reject(word) => Verdict::Reject(word),
            node::Verdict::Ignore(word) => Verdict::Ignore(word),
        };
        self.network.validate(id, verdict);
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::PublishObject(envelope) => self.publisher.publish(envelope),
            Effect::PublishConsensus(message) => self.publish(Topic::Consensus, wire::encode_consensus(&message)),
            Effect::OfferBlock(block) => self.offered.offer(*block),
            Effect::FetchBlock { id, height, peer, whole: _ } => self.fetch_block(id, height, &peer),
            Effect::RequestBlocks { peer, from, count } => self.request_blocks(peer, from, count),
            Effect::Ask { peer, question: _ } => {
                let driver = self.driver.clone();
                self.runtime.spawn(async move { driver.input(Input::Answered { peer, answer: None }).await });
            }
            // Blocks are fetched whole, so no parts are; nobody asks either.
            Effect::FetchParts { .. } | Effect::Answer { .. } => {}
            Effect::Host(manifest) => self.content.host(manifest),
            Effect::Attribute { epoch, datanet, receipts, manifests } => {
                self.content.attribute(epoch, datanet, receipts, manifests);
            }
            Effect::Tell(notice) => {
                if let Notice::Committed { height, .. } = &notice {
                    self.offered.committed(*height);
                    self.height.send_replace(*height);
                }
                // Nobody may be listening.
                let _ = self.notices.send(Arc::new(notice));
            }
            // The driver keeps these for itself.
            Effect::Persist(_)
            | Effect::Judge(..)
            | Effect::Reply(..)
            | Effect::SetTimer(..)
            | Effect::CancelTimer(_)
            | Effect::Halt(_) => {}
        }
    }
}

impl Wiring {
    fn publish(&self, topic: Topic, bytes: Vec<u8>) {
        // Gossip is best effort: what is lost here is counted there, and fetched by whoever misses it.
        if let Err(error) = self.network.publish(topic, bytes) {
            tracing::debug!(topic = topic.as_str(), "not published: {error}");
        }
    }

    fn fetch_block(&self, id: BlockId, height: u64, first: &Peer) {
        let (network, driver) = (self.network.clone(), self.driver.clone());
        let committed = self.height.subscribe();
        let first = PeerId::from_bytes(&first.0).ok();
        self.runtime.spawn(async move {
            let request = wire::encode_request(&Request::BlockById(id));
            for _ in 0..FETCH_ROUNDS {
                let others = network.peers().into_iter().map(|peer| peer.peer).filter(|peer| Some(*peer) != first);
                for peer in first.into_iter().chain(others) {
                    if *committed.borrow() >= height {
                        return;
                    }
                    let answer = network.request_within(peer, Protocol::Block, request.clone(), FETCH_PATIENCE).await;
                    let block = answer.ok().and_then(|bytes| wire::decode_response(&bytes).ok());
                    if let Some(Response::Block(Some(block))) = block
                        && block.id() == id
                        && block.header.body == block.body.hash()
                    {
                        return driver.input(Input::Block(Box::new(block))).await;
                    }
                }
                tokio::time::sleep(FETCH_RETRY).await;
            }
            tracing::debug!(block = %id, height, "nobody has the proposed block");
            driver.input(Input::BlockMissing(id)).await;
        });
    }

    fn request_blocks(&self, peer: Peer, from: u64, count: u32) {
        let (network, driver) = (self.network.clone(), self.driver.clone());
        self.runtime.spawn(async move {
            let blocks = match PeerId::from_bytes(&peer.0) {
                Ok(id) => {
                    let request = wire::encode_request(&Request::Blocks { from, count });
                    let answer = network.request(id, Protocol::Block, request).await;
                    if let Err(error) = &answer {
                        tracing::debug!(from, "no blocks from a peer: {error}");
                    }
                    match answer.ok().map(|bytes| wire::decode_response(&bytes)) {
                        Some(Ok(Response::Blocks(blocks))) => blocks,
                        _ => Vec::new(),
                    }
                }
                Err(_) => Vec::new(),
            };
            driver.input(Input::Blocks { peer, blocks }).await;
        });
    }
}

/// The topic that an object is gossiped on.
pub fn topic_of(envelope: &Envelope) -> Topic {
    match envelope.kind {
        Kind::DataNet | Kind::Contribution | Kind::DatasetManifest | Kind::ModelManifest => Topic::Manifest,
        Kind::Receipt => Topic::Receipt,
        Kind::Operation | Kind::Evidence => Topic::Operation,
        Kind::AttributionCommit | Kind::AttributionReveal => Topic::Attribution,
    }
}
