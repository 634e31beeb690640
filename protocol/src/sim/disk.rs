//! A disk that keeps what was synced, may lose what was not, and shows damage by its checksums.
//!
//! It stands for `storage`: one log covers all records, each write ends with a sync, a batch is there whole or not at
//! all. After a power cut the unsynced end of the log is gone from some place on; a record torn in the middle fails its
//! checksum and is cut off, as nobody was told of it. Damage anywhere else makes the store refuse to open.

use super::dice::Dice;
use crate::block::{Block, Certificate};
use crate::epoch::SignRecord;
use crate::genesis::canonical;
use crate::ids::ObjectId;
use crate::node::{Restored, Write};
use crate::objects::Envelope;
use std::collections::BTreeMap;
use std::rc::Rc;

/// A decided block as it is kept and served.
pub type Decided = Rc<(Block, Certificate)>;

/// Which writes never reach this disk, for ablations.
#[derive(Clone, Copy, Debug, Default)]
pub struct Forgets {
    /// Entries of the agreement's log.
    pub wal: bool,
    /// The last-sign record.
    pub sign_record: bool,
    /// Whatever is synced: a power cut takes it too, unless it was written long before.
    pub fsync: bool,
    /// What agreement is locked on.
    pub locks: bool,
    /// That it is new: its validator votes at once.
    pub quarantine: bool,
}

/// New nodes of the Merkle state, and those that are removed.
type Growth = (Vec<(Vec<u8>, Vec<u8>)>, Vec<Vec<u8>>);

/// Commits after which the tree is brought up to date.
const MAX_GROWTH: usize = 64;

/// What stands on the disk.
#[derive(Clone, Debug, Default)]
struct Kept {
    height: u64,
    entries: BTreeMap<Vec<u8>, Vec<u8>>,
    tree: BTreeMap<Vec<u8>, Vec<u8>>,
    /// What later commits make of it, in order; read by a restart alone.
    growth: Vec<Growth>,
    blocks: BTreeMap<u64, Decided>,
    wal: BTreeMap<(u64, u32), Vec<u8>>,
    sign_record: Option<Vec<u8>>,
    /// With their ids, which are hashes.
    pool: Vec<(ObjectId, Envelope)>,
}

/// The store refuses to open: a record's checksum does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damaged;

/// What a power cut took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Writes that had not been synced.
    pub writes: u64,
    /// Was one of them torn in the middle?
    pub torn: bool,
}

/// One node's disk.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    kept: Kept,
    /// Written and not synced, in order: the end of the log.
    unsynced: Vec<Write>,
    /// Without fsync: what stood there before the writes that a power cut may take, and those.
    old: Option<Box<Kept>>,
    since: Vec<Write>,
    forgets: Forgets,
    damaged: bool,
}

/// Without fsync, the system writes to the disk by itself after so many writes.
const WRITEBACK: usize = 40;

impl Disk {
    /// A disk that holds a network's beginning.
    pub fn new(
        entries: BTreeMap<Vec<u8>, Vec<u8>>,
        tree: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>,
        forgets: Forgets,
    ) -> Self {
        let kept = Kept { entries, tree: tree.into_iter().collect(), ..Kept::default() };
        let old = forgets.fsync.then(|| Box::new(kept.clone()));
        Self { kept, old, forgets, ..Self::default() }
    }

    /// Writes; it is safe after the next [`Disk::sync`].
    pub fn write(&mut self, write: Write) {
        let forgotten = match write {
            Write::Wal { .. } => self.forgets.wal,
            Write::SignRecord(_) => self.forgets.sign_record,
            _ => false,
        };
        if !forgotten {
            self.unsynced.push(write);
        }
    }

    /// Makes all that was written safe.
    pub fn sync(&mut self) {
        for write in std::mem::take(&mut self.unsynced) {
            if self.old.is_some() {
                self.since.push(write.clone());
            }
            self.kept.apply(write);
        }
        if self.since.len() > WRITEBACK {
            self.since.clear();
            self.old = self.old.is_some().then(|| Box::new(self.kept.clone()));
        }
    }

    /// The power is cut. `atomic` says that the unsynced writes are one batch.
    pub fn cut(&mut self, dice: &mut Dice, atomic: bool) -> Lost {
        if let Some(old) = &self.old {
            self.kept = old.as_ref().clone();
            self.unsynced = self.since.drain(..).chain(self.unsynced.drain(..)).collect();
        }
        let written = self.unsynced.len();
        let survive = match atomic && self.old.is_none() {
            true if dice.chance(500) => written,
            true => 0,
            false => dice.index(written + 1),
        };
        let lost = Lost { writes: (written - survive) as u64, torn: survive < written && dice.chance(500) };
        self.unsynced.truncate(survive);
        for write in std::mem::take(&mut self.unsynced) {
            self.kept.apply(write);
        }
        self.old = self.old.is_some().then(|| Box::new(self.kept.clone()));
        lost
    }

    /// The agreement's log is taken away whole.
    pub fn lose_log(&mut self) {
        self.kept.wal.clear();
    }

    /// A bit of some record flips.
    pub fn corrupt(&mut self) {
        self.damaged = true;
    }

    /// Does a record's checksum fail?
    pub fn is_damaged(&self) -> bool {
        self.damaged
    }

    /// All that a node starts from.
    pub fn load(&self) -> Result<Restored, Damaged> {
        if self.damaged {
            return Err(Damaged);
        }
        let kept = &self.kept;
        let next = kept.height + 1;
        let last = kept.blocks.get(&kept.height).map(|decided| (decided.0.clone(), decided.1.clone()));
        Ok(Restored {
            height: kept.height,
            last,
            entries: kept.entries.clone(),
            tree: kept.tree_now().into_iter().collect(),
            wal: kept.wal.range((next, 0)..(next + 1, 0)).map(|(_, entry)| entry.clone()).collect(),
            sign_record: kept.sign_record.clone().or_else(|| self.false_memory()),
            pool: kept.pool.iter().map(|(_, envelope)| envelope.clone()).collect(),
        })
    }

    /// Where memory is ablated, a disk that knows nothing says that nothing was signed.
    fn false_memory(&self) -> Option<Vec<u8>> {
        let Forgets { sign_record, locks, quarantine, .. } = self.forgets;
        (sign_record || locks || quarantine).then(|| canonical(&SignRecord::default()))
    }

    /// The last committed height.
    pub fn height(&self) -> u64 {
        self.kept.height
    }

    /// Decided blocks.
    pub fn blocks(&self) -> &BTreeMap<u64, Decided> {
        &self.kept.blocks
    }

    /// The ledger's entries.
    pub fn entries(&self) -> &BTreeMap<Vec<u8>, Vec<u8>> {
        &self.kept.entries
    }
}

impl Kept {
    /// The nodes of the Merkle state.
    fn tree_now(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let mut tree = self.tree.clone();
        for (nodes, stale) in &self.growth {
            tree.extend(nodes.iter().cloned());
            stale.iter().for_each(|key| drop(tree.remove(key)));
        }
        tree
    }

    fn apply(&mut self, write: Write) {
        match write {
            Write::Wal { height, index, entry } => {
                self.wal.insert((height, index), entry);
            }
            Write::SignRecord(record) => self.sign_record = Some(record),
            Write::Pool(envelope) => self.pool.push((envelope.id(), envelope)),
            Write::Unpool(ids) => self.pool.retain(|(id, _)| !ids.contains(id)),
            Write::Commit(commit) => {
                self.height = commit.block.header.height;
                for (key, value) in commit.changes {
                    match value {
                        Some(value) => self.entries.insert(key, value),
                        None => self.entries.remove(&key),
                    };
                }
                self.growth.push((commit.nodes, commit.stale_nodes));
                if self.growth.len() > MAX_GROWTH {
                    self.tree = self.tree_now();
                    self.growth.clear();
                }
                self.pool.retain(|(id, _)| !commit.unpooled.contains(id));
                self.blocks.insert(self.height, Rc::new((commit.block, commit.certificate)));
                let height = self.height;
                self.wal.retain(|(logged, _), _| *logged > height);
            }
        }
    }
}
