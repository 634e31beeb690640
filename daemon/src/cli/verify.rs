//! `tributary verify`: checks a proof without any network or database.

use super::Context;
use crate::genesis_file;
use crate::output::{Failure, Paint};
use crate::trust::{Checkpoint, DAY_MS, DEFAULT_TRUST_DAYS, now_ms};
use anyhow::Context as _;
use protocol::genesis::Genesis;
use protocol::light::Window;
use protocol::proof::{MAX_PROOF_BYTES, Proved, Trust, verify};
use serde_json::{Value, json};
use std::io::Read as _;
use std::path::PathBuf;

/// Arguments of `tributary verify`.
#[derive(Debug, clap::Args)]
pub(super) struct Verify {
    /// The proof file
    proof: PathBuf,
    /// The genesis of the network that it is of
    #[arg(long, value_name = "FILE")]
    genesis: PathBuf,
    /// A block (HEIGHT:HASH) that somebody you believe told you, to be trusted instead of the genesis
    #[arg(long, value_name = "HEIGHT:HASH")]
    trust: Option<Checkpoint>,
    /// Days for which what is trusted may be built on: fewer than validators' stake stays bound. For the genesis there is
    /// no bound unless this is given
    #[arg(long, value_name = "DAYS")]
    trust_days: Option<u64>,
}

impl Verify {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        let genesis = genesis_file::read(&self.genesis)?;
        let file = std::fs::File::open(&self.proof);
        let file = file.with_context(|| format!("the proof {} cannot be opened", self.proof.display()))?;
        let mut bytes = Vec::new();
        // One byte more than a proof may have, to see that there is more.
        let read = file.take(MAX_PROOF_BYTES as u64 + 1).read_to_end(&mut bytes);
        read.with_context(|| format!("the proof {} cannot be read", self.proof.display()))?;
        let days = self.trust_days.or(self.trust.map(|_| DEFAULT_TRUST_DAYS));
        let period_ms = days.map_or(Window::FOREVER, |days| days.saturating_mul(DAY_MS));
        let trust = Trust {
            genesis: &genesis,
            checkpoint: self.trust.map(|trust| (trust.height, trust.block)),
            window: Window { now_ms: now_ms(), period_ms },
        };
        let proved = verify(&bytes, &trust).map_err(|error| {
            let hint = match error.as_str() {
                "expired" => "ask somebody you believe for a younger block, and for a proof with `--trust HEIGHT`",
                "trust" => "the proof begins elsewhere: `tributary proof RECEIPT --trust HEIGHT` makes one that fits",
                "malformed" => "is this the right file? `tributary proof RECEIPT --out FILE` writes a proof",
                _ => "do not believe it: ask another node for a proof",
            };
            Failure::new(error.as_str(), error.to_string()).hint(hint)
        })?;
        // Headers could have been made up by whoever holds the first validators' keys, long after these gave up.
        let age = now_ms().saturating_sub(genesis.time_ms) / DAY_MS;
        let old = self.trust.is_none() && age > DEFAULT_TRUST_DAYS;
        let note = old.then(|| {
            format!(
                "the genesis is {age} days old: this holds if its validators' keys are still in honest hands; \
                 --trust HEIGHT:HASH needs no such faith"
            )
        });
        let mut shown = as_json(&proved, note.as_deref());
        shown["network"] = genesis.network.clone().into();
        shown["genesis"] = genesis.hash().to_string().into();
        context.out.print(&shown, |paint| as_text(&proved, &genesis, note.as_deref(), paint))
    }
}

fn passage(proved: &Proved, index: usize) -> &str {
    let passage = &proved.settlement.spans[index];
    proved.receipt.output.get(passage.start as usize..passage.end as usize).unwrap_or_default()
}

fn as_json(proved: &Proved, note: Option<&str>) -> Value {
    let lines = proved.settlement.lines.iter().map(|line| {
        json!({
            "role": line.role.as_str(),
            "account": line.account.map(|account| account.to_string()),
            "contribution": line.contribution.map(|id| id.to_string()),
            "drops": line.amount.to_string(),
        })
    });
    let passages = proved.settlement.spans.iter().enumerate().map(|(index, span)| {
        let contribution = proved.contributions.get(&span.contribution);
        json!({
            "text": passage(proved, index),
            "contribution": span.contribution.to_string(),
            "credit": contribution.map(|contribution| contribution.credit.clone()),
            "document": contribution
                .and_then(|contribution| contribution.documents.get(span.document as usize))
                .map(|document| document.title.clone()),
            "offset": proved.passages[index].offset,
            "there": proved.passages[index].text,
        })
    });
    json!({
        "valid": true,
        "receipt": proved.id.to_string(),
        "fee_drops": proved.receipt.fee.to_string(),
        "height": proved.height,
        "settled_height": proved.settlement.height,
        "signed_power": proved.power.0,
        "total_power": proved.power.1,
        "trusted_height": proved.trusted,
        "light_blocks": proved.light.0,
        "light_bytes": proved.light.1,
        "note": note,
        "lines": lines.collect::<Vec<_>>(),
        "passages": passages.collect::<Vec<_>>(),
    })
}

fn as_text(proved: &Proved, genesis: &Genesis, note: Option<&str>, paint: Paint) -> String {
    let (signed, all) = proved.power;
    let mut text = format!("{}\n", paint.good("The proof holds."));
    text += &paint.fields(&[
        // Whoever was given the genesis file with the proof has only this to compare with what others know.
        ("network", format!("{}, genesis {}", genesis.network, genesis.hash())),
        ("receipt", proved.id.to_string()),
        ("fee", format!("{} drops, divided in epoch {}", proved.receipt.fee, proved.settlement.height)),
        ("agreed", format!("in the ledger of epoch {}, signed by {signed} of {all} power", proved.height)),
        (
            "trust",
            match proved.trusted {
                0 => format!("from the genesis by {} headers, {} bytes", proved.light.0, proved.light.1),
                height => format!("from epoch {height} by {} headers, {} bytes", proved.light.0, proved.light.1),
            },
        ),
        (
            "answer",
            format!("{} of {} words are paid for", proved.settlement.covered_words, proved.settlement.total_words),
        ),
    ]);
    if let Some(note) = note {
        text += &format!("\n{}\n", paint.dim(note));
    }
    for (index, span) in proved.settlement.spans.iter().enumerate() {
        let contribution = proved.contributions.get(&span.contribution);
        let credit = contribution.map_or("", |contribution| contribution.credit.as_str());
        text += &format!(
            "\n  {} {}",
            paint.bold(credit),
            paint.dim(format!("wrote, at byte {}:", proved.passages[index].offset))
        );
        text += &format!("\n    {}", proved.passages[index].text.replace('\n', "\n    "));
    }
    text += "\n\n";
    let rows: Vec<Vec<String>> = proved
        .settlement
        .lines
        .iter()
        .map(|line| {
            let credit =
                line.contribution.and_then(|id| proved.contributions.get(&id)).map(|found| found.credit.clone());
            let account = line.account.map(|account| account.to_string()).unwrap_or_default();
            vec![line.role.as_str().to_owned(), line.amount.to_string(), credit.unwrap_or_default(), account]
        })
        .collect();
    text + &paint.table(&["for", "drops", "credit", "account"], &rows)
}
