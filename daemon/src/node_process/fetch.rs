//! Proposed blocks and pools, between this node and its peers: what is on offer here, and how what is offered there comes
//! here.
//!
//! A block travels in short first (header, certificate, the ids of its objects), as nearly all of it is here already;
//! then what is missing of it; and whole only where parts did not fit together. Each step asks the peer that is most
//! likely to have it, then all others, until somebody answers or the height is decided.

use super::checks::Checks;
use super::driver::{DriverHandle, Message};
use crate::metrics;
use crate::network::{Fault, NetworkHandle, Protocol};
use libp2p::PeerId;
use protocol::block::{Block, CompactBlock, MissingParts, Parts};
use protocol::envelope::Verified;
use protocol::ids::{BlockId, ObjectId};
use protocol::node::{Input, Peer, PoolAnswer, PoolQuestion};
use protocol::objects::Envelope;
use protocol::wire::{self, Request, Response};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::watch;

/// Milliseconds between two rounds of asking peers for a proposed block.
const FETCH_RETRY: Duration = Duration::from_millis(40);
/// Rounds of asking before a proposed block is given up; its round of agreement is over long before.
const FETCH_ROUNDS: u32 = 200;
/// How long one peer may take to answer with a proposed block before the next is asked.
const FETCH_PATIENCE: Duration = Duration::from_secs(2);
/// Proposed blocks that are offered at once; older heights leave when a new one is committed.
const MAX_OFFERED: usize = 128;

/// A block on offer, and the same in short once somebody asked for that.
#[derive(Debug)]
pub struct OfferedBlock {
    /// The block.
    pub block: Block,
    compact: OnceLock<CompactBlock>,
}

impl OfferedBlock {
    /// The block in short.
    pub fn compact(&self) -> &CompactBlock {
        self.compact.get_or_init(|| CompactBlock::of(&self.block))
    }
}

/// Blocks that peers may ask for by id before they are decided.
#[derive(Clone, Default)]
pub struct Offered(Arc<Mutex<BTreeMap<BlockId, Arc<OfferedBlock>>>>);

impl Offered {
    /// The block, if it is offered.
    pub fn get(&self, id: &BlockId) -> Option<Arc<OfferedBlock>> {
        self.lock().get(id).cloned()
    }

    pub(super) fn offer(&self, block: Block) {
        let mut offered = self.lock();
        if offered.len() < MAX_OFFERED {
            let id = block.id();
            offered.entry(id).or_insert_with(|| Arc::new(OfferedBlock { block, compact: OnceLock::new() }));
        }
    }

    /// Forgets what is older than the block just committed: that one is served from disk.
    pub(super) fn committed(&self, height: u64) {
        self.lock().retain(|_, offered| offered.block.header.height >= height);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<BlockId, Arc<OfferedBlock>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks peers for what the core wants. Cheap to clone.
#[derive(Clone)]
pub struct Fetcher {
    /// The network.
    pub network: NetworkHandle,
    /// Gives inputs back.
    pub driver: DriverHandle,
    /// Checks what came of other pools.
    pub checks: Checks,
    /// Where tasks run.
    pub runtime: Handle,
    /// The last committed height, for tasks to see when they are no longer needed.
    pub height: watch::Receiver<u64>,
}

impl Fetcher {
    /// Gets a proposed block, whole or in short.
    pub(super) fn block(&self, id: BlockId, height: u64, peer: &Peer, whole: bool) {
        let request = if whole { Request::BlockById(id) } else { Request::CompactBlock(id) };
        let input = move |response, peer: PeerId| match response {
            Response::Block(Some(block)) if block.id() == id && block.header.body == block.body.hash() => {
                Some(Input::Block(Box::new(block)))
            }
            Response::CompactBlock(Some(block)) if block.header.id() == id => {
                Some(Input::Compact { block: Box::new(block), peer: Peer(peer.to_bytes()) })
            }
            _ => None,
        };
        self.fetch(id, height, peer, request, input);
    }

    /// Gets what is missing of a block that came in short.
    pub(super) fn parts(&self, id: BlockId, height: u64, peer: &Peer, missing: MissingParts) {
        metrics::parts_missing(missing.objects.len() + missing.settlements.len());
        let (envelopes, settlements) = (missing.objects.len(), missing.settlements.len());
        let all = move |parts: &Parts| parts.envelopes.len() == envelopes && parts.settlements.len() == settlements;
        let input = move |response, _| match response {
            Response::Parts(parts) if all(&parts) => Some(Input::Parts { id, parts: Box::new(parts) }),
            _ => None,
        };
        self.fetch(id, height, peer, Request::Parts { id, missing }, input);
    }

    /// Asks for something about a proposed block, this peer first and then all others, until `input` makes something of an
    /// answer.
    fn fetch(
        &self,
        id: BlockId,
        height: u64,
        first: &Peer,
        request: Request,
        input: impl Fn(Response, PeerId) -> Option<Input> + Send + 'static,
    ) {
        let (fetcher, first) = (self.clone(), PeerId::from_bytes(&first.0).ok());
        let request = wire::encode_request(&request);
        self.runtime.spawn(async move {
            let network = &fetcher.network;
            for _ in 0..FETCH_ROUNDS {
                let others = network.peers().into_iter().map(|peer| peer.peer).filter(|peer| Some(*peer) != first);
                for peer in first.into_iter().chain(others) {
                    if *fetcher.height.borrow() >= height {
                        return;
                    }
                    let answer = network.request_within(peer, Protocol::Block, request.clone(), FETCH_PATIENCE).await;
                    let response = answer.ok().and_then(|bytes| wire::decode_response(&bytes).ok());
                    if let Some(input) = response.and_then(|response| input(response, peer)) {
                        return fetcher.driver.input(input).await;
                    }
                }
                tokio::time::sleep(FETCH_RETRY).await;
            }
            tracing::debug!(block = %id, height, "nobody has the proposed block");
            fetcher.driver.input(Input::BlockMissing(id)).await;
        });
    }

    /// Asks a peer for decided blocks.
    pub(super) fn decided(&self, peer: Peer, from: u64, count: u32) {
        let fetcher = self.clone();
        self.runtime.spawn(async move {
            let request = Request::Blocks { from, count };
            let blocks = match fetcher.ask(&peer, Protocol::Block, &request).await {
                Some(Response::Blocks(blocks)) => blocks,
                _ => Vec::new(),
            };
            fetcher.driver.input(Input::Blocks { peer, blocks }).await;
        });
    }

    /// Asks a peer about its pool.
    pub(super) fn pool(&self, peer: Peer, question: PoolQuestion) {
        let fetcher = self.clone();
        self.runtime.spawn(async move {
            let asked: BTreeSet<ObjectId> = match &question {
                PoolQuestion::Objects(ids) => ids.iter().copied().collect(),
                PoolQuestion::Reconcile(_) => BTreeSet::new(),
            };
            let answer = match fetcher.ask(&peer, Protocol::Object, &Request::Pool(question)).await {
                Some(Response::Pool(PoolAnswer::Objects(envelopes))) if !asked.is_empty() => {
                    return fetcher.take(peer, asked, envelopes).await;
                }
                Some(Response::Pool(PoolAnswer::Reconcile(message))) if asked.is_empty() => {
                    Some(PoolAnswer::Reconcile(message))
                }
                _ => None,
            };
            fetcher.driver.input(Input::Answered { peer, answer }).await;
        });
    }

    /// Checks objects of another pool and hands them on, with the word that they were all.
    async fn take(self, peer: Peer, mut asked: BTreeSet<ObjectId>, mut envelopes: Vec<Envelope>) {
        envelopes.retain(|envelope| asked.remove(&envelope.id()));
        let given = envelopes.len();
        let checked = self.checks.check(envelopes).await.unwrap_or_default();
        let good: Vec<Verified> = checked.into_iter().flatten().collect();
        metrics::reconciled(good.len());
        if good.len() < given
            && let Ok(peer) = PeerId::from_bytes(&peer.0)
        {
            // What waits in an honest pool was checked when it came in.
            self.network.blame(peer, Fault::BadObjects);
        }
        let answer = Some(PoolAnswer::Objects(Vec::new()));
        let all = Message::Fetched(good, Box::new(Input::Answered { peer: peer.clone(), answer }));
        if self.driver.try_send(all).is_err() {
            self.driver.input(Input::Answered { peer, answer: None }).await;
        }
    }

    async fn ask(&self, peer: &Peer, protocol: Protocol, request: &Request) -> Option<Response> {
        let id = PeerId::from_bytes(&peer.0).ok()?;
        let answer = self.network.request(id, protocol, wire::encode_request(request)).await;
        if let Err(error) = &answer {
            tracing::debug!(peer = %id, protocol = protocol.as_str(), "no answer: {error}");
        }
        wire::decode_response(&answer.ok()?).ok()
    }
}
