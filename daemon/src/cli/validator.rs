//! Validating: `tributary validator bond`, `unbond`, `unjail` and `list`.

use super::Context;
use super::objects::{account, amount, key, operate_with, remote};
use super::show::credits;
use crate::api::types::ValidatorShown;
use crate::config::Config;
use crate::keys::Seed;
use clap::{Args, Subcommand};
use protocol::crypto::SecretKey;
use protocol::objects::{Action, Drops};

#[derive(Debug, Subcommand)]
pub(super) enum ValidatorCommand {
    /// Put money at stake to validate, or more of it, or name another account to be paid
    Bond(Bond),
    /// Withdraw some of what is at stake; it is paid after the unbonding time
    Unbond(Unbond),
    /// Say that a jailed validator is ready again
    Unjail(Unjail),
    /// List everybody who has something at stake
    List(List),
}

impl ValidatorCommand {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        match self {
            Self::Bond(command) => command.run(context),
            Self::Unbond(command) => command.run(context),
            Self::Unjail(command) => command.run(context),
            Self::List(command) => command.run(context),
        }
    }
}

/// Which key validates.
#[derive(Debug, Args)]
struct ValidatorKey {
    /// A key of the home instead of the node's own validator key
    #[arg(long, value_name = "NAME")]
    key: Option<String>,
}

impl ValidatorKey {
    fn load(&self, context: &Context) -> anyhow::Result<SecretKey> {
        if let Some(name) = &self.key {
            return key(context, name);
        }
        let config = Config::load(&context.home()?, super::environment(), &[])?;
        Ok(Seed::read(&config.node.validator_key)?.secret_key())
    }
}

#[derive(Debug, Args)]
pub(super) struct Bond {
    /// How much more: drops such as 1500, or credits such as 1.5cr; the validator's account must have it, and the fee
    #[arg(value_parser = amount)]
    amount: Drops,
    /// What people call the validator; nobody else's name
    #[arg(long)]
    name: String,
    /// Who is paid: an address or a key of the home
    #[arg(long, value_name = "ACCOUNT")]
    payout: String,
    #[command(flatten)]
    key: ValidatorKey,
}

impl Bond {
    fn run(self, context: &Context) -> anyhow::Result<()> {
        let payout = account(context, &self.payout)?;
        let action = Action::Bond { amount: self.amount, payout, name: self.name };
        operate_with(context, &self.key.load(context)?, "bond", action)
    }
}

#[derive(Debug, Args)]
pub(super) struct Unbond {
    /// How much: drops such as 1500, or credits such as 1.5cr
    #[arg(value_parser = amount)]
    amount: Drops,
    #[command(flatten)]
    key: ValidatorKey,
}

impl Unbond {
    fn run(self, context: &Context) -> anyhow::Result<()> {
        operate_with(context, &self.key.load(context)?, "withdrawal", Action::Unbond { amount: self.amount })
    }
}

#[derive(Debug, Args)]
pub(super) struct Unjail {
    #[command(flatten)]
    key: ValidatorKey,
}

impl Unjail {
    fn run(self, context: &Context) -> anyhow::Result<()> {
        operate_with(context, &self.key.load(context)?, "return", Action::Unjail)
    }
}

#[derive(Debug, Args)]
pub(super) struct List {}

impl List {
    fn run(self, context: &Context) -> anyhow::Result<()> {
        let validators = remote(context)?.validators()?;
        context.out.print(&validators, |paint| {
            let row = |validator: &ValidatorShown| {
                let state = match (&validator.reason, validator.jailed_until) {
                    (Some(reason), Some(until)) => format!("jailed until {until}: {reason}"),
                    _ => validator.state.clone(),
                };
                vec![
                    validator.name.clone(),
                    validator.power.to_string(),
                    credits(&validator.bond),
                    state,
                    format!("{}/{}", validator.missed_blocks, validator.missed_blocks_allowed),
                    (validator.missed_commits.saturating_add(validator.missed_reveals)).to_string(),
                    validator.wrong_roots.to_string(),
                    validator.key.clone(),
                ]
            };
            let rows: Vec<_> = validators.iter().map(row).collect();
            paint.table(&["name", "power", "bond", "state", "blocks missed", "duties missed", "wrong", "key"], &rows)
        })
    }
}
