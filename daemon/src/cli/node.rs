//! `tributary init`, `start`, `status` and `stop`: one node's life.

use super::Context;
use crate::client::Status;
use crate::config::{CONFIG_FILE, Config};
use crate::keys::{KeyKind, Keystore, NodeKeys, Seed};
use crate::output::{Failure, Paint};
use crate::supervisor;
use crate::trust::Checkpoint;
use crate::{files, genesis_file, logging, metrics, node_process, open_files};
use anyhow::Context as _;
use clap::Args;
use protocol::genesis::{Genesis, GenesisValidator, Params};
use protocol::ids::Account;
use protocol::objects::Drops;
use serde::Serialize;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// How long a node may take to stop once it was told to.
pub const STOP_BOUND: Duration = Duration::from_secs(20);
/// How long `stop` waits for that, and for the process to be gone.
const STOP_WAIT: Duration = Duration::from_secs(25);
/// How long threads that still work may hold up the end of a stopped node.
const RUNTIME_END: Duration = Duration::from_secs(1);
/// Exit code when a second signal ends the node at once.
const INTERRUPTED_EXIT: i32 = 130;
/// The account that a node of a network of its own is paid to.
const OPERATOR: &str = "operator";
/// What that account starts with.
const OPERATOR_FORTUNE: Drops = Drops(Drops::CREDIT.0 * 1_000_000);

const _: () = assert!(STOP_WAIT.as_secs() > STOP_BOUND.as_secs() + RUNTIME_END.as_secs());

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct Init {
    /// The genesis of the network to join
    #[arg(long, value_name = "FILE")]
    genesis: Option<PathBuf>,
    /// Begin a network of this name, with this node as its only validator, for trying things
    #[arg(long, value_name = "NAME")]
    network: Option<String>,
}

#[derive(Debug, Serialize)]
struct Made {
    home: String,
    config: String,
    network: String,
    genesis: String,
    peer_id: String,
    validator_key: String,
    validator: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    operator: Option<String>,
}

impl Init {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        let home = context.home()?;
        let config = Config::new(&home);
        let config_file = home.join(CONFIG_FILE);
        // Whatever else is wrong with the arguments, an existing node must not be touched.
        if config_file.exists() {
            return Err(Failure::new("exists", format!("there is a node in {} already", home.display()))
                .hint(format!("tributary start --home {}", home.display()))
                .into());
        }
        refuse_others_home(&home, &config)?;
        let joined = self.genesis.as_deref().map(genesis_file::read).transpose()?;
        if let Some(name) = &self.network {
            check_name(name)?;
        }
        storage::create_folder(&home).with_context(|| format!("cannot create {}", home.display()))?;
        let validator_key = seed_of(&home.join(&config.node.validator_key), KeyKind::Validator)?;
        let peer_id = seed_of(&home.join(&config.node.key), KeyKind::Node)?.public(KeyKind::Node);
        let key = validator_key.secret_key().account();
        let (genesis, operator) = match (joined, self.network) {
            (Some(genesis), _) => (genesis, None),
            (None, name) => {
                let operator = operator(&Keystore::in_home(&home))?;
                (own_network(name.unwrap_or_default(), key, operator), Some(operator.to_string()))
            }
        };
        genesis_file::write_new(&home.join(&config.node.genesis), &genesis)?;
        let written = files::create_new(&config_file, config.to_toml().as_bytes(), 0o644);
        if written.is_err() {
            // Without its configuration it is no node, and a genesis alone would keep the next `init` away.
            let _ = std::fs::remove_file(home.join(&config.node.genesis));
        }
        written.with_context(|| format!("cannot write {}", config_file.display()))?;
        let made = Made {
            home: home.display().to_string(),
            config: config_file.display().to_string(),
            network: genesis.network.clone(),
            genesis: genesis.hash().to_string(),
            peer_id,
            validator_key: key.to_string(),
            validator: genesis.validators.iter().any(|validator| validator.key == key),
            operator,
        };
        context.out.print(&made, |paint| made.human(paint))
    }
}

impl Made {
    fn human(&self, paint: Paint) -> String {
        let votes = if self.validator { "" } else { " (not a validator of this network)" };
        let mut fields = vec![
            ("node", paint.bold(&self.home)),
            ("network", format!("{}, genesis {}", self.network, self.genesis)),
            ("peer id", self.peer_id.clone()),
            ("validator", format!("{}{votes}", self.validator_key)),
        ];
        fields.extend(self.operator.iter().map(|operator| ("operator", format!("{operator} (its key: {OPERATOR})"))));
        fields.push(("next", format!("look at {}, then: tributary start --home {}", self.config, self.home)));
        paint.fields(&fields)
    }
}

/// A folder that holds a network already must not become a node's.
fn refuse_others_home(home: &Path, config: &Config) -> Result<(), Failure> {
    let hint = "name another folder with --home DIR";
    if crate::devnet::exists(home) {
        let message = format!("{} is a devnet's folder", home.display());
        return Err(Failure::new("exists", message).hint(hint));
    }
    let genesis = home.join(&config.node.genesis);
    if genesis.exists() {
        let message = format!("there is a genesis in {} already", home.display());
        return Err(Failure::new("exists", message).hint(format!("{hint}, or move {} elsewhere", genesis.display())));
    }
    Ok(())
}

/// Can a network have this name? Asked before any key is made.
fn check_name(name: &str) -> Result<(), Failure> {
    let nobody = Account([0; 32]);
    let checked = own_network(name.to_owned(), nobody, nobody).check();
    checked.map_err(|error| Failure::new("name", error.to_string()).hint("such as --network my-network"))
}

/// The key in this file. An `init` that was cut short has made it already; then it is kept.
fn seed_of(path: &Path, kind: KeyKind) -> anyhow::Result<Seed> {
    if !path.exists() {
        Seed::random()?.write_new(path, kind, "")?;
    }
    Ok(Seed::read(path)?)
}

fn operator(keystore: &Keystore) -> anyhow::Result<Account> {
    if !keystore.path(OPERATOR)?.exists() {
        keystore.add(OPERATOR, &Seed::random()?)?;
    }
    Ok(keystore.load(OPERATOR)?.account())
}

fn own_network(network: String, key: Account, operator: Account) -> Genesis {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Genesis {
        network,
        time_ms: u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX),
        params: Params::devnet(),
        validators: vec![GenesisValidator { key, payout: operator, power: 1, name: OPERATOR.to_owned() }],
        accounts: vec![(operator, OPERATOR_FORTUNE)],
    }
}

#[derive(Debug, Args)]
pub(super) struct Start {
    /// Write every input of the node to this file, so that the run can be replayed
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Set any key of the configuration, such as api.listen=127.0.0.1:8000; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// With an empty folder: take over a state from peers, checked from this block on (HEIGHT:HASH), which somebody you
    /// believe told you
    #[arg(long, value_name = "HEIGHT:HASH")]
    trust: Option<Checkpoint>,
    /// Stop when standard input closes, as it does when the parent process ends
    #[arg(long)]
    exit_with_parent: bool,
    /// For tests: take the system's clock to be wrong by so many milliseconds
    #[arg(long, value_name = "MS", default_value_t = 0, hide = true, allow_negative_numbers = true)]
    clock_offset_ms: i64,
}

impl Start {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        node_process::clock::set_offset_ms(self.clock_offset_ms);
        let mut config = Config::load(&context.home()?, super::environment(), &self.set)?;
        if let Some(record) = self.record {
            // A path on the command line is meant from where the command is given.
            config.node.record = Some(std::path::absolute(record)?);
        }
        config.sync.trust = self.trust.or(config.sync.trust);
        let genesis = genesis_file::read(&config.node.genesis)?;
        let keys = NodeKeys::load(&config)?;
        let _claim = supervisor::claim(&config.home)?;
        logging::init(&config.log)?;
        metrics::install().context("cannot start the metrics")?;
        open_files::prepare();
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"), network = genesis.network, genesis = %genesis.hash(),
            home = %config.home.display(), api = %config.api.listen, "starting"
        );
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let ended = runtime.block_on(run_until_stopped(config, keys, genesis, self.exit_with_parent));
        runtime.shutdown_timeout(RUNTIME_END);
        if let Err(error) = &ended {
            tracing::error!("stopped by an error: {error:#}");
        }
        ended
    }
}

/// Runs the node until it fails or is told to stop: by SIGINT or SIGTERM, by the end of its parent, or by itself.
/// From then on it has [`STOP_BOUND`], and a second signal ends it at once.
async fn run_until_stopped(
    config: Config,
    keys: NodeKeys,
    genesis: Genesis,
    exit_with_parent: bool,
) -> anyhow::Result<()> {
    let mut signals =
        Signals { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? };
    let shutdown = CancellationToken::new();
    let _upkeep = tokio::spawn(keep_metrics(shutdown.clone()));
    if exit_with_parent {
        watch_parent(shutdown.clone())?;
    }
    let mut node = Box::pin(node_process::run(config, keys, genesis, shutdown.clone()));
    tokio::select! {
        ended = &mut node => return ended,
        name = signals.next() => tracing::info!(signal = name, "stopping; a second signal ends the node at once"),
        () = shutdown.cancelled() => tracing::info!("stopping"),
    }
    shutdown.cancel();
    tokio::select! {
        ended = &mut node => ended,
        name = signals.next() => {
            tracing::warn!(signal = name, "ended at once");
            std::process::exit(INTERRUPTED_EXIT);
        }
        () = tokio::time::sleep(STOP_BOUND) => {
            let message = format!("the node did not stop within {} s and was ended", STOP_BOUND.as_secs());
            Err(Failure::new("stuck", message).hint("nothing that was acknowledged is lost; its log says what it did last").into())
        }
    }
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// The next signal's name.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

async fn keep_metrics(until: CancellationToken) {
    let mut due = tokio::time::interval(metrics::UPKEEP);
    loop {
        tokio::select! {
            _ = due.tick() => metrics::upkeep(),
            () = until.cancelled() => return,
        }
    }
}

/// Stops the node when standard input ends. In a thread of its own, because nothing can interrupt that read.
fn watch_parent(shutdown: CancellationToken) -> anyhow::Result<()> {
    let watch = move || {
        let mut ignored = [0; 64];
        // Both the end and an error say that nobody holds the other side any more.
        while std::io::stdin().read(&mut ignored).is_ok_and(|read| read > 0) {}
        tracing::info!("the parent process let go");
        shutdown.cancel();
    };
    std::thread::Builder::new().name("parent".to_owned()).spawn(watch).context("cannot start a thread")?;
    Ok(())
}

#[derive(Debug, Args)]
pub(super) struct StatusCommand {}

impl StatusCommand {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        let client = context.client()?;
        let status = client.status()?;
        context.out.print(&status, |paint| human_status(&status, client.url(), paint))
    }
}

fn human_status(status: &Status, url: &str, paint: Paint) -> String {
    let state = if status.syncing { paint.bad("catching up") } else { paint.good("in step") };
    let role = if status.validator { "validator" } else { "follows, does not vote" };
    paint.fields(&[
        ("node", format!("{} ({role}, version {})", status.peer_id, status.version)),
        ("api", url.to_owned()),
        ("network", format!("{}, genesis {}", status.network, status.genesis)),
        ("height", format!("{} ({state})", paint.bold(status.height))),
        ("block", status.block.clone()),
        ("state root", status.state_root.clone()),
        ("epochs", format!("every {} ms after a decision", status.epoch_ms)),
        ("peers", status.peers.to_string()),
        ("waiting", format!("{} objects", status.pool)),
    ])
}

#[derive(Debug, Args)]
pub(super) struct Stop {}

#[derive(Debug, Serialize)]
struct Stopped {
    stopped: String,
}

impl Stop {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        let home = context.home()?;
        let spinner = context.out.spinner(format!("stopping the node in {}", home.display()));
        let outcome = supervisor::stop(&home, STOP_WAIT);
        spinner.finish_and_clear();
        outcome?;
        let stopped = Stopped { stopped: home.display().to_string() };
        context.out.print(&stopped, |_| format!("stopped the node in {}", stopped.stopped))
    }
}
