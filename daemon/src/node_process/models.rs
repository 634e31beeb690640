//! Models by influence, as a node uses them: their checkpoints and rows fetched, looked at, and asked what answers owe.
//!
//! A model's files come like documents: by hash, from the host that its manifest or offer names, else from any peer. What
//! they hold is looked at before anything is made of it. A builder whose files are not what they must be is refuted; a node
//! to which they do not come says nothing and tries again.

use super::content::{Content, ContentError, Shared};
use crate::metrics;
use attribution::influence::{Artifact, ArtifactError};
use attribution::tracer::{
    Checkpoint, Corpus, CorpusError, Ranked, StructureError, TraceError, Tracer, Traces, check_structure,
};
use protocol::evidence::Influence;
use protocol::ids::{ContributionId, DataNetId, Hash32, ManifestId, ModelId, ReceiptId};
use protocol::influence::{RowName, drawn_rows};
use protocol::ledger::keys;
use protocol::ledger::records::{ModelRecord, RowsOffer, RowsRecord, RowsState};
use protocol::node::Input;
use protocol::objects::{Checkpoint as CheckpointFiles, DatasetManifest, Document, Object, Receipt, Trace};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// Models whose rows are kept in memory: those that were used last.
const MAX_LOADED: usize = 4;
/// The wait after something did not come, doubled up to [`MAX_RETRY`].
const FIRST_RETRY: Duration = Duration::from_millis(250);
/// The longest wait between two tries.
const MAX_RETRY: Duration = Duration::from_secs(30);
/// Tries to look at a receipt's query, before a node says nothing of it.
const QUERY_TRIES: u32 = 8;
/// Threads that score rows.
const SCORING_THREADS: usize = 2;
/// The row that stands for all of them, where the artifact as a whole is wrong.
const FIRST_ROW: RowName = RowName { fisher: false, index: 0 };

/// The models whose rows are here.
#[derive(Debug)]
pub(super) struct Models {
    /// The one used last stands last.
    loaded: Mutex<Vec<(ModelId, Arc<Loaded>)>>,
    /// Models that are fetched for attribution.
    fetching: Mutex<BTreeSet<ModelId>>,
    /// For whoever loads a model: one at a time, as each takes much memory.
    loading: Semaphore,
    /// For whoever takes gradients: one at a time, as each takes all threads, and for a large model long.
    auditing: Semaphore,
}

/// What a model is made of.
struct Parts {
    weights: Hash32,
    checkpoint: CheckpointFiles,
    offer: RowsOffer,
    artifact: Document,
    texts: Vec<Text>,
}

/// A document of a model's training text.
struct Text {
    datanet: DataNetId,
    contribution: ContributionId,
    host: Vec<u8>,
    document: Document,
}

impl Parts {
    /// All files, each with the peer that serves it first.
    fn files(&self) -> impl Iterator<Item = (&[u8], &Document)> {
        let checkpoint = self.checkpoint.files.iter().map(|file| (self.checkpoint.host.as_slice(), file));
        let texts = self.texts.iter().map(|text| (text.host.as_slice(), &text.document));
        checkpoint.chain([(self.offer.host.as_slice(), &self.artifact)]).chain(texts)
    }
}

/// A model that can be looked at and asked.
#[derive(Debug)]
struct Loaded {
    root: Hash32,
    tracer: Tracer,
    traces: Traces,
    corpus: Corpus,
    datanets: BTreeMap<ContributionId, DataNetId>,
}

/// Why a model cannot be looked at.
#[derive(Debug, thiserror::Error)]
enum ModelError {
    #[error(transparent)]
    Content(#[from] ContentError),
    #[error("model {0} has no such rows any more")]
    Gone(ModelId),
    #[error("it is wrong: {reason}")]
    Wrong { row: RowName, reason: String },
}

impl From<storage::StoreError> for ModelError {
    fn from(error: storage::StoreError) -> Self {
        Self::Content(error.into())
    }
}

impl From<storage::BlobError> for ModelError {
    fn from(error: storage::BlobError) -> Self {
        Self::Content(error.into())
    }
}

impl Default for Models {
    fn default() -> Self {
        Self {
            loaded: Mutex::default(),
            fetching: Mutex::default(),
            loading: Semaphore::new(1),
            auditing: Semaphore::new(1),
        }
    }
}

impl Models {
    /// A model with the rows of this root: its builder may have offered others before.
    fn loaded(&self, model: &ModelId, root: &Hash32) -> Option<Arc<Loaded>> {
        let mut all = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let at = all.iter().position(|(id, found)| id == model && found.root == *root)?;
        let entry = all.remove(at);
        let found = entry.1.clone();
        all.push(entry);
        Some(found)
    }

    fn keep(&self, model: ModelId, loaded: Arc<Loaded>) {
        let mut all = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(id, _)| *id != model);
        if all.len() >= MAX_LOADED {
            all.remove(0);
        }
        all.push((model, loaded));
    }
}

impl Content {
    /// Looks at the rows that a model's builder offers, however long it takes, and tells the core.
    pub fn audit_rows(&self, model: ModelId, root: Hash32, challenged: Vec<RowName>) {
        let shared = self.shared.clone();
        self.shared.runtime.spawn(async move {
            let mut wait = FIRST_RETRY;
            loop {
                match shared.clone().rows_audited(model, root, &challenged).await {
                    Ok(wrong) => return shared.driver.input(Input::RowsAudited { model, root, wrong }).await,
                    Err(ModelError::Gone(_)) => return,
                    Err(error) => {
                        tracing::warn!(%model, wait_ms = wait.as_millis(), "rows are not looked at yet: {error}");
                        tokio::time::sleep(wait).await;
                        wait = (wait * 2).min(MAX_RETRY);
                    }
                }
            }
        });
    }

    /// Looks at a receipt's query, and tells the core.
    pub fn audit_query(&self, receipt: ReceiptId) {
        let shared = self.shared.clone();
        self.shared.runtime.spawn(async move {
            let mut wait = FIRST_RETRY;
            let mut is_wrong = false;
            for _ in 0..QUERY_TRIES {
                match shared.clone().query_audited(receipt).await {
                    Ok(found) => {
                        is_wrong = found;
                        break;
                    }
                    Err(error) => {
                        tracing::warn!(%receipt, wait_ms = wait.as_millis(), "its query is not looked at yet: {error}");
                        tokio::time::sleep(wait).await;
                        wait = (wait * 2).min(MAX_RETRY);
                    }
                }
            }
            shared.driver.input(Input::QueryAudited { receipt, is_wrong }).await;
        });
    }
}

/// What a model's training text has to do with an answer, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Influences {
    /// Does the solution not solve?
    pub refused: bool,
    /// Examples that made the answer likelier, most first.
    pub raised: Vec<InfluentialExample>,
    /// Examples that made it less likely, most first.
    pub lowered: Vec<InfluentialExample>,
    /// How many raised it.
    pub raised_count: u64,
    /// How many there are.
    pub count: u64,
}

/// A training example with its influence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InfluentialExample {
    /// In millionths of the influence of all examples that raised the answer's likelihood.
    pub parts: i64,
    /// Its text; empty where the document is not here.
    pub text: String,
    /// Who brought it.
    pub contribution: ContributionId,
    /// The hash of its document.
    pub document: Hash32,
    /// The byte at which it starts there.
    pub offset: u64,
    /// The number of its row.
    pub row: u64,
}

impl Content {
    /// What a model's training text has to do with an answer: so many examples of each sign. Nothing where the model's rows
    /// are not in memory; they are fetched then.
    pub fn influences(&self, model: &ModelId, trace: &Trace, count: usize) -> Option<Influences> {
        let root = self.shared.offer(model, None).ok()?.header.root();
        let Some(loaded) = self.shared.models.loaded(model, &root) else {
            self.shared.fetch_model(*model);
            return None;
        };
        if loaded.traces.check(&trace.query, &trace.solution).is_err() {
            return Some(Influences { refused: true, ..Influences::default() });
        }
        let scores = loaded.traces.scores(&trace.solution, SCORING_THREADS).ok()?;
        let ranked = Ranked::of(&scores, count);
        let example = |(row, parts): (usize, i64)| {
            let passage = loaded.corpus.passage(row)?;
            let text = self.shared.document_text(&passage.document).unwrap_or_default();
            Some(InfluentialExample {
                parts,
                text: text.get(passage.range.clone()).unwrap_or_default().to_owned(),
                contribution: passage.contribution,
                document: passage.document,
                offset: passage.range.start as u64,
                row: row as u64,
            })
        };
        Some(Influences {
            refused: false,
            raised: ranked.raised.into_iter().filter_map(example).collect(),
            lowered: ranked.lowered.into_iter().filter_map(example).collect(),
            raised_count: ranked.raised_count,
            count: scores.len() as u64,
        })
    }
}

impl Shared {
    /// What a receipt's influence says of a DataNet's contributions.
    pub(super) fn influence(
        self: &Arc<Self>,
        model: ModelId,
        datanet: &DataNetId,
        trace: &Trace,
    ) -> Result<Influence, ContentError> {
        let loaded = self.at_hand(model)?;
        let mut is_of_datanet = |contribution: &ContributionId| loaded.datanets.get(contribution) == Some(datanet);
        let found = loaded.traces.influence(&trace.query, &trace.solution, SCORING_THREADS, &mut is_of_datanet);
        found.map_err(|error| ContentError::Other(error.to_string()))
    }

    /// A model whose rows count, if all of it is here. More of them may be asked for in turn than stay in memory.
    fn at_hand(self: &Arc<Self>, model: ModelId) -> Result<Arc<Loaded>, ContentError> {
        let content = |error: ModelError| match error {
            ModelError::Content(error) => error,
            error => ContentError::Other(format!("model {model}: {error}")),
        };
        let root = self.offer(&model, None).map_err(content)?.header.root();
        if let Some(loaded) = self.models.loaded(&model, &root) {
            return Ok(loaded);
        }
        let is_here = self.parts(&model, None).and_then(|parts| self.is_here(&parts)).map_err(content)?;
        if !is_here {
            self.fetch_model(model);
            return Err(ContentError::Missing { what: "rows of model", id: model.into() });
        }
        self.runtime.block_on(self.clone().load(model, None)).map_err(content)
    }

    /// Gets a model here whose rows count; attribution is asked for again after the next epoch.
    fn fetch_model(self: &Arc<Self>, model: ModelId) {
        let fetching =
            |shared: &Self| shared.models.fetching.lock().unwrap_or_else(PoisonError::into_inner).insert(model);
        if !fetching(self) {
            return;
        }
        let shared = self.clone();
        self.runtime.spawn(async move {
            if let Err(error) = shared.clone().load(model, None).await {
                metrics::refused("attribution", "model");
                tracing::warn!(%model, "its rows are not here yet: {error}");
            }
            shared.models.fetching.lock().unwrap_or_else(PoisonError::into_inner).remove(&model);
        });
    }

    async fn rows_audited(
        self: Arc<Self>,
        model: ModelId,
        root: Hash32,
        challenged: &[RowName],
    ) -> Result<Option<RowName>, ModelError> {
        let loaded = match self.clone().load(model, Some(root)).await {
            Ok(loaded) => loaded,
            Err(ModelError::Wrong { row, reason }) => {
                metrics::refused("model", "artifact");
                tracing::warn!(%model, "its rows are refuted: {reason}");
                return Ok(Some(row));
            }
            Err(error) => return Err(error),
        };
        let offer = self.offer(&model, Some(&root))?;
        let beacon = offer.beacon.ok_or(ModelError::Gone(model))?;
        let mut names = drawn_rows(&beacon, &offer.header, &self.address);
        names.extend(challenged);
        let shared = self.clone();
        self.in_turn(&self.models.auditing, move || shared.first_wrong_row(&model, &loaded, names)).await?
    }

    fn first_wrong_row(
        &self,
        model: &ModelId,
        loaded: &Loaded,
        names: BTreeSet<RowName>,
    ) -> Result<Option<RowName>, ModelError> {
        let began = Instant::now();
        let count = names.len();
        let mut document: Option<(Hash32, String)> = None;
        for name in names {
            let number = match name.fisher {
                false => usize::try_from(name.index).ok(),
                true => loaded.corpus.of_fisher_row(name.index, loaded.tracer.space().dimension()),
            };
            let Some(passage) = number.and_then(|number| loaded.corpus.passage(number)) else { continue };
            let text = match document.take().filter(|(hash, _)| *hash == passage.document) {
                Some((_, text)) => text,
                None => self.document_text(&passage.document)?,
            };
            let (_, text) = document.insert((passage.document, text));
            let text = text.get(passage.range).unwrap_or_default();
            match loaded.tracer.audit(loaded.traces.artifact(), name, text) {
                Ok(()) => {}
                Err(error) if error.is_refutation() => {
                    metrics::refused("model", "row");
                    tracing::warn!(%model, "{name} is refuted: {error}");
                    return Ok(Some(name));
                }
                Err(error) => return Err(ContentError::Other(error.to_string()).into()),
            }
        }
        tracing::info!(%model, rows = count, ms = began.elapsed().as_millis(), "rows looked at, none is wrong");
        Ok(None)
    }

    async fn query_audited(self: Arc<Self>, id: ReceiptId) -> Result<bool, ModelError> {
        let shared = self.clone();
        let Object::Receipt(receipt) = self.aside(move || shared.object("receipt", id.into())).await?? else {
            return Err(ContentError::Missing { what: "receipt", id: id.into() }.into());
        };
        let loaded = self.clone().load(receipt.model, None).await?;
        self.in_turn(&self.models.auditing, move || is_wrong(&id, &receipt, &loaded)).await?
    }

    /// Works in a thread of its own, one at a time.
    async fn in_turn<T: Send + 'static>(
        &self,
        turns: &Semaphore,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ModelError> {
        let turn = turns.acquire().await.map_err(|error| ContentError::Other(error.to_string()))?;
        let done = self.aside(work).await?;
        drop(turn);
        Ok(done)
    }

    /// Works in a thread that may block: a lookup on the disk reads a whole block, and there may be thousands.
    async fn aside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, ModelError> {
        let done = self.runtime.spawn_blocking(work).await;
        done.map_err(|error| ContentError::Other(error.to_string()).into())
    }

    /// The rows that a model's builder offers, if they are of this root; of those that count, any.
    fn offer(&self, model: &ModelId, root: Option<&Hash32>) -> Result<RowsOffer, ModelError> {
        let record: RowsRecord = self.record(&keys::model_rows(model))?.ok_or(ModelError::Gone(*model))?;
        let is_wanted = match root {
            Some(_) => matches!(record.state, RowsState::Offered | RowsState::Active { .. }),
            None => matches!(record.state, RowsState::Active { .. }),
        };
        let offer = record.offer.filter(|offer| is_wanted && root.is_none_or(|root| offer.header.root() == *root));
        offer.ok_or(ModelError::Gone(*model))
    }

    fn record<T: borsh::BorshDeserialize>(&self, key: &[u8]) -> Result<Option<T>, ModelError> {
        let Some(entry) = self.store.state(key)? else { return Ok(None) };
        let record = borsh::from_slice(&entry);
        record.map(Some).map_err(|error| ContentError::Other(error.to_string()).into())
    }

    /// A model with its rows: as it is in memory, else fetched.
    async fn load(self: Arc<Self>, id: ModelId, root: Option<Hash32>) -> Result<Arc<Loaded>, ModelError> {
        let root = self.offer(&id, root.as_ref())?.header.root();
        if let Some(loaded) = self.models.loaded(&id, &root) {
            return Ok(loaded);
        }
        // Of rows that count as of those that are offered: by now their root is known.
        let shared = self.clone();
        let parts = self.aside(move || shared.parts(&id, Some(&root))).await??;
        for (host, file) in parts.files() {
            self.fetch_document(host, file).await?;
        }
        let shared = self.clone();
        self.in_turn(&self.models.loading, move || {
            // Another may have loaded it while this one waited.
            if let Some(loaded) = shared.models.loaded(&id, &root) {
                return Ok(loaded);
            }
            let opened = shared.open_model(&id, &parts).map_err(|error| shared.unless_damaged(&parts, error));
            let loaded = Arc::new(opened?);
            shared.models.keep(id, loaded.clone());
            Ok(loaded)
        })
        .await?
    }

    /// What a model is made of, by what the ledger and the objects say.
    fn parts(&self, id: &ModelId, root: Option<&Hash32>) -> Result<Parts, ModelError> {
        let offer = self.offer(id, root)?;
        let model: ModelRecord = self.record(&keys::model(id))?.ok_or(ModelError::Gone(*id))?;
        let checkpoint = model.checkpoint.ok_or(ModelError::Gone(*id))?;
        let artifact = Document { title: "the rows".to_owned(), hash: offer.artifact, bytes: offer.bytes };
        let mut texts = Vec::new();
        for source in &model.lineage {
            for manifest in self.versions(source.manifest)? {
                for contribution in &manifest.added {
                    let Object::Contribution(object) = self.object("contribution", (*contribution).into())? else {
                        return Err(ContentError::Missing { what: "contribution", id: (*contribution).into() }.into());
                    };
                    texts.extend(object.documents.into_iter().map(|document| Text {
                        datanet: source.datanet,
                        contribution: *contribution,
                        host: manifest.host.clone(),
                        document,
                    }));
                }
            }
        }
        Ok(Parts { weights: model.weights, checkpoint, offer, artifact, texts })
    }

    /// Are all files of a model here, so that it can be loaded without asking anybody?
    fn is_here(&self, parts: &Parts) -> Result<bool, ModelError> {
        for (_, file) in parts.files() {
            if self.blobs.len(&file.hash)? != Some(file.bytes) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What is wrong because a file was damaged on this disk is nobody's lie: then the error says that instead.
    fn unless_damaged(&self, parts: &Parts, error: ModelError) -> ModelError {
        if !matches!(error, ModelError::Wrong { .. }) {
            return error;
        }
        // All that are damaged, as each is missing from then on, and fetched again.
        let is_damaged = |file: &Document| !self.blobs.check(&file.hash).unwrap_or(false);
        let damaged: Vec<&Document> = parts.files().map(|(_, file)| file).filter(|file| is_damaged(file)).collect();
        damaged.first().map_or(error, |file| {
            let what = format!("{} ({}) was damaged on this disk; it is fetched again", file.title, file.hash);
            ContentError::Other(what).into()
        })
    }

    fn open_model(&self, id: &ModelId, parts: &Parts) -> Result<Loaded, ModelError> {
        let Parts { weights, checkpoint: named, offer, texts, .. } = parts;
        let began = Instant::now();
        let wrong = |reason: String| ModelError::Wrong { row: FIRST_ROW, reason };
        let folder = self.folder.join("models").join(id.to_string());
        let opened = self.open_files(&folder, &named.files, offer);
        // Everything is in memory now, or refused. What cannot be deleted is deleted before the next time.
        let _ = std::fs::remove_dir_all(&folder);
        let (checkpoint, artifact) = opened?;
        let mut corpus = Corpus::new(named.window).map_err(|error: CorpusError| wrong(error.to_string()))?;
        let mut datanets = BTreeMap::new();
        for Text { datanet, contribution, document, .. } in texts {
            let text = self.document_text(&document.hash)?;
            corpus.add(document.hash, *contribution, &text).map_err(|error| wrong(error.to_string()))?;
            datanets.insert(*contribution, *datanet);
        }
        let tracer = Tracer::new(checkpoint, offer.header.seed);
        let tracer = tracer.map_err(|error: TraceError| wrong(error.to_string()))?;
        check_structure(&artifact, &tracer, &corpus, weights).map_err(|error| ModelError::Wrong {
            row: match &error {
                StructureError::Source { part, at } => {
                    RowName { fisher: *part == attribution::tracer::Part::Fisher, index: *at }
                }
                _ => FIRST_ROW,
            },
            reason: error.to_string(),
        })?;
        let traces = Traces::new(artifact).map_err(|error| wrong(error.to_string()))?;
        tracing::info!(model = %id, rows = corpus.len(), ms = began.elapsed().as_millis(), "a model's rows are loaded");
        Ok(Loaded { root: offer.header.root(), tracer, traces, corpus, datanets })
    }

    fn open_files(
        &self,
        folder: &Path,
        files: &[Document],
        offer: &RowsOffer,
    ) -> Result<(Checkpoint, Artifact), ModelError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |error: std::io::Error| ContentError::Other(format!("{}: {error}", path.display()))
        };
        let wrong = |reason: String| ModelError::Wrong { row: FIRST_ROW, reason };
        match std::fs::remove_dir_all(folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(folder)(error).into()),
            _ => {}
        }
        let place = |hash: &Hash32, path: &Path| {
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent).map_err(io(parent))?;
            }
            match self.blobs.put_at(hash, path)? {
                true => Ok(()),
                false => Err(ModelError::Content(ContentError::Other(format!("blob {hash} is not here any more")))),
            }
        };
        for file in files {
            // The wire lets only names through that stay within a folder.
            place(&file.hash, &folder.join("checkpoint").join(&file.title))?;
        }
        let checkpoint = Checkpoint::load(&folder.join("checkpoint")).map_err(|error| wrong(error.to_string()))?;
        let rows = folder.join("rows");
        place(&offer.artifact, &rows)?;
        let artifact = Artifact::read(&rows, &offer.header.root()).map_err(|error| match error {
            ArtifactError::Io { .. } | ArtifactError::Full { .. } => ContentError::Other(error.to_string()).into(),
            error => wrong(error.to_string()),
        })?;
        Ok((checkpoint, artifact))
    }

    /// A manifest and all versions before it, oldest first.
    fn versions(&self, last: ManifestId) -> Result<Vec<DatasetManifest>, ModelError> {
        let mut versions = Vec::new();
        let mut next = Some(last);
        while let Some(id) = next {
            let Object::DatasetManifest(manifest) = self.object("manifest", id.into())? else {
                return Err(ContentError::Missing { what: "manifest", id: id.into() }.into());
            };
            next = manifest.parent;
            versions.push(manifest);
        }
        versions.reverse();
        Ok(versions)
    }

    fn document_text(&self, hash: &Hash32) -> Result<String, ContentError> {
        let missing = || ContentError::NoPeer { title: "of a model's training text".to_owned(), hash: *hash };
        let bytes = self.blobs.get(hash)?.ok_or_else(missing)?;
        String::from_utf8(bytes).map_err(|error| ContentError::Other(error.to_string()))
    }

    /// What the influences of a receipt follow from, out of the ledger.
    pub(super) fn open_trace(&self, id: &ReceiptId) -> Result<Option<Trace>, ContentError> {
        let Some(entry) = self.store.state(&keys::trace(id))? else { return Ok(None) };
        borsh::from_slice(&entry).map(Some).map_err(|error| ContentError::Other(error.to_string()))
    }
}

/// Is a receipt's query something else than its answer's gradient?
fn is_wrong(id: &ReceiptId, receipt: &Receipt, loaded: &Loaded) -> Result<bool, ModelError> {
    let Some(trace) = &receipt.trace else { return Ok(false) };
    let exponent = loaded.traces.artifact().header().exponent;
    match loaded.tracer.audit_query(&trace.query, &trace.prompt, &receipt.output, exponent) {
        Ok(()) => Ok(false),
        Err(error) if error.is_refutation() => {
            metrics::refused("receipt", "query");
            tracing::warn!(receipt = %id, "its query is refuted: {error}");
            Ok(true)
        }
        Err(error) => Err(ContentError::Other(error.to_string()).into()),
    }
}
