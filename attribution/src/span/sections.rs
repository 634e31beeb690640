//! The bytes of a segment, in memory or mapped from a file, checked against its root as they are used.
//!
//! Opening looks at the header alone, however large the file is. The first use of each 16 KiB of a section compares
//! their BLAKE3 chaining value with the one in the file, and the first use of a section at all checks these values
//! against its hash in the header. What does not fit is an error, every time.

use super::SegmentError;
use blake3::hazmat::{
    ChainingValue, HasherExt as _, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root,
};
use memmap2::Mmap;
use protocol::ids::Hash32;
use protocol::segment::{GROUP_BYTES, HEADER_BYTES, Header, HeaderError, SECTIONS, Section, SectionEntry, groups_of};
use std::fs::File;
use std::io::Read;
use std::ops::{Deref, Range};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The bytes of a segment.
#[derive(Debug)]
pub(super) struct Sections {
    header: Header,
    root: Hash32,
    bytes: Bytes,
    layout: [Range<usize>; SECTIONS + 1],
    checks: [Check; SECTIONS],
}

#[derive(Debug)]
enum Bytes {
    Memory(Vec<u8>),
    Mapped(Mmap),
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Memory(bytes) => bytes,
            Self::Mapped(bytes) => bytes,
        }
    }
}

/// What of a section was found right.
#[derive(Debug)]
struct Check {
    /// The chaining values of its groups, once they were found to give its hash; or that they do not.
    values: OnceLock<Option<Vec<ChainingValue>>>,
    /// A bit for each group that was found right.
    groups: Box<[AtomicU64]>,
}

impl Sections {
    /// A segment in memory that was just made.
    pub(super) fn in_memory(header: Header, bytes: Vec<u8>) -> Self {
        Self::new(header, Bytes::Memory(bytes), u64::MAX)
    }

    /// The segment in a file.
    pub(super) fn open(path: &Path) -> Result<Self, SegmentError> {
        let io = |cause| SegmentError::Io { path: path.to_owned(), cause };
        let mut file = File::open(path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        let mut start = Vec::with_capacity(HEADER_BYTES);
        file.by_ref().take(HEADER_BYTES as u64).read_to_end(&mut start).map_err(io)?;
        let header = Header::from_bytes(&start).map_err(|source| match source {
            HeaderError::Short { .. } => SegmentError::Length { expected: HEADER_BYTES as u64, got: length },
            source => SegmentError::Header { source },
        })?;
        if length != header.file_bytes() {
            return Err(SegmentError::Length { expected: header.file_bytes(), got: length });
        }
        #[expect(unsafe_code, reason = "the one way to search files larger than memory; see docs/adr/0018")]
        // SAFETY: segments are never changed: they are written under another name, synced, made read-only and renamed,
        // and a file that is deleted stays readable as long as it is mapped. Nothing here interprets the bytes beyond
        // what is checked, so whoever changes one nevertheless is answered with an error or with wrong numbers; whoever
        // cuts it short while it is in use stops this process, as with a program's own file.
        let bytes = unsafe { Mmap::map(&file) }.map_err(io)?;
        Ok(Self::new(header, Bytes::Mapped(bytes), 0))
    }

    fn new(header: Header, bytes: Bytes, checked: u64) -> Self {
        let narrow = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
        let layout = header.layout().map(|range| narrow(range.start)..narrow(range.end));
        let check = |entry: &SectionEntry| {
            let groups = narrow(entry.length.div_ceil(GROUP_BYTES as u64).div_ceil(64));
            Check { values: OnceLock::new(), groups: (0..groups).map(|_| AtomicU64::new(checked)).collect() }
        };
        let checks = std::array::from_fn(|index| check(&header.sections[index]));
        Self { root: header.root(), header, bytes, layout, checks }
    }

    pub(super) fn header(&self) -> &Header {
        &self.header
    }

    pub(super) fn root(&self) -> Hash32 {
        self.root
    }

    /// Bytes of the whole segment.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The whole segment, unchecked: for writing it down.
    pub(super) fn raw(&self) -> &[u8] {
        &self.bytes
    }

    /// A part of a section; what is behind its end is left out.
    pub(super) fn get(&self, section: Section, range: Range<usize>) -> Result<&[u8], SegmentError> {
        let place = &self.layout[section as usize];
        let whole = &self.bytes[place.clone()];
        let end = range.end.min(whole.len());
        let start = range.start.min(end);
        if start < end {
            let (first, last) = (start / GROUP_BYTES, (end - 1) / GROUP_BYTES);
            for group in first..=last {
                if self.checks[section as usize].groups[group / 64].load(Ordering::Relaxed) >> (group % 64) & 1 == 0 {
                    self.check(section, group)?;
                }
            }
        }
        Ok(&whole[start..end])
    }

    /// A byte of a section, unchecked: for having it near, not for using it.
    pub(super) fn near(&self, section: Section, at: usize) -> u8 {
        self.bytes[self.layout[section as usize].clone()].get(at).copied().unwrap_or(0)
    }

    /// A whole section.
    pub(super) fn all(&self, section: Section) -> Result<&[u8], SegmentError> {
        self.get(section, 0..usize::MAX)
    }

    /// Checks everything.
    pub(super) fn verify(&self) -> Result<(), SegmentError> {
        Section::ALL.into_iter().try_for_each(|section| self.all(section).map(|_| ()))
    }

    #[cold]
    fn check(&self, section: Section, group: usize) -> Result<(), SegmentError> {
        let damaged = || SegmentError::Damaged { section, at: (group * GROUP_BYTES) as u64 };
        let check = &self.checks[section as usize];
        let whole = &self.bytes[self.layout[section as usize].clone()];
        let start = group * GROUP_BYTES;
        let bytes = &whole[start..whole.len().min(start + GROUP_BYTES)];
        let entry = self.header.section(section);
        if groups_of(entry.length) == 0 {
            if blake3::hash(bytes) != entry.hash.0 {
                return Err(damaged());
            }
        } else {
            let values = check.values.get_or_init(|| self.values(section)).as_ref();
            let expected = values.ok_or(SegmentError::Groups { section })?.get(group);
            if expected != Some(&value(bytes, start as u64)) {
                return Err(damaged());
            }
        }
        check.groups[group / 64].fetch_or(1 << (group % 64), Ordering::Relaxed);
        Ok(())
    }

    /// The chaining values of a section's groups, if they give its hash.
    fn values(&self, section: Section) -> Option<Vec<ChainingValue>> {
        let before: u64 = self.header.sections[..section as usize].iter().map(|entry| groups_of(entry.length)).sum();
        let entry = self.header.section(section);
        let all = &self.bytes[self.layout[SECTIONS].clone()];
        let (all, _) = all.as_chunks::<32>();
        let from = usize::try_from(before).ok()?;
        let values = all.get(from..from + usize::try_from(groups_of(entry.length)).ok()?)?.to_vec();
        (root(&values, entry.length) == entry.hash).then_some(values)
    }
}

/// The chaining value of a group that starts so many bytes into a section.
fn value(bytes: &[u8], start: u64) -> ChainingValue {
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(start).update(bytes);
    hasher.finalize_non_root()
}

/// The chaining values of a section's groups; none where its hash serves.
pub(super) fn group_values(section: &[u8]) -> Vec<ChainingValue> {
    if groups_of(section.len() as u64) == 0 {
        return Vec::new();
    }
    let groups = section.chunks(GROUP_BYTES).zip((0_u64..).step_by(GROUP_BYTES));
    groups.map(|(bytes, start)| value(bytes, start)).collect()
}

/// The hash of a section of so many bytes, by the values of its groups, of which there are two or more.
pub(super) fn root(values: &[ChainingValue], length: u64) -> Hash32 {
    let (left, right) = halves(values, length);
    Hash32(*merge_subtrees_root(&left, &right, Mode::Hash).as_bytes())
}

fn halves(values: &[ChainingValue], length: u64) -> (ChainingValue, ChainingValue) {
    let left = left_subtree_len(length);
    let (first, second) =
        values.split_at(usize::try_from(left / GROUP_BYTES as u64).unwrap_or(usize::MAX).min(values.len()));
    (subtree(first, left), subtree(second, length - left))
}

fn subtree(values: &[ChainingValue], length: u64) -> ChainingValue {
    match values {
        [] => [0; 32],
        [value] => *value,
        values => {
            let (left, right) = halves(values, length);
            merge_subtrees_non_root(&left, &right, Mode::Hash)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_give_the_hash_of_the_whole() {
        let group = GROUP_BYTES;
        for length in [group + 1, 2 * group, 2 * group + 1, 3 * group, 5 * group - 1, 8 * group, 9 * group + 77] {
            let bytes: Vec<u8> = (0..length).map(|at| (at * 31 % 251).to_le_bytes()[0]).collect();
            let values = group_values(&bytes);
            assert_eq!(root(&values, length as u64).0, *blake3::hash(&bytes).as_bytes(), "{length}");
        }
        assert_eq!(group_values(&[1; 16 * 1024]), Vec::<ChainingValue>::new());
    }
}
