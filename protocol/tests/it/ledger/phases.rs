//! Commit, reveal, settle: what counts when, and what copying and lying get.

use super::world::*;
use protocol::crypto::attribution_commitment;
use protocol::evidence::{Evidence, Frequencies};
use protocol::ids::*;
use protocol::ledger::*;
use protocol::objects::*;
use protocol::refusal::Refusal;

const TEXT: &str = "seven grey geese flew over the frozen harbour towards the lighthouse";

/// A world in which one receipt was sealed in the last block, and its work.
fn sealed() -> (World, protocol::envelope::Verified, Work) {
    let mut world = World::new();
    let net = world.found(100, Admission::Open);
    let a = world.contribute(101, net, &[TEXT]);
    let manifest = world.publish(100, net, &[a]);
    let model = world.model_object(105, &[(manifest, 1)]);
    let model = world.register(model, 105);
    let receipt = world.receipt(110, 111, model, TEXT);
    world.block(std::slice::from_ref(&receipt));
    let work = open_work(&world.state).remove(0);
    (world, receipt, work)
}

fn phase(world: &World) -> Option<Phase> {
    open_work(&world.state).first().map(|work| work.phase)
}

fn is_state(refusal: Option<Refusal>) -> bool {
    matches!(refusal, Some(Refusal::State { .. }))
}

#[test]
fn the_phases_follow_each_other() {
    let (mut world, receipt, work) = sealed();
    let (epoch, datanet) = (work.epoch, work.datanet);
    let body = world.body(&work);
    assert_eq!(phase(&world), Some(Phase::Commit));

    // A quorum of commits in the next block; the window of two epochs is not over.
    let commits: Vec<_> = [0, 1, 2].map(|by| world.commit(by, &body)).to_vec();
    assert!(world.block(&commits).is_empty());
    assert_eq!(phase(&world), Some(Phase::Commit));
    let early = world.reveal(0, &body);
    assert!(is_state(world.refused(&early)));
    // Early is not wrong: a pool keeps it.
    assert_eq!(check_object(&world.state, &world.context(), &early), Ok(()));
    // The last one is in time in the block at whose end commits close.
    let last = world.commit(3, &body);
    assert_eq!(world.block(&[last]), [Event::CommitsClosed { epoch, datanet }]);
    assert_eq!(phase(&world), Some(Phase::Reveal));
    let again = world.commit(0, &body);
    assert!(is_state(world.refused(&again)));

    // Powers 10 and 13 of 46 are no quorum, 10, 13 and 12 are.
    let reveals = [world.reveal(0, &body), world.reveal(3, &body)];
    assert!(world.block(&reveals).is_empty());
    assert!(is_state(world.refused(&reveals[0])));
    let error = world.try_block(&[], vec![body.to_bytes()]).expect_err("too early");
    assert!(matches!(error, BlockRefused::Settlement { source: BodyRefused::NotAgreed { .. }, .. }), "{error}");
    let third = [world.reveal(2, &body)];
    // One who committed may still reveal: not in this very block.
    let error = world.try_block(&third, vec![body.to_bytes()]).expect_err("too early");
    assert!(matches!(error, BlockRefused::Settlement { source: BodyRefused::TooEarly { .. }, .. }), "{error}");
    let root = body.root();
    assert_eq!(world.block(&third), [Event::RootAgreed { epoch, datanet, root }]);
    let events = world.try_block(&[], vec![body.to_bytes()]).expect("a block later");
    let receipt = ReceiptId::from(receipt.id());
    assert_eq!(events, [Event::Settled { receipt }, Event::WorkSettled { epoch, datanet }]);
    // The validator that did not reveal is not paid; the others are.
    let paid: Vec<u8> = (0..4).filter(|by| world.state.account(&payout(*by)).pending > Drops::ZERO).collect();
    assert_eq!(paid, [0, 2, 3]);
    let late = world.reveal(1, &body);
    assert!(is_state(world.refused(&late)));
    assert!(is_state(check_object(&world.state, &world.context(), &late).err()));
}

#[test]
fn commits_close_only_with_a_quorum() {
    let (mut world, _, work) = sealed();
    let body = world.body(&work);
    let two = [world.commit(0, &body), world.commit(1, &body)];
    world.block(&two);
    world.idle(4);
    assert_eq!(phase(&world), Some(Phase::Commit));
    let third = [world.commit(2, &body)];
    assert_eq!(world.block(&third), [Event::CommitsClosed { epoch: work.epoch, datanet: work.datanet }]);
    // Whoever waits until the others reveal is too late to commit.
    let late = world.commit(3, &body);
    assert!(is_state(world.refused(&late)));
    assert!(is_state(check_object(&world.state, &world.context(), &late).err()));
}

#[test]
fn a_copied_commitment_is_worth_nothing() {
    let (mut world, _, work) = sealed();
    let body = world.body(&work);
    let root = body.root();
    let honest = [0, 1, 2].map(|by| world.commit(by, &body));
    // Validator 3 computes nothing and commits to what validator 0 committed to.
    let Object::AttributionCommit(copied) = *honest[0].object() else { panic!("a commit") };
    let copied = AttributionCommit { validator: who(3), ..copied };
    let copied = world.sign(&Object::AttributionCommit(copied), &[3]);
    world.block(&[honest.to_vec(), vec![copied]].concat());
    world.idle(1);
    let reveals = [0, 1].map(|by| world.reveal(by, &body));
    world.block(&reveals);
    // Even with the root in plain sight it cannot reveal.
    assert_eq!(world.state.said(work.epoch, &work.datanet, &who(0)).and_then(|said| said.root), Some(root));
    let theft = world.reveal(3, &body);
    assert!(matches!(world.refused(&theft), Some(Refusal::Field { field: "root", .. })));
    let third = [world.reveal(2, &body)];
    world.block(&third);
    world.try_block(&[], vec![body.to_bytes()]).expect("the honest agree");
    assert_eq!(world.state.account(&payout(3)).pending, Drops::ZERO);
}

#[test]
fn strangers_say_nothing_and_nobody_reveals_what_he_did_not_commit_to() {
    let (mut world, _, work) = sealed();
    let body = world.body(&work);
    let commits = [0, 1, 2].map(|by| world.commit(by, &body));
    world.block(&commits);
    world.idle(1);
    for stranger in [world.commit(100, &body), world.reveal(100, &body)] {
        assert!(matches!(world.refused(&stranger), Some(Refusal::Forbidden { .. })));
    }
    // Another epoch, another root: not what was committed to.
    let other = AttributionBody { receipts: Vec::new(), ..body.clone() };
    let wrong = world.reveal(0, &other);
    assert!(matches!(world.refused(&wrong), Some(Refusal::Field { .. })));
}

/// A validator that commits and then keeps silent would shut out whoever was a block slower, and with it agreement.
#[test]
fn who_came_too_late_to_commit_counts_towards_agreement_unpaid() {
    let (mut world, _, work) = sealed();
    let body = world.body(&work);
    let commits = [0, 1, 2].map(|by| world.commit(by, &body));
    world.block(&commits);
    world.idle(1);
    // Validator 2 committed and never reveals; validator 3 was late.
    let reveals = [0, 1, 3].map(|by| world.reveal(by, &body));
    world.block(&reveals);
    world.try_block(&[], vec![body.to_bytes()]).expect("three of four agree");
    let paid: Vec<u8> = (0..4).filter(|by| world.state.account(&payout(*by)).pending > Drops::ZERO).collect();
    assert_eq!(paid, [0, 1]);
}

#[test]
fn who_reveals_a_block_after_the_agreement_is_paid() {
    let (mut world, _, work) = sealed();
    let body = world.body(&work);
    let commits = [0, 1, 2, 3].map(|by| world.commit(by, &body));
    world.block(&commits);
    world.idle(1);
    let reveals = [1, 2, 3].map(|by| world.reveal(by, &body));
    world.block(&reveals);
    assert_eq!(phase(&world), Some(Phase::Agreed(body.root())));
    let late = world.reveal(0, &body);
    world.try_block(&[late], vec![body.to_bytes()]).expect("agreed in the block before");
    let paid: Vec<u8> = (0..4).filter(|by| world.state.account(&payout(*by)).pending > Drops::ZERO).collect();
    assert_eq!(paid, [0, 1, 2, 3]);
}

#[test]
fn commits_for_epochs_to_come_wait_in_the_pool() {
    let (world, _, work) = sealed();
    let next = world.height() + 1;
    for (epoch, accepted) in [(next, true), (next + EPOCHS_AHEAD, true), (next + EPOCHS_AHEAD + 1, false), (0, false)] {
        let body = AttributionBody { epoch, datanet: work.datanet, receipts: Vec::new() };
        for object in [world.commit(0, &body), world.reveal(0, &body)] {
            assert!(is_state(world.refused(&object)));
            assert_eq!(check_object(&world.state, &world.context(), &object).is_ok(), accepted, "{epoch}");
        }
    }
}

/// All validators agree on `body`, in as many blocks as it takes.
fn agree(world: &mut World, epoch: u64, datanet: DataNetId, root: Hash32) {
    let commit = |validator: u8| {
        let commitment = attribution_commitment(&who(validator), epoch, &datanet, &root);
        Object::AttributionCommit(AttributionCommit { validator: who(validator), epoch, datanet, commitment })
    };
    let commits: Vec<_> = (0..4).map(|by| world.sign(&commit(by), &[by])).collect();
    world.block(&commits);
    world.idle(1);
    let reveal = |validator: u8| {
        Object::AttributionReveal(AttributionReveal { validator: who(validator), epoch, datanet, root })
    };
    let reveals: Vec<_> = (0..4).map(|by| world.sign(&reveal(by), &[by])).collect();
    world.block(&reveals);
    assert_eq!(phase(world), Some(Phase::Agreed(root)));
}

/// Even what all validators agree on is refused when the ledger itself can refute it; then the fee goes back.
#[test]
fn agreed_nonsense_settles_nothing() {
    type Spoil = fn(&mut AttributionBody);
    fn evidence(body: &mut AttributionBody) -> &mut Evidence {
        &mut body.receipts[0].1
    }
    let table: [(&str, Spoil); 9] = [
        ("receipts", |body| body.receipts.clear()),
        ("receipts", |body| body.receipts[0].0 = ReceiptId([1; 32])),
        ("scope", |body| evidence(body).frequencies.clear()),
        ("scope", |body| {
            let more = Frequencies { words: 0, counts: vec![0; 10] };
            evidence(body).frequencies.insert(DataNetId([1; 32]), more);
        }),
        ("evidence", |body| evidence(body).spans[0].start += 1),
        ("holder", |body| evidence(body).spans[0].holder.order += 1),
        ("holder", |body| evidence(body).spans[0].holder.document = 1),
        ("holder", |body| evidence(body).spans[0].holder.offset = 1 << 20),
        ("holder", |body| evidence(body).spans[0].holder.contribution = ContributionId([1; 32])),
    ];
    for (index, (expected, spoil)) in table.into_iter().enumerate() {
        let (mut world, receipt, work) = sealed();
        let mut body = world.body(&work);
        spoil(&mut body);
        agree(&mut world, work.epoch, work.datanet, body.root());
        let error = world.try_block(&[], vec![body.to_bytes()]).expect_err("nonsense");
        let BlockRefused::Settlement { index: 0, source } = error else { panic!("{error}") };
        let got = match source {
            BodyRefused::Receipts { .. } => "receipts",
            BodyRefused::Scope { .. } => "scope",
            BodyRefused::Evidence { .. } => "evidence",
            BodyRefused::Holder { .. } => "holder",
            other => panic!("{other}"),
        };
        assert_eq!(got, expected, "row {index}");
        // The honest body does not settle it either: its root is not what was agreed on.
        let honest = world.body(&work);
        let error = world.try_block(&[], vec![honest.to_bytes()]).expect_err("not agreed");
        assert!(matches!(error, BlockRefused::Settlement { source: BodyRefused::NotAgreed { .. }, .. }));
        let before = world.available(110);
        world.idle(world.genesis.params.settle_timeout);
        assert_eq!(world.available(110), before + world.record(&receipt).fee.0);
    }
}

#[test]
fn settlements_are_canonical_open_and_in_order() {
    let mut world = World::new();
    let nets = [world.found(100, Admission::Open), world.found(100, Admission::Open)];
    let mut lineage = Vec::new();
    for net in nets {
        let a = world.contribute(101, net, &[TEXT]);
        lineage.push((world.publish(100, net, &[a]), 1));
    }
    let model = world.model_object(105, &lineage);
    let model = world.register(model, 105);
    let receipt = world.receipt(110, 111, model, TEXT);
    world.block(std::slice::from_ref(&receipt));
    for _ in 0..2 {
        let (objects, _) = world.duties(&[0, 1, 2, 3]);
        world.block(&objects);
    }
    let (reveals, bodies) = world.duties(&[0, 1, 2, 3]);
    world.block(&reveals);
    let [first, second] = bodies.as_slice() else { panic!("two bodies") };
    let refused = |world: &mut World, bodies: Vec<Vec<u8>>| world.try_block(&[], bodies).expect_err("refused");
    let error = refused(&mut world, vec![second.clone(), first.clone()]);
    assert!(matches!(error, BlockRefused::Order { index: 1 }), "{error}");
    let error = refused(&mut world, vec![first.clone(), first.clone()]);
    assert!(matches!(error, BlockRefused::Settlement { index: 1, source: BodyRefused::NotOpen { .. } }), "{error}");
    let error = refused(&mut world, vec![[first.as_slice(), &[0]].concat()]);
    assert!(matches!(error, BlockRefused::Settlement { source: BodyRefused::Malformed { .. }, .. }), "{error}");
    // One after the other in two blocks: the receipt is settled with the second.
    world.try_block(&[], vec![second.clone()]).expect("agreed");
    assert!(matches!(world.record(&receipt).state, ReceiptState::Sealed { open: 1 }));
    world.try_block(&[], vec![first.clone()]).expect("agreed");
    assert_eq!(world.settlement(&receipt).covered_words, 11);
}
