//! A segment's header and a proof about its passages never panic, whatever they claim.

use protocol::crypto::segment_root;
use protocol::passage::SpanProof;
use protocol::segment::{HEADER_BYTES, Header, MAGIC, VERSION};

pub(super) fn run(bytes: &[u8]) {
    if let Ok(proof) = SpanProof::from_bytes(&[&SpanProof::MAGIC, bytes].concat()) {
        let _ = proof.check();
    }
    assert!(Header::from_bytes(bytes).is_err(), "nobody guesses a hash");
    // A header whose hash fits: what it says of itself is what is left to be checked.
    let Some((header, _)) = bytes.split_first_chunk::<HEADER_BYTES>() else { return };
    let mut header = *header;
    header[..MAGIC.len()].copy_from_slice(&MAGIC);
    header[MAGIC.len()..MAGIC.len() + 4].copy_from_slice(&VERSION.to_le_bytes());
    let root = segment_root(&header[..HEADER_BYTES - 32]);
    header[HEADER_BYTES - 32..].copy_from_slice(&root.0);
    if let Ok(header) = Header::from_bytes(&header) {
        assert!(header.file_bytes() >= HEADER_BYTES as u64);
    }
}
