//! `tributary span trace`: what of each text stands in whose documents.

use super::corpus::Lines;
use super::{nanos, threads};
use crate::cli::Context;
use crate::output::{Failure, Paint};
use attribution::span::{Index, IndexError, Listed, Longest, PAID_BITS, Share, TracedSpan, UNFOLDED};
use clap::Args;
use protocol::evidence::{Answer, PaidSpan, Span};
use protocol::fold::{Folded, fold};
use serde::{Deserialize, Serialize};
use std::io::{self, Write};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Bytes of one text at most.
const MAX_TEXT_BYTES: usize = 16 * 1024 * 1024;
/// Texts that are traced together: as many are in memory at a time.
const BATCH: usize = 256;
/// Bytes of text shown on each side of a passage's earliest occurrence.
const AROUND_BYTES: usize = 60;
/// Later holders of a passage that are named.
const MAX_LATER: usize = 10;

#[derive(Debug, Args)]
pub(in crate::cli) struct Trace {
    /// The folder of the index
    #[arg(long, value_name = "DIR")]
    index: PathBuf,
    /// The texts: JSON lines with id and text (- for standard input)
    #[arg(long, value_name = "RESPONSES", required_unless_present = "text")]
    input: Option<PathBuf>,
    /// A text, instead of a file of them
    #[arg(long, conflicts_with = "input")]
    text: Option<String>,
    /// For each word the longest match in bytes and how often it occurs, instead of spans and shares
    #[arg(long)]
    raw: bool,
    /// List spans that are not paid as well, if they tell so many bits beyond chance
    #[arg(long, value_name = "BITS", default_value_t = PAID_BITS)]
    min_bits: u64,
    /// Leave out spans that occur more often than this
    #[arg(long, value_name = "N")]
    max_count: Option<u64>,
    /// Say how long each took, in nanoseconds
    #[arg(long)]
    timings: bool,
    /// Threads to use [default: one for each processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
}

/// A text on a line.
#[derive(Deserialize)]
struct TextLine {
    id: serde_json::Value,
    text: String,
}

/// Gives one text after the other, each with its line.
type Texts = dyn FnMut() -> anyhow::Result<Option<(usize, TextLine)>>;

/// What was found of a text.
#[derive(Debug, Serialize)]
struct Traced {
    id: serde_json::Value,
    bytes: usize,
    words: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    covered_words: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nanos: Option<u64>,
    #[serde(flatten)]
    found: Found,
    #[serde(skip)]
    text: String,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Found {
    Spans { spans: Vec<SpanShown>, parts: Vec<PartShown>, shares: Vec<ShareShown> },
    Starts { starts: Vec<StartShown> },
}

#[derive(Debug, Serialize)]
struct SpanShown {
    start: usize,
    end: usize,
    text: String,
    bits: f64,
    bits_q16: u64,
    paid: bool,
    documents: u64,
    contributors: u64,
    occurrences: u64,
    holder: HolderShown,
    /// The earliest occurrences in other documents, earliest first.
    later: Vec<HolderShown>,
    before: String,
    after: String,
}

#[derive(Debug, Serialize)]
struct HolderShown {
    document: String,
    contributor: String,
    offset: u64,
}

#[derive(Debug, Serialize)]
struct PartShown {
    start: usize,
    end: usize,
    bits: f64,
    bits_q16: u64,
    #[serde(flatten)]
    holder: HolderShown,
}

#[derive(Debug, Serialize)]
struct ShareShown {
    contributor: String,
    bits: f64,
    bits_q16: u64,
    /// Parts of a million.
    ppm: u64,
}

#[derive(Debug, Serialize)]
struct StartShown {
    start: u32,
    bytes: u32,
    count: u64,
    whole: u32,
    whole_count: u64,
}

impl Trace {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        let began = Instant::now();
        let index = Index::open(&self.index)?;
        let open_nanos = nanos(began);
        if self.raw && index.fold() != UNFOLDED {
            let message = "--raw is about bytes as they are, and this index is of folded text".to_owned();
            return Err(Failure::new("folded", message)
                .hint("trace without --raw, or build an index without --folded")
                .into());
        }
        let mut texts: Box<Texts> = match (&self.text, &self.input) {
            (Some(text), _) => {
                let mut text = Some(TextLine { id: "text".into(), text: text.clone() });
                Box::new(move || Ok(text.take().map(|text| (1, text))))
            }
            (None, Some(path)) => {
                let (mut lines, _) = Lines::open(path)?;
                Box::new(move || lines.next("{\"id\", \"text\"}"))
            }
            (None, None) => return Err(Failure::new("usage", "name the texts with --input or --text").into()),
        };
        // Results are written as they come: a file of texts may be longer than memory.
        let mut out = io::BufWriter::new(io::stdout().lock());
        let (json, mut is_first) = (context.out.is_json(), true);
        if json {
            write!(out, "{{\"index\":{},", serde_json::to_string(&self.index.display().to_string())?)?;
            if self.timings {
                write!(out, "\"open_nanos\":{open_nanos},")?;
            }
            write!(out, "\"responses\":[")?;
        }
        loop {
            let mut batch = Vec::new();
            while batch.len() < BATCH {
                let Some(text) = texts()? else { break };
                batch.push(text);
            }
            if batch.is_empty() {
                break;
            }
            for traced in self.trace_all(&index, batch)? {
                if json {
                    write!(out, "{}\n{}", if is_first { "" } else { "," }, serde_json::to_string(&traced)?)?;
                } else {
                    write!(out, "{}{}", if is_first { "" } else { "\n" }, as_text(&traced, context.out.paint()))?;
                }
                is_first = false;
            }
        }
        if json {
            writeln!(out, "\n]}}")?;
        }
        Ok(out.flush()?)
    }

    /// Traces texts in as many threads as may be; the results are in the order of the texts.
    fn trace_all(&self, index: &Index, batch: Vec<(usize, TextLine)>) -> anyhow::Result<Vec<Traced>> {
        let next = AtomicUsize::new(0);
        let results: Vec<OnceLock<anyhow::Result<Traced>>> = batch.iter().map(|_| OnceLock::new()).collect();
        std::thread::scope(|scope| {
            for _ in 0..threads(self.threads).min(batch.len()) {
                scope.spawn(|| {
                    loop {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        let (Some((number, line)), Some(slot)) = (batch.get(at), results.get(at)) else { break };
                        slot.get_or_init(|| self.trace(index, *number, line));
                    }
                });
            }
        });
        results.into_iter().filter_map(OnceLock::into_inner).collect()
    }

    fn trace(&self, index: &Index, number: usize, line: &TextLine) -> anyhow::Result<Traced> {
        let began = Instant::now();
        let folded = (index.fold() != UNFOLDED).then(|| fold(&line.text));
        let text = folded.as_ref().map_or(line.text.as_str(), Folded::text);
        let answer = Answer::up_to(MAX_TEXT_BYTES, text)
            .map_err(|error| Failure::new("too_long", format!("text {} on line {number}: {error}", line.id)))?;
        let (found, covered_words, nanos) = if self.raw {
            let starts = index.longest(&answer)?;
            (Found::Starts { starts: starts.iter().map(StartShown::from).collect() }, None, nanos(began))
        } else {
            let listed = Listed { min_bits: self.min_bits, max_count: self.max_count, around: AROUND_BYTES };
            let trace = index.trace(&answer, listed)?;
            let nanos = nanos(began);
            let spans = trace.spans.iter().map(|span| SpanShown::new(index, &line.text, folded.as_ref(), span));
            let parts = trace.parts.iter().map(|part| PartShown::new(index, folded.as_ref(), part));
            let found = Found::Spans {
                spans: spans.collect::<Result<_, _>>()?,
                parts: parts.collect::<Result<_, _>>()?,
                shares: trace.shares.into_iter().map(ShareShown::from).collect(),
            };
            (found, Some(trace.covered_words), nanos)
        };
        Ok(Traced {
            id: line.id.clone(),
            bytes: line.text.len(),
            words: answer.words().len(),
            covered_words,
            nanos: self.timings.then_some(nanos),
            found,
            text: line.text.clone(),
        })
    }
}

impl SpanShown {
    fn new(index: &Index, text: &str, folded: Option<&Folded>, span: &TracedSpan) -> Result<Self, IndexError> {
        let found = &span.occurrences;
        let (start, end) = (span.start as usize, span.end as usize);
        let range = folded.and_then(|folded| folded.original(start..end)).unwrap_or(start..end);
        let mut holders = found.holder().into_iter().chain(found.later(MAX_LATER)).map(|holder| {
            let (document, contributor) = (index.name_of(&holder)?, index.contributor_of(&holder)?);
            Ok(HolderShown { document, contributor, offset: index.original_offset(&holder)? })
        });
        let nobody = || IndexError::NoDocument { name: "that holds a span".to_owned() };
        let holder = holders.next().ok_or_else(nobody)??;
        let later = holders.collect::<Result<_, IndexError>>()?;
        let (before, after) = found.context.clone().map(|context| (context.before, context.after)).unwrap_or_default();
        Ok(Self {
            start: range.start,
            end: range.end,
            text: text.get(range).unwrap_or_default().to_owned(),
            bits: bits(span.bits_q16),
            bits_q16: span.bits_q16,
            paid: span.is_paid,
            documents: found.documents(),
            contributors: found.contributors(),
            occurrences: found.occurrences(),
            holder,
            later,
            before,
            after,
        })
    }
}

impl PartShown {
    fn new(index: &Index, folded: Option<&Folded>, part: &PaidSpan) -> Result<Self, IndexError> {
        let (Span { start, end, holder }, bits_q16) = (part.span, part.bits_q16);
        let range = start as usize..end as usize;
        let Range { start, end } = folded.and_then(|folded| folded.original(range.clone())).unwrap_or(range);
        let (document, contributor) = (index.name_of(&holder)?, index.contributor_of(&holder)?);
        let holder = HolderShown { document, contributor, offset: index.original_offset(&holder)? };
        Ok(Self { start, end, bits: bits(bits_q16), bits_q16, holder })
    }
}

impl From<Share> for ShareShown {
    fn from(Share { contributor, bits_q16, ppm }: Share) -> Self {
        Self { contributor, bits: bits(bits_q16), bits_q16, ppm: u64::try_from(ppm).unwrap_or(u64::MAX) }
    }
}

impl From<&Longest> for StartShown {
    fn from(&Longest { start, bytes, count, whole, whole_count }: &Longest) -> Self {
        Self { start, bytes, count, whole, whole_count }
    }
}

/// Bits with two decimals, rounded down, for people and their programs.
fn bits(q16: u64) -> f64 {
    // Far below 2^52 hundredths.
    ((u128::from(q16) * 100) >> 16) as f64 / 100.0
}

fn as_text(traced: &Traced, paint: Paint) -> String {
    let mut text =
        format!("{}\n", paint.bold(traced.id.as_str().map_or_else(|| traced.id.to_string(), ToOwned::to_owned)));
    match &traced.found {
        Found::Starts { starts } => {
            let row = |start: &StartShown| {
                let at = start.start as usize;
                let passage = traced.text.get(at..at + start.bytes as usize).unwrap_or_default();
                let shown: String = passage.chars().take(60).collect();
                let numbers =
                    [u64::from(start.start), start.bytes.into(), start.count, start.whole.into(), start.whole_count];
                numbers.iter().map(ToString::to_string).chain([shown.replace('\n', " ")]).collect()
            };
            let rows: Vec<Vec<String>> = starts.iter().map(row).collect();
            text += &paint.table(&["byte", "longest", "count", "whole words", "count", "passage"], &rows);
        }
        Found::Spans { spans, parts, shares } => {
            let number = |name: &str| shares.iter().position(|share| share.contributor == name);
            let mut at = 0;
            for &PartShown { start, end, ref holder, .. } in parts {
                let n = number(&holder.contributor).unwrap_or(0);
                text += traced.text.get(at..start).unwrap_or_default();
                text += &paint.nth(n, format!("[{}: {}]", n + 1, traced.text.get(start..end).unwrap_or_default()));
                at = end;
            }
            text += traced.text.get(at..).unwrap_or_default();
            text += "\n\n";
            for (n, share) in shares.iter().enumerate() {
                let line = format!(
                    "[{}] {}: {:.2} bits, {:.2} %",
                    n + 1,
                    share.contributor,
                    share.bits,
                    share.ppm as f64 / 10_000.0
                );
                text += &format!("{}\n", paint.nth(n, line));
            }
            let row = |span: &SpanShown| {
                let passage: String = span.text.chars().take(50).collect();
                vec![
                    format!("{}..{}", span.start, span.end),
                    format!("{:.2}", span.bits),
                    span.documents.to_string(),
                    span.contributors.to_string(),
                    format!("{}:{}", span.holder.document, span.holder.offset),
                    passage.replace('\n', " "),
                ]
            };
            let rows: Vec<Vec<String>> = spans.iter().map(row).collect();
            if !rows.is_empty() {
                text += "\n";
                text += &paint.table(&["bytes", "bits", "documents", "contributors", "earliest", "passage"], &rows);
            }
            let covered = traced.covered_words.unwrap_or(0);
            text += &format!("\n{covered} of {} words stand in paid spans\n", traced.words);
        }
    }
    text
}
