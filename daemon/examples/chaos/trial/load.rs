//! Clients that write without end while nodes are ill-treated: transfers, each account in its own order, and receipts
//! of a small model made from one document. Each object goes to whichever node its writer meets; what a node
//! acknowledged is noted, because from then on it must never be lost.

use super::net::Net;
use super::random::Random;
use anyhow::Context as _;
use daemon::client::{Client, ClientError};
use protocol::crypto::{SecretKey, content_root, document_hash};
use protocol::envelope::seal;
use protocol::ids::{Account, DataNetId, Hash32, ModelId};
use protocol::objects::{
    Action, Admission, Contribution, DataNet, DatasetManifest, Document, Drops, Envelope, LineageEntry, Method,
    ModelManifest, Object, Operation, Origin, Permission, Receipt, UsagePolicy,
};
use protocol::wire;
use serde_json::Value;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::Duration;

/// The accounts that transfer at once, each to the next one.
pub(crate) const WRITERS: [&str; 3] = ["dave", "erin", "frank"];
/// A writer's rest between two transfers: two cores also have to carry the nodes.
const TRANSFER_PAUSE: Duration = Duration::from_millis(15);
/// The same between two receipts, each of which costs all nodes more.
const RECEIPT_PAUSE: Duration = Duration::from_millis(40);
/// The same after a refusal that time mends.
const PATIENCE: Duration = Duration::from_millis(10);
/// The author's one document. Each answer quotes a part of it.
const TEXT: &str = "It is well to remember that what was promised must be kept, whatever becomes of the keeper.";
const TOKENS: u64 = 12;
const PRICE: Drops = Drops(1_000);
/// Epochs ahead at which receipts expire: as far as a devnet allows, less what passes before they are sent.
const EXPIRY_AHEAD: u64 = 9_000;

/// What a node acknowledged.
#[derive(Clone, Debug)]
pub(crate) struct Promise {
    pub(crate) id: String,
    /// The node.
    pub(crate) by: usize,
    pub(crate) is_receipt: bool,
}

/// What the writers and whoever directs them share.
pub(crate) struct Load {
    clients: Vec<Client>,
    genesis: Hash32,
    object_fee: Drops,
    stop: AtomicBool,
    /// Nodes that get nothing new for now.
    avoided: Vec<AtomicBool>,
    /// Objects that each node has been sent, and has not answered.
    unanswered: Vec<AtomicUsize>,
    promised: Mutex<Vec<Promise>>,
    /// What no writer should ever hear.
    complaints: Mutex<Vec<String>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Load {
    pub(crate) fn new(net: &Net) -> anyhow::Result<Self> {
        Ok(Self {
            clients: (0..net.nodes()).map(|i| net.api(i)).collect::<anyhow::Result<_>>()?,
            genesis: net.hash,
            object_fee: net.genesis.params.object_fee,
            stop: AtomicBool::new(false),
            avoided: (0..net.nodes()).map(|_| AtomicBool::new(false)).collect(),
            unanswered: (0..net.nodes()).map(|_| AtomicUsize::new(0)).collect(),
            promised: Mutex::new(Vec::new()),
            complaints: Mutex::new(Vec::new()),
        })
    }

    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Whether writers leave node `i` alone. What they have already sent to it goes on.
    pub(crate) fn avoid(&self, i: usize, avoid: bool) {
        self.avoided[i].store(avoid, Ordering::Relaxed);
    }

    /// Has node `i` answered all that it was sent?
    pub(crate) fn is_answered(&self, i: usize) -> bool {
        self.unanswered[i].load(Ordering::SeqCst) == 0
    }

    pub(crate) fn promises(&self) -> Vec<Promise> {
        lock(&self.promised).clone()
    }

    pub(crate) fn count(&self) -> usize {
        lock(&self.promised).len()
    }

    /// An error if a writer heard what it should not.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let complaints = lock(&self.complaints);
        anyhow::ensure!(complaints.is_empty(), "{}", complaints.join("; "));
        Ok(())
    }

    fn runs(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    /// A node to write to, other than the avoided ones; any if all are.
    fn node(&self, random: &mut Random) -> usize {
        let free: Vec<usize> = (0..self.clients.len()).filter(|i| !self.avoided[*i].load(Ordering::Relaxed)).collect();
        if free.is_empty() { random.below(self.clients.len()) } else { free[random.below(free.len())] }
    }

    /// One account's transfers of one drop, in its own order, until told to stop.
    pub(crate) fn transfer(&self, key: &SecretKey, to: Account, mut random: Random) {
        let mut nonce = 0;
        while self.runs() {
            let action = Action::Transfer { to, amount: Drops(1) };
            let operation = Operation { account: key.account(), nonce, fee: self.object_fee, action };
            let Ok(envelope) = seal(&Object::Operation(operation), &[key], &self.genesis) else { return };
            let by = self.node(&mut random);
            match self.submit(by, &envelope, false) {
                Ok(()) => nonce += 1,
                Err(error) if error.code() == "nonce" => {
                    let known: Result<Value, _> = self.clients[by].get(&format!("/v1/accounts/{}", key.account()));
                    match known.ok().and_then(|shown| shown["nonce"].as_u64()) {
                        Some(next) if next > nonce => nonce += 1,
                        // Too far ahead: what another node holds has to come first.
                        _ => sleep(PATIENCE),
                    }
                }
                Err(error) => self.refused(by, &error),
            }
            sleep(TRANSFER_PAUSE);
        }
    }

    /// Receipts until told to stop.
    pub(crate) fn pay(&self, model: &Model, mut random: Random) {
        let mut nonce = 0;
        while self.runs() {
            let Ok(envelope) = model.receipt(nonce, &self.genesis) else { return };
            let by = self.node(&mut random);
            match self.submit(by, &envelope, true) {
                Ok(()) => nonce += 1,
                Err(error) => self.refused(by, &error),
            }
            sleep(RECEIPT_PAUSE);
        }
    }

    /// A duplicate counts as a yes: an answer that a kill cut off had been one.
    fn submit(&self, by: usize, envelope: &Envelope, is_receipt: bool) -> Result<(), ClientError> {
        self.unanswered[by].fetch_add(1, Ordering::SeqCst);
        let answer: Result<Value, _> = self.clients[by].post_bytes("/v1/objects", &wire::encode_envelope(envelope));
        if answer.is_ok() {
            lock(&self.promised).push(Promise { id: envelope.id().to_string(), by, is_receipt });
        }
        self.unanswered[by].fetch_sub(1, Ordering::SeqCst);
        match answer {
            Err(error) if error.code() != "duplicate" => Err(error),
            _ => Ok(()),
        }
    }

    /// Down, stopping, full: time mends it, and the same object goes to another node. Anything else is a complaint.
    fn refused(&self, by: usize, error: &ClientError) {
        if !["unreachable", "unavailable", "full"].contains(&error.code()) {
            lock(&self.complaints).push(format!("node{by} refused honest load with {}: {error}", error.code()));
            self.stop();
        }
        sleep(PATIENCE);
    }
}

/// A model that is paid for.
pub(crate) struct Model {
    id: ModelId,
    payer: SecretKey,
    server: SecretKey,
    fee: Drops,
    expiry: u64,
}

impl Model {
    /// Alice publishes a document and registers a model made from it, for which Bob will pay Carol.
    pub(crate) fn register(net: &Net) -> anyhow::Result<Self> {
        let (author, api) = (net.key("alice"), net.api(0)?);
        let submit = |object: Object| net.decide(0, &object, &author);
        let owner = author.account();
        let datanet = submit(Object::DataNet(DataNet {
            owner,
            name: "promises".to_owned(),
            description: "What must be kept.".to_owned(),
            admission: Admission::Open,
            licences: vec!["CC0-1.0".to_owned()],
            max_contribution_bytes: 1 << 20,
            max_known_basis_points: 10_000,
        }))?;
        let _: Value = api.post_bytes("/v1/blobs", TEXT.as_bytes())?;
        let document =
            Document { title: "A promise".to_owned(), hash: document_hash(TEXT.as_bytes()), bytes: TEXT.len() as u64 };
        let contribution = submit(contribution(owner, datanet.into(), document.clone()))?;
        let host: libp2p::PeerId = api.status()?.peer_id.parse().context("a node's peer id")?;
        let manifest = submit(Object::DatasetManifest(DatasetManifest {
            owner,
            datanet: datanet.into(),
            version: 1,
            parent: None,
            added: vec![contribution.into()],
            content_root: content_root(&Hash32::default(), &[document.hash]),
            documents: 1,
            bytes: document.bytes,
            host: host.to_bytes(),
        }))?;
        net.until("an active manifest", |_| {
            let shown: Option<Value> = api.get(&format!("/v1/manifests/{manifest}")).ok();
            Ok(shown.filter(|shown| shown["state"] == "active"))
        })?;
        let model = ModelManifest {
            builder: owner,
            name: "keeper".to_owned(),
            weights: document.hash,
            base: None,
            reserve_bp: 0,
            lineage: vec![LineageEntry { manifest: manifest.into(), weight: 1 }],
            method: Method::Spans,
            price_in: PRICE,
            price_out: PRICE,
            checkpoint: None,
        };
        let fee = model.fee(TOKENS, TOKENS).context("a small fee")?;
        let id = submit(Object::ModelManifest(model))?;
        let expiry = net.height(0)? + EXPIRY_AHEAD;
        Ok(Self { id: id.into(), payer: net.key("bob"), server: net.key("carol"), fee, expiry })
    }

    fn receipt(&self, nonce: u64, genesis: &Hash32) -> anyhow::Result<Envelope> {
        let object = Object::Receipt(Receipt {
            payer: self.payer.account(),
            server: self.server.account(),
            model: self.id,
            prompt: document_hash(&nonce.to_be_bytes()),
            output: format!("Answer {nonce}: what was promised must be kept, they say."),
            tokens_in: TOKENS,
            tokens_out: TOKENS,
            fee: self.fee,
            expiry: self.expiry,
            nonce,
            trace: None,
        });
        Ok(seal(&object, &[&self.payer, &self.server], genesis)?)
    }
}

fn contribution(contributor: Account, datanet: DataNetId, document: Document) -> Object {
    let allowed = Permission::Allowed;
    Object::Contribution(Contribution {
        contributor,
        datanet,
        credit: "Alice".to_owned(),
        title: "A promise".to_owned(),
        source: String::new(),
        language: "en".to_owned(),
        licence: "CC0-1.0".to_owned(),
        origin: Origin::OwnWork,
        usage: UsagePolicy {
            ai_training: allowed,
            ai_generative_training: allowed,
            ai_inference: allowed,
            data_mining: allowed,
        },
        previous: None,
        documents: vec![document],
    })
}
