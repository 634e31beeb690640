//! Snapshots on disk: those that this node made and serves, and one that a new node gathers.
//!
//! A snapshot is a folder named by its height: `about` (root and plan) and one file for each chunk, `0`, `1`, … It is
//! made in a folder aside and moved into place when it is complete. Nothing here needs a sync: a snapshot that a power
//! cut damaged is found out by whoever is served a chunk of it, or opens a gathered one, since every chunk proves itself;
//! `about` carries a checksum.

use crate::error::StoreError;
use crate::store::Snapshot;
use borsh::{BorshDeserialize, BorshSerialize};
use protocol::genesis::canonical;
use protocol::ids::Hash32;
use protocol::ledger::Changes;
use protocol::snapshot::{Assembler, Chunk, Cut, Leaf, Plan, SnapshotError, cut};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Ledger entries that are read at once.
const PAGE: usize = 1_000;
const ABOUT: &str = "about";
const UNFINISHED: &str = ".unfinished";
const CHECKSUM_CONTEXT: &str = "tributary v1 snapshot about";
const CHECKSUM_BYTES: usize = 32;

/// What a snapshot is.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SnapshotInfo {
    /// The height after which the state is.
    pub height: u64,
    /// The state's root, which the header of the next height names.
    pub root: Hash32,
    /// [`Plan::depths`].
    pub depths: Vec<u8>,
}

impl SnapshotInfo {
    /// How the state is cut.
    pub fn plan(&self) -> Result<Plan, SnapshotError> {
        Plan::from_depths(&self.depths)
    }
}

/// The snapshots that this node made.
#[derive(Clone, Debug)]
pub struct Snapshots {
    folder: PathBuf,
}

impl Snapshots {
    /// The snapshots in this folder, which is made when it is needed. What was left unfinished is removed.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        fs::create_dir_all(folder).map_err(StoreError::io("create the folder", folder))?;
        for (name, path) in entries(folder)? {
            if name.ends_with(UNFINISHED) {
                fs::remove_dir_all(&path).map_err(StoreError::io("remove", &path))?;
            }
        }
        Ok(Self { folder: folder.to_owned() })
    }

    /// Makes a snapshot of what `view` shows; a long work that holds up nobody. Memory: about 150 bytes an entry.
    ///
    /// # Errors
    /// The state cannot be read or cut, or the disk is full.
    pub fn make(&self, view: &dyn Snapshot) -> Result<SnapshotInfo, StoreError> {
        let height = view.height()?;
        let leaves = leaves(view)?;
        let only: Vec<Leaf> = leaves.iter().map(|(leaf, _)| *leaf).collect();
        let cut = cut(&only).map_err(|error| self.unfit(error.to_string()))?;
        drop(only);
        let info = SnapshotInfo { height, root: cut.root, depths: cut.plan.depths() };
        let unfinished = self.folder.join(format!("{height}{UNFINISHED}"));
        let place = self.of(height);
        remove(&unfinished)?;
        fs::create_dir_all(&unfinished).map_err(StoreError::io("create the folder", &unfinished))?;
        self.write_chunks(view, &leaves, &cut, &unfinished)?;
        write(&unfinished.join(ABOUT), &seal(&info))?;
        remove(&place)?;
        fs::rename(&unfinished, &place).map_err(StoreError::io("move the new snapshot to", &place))?;
        Ok(info)
    }

    fn write_chunks(
        &self,
        view: &dyn Snapshot,
        leaves: &[(Leaf, Vec<u8>)],
        cut: &Cut,
        folder: &Path,
    ) -> Result<(), StoreError> {
        for (index, piece) in cut.pieces.iter().enumerate() {
            let mut entries = Vec::with_capacity(piece.leaves.len());
            for (_, key) in &leaves[piece.leaves.clone()] {
                let value = view.state(key)?.ok_or_else(|| self.unfit("the state changed under it".to_owned()))?;
                entries.push((key.clone(), value));
            }
            let chunk = Chunk { entries, siblings: piece.siblings.clone() };
            write(&folder.join(index.to_string()), &chunk.to_bytes())?;
        }
        Ok(())
    }

    /// The snapshots that are complete, by height in ascending order. One that cannot be read is left out.
    pub fn list(&self) -> Result<Vec<SnapshotInfo>, StoreError> {
        let mut found = Vec::new();
        for (name, path) in entries(&self.folder)? {
            let Some(info) = name.parse::<u64>().ok().and_then(|_| read_about(&path)) else { continue };
            if info.height.to_string() == name {
                found.push(info);
            }
        }
        found.sort_by_key(|info| info.height);
        Ok(found)
    }

    /// The bytes of a chunk; none when there is no such snapshot or chunk. They were not checked.
    pub fn chunk(&self, height: u64, index: u32) -> Result<Option<Vec<u8>>, StoreError> {
        read(&self.of(height).join(index.to_string()))
    }

    /// Removes all but the newest `count`; returns the height of the oldest that stays.
    pub fn keep(&self, count: usize) -> Result<Option<u64>, StoreError> {
        let all = self.list()?;
        let gone = all.len().saturating_sub(count.max(1));
        for info in &all[..gone] {
            remove(&self.of(info.height))?;
        }
        Ok(all.get(gone).map(|info| info.height))
    }

    /// Removes one: its root is not what the next header names, or it is not wanted.
    pub fn remove(&self, height: u64) -> Result<(), StoreError> {
        remove(&self.of(height))
    }

    fn of(&self, height: u64) -> PathBuf {
        self.folder.join(height.to_string())
    }

    fn unfit(&self, reason: String) -> StoreError {
        StoreError::Snapshot { path: self.folder.clone(), reason }
    }
}

/// What cutting must know of every entry, with its key, ascending by place.
fn leaves(view: &dyn Snapshot) -> Result<Vec<(Leaf, Vec<u8>)>, StoreError> {
    let mut leaves: Vec<(Leaf, Vec<u8>)> = Vec::new();
    let mut after: Option<Vec<u8>> = None;
    loop {
        let page = view.state_prefix(&[], after.as_deref(), PAGE)?;
        let full = page.len() == PAGE;
        after = page.last().map(|(key, _)| key.clone());
        leaves.extend(page.into_iter().map(|(key, value)| (Leaf::of(&key, &value), key)));
        if !full {
            break;
        }
    }
    leaves.sort_unstable();
    Ok(leaves)
}

/// Where a new node gathers a snapshot: what is verified stays, so that a restart goes on where it was.
pub struct Staging {
    folder: PathBuf,
    info: SnapshotInfo,
    assembler: Assembler,
}

impl Staging {
    /// Goes on with the snapshot in this folder, if it is this one; otherwise begins anew.
    ///
    /// # Errors
    /// The plan does not hold, or the disk fails.
    pub fn open(folder: &Path, info: SnapshotInfo) -> Result<Self, StoreError> {
        let unfit = |error: SnapshotError| StoreError::Snapshot { path: folder.to_owned(), reason: error.to_string() };
        if read_about(folder).as_ref() != Some(&info) {
            remove(folder)?;
            fs::create_dir_all(folder).map_err(StoreError::io("create the folder", folder))?;
            write(&folder.join(ABOUT), &seal(&info))?;
        }
        let mut assembler = Assembler::new(info.root, info.plan().map_err(unfit)?);
        let missing: Vec<u32> = assembler.missing().collect();
        for index in missing {
            // What does not hold any more is fetched again.
            if let Some(bytes) = read(&folder.join(index.to_string()))? {
                let _ = assembler.accept(index, &bytes);
            }
        }
        Ok(Self { folder: folder.to_owned(), info, assembler })
    }

    /// What this folder holds a part of, if it is anything.
    pub fn begun(folder: &Path) -> Option<SnapshotInfo> {
        read_about(folder)
    }

    /// What is being gathered.
    pub fn info(&self) -> &SnapshotInfo {
        &self.info
    }

    /// Which chunks are missing, in ascending order.
    pub fn missing(&self) -> Vec<u32> {
        self.assembler.missing().collect()
    }

    /// Chunks that are there, and all.
    pub fn progress(&self) -> (usize, usize) {
        self.assembler.progress()
    }

    /// Takes a chunk that somebody sent. The inner error says that he lied or erred: nothing changed.
    ///
    /// # Errors
    /// The disk fails.
    pub fn accept(&mut self, index: u32, bytes: &[u8]) -> Result<Result<(), SnapshotError>, StoreError> {
        if let Err(error) = self.assembler.accept(index, bytes) {
            return Ok(Err(error));
        }
        let path = self.folder.join(index.to_string());
        let new = self.folder.join(format!("{index}.new"));
        write(&new, bytes)?;
        fs::rename(&new, &path).map_err(StoreError::io("move a chunk to", &path))?;
        Ok(Ok(()))
    }

    /// The whole state, once nothing is missing: as much memory as a running node uses for it.
    ///
    /// # Errors
    /// A chunk is missing or was damaged since it was verified; open the staging again and fetch it.
    pub fn state(&self) -> Result<Changes, StoreError> {
        let unfit = |reason: String| StoreError::Snapshot { path: self.folder.clone(), reason };
        let mut state = Changes::new();
        for (index, subtree) in self.assembler.plan().subtrees().iter().enumerate() {
            let bytes = read(&self.folder.join(index.to_string()))?;
            let bytes = bytes.ok_or_else(|| unfit(format!("chunk {index} is missing")))?;
            let chunk = Chunk::open(&bytes, subtree, &self.info.root).map_err(|error| unfit(error.to_string()))?;
            state.extend(chunk.entries.into_iter().map(|(key, value)| (key, Some(value))));
        }
        Ok(state)
    }

    /// Removes what was gathered.
    pub fn clear(folder: &Path) -> Result<(), StoreError> {
        remove(folder)
    }
}

fn seal(info: &SnapshotInfo) -> Vec<u8> {
    let mut bytes = canonical(info);
    bytes.extend(blake3::derive_key(CHECKSUM_CONTEXT, &bytes));
    bytes
}

/// What `about` says; none when it is missing or damaged.
fn read_about(folder: &Path) -> Option<SnapshotInfo> {
    let bytes = read(&folder.join(ABOUT)).ok()??;
    let (body, sum) = bytes.split_at_checked(bytes.len().checked_sub(CHECKSUM_BYTES)?)?;
    (blake3::derive_key(CHECKSUM_CONTEXT, body) == sum).then(|| borsh::from_slice(body).ok())?
}

fn entries(folder: &Path) -> Result<Vec<(String, PathBuf)>, StoreError> {
    let read = fs::read_dir(folder).map_err(StoreError::io("read the folder", folder))?;
    let entry = |entry: io::Result<fs::DirEntry>| {
        let entry = entry.map_err(StoreError::io("read the folder", folder))?;
        Ok((entry.file_name().to_string_lossy().into_owned(), entry.path()))
    };
    read.map(entry).collect()
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StoreError::io("read", path)(error)),
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    fs::write(path, bytes).map_err(StoreError::io("write", path))
}

fn remove(folder: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::io("remove", folder)(error)),
        _ => Ok(()),
    }
}
