//! The store: a folder of runs, added to and merged.

use super::block::{Contribution, Entry};
use super::error::{AddError, FileError, OpenError, StrikeError};
use super::grams::fingerprints;
use super::measure::Snapshot;
use super::merge::{Earliest, keep_earliest, merged};
use super::run::{self, Run};
use super::version::{NEXT_VERSION, VERSION, Version};
use super::{MAX_RUNS, MAX_STRUCK};
use protocol::ids::ContributionId;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const LOCK: &str = "lock";

/// So many runs of one tier are merged. A run of b blocks has the tier log(b) to this base, so an entry is rewritten
/// about once for each tier, and there are three runs of each at most.
const FANOUT: usize = 4;

/// Entries of a contribution that wait in memory, 24 bytes each, before they are written to a file.
const MAX_WAITING: usize = 256 * 1024;

// A file has less than 4^32 blocks.
const _: () = assert!((FANOUT - 1) * 32 < MAX_RUNS);

/// The fingerprints of a DataNet's contributions, in a folder of their own.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    version: Version,
    snapshot: Arc<Snapshot>,
    /// Held while the store is open.
    _lock: File,
}

impl Store {
    /// Opens the store in `folder`, or begins an empty one there. What a crash left incomplete is removed.
    pub fn open(folder: &Path) -> Result<Self, OpenError> {
        fs::create_dir_all(folder).map_err(FileError::io("create the folder", folder))?;
        // Twice: nothing is put into a folder that is none of ours, and nothing is removed without the lock.
        run_numbers(folder)?;
        let lock = lock(folder)?;
        let files = run_numbers(folder)?;
        let version = match Version::read(folder)? {
            Some(version) => version,
            None if files.is_empty() => {
                let first = Version::default();
                first.write(folder)?;
                first
            }
            // The first version is older than the first run, so this is no crash.
            None => return Err(FileError::damaged(&folder.join(VERSION), 0, "it is missing").into()),
        };
        let leftovers = files.iter().filter(|number| !version.runs.contains(number));
        for path in leftovers.map(|number| run::path(folder, *number)).chain([folder.join(NEXT_VERSION)]) {
            remove(&path)?;
        }
        let runs = version.runs.iter().map(|number| Run::open(folder, *number).map(Arc::new));
        let runs = runs.collect::<Result<Vec<_>, _>>()?;
        let snapshot = Arc::new(Snapshot { runs, struck: version.struck.clone() });
        Ok(Self { folder: folder.to_owned(), version, snapshot, _lock: lock })
    }

    /// The store as it is now.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// Adds a contribution's documents. When this returns they survive a power cut; when it fails, nothing was added.
    /// (When the very last sync fails, a store opened later may have them; [`Snapshot::contribution`] tells.)
    ///
    /// Merges that are due come first. They take time in proportion to what is merged.
    ///
    /// # Errors
    /// [`AddError::Taken`] when a contribution was added with this place in the order of admission, even the same one.
    pub fn add(&mut self, order: u64, contribution: ContributionId, documents: &[&str]) -> Result<(), AddError> {
        if let Some(holder) = self.snapshot.contribution(order)? {
            return Err(AddError::Taken { order, holder });
        }
        while let Some(runs) = self.due() {
            self.replace(runs)?;
        }
        let run = self.write(Contribution { order, id: contribution }, documents)?;
        let runs = self.snapshot.runs.iter().cloned().chain([run]).collect();
        Ok(self.publish(runs, self.version.struck.clone())?)
    }

    /// Strikes a contribution: from now on nothing is known from it.
    pub fn strike(&mut self, order: u64) -> Result<(), StrikeError> {
        if self.snapshot.contribution(order)?.is_none() {
            return Err(StrikeError::Missing { order });
        }
        if self.version.struck.len() == MAX_STRUCK {
            self.compact()?;
        }
        let mut struck = self.version.struck.clone();
        struck.insert(order);
        Ok(self.publish(self.snapshot.runs.clone(), struck)?)
    }

    /// Merges all runs into one. Never needed; lookups are fastest after it.
    pub fn compact(&mut self) -> Result<(), FileError> {
        self.replace(self.snapshot.runs.clone())
    }

    /// The runs of the lowest tier that has too many.
    fn due(&self) -> Option<Vec<Arc<Run>>> {
        let mut tiers: BTreeMap<u32, Vec<Arc<Run>>> = BTreeMap::new();
        for run in &self.snapshot.runs {
            tiers.entry(run.blocks().ilog(FANOUT as u64)).or_default().push(Arc::clone(run));
        }
        tiers.into_values().find(|runs| runs.len() >= FANOUT)
    }

    /// Puts one run in the place of several.
    fn replace(&mut self, old: Vec<Arc<Run>>) -> Result<(), FileError> {
        let merged = self.merge(&old)?;
        let mut struck = BTreeSet::new();
        for order in &self.version.struck {
            // Who is struck in the run itself need not be remembered beside it.
            if merged.contribution(*order)?.is_none() {
                struck.insert(*order);
            }
        }
        let is_old = |run: &Arc<Run>| old.iter().any(|old| old.number == run.number);
        let kept = self.snapshot.runs.iter().filter(|run| !is_old(run)).cloned();
        let runs = kept.chain([Arc::new(merged)]).collect();
        self.publish(runs, struck)?;
        self.remove_runs(old.iter().map(|run| run.number));
        Ok(())
    }

    /// Writes one run of what several hold, with the struck contributions marked.
    fn merge(&mut self, runs: &[Arc<Run>]) -> Result<Run, FileError> {
        let number = self.next_number();
        let struck = &self.version.struck;
        let mark = |entry: Entry| Entry { struck: entry.struck || struck.contains(&entry.order), ..entry };
        let mut earliest = Earliest::default();
        let entries = merged(runs.iter().map(|run| run.scan()))
            .map(|entry| entry.map(mark))
            .filter(|entry| entry.as_ref().map_or(true, |entry| earliest.keeps(entry)));
        let contributions = merged(runs.iter().map(|run| run.scan_contributions()));
        Run::write(&self.folder, number, entries, contributions)
    }

    /// Writes a contribution's run.
    fn write(&mut self, contribution: Contribution, documents: &[&str]) -> Result<Arc<Run>, FileError> {
        let mut parts = Vec::new();
        let written = self.write_parts(contribution, documents, &mut parts);
        let whole = written.and_then(|()| match parts.as_slice() {
            [part] => Ok(Arc::clone(part)),
            several => self.merge(several).map(Arc::new),
        });
        // What is not the whole is not needed any more, whether this went well or not.
        let whole_number = whole.as_ref().ok().map(|run| run.number);
        self.remove_runs(parts.iter().map(|part| part.number).filter(|number| Some(*number) != whole_number));
        whole
    }

    /// Writes a contribution's entries, in as many runs as memory demands. The first one names the contribution.
    fn write_parts(
        &mut self,
        contribution: Contribution,
        documents: &[&str],
        parts: &mut Vec<Arc<Run>>,
    ) -> Result<(), FileError> {
        let mut part = |entries: &mut Vec<Entry>| {
            let named = parts.is_empty().then_some(Ok(contribution));
            let number = self.next_number();
            parts.push(Arc::new(Run::write(&self.folder, number, entries.drain(..).map(Ok), named.into_iter())?));
            Ok(())
        };
        let mut entries = Vec::new();
        for found in fingerprints(documents) {
            if entries.len() == MAX_WAITING {
                keep_earliest(&mut entries);
                if entries.len() > MAX_WAITING / 2 {
                    part(&mut entries)?;
                }
            }
            let (fingerprint, document) = (found.value, found.document);
            entries.push(Entry { fingerprint, order: contribution.order, document, struck: false });
        }
        keep_earliest(&mut entries);
        part(&mut entries)
    }

    fn next_number(&mut self) -> u64 {
        let number = self.version.next_number;
        self.version.next_number += 1;
        number
    }

    fn publish(&mut self, runs: Vec<Arc<Run>>, struck: BTreeSet<u64>) -> Result<(), FileError> {
        let numbers = runs.iter().map(|run| run.number).collect();
        let version = Version { next_number: self.version.next_number, runs: numbers, struck: struck.clone() };
        version.write(&self.folder)?;
        self.version = version;
        self.snapshot = Arc::new(Snapshot { runs, struck });
        Ok(())
    }

    fn remove_runs(&self, numbers: impl Iterator<Item = u64>) {
        for number in numbers {
            // What cannot be removed now is removed when the store is opened.
            let _ = fs::remove_file(run::path(&self.folder, number));
        }
    }
}

fn lock(folder: &Path) -> Result<File, OpenError> {
    let path = folder.join(LOCK);
    let file = File::options().write(true).create(true).truncate(false).open(&path);
    let file = file.map_err(FileError::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked { folder: folder.to_owned() }),
        Err(TryLockError::Error(error)) => Err(FileError::io("lock", &path)(error).into()),
    }
}

/// The numbers of the runs in a folder, which holds nothing but what a store writes.
fn run_numbers(folder: &Path) -> Result<BTreeSet<u64>, OpenError> {
    let mut numbers = BTreeSet::new();
    for entry in fs::read_dir(folder).map_err(FileError::io("read the folder", folder))? {
        let name = entry.map_err(FileError::io("read the folder", folder))?.file_name();
        let name = name.to_string_lossy();
        let number = name.strip_suffix(".run").and_then(|number| number.parse().ok());
        match number.filter(|number| *name == *run::name(*number)) {
            Some(number) => _ = numbers.insert(number),
            None if [LOCK, VERSION, NEXT_VERSION].contains(&&*name) => (),
            None => return Err(OpenError::Foreign { folder: folder.to_owned(), name: name.into_owned() }),
        }
    }
    Ok(numbers)
}

fn remove(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(FileError::io("remove", path)(error)),
        _ => Ok(()),
    }
}
