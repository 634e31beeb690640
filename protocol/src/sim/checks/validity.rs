//! Every decided block follows its parent, says of itself what is so, is certified by more than two thirds of the power,
//! and holds only objects that their authors signed.
//!
//! What is signed and hashed is spelled out here once more, byte by byte.

use crate::block::ValidatorSet;
use crate::crypto::Signature;
use crate::envelope::Verified;
use crate::genesis::{Genesis, canonical};
use crate::ids::{Account, Hash32};
use crate::ledger::keys;
use crate::node::Commit;
use crate::objects::Object;
use std::collections::{BTreeMap, BTreeSet};

/// Validators' powers, and the name of the set in headers.
#[derive(Clone)]
struct Set {
    power: BTreeMap<Account, u64>,
    name: [u8; 32],
}

impl Set {
    fn of(set: &ValidatorSet) -> Self {
        let power = set.members().iter().map(|member| (member.key, member.power)).collect();
        Self { power, name: named("tributary v1 validators", &[&canonical(set)]) }
    }
}

/// The last block that was found to be right.
pub(super) struct Validity {
    genesis: [u8; 32],
    /// The set of the height after the last, and of the one after that: a change counts two heights later.
    sets: [Set; 2],
    real_signatures: bool,
    height: u64,
    parent: [u8; 32],
    time_ms: u64,
}

fn named(context: &str, parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    parts.iter().for_each(|part| {
        hasher.update(part);
    });
    *hasher.finalize().as_bytes()
}

impl Validity {
    /// Nothing seen yet.
    pub(super) fn new(genesis: &Genesis, real_signatures: bool) -> Self {
        Self {
            genesis: named("tributary v1 genesis", &[&canonical(genesis)]),
            sets: [Set::of(&ValidatorSet::of_genesis(genesis)), Set::of(&ValidatorSet::of_genesis(genesis))],
            real_signatures,
            height: 0,
            parent: [0; 32],
            time_ms: genesis.time_ms,
        }
    }

    pub(super) fn committed(&mut self, commit: &Commit) -> Result<(), String> {
        let (header, body, certificate) = (&commit.block.header, &commit.block.body, &commit.certificate);
        if header.height <= self.height {
            return Ok(());
        }
        let height = header.height;
        let must = |holds: bool, what: &str| if holds { Ok(()) } else { Err(format!("block {height}: {what}")) };
        let id = named("tributary v1 block", &[&canonical(header)]);
        must(height == self.height + 1, "a height was left out")?;
        must(header.parent.0 == self.parent, "its parent is not the block before")?;
        must(header.time_ms > self.time_ms, "its time is not after that of the block before")?;
        must(header.body.0 == named("tributary v1 block body", &[&canonical(body)]), "it has another body")?;
        let [set, next] = &self.sets;
        must(set.power.contains_key(&header.proposer), "its proposer is no validator")?;
        must(header.validators.0 == set.name, "it names other validators than those of its height")?;
        must(header.next_validators.0 == next.name, "it names other validators than those of the next height")?;
        must(certificate.block.0 == id && certificate.height == height, "its certificate is of another block")?;
        must(body.last_commit.is_some() == (height > 1), "it lacks its parent's certificate")?;
        self.certificate(commit, &header.validators).map_err(|what| format!("block {height}: {what}"))?;
        for envelope in &body.envelopes {
            self.signed(envelope).map_err(|what| format!("block {height}: {what}"))?;
        }
        let after = match commit.changes.get(keys::NEXT_VALIDATORS) {
            Some(Some(bytes)) => Set::of(&borsh::from_slice(bytes).map_err(|error| error.to_string())?),
            _ => self.sets[1].clone(),
        };
        self.sets = [self.sets[1].clone(), after];
        (self.height, self.parent, self.time_ms) = (height, id, header.time_ms);
        Ok(())
    }

    fn certificate(&self, commit: &Commit, set: &Hash32) -> Result<(), String> {
        let certificate = &commit.certificate;
        let (mut seen, mut power) = (BTreeSet::new(), 0_u128);
        for (signer, signature) in &certificate.signatures {
            let more = self.sets[0].power.get(signer).ok_or(format!("{signer} certifies it and is no validator"))?;
            if !seen.insert(signer) {
                return Err(format!("{signer} certifies it twice"));
            }
            power += u128::from(*more);
            let payload = [
                // A precommit for some block.
                &[1_u8][..],
                &certificate.height.to_le_bytes(),
                &certificate.round.to_le_bytes(),
                &[1],
                &certificate.block.0,
                &set.0,
                &signer.0,
            ]
            .concat();
            if !self.holds(signer, "tributary v1 sign vote", &payload, signature) {
                return Err(format!("the signature of {signer} on its certificate does not hold"));
            }
        }
        let all: u128 = self.sets[0].power.values().map(|power| u128::from(*power)).sum();
        if power * 3 > all * 2 { Ok(()) } else { Err(format!("power {power} of {all} certifies it")) }
    }

    fn signed(&self, envelope: &crate::objects::Envelope) -> Result<(), String> {
        let object = Verified::from_disk(envelope.clone()).map_err(|refusal| refusal.to_string())?;
        let kind = envelope.kind.as_str();
        let authors: Vec<(Account, String)> = match object.object() {
            Object::Receipt(receipt) => vec![
                (receipt.payer, "tributary v1 sign receipt payer".to_owned()),
                (receipt.server, "tributary v1 sign receipt server".to_owned()),
            ],
            other => {
                let author = other.signers().first().map(|(account, _)| *account).unwrap_or_default();
                vec![(author, format!("tributary v1 sign {kind}"))]
            }
        };
        let signed: Vec<Account> = envelope.signatures.iter().map(|(signer, _)| *signer).collect();
        if !signed.iter().eq(authors.iter().map(|(author, _)| author)) {
            return Err(format!("{kind} {} is signed by {signed:?}", object.id()));
        }
        for ((author, tag), (_, signature)) in authors.iter().zip(&envelope.signatures) {
            if !self.holds(author, tag, &envelope.payload, signature) {
                return Err(format!("{kind} {} is not signed by {author}", object.id()));
            }
        }
        Ok(())
    }

    fn holds(&self, signer: &Account, tag: &str, payload: &[u8], signature: &Signature) -> bool {
        let signed = [tag.as_bytes(), &[0], &self.genesis, payload].concat();
        if self.real_signatures {
            let key = ed25519_zebra::VerificationKey::try_from(signer.0);
            return key.is_ok_and(|key| key.verify(&signature.0.into(), &signed).is_ok());
        }
        let mut expected = [0; 64];
        blake3::Hasher::new_keyed(&signer.0).update(&signed).finalize_xof().fill(&mut expected);
        expected == signature.0
    }
}
