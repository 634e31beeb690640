//! Everything that is hashed or signed, each with one function and one domain, all in this file.
//!
//! - Hashes are BLAKE3 in `derive_key` mode: a hash made for one purpose is never a hash for another.
//! - What is signed = purpose tag ‖ 0x00 ‖ genesis hash ‖ payload: nothing signed for one network or purpose is valid
//!   for another.
//! - Signatures are ed25519 under the ZIP-215 rule, which accepts exactly the same signatures one by one and in
//!   batches (docs/adr/0003). Keys whose point has small order are refused as accounts: anyone could sign for them.

mod batch;
#[cfg(any(test, feature = "sim"))]
pub mod cheap;

pub use batch::{Claim, verify_all};

use crate::genesis::canonical;
use crate::ids::{Account, BlockId, ContributionId, DataNetId, Hash32, ManifestId, ObjectId, ReceiptId, to_hex};
use crate::objects::Checkpoint;
use blake3::hazmat::{ContextKey, HasherExt as _, hash_derive_key_context};
use borsh::{BorshDeserialize, BorshSerialize};
use ed25519_zebra::{SigningKey, VerificationKey, VerificationKeyBytes};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;

/// The kinds of objects that travel in an envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum Kind {
    /// A pool of one kind of data with its rules.
    DataNet = 1,
    /// Documents offered to a DataNet.
    Contribution = 2,
    /// A version of a DataNet's content.
    DatasetManifest = 3,
    /// A model with its lineage and price.
    ModelManifest = 4,
    /// One inference, paid for.
    Receipt = 5,
    /// An account's command.
    Operation = 6,
    /// A validator's sealed attribution result.
    AttributionCommit = 7,
    /// The result that was sealed.
    AttributionReveal = 8,
    /// Proof of a double signature.
    Evidence = 9,
}

impl Kind {
    /// Every kind, in wire order.
    pub const ALL: [Self; 9] = [
        Self::DataNet,
        Self::Contribution,
        Self::DatasetManifest,
        Self::ModelManifest,
        Self::Receipt,
        Self::Operation,
        Self::AttributionCommit,
        Self::AttributionReveal,
        Self::Evidence,
    ];

    /// One word for logs, metrics and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DataNet => "datanet",
            Self::Contribution => "contribution",
            Self::DatasetManifest => "manifest",
            Self::ModelManifest => "model",
            Self::Receipt => "receipt",
            Self::Operation => "operation",
            Self::AttributionCommit => "commit",
            Self::AttributionReveal => "reveal",
            Self::Evidence => "evidence",
        }
    }

    const fn id_context(self) -> &'static str {
        match self {
            Self::DataNet => "tributary v1 id datanet",
            Self::Contribution => "tributary v1 id contribution",
            Self::DatasetManifest => "tributary v1 id manifest",
            Self::ModelManifest => "tributary v1 id model",
            Self::Receipt => "tributary v1 id receipt",
            Self::Operation => "tributary v1 id operation",
            Self::AttributionCommit => "tributary v1 id commit",
            Self::AttributionReveal => "tributary v1 id reveal",
            Self::Evidence => "tributary v1 id evidence",
        }
    }
}

/// What a signature is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// An object's only author.
    Author(Kind),
    /// A receipt, by the account that pays.
    ReceiptPayer,
    /// A receipt, by the node that served.
    ReceiptServer,
    /// A consensus vote.
    Vote,
    /// A consensus proposal.
    Proposal,
}

impl Purpose {
    const fn tag(self) -> &'static str {
        match self {
            Self::Author(Kind::DataNet) => "tributary v1 sign datanet",
            Self::Author(Kind::Contribution) => "tributary v1 sign contribution",
            Self::Author(Kind::DatasetManifest) => "tributary v1 sign manifest",
            Self::Author(Kind::ModelManifest) => "tributary v1 sign model",
            Self::Author(Kind::Receipt) => "tributary v1 sign receipt",
            Self::Author(Kind::Operation) => "tributary v1 sign operation",
            Self::Author(Kind::AttributionCommit) => "tributary v1 sign commit",
            Self::Author(Kind::AttributionReveal) => "tributary v1 sign reveal",
            Self::Author(Kind::Evidence) => "tributary v1 sign evidence",
            Self::ReceiptPayer => "tributary v1 sign receipt payer",
            Self::ReceiptServer => "tributary v1 sign receipt server",
            Self::Vote => "tributary v1 sign vote",
            Self::Proposal => "tributary v1 sign proposal",
        }
    }

    fn signed_bytes(self, genesis: &Hash32, payload: &[u8]) -> Vec<u8> {
        let tag = self.tag().as_bytes();
        [tag, &[0], &genesis.0, payload].concat()
    }
}

fn derive_from(context: &ContextKey, parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_from_context_key(context);
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// A hash for the purpose that the context names. The context is hashed once: what is hashed is mostly short, and hashing
/// the context every time would cost as much again.
macro_rules! derive {
    ($context:literal, $parts:expr) => {{
        static KEY: LazyLock<ContextKey> = LazyLock::new(|| hash_derive_key_context($context));
        derive_from(&KEY, $parts)
    }};
}

/// The id of an object: a hash of its payload's exact bytes.
pub fn object_id(kind: Kind, payload: &[u8]) -> ObjectId {
    static KEYS: LazyLock<BTreeMap<Kind, ContextKey>> =
        LazyLock::new(|| Kind::ALL.map(|kind| (kind, hash_derive_key_context(kind.id_context()))).into());
    ObjectId(derive_from(&KEYS[&kind], &[payload]))
}

/// The content address of a document: plain BLAKE3, so that any tool can check it.
pub fn document_hash(bytes: &[u8]) -> Hash32 {
    Hash32(*blake3::hash(bytes).as_bytes())
}

/// The root of a segment: a hash of its header without the root itself, which names the hash of each section.
pub fn segment_root(header: &[u8]) -> Hash32 {
    Hash32(derive!("tributary v1 segment", &[header]))
}

/// The id of a contributor who has no account, only a name: in indices that belong to no network.
pub fn named_contributor(name: &str) -> [u8; 32] {
    derive!("tributary v1 named contributor", &[name.as_bytes()])
}

/// A number by which a segment finds a word. It depends on the hash of the segment's text, so that nobody can choose words
/// that all come to one place.
pub fn word_number(text: &Hash32, word: &[u8]) -> u64 {
    let hash = blake3::keyed_hash(&text.0, word);
    let [first, ..] = hash.as_bytes().as_chunks::<8>().0 else { return 0 };
    u64::from_le_bytes(*first)
}

/// The id of a block: a hash of its header's canonical bytes.
pub fn block_id(header: &[u8]) -> BlockId {
    BlockId(derive!("tributary v1 block", &[header]))
}

/// The hash of a block's body, which its header names.
pub fn body_hash(body: &[u8]) -> Hash32 {
    Hash32(derive!("tributary v1 block body", &[body]))
}

/// The hash of a genesis file's canonical bytes: the network's name in everything that is signed.
pub fn genesis_hash(genesis: &[u8]) -> Hash32 {
    Hash32(derive!("tributary v1 genesis", &[genesis]))
}

/// The hash of a validator set, which its votes and headers name.
pub fn validators_hash(validators: &[u8]) -> Hash32 {
    Hash32(derive!("tributary v1 validators", &[validators]))
}

/// Public randomness of an epoch, drawn from the commit certificate of the one before.
pub fn beacon(certificate: &[u8]) -> Hash32 {
    Hash32(derive!("tributary v1 beacon", &[certificate]))
}

/// Draws a validator's place for a DataNet's committee: a number that nobody could choose.
pub fn committee_draw(beacon: &Hash32, datanet: &DataNetId, validator: &Account) -> [u8; 32] {
    derive!("tributary v1 committee", &[&beacon.0, &datanet.0, &validator.0])
}

/// When in each period a validator's place for a DataNet is drawn anew.
pub fn committee_turn(datanet: &DataNetId, validator: &Account) -> [u8; 32] {
    derive!("tributary v1 committee turn", &[&datanet.0, &validator.0])
}

/// The root that validators agree on: the hash of an attribution body's canonical bytes.
pub fn attribution_root(body: &[u8]) -> Hash32 {
    Hash32(derive!("tributary v1 attribution", &[body]))
}

/// What a validator publishes before its root. The key inside makes a copy of it useless to anyone else.
pub fn attribution_commitment(validator: &Account, epoch: u64, datanet: &DataNetId, root: &Hash32) -> Hash32 {
    let parts: [&[u8]; 4] = [&validator.0, &epoch.to_be_bytes(), &datanet.0, &root.0];
    Hash32(derive!("tributary v1 attribution commitment", &parts))
}

/// The content root of a manifest version: documents in order, after the parent's root.
pub fn content_root(parent: &Hash32, documents: &[Hash32]) -> Hash32 {
    let documents: Vec<u8> = documents.iter().flat_map(|hash| hash.0).collect();
    Hash32(derive!("tributary v1 content", &[&parent.0, &documents]))
}

/// What a receipt says of its prompt. The salt keeps short prompts from being guessed.
pub fn prompt_commitment(salt: &[u8; 32], prompt: &str) -> Hash32 {
    Hash32(derive!("tributary v1 prompt", &[salt, prompt.as_bytes()]))
}

/// A training example: a passage of a document, from one byte to another.
pub fn influence_example(document: &Hash32, start: u64, end: u64) -> Hash32 {
    Hash32(derive!("tributary v1 influence example", &[&document.0, &start.to_le_bytes(), &end.to_le_bytes()]))
}

/// The leaf of an influence row: the gradient in integers, bound to its example and contribution.
pub fn influence_row(example: &Hash32, contribution: &ContributionId, scale: u32, codes: &[i8]) -> Hash32 {
    static KEY: LazyLock<ContextKey> = LazyLock::new(|| hash_derive_key_context("tributary v1 influence row"));
    let mut hasher = blake3::Hasher::new_from_context_key(&KEY);
    hasher.update(&example.0).update(&contribution.0).update(&scale.to_le_bytes());
    // Codes are hashed as the bytes that they are stored as, some at a time on the stack.
    let mut bytes = [0; 1024];
    for codes in codes.chunks(bytes.len()) {
        let bytes = &mut bytes[..codes.len()];
        bytes.iter_mut().zip(codes).for_each(|(byte, code)| *byte = code.cast_unsigned());
        hasher.update(bytes);
    }
    Hash32(hasher.finalize().into())
}

/// An inner node of the tree over influence rows.
pub fn influence_node(left: &Hash32, right: &Hash32) -> Hash32 {
    Hash32(derive!("tributary v1 influence node", &[&left.0, &right.0]))
}

/// The root of a tree over no influence rows.
pub fn influence_empty() -> Hash32 {
    Hash32(derive!("tributary v1 influence empty", &[]))
}

/// The influence root: a hash of the header's bytes without the root itself.
pub fn influence_root(header: &[u8]) -> Hash32 {
    Hash32(derive!("tributary v1 influence", &[header]))
}

/// The hash of a layout's canonical bytes: which parameters the entries of influence rows belong to.
pub fn influence_layout(layout: &[u8]) -> Hash32 {
    Hash32(derive!("tributary v1 influence layout", &[layout]))
}

/// The seed of everything random about a model's influence rows. The beacon is drawn after checkpoint and data are
/// committed, so that nobody fits data to what a projection does not see.
pub fn influence_seed(checkpoint: &Hash32, data: &Hash32, beacon: &Hash32) -> [u8; 32] {
    derive!("tributary v1 influence seed", &[&checkpoint.0, &data.0, &beacon.0])
}

/// The digest of a checkpoint: names, hashes and lengths of its files, and how training text is cut into examples.
pub fn checkpoint_digest(checkpoint: &Checkpoint) -> Hash32 {
    Hash32(derive!("tributary v1 checkpoint", &[&canonical(&(&checkpoint.files, checkpoint.window))]))
}

/// What a model's lineage commits to: its manifests, in order.
pub fn influence_data(manifests: &[ManifestId]) -> Hash32 {
    let manifests: Vec<u8> = manifests.iter().flat_map(|id| id.0).collect();
    Hash32(derive!("tributary v1 influence data", &[&manifests]))
}

/// Numbers without end by which a validator draws the rows that it computes anew. They follow from a beacon that was drawn
/// after the rows were committed to, and differ from validator to validator, so that together they see more of them.
pub fn row_draws(beacon: &Hash32, root: &Hash32, validator: &Account) -> blake3::OutputReader {
    let mut hasher = blake3::Hasher::new_derive_key("tributary v1 row draws");
    hasher.update(&beacon.0).update(&root.0).update(&validator.0);
    hasher.finalize_xof()
}

/// A number by which the beacon after its epoch picks a receipt to be looked at, or not.
pub fn query_draw(beacon: &Hash32, receipt: &ReceiptId) -> u64 {
    let hash = derive!("tributary v1 query draw", &[&beacon.0, &receipt.0]);
    let [first, ..] = hash.as_chunks::<8>().0 else { return 0 };
    u64::from_le_bytes(*first)
}

/// Bits without end for one part of a random projection.
pub fn projection_bits(seed: &[u8; 32], part: u64) -> blake3::OutputReader {
    stream("tributary v1 influence projection", seed, part)
}

/// Bits without end by which the labels of one Fisher row are sampled.
pub fn label_bits(seed: &[u8; 32], row: u64) -> blake3::OutputReader {
    stream("tributary v1 influence labels", seed, row)
}

fn stream(context: &'static str, seed: &[u8; 32], part: u64) -> blake3::OutputReader {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    hasher.update(seed).update(&part.to_le_bytes());
    hasher.finalize_xof()
}

/// The place of a key in the Merkle state.
pub fn state_key(key: &[u8]) -> [u8; 32] {
    derive!("tributary v1 state key", &[key])
}

/// The hash of nodes and values in the Merkle state.
pub fn state_hash(bytes: &[u8]) -> [u8; 32] {
    derive!("tributary v1 state node", &[bytes])
}

/// Seed of the weights of a batch of signatures: whoever makes a signature cannot choose the weight it will have.
fn batch_weights(transcript: &[u8]) -> blake3::OutputReader {
    let mut hasher = blake3::Hasher::new_derive_key("tributary v1 batch weights");
    hasher.update(transcript);
    hasher.finalize_xof()
}

/// An ed25519 signature.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Signature(pub [u8; 64]);

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({})", &to_hex(&self.0)[..12])
    }
}

/// A private key. Never printed.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {:?})", self.account())
    }
}

impl SecretKey {
    /// The key of a 32-byte seed (RFC 8032).
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(SigningKey::from(seed))
    }

    /// The public key, which is the account.
    pub fn account(&self) -> Account {
        Account(VerificationKeyBytes::from(&self.0).into())
    }

    /// Signs `payload` for one purpose on one network.
    pub fn sign(&self, purpose: Purpose, genesis: &Hash32, payload: &[u8]) -> Signature {
        #[cfg(any(test, feature = "sim"))]
        if cheap::is_on() {
            return cheap::signature(&self.account(), &purpose.signed_bytes(genesis, payload));
        }
        Signature(self.0.sign(&purpose.signed_bytes(genesis, payload)).into())
    }
}

/// Is `signature` the signer's, over exactly this purpose, network and payload?
pub fn verify(signer: &Account, purpose: Purpose, genesis: &Hash32, payload: &[u8], signature: &Signature) -> bool {
    #[cfg(any(test, feature = "sim"))]
    if cheap::is_on() {
        return cheap::signature(signer, &purpose.signed_bytes(genesis, payload)) == *signature;
    }
    let signature = ed25519_zebra::Signature::from(signature.0);
    key_of(signer).is_some_and(|key| key.verify(&signature, &purpose.signed_bytes(genesis, payload)).is_ok())
}

/// An account's key, unpacked; none of what can be no account.
fn key_of(account: &Account) -> Option<VerificationKey> {
    VerificationKey::try_from(account.0).ok().filter(|_| !is_small_order(account))
}

/// Unpacked keys of accounts whose signatures are checked one by one, again and again: unpacking is a ninth of checking.
#[derive(Clone, Debug, Default)]
pub struct Keys(BTreeMap<Account, Option<VerificationKey>>);

impl Keys {
    /// Does a claim hold? Exactly as [`verify`] says.
    pub fn verify(&mut self, claim: &Claim<'_>, genesis: &Hash32) -> bool {
        let Claim { signer, purpose, payload, signature } = claim;
        #[cfg(any(test, feature = "sim"))]
        if cheap::is_on() {
            return verify(signer, *purpose, genesis, payload, signature);
        }
        let key = self.0.entry(*signer).or_insert_with(|| key_of(signer)).as_ref();
        let signature = ed25519_zebra::Signature::from(signature.0);
        key.is_some_and(|key| key.verify(&signature, &purpose.signed_bytes(genesis, payload)).is_ok())
    }

    /// Keeps only the keys of some accounts.
    pub fn retain(&mut self, is_needed: impl Fn(&Account) -> bool) {
        self.0.retain(|account, _| is_needed(account));
    }
}

/// The encodings of points of order 1, 2, 4 and 8, canonical and not ("Taming the many EdDSAs", table 1).
/// The sign bit is ignored: both signs are listed points or equal to one.
fn is_small_order(account: &Account) -> bool {
    const LOW: [[u8; 32]; 7] = small_order_encodings();
    let mut key = account.0;
    key[31] &= 0x7f;
    LOW.contains(&key)
}

const fn small_order_encodings() -> [[u8; 32]; 7] {
    let zero = [0; 32];
    let mut one = [0; 32];
    one[0] = 1;
    // p - 1, p and p + 1 for p = 2^255 - 19.
    let mut around_p = [[0xff; 32]; 3];
    let low = [0xec, 0xed, 0xee];
    let mut i = 0;
    while i < 3 {
        around_p[i][0] = low[i];
        around_p[i][31] = 0x7f;
        i += 1;
    }
    // The two y of the points of order 8.
    let order_8_a = [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf,
        0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ];
    let order_8_b = [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20,
        0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ];
    [zero, one, around_p[0], around_p[1], around_p[2], order_8_a, order_8_b]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_holds_for_its_purpose_network_and_payload_only() {
        let key = SecretKey::from_seed([1; 32]);
        let network = Hash32([9; 32]);
        let signature = key.sign(Purpose::ReceiptPayer, &network, b"payload");
        let holds =
            |purpose, network: &Hash32, payload: &[u8]| verify(&key.account(), purpose, network, payload, &signature);
        assert!(holds(Purpose::ReceiptPayer, &network, b"payload"));
        assert!(!holds(Purpose::ReceiptServer, &network, b"payload"));
        assert!(!holds(Purpose::ReceiptPayer, &Hash32([8; 32]), b"payload"));
        assert!(!holds(Purpose::ReceiptPayer, &network, b"payloae"));
        assert!(!verify(
            &SecretKey::from_seed([2; 32]).account(),
            Purpose::ReceiptPayer,
            &network,
            b"payload",
            &signature
        ));
    }

    #[test]
    fn nobody_signs_for_a_key_of_small_order() {
        // With R = the neutral element and s = 0, ZIP-215 alone accepts any message under these keys.
        let mut signature = [0; 64];
        signature[0] = 1;
        for mut key in small_order_encodings() {
            for sign in [0, 0x80] {
                key[31] = key[31] & 0x7f | sign;
                assert!(!verify(&Account(key), Purpose::Vote, &Hash32([0; 32]), b"any", &Signature(signature)));
            }
        }
    }
}
