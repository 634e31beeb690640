//! Content beside the database: documents and models, each a file named by the BLAKE3 hash of its bytes.
//!
//! - A blob lies at `ab/cdef…`, the hash in hex, two digits for the folder. What stands there is complete: bytes are
//!   written to a file aside, synced, and moved into place, and then the folder is synced.
//! - Content that comes from elsewhere is written piece by piece into `partial/`, under the hash that was promised, and
//!   moved into place only if the whole has that hash. What comes in verified pieces and breaks off stays there, to go on
//!   with, until its room is needed.
//! - Reading a whole blob checks its hash, so damage is found where it would do harm, and what is damaged is moved aside: the
//!   blob is missing then, and can be fetched again. A range is read as it lies.
//! - Slices with their proofs (bao) are cut with a hash tree kept in `outboard/`, 1/256 of the blob's size, made while its
//!   hash is checked: so no slice needs more of the blob than itself, nor of the tree than what lies above it. The tree can
//!   be made again at any time, is checked with each use, and is not counted in the quota.
//! - All blobs together stay within a quota, counted with what is being written.
//! - One process uses a folder: the lock on the database beside it sees to that.

use crate::folders::{create_folder, sync_folder};
use protocol::crypto::document_hash;
use protocol::ids::{Hash32, from_hex32, to_hex};
use protocol::slice;
use std::collections::BTreeMap;
use std::fs::{self, DirEntry, File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Where content is written before it is complete. No blob's folder has such a name.
const PARTIAL: &str = "partial";
/// Where the hash trees of blobs are, each under its blob's name.
const OUTBOARD: &str = "outboard";
/// The end of the names of partial files that are gone on with.
const BEGUN: &str = ".begun";
/// The end of the names of blobs that were found damaged, kept aside for a person to look at.
const DAMAGED: &str = ".damaged";
/// Bytes of a blob that are read at once when it is hashed.
const READ_BYTES: usize = 256 * 1024;

/// Why content cannot be kept or read.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence on each variant is its documentation, and names its fields")]
pub enum BlobError {
    #[error("{needed} bytes more do not fit: {used} of {quota} bytes are used; raise storage.blob_quota_bytes")]
    Quota { needed: u64, used: u64, quota: u64 },
    #[error("the content {hash} in {} was damaged, and is missing now; bring it again", path.display())]
    Damaged { hash: Hash32, path: PathBuf },
    #[error("the content is not what was promised: it has hash {got}, not {expected}")]
    Mismatch { expected: Hash32, got: Hash32 },
    #[error("the content {hash} has {got} bytes, not the promised {expected}")]
    Length { hash: Hash32, expected: u64, got: u64 },
    #[error("the content {hash} is being written already")]
    Busy { hash: Hash32 },
    #[error("bytes {offset} to {} are not in the content {hash}, which has {bytes}", offset.saturating_add(*len))]
    Range { hash: Hash32, offset: u64, len: u64, bytes: u64 },
    #[error("{} is not a folder of content: {reason}; check the path", path.display())]
    Foreign { path: PathBuf, reason: String },
    #[error("the disk that holds {} is full; make room", path.display())]
    Full { path: PathBuf },
    #[error("cannot {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
}

impl BlobError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| match source.kind() {
            io::ErrorKind::StorageFull => Self::Full { path: path.to_owned() },
            _ => Self::Io { action, path: path.to_owned(), source },
        }
    }
}

/// The content of one node. A clone is the same store.
#[derive(Clone, Debug)]
pub struct BlobStore {
    shared: Arc<Shared>,
    /// Bytes of the quota that [`Self::put`] and [`Self::begin`] leave free.
    left: u64,
}

#[derive(Debug)]
struct Shared {
    folder: PathBuf,
    quota: u64,
    usage: Mutex<Usage>,
    strays: Vec<String>,
    /// Hash trees made so far, which names the file aside that each is written to.
    outboards: AtomicU64,
    /// Held while a tree is made again, so that whoever waits for it finds it.
    mending: Mutex<()>,
    /// Held while a folder is made, so that whoever finds it there finds it durable.
    folders: Mutex<()>,
}

#[derive(Debug, Default)]
struct Usage {
    /// Bytes of the blobs in place.
    kept: u64,
    /// Bytes promised to what is being written.
    writing: BTreeMap<Hash32, u64>,
    /// Bytes of what broke off and may be gone on with.
    begun: BTreeMap<Hash32, u64>,
}

impl Usage {
    fn total(&self) -> u64 {
        self.writing.values().chain(self.begun.values()).fold(self.kept, |sum, bytes| sum.saturating_add(*bytes))
    }
}

impl BlobStore {
    /// Opens the content in `folder`, or begins a new one there. What was left incomplete is removed, unless it can be
    /// gone on with; what is no content is left alone, and told by [`Self::strays`].
    ///
    /// # Errors
    /// The path is no folder, or it cannot be read.
    pub fn open(folder: &Path, quota: u64) -> Result<Self, BlobError> {
        let foreign = |reason: String| BlobError::Foreign { path: folder.to_owned(), reason };
        if folder.exists() && !folder.is_dir() {
            return Err(foreign("it is a file".to_owned()));
        }
        let partial = folder.join(PARTIAL);
        let (kept, mut strays) = if folder.exists() { kept_in_all(folder)? } else { (0, Vec::new()) };
        create_folder(&partial).map_err(BlobError::io("create the folder", &partial))?;
        let mut begun = BTreeMap::new();
        for entry in entries(&partial)? {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with(DAMAGED) {
                strays.push(format!("{PARTIAL}/{name}"));
            } else if let Some(Ok(hash)) = name.strip_suffix(BEGUN).map(from_hex32) {
                begun.insert(Hash32(hash), entry.metadata().map_err(BlobError::io("read", &path))?.len());
            } else if name.get(..64).is_some_and(|hash| from_hex32(hash).is_ok()) {
                fs::remove_file(&path).map_err(BlobError::io("remove", &path))?;
            } else {
                strays.push(format!("{PARTIAL}/{name}"));
            }
        }
        let shared = Shared {
            folder: folder.to_owned(),
            quota,
            usage: Mutex::new(Usage { kept, writing: BTreeMap::new(), begun }),
            strays,
            outboards: AtomicU64::new(0),
            mending: Mutex::default(),
            folders: Mutex::default(),
        };
        Ok(Self { shared: Arc::new(shared), left: 0 })
    }

    /// The same store, where [`Self::put`] and [`Self::begin`] leave so many bytes of the quota to [`Self::resume`]: what is
    /// uploaded, and nobody refers to, must not keep a node from what its network agreed on.
    #[must_use]
    pub fn leaving(&self, bytes: u64) -> Self {
        Self { shared: Arc::clone(&self.shared), left: bytes }
    }

    /// What the folder held besides content when it was opened.
    pub fn strays(&self) -> &[String] {
        &self.shared.strays
    }

    /// Keeps these bytes. When this returns they survive a power cut.
    pub fn put(&self, bytes: &[u8]) -> Result<Hash32, BlobError> {
        let hash = document_hash(bytes);
        match self.get(&hash) {
            // It may be in place for only a moment.
            Ok(Some(_)) => return self.settle(&hash).map(|_| hash),
            // A damaged blob is written anew.
            Ok(None) | Err(BlobError::Damaged { .. }) => {}
            Err(error) => return Err(error),
        }
        let mut incoming = self.begin(hash, bytes.len() as u64)?;
        incoming.write(bytes)?;
        incoming.finish()?;
        Ok(hash)
    }

    /// Begins to keep content of this hash and size that comes in pieces.
    ///
    /// # Errors
    /// It does not fit into the quota, or somebody is writing it already.
    pub fn begin(&self, hash: Hash32, bytes: u64) -> Result<Incoming, BlobError> {
        self.incoming(hash, bytes, false)
    }

    /// Goes on with content of this hash and size, or begins it: from [`Incoming::written`] on. For pieces that were
    /// verified before they are written, as they stay when it breaks off.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub fn resume(&self, hash: Hash32, bytes: u64) -> Result<Incoming, BlobError> {
        self.incoming(hash, bytes, true)
    }

    fn incoming(&self, hash: Hash32, bytes: u64, stays: bool) -> Result<Incoming, BlobError> {
        let mut usage = self.shared.lock();
        if usage.writing.contains_key(&hash) {
            return Err(BlobError::Busy { hash });
        }
        let begun = if stays { usage.begun.remove(&hash) } else { None };
        let quota = self.shared.quota.saturating_sub(if stays { 0 } else { self.left });
        let too_much = |usage: &Usage| usage.total().checked_add(bytes).is_none_or(|sum| sum > quota);
        if too_much(&usage) {
            self.shared.remove_begun(&mut usage);
        }
        if too_much(&usage) {
            let used = usage.total();
            usage.begun.extend(begun.map(|bytes| (hash, bytes)));
            return Err(BlobError::Quota { needed: bytes, used, quota });
        }
        usage.writing.insert(hash, bytes);
        drop(usage);
        // From here on dropping it gives the promised bytes back.
        let path = self.shared.partial(&hash, stays);
        let shared = Arc::clone(&self.shared);
        let mut incoming = Incoming { shared, hash, promised: bytes, written: 0, stays, path, file: None };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(!stays)
            .open(&incoming.path)
            .map_err(BlobError::io("create", &incoming.path))?;
        let end = file.seek(SeekFrom::End(0)).map_err(BlobError::io("read", &incoming.path))?;
        if end > bytes {
            file.set_len(0).and_then(|()| file.rewind()).map_err(BlobError::io("write", &incoming.path))?;
        } else {
            incoming.written = end;
        }
        incoming.file = Some(file);
        Ok(incoming)
    }

    /// The bytes of a blob, checked; none when it is not here.
    pub fn get(&self, hash: &Hash32) -> Result<Option<Vec<u8>>, BlobError> {
        let Some((path, mut file)) = self.shared.open(hash)? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(BlobError::io("read", &path))?;
        match document_hash(&bytes) == *hash {
            true => Ok(Some(bytes)),
            false => Err(self.shared.set_aside(hash, path, &file)),
        }
    }

    /// Checks a blob without keeping it in memory; false when it is not here.
    ///
    /// # Errors
    /// [`BlobError::Damaged`]: from now on it is not here.
    pub fn check(&self, hash: &Hash32) -> Result<bool, BlobError> {
        let Some((path, file)) = self.shared.open(hash)? else { return Ok(false) };
        let size = file.metadata().map_err(BlobError::io("read", &path))?.len();
        let (got, _) = hash_tree(&file, size).map_err(BlobError::io("read", &path))?;
        if got == *hash { Ok(true) } else { Err(self.shared.set_aside(hash, path, &file)) }
    }

    /// The bytes in a blob that is here, which survives a power cut when this returns; none when it is not here. Whoever
    /// moved it into place may not have come so far yet.
    pub fn settle(&self, hash: &Hash32) -> Result<Option<u64>, BlobError> {
        let found = self.len(hash)?;
        if found.is_some() {
            let place = self.shared.path(hash);
            let folder = place.parent().unwrap_or(&self.shared.folder);
            sync_folder(folder).map_err(BlobError::io("sync the folder", folder))?;
        }
        Ok(found)
    }

    /// A range of a blob's bytes, not checked; none when the blob is not here.
    pub fn read_range(&self, hash: &Hash32, offset: u64, len: u64) -> Result<Option<Vec<u8>>, BlobError> {
        let path = self.shared.path(hash);
        let Some(bytes) = self.len(hash)? else { return Ok(None) };
        let outside = || BlobError::Range { hash: *hash, offset, len, bytes };
        if offset.checked_add(len).is_none_or(|end| end > bytes) {
            return Err(outside());
        }
        let mut range = vec![0; usize::try_from(len).map_err(|_| outside())?];
        let mut file = File::open(&path).map_err(BlobError::io("open", &path))?;
        file.seek(SeekFrom::Start(offset)).map_err(BlobError::io("read", &path))?;
        file.read_exact(&mut range).map_err(BlobError::io("read", &path))?;
        Ok(Some(range))
    }

    /// A range of a blob of this size with what proves it, as [`slice::open`] reads it at [`slice::Grain::Transfer`]; none
    /// when no such blob is here.
    ///
    /// # Errors
    /// [`BlobError::Range`], or [`BlobError::Damaged`] when the blob is not what it was.
    pub fn slice(&self, hash: &Hash32, size: u64, range: Range<u64>) -> Result<Option<Vec<u8>>, BlobError> {
        if self.len(hash)? != Some(size) {
            return Ok(None);
        }
        let outside = |_| BlobError::Range {
            hash: *hash,
            offset: range.start,
            len: range.end.saturating_sub(range.start),
            bytes: size,
        };
        let groups = slice::groups(&range, size).map_err(outside)?;
        let len = groups.end - groups.start;
        let Some(bytes) = self.read_range(hash, groups.start, len)? else { return Ok(None) };
        if let Some(cut) = self.shared.cut(hash, size, &range, &bytes)? {
            return Ok(Some(cut));
        }
        // No tree, or something is damaged: the whole blob tells what, once for all who ask.
        let _turn = self.shared.mending.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cut) = self.shared.cut(hash, size, &range, &bytes)? {
            return Ok(Some(cut));
        }
        let Some((path, file)) = self.shared.open(hash)? else { return Ok(None) };
        let (got, tree) = hash_tree(&file, size).map_err(BlobError::io("read", &path))?;
        if got != *hash {
            return Err(self.shared.set_aside(hash, path, &file));
        }
        self.shared.keep_outboard(hash, &tree)?;
        // What was read before may be of a damaged file that was replaced meanwhile.
        let Some(bytes) = self.read_range(hash, groups.start, len)? else { return Ok(None) };
        self.shared.cut(hash, size, &range, &bytes)?.map(Some).ok_or(BlobError::Damaged { hash: *hash, path })
    }

    /// Puts a blob at another path as well, where nothing is yet: the same file where the disk can, else a copy, which is
    /// not synced. None of its bytes are checked. False when it is not here.
    pub fn put_at(&self, hash: &Hash32, path: &Path) -> Result<bool, BlobError> {
        let own = self.shared.path(hash);
        if self.len(hash)?.is_none() {
            return Ok(false);
        }
        if fs::hard_link(&own, path).is_err() {
            let mut from = File::open(&own).map_err(BlobError::io("open", &own))?;
            // What is there already may be this very file.
            let mut to = File::create_new(path).map_err(BlobError::io("create", path))?;
            io::copy(&mut from, &mut to).map_err(BlobError::io("copy to", path))?;
        }
        Ok(true)
    }

    /// The bytes in a blob; none when it is not here.
    pub fn len(&self, hash: &Hash32) -> Result<Option<u64>, BlobError> {
        self.shared.len(hash)
    }

    /// Is this blob here?
    pub fn contains(&self, hash: &Hash32) -> Result<bool, BlobError> {
        Ok(self.len(hash)?.is_some())
    }

    /// Bytes used, with those promised to what is being written.
    pub fn used(&self) -> u64 {
        self.shared.lock().total()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Usage> {
        // Numbers alone; no panic can leave them half changed.
        self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A slice of these groups of a blob, if they and the hash tree that is kept are the blob's.
    fn cut(&self, hash: &Hash32, size: u64, range: &Range<u64>, groups: &[u8]) -> Result<Option<Vec<u8>>, BlobError> {
        if slice::outboard_bytes(size) == 0 {
            return Ok(slice::cut_groups(hash, size, <&[u8]>::default(), range, groups).ok());
        }
        let path = self.outboard_path(hash);
        match File::open(&path) {
            Ok(tree) => Ok(slice::cut_groups(hash, size, tree, range, groups).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(BlobError::io("read", &path)(error)),
        }
    }

    /// Keeps a hash tree. It is not synced: what a power cut leaves of it is found out, and made again.
    fn keep_outboard(&self, hash: &Hash32, tree: &[u8]) -> Result<(), BlobError> {
        if tree.is_empty() {
            return Ok(());
        }
        let serial = self.outboards.fetch_add(1, Ordering::Relaxed);
        let aside = self.folder.join(PARTIAL).join(format!("{hash}.{OUTBOARD}.{serial}"));
        let place = self.outboard_path(hash);
        if let Some(folder) = place.parent() {
            fs::create_dir_all(folder).map_err(BlobError::io("create the folder", folder))?;
        }
        let kept = fs::write(&aside, tree).map_err(BlobError::io("write", &aside));
        let kept = kept.and_then(|()| fs::rename(&aside, &place).map_err(BlobError::io("move a hash tree to", &place)));
        if kept.is_err() {
            // On a full disk it would stay until the next start.
            let _ = fs::remove_file(&aside);
        }
        kept
    }

    /// A blob's file; none when it is not here.
    fn open(&self, hash: &Hash32) -> Result<Option<(PathBuf, File)>, BlobError> {
        let path = self.path(hash);
        match File::open(&path) {
            Ok(file) => Ok(Some((path, file))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(BlobError::io("open", &path)(error)),
        }
    }

    /// Takes a blob away whose file does not have its hash, unless another took that file's place meanwhile.
    fn set_aside(&self, hash: &Hash32, path: PathBuf, file: &File) -> BlobError {
        let aside = self.folder.join(PARTIAL).join(format!("{hash}{DAMAGED}"));
        let mut usage = self.lock();
        let is_it = |found: fs::Metadata| file.metadata().is_ok_and(|read| found.ino() == read.ino());
        if fs::metadata(&path).is_ok_and(is_it) {
            if let Err(source) = fs::rename(&path, &aside) {
                return BlobError::Io { action: "move the damaged content", path, source };
            }
            // How long it was before is not known any more.
            if let Ok((kept, _)) = kept_in_all(&self.folder) {
                usage.kept = kept;
            }
        }
        BlobError::Damaged { hash: *hash, path }
    }

    fn outboard_path(&self, hash: &Hash32) -> PathBuf {
        self.folder.join(OUTBOARD).join(to_hex(&hash.0[..1])).join(to_hex(&hash.0[1..]))
    }

    fn path(&self, hash: &Hash32) -> PathBuf {
        self.folder.join(to_hex(&hash.0[..1])).join(to_hex(&hash.0[1..]))
    }

    fn partial(&self, hash: &Hash32, stays: bool) -> PathBuf {
        self.folder.join(PARTIAL).join(format!("{hash}{}", if stays { BEGUN } else { "" }))
    }

    /// Makes room of what broke off.
    fn remove_begun(&self, usage: &mut Usage) {
        usage.begun.retain(|hash, _| {
            let removed = fs::remove_file(self.partial(hash, true));
            removed.is_err_and(|error| error.kind() != io::ErrorKind::NotFound)
        });
    }

    fn len(&self, hash: &Hash32) -> Result<Option<u64>, BlobError> {
        let path = self.path(hash);
        match fs::metadata(&path) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(BlobError::io("read", &path)(error)),
        }
    }
}

/// Content that is being written, in order. Dropped before [`Self::finish`], it leaves nothing, or what can be gone on with
/// by [`BlobStore::resume`] if it came of that.
#[derive(Debug)]
pub struct Incoming {
    shared: Arc<Shared>,
    hash: Hash32,
    promised: u64,
    written: u64,
    /// Does it stay when it breaks off?
    stays: bool,
    path: PathBuf,
    /// None when it could not be created, or is complete.
    file: Option<File>,
}

impl Incoming {
    /// Bytes that are there.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// The next bytes.
    ///
    /// # Errors
    /// [`BlobError::Length`] when they are more than was promised; nothing is written then.
    pub fn write(&mut self, chunk: &[u8]) -> Result<(), BlobError> {
        let got = self.written.saturating_add(chunk.len() as u64);
        if got > self.promised {
            return Err(BlobError::Length { hash: self.hash, expected: self.promised, got });
        }
        if let Some(file) = &mut self.file
            && let Err(error) = file.write_all(chunk)
        {
            // How much of it was written is not known.
            self.stays = false;
            return Err(BlobError::io("write", &self.path)(error));
        }
        self.written = got;
        Ok(())
    }

    /// Checks the whole and moves it into place. When this returns it survives a power cut.
    ///
    /// # Errors
    /// [`BlobError::Length`] and [`BlobError::Mismatch`] when it is not what was promised; nothing stays then.
    pub fn finish(mut self) -> Result<(), BlobError> {
        self.stays = false;
        if self.written != self.promised {
            return Err(BlobError::Length { hash: self.hash, expected: self.promised, got: self.written });
        }
        if let Some(file) = &mut self.file {
            file.rewind().map_err(BlobError::io("read", &self.path))?;
            let (got, tree) = hash_tree(&*file, self.promised).map_err(BlobError::io("read", &self.path))?;
            if got != self.hash {
                return Err(BlobError::Mismatch { expected: self.hash, got });
            }
            self.shared.keep_outboard(&self.hash, &tree)?;
            file.sync_all().map_err(BlobError::io("sync", &self.path))?;
        }
        self.move_into_place()
    }

    fn move_into_place(&mut self) -> Result<(), BlobError> {
        let place = self.shared.path(&self.hash);
        let folder = place.parent().unwrap_or(&self.shared.folder);
        {
            let _turn = self.shared.folders.lock().unwrap_or_else(PoisonError::into_inner);
            create_folder(folder).map_err(BlobError::io("create the folder", folder))?;
        }
        // Nobody else writes this blob meanwhile, and nobody takes it away while this is held: the length of what is replaced
        // stays true.
        let mut usage = self.shared.lock();
        let replaced = self.shared.len(&self.hash)?.unwrap_or(0);
        fs::rename(&self.path, &place).map_err(BlobError::io("move content to", &place))?;
        self.file = None;
        usage.kept = (usage.kept + self.promised).saturating_sub(replaced);
        drop(usage);
        sync_folder(folder).map_err(BlobError::io("sync the folder", folder))
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        let stays = self.file.take().is_some_and(|_| {
            let stays = self.stays && self.written > 0;
            if !stays {
                // What cannot be removed now is removed at the next start.
                let _ = fs::remove_file(&self.path);
            }
            stays
        });
        let mut usage = self.shared.lock();
        usage.writing.remove(&self.hash);
        if stays {
            usage.begun.insert(self.hash, self.written);
        }
    }
}

/// Bytes of all blobs in place, and what is there besides.
fn kept_in_all(folder: &Path) -> Result<(u64, Vec<String>), BlobError> {
    let (mut kept, mut strays) = (0, Vec::new());
    for entry in entries(folder)? {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == PARTIAL || name == OUTBOARD {
            continue;
        }
        let is_ours = name.len() == 2 && name.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        if is_ours && entry.path().is_dir() {
            kept += kept_bytes(&name, &entry.path(), &mut strays)?;
        } else {
            strays.push(name);
        }
    }
    Ok((kept, strays))
}

/// Bytes of the blobs in one folder, whose name is the first two digits of theirs.
fn kept_bytes(name: &str, folder: &Path, strays: &mut Vec<String>) -> Result<u64, BlobError> {
    let mut kept = 0;
    for entry in entries(folder)? {
        let rest = entry.file_name().to_string_lossy().into_owned();
        if from_hex32(&format!("{name}{rest}")).is_err() {
            strays.push(format!("{name}/{rest}"));
            continue;
        }
        let path = entry.path();
        kept += entry.metadata().map_err(BlobError::io("read", &path))?.len();
    }
    Ok(kept)
}

fn entries(folder: &Path) -> Result<Vec<DirEntry>, BlobError> {
    let entries = fs::read_dir(folder).map_err(BlobError::io("read the folder", folder))?;
    entries.collect::<Result<_, _>>().map_err(BlobError::io("read the folder", folder))
}

/// The hash of a file's first `size` bytes, and the hash tree over them.
fn hash_tree(file: impl Read, size: u64) -> io::Result<(Hash32, Vec<u8>)> {
    slice::outboard(BufReader::with_capacity(READ_BYTES, file), size)
}
