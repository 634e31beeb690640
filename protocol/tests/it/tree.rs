//! The Merkle state against its definition, and its proofs against whoever bends them.

use borsh::BorshDeserialize;
use proptest::prelude::*;
use protocol::crypto::{state_hash, state_key};
use protocol::ids::Hash32;
use protocol::ledger::Changes;
use protocol::tree::{ProofError, Tree, TreeError, prove_from, verify};
use std::collections::BTreeMap;

type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

/// The root by the definition: a placeholder, a leaf, or the hash of two halves.
fn root_of(leaves: &[([u8; 32], [u8; 32])], depth: usize) -> [u8; 32] {
    match leaves {
        [] => *b"SPARSE_MERKLE_PLACEHOLDER_HASH__",
        [(place, value)] => state_hash(&[b"JMT::LeafNode".as_slice(), place, value].concat()),
        _ => {
            let bit = |place: &[u8; 32]| place[depth / 8] >> (7 - depth % 8) & 1 == 1;
            let middle = leaves.partition_point(|(place, _)| !bit(place));
            let (left, right) = (root_of(&leaves[..middle], depth + 1), root_of(&leaves[middle..], depth + 1));
            state_hash(&[b"JMT::IntrnalNode".as_slice(), &left, &right].concat())
        }
    }
}

fn by_definition(entries: &Entries) -> Hash32 {
    let mut leaves: Vec<_> = entries.iter().map(|(key, value)| (state_key(key), state_hash(value))).collect();
    leaves.sort();
    Hash32(root_of(&leaves, 0))
}

fn any_changes() -> impl Strategy<Value = Changes> {
    prop::collection::btree_map(
        prop::collection::vec(0_u8..3, 1..4),
        prop::option::weighted(0.6, prop::collection::vec(any::<u8>(), 0..3)),
        0..20,
    )
}

proptest! {
    #[test]
    fn the_root_depends_on_the_entries_alone(versions in prop::collection::vec(any_changes(), 1..12)) {
        let (mut tree, mut entries) = (Tree::default(), Entries::new());
        let mut disk: Entries = Entries::new();
        for (version, changes) in (0..).zip(versions) {
            let update = tree.update(version, &changes).expect("the next version");
            for (key, value) in changes {
                match value {
                    Some(value) => entries.insert(key, value),
                    None => entries.remove(&key),
                };
            }
            prop_assert_eq!(update.root, by_definition(&entries));
            prop_assert_eq!(tree.root(version), Ok(update.root));
            for key in &update.stale {
                prop_assert!(disk.remove(key).is_some(), "a stale node was never written");
            }
            disk.extend(update.nodes);
            // What is on disk is the tree, and no more than it: as many leaves as entries, and fewer inner nodes.
            let reloaded = Tree::from_nodes(disk.clone()).expect("our own nodes");
            prop_assert_eq!(reloaded.root(version), Ok(update.root));
            let whole: Changes = entries.iter().map(|(key, value)| (key.clone(), Some(value.clone()))).collect();
            let fresh = Tree::default().update(0, &whole).expect("a first version");
            prop_assert_eq!(fresh.root, update.root);
            prop_assert_eq!(disk.len(), fresh.nodes.len());
            for key in [vec![0], vec![1, 2], vec![2, 2, 2], vec![7]] {
                let value = entries.get(&key).map(Vec::as_slice);
                let proof = reloaded.prove(&key).expect("the latest version");
                prop_assert_eq!(&proof, &tree.prove(&key).expect("the latest version"));
                prop_assert_eq!(&proof, &prove_from(|node| disk.get(node).cloned(), version, &key).expect("nodes"));
                prop_assert_eq!(verify(update.root, &key, value, &proof), Ok(()));
                let other = if value.is_some() { None } else { Some([1].as_slice()) };
                prop_assert!(verify(update.root, &key, other, &proof).is_err());
                prop_assert!(verify(update.root, &key, Some(b"not this one"), &proof).is_err());
            }
        }
    }
}

fn forest() -> (Tree, Hash32, Vec<Vec<u8>>) {
    let keys: Vec<Vec<u8>> = (0..200_u8).map(|number| vec![number]).collect();
    let changes: Changes = keys.iter().map(|key| (key.clone(), Some(vec![key[0], 1]))).collect();
    let mut tree = Tree::default();
    let root = tree.update(0, &changes).expect("a first version").root;
    (tree, root, keys)
}

#[test]
fn a_bent_proof_proves_nothing() {
    let (tree, root, keys) = forest();
    for key in [&keys[3], &vec![250]] {
        let value = keys.contains(key).then(|| vec![key[0], 1]);
        let proof = tree.prove(key).expect("the latest version");
        assert_eq!(verify(root, key, value.as_deref(), &proof), Ok(()));
        for at in 0..proof.len() {
            for bit in 0..8 {
                let mut bent = proof.clone();
                bent[at] ^= 1 << bit;
                assert!(verify(root, key, value.as_deref(), &bent).is_err(), "byte {at}, bit {bit}");
            }
            assert!(verify(root, key, value.as_deref(), &proof[..at]).is_err());
        }
        assert!(verify(root, key, value.as_deref(), &[proof.as_slice(), &[0]].concat()).is_err());
        let mut other = root;
        other.0[31] ^= 1;
        assert_eq!(verify(other, key, value.as_deref(), &proof), Err(ProofError::Wrong { root: other }));
        // Another key's proof is not this key's.
        assert!(verify(root, &keys[4], Some(&[4, 1]), &proof).is_err());
    }
}

proptest! {
    #[test]
    fn hostile_bytes_prove_nothing_and_break_nothing(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let (_, root, keys) = forest();
        prop_assert!(verify(root, &keys[0], Some(&[0, 1]), &bytes).is_err());
        prop_assert!(verify(root, &[250], None, &bytes).is_err());
    }
}

#[test]
fn huge_and_lying_lengths_are_refused() {
    let (tree, root, keys) = forest();
    let huge = vec![0; protocol::tree::MAX_PROOF_BYTES + 1];
    assert_eq!(verify(root, &keys[0], None, &huge), Err(ProofError::Encoding { length: huge.len() }));
    // No leaf, and four thousand million siblings.
    let lying = [&[0][..], &u32::MAX.to_le_bytes()].concat();
    assert_eq!(verify(root, &keys[0], None, &lying), Err(ProofError::Encoding { length: 5 }));
    // More siblings than a path has bits.
    let many = [&[0][..], &300_u32.to_le_bytes(), &[0; 300]].concat();
    assert!(verify(root, &keys[0], None, &many).is_err());
    assert!(u32::try_from_slice(&many[1..5]).is_ok());
    assert!(tree.prove(&keys[0]).expect("a proof").len() < protocol::tree::MAX_PROOF_BYTES);
}

#[test]
fn versions_follow_each_other_and_only_the_latest_is_there() {
    let (mut tree, root, keys) = forest();
    assert!(matches!(tree.update(0, &Changes::new()), Err(TreeError::Broken { .. })));
    assert!(matches!(tree.update(2, &Changes::new()), Err(TreeError::Broken { .. })));
    let update = tree.update(1, &Changes::new()).expect("an empty version");
    assert_eq!(update.root, root);
    assert_eq!((update.nodes.len(), update.stale.len()), (1, 1));
    assert!(matches!(tree.root(0), Err(TreeError::Broken { .. })));
    assert_eq!(tree.root(1), Ok(root));
    assert_eq!(verify(root, &keys[0], Some(&[0, 1]), &tree.prove(&keys[0]).expect("a proof")), Ok(()));
    assert!(matches!(Tree::from_nodes([(vec![1], vec![2])]), Err(TreeError::Unsound { .. })));
    // All entries removed, and some again.
    let gone: Changes = keys.iter().map(|key| (key.clone(), None)).collect();
    let empty = tree.update(2, &gone).expect("the next version").root;
    assert_eq!(empty, Hash32(*b"SPARSE_MERKLE_PLACEHOLDER_HASH__"));
    assert_eq!(verify(empty, &keys[0], None, &tree.prove(&keys[0]).expect("a proof")), Ok(()));
    let one = tree.update(3, &Changes::from([(vec![9], Some(vec![9]))])).expect("the next version").root;
    assert_eq!(verify(one, &[9], Some(&[9]), &tree.prove(&[9]).expect("a proof")), Ok(()));
}
