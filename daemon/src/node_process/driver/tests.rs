//! The driver by itself: how it judges messages, and what becomes of a node whose disk fails.

use super::*;
use protocol::block::VoteStep;
use protocol::crypto::SecretKey;
use protocol::envelope::seal;
use protocol::genesis::{Genesis, GenesisValidator, Params};
use protocol::ids::{BlockId, ManifestId};
use protocol::ledger;
use protocol::objects::{Action, Drops, Object, Operation};
use protocol::tree::Tree;
use protocol::wire::ConsensusMessage;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use storage::{Loaded, MemoryStore, Place, Snapshot, StoreError};
use tokio_util::sync::CancellationToken;

/// The verdict on a message of objects with these verdicts: a(ccepted), i(gnored), r(ejected).
#[test]
fn a_message_is_judged_as_a_whole() {
    for (objects, expect) in [
        ("a", Verdict::Accept),
        ("i", Verdict::Ignore("known")),
        ("r", Verdict::Reject("signature")),
        ("aaaa", Verdict::Accept),
        ("aiai", Verdict::Accept),
        ("aiiai", Verdict::Ignore("known")),
        ("aiii", Verdict::Ignore("known")),
        ("aaar", Verdict::Reject("signature")),
        ("riii", Verdict::Reject("signature")),
    ] {
        let mut judged = Judged::new(objects.len());
        for (at, each) in objects.chars().enumerate() {
            assert_eq!(judged.waiting, objects.len() - at, "{objects}");
            judged.count(match each {
                'a' => Verdict::Accept,
                'i' => Verdict::Ignore("known"),
                _ => Verdict::Reject("signature"),
            });
        }
        assert_eq!((judged.waiting, judged.verdict()), (0, expect), "{objects}");
    }
}

/// A disk that fails once, and then for ever.
struct Failing {
    disk: Arc<MemoryStore>,
    /// Writes before the first that fails.
    left: AtomicUsize,
    /// That one reaches the disk all the same; only the answer is lost.
    reaches: bool,
}

impl Store for Failing {
    fn load(&self) -> Result<Loaded, StoreError> {
        self.disk.load()
    }

    fn write(&self, writes: &[Write]) -> Result<(), StoreError> {
        match self.left.load(Ordering::SeqCst) {
            0 => panic!("a driver writes to a disk that has failed"),
            1 => {
                self.left.store(0, Ordering::SeqCst);
                if self.reaches {
                    self.disk.write(writes)?;
                }
                Err(StoreError::Full { path: "nowhere".into() })
            }
            left => {
                self.left.store(left - 1, Ordering::SeqCst);
                self.disk.write(writes)
            }
        }
    }

    fn mark_indexed(&self, manifest: ManifestId) -> Result<(), StoreError> {
        self.disk.mark_indexed(manifest)
    }

    fn prune(&self, keep_from: u64, most: u64) -> Result<u64, StoreError> {
        self.disk.prune(keep_from, most)
    }

    fn snapshot(&self) -> Box<dyn Snapshot + '_> {
        self.disk.snapshot()
    }

    fn checkpoint(&self, path: &Path) -> Result<(), StoreError> {
        self.disk.checkpoint(path)
    }
}

/// What leaves the driver.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<Effect>>>);

impl Outside for Seen {
    fn judge(&mut self, _: Origin, _: Verdict) {}

    fn carry_out(&mut self, effect: Effect) {
        self.0.lock().unwrap().push(effect);
    }
}

/// Where something is signed: height, round, and a vote's step.
type Slot = (u64, u32, Option<VoteStep>);

impl Seen {
    fn signed(&self) -> Vec<(Slot, Option<BlockId>)> {
        let message = |effect: &Effect| match effect {
            Effect::PublishConsensus(ConsensusMessage::Vote(vote)) => {
                Some(((vote.height, vote.round, Some(vote.step)), vote.block))
            }
            Effect::PublishConsensus(ConsensusMessage::Proposal(proposal)) => {
                Some(((proposal.height, proposal.round, None), Some(proposal.block)))
            }
            _ => None,
        };
        self.0.lock().unwrap().iter().filter_map(message).collect()
    }
}

/// A network of one validator, and its one client.
struct Alone {
    genesis: Genesis,
    validator: SecretKey,
    client: SecretKey,
    disk: Arc<MemoryStore>,
}

impl Alone {
    fn new() -> Self {
        let (validator, client) = (SecretKey::from_seed([1; 32]), SecretKey::from_seed([2; 32]));
        let genesis = Genesis {
            network: "alone".to_owned(),
            time_ms: 1,
            params: Params { epoch_ms: 20, ..Params::devnet() },
            validators: vec![GenesisValidator {
                key: validator.account(),
                payout: validator.account(),
                power: 1,
                name: "alone".to_owned(),
            }],
            accounts: vec![(client.account(), Drops(Drops::CREDIT.0 * 1_000))],
        };
        let changes = ledger::genesis_changes(&genesis);
        let nodes = Tree::default().update(0, &changes).unwrap().nodes;
        let disk = Arc::new(MemoryStore::create(&storage::Origin::of(&genesis), &changes, &nodes).unwrap());
        Self { genesis, validator, client, disk }
    }

    fn transfer(&self, nonce: u64) -> Verified {
        let action = Action::Transfer { to: self.validator.account(), amount: Drops(1) };
        let fee = self.genesis.params.object_fee;
        let operation = Operation { account: self.client.account(), nonce, fee, action };
        let genesis = self.genesis.hash();
        let envelope = seal(&Object::Operation(operation), &[&self.client], &genesis).unwrap();
        Verified::check(envelope, &genesis).unwrap()
    }

    /// Runs a driver until it ends or `client` has ended; gives how it ended, what left it, and what the client says.
    fn live<T: Send + 'static>(
        &self,
        store: Arc<dyn Store>,
        client: impl FnOnce(DriverHandle, &tokio::runtime::Runtime) -> T + Send + 'static,
    ) -> (Result<(), DriverError>, Seen, T) {
        let restored = super::super::restore(store.as_ref()).unwrap();
        let node = Node::new(self.genesis.clone(), self.validator.clone(), restored).unwrap();
        let (seen, stop) = (Seen::default(), CancellationToken::new());
        let (handle, lanes, status) = queue();
        let driver = Driver::new(node, store, seen.clone(), None, lanes, status);
        let asked = stop.clone();
        let client = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let said = client(handle, &runtime);
            asked.cancel();
            said
        });
        let ended = driver.run(&stop);
        (ended, seen, client.join().unwrap())
    }
}

/// Nothing that was seen of a node is gone after any write that fails, whether it reached the disk or not: what it
/// acknowledged and published is on the disk and decided after the next start, and nothing is signed twice in one place.
#[test]
fn whichever_write_fails_the_node_stops_and_nothing_it_said_is_lost() {
    /// Several epochs of a node alone.
    const WRITES: usize = 30;
    let stories: Vec<_> = (1..=WRITES)
        .flat_map(|n| [(n, false), (n, true)])
        .map(|(n, reaches)| std::thread::spawn(move || a_write_fails(n, reaches)))
        .collect();
    let told: Vec<(usize, usize)> = stories.into_iter().map(|story| story.join().unwrap()).collect();
    assert_eq!(told[0], (0, 0), "nothing was written after the start");
    let (acknowledged, signed) = told.iter().fold((0, 0), |(a, s), told| (a + told.0, s + told.1));
    assert!(acknowledged > WRITES && signed > WRITES, "there was something to lose: {told:?}");
}

/// The story of one failure; gives how much was acknowledged before it, and how much was signed.
fn a_write_fails(n: usize, reaches: bool) -> (usize, usize) {
    let node = Alone::new();
    // A node without memory keeps silent at first.
    let (ended, _, ()) = node.live(node.disk.clone(), |handle, runtime| {
        runtime.block_on(handle.watch_status().wait_for(|status| status.height >= 1)).unwrap();
    });
    assert!(ended.is_ok(), "{ended:?}");
    let failing = Arc::new(Failing { disk: node.disk.clone(), left: AtomicUsize::new(n), reaches });
    let transfers: Vec<Verified> = (0..200).map(|nonce| node.transfer(nonce)).collect();
    let (ended, seen, acknowledged) = node.live(failing, move |handle, runtime| {
        let mut acknowledged = Vec::new();
        for transfer in transfers {
            match runtime.block_on(handle.submit(transfer)) {
                Ok(id) => acknowledged.push(id),
                Err(refusal) => {
                    assert_eq!(refusal.as_str(), "unavailable", "{refusal}");
                    return acknowledged;
                }
            }
        }
        // All were heard before the disk fails.
        runtime.block_on(handle.watch_status().wait_for(|_| false)).unwrap_err();
        acknowledged
    });
    assert!(matches!(ended, Err(DriverError::Write(StoreError::Full { .. }))), "write {n}: {ended:?}");
    for id in &acknowledged {
        assert!(node.disk.object(id).unwrap().is_some(), "write {n}: {id} was acknowledged");
    }
    for effect in seen.0.lock().unwrap().iter() {
        match effect {
            Effect::PublishObject(envelope) => {
                let id = envelope.id();
                assert!(node.disk.object(&id).unwrap().is_some(), "write {n}: {id} was published");
            }
            Effect::Tell(Notice::Committed { height, .. }) => {
                assert!(node.disk.height().unwrap() >= *height, "write {n}: epoch {height} was told");
            }
            _ => {}
        }
    }

    let (disk, wanted) = (node.disk.clone(), acknowledged.clone());
    let (ended, again, ()) = node.live(node.disk.clone(), move |handle, runtime| {
        let from = handle.status().height;
        let is_decided =
            |id: &ObjectId| matches!(disk.object(id).unwrap().map(|found| found.place), Some(Place::Block { .. }));
        let done = |status: &Status| status.height > from + 3 && wanted.iter().all(is_decided);
        runtime.block_on(handle.watch_status().wait_for(done)).unwrap();
    });
    assert!(ended.is_ok(), "write {n}: {ended:?}");
    let mut places = BTreeMap::new();
    for (place, block) in seen.signed().into_iter().chain(again.signed()) {
        let first = *places.entry(place).or_insert(block);
        assert_eq!(first, block, "write {n}: two signatures at {place:?}");
    }
    (acknowledged.len(), seen.signed().len())
}
