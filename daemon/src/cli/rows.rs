//! `tributary influence build|query|audit`: the rows of models by influence, made, asked and checked.

use super::Context;
use super::objects::{WAIT_PATIENCE, key, remote};
use crate::actions::{ActionError, Remote};
use crate::api::types::RowsShown;
use crate::models::{Lineage, ModelError, Progress, Server};
use crate::output::{Failure, Paint};
use anyhow::Context as _;
use attribution::influence::Artifact;
use attribution::tracer::Stage;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use protocol::ids::ModelId;
use protocol::influence::RowName;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How often rows that are judged are looked at.
const POLL: Duration = Duration::from_millis(250);
/// How long a seed is waited for.
const SEED_PATIENCE: Duration = Duration::from_secs(120);

#[derive(Debug, Args)]
pub(super) struct Build {
    /// The model, registered with --checkpoint
    #[arg(value_name = "MODEL")]
    model: ModelId,
    /// The folder of the checkpoint [default: fetched from the node]
    #[arg(long, value_name = "DIR")]
    checkpoint: Option<PathBuf>,
    /// Only write the rows to this file, and offer nothing
    #[arg(long, value_name = "FILE", conflicts_with = "key")]
    out: Option<PathBuf>,
    /// The key of the model's builder, whose bond is at stake until validators have looked at the rows
    #[arg(long, value_name = "NAME", required_unless_present = "out")]
    key: Option<String>,
    /// Do not wait until validators have judged the rows
    #[arg(long)]
    no_wait: bool,
}

#[derive(Debug, Serialize)]
struct Built {
    model: String,
    root: String,
    rows: usize,
    fisher_rows: usize,
    dimension: u32,
    bytes: u64,
    seconds: f64,
    state: String,
}

impl Build {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        let began = Instant::now();
        let (remote, home) = (remote(context)?, context.home()?);
        let builder = self.key.as_ref().map(|name| key(context, name)).transpose()?;
        if let Some(builder) = &builder {
            let shown = remote.model(&self.model)?;
            // Found out before the work, not after it.
            if shown.builder != builder.account().to_string() {
                return Err(ModelError::Builder { model: self.model, builder: shown.builder }.into());
            }
        }
        let spinner = context.out.spinner("waiting for the seed");
        wait_for_seed(&remote, self.model)?;
        let lineage = Lineage::fetch(&remote, &home, self.model, self.checkpoint.as_deref(), &mut |what| {
            spinner.set_message(what);
        })?;
        spinner.finish_and_clear();
        let artifact = build(context, &lineage)?;
        let path = self.out.clone().unwrap_or_else(|| home.join("models").join(format!("{}.rows", self.model)));
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        artifact.write(&path)?;
        let header = artifact.header();
        let mut built = Built {
            model: self.model.to_string(),
            root: header.root().to_string(),
            rows: artifact.rows().len(),
            fisher_rows: artifact.fisher().rows().len(),
            dimension: header.dimension,
            bytes: std::fs::metadata(&path)?.len(),
            seconds: began.elapsed().as_secs_f64(),
            state: "written".to_owned(),
        };
        if let Some(builder) = builder {
            let spinner = context.out.spinner("uploading the rows");
            let file = remote.upload_file("the rows", &path)?;
            // The node has them now; the home keeps what was fetched, and that is checked by its hash.
            std::fs::remove_file(&path).ok();
            spinner.set_message("offering the rows");
            lineage.offer(&remote, &builder, header.clone(), &file)?;
            built.state =
                if self.no_wait { "offered".to_owned() } else { wait_for_judgement(&remote, self.model, &spinner)? };
            spinner.finish_and_clear();
        }
        context.out.print(&built, |paint| built.to_text(paint))
    }
}

fn build(context: &Context, lineage: &Lineage) -> anyhow::Result<Artifact> {
    let bar = if context.out.is_json() { ProgressBar::hidden() } else { ProgressBar::new(0) };
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {bar:30} {pos}/{len}  {eta} left") {
        bar.set_style(style);
    }
    let artifact = lineage.build(&mut |stage, done, of| {
        bar.set_length(of);
        bar.set_position(done);
        bar.set_message(match stage {
            Stage::Rows => "rows",
            Stage::Fisher => "Fisher rows",
        });
    });
    bar.finish_and_clear();
    artifact
}

/// Waits until the beacon after a model's registration has given its seed.
pub(crate) fn wait_for_seed(remote: &Remote, model: ModelId) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        let shown = remote.model(&model)?;
        let Some(rows) = shown.rows else {
            return Err(ModelError::Method { model, method: shown.method }.into());
        };
        if rows.seed.is_some() {
            return Ok(());
        }
        if began.elapsed() > SEED_PATIENCE {
            return Err(ModelError::Seed { model }.into());
        }
        std::thread::sleep(POLL);
    }
}

/// Waits until validators have judged a model's rows, and says how.
pub(crate) fn wait_for_judgement(remote: &Remote, model: ModelId, spinner: &ProgressBar) -> anyhow::Result<String> {
    let began = Instant::now();
    loop {
        let rows: RowsShown = remote.model(&model)?.rows.context("it is no model by influence any more")?;
        match rows.state.as_str() {
            "active" => return Ok(rows.state),
            "refuted" => {
                let named =
                    rows.refuted.iter().map(|found| RowName { fisher: found.fisher, index: found.row }.to_string());
                let named: Vec<String> = named.collect();
                let message = format!("validators refuted the rows, and the bond is lost: {}", named.join(", "));
                return Err(Failure::new("refuted", message).into());
            }
            _ => spinner.set_message(format!("{} validators attested the rows", rows.attested.len())),
        }
        if began.elapsed() > WAIT_PATIENCE {
            let (waited_s, state) = (began.elapsed().as_secs(), rows.state);
            return Err(ActionError::TooLong { what: "model", id: model.to_string(), state, waited_s }.into());
        }
        std::thread::sleep(POLL);
    }
}

impl Built {
    fn to_text(&self, paint: Paint) -> String {
        paint.fields(&[
            ("model", self.model.clone()),
            ("root", paint.bold(&self.root)),
            ("rows", format!("{} and {} Fisher rows of {} entries", self.rows, self.fisher_rows, self.dimension)),
            ("bytes", self.bytes.to_string()),
            ("state", self.state.clone()),
            ("time", format!("{:.0} s", self.seconds)),
        ])
    }
}

#[derive(Debug, Args)]
pub(super) struct Query {
    /// The model
    #[arg(value_name = "MODEL")]
    model: ModelId,
    /// What was asked
    #[arg(long)]
    prompt: String,
    /// What was answered [default: what the model answers]
    #[arg(long)]
    answer: Option<String>,
    /// Examples of each sign
    #[arg(long, default_value_t = 5, value_name = "N")]
    examples: usize,
    /// The folder of the checkpoint [default: fetched from the node]
    #[arg(long, value_name = "DIR")]
    checkpoint: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Queried {
    prompt: String,
    answer: String,
    contributions: Vec<Share>,
    raised: Vec<Example>,
    lowered: Vec<Example>,
    raised_count: u64,
    count: usize,
}

#[derive(Debug, Serialize)]
struct Share {
    contribution: String,
    credit: String,
    part: f64,
}

#[derive(Debug, Serialize)]
struct Example {
    row: usize,
    /// In millionths of all positive influence.
    parts: i64,
    credit: String,
    contribution: String,
    text: String,
}

impl Query {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        let (remote, home) = (remote(context)?, context.home()?);
        let spinner = context.out.spinner("fetching the model");
        let mut tell = |what| spinner.set_message(what);
        let lineage = Lineage::fetch(&remote, &home, self.model, self.checkpoint.as_deref(), &mut tell)?;
        let artifact = lineage.artifact(&remote, &home, &mut tell)?;
        let server = Server::new(lineage, artifact)?;
        let (answer, trace) = match self.answer {
            Some(answer) => {
                let trace = server.trace(&self.prompt, &answer)?;
                (answer, trace)
            }
            None => {
                let traced = server.answer(&self.prompt, &attribution::model::Options::default())?;
                (traced.generation.text, traced.trace)
            }
        };
        let ranked = server.ranked(&trace, self.examples)?;
        let sums = server.sums(&trace)?;
        let total = sums.values().sum::<u128>().max(1);
        let mut credits = BTreeMap::new();
        let mut contributions = Vec::new();
        for (id, sum) in &sums {
            let credit = remote.contribution(id)?.credit;
            credits.insert(*id, credit.clone());
            contributions.push(Share { contribution: id.to_string(), credit, part: *sum as f64 / total as f64 });
        }
        contributions.sort_by(|a, b| b.part.total_cmp(&a.part));
        let example = |(row, parts): &(usize, i64)| {
            let (text, contribution) = server.lineage().passage(*row)?;
            let credit = match credits.get(&contribution) {
                Some(credit) => credit.clone(),
                None => remote.contribution(&contribution).map(|shown| shown.credit).unwrap_or_default(),
            };
            let contribution = contribution.to_string();
            Some(Example { row: *row, parts: *parts, credit, contribution, text: text.to_owned() })
        };
        let queried = Queried {
            prompt: self.prompt,
            answer,
            contributions,
            raised: ranked.raised.iter().filter_map(example).collect(),
            lowered: ranked.lowered.iter().filter_map(example).collect(),
            raised_count: ranked.raised_count,
            count: server.lineage().passages(),
        };
        spinner.finish_and_clear();
        context.out.print(&queried, |paint| queried.to_text(paint))
    }
}

impl Queried {
    fn to_text(&self, paint: Paint) -> String {
        let mut text = format!("{}{}\n\n", paint.dim(&self.prompt), paint.bold(&self.answer));
        for (n, share) in self.contributions.iter().take(10).enumerate() {
            text += &format!("  {:5.1} %  {}\n", 100.0 * share.part, paint.nth(n, &share.credit));
        }
        text += &format!("\n{} of {} examples made the answer likelier:\n", self.raised_count, self.count);
        for example in &self.raised {
            text += &example.to_text(paint);
        }
        if !self.lowered.is_empty() {
            text += "\nless likely:\n";
        }
        for example in &self.lowered {
            text += &example.to_text(paint);
        }
        text
    }
}

impl Example {
    fn to_text(&self, paint: Paint) -> String {
        let share = format!("{:+.2} %", self.parts as f64 / 10_000.0);
        let share = if self.parts > 0 { paint.good(share) } else { paint.bad(share) };
        let text: String = self.text.split_whitespace().collect::<Vec<_>>().join(" ");
        format!("  {share}  {}  {}\n", paint.bold(&self.credit), paint.dim(text))
    }
}

#[derive(Debug, Args)]
pub(super) struct Audit {
    /// The model
    #[arg(value_name = "MODEL")]
    model: ModelId,
    /// Rows of each kind to compute anew, evenly spread [default: all]
    #[arg(long, value_name = "N")]
    rows: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Audited {
    model: String,
    root: String,
    looked_at: u64,
    of: u64,
    #[serde(skip)]
    wrong: Vec<Wrong>,
    seconds: f64,
}

#[derive(Debug)]
struct Wrong {
    row: RowName,
    reason: String,
}

impl Audit {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        let began = Instant::now();
        let (remote, home) = (remote(context)?, context.home()?);
        let spinner = context.out.spinner("fetching the model");
        let tell: Progress<'_> = &mut |what| spinner.set_message(what);
        let lineage = Lineage::fetch(&remote, &home, self.model, None, tell)?;
        let artifact = lineage.artifact(&remote, &home, tell)?;
        let header = artifact.header();
        let spread = |fisher: bool, count: u64| {
            let wanted = self.rows.unwrap_or(count).min(count);
            (0..wanted).map(move |row| {
                let index = u128::from(row) * u128::from(count) / u128::from(wanted.max(1));
                RowName { fisher, index: u64::try_from(index).unwrap_or_default() }
            })
        };
        let names: Vec<RowName> = spread(false, header.rows).chain(spread(true, header.fisher_rows)).collect();
        let mut wrong = Vec::new();
        for (done, name) in names.iter().enumerate() {
            spinner.set_message(format!("{done} of {} rows computed anew", names.len()));
            if let Some(reason) = lineage.audit(&artifact, *name)? {
                wrong.push(Wrong { row: *name, reason });
            }
        }
        spinner.finish_and_clear();
        let audited = Audited {
            model: self.model.to_string(),
            root: header.root().to_string(),
            looked_at: names.len() as u64,
            of: header.rows + header.fisher_rows,
            wrong,
            seconds: began.elapsed().as_secs_f64(),
        };
        if audited.wrong.is_empty() {
            return context.out.print(&audited, |paint| audited.to_text(paint));
        }
        let named = audited.wrong.iter().map(|wrong| format!("{}: {}", wrong.row, wrong.reason));
        let named: Vec<String> = named.collect();
        let message = format!("{} of {} rows are wrong: {}", named.len(), audited.looked_at, named.join("; "));
        Err(Failure::new("refuted", message).into())
    }
}

impl Audited {
    fn to_text(&self, paint: Paint) -> String {
        let fields = paint.fields(&[
            ("model", self.model.clone()),
            ("root", self.root.clone()),
            ("looked at", format!("{} of {} rows in {:.0} s", self.looked_at, self.of, self.seconds)),
        ]);
        format!("{fields}{}\n", paint.good("all of them are what the model and the texts give"))
    }
}
