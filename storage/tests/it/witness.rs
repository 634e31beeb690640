//! A validator never signs twice, whatever becomes of its database: deleted, restored, cut short.

use crate::bench::{Backend, Bench, commit, committed, envelope, origin, wal};
use protocol::genesis::canonical;
use protocol::node::Write;
use protocol::{closed_record, signed_place};
use std::fs;
use std::path::{Path, PathBuf};
use storage::{RocksStore, Store, StoreError};

/// A stored record of a signature at this place.
fn record(height: u64, round: u32, step: u8) -> Vec<u8> {
    let last = (height, round, step, [height.to_le_bytes()[0]; 32], [round.to_le_bytes()[0]; 64]);
    let record = canonical(&(Some(last), None::<(u64, u32, u8)>));
    assert_eq!(signed_place(&record), Some((height, round, step)));
    record
}

fn signed(bench: &Bench) -> Option<(u64, u32, u8)> {
    let loaded = bench.store().load().expect("a load");
    loaded.sign_record.as_deref().and_then(signed_place)
}

fn witness(bench: &Bench) -> PathBuf {
    bench.path("database.witness")
}

/// A store whose validator signed at heights 1 to 5, each in a write of its own.
fn signing() -> Bench {
    let bench = Bench::new(Backend::Rocks);
    for height in 1..=5 {
        let writes = [Write::SignRecord(record(height, 0, 3)), wal(height, 0), wal(height, 1)];
        bench.store().write(&writes).expect("a write");
        bench.store().write(&[committed(commit(height, vec![envelope(1)]))]).expect("a write");
    }
    bench.store().write(&[Write::SignRecord(record(6, 2, 2)), wal(6, 0)]).expect("a write");
    bench
}

fn create(bench: &Bench) -> RocksStore {
    RocksStore::create(&bench.path("database"), &origin(), &Default::default(), &[]).expect("a new store")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
    }
}

#[test]
fn a_sound_database_counts_and_nothing_is_closed() {
    let mut bench = signing();
    bench.reopen();
    assert_eq!(signed(&bench), Some((6, 2, 2)));
    assert!(witness(&bench).exists());
    // Without the witness the database alone counts, and it is written anew.
    let path = bench.close();
    fs::remove_file(witness(&bench)).unwrap();
    let store = RocksStore::open(&path, &origin()).unwrap();
    assert_eq!(store.forgotten_signature(), None);
    assert!(witness(&bench).exists());
}

#[test]
fn a_crash_between_database_and_witness_closes_nothing() {
    let mut bench = signing();
    let before = fs::read(witness(&bench)).unwrap();
    bench.store().write(&[Write::SignRecord(record(6, 3, 1))]).unwrap();
    let path = bench.close();
    fs::write(witness(&bench), before).unwrap();
    let store = RocksStore::open(&path, &origin()).unwrap();
    assert_eq!(store.forgotten_signature(), None);
    assert_eq!(store.load().unwrap().sign_record, Some(record(6, 3, 1)));
}

#[test]
fn a_deleted_database_signs_nothing_up_to_where_it_was() {
    let mut bench = signing();
    let path = bench.close();
    fs::remove_dir_all(&path).unwrap();
    let store = create(&bench);
    assert_eq!(store.forgotten_signature(), Some(6));
    assert_eq!(store.load().unwrap().sign_record, Some(closed_record(6)));
    // It holds, however often it starts, and until something later is signed.
    drop(store);
    let store = RocksStore::open(&path, &origin()).unwrap();
    assert_eq!(store.load().unwrap().sign_record, Some(closed_record(6)));
    store.write(&[Write::SignRecord(record(7, 0, 1))]).unwrap();
    drop(store);
    let store = RocksStore::open(&path, &origin()).unwrap();
    assert_eq!(store.load().unwrap().sign_record, Some(record(7, 0, 1)));
}

#[test]
fn a_database_of_a_backup_signs_nothing_up_to_where_the_real_one_was() {
    let mut bench = signing();
    bench.store().checkpoint(&bench.path("backup")).unwrap();
    bench.store().write(&[Write::SignRecord(record(6, 9, 3)), wal(6, 1)]).unwrap();
    let path = bench.close();
    fs::remove_dir_all(&path).unwrap();
    copy(&bench.path("backup"), &path);
    let store = RocksStore::open(&path, &origin()).unwrap();
    assert_eq!(store.forgotten_signature(), Some(6));
    assert_eq!(store.load().unwrap().sign_record, Some(closed_record(6)));
}

/// RocksDB takes a log whose end is gone for one that was never longer. Wherever it is cut, or the rest is zeroes, the
/// record is never earlier than what was signed.
#[test]
fn a_damaged_end_of_the_log_never_forgets_a_signature() {
    let mut bench = signing();
    let path = bench.close();
    let seen = fs::read(witness(&bench)).unwrap();
    let is_log = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "log");
    let log = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()).find(|path| is_log(path)).unwrap();
    let (name, bytes) = (log.file_name().unwrap(), fs::read(&log).unwrap());
    let (mut lost, mut refused) = (0, 0);
    for (number, at) in (0..bytes.len()).step_by(bytes.len() / 60).enumerate() {
        let other = bench.path(&format!("other-{number}"));
        copy(&path, &other);
        fs::write(bench.path(&format!("other-{number}.witness")), &seen).unwrap();
        let mut harmed = bytes.clone();
        match number % 3 {
            0 => harmed.truncate(at),
            1 => harmed[at..].fill(0),
            _ => harmed[at] ^= 0x10,
        }
        fs::write(other.join(name), harmed).unwrap();
        match RocksStore::open(&other, &origin()) {
            Err(StoreError::DamagedFiles { .. } | StoreError::Damaged { .. }) => refused += 1,
            Err(other) => panic!("{other}"),
            Ok(store) => {
                let known = store.load().unwrap().sign_record.as_deref().and_then(signed_place);
                assert!(known >= Some((6, 2, 2)), "cut at {at}: {known:?}");
                if store.forgotten_signature().is_some() {
                    lost += 1;
                    assert_eq!(known, signed_place(&closed_record(6)));
                }
            }
        }
    }
    println!("{lost} lost a signature and knew it, {refused} were refused");
    assert!(lost > 5 && refused > 0, "{lost} {refused}");
}

#[test]
fn a_damaged_witness_is_refused_and_says_what_to_do() {
    let mut bench = signing();
    let path = bench.close();
    let bytes = fs::read(witness(&bench)).unwrap();
    for at in 0..bytes.len() {
        let mut altered = bytes.clone();
        altered[at] ^= 1 << (at % 8);
        fs::write(witness(&bench), &altered).unwrap();
        let told = RocksStore::open(&path, &origin()).err().expect("a refusal");
        assert!(matches!(told, StoreError::Witness { .. }), "{at}: {told}");
    }
    for length in [0, 1, 16, 60, bytes.len() - 1] {
        fs::write(witness(&bench), &bytes[..length]).unwrap();
        let told = RocksStore::open(&path, &origin()).err().expect("a refusal").to_string();
        assert!(told.contains("new validator key"), "{told}");
    }
    fs::write(witness(&bench), vec![0; 100_000]).unwrap();
    assert!(RocksStore::open(&path, &origin()).is_err());
    fs::write(witness(&bench), &bytes).unwrap();
    assert!(RocksStore::open(&path, &origin()).is_ok());
}
