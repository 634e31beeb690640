//! Somebody who listens to the agreement's gossip, as anybody may: who votes, when, and whether anybody ever votes twice
//! in one place.

use super::hostile::stranger;
use super::net::{DEADLINE, Net};
use daemon::network::{self, NetworkEvent, Topic};
use protocol::block::{ValidatorSet, VotePayload, VoteStep};
use protocol::crypto::{self, SecretKey};
use protocol::genesis::canonical;
use protocol::ids::{Account, BlockId, Hash32};
use protocol::wire::{self, ConsensusMessage, SignedVote};
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Epochs whose votes are remembered: older ones reach nobody any more.
const REMEMBERED: u64 = 500;
/// Sets of validators that are remembered: a change makes two.
const SETS: usize = 4;

/// Where a vote stands: height, round, step, validator.
type Place = (u64, u32, VoteStep, Account);

#[derive(Default)]
struct Heard {
    votes: BTreeMap<Place, Option<BlockId>>,
    /// The validator that is waited for, and when it was heard.
    watched: Option<(Account, Option<Instant>)>,
    /// The names of the sets of validators that votes may be of, the latest last.
    sets: Vec<Hash32>,
    conflicts: Vec<String>,
    count: u64,
}

impl Heard {
    fn vote(&mut self, vote: &SignedVote) {
        let place = (vote.height, vote.round, vote.step, vote.validator);
        match self.votes.get(&place) {
            Some(known) if *known == vote.block => return,
            Some(known) => {
                let (height, round, step, validator) = place;
                self.conflicts.push(format!(
                    "validator {validator} signed two votes at height {height}, round {round}, {step:?}: for {known:?} \
                     and for {:?}",
                    vote.block
                ));
            }
            None => drop(self.votes.insert(place, vote.block)),
        }
        self.count += 1;
        if let Some((watched, at @ None)) = &mut self.watched
            && *watched == vote.validator
        {
            *at = Some(Instant::now());
        }
        let oldest = vote.height.saturating_sub(REMEMBERED);
        while self.votes.first_key_value().is_some_and(|((height, ..), _)| *height < oldest) {
            self.votes.pop_first();
        }
    }
}

fn is_signed(vote: &SignedVote, genesis: &Hash32, sets: &[Hash32]) -> bool {
    let SignedVote { step, height, round, block, validator, ref signature } = *vote;
    sets.iter().rev().any(|validators| {
        let payload = canonical(&VotePayload { step, height, round, block, validators: *validators, validator });
        crypto::verify(&validator, crypto::Purpose::Vote, genesis, &payload, signature)
    })
}

type Shared = Arc<(Mutex<Heard>, Condvar)>;

/// Listens from a thread of its own until it is dropped.
pub(crate) struct Observer {
    shared: Shared,
    runtime: Option<tokio::runtime::Runtime>,
}

fn lock(mutex: &Mutex<Heard>) -> MutexGuard<'_, Heard> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Observer {
    /// A peer of all nodes.
    pub(crate) fn start(net: &Net) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let config = stranger(net, 250)?;
        let shared = Shared::default();
        lock(&shared.0).sets.push(ValidatorSet::of_genesis(&net.genesis).hash());
        let (handle, mut events) = runtime.block_on(network::start(config))?;
        let (heard, genesis) = (shared.clone(), net.hash);
        runtime.spawn(async move {
            // Kept as long as events come.
            let _handle = handle;
            while let Some(event) = events.recv().await {
                // Nothing is accepted, so nothing is passed on.
                let NetworkEvent::Gossip { topic: Topic::Consensus, data, .. } = event else { continue };
                let Ok(ConsensusMessage::Vote(vote)) = wire::decode_consensus(&data) else { continue };
                let sets = lock(&heard.0).sets.clone();
                if is_signed(&vote, &genesis, &sets) {
                    lock(&heard.0).vote(&vote);
                    heard.1.notify_all();
                }
            }
        });
        let observer = Self { shared, runtime: Some(runtime) };
        net.until("the first votes heard", |_| Ok((lock(&observer.shared.0).count > 0).then_some(())))?;
        Ok(observer)
    }

    /// Votes of these validators are heard from now on.
    pub(crate) fn learn(&self, validators: &ValidatorSet) {
        let (hash, mut heard) = (validators.hash(), lock(&self.shared.0));
        if !heard.sets.contains(&hash) {
            heard.sets.push(hash);
            let old = heard.sets.len().saturating_sub(SETS);
            heard.sets.drain(..old);
        }
    }

    /// Begins to wait for a vote of this validator that was not heard before.
    pub(crate) fn watch(&self, validator: &SecretKey) {
        lock(&self.shared.0).watched = Some((validator.account(), None));
    }

    /// When the watched validator was heard.
    pub(crate) fn voted(&self) -> anyhow::Result<Instant> {
        let silent = |heard: &mut Heard| heard.watched.is_some_and(|(_, at)| at.is_none());
        let waited = self.shared.1.wait_timeout_while(lock(&self.shared.0), DEADLINE, silent);
        let (heard, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let at = heard.watched.and_then(|(_, at)| at);
        at.ok_or_else(|| {
            let seconds = DEADLINE.as_secs();
            anyhow::anyhow!("no vote of {:?} within {seconds} s, far beyond what it takes", heard.watched)
        })
    }

    /// Votes heard so far, each once.
    pub(crate) fn count(&self) -> u64 {
        lock(&self.shared.0).count
    }

    /// An error if any validator voted twice in one place, a lost disk or not.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let heard = lock(&self.shared.0);
        anyhow::ensure!(heard.conflicts.is_empty(), "{}", heard.conflicts.join("; "));
        Ok(())
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(1));
        }
    }
}
