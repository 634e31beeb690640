//! A network on this machine: several validators, each a process with a home of its own, on loopback.
//!
//! ```text
//! DIR/devnet.json         what there is
//! DIR/genesis.json        the genesis of all
//! DIR/keys/alice.key …    the funded accounts, and those that validators are paid to
//! DIR/node0/ …            a home for each node, as `tributary init` makes it
//! DIR/node0/node.log      what it says
//! ```
//!
//! All keys are made from their names ([`crate::keys::dev_seed`]), so everybody knows them: nothing here is worth
//! anything. Ports are chosen when the devnet is created and stay the same, below the range that systems hand out by
//! themselves, so that nobody takes the port of a node that is down for a moment.

use crate::client::{Client, ClientError};
use crate::config::{CONFIG_FILE, Config, ConfigError, DEFAULT_LOG_LEVEL};
use crate::files;
use crate::genesis_file::{self, GenesisFileError};
use crate::keys::{KeyError, KeyKind, Keystore, Seed, dev_seed};
use crate::supervisor::{self, Ended, HomeError, NodeProcess};
use libp2p::Multiaddr;
use protocol::genesis::{Genesis, GenesisValidator, Params};
use protocol::ids::Account;
use protocol::objects::Drops;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

/// The file that says what a devnet's folder holds.
pub const DEVNET_FILE: &str = "devnet.json";
/// Nodes of a devnet at most: one machine must carry them all.
pub const MAX_NODES: usize = 16;
/// How long a node may take to be ready.
pub const READY_WITHIN: Duration = Duration::from_secs(60);
/// How long a node may take to stop before it is killed; longer than a node's own bound for it.
pub const STOP_WITHIN: Duration = Duration::from_secs(30);
/// How often a node is asked whether it is ready.
const POLL: Duration = Duration::from_millis(50);
/// Ports that are tried. Linux hands out 32768 and above by itself.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
/// Bytes of a devnet's file.
const MAX_DEVNET_FILE_BYTES: u64 = 1024 * 1024;

const _: () = assert!(STOP_WITHIN.as_secs() > crate::cli::node::STOP_BOUND.as_secs());

/// Why there is no devnet, or not the one that was asked for.
#[derive(Debug, thiserror::Error)]
pub enum DevnetError {
    /// Too few or too many nodes.
    #[error("a devnet has 1 to {MAX_NODES} nodes, not {0}")]
    Count(usize),
    /// There is one already.
    #[error("there is a devnet in {} already", dir.display())]
    Exists {
        /// Where.
        dir: PathBuf,
    },
    /// One was begun there, and was cut short.
    #[error("a devnet was begun in {} and never finished", dir.display())]
    Unfinished {
        /// Where.
        dir: PathBuf,
    },
    /// There is none.
    #[error("there is no devnet in {}", dir.display())]
    Missing {
        /// Where.
        dir: PathBuf,
    },
    /// Its description cannot be understood.
    #[error("{} is malformed", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// No port could be bound.
    #[error("no port between {} and {} is free on loopback", PORTS.start, PORTS.end)]
    Ports,
    /// A node ended while it should start.
    #[error("{node} ended while starting; its log {} ends with:\n{tail}", log.display())]
    Ended {
        /// Which.
        node: String,
        /// Its log.
        log: PathBuf,
        /// The log's last lines.
        tail: String,
    },
    /// A node did not become ready.
    #[error("{node} is not ready after {} s ({reason}); its log is {}", after.as_secs(), log.display())]
    NotReady {
        /// Which.
        node: String,
        /// Its log.
        log: PathBuf,
        /// How long it was waited for.
        after: Duration,
        /// What it answered last.
        reason: String,
    },
    /// A node is already as it should become.
    #[error("{node} is {state}")]
    State {
        /// Which.
        node: String,
        /// How it is.
        state: &'static str,
    },
    /// A file cannot be written or read.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The genesis.
    #[error(transparent)]
    Genesis(#[from] GenesisFileError),
    /// A configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A process.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// An API's address.
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl DevnetError {
    /// One word.
    pub fn code(&self) -> &str {
        match self {
            Self::Count(_) => "count",
            Self::Exists { .. } => "exists",
            Self::Unfinished { .. } => "unfinished",
            Self::Missing { .. } => "nodevnet",
            Self::Malformed { .. } => "malformed",
            Self::Ports => "ports",
            Self::Ended { .. } => "ended",
            Self::NotReady { .. } => "notready",
            Self::State { .. } => "state",
            Self::Io { .. } => "file",
            Self::Key(error) => error.code(),
            Self::Genesis(error) => error.code(),
            Self::Config(error) => error.code(),
            Self::Home(error) => error.code(),
            Self::Client(error) => error.code(),
        }
    }

    /// What to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Exists { dir } => Some(format!("`tributary devnet up --dir {}` goes on with it", dir.display())),
            Self::Missing { dir } => Some(format!("tributary devnet up --dir {}", dir.display())),
            Self::Unfinished { dir } => Some(format!("unless something of yours is in it: rm -r {}", dir.display())),
            Self::Key(error) => error.hint(),
            Self::Config(error) => error.hint(),
            Self::Home(error) => error.hint(),
            _ => None,
        }
    }
}

/// What a new devnet is like.
#[derive(Clone, Debug)]
pub struct Options {
    /// The network's name.
    pub network: String,
    /// The parameters of its genesis.
    pub params: Params,
    /// The funded accounts, by name.
    pub accounts: BTreeMap<String, Drops>,
    /// Which log lines are written.
    pub log_level: String,
}

impl Default for Options {
    /// Epochs of a second, and a million credits for each of six people.
    fn default() -> Self {
        let people = ["alice", "bob", "carol", "dave", "erin", "frank"];
        let fortune = Drops(Drops::CREDIT.0 * 1_000_000);
        Self {
            network: "devnet".to_owned(),
            params: Params::devnet(),
            accounts: people.map(|name| (name.to_owned(), fortune)).into(),
            log_level: DEFAULT_LOG_LEVEL.to_owned(),
        }
    }
}

/// What `devnet.json` holds.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    network: String,
    nodes: Vec<String>,
}

/// One node of a devnet.
#[derive(Debug)]
struct Member {
    name: String,
    home: PathBuf,
    api: SocketAddr,
    process: Option<NodeProcess>,
}

impl Member {
    fn log(&self) -> PathBuf {
        self.home.join("node.log")
    }

    fn api_url(&self) -> String {
        format!("http://{}", self.api)
    }
}

/// A network on this machine. Dropped, its processes are killed, unless they were detached.
#[derive(Debug)]
pub struct Devnet {
    dir: PathBuf,
    network: String,
    program: Option<PathBuf>,
    members: Vec<Member>,
}

impl Devnet {
    /// A new devnet of `nodes` validators in `dir`, with the default options. Nothing runs yet.
    pub fn create(dir: impl AsRef<Path>, nodes: usize) -> Result<Self, DevnetError> {
        Self::create_with(dir, nodes, &Options::default())
    }

    /// A new devnet of `nodes` validators in `dir`. Nothing runs yet.
    pub fn create_with(dir: impl AsRef<Path>, nodes: usize, options: &Options) -> Result<Self, DevnetError> {
        if !(1..=MAX_NODES).contains(&nodes) {
            return Err(DevnetError::Count(nodes));
        }
        let dir = absolute(dir.as_ref())?;
        if exists(&dir) {
            return Err(DevnetError::Exists { dir });
        }
        if dir.join("genesis.json").exists() && !dir.join(CONFIG_FILE).exists() {
            return Err(DevnetError::Unfinished { dir });
        }
        std::fs::create_dir_all(&dir).map_err(|source| io_error("create", &dir, source))?;
        let names: Vec<String> = (0..nodes).map(|i| format!("node{i}")).collect();
        let genesis = genesis(&names, options);
        genesis_file::write_new(&dir.join("genesis.json"), &genesis)?;
        let keystore = Keystore::in_home(&dir);
        for name in names.iter().chain(options.accounts.keys()) {
            keystore.add(name, &dev_seed(&options.network, name))?;
        }
        let (peer_ports, api_ports) = free_ports(nodes)?;
        for (name, config) in names.iter().zip(configs(&dir, &names, options, &peer_ports, &api_ports)) {
            let keys = [("node", KeyKind::Node), ("validator", KeyKind::Validator)];
            for (key, kind) in keys {
                let seed = dev_seed(&options.network, &format!("{name}/{key}"));
                seed.write_new(&config.home.join(format!("{key}.key")), kind, name)?;
            }
            let path = config.home.join(CONFIG_FILE);
            let written = files::create_new(&path, config.to_toml().as_bytes(), 0o644);
            written.map_err(|source| io_error("write", &path, source))?;
        }
        // Last, so that what was cut short by a crash is not taken for a devnet.
        let description = Description { network: options.network.clone(), nodes: names };
        let path = dir.join(DEVNET_FILE);
        let text = serde_json::to_string_pretty(&description)
            .map_err(|source| DevnetError::Malformed { path: path.clone(), source })?;
        files::create_new(&path, text.as_bytes(), 0o644).map_err(|source| io_error("write", &path, source))?;
        Self::open(dir)
    }

    /// The devnet that lies in `dir`. Nothing is started.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, DevnetError> {
        let dir = absolute(dir.as_ref())?;
        let path = dir.join(DEVNET_FILE);
        let text = match files::read_text(&path, MAX_DEVNET_FILE_BYTES) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(DevnetError::Missing { dir }),
            Err(source) => return Err(io_error("read", &path, source)),
        };
        let Description { network, nodes } =
            serde_json::from_str(&text).map_err(|source| DevnetError::Malformed { path, source })?;
        let member = |name: String| {
            let home = dir.join(&name);
            let api = Config::load(&home, [], &[])?.api.listen;
            Ok::<_, ConfigError>(Member { name, home, api, process: None })
        };
        let members = nodes.into_iter().map(member).collect::<Result<_, _>>()?;
        Ok(Self { dir, network, program: None, members })
    }

    /// The program that runs as a node; without this, the one that is running now.
    #[must_use]
    pub fn program(mut self, program: impl Into<PathBuf>) -> Self {
        self.program = Some(program.into());
        self
    }

    /// Starts every node as a child of this process, and waits until all are ready.
    pub fn start(mut self) -> Result<Self, DevnetError> {
        self.start_all(true)?;
        Ok(self)
    }

    /// Starts every node as a process that stays when this one ends, and waits until all are ready. Those that run
    /// already are left alone.
    pub fn start_detached(mut self) -> Result<Self, DevnetError> {
        self.start_all(false)?;
        for member in &mut self.members {
            if let Some(process) = member.process.take() {
                process.detach();
            }
        }
        Ok(self)
    }

    fn start_all(&mut self, leashed: bool) -> Result<(), DevnetError> {
        for i in 0..self.members.len() {
            if leashed || supervisor::running(&self.members[i].home)?.is_none() {
                self.spawn(i, leashed)?;
            }
        }
        let deadline = Instant::now() + READY_WITHIN;
        (0..self.members.len()).try_for_each(|i| self.wait_ready(i, deadline))
    }

    fn spawn(&mut self, i: usize, leashed: bool) -> Result<(), DevnetError> {
        let program = match &self.program {
            Some(program) => program.clone(),
            None => std::env::current_exe().map_err(|source| io_error("find", Path::new("this program"), source))?,
        };
        let member = &mut self.members[i];
        if let Some(pid) = supervisor::running(&member.home)? {
            return Err(HomeError::Busy { home: member.home.clone(), pid: Some(pid) }.into());
        }
        member.process = Some(NodeProcess::spawn(&program, &member.home, &member.log(), leashed)?);
        Ok(())
    }

    /// Waits until the node is ready, which it says itself at `/readyz`.
    fn wait_ready(&mut self, i: usize, deadline: Instant) -> Result<(), DevnetError> {
        let started = Instant::now();
        let client = self.api(i)?;
        let member = &mut self.members[i];
        loop {
            let Err(error) = client.ready() else { return Ok(()) };
            let (node, log) = (member.name.clone(), member.log());
            let tail = member.process.as_mut().and_then(|process| process.ended().map(|_| process.log_tail()));
            if let Some(tail) = tail {
                return Err(DevnetError::Ended { node, log, tail });
            }
            if Instant::now() >= deadline {
                let reason = error.to_string();
                return Err(DevnetError::NotReady { node, log, after: started.elapsed(), reason });
            }
            sleep(POLL);
        }
    }

    /// How many nodes it has.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// A devnet always has a node.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Its folder, which is also the home to give to commands that use its accounts.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The network's name.
    pub fn network(&self) -> &str {
        &self.network
    }

    /// Its genesis file.
    pub fn genesis_path(&self) -> PathBuf {
        self.dir.join("genesis.json")
    }

    /// Its genesis.
    pub fn genesis(&self) -> Result<Genesis, DevnetError> {
        Ok(genesis_file::read(&self.genesis_path())?)
    }

    /// The key of one of its accounts, by name.
    pub fn key(&self, name: &str) -> Seed {
        dev_seed(&self.network, name)
    }

    /// The name of node `i`.
    ///
    /// # Panics
    /// Here as everywhere, if there is no node `i`.
    pub fn name(&self, i: usize) -> &str {
        &self.members[i].name
    }

    /// The home of node `i`.
    pub fn home(&self, i: usize) -> &Path {
        &self.members[i].home
    }

    /// The log of node `i`.
    pub fn log(&self, i: usize) -> PathBuf {
        self.members[i].log()
    }

    /// The address of node `i`'s API.
    pub fn api_url(&self, i: usize) -> String {
        self.members[i].api_url()
    }

    /// A client of node `i`'s API.
    pub fn api(&self, i: usize) -> Result<Client, DevnetError> {
        Ok(Client::new(&self.api_url(i))?)
    }

    /// The process of node `i`, whoever started it.
    pub fn pid(&self, i: usize) -> Result<Option<u32>, DevnetError> {
        Ok(supervisor::running(&self.members[i].home)?)
    }

    /// Kills node `i` as a power cut would.
    pub fn kill9(&mut self, i: usize) {
        if let Some(process) = self.members[i].process.take() {
            process.kill9();
        }
    }

    /// Stops node `i` in order.
    pub fn stop(&mut self, i: usize) -> Result<Ended, DevnetError> {
        let member = &mut self.members[i];
        let process = member.process.take();
        let process = process.ok_or_else(|| DevnetError::State { node: member.name.clone(), state: "not running" })?;
        Ok(process.stop(Instant::now() + STOP_WITHIN))
    }

    /// Starts node `i` again after [`Self::kill9`] or [`Self::stop`], and waits until it is ready.
    pub fn restart(&mut self, i: usize) -> Result<(), DevnetError> {
        if self.members[i].process.as_mut().is_some_and(|process| process.ended().is_none()) {
            return Err(DevnetError::State { node: self.members[i].name.clone(), state: "running" });
        }
        self.spawn(i, true)?;
        self.wait_ready(i, Instant::now() + READY_WITHIN)
    }

    /// The first node that ended by itself, if one did.
    pub fn ended(&mut self) -> Option<usize> {
        let has_ended = |member: &mut Member| member.process.as_mut().is_some_and(|process| process.ended().is_some());
        self.members.iter_mut().position(has_ended)
    }

    /// Did node `i` end by itself and in order, because it was told to?
    pub fn ended_in_order(&mut self, i: usize) -> bool {
        let status = self.members[i].process.as_mut().and_then(NodeProcess::ended);
        status.is_some_and(|status| status.success())
    }

    /// Stops the nodes that this process started, all at once, and says how each ended.
    pub fn stop_all(&mut self) -> Vec<(String, Ended)> {
        for process in self.members.iter_mut().filter_map(|member| member.process.as_mut()) {
            process.ask_to_stop();
        }
        let deadline = Instant::now() + STOP_WITHIN;
        let stop = |member: &mut Member| Some((member.name.clone(), member.process.take()?.stop(deadline)));
        self.members.iter_mut().filter_map(stop).collect()
    }

    /// Stops every node that runs, whoever started it, and returns the names of those that did.
    pub fn stop_everywhere(&mut self) -> Result<Vec<String>, DevnetError> {
        let mut stopped: Vec<String> = self.stop_all().into_iter().map(|(name, _)| name).collect();
        for member in &self.members {
            match supervisor::stop(&member.home, STOP_WITHIN) {
                Ok(()) => stopped.push(member.name.clone()),
                Err(HomeError::NotRunning { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(stopped)
    }
}

/// Is there a devnet in this folder?
pub fn exists(dir: &Path) -> bool {
    dir.join(DEVNET_FILE).exists()
}

fn genesis(names: &[String], options: &Options) -> Genesis {
    let account = |name: &str| dev_seed(&options.network, name).secret_key().account();
    let mut validators: Vec<GenesisValidator> = names
        .iter()
        .map(|name| GenesisValidator {
            key: account(&format!("{name}/validator")),
            payout: account(name),
            power: 1,
            name: name.clone(),
        })
        .collect();
    validators.sort_by_key(|validator| validator.key);
    let mut accounts: Vec<(Account, Drops)> =
        options.accounts.iter().map(|(name, drops)| (account(name), *drops)).collect();
    accounts.sort();
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let time_ms = u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX);
    Genesis { network: options.network.clone(), time_ms, params: options.params, validators, accounts }
}

/// One configuration for each node; each names all others as peers.
fn configs(dir: &Path, names: &[String], options: &Options, peer_ports: &[u16], api_ports: &[u16]) -> Vec<Config> {
    let addresses = |port: u16| -> Vec<Multiaddr> {
        let texts = [format!("/ip4/127.0.0.1/udp/{port}/quic-v1"), format!("/ip4/127.0.0.1/tcp/{port}")];
        texts.iter().filter_map(|text| text.parse().ok()).collect()
    };
    let peer = |name: &str, port: u16| -> Vec<Multiaddr> {
        let seed = dev_seed(&options.network, &format!("{name}/node"));
        let id = libp2p::PeerId::from(seed.node_keypair().public());
        addresses(port).into_iter().map(|address| address.with(libp2p::multiaddr::Protocol::P2p(id))).collect()
    };
    let config = |i: usize| {
        let mut config = Config::new(dir.join(&names[i]));
        config.node.genesis = "../genesis.json".into();
        config.network.listen = addresses(peer_ports[i]);
        let others = (0..names.len()).filter(|other| *other != i);
        config.network.peers = others.flat_map(|other| peer(&names[other], peer_ports[other])).collect();
        config.api.listen = SocketAddr::from((Ipv4Addr::LOCALHOST, api_ports[i]));
        config.log.level.clone_from(&options.log_level);
        config
    };
    (0..names.len()).map(config).collect()
}

/// Ports for `nodes` nodes: one for peers (free for TCP and UDP), one for the API.
fn free_ports(nodes: usize) -> Result<(Vec<u16>, Vec<u16>), DevnetError> {
    // Somewhere in the range, so that devnets created at the same moment do not all want the same ports.
    let mut start = [0; 2];
    getrandom::fill(&mut start).map_err(|error| KeyError::Random { reason: error.to_string() })?;
    let width = PORTS.end - PORTS.start;
    let first = u16::from_le_bytes(start) % width;
    // Held until all are found, so that none is found twice.
    let mut held = Vec::new();
    let mut ports = Vec::new();
    for step in 0..width {
        let port = PORTS.start + (first + step) % width;
        let address = (Ipv4Addr::LOCALHOST, port);
        if let (Ok(tcp), Ok(udp)) = (TcpListener::bind(address), UdpSocket::bind(address)) {
            held.push((tcp, udp));
            ports.push(port);
        }
        if ports.len() == 2 * nodes {
            let api = ports.split_off(nodes);
            return Ok((ports, api));
        }
    }
    Err(DevnetError::Ports)
}

fn absolute(dir: &Path) -> Result<PathBuf, DevnetError> {
    std::path::absolute(dir).map_err(|source| io_error("find", dir, source))
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> DevnetError {
    DevnetError::Io { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DEFAULT_API;
    use crate::keys::NodeKeys;
    use protocol::crypto::SecretKey;

    fn peer_id(keys: &NodeKeys) -> libp2p::PeerId {
        crate::network::peer_id(keys.node).unwrap()
    }

    #[test]
    fn a_new_devnet_is_one_network_of_different_nodes() {
        let folder = tempfile::tempdir().unwrap();
        let devnet = Devnet::create(folder.path(), 4).unwrap();
        let genesis = devnet.genesis().unwrap();
        assert_eq!((genesis.validators.len(), genesis.accounts.len()), (4, 6));
        assert!(genesis.accounts.iter().any(|(account, _)| *account == devnet.key("alice").secret_key().account()));
        let mut ids = Vec::new();
        for i in 0..4 {
            let config = Config::load(devnet.home(i), [], &[]).unwrap();
            assert_ne!(config.api_url(), format!("http://{DEFAULT_API}"));
            assert_eq!(genesis_file::read(&config.node.genesis).unwrap(), genesis);
            assert_eq!((config.network.listen.len(), config.network.peers.len()), (2, 6));
            let keys = NodeKeys::load(&config).unwrap();
            let votes = SecretKey::from_seed(keys.validator).account();
            assert!(genesis.validators.iter().any(|validator| validator.key == votes));
            let named = |peer: &Multiaddr| peer.to_string().ends_with(&peer_id(&keys).to_string());
            assert!(!config.network.peers.iter().any(named), "a node is not its own peer");
            ids.push(peer_id(&keys));
        }
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 4);
        let again = Devnet::create(folder.path(), 4).unwrap_err();
        assert_eq!(again.code(), "exists");
        assert_eq!(Devnet::open(folder.path()).unwrap().len(), 4);
    }

    #[test]
    fn a_devnet_has_one_to_sixteen_nodes() {
        let folder = tempfile::tempdir().unwrap();
        for wrong in [0, MAX_NODES + 1] {
            assert_eq!(Devnet::create(folder.path(), wrong).unwrap_err().code(), "count");
        }
        assert_eq!(Devnet::open(folder.path()).unwrap_err().code(), "nodevnet");
    }
}
