//! What must hold at the end, asked from outside: through every node's API and the command line.

use super::Trial;
use super::faults::ROTATION_OPERATIONS;
use super::load::WRITERS;
use super::net::command;
use anyhow::Context as _;
use daemon::api::types::ValidatorShown;
use protocol::ids::Account;
use protocol::objects::Drops;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

/// Settled receipts whose proofs are checked offline by the program.
const PROOFS: usize = 3;
/// Kinds of objects that cost the network's fee each, beside operations.
const PAID: [&str; 4] = ["datanet", "contribution", "manifest", "model"];
/// States in which a receipt's money has arrived.
const FINAL: [&str; 3] = ["settled", "available", "refunded"];

impl Trial<'_> {
    /// Everything, once the load has ended and all nodes run.
    pub(super) fn check_all(&mut self, program: &Path) -> anyhow::Result<()> {
        self.load.check()?;
        let promises = self.load.promises();
        let all: Vec<usize> = (0..self.net.nodes()).collect();
        self.net.until("all that waited is decided", |net| {
            let pools: Vec<u64> = all.iter().map(|i| Ok(net.api(*i)?.status()?.pool)).collect::<anyhow::Result<_>>()?;
            Ok(pools.iter().all(|pool| *pool == 0).then_some(()))
        })?;
        let decided = self.same_chain()?;
        for promise in &promises {
            let (id, by) = (&promise.id, self.net.devnet.name(promise.by));
            anyhow::ensure!(decided.contains(id), "{id}, which {by} acknowledged, is in no block");
        }
        self.report.decided = decided.len() as u64;
        let receipts: Vec<&str> =
            promises.iter().filter(|promise| promise.is_receipt).map(|promise| promise.id.as_str()).collect();
        self.check_money(&receipts, &decided)?;
        self.check_command_line(program, &receipts)?;
        self.observer.check()?;
        Ok(())
    }

    /// Every node has the same blocks, state roots and objects, each decided by more than two thirds of all power, with
    /// times that rise. Gives the ids of all decided objects.
    fn same_chain(&mut self) -> anyhow::Result<BTreeSet<String>> {
        let nodes = self.net.nodes();
        let heights: Vec<u64> = (0..nodes).map(|i| self.net.height(i)).collect::<anyhow::Result<_>>()?;
        let height = heights.into_iter().min().context("no node")?;
        let (mut ids, mut time_ms, mut parent) = (BTreeSet::new(), 0, Value::Null);
        for each in 1..=height {
            let epoch =
                |i: usize| -> anyhow::Result<Value> { Ok(self.net.api(i)?.get(&format!("/v1/epochs/{each}"))?) };
            let first = epoch(0)?;
            for i in 1..nodes {
                let other = epoch(i)?;
                for field in ["block", "state_root", "ids", "time_ms", "proposer"] {
                    let (a, b) = (&first[field], &other[field]);
                    anyhow::ensure!(a == b, "height {each}: node0 has {field} {a}, node{i} has {b}");
                }
                check_certificate(&other)?;
            }
            check_certificate(&first)?;
            anyhow::ensure!(each == 1 || first["parent"] == parent, "height {each} is not built on the one before");
            let time = first["time_ms"].as_u64().context("a block's time")?;
            anyhow::ensure!(time > time_ms, "height {each} is not later than the one before");
            (time_ms, parent) = (time, first["block"].clone());
            for id in first["ids"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                anyhow::ensure!(ids.insert(id.to_owned()), "{id} is decided twice, again at height {each}");
            }
            self.paid_objects += PAID.iter().filter_map(|kind| first["objects"][*kind].as_u64()).sum::<u64>();
            self.report.later_rounds += u64::from(first["round"].as_u64().unwrap_or(0) > 0);
        }
        self.report.epochs = height;
        Ok(ids)
    }

    /// Supply = what all accounts have + what the treasury was paid, at every node: by the receipts' own lines and by
    /// counting what costs a fee, not by the ledger's own audit.
    fn check_money(&mut self, receipts: &[&str], decided: &BTreeSet<String>) -> anyhow::Result<()> {
        let last = receipts.last().copied();
        self.net.until("every receipt settled or refunded", |net| {
            let Some(last) = last else { return Ok(Some(())) };
            // In order, so the last is the last to be settled; all are looked at below.
            let shown: Value = net.api(0)?.get(&format!("/v1/receipts/{last}"))?;
            Ok(FINAL.iter().any(|state| shown["state"] == *state).then_some(()))
        })?;
        let mut treasury = 0_u128;
        for id in receipts.iter().filter(|id| decided.contains(**id)) {
            let shown = self.net.until(format!("receipt {id} settled or refunded"), |net| {
                let shown: Value = net.api(0)?.get(&format!("/v1/receipts/{id}"))?;
                Ok(FINAL.iter().any(|state| shown["state"] == *state).then_some(shown))
            })?;
            *self
                .report
                .receipts
                .entry(if shown["state"] == "refunded" { "refunded" } else { "settled" })
                .or_default() += 1;
            let lines = shown["lines"].as_array().map(Vec::as_slice).unwrap_or_default();
            let of_treasury = lines.iter().filter(|line| line["role"] == "treasury");
            treasury += of_treasury.map(|line| drops(&line["drops"])).sum::<anyhow::Result<u128>>()?;
            let sum = lines.iter().map(|line| drops(&line["drops"])).sum::<anyhow::Result<u128>>()?;
            let fee = if shown["state"] == "refunded" { 0 } else { drops(&shown["fee"])? };
            anyhow::ensure!(sum == fee, "receipt {id} cost {fee} drops and gave {sum}");
        }
        let supply: u128 = self.net.genesis.accounts.iter().map(|(_, amount)| amount.0).sum();
        // All that anybody is paid to here.
        let mut accounts: BTreeSet<Account> = self.net.genesis.accounts.iter().map(|(account, _)| *account).collect();
        accounts.extend(self.net.genesis.validators.iter().flat_map(|validator| [validator.payout, validator.key]));
        let writers: BTreeSet<Account> = WRITERS.iter().map(|name| self.net.key(name).account()).collect();
        let net = &*self.net;
        let voting = |i: usize| (0..=net.rotated[i]).map(move |n| net.voting_seed(i, n).secret_key().account());
        accounts.extend((0..net.nodes()).flat_map(voting));
        // Validators' other operations are free.
        let rotations = ROTATION_OPERATIONS * net.rotated.iter().sum::<u64>();
        let power: u64 = self.net.genesis.validators.iter().map(|validator| validator.power).sum();
        let supply = supply + self.net.genesis.params.stake.bond_of(power).0;
        for i in 0..self.net.nodes() {
            // Between two questions a payout may come due, but money does not go from one account to another any more.
            let mut held = self.net.until("every withdrawn stake paid", |net| {
                let all: Vec<ValidatorShown> = net.api(i)?.get("/v1/validators")?;
                let staked = all.iter().map(|validator| Ok(validator.bond.parse::<u128>()?));
                let staked = staked.sum::<anyhow::Result<u128>>()?;
                Ok(all.iter().all(|validator| validator.unbonding == "0").then_some(staked))
            })?;
            let mut operations = rotations;
            for account in &accounts {
                let shown: Value = self.net.api(i)?.get(&format!("/v1/accounts/{account}"))?;
                held += drops(&shown["available"])? + drops(&shown["pending"])?;
                if writers.contains(account) {
                    operations += shown["nonce"].as_u64().context("a nonce")?;
                }
            }
            let paid = treasury + u128::from(operations + self.paid_objects) * self.net.genesis.params.object_fee.0;
            let name = self.net.devnet.name(i);
            anyhow::ensure!(
                held + paid == supply,
                "{name}: accounts and bonds hold {held} drops and the treasury was paid {paid}, together not the supply \
                 {supply}"
            );
        }
        self.report.supply_credits = (supply / Drops::CREDIT.0).to_string();
        Ok(())
    }

    /// The command line says the same, and proofs made by any node hold offline against the genesis alone.
    fn check_command_line(&mut self, program: &Path, receipts: &[&str]) -> anyhow::Result<()> {
        let genesis = self.net.devnet.genesis_path();
        for i in 0..self.net.nodes() {
            let shown = command(program, self.net.devnet.home(i), &["status"])?;
            anyhow::ensure!(shown["genesis"] == self.net.hash.to_string(), "{shown}");
            let height = shown["height"].as_u64().context("a height")?;
            anyhow::ensure!(height >= self.report.epochs, "node{i} went back to {height}: {shown}");
        }
        let state = |id: &str| -> anyhow::Result<Value> { Ok(self.net.api(0)?.get(&format!("/v1/receipts/{id}"))?) };
        let mut proved = 0;
        for (id, i) in receipts.iter().rev().zip((0..self.net.nodes()).cycle()) {
            if proved == PROOFS {
                break;
            }
            if state(id)?["state"] == "refunded" {
                continue;
            }
            let proof = self.net.devnet.dir().join(format!("{id}.proof"));
            let words = proof.to_str().context("a path")?;
            let written = command(program, self.net.devnet.home(i), &["proof", id, "--out", words])?;
            let bytes = written["bytes"].as_u64().context("a number of bytes")?;
            self.report.proof_bytes = self.report.proof_bytes.max(bytes);
            let genesis = genesis.to_str().context("a path")?;
            let shown = command(program, self.net.devnet.dir(), &["verify", words, "--genesis", genesis])?;
            anyhow::ensure!(shown["valid"] == true && shown["receipt"] == **id, "{shown}");
            let headers = shown["light_blocks"].as_u64().context("a number of headers")?;
            self.report.light_headers = self.report.light_headers.max(headers);
            proved += 1;
        }
        // Where no validator of the genesis is left, nothing can be believed without a set between.
        let replaced = proved > 0 && self.net.rotated.iter().all(|times| *times > 0);
        anyhow::ensure!(!replaced || self.report.light_headers > 1, "proofs hold without the sets that came between");
        Ok(())
    }
}

fn check_certificate(epoch: &Value) -> anyhow::Result<()> {
    let power = |field: &str| epoch[field].as_u64().with_context(|| format!("{field} of {epoch}"));
    let (signed, total) = (power("signed_power")?, power("total_power")?);
    anyhow::ensure!(3 * signed > 2 * total, "height {} was decided by {signed} of {total}", epoch["height"]);
    let signers = epoch["signers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let distinct: BTreeSet<&str> = signers.iter().filter_map(Value::as_str).collect();
    anyhow::ensure!(distinct.len() == signers.len(), "height {} has a signer twice", epoch["height"]);
    Ok(())
}

fn drops(value: &Value) -> anyhow::Result<u128> {
    value.as_str().and_then(|text| text.parse().ok()).with_context(|| format!("{value} is no amount"))
}
