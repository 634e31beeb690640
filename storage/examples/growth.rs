//! What receipts cost the disk: `cargo run --release -p tributary-storage --example growth -- 20000`.
//!
//! A real ledger with four honest validators seals and settles the receipts, and every write that a node would make for
//! them goes through a real store: each receipt to the pool, then blocks with state and tree. There is no network and no
//! agreement, so its log is not in the figures.

#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a measurement that cannot go on has failed")]

#[path = "../../protocol/tests/it/ledger/world.rs"]
#[expect(dead_code, reason = "the ledger's tests use the rest of it")]
mod world;

use protocol::block::Certificate;
use protocol::crypto::Signature;
use protocol::envelope::Verified;
use protocol::genesis::canonical;
use protocol::ids::{Account, ModelId};
use protocol::ledger::{Executed, execute_block, open_work};
use protocol::node::{Commit, Write};
use protocol::objects::{Admission, Object};
use std::path::Path;
use storage::{RocksStore, Snapshots, Store};
use world::World;

/// Receipts in one block.
const IN_BLOCK: usize = 500;
/// The texts that answers quote from.
const TEXT: &str = "the miller looked up at the hill where the old road turned and saw the carts come down in the rain";

#[derive(Default)]
struct Written {
    pool: usize,
    blocks: usize,
    state: usize,
    tree: usize,
}

struct Run {
    world: World,
    store: RocksStore,
    written: Written,
}

impl Run {
    /// One block as a node commits it.
    fn block(&mut self, objects: &[Verified], settlements: Vec<Vec<u8>>) {
        let mut block = self.world.make_block(objects, settlements);
        let Executed { changes, .. } = execute_block(&self.world.state, &block, objects).expect("a block that holds");
        self.world.state.apply(&changes);
        let height = block.header.height;
        let update = self.world.tree.update(height, &changes).expect("the next version");
        block.header.body = block.body.hash();
        let signatures = (0..4).map(|by| (Account([by; 32]), Signature([by; 64]))).collect();
        let certificate = Certificate { height, round: 0, block: block.id(), signatures };
        let unpooled = objects.iter().map(Verified::id).collect();
        self.written.blocks += canonical(&block).len() + canonical(&certificate).len();
        self.written.state +=
            changes.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len)).sum::<usize>();
        self.written.tree += update.nodes.iter().map(|(key, node)| key.len() + node.len()).sum::<usize>();
        let commit = Commit { block, certificate, changes, nodes: update.nodes, stale_nodes: update.stale, unpooled };
        self.store.write(&[Write::Commit(Box::new(commit))]).expect("a write");
    }

    fn one(&mut self, object: &Object, signer: u8) -> Verified {
        let signed = self.world.sign(object, &[signer]);
        self.block(std::slice::from_ref(&signed), Vec::new());
        signed
    }

    /// A model whose lineage is one manifest of one contribution.
    fn model(&mut self) -> ModelId {
        let object = self.world.datanet_object(100, Admission::Open);
        let datanet = self.one(&Object::DataNet(object), 100).id().into();
        let object = self.world.contribution_object(101, datanet, &[TEXT]);
        let contribution = self.one(&Object::Contribution(object), 101).id().into();
        let object = self.world.manifest_object(100, datanet, &[contribution]);
        let manifest = self.one(&Object::DatasetManifest(object), 100).id().into();
        let attestations: Vec<Verified> = (0..world::VALIDATORS).map(|by| self.world.attest(by, manifest)).collect();
        self.block(&attestations, Vec::new());
        let object = self.world.model_object(102, &[(manifest, 1)]);
        self.one(&Object::ModelManifest(object), 102).id().into()
    }

    fn settle(&mut self) {
        while !open_work(&self.world.state).is_empty() {
            let (objects, bodies) = self.world.duties(&[0, 1, 2, 3]);
            self.block(&objects, bodies);
        }
    }
}

fn on_disk(folder: &Path, ending: &str) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries
        .filter(|entry| entry.file_name().to_string_lossy().ends_with(ending))
        .map(|entry| entry.metadata().unwrap().len())
        .sum()
}

fn main() {
    let count: usize = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(20_000);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("database");
    let world = World::new();
    let store = RocksStore::open_or_create(&path, &world.genesis).unwrap();
    let mut run = Run { world, store, written: Written::default() };
    let model = run.model();
    run.written = Written::default();
    let words: Vec<&str> = TEXT.split(' ').collect();
    let first = run.world.height();
    let mut made = 0;
    while made < count {
        let mut receipts = Vec::new();
        for number in made..count.min(made + IN_BLOCK) {
            // Eight quoted words and two of one's own.
            let from = number % (words.len() - 8);
            let output = format!("well {} {number}", words[from..from + 8].join(" "));
            let receipt = run.world.receipt(110, 111, model, &output);
            run.written.pool += canonical(receipt.envelope()).len();
            run.store.write(&[Write::Pool(receipt.envelope().clone())]).unwrap();
            receipts.push(receipt);
        }
        made += receipts.len();
        run.block(&receipts, Vec::new());
        run.settle();
    }
    let blocks = run.world.height() - first;
    let loaded = run.store.load().unwrap();
    let live = |entries: &std::collections::BTreeMap<Vec<u8>, Vec<u8>>| {
        entries.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>()
    };
    let (state, tree) = (live(&loaded.state), live(&loaded.tree));
    let snapshots = Snapshots::open(&folder.path().join("snapshots")).unwrap();
    let began = std::time::Instant::now();
    let info = snapshots.make(run.store.snapshot().as_ref()).unwrap();
    let snapshot_ms = began.elapsed().as_millis();
    let snapshot: u64 = on_disk(&folder.path().join("snapshots").join(info.height.to_string()), "");
    let Run { store, written, .. } = run;
    let log = on_disk(&path, ".log");
    drop(store);
    let began = std::time::Instant::now();
    let store = RocksStore::open_any(&path).unwrap();
    let reopened_ms = began.elapsed().as_millis();
    let files = on_disk(&path, ".sst");
    store.prune(u64::MAX, u64::MAX).unwrap();
    println!("{count} receipts in {blocks} blocks; {} entries in the state", loaded.state.len());
    let per = |what: &str, bytes: u64| {
        println!(
            "{what:<48} {:>9.0} bytes a receipt, {:>6.2} GB a million",
            bytes as f64 / count as f64,
            bytes as f64 / count as f64 / 1e3
        );
    };
    let bytes = |size: usize| u64::try_from(size).unwrap();
    per("written to the pool", bytes(written.pool));
    per("written as blocks and certificates", bytes(written.blocks));
    per("written to the state", bytes(written.state));
    per("written to the tree", bytes(written.tree));
    per("the state, as it is", bytes(state));
    per("the tree, as it is", bytes(tree));
    per("database files after a start", files);
    per("one snapshot", snapshot);
    println!("the database's log: {} MiB before the start, which took {reopened_ms} ms", log >> 20);
    println!("the snapshot: {} chunks in {snapshot_ms} ms", info.depths.len());
}
