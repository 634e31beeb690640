//! Who acts: an author with a small DataNet and a model made from it, a payer, a server.

use crate::net::Net;
use anyhow::Context as _;
use daemon::client::Client;
use protocol::crypto::{SecretKey, content_root, document_hash};
use protocol::envelope::seal;
use protocol::ids::{Hash32, ModelId};
use protocol::objects::{
    Admission, Contribution, DataNet, DatasetManifest, Document, Drops, Envelope, LineageEntry, Method, ModelManifest,
    Object, Origin, Permission, Receipt, UsagePolicy,
};
use protocol::wire;
use serde_json::Value;
use std::sync::atomic::{AtomicU64, Ordering};

/// A network that is none: for what is only checked, never sent.
pub(crate) const NOBODY: Hash32 = Hash32([0; 32]);
/// The author's one document.
const TEXT: &str = "It is well to remember that the measure of a machine is taken by those who must wait for it.";
/// Prices of 1000 tokens.
const PRICE: Drops = Drops(1_000);
/// Tokens of each prompt and each answer.
const TOKENS: u64 = 12;
/// The last epoch for receipts: as far ahead as a devnet allows, less what may pass before they are sent.
const EXPIRY_AHEAD: u64 = 9_000;

/// Keys and what they agreed on. Receipts can be made from several threads.
pub(crate) struct People {
    payer: SecretKey,
    server: SecretKey,
    genesis: Hash32,
    model: ModelId,
    fee: Drops,
    serial: AtomicU64,
    expiry: u64,
}

impl People {
    /// People whose receipts are sent nowhere.
    pub(crate) fn strangers() -> Self {
        let key = |byte| SecretKey::from_seed([byte; 32]);
        let (genesis, model) = (NOBODY, ModelId([1; 32]));
        Self { payer: key(1), server: key(2), genesis, model, fee: Drops(24), serial: AtomicU64::new(0), expiry: 1 }
    }

    /// Publishes a document, and registers a model made from it.
    pub(crate) fn settle(net: &Net) -> anyhow::Result<Self> {
        let key = |name: &str| net.devnet.key(name).secret_key();
        let (author, api) = (key("alice"), net.api(0)?);
        let submit = |object: Object| -> anyhow::Result<protocol::ids::ObjectId> {
            let envelope = seal(&object, &[&author], &net.genesis)?;
            let _: Value = api.post_bytes("/v1/objects", &wire::encode_envelope(&envelope))?;
            net.until("an object in a block of all nodes", |net| {
                let has = |i| Ok(shown(&net.api(i)?, "objects", &envelope.id().to_string())?["height"].is_u64());
                (0..net.devnet.len()).try_fold(true, |all, i| has(i).map(|has| all && has))
            })?;
            Ok(envelope.id())
        };
        let owner = author.account();
        let datanet = submit(Object::DataNet(DataNet {
            owner,
            name: "measures".to_owned(),
            description: "What is measured here.".to_owned(),
            admission: Admission::Open,
            licences: vec!["CC0-1.0".to_owned()],
            max_contribution_bytes: 1 << 20,
            max_known_basis_points: 10_000,
        }))?;
        let _: Value = api.post_bytes("/v1/blobs", TEXT.as_bytes())?;
        let document =
            Document { title: "A measure".to_owned(), hash: document_hash(TEXT.as_bytes()), bytes: TEXT.len() as u64 };
        let contribution = submit(Object::Contribution(contribution(owner, datanet.into(), document.clone())))?;
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
        net.until("an active manifest", |net| {
            Ok(shown(&net.api(0)?, "manifests", &manifest.to_string())?["state"] == "active")
        })?;
        let model = ModelManifest {
            builder: owner,
            name: "measured".to_owned(),
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
        let (payer, server, genesis) = (key("bob"), key("carol"), net.genesis);
        Ok(Self { payer, server, genesis, model: id.into(), fee, serial: AtomicU64::new(0), expiry })
    }

    /// The next receipt, with its bytes. A part of each answer stands in the document.
    pub(crate) fn receipt(&self) -> (Envelope, Vec<u8>) {
        let nonce = self.serial.fetch_add(1, Ordering::Relaxed);
        let object = Object::Receipt(Receipt {
            payer: self.payer.account(),
            server: self.server.account(),
            model: self.model,
            prompt: document_hash(&nonce.to_be_bytes()),
            output: format!("Answer {nonce}: the measure of a machine is taken by those who ask."),
            tokens_in: TOKENS,
            tokens_out: TOKENS,
            fee: self.fee,
            expiry: self.expiry,
            nonce,
            trace: None,
        });
        let signed = seal(&object, &[&self.payer, &self.server], &self.genesis);
        #[expect(clippy::expect_used, reason = "the keys are those that the receipt names")]
        let envelope = signed.expect("the right keys");
        let bytes = wire::encode_envelope(&envelope);
        (envelope, bytes)
    }

    pub(crate) fn receipts(&self, count: usize) -> Vec<(Envelope, Vec<u8>)> {
        (0..count).map(|_| self.receipt()).collect()
    }
}

/// What the API says of a thing; null while it does not know it.
fn shown(api: &Client, kind: &str, id: &str) -> anyhow::Result<Value> {
    match api.get(&format!("/v1/{kind}/{id}")) {
        Err(error) if error.code() == "unknown" => Ok(Value::Null),
        other => Ok(other?),
    }
}

fn contribution(
    contributor: protocol::ids::Account,
    datanet: protocol::ids::DataNetId,
    document: Document,
) -> Contribution {
    let allowed = Permission::Allowed;
    Contribution {
        contributor,
        datanet,
        credit: "Alice".to_owned(),
        title: "A measure".to_owned(),
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
    }
}
