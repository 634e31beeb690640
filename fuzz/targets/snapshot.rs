//! Plans and chunks of a whole state: refused, or exactly what was cut.

use protocol::ids::Hash32;
use protocol::snapshot::Leaf;
use protocol::snapshot::{Assembler, Chunk, Plan, Subtree, cut};
use std::collections::BTreeMap;

/// A key and its value.
type Entry = (Vec<u8>, Vec<u8>);

/// The bytes as a plan, as a chunk, and as the entries of a state whose chunks are then falsified.
pub(super) fn run(bytes: &[u8]) {
    if let Ok(plan) = Plan::from_depths(bytes) {
        assert_eq!(plan.depths(), bytes);
        let mut assembler = Assembler::new(Hash32([3; 32]), plan);
        assert!(assembler.accept(u32::MAX, bytes).is_err());
        assert!(assembler.accept(0, bytes).is_err(), "no bytes have this root");
    }
    let _ = Subtree::of(&[0; 32], bytes.first().copied().unwrap_or_default()).map(|subtree| {
        assert!(Chunk::open(bytes, &subtree, &Hash32([3; 32])).is_err());
    });
    falsify(bytes);
}

/// The first four bytes are a place and a change; the rest are entries of two bytes, a key and the size of its value.
fn falsify(bytes: &[u8]) {
    let Some(([high, low, change, which], bytes)) = bytes.split_first_chunk::<4>() else { return };
    let value = |size: u8| vec![size; usize::from(size) * 64];
    let state: BTreeMap<Vec<u8>, Vec<u8>> = bytes.chunks_exact(2).map(|pair| (vec![pair[0]], value(pair[1]))).collect();
    let mut leaves: Vec<(Leaf, Entry)> =
        state.into_iter().map(|(key, value)| (Leaf::of(&key, &value), (key, value))).collect();
    leaves.sort_by_key(|(leaf, _)| *leaf);
    let (leaves, entries): (Vec<_>, Vec<_>) = leaves.into_iter().unzip();
    let Ok(whole) = cut(&leaves) else { return };
    let mut assembler = Assembler::new(whole.root, whole.plan.clone());
    let wrong = usize::from(*which) % whole.pieces.len().max(1);
    for (index, piece) in whole.pieces.iter().enumerate() {
        let chunk = Chunk { entries: entries[piece.leaves.clone()].to_vec(), siblings: piece.siblings.clone() };
        let number = u32::try_from(index).unwrap_or(u32::MAX);
        let mut sent = chunk.to_bytes();
        if index == wrong && !sent.is_empty() {
            let at = usize::from(u16::from_be_bytes([*high, *low])) % sent.len();
            sent[at] = sent[at].wrapping_add(*change);
        }
        match assembler.accept(number, &sent) {
            Ok(taken) => assert_eq!(taken, chunk, "only the chunk that was cut is taken"),
            Err(_) => assert!(index == wrong && *change != 0, "a sound chunk is taken"),
        }
    }
    assert!(assembler.is_complete() || *change != 0);
}
