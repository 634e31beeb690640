//! Content, as it is used: searched for what answers owe to it, explained, and compared with what is new.
//!
//! How it comes here is told in `hosting`. Attribution runs in a thread of its own, one epoch and DataNet after
//! another.

use super::alive::{PanicGuard, caught};
use super::driver::DriverHandle;
use super::hosting::{FETCHED_AT_ONCE, MAX_FOLDED_BYTES};
use super::known::{KnownError, KnownTexts, TooMuchKnown, judge};
use super::models::Models;
use super::quote::{self, Quote};
use crate::metrics;
use crate::network::NetworkHandle;
use attribution::near::Known;
use attribution::span::{Index, IndexError, Occurrences};
use protocol::envelope::Verified;
use protocol::evidence::{Answer, AnswerTooLong, Evidence, Holder, Partial, fold_answer};
use protocol::fold::fold;
use protocol::ids::{Account, ContributionId, DataNetId, Hash32, ManifestId, ModelId, ObjectId, ReceiptId};
use protocol::ledger::keys;
use protocol::ledger::records::ReceiptRecord;
use protocol::node::Input;
use protocol::objects::{Contribution, Object, Trace};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;
use storage::{BlobStore, Store};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

/// Epochs and DataNets that wait for the attribution thread; more are asked for again by the core's duties.
const WORK_QUEUE: usize = 1024;
/// Why a manifest's content is not here.
#[derive(Debug, thiserror::Error)]
pub(super) enum ContentError {
    #[error("{what} {id} is not in the database")]
    Missing { what: &'static str, id: ObjectId },
    #[error("no peer has document {title:?} ({hash})")]
    NoPeer { title: String, hash: Hash32 },
    #[error("document {title:?} of contribution {contribution} cannot be admitted: {source}")]
    Document { title: String, contribution: ContributionId, source: attribution::span::DocumentError },
    #[error("document {title:?} of contribution {contribution} has {got} bytes, and not the {said} that it says")]
    Length { title: String, contribution: ContributionId, said: u64, got: u64 },
    #[error("the texts of contribution {contribution:?} take more than {MAX_FOLDED_BYTES} bytes once they are folded")]
    Folded { contribution: String },
    #[error("its turn is over; what came of it is gone on with")]
    TurnOver,
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
    pub(super) shared: Arc<Shared>,
    work: SyncSender<Job>,
}

pub(super) struct Shared {
    pub(super) store: Arc<dyn Store>,
    pub(super) blobs: Arc<BlobStore>,
    pub(super) network: NetworkHandle,
    pub(super) driver: DriverHandle,
    pub(super) runtime: Handle,
    /// Where indices are kept, a folder for each manifest.
    pub(super) folder: PathBuf,
    pub(super) indices: RwLock<BTreeMap<ManifestId, Arc<Index>>>,
    pub(super) known: KnownTexts,
    pub(super) models: Models,
    /// This node's account, by which rows are drawn.
    pub(super) address: Account,
    /// For whoever fetches a manifest's documents.
    pub(super) fetching: Semaphore,
    /// For whoever indexes a manifest and takes in what it says: one at a time, as each has much in memory.
    pub(super) indexing: Semaphore,
    /// For whoever measures a contribution for the API: one at a time, for the same reason.
    measuring: Arc<Semaphore>,
}

impl Content {
    /// Starts the attribution thread. To be called where tasks can be started.
    pub fn start(
        store: Arc<dyn Store>,
        blobs: Arc<BlobStore>,
        folder: PathBuf,
        network: NetworkHandle,
        driver: DriverHandle,
        address: Account,
        guard: PanicGuard,
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
            runtime: Handle::current(),
            indices,
            known,
            models: Models::default(),
            address,
            fetching: Semaphore::new(FETCHED_AT_ONCE),
            indexing: Semaphore::new(1),
            measuring: Arc::new(Semaphore::new(1)),
        });
        let worker = shared.clone();
        std::thread::Builder::new().name("attribution".to_owned()).spawn(move || {
            let _guard = guard;
            worker.attribute_all(&jobs);
        })?;
        Ok(Self { shared, work })
    }

    /// Gets a manifest's content here, however long it takes, and tells the core.
    pub fn host(&self, manifest: ManifestId) {
        self.shared.host(manifest);
    }

    /// Queues the attribution of an epoch's receipts.
    pub fn attribute(&self, epoch: u64, datanet: DataNetId, receipts: Vec<ReceiptId>, manifests: Vec<ManifestId>) {
        match self.work.try_send(Job { epoch, datanet, receipts, manifests }) {
            Ok(()) => {}
            Err(error) => {
                let (code, reason) = match error {
                    TrySendError::Full(_) => ("full", "the attribution queue is full"),
                    TrySendError::Disconnected(_) => ("ended", "the attribution thread has ended"),
                };
                metrics::refused("attribution", code);
                tracing::warn!(epoch, datanet = %datanet, "this epoch has to wait: {reason}");
                let driver = self.shared.driver.clone();
                // This runs in the driver's own thread, which must not wait for itself.
                self.shared.runtime.spawn(async move { driver.input(Input::NotAttributed { epoch, datanet }).await });
            }
        }
    }

    /// What is known of a contribution, which has a place in the order of admission or is to get one; nothing where its
    /// documents are not all here. Waits while another is measured.
    ///
    /// # Errors
    /// When more is known than its DataNet allows, if it is yet to be admitted; when it cannot be measured.
    pub async fn known(&self, contribution: Contribution, order: Option<u64>) -> Result<Option<Known>, MeasureError> {
        let failed = |error: String| MeasureError::Failed(error);
        // A task that is given up while it waits leaves no thread behind.
        let turn = self.shared.measuring.clone().acquire_owned().await.map_err(|error| failed(error.to_string()))?;
        let shared = self.shared.clone();
        let work = self.shared.runtime.spawn_blocking(move || {
            let known = shared.known_of(&contribution, order);
            drop(turn);
            known
        });
        work.await.map_err(|error| failed(error.to_string()))?
    }

    /// Where a passage stands in the manifests given, for people.
    pub fn explain(&self, manifests: &[ManifestId], passage: &str) -> Occurrences {
        let folded = fold(passage);
        let indices = manifests.iter().filter_map(|manifest| Some((*manifest, self.shared.index(manifest)?)));
        let found = indices.filter_map(|(manifest, index)| match index.explain(folded.text(), 0) {
            Ok(found) => Some(found),
            Err(error) => {
                tracing::error!(manifest = %manifest, "an index cannot be used: {error}");
                None
            }
        });
        found.fold(Occurrences::default(), Occurrences::merge)
    }

    /// A passage as its document has it, for people, with up to so many bytes of text on each side: the passage of so many
    /// bytes of folded text that stands where a holder says, in a document with this hash. Nothing where it is not here.
    pub fn quote(
        &self,
        manifests: &[ManifestId],
        holder: &Holder,
        length: u32,
        document: &Hash32,
        around: u64,
    ) -> Option<Quote> {
        let indices = manifests.iter().filter_map(|manifest| self.shared.index(manifest));
        let range = indices.filter_map(|index| index.original(holder, length.into()).ok()).next()?;
        quote::read(&self.shared.blobs, document, range, around)
    }
}

impl Shared {
    fn known_of(&self, contribution: &Contribution, order: Option<u64>) -> Result<Option<Known>, MeasureError> {
        let failed = |error: ContentError| MeasureError::Failed(error.to_string());
        for document in &contribution.documents {
            if self.blobs.len(&document.hash).map_err(|error| failed(error.into()))? != Some(document.bytes) {
                return Ok(None);
            }
        }
        // Before anything is opened for a DataNet that there is not.
        let limit = self.known_limit(&contribution.datanet).map_err(failed)?;
        let texts = self.texts(contribution).map_err(failed)?;
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let place = order.unwrap_or(u64::MAX);
        let known = self.known.measure(&contribution.datanet, place, &texts).map_err(|error| failed(error.into()))?;
        match order {
            Some(_) => Ok(Some(known)),
            None => Ok(Some(judge(known, limit)?)),
        }
    }

    fn index(&self, manifest: &ManifestId) -> Option<Arc<Index>> {
        self.indices.read().unwrap_or_else(PoisonError::into_inner).get(manifest).cloned()
    }

    pub(super) fn object(&self, what: &'static str, id: ObjectId) -> Result<Object, ContentError> {
        let found = self.store.object(&id)?.ok_or(ContentError::Missing { what, id })?;
        let object = Verified::from_disk(found.envelope).map_err(|error| ContentError::Other(error.to_string()))?;
        Ok(object.object().clone())
    }

    /// Is attribution of this epoch still awaited? A database that cannot tell is found out elsewhere.
    fn is_open(&self, epoch: u64, datanet: &DataNetId) -> bool {
        self.store.state(&keys::work(epoch, datanet)).map_or(true, |work| work.is_some())
    }

    fn attribute_all(self: &Arc<Self>, jobs: &Receiver<Job>) {
        while let Ok(job) = jobs.recv() {
            let began = Instant::now();
            let (epoch, datanet, count) = (job.epoch, job.datanet, job.receipts.len());
            if !self.is_open(epoch, &datanet) {
                // Settled or refunded while it waited: whoever is behind catches up by leaving dead work.
                continue;
            }
            let found = caught(|| self.attribute(job)).unwrap_or_else(|reason| Err(ContentError::Other(reason)));
            match found {
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

    fn attribute(self: &Arc<Self>, job: Job) -> Result<Vec<(ReceiptId, Evidence)>, ContentError> {
        let index = |id: &ManifestId| {
            let index = self.index(id).ok_or(ContentError::Missing { what: "index of manifest", id: (*id).into() })?;
            Ok::<_, ContentError>((*id, index))
        };
        let indices = job.manifests.iter().map(index).collect::<Result<Vec<_>, _>>()?;
        let mut sealed = self.sealed(job.epoch)?;
        let mut wanted = Vec::with_capacity(job.receipts.len());
        for id in &job.receipts {
            let found = sealed.remove(id).map_or_else(|| self.open_receipt(id), |sealed| Ok(Some(sealed)))?;
            wanted.push((*id, found.ok_or(ContentError::Missing { what: "receipt", id: (*id).into() })?));
        }
        // Model by model, as not all of them fit into memory.
        wanted.sort_by_key(|(_, sealed)| sealed.trace.as_ref().map(|(model, _)| *model));
        let mut found = BTreeMap::new();
        for (id, sealed) in wanted {
            found.insert(id, self.evidence(&sealed, &job.datanet, &indices)?);
        }
        Ok(job.receipts.into_iter().filter_map(|id| Some((id, found.remove(&id)?))).collect())
    }

    /// What an answer owes to a DataNet: by influence where its receipt has a trace, else by its passages.
    fn evidence(
        self: &Arc<Self>,
        sealed: &Sealed,
        datanet: &DataNetId,
        indices: &[(ManifestId, Arc<Index>)],
    ) -> Result<Evidence, ContentError> {
        let too_long = |error: AnswerTooLong| ContentError::Other(error.to_string());
        let folded = fold_answer(&sealed.output).map_err(too_long)?;
        let answer = Answer::of(&folded).map_err(too_long)?;
        let mut found = Partial::empty(&answer);
        if let Some((model, trace)) = &sealed.trace {
            let influence = self.influence(*model, datanet, trace)?;
            return Ok(Evidence { influence, ..found.into_evidence(&answer, *datanet) });
        }
        for (manifest, index) in indices {
            let more = index.evidence(&answer);
            let more = more.map_err(|source| ContentError::Search { manifest: *manifest, source: source.into() })?;
            found = found.combine(&answer, &more).map_err(|error| ContentError::Other(error.to_string()))?;
        }
        Ok(found.into_evidence(&answer, *datanet))
    }

    /// A receipt that is not settled, out of the ledger: a node that took over a state never had its block.
    fn open_receipt(&self, id: &ReceiptId) -> Result<Option<Sealed>, ContentError> {
        let Some(answer) = self.store.state(&keys::answer(id))? else { return Ok(None) };
        let other = |error: std::io::Error| ContentError::Other(error.to_string());
        let output = borsh::from_slice(&answer).map_err(other)?;
        let Some(trace) = self.open_trace(id)? else { return Ok(Some(Sealed { output, trace: None })) };
        let missing = || ContentError::Missing { what: "receipt", id: (*id).into() };
        let record = self.store.state(&keys::receipt(id))?.ok_or_else(missing)?;
        let record: ReceiptRecord = borsh::from_slice(&record).map_err(other)?;
        Ok(Some(Sealed { output, trace: Some((record.model, Box::new(trace))) }))
    }

    /// All receipts that an epoch sealed. One reading of its block serves them all: looked up one by one, each would have
    /// the whole block decoded again.
    fn sealed(&self, epoch: u64) -> Result<BTreeMap<ReceiptId, Sealed>, ContentError> {
        let Some((block, _)) = self.store.block(epoch)? else { return Ok(BTreeMap::new()) };
        let mut sealed = BTreeMap::new();
        for envelope in block.body.envelopes {
            let object = Verified::from_disk(envelope).map_err(|error| ContentError::Other(error.to_string()))?;
            if let Object::Receipt(receipt) = object.object() {
                let trace = receipt.trace.clone().map(|trace| (receipt.model, trace));
                sealed.insert(object.id().into(), Sealed { output: receipt.output.clone(), trace });
            }
        }
        Ok(sealed)
    }
}

/// What attribution needs of a receipt.
struct Sealed {
    output: String,
    /// Of a model by influence: which, and what influences follow from.
    trace: Option<(ModelId, Box<Trace>)>,
}
