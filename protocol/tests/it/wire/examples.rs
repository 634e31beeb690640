//! One fixed, valid example of everything that travels. The frozen vectors are made of these: change nothing here.

use protocol::block::{
    Block, Body, Certificate, CompactBlock, Header, MissingParts, Parts, ProposalPayload, Validator, VotePayload,
    VoteStep,
};
use protocol::crypto::{self, Purpose, SecretKey, Signature};
use protocol::envelope::seal;
use protocol::genesis::{FeeSplit, Genesis, GenesisValidator, InfluenceParams, Params, StakeParams, canonical};
use protocol::ids::{Account, BlockId, ContributionId, DataNetId, Hash32, ManifestId, ModelId, ObjectId, ReceiptId};
use protocol::influence::{Damping, Header as RowsHeader, Query, RowName, Solution, Tolerance};
use protocol::light::LightBlock;
use protocol::node::{PoolAnswer, PoolQuestion};
use protocol::objects::{
    Action, Admission, AttributionCommit, AttributionReveal, Checkpoint, Contribution, DataNet, DatasetManifest,
    Document, Drops, Envelope, Evidence, LineageEntry, Method, ModelManifest, Object, Offence, Operation, Origin,
    Permission, Receipt, SaidProposal, SaidVote, Trace, UsagePolicy,
};
use protocol::snapshot::{Chunk, Summary};
use protocol::wire::{
    ConsensusMessage, PolkaCert, Request, Response, RoundCert, RoundCertKind, RoundSignature, SignedProposal,
    SignedVote,
};

pub(super) fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed([seed; 32])
}

pub(super) fn account(seed: u8) -> Account {
    key(seed).account()
}

pub(super) fn genesis() -> Genesis {
    let mut validators: Vec<GenesisValidator> = [11, 12, 13, 14]
        .map(|seed| GenesisValidator {
            key: account(seed),
            payout: account(seed + 10),
            power: 10,
            name: format!("validator-{seed}"),
        })
        .to_vec();
    validators.sort_by_key(|validator| validator.key);
    let mut accounts = [1, 2, 3].map(|seed| (account(seed), Drops(1_000 * Drops::CREDIT.0))).to_vec();
    accounts.sort_unstable();
    let params = Params {
        epoch_ms: 1_000,
        max_block_bytes: 4 * 1024 * 1024,
        max_block_envelopes: 10_000,
        dispute_window: 20,
        commit_window: 2,
        settle_timeout: 10,
        max_expiry: 10_000,
        split: FeeSplit { data_bp: 5_000, model_bp: 2_000, serving_bp: 1_500, validators_bp: 1_200, treasury_bp: 300 },
        share_cap_bp: 8_000,
        object_fee: Drops(1_000_000),
        min_receipt_fee: Drops(1),
        agreed_timeout: 0,
        stake: StakeParams {
            power_unit: Drops::CREDIT,
            min_bond: Drops::CREDIT,
            max_validators: 64,
            unbonding_epochs: 100,
            evidence_age: 50,
            double_sign_slash_bp: 500,
            downtime_window: 1_000,
            min_signed_bp: 5_000,
            downtime_slash_bp: 0,
            jail_epochs: 30,
            duty_window: 1_000,
            max_missed_duties: 500,
            max_wrong_roots: 5,
            committee_size: 0,
            redraw_epochs: 500,
        },
        influence: InfluenceParams { rows_bond: Drops(10_000_000_000), audit_bp: 10_000, audit_window: 20 },
    };
    Genesis { network: "vectors-1".into(), time_ms: 1_750_000_000_000, params, validators, accounts }
}

pub(super) fn datanet() -> DataNet {
    DataNet {
        owner: account(1),
        name: "Fairy tales".into(),
        description: "Tales in the public domain.\nIn any language.".into(),
        admission: Admission::Curated,
        licences: vec!["CC0-1.0".into(), "CC-BY-4.0".into()],
        max_contribution_bytes: 100_000_000,
        max_known_basis_points: 5_000,
    }
}

pub(super) fn contribution() -> Contribution {
    let document = |title: &str, bytes: &[u8]| Document {
        title: title.into(),
        hash: crypto::document_hash(bytes),
        bytes: bytes.len() as u64,
    };
    Contribution {
        contributor: account(2),
        datanet: DataNetId([0x21; 32]),
        credit: "Jacob und Wilhelm Grimm".into(),
        title: "Kinder- und Hausmärchen".into(),
        source: "https://www.gutenberg.org/ebooks/2591".into(),
        language: "de".into(),
        licence: "CC0-1.0".into(),
        origin: Origin::PublicDomain,
        usage: UsagePolicy {
            ai_training: Permission::Allowed,
            ai_generative_training: Permission::Constrained,
            ai_inference: Permission::Allowed,
            data_mining: Permission::NotAllowed,
        },
        previous: Some(ContributionId([0x22; 32])),
        documents: vec![document("Der Froschkönig", b"In den alten Zeiten"), document("", b"x")],
    }
}

pub(super) fn manifest() -> DatasetManifest {
    DatasetManifest {
        owner: account(1),
        datanet: DataNetId([0x21; 32]),
        version: 2,
        parent: Some(ManifestId([0x23; 32])),
        added: vec![ContributionId([0x25; 32]), ContributionId([0x24; 32])],
        content_root: Hash32([0x26; 32]),
        documents: 300,
        bytes: 1 << 33,
        host: vec![0, 36, 8, 1, 18, 32, 7],
    }
}

pub(super) fn model() -> ModelManifest {
    let entry = |id, weight| LineageEntry { manifest: ManifestId([id; 32]), weight };
    ModelManifest {
        builder: account(3),
        name: "tales-1".into(),
        weights: Hash32([0x31; 32]),
        base: Some(ModelId([0x32; 32])),
        reserve_bp: 1_500,
        lineage: vec![entry(0x33, 1), entry(0x34, 300)],
        method: Method::Spans,
        price_in: Drops::ZERO,
        price_out: Drops(1 << 64),
        checkpoint: None,
    }
}

/// A model by influence.
pub(super) fn adapter() -> ModelManifest {
    let file = |title: &str, id, bytes| Document { title: title.into(), hash: Hash32([id; 32]), bytes };
    let files = vec![file("adapter/adapter_model.safetensors", 0x35, 70_000), file("base.gguf", 0x36, 1 << 26)];
    let checkpoint = Checkpoint { files, window: 256, host: vec![0, 36, 8, 1, 18, 32, 8] };
    ModelManifest {
        name: "tales-1 in influence".into(),
        weights: crypto::checkpoint_digest(&checkpoint),
        method: Method::Influence,
        checkpoint: Some(checkpoint),
        ..model()
    }
}

pub(super) fn receipt() -> Receipt {
    Receipt {
        payer: account(2),
        server: account(3),
        model: ModelId([0x41; 32]),
        prompt: crypto::prompt_commitment(&[0x42; 32], "Once upon a time"),
        output: "Es war einmal\nein König.".into(),
        tokens_in: 0,
        tokens_out: 7,
        fee: Drops(258),
        expiry: 1_000,
        nonce: u64::MAX,
        trace: None,
    }
}

/// A receipt of a model by influence.
pub(super) fn traced() -> Receipt {
    let trace = Trace {
        prompt: "Once upon a time".into(),
        salt: [0x42; 32],
        query: Query { scale: 9, codes: vec![32_767, -2, 0] },
        solution: Solution { shift: 25, codes: vec![1 << 30, -1, 7] },
    };
    Receipt { trace: Some(Box::new(trace)), ..receipt() }
}

/// What rows a builder offers.
pub(super) fn rows_header() -> RowsHeader {
    RowsHeader {
        dimension: 3,
        exponent: -7,
        rows: 300,
        fisher_rows: 1_200,
        damping: Damping::ONE,
        tolerance: Tolerance::DEFAULT,
        checkpoint: adapter().weights,
        layout: Hash32([0x37; 32]),
        seed: [0x38; 32],
        rows_root: Hash32([0x39; 32]),
        fisher_root: Hash32([0x3a; 32]),
    }
}

/// What validator 11 signed twice.
pub(super) fn offences() -> [(&'static str, Offence); 2] {
    let (place, step) = ((account(11), 6, 1), VoteStep::Precommit);
    let vote = |block, set| {
        let validators = Hash32([set; 32]);
        let payload = VotePayload { step, height: 6, round: 1, block, validators, validator: place.0 };
        let signature = key(11).sign(Purpose::Vote, &genesis().hash(), &canonical(&payload));
        SaidVote { block, validators, signature }
    };
    let proposal = |pol_round| {
        let (block, validators) = (BlockId([0x62; 32]), Hash32([0x61; 32]));
        let payload = ProposalPayload { height: 6, round: 1, block, pol_round, validators, validator: place.0 };
        let signature = key(11).sign(Purpose::Proposal, &genesis().hash(), &canonical(&payload));
        SaidProposal { block, pol_round, validators, signature }
    };
    let votes = [vote(Some(BlockId([0x62; 32])), 0x61), vote(None, 0x60)];
    let exclude = "they exclude each other";
    [
        ("votes", Offence::of_votes(place, step, votes).expect(exclude)),
        ("proposals", Offence::of_proposals(place, [proposal(Some(0)), proposal(None)]).expect(exclude)),
    ]
}

pub(super) fn operation(action: Action) -> Operation {
    Operation { account: account(11), nonce: 0, fee: Drops(1_000_000), action }
}

pub(super) fn actions() -> [(&'static str, Action); 13] {
    let contribution = ContributionId([0x52; 32]);
    let (model, header) = (ModelId([0x53; 32]), Box::new(rows_header()));
    let root = header.root();
    [
        ("transfer", Action::Transfer { to: account(2), amount: Drops(1 << 100) }),
        ("attest", Action::Attest { manifest: ManifestId([0x51; 32]) }),
        ("approve", Action::Approve { contribution }),
        ("reject", Action::Reject { contribution, reason: "It is not a tale.".into() }),
        ("bond", Action::Bond { amount: Drops::CREDIT, payout: account(2), name: "validator-11".into() }),
        ("unbond", Action::Unbond { amount: Drops::CREDIT }),
        ("unjail", Action::Unjail),
        (
            "offer-rows",
            Action::OfferRows { model, header, artifact: Hash32([0x54; 32]), bytes: 1 << 20, host: vec![0, 36, 8] },
        ),
        ("attest-rows", Action::AttestRows { model, root }),
        ("refute-rows", Action::RefuteRows { model, root, row: RowName { fisher: true, index: 258 } }),
        ("deposit", Action::Deposit { amount: Drops::CREDIT }),
        ("withdraw", Action::Withdraw { amount: Drops::CREDIT }),
        ("refute-query", Action::RefuteQuery { receipt: ReceiptId([0x55; 32]) }),
    ]
}

/// Every object with its authors' keys.
pub(super) fn objects() -> Vec<(String, Object, Vec<SecretKey>)> {
    let root = crypto::attribution_root(b"body");
    let commitment = crypto::attribution_commitment(&account(11), 5, &DataNetId([0x21; 32]), &root);
    let commit = AttributionCommit { validator: account(11), epoch: 5, datanet: DataNetId([0x21; 32]), commitment };
    let reveal = AttributionReveal { validator: account(11), epoch: 5, datanet: DataNetId([0x21; 32]), root };
    let mut all = vec![
        ("datanet".into(), Object::DataNet(datanet()), vec![key(1)]),
        ("contribution".into(), Object::Contribution(contribution()), vec![key(2)]),
        ("manifest".into(), Object::DatasetManifest(manifest()), vec![key(1)]),
        ("model".into(), Object::ModelManifest(model()), vec![key(3)]),
        ("receipt".into(), Object::Receipt(receipt()), vec![key(2), key(3)]),
        ("adapter".into(), Object::ModelManifest(adapter()), vec![key(3)]),
        ("traced".into(), Object::Receipt(traced()), vec![key(2), key(3)]),
        ("commit".into(), Object::AttributionCommit(commit), vec![key(11)]),
        ("reveal".into(), Object::AttributionReveal(reveal), vec![key(11)]),
    ];
    for (name, offence) in offences() {
        let evidence = Object::Evidence(Box::new(Evidence { reporter: account(3), offence }));
        all.push((format!("evidence.{name}"), evidence, vec![key(3)]));
    }
    for (name, action) in actions() {
        all.push((format!("operation.{name}"), Object::Operation(operation(action)), vec![key(11)]));
    }
    all
}

pub(super) fn envelopes() -> Vec<(String, Envelope)> {
    let network = genesis().hash();
    let sealed = |(name, object, keys): (String, Object, Vec<SecretKey>)| {
        let keys: Vec<&SecretKey> = keys.iter().collect();
        (name, seal(&object, &keys, &network).expect("these are the authors' keys"))
    };
    objects().into_iter().map(sealed).collect()
}

fn vote(seed: u8, step: VoteStep, block: Option<BlockId>) -> Signature {
    let payload =
        VotePayload { step, height: 6, round: 1, block, validators: Hash32([0x61; 32]), validator: account(seed) };
    key(seed).sign(Purpose::Vote, &genesis().hash(), &canonical(&payload))
}

pub(super) fn certificate() -> Certificate {
    let block = BlockId([0x62; 32]);
    let signed = |seed| (account(seed), vote(seed, VoteStep::Precommit, Some(block)));
    Certificate { height: 6, round: 1, block, signatures: vec![signed(11), signed(12), signed(13)] }
}

pub(super) fn block() -> Block {
    let body = Body {
        last_commit: Some(certificate()),
        envelopes: envelopes().into_iter().map(|(_, envelope)| envelope).take(5).collect(),
        settlements: vec![b"evidence".to_vec(), Vec::new()],
    };
    let header = Header {
        height: 7,
        parent: BlockId([0x62; 32]),
        time_ms: 1_750_000_007_000,
        proposer: account(12),
        state_root: Hash32([0x63; 32]),
        validators: Hash32([0x61; 32]),
        next_validators: Hash32([0x60; 32]),
        beacon: crypto::beacon(&canonical(&certificate())),
        body: body.hash(),
    };
    Block { header, body }
}

pub(super) fn consensus() -> Vec<(&'static str, ConsensusMessage)> {
    let block = BlockId([0x62; 32]);
    let validator = account(11);
    let vote_of = |step, block| {
        let signature = vote(11, step, block);
        ConsensusMessage::Vote(SignedVote { step, height: 6, round: 1, block, validator, signature })
    };
    let proposal = |pol_round| {
        let signature = Signature([0x64; 64]);
        ConsensusMessage::Proposal(SignedProposal { height: 6, round: 1, block, pol_round, validator, signature })
    };
    let polka = PolkaCert { height: 6, round: 1, block, signatures: certificate().signatures };
    let signature = |step, block| RoundSignature { step, block, validator, signature: vote(11, step, block) };
    let round = RoundCert {
        height: 6,
        round: 1,
        kind: RoundCertKind::Skip,
        signatures: vec![signature(VoteStep::Prevote, None), signature(VoteStep::Precommit, Some(block))],
    };
    vec![
        ("prevote", vote_of(VoteStep::Prevote, Some(block))),
        ("precommit-nil", vote_of(VoteStep::Precommit, None)),
        ("proposal", proposal(None)),
        ("proposal-again", proposal(Some(0))),
        ("polka", ConsensusMessage::Polka(polka)),
        ("round", ConsensusMessage::Round(round)),
    ]
}

pub(super) fn requests() -> Vec<(&'static str, Request)> {
    let blob = Request::Blob { hash: Hash32([0x71; 32]), offset: 16_384, len: 1_000, size: 17_384 };
    vec![
        ("blocks", Request::Blocks { from: 300, count: 64 }),
        ("block", Request::BlockById(BlockId([0x62; 32]))),
        ("status", Request::Status),
        ("blob", blob),
        ("compact-block", Request::CompactBlock(BlockId([0x62; 32]))),
        (
            "parts",
            Request::Parts {
                id: BlockId([0x62; 32]),
                missing: MissingParts { objects: vec![0, 9], settlements: vec![] },
            },
        ),
        ("reconcile", Request::Pool(PoolQuestion::Reconcile(vec![0x61, 0]))),
        ("objects", Request::Pool(PoolQuestion::Objects(vec![ObjectId([0x65; 32]), ObjectId([0x66; 32])]))),
        ("light", Request::Light(300)),
        ("snapshots", Request::Snapshots),
        ("chunk", Request::Chunk { height: 300, index: 2 }),
        ("decided", Request::Decided(vec![ObjectId([0x73; 32]), ObjectId([0x74; 32])])),
    ]
}

/// A light block in form: the sets' members are made up.
fn light_block() -> LightBlock {
    let member = |seed| Validator { key: account(seed), payout: account(seed + 1), power: u64::from(seed) };
    let set = |seeds: [u8; 2]| borsh::from_slice(&canonical(&seeds.map(member).to_vec())).expect("a set");
    LightBlock::new(block().header, certificate(), set([11, 12]), set([11, 13]))
}

fn chunk() -> Vec<u8> {
    let entries = vec![(b"key".to_vec(), b"value".to_vec())];
    Chunk { entries, siblings: vec![Summary::Empty, Summary::of_entry(b"other", b"value"), Summary::Inner([7; 32])] }
        .to_bytes()
}

pub(super) fn responses() -> Vec<(&'static str, Response)> {
    let status = |height, block| Response::Status { height, block, genesis: genesis().hash(), lowest: 1 };
    vec![
        ("blocks", Response::Blocks(vec![(block(), certificate())])),
        ("blocks-none", Response::Blocks(Vec::new())),
        ("block", Response::Block(Some(block()))),
        ("block-none", Response::Block(None)),
        ("status", status(6, Some(BlockId([0x62; 32])))),
        ("status-new", status(0, None)),
        ("blob", Response::Blob(Some(b"slice".to_vec()))),
        ("blob-empty", Response::Blob(Some(Vec::new()))),
        ("blob-none", Response::Blob(None)),
        ("light", Response::Light(Some(Box::new(light_block())))),
        ("light-none", Response::Light(None)),
        ("snapshots", Response::Snapshots(vec![(300, vec![1, 2, 2]), (600, vec![0])])),
        ("snapshots-none", Response::Snapshots(Vec::new())),
        ("chunk", Response::Chunk(Some(chunk()))),
        ("chunk-none", Response::Chunk(None)),
        ("decided", Response::Decided(block().body.envelopes)),
        ("decided-none", Response::Decided(Vec::new())),
        ("compact-block", Response::CompactBlock(Some(CompactBlock::of(&block())))),
        ("compact-block-none", Response::CompactBlock(None)),
        (
            "parts",
            Response::Parts(Parts { envelopes: vec![envelopes().remove(0).1], settlements: vec![vec![1], vec![]] }),
        ),
        ("reconcile", Response::Pool(PoolAnswer::Reconcile(vec![0x61]))),
        ("objects", Response::Pool(PoolAnswer::Objects(vec![envelopes().remove(0).1]))),
    ]
}
