//! `tributary span`: the span index as a tool of its own, without a network.

mod corpus;
mod proof;
mod trace;

use super::Context;
use crate::output::Failure;
use anyhow::Context as _;
use attribution::span::{Added, FOLDED, Index, IndexError, IndexWriter, Limits, Segment, UNFOLDED};
use clap::{Args, Subcommand};
use corpus::Corpus;
use indicatif::{ProgressBar, ProgressStyle};
use protocol::segment::Section;
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How much memory making segments takes unless told, in MB.
const MEMORY_MB: u32 = 1024;
/// Bytes of text in one segment at most, however much memory there is.
const MAX_SEGMENT_BYTES: usize = 1024 * MB;
/// Bytes of an MB.
const MB: usize = 1024 * 1024;

/// Index texts, and find what of other texts stands in them, without a network.
#[derive(Debug, Subcommand)]
pub(super) enum SpanCommand {
    /// Index a folder of text files or a file of JSON lines
    Build(Build),
    /// Add more documents to an index
    Append(Append),
    /// Take documents out of an index
    Strike(Strike),
    /// Join small segments of an index, so that it is searched faster
    Join(Join),
    /// Show what an index holds
    Stat(Stat),
    /// Find which passages of texts stand in the index, and whose they are
    Trace(trace::Trace),
    /// Prove how often a passage of a text occurs in the index, where first, and that no longer one does
    Prove(proof::Prove),
    /// Check such a proof, without the index
    Verify(proof::Verify),
}

/// What making segments may take.
#[derive(Debug, Args)]
struct Effort {
    /// Most memory to use, in MB, about; more makes larger segments
    #[arg(long, value_name = "MB", default_value_t = MEMORY_MB, value_parser = clap::value_parser!(u32).range(16..))]
    memory: u32,
    /// Threads to use [default: one for each processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
}

impl Effort {
    fn limits(&self) -> Limits {
        // A segment is as large as memory lets it be: each further one makes a search longer.
        let (memory_bytes, threads) = (self.memory as usize * MB, threads(self.threads));
        Limits { memory_bytes, threads, segment_bytes: MAX_SEGMENT_BYTES }
    }
}

/// As many threads as told, else one for each processor.
fn threads(told: Option<u16>) -> usize {
    told.map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), usize::from)
}

#[derive(Debug, Args)]
pub(super) struct Build {
    /// A folder of text files, whose first-level folders are contributors; or JSON lines with id, contributor and text
    /// (- for standard input)
    #[arg(long, value_name = "CORPUS")]
    input: PathBuf,
    /// The folder of the index, new or empty
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Fold texts, so that case, spacing, punctuation and spelling in Unicode do not matter
    #[arg(long)]
    folded: bool,
    #[command(flatten)]
    effort: Effort,
}

#[derive(Debug, Args)]
pub(super) struct Append {
    /// The folder of the index
    #[arg(long, value_name = "DIR")]
    index: PathBuf,
    /// What to add: a folder or JSON lines, as for `build`
    #[arg(long, value_name = "CORPUS")]
    input: PathBuf,
    #[command(flatten)]
    effort: Effort,
    /// Leave small segments as they are
    #[arg(long)]
    no_join: bool,
}

#[derive(Debug, Args)]
pub(super) struct Strike {
    /// The folder of the index
    #[arg(long, value_name = "DIR")]
    index: PathBuf,
    /// The documents, by their names
    #[arg(required = true, value_name = "DOCUMENT")]
    documents: Vec<String>,
    #[command(flatten)]
    effort: Effort,
}

#[derive(Debug, Args)]
pub(super) struct Join {
    /// The folder of the index
    #[arg(long, value_name = "DIR")]
    index: PathBuf,
    #[command(flatten)]
    effort: Effort,
}

#[derive(Debug, Args)]
pub(super) struct Stat {
    /// The folder of the index
    #[arg(long, value_name = "DIR")]
    index: PathBuf,
    /// Check every byte against the segments' roots as well
    #[arg(long)]
    verify: bool,
}

impl SpanCommand {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        match self {
            Self::Build(command) => command.run(context),
            Self::Append(command) => command.run(context),
            Self::Strike(command) => command.run(context),
            Self::Join(command) => command.run(context),
            Self::Stat(command) => command.run(context),
            Self::Trace(command) => command.run(context),
            Self::Prove(command) => command.run(context),
            Self::Verify(command) => command.run(context),
        }
    }
}

impl Build {
    fn run(self, context: &Context) -> anyhow::Result<()> {
        let began = Instant::now();
        let mut writer = IndexWriter::create(&self.out, if self.folded { FOLDED } else { UNFOLDED })?;
        let added = add(&mut writer, &self.input, &self.effort.limits())?;
        drop(writer);
        Changed { added: added.into(), ..Changed::of(&self.out, began)? }.print(context)
    }
}

impl Append {
    fn run(self, context: &Context) -> anyhow::Result<()> {
        let began = Instant::now();
        let mut writer = IndexWriter::open(&self.index)?;
        let limits = self.effort.limits();
        let added = add(&mut writer, &self.input, &limits)?;
        let nanos = nanos(began);
        let joined = if self.no_join { 0 } else { join(&mut writer, &limits)? };
        drop(writer);
        Changed { added: added.into(), joined, nanos, ..Changed::of(&self.index, began)? }.print(context)
    }
}

impl Strike {
    fn run(self, context: &Context) -> anyhow::Result<()> {
        let began = Instant::now();
        let names: BTreeSet<String> = self.documents.into_iter().collect();
        let mut writer = IndexWriter::open(&self.index)?;
        let struck = writer.strike(&self.effort.limits(), &names)?;
        drop(writer);
        Changed { struck, ..Changed::of(&self.index, began)? }.print(context)
    }
}

impl Join {
    fn run(self, context: &Context) -> anyhow::Result<()> {
        let began = Instant::now();
        let mut writer = IndexWriter::open(&self.index)?;
        let joined = join(&mut writer, &self.effort.limits())?;
        drop(writer);
        Changed { joined, ..Changed::of(&self.index, began)? }.print(context)
    }
}

/// Adds a corpus to an index, showing how far it is.
fn add(writer: &mut IndexWriter, input: &Path, limits: &Limits) -> anyhow::Result<Added> {
    let (mut corpus, bytes) = Corpus::open(input)?;
    let bar = progress(bytes);
    let mut order = writer.next_order();
    let next = || {
        order += 1;
        corpus.next(order - 1)
    };
    let added = writer.add(limits, next, |document| bar.inc(document.text.len() as u64));
    bar.finish_and_clear();
    let added = added.with_context(|| format!("nothing of {} was added", input.display()))?;
    if added.documents == 0 {
        let message = format!("{} holds no document", input.display());
        return Err(Failure::new("empty", message)
            .hint("text files in a folder, or JSON lines, are what is indexed")
            .into());
    }
    Ok(added)
}

fn progress(bytes: u64) -> ProgressBar {
    let bar = if bytes > 0 { ProgressBar::new(bytes) } else { ProgressBar::new_spinner() };
    let form = if bytes > 0 {
        "indexing {wide_bar} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left"
    } else {
        "{spinner} indexing: {bytes}, {bytes_per_sec}"
    };
    match ProgressStyle::with_template(form) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn join(writer: &mut IndexWriter, limits: &Limits) -> Result<usize, IndexError> {
    let mut all = 0;
    loop {
        match writer.join(limits)? {
            0 => return Ok(all),
            joined => all += joined,
        }
    }
}

/// What became of an index.
#[derive(Debug, Serialize)]
struct Changed {
    index: String,
    added: AddedShown,
    /// Documents taken out.
    struck: u64,
    /// Segments joined into larger ones.
    joined: usize,
    /// Nanoseconds until it was on the disk; joining comes after that.
    nanos: u64,
    #[serde(flatten)]
    now: Size,
}

/// What was added.
#[derive(Debug, Default, Serialize)]
struct AddedShown {
    documents: u64,
    bytes: u64,
    segments: u64,
}

/// What an index holds.
#[derive(Debug, Serialize)]
struct Size {
    /// Rises by one with every change.
    version: u64,
    /// Are texts folded?
    folded: bool,
    documents: u64,
    /// Bytes of the documents' texts, as they are indexed.
    bytes: u64,
    words: u64,
    segments: u64,
    /// Bytes of the segments' files, the texts included.
    index_bytes: u64,
}

impl From<Added> for AddedShown {
    fn from(Added { documents, bytes, segments }: Added) -> Self {
        Self { documents, bytes, segments }
    }
}

impl Changed {
    /// An index as it is now, so long after `began`.
    fn of(folder: &Path, began: Instant) -> Result<Self, IndexError> {
        let nanos = nanos(began);
        let now = Size::of(&Index::open(folder)?);
        Ok(Self { index: folder.display().to_string(), added: AddedShown::default(), struck: 0, joined: 0, nanos, now })
    }

    fn print(&self, context: &Context) -> anyhow::Result<()> {
        context.out.print(self, |paint| {
            let AddedShown { documents, bytes, segments } = self.added;
            let seconds = Duration::from_nanos(self.nanos).as_secs_f64();
            let mut fields = Vec::new();
            if documents > 0 {
                let text = format!("{documents} documents, {bytes} bytes, in {segments} segments and {seconds:.2} s");
                fields.push(("added", text));
            }
            if self.struck > 0 {
                fields.push(("struck", format!("{} documents, in {seconds:.2} s", self.struck)));
            }
            if self.joined > 0 {
                fields.push(("joined", format!("{} segments into larger ones", self.joined)));
            }
            fields.extend(self.now.fields());
            paint.fields(&fields)
        })
    }
}

impl Size {
    fn of(index: &Index) -> Self {
        let sum = |of: fn(&Segment) -> u64| index.segments().map(of).sum::<u64>();
        let documents = sum(|segment| segment.documents().into());
        Self {
            version: index.version(),
            folded: index.fold() != UNFOLDED,
            documents,
            // Without the mark behind each.
            bytes: sum(|segment| segment.header().length(Section::Text)) - documents,
            words: sum(Segment::words),
            segments: index.segments().count() as u64,
            index_bytes: sum(|segment| segment.bytes() as u64),
        }
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        let per_byte = self.index_bytes as f64 / self.bytes.max(1) as f64;
        vec![
            ("version", self.version.to_string()),
            ("documents", self.documents.to_string()),
            (
                "text",
                format!("{} bytes{}, {} words", self.bytes, if self.folded { " when folded" } else { "" }, self.words),
            ),
            ("segments", self.segments.to_string()),
            ("files", format!("{} bytes, {per_byte:.3} for each of text", self.index_bytes)),
        ]
    }
}

impl Stat {
    fn run(self, context: &Context) -> anyhow::Result<()> {
        let began = Instant::now();
        let index = Index::open(&self.index)?;
        let open_nanos = nanos(began);
        if self.verify {
            let spinner = context.out.spinner("checking every byte");
            let verified = index.verify();
            spinner.finish_and_clear();
            verified?;
        }
        let segments = index.segments().map(|segment| SegmentShown {
            root: segment.root().to_string(),
            documents: segment.documents(),
            contributors: segment.header().contributors,
            bytes: segment.header().length(Section::Text) - u64::from(segment.documents()),
            words: segment.words(),
            distinct_words: segment.header().distinct,
            file_bytes: segment.bytes() as u64,
        });
        let (list, now) = (segments.collect(), Size::of(&index));
        let shown = Stated { index: self.index.display().to_string(), verified: self.verify, open_nanos, now, list };
        context.out.print(&shown, |paint| {
            let mut text = paint.fields(&shown.now.fields());
            let row = |each: &SegmentShown| {
                let SegmentShown { documents, contributors, bytes, words, file_bytes, .. } = each;
                let numbers = [u64::from(*documents), u64::from(*contributors), *bytes, *words, *file_bytes];
                let root: String = each.root.chars().take(16).collect();
                std::iter::once(root).chain(numbers.map(|number| number.to_string())).collect()
            };
            let rows: Vec<Vec<String>> = shown.list.iter().map(row).collect();
            text += "\n";
            text += &paint.table(&["segment", "documents", "contributors", "bytes", "words", "file bytes"], &rows);
            if shown.verified {
                text += &format!("\n{}\n", paint.good("Every byte is as it was written."));
            }
            text
        })
    }
}

/// An index and its segments.
#[derive(Debug, Serialize)]
struct Stated {
    index: String,
    /// Was every byte checked?
    verified: bool,
    open_nanos: u64,
    #[serde(flatten)]
    now: Size,
    list: Vec<SegmentShown>,
}

#[derive(Debug, Serialize)]
struct SegmentShown {
    root: String,
    documents: u32,
    contributors: u32,
    bytes: u64,
    words: u64,
    distinct_words: u64,
    file_bytes: u64,
}

/// Nanoseconds since then.
fn nanos(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX)
}
