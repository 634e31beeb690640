//! The one driver loop: receive, [`Node::handle`], carry the effects out in order.
//!
//! It runs in a thread of its own, because it writes to disk. Inputs that wait are handled together, in one turn, and all
//! their writes go into one synced batch before any of their effects that others see begins (group commit): nothing is
//! published, answered or counted on before it is durable. Where a turn has no such effect, its writes wait for the next
//! turn that has one, in their order: a crash before that is as if the inputs had never come. If a write fails, the process
//! stops; it would break a promise to go on.
//!
//! Two lanes lead here. Agreement, timers and whatever the core asked for go first; objects from gossip and clients fill
//! what is left of a turn, and beside the first lane only a little, so that a vote never waits for a pool of receipts.

use super::agreement::Via;
use super::clock::Clock;
use super::recorder::Recorder;
use crate::metrics;
use crate::network::GossipId;
use protocol::envelope::Verified;
use protocol::ids::{Account, ObjectId};
use protocol::node::{Effect, Input, Node, Notice, PoolAnswer, PoolQuestion, Source, Timer, Token, Verdict, Write};
use protocol::refusal::Refusal;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use storage::Store;
use tokio::sync::{mpsc, oneshot, watch};

/// Messages that wait for the driver in each lane; a full one refuses with a reason or slows its source.
pub const DRIVER_QUEUE: usize = 4096;
/// Messages of the first lane in one turn.
const MAX_URGENT: usize = 256;
/// Objects in one turn: as many share one sync. The last message of a turn may bring a few more.
const MAX_OBJECTS: usize = 512;
/// Objects in a turn that has urgent messages too.
const MAX_OBJECTS_BESIDE: usize = 64;
/// Objects of one submission that are handled in one turn.
const MAX_SUBMITTED: usize = 256;
/// Objects that an answer about the whole pool counts for in a turn: it looks at all of them.
const ANSWER_OBJECTS: usize = 128;
/// Writes that may wait for a turn with visible effects.
const MAX_UNSYNCED: usize = 1024;

/// A question to the core, answered between two turns.
type Question = Box<dyn FnOnce(&Node) + Send>;

/// What became of submitted objects, in their order.
type Submitted = Vec<Result<ObjectId, Refusal>>;

/// What reaches the driver.
pub enum Message {
    /// An input that nobody waits for.
    Input(Box<Input>),
    /// A consensus message, which is judged under the driver's own token.
    Consensus(Box<dyn FnOnce(Token) -> Input + Send>, Origin),
    /// Checked objects of one gossiped message, which is judged as a whole.
    Objects(Vec<Verified>, GossipId),
    /// A local submission.
    Submit(Vec<Verified>, oneshot::Sender<Submitted>),
    /// Checked objects of another node's pool, and the input that follows them.
    Fetched(Vec<Verified>, Box<Input>),
    /// A peer's question about the pool.
    Asked(PoolQuestion, oneshot::Sender<PoolAnswer>),
    /// A question.
    Ask(Question),
}

/// What is judged, and how it came.
#[derive(Debug)]
pub enum Origin {
    /// Objects of one gossiped message.
    Objects(GossipId),
    /// A message of agreement.
    Agreement {
        /// How it came.
        via: Via,
        /// Whose it is, if it has one author.
        signer: Option<Account>,
    },
}

impl Message {
    /// Does it go before objects?
    fn is_urgent(&self) -> bool {
        matches!(self, Self::Input(_) | Self::Consensus(..))
    }

    /// How many objects it brings, or take as long as it does.
    fn objects(&self) -> usize {
        match self {
            Self::Objects(objects, _) => objects.len(),
            Self::Submit(objects, _) => objects.len(),
            Self::Fetched(objects, _) => objects.len(),
            Self::Asked(..) => ANSWER_OBJECTS,
            Self::Input(_) | Self::Consensus(..) | Self::Ask(_) => 1,
        }
    }
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
    urgent: mpsc::Sender<Message>,
    objects: mpsc::Sender<Message>,
    status: watch::Receiver<Status>,
}

impl DriverHandle {
    /// Gives an input, waiting for room.
    pub async fn input(&self, input: Input) {
        // A closed queue means that the node is stopping; then the input has no more meaning.
        let _ = self.urgent.send(Message::Input(Box::new(input))).await;
    }

    /// Gives an input from a thread, waiting for room.
    pub fn input_blocking(&self, input: Input) {
        let _ = self.urgent.blocking_send(Message::Input(Box::new(input)));
    }

    /// Gives a message if there is room in its lane.
    #[expect(clippy::result_large_err, reason = "what does not fit goes back whole to whoever sent it")]
    pub fn try_send(&self, message: Message) -> Result<(), Message> {
        let lane = if message.is_urgent() { &self.urgent } else { &self.objects };
        lane.try_send(message).map_err(|error| match error {
            mpsc::error::TrySendError::Full(message) | mpsc::error::TrySendError::Closed(message) => message,
        })
    }

    /// Submits an object of this node's own clients. `Ok` means that it is durable here.
    pub async fn submit(&self, object: Verified) -> Result<ObjectId, Refusal> {
        self.submit_all(vec![object]).await.pop().unwrap_or_else(|| Err(stopping()))
    }

    /// Submits objects of this node's own clients, with one answer for each in their order. `Ok` means that it is durable
    /// here.
    pub async fn submit_all(&self, objects: Vec<Verified>) -> Vec<Result<ObjectId, Refusal>> {
        let mut parts = Vec::new();
        let mut objects = objects.into_iter();
        loop {
            let part: Vec<Verified> = objects.by_ref().take(MAX_SUBMITTED).collect();
            if part.is_empty() {
                break;
            }
            let (count, (reply, answer)) = (part.len(), oneshot::channel());
            let sent = self.try_send(Message::Submit(part, reply));
            let refused = |_| if self.objects.is_closed() { stopping() } else { full() };
            parts.push((count, sent.map(|()| answer).map_err(refused)));
        }
        let mut results = Vec::new();
        for (count, answer) in parts {
            match answer {
                Ok(answer) => results.extend(answer.await.unwrap_or_else(|_| vec![Err(stopping()); count])),
                Err(refusal) => results.extend(std::iter::repeat_n(Err(refusal), count)),
            }
        }
        results
    }

    /// What the core answers a peer that asks about the pool; none when it is too busy. Call it where threads may block.
    pub fn about_pool_blocking(&self, question: PoolQuestion) -> Option<PoolAnswer> {
        let (reply, answer) = oneshot::channel();
        self.try_send(Message::Asked(question, reply)).ok()?;
        answer.blocking_recv().ok()
    }

    /// Asks the core.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Node) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let (reply, answer) = oneshot::channel();
        let ask = Message::Ask(Box::new(move |node| {
            // Whoever asked may have gone; then nobody needs the answer.
            let _ = reply.send(question(node));
        }));
        self.objects.send(ask).await.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())
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

fn stopping() -> Refusal {
    Refusal::Unavailable { reason: "the node is stopping".to_owned() }
}

fn full() -> Refusal {
    Refusal::Full { limit: DRIVER_QUEUE as u64, unit: "messages before the driver" }
}

/// Carries out what concerns neither disk nor timers nor answers: network, content, attribution, listeners.
pub trait Outside: Send {
    /// Judges a message.
    fn judge(&mut self, origin: Origin, verdict: Verdict);
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
    lanes: Lanes,
    status: watch::Sender<Status>,
    timers: BTreeMap<Timer, u64>,
    judged: BTreeMap<Token, (Origin, Judged)>,
    replies: BTreeMap<Token, Answered>,
    asked: BTreeMap<Token, oneshot::Sender<PoolAnswer>>,
    tokens: u64,
    /// Writes of turns that nobody saw anything of.
    unsynced: Vec<Write>,
}

/// The two queues before the driver.
pub struct Lanes {
    urgent: mpsc::Receiver<Message>,
    objects: mpsc::Receiver<Message>,
}

#[cfg(test)]
impl Lanes {
    pub(super) async fn next_urgent(&mut self) -> Option<Message> {
        self.urgent.recv().await
    }

    pub(super) async fn next_object(&mut self) -> Option<Message> {
        self.objects.recv().await
    }
}

/// A gossiped message whose objects are being judged.
#[derive(Debug)]
struct Judged {
    /// Verdicts that are still to come.
    waiting: usize,
    accepted: usize,
    ignored: usize,
    /// Why an object was rejected, or else why one was ignored.
    reject: Option<&'static str>,
    ignore: &'static str,
}

impl Judged {
    fn new(objects: usize) -> Self {
        Self { waiting: objects, accepted: 0, ignored: 0, reject: None, ignore: "" }
    }

    fn count(&mut self, verdict: Verdict) {
        self.waiting = self.waiting.saturating_sub(1);
        match verdict {
            Verdict::Accept => self.accepted += 1,
            Verdict::Reject(word) => self.reject = Some(word),
            Verdict::Ignore(word) => (self.ignored, self.ignore) = (self.ignored + 1, word),
        }
    }

    /// The verdict on the whole: rejected for any object that is the sender's fault; forwarded only if at least half of
    /// it is new here and good, or anybody could have known objects forwarded again and again, wrapped anew.
    fn verdict(&self) -> Verdict {
        match self.reject {
            Some(word) => Verdict::Reject(word),
            None if self.accepted > 0 && self.accepted >= self.ignored => Verdict::Accept,
            None => Verdict::Ignore(self.ignore),
        }
    }
}

/// A submission whose objects are being answered for.
struct Answered {
    results: Submitted,
    objects: usize,
    reply: oneshot::Sender<Submitted>,
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
pub fn queue() -> (DriverHandle, Lanes, watch::Sender<Status>) {
    let (urgent, urgent_lane) = mpsc::channel(DRIVER_QUEUE);
    let (objects, objects_lane) = mpsc::channel(DRIVER_QUEUE);
    let (status_sender, status) = watch::channel(Status::default());
    let lanes = Lanes { urgent: urgent_lane, objects: objects_lane };
    (DriverHandle { urgent, objects, status }, lanes, status_sender)
}

impl<O: Outside> Driver<O> {
    /// A driver of a node that has not started.
    pub fn new(
        node: Node,
        store: Arc<dyn Store>,
        outside: O,
        recorder: Option<Recorder>,
        lanes: Lanes,
        status: watch::Sender<Status>,
    ) -> Self {
        let mut driver = Self {
            node,
            store,
            outside,
            clock: Clock::start(),
            recorder,
            lanes,
            status,
            timers: BTreeMap::new(),
            judged: BTreeMap::new(),
            replies: BTreeMap::new(),
            asked: BTreeMap::new(),
            tokens: 0,
            unsynced: Vec::new(),
        };
        // Peers may ask before the first turn.
        driver.show_status(driver.clock.now_ms());
        driver
    }

    /// Runs until the last handle is gone or `stop` is cancelled. Call it in a thread of its own.
    pub fn run(mut self, stop: &tokio_util::sync::CancellationToken) -> Result<(), DriverError> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(DriverError::Record)?;
        self.take(vec![Message::Input(Box::new(Input::Start))])?;
        loop {
            let Some(turn) = runtime.block_on(self.next_turn(stop)) else { break };
            self.take(turn)?;
        }
        self.persist()?;
        if let Some(recorder) = &mut self.recorder {
            recorder.flush().map_err(DriverError::Record)?;
        }
        Ok(())
    }

    /// Waits for messages or due timers; none when it is time to stop. What is urgent stands first.
    async fn next_turn(&mut self, stop: &tokio_util::sync::CancellationToken) -> Option<Vec<Message>> {
        let due = self.timers.values().min().copied();
        let wait = due.map(|at| Duration::from_millis(at.saturating_sub(self.clock.now_ms())));
        let sleep = async {
            match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        let Lanes { urgent, objects } = &mut self.lanes;
        let (mut turn, mut others) = (Vec::new(), Vec::new());
        tokio::select! {
            biased;
            () = stop.cancelled() => return None,
            received = urgent.recv_many(&mut turn, MAX_URGENT) => if received == 0 { return None },
            received = objects.recv() => others.push(received?),
            () = sleep => {}
        }
        while turn.len() < MAX_URGENT
            && let Ok(message) = urgent.try_recv()
        {
            turn.push(message);
        }
        let now = self.clock.now_ms();
        let due: Vec<Timer> = self.timers.iter().filter(|(_, at)| **at <= now).map(|(timer, _)| *timer).collect();
        for timer in due {
            self.timers.remove(&timer);
            turn.push(Message::Input(Box::new(Input::Timer(timer))));
        }
        let room = if turn.is_empty() { MAX_OBJECTS } else { MAX_OBJECTS_BESIDE };
        let mut taken: usize = others.iter().map(Message::objects).sum();
        while taken < room
            && let Ok(message) = objects.try_recv()
        {
            taken += message.objects();
            others.push(message);
        }
        turn.append(&mut others);
        Some(turn)
    }

    /// Takes a turn: all inputs, then one synced write if anything depends on it, then all other effects in order.
    fn take(&mut self, turn: Vec<Message>) -> Result<(), DriverError> {
        let began = Instant::now();
        let now = self.clock.now_ms();
        let mut effects = Vec::new();
        let mut questions = Vec::new();
        for message in turn {
            match message {
                Message::Input(input) => self.handle(now, *input, &mut effects)?,
                Message::Consensus(input, origin) => {
                    let token = self.token();
                    self.judged.insert(token, (origin, Judged::new(1)));
                    self.handle(now, input(token), &mut effects)?;
                }
                Message::Objects(objects, id) => {
                    let token = self.token();
                    self.judged.insert(token, (Origin::Objects(id), Judged::new(objects.len())));
                    for object in objects {
                        self.handle(now, Input::Object(object, Source::Gossip(token)), &mut effects)?;
                    }
                }
                Message::Submit(objects, reply) => {
                    let token = self.token();
                    let results = Vec::with_capacity(objects.len());
                    self.replies.insert(token, Answered { results, objects: objects.len(), reply });
                    for object in objects {
                        self.handle(now, Input::Object(object, Source::Local(token)), &mut effects)?;
                    }
                }
                Message::Fetched(objects, after) => {
                    for object in objects {
                        self.handle(now, Input::Object(object, Source::Fetched), &mut effects)?;
                    }
                    self.handle(now, *after, &mut effects)?;
                }
                Message::Asked(question, reply) => {
                    let token = self.token();
                    self.asked.insert(token, reply);
                    self.handle(now, Input::Asked { token, question }, &mut effects)?;
                }
                Message::Ask(question) => questions.push(question),
            }
        }
        if let Some(recorder) = &mut self.recorder {
            recorder.flush().map_err(DriverError::Record)?;
        }
        metrics::driver_batch(began.elapsed());
        let mut rest = Vec::new();
        for effect in effects {
            match effect {
                Effect::Persist(write) => self.unsynced.push(write),
                other => rest.push(other),
            }
        }
        if rest.iter().any(waits_for_disk) || self.unsynced.len() >= MAX_UNSYNCED {
            self.persist()?;
        }
        for effect in rest {
            self.carry_out(effect)?;
        }
        self.show_status(now);
        for question in questions {
            question(&self.node);
        }
        Ok(())
    }

    fn handle(&mut self, now: u64, input: Input, effects: &mut Vec<Effect>) -> Result<(), DriverError> {
        if let Some(recorder) = &mut self.recorder {
            recorder.input(now, &input).map_err(DriverError::Record)?;
        }
        effects.append(&mut self.node.handle(now, input));
        Ok(())
    }

    fn token(&mut self) -> Token {
        self.tokens += 1;
        Token(self.tokens)
    }

    /// Makes durable what waits for it.
    fn persist(&mut self) -> Result<(), DriverError> {
        if self.unsynced.is_empty() {
            return Ok(());
        }
        let began = Instant::now();
        self.store.write(&self.unsynced).map_err(DriverError::Write)?;
        let logged = |write: &Write| if let Write::Wal { entry, .. } = write { entry.len() } else { 0 };
        metrics::store_write(began.elapsed(), self.unsynced.iter().map(logged).sum());
        self.unsynced.clear();
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
                if let Some(answered) = self.replies.get_mut(&token) {
                    answered.results.push(result);
                    if answered.results.len() >= answered.objects
                        && let Some(Answered { results, reply, .. }) = self.replies.remove(&token)
                    {
                        // A client that hung up asks again by id.
                        let _ = reply.send(results);
                    }
                }
            }
            Effect::Judge(token, verdict) => {
                if let Some((_, judged)) = self.judged.get_mut(&token) {
                    judged.count(verdict);
                    if judged.waiting == 0
                        && let Some((origin, judged)) = self.judged.remove(&token)
                    {
                        self.outside.judge(origin, judged.verdict());
                    }
                }
            }
            Effect::Answer { token, answer } => {
                if let Some(reply) = self.asked.remove(&token) {
                    // The peer may have gone.
                    let _ = reply.send(answer);
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

/// Could anybody see, or anything lasting depend on, what this effect does? Only verdicts on what others sent, timers and
/// questions to peers do without the disk: they say nothing of what this node knows or promises.
fn waits_for_disk(effect: &Effect) -> bool {
    !matches!(
        effect,
        Effect::Judge(..)
            | Effect::SetTimer(..)
            | Effect::CancelTimer(_)
            | Effect::FetchBlock { .. }
            | Effect::FetchParts { .. }
            | Effect::Ask { .. }
            | Effect::RequestBlocks { .. }
    )
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
        Notice::Silent { height, reason } => {
            tracing::error!(height, "this validator keeps silent until the others have decided this epoch: {reason}");
        }
        Notice::BadSync { reason, .. } => tracing::warn!("a peer sent blocks that do not hold: {reason}"),
    }
}

#[cfg(test)]
mod tests;
