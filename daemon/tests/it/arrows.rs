//! The shape of the workspace, held by a test: which crate may name which (ARCHITECTURE.md, "Arrows and homes").
//!
//! Three rules. Our crates point at each other only as allowed. An outside crate that carries a kind of dirt has one
//! home, and nothing of that dirt is reachable from a crate that must stay clean of it, however indirectly. And the
//! pure core's sources name no clock, file, socket, thread, environment, random source, hash map or float.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Who may depend on whom: (crate, those it may name).
const ARROWS: [(&str, &[&str]); 4] = [
    ("tributary-protocol", &[]),
    ("tributary-storage", &["tributary-protocol"]),
    ("tributary-attribution", &["tributary-protocol"]),
    ("tributary-daemon", &["tributary-attribution", "tributary-protocol", "tributary-storage"]),
];

/// The one home of each outside crate that brings a kind of dirt, or a second way to do a thing.
const HOMES: [(&str, &str); 33] = [
    ("prost", "tributary-protocol"),
    ("prost-build", "tributary-protocol"),
    ("protox", "tributary-protocol"),
    ("arc-malachitebft-core-consensus", "tributary-protocol"),
    ("arc-malachitebft-core-types", "tributary-protocol"),
    ("ed25519-zebra", "tributary-protocol"),
    ("bech32", "tributary-protocol"),
    ("rocksdb", "tributary-storage"),
    ("candle-core", "tributary-attribution"),
    ("tokenizers", "tributary-attribution"),
    ("libsais", "tributary-attribution"),
    ("memmap2", "tributary-attribution"),
    ("caseless", "tributary-protocol"),
    ("unicode-normalization", "tributary-protocol"),
    ("safetensors", "tributary-attribution"),
    ("regex", "tributary-attribution"),
    ("faer", "tributary-attribution"),
    ("pulp", "tributary-attribution"),
    ("libp2p", "tributary-daemon"),
    ("tokio", "tributary-daemon"),
    ("tokio-util", "tributary-daemon"),
    ("axum", "tributary-daemon"),
    ("hyper", "tributary-daemon"),
    ("hyper-util", "tributary-daemon"),
    ("rustix", "tributary-daemon"),
    ("ureq", "tributary-daemon"),
    ("utoipa", "tributary-daemon"),
    ("clap", "tributary-daemon"),
    ("metrics", "tributary-daemon"),
    ("metrics-exporter-prometheus", "tributary-daemon"),
    ("tracing-subscriber", "tributary-daemon"),
    ("getrandom", "tributary-daemon"),
    ("zip", "tributary-daemon"),
];

/// What may not even be reached through others: (crate of ours, what its normal dependencies never lead to).
///
/// Malachite's core declares tokio and never starts it; so what must stay away is what a runtime reaches the world by:
/// mio, socket2, and a source of randomness.
const UNREACHABLE: [(&str, &[&str]); 3] = [
    (
        "tributary-protocol",
        &["mio", "socket2", "getrandom", "rand", "libp2p", "libp2p-swarm", "rocksdb", "candle-core", "axum", "clap"],
    ),
    ("tributary-storage", &["mio", "socket2", "getrandom", "libp2p", "libp2p-swarm", "candle-core", "axum", "clap"]),
    ("tributary-attribution", &["mio", "socket2", "libp2p", "libp2p-swarm", "rocksdb", "axum", "clap"]),
];

/// Words that the pure core's sources may not hold, outside comments and tests, and the reason. `std::io` is not among
/// them: its traits over memory are how borsh and bao read and write.
const IMPURE: [(&str, &str); 19] = [
    ("std::fs", "no I/O in the core: return an effect"),
    ("stdin", "no I/O in the core: return an effect"),
    ("stdout", "the core is silent: return an effect"),
    ("stderr", "the core is silent: return an effect"),
    ("std::net", "no I/O in the core: return an effect"),
    ("std::process", "no I/O in the core: return an effect"),
    ("std::env", "configuration is a parameter"),
    ("std::thread", "the core runs in one thread"),
    ("std::sync::mpsc", "the core runs in one thread"),
    ("thread_local", "state is a parameter"),
    ("tokio", "the core has no runtime"),
    ("Instant", "time is an input"),
    ("SystemTime", "time is an input"),
    ("HashMap", "iteration order differs between runs; use BTreeMap"),
    ("HashSet", "iteration order differs between runs; use BTreeSet"),
    ("f32", "floats differ between machines; they live in attribution"),
    ("f64", "floats differ between machines; they live in attribution"),
    ("println", "the core is silent: return an effect"),
    ("eprintln", "the core is silent: return an effect"),
];

fn root() -> PathBuf {
    // Asked at run time: two checkouts may share one build.
    let daemon = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where the daemon is");
    Path::new(&daemon).parent().expect("the daemon's folder is in the workspace").to_owned()
}

/// What cargo prints when asked `words` about this workspace, without the network.
fn cargo(words: &[&str]) -> Vec<u8> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(words)
        .args(["--offline", "--locked"])
        .current_dir(root())
        .output()
        .expect("cargo starts");
    assert!(output.status.success(), "cargo {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// The workspace's manifests, as cargo reads them.
fn manifests() -> Value {
    serde_json::from_slice(&cargo(&["metadata", "--format-version", "1", "--no-deps"])).expect("cargo prints JSON")
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("cargo's answer has no text {key:?} here: {value}"))
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().unwrap_or_else(|| panic!("cargo's answer has no list {key:?} here"))
}

/// Our crates, each with the names it declares, whatever for (normal, build and test alike).
fn declared(manifests: &Value) -> BTreeMap<&str, BTreeSet<&str>> {
    let names = |package| list(package, "dependencies").iter().map(|dependency| text(dependency, "name")).collect();
    list(manifests, "packages").iter().map(|package| (text(package, "name"), names(package))).collect()
}

/// The names of all crates that the normal dependencies of `package` lead to, built by itself, on this platform.
fn reachable(package: &str) -> BTreeSet<String> {
    let tree = cargo(&["tree", "-p", package, "-e", "normal", "--prefix", "none", "-f", "{p}"]);
    let tree = String::from_utf8(tree).expect("cargo prints text");
    tree.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

/// The sources of one crate, its tests left out.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("a folder's entry can be read").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
            found.push(path);
        }
    }
    found
}

/// The lines of a source that are code: comments cut off, and nothing from the test module that closes the file.
fn code(source: &str) -> Vec<(usize, &str)> {
    let lines: Vec<&str> = source.lines().collect();
    let tests = lines.windows(2).position(|pair| pair[0] == "#[cfg(test)]" && pair[1].ends_with('{'));
    let end = tests.unwrap_or(lines.len());
    lines[..end].iter().enumerate().map(|(at, line)| (at + 1, line.split("//").next().unwrap_or(line))).collect()
}

/// Whether `line` holds `word` with no letter, digit or underscore on either side.
fn holds(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| !line[..at].ends_with(part) && !line[at + word.len()..].starts_with(part))
}

#[test]
fn our_crates_point_only_where_they_may() {
    let manifests = manifests();
    let declared = declared(&manifests);
    let members: BTreeSet<&str> = declared.keys().copied().collect();
    assert_eq!(members, ARROWS.iter().map(|(name, _)| *name).collect(), "a new crate needs its arrows here");
    for (from, may) in ARROWS {
        let names: Vec<&str> = declared[from].intersection(&members).copied().collect();
        let wrong: Vec<&str> = names.into_iter().filter(|to| !may.contains(to)).collect();
        assert!(wrong.is_empty(), "{from} may not depend on {wrong:?}; allowed: {may:?}");
    }
}

#[test]
fn each_outside_crate_has_one_home() {
    let manifests = manifests();
    let declared = declared(&manifests);
    for (outside, home) in HOMES {
        let users: Vec<&str> =
            declared.iter().filter(|(_, names)| names.contains(outside)).map(|(us, _)| *us).collect();
        assert!(users.iter().all(|user| *user == home), "{outside} belongs to {home} alone, but is named by {users:?}");
        assert!(!users.is_empty(), "{outside} is named by nobody: take it off this list");
    }
}

#[test]
fn dirt_is_not_reached_through_others() {
    for (from, never) in UNREACHABLE {
        let reached = reachable(from);
        assert!(reached.contains("blake3"), "{from} should reach blake3, or the tree was not read rightly");
        for outside in never {
            assert!(
                !reached.contains(*outside),
                "{from} reaches {outside}: cargo tree -p {from} -e normal -i {outside}"
            );
        }
    }
}

/// What stands in the core's folder and is in no node: the simulator's command line, the tests that start it as a process,
/// and the switch for its cheap signatures, which it sets for its own threads.
const NOT_THE_CORE: [&str; 5] = [
    "protocol/src/bin",
    "protocol/src/sim/tests",
    "protocol/src/crypto/cheap.rs",
    "protocol/src/ledger/memo.rs",
    "protocol/src/tree/memo.rs",
];

#[test]
fn the_core_names_nothing_impure() {
    let mut found = Vec::new();
    let outside: Vec<_> = NOT_THE_CORE.iter().map(|place| root().join(place)).collect();
    assert!(outside.iter().all(|place| place.exists()), "take what is gone off the list");
    let is_core = |path: &PathBuf| !outside.iter().any(|place| path.starts_with(place));
    for path in sources(&root().join("protocol/src")).into_iter().filter(is_core) {
        let source = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for (number, line) in code(&source) {
            for (word, reason) in IMPURE.iter().filter(|(word, _)| holds(line, word)) {
                found.push(format!("{}:{number}: {word}: {reason}", path.display()));
            }
        }
    }
    assert!(found.is_empty(), "protocol must stay pure:\n{}", found.join("\n"));
}

#[test]
fn the_reader_of_sources_sees_code_and_only_code() {
    let source = "let a = 1; // f64\n/// HashMap\nlet hash_map_f64 = b;\nx: f64,\n#[cfg(test)]\nmod tests {\nf64\n";
    let hits: Vec<usize> = code(source).iter().filter(|(_, line)| holds(line, "f64")).map(|(at, _)| *at).collect();
    assert_eq!(hits, [4]);
}
