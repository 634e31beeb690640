//! A store that forgets: for tests and simulations. It keeps the very rows that the disk would hold.

use crate::error::StoreError;
use crate::rocks::RocksStore;
use crate::rows::{Change, Progress, Rows, Step, View, first_rows};
use crate::schema::{Family, Origin};
use crate::store::{Entry, Loaded, Snapshot, Store};
use protocol::ids::ManifestId;
use protocol::ledger::Changes;
use protocol::node::Write;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Map = BTreeMap<(Family, Vec<u8>), Vec<u8>>;

/// A store in memory.
pub struct MemoryStore {
    inner: Mutex<Inner>,
}

struct Inner {
    /// Shared with snapshots; copied by the first write after one was taken.
    rows: Arc<Map>,
    progress: Progress,
}

impl MemoryStore {
    /// A new store that holds a network's beginning.
    pub fn create(origin: &Origin, changes: &Changes, nodes: &[Entry]) -> Result<Self, StoreError> {
        let mut rows = Map::new();
        apply(&mut rows, first_rows(origin, changes, nodes));
        let rows = Arc::new(rows);
        let progress = View(MemoryRows(Arc::clone(&rows))).progress()?;
        Ok(Self { inner: Mutex::new(Inner { rows, progress }) })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Each write is one step that cannot panic half-way.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn view(&self) -> View<MemoryRows> {
        View(MemoryRows(Arc::clone(&self.lock().rows)))
    }
}

impl Store for MemoryStore {
    fn load(&self) -> Result<Loaded, StoreError> {
        self.view().load()
    }

    fn write(&self, writes: &[Write]) -> Result<(), StoreError> {
        let mut inner = self.lock();
        let (changes, progress) = inner.progress.rows(writes)?;
        apply(Arc::make_mut(&mut inner.rows), changes);
        inner.progress = progress;
        Ok(())
    }

    fn mark_indexed(&self, manifest: ManifestId) -> Result<(), StoreError> {
        let mut inner = self.lock();
        let (changes, progress) = inner.progress.indexed(manifest);
        apply(Arc::make_mut(&mut inner.rows), changes);
        inner.progress = progress;
        Ok(())
    }

    fn prune(&self, keep_from: u64, most: u64) -> Result<u64, StoreError> {
        let mut inner = self.lock();
        let view = View(MemoryRows(Arc::clone(&inner.rows)));
        let Some((pruning, lowest)) = view.prunable(keep_from, most)? else { return view.lowest() };
        drop(view);
        let (changes, progress) = inner.progress.pruned(pruning);
        apply(Arc::make_mut(&mut inner.rows), changes);
        inner.progress = progress;
        Ok(lowest)
    }

    fn snapshot(&self) -> Box<dyn Snapshot + '_> {
        Box::new(self.view())
    }

    fn checkpoint(&self, path: &Path) -> Result<(), StoreError> {
        let rows = Arc::clone(&self.lock().rows);
        let put =
            |((family, key), value): (&(Family, Vec<u8>), &Vec<u8>)| Change::Put(*family, key.clone(), value.clone());
        RocksStore::build(path, rows.iter().map(put).collect())
    }
}

fn apply(rows: &mut Map, changes: Vec<Change>) {
    for change in changes {
        match change {
            Change::Put(family, key, value) => {
                rows.insert((family, key), value);
            }
            Change::Delete(family, key) => {
                rows.remove(&(family, key));
            }
            Change::DeleteRange(family, from, to) => {
                let keys: Vec<_> = rows.range((family, from)..(family, to)).map(|(key, _)| key.clone()).collect();
                for key in keys {
                    rows.remove(&key);
                }
            }
        }
    }
}

struct MemoryRows(Arc<Map>);

impl Rows for MemoryRows {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.0.get(&(family, key.to_vec())).cloned())
    }

    fn scan(&self, family: Family, from: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> Step) -> Result<(), StoreError> {
        let from = Bound::Included((family, from.to_vec()));
        let rows = self.0.range((from, Bound::Unbounded)).take_while(|((of, _), _)| *of == family);
        for ((_, key), value) in rows {
            if visit(key, value)?.is_break() {
                break;
            }
        }
        Ok(())
    }
}
