//! The effects that reach the network, the content and the listeners. Each is handed to a task or thread of its own:
//! nothing here waits.

use super::agreement::{self, Agreement};
use super::content::Content;
use super::driver::{Origin, Outside};
use super::fetch::{Fetcher, Offered};
use super::publisher::Publisher;
use crate::network::{Fault, NetworkHandle, Topic};
use libp2p::PeerId;
use protocol::crypto::Kind;
use protocol::node::{self, Effect, Notice};
use protocol::objects::Envelope;
use std::sync::Arc;
use tokio::sync::{broadcast, watch};

/// Where the driver's effects go.
pub struct Wiring {
    /// The network.
    pub network: NetworkHandle,
    /// Blocks on offer.
    pub offered: Offered,
    /// Asks peers.
    pub fetcher: Fetcher,
    /// Messages of agreement.
    pub agreement: Agreement,
    /// Objects on their way out.
    pub publisher: Publisher,
    /// Fetches, indexes and searches content.
    pub content: Content,
    /// Whoever listens.
    pub notices: broadcast::Sender<Arc<Notice>>,
    /// The last committed height, for tasks to see when they are no longer needed.
    pub height: watch::Sender<u64>,
}

impl Outside for Wiring {
    fn judge(&mut self, origin: Origin, verdict: node::Verdict) {
        match origin {
            Origin::Objects(id) => self.network.validate(id, agreement::verdict_of(verdict)),
            Origin::Agreement { via, signer } => self.agreement.judge(via, signer, verdict),
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::PublishObject(envelope) => self.publisher.publish(envelope),
            Effect::PublishConsensus(message) => self.agreement.publish(&message),
            Effect::OfferBlock(block) => self.offered.offer(*block),
            Effect::FetchBlock { id, height, peer, whole } => self.fetcher.block(id, height, &peer, whole),
            Effect::FetchParts { id, height, peer, missing } => self.fetcher.parts(id, height, &peer, missing),
            Effect::RequestBlocks { peer, from, count } => self.fetcher.decided(peer, from, count),
            Effect::Ask { peer, question } => self.fetcher.pool(peer, question),
            Effect::Host(manifest) => self.content.host(manifest),
            Effect::Attribute { epoch, datanet, receipts, manifests } => {
                self.content.attribute(epoch, datanet, receipts, manifests);
            }
            Effect::AuditRows { model, root, challenged } => self.content.audit_rows(model, root, challenged),
            Effect::AuditQuery { receipt } => self.content.audit_query(receipt),
            Effect::Tell(notice) => {
                match &notice {
                    Notice::Committed { height, .. } => {
                        self.offered.committed(*height);
                        self.height.send_replace(*height);
                    }
                    Notice::BadSync { peer, .. } => {
                        // The core itself leaves it alone for a while.
                        if let Ok(peer) = PeerId::from_bytes(&peer.0) {
                            self.network.blame(peer, Fault::BadSync);
                        }
                    }
                    _ => {}
                }
                // Nobody may be listening.
                let _ = self.notices.send(Arc::new(notice));
            }
            // The driver keeps these for itself.
            Effect::Persist(_)
            | Effect::Judge(..)
            | Effect::Reply(..)
            | Effect::Answer { .. }
            | Effect::SetTimer(..)
            | Effect::CancelTimer(_)
            | Effect::Halt(_) => {}
        }
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
