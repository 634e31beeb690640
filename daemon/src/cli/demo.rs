//! `tributary demo`.

use super::Context;
use crate::demo::{MAX_RECEIPTS, MIN_RECEIPTS, Tour, take};
use crate::output::Failure;
use std::path::PathBuf;

/// Arguments of `tributary demo`.
#[derive(Debug, clap::Args)]
pub struct Demo {
    /// End when the report is made, instead of leaving the network running
    #[arg(long)]
    once: bool,
    /// Write the report as JSON to this file
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// A new folder for the network [default: tributary-demo-PID in the temporary folder]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// How many receipts are sent
    #[arg(long, default_value_t = 240, value_name = "N")]
    receipts: usize,
    /// How many of them SmolLM2-135M answers, if its package can be fetched; 0 does without
    #[arg(long, default_value_t = 6, value_name = "N")]
    model_answers: usize,
}

impl Demo {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        if !(MIN_RECEIPTS..=MAX_RECEIPTS).contains(&self.receipts) || self.model_answers > self.receipts {
            let limits = format!("--receipts is {MIN_RECEIPTS} to {MAX_RECEIPTS}, --model-answers at most that many");
            return Err(Failure::new("usage", limits).into());
        }
        let default = || std::env::temp_dir().join(format!("tributary-demo-{}", std::process::id()));
        let tour = Tour {
            dir: self.dir.unwrap_or_else(default),
            receipts: self.receipts,
            model_answers: self.model_answers,
            report: self.report,
            once: self.once,
        };
        let report = take(&tour, &context.out)?;
        if !report.holds() {
            return Err(Failure::new("broken", report.broken.join("; ")).into());
        }
        Ok(())
    }
}
