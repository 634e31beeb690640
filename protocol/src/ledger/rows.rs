//! Models by influence: how the rows of their training data come to count.
//!
//! Rules:
//!
//! - **Commit, then draw**: a model is registered with its checkpoint and lineage. The beacon of the block after gives the
//!   seed of its projection and sampled labels, so that nobody fits data to what a projection does not see.
//! - **Offer**: then the builder offers the rows, by their header, and puts `rows_bond` at stake. Damping is one mean
//!   eigenvalue and solutions are held to [`Tolerance::DEFAULT`]: whoever could choose them could choose who is paid.
//! - **Judge**: the beacon of the block after the offer gives each validator rows of its own to compute anew. It attests
//!   the rows, or refutes one by its number, which others then look at too. A refutation takes an attestation back.
//! - **Count**: with more than two thirds of all power for them, rows are active from the next epoch on, and the builder
//!   has the bond back. With more than two thirds against them, the bond is lost and the model out for ever.
//! - **Forfeits**: half goes to the contributors of the model's data, as a base dividend, since it was they who were to be
//!   robbed; and half to the treasury, since whoever cheats may be one of them, or in league with one.
//! - Other rows may be offered in place of those that wait, until one is refuted: nobody withdraws what is found wrong. Once
//!   it is drawn who looks at what, that costs the bond: or a builder would offer again and again until nobody looks at
//!   what is false. The same rows may be offered from another host at any time; their draw stays.

use super::content::{field, state};
use super::event::Event;
use super::keys;
use super::records::*;
use super::run::Run;
use super::view::Read;
use crate::block::Block;
use crate::crypto::{influence_data, influence_seed};
use crate::evidence::divide;
use crate::ids::{Account, DataNetId, Hash32, ManifestId, ModelId};
use crate::influence::{Damping, Header, RowName, Tolerance};
use crate::limits::MAX_TRACE_DIMENSION;
use crate::objects::Drops;
use crate::refusal::Refusal;

impl Run<'_> {
    /// A model by influence is registered: it waits for the next block's beacon.
    pub(super) fn await_rows(&mut self, id: &ModelId) {
        let record = RowsRecord {
            seed: None,
            offer: None,
            state: RowsState::Awaited,
            bond: Drops::ZERO,
            attested: Default::default(),
            refuted: Default::default(),
        };
        self.view.put(keys::model_rows(id), &record);
        self.view.put(keys::undrawn_model(id), &());
    }

    pub(super) fn offer_rows(&mut self, account: &Account, id: ModelId, offer: RowsOffer) -> Result<(), Refusal> {
        let unknown = Refusal::Unknown { kind: "model", id: id.into() };
        let model = self.view.model(&id).ok_or(unknown)?;
        if model.builder != *account {
            let reason = "only its builder offers the rows of a model";
            return Err(Refusal::Forbidden { account: *account, reason });
        }
        let mut rows = self.rows(&id)?;
        match rows.state {
            RowsState::Awaited | RowsState::Offered => {}
            RowsState::Active { from } => return Err(state("the model", format!("its rows count since epoch {from}"))),
            RowsState::Refuted { height } => {
                return Err(state("the model", format!("its rows were refuted in epoch {height}; register another")));
            }
        }
        if !rows.refuted.is_empty() {
            return Err(state("the model", "a validator refuted one of the rows that were offered before"));
        }
        let seed =
            rows.seed.ok_or_else(|| state("the model", "its seed is drawn in the next epoch; offer rows after"))?;
        check_header(&offer.header, &model.weights, &seed)?;
        let root = offer.header.root();
        let drawn = rows.offer.take().filter(|former| former.beacon.is_some());
        self.events.push(Event::RowsOffered { model: id, root });
        if let Some(former) = drawn.as_ref().filter(|former| former.header.root() == root) {
            let (height, beacon) = (former.height, former.beacon);
            rows.offer = Some(RowsOffer { height, beacon, ..offer });
            self.view.put(keys::model_rows(&id), &rows);
            return Ok(());
        }
        if drawn.is_some() {
            self.compensate(&id, std::mem::take(&mut rows.bond));
        }
        let missing = self.ctx.params.influence.rows_bond.checked_sub(rows.bond).unwrap_or_default();
        self.debit(account, missing)?;
        rows.bond.0 += missing.0;
        rows.state = RowsState::Offered;
        rows.attested.clear();
        rows.offer = Some(offer);
        self.view.put(keys::model_rows(&id), &rows);
        self.view.put(keys::undrawn_model(&id), &());
        self.view.put(keys::offered_rows(&id), &());
        Ok(())
    }

    fn rows(&self, id: &ModelId) -> Result<RowsRecord, Refusal> {
        let missing = Refusal::Unknown { kind: "model by influence", id: (*id).into() };
        self.view.model_rows(id).ok_or(missing)
    }

    /// What a validator judges, if these are the rows that are offered.
    fn judged(&self, validator: &Account, id: &ModelId, root: Hash32) -> Result<(RowsRecord, Header), Refusal> {
        let rows = self.rows(id)?;
        if self.ctx.validators.get(validator).is_none() {
            return Err(Refusal::Forbidden { account: *validator, reason: "only a validator judges rows" });
        }
        match rows.offer.as_ref().map(|offer| offer.header.clone()).filter(|header| header.root() == root) {
            Some(header) => Ok((rows, header)),
            None => Err(state("the model", format!("rows of root {root} are not offered"))),
        }
    }

    pub(super) fn attest_rows(&mut self, validator: &Account, id: ModelId, root: Hash32) -> Result<(), Refusal> {
        let (mut rows, _) = self.judged(validator, &id, root)?;
        if rows.refuted.contains_key(validator) {
            return Err(state("the model", "this validator has refuted a row of it"));
        }
        if !rows.attested.insert(*validator) {
            return Err(state("the model", "this validator has attested its rows already"));
        }
        self.view.put(keys::model_rows(&id), &rows);
        self.count_rows(&id);
        Ok(())
    }

    pub(super) fn refute_rows(
        &mut self,
        validator: &Account,
        id: ModelId,
        root: Hash32,
        row: RowName,
    ) -> Result<(), Refusal> {
        let (mut rows, header) = self.judged(validator, &id, root)?;
        let count = if row.fisher { header.fisher_rows } else { header.rows };
        if row.index >= count {
            return Err(field("index", format!("there are {count} such rows")));
        }
        if rows.refuted.insert(*validator, row).is_some() {
            return Err(state("the model", "this validator has refuted a row of it already"));
        }
        rows.attested.remove(validator);
        self.view.put(keys::model_rows(&id), &rows);
        self.count_rows(&id);
        Ok(())
    }

    /// Ends the judgement of a model's rows once more than two thirds of all power are for them or against them.
    fn count_rows(&mut self, id: &ModelId) {
        let Some(mut rows) = self.view.model_rows(id).filter(|rows| rows.state == RowsState::Offered) else { return };
        let Some(root) = rows.offer.as_ref().map(|offer| offer.header.root()) else { return };
        let power = |key: &Account| self.ctx.validators.get(key).map_or(0, |member| member.power);
        let attested = rows.attested.iter().map(power).sum();
        let refuted = rows.refuted.keys().map(power).sum();
        let bond = rows.bond;
        if self.ctx.validators.is_quorum(attested) {
            let from = self.ctx.height.saturating_add(1);
            rows.state = RowsState::Active { from };
            if let Some(model) = self.view.model(id) {
                self.credit(&model.builder, bond);
            }
            self.events.push(Event::RowsActive { model: *id, root, from });
        } else if self.ctx.validators.is_quorum(refuted) {
            rows.state = RowsState::Refuted { height: self.ctx.height };
            self.compensate(id, bond);
            self.events.push(Event::RowsRefuted { model: *id, root, amount: bond });
        } else {
            return;
        }
        rows.bond = Drops::ZERO;
        self.view.put(keys::model_rows(id), &rows);
        self.view.remove(keys::offered_rows(id));
    }

    /// At a block's end: counts again what is said of some offered rows, of all in turn. Validators change.
    pub(super) fn recount_rows(&mut self) {
        let first = u8::try_from(self.ctx.height % 256).unwrap_or_default();
        let offered = self.view.scan(&keys::offered_rows_in(first)).into_keys();
        let offered: Vec<ModelId> = offered.map(|key| ModelId(keys::last_id(key))).collect();
        for id in offered {
            self.count_rows(&id);
        }
    }

    /// Hands out what somebody forfeits.
    pub(super) fn compensate(&mut self, model: &ModelId, amount: Drops) {
        let lineage = self.view.model(model).map(|model| model.lineage).unwrap_or_default();
        let weights: Vec<(DataNetId, u32)> = lineage.iter().map(|source| (source.datanet, source.weight)).collect();
        let mut rest = amount.0;
        for (datanet, part) in divide(amount.0 / 2, &weights).unwrap_or_default() {
            *self.dividends.entry(datanet).or_default() += part;
            rest -= part;
        }
        self.fund_treasury(Drops(rest));
    }

    /// At a block's end: draws seeds for models, and rows to look at, that were named in a block before this one.
    pub(super) fn draw_rows(&mut self, block: &Block) {
        let undrawn = self.view.scan(&[keys::UNDRAWN_MODELS]).into_keys();
        let undrawn: Vec<ModelId> = undrawn.map(|key| ModelId(keys::last_id(key))).collect();
        for id in undrawn {
            let (Some(model), Some(mut rows)) = (self.view.model(&id), self.view.model_rows(&id)) else { continue };
            let named = rows.offer.as_ref().map_or(model.height, |offer| offer.height);
            if named >= self.ctx.height {
                continue;
            }
            let beacon = block.header.beacon;
            match &mut rows.offer {
                Some(offer) => offer.beacon = Some(beacon),
                None => {
                    let manifests: Vec<ManifestId> = model.lineage.iter().map(|source| source.manifest).collect();
                    rows.seed = Some(influence_seed(&model.weights, &influence_data(&manifests), &beacon));
                }
            }
            self.view.put(keys::model_rows(&id), &rows);
            self.view.remove(keys::undrawn_model(&id));
        }
    }
}

/// Are these rows of this checkpoint and seed, and of a form that a network takes?
fn check_header(header: &Header, checkpoint: &Hash32, seed: &[u8; 32]) -> Result<(), Refusal> {
    let dimension = usize::try_from(header.dimension).unwrap_or(usize::MAX);
    if dimension > MAX_TRACE_DIMENSION {
        let (got, limit) = (header.dimension.into(), MAX_TRACE_DIMENSION as u64);
        return Err(Refusal::TooMany { what: "dimensions of the rows", got, limit });
    }
    if header.checkpoint != *checkpoint {
        return Err(field("header", format!("the model's checkpoint is {checkpoint}, not {}", header.checkpoint)));
    }
    if header.seed != *seed {
        return Err(field("header", format!("the model's seed is {}", Hash32(*seed))));
    }
    if header.damping != Damping::ONE || header.tolerance > Tolerance::DEFAULT {
        return Err(field("header", "damping is one mean eigenvalue, and solutions are held to 2^-16 of the query"));
    }
    if header.rows == 0 || header.fisher_rows == 0 {
        return Err(field("header", "there are rows of both kinds"));
    }
    Ok(())
}
