//! Merging sorted streams, and what of them is kept.

use super::HOLDERS;
use super::block::Entry;
use super::error::FileError;

/// Ascending streams as one. Errors come first.
pub(super) fn merged<T: Copy + Ord, I: Iterator<Item = Result<T, FileError>>>(
    streams: impl Iterator<Item = I>,
) -> impl Iterator<Item = Result<T, FileError>> {
    let mut streams: Vec<_> = streams.map(Iterator::peekable).collect();
    std::iter::from_fn(move || {
        let heads = streams.iter_mut().enumerate();
        let heads = heads.filter_map(|(at, stream)| Some((stream.peek()?.as_ref().ok().copied(), at)));
        let (_, least) = heads.min()?;
        streams[least].next()
    })
}

/// Of ascending entries, tells those of the first [`HOLDERS`] contributions with each fingerprint, once each.
#[derive(Default)]
pub(super) struct Earliest {
    /// The last entry that is kept, and how many its fingerprint has.
    last: Option<(Entry, usize)>,
}

impl Earliest {
    pub(super) fn keeps(&mut self, entry: &Entry) -> bool {
        let count = match self.last {
            Some((last, count)) if last.fingerprint == entry.fingerprint => {
                if last.order == entry.order || count == HOLDERS {
                    return false;
                }
                count + 1
            }
            _ => 1,
        };
        self.last = Some((*entry, count));
        true
    }
}

/// Sorts entries and leaves out what no run keeps.
pub(super) fn keep_earliest(entries: &mut Vec<Entry>) {
    entries.sort_unstable();
    let mut earliest = Earliest::default();
    entries.retain(|entry| earliest.keeps(entry));
}
