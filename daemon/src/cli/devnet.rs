//! `tributary devnet`: a local network of several nodes.

use super::Context;
use crate::devnet::{self, Devnet, Options};
use crate::output::{Failure, Paint};
use crate::supervisor::Ended;
use clap::{Args, Subcommand};
use serde::Serialize;
use std::path::PathBuf;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// How often the nodes are looked after.
const CARE: Duration = Duration::from_millis(500);
/// Hex digits of a hash that people are shown in a table.
const SHORT_HEX: usize = 12;

#[derive(Debug, Subcommand)]
pub(super) enum DevnetCommand {
    /// Start the network, making it first where there is none, and run it until Ctrl-C
    Up(Up),
    /// Show every node
    Status(Where),
    /// Stop every node; what they hold is kept
    Down(Where),
}

#[derive(Debug, Args)]
pub(super) struct Where {
    /// The network's folder [default: the home if it is one, else devnet in it]
    #[arg(long)]
    dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct Up {
    #[command(flatten)]
    at: Where,
    /// How many validators a new network has [default: 4]
    #[arg(long)]
    nodes: Option<usize>,
    /// Milliseconds between epochs of a new network [default: 1000]
    #[arg(long, value_name = "MS")]
    epoch_ms: Option<u64>,
    /// Return when all are ready; `devnet down` stops them
    #[arg(long)]
    detach: bool,
}

impl Where {
    fn dir(&self, context: &Context) -> anyhow::Result<PathBuf> {
        match &self.dir {
            Some(dir) => Ok(dir.clone()),
            None => {
                let home = context.home()?;
                // Whoever named the network's folder as the home, to use its accounts, means that network.
                Ok(if devnet::exists(&home) { home } else { home.join("devnet") })
            }
        }
    }
}

impl DevnetCommand {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        match self {
            Self::Up(up) => up.run(context),
            Self::Status(at) => status(context, &at),
            Self::Down(at) => down(context, &at),
        }
    }
}

#[derive(Debug, Serialize)]
struct Network {
    dir: String,
    network: String,
    genesis_file: String,
    nodes: Vec<NodeShown>,
}

#[derive(Debug, Serialize)]
struct NodeShown {
    name: String,
    api: String,
    home: String,
    log: String,
    pid: Option<u32>,
}

impl Network {
    fn of(devnet: &Devnet) -> anyhow::Result<Self> {
        let node = |i| {
            Ok::<_, devnet::DevnetError>(NodeShown {
                name: devnet.name(i).to_owned(),
                api: devnet.api_url(i),
                home: devnet.home(i).display().to_string(),
                log: devnet.log(i).display().to_string(),
                pid: devnet.pid(i)?,
            })
        };
        Ok(Self {
            dir: devnet.dir().display().to_string(),
            network: devnet.network().to_owned(),
            genesis_file: devnet.genesis_path().display().to_string(),
            nodes: (0..devnet.len()).map(node).collect::<Result<_, _>>()?,
        })
    }

    fn human(&self, paint: Paint, end: &str) -> String {
        let cells = |node: &NodeShown| vec![node.name.clone(), node.api.clone(), node.log.clone()];
        let rows: Vec<Vec<String>> = self.nodes.iter().map(cells).collect();
        format!(
            "{} is up: {} validators in {}\n\n{}\n\nits accounts: tributary keys list --home {}\n\
             their keys are the same for everybody: they must never hold money\n{end}",
            paint.bold(&self.network),
            self.nodes.len(),
            self.dir,
            paint.table(&["node", "api", "log"], &rows),
            self.dir,
        )
    }
}

impl Up {
    fn run(self, context: &Context) -> anyhow::Result<()> {
        let dir = self.at.dir(context)?;
        let spinner = context.out.spinner("starting the network");
        let devnet = self.open_or_create(&dir)?;
        let started = if self.detach { devnet.start_detached() } else { devnet.start() };
        spinner.finish_and_clear();
        let mut devnet = started?;
        let network = Network::of(&devnet)?;
        if self.detach {
            let end = format!("to stop it: tributary devnet down --dir {}", network.dir);
            return context.out.print(&network, |paint| network.human(paint, &end));
        }
        context.out.print(&network, |paint| network.human(paint, "Ctrl-C stops it"))?;
        let ended = run_until_stopped(&mut devnet);
        let spinner = context.out.spinner("stopping the network");
        let stopped = devnet.stop_all();
        spinner.finish_and_clear();
        ended?;
        // Asked for with `devnet down`, they have all ended in order already.
        let bad: Vec<&str> =
            stopped.iter().filter(|(_, how)| *how != Ended::Gracefully).map(|(name, _)| name.as_str()).collect();
        if !bad.is_empty() {
            let message = format!("{} did not stop in order", bad.join(", "));
            return Err(Failure::new("stuck", message).hint(format!("the logs are in {}", network.dir)).into());
        }
        Ok(())
    }

    fn open_or_create(&self, dir: &std::path::Path) -> anyhow::Result<Devnet> {
        if devnet::exists(dir) {
            let devnet = Devnet::open(dir)?;
            if self.nodes.is_some_and(|nodes| nodes != devnet.len()) || self.epoch_ms.is_some() {
                let message = format!("the network in {} exists, and its size and epochs are settled", dir.display());
                return Err(Failure::new("exists", message)
                    .hint("leave --nodes and --epoch-ms out, or name another --dir")
                    .into());
            }
            return Ok(devnet);
        }
        let mut options = Options::default();
        if let Some(epoch_ms) = self.epoch_ms {
            options.params.epoch_ms = epoch_ms;
        }
        Ok(Devnet::create_with(dir, self.nodes.unwrap_or(4), &options)?)
    }
}

/// Waits for a signal, or until all nodes have ended; one that ends alone is an error.
fn run_until_stopped(devnet: &mut Devnet) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let mut care = tokio::time::interval(CARE);
        loop {
            tokio::select! {
                _ = interrupt.recv() => return Ok(()),
                _ = terminate.recv() => return Ok(()),
                _ = care.tick() => match devnet.ended() {
                    None => {}
                    Some(i) if devnet.ended_in_order(i) => return Ok(()),
                    Some(i) => {
                        let message = format!("{} ended, and the network with it", devnet.name(i));
                        let hint = format!("its log is {}", devnet.log(i).display());
                        return Err(Failure::new("ended", message).hint(hint).into());
                    }
                },
            }
        }
    })
}

#[derive(Debug, Serialize)]
struct Glance {
    name: String,
    api: String,
    pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<crate::client::Status>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

fn status(context: &Context, at: &Where) -> anyhow::Result<()> {
    let devnet = Devnet::open(at.dir(context)?)?;
    let glance = |i| {
        let pid = devnet.pid(i)?;
        let answer = pid.map(|_| devnet.api(i).and_then(|client| Ok(client.status()?))).transpose();
        let (status, problem) = match answer {
            Ok(Some(status)) => (Some(status), None),
            Ok(None) => (None, Some("not running".to_owned())),
            Err(error) => (None, Some(format!("{:#}", anyhow::Error::from(error)))),
        };
        let (name, api) = (devnet.name(i).to_owned(), devnet.api_url(i));
        Ok::<_, devnet::DevnetError>(Glance { name, api, pid, status, problem })
    };
    let nodes: Vec<Glance> = (0..devnet.len()).map(glance).collect::<Result<_, _>>()?;
    context.out.print(&nodes, |paint| {
        let row = |node: &Glance| {
            let pid = node.pid.map(|pid| pid.to_string()).unwrap_or_default();
            let mut row = vec![node.name.clone(), node.api.clone(), pid];
            match &node.status {
                Some(status) => row.extend([
                    status.height.to_string(),
                    status.state_root.chars().take(SHORT_HEX).collect(),
                    status.peers.to_string(),
                    status.pool.to_string(),
                ]),
                None => row.push(node.problem.clone().unwrap_or_default()),
            }
            row
        };
        let rows: Vec<Vec<String>> = nodes.iter().map(row).collect();
        paint.table(&["node", "api", "process", "height", "state root", "peers", "waiting"], &rows)
    })
}

fn down(context: &Context, at: &Where) -> anyhow::Result<()> {
    let mut devnet = Devnet::open(at.dir(context)?)?;
    let spinner = context.out.spinner("stopping the network");
    let stopped = devnet.stop_everywhere();
    spinner.finish_and_clear();
    let stopped = stopped?;
    context.out.print(&stopped, |_| match stopped.as_slice() {
        [] => "nothing was running".to_owned(),
        names => format!("stopped {}", names.join(", ")),
    })
}
