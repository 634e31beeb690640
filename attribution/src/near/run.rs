//! Runs: immutable files of fingerprints with their holders, sorted.
//!
//! A run is a file of blocks: the header; blocks of entries, ascending; blocks of the contributions that these are
//! of, ascending; and the fences, which are the first key of each of these blocks. The header has a magic, the
//! format, and how many entries, blocks of entries and blocks of contributions there are. The fences stay in memory
//! while the run is open; by them one block is read for what is looked up.

use super::FORMAT;
use super::block::{
    BLOCK_BYTES, CONTENT_BYTES, Contribution, Entry, Filling, MAX_BLOCK_RECORDS, Record, records, seal, unseal,
};
use super::error::FileError;
use protocol::ids::ContributionId;
use std::fs::{self, File};
use std::io::{BufWriter, ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"nearrun\0";
const FENCES_PER_BLOCK: usize = CONTENT_BYTES / size_of::<u64>();
/// Bytes that are written at once.
const WRITE_BYTES: usize = 64 * 1024;

/// An open run.
#[derive(Debug)]
pub(super) struct Run {
    path: PathBuf,
    file: File,
    /// Its number among all files that the store ever had.
    pub(super) number: u64,
    /// How many entries it has.
    pub(super) entries: u64,
    entry_fences: Vec<u64>,
    contribution_fences: Vec<u64>,
}

/// The name of a run's file.
pub(super) fn name(number: u64) -> String {
    format!("{number}.run")
}

/// The file of a run.
pub(super) fn path(folder: &Path, number: u64) -> PathBuf {
    folder.join(name(number))
}

impl Run {
    /// Writes a run of ascending entries and contributions, and syncs it. What could not be completed is removed.
    pub(super) fn write(
        folder: &Path,
        number: u64,
        entries: impl Iterator<Item = Result<Entry, FileError>>,
        contributions: impl Iterator<Item = Result<Contribution, FileError>>,
    ) -> Result<Self, FileError> {
        let path = path(folder, number);
        let written = Writer::create(&path, number).and_then(|writer| writer.run(entries, contributions));
        if written.is_err() {
            // What cannot be removed now is removed when the store is opened.
            let _ = fs::remove_file(&path);
        }
        written
    }

    /// Opens a run: reads its header and its fences.
    pub(super) fn open(folder: &Path, number: u64) -> Result<Self, FileError> {
        let path = path(folder, number);
        let file = File::open(&path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => FileError::damaged(&path, 0, "it is missing"),
            _ => FileError::io("open", &path)(error),
        })?;
        let bytes = file.metadata().map_err(FileError::io("read", &path))?.len();
        let (entry_fences, contribution_fences) = (Vec::new(), Vec::new());
        let mut run = Self { path, file, number, entries: 0, entry_fences, contribution_fences };
        let [entries, entry_blocks, contribution_blocks] = run.read(0, header)?;
        // From here on the counts are bounded by what the file has.
        let fences = entry_blocks.checked_add(contribution_blocks).filter(|fences| {
            let blocks =
                fences.div_ceil(FENCES_PER_BLOCK as u64).checked_add(*fences).and_then(|sum| sum.checked_add(1));
            let possible = entries.div_ceil(MAX_BLOCK_RECORDS as u64) <= entry_blocks;
            possible && blocks.and_then(|blocks| blocks.checked_mul(BLOCK_BYTES as u64)) == Some(bytes)
        });
        let fences = fences.ok_or_else(|| run.damaged(0, "its length is not what its header says"))?;
        run.entries = entries;
        for (at, fence) in (0..).zip(run.fences(fences)?) {
            let list = if at < entry_blocks { &mut run.entry_fences } else { &mut run.contribution_fences };
            list.push(fence);
        }
        Ok(run)
    }

    /// How many blocks the file has.
    pub(super) fn blocks(&self) -> u64 {
        let fences = self.entry_fences.len() + self.contribution_fences.len();
        (1 + fences + fences.div_ceil(FENCES_PER_BLOCK)) as u64
    }

    /// Bytes of the file.
    pub(super) fn bytes(&self) -> u64 {
        self.blocks().saturating_mul(BLOCK_BYTES as u64)
    }

    /// Bytes of memory for the fences.
    pub(super) fn memory_bytes(&self) -> usize {
        (self.entry_fences.len() + self.contribution_fences.len()) * size_of::<u64>()
    }

    /// Appends the entries of these fingerprints, which are ascending.
    pub(super) fn find(&self, fingerprints: &[u64], found: &mut Vec<Entry>) -> Result<(), FileError> {
        let fences = &self.entry_fences;
        let (mut read, mut entries) = (None, Vec::new());
        for fingerprint in fingerprints {
            // The block before the first one that starts with it or above may end with it.
            let first = fences.partition_point(|fence| fence < fingerprint).saturating_sub(1);
            let blocks = (first..).zip(&fences[first..]).take_while(|(_, fence)| *fence <= fingerprint);
            for (block, _) in blocks {
                if read.replace(block) != Some(block) {
                    entries = self.entries_of(block)?;
                }
                let from = entries.partition_point(|entry| entry.fingerprint < *fingerprint);
                found.extend(entries[from..].iter().take_while(|entry| entry.fingerprint == *fingerprint));
            }
        }
        Ok(())
    }

    /// The contribution with this place in the order of admission, if it is in this run.
    pub(super) fn contribution(&self, order: u64) -> Result<Option<ContributionId>, FileError> {
        let after = self.contribution_fences.partition_point(|fence| *fence <= order);
        let Some(block) = after.checked_sub(1) else { return Ok(None) };
        let here = self.contributions_of(block)?.into_iter().find(|contribution| contribution.order == order);
        Ok(here.map(|contribution| contribution.id))
    }

    /// All entries, ascending.
    pub(super) fn scan(&self) -> impl Iterator<Item = Result<Entry, FileError>> {
        self.ascending(self.entry_fences.len(), |block| self.entries_of(block))
    }

    /// All contributions, ascending.
    pub(super) fn scan_contributions(&self) -> impl Iterator<Item = Result<Contribution, FileError>> {
        self.ascending(self.contribution_fences.len(), |block| self.contributions_of(block))
    }

    fn ascending<R: Record>(
        &self,
        blocks: usize,
        read: impl Fn(usize) -> Result<Vec<R>, FileError>,
    ) -> impl Iterator<Item = Result<R, FileError>> {
        let mut last = None;
        (0..blocks).flat_map(move |block| match read(block) {
            Ok(list) if list.first().copied() > last => {
                last = list.last().copied();
                list.into_iter().map(Ok).collect()
            }
            Ok(_) => vec![Err(self.damaged(0, "its blocks are out of order"))],
            Err(error) => vec![Err(error)],
        })
    }

    fn entries_of(&self, block: usize) -> Result<Vec<Entry>, FileError> {
        self.read(1 + block as u64, records)
    }

    fn contributions_of(&self, block: usize) -> Result<Vec<Contribution>, FileError> {
        self.read((1 + self.entry_fences.len() + block) as u64, records)
    }

    /// So many fences, which stand behind as many blocks.
    fn fences(&self, count: u64) -> Result<Vec<u64>, FileError> {
        let mut fences = Vec::new();
        for block in 0..count.div_ceil(FENCES_PER_BLOCK as u64) {
            let content = self.read(1 + count + block, |content| Ok(content.to_vec()))?;
            fences.extend(content.as_chunks().0.iter().map(|fence| u64::from_le_bytes(*fence)));
        }
        fences.truncate(usize::try_from(count).unwrap_or(usize::MAX));
        Ok(fences)
    }

    /// Reads a block, checks it, and hands its content to `parse`.
    fn read<T>(&self, place: u64, parse: impl FnOnce(&[u8]) -> Result<T, &'static str>) -> Result<T, FileError> {
        let offset = place.saturating_mul(BLOCK_BYTES as u64);
        let mut block = [0; BLOCK_BYTES];
        match self.file.read_exact_at(&mut block, offset) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Err("it ends too early"),
            Err(error) => return Err(FileError::io("read", &self.path)(error)),
            Ok(()) => unseal(&block, self.number, place).and_then(parse),
        }
        .map_err(|reason| self.damaged(offset, reason))
    }

    fn damaged(&self, offset: u64, reason: &'static str) -> FileError {
        FileError::Damaged { path: self.path.clone(), offset, reason }
    }
}

fn header(content: &[u8]) -> Result<[u64; 3], &'static str> {
    let numbers = content.strip_prefix(MAGIC).and_then(|rest| rest.strip_prefix(&FORMAT.to_le_bytes()));
    match numbers.map(|numbers| numbers.as_chunks().0) {
        Some(&[entries, entry_blocks, contribution_blocks, ..]) => {
            Ok([entries, entry_blocks, contribution_blocks].map(u64::from_le_bytes))
        }
        _ => Err("it has no header"),
    }
}

/// A run in the making.
struct Writer<'a> {
    path: &'a Path,
    file: BufWriter<File>,
    number: u64,
    /// How many were written.
    blocks: u64,
}

impl<'a> Writer<'a> {
    fn create(path: &'a Path, number: u64) -> Result<Self, FileError> {
        let file = File::options().read(true).write(true).create(true).truncate(true).open(path);
        let file = BufWriter::with_capacity(WRITE_BYTES, file.map_err(FileError::io("create", path))?);
        Ok(Self { path, file, number, blocks: 0 })
    }

    fn run(
        mut self,
        entries: impl Iterator<Item = Result<Entry, FileError>>,
        contributions: impl Iterator<Item = Result<Contribution, FileError>>,
    ) -> Result<Run, FileError> {
        self.block(&[])?; // The place of the header, which is known last.
        let (entries, entry_fences) = self.records(entries)?;
        let (_, contribution_fences) = self.records(contributions)?;
        for fences in [&entry_fences[..], &contribution_fences].concat().chunks(FENCES_PER_BLOCK) {
            let content: Vec<u8> = fences.iter().flat_map(|fence| fence.to_le_bytes()).collect();
            self.block(&content)?;
        }
        let numbers = [entries, entry_fences.len() as u64, contribution_fences.len() as u64].map(u64::to_le_bytes);
        let header = [MAGIC, &FORMAT.to_le_bytes()[..], numbers.as_flattened()].concat();
        let Self { path, file, number, .. } = self;
        let file = file.into_inner().map_err(|error| FileError::io("write", path)(error.into_error()))?;
        file.write_all_at(&seal(&header, number, 0), 0).map_err(FileError::io("write", path))?;
        file.sync_all().map_err(FileError::io("sync", path))?;
        Ok(Run { path: path.to_owned(), file, number, entries, entry_fences, contribution_fences })
    }

    /// Writes blocks of records; tells how many these are, and the fences.
    fn records<R: Record>(
        &mut self,
        records: impl Iterator<Item = Result<R, FileError>>,
    ) -> Result<(u64, Vec<u64>), FileError> {
        let (mut count, mut fences, mut filling) = (0, Vec::new(), Filling::default());
        for record in records {
            let record = record?;
            if !filling.push(&record) {
                self.filled(&mut filling, &mut fences)?;
                filling.push(&record);
            }
            count += 1;
        }
        self.filled(&mut filling, &mut fences)?;
        Ok((count, fences))
    }

    fn filled(&mut self, filling: &mut Filling, fences: &mut Vec<u64>) -> Result<(), FileError> {
        let Some((first, content)) = filling.take() else { return Ok(()) };
        fences.push(first);
        self.block(&content)
    }

    fn block(&mut self, content: &[u8]) -> Result<(), FileError> {
        let block = seal(content, self.number, self.blocks);
        self.blocks += 1;
        self.file.write_all(&block).map_err(FileError::io("write", self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(fingerprint: u64) -> Result<Entry, FileError> {
        Ok(Entry { fingerprint, order: fingerprint % 7, document: 0, struck: false })
    }

    fn written(folder: &Path) -> Run {
        let contributions = (0..150).map(|order| Ok(Contribution { order, id: ContributionId([1; 32]) }));
        Run::write(folder, 5, (0..2_000).map(|number| entry(number * number)), contributions).unwrap()
    }

    #[test]
    fn a_run_holds_what_was_written() {
        let folder = tempfile::tempdir().unwrap();
        for run in [written(folder.path()), Run::open(folder.path(), 5).unwrap()] {
            let all: Vec<Entry> = run.scan().collect::<Result<_, _>>().unwrap();
            assert_eq!((all.len(), run.entries, all[3].fingerprint), (2_000, 2_000, 9));
            assert_eq!(run.scan_contributions().collect::<Result<Vec<_>, _>>().unwrap().len(), 150);
            let mut found = Vec::new();
            let asked: Vec<u64> = (0..3_000_000).collect();
            run.find(&asked, &mut found).unwrap();
            assert_eq!(found, all[..1_733]);
            assert_eq!(run.contribution(149).unwrap(), Some(ContributionId([1; 32])));
            assert_eq!(run.contribution(150).unwrap(), None);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

        /// Whoever writes a file by hand, with the hashes that belong to it, may get wrong answers, and no more.
        #[test]
        fn no_file_panics(
            counts in prop::array::uniform3(prop_oneof![0_u64..3_000, any::<u64>(), Just(u64::MAX)]),
            is_header in any::<bool>(),
            place in 1_u64..20,
            content in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let run = written(folder.path());
            let content = match is_header {
                true => [MAGIC, &FORMAT.to_le_bytes()[..], counts.map(u64::to_le_bytes).as_flattened()].concat(),
                false => content,
            };
            let place = if is_header { 0 } else { place % run.blocks() };
            let file = File::options().write(true).open(&run.path).unwrap();
            file.write_all_at(&seal(&content, 5, place), place * BLOCK_BYTES as u64).unwrap();
            if let Ok(run) = Run::open(folder.path(), 5) {
                let _ = run.find(&[0, 1, 4, 1_000_000, u64::MAX], &mut Vec::new());
                let _ = (run.contribution(0), run.contribution(120), run.scan_contributions().count());
                let again = Run::write(folder.path(), 6, run.scan(), run.scan_contributions());
                prop_assert!(again.is_err() || again.unwrap().entries <= 2_000 + MAX_BLOCK_RECORDS as u64);
            }
        }
    }
}
