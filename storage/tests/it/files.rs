//! Every file of a database, shortened, altered or removed: the store says so, or what it holds is unharmed.
//!
//! One thing cannot be seen from inside: the end of the write-ahead log that is being written. When it is cut off, that
//! looks like a write that never ended, and the store goes back to the write before.

use crate::bench::{Backend, Bench, commit, committed, envelope, origin, wal};
use protocol::node::Write;
use std::fs;
use std::path::{Path, PathBuf};
use storage::{Loaded, RocksStore, Store, StoreError};

/// A closed database with rows both in files and in the write-ahead log, and what it holds after each write.
fn populated() -> (Bench, Vec<Loaded>) {
    let mut bench = Bench::new(Backend::Rocks);
    let mut history = vec![bench.store().load().expect("a load")];
    for height in 1..=6 {
        let mut next = commit(height, vec![envelope(1), envelope(200)]);
        next.changes.insert(height.to_be_bytes().to_vec(), Some(vec![7; 900]));
        let record = Write::SignRecord(height.to_be_bytes().to_vec());
        bench.store().write(&[committed(next), record, wal(height + 1, 0)]).expect("a write");
        history.push(bench.store().load().expect("a load"));
        if height == 3 {
            // A start moves the log into files.
            bench.reopen();
        }
    }
    bench.close();
    (bench, history)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
    }
}

fn load(path: &Path) -> Result<Loaded, StoreError> {
    let store = RocksStore::open(path, &origin())?;
    store.blocks(0, u64::MAX, usize::MAX)?;
    store.load()
}

type Harm = fn(&Path, &[u8], usize);

/// What happens to a file of these bytes; the number says where.
const HARMS: [(&str, Harm); 4] = [
    ("shortened", |path, bytes, at| fs::write(path, &bytes[..at]).expect("written")),
    ("removed", |path, _, _| fs::remove_file(path).expect("removed")),
    ("altered", |path, bytes, at| {
        let mut bytes = bytes.to_vec();
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 0x20;
        }
        fs::write(path, bytes).expect("written");
    }),
    ("zeroed", |path, bytes, at| {
        let mut bytes = bytes.to_vec();
        bytes[at..].fill(0);
        fs::write(path, bytes).expect("written");
    }),
];

#[test]
fn a_harmed_file_is_found_out_or_does_no_harm() {
    let (bench, history) = populated();
    let sound = bench.path("database");
    let last = history.last().unwrap();
    let names: Vec<PathBuf> = fs::read_dir(&sound).unwrap().map(|entry| entry.unwrap().file_name().into()).collect();
    let mut found_out = 0;
    let path = bench.path("harmed");
    for name in names {
        let bytes = fs::read(sound.join(&name)).unwrap();
        // Files of rows are alike; the few that steer are harmed in more places.
        let places = match name.extension() {
            Some(extension) if extension == "sst" => vec![bytes.len() / 3],
            _ => vec![0, bytes.len() / 3, bytes.len() / 2, bytes.len().saturating_sub(3)],
        };
        for at in places {
            for (harm, inflict) in HARMS {
                copy(&sound, &path);
                inflict(&path.join(&name), &bytes, at);
                let what = format!("{} {harm} at {at} of {}", name.display(), bytes.len());
                match load(&path) {
                    Ok(loaded) if loaded == *last => {}
                    Ok(loaded) => {
                        println!("went back: {what} to height {}", loaded.height);
                        assert!(name.extension().is_some_and(|extension| extension == "log"), "{what}");
                        assert!(history.contains(&loaded), "{what}: not a moment that ever was");
                    }
                    Err(error) => {
                        found_out += 1;
                        let clear = error.to_string().contains("damaged");
                        assert!(clear, "{what}: {error}");
                    }
                }
                fs::remove_dir_all(&path).unwrap();
            }
        }
    }
    assert!(found_out > 20, "{found_out}");
}
