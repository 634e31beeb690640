//! Many signatures at once, at about half of the time for each.
//!
//! ZIP-215 makes one rule for both: a batch holds if and only if each of its signatures does (but for a chance of
//! 2^-128). The weights of the batch are drawn from a hash of everything in it, as Fiat and Shamir draw challenges, so
//! this needs no source of randomness, and the same claims are always judged the same way.

use super::{Purpose, Signature, batch_weights, is_small_order, verify};
use crate::ids::{Account, Hash32};
use ed25519_zebra::VerificationKeyBytes;
use ed25519_zebra::batch::Verifier;
use std::convert::Infallible;

/// Fewer claims than this are checked one by one: a batch pays only from about here.
const MIN_BATCH: usize = 4;

/// That an account signed a payload for a purpose.
#[derive(Clone, Debug)]
pub struct Claim<'a> {
    /// Who is said to have signed.
    pub signer: Account,
    /// For which purpose.
    pub purpose: Purpose,
    /// What.
    pub payload: &'a [u8],
    /// The signature.
    pub signature: Signature,
}

/// Which of these claims hold on a network, in their order: exactly those that [`verify`] accepts.
///
/// One false claim costs the batch's time on top of that of checking each alone, so whoever gathers claims of many
/// strangers should keep batches small enough for that.
pub fn verify_all(claims: &[Claim<'_>], genesis: &Hash32) -> Vec<bool> {
    #[cfg(any(test, feature = "sim"))]
    if super::cheap::is_on() {
        return claims.iter().map(|claim| holds(claim, genesis)).collect();
    }
    if claims.len() >= MIN_BATCH && all_hold(claims, genesis) {
        return vec![true; claims.len()];
    }
    claims.iter().map(|claim| holds(claim, genesis)).collect()
}

fn holds(claim: &Claim<'_>, genesis: &Hash32) -> bool {
    verify(&claim.signer, claim.purpose, genesis, claim.payload, &claim.signature)
}

fn all_hold(claims: &[Claim<'_>], genesis: &Hash32) -> bool {
    let mut verifier = Verifier::new();
    let mut transcript = Vec::with_capacity(claims.len() * 128);
    for claim in claims {
        if is_small_order(&claim.signer) {
            return false;
        }
        let message = claim.purpose.signed_bytes(genesis, claim.payload);
        transcript.extend_from_slice(&claim.signer.0);
        transcript.extend_from_slice(&claim.signature.0);
        transcript.extend_from_slice(blake3::hash(&message).as_bytes());
        let signature = ed25519_zebra::Signature::from(claim.signature.0);
        verifier.queue((VerificationKeyBytes::from(claim.signer.0), signature, message.as_slice()));
    }
    verifier.verify(Weights(batch_weights(&transcript))).is_ok()
}

/// Hands out the batch's weights.
struct Weights(blake3::OutputReader);

impl rand_core::TryRng for Weights {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill(bytes);
        Ok(())
    }
}

impl rand_core::TryCryptoRng for Weights {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::SecretKey;
    use proptest::prelude::*;

    proptest! {
        /// Whatever is altered where, a batch and single verification agree on every claim.
        #[test]
        fn a_batch_judges_each_claim_as_single_verification_does(
            seeds in prop::collection::vec(0_u8..4, 0..12),
            altered in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..64, any::<u8>()), 0..3),
        ) {
            let network = Hash32([7; 32]);
            let payloads: Vec<Vec<u8>> = (0..seeds.len()).map(|index| vec![u8::try_from(index).unwrap(); 20]).collect();
            let mut claims: Vec<Claim<'_>> = seeds.iter().zip(&payloads).map(|(seed, payload)| {
                let key = SecretKey::from_seed([*seed; 32]);
                let signature = key.sign(Purpose::Vote, &network, payload);
                Claim { signer: key.account(), purpose: Purpose::Vote, payload, signature }
            }).collect();
            for (index, at, mask) in altered {
                if !claims.is_empty() {
                    let index = index.index(claims.len());
                    claims[index].signature.0[at] ^= mask;
                }
            }
            let single: Vec<bool> = claims.iter().map(|claim| holds(claim, &network)).collect();
            if claims.len() >= MIN_BATCH {
                prop_assert_eq!(all_hold(&claims, &network), single.iter().all(|holds| *holds));
            }
            prop_assert_eq!(verify_all(&claims, &network), single);
        }
    }
}
