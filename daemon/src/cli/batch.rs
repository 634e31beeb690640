//! `tributary receipt submit --batch FILE`: receipts that others have signed, many in a request.
//!
//! A line of the file is one envelope as JSON, as `POST /v1/receipts` takes it.

use super::Context;
use crate::actions::Remote;
use crate::api::types::{EnvelopeJson, ReceiptReply};
use crate::api::{MAX_BATCH_BYTES, MAX_BATCH_RECEIPTS};
use crate::models::Progress;
use crate::output::Failure;
use serde::Serialize;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// Bytes of one line: an envelope of the largest receipt, in hex.
const MAX_LINE_BYTES: usize = MAX_BATCH_BYTES / 4;
/// Refused receipts that people are shown; JSON has them all.
const MAX_SHOWN: usize = 20;

/// What became of a file's receipts.
#[derive(Debug, Default, Serialize)]
struct Outcome {
    accepted: usize,
    refused: usize,
    /// One for each line that is not empty.
    receipts: Vec<Line>,
}

#[derive(Debug, Serialize)]
struct Line {
    /// From 1.
    line: usize,
    #[serde(flatten)]
    reply: ReceiptReply,
}

/// Submits all receipts of a file (`-` for standard input) and says what became of each. That some are refused is a
/// result, not a failure of the command.
pub(super) fn submit(context: &Context, remote: &Remote, path: &Path) -> anyhow::Result<()> {
    let mut reader: Box<dyn BufRead> = match path.as_os_str() == "-" {
        true => Box::new(BufReader::new(std::io::stdin())),
        false => {
            let opened = File::open(path).map_err(|error| {
                Failure::new("io", format!("{} cannot be opened: {error}", path.display()))
                    .hint("name a file with a receipt on each line, or - for standard input")
            })?;
            Box::new(BufReader::new(opened))
        }
    };
    let mut outcome = Outcome::default();
    let spinner = context.out.spinner("submitting");
    let ended = submit_all(remote, &mut reader, &mut outcome, &mut |said| spinner.set_message(said));
    spinner.finish_and_clear();
    // What a node has taken is told even if the rest could not be sent.
    if ended.is_ok() || !outcome.receipts.is_empty() {
        show(context, &outcome)?;
    }
    ended
}

fn submit_all(
    remote: &Remote,
    reader: &mut dyn BufRead,
    outcome: &mut Outcome,
    progress: Progress<'_>,
) -> anyhow::Result<()> {
    let (mut batch, mut lines, mut bytes, mut number) = (Vec::new(), Vec::new(), 2, 0);
    while let Some(text) = line(reader, number + 1)? {
        number += 1;
        if text.trim().is_empty() {
            continue;
        }
        let envelope: EnvelopeJson = serde_json::from_str(&text).map_err(|error| {
            Failure::new("malformed", format!("line {number} is no receipt: {error}"))
                .hint("a line is one envelope as JSON: {\"kind\": \"receipt\", \"payload\", \"signatures\"}")
        })?;
        // What is sent is written anew, without spaces and with one comma: never longer than what was read.
        let size = text.len() + 1;
        if batch.len() == MAX_BATCH_RECEIPTS || bytes + size > MAX_BATCH_BYTES {
            send(remote, &mut batch, &mut lines, outcome)?;
            progress(format!("{} accepted, {} refused", outcome.accepted, outcome.refused));
            bytes = 2;
        }
        bytes += size;
        batch.push(envelope);
        lines.push(number);
    }
    send(remote, &mut batch, &mut lines, outcome)
}

fn show(context: &Context, outcome: &Outcome) -> anyhow::Result<()> {
    context.out.print(outcome, |paint| {
        let refused = outcome.receipts.iter().filter(|each| each.reply.code.is_some());
        let row = |each: &Line| {
            let text = |field: &Option<String>| field.clone().unwrap_or_default();
            vec![each.line.to_string(), text(&each.reply.code), text(&each.reply.message)]
        };
        let rows: Vec<_> = refused.take(MAX_SHOWN).map(row).collect();
        let counts = [("accepted", outcome.accepted.to_string()), ("refused", outcome.refused.to_string())];
        let table = if rows.is_empty() { String::new() } else { paint.table(&["line", "code", "reason"], &rows) };
        paint.fields(&counts) + &table
    })
}

/// The next line; none at the end.
fn line(reader: &mut dyn BufRead, number: usize) -> anyhow::Result<Option<String>> {
    let mut text = String::new();
    let read = reader.take(MAX_LINE_BYTES as u64 + 1).read_line(&mut text);
    let read = read.map_err(|error| Failure::new("io", format!("line {number} cannot be read: {error}")))?;
    if read > MAX_LINE_BYTES {
        return Err(Failure::new("oversize", format!("line {number} has more than {MAX_LINE_BYTES} bytes")).into());
    }
    Ok((read > 0).then_some(text))
}

fn send(
    remote: &Remote,
    batch: &mut Vec<EnvelopeJson>,
    lines: &mut Vec<usize>,
    outcome: &mut Outcome,
) -> anyhow::Result<()> {
    if batch.is_empty() {
        return Ok(());
    }
    let reply = remote.submit_receipts(&std::mem::take(batch))?;
    outcome.accepted += reply.accepted;
    outcome.refused += reply.refused;
    let lines = std::mem::take(lines).into_iter().zip(reply.receipts);
    outcome.receipts.extend(lines.map(|(line, reply)| Line { line, reply }));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::BatchReply;
    use crate::fake_node;

    #[test]
    fn what_was_taken_before_a_failure_is_told() {
        let mut asked = 0;
        let remote = fake_node::start(move |_, _| {
            asked += 1;
            let reply = ReceiptReply { id: None, state: "pooled".to_owned(), code: None, message: None };
            let receipts = vec![reply; MAX_BATCH_RECEIPTS];
            let reply = BatchReply { accepted: MAX_BATCH_RECEIPTS, refused: 0, receipts };
            (if asked == 1 { 200 } else { 503 }, serde_json::to_vec(&reply).unwrap())
        });
        let line = "{\"kind\":\"receipt\",\"payload\":\"\",\"signatures\":[]}\n";
        let text = line.repeat(MAX_BATCH_RECEIPTS + 1);
        let mut outcome = Outcome::default();
        submit_all(&remote, &mut text.as_bytes(), &mut outcome, &mut |_| ()).unwrap_err();
        assert_eq!((outcome.accepted, outcome.receipts.len()), (MAX_BATCH_RECEIPTS, MAX_BATCH_RECEIPTS));
    }

    #[test]
    fn lines_are_bounded_and_the_last_may_lack_its_end() {
        let mut reader = "a\n\nb".as_bytes();
        let mut next = || line(&mut reader, 1).unwrap();
        assert_eq!([next(), next(), next(), next()], [Some("a\n".into()), Some("\n".into()), Some("b".into()), None]);
        let long = "x".repeat(MAX_LINE_BYTES + 1);
        assert!(line(&mut long.as_bytes(), 1).is_err());
        assert!(line(&mut &long.as_bytes()[1..], 1).is_ok());
    }
}
