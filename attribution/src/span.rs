//! The span index: finds which passages of an answer stand word for word in admitted documents.
//!
//! What a span is, when it matches and who holds it is the protocol's rule ([`protocol::evidence`]). This is the
//! machine that finds them, in three steps:
//!
//! 1. **The text.** All documents of the index stand one after the other as raw UTF-8, in order of admission, with the
//!    byte 0xFF behind each. They are compared as if the byte 0xFE stood behind every word. Neither byte occurs in UTF-8.
//!    An answer is compared the same way, so a match that starts at a word's start and ends behind a mark is exactly a
//!    match of whole words on both sides, and none crosses documents.
//! 2. **A sparse suffix array**: the places where words start, in the order of the text that follows them. It is a
//!    function of the text alone, so anyone can rebuild and compare it. All occurrences of a passage are neighbours in
//!    it; the number of a word's occurrences is the length of its range, so it is the table of word counts as well. As
//!    documents stand in order of admission, the smallest place in a range is the earliest holder.
//! 3. **Search** ([`SpanIndex::evidence`]): from one maximal span to the next one. A start further right never matches
//!    less far, so the next maximal span starts at the leftmost word from which the answer matches up to and including
//!    the first word not reached so far; that word is found by doubling steps leftwards.
//!
//! An index is immutable. A DataNet is searched in as many indices as one likes, and their findings are joined by
//! [`protocol::evidence::Partial::combine`]; the result does not depend on the division.
//!
//! Memory: the text and about 3 bytes a word; while it is built, 6 more for each byte.

mod build;
mod document;
mod explain;
mod marked;
mod minima;
mod packed;
mod search;

pub use build::{BuildError, DocumentRef, IndexBuilder, MAX_MARKED_BYTES};
pub use document::{DocumentError, check_document};
pub use explain::{Context, Contributed, Occurrences};

use build::Document;
use minima::Minima;
use packed::Packed;

/// An immutable index of documents' words.
#[derive(Debug)]
pub struct SpanIndex {
    /// The text of all documents.
    text: Vec<u8>,
    /// The documents, in order of admission, which is their order in `text`.
    documents: Vec<Document>,
    /// Where words start in `text`, in the order of what follows.
    suffixes: Packed,
    /// For each pair of first bytes, the first entry of `suffixes` that is not below it; one more at the end.
    buckets: Vec<u32>,
    /// The smallest entry of any range of `suffixes`.
    minima: Minima,
}

impl SpanIndex {
    /// How many words all documents have.
    pub fn words(&self) -> u64 {
        self.suffixes.len() as u64
    }

    /// How many documents there are.
    pub fn documents(&self) -> usize {
        self.documents.len()
    }

    /// Bytes of memory that the index holds.
    pub fn memory_bytes(&self) -> usize {
        let numbers = self.buckets.len() + self.minima.len();
        self.text.len()
            + self.suffixes.memory_bytes()
            + numbers * size_of::<u32>()
            + self.documents.len() * size_of::<Document>()
    }
}
