//! From agreed evidence to payouts: how a receipt's fee is divided, to the drop.
//!
//! Rules:
//!
//! - When the evidence of all DataNets of a receipt's model is there, it is merged and attributed as one.
//! - The fee is divided by the network's split, by largest remainder, as is every amount below.
//! - **Data**: the part of the answer's covered words goes to the contributions that hold them, by bits beyond chance,
//!   under the cap. The rest is the **base** dividend, to the model's DataNets by their weights.
//! - **Influence** claims the whole answer. A server whose solution does not solve is not paid: its part is base dividend
//!   as well, and it forfeits what it answers with.
//! - **Model**: the oldest base takes its reserve, each younger one its reserve of what is left, the model the rest. So
//!   nobody can promise away what those before him reserved.
//! - **Validators**: those that revealed the agreed root, each with its power once for every DataNet it did so in.
//! - **Treasury**: its own part, at once, and what has no other taker.
//! - Base dividends of a block are divided among each DataNet's contributors by their bytes in active manifests.
//! - All payouts but the treasury's are pending for the dispute window.

use super::event::Event;
use super::keys;
use super::records::*;
use super::run::Run;
use super::view::{Read, decode};
use crate::crypto::document_hash;
use crate::evidence::{Answer, Attribution, Evidence, PaidSpan, Span, attribute, divide, divide_capped, fold_answer};
use crate::fold::Folded;
use crate::genesis::{Params, WHOLE_BP};
use crate::ids::{Account, ContributionId, DataNetId, ModelId, ReceiptId};
use crate::limits::MAX_BASE_DEPTH;
use crate::objects::Drops;
use std::collections::BTreeMap;

/// All that decides how a fee is divided.
#[derive(Clone, Debug)]
pub struct Division<'a> {
    /// The fee.
    pub fee: Drops,
    /// The parameters in force.
    pub params: &'a Params,
    /// What the answer owes to whom.
    pub attribution: &'a Attribution,
    /// The DataNet and the payee of each contribution that is owed anything.
    pub payees: &'a BTreeMap<ContributionId, (DataNetId, Account)>,
    /// The model's DataNets by weight.
    pub lineage: &'a [(DataNetId, u32)],
    /// The model and what it was made from, youngest first: id, builder, reserve in basis points.
    pub models: &'a [(ModelId, Account, u32)],
    /// Who served; none where the server's solution was refused.
    pub server: Option<Account>,
    /// Accounts of validators, by power.
    pub validators: &'a [(Account, u64)],
}

impl Division<'_> {
    /// The payouts. They add up to the fee: what cannot be divided, for want of anybody to give it to, is the treasury's.
    pub fn lines(&self) -> Vec<Line> {
        let split = &self.params.split;
        let parts = [
            (Role::Data, split.data_bp),
            (Role::Model, split.model_bp),
            (Role::Serving, split.serving_bp),
            (Role::Validators, split.validators_bp),
            (Role::Treasury, split.treasury_bp),
        ];
        let (mut lines, mut base) = (Vec::new(), 0);
        for (role, amount) in divide(self.fee.0, &parts).unwrap_or_default() {
            match role {
                Role::Data | Role::Base => base += self.data_lines(amount, &mut lines),
                Role::Model => self.model_lines(amount, &mut lines),
                Role::Serving => match self.server {
                    Some(server) => lines.push(Line { account: Some(server), ..Line::of(Role::Serving, amount) }),
                    None => base += amount,
                },
                Role::Validators => self.validator_lines(amount, &mut lines),
                Role::Treasury => {}
            }
        }
        for (datanet, amount) in divide(base, self.lineage).unwrap_or_default() {
            lines.push(Line { datanet: Some(datanet), ..Line::of(Role::Base, amount) });
        }
        lines.retain(|line| line.amount > Drops::ZERO);
        let given: u128 = lines.iter().map(|line| line.amount.0).sum();
        if self.fee.0 > given {
            lines.push(Line::of(Role::Treasury, self.fee.0 - given));
        }
        lines
    }

    /// The lines of what is claimed. What is not goes to the base dividend.
    fn data_lines(&self, amount: u128, lines: &mut Vec<Line>) -> u128 {
        let covered = self.attribution.covered_words;
        let uncovered = self.attribution.total_words.saturating_sub(covered);
        // An answer without words claims nothing.
        let parts = divide(amount, &[(true, covered), (false, uncovered)]).unwrap_or(vec![(false, amount)]);
        let of = |claimed: bool| parts.iter().filter(|part| part.0 == claimed).map(|part| part.1).sum();
        let weights: Vec<(ContributionId, u128)> =
            self.attribution.by_contribution.iter().map(|(id, weight)| (*id, *weight)).collect();
        for (contribution, amount) in divide_capped(of(true), &weights, self.params.share_cap_bp).unwrap_or_default() {
            let Some((datanet, account)) = self.payees.get(&contribution).copied() else { continue };
            lines.push(Line {
                account: Some(account),
                datanet: Some(datanet),
                contribution: Some(contribution),
                ..Line::of(Role::Data, amount)
            });
        }
        of(false)
    }

    fn model_lines(&self, amount: u128, lines: &mut Vec<Line>) {
        let mut rest = amount;
        for (index, (model, builder, reserve_bp)) in self.models.iter().enumerate().rev() {
            // The youngest is the model itself: what its elders leave is its own.
            let kept = if index == 0 { WHOLE_BP } else { (*reserve_bp).min(WHOLE_BP) };
            let parts = divide(rest, &[(true, kept), (false, WHOLE_BP - kept)]).unwrap_or_default();
            let amount = parts.iter().filter(|part| part.0).map(|part| part.1).sum();
            rest -= amount;
            lines.push(Line { account: Some(*builder), model: Some(*model), ..Line::of(Role::Model, amount) });
        }
    }

    fn validator_lines(&self, amount: u128, lines: &mut Vec<Line>) {
        for (account, amount) in divide(amount, self.validators).unwrap_or_default() {
            lines.push(Line { account: Some(account), ..Line::of(Role::Validators, amount) });
        }
    }
}

/// The parts of an answer that are paid, as they stand in its record.
pub(crate) fn passages(folded: &Folded, attribution: &Attribution) -> Vec<PaidPassage> {
    let passage = |paid: &PaidSpan| {
        let Span { start, end, holder } = paid.span;
        // Every word comes from somewhere. An answer is far shorter than 2^32 bytes.
        let original = folded.original(start as usize..end as usize).unwrap_or_default();
        let narrow = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        PaidPassage {
            start: narrow(original.start),
            end: narrow(original.end),
            contribution: holder.contribution,
            document: holder.document,
            offset: holder.offset,
            length: end - start,
            bits_q16: paid.bits_q16,
        }
    };
    attribution.paid.iter().map(passage).collect()
}

impl Line {
    /// A line that names nobody yet.
    fn of(role: Role, amount: u128) -> Self {
        Self { role, account: None, datanet: None, contribution: None, model: None, amount: Drops(amount) }
    }
}

impl Run<'_> {
    /// One DataNet's evidence for a receipt is agreed on. With the last one, the receipt is settled.
    pub(super) fn take_evidence(&mut self, id: ReceiptId, datanet: &DataNetId, evidence: Evidence) {
        let Some(mut record) = self.view.receipt(&id) else { return };
        let ReceiptState::Sealed { open } = record.state else { return };
        if open > 1 {
            record.state = ReceiptState::Sealed { open: open - 1 };
            self.view.put(keys::receipt(&id), &record);
            self.view.put(keys::part(&id, datanet), &evidence);
            return;
        }
        let parts: Vec<Evidence> =
            self.view.scan(&keys::parts(&id)).into_iter().map(|(key, value)| decode(key, value)).collect();
        let text = self.view.answer(&id).unwrap_or_default();
        // A sealed receipt has its answer, and that was short enough to be sealed.
        let Ok(folded) = fold_answer(&text) else { return };
        let Ok(answer) = Answer::of(&folded) else { return };
        // Parts are each of their own DataNet, so they cannot disagree; if one did, it would not count.
        let merge = |merged: Evidence, part: &Evidence| merged.clone().merge(&answer, part).unwrap_or(merged);
        let evidence = parts.iter().fold(evidence, merge);
        let attribution = attribute(&answer, &evidence);
        self.settle_receipt(id, record, &evidence, &attribution, passages(&folded, &attribution));
    }

    fn settle_receipt(
        &mut self,
        id: ReceiptId,
        mut record: ReceiptRecord,
        evidence: &Evidence,
        attribution: &Attribution,
        spans: Vec<PaidPassage>,
    ) {
        let refused = evidence.influence.refused;
        let lines = self.lines(&record, attribution, refused);
        if refused {
            self.forfeit(&id);
        }
        self.release_fee(record.fee);
        self.pay(&lines);
        record.state = ReceiptState::Settled(Settlement {
            height: self.ctx.height,
            evidence: document_hash(&evidence.to_bytes()),
            covered_words: attribution.covered_words,
            total_words: attribution.total_words,
            spans,
            lines,
        });
        self.view.put(keys::receipt(&id), &record);
        self.forget_answer(&id);
        self.events.push(Event::Settled { receipt: id });
    }

    fn lines(&self, record: &ReceiptRecord, attribution: &Attribution, refused: bool) -> Vec<Line> {
        let payee =
            |id: &ContributionId| self.view.admission(id).map(|found| (*id, (found.datanet, found.contributor)));
        let payees = attribution.by_contribution.keys().filter_map(payee).collect();
        let mut models = Vec::new();
        let mut next = Some(record.model);
        while let Some((id, model)) = next.and_then(|id| self.view.model(&id).map(|model| (id, model))) {
            next = model.base.filter(|_| models.len() < MAX_BASE_DEPTH);
            models.push((id, model));
        }
        let sources = models.first().map(|(_, model)| model.lineage.as_slice()).unwrap_or_default();
        let lineage: Vec<(DataNetId, u32)> = sources.iter().map(|source| (source.datanet, source.weight)).collect();
        let models: Vec<(ModelId, Account, u32)> =
            models.iter().map(|(id, model)| (*id, model.builder, model.reserve_bp)).collect();
        Division {
            fee: record.fee,
            params: &self.ctx.params,
            attribution,
            payees: &payees,
            lineage: &lineage,
            models: &models,
            server: (!refused).then_some(record.server),
            validators: &self.agreed_power(record.epoch, &lineage),
        }
        .lines()
    }

    /// The payout accounts of validators that agreed on these DataNets, with their powers over all of them.
    fn agreed_power(&self, epoch: u64, lineage: &[(DataNetId, u32)]) -> Vec<(Account, u64)> {
        let mut powers: BTreeMap<Account, u64> = BTreeMap::new();
        for (datanet, _) in lineage {
            let agreed = self.view.record::<AgreedRecord>(&keys::agreed(epoch, datanet));
            for (payout, power) in agreed.map(|agreed| agreed.validators).unwrap_or_default() {
                let together = powers.entry(payout).or_default();
                *together = together.saturating_add(power);
            }
        }
        powers.into_iter().collect()
    }

    /// Hands out a receipt's payouts: the treasury's at once, the others with the block's.
    fn pay(&mut self, lines: &[Line]) {
        for line in lines {
            match (line.account, line.datanet) {
                (Some(account), _) => *self.payouts.entry(account).or_default() += line.amount.0,
                (None, Some(datanet)) => *self.dividends.entry(datanet).or_default() += line.amount.0,
                (None, None) => self.fund_treasury(line.amount),
            }
        }
    }

    /// At a block's end: divides its base dividends among each DataNet's contributors.
    pub(super) fn divide_dividends(&mut self) {
        for (datanet, amount) in std::mem::take(&mut self.dividends) {
            let weights: Vec<(Account, u64)> = self.view.contributors(&datanet).into_iter().collect();
            let mut parts: Vec<(Account, Drops)> = Vec::new();
            for (account, part) in divide(amount, &weights).unwrap_or_default() {
                if part > 0 {
                    parts.push((account, Drops(part)));
                    *self.payouts.entry(account).or_default() += part;
                }
            }
            // Every active manifest has bytes of somebody, so there always is somebody; if not, nothing is lost.
            if parts.is_empty() {
                self.fund_treasury(Drops(amount));
            }
            let record = DividendRecord { amount: Drops(amount), parts };
            self.view.put(keys::dividend(self.ctx.height, &datanet), &record);
        }
    }
}
