//! The life of a validator: bonded, elected, withdrawn, paid back.

use super::world::*;
use protocol::block::ValidatorSet;
use protocol::genesis::{GenesisError, Params, StakeParams};
use protocol::ids::Account;
use protocol::ledger::records::{ValidatorRecord, ValidatorState};
use protocol::ledger::*;
use protocol::objects::*;
use protocol::refusal::Refusal;
use std::collections::BTreeMap;

const CREDIT: u128 = Drops::CREDIT.0;

fn credits(count: u128) -> Drops {
    Drops(count * CREDIT)
}

fn bond(amount: Drops, name: &str) -> Action {
    Action::Bond { amount, payout: who(150), name: name.into() }
}

fn power(set: Option<ValidatorSet>, number: u8) -> Option<u64> {
    set.expect("a set").get(&who(number)).map(|member| member.power)
}

fn is_state(refusal: Option<Refusal>) -> bool {
    matches!(refusal, Some(Refusal::State { .. }))
}

#[test]
fn a_bond_counts_two_heights_later_and_is_paid_back_after_its_time() {
    let mut world = World::new();
    let fee = world.genesis.params.object_fee.0;
    let supply = world.genesis.supply();
    assert_eq!(supply.0, 20 * START + (10 + 11 + 12 + 13) * CREDIT);
    assert_eq!(audit(&world.state).expect("sound").bonded, credits(46));

    let offer = world.operation(100, bond(Drops(20 * CREDIT + 7), "newcomer"));
    let events = world.block(&[offer]);
    let h = world.height();
    assert_eq!(events[0], Event::Bonded { validator: who(100), amount: Drops(20 * CREDIT + 7) });
    assert_eq!(events[1], Event::ValidatorsElected { height: h + 2 });
    assert_eq!(world.available(100), START - 20 * CREDIT - 7 - fee);
    // The state after h holds the sets of h + 1 and h + 2.
    assert_eq!((power(world.state.validators(), 100), power(world.state.next_validators(), 100)), (None, Some(20)));
    world.idle(1);
    assert_eq!(power(world.state.validators(), 100), Some(20));
    assert_eq!(power(world.state.last_validators(), 100), None);
    assert_eq!(world.context().validators.get(&who(100)).map(|member| member.payout), Some(who(150)));
    world.idle(1);
    assert_eq!(power(world.state.last_validators(), 100), Some(20));

    // A part of it leaves; it counts no more two heights later, and is paid a hundred epochs later.
    let part = world.operation(100, Action::Unbond { amount: credits(5) });
    world.block(&[part]);
    let (h, until) = (world.height(), world.height() + world.genesis.params.stake.unbonding_epochs);
    assert_eq!((power(world.state.validators(), 100), power(world.state.next_validators(), 100)), (Some(20), Some(15)));
    let totals = audit(&world.state).expect("sound");
    assert_eq!((totals.bonded.0, totals.unbonding), (61 * CREDIT + 7, credits(5)));
    assert_eq!(world.state.unbonding(&who(100)), BTreeMap::from([(until, credits(5))]));
    // All that is left leaves with it.
    let rest = world.operation(100, Action::Unbond { amount: Drops(15 * CREDIT + 7) });
    world.block(&[rest]);
    world.idle(until - h - 2);
    assert_eq!(world.available(150), 0);
    let events = world.block(&[]);
    assert_eq!((world.height(), world.available(150)), (until, 5 * CREDIT));
    assert_eq!(events, [Event::PaidBack { validator: who(100), amount: credits(5) }]);
    assert!(world.state.candidate(&who(100)).is_some());
    world.block(&[]);
    assert_eq!(world.available(150), 20 * CREDIT + 7);
    assert_eq!(world.state.candidate(&who(100)), None);
    assert_eq!(audit(&world.state).expect("sound").bonded, credits(46));
    // Its name is free again.
    let heir = world.operation(101, bond(credits(1), "newcomer"));
    world.block(&[heir]);
    assert_eq!(world.state.candidate(&who(101)).map(|record| record.since), Some(world.height()));
}

#[test]
fn what_makes_no_sound_bond_is_refused() {
    let mut world = World::new();
    let try_one = |world: &World, by: u8, action: Action| {
        let nonce = world.state.account(&who(by)).nonce;
        let fee = if action.is_free() { Drops::ZERO } else { world.genesis.params.object_fee };
        let operation = Operation { account: who(by), nonce, fee, action };
        world.refused(&world.sign(&Object::Operation(operation), &[by]))
    };
    assert!(is_state(try_one(&world, 100, bond(Drops(CREDIT - 1), "small"))));
    assert!(is_state(try_one(&world, 100, bond(Drops::ZERO, "nothing"))));
    assert!(is_state(try_one(&world, 100, bond(credits(5), "validator-2"))), "a name is one validator's");
    assert!(matches!(try_one(&world, 100, bond(Drops(START), "rich")), Some(Refusal::Funds { .. })));
    assert!(is_state(try_one(&world, 100, Action::Unbond { amount: Drops(1) })));
    assert!(is_state(try_one(&world, 100, Action::Unjail)));
    assert!(is_state(try_one(&world, 0, Action::Unjail)), "nobody jailed it");
    let first = world.operation(100, bond(credits(2), "somebody"));
    world.block(&[first]);
    assert!(is_state(try_one(&world, 100, Action::Unbond { amount: Drops(CREDIT + 1) })), "what stays must count");
    assert!(matches!(try_one(&world, 100, Action::Unbond { amount: credits(3) }), Some(Refusal::Funds { .. })));
    // More of it, another payee and another name; the old name is free.
    let more = Action::Bond { amount: Drops::ZERO, payout: who(101), name: "somebody else".into() };
    let more = world.operation(100, more);
    let next = world.operation(102, bond(credits(1), "somebody"));
    world.block(&[more, next]);
    let record = world.state.candidate(&who(100)).expect("a record");
    assert_eq!((record.payout, record.bond, record.name.as_str()), (who(101), credits(2), "somebody else"));
}

#[test]
fn withdrawals_that_wait_are_bounded() {
    let mut world = World::new();
    let offer = world.operation(100, bond(credits(100), "leaver"));
    world.block(&[offer]);
    for _ in 0..protocol::limits::MAX_UNBONDINGS {
        // Two in one block are one.
        let parts = [0; 2].map(|_| world.operation(100, Action::Unbond { amount: Drops(1) }));
        world.block(&parts);
    }
    let one_more = world.operation(100, Action::Unbond { amount: Drops(1) });
    assert!(is_state(world.refused(&one_more)));
    world.idle(world.genesis.params.stake.unbonding_epochs);
    assert_eq!(world.available(150), 2 * protocol::limits::MAX_UNBONDINGS as u128);
}

/// A network of one validator, and one that joins.
#[test]
fn the_last_validator_stays() {
    let mut world = World::with_validators(Params::devnet(), 1);
    let gift = world.operation(100, Action::Transfer { to: who(0), amount: credits(1) });
    world.block(&[gift]);
    let all = Action::Unbond { amount: credits(10) };
    let leave = world.operation(0, all.clone());
    assert!(is_state(world.refused(&leave)));
    let offer = world.operation(100, bond(credits(3), "second"));
    world.block(&[offer]);
    let leave = world.operation(0, all);
    world.block(&[leave]);
    world.idle(2);
    let set = world.state.last_validators().expect("a set");
    assert_eq!(set.members().iter().map(|member| member.key).collect::<Vec<_>>(), [who(100)]);
}

#[test]
fn the_greatest_bonds_are_elected() {
    let params = StakeParams { max_validators: 3, min_bond: credits(5), ..StakeParams::devnet() };
    let record = |bond: u128, state| ValidatorRecord {
        payout: Account([9; 32]),
        name: String::new(),
        bond: Drops(bond * CREDIT / 10),
        state,
        since: 0,
        slashed: Drops::ZERO,
        jailings: 0,
    };
    let jailed = ValidatorState::Jailed { until: 0, reason: records::JailReason::Downtime };
    let active = ValidatorState::Active;
    type Row<'a> = (&'a str, &'a [(u8, u128, ValidatorState)], &'a [(u8, u64)]);
    let table: [Row<'_>; 5] = [
        ("power is rounded down", &[(1, 59, active), (2, 70, active)], &[(1, 5), (2, 7)]),
        ("below the least", &[(1, 49, active), (2, 50, active)], &[(2, 5)]),
        ("jailed", &[(1, 900, jailed), (2, 50, active)], &[(2, 5)]),
        (
            "the greatest",
            &[(4, 60, active), (3, 50, active), (2, 80, active), (1, 70, active)],
            &[(1, 7), (2, 8), (4, 6)],
        ),
        (
            "ties by key",
            &[(4, 60, active), (3, 60, active), (2, 60, active), (1, 60, active)],
            &[(1, 6), (2, 6), (3, 6)],
        ),
    ];
    for (what, candidates, expected) in table {
        let candidates =
            candidates.iter().map(|(key, bond, state)| (Account([*key; 32]), record(*bond, *state))).collect();
        let set = elect(&candidates, &params);
        let got: Vec<(u8, u64)> = set.members().iter().map(|member| (member.key.0[0], member.power)).collect();
        assert_eq!(got, expected, "{what}");
    }
}

#[test]
fn parameters_outside_their_bounds_start_no_network() {
    type Spoil = fn(&mut StakeParams);
    let table: [(&str, Spoil); 14] = [
        ("power_unit", |stake| stake.power_unit = Drops::ZERO),
        ("min_bond", |stake| stake.min_bond = Drops(CREDIT - 1)),
        ("max_validators", |stake| stake.max_validators = 257),
        ("max_validators", |stake| stake.max_validators = 3),
        ("evidence_age", |stake| stake.evidence_age = stake.unbonding_epochs - 1),
        ("evidence_age", |stake| stake.evidence_age = 0),
        ("double_sign_slash_bp", |stake| stake.double_sign_slash_bp = 5_001),
        ("downtime_window", |stake| stake.downtime_window = 9),
        ("min_signed_bp", |stake| stake.min_signed_bp = 9_501),
        ("downtime_slash_bp", |stake| stake.downtime_slash_bp = 1_001),
        ("jail_epochs", |stake| stake.jail_epochs = 0),
        ("max_missed_duties", |stake| stake.max_wrong_roots = 0),
        ("committee_size", |stake| stake.committee_size = 3),
        ("redraw_epochs", |stake| stake.redraw_epochs = 1),
    ];
    for (expected, spoil) in table {
        let mut genesis = World::new().genesis;
        spoil(&mut genesis.params.stake);
        let error = genesis.check().expect_err(expected);
        assert!(matches!(&error, GenesisError::Param { name, .. } if *name == expected), "{expected}: {error}");
    }
    let mut genesis = World::new().genesis;
    genesis.params.stake.min_bond = credits(11);
    assert!(matches!(genesis.check(), Err(GenesisError::Bond(key)) if key == who(0)));
    genesis = World::new().genesis;
    (genesis.params.stake.power_unit, genesis.params.stake.min_bond) = (Drops(1), Drops(1));
    genesis.accounts[0].1 = Drops(1 << 61);
    assert_eq!(genesis.check(), Err(GenesisError::Supply));
    genesis = World::new().genesis;
    genesis.params.min_receipt_fee = Drops::ZERO;
    assert!(matches!(genesis.check(), Err(GenesisError::Param { name: "min_receipt_fee", .. })));
}
