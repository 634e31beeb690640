//! How much of a contribution earlier ones of its DataNet hold, but for light edits.
//!
//! It is measured twice: by the node that a contribution is handed to, which refuses it above the DataNet's limit, and
//! by every validator when a manifest adds it, so that whoever goes round the first is not attested. What counts as
//! earlier are contributions of manifests whose content is here, in the ledger's order of admission.

use attribution::near::{self, Known, Store};
use protocol::ids::{ContributionId, DataNetId};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// Repeated documents that a refusal names.
const NAMED: usize = 3;

/// The fingerprints of each DataNet's content, a folder for each.
pub(super) struct KnownTexts {
    folder: PathBuf,
    stores: Mutex<BTreeMap<DataNetId, Store>>,
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
        Self { folder, stores: Mutex::default() }
    }

    /// What is known of documents that are, or would be, in this place of the order of admission.
    pub(super) fn measure(&self, datanet: &DataNetId, order: u64, documents: &[&str]) -> Result<Known, KnownError> {
        // Measuring takes seconds for many megabytes, and keeps nobody from adding.
        let snapshot = self.with(datanet, |store| Ok(store.snapshot().clone()))?;
        snapshot.measure(documents, order).map_err(|error| failed(datanet, &error))
    }

    /// Was this contribution taken in, in this place?
    pub(super) fn holds(&self, datanet: &DataNetId, order: u64, id: &ContributionId) -> Result<bool, KnownError> {
        self.with(datanet, |store| {
            Ok(store.snapshot().contribution(order).map_err(|error| failed(datanet, &error))?.as_ref() == Some(id))
        })
    }

    /// Takes a contribution in: from now on its passages are known to those behind it.
    pub(super) fn add(
        &self,
        datanet: &DataNetId,
        order: u64,
        id: ContributionId,
        documents: &[&str],
    ) -> Result<(), KnownError> {
        let added = self.with(datanet, |store| Ok(store.add(order, id, documents)))?;
        match added {
            Err(near::AddError::Taken { holder, .. }) if holder != id => {
                // Left by another history of this network: none of it holds here.
                tracing::warn!(datanet = %datanet, "the fingerprints are of another history; they are made anew");
                self.forget(datanet)?;
                self.with(datanet, |store| store.add(order, id, documents).map_err(|error| failed(datanet, &error)))
            }
            Ok(()) | Err(near::AddError::Taken { .. }) => Ok(()),
            Err(error) => Err(failed(datanet, &error)),
        }
    }

    fn with<T>(
        &self,
        datanet: &DataNetId,
        work: impl FnOnce(&mut Store) -> Result<T, KnownError>,
    ) -> Result<T, KnownError> {
        let mut stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        if !stores.contains_key(datanet) {
            let store = Store::open(&self.folder.join(datanet.to_string())).map_err(|error| failed(datanet, &error))?;
            stores.insert(*datanet, store);
        }
        match stores.get_mut(datanet) {
            Some(store) => work(store),
            None => Err(failed(datanet, &"it is not open")),
        }
    }

    fn forget(&self, datanet: &DataNetId) -> Result<(), KnownError> {
        self.stores.lock().unwrap_or_else(PoisonError::into_inner).remove(datanet);
        std::fs::remove_dir_all(self.folder.join(datanet.to_string())).map_err(|error| failed(datanet, &error))
    }
}

/// The verdict on what was measured.
pub(super) fn judge(known: Known, limit: u32) -> Result<Known, TooMuchKnown> {
    if near::exceeds(&known, limit) { Err(TooMuchKnown { known, limit }) } else { Ok(known) }
}

fn failed(datanet: &DataNetId, error: &impl std::fmt::Display) -> KnownError {
    KnownError { datanet: *datanet, reason: error.to_string() }
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
        assert!(known.holds(&datanet, 5, &first).unwrap() && !known.holds(&datanet, 5, &second).unwrap());
        let measured = known.measure(&datanet, 6, &[&copy]).unwrap();
        let refused = judge(measured.clone(), 5_000).unwrap_err().to_string();
        assert!(refused.contains("of its 800 words") && refused.contains("allows 50.00 %"), "{refused}");
        assert!(refused.contains(&format!("document 0 of contribution {first}")), "{refused}");
        assert_eq!(judge(measured.clone(), 10_000), Ok(measured));
        // What was admitted later is not known to it.
        assert_eq!(known.measure(&datanet, 5, &[&copy]).unwrap().known_words, 0);
        // Another history takes the place.
        known.add(&datanet, 5, second, &["quite another text"]).unwrap();
        assert_eq!(known.measure(&datanet, 6, &[&copy]).unwrap().known_words, 0);
    }
}
