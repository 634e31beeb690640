//! Whole nodes of the real core in virtual time: agreement, the life of a receipt, catching up.

use crate::block::{Block, Certificate, ProposalPayload, ValidatorSet, VotePayload, VoteStep};
use crate::crypto::{Purpose, SecretKey};
use crate::epoch::{IDLE, LIVE, signed_place};
use crate::genesis::{Params, canonical};
use crate::ids::{Account, BlockId, ObjectId, ReceiptId};
use crate::ledger::records::{ValidatorRecord, ValidatorState};
use crate::ledger::{Read as _, ReceiptState};
use crate::node::{Effect, Input, Node, Token, Verdict};
use crate::objects::{Action, Drops, Object, Operation};
use crate::refusal::Refusal;
use crate::sim::attackers::Crime;
use crate::sim::load::Load;
use crate::sim::member::peer;
use crate::sim::network::Links;
use crate::sim::world::{Event, Packet, Setup, World, person};
use crate::wire::{ConsensusMessage, PolkaCert, SignedProposal, SignedVote};
use std::collections::{BTreeMap, BTreeSet};

fn world(seed: u64) -> World {
    World::new(Setup::new(seed))
}

/// Ten minutes of the world's time.
const PATIENCE_MS: u64 = 600_000;

impl World {
    fn wait(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let happened = self.run_until(PATIENCE_MS, done);
        assert_eq!(self.checks.violations(), [], "while waiting for {what}");
        assert!(happened, "{what} did not happen in ten minutes; heights {:?}", self.heights());
    }

    fn wait_for_epochs(&mut self, count: u64) {
        let goal = self.heights().into_iter().max().unwrap() + count;
        self.wait("epochs", |world| {
            world.members.iter().filter(|m| m.node.is_some()).all(|member| member.height() >= goal)
        });
    }

    fn node(&self, index: usize) -> &Node {
        self.members[index].node.as_ref().unwrap()
    }

    fn give(&mut self, index: usize, object: &Object, keys: &[&SecretKey]) -> Result<ObjectId, Refusal> {
        self.submit(index, object, keys).expect("a submission is answered")
    }

    fn handle(&mut self, index: usize, after_ms: u64, input: Input) -> Vec<Effect> {
        self.members[index].node.as_mut().unwrap().handle(self.now + after_ms, input)
    }

    fn decided(&self, index: usize) -> Vec<(Block, Certificate)> {
        self.members[index].disk.blocks().values().map(|decided| (decided.0.clone(), decided.1.clone())).collect()
    }
}

/// People have made a DataNet and a model.
fn prepared(setup: Setup) -> (World, Load) {
    let mut load = Load::new(setup.seed);
    let mut world = World::new(setup);
    while !load.is_ready(&world) {
        load.tick(&mut world);
        let next = world.now + 20;
        world.wait("preparations", |world| world.now >= next);
    }
    (world, load)
}

fn transfer(payer: &SecretKey, nonce: u64) -> Object {
    let action = Action::Transfer { to: person(4).account(), amount: Drops(1) };
    Object::Operation(Operation { account: payer.account(), nonce, fee: Drops(1_000_000), action })
}

#[test]
fn four_nodes_agree_and_receipts_are_paid() {
    let (mut world, mut load) = prepared(Setup::new(1));
    let model = load.model().unwrap();
    let authors = |world: &World| -> (u128, u128) {
        let records = (1..=3).map(|author| world.node(0).state().account(&person(author).account()));
        records.fold((0, 0), |sum, record| (sum.0 + record.pending.0, sum.1 + record.available.0))
    };
    let before = authors(&world);
    let mut ids: Vec<ReceiptId> = Vec::new();
    for index in 0..4 {
        let height = world.node(index).height();
        let mut receipt = load.receipt(model, &person(5), &person(6), height);
        receipt.expiry = height + 100;
        let object = Object::Receipt(receipt);
        ids.push(world.give(index, &object, &[&person(5), &person(6)]).unwrap().into());
        let again = world.give(index, &object, &[&person(5), &person(6)]);
        assert!(matches!(again, Err(Refusal::Duplicate { .. })), "a replay is refused: {again:?}");
    }
    let settled = |world: &World, index: usize, id: &ReceiptId| {
        let record = world.node(index).state().receipt(id);
        record.is_some_and(|record| matches!(record.state, ReceiptState::Settled(_)))
    };
    world.wait("settlement", |world| (0..4).all(|index| ids.iter().all(|id| settled(world, index, id))));
    assert!(authors(&world).0 > before.0, "the authors are paid");
    world.wait_for_epochs(6);
    let after = authors(&world);
    assert_eq!(after.0, 0, "the dispute window is over");
    assert!(after.1 > before.1);
    let (now, members) = (world.now, &world.members);
    world.checks.finish(now, members);
    assert_eq!(world.checks.violations(), []);
}

#[test]
fn a_node_that_was_down_catches_up_by_blocks() {
    let mut world = world(7);
    world.wait_for_epochs(3);
    world.cut_power(2);
    world.wait("a hundred epochs without it", |world| world.heights()[0] >= 100);
    assert!(world.heights()[2] < 10);
    world.start(2);
    world.wait("it has caught up", |world| world.heights()[2] >= 101);
}

#[test]
fn catching_up_that_stalls_does_not_stop_a_node() {
    let mut world = world(9);
    world.wait_for_epochs(3);
    world.cut_power(2);
    world.wait_for_epochs(8);
    // With two down nothing is decided any more: node 2 is needed. It gets all there is from a peer that claims far
    // more, asks for that too, and gets nothing.
    world.cut_power(3);
    let stop = world.now + 2_000;
    world.wait("a rest", |world| world.now >= stop);
    let from = world.heights()[2];
    let missing = world.decided(0).into_iter().filter(|(block, _)| block.header.height > from).collect();
    world.start(2);
    world.input(2, Input::PeerStatus { peer: peer(3), height: u64::MAX, lowest: 1 });
    world.input(2, Input::Blocks { peer: peer(3), blocks: missing });
    world.input(2, Input::Blocks { peer: peer(3), blocks: Vec::new() });
    world.wait_for_epochs(5);
}

#[test]
fn a_lie_about_the_height_does_not_silence_a_network_at_its_birth() {
    let mut world = world(15);
    world.cut_power(3);
    for index in 0..3 {
        world.input(index, Input::PeerStatus { peer: peer(3), height: 99, lowest: 1 });
    }
    world.wait_for_epochs(3);
}

#[test]
fn a_false_body_under_the_right_header_is_neither_voted_on_nor_committed() {
    let mut world = world(11);
    world.wait_for_epochs(5);
    world.cut_power(2);
    world.wait_for_epochs(5);
    let height = world.heights()[2] + 1;
    let decided = world.decided(0).into_iter().find(|(block, _)| block.header.height == height);
    let (mut block, certificate) = decided.unwrap();
    block.body.settlements.push(vec![1, 2, 3]);
    world.start(2);
    world.input(2, Input::PeerStatus { peer: peer(0), height: height + 5, lowest: 1 });
    world.input(2, Input::Blocks { peer: peer(0), blocks: vec![(block, certificate)] });
    assert_eq!(world.heights()[2], height - 1, "a block with a false body was committed");
    world.wait_for_epochs(1);
}

#[test]
fn a_false_body_that_comes_first_costs_no_round() {
    let mut world = world(17);
    world.false_bodies = true;
    world.wait_for_epochs(20);
    let rounds: Vec<u32> = world.decided(0).iter().map(|(_, certificate)| certificate.round).collect();
    assert!(rounds.iter().all(|round| *round == 0), "{rounds:?}");
}

#[test]
fn a_validator_proposes_in_its_turn_only() {
    let mut world = world(19);
    world.wait_for_epochs(3);
    let (height, genesis) = (world.heights()[0] + 1, world.genesis_hash);
    let validators = ValidatorSet::of_genesis(&world.genesis).hash();
    let verdicts: Vec<Effect> = (0..4)
        .map(|index| {
            let (key, block) = (world.members[index].key.clone(), BlockId([9; 32]));
            let payload =
                ProposalPayload { height, round: 0, block, pol_round: None, validators, validator: key.account() };
            let signature = key.sign(Purpose::Proposal, &genesis, &canonical(&payload));
            let validator = key.account();
            let proposal = SignedProposal { height, round: 0, block, pol_round: None, validator, signature };
            let message = ConsensusMessage::Proposal(proposal);
            let effects = world.handle(0, 0, Input::Consensus { message, peer: peer(1), token: Token(1) });
            effects.into_iter().next().unwrap()
        })
        .collect();
    let count = |verdict| verdicts.iter().filter(|effect| **effect == Effect::Judge(Token(1), verdict)).count();
    assert_eq!((count(Verdict::Accept), count(Verdict::Reject("proposer"))), (1, 3), "{verdicts:?}");
}

/// A node whose clock is behind votes against a block from its future. Others may be locked on that block, and so few be left
/// that they need this node: it has to vote for it once its future has come, or nothing is ever decided again.
#[test]
fn a_block_from_the_future_is_judged_again_when_it_is_proposed_again() {
    (0..8).for_each(|seed| drop(world_of_a_block_proposed_again(seed)));
}

fn world_of_a_block_proposed_again(seed: u64) -> World {
    let mut world = world(seed);
    world.wait_for_epochs(3);
    let begun = world.heights()[0];
    world.jump_clock(0, -30_000);
    // The fourth prevotes (step 2), the second and the third lock with its help, and it is gone before it precommits.
    let prevotes = |world: &World| {
        let record = world.members[3].disk.load().ok()?.sign_record?;
        signed_place(&record).filter(|(height, _, step)| *height > begun && *step == 2)
    };
    let (height, ..) = loop {
        assert!(world.step(), "nothing happens any more");
        if let Some(place) = prevotes(&world) {
            break place;
        }
    };
    world.cut_power(3);
    world.wait("a decision of the others", |world| world.heights()[..3].iter().all(|reached| *reached > height));
    world
}

#[test]
fn a_stranger_cannot_make_a_network_forward_certificates() {
    let mut world = world(13);
    world.wait_for_epochs(3);
    let (height, (_, certificate)) = (world.heights()[0], world.decided(0).remove(2));
    // Real signatures, but of precommits for another height.
    let polka = PolkaCert { height: height + 1, round: 0, block: BlockId([7; 32]), signatures: certificate.signatures };
    let message = ConsensusMessage::Polka(polka);
    let effects = world.handle(0, 0, Input::Consensus { message, peer: peer(1), token: Token(1 << 40) });
    assert_eq!(effects, [Effect::Judge(Token(1 << 40), Verdict::Reject("certificate"))]);
}

/// A precommit or prevote of a validator, signed by a key.
fn signed_vote(
    world: &World,
    (key, validator): (&SecretKey, Account),
    step: VoteStep,
    (height, round): (u64, u32),
    block: u8,
) -> ConsensusMessage {
    let (block, validators) = (Some(BlockId([block; 32])), ValidatorSet::of_genesis(&world.genesis).hash());
    let payload = VotePayload { step, height, round, block, validators, validator };
    let signature = key.sign(Purpose::Vote, &world.genesis_hash, &canonical(&payload));
    ConsensusMessage::Vote(SignedVote { step, height, round, block, validator, signature })
}

/// A signed precommit or prevote of a validator.
fn vote(world: &World, index: usize, step: VoteStep, height: u64, round: u32, block: u8) -> ConsensusMessage {
    let key = &world.members[index].key;
    signed_vote(world, (key, key.account()), step, (height, round), block)
}

/// While a network rests, messages begin the next epoch only when validators with more than a third of the power sent them.
#[test]
fn a_stranger_cannot_hurry_a_network() {
    let mut world = world(13);
    world.wait_for_epochs(3);
    world.wait("a rest", |world| world.node(0).agreeing().0 == world.node(0).height());
    let height = world.node(0).height() + 1;
    let hears = |world: &mut World, message| {
        let effects = world.handle(0, 0, Input::Consensus { message, peer: peer(3), token: Token(1) });
        let Some(Effect::Judge(_, verdict)) = effects.first() else { panic!("no verdict: {effects:?}") };
        (*verdict, world.node(0).agreeing().0 == height)
    };
    let stranger = person(1);
    for validator in [&stranger, &world.members[1].key, &world.members[2].key].map(SecretKey::account) {
        let message = signed_vote(&world, (&stranger, validator), VoteStep::Prevote, (height, 0), 9);
        let (verdict, begun) = hears(&mut world, message);
        assert!(matches!(verdict, Verdict::Reject(_)) && !begun, "{verdict:?}");
    }
    // Whatever one of four says, it is one of four.
    for (step, round) in [(VoteStep::Prevote, 0), (VoteStep::Precommit, 0), (VoteStep::Prevote, 1)] {
        let message = vote(&world, 1, step, height, round, 9);
        assert_eq!(hears(&mut world, message), (Verdict::Accept, false));
    }
    let message = vote(&world, 2, VoteStep::Prevote, height, 0, 9);
    assert_eq!(hears(&mut world, message), (Verdict::Accept, true), "two of four");
}

/// A pool that holds a whole block begins the next epoch early; one that fills no block hurries nobody.
#[test]
fn what_no_block_takes_hurries_nobody() {
    let ten_epochs = |first: u64| {
        let setup = Setup::new(33);
        let mut world = World::new(Setup { params: Params { max_block_envelopes: 4, ..setup.params }, ..setup });
        world.wait_for_epochs(1);
        for nonce in first..first + 60 {
            world.give(0, &transfer(&person(3), nonce), &[&person(3)]).unwrap();
        }
        let begun = world.now;
        world.wait_for_epochs(10);
        world.now - begun
    };
    let (useful, useless) = (ten_epochs(0), ten_epochs(1));
    assert!(useless >= 9 * 100, "ten epochs of 100 ms took {useless} ms");
    assert!(useful < useless / 2, "a full pool: {useful} ms; one that is of no use: {useless} ms");
}

/// A validator whose second votes the story tells.
struct TwoFaced;

impl Crime for TwoFaced {
    fn name(&self) -> &'static str {
        "two-faced"
    }
}

/// A proof of a double signature that somebody gossips, and who reports it.
fn gossiped_proof(world: &World) -> Option<(ObjectId, Account)> {
    world.events().find_map(|event| {
        let Event::Packet { packet: Packet::Object(object), .. } = event else { return None };
        let Object::Evidence(evidence) = object.object() else { return None };
        Some((object.id(), evidence.reporter))
    })
}

/// Only node 0 hears both of two votes that exclude each other.
#[test]
fn whoever_signs_twice_is_reported_punished_and_out() {
    let mut setup = Setup::new(29);
    setup.crimes.insert(2, Box::new(TwoFaced));
    let mut world = World::new(setup);
    world.wait_for_epochs(3);
    let found = (0..10).find_map(|_| {
        let height = world.heights()[0] + 1;
        let message = vote(&world, 2, VoteStep::Prevote, height, 0, 9);
        world.input(0, Input::Consensus { message, peer: peer(2), token: Token(2) });
        world.wait("a decision", |world| world.heights()[0] >= height);
        gossiped_proof(&world)
    });
    let (proof, reporter) = found.unwrap();
    assert_eq!(reporter, world.members[0].account());
    world.wait("the proof everywhere", |world| (0..4).all(|index| world.node(index).is_pooled(&proof)));

    let criminal = world.members[2].account();
    let record = |world: &World, index| world.node(index).state().candidate(&criminal).unwrap();
    let is_out = |record: ValidatorRecord| matches!(record.state, ValidatorState::Tombstoned { .. });
    world.wait("the punishment", |world| (0..4).all(|index| is_out(record(world, index))));
    let ValidatorRecord { state, slashed, .. } = record(&world, 0);
    let ValidatorState::Tombstoned { height, evidence } = state else { panic!("{state:?}") };
    assert_eq!(evidence, proof);
    let stake = &world.genesis.params.stake;
    assert_eq!(slashed.0, 10 * stake.power_unit.0 * u128::from(stake.double_sign_slash_bp) / 10_000);

    world.cut_power(2);
    world.wait_for_epochs(6);
    let before = world.validators();
    let after = ValidatorSet::new(before.members().iter().filter(|member| member.key != criminal).cloned().collect());
    let (mut holders, mut signed) = (Vec::new(), 0);
    for (block, certificate) in world.decided(0) {
        let at = block.header.height;
        if block.body.envelopes.iter().any(|envelope| envelope.id() == proof) {
            holders.push(at);
        }
        let is_out = at >= height + 2;
        let (set, signs) =
            (if is_out { &after } else { &before }, certificate.signatures.iter().any(|s| s.0 == criminal));
        assert_eq!(
            block.header.validators,
            set.hash(),
            "the set changes two heights after block {height}, not at {at}"
        );
        assert!(!is_out || !signs && block.header.proposer != criminal, "it is part of block {at}");
        signed += u64::from(signs);
    }
    assert_eq!(holders, [height]);
    assert!(signed > 0, "it signed before");
    let (now, members) = (world.now, &world.members);
    world.checks.finish(now, members);
    assert_eq!(world.checks.violations(), []);
}

#[test]
fn pools_become_equal_without_gossip() {
    let mut world = world(21);
    world.wait_for_epochs(1);
    world.mute = true;
    // They wait for the one before them, so that no block takes them.
    let ids: Vec<ObjectId> = (1..=40_u64)
        .map(|nonce| {
            let at = usize::try_from(nonce % 4).unwrap();
            world.give(at, &transfer(&person(3), nonce), &[&person(3)]).unwrap()
        })
        .collect();
    assert!((0..4).all(|index| world.node(index).pooled().0 == 10));
    world.wait("equal pools", |world| (0..4).all(|i| ids.iter().all(|id| world.node(i).is_pooled(id))));
}

/// Neither half of a parted network decides anything. When they meet, with three of seven validators still off, nothing is
/// decided either and nothing is gossiped: only comparing pools brings over what each half has acknowledged.
#[test]
fn halves_that_meet_again_have_the_same_receipts() {
    let (mut world, mut load) = prepared(Setup { validators: 7, ..Setup::new(31) });
    let model = load.model().unwrap();
    (4..7).for_each(|index| world.cut_power(index));
    world.mute = true;
    world.network.part(&BTreeSet::from([0, 1]), false);
    let mut ids: Vec<Vec<ObjectId>> = vec![Vec::new(); 4];
    let (halves, payers) = ([[0, 1], [2, 3]], [person(7), person(8)]);
    for (half, payer) in halves.iter().zip(&payers) {
        for at in half.iter().copied() {
            for _ in 0..10 {
                let mut receipt = load.receipt(model, &person(5), &person(6), world.heights()[at]);
                receipt.expiry = world.heights()[at] + 100;
                let id = world.give(at, &Object::Receipt(receipt), &[&person(5), &person(6)]).unwrap();
                ids[at].push(id);
            }
        }
        let object = transfer(payer, world.node(half[0]).next_nonce(&payer.account()));
        let id = world.give(half[0], &object, &[payer]).unwrap();
        ids[half[0]].push(id);
    }
    let has = |world: &World, index: usize, from: &[usize]| {
        from.iter().flat_map(|from| &ids[*from]).filter(|id| world.node(index).is_pooled(id)).count()
    };
    world.wait("equal pools in each half", |world| {
        halves.iter().all(|half| half.iter().all(|index| has(world, *index, half) == 21))
    });
    assert!((0..4).all(|index| has(&world, index, &halves[1 - index / 2]) == 0), "nothing crosses");
    let heights = world.heights();

    world.network.mend();
    world.wait("equal pools", |world| (0..4).all(|index| has(world, index, &[0, 1, 2, 3]) == 42));
    assert_eq!(world.heights(), heights, "too few to decide anything");

    world.mute = false;
    (4..7).for_each(|index| world.start(index));
    let receipts: Vec<ReceiptId> = ids.concat().into_iter().map(ReceiptId::from).collect();
    let settled = |world: &World, index: usize| {
        let records = receipts.iter().filter_map(|id| world.node(index).state().receipt(id));
        records.filter(|record| matches!(record.state, ReceiptState::Settled(_))).collect::<Vec<_>>()
    };
    world.wait("settlement", |world| (0..7).all(|index| settled(world, index).len() == 40));
    let first = settled(&world, 0);
    for index in 0..7 {
        assert_eq!(settled(&world, index), first, "node {index}");
        assert!(payers.iter().all(|payer| world.node(index).state().account(&payer.account()).nonce > 0));
    }
    let (now, members) = (world.now, &world.members);
    world.checks.finish(now, members);
    assert_eq!(world.checks.violations(), []);
}

#[test]
fn a_vote_heard_twice_is_forwarded_once_until_it_is_sent_again() {
    let mut world = world(23);
    world.wait_for_epochs(3);
    let height = world.heights()[0] + 1;
    let message = vote(&world, 1, VoteStep::Prevote, height, 0, 9);
    let mut hear = |after_ms: u64| {
        let input = Input::Consensus { message: message.clone(), peer: peer(1), token: Token(1) };
        match world.handle(0, after_ms, input).first() {
            Some(Effect::Judge(_, verdict)) => *verdict,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(hear(0), Verdict::Accept);
    assert_eq!(hear(10), Verdict::Ignore("known"));
    assert_eq!(hear(2_010), Verdict::Accept);
}

#[test]
fn late_precommits_complete_the_last_certificate() {
    let mut world = world(25);
    world.wait_for_epochs(10);
    let complete = |(block, _): &&(Block, Certificate)| {
        block.body.last_commit.as_ref().is_some_and(|commit| commit.signatures.len() == 4)
    };
    let blocks = world.decided(0);
    assert!(blocks.iter().filter(complete).count() >= 5, "certificates in blocks name whoever took part");
    assert!(blocks.iter().any(|(_, certificate)| certificate.signatures.len() == 3), "decisions wait for nobody");
}

#[test]
fn a_proposal_that_was_logged_without_its_block_is_completed_after_a_restart() {
    let mut world = world(27);
    world.wait_for_epochs(3);
    let asks = |world: &World| world.events().any(|event| matches!(event, Event::Fetch { node: 0, .. }));
    let logged = |world: &World| world.members[0].disk.load().unwrap().wal.len();
    // Cut the power just after the first entry of a height that another validator proposes was logged.
    world.wait("a logged proposal", |world| asks(world) && logged(world) > 0);
    let life = world.members[0].life;
    world.cut_power(0);
    world.start(0);
    let wants = |event: &Event| matches!(event, Event::Fetch { node: 0, life: asked, .. } if *asked > life);
    assert!(world.events().any(wants), "it asks for the block again");
    world.wait_for_epochs(5);
}

#[test]
fn a_gap_in_nonces_is_filled() {
    let mut world = world(15);
    world.wait_for_epochs(1);
    let payer = person(3);
    let start = world.node(0).next_nonce(&payer.account());
    world.give(0, &transfer(&payer, start + 1), &[&payer]).unwrap();
    assert_eq!(world.node(0).next_nonce(&payer.account()), start, "the first free one");
    world.give(0, &transfer(&payer, start), &[&payer]).unwrap();
    world.wait("both", |world| world.node(0).state().account(&payer.account()).nonce == start + 2);
}

#[test]
fn a_lossy_network_agrees_all_the_same() {
    let links = Links { loss: 100, ..Links::LAN };
    let digest = |seed| {
        let mut world = World::new(Setup { links, ..Setup::new(seed) });
        world.wait_for_epochs(20);
        world.journal.digest()
    };
    assert_eq!(digest(3), digest(3));
    assert_ne!(digest(3), digest(4));
}

/// What the core of agreement can ask for in our configuration, it asks for somewhere here, so that the host was seen to
/// carry it out: on a bad network, in a partition that lasts, and where a block is proposed again.
#[test]
fn everything_that_the_core_may_ask_for_is_asked_for() {
    let mut asked: BTreeMap<&'static str, u64> = BTreeMap::new();
    let mut count = |world: &World| {
        for (kind, times) in world.members.iter().filter_map(|member| member.node.as_ref()).flat_map(Node::core_effects)
        {
            *asked.entry(kind).or_default() += times;
        }
    };
    let mut lossy = World::new(Setup { links: Links { loss: 300, ..Links::LAN }, ..Setup::new(3) });
    // With three messages in ten lost, an epoch takes half a minute.
    for _ in 0..4 {
        lossy.wait_for_epochs(5);
    }
    count(&lossy);
    let mut parted = world(5);
    parted.wait_for_epochs(2);
    parted.network.part(&BTreeSet::from([0, 1]), false);
    let until = parted.now + 60_000;
    parted.wait("a long partition", |world| world.now >= until);
    parted.network.mend();
    parted.wait_for_epochs(2);
    count(&parted);
    count(&world_of_a_block_proposed_again(1));
    println!("{asked:?}");
    for kind in LIVE {
        assert!(asked.get(kind).is_some_and(|times| *times > 0), "{kind} was never asked for");
    }
    for kind in IDLE {
        assert_eq!(asked.get(kind), None, "{kind} cannot be asked for");
    }
}
