//! Signatures are checked here, off the driver's thread and off the network's, many at a time.
//!
//! Everybody who has envelopes to check (gossip, the API) hands them in and is called back with the verdicts. A thread
//! takes whatever waits, up to `CHECKED_AT_ONCE` envelopes, and checks it as one batch, which costs about half of
//! checking one by one. So a lone object is checked at once, and a flood is checked cheaply. Consensus messages do not come
//! by here: the core checks them itself, and remembers what it checked.

use super::alive::{Panics, caught};
use crate::metrics;
use protocol::crypto::Signature;
use protocol::envelope::Verified;
use protocol::ids::{Account, Hash32, ObjectId};
use protocol::objects::Envelope;
use protocol::refusal::Refusal;
use protocol::wire;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// Envelopes of one batch of signatures; beyond some hundred a larger batch saves nothing.
const CHECKED_AT_ONCE: usize = 256;
/// Envelopes that wait for a check. Gossip beyond that is ignored and comes again with the blocks that hold it; clients
/// are told to try again.
const MAX_WAITING: usize = 16_384;
/// Bytes of a usual receipt on the wire.
const USUAL_BYTES: usize = 512;
/// Threads that check: more than that would only take the processor from the rest of the node.
const MAX_THREADS: usize = 4;
/// Envelopes whose signatures held, so that the same ones need no second check. What is gossiped again within minutes
/// fits.
const MAX_KNOWN: usize = 16_384;

/// One verdict for each envelope, in their order.
pub type Checked = Vec<Result<Verified, Refusal>>;

/// What is to be checked.
enum Given {
    Envelopes(Vec<Envelope>),
    /// A gossiped message, which is read here too: that takes as long as anything but the signatures.
    Message(Vec<u8>),
}

impl Given {
    /// How many envelopes it counts for. Those of a message are not known before it is read.
    fn weight(&self) -> usize {
        match self {
            Self::Envelopes(envelopes) => envelopes.len(),
            Self::Message(bytes) => 1 + bytes.len() / USUAL_BYTES,
        }
    }
}

type Done = Box<dyn FnOnce(Result<Checked, Refusal>) + Send>;

struct Job {
    given: Given,
    done: Done,
}

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    weight: usize,
    stopped: bool,
}

struct Shared {
    genesis: Hash32,
    waiting: Mutex<Waiting>,
    work: Condvar,
    known: Mutex<Known>,
}

/// Checks envelopes. Cheap to clone; the threads end when the last one is dropped.
#[derive(Clone)]
pub struct Checks(Arc<Handle>);

struct Handle(Arc<Shared>);

impl Checks {
    /// Starts the threads.
    pub fn start(genesis: Hash32, panics: &Panics) -> std::io::Result<Self> {
        let known = Mutex::new(Known::default());
        let shared = Arc::new(Shared { genesis, waiting: Mutex::default(), work: Condvar::new(), known });
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
        for index in 0..threads {
            let (shared, guard) = (shared.clone(), panics.guard("a thread that checks signatures"));
            std::thread::Builder::new().name(format!("checks-{index}")).spawn(move || {
                let _guard = guard;
                shared.work();
            })?;
        }
        Ok(Self(Arc::new(Handle(shared))))
    }

    /// Has a gossiped message read and checked, and `done` called with the verdicts, or with the reason why it is no such
    /// message, in one of the threads here. False, and nothing is called, where too many wait already.
    pub fn message(&self, bytes: Vec<u8>, done: impl FnOnce(Result<Checked, Refusal>) + Send + 'static) -> bool {
        self.submit(Given::Message(bytes), Box::new(done))
    }

    /// Has envelopes checked.
    ///
    /// # Errors
    /// Too many wait already.
    pub async fn check(&self, envelopes: Vec<Envelope>) -> Result<Checked, Refusal> {
        let (sender, verdicts) = oneshot::channel();
        // Whoever asked may have gone; then nobody needs the verdicts.
        if !self.submit(Given::Envelopes(envelopes), Box::new(move |checked| drop(sender.send(checked)))) {
            return Err(Refusal::Full { limit: MAX_WAITING as u64, unit: "objects that wait for a check" });
        }
        verdicts.await.map_err(|_| Refusal::Unavailable { reason: "it was not checked".to_owned() })?
    }

    fn submit(&self, given: Given, done: Done) -> bool {
        let shared = &self.0.0;
        let mut waiting = lock(&shared.waiting);
        if waiting.weight.saturating_add(given.weight()) > MAX_WAITING {
            return false;
        }
        waiting.weight += given.weight();
        waiting.jobs.push_back(Job { given, done });
        drop(waiting);
        shared.work.notify_one();
        true
    }
}

/// A test's hold on all places.
#[cfg(test)]
pub(super) struct Full(Arc<Shared>);

#[cfg(test)]
impl Checks {
    /// Takes all places, until what this gives is dropped.
    pub(super) fn fill(&self) -> Full {
        lock(&self.0.0.waiting).weight = MAX_WAITING;
        Full(self.0.0.clone())
    }
}

#[cfg(test)]
impl Drop for Full {
    fn drop(&mut self) {
        lock(&self.0.waiting).weight = 0;
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        lock(&self.0.waiting).stopped = true;
        self.0.work.notify_all();
    }
}

impl Shared {
    fn work(&self) {
        while let Some(jobs) = self.next() {
            // Whoever waits for one of these learns that there is no verdict, as its `done` is gone.
            if let Err(reason) = caught(|| self.batch(jobs)) {
                metrics::refused("check", "failed");
                tracing::error!("a batch of signatures was not checked: {reason}");
            }
        }
    }

    fn batch(&self, jobs: Vec<Job>) {
        let (mut envelopes, mut owners) = (Vec::new(), Vec::with_capacity(jobs.len()));
        for Job { given, done } in jobs {
            let given = match given {
                Given::Envelopes(envelopes) => Ok(envelopes),
                Given::Message(bytes) => wire::decode_envelopes(&bytes),
            };
            match given {
                Ok(given) => {
                    owners.push((given.len(), done));
                    envelopes.extend(given);
                }
                Err(refusal) => done(Err(refusal)),
            }
        }
        metrics::checked(envelopes.len());
        let mut verdicts = self.check(envelopes).into_iter();
        for (count, done) in owners {
            done(Ok(verdicts.by_ref().take(count).collect()));
        }
    }

    /// What waits, as much as one batch takes and at least one job; none when it is time to stop.
    fn next(&self) -> Option<Vec<Job>> {
        let mut waiting = lock(&self.waiting);
        while waiting.jobs.is_empty() {
            if waiting.stopped {
                return None;
            }
            waiting = self.work.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        let (mut jobs, mut taken) = (Vec::new(), 0);
        while let Some(job) = waiting.jobs.pop_front() {
            let weight = job.given.weight();
            if taken > 0 && taken + weight > CHECKED_AT_ONCE {
                waiting.jobs.push_front(job);
                break;
            }
            taken += weight;
            jobs.push(job);
        }
        waiting.weight = waiting.weight.saturating_sub(taken);
        Some(jobs)
    }

    fn check(&self, envelopes: Vec<Envelope>) -> Checked {
        let ids: Vec<ObjectId> = envelopes.iter().map(Envelope::id).collect();
        let is_known: Vec<bool> = {
            let known = lock(&self.known);
            ids.iter().zip(&envelopes).map(|(id, envelope)| known.holds(id, &envelope.signatures)).collect()
        };
        let (mut old, mut new) = (Vec::new(), Vec::new());
        for (envelope, known) in envelopes.into_iter().zip(&is_known) {
            if *known { old.push(envelope) } else { new.push(envelope) }
        }
        let new = Verified::check_all(new, &self.genesis);
        {
            let mut known = lock(&self.known);
            for verified in new.iter().flatten() {
                known.insert(verified.id(), verified.envelope().signatures.clone());
            }
        }
        let (mut old, mut new) = (old.into_iter().map(Verified::from_disk), new.into_iter());
        is_known.into_iter().filter_map(|known| if known { old.next() } else { new.next() }).collect()
    }
}

/// Envelopes whose signatures held: the id stands for kind and payload, so with equal signatures they are the same.
#[derive(Default)]
struct Known {
    signatures: BTreeMap<ObjectId, Vec<(Account, Signature)>>,
    order: VecDeque<ObjectId>,
}

impl Known {
    fn holds(&self, id: &ObjectId, signatures: &[(Account, Signature)]) -> bool {
        self.signatures.get(id).is_some_and(|known| known == signatures)
    }

    fn insert(&mut self, id: ObjectId, signatures: Vec<(Account, Signature)>) {
        if self.signatures.insert(id, signatures).is_none() {
            self.order.push_back(id);
        }
        if self.order.len() > MAX_KNOWN
            && let Some(oldest) = self.order.pop_front()
        {
            self.signatures.remove(&oldest);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic in a check takes nothing out of what waits or is known.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::crypto::SecretKey;
    use protocol::envelope::seal;
    use protocol::ids::DataNetId;
    use protocol::objects::{AttributionCommit, Object};
    use std::sync::mpsc::channel;

    const NETWORK: Hash32 = Hash32([3; 32]);

    fn envelope(epoch: u64) -> Envelope {
        let key = SecretKey::from_seed([1; 32]);
        let (datanet, commitment) = (DataNetId([2; 32]), Hash32([4; 32]));
        let object = AttributionCommit { validator: key.account(), epoch, datanet, commitment };
        seal(&Object::AttributionCommit(object), &[&key], &NETWORK).unwrap()
    }

    fn altered(mut envelope: Envelope) -> Envelope {
        envelope.signatures[0].1.0[5] ^= 1;
        envelope
    }

    /// Every third is wrong, and some come twice, with a good signature and with another.
    fn job(n: u64) -> Vec<Envelope> {
        let one = |i: u64| if i.is_multiple_of(3) { altered(envelope(i / 2)) } else { envelope(i / 2) };
        (n * 3..n * 3 + 7).map(one).collect()
    }

    fn start() -> Checks {
        Checks::start(NETWORK, &Panics::channel().0).unwrap()
    }

    #[test]
    fn verdicts_come_in_order_to_whoever_asked_and_are_those_of_single_checks() {
        let checks = start();
        let (sender, verdicts) = channel();
        let jobs = 40;
        for n in 0..jobs {
            let sender = sender.clone();
            let done = move |checked| sender.send((n, checked)).unwrap();
            let taken = match n % 2 {
                0 => checks.message(wire::encode_envelopes(job(n)), done),
                _ => checks.submit(Given::Envelopes(job(n)), Box::new(done)),
            };
            assert!(taken);
        }
        for _ in 0..jobs {
            let (n, checked) = verdicts.recv().unwrap();
            let single: Checked = job(n).into_iter().map(|each| Verified::check(each, &NETWORK)).collect();
            assert_eq!(checked, Ok(single), "job {n}");
        }
    }

    #[test]
    fn a_panic_costs_one_batch_and_no_thread() {
        let checks = start();
        let (sender, verdicts) = channel();
        for n in 0..2 * MAX_THREADS as u64 {
            let sender = sender.clone();
            let panics = move |_| {
                sender.send(None).unwrap();
                panic!("of a test");
            };
            assert!(checks.submit(Given::Envelopes(job(n)), Box::new(panics)));
            // One batch each.
            assert_eq!(verdicts.recv_timeout(std::time::Duration::from_secs(10)), Ok(None));
        }
        let done = move |checked: Result<Checked, Refusal>| sender.send(Some(checked.is_ok())).unwrap();
        assert!(checks.submit(Given::Envelopes(job(1)), Box::new(done)));
        assert_eq!(verdicts.recv_timeout(std::time::Duration::from_secs(10)), Ok(Some(true)));
    }

    #[test]
    fn what_is_no_message_spoils_nobody_elses_check() {
        let checks = start();
        let (sender, verdicts) = channel();
        for n in 0..20 {
            let bytes = if n % 2 == 0 { vec![9; 20] } else { wire::encode_envelopes(vec![envelope(n)]) };
            let sender = sender.clone();
            assert!(checks.message(bytes, move |checked| sender.send((n, checked)).unwrap()));
        }
        for _ in 0..20 {
            let (n, checked) = verdicts.recv().unwrap();
            let good = checked.is_ok_and(|checked| checked.len() == 1 && checked[0].is_ok());
            assert_eq!(good, n % 2 == 1, "{n}");
        }
    }

    #[test]
    fn what_is_known_is_bounded_and_says_nothing_about_other_signatures() {
        let (mut known, good) = (Known::default(), envelope(1));
        known.insert(good.id(), good.signatures.clone());
        assert!(known.holds(&good.id(), &good.signatures));
        assert!(!known.holds(&good.id(), &altered(good.clone()).signatures));
        for n in 0..MAX_KNOWN as u64 {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&n.to_be_bytes());
            known.insert(ObjectId(id), Vec::new());
        }
        assert!(!known.holds(&good.id(), &good.signatures), "the oldest is forgotten first");
        assert_eq!((known.signatures.len(), known.order.len()), (MAX_KNOWN, MAX_KNOWN));
    }

    #[test]
    fn more_than_may_wait_is_refused() {
        let checks = start();
        let never = |_| panic!("it was refused");
        assert!(!checks.submit(Given::Envelopes(vec![envelope(1); MAX_WAITING + 1]), Box::new(never)));
        assert!(!checks.message(vec![0; (MAX_WAITING + 1) * USUAL_BYTES], never));
        assert!(checks.submit(Given::Envelopes(Vec::new()), Box::new(|checked| assert_eq!(checked, Ok(Vec::new())))));
    }
}
