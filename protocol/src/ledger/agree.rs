//! Agreement on attribution: commit, reveal, settle; or refund.
//!
//! Rules, for the receipts that epoch e sealed and a DataNet d of their models' lineage:
//!
//! - **Work opens** at the end of block e, against d's versions that are active at e, for d's committee at e, which stays
//!   the same for this work whatever becomes of its members.
//! - **Commit**: a member commits once, in a block after e. Commits close at the end of the first block, at
//!   e + `commit_window` or later, at whose end members with a quorum of the committee's power have committed.
//! - **Reveal**: after that, a validator that committed reveals once, exactly what it committed to. Another's commitment
//!   is of no use: a validator's key is in its own. A validator that came too late to commit may reveal once as well: it
//!   counts towards agreement, so that a few who commit and then keep silent cannot prevent it, but it is paid nothing.
//! - **Settle**: once a quorum has revealed one root, a block may carry the body with that root: the block after, or the
//!   same if all who committed have revealed, so that whoever reveals a little later is paid as well. It must list the
//!   work's receipts in order, each with evidence that its answer does not refute, of d alone, held by contributions
//!   in d's manifests active at e.
//! - **Refund**: at e + `settle_timeout` all work of e that is still open ends, and what is agreed on and only lacks its
//!   body `agreed_timeout` later; every receipt of e that is not settled
//!   then is paid back in full. No fee is ever stuck.

use super::body::AttributionBody;
use super::committee::current_committee;
use super::content::{field, state};
use super::event::Event;
use super::keys;
use super::records::*;
use super::run::Run;
use super::view::{Overlay, Read, decode};
use crate::block::ValidatorSet;
use crate::crypto::{attribution_commitment, attribution_root};
use crate::evidence::{Answer, Evidence, EvidenceError, Span, fold_answer};
use crate::fold::MAX_EXPANSION;
use crate::ids::{Account, ContributionId, DataNetId, Hash32, ManifestId, ReceiptId};
use crate::limits::MAX_INFLUENCES;
use crate::objects::{AttributionCommit, AttributionReveal, Method};
use crate::refusal::Refusal;
use std::collections::BTreeMap;

/// Why an attribution body does not settle anything.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyRefused {
    /// Not the canonical bytes of a body.
    #[error("these {length} bytes are not the canonical encoding of an attribution body")]
    Malformed {
        /// How many there were.
        length: usize,
    },
    /// Nothing is open there.
    #[error("no attribution is open for epoch {epoch} in DataNet {datanet}")]
    NotOpen {
        /// The epoch.
        epoch: u64,
        /// The DataNet.
        datanet: DataNetId,
    },
    /// Some who committed may still reveal, and be paid.
    #[error(
        "the root for epoch {epoch} in DataNet {datanet} was agreed on only in this block, and not all have revealed"
    )]
    TooEarly {
        /// The epoch.
        epoch: u64,
        /// The DataNet.
        datanet: DataNetId,
    },
    /// Another root, or none, has a quorum.
    #[error("root {root} was not revealed by a quorum")]
    NotAgreed {
        /// The body's root.
        root: Hash32,
    },
    /// Not the work's receipts, in order.
    #[error("the body does not list the receipts of epoch {epoch} in DataNet {datanet} in order")]
    Receipts {
        /// The epoch.
        epoch: u64,
        /// The DataNet.
        datanet: DataNetId,
    },
    /// Evidence that the answer refutes.
    #[error("the evidence for receipt {receipt} does not fit its answer")]
    Evidence {
        /// Which receipt.
        receipt: ReceiptId,
        /// What is wrong.
        #[source]
        source: EvidenceError,
    },
    /// Evidence that speaks of another DataNet, or of none, or by another method than the model's.
    #[error("the evidence for receipt {receipt} does not speak of DataNet {datanet} alone, by the model's method")]
    Scope {
        /// Which receipt.
        receipt: ReceiptId,
        /// The body's DataNet.
        datanet: DataNetId,
    },
    /// A span whose holder does not exist as described.
    #[error("the evidence for receipt {receipt} names contribution {contribution}, which does not hold what it says")]
    Holder {
        /// Which receipt.
        receipt: ReceiptId,
        /// Which contribution.
        contribution: ContributionId,
    },
}

impl Run<'_> {
    /// Work that is open, and on whose committee this validator is.
    fn open(&self, epoch: u64, datanet: &DataNetId, key: &Account) -> Result<(WorkRecord, ValidatorSet), Refusal> {
        let stranger = |reason| Refusal::Forbidden { account: *key, reason };
        let Some((work, committee)) = self.view.work(epoch, datanet).zip(self.view.committee(epoch, datanet)) else {
            // It may be a node that is ahead; but only of whoever may have a say.
            if self.ctx.validators.get(key).is_none() {
                return Err(stranger("only a validator says what is attributed"));
            }
            let reason =
                format!("epoch {epoch} of DataNet {datanet} is not open: settled, refunded, or not yet sealed");
            return Err(state("attribution", reason));
        };
        match committee.get(key) {
            Some(_) => Ok((work, committee)),
            None => Err(stranger("only the DataNet's committee of that epoch says what is attributed")),
        }
    }

    pub(super) fn commit(&mut self, object: &AttributionCommit) -> Result<(), Refusal> {
        let AttributionCommit { validator, epoch, datanet, commitment } = *object;
        let (work, _) = self.open(epoch, &datanet, &validator)?;
        if let Some(closed) = work.closed {
            return Err(state("attribution", format!("commits for epoch {epoch} closed in epoch {closed}")));
        }
        let key = keys::said(epoch, &datanet, &validator);
        if self.view.get(&key).is_some() {
            return Err(state("attribution", format!("this validator has committed for epoch {epoch} already")));
        }
        self.view.put(key, &SaidRecord { commitment: Some(commitment), root: None });
        Ok(())
    }

    pub(super) fn reveal(&mut self, object: &AttributionReveal) -> Result<(), Refusal> {
        let AttributionReveal { validator, epoch, datanet, root } = *object;
        let (mut work, committee) = self.open(epoch, &datanet, &validator)?;
        if work.closed.is_none() {
            return Err(state("attribution", format!("commits for epoch {epoch} are still open")));
        }
        let mut said = self.view.said(epoch, &datanet, &validator).unwrap_or(SaidRecord::LATE);
        if said.root.is_some() {
            return Err(state("attribution", format!("this validator has revealed for epoch {epoch} already")));
        }
        let commitment = attribution_commitment(&validator, epoch, &datanet, &root);
        if said.commitment.is_some_and(|said| said != commitment) {
            return Err(field("root", "it is not what this validator committed to"));
        }
        said.root = Some(root);
        self.view.put(keys::said(epoch, &datanet, &validator), &said);
        let power = self.power_of(&committee, epoch, &datanet, |said| said.root == Some(root));
        if work.root.is_none() && committee.is_quorum(power) {
            work.root = Some(root);
            work.agreed = Some(self.ctx.height);
            self.view.put(keys::work(epoch, &datanet), &work);
            self.events.push(Event::RootAgreed { epoch, datanet, root });
        }
        Ok(())
    }

    /// Validators with what they said, for one (epoch, DataNet).
    fn said_of(&self, epoch: u64, datanet: &DataNetId) -> BTreeMap<Account, SaidRecord> {
        let entries = self.view.scan(&keys::said_of(epoch, datanet)).into_iter();
        entries.map(|(key, value)| (Account(keys::last_id(key)), decode(key, value))).collect()
    }

    fn power_of(
        &self,
        committee: &ValidatorSet,
        epoch: u64,
        datanet: &DataNetId,
        counts: impl Fn(&SaidRecord) -> bool,
    ) -> u64 {
        let said = self.said_of(epoch, datanet).into_iter().filter(|(_, said)| counts(said));
        said.filter_map(|(key, _)| committee.get(&key)).map(|member| member.power).sum()
    }

    /// All open work of epochs before `end`, ascending.
    fn open_before(&self, end: u64) -> Vec<(u64, DataNetId)> {
        let entries = self.view.range(&keys::work_of(0), &keys::work_of(end));
        entries.into_keys().map(|key| (keys::first_number(key), DataNetId(keys::last_id(key)))).collect()
    }

    /// At a block's end: closes commits where the window has passed and a quorum has committed.
    pub(super) fn close_commits(&mut self) {
        let Some(last) = self.ctx.height.checked_sub(self.ctx.params.commit_window) else { return };
        for (epoch, datanet) in self.open_before(last.saturating_add(1)) {
            let Some(mut work) = self.view.work(epoch, &datanet).filter(|work| work.closed.is_none()) else { continue };
            let Some(committee) = self.view.committee(epoch, &datanet) else { continue };
            if committee.is_quorum(self.power_of(&committee, epoch, &datanet, |_| true)) {
                work.closed = Some(self.ctx.height);
                self.view.put(keys::work(epoch, &datanet), &work);
                self.events.push(Event::CommitsClosed { epoch, datanet });
            }
        }
    }

    /// At a block's end: opens work for the receipts it sealed.
    pub(super) fn open_work(&mut self) {
        let sealed = std::mem::take(&mut self.sealed);
        if sealed.is_empty() {
            return;
        }
        let epoch = self.ctx.height;
        let receipts = sealed.iter().map(|(receipt, _)| *receipt).collect();
        self.events.push(Event::Sealed { epoch, receipts });
        let mut by_datanet: BTreeMap<DataNetId, Vec<ReceiptId>> = BTreeMap::new();
        for (receipt, datanets) in sealed {
            for datanet in datanets {
                by_datanet.entry(datanet).or_default().push(receipt);
            }
        }
        for (datanet, receipts) in by_datanet {
            let manifests = self.manifests_at(epoch, &datanet);
            let version = u32::try_from(manifests.len()).unwrap_or(u32::MAX);
            let record = WorkRecord { version, closed: None, root: None, agreed: None };
            self.view.put(keys::work(epoch, &datanet), &record);
            self.view.put(keys::work_receipts(epoch, &datanet), &receipts);
            let committee = current_committee(&self.view, self.ctx, &datanet);
            self.view.put(keys::committee(epoch, &datanet), &committee);
            self.events.push(Event::WorkOpened { epoch, datanet, receipts, manifests });
        }
    }

    /// The versions of a DataNet that count in an epoch, oldest first: all but those that became active at its end.
    fn manifests_at(&self, epoch: u64, datanet: &DataNetId) -> Vec<ManifestId> {
        let counts = |id: &ManifestId| {
            let status = self.view.manifest_status(id);
            matches!(status, Some(ManifestStatus { state: ManifestState::Active { from }, .. }) if from <= epoch)
        };
        self.view.active_manifests(datanet).into_iter().filter(counts).collect()
    }

    /// At a block's start: ends all work that was not agreed on in time and pays its receipts back.
    pub(super) fn refund_overdue(&mut self) {
        let Some(last) = self.ctx.height.checked_sub(self.ctx.params.settle_timeout) else { return };
        let last_agreed = last.checked_sub(self.ctx.params.agreed_timeout);
        for (epoch, datanet) in self.open_before(last.saturating_add(1)) {
            let is_agreed = self.view.work(epoch, &datanet).is_some_and(|work| work.root.is_some());
            if is_agreed && last_agreed.is_none_or(|last| epoch > last) {
                continue;
            }
            for receipt in self.view.work_receipts(epoch, &datanet) {
                self.refund(receipt);
            }
            self.close_work(epoch, &datanet);
        }
    }

    fn refund(&mut self, id: ReceiptId) {
        let Some(mut record) = self.view.receipt(&id) else { return };
        if !matches!(record.state, ReceiptState::Sealed { .. }) {
            return;
        }
        let reason = RefundReason::SettleTimeout;
        self.release_fee(record.fee);
        self.credit(&record.payer, record.fee);
        record.state = ReceiptState::Refunded { height: self.ctx.height, reason };
        self.view.put(keys::receipt(&id), &record);
        self.forget_answer(&id);
        self.events.push(Event::Refunded { receipt: id, reason });
    }

    /// Removes what is needed of a receipt only until it is settled.
    pub(super) fn forget_answer(&mut self, id: &ReceiptId) {
        self.view.remove(keys::answer(id));
        self.view.remove(keys::trace(id));
        self.view.remove_all(&keys::parts(id));
    }

    /// Ends work. When an epoch has none left, all its receipts are settled or refunded, and who agreed is not needed.
    fn close_work(&mut self, epoch: u64, datanet: &DataNetId) {
        self.view.remove(keys::work(epoch, datanet));
        self.view.remove(keys::work_receipts(epoch, datanet));
        self.view.remove(keys::committee(epoch, datanet));
        self.view.remove_all(&keys::said_of(epoch, datanet));
        if self.view.scan(&keys::work_of(epoch)).is_empty() {
            self.view.remove_all(&keys::agreed_of(epoch));
        }
    }

    /// Settles work by its agreed body, or refuses it without a trace.
    pub(super) fn settle(&mut self, bytes: &[u8]) -> Result<(u64, DataNetId), BodyRefused> {
        let body = AttributionBody::from_bytes(bytes).ok_or(BodyRefused::Malformed { length: bytes.len() })?;
        let (epoch, datanet) = (body.epoch, body.datanet);
        let root = attribution_root(bytes);
        self.check_body(&body, root)?;
        let said = self.said_of(epoch, &datanet);
        let committee = self.view.committee(epoch, &datanet).unwrap_or_default();
        let is_right = |said: &SaidRecord| said.root == Some(root) && said.commitment.is_some();
        let right = said.iter().filter(|(_, said)| is_right(said)).filter_map(|(key, _)| committee.get(key));
        let validators = right.map(|member| (member.payout, member.power)).collect();
        self.note_failures(&committee, &said, root);
        self.view.put(keys::agreed(epoch, &datanet), &AgreedRecord { root, validators });
        for (receipt, evidence) in body.receipts {
            self.take_evidence(receipt, &datanet, evidence);
        }
        self.close_work(epoch, &datanet);
        self.events.push(Event::WorkSettled { epoch, datanet });
        Ok((epoch, datanet))
    }

    fn check_body(&self, body: &AttributionBody, root: Hash32) -> Result<(), BodyRefused> {
        let AttributionBody { epoch, datanet, .. } = *body;
        let work = self.view.work(epoch, &datanet).ok_or(BodyRefused::NotOpen { epoch, datanet })?;
        if work.root != Some(root) {
            return Err(BodyRefused::NotAgreed { root });
        }
        let is_owed = |said: &SaidRecord| said.commitment.is_some() && said.root.is_none();
        if work.agreed == Some(self.ctx.height) && self.said_of(epoch, &datanet).values().any(is_owed) {
            return Err(BodyRefused::TooEarly { epoch, datanet });
        }
        let receipts = self.view.work_receipts(epoch, &datanet);
        if !receipts.iter().eq(body.receipts.iter().map(|(receipt, _)| receipt)) {
            return Err(BodyRefused::Receipts { epoch, datanet });
        }
        let mut holders = Holders { view: &self.view, datanet, version: work.version, known: BTreeMap::new() };
        for (receipt, evidence) in &body.receipts {
            self.check_evidence(*receipt, evidence, datanet, &mut holders)?;
        }
        Ok(())
    }

    fn check_evidence(
        &self,
        receipt: ReceiptId,
        evidence: &Evidence,
        datanet: DataNetId,
        holders: &mut Holders<'_>,
    ) -> Result<(), BodyRefused> {
        if !evidence.frequencies.keys().eq([&datanet]) {
            return Err(BodyRefused::Scope { receipt, datanet });
        }
        // Another DataNet's work on it was not agreed on in time: it is refunded, its answer gone, and nothing will be paid.
        let Some(text) = self.view.answer(&receipt) else { return Ok(()) };
        // What was sealed was short enough.
        let too_long = |_| BodyRefused::Scope { receipt, datanet };
        let folded = fold_answer(&text).map_err(too_long)?;
        let answer = Answer::of(&folded).map_err(too_long)?;
        evidence.check(&answer).map_err(|source| BodyRefused::Evidence { receipt, source })?;
        let model = self.view.receipt(&receipt).and_then(|record| self.view.model(&record.model));
        let fits = match model.map(|model| model.method) {
            Some(Method::Influence) => evidence.spans.is_empty() && evidence.influence.sums.len() <= MAX_INFLUENCES,
            Some(Method::Spans) => evidence.influence.is_empty(),
            None => false,
        };
        if !fits {
            return Err(BodyRefused::Scope { receipt, datanet });
        }
        if let Some(contribution) = evidence.influence.sums.keys().find(|id| !holders.count(id)) {
            return Err(BodyRefused::Holder { receipt, contribution: *contribution });
        }
        match evidence.spans.iter().chain(&evidence.earlier).find(|span| !holders.hold(span)) {
            Some(span) => Err(BodyRefused::Holder { receipt, contribution: span.holder.contribution }),
            None => Ok(()),
        }
    }
}

/// What contributions hold, in one DataNet's versions up to one, each looked up once.
struct Holders<'a> {
    view: &'a Overlay<'a>,
    datanet: DataNetId,
    version: u32,
    /// The order and the documents' bytes of those that count; none for those that do not.
    known: BTreeMap<ContributionId, Option<(u64, Vec<u64>)>>,
}

impl Holders<'_> {
    /// Does the span's holder exist, in its place of the order, with a document that is long enough once it is folded?
    fn hold(&mut self, span: &Span) -> bool {
        let holder = &span.holder;
        let Some((order, documents)) = self.known(&holder.contribution) else { return false };
        let document = usize::try_from(holder.document).ok().and_then(|index| documents.get(index));
        let end = holder.offset.checked_add(u64::from(span.end - span.start));
        let longest = |bytes: &u64| bytes.saturating_mul(MAX_EXPANSION as u64);
        *order == holder.order && document.zip(end).is_some_and(|(bytes, end)| end <= longest(bytes))
    }

    /// Does the contribution count?
    fn count(&mut self, id: &ContributionId) -> bool {
        self.known(id).is_some()
    }

    fn known(&mut self, id: &ContributionId) -> Option<&(u64, Vec<u64>)> {
        if !self.known.contains_key(id) {
            self.known.insert(*id, self.look_up(id));
        }
        self.known.get(id)?.as_ref()
    }

    fn look_up(&self, id: &ContributionId) -> Option<(u64, Vec<u64>)> {
        let record = self.view.admission(id).filter(|record| record.datanet == self.datanet)?;
        let Admission::Admitted { order, .. } = record.state else { return None };
        let version = self.view.manifest(&record.manifest?)?.version;
        let documents = self.view.contribution(id)?.documents;
        (version <= self.version).then(|| (order, documents.iter().map(|document| document.bytes).collect()))
    }
}
