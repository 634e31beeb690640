//! Agreement: all honest nodes commit the same block with the same effect at each height, one height after the other.

use crate::node::Commit;
use crate::sim::world::NodeIndex;
use std::collections::BTreeMap;

/// What was committed where.
#[derive(Debug, Default)]
pub(super) struct Agreement {
    /// At each height: who committed first, and what.
    first: BTreeMap<u64, (NodeIndex, Commit)>,
}

impl Agreement {
    pub(super) fn committed(&mut self, index: NodeIndex, commit: &Commit) -> Result<(), String> {
        let height = commit.block.header.height;
        let id = commit.certificate.block;
        let (other, first) = self.first.entry(height).or_insert_with(|| (index, commit.clone()));
        let first_id = first.certificate.block;
        if first_id != id || first.block != commit.block {
            return Err(format!("at height {height} node {other} committed {first_id}, node {index} {id}"));
        }
        if (&first.changes, &first.nodes, &first.stale_nodes) != (&commit.changes, &commit.nodes, &commit.stale_nodes) {
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
