//! Blocks that are gone, and what stays without them.

use crate::bench::{Bench, commit, committed, envelope};
use protocol::block::{Validator, ValidatorSet};
use protocol::crypto::Kind;
use protocol::genesis::canonical;
use protocol::ids::Account;
use protocol::ledger::keys;
use storage::Place;

/// Heights 1 to 10, one envelope each: eight kinds in turn.
fn filled(bench: &Bench) {
    for height in 1..=10_u8 {
        bench.store().write(&[committed(commit(height.into(), vec![envelope(height)]))]).expect("a write");
    }
}

#[test]
fn what_is_pruned_is_gone_and_what_later_proofs_need_stays() {
    Bench::on_both(|bench| {
        filled(bench);
        assert_eq!(bench.store().lowest().unwrap(), 1);
        assert_eq!(bench.store().prune(8, 3).unwrap(), 4, "no more at once than asked for");
        assert_eq!(bench.store().prune(8, 100).unwrap(), 8);
        assert_eq!(bench.store().prune(5, 100).unwrap(), 8, "nothing comes back");
        bench.reopen();
        let store = bench.store();
        assert_eq!((store.lowest().unwrap(), store.height().unwrap()), (8, 10));
        for height in 1..=10_u8 {
            let (here, made) = (height >= 8, commit(height.into(), vec![envelope(height)]));
            assert_eq!(store.block(height.into()).unwrap().is_some(), here, "{height}");
            assert_eq!(store.block_by_id(&made.block.id()).unwrap().is_some(), here, "{height}");
            let found = store.object(&envelope(height).id()).unwrap();
            let kind = envelope(height).kind;
            let kept = matches!(kind, Kind::DataNet | Kind::Contribution | Kind::DatasetManifest | Kind::ModelManifest);
            assert_eq!(found.is_some(), here || kept, "{height} {kind:?}");
            if let Some(found) = found {
                assert_eq!(found.envelope, envelope(height));
                assert_eq!(found.place, Place::Block { height: height.into(), index: 0 });
            }
        }
        // A range below is no answer; later blocks would be taken for it.
        assert!(store.blocks(7, 3, usize::MAX).unwrap().is_empty());
        assert!(store.blocks(0, 3, usize::MAX).unwrap().is_empty());
        assert_eq!(store.blocks(8, 9, usize::MAX).unwrap().len(), 3);
        assert_eq!(store.load().unwrap().height, 10);
        store.write(&[committed(commit(11, vec![envelope(11)]))]).unwrap();
        // The last block always stays.
        assert_eq!(store.prune(u64::MAX, 100).unwrap(), 11);
        assert!(store.load().unwrap().last.is_some());
    });
}

#[test]
fn the_validator_set_of_every_height_can_be_shown() {
    let set = |power: u64| -> ValidatorSet {
        let member = |key: u8| Validator { key: Account([key; 32]), payout: Account([key; 32]), power };
        borsh::from_slice(&canonical(&vec![member(1), member(2)])).unwrap()
    };
    Bench::on_both(|bench| {
        // As the ledger does it: the block of height h changes the set of height h + 2.
        let power = |height: u64| if height < 5 { 10 } else { height };
        let mut first = commit(1, vec![]);
        first.changes.insert(keys::VALIDATORS.to_vec(), Some(canonical(&set(10))));
        for height in 1..=9 {
            let mut next = if height == 1 { first.clone() } else { commit(height, vec![]) };
            next.block.header.validators = set(power(height)).hash();
            next.block.header.next_validators = set(power(height + 1)).hash();
            if height >= 3 {
                let bytes = canonical(&set(power(height + 2)));
                next.changes.insert(keys::NEXT_VALIDATORS.to_vec(), Some(bytes));
            }
            bench.store().write(&[committed(next)]).unwrap();
        }
        bench.reopen();
        for height in 1..=9 {
            let light = bench.store().light_block(height).unwrap().expect("a block");
            assert_eq!(light.header.height, height);
            assert_eq!(light.validators, set(power(height)), "{height}");
            assert_eq!(light.next_validators(), &set(power(height + 1)), "{height}");
            assert_eq!(light.changed.is_some(), power(height) != power(height + 1));
        }
        assert_eq!(bench.store().light_block(10).unwrap(), None);
        bench.store().prune(6, 100).unwrap();
        assert_eq!(bench.store().light_block(5).unwrap(), None);
        assert!(bench.store().light_block(6).unwrap().is_some());
    });
}
