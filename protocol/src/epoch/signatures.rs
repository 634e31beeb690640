//! The signatures of validators: each is checked once, against the set of its height, in batches where many come together.
//!
//! A set is known for a few heights only: the last decided one, whose late precommits still count in its certificate, the
//! open one and the one after it. What is said of any other height cannot be judged here and now.

use crate::block::{Certificate, ValidatorSet, VotePayload, VoteStep};
use crate::crypto::{self, Claim, Keys, Purpose, Signature};
use crate::genesis::canonical;
use crate::ids::{Account, Hash32};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Signatures of one height that are remembered as checked; a height with 256 validators and several rounds stays below.
const MAX_CHECKED: usize = 16 * 1024;

/// What a signature is said to be over.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub(super) signer: Account,
    pub(super) purpose: Purpose,
    pub(super) payload: Vec<u8>,
    pub(super) signature: Signature,
}

/// Signatures that hold, each with the payload that it is over.
type Checked = BTreeMap<Signature, Vec<u8>>;

/// A set and its hash.
#[derive(Clone, Debug)]
struct Known {
    set: Arc<ValidatorSet>,
    hash: Hash32,
}

/// Which signatures hold.
#[derive(Clone, Debug)]
pub(super) struct Signatures {
    genesis: Hash32,
    sets: BTreeMap<u64, Known>,
    checked: BTreeMap<u64, Checked>,
    /// The keys of their members, as far as they were needed.
    keys: Keys,
}

impl Signatures {
    pub(super) fn new(genesis: Hash32) -> Self {
        Self { genesis, sets: BTreeMap::new(), checked: BTreeMap::new(), keys: Keys::default() }
    }

    pub(super) fn genesis(&self) -> &Hash32 {
        &self.genesis
    }

    /// From now on the sets of `sets` are known, and no others.
    pub(super) fn know(&mut self, sets: impl IntoIterator<Item = (u64, Arc<ValidatorSet>)>) {
        let known = |set: Arc<ValidatorSet>| match self.sets.values().find(|known| known.set == set) {
            Some(known) => known.clone(),
            None => Known { hash: set.hash(), set },
        };
        self.sets = sets.into_iter().map(|(height, set)| (height, known(set))).collect();
        self.checked.retain(|height, _| self.sets.contains_key(height));
        self.keys.retain(|key| self.sets.values().any(|known| known.set.get(key).is_some()));
    }

    pub(super) fn set(&self, height: u64) -> Option<&Arc<ValidatorSet>> {
        self.sets.get(&height).map(|known| &known.set)
    }

    /// The hash of a height's set; of a height that cannot be judged, one that no set has.
    pub(super) fn set_hash(&self, height: u64) -> Hash32 {
        self.sets.get(&height).map(|known| known.hash).unwrap_or_default()
    }

    /// Do all of these signatures, said to be of validators of a height, hold? In one word why not.
    pub(super) fn check(&mut self, height: u64, said: impl IntoIterator<Item = Said>) -> Result<(), &'static str> {
        let Some(known) = self.sets.get(&height) else { return Err("unknown") };
        let checked = self.checked.entry(height).or_default();
        let mut new: Vec<Said> = Vec::new();
        for said in said {
            if known.set.get(&said.signer).is_none() {
                return Err("stranger");
            }
            if checked.get(&said.signature) != Some(&said.payload) {
                new.push(said);
            }
        }
        let claims: Vec<Claim<'_>> = (new.iter())
            .map(|said| Claim {
                signer: said.signer,
                purpose: said.purpose,
                payload: &said.payload,
                signature: said.signature,
            })
            .collect();
        let verdicts = match claims.as_slice() {
            [claim] => vec![self.keys.verify(claim, &self.genesis)],
            claims => crypto::verify_all(claims, &self.genesis),
        };
        for (said, holds) in new.into_iter().zip(&verdicts) {
            if *holds && checked.len() < MAX_CHECKED {
                checked.insert(said.signature, said.payload);
            }
        }
        if verdicts.into_iter().all(|holds| holds) { Ok(()) } else { Err("signature") }
    }

    /// Does a certificate prove a decision? Like [`Certificate::verify`], but what was checked before is not again.
    pub(super) fn check_certificate(&mut self, certificate: &Certificate) -> Result<(), String> {
        let Some(known) = self.sets.get(&certificate.height) else {
            return Err(format!("the validators of height {} are not known here", certificate.height));
        };
        certificate.check_power(&known.set).map_err(|error| error.to_string())?;
        let said: Vec<Said> = (certificate.signatures.iter())
            .map(|(signer, signature)| Said {
                signer: *signer,
                purpose: Purpose::Vote,
                payload: canonical(&VotePayload {
                    step: VoteStep::Precommit,
                    height: certificate.height,
                    round: certificate.round,
                    block: Some(certificate.block),
                    validators: known.hash,
                    validator: *signer,
                }),
                signature: *signature,
            })
            .collect();
        self.check(certificate.height, said)
            .map_err(|word| format!("a precommit in its certificate does not hold: {word}"))
    }
}
