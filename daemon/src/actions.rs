//! What people do, as functions: build an object, sign it, submit it to a node, follow it.
//!
//! The command line, the demo and the tests all go through here, and so through the real API. Keys stay on this side:
//! a node gets signed bytes.

use crate::api::types::{
    Accepted, AccountShown, BatchReply, BlobTaken, ContributionShown, DataNetDetail, DataNetShown, Earned, Earnings,
    EnvelopeJson, EpochShown, Explained, ManifestShown, ModelShown, ObjectShown, Page, PeerShown, ReceiptShown,
    ValidatorShown,
};
use crate::client::{Client, ClientError};
use libp2p::PeerId;
use protocol::crypto::{SecretKey, checkpoint_digest, content_root, document_hash, prompt_commitment};
use protocol::envelope::{Verified, seal};
use protocol::ids::{Account, ContributionId, DataNetId, Hash32, ManifestId, ModelId, ObjectId, ReceiptId};
use protocol::objects::{
    Action, Admission, Checkpoint, Contribution, DataNet, DatasetManifest, Document, Drops, LineageEntry, Method,
    ModelManifest, Object, Operation, Origin, Permission, Receipt, UsagePolicy,
};
use protocol::refusal::Refusal;
use protocol::wire::encode_envelope;
use serde::de::DeserializeOwned;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often something that is followed is looked at.
const POLL: Duration = Duration::from_millis(100);
/// The longest time between epochs that a genesis may have.
const LONGEST_EPOCH_MS: u64 = 3_600_000;
/// How much longer than two epochs a proof may take.
const PROOF_SLACK: Duration = Duration::from_secs(60);
/// How many epochs a receipt may take to be sealed unless told otherwise.
pub const DEFAULT_EXPIRY: u64 = 1000;

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum ActionError {
    /// The node cannot be asked, or said no.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// It cannot even be signed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A document was not taken.
    #[error("document {title:?} is not taken")]
    Document {
        /// Its title.
        title: String,
        /// Why.
        source: ClientError,
    },
    /// A file cannot be read.
    #[error("{} cannot be read", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// It took too long.
    #[error("{what} {id} is still {state} after {waited_s} seconds")]
    TooLong {
        /// What was waited for.
        what: &'static str,
        /// Its id.
        id: String,
        /// How far it is.
        state: String,
        /// How long was waited.
        waited_s: u64,
    },
    /// It ended otherwise than was waited for.
    #[error("{what} {id} is {state}{}", because.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default())]
    Ended {
        /// What was waited for.
        what: &'static str,
        /// Its id.
        id: String,
        /// What became of it.
        state: String,
        /// The one-word reason.
        code: String,
        /// The sentence.
        because: Option<String>,
    },
    /// There is nothing to do.
    #[error("{0}")]
    Nothing(String),
    /// The node answered with something that is no id or number.
    #[error("the node answered with something that this version does not understand: {0}")]
    Answer(String),
    /// The system gives no random bytes.
    #[error("the system gives no random bytes: {0}")]
    Random(String),
}

impl ActionError {
    /// One word.
    pub fn code(&self) -> &str {
        match self {
            Self::Client(error) | Self::Document { source: error, .. } => error.code(),
            Self::Refused(refusal) => refusal.as_str(),
            Self::TooLong { .. } => "timeout",
            Self::Ended { code, .. } => code,
            Self::Nothing(_) => "nothing",
            Self::File { .. } => "file",
            Self::Answer(_) => "answer",
            Self::Random(_) => "random",
        }
    }

    /// What to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Client(error) | Self::Document { source: error, .. } => error.hint(),
            Self::TooLong { .. } => Some(
                "it goes on by itself; look again later, or see whether epochs are decided: tributary epochs".into(),
            ),
            _ => None,
        }
    }
}

type Result<T> = std::result::Result<T, ActionError>;

/// A node, and what must be known of its network to sign for it.
#[derive(Clone, Debug)]
pub struct Remote {
    client: Client,
    genesis: Hash32,
    host: Vec<u8>,
    params: RemoteParams,
}

/// The network's parameters that signing needs.
#[derive(Clone, Copy, Debug)]
struct RemoteParams {
    object_fee: Drops,
    max_expiry: u64,
}

/// A new DataNet.
#[derive(Clone, Debug)]
pub struct NewDataNet {
    /// What people call it.
    pub name: String,
    /// What it holds.
    pub description: String,
    /// Does the owner approve contributions?
    pub curated: bool,
    /// Licences it accepts.
    pub licences: Vec<String>,
    /// Most bytes of one contribution.
    pub max_contribution_bytes: u64,
    /// The most of a contribution's words, in basis points, that earlier contributions may hold.
    pub max_known_basis_points: u32,
}

/// A document to contribute.
#[derive(Clone, Debug)]
pub struct NewDocument {
    /// What people call it.
    pub title: String,
    /// Its bytes: UTF-8 text.
    pub bytes: Vec<u8>,
}

/// A new contribution.
#[derive(Clone, Debug)]
pub struct NewContribution {
    /// Where to.
    pub datanet: DataNetId,
    /// The name to credit.
    pub credit: String,
    /// What people call it.
    pub title: String,
    /// Where it comes from.
    pub source: String,
    /// BCP-47 language tag.
    pub language: String,
    /// SPDX licence expression.
    pub licence: String,
    /// How the contributor came by it.
    pub origin: Origin,
    /// The documents.
    pub documents: Vec<NewDocument>,
}

/// A new model.
#[derive(Clone, Debug)]
pub struct NewModel {
    /// What people call it.
    pub name: String,
    /// BLAKE3 of its weights; that of a checkpoint follows from its files.
    pub weights: Hash32,
    /// The model it was made from.
    pub base: Option<ModelId>,
    /// What it reserves of its descendants' pay, in basis points.
    pub reserve_bp: u32,
    /// The data it was made from.
    pub lineage: Vec<LineageEntry>,
    /// Drops for 1000 tokens of prompt.
    pub price_in: Drops,
    /// Drops for 1000 tokens of answer.
    pub price_out: Drops,
    /// What gradients are taken of, of a model by influence.
    pub checkpoint: Option<Checkpoint>,
}

/// A model's id and price: what a receipt needs of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Price {
    /// The model.
    pub model: ModelId,
    /// Drops for 1000 tokens of prompt.
    pub price_in: Drops,
    /// Drops for 1000 tokens of answer.
    pub price_out: Drops,
}

/// A new receipt.
#[derive(Clone, Debug)]
pub struct NewReceipt {
    /// The model with its price ([`Remote::price`]).
    pub price: Price,
    /// What was asked.
    pub prompt: String,
    /// What was answered.
    pub output: String,
    /// Tokens of the prompt; its words when not given.
    pub tokens_in: Option<u64>,
    /// Tokens of the answer; its words when not given.
    pub tokens_out: Option<u64>,
    /// The last epoch in which it may be sealed.
    pub expiry: u64,
}

impl Remote {
    /// Asks a node which network it is of.
    pub fn connect(client: Client) -> Result<Self> {
        let status = client.status()?;
        let genesis: serde_json::Value = client.get("/v1/genesis")?;
        let wrong = |what: &str| ActionError::Answer(format!("its {what} cannot be read"));
        let object_fee = genesis["params"]["object_fee"].as_str().ok_or_else(|| wrong("genesis"))?;
        let max_expiry = genesis["params"]["max_expiry"].as_u64().ok_or_else(|| wrong("genesis"))?;
        let peer: PeerId = status.peer_id.parse().map_err(|_| wrong("peer id"))?;
        Ok(Self {
            genesis: parse(&status.genesis)?,
            host: peer.to_bytes(),
            params: RemoteParams { object_fee: drops(object_fee)?, max_expiry },
            client,
        })
    }

    /// The node's client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The genesis hash.
    pub fn genesis(&self) -> Hash32 {
        self.genesis
    }

    /// What it costs to register an object, and the least fee of an operation.
    pub fn object_fee(&self) -> Drops {
        self.params.object_fee
    }

    /// Signs an object and submits it. When this returns, the node will not lose it.
    pub fn submit(&self, object: &Object, keys: &[&SecretKey]) -> Result<ObjectId> {
        let envelope = seal(object, keys, &self.genesis)?;
        let accepted: Accepted = self.client.post_bytes("/v1/objects", &encode_envelope(&envelope))?;
        parse(&accepted.id)
    }

    /// Creates a DataNet.
    pub fn create_datanet(&self, owner: &SecretKey, new: NewDataNet) -> Result<DataNetId> {
        let object = Object::DataNet(DataNet {
            owner: owner.account(),
            name: new.name,
            description: new.description,
            admission: if new.curated { Admission::Curated } else { Admission::Open },
            licences: new.licences,
            max_contribution_bytes: new.max_contribution_bytes,
            max_known_basis_points: new.max_known_basis_points,
        });
        Ok(self.submit(&object, &[owner])?.into())
    }

    /// Uploads a document to the node.
    pub fn upload(&self, document: &NewDocument) -> Result<Document> {
        let taken: BlobTaken = self
            .client
            .post_bytes("/v1/blobs", &document.bytes)
            .map_err(|source| ActionError::Document { title: document.title.clone(), source })?;
        let hash = document_hash(&document.bytes);
        if taken.hash != hash.to_string() {
            return Err(ActionError::Answer(format!("document {:?} arrived as {}", document.title, taken.hash)));
        }
        Ok(Document { title: document.title.clone(), hash, bytes: taken.bytes })
    }

    /// Uploads a file of a model to the node.
    pub fn upload_file(&self, title: &str, path: &Path) -> Result<Document> {
        let wrong = |source| ActionError::File { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(wrong)?;
        let mut hasher = blake3::Hasher::new();
        std::io::copy(&mut file, &mut hasher).map_err(wrong)?;
        let hash = Hash32(*hasher.finalize().as_bytes());
        let file = File::open(path).map_err(wrong)?;
        let taken: BlobTaken = self
            .client
            .put_file(&format!("/v1/files/{hash}"), file)
            .map_err(|source| ActionError::Document { title: title.to_owned(), source })?;
        Ok(Document { title: title.to_owned(), hash, bytes: taken.bytes })
    }

    /// The node as peers know it: the bytes of its peer id.
    pub fn host(&self) -> &[u8] {
        &self.host
    }

    /// Uploads documents and offers them to a DataNet.
    pub fn contribute(&self, contributor: &SecretKey, new: NewContribution) -> Result<ContributionId> {
        let documents = new.documents.iter().map(|document| self.upload(document)).collect::<Result<_>>()?;
        let object = Object::Contribution(Contribution {
            contributor: contributor.account(),
            datanet: new.datanet,
            credit: new.credit,
            title: new.title,
            source: new.source,
            language: new.language,
            licence: new.licence,
            origin: new.origin,
            usage: UsagePolicy {
                ai_training: Permission::Allowed,
                ai_generative_training: Permission::Allowed,
                ai_inference: Permission::Allowed,
                data_mining: Permission::Allowed,
            },
            previous: None,
            documents,
        });
        Ok(self.submit(&object, &[contributor])?.into())
    }

    /// Publishes a DataNet's next version, served by this node: with the contributions named, or with all admitted ones
    /// that are in no manifest, in their order of admission.
    pub fn publish(
        &self,
        owner: &SecretKey,
        datanet: &DataNetId,
        contributions: Option<&[ContributionId]>,
    ) -> Result<ManifestId> {
        let detail = self.datanet(datanet)?;
        let added: Vec<ContributionShown> = match contributions {
            Some(ids) => ids.iter().map(|id| self.contribution(id)).collect::<Result<_>>()?,
            None => self.unpublished(datanet)?,
        };
        if added.is_empty() {
            let nothing = format!("DataNet {datanet} has no admitted contribution that is not in a manifest yet");
            return Err(ActionError::Nothing(nothing));
        }
        let parent = detail.versions.last();
        let root = parent.map_or(Ok(Hash32::default()), |parent| parse(&parent.content_root))?;
        let documents = added.iter().flat_map(|contribution| &contribution.documents);
        let hashes: Vec<Hash32> = documents.clone().map(|document| parse(&document.hash)).collect::<Result<_>>()?;
        let object = Object::DatasetManifest(DatasetManifest {
            owner: owner.account(),
            datanet: *datanet,
            version: detail.datanet.version + 1,
            parent: parent.map(|parent| parse(&parent.id)).transpose()?,
            added: added.iter().map(|contribution| parse(&contribution.id)).collect::<Result<_>>()?,
            content_root: content_root(&root, &hashes),
            documents: parent.map_or(0, |parent| parent.documents) + hashes.len() as u64,
            bytes: parent.map_or(0, |parent| parent.bytes) + documents.map(|document| document.bytes).sum::<u64>(),
            host: self.host.clone(),
        });
        Ok(self.submit(&object, &[owner])?.into())
    }

    /// Registers a model.
    pub fn register_model(&self, builder: &SecretKey, new: NewModel) -> Result<ModelId> {
        let object = Object::ModelManifest(ModelManifest {
            builder: builder.account(),
            name: new.name,
            weights: new.checkpoint.as_ref().map_or(new.weights, checkpoint_digest),
            base: new.base,
            reserve_bp: new.reserve_bp,
            lineage: new.lineage,
            method: if new.checkpoint.is_some() { Method::Influence } else { Method::Spans },
            price_in: new.price_in,
            price_out: new.price_out,
            checkpoint: new.checkpoint,
        });
        Ok(self.submit(&object, &[builder])?.into())
    }

    /// Submits a receipt, signed by its payer and its server.
    pub fn submit_receipt(&self, payer: &SecretKey, server: &SecretKey, new: NewReceipt) -> Result<ReceiptId> {
        let object = Object::Receipt(new.receipt(payer.account(), server.account())?);
        Ok(self.submit(&object, &[payer, server])?.into())
    }

    /// Submits receipts that are signed already: one request, one reply for each.
    pub fn submit_receipts(&self, receipts: &[EnvelopeJson]) -> Result<BatchReply> {
        Ok(self.client.post("/v1/receipts", &receipts)?)
    }

    /// Submits an account's next operation.
    pub fn operate(&self, key: &SecretKey, action: Action) -> Result<ObjectId> {
        let account = key.account();
        let nonce = self.account(&account)?.next_nonce;
        let fee = if action.is_free() { Drops::ZERO } else { self.params.object_fee };
        let object = Object::Operation(Operation { account, nonce, fee, action });
        self.submit(&object, &[key])
    }

    /// The last epoch in which a receipt that is submitted now may be sealed.
    pub fn expiry(&self) -> Result<u64> {
        let ahead = DEFAULT_EXPIRY.min(self.params.max_expiry);
        Ok(self.client.status()?.height.saturating_add(ahead))
    }

    /// A model's price.
    pub fn price(&self, model: &ModelId) -> Result<Price> {
        let shown = self.model(model)?;
        Ok(Price { model: *model, price_in: drops(&shown.price_in)?, price_out: drops(&shown.price_out)? })
    }

    /// Follows an object until it is in one of `states`. Whatever else can never come there is an error at once.
    pub fn wait_for(
        &self,
        what: &'static str,
        id: impl Into<ObjectId>,
        states: &[&str],
        within: Duration,
        mut progress: impl FnMut(&ObjectShown),
    ) -> Result<ObjectShown> {
        let (id, began) = (id.into(), Instant::now());
        loop {
            let shown = self.object(&id)?;
            if states.contains(&shown.state.as_str()) {
                return Ok(shown);
            }
            if ["refused", "rejected", "refunded", "superseded"].contains(&shown.state.as_str()) {
                let code = shown.code.unwrap_or_else(|| shown.state.clone());
                return Err(ActionError::Ended {
                    what,
                    id: id.to_string(),
                    state: shown.state,
                    code,
                    because: shown.message,
                });
            }
            progress(&shown);
            if began.elapsed() >= within {
                let waited_s = began.elapsed().as_secs();
                return Err(ActionError::TooLong { what, id: id.to_string(), state: shown.state, waited_s });
            }
            std::thread::sleep(POLL);
        }
    }

    /// Follows an object until it is in a block.
    pub fn wait_included(&self, what: &'static str, id: impl Into<ObjectId>, within: Duration) -> Result<ObjectShown> {
        const IN_A_BLOCK: [&str; 9] =
            ["included", "pending", "admitted", "proposed", "active", "sealed", "attributed", "settled", "available"];
        self.wait_for(what, id, &IN_A_BLOCK, within, |_| ())
    }

    /// Follows a manifest until it is active and receipts of the next block are attributed to it.
    pub fn wait_active(
        &self,
        manifest: &ManifestId,
        within: Duration,
        progress: impl FnMut(&ObjectShown),
    ) -> Result<ManifestShown> {
        self.wait_for("manifest", *manifest, &["active"], within, progress)?;
        self.manifest(manifest)
    }

    /// Follows a receipt until it is settled.
    pub fn wait_settled(
        &self,
        receipt: &ReceiptId,
        within: Duration,
        progress: impl FnMut(&ObjectShown),
    ) -> Result<ReceiptShown> {
        self.wait_for("receipt", *receipt, &["settled", "available"], within, progress)?;
        self.receipt(receipt)
    }

    /// An object and what became of it.
    pub fn object(&self, id: &ObjectId) -> Result<ObjectShown> {
        Ok(self.client.get(&format!("/v1/objects/{id}"))?)
    }

    /// An object as its authors signed it. Its id is the hash of its bytes, so whatever node brings it is not trusted.
    pub fn signed(&self, id: impl Into<ObjectId>) -> Result<Object> {
        let id = id.into();
        let envelope = self.object(&id)?.envelope;
        let envelope = envelope.ok_or_else(|| ActionError::Answer(format!("object {id} without its envelope")))?;
        let verified = Verified::check(crate::api::envelope(&envelope)?, &self.genesis)?;
        match verified.id() == id {
            true => Ok(verified.object().clone()),
            false => Err(ActionError::Answer(format!("object {} in the place of {id}", verified.id()))),
        }
    }

    /// An account.
    pub fn account(&self, account: &Account) -> Result<AccountShown> {
        Ok(self.client.get(&format!("/v1/accounts/{account}"))?)
    }

    /// A DataNet.
    pub fn datanet(&self, id: &DataNetId) -> Result<DataNetDetail> {
        Ok(self.client.get(&format!("/v1/datanets/{id}"))?)
    }

    /// All DataNets.
    pub fn datanets(&self) -> Result<Vec<DataNetShown>> {
        self.all("/v1/datanets?limit=1000")
    }

    /// A contribution.
    pub fn contribution(&self, id: &ContributionId) -> Result<ContributionShown> {
        Ok(self.client.get(&format!("/v1/contributions/{id}"))?)
    }

    /// A DataNet's admitted contributions that are in no manifest, in their order of admission.
    pub fn unpublished(&self, datanet: &DataNetId) -> Result<Vec<ContributionShown>> {
        let path = format!("/v1/contributions?datanet={datanet}&state=admitted&unpublished=true&limit=1000");
        let mut found: Vec<ContributionShown> = self.all(&path)?;
        found.sort_by_key(|contribution| contribution.order);
        Ok(found)
    }

    /// A manifest.
    pub fn manifest(&self, id: &ManifestId) -> Result<ManifestShown> {
        Ok(self.client.get(&format!("/v1/manifests/{id}"))?)
    }

    /// A model.
    pub fn model(&self, id: &ModelId) -> Result<ModelShown> {
        Ok(self.client.get(&format!("/v1/models/{id}"))?)
    }

    /// All models.
    pub fn models(&self) -> Result<Vec<ModelShown>> {
        self.all("/v1/models?limit=1000")
    }

    /// A receipt.
    pub fn receipt(&self, id: &ReceiptId) -> Result<ReceiptShown> {
        Ok(self.client.get(&format!("/v1/receipts/{id}"))?)
    }

    /// Receipts, all or those that concern an account.
    pub fn receipts(&self, account: Option<&Account>) -> Result<Vec<ReceiptShown>> {
        let only = account.map(|account| format!("&account={account}")).unwrap_or_default();
        self.all(&format!("/v1/receipts?limit=1000{only}"))
    }

    /// A receipt's answer with its paid passages.
    pub fn explain(&self, id: &ReceiptId) -> Result<Explained> {
        Ok(self.client.get(&format!("/v1/receipts/{id}/explain"))?)
    }

    /// A proof of a receipt's payouts, for somebody who trusts the genesis, or the block of the height `trust`.
    pub fn proof(&self, id: &ReceiptId, trust: Option<u64>) -> Result<Vec<u8>> {
        let query = trust.map(|height| format!("?trust={height}")).unwrap_or_default();
        let path = format!("/v1/receipts/{id}/proof{query}");
        // The node waits for the epoch that signs it no longer than a request may take, and epochs may take an hour.
        let patience = 2 * Duration::from_millis(self.client.status()?.epoch_ms.min(LONGEST_EPOCH_MS)) + PROOF_SLACK;
        let began = Instant::now();
        loop {
            match self.client.get_bytes(&path) {
                Err(error) if error.code() == "early" && began.elapsed() < patience => std::thread::sleep(POLL),
                proof => return Ok(proof?),
            }
        }
    }

    /// What an account earned.
    pub fn earned(&self, account: &Account) -> Result<Earned> {
        Ok(self.client.get(&format!("/v1/earnings/{account}"))?)
    }

    /// What all accounts earned.
    pub fn earnings(&self) -> Result<Earnings> {
        Ok(self.client.get("/v1/earnings")?)
    }

    /// The last epochs, newest first.
    pub fn epochs(&self, limit: u64) -> Result<Vec<EpochShown>> {
        Ok(self.client.get(&format!("/v1/epochs?limit={limit}"))?)
    }

    /// Everybody who has something at stake.
    pub fn validators(&self) -> Result<Vec<ValidatorShown>> {
        Ok(self.client.get("/v1/validators")?)
    }

    /// The node's peers.
    pub fn peers(&self) -> Result<Vec<PeerShown>> {
        Ok(self.client.get("/v1/peers")?)
    }

    /// Every page of a list. `path` has a query already.
    fn all<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>> {
        let mut items = Vec::new();
        let mut after = None;
        loop {
            let page = match &after {
                None => path.to_owned(),
                Some(after) => format!("{path}&after={after}"),
            };
            let page: Page<T> = self.client.get(&page)?;
            items.extend(page.items);
            if page.next.is_none() || page.next == after {
                return Ok(items);
            }
            after = page.next;
        }
    }
}

impl NewReceipt {
    /// The receipt that payer and server sign. The prompt's salt and the nonce are random.
    pub fn receipt(&self, payer: Account, server: Account) -> Result<Receipt> {
        let (mut salt, mut nonce) = ([0; 32], [0; 8]);
        for bytes in [salt.as_mut_slice(), &mut nonce] {
            getrandom::fill(bytes).map_err(|error| ActionError::Random(error.to_string()))?;
        }
        let words = |text: &str| protocol::words::words(text).count() as u64;
        let tokens_in = self.tokens_in.unwrap_or_else(|| words(&self.prompt));
        let tokens_out = self.tokens_out.unwrap_or_else(|| words(&self.output).max(1));
        let fee = self.price.fee(tokens_in, tokens_out);
        let too_much = || Refusal::Field { field: "tokens", reason: "their price cannot be counted".to_owned() };
        Ok(Receipt {
            payer,
            server,
            model: self.price.model,
            prompt: prompt_commitment(&salt, &self.prompt),
            output: self.output.clone(),
            tokens_in,
            tokens_out,
            fee: fee.ok_or_else(too_much)?,
            expiry: self.expiry,
            nonce: u64::from_be_bytes(nonce),
            trace: None,
        })
    }
}

impl Price {
    /// The fee of an answer, rounded up to the drop; none when it overflows.
    pub fn fee(&self, tokens_in: u64, tokens_out: u64) -> Option<Drops> {
        ModelManifest::price(self.price_in, self.price_out, tokens_in, tokens_out)
    }
}

/// The price of a 1000 tokens that a network's parameters make sensible to start with: a hundredth of a credit.
pub const DEFAULT_PRICE: Drops = Drops(Drops::CREDIT.0 / 100);

/// An amount as the API writes it.
pub fn drops(text: &str) -> Result<Drops> {
    text.parse().map(Drops).map_err(|_| ActionError::Answer(format!("{text:?} is no amount of drops")))
}

/// An id or account as the API writes it.
pub fn parse<T: std::str::FromStr>(text: &str) -> Result<T>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error: T::Err| ActionError::Answer(format!("{text:?}: {error}")))
}
