//! A state that is made into a snapshot, gathered elsewhere in any order over restarts, and begun with.

use crate::bench::{Backend, Bench, commit, committed, origin};
use protocol::block::{Block, ValidatorSet};
use protocol::genesis::canonical;
use protocol::ids::Hash32;
use protocol::ledger::{Changes, keys};
use protocol::light::LightBlock;
use protocol::tree::{Tree, verify};
use std::fs;
use storage::{Beginning, RocksStore, SnapshotInfo, Snapshots, Staging, Store, StoreError};

fn no_validators() -> ValidatorSet {
    borsh::from_slice(&[0; 4]).expect("an empty set")
}

/// A store at height 12 with a state of several chunks, as a node would have written it.
fn filled(backend: Backend) -> Bench {
    let bench = Bench::new(backend);
    let (beginning, _) = crate::bench::beginning();
    let mut tree = Tree::default();
    tree.update(0, &beginning).expect("a tree");
    for height in 1..=12_u64 {
        let mut next = commit(height, vec![]);
        next.block.header.validators = no_validators().hash();
        next.block.header.next_validators = no_validators().hash();
        next.changes.insert(keys::VALIDATORS.to_vec(), Some(canonical(&no_validators())));
        for number in 0..30_u64 {
            let size = usize::try_from(number * 700 + height).expect("small");
            next.changes.insert(canonical(&(height, number)), Some(vec![u8::try_from(number).expect("small"); size]));
        }
        if height == 9 {
            next.changes.insert(canonical(&(3_u64, 3_u64)), None);
        }
        let update = tree.update(height, &next.changes).expect("the next version");
        (next.nodes, next.stale_nodes) = (update.nodes, update.stale);
        bench.store().write(&[committed(next)]).expect("a write");
    }
    bench
}

fn last(bench: &Bench) -> (Block, LightBlock) {
    let (block, certificate) = bench.store().block(12).expect("read").expect("a block");
    let light = LightBlock::new(block.header.clone(), certificate, no_validators(), no_validators());
    (block, light)
}

fn make(bench: &Bench) -> (Snapshots, SnapshotInfo) {
    let snapshots = Snapshots::open(&bench.path("snapshots")).expect("a folder");
    let info = snapshots.make(bench.store().snapshot().as_ref()).expect("a snapshot");
    (snapshots, info)
}

#[test]
fn a_snapshot_is_gathered_over_restarts_and_the_node_goes_on_from_it() {
    for backend in [Backend::Memory, Backend::Rocks] {
        let bench = filled(backend);
        let (snapshots, info) = make(&bench);
        assert_eq!(snapshots.list().unwrap(), std::slice::from_ref(&info));
        assert_eq!(info.height, 12);
        let chunks = u32::try_from(info.depths.len()).unwrap();
        assert!(chunks >= 3, "{chunks}");
        println!("{chunks} chunks");
        let folder = bench.path("staging");
        for index in (0..chunks).rev() {
            // A restart between any two chunks, and before it a liar.
            let mut staging = Staging::open(&folder, info.clone()).unwrap();
            assert_eq!(staging.missing(), (0..=index).collect::<Vec<_>>());
            let chunk = snapshots.chunk(12, index).unwrap().unwrap();
            let mut altered = chunk.clone();
            let middle = altered.len() / 2;
            altered[middle] ^= 1;
            assert!(staging.accept(index, &altered).unwrap().is_err());
            assert!(staging.state().is_err(), "not all is there");
            assert!(staging.accept(index, &chunk).unwrap().is_ok());
        }
        let staging = Staging::open(&folder, info.clone()).unwrap();
        assert!(staging.missing().is_empty());
        let state = staging.state().unwrap();
        let original: Changes = bench.store().load().unwrap().state.into_iter().map(|(k, v)| (k, Some(v))).collect();
        assert_eq!(state, original);

        let (block, light) = last(&bench);
        let path = bench.path("restored");
        let kept = vec![crate::bench::envelope(1)];
        let mut beginning = Beginning { last: light.clone(), block, state, root: Hash32([9; 32]), kept };
        let wrong = RocksStore::restore(&path, &origin(), &beginning);
        assert!(matches!(wrong, Err(StoreError::Snapshot { .. })));
        assert!(!path.exists());
        beginning.root = info.root;
        RocksStore::restore(&path, &origin(), &beginning).unwrap();
        let restored = RocksStore::open(&path, &origin()).unwrap();
        let loaded = restored.load().unwrap();
        assert_eq!((loaded.height, restored.lowest().unwrap()), (12, 12));
        assert!(restored.object(&crate::bench::envelope(1).id()).unwrap().is_some());
        assert_eq!(loaded.last, bench.store().block(12).unwrap());
        assert_eq!(restored.light_block(12).unwrap(), Some(light));
        // Proofs are made from it, and the next heights follow with the same roots.
        let proof = restored.prove(keys::VALIDATORS).unwrap();
        verify(info.root, keys::VALIDATORS, proof.value.as_deref(), &proof.proof).unwrap();
        let mut tree = Tree::from_nodes(loaded.tree).unwrap();
        let mut original = Tree::from_nodes(bench.store().load().unwrap().tree).unwrap();
        let changes: Changes = [(vec![1, 2, 3], Some(vec![4])), (canonical(&(4_u64, 4_u64)), None)].into();
        assert_eq!(tree.update(13, &changes).unwrap().root, original.update(13, &changes).unwrap().root);
        restored.write(&[committed(commit(13, vec![]))]).unwrap();
    }
}

#[test]
fn a_snapshot_shows_one_moment_whatever_is_written_meanwhile() {
    let bench = filled(Backend::Rocks);
    let view = bench.store().snapshot();
    let (_, before) = make(&bench);
    let mut next = commit(13, vec![]);
    next.changes.insert(canonical(&(4_u64, 4_u64)), None);
    next.changes.insert(vec![9; 9], Some(vec![9]));
    bench.store().write(&[committed(next)]).unwrap();
    let snapshots = Snapshots::open(&bench.path("late")).unwrap();
    assert_eq!(snapshots.make(view.as_ref()).unwrap(), before);
    let (_, after) = make(&bench);
    assert_eq!(after.height, 13);
    assert_ne!(after.root, before.root);
}

#[test]
fn only_whole_snapshots_are_offered_and_old_ones_go() {
    let bench = filled(Backend::Memory);
    let (snapshots, _) = make(&bench);
    for height in 13..=15 {
        bench.store().write(&[committed(commit(height, vec![]))]).unwrap();
        snapshots.make(bench.store().snapshot().as_ref()).unwrap();
    }
    let heights = |snapshots: &Snapshots| snapshots.list().unwrap().iter().map(|info| info.height).collect::<Vec<_>>();
    assert_eq!(heights(&snapshots), [12, 13, 14, 15]);
    assert_eq!(snapshots.keep(2).unwrap(), Some(14));
    assert_eq!(heights(&snapshots), [14, 15]);
    assert_eq!(snapshots.chunk(12, 0).unwrap(), None);
    assert_eq!(snapshots.chunk(14, 99).unwrap(), None);
    // One that was cut short, one without its description, one whose description is damaged.
    let folder = bench.path("snapshots");
    fs::create_dir(folder.join("16.unfinished")).unwrap();
    fs::create_dir(folder.join("17")).unwrap();
    let about = folder.join("14").join("about");
    let mut bytes = fs::read(&about).unwrap();
    bytes[3] ^= 1;
    fs::write(about, bytes).unwrap();
    let again = Snapshots::open(&folder).unwrap();
    assert_eq!(heights(&again), [15]);
    assert!(!folder.join("16.unfinished").exists());
}

#[test]
fn staging_of_another_snapshot_begins_anew_and_a_damaged_chunk_is_fetched_again() {
    let bench = filled(Backend::Memory);
    let (snapshots, info) = make(&bench);
    let folder = bench.path("staging");
    let mut staging = Staging::open(&folder, info.clone()).unwrap();
    for index in staging.missing() {
        staging.accept(index, &snapshots.chunk(12, index).unwrap().unwrap()).unwrap().unwrap();
    }
    let chunk = folder.join("1");
    let mut bytes = fs::read(&chunk).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(chunk, bytes).unwrap();
    assert!(staging.state().is_err());
    assert_eq!(Staging::open(&folder, info.clone()).unwrap().missing(), [1]);
    let other = SnapshotInfo { root: Hash32([1; 32]), ..info.clone() };
    let all = Staging::open(&folder, other).unwrap().missing();
    assert_eq!(all.len(), info.depths.len());
    let gap = SnapshotInfo { depths: vec![1], ..info };
    assert!(Staging::open(&folder, gap).is_err());
}
