//! The version file: which runs make up the store, and who is struck.
//!
//! It is replaced as a whole, so a crash leaves the old version or the new one. As bytes: magic, format as u32, then
//! as u64 the next number of a file, how many runs and how many orders there are, the numbers of the runs, the orders
//! of the struck contributions, ascending; then the BLAKE3 of all that.

use super::error::FileError;
use super::{FORMAT, MAX_RUNS, MAX_STRUCK};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::path::Path;

/// The name of the version file.
pub(super) const VERSION: &str = "version";
/// The name under which the next version is written.
pub(super) const NEXT_VERSION: &str = "version.new";

const MAGIC: &[u8; 8] = b"nearset\0";
const HASH_BYTES: usize = 32;
/// No store lives long enough to number so many files, and there is always a next number.
const MAX_NUMBER: u64 = u64::MAX / 2;
/// Bytes of the largest version file.
const MAX_VERSION_BYTES: usize = MAGIC.len() + size_of::<u32>() + (3 + MAX_RUNS + MAX_STRUCK) * 8 + HASH_BYTES;

/// One version of the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Version {
    /// No file with this number or above belongs to it.
    pub(super) next_number: u64,
    /// The numbers of the runs.
    pub(super) runs: Vec<u64>,
    /// Contributions that are struck, but not yet in the runs.
    pub(super) struck: BTreeSet<u64>,
}

impl Version {
    /// The version that a folder has; none when there is no version file.
    pub(super) fn read(folder: &Path) -> Result<Option<Self>, FileError> {
        let path = folder.join(VERSION);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(FileError::io("open", &path)(error)),
        };
        let mut bytes = Vec::new();
        file.take(MAX_VERSION_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(FileError::io("read", &path))?;
        let damaged = |reason| FileError::damaged(&path, 0, reason);
        let (format, rest) = bytes
            .strip_prefix(MAGIC)
            .and_then(|rest| rest.split_first_chunk())
            .ok_or_else(|| damaged("it is no version file"))?;
        let found = u32::from_le_bytes(*format);
        if found != FORMAT {
            return Err(FileError::Format { path, found, known: FORMAT });
        }
        Self::parse(&bytes, rest).map(Some).map_err(damaged)
    }

    /// `rest` is what comes behind the format.
    fn parse(bytes: &[u8], rest: &[u8]) -> Result<Self, &'static str> {
        let (numbers, hash) = rest.split_last_chunk::<HASH_BYTES>().ok_or("it ends too early")?;
        if version_hash(&bytes[..bytes.len() - HASH_BYTES]).as_bytes() != hash {
            return Err("its hash is wrong");
        }
        let malformed = "it is malformed";
        let (numbers, []) = numbers.as_chunks() else { return Err(malformed) };
        let numbers: Vec<u64> = numbers.iter().map(|number| u64::from_le_bytes(*number)).collect();
        let (&[next_number, runs, struck], lists) = numbers.split_first_chunk().ok_or(malformed)?;
        let (runs, struck) = (usize::try_from(runs), usize::try_from(struck));
        let (Ok(runs @ ..=MAX_RUNS), Ok(struck @ ..=MAX_STRUCK)) = (runs, struck) else { return Err(malformed) };
        let (runs, orders) = lists.split_at_checked(runs).ok_or(malformed)?;
        let distinct: BTreeSet<u64> = runs.iter().copied().chain([next_number]).collect();
        if distinct.len() != runs.len() + 1 || distinct.last() != Some(&next_number) || next_number > MAX_NUMBER {
            return Err("the numbers of its runs are impossible");
        }
        match orders.len() == struck && orders.is_sorted_by(|a, b| a < b) {
            true => Ok(Self { next_number, runs: runs.to_vec(), struck: orders.iter().copied().collect() }),
            false => Err(malformed),
        }
    }

    /// Makes this the version of the folder. When it returns, the change survives a power cut.
    pub(super) fn write(&self, folder: &Path) -> Result<(), FileError> {
        let head = [self.next_number, self.runs.len() as u64, self.struck.len() as u64];
        let numbers = head.iter().chain(&self.runs).chain(&self.struck);
        let mut bytes = [MAGIC, &FORMAT.to_le_bytes()[..]].concat();
        bytes.extend(numbers.flat_map(|number| number.to_le_bytes()));
        bytes.extend(version_hash(&bytes).as_bytes());

        let (aside, place) = (folder.join(NEXT_VERSION), folder.join(VERSION));
        let written = File::create(&aside).and_then(|mut file| {
            file.write_all(&bytes)?;
            file.sync_all()
        });
        written.map_err(FileError::io("write", &aside))?;
        // The names of the runs must be durable before the version that needs them.
        sync_folder(folder)?;
        fs::rename(&aside, &place).map_err(FileError::io("replace", &place))?;
        sync_folder(folder)
    }
}

fn version_hash(bytes: &[u8]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_derive_key("tributary v1 near version");
    hasher.update(bytes);
    hasher.finalize()
}

fn sync_folder(folder: &Path) -> Result<(), FileError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(FileError::io("sync the folder", folder))
}
