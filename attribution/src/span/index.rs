//! An index: a folder of segments.
//!
//! The file `index` names the segments that belong to it, in order of admission, and is replaced as a whole; so whatever
//! happens leaves the old version or the new one. A segment's file is named by its root, is written under another name,
//! synced and renamed before a version names it, and is deleted once none does; what a crash left over is deleted by the
//! next writer. There is one writer at a time, and any number of readers.

use super::{BuildError, Occurrences, Segment, SegmentError};
use borsh::{BorshDeserialize, BorshSerialize};
use protocol::evidence::{Answer, Holder, Partial};
use protocol::ids::Hash32;
use std::fs::{self, File};
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// What the file `index` starts with.
const MAGIC: [u8; 8] = *b"trib-idx";
/// The version of its form.
const FORM: u32 = 1;
/// The name of the file.
pub(super) const VERSION_FILE: &str = "index";
/// Bytes of that file at most: some 300,000 segments.
const MAX_VERSION_BYTES: u64 = 16 * 1024 * 1024;
/// How often a reader looks again when a writer deleted a segment under it.
const TRIES: usize = 10;

/// Text is indexed as it is.
pub const UNFOLDED: u32 = 0;
/// Text is folded by [`protocol::fold`].
pub const FOLDED: u32 = 1;

const _: () = assert!(FOLDED == protocol::segment::MAX_FOLD);

/// Which segments an index consists of.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) struct Version {
    /// Rises by one with every change.
    pub(super) number: u64,
    /// The rule by which text is folded; 0 for none.
    pub(super) fold: u32,
    /// The place of the next document in the order of admission.
    pub(super) next_order: u64,
    /// In order of admission.
    pub(super) segments: Vec<Entry>,
}

/// A segment of an index.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) struct Entry {
    /// Its root.
    pub(super) root: Hash32,
    /// Bytes of text.
    pub(super) text_bytes: u64,
}

/// Why an index cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// A file or folder cannot be read or written.
    #[error("{}: {cause}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why; part of the sentence, so no source of its own.
        cause: std::io::Error,
    },
    /// There is none.
    #[error("there is no index in {}: it has no file {VERSION_FILE:?}", folder.display())]
    Missing {
        /// The folder.
        folder: PathBuf,
    },
    /// There is something already.
    #[error("{} holds something already: an index is made in a new or empty folder", folder.display())]
    NotEmpty {
        /// The folder.
        folder: PathBuf,
    },
    /// Another process changes it.
    #[error("another process is changing the index in {}", folder.display())]
    Locked {
        /// The folder.
        folder: PathBuf,
    },
    /// It was made by another version of this software.
    #[error("{} has form {got}; this software reads form {FORM}: build the index again", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// Its form.
        got: u32,
    },
    /// The file that names the segments is damaged.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
    /// A segment cannot be used.
    #[error("{}: {cause}", path.display())]
    Segment {
        /// Its file.
        path: PathBuf,
        /// Why; part of the sentence, so no source of its own.
        cause: SegmentError,
    },
    /// A segment in memory cannot be used.
    #[error(transparent)]
    Search(#[from] SegmentError),
    /// Documents cannot be indexed.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// A document does not fit into the memory that may be used.
    #[error(
        "document {name:?} of {bytes} bytes takes about {needs} bytes of memory to index, more than the {budget} that one \
         thread may use"
    )]
    DocumentTooLarge {
        /// Its name.
        name: String,
        /// Its length.
        bytes: u64,
        /// What it takes.
        needs: u64,
        /// What there is.
        budget: u64,
    },
    /// There is no such document.
    #[error("no document is called {name:?}")]
    NoDocument {
        /// The name.
        name: String,
    },
}

impl IndexError {
    /// The reason as one word, for programs.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Io { .. } => "io",
            Self::Missing { .. } => "no_index",
            Self::NotEmpty { .. } => "not_empty",
            Self::Locked { .. } => "locked",
            Self::Form { .. } => "version",
            Self::Damaged { .. } | Self::Segment { .. } | Self::Search(_) => "damaged",
            Self::Build(_) => "documents",
            Self::DocumentTooLarge { .. } => "too_large",
            Self::NoDocument { .. } => "unknown",
        }
    }
}

/// An index, opened for searching: one version of it, whatever writers do meanwhile.
#[derive(Debug)]
pub struct Index {
    folder: PathBuf,
    version: Version,
    segments: Vec<Segment>,
}

impl Index {
    /// Opens an index. Reads the headers of its segments.
    ///
    /// # Errors
    /// When there is none, or a part of it is missing, damaged or of another version.
    pub fn open(folder: &Path) -> Result<Self, IndexError> {
        let mut tries = TRIES;
        loop {
            let version = Version::read(folder)?;
            let segments: Result<Vec<_>, _> =
                version.segments.iter().map(|entry| open_segment(folder, &entry.root)).collect();
            tries -= 1;
            match segments {
                Ok(segments) => return Ok(Self { folder: folder.to_owned(), version, segments }),
                // A writer may have joined segments since the version was read.
                Err(_) if tries > 0 && Version::read(folder)? != version => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Its segments, in order of admission.
    pub fn segments(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter()
    }

    /// How often it was changed.
    pub fn version(&self) -> u64 {
        self.version.number
    }

    /// The rule by which its text is folded; 0 for none.
    pub fn fold(&self) -> u32 {
        self.version.fold
    }

    /// What this index's documents say about an answer.
    ///
    /// # Errors
    /// When a segment is damaged.
    pub fn evidence(&self, answer: &Answer<'_>) -> Result<Partial, IndexError> {
        let mut all = Partial::empty(answer);
        for segment in &self.segments {
            let found = self.in_segment(segment, segment.evidence(answer))?;
            // Counts of documents on one disk are far below 2^64.
            all = all.combine(answer, &found).map_err(|_| IndexError::Damaged {
                path: self.folder.clone(),
                reason: "its segments count more words than there can be",
            })?;
        }
        Ok(all)
    }

    /// Where a passage stands, with up to `around` bytes of text on each side of its earliest occurrence.
    ///
    /// # Errors
    /// When a segment is damaged.
    pub fn explain(&self, passage: &str, around: usize) -> Result<Occurrences, IndexError> {
        self.segments.iter().try_fold(Occurrences::default(), |all, segment| {
            Ok(all.merge(self.in_segment(segment, segment.explain(passage, around))?))
        })
    }

    /// How often a passage, which starts and ends with words, occurs.
    ///
    /// # Errors
    /// When a segment is damaged.
    pub fn count(&self, passage: &str) -> Result<u64, IndexError> {
        self.segments.iter().try_fold(0, |all, segment| {
            Ok(all + self.in_segment(segment, segment.occurrences_of(passage))?.len() as u64)
        })
    }

    /// The segment and the number there of the document that a holder names.
    ///
    /// # Errors
    /// When there is none, or a segment is damaged.
    pub fn document_of(&self, holder: &Holder) -> Result<(&Segment, u32), IndexError> {
        let wanted = (holder.order, holder.document);
        for segment in &self.segments {
            let (mut low, mut high) = (0, segment.documents());
            while low < high {
                let middle = low + (high - low) / 2;
                let record = self.in_segment(segment, segment.document(middle))?;
                match (record.order, record.document).cmp(&wanted) {
                    std::cmp::Ordering::Equal => return Ok((segment, middle)),
                    std::cmp::Ordering::Less => low = middle + 1,
                    std::cmp::Ordering::Greater => high = middle,
                }
            }
        }
        Err(IndexError::NoDocument { name: format!("{}:{}", holder.order, holder.document) })
    }

    /// What people call the document of a holder.
    ///
    /// # Errors
    /// When there is none, or a segment is damaged.
    pub fn name_of(&self, holder: &Holder) -> Result<String, IndexError> {
        let (segment, number) = self.document_of(holder)?;
        self.in_segment(segment, segment.document_name(number)).map(ToOwned::to_owned)
    }

    /// What people call the contributor of a holder's document.
    ///
    /// # Errors
    /// When there is none, or a segment is damaged.
    pub fn contributor_of(&self, holder: &Holder) -> Result<String, IndexError> {
        let (segment, number) = self.document_of(holder)?;
        let record = self.in_segment(segment, segment.document(number))?;
        self.in_segment(segment, segment.contributor_name(record.contributor)).map(ToOwned::to_owned)
    }

    /// The byte at which a holder's passage starts in its document as that was contributed.
    ///
    /// # Errors
    /// When there is no such document, or a segment is damaged.
    pub fn original_offset(&self, holder: &Holder) -> Result<u64, IndexError> {
        Ok(self.original(holder, 1)?.start)
    }

    /// Where in its document, as that was contributed, a holder's passage of so many indexed bytes stands.
    ///
    /// # Errors
    /// When there is no such document, it has no words there, or a segment is damaged.
    pub fn original(&self, holder: &Holder, bytes: u64) -> Result<Range<u64>, IndexError> {
        let (segment, number) = self.document_of(holder)?;
        let range = holder.offset..holder.offset.saturating_add(bytes);
        self.in_segment(segment, segment.original(number, range))
    }

    /// Checks every byte of every segment.
    ///
    /// # Errors
    /// With the first that is damaged.
    pub fn verify(&self) -> Result<(), IndexError> {
        self.segments.iter().try_for_each(|segment| self.in_segment(segment, segment.verify()))
    }

    /// A result of one segment; an error names its file.
    pub(super) fn in_segment<T>(&self, segment: &Segment, result: Result<T, SegmentError>) -> Result<T, IndexError> {
        result.map_err(|cause| IndexError::Segment { path: segment_path(&self.folder, &segment.root()), cause })
    }
}

impl Version {
    pub(super) fn read(folder: &Path) -> Result<Self, IndexError> {
        let path = folder.join(VERSION_FILE);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(IndexError::Missing { folder: folder.to_owned() });
            }
            Err(cause) => return Err(IndexError::Io { path, cause }),
        };
        let mut bytes = Vec::new();
        file.take(MAX_VERSION_BYTES + 1).read_to_end(&mut bytes).map_err(io(&path))?;
        let damaged = |reason| IndexError::Damaged { path: path.clone(), reason };
        if bytes.len() as u64 > MAX_VERSION_BYTES {
            return Err(damaged("it is larger than any such file"));
        }
        let rest = bytes.strip_prefix(&MAGIC).ok_or_else(|| damaged("it does not start as such a file does"))?;
        let (form, rest) = rest.split_first_chunk::<4>().ok_or_else(|| damaged("it is cut short"))?;
        let got = u32::from_le_bytes(*form);
        if got != FORM {
            return Err(IndexError::Form { path, got });
        }
        let (body, hash) = rest.split_last_chunk::<32>().ok_or_else(|| damaged("it is cut short"))?;
        if blake3::hash(body) != *hash {
            return Err(damaged("its hash is not that of its bytes"));
        }
        borsh::from_slice(body).map_err(|_| damaged("it names no segments that can be read"))
    }

    /// Makes this the folder's version.
    pub(super) fn write(&self, folder: &Path) -> Result<(), IndexError> {
        let path = folder.join(VERSION_FILE);
        let body = borsh::to_vec(self).map_err(io(&path))?;
        let hash = blake3::hash(&body);
        let bytes = [&MAGIC[..], &FORM.to_le_bytes(), &body, hash.as_bytes()].concat();
        let temporary = folder.join(format!("{VERSION_FILE}.new"));
        let mut file = File::create(&temporary).map_err(io(&temporary))?;
        std::io::Write::write_all(&mut file, &bytes).map_err(io(&temporary))?;
        file.sync_all().map_err(io(&temporary))?;
        fs::rename(&temporary, &path).map_err(io(&path))?;
        sync_folder(folder)
    }
}

/// The file of a segment.
pub(super) fn segment_path(folder: &Path, root: &Hash32) -> PathBuf {
    folder.join(format!("{root}.segment"))
}

/// Opens a segment by its root, which its file must have.
pub(super) fn open_segment(folder: &Path, root: &Hash32) -> Result<Segment, IndexError> {
    let path = segment_path(folder, root);
    let segment = Segment::open(&path).map_err(|cause| IndexError::Segment { path: path.clone(), cause })?;
    if segment.root() == *root {
        Ok(segment)
    } else {
        Err(IndexError::Damaged { path, reason: "it is another segment than its name says" })
    }
}

/// An error with a file's name.
pub(super) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> IndexError {
    let path = path.to_owned();
    move |cause| IndexError::Io { path, cause }
}

pub(super) fn sync_folder(folder: &Path) -> Result<(), IndexError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io(folder))
}
