//! The one driver loop: receive, [`Node::handle`], carry the effects out in order.
//!
//! It runs in a thread of its own, because it writes to disk. Inputs that wait are handled together, and all their
//! writes go into one synced batch before any other of their effects begins (group commit): nothing is published,
//! answered or counted on before it is durable. If a write fails, the process stops; it would break a promise to go on.

use super::clock::Clock;
use super::recorder::Recorder;
use crate::metrics;
use protocol::envelope::Verified;
use protocol::ids::ObjectId;
use protocol::node::{Effect, Input, Node, Notice, Source, Timer, Token, Write};
use protocol::refusal::Refusal;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use storage::Store;
use tokio::sync::{mpsc, oneshot, watch};

/// Messages that wait for the driver; a full queue refuses with a reason or slows its source.
pub const DRIVER_QUEUE: usize = 4096;
/// Inputs whose writes share one sync.
const MAX_BATCH: usize = 512;

/// A question to the core, answered between two batches.
type Question = Box<dyn FnOnce(&Node) + Send>;

/// What reaches the driver.
pub enum Message {
    /// An input that nobody waits for.
    Input(Box<Input>),
    /// An input with a verdict or an answer to come under the driver's own token.
    Gossip(Box<dyn FnOnce(Token) -> Input + Send>, crate::network::GossipId),
    /// A local submission.
    Submit(Box<Verified>, oneshot::Sender<Result<ObjectId, Refusal>>),
    /// A question.
    Ask(Question),
}

/// What everybody may look at between two batches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The last committed height.
    pub height: u64,
    /// Its block.
    pub block: protocol::ids::BlockId,
    /// The Merkle root after it.
    pub state_root: protocol::ids::Hash32,
    /// The height that is being agreed on.
    pub agreeing_height: u64,
    /// The round that is being agreed on.
    pub agreeing_round: Option<u32>,
    /// Objects that wait for a block.
    pub pool_objects: usize,
    /// Their bytes.
    pub pool_bytes: usize,
    /// Milliseconds since 1970 at the last commit, by this node's clock.
    pub committed_at_ms: u64,
}

/// Speaks with the driver. Cheap to clone.
#[derive(Clone)]
pub struct DriverHandle {
    sender: mpsc::Sender<Message>,
    status: watch::Receiver<Status>,
}

impl DriverHandle {
    /// Gives an input, waiting for room.
    pub async fn input(&self, input: Input) {
        // A closed queue means that the node is stopping; then the input has no more meaning.
        let _ = self.sender.send(Message::Input(Box::new(input))).await;
    }

    /// Gives an input from a thread, waiting for room.
    pub fn input_blocking(&self, input: Input) {
        let _ = self.sender.blocking_send(Message::Input(Box::new(input)));
    }

    /// Gives a message if there is room.
    #[expect(clippy::result_large_err, reason = "what does not fit goes back whole to whoever sent it")]
    pub fn try_send(&self, message: Message) -> Result<(), Message> {
        self.sender.try_send(message).map_err(|error| match error {
            mpsc::error::TrySendError::Full(message) | mpsc::error::TrySendError::Closed(message) => message,
        })
    }

    /// Submits an object of this node's own clients. `Ok` means that it is durable here.
    pub async fn submit(&self, object: Verified) -> Result<ObjectId, Refusal> {
        let stopping = || Refusal::Unavailable { reason: "the node is stopping".to_owned() };
        let (reply, answer) = oneshot::channel();
        self.try_send(Message::Submit(Box::new(object), reply))
            .map_err(|_| Refusal::Full { limit: DRIVER_QUEUE as u64, unit: "messages before the driver" })?;
        answer.await.unwrap_or_else(|_| Err(stopping()))
    }

    /// Asks the core.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Node) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let stopping = |_| Refusal::Unavailable { reason: "the node is stopping".to_owned() };
        let (reply, answer) = oneshot::channel();
        let ask = Message::Ask(Box::new(move |node| {
            // Whoever asked may have gone; then nobody needs the answer.
            let _ = reply.send(question(node));
        }));
        self.sender.send(ask).await.map_err(|_| Refusal::Unavailable { reason: "the node is stopping".to_owned() })?;
        answer.await.map_err(stopping)
    }

    /// The latest status.
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// Follows the status.
    pub fn watch_status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }
}

/// Carries out what concerns neither disk nor timers nor answers: network, content, attribution, listeners.
pub trait Outside: Send {
    /// Judges a gossiped message.
    fn judge(&mut self, id: crate::network::GossipId, verdict: protocol::node::Verdict);
    /// Any other effect.
    fn carry_out(&mut self, effect: Effect);
}

/// The driver, before it runs.
pub struct Driver<O> {
    node: Node,
    store: Arc<dyn Store>,
    outside: O,
    clock: Clock,
    recorder: Option<Recorder>,
    receiver: mpsc::Receiver<Message>,
    status: watch::Sender<Status>,
    timers: BTreeMap<Timer, u64>,
    gossip: BTreeMap<Token, crate::network::GossipId>,
    replies: BTreeMap<Token, oneshot::Sender<Result<ObjectId, Refusal>>>,
    tokens: u64,
}

/// Why the driver stopped before it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// A write failed.
    #[error("a write to the database failed, and going on would break a promise")]
    Write(#[source] storage::StoreError),
    /// The input log could not be written.
    #[error("the input log could not be written")]
    Record(#[source] std::io::Error),
    /// The core refused to go on.
    #[error("the node's core stopped: {0}")]
    Halted(String),
}

/// A queue to a driver that does not run yet.
pub fn queue() -> (DriverHandle, mpsc::Receiver<Message>, watch::Sender<Status>) {
    let (sender, receiver) = mpsc::channel(DRIVER_QUEUE);
    let (status_sender, status) = watch::channel(Status::default());
    (DriverHandle { sender, status }, receiver, status_sender)
}

impl<O: Outside> Driver<O> {
    /// A driver of a node that has not started.
    pub fn new(
        node: Node,
        store: Arc<dyn Store>,
        outside: O,
        recorder: Option<Recorder>,
        receiver: mpsc::Receiver<Message>,
        status: watch::Sender<Status>,
    ) -> Self {
        Self {
            node,
            store,
            outside,
            clock: Clock::start(),
            recorder,
            receiver,
            status,
            timers: BTreeMap::new(),
            gossip: BTreeMap::new(),
            replies: BTreeMap::new(),
            tokens: 0,
        }
    }

    /// Runs until the last handle is gone or `stop` is cancelled. Call it in a thread of its own.
    pub fn run(mut self, stop: &tokio_util::sync::CancellationToken) -> Result<(), DriverError> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(DriverError::Record)?;
        self.take(vec![Message::Input(Box::new(Input::Start))])?;
        loop {
            let Some(batch) = runtime.block_on(self.next_batch(stop)) else { break };
            self.take(batch)?;
        }
        if let Some(recorder) = &mut self.recorder {
            recorder.flush().map_err(DriverError::Record)?;
        }
        Ok(())
    }

    /// Waits for messages or due timers; none when it is time to stop.
    async fn next_batch(&mut self, stop: &tokio_util::sync::CancellationToken) -> Option<Vec<Message>> {
        let due = self.timers.values().min().copied();
        let wait = due.map(|at| Duration::from_millis(at.saturating_sub(self.clock.now_ms())));
        let sleep = async {
            match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        let mut batch = Vec::new();
        tokio::select! {
            biased;
            () = stop.cancelled() => return None,
            received = self.receiver.recv_many(&mut batch, MAX_BATCH) => if received == 0 { return None },
            () = sleep => {}
        }
        let now = self.clock.now_ms();
        let due: Vec<Timer> = self.timers.iter().filter(|(_, at)| **at <= now).map(|(timer, _)| *timer).collect();
        for timer in due {
            self.timers.remove(&timer);
            batch.push(Message::Input(Box::new(Input::Timer(timer))));
        }
        Some(batch)
    }

    /// Handles a batch: all inputs, then one synced write, then all other effects in order.
    fn take(&mut self, batch: Vec<Message>) -> Result<(), DriverError> {
        let began = Instant::now();
        let now = self.clock.now_ms();
        let mut effects = Vec::new();
        let mut questions = Vec::new();
        for message in batch {
            let input = match message {
                Message::Input(input) => *input,
                Message::Gossip(input, id) => {
                    let token = self.token();
                    self.gossip.insert(token, id);
                    input(token)
                }
                Message::Submit(object, reply) => {
                    let token = self.token();
                    self.replies.insert(token, reply);
                    Input::Object(*object, Source::Local(token))
                }
                Message::Ask(question) => {
                    questions.push(question);
                    continue;
                }
            };
            if let Some(recorder) = &mut self.recorder {
                recorder.input(now, &input).map_err(DriverError::Record)?;
            }
            effects.extend(self.node.handle(now, input));
        }
        if let Some(recorder) = &mut self.recorder {
            recorder.flush().map_err(DriverError::Record)?;
        }
        metrics::driver_batch(began.elapsed());
        let (mut writes, mut rest) = (Vec::new(), Vec::new());
        for effect in effects {
            match effect {
                Effect::Persist(write) => writes.push(write),
                other => rest.push(other),
            }
        }
        self.persist(&writes)?;
        for effect in rest {
            self.carry_out(effect)?;
        }
        self.show_status(now);
        for question in questions {
            question(&self.node);
        }
        Ok(())
    }

    fn token(&mut self) -> Token {
        self.tokens += 1;
        Token(self.tokens)
    }

    fn persist(&mut self, writes: &[Write]) -> Result<(), DriverError> {
        if writes.is_empty() {
            return Ok(());
        }
        let began = Instant::now();
        self.store.write(writes).map_err(DriverError::Write)?;
        metrics::store_write(began.elapsed());
        Ok(())
    }

    fn carry_out(&mut self, effect: Effect) -> Result<(), DriverError> {
        match effect {
            Effect::SetTimer(timer, at) => {
                self.timers.insert(timer, at);
            }
            Effect::CancelTimer(timer) => {
                self.timers.remove(&timer);
            }
            Effect::Reply(token, result) => {
                if let Err(refusal) = &result {
                    metrics::refused("local", refusal.as_str());
                }
                if let Some(reply) = self.replies.remove(&token) {
                    // A client that hung up asks again by id.
                    let _ = reply.send(result);
                }
            }
            Effect::Judge(token, verdict) => {
                if let Some(id) = self.gossip.remove(&token) {
                    self.outside.judge(id, verdict);
                }
            }
            Effect::Halt(reason) => return Err(DriverError::Halted(reason)),
            Effect::Tell(notice) => {
                log_notice(&notice);
                self.outside.carry_out(Effect::Tell(notice));
            }
            other => self.outside.carry_out(other),
        }
        Ok(())
    }

    fn show_status(&mut self, now: u64) {
        let (pool_objects, pool_bytes) = self.node.pooled();
        let (agreeing_height, agreeing_round) = self.node.agreeing();
        let height = self.node.height();
        metrics::node_state(height, pool_objects, pool_bytes);
        self.status.send_if_modified(|status| {
            let committed_at_ms = if status.height == height { status.committed_at_ms } else { now };
            let new = Status {
                height,
                block: self.node.head(),
                state_root: self.node.state_root(),
                agreeing_height,
                agreeing_round,
                pool_objects,
                pool_bytes,
                committed_at_ms,
            };
            let changed = *status != new;
            *status = new;
            changed
        });
    }
}

fn log_notice(notice: &Notice) {
    match notice {
        Notice::Committed { height, block, round, objects, events } => {
            metrics::committed(*round, *objects);
            tracing::info!(height, round, objects, events = events.len(), block = %block, "epoch committed");
        }
        Notice::Dropped { id, refusal } => {
            metrics::refused("pool", refusal.as_str());
            tracing::info!(id = %id, code = refusal.as_str(), "dropped from the pool: {refusal}");
        }
        Notice::InvalidBlock { block, reason } => tracing::warn!(block = %block, "proposed block refused: {reason}"),
        Notice::Equivocation { validator } => {
            tracing::warn!(validator = %validator, "a validator signed two messages in one place");
        }
        Notice::BadSync { reason, .. } => tracing::warn!("a peer sent blocks that do not hold: {reason}"),
    }
}
