//! `tributary span prove` and `verify`: what an index says about a passage, for somebody who has only its roots.

use crate::cli::Context;
use crate::files;
use crate::output::Failure;
use anyhow::Context as _;
use attribution::span::{Index, Prover, UNFOLDED};
use clap::Args;
use protocol::evidence::Answer;
use protocol::ids::Hash32;
use protocol::passage::{MAX_PASSAGE_BYTES, ProvedSpan, SpanProof, maximality};
use serde::Serialize;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

/// Access rights of a proof file: it is for everybody.
const PROOF_MODE: u32 = 0o644;
/// Bytes of a proof file at most: some 2,000 segments.
const MAX_PROOF_BYTES: u64 = 64 * 1024 * 1024;

#[derive(Debug, Args)]
pub(in crate::cli) struct Prove {
    /// The folder of the index
    #[arg(long, value_name = "DIR")]
    index: PathBuf,
    /// The text
    #[arg(long)]
    text: String,
    /// The bytes of the passage in the text, which starts and ends with words [default: all of it]
    #[arg(long, value_name = "START..END", value_parser = range)]
    span: Option<(u32, u32)>,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Verify {
    /// The proof
    proof: PathBuf,
    /// A segment's root that you trust, as often as there are segments; without any, the proof's roots are shown
    #[arg(long, value_name = "ROOT")]
    root: Vec<Hash32>,
}

fn range(text: &str) -> Result<(u32, u32), String> {
    let parts = text.split_once("..").and_then(|(start, end)| Some((start.parse().ok()?, end.parse().ok()?)));
    parts.ok_or_else(|| format!("{text:?} is not START..END, two numbers of bytes"))
}

/// What a proof says.
#[derive(Debug, Serialize)]
struct Shown {
    passage: String,
    /// How often it occurs.
    count: u64,
    /// Does it occur, and not with the text's next word on either side?
    maximal: bool,
    /// Bytes of the proof.
    bytes: u64,
    /// Were all roots among those given with --root?
    trusted: bool,
    earliest: Option<EarliestShown>,
    roots: Vec<RootShown>,
}

#[derive(Debug, Serialize)]
struct EarliestShown {
    root: String,
    order: u64,
    contribution: String,
    document: u32,
    offset: u64,
}

#[derive(Debug, Serialize)]
struct RootShown {
    root: String,
    count: u64,
}

impl Prove {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        let index = Index::open(&self.index)?;
        if index.fold() != UNFOLDED {
            let message = "proofs are about text as it is, and this index is of folded text".to_owned();
            return Err(Failure::new("folded", message)
                .hint("prove with an index that was built without --folded")
                .into());
        }
        let no_passage = |why: String| {
            Failure::new("passage", why)
                .hint("a passage starts and ends with words: name its bytes with --span START..END")
        };
        let answer = Answer::up_to(MAX_PASSAGE_BYTES, &self.text).map_err(|error| no_passage(error.to_string()))?;
        let end = u32::try_from(self.text.len()).unwrap_or(u32::MAX);
        let (start, end) = self.span.unwrap_or((0, end));
        let words = answer
            .words_of(start, end)
            .ok_or_else(|| no_passage(format!("bytes {start} to {end} of the text do not start and end with words")))?;
        let passages = maximality(&answer, words);
        let spinner = context.out.spinner("hashing what the proof is cut from");
        let mut segments = Vec::new();
        for segment in index.segments() {
            let prover = Prover::new(segment)?;
            segments.push(passages.iter().map(|passage| prover.passage(passage)).collect::<Result<_, _>>()?);
        }
        spinner.finish_and_clear();
        let proof = SpanProof { text: self.text.clone(), start, end, segments };
        let bytes = proof.to_bytes();
        files::replace(&self.out, &bytes, PROOF_MODE)
            .with_context(|| format!("{} cannot be written", self.out.display()))?;
        // Nobody is handed what does not hold.
        let proved = proof.check().map_err(|error| Failure::new("invalid", error.to_string()))?;
        let trusted: BTreeSet<Hash32> = index.segments().map(|segment| segment.root()).collect();
        Shown::new(&proof, &proved, bytes.len() as u64, &trusted).print(context)
    }
}

impl Verify {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        let mut bytes = Vec::new();
        let read = File::open(&self.proof).and_then(|file| file.take(MAX_PROOF_BYTES + 1).read_to_end(&mut bytes));
        read.map_err(|error| Failure::new("io", format!("{} cannot be read: {error}", self.proof.display())))?;
        if bytes.len() as u64 > MAX_PROOF_BYTES {
            let message = format!("{} has more than {MAX_PROOF_BYTES} bytes", self.proof.display());
            return Err(Failure::new("too_large", message).into());
        }
        let invalid = |error: protocol::passage::PassageError| {
            Failure::new("invalid", format!("{} proves nothing: {error}", self.proof.display()))
                .hint("it was altered on the way, or was never right: ask somebody else for one")
        };
        let proof = SpanProof::from_bytes(&bytes).map_err(invalid)?;
        let proved = proof.check().map_err(invalid)?;
        let trusted: BTreeSet<Hash32> = self.root.iter().copied().collect();
        let shown = Shown::new(&proof, &proved, bytes.len() as u64, &trusted);
        if !trusted.is_empty() && (!shown.trusted || proved.segments.len() != trusted.len()) {
            let message = "the proof is about other segments than those with the roots given".to_owned();
            return Err(Failure::new("root", message).hint("`tributary span stat` shows an index's roots").into());
        }
        shown.print(context)
    }
}

impl Shown {
    fn new(proof: &SpanProof, proved: &ProvedSpan, bytes: u64, trusted: &BTreeSet<Hash32>) -> Self {
        let earliest = proved.earliest().map(|(root, earliest)| EarliestShown {
            root: root.to_string(),
            order: earliest.order,
            contribution: earliest.contribution.to_string(),
            document: earliest.document,
            offset: earliest.offset,
        });
        Self {
            passage: proof.text.get(proof.start as usize..proof.end as usize).unwrap_or_default().to_owned(),
            count: proved.count,
            maximal: proved.is_maximal,
            bytes,
            trusted: proved.segments.iter().all(|segment| trusted.contains(&segment.root)),
            earliest,
            roots: proved.segments.iter().map(|s| RootShown { root: s.root.to_string(), count: s.count }).collect(),
        }
    }

    fn print(&self, context: &Context) -> anyhow::Result<()> {
        context.out.print(self, |paint| {
            let mut fields =
                vec![("passage", self.passage.replace('\n', " ")), ("occurs", format!("{} times", self.count))];
            if self.count > 0 {
                let no_longer =
                    if self.maximal { "no longer passage of the text occurs" } else { "a longer one occurs as well" };
                fields.push(("longest", no_longer.to_owned()));
            }
            if let Some(earliest) = &self.earliest {
                let EarliestShown { contribution, document, offset, order, .. } = earliest;
                let text =
                    format!("byte {offset} of document {document} of contribution {contribution}, in place {order}");
                fields.push(("earliest", text));
            }
            fields.push(("proof", format!("{} bytes", self.bytes)));
            let mut text = format!("{}\n{}", paint.good("The proof holds."), paint.fields(&fields));
            let trust = if self.trusted {
                "It is about segments with these roots:"
            } else {
                "It holds if you trust these roots:"
            };
            text += &format!("\n{trust}\n");
            let rows =
                self.roots.iter().map(|root| vec![root.root.clone(), root.count.to_string()]).collect::<Vec<_>>();
            text + &paint.table(&["segment", "occurs"], &rows)
        })
    }
}
