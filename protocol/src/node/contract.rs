//! The whole contract of the core: what goes in, what comes out.
//!
//! The order of effects is the contract: what must be durable comes before what depends on it. A driver carries them
//! out in order; it may gather all [`Effect::Persist`] of several inputs into one synced write, as long as that write
//! ends before any other of their effects begins. Verdicts, timers and questions to peers may go before: they promise
//! nothing and show nothing, so a crash in between is as if the input had never come.

use crate::block::{Block, Certificate, CompactBlock, MissingParts, Parts};
use crate::envelope::Verified;
use crate::evidence::Evidence;
use crate::ids::{Account, BlockId, DataNetId, Hash32, ManifestId, ModelId, ObjectId, ReceiptId};
use crate::influence::RowName;
use crate::ledger::Event;
use crate::objects::Envelope;
use crate::refusal::Refusal;
use crate::wire::ConsensusMessage;
use borsh::{BorshDeserialize, BorshSerialize};
use std::collections::BTreeMap;

/// A peer, by the bytes of its network id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct Peer(pub Vec<u8>);

/// Something outside that waits for a verdict or an answer; the core only hands it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct Token(pub u64);

/// Where an object came from, and so who waits to hear what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Source {
    /// A person or program at this node's API: answered by [`Effect::Reply`].
    Local(Token),
    /// A peer's gossip: answered by [`Effect::Judge`].
    Gossip(Token),
    /// A peer's answer to [`PoolQuestion::Objects`]: nobody waits.
    Fetched,
}

/// What one node asks another about what waits in their pools.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum PoolQuestion {
    /// A message of set reconciliation, to be answered by one; at most [`crate::limits::MAX_RECONCILE_BYTES`].
    Reconcile(Vec<u8>),
    /// Waiting objects by id; at most [`crate::limits::MAX_ASKED_OBJECTS`].
    Objects(Vec<ObjectId>),
}

/// The answer to a [`PoolQuestion`].
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum PoolAnswer {
    /// A message of set reconciliation.
    Reconcile(Vec<u8>),
    /// Those of the objects that wait here and have room in one answer ([`crate::limits::MAX_SYNC_BYTES`]). The world
    /// outside checks each, as it does gossip, and hands it on as [`Source::Fetched`].
    Objects(Vec<Envelope>),
}

/// What happens to a node.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Input {
    /// The node has started: everything durable was given to [`super::Node::new`].
    Start,
    /// An object that was checked at the border.
    Object(Verified, Source),
    /// A consensus message of a peer. Its signatures are checked inside.
    Consensus {
        /// What it says.
        message: ConsensusMessage,
        /// Who handed it to us.
        peer: Peer,
        /// The gossip to judge.
        token: Token,
    },
    /// A timer that [`Effect::SetTimer`] asked for.
    Timer(Timer),
    /// A whole block that [`Effect::FetchBlock`] asked for.
    Block(Box<Block>),
    /// A block in short that [`Effect::FetchBlock`] asked for.
    Compact {
        /// The block.
        block: Box<CompactBlock>,
        /// Who sent it.
        peer: Peer,
    },
    /// Parts that [`Effect::FetchParts`] asked for.
    Parts {
        /// Of which block.
        id: BlockId,
        /// The parts.
        parts: Box<Parts>,
    },
    /// An answer to [`Effect::RequestBlocks`].
    Blocks {
        /// Who answered.
        peer: Peer,
        /// Decided blocks in ascending order; empty when the request failed.
        blocks: Vec<(Block, Certificate)>,
    },
    /// What a peer says of itself when it connects.
    PeerStatus {
        /// Who.
        peer: Peer,
        /// The last height it committed.
        height: u64,
        /// The lowest height whose block it still has.
        lowest: u64,
    },
    /// A peer asks. To be answered by [`Effect::Answer`].
    Asked {
        /// Who waits for the answer.
        token: Token,
        /// What it asks.
        question: PoolQuestion,
    },
    /// A peer answers an [`Effect::Ask`]; none when it failed. Objects come one by one as [`Input::Object`] before this.
    Answered {
        /// Who.
        peer: Peer,
        /// What it says; objects are left out here.
        answer: Option<PoolAnswer>,
    },
    /// The evidence that [`Effect::Attribute`] asked for, in the order asked.
    Attributed {
        /// The epoch.
        epoch: u64,
        /// The DataNet.
        datanet: DataNetId,
        /// One for each receipt.
        evidence: Vec<(ReceiptId, Evidence)>,
    },
    /// A manifest's content is here, checked and indexed.
    Indexed {
        /// Which.
        manifest: ManifestId,
    },
    /// What [`Effect::Attribute`] asked for failed or found no room; the next epoch asks again.
    NotAttributed {
        /// The epoch.
        epoch: u64,
        /// The DataNet.
        datanet: DataNetId,
    },
    /// Nobody has the block that [`Effect::FetchBlock`] asked for.
    BlockMissing(BlockId),
    /// The rows that [`Effect::AuditRows`] named were looked at.
    RowsAudited {
        /// Of which model.
        model: ModelId,
        /// Their root.
        root: Hash32,
        /// One that is wrong, if any is.
        wrong: Option<RowName>,
    },
    /// The query that [`Effect::AuditQuery`] named was looked at, or cannot be looked at here.
    QueryAudited {
        /// Of which receipt.
        receipt: ReceiptId,
        /// Is it not the gradient of its answer?
        is_wrong: bool,
    },
}

/// What waits for time to pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub enum Timer {
    /// The next epoch begins.
    Epoch,
    /// A step of agreement took too long. The number is the core's own.
    Step(u64),
    /// A request for blocks took too long.
    Sync,
    /// Pools are compared with a peer's.
    Reconcile,
    /// A node without memory looks at what peers tell and show.
    Listen,
}

/// How a gossiped message is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize)]
pub enum Verdict {
    /// Forward it.
    Accept,
    /// The sender's fault, in one word: do not forward it, and remember.
    Reject(&'static str),
    /// Nobody's fault: do not forward it.
    Ignore(&'static str),
}

/// What must be on disk before anything after it happens.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize)]
pub enum Write {
    /// An entry of the agreement's write-ahead log.
    Wal {
        /// The height it belongs to. Entries of lower heights are of no use any more.
        height: u64,
        /// Its place, from 0 in each height.
        index: u32,
        /// The entry.
        entry: Vec<u8>,
    },
    /// The last thing signed, so that nothing else is ever signed in its place.
    SignRecord(Vec<u8>),
    /// An object that was acknowledged.
    Pool(Envelope),
    /// Objects that wait no longer: they are in a block, or never will be.
    Unpool(Vec<ObjectId>),
    /// A decided epoch: all of it, or nothing.
    Commit(Box<Commit>),
}

/// What a decided epoch changes on disk, in one batch.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize)]
pub struct Commit {
    /// The block.
    pub block: Block,
    /// Proof that it was decided.
    pub certificate: Certificate,
    /// Ledger entries written (a value) or removed (none).
    pub changes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    /// New nodes of the Merkle state.
    pub nodes: Vec<(Vec<u8>, Vec<u8>)>,
    /// Nodes of the Merkle state that the new root no longer reaches.
    pub stale_nodes: Vec<Vec<u8>>,
    /// Objects of the pool that the block holds or rules out.
    pub unpooled: Vec<ObjectId>,
}

/// What a node tells whoever listens.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize)]
pub enum Notice {
    /// An epoch was decided.
    Committed {
        /// Its height.
        height: u64,
        /// Its block.
        block: BlockId,
        /// The round that decided it.
        round: u32,
        /// Objects in it.
        objects: u32,
        /// What happened in the ledger.
        events: Vec<Event>,
    },
    /// An object that waited is dropped: it can never enter a block any more.
    Dropped {
        /// Which.
        id: ObjectId,
        /// Why.
        refusal: Refusal,
    },
    /// A proposed block does not hold.
    InvalidBlock {
        /// Its id.
        block: BlockId,
        /// Why.
        reason: String,
    },
    /// A validator signed two messages in one place.
    Equivocation {
        /// Who.
        validator: Account,
    },
    /// This validator takes no part in a height any more, as it might contradict itself; it follows the others.
    Silent {
        /// The height.
        height: u64,
        /// Why.
        reason: String,
    },
    /// A peer answered a request for blocks with something else.
    BadSync {
        /// Who.
        peer: Peer,
        /// What was wrong.
        reason: String,
    },
}

/// What the world outside must do.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize)]
pub enum Effect {
    /// Make it durable before any later effect. On failure the process stops.
    Persist(Write),
    /// Gossip an object.
    PublishObject(Envelope),
    /// Gossip a consensus message.
    PublishConsensus(ConsensusMessage),
    /// Judge a gossiped message.
    Judge(Token, Verdict),
    /// Answer a local submission: the id is durable here, or the reason why not.
    Reply(Token, Result<ObjectId, Refusal>),
    /// Wake the core at a time. A timer that is set again moves.
    SetTimer(Timer, u64),
    /// Forget a timer.
    CancelTimer(Timer),
    /// Serve this block to peers that ask for it by id, until its height is decided.
    OfferBlock(Box<Block>),
    /// Get a proposed block, from this peer first, from others otherwise, until its height is decided.
    FetchBlock {
        /// Its id.
        id: BlockId,
        /// Its height.
        height: u64,
        /// Who is likely to have it; an empty name when nobody is known to.
        peer: Peer,
        /// The whole block, not in short: parts did not fit together.
        whole: bool,
    },
    /// Get parts of a block that came in short, from this peer first, from others otherwise. When nobody has them:
    /// [`Input::BlockMissing`].
    FetchParts {
        /// Its id.
        id: BlockId,
        /// Its height.
        height: u64,
        /// Who sent it in short.
        peer: Peer,
        /// Which parts.
        missing: MissingParts,
    },
    /// Ask a peer; answered by [`Input::Answered`].
    Ask {
        /// Whom.
        peer: Peer,
        /// What.
        question: PoolQuestion,
    },
    /// Answer a peer's question.
    Answer {
        /// Who waits.
        token: Token,
        /// What to say.
        answer: PoolAnswer,
    },
    /// Ask a peer for decided blocks.
    RequestBlocks {
        /// Whom.
        peer: Peer,
        /// The first height.
        from: u64,
        /// How many.
        count: u32,
    },
    /// Fetch, check and index a manifest's content.
    Host(ManifestId),
    /// Find the evidence of receipts in a DataNet's content, in all its manifests given.
    Attribute {
        /// The epoch that sealed the receipts.
        epoch: u64,
        /// The DataNet.
        datanet: DataNetId,
        /// The receipts, in the block's order.
        receipts: Vec<ReceiptId>,
        /// The DataNet's versions that were active when the epoch was sealed, oldest first.
        manifests: Vec<ManifestId>,
    },
    /// Fetch a model's checkpoint and rows, and compute some of these anew: those that this validator draws, and those that
    /// others refute. Answered by [`Input::RowsAudited`], however long that takes.
    AuditRows {
        /// The model.
        model: ModelId,
        /// The root of its rows.
        root: Hash32,
        /// Rows that others refute.
        challenged: Vec<RowName>,
    },
    /// Compute a receipt's query anew. Answered by [`Input::QueryAudited`].
    AuditQuery {
        /// The receipt.
        receipt: ReceiptId,
    },
    /// Tell whoever listens.
    Tell(Notice),
    /// Stop: going on would break a promise.
    Halt(String),
}
