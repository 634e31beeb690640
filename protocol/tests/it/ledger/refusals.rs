//! Every refusal of the ledger, in one table; and none leaves a trace.

use super::world::*;
use protocol::envelope::Verified;
use protocol::genesis::Params;
use protocol::ids::*;
use protocol::ledger::*;
use protocol::objects::*;
use protocol::refusal::Refusal;

const TEXT: &str = "a lantern hung in the tower";

struct Scene {
    world: World,
    net: DataNetId,
    other: DataNetId,
    /// Admitted to `net` and in its only manifest.
    held: ContributionId,
    /// Admitted to `net`.
    free: ContributionId,
    /// Pending in `other`.
    pending: ContributionId,
    manifest: ManifestId,
    model: ModelId,
}

fn scene() -> Scene {
    let mut world = World::new();
    let (net, other) = (world.found(100, Admission::Open), world.found(101, Admission::Curated));
    let held = world.contribute(102, net, &[TEXT]);
    let free = world.contribute(102, net, &["more text"]);
    let pending = world.contribute(102, other, &["text to judge"]);
    let manifest = world.publish(100, net, &[held]);
    let model = world.model_object(105, &[(manifest, 1)]);
    let model = world.register(model, 105);
    Scene { world, net, other, held, free, pending, manifest, model }
}

impl Scene {
    fn signed_contribution(&mut self, change: impl Fn(&mut Contribution)) -> Verified {
        let mut object = self.world.contribution_object(103, self.net, &["something new"]);
        change(&mut object);
        self.world.sign(&Object::Contribution(object), &[103])
    }

    fn signed_manifest(&mut self, change: impl Fn(&mut DatasetManifest)) -> Verified {
        let mut object = self.world.manifest_object(100, self.net, &[self.free]);
        change(&mut object);
        self.world.sign(&Object::DatasetManifest(object), &[100])
    }

    fn signed_model(&mut self, change: impl Fn(&mut ModelManifest)) -> Verified {
        let mut object = self.world.model_object(105, &[(self.manifest, 1)]);
        change(&mut object);
        self.world.sign(&Object::ModelManifest(object), &[105])
    }

    fn signed_receipt(&mut self, change: impl Fn(&mut Receipt)) -> Verified {
        let mut object = self.world.receipt_object(110, 111, self.model, "an answer");
        change(&mut object);
        let payer = if object.payer == who(110) { 110 } else { 150 };
        self.world.sign(&Object::Receipt(object), &[payer, 111])
    }

    fn signed_operation(&mut self, by: u8, action: Action, change: impl Fn(&mut Operation)) -> Verified {
        let nonce = self.world.state.account(&who(by)).nonce;
        let fee = self.world.genesis.params.object_fee;
        let mut object = Operation { account: who(by), nonce, fee, action };
        change(&mut object);
        self.world.sign(&Object::Operation(object), &[by])
    }
}

#[test]
fn every_refusal_has_its_word() {
    let mut scene = scene();
    let transfer = |drops: u128| Action::Transfer { to: who(101), amount: Drops(drops) };
    let nowhere = [9; 32];
    let (net, other, held, pending) = (scene.net, scene.other, scene.held, scene.pending);
    let (manifest, model, free) = (scene.manifest, scene.model, scene.free);
    let height = scene.world.height() + 1;
    let none = |_: &mut Operation| {};
    let free_of_charge = |object: &mut Operation| object.fee = Drops::ZERO;
    let table: Vec<(&str, &str, Verified)> = vec![
        // DataNets.
        ("poor founder", "funds", {
            let object = scene.world.datanet_object(150, Admission::Open);
            scene.world.sign(&Object::DataNet(object), &[150])
        }),
        // Contributions.
        ("no DataNet", "unknown", scene.signed_contribution(|object| object.datanet = DataNetId(nowhere))),
        ("licence", "field", scene.signed_contribution(|object| object.licence = "MIT".into())),
        ("too large", "oversize", scene.signed_contribution(|object| object.documents[0].bytes = 10_001)),
        (
            "too large together",
            "oversize",
            scene.signed_contribution(|object| {
                object.documents[0].bytes = 6_000;
                object.documents.push(Document { title: String::new(), hash: Hash32([8; 32]), bytes: 4_001 });
            }),
        ),
        ("known document", "repeated", {
            let object = scene.world.contribution_object(103, net, &["one more", TEXT]);
            scene.world.sign(&Object::Contribution(object), &[103])
        }),
        (
            "replaces nothing",
            "unknown",
            scene.signed_contribution(|object| object.previous = Some(ContributionId(nowhere))),
        ),
        ("replaces another's", "forbidden", scene.signed_contribution(|object| object.previous = Some(held))),
        ("replaces elsewhere", "field", scene.signed_contribution(|object| object.previous = Some(pending))),
        // Manifests.
        ("no DataNet", "unknown", scene.signed_manifest(|object| object.datanet = DataNetId(nowhere))),
        ("not the owner", "forbidden", {
            let object = scene.world.manifest_object(102, net, &[free]);
            scene.world.sign(&Object::DatasetManifest(object), &[102])
        }),
        ("version", "field", scene.signed_manifest(|object| object.version = 3)),
        ("parent", "field", scene.signed_manifest(|object| object.parent = Some(ManifestId(nowhere)))),
        ("adds nothing known", "unknown", scene.signed_manifest(|object| object.added[0] = ContributionId(nowhere))),
        ("adds from elsewhere", "field", scene.signed_manifest(|object| object.added[0] = pending)),
        ("adds twice", "state", scene.signed_manifest(|object| object.added[0] = held)),
        ("adds pending", "state", {
            let object = scene.world.manifest_object(101, other, &[pending]);
            scene.world.sign(&Object::DatasetManifest(object), &[101])
        }),
        ("documents", "field", scene.signed_manifest(|object| object.documents += 1)),
        ("bytes", "field", scene.signed_manifest(|object| object.bytes -= 1)),
        ("content root", "field", scene.signed_manifest(|object| object.content_root.0[0] ^= 1)),
        // Models.
        ("no manifest", "unknown", scene.signed_model(|object| object.lineage[0].manifest = ManifestId(nowhere))),
        ("no base", "unknown", scene.signed_model(|object| object.base = Some(ModelId(nowhere)))),
        // Receipts.
        ("no model", "unknown", scene.signed_receipt(|object| object.model = ModelId(nowhere))),
        ("too cheap", "fee", scene.signed_receipt(|object| object.fee.0 -= 1)),
        ("too dear", "fee", scene.signed_receipt(|object| object.fee.0 += 1)),
        ("expired", "expired", scene.signed_receipt(|object| object.expiry = height - 1)),
        ("expires too late", "expiry", scene.signed_receipt(|object| object.expiry = height + 10_001)),
        ("poor payer", "funds", scene.signed_receipt(|object| object.payer = who(150))),
        // Operations.
        ("cheap", "fee", scene.signed_operation(100, transfer(1), |object| object.fee.0 -= 1)),
        ("poor", "funds", scene.signed_operation(100, transfer(START), none)),
        (
            "more than all money",
            "funds",
            scene.signed_operation(100, transfer(1 << 100), |object| object.fee = Drops(1 << 100)),
        ),
        ("next but one", "nonce", scene.signed_operation(100, transfer(1), |object| object.nonce += 1)),
        (
            "no such contribution",
            "unknown",
            scene.signed_operation(101, Action::Approve { contribution: ContributionId(nowhere) }, none),
        ),
        ("not its owner", "forbidden", scene.signed_operation(100, Action::Approve { contribution: pending }, none)),
        (
            "nothing to decide",
            "state",
            scene.signed_operation(100, Action::Reject { contribution: held, reason: "no".into() }, none),
        ),
        (
            "no such manifest",
            "unknown",
            scene.signed_operation(0, Action::Attest { manifest: ManifestId(nowhere) }, free_of_charge),
        ),
        ("no validator", "forbidden", scene.signed_operation(100, Action::Attest { manifest }, free_of_charge)),
        ("attested twice", "state", scene.signed_operation(0, Action::Attest { manifest }, free_of_charge)),
        // Attribution.
        (
            "no validator",
            "forbidden",
            scene.world.commit(100, &AttributionBody { epoch: 1, datanet: net, receipts: vec![] }),
        ),
        ("nothing open", "state", scene.world.commit(0, &AttributionBody { epoch: 1, datanet: net, receipts: vec![] })),
        ("nothing open", "state", scene.world.reveal(0, &AttributionBody { epoch: 1, datanet: net, receipts: vec![] })),
    ];
    let world = &scene.world;
    assert!(world.state.model(&model).is_some());
    for (what, word, object) in &table {
        let refusal = world.refused(object).unwrap_or_else(|| panic!("{what} is accepted, not {word}"));
        assert_eq!(refusal.as_str(), *word, "{what}: {refusal}");
        // No trace: with it among the candidates a block is what it is without it.
        let proposal = |objects: &[Verified]| {
            propose(&world.state, &world.context(), objects, &Default::default(), Limits::of(&world.genesis.params))
        };
        let with = proposal(std::slice::from_ref(object));
        assert_eq!(with.envelopes, Vec::new(), "{what}");
        let pooled = check_object(&world.state, &world.context(), object);
        assert_eq!(with.refused, pooled.err().map(|refusal| (object.id(), refusal)).into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn nothing_enters_twice() {
    let mut scene = scene();
    let datanet = scene.world.datanet_object(100, Admission::Open);
    let objects = [
        scene.world.sign(&Object::DataNet(datanet), &[100]),
        scene.signed_contribution(|_| {}),
        scene.signed_manifest(|_| {}),
        scene.signed_model(|_| {}),
        scene.signed_receipt(|_| {}),
    ];
    for object in &objects {
        let error = scene.world.try_block(&[object.clone(), object.clone()], Vec::new()).expect_err("twice");
        assert!(matches!(error, BlockRefused::Object { index: 1, source: Refusal::Duplicate { .. }, .. }), "{error}");
    }
    scene.world.block(&objects);
    for object in &objects {
        assert!(matches!(scene.world.refused(object), Some(Refusal::Duplicate { .. })));
    }
    let action = Action::Transfer { to: who(101), amount: Drops(1) };
    let operation = scene.signed_operation(100, action, |_| {});
    scene.world.block(std::slice::from_ref(&operation));
    assert!(matches!(scene.world.refused(&operation), Some(Refusal::Nonce { got: 0, expected: 1, .. })));
    assert!(check_object(&scene.world.state, &scene.world.context(), &operation).is_err());
}

#[test]
fn a_lineage_names_each_datanet_once_and_bases_end() {
    let mut scene = scene();
    let second = scene.world.publish(100, scene.net, &[scene.free]);
    let both = scene.signed_model(|object| object.lineage.push(LineageEntry { manifest: second, weight: 1 }));
    assert!(matches!(scene.world.refused(&both), Some(Refusal::Field { field: "lineage", .. })));
    let mut base = scene.model;
    for _ in 0..protocol::limits::MAX_BASE_DEPTH {
        let model = scene.signed_model(|object| object.base = Some(base));
        scene.world.block(std::slice::from_ref(&model));
        base = model.id().into();
    }
    let deeper = scene.signed_model(|object| object.base = Some(base));
    assert!(matches!(scene.world.refused(&deeper), Some(Refusal::TooMany { .. })));
    // The deepest model's receipts are divided among all its elders.
    scene.model = base;
    let receipt = scene.signed_receipt(|_| {});
    scene.world.block(std::slice::from_ref(&receipt));
    scene.world.settle_all();
    scene.world.settlement(&receipt);
}

#[test]
fn answers_whose_evidence_has_no_room_are_refused_or_wait() {
    let params = Params { max_block_bytes: 1024 * 1024, ..Params::devnet() };
    let mut world = World::with(params);
    let net = world.found(100, Admission::Open);
    let a = world.contribute(101, net, &[TEXT]);
    let manifest = world.publish(100, net, &[a]);
    let model = world.model_object(105, &[(manifest, 1)]);
    let model = world.register(model, 105);
    // Half of 960 KiB; a word takes 60 bytes, and 8 more for a new one.
    let too_long = world.receipt(110, 111, model, &"a ".repeat(8_200));
    assert!(matches!(world.refused(&too_long), Some(Refusal::Oversize { .. })));
    let long = [0; 2].map(|_| world.receipt(110, 111, model, &"a ".repeat(5_000)));
    let error = world.try_block(&long, Vec::new()).expect_err("no room for the second");
    assert!(matches!(error, BlockRefused::Object { index: 1, source: Refusal::Full { .. }, .. }), "{error}");
    let proposal = propose(&world.state, &world.context(), &long, &Default::default(), Limits::of(&params));
    assert_eq!((proposal.envelopes.len(), proposal.refused), (1, Vec::new()));
    world.block(&long[..1]);
    world.block(&long[1..]);
}

#[test]
fn blocks_are_judged_as_a_whole() {
    let mut world = World::with(Params { max_block_envelopes: 2, ..Params::devnet() });
    let pay = |world: &mut World| world.operation(100, Action::Transfer { to: who(101), amount: Drops(1) });
    let objects: Vec<Verified> = (0..3).map(|_| pay(&mut world)).collect();
    let error = world.try_block(&objects, Vec::new()).expect_err("three of two");
    assert!(matches!(error, BlockRefused::TooMany { what: "envelopes", got: 3, limit: 2 }), "{error}");
    let error = world.try_block(&[], vec![Vec::new(); 257]).expect_err("too many");
    assert!(matches!(error, BlockRefused::TooMany { what: "settlements", .. }), "{error}");
    let block = world.make_block(&objects[..2], Vec::new());
    assert_eq!(execute_block(&world.state, &block, &objects[..1]), Err(BlockRefused::Envelopes));
    let mut late = block.clone();
    late.header.height = 2;
    let expected = BlockRefused::Height { expected: 1, got: 2 };
    assert_eq!(execute_block(&world.state, &late, &objects[..2]), Err(expected));
    assert_eq!(execute_block(&State::default(), &block, &objects[..2]), Err(BlockRefused::NoGenesis));
    assert!(execute_block(&world.state, &block, &objects[..2]).is_ok());
}

#[test]
fn a_manifest_adds_only_so_many_documents() {
    let mut world = World::new();
    let net = world.found(100, Admission::Open);
    let mut many = Vec::new();
    for number in 0..65_u32 {
        let mut object = world.contribution_object(101, net, &[]);
        let document = |index: u32| Document {
            title: String::new(),
            hash: protocol::crypto::document_hash(&(number << 16 | index).to_be_bytes()),
            bytes: 1,
        };
        object.documents = (0..1024).map(document).collect();
        many.push(world.sign(&Object::Contribution(object), &[101]));
    }
    world.block(&many);
    let added: Vec<ContributionId> = many.iter().map(|object| object.id().into()).collect();
    let manifest =
        |added: &[ContributionId]| world.sign(&Object::DatasetManifest(world.manifest_object(100, net, added)), &[100]);
    assert!(matches!(world.refused(&manifest(&added)), Some(Refusal::TooMany { got: 66_560, limit: 65_536, .. })));
    assert_eq!(world.refused(&manifest(&added[..64])), None);
}

#[test]
fn a_datanet_has_only_so_many_contributors() {
    let mut world = World::with(Params { object_fee: Drops::ZERO, ..Params::devnet() });
    let net = world.found(100, Admission::Open);
    let mut many = Vec::new();
    for number in 0..=content::MAX_CONTRIBUTORS {
        let mut seed = [0xee; 32];
        seed[..4].copy_from_slice(&number.to_be_bytes());
        let key = protocol::crypto::SecretKey::from_seed(seed);
        let mut object = world.contribution_object(101, net, &[&number.to_string()]);
        object.contributor = key.account();
        let envelope = protocol::envelope::seal(&Object::Contribution(object), &[&key], &world.genesis.hash());
        let envelope = envelope.expect("the right signer");
        many.push(Verified::check(envelope, &world.genesis.hash()).expect("a sound object"));
    }
    world.block(&many);
    let added: Vec<ContributionId> = many.iter().map(|object| object.id().into()).collect();
    let (last, first) = added.split_last().expect("many");
    assert_eq!(world.publish(100, net, &first[1..]), world.state.active_manifests(&net)[0]);
    let both = world.sign(&Object::DatasetManifest(world.manifest_object(100, net, &[*last, first[0]])), &[100]);
    assert!(matches!(world.refused(&both), Some(Refusal::TooMany { got: 4097, limit: 4096, .. })));
    world.publish(100, net, &[*last]);
    assert_eq!(world.state.datanet(&net).expect("known").contributors, 4096);
}
