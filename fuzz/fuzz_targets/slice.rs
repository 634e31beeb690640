//! A slice from a peer never panics, whatever lengths it claims.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::ids::Hash32;
use protocol::slice::{Grain, open};

fuzz_target!(|input: (u64, u64, u64, bool, &[u8])| {
    let (size, start, end, coarse, bytes) = input;
    let grain = if coarse { Grain::Transfer } else { Grain::Proof };
    assert!(open(&Hash32([0; 32]), size, start..end, bytes, grain).is_err());
});
