//! From a document to a payout, and to the proof of it.

use super::node::{PATIENCE, TestNode, key};
use daemon::actions::{ActionError, DEFAULT_PRICE, NewContribution, NewDataNet, NewDocument, NewModel, NewReceipt};
use protocol::crypto::document_hash;
use protocol::ids::{ContributionId, DataNetId, ManifestId, ModelId};
use protocol::objects::{Action, Drops, LineageEntry, Origin};
use protocol::proof::{Trust, verify};

/// What Ada wrote.
pub(super) const ADA: &str = "It was a bright cold day in April, and the clocks of the harbour town were striking thirteen while \
                       the lighthouse keeper counted his lanterns.";
/// What Ben wrote.
pub(super) const BEN: &str = "The old cartographer folded his last map of the northern islands, and walked slowly down to the \
                       boats without saying a word to anybody.";
/// An answer made of both, and of words that are nobody's.
pub(super) const ANSWER: &str = "Someone wrote that the clocks of the harbour town were striking thirteen, zyx qwv, and that the \
                          old cartographer folded his last map of the northern islands.";

pub(super) fn datanet(node: &TestNode, curated: bool) -> DataNetId {
    datanet_with(node, curated, 10_000)
}

/// A DataNet with a limit on what may be known of a contribution, in basis points.
pub(super) fn datanet_with(node: &TestNode, curated: bool, max_known_basis_points: u32) -> DataNetId {
    let new = NewDataNet {
        name: if curated { "Curated" } else { "Tales" }.to_owned(),
        description: "Short tales for a test.".to_owned(),
        curated,
        licences: vec!["CC0-1.0".to_owned()],
        max_contribution_bytes: 1 << 20,
        max_known_basis_points,
    };
    let id = node.remote.create_datanet(&key("owner"), new).expect("it is created");
    node.remote.wait_included("DataNet", id, PATIENCE).expect("it enters a block");
    id
}

pub(super) fn contribution(datanet: DataNetId, credit: &str, text: &str) -> NewContribution {
    NewContribution {
        datanet,
        credit: credit.to_owned(),
        title: format!("A tale by {credit}"),
        source: "written for this test".to_owned(),
        language: "en".to_owned(),
        licence: "CC0-1.0".to_owned(),
        origin: Origin::OwnWork,
        documents: vec![NewDocument { title: "tale.txt".to_owned(), bytes: text.as_bytes().to_vec() }],
    }
}

/// A DataNet with both tales in an active version, and a model made from it.
pub(super) fn published(node: &TestNode) -> (DataNetId, [ContributionId; 2], ModelId) {
    let remote = &node.remote;
    let datanet = datanet(node, false);
    let tales = [("ada", "Ada A.", ADA), ("ben", "Ben B.", BEN)].map(|(name, credit, text)| {
        let id = remote.contribute(&key(name), contribution(datanet, credit, text)).expect("it is taken");
        remote.wait_for("contribution", id, &["admitted"], PATIENCE, |_| ()).expect("an open DataNet admits it");
        id
    });
    let manifest = remote.publish(&key("owner"), &datanet, None).expect("it is published");
    let active = remote.wait_active(&manifest, PATIENCE, |_| ()).expect("the validator attests it");
    assert_eq!((active.version, active.documents, active.attested_power), (1, 2, 1));
    (datanet, tales, model(node, manifest))
}

/// A model made from a manifest.
pub(super) fn model(node: &TestNode, manifest: ManifestId) -> ModelId {
    let model = NewModel {
        name: "teller".to_owned(),
        weights: document_hash(b"weights"),
        base: None,
        reserve_bp: 0,
        lineage: vec![LineageEntry { manifest, weight: 1 }],
        price_in: DEFAULT_PRICE,
        price_out: DEFAULT_PRICE,
        checkpoint: None,
    };
    let model = node.remote.register_model(&key("builder"), model).expect("it is registered");
    node.remote.wait_included("model", model, PATIENCE).expect("it enters a block");
    model
}

pub(super) fn receipt(node: &TestNode, model: ModelId) -> NewReceipt {
    NewReceipt {
        price: node.remote.price(&model).expect("the model has a price"),
        prompt: "Tell me a tale.".to_owned(),
        output: ANSWER.to_owned(),
        tokens_in: Some(4),
        tokens_out: Some(26),
        expiry: node.remote.expiry().expect("the node answers"),
    }
}

fn number(text: &str) -> u128 {
    text.parse().expect("an amount")
}

#[test]
fn an_answer_pays_its_authors_and_anyone_can_check_it() {
    let node = TestNode::start();
    let remote = &node.remote;
    let (datanet, tales, model) = published(&node);
    let new = receipt(&node, model);
    let fee = new.price.fee(4, 26).expect("a small fee");
    let id = remote.submit_receipt(&key("payer"), &key("operator"), new).expect("it is taken");
    let settled = remote.wait_settled(&id, PATIENCE, |_| ()).expect("it is settled");
    assert_eq!(settled.fee, fee.to_string());
    let lines: u128 = settled.lines.iter().map(|line| number(&line.drops)).sum();
    assert_eq!(lines, fee.0, "the lines add up to the fee");

    // The explanation: both authors' passages, word for word, and sums that add up to the drop.
    let explained = remote.explain(&id).expect("it is explained");
    let texts: Vec<(&str, &str)> =
        explained.spans.iter().map(|span| (span.credit.as_str(), span.text.as_str())).collect();
    assert!(texts.contains(&("Ada A.", "the clocks of the harbour town were striking thirteen")), "{texts:?}");
    assert!(
        texts.iter().any(|(who, text)| *who == "Ben B."
            && text.ends_with("cartographer folded his last map of the northern islands")),
        "{texts:?}"
    );
    for span in &explained.spans {
        assert_eq!(explained.output.get(span.start as usize..span.end as usize), Some(span.text.as_str()));
        assert_eq!((span.datanet_name.as_str(), span.occurrences, span.documents), ("Tales", 1, 1));
        let written = if span.credit == "Ada A." { ADA } else { BEN };
        assert!(
            !span.there.is_empty() && written.contains(&format!("{}{}{}", span.before, span.there, span.after)),
            "the context is the document's"
        );
    }
    let sums = &explained.sums;
    let parts = [&sums.data, &sums.base, &sums.model, &sums.serving, &sums.validators, &sums.treasury];
    assert_eq!(parts.into_iter().map(|part| number(part)).sum::<u128>(), fee.0);
    let shares: u128 = explained.contributions.iter().map(|share| number(&share.drops)).sum();
    assert_eq!(shares, number(&sums.data), "the contributions' shares are the data part");
    assert!(explained.uncovered_words > 0 && explained.uncovered_words < explained.total_words);

    // Earnings say the same, by account, DataNet and contribution.
    let earned = remote.earned(&key("ada").account()).expect("it is counted");
    assert_eq!(earned.names, ["Ada A."]);
    assert_eq!(earned.by_contribution[0].id, tales[0].to_string());
    assert_eq!(earned.by_datanet[0].id, datanet.to_string());
    let all = remote.earnings().expect("it is counted");
    let everybody: u128 = all.accounts.iter().map(|earned| number(&earned.earned)).sum();
    assert_eq!(everybody + number(&all.treasury), fee.0, "earnings add up to the fee");
    let detail = remote.datanet(&datanet).expect("it is there");
    assert_eq!((detail.contributions.admitted, detail.contributions.unpublished), (2, 0));
    assert_eq!(detail.contributors.iter().map(|one| one.bytes).sum::<u64>(), (ADA.len() + BEN.len()) as u64);

    proofs(&node, &id);

    // When the dispute window is over, the payouts can be spent.
    remote.wait_for("receipt", id, &["available"], PATIENCE, |_| ()).expect("it becomes available");
    let account = remote.account(&key("ben").account()).expect("it is there");
    assert_eq!(number(&account.pending), 0);
    let earned = remote.earned(&key("ben").account()).expect("it is counted");
    assert_eq!(earned.pending, "0");
    assert_eq!(number(&account.available), Drops::CREDIT.0 * 1000 - remote.object_fee().0 + number(&earned.available));
    let transfer = Action::Transfer { to: key("ada").account(), amount: Drops(5) };
    let paid = remote.operate(&key("ben"), transfer).expect("it is taken");
    remote.wait_included("transfer", paid, PATIENCE).expect("it enters a block");
    node.stop();
}

/// A proof holds, and none does with any of its sampled bytes flipped or with an end cut off.
fn proofs(node: &TestNode, id: &protocol::ids::ReceiptId) {
    let mut proof = node.remote.proof(id, None).expect("it is made");
    let trust = Trust::of_genesis(&node.genesis);
    let proved = verify(&proof, &trust).expect("it holds");
    assert_eq!((proved.trusted, proved.light.0), (0, 1), "a set that never changed is skipped in one step");
    assert_eq!(proved.id, *id);
    assert_eq!(proved.receipt.output, ANSWER);
    assert_eq!(proved.power, (1, 1));
    assert_eq!(proved.contributions.len(), 2);
    let step = (proof.len() / 400).max(1);
    for at in (0..proof.len()).step_by(step).chain(proof.len() - 8..proof.len()) {
        proof[at] ^= 1 << (at % 8);
        assert!(verify(&proof, &trust).is_err(), "byte {at} of {} is flipped and it still holds", proof.len());
        proof[at] ^= 1 << (at % 8);
    }
    assert!(verify(&proof[..proof.len() - 1], &trust).is_err());
    // A reader who trusts a height and its block needs nothing that came before it.
    let checkpointed = node.remote.proof(id, Some(2)).expect("it is made");
    let light: serde_json::Value = node.remote.client().get("/v1/light/2").expect("it is there");
    let block = light["block"].as_str().expect("an id").parse().expect("an id");
    let from_there = Trust { checkpoint: Some((2, block)), ..trust };
    let proved = verify(&checkpointed, &from_there).expect("it holds");
    assert_eq!((proved.trusted, proved.light.0), (2, 2));
    assert_eq!(verify(&proof, &from_there).map_err(|error| error.as_str()), Err("trust"));
    let elsewhere = Trust { checkpoint: Some((2, protocol::ids::BlockId([1; 32]))), ..trust };
    assert_eq!(verify(&checkpointed, &elsewhere).map_err(|error| error.as_str()), Err("checkpoint"));
    let old = protocol::light::Window { now_ms: u64::MAX / 2, period_ms: 1000 };
    let told = verify(&checkpointed, &Trust { window: old, ..from_there });
    assert_eq!(told.map_err(|error| error.as_str()), Err("expired"));
    let other = protocol::genesis::Genesis { time_ms: 1, ..node.genesis.clone() };
    assert_eq!(verify(&proof, &Trust::of_genesis(&other)).map_err(|error| error.as_str()), Err("network"));
}

#[test]
fn the_owner_of_a_curated_datanet_decides() {
    let node = TestNode::start();
    let remote = &node.remote;
    let datanet = datanet(&node, true);
    let offers = [("ada", ADA), ("ben", BEN)].map(|(name, text)| {
        let id = remote.contribute(&key(name), contribution(datanet, name, text)).expect("it is taken");
        remote.wait_for("contribution", id, &["pending"], PATIENCE, |_| ()).expect("it waits for the owner");
        id
    });
    assert!(matches!(remote.publish(&key("owner"), &datanet, None), Err(ActionError::Nothing(_))));
    let stranger =
        remote.operate(&key("ben"), Action::Approve { contribution: offers[1] }).expect_err("only the owner may");
    assert_eq!(stranger.code(), "forbidden");
    remote.operate(&key("owner"), Action::Approve { contribution: offers[0] }).expect("it is taken");
    let reason = "it is not a tale".to_owned();
    remote.operate(&key("owner"), Action::Reject { contribution: offers[1], reason }).expect("the next nonce is known");
    remote.wait_for("contribution", offers[0], &["admitted"], PATIENCE, |_| ()).expect("it is admitted");
    let rejected = remote.wait_for("contribution", offers[1], &["admitted"], PATIENCE, |_| ()).expect_err("it is not");
    assert_eq!(rejected.code(), "rejected");
    assert!(rejected.to_string().ends_with("it is not a tale"), "{rejected}");
    node.stop();
}
