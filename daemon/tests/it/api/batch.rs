//! Receipts by the array: one reply for each, in order, and the same command for a file of them.

use super::node::{PATIENCE, TestNode, key};
use super::path::{published, receipt};
use daemon::api::{MAX_BATCH_BYTES, MAX_BATCH_RECEIPTS};
use daemon::client::ClientError;
use protocol::crypto::SecretKey;
use protocol::envelope::seal;
use protocol::ids::{ModelId, to_hex};
use protocol::objects::{Action, Drops, Envelope, Object, Operation};
use serde_json::{Value, json};
use std::io::Write as _;
use std::process::Command;

fn as_json(envelope: &Envelope) -> Value {
    let signature = |(signer, signature): &(_, protocol::crypto::Signature)| json!({ "signer": format!("{signer}"), "signature": to_hex(&signature.0) });
    json!({
        "kind": envelope.kind.as_str(),
        "payload": to_hex(&envelope.payload),
        "signatures": envelope.signatures.iter().map(signature).collect::<Vec<_>>(),
    })
}

fn sealed(node: &TestNode, object: &Object, keys: &[&SecretKey]) -> Envelope {
    seal(object, keys, &node.remote.genesis()).expect("the keys are the signers'")
}

fn fresh(node: &TestNode, model: ModelId) -> Envelope {
    let (payer, server) = (key("payer"), key("operator"));
    let made = receipt(node, model).receipt(payer.account(), server.account()).expect("it can be made");
    sealed(node, &Object::Receipt(made), &[&payer, &server])
}

fn post(node: &TestNode, body: &Value) -> Result<Value, ClientError> {
    node.remote.client().post("/v1/receipts", body)
}

fn refused(answer: Result<Value, ClientError>) -> (u16, String) {
    match answer {
        Err(ClientError::Refused { status, code, .. }) => (status, code),
        other => panic!("it must be refused, not {other:?}"),
    }
}

#[test]
fn an_array_of_receipts_has_a_reply_for_each_in_order() {
    let node = TestNode::start();
    let (_, _, model) = published(&node);
    let (first, second) = (fresh(&node, model), fresh(&node, model));
    let mut altered = fresh(&node, model);
    altered.signatures[1].1.0[7] ^= 1;
    let owner = key("owner");
    let action = Action::Transfer { to: key("ada").account(), amount: Drops(1) };
    let fee = node.remote.object_fee();
    let operation = Object::Operation(Operation { account: owner.account(), nonce: 0, fee, action });
    let mut half = as_json(&fresh(&node, model));
    half["payload"] = json!("abc");
    let body = json!([
        as_json(&first),
        as_json(&altered),
        as_json(&first),
        as_json(&sealed(&node, &operation, &[&owner])),
        half,
        as_json(&second),
    ]);
    let reply = post(&node, &body).expect("the array can be read");
    assert_eq!((reply["accepted"].as_u64(), reply["refused"].as_u64()), (Some(2), Some(4)));
    let replies = reply["receipts"].as_array().expect("replies");
    let words: Vec<_> = replies.iter().map(|each| each["code"].as_str().unwrap_or("pooled")).collect();
    assert_eq!(words, ["pooled", "signature", "duplicate", "malformed", "malformed", "pooled"]);
    for each in replies {
        let is_pooled = each["state"] == "pooled";
        assert_eq!((is_pooled, !is_pooled), (each["id"].is_string(), each["message"].is_string()), "{each}");
    }
    for envelope in [&first, &second] {
        assert!(replies.iter().any(|each| each["id"] == json!(envelope.id().to_string())));
        node.remote.wait_settled(&envelope.id().into(), PATIENCE, |_| ()).expect("it is settled");
    }

    // The bounds, and what is no array of envelopes.
    let one = as_json(&first);
    assert_eq!(refused(post(&node, &json!(vec![&one; MAX_BATCH_RECEIPTS + 1]))), (400, "toomany".to_owned()));
    let mut long = one.clone();
    long["payload"] = json!("00".repeat(MAX_BATCH_BYTES / 2));
    assert_eq!(refused(post(&node, &json!([long]))), (413, "oversize".to_owned()));
    assert_eq!(refused(post(&node, &json!([one, 7]))), (400, "malformed".to_owned()));
    assert_eq!(post(&node, &json!([])).expect("nothing is nothing wrong")["receipts"], json!([]));
    // One alone is still one.
    let third = fresh(&node, model);
    assert_eq!(post(&node, &as_json(&third)).expect("it is good")["id"], json!(third.id().to_string()));

    a_file(&node, model);
    node.stop();
}

fn a_file(node: &TestNode, model: ModelId) {
    let good: Vec<Envelope> = (0..3).map(|_| fresh(node, model)).collect();
    let mut lines: Vec<String> = good.iter().map(|each| as_json(each).to_string()).collect();
    lines.insert(1, String::new());
    lines.push(lines[0].clone());
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    write!(file, "{}", lines.join("\n")).expect("it is written");
    let run = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tributary"));
        command.args(["receipt", "submit", "--json", "--api", node.remote.client().url()]).args(words);
        command.output().expect("the program runs")
    };
    let output = run(&["--batch", file.path().to_str().expect("a path in UTF-8")]);
    let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
    assert_eq!((report["accepted"].as_u64(), report["refused"].as_u64()), (Some(3), Some(1)), "{report}");
    let lines: Vec<_> =
        report["receipts"].as_array().expect("replies").iter().map(|each| each["line"].as_u64()).collect();
    assert_eq!(lines, [Some(1), Some(3), Some(4), Some(5)], "empty lines count, and have no reply");
    assert_eq!(report["receipts"][3]["code"], "duplicate");
    for envelope in good {
        node.remote.wait_settled(&envelope.id().into(), PATIENCE, |_| ()).expect("it is settled");
    }
    // A batch names no receipt of its own, and one receipt needs its words.
    assert_eq!(run(&["--batch", "x", "--prompt", "y"]).status.code(), Some(2));
    assert_eq!(run(&["--prompt", "y"]).status.code(), Some(2));
    assert_eq!(run(&[]).status.code(), Some(2));
}
