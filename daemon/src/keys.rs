//! Keys, and the files that hold them.
//!
//! Three kinds, never the same: the **node key** is a name among peers, the **validator key** votes, an **account
//! key** owns credits and data. Each is a file of its own:
//!
//! ```text
//! # tributary account key alice
//! # trib1…
//! <the 32-byte seed as 64 hex digits>
//! ```
//!
//! Lines that start with `#` are for people. A file is created with mode 0600, whole or not at all, and never
//! overwritten; one that others may read is refused.
//!
//! [`dev_seed`] makes keys of a devnet from their names. Anyone can make the same ones.

use crate::config::Config;
use crate::files;
use libp2p::PeerId;
use libp2p::identity::Keypair;
use protocol::crypto::SecretKey;
use protocol::ids::{Account, Hash32};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The folder of account keys in a home.
pub const KEYSTORE_DIR: &str = "keys";
/// What a key's file name ends in.
const EXTENSION: &str = "key";
/// Bytes of a key file that are read.
const MAX_KEY_FILE_BYTES: u64 = 4096;
/// Bytes of a key's name.
const MAX_KEY_NAME_BYTES: usize = 64;
/// Access rights of a key file: its owner, nobody else.
const KEY_MODE: u32 = 0o600;

/// The 32 bytes that a key is made of. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Seed([u8; 32]);

impl std::fmt::Debug for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seed(…)")
    }
}

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// A name among peers.
    Node,
    /// Votes.
    Validator,
    /// Owns credits and data.
    Account,
}

impl KeyKind {
    /// One word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Validator => "validator",
            Self::Account => "account",
        }
    }
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The system gives no random bytes.
    #[error("the system gives no random bytes: {reason}")]
    Random {
        /// Why.
        reason: String,
    },
    /// A name that cannot name a file.
    #[error(
        "a key's name is 1 to {MAX_KEY_NAME_BYTES} lower-case letters, digits, dashes or underscores, not {name:?}"
    )]
    Name {
        /// As given.
        name: String,
    },
    /// No such key.
    #[error("there is no key {}", path.display())]
    Missing {
        /// Where it would be.
        path: PathBuf,
    },
    /// A key is never overwritten.
    #[error("{} exists already, and a key is never overwritten", path.display())]
    Exists {
        /// Where it is.
        path: PathBuf,
    },
    /// Others may read it.
    #[error("{} may be read by others (mode {mode:04o})", path.display())]
    Exposed {
        /// Where it is.
        path: PathBuf,
        /// Its access rights.
        mode: u32,
    },
    /// It holds no key.
    #[error("{} holds no key: beside comments there must be exactly one line, of 64 lower-case hex digits", path.display())]
    Malformed {
        /// Where it is.
        path: PathBuf,
    },
    /// Two keys of different kinds are the same.
    #[error("{} and {} hold the same key; a node's name and its votes need different ones", node.display(), validator.display())]
    Same {
        /// The node key's file.
        node: PathBuf,
        /// The validator key's file.
        validator: PathBuf,
    },
    /// The file cannot be read or written.
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
}

impl KeyError {
    /// One word.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Random { .. } => "random",
            Self::Name { .. } => "name",
            Self::Missing { .. } => "nokey",
            Self::Exists { .. } => "exists",
            Self::Exposed { .. } => "exposed",
            Self::Malformed { .. } => "malformed",
            Self::Same { .. } => "samekey",
            Self::Io { .. } => "file",
        }
    }

    /// What to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Exposed { path, .. } => {
                Some(format!("chmod 600 {}; and if others may have read it, use a new key", path.display()))
            }
            Self::Missing { .. } => {
                Some("`tributary keys list` names those there are, `tributary keys new NAME` makes one".to_owned())
            }
            Self::Exists { .. } => Some("choose another name, or move the file away".to_owned()),
            _ => None,
        }
    }
}

impl Seed {
    /// A new one, from the system's random bytes.
    pub fn random() -> Result<Self, KeyError> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|error| KeyError::Random { reason: error.to_string() })?;
        Ok(Self(bytes))
    }

    /// The seed that `text` spells, between comments; `None` if there is not exactly one.
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let (line, end) = (lines.next()?, lines.next());
        let bytes = line.parse::<Hash32>().ok()?;
        end.is_none().then_some(Self(bytes.0))
    }

    /// The key that signs for an account or a validator.
    pub fn secret_key(&self) -> SecretKey {
        SecretKey::from_seed(self.0)
    }

    /// The key that names a node among its peers.
    pub fn node_keypair(&self) -> Keypair {
        let mut bytes = self.0;
        // Any 32 bytes are an ed25519 seed, so there is nothing that this could refuse.
        #[expect(clippy::expect_used, reason = "the length is fixed")]
        Keypair::ed25519_from_bytes(&mut bytes).expect("32 bytes are a seed")
    }

    /// Its public side, as people see it.
    pub fn public(&self, kind: KeyKind) -> String {
        match kind {
            KeyKind::Node => PeerId::from(self.node_keypair().public()).to_string(),
            KeyKind::Validator | KeyKind::Account => self.secret_key().account().to_string(),
        }
    }

    /// Reads a key's file, which nobody else may read.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => KeyError::Missing { path: path.to_owned() },
            io::ErrorKind::InvalidData => KeyError::Malformed { path: path.to_owned() },
            _ => KeyError::Io { action: "read", path: path.to_owned(), source },
        };
        let mode = std::fs::metadata(path).map_err(failed)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyError::Exposed { path: path.to_owned(), mode });
        }
        let text = files::read_text(path, MAX_KEY_FILE_BYTES).map_err(failed)?;
        // A folder that cannot be tidied, as it is read-only, holds keys as good as any.
        let _ = files::sweep(path);
        Self::parse(&text).ok_or_else(|| KeyError::Malformed { path: path.to_owned() })
    }

    /// Writes a new key's file. `name` is for people.
    pub fn write_new(&self, path: &Path, kind: KeyKind, name: &str) -> Result<(), KeyError> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::AlreadyExists => KeyError::Exists { path: path.to_owned() },
            _ => KeyError::Io { action: "write", path: path.to_owned(), source },
        };
        if let Some(folder) = path.parent() {
            storage::create_folder(folder).map_err(failed)?;
        }
        let public = self.public(kind);
        let seed = Hash32(self.0);
        let gap = if name.is_empty() { "" } else { " " };
        let text = format!("# tributary {} key{gap}{name}\n# {public}\n{seed}\n", kind.as_str());
        files::create_new(path, text.as_bytes(), KEY_MODE).map_err(failed)
    }
}

/// The seed of a devnet's key, made from the names of network and key. It is no secret.
pub fn dev_seed(network: &str, name: &str) -> Seed {
    let mut hasher = blake3::Hasher::new_derive_key("tributary v1 dev key");
    hasher.update(network.as_bytes()).update(&[0]).update(name.as_bytes());
    Seed(hasher.finalize().into())
}

/// The seeds of the keys that a running node holds. Never printed.
#[derive(Clone)]
pub struct NodeKeys {
    /// Its name among peers.
    pub node: [u8; 32],
    /// Its votes, if it is a validator.
    pub validator: [u8; 32],
}

impl std::fmt::Debug for NodeKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NodeKeys(…)")
    }
}

impl NodeKeys {
    /// The keys that the configuration names, which must be different ones.
    pub fn load(config: &Config) -> Result<Self, KeyError> {
        let (node, validator) = (&config.node.key, &config.node.validator_key);
        let keys = Self { node: Seed::read(node)?.0, validator: Seed::read(validator)?.0 };
        if keys.node == keys.validator {
            return Err(KeyError::Same { node: node.clone(), validator: validator.clone() });
        }
        Ok(keys)
    }
}

/// A folder of account keys, each in a file `NAME.key`.
#[derive(Clone, Debug)]
pub struct Keystore {
    folder: PathBuf,
}

impl Keystore {
    /// The keys of a home. The folder need not exist yet.
    pub fn in_home(home: &Path) -> Self {
        Self { folder: home.join(KEYSTORE_DIR) }
    }

    /// The file of the key `name`.
    pub fn path(&self, name: &str) -> Result<PathBuf, KeyError> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        if name.is_empty() || name.len() > MAX_KEY_NAME_BYTES || !name.chars().all(allowed) {
            return Err(KeyError::Name { name: name.to_owned() });
        }
        Ok(self.folder.join(format!("{name}.{EXTENSION}")))
    }

    /// Keeps a key under a new name.
    pub fn add(&self, name: &str, seed: &Seed) -> Result<PathBuf, KeyError> {
        let path = self.path(name)?;
        seed.write_new(&path, KeyKind::Account, name)?;
        Ok(path)
    }

    /// The key of this name.
    pub fn load(&self, name: &str) -> Result<SecretKey, KeyError> {
        Ok(Seed::read(&self.path(name)?)?.secret_key())
    }

    /// The names of all keys with their accounts, by name. One that cannot be read is an error: no key may silently
    /// be missing from the list.
    pub fn list(&self) -> Result<Vec<(String, Account)>, KeyError> {
        let failed = |source| KeyError::Io { action: "list", path: self.folder.clone(), source };
        let entries = match std::fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut keys = Vec::new();
        for entry in entries {
            let path = entry.map_err(failed)?.path();
            let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
            if path.extension().is_some_and(|extension| extension == EXTENSION) && !name.starts_with('.') {
                keys.push((name.to_owned(), self.load(name)?.account()));
            }
        }
        keys.sort();
        Ok(keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};

    #[test]
    fn a_key_reads_back_and_is_never_overwritten() {
        let home = tempfile::tempdir().unwrap();
        let store = Keystore::in_home(home.path());
        assert!(store.list().unwrap().is_empty());
        let seed = Seed::random().unwrap();
        let path = store.add("alice", &seed).unwrap();
        assert_eq!(Seed::read(&path).unwrap(), seed);
        assert_eq!(store.load("alice").unwrap().account(), seed.secret_key().account());
        let again = store.add("alice", &Seed::random().unwrap()).unwrap_err();
        assert_eq!(again.code(), "exists");
        assert_eq!(Seed::read(&path).unwrap(), seed);
        store.add("bob", &dev_seed("net", "bob")).unwrap();
        let names: Vec<String> = store.list().unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["alice", "bob"]);
        assert_eq!(store.load("carol").unwrap_err().code(), "nokey");
        for wrong in ["", "../alice", "Alice", "a b", "x".repeat(65).as_str()] {
            assert_eq!(store.load(wrong).unwrap_err().code(), "name", "{wrong:?}");
        }
    }

    #[test]
    fn a_key_that_others_may_read_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("node.key");
        Seed::random().unwrap().write_new(&path, KeyKind::Node, "").unwrap();
        for mode in [0o640, 0o604, 0o644, 0o610] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let error = Seed::read(&path).unwrap_err();
            assert_eq!(error.code(), "exposed", "{mode:o}");
            assert!(error.to_string().contains(&format!("{mode:04o}")), "{error}");
        }
        fs::set_permissions(&path, Permissions::from_mode(0o400)).unwrap();
        Seed::read(&path).unwrap();
    }

    #[test]
    fn only_one_seed_between_comments_is_a_key() {
        let hex = "ab".repeat(32);
        assert!(Seed::parse(&format!("# a comment\n\n{hex}\n")).is_some());
        for wrong in
            ["", "# only a comment\n", &hex[1..], &hex.to_uppercase(), &format!("{hex}\n{hex}\n"), &format!("{hex} x")]
        {
            assert!(Seed::parse(wrong).is_none(), "{wrong:?}");
        }
    }

    #[test]
    fn dev_keys_follow_from_their_names_alone() {
        assert_eq!(dev_seed("net", "alice"), dev_seed("net", "alice"));
        let others = [dev_seed("net", "bob"), dev_seed("other", "alice"), dev_seed("neta", "lice")];
        for other in others {
            assert_ne!(dev_seed("net", "alice"), other);
        }
    }

    #[test]
    fn a_seed_is_not_shown() {
        assert_eq!(format!("{:?}", dev_seed("net", "alice")), "Seed(…)");
    }
}
