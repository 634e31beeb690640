//! The contract of the disk: what a node hands to it, and what it gets back.

use crate::error::StoreError;
use crate::schema::Origin;
use protocol::block::{Block, Certificate, ValidatorSet};
use protocol::ids::{BlockId, Hash32, ManifestId, ObjectId};
use protocol::light::LightBlock;
use protocol::node::Write;
use protocol::objects::Envelope;
use std::collections::BTreeMap;
use std::path::Path;

/// A key and its value: a ledger entry, or a node of the Merkle state.
pub type Entry = (Vec<u8>, Vec<u8>);

/// Everything durable that a node starts from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The network that the store was created for.
    pub origin: Origin,
    /// The last committed height; 0 before the first block.
    pub height: u64,
    /// The ledger after that height.
    pub state: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The nodes of its Merkle tree.
    pub tree: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The block of that height with its certificate; none at height 0.
    pub last: Option<(Block, Certificate)>,
    /// The write-ahead log of the height after it, in order.
    pub wal: Vec<Vec<u8>>,
    /// The last thing signed.
    pub sign_record: Option<Vec<u8>>,
    /// Objects that wait, in the order of their arrival.
    pub pool: Vec<Envelope>,
    /// Manifests whose content is here and indexed.
    pub indexed: Vec<ManifestId>,
}

/// Where an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It waits to enter a block.
    Pool,
    /// It is in a decided block.
    Block {
        /// The block's height.
        height: u64,
        /// Its place among the block's envelopes.
        index: u32,
    },
}

/// An object that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its bytes and signatures.
    pub envelope: Envelope,
    /// Where it is.
    pub place: Place,
}

/// What a ledger entry is at a height, with the proof of it.
///
/// It is checked against the state root in the header of the height after, which that header's certificate signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateProof {
    /// The last committed height.
    pub height: u64,
    /// The entry after that height; none when there is no such entry.
    pub value: Option<Vec<u8>>,
    /// For [`protocol::tree::verify`].
    pub proof: Vec<u8>,
}

/// A node's disk. All calls block; writes come from one thread, reads from any.
pub trait Store: Send + Sync {
    /// Everything that a node starts from, from one moment.
    fn load(&self) -> Result<Loaded, StoreError>;

    /// Makes `writes` durable, in their order, all or none. When this returns, they survive a power cut.
    ///
    /// - A commit must be of the height after the last. It also drops that height's write-ahead log.
    /// - Entries of the write-ahead log of committed heights are of no use and are dropped.
    /// - An object that is pooled again moves to the end of the order.
    ///
    /// # Errors
    /// Nothing was kept, as far as the disk can tell; a node that gets an error must stop.
    fn write(&self, writes: &[Write]) -> Result<(), StoreError>;

    /// Remembers for good that a manifest's content is here and indexed.
    fn mark_indexed(&self, manifest: ManifestId) -> Result<(), StoreError>;

    /// Removes blocks below `keep_from`, at most `most` of them, with the receipts and operations in them; returns the
    /// lowest height that is here then. The last block always stays, and so do certificates' validator sets and whatever
    /// the ledger's state holds. Objects that proofs of later receipts need are kept.
    fn prune(&self, keep_from: u64, most: u64) -> Result<u64, StoreError>;

    /// A view of this moment, which later writes do not change.
    fn snapshot(&self) -> Box<dyn Snapshot + '_>;

    /// Writes a copy of this moment to `path`, a database of its own, where nothing may be yet. Content files are
    /// beside the database and are not copied.
    fn checkpoint(&self, path: &Path) -> Result<(), StoreError>;

    /// See [`Snapshot::height`].
    fn height(&self) -> Result<u64, StoreError> {
        self.snapshot().height()
    }

    /// See [`Snapshot::block`].
    fn block(&self, height: u64) -> Result<Option<(Block, Certificate)>, StoreError> {
        self.snapshot().block(height)
    }

    /// See [`Snapshot::block_by_id`].
    fn block_by_id(&self, id: &BlockId) -> Result<Option<(Block, Certificate)>, StoreError> {
        self.snapshot().block_by_id(id)
    }

    /// See [`Snapshot::blocks`].
    fn blocks(&self, from: u64, count: u64, max_bytes: usize) -> Result<Vec<(Block, Certificate)>, StoreError> {
        self.snapshot().blocks(from, count, max_bytes)
    }

    /// See [`Snapshot::lowest`].
    fn lowest(&self) -> Result<u64, StoreError> {
        self.snapshot().lowest()
    }

    /// See [`Snapshot::light_block`].
    fn light_block(&self, height: u64) -> Result<Option<LightBlock>, StoreError> {
        self.snapshot().light_block(height)
    }

    /// See [`Snapshot::object`].
    fn object(&self, id: &ObjectId) -> Result<Option<Found>, StoreError> {
        self.snapshot().object(id)
    }

    /// See [`Snapshot::state`].
    fn state(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.snapshot().state(key)
    }

    /// See [`Snapshot::state_prefix`].
    fn state_prefix(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Entry>, StoreError> {
        self.snapshot().state_prefix(prefix, after, limit)
    }

    /// See [`Snapshot::prove`].
    fn prove(&self, key: &[u8]) -> Result<StateProof, StoreError> {
        self.snapshot().prove(key)
    }
}

/// A view of one moment: what it answers belongs together, however many writes come between two calls.
pub trait Snapshot {
    /// The last committed height; 0 before the first block.
    fn height(&self) -> Result<u64, StoreError>;

    /// The lowest height whose block is here; 1 as long as nothing was pruned and the node began with the genesis.
    fn lowest(&self) -> Result<u64, StoreError>;

    /// A validator set that decides or decided some height since the store began, by its hash.
    fn validator_set(&self, hash: &Hash32) -> Result<Option<ValidatorSet>, StoreError>;

    /// The header of a height with what it takes to check it; none where its block is not here.
    fn light_block(&self, height: u64) -> Result<Option<LightBlock>, StoreError>;

    /// A decided block and the proof of its decision.
    fn block(&self, height: u64) -> Result<Option<(Block, Certificate)>, StoreError>;

    /// The same, by the block's id.
    fn block_by_id(&self, id: &BlockId) -> Result<Option<(Block, Certificate)>, StoreError>;

    /// Decided blocks in ascending order from height `from`: at most `count`, and no more than fit into `max_bytes` as
    /// stored, but always the first, so that whoever asks gets on. Nothing where `from` lies below [`Self::lowest`].
    fn blocks(&self, from: u64, count: u64, max_bytes: usize) -> Result<Vec<(Block, Certificate)>, StoreError>;

    /// An object, from its block or from the pool. One in a block costs reading that block.
    fn object(&self, id: &ObjectId) -> Result<Option<Found>, StoreError>;

    /// A ledger entry.
    fn state(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Ledger entries whose keys start with `prefix`, in ascending order, at most `limit`, those past the key `after`.
    fn state_prefix(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Entry>, StoreError>;

    /// A ledger entry, or its absence, with the proof.
    fn prove(&self, key: &[u8]) -> Result<StateProof, StoreError>;

    /// A node of the Merkle state.
    fn tree_node(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Is this manifest's content here and indexed?
    fn is_indexed(&self, manifest: &ManifestId) -> Result<bool, StoreError>;
}
