//! `tributary model`: models registered, listed, shown, and talked to.

use super::objects::{WAIT_PATIENCE, amount, finish, key, open, remote};
use super::{Context, show};
use crate::actions::{DEFAULT_PRICE, NewModel, Remote};
use crate::api::types::ReceiptShown;
use crate::models::{DEFAULT_WINDOW, Lineage, Server, check_active, upload_checkpoint};
use crate::output::Paint;
use anyhow::Context as _;
use attribution::model::Options;
use clap::{Args, Subcommand};
use protocol::crypto::SecretKey;
use protocol::ids::{Hash32, ModelId, ReceiptId};
use protocol::objects::{Drops, LineageEntry};
use serde::Serialize;
use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

#[derive(Debug, Subcommand)]
pub(super) enum ModelCommand {
    /// Register a model with the data that it was made from
    Register(RegisterModel),
    /// Show a model
    Show {
        /// Its id
        #[arg(value_name = "MODEL")]
        id: ModelId,
    },
    /// List all models
    List,
    /// Ask a model by influence, here, and pay for its answers by receipts that say what they come from
    Chat(Chat),
}

#[derive(Debug, Args)]
pub(super) struct RegisterModel {
    /// What people call it
    name: String,
    /// A manifest it was made from, with =WEIGHT its part of base dividends; may be repeated
    #[arg(long = "from", required = true, value_name = "MANIFEST[=WEIGHT]", value_parser = lineage_entry)]
    lineage: Vec<LineageEntry>,
    #[command(flatten)]
    weights: Weights,
    /// Most bytes of a training example, with --checkpoint
    #[arg(long, default_value_t = DEFAULT_WINDOW, requires = "checkpoint", value_name = "BYTES")]
    window: u32,
    /// The model it was made from
    #[arg(long, value_name = "MODEL")]
    base: Option<ModelId>,
    /// What it reserves of its descendants' pay, in basis points
    #[arg(long, default_value_t = 0, value_name = "BP")]
    reserve_bp: u32,
    /// Price of 1000 tokens of prompt, in drops or as 1.5cr
    #[arg(long, default_value_t = DEFAULT_PRICE, value_parser = amount, value_name = "AMOUNT")]
    price_in: Drops,
    /// Price of 1000 tokens of answer, in drops or as 1.5cr
    #[arg(long, default_value_t = DEFAULT_PRICE, value_parser = amount, value_name = "AMOUNT")]
    price_out: Drops,
    /// The key of its builder, who is paid
    #[arg(long, value_name = "NAME")]
    key: String,
}

/// One of these: the file, what identifies it, or the folder of a model by influence.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Weights {
    /// The file of its weights
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// BLAKE3 of its weights, if the file is elsewhere
    #[arg(long, value_name = "HASH")]
    digest: Option<Hash32>,
    /// The folder that `tributary train` made: its answers are attributed by influence
    #[arg(long, value_name = "DIR")]
    checkpoint: Option<PathBuf>,
}

fn lineage_entry(text: &str) -> Result<LineageEntry, String> {
    let (manifest, weight) = text.split_once('=').unwrap_or((text, "1"));
    let manifest = manifest.parse().map_err(|error| format!("{error}"))?;
    let weight = weight.parse().map_err(|error| format!("the weight {weight:?}: {error}"))?;
    Ok(LineageEntry { manifest, weight })
}

impl ModelCommand {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        let remote = remote(context)?;
        match self {
            Self::Register(new) => new.run(context, &remote),
            Self::Show { id } => show::model(context, &remote.model(&id)?),
            Self::List => show::models(context, &remote.models()?),
            Self::Chat(chat) => chat.run(context, &remote),
        }
    }
}

impl RegisterModel {
    fn run(self, context: &Context, remote: &Remote) -> anyhow::Result<()> {
        let builder = key(context, &self.key)?;
        let checkpoint = match &self.weights.checkpoint {
            Some(folder) => {
                let spinner = context.out.spinner("reading the checkpoint");
                let found = upload_checkpoint(remote, folder, self.window, &mut |what| spinner.set_message(what));
                spinner.finish_and_clear();
                Some(found?)
            }
            None => None,
        };
        let weights = match (self.weights.digest, &self.weights.weights) {
            (Some(digest), _) => digest,
            (None, Some(path)) => digest_of(path)?,
            (None, None) => Hash32::default(),
        };
        let new = NewModel {
            name: self.name,
            weights,
            base: self.base,
            reserve_bp: self.reserve_bp,
            lineage: self.lineage,
            price_in: self.price_in,
            price_out: self.price_out,
            checkpoint,
        };
        finish(context, remote, "model", remote.register_model(&builder, new)?)
    }
}

/// BLAKE3 of a file of any size.
fn digest_of(path: &Path) -> anyhow::Result<Hash32> {
    let mut hasher = blake3::Hasher::new();
    let mut file = open(path)?;
    std::io::copy(&mut file, &mut hasher).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Hash32(*hasher.finalize().as_bytes()))
}

#[derive(Debug, Args)]
pub(super) struct Chat {
    /// The model
    #[arg(value_name = "MODEL")]
    model: ModelId,
    /// What to ask; without it, each line of standard input is asked
    #[arg(long)]
    prompt: Option<String>,
    /// The longest answer, in tokens
    #[arg(long, default_value_t = 120, value_name = "N")]
    max_tokens: usize,
    /// 0 takes the likeliest token each time, larger numbers vary
    #[arg(long, default_value_t = 0.0, value_name = "NUMBER")]
    temperature: f32,
    /// Decides the choices where the temperature is above 0
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,
    /// The answer ends before this text; may be repeated
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// The key of the payer; without it nothing is paid and no receipt is made
    #[arg(long, value_name = "NAME", requires = "server")]
    payer: Option<String>,
    /// The key of the server, which answers for the receipt with its deposit (`tributary deposit`)
    #[arg(long, value_name = "NAME", requires = "payer")]
    server: Option<String>,
    /// Wait until each fee is divided
    #[arg(long, requires = "payer")]
    wait: bool,
}

/// An answer, and its receipt if one was made.
#[derive(Debug, Serialize)]
struct Answered {
    prompt: String,
    answer: String,
    tokens_in: usize,
    tokens_out: usize,
    /// What each contribution would earn, relative to all, most first.
    influences: Vec<Influence>,
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt: Option<ReceiptShown>,
}

#[derive(Debug, Serialize)]
struct Influence {
    contribution: String,
    credit: String,
    part: f64,
}

impl Chat {
    fn run(self, context: &Context, remote: &Remote) -> anyhow::Result<()> {
        let home = context.home()?;
        let keys = match (&self.payer, &self.server) {
            (Some(payer), Some(server)) => Some((key(context, payer)?, key(context, server)?)),
            _ => None,
        };
        let spinner = context.out.spinner("fetching the model");
        let lineage = Lineage::fetch(remote, &home, self.model, None, &mut |what| spinner.set_message(what))?;
        if keys.is_some() {
            check_active(&lineage.shown, self.model)?;
        }
        let artifact = lineage.artifact(remote, &home, &mut |what| spinner.set_message(what))?;
        let server = Server::new(lineage, artifact)?;
        spinner.finish_and_clear();
        if let Some(prompt) = &self.prompt {
            let answered = self.answer(context, remote, &server, keys.as_ref(), prompt)?;
            return context.out.print(&answered, |paint| answered.to_text(paint));
        }
        let person = std::io::stdin().is_terminal() && !context.out.is_json();
        let mut all = Vec::new();
        let ended = self.answer_lines(context, remote, &server, keys.as_ref(), person, &mut all);
        // What was answered, and perhaps paid, is told even if the last line failed.
        if context.out.is_json() && (ended.is_ok() || !all.is_empty()) {
            context.out.print(&all, |_| String::new())?;
        }
        ended
    }

    /// Answers standard input line by line; `all` gets the answers that are not shown at once.
    fn answer_lines(
        &self,
        context: &Context,
        remote: &Remote,
        server: &Server,
        keys: Option<&(SecretKey, SecretKey)>,
        person: bool,
        all: &mut Vec<Answered>,
    ) -> anyhow::Result<()> {
        let mut lines = std::io::stdin().lock().lines();
        loop {
            if person {
                print!("{}", context.out.paint().bold("> "));
                std::io::stdout().flush()?;
            }
            let Some(line) = lines.next() else { break };
            let line = line?;
            if line.trim().is_empty() {
                continue;
            }
            let answered = self.answer(context, remote, server, keys, &line)?;
            if context.out.is_json() {
                all.push(answered);
            } else {
                // With an empty line after it.
                context.out.print(&answered, |paint| answered.to_text(paint) + "\n")?;
            }
        }
        Ok(())
    }

    fn answer(
        &self,
        context: &Context,
        remote: &Remote,
        server: &Server,
        keys: Option<&(SecretKey, SecretKey)>,
        prompt: &str,
    ) -> anyhow::Result<Answered> {
        let spinner = context.out.spinner("answering");
        let stop: Vec<&str> = self.stop.iter().map(String::as_str).collect();
        let options =
            Options { max_tokens: self.max_tokens, temperature: self.temperature, seed: self.seed, stop: &stop };
        let traced = server.answer(prompt, &options)?;
        let sums = server.sums(&traced.trace)?;
        let total = sums.values().sum::<u128>().max(1);
        let mut influences = Vec::new();
        for (contribution, sum) in &sums {
            influences.push(Influence {
                contribution: contribution.to_string(),
                credit: remote.contribution(contribution)?.credit,
                part: *sum as f64 / total as f64,
            });
        }
        influences.sort_by(|a, b| b.part.total_cmp(&a.part));
        let mut answered = Answered {
            prompt: prompt.to_owned(),
            answer: traced.generation.text.clone(),
            tokens_in: traced.generation.tokens_in,
            tokens_out: traced.generation.tokens_out,
            influences,
            receipt: None,
        };
        if let Some((payer, key)) = keys {
            let id: ReceiptId = server.submit(remote, payer, key, traced)?;
            spinner.set_message(format!("receipt {id} is pooled"));
            answered.receipt = Some(match self.wait {
                true => remote.wait_settled(&id, WAIT_PATIENCE, |shown| {
                    spinner.set_message(format!("the receipt is {}", shown.state));
                })?,
                false => remote.receipt(&id)?,
            });
        }
        spinner.finish_and_clear();
        Ok(answered)
    }
}

impl Answered {
    fn to_text(&self, paint: Paint) -> String {
        let mut text = format!("{}{}\n", paint.dim(&self.prompt), paint.bold(&self.answer));
        let named =
            self.influences.iter().take(5).enumerate().map(|(n, influence)| {
                format!("  {:5.1} %  {}\n", 100.0 * influence.part, paint.nth(n, &influence.credit))
            });
        text += &named.collect::<String>();
        if let Some(receipt) = &self.receipt {
            text += &format!("{}  {}  {}\n", paint.dim("receipt"), receipt.id, receipt.state);
        }
        text
    }
}
