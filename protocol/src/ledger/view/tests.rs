//! The overlay against plain maps, and what is refused on load.

use super::*;
use proptest::prelude::*;

proptest! {
    /// The overlay against a plain map: reads, ranges, rollback and the changes it hands out.
    #[test]
    fn an_overlay_reads_as_if_its_changes_were_applied(
        base in prop::collection::btree_map(0_u8..12, any::<u8>(), 0..8),
        kept in prop::collection::vec((0_u8..12, prop::option::of(any::<u8>())), 0..12),
        undone in prop::collection::vec((0_u8..12, prop::option::of(any::<u8>())), 0..12),
        (from, to) in (0_u8..13, 0_u8..13),
    ) {
        let state = State(base.iter().map(|(key, value)| (vec![*key], vec![*value])).collect());
        let mut plain = base;
        let mut overlay = Overlay::new(&state);
        let write = |overlay: &mut Overlay<'_>, key: u8, value: Option<u8>| match value {
            Some(value) => overlay.put(vec![key], &value),
            None => overlay.remove(vec![key]),
        };
        for (key, value) in kept {
            write(&mut overlay, key, value);
            match value {
                Some(value) => plain.insert(key, value),
                None => plain.remove(&key),
            };
        }
        overlay.checkpoint();
        for (key, value) in undone {
            write(&mut overlay, key, value);
        }
        overlay.rollback();
        let expected: Vec<(Vec<u8>, Vec<u8>)> =
            plain.iter().filter(|(key, _)| (from..to).contains(key)).map(|(key, value)| (vec![*key], vec![*value])).collect();
        let got: Vec<(Vec<u8>, Vec<u8>)> =
            overlay.range(&[from], &[to]).into_iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
        prop_assert_eq!(got, expected);
        for key in 0..12 {
            prop_assert_eq!(overlay.get(&[key]), plain.get(&key).map(std::slice::from_ref));
        }
        let mut applied = state.clone();
        let changes = overlay.into_changes();
        prop_assert!(changes.iter().all(|(key, value)| state.get(key) != value.as_deref()));
        applied.apply(&changes);
        prop_assert_eq!(applied.0, plain.into_iter().map(|(key, value)| (vec![key], vec![value])).collect::<BTreeMap<_, _>>());
    }
}

#[test]
fn a_prefix_ends_where_the_next_begins() {
    assert_eq!(keys::after(&[1, 2]), [1, 3]);
    assert_eq!(keys::after(&[1, 255, 255]), [2]);
}

#[test]
fn foreign_entries_are_refused_on_load() {
    for (key, value) in [(vec![], vec![]), (vec![0xee], vec![]), (keys::TREASURY.to_vec(), vec![1])] {
        assert_eq!(State::load([(key.clone(), value)]), Err(UnsoundEntry { key }));
    }
}
