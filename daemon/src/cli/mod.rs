//! The command line: one program, one command for each thing people do.
//!
//! Each command is a struct of arguments with a `run(self, &Context) -> anyhow::Result<()>`. It prints its one result
//! through [`Context::out`]; an error goes up to [`main`], which prints it and picks the exit code.

mod batch;
mod debug;
pub mod demo;
pub mod devnet;
mod influence;
pub mod keys;
mod model;
pub mod node;
mod objects;
pub mod rows;
pub mod show;
mod span;
mod train;
mod validator;
mod verify;

use crate::client::Client;
use crate::config::{Config, DEFAULT_API};
use crate::keys::Keystore;
use crate::output::{Failure, Output};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Parser, Subcommand};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Exit code for a command line that cannot be understood.
const USAGE_EXIT: u8 = 2;

/// A network that traces AI answers to the data behind them, and pays its authors.
#[derive(Debug, Parser)]
#[command(name = "tributary", version, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Debug, clap::Args)]
struct Globals {
    /// Print one JSON document instead of text
    #[arg(long, global = true)]
    json: bool,
    /// The folder of the node, its configuration and its keys [default: ~/.tributary]
    #[arg(long, global = true, env = "TRIBUTARY_HOME", value_name = "DIR")]
    home: Option<PathBuf>,
    /// The API to speak with [default: that of the node in the home]
    #[arg(long, global = true, env = "TRIBUTARY_API", value_name = "URL")]
    api: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a node: its folder, configuration and keys
    Init(node::Init),
    /// Run the node until it is told to stop
    Start(Box<node::Start>),
    /// Show a running node at a glance
    Status(node::StatusCommand),
    /// Stop the node in order
    Stop(node::Stop),
    /// Make, list, show and import account keys
    #[command(subcommand)]
    Keys(keys::Keys),
    /// Create, list and show DataNets
    #[command(name = "datanet", subcommand)]
    DataNet(objects::DataNetCommand),
    /// Offer documents to a DataNet
    Contribute(objects::Contribute),
    /// Publish, list and show versions of a DataNet's content
    #[command(subcommand)]
    Dataset(objects::DatasetCommand),
    /// Admit a contribution to your curated DataNet
    Approve(objects::Approve),
    /// Turn a contribution to your curated DataNet down
    Reject(objects::Reject),
    /// Train a small model, or an adapter beside one
    Train(Box<train::Train>),
    /// Register, list, show and ask models
    #[command(subcommand)]
    Model(model::ModelCommand),
    /// Submit, list and show receipts
    #[command(subcommand)]
    Receipt(objects::ReceiptCommand),
    /// Show an answer with its passages by contributor, and the sums
    Explain(show::ExplainCommand),
    /// Show who earned what, or one account's balance and earnings
    Earnings(show::EarningsCommand),
    /// Get the proof of a receipt's payouts
    Proof(show::ProofCommand),
    /// Check a proof offline
    Verify(verify::Verify),
    /// Pay somebody
    Transfer(objects::Transfer),
    /// Put drops aside to answer for what you serve by models by influence
    Deposit(objects::Deposit),
    /// Take back what of your deposit nothing depends on
    Withdraw(objects::Withdraw),
    /// Validate: bond, withdraw, leave jail, list
    #[command(subcommand)]
    Validator(validator::ValidatorCommand),
    /// Show the last epochs
    Epochs(show::EpochsCommand),
    /// Show the node's peers
    Peers(show::PeersCommand),
    /// Look into what a node did
    #[command(subcommand)]
    Debug(debug::Debug),
    /// Index texts and trace others through them, without a network
    #[command(subcommand)]
    Span(span::SpanCommand),
    /// Make, ask and check the rows of models by influence, and measure the methods
    #[command(subcommand)]
    Influence(influence::InfluenceCommand),
    /// Run a local network of several nodes
    #[command(subcommand)]
    Devnet(devnet::DevnetCommand),
    /// The guided tour: a real network, real texts, answers, and who was paid for them
    Demo(demo::Demo),
}

impl Command {
    fn run(self, context: &Context) -> anyhow::Result<()> {
        match self {
            Self::Init(command) => command.run(context),
            Self::Start(command) => command.run(context),
            Self::Status(command) => command.run(context),
            Self::Stop(command) => command.run(context),
            Self::Keys(command) => command.run(context),
            Self::DataNet(command) => command.run(context),
            Self::Contribute(command) => command.run(context),
            Self::Dataset(command) => command.run(context),
            Self::Approve(command) => command.run(context),
            Self::Reject(command) => command.run(context),
            Self::Train(command) => command.run(context),
            Self::Model(command) => command.run(context),
            Self::Receipt(command) => command.run(context),
            Self::Explain(command) => command.run(context),
            Self::Earnings(command) => command.run(context),
            Self::Proof(command) => command.run(context),
            Self::Verify(command) => command.run(context),
            Self::Transfer(command) => command.run(context),
            Self::Deposit(command) => command.run(context),
            Self::Withdraw(command) => command.run(context),
            Self::Validator(command) => command.run(context),
            Self::Epochs(command) => command.run(context),
            Self::Peers(command) => command.run(context),
            Self::Debug(command) => command.run(context),
            Self::Span(command) => command.run(context),
            Self::Influence(command) => command.run(context),
            Self::Devnet(command) => command.run(context),
            Self::Demo(command) => command.run(context),
        }
    }
}

/// What a command works with.
#[derive(Clone, Debug)]
pub struct Context {
    /// Where its result goes.
    pub out: Output,
    home: Option<PathBuf>,
    api: Option<String>,
}

impl Context {
    /// The folder of the node and the keys.
    pub fn home(&self) -> anyhow::Result<PathBuf> {
        if let Some(home) = &self.home {
            return Ok(std::path::absolute(home)?);
        }
        let home = std::env::home_dir().filter(|home| home.is_absolute());
        let nowhere =
            || Failure::new("home", "there is no home folder: HOME is not set").hint("name one with --home DIR");
        Ok(home.ok_or_else(nowhere)?.join(".tributary"))
    }

    /// The account keys of the home.
    pub fn keystore(&self) -> anyhow::Result<Keystore> {
        Ok(Keystore::in_home(&self.home()?))
    }

    /// The API to speak with: the one named, else that of the node in the home, else the usual one.
    pub fn client(&self) -> anyhow::Result<Client> {
        let url = match &self.api {
            Some(url) => url.clone(),
            None => api_of(&self.home()?)?,
        };
        Ok(Client::new(&url)?)
    }
}

/// The API of the node in this home, or of the first node of the devnet there.
fn api_of(home: &Path) -> anyhow::Result<String> {
    if crate::devnet::exists(home) {
        return Ok(crate::devnet::Devnet::open(home)?.api_url(0));
    }
    match Config::load(home, environment(), &[]) {
        Ok(config) => Ok(config.api_url()),
        Err(crate::config::ConfigError::Missing { .. }) => Ok(format!("http://{DEFAULT_API}")),
        Err(error) => Err(error.into()),
    }
}

/// The environment's variables whose names and values are text.
pub(crate) fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// Runs the command that this process was called with.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let Globals { json, home, api } = cli.globals;
    let context = Context { out: Output::new(json), home, api };
    match cli.command.run(&context) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => ExitCode::from(context.out.report(&error)),
    }
}

/// Help and version go to stdout and are no error; the rest is wrong usage.
fn usage(error: &clap::Error) -> ExitCode {
    // The arguments could not be parsed, so whether JSON was asked for is seen from them as they are.
    let json = std::env::args_os().any(|argument| argument == "--json");
    if json && error.use_stderr() {
        let text = error.render().to_string();
        let message = text.strip_prefix("error: ").unwrap_or(&text).trim().to_owned();
        Output::new(true).report(&Failure { hint: usage_hint(error), ..Failure::new("usage", message) }.into());
        return ExitCode::from(USAGE_EXIT);
    }
    // Nobody is there to read it if this fails.
    let _ = error.print();
    if let Some(hint) = usage_hint(error) {
        eprintln!("hint: {hint}");
    }
    if error.use_stderr() { ExitCode::from(USAGE_EXIT) } else { ExitCode::SUCCESS }
}

/// Where the right id is to be found, for a malformed one.
fn usage_hint(error: &clap::Error) -> Option<String> {
    let (ErrorKind::ValueValidation, Some(ContextValue::String(argument))) =
        (error.kind(), error.get(ContextKind::InvalidArg))
    else {
        return None;
    };
    let lists = [
        ("<DATANET>", "`tributary datanet list` shows the ids of DataNets"),
        ("<CONTRIBUTION>", "`tributary datanet show DATANET` shows the ids of pending contributions"),
        ("<MANIFEST", "`tributary dataset list --of DATANET` shows the ids of manifests"),
        ("<MODEL>", "`tributary model list` shows the ids of models"),
        ("<RECEIPT>", "`tributary receipt list` shows the ids of receipts"),
    ];
    let (_, hint) = lists.iter().find(|(name, _)| argument.contains(name))?;
    Some((*hint).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_commands_are_well_formed() {
        Cli::command().debug_assert();
    }
}
