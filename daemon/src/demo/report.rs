//! What happened on the tour, and whether all of it holds.

use super::adapter::{Adapter, AdapterReport};
use super::stage::{NODES, Stage};
use super::traffic::{Sent, Traffic, kinds};
use crate::api::types::{Earnings, Explained, ReceiptShown};
use crate::cli::show::paint_answer;
use crate::output::{Output, Paint};
use anyhow::{Context as _, bail};
use protocol::ids::ReceiptId;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Bytes of a proof that are flipped, one at a time, to see each refused.
const FLIPS: usize = 16;

/// The end of the tour.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Validator processes.
    pub validators: usize,
    /// Epochs decided.
    pub epochs: u64,
    /// Receipts by what became of them.
    pub receipts: ReceiptCounts,
    /// What each account got for data, by DataNet: its passages and its base dividends.
    pub payouts: Vec<Payout>,
    /// Fees of all settled receipts.
    pub fees_drops: u128,
    /// The same fees by what they were paid for.
    pub paid_drops: PaidDrops,
    /// Each node's root of the ledger, at one height.
    pub state_roots: Vec<String>,
    /// Was a node killed with SIGKILL, started again, and did it catch up?
    pub killed_and_recovered: bool,
    /// A payout, proved.
    pub proof_file: PathBuf,
    /// What the proof is checked against.
    pub genesis_file: PathBuf,
    /// All of the tour.
    pub wall_seconds: u64,
    /// Answers by where their text came from.
    pub answers: BTreeMap<&'static str, usize>,
    /// The receipt that is explained and proved.
    pub explained_receipt: String,
    /// Epochs that the killed node missed.
    pub missed_epochs: u64,
    /// Milliseconds from its start until it had them.
    pub recovery_ms: u64,
    /// The command that checks the proof.
    pub verify_command: String,
    /// The adapter whose answers are paid by influence.
    pub adapter: AdapterReport,
    /// What does not hold; empty when all does.
    pub broken: Vec<String>,
    /// The answer that people are shown.
    #[serde(skip)]
    pub explained: Option<Explained>,
}

/// Receipts, counted.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct ReceiptCounts {
    /// Acknowledged by a node.
    pub submitted: usize,
    /// In a block.
    pub sealed: usize,
    /// Paid out.
    pub settled: usize,
    /// Paid back.
    pub refunded: usize,
}

/// What an account got for the data of one DataNet.
#[derive(Clone, Debug, Serialize)]
pub struct Payout {
    /// The account.
    pub account: String,
    /// The name it is credited under.
    pub name: String,
    /// The DataNet.
    pub datanet: String,
    /// How much.
    pub drops: u128,
}

/// Where fees went.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct PaidDrops {
    /// To contributors.
    pub data: u128,
    /// To builders of models.
    pub model: u128,
    /// To nodes that served.
    pub serving: u128,
    /// To validators.
    pub validators: u128,
    /// To the treasury.
    pub treasury: u128,
}

impl PaidDrops {
    fn sum(&self) -> u128 {
        self.data + self.model + self.serving + self.validators + self.treasury
    }
}

fn drops(text: &str) -> anyhow::Result<u128> {
    text.parse().with_context(|| format!("{text:?} is no amount of drops"))
}

/// Looks at what happened, through the nodes' own APIs.
pub fn look(stage: &Stage, traffic: &Traffic, adapter: Adapter, dir: &Path, out: &Output) -> anyhow::Result<Report> {
    let looking = out.spinner("waiting until every receipt is settled or refunded");
    let spans = end_of_receipts(stage, traffic.sent.iter().map(|sent| (sent.through, sent.id)))?;
    let influences = end_of_receipts(stage, adapter.receipts.iter().map(|id| (0, *id)))?;
    looking.set_message("checking the books");
    let mut broken = Vec::new();
    let receipts: Vec<ReceiptShown> = spans.iter().chain(&influences).cloned().collect();
    let (counts, fees, paid) = books(&receipts, &mut broken)?;
    let adapter = adapter.look(stage.node(0), &influences, &mut broken)?;
    let earnings: Earnings = stage.client(0).get("/v1/earnings")?;
    let payouts = payouts(&earnings)?;
    check_payouts(&payouts, &earnings, &paid, &mut broken)?;
    let (epochs, state_roots) = one_height(stage)?;
    if state_roots.windows(2).any(|pair| pair[0] != pair[1]) {
        broken.push("the nodes' state roots differ".to_owned());
    }
    if !traffic.recovered {
        broken.push("the killed node did not catch up".to_owned());
    }
    let explained = most_telling(stage, &traffic.sent, &spans)?;
    let proof_file = dir.join("payout.proof");
    let genesis_file = stage.devnet.genesis_path();
    prove(stage, &explained.receipt.id, &proof_file, &genesis_file, &mut broken)?;
    looking.finish_with_message("looked at every receipt, every account and every node");
    Ok(Report {
        validators: NODES,
        epochs,
        receipts: counts,
        payouts,
        fees_drops: fees,
        paid_drops: paid,
        state_roots,
        killed_and_recovered: traffic.recovered,
        verify_command: format!("{} verify {} --genesis {}", program(), proof_file.display(), genesis_file.display()),
        proof_file,
        genesis_file,
        wall_seconds: 0,
        answers: kinds(&traffic.sent).into_iter().map(|(kind, count)| (kind.as_str(), count)).collect(),
        explained_receipt: explained.receipt.id.clone(),
        missed_epochs: traffic.missed_epochs,
        recovery_ms: traffic.recovery_ms,
        adapter,
        broken,
        explained: Some(explained),
    })
}

/// How this program is called: people may not have it on their path.
pub fn program() -> String {
    std::env::current_exe().map_or_else(|_| "tributary".to_owned(), |path| path.display().to_string())
}

/// Every receipt as it ended. One that never does is an error.
fn end_of_receipts(stage: &Stage, sent: impl Iterator<Item = (usize, ReceiptId)>) -> anyhow::Result<Vec<ReceiptShown>> {
    let mut receipts = Vec::new();
    for (through, id) in sent {
        receipts.push(stage.wait(&format!("an end of receipt {id}"), || {
            let shown: ReceiptShown = stage.client(through).get(&format!("/v1/receipts/{id}"))?;
            let ended = matches!(shown.state.as_str(), "settled" | "available" | "refunded");
            Ok(ended.then_some(shown))
        })?);
    }
    Ok(receipts)
}

/// Counts receipts and adds up fees and lines: to the drop, for every receipt and for all together.
fn books(receipts: &[ReceiptShown], broken: &mut Vec<String>) -> anyhow::Result<(ReceiptCounts, u128, PaidDrops)> {
    let mut counts = ReceiptCounts { submitted: receipts.len(), ..ReceiptCounts::default() };
    let (mut fees, mut paid) = (0, PaidDrops::default());
    for receipt in receipts {
        counts.sealed += usize::from(receipt.epoch.is_some());
        if receipt.state == "refunded" {
            counts.refunded += 1;
            continue;
        }
        counts.settled += 1;
        let fee = drops(&receipt.fee)?;
        let mut lines = 0;
        for line in &receipt.lines {
            let amount = drops(&line.drops)?;
            lines += amount;
            match line.role.as_str() {
                "data" | "base" => paid.data += amount,
                "model" => paid.model += amount,
                "serving" => paid.serving += amount,
                "validators" => paid.validators += amount,
                "treasury" => paid.treasury += amount,
                other => bail!("a payout has the unknown role {other:?}"),
            }
        }
        if lines != fee {
            broken.push(format!("receipt {}: the payouts add up to {lines}, the fee is {fee}", receipt.id));
        }
        fees += fee;
    }
    if paid.sum() != fees {
        broken.push(format!("payouts add up to {}, fees to {fees}", paid.sum()));
    }
    if counts.settled == 0 || counts.settled + counts.refunded != counts.submitted {
        broken.push(format!("of {} receipts {} were settled", counts.submitted, counts.settled));
    }
    Ok((counts, fees, paid))
}

fn payouts(earnings: &Earnings) -> anyhow::Result<Vec<Payout>> {
    let mut payouts = Vec::new();
    for account in &earnings.accounts {
        for part in &account.by_datanet {
            payouts.push(Payout {
                account: account.account.clone(),
                name: account.names.join(", "),
                datanet: part.name.clone(),
                drops: drops(&part.drops)?,
            });
        }
    }
    payouts.sort_by(|a, b| (&a.datanet, std::cmp::Reverse(a.drops)).cmp(&(&b.datanet, std::cmp::Reverse(b.drops))));
    Ok(payouts)
}

/// What accounts got for data is what receipts paid for data, to the drop.
fn check_payouts(
    payouts: &[Payout],
    earnings: &Earnings,
    paid: &PaidDrops,
    broken: &mut Vec<String>,
) -> anyhow::Result<()> {
    let data: u128 = payouts.iter().map(|payout| payout.drops).sum();
    if data != paid.data {
        broken.push(format!("accounts got {data} drops for data, receipts paid {}", paid.data));
    }
    let mut earned = drops(&earnings.treasury)?;
    for account in &earnings.accounts {
        earned += drops(&account.earned)?;
    }
    if earned != paid.sum() {
        broken.push(format!("all accounts and the treasury got {earned} drops, receipts paid {}", paid.sum()));
    }
    Ok(())
}

/// A height that all nodes have at one moment, and each one's own root of the ledger there.
fn one_height(stage: &Stage) -> anyhow::Result<(u64, Vec<String>)> {
    stage.wait("one height on all nodes", || {
        let statuses = (0..NODES).map(|node| stage.client(node).status()).collect::<Result<Vec<_>, _>>()?;
        let height = statuses[0].height;
        let roots = statuses.iter().map(|status| status.state_root.clone()).collect();
        Ok(statuses.iter().all(|status| status.height == height).then_some((height, roots)))
    })
}

/// The settled answer whose passages come from the most hands; of those, the one with the most passages.
fn most_telling(stage: &Stage, sent: &[Sent], receipts: &[ReceiptShown]) -> anyhow::Result<Explained> {
    let hands = |receipt: &ReceiptShown| receipt.lines.iter().filter(|line| line.role == "data").count();
    let quotes = |id: &str| {
        let one = sent.iter().find(|one| one.id.to_string() == id);
        one.map_or(0, |one| one.answer.quoted.len())
    };
    let best = receipts
        .iter()
        .filter(|receipt| receipt.state != "refunded")
        .max_by_key(|receipt| (hands(receipt).min(3), quotes(&receipt.id), std::cmp::Reverse(receipt.id.clone())))
        .context("no receipt was settled")?;
    Ok(stage.client(0).get(&format!("/v1/receipts/{}/explain", best.id))?)
}

/// Has a payout proved, and the proof checked by another process that knows the genesis only; and refused, whichever
/// byte of it is flipped.
fn prove(stage: &Stage, receipt: &str, file: &Path, genesis: &Path, broken: &mut Vec<String>) -> anyhow::Result<()> {
    let proof = stage.client(0).get_bytes(&format!("/v1/receipts/{receipt}/proof"))?;
    std::fs::write(file, &proof).with_context(|| format!("the proof cannot be written to {}", file.display()))?;
    if !verify(file, genesis)? {
        broken.push("the proof is refused".to_owned());
    }
    let altered = file.with_extension("altered");
    for flip in 0..FLIPS {
        let mut bytes = proof.clone();
        let at = flip * (bytes.len() - 1) / (FLIPS - 1);
        bytes[at] ^= 1;
        std::fs::write(&altered, &bytes)?;
        if verify(&altered, genesis)? {
            broken.push(format!("the proof is accepted with byte {at} altered"));
        }
    }
    std::fs::remove_file(&altered)?;
    Ok(())
}

fn verify(proof: &Path, genesis: &Path) -> anyhow::Result<bool> {
    let output = Command::new(std::env::current_exe()?).arg("verify").arg(proof).arg("--genesis").arg(genesis).output();
    Ok(output.context("the verifier cannot be run")?.status.success())
}

impl Report {
    /// Does everything hold that the tour set out to show?
    pub fn holds(&self) -> bool {
        self.broken.is_empty()
    }

    /// The report for a person.
    pub fn to_text(&self, paint: Paint) -> String {
        let mut text = format!("\n{}\n\n", paint.bold("Who was paid for the data"));
        let rows: Vec<Vec<String>> = self
            .payouts
            .iter()
            .map(|payout| vec![payout.datanet.clone(), payout.name.clone(), credits(payout.drops)])
            .collect();
        text += &paint.table(&["DataNet", "contributor", "credits"], &rows);
        text.push('\n');
        let paid = &self.paid_drops;
        text += &format!("\n{}\n\n", paint.bold("Where the fees went"));
        let parts = [
            ("data", paid.data),
            ("model", paid.model),
            ("serving", paid.serving),
            ("validators", paid.validators),
            ("treasury", paid.treasury),
            ("together", paid.sum()),
            ("fees", self.fees_drops),
        ];
        let rows: Vec<Vec<String>> =
            parts.iter().map(|(name, amount)| vec![(*name).to_owned(), credits(*amount)]).collect();
        text += &paint.table(&["for", "credits"], &rows);
        text.push('\n');
        if let Some(explained) = &self.explained {
            text += &format!("\n{}\n\n", paint.bold("One answer, and whose words it has"));
            text += &paint_answer(explained, paint);
        }
        if let Some(explained) = &self.adapter.explained {
            text += &format!("\n{}\n\n", paint.bold("One answer of an adapter, and the examples that it comes from"));
            text += &paint_answer(explained, paint);
        }
        text += &format!("\n{}\n\n", paint.bold("What held"));
        text += &self.findings(paint);
        text
    }

    fn findings(&self, paint: Paint) -> String {
        let counts = &self.receipts;
        let mut lines = vec![
            format!(
                "{} receipts acknowledged, {} sealed, {} settled, {} refunded, over {} epochs",
                counts.submitted, counts.sealed, counts.settled, counts.refunded, self.epochs
            ),
            format!("every fee divided to the drop: {} drops in, {} drops out", self.fees_drops, self.paid_drops.sum()),
            format!(
                "{} nodes, one state root: {}",
                self.validators,
                self.state_roots.first().map_or("", String::as_str)
            ),
            format!(
                "a node was killed with SIGKILL, missed {} epoch(s) and was in step {} ms after its start",
                self.missed_epochs, self.recovery_ms
            ),
            format!(
                "an adapter of {} weights, {} rows computed anew in part by {} validators; {} answers paid by influence to {}",
                self.adapter.weights[1],
                self.adapter.rows,
                self.adapter.attested,
                self.adapter.answers,
                self.adapter.paid.keys().cloned().collect::<Vec<_>>().join(", ")
            ),
            format!("a payout proved offline, and refused with any of {FLIPS} bytes altered; see for yourself:"),
        ];
        lines = lines.into_iter().map(|line| format!("  {line}")).collect();
        lines.push(format!("    {}", paint.bold(&self.verify_command)));
        lines.extend(self.broken.iter().map(|broken| format!("  {}", paint.bad(format!("does not hold: {broken}")))));
        lines.push(format!("  {}", paint.dim(format!("{} s in all", self.wall_seconds))));
        lines.join("\n") + "\n"
    }
}

/// Drops as credits, with all their decimals.
fn credits(drops: u128) -> String {
    let one = protocol::objects::Drops::CREDIT.0;
    format!("{}.{:09}", drops / one, drops % one)
}
