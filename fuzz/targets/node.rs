//! Three honest nodes of a network of four, and a fourth validator that does whatever the bytes say: nothing panics or
//! halts, nobody signs two things in one place, no two nodes decide differently, and no input asks for much.
//!
//! The bytes also choose which message arrives, twice or never, which timer rings, and where power fails.

use protocol::block::{Block, Certificate, CompactBlock, MissingParts, Parts, ProposalPayload, VotePayload, VoteStep};
use protocol::crypto::{Purpose, SecretKey};
use protocol::envelope::{Verified, seal};
use protocol::evidence::Evidence;
use protocol::genesis::{Genesis, GenesisValidator, Params, canonical};
use protocol::ids::{Account, BlockId, DataNetId, Hash32, ManifestId, ModelId, ObjectId, ReceiptId};
use protocol::influence::RowName;
use protocol::ledger::Read as _;
use protocol::node::*;
use protocol::objects::{Action, Drops, Envelope, Object, Operation};
use protocol::wire::{self, ConsensusMessage, SignedProposal, SignedVote};
use std::collections::{BTreeMap, VecDeque};
use std::sync::LazyLock;

const START_MS: u64 = 1_000_000;
const HONEST: u8 = 3;
/// Steps of one input: enough for a dozen heights.
const MAX_STEPS: usize = 300;
/// Letters on their way; older ones are lost.
const MAX_MAIL: usize = 200;
/// Effects of one input. Starting asks for most: what waits is gossiped again, 256 objects at most, and the blocks of
/// the open height are offered.
const MAX_EFFECTS: usize = 400;

/// Runs a network by these bytes.
pub(super) fn run(bytes: &[u8]) {
    let mut world = World::new();
    let mut bytes = Bytes(bytes);
    for _ in 0..MAX_STEPS {
        if bytes.0.is_empty() {
            break;
        }
        world.step(&mut bytes);
    }
}

/// The bytes that are left; zeros after their end.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn next(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn index(&mut self, below: usize) -> usize {
        usize::from(self.next()) % below.max(1)
    }

    fn take(&mut self) -> Vec<u8> {
        let length = usize::from(self.next()).min(self.0.len());
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        taken.to_vec()
    }

    /// A number about `near`, or an extreme one.
    fn number(&mut self, near: u64) -> u64 {
        match self.next() {
            byte @ 0..=239 => near.saturating_add(u64::from(byte % 8)).saturating_sub(3),
            byte => [0, 1, u64::MAX, u64::MAX - 1, 1 << 63, 1 << 32, u64::from(u32::MAX)][usize::from(byte % 7)],
        }
    }

    fn round(&mut self) -> u32 {
        u32::try_from(self.number(2)).unwrap_or(u32::MAX)
    }
}

#[derive(Clone)]
enum Letter {
    Consensus(u8, ConsensusMessage),
    Object(Envelope),
    Fetch { id: BlockId, whole: bool },
    FetchParts { id: BlockId, missing: MissingParts },
    Blocks { peer: Peer, from: u64, count: u32 },
    Asked(u8, PoolQuestion),
    Answered(u8, PoolAnswer),
}

struct Member {
    node: Node,
    disk: Restored,
    wal: BTreeMap<(u64, u32), Vec<u8>>,
    timers: BTreeMap<Timer, u64>,
    /// Effects after which power fails.
    fuse: Option<u8>,
}

struct World {
    genesis: Genesis,
    genesis_hash: Hash32,
    now_ms: u64,
    members: Vec<Member>,
    mail: VecDeque<(u8, Letter)>,
    offered: BTreeMap<BlockId, Block>,
    decided: BTreeMap<u64, (Block, Certificate)>,
    /// What each honest validator signed in each place: height, round and step.
    signed: BTreeMap<(Account, u64, u32, u8), Vec<u8>>,
    /// Changes the next answers to requests for blocks.
    lie: u8,
}

/// The keys of all that act, made once: making one costs as much as a signature.
fn key(number: u8) -> SecretKey {
    static KEYS: LazyLock<Vec<SecretKey>> =
        LazyLock::new(|| (1..=32).map(|number| SecretKey::from_seed([number; 32])).collect());
    KEYS[usize::from(number % 32)].clone()
}

fn genesis() -> Genesis {
    let member = |number| GenesisValidator {
        key: key(number).account(),
        payout: key(number).account(),
        power: 10,
        name: format!("member-{number}"),
    };
    let mut validators: Vec<GenesisValidator> = (0..=HONEST).map(member).collect();
    validators.sort_by_key(|validator| validator.key);
    let mut accounts: Vec<_> = (0..=HONEST).map(|n| (key(n).account(), Drops(1 << 40))).collect();
    accounts.sort();
    Genesis { network: "fuzz".to_owned(), time_ms: START_MS, params: Params::devnet(), validators, accounts }
}

impl World {
    fn new() -> Self {
        let genesis = genesis();
        let member = |number| Member {
            node: Node::new(genesis.clone(), key(number), Restored::default()).expect("the genesis is sound"),
            // The record of a key that signed nothing: two absent options.
            disk: Restored { sign_record: Some(vec![0, 0]), ..Restored::default() },
            wal: BTreeMap::new(),
            timers: BTreeMap::new(),
            fuse: None,
        };
        let mut world = Self {
            members: (0..HONEST).map(member).collect(),
            genesis: genesis.clone(),
            genesis_hash: genesis.hash(),
            now_ms: START_MS + 1_000,
            mail: VecDeque::new(),
            offered: BTreeMap::new(),
            decided: BTreeMap::new(),
            signed: BTreeMap::new(),
            lie: 0,
        };
        // A node at height 0 writes its genesis itself: its disk must hold the same before it can be read again.
        let entries = protocol::ledger::genesis_changes(&genesis);
        let mut tree = protocol::tree::Tree::default();
        let nodes = tree.update(0, &entries).expect("the genesis has a tree").nodes;
        for member in &mut world.members {
            member.disk.entries =
                entries.iter().filter_map(|(key, value)| Some((key.clone(), value.clone()?))).collect();
            member.disk.tree.clone_from(&nodes);
        }
        for to in 0..HONEST {
            world.input(to, Input::Start);
        }
        world
    }

    fn height(&self, to: u8) -> u64 {
        self.members[usize::from(to)].node.height()
    }

    fn step(&mut self, bytes: &mut Bytes<'_>) {
        let choice = bytes.next();
        let to = choice / 32 % HONEST;
        let peer = Peer(vec![bytes.next() % 5]);
        let near = self.height(to) + 1;
        let token = Token(0);
        match choice % 24 {
            0..=3 => (0..1 + bytes.next() % 64).for_each(|_| self.go_on()),
            4 => {
                // One letter before its turn, and perhaps again later.
                let at = bytes.index(self.mail.len());
                if let Some((to, letter)) = self.mail.get(at).cloned() {
                    if bytes.next().is_multiple_of(2) {
                        self.mail.remove(at);
                    }
                    self.deliver(to, letter);
                }
            }
            5 => drop(self.mail.remove(bytes.index(self.mail.len()))),
            6..=7 => self.wake_first(),
            8 => self.wake(to),
            9 => self.crash(to),
            10 => self.members[usize::from(to)].fuse = Some(bytes.next() % 12),
            11 => self.input(to, Input::PeerStatus { peer, height: bytes.number(near), lowest: bytes.number(near) }),
            12 => {
                let question = match bytes.next() % 2 {
                    0 => PoolQuestion::Reconcile(bytes.take()),
                    _ => PoolQuestion::Objects(bytes.take().into_iter().map(|b| ObjectId([b; 32])).collect()),
                };
                self.input(to, Input::Asked { token, question });
            }
            13 => {
                let answer = match bytes.next() % 3 {
                    0 => None,
                    1 => Some(PoolAnswer::Objects(Vec::new())),
                    _ => Some(PoolAnswer::Reconcile(bytes.take())),
                };
                self.input(to, Input::Answered { peer, answer });
            }
            14 => {
                let vote = self.vote(to, bytes);
                self.input(to, Input::Consensus { message: ConsensusMessage::Vote(vote), peer, token });
            }
            15 => self.propose(to, bytes),
            16 => self.falsify(to, bytes),
            17 => self.lie = bytes.next(),
            18 => self.operate(to, bytes),
            19 => self.content(to, bytes),
            20 => self.raw(to, &bytes.take()),
            21 => {
                let id = self.some_block(bytes).map(|block| block.id()).unwrap_or_default();
                self.input(to, Input::BlockMissing(id));
            }
            22 => self.false_parts(to, bytes),
            _ => self.certificate(to, bytes),
        }
    }

    /// The next letter arrives; when there is none, time passes.
    fn go_on(&mut self) {
        match self.mail.pop_front() {
            Some((to, letter)) => self.deliver(to, letter),
            None => self.wake_first(),
        }
    }

    /// Lets the timer ring that is due first.
    fn wake_first(&mut self) {
        let first = |number: &u8| self.members[usize::from(*number)].timers.values().min().copied().unwrap_or(u64::MAX);
        if let Some(to) = (0..HONEST).min_by_key(first) {
            self.wake(to);
        }
    }

    fn wake(&mut self, to: u8) {
        let timers = &mut self.members[usize::from(to)].timers;
        if let Some((timer, at)) = timers.iter().map(|(timer, at)| (*timer, *at)).min_by_key(|(_, at)| *at) {
            timers.remove(&timer);
            // A clock is only bent so far: what is said to be due at the end of time is due in a minute.
            self.now_ms = self.now_ms.max(at.min(self.now_ms + 60_000));
            self.input(to, Input::Timer(timer));
        }
    }

    /// The power fails and comes back.
    fn crash(&mut self, to: u8) {
        let member = &mut self.members[usize::from(to)];
        let next = member.disk.height + 1;
        let wal = member.wal.range((next, 0)..(next + 1, 0)).map(|(_, entry)| entry.clone()).collect();
        let restored = Restored { wal, ..member.disk.clone() };
        member.node = Node::new(self.genesis.clone(), key(to), restored).expect("a node reads what it wrote");
        member.timers.clear();
        member.fuse = None;
        self.input(to, Input::Start);
    }

    fn input(&mut self, to: u8, input: Input) {
        let member = &mut self.members[usize::from(to)];
        let told = std::mem::discriminant(&input);
        let effects = member.node.handle(self.now_ms, input);
        let many = effects.len();
        assert!(many <= MAX_EFFECTS, "{many} effects of {told:?}");
        for effect in effects {
            if let Some(fuse) = &mut self.members[usize::from(to)].fuse {
                if *fuse == 0 {
                    return self.crash(to);
                }
                *fuse -= 1;
            }
            self.carry_out(to, effect);
        }
    }

    fn carry_out(&mut self, from: u8, effect: Effect) {
        match effect {
            Effect::Persist(write) => self.persist(from, write),
            Effect::PublishObject(envelope) => self.gossip(from, &Letter::Object(envelope)),
            Effect::PublishConsensus(message) => {
                self.never_twice(from, &message);
                self.gossip(from, &Letter::Consensus(from, message));
            }
            Effect::SetTimer(timer, at) => drop(self.members[usize::from(from)].timers.insert(timer, at)),
            Effect::CancelTimer(timer) => drop(self.members[usize::from(from)].timers.remove(&timer)),
            Effect::OfferBlock(block) => drop(self.offered.insert(block.id(), *block)),
            Effect::FetchBlock { id, whole, .. } => self.send(from, Letter::Fetch { id, whole }),
            Effect::FetchParts { id, missing, .. } => self.send(from, Letter::FetchParts { id, missing }),
            Effect::Ask { peer, question } => match peer.0.first() {
                Some(to @ 0..HONEST) => self.send(*to, Letter::Asked(from, question)),
                _ => self.send(from, Letter::Answered(HONEST, PoolAnswer::Reconcile(vec![self.lie; 9]))),
            },
            Effect::Answer { token, answer } => {
                if let Some(to) = u8::try_from(token.0).ok().and_then(|n| n.checked_sub(1)).filter(|to| *to < HONEST) {
                    self.send(to, Letter::Answered(from, answer));
                }
            }
            Effect::RequestBlocks { peer, from: first, count } => {
                self.send(from, Letter::Blocks { peer, from: first, count });
            }
            Effect::Halt(reason) => panic!("node {from} halted: {reason}"),
            Effect::Host(manifest) => self.input(from, Input::Indexed { manifest }),
            Effect::AuditRows { model, root, .. } => self.input(from, Input::RowsAudited { model, root, wrong: None }),
            Effect::AuditQuery { receipt } => self.input(from, Input::QueryAudited { receipt, is_wrong: false }),
            Effect::Judge(..) | Effect::Reply(..) | Effect::Attribute { .. } | Effect::Tell(_) => {}
        }
    }

    fn never_twice(&mut self, from: u8, message: &ConsensusMessage) {
        let (place, said, by) = match message {
            ConsensusMessage::Vote(vote) => {
                let step = 1 + vote.step as u8;
                ((vote.validator, vote.height, vote.round, step), canonical(&vote.block), vote.validator)
            }
            ConsensusMessage::Proposal(said) => {
                let what = canonical(&(said.block, said.pol_round));
                ((said.validator, said.height, said.round, 0), what, said.validator)
            }
            ConsensusMessage::Polka(_) | ConsensusMessage::Round(_) => return,
        };
        if by == key(from).account() {
            let before = self.signed.entry(place).or_insert_with(|| said.clone());
            assert_eq!(*before, said, "node {from} signs two things in one place: {place:?}");
        }
    }

    fn persist(&mut self, from: u8, write: Write) {
        let member = &mut self.members[usize::from(from)];
        let disk = &mut member.disk;
        match write {
            Write::Wal { height, index, entry } => drop(member.wal.insert((height, index), entry)),
            Write::SignRecord(record) => disk.sign_record = Some(record),
            Write::Pool(envelope) => disk.pool.push(envelope),
            Write::Unpool(ids) => disk.pool.retain(|envelope| !ids.contains(&envelope.id())),
            Write::Commit(commit) => {
                let height = commit.block.header.height;
                for (key, value) in commit.changes {
                    match value {
                        Some(value) => disk.entries.insert(key, value),
                        None => disk.entries.remove(&key),
                    };
                }
                disk.tree.retain(|(key, _)| !commit.stale_nodes.contains(key));
                disk.tree.extend(commit.nodes);
                disk.pool.retain(|envelope| !commit.unpooled.contains(&envelope.id()));
                disk.height = height;
                disk.last = Some((commit.block.clone(), commit.certificate.clone()));
                let id = commit.block.id();
                let (decided, _) = self.decided.entry(height).or_insert((commit.block, commit.certificate));
                assert_eq!(decided.id(), id, "height {height} is decided twice");
            }
        }
    }

    fn gossip(&mut self, from: u8, letter: &Letter) {
        (0..HONEST).filter(|to| *to != from).for_each(|to| self.send(to, letter.clone()));
    }

    fn send(&mut self, to: u8, letter: Letter) {
        if self.mail.len() >= MAX_MAIL {
            self.mail.pop_front();
        }
        self.mail.push_back((to, letter));
    }

    fn deliver(&mut self, to: u8, letter: Letter) {
        let near = Peer(vec![HONEST]);
        let input = match letter {
            Letter::Consensus(from, message) => {
                Input::Consensus { message, peer: Peer(vec![from]), token: Token(u64::from(from)) }
            }
            Letter::Object(envelope) => match Verified::check(envelope, &self.genesis_hash) {
                Ok(object) => Input::Object(object, Source::Gossip(Token(0))),
                Err(refusal) => panic!("an honest node gossips what does not hold: {refusal}"),
            },
            Letter::Fetch { id, whole } => match self.offered.get(&id) {
                Some(block) if whole => Input::Block(Box::new(block.clone())),
                Some(block) => Input::Compact { block: Box::new(CompactBlock::of(block)), peer: near },
                None => Input::BlockMissing(id),
            },
            Letter::FetchParts { id, missing } => match self.offered.get(&id) {
                Some(block) => Input::Parts { id, parts: Box::new(Parts::of(block, &missing)) },
                None => Input::BlockMissing(id),
            },
            Letter::Blocks { peer, from, count } => {
                let until = from.saturating_add(u64::from(count.min(16)));
                let mut blocks: Vec<_> = self.decided.range(from..until).map(|(_, both)| both.clone()).collect();
                self.change_blocks(&mut blocks);
                Input::Blocks { peer, blocks }
            }
            Letter::Asked(from, question) => Input::Asked { token: Token(u64::from(from) + 1), question },
            Letter::Answered(from, answer) => {
                let answer = Some(match answer {
                    PoolAnswer::Objects(envelopes) => {
                        for object in Verified::check_all(envelopes, &self.genesis_hash).into_iter().flatten() {
                            self.input(to, Input::Object(object, Source::Fetched));
                        }
                        PoolAnswer::Objects(Vec::new())
                    }
                    message => message,
                });
                Input::Answered { peer: Peer(vec![from]), answer }
            }
        };
        self.input(to, input);
    }

    /// Falsifies an answer to a request for blocks.
    fn change_blocks(&self, blocks: &mut Vec<(Block, Certificate)>) {
        let Some((block, certificate)) = blocks.last_mut() else { return };
        match self.lie % 8 {
            1 => block.header.time_ms ^= u64::from(self.lie) << 50,
            2 => drop(certificate.signatures.pop()),
            3 => certificate.signatures.reverse(),
            4 => certificate.height = u64::MAX,
            5 => block.body.last_commit = None,
            6 => blocks.reverse(),
            7 => blocks.clear(),
            _ => {}
        }
    }

    fn some_block(&self, bytes: &mut Bytes<'_>) -> Option<&Block> {
        let at = bytes.index(self.offered.len());
        self.offered.values().nth(at)
    }

    fn set_hash(&self, to: u8) -> Hash32 {
        let state = self.members[usize::from(to)].node.state();
        state.validators().map(|set| set.hash()).unwrap_or_default()
    }

    /// A vote of the fourth validator, or one that only claims to be another's.
    fn vote(&self, to: u8, bytes: &mut Bytes<'_>) -> SignedVote {
        let step = if bytes.next().is_multiple_of(2) { VoteStep::Prevote } else { VoteStep::Precommit };
        let (height, round) = (bytes.number(self.height(to) + 1), bytes.round());
        let block = self.some_block(bytes).map(Block::id);
        let claimed = key(bytes.next() % 6).account();
        let validator = if bytes.next().is_multiple_of(4) { claimed } else { key(HONEST).account() };
        let payload = VotePayload { step, height, round, block, validators: self.set_hash(to), validator };
        let signature = key(HONEST).sign(Purpose::Vote, &self.genesis_hash, &canonical(&payload));
        SignedVote { step, height, round, block, validator, signature }
    }

    /// A proposal of the fourth validator: a block of somebody's, changed.
    fn propose(&mut self, to: u8, bytes: &mut Bytes<'_>) {
        let Some(mut block) = self.some_block(bytes).cloned() else { return };
        match bytes.next() % 8 {
            0 => block.header.height = bytes.number(block.header.height),
            1 => block.header.time_ms = bytes.number(block.header.time_ms),
            2 => block.header.state_root = Hash32([bytes.next(); 32]),
            3 => block.body.last_commit = None,
            4 => block.body.settlements.push(bytes.take()),
            5 => drop(block.body.envelopes.pop()),
            6 => block.header.proposer = key(HONEST).account(),
            _ => block.body.envelopes.extend(block.body.envelopes.first().cloned()),
        }
        block.header.body = block.body.hash();
        let (height, round) = (bytes.number(self.height(to) + 1), bytes.round());
        let pol_round = (bytes.next().is_multiple_of(2)).then(|| bytes.round());
        let (id, validator) = (block.id(), key(HONEST).account());
        let validators = self.set_hash(to);
        let payload = ProposalPayload { height, round, block: id, pol_round, validators, validator };
        let signature = key(HONEST).sign(Purpose::Proposal, &self.genesis_hash, &canonical(&payload));
        self.offered.insert(id, block);
        let said = SignedProposal { height, round, block: id, pol_round, validator, signature };
        self.gossip(HONEST, &Letter::Consensus(HONEST, ConsensusMessage::Proposal(said)));
    }

    /// A message on its way, with one byte changed.
    fn falsify(&mut self, to: u8, bytes: &mut Bytes<'_>) {
        let at = bytes.index(self.mail.len());
        let Some((_, Letter::Consensus(_, message))) = self.mail.get(at) else { return };
        let mut sent = wire::encode_consensus(message);
        let at = bytes.index(sent.len());
        sent[at] ^= bytes.next();
        if let Ok(message) = wire::decode_consensus(&sent) {
            self.input(to, Input::Consensus { message, peer: Peer(vec![HONEST]), token: Token(9) });
        }
    }

    /// Certificates made of signatures that are about, or of none.
    fn certificate(&mut self, to: u8, bytes: &mut Bytes<'_>) {
        use protocol::wire::{PolkaCert, RoundCert, RoundCertKind, RoundSignature};
        let votes: Vec<SignedVote> = (self.mail.iter())
            .filter_map(|(_, letter)| match letter {
                Letter::Consensus(_, ConsensusMessage::Vote(vote)) => Some(vote.clone()),
                _ => None,
            })
            .collect();
        let (height, round) = match votes.get(bytes.index(votes.len())) {
            Some(vote) if bytes.next().is_multiple_of(2) => (vote.height, vote.round),
            _ => (bytes.number(self.height(to) + 1), bytes.round()),
        };
        let most = 1 + bytes.index(8);
        let own = self.vote(to, bytes);
        let votes = votes.into_iter().chain([own]).rev().take(most);
        let message = if bytes.next().is_multiple_of(2) {
            let block = self.some_block(bytes).map(Block::id).unwrap_or_default();
            let signatures = votes.map(|vote| (vote.validator, vote.signature)).collect();
            ConsensusMessage::Polka(PolkaCert { height, round, block, signatures })
        } else {
            let kind = if bytes.next().is_multiple_of(2) { RoundCertKind::Precommit } else { RoundCertKind::Skip };
            let said = |SignedVote { step, block, validator, signature, .. }| RoundSignature {
                step,
                block,
                validator,
                signature,
            };
            ConsensusMessage::Round(RoundCert { height, round, kind, signatures: votes.map(said).collect() })
        };
        // Only what can travel arrives.
        if let Ok(message) = wire::decode_consensus(&wire::encode_consensus(&message)) {
            self.input(to, Input::Consensus { message, peer: Peer(vec![HONEST]), token: Token(9) });
        }
    }

    /// An operation of any account, at a node or by gossip. Nobody bonds: the fourth would soon be more than a third.
    fn operate(&mut self, to: u8, bytes: &mut Bytes<'_>) {
        let author = key(bytes.next() % 4);
        let nonce = self.members[usize::from(to)].node.next_nonce(&author.account());
        let action = match bytes.next() % 4 {
            0 => Action::Unjail,
            1 => Action::Attest { manifest: ManifestId([bytes.next(); 32]) },
            _ => Action::Transfer { to: Account([bytes.next(); 32]), amount: Drops(u128::from(bytes.number(5))) },
        };
        let fee = Drops(if action.is_free() { 0 } else { 1_000_000 });
        let operation = Operation { account: author.account(), nonce: bytes.number(nonce), fee, action };
        let genesis = self.genesis_hash;
        let Ok(envelope) = seal(&Object::Operation(operation), &[&author], &genesis) else { return };
        let source = if bytes.next().is_multiple_of(2) { Source::Local(Token(3)) } else { Source::Gossip(Token(3)) };
        if let Ok(object) = Verified::check(envelope, &genesis) {
            self.input(to, Input::Object(object, source));
        }
    }

    /// What content and attribution say, asked for or not.
    fn content(&mut self, to: u8, bytes: &mut Bytes<'_>) {
        let (epoch, datanet) = (bytes.number(self.height(to)), DataNetId([bytes.next(); 32]));
        let input = match bytes.next() % 5 {
            0 => Input::Indexed { manifest: ManifestId([bytes.next(); 32]) },
            1 => Input::NotAttributed { epoch, datanet },
            2 => {
                let row = RowName { fisher: bytes.next().is_multiple_of(2), index: bytes.number(9) };
                let wrong = (bytes.next().is_multiple_of(2)).then_some(row);
                Input::RowsAudited { model: ModelId([bytes.next(); 32]), root: Hash32([bytes.next(); 32]), wrong }
            }
            3 => {
                Input::QueryAudited { receipt: ReceiptId([bytes.next(); 32]), is_wrong: bytes.next().is_multiple_of(2) }
            }
            _ => {
                let evidence = Evidence::from_bytes(&bytes.take()).into_iter();
                let evidence = evidence.map(|found| (ReceiptId([7; 32]), found)).collect();
                Input::Attributed { epoch, datanet, evidence }
            }
        };
        self.input(to, input);
    }

    /// Parts of a block that were not asked for, or not these.
    fn false_parts(&mut self, to: u8, bytes: &mut Bytes<'_>) {
        let Some(block) = self.some_block(bytes).cloned() else { return };
        let input = match bytes.next() % 4 {
            0 => Input::Block(Box::new(Block { body: Default::default(), ..block })),
            1 => Input::Parts { id: block.id(), parts: Box::default() },
            2 => {
                let parts = Parts { envelopes: block.body.envelopes.clone(), settlements: vec![bytes.take()] };
                Input::Parts { id: block.id(), parts: Box::new(parts) }
            }
            _ => {
                let mut short = CompactBlock::of(&block);
                short.objects.extend(bytes.take().into_iter().map(|byte| ObjectId([byte; 32])));
                short.settlements.push(Hash32([bytes.next(); 32]));
                Input::Compact { block: Box::new(short), peer: Peer(vec![HONEST]) }
            }
        };
        self.input(to, input);
    }

    /// Any input that borsh reads, but for those that only this machine itself can give.
    fn raw(&mut self, to: u8, bytes: &[u8]) {
        match borsh::from_slice::<Input>(bytes) {
            Ok(Input::Start | Input::Object(..) | Input::Timer(_)) | Err(_) => {}
            Ok(Input::Consensus { message, peer, token }) => {
                if let Ok(message) = wire::decode_consensus(&wire::encode_consensus(&message)) {
                    self.input(to, Input::Consensus { message, peer, token });
                }
            }
            Ok(input) => self.input(to, input),
        }
    }
}
