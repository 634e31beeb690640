//! Random writes against a model that restates the rules in maps of its own.

use crate::bench::{Backend, Bench, beginning, commit, committed, envelope, manifest, origin, seed, wal};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use protocol::block::{Block, Certificate};
use protocol::ids::{ManifestId, ObjectId};
use protocol::node::Write;
use protocol::objects::Envelope;
use std::collections::{BTreeMap, BTreeSet};
use storage::{Found, Loaded, Place, Store};

#[derive(Clone, Debug)]
enum Action {
    Write(Vec<Step>),
    MarkIndexed(u8),
    Reopen,
}

#[derive(Clone, Debug)]
enum Step {
    Wal,
    LateWal,
    Sign(u8),
    Pool(u8),
    Unpool(Vec<u8>),
    Commit { envelopes: Vec<u8>, changes: Vec<(u8, Option<u8>)>, nodes: Vec<u8>, stale: Vec<u8>, unpool: Vec<u8> },
}

/// Few names, so that they meet again.
fn name() -> impl Strategy<Value = u8> {
    0..8_u8
}

fn step() -> impl Strategy<Value = Step> {
    let names = || vec(name(), 0..4);
    let commit = (names(), vec((name(), any::<Option<u8>>()), 0..6), names(), names(), names());
    prop_oneof![
        3 => Just(Step::Wal),
        1 => Just(Step::LateWal),
        2 => any::<u8>().prop_map(Step::Sign),
        4 => name().prop_map(Step::Pool),
        1 => names().prop_map(Step::Unpool),
        2 => commit.prop_map(|(envelopes, changes, nodes, stale, unpool)| {
            Step::Commit { envelopes, changes, nodes, stale, unpool }
        }),
    ]
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        6 => vec(step(), 0..8).prop_map(Action::Write),
        1 => name().prop_map(Action::MarkIndexed),
        1 => Just(Action::Reopen),
    ]
}

#[derive(Default)]
struct Model {
    state: BTreeMap<Vec<u8>, Vec<u8>>,
    tree: BTreeMap<Vec<u8>, Vec<u8>>,
    blocks: Vec<(Block, Certificate)>,
    objects: BTreeMap<ObjectId, Found>,
    pool: Vec<Envelope>,
    wal: Vec<Vec<u8>>,
    sign_record: Option<Vec<u8>>,
    indexed: BTreeSet<ManifestId>,
}

impl Model {
    fn new() -> Self {
        let (changes, nodes) = beginning();
        let state = changes.into_iter().map(|(key, value)| (key, value.expect("an answer"))).collect();
        Self { state, tree: nodes.into_iter().collect(), ..Self::default() }
    }

    fn height(&self) -> u64 {
        self.blocks.len() as u64
    }

    fn unpool(&mut self, ids: &[ObjectId]) {
        self.pool.retain(|envelope| !ids.contains(&envelope.id()));
    }

    /// Carries out a step and says how it is written.
    fn apply(&mut self, step: &Step) -> Write {
        let ids = |names: &[u8]| names.iter().map(|name| envelope(*name).id()).collect::<Vec<_>>();
        let bytes = |names: &[u8]| names.iter().map(|name| vec![*name, 1, 2]).collect::<Vec<_>>();
        match step {
            Step::Wal => {
                let write = wal(self.height() + 1, u32::try_from(self.wal.len()).expect("an answer"));
                if let Write::Wal { entry, .. } = &write {
                    self.wal.push(entry.clone());
                }
                write
            }
            Step::LateWal => wal(self.height(), 0),
            Step::Sign(byte) => {
                self.sign_record = Some(vec![*byte; 3]);
                Write::SignRecord(vec![*byte; 3])
            }
            Step::Pool(name) => {
                self.unpool(&[envelope(*name).id()]);
                self.pool.push(envelope(*name));
                Write::Pool(envelope(*name))
            }
            Step::Unpool(names) => {
                self.unpool(&ids(names));
                Write::Unpool(ids(names))
            }
            Step::Commit { envelopes, changes, nodes, stale, unpool } => {
                let mut next = commit(self.height() + 1, envelopes.iter().map(|name| envelope(*name)).collect());
                next.changes =
                    changes.iter().map(|(key, value)| (vec![*key], value.map(|value| vec![value]))).collect();
                next.stale_nodes = bytes(stale);
                next.nodes = bytes(nodes).into_iter().map(|key| (key, next.block.id().0.to_vec())).collect();
                next.unpooled = ids(unpool);
                for (key, value) in next.changes.clone() {
                    match value {
                        Some(value) => self.state.insert(key, value),
                        None => self.state.remove(&key),
                    };
                }
                self.tree.retain(|key, _| !next.stale_nodes.contains(key));
                self.tree.extend(next.nodes.clone());
                self.unpool(&next.unpooled);
                self.wal.clear();
                self.blocks.push((next.block.clone(), next.certificate.clone()));
                for (index, envelope) in (0..).zip(next.block.body.envelopes.clone()) {
                    let place = Place::Block { height: self.height(), index };
                    self.objects.insert(envelope.id(), Found { envelope, place });
                }
                committed(next)
            }
        }
    }

    fn loaded(&self) -> Loaded {
        Loaded {
            origin: origin(),
            height: self.height(),
            state: self.state.clone(),
            tree: self.tree.clone(),
            last: self.blocks.last().cloned(),
            wal: self.wal.clone(),
            sign_record: self.sign_record.clone(),
            pool: self.pool.clone(),
            indexed: self.indexed.iter().copied().collect(),
        }
    }

    fn object(&self, id: &ObjectId) -> Option<Found> {
        let pooled = || self.pool.iter().find(|envelope| envelope.id() == *id).cloned();
        let decided = self.objects.get(id).cloned();
        decided.or_else(|| pooled().map(|envelope| Found { envelope, place: Place::Pool }))
    }

    fn check(&self, store: &dyn Store) {
        assert_eq!(store.load().expect("an answer"), self.loaded());
        let snapshot = store.snapshot();
        assert_eq!(snapshot.blocks(0, u64::MAX, usize::MAX).expect("an answer"), self.blocks);
        assert_eq!(snapshot.block(self.height() + 1).expect("an answer"), None);
        for (block, certificate) in &self.blocks {
            let expected = Some((block.clone(), certificate.clone()));
            assert_eq!(snapshot.block_by_id(&block.id()).expect("an answer"), expected);
        }
        for name in 0..8 {
            let id = envelope(name).id();
            assert_eq!(snapshot.object(&id).expect("an answer"), self.object(&id));
            assert_eq!(snapshot.state(&[name]).expect("an answer").as_ref(), self.state.get(&vec![name]));
            assert_eq!(
                snapshot.tree_node(&[name, 1, 2]).expect("an answer").as_ref(),
                self.tree.get(&vec![name, 1, 2])
            );
            assert_eq!(
                snapshot.is_indexed(&manifest(name)).expect("an answer"),
                self.indexed.contains(&manifest(name))
            );
        }
        let entries: Vec<_> = self.state.clone().into_iter().collect();
        assert_eq!(snapshot.state_prefix(&[], None, usize::MAX).expect("an answer"), entries);
        for pair in entries.windows(2) {
            assert_eq!(snapshot.state_prefix(&[], Some(&pair[0].0), 1).expect("an answer"), pair[1..]);
        }
    }
}

fn run(backend: Backend, cases: u32) {
    let mut entropy = [0; 32];
    entropy[..8].copy_from_slice(&seed().to_be_bytes());
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &entropy));
    let outcome = runner.run(&vec(action(), 1..24), |actions| {
        let mut bench = Bench::new(backend);
        let mut model = Model::new();
        for action in actions {
            match action {
                Action::Write(steps) => {
                    let writes: Vec<Write> = steps.iter().map(|step| model.apply(step)).collect();
                    bench.store().write(&writes).expect("an answer");
                }
                Action::MarkIndexed(name) => {
                    bench.store().mark_indexed(manifest(name)).expect("an answer");
                    model.indexed.insert(manifest(name));
                }
                Action::Reopen => bench.reopen(),
            }
            model.check(bench.store());
        }
        bench.reopen();
        model.check(bench.store());
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

#[test]
fn the_memory_store_does_what_the_model_does() {
    run(Backend::Memory, 256);
}

#[test]
fn the_store_on_disk_does_what_the_model_does() {
    run(Backend::Rocks, 16);
}
