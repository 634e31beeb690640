//! A payout, proved in one file: checked offline, with nothing but the genesis, or one trusted height and hash.
//!
//! [`verify`] believes nothing that the file says of itself. In order:
//!
//! 1. the file is of this version, canonical, and of the genesis given;
//! 2. its light blocks lead from what is trusted, through every change of the validators, to a header that more than two
//!    thirds of the power signed ([`crate::light`]);
//! 3. that header's state root holds the receipt's record (a Merkle path, [`crate::tree`]);
//! 4. the receipt is the one that its payer and server signed, and the record says of it what it says itself;
//! 5. the agreed evidence, whose hash is in the record, gives exactly the record's passages and weights when they are
//!    computed again, and dividing the fee by them gives exactly the record's data lines; all lines add up to the fee;
//! 6. every paid passage of the answer stands, word for word once both are folded ([`crate::fold`]), in the document that
//!    its contributor signed for (a bao slice against the document's hash), and that contributor is who was paid.
//!
//! What it does not prove: that no earlier document holds a passage, which falls to whoever shows one; and that influences
//! are those of the model's rows, which anybody computes again who has the model's artifact.

use crate::crypto::document_hash;
use crate::envelope::Verified;
use crate::evidence::{Answer, Evidence, attribute, divide, divide_capped, fold_answer};
use crate::fold::fold;
use crate::genesis::{Genesis, canonical};
use crate::ids::{BlockId, ContributionId, Hash32, ReceiptId};
use crate::ledger::keys;
use crate::ledger::records::{Line, ReceiptRecord, ReceiptState, Role, Settlement};
use crate::ledger::settle::passages;
use crate::light::{LightBlock, LightClient, LightError, Window};
use crate::objects::{Contribution, Drops, Envelope, Object, Receipt};
use crate::slice::{self, Grain, SliceError};
use crate::tree;
use crate::words::words;
use borsh::{BorshDeserialize, BorshSerialize};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// The first bytes of a proof file.
pub const MAGIC: &[u8; 16] = b"tributary proof\x04";
/// Bytes of a proof file.
pub const MAX_PROOF_BYTES: usize = 16 * 1024 * 1024;

/// More words than any code point holds: the longest folding of one has eighteen code points.
const MAX_WORDS_OF_A_CODE_POINT: usize = 18;

/// What a proof file holds after its magic.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct PayoutProof {
    /// Which network.
    pub genesis: Hash32,
    /// Light blocks in ascending order, from the first that what is trusted vouches for. The state root of the last one
    /// is that after the height before it.
    pub chain: Vec<LightBlock>,
    /// The receipt with its two signatures.
    pub receipt: Envelope,
    /// The receipt's entry in the ledger.
    pub record: Vec<u8>,
    /// The Merkle path of that entry.
    pub state_proof: Vec<u8>,
    /// The evidence that was agreed on, over all DataNets of the model's lineage.
    pub evidence: Vec<u8>,
    /// The contributions that were paid, for passages or by influence, each once, by id in ascending order.
    pub contributions: Vec<Envelope>,
    /// For each paid passage, in order, the slice of its document.
    pub slices: Vec<PassageSlice>,
}

/// The place of a document where a passage stands, as it was contributed.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct PassageSlice {
    /// Its first byte.
    pub start: u64,
    /// The byte after its last.
    pub end: u64,
    /// The verified slice ([`crate::slice`]) of that range.
    pub slice: Vec<u8>,
}

/// A passage as its document has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvedPassage {
    /// The byte of the document at which it starts.
    pub offset: u64,
    /// Its text there.
    pub text: String,
}

/// Why a proof proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// Larger than a proof can be.
    #[error("the file has {got} bytes; a proof has at most {MAX_PROOF_BYTES}")]
    Oversize {
        /// Its size.
        got: usize,
    },
    /// Not a proof file of this version, or altered so that it cannot be read.
    #[error("this is not a proof of this version: {0}")]
    Malformed(String),
    /// Of another network.
    #[error("the proof is of the network with genesis {got}, not of {expected}")]
    Network {
        /// The genesis given.
        expected: Hash32,
        /// The genesis of the proof.
        got: Hash32,
    },
    /// The header was not decided, as far as this proves.
    #[error("the way from what is trusted to the proof's header does not hold: {0}")]
    Light(#[from] LightError),
    /// The proof does not pass through the height that is trusted.
    #[error(
        "the proof does not pass through the trusted height {height}: \
         ask for one that does (`tributary proof RECEIPT --trust {height}`)"
    )]
    Trust {
        /// The trusted height.
        height: u64,
    },
    /// The ledger does not hold the record.
    #[error("the Merkle path does not lead from the record to the state root: {0}")]
    State(String),
    /// The receipt is altered, or not signed by its payer and server.
    #[error("the receipt does not hold: {0}")]
    Receipt(String),
    /// The record does not follow from the receipt and the evidence.
    #[error("the record is not what follows from receipt and evidence: {0}")]
    Shares(String),
    /// A contribution is altered or is not one that was paid.
    #[error("contribution {id} does not hold: {reason}")]
    Contribution {
        /// Which.
        id: ContributionId,
        /// What is wrong.
        reason: String,
    },
    /// A document does not hold a passage.
    #[error("passage {index} does not stand in its document: {reason}")]
    Passage {
        /// Which, from 0.
        index: usize,
        /// What is wrong.
        reason: String,
    },
}

impl ProofError {
    /// The reason in one word.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Oversize { .. } => "oversize",
            Self::Malformed(_) => "malformed",
            Self::Network { .. } => "network",
            Self::Light(error) => error.as_str(),
            Self::Trust { .. } => "trust",
            Self::State(_) => "state",
            Self::Receipt(_) => "receipt",
            Self::Shares(_) => "shares",
            Self::Contribution { .. } => "contribution",
            Self::Passage { .. } => "passage",
        }
    }
}

/// What a proof proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proved {
    /// The receipt's id.
    pub id: ReceiptId,
    /// The receipt.
    pub receipt: Receipt,
    /// How its fee was divided.
    pub settlement: Settlement,
    /// The height whose ledger holds the record.
    pub height: u64,
    /// The power of the validators that signed its header, and of all.
    pub power: (u64, u64),
    /// The height that was trusted to begin with; 0 is the genesis.
    pub trusted: u64,
    /// How many light blocks lead from there to the header, and their bytes.
    pub light: (usize, usize),
    /// The contributions that were paid.
    pub contributions: BTreeMap<ContributionId, Contribution>,
    /// The paid passages as their documents have them, in the order of the settlement's.
    pub passages: Vec<ProvedPassage>,
}

impl PayoutProof {
    /// The bytes of the file.
    pub fn to_bytes(&self) -> Vec<u8> {
        [MAGIC.as_slice(), &canonical(self)].concat()
    }

    /// Reads a file.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ProofError> {
        if bytes.len() > MAX_PROOF_BYTES {
            return Err(ProofError::Oversize { got: bytes.len() });
        }
        let rest = bytes.strip_prefix(MAGIC).ok_or_else(|| ProofError::Malformed("other first bytes".to_owned()))?;
        borsh::from_slice(rest).map_err(|error| ProofError::Malformed(error.to_string()))
    }
}

/// What the reader of a proof trusts.
#[derive(Clone, Copy, Debug)]
pub struct Trust<'a> {
    /// The network's beginning.
    pub genesis: &'a Genesis,
    /// A height and the block decided there, from somebody the reader believes. Without it the genesis is trusted.
    pub checkpoint: Option<(u64, BlockId)>,
    /// The time, and how long trust may be built on. The proof's own headers pass on trust however far apart they lie:
    /// what must be young is what is trusted, when the proof is read.
    pub window: Window,
}

impl<'a> Trust<'a> {
    /// Trusts the genesis, however old it is: sound as long as the first validators' keys are in honest hands.
    pub const fn of_genesis(genesis: &'a Genesis) -> Self {
        let window = Window { now_ms: u64::MAX / 2, period_ms: Window::FOREVER };
        Self { genesis, checkpoint: None, window }
    }
}

/// Checks a proof file against what its reader trusts.
pub fn verify(bytes: &[u8], trust: &Trust<'_>) -> Result<Proved, ProofError> {
    let proof = PayoutProof::from_bytes(bytes)?;
    let genesis = trust.genesis;
    let expected = genesis.hash();
    if proof.genesis != expected {
        return Err(ProofError::Network { expected, got: proof.genesis });
    }
    let followed = follow(&proof, trust)?;
    let verified = Verified::check(proof.receipt.clone(), &proof.genesis)
        .map_err(|error| ProofError::Receipt(error.to_string()))?;
    let id = ReceiptId::from(verified.id());
    let Object::Receipt(receipt) = verified.object().clone() else {
        return Err(ProofError::Receipt("it is another kind of object".to_owned()));
    };
    tree::verify(followed.header_state, &keys::receipt(&id), Some(&proof.record), &proof.state_proof)
        .map_err(|error| ProofError::State(error.to_string()))?;
    let settlement = check_record(&proof, &receipt)?;
    let words = check_shares(&proof.evidence, &receipt, &settlement, genesis)?;
    let contributions = check_contributions(&proof, &settlement)?;
    check_lines(&settlement, &contributions)?;
    let passages = check_passages(&proof.slices, &words, &settlement, &contributions)?;
    let Followed { height, power, trusted, light, .. } = followed;
    Ok(Proved { id, receipt, settlement, height, power, trusted, light, contributions, passages })
}

/// Where the light blocks lead.
struct Followed {
    header_state: Hash32,
    height: u64,
    power: (u64, u64),
    trusted: u64,
    light: (usize, usize),
}

fn follow(proof: &PayoutProof, trust: &Trust<'_>) -> Result<Followed, ProofError> {
    let (mut client, chain) = match trust.checkpoint {
        None => (LightClient::from_genesis(trust.genesis), proof.chain.as_slice()),
        Some((height, block)) => {
            let at = proof.chain.iter().position(|light| light.header.height == height);
            let chain = at.and_then(|at| proof.chain.get(at..)).unwrap_or_default();
            let first = chain.first().ok_or(ProofError::Trust { height })?;
            (LightClient::from_checkpoint(&proof.genesis, height, block, first)?, chain)
        }
    };
    let trusted = client.trusted().height;
    // Trust is as old as its beginning: passed on from header to header it grows no younger by the proof's own word.
    if client.trusted().time_ms.saturating_add(trust.window.period_ms) <= trust.window.now_ms {
        return Err(LightError::Expired { height: trusted, time_ms: client.trusted().time_ms }.into());
    }
    client.verify_chain(Window { period_ms: Window::FOREVER, ..trust.window }, chain)?;
    let last = chain.last().ok_or_else(|| ProofError::Malformed("it has no header".to_owned()))?;
    let (signers, set) = (&last.certificate.signatures, &last.validators);
    let signed = signers.iter().map(|(key, _)| set.get(key).map_or(0, |member| member.power)).sum();
    Ok(Followed {
        header_state: last.header.state_root,
        height: last.header.height.saturating_sub(1),
        power: (signed, set.total_power()),
        trusted,
        light: (chain.len(), chain.iter().map(|block| canonical(block).len()).sum()),
    })
}

fn check_record(proof: &PayoutProof, receipt: &Receipt) -> Result<Settlement, ProofError> {
    let record: ReceiptRecord =
        borsh::from_slice(&proof.record).map_err(|error| ProofError::Malformed(format!("the record: {error}")))?;
    let same = record.payer == receipt.payer
        && record.server == receipt.server
        && record.model == receipt.model
        && record.prompt == receipt.prompt
        && record.answer == document_hash(receipt.output.as_bytes())
        && record.tokens_in == receipt.tokens_in
        && record.tokens_out == receipt.tokens_out
        && record.fee == receipt.fee;
    if !same {
        return Err(ProofError::Receipt("the ledger's record is of another receipt".to_owned()));
    }
    match record.state {
        ReceiptState::Settled(settlement) => Ok(settlement),
        ReceiptState::Sealed { .. } => Err(ProofError::Receipt("it is not settled yet".to_owned())),
        ReceiptState::Refunded { .. } => Err(ProofError::Receipt("it was refunded; nobody was paid".to_owned())),
    }
}

/// Computes passages, weights and data lines again from the evidence. Gives the folded text of each passage.
fn check_shares(
    evidence: &[u8],
    receipt: &Receipt,
    settlement: &Settlement,
    genesis: &Genesis,
) -> Result<Vec<String>, ProofError> {
    let wrong = |what: &str| ProofError::Shares(what.to_owned());
    if document_hash(evidence) != settlement.evidence {
        return Err(wrong("the evidence is not the one that was agreed on"));
    }
    let evidence = Evidence::from_bytes(evidence).map_err(|error| ProofError::Shares(error.to_string()))?;
    let folded = fold_answer(&receipt.output).map_err(|error| ProofError::Shares(error.to_string()))?;
    let answer = Answer::of(&folded).map_err(|error| ProofError::Shares(error.to_string()))?;
    evidence.check(&answer).map_err(|error| ProofError::Shares(error.to_string()))?;
    let attribution = attribute(&answer, &evidence);
    let passages = passages(&folded, &attribution);
    if passages != settlement.spans {
        return Err(wrong("the paid passages differ"));
    }
    if (attribution.covered_words, attribution.total_words) != (settlement.covered_words, settlement.total_words) {
        return Err(wrong("the count of covered words differs"));
    }
    let split = &genesis.params.split;
    let parts = [
        (Role::Data, split.data_bp),
        (Role::Model, split.model_bp),
        (Role::Serving, split.serving_bp),
        (Role::Validators, split.validators_bp),
        (Role::Treasury, split.treasury_bp),
    ];
    let mut parts: BTreeMap<Role, u128> = divide(receipt.fee.0, &parts).unwrap_or_default().into_iter().collect();
    // What a server whose solution was refused does not get is base dividend.
    let unserved = if evidence.influence.refused { parts.insert(Role::Serving, 0).unwrap_or(0) } else { 0 };
    let data = parts.get(&Role::Data).copied().unwrap_or(0);
    parts.insert(Role::Data, data + unserved);
    for (role, part) in &parts {
        let lines = |line: &&Line| match role {
            Role::Data => matches!(line.role, Role::Data | Role::Base),
            role => line.role == *role,
        };
        if checked_sum(settlement.lines.iter().filter(lines).map(|line| line.amount)) != Some(Drops(*part)) {
            return Err(ProofError::Shares(format!("the {} part of the fee is not {part} drops", role.as_str())));
        }
    }
    check_data_lines(&attribution.by_contribution, settlement, data, genesis)?;
    let words = attribution.paid.iter().map(|paid| &folded.text()[paid.span.start as usize..paid.span.end as usize]);
    Ok(words.map(ToOwned::to_owned).collect())
}

fn check_data_lines(
    weights: &BTreeMap<ContributionId, u128>,
    settlement: &Settlement,
    data: u128,
    genesis: &Genesis,
) -> Result<(), ProofError> {
    let words = [u128::from(settlement.covered_words), u128::from(settlement.total_words - settlement.covered_words)];
    let halves: Vec<(usize, u128)> = words.into_iter().enumerate().collect();
    let claimed = divide(data, &halves).ok().and_then(|parts| parts.first().map(|part| part.1)).unwrap_or(0);
    let weights: Vec<(ContributionId, u128)> = weights.iter().map(|(id, weight)| (*id, *weight)).collect();
    let due = divide_capped(claimed, &weights, genesis.params.share_cap_bp).unwrap_or_default();
    let due: BTreeMap<ContributionId, u128> = due.into_iter().filter(|(_, amount)| *amount > 0).collect();
    let mut paid: BTreeMap<ContributionId, u128> = BTreeMap::new();
    for line in settlement.lines.iter().filter(|line| line.role == Role::Data) {
        let id = line.contribution.ok_or_else(|| ProofError::Shares("a data line names no contribution".to_owned()))?;
        if paid.insert(id, line.amount.0).is_some() {
            return Err(ProofError::Shares(format!("contribution {id} is paid twice")));
        }
    }
    if paid != due {
        return Err(ProofError::Shares("the contributions' shares differ".to_owned()));
    }
    Ok(())
}

fn checked_sum(mut amounts: impl Iterator<Item = Drops>) -> Option<Drops> {
    amounts.try_fold(Drops::ZERO, Drops::checked_add)
}

fn check_contributions(
    proof: &PayoutProof,
    settlement: &Settlement,
) -> Result<BTreeMap<ContributionId, Contribution>, ProofError> {
    let mut contributions = BTreeMap::new();
    let mut last = None;
    for envelope in &proof.contributions {
        let id = ContributionId::from(envelope.id());
        let wrong = |reason: String| ProofError::Contribution { id, reason };
        if last.is_some_and(|last| id <= last) {
            return Err(wrong("it stands twice or out of order".to_owned()));
        }
        last = Some(id);
        let verified = Verified::check(envelope.clone(), &proof.genesis).map_err(|error| wrong(error.to_string()))?;
        let Object::Contribution(contribution) = verified.object().clone() else {
            return Err(wrong("it is another kind of object".to_owned()));
        };
        let is_paid = |line: &Line| line.role == Role::Data && line.contribution == Some(id);
        if !settlement.spans.iter().any(|passage| passage.contribution == id) && !settlement.lines.iter().any(is_paid) {
            return Err(wrong("nothing of it was paid".to_owned()));
        }
        contributions.insert(id, contribution);
    }
    Ok(contributions)
}

/// Whoever is paid for a contribution is who signed it.
fn check_lines(
    settlement: &Settlement,
    contributions: &BTreeMap<ContributionId, Contribution>,
) -> Result<(), ProofError> {
    for line in settlement.lines.iter().filter(|line| line.role == Role::Data) {
        let id = line.contribution.unwrap_or_default();
        let missing = || ProofError::Contribution { id, reason: "it is paid, but not in the proof".to_owned() };
        let contribution = contributions.get(&id).ok_or_else(missing)?;
        if line.account != Some(contribution.contributor) {
            let reason = format!("its contributor is {}, who is not who was paid", contribution.contributor);
            return Err(ProofError::Contribution { id, reason });
        }
    }
    Ok(())
}

fn check_passages(
    slices: &[PassageSlice],
    words: &[String],
    settlement: &Settlement,
    contributions: &BTreeMap<ContributionId, Contribution>,
) -> Result<Vec<ProvedPassage>, ProofError> {
    if slices.len() != settlement.spans.len() {
        let reason = format!("{} slices for {} passages", slices.len(), settlement.spans.len());
        return Err(ProofError::Passage { index: slices.len().min(settlement.spans.len()), reason });
    }
    let mut passages = Vec::with_capacity(slices.len());
    for (index, ((passage, place), words)) in settlement.spans.iter().zip(slices).zip(words).enumerate() {
        let wrong = |reason: String| ProofError::Passage { index, reason };
        let document = contributions
            .get(&passage.contribution)
            .and_then(|contribution| contribution.documents.get(passage.document as usize))
            .ok_or_else(|| wrong("its document is not in the proof".to_owned()))?;
        let range = place.start..place.end;
        let found = slice::open(&document.hash, document.bytes, range, &place.slice, Grain::Proof)
            .map_err(|error: SliceError| wrong(error.to_string()))?;
        let text = String::from_utf8(found).map_err(|_| wrong("what stands there is no text".to_owned()))?;
        if !is_passage(&text, words) {
            return Err(wrong("the document has other words there".to_owned()));
        }
        passages.push(ProvedPassage { offset: place.start, text });
    }
    Ok(passages)
}

/// Is a text, once it is folded, a passage of whole words, and has nothing around them?
fn is_passage(text: &str, passage: &str) -> bool {
    let folded = fold(text);
    // At both ends, and nowhere else, a code point can hold more words than the passage has. Whatever has more is no
    // passage, and need not be looked through, however long whoever made the proof chose it.
    if folded.map().len() > words(passage).count() + 2 * MAX_WORDS_OF_A_CODE_POINT {
        return false;
    }
    let bounds: BTreeSet<usize> = words(folded.text()).flat_map(|word| [word.start, word.end]).collect();
    let mut places = folded.text().match_indices(passage).map(|(at, _)| at..at + passage.len());
    // One code point can hold more words than the passage has.
    let is_all = |place: &Range<usize>| folded.original(place.clone()) == Some(0..text.len());
    places.any(|place| bounds.contains(&place.start) && bounds.contains(&place.end) && is_all(&place))
}

#[cfg(test)]
mod tests {
    use super::is_passage;

    #[test]
    fn a_passage_is_its_words_and_nothing_around_them() {
        for text in ["The old  MAP", "the old map", "The\u{ad} old\r\n(map", "Ｔhe old map"] {
            assert!(is_passage(text, "the old map"), "{text:?}");
        }
        let others =
            ["", "the old", "the old map.", " the old map", "the old map of", "the older map", "bathe old map"];
        for text in others {
            assert!(!is_passage(text, "the old map"), "{text:?}");
        }
        assert!(!is_passage("", "") && !is_passage("the", ""));
        assert!(!is_passage(&"the old map ".repeat(100_000), "the old map"));
        // A half is three words in one code point.
        assert!(is_passage("½ map", "2 map") && is_passage("½", "1") && !is_passage("½ map", "1"));
    }
}
