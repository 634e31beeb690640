//! Content: fetched from whoever publishes it, verified as it arrives, checked, indexed, searched.
//!
//! A manifest's documents come from the peer that it names as host, else from any other, in slices that are checked
//! against the document's BLAKE3 hash before a byte of them is kept. What is not text is never indexed, and so never
//! attested. Attribution runs in a thread of its own, one epoch and DataNet after another.

use super::driver::DriverHandle;
use super::known::{KnownError, KnownTexts, TooMuchKnown, judge};
use crate::metrics;
use crate::network::{NetworkHandle, Protocol};
use attribution::near::Known;
use attribution::span::{
    Index, IndexError, IndexWriter, Limits, NewDocument, Occurrences, Segment, UNFOLDED, check_document,
};
use libp2p::PeerId;
use protocol::envelope::Verified;
use protocol::evidence::{Answer, Evidence, Partial};
use protocol::ids::{ContributionId, DataNetId, ManifestId, ObjectId, ReceiptId};
use protocol::ledger::keys;
use protocol::ledger::records::{Admission, AdmissionRecord, DataNetRecord, ManifestState, ManifestStatus};
use protocol::limits::MAX_MANIFEST_BYTES;
use protocol::node::Input;
use protocol::objects::{Contribution, DatasetManifest, Document, Object};
use protocol::slice::{self, Grain};
use protocol::wire::{self, Request, Response};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};
use storage::{BlobStore, Store};
use tokio::runtime::Handle;

/// Bytes of one slice: with its hashes it stays below the answer's limit.
const SLICE_BYTES: u64 = 1024 * 1024;
/// Epochs and DataNets that wait for the attribution thread; more are asked for again by the core's duties.
const WORK_QUEUE: usize = 1024;
/// The wait after a fetch that failed, doubled up to [`MAX_RETRY`].
const FIRST_RETRY: Duration = Duration::from_millis(250);
/// The longest wait between two tries.
const MAX_RETRY: Duration = Duration::from_secs(30);

/// Bytes of memory that indexing takes, about.
const INDEXING_BYTES: usize = 512 * 1024 * 1024;

/// Why a manifest's content is not here.
#[derive(Debug, thiserror::Error)]
enum ContentError {
    #[error("{what} {id} is not in the database")]
    Missing { what: &'static str, id: ObjectId },
    #[error("no peer has document {title:?} ({hash})")]
    NoPeer { title: String, hash: protocol::ids::Hash32 },
    #[error("document {title:?} of contribution {contribution} cannot be admitted: {source}")]
    Document { title: String, contribution: ContributionId, source: attribution::span::DocumentError },
    #[error(transparent)]
    Blob(#[from] storage::BlobError),
    #[error(transparent)]
    Store(#[from] storage::StoreError),
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error("the index of manifest {manifest} cannot be used: {source}")]
    Search { manifest: ManifestId, source: Box<IndexError> },
    #[error(transparent)]
    Known(#[from] KnownError),
    #[error("{0}")]
    Other(String),
}

impl ContentError {
    /// Can trying again help?
    fn is_final(&self) -> bool {
        matches!(self, Self::Document { .. } | Self::Index(IndexError::Build(_) | IndexError::DocumentTooLarge { .. }))
    }
}

/// A contribution with its place in the order of admission.
type Admitted = (u64, ContributionId, Contribution);

/// Whether all contributions of a manifest are new enough, or the first that is not.
type Verdict = Result<(), (ContributionId, TooMuchKnown)>;

/// Why it is not told how much of a contribution is known.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// More than its DataNet allows.
    #[error(transparent)]
    TooMuch(#[from] TooMuchKnown),
    /// It cannot be measured.
    #[error("it cannot be measured: {0}")]
    Failed(String),
}

struct Job {
    epoch: u64,
    datanet: DataNetId,
    receipts: Vec<ReceiptId>,
    manifests: Vec<ManifestId>,
}

/// Fetches, indexes and searches. Cheap to clone.
#[derive(Clone)]
pub struct Content {
    shared: Arc<Shared>,
    work: SyncSender<Job>,
}

struct Shared {
    store: Arc<dyn Store>,
    blobs: Arc<BlobStore>,
    network: NetworkHandle,
    driver: DriverHandle,
    runtime: Handle,
    /// Where indices are kept, a folder for each manifest.
    folder: PathBuf,
    indices: RwLock<BTreeMap<ManifestId, Arc<Index>>>,
    known: KnownTexts,
    /// Held by whoever measures for the API.
    measuring: Mutex<()>,
}

impl Content {
    /// Starts the attribution thread.
    pub fn start(
        store: Arc<dyn Store>,
        blobs: Arc<BlobStore>,
        folder: PathBuf,
        network: NetworkHandle,
        driver: DriverHandle,
        runtime: Handle,
    ) -> std::io::Result<Self> {
        std::fs::create_dir_all(&folder)?;
        let known = KnownTexts::new(folder.join("known"));
        let (work, jobs) = sync_channel(WORK_QUEUE);
        let indices = RwLock::new(BTreeMap::new());
        let shared = Arc::new(Shared {
            store,
            blobs,
            folder,
            network,
            driver,
            runtime,
            indices,
            known,
            measuring: Mutex::default(),
        });
        let worker = shared.clone();
        std::thread::Builder::new().name("attribution".to_owned()).spawn(move || worker.attribute_all(&jobs))?;
        Ok(Self { shared, work })
    }

    /// Gets a manifest's content here, however long it takes, and tells the core.
    pub fn host(&self, manifest: ManifestId) {
        self.shared.host(manifest);
    }

    /// Queues the attribution of an epoch's receipts.
    pub fn attribute(&self, epoch: u64, datanet: DataNetId, receipts: Vec<ReceiptId>, manifests: Vec<ManifestId>) {
        match self.work.try_send(Job { epoch, datanet, receipts, manifests }) {
            Ok(()) | Err(TrySendError::Disconnected(_)) => {}
            Err(TrySendError::Full(_)) => {
                metrics::refused("attribution", "full");
                tracing::warn!(epoch, datanet = %datanet, "the attribution queue is full; this epoch has to wait");
                let driver = self.shared.driver.clone();
                // This runs in the driver's own thread, which must not wait for itself.
                self.shared.runtime.spawn(async move { driver.input(Input::NotAttributed { epoch, datanet }).await });
            }
        }
    }

    /// What is known of a contribution, which has a place in the order of admission or is to get one; nothing where its
    /// documents are not all here.
    ///
    /// # Errors
    /// When more is known than its DataNet allows, if it is yet to be admitted; when it cannot be measured.
    pub fn known(&self, contribution: &Contribution, order: Option<u64>) -> Result<Option<Known>, MeasureError> {
        let shared = &self.shared;
        let failed = |error: ContentError| MeasureError::Failed(error.to_string());
        for document in &contribution.documents {
            if !shared.blobs.contains(&document.hash).map_err(|error| failed(error.into()))? {
                return Ok(None);
            }
        }
        // Before anything is opened for a DataNet that there is not.
        let limit = shared.known_limit(&contribution.datanet).map_err(failed)?;
        // One at a time: each has its documents in memory.
        let _turn = shared.measuring.lock().unwrap_or_else(PoisonError::into_inner);
        let texts = shared.texts(contribution).map_err(failed)?;
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let place = order.unwrap_or(u64::MAX);
        let known = shared.known.measure(&contribution.datanet, place, &texts).map_err(|error| failed(error.into()))?;
        match order {
            Some(_) => Ok(Some(known)),
            None => Ok(Some(judge(known, limit)?)),
        }
    }

    /// Where a passage stands in the manifests given, for people.
    pub fn explain(&self, manifests: &[ManifestId], passage: &str, around: usize) -> Occurrences {
        let indices = manifests.iter().filter_map(|manifest| Some((*manifest, self.shared.index(manifest)?)));
        let found = indices.filter_map(|(manifest, index)| match index.explain(passage, around) {
            Ok(found) => Some(found),
            Err(error) => {
                tracing::error!(manifest = %manifest, "an index cannot be used: {error}");
                None
            }
        });
        found.fold(Occurrences::default(), Occurrences::merge)
    }
}

impl Shared {
    /// Gets a manifest's content here, however long it takes, and tells the core.
    fn host(self: &Arc<Self>, manifest: ManifestId) {
        let shared = self.clone();
        self.runtime.spawn(async move {
            let mut wait = FIRST_RETRY;
            loop {
                match shared.clone().fetch_and_index(manifest).await {
                    Ok((index, verdict)) => {
                        shared.indices.write().unwrap_or_else(PoisonError::into_inner).insert(manifest, Arc::new(index));
                        let Err((contribution, known)) = verdict else {
                            return shared.driver.input(Input::Indexed { manifest }).await;
                        };
                        // Should more than two thirds attest it nevertheless, there is what attribution needs.
                        metrics::refused("content", "known");
                        return tracing::warn!(manifest = %manifest, contribution = %contribution, "not attested: {known}");
                    }
                    Err(error) if error.is_final() => {
                        metrics::refused("content", "content");
                        return tracing::warn!(manifest = %manifest, "not attested: {error}");
                    }
                    Err(error) => {
                        tracing::warn!(manifest = %manifest, wait_ms = wait.as_millis(), "content is not here yet: {error}");
                        tokio::time::sleep(wait).await;
                        wait = (wait * 2).min(MAX_RETRY);
                        if !shared.is_wanted(&manifest) {
                            return;
                        }
                    }
                }
            }
        });
    }

    fn index(&self, manifest: &ManifestId) -> Option<Arc<Index>> {
        self.indices.read().unwrap_or_else(PoisonError::into_inner).get(manifest).cloned()
    }

    fn object(&self, what: &'static str, id: ObjectId) -> Result<Object, ContentError> {
        let found = self.store.object(&id)?.ok_or(ContentError::Missing { what, id })?;
        let object = Verified::from_disk(found.envelope).map_err(|error| ContentError::Other(error.to_string()))?;
        Ok(object.object().clone())
    }

    async fn fetch_and_index(self: Arc<Self>, id: ManifestId) -> Result<(Index, Verdict), ContentError> {
        let began = Instant::now();
        let Object::DatasetManifest(manifest) = self.object("manifest", id.into())? else {
            return Err(ContentError::Missing { what: "manifest", id: id.into() });
        };
        let mut contributions = Vec::with_capacity(manifest.added.len());
        for contribution in &manifest.added {
            let Object::Contribution(object) = self.object("contribution", (*contribution).into())? else {
                return Err(ContentError::Missing { what: "contribution", id: (*contribution).into() });
            };
            for document in &object.documents {
                self.fetch(&manifest, document).await?;
            }
            contributions.push((self.order(contribution)?, *contribution, object));
        }
        contributions.sort_by_key(|(order, _, _)| *order);
        let shared = self.clone();
        let work = tokio::task::spawn_blocking(move || {
            let index = shared.open_or_build(id, &contributions)?;
            Ok::<_, ContentError>((index, shared.judge(&manifest.datanet, &contributions)?))
        });
        let (index, verdict) = work.await.map_err(|error| ContentError::Other(error.to_string()))??;
        let sum = |of: fn(&Segment) -> u64| index.segments().map(of).sum::<u64>();
        tracing::info!(
            manifest = %id, documents = sum(|segment| segment.documents().into()), words = sum(Segment::words),
            ms = began.elapsed().as_millis(), "content indexed"
        );
        metrics::indexed(sum(|segment| segment.bytes() as u64), began.elapsed());
        Ok((index, verdict))
    }

    /// The place of a contribution in the order of admission.
    fn order(&self, contribution: &ContributionId) -> Result<u64, ContentError> {
        let missing = || ContentError::Missing { what: "contribution", id: (*contribution).into() };
        let entry = self.store.state(&keys::admission(contribution))?.ok_or_else(missing)?;
        let record: AdmissionRecord =
            borsh::from_slice(&entry).map_err(|error| ContentError::Other(error.to_string()))?;
        match record.state {
            Admission::Admitted { order, .. } => Ok(order),
            _ => Err(missing()),
        }
    }

    /// Gets a document here, unless it is.
    async fn fetch(&self, manifest: &DatasetManifest, document: &Document) -> Result<(), ContentError> {
        if self.blobs.contains(&document.hash)? {
            return Ok(());
        }
        let host = PeerId::from_bytes(&manifest.host).ok();
        let others = self.network.peers().into_iter().map(|peer| peer.peer).filter(|peer| Some(*peer) != host);
        for peer in host.into_iter().chain(others) {
            match self.fetch_from(peer, document).await {
                Ok(()) => return Ok(()),
                Err(error) => tracing::debug!(%peer, document = %document.hash, "not fetched: {error}"),
            }
        }
        Err(ContentError::NoPeer { title: document.title.clone(), hash: document.hash })
    }

    async fn fetch_from(&self, peer: PeerId, document: &Document) -> Result<(), ContentError> {
        let other = |text: String| ContentError::Other(text);
        let (hash, size) = (document.hash, document.bytes);
        let mut incoming = self.blobs.begin(hash, size)?;
        let mut offset = 0;
        while offset < size {
            let len = SLICE_BYTES.min(size - offset);
            let request = wire::encode_request(&Request::Blob { hash, offset, len, size });
            let answer = self.network.request(peer, Protocol::Blob, request).await;
            let answer = answer.map_err(|error| other(error.to_string()))?;
            let Response::Blob(Some(slice)) =
                wire::decode_response(&answer).map_err(|error| other(error.to_string()))?
            else {
                return Err(other("the peer does not have it".to_owned()));
            };
            let bytes = slice::open(&hash, size, offset..offset + len, &slice, Grain::Transfer)
                .map_err(|error| other(error.to_string()))?;
            incoming.write(&bytes)?;
            offset += len;
        }
        incoming.finish()?;
        metrics::fetched(size);
        Ok(())
    }

    /// The index of a manifest's contributions, in order of admission: what is on the disk if it is that, else a new one.
    fn open_or_build(&self, id: ManifestId, contributions: &[Admitted]) -> Result<Index, ContentError> {
        let folder = self.folder.join(id.to_string());
        match Index::open(&folder) {
            Ok(index) if holds(&index, contributions)? => return Ok(index),
            Ok(_) => {
                tracing::warn!(manifest = %id, "the index on the disk is of other contributions; it is made again")
            }
            Err(IndexError::Missing { .. }) => {}
            Err(error) => tracing::warn!(manifest = %id, "the index is made again: {error}"),
        }
        match std::fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(IndexError::Io { path: folder, cause: error }.into());
            }
            _ => {}
        }
        let mut documents = contributions.iter().flat_map(|(order, id, contribution)| {
            contribution
                .documents
                .iter()
                .zip(0_u32..)
                .map(move |(document, number)| (*order, *id, contribution, document, number))
        });
        let next = || {
            let next = documents.next();
            next.map(|(order, id, contribution, document, number)| {
                self.new_document(order, id, contribution, document, number)
            })
            .transpose()
        };
        let mut writer = IndexWriter::create(&folder, UNFOLDED)?;
        writer.add(&Limits { memory_bytes: INDEXING_BYTES, ..Limits::default() }, next, |_| ())?;
        Ok(Index::open(&folder)?)
    }

    /// Takes in what contributions say, one after the other in the order of their admission, up to the first of which more
    /// is known than their DataNet allows.
    fn judge(&self, datanet: &DataNetId, contributions: &[Admitted]) -> Result<Verdict, ContentError> {
        let limit = self.known_limit(datanet)?;
        for (order, id, contribution) in contributions {
            if self.known.holds(datanet, *order, id)? {
                continue;
            }
            let texts = self.texts(contribution)?;
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            if let Err(known) = judge(self.known.measure(datanet, *order, &texts)?, limit) {
                return Ok(Err((*id, known)));
            }
            self.known.add(datanet, *order, *id, &texts)?;
        }
        Ok(Ok(()))
    }

    /// How much of a contribution may be known, in basis points.
    fn known_limit(&self, datanet: &DataNetId) -> Result<u32, ContentError> {
        let missing = || ContentError::Missing { what: "DataNet", id: (*datanet).into() };
        let entry = self.store.state(&keys::datanet(datanet))?.ok_or_else(missing)?;
        let record: DataNetRecord =
            borsh::from_slice(&entry).map_err(|error| ContentError::Other(error.to_string()))?;
        Ok(record.max_known_basis_points)
    }

    /// The texts of a contribution, whose documents are here.
    fn texts(&self, contribution: &Contribution) -> Result<Vec<String>, ContentError> {
        // What a contribution says of its documents' lengths is not known to be true here.
        let mut read = 0;
        let text = |document: &Document| {
            let missing = || ContentError::NoPeer { title: document.title.clone(), hash: document.hash };
            let bytes = self.blobs.get(&document.hash)?.ok_or_else(missing)?;
            read += bytes.len() as u64;
            if read > MAX_MANIFEST_BYTES {
                return Err(ContentError::Other(format!("its documents have more than {MAX_MANIFEST_BYTES} bytes")));
            }
            String::from_utf8(bytes).map_err(|error| ContentError::Other(error.to_string()))
        };
        contribution.documents.iter().map(text).collect()
    }

    fn new_document(
        &self,
        order: u64,
        id: ContributionId,
        contribution: &Contribution,
        document: &Document,
        number: u32,
    ) -> Result<NewDocument, ContentError> {
        let missing = || ContentError::NoPeer { title: document.title.clone(), hash: document.hash };
        let bytes = self.blobs.get(&document.hash)?.ok_or_else(missing)?;
        check_document(&bytes).map_err(|source| ContentError::Document {
            title: document.title.clone(),
            contribution: id,
            source,
        })?;
        Ok(NewDocument {
            order,
            contribution: id,
            document: number,
            contributor: contribution.contributor.0,
            name: document.title.clone(),
            contributor_name: contribution.credit.clone(),
            text: String::from_utf8(bytes).map_err(|error| ContentError::Other(error.to_string()))?,
        })
    }

    /// Is attribution of this epoch still awaited? A database that cannot tell is found out elsewhere.
    fn is_open(&self, epoch: u64, datanet: &DataNetId) -> bool {
        self.store.state(&keys::work(epoch, datanet)).map_or(true, |work| work.is_some())
    }

    /// Is a manifest still to be held? One that another took the place of is not.
    fn is_wanted(&self, manifest: &ManifestId) -> bool {
        let Ok(Some(entry)) = self.store.state(&keys::manifest_status(manifest)) else { return true };
        let status: Result<ManifestStatus, _> = borsh::from_slice(&entry);
        !status.is_ok_and(|status| matches!(status.state, ManifestState::Superseded { .. }))
    }

    fn attribute_all(self: &Arc<Self>, jobs: &Receiver<Job>) {
        while let Ok(job) = jobs.recv() {
            let began = Instant::now();
            let (epoch, datanet, count) = (job.epoch, job.datanet, job.receipts.len());
            if !self.is_open(epoch, &datanet) {
                // Settled or refunded while it waited: whoever is behind catches up by leaving dead work.
                continue;
            }
            match self.attribute(job) {
                Ok(evidence) => {
                    metrics::attributed(count, began.elapsed());
                    self.driver.input_blocking(Input::Attributed { epoch, datanet, evidence });
                }
                Err(error) => {
                    metrics::refused("attribution", "failed");
                    tracing::error!(epoch, datanet = %datanet, "attribution failed: {error}");
                    if let ContentError::Search { manifest, .. } = error {
                        self.make_again(manifest);
                    }
                    self.driver.input_blocking(Input::NotAttributed { epoch, datanet });
                }
            }
        }
    }

    /// Gives up an index that is damaged, and makes it again from the documents.
    fn make_again(self: &Arc<Self>, manifest: ManifestId) {
        self.indices.write().unwrap_or_else(PoisonError::into_inner).remove(&manifest);
        if let Err(error) = std::fs::remove_dir_all(self.folder.join(manifest.to_string())) {
            tracing::error!(manifest = %manifest, "the damaged index cannot be deleted: {error}");
        }
        self.host(manifest);
    }

    fn attribute(&self, job: Job) -> Result<Vec<(ReceiptId, Evidence)>, ContentError> {
        let index = |id: &ManifestId| {
            let index = self.index(id).ok_or(ContentError::Missing { what: "index of manifest", id: (*id).into() })?;
            Ok::<_, ContentError>((*id, index))
        };
        let indices = job.manifests.iter().map(index).collect::<Result<Vec<_>, _>>()?;
        let mut answers = self.answers(job.epoch)?;
        let mut all = Vec::with_capacity(job.receipts.len());
        for id in job.receipts {
            let found = answers.remove(&id).map_or_else(|| self.open_answer(&id), |answer| Ok(Some(answer)))?;
            let output = found.ok_or(ContentError::Missing { what: "receipt", id: id.into() })?;
            let answer = Answer::new(&output).map_err(|error| ContentError::Other(error.to_string()))?;
            let mut found = Partial::empty(&answer);
            for (manifest, index) in &indices {
                let more = index.evidence(&answer);
                let more =
                    more.map_err(|source| ContentError::Search { manifest: *manifest, source: source.into() })?;
                found = found.combine(&more).map_err(|error| ContentError::Other(error.to_string()))?;
            }
            all.push((id, found.into_evidence(job.datanet)));
        }
        Ok(all)
    }

    /// The answer of a receipt that is not settled, out of the ledger: a node that took over a state never had its block.
    fn open_answer(&self, id: &ReceiptId) -> Result<Option<String>, ContentError> {
        let Some(entry) = self.store.state(&keys::answer(id))? else { return Ok(None) };
        borsh::from_slice(&entry).map(Some).map_err(|error| ContentError::Other(error.to_string()))
    }

    /// The answers of all receipts that an epoch sealed. One reading of its block serves them all: looked up one by
    /// one, each would have the whole block decoded again.
    fn answers(&self, epoch: u64) -> Result<BTreeMap<ReceiptId, String>, ContentError> {
        let Some((block, _)) = self.store.block(epoch)? else { return Ok(BTreeMap::new()) };
        let mut answers = BTreeMap::new();
        for envelope in block.body.envelopes {
            let object = Verified::from_disk(envelope).map_err(|error| ContentError::Other(error.to_string()))?;
            if let Object::Receipt(receipt) = object.object() {
                answers.insert(object.id().into(), receipt.output.clone());
            }
        }
        Ok(answers)
    }
}

/// Does an index hold just the documents of these contributions, at these places in the order of admission?
fn holds(index: &Index, contributions: &[Admitted]) -> Result<bool, IndexError> {
    let wanted = contributions.iter().flat_map(|(order, id, contribution)| {
        (0_u32..).zip(&contribution.documents).map(|(number, _)| (*order, *id, number))
    });
    let mut held = Vec::new();
    for segment in index.segments() {
        for number in 0..segment.documents() {
            let record = segment.document(number)?;
            held.push((record.order, segment.contribution(record.contribution)?, record.document));
        }
    }
    held.sort_unstable();
    Ok(held.into_iter().eq(wanted))
}
