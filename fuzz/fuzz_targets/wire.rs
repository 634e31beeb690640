//! Whatever a peer sends: refused, or read so that writing it again gives the same bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::crypto::Kind;
use protocol::wire;

fuzz_target!(|bytes: &[u8]| {
    let Some((which, bytes)) = bytes.split_first() else { return };
    match which % 7 {
        0 => {
            if let Ok(envelope) = wire::decode_envelope(bytes) {
                assert_eq!(wire::encode_envelope(&envelope), bytes);
            }
        }
        1 => {
            if let Ok(block) = wire::decode_block(bytes) {
                assert_eq!(wire::encode_block(&block), bytes);
            }
        }
        2 => {
            if let Ok(message) = wire::decode_consensus(bytes) {
                assert_eq!(wire::encode_consensus(&message), bytes);
            }
        }
        3 => {
            if let Ok(request) = wire::decode_request(bytes) {
                assert_eq!(wire::encode_request(&request), bytes);
            }
        }
        4 => {
            if let Ok(response) = wire::decode_response(bytes) {
                assert_eq!(wire::encode_response(&response), bytes);
            }
        }
        5 => {
            if let Ok(envelopes) = wire::decode_envelopes(bytes) {
                assert_eq!(wire::encode_envelopes(envelopes), bytes);
            }
        }
        _ => {
            for kind in Kind::ALL {
                if let Ok(object) = wire::decode_object(kind, bytes) {
                    assert_eq!(wire::encode_object(&object), bytes);
                }
            }
        }
    }
});
