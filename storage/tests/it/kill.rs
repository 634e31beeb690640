//! A writer is killed, for real, at moments drawn at random: what it was told is kept is there afterwards, and what is
//! there belongs together.

use crate::bench::{commit, committed, envelope, origin, seed, wal};
use protocol::node::Write;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use storage::{RocksStore, Store, StoreError};

const FOLDER: &str = "TRIBUTARY_KILLED_WRITER";
const ROUNDS: u64 = 10;
/// Most batches that a writer is let to write in a round.
const BATCHES: u64 = 60;

/// Batch `height`: a commit, the log and the last-sign record of what comes next, and an object that waits.
fn batch(height: u64) -> Vec<Write> {
    let number = |height: u64| u8::try_from(height % 200).expect("a small number");
    let mut next = commit(height, vec![envelope(number(height))]);
    next.changes.insert(b"counter".to_vec(), Some(height.to_be_bytes().to_vec()));
    next.changes.insert(height.to_be_bytes().to_vec(), Some(vec![number(height); 300]));
    next.nodes = vec![(height.to_be_bytes().to_vec(), vec![1; 100])];
    next.stale_nodes = vec![(height - 1).to_be_bytes().to_vec()];
    next.unpooled = vec![envelope(number(height)).id()];
    vec![
        committed(next),
        Write::SignRecord(height.to_be_bytes().to_vec()),
        wal(height + 1, 0),
        wal(height + 1, 1),
        Write::Pool(envelope(number(height + 1))),
    ]
}

/// Not a test of its own: what the test below starts as another process.
#[test]
fn writer() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let path = PathBuf::from(folder);
    let store = RocksStore::open(&path, &origin()).expect("the store");
    let mut out = std::io::stdout();
    for height in store.height().expect("a height") + 1.. {
        store.write(&batch(height)).expect("a write");
        // One write call, so that a line is there whole or not at all.
        out.write_all(format!("\nkept {height}\n").as_bytes()).and_then(|()| out.flush()).expect("a reader");
    }
}

fn start_writer(path: &Path) -> Child {
    let program = std::env::current_exe().expect("this test");
    Command::new(program)
        .args(["--exact", "kill::writer", "--nocapture"])
        .env(FOLDER, path)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("a writer")
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("database");
    drop(RocksStore::create(&path, &origin(), &Default::default(), &[]).unwrap());
    let seed = seed();
    let draw = |round: u64, below: u64| {
        let mut hasher = DefaultHasher::new();
        (seed, round, below).hash(&mut hasher);
        hasher.finish() % below
    };
    let mut before = 0;
    for round in 0..ROUNDS {
        let mut child = start_writer(&path);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut kept = || lines.find_map(|line| line.strip_prefix("kept ")?.parse::<u64>().ok());
        let until = before + 1 + draw(round, BATCHES);
        let mut acknowledged = before;
        while acknowledged < until {
            acknowledged = kept().expect("a writer that goes on");
        }
        assert!(matches!(RocksStore::open(&path, &origin()), Err(StoreError::Locked { .. })));
        // Somewhere within one of the next writes, each of which takes a millisecond or so.
        let moment = Instant::now() + Duration::from_micros(draw(round, 3000));
        while Instant::now() < moment {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        while let Some(height) = kept() {
            acknowledged = height;
        }

        let store = RocksStore::open(&path, &origin()).unwrap();
        let loaded = store.load().unwrap();
        println!("round {round}: {acknowledged} acknowledged, {} there", loaded.height);
        assert!((acknowledged..=acknowledged + 1).contains(&loaded.height), "{} is there", loaded.height);
        check(&store, loaded.height);
        before = loaded.height;
    }
}

fn check(store: &dyn Store, height: u64) {
    let loaded = store.load().expect("an answer");
    let number = height.to_be_bytes().to_vec();
    assert_eq!(loaded.state.get(&b"counter"[..]), Some(&number));
    assert_eq!(loaded.state.len() as u64, height + 1);
    assert_eq!(loaded.tree.keys().collect::<Vec<_>>(), [&number]);
    assert_eq!(loaded.sign_record, Some(number));
    assert_eq!(loaded.wal.len(), 2);
    assert_eq!(loaded.pool.len(), 1);
    for past in 1..=height {
        let (block, certificate) = store.block(past).expect("an answer").expect("a block");
        assert_eq!(certificate.block, block.id());
        let Write::Commit(written) = batch(past).remove(0) else { panic!("a commit comes first") };
        assert_eq!(written.block, block);
    }
}
