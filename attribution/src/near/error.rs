//! What can go wrong with the files of fingerprints.

use protocol::ids::ContributionId;
use std::io;
use std::path::{Path, PathBuf};

/// Why files of fingerprints cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence on each variant is its documentation, and names its fields")]
pub enum FileError {
    #[error(
        "{} is damaged at byte {offset}: {reason}; remove its folder and add the contributions again",
        path.display()
    )]
    Damaged { path: PathBuf, offset: u64, reason: &'static str },
    #[error(
        "{} has format {found}, this program knows {known}; remove its folder and add the contributions again",
        path.display()
    )]
    Format { path: PathBuf, found: u32, known: u32 },
    #[error("the disk that holds {} is full; make room", path.display())]
    Full { path: PathBuf },
    #[error("cannot {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
}

impl FileError {
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| match source.kind() {
            io::ErrorKind::StorageFull => Self::Full { path: path.to_owned() },
            _ => Self::Io { action, path: path.to_owned(), source },
        }
    }

    pub(super) fn damaged(path: &Path, offset: u64, reason: &'static str) -> Self {
        Self::Damaged { path: path.to_owned(), offset, reason }
    }
}

/// Why a store of fingerprints cannot be opened.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence on each variant is its documentation, and names its fields")]
pub enum OpenError {
    #[error("{} is no store of fingerprints: it holds `{name}`; check the path", folder.display())]
    Foreign { folder: PathBuf, name: String },
    #[error("the store of fingerprints {} is open already; close the other one first", folder.display())]
    Locked { folder: PathBuf },
    #[error(transparent)]
    File(#[from] FileError),
}

/// Why a contribution was not added.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence on each variant is its documentation, and names its fields")]
pub enum AddError {
    #[error("place {order} in the order of admission has contribution {holder} already")]
    Taken { order: u64, holder: ContributionId },
    #[error(transparent)]
    File(#[from] FileError),
}

/// Why a contribution was not struck.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence on each variant is its documentation, and names its fields")]
pub enum StrikeError {
    #[error("no contribution with place {order} in the order of admission was added")]
    Missing { order: u64 },
    #[error(transparent)]
    File(#[from] FileError),
}
