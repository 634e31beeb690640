//! Whoever floods the network: what he cannot crowd out, and what he pays for the rest.

use super::world::*;
use protocol::envelope::Verified;
use protocol::genesis::Params;
use protocol::ids::*;
use protocol::ledger::records::ReceiptState;
use protocol::ledger::*;
use protocol::limits::{MAX_ANSWER_WORDS, MAX_BLOCK_WORKS, MAX_LINEAGE};
use protocol::objects::*;
use protocol::refusal::Refusal;
use std::collections::BTreeMap;

const TEXT: &str = "one passage that is long enough to be worth something to somebody";

/// A DataNet with one document, and the manifest that makes it count.
fn datanet(world: &mut World) -> ManifestId {
    let net = world.found(100, Admission::Open);
    let contribution = world.contribute(101, net, &[TEXT]);
    world.publish(100, net, &[contribution])
}

/// A model of these DataNets, and its price for 1000 tokens of an answer.
fn model(world: &mut World, manifests: &[ManifestId], price_out: u128) -> ModelId {
    let lineage: Vec<(ManifestId, u32)> = manifests.iter().map(|manifest| (*manifest, 1)).collect();
    let object = ModelManifest { price_out: Drops(price_out), ..world.model_object(105, &lineage) };
    world.register(object, 105)
}

fn choose(world: &World, candidates: &[Verified], limits: Limits) -> Proposal {
    propose(&world.state, &world.context(), candidates, &BTreeMap::new(), limits)
}

fn ids(proposal: &Proposal) -> Vec<ObjectId> {
    proposal.envelopes.iter().map(Envelope::id).collect()
}

#[test]
fn a_block_opens_no_more_work_than_blocks_can_settle() {
    let mut world = World::new();
    let manifests: Vec<ManifestId> = (0..=MAX_BLOCK_WORKS).map(|_| datanet(&mut world)).collect();
    let groups: Vec<&[ManifestId]> = manifests.chunks(MAX_LINEAGE).collect();
    let models: Vec<ModelId> = groups.into_iter().map(|group| model(&mut world, group, 7_000_000)).collect();
    let receipts: Vec<Verified> = models.iter().map(|model| world.receipt(110, 111, *model, TEXT)).collect();
    let again = world.receipt(110, 111, models[0], TEXT);
    let all = [receipts.clone(), vec![again.clone()]].concat();
    let limits = Limits::of(&world.genesis.params);
    // The last goes first, as it pays most for each search; then the second model's are too many, and whatever asks for
    // nothing new still fits.
    let proposal = choose(&world, &all, limits);
    assert_eq!(ids(&proposal), [receipts[2].id(), receipts[0].id(), again.id()]);
    assert_eq!(proposal.refused, [], "the second waits");
    assert!(matches!(world.try_block(&all, Vec::new()), Err(BlockRefused::Object { index: 2, .. })));
    world.block(&[receipts[0].clone(), receipts[1].clone(), again]);
    assert_eq!(open_work(&world.state).len(), MAX_BLOCK_WORKS);
    world.block(&receipts[2..]);
    world.settle_all();
    for receipt in &receipts {
        assert!(matches!(world.record(receipt).state, ReceiptState::Settled(_)));
    }
}

#[test]
fn each_datanet_that_is_searched_is_paid_for() {
    let mut params = Params::devnet();
    // The receipt costs 11 + 65 tokens at 1000 drops for 1000.
    params.min_receipt_fee = Drops(38);
    let mut world = World::with(params);
    let manifests: Vec<ManifestId> = (0..3).map(|_| datanet(&mut world)).collect();
    for (count, expected) in [(1, None), (2, None), (3, Some(Drops(3 * 38)))] {
        let model = ModelManifest {
            price_in: Drops(1_000),
            price_out: Drops(1_000),
            ..world.model_object(105, &manifests[..count].iter().map(|id| (*id, 1)).collect::<Vec<_>>())
        };
        let model = world.register(model, 105);
        let receipt = world.receipt(110, 111, model, TEXT);
        let fee = Drops(11 + TEXT.len() as u128);
        let refusal = expected.map(|least| Refusal::MinimumFee { got: fee, least });
        assert_eq!(world.refused(&receipt), refusal, "{count}");
    }
}

#[test]
fn of_receipts_the_one_that_pays_more_for_each_search_goes_first() {
    let mut world = World::new();
    let manifests: Vec<ManifestId> = (0..2).map(|_| datanet(&mut world)).collect();
    let cheap = model(&mut world, &manifests[..1], 1_000_000);
    let dear = model(&mut world, &manifests[..1], 2_000_000);
    let wide = model(&mut world, &manifests, 3_000_000);
    let receipts = [cheap, wide, dear].map(|model| world.receipt(110, 111, model, TEXT));
    let transfer = world.operation(112, Action::Transfer { to: who(103), amount: Drops(1) });
    let candidates = [receipts[0].clone(), transfer.clone(), receipts[1].clone(), receipts[2].clone()];
    let limits = Limits::of(&world.genesis.params);
    let [cheap, wide, dear] = receipts.map(|receipt| receipt.id());
    // Three and a half for both searches of the wide one; what is no receipt keeps its place.
    assert_eq!(ids(&choose(&world, &candidates, limits)), [dear, transfer.id(), wide, cheap]);
    assert_eq!(ids(&choose(&world, &candidates, Limits { envelopes: 1, ..limits })), [dear]);
}

#[test]
fn an_operation_is_not_looked_at_before_its_turn() {
    let mut world = World::new();
    let unknown = Action::Approve { contribution: ContributionId([9; 32]) };
    let first = world.operation(100, Action::Transfer { to: who(103), amount: Drops(1) });
    let second = world.operation(100, unknown);
    let limits = Limits::of(&world.genesis.params);
    assert_eq!(choose(&world, std::slice::from_ref(&second), limits), Proposal::default());
    let proposal = choose(&world, &[second.clone(), first.clone()], limits);
    assert_eq!(ids(&proposal), [first.id()]);
    assert!(matches!(proposal.refused.as_slice(), [(id, Refusal::Unknown { .. })] if *id == second.id()));
}

#[test]
fn a_block_takes_one_manifest_of_a_datanet() {
    let mut world = World::new();
    let net = world.found(100, Admission::Open);
    let contribution = world.contribute(101, net, &[TEXT]);
    let manifest = world.manifest_object(100, net, &[contribution]);
    let manifests = [b"one", b"two"].map(|host| {
        let object = DatasetManifest { host: host.to_vec(), ..manifest.clone() };
        world.sign(&Object::DatasetManifest(object), &[100])
    });
    let proposal = choose(&world, &manifests, Limits::of(&world.genesis.params));
    assert_eq!((ids(&proposal), proposal.refused), (vec![manifests[0].id()], Vec::new()));
    world.block(&manifests[..1]);
    world.block(&manifests[1..]);
    assert!(world.state.manifest_status(&manifests[1].id().into()).is_some());
}

#[test]
fn an_answer_has_so_many_words() {
    let mut world = World::new();
    let manifest = datanet(&mut world);
    let model = model(&mut world, &[manifest], 1);
    let fits = world.receipt(110, 111, model, "a ".repeat(MAX_ANSWER_WORDS).trim_end());
    assert_eq!(world.refused(&fits), None);
    // Three bytes that are folded to four words.
    let unfolded = world.receipt(110, 111, model, &"\u{3300}".repeat(MAX_ANSWER_WORDS / 4 + 1));
    let refusal = world.refused(&unfolded);
    assert!(matches!(refusal, Some(Refusal::TooMany { what: "words of the answer", .. })), "{refusal:?}");
}

#[test]
fn one_datanet_that_fails_takes_no_other_receipts_with_it() {
    let mut params = Params::devnet();
    params.agreed_timeout = 5;
    let mut world = World::with(params);
    let manifests: Vec<ManifestId> = (0..2).map(|_| datanet(&mut world)).collect();
    let (both, one) = (model(&mut world, &manifests, 7_000_000), model(&mut world, &manifests[..1], 7_000_000));
    let receipts = [both, one].map(|model| world.receipt(110, 111, model, TEXT));
    world.block(&receipts);
    let epoch = world.height();
    let first =
        open_work(&world.state).into_iter().find(|work| work.receipts.len() == 2).expect("both are searched there");
    let of_first = |objects: Vec<Verified>| -> Vec<Verified> {
        let is_of = |object: &Verified| match object.object() {
            Object::AttributionCommit(commit) => commit.datanet == first.datanet,
            Object::AttributionReveal(reveal) => reveal.datanet == first.datanet,
            _ => true,
        };
        objects.into_iter().filter(is_of).collect()
    };
    // The first DataNet agrees, and nobody carries its body; the other never commits.
    let body = world.body(&first).to_bytes();
    for _ in 0..3 {
        let (objects, _) = world.duties(&[0, 1, 2, 3]);
        world.block(&of_first(objects));
    }
    let timeout = world.genesis.params.settle_timeout;
    world.idle(epoch + timeout - world.height());
    let state = |world: &World, receipt: &Verified| world.record(receipt).state;
    assert!(matches!(state(&world, &receipts[0]), ReceiptState::Refunded { .. }), "one of its DataNets failed");
    assert!(matches!(state(&world, &receipts[1]), ReceiptState::Sealed { .. }));
    world.try_block(&[], vec![body]).expect("the body that was agreed on");
    assert!(matches!(state(&world, &receipts[0]), ReceiptState::Refunded { .. }), "once");
    assert!(matches!(state(&world, &receipts[1]), ReceiptState::Settled(_)));
}
