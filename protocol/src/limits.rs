//! Every bound of the core, with the relations between them asserted at compile time.
//!
//! What governance may change is a parameter of the genesis ([`crate::genesis::Params`]); what stands here is the same
//! for every network.

use crate::objects::Drops;

/// Bytes of one envelope that is not a receipt, a contribution or a manifest.
pub const MAX_SMALL_OBJECT_BYTES: usize = 16 * 1024;
/// Bytes of any envelope's payload.
pub const MAX_PAYLOAD_BYTES: usize = 256 * 1024;
/// Bytes of a whole envelope: the payload, its signatures and their framing.
pub const MAX_ENVELOPE_BYTES: usize = MAX_PAYLOAD_BYTES + 1024;
/// Envelopes of one gossiped message: what is checked and judged as a whole must not take long.
pub const MAX_GOSSIP_ENVELOPES: usize = 256;
/// Bytes of a gossiped message of more than one envelope: large enough to share its cost among many receipts, small
/// enough not to stand before a vote for long.
pub const MAX_GOSSIP_BATCH_BYTES: usize = 64 * 1024;
/// Bytes of any gossiped message of envelopes: the largest envelope alone, with its frame.
pub const MAX_GOSSIP_BYTES: usize = MAX_ENVELOPE_BYTES + 16;
/// Signatures of one envelope: a receipt's two are the most.
pub const MAX_SIGNATURES: usize = 2;
/// Bytes of one answer in a receipt.
pub const MAX_ANSWER_BYTES: usize = 32 * 1024;
/// Tokens of one prompt or answer.
pub const MAX_TOKENS: u64 = 10_000_000;
/// Drops of one fee or transfer.
pub const MAX_AMOUNT: Drops = Drops(1 << 100);
/// Drops that a model may ask for 1000 tokens.
pub const MAX_PRICE: Drops = Drops(1 << 64);
/// Bytes of one document.
pub const MAX_DOCUMENT_BYTES: u64 = 64 * 1024 * 1024;
/// Documents of one contribution.
pub const MAX_DOCUMENTS: usize = 1024;
/// Bytes of the documents that one manifest version adds: every validator holds and indexes them.
pub const MAX_MANIFEST_BYTES: u64 = 256 * 1024 * 1024;
/// Contributions that one manifest version adds.
pub const MAX_MANIFEST_CONTRIBUTIONS: usize = 4096;
/// Manifests that a model names as its lineage.
pub const MAX_LINEAGE: usize = 64;
/// Models between an adapter and its first base.
pub const MAX_BASE_DEPTH: usize = 8;
/// Bytes of a name or title.
pub const MAX_NAME_BYTES: usize = 256;
/// Bytes of a description, a source or a reason.
pub const MAX_TEXT_BYTES: usize = 4096;
/// Licences that a DataNet accepts.
pub const MAX_LICENCES: usize = 64;
/// Files of a checkpoint.
pub const MAX_CHECKPOINT_FILES: usize = 32;
/// Bytes of a checkpoint's files together: every validator fetches them.
pub const MAX_CHECKPOINT_BYTES: u64 = 1 << 30;
/// Bytes of an artifact of influence rows: every validator holds it in memory while its model is used.
pub const MAX_ARTIFACT_BYTES: u64 = 1 << 30;
/// The least and the most bytes of a training example's text.
pub const EXAMPLE_BYTES: std::ops::RangeInclusive<u32> = 64..=4096;
/// Dimensions of the rows of a model in a network: every receipt carries as many codes twice.
pub const MAX_TRACE_DIMENSION: usize = 4096;
/// Rows of each kind that a validator computes anew of those that are offered, beside the ones that others refute. Together
/// ten validators see 640 of a kind: where one row in a hundred is wrong, they miss it once in six hundred times.
pub const ROWS_DRAWN: usize = 64;
/// Queries of receipts that a node has looked at at once.
pub const MAX_QUERY_AUDITS: usize = 16;
/// Bytes of a prompt in a receipt.
pub const MAX_PROMPT_BYTES: usize = 32 * 1024;
/// Contributions of one DataNet that one receipt pays by influence: those with the largest sums.
pub const MAX_INFLUENCES: usize = 256;
/// Bytes of a peer's id (a multihash).
pub const MAX_PEER_ID_BYTES: usize = 64;
/// Canonical bytes of a whole block with everything in it.
pub const MAX_BLOCK_BYTES: usize = 4 * 1024 * 1024;
/// Bytes of a block on the wire: a sixteenth more, as framing costs up to 13 bytes for an envelope, 6 for a signature of
/// a certificate and 1 for a settlement more than in canonical bytes. So every block that may be decided can travel.
pub const MAX_BLOCK_WIRE_BYTES: usize = MAX_BLOCK_BYTES / 16 * 17;
/// Envelopes in one block.
pub const MAX_BLOCK_ENVELOPES: usize = 10_000;
/// Attribution bodies settled in one block.
pub const MAX_BLOCK_SETTLEMENTS: usize = 256;
/// DataNets in which one block may open work: half of what one can settle, so that whatever waits is soon over.
pub const MAX_BLOCK_WORKS: usize = MAX_BLOCK_SETTLEMENTS / 2;
/// Words of an answer: its settlement, with a payment for each, is one entry of the ledger.
pub const MAX_ANSWER_WORDS: usize = 16_384;
/// Validators in a set.
pub const MAX_VALIDATORS: usize = 256;
/// Accounts with a bond, in the set or not: all of them are looked at when one changes.
pub const MAX_CANDIDATES: u64 = 4_096;
/// Withdrawals of one validator's bond that wait at once: all of them are looked at when it is slashed.
pub const MAX_UNBONDINGS: usize = 32;
/// Envelopes that wait in a node's pool.
pub const MAX_POOL_ENVELOPES: usize = 50_000;
/// Operations that wait in a node's pool for others of their account that are not there.
pub const MAX_POOL_EARLY: usize = 8_192;
/// Commits and reveals of one validator that wait in a node's pool.
pub const MAX_POOL_FREE: usize = 2_048;
/// Reports of one validator's double signatures that wait in a node's pool: any one of them is enough.
pub const MAX_POOL_EVIDENCE: usize = 4;
/// Bytes of the envelopes that wait in a node's pool.
pub const MAX_POOL_BYTES: usize = 256 * 1024 * 1024;
/// Blocks in one answer to a range request.
pub const MAX_SYNC_BLOCKS: u64 = 64;
/// Bytes of one answer to a range request on the wire: at least one whole block fits, with its certificate.
pub const MAX_SYNC_BYTES: usize = MAX_BLOCK_WIRE_BYTES + 64 * 1024;
/// Bytes of one message of set reconciliation, which compares pools: one message tells apart some thousand objects.
pub const MAX_RECONCILE_BYTES: usize = 32 * 1024;
/// Objects asked for by id at once.
pub const MAX_ASKED_OBJECTS: usize = 512;
/// Bytes of one request to a peer: the largest names objects by id, or is a message of set reconciliation.
pub const MAX_REQUEST_BYTES: usize = MAX_RECONCILE_BYTES + 256;
/// Bytes of one slice of a document in an answer, with what proves it.
pub const MAX_BLOB_BYTES: usize = 2 * 1024 * 1024;
/// Bytes of one consensus message.
pub const MAX_CONSENSUS_BYTES: usize = 64 * 1024;
/// Blocks of undecided proposals that are kept while their height is open.
pub const MAX_PROPOSED_BLOCKS: usize = 64;
/// Milliseconds that a proposed block's time may lie ahead of a validator's own clock.
pub const MAX_CLOCK_DRIFT_MS: u64 = 10_000;

const _: () = assert!(MAX_ENVELOPE_BYTES < MAX_BLOCK_BYTES / 4, "a block holds several of the largest envelopes");
const _: () =
    assert!(MAX_SMALL_OBJECT_BYTES + 1024 < MAX_GOSSIP_BATCH_BYTES && MAX_GOSSIP_BATCH_BYTES < MAX_GOSSIP_BYTES);
const _: () = assert!(MAX_ANSWER_BYTES + MAX_SMALL_OBJECT_BYTES <= MAX_PAYLOAD_BYTES, "a receipt holds any answer");
const _: () = assert!(
    MAX_ANSWER_BYTES + MAX_PROMPT_BYTES + MAX_TRACE_DIMENSION * (2 + 4) + MAX_SMALL_OBJECT_BYTES <= MAX_PAYLOAD_BYTES,
    "a receipt holds its trace"
);
const _: () = assert!(MAX_LINEAGE <= MAX_BLOCK_WORKS, "a block has room for a receipt of any model");
const _: () = assert!(MAX_DOCUMENTS * (40 + 64) <= MAX_PAYLOAD_BYTES, "a contribution lists its documents");
const _: () = assert!(MAX_MANIFEST_CONTRIBUTIONS * 34 + MAX_SMALL_OBJECT_BYTES <= MAX_PAYLOAD_BYTES);
const _: () = assert!(
    MAX_BLOCK_BYTES + MAX_BLOCK_ENVELOPES * 13 + MAX_VALIDATORS * 6 + MAX_BLOCK_SETTLEMENTS + 512
        <= MAX_BLOCK_WIRE_BYTES,
    "every block that may be decided can travel"
);
const _: () = assert!(MAX_BLOCK_WIRE_BYTES + MAX_VALIDATORS * 102 + 512 <= MAX_SYNC_BYTES, "with its certificate");
const _: () = assert!(
    (MAX_BLOCK_BYTES / 16 * 17) as u64 + 80 * MAX_SYNC_BLOCKS <= MAX_SYNC_BYTES as u64,
    "blocks and certificates of MAX_BLOCK_BYTES together travel in one answer"
);
const _: () = assert!(MAX_ASKED_OBJECTS * 34 <= MAX_RECONCILE_BYTES);
const _: () =
    assert!(MAX_BLOCK_ENVELOPES * 2 + MAX_BLOCK_SETTLEMENTS * 2 + 64 <= MAX_REQUEST_BYTES, "any parts are asked for");
const _: () = assert!(MAX_BLOB_BYTES + 64 <= MAX_SYNC_BYTES);
const _: () = assert!(MAX_VALIDATORS * 160 + 64 <= MAX_CONSENSUS_BYTES, "a certificate of every validator travels");
const _: () = assert!(MAX_PRICE.0 * 2 * MAX_TOKENS as u128 / 1000 <= MAX_AMOUNT.0, "any price can be charged");
const _: () = assert!(MAX_POOL_FREE * 16 < MAX_POOL_ENVELOPES, "a few validators alone cannot fill a pool");
