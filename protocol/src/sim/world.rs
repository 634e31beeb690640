//! Whole nodes of the real core in virtual time: a queue of what happens next, and nothing else that moves.

use super::attackers::{Amnesiac, Crime, Tools};
use super::checks::Checks;
use super::clock::Clock;
use super::content::Content;
use super::dice::Dice;
use super::disk::{Disk, Forgets};
use super::journal::Journal;
use super::latency::Stopwatch;
use super::member::{Member, peer};
use super::network::{Links, Network};
use super::requests::Fetch;
use crate::block::{Block, ValidatorSet};
use crate::crypto::SecretKey;
use crate::crypto::cheap::Cheap;
use crate::envelope::{Verified, seal};
use crate::genesis::{Genesis, GenesisValidator, Params};
use crate::ids::{BlockId, Hash32, ObjectId};
use crate::ledger::{self, Read as _};
use crate::node::{Input, Node, Source, Timer, Token};
use crate::objects::{Drops, Envelope, Object};
use crate::refusal::Refusal;
use crate::tree;
use crate::tree::Tree;
use crate::wire::ConsensusMessage;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::rc::Rc;
use std::sync::LazyLock;

/// A node, by its place.
pub type NodeIndex = usize;

/// People with money.
pub const PEOPLE: u64 = 10;

/// When every simulation begins, in milliseconds of the world.
pub const BEGINNING_MS: u64 = 1_000_000;

/// The key of a person.
pub fn person(index: u64) -> SecretKey {
    static KEYS: LazyLock<Vec<SecretKey>> = LazyLock::new(|| (0..PEOPLE).map(|index| key("person", index)).collect());
    let known = usize::try_from(index).ok().and_then(|index| KEYS.get(index)).cloned();
    known.unwrap_or_else(|| key("person", index))
}

fn key(of: &str, index: u64) -> SecretKey {
    let mut hasher = blake3::Hasher::new_derive_key("tributary v1 simulator keys");
    hasher.update(of.as_bytes());
    hasher.update(&index.to_le_bytes());
    SecretKey::from_seed(*hasher.finalize().as_bytes())
}

/// What a world is made of.
pub struct Setup {
    /// All choices follow from it.
    pub seed: u64,
    /// Validators, of equal power.
    pub validators: usize,
    /// Nodes that only follow.
    pub observers: usize,
    /// The network between them.
    pub links: Links,
    /// The genesis parameters.
    pub params: Params,
    /// Criminals, by their place among the validators.
    pub crimes: BTreeMap<NodeIndex, Box<dyn Crime>>,
    /// What disks forget.
    pub forgets: Forgets,
    /// Honest roots reach criminals before they commit.
    pub leaks_roots: bool,
    /// Signatures are ed25519, not hashes.
    pub real_signatures: bool,
    /// Somebody looks for broken promises, and everything enters the digest.
    pub checked: bool,
    /// Keep an event log.
    pub logged: bool,
}

impl Setup {
    /// Four honest validators in one room.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            validators: 4,
            observers: 0,
            links: Links::LAN,
            params: Params { epoch_ms: 100, dispute_window: 3, ..Params::devnet() },
            crimes: BTreeMap::new(),
            forgets: Forgets::default(),
            leaks_roots: false,
            real_signatures: false,
            checked: true,
            logged: false,
        }
    }
}

/// What travels from node to node without being asked for.
#[derive(Clone, Debug)]
pub enum Packet {
    /// An object that the sender had checked: the receiver's border would find the same.
    Object(Rc<Verified>),
    /// An object from a criminal: the receiver's border looks at it.
    Unchecked(Rc<Envelope>),
    /// A consensus message.
    Consensus(Rc<ConsensusMessage>),
    /// How far a peer says it is.
    Status(u64),
}

/// What happens next.
pub(super) enum Event {
    Packet {
        from: NodeIndex,
        to: NodeIndex,
        life: u32,
        packet: Packet,
    },
    Input {
        to: NodeIndex,
        life: u32,
        input: Box<Input>,
    },
    Wake {
        node: NodeIndex,
        life: u32,
        timer: Timer,
    },
    /// A request for a proposed block reaches a peer.
    Fetch {
        node: NodeIndex,
        life: u32,
        fetch: Box<Fetch>,
    },
    /// A request for decided blocks reaches a peer.
    Ask {
        node: NodeIndex,
        life: u32,
        peer: NodeIndex,
        from: u64,
        count: u32,
    },
    Start(NodeIndex),
}

struct Due {
    at: u64,
    sequence: u64,
    event: Event,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Due {}
impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

/// Nodes, the network between them, and what is on its way.
pub struct World {
    /// What all nodes start from.
    pub genesis: Genesis,
    /// Its hash.
    pub genesis_hash: Hash32,
    /// The nodes: validators by key, then observers.
    pub members: Vec<Member>,
    /// The links between them.
    pub network: Network,
    /// The world's time in milliseconds.
    pub now: u64,
    /// What people wrote, and what it is evidence of.
    pub content: Content,
    /// Who looks for broken promises.
    pub checks: Checks,
    /// What happened.
    pub journal: Journal,
    /// Whoever answers first with a proposed block answers with a false body.
    pub false_bodies: bool,
    /// Objects are not gossiped.
    pub mute: bool,
    /// Blocks of honest criminals aside, honest roots reach criminals before they commit.
    pub(super) leaks_roots: bool,
    /// Is everything looked at?
    pub(super) checked: bool,
    /// When blocks are proposed and committed, if that is measured.
    pub(super) stopwatch: Option<Stopwatch>,
    /// Answers to local submissions.
    pub(super) replies: BTreeMap<Token, Result<ObjectId, Refusal>>,
    /// Who waits for an answer about a pool, and in which of its lives it asked.
    pub(super) asking: BTreeMap<Token, (NodeIndex, u32)>,
    /// Choices of what fails how.
    pub(super) dice: Dice,
    queue: BinaryHeap<Reverse<Due>>,
    sequence: u64,
    tokens: u64,
    forgets: Forgets,
    _cheap: Option<Cheap>,
    /// One seed in eight shares nothing, so that whatever depends on more than its inputs is seen.
    _memos: Option<(tree::memo::Memo, ledger::memo::Memo)>,
}

impl World {
    /// A world at its beginning, with all nodes started.
    pub fn new(setup: Setup) -> Self {
        let cheap = (!setup.real_signatures).then(Cheap::begin);
        let mut keys: Vec<SecretKey> = (0..setup.validators as u64).map(|index| key("validator", index)).collect();
        keys.sort_by_key(SecretKey::account);
        let genesis = genesis_of(&keys, setup.params);
        keys.extend((0..setup.observers as u64).map(|index| key("observer", index)));
        let genesis_hash = genesis.hash();
        let mut dice = Dice::new(setup.seed, "world");
        let mut world = Self {
            network: Network::new(setup.links, keys.len(), setup.seed),
            checks: Checks::new(&genesis, setup.real_signatures),
            content: Content::default(),
            journal: Journal::new(setup.logged),
            genesis_hash,
            members: Vec::new(),
            now: BEGINNING_MS,
            false_bodies: false,
            mute: false,
            checked: setup.checked,
            stopwatch: None,
            leaks_roots: setup.leaks_roots,
            replies: BTreeMap::new(),
            asking: BTreeMap::new(),
            queue: BinaryHeap::new(),
            sequence: 0,
            tokens: 0,
            forgets: setup.forgets,
            _cheap: cheap,
            _memos: (!setup.seed.is_multiple_of(8)).then(|| (tree::memo::Memo::begin(), ledger::memo::Memo::begin())),
            dice: Dice::new(setup.seed, "faults"),
            genesis,
        };
        let mut crimes = setup.crimes;
        let forgetful = |index| (setup.forgets.locks && index < setup.validators).then(Amnesiac::create);
        let disk = world.empty_disk();
        for (index, key) in keys.into_iter().enumerate() {
            if crimes.contains_key(&index) {
                world.checks.criminal(key.account());
            }
            world.members.push(Member {
                validator: index < setup.validators,
                honest: !crimes.contains_key(&index),
                crime: crimes.remove(&index).or_else(|| forgetful(index)),
                batches: dice.chance(500),
                key,
                guest_until: None,
                node: None,
                disk: disk.clone(),
                clock: Clock::default(),
                timers: BTreeMap::new(),
                offered: BTreeMap::new(),
                life: 0,
                fuse: None,
            });
        }
        (0..world.members.len()).for_each(|index| world.start(index));
        world
    }

    /// A disk that holds nothing but the genesis.
    pub fn empty_disk(&self) -> Disk {
        let changes = ledger::genesis_changes(&self.genesis);
        let mut tree = Tree::default();
        // The genesis was checked: its entries make a tree.
        let nodes = tree.update(0, &changes).map(|update| update.nodes).unwrap_or_default();
        let entries = changes.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
        Disk::new(entries, nodes, self.forgets)
    }

    /// Starts a node from its disk. One whose disk is damaged is wiped by its operator, and comes back without memory.
    pub fn start(&mut self, index: NodeIndex) {
        if self.members[index].node.is_some() {
            return;
        }
        let restored = match self.members[index].disk.load() {
            Ok(restored) => restored,
            Err(_) => {
                self.journal.fault(self.now, index, "refused start");
                self.wipe(index);
                return self.start(index);
            }
        };
        let member = &mut self.members[index];
        match Node::new(self.genesis.clone(), member.key.clone(), restored) {
            Ok(node) => member.node = Some(node),
            Err(error) => return self.checks.stopped(self.now, index, &error.to_string()),
        }
        member.life += 1;
        self.input(index, Input::Start);
        for other in 0..self.members.len() {
            self.greet(index, other);
            self.greet(other, index);
        }
    }

    /// One node tells another how far it is.
    fn greet(&mut self, from: NodeIndex, to: NodeIndex) {
        if from != to && self.members[from].node.is_some() && self.network.reaches(from, to) {
            let after = self.network.latency(from, to) + self.network.latency(to, from);
            let height = self.members[from].disk.height();
            self.send(from, to, after, Packet::Status(height));
        }
    }

    /// The disk is replaced by an empty one. What was only there is gone.
    pub fn wipe(&mut self, index: NodeIndex) {
        let member = &self.members[index];
        let height = member.disk.height();
        let disk = self.empty_disk();
        let member = &mut self.members[index];
        member.disk = disk;
        // It is of no use to the others before it is there again.
        member.guest_until = Some(member.guest_until.unwrap_or(0).max(height + 1));
        self.checks.wiped(index);
    }

    /// The power is cut: what was not synced is gone, but for a beginning of it.
    pub fn cut_power(&mut self, index: NodeIndex) {
        let member = &mut self.members[index];
        member.power_off();
        let lost = member.disk.cut(&mut self.dice, member.batches);
        if lost.writes > 0 {
            self.journal.fault(self.now, index, "lost writes");
        }
        if lost.torn {
            self.journal.fault(self.now, index, "torn write");
        }
    }

    /// Starts a node later.
    pub fn start_after(&mut self, index: NodeIndex, after_ms: u64) {
        self.push(after_ms, Event::Start(index));
    }

    /// Everything works again: links, clocks that are right, and power. Criminals stay what they are.
    pub fn heal(&mut self, links: Links) {
        self.network.mend();
        self.network.links = links;
        for index in 0..self.members.len() {
            self.members[index].fuse = None;
            self.start(index);
        }
        for from in 0..self.members.len() {
            (0..self.members.len()).for_each(|to| self.greet(from, to));
        }
    }

    /// A clock jumps, and the node's timers with it.
    pub fn jump_clock(&mut self, index: NodeIndex, by_ms: i64) {
        self.members[index].clock.jump(by_ms);
        let timers: Vec<Timer> = self.members[index].timers.keys().copied().collect();
        timers.into_iter().for_each(|timer| self.arm(index, timer));
    }

    /// Schedules the moment at which a timer may be due.
    pub(super) fn arm(&mut self, node: NodeIndex, timer: Timer) {
        let member = &self.members[node];
        if let Some(at) = member.timers.get(&timer) {
            let (after, life) = (member.clock.until(self.now, *at), member.life);
            self.push(after, Event::Wake { node, life, timer });
        }
    }

    pub(super) fn push(&mut self, after_ms: u64, event: Event) {
        self.sequence += 1;
        self.queue.push(Reverse(Due { at: self.now + after_ms, sequence: self.sequence, event }));
    }

    /// Puts a packet on its way, past all that may happen to it.
    pub(super) fn send(&mut self, from: NodeIndex, to: NodeIndex, after_ms: u64, packet: Packet) {
        let life = self.members[to].life;
        self.push(after_ms, Event::Packet { from, to, life, packet });
    }

    /// Gives a node an input after a while, unless it is off by then.
    pub(super) fn input_after(&mut self, to: NodeIndex, after_ms: u64, input: Input) {
        let life = self.members[to].life;
        self.push(after_ms, Event::Input { to, life, input: Box::new(input) });
    }

    /// Gives a node an input now.
    pub fn input(&mut self, index: NodeIndex, input: Input) {
        self.inputs(index, vec![input]);
    }

    pub(super) fn token(&mut self, from: NodeIndex) -> Token {
        self.tokens += 1;
        Token(self.tokens << 10 | from as u64 & 0x3ff)
    }

    /// Gives a node an object of its own people. None when it was off, or went off before it answered.
    pub fn submit(
        &mut self,
        index: NodeIndex,
        object: &Object,
        keys: &[&SecretKey],
    ) -> Option<Result<ObjectId, Refusal>> {
        let sealed = seal(object, keys, &self.genesis_hash);
        let object = match sealed.and_then(|envelope| Verified::check(envelope, &self.genesis_hash)) {
            Ok(object) => object,
            Err(refusal) => return Some(Err(refusal)),
        };
        self.members[index].node.as_ref()?;
        let token = self.token(index);
        self.checks.submitted(token, &object);
        self.input(index, Input::Object(object, Source::Local(token)));
        self.replies.remove(&token)
    }

    /// When the next thing happens; none when nothing ever will.
    pub fn next_at(&self) -> Option<u64> {
        self.queue.peek().map(|Reverse(due)| due.at)
    }

    /// The next thing happens. False when nothing ever will.
    pub fn step(&mut self) -> bool {
        let Some(Reverse(due)) = self.queue.pop() else { return false };
        self.now = self.now.max(due.at);
        self.happen(due.event);
        true
    }

    /// What is on its way.
    #[cfg(test)]
    pub(super) fn events(&self) -> impl Iterator<Item = &Event> {
        self.queue.iter().map(|Reverse(due)| &due.event)
    }

    /// Takes the next event if it is another input for this node at this very moment: drivers handle those together.
    pub(super) fn next_for(&mut self, node: NodeIndex) -> Option<Event> {
        let Reverse(due) = self.queue.peek()?;
        let same = due.at <= self.now
            && matches!(&due.event, Event::Packet { to, .. } | Event::Input { to, .. } if *to == node);
        if same { self.queue.pop().map(|Reverse(due)| due.event) } else { None }
    }

    /// What criminals hold in their hands.
    pub(super) fn tools<'a>(&'a self, index: NodeIndex, dice: &'a mut Dice) -> Tools<'a> {
        let member = &self.members[index];
        Tools { index, world: self, key: &member.key, dice }
    }

    /// Lets the world run until something is so; false when it is not within so many milliseconds of its time.
    pub fn run_until(&mut self, within_ms: u64, done: impl Fn(&Self) -> bool) -> bool {
        let deadline = self.now + within_ms;
        while !done(self) {
            if self.now > deadline || !self.step() {
                return false;
            }
        }
        true
    }

    /// The last committed height of each node.
    pub fn heights(&self) -> Vec<u64> {
        self.members.iter().map(Member::height).collect()
    }

    /// The nodes of whom promises are expected.
    pub fn honest(&self) -> impl Iterator<Item = (NodeIndex, &Member)> {
        self.members.iter().enumerate().filter(|(_, member)| member.is_honest())
    }

    /// The set that counts at the height that a node agrees on: of one that is off, that of the genesis.
    pub(super) fn validators_at(&self, index: NodeIndex) -> ValidatorSet {
        let node = self.members[index].node.as_ref();
        node.and_then(|node| node.state().validators()).unwrap_or_else(|| self.validators())
    }

    /// The set of validators that the genesis names.
    pub fn validators(&self) -> ValidatorSet {
        ValidatorSet::of_genesis(&self.genesis)
    }

    /// The block with this id that a node can serve.
    pub(super) fn block_of(&self, index: NodeIndex, id: &BlockId, height: u64) -> Option<Block> {
        let member = &self.members[index];
        member.node.as_ref()?;
        if let Some(block) = member.offered.get(id) {
            return Some(block.as_ref().clone());
        }
        member.disk.blocks().get(&height).filter(|decided| decided.0.id() == *id).map(|decided| decided.0.clone())
    }

    /// The network id of a node.
    pub fn peer(&self, index: NodeIndex) -> crate::node::Peer {
        peer(index)
    }
}

fn genesis_of(keys: &[SecretKey], mut params: Params) -> Genesis {
    let count = u32::try_from(keys.len()).unwrap_or(u32::MAX);
    params.stake.max_validators = params.stake.max_validators.max(count);
    let validator = |(index, key): (usize, &SecretKey)| GenesisValidator {
        key: key.account(),
        payout: key.account(),
        power: 10,
        name: format!("v{index}"),
    };
    let validators = keys.iter().enumerate().map(validator).collect();
    let mut accounts: Vec<_> =
        (0..PEOPLE).map(|index| (person(index).account(), Drops(1_000 * Drops::CREDIT.0))).collect();
    accounts.sort();
    Genesis { network: "sim".into(), time_ms: 1_000, params, validators, accounts }
}
