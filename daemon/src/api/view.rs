//! Reading the ledger out of one consistent snapshot of the disk.

use super::error::ApiError;
use super::types::Page;
use crate::node_process::Services;
use borsh::BorshDeserialize;
use protocol::block::ValidatorSet;
use protocol::genesis::Params;
use protocol::ids::{Account, ContributionId, DataNetId, from_hex32, to_hex};
use protocol::ledger::records::{ContributionRecord, DataNetRecord, ValidatorRecord};
use protocol::ledger::{committee, keys};
use protocol::refusal::Refusal;
use serde::Deserialize;
use std::collections::BTreeMap;
use storage::Snapshot;
use tokio::sync::Semaphore;

/// Rows that a list gives unless told otherwise.
const DEFAULT_LIMIT: usize = 100;
/// Rows that a list gives at most.
pub(super) const MAX_LIMIT: usize = 1000;
/// Ledger entries that one request looks at to fill its page; what is left is on the next one.
const MAX_PAGE_SCAN: usize = 100_000;
/// Bytes of ledger entries that one page is made of, about; what is left is on the next one.
const MAX_PAGE_BYTES: usize = 4 << 20;
/// Ledger entries read at a time in a scan. One may have hundreds of kilobytes.
const SCAN_STEP: usize = 128;
/// Threads that work for requests at once. They are the process's own, as the threads are, and so is their bound: work goes on
/// when whoever asked has hung up, and must leave threads to what peers ask.
static WORK: Semaphore = Semaphore::const_new(32);

/// Which page of a list.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct PageQuery {
    /// The `next` of the page before.
    pub(super) after: Option<String>,
    /// Rows at most.
    pub(super) limit: Option<usize>,
}

impl PageQuery {
    fn limit(&self) -> Result<usize, ApiError> {
        match self.limit {
            None => Ok(DEFAULT_LIMIT),
            Some(limit) if (1..=MAX_LIMIT).contains(&limit) => Ok(limit),
            Some(0) => Err(ApiError::malformed(format!("limit: 1 to {MAX_LIMIT}, not 0"))),
            Some(limit) => Err(Refusal::TooMany { what: "limit", got: limit as u64, limit: MAX_LIMIT as u64 }.into()),
        }
    }
}

/// One moment of the ledger.
pub(super) struct View<'a>(pub(super) &'a dyn Snapshot);

impl View<'_> {
    /// An entry's record.
    pub(super) fn record<T: BorshDeserialize>(&self, key: &[u8]) -> Result<Option<T>, ApiError> {
        self.0.state(key)?.map(|value| decode(key, &value)).transpose()
    }

    /// The network's parameters.
    pub(super) fn params(&self) -> Result<Params, ApiError> {
        let none = || Refusal::Unavailable { reason: "the first epoch is not decided yet".to_owned() };
        Ok(self.record(keys::PARAMS)?.ok_or_else(none)?)
    }

    /// A DataNet.
    pub(super) fn datanet(&self, id: &DataNetId) -> Result<DataNetRecord, ApiError> {
        self.record(&keys::datanet(id))?.ok_or_else(|| ApiError::unknown("DataNet", &id.to_string()))
    }

    /// A contribution.
    pub(super) fn contribution(&self, id: &ContributionId) -> Result<ContributionRecord, ApiError> {
        self.record(&keys::contribution(id))?.ok_or_else(|| ApiError::unknown("contribution", &id.to_string()))
    }

    /// Who attributes in a DataNet from the next epoch on, until somebody's turn comes.
    pub(super) fn committee(&self, datanet: &DataNetId) -> Result<ValidatorSet, ApiError> {
        let set: ValidatorSet = self.record(keys::VALIDATORS)?.unwrap_or_default();
        let Some(beacons) = self.record(keys::BEACONS)? else { return Ok(set) };
        let mut since = BTreeMap::new();
        for member in set.members() {
            let record: Option<ValidatorRecord> = self.record(&keys::candidate(&member.key))?;
            since.insert(member.key, record.map_or(0, |record| record.since));
        }
        let bonded = |key: &Account| since.get(key).copied().unwrap_or_default();
        let next = self.0.height()?.saturating_add(1);
        Ok(committee::draw(&set, &self.params()?.stake, &beacons, datanet, next, bonded))
    }

    /// Calls `each` for the entries below `prefix`, at most `bound`. Says whether there are more.
    pub(super) fn scan<T: BorshDeserialize>(
        &self,
        prefix: &[u8],
        bound: usize,
        mut each: impl FnMut(&[u8], T) -> Result<(), ApiError>,
    ) -> Result<bool, ApiError> {
        let mut after: Option<Vec<u8>> = None;
        let mut seen = 0;
        loop {
            let step = SCAN_STEP.min(bound - seen + 1);
            let entries = self.0.state_prefix(prefix, after.as_deref(), step)?;
            let full = entries.len() == step;
            for (key, value) in entries {
                if seen == bound {
                    return Ok(true);
                }
                each(&key, decode(&key, &value)?)?;
                seen += 1;
                after = Some(key);
            }
            if !full {
                return Ok(false);
            }
        }
    }

    /// One page of the entries of a kind whose keys are one prefix byte and an id.
    pub(super) fn page<T: BorshDeserialize, R>(
        &self,
        prefix: u8,
        query: &PageQuery,
        mut row: impl FnMut([u8; 32], T) -> Result<Option<R>, ApiError>,
    ) -> Result<Page<R>, ApiError> {
        let limit = query.limit()?;
        let mut after = match &query.after {
            None => None,
            Some(id) => {
                let id = from_hex32(id).map_err(|error| ApiError::malformed(format!("after: {error}")))?;
                Some([[prefix].as_slice(), &id].concat())
            }
        };
        let mut items = Vec::new();
        let (mut seen, mut bytes) = (0, 0);
        loop {
            let entries =
                self.0.state_prefix(&[prefix], after.as_deref(), (limit - items.len() + 1).clamp(16, SCAN_STEP))?;
            if entries.is_empty() {
                return Ok(Page { items, next: None });
            }
            for (key, value) in entries {
                if items.len() == limit || seen == MAX_PAGE_SCAN || bytes >= MAX_PAGE_BYTES {
                    return Ok(Page { items, next: after.as_deref().map(|key| to_hex(&keys::last_id(key))) });
                }
                let row = row(keys::last_id(&key), decode(&key, &value)?)?;
                bytes += row.as_ref().map_or(0, |_| value.len());
                items.extend(row);
                seen += 1;
                after = Some(key);
            }
        }
    }
}

pub(super) fn decode<T: BorshDeserialize>(key: &[u8], value: &[u8]) -> Result<T, ApiError> {
    borsh::from_slice(value).map_err(|_| {
        let reason = format!("the ledger entry {} does not decode", to_hex(key));
        Refusal::Unavailable { reason }.into()
    })
}

/// Reads in a thread that may block, from one snapshot.
pub(super) async fn read<T: Send + 'static>(
    services: &Services,
    work: impl FnOnce(&View<'_>) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let store = services.store.clone();
    blocking(move || work(&View(store.snapshot().as_ref()))).await
}

/// The same without waiting for a place, for what must be told even where all of them are taken. The caller bounds it.
pub(super) async fn read_at_once<T: Send + 'static>(
    services: &Services,
    work: impl FnOnce(&View<'_>) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let store = services.store.clone();
    in_a_thread(move || work(&View(store.snapshot().as_ref()))).await
}

/// Works in a thread that may block.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let stopping = |_| Refusal::Unavailable { reason: "the node is stopping".to_owned() };
    let place = WORK.acquire().await.map_err(stopping)?;
    let work = move || {
        let _place = place;
        work()
    };
    in_a_thread(work).await
}

async fn in_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => {
            tracing::error!("a request failed: {error}");
            Err(Refusal::Unavailable { reason: "the request failed; the node's log says why".to_owned() }.into())
        }
    }
}

/// The id or account in a path.
pub(super) fn parse<T: std::str::FromStr>(text: &str) -> Result<T, ApiError>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error: T::Err| ApiError::malformed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use storage::{MemoryStore, Origin, Store as _};
    use tokio::sync::oneshot;

    /// A client that hangs up frees its request, and must not free the thread that still works for it.
    #[tokio::test]
    async fn work_holds_its_place_when_whoever_asked_has_gone() {
        let all = WORK.available_permits();
        let mut holding = Vec::new();
        for _ in 0..all {
            let ((begin, begun), (release, released)) = (oneshot::channel(), oneshot::channel::<()>());
            let asked = tokio::spawn(blocking(move || {
                let _ = begin.send(());
                Ok(released.blocking_recv().is_ok())
            }));
            begun.await.unwrap();
            asked.abort();
            assert!(asked.await.unwrap_err().is_cancelled());
            holding.push(release);
        }
        assert_eq!(WORK.available_permits(), 0);
        let next = tokio::spawn(blocking(|| Ok(())));
        for release in holding {
            release.send(()).unwrap();
        }
        next.await.unwrap().unwrap();
    }

    /// Large entries make short pages, which go on where the one before ended.
    #[test]
    fn a_page_is_bounded_in_bytes_and_the_next_goes_on() {
        const PREFIX: u8 = 200;
        let entry = |n: u8| ([&[PREFIX][..], &[n; 32]].concat(), Some(borsh::to_vec(&vec![n; 300_000]).unwrap()));
        let origin = Origin { network: "pages".to_owned(), genesis: protocol::ids::Hash32([1; 32]) };
        let store = MemoryStore::create(&origin, &(1..=50).map(entry).collect(), &[]).unwrap();
        let snapshot = store.snapshot();
        let view = View(snapshot.as_ref());
        let (mut query, mut seen, mut pages) = (PageQuery { after: None, limit: Some(MAX_LIMIT) }, Vec::new(), 0);
        loop {
            // Every third is of no interest.
            let row = |id: [u8; 32], bytes: Vec<u8>| Ok((!id[0].is_multiple_of(3)).then_some((id[0], bytes.len())));
            let page = view.page(PREFIX, &query, row).unwrap();
            assert!(page.items.iter().map(|(_, bytes)| bytes).sum::<usize>() <= MAX_PAGE_BYTES + 300_000);
            (pages, query.after) = (pages + 1, page.next);
            seen.extend(page.items.into_iter().map(|(n, _)| n));
            if query.after.is_none() {
                break;
            }
        }
        assert_eq!(seen, (1_u8..=50).filter(|n| !n.is_multiple_of(3)).collect::<Vec<u8>>());
        assert_eq!(pages, 3, "ten megabytes");
    }
}
