//! Where a fee goes, to the drop.

use super::world::*;
use protocol::evidence::{Attribution, BASIS_POINTS};
use protocol::genesis::{FeeSplit, Params};
use protocol::ids::*;
use protocol::ledger::records::{Line, ReceiptState, RefundReason, Role};
use protocol::ledger::settle::Division;
use protocol::ledger::*;
use protocol::objects::*;
use std::collections::BTreeMap;

const WELL: &str = "the spring in the eastern valley never froze before the winter of the great comet";
const RIVER: &str = "a ferryman carried seven sacks of barley across the swollen river at dawn";

/// A world with one open DataNet of two contributions, a model, and its base.
fn market() -> (World, DataNetId, ModelId) {
    let mut world = World::new();
    let net = world.found(100, Admission::Open);
    let a = world.contribute(101, net, &[WELL]);
    let b = world.contribute(102, net, &[RIVER]);
    let manifest = world.publish(100, net, &[a, b]);
    let base = world.model_object(105, &[(manifest, 1)]);
    let base = world.register(ModelManifest { reserve_bp: 2_500, ..base }, 105);
    let model = world.model_object(106, &[(manifest, 1)]);
    let model = world.register(ModelManifest { base: Some(base), ..model }, 106);
    (world, net, model)
}

fn of_role(lines: &[Line], role: Role) -> u128 {
    lines.iter().filter(|line| line.role == role).map(|line| line.amount.0).sum()
}

fn of_account(lines: &[Line], number: u8) -> u128 {
    lines.iter().filter(|line| line.account == Some(who(number))).map(|line| line.amount.0).sum()
}

#[test]
fn a_fee_reaches_everybody_it_is_due_to() {
    let (mut world, net, model) = market();
    let answer = "It is said that the spring in the eastern valley never froze before the winter.";
    let receipt = world.receipt(110, 111, model, answer);
    let fee = world.receipt_object(110, 111, model, answer).fee.0;
    assert_eq!(fee, (11 * 1_000_000 + answer.len() as u128 * 7_000_001).div_ceil(1000));
    let before = world.state.clone();
    world.block(std::slice::from_ref(&receipt));
    assert_eq!(world.state.escrow(), Drops(fee));
    assert_eq!(world.available(110), before.account(&who(110)).available.0 - fee);
    assert!(matches!(world.record(&receipt).state, ReceiptState::Sealed { open: 1 }));
    let treasury = world.state.treasury().0;
    world.settle_all();
    let settled = world.height();
    assert_eq!(world.state.escrow(), Drops::ZERO);

    let settlement = world.settlement(&receipt);
    let lines = &settlement.lines;
    assert_eq!((settlement.covered_words, settlement.total_words), (11, 15));
    assert_eq!(settlement.spans.len(), 1);
    assert_eq!(lines.iter().map(|line| line.amount.0).sum::<u128>(), fee);
    // The split, by hand: whole basis points first, the missing drops to the largest remainders.
    let parts = largest_remainder(fee, &[5_000, 2_000, 1_500, 1_200, 300]);
    assert_eq!(of_role(lines, Role::Data) + of_role(lines, Role::Base), parts[0]);
    assert_eq!(of_role(lines, Role::Model), parts[1]);
    assert_eq!((of_role(lines, Role::Serving), of_account(lines, 111)), (parts[2], parts[2]));
    assert_eq!(of_role(lines, Role::Validators), parts[3]);
    assert_eq!(of_role(lines, Role::Treasury), parts[4]);
    assert_eq!(world.state.treasury().0, treasury + parts[4]);
    // Eleven of fifteen words are the first contributor's; the rest is the DataNet's.
    let data = largest_remainder(parts[0], &[11, 4]);
    assert_eq!((of_account(lines, 101), of_account(lines, 102)), (data[0], 0));
    let dividend = world.state.dividend(settled, &net).expect("a dividend");
    assert_eq!(dividend.amount, Drops(data[1]));
    let bytes = largest_remainder(data[1], &[WELL.len() as u128, RIVER.len() as u128]);
    let mut expected = vec![(who(101), Drops(bytes[0])), (who(102), Drops(bytes[1]))];
    expected.sort();
    assert_eq!(dividend.parts, expected);
    // The base takes its quarter of the model's part.
    let model_parts = largest_remainder(parts[1], &[2_500, 7_500]);
    assert_eq!((of_account(lines, 105), of_account(lines, 106)), (model_parts[0], model_parts[1]));
    // Validators by power: 10, 11, 12 and 13.
    let mut powers: Vec<(Account, u128)> = (0..4).map(|by| (payout(by), 10 + u128::from(by))).collect();
    powers.sort();
    let due = largest_remainder(parts[3], &powers.iter().map(|(_, power)| *power).collect::<Vec<_>>());
    for ((account, _), due) in powers.iter().zip(due) {
        assert_eq!(world.state.account(account).pending, Drops(due));
    }

    // Pending for the whole dispute window, then available, in one block.
    let due = data[0] + bytes[0];
    let (spendable, window) = (world.available(101), world.genesis.params.dispute_window);
    assert_eq!(world.state.account(&who(101)).pending, Drops(due));
    world.idle(window - 1);
    assert_eq!(world.available(101), spendable);
    world.idle(1);
    assert_eq!(world.height(), settled + window);
    assert_eq!(world.state.account(&who(101)).pending, Drops::ZERO);
    assert_eq!(world.available(101), spendable + due);
}

/// Largest remainder in the test's own arithmetic: one drop after the other.
fn largest_remainder(amount: u128, weights: &[u128]) -> Vec<u128> {
    let total: u128 = weights.iter().sum();
    let mut parts: Vec<u128> = weights.iter().map(|weight| amount * weight / total).collect();
    let remainder = |index: usize| amount * weights[index] % total;
    let mut order: Vec<usize> = (0..weights.len()).collect();
    order.sort_by(|a, b| remainder(*b).cmp(&remainder(*a)).then(a.cmp(b)));
    let missing = amount - parts.iter().sum::<u128>();
    for index in order.into_iter().take(usize::try_from(missing).expect("fewer than weights")) {
        parts[index] += 1;
    }
    parts
}

#[test]
fn the_earlier_contribution_is_paid_and_the_copy_is_not() {
    let mut world = World::new();
    let (first, second) = (world.found(100, Admission::Open), world.found(100, Admission::Open));
    // The copy stands in another DataNet, whose manifest is even active before the original's.
    let original = world.contribute(101, first, &[WELL]);
    let copy = world.contribute(102, second, &[WELL, RIVER]);
    let copied = world.publish(100, second, &[copy]);
    let published = world.publish(100, first, &[original]);
    for lineage in [[(copied, 1), (published, 1)], [(published, 1), (copied, 1)]] {
        let model = world.model_object(105, &lineage);
        let model = world.register(model, 105);
        let receipt = world.receipt(110, 111, model, WELL);
        world.block(std::slice::from_ref(&receipt));
        world.settle_all();
        let lines = world.settlement(&receipt).lines;
        assert!(of_account(&lines, 101) > 0);
        assert_eq!(of_account(&lines, 102), 0);
        assert_eq!(of_role(&lines, Role::Base), 0, "every word is covered");
    }
}

#[test]
fn an_answer_that_matches_nothing_feeds_the_lineage_by_weight() {
    let mut world = World::new();
    let (first, second) = (world.found(100, Admission::Open), world.found(100, Admission::Open));
    let a = world.contribute(101, first, &[WELL]);
    let b = world.contribute(102, second, &[RIVER]);
    let (a, b) = (world.publish(100, first, &[a]), world.publish(100, second, &[b]));
    let model = world.model_object(105, &[(a, 1), (b, 3)]);
    let model = world.register(model, 105);
    for answer in ["Nothing matches quibbling zebras", "?!"] {
        let receipt = world.receipt(110, 111, model, answer);
        world.block(std::slice::from_ref(&receipt));
        world.settle_all();
        let lines = world.settlement(&receipt).lines;
        assert_eq!(of_role(&lines, Role::Data), 0);
        let data = largest_remainder(world.record(&receipt).fee.0, &[5_000, 2_000, 1_500, 1_200, 300])[0];
        let base: Vec<(Option<DataNetId>, u128)> =
            lines.iter().filter(|line| line.role == Role::Base).map(|line| (line.datanet, line.amount.0)).collect();
        let parts = largest_remainder(data, &[1, 3]);
        assert_eq!(base, [(Some(first), parts[0]), (Some(second), parts[1])]);
    }
}

#[test]
fn without_agreement_the_fee_goes_back_in_full() {
    let (mut world, _, model) = market();
    let receipt = world.receipt(110, 111, model, WELL);
    let before = world.available(110);
    world.block(std::slice::from_ref(&receipt));
    let sealed = world.height();
    world.idle(world.genesis.params.settle_timeout - 1);
    assert!(matches!(world.record(&receipt).state, ReceiptState::Sealed { .. }));
    let events = world.block(&[]);
    assert_eq!(events, [Event::Refunded { receipt: receipt.id().into(), reason: RefundReason::SettleTimeout }]);
    let height = sealed + world.genesis.params.settle_timeout;
    assert_eq!(world.record(&receipt).state, ReceiptState::Refunded { height, reason: RefundReason::SettleTimeout });
    assert_eq!(world.available(110), before);
    assert!(open_work(&world.state).is_empty());
    assert_eq!(world.state.answer(&receipt.id().into()), None);
    // It stays known: it cannot be sealed a second time.
    assert!(matches!(world.refused(&receipt), Some(protocol::refusal::Refusal::Duplicate { .. })));
}

#[test]
fn one_datanet_without_agreement_refunds_what_the_others_agreed_on() {
    let mut world = World::new();
    let (first, second) = (world.found(100, Admission::Open), world.found(100, Admission::Open));
    let a = world.contribute(101, first, &[WELL]);
    let b = world.contribute(102, second, &[RIVER]);
    let (a, b) = (world.publish(100, first, &[a]), world.publish(100, second, &[b]));
    let both = world.model_object(105, &[(a, 1), (b, 1)]);
    let both = world.register(both, 105);
    let single = world.model_object(105, &[(a, 1)]);
    let single = world.register(single, 105);
    let receipts = [world.receipt(110, 111, both, WELL), world.receipt(110, 111, single, WELL)];
    world.block(&receipts);
    let before: Vec<_> = world.state.entries().keys().cloned().collect();
    for _ in 0..world.genesis.params.settle_timeout {
        let of_first = |object: &protocol::envelope::Verified| match object.object() {
            Object::AttributionCommit(commit) => commit.datanet == first,
            Object::AttributionReveal(reveal) => reveal.datanet == first,
            _ => false,
        };
        let (mut objects, mut bodies) = world.duties(&[0, 1, 2, 3]);
        objects.retain(of_first);
        bodies.retain(|body| AttributionBody::from_bytes(body).expect("canonical").datanet == first);
        world.try_block(&objects, bodies).expect("honest duties");
    }
    assert!(matches!(world.record(&receipts[0]).state, ReceiptState::Refunded { .. }));
    assert!(matches!(world.record(&receipts[1]).state, ReceiptState::Settled(_)));
    // Nothing that was needed only for agreement is left behind.
    let temporary =
        |key: &&Vec<u8>| [keys::ANSWERS, keys::PARTS, keys::SAID, keys::AGREED, keys::WORK].contains(&key[0]);
    assert!(before.iter().any(|key| temporary(&key)));
    assert_eq!(world.state.entries().keys().find(temporary), None);
    assert_eq!(world.state.escrow(), Drops::ZERO);
}

#[test]
fn transfers_move_what_they_say_and_pay_the_treasury() {
    let mut world = World::new();
    let fee = world.genesis.params.object_fee.0;
    let pay = [
        world.operation(100, Action::Transfer { to: who(150), amount: Drops(5) }),
        world.operation(100, Action::Transfer { to: who(100), amount: Drops(7) }),
    ];
    world.block(&pay);
    assert_eq!((world.available(100), world.available(150)), (START - 5 - 2 * fee, 5));
    assert_eq!(world.state.treasury(), Drops(2 * fee));
    // To the last drop, and no further.
    let rest = START - 5 - 3 * fee;
    let too_much = world.operation(100, Action::Transfer { to: who(150), amount: Drops(rest + 1) });
    assert!(world.refused(&too_much).is_some());
    world.try_block(&[], Vec::new()).expect("an empty block");
    let all = world.operation(100, Action::Transfer { to: who(150), amount: Drops(rest) });
    world.block(&[all]);
    assert_eq!(world.available(100), 0);
}

#[test]
fn elders_keep_what_they_reserved_whatever_their_children_promise() {
    let params = Params {
        split: FeeSplit { data_bp: 0, model_bp: BASIS_POINTS, serving_bp: 0, validators_bp: 0, treasury_bp: 0 },
        ..Params::devnet()
    };
    // Youngest first: the model promises everything away, its base nothing, the oldest keeps 40 %.
    let models = [(ModelId([1; 32]), who(1), 10_000), (ModelId([2; 32]), who(2), 0), (ModelId([3; 32]), who(3), 4_000)];
    let lines = divided(&params, 1_001, &models, &[]);
    let paid: Vec<(u8, u128)> = (1..4).map(|number| (number, of_account(&lines, number))).collect();
    assert_eq!(paid, [(1, 601), (2, 0), (3, 400)]);
}

fn divided(params: &Params, fee: u128, models: &[(ModelId, Account, u32)], validators: &[(Account, u64)]) -> Vec<Line> {
    let attribution = Attribution { total_words: 3, ..Attribution::default() };
    Division {
        fee: Drops(fee),
        params,
        attribution: &attribution,
        payees: &BTreeMap::new(),
        lineage: &[(DataNetId([9; 32]), 1)],
        models,
        server: Some(who(50)),
        validators,
    }
    .lines()
}

#[test]
fn small_fees_are_divided_to_the_drop() {
    let params = Params::devnet();
    let models = [(ModelId([1; 32]), who(1), 0)];
    for fee in 0..500 {
        let lines = divided(&params, fee, &models, &[(who(2), 1), (who(3), 1), (who(4), 1)]);
        assert_eq!(lines.iter().map(|line| line.amount.0).sum::<u128>(), fee);
        assert!(lines.iter().all(|line| line.amount.0 > 0));
        let parts = largest_remainder(fee, &[5_000, 2_000, 1_500, 1_200, 300]);
        let got = [Role::Base, Role::Model, Role::Serving, Role::Validators, Role::Treasury]
            .map(|role| of_role(&lines, role));
        assert_eq!(got, parts.as_slice(), "{fee}");
    }
    // Where nobody is there to take a part, it is the treasury's.
    assert_eq!(of_role(&divided(&params, 10_000, &models, &[]), Role::Treasury), 1_500);
}
