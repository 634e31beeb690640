//! The last thing signed, once more, in a small file beside the database.
//!
//! A validator that signs twice in one place loses its stake, and the database alone cannot prevent it: it may be
//! deleted, restored from a backup, or lose the end of its log to a bad disk, and never know. So each record is written
//! here as well, synced and moved into place, before the signature leaves. The file says nothing of what else was lost.
//! Where it is gone together with the database, the node keeps silent until it cannot contradict itself any more
//! (docs/adr/0017). What nothing notices is an old copy of both: never start from one.
//!
//! Bytes: magic ‖ genesis hash ‖ length of the record (u32, little-endian) ‖ record ‖ checksum of all before it.

use crate::error::StoreError;
use crate::rocks::{parent_and_name, sync_folder};
use protocol::ids::Hash32;
use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 16] = b"tributary signed";
const CHECKSUM_CONTEXT: &str = "tributary v1 signature witness";
const CHECKSUM_BYTES: usize = 32;
/// Bytes before the record.
const HEAD_BYTES: usize = MAGIC.len() + 32 + 4;
/// Bytes of a record; it holds one signature.
const MAX_RECORD_BYTES: usize = 4096;

/// The file of one database.
pub(crate) struct Witness {
    path: PathBuf,
    genesis: Hash32,
}

impl Witness {
    /// The witness of the database at this path.
    pub(crate) fn beside(database: &Path, genesis: Hash32) -> Self {
        let mut path = database.as_os_str().to_owned();
        path.push(".witness");
        Self { path: path.into(), genesis }
    }

    /// What it saw last; none when there is no such file.
    ///
    /// # Errors
    /// It is damaged, or of another network. Nothing may be signed then.
    pub(crate) fn read(&self) -> Result<Option<Vec<u8>>, StoreError> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::io("read", &self.path)(error)),
        };
        let mut bytes = Vec::new();
        let most = HEAD_BYTES + MAX_RECORD_BYTES + CHECKSUM_BYTES;
        // One byte more than there may be, to see that there is more.
        file.take(most as u64 + 1).read_to_end(&mut bytes).map_err(StoreError::io("read", &self.path))?;
        self.open(&bytes).map(Some).map_err(|reason| StoreError::Witness { path: self.path.clone(), reason })
    }

    /// Makes it say this. When this returns it survives a power cut; until then it says what it said before.
    pub(crate) fn write(&self, record: &[u8]) -> Result<(), StoreError> {
        if record.len() > MAX_RECORD_BYTES {
            let reason = format!("cannot hold a record of {} bytes", record.len());
            return Err(StoreError::Witness { path: self.path.clone(), reason });
        }
        let (parent, name) = parent_and_name(&self.path)?;
        let new = parent.join(format!("{name}.new"));
        let mut file = File::create(&new).map_err(StoreError::io("create", &new))?;
        file.write_all(&self.seal(record)).map_err(StoreError::io("write", &new))?;
        file.sync_all().map_err(StoreError::io("sync", &new))?;
        fs::rename(&new, &self.path).map_err(StoreError::io("replace", &self.path))?;
        sync_folder(&parent)
    }

    fn seal(&self, record: &[u8]) -> Vec<u8> {
        let length = u32::try_from(record.len()).unwrap_or(u32::MAX).to_le_bytes();
        let mut bytes = [MAGIC.as_slice(), &self.genesis.0, &length, record].concat();
        bytes.extend(checksum(&bytes));
        bytes
    }

    fn open(&self, bytes: &[u8]) -> Result<Vec<u8>, String> {
        let damaged = || "is damaged".to_owned();
        let end = bytes.len().checked_sub(CHECKSUM_BYTES).filter(|end| *end >= HEAD_BYTES).ok_or_else(damaged)?;
        let (sealed, sum) = bytes.split_at(end);
        if sum != checksum(sealed) || !sealed.starts_with(MAGIC) {
            return Err(damaged());
        }
        if sealed[MAGIC.len()..][..32] != self.genesis.0 {
            return Err("is of another network".to_owned());
        }
        let record = &sealed[HEAD_BYTES..];
        let length = sealed[HEAD_BYTES - 4..HEAD_BYTES].try_into().map(u32::from_le_bytes).map_err(|_| damaged())?;
        if usize::try_from(length) != Ok(record.len()) {
            return Err(damaged());
        }
        Ok(record.to_vec())
    }
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    blake3::derive_key(CHECKSUM_CONTEXT, bytes)
}
