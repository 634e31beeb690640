//! A network of real processes that can be ill-treated.
//!
//! Each node is started through a small shell script of the trial's own, which reads `before-start` in the node's home
//! before it becomes the node: so one node alone gets a wrong clock or another network namespace, and nothing of that is
//! made in the daemon. Signals and limits come from `kill` and `prlimit`, as an operator would send them.

use super::namespaces::Namespaces;
use super::relay::{Relay, Way};
use anyhow::Context as _;
use daemon::api::types::ValidatorShown;
use daemon::client::Client;
use daemon::config::{CONFIG_FILE, Config};
use daemon::devnet::{Devnet, Options};
use daemon::keys::{Seed, dev_seed};
use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use protocol::block::{Validator, ValidatorSet};
use protocol::crypto::SecretKey;
use protocol::envelope::seal;
use protocol::genesis::Genesis;
use protocol::ids::{Account, Hash32, ObjectId};
use protocol::objects::{Action, Object, Operation};
use protocol::wire;
use serde_json::Value;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Far more than anything takes, on a machine that is busy with other work too. What needs it has failed.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(10);
/// What a node's home may hold for the script that starts it: shell variables.
const BEFORE_START: &str = "before-start";

/// How the nodes are linked.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Links {
    /// Over loopback, by QUIC and TCP.
    Direct,
    /// Over relays, with the delay from one node to another.
    Relayed(fn(usize, usize) -> Duration),
    /// Each node in a network namespace of its own, with this delay of all that it sends where the system has netem.
    /// Needs the right to make namespaces.
    Namespaces(Duration),
}

impl Links {
    /// Can nodes be cut off?
    pub(crate) const fn can_be_cut(self) -> bool {
        !matches!(self, Self::Direct)
    }
}

/// What lies between the nodes.
pub(crate) enum Between {
    /// Nothing of ours.
    Nothing,
    Relay(Relay),
    Namespaces(Namespaces),
}

impl Between {
    /// Cuts every way between a node of `group` and one outside.
    pub(crate) fn part(&self, group: &[usize], how: Way) -> anyhow::Result<()> {
        match self {
            Self::Nothing => anyhow::bail!("nodes on bare loopback cannot be parted"),
            Self::Relay(relay) => {
                anyhow::ensure!(relay.carried() > 0, "nothing has passed the relays: the nodes meet elsewhere");
                relay.part(group, how);
                Ok(())
            }
            Self::Namespaces(spaces) => spaces.part(group),
        }
    }

    /// Opens every way again.
    pub(crate) fn heal(&self) -> anyhow::Result<()> {
        match self {
            Self::Nothing => Ok(()),
            Self::Relay(relay) => {
                relay.heal();
                Ok(())
            }
            Self::Namespaces(spaces) => spaces.heal(),
        }
    }
}

/// A running network.
pub(crate) struct Net {
    pub(crate) devnet: Devnet,
    pub(crate) genesis: Genesis,
    /// What is signed in this network.
    pub(crate) hash: Hash32,
    pub(crate) between: Between,
    /// How often each node got another voting key.
    pub(crate) rotated: Vec<u64>,
    folder: Option<TempDir>,
}

impl Net {
    /// Starts `nodes` processes of `program`.
    pub(crate) fn start(
        program: &Path,
        nodes: usize,
        epoch_ms: u64,
        links: Links,
        seed: u64,
        prepare: impl FnOnce(&Devnet) -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        anyhow::ensure!(program.exists(), "build the node first: cargo build --release --bin tributary");
        let folder = tempfile::tempdir()?;
        let mut options = Options::default();
        options.params.epoch_ms = epoch_ms;
        let dir = folder.path().join("net");
        let devnet = Devnet::create_with(&dir, nodes, &options)?;
        let between = match links {
            Links::Direct => Between::Nothing,
            Links::Relayed(delay) => Between::Relay(put_relays(&devnet, delay, seed)?),
            Links::Namespaces(delay) => Between::Namespaces(Namespaces::make(&devnet, delay)?),
        };
        prepare(&devnet)?;
        let script = write_script(&dir, program)?;
        // What was prepared may have changed where the APIs listen.
        let devnet = Devnet::open(&dir)?.program(script).start()?;
        let genesis = devnet.genesis()?;
        let rotated = vec![0; nodes];
        Ok(Self { hash: genesis.hash(), genesis, devnet, between, rotated, folder: Some(folder) })
    }

    pub(crate) fn nodes(&self) -> usize {
        self.devnet.len()
    }

    pub(crate) fn api(&self, i: usize) -> anyhow::Result<Client> {
        Ok(self.devnet.api(i)?)
    }

    pub(crate) fn height(&self, i: usize) -> anyhow::Result<u64> {
        let status = self.api(i)?.status();
        Ok(status.with_context(|| format!("the status of {}", self.devnet.name(i)))?.height)
    }

    /// The greatest height of these nodes.
    pub(crate) fn highest(&self, nodes: impl IntoIterator<Item = usize>) -> anyhow::Result<u64> {
        let heights: Vec<u64> = nodes.into_iter().map(|i| self.height(i)).collect::<anyhow::Result<_>>()?;
        heights.into_iter().max().context("no node")
    }

    pub(crate) fn others(&self, i: usize) -> impl Iterator<Item = usize> + Clone + use<> {
        (0..self.devnet.len()).filter(move |other| *other != i)
    }

    pub(crate) fn key(&self, name: &str) -> SecretKey {
        self.devnet.key(name).secret_key()
    }

    /// The key that node `i` votes with.
    pub(crate) fn validator(&self, i: usize) -> SecretKey {
        self.voting_seed(i, self.rotated[i]).secret_key()
    }

    /// The seed of the `n`-th key that node `i` votes with; the genesis knows that of 0.
    pub(crate) fn voting_seed(&self, i: usize, n: u64) -> Seed {
        let number = if n == 0 { String::new() } else { format!("/{n}") };
        dev_seed(self.devnet.network(), &format!("node{i}/validator{number}"))
    }

    /// Submits an object to node `i` and waits until it is in a block.
    pub(crate) fn decide(&self, i: usize, object: &Object, key: &SecretKey) -> anyhow::Result<ObjectId> {
        let (api, envelope) = (self.api(i)?, seal(object, &[key], &self.hash)?);
        let _: Value = api.post_bytes("/v1/objects", &wire::encode_envelope(&envelope))?;
        self.until(format!("{} in a block", envelope.id()), |_| {
            let shown: Option<Value> = api.get(&format!("/v1/objects/{}", envelope.id())).ok();
            Ok(shown.filter(|shown| shown["height"].is_u64()))
        })?;
        Ok(envelope.id())
    }

    /// Has node `i` carry out the next operation of an account that nobody else writes for.
    pub(crate) fn operate(&self, i: usize, key: &SecretKey, action: Action) -> anyhow::Result<()> {
        let shown: Value = self.api(i)?.get(&format!("/v1/accounts/{}", key.account()))?;
        let nonce = shown["nonce"].as_u64().context("a nonce")?;
        let operation = Operation { account: key.account(), nonce, fee: self.genesis.params.object_fee, action };
        self.decide(i, &Object::Operation(operation), key)?;
        Ok(())
    }

    /// Who validates the next epoch, as node `i` knows it.
    pub(crate) fn validators(&self, i: usize) -> anyhow::Result<ValidatorSet> {
        let account = |text: &str| text.parse::<Account>().with_context(|| format!("{text} is no account"));
        let all: Vec<ValidatorShown> = self.api(i)?.get("/v1/validators")?;
        let member = |validator: ValidatorShown| {
            let (key, payout) = (account(&validator.key)?, account(&validator.payout)?);
            anyhow::Ok(Validator { key, payout, power: validator.power })
        };
        let able = all.into_iter().filter(|validator| validator.power > 0);
        Ok(ValidatorSet::new(able.map(member).collect::<anyhow::Result<_>>()?))
    }

    /// Sends node `i` a signal, by name.
    pub(crate) fn signal(&self, i: usize, name: &str) -> anyhow::Result<()> {
        let pid = self.devnet.pid(i)?.with_context(|| format!("{} does not run", self.devnet.name(i)))?;
        let sent = Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status()?;
        anyhow::ensure!(sent.success(), "SIG{name} cannot be sent to {pid}");
        Ok(())
    }

    /// From now on no file of node `i` can grow beyond this many bytes, as on a full disk; a restart ends it.
    pub(crate) fn limit_files(&self, i: usize, bytes: u64) -> anyhow::Result<()> {
        let pid = self.devnet.pid(i)?.with_context(|| format!("{} does not run", self.devnet.name(i)))?;
        let limited = Command::new("prlimit").args([format!("--pid={pid}"), format!("--fsize={bytes}:")]).status();
        anyhow::ensure!(limited.context("prlimit (util-linux)")?.success(), "the limits of {pid} cannot be changed");
        Ok(())
    }

    /// From its next start on, the clock of node `i` is wrong by so much; 0 sets it right.
    pub(crate) fn set_clock(&self, i: usize, wrong_by_ms: i64) -> anyhow::Result<()> {
        before_start(&self.devnet, i, "extra", &format!("--clock-offset-ms={wrong_by_ms}"))
    }

    /// Waits for the first thing that `look` finds; its errors end the wait.
    pub(crate) fn until<T>(
        &self,
        what: impl std::fmt::Display,
        mut look: impl FnMut(&Self) -> anyhow::Result<Option<T>>,
    ) -> anyhow::Result<T> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(found) = look(self)? {
                return Ok(found);
            }
            if Instant::now() >= deadline {
                let heights: Vec<String> = (0..self.nodes())
                    .map(|i| self.height(i).map_or_else(|error| format!("{error:#}"), |height| height.to_string()))
                    .collect();
                anyhow::bail!(
                    "not within {} s, which is far beyond what it takes even on a busy machine: {what}; the nodes' \
                     heights: {}; their folder: {}",
                    DEADLINE.as_secs(),
                    heights.join(", "),
                    self.devnet.dir().display()
                );
            }
            sleep(LOOK);
        }
    }

    /// Waits until node `i` is as far as the others are now.
    pub(crate) fn in_step(&self, i: usize) -> anyhow::Result<()> {
        let target = self.highest(self.others(i))?;
        self.until(format!("{} in step with the others", self.devnet.name(i)), |net| {
            Ok((net.height(i)? >= target).then_some(()))
        })
    }

    /// Waits until all of these nodes have decided this many more epochs.
    pub(crate) fn epochs_pass(&self, nodes: &[usize], epochs: u64) -> anyhow::Result<()> {
        let target = self.highest(nodes.iter().copied())? + epochs;
        self.until(format!("height {target} at nodes {nodes:?}"), |net| {
            Ok((net.highest(nodes.iter().copied())? >= target).then_some(()))
        })
    }

    /// Keeps the nodes' homes for whoever looks into what went wrong, and says where they are.
    pub(crate) fn keep_folder(&mut self) -> Option<PathBuf> {
        self.folder.take().map(TempDir::keep)
    }
}

/// Sets a shell variable for the next starts of node `i`: `extra` (words for the node), `under` (a command before it).
pub(crate) fn before_start(devnet: &Devnet, i: usize, variable: &str, words: &str) -> anyhow::Result<()> {
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(devnet.home(i).join(BEFORE_START))?;
    Ok(writeln!(file, "{variable}='{words}'")?)
}

/// The TCP address that node `i` listens on, with its id.
pub(crate) fn listens(devnet: &Devnet, i: usize) -> anyhow::Result<Multiaddr> {
    let config = Config::load(devnet.home(i), [], &[])?;
    let is_tcp = |address: &&Multiaddr| address.iter().any(|part| matches!(part, Protocol::Tcp(_)));
    let address = config.network.listen.iter().find(is_tcp).context("a node listens over TCP")?;
    let seed = dev_seed(devnet.network(), &format!("{}/node", devnet.name(i)));
    Ok(address.clone().with(Protocol::P2p(seed.node_keypair().public().into())))
}

/// Rewrites a node's configuration file.
pub(crate) fn configure(devnet: &Devnet, i: usize, change: impl FnOnce(&mut Config)) -> anyhow::Result<()> {
    let mut config = Config::load(devnet.home(i), [], &[])?;
    change(&mut config);
    Ok(std::fs::write(devnet.home(i).join(CONFIG_FILE), config.to_toml())?)
}

/// Puts relays between all nodes, and lets each know the others by them alone.
fn put_relays(devnet: &Devnet, delay: fn(usize, usize) -> Duration, seed: u64) -> anyhow::Result<Relay> {
    let listens: Vec<Multiaddr> = (0..devnet.len()).map(|i| listens(devnet, i)).collect::<anyhow::Result<_>>()?;
    let port = |address: &Multiaddr| {
        address.iter().find_map(|part| if let Protocol::Tcp(port) = part { Some(port) } else { None })
    };
    let ports: Vec<u16> = listens.iter().map(port).collect::<Option<_>>().context("a node's port")?;
    let relay = Relay::start(&ports, delay, seed)?;
    for i in 0..devnet.len() {
        let through = |j: usize| -> Multiaddr {
            let by = |part| if matches!(part, Protocol::Tcp(_)) { Protocol::Tcp(relay.port(i, j)) } else { part };
            listens[j].iter().map(by).collect()
        };
        let peers = (0..devnet.len()).filter(|j| *j != i).map(through).collect();
        let listen = listens[i].iter().filter(|part| !matches!(part, Protocol::P2p(_))).collect();
        configure(devnet, i, |config| {
            config.network.listen = vec![listen];
            config.network.peers = peers;
        })?;
    }
    Ok(relay)
}

/// The script that becomes a node. Its words are those of the program: `start --home HOME …`.
fn write_script(dir: &Path, program: &Path) -> anyhow::Result<PathBuf> {
    let path = dir.join("node-program");
    // Ignored, so that a file that cannot grow gives an error, as a full disk does, instead of a signal. What the node
    // says goes through a process that no limit is set for.
    let text = format!(
        "#!/bin/bash\ntrap '' XFSZ\nextra= under=\n[ ! -e \"$3/{BEFORE_START}\" ] || . \"$3/{BEFORE_START}\"\n\
         exec $under '{}' \"$@\" $extra > >(trap - XFSZ; exec cat) 2>&1\n",
        program.display()
    );
    std::fs::write(&path, text)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    Ok(path)
}

/// What the program prints as JSON, run as a person or a script runs it.
pub(crate) fn command(program: &Path, home: &Path, words: &[&str]) -> anyhow::Result<Value> {
    let output = Command::new(program)
        .args(words)
        .args(["--json", "--home"])
        .arg(home)
        .env_remove("TRIBUTARY_API")
        .stdin(Stdio::null())
        .output()?;
    let said = || String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "tributary {}: {}", words.join(" "), said());
    Ok(serde_json::from_slice(&output.stdout)?)
}
