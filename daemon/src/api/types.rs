//! What the API takes and gives, as JSON. The client reads the same types.
//!
//! Ids and hashes are 64 lower-case hex digits, accounts `trib1…`, amounts decimal strings of drops: 128 bits do not
//! fit the numbers of most JSON readers.

mod influence;

pub use influence::{CheckpointShown, ExampleShown, InfluenceShown, OfferShown, RefutedShown, RowsShown};

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// What every refusal answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorDocument {
    /// The refusal.
    pub error: ErrorBody,
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// One word, for programs.
    pub code: String,
    /// A sentence, for people.
    pub message: String,
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// What is on this page.
    pub items: Vec<T>,
    /// What `after` must be to get the next page; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// An object's bytes with its signatures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EnvelopeJson {
    /// `datanet`, `contribution`, `manifest`, `model`, `receipt`, `operation`, `commit` or `reveal`.
    pub kind: String,
    /// The object's protobuf bytes in hex.
    pub payload: String,
    /// One signature, of the author; of a receipt two: its payer's, then its server's.
    pub signatures: Vec<SignatureJson>,
}

/// One signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignatureJson {
    /// Who signed.
    pub signer: String,
    /// 64 bytes in hex.
    pub signature: String,
}

/// An object that was accepted: it survives a crash of this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Accepted {
    /// Its id, under which it can be followed at `/v1/objects/{id}`.
    pub id: String,
    /// `pooled`.
    pub state: String,
}

/// A receipt, or several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum ReceiptsGiven {
    /// One.
    One(EnvelopeJson),
    /// Up to 1,000, of 4 MiB together.
    Many(Vec<EnvelopeJson>),
}

/// What became of a submission of receipts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum ReceiptsTaken {
    /// Of one.
    One(Accepted),
    /// Of an array.
    Many(BatchReply),
}

/// What became of an array of receipts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BatchReply {
    /// How many are accepted.
    pub accepted: usize,
    /// How many are refused.
    pub refused: usize,
    /// One reply for each, in the order in which they came.
    pub receipts: Vec<ReceiptReply>,
}

/// What became of one of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReceiptReply {
    /// Its id, if it was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// `pooled`, when it survives a crash of this node, or `refused`.
    pub state: String,
    /// Why it was refused, in one word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Why it was refused, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// An object and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ObjectShown {
    /// Its id.
    pub id: String,
    /// What it is; absent when it was refused after it had been pooled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// `pooled`, `refused`, `included`; of a contribution `pending`, `admitted`, `rejected`; of a manifest `proposed`,
    /// `active`, `superseded`; of a receipt `sealed`, `attributed`, `settled`, `available`, `refunded`.
    pub state: String,
    /// The one-word reason of a state that somebody may not like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The sentence to that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The epoch whose block holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<u64>,
    /// Its place among the block's objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<u32>,
    /// Its bytes and signatures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub envelope: Option<EnvelopeJson>,
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AccountShown {
    /// Its address.
    pub account: String,
    /// What it can spend.
    pub available: String,
    /// Payouts in their dispute window.
    pub pending: String,
    /// What it put aside to answer for answers of models by influence.
    #[serde(default)]
    pub deposit: String,
    /// The part of the deposit that receipts in their audit window hold.
    #[serde(default)]
    pub locked: String,
    /// What it lost of its deposit so far.
    #[serde(default)]
    pub forfeited: String,
    /// Its operations so far.
    pub nonce: u64,
    /// The nonce of its next operation, those that wait in this node's pool included.
    pub next_nonce: u64,
}

/// A validator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ValidatorShown {
    /// What people call it.
    pub name: String,
    /// The key that votes.
    pub key: String,
    /// The account that is paid.
    pub payout: String,
    /// Its weight in the next epoch; 0 when it is not in the set.
    pub power: u64,
    /// Drops at stake.
    pub bond: String,
    /// Drops being withdrawn.
    pub unbonding: String,
    /// Drops it lost so far.
    pub slashed: String,
    /// `active`, `jailed` or `tombstoned`.
    pub state: String,
    /// Why it is jailed: `downtime`, `missed_duties` or `wrong_roots`.
    pub reason: Option<String>,
    /// The first epoch at which it may leave jail.
    pub jailed_until: Option<u64>,
    /// The evidence that it signed twice, for which it is tombstoned.
    pub evidence: Option<String>,
    /// Blocks of the last `downtime_window` that it did not sign.
    pub missed_blocks: u64,
    /// Blocks of the window that may be missed.
    pub missed_blocks_allowed: u64,
    /// Results that were settled without its commit, in this duty window.
    pub missed_commits: u32,
    /// Results that it committed to and did not reveal, in this duty window.
    pub missed_reveals: u32,
    /// Results of which it revealed another root than was agreed on, in this duty window.
    pub wrong_roots: u32,
}

/// A connected peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PeerShown {
    /// Its peer id.
    pub peer: String,
    /// Where it is connected.
    pub addresses: Vec<String>,
    /// Its gossip score; negative is bad.
    pub score: i64,
    /// Faults counted against it.
    pub strikes: u32,
}

/// How much of a contribution stands in earlier ones of its DataNet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KnownShown {
    /// The contribution.
    pub contribution: String,
    /// Words of its documents.
    pub words: u64,
    /// Words that stand in passages which earlier contributions hold, but for light edits.
    pub known_words: u64,
    /// Their part in basis points.
    pub known_basis_points: u32,
    /// What the DataNet allows.
    pub max_known_basis_points: u32,
    /// Earlier documents that it repeats.
    pub repeated_documents: u64,
    /// Those that it repeats most.
    pub repeats: Vec<RepeatShown>,
}

/// An earlier document that a contribution repeats.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RepeatShown {
    /// The earlier contribution.
    pub contribution: String,
    /// The document's index in it.
    pub document: u32,
    /// Words that it holds as one of the earliest.
    pub words: u64,
}

/// A DataNet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DataNetShown {
    /// Its id.
    pub id: String,
    /// Who governs it.
    pub owner: String,
    /// What people call it.
    pub name: String,
    /// What it holds.
    pub description: String,
    /// `open` or `curated`.
    pub admission: String,
    /// Licences it accepts.
    pub licences: Vec<String>,
    /// Most bytes of one contribution.
    pub max_contribution_bytes: u64,
    /// The most of a contribution's words, in basis points, that may stand in passages which earlier contributions hold.
    pub max_known_basis_points: u32,
    /// When it was registered.
    pub height: u64,
    /// Its last active version; 0 before the first.
    pub version: u32,
    /// The manifest of that version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<String>,
    /// The manifest that waits for attestations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proposed: Option<String>,
    /// Distinct contributors in active versions.
    pub contributors: u32,
}

/// A DataNet with what is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DataNetDetail {
    /// The DataNet.
    pub datanet: DataNetShown,
    /// Its active versions, oldest first.
    pub versions: Vec<ManifestShown>,
    /// Its contributors in active versions.
    pub contributors: Vec<ContributorShown>,
    /// Contributions by what became of them.
    pub contributions: ContributionCounts,
}

/// A contributor of a DataNet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ContributorShown {
    /// The account.
    pub account: String,
    /// The names it is credited under.
    pub names: Vec<String>,
    /// Its bytes in active versions, by which base dividends are divided.
    pub bytes: u64,
}

/// Contributions of a DataNet, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ContributionCounts {
    /// The owner has not decided.
    pub pending: u64,
    /// Admitted.
    pub admitted: u64,
    /// Turned down.
    pub rejected: u64,
    /// Admitted, but in no manifest yet.
    pub unpublished: u64,
}

/// One document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DocumentShown {
    /// What people call it.
    pub title: String,
    /// BLAKE3 of its bytes.
    pub hash: String,
    /// Its length.
    pub bytes: u64,
}

/// A contribution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ContributionShown {
    /// Its id.
    pub id: String,
    /// Who is paid.
    pub contributor: String,
    /// The DataNet.
    pub datanet: String,
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
    /// The contribution it replaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// When it entered a block.
    pub height: u64,
    /// `pending`, `admitted` or `rejected`.
    pub state: String,
    /// Its place in the order of admission over all DataNets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<u64>,
    /// Why it was turned down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The manifest that holds it, active or proposed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<String>,
    /// Bytes of its documents together.
    pub bytes: u64,
    /// Its documents.
    pub documents: Vec<DocumentShown>,
}

/// One version of a DataNet's content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ManifestShown {
    /// Its id.
    pub id: String,
    /// The DataNet.
    pub datanet: String,
    /// Its number.
    pub version: u32,
    /// The version before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// The contributions it adds.
    pub added: Vec<String>,
    /// The content root.
    pub content_root: String,
    /// Documents, earlier versions included.
    pub documents: u64,
    /// Bytes, earlier versions included.
    pub bytes: u64,
    /// The peer that serves it.
    pub host: String,
    /// When it was proposed.
    pub height: u64,
    /// `proposed`, `active` or `superseded`.
    pub state: String,
    /// The first epoch whose receipts are attributed to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
    /// The manifest that took its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub superseded_by: Option<String>,
    /// Validators that hold and indexed it.
    pub attested: Vec<String>,
    /// Their power.
    pub attested_power: u64,
    /// All power; more than two thirds of it make a manifest active.
    pub total_power: u64,
}

/// A source of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SourceShown {
    /// The version used.
    pub manifest: String,
    /// Its DataNet.
    pub datanet: String,
    /// The DataNet's name.
    pub name: String,
    /// Its part of base dividends, relative to the others'.
    pub weight: u32,
}

/// A model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ModelShown {
    /// Its id.
    pub id: String,
    /// Who is paid for it.
    pub builder: String,
    /// What people call it.
    pub name: String,
    /// BLAKE3 of the weights.
    pub weights: String,
    /// The model it was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// How many models are below it.
    pub depth: u32,
    /// What it reserves of its descendants' pay, in basis points.
    pub reserve_bp: u32,
    /// The data it was made from.
    pub lineage: Vec<SourceShown>,
    /// `spans` or `influence`.
    pub method: String,
    /// Drops for 1000 tokens of prompt.
    pub price_in: String,
    /// Drops for 1000 tokens of answer.
    pub price_out: String,
    /// When it was registered.
    pub height: u64,
    /// Of a model by influence: what gradients are taken of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<CheckpointShown>,
    /// Of a model by influence: the rows of its training text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<RowsShown>,
}

/// A document that was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BlobTaken {
    /// BLAKE3 of its bytes.
    pub hash: String,
    /// Its length.
    pub bytes: u64,
}

/// One payout of a receipt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LineShown {
    /// `data`, `base`, `model`, `serving`, `validators` or `treasury`.
    pub role: String,
    /// Who is paid; absent for the treasury and for a base dividend, which a DataNet's contributors share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The name credited, of a data line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The DataNet of a data or base line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datanet: Option<String>,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datanet_name: Option<String>,
    /// The contribution of a data line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contribution: Option<String>,
    /// The model of a model line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// How much.
    pub drops: String,
}

/// A fee by role; the parts add up to the fee.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Sums {
    /// To contributions whose words the answer has.
    pub data: String,
    /// To the model's DataNets, for words found in none.
    pub base: String,
    /// To the model's builders.
    pub model: String,
    /// To the node that served.
    pub serving: String,
    /// To the validators that attributed it.
    pub validators: String,
    /// To the network.
    pub treasury: String,
    /// All of it.
    pub fee: String,
}

/// A receipt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReceiptShown {
    /// Its id.
    pub id: String,
    /// `pooled`, `sealed`, `attributed`, `settled`, `available` or `refunded`.
    pub state: String,
    /// Who pays.
    pub payer: String,
    /// Who served.
    pub server: String,
    /// The model.
    pub model: String,
    /// Commitment to the prompt.
    pub prompt: String,
    /// BLAKE3 of the answer.
    pub answer: String,
    /// Tokens of the prompt.
    pub tokens_in: u64,
    /// Tokens of the answer.
    pub tokens_out: u64,
    /// What is paid.
    pub fee: String,
    /// The epoch that sealed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// When the fee was divided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled_height: Option<u64>,
    /// When the payouts can be spent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub available_height: Option<u64>,
    /// When the fee went back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refunded_height: Option<u64>,
    /// Why the fee went back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refund_reason: Option<String>,
    /// Words of the answer in paid passages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub covered_words: Option<u32>,
    /// Words of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_words: Option<u32>,
    /// Who gets what; the amounts add up to the fee.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<LineShown>,
    /// The same by role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sums: Option<Sums>,
}

/// A receipt's answer with the passages that are paid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Explained {
    /// The receipt.
    pub receipt: ReceiptShown,
    /// The model's name.
    pub model_name: String,
    /// The answer.
    pub output: String,
    /// The paid passages, ascending.
    pub spans: Vec<SpanShown>,
    /// What each contribution earned with its passages, most first.
    pub contributions: Vec<ShareShown>,
    /// Words of the answer.
    pub total_words: u32,
    /// Words in no paid passage.
    pub uncovered_words: u32,
    /// The fee by role.
    pub sums: Sums,
    /// Of a model by influence: what its training text has to do with the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub influence: Option<InfluenceShown>,
}

/// A paid passage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SpanShown {
    /// Its first byte in the answer.
    pub start: u32,
    /// The byte after its last.
    pub end: u32,
    /// Its text.
    pub text: String,
    /// What it tells beyond chance: bits times 65536, its weight.
    pub bits_q16: u64,
    /// The same in bits, with two decimals.
    pub bits: String,
    /// The name credited.
    pub credit: String,
    /// Who is paid.
    pub account: String,
    /// The contribution.
    pub contribution: String,
    /// The contribution's title.
    pub title: String,
    /// The document's title.
    pub document: String,
    /// BLAKE3 of the document.
    pub document_hash: String,
    /// The byte at which the passage starts there.
    pub offset: u64,
    /// The DataNet.
    pub datanet: String,
    /// Its name.
    pub datanet_name: String,
    /// In how many documents of the DataNet it stands; 0 when this node has no index of it.
    pub documents: u64,
    /// In how many contributions of the DataNet it stands.
    pub contributions: u64,
    /// How often it stands there in all.
    pub occurrences: u64,
    /// The text before it in the document; empty, as is what follows, when this node does not have it.
    pub before: String,
    /// The passage as the document has it: case, spaces and punctuation may differ from the answer's.
    pub there: String,
    /// Bytes of the passage that are not in `there`: it is cut in its middle, at …, where it is long, and empty where the
    /// passages of the answer together are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_out: Option<u64>,
    /// The text after it.
    pub after: String,
}

/// What a contribution earned with an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ShareShown {
    /// The contribution.
    pub contribution: String,
    /// The name credited.
    pub credit: String,
    /// Its title.
    pub title: String,
    /// Who is paid.
    pub account: String,
    /// The DataNet.
    pub datanet: String,
    /// Its name.
    pub datanet_name: String,
    /// Its passages' bits, with two decimals.
    pub bits: String,
    /// Its passages in this answer.
    pub spans: u64,
    /// What it earned.
    pub drops: String,
}

/// What an account earned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Earned {
    /// The account.
    pub account: String,
    /// The names its contributions are credited under.
    pub names: Vec<String>,
    /// All it ever earned.
    pub earned: String,
    /// Of it, what is still in its dispute window.
    pub pending: String,
    /// Of it, what could be spent since.
    pub available: String,
    /// Receipts that it earned from directly; base dividends are divided by block, not by receipt.
    pub receipts: u64,
    /// By role.
    pub by_role: BTreeMap<String, String>,
    /// By DataNet, most first: data and base.
    pub by_datanet: Vec<EarnedBy>,
    /// By contribution, most first: data.
    pub by_contribution: Vec<EarnedBy>,
}

/// One part of what an account earned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EarnedBy {
    /// The DataNet or contribution.
    pub id: String,
    /// Its name or title.
    pub name: String,
    /// How much.
    pub drops: String,
}

/// What all accounts earned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Earnings {
    /// The height at which it was counted.
    pub height: u64,
    /// Accounts, those that earned most first.
    pub accounts: Vec<Earned>,
    /// What went to the treasury out of fees.
    pub treasury: String,
    /// Did counting stop at its bound? Then the sums are too low.
    pub truncated: bool,
}

/// An epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EpochShown {
    /// Its height.
    pub height: u64,
    /// Its block.
    pub block: String,
    /// The block before.
    pub parent: String,
    /// The proposer's clock, in milliseconds since 1970.
    pub time_ms: u64,
    /// Who proposed it.
    pub proposer: String,
    /// The root of the state after the height before.
    pub state_root: String,
    /// The round that decided.
    pub round: u32,
    /// Who signed the decision.
    pub signers: Vec<String>,
    /// Their power.
    pub signed_power: u64,
    /// All power.
    pub total_power: u64,
    /// Objects by kind.
    pub objects: BTreeMap<String, u64>,
    /// Attribution results in it.
    pub settlements: u64,
    /// The objects' ids, in order; only when one epoch is asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<String>,
}

/// The node's health in detail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// Is all of it well?
    pub ready: bool,
    /// Each check: `ok`, or what is wrong.
    pub checks: BTreeMap<String, String>,
}
