//! What comes from peers: gossiped objects are read and checked by [`Checks`] before the core sees them, a message of
//! several as a whole; requests are answered from disk.

use super::agreement::{self, Via};
use super::checks::{Checked, Checks};
use super::driver::{DriverHandle, Message, Origin};
use super::fetch::Offered;
use super::outside::topic_of;
use super::snapshots::StateService;
use crate::metrics;
use crate::network::{Fault, GossipId, NetworkEvent, NetworkHandle, Protocol, ReplyHandle, Topic, Verdict};
use libp2p::PeerId;
use protocol::block::{CompactBlock, Parts};
use protocol::envelope::Verified;
use protocol::ids::Hash32;
use protocol::limits::{MAX_BLOB_BYTES, MAX_BLOCK_BYTES};
use protocol::node::{Input, Peer};
use protocol::refusal::Refusal;
use protocol::wire::{self, Request, Response};
use std::sync::Arc;
use storage::{BlobStore, Store};
use tokio::sync::{Semaphore, mpsc};

/// Requests that are answered from disk at once.
const ANSWERS_AT_ONCE: usize = 8;

/// Requests that wait for an answer; more are told that this node is busy.
const REQUEST_QUEUE: usize = 256;

/// Everything that peers' messages touch.
#[derive(Clone)]
pub struct Ingest {
    /// The network's name in what is signed.
    pub genesis: Hash32,
    /// Judges gossip.
    pub network: NetworkHandle,
    /// The core.
    pub driver: DriverHandle,
    /// The disk.
    pub store: Arc<dyn Store>,
    /// The documents.
    pub blobs: Arc<BlobStore>,
    /// Blocks on offer.
    pub offered: Offered,
    /// Checks signatures.
    pub checks: Checks,
    /// States on offer.
    pub states: StateService,
}

impl Ingest {
    /// Serves events until the network stops.
    ///
    /// Consensus messages go straight to the core, in a lane of their own; objects and requests wait in queues of theirs,
    /// so that a flood of them never stands before a vote.
    pub async fn run(self, mut events: mpsc::Receiver<NetworkEvent>) {
        let (requests, waiting_requests) = mpsc::channel(REQUEST_QUEUE);
        let mut answering = tokio::spawn(self.clone().answer_requests(waiting_requests));
        // Those who came while a state was taken over.
        for peer in self.network.peers() {
            self.greet(peer.peer);
        }
        loop {
            let event = tokio::select! {
                event = events.recv() => event,
                ended = &mut answering => return tracing::error!("requests are not answered any more: {ended:?}"),
            };
            let Some(event) = event else { return };
            match event {
                NetworkEvent::Gossip { topic: Topic::Consensus, source, data, id } => {
                    self.consensus(source, &data, |_| Via::Gossip(id));
                }
                NetworkEvent::Direct { peer, data } => self.consensus(peer, &data, |data| Via::Stream(peer, data)),
                NetworkEvent::Gossip { topic, data, id, .. } => self.objects(topic, data, id),
                NetworkEvent::Request { peer, protocol, data, reply } => {
                    if let Err(full) = requests.try_send((peer, protocol, data, reply)) {
                        let (.., reply) = full.into_inner();
                        metrics::refused("request", "busy");
                        // Whoever asked may have gone.
                        let _ = reply.refuse(crate::network::Refusal::Busy);
                    }
                }
                NetworkEvent::PeerConnected { peer } => self.greet(peer),
                NetworkEvent::PeerDisconnected { peer } => tracing::info!(%peer, "peer left"),
                // The network has logged it.
                NetworkEvent::Listening { .. } => {}
            }
        }
    }

    async fn answer_requests(self, mut waiting: mpsc::Receiver<(PeerId, Protocol, Vec<u8>, ReplyHandle)>) {
        let answers = Arc::new(Semaphore::new(ANSWERS_AT_ONCE));
        while let Some((peer, protocol, data, reply)) = waiting.recv().await {
            let Ok(permit) = answers.clone().acquire_owned().await else { break };
            let ingest = self.clone();
            tokio::task::spawn_blocking(move || {
                ingest.answer(peer, protocol, &data, reply);
                drop(permit);
            });
        }
    }

    fn consensus(&self, source: PeerId, data: &[u8], via: impl FnOnce(Vec<u8>) -> Via) {
        let message = match wire::decode_consensus(data) {
            Ok(message) => message,
            Err(refusal) => {
                metrics::refused("consensus", refusal.as_str());
                match via(Vec::new()) {
                    Via::Gossip(id) => self.network.validate(id, Verdict::Reject(refusal.as_str())),
                    Via::Stream(peer, _) => self.network.blame(peer, Fault::BadMessage),
                }
                return;
            }
        };
        let origin = Origin::Agreement { via: via(data.to_vec()), signer: agreement::signer(&message) };
        let peer = Peer(source.to_bytes());
        let input = Box::new(move |token| Input::Consensus { message, peer, token });
        self.hand_over(Message::Consensus(input, origin));
    }

    /// Objects that came in one message. It is the fault of whoever sent it if any of them is wrong: an honest peer
    /// forwards only what it has checked.
    fn objects(&self, topic: Topic, data: Vec<u8>, id: GossipId) {
        let ingest = self.clone();
        let done = move |checked| match good(topic, checked) {
            Ok(objects) => ingest.hand_over(Message::Objects(objects, id)),
            Err(reason) => {
                metrics::refused("gossip", reason);
                ingest.network.validate(id, Verdict::Reject(reason));
            }
        };
        if !self.checks.message(data, done) {
            // With its id it is dropped: that forwards nothing and blames nobody.
            metrics::refused("gossip", "busy");
        }
    }

    fn hand_over(&self, message: Message) {
        let Err(refused) = self.driver.try_send(message) else { return };
        metrics::refused("gossip", "busy");
        match refused {
            Message::Objects(_, id) | Message::Consensus(_, Origin::Agreement { via: Via::Gossip(id), .. }) => {
                self.network.validate(id, Verdict::Ignore("busy"));
            }
            // What came straight comes again by gossip, if it is of any use then.
            _ => {}
        }
    }

    /// Asks a new peer how far it is, so that whoever is behind catches up.
    fn greet(&self, peer: PeerId) {
        let (network, driver) = (self.network.clone(), self.driver.clone());
        let genesis = self.genesis;
        let own = self.driver.status().height;
        tokio::spawn(async move {
            let request = wire::encode_request(&Request::Status);
            let answer = network.request_patiently(peer, Protocol::Status, request).await;
            let status = answer.ok().and_then(|bytes| wire::decode_response(&bytes).ok());
            if let Some(Response::Status { height, genesis: theirs, lowest, .. }) = status
                && theirs == genesis
            {
                tracing::info!(%peer, height, lowest, "peer joined");
                if lowest > own.saturating_add(1) {
                    tracing::warn!(
                        %peer, lowest, own,
                        "this peer no longer has the blocks that this node lacks; if none has, start with an empty \
                         folder and --trust HEIGHT:HASH"
                    );
                }
                driver.input(Input::PeerStatus { peer: Peer(peer.to_bytes()), height, lowest }).await;
            }
        });
    }

    fn answer(&self, peer: PeerId, protocol: Protocol, data: &[u8], reply: ReplyHandle) {
        let request = match wire::decode_request(data) {
            Ok(request) => request,
            Err(refusal) => {
                metrics::refused("request", refusal.as_str());
                let _ = reply.refuse(crate::network::Refusal::Malformed);
                return;
            }
        };
        let response = match self.respond(protocol, &request) {
            Ok(response) => response,
            Err(reason) => {
                tracing::debug!(%peer, "a request cannot be answered: {reason}");
                return;
            }
        };
        if let Err(error) = reply.send(wire::encode_response(&response)) {
            tracing::debug!(%peer, "an answer was not sent: {error}");
        }
    }

    fn respond(&self, protocol: Protocol, request: &Request) -> Result<Response, String> {
        let text = |error: storage::StoreError| error.to_string();
        match (protocol, request) {
            (Protocol::Status, Request::Status) => {
                let status = self.driver.status();
                let block = (status.height > 0).then_some(status.block);
                Ok(Response::Status {
                    height: status.height,
                    block,
                    genesis: self.genesis,
                    lowest: self.store.lowest().map_err(text)?,
                })
            }
            (Protocol::Block, Request::BlockById(id)) => {
                if let Some(offered) = self.offered.get(id) {
                    return Ok(Response::Block(Some(offered.block.clone())));
                }
                let block = self.store.block_by_id(id).map_err(text)?;
                Ok(Response::Block(block.map(|(block, _)| block)))
            }
            (Protocol::Block, Request::CompactBlock(id)) => {
                if let Some(offered) = self.offered.get(id) {
                    return Ok(Response::CompactBlock(Some(offered.compact().clone())));
                }
                let block = self.store.block_by_id(id).map_err(text)?;
                Ok(Response::CompactBlock(block.map(|(block, _)| CompactBlock::of(&block))))
            }
            (Protocol::Block, Request::Parts { id, missing }) => {
                if let Some(offered) = self.offered.get(id) {
                    return Ok(Response::Parts(Parts::of(&offered.block, missing)));
                }
                let block = self.store.block_by_id(id).map_err(text)?;
                Ok(Response::Parts(block.map(|(block, _)| Parts::of(&block, missing)).unwrap_or_default()))
            }
            (Protocol::Object, Request::Pool(question)) => {
                let answer = self.driver.about_pool_blocking(question.clone());
                answer.map(Response::Pool).ok_or_else(|| "the node is busy".to_owned())
            }
            (Protocol::Block, Request::Blocks { from, count }) => {
                let blocks = self.store.blocks(*from, u64::from(*count), MAX_BLOCK_BYTES).map_err(text)?;
                Ok(Response::Blocks(blocks))
            }
            (Protocol::Blob, Request::Blob { hash, offset, len, size }) => self.blob(hash, *offset, *len, *size),
            (Protocol::Block, request) if let Some(response) = self.states.respond(request).map_err(text)? => {
                Ok(response)
            }
            _ => Err(format!("{request:?} is not a question for the {} protocol", protocol.as_str())),
        }
    }

    fn blob(&self, hash: &Hash32, offset: u64, len: u64, size: u64) -> Result<Response, String> {
        let slice = self.blobs.slice(hash, size, offset..offset + len).map_err(|error| error.to_string())?;
        Ok(Response::Blob(slice.filter(|slice| slice.len() <= MAX_BLOB_BYTES)))
    }
}

/// The objects of a message, if all of them hold and belong to its topic; else the word for what is wrong.
fn good(topic: Topic, checked: Result<Checked, Refusal>) -> Result<Vec<Verified>, &'static str> {
    let objects = checked.and_then(|checked| checked.into_iter().collect::<Result<Vec<_>, _>>());
    let objects = objects.map_err(|refusal| refusal.as_str())?;
    match objects.iter().all(|object| topic_of(object.envelope()) == topic) {
        true => Ok(objects),
        false => Err("topic"),
    }
}
