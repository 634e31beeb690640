//! Bad input, each with its status and its word.

use super::node::{PATIENCE, TestNode, key};
use super::path::{ADA, contribution, published, receipt};
use daemon::actions::{ActionError, NewDocument};
use daemon::client::ClientError;
use protocol::crypto::{Kind, Purpose, SecretKey, document_hash};
use protocol::envelope::seal;
use protocol::ids::{Account, Hash32, ModelId};
use protocol::objects::{Action, Drops, Envelope, Object, Operation};
use protocol::wire::{encode_envelope, encode_object};
use serde_json::{Value, json};
use std::io::{Read as _, Seek as _, Write as _};
use std::net::TcpStream;

type Answer = Result<Value, ClientError>;

fn check(name: &str, answer: Answer, expected: (u16, &str)) {
    match answer {
        Err(ClientError::Refused { status, code, message }) => {
            assert_eq!((status, code.as_str()), expected, "{name}: {message}");
            assert!(message.len() > 10, "{name}: {message:?} is no sentence");
        }
        other => panic!("{name} must be refused as {expected:?}, not {other:?}"),
    }
}

impl TestNode {
    fn post(&self, envelope: &Envelope) -> Answer {
        self.remote.client().post_bytes("/v1/objects", &encode_envelope(envelope))
    }

    fn sealed(&self, object: &Object, keys: &[&SecretKey]) -> Envelope {
        seal(object, keys, &self.remote.genesis()).expect("the keys are the signers'")
    }

    fn signed(&self, object: &Object, keys: &[&SecretKey]) -> Answer {
        self.post(&self.sealed(object, keys))
    }

    fn transfer(&self, nonce: u64) -> Object {
        let action = Action::Transfer { to: key("ada").account(), amount: Drops(1) };
        let fee = self.remote.object_fee();
        Object::Operation(Operation { account: key("owner").account(), nonce, fee, action })
    }
}

#[test]
fn every_bad_input_is_refused_with_its_word_and_counted() {
    let node = TestNode::start();
    let (datanet, _, model) = published(&node);
    envelopes(&node);
    receipts(&node, model);
    contributions(&node, datanet);
    documents(&node);
    files(&node);
    nonces(&node);
    requests(&node);
    let metrics = node.remote.client().get_text("/metrics").expect("metrics");
    for code in [
        "signature",
        "malformed",
        "oversize",
        "duplicate",
        "expired",
        "unknown",
        "funds",
        "repeated",
        "empty",
        "notutf8",
        "nonce",
    ] {
        let counted = metrics.lines().any(|line| {
            line.starts_with("tributary_refused_total")
                && line.contains("\"api\"")
                && line.contains(&format!("\"{code}\""))
        });
        assert!(counted, "{code} is not counted in:\n{metrics}");
    }
    node.stop();
}

fn envelopes(node: &TestNode) {
    let owner = key("owner");
    let good = node.sealed(&node.transfer(0), &[&owner]);

    let mut wrong = good.clone();
    wrong.signatures[0].1.0[7] ^= 1;
    check("a wrong signature", node.post(&wrong), (400, "signature"));
    let mut altered = node.sealed(&node.transfer(1), &[&owner]);
    altered.payload = good.payload.clone();
    check("altered bytes", node.post(&altered), (400, "signature"));
    let elsewhere = seal(&node.transfer(0), &[&owner], &Hash32([9; 32])).expect("it can be signed");
    check("another network", node.post(&elsewhere), (400, "signature"));
    let mut stranger = good.clone();
    stranger.signatures[0].0 = key("ada").account();
    check("a stranger's signature", node.post(&stranger), (400, "signers"));
    let mut none = good.clone();
    none.signatures.clear();
    check("no signature", node.post(&none), (400, "signers"));

    // A field that this version does not know, signed by the right key: tag 2047, varint 1.
    let mut payload = encode_object(&node.transfer(0));
    payload.extend([0xf8, 0x7f, 0x01]);
    let signature = owner.sign(Purpose::Author(Kind::Operation), &node.remote.genesis(), &payload);
    let unknown = Envelope { kind: Kind::Operation, payload, signatures: vec![(owner.account(), signature)] };
    check("an unknown field in the payload", node.post(&unknown), (400, "malformed"));

    let client = node.remote.client();
    let post = |body: Value| client.post::<Value>("/v1/objects", &body);
    let text = |bytes: &[u8]| protocol::ids::to_hex(bytes);
    let signatures = json!([{ "signer": owner.account().to_string(), "signature": text(&good.signatures[0].1.0) }]);
    let body = json!({ "kind": "operation", "payload": text(&good.payload), "signatures": signatures });
    let with = |name: &str, value: Value| {
        let mut body = body.clone();
        body[name] = value;
        post(body)
    };
    check("an unknown field in the JSON", with("extra", json!(1)), (400, "malformed"));
    check("an unknown kind", with("kind", json!("wish")), (400, "malformed"));
    check("no hex", with("payload", json!("zz")), (400, "malformed"));
    check("half a byte", with("payload", json!("abc")), (400, "malformed"));
    check("another kind's bytes", with("kind", json!("receipt")), (400, "malformed"));
    check("no JSON", client.post("/v1/objects", &"hello"), (400, "malformed"));
    check("no envelope", client.post_bytes("/v1/objects", b"hello"), (400, "malformed"));
    check("nothing", client.post_bytes("/v1/objects", b""), (400, "malformed"));
    check("too large as JSON", with("payload", json!("00".repeat(300 * 1024))), (413, "oversize"));
    check("too large in bytes", client.post_bytes("/v1/objects", &vec![0; 300 * 1024]), (413, "oversize"));
    check("much too large", client.post_bytes("/v1/objects", &vec![0; 4 << 20]), (413, "oversize"));
    check("another kind", client.post_bytes("/v1/receipts", &encode_envelope(&good)), (400, "malformed"));
    // The same body without a fault is taken.
    let accepted: Value = post(body.clone()).expect("it is good");
    assert_eq!(accepted["state"], "pooled");
    let id = good.id();
    node.remote.wait_included("operation", id, PATIENCE).expect("it enters a block");
}

fn receipts(node: &TestNode, model: ModelId) {
    let (payer, server) = (key("payer"), key("operator"));
    let made =
        |payer: &SecretKey| receipt(node, model).receipt(payer.account(), server.account()).expect("it can be made");
    let good = made(&payer);
    let signed = |receipt: protocol::objects::Receipt| node.signed(&Object::Receipt(receipt), &[&payer, &server]);

    check("an expired receipt", signed(protocol::objects::Receipt { expiry: 0, ..good.clone() }), (400, "expired"));
    check(
        "an expiry too far",
        signed(protocol::objects::Receipt { expiry: u64::MAX, ..good.clone() }),
        (400, "expiry"),
    );
    let unknown = protocol::objects::Receipt { model: ModelId([5; 32]), ..good.clone() };
    check("an unknown model", signed(unknown), (404, "unknown"));
    check("a wrong fee", signed(protocol::objects::Receipt { fee: Drops(1), ..good.clone() }), (400, "fee"));
    check(
        "an empty answer",
        signed(protocol::objects::Receipt { output: String::new(), ..good.clone() }),
        (400, "field"),
    );
    let long = protocol::objects::Receipt { output: "word ".repeat(10_000), ..good.clone() };
    check("an answer too long", signed(long), (413, "oversize"));
    let poor = key("poor");
    let above = node.signed(&Object::Receipt(made(&poor)), &[&poor, &server]);
    check("a fee above the balance", above, (402, "funds"));
    let mut swapped = node.sealed(&Object::Receipt(good.clone()), &[&payer, &server]);
    swapped.signatures.swap(0, 1);
    check("signatures swapped", node.post(&swapped), (400, "signers"));
    let mut alone = node.sealed(&Object::Receipt(good.clone()), &[&payer, &server]);
    alone.signatures.truncate(1);
    check("the payer alone", node.post(&alone), (400, "signers"));

    let envelope = node.sealed(&Object::Receipt(good.clone()), &[&payer, &server]);
    let accepted = node.post(&envelope).expect("it is good");
    assert_eq!(accepted["id"].as_str(), Some(envelope.id().to_string().as_str()));
    check("a receipt that waits, again", signed(good.clone()), (409, "duplicate"));
    node.remote.wait_included("receipt", envelope.id(), PATIENCE).expect("it is sealed");
    check("a sealed receipt, again", signed(good.clone()), (409, "duplicate"));
    let settled = node.remote.wait_settled(&envelope.id().into(), PATIENCE, |_| ()).expect("it is settled");
    check("a settled receipt, again", signed(good), (409, "duplicate"));
    assert!(settled.sums.is_some());
}

fn contributions(node: &TestNode, datanet: protocol::ids::DataNetId) {
    let refused =
        |name: &str, result: Result<protocol::ids::ContributionId, ActionError>, expected: (u16, &str)| match result {
            Err(ActionError::Client(error)) => check(name, Err(error), expected),
            other => panic!("{name}: {other:?}"),
        };
    let again = node.remote.contribute(&key("ada"), contribution(datanet, "Ada A.", ADA));
    refused("the same contribution", again, (409, "duplicate"));
    let copy = node.remote.contribute(&key("ben"), contribution(datanet, "Ben B.", ADA));
    refused("another's document", copy, (409, "repeated"));
    let mut licence = contribution(datanet, "Ben B.", "A text of its own.");
    licence.licence = "MIT".to_owned();
    refused("a licence that is not accepted", node.remote.contribute(&key("ben"), licence), (400, "field"));
    let large = contribution(datanet, "Ben B.", &"large ".repeat(200_000));
    refused("more than the DataNet takes", node.remote.contribute(&key("ben"), large), (413, "oversize"));
    let nowhere = contribution(protocol::ids::DataNetId([3; 32]), "Ben B.", "A text of its own.");
    refused("an unknown DataNet", node.remote.contribute(&key("ben"), nowhere), (404, "unknown"));
}

fn documents(node: &TestNode) {
    let upload = |bytes: &[u8]| node.remote.client().post_bytes::<Value>("/v1/blobs", bytes);
    check("an empty document", upload(b""), (400, "empty"));
    check("a document without words", upload(b" ... \n"), (400, "empty"));
    check("no UTF-8", upload(b"good until here \xff"), (400, "notutf8"));
    let error = node.remote.upload(&NewDocument { title: "bad.txt".to_owned(), bytes: vec![0xff] });
    assert!(error.is_err_and(|error| error.to_string().contains("bad.txt") && error.code() == "notutf8"));
}

/// Whoever sends more than a connection's buffers hold hears the answer all the same, also one that needs none of it.
fn files(node: &TestNode) {
    let put = |bytes: &[u8], hash: Hash32| {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(bytes).and_then(|()| file.rewind()).expect("written");
        node.remote.client().put_file::<Value>(&format!("/v1/files/{hash}"), file)
    };
    let weights = vec![7; 40 << 20];
    let hash = document_hash(&weights);
    for time in ["once", "twice"] {
        let taken = put(&weights, hash).unwrap_or_else(|error| panic!("{time}: {error}"));
        assert_eq!(taken["bytes"], weights.len(), "{time}");
    }
    check("another file than is said", put(&weights, Hash32([1; 32])), (400, "field"));
    // A quarter of the quota of 128 MiB is for what is fetched.
    let more = vec![8; 60 << 20];
    check("more than uploads may take", put(&more, document_hash(&more)), (503, "full"));
}

fn nonces(node: &TestNode) {
    let owner = key("owner");
    let account = node.remote.account(&owner.account()).expect("it is there");
    assert_eq!((account.nonce, account.next_nonce), (1, 1));
    check("a used nonce", node.signed(&node.transfer(0), &[&owner]), (409, "nonce"));
    check("a nonce too far ahead", node.signed(&node.transfer(1000), &[&owner]), (409, "nonce"));
}

fn requests(node: &TestNode) {
    let client = node.remote.client();
    let get = |path: &str| client.get::<Value>(path);
    check("an unknown path", get("/v2/receipts"), (404, "unknown"));
    check("an unknown receipt", get(&format!("/v1/receipts/{}", "0".repeat(64))), (404, "unknown"));
    check("an unknown object", get(&format!("/v1/objects/{}", "0".repeat(64))), (404, "unknown"));
    check("an unknown DataNet", get(&format!("/v1/datanets/{}", "0".repeat(64))), (404, "unknown"));
    check("an unknown document", get(&format!("/v1/blobs/{}", "0".repeat(64))), (404, "unknown"));
    check("an epoch to come", get("/v1/epochs/99999999"), (404, "unknown"));
    check("no id", get("/v1/receipts/hello"), (400, "malformed"));
    check("no account", get("/v1/accounts/trib1hello"), (400, "malformed"));
    check("no text", get("/v1/receipts/%ff"), (400, "malformed"));
    check("no number", get("/v1/receipts?limit=many"), (400, "malformed"));
    check("too many rows", get("/v1/receipts?limit=1001"), (400, "toomany"));
    check("no rows", get("/v1/receipts?limit=0"), (400, "malformed"));
    check("stopping the node", client.post("/v1/stop", &json!({})), (404, "unknown"));
    assert!(of_another_page(client.url()).starts_with("HTTP/1.1 403"), "a page of another address uploads");
    check("another method", client.post("/v1/status", &json!({})), (405, "method"));
    let nobody = node.remote.account(&Account([7; 32])).expect("it has nothing");
    assert_eq!((nobody.available.as_str(), nobody.next_nonce), ("0", 0));
    for path in ["/livez", "/readyz", "/healthz", "/healthz?verbose", "/openapi.json"] {
        client.get_text(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    }
    for path in [
        "/v1/genesis",
        "/v1/validators",
        "/v1/peers",
        "/v1/epochs?limit=3",
        "/v1/epochs/1",
        "/v1/models",
        "/v1/datanets",
    ] {
        get(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    }
}

/// What is answered to an upload that a browser sends for a web page of another address.
fn of_another_page(url: &str) -> String {
    let mut stream = TcpStream::connect(url.trim_start_matches("http://")).expect("it listens");
    let head = "POST /v1/blobs HTTP/1.1\r\nhost: node\r\norigin: https://example.org\r\nconnection: close\r\n";
    stream.write_all(format!("{head}content-length: 5\r\n\r\nwords").as_bytes()).expect("it is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer
}
