//! What people put on the network: `tributary datanet`, `contribute`, `dataset`, `model`, `receipt`, `transfer`,
//! `approve` and `reject`.
//!
//! Objects are built and signed here, with keys of the home (`--key NAME`); the node only gets signed bytes.

use super::Context;
use super::{batch, show};
use crate::actions::{NewContribution, NewDataNet, NewDocument, NewReceipt, Remote};
use crate::api::types::{ManifestShown, ObjectShown};
use crate::output::Failure;
use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use indicatif::ProgressBar;
use protocol::crypto::SecretKey;
use protocol::ids::{Account, ContributionId, DataNetId, ManifestId, ModelId, ObjectId, ReceiptId};
use protocol::limits::{MAX_ANSWER_BYTES, MAX_DOCUMENT_BYTES};
use protocol::objects::{Action, Drops, Origin};
use serde::Serialize;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a command waits for a block to take its object.
const BLOCK_PATIENCE: Duration = Duration::from_secs(120);
/// How long `--wait` waits.
pub(super) const WAIT_PATIENCE: Duration = Duration::from_secs(600);

/// The key of this name: of the home's keystore, or of the devnet there.
pub(super) fn key(context: &Context, name: &str) -> anyhow::Result<SecretKey> {
    let (home, keystore) = (context.home()?, context.keystore()?);
    if !keystore.path(name)?.exists() && crate::devnet::exists(&home) {
        let devnet = crate::devnet::Devnet::open(&home)?;
        let key = devnet.key(name).secret_key();
        if devnet.genesis()?.accounts.iter().any(|(account, _)| *account == key.account()) {
            return Ok(key);
        }
    }
    Ok(keystore.load(name)?)
}

/// The account that a text names: an address, or a key of the home.
pub(super) fn account(context: &Context, text: &str) -> anyhow::Result<Account> {
    match text.parse() {
        Ok(account) => Ok(account),
        Err(error) if text.starts_with("trib1") => Err(Failure::new("malformed", format!("{text}: {error}")).into()),
        Err(_) => Ok(key(context, text)?.account()),
    }
}

/// An amount: `1500` drops, or `1.5cr` credits.
pub(super) fn amount(text: &str) -> Result<Drops, String> {
    let wrong = || format!("{text:?} is no amount: drops such as 1500, or credits such as 1.5cr");
    let Some(credits) = text.strip_suffix("cr") else { return text.parse().map(Drops).map_err(|_| wrong()) };
    let (whole, part) = credits.split_once('.').unwrap_or((credits, ""));
    if part.len() > 9 || !part.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(wrong());
    }
    let whole: u128 = whole.parse().map_err(|_| wrong())?;
    let part: u128 = format!("{part:0<9}").parse().map_err(|_| wrong())?;
    let drops = whole.checked_mul(Drops::CREDIT.0).and_then(|drops| drops.checked_add(part));
    drops.map(Drops).ok_or_else(wrong)
}

pub(super) fn remote(context: &Context) -> anyhow::Result<Remote> {
    Ok(Remote::connect(context.client()?)?)
}

/// Follows an object's state on the progress line.
fn progress<'a>(spinner: &'a ProgressBar, what: &'a str) -> impl FnMut(&ObjectShown) + 'a {
    move |shown| spinner.set_message(format!("{what} is {}", shown.state))
}

/// What was submitted, and how far it is.
#[derive(Debug, Serialize)]
struct Submitted {
    id: String,
    state: String,
}

/// Waits until an object is in a block, and prints it.
pub(super) fn finish(
    context: &Context,
    remote: &Remote,
    what: &'static str,
    id: impl Into<ObjectId>,
) -> anyhow::Result<()> {
    let id = id.into();
    let spinner = context.out.spinner(format!("{what} {id} waits for a block"));
    let outcome = remote.wait_included(what, id, BLOCK_PATIENCE);
    spinner.finish_and_clear();
    let submitted = Submitted { id: id.to_string(), state: outcome?.state };
    context.out.print(&submitted, |paint| {
        paint.fields(&[(what, paint.bold(&submitted.id)), ("state", submitted.state.clone())])
    })
}

#[derive(Debug, Subcommand)]
pub(super) enum DataNetCommand {
    /// Create a DataNet
    Create(CreateDataNet),
    /// Show a DataNet, its versions, its contributors, and the contributions that wait for its owner
    Show {
        /// Its id
        #[arg(value_name = "DATANET")]
        id: DataNetId,
    },
    /// List all DataNets
    List,
}

#[derive(Debug, Args)]
pub(super) struct CreateDataNet {
    /// What people call it
    name: String,
    /// What it holds, in a sentence or two
    #[arg(long, default_value = "")]
    description: String,
    /// Approve each contribution yourself
    #[arg(long)]
    curated: bool,
    /// An SPDX licence that it accepts; may be repeated
    #[arg(long = "licence", default_values_t = ["CC0-1.0".to_owned()], value_name = "SPDX")]
    licences: Vec<String>,
    /// Most bytes of one contribution's documents together
    #[arg(long, default_value_t = MAX_DOCUMENT_BYTES, value_name = "BYTES")]
    max_bytes: u64,
    /// The most of a contribution, in per cent of its words, that may stand in earlier contributions; light edits do not
    /// hide it
    #[arg(long, default_value_t = 50, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(1..=100))]
    max_known: u32,
    /// The key of its owner
    #[arg(long, value_name = "NAME")]
    key: String,
}

impl DataNetCommand {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        let remote = remote(context)?;
        match self {
            Self::Create(new) => {
                let owner = key(context, &new.key)?;
                let id = remote.create_datanet(
                    &owner,
                    NewDataNet {
                        name: new.name,
                        description: new.description,
                        curated: new.curated,
                        licences: new.licences,
                        max_contribution_bytes: new.max_bytes,
                        max_known_basis_points: new.max_known * 100,
                    },
                )?;
                finish(context, &remote, "DataNet", id)
            }
            Self::Show { id } => show::datanet(context, &remote, &id),
            Self::List => show::datanets(context, &remote),
        }
    }
}

/// How a contributor came by the documents.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum OriginName {
    /// Written by the contributor
    OwnWork,
    /// Free of copyright
    PublicDomain,
    /// Used under a licence that allows it
    Licensed,
}

#[derive(Debug, Args)]
pub(super) struct Contribute {
    /// Text files, UTF-8
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The DataNet
    #[arg(long, value_name = "DATANET")]
    to: DataNetId,
    /// The name to credit
    #[arg(long, value_name = "NAME")]
    credit: String,
    /// What people call the contribution [default: the first file's name]
    #[arg(long)]
    title: Option<String>,
    /// Its SPDX licence
    #[arg(long, default_value = "CC0-1.0", value_name = "SPDX")]
    licence: String,
    /// Its BCP-47 language tag
    #[arg(long, default_value = "en", value_name = "TAG")]
    language: String,
    /// Where it comes from
    #[arg(long, default_value = "")]
    source: String,
    /// How you came by it
    #[arg(long, value_enum, default_value_t = OriginName::OwnWork)]
    origin: OriginName,
    /// The key of the contributor, who is paid
    #[arg(long, value_name = "NAME")]
    key: String,
}

impl Contribute {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        let key = key(context, &self.key)?;
        let documents = self.files.iter().map(|path| document(path)).collect::<anyhow::Result<Vec<_>>>()?;
        let remote = remote(context)?;
        let spinner = context.out.spinner(format!("uploading {} documents", documents.len()));
        let title =
            self.title.unwrap_or_else(|| documents.first().map(|first| first.title.clone()).unwrap_or_default());
        let new = NewContribution {
            datanet: self.to,
            credit: self.credit,
            title,
            source: self.source,
            language: self.language,
            licence: self.licence,
            origin: match self.origin {
                OriginName::OwnWork => Origin::OwnWork,
                OriginName::PublicDomain => Origin::PublicDomain,
                OriginName::Licensed => Origin::Licensed,
            },
            documents,
        };
        let outcome = remote.contribute(&key, new).and_then(|id| {
            remote.wait_for("contribution", id, &["admitted", "pending"], BLOCK_PATIENCE, progress(&spinner, "it"))
        });
        spinner.finish_and_clear();
        let shown = outcome?;
        let submitted = Submitted { id: shown.id, state: shown.state };
        context.out.print(&submitted, |paint| {
            let meaning = match submitted.state.as_str() {
                "pending" => "pending: the DataNet's owner decides",
                _ => "accepted: it counts from the DataNet's next version on",
            };
            paint.fields(&[("contribution", paint.bold(&submitted.id)), ("state", meaning.to_owned())])
        })
    }
}

/// A file as a document. The node says whether it is text.
fn document(path: &Path) -> anyhow::Result<NewDocument> {
    let title = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let hint = "cut it into several files";
    Ok(NewDocument { title, bytes: bounded(open(path)?, path, MAX_DOCUMENT_BYTES, hint)? })
}

pub(super) fn open(path: &Path) -> anyhow::Result<File> {
    File::open(path).with_context(|| format!("cannot read {}", path.display()))
}

/// What can be read, unless it is more than `limit` bytes; then `hint` says what to do.
fn bounded(from: impl Read, path: &Path, limit: u64, hint: &str) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = from.take(limit + 1).read_to_end(&mut bytes);
    read.with_context(|| format!("cannot read {}", path.display()))?;
    if bytes.len() as u64 > limit {
        let message = format!("{} has more than {limit} bytes", path.display());
        return Err(Failure::new("oversize", message).hint(hint).into());
    }
    Ok(bytes)
}

#[derive(Debug, Subcommand)]
pub(super) enum DatasetCommand {
    /// Publish a DataNet's next version, served by the node that this goes to
    Publish(Publish),
    /// Show one version
    Show {
        /// Its manifest's id
        #[arg(value_name = "MANIFEST")]
        id: ManifestId,
    },
    /// List a DataNet's active versions
    List {
        /// The DataNet
        #[arg(long = "of", value_name = "DATANET")]
        datanet: DataNetId,
    },
}

#[derive(Debug, Args)]
pub(super) struct Publish {
    /// The DataNet
    #[arg(long, value_name = "DATANET")]
    to: DataNetId,
    /// A contribution to add; may be repeated [default: all admitted ones that are in no version yet]
    #[arg(long = "contribution", value_name = "CONTRIBUTION")]
    contributions: Vec<ContributionId>,
    /// Wait until validators hold and have indexed it
    #[arg(long)]
    wait: bool,
    /// The key of the DataNet's owner
    #[arg(long, value_name = "NAME")]
    key: String,
}

impl DatasetCommand {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        let remote = remote(context)?;
        match self {
            Self::Publish(publish) => publish.run(context, &remote),
            Self::Show { id } => show::manifest(context, &remote.manifest(&id)?),
            Self::List { datanet } => show::manifests(context, &remote.datanet(&datanet)?.versions),
        }
    }
}

impl Publish {
    fn run(self, context: &Context, remote: &Remote) -> anyhow::Result<()> {
        let owner = key(context, &self.key)?;
        let named = (!self.contributions.is_empty()).then_some(self.contributions.as_slice());
        let id = remote.publish(&owner, &self.to, named)?;
        let spinner = context.out.spinner(format!("manifest {id} waits for a block"));
        let outcome = remote.wait_included("manifest", id, BLOCK_PATIENCE).and_then(|_| match self.wait {
            true => remote.wait_active(&id, WAIT_PATIENCE, |_| {
                if let Ok(ManifestShown { attested_power, total_power, .. }) = remote.manifest(&id) {
                    spinner.set_message(format!("attested by a power of {attested_power} of {total_power}"));
                }
            }),
            false => remote.manifest(&id),
        });
        spinner.finish_and_clear();
        show::manifest(context, &outcome?)
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum ReceiptCommand {
    /// Submit a receipt, signed by its payer and its server, or a file of them
    Submit(SubmitReceipt),
    /// Show a receipt and who was paid
    Show {
        /// Its id
        #[arg(value_name = "RECEIPT")]
        id: ReceiptId,
    },
    /// List receipts
    List {
        /// Only those that this account (an address, or the name of a key) pays, serves or is paid by
        #[arg(long, value_name = "ACCOUNT")]
        account: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(super) struct SubmitReceipt {
    /// Submit the signed receipts of this file, or of standard input for -: one on each line, as JSON
    #[arg(long, value_name = "FILE", conflicts_with = "OneReceipt")]
    batch: Option<PathBuf>,
    #[command(flatten)]
    one: Option<OneReceipt>,
}

#[derive(Debug, Args)]
struct OneReceipt {
    /// The model
    #[arg(long, value_name = "MODEL", required_unless_present = "batch")]
    model: ModelId,
    /// What was asked; only a commitment to it is published
    #[arg(long, required_unless_present = "batch")]
    prompt: String,
    /// The file with the answer, or - for standard input
    #[arg(long, value_name = "FILE", required_unless_present = "batch")]
    output: PathBuf,
    /// Tokens of the prompt [default: its words]
    #[arg(long, value_name = "N")]
    tokens_in: Option<u64>,
    /// Tokens of the answer [default: its words]
    #[arg(long, value_name = "N")]
    tokens_out: Option<u64>,
    /// The last epoch in which it may be sealed [default: 1000 epochs from now]
    #[arg(long, value_name = "EPOCH")]
    expiry: Option<u64>,
    /// The key of the payer
    #[arg(long, value_name = "NAME", required_unless_present = "batch")]
    payer: String,
    /// The key of the server
    #[arg(long, value_name = "NAME", required_unless_present = "batch")]
    server: String,
    /// Wait until the fee is divided
    #[arg(long)]
    wait: bool,
}

impl ReceiptCommand {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        let remote = remote(context)?;
        match self {
            Self::Submit(SubmitReceipt { batch: Some(path), .. }) => batch::submit(context, &remote, &path),
            Self::Submit(SubmitReceipt { one: Some(new), .. }) => new.run(context, &remote),
            // The command line is refused before it comes here with neither.
            Self::Submit(SubmitReceipt { batch: None, one: None }) => Ok(()),
            Self::Show { id } => show::receipt(context, &remote.receipt(&id)?),
            Self::List { account: named } => {
                let account = named.map(|text| account(context, &text)).transpose()?;
                show::receipts(context, remote.receipts(account.as_ref())?)
            }
        }
    }
}

impl OneReceipt {
    fn run(self, context: &Context, remote: &Remote) -> anyhow::Result<()> {
        let (payer, server) = (key(context, &self.payer)?, key(context, &self.server)?);
        let output = answer(&self.output)?;
        let new = NewReceipt {
            price: remote.price(&self.model)?,
            prompt: self.prompt,
            output,
            tokens_in: self.tokens_in,
            tokens_out: self.tokens_out,
            expiry: self.expiry.map_or_else(|| remote.expiry(), Ok)?,
        };
        let id = remote.submit_receipt(&payer, &server, new)?;
        let spinner = context.out.spinner(format!("receipt {id} is pooled"));
        let outcome = match self.wait {
            true => remote.wait_settled(&id, WAIT_PATIENCE, progress(&spinner, "the receipt")),
            false => remote.receipt(&id),
        };
        spinner.finish_and_clear();
        show::receipt(context, &outcome?)
    }
}

fn answer(path: &Path) -> anyhow::Result<String> {
    const TOO_LONG: &str = "a receipt holds one answer of at most that many bytes: submit a longer one in parts";
    let limit = MAX_ANSWER_BYTES as u64;
    let bytes = match path.as_os_str() == "-" {
        true => bounded(std::io::stdin(), Path::new("standard input"), limit, TOO_LONG)?,
        false => bounded(open(path)?, path, limit, TOO_LONG)?,
    };
    let wrong = |error| Failure::new("notutf8", format!("the answer is not UTF-8 text: {error}"));
    Ok(String::from_utf8(bytes).map_err(wrong)?)
}

#[derive(Debug, Args)]
pub(super) struct Transfer {
    /// Whom to pay: an address, or the name of a key
    to: String,
    /// How much: drops, or credits such as 1.5cr
    #[arg(value_parser = amount)]
    amount: Drops,
    /// The key of the payer
    #[arg(long, value_name = "NAME")]
    key: String,
}

impl Transfer {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        if self.amount == Drops(0) {
            return Err(Failure::new("amount", "a transfer of nothing would only cost its fee")
                .hint("name an amount: drops such as 1500, or credits such as 1.5cr")
                .into());
        }
        let to = account(context, &self.to)?;
        if to == key(context, &self.key)?.account() {
            let message = format!("{} is the payer's own account: this would only cost the fee", self.to);
            return Err(Failure::new("oneself", message).hint("name somebody else's address or key").into());
        }
        let action = Action::Transfer { to, amount: self.amount };
        operate(context, &self.key, "transfer", action)
    }
}

#[derive(Debug, Args)]
pub(super) struct Deposit {
    /// How much: drops, or credits such as 1.5cr
    #[arg(value_parser = amount)]
    amount: Drops,
    /// The key of the server
    #[arg(long, value_name = "NAME")]
    key: String,
}

impl Deposit {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        operate(context, &self.key, "deposit", Action::Deposit { amount: self.amount })
    }
}

#[derive(Debug, Args)]
pub(super) struct Withdraw {
    /// How much: drops, or credits such as 1.5cr
    #[arg(value_parser = amount)]
    amount: Drops,
    /// The key of the server
    #[arg(long, value_name = "NAME")]
    key: String,
}

impl Withdraw {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        operate(context, &self.key, "withdrawal", Action::Withdraw { amount: self.amount })
    }
}

#[derive(Debug, Args)]
pub(super) struct Approve {
    /// The contribution
    contribution: ContributionId,
    /// The key of the DataNet's owner
    #[arg(long, value_name = "NAME")]
    key: String,
}

impl Approve {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        operate(context, &self.key, "approval", Action::Approve { contribution: self.contribution })
    }
}

#[derive(Debug, Args)]
pub(super) struct Reject {
    /// The contribution
    contribution: ContributionId,
    /// Why, in a sentence for its contributor
    #[arg(long)]
    reason: String,
    /// The key of the DataNet's owner
    #[arg(long, value_name = "NAME")]
    key: String,
}

impl Reject {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        let action = Action::Reject { contribution: self.contribution, reason: self.reason };
        operate(context, &self.key, "rejection", action)
    }
}

fn operate(context: &Context, name: &str, what: &'static str, action: Action) -> anyhow::Result<()> {
    operate_with(context, &key(context, name)?, what, action)
}

/// Carries out an account's command and waits until it is in a block.
pub(super) fn operate_with(
    context: &Context,
    key: &SecretKey,
    what: &'static str,
    action: Action,
) -> anyhow::Result<()> {
    let remote = remote(context)?;
    finish(context, &remote, what, remote.operate(key, action)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_drops_or_credits() {
        assert_eq!(amount("1500"), Ok(Drops(1500)));
        assert_eq!(amount("1.5cr"), Ok(Drops(1_500_000_000)));
        assert_eq!(amount("2cr"), Ok(Drops(2_000_000_000)));
        assert_eq!(amount("0.000000001cr"), Ok(Drops(1)));
        for wrong in ["", "1.5", "cr", "-1", "1.0000000001cr", "1.-5cr", ".5cr", "1e3"] {
            assert!(amount(wrong).is_err(), "{wrong}");
        }
    }
}
