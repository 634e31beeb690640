//! Wrong paths, other programs' and other networks' databases, newer ones, damaged rows: each has its own clear error.

use crate::bench::{Backend, Bench, commit, committed, envelope, manifest, origin, wal};
use protocol::crypto::validators_hash;
use protocol::ids::Hash32;
use protocol::ledger::keys;
use protocol::node::Write;
use rocksdb::{DB, Options};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use storage::schema::{self, Family, KEY_HEIGHT, KEY_ORIGIN, KEY_SCHEMA, KEY_SIGN_RECORD, KEY_STAMP};
use storage::{Origin, RocksStore, Store, StoreError};

/// A validator set without members, as it is stored.
const NO_VALIDATORS: &[u8] = &[0; 4];

/// A closed database with rows in every family.
fn populated() -> Bench {
    let mut bench = Bench::new(Backend::Rocks);
    let store = bench.store();
    let mut first = commit(1, vec![envelope(1)]);
    first.changes.insert(keys::VALIDATORS.to_vec(), Some(NO_VALIDATORS.to_vec()));
    store.write(&[committed(first), Write::Pool(envelope(2))]).expect("a write");
    store.write(&[committed(commit(2, vec![])), committed(commit(3, vec![envelope(3)]))]).expect("a write");
    assert_eq!(store.prune(2, 10).expect("pruned"), 2);
    store.write(&[wal(4, 0), wal(4, 1), Write::SignRecord(b"vote".to_vec())]).expect("a write");
    store.mark_indexed(manifest(1)).expect("a write");
    bench.close();
    bench
}

/// The database as RocksDB alone sees it.
fn raw(path: &Path) -> DB {
    let names = DB::list_cf(&Options::default(), path).expect("families");
    DB::open_cf(&Options::default(), path, names).expect("a database")
}

fn put_raw(path: &Path, family: Family, key: &[u8], value: &[u8]) {
    let db = raw(path);
    db.put_cf(db.cf_handle(family.as_str()).expect("a family"), key, value).expect("a write");
}

/// Everything that can be read.
fn read_all(path: &Path) -> Result<(), StoreError> {
    let store = RocksStore::open(path, &origin())?;
    let loaded = store.load()?;
    let snapshot = store.snapshot();
    assert!(loaded.last.is_some());
    for (block, _) in snapshot.blocks(snapshot.lowest()?, u64::MAX, usize::MAX)? {
        snapshot.block_by_id(&block.id())?;
    }
    for seed in [1, 2, 3] {
        snapshot.object(&envelope(seed).id())?;
        snapshot.is_indexed(&manifest(seed))?;
    }
    snapshot.validator_set(&validators_hash(NO_VALIDATORS))?;
    Ok(())
}

fn error_of(path: &Path) -> StoreError {
    read_all(path).expect_err("an error")
}

#[test]
fn a_damaged_row_is_named_in_every_family() {
    let bench = populated();
    let path = bench.path("database");
    read_all(&path).unwrap();
    for (family, nth) in Family::ALL.into_iter().flat_map(|family| [(family, 0), (family, 1)]) {
        let (key, value) = {
            let db = raw(&path);
            let mut rows = db.iterator_cf(db.cf_handle(family.as_str()).unwrap(), rocksdb::IteratorMode::Start);
            rows.nth(nth).expect("a stamp and a row in every family").unwrap()
        };
        let mut altered = value.to_vec();
        altered[value.len() - 1] ^= 0x10;
        put_raw(&path, family, &key, &altered);
        let error = error_of(&path);
        let named = matches!(&error, StoreError::Damaged { family: name, record, .. }
            if *name == family.as_str() && *record == family.describe(&key));
        assert!(named, "{family:?}: {error}");
        // The checksum holds, but what it covers is no record.
        let any_bytes = [Family::State, Family::Tree, Family::Wal, Family::SignRecord, Family::Host].contains(&family);
        if nth == 0 || !any_bytes {
            put_raw(&path, family, &key, &schema::seal(family, &key, b"x"));
            assert!(matches!(error_of(&path), StoreError::Damaged { .. }), "{family:?}, unreadable");
        }
        put_raw(&path, family, &key, &value);
    }
    read_all(&path).unwrap();
}

#[test]
fn a_row_that_is_lost_is_missed() {
    let cases: [(Family, &[u8]); 6] = [
        (Family::State, KEY_STAMP),
        (Family::Meta, KEY_HEIGHT),
        (Family::Meta, KEY_ORIGIN),
        (Family::Blocks, &schema::height_key(3)),
        (Family::Wal, &schema::wal_key(4, 0)),
        (Family::Meta, KEY_SCHEMA),
    ];
    for (family, key) in cases {
        let bench = populated();
        let path = bench.path("database");
        {
            let db = raw(&path);
            db.delete_cf(db.cf_handle(family.as_str()).unwrap(), key).unwrap();
        }
        match error_of(&path) {
            StoreError::Damaged { record, .. } => assert_eq!(record, family.describe(key)),
            error => assert!(key == KEY_SCHEMA && matches!(error, StoreError::DamagedFiles { .. }), "{error}"),
        }
    }
}

#[test]
fn a_row_of_a_newer_version_is_refused() {
    let bench = populated();
    let path = bench.path("database");
    let value = schema::seal_as(2, Family::SignRecord, KEY_SIGN_RECORD, b"vote");
    put_raw(&path, Family::SignRecord, KEY_SIGN_RECORD, &value);
    let error = error_of(&path);
    assert!(matches!(error, StoreError::NewerRow { family: "sign_record", found: 2, known: 1, .. }), "{error}");
    assert!(error.to_string().contains("newer version of Tributary"), "{error}");
}

#[test]
fn a_family_that_lost_its_newest_files_is_found_out() {
    for family in Family::ALL {
        let bench = populated();
        let path = bench.path("database");
        put_raw(&path, family, KEY_STAMP, &schema::seal(family, KEY_STAMP, &borsh::to_vec(&2_u64).unwrap()));
        let error = error_of(&path);
        assert!(matches!(&error, StoreError::Damaged { reason, .. } if reason.contains("files were lost")), "{error}");
    }
}

fn set_schema(path: &Path, version: u32) {
    put_raw(path, Family::Meta, KEY_SCHEMA, &schema::seal(Family::Meta, KEY_SCHEMA, &version.to_le_bytes()));
}

#[test]
fn a_newer_database_is_refused_and_says_what_to_do() {
    let bench = populated();
    let path = bench.path("database");
    set_schema(&path, 4);
    let error = error_of(&path);
    assert!(matches!(error, StoreError::Newer { found: 4, known: 3 }), "{error}");
    assert!(error.to_string().contains("run the newer version"), "{error}");
    // A newer schema may have families that this program has never heard of.
    raw(&path).create_cf("ledger_of_tomorrow", &Options::default()).unwrap();
    assert!(matches!(error_of(&path), StoreError::Newer { found: 4, known: 3 }));
    set_schema(&path, 3);
    let error = error_of(&path);
    assert!(matches!(&error, StoreError::DamagedFiles { reason, .. } if reason.contains("tomorrow")), "{error}");
    raw(&path).drop_cf("ledger_of_tomorrow").unwrap();
    read_all(&path).unwrap();
    raw(&path).drop_cf("wal").unwrap();
    let error = error_of(&path);
    assert!(matches!(&error, StoreError::DamagedFiles { reason, .. } if reason.contains("`wal`")), "{error}");
    set_schema(&path, 2);
    assert!(matches!(error_of(&path), StoreError::Older { found: 2, known: 3 }));
    set_schema(&path, 0);
    assert!(matches!(error_of(&path), StoreError::DamagedFiles { .. }));
}

#[test]
fn another_network_is_refused_with_both_names() {
    let bench = populated();
    let path = bench.path("database");
    let others =
        [Origin { genesis: Hash32([0xdd; 32]), ..origin() }, Origin { network: "mainnet".to_owned(), ..origin() }];
    for other in others {
        let error = RocksStore::open(&path, &other).err().expect("an error");
        let text = error.to_string();
        for fact in [&other.network, &origin().network, &other.genesis.to_string(), &origin().genesis.to_string()] {
            assert!(text.contains(fact.as_str()), "{text}");
        }
        assert!(matches!(error, StoreError::OtherNetwork { .. }));
    }
    let any = RocksStore::open_any(&path).unwrap();
    assert_eq!(any.load().unwrap().origin, origin());
}

#[test]
fn a_wrong_path_is_told_apart_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    assert!(matches!(error_of(&at("nothing")), StoreError::Missing { .. }));
    assert!(!at("nothing").exists());
    fs::create_dir(at("empty")).unwrap();
    assert!(matches!(error_of(&at("empty")), StoreError::Missing { .. }));

    fs::write(at("text"), "dear diary").unwrap();
    fs::create_dir(at("folder")).unwrap();
    fs::write(at("folder/thesis.txt"), "chapter one").unwrap();
    let other = DB::open_default(at("other")).unwrap();
    other.put("a", "b").unwrap();
    drop(other);
    for name in ["text", "folder", "other"] {
        let error = error_of(&at(name));
        assert!(matches!(error, StoreError::Foreign { .. }), "{name}: {error}");
        let created = RocksStore::create(&at(name), &origin(), &BTreeMap::new(), &[]);
        assert!(matches!(created, Err(StoreError::Exists { .. })), "{name}");
    }
    assert_eq!(fs::read_to_string(at("text")).unwrap(), "dear diary");
    assert_eq!(fs::read_dir(at("folder")).unwrap().count(), 1);
    assert_eq!(DB::open_default(at("other")).unwrap().get("a").unwrap().unwrap(), b"b");

    RocksStore::create(&at("empty"), &origin(), &BTreeMap::new(), &[]).unwrap();
    assert!(matches!(error_of(&at("text/below")), StoreError::Foreign { .. } | StoreError::Io { .. }));
    assert!(RocksStore::create(&at("text/below"), &origin(), &BTreeMap::new(), &[]).is_err());
}

#[test]
fn a_database_that_is_open_is_locked() {
    let bench = Bench::new(Backend::Rocks);
    let error = error_of(&bench.path("database"));
    assert!(matches!(error, StoreError::Locked { .. }), "{error}");
    assert!(error.to_string().contains("already running"), "{error}");
}

#[test]
fn a_creation_that_was_cut_short_is_done_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("database");
    let unfinished = folder.path().join("database.unfinished");
    drop(DB::open_default(&unfinished).unwrap());
    fs::write(unfinished.join("000099.sst"), "half").unwrap();
    assert!(matches!(error_of(&path), StoreError::Missing { .. }));
    RocksStore::create(&path, &origin(), &BTreeMap::new(), &[]).unwrap();
    assert!(!unfinished.exists());
    // One that still runs is not disturbed.
    let running = DB::open_default(&unfinished).unwrap();
    let other = folder.path().join("database");
    fs::remove_dir_all(&other).unwrap();
    let refused = RocksStore::create(&other, &origin(), &BTreeMap::new(), &[]);
    assert!(matches!(refused, Err(StoreError::Locked { .. })));
    running.put("still", "here").unwrap();
}
