//! What can go wrong with the database, told so that its owner knows what to do.

use crate::schema::{Family, Origin};
use protocol::tree::TreeError;
use std::io;
use std::path::{Path, PathBuf};

/// Why the database cannot be opened, read or written.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence on each variant is its documentation, and names its fields")]
pub enum StoreError {
    #[error("there is no database at {}; check the path, or create one with `tributary init`", path.display())]
    Missing { path: PathBuf },
    #[error("there is already something at {}; choose another path, or open what is there", path.display())]
    Exists { path: PathBuf },
    #[error("{} is not a Tributary database: {reason}; check the path", path.display())]
    Foreign { path: PathBuf, reason: String },
    #[error(
        "the database belongs to network `{}` with genesis {}, not to `{}` with genesis {}; \
         check the path and the genesis file",
        found.network, found.genesis, expected.network, expected.genesis
    )]
    OtherNetwork { expected: Origin, found: Origin },
    #[error(
        "the database has schema {found} and this program knows up to {known}; \
         run the newer version of Tributary that wrote it"
    )]
    Newer { found: u32, known: u32 },
    #[error(
        "the database has schema {found}, which this program reads no longer (it reads {known}); \
         begin again from peers with an empty database, or run the older version of Tributary"
    )]
    Older { found: u32, known: u32 },
    #[error(
        "{record} in {family} has version {found} and this program knows up to {known}; \
         run the newer version of Tributary that wrote it"
    )]
    NewerRow { family: &'static str, record: String, found: u8, known: u8 },
    #[error(
        "{record} in {family} is damaged: {reason}; move the database's folder away, but leave the file `.witness` \
         beside it, and start again: all comes back from peers, and a validator keeps silent until it cannot sign twice"
    )]
    Damaged { family: &'static str, record: String, reason: String },
    #[error(
        "the database at {} is damaged: {reason}; move that folder away, but leave the file `.witness` beside it, and \
         start again: all comes back from peers, and a validator keeps silent until it cannot sign twice", path.display()
    )]
    DamagedFiles { path: PathBuf, reason: String },
    #[error("another process uses the database at {}; is this node already running?", path.display())]
    Locked { path: PathBuf },
    #[error("the disk that holds {} is full; nothing of the last write was kept; make room and start again", path.display())]
    Full { path: PathBuf },
    #[error("epoch {got} cannot be committed after epoch {committed}")]
    Height { committed: u64, got: u64 },
    #[error(
        "the witness of this validator's last signature at {} {reason}; without it a validator could sign twice and \
         lose its stake: restore that file, or start with a new validator key and the file moved away", path.display()
    )]
    Witness { path: PathBuf, reason: String },
    #[error("the snapshot in {} cannot be used: {reason}", path.display())]
    Snapshot { path: PathBuf, reason: String },
    #[error("cannot {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("the database at {} failed: {reason}", path.display())]
    Database { path: PathBuf, reason: String },
}

impl StoreError {
    /// One word.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "missing",
            Self::Exists { .. } => "exists",
            Self::Foreign { .. } => "foreign",
            Self::OtherNetwork { .. } => "othernetwork",
            Self::Newer { .. } | Self::NewerRow { .. } => "newer",
            Self::Older { .. } => "older",
            Self::Damaged { .. } | Self::DamagedFiles { .. } => "damaged",
            Self::Locked { .. } => "locked",
            Self::Full { .. } => "full",
            Self::Height { .. } => "height",
            Self::Witness { .. } => "witness",
            Self::Snapshot { .. } => "snapshot",
            Self::Io { .. } => "file",
            Self::Database { .. } => "database",
        }
    }

    pub(crate) fn damaged(family: Family, key: &[u8], reason: impl Into<String>) -> Self {
        Self::Damaged { family: family.as_str(), record: family.describe(key), reason: reason.into() }
    }

    pub(crate) fn tree(error: &TreeError) -> Self {
        let record = "the Merkle tree".to_owned();
        Self::Damaged { family: Family::Tree.as_str(), record, reason: error.to_string() }
    }

    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| match source.kind() {
            io::ErrorKind::StorageFull => Self::Full { path: path.to_owned() },
            _ => Self::Io { action, path: path.to_owned(), source },
        }
    }

    /// RocksDB tells its errors in words alone; `text` is what it says.
    pub(crate) fn of_rocksdb(path: &Path, text: &str) -> Self {
        let path = path.to_owned();
        let reason = text.to_owned();
        let locked = ["IO error: While lock file", "IO error: lock hold by current process"];
        if locked.iter().any(|start| text.starts_with(start)) {
            Self::Locked { path }
        } else if text.contains("No space left on device") {
            Self::Full { path }
        } else if text.starts_with("Corruption") || text.contains("No such file or directory") {
            Self::DamagedFiles { path, reason }
        } else {
            Self::Database { path, reason }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_rocksdb_become_errors_with_advice() {
        let told = |text| StoreError::of_rocksdb(Path::new("/data/lock/db"), text);
        let locked = "IO error: While lock file: /data/lock/db/LOCK: Resource temporarily unavailable";
        assert!(matches!(told(locked), StoreError::Locked { .. }));
        let own =
            "IO error: lock hold by current process, acquire time 1 acquiring thread 2: /d/LOCK: No locks available";
        assert!(matches!(told(own), StoreError::Locked { .. }));
        let full = "IO error: No space left on device: While appending to file: /data/lock/db/000004.log: No space";
        assert!(matches!(told(full), StoreError::Full { .. }));
        let damaged = "Corruption: block checksum mismatch: stored = 1, computed = 2 in /data/lock/db/000008.sst";
        assert!(matches!(told(damaged), StoreError::DamagedFiles { .. }));
        let lost = "IO error: No such file or directory: While opening a file for sequentially reading: /d/MANIFEST-1";
        assert!(matches!(told(lost), StoreError::DamagedFiles { .. }));
        assert!(matches!(told("IO error: While open a file: /data/lock"), StoreError::Database { .. }));
    }
}
