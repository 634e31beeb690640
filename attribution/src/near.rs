//! Near-duplicates: how much of a new contribution stands in earlier ones of its DataNet already, but for light edits.
//!
//! # What is compared
//!
//! 0. **Folded text.** Nodes hand over texts that [`protocol::fold`] has folded: invisible code points, other encodings of
//!    the same letters and the like are gone.
//! 1. **Words.** The documents of a contribution, one after the other, as [`protocol::words`], each in one form
//!    whatever its case. Separators do not count, nor does where a document ends: whoever deals a copy out to other
//!    documents changes nothing.
//! 2. **Grams.** For each word the shortest run of words from it that weighs [`GRAM_WEIGHT`], hashed to 64 bits. A word
//!    weighs as many as it has code points, three at most; a Han or kana code point weighs two. So a gram has
//!    K = 8 words of three letters and more (9 of common English), K = 12 of Han or kana, and never more than K = 24.
//! 3. **Fingerprints.** Of every W = [`WINDOW`] consecutive grams the one with the least hash; of equal ones that
//!    which was chosen for the window before, if it is among them, else the rightmost: robust winnowing (Schleimer,
//!    Wilkerson and Aiken, "Winnowing: local algorithms for document fingerprinting", SIGMOD 2003). That is 2 of W +
//!    1 grams of ordinary text, 1 of W of text that repeats one gram. Beyond the paper the first and the last gram
//!    are chosen too, so that a copy of a whole contribution is known as a whole, however short.
//!
//! # What is guaranteed
//!
//! - Two contributions that share a run of W + K − 1 words share a fingerprint: the run holds W consecutive grams,
//!   and the least hash of these is chosen in both. So of words of three letters and more 15 in a row are always
//!   found, of common English about 16; a copy with every 15th word changed may not be. Nothing shorter than a gram
//!   is ever known.
//! - What is known is a function of the documents, of the contributions admitted before, and of those that are struck.
//!   How the store is divided into runs, what was merged and in which order contributions were added changes nothing.
//! - Of a contribution that was added before, whole, all words are known that any gram reaches: all but one or two
//!   letters at its end.
//!
//! # What is measured
//!
//! [`Known::known_words`] counts the words of the new text that lie in a known fingerprint's gram. Each of them
//! stands in the same eight or more words in an earlier contribution (but for a chance of 2⁻⁶⁴ for each pair of
//! fingerprints), so it never exceeds what was repeated. Of a run as long as guaranteed it leaves out at most W − 1
//! words at the start, and at the end less than a gram weighs; a shorter run may be missed. What a text repeats of
//! itself is not known. Paraphrase is not seen.
//!
//! # What is kept
//!
//! A [`Store`] is a folder of sorted runs, LSM-like; it can be made anew from the documents at any time. Of each
//! fingerprint it keeps the [`HOLDERS`] earliest contributions, and of each of these the first document, so boilerplate
//! does not grow without bound. While nobody is struck this changes no share. It does mean that [`Known::repeats`]
//! shows how much of a new text each document holds *as one of the earliest*: the earliest holders of a passage are
//! always all there, whoever copied it as the fifth is not.
//!
//! A struck contribution counts for nothing from then on, but keeps its place among the earliest: else the answer
//! would depend on what was merged before it was struck. So when all of the first [`HOLDERS`] holders of a passage
//! are struck, nothing is known of it, even if a fifth holds it.
//!
//! Memory: a store holds 8 bytes for each block of 4 KiB on disk. Adding takes 6 MiB more, measuring some
//! megabytes and 40 bytes for each document that is repeated, merging some kilobytes for each run.

mod block;
mod error;
mod fold;
mod grams;
mod measure;
mod merge;
mod run;
mod store;
mod version;

pub use error::{AddError, FileError, OpenError, StrikeError};
pub use grams::{Fingerprint, Fingerprints, GRAM_WEIGHT, WINDOW, fingerprints};
pub use measure::Snapshot;
pub use store::Store;

use protocol::ids::ContributionId;

/// The form of the files, and of the fingerprints in them: whatever changes one of them changes this.
pub const FORMAT: u32 = 2;

/// Contributions that are kept for each fingerprint, the earliest ones. One would do to know a passage; more of them
/// let it stay known when one is struck, and show people where it spread.
pub const HOLDERS: usize = 4;

/// Documents that [`Known::repeats`] lists at most.
pub const MAX_REPEATS: usize = 16;

/// Runs of one store.
pub const MAX_RUNS: usize = 128;

/// Struck contributions that wait for the next merge of their run. When there are more, all runs are merged.
pub const MAX_STRUCK: usize = 1 << 16;

/// What is known of a contribution's documents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// All their words.
    pub words: u64,
    /// The words that lie in a gram known from an earlier contribution.
    pub known_words: u64,
    /// Their fingerprints.
    pub fingerprints: u64,
    /// The fingerprints that an earlier contribution has too.
    pub known_fingerprints: u64,
    /// How many earlier documents are repeated.
    pub repeated_documents: u64,
    /// The [`MAX_REPEATS`] of these that cover most, most first, those that cover the same in order of admission.
    pub repeats: Vec<Repeat>,
}

/// An earlier document that is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeat {
    /// The contribution's place in the order of admission.
    pub order: u64,
    /// The contribution.
    pub contribution: ContributionId,
    /// The document's index in it.
    pub document: u32,
    /// How many words of the new documents lie in grams of which it is an earliest holder.
    pub words: u64,
}

impl Known {
    /// The share of the words that is known, in ten-thousandths, rounded down.
    pub fn share_basis_points(&self) -> u32 {
        let share = u128::from(self.known_words) * 10_000 / u128::from(self.words.max(1));
        u32::try_from(share).unwrap_or(10_000)
    }
}

/// Is more known than a DataNet allows? It decides by the share as it is shown.
pub fn exceeds(known: &Known, limit_basis_points: u32) -> bool {
    known.share_basis_points() > limit_basis_points
}
