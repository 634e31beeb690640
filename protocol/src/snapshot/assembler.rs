//! Putting a state together from chunks that come in any order: what is missing, and what is believed.
//!
//! It holds no entries: a chunk that is verified goes to whoever called, who keeps it on disk.

use super::{Chunk, Plan, SnapshotError, Subtree};
use crate::ids::Hash32;
use std::collections::BTreeSet;

/// Which chunks of a snapshot are still missing.
#[derive(Clone, Debug)]
pub struct Assembler {
    root: Hash32,
    plan: Plan,
    missing: BTreeSet<u32>,
}

impl Assembler {
    /// Nothing is there yet. `root` is the state root of a certified header; the plan may be anybody's.
    pub fn new(root: Hash32, plan: Plan) -> Self {
        let missing = (0_u32..).zip(plan.subtrees()).map(|(index, _)| index).collect();
        Self { root, plan, missing }
    }

    /// The chunk's entries, if it is what it should be. It is missing no longer: keep them.
    ///
    /// # Errors
    /// Nothing changes: ask another peer for it, and think less of the one who sent it.
    pub fn accept(&mut self, index: u32, bytes: &[u8]) -> Result<Chunk, SnapshotError> {
        if !self.missing.contains(&index) {
            return Err(SnapshotError::NotMissing(index));
        }
        let subtree = self.subtree(index).ok_or(SnapshotError::NotMissing(index))?;
        let chunk = Chunk::open(bytes, &subtree, &self.root)?;
        self.missing.remove(&index);
        Ok(chunk)
    }

    /// The subtree of a chunk.
    pub fn subtree(&self, index: u32) -> Option<Subtree> {
        self.plan.subtrees().get(usize::try_from(index).ok()?).copied()
    }

    /// What is missing, in ascending order.
    pub fn missing(&self) -> impl Iterator<Item = u32> + '_ {
        self.missing.iter().copied()
    }

    /// Is everything there? Then the entries of all chunks are the whole state, and no more than it.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty()
    }

    /// Chunks that are there, and all.
    pub fn progress(&self) -> (usize, usize) {
        let all = self.plan.subtrees().len();
        (all.saturating_sub(self.missing.len()), all)
    }

    /// How the state is cut.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }
}
