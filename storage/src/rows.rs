//! What both backends share: writes become rows here, and rows become answers. A backend only keeps rows.

use crate::error::StoreError;
use crate::schema::{
    self, FIRST_KEY, Family, KEY_HEIGHT, KEY_LOWEST, KEY_ORIGIN, KEY_SCHEMA, KEY_SIGN_RECORD, KEY_STAMP, Origin,
    SCHEMA_VERSION, height_key, wal_key,
};
use crate::store::{Entry, Found, Loaded, Place, Snapshot, StateProof};
use borsh::{BorshDeserialize, BorshSerialize};
use protocol::block::{Block, Certificate, ValidatorSet};
use protocol::crypto::{Kind, validators_hash};
use protocol::genesis::canonical;
use protocol::ids::{BlockId, Hash32, ManifestId, ObjectId};
use protocol::ledger::{Changes, keys};
use protocol::light::LightBlock;
use protocol::node::{Commit, Write};
use protocol::objects::Envelope;
use protocol::tree;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// One change of rows. Values are sealed already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Put(Family, Vec<u8>, Vec<u8>),
    Delete(Family, Vec<u8>),
    /// From the first key to the second, which stays.
    DeleteRange(Family, Vec<u8>, Vec<u8>),
}

impl Change {
    fn put(family: Family, key: &[u8], body: &[u8]) -> Self {
        Self::Put(family, key.to_vec(), schema::seal(family, key, body))
    }

    fn record<T: BorshSerialize>(family: Family, key: &[u8], record: &T) -> Self {
        Self::put(family, key, &canonical(record))
    }
}

/// What the next batch continues from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Batches since the first.
    batch: u64,
    /// The last committed height.
    height: u64,
    /// The number of the next object that is pooled.
    arrivals: u64,
}

/// The rows of a new store.
pub(crate) fn first_rows(origin: &Origin, changes: &Changes, nodes: &[Entry]) -> Vec<Change> {
    let mut rows = vec![
        Change::record(Family::Meta, KEY_SCHEMA, &SCHEMA_VERSION),
        Change::record(Family::Meta, KEY_ORIGIN, origin),
        Change::record(Family::Meta, KEY_HEIGHT, &0_u64),
    ];
    rows.extend(state_rows(changes, nodes, &[]));
    rows.extend(set_rows(changes));
    rows.extend(stamps(0));
    rows
}

/// The rows of a store that begins with the block of a height, without the state and its tree.
pub(crate) fn restored_rows(origin: &Origin, last: &LightBlock, block: &Block, kept: &[Envelope]) -> Vec<Change> {
    let height = last.header.height;
    let mut rows = vec![
        Change::record(Family::Meta, KEY_SCHEMA, &SCHEMA_VERSION),
        Change::record(Family::Meta, KEY_ORIGIN, origin),
        Change::record(Family::Meta, KEY_HEIGHT, &height),
        Change::record(Family::Meta, KEY_LOWEST, &height),
        Change::record(Family::Blocks, &height_key(height), &(block, &last.certificate)),
        Change::record(Family::BlockIndex, &block.id().0, &height),
    ];
    for set in [&last.validators, last.next_validators()] {
        rows.push(Change::record(Family::Validators, &set.hash().0, set));
    }
    rows.extend(object_rows(height, block));
    // Which blocks they were in is not known here.
    rows.extend(kept.iter().map(|object| Change::record(Family::Kept, &object.id().0, &(0_u64, 0_u32, object))));
    rows.extend(stamps(0));
    rows
}

fn stamps(batch: u64) -> impl Iterator<Item = Change> {
    Family::ALL.into_iter().map(move |family| Change::record(family, KEY_STAMP, &batch))
}

impl Progress {
    /// The rows that a manifest changes whose content is here now, and what the batch after them continues from.
    pub(crate) fn indexed(mut self, manifest: ManifestId) -> (Vec<Change>, Self) {
        let mut rows = self.begin();
        rows.push(Change::put(Family::Host, &manifest.0, &[]));
        (rows, self)
    }

    /// The rows that `writes` change, and what the batch after them continues from.
    pub(crate) fn rows(mut self, writes: &[Write]) -> Result<(Vec<Change>, Self), StoreError> {
        let mut rows = self.begin();
        for write in writes {
            match write {
                Write::Wal { height, index, entry } => {
                    if *height > self.height {
                        rows.push(Change::put(Family::Wal, &wal_key(*height, *index), entry));
                    }
                }
                Write::SignRecord(record) => rows.push(Change::put(Family::SignRecord, KEY_SIGN_RECORD, record)),
                Write::Pool(envelope) => {
                    let row = Change::record(Family::Pool, &envelope.id().0, &(self.arrivals, envelope));
                    rows.push(row);
                    self.arrivals += 1;
                }
                Write::Unpool(ids) => rows.extend(unpool_rows(ids)),
                Write::Commit(commit) => rows.extend(self.commit_rows(commit)?),
            }
        }
        Ok((rows, self))
    }

    /// The rows of a batch that only removes what [`View::prunable`] found.
    pub(crate) fn pruned(mut self, pruning: Vec<Change>) -> (Vec<Change>, Self) {
        let mut rows = self.begin();
        rows.extend(pruning);
        (rows, self)
    }

    fn begin(&mut self) -> Vec<Change> {
        self.batch += 1;
        stamps(self.batch).collect()
    }

    fn commit_rows(&mut self, commit: &Commit) -> Result<Vec<Change>, StoreError> {
        let height = commit.block.header.height;
        if height != self.height + 1 {
            return Err(StoreError::Height { committed: self.height, got: height });
        }
        self.height = height;
        let mut rows = vec![
            Change::record(Family::Meta, KEY_HEIGHT, &height),
            Change::record(Family::Blocks, &height_key(height), &(&commit.block, &commit.certificate)),
            Change::record(Family::BlockIndex, &commit.block.id().0, &height),
            // Lower heights were dropped by their own commits, and entries for them are never written again.
            Change::DeleteRange(Family::Wal, wal_key(height, 0).to_vec(), wal_key(height + 1, 0).to_vec()),
        ];
        rows.extend(object_rows(height, &commit.block));
        rows.extend(set_rows(&commit.changes));
        rows.extend(state_rows(&commit.changes, &commit.nodes, &commit.stale_nodes));
        rows.extend(unpool_rows(&commit.unpooled));
        Ok(rows)
    }
}

fn object_rows(height: u64, block: &Block) -> impl Iterator<Item = Change> {
    let numbered = (0_u32..).zip(&block.body.envelopes);
    numbered.map(move |(index, envelope)| Change::record(Family::Objects, &envelope.id().0, &(height, index)))
}

/// Validator sets that become known, by their hash: headers of any later time name them.
pub(crate) fn set_rows(changes: &Changes) -> impl Iterator<Item = Change> {
    let sets = [keys::VALIDATORS, keys::NEXT_VALIDATORS].into_iter().filter_map(|key| changes.get(key)?.as_ref());
    sets.map(|set| Change::put(Family::Validators, &validators_hash(set).0, set))
}

/// Objects that proofs of later receipts need: those of their block's kind alone are pruned with it.
const fn is_kept(kind: Kind) -> bool {
    matches!(kind, Kind::DataNet | Kind::Contribution | Kind::DatasetManifest | Kind::ModelManifest)
}

pub(crate) fn state_rows(changes: &Changes, nodes: &[Entry], stale: &[Vec<u8>]) -> Vec<Change> {
    let changed = changes.iter().map(|(key, value)| match value {
        Some(value) => Change::put(Family::State, key, value),
        None => Change::Delete(Family::State, key.clone()),
    });
    let removed = stale.iter().map(|key| Change::Delete(Family::Tree, key.clone()));
    let added = nodes.iter().map(|(key, node)| Change::put(Family::Tree, key, node));
    changed.chain(removed).chain(added).collect()
}

fn unpool_rows(ids: &[ObjectId]) -> impl Iterator<Item = Change> {
    ids.iter().map(|id| Change::Delete(Family::Pool, id.0.to_vec()))
}

/// Goes on, or has seen enough.
pub(crate) type Step = Result<ControlFlow<()>, StoreError>;

/// The rows of one moment.
pub(crate) trait Rows {
    /// A stored value as it lies there.
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Shows key and stored value of each row from the key `from` on, in order, until `visit` has seen enough.
    fn scan(&self, family: Family, from: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> Step) -> Result<(), StoreError>;
}

/// Answers from rows.
pub(crate) struct View<R>(pub(crate) R);

impl<R: Rows> View<R> {
    fn body(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(mut value) = self.0.get(family, key)? else { return Ok(None) };
        schema::open(family, key, &value)?;
        Ok(Some(value.split_off(schema::FRAME_BYTES)))
    }

    fn record<T: BorshDeserialize>(&self, family: Family, key: &[u8]) -> Result<Option<T>, StoreError> {
        self.body(family, key)?.map(|body| decode(family, key, &body)).transpose()
    }

    fn required<T: BorshDeserialize>(&self, family: Family, key: &[u8]) -> Result<T, StoreError> {
        self.record(family, key)?.ok_or_else(|| StoreError::damaged(family, key, "it is missing"))
    }

    fn each(&self, family: Family, from: &[u8], mut visit: impl FnMut(&[u8], &[u8]) -> Step) -> Result<(), StoreError> {
        self.0.scan(family, from, &mut |key, value| visit(key, schema::open(family, key, value)?))
    }

    fn all(&self, family: Family) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, StoreError> {
        let mut rows = BTreeMap::new();
        self.each(family, FIRST_KEY, |key, body| {
            rows.insert(key.to_vec(), body.to_vec());
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(rows)
    }

    /// The schema version; none when this database was never finished or is not ours.
    pub(crate) fn schema(&self) -> Result<Option<u32>, StoreError> {
        self.record(Family::Meta, KEY_SCHEMA)
    }

    pub(crate) fn origin(&self) -> Result<Origin, StoreError> {
        self.required(Family::Meta, KEY_ORIGIN)
    }

    pub(crate) fn progress(&self) -> Result<Progress, StoreError> {
        let batch = self.required(Family::Meta, KEY_STAMP)?;
        for family in Family::ALL {
            let stamp: u64 = self.required(family, KEY_STAMP)?;
            if stamp != batch {
                let reason = format!("it is of batch {stamp} where others are of batch {batch}: files were lost");
                return Err(StoreError::damaged(family, KEY_STAMP, reason));
            }
        }
        let arrivals = self.arrivals()?.last().map_or(0, |(arrival, _)| arrival + 1);
        Ok(Progress { batch, height: self.height()?, arrivals })
    }

    pub(crate) fn load(&self) -> Result<Loaded, StoreError> {
        let height = self.height()?;
        let last = match height {
            0 => None,
            _ => Some(self.required(Family::Blocks, &height_key(height))?),
        };
        Ok(Loaded {
            origin: self.origin()?,
            height,
            state: self.all(Family::State)?,
            tree: self.all(Family::Tree)?,
            last,
            wal: self.wal(height + 1)?,
            sign_record: self.sign_record()?,
            pool: self.arrivals()?.into_iter().map(|(_, envelope)| envelope).collect(),
            indexed: self.indexed()?,
        })
    }

    /// The last thing signed.
    pub(crate) fn sign_record(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.body(Family::SignRecord, KEY_SIGN_RECORD)
    }

    /// The rows that go when the blocks below `keep_from` do, of at most `most` blocks, and the lowest height after
    /// that; none when there is nothing to prune. The last block always stays.
    pub(crate) fn prunable(&self, keep_from: u64, most: u64) -> Result<Option<(Vec<Change>, u64)>, StoreError> {
        let lowest = self.lowest()?;
        let to = keep_from.min(self.height()?).min(lowest.saturating_add(most));
        if to <= lowest {
            return Ok(None);
        }
        let mut rows = vec![Change::record(Family::Meta, KEY_LOWEST, &to)];
        for height in lowest..to {
            let (block, _): (Block, Certificate) = self.required(Family::Blocks, &height_key(height))?;
            rows.push(Change::Delete(Family::Blocks, height_key(height).to_vec()));
            rows.push(Change::Delete(Family::BlockIndex, block.id().0.to_vec()));
            for (index, envelope) in (0_u32..).zip(&block.body.envelopes) {
                let id = envelope.id().0;
                rows.push(Change::Delete(Family::Objects, id.to_vec()));
                if is_kept(envelope.kind) {
                    rows.push(Change::record(Family::Kept, &id, &(height, index, envelope)));
                }
            }
        }
        Ok(Some((rows, to)))
    }

    /// The pool in the order of arrival.
    fn arrivals(&self) -> Result<Vec<(u64, Envelope)>, StoreError> {
        let mut pool = Vec::new();
        self.each(Family::Pool, FIRST_KEY, |key, body| {
            pool.push(decode::<(u64, Envelope)>(Family::Pool, key, body)?);
            Ok(ControlFlow::Continue(()))
        })?;
        pool.sort_by_key(|(arrival, _)| *arrival);
        Ok(pool)
    }

    fn indexed(&self) -> Result<Vec<ManifestId>, StoreError> {
        let mut manifests = Vec::new();
        self.each(Family::Host, FIRST_KEY, |key, _| {
            let id = key.try_into().map_err(|_| StoreError::damaged(Family::Host, key, "its key is not an id"))?;
            manifests.push(ManifestId(id));
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(manifests)
    }

    /// The log of one height. A gap means that an entry was lost, and with it the memory of something signed.
    fn wal(&self, height: u64) -> Result<Vec<Vec<u8>>, StoreError> {
        let mut entries = Vec::new();
        let mut next = 0;
        self.each(Family::Wal, &wal_key(height, 0), |key, body| {
            if key >= &wal_key(height + 1, 0)[..] {
                return Ok(ControlFlow::Break(()));
            }
            let expected = wal_key(height, next);
            if key != expected {
                return Err(StoreError::damaged(Family::Wal, &expected, "it is missing"));
            }
            next += 1;
            entries.push(body.to_vec());
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(entries)
    }
}

fn decode<T: BorshDeserialize>(family: Family, key: &[u8], body: &[u8]) -> Result<T, StoreError> {
    borsh::from_slice(body).map_err(|error| StoreError::damaged(family, key, format!("it cannot be read: {error}")))
}

impl<R: Rows> Snapshot for View<R> {
    fn height(&self) -> Result<u64, StoreError> {
        self.required(Family::Meta, KEY_HEIGHT)
    }

    fn lowest(&self) -> Result<u64, StoreError> {
        Ok(self.record(Family::Meta, KEY_LOWEST)?.unwrap_or(1))
    }

    fn validator_set(&self, hash: &Hash32) -> Result<Option<ValidatorSet>, StoreError> {
        self.record(Family::Validators, &hash.0)
    }

    fn light_block(&self, height: u64) -> Result<Option<LightBlock>, StoreError> {
        let Some((block, certificate)) = self.block(height)? else { return Ok(None) };
        let set = |hash: &Hash32| self.required(Family::Validators, &hash.0);
        let validators = set(&block.header.validators)?;
        let next = set(&block.header.next_validators)?;
        Ok(Some(LightBlock::new(block.header, certificate, validators, next)))
    }

    fn block(&self, height: u64) -> Result<Option<(Block, Certificate)>, StoreError> {
        self.record(Family::Blocks, &height_key(height))
    }

    fn block_by_id(&self, id: &BlockId) -> Result<Option<(Block, Certificate)>, StoreError> {
        let Some(height) = self.record::<u64>(Family::BlockIndex, &id.0)? else { return Ok(None) };
        self.required(Family::Blocks, &height_key(height)).map(Some)
    }

    fn blocks(&self, from: u64, count: u64, max_bytes: usize) -> Result<Vec<(Block, Certificate)>, StoreError> {
        let mut blocks = Vec::new();
        let mut left = max_bytes;
        // Height 0 has no block; below the lowest, what was asked for is not here, and later blocks are no answer.
        if count == 0 || from.max(1) < self.lowest()? {
            return Ok(blocks);
        }
        self.each(Family::Blocks, &height_key(from), |key, body| {
            if !blocks.is_empty() && body.len() > left {
                return Ok(ControlFlow::Break(()));
            }
            left = left.saturating_sub(body.len());
            blocks.push(decode(Family::Blocks, key, body)?);
            let enough = blocks.len() as u64 >= count;
            Ok(if enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        Ok(blocks)
    }

    fn object(&self, id: &ObjectId) -> Result<Option<Found>, StoreError> {
        let Some((height, index)) = self.record::<(u64, u32)>(Family::Objects, &id.0)? else {
            let pooled: Option<(u64, Envelope)> = self.record(Family::Pool, &id.0)?;
            if let Some((_, envelope)) = pooled {
                return Ok(Some(Found { envelope, place: Place::Pool }));
            }
            let kept: Option<(u64, u32, Envelope)> = self.record(Family::Kept, &id.0)?;
            let found = |(height, index, envelope)| Found { envelope, place: Place::Block { height, index } };
            return Ok(kept.map(found));
        };
        let (block, _): (Block, Certificate) = self.required(Family::Blocks, &height_key(height))?;
        let mut envelopes = block.body.envelopes.into_iter();
        let envelope = usize::try_from(index).ok().and_then(|index| envelopes.nth(index)).ok_or_else(|| {
            StoreError::damaged(Family::Objects, &id.0, format!("block {height} has no envelope {index}"))
        })?;
        Ok(Some(Found { envelope, place: Place::Block { height, index } }))
    }

    fn state(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.body(Family::State, key)
    }

    fn state_prefix(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Entry>, StoreError> {
        let mut entries = Vec::new();
        if limit == 0 {
            return Ok(entries);
        }
        // The first key past `after` is `after` with a zero byte behind it.
        let past = after.map(|after| [after, &[0]].concat()).unwrap_or_default();
        let from = prefix.max(&past).max(FIRST_KEY);
        self.each(Family::State, from, |key, body| {
            if !key.starts_with(prefix) {
                return Ok(ControlFlow::Break(()));
            }
            entries.push((key.to_vec(), body.to_vec()));
            Ok(if entries.len() >= limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        Ok(entries)
    }

    fn prove(&self, key: &[u8]) -> Result<StateProof, StoreError> {
        let height = self.height()?;
        let unread = RefCell::new(None);
        let node = |key: &[u8]| match self.tree_node(key) {
            Ok(node) => node,
            Err(error) => {
                unread.replace(Some(error));
                None
            }
        };
        let proved = tree::prove_from(node, height, key);
        // A node that could not be read is the reason for what the tree says after it.
        if let Some(error) = unread.into_inner() {
            return Err(error);
        }
        let proof = proved.map_err(|error| StoreError::tree(&error))?;
        Ok(StateProof { height, value: self.state(key)?, proof })
    }

    fn tree_node(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.body(Family::Tree, key)
    }

    fn is_indexed(&self, manifest: &ManifestId) -> Result<bool, StoreError> {
        Ok(self.body(Family::Host, &manifest.0)?.is_some())
    }
}
