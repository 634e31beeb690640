//! Double signatures: what proves one, and what it costs.

use super::world::*;
use protocol::block::{ProposalPayload, VotePayload, VoteStep};
use protocol::crypto::{Purpose, Signature};
use protocol::envelope::{Verified, seal};
use protocol::genesis::canonical;
use protocol::ids::*;
use protocol::ledger::records::{SlashReason, ValidatorState};
use protocol::ledger::*;
use protocol::objects::*;
use protocol::refusal::Refusal;

const CREDIT: u128 = Drops::CREDIT.0;

fn vote(world: &World, by: u8, height: u64, block: Option<u8>, set: u8) -> SaidVote {
    let (block, validators) = (block.map(|byte| BlockId([byte; 32])), Hash32([set; 32]));
    let payload = VotePayload { step: VoteStep::Precommit, height, round: 2, block, validators, validator: who(by) };
    let signature = key(by).sign(Purpose::Vote, &world.genesis.hash(), &canonical(&payload));
    SaidVote { block, validators, signature }
}

fn proposal(world: &World, by: u8, block: u8, pol_round: Option<u32>) -> SaidProposal {
    let (block, validators) = (BlockId([block; 32]), Hash32([1; 32]));
    let payload = ProposalPayload { height: 1, round: 2, block, pol_round, validators, validator: who(by) };
    let signature = key(by).sign(Purpose::Proposal, &world.genesis.hash(), &canonical(&payload));
    SaidProposal { block, pol_round, validators, signature }
}

/// Two precommits of a validator, under different sets.
pub(super) fn double_vote(world: &World, by: u8, height: u64) -> Offence {
    let votes = [vote(world, by, height, Some(7), 1), vote(world, by, height, None, 2)];
    Offence::of_votes((who(by), height, 2), VoteStep::Precommit, votes).expect("they exclude each other")
}

pub(super) fn report(world: &World, by: u8, offence: Offence) -> Verified {
    world.sign(&Object::Evidence(Box::new(Evidence { reporter: who(by), offence })), &[by])
}

#[test]
fn a_double_signature_costs_a_part_of_everything_and_every_later_vote() {
    let mut world = World::new();
    let gift = world.operation(100, Action::Transfer { to: who(3), amount: Drops(CREDIT) });
    world.block(&[gift]);
    let leaving = world.operation(3, Action::Unbond { amount: Drops(4 * CREDIT) });
    world.block(&[leaving]);
    let treasury = world.state.treasury().0;
    let proof = report(&world, 110, double_vote(&world, 3, 1));
    let events = world.block(std::slice::from_ref(&proof));
    let h = world.height();
    // Five of a hundred of what stays and of what leaves.
    let lost = Drops(13 * CREDIT / 20);
    assert_eq!(
        events,
        [
            Event::Tombstoned { validator: who(3), evidence: proof.id() },
            Event::Slashed { validator: who(3), amount: lost, reason: SlashReason::DoubleSign },
            Event::ValidatorsElected { height: h + 2 },
        ]
    );
    assert_eq!(world.state.treasury().0, treasury + lost.0);
    let record = world.state.candidate(&who(3)).expect("a record");
    assert_eq!((record.bond.0, record.slashed), (9 * CREDIT / 20 * 19, lost));
    assert_eq!(record.state, ValidatorState::Tombstoned { height: h, evidence: proof.id() });
    // Out at h + 2, not before.
    assert!(world.state.validators().expect("a set").get(&who(3)).is_some());
    world.idle(1);
    assert!(world.state.validators().expect("a set").get(&who(3)).is_none());

    // Once is enough, whatever else it signed; and nothing brings it back.
    let other = report(&world, 111, double_vote(&world, 3, 2));
    assert!(matches!(world.refused(&other), Some(Refusal::State { .. })));
    let name = "validator-3".to_owned();
    let bond = world.operation(3, Action::Bond { amount: Drops::ZERO, payout: payout(3), name });
    assert!(matches!(world.refused(&bond), Some(Refusal::State { .. })));
    let unjail = world.operation(3, Action::Unjail);
    assert!(matches!(world.refused(&unjail), Some(Refusal::State { .. })));
    // What is left may leave.
    world.idle(1);
    let rest = world.operation(3, Action::Unbond { amount: record.bond });
    world.block(&[rest]);
    world.idle(world.genesis.params.stake.unbonding_epochs);
    assert_eq!(world.state.account(&payout(3)).available.0, 13 * CREDIT - lost.0);
    // It takes nobody's place, but is never forgotten; nor is its name free.
    assert_eq!(world.state.candidate(&who(3)), None);
    let again = Action::Bond { amount: Drops(CREDIT), payout: payout(3), name: "again".into() };
    let gift = world.operation(100, Action::Transfer { to: who(3), amount: Drops(2 * CREDIT) });
    world.block(&[gift]);
    let again = world.operation(3, again);
    assert!(matches!(world.refused(&again), Some(Refusal::State { what: "the validator", .. })));
    let name = "validator-3".to_owned();
    let namesake = world.operation(100, Action::Bond { amount: Drops(CREDIT), payout: who(150), name });
    assert!(matches!(world.refused(&namesake), Some(Refusal::State { what: "the name", .. })));
}

#[test]
fn proposals_prove_it_too_and_whoever_left_is_punished_while_it_waits() {
    let mut world = World::new();
    let offer = Action::Bond { amount: Drops(40 * CREDIT), payout: who(150), name: "fifth".into() };
    let offer = world.operation(100, offer);
    world.block(&[offer]);
    world.idle(2);
    let leave = world.operation(100, Action::Unbond { amount: Drops(40 * CREDIT) });
    world.block(&[leave]);
    world.idle(20);
    assert!(world.state.validators().expect("a set").get(&who(100)).is_none());
    let pair = [proposal(&world, 100, 6, Some(1)), proposal(&world, 100, 6, None)];
    let offence = Offence::of_proposals((who(100), 1, 2), pair).expect("they differ");
    let proof = report(&world, 110, offence);
    world.block(&[proof]);
    world.idle(world.genesis.params.stake.unbonding_epochs);
    assert_eq!(world.available(150), 38 * CREDIT);
}

#[test]
fn evidence_has_its_time() {
    let mut world = World::new();
    let age = world.genesis.params.stake.evidence_age;
    world.idle(age);
    // The next block is age + 1.
    let (oldest, too_old) = (double_vote(&world, 0, 1), double_vote(&world, 1, 1));
    assert_eq!(world.refused(&report(&world, 110, oldest)), None);
    world.idle(1);
    let refusal = world.refused(&report(&world, 110, too_old));
    assert_eq!(refusal, Some(Refusal::Expired { expiry: 1 + age, epoch: age + 2 }));
    let early = report(&world, 110, double_vote(&world, 0, age + 3));
    assert!(matches!(world.refused(&early), Some(Refusal::State { .. })));
    let now = report(&world, 110, double_vote(&world, 0, age + 2));
    assert_eq!(world.refused(&now), None);
    let stranger = report(&world, 110, double_vote(&world, 115, age + 1));
    assert!(matches!(world.refused(&stranger), Some(Refusal::State { .. })));
}

#[test]
fn a_false_proof_does_not_pass_the_border() {
    let world = World::new();
    let network = world.genesis.hash();
    let sealed = |offence: Offence| {
        let object = Object::Evidence(Box::new(Evidence { reporter: who(110), offence }));
        seal(&object, &[&key(110)], &network).expect("its reporter signs")
    };
    let good = double_vote(&world, 0, 3);
    assert!(Verified::check(sealed(good), &network).is_ok());

    // Any change to what was signed, or another's signature, and it proves nothing: alone and in a batch.
    let DoubleSign::Votes { step, first, second } = good.signed else { panic!("votes") };
    let votes = |first, second| DoubleSign::Votes { step, first, second };
    let forged = [
        Offence { validator: who(1), ..good },
        Offence { height: 4, ..good },
        Offence { round: 1, ..good },
        Offence { signed: DoubleSign::Votes { step: VoteStep::Prevote, first, second }, ..good },
        Offence { signed: votes(first, SaidVote { validators: Hash32([9; 32]), ..second }), ..good },
        Offence { signed: votes(first, SaidVote { block: Some(BlockId([8; 32])), ..second }), ..good },
        Offence { signed: votes(first, SaidVote { signature: first.signature, ..second }), ..good },
        Offence { signed: votes(SaidVote { signature: Signature([0; 64]), ..first }, second), ..good },
    ];
    for (index, offence) in forged.into_iter().enumerate() {
        let refusal = Verified::check(sealed(offence), &network).expect_err("forged");
        assert_eq!(refusal, Refusal::Signature { signer: offence.validator }, "row {index}");
        let batch = [sealed(good), sealed(offence), sealed(double_vote(&world, 2, 1))];
        let results = Verified::check_all(batch.to_vec(), &network);
        assert_eq!(results.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true], "row {index}");
        assert_eq!(results[1], Err(refusal), "row {index}");
    }

    // Two votes for one block under two sets are no offence, nor is a pair in the wrong order an encoding.
    let same = [vote(&world, 0, 3, Some(7), 1), vote(&world, 0, 3, Some(7), 2)];
    assert_eq!(Offence::of_votes((who(0), 3, 2), VoteStep::Precommit, same), None);
    for signed in [votes(same[0], same[1]), votes(second, first)] {
        let refusal = Verified::check(sealed(Offence { signed, ..good }), &network).expect_err("no offence");
        assert!(matches!(refusal, Refusal::Field { field: "signed", .. }));
    }
    let pair = [proposal(&world, 0, 6, Some(1)); 2];
    assert_eq!(Offence::of_proposals((who(0), 1, 2), pair), None);
}
