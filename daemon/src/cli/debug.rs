//! `tributary debug`: looking into what a node did.

use super::Context;
use crate::keys::Seed;
use crate::node_process::recorder::replay;
use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(super) enum Debug {
    /// Run the core again over an input log (`tributary start --record FILE`), and print the digest of what it did
    Replay(Replay),
}

#[derive(Debug, Args)]
pub(super) struct Replay {
    /// The input log
    log: PathBuf,
    /// The validator key that the node had
    #[arg(long, value_name = "FILE")]
    key_file: PathBuf,
}

impl Debug {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        let Self::Replay(Replay { log, key_file }) = self;
        let key = Seed::read(&key_file)?.secret_key();
        let spinner = context.out.spinner(format!("replaying {}", log.display()));
        let outcome = replay(&log, key);
        spinner.finish_and_clear();
        let found = outcome?;
        context.out.print(&found, |paint| {
            paint.fields(&[
                ("inputs", found.inputs.to_string()),
                ("effects", found.effects.to_string()),
                ("height", found.height.to_string()),
                ("state root", found.state_root.clone()),
                ("digest", paint.bold(&found.digest)),
            ])
        })
    }
}
