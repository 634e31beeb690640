//! Whatever a peer sends: refused, or read so that writing it again gives the same bytes.

use protocol::crypto::Kind;
use protocol::wire;

/// Reads the bytes as one of the messages; the first byte says which.
pub(super) fn run(bytes: &[u8]) {
    let Some((which, bytes)) = bytes.split_first() else { return };
    let again = match which % 8 {
        0 => wire::decode_envelope(bytes).map(|read| wire::encode_envelope(&read)),
        1 => wire::decode_block(bytes).map(|read| wire::encode_block(&read)),
        2 => wire::decode_consensus(bytes).map(|read| wire::encode_consensus(&read)),
        // All questions and answers are in these two: blocks in short and in parts, pools, light blocks, snapshots.
        3 => wire::decode_request(bytes).map(|read| wire::encode_request(&read)),
        4 => wire::decode_response(bytes).map(|read| wire::encode_response(&read)),
        5 => wire::decode_envelopes(bytes).map(wire::encode_envelopes),
        6 => wire::decode_certificate(bytes).map(|read| wire::encode_certificate(&read)),
        _ => return every_kind(bytes),
    };
    if let Ok(again) = again {
        assert_eq!(again, bytes);
    }
}

fn every_kind(bytes: &[u8]) {
    for kind in Kind::ALL {
        if let Ok(object) = wire::decode_object(kind, bytes) {
            assert_eq!(wire::encode_object(&object), bytes);
        }
    }
}
