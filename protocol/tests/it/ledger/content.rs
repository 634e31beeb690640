//! Who is admitted when, and from when it counts.

use super::world::*;
use protocol::ids::*;
use protocol::ledger::records::{Admission as Admitted, ManifestState};
use protocol::ledger::*;
use protocol::objects::*;
use protocol::refusal::Refusal;

#[test]
fn open_datanets_admit_at_once_in_one_order() {
    let mut world = World::new();
    let (first, second) = (world.found(100, Admission::Open), world.found(101, Admission::Open));
    let a = world.contribute(102, first, &["one"]);
    let b = world.contribute(103, second, &["one"]);
    let order = |id: &ContributionId| match world.state.admission(id).expect("known").state {
        Admitted::Admitted { order, .. } => order,
        other => panic!("{other:?}"),
    };
    assert_eq!((order(&a), order(&b)), (0, 1));
    // Two DataNets and two contributions were paid for.
    assert_eq!(world.state.treasury(), Drops(4 * world.genesis.params.object_fee.0));
    assert_eq!(world.available(102), START - world.genesis.params.object_fee.0);
}

#[test]
fn curated_datanets_wait_for_their_owner() {
    let mut world = World::new();
    let net = world.found(100, Admission::Curated);
    let a = world.contribute(101, net, &["kept", "also kept"]);
    let b = world.contribute(102, net, &["turned down"]);
    let c = world.contribute(103, net, &["later, but approved first"]);
    assert_eq!(world.state.admission(&a).expect("known").state, Admitted::Pending);
    // A pending document is held already.
    let copy = world.contribution_object(104, net, &["also kept"]);
    let copy = world.sign(&Object::Contribution(copy), &[104]);
    assert!(matches!(world.refused(&copy), Some(Refusal::Repeated { holder, .. }) if holder == a.into()));

    let decisions = [
        world.operation(100, Action::Approve { contribution: c }),
        world.operation(100, Action::Reject { contribution: b, reason: "not a text".into() }),
        world.operation(100, Action::Approve { contribution: a }),
    ];
    let events = world.block(&decisions);
    let height = world.height();
    assert_eq!(
        events,
        [
            Event::ContributionAdmitted { contribution: c, datanet: net, order: 0 },
            Event::ContributionRejected { contribution: b, datanet: net },
            Event::ContributionAdmitted { contribution: a, datanet: net, order: 1 },
        ]
    );
    let rejected = Admitted::Rejected { height, reason: "not a text".into() };
    assert_eq!(world.state.admission(&b).expect("known").state, rejected);
    // A decision is final; a rejected document is free again, an admitted one is not.
    for action in [Action::Approve { contribution: b }, Action::Reject { contribution: a, reason: "no".into() }] {
        let again = world.operation(100, action);
        assert!(matches!(world.refused(&again), Some(Refusal::State { .. })));
    }
    world.contribute(104, net, &["turned down"]);
}

#[test]
fn a_manifest_counts_from_the_epoch_after_its_quorum() {
    let mut world = World::new();
    let net = world.found(100, Admission::Open);
    let a = world.contribute(101, net, &["a text of several words"]);
    let manifest = world.sign(&Object::DatasetManifest(world.manifest_object(100, net, &[a])), &[100]);
    world.block(std::slice::from_ref(&manifest));
    let id = ManifestId::from(manifest.id());
    assert_eq!(unattested(&world.state, &who(0)), [id]);

    // Powers are 10, 11, 12, 13: 33 of 46 is a quorum, 23 is not.
    let two = [world.attest(0, id), world.attest(3, id)];
    assert!(world.block(&two).is_empty());
    assert!(unattested(&world.state, &who(0)).is_empty());
    assert_eq!(unattested(&world.state, &who(1)), [id]);
    let third = [world.attest(1, id)];
    let from = world.height() + 2;
    assert_eq!(world.block(&third), [Event::ManifestActive { manifest: id, datanet: net, from }]);
    assert_eq!(world.state.active_manifests(&net), [id]);
    assert_eq!(world.state.contributors(&net).get(&who(101)), Some(&23));
    assert!(unattested(&world.state, &who(2)).is_empty());

    // The late validator's attestation is recorded, and its own order of operations goes on.
    let late = [world.attest(2, id)];
    world.block(&late);
    assert_eq!(world.state.account(&who(2)).nonce, 1);
    assert_eq!(world.state.manifest_status(&id).expect("known").attested.len(), 4);
    let twice = world.attest(2, id);
    assert!(matches!(world.refused(&twice), Some(Refusal::State { .. })));
}

#[test]
fn a_model_of_a_manifest_waits_until_it_counts() {
    let mut world = World::new();
    let net = world.found(100, Admission::Open);
    let a = world.contribute(101, net, &["a text"]);
    let manifest = world.sign(&Object::DatasetManifest(world.manifest_object(100, net, &[a])), &[100]);
    world.block(std::slice::from_ref(&manifest));
    let id = ManifestId::from(manifest.id());
    let model = world.model_object(105, &[(id, 1)]);
    let model = world.sign(&Object::ModelManifest(model), &[105]);
    let mut objects: Vec<_> = (0..VALIDATORS).map(|by| world.attest(by, id)).collect();
    assert!(matches!(world.refused(&model), Some(Refusal::State { .. })));
    // In the very block of the quorum it does not count yet: its receipts would have nothing to be attributed to.
    objects.push(model.clone());
    let error = world.try_block(&objects, Vec::new()).expect_err("too early");
    assert!(matches!(error, BlockRefused::Object { index: 4, source: Refusal::State { .. }, .. }), "{error}");
    world.block(&objects[..4]);
    world.block(&[model]);
}

#[test]
fn a_receipt_is_attributed_to_the_versions_of_its_epoch() {
    let mut world = World::new();
    let net = world.found(100, Admission::Open);
    let a = world.contribute(101, net, &["first words"]);
    let first = world.publish(100, net, &[a]);
    let model = world.model_object(105, &[(first, 1)]);
    let model = world.register(model, 105);
    let b = world.contribute(102, net, &["second words"]);
    let second = world.sign(&Object::DatasetManifest(world.manifest_object(100, net, &[b])), &[100]);
    world.block(std::slice::from_ref(&second));
    let second_id = ManifestId::from(second.id());
    let mut objects: Vec<_> = (0..VALIDATORS).map(|by| world.attest(by, second_id)).collect();
    objects.push(world.receipt(103, 104, model, "first second words"));
    let opened = |events: &[Event]| {
        events.iter().find_map(|event| match event {
            Event::WorkOpened { manifests, .. } => Some(manifests.clone()),
            _ => None,
        })
    };
    assert_eq!(opened(&world.block(&objects)), Some(vec![first]));
    let receipt = world.receipt(103, 104, model, "first second words");
    assert_eq!(opened(&world.block(&[receipt])), Some(vec![first, second_id]));
    let manifests: Vec<_> = open_work(&world.state).into_iter().map(|work| work.manifests).collect();
    assert_eq!(manifests, [vec![first], vec![first, second_id]]);
}

#[test]
fn a_manifest_that_nobody_can_fetch_makes_way() {
    let mut world = World::new();
    let net = world.found(100, Admission::Open);
    let lost = world.contribute(101, net, &["nobody has this"]);
    let here = world.contribute(102, net, &["everybody has this"]);
    let stuck = world.sign(&Object::DatasetManifest(world.manifest_object(100, net, &[lost, here])), &[100]);
    world.block(std::slice::from_ref(&stuck));
    let stuck = ManifestId::from(stuck.id());
    let active = world.publish(100, net, &[here]);
    assert_eq!(world.state.active_manifests(&net), [active]);
    let status = world.state.manifest_status(&stuck).expect("known");
    assert_eq!(status.state, ManifestState::Superseded { by: active });
    assert_eq!(world.state.admission(&lost).expect("known").manifest, None);
    assert_eq!(world.state.admission(&here).expect("known").manifest, Some(active));
    assert_eq!(world.state.contributors(&net).into_keys().collect::<Vec<_>>(), [who(102)]);
    // Attesting it still does no harm, and has no effect.
    for by in 0..VALIDATORS {
        let late = [world.attest(by, stuck)];
        assert!(world.block(&late).is_empty());
    }
    assert_eq!(world.state.active_manifests(&net), [active]);
    // What was lost can come with the next version.
    let next = world.publish(100, net, &[lost]);
    assert_eq!(world.state.active_manifests(&net), [active, next]);
}
