//! The objects that people and nodes sign: what each says. Their bytes are in [`crate::wire`].
//!
//! An object is immutable and named by the hash of its payload. It travels in an [`Envelope`] with its author's
//! signature; a receipt carries two, its payer's and its server's, so that neither can invent one alone.

mod operation;

pub use operation::{Action, Operation};

use crate::crypto::{Kind, Purpose, Signature};
use crate::ids::{Account, ContributionId, DataNetId, Hash32, ManifestId, ModelId, ObjectId};
use crate::influence::{Query, Solution};
use borsh::{BorshDeserialize, BorshSerialize};

pub use crate::offence::{DoubleSign, Offence, SaidProposal, SaidVote};

/// An amount of money in drops; 1 credit = 1,000,000,000 drops.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Drops(pub u128);

impl Drops {
    /// No money.
    pub const ZERO: Self = Self(0);
    /// One credit.
    pub const CREDIT: Self = Self(1_000_000_000);

    /// The sum, unless it overflows.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The difference, unless it is negative.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }
}

impl std::fmt::Display for Drops {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Who may add to a DataNet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Whatever passes the measured gates.
    Open,
    /// What the owner approves.
    Curated,
}

/// A named, governed pool of one kind of data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataNet {
    /// Who governs it.
    pub owner: Account,
    /// What people call it.
    pub name: String,
    /// What it holds, in a sentence or two.
    pub description: String,
    /// Who may add to it.
    pub admission: Admission,
    /// SPDX licence expressions it accepts; at least one.
    pub licences: Vec<String>,
    /// Most bytes of one contribution's documents together.
    pub max_contribution_bytes: u64,
    /// The most of a contribution's words, in basis points, that may stand in passages which earlier contributions hold.
    /// Validators measure it when a manifest adds the contribution, and attest no manifest with one above it.
    pub max_known_basis_points: u32,
}

/// How a contributor came by the documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Written by the contributor.
    OwnWork,
    /// Free of copyright.
    PublicDomain,
    /// Used under a licence that allows it.
    Licensed,
}

/// May the documents be used for something? The words are those of CAWG's training-and-data-mining assertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// Yes.
    Allowed,
    /// Under conditions named in the licence.
    Constrained,
    /// No.
    NotAllowed,
}

/// What a contributor allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsagePolicy {
    /// Training models that do not generate content.
    pub ai_training: Permission,
    /// Training models that do.
    pub ai_generative_training: Permission,
    /// Use as input to inference.
    pub ai_inference: Permission,
    /// Text and data mining.
    pub data_mining: Permission,
}

/// One document of a contribution.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Document {
    /// What people call it.
    pub title: String,
    /// BLAKE3 of its bytes.
    pub hash: Hash32,
    /// Its length in bytes.
    pub bytes: u64,
}

/// Documents offered by one contributor to a DataNet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contribution {
    /// Who is paid.
    pub contributor: Account,
    /// The pool it is offered to.
    pub datanet: DataNetId,
    /// The name to credit, as people read it.
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
    /// What it may be used for.
    pub usage: UsagePolicy,
    /// The contribution this one replaces.
    pub previous: Option<ContributionId>,
    /// The documents, in order; at least one.
    pub documents: Vec<Document>,
}

/// An immutable, signed version of a DataNet's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatasetManifest {
    /// The DataNet's owner.
    pub owner: Account,
    /// Whose content.
    pub datanet: DataNetId,
    /// 1 for the first, then one more each time.
    pub version: u32,
    /// The version before, from version 2 on.
    pub parent: Option<ManifestId>,
    /// The contributions that this version adds to its parent's, in order; at least one.
    pub added: Vec<ContributionId>,
    /// [`crate::crypto::content_root`] over the parent's root and the added documents in order.
    pub content_root: Hash32,
    /// Documents in this version, the parent's included.
    pub documents: u64,
    /// Bytes in this version, the parent's included.
    pub bytes: u64,
    /// The peer id (multihash bytes) of a node that serves the content.
    pub host: Vec<u8>,
}

/// How a model's answers are attributed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Method {
    /// By the text that an answer shares with contributions.
    Spans,
    /// By how much training examples raised the likelihood of an answer (docs/adr/0023).
    Influence,
}

/// All that is needed to take a model's gradients: what influence is computed from.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Checkpoint {
    /// The files, ascending by their titles, which are their names in the checkpoint's folder.
    pub files: Vec<Document>,
    /// A training example is at most so many bytes of a document's text.
    pub window: u32,
    /// The peer id (multihash bytes) of a node that serves the files.
    pub host: Vec<u8>,
}

/// A manifest that a model was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct LineageEntry {
    /// The version used.
    pub manifest: ManifestId,
    /// Its part of the base dividend, relative to the others'; at least 1.
    pub weight: u32,
}

/// A model: weights by digest, where they come from, and what an answer costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelManifest {
    /// Who is paid for the model.
    pub builder: Account,
    /// What people and API calls name it.
    pub name: String,
    /// BLAKE3 of the weights file; with a checkpoint, [`crate::crypto::checkpoint_digest`] of its files.
    pub weights: Hash32,
    /// The model it was made from.
    pub base: Option<ModelId>,
    /// Part of a descendant's model pay that is reserved for this model, in basis points.
    pub reserve_bp: u32,
    /// The data it was made from; at least one, each DataNet at most once.
    pub lineage: Vec<LineageEntry>,
    /// How its answers are attributed.
    pub method: Method,
    /// Price of 1000 tokens of prompt.
    pub price_in: Drops,
    /// Price of 1000 tokens of answer.
    pub price_out: Drops,
    /// What gradients are taken of: of a model by influence, and of no other.
    pub checkpoint: Option<Checkpoint>,
}

impl ModelManifest {
    /// The fee of an answer, rounded up to the drop; none when it overflows.
    pub fn fee(&self, tokens_in: u64, tokens_out: u64) -> Option<Drops> {
        Self::price(self.price_in, self.price_out, tokens_in, tokens_out)
    }

    /// The fee of an answer at these prices of 1000 tokens.
    pub fn price(price_in: Drops, price_out: Drops, tokens_in: u64, tokens_out: u64) -> Option<Drops> {
        let part = |price: Drops, tokens: u64| price.0.checked_mul(u128::from(tokens));
        let total = part(price_in, tokens_in)?.checked_add(part(price_out, tokens_out)?)?;
        Some(Drops(total.div_ceil(1000)))
    }
}

/// One inference: what was asked, what came out, by which model, for which fee.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Who pays.
    pub payer: Account,
    /// Who ran the model and is paid for it.
    pub server: Account,
    /// The model.
    pub model: ModelId,
    /// [`crate::crypto::prompt_commitment`] of the prompt.
    pub prompt: Hash32,
    /// The answer, open.
    pub output: String,
    /// Tokens of the prompt.
    pub tokens_in: u64,
    /// Tokens of the answer.
    pub tokens_out: u64,
    /// The model's price for these tokens, exactly.
    pub fee: Drops,
    /// The last epoch in which it may be sealed.
    pub expiry: u64,
    /// Tells apart two inferences that are otherwise equal.
    pub nonce: u64,
    /// What the answer's influences follow from: of a model by influence, and of no other.
    pub trace: Option<Box<Trace>>,
}

/// What the influences on an answer follow from, by the server's computing.
///
/// The prompt is in it, since whoever checks that the query is the answer's gradient needs both.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Trace {
    /// The prompt that the receipt commits to.
    pub prompt: String,
    /// The salt of the commitment.
    pub salt: [u8; 32],
    /// The gradient of the answer's log-likelihood.
    pub query: Query,
    /// What solves for it.
    pub solution: Solution,
}

/// A validator's result for (epoch, DataNet), sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttributionCommit {
    /// The validator's key.
    pub validator: Account,
    /// The epoch whose receipts were attributed.
    pub epoch: u64,
    /// Against which DataNet.
    pub datanet: DataNetId,
    /// [`crate::crypto::attribution_commitment`].
    pub commitment: Hash32,
}

/// The result that was sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttributionReveal {
    /// The validator's key.
    pub validator: Account,
    /// The epoch whose receipts were attributed.
    pub epoch: u64,
    /// Against which DataNet.
    pub datanet: DataNetId,
    /// [`crate::crypto::attribution_root`] of the body.
    pub root: Hash32,
}

/// Proof of a double signature, with who hands it in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Whoever saw it.
    pub reporter: Account,
    /// What was seen.
    pub offence: Offence,
}

/// Any object.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is the object of its name")]
pub enum Object {
    DataNet(DataNet),
    Contribution(Contribution),
    DatasetManifest(DatasetManifest),
    ModelManifest(ModelManifest),
    Receipt(Receipt),
    Operation(Operation),
    AttributionCommit(AttributionCommit),
    AttributionReveal(AttributionReveal),
    Evidence(Box<Evidence>),
}

impl Object {
    /// Which kind it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::DataNet(_) => Kind::DataNet,
            Self::Contribution(_) => Kind::Contribution,
            Self::DatasetManifest(_) => Kind::DatasetManifest,
            Self::ModelManifest(_) => Kind::ModelManifest,
            Self::Receipt(_) => Kind::Receipt,
            Self::Operation(_) => Kind::Operation,
            Self::AttributionCommit(_) => Kind::AttributionCommit,
            Self::AttributionReveal(_) => Kind::AttributionReveal,
            Self::Evidence(_) => Kind::Evidence,
        }
    }

    /// Who must sign it, and for which purpose, in this order.
    pub fn signers(&self) -> Vec<(Account, Purpose)> {
        let author = match self {
            Self::DataNet(object) => object.owner,
            Self::Contribution(object) => object.contributor,
            Self::DatasetManifest(object) => object.owner,
            Self::ModelManifest(object) => object.builder,
            Self::Operation(object) => object.account,
            Self::AttributionCommit(object) => object.validator,
            Self::AttributionReveal(object) => object.validator,
            Self::Evidence(object) => object.reporter,
            Self::Receipt(receipt) => {
                return vec![(receipt.payer, Purpose::ReceiptPayer), (receipt.server, Purpose::ReceiptServer)];
            }
        };
        vec![(author, Purpose::Author(self.kind()))]
    }
}

/// An object's exact bytes with the signatures over them, as it travels and is stored.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Envelope {
    /// What the payload is.
    pub kind: Kind,
    /// The object's bytes: what is hashed and signed. Nobody re-encodes them.
    pub payload: Vec<u8>,
    /// One signature, of the author; of a receipt two: its payer's, then its server's.
    pub signatures: Vec<(Account, Signature)>,
}

impl Envelope {
    /// The object's id.
    pub fn id(&self) -> ObjectId {
        crate::crypto::object_id(self.kind, &self.payload)
    }
}
