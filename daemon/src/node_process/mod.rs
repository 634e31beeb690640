//! A running node: disk, network, core, content and API, started in this order and stopped in the other.

pub mod agreement;
pub mod alive;
pub mod checks;
pub(crate) mod clock;
pub mod content;
pub mod driver;
pub mod fetch;
mod hosting;
pub mod ingest;
pub mod known;
pub mod models;
pub mod outside;
mod publisher;
pub mod quote;
pub mod recorder;
pub mod snapshots;
pub mod state_sync;
#[cfg(test)]
mod test_network;

use crate::api;
use crate::config::Config;
use crate::keys::NodeKeys;
use crate::network::{self, NetworkConfig};
use agreement::Agreement;
use alive::Panics;
use anyhow::Context as _;
use checks::Checks;
use content::Content;
use driver::{Driver, DriverHandle};
use fetch::{Fetcher, Offered};
use ingest::Ingest;
use outside::Wiring;
use protocol::crypto::SecretKey;
use protocol::genesis::Genesis;
use protocol::node::{Node, Notice, Restored};
use publisher::Publisher;
use recorder::Recorder;
use snapshots::StateService;
use state_sync::StateSync;
use std::sync::Arc;
use std::time::Duration;
use storage::{BlobStore, RocksStore, Store};
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

/// Notices that a slow listener may be behind before it misses some.
const NOTICE_QUEUE: usize = 1024;
/// The part of the documents' quota that is for what the network agreed on, and not for uploads.
const FETCHED_PART: u64 = 4;
/// How long the driver may take to finish its last batch, and the API to answer what is open.
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// Everything that the API reads from and writes to.
#[derive(Clone)]
pub struct Services {
    /// The network's beginning.
    pub genesis: Arc<Genesis>,
    /// This node's validator key, when it votes.
    pub validator: protocol::ids::Account,
    /// The core.
    pub driver: DriverHandle,
    /// Checks signatures.
    pub checks: Checks,
    /// The disk.
    pub store: Arc<dyn Store>,
    /// The documents.
    pub blobs: Arc<BlobStore>,
    /// Bytes of their quota that uploads leave to what is fetched.
    pub fetched_bytes: u64,
    /// Indexed content.
    pub content: Content,
    /// Peers.
    pub network: network::NetworkHandle,
    /// What happens.
    pub notices: broadcast::Sender<Arc<Notice>>,
    /// Cancelled when the node is to stop.
    pub shutdown: CancellationToken,
}

/// Runs a node until it is told to stop.
pub async fn run(config: Config, keys: NodeKeys, genesis: Genesis, shutdown: CancellationToken) -> anyhow::Result<()> {
    genesis.check()?;
    let genesis_hash = genesis.hash();
    let listener = api::bind(config.api.listen).await?;
    let key = SecretKey::from_seed(keys.validator);
    let mut started = None;
    if let Some(trust) = state_sync::is_due(&config) {
        let (network, mut events) = network::start(network_config(&config, &keys, &genesis)).await?;
        let asked = network.clone();
        let sync = StateSync { config: &config, genesis: &genesis, trust, network: asked, stop: shutdown.clone() };
        sync.run(&mut events).await?;
        started = Some((network, events));
    }
    let store: Arc<dyn Store> = Arc::new(open_store(&config, &genesis)?);
    let states = StateService::open(&config.storage.path.join("snapshots"), store.clone())?;
    let blobs = Arc::new(BlobStore::open(&config.storage.path.join("blobs"), config.storage.blob_quota_bytes)?);
    if !blobs.strays().is_empty() {
        let (count, first) = (blobs.strays().len(), blobs.strays().first().map(String::as_str).unwrap_or_default());
        tracing::warn!(count, first, "the folder of documents holds what is none of them; it is left alone");
    }
    let restored = restore(store.as_ref())?;
    tracing::info!(height = restored.height, pooled = restored.pool.len(), "database open");
    let recorder = match &config.node.record {
        Some(path) => Some(
            Recorder::create(path, &genesis, &restored)
                .with_context(|| format!("the input log {} cannot be begun", path.display()))?,
        ),
        None => None,
    };
    let node = Node::new(genesis.clone(), key.clone(), restored)?;

    let (network, events) = match started {
        Some(started) => started,
        None => network::start(network_config(&config, &keys, &genesis)).await?,
    };
    let (panics, mut panicked) = Panics::channel();
    let checks = Checks::start(genesis_hash, &panics)?;
    let (driver, messages, status) = driver::queue();
    let runtime = tokio::runtime::Handle::current();
    let indices = config.storage.path.join("spans");
    let content = Content::start(
        store.clone(),
        blobs.clone(),
        indices,
        network.clone(),
        driver.clone(),
        key.account(),
        panics.guard("the attribution thread"),
    )?;
    let (notices, _) = broadcast::channel(NOTICE_QUEUE);
    let (height, _) = watch::channel(node.height());
    let offered = Offered::default();
    let fetcher = Fetcher {
        network: network.clone(),
        driver: driver.clone(),
        checks: checks.clone(),
        runtime: runtime.clone(),
        height: height.subscribe(),
    };
    let wiring = Wiring {
        network: network.clone(),
        offered: offered.clone(),
        fetcher,
        agreement: Agreement::start(
            network.clone(),
            &runtime,
            height.subscribe(),
            panics.guard("the task that repeats agreement"),
        ),
        publisher: Publisher::start(network.clone(), &runtime, panics.guard("the task that publishes")),
        content: content.clone(),
        notices: notices.clone(),
        height,
    };
    let ingest = Ingest {
        genesis: genesis_hash,
        network: network.clone(),
        driver: driver.clone(),
        store: store.clone(),
        blobs: blobs.clone(),
        offered,
        checks: checks.clone(),
        states: states.clone(),
    };
    let making = states.make(config.storage.clone(), driver.watch_status(), shutdown.clone());
    let services = Services {
        validator: key.account(),
        genesis: Arc::new(genesis),
        driver,
        checks,
        store: store.clone(),
        blobs,
        fetched_bytes: config.storage.blob_quota_bytes / FETCHED_PART,
        content,
        network: network.clone(),
        notices,
        shutdown: shutdown.clone(),
    };

    let stop_driver = CancellationToken::new();
    let (driver_ended, driver_end) = tokio::sync::oneshot::channel();
    let driver = Driver::new(node, store, wiring, recorder, messages, status);
    let stop = stop_driver.clone();
    std::thread::Builder::new().name("driver".to_owned()).spawn(move || {
        // The receiver is gone only when the process is about to end anyway.
        let _ = driver_ended.send(driver.run(&stop));
    })?;
    let mut ingest = tokio::spawn(ingest.run(events));
    let mut making = tokio::spawn(making);
    let mut api = tokio::spawn(api::serve(listener, services, shutdown.clone()));

    let mut driver_end = driver_end;
    let outcome = tokio::select! {
        // What ends because the node stops is no failure.
        biased;
        () = shutdown.cancelled() => Ok(()),
        ended = &mut driver_end => match ended {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(anyhow::Error::new(error)),
            Err(_) => Err(anyhow::anyhow!("the driver's thread ended unexpectedly")),
        },
        served = &mut api => match served {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error),
            Err(error) => Err(error.into()),
        },
        // They end with the driver as well, and then its reason is the one to tell.
        ended = &mut ingest => match tokio::time::timeout(STOP_WITHIN, &mut driver_end).await {
            Ok(Ok(Err(error))) => Err(anyhow::Error::new(error)),
            _ => Err(ended_early("the task that takes in what the network brings", ended)),
        },
        ended = &mut making => match tokio::time::timeout(STOP_WITHIN, &mut driver_end).await {
            Ok(Ok(Err(error))) => Err(anyhow::Error::new(error)),
            _ => Err(ended_early("the task that makes snapshots", ended)),
        },
        Some(name) = panicked.recv() => Err(anyhow::anyhow!("{name} panicked")),
    };
    if let Err(error) = &outcome {
        tracing::error!("stopping: {error:#}");
    }
    shutdown.cancel();
    // Requests that are open have a moment to be answered, which takes the driver.
    if !api.is_finished() {
        let _ = tokio::time::timeout(STOP_WITHIN, &mut api).await;
    }
    stop_driver.cancel();
    // The last batch is written; then nothing is left to lose.
    if !driver_end.is_terminated() {
        let _ = tokio::time::timeout(STOP_WITHIN, driver_end).await;
    }
    network.shutdown().await;
    ingest.abort();
    making.abort();
    tracing::info!("stopped");
    outcome
}

/// Why a node cannot go on without a task that was to run as long as it does.
fn ended_early(name: &str, ended: Result<(), tokio::task::JoinError>) -> anyhow::Error {
    match ended {
        Ok(()) => anyhow::anyhow!("{name} ended unexpectedly"),
        Err(error) => anyhow::Error::new(error).context(format!("{name} ended unexpectedly")),
    }
}

fn network_config(config: &Config, keys: &NodeKeys, genesis: &Genesis) -> NetworkConfig {
    NetworkConfig {
        keypair_seed: keys.node,
        listen: config.network.listen.clone(),
        peers: config.network.peers.clone(),
        external: config.network.external.clone(),
        mdns: config.network.mdns,
        network: genesis.network.clone(),
        genesis8: genesis.hash().to_string()[..8].to_owned(),
        memory_limit_bytes: None,
    }
}

fn open_store(config: &Config, genesis: &Genesis) -> anyhow::Result<RocksStore> {
    let path = state_sync::database(config);
    storage::create_folder(&config.storage.path)
        .with_context(|| format!("the folder {} cannot be made", config.storage.path.display()))?;
    let store = RocksStore::open_or_create(&path, genesis)?;
    if let Some(height) = store.forgotten_signature() {
        tracing::error!(
            height,
            "the database does not know of a signature that this validator made: it was deleted, restored from a backup \
             or damaged. Nothing is signed up to height {height}; above it this validator votes again. If the same key \
             ever runs elsewhere, stop one of the two at once"
        );
    }
    Ok(store)
}

fn restore(store: &dyn Store) -> anyhow::Result<Restored> {
    let loaded = store.load()?;
    Ok(Restored {
        height: loaded.height,
        last: loaded.last,
        entries: loaded.state,
        tree: loaded.tree.into_iter().collect(),
        wal: loaded.wal,
        sign_record: loaded.sign_record,
        pool: loaded.pool,
    })
}
