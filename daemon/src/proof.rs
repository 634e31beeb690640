//! Making the proof of a receipt's payouts ([`protocol::proof`]) out of this node's disk.
//!
//! The ledger's entry is proved against the state after the last height; the header that names that state is the next
//! one, so making a proof waits for one more epoch. Whatever is handed out was verified here first, as its reader will.

use crate::node_process::Services;
use protocol::envelope::Verified;
use protocol::evidence::{Answer, Evidence, fold_answer};
use protocol::fold::fold;
use protocol::genesis::Genesis;
use protocol::ids::{ContributionId, DataNetId, ObjectId, ReceiptId};
use protocol::ledger::AttributionBody;
use protocol::ledger::keys;
use protocol::ledger::records::{ModelRecord, PaidPassage, ReceiptRecord, ReceiptState, Settlement};
use protocol::light::{Bisection, LightBlock, LightClient, Step, Window};
use protocol::limits::{MAX_SYNC_BLOCKS, MAX_SYNC_BYTES};
use protocol::objects::{Contribution, Envelope, Object};
use protocol::proof::{MAX_PROOF_BYTES, PassageSlice, PayoutProof, Trust, verify};
use protocol::refusal::Refusal;
use protocol::slice::{Grain, Sliced};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use storage::{BlobStore, Snapshot, StateProof, Store};
use tokio::sync::Semaphore;

/// How long the next epoch may take.
const NEXT_EPOCH_WITHIN: Duration = Duration::from_secs(30);

/// Why there is no proof.
pub enum Unbuilt {
    /// The epoch that signs its state is not decided yet.
    Early {
        /// That epoch.
        height: u64,
        /// Milliseconds between two epochs, at least.
        epoch_ms: u64,
    },
    /// It cannot be made here.
    Refused(Refusal),
}

impl From<Refusal> for Unbuilt {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// The bytes of a proof file for a settled receipt, whose reader trusts the genesis, or the block of the height `trust`. So
/// many are made at once as there are places.
///
/// # Errors
/// [`Refusal::Unknown`] when there is no such receipt, [`Refusal::State`] when it is not settled,
/// [`Refusal::Unavailable`] when this node lacks what the proof needs; [`Unbuilt::Early`].
pub async fn build(
    services: &Services,
    places: &Arc<Semaphore>,
    id: ReceiptId,
    trust: Option<u64>,
) -> Result<Vec<u8>, Unbuilt> {
    let store = services.store.clone();
    let proving = tokio::task::spawn_blocking(move || prove(store.snapshot().as_ref(), id));
    let proven = proving.await.map_err(|error| unavailable(error.to_string()))??;
    let height = proven.state.height.saturating_add(1);
    wait_for(services, height).await?;
    // What takes memory begins only now, and what waits keeps nobody else from it.
    let place = places.clone().acquire_owned().await.map_err(|error| unavailable(error.to_string()))?;
    let (store, blobs, genesis) = (services.store.clone(), services.blobs.clone(), services.genesis.clone());
    let finishing = tokio::task::spawn_blocking(move || {
        let _place = place;
        let gathered = gather(store.snapshot().as_ref(), &blobs, id, proven)?;
        let chain = chain(store.as_ref(), &genesis, trust, height)?;
        gathered.finish(chain, &genesis, trust)
    });
    Ok(finishing.await.map_err(|error| unavailable(error.to_string()))??)
}

async fn wait_for(services: &Services, height: u64) -> Result<(), Unbuilt> {
    let mut status = services.driver.watch_status();
    let reached = tokio::time::timeout(NEXT_EPOCH_WITHIN, status.wait_for(|status| status.height >= height)).await;
    match reached {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) => Err(unavailable("the node is stopping".to_owned()).into()),
        Err(_) => Err(Unbuilt::Early { height, epoch_ms: services.genesis.params.epoch_ms }),
    }
}

fn unavailable(reason: String) -> Refusal {
    Refusal::Unavailable { reason }
}

fn stored(error: &storage::StoreError) -> Refusal {
    unavailable(format!("the database cannot be read: {error}"))
}

/// As few light blocks as lead from what the reader trusts to a height.
fn chain(store: &dyn Store, genesis: &Genesis, trust: Option<u64>, target: u64) -> Result<Vec<LightBlock>, Refusal> {
    let light = |height: u64| {
        let block = store.light_block(height).map_err(|error| stored(&error))?;
        let reason =
            format!("the header of epoch {height} is not on this node any more: ask one that keeps all blocks");
        block.ok_or_else(|| unavailable(reason))
    };
    let unfit = |error: protocol::light::LightError| unavailable(format!("no way leads to epoch {target}: {error}"));
    let (client, mut chain) = match trust {
        None => (LightClient::from_genesis(genesis), Vec::new()),
        Some(height) if height > target => {
            let reason = format!("it is {height}, and the proof's own is {target}");
            return Err(Refusal::State { what: "the trusted height", reason });
        }
        Some(height) => {
            let first = light(height)?;
            let client = LightClient::from_checkpoint(&genesis.hash(), height, first.header.id(), &first);
            (client.map_err(unfit)?, vec![first])
        }
    };
    // What is on this disk was verified when it came; how old it may be is for the proof's reader to say.
    let window = Window { now_ms: u64::MAX / 2, period_ms: Window::FOREVER };
    let mut way = Bisection::new(client, target).map_err(unfit)?;
    while let Step::Need(height) = way.step() {
        way.give(window, light(height)?).map_err(unfit)?;
    }
    chain.extend(way.finish().1);
    Ok(chain)
}

/// All of a proof but the header that signs its state.
struct Gathered {
    state: StateProof,
    record: Vec<u8>,
    receipt: Envelope,
    evidence: Vec<u8>,
    contributions: Vec<Envelope>,
    slices: Vec<PassageSlice>,
}

impl Gathered {
    fn finish(self, chain: Vec<LightBlock>, genesis: &Genesis, trust: Option<u64>) -> Result<Vec<u8>, Refusal> {
        let first = chain.first().map(|first| (first.header.height, first.header.id()));
        let trust = Trust { checkpoint: trust.and(first), ..Trust::of_genesis(genesis) };
        let proof = PayoutProof {
            genesis: genesis.hash(),
            chain,
            receipt: self.receipt,
            record: self.record,
            state_proof: self.state.proof,
            evidence: self.evidence,
            contributions: self.contributions,
            slices: self.slices,
        };
        let bytes = proof.to_bytes();
        match verify(&bytes, &trust) {
            Ok(_) => Ok(bytes),
            Err(error) => {
                tracing::error!("a proof made here does not hold: {error}");
                Err(unavailable(format!("the proof does not hold ({}): {error}", error.as_str())))
            }
        }
    }
}

/// A receipt's record with the proof of it.
struct Proven {
    state: StateProof,
    bytes: Vec<u8>,
    record: ReceiptRecord,
}

fn prove(snapshot: &dyn Snapshot, id: ReceiptId) -> Result<Proven, Refusal> {
    let mut state = snapshot.prove(&keys::receipt(&id)).map_err(|error| stored(&error))?;
    let bytes = state.value.take().ok_or(Refusal::Unknown { kind: "receipt", id: id.into() })?;
    let record: ReceiptRecord = decode("receipt", &bytes)?;
    // Found out before the wait.
    settlement(&record)?;
    Ok(Proven { state, bytes, record })
}

fn gather(snapshot: &dyn Snapshot, blobs: &BlobStore, id: ReceiptId, proven: Proven) -> Result<Gathered, Refusal> {
    let Proven { state, bytes, record } = proven;
    let settlement = settlement(&record)?;
    let receipt = envelope(snapshot, "receipt", id.into())?;
    let verified = Verified::from_disk(receipt.clone())?;
    let Object::Receipt(object) = verified.object() else {
        return Err(Refusal::Unknown { kind: "receipt", id: id.into() });
    };
    let folded = fold_answer(&object.output).map_err(|error| unavailable(error.to_string()))?;
    let answer = Answer::of(&folded).map_err(|error| unavailable(error.to_string()))?;
    let evidence = evidence(snapshot, id, &answer, &record, settlement)?;
    let (contributions, objects) = contributions(snapshot, settlement)?;
    let slices = slices(blobs, &settlement.spans, &objects)?;
    Ok(Gathered { state, record: bytes, receipt, evidence, contributions, slices })
}

fn settlement(record: &ReceiptRecord) -> Result<&Settlement, Refusal> {
    match &record.state {
        ReceiptState::Settled(settlement) => Ok(settlement),
        _ => {
            let reason = "only a settled receipt paid anybody".to_owned();
            Err(Refusal::State { what: "the receipt", reason })
        }
    }
}

fn decode<T: borsh::BorshDeserialize>(what: &str, bytes: &[u8]) -> Result<T, Refusal> {
    borsh::from_slice(bytes).map_err(|error| unavailable(format!("the stored {what} does not decode: {error}")))
}

fn envelope(snapshot: &dyn Snapshot, kind: &'static str, id: ObjectId) -> Result<Envelope, Refusal> {
    let found = snapshot.object(&id).map_err(|error| stored(&error))?;
    // The ledger knows it.
    let pruned =
        || unavailable(format!("the block with {kind} {id} is not on this node: ask one that keeps all blocks"));
    Ok(found.ok_or_else(pruned)?.envelope)
}

/// The evidence that was agreed on for a receipt, out of the blocks that settled its DataNets.
fn evidence(
    snapshot: &dyn Snapshot,
    id: ReceiptId,
    answer: &Answer<'_>,
    record: &ReceiptRecord,
    settlement: &Settlement,
) -> Result<Vec<u8>, Refusal> {
    let model = snapshot.state(&keys::model(&record.model)).map_err(|error| stored(&error))?;
    let model = model.ok_or(Refusal::Unknown { kind: "model", id: record.model.into() })?;
    let model: ModelRecord = decode("model", &model)?;
    let mut open: BTreeSet<DataNetId> = model.lineage.iter().map(|source| source.datanet).collect();
    let mut merged = Evidence::empty();
    let mut from = record.epoch;
    while !open.is_empty() && from <= settlement.height {
        let blocks = snapshot.blocks(from, MAX_SYNC_BLOCKS, MAX_SYNC_BYTES).map_err(|error| stored(&error))?;
        let Some((last, _)) = blocks.last() else { break };
        from = last.header.height + 1;
        for bytes in blocks.iter().flat_map(|(block, _)| &block.body.settlements) {
            let Some(body) = AttributionBody::from_bytes(bytes) else { continue };
            if body.epoch != record.epoch || !open.contains(&body.datanet) {
                continue;
            }
            if let Some((_, found)) = body.receipts.iter().find(|(receipt, _)| *receipt == id) {
                merged = merged.merge(answer, found).map_err(|error| unavailable(error.to_string()))?;
                open.remove(&body.datanet);
            }
        }
    }
    match open.first() {
        None => Ok(merged.to_bytes()),
        Some(datanet) => Err(unavailable(format!("the blocks here do not hold the evidence of DataNet {datanet}"))),
    }
}

type Contributions = BTreeMap<ContributionId, Contribution>;

/// The contributions that are paid, for passages or by influence, by id in ascending order.
fn contributions(snapshot: &dyn Snapshot, settlement: &Settlement) -> Result<(Vec<Envelope>, Contributions), Refusal> {
    let spans = settlement.spans.iter().map(|passage| passage.contribution);
    let ids: BTreeSet<ContributionId> =
        spans.chain(settlement.lines.iter().filter_map(|line| line.contribution)).collect();
    let (mut envelopes, mut objects) = (Vec::new(), Contributions::new());
    for id in ids {
        let envelope = envelope(snapshot, "contribution", id.into())?;
        let verified = Verified::from_disk(envelope.clone())?;
        if let Object::Contribution(object) = verified.object() {
            objects.insert(id, object.clone());
        }
        envelopes.push(envelope);
    }
    Ok((envelopes, objects))
}

/// The slice of its document for each passage, in the passages' order. A document is read, folded and hashed once.
fn slices(blobs: &BlobStore, passages: &[PaidPassage], objects: &Contributions) -> Result<Vec<PassageSlice>, Refusal> {
    let mut by_document: BTreeMap<(ContributionId, u32), Vec<usize>> = BTreeMap::new();
    for (index, passage) in passages.iter().enumerate() {
        by_document.entry((passage.contribution, passage.document)).or_default().push(index);
    }
    let mut bytes_of_passages = 0_u64;
    let mut slices = vec![PassageSlice { start: 0, end: 0, slice: Vec::new() }; passages.len()];
    for ((contribution, document), indices) in by_document {
        let object = objects.get(&contribution).and_then(|object| object.documents.get(document as usize));
        let document = object.ok_or(Refusal::Unknown { kind: "contribution", id: contribution.into() })?;
        let found = blobs.get(&document.hash).map_err(|error| unavailable(error.to_string()))?;
        let missing = || unavailable(format!("document {} is not on this node", document.hash));
        let bytes = found.ok_or_else(missing)?;
        let content = |reason: String| Refusal::Content { document: document.hash.to_string(), reason };
        let folded = fold(std::str::from_utf8(&bytes).map_err(|error| content(error.to_string()))?);
        let sliced = Sliced::new(&bytes, Grain::Proof);
        for index in indices {
            let passage = &passages[index];
            let start = usize::try_from(passage.offset).unwrap_or(usize::MAX);
            let range = folded.original(start..start.saturating_add(passage.length as usize));
            let range = range.ok_or_else(|| content("the document has no words there".to_owned()))?;
            let (start, end) = (range.start as u64, range.end as u64);
            // Few words may stand for megabytes of a document.
            bytes_of_passages = bytes_of_passages.saturating_add(end.saturating_sub(start));
            if bytes_of_passages > MAX_PROOF_BYTES as u64 {
                let what = "the text of the proof's passages";
                return Err(Refusal::Oversize { what, got: bytes_of_passages, limit: MAX_PROOF_BYTES as u64 });
            }
            let slice = sliced.cut(start..end).map_err(|error| content(error.to_string()))?;
            slices[index] = PassageSlice { start, end, slice };
        }
    }
    Ok(slices)
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::ids::Account;
    use protocol::objects::{Document, Origin, Permission, UsagePolicy};

    #[test]
    fn few_words_that_stand_for_megabytes_are_refused_before_they_are_cut_out() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = BlobStore::open(folder.path(), 1 << 30).unwrap();
        let bytes = MAX_PROOF_BYTES as u64 / 2 + 1;
        let text = format!("a{}b", " ".repeat(MAX_PROOF_BYTES / 2 - 1));
        assert_eq!(text.len() as u64, bytes);
        let hash = blobs.put(text.as_bytes()).unwrap();
        let allowed = Permission::Allowed;
        let contribution = Contribution {
            contributor: Account([1; 32]),
            datanet: DataNetId([1; 32]),
            credit: String::new(),
            title: String::new(),
            source: String::new(),
            language: String::new(),
            licence: String::new(),
            origin: Origin::OwnWork,
            usage: UsagePolicy {
                ai_training: allowed,
                ai_generative_training: allowed,
                ai_inference: allowed,
                data_mining: allowed,
            },
            previous: None,
            documents: vec![Document { title: String::new(), hash, bytes }],
        };
        let id = ContributionId([1; 32]);
        let passage =
            PaidPassage { start: 0, end: 3, contribution: id, document: 0, offset: 0, length: 3, bits_q16: 1 };
        let objects = Contributions::from([(id, contribution)]);
        let one = slices(&blobs, std::slice::from_ref(&passage), &objects).unwrap();
        assert_eq!((one[0].start, one[0].end), (0, bytes));
        let refused = slices(&blobs, &[passage, passage], &objects).unwrap_err();
        let limit = MAX_PROOF_BYTES as u64;
        assert!(matches!(refused, Refusal::Oversize { got, limit: said, .. } if got == 2 * bytes && said == limit));
    }
}
