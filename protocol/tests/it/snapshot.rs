//! A state cut into chunks, against the tree that has its root, and against who alters, hides or leaves out.

use proptest::prelude::*;
use protocol::crypto::{state_hash, state_key};
use protocol::ids::Hash32;
use protocol::ledger::Changes;
use protocol::snapshot::*;
use protocol::tree::Tree;
use std::collections::BTreeMap;

type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

/// The root by the other implementation, that of the ledger's tree.
fn root_of(entries: &Entries) -> Hash32 {
    let changes: Changes = entries.iter().map(|(key, value)| (key.clone(), Some(value.clone()))).collect();
    Tree::default().update(0, &changes).unwrap().root
}

/// A snapshot as a node makes it: the cut and the bytes of the chunks.
fn snapshot(entries: &Entries) -> (Cut, Vec<Vec<u8>>) {
    let mut sorted: Vec<_> = entries.iter().map(|(key, value)| (Leaf::of(key, value), key)).collect();
    sorted.sort();
    let leaves: Vec<Leaf> = sorted.iter().map(|(leaf, _)| *leaf).collect();
    let cut = cut(&leaves).unwrap();
    let chunk = |piece: &Piece| {
        let of = |(_, key): &(Leaf, &Vec<u8>)| ((*key).clone(), entries[*key].clone());
        let entries = sorted[piece.leaves.clone()].iter().map(of).collect();
        Chunk { entries, siblings: piece.siblings.clone() }.to_bytes()
    };
    let chunks = cut.pieces.iter().map(chunk).collect();
    (cut, chunks)
}

/// A state whose values have these sizes, different from each other.
fn state(sizes: &[usize]) -> Entries {
    let entry = |(number, size): (u32, &usize)| {
        let mut value = vec![0; *size];
        value.iter_mut().zip(number.to_be_bytes().into_iter().cycle()).for_each(|(to, from)| *to = from);
        (number.to_be_bytes().to_vec(), value)
    };
    (0_u32..).zip(sizes).map(entry).collect()
}

fn open_all(cut: &Cut, chunks: &[Vec<u8>], root: Hash32) -> Result<Entries, SnapshotError> {
    let plan = Plan::from_depths(&cut.plan.depths())?;
    let mut assembler = Assembler::new(root, plan);
    let mut entries = Entries::new();
    // Any order will do: from the back, the even ones first.
    let (even, odd): (Vec<u32>, Vec<u32>) = (0..u32::try_from(chunks.len()).unwrap()).rev().partition(|i| i % 2 == 0);
    for index in even.into_iter().chain(odd) {
        assert!(!assembler.is_complete());
        entries.extend(assembler.accept(index, &chunks[index as usize])?.entries);
    }
    assert!(assembler.is_complete());
    assert_eq!(assembler.progress(), (chunks.len(), chunks.len()));
    Ok(entries)
}

#[test]
fn every_state_comes_back_whole_and_has_the_root_of_the_tree() {
    let many: Vec<usize> = (0..400).map(|number| number * 997 % 60_000).collect();
    let few_large: Vec<usize> = vec![700_000; 9];
    for sizes in [vec![], vec![0], vec![5], vec![10, 20], vec![3; 1000], many, few_large, vec![2_000_000, 1, 1]] {
        let entries = state(&sizes);
        let root = root_of(&entries);
        let (cut, chunks) = snapshot(&entries);
        assert_eq!(cut.root, root, "{} entries", sizes.len());
        println!("{} entries of {} bytes: {} chunks", sizes.len(), sizes.iter().sum::<usize>(), chunks.len());
        for (piece, chunk) in cut.pieces.iter().zip(&chunks) {
            assert!(chunk.len() <= MAX_CHUNK_BYTES || piece.leaves.len() == 1, "{} bytes", chunk.len());
        }
        assert_eq!(open_all(&cut, &chunks, root).unwrap(), entries);
    }
}

#[test]
fn a_tree_begun_at_a_height_goes_on_like_one_with_a_history() {
    let mut with_history = Tree::default();
    let (mut entries, mut last) = (Changes::new(), Changes::new());
    for version in 0..20_u64 {
        last = [(vec![u8::try_from(version % 7).unwrap()], Some(version.to_be_bytes().to_vec()))].into();
        entries.extend(last.clone());
        with_history.update(version, &last).unwrap();
    }
    let (mut begun, update) = Tree::begin_at(19, &entries).unwrap();
    assert_eq!(update.root, with_history.root(19).unwrap());
    let reread = Tree::from_nodes(update.nodes).unwrap();
    assert_eq!((reread.version(), reread.root(19)), (Some(19), Ok(update.root)));
    for version in 20..30_u64 {
        last.insert(vec![u8::try_from(version % 11).unwrap()], (version % 3 != 0).then(|| vec![1]));
        let roots = [begun.update(version, &last).unwrap().root, with_history.update(version, &last).unwrap().root];
        assert_eq!(roots[0], roots[1], "{version}");
    }
    assert_eq!(Tree::begin_at(0, &entries).unwrap().1.root, update.root);
    assert_eq!(
        Tree::begin_at(5, &Changes::new()).unwrap().1.root,
        Tree::default().update(0, &Changes::new()).unwrap().root
    );
}

#[test]
fn every_altered_bit_of_a_chunk_is_found_out() {
    for sizes in [vec![], vec![4], vec![4, 4, 4], vec![600_000; 5]] {
        let entries = state(&sizes);
        let (cut, chunks) = snapshot(&entries);
        for (piece, chunk) in cut.pieces.iter().zip(&chunks) {
            assert!(Chunk::open(chunk, &piece.subtree, &cut.root).is_ok());
            let every = (chunk.len() / 400).max(1);
            for at in (0..chunk.len()).filter(|at| at % every == 0 || *at < 64 || at + 300 > chunk.len()) {
                let mut altered = chunk.clone();
                altered[at] ^= 1 << (at % 8);
                assert!(Chunk::open(&altered, &piece.subtree, &cut.root).is_err(), "byte {at} of {}", chunk.len());
            }
            for length in (0..chunk.len()).step_by(every) {
                assert!(Chunk::open(&chunk[..length], &piece.subtree, &cut.root).is_err(), "{length}");
            }
        }
    }
}

#[test]
fn a_chunk_passes_for_no_other_and_no_entry_can_be_left_out() {
    let entries = state(&(0..60).map(|number| 50_000 + number).collect::<Vec<_>>());
    let (cut, chunks) = snapshot(&entries);
    assert!(chunks.len() >= 3);
    let root = cut.root;
    for (at, chunk) in chunks.iter().enumerate() {
        for (other, piece) in cut.pieces.iter().enumerate() {
            assert_eq!(Chunk::open(chunk, &piece.subtree, &root).is_ok(), at == other, "{at} as {other}");
        }
        let piece = &cut.pieces[at];
        let whole = Chunk::open(chunk, &piece.subtree, &root).unwrap();
        for gone in 0..whole.entries.len() {
            let mut less = whole.clone();
            less.entries.remove(gone);
            let refused = Chunk::open(&less.to_bytes(), &piece.subtree, &root);
            assert_eq!(refused, Err(SnapshotError::Wrong { root }), "entry {gone} of chunk {at} left out");
        }
        let mut more = whole.clone();
        more.entries.push(more.entries[0].clone());
        assert!(matches!(Chunk::open(&more.to_bytes(), &piece.subtree, &root), Err(SnapshotError::Malformed(_))));
        let mut swapped = whole.clone();
        swapped.entries.swap(0, 1);
        assert!(matches!(Chunk::open(&swapped.to_bytes(), &piece.subtree, &root), Err(SnapshotError::Malformed(_))));
    }
}

/// A lone leaf stands for all of a subtree whose other half is empty. So its hash alone would prove that the half where
/// it lies is empty, too.
#[test]
fn a_leaf_cannot_be_hidden_as_its_own_sibling() {
    let (key, value) = (b"the only entry".to_vec(), b"a fortune".to_vec());
    let entries: Entries = [(key.clone(), value.clone())].into();
    let root = root_of(&entries);
    let place = state_key(&key);
    let leaf = Summary::of_entry(&key, &value);
    assert_eq!(Hash32(leaf.hash()), root);
    assert_eq!(leaf, Summary::Leaf { place, value: state_hash(&value) });
    for depth in 1..=8_u8 {
        let own = Subtree::of(&place, depth).unwrap();
        let mut siblings = vec![Summary::Empty; usize::from(depth)];
        let honest = Chunk { entries: vec![(key.clone(), value.clone())], siblings: siblings.clone() };
        assert_eq!(Chunk::open(&honest.to_bytes(), &own, &root), Ok(honest));
        siblings[0] = leaf;
        let hiding = Chunk { entries: Vec::new(), siblings };
        let told = Chunk::open(&hiding.to_bytes(), &own, &root);
        assert_eq!(told, Err(SnapshotError::Malformed("a sibling lies elsewhere")), "at depth {depth}");
        // Where it does lie, it does prove that the other half is empty.
        let mut flipped = place;
        flipped[0] ^= 0x80 >> (depth - 1);
        assert!(Chunk::open(&hiding.to_bytes(), &Subtree::of(&flipped, depth).unwrap(), &root).is_ok());
    }
}

#[test]
fn a_chunk_is_taken_once_and_a_false_one_leaves_it_missing() {
    let entries = state(&[400_000; 7]);
    let (cut, chunks) = snapshot(&entries);
    let mut assembler = Assembler::new(cut.root, cut.plan.clone());
    let mut false_chunk = chunks[1].clone();
    false_chunk[20] ^= 1;
    assert!(assembler.accept(1, &false_chunk).is_err());
    assert!(assembler.missing().any(|index| index == 1));
    assert!(assembler.accept(1, &chunks[1]).is_ok());
    assert_eq!(assembler.accept(1, &chunks[1]), Err(SnapshotError::NotMissing(1)));
    assert_eq!(assembler.accept(77_777, &chunks[1]), Err(SnapshotError::NotMissing(77_777)));
    let oversize = vec![0; MAX_LONE_CHUNK_BYTES + 1];
    assert!(matches!(assembler.accept(0, &oversize), Err(SnapshotError::Oversize { .. })));
}

#[test]
fn plans_that_leave_a_gap_overlap_or_go_on_are_refused() {
    let cases: [(&[u8], bool); 12] = [
        (&[0], true),
        (&[1, 1], true),
        (&[1, 2, 2], true),
        (&[2, 2, 1], true),
        (&[3, 3, 2, 1], true),
        (&[], false),
        (&[1], false),
        (&[1, 2], false),
        (&[2, 1, 2], false),
        (&[0, 0], false),
        (&[1, 1, 1], false),
        (&[129], false),
    ];
    for (depths, holds) in cases {
        let plan = Plan::from_depths(depths);
        assert_eq!(plan.is_ok(), holds, "{depths:?}");
        assert!(plan.is_err() || plan.is_ok_and(|plan| plan.depths() == depths));
    }
    assert!(Plan::from_depths(&vec![16; MAX_CHUNKS]).is_ok());
    assert!(Plan::from_depths(&vec![17; MAX_CHUNKS + 1]).is_err());
}

proptest! {
    /// Subtrees make the whole exactly when each begins where the one before ends and their parts of it add up to one.
    #[test]
    fn a_plan_is_a_tiling(depths in prop::collection::vec(0_u8..6, 0..40)) {
        let size = |depth: u8| 64_u32 >> depth;
        let mut at = 0;
        let mut tiles = true;
        for depth in &depths {
            tiles &= at % size(*depth) == 0 && at < 64;
            at += size(*depth);
        }
        tiles &= at == 64;
        let plan = Plan::from_depths(&depths);
        prop_assert_eq!(plan.is_ok(), tiles);
        if let Ok(plan) = plan {
            for byte in 0..=255_u8 {
                let holders = plan.subtrees().iter().filter(|subtree| subtree.holds(&[byte; 32])).count();
                prop_assert_eq!(holders, 1, "each place lies in one chunk");
            }
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), depth in 0_u8..=128, place: [u8; 32]) {
        let subtree = Subtree::of(&place, depth).unwrap();
        let _ = Chunk::open(&bytes, &subtree, &Hash32(place));
    }
}
