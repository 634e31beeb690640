//! Whole states for new nodes: made in the background every so many epochs, served in chunks, and with them the light
//! blocks and objects that a new node needs. What a snapshot covers may be pruned behind it.

use super::driver::Status;
use crate::config::StorageConfig;
use protocol::ids::ObjectId;
use protocol::limits::MAX_BLOCK_BYTES;
use protocol::objects::Envelope;
use protocol::snapshot::MAX_OFFERS;
use protocol::wire::{Request, Response};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use storage::{SnapshotInfo, Snapshots, Store, StoreError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Snapshots that are kept: the latest, and the one before, which others may still be fetching.
const KEPT: usize = 2;
/// Blocks that are pruned in one write, so that no write of the driver waits long.
const PRUNED_AT_ONCE: u64 = 16;

/// Objects in decided blocks that are looked for at once: each may cost reading its block.
pub const DECIDED_AT_ONCE: usize = 16;

const _: () = assert!(KEPT <= MAX_OFFERS);

/// What this node serves to new nodes. A clone is the same.
#[derive(Clone)]
pub struct StateService {
    store: Arc<dyn Store>,
    snapshots: Snapshots,
    offered: Arc<Mutex<Vec<SnapshotInfo>>>,
}

impl StateService {
    /// Serves the snapshots in this folder that a certified header vouches for.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn open(folder: &Path, store: Arc<dyn Store>) -> Result<Self, StoreError> {
        let service = Self { store, snapshots: Snapshots::open(folder)?, offered: Arc::default() };
        service.refresh()?;
        Ok(service)
    }

    /// Offers what is on disk and what the header after it names.
    fn refresh(&self) -> Result<(), StoreError> {
        let mut offered = Vec::new();
        for info in self.snapshots.list()? {
            // A snapshot of the last height waits for the header that names its root.
            let Some((block, _)) = self.store.block(info.height.saturating_add(1))? else { continue };
            if block.header.state_root == info.root {
                offered.push(info);
            } else {
                tracing::error!(height = info.height, "a snapshot is not of the state that was decided; it is removed");
                self.snapshots.remove(info.height)?;
            }
        }
        *self.offered.lock().unwrap_or_else(PoisonError::into_inner) = offered;
        Ok(())
    }

    /// Answers what concerns states; none when the question is another's.
    ///
    /// # Errors
    /// The disk cannot be read.
    pub fn respond(&self, request: &Request) -> Result<Option<Response>, StoreError> {
        Ok(Some(match request {
            Request::Light(height) => Response::Light(self.store.light_block(*height)?.map(Box::new)),
            Request::Snapshots => {
                let offered = self.offered.lock().unwrap_or_else(PoisonError::into_inner);
                let newest = offered.iter().rev().take(MAX_OFFERS).rev();
                Response::Snapshots(newest.map(|info| (info.height, info.depths.clone())).collect())
            }
            Request::Chunk { height, index } => Response::Chunk(self.snapshots.chunk(*height, *index)?),
            Request::Decided(ids) => Response::Decided(self.decided(ids)?),
            _ => return Ok(None),
        }))
    }

    /// Objects in decided blocks, as many as fit into an answer.
    fn decided(&self, ids: &[ObjectId]) -> Result<Vec<Envelope>, StoreError> {
        let view = self.store.snapshot();
        let (mut found, mut bytes) = (Vec::new(), 0_usize);
        for id in ids.iter().take(DECIDED_AT_ONCE) {
            let Some(object) = view.object(id)? else { continue };
            bytes = bytes.saturating_add(object.envelope.payload.len()).saturating_add(1024);
            if bytes > MAX_BLOCK_BYTES {
                break;
            }
            found.push(object.envelope);
        }
        Ok(found)
    }

    /// Makes a snapshot at every multiple of the interval, and prunes behind them if that is wanted, until it is told to
    /// stop. All nodes make them of the same heights, so that a new node fetches from several at once.
    pub async fn make(self, config: StorageConfig, mut status: watch::Receiver<Status>, stop: CancellationToken) {
        if config.snapshot_interval == 0 {
            return stop.cancelled().await;
        }
        let mut last = 0;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                changed = status.changed() => if changed.is_err() { return },
            }
            let height = status.borrow_and_update().height;
            if height > last && height.is_multiple_of(config.snapshot_interval) {
                last = height;
                self.clone().one(height, &config, &mut status, &stop).await;
            }
        }
    }

    async fn one(
        self,
        height: u64,
        config: &StorageConfig,
        status: &mut watch::Receiver<Status>,
        stop: &CancellationToken,
    ) {
        let service = self.clone();
        let made = tokio::task::spawn_blocking(move || service.make_at(height));
        match made.await {
            Ok(Ok(Some(info))) => {
                tracing::info!(height, chunks = info.depths.len(), root = %info.root, "snapshot made")
            }
            Ok(Ok(None)) => return tracing::debug!(height, "no snapshot: the next epoch was faster"),
            Ok(Err(error)) => return tracing::error!(height, "no snapshot could be made: {error}"),
            Err(error) => return tracing::error!(height, "no snapshot could be made: {error}"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            waited = status.wait_for(|status| status.height > height) => if waited.is_err() { return },
        }
        let (service, config) = (self, config.clone());
        let tidied = tokio::task::spawn_blocking(move || service.tidy(&config));
        if let Ok(Err(error)) = tidied.await {
            tracing::error!(height, "what the snapshot covers could not be pruned: {error}");
        }
    }

    fn make_at(&self, height: u64) -> Result<Option<SnapshotInfo>, StoreError> {
        let view = self.store.snapshot();
        match view.height()? == height {
            true => self.snapshots.make(view.as_ref()).map(Some),
            false => Ok(None),
        }
    }

    /// Removes old snapshots, offers the new one, and prunes blocks that a snapshot which stays covers.
    fn tidy(&self, config: &StorageConfig) -> Result<(), StoreError> {
        let oldest = self.snapshots.keep(KEPT)?;
        self.refresh()?;
        if config.archive {
            return Ok(());
        }
        // A new node needs the block of the snapshot's height itself, and those after it.
        let height = self.store.height()?;
        let keep_from = height.saturating_sub(config.keep_epochs).min(oldest.unwrap_or(0));
        let mut lowest = self.store.lowest()?;
        let before = lowest;
        while lowest < keep_from {
            lowest = self.store.prune(keep_from, PRUNED_AT_ONCE)?;
        }
        if lowest > before {
            tracing::info!(from = before, to = lowest, "blocks pruned");
        }
        Ok(())
    }
}
