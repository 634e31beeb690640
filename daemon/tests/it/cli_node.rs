//! The program's commands around a node's life, run as a person or a script runs them: the real binary, its exit
//! codes, and what it prints on which stream.

use daemon::devnet::Devnet;
use daemon::supervisor::Ended;
use serde_json::Value;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

pub(super) const PROGRAM: &str = env!("CARGO_BIN_EXE_tributary");

fn tributary(home: &Path, words: &[&str]) -> Output {
    command(home, words).output().expect("the program runs")
}

fn command(home: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(words).arg("--home").arg(home).env_remove("TRIBUTARY_API").stdin(Stdio::null());
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("the program prints text")
}

/// What a command that must succeed prints with `--json`: one document.
fn json(home: &Path, words: &[&str]) -> Value {
    let output = tributary(home, &[words, &["--json"]].concat());
    assert!(output.status.success(), "{words:?}: {}{}", text(&output.stdout), text(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one JSON document")
}

/// The error of a command that must fail, from its JSON form; the form for people must say the same.
pub(super) fn error(home: &Path, words: &[&str]) -> (String, String) {
    let output = tributary(home, &[words, &["--json"]].concat());
    assert_eq!(output.status.code(), Some(1), "{words:?}: {}", text(&output.stderr));
    let document: Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
    let field = |name: &str| document["error"][name].as_str().expect("the error's fields are texts").to_owned();
    let people = tributary(home, words);
    assert_eq!(people.status.code(), Some(1));
    assert!(people.stdout.is_empty(), "an error is not a result: {}", text(&people.stdout));
    assert!(text(&people.stderr).contains(&format!("error: {}", field("message"))), "{}", text(&people.stderr));
    (field("code"), field("message"))
}

pub(super) fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

#[test]
fn init_makes_a_node_once() {
    let home = folder();
    let made = json(home.path(), &["init", "--network", "mine"]);
    assert_eq!((made["network"].as_str(), made["validator"].as_bool()), (Some("mine"), Some(true)));
    for key in ["node.key", "validator.key", "keys/operator.key"] {
        let mode = std::fs::metadata(home.path().join(key)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{key}");
    }
    assert!(home.path().join("tributary.toml").exists());
    let (code, message) = error(home.path(), &["init", "--network", "other"]);
    assert_eq!(code, "exists");
    assert!(message.contains("there is a node"), "{message}");
    assert_eq!(json(home.path(), &["keys", "list"])[0]["account"], made["operator"]);
}

#[test]
fn init_refuses_before_it_makes_anything() {
    let folder = folder();
    let home = folder.path().join("home");
    for (name, refused) in [("", "name"), ("My Network", "name"), (&"n".repeat(33), "name")] {
        let (code, message) = error(&home, &["init", "--network", name]);
        assert_eq!(code, refused, "{message}");
        assert!(!home.exists(), "nothing half-made is left");
    }
    for file in ["devnet.json", "genesis.json"] {
        let home = folder.path().join(file.replace('.', "-"));
        std::fs::create_dir(&home).unwrap();
        std::fs::write(home.join(file), "{}").unwrap();
        assert_eq!(error(&home, &["init", "--network", "mine"]).0, "exists", "{file}");
        assert_eq!(std::fs::read_dir(&home).unwrap().count(), 1, "nothing half-made is left");
    }
    assert_eq!(error(&home, &["init", "--genesis", "nowhere.json"]).0, "nofile");
    assert!(!home.exists());
    let neither = tributary(&home, &["init"]);
    assert_eq!(neither.status.code(), Some(2));
    assert!(text(&neither.stderr).contains("<--genesis <FILE>|--network <NAME>>"), "{}", text(&neither.stderr));
}

#[test]
fn a_malformed_id_says_where_the_right_one_is_found() {
    let home = folder();
    for (words, list) in [
        (["datanet", "show", "x"].as_slice(), "tributary datanet list"),
        (&["contribute", "f", "--to", "x", "--credit", "c", "--key", "k"], "tributary datanet list"),
        (&["approve", "x", "--key", "k"], "tributary datanet show"),
        (&["dataset", "show", "x"], "tributary dataset list"),
        (&["model", "register", "m", "--from", "x", "--weights", "f", "--key", "k"], "tributary dataset list"),
        (&["model", "show", "x"], "tributary model list"),
        (&["explain", "x"], "tributary receipt list"),
    ] {
        let people = tributary(home.path(), words);
        assert_eq!(people.status.code(), Some(2), "{words:?}");
        assert!(text(&people.stderr).contains(&format!("hint: `{list}")), "{words:?}: {}", text(&people.stderr));
        let programs = tributary(home.path(), &[words, &["--json"]].concat());
        let document: Value = serde_json::from_slice(&programs.stdout).unwrap();
        assert!(document["error"]["hint"].as_str().unwrap_or_default().contains(list), "{document}");
    }
}

#[test]
fn a_node_joins_the_network_of_a_genesis_file() {
    let (first, second) = (folder(), folder());
    let made = json(first.path(), &["init", "--network", "mine"]);
    let genesis = first.path().join("genesis.json");
    let joined = json(second.path(), &["init", "--genesis", genesis.to_str().unwrap()]);
    assert_eq!(joined["genesis"], made["genesis"]);
    assert_eq!(joined["validator"].as_bool(), Some(false));
    assert_ne!(joined["peer_id"], made["peer_id"]);

    let third = folder();
    let broken = third.path().join("broken.json");
    std::fs::write(&broken, std::fs::read_to_string(&genesis).unwrap().replace("\"power\": 1", "\"power\": -1"))
        .unwrap();
    let (code, message) = error(third.path(), &["init", "--genesis", broken.to_str().unwrap()]);
    assert_eq!(code, "malformed");
    assert!(message.contains("broken.json") && message.contains("line "), "{message}");
    assert!(!third.path().join("tributary.toml").exists());
}

#[test]
fn keys_are_made_shown_listed_imported_and_never_overwritten() {
    let home = folder();
    assert_eq!(json(home.path(), &["keys", "list"]), Value::Array(Vec::new()));
    let alice = json(home.path(), &["keys", "new", "alice"]);
    assert!(alice["account"].as_str().unwrap().starts_with("trib1"));
    assert_eq!(json(home.path(), &["keys", "show", "alice"]), alice);
    assert_eq!(error(home.path(), &["keys", "new", "alice"]).0, "exists");
    assert_eq!(error(home.path(), &["keys", "show", "bob"]).0, "nokey");
    assert_eq!(error(home.path(), &["keys", "new", "../bob"]).0, "name");

    let mut importing = command(home.path(), &["keys", "import", "copy", "--json"]);
    let mut importing = importing.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let seed = std::fs::read(home.path().join("keys/alice.key")).unwrap();
    importing.stdin.take().unwrap().write_all(&seed).unwrap();
    let copy: Value = serde_json::from_slice(&importing.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!(copy["account"], alice["account"]);
    assert_eq!(json(home.path(), &["keys", "list"]).as_array().map(Vec::len), Some(2));

    let file = home.path().join("keys/alice.key");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let (code, message) = error(home.path(), &["keys", "show", "alice"]);
    assert_eq!(code, "exposed");
    assert!(message.contains("may be read by others"), "{message}");
}

#[test]
fn wrong_usage_and_wrong_configuration_have_their_own_codes() {
    let home = folder();
    let usage = tributary(home.path(), &["strat", "--json"]);
    assert_eq!(usage.status.code(), Some(2));
    let document: Value = serde_json::from_slice(&usage.stdout).unwrap();
    assert_eq!(document["error"]["code"], "usage");
    assert_eq!(tributary(home.path(), &["strat"]).status.code(), Some(2));

    assert_eq!(error(home.path(), &["start"]).0, "nonode");
    let hint = text(&tributary(home.path(), &["start"]).stderr);
    assert!(hint.contains("--network NAME (or --genesis FILE)"), "{hint}");
    assert_eq!(error(home.path(), &["stop"]).0, "notrunning");
    assert_eq!(error(home.path(), &["status", "--api", "localhost"]).0, "url");
    json(home.path(), &["init", "--network", "mine"]);
    let (code, message) = error(home.path(), &["start", "--set", "network.mdsn=true"]);
    assert_eq!(code, "key");
    assert!(message.contains("did you mean `network.mdns`?"), "{message}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("api.listen={}", taken.local_addr().unwrap());
    let used = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let udp = format!("network.listen=[\"/ip4/127.0.0.1/udp/{}/quic-v1\"]", used.local_addr().unwrap().port());
    let free = ["api.listen=127.0.0.1:0", "network.listen=[\"/ip4/127.0.0.1/udp/0/quic-v1\"]"];
    for [api, network] in [[listen.as_str(), free[1]], [free[0], udp.as_str()]] {
        // Not through `error`: a node that starts also logs on its streams.
        let clash = tributary(home.path(), &["start", "--set", api, "--set", network]);
        assert_eq!(clash.status.code(), Some(1));
        assert!(text(&clash.stderr).contains("hint: another program"), "{}", text(&clash.stderr));
    }
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_eq!(error(home.path(), &["status", "--api", &format!("http://{nobody}")]).0, "unreachable");
}

#[test]
fn results_carry_no_colour_into_a_pipe() {
    let home = folder();
    let made = tributary(home.path(), &["init", "--network", "mine"]);
    assert!(made.status.success());
    assert!(text(&made.stdout).contains("tributary start --home"), "{}", text(&made.stdout));
    assert!(!made.stdout.contains(&0x1b));
}

#[test]
fn a_devnet_starts_loses_a_node_gets_it_back_and_stops_in_order() {
    let folder = folder();
    let mut net = Devnet::create(folder.path().join("net"), 4).unwrap().program(PROGRAM).start().unwrap();
    let genesis = net.genesis().unwrap().hash().to_string();
    for i in 0..net.len() {
        let status = net.api(i).unwrap().status().unwrap();
        assert_eq!((status.genesis.as_str(), status.validator), (genesis.as_str(), true));
        assert!(net.api(i).unwrap().get_text("/metrics").unwrap().contains("tributary_build_info"));
    }
    let home = net.dir().to_owned();
    let shown = json(&home, &["devnet", "status", "--dir", home.to_str().unwrap()]);
    assert_eq!(shown.as_array().map(Vec::len), Some(4));
    assert_eq!(json(&home, &["status"])["genesis"], genesis, "a devnet's folder stands for its first node");

    let (code, message) = error(net.home(1), &["start"]);
    assert_eq!(code, "running");
    assert!(message.contains(&format!("process {}", net.pid(1).unwrap().unwrap())), "{message}");

    net.kill9(2);
    assert_eq!(net.pid(2).unwrap(), None);
    assert!(net.api(2).unwrap().ready().is_err());
    net.restart(2).unwrap();
    net.api(2).unwrap().ready().unwrap();
    assert_eq!(net.restart(2).unwrap_err().code(), "state");

    assert_eq!(json(net.home(3), &["stop"])["stopped"], net.home(3).to_str().unwrap());
    assert!(net.ended_in_order(3), "its log is {}", net.log(3).display());
    let ended = net.stop_all();
    assert!(ended.iter().all(|(_, how)| *how == Ended::Gracefully), "{ended:?}");
    assert_eq!(ended.len(), 4);
}

#[test]
fn a_devnet_dies_with_its_parent() {
    let folder = folder();
    let dir = folder.path().join("net");
    let mut up = command(folder.path(), &["devnet", "up", "--nodes", "2", "--json", "--dir", dir.to_str().unwrap()]);
    let mut up = up.stdout(Stdio::piped()).spawn().unwrap();
    // The document is printed when all nodes are ready.
    let document = serde_json::Deserializer::from_reader(up.stdout.take().unwrap()).into_iter::<Value>().next();
    let document = document.unwrap().unwrap();
    assert_eq!(document["nodes"].as_array().map(Vec::len), Some(2));
    let net = Devnet::open(&dir).unwrap();
    assert!(net.pid(0).unwrap().is_some());
    up.kill().unwrap();
    up.wait().unwrap();
    let deadline = std::time::Instant::now() + daemon::devnet::STOP_WITHIN;
    while (0..2).any(|i| net.pid(i).unwrap().is_some()) {
        assert!(std::time::Instant::now() < deadline, "the nodes outlive their parent");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn a_detached_devnet_stays_until_it_is_taken_down() {
    let folder = folder();
    let dir = folder.path().join("net");
    let at = ["--dir", dir.to_str().unwrap()];
    let up = json(folder.path(), &[&["devnet", "up", "--detach", "--nodes", "1"], &at[..]].concat());
    assert!(up["nodes"][0]["pid"].is_u64());
    let again = json(folder.path(), &[&["devnet", "up", "--detach"], &at[..]].concat());
    assert_eq!(again["nodes"][0]["pid"], up["nodes"][0]["pid"], "what runs is left alone");
    let shown = json(&dir, &["devnet", "status"]);
    let hint = text(&tributary(&dir, &["start"]).stderr);
    assert!(hint.contains("hint: it is a devnet's folder: tributary devnet up"), "{hint}");
    assert_eq!(shown[0]["pid"], up["nodes"][0]["pid"], "a devnet's folder as the home stands for the devnet");
    assert_eq!(json(&dir, &["devnet", "down"]), serde_json::json!(["node0"]));
    assert_eq!(json(folder.path(), &[&["devnet", "down"], &at[..]].concat()), serde_json::json!([]));
}
