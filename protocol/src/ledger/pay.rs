//! Operations, models and receipts: what moves money into the network.
//!
//! Rules:
//!
//! - An operation pays its fee to the treasury, whatever it does; attesting and leaving jail are free. Operations of one
//!   account follow each other by nonce without gaps, so none is ever carried out twice.
//! - A receipt pays its model's price, exactly and at least `min_receipt_fee` for each DataNet of its lineage, into escrow. Its id
//!   is never accepted again, so it needs no order. A block opens work in a bounded number of DataNets.
//! - A model names active manifests, of each DataNet at most one, so that every receipt can be attributed.
//! - A receipt of a model by influence carries a trace, of as many dimensions as the model's rows, which are active; and its
//!   server answers for it (see `rows`, `serving`).

use super::body::{evidence_bound, evidence_budget};
use super::content::{field, state};
use super::event::Event;
use super::keys;
use super::records::*;
use super::run::{Context, NONCE_WINDOW, Run};
use super::view::Read;
use crate::crypto::document_hash;
use crate::evidence::{Answer, AnswerTooLong, fold_answer};
use crate::genesis::Params;
use crate::ids::{DataNetId, ModelId, ObjectId, ReceiptId};
use crate::limits::{MAX_ANSWER_WORDS, MAX_BASE_DEPTH, MAX_BLOCK_WORKS, MAX_LINEAGE};
use crate::objects::{Action, Drops, LineageEntry, Method, ModelManifest, Operation, Receipt};
use crate::refusal::Refusal;
use std::collections::BTreeSet;

fn unknown(kind: &'static str, id: impl Into<ObjectId>) -> Refusal {
    Refusal::Unknown { kind, id: id.into() }
}

/// The least that a receipt pays for the search of so many DataNets.
fn least_fee(params: &Params, datanets: usize) -> Drops {
    Drops(params.min_receipt_fee.0.saturating_mul(datanets.max(1) as u128))
}

/// In how many DataNets a block may open work: what validators will say of it is half of what a block holds, and the
/// receipts of any model find room.
fn works_limit(ctx: &Context) -> usize {
    let size = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    let members = match size(ctx.params.stake.committee_size) {
        0 => ctx.validators.members().len(),
        size => size.min(ctx.validators.members().len()),
    };
    let said_by_each = 2;
    let works = size(ctx.params.max_block_envelopes) / 2 / (members.max(1) * said_by_each);
    works.clamp(MAX_LINEAGE, MAX_BLOCK_WORKS)
}

impl Run<'_> {
    pub(super) fn operation(&mut self, object: &Operation) -> Result<(), Refusal> {
        let expected = self.view.account(&object.account).nonce;
        let nonce = Refusal::Nonce { account: object.account, expected, got: object.nonce };
        if object.nonce < expected || object.nonce > expected.saturating_add(NONCE_WINDOW) {
            return Err(nonce);
        }
        if !object.action.is_free() && object.fee < self.ctx.params.object_fee {
            return Err(Refusal::Fee { got: object.fee, expected: self.ctx.params.object_fee });
        }
        let spent = object.fee.checked_add(object.action.spends());
        self.debit(&object.account, spent.unwrap_or(Drops(u128::MAX)))?;
        self.fund_treasury(object.fee);
        match &object.action {
            Action::Transfer { to, amount } => {
                self.credit(to, *amount);
                self.events.push(Event::Transferred { from: object.account, to: *to, amount: *amount });
            }
            Action::Attest { manifest } => self.attest(&object.account, *manifest)?,
            Action::Approve { contribution } => self.approve(&object.account, *contribution)?,
            Action::Reject { contribution, reason } => self.reject(&object.account, *contribution, reason)?,
            Action::Bond { amount, payout, name } => self.bond(&object.account, *amount, *payout, name)?,
            Action::Unbond { amount } => self.unbond(&object.account, *amount)?,
            Action::Unjail => self.unjail(&object.account)?,
            Action::OfferRows { model, header, artifact, bytes, host } => {
                let (header, artifact, bytes, host) = ((**header).clone(), *artifact, *bytes, host.clone());
                let offer = RowsOffer { header, artifact, bytes, host, height: self.ctx.height, beacon: None };
                self.offer_rows(&object.account, *model, offer)?;
            }
            Action::AttestRows { model, root } => self.attest_rows(&object.account, *model, *root)?,
            Action::RefuteRows { model, root, row } => self.refute_rows(&object.account, *model, *root, *row)?,
            Action::Deposit { amount } => self.deposit(&object.account, *amount),
            Action::Withdraw { amount } => self.withdraw(&object.account, *amount)?,
            Action::RefuteQuery { receipt } => self.refute_query(&object.account, *receipt)?,
        }
        // Last, so that all else is known to hold of an operation that only has to wait for those before it.
        if object.nonce != expected {
            return Err(nonce);
        }
        let mut record = self.view.account(&object.account);
        record.nonce += 1;
        self.view.put(keys::account(&object.account), &record);
        Ok(())
    }

    pub(super) fn model(&mut self, id: ModelId, object: &ModelManifest) -> Result<(), Refusal> {
        if self.view.model(&id).is_some() {
            return Err(Refusal::Duplicate { id: id.into() });
        }
        let depth = match object.base {
            None => 0,
            Some(base) => self.view.model(&base).ok_or(unknown("model", base))?.depth + 1,
        };
        if u64::from(depth) > MAX_BASE_DEPTH as u64 {
            let limit = MAX_BASE_DEPTH as u64;
            return Err(Refusal::TooMany { what: "models below this one", got: depth.into(), limit });
        }
        let lineage = self.check_lineage(&object.lineage)?;
        self.pay_object_fee(&object.builder)?;
        let record = ModelRecord {
            builder: object.builder,
            name: object.name.clone(),
            weights: object.weights,
            base: object.base,
            depth,
            reserve_bp: object.reserve_bp,
            lineage,
            method: object.method,
            price_in: object.price_in,
            price_out: object.price_out,
            height: self.ctx.height,
            checkpoint: object.checkpoint.clone(),
        };
        self.view.put(keys::model(&id), &record);
        if record.method == Method::Influence {
            self.await_rows(&id);
        }
        self.events.push(Event::ModelRegistered { model: id });
        Ok(())
    }

    fn check_lineage(&self, lineage: &[LineageEntry]) -> Result<Vec<Source>, Refusal> {
        let mut datanets = BTreeSet::new();
        let mut sources = Vec::new();
        for entry in lineage {
            let unknown = unknown("manifest", entry.manifest);
            let Some(record) = self.view.manifest(&entry.manifest) else { return Err(unknown) };
            let status = self.view.manifest_status(&entry.manifest);
            let counts = |from| from <= self.ctx.height;
            if !matches!(status, Some(ManifestStatus { state: ManifestState::Active { from }, .. }) if counts(from)) {
                return Err(state("the model", format!("manifest {} of its lineage is not active", entry.manifest)));
            }
            if !datanets.insert(record.datanet) {
                return Err(field("lineage", format!("DataNet {} is named twice", record.datanet)));
            }
            sources.push(Source { manifest: entry.manifest, datanet: record.datanet, weight: entry.weight });
        }
        Ok(sources)
    }

    pub(super) fn receipt(&mut self, id: ReceiptId, object: &Receipt) -> Result<(), Refusal> {
        if self.view.get(&keys::receipt(&id)).is_some() {
            return Err(Refusal::Duplicate { id: id.into() });
        }
        let model = self.view.model(&object.model).ok_or(unknown("model", object.model))?;
        let expected = model
            .fee(object.tokens_in, object.tokens_out)
            .ok_or_else(|| field("tokens", "the price of so many tokens cannot be counted"))?;
        if object.fee != expected {
            return Err(Refusal::Fee { got: object.fee, expected });
        }
        let datanets: Vec<DataNetId> = model.lineage.iter().map(|source| source.datanet).collect();
        let least = least_fee(&self.ctx.params, datanets.len());
        if object.fee < least {
            return Err(Refusal::MinimumFee { got: object.fee, least });
        }
        self.check_expiry(object.expiry)?;
        self.check_works(&datanets)?;
        let evidence_bytes = self.check_evidence_bytes(&object.output, model.method, datanets.len() as u64)?;
        self.debit(&object.payer, object.fee)?;
        match (model.method, &object.trace) {
            (Method::Spans, None) => {}
            (Method::Influence, Some(trace)) => {
                self.check_trace(&object.model, trace.query.codes.len())?;
                self.answer_for(&id, object)?;
                self.view.put(keys::trace(&id), trace);
            }
            _ => return Err(field("trace", "receipts of models by influence have one, and no others")),
        }
        self.lock_fee(object.fee);
        let record = ReceiptRecord {
            payer: object.payer,
            server: object.server,
            model: object.model,
            prompt: object.prompt,
            answer: document_hash(object.output.as_bytes()),
            tokens_in: object.tokens_in,
            tokens_out: object.tokens_out,
            fee: object.fee,
            epoch: self.ctx.height,
            state: ReceiptState::Sealed { open: u32::try_from(datanets.len()).unwrap_or(u32::MAX) },
        };
        self.view.put(keys::receipt(&id), &record);
        self.view.put(keys::answer(&id), &object.output);
        self.evidence_bytes += evidence_bytes;
        self.works.extend(&datanets);
        self.sealed.push((id, datanets));
        Ok(())
    }

    /// May a receipt of this model be sealed now, with a query of so many dimensions?
    fn check_trace(&self, model: &ModelId, got: usize) -> Result<(), Refusal> {
        let rows = self.view.model_rows(model);
        let offer = rows.as_ref().and_then(|rows| match (rows.state, &rows.offer) {
            (RowsState::Active { from }, Some(offer)) if from <= self.ctx.height => Some(offer),
            _ => None,
        });
        let Some(offer) = offer else {
            let how_far = rows.map_or("absent", |rows| rows.state.as_str());
            return Err(state("the model", format!("its rows are {how_far}; receipts wait until they are active")));
        };
        let expected = offer.header.dimension;
        if u32::try_from(got) == Ok(expected) {
            return Ok(());
        }
        Err(field("trace", format!("the query has {got} codes, and the rows of its model {expected}")))
    }

    fn check_expiry(&self, expiry: u64) -> Result<(), Refusal> {
        let (epoch, limit) = (self.ctx.height, self.ctx.params.max_expiry);
        let ahead = expiry.checked_sub(epoch).ok_or(Refusal::Expired { expiry, epoch })?;
        if ahead > limit {
            return Err(Refusal::Expiry { ahead, limit });
        }
        Ok(())
    }

    /// May this block open work in these DataNets, beside those where it does already?
    fn check_works(&self, datanets: &[DataNetId]) -> Result<(), Refusal> {
        let limit = works_limit(self.ctx);
        let more = datanets.iter().filter(|datanet| !self.works.contains(datanet)).count();
        if self.works.len() + more > limit {
            return Err(Refusal::Full { limit: limit as u64, unit: "DataNets to search for one block" });
        }
        Ok(())
    }

    /// The room that an answer's evidence may take in a later block; refused when no block, or not this one, has it.
    fn check_evidence_bytes(&self, output: &str, method: Method, datanets: u64) -> Result<u64, Refusal> {
        let too_long = |error: AnswerTooLong| Refusal::Oversize {
            what: "the answer",
            got: error.length as u64,
            limit: error.most as u64,
        };
        let folded = fold_answer(output).map_err(too_long)?;
        let answer = Answer::of(&folded).map_err(too_long)?;
        if answer.words().len() > MAX_ANSWER_WORDS {
            let (got, limit) = (answer.words().len() as u64, MAX_ANSWER_WORDS as u64);
            return Err(Refusal::TooMany { what: "words of the answer", got, limit });
        }
        let limit = evidence_budget(&self.ctx.params);
        let bytes = evidence_bound(&answer, method).saturating_mul(datanets);
        if bytes > limit {
            let what = "the evidence that the answer may need over its model's DataNets";
            return Err(Refusal::Oversize { what, got: bytes, limit });
        }
        if self.evidence_bytes + bytes > limit {
            return Err(Refusal::Full { limit, unit: "bytes of evidence in one block" });
        }
        Ok(bytes)
    }
}
