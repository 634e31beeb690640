//! The node's state machine: [`Node::handle`] takes an input and gives effects, and that is all it does.
//!
//! It knows no clock (time is a parameter), no disk, no network, no thread and no randomness: the same inputs give the
//! same effects and the same bytes on any machine, which is what the input log and the simulator rest on.
//!
//! - `contract`: the inputs and effects.
//! - `agreement`: drives `crate::epoch`, builds and checks blocks, commits epochs.
//! - `hearing`: which messages of agreement are new.
//! - `memory`: keeps a node silent that does not know what it has signed.
//! - `fetch`: gets the blocks that are proposed.
//! - `sync`: fetches decided blocks that this node missed.
//! - `reconcile`: compares pools with peers, so that gossip may lose what it likes.
//! - `duties`: what a validator owes: attestations, attribution commits and reveals.
//! - `audits`: what it owes to models by influence: judgements of rows and queries.
//! - `pool`: objects that wait for a block.

mod agreement;
mod audits;
mod contract;
mod duties;
mod fetch;
mod hearing;
mod memory;
mod pool;
mod reconcile;
mod sync;
#[cfg(test)]
mod tests;

pub use contract::{
    Commit, Effect, Input, Notice, Peer, PoolAnswer, PoolQuestion, Source, Timer, Token, Verdict, Write,
};

use crate::block::{Block, Certificate, ValidatorSet};
use crate::crypto::SecretKey;
use crate::envelope::Verified;
use crate::epoch::{Host, SignRecord};
use crate::genesis::{Genesis, GenesisError};
use crate::ids::{Account, BlockId, Hash32, ObjectId};
use crate::ledger::{self, Context, Executed, Read as _, State};
use crate::objects::{Drops, Envelope};
use crate::refusal::Refusal;
use crate::tree::Tree;
use borsh::{BorshDeserialize, BorshSerialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Epochs between two looks through the whole pool for objects that can never enter a block any more.
const POOL_SWEEP_EPOCHS: u64 = 16;

/// Objects that are gossiped again at once.
const MAX_REPUBLISHED: usize = 256;

/// Everything durable that a node starts from.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Restored {
    /// The last committed height; 0 for a new network.
    pub height: u64,
    /// The last block and the proof that it was decided; none at height 0.
    pub last: Option<(Block, Certificate)>,
    /// All ledger entries.
    pub entries: BTreeMap<Vec<u8>, Vec<u8>>,
    /// All nodes of the Merkle state.
    pub tree: Vec<(Vec<u8>, Vec<u8>)>,
    /// The agreement log of the height after the last one.
    pub wal: Vec<Vec<u8>>,
    /// The last-sign record. Without one the node does not know what its key has signed, and keeps silent until that
    /// cannot matter; a default record says that it signed nothing.
    pub sign_record: Option<Vec<u8>>,
    /// Acknowledged objects that wait, in order of arrival.
    pub pool: Vec<Envelope>,
}

/// What stands on disk cannot be what a node left there.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The genesis cannot start a network.
    #[error(transparent)]
    Genesis(#[from] GenesisError),
    /// A record cannot be read.
    #[error("the stored {what} is damaged: {reason}; restore a backup, or start anew and let the node catch up")]
    Damaged {
        /// Which record.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

/// The last decided block.
#[derive(Clone, Debug)]
struct Head {
    height: u64,
    id: BlockId,
    time_ms: u64,
    /// Objects in it.
    objects: u32,
    /// The Merkle root after it.
    state_root: Hash32,
    certificate: Option<Certificate>,
}

/// One node.
pub struct Node {
    genesis: Genesis,
    genesis_hash: Hash32,
    key: SecretKey,
    address: Account,
    /// The validators of the height after the head.
    set: Arc<ValidatorSet>,
    /// What holds for the block after the head, as [`Node::state`] says.
    context: Option<Arc<Context>>,
    state: State,
    tree: Tree,
    head: Head,
    host: Host,
    log: Vec<Vec<u8>>,
    log_index: u32,
    pool: pool::Pool,
    /// What this node acknowledged or made itself, and so must bring into a block.
    own: BTreeSet<ObjectId>,
    /// Ledger results of the valid blocks of the open height.
    executed: BTreeMap<BlockId, Arc<Executed>>,
    blocks: fetch::Blocks,
    heard: hearing::Heard,
    /// Validators that were heard of at the next height while this node rests.
    begun: BTreeSet<Account>,
    memory: memory::Memory,
    /// Between a decision and the start of the next epoch.
    resting: bool,
    /// When the last decision was made here.
    decided_ms: u64,
    /// When the rest ends.
    epoch_at_ms: u64,
    /// How many validators could sign for it.
    last_set_size: usize,
    sync: sync::Sync,
    reconcile: reconcile::Reconcile,
    duties: duties::Duties,
    audits: audits::Audits,
    effects: Vec<Effect>,
    halted: bool,
}

impl Node {
    /// A node as its disk left it. Nothing happens before [`Input::Start`].
    ///
    /// # Errors
    /// What is wrong with the genesis or the disk.
    pub fn new(genesis: Genesis, key: SecretKey, restored: Restored) -> Result<Self, RestoreError> {
        genesis.check()?;
        let genesis_hash = genesis.hash();
        let damaged = |what, reason: String| RestoreError::Damaged { what, reason };
        let mut tree = Tree::from_nodes(restored.tree).map_err(|error| damaged("Merkle state", error.to_string()))?;
        let state = if restored.height == 0 && restored.entries.is_empty() {
            let changes = ledger::genesis_changes(&genesis);
            tree.update(0, &changes).map_err(|error| damaged("Merkle state", error.to_string()))?;
            let mut state = State::default();
            state.apply(&changes);
            state
        } else {
            State::load(restored.entries).map_err(|error| damaged("ledger", error.to_string()))?
        };
        let state_root = tree.root(restored.height).map_err(|error| damaged("Merkle state", error.to_string()))?;
        let head = match restored.last {
            Some((block, certificate)) if block.header.height == restored.height => Head {
                height: restored.height,
                id: block.id(),
                time_ms: block.header.time_ms,
                objects: u32::try_from(block.body.envelopes.len()).unwrap_or(u32::MAX),
                state_root,
                certificate: Some(certificate),
            },
            None if restored.height == 0 => Head {
                height: 0,
                id: BlockId::default(),
                time_ms: genesis.time_ms,
                objects: 0,
                state_root,
                certificate: None,
            },
            _ => return Err(damaged("last block", format!("it is not of height {}", restored.height))),
        };
        let memory = match restored.sign_record {
            Some(_) => memory::Memory::Sound,
            None => memory::Memory::lost(0),
        };
        let record = match restored.sign_record {
            None => SignRecord::default(),
            Some(bytes) => borsh::from_slice(&bytes).map_err(|error| damaged("last-sign record", error.to_string()))?,
        };
        let (mut pool, mut own) = (pool::Pool::default(), BTreeSet::new());
        for envelope in restored.pool {
            let object = Verified::from_disk(envelope).map_err(|error| damaged("pool", error.to_string()))?;
            own.insert(object.id());
            // What was acknowledged stays: promises and room were weighed when it came in.
            let (payer, _) = pool::cost(object.object(), genesis.params.object_fee);
            let terms = pool::Terms {
                available: Drops(u128::MAX),
                nonce: state.account(&payer).nonce,
                object_fee: genesis.params.object_fee,
                is_own: true,
            };
            let _ = pool.insert(object, terms);
        }
        let set = Arc::new(state.validators().ok_or_else(|| damaged("ledger", "it has no validators".to_owned()))?);
        let host = Host::new(key.clone(), genesis_hash, set.clone(), record);
        let mut node = Self {
            address: key.account(),
            genesis,
            genesis_hash,
            key,
            set,
            context: None,
            state,
            tree,
            head,
            host,
            log: restored.wal,
            log_index: 0,
            pool,
            own,
            executed: BTreeMap::new(),
            blocks: fetch::Blocks::default(),
            heard: hearing::Heard::default(),
            begun: BTreeSet::new(),
            reconcile: reconcile::Reconcile::default(),
            memory,
            resting: false,
            decided_ms: 0,
            epoch_at_ms: 0,
            last_set_size: 0,
            sync: sync::Sync::default(),
            duties: duties::Duties::default(),
            audits: audits::Audits::default(),
            effects: Vec::new(),
            halted: false,
        };
        node.know_sets();
        Ok(node)
    }

    /// Takes note of what holds after the head, and tells agreement who validates around it, as the ledger says.
    fn know_sets(&mut self) {
        let (last, open, next) = (self.state.last_validators(), self.state.validators(), self.state.next_validators());
        self.context = Context::next(&self.state).map(Arc::new);
        let height = self.head.height;
        let same = |set: ValidatorSet, known: &Arc<ValidatorSet>| {
            if set == **known { known.clone() } else { Arc::new(set) }
        };
        if let Some(open) = open {
            self.set = same(open, &self.set);
        }
        self.last_set_size = last.as_ref().map_or(0, |set| set.members().len());
        let mut sets = BTreeMap::from([(height + 1, self.set.clone())]);
        sets.extend(last.map(|last| (height, same(last, &self.set))));
        sets.extend(next.map(|next| (height + 2, same(next, &self.set))));
        self.host.know(sets);
    }

    /// Takes one input and gives what must be done, in order.
    ///
    /// `now_ms` is the caller's clock in milliseconds since 1970; it never needs to be right for safety.
    pub fn handle(&mut self, now_ms: u64, input: Input) -> Vec<Effect> {
        if self.halted {
            return Vec::new();
        }
        match input {
            Input::Start => self.on_start(now_ms),
            Input::Object(object, source) => self.on_object(now_ms, object, source),
            Input::Consensus { message, peer, token } => self.on_consensus(now_ms, &message, peer, token),
            Input::Timer(Timer::Epoch) => self.on_epoch(now_ms),
            // A height that was fetched meanwhile is over: what agreement would still sign for it, nobody could use.
            Input::Timer(Timer::Step(_)) if self.host.height() <= self.head.height => {}
            Input::Timer(Timer::Step(id)) => self.host.timer(id),
            Input::Timer(Timer::Sync) => self.on_sync_timer(now_ms),
            Input::Timer(Timer::Listen) => self.on_listen_timer(now_ms),
            Input::Timer(Timer::Reconcile) => self.on_reconcile_timer(now_ms),
            Input::Block(block) => self.on_block(now_ms, *block),
            Input::Compact { block, peer } => self.on_compact(now_ms, *block, peer),
            Input::Parts { id, parts } => self.on_parts(now_ms, &id, *parts),
            Input::Asked { token, question } => self.on_asked(token, question),
            Input::Answered { peer, answer } => self.on_answered(now_ms, &peer, answer),
            Input::Blocks { peer, blocks } => self.on_blocks(now_ms, peer, blocks),
            Input::PeerStatus { peer, height, lowest } => self.on_peer_status(now_ms, peer, height, lowest),
            Input::Attributed { epoch, datanet, evidence } => self.on_attributed(epoch, datanet, evidence),
            Input::Indexed { manifest } => self.on_indexed(manifest),
            Input::NotAttributed { epoch, datanet } => self.on_not_attributed(epoch, datanet),
            Input::RowsAudited { model, root, wrong } => self.on_rows_audited(model, root, wrong),
            Input::QueryAudited { receipt, is_wrong } => self.on_query_audited(receipt, is_wrong),
            Input::BlockMissing(id) => self.on_block_missing(&id),
        }
        self.settle_agreement(now_ms);
        let mut effects = std::mem::take(&mut self.effects);
        // What the rule under way went on to ask for, a node that stops does not ask for. Drivers write before they stop.
        let last = effects.iter().position(|effect| matches!(effect, Effect::Halt(_)));
        effects.truncate(last.map_or(effects.len(), |last| last + 1));
        effects
    }

    /// The last committed height.
    pub fn height(&self) -> u64 {
        self.head.height
    }

    /// The last committed block.
    pub fn head(&self) -> BlockId {
        self.head.id
    }

    /// The ledger after the last committed height.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The Merkle root of the ledger after the last committed height.
    pub fn state_root(&self) -> Hash32 {
        self.head.state_root
    }

    /// Objects and bytes that wait for a block.
    pub fn pooled(&self) -> (usize, usize) {
        (self.pool.len(), self.pool.bytes())
    }

    /// Is an object waiting?
    pub fn is_pooled(&self, id: &ObjectId) -> bool {
        self.pool.get(id).is_some()
    }

    /// The next nonce of an account, its waiting operations included.
    pub fn next_nonce(&self, account: &Account) -> u64 {
        // The first that is free: one that was dropped leaves a gap, and all after it would wait for ever.
        let next = self.state.account(account).nonce;
        self.pool.nonces(account).fold(next, |free, nonce| free + u64::from(nonce == free))
    }

    /// The height and round that is being agreed on.
    pub fn agreeing(&self) -> (u64, Option<u32>) {
        (self.host.height(), self.host.round())
    }

    /// How often the core of agreement asked for what.
    #[cfg(test)]
    pub(crate) fn core_effects(&self) -> &BTreeMap<&'static str, u64> {
        self.host.asked()
    }

    fn effect(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    fn persist(&mut self, write: Write) {
        self.effect(Effect::Persist(write));
    }

    fn halt(&mut self, reason: String) {
        self.halted = true;
        self.effect(Effect::Halt(reason));
    }

    fn on_start(&mut self, now_ms: u64) {
        let log = std::mem::take(&mut self.log);
        self.recall(now_ms);
        self.start_height(now_ms, &log);
        self.publish_own();
        self.fulfil_duties();
        self.plan_reconciling(now_ms);
    }

    /// Gossips again what this node must bring into a block: gossip may lose it, and an observer never proposes.
    fn publish_own(&mut self) {
        let pool = &self.pool;
        self.own.retain(|id| pool.get(id).is_some());
        let waiting = self.own.iter().filter_map(|id| pool.get(id)).take(MAX_REPUBLISHED);
        self.effects.extend(waiting.map(|object| Effect::PublishObject(object.envelope().clone())));
    }

    /// An object from a person or a peer.
    fn on_object(&mut self, now_ms: u64, object: Verified, source: Source) {
        let id = object.id();
        let result = self.take_object(object.clone(), false);
        match source {
            Source::Local(token) => {
                if result.is_ok() {
                    self.own.insert(id);
                    // Acknowledged only when durable: this write comes before the reply.
                    self.persist(Write::Pool(object.envelope().clone()));
                    self.effect(Effect::PublishObject(object.into_envelope()));
                }
                self.effect(Effect::Reply(token, result.map(|()| id)));
            }
            Source::Gossip(token) => {
                let verdict = match &result {
                    Ok(()) => Verdict::Accept,
                    // The border found nothing wrong with it, so whatever is wrong depends on what this node knows: an
                    // honest sender may have known less, or more. Nobody is punished for that.
                    Err(refusal) => Verdict::Ignore(refusal.as_str()),
                };
                self.effect(Effect::Judge(token, verdict));
            }
            Source::Fetched => {}
        }
        self.hurry_if_full(now_ms);
    }

    fn take_object(&mut self, object: Verified, is_own: bool) -> Result<(), Refusal> {
        let context = self.next_context()?;
        let check = || ledger::check_object(&self.state, &context, &object);
        #[cfg(any(test, feature = "sim"))]
        let check = || ledger::memo::checked(self.head.state_root, object.id(), check);
        check()?;
        let object_fee = self.genesis.params.object_fee;
        let payer = self.state.account(&pool::cost(object.object(), object_fee).0);
        let terms = pool::Terms { available: payer.available, nonce: payer.nonce, object_fee, is_own };
        self.pool.insert(object, terms)
    }

    /// The ledger's view of the block after the head.
    fn next_context(&self) -> Result<Arc<Context>, Refusal> {
        (self.context.clone()).ok_or_else(|| Refusal::Unavailable { reason: "the ledger has no genesis".to_owned() })
    }

    /// Drops what can never enter a block any more, and says so.
    fn sweep_pool(&mut self) {
        let Ok(context) = self.next_context() else { return };
        let check = |object: &Verified| match ledger::check_object(&self.state, &context, object) {
            Err(refusal) => Some((object.id(), refusal)),
            Ok(()) => None,
        };
        // An operation is looked at when its turn has come: before, that would cost its author nothing.
        let dropped: Vec<_> = self.pool.iter().filter(|object| !self.pool.is_early(object)).filter_map(check).collect();
        self.drop_from_pool(dropped);
    }

    fn drop_from_pool(&mut self, dropped: Vec<(ObjectId, Refusal)>) {
        if dropped.is_empty() {
            return;
        }
        let fee = self.genesis.params.object_fee;
        self.persist(Write::Unpool(dropped.iter().map(|(id, _)| *id).collect()));
        for (id, refusal) in dropped {
            self.pool.drop_object(&id, fee, |account| self.state.account(account).nonce);
            self.effect(Effect::Tell(Notice::Dropped { id, refusal }));
        }
    }
}
