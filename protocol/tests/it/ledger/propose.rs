//! What a proposer takes, leaves and drops.

use super::world::*;
use protocol::envelope::Verified;
use protocol::ids::*;
use protocol::ledger::*;
use protocol::objects::*;
use protocol::refusal::Refusal;
use std::collections::BTreeMap;

fn choose(world: &World, candidates: &[Verified]) -> Proposal {
    propose(&world.state, &world.context(), candidates, &BTreeMap::new(), Limits::of(&world.genesis.params))
}

fn ids(envelopes: &[Envelope]) -> Vec<ObjectId> {
    envelopes.iter().map(Envelope::id).collect()
}

#[test]
fn operations_are_taken_in_their_accounts_order() {
    let mut world = World::new();
    let mut pay = |by: u8| world.operation(by, Action::Transfer { to: who(103), amount: Drops(1) });
    let [a, b, c, d, gap] = [pay(100), pay(100), pay(100), pay(101), pay(100)];
    let _ = gap;
    let last = pay(100);
    let proposal = choose(&world, &[c.clone(), last.clone(), b.clone(), d.clone(), a.clone()]);
    assert_eq!(ids(&proposal.envelopes), [d.id(), a.id(), b.id(), c.id()]);
    // The one after the gap is neither taken nor dropped.
    assert_eq!(proposal.refused, []);
    world.block(&[d, a.clone(), b, c]);
    let proposal = choose(&world, &[a.clone(), last]);
    assert_eq!(proposal.envelopes, []);
    assert!(matches!(proposal.refused.as_slice(), [(id, Refusal::Nonce { .. })] if *id == a.id()));
}

#[test]
fn operations_far_ahead_are_dropped() {
    let world = World::new();
    for (ahead, kept) in [(NONCE_WINDOW, true), (NONCE_WINDOW + 1, false)] {
        let action = Action::Transfer { to: who(103), amount: Drops(1) };
        let operation = Operation { account: who(100), nonce: ahead, fee: world.genesis.params.object_fee, action };
        let operation = world.sign(&Object::Operation(operation), &[100]);
        assert_eq!(check_object(&world.state, &world.context(), &operation).is_ok(), kept);
        assert_eq!(choose(&world, &[operation]).refused.is_empty(), kept);
    }
}

#[test]
fn a_payer_is_taken_as_far_as_the_money_goes() {
    let mut world = World::new();
    let half = Drops(START / 2);
    let pay = [0; 3].map(|_| world.operation(100, Action::Transfer { to: who(103), amount: half }));
    let proposal = choose(&world, &pay);
    assert_eq!(ids(&proposal.envelopes), [pay[0].id()]);
    assert!(matches!(proposal.refused[0], (_, Refusal::Funds { .. })));
}

#[test]
fn a_proposal_keeps_to_its_limits_and_holds() {
    let mut world = World::new();
    let net = world.found(100, Admission::Open);
    let text = "one passage that is long enough to be worth something to somebody";
    let a = world.contribute(101, net, &[text]);
    let manifest = world.publish(100, net, &[a]);
    let model = world.model_object(105, &[(manifest, 1)]);
    let model = world.register(model, 105);
    let receipts = [0; 3].map(|_| world.receipt(110, 111, model, text));
    world.block(&receipts[..1]);
    for _ in 0..2 {
        let (objects, _) = world.duties(&[0, 1, 2, 3]);
        world.block(&objects);
    }
    let (mut candidates, bodies) = world.duties(&[0, 1, 2, 3]);
    candidates.extend_from_slice(&receipts[1..]);
    let body = AttributionBody::from_bytes(&bodies[0]).expect("canonical");
    let bodies = BTreeMap::from([((body.epoch, body.datanet), bodies[0].clone())]);
    let size = |envelopes: &[Envelope]| borsh::to_vec(envelopes).expect("memory").len() as u64 - 4;
    let all = Limits::of(&world.genesis.params);
    let reveals: Vec<Envelope> = candidates[..4].iter().map(|object| object.envelope().clone()).collect();
    let (body_bytes, exact) = (4 + bodies.values().next().expect("one").len() as u64, size(&reveals));
    let rows = [
        (all, 6, 1),
        (Limits { envelopes: 4, ..all }, 4, 1),
        (Limits { settlements: 0, ..all }, 6, 0),
        // Without the reveals nothing is agreed on, whatever room is kept.
        (Limits { envelopes: 2, ..all }, 2, 0),
        (Limits { bytes: exact + body_bytes, ..all }, 4, 1),
        // With three of four reveals it is agreed, but the fourth may come: the body waits a block.
        (Limits { bytes: exact + body_bytes - 1, ..all }, 3, 0),
    ];
    for (index, (limits, envelopes, settlements)) in rows.into_iter().enumerate() {
        let proposal = propose(&world.state, &world.context(), &candidates, &bodies, limits);
        assert_eq!((proposal.envelopes.len(), proposal.settlements.len()), (envelopes, settlements), "row {index}");
        assert_eq!(proposal.refused, []);
        let settled: u64 = proposal.settlements.iter().map(|body| 4 + body.len() as u64).sum();
        assert!(size(&proposal.envelopes) + settled <= limits.bytes);
        let chosen: Vec<Verified> = candidates[..envelopes].to_vec();
        let block = world.make_block(&chosen, proposal.settlements);
        execute_block(&world.state, &block, &chosen).expect("a proposal holds");
    }
}

#[test]
fn what_is_refused_leaves_no_trace_for_those_after_it() {
    let mut world = World::new();
    let net = world.found(100, Admission::Open);
    world.contribute(101, net, &["held"]);
    // Both fail only after something was written: a document, and a debit of nearly everything.
    let copy = world.contribution_object(102, net, &["fresh", "held"]);
    let copy = world.sign(&Object::Contribution(copy), &[102]);
    let rest = Drops(world.available(103) - 2 * world.genesis.params.object_fee.0);
    let first = world.operation(103, Action::Transfer { to: who(104), amount: Drops(3) });
    let early = world.operation(103, Action::Transfer { to: who(104), amount: rest });
    let honest = world.contribution_object(105, net, &["fresh"]);
    let honest = world.sign(&Object::Contribution(honest), &[105]);
    let proposal = choose(&world, &[copy.clone(), honest.clone(), early, first.clone()]);
    assert_eq!(ids(&proposal.envelopes), [honest.id(), first.id()]);
    let refused: Vec<(ObjectId, &str)> = proposal.refused.iter().map(|(id, why)| (*id, why.as_str())).collect();
    assert_eq!(refused[0], (copy.id(), "repeated"));
    // Taken up again after the first, the other one could not pay any more.
    assert_eq!(refused[1].1, "funds");
}
