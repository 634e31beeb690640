//! Models by influence on the side of those who build, serve and check them: their files and training text fetched from a
//! node, rows made, answers given with what their influences follow from.
//!
//! What a model is made of is told by objects and files that are checked by their hashes, beginning with the model's id: no
//! node is trusted with it. The seed, and which rows were offered, are what the node says. Checkpoints and rows are kept in
//! the home, a folder for each model.

use crate::actions::{ActionError, NewReceipt, Remote, parse};
use crate::api::types::ModelShown;
use anyhow::Context as _;
use attribution::influence::{Artifact, Solver};
use attribution::model::{Generation, Generator, Options};
use attribution::tracer::{
    BuildOptions, Checkpoint, Corpus, Ranked, Stage, Tracer, Traces, build, check_structure, checkpoint_files,
    is_checkpoint_file,
};
use protocol::crypto::{SecretKey, document_hash, prompt_commitment};
use protocol::ids::{ContributionId, Hash32, ManifestId, ModelId, ObjectId, ReceiptId};
use protocol::influence::{Header, RowName};
use protocol::limits::{EXAMPLE_BYTES, MAX_PROMPT_BYTES};
use protocol::objects::{self, Action, Contribution, DatasetManifest, Document, ModelManifest, Object, Receipt, Trace};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What is told while something takes long.
pub type Progress<'a> = &'a mut dyn FnMut(String);

/// Why a model by influence cannot be used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence on each variant is its documentation, and names its fields")]
pub enum ModelError {
    #[error("model {model} is attributed by {method}, not by influence")]
    Method { model: ModelId, method: String },
    #[error("the seed of model {model} is not drawn yet; it is, in the epoch after the one that registered it")]
    Seed { model: ModelId },
    #[error("the rows of model {model} are {state}, not active: no receipt of it is taken")]
    NotActive { model: ModelId, state: String },
    #[error("nobody has offered rows for model {model}")]
    NoRows { model: ModelId },
    #[error("{what} came with the hash {got}, not {expected}; ask another node")]
    Hash { what: String, expected: Hash32, got: Hash32 },
    #[error("{id} is no {what}")]
    Kind { id: ObjectId, what: &'static str },
    #[error("model {model} names a file {name:?}; no checkpoint has one of this name")]
    FileName { model: ModelId, name: String },
    #[error("manifest {manifest} has the version {version}, and the one after it {next}; versions count up by one")]
    Version { manifest: ManifestId, version: u32, next: u32 },
    #[error("{path} is no regular file; remove it")]
    NotAFile { path: String },
    #[error("{folder} holds no file of a checkpoint")]
    NoFiles { folder: String },
    #[error("the checkpoint in {folder} is not the one that model {model} names")]
    OtherCheckpoint { folder: String, model: ModelId },
    #[error("a prompt of {got} bytes; a receipt takes {MAX_PROMPT_BYTES}")]
    Prompt { got: usize },
    #[error("only its builder, {builder}, offers the rows of model {model}")]
    Builder { model: ModelId, builder: String },
    #[error("the model's answer is empty; give it another prompt, or a higher --temperature")]
    Silent,
}

/// A checkpoint's files as a manifest names them, uploaded to the node.
pub fn upload_checkpoint(
    remote: &Remote,
    folder: &Path,
    window: u32,
    progress: Progress<'_>,
) -> anyhow::Result<objects::Checkpoint> {
    // Nobody else could read what does not load here.
    Checkpoint::load(folder)?;
    let mut files = Vec::new();
    for name in checkpoint_files(folder) {
        progress(format!("uploading {name}"));
        files.push(remote.upload_file(name, &folder.join(name))?);
    }
    if files.is_empty() {
        return Err(ModelError::NoFiles { folder: folder.display().to_string() }.into());
    }
    Ok(objects::Checkpoint { files, window, host: remote.host().to_vec() })
}

/// A model with its checkpoint, and the training text that its rows are of.
pub struct Lineage {
    /// The model.
    pub id: ModelId,
    /// What the node says of it: of its rows, nobody else says it.
    pub shown: ModelShown,
    manifest: ModelManifest,
    tracer: Tracer,
    corpus: Corpus,
    texts: BTreeMap<Hash32, String>,
}

impl Lineage {
    /// Fetches what a model is made of, unless it is in the home. `checkpoint` may name a folder that has it already.
    pub fn fetch(
        remote: &Remote,
        home: &Path,
        id: ModelId,
        checkpoint: Option<&Path>,
        progress: Progress<'_>,
    ) -> anyhow::Result<Self> {
        let shown = remote.model(&id)?;
        let manifest = model_manifest(remote, id)?;
        let (Some(named), Some(rows)) = (&manifest.checkpoint, &shown.rows) else {
            return Err(ModelError::Method { model: id, method: shown.method }.into());
        };
        let seed: Hash32 = parse(rows.seed.as_deref().ok_or(ModelError::Seed { model: id })?)?;
        let folder = match checkpoint {
            Some(folder) => folder.to_owned(),
            None => cache(home, &id).join("checkpoint"),
        };
        for file in &named.files {
            if !is_checkpoint_file(&file.title) {
                return Err(ModelError::FileName { model: id, name: file.title.clone() }.into());
            }
            let path = folder.join(&file.title);
            if checkpoint.is_some() && !has(&path, &file.hash) {
                return Err(ModelError::OtherCheckpoint { folder: folder.display().to_string(), model: id }.into());
            }
            progress(format!("fetching {}", file.title));
            fetch_file(remote, &file.title, file.hash, &path)?;
        }
        let checkpoint = Checkpoint::load(&folder)?;
        let mut corpus = Corpus::new(named.window)?;
        let mut texts = BTreeMap::new();
        for source in &manifest.lineage {
            for (contribution, hash, text) in lineage_texts(remote, source.manifest, progress)? {
                corpus.add(hash, contribution, &text)?;
                texts.insert(hash, text);
            }
        }
        Ok(Self { id, tracer: Tracer::new(checkpoint, seed.0)?, corpus, texts, shown, manifest })
    }

    /// How many training examples there are.
    pub fn passages(&self) -> usize {
        self.corpus.len()
    }

    /// The text of a training example, and who brought it.
    pub fn passage(&self, row: usize) -> Option<(&str, ContributionId)> {
        let passage = self.corpus.passage(row)?;
        Some((self.texts.get(&passage.document)?.get(passage.range)?, passage.contribution))
    }

    /// Makes the model's rows.
    pub fn build(&self, progress: &mut dyn FnMut(Stage, u64, u64)) -> anyhow::Result<Artifact> {
        let options = BuildOptions { checkpoint: self.manifest.weights };
        let mut text = |hash: &Hash32| {
            let missing = || std::io::Error::new(std::io::ErrorKind::NotFound, "it was not fetched");
            self.texts.get(hash).cloned().ok_or_else(missing)
        };
        Ok(build(&self.tracer, &self.corpus, options, &mut text, progress)?)
    }

    /// The model's rows, as they were offered: out of the home, else from the node.
    pub fn artifact(&self, remote: &Remote, home: &Path, progress: Progress<'_>) -> anyhow::Result<Artifact> {
        let offer = self.shown.rows.as_ref().and_then(|rows| rows.offer.as_ref());
        let offer = offer.ok_or(ModelError::NoRows { model: self.id })?;
        let path = cache(home, &self.id).join("rows");
        progress("fetching the rows".to_owned());
        fetch_file(remote, "the rows", parse(&offer.artifact)?, &path)?;
        let artifact = Artifact::read(&path, &parse(&offer.root)?)?;
        check_structure(&artifact, &self.tracer, &self.corpus, &self.manifest.weights)
            .context("the rows are not of this model")?;
        Ok(artifact)
    }

    /// Computes a row anew, and says what is wrong with it.
    pub fn audit(&self, artifact: &Artifact, name: RowName) -> anyhow::Result<Option<String>> {
        let number = match name.fisher {
            false => usize::try_from(name.index).ok(),
            true => self.corpus.of_fisher_row(name.index, self.tracer.space().dimension()),
        };
        let (text, _) =
            number.and_then(|number| self.passage(number)).with_context(|| format!("there is no {name}"))?;
        match self.tracer.audit(artifact, name, text) {
            Ok(()) => Ok(None),
            Err(error) if error.is_refutation() => Ok(Some(error.to_string())),
            Err(error) => Err(error.into()),
        }
    }

    /// Offers rows that are in the node already.
    pub fn offer(&self, remote: &Remote, builder: &SecretKey, header: Header, file: &Document) -> anyhow::Result<()> {
        let action = Action::OfferRows {
            model: self.id,
            header: Box::new(header),
            artifact: file.hash,
            bytes: file.bytes,
            host: remote.host().to_vec(),
        };
        let id = remote.operate(builder, action)?;
        remote.wait_included("offer", id, std::time::Duration::from_secs(120))?;
        Ok(())
    }
}

/// A model that answers, with what its answers' influences follow from.
pub struct Server {
    lineage: Lineage,
    traces: Traces,
    solver: Solver,
    generator: Generator,
}

/// An answer with what its influences follow from.
pub struct Traced {
    /// What was asked.
    pub prompt: String,
    /// The answer.
    pub generation: Generation,
    /// Query and solution.
    pub trace: Trace,
}

impl Server {
    /// Of a model and its rows.
    pub fn new(lineage: Lineage, artifact: Artifact) -> anyhow::Result<Self> {
        let solver = Traces::solver(&artifact)?;
        let checkpoint = lineage.tracer.checkpoint();
        let generator = Generator::new(checkpoint.model().clone(), checkpoint.tokenizer().clone());
        Ok(Self { traces: Traces::new(artifact)?, lineage, solver, generator })
    }

    /// The model.
    pub fn lineage(&self) -> &Lineage {
        &self.lineage
    }

    /// Answers a prompt, and works out what the answer's influences follow from.
    pub fn answer(&self, prompt: &str, options: &Options<'_>) -> anyhow::Result<Traced> {
        if prompt.len() > MAX_PROMPT_BYTES {
            return Err(ModelError::Prompt { got: prompt.len() }.into());
        }
        let generation = self.generator.respond(prompt, options)?;
        if generation.text.trim().is_empty() {
            return Err(ModelError::Silent.into());
        }
        let trace = self.trace(prompt, &generation.text)?;
        Ok(Traced { prompt: prompt.to_owned(), generation, trace })
    }

    /// What an answer's influences follow from, whoever gave it.
    pub fn trace(&self, prompt: &str, answer: &str) -> anyhow::Result<Trace> {
        let header = self.traces.artifact().header();
        let query = self.lineage.tracer.query(prompt, answer, header.exponent)?;
        let (solution, _) = self.solver.solve(&query, header.tolerance)?;
        let mut salt = [0; 32];
        getrandom::fill(&mut salt).map_err(|error| ActionError::Random(error.to_string()))?;
        Ok(Trace { prompt: prompt.to_owned(), salt, query, solution })
    }

    /// The training examples that matter most for an answer.
    pub fn ranked(&self, trace: &Trace, count: usize) -> anyhow::Result<Ranked> {
        Ok(Ranked::of(&self.traces.scores(&trace.solution, 2)?, count))
    }

    /// What each contribution would earn, relative to the others.
    pub fn sums(&self, trace: &Trace) -> anyhow::Result<BTreeMap<ContributionId, u128>> {
        Ok(self.traces.sums(&self.traces.scores(&trace.solution, 2)?)?)
    }

    /// Submits the receipt of an answer.
    pub fn submit(
        &self,
        remote: &Remote,
        payer: &SecretKey,
        server: &SecretKey,
        answer: Traced,
    ) -> anyhow::Result<ReceiptId> {
        let new = NewReceipt {
            price: remote.price(&self.lineage.id)?,
            prompt: answer.prompt,
            output: answer.generation.text,
            tokens_in: Some(answer.generation.tokens_in as u64),
            tokens_out: Some(answer.generation.tokens_out.max(1) as u64),
            expiry: remote.expiry()?,
        };
        let receipt = new.receipt(payer.account(), server.account())?;
        // The commitment is of the salt that the trace shows.
        let prompt = prompt_commitment(&answer.trace.salt, &answer.trace.prompt);
        let receipt = Receipt { prompt, trace: Some(Box::new(answer.trace)), ..receipt };
        Ok(remote.submit(&Object::Receipt(receipt), &[payer, server])?.into())
    }
}

/// Are a model's rows active, so that its receipts are taken?
pub fn check_active(shown: &ModelShown, model: ModelId) -> Result<(), ModelError> {
    match &shown.rows {
        Some(rows) if rows.state == "active" => Ok(()),
        Some(rows) => Err(ModelError::NotActive { model, state: rows.state.clone() }),
        None => Err(ModelError::Method { model, method: shown.method.clone() }),
    }
}

/// The window of models for which nobody said another: what a small byte-level model takes in at once.
pub const DEFAULT_WINDOW: u32 = 256;

const _: () = assert!(*EXAMPLE_BYTES.start() <= DEFAULT_WINDOW && DEFAULT_WINDOW <= *EXAMPLE_BYTES.end());

fn cache(home: &Path, model: &ModelId) -> PathBuf {
    home.join("models").join(model.to_string())
}

/// All documents of a manifest and the versions before it, in the order in which rows are made of them.
pub fn lineage_texts(
    remote: &Remote,
    manifest: ManifestId,
    progress: Progress<'_>,
) -> anyhow::Result<Vec<(ContributionId, Hash32, String)>> {
    let mut texts = Vec::new();
    for version in versions(remote, manifest)? {
        for id in version.added {
            for document in contribution(remote, id)?.documents {
                progress(format!("fetching {}", document.title));
                let text = fetch_text(remote, &document.title, document.hash)?;
                texts.push((id, document.hash, text));
            }
        }
    }
    Ok(texts)
}

/// A manifest and all versions before it, oldest first.
fn versions(remote: &Remote, last: ManifestId) -> anyhow::Result<Vec<DatasetManifest>> {
    let mut versions: Vec<DatasetManifest> = Vec::new();
    let mut next = Some(last);
    while let Some(id) = next {
        let found = dataset_manifest(remote, id)?;
        if let Some(after) = versions.last()
            && found.version.checked_add(1) != Some(after.version)
        {
            return Err(ModelError::Version { manifest: id, version: found.version, next: after.version }.into());
        }
        next = found.parent;
        versions.push(found);
    }
    versions.reverse();
    Ok(versions)
}

fn model_manifest(remote: &Remote, id: ModelId) -> anyhow::Result<ModelManifest> {
    match remote.signed(id)? {
        Object::ModelManifest(manifest) => Ok(manifest),
        _ => Err(ModelError::Kind { id: id.into(), what: "model" }.into()),
    }
}

fn dataset_manifest(remote: &Remote, id: ManifestId) -> anyhow::Result<DatasetManifest> {
    match remote.signed(id)? {
        Object::DatasetManifest(manifest) => Ok(manifest),
        _ => Err(ModelError::Kind { id: id.into(), what: "manifest" }.into()),
    }
}

fn contribution(remote: &Remote, id: ContributionId) -> anyhow::Result<Contribution> {
    match remote.signed(id)? {
        Object::Contribution(contribution) => Ok(contribution),
        _ => Err(ModelError::Kind { id: id.into(), what: "contribution" }.into()),
    }
}

/// Is a regular file there, with these bytes?
fn has(path: &Path, hash: &Hash32) -> bool {
    let is_file = std::fs::metadata(path).is_ok_and(|found| found.is_file());
    is_file && std::fs::read(path).is_ok_and(|bytes| document_hash(&bytes) == *hash)
}

/// Gets a file into the home, unless it is there.
fn fetch_file(remote: &Remote, what: &str, hash: Hash32, path: &Path) -> anyhow::Result<()> {
    if has(path, &hash) {
        return Ok(());
    }
    // A link would lead out of the home.
    if std::fs::symlink_metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(ModelError::NotAFile { path: path.display().to_string() }.into());
    }
    let bytes = fetch(remote, what, hash)?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    }
    crate::files::replace(path, &bytes, 0o644).with_context(|| format!("cannot write {}", path.display()))
}

fn fetch_text(remote: &Remote, what: &str, hash: Hash32) -> anyhow::Result<String> {
    String::from_utf8(fetch(remote, what, hash)?).with_context(|| format!("{what} is not text"))
}

fn fetch(remote: &Remote, what: &str, expected: Hash32) -> anyhow::Result<Vec<u8>> {
    let bytes = remote.client().get_bytes(&format!("/v1/blobs/{expected}"))?;
    let got = document_hash(&bytes);
    if got != expected {
        return Err(ModelError::Hash { what: what.to_owned(), expected, got }.into());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
