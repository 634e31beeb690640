//! A node that takes over a state, among peers that serve it, peers that are busy and peers that lie.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use daemon::{
    config::Config,
    node_process::state_sync::{self, StateSync},
    trust::{Checkpoint, now_ms},
};
use protocol::{
    block::{Block, Body, Certificate, Header, Validator, ValidatorSet, VotePayload, VoteStep},
    crypto::{Purpose, SecretKey},
    genesis::{Genesis, GenesisValidator, Params, canonical},
    ids::{Account, BlockId, Hash32},
    ledger::Changes,
    light::LightBlock,
    objects::Drops,
    snapshot::{Chunk, Leaf, cut},
    wire::{self, Request, Response},
};
use storage::{Origin, RocksStore, Store};
use tokio_util::sync::CancellationToken;

use super::*;

/// The height of the state that honest peers serve.
const HEIGHT: u64 = 40;
/// What liars claim.
const FAR: u64 = 1_000_000;
/// Entries of the state: no two fit into a chunk.
const ENTRIES: u8 = 12;
const ENTRY_BYTES: usize = 600 * 1024;
/// Chunks that are asked for at once.
const AT_ONCE: usize = 8;
/// More refusals than a peer is forgiven failures.
const REFUSALS: usize = 12;

fn validators(names: [u8; 4]) -> ValidatorSet {
    let member = |name: u8| Validator { key: key(name).account(), payout: Account::default(), power: 10 };
    let mut members = names.map(member);
    members.sort_by_key(|member| member.key);
    borsh::from_slice(&canonical(&members.to_vec())).expect("a set")
}

fn key(name: u8) -> SecretKey {
    SecretKey::from_seed([name; 32])
}

/// A decided header of these validators.
fn decided(genesis: &Genesis, names: [u8; 4], height: u64, parent: BlockId, state_root: Hash32) -> LightBlock {
    let set = validators(names);
    let header = Header {
        height,
        parent,
        time_ms: genesis.time_ms + height.min(1000) * 1000,
        proposer: Account::default(),
        state_root,
        validators: set.hash(),
        next_validators: set.hash(),
        beacon: Hash32::default(),
        body: Body::default().hash(),
    };
    let sign = |name: u8| {
        let (step, block) = (VoteStep::Precommit, Some(header.id()));
        let validator = key(name).account();
        let payload = VotePayload { step, height, round: 0, block, validators: header.validators, validator };
        (validator, key(name).sign(Purpose::Vote, &genesis.hash(), &canonical(&payload)))
    };
    let mut signatures = names.map(sign).to_vec();
    signatures.sort_by_key(|(account, _)| *account);
    let certificate = Certificate { height, round: 0, block: header.id(), signatures };
    LightBlock::new(header, certificate, set.clone(), set)
}

/// What there is to be taken over.
struct World {
    genesis: Genesis,
    /// From height 1 on.
    blocks: Vec<LightBlock>,
    state: Changes,
    depths: Vec<u8>,
    chunks: Vec<Vec<u8>>,
}

impl World {
    fn new() -> Self {
        let mut members: Vec<GenesisValidator> = [1, 2, 3, 4]
            .map(|name| GenesisValidator {
                key: key(name).account(),
                payout: Account::default(),
                power: 10,
                name: format!("validator-{name}"),
            })
            .to_vec();
        members.sort_by_key(|validator| validator.key);
        let genesis = Genesis {
            network: "testnet".into(),
            time_ms: now_ms() - 3_600_000,
            params: Params::devnet(),
            validators: members,
            accounts: vec![(Account([1; 32]), Drops(1))],
        };
        let state: Changes = (0..ENTRIES).map(|n| (vec![0xff, n], Some(vec![n; ENTRY_BYTES]))).collect();
        let mut leaves: Vec<(Leaf, Vec<u8>, Vec<u8>)> = Vec::new();
        for (key, value) in &state {
            let value = value.clone().expect("an entry");
            leaves.push((Leaf::of(key, &value), key.clone(), value));
        }
        leaves.sort();
        let only: Vec<Leaf> = leaves.iter().map(|(leaf, ..)| *leaf).collect();
        let cut = cut(&only).expect("a cut");
        let chunk = |piece: &protocol::snapshot::Piece| {
            let entries = leaves[piece.leaves.clone()].iter().map(|(_, key, value)| (key.clone(), value.clone()));
            Chunk { entries: entries.collect(), siblings: piece.siblings.clone() }.to_bytes()
        };
        let chunks: Vec<Vec<u8>> = cut.pieces.iter().map(chunk).collect();
        assert!(chunks.len() >= usize::from(ENTRIES), "{} chunks", chunks.len());
        let mut blocks: Vec<LightBlock> = Vec::new();
        for height in 1..=HEIGHT + 1 {
            let parent = blocks.last().map(|block| block.header.id()).unwrap_or_default();
            let root = if height > HEIGHT { cut.root } else { Hash32::default() };
            blocks.push(decided(&genesis, [1, 2, 3, 4], height, parent, root));
        }
        Self { genesis, blocks, state, depths: cut.plan.depths(), chunks }
    }

    fn light(&self, height: u64) -> Option<&LightBlock> {
        self.blocks.get(usize::try_from(height.checked_sub(1)?).ok()?)
    }

    fn trust(&self) -> Checkpoint {
        Checkpoint { height: 1, block: self.blocks[0].header.id() }
    }

    fn chunk(&self, index: u32) -> Vec<u8> {
        self.chunks[usize::try_from(index).expect("small")].clone()
    }

    fn honest(&self, request: &Request) -> Response {
        match request {
            Request::Light(height) => Response::Light(self.light(*height).cloned().map(Box::new)),
            Request::Snapshots => Response::Snapshots(vec![(HEIGHT, self.depths.clone())]),
            Request::Chunk { height, index } => {
                assert_eq!(*height, HEIGHT);
                Response::Chunk(Some(self.chunk(*index)))
            }
            Request::Blocks { from, .. } => {
                let light = self.light(*from).expect("a block that is there");
                let block = Block { header: light.header.clone(), body: Body::default() };
                Response::Blocks(vec![(block, light.certificate.clone())])
            }
            other => panic!("{other:?} is not asked for here"),
        }
    }

    /// The same state, with something altered in each chunk.
    fn forged(&self, request: &Request) -> Response {
        match self.honest(request) {
            Response::Chunk(Some(mut bytes)) => {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                Response::Chunk(Some(bytes))
            }
            other => other,
        }
    }

    /// A height that is not there yet, and for every height but the trusted one a header of validators of his own.
    fn boasted(&self, request: &Request) -> Response {
        match request {
            Request::Light(height) if *height > 1 => {
                let strange = decided(&self.genesis, [5, 6, 7, 8], *height, BlockId::default(), Hash32::default());
                Response::Light(Some(Box::new(strange)))
            }
            Request::Snapshots => Response::Snapshots(vec![(FAR, self.depths.clone()); 2]),
            Request::Chunk { .. } => Response::Chunk(None),
            other => self.honest(other),
        }
    }
}

type Answer = fn(&World, &Request) -> Response;

/// A peer with a story.
struct Peer {
    address: Multiaddr,
    /// Chunks that it answered with.
    served: Arc<Mutex<Vec<u32>>>,
}

impl Peer {
    /// Answers about chunks after so many refusals, and as long as all who share the count may; who asks then waits in
    /// vain.
    async fn start(
        seed: u8,
        world: &Arc<World>,
        answer: Answer,
        refusals: usize,
        may_serve: &Arc<AtomicUsize>,
    ) -> Peer {
        let Node { handle, mut events, address, .. } = Node::over(Over::Tcp, seed, &[]).await;
        let (world, may_serve) = (world.clone(), may_serve.clone());
        let peer = Peer { address, served: Arc::default() };
        let (served, refusals) = (peer.served.clone(), AtomicUsize::new(refusals));
        tokio::spawn(async move {
            let (_running, mut held) = (handle, Vec::new());
            let one_less = |count: &AtomicUsize| {
                count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |count| count.checked_sub(1)).is_ok()
            };
            while let Some(event) = events.recv().await {
                let NetworkEvent::Request { data, reply, .. } = event else { continue };
                let request = wire::decode_request(&data).expect("a request");
                if let Request::Chunk { index, .. } = request {
                    if one_less(&refusals) {
                        reply.refuse(Refusal::Busy).expect("sent");
                        continue;
                    }
                    if !one_less(&may_serve) {
                        held.push(reply);
                        continue;
                    }
                    served.lock().expect("unharmed").push(index);
                }
                // It may wait no longer.
                let _ = reply.send(wire::encode_response(&answer(&world, &request)));
            }
        });
        peer
    }

    fn take_served(&self) -> Vec<u32> {
        std::mem::take(&mut self.served.lock().expect("unharmed"))
    }
}

/// Seeds of peers, in the order in which a node has them in its list.
fn seeds(count: u8) -> Vec<u8> {
    let mut seeds: Vec<u8> = (100..100 + count).collect();
    seeds.sort_by_key(|seed| network::peer_id([*seed; 32]).expect("a key"));
    seeds
}

fn staged(config: &Config) -> usize {
    let Ok(files) = std::fs::read_dir(config.storage.path.join("staging")) else { return 0 };
    files.flatten().filter(|file| file.file_name().to_string_lossy().parse::<u32>().is_ok()).count()
}

/// Lets a new node take over a state, until it has it, or so many chunks of it.
async fn join(world: &World, home: &Path, seed: u8, peers: &[Peer], killed_at: Option<usize>) {
    let mut config = Config::new(home);
    config.storage.path = home.join("data");
    let known: Vec<&Multiaddr> = peers.iter().map(|peer| &peer.address).collect();
    let Node { handle, mut events, .. } = Node::over(Over::Tcp, seed, &known).await;
    until("all peers there", || handle.peers().len() == peers.len()).await;
    let stop = CancellationToken::new();
    let sync = StateSync { config: &config, genesis: &world.genesis, trust: world.trust(), network: handle, stop };
    let killed = async {
        let Some(count) = killed_at else { return std::future::pending().await };
        until("so many chunks", || staged(&config) >= count).await;
    };
    tokio::select! {
        outcome = timeout(DEADLINE, sync.run(&mut events)) => {
            outcome.expect("in time").expect("taken over");
            assert_eq!(killed_at, None);
        }
        () = killed => return,
    }
    let store = RocksStore::open(&state_sync::database(&config), &Origin::of(&world.genesis)).expect("a database");
    let loaded = store.load().expect("it is read");
    assert_eq!(loaded.height, HEIGHT);
    assert!(loaded.state.into_iter().map(|(key, value)| (key, Some(value))).eq(world.state.clone()));
    assert_eq!(staged(&config), 0, "what was gathered is removed");
}

/// Two peers that are busy at first serve a state, a third sends false chunks, and the node is killed on the way.
#[tokio::test(flavor = "multi_thread")]
async fn a_state_of_many_chunks_comes_from_several_peers_and_goes_on_after_a_kill() {
    /// Chunks that are there when the node is killed.
    const BEFORE: usize = 5;
    let world = Arc::new(World::new());
    let may_serve = Arc::new(AtomicUsize::new(usize::MAX));
    let honest_may_serve = Arc::new(AtomicUsize::new(BEFORE));
    let seeds = seeds(3);
    let peers = [
        Peer::start(seeds[0], &world, World::forged, 0, &may_serve).await,
        Peer::start(seeds[1], &world, World::honest, REFUSALS, &honest_may_serve).await,
        Peer::start(seeds[2], &world, World::honest, REFUSALS, &honest_may_serve).await,
    ];
    let [forger, first, second] = &peers;
    let home = tempfile::tempdir().expect("a folder");

    join(&world, home.path(), 1, &peers, Some(BEFORE)).await;
    let before = [first.take_served(), second.take_served()].concat();
    assert_eq!(before.len(), BEFORE);
    assert!((1..=AT_ONCE).contains(&forger.take_served().len()), "after a false chunk it is not asked again");

    honest_may_serve.store(usize::MAX, Ordering::SeqCst);
    join(&world, home.path(), 2, &peers, None).await;
    let after = [first.take_served(), second.take_served()];
    assert!(after.iter().all(|served| !served.is_empty()), "one has served nothing: {after:?}");
    assert!(forger.take_served().len() <= AT_ONCE);
    // Each chunk came once in both lives together.
    let all: Vec<u32> = before.into_iter().chain(after.concat()).collect();
    assert_eq!(all.len(), world.chunks.len(), "{all:?}");
    assert_eq!(all.into_iter().collect::<BTreeSet<u32>>().len(), world.chunks.len());
}

/// Most peers claim a height far ahead, and show headers of their own making for every height: they are asked first, and
/// cost some seconds.
#[tokio::test(flavor = "multi_thread")]
async fn peers_that_make_up_a_height_and_headers_keep_nobody_from_the_state() {
    let world = Arc::new(World::new());
    let may_serve = Arc::new(AtomicUsize::new(usize::MAX));
    let seeds = seeds(3);
    let peers = [
        Peer::start(seeds[0], &world, World::boasted, 0, &may_serve).await,
        Peer::start(seeds[1], &world, World::boasted, 0, &may_serve).await,
        Peer::start(seeds[2], &world, World::honest, 0, &may_serve).await,
    ];
    let home = tempfile::tempdir().expect("a folder");
    join(&world, home.path(), 1, &peers, None).await;
    assert_eq!(peers[2].take_served().len(), world.chunks.len());
    assert!(peers[..2].iter().all(|liar| liar.take_served().is_empty()), "their offers came to nothing");
}
