//! How a command speaks to people and to programs.
//!
//! - A result goes to stdout: text for people, or with `--json` exactly one JSON document.
//! - What goes on meanwhile goes to stderr, as a spinner, and only if stderr is a terminal.
//! - Where a part was done before something failed, its result comes first, and then the error.
//! - An error is `error: …` on stderr, and `hint: …` where we know what to do. With `--json` it is the one document
//!   on stdout: `{"error": {"code", "message", "hint"}}`.
//! - Exit codes: 0 done, 1 failed, 2 wrong usage, 130 ended at once by a second signal.
//! - Text that others wrote cannot steer the terminal: control characters but line ends, tabs and our own colours are
//!   shown as U+FFFD.
//! - Colour only where stdout is a terminal and `NO_COLOR` is unset or empty.

use crate::actions::ActionError;
use crate::cli::show::credits;
use crate::client::ClientError;
use crate::config::ConfigError;
use crate::devnet::DevnetError;
use crate::genesis_file::GenesisFileError;
use crate::keys::KeyError;
use crate::network::StartError;
use crate::supervisor::HomeError;
use attribution::span::IndexError;
use indicatif::{ProgressBar, ProgressStyle};
use protocol::node::RestoreError;
use serde::Serialize;
use std::fmt::Display;
use std::io::{ErrorKind, IsTerminal, Write};
use std::time::Duration;
use storage::StoreError;

/// How often a spinner turns.
const SPINNER_TICK: Duration = Duration::from_millis(100);
/// Colours of the 256-colour palette that can be told apart on black and on white.
const PALETTE: [u8; 10] = [33, 166, 35, 162, 136, 99, 37, 124, 64, 205];

/// Bytes of a colour's number, with the letter after it.
const MAX_CODE_BYTES: usize = 9;

/// What to do when another program listens where a node was to.
const PORT_HINT: &str = "another program, or another node, listens there: stop it, or choose another port with \
                         api.listen or network.listen in the configuration or with --set";

/// An error with a code for programs and a hint for people.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// One word.
    pub code: String,
    /// What was wrong, and where.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl Failure {
    /// An error without a hint.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), hint: None }
    }

    /// The same error, saying what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Where a command's results go, and in which form.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    json: bool,
    paint: Paint,
}

impl Output {
    /// The form that the caller asked for and this terminal can show.
    pub fn new(json: bool) -> Self {
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { json, paint: Paint { on: std::io::stdout().is_terminal() && !no_colour } }
    }

    /// Are results printed as JSON?
    pub const fn is_json(&self) -> bool {
        self.json
    }

    /// The colours of results.
    pub const fn paint(&self) -> Paint {
        self.paint
    }

    /// Prints a command's one result: `value` for programs, or what `human` makes of it for people.
    ///
    /// A reader that has gone (`tributary … | head`) is no error.
    pub fn print<T: Serialize>(&self, value: &T, human: impl FnOnce(Paint) -> String) -> anyhow::Result<()> {
        let text = if self.json { serde_json::to_string_pretty(value)? } else { self.paint.tame(&human(self.paint)) };
        write_line(std::io::stdout(), &text)
    }

    /// Prints an error, and returns the exit code for it.
    pub fn report(&self, error: &anyhow::Error) -> u8 {
        let failure = explain(error);
        if self.json {
            let document = ErrorDocument { error: ErrorBody::from(&failure) };
            let text = serde_json::to_string_pretty(&document).unwrap_or_default();
            // If even this cannot be written there is nobody to tell; the exit code still says it.
            let _ = write_line(std::io::stdout(), &text);
        } else {
            let mut text = format!("error: {}", failure.message);
            if let Some(hint) = &failure.hint {
                text.push_str("\nhint: ");
                text.push_str(hint);
            }
            let _ = write_line(std::io::stderr(), &Paint::PLAIN.tame(&text));
        }
        1
    }

    /// A line about what goes on, on stderr; nothing if stderr is no terminal. Call `finish_and_clear` at its end.
    pub fn spinner(&self, message: impl Into<String>) -> ProgressBar {
        let spinner = ProgressBar::new_spinner().with_message(message.into());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
            spinner.set_style(style);
        }
        spinner.enable_steady_tick(SPINNER_TICK);
        spinner
    }
}

/// The form of an error for programs; the API answers in the same one.
#[derive(Debug, Serialize)]
struct ErrorDocument<'a> {
    error: ErrorBody<'a>,
}

#[derive(Debug, Serialize)]
struct ErrorBody<'a> {
    code: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
}

impl<'a> From<&'a Failure> for ErrorBody<'a> {
    fn from(failure: &'a Failure) -> Self {
        Self { code: &failure.code, message: &failure.message, hint: failure.hint.as_deref() }
    }
}

/// The sentence of the whole chain, with code and hint of the first cause that has them.
pub fn explain(error: &anyhow::Error) -> Failure {
    let message = format!("{error:#}");
    let known = error.chain().find_map(|cause| {
        let code_and_hint = |code: &str, hint: Option<String>| Some((code.to_owned(), hint));
        if let Some(failure) = cause.downcast_ref::<Failure>() {
            return code_and_hint(&failure.code, failure.hint.clone());
        }
        if let Some(error) = cause.downcast_ref::<ConfigError>() {
            return code_and_hint(error.code(), error.hint());
        }
        if let Some(error) = cause.downcast_ref::<KeyError>() {
            return code_and_hint(error.code(), error.hint());
        }
        if let Some(error) = cause.downcast_ref::<GenesisFileError>() {
            return code_and_hint(error.code(), None);
        }
        if let Some(error) = cause.downcast_ref::<HomeError>() {
            return code_and_hint(error.code(), error.hint());
        }
        if let Some(StartError::Listen { .. }) = cause.downcast_ref::<StartError>() {
            return code_and_hint("port", None);
        }
        if let Some(error) = cause.downcast_ref::<StoreError>() {
            return code_and_hint(error.code(), None);
        }
        if let Some(RestoreError::Damaged { .. }) = cause.downcast_ref::<RestoreError>() {
            return code_and_hint("damaged", None);
        }
        if let Some(error) = cause.downcast_ref::<DevnetError>() {
            return code_and_hint(error.code(), error.hint());
        }
        if let Some(error) = cause.downcast_ref::<ActionError>() {
            return code_and_hint(error.code(), error.hint());
        }
        if let Some(error) = cause.downcast_ref::<IndexError>() {
            return code_and_hint(error.as_str(), index_hint(error).map(ToOwned::to_owned));
        }
        let error = cause.downcast_ref::<ClientError>()?;
        code_and_hint(error.code(), error.hint())
    });
    let (code, hint) = known.unwrap_or_else(|| ("failed".to_owned(), None));
    let code = match (code.as_str(), system_kind(error)) {
        ("failed" | "file", Some(ErrorKind::NotFound)) => "nofile".to_owned(),
        ("failed", Some(ErrorKind::AddrInUse)) => "port".to_owned(),
        _ => code,
    };
    let hint = hint.or_else(|| match code.as_str() {
        "funds" => funds_hint(&message),
        "port" => Some(PORT_HINT.to_owned()),
        _ => None,
    });
    Failure { code, message, hint }
}

/// What to do about an index.
fn index_hint(error: &IndexError) -> Option<&'static str> {
    match error {
        IndexError::Missing { .. } => Some("`tributary span build --input CORPUS --out DIR` makes one"),
        IndexError::NotEmpty { .. } => Some("name another folder, or add to the index there: tributary span append"),
        IndexError::Locked { .. } => Some("wait until it is done"),
        IndexError::Damaged { .. } | IndexError::Segment { .. } => {
            Some("take the index from a backup, or build it again from its documents")
        }
        IndexError::DocumentTooLarge { .. } => {
            Some("give more with --memory MB, use fewer --threads, or cut the document")
        }
        IndexError::NoDocument { .. } => Some("names are those of the corpus: the path below its folder, or the id"),
        _ => None,
    }
}

/// What the system said, if it is the cause.
fn system_kind(error: &anyhow::Error) -> Option<ErrorKind> {
    error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>()).map(std::io::Error::kind)
}

/// What to do when an account cannot pay: the node's sentence has drops, people count in credits.
fn funds_hint(message: &str) -> Option<String> {
    let words: Vec<&str> = message.split_whitespace().collect();
    words.windows(8).find_map(|words| {
        let [account, "has", available, "drops", "available", "and", "needs", needed] = words else { return None };
        let missing = needed.parse::<u128>().ok()?.checked_sub(available.parse().ok()?)?;
        let amount = credits(&missing.to_string()).replace(' ', "");
        let (available, needed) = (credits(available), credits(needed));
        Some(format!(
            "it has {available} and needs {needed}; somebody else can pay it the rest: \
             tributary transfer {account} {amount} --key SOMEBODY"
        ))
    })
}

fn write_line(mut to: impl Write, text: &str) -> anyhow::Result<()> {
    if text.is_empty() {
        return Ok(());
    }
    let end = if text.ends_with('\n') { "" } else { "\n" };
    match write!(to, "{text}{end}").and_then(|()| to.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

/// Bytes of the colour at the beginning of a text, if [`Paint`] makes such.
fn colour(text: &str) -> Option<usize> {
    let rest = text.strip_prefix("\x1b[")?;
    let codes = &rest[..rest.bytes().take(MAX_CODE_BYTES).position(|byte| byte == b'm')?];
    let of_palette = || PALETTE.iter().any(|number| codes.strip_prefix("38;5;") == Some(number.to_string().as_str()));
    let is_ours = ["0", "1", "2", "31", "32"].contains(&codes) || of_palette();
    is_ours.then_some("\x1b[m".len() + codes.len())
}

/// Puts colour on text, or leaves it as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paint {
    on: bool,
}

impl Paint {
    /// Never any colour.
    pub const PLAIN: Self = Self { on: false };

    /// Text without control characters but line ends, tabs, and the colours that are made here.
    fn tame(self, text: &str) -> String {
        let mut tamed = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(letter) = rest.chars().next() {
            let ours = if self.on { colour(rest) } else { None };
            if let Some(length) = ours {
                tamed.push_str(&rest[..length]);
                rest = &rest[length..];
                continue;
            }
            tamed.push(if letter.is_control() && !"\n\t".contains(letter) {
                char::REPLACEMENT_CHARACTER
            } else {
                letter
            });
            rest = &rest[letter.len_utf8()..];
        }
        tamed
    }

    fn with(self, codes: &str, text: impl Display) -> String {
        if self.on { format!("\x1b[{codes}m{text}\x1b[0m") } else { text.to_string() }
    }

    /// What matters most on a line.
    pub fn bold(self, text: impl Display) -> String {
        self.with("1", text)
    }

    /// What matters less.
    pub fn dim(self, text: impl Display) -> String {
        self.with("2", text)
    }

    /// As it should be.
    pub fn good(self, text: impl Display) -> String {
        self.with("32", text)
    }

    /// Not as it should be.
    pub fn bad(self, text: impl Display) -> String {
        self.with("31", text)
    }

    /// The colour of the `n`-th of several things; colours repeat after the tenth.
    pub fn nth(self, n: usize, text: impl Display) -> String {
        self.with(&format!("38;5;{}", PALETTE[n % PALETTE.len()]), text)
    }

    /// Lines of `name  value`, the values under each other.
    pub fn fields(self, fields: &[(&str, String)]) -> String {
        let width = fields.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        let line = |(name, value): &(&str, String)| format!("{}  {value}\n", self.dim(format!("{name:width$}")));
        fields.iter().map(line).collect()
    }

    /// A table with a heading, columns as wide as they need to be.
    pub fn table(self, heading: &[&str], rows: &[Vec<String>]) -> String {
        let width = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
            cells.chain([heading[column].chars().count()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..heading.len()).map(width).collect();
        let line = |cells: Vec<&str>| {
            let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        let mut text = self.dim(line(heading.to_vec()));
        for row in rows {
            text.push('\n');
            text.push_str(&line(row.iter().map(String::as_str).collect()));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    #[test]
    fn an_error_keeps_its_code_and_hint_under_added_context() {
        let error = Err::<(), _>(Failure::new("funds", "12 drops are missing").hint("send some"))
            .context("cannot submit the receipt")
            .unwrap_err();
        let failure = explain(&error);
        assert_eq!(failure.message, "cannot submit the receipt: 12 drops are missing");
        assert_eq!((failure.code.as_str(), failure.hint.as_deref()), ("funds", Some("send some")));
        assert_eq!(explain(&anyhow::anyhow!("no idea")).code, "failed");
    }

    #[test]
    fn what_the_system_said_has_its_word() {
        let because = |kind: ErrorKind| explain(&anyhow::Error::from(std::io::Error::from(kind)).context("it fails"));
        assert_eq!(because(ErrorKind::NotFound).code, "nofile");
        let port = because(ErrorKind::AddrInUse);
        assert_eq!((port.code.as_str(), port.hint.as_deref()), ("port", Some(PORT_HINT)));
        assert_eq!(because(ErrorKind::Other).code, "failed");
    }

    #[test]
    fn whoever_lacks_money_is_told_how_much_in_credits_and_how_to_get_it() {
        let refused = Failure::new("funds", "trib1abc has 500000 drops available and needs 1500000000");
        assert_eq!(
            explain(&refused.into()).hint.as_deref(),
            Some(
                "it has 0.0005 cr and needs 1.5 cr; somebody else can pay it the rest: \
                 tributary transfer trib1abc 1.4995cr --key SOMEBODY"
            )
        );
    }

    #[test]
    fn what_others_wrote_cannot_steer_the_terminal() {
        let hostile = "a\x1b]0;title\x07b\x1b[2Jc\u{9b}31md\re\tf\ng\x1b[8mh";
        let harmless = "a\u{fffd}]0;title\u{fffd}b\u{fffd}[2Jc\u{fffd}31md\u{fffd}e\tf\ng\u{fffd}[8mh";
        let paint = Paint { on: true };
        assert_eq!(Paint::PLAIN.tame(hostile), harmless);
        assert_eq!(paint.tame(&paint.bold(hostile)), format!("\x1b[1m{harmless}\x1b[0m"));
        let painted = paint.nth(3, paint.good("ä"));
        assert_eq!((paint.tame(&painted), Paint::PLAIN.tame("\x1b[1m")), (painted, "\u{fffd}[1m".to_owned()));
    }

    #[test]
    fn tables_align_and_plain_paint_leaves_text_alone() {
        let rows = [vec!["node0".to_owned(), "12".to_owned()], vec!["a".to_owned(), "3".to_owned()]];
        assert_eq!(Paint::PLAIN.table(&["name", "height"], &rows), "name   height\nnode0  12\na      3");
        assert_eq!(Paint::PLAIN.nth(3, "text"), "text");
        assert_eq!(Paint { on: true }.bold("x"), "\x1b[1mx\x1b[0m");
    }
}
