//! A node's configuration: one TOML file, `tributary.toml` in the node's home.
//!
//! - Order: defaults, then the file, then `TRIBUTARY_…` variables, then flags. Each later one wins, key by key.
//! - Every key stands in `SETTINGS` with what it means, and in two flat matches: `Config::set` reads it,
//!   `Config::show` writes it. There is nothing else to know about a key.
//! - The variable of `api.listen` is `TRIBUTARY_API_LISTEN`; its flag is `--set api.listen=…`. There, a list may
//!   be separated by commas alone.
//! - An unknown key is refused with its place and the nearest right one; a wrong value with its place and what is
//!   allowed.
//! - Paths are relative to the home.

mod value;

use crate::trust::{Checkpoint, DEFAULT_TRUST_DAYS};
use libp2p::Multiaddr;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue};
use value::{Raw, is_log_filter};

/// The file's name in the home.
pub const CONFIG_FILE: &str = "tributary.toml";
/// What the names of our variables begin with.
const ENV_PREFIX: &str = "TRIBUTARY_";
/// Bytes of a configuration file that are read.
const MAX_CONFIG_BYTES: u64 = 1024 * 1024;
/// Where the API listens unless told otherwise.
pub const DEFAULT_API: &str = "127.0.0.1:7370";
/// The agreement's library tells of every vote; whoever wants that sets another level.
pub const DEFAULT_LOG_LEVEL: &str = "info,arc_malachitebft=warn";
/// Bytes of other people's data that this node keeps: at least one largest document.
const BLOB_QUOTA_BYTES: RangeInclusive<u64> = protocol::limits::MAX_DOCUMENT_BYTES..=1 << 50;

/// Numbers of epochs: more than a network has in a human life.
const EPOCHS: RangeInclusive<u64> = 0..=1 << 40;

/// One key: its name, and what a person must know to set it.
struct Setting {
    key: &'static str,
    help: &'static str,
}

const fn setting(key: &'static str, help: &'static str) -> Setting {
    Setting { key, help }
}

/// Every key, in the file's order. Keys of a section stand together.
const SETTINGS: [Setting; 18] = [
    setting("node.genesis", "File with the network's genesis."),
    setting("node.key", "File with the node's own key: its name among peers. It holds no money and no votes."),
    setting("node.validator_key", "File with the key that votes, if the network counts it among its validators."),
    setting(
        "node.record",
        "File that every input of the node is written to, so that a run can be replayed. Grows without bound.",
    ),
    setting("network.listen", "Addresses (libp2p multiaddrs) to listen on. Port 0 takes any free one."),
    setting("network.peers", "Addresses of peers to stay connected with; each should end in /p2p/<its peer id>."),
    setting(
        "network.external",
        "Addresses under which others reach this node, where they differ from those it listens on.",
    ),
    setting("network.mdns", "Find peers in the local network by multicast DNS."),
    setting(
        "api.listen",
        "Address and port of the HTTP API and the metrics. There is no password: keep it on loopback.",
    ),
    setting("storage.path", "Folder of the database and the blobs."),
    setting("storage.blob_quota_bytes", "Bytes of documents that are kept at most."),
    setting(
        "storage.snapshot_interval",
        "Epochs between two snapshots of the state, which new nodes start from. 0 makes none, and prunes nothing.",
    ),
    setting("storage.archive", "Keep every block for ever. Otherwise old ones go once a snapshot covers them."),
    setting("storage.keep_epochs", "Epochs whose blocks are kept at least, where not all are."),
    setting(
        "sync.trust",
        "A block (HEIGHT:HASH) from somebody you believe: an empty node takes over a state from there on.",
    ),
    setting("sync.trust_days", "Days for which that block may be trusted: fewer than validators' stake stays bound."),
    setting("log.level", "off, error, warn, info, debug or trace; or by target, such as \"info,libp2p=warn\"."),
    setting("log.format", "\"text\" for people, \"json\" for programs: one object on each line."),
];

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object on each line.
    Json,
}

/// A node's configuration. Every field is a key of the file; see [`Config::to_toml`] for what each means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The node's folder. Not a key: it is where the file lies.
    pub home: PathBuf,
    /// `node.…`
    pub node: NodeConfig,
    /// `network.…`
    pub network: NetworkConfig,
    /// `api.…`
    pub api: ApiConfig,
    /// `storage.…`
    pub storage: StorageConfig,
    /// `sync.…`
    pub sync: SyncConfig,
    /// `log.…`
    pub log: LogConfig,
}

/// What the node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeConfig {
    /// The genesis file.
    pub genesis: PathBuf,
    /// The node key's file.
    pub key: PathBuf,
    /// The validator key's file.
    pub validator_key: PathBuf,
    /// The input log, if one is written.
    pub record: Option<PathBuf>,
}

/// Whom it speaks with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkConfig {
    /// Where it listens.
    pub listen: Vec<Multiaddr>,
    /// Whom it stays connected with.
    pub peers: Vec<Multiaddr>,
    /// Where others reach it, beside that.
    pub external: Vec<Multiaddr>,
    /// Does it look for peers in the local network?
    pub mdns: bool,
}

/// How people and programs reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiConfig {
    /// Where it listens.
    pub listen: SocketAddr,
}

/// What it keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageConfig {
    /// The folder.
    pub path: PathBuf,
    /// Bytes of documents at most.
    pub blob_quota_bytes: u64,
    /// Epochs between two snapshots; 0 makes none.
    pub snapshot_interval: u64,
    /// Is every block kept?
    pub archive: bool,
    /// Epochs whose blocks are kept, where not all are.
    pub keep_epochs: u64,
}

/// How it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncConfig {
    /// The block that is trusted besides the genesis.
    pub trust: Option<Checkpoint>,
    /// Days for which it is.
    pub trust_days: u64,
}

/// What it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// Which lines.
    pub level: String,
    /// In which form.
    pub format: LogFormat,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A line of the file.
    File(PathBuf, usize),
    /// A variable.
    Env(String),
    /// `--set`, or a flag of its own.
    Flag,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, line) => write!(f, "{} line {line}", path.display()),
            Self::Env(name) => write!(f, "the variable {name}"),
            Self::Flag => f.write_str("the command line"),
        }
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No node lives here.
    #[error("there is no node in {}: {CONFIG_FILE} is not there", home.display())]
    Missing {
        /// Where.
        home: PathBuf,
    },
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is no TOML.
    #[error("{place} is no TOML: {reason}")]
    Syntax {
        /// Where.
        place: Place,
        /// What is wrong.
        reason: String,
    },
    /// A key that does not exist.
    #[error("there is no key `{key}` ({place}){}", nearest.as_ref().map(|key| format!("; did you mean `{key}`?")).unwrap_or_default())]
    UnknownKey {
        /// As given.
        key: String,
        /// Where.
        place: Place,
        /// The most similar key there is.
        nearest: Option<&'static str>,
    },
    /// A value that the key does not take.
    #[error("`{key}` ({place}) must be {allowed}, not {got}")]
    Value {
        /// Which key.
        key: &'static str,
        /// Where.
        place: Place,
        /// What it may be.
        allowed: String,
        /// What it is.
        got: String,
    },
    /// `--set` without a key or a value.
    #[error("--set takes KEY=VALUE, not {given:?}")]
    Flag {
        /// As given.
        given: String,
    },
}

impl ConfigError {
    /// One word.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "nonode",
            Self::Read { .. } | Self::Syntax { .. } | Self::Flag { .. } => "config",
            Self::UnknownKey { .. } => "key",
            Self::Value { .. } => "value",
        }
    }

    /// What to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { home } if crate::devnet::exists(home) => {
                Some(format!("it is a devnet's folder: tributary devnet up --dir {}", home.display()))
            }
            Self::Missing { home } => {
                Some(format!("tributary init --home {} --network NAME (or --genesis FILE)", home.display()))
            }
            Self::UnknownKey { nearest: None, .. } => {
                let keys: Vec<&str> = SETTINGS.iter().map(|setting| setting.key).collect();
                Some(format!("the keys are {}", keys.join(", ")))
            }
            _ => None,
        }
    }
}

impl Config {
    /// What a node in `home` does when nothing is configured.
    pub fn new(home: impl Into<PathBuf>) -> Self {
        let any = |transport: &str| {
            let address = format!("/ip4/0.0.0.0/{transport}");
            address.parse().into_iter()
        };
        Self {
            home: home.into(),
            node: NodeConfig {
                genesis: "genesis.json".into(),
                key: "node.key".into(),
                validator_key: "validator.key".into(),
                record: None,
            },
            network: NetworkConfig {
                listen: any("udp/7371/quic-v1").chain(any("tcp/7371")).collect(),
                peers: Vec::new(),
                external: Vec::new(),
                mdns: false,
            },
            api: ApiConfig { listen: SocketAddr::from(([127, 0, 0, 1], 7370)) },
            storage: StorageConfig {
                path: "data".into(),
                blob_quota_bytes: 10 << 30,
                snapshot_interval: 1_000,
                archive: true,
                keep_epochs: 10_000,
            },
            sync: SyncConfig { trust: None, trust_days: DEFAULT_TRUST_DAYS },
            log: LogConfig { level: DEFAULT_LOG_LEVEL.to_owned(), format: LogFormat::Text },
        }
    }

    /// The configuration of the node in `home`, its paths seen from there, with the variables `env` and the flags `flags` (`key=value`).
    pub fn load(
        home: &Path,
        env: impl IntoIterator<Item = (String, String)>,
        flags: &[String],
    ) -> Result<Self, ConfigError> {
        let path = home.join(CONFIG_FILE);
        let text = match crate::files::read_text(&path, MAX_CONFIG_BYTES) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(ConfigError::Missing { home: home.to_owned() });
            }
            Err(source) => return Err(ConfigError::Read { path, source }),
        };
        let mut config = Self::new(home);
        config.apply_file(&path, &text)?;
        config.apply_env(env)?;
        for flag in flags {
            let (key, value) = flag.split_once('=').ok_or_else(|| ConfigError::Flag { given: flag.clone() })?;
            config.apply(key.trim(), &Raw::Loose(value.to_owned()), Place::Flag)?;
        }
        Ok(config.resolved())
    }

    fn apply_file(&mut self, path: &Path, text: &str) -> Result<(), ConfigError> {
        let line_of = |at: usize| text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1;
        let place = |at: usize| Place::File(path.to_owned(), line_of(at));
        let table = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
            place: place(error.span().map_or(0, |span| span.start)),
            reason: error.message().to_owned(),
        })?;
        for (section, value) in table.get_ref() {
            let DeValue::Table(keys) = value.get_ref() else {
                return Err(unknown(section.get_ref(), place(section.span().start)));
            };
            if keys.is_empty() && !SETTINGS.iter().any(|setting| in_section(setting.key, section.get_ref())) {
                return Err(unknown(section.get_ref(), place(section.span().start)));
            }
            for (key, value) in keys {
                let name = format!("{}.{}", section.get_ref(), key.get_ref());
                self.apply(&name, &Raw::from(value.get_ref()), place(key.span().start))?;
            }
        }
        Ok(())
    }

    fn apply_env(&mut self, env: impl IntoIterator<Item = (String, String)>) -> Result<(), ConfigError> {
        // In a defined order, so that of two errors always the same is told.
        let variables: BTreeMap<String, String> =
            env.into_iter().filter(|(name, _)| is_setting_variable(name)).collect();
        for (name, value) in variables {
            let place = Place::Env(name.clone());
            match SETTINGS.iter().find(|setting| variable(setting.key) == name) {
                Some(setting) => self.apply(setting.key, &Raw::Loose(value), place)?,
                None => {
                    let key = name[ENV_PREFIX.len()..].to_ascii_lowercase().replacen('_', ".", 1);
                    return Err(unknown(&key, place));
                }
            }
        }
        Ok(())
    }

    fn apply(&mut self, key: &str, value: &Raw, place: Place) -> Result<(), ConfigError> {
        let Some(setting) = SETTINGS.iter().find(|setting| setting.key == key) else {
            return Err(unknown(key, place));
        };
        let wrong = |allowed| ConfigError::Value { key: setting.key, place, allowed, got: value.to_string() };
        self.set(setting.key, value).map_err(wrong)
    }

    /// Sets one key; the error says what is allowed.
    fn set(&mut self, key: &str, value: &Raw) -> Result<(), String> {
        match key {
            "node.genesis" => self.node.genesis = value.path()?,
            "node.key" => self.node.key = value.path()?,
            "node.validator_key" => self.node.validator_key = value.path()?,
            "node.record" => self.node.record = Some(value.path()?),
            "network.listen" => self.network.listen = value.addresses()?,
            "network.peers" => self.network.peers = value.addresses()?,
            "network.external" => self.network.external = value.addresses()?,
            "network.mdns" => self.network.mdns = value.flag()?,
            "api.listen" => {
                let address = value.text("an address with a port, such as \"127.0.0.1:7370\"")?;
                self.api.listen = address.map(|text| text.parse().ok())?;
            }
            "storage.path" => self.storage.path = value.path()?,
            "storage.blob_quota_bytes" => self.storage.blob_quota_bytes = value.number(BLOB_QUOTA_BYTES)?,
            "storage.snapshot_interval" => self.storage.snapshot_interval = value.number(EPOCHS)?,
            "storage.archive" => self.storage.archive = value.flag()?,
            "storage.keep_epochs" => self.storage.keep_epochs = value.number(EPOCHS)?,
            "sync.trust" => {
                let trust = value.text("HEIGHT:HASH, a height and its block's id")?;
                self.sync.trust = Some(trust.map(|text| text.parse().ok())?);
            }
            "sync.trust_days" => self.sync.trust_days = value.number(1..=3_650)?,
            "log.level" => {
                let level = value.text("a level (off, error, warn, info, debug, trace), or levels by target")?;
                self.log.level = level.map(|text| is_log_filter(text).then(|| text.to_owned()))?;
            }
            "log.format" => {
                self.log.format = value.text("\"text\" or \"json\"")?.map(|text| match text {
                    "text" => Some(LogFormat::Text),
                    "json" => Some(LogFormat::Json),
                    _ => None,
                })?;
            }
            _ => return Err("a known key".to_owned()),
        }
        Ok(())
    }

    /// A key's value as TOML; `None` if it has none.
    fn show(&self, key: &str) -> Option<String> {
        let path = |path: &Path| quoted(&path.to_string_lossy());
        Some(match key {
            "node.genesis" => path(&self.node.genesis),
            "node.key" => path(&self.node.key),
            "node.validator_key" => path(&self.node.validator_key),
            "node.record" => path(self.node.record.as_ref()?),
            "network.listen" => list(&self.network.listen),
            "network.peers" => list(&self.network.peers),
            "network.external" => list(&self.network.external),
            "network.mdns" => self.network.mdns.to_string(),
            "api.listen" => quoted(&self.api.listen.to_string()),
            "storage.path" => path(&self.storage.path),
            "storage.blob_quota_bytes" => self.storage.blob_quota_bytes.to_string(),
            "storage.snapshot_interval" => self.storage.snapshot_interval.to_string(),
            "storage.archive" => self.storage.archive.to_string(),
            "storage.keep_epochs" => self.storage.keep_epochs.to_string(),
            "sync.trust" => quoted(&self.sync.trust?.to_string()),
            "sync.trust_days" => self.sync.trust_days.to_string(),
            "log.level" => quoted(&self.log.level),
            "log.format" => quoted(match self.log.format {
                LogFormat::Text => "text",
                LogFormat::Json => "json",
            }),
            _ => return None,
        })
    }

    /// The file: every key explained; those that differ from the default set, the others commented out.
    pub fn to_toml(&self) -> String {
        let default = Self::new(&self.home);
        let mut text = String::from(
            "# A Tributary node's configuration. A line without # overrides the default.\n\
             # Paths are relative to this folder. Any key may also be given as a variable (TRIBUTARY_API_LISTEN)\n\
             # or a flag (--set api.listen=…), which win over this file.\n",
        );
        let mut section = "";
        for setting in &SETTINGS {
            let (head, name) = setting.key.split_once('.').unwrap_or(("", setting.key));
            if head != section {
                section = head;
                text.push_str(&format!("\n[{section}]\n"));
            }
            text.push_str(&format!("# {}\n", setting.help));
            match (self.show(setting.key), default.show(setting.key)) {
                (Some(value), shown) if shown.as_ref() != Some(&value) => {
                    let was = shown.map(|shown| format!("# default: {shown}\n")).unwrap_or_default();
                    text.push_str(&format!("{was}{name} = {value}\n"));
                }
                (_, Some(shown)) => text.push_str(&format!("# {name} = {shown}\n")),
                (_, None) => {
                    let form = if setting.key == "sync.trust" { "HEIGHT:HASH" } else { "FILE" };
                    text.push_str(&format!("# default: none\n# {name} = \"{form}\"\n"));
                }
            }
        }
        text
    }

    /// The same with every path seen from the home.
    fn resolved(mut self) -> Self {
        let home = std::mem::take(&mut self.home);
        let paths = [&mut self.node.genesis, &mut self.node.key, &mut self.node.validator_key, &mut self.storage.path];
        for path in paths.into_iter().chain(&mut self.node.record) {
            *path = home.join(&*path);
        }
        self.home = home;
        self
    }

    /// Where a client on this machine finds the API.
    pub fn api_url(&self) -> String {
        let mut address = self.api.listen;
        if address.ip().is_unspecified() {
            let loopback: std::net::IpAddr = match address {
                SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            };
            address.set_ip(loopback);
        }
        format!("http://{address}")
    }
}

/// Is this the name of a variable that sets a key, or that was meant to?
pub fn is_setting_variable(name: &str) -> bool {
    let Some(rest) = name.strip_prefix(ENV_PREFIX) else { return false };
    let section = rest.split('_').next().unwrap_or_default().to_ascii_lowercase();
    rest.contains('_') && SETTINGS.iter().any(|setting| in_section(setting.key, &section))
}

fn variable(key: &str) -> String {
    format!("{ENV_PREFIX}{}", key.replace('.', "_").to_ascii_uppercase())
}

fn in_section(key: &str, section: &str) -> bool {
    key.strip_prefix(section).is_some_and(|rest| rest.starts_with('.'))
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn list(addresses: &[Multiaddr]) -> String {
    let items: Vec<String> = addresses.iter().map(|address| quoted(&address.to_string())).collect();
    format!("[{}]", items.join(", "))
}

fn unknown(key: &str, place: Place) -> ConfigError {
    ConfigError::UnknownKey { key: key.to_owned(), place, nearest: nearest(key) }
}

/// The key that a person most likely meant: the same name in another section, else the fewest slips away.
fn nearest(key: &str) -> Option<&'static str> {
    let name = key.rsplit('.').next().unwrap_or(key);
    let mut same_name = SETTINGS.iter().filter(|setting| setting.key.ends_with(&format!(".{name}")));
    if let (Some(only), None) = (same_name.next(), same_name.next()) {
        return Some(only.key);
    }
    let closest = SETTINGS.iter().min_by_key(|setting| distance(key, setting.key))?;
    let tolerated = (key.chars().count() / 3).max(2);
    (distance(key, closest.key) <= tolerated).then_some(closest.key)
}

/// Insertions, deletions, replacements and swaps of neighbours that lead from `a` to `b`.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_read_and_written_by_the_two_matches() {
        let mut config = Config::new("/home");
        config.node.record = Some("inputs.log".into());
        config.sync.trust = Some(format!("7:{}", "ab".repeat(32)).parse().unwrap());
        for setting in &SETTINGS {
            let shown = config.show(setting.key).unwrap_or_else(|| panic!("{} is not shown", setting.key));
            let text = format!("value = {shown}");
            let table = DeTable::parse(&text).unwrap();
            let mut other = config.clone();
            other.set(setting.key, &Raw::from(table.get_ref()["value"].get_ref())).unwrap();
            assert_eq!(other, config, "{}", setting.key);
        }
    }

    #[test]
    fn the_default_of_the_api_is_the_documented_one() {
        assert_eq!(Config::new("/home").api.listen.to_string(), DEFAULT_API);
        assert_eq!(Config::new("/home").network.listen.len(), 2);
    }

    #[test]
    fn distances_count_slips() {
        for (a, b, slips) in [("", "", 0), ("", "abc", 3), ("mdns", "mnds", 1), ("listen", "lisen", 1), ("ab", "ba", 1)]
        {
            assert_eq!(distance(a, b), slips, "{a} {b}");
            assert_eq!(distance(b, a), slips, "{b} {a}");
        }
    }

    #[test]
    fn the_nearest_key_is_the_one_meant() {
        let cases = [
            ("network.lisen", Some("network.listen")),
            ("netwrok.peers", Some("network.peers")),
            ("api.mdns", Some("network.mdns")),
            ("mdns", Some("network.mdns")),
            ("storage.blob_quota", Some("storage.blob_quota_bytes")),
            ("colour.of.the.sky", None),
        ];
        for (given, meant) in cases {
            assert_eq!(nearest(given), meant, "{given}");
        }
    }
}
