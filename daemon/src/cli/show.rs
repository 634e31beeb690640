//! Views for people: DataNets, versions, models, receipts, answers, earnings, epochs, peers.

use super::Context;
use crate::actions::Remote;
use crate::api::types::{
    ContributionShown, ContributorShown, DataNetDetail, DataNetShown, Earned, EarnedBy, Earnings, EpochShown,
    ExampleShown, Explained, InfluenceShown, LineShown, ManifestShown, ModelShown, Page, PeerShown, ReceiptShown,
    RowsShown, SourceShown, Sums,
};
use crate::output::{Failure, Paint};
use anyhow::Context as _;
use clap::Args;
use protocol::ids::{DataNetId, ReceiptId};
use protocol::objects::Drops;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Access rights of a proof file: it is for everybody.
const PROOF_MODE: u32 = 0o644;

/// An answer with its paid passages marked by contributor, a legend, and the sums. The demo shows it too.
pub fn paint_answer(explained: &Explained, paint: Paint) -> String {
    let number: BTreeMap<&str, usize> =
        explained.contributions.iter().zip(0..).map(|(share, n)| (share.contribution.as_str(), n)).collect();
    let (mut text, mut at) = (String::new(), 0);
    for span in &explained.spans {
        let (start, end) = (span.start as usize, span.end as usize);
        let n = number.get(span.contribution.as_str()).copied().unwrap_or(0);
        text += explained.output.get(at..start).unwrap_or_default();
        text += &paint.nth(n, format!("[{}: {}]", n + 1, span.text));
        at = end;
    }
    text += explained.output.get(at..).unwrap_or_default();
    text += "\n\n";
    if let Some(influence) = &explained.influence {
        return format!("{}{text}{}", paint.dim(&influence.prompt), paint_influence(explained, influence, paint));
    }
    for (n, share) in explained.contributions.iter().enumerate() {
        let line = format!(
            "[{}] {} ({}): {}, {} bits, {} drops",
            n + 1,
            share.credit,
            share.datanet_name,
            if share.spans == 1 { "1 passage".to_owned() } else { format!("{} passages", share.spans) },
            share.bits,
            share.drops
        );
        text += &format!("{}\n", paint.nth(n, line));
    }
    text += &format!("{} of {} words are nobody's here\n", explained.uncovered_words, explained.total_words);
    text + &paint_sums(&explained.sums)
}

fn paint_sums(sums: &Sums) -> String {
    let Sums { fee, data, base, model, serving, validators, treasury } = sums;
    format!(
        "fee {fee} = data {data} + base {base} + model {model} + serving {serving} + validators {validators} + \
         treasury {treasury}\n"
    )
}

/// What contributions earned by influence, and the training examples that the answer comes from.
fn paint_influence(explained: &Explained, influence: &InfluenceShown, paint: Paint) -> String {
    let mut text = String::new();
    for (n, share) in explained.contributions.iter().enumerate() {
        let line = format!("[{}] {} ({}): {} drops by influence", n + 1, share.credit, share.datanet_name, share.drops);
        text += &format!("{}\n", paint.nth(n, line));
    }
    let number = |example: &ExampleShown| {
        explained.contributions.iter().position(|share| share.contribution == example.contribution)
    };
    let line = |example: &ExampleShown| {
        let part = format!("{:+.2} %", example.parts as f64 / 10_000.0);
        let part = if example.parts > 0 { paint.good(part) } else { paint.bad(part) };
        let credit = number(example).map_or_else(|| example.credit.clone(), |n| paint.nth(n, &example.credit));
        let words: Vec<&str> = example.text.split_whitespace().collect();
        format!("  {part}  {credit}  {}\n", words.join(" "))
    };
    if influence.refused {
        text += "The server's solution does not solve: nobody is paid by influence, and the server forfeits.\n";
    } else if influence.count == 0 {
        text += "This node does not have the model's rows in memory yet; ask again in a moment for the examples.\n";
    } else {
        text += &format!("\n{} of {} examples made the answer likelier:\n", influence.raised_count, influence.count);
        text += &influence.raised.iter().map(line).collect::<String>();
        text +=
            if influence.lowered.is_empty() { "" } else { "\nothers less likely, which takes nothing from anybody:\n" };
        text += &influence.lowered.iter().map(line).collect::<String>();
    }
    text + "\n" + &paint_sums(&explained.sums)
}

/// Drops as credits, for people: `0.0125 cr`.
pub(crate) fn credits(drops: &str) -> String {
    let Ok(drops) = drops.parse::<u128>() else { return drops.to_owned() };
    let part = format!("{:09}", drops % Drops::CREDIT.0);
    let part = part.trim_end_matches('0');
    let point = if part.is_empty() { "" } else { "." };
    format!("{}{point}{part} cr", drops / Drops::CREDIT.0)
}

/// The first digits of an id, enough for people to tell ids in a table apart.
fn short(id: &str) -> String {
    id.chars().take(12).collect()
}

fn remote(context: &Context) -> anyhow::Result<Remote> {
    Ok(Remote::connect(context.client()?)?)
}

pub(super) fn datanets(context: &Context, remote: &Remote) -> anyhow::Result<()> {
    let datanets = remote.datanets()?;
    context.out.print(&datanets, |paint| {
        let row = |datanet: &DataNetShown| {
            let contributors = datanet.contributors.to_string();
            let version = datanet.version.to_string();
            vec![datanet.id.clone(), datanet.name.clone(), datanet.admission.clone(), version, contributors]
        };
        let rows: Vec<_> = datanets.iter().map(row).collect();
        paint.table(&["DataNet", "name", "admission", "version", "contributors"], &rows)
    })
}

/// A DataNet, and what its owner has yet to decide.
#[derive(Debug, Serialize)]
struct DataNetView {
    #[serde(flatten)]
    detail: DataNetDetail,
    pending: Vec<ContributionShown>,
}

/// The contributions that wait for the owner's decision, page by page.
fn pending(remote: &Remote, id: &DataNetId) -> anyhow::Result<Vec<ContributionShown>> {
    let first = format!("/v1/contributions?datanet={id}&state=pending&limit=1000");
    let (mut found, mut path) = (Vec::new(), first.clone());
    loop {
        let page: Page<ContributionShown> = remote.client().get(&path)?;
        found.extend(page.items);
        match page.next.map(|next| format!("{first}&after={next}")) {
            Some(next) if next != path => path = next,
            _ => return Ok(found),
        }
    }
}

fn pending_text(pending: &[ContributionShown], paint: Paint) -> String {
    if pending.is_empty() {
        return String::new();
    }
    let row = |one: &ContributionShown| {
        vec![one.id.clone(), one.credit.clone(), one.title.clone(), one.licence.clone(), one.bytes.to_string()]
    };
    let rows: Vec<_> = pending.iter().map(row).collect();
    format!(
        "\n{}\n\nthe owner decides: tributary approve ID --key NAME, or tributary reject ID --reason WHY --key NAME\n",
        paint.table(&["pending contribution", "credit", "title", "licence", "bytes"], &rows)
    )
}

pub(super) fn datanet(context: &Context, remote: &Remote, id: &DataNetId) -> anyhow::Result<()> {
    let detail = remote.datanet(id)?;
    let pending = if detail.contributions.pending == 0 { Vec::new() } else { pending(remote, id)? };
    let view = DataNetView { detail, pending };
    context.out.print(&view, |paint| {
        let detail = &view.detail;
        let (datanet, counts) = (&detail.datanet, &detail.contributions);
        let mut text = paint.fields(&[
            ("DataNet", format!("{} {}", paint.bold(&datanet.name), datanet.id)),
            ("owner", datanet.owner.clone()),
            ("holds", datanet.description.clone()),
            ("admission", format!("{}, accepts {}", datanet.admission, datanet.licences.join(", "))),
            (
                "contributions",
                format!(
                    "{} admitted ({} in no version yet), {} pending, {} rejected",
                    counts.admitted, counts.unpublished, counts.pending, counts.rejected
                ),
            ),
        ]);
        let row = |one: &ContributorShown| vec![one.names.join(", "), one.bytes.to_string(), one.account.clone()];
        let rows: Vec<_> = detail.contributors.iter().map(row).collect();
        text += &format!(
            "\n{}\n\n{}\n",
            paint.table(&["contributor", "bytes", "account"], &rows),
            versions(&detail.versions, paint)
        );
        text += &pending_text(&view.pending, paint);
        text
    })
}

fn versions(manifests: &[ManifestShown], paint: Paint) -> String {
    let row = |manifest: &ManifestShown| {
        vec![
            manifest.version.to_string(),
            manifest.state.clone(),
            manifest.from.map(|from| from.to_string()).unwrap_or_default(),
            manifest.documents.to_string(),
            manifest.bytes.to_string(),
            manifest.id.clone(),
        ]
    };
    let rows: Vec<_> = manifests.iter().map(row).collect();
    paint.table(&["version", "state", "from epoch", "documents", "bytes", "manifest"], &rows)
}

pub(super) fn manifests(context: &Context, manifests: &[ManifestShown]) -> anyhow::Result<()> {
    context.out.print(&manifests, |paint| versions(manifests, paint))
}

pub(super) fn manifest(context: &Context, manifest: &ManifestShown) -> anyhow::Result<()> {
    context.out.print(manifest, |paint| {
        let from = manifest.from.map(|from| format!(" from epoch {from} on")).unwrap_or_default();
        paint.fields(&[
            ("manifest", paint.bold(&manifest.id)),
            ("DataNet", format!("{} version {}", manifest.datanet, manifest.version)),
            ("state", format!("{}{from}", manifest.state)),
            ("holds", format!("{} documents, {} bytes", manifest.documents, manifest.bytes)),
            ("adds", format!("{} contributions", manifest.added.len())),
            ("attested", format!("by a power of {} of {}", manifest.attested_power, manifest.total_power)),
            ("served by", manifest.host.clone()),
        ])
    })
}

pub(super) fn models(context: &Context, models: &[ModelShown]) -> anyhow::Result<()> {
    context.out.print(&models, |paint| {
        let row = |model: &ModelShown| {
            let sources: Vec<&str> = model.lineage.iter().map(|source| source.name.as_str()).collect();
            vec![model.id.clone(), model.name.clone(), credits(&model.price_out), sources.join(", ")]
        };
        let rows: Vec<_> = models.iter().map(row).collect();
        paint.table(&["model", "name", "1000 tokens out", "made from"], &rows)
    })
}

pub(super) fn model(context: &Context, model: &ModelShown) -> anyhow::Result<()> {
    context.out.print(model, |paint| {
        let source = |source: &SourceShown| format!("{} ({}, weight {})", source.name, source.manifest, source.weight);
        let sources: Vec<String> = model.lineage.iter().map(source).collect();
        let mut fields = vec![
            ("model", format!("{} {}", paint.bold(&model.name), model.id)),
            ("builder", model.builder.clone()),
            ("weights", model.weights.clone()),
            ("made from", sources.join(", ")),
            ("base", model.base.clone().unwrap_or_else(|| "none".to_owned())),
            ("price", format!("{} in, {} out, per 1000 tokens", credits(&model.price_in), credits(&model.price_out))),
            ("attributed", format!("by {}", model.method)),
        ];
        if let Some(rows) = &model.rows {
            fields.push(("rows", rows_text(rows)));
        }
        paint.fields(&fields)
    })
}

/// How far the rows of a model by influence are.
fn rows_text(rows: &RowsShown) -> String {
    let mut text = rows.state.clone();
    if let Some(since) = rows.since {
        text += &format!(" since epoch {since}");
    }
    match &rows.offer {
        Some(offer) => {
            text += &format!(": {} and {} Fisher rows of {} entries", offer.rows, offer.fisher_rows, offer.dimension);
        }
        None if rows.seed.is_none() => text += ": its seed is drawn in the epoch after its registration",
        None => text += ": `tributary influence build` makes and offers them",
    }
    format!("{text}; attested by {}, refuted by {}", rows.attested.len(), rows.refuted.len())
}

/// Newest first: those that no epoch has sealed yet, then by epoch.
pub(super) fn receipts(context: &Context, mut receipts: Vec<ReceiptShown>) -> anyhow::Result<()> {
    receipts.sort_by_key(|receipt| std::cmp::Reverse(receipt.epoch.unwrap_or(u64::MAX)));
    context.out.print(&receipts, |paint| {
        let row = |receipt: &ReceiptShown| {
            let epoch = receipt.epoch.map(|epoch| epoch.to_string()).unwrap_or_default();
            vec![receipt.id.clone(), epoch, receipt.state.clone(), credits(&receipt.fee), short(&receipt.model)]
        };
        let rows: Vec<_> = receipts.iter().map(row).collect();
        paint.table(&["receipt", "epoch", "state", "fee", "model"], &rows)
    })
}

pub(super) fn receipt(context: &Context, receipt: &ReceiptShown) -> anyhow::Result<()> {
    context.out.print(receipt, |paint| {
        let mut text = paint.fields(&[
            ("receipt", paint.bold(&receipt.id)),
            ("state", state_of(receipt)),
            ("payer", receipt.payer.clone()),
            ("server", receipt.server.clone()),
            ("model", receipt.model.clone()),
            ("tokens", format!("{} in, {} out", receipt.tokens_in, receipt.tokens_out)),
            ("fee", format!("{} ({} drops)", credits(&receipt.fee), receipt.fee)),
        ]);
        if !receipt.lines.is_empty() {
            let row = |line: &LineShown| {
                let to =
                    line.name.clone().or_else(|| line.account.clone()).unwrap_or_else(|| match line.role.as_str() {
                        "base" => "its contributors, by bytes".to_owned(),
                        _ => "the treasury".to_owned(),
                    });
                vec![line.role.clone(), line.drops.clone(), to, line.datanet_name.clone().unwrap_or_default()]
            };
            let rows: Vec<_> = receipt.lines.iter().map(row).collect();
            text += &format!("\n{}", paint.table(&["for", "drops", "to", "DataNet"], &rows));
        }
        text
    })
}

/// A receipt's state with its heights.
fn state_of(receipt: &ReceiptShown) -> String {
    let mut text = receipt.state.clone();
    if let Some(epoch) = receipt.epoch {
        text += &format!(", sealed in epoch {epoch}");
    }
    if let (Some(settled), Some(due)) = (receipt.settled_height, receipt.available_height) {
        text += &format!(", settled in {settled}, available from {due}");
    }
    if let (Some(height), Some(reason)) = (receipt.refunded_height, &receipt.refund_reason) {
        text += &format!(" in {height}: {reason}");
    }
    text
}

#[derive(Debug, Args)]
pub(super) struct ExplainCommand {
    /// The receipt
    receipt: ReceiptId,
}

impl ExplainCommand {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        let explained = remote(context)?.explain(&self.receipt)?;
        context.out.print(&explained, |paint| {
            let head = paint.fields(&[
                ("receipt", paint.bold(&explained.receipt.id)),
                ("model", explained.model_name.clone()),
                ("state", state_of(&explained.receipt)),
            ]);
            format!("{head}\n{}", paint_answer(&explained, paint))
        })
    }
}

#[derive(Debug, Args)]
pub(super) struct EarningsCommand {
    /// An address, or the name of a key, to see its balance too; without it, everybody
    account: Option<String>,
}

impl EarningsCommand {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        let remote = remote(context)?;
        match self.account {
            Some(text) => {
                let account = super::objects::account(context, &text)?;
                let (earned, held) = (remote.earned(&account)?, remote.account(&account)?);
                let balance = Balance {
                    available: held.available,
                    pending: held.pending,
                    deposit: held.deposit,
                    locked: held.locked,
                    forfeited: held.forfeited,
                };
                let view = AccountView { balance, earned };
                context.out.print(&view, |paint| account_text(&view, paint))
            }
            None => {
                let earnings = remote.earnings()?;
                context.out.print(&earnings, |paint| earnings_text(&earnings, paint))
            }
        }
    }
}

/// What an account has now, in drops.
#[derive(Debug, Serialize)]
struct Balance {
    available: String,
    pending: String,
    deposit: String,
    locked: String,
    forfeited: String,
}

/// What an account has, and what it earned: two things, since it may also be given money, and spend it.
#[derive(Debug, Serialize)]
struct AccountView {
    balance: Balance,
    #[serde(flatten)]
    earned: Earned,
}

/// What an account put aside to answer for what it serves; empty where it never did.
fn deposit_text(balance: &Balance) -> String {
    let Balance { deposit, locked, forfeited, .. } = balance;
    match deposit == "0" && forfeited == "0" {
        true => String::new(),
        false => format!("{}, {} of it held, {} forfeited", credits(deposit), credits(locked), credits(forfeited)),
    }
}

fn account_text(view: &AccountView, paint: Paint) -> String {
    let AccountView { balance, earned } = view;
    let roles: Vec<String> = earned.by_role.iter().map(|(role, drops)| format!("{role} {}", credits(drops))).collect();
    let mut fields = vec![
        ("account", paint.bold(&earned.account)),
        ("credited as", earned.names.join(", ")),
        ("balance", format!("{} available, {} pending", credits(&balance.available), credits(&balance.pending))),
        ("deposit", deposit_text(balance)),
        ("earned", format!("{} ({} drops) from {} receipts", credits(&earned.earned), earned.earned, earned.receipts)),
    ];
    if earned.earned != "0" {
        fields.push(("of it pending", credits(&earned.pending)));
        fields.push(("of it available", credits(&earned.available)));
    }
    fields.push(("earned for", roles.join(", ")));
    fields.retain(|(_, value)| !value.is_empty());
    let mut text = paint.fields(&fields);
    for (what, parts) in [("DataNet", &earned.by_datanet), ("contribution", &earned.by_contribution)] {
        if !parts.is_empty() {
            let row = |part: &EarnedBy| vec![part.name.clone(), credits(&part.drops), part.id.clone()];
            let rows: Vec<_> = parts.iter().map(row).collect();
            text += &format!("\n{}\n", paint.table(&[what, "earned", "id"], &rows));
        }
    }
    text
}

fn earnings_text(earnings: &Earnings, paint: Paint) -> String {
    let row = |earned: &Earned| {
        let name = if earned.names.is_empty() { "-".to_owned() } else { earned.names.join(", ") };
        let roles: Vec<&str> = earned.by_role.keys().map(String::as_str).collect();
        let sums = [&earned.earned, &earned.pending].map(|drops| credits(drops));
        let [all, pending] = sums;
        vec![name, all, pending, earned.receipts.to_string(), roles.join(", "), earned.account.clone()]
    };
    let rows: Vec<_> = earnings.accounts.iter().map(row).collect();
    let table = paint.table(&["name", "earned", "of it pending", "receipts", "for", "account"], &rows);
    let stopped = if earnings.truncated {
        "\nThere are more receipts than one request counts: the sums are too low."
    } else {
        ""
    };
    format!(
        "{table}\n\nThe treasury had {}. Counted at epoch {}.{stopped}",
        credits(&earnings.treasury),
        earnings.height
    )
}

#[derive(Debug, Args)]
pub(super) struct ProofCommand {
    /// The receipt
    receipt: ReceiptId,
    /// The file to write, which must not exist
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Make it for a reader who trusts the block of this height, instead of the genesis
    #[arg(long, value_name = "HEIGHT")]
    trust: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Written {
    file: String,
    bytes: usize,
}

impl ProofCommand {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        let exists = || {
            Failure::new("exists", format!("{} exists already", self.out.display()))
                .hint("name another file: nothing is overwritten")
        };
        if self.out.exists() {
            return Err(exists().into());
        }
        let spinner = context.out.spinner("waiting for the epoch that signs the proof's state");
        let proof = remote(context).and_then(|remote| Ok(remote.proof(&self.receipt, self.trust)?));
        spinner.finish_and_clear();
        let proof = proof?;
        let written = crate::files::create_new(&self.out, &proof, PROOF_MODE);
        if written.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::AlreadyExists) {
            return Err(exists().into());
        }
        written.with_context(|| format!("cannot write {}", self.out.display()))?;
        let written = Written { file: self.out.display().to_string(), bytes: proof.len() };
        context.out.print(&written, |_| {
            let file = &written.file;
            format!("{} bytes in {file}\ncheck it offline: tributary verify {file} --genesis FILE", written.bytes)
        })
    }
}

#[derive(Debug, Args)]
pub(super) struct EpochsCommand {
    /// How many, up to 100
    #[arg(long, default_value_t = 20)]
    limit: u64,
}

impl EpochsCommand {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        let epochs = remote(context)?.epochs(self.limit)?;
        context.out.print(&epochs, |paint| {
            let row = |epoch: &EpochShown| {
                let objects: Vec<String> =
                    epoch.objects.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
                vec![
                    epoch.height.to_string(),
                    epoch.round.to_string(),
                    format!("{}/{}", epoch.signed_power, epoch.total_power),
                    epoch.settlements.to_string(),
                    objects.join(", "),
                    short(&epoch.block),
                ]
            };
            let rows: Vec<_> = epochs.iter().map(row).collect();
            paint.table(&["epoch", "round", "signed", "settlements", "objects", "block"], &rows)
        })
    }
}

#[derive(Debug, Args)]
pub(super) struct PeersCommand {}

impl PeersCommand {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        let peers = remote(context)?.peers()?;
        context.out.print(&peers, |paint| {
            let row = |peer: &PeerShown| {
                vec![peer.peer.clone(), peer.score.to_string(), peer.strikes.to_string(), peer.addresses.join(", ")]
            };
            let rows: Vec<_> = peers.iter().map(row).collect();
            if rows.is_empty() {
                "no peers".to_owned()
            } else {
                paint.table(&["peer", "score", "strikes", "address"], &rows)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::credits;

    #[test]
    fn drops_are_shown_as_credits() {
        for (drops, shown) in [("0", "0 cr"), ("1", "0.000000001 cr"), ("1500000000", "1.5 cr"), ("2000000000", "2 cr")]
        {
            assert_eq!(credits(drops), shown);
        }
    }
}
