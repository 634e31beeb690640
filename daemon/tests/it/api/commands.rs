//! The commands, as people call them: the program itself, against a node in this process.

use super::node::{NETWORK, TestNode};
use super::path::{ADA, ANSWER};
use daemon::keys::{Keystore, dev_seed};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

struct Desk {
    home: tempfile::TempDir,
    url: String,
}

impl Desk {
    fn run(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tributary"));
        command.args(words).env_remove("TRIBUTARY_HOME").env("TRIBUTARY_API", &self.url);
        command.arg("--home").arg(self.home.path()).output().expect("the program runs")
    }

    fn json(&self, words: &[&str]) -> Value {
        let output = self.run(&[words, &["--json"]].concat());
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{words:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_str(&text).expect("one JSON document")
    }

    fn text(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(!output.stdout.contains(&0x1b), "no colour into a pipe");
        String::from_utf8(output.stdout).expect("text")
    }

    fn fails(&self, words: &[&str]) -> (String, String) {
        let output = self.run(&[words, &["--json"]].concat());
        assert_eq!(output.status.code(), Some(1), "{words:?}");
        let document: Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
        let field = |name: &str| document["error"][name].as_str().unwrap_or_default().to_owned();
        (field("code"), field("message"))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.home.path().join(name);
        std::fs::write(&path, bytes).expect("a file");
        path.display().to_string()
    }
}

fn id(value: &Value) -> String {
    value["id"].as_str().expect("an id").to_owned()
}

#[test]
fn from_a_file_to_a_verified_payout_by_commands_alone() {
    let node = TestNode::start();
    let desk = Desk { home: tempfile::tempdir().expect("a folder"), url: node.remote.client().url().to_owned() };
    let keystore = Keystore::in_home(desk.home.path());
    for name in ["owner", "ada", "payer", "operator"] {
        keystore.add(name, &dev_seed(NETWORK, name)).expect("a new key");
    }
    let datanet = id(&desk.json(&["datanet", "create", "Tales", "--key", "owner"]));
    let tale = desk.write("tale.txt", ADA.as_bytes());
    let offered = desk.json(&["contribute", &tale, "--to", &datanet, "--credit", "Ada A.", "--key", "ada"]);
    assert_eq!(offered["state"], "admitted");
    let bad = desk.write("bad.txt", b"\xff");
    let (code, message) = desk.fails(&["contribute", &bad, "--to", &datanet, "--credit", "Ada A.", "--key", "ada"]);
    assert!(
        code == "notutf8" && message.contains("bad.txt") && message.matches("UTF-8").count() == 1,
        "{code} {message}"
    );
    let manifest = desk.json(&["dataset", "publish", "--to", &datanet, "--wait", "--key", "owner"]);
    assert_eq!((manifest["state"].as_str(), manifest["documents"].as_u64()), (Some("active"), Some(1)));
    assert_eq!(desk.fails(&["dataset", "publish", "--to", &datanet, "--key", "owner"]).0, "nothing");
    let from = id(&manifest);
    let model = ["model", "register", "teller", "--from", &from, "--weights", &tale, "--key", "owner"];
    let model = id(&desk.json(&model));
    let answer = desk.write("answer.txt", ANSWER.as_bytes());
    let submit = ["receipt", "submit", "--model", &model, "--prompt", "A tale", "--output", &answer];
    let signers = ["--payer", "payer", "--server", "operator", "--wait"];
    let receipt = id(&desk.json(&[submit.as_slice(), &signers].concat()));
    let long = desk.write("long.txt", &vec![b'a'; protocol::limits::MAX_ANSWER_BYTES + 1]);
    let submit = ["receipt", "submit", "--model", &model, "--prompt", "A tale", "--output", &long];
    assert_eq!(desk.fails(&[submit.as_slice(), &signers].concat()).0, "oversize");

    let explained = desk.text(&["explain", &receipt]);
    assert!(explained.contains("[1: the clocks of the harbour town were striking thirteen]"), "{explained}");
    assert!(explained.contains("Ada A. (Tales)") && explained.contains("treasury"), "{explained}");
    assert!(desk.text(&["earnings"]).contains("Ada A."));
    let ada = desk.json(&["earnings", "ada"]);
    assert_eq!(ada["names"][0], "Ada A.");
    assert!(ada["balance"]["available"].is_string() && ada["balance"]["pending"].is_string(), "{ada}");
    let ada = desk.text(&["earnings", "ada"]);
    assert!(ada.contains("\nbalance ") && ada.contains("\nof it available "), "{ada}");
    let stranger = desk.json(&["keys", "new", "stranger"])["account"].as_str().expect("an address").to_owned();
    let nothing = desk.text(&["earnings", &stranger]);
    assert!(nothing.contains("0 cr available, 0 cr pending"), "{nothing}");
    assert!(!nothing.contains("credited as") && !nothing.contains("of it"), "empty rows are left out: {nothing}");
    for words in [
        ["datanet", "list"].as_slice(),
        &["datanet", "show", &datanet],
        &["dataset", "list", "--of", &datanet],
        &["model", "show", &model],
        &["receipt", "show", &receipt],
        &["receipt", "list", "--account", "ada"],
        &["epochs"],
        &["peers"],
        &["transfer", "ada", "0.5cr", "--key", "payer"],
    ] {
        assert!(!desk.text(words).is_empty(), "{words:?}");
    }
    verified(&desk, &node, &receipt);
    curated(&desk, &tale);
    money(&desk);
    node.stop();
}

/// A DataNet whose owner decides: what waits is seen, and decided by its id.
fn curated(desk: &Desk, tale: &str) {
    let datanet = id(&desk.json(&["datanet", "create", "Chosen", "--curated", "--key", "owner"]));
    let offered = desk.json(&["contribute", tale, "--to", &datanet, "--credit", "Ada A.", "--key", "ada"]);
    assert_eq!(offered["state"], "pending");
    assert_eq!(desk.json(&["datanet", "show", &datanet])["pending"][0]["id"], offered["id"]);
    let shown = desk.text(&["datanet", "show", &datanet]);
    assert!(shown.contains(&id(&offered)) && shown.contains("tributary approve ID"), "{shown}");
    desk.json(&["approve", &id(&offered), "--key", "owner"]);
    let shown = desk.json(&["datanet", "show", &datanet]);
    assert_eq!((shown["pending"].as_array().map(Vec::len), &shown["contributions"]["admitted"]), (Some(0), &1.into()));
}

/// Payments that make no sense, and those that nobody can make.
fn money(desk: &Desk) {
    assert_eq!(desk.fails(&["transfer", "ada", "0", "--key", "payer"]).0, "amount");
    assert_eq!(desk.fails(&["transfer", "payer", "1", "--key", "payer"]).0, "oneself");
    let words = ["transfer", "ada", "1cr", "--key", "stranger"];
    assert_eq!(desk.fails(&words).0, "funds");
    let said = String::from_utf8_lossy(&desk.run(&words).stderr).into_owned();
    assert!(said.contains("cr; somebody else") && said.contains("tributary transfer trib1"), "{said}");
}

fn verified(desk: &Desk, node: &TestNode, receipt: &str) {
    let path = |name: &str| desk.home.path().join(name).display().to_string();
    let (proof, genesis) = (path("payout.proof"), path("genesis.json"));
    daemon::genesis_file::write_new(Path::new(&genesis), &node.genesis).expect("a genesis file");
    desk.json(&["proof", receipt, "--out", &proof]);
    assert_eq!(desk.fails(&["proof", receipt, "--out", &proof]).0, "exists");
    assert_eq!(desk.fails(&["verify", &path("nowhere.proof"), "--genesis", &genesis]).0, "nofile");
    assert_eq!(desk.fails(&["verify", &genesis, "--genesis", &genesis]).0, "malformed");
    let folder = desk.home.path().display().to_string();
    assert!(desk.fails(&["verify", &folder, "--genesis", &genesis]).1.contains(&folder));
    let verified = desk.text(&["verify", &proof, "--genesis", &genesis]);
    assert!(verified.contains("the clocks of the harbour town"), "{verified}");
    assert!(verified.contains(&node.genesis.hash().to_string()), "it says of which network: {verified}");
    let mut bytes = std::fs::read(&proof).expect("the proof");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let altered = desk.write("altered.proof", &bytes);
    let (code, message) = desk.fails(&["verify", &altered, "--genesis", &genesis]);
    assert!(!code.is_empty() && code != "failed" && message.len() > 10, "{code} {message}");
}

#[test]
fn a_model_by_influence_by_commands_alone() {
    let node = TestNode::start();
    let desk = Desk { home: tempfile::tempdir().expect("a folder"), url: node.remote.client().url().to_owned() };
    let keystore = Keystore::in_home(desk.home.path());
    for name in ["owner", "ada", "payer", "builder"] {
        keystore.add(name, &dev_seed(NETWORK, name)).expect("a new key");
    }
    let datanet = id(&desk.json(&["datanet", "create", "Tales", "--key", "owner"]));
    let tale = desk.write("tale.txt", ADA.as_bytes());
    desk.json(&["contribute", &tale, "--to", &datanet, "--credit", "Ada A.", "--key", "ada"]);
    let manifest = id(&desk.json(&["dataset", "publish", "--to", &datanet, "--key", "owner", "--wait"]));

    let path = |name: &str| desk.home.path().join(name).display().to_string();
    let (base, adapter) = (path("base"), path("adapter"));
    let trained = desk.json(&["train", "--text", &tale, "--out", &base, "--steps", "4", "--batch", "2"]);
    assert_eq!(trained["losses"].as_array().map(Vec::len), Some(4));
    let words = ["train", "--from", &manifest, "--base", &base, "--out", &adapter, "--steps", "4", "--rank", "1"];
    let trained = desk.json(&words);
    assert_eq!(trained["trained"], 336, "q_proj and v_proj of two blocks at rank 1");
    let (code, message) = desk.fails(&words);
    assert!(code == "exists" && message.contains("adapter"), "{code}: {message}");
    let (code, _) = desk.fails(&["train", "--text", &tale, "--out", &base, "--resume"]);
    assert_eq!(code, "nofile");
    let empty = desk.write("empty.txt", b"");
    let (code, _) = desk.fails(&["train", "--text", &empty, "--out", &path("nothing")]);
    assert_eq!(code, "empty");
    assert!(!desk.home.path().join("nothing").exists(), "nothing half-made stays");

    let register = ["model", "register", "tales", "--from", &manifest, "--key", "builder", "--checkpoint"];
    let (_, message) = desk.fails(&[&register[..], &[&path("keys")]].concat());
    assert!(message.contains("holds neither base.gguf nor base/config.json"), "{message}");
    let model = id(&desk.json(&[&register[..], &[&adapter]].concat()));
    let shown = desk.json(&["model", "show", &model]);
    assert_eq!((&shown["method"], &shown["checkpoint"]["window"]), (&"influence".into(), &256.into()));
    let (_, message) = desk.fails(&["influence", "query", &model, "--prompt", "It was"]);
    assert!(message.contains("seed") || message.contains("nobody has offered rows"), "{message}");
    let built = desk.json(&["influence", "build", &model, "--checkpoint", &adapter, "--key", "builder"]);
    assert_eq!((&built["state"], &built["rows"], &built["dimension"]), (&"active".into(), &1.into(), &336.into()));
    let audited = desk.json(&["influence", "audit", &model]);
    assert_eq!((&audited["looked_at"], &audited["of"]), (&5.into(), &5.into()));
    let queried = desk.json(&["influence", "query", &model, "--prompt", "It was a", "--answer", " bright cold day"]);
    assert_eq!(queried["count"], 1);

    let chat = ["model", "chat", &model, "--prompt", "It was a bright", "--max-tokens", "8", "--temperature", "1.5"];
    let paid = [&chat[..], &["--payer", "payer", "--server", "ada", "--wait"]].concat();
    assert!(desk.json(&chat)["receipt"].is_null(), "nothing is paid without a payer");
    let (_, message) = desk.fails(&paid);
    assert!(message.contains("deposit more"), "{message}");
    desk.json(&["deposit", "1cr", "--key", "ada"]);
    let answered = desk.json(&paid);
    let receipt = id(&answered["receipt"]);
    let explained = desk.text(&["explain", &receipt]);
    assert!(
        explained.contains("It was a bright") && explained.contains("examples made the answer likelier"),
        "{explained}"
    );
    let (_, message) = desk.fails(&["withdraw", "5cr", "--key", "ada"]);
    assert!(message.contains("of it are free"), "{message}");
    assert!(desk.text(&["model", "show", &model]).contains("active since epoch"));
    node.stop();
}
