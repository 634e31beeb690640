//! What is known of a new contribution: its fingerprints, looked up in all runs of one version.

use super::block::Entry;
use super::error::FileError;
use super::grams::{Fingerprint, fingerprints};
use super::merge::keep_earliest;
use super::run::Run;
use super::{Known, MAX_REPEATS, Repeat};
use protocol::ids::ContributionId;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

/// Fingerprints that are looked up together, in order, so that a block that holds several of them is read once. With
/// their holders they take at most some megabytes of memory.
const BATCH: usize = 16 * 1024;

/// One version of the store. It stays as it is while the store goes on, and can be read from several threads.
#[derive(Debug)]
pub struct Snapshot {
    pub(super) runs: Vec<Arc<Run>>,
    pub(super) struck: BTreeSet<u64>,
}

impl Snapshot {
    /// How much of a contribution's documents is known from contributions admitted before the place `order`, which is
    /// its own: what was added with that place or a later one does not count, nor what is struck.
    pub fn measure(&self, documents: &[&str], order: u64) -> Result<Known, FileError> {
        let mut found = fingerprints(documents);
        let mut tally = Tally::default();
        loop {
            let batch: Vec<Fingerprint> = found.by_ref().take(BATCH).collect();
            if batch.is_empty() {
                break;
            }
            let held = self.held(&batch, order)?;
            for fingerprint in &batch {
                let from = held.partition_point(|entry| entry.fingerprint < fingerprint.value);
                let same = held[from..].iter().take_while(|entry| entry.fingerprint == fingerprint.value);
                tally.add(&fingerprint.words, same);
            }
        }
        Ok(Known {
            words: found.words(),
            known_words: tally.known.words,
            fingerprints: tally.fingerprints,
            known_fingerprints: tally.known_fingerprints,
            repeated_documents: tally.holders.len() as u64,
            repeats: self.repeats(tally.holders)?,
        })
    }

    /// Which contribution was added with this place in the order of admission, struck or not.
    pub fn contribution(&self, order: u64) -> Result<Option<ContributionId>, FileError> {
        for run in &self.runs {
            if let Some(id) = run.contribution(order)? {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }

    /// How many runs there are.
    pub fn runs(&self) -> usize {
        self.runs.len()
    }

    /// How many fingerprints the runs hold, each counted once for every holder that is kept.
    pub fn fingerprints(&self) -> u64 {
        self.runs.iter().map(|run| run.entries).sum()
    }

    /// Bytes of the runs on disk.
    pub fn disk_bytes(&self) -> u64 {
        self.runs.iter().map(|run| run.bytes()).sum()
    }

    /// Bytes of memory that it takes to look something up.
    pub fn memory_bytes(&self) -> usize {
        self.runs.iter().map(|run| run.memory_bytes()).sum()
    }

    /// Who holds these fingerprints, ascending: of the earliest holders those before `order` that are not struck.
    fn held(&self, batch: &[Fingerprint], order: u64) -> Result<Vec<Entry>, FileError> {
        let mut values: Vec<u64> = batch.iter().map(|fingerprint| fingerprint.value).collect();
        values.sort_unstable();
        values.dedup();
        let mut held = Vec::new();
        for run in &self.runs {
            run.find(&values, &mut held)?;
            keep_earliest(&mut held);
        }
        // Only now: whoever is left out here keeps his place among the earliest, in this run or that.
        held.retain(|entry| entry.order < order && !entry.struck && !self.struck.contains(&entry.order));
        Ok(held)
    }

    fn repeats(&self, holders: BTreeMap<(u64, u32), Cover>) -> Result<Vec<Repeat>, FileError> {
        let mut most: Vec<_> = holders.into_iter().map(|(holder, cover)| (Reverse(cover.words), holder)).collect();
        most.sort_unstable();
        most.truncate(MAX_REPEATS);
        let mut repeats = Vec::with_capacity(most.len());
        for (Reverse(words), (order, document)) in most {
            // The run that named the holder names the contribution as well, unless somebody wrote it by hand.
            if let Some(contribution) = self.contribution(order)? {
                repeats.push(Repeat { order, contribution, document, words });
            }
        }
        Ok(repeats)
    }
}

/// What was found so far, in order of the words.
#[derive(Debug, Default)]
struct Tally {
    fingerprints: u64,
    known_fingerprints: u64,
    known: Cover,
    /// By order and document.
    holders: BTreeMap<(u64, u32), Cover>,
}

impl Tally {
    fn add<'a>(&mut self, words: &Range<u64>, held: impl Iterator<Item = &'a Entry>) {
        self.fingerprints += 1;
        let mut is_known = false;
        for entry in held {
            is_known = true;
            self.holders.entry((entry.order, entry.document)).or_default().add(words);
        }
        if is_known {
            self.known_fingerprints += 1;
            self.known.add(words);
        }
    }
}

/// Words that are covered by ranges.
#[derive(Clone, Copy, Debug, Default)]
struct Cover {
    words: u64,
    /// No range so far goes further.
    end: u64,
}

impl Cover {
    /// Covers a range, which does not start before the one before.
    fn add(&mut self, range: &Range<u64>) {
        self.words += range.end.saturating_sub(range.start.max(self.end));
        self.end = self.end.max(range.end);
    }
}
