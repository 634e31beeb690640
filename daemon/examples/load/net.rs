//! A network of processes in a folder that goes when it does, and what each process uses.

use anyhow::Context as _;
use daemon::client::Client;
use daemon::devnet::{Devnet, Options};
use protocol::ids::Hash32;
use serde::Serialize;
use std::path::Path;
use std::time::{Duration, Instant};

/// Far more than any wait takes.
const DEADLINE: Duration = Duration::from_secs(180);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(5);
/// Linux counts processor time in hundredths of a second, whatever the kernel's own tick is.
const MS_PER_TICK: u64 = 10;

pub(crate) struct Net {
    pub(crate) devnet: Devnet,
    pub(crate) genesis: Hash32,
    _folder: tempfile::TempDir,
}

/// What a node's process uses.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Use {
    /// Memory in RAM.
    pub(crate) rss_mib: u64,
    /// Space that its home takes.
    pub(crate) disk_mib: u64,
    /// Processor time since its start.
    pub(crate) cpu_ms: u64,
}

impl Net {
    pub(crate) fn start(nodes: usize, epoch_ms: u64) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut options = Options::default();
        options.params.epoch_ms = epoch_ms;
        // Beside this example's own folder.
        let program = std::env::current_exe()?.ancestors().nth(2).context("no folder above")?.join("tributary");
        anyhow::ensure!(program.exists(), "build the node first: cargo build --release --bin tributary");
        let devnet = Devnet::create_with(folder.path().join("net"), nodes, &options)?.program(program).start()?;
        let genesis = devnet.genesis()?.hash();
        Ok(Self { devnet, genesis, _folder: folder })
    }

    pub(crate) fn api(&self, i: usize) -> anyhow::Result<Client> {
        Ok(self.devnet.api(i)?)
    }

    pub(crate) fn height(&self, i: usize) -> anyhow::Result<u64> {
        Ok(self.api(i)?.status()?.height)
    }

    /// Synced writes of node 0 since its start, the seconds they took, and the bytes among them of the agreement's log.
    pub(crate) fn store_writes(&self) -> anyhow::Result<[f64; 3]> {
        let text = self.api(0)?.get_text("/metrics")?;
        let value =
            |name: &str| -> Option<f64> { text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()) };
        let names = ["store_write_seconds_count", "store_write_seconds_sum", "store_log_bytes_total"];
        let mut found = [0.0; 3];
        for (place, name) in found.iter_mut().zip(names) {
            *place = value(&format!("tributary_{name} ")).with_context(|| format!("the metric {name}"))?;
        }
        Ok(found)
    }

    pub(crate) fn until(&self, what: &str, look: impl Fn(&Self) -> anyhow::Result<bool>) -> anyhow::Result<()> {
        let deadline = Instant::now() + DEADLINE;
        while !look(self)? {
            anyhow::ensure!(Instant::now() < deadline, "not within {DEADLINE:?}: {what}");
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    pub(crate) fn uses(&self) -> anyhow::Result<Vec<Use>> {
        let of = |i| {
            let pid = self.devnet.pid(i)?.context("the node has ended")?;
            let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}"));
            let status = read("status")?;
            let rss =
                status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok());
            let stat = read("stat")?;
            // The name in parentheses may hold anything; user and system time are the 12th and 13th field after it.
            let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
            let ticks: u64 = fields.iter().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
            Ok(Use {
                rss_mib: rss.unwrap_or(0_u64) >> 10,
                disk_mib: disk_bytes(self.devnet.home(i)) >> 20,
                cpu_ms: ticks * MS_PER_TICK,
            })
        };
        (0..self.devnet.len()).map(of).collect()
    }

    pub(crate) fn stop(&mut self) {
        for (name, how) in self.devnet.stop_all() {
            if how != daemon::supervisor::Ended::Gracefully {
                eprintln!("{name} did not stop in order: {how:?}");
            }
        }
    }
}

fn disk_bytes(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => disk_bytes(&entry.path()),
        Ok(meta) => std::os::unix::fs::MetadataExt::blocks(&meta) * 512,
        // Compacted away meanwhile.
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}
