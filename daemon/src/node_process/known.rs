//! How much of a contribution earlier ones of its DataNet hold, but for light edits.
//!
//! It is measured twice: by the node that a contribution is handed to, which refuses it above the DataNet's limit, and
//! by every validator when a manifest adds it, so that whoever goes round the first is not attested. What counts as
//! earlier are contributions of manifests whose content is here, in the ledger's order of admission.

use attribution::near::{self, FileError, Known, OpenError, Store};
use protocol::ids::{ContributionId, DataNetId};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// Repeated documents that a refusal names.
const NAMED: usize = 3;

/// The fingerprints of each DataNet's content, a folder for each.
///
/// One of them is open at a time, as each takes a few dozen files. They are made of content that is here, so one that is
/// damaged, or of another version, is begun anew; what is missing in it then comes back when the node starts.
pub(super) struct KnownTexts {
    folder: PathBuf,
    open: Mutex<Option<(DataNetId, Store)>>,
}

/// More of a contribution is known than its DataNet allows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} of its {} words stand in earlier contributions, and the DataNet allows {}: {}",
    percent(known.share_basis_points()), known.words, percent(*limit), repeated(known)
)]
pub struct TooMuchKnown {
    /// What was measured.
    pub known: Known,
    /// What the DataNet allows, in basis points.
    pub limit: u32,
}

/// Why nothing can be measured.
#[derive(Debug, thiserror::Error)]
#[error("the fingerprints of DataNet {datanet}: {reason}")]
pub struct KnownError {
    datanet: DataNetId,
    reason: String,
}

impl KnownTexts {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, open: Mutex::default() }
    }

    /// What is known of documents that are, or would be, in this place of the order of admission.
    pub(super) fn measure(&self, datanet: &DataNetId, order: u64, documents: &[&str]) -> Result<Known, KnownError> {
        // Measuring takes seconds for many megabytes, and keeps nobody from adding.
        let snapshot = self.with(datanet, |store| store.snapshot().clone())?;
        snapshot.measure(documents, order).map_err(|error| self.failed(datanet, &error))
    }

    /// Was this contribution taken in, in this place? If another was, that is of another history of this network, of which
    /// nothing holds here, and is forgotten.
    pub(super) fn holds(&self, datanet: &DataNetId, order: u64, id: &ContributionId) -> Result<bool, KnownError> {
        let found = self.with(datanet, |store| store.snapshot().contribution(order))?;
        match found.map_err(|error| self.failed(datanet, &error))? {
            Some(other) if other != *id => {
                tracing::warn!(datanet = %datanet, "the fingerprints are of another history; they are made anew");
                self.forget(datanet);
                Ok(false)
            }
            found => Ok(found.is_some()),
        }
    }

    /// Takes a contribution in: from now on its passages are known to those behind it.
    pub(super) fn add(
        &self,
        datanet: &DataNetId,
        order: u64,
        id: ContributionId,
        documents: &[&str],
    ) -> Result<(), KnownError> {
        match self.with(datanet, |store| store.add(order, id, documents))? {
            Ok(()) => Ok(()),
            Err(near::AddError::Taken { holder, .. }) if holder == id => Ok(()),
            Err(near::AddError::File(error)) => Err(self.failed(datanet, &error)),
            Err(error @ near::AddError::Taken { .. }) => Err(KnownError::of(datanet, &error)),
        }
    }

    fn with<T>(&self, datanet: &DataNetId, work: impl FnOnce(&mut Store) -> T) -> Result<T, KnownError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.as_ref().is_some_and(|(id, _)| id != datanet) {
            // Closed before the next one is opened.
            *open = None;
        }
        let (_, store) = match open.take() {
            Some(opened) => open.insert(opened),
            None => open.insert((*datanet, self.open_store(datanet)?)),
        };
        Ok(work(store))
    }

    fn open_store(&self, datanet: &DataNetId) -> Result<Store, KnownError> {
        let folder = self.folder.join(datanet.to_string());
        match Store::open(&folder) {
            Err(OpenError::File(error)) if is_worthless(&error) => {
                tracing::warn!(datanet = %datanet, "the fingerprints are made anew: {error}");
                std::fs::remove_dir_all(&folder).map_err(|error| KnownError::of(datanet, &error))?;
                Store::open(&folder).map_err(|error| KnownError::of(datanet, &error))
            }
            opened => opened.map_err(|error| KnownError::of(datanet, &error)),
        }
    }

    /// What failed, as an error; what made it fail is not kept.
    fn failed(&self, datanet: &DataNetId, error: &FileError) -> KnownError {
        if is_worthless(error) {
            self.forget(datanet);
        }
        KnownError::of(datanet, error)
    }

    fn forget(&self, datanet: &DataNetId) {
        // Held to the end, so that nobody opens what is being deleted.
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        *open = None;
        match std::fs::remove_dir_all(self.folder.join(datanet.to_string())) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::error!(datanet = %datanet, "the fingerprints cannot be deleted: {error}");
            }
            _ => {}
        }
    }
}

impl KnownError {
    fn of(datanet: &DataNetId, error: &impl std::fmt::Display) -> Self {
        Self { datanet: *datanet, reason: error.to_string() }
    }
}

/// Can files never be read again, as they are?
fn is_worthless(error: &FileError) -> bool {
    matches!(error, FileError::Damaged { .. } | FileError::Format { .. })
}

/// The verdict on what was measured.
pub(super) fn judge(known: Known, limit: u32) -> Result<Known, TooMuchKnown> {
    if near::exceeds(&known, limit) { Err(TooMuchKnown { known, limit }) } else { Ok(known) }
}

/// Basis points as people write them.
fn percent(basis_points: u32) -> String {
    format!("{}.{:02} %", basis_points / 100, basis_points % 100)
}

fn repeated(known: &Known) -> String {
    let named = known.repeats.iter().take(NAMED).map(|repeat| {
        format!("{} words in document {} of contribution {}", repeat.words, repeat.document, repeat.contribution)
    });
    let mut text = named.collect::<Vec<_>>().join(", ");
    let more = known.repeated_documents.saturating_sub(NAMED as u64);
    if more > 0 {
        text += &format!(", and in {more} more documents");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_with_light_edits_is_measured_and_named() {
        let folder = tempfile::tempdir().unwrap();
        let (datanet, first, second) = (DataNetId([1; 32]), ContributionId([2; 32]), ContributionId([3; 32]));
        let text: String = (0..200).map(|number| format!("word{number} and so on, ")).collect();
        let copy = text.to_uppercase().replace(',', " —");
        {
            let known = KnownTexts::new(folder.path().to_owned());
            assert_eq!(known.measure(&datanet, 5, &[&text]).unwrap().known_words, 0);
            known.add(&datanet, 5, first, &[&text]).unwrap();
            // Twice is once.
            known.add(&datanet, 5, first, &[&text]).unwrap();
        }
        let known = KnownTexts::new(folder.path().to_owned());
        assert!(known.holds(&datanet, 5, &first).unwrap());
        let measured = known.measure(&datanet, 6, &[&copy]).unwrap();
        let refused = judge(measured.clone(), 5_000).unwrap_err().to_string();
        assert!(refused.contains("of its 800 words") && refused.contains("allows 50.00 %"), "{refused}");
        assert!(refused.contains(&format!("document 0 of contribution {first}")), "{refused}");
        assert_eq!(judge(measured.clone(), 10_000), Ok(measured));
        // What was admitted later is not known to it.
        assert_eq!(known.measure(&datanet, 5, &[&copy]).unwrap().known_words, 0);
        // Another history takes the place.
        assert!(!known.holds(&datanet, 5, &second).unwrap());
        assert_eq!(known.measure(&datanet, 6, &[&copy]).unwrap().known_words, 0);
        known.add(&datanet, 5, second, &["quite another text"]).unwrap();
        assert!(known.holds(&datanet, 5, &second).unwrap());
        assert!(known.add(&datanet, 5, first, &[&text]).is_err());
    }

    /// Damage stops nobody: what cannot be read is begun anew, at opening, at reading and at adding alike.
    #[test]
    fn damaged_fingerprints_are_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let datanet = DataNetId([1; 32]);
        let text: String = (0..5000).map(|number| format!("word{number} ")).collect();
        let files = || {
            let entries = std::fs::read_dir(folder.path().join(datanet.to_string())).unwrap();
            entries
                .map(|entry| entry.unwrap().path())
                .filter(|path| path.metadata().unwrap().len() > 0)
                .collect::<Vec<_>>()
        };
        for damage in 0..files_of_a_store(folder.path(), &datanet, &text) {
            for at in [0, 5000] {
                let known = KnownTexts::new(folder.path().to_owned());
                known.forget(&datanet);
                known.add(&datanet, 1, ContributionId([1; 32]), &[&text]).unwrap();
                drop(known);
                let path = &files()[damage];
                let mut bytes = std::fs::read(path).unwrap();
                let at = at.min(bytes.len() - 1);
                bytes[at] ^= 1;
                std::fs::write(path, bytes).unwrap();
                let known = KnownTexts::new(folder.path().to_owned());
                // Damage in the middle of a file is met when it is read, and then the store is gone.
                let first = known.measure(&datanet, 2, &[&text]);
                let again = known.measure(&datanet, 2, &[&text]).unwrap();
                assert!(first.is_err() || again.known_words == 0 || again.known_words == again.words, "{first:?}");
                known.add(&datanet, 3, ContributionId([3; 32]), &[&text]).unwrap();
                assert!(known.measure(&datanet, 4, &[&text]).unwrap().known_words > 4000);
            }
        }
    }

    /// How many files that are not empty a store of this text has.
    fn files_of_a_store(folder: &std::path::Path, datanet: &DataNetId, text: &str) -> usize {
        let known = KnownTexts::new(folder.to_owned());
        known.add(datanet, 1, ContributionId([1; 32]), &[text]).unwrap();
        let entries = std::fs::read_dir(folder.join(datanet.to_string())).unwrap();
        entries.filter(|entry| entry.as_ref().unwrap().metadata().unwrap().len() > 0).count()
    }
}
