//! The one rule of validity for signatures: ZIP-215, which single and batch verification decide alike, and no key of
//! small order on top of it.
//!
//! `tests/vectors/eddsa.txt` holds the twelve cases of "Taming the many EdDSAs" (Chalkias, Garillot, Nikolaenko,
//! SSR 2020, ia.cr/2020/1244), each with what ZIP-215 and what our rule say of it.

use curve25519_dalek::constants::EIGHT_TORSION;
use curve25519_dalek::{EdwardsPoint, Scalar};
use ed25519_zebra::{Signature, SigningKey, VerificationKey, VerificationKeyBytes, batch};
use proptest::prelude::*;
use protocol::block::{Certificate, CertificateError, Validator, ValidatorSet, VotePayload, VoteStep};
use protocol::crypto::{self, Claim, Purpose, verify_all};
use protocol::envelope::Verified;
use protocol::genesis::canonical;
use protocol::ids::{Account, BlockId, Hash32, to_hex};
use protocol::objects::{Action, Drops, Envelope, Object, Operation};
use protocol::wire::encode_object;
use sha2::{Digest as _, Sha512};
use std::convert::Infallible;

/// Randomness that is the same in every run: the batch's weights need not be secret from a test.
struct Counter(u64);

impl rand_core::TryRng for Counter {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.0 += 1;
        let hash = crypto::document_hash(&self.0.to_le_bytes());
        bytes.iter_mut().zip(hash.0.iter().cycle()).for_each(|(byte, random)| *byte = *random);
        Ok(())
    }
}

impl rand_core::TryCryptoRng for Counter {}

/// Alone, beside an honest signature, and twice in one batch: the verdict, if all agree on it.
fn zip215(key: [u8; 32], message: &[u8], signature: [u8; 64]) -> bool {
    let signature = Signature::from(signature);
    let single = VerificationKey::try_from(key).is_ok_and(|key| key.verify(&signature, message).is_ok());
    let honest = SigningKey::from([1; 32]);
    let beside = (VerificationKeyBytes::from(&honest), honest.sign(b"honest"), &b"honest"[..]);
    let case = (VerificationKeyBytes::from(key), signature, message);
    for items in [vec![case], vec![beside, case], vec![case, case]] {
        let mut verifier = batch::Verifier::new();
        items.into_iter().for_each(|item| verifier.queue(item));
        assert_eq!(verifier.verify(Counter(0)).is_ok(), single, "single and batch differ on key {}", to_hex(&key));
    }
    single
}

/// Under a key of small order, and no other, this signature holds for any message.
fn forgery() -> [u8; 64] {
    let mut signature = [0; 64];
    signature[0] = 1; // R is the neutral element and s is zero
    signature
}

fn ours(key: [u8; 32], message: &[u8], signature: [u8; 64]) -> bool {
    let forgeable = zip215(key, b"anything", forgery());
    if forgeable {
        let forged = crypto::Signature(forgery());
        assert!(!crypto::verify(&Account(key), Purpose::Vote, &Hash32([0; 32]), b"anything", &forged));
    }
    zip215(key, message, signature) && !forgeable
}

fn unhex<const N: usize>(text: &str) -> [u8; N] {
    let byte = |at: usize| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).expect("hex digits");
    assert_eq!(text.len(), 2 * N);
    std::array::from_fn(byte)
}

#[test]
fn the_twelve_cases_are_judged_as_zip215_says_and_small_orders_refused() {
    let mut seen = 0;
    for line in include_str!("../../vectors/eddsa.txt").lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [case, expected_zip215, expected_ours, message, key, signature] = words[..] else { panic!("{line}") };
        let (message, key, signature) = (unhex::<32>(message), unhex(key), unhex(signature));
        assert_eq!(zip215(key, &message, signature), expected_zip215 == "valid", "case {case}, ZIP-215");
        assert_eq!(ours(key, &message, signature), expected_ours == "valid", "case {case}, ours");
        seen += 1;
    }
    assert_eq!(seen, 12);
}

/// All encodings of points of small order, canonical and not.
fn small_order_encodings() -> Vec<[u8; 32]> {
    let mut points = Vec::new();
    let p_low = [0xec, 0xed, 0xee].map(|low| {
        let mut y = [0xff; 32];
        (y[0], y[31]) = (low, 0x7f);
        y
    });
    let mut one = [0; 32];
    one[0] = 1;
    let order_8 = [
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    ];
    for mut y in p_low.into_iter().chain([[0; 32], one]).chain(order_8.map(unhex)) {
        points.push(y);
        y[31] |= 0x80;
        points.push(y);
    }
    points
}

/// Points of small order as key and as R with s = 0: ZIP-215 accepts each pair for
/// any message, we none.
#[test]
fn single_and_batch_agree_on_every_pair_of_small_order() {
    let points = small_order_encodings();
    assert_eq!(points.len(), 14);
    for key in &points {
        for r in &points {
            let mut signature = [0; 64];
            signature[..32].copy_from_slice(r);
            assert!(zip215(*key, b"Tributary", signature), "{} {}", to_hex(key), to_hex(r));
            assert!(!ours(*key, b"Tributary", signature));
        }
    }
}

proptest! {
    #[test]
    fn single_and_batch_agree_on_honest_and_altered_signatures(
        seed: [u8; 32], message: Vec<u8>, at in 0_usize..96, flip in 0_u8..8, alter: bool,
    ) {
        let key = SigningKey::from(seed);
        let mut bytes = [0; 96];
        bytes[..32].copy_from_slice(VerificationKeyBytes::from(&key).as_ref());
        bytes[32..].copy_from_slice(&key.sign(&message).to_bytes());
        if alter {
            bytes[at] ^= 1 << flip;
        }
        let key = std::array::from_fn(|at| bytes[at]);
        let signature = std::array::from_fn(|at| bytes[32 + at]);
        prop_assert_eq!(zip215(key, &message, signature), !alter);
    }
}

const NETWORK: Hash32 = Hash32([7; 32]);

fn scalar(parts: &[&[u8]]) -> Scalar {
    Scalar::from_bytes_mod_order_wide(&Sha512::digest(parts.concat()).into())
}

/// Who signs in a way that two verifiers could judge differently.
#[derive(Clone, Copy, Debug)]
enum Odd {
    /// The key and the nonce's point have these components of small order, by their places in the table.
    Torsion { key: usize, nonce: usize },
    /// The same with a nonce of 0, its point in one of all encodings.
    NoNonce { key: usize, point: [u8; 32] },
    /// The same, and the scalar is the group's order too large.
    LargeScalar { key: usize, nonce: usize },
    /// The key has small order, which takes no secret to sign for.
    SmallKey { key: [u8; 32], point: [u8; 32] },
    /// The key is no point, or one of which nobody knows the secret, in an encoding that is not its own.
    Strange { low: u8 },
}

impl Odd {
    fn secret() -> Scalar {
        scalar(&[b"secret"])
    }

    fn key(self) -> [u8; 32] {
        match self {
            Self::Torsion { key, .. } | Self::NoNonce { key, .. } | Self::LargeScalar { key, .. } => {
                (EdwardsPoint::mul_base(&Self::secret()) + EIGHT_TORSION[key]).compress().0
            }
            Self::SmallKey { key, .. } => key,
            Self::Strange { low } => {
                let mut key = [0xff; 32];
                (key[0], key[31]) = (low, 0x7f);
                key
            }
        }
    }

    fn sign(self, tag: &str, payload: &[u8]) -> crypto::Signature {
        let message = [tag.as_bytes(), &[0], &NETWORK.0, payload].concat();
        let key = self.key();
        let (point, nonce) = match self {
            Self::Torsion { nonce, .. } | Self::LargeScalar { nonce, .. } => {
                let secret = scalar(&[b"nonce", &message]);
                ((EdwardsPoint::mul_base(&secret) + EIGHT_TORSION[nonce]).compress().0, secret)
            }
            Self::NoNonce { point, .. } | Self::SmallKey { point, .. } => (point, Scalar::ZERO),
            Self::Strange { .. } => (EdwardsPoint::mul_base(&Scalar::ONE).compress().0, Scalar::ONE),
        };
        let secret = if matches!(self, Self::SmallKey { .. }) { Scalar::ZERO } else { Self::secret() };
        let mut scalar = (nonce + scalar(&[&point, &key, &message]) * secret).to_bytes();
        if matches!(self, Self::LargeScalar { .. }) {
            let order: [u8; 32] = unhex("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
            let mut carry = 0;
            for (byte, more) in scalar.iter_mut().zip(order) {
                carry += u16::from(*byte) + u16::from(more);
                *byte = carry.to_le_bytes()[0];
                carry >>= 8;
            }
        }
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&point);
        signature[32..].copy_from_slice(&scalar);
        crypto::Signature(signature)
    }

    /// What ZIP-215 says of its signatures, and that keys of small order are no accounts.
    fn holds(self) -> bool {
        matches!(self, Self::Torsion { .. } | Self::NoNonce { .. })
    }

    fn all() -> Vec<Self> {
        let points = small_order_encodings();
        let places = 0..EIGHT_TORSION.len();
        let pairs = places.clone().flat_map(|key| places.clone().map(move |nonce| (key, nonce)));
        let mut all: Vec<Self> = pairs.clone().map(|(key, nonce)| Self::Torsion { key, nonce }).collect();
        all.extend(pairs.step_by(5).map(|(key, nonce)| Self::LargeScalar { key, nonce }));
        for point in points.iter().copied() {
            all.extend(places.clone().map(|key| Self::NoNonce { key, point }));
            all.extend(points.iter().map(|key| Self::SmallKey { key: *key, point }));
        }
        all.extend((0xef..=0xff).map(|low| Self::Strange { low }));
        all
    }
}

/// An operation with the signature of an odd signer, or of an honest one.
fn operation(odd: Option<Odd>, nonce: u64) -> Envelope {
    let honest = crypto::SecretKey::from_seed([3; 32]);
    let account = odd.map_or(honest.account(), |odd| Account(odd.key()));
    let action = Action::Transfer { to: honest.account(), amount: Drops(1) };
    let object = Object::Operation(Operation { account, nonce, fee: Drops(1), action });
    let (kind, payload) = (object.kind(), encode_object(&object));
    let signature = match odd {
        Some(odd) => odd.sign("tributary v1 sign operation", &payload),
        None => honest.sign(Purpose::Author(kind), &NETWORK, &payload),
    };
    Envelope { kind, payload, signatures: vec![(account, signature)] }
}

/// Checks each of these operations alone and all of them together.
fn check_operations(signers: &[Option<Odd>]) {
    let envelopes: Vec<Envelope> = (0..).zip(signers).map(|(nonce, odd)| operation(*odd, nonce)).collect();
    let purpose = Purpose::Author(envelopes[0].kind);
    let claims: Vec<Claim<'_>> = (envelopes.iter())
        .map(|Envelope { payload, signatures, .. }| {
            let (signer, signature) = signatures[0];
            Claim { signer, purpose, payload, signature }
        })
        .collect();
    let expected: Vec<bool> = signers.iter().map(|odd| odd.is_none_or(Odd::holds)).collect();
    let single =
        claims.iter().map(|claim| crypto::verify(&claim.signer, purpose, &NETWORK, claim.payload, &claim.signature));
    assert_eq!(single.collect::<Vec<bool>>(), expected, "each alone: {signers:?}");
    assert_eq!(verify_all(&claims, &NETWORK), expected, "together: {signers:?}");
    let each: Vec<_> = envelopes.iter().map(|envelope| Verified::check(envelope.clone(), &NETWORK)).collect();
    assert_eq!(each.iter().map(Result::is_ok).collect::<Vec<bool>>(), expected);
    assert_eq!(Verified::check_all(envelopes, &NETWORK), each, "{signers:?}");
}

/// A batch that holds is all that a false claim could hide in, so each odd signer stands alone among honest ones.
#[test]
fn among_honest_ones_an_odd_signature_is_judged_as_alone() {
    for (at, odd) in Odd::all().into_iter().enumerate() {
        let mut signers = [None; 5];
        signers[at % 5] = Some(odd);
        check_operations(&signers);
    }
}

#[test]
fn a_certificate_judges_an_odd_precommit_as_single_verification_does() {
    for odd in Odd::all() {
        let honest: Vec<_> = (1..=4).map(|seed| crypto::SecretKey::from_seed([seed; 32])).collect();
        let keys = honest.iter().map(crypto::SecretKey::account).chain([Account(odd.key())]);
        let set = ValidatorSet::new(keys.map(|key| Validator { key, payout: key, power: 10 }).collect());
        let sign = |validator: Account| {
            let (step, height, round, block) = (VoteStep::Precommit, 5, 1, Some(BlockId([9; 32])));
            let payload = canonical(&VotePayload { step, height, round, block, validators: set.hash(), validator });
            match honest.iter().find(|key| key.account() == validator) {
                Some(key) => key.sign(Purpose::Vote, &NETWORK, &payload),
                None => odd.sign("tributary v1 sign vote", &payload),
            }
        };
        let signatures = set.members().iter().map(|member| (member.key, sign(member.key))).collect();
        let certificate = Certificate { height: 5, round: 1, block: BlockId([9; 32]), signatures };
        let expected = if odd.holds() { Ok(()) } else { Err(CertificateError::Signature(Account(odd.key()))) };
        assert_eq!(certificate.verify(&set, &NETWORK), expected, "{odd:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn odd_signatures_together_are_judged_as_each_alone(
        odd in prop::collection::vec(prop::sample::select(Odd::all()), 1..6),
        holds: bool,
        honest in 4_usize..8,
        turn: prop::sample::Index,
    ) {
        let odd = odd.into_iter().filter(|odd| !holds || odd.holds()).map(Some);
        let mut signers: Vec<Option<Odd>> = odd.chain(vec![None; honest]).collect();
        let turn = turn.index(signers.len());
        signers.rotate_left(turn);
        check_operations(&signers);
    }
}
