//! A store to test, on either backend, and things to put in it.

use protocol::block::{Block, Body, Certificate, Header};
use protocol::crypto::{Kind, Signature};
use protocol::ids::{Account, BlockId, Hash32, ManifestId};
use protocol::ledger::Changes;
use protocol::node::{Commit, Write};
use protocol::objects::Envelope;
use protocol::tree::Tree;
use std::collections::BTreeMap;
use std::path::PathBuf;
use storage::{Entry, MemoryStore, Origin, RocksStore, Store};
use tempfile::TempDir;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Backend {
    Rocks,
    Memory,
}

pub(crate) struct Bench {
    store: Option<Box<dyn Store>>,
    backend: Backend,
    folder: TempDir,
}

impl Bench {
    pub(crate) fn new(backend: Backend) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (changes, nodes) = beginning();
        let store: Box<dyn Store> = match backend {
            Backend::Rocks => {
                let path = folder.path().join("database");
                Box::new(RocksStore::create(&path, &origin(), &changes, &nodes).expect("a new store"))
            }
            Backend::Memory => Box::new(MemoryStore::create(&origin(), &changes, &nodes).expect("a new store")),
        };
        Self { store: Some(store), backend, folder }
    }

    /// Runs a test on a fresh store of each backend.
    pub(crate) fn on_both(test: impl Fn(&mut Self)) {
        for backend in [Backend::Memory, Backend::Rocks] {
            println!("on {backend:?}");
            test(&mut Self::new(backend));
        }
    }

    pub(crate) fn store(&self) -> &dyn Store {
        self.store.as_deref().expect("an open store")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Closes the store and opens it again, where that means something.
    pub(crate) fn reopen(&mut self) {
        if matches!(self.backend, Backend::Rocks) {
            drop(self.store.take());
            let opened = RocksStore::open(&self.path("database"), &origin());
            self.store = Some(Box::new(opened.expect("the store again")));
        }
    }

    /// Closes the store and gives the path of its database.
    pub(crate) fn close(&mut self) -> PathBuf {
        drop(self.store.take());
        self.path("database")
    }
}

pub(crate) fn origin() -> Origin {
    Origin { genesis: Hash32([0xee; 32]), network: "devnet".to_owned() }
}

/// What the stores of these tests begin with.
pub(crate) fn beginning() -> (Changes, Vec<Entry>) {
    let changes = state([("a/1", "one"), ("a/2", "two"), ("b/1", "three")]);
    let update = Tree::default().update(0, &changes).expect("a tree");
    (changes, update.nodes)
}

/// Ledger entries from text.
pub(crate) fn state<const N: usize>(entries: [(&str, &str); N]) -> Changes {
    entries.into_iter().map(|(key, value)| (key.into(), Some(value.into()))).collect()
}

/// An envelope that differs by its seed.
pub(crate) fn envelope(seed: u8) -> Envelope {
    Envelope {
        kind: Kind::ALL[usize::from(seed) % Kind::ALL.len()],
        payload: vec![seed; 10 + usize::from(seed)],
        signatures: vec![(Account([seed; 32]), Signature([seed; 64]))],
    }
}

/// A commit of `height` with these envelopes and nothing else.
pub(crate) fn commit(height: u64, envelopes: Vec<Envelope>) -> Commit {
    let body = Body { last_commit: None, envelopes, settlements: Vec::new() };
    let header = Header {
        height,
        parent: BlockId([1; 32]),
        time_ms: height * 1000,
        proposer: Account([2; 32]),
        state_root: Hash32([3; 32]),
        validators: Hash32([4; 32]),
        next_validators: Hash32([4; 32]),
        beacon: Hash32([5; 32]),
        body: body.hash(),
    };
    let block = Block { header, body };
    let signatures = vec![(Account([2; 32]), Signature([6; 64]))];
    let certificate = Certificate { height, round: 0, block: block.id(), signatures };
    Commit {
        block,
        certificate,
        changes: BTreeMap::new(),
        nodes: Vec::new(),
        stale_nodes: Vec::new(),
        unpooled: Vec::new(),
    }
}

pub(crate) fn committed(commit: Commit) -> Write {
    Write::Commit(Box::new(commit))
}

pub(crate) fn wal(height: u64, index: u32) -> Write {
    Write::Wal { height, index, entry: format!("entry {height}/{index}").into() }
}

pub(crate) fn manifest(seed: u8) -> ManifestId {
    ManifestId([seed; 32])
}

/// A seed for a test that draws at random, printed so that a failure can be seen again: set it in `TRIBUTARY_SEED`.
pub(crate) fn seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    let given = std::env::var("TRIBUTARY_SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(|| RandomState::new().hash_one("seed"));
    println!("TRIBUTARY_SEED={seed}");
    seed
}
