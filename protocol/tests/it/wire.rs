//! The wire: one encoding for each value, and a named refusal for anything else.

mod eddsa;
mod examples;
mod hostile;
mod strategies;
mod vectors;

use proptest::collection::vec;
use proptest::prelude::*;
use protocol::crypto::Kind;
use protocol::genesis::canonical;
use protocol::refusal::Refusal;
use protocol::wire::{self, Response};

/// Decodes and encodes again.
type Codec = fn(&[u8]) -> Result<Vec<u8>, Refusal>;

fn object_codec<const KIND: usize>(bytes: &[u8]) -> Result<Vec<u8>, Refusal> {
    wire::decode_object(Kind::ALL[KIND], bytes).map(|object| wire::encode_object(&object))
}

/// Everything that reads bytes from outside.
const CODECS: [Codec; 16] = [
    object_codec::<0>,
    object_codec::<1>,
    object_codec::<2>,
    object_codec::<3>,
    object_codec::<4>,
    object_codec::<5>,
    object_codec::<6>,
    object_codec::<7>,
    object_codec::<8>,
    |bytes| wire::decode_envelope(bytes).map(|value| wire::encode_envelope(&value)),
    |bytes| wire::decode_envelopes(bytes).map(wire::encode_envelopes),
    |bytes| wire::decode_block(bytes).map(|value| wire::encode_block(&value)),
    |bytes| wire::decode_certificate(bytes).map(|value| wire::encode_certificate(&value)),
    |bytes| wire::decode_consensus(bytes).map(|value| wire::encode_consensus(&value)),
    |bytes| wire::decode_request(bytes).map(|value| wire::encode_request(&value)),
    |bytes| wire::decode_response(bytes).map(|value| wire::encode_response(&value)),
];

/// Encodings of every kind of value.
fn encoding() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => strategies::object().prop_map(|value| wire::encode_object(&value)),
        1 => strategies::envelope().prop_map(|value| wire::encode_envelope(&value)),
        1 => vec(strategies::envelope(), 1..4).prop_map(wire::encode_envelopes),
        1 => strategies::block().prop_map(|value| wire::encode_block(&value)),
        1 => strategies::certificate().prop_map(|value| wire::encode_certificate(&value)),
        2 => strategies::consensus().prop_map(|value| wire::encode_consensus(&value)),
        1 => strategies::request().prop_map(|value| wire::encode_request(&value)),
        2 => strategies::response().prop_map(|value| wire::encode_response(&value)),
    ]
}

/// One alteration of some bytes.
#[derive(Clone, Copy, Debug)]
enum Harm {
    Set(u8),
    Insert(u8),
    Remove,
    Truncate,
    /// Repeats the bytes up to here: fields twice and in the wrong order.
    Repeat,
}

fn harm() -> impl Strategy<Value = (usize, Harm)> {
    let harm = prop_oneof![
        any::<u8>().prop_map(Harm::Set),
        any::<u8>().prop_map(Harm::Insert),
        Just(Harm::Remove),
        Just(Harm::Truncate),
        Just(Harm::Repeat),
    ];
    (any::<usize>(), harm)
}

fn apply(bytes: &mut Vec<u8>, (at, harm): (usize, Harm)) {
    let at = at % (bytes.len() + 1);
    match harm {
        Harm::Set(byte) => bytes.iter_mut().skip(at).take(1).for_each(|old| *old = byte),
        Harm::Insert(byte) => bytes.insert(at, byte),
        Harm::Remove if at < bytes.len() => drop(bytes.remove(at)),
        Harm::Remove => {}
        Harm::Truncate => bytes.truncate(at),
        Harm::Repeat => bytes.extend_from_within(..at),
    }
}

/// Whoever reads these bytes gets the one value that has them, or a reason that is the sender's fault.
fn read_by_all(bytes: &[u8]) -> Result<(), TestCaseError> {
    for codec in CODECS {
        match codec(bytes) {
            Ok(again) => prop_assert_eq!(&again[..], bytes),
            Err(refusal) => prop_assert!(refusal.is_senders_fault(), "{}", refusal),
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn objects_read_back(value in strategies::object()) {
        let bytes = wire::encode_object(&value);
        prop_assert_eq!(wire::decode_object(value.kind(), &bytes), Ok(value));
    }

    #[test]
    fn envelopes_read_back(value in strategies::envelope()) {
        prop_assert_eq!(wire::decode_envelope(&wire::encode_envelope(&value)), Ok(value));
    }

    #[test]
    fn gossiped_envelopes_read_back(values in vec(strategies::envelope(), 1..4)) {
        let bytes = wire::encode_envelopes(values.clone());
        prop_assert!(bytes.len() <= values.iter().map(wire::gossip_room).sum());
        prop_assert_eq!(wire::decode_envelopes(&bytes), Ok(values));
    }

    #[test]
    fn blocks_read_back(value in strategies::block()) {
        prop_assert_eq!(wire::decode_block(&wire::encode_block(&value)), Ok(value));
    }

    #[test]
    fn certificates_read_back(value in strategies::certificate()) {
        prop_assert_eq!(wire::decode_certificate(&wire::encode_certificate(&value)), Ok(value));
    }

    #[test]
    fn consensus_messages_read_back(value in strategies::consensus()) {
        prop_assert_eq!(wire::decode_consensus(&wire::encode_consensus(&value)), Ok(value));
    }

    #[test]
    fn requests_and_answers_read_back(request in strategies::request(), response in strategies::response()) {
        prop_assert_eq!(wire::decode_request(&wire::encode_request(&request)), Ok(request));
        prop_assert_eq!(wire::decode_response(&wire::encode_response(&response)), Ok(response));
    }

    /// Whoever gathers blocks for an answer can count canonical bytes.
    #[test]
    fn framing_costs_at_most_a_sixteenth(block in strategies::block(), certificate in strategies::certificate()) {
        let canonical = canonical(&block).len() + canonical(&certificate).len();
        let wire = wire::encode_response(&Response::Blocks(vec![(block, certificate)])).len();
        prop_assert!(wire <= canonical / 16 * 17 + 80, "{} {}", wire, canonical);
    }

    #[test]
    fn random_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..400)) {
        read_by_all(&bytes)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn altered_bytes_are_read_as_they_are_or_refused(
        mut bytes in encoding(), harms in vec(harm(), 1..4),
    ) {
        harms.into_iter().for_each(|harm| apply(&mut bytes, harm));
        read_by_all(&bytes)?;
    }
}
