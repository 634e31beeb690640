//! Agreement: all honest nodes commit the same block with the same effect at each height, one height after the other.

use crate::genesis::canonical;
use crate::ids::BlockId;
use crate::node::Commit;
use crate::sim::world::NodeIndex;
use std::collections::BTreeMap;

/// What was committed where.
#[derive(Debug, Default)]
pub(super) struct Agreement {
    /// At each height: who committed first, the block by its id and by its bytes, and what it changed.
    first: BTreeMap<u64, (NodeIndex, BlockId, blake3::Hash, blake3::Hash)>,
}

impl Agreement {
    pub(super) fn committed(&mut self, index: NodeIndex, commit: &Commit) -> Result<(), String> {
        let height = commit.block.header.height;
        let id = commit.certificate.block;
        let bytes = blake3::hash(&canonical(&commit.block));
        let changes = blake3::hash(&canonical(&(&commit.changes, &commit.nodes, &commit.stale_nodes)));
        let (other, first, first_bytes, first_changes) =
            *self.first.entry(height).or_insert((index, id, bytes, changes));
        if (first, first_bytes) != (id, bytes) {
            return Err(format!("at height {height} node {other} committed {first}, node {index} {id}"));
        }
        if first_changes != changes {
            return Err(format!(
                "block {height} changes the ledger of node {index} otherwise than that of node {other}"
            ));
        }
        Ok(())
    }

    /// The greatest height that anybody honest has committed.
    pub(super) fn height(&self) -> u64 {
        self.first.keys().next_back().copied().unwrap_or(0)
    }
}
