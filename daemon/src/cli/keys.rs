//! `tributary keys`: account keys in the home's `keys` folder.

use super::Context;
use crate::keys::{KeyError, Seed};
use crate::output::Failure;
use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde::Serialize;
use std::io::Read;
use std::path::PathBuf;

/// Bytes of a key that is imported, with its comments.
const MAX_IMPORT_BYTES: u64 = 4096;

#[derive(Debug, Subcommand)]
pub(super) enum Keys {
    /// Make a new account key
    New(New),
    /// Show an account and its file
    Show(Show),
    /// List all accounts
    List,
    /// Keep a key that was made elsewhere
    Import(Import),
}

#[derive(Debug, Args)]
pub(super) struct New {
    /// What to call it
    name: String,
}

#[derive(Debug, Args)]
pub(super) struct Show {
    /// Which key
    name: String,
}

#[derive(Debug, Args)]
pub(super) struct Import {
    /// What to call it
    name: String,
    /// A file with the seed as 64 hex digits; without it, or with -, the seed is read from standard input
    file: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct KeyShown {
    name: String,
    account: String,
    file: String,
}

impl Keys {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        match self {
            Self::New(New { name }) => keep(context, &name, &Seed::random()?),
            Self::Show(Show { name }) => show(context, &name),
            Self::List => list(context),
            Self::Import(Import { name, file }) => keep(context, &name, &import(file)?),
        }
    }
}

fn keep(context: &Context, name: &str, seed: &Seed) -> anyhow::Result<()> {
    context.keystore()?.add(name, seed)?;
    show(context, name)
}

fn show(context: &Context, name: &str) -> anyhow::Result<()> {
    let keystore = context.keystore()?;
    let account = keystore.load(name)?.account().to_string();
    let shown = KeyShown { name: name.to_owned(), account, file: keystore.path(name)?.display().to_string() };
    context.out.print(&shown, |paint| {
        paint.fields(&[("name", paint.bold(name)), ("account", shown.account.clone()), ("file", shown.file.clone())])
    })
}

fn list(context: &Context) -> anyhow::Result<()> {
    let keystore = context.keystore()?;
    let shown = |(name, account): (String, _)| {
        let file = keystore.path(&name)?.display().to_string();
        Ok::<_, KeyError>(KeyShown { name, account: format!("{account}"), file })
    };
    let keys: Vec<KeyShown> = keystore
        .list()?
        .into_iter()
        .map(|(name, account): (String, protocol::ids::Account)| shown((name, account)))
        .collect::<Result<_, _>>()?;
    context.out.print(&keys, |paint| {
        if keys.is_empty() {
            return "no keys yet; `tributary keys new NAME` makes one".to_owned();
        }
        let rows: Vec<Vec<String>> = keys.iter().map(|key| vec![key.name.clone(), key.account.clone()]).collect();
        paint.table(&["name", "account"], &rows)
    })
}

/// The seed in a file or on standard input; never from the command line, which others can see.
fn import(file: Option<PathBuf>) -> anyhow::Result<Seed> {
    let file = file.filter(|file| file.as_os_str() != "-");
    let (text, origin) = match &file {
        Some(path) => {
            let text = crate::files::read_text(path, MAX_IMPORT_BYTES);
            (text.with_context(|| format!("cannot read {}", path.display()))?, path.display().to_string())
        }
        None => {
            let mut text = String::new();
            std::io::stdin().take(MAX_IMPORT_BYTES).read_to_string(&mut text).context("cannot read standard input")?;
            (text, "standard input".to_owned())
        }
    };
    let wrong = || {
        Failure::new("malformed", format!("{origin} holds no key"))
            .hint("beside comments (#) there must be exactly one line, of 64 lower-case hex digits: the 32-byte seed")
    };
    Ok(Seed::parse(&text).ok_or_else(wrong)?)
}
