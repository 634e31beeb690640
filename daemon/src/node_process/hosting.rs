//! How content comes here: fetched from whoever publishes it, verified as it arrives, checked, indexed, compared with what
//! is known.
//!
//! A manifest's documents come from the peer that it names as host, else from any other, in slices that are checked
//! against the document's BLAKE3 hash before a byte of them is kept. Where one peer breaks off the next goes on, at once or
//! after a restart; a peer that has too much to do is waited for. What is not text, or not as long as its contribution
//! says, is never indexed, and so never attested. Neither is a manifest of which too much is known; should more than two
//! thirds attest it nevertheless, it counts, and is taken in like any other.

use super::content::{ContentError, Shared};
use super::known::{TooMuchKnown, judge};
use crate::metrics;
use crate::network::{NetworkHandle, Protocol};
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
use storage::{BlobError, BlobStore, Incoming};

/// Bytes of one slice: with its hashes it stays below the answer's limit.
const SLICE_BYTES: u64 = 1024 * 1024;
/// The wait after a fetch that failed, doubled up to [`MAX_RETRY`].
const FIRST_RETRY: Duration = Duration::from_millis(250);
/// The longest wait between two tries.
const MAX_RETRY: Duration = Duration::from_secs(30);
/// Manifests whose content is fetched at once; the others wait, so that no peer is asked for all of them together.
pub(super) const FETCHED_AT_ONCE: usize = 4;
/// How long one of them is fetched before the next has its turn: whoever answers slowly keeps others waiting no longer.
const TURN: Duration = Duration::from_secs(60);
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
                    // What came of it is gone on with, once the others have had theirs.
                    Err(ContentError::TurnOver) => wait = FIRST_RETRY,
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
        let fetching = self.fetching.acquire().await.map_err(|error| ContentError::Other(error.to_string()))?;
        let began = Instant::now();
        let shared = self.clone();
        let (manifest, objects) = blocking(move || shared.read(id)).await?;
        let turn = tokio::time::Instant::now() + TURN;
        let mut contributions = Vec::with_capacity(objects.len());
        for (contribution, object) in objects {
            let shared = self.clone();
            let (object, missing) = blocking(move || {
                let missing = shared.missing(contribution, &object)?;
                Ok((object, missing))
            })
            .await?;
            for document in missing {
                let shared = self.clone();
                if !blocking(move || Ok(shared.is_wanted(&id))).await? {
                    return Ok(TakenIn::NotWanted);
                }
                let fetched = tokio::time::timeout_at(turn, self.fetch_document(&manifest.host, &document)).await;
                fetched.map_err(|_| ContentError::TurnOver)??;
            }
            contributions.push((contribution, object));
        }
        drop(fetching);
        let turn = self.indexing.acquire().await.map_err(|error| ContentError::Other(error.to_string()))?;
        let shared = self.clone();
        let taken_in = blocking(move || {
            shared.remove_superseded();
            if !shared.is_wanted(&id) {
                return Ok(TakenIn::NotWanted);
            }
            let placed = contributions.into_iter().map(|(id, object)| Ok((shared.order(&id)?, id, object)));
            let mut placed: Vec<Admitted> = placed.collect::<Result<_, ContentError>>()?;
            placed.sort_by_key(|(order, _, _)| *order);
            shared.index_and_judge(id, &manifest.datanet, &placed, began)
        })
        .await;
        drop(turn);
        taken_in
    }

    /// A manifest and the contributions that it adds.
    fn read(&self, id: ManifestId) -> Result<(DatasetManifest, Vec<(ContributionId, Contribution)>), ContentError> {
        let Object::DatasetManifest(manifest) = self.object("manifest", id.into())? else {
            return Err(ContentError::Missing { what: "manifest", id: id.into() });
        };
        let contributions =
            manifest.added.iter().map(|contribution| match self.object("contribution", (*contribution).into())? {
                Object::Contribution(object) => Ok((*contribution, object)),
                _ => Err(ContentError::Missing { what: "contribution", id: (*contribution).into() }),
            });
        let contributions = contributions.collect::<Result<_, _>>()?;
        Ok((manifest, contributions))
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

    /// The documents of a contribution that are not here yet.
    fn missing(&self, contribution: ContributionId, object: &Contribution) -> Result<Vec<Document>, ContentError> {
        let mut missing = Vec::new();
        for document in &object.documents {
            match self.blobs.len(&document.hash)? {
                Some(got) if got == document.bytes => {}
                None => missing.push(document.clone()),
                Some(got) => match self.blobs.check(&document.hash) {
                    // What it says of its length decides what its contributor is paid.
                    Ok(true) => {
                        let (title, said) = (document.title.clone(), document.bytes);
                        return Err(ContentError::Length { title, contribution, said, got });
                    }
                    // Damage on this disk is nobody's lie.
                    Ok(false) | Err(BlobError::Damaged { .. }) => missing.push(document.clone()),
                    Err(error) => return Err(error.into()),
                },
            }
        }
        Ok(missing)
    }

    /// Gets a file here, unless it is: from its host, else from any peer.
    pub(super) async fn fetch_document(&self, host: &[u8], document: &Document) -> Result<(), ContentError> {
        fetch_file(&self.blobs, &self.network, host, document).await
    }

    /// The index of a manifest's contributions, in order of admission: what is on the disk if it is that, else a new one.
    fn open_or_build(&self, id: ManifestId, contributions: &[Admitted]) -> Result<Index, ContentError> {
        let folder = self.folder.join(id.to_string());
        // What is damaged may show only where it is looked into.
        let opened = Index::open(&folder).and_then(|index| {
            let is_it = index.fold() == FOLDED && holds(&index, contributions)?;
            Ok(is_it.then_some(index))
        });
        match opened {
            Ok(Some(index)) => return Ok(index),
            Ok(None) => {
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

/// Gets a file here, unless it is: from its host, else from any peer, each from where the one before broke off.
async fn fetch_file(
    blobs: &Arc<BlobStore>,
    network: &NetworkHandle,
    host: &[u8],
    document: &Document,
) -> Result<(), ContentError> {
    let (blobs, wanted) = (blobs.clone(), document.clone());
    let begun = blocking(move || match blobs.len(&wanted.hash)? {
        Some(got) if got == wanted.bytes => Ok(None),
        Some(got) if matches!(blobs.check(&wanted.hash), Ok(true)) => {
            let Document { title, bytes, .. } = wanted;
            Err(ContentError::Other(format!("{title:?} has {got} bytes, and not the {bytes} that are said")))
        }
        _ => Ok(Some(blobs.resume(wanted.hash, wanted.bytes)?)),
    });
    let Some(mut incoming) = begun.await? else { return Ok(()) };
    let host = PeerId::from_bytes(host).ok();
    let others = network.peers().into_iter().map(|peer| peer.peer).filter(|peer| Some(*peer) != host);
    for peer in host.into_iter().chain(others) {
        let broken_off;
        (incoming, broken_off) = fetch_from(network, peer, document, incoming).await?;
        if let Some(reason) = broken_off {
            tracing::debug!(%peer, document = %document.hash, got = incoming.written(), "not fetched: {reason}");
            continue;
        }
        blocking(move || Ok(incoming.finish()?)).await?;
        metrics::fetched(document.bytes);
        return Ok(());
    }
    Err(ContentError::NoPeer { title: document.title.clone(), hash: document.hash })
}

/// Fetches the rest of a file from a peer; with the reason why it broke off, if it did.
async fn fetch_from(
    network: &NetworkHandle,
    peer: PeerId,
    document: &Document,
    mut incoming: Incoming,
) -> Result<(Incoming, Option<String>), ContentError> {
    let (hash, size) = (document.hash, document.bytes);
    while incoming.written() < size {
        let offset = incoming.written();
        let len = SLICE_BYTES.min(size - offset);
        let request = wire::encode_request(&Request::Blob { hash, offset, len, size });
        let answer = match network.request_patiently(peer, Protocol::Blob, request).await {
            Ok(answer) => answer,
            Err(error) => return Ok((incoming, Some(error.to_string()))),
        };
        let wrong;
        (incoming, wrong) = blocking(move || {
            let bytes = match wire::decode_response(&answer) {
                Ok(Response::Blob(Some(slice))) => {
                    slice::open(&hash, size, offset..offset + len, &slice, Grain::Transfer)
                        .map_err(|error| error.to_string())
                }
                Ok(_) => Err("the peer does not have it".to_owned()),
                Err(error) => Err(error.to_string()),
            };
            match bytes {
                Ok(bytes) => incoming.write(&bytes).map(|()| (incoming, None)).map_err(ContentError::from),
                Err(reason) => Ok((incoming, Some(reason))),
            }
        })
        .await?;
        if wrong.is_some() {
            return Ok((incoming, wrong));
        }
    }
    Ok((incoming, None))
}

/// Work on files, which the threads of the runtime must not wait for.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ContentError> + Send + 'static,
) -> Result<T, ContentError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| ContentError::Other(error.to_string()))?
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

#[cfg(test)]
mod tests {
    use super::super::test_network::{answering, connected, start};
    use super::*;
    use crate::network::Refusal;
    use libp2p::Multiaddr;
    use protocol::ids::Hash32;
    use std::sync::Mutex;

    /// What a peer does when it is asked for the slice at an offset, the so-many-th time that it is asked for any.
    type Habit = fn(usize, u64) -> Result<(), Refusal>;

    /// A peer that has the document, and the offsets that it was asked for.
    struct Peer {
        address: Multiaddr,
        id: PeerId,
        asked: Arc<Mutex<Vec<u64>>>,
    }

    impl Peer {
        async fn start(seed: u8, blobs: BlobStore, habit: Habit) -> Self {
            let asked: Arc<Mutex<Vec<u64>>> = Arc::default();
            let noted = asked.clone();
            let answer = move |request| {
                let Request::Blob { hash, offset, len, size } = request else { return Err(Refusal::NotFound) };
                let mut noted = noted.lock().expect("unharmed");
                let turn = noted.len();
                noted.push(offset);
                habit(turn, offset)?;
                Ok(Response::Blob(blobs.slice(&hash, size, offset..offset + len).expect("a slice")))
            };
            let (address, id) = answering(seed, answer).await;
            Self { address, id, asked }
        }

        fn take_asked(&self) -> Vec<u64> {
            std::mem::take(&mut self.asked.lock().expect("unharmed"))
        }
    }

    fn only_the_first_slice(_: usize, offset: u64) -> Result<(), Refusal> {
        if offset == 0 { Ok(()) } else { Err(Refusal::NotFound) }
    }

    fn busy_at_first(turn: usize, _: u64) -> Result<(), Refusal> {
        match turn {
            0 => Err(Refusal::Busy),
            1 => Err(Refusal::RateLimited),
            _ => Ok(()),
        }
    }

    /// One peer breaks off and another goes on; with none that does, what is there is gone on with later.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_file_that_breaks_off_is_gone_on_with() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = |name: &str| BlobStore::open(&folder.path().join(name), 1 << 30).expect("a store");
        let source = store("source");
        let documents: Vec<Document> = [1_u8, 2]
            .map(|seed| {
                let bytes: Vec<u8> =
                    (0..2_500_000_u32).map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()[3] ^ seed).collect();
                let hash: Hash32 = source.put(&bytes).expect("kept");
                Document { title: format!("document {seed}"), hash, bytes: bytes.len() as u64 }
            })
            .to_vec();
        let host = Peer::start(1, source.clone(), only_the_first_slice).await;
        let other = Peer::start(2, source, busy_at_first).await;

        let blobs = Arc::new(store("own"));
        let (network, _events) = start(3, vec![host.address.clone()]).await;
        connected(&network, 1).await;
        let fetched = fetch_file(&blobs, &network, &host.id.to_bytes(), &documents[0]).await;
        assert!(matches!(fetched, Err(ContentError::NoPeer { .. })), "{fetched:?}");
        assert_eq!((host.take_asked(), blobs.used()), (vec![0, SLICE_BYTES], SLICE_BYTES));
        drop((network, blobs));

        // The next start knows one peer more.
        let blobs = Arc::new(store("own"));
        let (network, _events) = start(4, vec![host.address.clone(), other.address.clone()]).await;
        connected(&network, 2).await;
        fetch_file(&blobs, &network, &host.id.to_bytes(), &documents[0]).await.expect("fetched");
        assert_eq!(host.take_asked(), [SLICE_BYTES]);
        assert_eq!(other.take_asked(), [SLICE_BYTES, SLICE_BYTES, SLICE_BYTES, 2 * SLICE_BYTES], "twice it was busy");
        fetch_file(&blobs, &network, &host.id.to_bytes(), &documents[1]).await.expect("fetched");
        assert_eq!((host.take_asked(), other.take_asked().last()), (vec![0, SLICE_BYTES], Some(&(2 * SLICE_BYTES))));
        for document in &documents {
            assert_eq!(
                blobs.get(&document.hash).expect("unharmed").map(|bytes| bytes.len() as u64),
                Some(document.bytes)
            );
        }

        // What is damaged on this disk is fetched again.
        let hash = documents[0].hash.to_string();
        std::fs::write(folder.path().join("own").join(&hash[..2]).join(&hash[2..]), b"half of it").expect("damaged");
        host.take_asked();
        let fetched = fetch_file(&blobs, &network, &other.id.to_bytes(), &documents[0]).await;
        fetched.expect("fetched again");
        assert!(blobs.check(&documents[0].hash).expect("unharmed"));
    }
}
