//! How a new node takes over the state of a network instead of running its whole history: a life of its own before the
//! node's, with a network that only asks; the node goes on with the same one.
//!
//! 1. The block that a person trusts, by height and hash, is fetched from anybody.
//! 2. Of the snapshots that peers offer, at the trusted height or above, the one is chosen that most of them agree on; of
//!    equals the one that an earlier start began with, else the newest. So what one peer makes up comes last.
//! 3. A light client goes from the trusted block to the snapshot's height and the one after it, whose header names the
//!    state's root. Each peer's headers are tried apart, so that one who lies spends nobody's patience but his own; who
//!    offered a height that nobody proves is not listened to while others offer something.
//! 4. Chunks are fetched from all who offer this snapshot, at once. Each is verified alone, by the root; who sends a
//!    false one is not asked again. What is verified stays on disk: a restart goes on where it was.
//! 5. The block of that height, and the objects that the state refers to, are fetched and checked by their ids.
//! 6. All of it becomes a database, in one move.

use super::snapshots::DECIDED_AT_ONCE;
use crate::config::Config;
use crate::network::{NetworkEvent, NetworkHandle, Protocol};
use crate::trust::{Checkpoint, DAY_MS, now_ms};
use anyhow::{Context as _, bail};
use libp2p::PeerId;
use protocol::block::Block;
use protocol::envelope::Verified;
use protocol::genesis::Genesis;
use protocol::ids::{Hash32, ObjectId};
use protocol::ledger::{Changes, keys};
use protocol::light::{Bisection, LightBlock, LightClient, LightError, MAX_LIGHT_BLOCKS, Step, Window};
use protocol::objects::Envelope;
use protocol::snapshot::Plan;
use protocol::wire::{self, Request, Response};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use storage::{Beginning, Origin, RocksStore, SnapshotInfo, Staging};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long nothing may move before it is tried again.
const PAUSE: Duration = Duration::from_millis(500);
/// Chunks that are fetched at once: with their size it bounds the memory.
const CHUNKS_AT_ONCE: usize = 8;
/// Failures to answer, one after the other, after which a peer is not asked for chunks any more.
const MAX_FAILURES: u32 = 5;
/// How long one peer may take to show the headers up to a height, before the next goes on from where it came.
const HEADERS_PATIENCE: Duration = Duration::from_secs(60);
/// Rounds through all peers in which none has what is asked for before the network is taken not to have it.
const MAX_ROUNDS: u32 = 20;
/// How long one peer's answers without anything may take together before the next is asked for objects.
const IN_VAIN: Duration = Duration::from_secs(10);
/// The folder of what was gathered.
const STAGING: &str = "staging";

/// A state that peers offer.
struct Offer {
    height: u64,
    plan: Plan,
    peers: BTreeSet<PeerId>,
}

impl Offer {
    /// What names it.
    fn key(&self) -> (u64, Hash32) {
        (self.height, self.plan.hash())
    }

    fn is(&self, staged: &SnapshotInfo) -> bool {
        self.height == staged.height && self.plan.depths() == staged.depths
    }
}

/// What was offered and came to nothing, and who offered what nobody proves.
#[derive(Default)]
struct Refused {
    offers: BTreeSet<(u64, Hash32)>,
    peers: BTreeSet<PeerId>,
}

impl Refused {
    fn is_empty(&self) -> bool {
        self.offers.is_empty() && self.peers.is_empty()
    }
}

/// What a new node must know.
pub struct StateSync<'a> {
    /// Where everything goes.
    pub config: &'a Config,
    /// The network's beginning.
    pub genesis: &'a Genesis,
    /// What its person trusts.
    pub trust: Checkpoint,
    /// Whom it asks.
    pub network: NetworkHandle,
    /// Told to stop?
    pub stop: CancellationToken,
}

impl StateSync<'_> {
    /// Fetches a state and makes the database of it.
    ///
    /// # Errors
    /// The trust is too old or contradicted, the disk fails, or it was told to stop. What was verified stays.
    pub async fn run(self, events: &mut mpsc::Receiver<NetworkEvent>) -> anyhow::Result<()> {
        // Nobody is served yet: whoever asks is told so when his question is dropped.
        let drain = async { while events.recv().await.is_some() {} };
        let stop = self.stop.clone();
        tokio::select! {
            outcome = self.take_over() => outcome,
            () = stop.cancelled() => Err(anyhow::anyhow!("told to stop before the state was taken over; start again to go on")),
            () = drain => Err(anyhow::anyhow!("the network stopped")),
        }
    }

    fn staging(&self) -> PathBuf {
        self.config.storage.path.join(STAGING)
    }

    fn window(&self) -> Window {
        Window { now_ms: now_ms(), period_ms: self.config.sync.trust_days.saturating_mul(DAY_MS) }
    }

    async fn take_over(&self) -> anyhow::Result<()> {
        let began = Instant::now();
        tracing::info!(trust = %self.trust, "taking over a state: looking for peers");
        let first = self.trusted_block().await?;
        let (height, time_ms) = (first.header.height, first.header.time_ms);
        if time_ms.saturating_add(self.window().period_ms) <= now_ms() {
            bail!(LightError::Expired { height, time_ms });
        }
        let mut refused = Refused::default();
        loop {
            let offer = self.choose(&mut refused).await?;
            let height = offer.height;
            // A height that cannot be reached was made up by whoever offered it, or everybody else has pruned it.
            let Some((last, next)) = self.headers(&first, height).await? else {
                tracing::warn!(height, peers = ?offer.peers, "no peer proves the height of a state that was offered");
                refused.offers.insert(offer.key());
                refused.peers.extend(offer.peers);
                continue;
            };
            let info = SnapshotInfo { height, root: next.header.state_root, depths: offer.plan.depths() };
            let (chunks, peers) = (info.depths.len(), offer.peers.len());
            tracing::info!(height, chunks, peers, root = %info.root, "fetching a state");
            let Some(staging) = self.gather(info, &offer.peers).await? else {
                tracing::warn!(height, "nobody has the rest of this state; another is tried");
                refused.offers.insert(offer.key());
                continue;
            };
            let state = tokio::task::spawn_blocking(move || staging.state()).await??;
            let Some(block) = self.block(&last).await else {
                tracing::warn!(height, "nobody has the block of this state any more; another is tried");
                refused.offers.insert(offer.key());
                continue;
            };
            let kept = self.objects(&state).await;
            let beginning = Beginning { last, block, state, root: next.header.state_root, kept };
            self.found(beginning).await?;
            tracing::info!(height, seconds = began.elapsed().as_secs(), "the state is here; blocks follow");
            return Ok(());
        }
    }

    fn client(&self, first: &LightBlock) -> Result<LightClient, LightError> {
        let Checkpoint { height, block } = self.trust;
        LightClient::from_checkpoint(&self.genesis.hash(), height, block, first)
    }

    /// The headers of a height and of the one after it, as the trusted block vouches for them.
    async fn headers(&self, first: &LightBlock, height: u64) -> anyhow::Result<Option<(LightBlock, LightBlock)>> {
        let mut reached = (self.client(first)?, first.clone());
        if height > first.header.height {
            let Some(followed) = self.follow(reached.0, height).await? else { return Ok(None) };
            reached = followed;
        }
        let (client, last) = reached;
        Ok(self.follow(client, height.saturating_add(1)).await?.map(|(_, next)| (last, next)))
    }

    /// All peers that are there now; waits for the first.
    async fn peers(&self) -> Vec<PeerId> {
        loop {
            let peers: Vec<PeerId> = self.network.peers().into_iter().map(|peer| peer.peer).collect();
            if !peers.is_empty() {
                return peers;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn ask(&self, peer: PeerId, request: &Request) -> Option<Response> {
        let answer = self.network.request_patiently(peer, Protocol::Block, wire::encode_request(request)).await;
        let answer = answer.inspect_err(|error| tracing::debug!(%peer, "no answer: {error}")).ok()?;
        let read = wire::decode_response(&answer);
        read.inspect_err(|refusal| tracing::warn!(%peer, "an answer cannot be read: {refusal}")).ok()
    }

    async fn trusted_block(&self) -> anyhow::Result<LightBlock> {
        loop {
            for peer in self.peers().await {
                let Some(Response::Light(Some(block))) = self.ask(peer, &Request::Light(self.trust.height)).await
                else {
                    continue;
                };
                match self.client(&block) {
                    Ok(_) => return Ok(*block),
                    Err(error) => tracing::warn!(%peer, "the trusted block was not shown: {error}"),
                }
            }
            tracing::info!(height = self.trust.height, "no peer has the trusted block yet");
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// The best of the snapshots at or above the trusted height that peers offer; waits for the first.
    async fn choose(&self, refused: &mut Refused) -> anyhow::Result<Offer> {
        let folder = self.staging();
        let staged = tokio::task::spawn_blocking(move || Staging::begun(&folder)).await?;
        let mut rounds = 0_u32;
        loop {
            let mut offers: BTreeMap<(u64, Hash32), Offer> = BTreeMap::new();
            let asked = self.peers().await.into_iter().filter(|peer| !refused.peers.contains(peer));
            let told = asked.map(|peer| async move { (peer, self.ask(peer, &Request::Snapshots).await) });
            for (peer, told) in futures::future::join_all(told).await {
                let Some(Response::Snapshots(told)) = told else { continue };
                for (height, depths) in told.into_iter().filter(|(height, _)| *height >= self.trust.height) {
                    match Plan::from_depths(&depths) {
                        Ok(plan) => {
                            let offer = Offer { height, plan, peers: BTreeSet::new() };
                            offers.entry(offer.key()).or_insert(offer).peers.insert(peer);
                        }
                        Err(error) => tracing::warn!(%peer, height, "an offered snapshot is none: {error}"),
                    }
                }
            }
            offers.retain(|key, _| !refused.offers.contains(key));
            if let Some(best) = best(offers.into_values(), staged.as_ref()) {
                return Ok(best);
            }
            if !refused.is_empty() {
                tracing::warn!(
                    trust = %self.trust,
                    "no state that is offered can be reached and fetched; all are tried again. If this goes on, peers no \
                     longer have the headers after the trusted block: give a younger trusted height and hash"
                );
                *refused = Refused::default();
            } else if rounds.is_multiple_of(20) {
                tracing::info!(
                    from = self.trust.height,
                    "no peer offers a snapshot of the trusted height or above yet"
                );
            }
            rounds = rounds.saturating_add(1);
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Goes on to a height by the headers of one peer after the other, each from where the one before came; none when no
    /// peer can show it.
    async fn follow(&self, mut client: LightClient, height: u64) -> anyhow::Result<Option<(LightClient, LightBlock)>> {
        let mut faults: BTreeMap<PeerId, u32> = BTreeMap::new();
        let mut misses = 0_u32;
        while misses < MAX_ROUNDS {
            let before = client.trusted().height;
            let mut peers = self.peers().await;
            // Who showed what does not hold is asked after all others.
            peers.sort_by_key(|peer| faults.get(peer).copied().unwrap_or_default());
            for peer in peers {
                let (reached, last, fault) = self.follow_one(peer, client, height).await?;
                client = reached;
                match fault {
                    Some(error @ (LightError::Conflict { .. } | LightError::Expired { .. })) => {
                        return Err(error).context("the network's headers cannot be followed");
                    }
                    Some(LightError::TooMany) => {
                        tracing::warn!(%peer, height, "{MAX_LIGHT_BLOCKS} headers of this peer do not lead there");
                        *faults.entry(peer).or_default() += 1;
                    }
                    Some(error) => {
                        tracing::warn!(%peer, height, "a header does not hold: {error}");
                        *faults.entry(peer).or_default() += 1;
                    }
                    None => {}
                }
                if let Some(last) = last.filter(|last| last.header.height == height) {
                    return Ok(Some((client, last)));
                }
            }
            misses = if client.trusted().height > before { 0 } else { misses.saturating_add(1) };
            if misses > 0 {
                tokio::time::sleep(PAUSE).await;
            }
        }
        Ok(None)
    }

    /// As far as one peer's headers lead: the client, the last header it took, and what is wrong with the one after it.
    async fn follow_one(
        &self,
        peer: PeerId,
        client: LightClient,
        height: u64,
    ) -> anyhow::Result<(LightClient, Option<LightBlock>, Option<LightError>)> {
        let began = Instant::now();
        let mut way = Bisection::new(client, height)?;
        let mut fault = None;
        while let Step::Need(wanted) = way.step()
            && fault.is_none()
            && began.elapsed() < HEADERS_PATIENCE
            && let Some(Response::Light(Some(block))) = self.ask(peer, &Request::Light(wanted)).await
        {
            fault = way.give(self.window(), *block).err();
        }
        let (client, trail) = way.finish();
        Ok((client, trail.into_iter().next_back(), fault))
    }

    /// Fetches every chunk; none when nobody is left to ask.
    async fn gather(&self, info: SnapshotInfo, peers: &BTreeSet<PeerId>) -> anyhow::Result<Option<Staging>> {
        let (height, folder) = (info.height, self.staging());
        let mut staging = tokio::task::spawn_blocking(move || Staging::open(&folder, info)).await??;
        let (there, all) = staging.progress();
        if there > 0 {
            tracing::info!(there, all, "going on with the chunks of an earlier start");
        }
        // Who is asked, with the failures since the last success.
        let mut failures: BTreeMap<PeerId, u32> = peers.iter().map(|peer| (*peer, 0)).collect();
        let mut waiting: BTreeSet<u32> = staging.missing().into_iter().collect();
        let mut under_way = JoinSet::new();
        let mut turn = 0_usize;
        loop {
            while under_way.len() < CHUNKS_AT_ONCE {
                let at = turn.checked_rem(failures.len()).unwrap_or(0);
                let Some(peer) = failures.keys().nth(at).copied() else { break };
                let Some(index) = waiting.pop_first() else { break };
                turn = turn.wrapping_add(1);
                let (network, request) =
                    (self.network.clone(), wire::encode_request(&Request::Chunk { height, index }));
                let asked = async move { network.request_patiently(peer, Protocol::Block, request).await };
                under_way.spawn(async move { (peer, index, asked.await) });
            }
            let Some(done) = under_way.join_next().await else { break };
            let (peer, index, answer) = done?;
            let answer = answer.ok().and_then(|bytes| wire::decode_response(&bytes).ok());
            let Some(Response::Chunk(Some(bytes))) = answer else {
                waiting.insert(index);
                if let Some(failed) = failures.get_mut(&peer) {
                    *failed = failed.saturating_add(1);
                }
                failures.retain(|_, failed| *failed < MAX_FAILURES);
                tokio::time::sleep(PAUSE / 10).await;
                continue;
            };
            let taken;
            (staging, taken) = tokio::task::spawn_blocking(move || {
                let taken = staging.accept(index, &bytes);
                (staging, taken)
            })
            .await?;
            match taken? {
                Ok(()) => {
                    tracing::debug!(%peer, index, "chunk verified");
                    failures.entry(peer).and_modify(|failed| *failed = 0);
                }
                Err(error) => {
                    tracing::warn!(%peer, index, "a false chunk; this peer is not asked again: {error}");
                    failures.remove(&peer);
                    waiting.insert(index);
                }
            }
        }
        Ok(staging.missing().is_empty().then_some(staging))
    }

    /// The block of a header that is trusted; none when no peer shows it.
    async fn block(&self, last: &LightBlock) -> Option<Block> {
        let (height, id) = (last.header.height, last.header.id());
        for _ in 0..MAX_ROUNDS {
            for peer in self.peers().await {
                let Some(Response::Blocks(blocks)) = self.ask(peer, &Request::Blocks { from: height, count: 1 }).await
                else {
                    continue;
                };
                let found = blocks.into_iter().map(|(block, _)| block).find(|block| block.id() == id);
                if let Some(block) = found
                    && block.header.body == block.body.hash()
                {
                    return Some(block);
                }
            }
            tracing::info!(height, "no peer has shown the block of the state's height yet");
            tokio::time::sleep(PAUSE).await;
        }
        None
    }

    /// The objects that the state refers to by id, for hosting content and proving payouts. They are signed, so anybody
    /// may bring them. What nobody has is left out: this node then lacks some content, and says so when it matters.
    async fn objects(&self, state: &Changes) -> Vec<Envelope> {
        let kinds = [keys::DATANETS, keys::CONTRIBUTIONS, keys::MANIFESTS, keys::MODELS];
        let in_state = state.keys().filter(|key| key.first().is_some_and(|kind| kinds.contains(kind)));
        let mut wanted: BTreeSet<ObjectId> = in_state.map(|key| ObjectId(keys::last_id(key))).collect();
        let genesis = self.genesis.hash();
        let mut kept = Vec::with_capacity(wanted.len());
        let mut rounds = 0_u32;
        while !wanted.is_empty() && rounds < MAX_ROUNDS {
            let before = wanted.len();
            for peer in self.peers().await {
                let all: Vec<ObjectId> = wanted.iter().copied().collect();
                let mut in_vain = Duration::ZERO;
                for ids in all.chunks(DECIDED_AT_ONCE) {
                    let began = Instant::now();
                    let answer = self.ask(peer, &Request::Decided(ids.to_vec())).await;
                    let Some(Response::Decided(found)) = answer else { break };
                    if found.is_empty() {
                        in_vain += began.elapsed();
                        if in_vain > IN_VAIN {
                            break;
                        }
                    }
                    for envelope in found {
                        match Verified::check(envelope.clone(), &genesis) {
                            Ok(_) if wanted.remove(&envelope.id()) => kept.push(envelope),
                            Ok(_) => {}
                            Err(error) => tracing::warn!(%peer, "an object that does not hold: {error}"),
                        }
                    }
                }
            }
            if wanted.len() == before {
                rounds = rounds.saturating_add(1);
                tokio::time::sleep(PAUSE / 10).await;
            }
        }
        if !wanted.is_empty() {
            tracing::warn!(missing = wanted.len(), "objects that the state refers to are with no peer");
        }
        kept
    }

    async fn found(&self, beginning: Beginning) -> anyhow::Result<()> {
        let (database, staging) = (database(self.config), self.staging());
        let origin = Origin::of(self.genesis);
        let work = move || -> Result<(), storage::StoreError> {
            RocksStore::restore(&database, &origin, &beginning)?;
            Staging::clear(&staging)
        };
        Ok(tokio::task::spawn_blocking(work).await??)
    }
}

/// The offer that most peers stand behind; of equals the one that is staged, else the newest.
fn best(offers: impl Iterator<Item = Offer>, staged: Option<&SnapshotInfo>) -> Option<Offer> {
    offers.max_by_key(|offer| (offer.peers.len(), staged.is_some_and(|staged| offer.is(staged)), offer.height))
}

/// Where the database is.
pub fn database(config: &Config) -> PathBuf {
    config.storage.path.join("database")
}

/// Is there no database yet, so that a state is to be taken over?
pub fn is_due(config: &Config) -> Option<Checkpoint> {
    let trust = config.sync.trust?;
    if exists(&database(config)) {
        tracing::info!(%trust, "there is a database already; the trusted block is for an empty folder");
        return None;
    }
    Some(trust)
}

fn exists(folder: &Path) -> bool {
    std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some())
}
