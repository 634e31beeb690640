//! Copies: refused, not attested, or taken and not paid; and what becomes of an index that is damaged.

use super::node::{PATIENCE, TestNode, key};
use super::path::{ADA, ANSWER, BEN, contribution, datanet, datanet_with, model, published, receipt};
use attribution::span::Index;
use protocol::crypto::document_hash;
use protocol::ids::{ContributionId, DataNetId, ManifestId};
use protocol::objects::{Contribution, Document, Object, Origin, Permission, UsagePolicy};
use protocol::proof::{Trust, verify};
use std::io::{Read, Seek, SeekFrom, Write};
use std::time::{Duration, Instant};

/// A contribution that is taken and admitted.
fn admitted(node: &TestNode, datanet: DataNetId, name: &str, text: &str) -> ContributionId {
    let id = node.remote.contribute(&key(name), contribution(datanet, name, text)).expect("it is taken");
    node.remote.wait_for("contribution", id, &["admitted"], PATIENCE, |_| ()).expect("an open DataNet admits it");
    id
}

fn active(node: &TestNode, manifest: &ManifestId) {
    node.remote.wait_active(manifest, PATIENCE, |_| ()).expect("the validator attests it");
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn height(node: &TestNode) -> u64 {
    node.remote.client().status().expect("it answers").height
}

/// Twice as long as a tale, so that it holds enough words in a row.
fn long(text: &str) -> String {
    format!("{text} {}", text.split(' ').rev().collect::<Vec<_>>().join(" "))
}

#[test]
fn a_copy_is_refused_and_a_manifest_with_one_is_not_attested() {
    let node = TestNode::start();
    let remote = &node.remote;
    let datanet = datanet_with(&node, false, 5_000);
    // A soft hyphen behind each E: nobody sees it, and it is no letter.
    let (ada, copy) = (long(ADA), long(ADA).to_uppercase().replace('E', "E\u{ad}"));
    // Neither is known while no manifest has the other, so both are taken.
    let first = admitted(&node, datanet, "ada", &ada);
    let second = admitted(&node, datanet, "ben", &copy);
    let both = remote.publish(&key("owner"), &datanet, None).expect("it is published");
    wait_until("it is indexed", || node.spans().join(both.to_string()).join("index").is_file());
    let begun = height(&node);
    wait_until("twenty epochs", || height(&node) > begun + 20);
    assert_eq!(remote.manifest(&both).expect("it is there").state, "proposed", "nobody attests it");
    let known: serde_json::Value =
        remote.client().get(&format!("/v1/contributions/{second}/known")).expect("it is measured");
    assert_eq!(known["repeats"][0]["contribution"], first.to_string());
    assert!(known["known_basis_points"].as_u64().expect("a number") > 5_000, "{known}");

    // The owner leaves it out, and nothing is left of the manifest that came to nothing.
    let one = remote.publish(&key("owner"), &datanet, Some(&[first])).expect("it is published");
    active(&node, &one);
    assert_eq!(remote.manifest(&both).expect("it is there").state, "superseded");
    wait_until("its index is deleted", || !node.spans().join(both.to_string()).exists());

    // Now it is known when it comes.
    let third = contribution(datanet, "ben", &format!("A copy! {copy}"));
    let refused = remote.contribute(&key("ben"), third).expect_err("too little of it is new");
    assert_eq!(refused.code(), "known");
    let sentence = refused.to_string();
    assert!(sentence.contains("allows 50.00 %") && sentence.contains(&first.to_string()), "{sentence}");
    admitted(&node, datanet, "ben", &long(BEN));
    node.stop();
}

/// What a contribution says of its documents' lengths decides shares of the base dividend, and whether evidence of them is
/// believed; so a false length is not attested, though the document itself is here already under its true one.
#[test]
fn a_false_length_is_not_attested() {
    let node = TestNode::start();
    let remote = &node.remote;
    let (first, second) = (datanet(&node, false), datanet_with(&node, false, 9_999));
    admitted(&node, first, "ada", ADA);
    let allowed = Permission::Allowed;
    let (hash, ben) = (document_hash(ADA.as_bytes()), key("ben"));
    let contribution = Object::Contribution(Contribution {
        contributor: ben.account(),
        datanet: second,
        credit: "Ben B.".to_owned(),
        title: "Longer than it is".to_owned(),
        source: "written for this test".to_owned(),
        language: "en".to_owned(),
        licence: "CC0-1.0".to_owned(),
        origin: Origin::OwnWork,
        usage: UsagePolicy {
            ai_training: allowed,
            ai_generative_training: allowed,
            ai_inference: allowed,
            data_mining: allowed,
        },
        previous: None,
        documents: vec![Document { title: "tale.txt".to_owned(), hash, bytes: 1 << 20 }],
    });
    let id: ContributionId = remote.submit(&contribution, &[&ben]).expect("the ledger cannot know").into();
    remote.wait_for("contribution", id, &["admitted"], PATIENCE, |_| ()).expect("an open DataNet admits it");
    let manifest = remote.publish(&key("owner"), &second, None).expect("it is published");
    let begun = height(&node);
    wait_until("twenty epochs", || height(&node) > begun + 20);
    assert_eq!(remote.manifest(&manifest).expect("it is there").state, "proposed", "nobody attests it");
    assert!(!node.spans().join(manifest.to_string()).exists(), "it is not indexed");
    node.stop();
}

/// Ben contributes the answer before it is given: he is paid for what nobody held before, and Ada for hers.
#[test]
fn a_copy_with_something_added_is_paid_for_that_alone() {
    let node = TestNode::start();
    let remote = &node.remote;
    let datanet = datanet(&node, false);
    let ada = admitted(&node, datanet, "ada", ADA);
    let ben = admitted(&node, datanet, "ben", &format!("I heard it told so: {ANSWER}"));
    let manifest = remote.publish(&key("owner"), &datanet, None).expect("it is published");
    active(&node, &manifest);
    let model = model(&node, manifest);
    let id = remote.submit_receipt(&key("payer"), &key("operator"), receipt(&node, model)).expect("it is taken");
    remote.wait_settled(&id, PATIENCE, |_| ()).expect("it is settled");
    let explained = remote.explain(&id).expect("it is explained");
    let parts: Vec<(&str, &str)> =
        explained.spans.iter().map(|span| (span.contribution.as_str(), span.text.as_str())).collect();
    let (ada, ben) = (ada.to_string(), ben.to_string());
    let hers = "the clocks of the harbour town were striking thirteen";
    assert_eq!(parts.len(), 3, "{parts:?}");
    assert_eq!(parts[0], (ben.as_str(), "Someone wrote that"));
    assert_eq!(parts[1], (ada.as_str(), hers));
    assert!(parts[2].0 == ben && parts[2].1.starts_with("zyx qwv"), "{parts:?}");
    // And that is proved: each part stands in its holder's document.
    let proof = remote.proof(&id, None).expect("it is made");
    let proved = verify(&proof, &Trust::of_genesis(&node.genesis)).expect("it holds");
    assert_eq!(proved.settlement.spans.len(), 3);
    node.stop();
}

/// Line breaks, case, quotation marks and what nobody sees are not what makes a sentence somebody's.
#[test]
fn light_edits_cost_an_author_nothing() {
    let node = TestNode::start();
    let remote = &node.remote;
    let datanet = datanet(&node, false);
    let written = "\u{feff}He said:\n\n  \u{201c}The old cartog\u{ad}rapher folded\r\n  HIS last map of the northern\n  islands\u{201d}\n";
    admitted(&node, datanet, "ben", written);
    let manifest = remote.publish(&key("owner"), &datanet, None).expect("it is published");
    active(&node, &manifest);
    let model = model(&node, manifest);
    let id = remote.submit_receipt(&key("payer"), &key("operator"), receipt(&node, model)).expect("it is taken");
    remote.wait_settled(&id, PATIENCE, |_| ()).expect("it is settled");
    let explained = remote.explain(&id).expect("it is explained");
    let [span] = explained.spans.as_slice() else { panic!("one passage: {:?}", explained.spans) };
    // Each side as it was written.
    assert_eq!(span.text, "the old cartographer folded his last map of the northern islands");
    let there = "The old cartog\u{ad}rapher folded\r\n  HIS last map of the northern\n  islands";
    assert_eq!(
        (span.there.as_str(), span.before.as_str(), span.after.as_str()),
        (there, "\u{feff}He said:\n\n  \u{201c}", "\u{201d}\n",)
    );
    assert_eq!(written.find(there), usize::try_from(span.offset).ok());
    let proof = remote.proof(&id, None).expect("it is made");
    let proved = verify(&proof, &Trust::of_genesis(&node.genesis)).expect("it holds");
    assert_eq!((proved.passages[0].offset, proved.passages[0].text.as_str()), (span.offset, there));
    node.stop();
}

#[test]
fn a_damaged_index_is_made_again() {
    let node = TestNode::start();
    let remote = &node.remote;
    let (_, _, model) = published(&node);
    let folders: Vec<_> = std::fs::read_dir(node.spans())
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.join("index").is_file())
        .collect();
    let [folder] = folders.as_slice() else { panic!("one manifest, one index: {folders:?}") };
    let segment = std::fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .find(|path| path.extension().is_some_and(|extension| extension == "segment"))
        .expect("a segment");
    // In its place: the node has it mapped.
    let mut file = std::fs::OpenOptions::new().read(true).write(true).open(&segment).expect("it opens");
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).expect("it is read");
    let (from, to) = (bytes.len() / 4, bytes.len() * 3 / 4);
    let altered: Vec<u8> = bytes[from..to].iter().map(|byte| byte ^ 1).collect();
    file.seek(SeekFrom::Start(from as u64)).and_then(|_| file.write_all(&altered)).expect("it is altered");
    assert!(Index::open(folder).and_then(|index| index.verify()).is_err());

    let id = remote.submit_receipt(&key("payer"), &key("operator"), receipt(&node, model)).expect("it is taken");
    remote.wait_settled(&id, PATIENCE, |_| ()).expect("it is settled all the same");
    assert!(Index::open(folder).and_then(|index| index.verify()).is_ok(), "it is sound again");
    assert!(!remote.explain(&id).expect("it is explained").spans.is_empty());
    node.stop();
}
