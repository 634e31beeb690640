//! A slice from a peer never panics, whatever lengths it claims.

use protocol::ids::Hash32;
use protocol::slice::{Grain, open};

/// Size, start and end of eight bytes each, one byte for the grain; the rest is the slice.
pub(super) fn run(bytes: &[u8]) {
    let Some((lengths, bytes)) = bytes.split_first_chunk::<24>() else { return };
    let Some((grain, bytes)) = bytes.split_first() else { return };
    let length = |at: usize| lengths[at..at + 8].iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    let grain = if grain % 2 == 0 { Grain::Transfer } else { Grain::Proof };
    assert!(open(&Hash32([0; 32]), length(0), length(8)..length(16), bytes, grain).is_err());
}
