//! A network of one validator in this process.

use daemon::actions::Remote;
use daemon::client::Client;
use daemon::config::Config;
use daemon::keys::{NodeKeys, dev_seed};
use daemon::node_process;
use protocol::crypto::SecretKey;
use protocol::genesis::{Genesis, GenesisValidator, Params};
use protocol::objects::Drops;
use std::net::TcpListener;
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// How long anything may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
pub(super) const NETWORK: &str = "apitest";

pub(super) struct TestNode {
    pub(super) remote: Remote,
    pub(super) genesis: Genesis,
    stop: CancellationToken,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
    home: TempDir,
}

/// The account key of a name.
pub(super) fn key(name: &str) -> SecretKey {
    dev_seed(NETWORK, name).secret_key()
}

/// The 32 bytes that the seed file of a name would hold.
fn seed(name: &str) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("tributary api test");
    hasher.update(name.as_bytes());
    hasher.finalize().into()
}

fn genesis(validator: &SecretKey) -> Genesis {
    let mut accounts: Vec<_> = ["owner", "ada", "ben", "payer", "builder"]
        .map(|name| (key(name).account(), Drops(Drops::CREDIT.0 * 1000)))
        .to_vec();
    accounts.push((key("poor").account(), Drops(1)));
    accounts.sort();
    Genesis {
        network: NETWORK.to_owned(),
        time_ms: 1_700_000_000_000,
        params: Params { epoch_ms: 50, dispute_window: 5, ..Params::devnet() },
        validators: vec![GenesisValidator {
            key: validator.account(),
            payout: key("operator").account(),
            power: 1,
            name: "alone".to_owned(),
        }],
        accounts,
    }
}

impl TestNode {
    pub(super) fn start() -> Self {
        let home = tempfile::tempdir().expect("a folder");
        let keys = NodeKeys { node: seed("node"), validator: seed("validator") };
        let genesis = genesis(&SecretKey::from_seed(keys.validator));
        let mut config = Config::new(home.path());
        config.storage.path = home.path().join("data");
        config.storage.blob_quota_bytes = 128 << 20;
        config.network.listen = vec!["/ip4/127.0.0.1/udp/0/quic-v1".parse().expect("an address")];
        config.network.mdns = false;
        // A free port: asked for, given back, and then nobody else's in all likelihood.
        config.api.listen = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port");
        let url = format!("http://{}", config.api.listen);
        // Other tests in this process may have installed them already.
        let _ = daemon::metrics::install();
        let stop = CancellationToken::new();
        let (running, begun) = (stop.clone(), genesis.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
            runtime.block_on(Box::pin(node_process::run(config, keys, begun, running)))
        });
        let client = Client::new(&url).expect("a good address");
        let deadline = Instant::now() + PATIENCE;
        while client.ready().is_err() || client.status().is_ok_and(|status| status.height < 1) {
            assert!(Instant::now() < deadline && !thread.is_finished(), "the node does not become ready");
            std::thread::sleep(Duration::from_millis(10));
        }
        let remote = Remote::connect(client).expect("a network");
        Self { remote, genesis, stop, thread: Some(thread), home }
    }

    /// Where the indices of its content are, a folder for each manifest.
    pub(super) fn spans(&self) -> PathBuf {
        self.home.path().join("data").join("spans")
    }

    /// Stops the node, which must end in order.
    pub(super) fn stop(mut self) {
        self.stop.cancel();
        let ended = self.thread.take().expect("it runs").join().expect("no panic");
        ended.expect("it ends in order");
    }
}

impl Drop for TestNode {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
