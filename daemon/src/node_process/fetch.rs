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
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use libp2p::PeerId;
use protocol::block::{Block, CompactBlock, MissingParts, Parts};
use protocol::envelope::Verified;
use protocol::ids::{BlockId, ObjectId};
use protocol::node::{Input, Peer, PoolAnswer, PoolQuestion};
use protocol::objects::Envelope;
use protocol::wire::{self, Request, Response};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::watch;

/// Milliseconds between two rounds of asking peers for a proposed block.
const FETCH_RETRY: Duration = Duration::from_millis(40);
/// Rounds of asking before a proposed block is given up; its round of agreement is over long before.
const FETCH_ROUNDS: u32 = 200;
/// How long one peer may take to answer with a proposed block before the next is asked as well. The first may go on: a whole
/// block may have megabytes.
const FETCH_PATIENCE: Duration = Duration::from_secs(2);
/// How long one peer may take to answer with decided blocks: a little less than the core waits for it, so that no answer is
/// taken for that to the next request.
const DECIDED_PATIENCE: Duration = Duration::from_millis(4_500);
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

/// What an answer about a proposed block brings.
enum Got {
    All(Input),
    /// So many of the parts that were asked for.
    Some(usize, Input),
    Nothing,
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
                Got::All(Input::Block(Box::new(block)))
            }
            Response::CompactBlock(Some(block)) if block.header.id() == id => {
                Got::All(Input::Compact { block: Box::new(block), peer: Peer(peer.to_bytes()) })
            }
            _ => Got::Nothing,
        };
        self.fetch(id, height, peer, request, input);
    }

    /// Gets what is missing of a block that came in short.
    pub(super) fn parts(&self, id: BlockId, height: u64, peer: &Peer, missing: MissingParts) {
        metrics::parts_missing(missing.objects.len() + missing.settlements.len());
        let (envelopes, settlements) = (missing.objects.len(), missing.settlements.len());
        let all = move |parts: &Parts| parts.envelopes.len() == envelopes && parts.settlements.len() == settlements;
        let input = move |response, _| match response {
            Response::Parts(parts) if all(&parts) => Got::All(Input::Parts { id, parts: Box::new(parts) }),
            Response::Parts(parts) => match parts.envelopes.len() + parts.settlements.len() {
                0 => Got::Nothing,
                count => Got::Some(count, Input::Parts { id, parts: Box::new(parts) }),
            },
            _ => Got::Nothing,
        };
        self.fetch(id, height, peer, Request::Parts { id, missing }, input);
    }

    /// Asks for something about a proposed block, this peer first and then all others, until `input` makes something of an
    /// answer.
    ///
    /// If nobody has all of it, most of it is handed in: whoever sent the block in short may have named parts that it does not
    /// have, and the core asks for the whole block when parts do not fit.
    fn fetch(
        &self,
        id: BlockId,
        height: u64,
        first: &Peer,
        request: Request,
        input: impl Fn(Response, PeerId) -> Got + Send + Sync + 'static,
    ) {
        let (fetcher, first) = (self.clone(), PeerId::from_bytes(&first.0).ok());
        let request = wire::encode_request(&request);
        self.runtime.spawn(async move {
            let found = fetcher.ask_all(first, height, &request, &input).await;
            if let Some(input) = found {
                return fetcher.driver.input(input).await;
            }
            if *fetcher.height.borrow() >= height {
                return;
            }
            tracing::debug!(block = %id, height, "nobody has the proposed block");
            fetcher.driver.input(Input::BlockMissing(id)).await;
        });
    }

    /// Asks all peers, this one first, again and again; the next one when one answered in vain, or let it wait. Whoever lets it
    /// wait may still answer, and holds up neither the others nor the next round. None where nobody has any of it, or the height
    /// is decided.
    async fn ask_all(
        &self,
        first: Option<PeerId>,
        height: u64,
        request: &[u8],
        input: &impl Fn(Response, PeerId) -> Got,
    ) -> Option<Input> {
        let network = &self.network;
        let (mut asked, mut slow) = (FuturesUnordered::new(), BTreeSet::new());
        let mut most: Option<(usize, Input)> = None;
        for _ in 0..FETCH_ROUNDS {
            let others = network.peers().into_iter().map(|peer| peer.peer).filter(|peer| Some(*peer) != first);
            let mut waiting: VecDeque<PeerId> =
                first.into_iter().chain(others).filter(|peer| !slow.contains(peer)).collect();
            while *self.height.borrow() < height {
                let is_last = waiting.is_empty();
                if let Some(peer) = waiting.pop_front() {
                    slow.insert(peer);
                    let answer = network.request(peer, Protocol::Block, request.to_vec());
                    asked.push(async move { (peer, answer.await) });
                }
                match tokio::time::timeout(FETCH_PATIENCE, asked.next()).await {
                    Ok(Some((peer, answer))) => {
                        slow.remove(&peer);
                        let response = answer.ok().and_then(|bytes| wire::decode_response(&bytes).ok());
                        match response.map_or(Got::Nothing, |response| input(response, peer)) {
                            Got::All(input) => return Some(input),
                            Got::Some(count, input) if most.as_ref().is_none_or(|(most, _)| *most < count) => {
                                most = Some((count, input));
                            }
                            Got::Some(..) | Got::Nothing => {}
                        }
                    }
                    Ok(None) => break,
                    Err(_) if is_last => break,
                    Err(_) => {}
                }
            }
            if most.is_some() || *self.height.borrow() >= height {
                break;
            }
            tokio::time::sleep(FETCH_RETRY).await;
        }
        most.map(|(_, input)| input)
    }

    /// Asks a peer for decided blocks.
    pub(super) fn decided(&self, peer: Peer, from: u64, count: u32) {
        let fetcher = self.clone();
        self.runtime.spawn(async move {
            let request = Request::Blocks { from, count };
            let asked = fetcher.ask(&peer, Protocol::Block, &request);
            let blocks = match tokio::time::timeout(DECIDED_PATIENCE, asked).await.ok().flatten() {
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
        let Ok(checked) = self.checks.check(envelopes).await else {
            // They were not checked: too many wait for that here, or it failed. Neither is the peer's fault.
            return self.driver.input(Input::Answered { peer, answer: None }).await;
        };
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

#[cfg(test)]
mod tests {
    use super::super::driver::{self, Lanes};
    use super::super::test_network::{answering, connected, listening, start, until};
    use super::*;
    use crate::network::{NetworkEvent, Refusal};
    use protocol::crypto::SecretKey;
    use protocol::envelope::seal;
    use protocol::ids::Hash32;
    use protocol::objects::{Action, Drops, Object, Operation};

    const GENESIS: Hash32 = Hash32([1; 32]);

    fn transfer(nonce: u64) -> Envelope {
        let key = SecretKey::from_seed([1; 32]);
        let action = Action::Transfer { to: key.account(), amount: Drops(1) };
        let operation = Operation { account: key.account(), nonce, fee: Drops(1), action };
        seal(&Object::Operation(operation), &[&key], &GENESIS).expect("sealed")
    }

    /// Somebody who asks, beside peers that answer.
    async fn asker(addresses: Vec<libp2p::Multiaddr>) -> (Fetcher, Lanes, impl Sized) {
        let peers = addresses.len();
        let (network, events) = start(9, addresses).await;
        connected(&network, peers).await;
        let (driver, lanes, _) = driver::queue();
        let (height, watched) = watch::channel(0);
        let (panics, _) = super::super::alive::Panics::channel();
        let checks = Checks::start(GENESIS, &panics).expect("threads");
        // What comes last is kept, so that the network goes on and the height is known.
        (Fetcher { network, driver, checks, runtime: Handle::current(), height: watched }, lanes, (events, height))
    }

    /// A peer that sent a block in short may name a part that the block does not have. Nobody has all parts then, and what there
    /// is goes to the core, which asks for the whole block, long before all rounds of asking are over.
    #[tokio::test(flavor = "multi_thread")]
    async fn parts_that_nobody_has_all_of_do_not_hold_a_block_up() {
        let none = |_| Ok(Response::Parts(Parts::default()));
        let one = |_| Ok(Response::Parts(Parts { envelopes: vec![transfer(0)], settlements: Vec::new() }));
        let (first, liar) = answering(1, none).await;
        let (second, _) = answering(2, one).await;
        let (fetcher, mut lanes, _kept) = asker(vec![first, second]).await;
        let missing = MissingParts { objects: vec![0, 1], settlements: Vec::new() };
        fetcher.parts(BlockId([7; 32]), 5, &Peer(liar.to_bytes()), missing);
        let Some(Message::Input(input)) = lanes.next_urgent().await else { panic!("an input") };
        let Input::Parts { id, parts } = *input else { panic!("{input:?} is not parts") };
        assert_eq!((id, parts.envelopes), (BlockId([7; 32]), vec![transfer(0)]));
    }

    /// Whoever does not answer is asked once, and those that do are asked again meanwhile: most have the block only a moment later.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_silent_peer_does_not_keep_others_from_being_asked_again() {
        let mut silent = start(1, Vec::new()).await;
        let address = listening(&mut silent.1).await.with(libp2p::multiaddr::Protocol::P2p(silent.0.local_peer_id()));
        let mut times = 0;
        let (other, _) = answering(2, move |_| {
            times += 1;
            let envelopes = if times < 3 { Vec::new() } else { vec![transfer(0)] };
            Ok(Response::Parts(Parts { envelopes, settlements: Vec::new() }))
        })
        .await;
        let (fetcher, mut lanes, _kept) = asker(vec![address, other]).await;
        let missing = MissingParts { objects: vec![0], settlements: Vec::new() };
        fetcher.parts(BlockId([7; 32]), 5, &Peer(silent.0.local_peer_id().to_bytes()), missing);
        let Some(Message::Input(input)) = lanes.next_urgent().await else { panic!("an input") };
        assert!(matches!(*input, Input::Parts { .. }), "{input:?}");
        let mut asked = 0;
        while let Ok(event) = silent.1.try_recv() {
            asked += usize::from(matches!(event, NetworkEvent::Request { .. }));
        }
        assert_eq!(asked, 1, "it was not waited for until it was given up");
    }

    /// Objects of another pool whose signatures are false are that peer's fault; that this node has no room to check them is not.
    #[tokio::test(flavor = "multi_thread")]
    async fn who_answers_honestly_is_not_blamed_for_our_own_haste() {
        let mut wrong = transfer(1);
        wrong.signatures[0].1.0[0] ^= 1;
        let given = vec![transfer(0), wrong];
        let ids: Vec<ObjectId> = given.iter().map(Envelope::id).collect();
        let (address, id) = answering(1, move |request| match request {
            Request::Pool(PoolQuestion::Objects(_)) => Ok(Response::Pool(PoolAnswer::Objects(given.clone()))),
            _ => Err(Refusal::NotFound),
        })
        .await;
        let (fetcher, mut lanes, _kept) = asker(vec![address]).await;
        let strikes =
            || fetcher.network.peers().into_iter().find(|peer| peer.peer == id).map_or(0, |peer| peer.strikes);
        let full = fetcher.checks.fill();
        fetcher.pool(Peer(id.to_bytes()), PoolQuestion::Objects(ids.clone()));
        let Some(Message::Input(input)) = lanes.next_urgent().await else { panic!("an input") };
        assert!(matches!(*input, Input::Answered { answer: None, .. }), "{input:?}");
        drop(full);
        fetcher.pool(Peer(id.to_bytes()), PoolQuestion::Objects(ids));
        let Some(Message::Fetched(objects, _)) = lanes.next_object().await else { panic!("objects") };
        assert_eq!(objects.iter().map(|object| object.envelope().clone()).collect::<Vec<_>>(), [transfer(0)]);
        until("strikes", || strikes() > 0).await;
        assert_eq!(strikes(), 34, "for the false signature alone");
    }
}
