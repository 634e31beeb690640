//! Networks of real processes, as a hard life treats them: left behind, lied to by a peer, damaged on disk, replayed
//! from their logs. What happens to them under load is tried in `chaos`.
//!
//! What is random comes from one seed, which each test prints; `TRIBUTARY_TEST_SEED` runs that seed again. Nothing here
//! waits for time to pass: every wait is for a condition, with a deadline far beyond what it takes.

#![expect(clippy::unwrap_used, reason = "a story that cannot go on has failed")]

use super::cli_node::{PROGRAM, error, folder};
use daemon::client::{Client, ClientError};
use daemon::devnet::{Devnet, Options};
use daemon::keys::dev_seed;
use daemon::supervisor::Ended;
use protocol::crypto::SecretKey;
use protocol::envelope::seal;
use protocol::ids::{Account, Hash32};
use protocol::objects::{Action, Drops, Envelope, Object, Operation};
use protocol::wire;
use serde_json::Value;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};
use tempfile::TempDir;

mod hostile;
mod paths;
mod state_sync;

/// Far more than anything here takes, on a machine that is busy with other work too.
const DEADLINE: Duration = Duration::from_secs(120);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// The first thing that `look` finds.
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {what}");
        sleep(LOOK);
    }
}

/// SplitMix64: small, and the same everywhere.
struct Random(u64);

impl Random {
    /// This run's seed, printed; or the one that is asked for.
    fn of_this_run() -> Self {
        let asked = std::env::var("TRIBUTARY_TEST_SEED").ok().and_then(|text| text.parse().ok());
        let by_time = || SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| u64::from(since.subsec_nanos()));
        let seed = asked.unwrap_or_else(by_time);
        eprintln!("seed {seed}: TRIBUTARY_TEST_SEED={seed} runs it again");
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }
}

/// A running network and what a client must know of it.
struct Net {
    devnet: Devnet,
    genesis: Hash32,
    object_fee: Drops,
    _folder: TempDir,
}

impl Net {
    fn start(nodes: usize, epoch_ms: u64) -> Self {
        Self::start_after(nodes, epoch_ms, |_| {})
    }

    /// Starts a network after something was done to its files.
    fn start_after(nodes: usize, epoch_ms: u64, prepare: impl FnOnce(&Devnet)) -> Self {
        let folder = folder();
        let mut options = Options::default();
        options.params.epoch_ms = epoch_ms;
        let devnet = Devnet::create_with(folder.path().join("net"), nodes, &options).unwrap().program(PROGRAM);
        prepare(&devnet);
        let devnet = devnet.start().unwrap();
        let genesis = devnet.genesis().unwrap();
        Self { genesis: genesis.hash(), object_fee: genesis.params.object_fee, devnet, _folder: folder }
    }

    fn api(&self, i: usize) -> Client {
        self.devnet.api(i).unwrap()
    }

    fn height(&self, i: usize) -> u64 {
        self.api(i).status().unwrap().height
    }

    fn key(&self, name: &str) -> SecretKey {
        self.devnet.key(name).secret_key()
    }

    fn validator(&self, i: usize) -> SecretKey {
        dev_seed(self.devnet.network(), &format!("node{i}/validator")).secret_key()
    }

    fn transfer(&self, from: &SecretKey, nonce: u64, to: Account, drops: u128) -> Envelope {
        transfer(from, nonce, to, drops, self.object_fee, &self.genesis)
    }

    fn epoch(&self, i: usize, height: u64) -> Value {
        until("an epoch", || self.api(i).get(&format!("/v1/epochs/{height}")).ok())
    }

    /// The height and place at which node `i` holds an object, once it does.
    fn place(&self, i: usize, id: &str) -> (u64, u64) {
        until(&format!("{id} in a block of node {i}"), || {
            let shown: Value = self.api(i).get(&format!("/v1/objects/{id}")).ok()?;
            Some((shown["height"].as_u64()?, shown["index"].as_u64()?))
        })
    }
}

fn transfer(from: &SecretKey, nonce: u64, to: Account, drops: u128, fee: Drops, genesis: &Hash32) -> Envelope {
    let action = Action::Transfer { to, amount: Drops(drops) };
    let operation = Operation { account: from.account(), nonce, fee, action };
    seal(&Object::Operation(operation), &[from], genesis).unwrap()
}

/// Submits and returns the id that the node promised to keep.
fn submit(client: &Client, envelope: &Envelope) -> Result<String, ClientError> {
    let accepted: Value = client.post_bytes("/v1/objects", &wire::encode_envelope(envelope))?;
    assert_eq!(accepted["id"], envelope.id().to_string());
    Ok(envelope.id().to_string())
}

fn account(client: &Client, account: Account) -> Value {
    client.get(&format!("/v1/accounts/{account}")).unwrap()
}

/// All nodes have the same blocks and state roots, up to the height that all have.
fn same_chain(net: &Net) {
    let height = (0..net.devnet.len()).map(|i| net.height(i)).min().unwrap();
    assert!(height > 0);
    for height in 1..=height {
        let of = |i| {
            let epoch = net.epoch(i, height);
            (epoch["block"].clone(), epoch["state_root"].clone())
        };
        let first = of(0);
        assert!(first.0.is_string() && first.1.is_string());
        for i in 1..net.devnet.len() {
            assert_eq!(of(i), first, "nodes 0 and {i} at height {height}");
        }
    }
}

/// The other three decide no faster than the missing one's turns to propose time out, so the long absence is made of
/// a copy of the node's data that is put back later: to everybody it is a node that was down all the while.
#[test]
fn a_node_that_was_down_for_many_epochs_catches_up_and_votes_again() {
    /// Missed at least: several answers of blocks.
    const MISSED: u64 = 200;
    let mut net = Net::start(4, 5);
    until("a few epochs", || (net.height(3) >= 3).then_some(()));
    assert_eq!(net.devnet.stop(3).unwrap(), Ended::Gracefully);
    let (data, kept) = (net.devnet.home(3).join("data"), net.devnet.home(3).join("kept"));
    copy(&data, &kept);
    let down_at = net.height(0);
    net.devnet.restart(3).unwrap();
    let (alice, bob) = (net.key("alice"), net.key("bob").account());
    let missed = submit(&net.api(0), &net.transfer(&alice, 0, bob, 7)).unwrap();
    until("many epochs", || (net.height(0) >= down_at + MISSED).then_some(()));
    net.devnet.kill9(3);
    // What it signed last is decided before it starts without remembering that.
    let last = net.height(0);
    until("two more epochs", || (net.height(0) >= last + 2).then_some(()));
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::rename(&kept, &data).unwrap();

    let restarted = Instant::now();
    net.devnet.restart(3).unwrap();
    let back_at = net.height(0);
    until("node3 in step", || (net.height(3) >= back_at).then_some(()));
    eprintln!("{} epochs caught up {:?} after the start", back_at - down_at, restarted.elapsed());
    assert_eq!(net.place(3, &missed), net.place(0, &missed));
    let key = net.validator(3).account().to_string();
    let mut height = back_at;
    until("an epoch that node3 signed", || {
        height += 1;
        let signers = net.epoch(0, height)["signers"].clone();
        let signed = signers.as_array().unwrap().iter().any(|signer| signer.as_str() == Some(&key));
        signed.then_some(())
    });
    eprintln!("votes again {:?} after the start", restarted.elapsed());
    assert!(net.devnet.stop_all().iter().all(|(_, how)| *how == Ended::Gracefully));
}

/// Copies a folder with all that is in it.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Sets a key in a node's configuration file.
fn configure(home: &Path, commented: &str, line: &str) {
    let path = home.join("tributary.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(commented), "{text}");
    std::fs::write(&path, text.replace(commented, line)).unwrap();
}

#[test]
fn an_input_log_replays_to_the_same_state() {
    let mut net = Net::start_after(1, 20, |devnet| {
        configure(devnet.home(0), "# record = \"FILE\"", "record = \"inputs.log\"");
    });
    let (alice, bob) = (net.key("alice"), net.key("bob").account());
    let ids: Vec<String> =
        (0..5).map(|nonce| submit(&net.api(0), &net.transfer(&alice, nonce, bob, 100)).unwrap()).collect();
    let last = ids.iter().map(|id| net.place(0, id).0).max().unwrap();
    until("ten more epochs", || (net.height(0) >= last + 10).then_some(()));
    assert_eq!(net.devnet.stop(0).unwrap(), Ended::Gracefully);

    let log = net.devnet.home(0).join("inputs.log");
    let replay = || daemon::node_process::recorder::replay(&log, net.validator(0)).unwrap();
    let first = replay();
    assert_eq!(replay(), first, "the same inputs give the same effects");
    assert!(first.height >= last + 10 && first.inputs > 10, "{first:?}");

    // A log is evidence: a second run does not write over it.
    let refused = error(net.devnet.home(0), &["start"]);
    assert!(refused.1.contains("inputs.log"), "{refused:?}");
    configure(net.devnet.home(0), "record = \"inputs.log\"", "# record = \"FILE\"");
    net.devnet.restart(0).unwrap();
    until("the epoch after the log's end", || (net.height(0) > first.height).then_some(()));
    assert_eq!(net.epoch(0, first.height + 1)["state_root"], first.state_root, "the next block names the root");
}

#[test]
fn a_damaged_database_is_refused_with_what_to_do() {
    let mut net = Net::start(1, 20);
    until("some epochs", || (net.height(0) >= 3).then_some(()));
    assert_eq!(net.devnet.stop(0).unwrap(), Ended::Gracefully);
    let database = net.devnet.home(0).join("data/database");
    let mut damaged = 0;
    for entry in std::fs::read_dir(database).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("MANIFEST")) {
            let mut bytes = std::fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x40;
            std::fs::write(&path, bytes).unwrap();
            damaged += 1;
        }
    }
    assert!(damaged > 0);
    let (code, message) = error(net.devnet.home(0), &["start"]);
    assert_eq!(code, "damaged", "{message}");
    assert!(message.contains("leave the file `.witness`"), "{message}");
    // As it says: what is left behind keeps its key from signing what it may have signed before.
    let data = net.devnet.home(0).join("data");
    std::fs::rename(data.join("database"), data.join("damaged")).unwrap();
    assert!(data.join("database.witness").exists());
    net.devnet.restart(0).unwrap();
    assert_eq!(net.devnet.stop(0).unwrap(), Ended::Gracefully);
    let log = std::fs::read_to_string(net.devnet.log(0)).unwrap();
    assert!(log.contains("Nothing is signed up to height"), "{log}");
}
