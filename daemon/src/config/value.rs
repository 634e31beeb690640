//! One value of the configuration, read as what its key says it must be. An error is what is allowed.

use libp2p::Multiaddr;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use toml::de::DeValue;

/// A value before its key says what it must be.
#[derive(Clone, Debug)]
pub(super) enum Raw {
    /// From a variable or a flag: text that may mean anything.
    Loose(String),
    Text(String),
    Number(String),
    Flag(bool),
    List(Vec<Self>),
    Other(&'static str),
}

impl From<&DeValue<'_>> for Raw {
    fn from(value: &DeValue<'_>) -> Self {
        match value {
            DeValue::String(text) => Self::Text(text.to_string()),
            DeValue::Integer(number) => Self::Number(number.to_string()),
            DeValue::Float(number) => Self::Number(number.as_str().to_owned()),
            DeValue::Boolean(flag) => Self::Flag(*flag),
            DeValue::Array(values) => Self::List(values.iter().map(|value| Self::from(value.get_ref())).collect()),
            DeValue::Datetime(_) => Self::Other("a date"),
            DeValue::Table(_) => Self::Other("a table"),
        }
    }
}

impl fmt::Display for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loose(text) | Self::Text(text) => write!(f, "{text:?}"),
            Self::Number(number) => f.write_str(number),
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::List(values) => {
                let values: Vec<String> = values.iter().map(Self::to_string).collect();
                write!(f, "[{}]", values.join(", "))
            }
            Self::Other(what) => f.write_str(what),
        }
    }
}

/// A text, with what is allowed should it turn out not to be that.
pub(super) struct Expected<'a> {
    text: &'a str,
    allowed: &'static str,
}

impl Expected<'_> {
    pub(super) fn map<T>(self, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, String> {
        parse(self.text).ok_or_else(|| self.allowed.to_owned())
    }
}

impl Raw {
    pub(super) fn text(&self, allowed: &'static str) -> Result<Expected<'_>, String> {
        match self {
            Self::Loose(text) | Self::Text(text) => Ok(Expected { text, allowed }),
            _ => Err(allowed.to_owned()),
        }
    }

    pub(super) fn path(&self) -> Result<PathBuf, String> {
        self.text("a path in quotes")?.map(|text| (!text.is_empty()).then(|| text.into()))
    }

    pub(super) fn flag(&self) -> Result<bool, String> {
        match self {
            Self::Flag(flag) => Ok(*flag),
            Self::Loose(text) if text == "true" => Ok(true),
            Self::Loose(text) if text == "false" => Ok(false),
            _ => Err("true or false".to_owned()),
        }
    }

    pub(super) fn number(&self, range: RangeInclusive<u64>) -> Result<u64, String> {
        let number = match self {
            Self::Loose(text) | Self::Number(text) => text.parse().ok(),
            _ => None,
        };
        let allowed = || format!("a whole number from {} to {}", range.start(), range.end());
        number.filter(|number| range.contains(number)).ok_or_else(allowed)
    }

    pub(super) fn addresses(&self) -> Result<Vec<Multiaddr>, String> {
        const ALLOWED: &str = "a list of addresses such as [\"/ip4/127.0.0.1/tcp/7371\"]";
        const LOOSE: &str = "addresses such as /ip4/127.0.0.1/tcp/7371, separated by commas, or the same in the file's \
                             form [\"A\", \"B\"]";
        let parse = |text: &str, allowed: &str| text.trim().parse().map_err(|_| allowed.to_owned());
        match self {
            Self::Loose(text) => loose_items(text).ok_or(LOOSE)?.into_iter().map(|item| parse(item, LOOSE)).collect(),
            Self::List(values) => values.iter().map(|value| parse(value.text(ALLOWED)?.text, ALLOWED)).collect(),
            _ => Err(ALLOWED.to_owned()),
        }
    }
}

/// The items of `A,B` or of `["A", "B"]`, whose quotes a shell may have taken; `None` if it is neither.
fn loose_items(text: &str) -> Option<Vec<&str>> {
    let text = text.trim();
    let items = match text.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?,
        None => text,
    };
    items.split(',').filter(|item| !item.trim().is_empty()).map(bare).collect()
}

/// The item without its quotes, if it has any.
fn bare(item: &str) -> Option<&str> {
    let item = item.trim();
    match item.chars().next() {
        Some(quote @ ('"' | '\'')) => item.strip_prefix(quote)?.strip_suffix(quote),
        _ => Some(item),
    }
}

/// Levels by their words, alone or for a target. The logging library takes any other word for a target's name and
/// then shows nothing of what was wanted, so it is refused here.
pub(super) fn is_log_filter(text: &str) -> bool {
    let is_level = |word: &str| ["off", "error", "warn", "info", "debug", "trace"].contains(&word);
    let is_target = |word: &str| {
        !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | ':'))
    };
    text.split(',').all(|part| match part.split_once('=') {
        Some((target, level)) => is_target(target) && is_level(level),
        None => is_level(part),
    })
}
