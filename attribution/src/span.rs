//! The span index: finds which passages of an answer stand word for word in admitted documents.
//!
//! What a span is, when it matches and who holds it is the protocol's rule ([`protocol::evidence`]); what a segment holds,
//! and in which order, is too ([`protocol::segment`]). This is the machine that makes them and searches them:
//!
//! 1. **Segments** ([`Segment`]): immutable, in memory or mapped from a file and checked as they are used. All occurrences
//!    of a passage are neighbours in the order of suffixes; the number of a word's occurrences is the length of its
//!    range, so it is the table of word counts as well. As documents stand in order of admission, the smallest place
//!    in a range is the earliest holder.
//! 2. **Search** ([`Segment::evidence`]): from one maximal span to the next one.
//! 3. **An index** ([`Index`]) is a folder of segments, which grows by new ones, and in which small ones are joined. Its
//!    findings are those of its segments, joined by [`protocol::evidence::Partial::combine`]; they do not depend on the
//!    division, the order of joining, or the number of threads.

mod build;
mod document;
mod explain;
mod index;
mod minima;
mod order;
mod packed;
mod prove;
mod search;
mod sections;
mod segment;
mod trace;
mod writer;

pub use build::{BuildError, DocumentRef, MadeSegment, SegmentBuilder};
pub use document::{DocumentError, check_document};
pub use explain::{Context, Contributed, Occurrences};
pub use index::{FOLDED, Index, IndexError, UNFOLDED};
pub use prove::Prover;
pub use segment::Segment;
pub use trace::{Listed, Longest, MILLION, PAID_BITS, Share, Trace, TracedSpan};
pub use writer::{Added, IndexWriter, Limits, NewDocument, write_file};

use protocol::segment::{HeaderError, Section};
use std::path::PathBuf;

/// Why a segment cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// The file cannot be read or written.
    #[error("{}: {cause}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why; part of the sentence, so no source of its own.
        cause: std::io::Error,
    },
    /// It does not start like a segment.
    #[error(transparent)]
    Header {
        /// What is wrong.
        #[from]
        source: HeaderError,
    },
    /// It is cut short, or something was appended.
    #[error("the segment has {got} bytes and must have {expected}: it was cut short or something was added")]
    Length {
        /// What its header says.
        expected: u64,
        /// What it has.
        got: u64,
    },
    /// Its bytes are not those that it was made of.
    #[error("the segment is damaged: its {} differs from its hash in the 16 KiB from byte {at} on", .section.as_str())]
    Damaged {
        /// The section.
        section: Section,
        /// Where.
        at: u64,
    },
    /// The hashes of its parts do not give the hash of the whole.
    #[error("the segment is damaged: the hashes of the parts of its {} do not give the hash of the whole", .section.as_str())]
    Groups {
        /// The section.
        section: Section,
    },
    /// Its sections contradict each other: it was not made by this software.
    #[error("the segment contradicts itself in its {}: it was not made by the rules", .section.as_str())]
    Contradiction {
        /// The section.
        section: Section,
    },
}
