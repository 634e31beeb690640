//! Passages as their documents have them, for people. Few words may stand for megabytes of a document, as all that lies
//! between two words folds to one space: what is long is cut in its middle.

use protocol::ids::Hash32;
use std::ops::Range;
use storage::BlobStore;

/// Bytes of a passage that are quoted at most.
pub const MAX_QUOTED_BYTES: u64 = 4096;
/// What stands where something is left out.
const LEFT_OUT: char = '…';

/// A passage as its document has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quote {
    /// The byte at which it starts.
    pub offset: u64,
    /// The text before it.
    pub before: String,
    /// Its text.
    pub passage: String,
    /// Bytes left out of its middle.
    pub left_out: u64,
    /// The text after it.
    pub after: String,
}

impl Quote {
    /// Bytes of text.
    pub fn len(&self) -> usize {
        self.before.len() + self.passage.len() + self.after.len()
    }

    /// Is there no text?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Quotes a range of a document with up to so many bytes of text on each side. Nothing where it is not here.
pub(super) fn read(blobs: &BlobStore, document: &Hash32, range: Range<u64>, around: u64) -> Option<Quote> {
    let size = blobs.len(document).ok()??;
    let Range { start, end } = range;
    let length = end.checked_sub(start).filter(|_| end <= size)?;
    let text = |from: u64, to: u64| {
        let bytes = blobs.read_range(document, from, to.checked_sub(from)?).ok()??;
        Some(whole_letters(&bytes).into_owned())
    };
    let before = text(start.saturating_sub(around), start)?;
    let after = text(end, end.saturating_add(around).min(size))?;
    if length <= MAX_QUOTED_BYTES {
        return Some(Quote { offset: start, before, passage: text(start, end)?, left_out: 0, after });
    }
    let (head, tail) = (text(start, start + MAX_QUOTED_BYTES / 2)?, text(end - MAX_QUOTED_BYTES / 2, end)?);
    let left_out = length.saturating_sub((head.len() + tail.len()) as u64);
    Some(Quote { offset: start, before, passage: format!("{head}{LEFT_OUT}{tail}"), left_out, after })
}

/// Text whose ends may be parts of a code point, without them.
fn whole_letters(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    let is_continuation = |byte: &&u8| **byte & 0b1100_0000 == 0b1000_0000;
    let first = bytes.iter().take_while(is_continuation).count();
    let bytes = &bytes[first..];
    let end = match std::str::from_utf8(bytes) {
        // What is wrong but not cut short is damaged, and shown as such.
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        _ => bytes.len(),
    };
    String::from_utf8_lossy(&bytes[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_passage_is_cut_in_its_middle_between_letters() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = BlobStore::open(folder.path(), 1 << 30).unwrap();
        let run = "ä".repeat(1 << 20);
        let text = format!("vor Über{run}über nach");
        let hash = blobs.put(text.as_bytes()).unwrap();
        let place = |needle: &str| text.find(needle).unwrap() as u64;
        let (start, end) = (place("Über"), place(" nach"));
        let quote = read(&blobs, &hash, start..end, 4).unwrap();
        assert_eq!((quote.before.as_str(), quote.after.as_str()), ("vor ", " nac"));
        assert!((quote.len() as u64) < 2 * MAX_QUOTED_BYTES, "{}", quote.len());
        let (head, tail) = quote.passage.split_once(LEFT_OUT).unwrap();
        assert!(head.starts_with("Überä") && tail.ends_with("äüber") && !quote.passage.contains('\u{fffd}'));
        assert_eq!(quote.left_out + (head.len() + tail.len()) as u64, end - start);

        let whole = read(&blobs, &hash, start..start + 5, 3).unwrap();
        assert_eq!((whole.passage.as_str(), whole.left_out, whole.before.as_str()), ("Über", 0, "or "));
        assert_eq!(read(&blobs, &hash, start..u64::MAX, 4), None);
    }
}
