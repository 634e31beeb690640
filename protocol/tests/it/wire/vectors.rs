//! Frozen bytes: `tests/vectors/v1.txt` holds what the examples encode to, one `name = value` a line.
//!
//! A difference means that the format changed, and with it every id, signature and stored object. Where that is meant,
//! `TRIBUTARY_REGENERATE_VECTORS=1 cargo nextest run --release -p tributary-protocol frozen` writes the file anew, and
//! the change needs a line under **Formats** in CHANGELOG.md.

use super::examples;
use protocol::crypto::{self, Purpose};
use protocol::genesis::canonical;
use protocol::ids::{DataNetId, Hash32, to_hex};
use protocol::wire;

/// The frozen file, as it was when this was compiled.
const FROZEN: &str = include_str!("../../vectors/v1.txt");

fn vectors() -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = Vec::new();
    let mut put = |name: &str, value: String| all.push((name.into(), value));

    let genesis = examples::genesis();
    put("genesis", to_hex(&canonical(&genesis)));
    put("genesis.hash", genesis.hash().to_string());
    for seed in [1, 2, 3, 11] {
        put(&format!("account.{seed}"), examples::account(seed).to_string());
    }

    for (name, object, _) in examples::objects() {
        let payload = wire::encode_object(&object);
        put(&format!("object.{name}"), to_hex(&payload));
        put(&format!("id.{name}"), crypto::object_id(object.kind(), &payload).to_string());
    }
    for (name, envelope) in examples::envelopes() {
        put(&format!("envelope.{name}"), to_hex(&wire::encode_envelope(&envelope)));
    }

    let gossip = examples::envelopes().into_iter().map(|(_, envelope)| envelope).collect();
    put("gossip.envelopes", to_hex(&wire::encode_envelopes(gossip)));

    let (block, certificate) = (examples::block(), examples::certificate());
    put("certificate", to_hex(&wire::encode_certificate(&certificate)));
    put("certificate.canonical", to_hex(&canonical(&certificate)));
    put("block", to_hex(&wire::encode_block(&block)));
    put("block.header.canonical", to_hex(&canonical(&block.header)));
    put("block.id", block.id().to_string());
    put("block.body.hash", block.body.hash().to_string());
    for (name, message) in examples::consensus() {
        put(&format!("consensus.{name}"), to_hex(&wire::encode_consensus(&message)));
    }
    for (name, request) in examples::requests() {
        put(&format!("request.{name}"), to_hex(&wire::encode_request(&request)));
    }
    for (name, response) in examples::responses() {
        put(&format!("response.{name}"), to_hex(&wire::encode_response(&response)));
    }

    let (network, hash) = (genesis.hash(), Hash32([5; 32]));
    let commitment = crypto::attribution_commitment(&examples::account(11), 258, &DataNetId([6; 32]), &hash);
    put("hash.attribution_commitment", commitment.to_string());
    put("hash.attribution_root", crypto::attribution_root(b"bytes").to_string());
    put("hash.document", crypto::document_hash(b"bytes").to_string());
    put("hash.content_root", crypto::content_root(&hash, &[Hash32([7; 32]), Hash32([8; 32])]).to_string());
    put("hash.prompt_commitment", crypto::prompt_commitment(&[9; 32], "prompt").to_string());
    put("hash.validators", crypto::validators_hash(b"bytes").to_string());
    put("hash.beacon", crypto::beacon(b"bytes").to_string());
    put("hash.state_key", to_hex(&crypto::state_key(b"bytes")));
    put("hash.state_node", to_hex(&crypto::state_hash(b"bytes")));
    for (name, purpose) in [
        ("payer", Purpose::ReceiptPayer),
        ("server", Purpose::ReceiptServer),
        ("vote", Purpose::Vote),
        ("proposal", Purpose::Proposal),
    ] {
        put(&format!("signature.{name}"), to_hex(&examples::key(1).sign(purpose, &network, b"bytes").0));
    }
    all
}

#[test]
#[expect(clippy::disallowed_methods, reason = "regenerating frozen vectors is asked for by name and writes a file")]
fn frozen_bytes_have_not_changed() {
    let now = vectors();
    if std::env::var("TRIBUTARY_REGENERATE_VECTORS").is_ok_and(|value| value == "1") {
        let lines: String = now.iter().map(|(name, value)| format!("{name} = {value}\n")).collect();
        // Asked for when it runs, since two clones may share one build.
        let package = std::env::var("CARGO_MANIFEST_DIR").expect("cargo names the package's folder");
        std::fs::write(format!("{package}/tests/vectors/v1.txt"), lines).expect("the vectors' file can be written");
        return;
    }
    let frozen: Vec<(&str, &str)> = FROZEN.lines().filter_map(|line| line.split_once(" = ")).collect();
    for ((name, value), (frozen_name, frozen_value)) in now.iter().zip(&frozen) {
        assert_eq!((name.as_str(), value.as_str()), (*frozen_name, *frozen_value), "see this file's head");
    }
    assert_eq!(now.len(), frozen.len());
}

/// One message spelled out by hand, so that the vectors rest on the format and not on our encoder alone.
#[test]
fn a_commit_is_spelled_as_the_contract_says() {
    let (_, object, _) = examples::objects().into_iter().find(|(name, ..)| name == "commit").expect("an example");
    let protocol::objects::Object::AttributionCommit(commit) = &object else { panic!("not a commit") };
    let by_hand = [
        &[0x0a, 32][..],
        &commit.validator.0,
        &[0x10, 5],
        &[0x1a, 32],
        &commit.datanet.0,
        &[0x22, 32],
        &commit.commitment.0,
    ]
    .concat();
    assert_eq!(wire::encode_object(&object), by_hand);
}
