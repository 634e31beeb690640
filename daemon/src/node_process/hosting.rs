//! How content comes here: fetched from whoever publishes it, verified as it arrives, checked, indexed, compared with what
//! is known.
//!
//! A manifest's documents come from the peer that it names as host, else from any other, in slices that are checked
//! against the document's BLAKE3 hash before a byte of them is kept. What is not text, or not as long as its contribution
//! says, is never indexed, and so never attested. Neither is a manifest of which too much is known; should more than two
//! thirds attest it nevertheless, it counts, and is taken in like any other.

use super::content::{ContentError, Shared};
use super::known::{TooMuchKnown, judge};
use crate::metrics;
use crate::network::Protocol;
use attribution::span::{FOLDED, Index, IndexError, IndexWriter, Limits, NewDocument, Segment, check_document};
use libp2p::PeerId;
use protocol::fold::fold;
use protocol::ids::{ContributionId, DataNetId, ManifestId};
use protocol::ledger::keys;
use protocol::ledger::records::{Admission, AdmissionRecord, DataNetRecord, ManifestState, ManifestStatus};
use protocol::limits::MAX_MANIFEST_BYTES;
use protocol::node::Input;
use protocol::objects::{Contribution, DatasetManifest, Document, Object};
use protocol::slice::{self, Grain};
use protocol::wire::{self, Request, Response};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

/// Bytes of one slice: with its hashes it stays below the answer's limit.
const SLICE_BYTES: u64 = 1024 * 1024;
/// The wait after a fetch that failed, doubled up to [`MAX_RETRY`].
const FIRST_RETRY: Duration = Duration::from_millis(250);
/// The longest wait between two tries.
const MAX_RETRY: Duration = Duration::from_secs(30);
/// Bytes of memory that indexing takes, about.
const INDEXING_BYTES: usize = 512 * 1024 * 1024;

/// Bytes of a contribution's folded texts together. Folding hardly lengthens what people write.
pub(super) const MAX_FOLDED_BYTES: u64 = 2 * MAX_MANIFEST_BYTES;

/// A contribution with its place in the order of admission.
type Admitted = (u64, ContributionId, Contribution);

/// What comes of taking in a manifest.
enum TakenIn {
    /// It is indexed, and what it says is known from now on.
    Whole,
    /// It is proposed, and of this contribution of it too much is known.
    TooMuchKnown(ContributionId, TooMuchKnown),
    /// Another took its place meanwhile.
    NotWanted,
}

impl ContentError {
    /// Can trying again help?
    fn is_final(&self) -> bool {
        matches!(
            self,
            Self::Document { .. }
                | Self::Length { .. }
                | Self::Folded { .. }
                | Self::Index(IndexError::Build(_) | IndexError::DocumentTooLarge { .. })
        )
    }
}

impl Shared {
    /// Gets a manifest's content here, however long it takes, and tells the core.
    pub(super) fn host(self: &Arc<Self>, manifest: ManifestId) {
        let shared = self.clone();
        self.runtime.spawn(async move {
            let mut wait = FIRST_RETRY;
            loop {
                // In a task of its own, so that a panic is one failure more.
                let taken_in = tokio::spawn(shared.clone().take_in(manifest)).await;
                match taken_in.unwrap_or_else(|error| Err(ContentError::Other(error.to_string()))) {
                    Ok(TakenIn::Whole) => return shared.driver.input(Input::Indexed { manifest }).await,
                    Ok(TakenIn::NotWanted) => return,
                    Ok(TakenIn::TooMuchKnown(contribution, known)) => {
                        metrics::refused("content", "known");
                        tracing::warn!(manifest = %manifest, contribution = %contribution, "not attested: {known}");
                        // Others may measure less, and attest it.
                        loop {
                            tokio::time::sleep(MAX_RETRY).await;
                            if !matches!(shared.state_of(&manifest), Some(ManifestState::Proposed)) {
                                break;
                            }
                        }
                    }
                    Err(error) if error.is_final() => {
                        metrics::refused("content", "content");
                        return tracing::warn!(manifest = %manifest, "not attested: {error}");
                    }
                    Err(error) => {
                        tracing::warn!(manifest = %manifest, wait_ms = wait.as_millis(), "content is not here yet: {error}");
                        tokio::time::sleep(wait).await;
                        wait = (wait * 2).min(MAX_RETRY);
                    }
                }
            }
        });
    }

    async fn take_in(self: Arc<Self>, id: ManifestId) -> Result<TakenIn, ContentError> {
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
                if !self.is_wanted(&id) {
                    return Ok(TakenIn::NotWanted);
                }
                self.fetch(&manifest, *contribution, document).await?;
            }
            contributions.push((self.order(contribution)?, *contribution, object));
        }
        contributions.sort_by_key(|(order, _, _)| *order);
        let turn = self.indexing.acquire().await.map_err(|error| ContentError::Other(error.to_string()))?;
        let shared = self.clone();
        let work = tokio::task::spawn_blocking(move || {
            shared.remove_superseded();
            if !shared.is_wanted(&id) {
                return Ok(TakenIn::NotWanted);
            }
            shared.index_and_judge(id, &manifest.datanet, &contributions, began)
        });
        let taken_in = work.await.map_err(|error| ContentError::Other(error.to_string()))?;
        drop(turn);
        taken_in
    }

    fn index_and_judge(
        &self,
        id: ManifestId,
        datanet: &DataNetId,
        contributions: &[Admitted],
        began: Instant,
    ) -> Result<TakenIn, ContentError> {
        let index = self.open_or_build(id, contributions)?;
        let sum = |of: fn(&Segment) -> u64| index.segments().map(of).sum::<u64>();
        let bytes = sum(|segment| segment.bytes() as u64);
        tracing::info!(
            manifest = %id, documents = sum(|segment| segment.documents().into()), words = sum(Segment::words),
            ms = began.elapsed().as_millis(), "content indexed"
        );
        metrics::indexed(bytes, began.elapsed());
        self.indices.write().unwrap_or_else(PoisonError::into_inner).insert(id, Arc::new(index));
        // What counts already is not judged any more.
        let is_judged = !matches!(self.state_of(&id), Some(ManifestState::Active { .. }));
        match self.learn(datanet, contributions, is_judged)? {
            None => Ok(TakenIn::Whole),
            Some((contribution, known)) => Ok(TakenIn::TooMuchKnown(contribution, known)),
        }
    }

    /// Deletes the indices of manifests that another took the place of; no attribution ever asked for them.
    fn remove_superseded(&self) {
        let Ok(entries) = std::fs::read_dir(&self.folder) else { return };
        for entry in entries.flatten() {
            let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<ManifestId>().ok()) else {
                continue;
            };
            if self.is_wanted(&id) {
                continue;
            }
            self.indices.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
            if let Err(error) = std::fs::remove_dir_all(entry.path()) {
                tracing::warn!(manifest = %id, "the index of a superseded manifest cannot be deleted: {error}");
            }
        }
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

    /// Gets a contribution's document here, unless it is.
    async fn fetch(
        &self,
        manifest: &DatasetManifest,
        contribution: ContributionId,
        document: &Document,
    ) -> Result<(), ContentError> {
        match self.blobs.len(&document.hash)? {
            Some(got) if got == document.bytes => Ok(()),
            // What it says of its length decides what its contributor is paid.
            Some(got) => {
                let (title, said) = (document.title.clone(), document.bytes);
                Err(ContentError::Length { title, contribution, said, got })
            }
            None => self.fetch_document(&manifest.host, document).await,
        }
    }

    /// Gets a file here, unless it is: from its host, else from any peer.
    pub(super) async fn fetch_document(&self, host: &[u8], document: &Document) -> Result<(), ContentError> {
        match self.blobs.len(&document.hash)? {
            Some(got) if got == document.bytes => return Ok(()),
            Some(got) => {
                let Document { title, bytes, .. } = document;
                return Err(ContentError::Other(format!(
                    "{title:?} has {got} bytes, and not the {bytes} that are said"
                )));
            }
            None => {}
        }
        let host = PeerId::from_bytes(host).ok();
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
            Ok(index) if index.fold() == FOLDED && holds(&index, contributions)? => return Ok(index),
            Ok(_) => {
                tracing::warn!(manifest = %id, "the index on the disk is of other contributions, or of another kind; it is made again")
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
        let mut writer = IndexWriter::create(&folder, FOLDED)?;
        writer.add(&Limits { memory_bytes: INDEXING_BYTES, ..Limits::default() }, next, |_| ())?;
        Ok(Index::open(&folder)?)
    }

    /// Takes in what contributions say, one after the other in the order of their admission. If they are judged, only up to
    /// the first of which more is known than their DataNet allows.
    fn learn(
        &self,
        datanet: &DataNetId,
        contributions: &[Admitted],
        is_judged: bool,
    ) -> Result<Option<(ContributionId, TooMuchKnown)>, ContentError> {
        let limit = self.known_limit(datanet)?;
        for (order, id, contribution) in contributions {
            if self.known.holds(datanet, *order, id)? {
                continue;
            }
            let texts = self.texts(contribution)?;
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            if is_judged && let Err(known) = judge(self.known.measure(datanet, *order, &texts)?, limit) {
                return Ok(Some((*id, known)));
            }
            self.known.add(datanet, *order, *id, &texts)?;
        }
        Ok(None)
    }

    /// How much of a contribution may be known, in basis points.
    pub(super) fn known_limit(&self, datanet: &DataNetId) -> Result<u32, ContentError> {
        let missing = || ContentError::Missing { what: "DataNet", id: (*datanet).into() };
        let entry = self.store.state(&keys::datanet(datanet))?.ok_or_else(missing)?;
        let record: DataNetRecord =
            borsh::from_slice(&entry).map_err(|error| ContentError::Other(error.to_string()))?;
        Ok(record.max_known_basis_points)
    }

    /// The texts of a contribution, whose documents are here, folded: edits that nobody sees hide nothing.
    pub(super) fn texts(&self, contribution: &Contribution) -> Result<Vec<String>, ContentError> {
        // What a contribution says of its documents' lengths is not known to be true here.
        let (mut read, mut folded) = (0, 0);
        let text = |document: &Document| {
            let missing = || ContentError::NoPeer { title: document.title.clone(), hash: document.hash };
            let bytes = self.blobs.get(&document.hash)?.ok_or_else(missing)?;
            read += bytes.len() as u64;
            if read > MAX_MANIFEST_BYTES {
                return Err(ContentError::Other(format!("its documents have more than {MAX_MANIFEST_BYTES} bytes")));
            }
            let text = String::from_utf8(bytes).map_err(|error| ContentError::Other(error.to_string()))?;
            let (text, _) = fold(&text).into_parts();
            folded += text.len() as u64;
            if folded > MAX_FOLDED_BYTES {
                return Err(ContentError::Folded { contribution: contribution.title.clone() });
            }
            Ok(text)
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

    /// Is a manifest still to be held? One that another took the place of is not.
    fn is_wanted(&self, manifest: &ManifestId) -> bool {
        !matches!(self.state_of(manifest), Some(ManifestState::Superseded { .. }))
    }

    /// Does a manifest count? Nothing where the database does not tell.
    fn state_of(&self, manifest: &ManifestId) -> Option<ManifestState> {
        let entry = self.store.state(&keys::manifest_status(manifest)).ok()??;
        borsh::from_slice::<ManifestStatus>(&entry).ok().map(|status| status.state)
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
