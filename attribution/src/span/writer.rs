//! Changing an index: adding documents, striking them, joining small segments.
//!
//! New documents go into new segments, made by as many threads as there may be, each within its part of the memory. A
//! version's segments stand in order of admission. Where [`FAN_IN`] neighbours are of one size (within a factor of
//! [`FAN_IN`]), they are made into one again, from their documents; suffix arrays are never merged. So a document is
//! sorted again at most once for each such step of size, and a search looks into few segments. A struck document leaves
//! at once: its segment is made again without it.

use super::build::SegmentBuilder;
use super::index::{Entry, IndexError, Version, io, open_segment, segment_path, sync_folder};
use super::{DocumentRef, MadeSegment, Segment};
use protocol::crypto;
use protocol::fold::fold;
use protocol::ids::ContributionId;
use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

/// How many segments of a size are joined.
const FAN_IN: usize = 4;
/// Segments of less text count as of one size.
const SMALLEST: u64 = 1024 * 1024;
/// The name of the file that a writer locks.
const LOCK_FILE: &str = "lock";
/// Bytes of memory that a byte of text usually takes while it is sorted: twice itself, and a word for each six.
const BYTES_PER_BYTE: usize = 5;

/// What making segments may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of memory of all threads together, about.
    pub memory_bytes: usize,
    /// Threads.
    pub threads: usize,
    /// Bytes of text in one segment.
    pub segment_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory_bytes: 1024 * 1024 * 1024, threads: 1, segment_bytes: 64 * 1024 * 1024 }
    }
}

impl Limits {
    fn of_one_thread(&self) -> usize {
        self.memory_bytes / self.threads.max(1)
    }
}

/// A document to be added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDocument {
    /// The contribution's place in the order of admission, not before that of any document added earlier.
    pub order: u64,
    /// The contribution.
    pub contribution: ContributionId,
    /// The document's index in the contribution.
    pub document: u32,
    /// Whose contribution it is.
    pub contributor: [u8; 32],
    /// What people call it.
    pub name: String,
    /// What people call its contributor.
    pub contributor_name: String,
    /// Its text.
    pub text: String,
}

impl NewDocument {
    /// A document that belongs to no network: a contribution of its own, identified by its text, of somebody who is
    /// identified by his name.
    pub fn unadmitted(order: u64, name: String, contributor_name: String, text: String) -> Self {
        let contribution = ContributionId(crypto::document_hash(text.as_bytes()).0);
        let contributor = crypto::named_contributor(&contributor_name);
        Self { order, contribution, document: 0, contributor, name, contributor_name, text }
    }

    fn with<'a>(&'a self, text: &'a str, origins: &'a [u8]) -> DocumentRef<'a> {
        DocumentRef {
            order: self.order,
            contribution: self.contribution,
            document: self.document,
            contributor: self.contributor,
            name: &self.name,
            contributor_name: &self.contributor_name,
            text,
            origins,
        }
    }
}

/// What was added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Added {
    /// Documents.
    pub documents: u64,
    /// Bytes of their texts.
    pub bytes: u64,
    /// New segments.
    pub segments: u64,
}

/// The one writer of an index.
#[derive(Debug)]
pub struct IndexWriter {
    folder: PathBuf,
    version: Version,
    /// Holds the lock as long as it is open.
    _lock: File,
}

impl IndexWriter {
    /// Begins an index in a new or empty folder. It is there once something was added, be it nothing.
    ///
    /// # Errors
    /// When the folder holds something.
    pub fn create(folder: &Path, fold: u32) -> Result<Self, IndexError> {
        fs::create_dir_all(folder).map_err(io(folder))?;
        let mut entries = fs::read_dir(folder).map_err(io(folder))?;
        // What a writer that did not come to an end left behind is not in the way.
        let is_ours = |name: &str| name == LOCK_FILE || name.ends_with(".new") || name.ends_with(".segment");
        if !entries.all(|entry| entry.is_ok_and(|entry| entry.file_name().to_str().is_some_and(is_ours))) {
            return Err(IndexError::NotEmpty { folder: folder.to_owned() });
        }
        Ok(Self { folder: folder.to_owned(), version: Version { fold, ..Version::default() }, _lock: lock(folder)? })
    }

    /// Opens an index for changing it, and deletes what a crash left over.
    ///
    /// # Errors
    /// When there is none, or another process changes it.
    pub fn open(folder: &Path) -> Result<Self, IndexError> {
        Version::read(folder)?;
        let lock = lock(folder)?;
        let writer = Self { folder: folder.to_owned(), version: Version::read(folder)?, _lock: lock };
        writer.collect()?;
        Ok(writer)
    }

    /// The rule by which its text is folded; 0 for none.
    pub fn fold(&self) -> u32 {
        self.version.fold
    }

    /// A place in the order of admission behind all that there are.
    pub fn next_order(&self) -> u64 {
        self.version.next_order
    }

    /// Adds documents, in the order of their admission: all that `next` gives, or none. `on_document` hears of each.
    ///
    /// # Errors
    /// Those of `next`; when a document does not fit; when the disk fails.
    pub fn add<E: From<IndexError>>(
        &mut self,
        limits: &Limits,
        mut next: impl FnMut() -> Result<Option<NewDocument>, E>,
        mut on_document: impl FnMut(&NewDocument),
    ) -> Result<Added, E> {
        let mut added = Added::default();
        let mut next_order = self.version.next_order;
        let entries = self.make(limits, |makers| {
            let mut filling = Filling::new(limits, makers, self.version.fold);
            while let Some(document) = next()? {
                if self.version.fold == 0 {
                    filling.add(&document.with(&document.text, &[]))?;
                } else {
                    let folded = fold(&document.text);
                    filling.add(&document.with(folded.text(), folded.map().as_bytes()))?;
                }
                next_order = next_order.max(document.order.saturating_add(1));
                added.documents += 1;
                added.bytes += document.text.len() as u64;
                on_document(&document);
            }
            Ok::<(), E>(filling.flush()?)
        })?;
        added.segments = entries.len() as u64;
        let mut version = self.version.clone();
        version.next_order = next_order;
        version.segments.extend(entries);
        self.replace(version)?;
        Ok(added)
    }

    /// Takes documents of these names out. Returns how many there were.
    ///
    /// # Errors
    /// When there is none of a name; when a segment is damaged; when the disk fails.
    pub fn strike(&mut self, limits: &Limits, names: &BTreeSet<String>) -> Result<u64, IndexError> {
        let mut missing = names.clone();
        let mut struck = 0;
        let mut version = self.version.clone();
        let mut segments = Vec::new();
        for entry in &version.segments {
            let segment = open_segment(&self.folder, &entry.root)?;
            let mut kept = Vec::new();
            for number in 0..segment.documents() {
                let name = segment.document_name(number)?;
                missing.remove(name);
                if !names.contains(name) {
                    kept.push(number);
                }
            }
            let gone = u64::from(segment.documents()) - kept.len() as u64;
            if gone == 0 {
                segments.push(entry.clone());
                continue;
            }
            struck += gone;
            segments.extend(self.make(limits, |makers| {
                let mut filling = Filling::new(limits, makers, self.version.fold);
                kept.iter().try_for_each(|number| filling.add(&segment.document_ref(*number)?))?;
                filling.flush()
            })?);
        }
        if let Some(name) = missing.pop_first() {
            return Err(IndexError::NoDocument { name });
        }
        version.segments = segments;
        self.replace(version)?;
        Ok(struck)
    }

    /// Joins neighbours of one size, once. Returns how many were joined: 0 when there is nothing left to do.
    ///
    /// # Errors
    /// When a segment is damaged; when the disk fails.
    pub fn join(&mut self, limits: &Limits) -> Result<usize, IndexError> {
        let sizes: Vec<u64> = self.version.segments.iter().map(|entry| entry.text_bytes).collect();
        let Some(range) = neighbours(&sizes, limits.segment_bytes.min(limits.of_one_thread() / BYTES_PER_BYTE) as u64)
        else {
            return Ok(0);
        };
        let mut version = self.version.clone();
        let old: Vec<Entry> = version.segments.drain(range.clone()).collect();
        let segments: Vec<Segment> =
            old.iter().map(|entry| open_segment(&self.folder, &entry.root)).collect::<Result<_, _>>()?;
        // All into one: their sizes together are within the limits.
        let joined = self.make(limits, |makers| {
            let mut filling = Filling::new(limits, makers, self.version.fold);
            let mut order = Vec::new();
            for (segment, at) in segments.iter().zip(0_usize..) {
                for number in 0..segment.documents() {
                    let record = segment.document(number)?;
                    order.push((record.order, record.document, at, number));
                }
            }
            order.sort_unstable();
            order.into_iter().try_for_each(|(_, _, at, number)| filling.add(&segments[at].document_ref(number)?))?;
            filling.flush()
        })?;
        drop(segments);
        version.segments.splice(range.start..range.start, joined);
        self.replace(version)?;
        Ok(old.len())
    }

    /// Makes segments of what `fill` sends, in threads, and tells which in the order in which they were sent. Their files
    /// are on the disk then, and belong to no version yet.
    fn make<E: From<IndexError>>(
        &self,
        limits: &Limits,
        fill: impl FnOnce(&Makers<'_>) -> Result<(), E>,
    ) -> Result<Vec<Entry>, E> {
        let made: Mutex<Vec<(usize, Result<Entry, IndexError>)>> = Mutex::default();
        let folder = &self.folder;
        let finish = |number: usize, builder: SegmentBuilder| {
            let entry = builder.finish().map_err(IndexError::from).and_then(|segment| write_segment(folder, &segment));
            made.lock().unwrap_or_else(PoisonError::into_inner).push((number, entry));
        };
        // The thread that fills is one of them.
        let others = limits.threads.max(1) - 1;
        std::thread::scope(|scope| {
            let (send, receive) = sync_channel::<(usize, SegmentBuilder)>(0);
            let receive: Arc<Mutex<Receiver<_>>> = Arc::new(Mutex::new(receive));
            for _ in 0..others {
                let (receive, finish) = (receive.clone(), &finish);
                scope.spawn(move || {
                    let next = || receive.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    while let Ok((number, builder)) = next() {
                        finish(number, builder);
                    }
                });
            }
            let failed = || made.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|(_, made)| made.is_err());
            fill(&Makers { send: (others > 0).then_some(send), finish: &finish, failed: &failed })
        })?;
        let mut made = made.into_inner().unwrap_or_else(PoisonError::into_inner);
        made.sort_by_key(|(number, _)| *number);
        let entries: Result<Vec<Entry>, IndexError> = made.into_iter().map(|(_, entry)| entry).collect();
        Ok(entries?)
    }

    /// Makes a version the index's, and deletes the segments that only the old one had.
    fn replace(&mut self, mut version: Version) -> Result<(), IndexError> {
        version.number += 1;
        sync_folder(&self.folder)?;
        version.write(&self.folder)?;
        self.version = version;
        self.collect()
    }

    /// Deletes what no version names.
    fn collect(&self) -> Result<(), IndexError> {
        let named: BTreeSet<PathBuf> =
            self.version.segments.iter().map(|entry| segment_path(&self.folder, &entry.root)).collect();
        for entry in fs::read_dir(&self.folder).map_err(io(&self.folder))? {
            let path = entry.map_err(io(&self.folder))?.path();
            let is_left = path.extension().is_some_and(|extension| extension == "segment" || extension == "new");
            if is_left && !named.contains(&path) {
                fs::remove_file(&path).map_err(io(&path))?;
            }
        }
        Ok(())
    }
}

/// Where finished builders go.
struct Makers<'a> {
    /// To another thread, if there are more than this one.
    send: Option<SyncSender<(usize, SegmentBuilder)>>,
    finish: &'a (dyn Fn(usize, SegmentBuilder) + Sync),
    failed: &'a dyn Fn() -> bool,
}

impl Makers<'_> {
    fn take(&self, number: usize, builder: SegmentBuilder) {
        match &self.send {
            // Whoever finds nobody waiting does it himself.
            Some(send) => {
                if let Err(TrySendError::Full(back) | TrySendError::Disconnected(back)) =
                    send.try_send((number, builder))
                {
                    (self.finish)(back.0, back.1);
                }
            }
            None => (self.finish)(number, builder),
        }
    }
}

/// Documents on their way into segments.
struct Filling<'a> {
    limits: Limits,
    makers: &'a Makers<'a>,
    fold: u32,
    builder: SegmentBuilder,
    sent: usize,
}

impl<'a> Filling<'a> {
    fn new(limits: &Limits, makers: &'a Makers<'a>, fold: u32) -> Self {
        Self { limits: *limits, makers, fold, builder: SegmentBuilder::folded(fold), sent: 0 }
    }

    fn add(&mut self, document: &DocumentRef<'_>) -> Result<(), IndexError> {
        let budget = self.limits.of_one_thread();
        let more = document.text.len();
        let needs = self.builder.memory_bytes() + more * BYTES_PER_BYTE;
        if needs > budget || self.builder.text_bytes() + more > self.limits.segment_bytes {
            self.flush()?;
        }
        let too_large = |needs: usize| IndexError::DocumentTooLarge {
            name: document.name.to_owned(),
            bytes: more as u64,
            needs: needs as u64,
            budget: budget as u64,
        };
        // No document takes less than its text and its place in the segment.
        if more * 2 > budget {
            return Err(too_large(more * BYTES_PER_BYTE));
        }
        self.builder.add(*document)?;
        match self.builder.memory_bytes() {
            needs if needs > budget && self.builder.documents() == 1 => Err(too_large(needs)),
            _ => Ok(()),
        }
    }

    /// Sends what there is.
    fn flush(&mut self) -> Result<(), IndexError> {
        if self.builder.documents() > 0 && !(self.makers.failed)() {
            self.makers.take(self.sent, std::mem::replace(&mut self.builder, SegmentBuilder::folded(self.fold)));
            self.sent += 1;
        }
        Ok(())
    }
}

/// Neighbours of one size, of whom all together have at most so much text: the last such, as the newest are smallest.
fn neighbours(sizes: &[u64], most: u64) -> Option<std::ops::Range<usize>> {
    let tier = |size: &u64| (size.max(&SMALLEST) / SMALLEST).ilog2() / FAN_IN.ilog2();
    let starts = (0..(sizes.len() + 1).saturating_sub(FAN_IN)).rev();
    let mut ranges = starts.map(|start| start..start + FAN_IN);
    ranges.find(|range| {
        let sizes = &sizes[range.clone()];
        let tiers = sizes.iter().map(tier);
        tiers.clone().max() == tiers.min() && sizes.iter().sum::<u64>() <= most
    })
}

/// Writes a segment beside the others, under its root's name.
fn write_segment(folder: &Path, segment: &MadeSegment) -> Result<Entry, IndexError> {
    let header = segment.header();
    let root = header.root();
    write_file(&segment_path(folder, &root), segment)?;
    Ok(Entry { root, text_bytes: header.length(protocol::segment::Section::Text) })
}

/// Writes a segment to a file that nobody may change, whole or not at all. The folder is not synced.
///
/// # Errors
/// When the disk fails.
pub fn write_file(path: &Path, segment: &MadeSegment) -> Result<(), IndexError> {
    let temporary = path.with_extension("new");
    let failed = io(&temporary);
    let write = || -> std::io::Result<()> {
        let mut out = BufWriter::with_capacity(1 << 20, File::create(&temporary)?);
        segment.write(&mut out)?;
        out.flush()?;
        let file = out.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        let mut rights = file.metadata()?.permissions();
        rights.set_readonly(true);
        file.set_permissions(rights)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().map_err(failed)
}

fn lock(folder: &Path) -> Result<File, IndexError> {
    let path = folder.join(LOCK_FILE);
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(io(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(IndexError::Locked { folder: folder.to_owned() }),
        Err(TryLockError::Error(cause)) => Err(IndexError::Io { path, cause }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_neighbours_of_one_size_are_joined() {
        let mb = SMALLEST;
        assert_eq!(neighbours(&[], 64 * mb), None);
        assert_eq!(neighbours(&[1, 2, 3], 64 * mb), None);
        assert_eq!(neighbours(&[1, 2, 3, mb], 64 * mb), Some(0..4));
        assert_eq!(neighbours(&[16 * mb, 1, 2, 3, 4], 64 * mb), Some(1..5));
        assert_eq!(neighbours(&[1, 1, 1, 1, 16 * mb, 1, 2, 3, 4], 64 * mb), Some(5..9));
        assert_eq!(neighbours(&[4 * mb, 5 * mb, 15 * mb, 8 * mb], 64 * mb), Some(0..4));
        assert_eq!(neighbours(&[16 * mb, 17 * mb, 16 * mb, 16 * mb], 64 * mb), None);
        assert_eq!(neighbours(&[16 * mb, 16 * mb, 16 * mb, 16 * mb], 64 * mb), Some(0..4));
    }
}
