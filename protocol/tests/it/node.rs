//! Whole nodes of the real core in virtual time: agreement, the life of a receipt, crashes, catching up.
//!
//! One seed decides every delay, loss and crash; it is printed with every failure.

use protocol::block::{Block, Certificate, CompactBlock, Parts, ProposalPayload, ValidatorSet, VotePayload, VoteStep};
use protocol::crypto::{Purpose, SecretKey, content_root, document_hash, prompt_commitment};
use protocol::envelope::{Verified, seal};
use protocol::evidence::{Answer, Evidence, Frequencies, Holder, Span};
use protocol::genesis::{Genesis, GenesisValidator, Params, canonical};
use protocol::ids::{BlockId, Hash32, ManifestId, ModelId, ObjectId, ReceiptId};
use protocol::ledger::records::ValidatorState;
use protocol::ledger::{Read, ReceiptState, audit};
use protocol::node::{Effect, Input, Node, Peer, PoolAnswer, Restored, Source, Timer, Token, Verdict, Write};
use protocol::objects::*;
use protocol::refusal::Refusal;
use protocol::wire::{ConsensusMessage, PolkaCert, SignedProposal, SignedVote};
use std::collections::{BTreeMap, BTreeSet};

const TEXT: &str = "It was the best of times, it was the worst of times, it was the age of wisdom.";

/// A disk that keeps exactly what was synced.
#[derive(Clone, Default)]
struct Disk {
    restored: Restored,
    blocks: BTreeMap<u64, (Block, Certificate)>,
    wal: BTreeMap<(u64, u32), Vec<u8>>,
    pool: Vec<Envelope>,
    tree: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Disk {
    fn write(&mut self, write: Write) {
        match write {
            Write::Wal { height, index, entry } => {
                self.wal.insert((height, index), entry);
            }
            Write::SignRecord(record) => self.restored.sign_record = Some(record),
            Write::Pool(envelope) => self.pool.push(envelope),
            Write::Unpool(ids) => self.pool.retain(|envelope| !ids.contains(&envelope.id())),
            Write::Commit(commit) => {
                let height = commit.block.header.height;
                assert_eq!(height, self.restored.height + 1, "commits come in order");
                for (key, value) in commit.changes {
                    match value {
                        Some(value) => self.restored.entries.insert(key, value),
                        None => self.restored.entries.remove(&key),
                    };
                }
                self.tree.extend(commit.nodes);
                for key in commit.stale_nodes {
                    self.tree.remove(&key);
                }
                self.pool.retain(|envelope| !commit.unpooled.contains(&envelope.id()));
                self.restored.height = height;
                self.restored.last = Some((commit.block.clone(), commit.certificate.clone()));
                self.blocks.insert(height, (commit.block, commit.certificate));
                self.wal.retain(|(logged, _), _| *logged > height);
            }
        }
    }

    fn load(&self) -> Restored {
        let next = self.restored.height + 1;
        let wal = self.wal.range((next, 0)..(next + 1, 0)).map(|(_, entry)| entry.clone()).collect();
        Restored {
            wal,
            pool: self.pool.clone(),
            tree: self.tree.clone().into_iter().collect(),
            ..self.restored.clone()
        }
    }
}

/// A source of choices.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

struct Member {
    node: Option<Node>,
    disk: Disk,
    timers: BTreeMap<Timer, u64>,
    offered: BTreeMap<BlockId, Block>,
    replies: BTreeMap<Token, Result<ObjectId, Refusal>>,
    /// What was signed for each place on the wire: never two things.
    signed: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// Four nodes, a network with delays and losses, and a queue of what is on its way.
struct World {
    genesis: Genesis,
    keys: Vec<SecretKey>,
    members: Vec<Member>,
    queue: BTreeMap<(u64, u64), (usize, Input)>,
    sequence: u64,
    now: u64,
    dice: Dice,
    loss_percent: u64,
    tokens: u64,
    /// Who waits for an answer.
    asking: BTreeMap<Token, usize>,
    /// Objects are not gossiped.
    mute: bool,
    digest: blake3::Hasher,
    /// Evidence names this holder, once there is one.
    holder: Option<Holder>,
    /// Whoever answers first with a proposed block answers with a false body.
    false_bodies: bool,
    /// Whoever signs a second vote, for another block, in every place where it votes for one.
    double_signer: Option<usize>,
}

const PEOPLE: u8 = 10;

fn person(index: u8) -> SecretKey {
    SecretKey::from_seed([100 + index; 32])
}

impl World {
    fn new(seed: u64, loss_percent: u64) -> Self {
        let mut keys: Vec<SecretKey> = (1..=4).map(|index| SecretKey::from_seed([index; 32])).collect();
        keys.sort_by_key(SecretKey::account);
        let validators = keys
            .iter()
            .enumerate()
            .map(|(index, key)| GenesisValidator {
                key: key.account(),
                payout: key.account(),
                power: 10,
                name: format!("v{index}"),
            })
            .collect();
        let mut accounts: Vec<_> =
            (0..PEOPLE).map(|index| (person(index).account(), Drops(1_000 * Drops::CREDIT.0))).collect();
        accounts.sort();
        let params = Params { epoch_ms: 100, dispute_window: 3, ..Params::devnet() };
        let genesis = Genesis { network: "test".into(), time_ms: 1_000, params, validators, accounts };
        let mut world = Self {
            genesis,
            keys,
            members: Vec::new(),
            queue: BTreeMap::new(),
            sequence: 0,
            now: 1_000_000,
            dice: Dice(seed),
            loss_percent,
            tokens: 0,
            asking: BTreeMap::new(),
            mute: false,
            digest: blake3::Hasher::new(),
            holder: None,
            false_bodies: false,
            double_signer: None,
        };
        for _ in 0..4 {
            let mut disk = Disk::default();
            let changes = protocol::ledger::genesis_changes(&world.genesis);
            let mut tree = protocol::tree::Tree::from_nodes([]).unwrap();
            disk.tree.extend(tree.update(0, &changes).unwrap().nodes);
            disk.restored.entries = changes.into_iter().map(|(key, value)| (key, value.unwrap())).collect();
            world.members.push(Member {
                node: None,
                disk,
                timers: BTreeMap::new(),
                offered: BTreeMap::new(),
                replies: BTreeMap::new(),
                signed: BTreeMap::new(),
            });
        }
        (0..4).for_each(|index| world.start(index));
        world
    }

    fn start(&mut self, index: usize) {
        let restored = self.members[index].disk.load();
        let node = Node::new(self.genesis.clone(), self.keys[index].clone(), restored).unwrap();
        self.members[index].node = Some(node);
        self.input(index, Input::Start);
        // Peers greet each other.
        for other in 0..4 {
            if other != index && self.members[other].node.is_some() {
                let height = self.members[other].disk.restored.height;
                self.send(10, index, Input::PeerStatus { peer: peer(other), height, lowest: 1 });
                let height = self.members[index].disk.restored.height;
                self.send(10, other, Input::PeerStatus { peer: peer(index), height, lowest: 1 });
            }
        }
    }

    /// Power is cut: what was not synced is gone.
    fn crash(&mut self, index: usize) {
        let member = &mut self.members[index];
        member.node = None;
        member.timers.clear();
        member.offered.clear();
        self.queue.retain(|_, (to, _)| *to != index);
        self.asking.retain(|_, asker| *asker != index);
    }

    fn send(&mut self, delay: u64, to: usize, input: Input) {
        self.sequence += 1;
        self.queue.insert((self.now + delay, self.sequence), (to, input));
    }

    fn gossip(&mut self, from: usize, input: impl Fn(Token) -> Input) {
        for to in 0..4 {
            if to != from && self.dice.roll(100) >= self.loss_percent {
                let delay = 1 + self.dice.roll(20);
                self.tokens += 1;
                let input = input(Token(self.tokens));
                self.send(delay, to, input);
            }
        }
    }

    fn input(&mut self, index: usize, input: Input) {
        let Some(node) = self.members[index].node.as_mut() else { return };
        for effect in node.handle(self.now, input) {
            self.digest.update(&canonical(&effect));
            self.carry_out(index, effect);
        }
    }

    fn carry_out(&mut self, index: usize, effect: Effect) {
        match effect {
            Effect::Persist(write) => self.members[index].disk.write(write),
            Effect::PublishObject(_) if self.mute => {}
            Effect::PublishObject(envelope) => {
                let genesis = self.genesis.hash();
                let object = Verified::check(envelope, &genesis).unwrap();
                self.gossip(index, |token| Input::Object(object.clone(), Source::Gossip(token)));
            }
            Effect::PublishConsensus(message) => {
                self.check_one_signature(index, &message);
                let from = peer(index);
                self.gossip(index, |token| Input::Consensus { message: message.clone(), peer: from.clone(), token });
                if let ConsensusMessage::Vote(SignedVote { step, height, round, block: Some(_), .. }) = message
                    && self.double_signer == Some(index)
                {
                    let twin = vote(self, index, step, height, round, 0xee);
                    self.gossip(index, |token| Input::Consensus { message: twin.clone(), peer: from.clone(), token });
                }
            }
            Effect::Judge(_, verdict) => {
                assert!(!matches!(verdict, Verdict::Reject(_)), "an honest peer was rejected: {verdict:?}");
            }
            Effect::Reply(token, result) => {
                self.members[index].replies.insert(token, result);
            }
            Effect::SetTimer(timer, at) => {
                self.members[index].timers.insert(timer, at);
            }
            Effect::CancelTimer(timer) => {
                self.members[index].timers.remove(&timer);
            }
            Effect::OfferBlock(block) => {
                self.members[index].offered.insert(block.id(), *block);
            }
            Effect::FetchBlock { id, whole, .. } => {
                let holder = self.members.iter().position(|member| member.offered.contains_key(&id));
                let Some(holder) = holder else { return };
                let block = self.members[holder].offered[&id].clone();
                if self.false_bodies {
                    let mut altered = block.clone();
                    altered.body.settlements.push(vec![1]);
                    self.send(1, index, Input::Block(Box::new(altered)));
                }
                let delay = 2 + self.dice.roll(20);
                let input = if whole {
                    Input::Block(Box::new(block))
                } else {
                    Input::Compact { block: Box::new(CompactBlock::of(&block)), peer: peer(holder) }
                };
                self.send(delay, index, input);
            }
            Effect::FetchParts { id, missing, .. } => {
                let found = self.members.iter().find_map(|member| member.offered.get(&id));
                let input = found.map(|block| Input::Parts { id, parts: Box::new(Parts::of(block, &missing)) });
                let delay = 2 + self.dice.roll(20);
                self.send(delay, index, input.unwrap_or(Input::BlockMissing(id)));
            }
            Effect::Ask { peer: whom, question } => {
                self.tokens += 1;
                let (token, whom) = (Token(self.tokens), usize::from(whom.0[0]));
                self.asking.insert(token, index);
                self.send(5, whom, Input::Asked { token, question });
            }
            Effect::Answer { token, answer } => {
                let Some(asker) = self.asking.remove(&token) else { return };
                let genesis = self.genesis.hash();
                let answer = match answer {
                    PoolAnswer::Objects(envelopes) => {
                        for envelope in envelopes {
                            let object = Verified::check(envelope, &genesis).unwrap();
                            self.send(5, asker, Input::Object(object, Source::Fetched));
                        }
                        PoolAnswer::Objects(Vec::new())
                    }
                    answer => answer,
                };
                self.send(6, asker, Input::Answered { peer: peer(index), answer: Some(answer) });
            }
            Effect::RequestBlocks { peer: from, from: height, count } => {
                let disk = &self.members[usize::from(from.0[0])].disk;
                let range = height..height + u64::from(count);
                let blocks = disk.blocks.range(range).map(|(_, block)| block.clone()).collect();
                self.send(5, index, Input::Blocks { peer: from, blocks });
            }
            Effect::Host(manifest) => self.send(30, index, Input::Indexed { manifest }),
            Effect::Attribute { epoch, datanet, receipts, .. } => {
                let texts: BTreeMap<ReceiptId, String> = self.receipts(index);
                let evidence = receipts
                    .into_iter()
                    .map(|id| {
                        let answer = Answer::new(&texts[&id]).unwrap();
                        let counts = vec![1; answer.distinct_words()];
                        let spans = self.holder.into_iter().map(|holder| {
                            let end = answer.words().last().unwrap().end;
                            Span { start: 0, end, holder }
                        });
                        let frequencies = BTreeMap::from([(datanet, Frequencies { words: 1 << 20, counts })]);
                        (id, Evidence { spans: spans.collect(), frequencies })
                    })
                    .collect();
                self.send(15, index, Input::Attributed { epoch, datanet, evidence });
            }
            Effect::Tell(_) => {}
            Effect::Halt(reason) => panic!("node {index} stopped: {reason}"),
        }
    }

    fn receipts(&self, index: usize) -> BTreeMap<ReceiptId, String> {
        let blocks = self.members[index].disk.blocks.values();
        let envelopes = blocks.flat_map(|(block, _)| &block.body.envelopes);
        let read = |envelope: &Envelope| match Verified::from_disk(envelope.clone()).unwrap().object() {
            Object::Receipt(receipt) => Some((ReceiptId(envelope.id().0), receipt.output.clone())),
            _ => None,
        };
        envelopes.filter_map(read).collect()
    }

    /// The safety that the log and the last-sign record are for.
    fn check_one_signature(&mut self, index: usize, message: &ConsensusMessage) {
        let (place, said) = match message {
            ConsensusMessage::Vote(vote) if vote.validator == self.keys[index].account() => {
                (canonical(&(0_u8, vote.step, vote.height, vote.round)), canonical(&vote.block))
            }
            ConsensusMessage::Proposal(proposal) if proposal.validator == self.keys[index].account() => {
                (canonical(&(1_u8, proposal.height, proposal.round)), canonical(&(proposal.block, proposal.pol_round)))
            }
            _ => return,
        };
        let before = self.members[index].signed.entry(place).or_insert_with(|| said.clone());
        assert_eq!(*before, said, "node {index} signed two things in one place");
    }

    /// The next thing happens.
    fn step(&mut self) {
        let due = |member: &Member| member.timers.iter().map(|(timer, at)| (*at, *timer)).min();
        let timers = self.members.iter().enumerate().filter(|(_, member)| member.node.is_some());
        let timer = timers.filter_map(|(index, member)| due(member).map(|(at, timer)| (at, index, timer))).min();
        let message = self.queue.keys().next().copied();
        match (timer, message) {
            (Some((at, index, timer)), message) if message.is_none_or(|(when, _)| at <= when) => {
                self.now = self.now.max(at);
                self.members[index].timers.remove(&timer);
                self.input(index, Input::Timer(timer));
            }
            (_, Some(key)) => {
                let (to, input) = self.queue.remove(&key).unwrap();
                self.now = self.now.max(key.0);
                self.input(to, input);
            }
            (_, None) => panic!("nothing will ever happen again"),
        }
    }

    fn run_until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let deadline = self.now + 600_000;
        while !done(self) {
            assert!(self.now < deadline, "{what} did not happen in ten minutes; heights {:?}", self.heights());
            self.step();
        }
    }

    fn heights(&self) -> Vec<u64> {
        self.members.iter().map(|member| member.disk.restored.height).collect()
    }

    fn submit(&mut self, index: usize, object: &Object, keys: &[&SecretKey]) -> Result<ObjectId, Refusal> {
        let envelope = seal(object, keys, &self.genesis.hash()).unwrap();
        let object = Verified::check(envelope, &self.genesis.hash())?;
        self.tokens += 1;
        let token = Token(self.tokens);
        self.input(index, Input::Object(object, Source::Local(token)));
        self.members[index].replies.remove(&token).expect("a submission is answered")
    }

    fn node(&self, index: usize) -> &Node {
        self.members[index].node.as_ref().unwrap()
    }

    fn check_agreement(&self) {
        let lowest = *self.heights().iter().min().unwrap();
        for height in 1..=lowest {
            let ids: BTreeSet<BlockId> = self.members.iter().map(|member| member.disk.blocks[&height].0.id()).collect();
            assert_eq!(ids.len(), 1, "two blocks at height {height}");
        }
        for member in self.members.iter().filter_map(|member| member.node.as_ref()) {
            audit(member.state()).expect("no drop is made or lost");
        }
    }
}

fn peer(index: usize) -> Peer {
    Peer(vec![u8::try_from(index).unwrap()])
}

/// A DataNet with one contribution, active, and a model on it.
fn publish(world: &mut World) -> (ModelId, ManifestId) {
    let (owner, author, builder) = (person(0), person(1), person(2));
    let datanet = DataNet {
        owner: owner.account(),
        name: "novels".into(),
        description: "old ones".into(),
        admission: Admission::Open,
        licences: vec!["CC0-1.0".into()],
        max_contribution_bytes: 1 << 20,
    };
    let datanet = world.submit(0, &Object::DataNet(datanet), &[&owner]).unwrap().into();
    world.run_until("the DataNet", |world| (0..4).all(|i| world.node(i).state().datanet(&datanet).is_some()));
    let document = Document { title: "one".into(), hash: document_hash(TEXT.as_bytes()), bytes: TEXT.len() as u64 };
    let contribution = Contribution {
        contributor: author.account(),
        datanet,
        credit: "Author".into(),
        title: "a tale".into(),
        source: "memory".into(),
        language: "en".into(),
        licence: "CC0-1.0".into(),
        origin: Origin::PublicDomain,
        usage: UsagePolicy {
            ai_training: Permission::Allowed,
            ai_generative_training: Permission::Allowed,
            ai_inference: Permission::Allowed,
            data_mining: Permission::Allowed,
        },
        previous: None,
        documents: vec![document.clone()],
    };
    let contribution = world.submit(1, &Object::Contribution(contribution), &[&author]).unwrap().into();
    world.run_until("the contribution", |world| {
        (0..4).all(|i| world.node(i).state().admission(&contribution).is_some())
    });
    let manifest = DatasetManifest {
        owner: owner.account(),
        datanet,
        version: 1,
        parent: None,
        added: vec![contribution],
        content_root: content_root(&Hash32::default(), &[document.hash]),
        documents: 1,
        bytes: document.bytes,
        host: vec![0],
    };
    let manifest: ManifestId = world.submit(0, &Object::DatasetManifest(manifest), &[&owner]).unwrap().into();
    world.run_until("attestation of the manifest", |world| {
        (0..4).all(|i| world.node(i).state().active_manifests(&datanet).contains(&manifest))
    });
    world.holder = Some(Holder { order: 0, contribution, document: 0, offset: 0 });
    let model = ModelManifest {
        builder: builder.account(),
        name: "teller".into(),
        weights: Hash32([5; 32]),
        base: None,
        reserve_bp: 0,
        lineage: vec![LineageEntry { manifest, weight: 1 }],
        method: Method::Spans,
        price_in: Drops(1_000_000),
        price_out: Drops(2_000_000),
    };
    let model = world.submit(2, &Object::ModelManifest(model), &[&builder]).unwrap().into();
    world.run_until("the model", |world| (0..4).all(|i| world.node(i).state().model(&model).is_some()));
    (model, manifest)
}

fn receipt(model: ModelId, nonce: u64, height: u64) -> Receipt {
    let mut receipt = Receipt {
        payer: person(3).account(),
        server: person(4).account(),
        model,
        prompt: prompt_commitment(&[0; 32], "How was it?"),
        output: TEXT.into(),
        tokens_in: 10,
        tokens_out: 20,
        fee: Drops(0),
        expiry: height + 100,
        nonce,
    };
    receipt.fee = Drops((10 * 1_000_000_u128 + 20 * 2_000_000).div_ceil(1000));
    receipt
}

fn settled(world: &World, ids: &[ReceiptId]) -> bool {
    let is_settled = |index: usize, id: &ReceiptId| {
        let record = world.node(index).state().receipt(id);
        record.is_some_and(|record| matches!(record.state, ReceiptState::Settled(_)))
    };
    (0..4).all(|index| ids.iter().all(|id| is_settled(index, id)))
}

/// Every acknowledged receipt came to an end: its fee is paid out, or back with its payer.
fn ended(world: &World, ids: &[ReceiptId]) -> bool {
    let has_ended = |index: usize, id: &ReceiptId| {
        let record = world.node(index).state().receipt(id);
        record.is_some_and(|record| !matches!(record.state, ReceiptState::Sealed { .. }))
    };
    (0..4).all(|index| ids.iter().all(|id| has_ended(index, id)))
}

#[test]
fn four_nodes_agree_and_receipts_are_paid() {
    let mut world = World::new(1, 0);
    let (model, _) = publish(&mut world);
    let before = world.node(0).state().account(&person(1).account());
    let mut ids: Vec<ReceiptId> = Vec::new();
    for nonce in 0..8 {
        let at = usize::try_from(nonce % 4).unwrap();
        let receipt = receipt(model, nonce, world.node(at).height());
        let object = Object::Receipt(receipt);
        ids.push(world.submit(at, &object, &[&person(3), &person(4)]).unwrap().into());
        let again = world.submit(at, &object, &[&person(3), &person(4)]);
        assert!(matches!(again, Err(Refusal::Duplicate { .. })), "a replay is refused: {again:?}");
    }
    world.run_until("settlement", |world| settled(world, &ids));
    world.check_agreement();
    let after = world.node(0).state().account(&person(1).account());
    assert!(after.pending > before.pending, "the author is paid");
    let goal = world.heights()[0] + 6;
    world.run_until("the dispute window", |world| world.heights().iter().all(|height| *height >= goal));
    let available = world.node(0).state().account(&person(1).account());
    assert_eq!(available.pending, Drops(0));
    assert!(available.available > before.available);
}

#[test]
fn nothing_acknowledged_is_lost_when_power_is_cut_at_any_input() {
    for seed in 0..12 {
        println!("seed {seed}");
        let mut world = World::new(seed, 5);
        let (model, _) = publish(&mut world);
        let mut ids: Vec<ReceiptId> = Vec::new();
        for nonce in 0..24 {
            let at = usize::try_from(world.dice.roll(4)).unwrap();
            if world.members[at].node.is_some() {
                let object = Object::Receipt(receipt(model, nonce, world.node(at).height()));
                if let Ok(id) = world.submit(at, &object, &[&person(3), &person(4)]) {
                    ids.push(id.into());
                }
            }
            let victim = usize::try_from(world.dice.roll(4)).unwrap();
            if world.members.iter().all(|member| member.node.is_some()) {
                world.crash(victim);
            }
            for _ in 0..world.dice.roll(400) {
                world.step();
            }
            for index in 0..4 {
                if world.members[index].node.is_none() {
                    world.start(index);
                }
            }
        }
        assert!(!ids.is_empty());
        world.run_until("an end of every receipt", |world| ended(world, &ids));
        let paid = ids.iter().filter(|id| settled(&world, &[**id])).count();
        println!("seed {seed}: {} receipts acknowledged, {paid} settled, the others refunded", ids.len());
        assert!(paid > 0, "agreement on attribution never succeeded");
        world.check_agreement();
    }
}

#[test]
fn a_node_that_was_down_catches_up_by_blocks() {
    let mut world = World::new(7, 0);
    world.run_until("three epochs", |world| world.heights().iter().all(|height| *height >= 3));
    world.crash(2);
    world.run_until("a hundred epochs without it", |world| world.heights()[0] >= 100);
    assert!(world.heights()[2] < 10);
    world.start(2);
    world.run_until("it has caught up", |world| world.heights()[2] >= 101);
    world.check_agreement();
}

#[test]
fn catching_up_that_stalls_does_not_stop_a_node() {
    let mut world = World::new(9, 0);
    world.run_until("three epochs", |world| world.heights().iter().all(|height| *height >= 3));
    world.crash(2);
    world.run_until("ten epochs", |world| world.heights()[0] >= 10 && world.heights()[1] >= 10);
    // With two down nothing is decided any more: node 2 is needed. It gets all there is from a peer that claims far
    // more, asks for that too, and gets nothing.
    world.crash(3);
    let stop = world.now + 2_000;
    while world.now < stop {
        world.step();
    }
    let blocks: Vec<_> = world.members[0].disk.blocks.values().cloned().collect();
    let from = world.members[2].disk.restored.height;
    let missing = blocks.into_iter().filter(|(block, _)| block.header.height > from).collect();
    let restored = world.members[2].disk.load();
    world.members[2].node = Some(Node::new(world.genesis.clone(), world.keys[2].clone(), restored).unwrap());
    world.input(2, Input::Start);
    world.input(2, Input::PeerStatus { peer: peer(3), height: u64::MAX, lowest: 1 });
    world.input(2, Input::Blocks { peer: peer(3), blocks: missing });
    world.input(2, Input::Blocks { peer: peer(3), blocks: Vec::new() });
    let before = world.heights()[0];
    world.run_until("the three go on", |world| world.heights()[0] >= before + 5);
}

#[test]
fn a_false_body_under_the_right_header_is_neither_voted_on_nor_committed() {
    let mut world = World::new(11, 0);
    world.run_until("five epochs", |world| world.heights().iter().all(|height| *height >= 5));
    world.crash(2);
    world.run_until("five more", |world| world.heights()[0] >= 10);
    let height = world.members[2].disk.restored.height + 1;
    let (mut block, certificate) = world.members[0].disk.blocks[&height].clone();
    block.body.settlements.push(vec![1, 2, 3]);
    world.start(2);
    world.input(2, Input::PeerStatus { peer: peer(0), height: height + 5, lowest: 1 });
    world.input(2, Input::Blocks { peer: peer(0), blocks: vec![(block, certificate)] });
    assert_eq!(world.heights()[2], height - 1, "a block with a false body was committed");
    world.run_until("the node catches up all the same", |world| world.heights()[2] >= 10);
    world.check_agreement();
}

#[test]
fn a_false_body_that_comes_first_costs_no_round() {
    let mut world = World::new(17, 0);
    world.false_bodies = true;
    world.run_until("twenty epochs", |world| world.heights().iter().all(|height| *height >= 20));
    let rounds: Vec<u32> = world.members[0].disk.blocks.values().map(|(_, certificate)| certificate.round).collect();
    assert!(rounds.iter().all(|round| *round == 0), "{rounds:?}");
    world.check_agreement();
}

#[test]
fn a_validator_proposes_in_its_turn_only() {
    let mut world = World::new(19, 0);
    world.run_until("three epochs", |world| world.heights().iter().all(|height| *height >= 3));
    let (height, genesis) = (world.heights()[0] + 1, world.genesis.hash());
    let validators = ValidatorSet::of_genesis(&world.genesis).hash();
    let verdicts: Vec<Effect> = (0..4)
        .map(|index| {
            let (key, block) = (world.keys[index].clone(), BlockId([9; 32]));
            let payload =
                ProposalPayload { height, round: 0, block, pol_round: None, validators, validator: key.account() };
            let signature = key.sign(Purpose::Proposal, &genesis, &canonical(&payload));
            let validator = key.account();
            let proposal = SignedProposal { height, round: 0, block, pol_round: None, validator, signature };
            let message = ConsensusMessage::Proposal(proposal);
            let node = world.members[0].node.as_mut().unwrap();
            let effects = node.handle(world.now, Input::Consensus { message, peer: peer(1), token: Token(1) });
            effects.into_iter().next().unwrap()
        })
        .collect();
    let accepted = verdicts.iter().filter(|effect| **effect == Effect::Judge(Token(1), Verdict::Accept)).count();
    let refused =
        verdicts.iter().filter(|effect| **effect == Effect::Judge(Token(1), Verdict::Reject("proposer"))).count();
    assert_eq!((accepted, refused), (1, 3), "{verdicts:?}");
}

#[test]
fn a_stranger_cannot_hurry_a_network_nor_make_it_forward_certificates() {
    let mut world = World::new(13, 0);
    world.run_until("three epochs", |world| world.heights().iter().all(|height| *height >= 3));
    let (certificate, height) = {
        let (_, certificate) = &world.members[0].disk.blocks[&3];
        (certificate.clone(), world.heights()[0])
    };
    // Real signatures, but of precommits for another height.
    let polka = PolkaCert { height: height + 1, round: 0, block: BlockId([7; 32]), signatures: certificate.signatures };
    let message = ConsensusMessage::Polka(polka);
    let node = world.members[0].node.as_mut().unwrap();
    let effects = node.handle(world.now, Input::Consensus { message, peer: peer(1), token: Token(1 << 40) });
    assert_eq!(effects, [Effect::Judge(Token(1 << 40), Verdict::Reject("certificate"))]);
}

/// A signed precommit or prevote of a validator.
fn vote(world: &World, index: usize, step: VoteStep, height: u64, round: u32, block: u8) -> ConsensusMessage {
    let (key, block) = (&world.keys[index], Some(BlockId([block; 32])));
    let validators = ValidatorSet::of_genesis(&world.genesis).hash();
    let payload = VotePayload { step, height, round, block, validators, validator: key.account() };
    let signature = key.sign(Purpose::Vote, &world.genesis.hash(), &canonical(&payload));
    ConsensusMessage::Vote(SignedVote { step, height, round, block, validator: key.account(), signature })
}

#[test]
fn pools_become_equal_without_gossip() {
    let mut world = World::new(21, 0);
    world.run_until("an epoch", |world| world.heights().iter().all(|height| *height >= 1));
    world.mute = true;
    let payer = person(3);
    // They wait for the one before them, so that no block takes them.
    let ids: Vec<ObjectId> = (1..=40)
        .map(|nonce| {
            let action = Action::Transfer { to: person(4).account(), amount: Drops(1) };
            let operation = Operation { account: payer.account(), nonce, fee: Drops(1_000_000), action };
            let at = usize::try_from(nonce % 4).unwrap();
            world.submit(at, &Object::Operation(operation), &[&payer]).unwrap()
        })
        .collect();
    assert!((0..4).all(|index| world.node(index).pooled().0 == 10));
    world.run_until("equal pools", |world| (0..4).all(|i| ids.iter().all(|id| world.node(i).is_pooled(id))));
}

#[test]
fn a_vote_heard_twice_is_forwarded_once_until_it_is_sent_again() {
    let mut world = World::new(23, 0);
    world.run_until("three epochs", |world| world.heights().iter().all(|height| *height >= 3));
    let height = world.heights()[0] + 1;
    let message = vote(&world, 1, VoteStep::Prevote, height, 0, 9);
    let mut hear = |after_ms: u64, message: &ConsensusMessage| {
        let node = world.members[0].node.as_mut().unwrap();
        let message = message.clone();
        let effects = node.handle(world.now + after_ms, Input::Consensus { message, peer: peer(1), token: Token(1) });
        match effects.first() {
            Some(Effect::Judge(_, verdict)) => *verdict,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(hear(0, &message), Verdict::Accept);
    assert_eq!(hear(10, &message), Verdict::Ignore("known"));
    assert_eq!(hear(2_010, &message), Verdict::Accept);
}

#[test]
fn late_precommits_complete_the_last_certificate() {
    let mut world = World::new(25, 0);
    world.run_until("ten epochs", |world| world.heights().iter().all(|height| *height >= 10));
    let complete = |(block, _): &&(Block, Certificate)| {
        block.body.last_commit.as_ref().is_some_and(|commit| commit.signatures.len() == 4)
    };
    let blocks = &world.members[0].disk.blocks;
    assert!(blocks.values().filter(complete).count() >= 5, "certificates in blocks name whoever took part");
    assert!(blocks.values().any(|(_, certificate)| certificate.signatures.len() == 3), "decisions wait for nobody");
}

#[test]
fn whoever_signs_twice_is_reported_punished_and_out() {
    let mut world = World::new(23, 0);
    world.run_until("some blocks", |world| world.heights().iter().all(|height| *height >= 3));
    world.double_signer = Some(2);
    let criminal = world.keys[2].account();
    let is_out = |world: &World, index: usize| {
        let record = world.node(index).state().candidate(&criminal).unwrap();
        matches!(record.state, ValidatorState::Tombstoned { .. })
    };
    world.run_until("the punishment", |world| (0..4).all(|index| is_out(world, index)));
    let record = world.node(0).state().candidate(&criminal).unwrap();
    let ValidatorState::Tombstoned { height, .. } = record.state else { panic!("{record:?}") };
    assert!(record.slashed > Drops::ZERO);
    world.run_until("blocks without it", |world| world.heights().iter().all(|other| *other >= height + 6));
    world.check_agreement();
    // The set changes two heights later: the block of h + 2 is the first that the others decide alone.
    for (at, _) in world.members[0].disk.blocks.range(height..height + 6) {
        let (block, certificate) = &world.members[0].disk.blocks[at];
        let signed = certificate.signatures.iter().any(|(signer, _)| *signer == criminal);
        assert!(!signed || *at < height + 2, "it signed for block {at}; it was punished in {height}");
        assert!(block.header.proposer != criminal || *at < height + 2);
    }
    let state = world.node(1).state();
    assert_eq!(state.validators().unwrap().members().len(), 3);
    audit(state).unwrap();
}

#[test]
fn a_proposal_that_was_logged_without_its_block_is_completed_after_a_restart() {
    let mut world = World::new(27, 0);
    world.run_until("three epochs", |world| world.heights().iter().all(|height| *height >= 3));
    let logged = |world: &World| {
        let next = world.members[0].disk.restored.height + 1;
        world.members[0].disk.wal.range((next, 0)..).count()
    };
    // Cut the power just after the first entry of a height that another validator proposes was logged.
    world.run_until("a logged proposal", |world| {
        let asked = world.queue.values().any(|(to, input)| *to == 0 && matches!(input, Input::Compact { .. }));
        asked && logged(world) > 0
    });
    world.crash(0);
    world.start(0);
    let wants = |input: &Input| matches!(input, Input::Compact { .. });
    assert!(world.queue.values().any(|(to, input)| *to == 0 && wants(input)), "it asks for the block again");
    let goal = world.heights()[1] + 5;
    world.run_until("all go on", |world| world.heights().iter().all(|height| *height >= goal));
    world.check_agreement();
}

#[test]
fn a_gap_in_nonces_is_filled() {
    let mut world = World::new(15, 0);
    world.run_until("an epoch", |world| world.heights().iter().all(|height| *height >= 1));
    let payer = person(3);
    let transfer = |nonce| {
        let action = Action::Transfer { to: person(4).account(), amount: Drops(1) };
        Object::Operation(Operation { account: payer.account(), nonce, fee: Drops(1_000_000), action })
    };
    let start = world.node(0).next_nonce(&payer.account());
    world.submit(0, &transfer(start + 1), &[&payer]).unwrap();
    assert_eq!(world.node(0).next_nonce(&payer.account()), start, "the first free one");
    world.submit(0, &transfer(start), &[&payer]).unwrap();
    world.run_until("both", |world| world.node(0).state().account(&payer.account()).nonce == start + 2);
}

#[test]
fn the_same_seed_gives_the_same_digest() {
    let digest = |seed| {
        let mut world = World::new(seed, 10);
        world.run_until("twenty epochs", |world| world.heights().iter().all(|height| *height >= 20));
        world.digest.finalize()
    };
    assert_eq!(digest(3), digest(3));
    assert_ne!(digest(3), digest(4));
}
