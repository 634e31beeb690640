//! The one rule of validity for signatures: ZIP-215, which single and batch verification decide alike, and no key of
//! small order on top of it.
//!
//! `tests/vectors/eddsa.txt` holds the twelve cases of "Taming the many EdDSAs" (Chalkias, Garillot, Nikolaenko,
//! SSR 2020, ia.cr/2020/1244), each with what ZIP-215 and what our rule say of it.

use ed25519_zebra::{Signature, SigningKey, VerificationKey, VerificationKeyBytes, batch};
use proptest::prelude::*;
use protocol::crypto::{self, Purpose};
use protocol::ids::{Account, Hash32, to_hex};
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

/// All encodings of points of small order, canonical and not, as key and as R with s = 0: ZIP-215 accepts each pair for
/// any message, we none.
#[test]
fn single_and_batch_agree_on_every_pair_of_small_order() {
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
