//! What every store does, told as stories and run over both backends.

use crate::bench::{Bench, beginning, commit, committed, envelope, manifest, origin, state, wal};
use protocol::node::Write;
use protocol::tree::{self, Tree};
use std::collections::BTreeMap;
use storage::{Loaded, Place, RocksStore, Store, StoreError};

#[test]
fn a_new_store_holds_the_networks_beginning() {
    Bench::on_both(|bench| {
        let (changes, nodes) = beginning();
        let expected = Loaded {
            origin: origin(),
            height: 0,
            state: changes.into_iter().map(|(key, value)| (key, value.unwrap())).collect(),
            tree: nodes.into_iter().collect(),
            last: None,
            wal: Vec::new(),
            sign_record: None,
            pool: Vec::new(),
            indexed: Vec::new(),
        };
        assert_eq!(bench.store().load().unwrap(), expected);
        bench.reopen();
        assert_eq!(bench.store().load().unwrap(), expected);
    });
}

#[test]
fn an_epoch_is_committed_whole() {
    Bench::on_both(|bench| {
        let store = bench.store();
        let pooled = [envelope(3), envelope(1), envelope(2)];
        store.write(&pooled.clone().map(Write::Pool)).unwrap();
        store.write(&[wal(1, 0), wal(1, 1), Write::SignRecord(b"vote".to_vec())]).unwrap();
        let loaded = store.load().unwrap();
        assert_eq!(loaded.pool, pooled);
        assert_eq!(loaded.wal, [b"entry 1/0", b"entry 1/1"]);
        assert_eq!(store.object(&envelope(1).id()).unwrap().unwrap().place, Place::Pool);

        let mut first = commit(1, vec![envelope(9), envelope(1)]);
        first.changes = state([("a/1", "changed"), ("c/1", "new")]);
        first.changes.insert(b"a/2".to_vec(), None);
        first.nodes = vec![(b"node".to_vec(), b"bytes".to_vec())];
        first.stale_nodes = vec![beginning().1[0].0.clone()];
        first.unpooled = vec![envelope(1).id(), envelope(3).id()];
        // The log of this epoch goes, also what is written in the same batch; that of the next one stays.
        store.write(&[wal(1, 2), committed(first.clone()), wal(2, 0), wal(1, 3)]).unwrap();
        bench.reopen();

        let store = bench.store();
        let loaded = store.load().unwrap();
        assert_eq!(loaded.height, 1);
        assert_eq!(loaded.last, Some((first.block.clone(), first.certificate.clone())));
        let entries = [("a/1", "changed"), ("b/1", "three"), ("c/1", "new")];
        assert_eq!(loaded.state, entries.map(|(key, value)| (key.into(), value.into())).into());
        assert_eq!(loaded.tree.get(&b"node"[..]), Some(&b"bytes".to_vec()));
        assert!(!loaded.tree.contains_key(&first.stale_nodes[0]));
        assert_eq!(loaded.wal, [b"entry 2/0"]);
        assert_eq!(loaded.sign_record, Some(b"vote".to_vec()));
        assert_eq!(loaded.pool, [envelope(2)]);

        let found = store.object(&envelope(1).id()).unwrap().unwrap();
        assert_eq!((found.envelope, found.place), (envelope(1), Place::Block { height: 1, index: 1 }));
        assert_eq!(store.object(&envelope(3).id()).unwrap(), None);
        let decided = Some((first.block.clone(), first.certificate));
        assert_eq!(store.block(1).unwrap(), decided);
        assert_eq!(store.block_by_id(&first.block.id()).unwrap(), decided);
        assert_eq!(store.block(2).unwrap(), None);
        assert_eq!(store.state(b"a/2").unwrap(), None);
        assert_eq!(store.state(b"c/1").unwrap(), Some(b"new".to_vec()));
    });
}

#[test]
fn a_batch_that_is_refused_leaves_nothing() {
    Bench::on_both(|bench| {
        let before = bench.store().load().unwrap();
        for wrong in [0, 2, 1 << 40] {
            let batch = [Write::SignRecord(b"x".to_vec()), Write::Pool(envelope(1)), committed(commit(wrong, vec![]))];
            let error = bench.store().write(&batch).unwrap_err();
            assert!(matches!(error, StoreError::Height { committed: 0, got } if got == wrong), "{error}");
        }
        let twice = [committed(commit(1, vec![])), committed(commit(1, vec![]))];
        assert!(matches!(bench.store().write(&twice), Err(StoreError::Height { committed: 1, got: 1 })));
        assert_eq!(bench.store().load().unwrap(), before);
        let two = [committed(commit(1, vec![])), committed(commit(2, vec![]))];
        bench.store().write(&two).unwrap();
        assert_eq!(bench.store().height().unwrap(), 2);
    });
}

#[test]
fn the_pool_keeps_its_order_over_a_restart() {
    Bench::on_both(|bench| {
        for seed in [7, 3, 5] {
            bench.store().write(&[Write::Pool(envelope(seed))]).unwrap();
        }
        bench.reopen();
        bench.store().write(&[Write::Unpool(vec![envelope(3).id()]), Write::Pool(envelope(1))]).unwrap();
        bench.reopen();
        bench.store().write(&[Write::Pool(envelope(7))]).unwrap();
        assert_eq!(bench.store().load().unwrap().pool, [envelope(5), envelope(1), envelope(7)]);
    });
}

#[test]
fn a_snapshot_does_not_see_later_writes() {
    Bench::on_both(|bench| {
        let store = bench.store();
        let snapshot = store.snapshot();
        let mut first = commit(1, vec![envelope(1)]);
        first.changes = state([("a/1", "changed")]);
        store.write(&[committed(first)]).unwrap();
        store.mark_indexed(manifest(1)).unwrap();
        assert_eq!((snapshot.height().unwrap(), store.height().unwrap()), (0, 1));
        assert_eq!(snapshot.state(b"a/1").unwrap(), Some(b"one".to_vec()));
        assert_eq!(snapshot.block(1).unwrap(), None);
        assert_eq!(snapshot.object(&envelope(1).id()).unwrap(), None);
        assert!(!snapshot.is_indexed(&manifest(1)).unwrap());
        assert!(store.snapshot().is_indexed(&manifest(1)).unwrap());
    });
}

#[test]
fn entries_are_paged_by_prefix() {
    Bench::on_both(|bench| {
        let page = |prefix: &str, after: Option<&str>, limit| {
            let entries = bench.store().state_prefix(prefix.as_bytes(), after.map(str::as_bytes), limit).unwrap();
            let keys = entries.into_iter().map(|(key, _)| String::from_utf8(key).unwrap());
            keys.collect::<Vec<_>>()
        };
        assert_eq!(page("a/", None, 10), ["a/1", "a/2"]);
        assert_eq!(page("a/", None, 1), ["a/1"]);
        assert_eq!(page("a/", Some("a/1"), 10), ["a/2"]);
        assert_eq!(page("a/", Some("a/"), 10), ["a/1", "a/2"]);
        assert_eq!(page("b/", Some("a/1"), 10), ["b/1"]);
        assert_eq!(page("", None, 10), ["a/1", "a/2", "b/1"]);
        let none: [&str; 0] = [];
        assert_eq!(page("a/", Some("b/1"), 10), none);
        assert_eq!(page("a/", None, 0), none);
        assert_eq!(page("c", None, 10), none);
    });
}

#[test]
fn blocks_are_given_in_ranges_that_fit() {
    Bench::on_both(|bench| {
        let writes: Vec<Write> = (1..=5).map(|height| committed(commit(height, vec![envelope(200)]))).collect();
        bench.store().write(&writes).unwrap();
        let bytes = borsh::to_vec(&bench.store().block(1).unwrap().unwrap()).unwrap().len();
        let heights = |from, count, max_bytes| {
            let blocks = bench.store().blocks(from, count, max_bytes).unwrap();
            blocks.iter().map(|(block, _)| block.header.height).collect::<Vec<_>>()
        };
        assert_eq!(heights(1, 10, usize::MAX), [1, 2, 3, 4, 5]);
        assert_eq!(heights(0, 2, usize::MAX), [1, 2]);
        assert_eq!(heights(2, 10, 2 * bytes), [2, 3]);
        assert_eq!(heights(2, 10, 3 * bytes - 1), [2, 3]);
        assert_eq!(heights(2, 10, 0), [2]);
        assert_eq!(heights(6, 10, usize::MAX), [0; 0]);
        assert_eq!(heights(1, 0, usize::MAX), [0; 0]);
    });
}

#[test]
fn entries_are_proved_against_the_root_of_their_height() {
    Bench::on_both(|bench| {
        let mut model: BTreeMap<Vec<u8>, Option<Vec<u8>>> = beginning().0;
        let mut tree = Tree::default();
        tree.update(0, &model).unwrap();
        let mut old = None;
        for height in 0..20_u64 {
            if height > 0 {
                let mut next = commit(height, vec![]);
                let key = format!("k/{}", height % 7);
                next.changes = state([(&key, &height.to_string()), ("always", &height.to_string())]);
                next.changes.insert(format!("k/{}", height % 3).into_bytes(), None);
                model.extend(next.changes.clone());
                let update = tree.update(height, &next.changes).unwrap();
                (next.nodes, next.stale_nodes) = (update.nodes, update.stale);
                bench.store().write(&[committed(next)]).unwrap();
            }
            let root = tree.root(height).unwrap();
            for key in model.keys().map(Vec::as_slice).chain([&b"absent"[..]]) {
                let proved = bench.store().prove(key).unwrap();
                assert_eq!(proved.height, height);
                assert_eq!(proved.value, model.get(key).cloned().flatten());
                tree::verify(root, key, proved.value.as_deref(), &proved.proof).unwrap();
                assert!(tree::verify(root, key, Some(b"forged"), &proved.proof).is_err());
            }
            if height == 5 {
                old = Some((bench.store().snapshot(), root));
            }
        }
        let (snapshot, root) = old.unwrap();
        let proved = snapshot.prove(b"always").unwrap();
        assert_eq!((proved.height, proved.value.as_deref()), (5, Some(&b"5"[..])));
        tree::verify(root, b"always", proved.value.as_deref(), &proved.proof).unwrap();
    });
}

#[test]
fn a_checkpoint_is_a_whole_store() {
    Bench::on_both(|bench| {
        let store = bench.store();
        store.write(&[committed(commit(1, vec![envelope(1)])), wal(2, 0), Write::Pool(envelope(2))]).unwrap();
        store.mark_indexed(manifest(1)).unwrap();
        let path = bench.path("backups/first");
        store.checkpoint(&path).unwrap();
        let then = store.load().unwrap();
        store.write(&[committed(commit(2, vec![]))]).unwrap();

        let copy = RocksStore::open(&path, &origin()).unwrap();
        assert_eq!(copy.load().unwrap(), then);
        assert_eq!(then.indexed, [manifest(1)]);
        copy.write(&[committed(commit(2, vec![envelope(3)]))]).unwrap();
        assert_eq!(store.object(&envelope(3).id()).unwrap(), None);

        assert!(matches!(store.checkpoint(&path), Err(StoreError::Exists { .. })));
        let file = bench.path("file");
        std::fs::write(&file, "mine").unwrap();
        assert!(matches!(store.checkpoint(&file), Err(StoreError::Exists { .. })));
    });
}
