//! The Merkle state: one hash of all ledger entries, and proofs that an entry is there, or is not.
//!
//! It is a Jellyfish Merkle tree, logically: the place of an entry is [`crypto::state_key`] of its key, bit by bit from
//! the root; a subtree without entries is a fixed placeholder, one with a single entry is that entry's leaf, any other
//! the hash of its two halves. Leaves and inner nodes are hashed with [`crypto::state_hash`] under different tags. So the
//! root depends on the entries alone, not on the order or grouping in which they were written.
//!
//! The tree holds nodes, not values, and of those only the latest version's: proofs are made of the latest state.

#[cfg(any(test, feature = "sim"))]
pub(crate) mod memo;

use crate::crypto;
use crate::genesis::canonical;
use crate::ids::{Hash32, to_hex};
use crate::ledger::Changes;
use jmt::proof::SparseMerkleProof;
use jmt::storage::{LeafNode, Node, NodeKey, TreeReader, TreeUpdateBatch};
use jmt::{JellyfishMerkleTree, KeyHash, OwnedValue, RootHash, SimpleHasher, Version};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The most bytes of a proof: 256 siblings, each at most a tag and two hashes, and a leaf.
pub const MAX_PROOF_BYTES: usize = 256 * 65 + 128;

/// Bytes of an inner node or a leaf as it is hashed: a tag of 16 bytes at most and two hashes. Longer ones only take a
/// longer way.
const NODE_BYTES: usize = 80;

/// The tree's hash function. It gathers what it is given, because our hash is one function over whole bytes.
struct StateHasher(Vec<u8>);

impl SimpleHasher for StateHasher {
    fn new() -> Self {
        Self(Vec::with_capacity(NODE_BYTES))
    }

    fn update(&mut self, data: &[u8]) {
        self.0.extend_from_slice(data);
    }

    fn finalize(self) -> [u8; 32] {
        crypto::state_hash(&self.0)
    }

    fn hash(data: impl AsRef<[u8]>) -> [u8; 32] {
        crypto::state_hash(data.as_ref())
    }
}

/// The tree after some height.
#[derive(Clone, Debug)]
pub struct Tree {
    /// Shared by copies until one of them changes.
    nodes: Arc<Nodes>,
    /// The latest version; none before the genesis.
    version: Option<u64>,
    root: Hash32,
}

impl Default for Tree {
    fn default() -> Self {
        Self { nodes: Arc::default(), version: None, root: empty_root() }
    }
}

/// The nodes that the latest version reaches.
#[derive(Clone, Debug, Default)]
struct Nodes(BTreeMap<Arc<NodeKey>, Arc<Node>>);

/// The nodes that one version makes, and those that it makes needless.
#[derive(Debug)]
struct Step {
    new: Vec<(Arc<NodeKey>, Arc<Node>)>,
    stale: Vec<Arc<NodeKey>>,
    update: TreeUpdate,
}

/// What one version changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeUpdate {
    /// The new root.
    pub root: Hash32,
    /// New nodes, for the disk.
    pub nodes: Vec<(Vec<u8>, Vec<u8>)>,
    /// Keys of nodes that no later version reaches, to be removed from the disk.
    pub stale: Vec<Vec<u8>>,
}

/// Why the tree cannot do something: its nodes are not those it wrote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// A stored node that is none of ours.
    #[error("the stored state node {} is not one that this version writes; restore the data or sync anew", to_hex(key))]
    Unsound {
        /// Its key.
        key: Vec<u8>,
    },
    /// A node is missing, or the version is not the one that follows.
    #[error("the Merkle state has no sound tree of version {version}: {reason}")]
    Broken {
        /// Which version was needed.
        version: u64,
        /// What is missing.
        reason: String,
    },
}

/// Why a proof proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// Not the canonical bytes of a proof.
    #[error("these {length} bytes are not a state proof")]
    Encoding {
        /// How many there were.
        length: usize,
    },
    /// It does not lead from this entry to this root.
    #[error("the proof does not show this of the root {root}")]
    Wrong {
        /// The root.
        root: Hash32,
    },
}

impl Tree {
    /// The tree that stored nodes make.
    pub fn from_nodes(nodes: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>) -> Result<Self, TreeError> {
        let mut tree = Self::default();
        let known = &mut Arc::make_mut(&mut tree.nodes).0;
        for (key, value) in nodes {
            match (borsh::from_slice::<NodeKey>(&key), borsh::from_slice(&value)) {
                (Ok(node_key), Ok(node)) => {
                    tree.version = tree.version.max(Some(node_key.version()));
                    known.insert(Arc::new(node_key), Arc::new(node));
                }
                _ => return Err(TreeError::Unsound { key }),
            };
        }
        // Every version writes its own root.
        if let Some(version) = tree.version {
            let root = tree.jmt().get_root_hash(version).map_err(|error| broken(version, &error))?;
            tree.root = Hash32(root.0);
        }
        Ok(tree)
    }

    /// The tree of a whole state after `version`, as if it had begun there: a node that starts from a snapshot has no
    /// earlier one. The root is the same as that of a tree with a history.
    pub fn begin_at(version: u64, entries: &Changes) -> Result<(Self, TreeUpdate), TreeError> {
        let mut tree = Self::default();
        if let Some(before) = version.checked_sub(1) {
            Arc::make_mut(&mut tree.nodes).0.insert(Arc::new(root_key(before)), Arc::new(Node::Null));
            tree.version = Some(before);
        }
        let mut update = tree.update(version, entries)?;
        // The empty root before it was never written.
        update.stale.clear();
        Ok((tree, update))
    }

    fn jmt(&self) -> JellyfishMerkleTree<'_, Nodes, StateHasher> {
        JellyfishMerkleTree::new(self.nodes.as_ref())
    }

    /// Carries out the changes of `version`, which follows the tree's latest; version 0 is the genesis.
    pub fn update(&mut self, version: u64, changes: &Changes) -> Result<TreeUpdate, TreeError> {
        let next = self.version.map_or(0, |last| last.saturating_add(1));
        if version != next {
            return Err(TreeError::Broken { version, reason: format!("the next version is {next}") });
        }
        #[cfg(any(test, feature = "sim"))]
        if let Some((tree, update)) = memo::recall(self.root, version, changes) {
            *self = tree;
            return Ok(update);
        }
        let Step { new, stale, update } = self.step(version, changes).map_err(|error| broken(version, &error))?;
        let nodes = &mut Arc::make_mut(&mut self.nodes).0;
        for key in &stale {
            nodes.remove(key);
        }
        nodes.extend(new);
        #[cfg(any(test, feature = "sim"))]
        let before = self.root;
        (self.version, self.root) = (Some(version), update.root);
        #[cfg(any(test, feature = "sim"))]
        memo::remember(before, version, changes, self, &update);
        Ok(update)
    }

    /// What a version changes. The library removes entries one by one, but writes many at once, each inner node on their
    /// ways being hashed once: so it first removes, then writes on top of that, both under the same version.
    fn step(&self, version: u64, changes: &Changes) -> anyhow::Result<Step> {
        let written = || changes.iter().filter_map(|(key, value)| Some((place(key), value.clone()?)));
        let written: Vec<(KeyHash, OwnedValue)> = written().collect();
        let removed = changes.iter().filter(|(_, value)| value.is_none()).map(|(key, _)| (place(key), None));
        let mut roots = Vec::new();
        let mut batch = TreeUpdateBatch::default();
        if written.is_empty() || written.len() < changes.len() {
            let (root, removal) = self.jmt().put_value_set(removed, version)?;
            roots.push(root);
            batch = removal;
        }
        let (mut new, mut stale) = (batch.node_batch.nodes().clone(), batch.stale_node_index_batch);
        if !written.is_empty() {
            let below = Below { nodes: &self.nodes, new: &new, version };
            let tree = JellyfishMerkleTree::<_, StateHasher>::new(&below);
            let (root, writing) = tree.batch_put_value_sets(vec![written], None, version)?;
            roots.extend(root);
            writing.stale_node_index_batch.iter().for_each(|index| drop(new.remove(&index.node_key)));
            new.extend(writing.node_batch.nodes().iter().map(|(key, node)| (key.clone(), node.clone())));
            stale.extend(writing.stale_node_index_batch);
        }
        let Some(root) = roots.pop() else { anyhow::bail!("there is no root") };
        // Nodes of this very version were never written. A version without effect copies the root and says nothing of
        // the old one.
        let old_root = version.checked_sub(1).map(root_key).filter(|key| self.nodes.0.contains_key(key));
        let mut stale: BTreeSet<NodeKey> = stale.into_iter().map(|index| index.node_key).collect();
        stale.retain(|key| key.version() < version);
        stale.extend(old_root);
        let update = TreeUpdate {
            root: Hash32(root.0),
            nodes: new.iter().map(|(key, node)| (canonical(key), canonical(node))).collect(),
            stale: stale.iter().map(canonical).collect(),
        };
        let new = new.into_iter().map(|(key, node)| (Arc::new(key), Arc::new(node))).collect();
        Ok(Step { new, stale: stale.into_iter().map(Arc::new).collect(), update })
    }

    /// The latest version, which is the height; none before the genesis.
    pub fn version(&self) -> Option<u64> {
        self.version
    }

    /// The root of `version`, which must be the latest.
    pub fn root(&self, version: u64) -> Result<Hash32, TreeError> {
        if self.version == Some(version) {
            return Ok(self.root);
        }
        Err(TreeError::Broken { version, reason: "it is not the latest version".to_owned() })
    }

    /// A proof of what the entry of `key` is in the latest version, or that there is none.
    pub fn prove(&self, key: &[u8]) -> Result<Vec<u8>, TreeError> {
        make_proof(self.nodes.as_ref(), self.version.unwrap_or_default(), key)
    }
}

/// [`Tree::prove`] with nodes that lie elsewhere, such as on a disk: `node` reads one by its key.
pub fn prove_from(node: impl Fn(&[u8]) -> Option<Vec<u8>>, version: u64, key: &[u8]) -> Result<Vec<u8>, TreeError> {
    make_proof(&Elsewhere(node), version, key)
}

fn make_proof(nodes: &impl TreeReader, version: u64, key: &[u8]) -> Result<Vec<u8>, TreeError> {
    let tree = JellyfishMerkleTree::<_, StateHasher>::new(nodes);
    let (_, proof) = tree.get_with_proof(place(key), version).map_err(|error| broken(version, &error))?;
    Ok(canonical(&proof))
}

/// Does `proof` show that in the state with this root the entry of `key` is `value`, or that there is none?
pub fn verify(root: Hash32, key: &[u8], value: Option<&[u8]>, proof: &[u8]) -> Result<(), ProofError> {
    let encoding = ProofError::Encoding { length: proof.len() };
    if proof.len() > MAX_PROOF_BYTES {
        return Err(encoding);
    }
    let Ok(parsed) = borsh::from_slice::<SparseMerkleProof<StateHasher>>(proof) else { return Err(encoding) };
    parsed.verify(RootHash(root.0), place(key), value).map_err(|_| ProofError::Wrong { root })
}

fn place(key: &[u8]) -> KeyHash {
    KeyHash(crypto::state_key(key))
}

/// The root of a tree without entries.
fn empty_root() -> Hash32 {
    Hash32(JellyfishMerkleTree::<'_, Nodes, StateHasher>::EMPTY_ROOT.0)
}

fn root_key(version: u64) -> NodeKey {
    NodeKey::new(version, std::iter::empty().collect())
}

fn broken(version: u64, error: &anyhow::Error) -> TreeError {
    TreeError::Broken { version, reason: error.to_string() }
}

impl TreeReader for Nodes {
    fn get_node_option(&self, key: &NodeKey) -> anyhow::Result<Option<Node>> {
        Ok(self.0.get(key).map(|node| node.as_ref().clone()))
    }

    /// Values are the ledger's; a proof needs only their hash, which is in the leaf.
    fn get_value_option(&self, _: Version, _: KeyHash) -> anyhow::Result<Option<OwnedValue>> {
        Ok(Some(OwnedValue::new()))
    }

    fn get_rightmost_leaf(&self) -> anyhow::Result<Option<(NodeKey, LeafNode)>> {
        Err(anyhow::anyhow!("the state is never restored leaf by leaf"))
    }
}

/// The nodes while a version is made: on top of those of the version before, the ones it has made so far. Its own root
/// stands in the place of the old one, where the library looks for it.
struct Below<'a> {
    nodes: &'a Nodes,
    new: &'a BTreeMap<NodeKey, Node>,
    version: u64,
}

impl TreeReader for Below<'_> {
    fn get_node_option(&self, key: &NodeKey) -> anyhow::Result<Option<Node>> {
        let is_old_root = key.nibble_path().is_empty() && key.version().checked_add(1) == Some(self.version);
        let made = if is_old_root { self.new.get(&root_key(self.version)) } else { self.new.get(key) };
        made.map_or_else(|| self.nodes.get_node_option(key), |node| Ok(Some(node.clone())))
    }

    fn get_value_option(&self, version: Version, place: KeyHash) -> anyhow::Result<Option<OwnedValue>> {
        self.nodes.get_value_option(version, place)
    }

    fn get_rightmost_leaf(&self) -> anyhow::Result<Option<(NodeKey, LeafNode)>> {
        self.nodes.get_rightmost_leaf()
    }
}

/// Nodes that a function reads.
struct Elsewhere<F>(F);

impl<F: Fn(&[u8]) -> Option<Vec<u8>>> TreeReader for Elsewhere<F> {
    fn get_node_option(&self, key: &NodeKey) -> anyhow::Result<Option<Node>> {
        let Some(bytes) = (self.0)(&canonical(key)) else { return Ok(None) };
        Ok(Some(borsh::from_slice(&bytes)?))
    }

    fn get_value_option(&self, _: Version, _: KeyHash) -> anyhow::Result<Option<OwnedValue>> {
        Ok(Some(OwnedValue::new()))
    }

    fn get_rightmost_leaf(&self) -> anyhow::Result<Option<(NodeKey, LeafNode)>> {
        Err(anyhow::anyhow!("the state is never restored leaf by leaf"))
    }
}
