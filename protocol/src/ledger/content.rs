//! DataNets, contributions and manifests: what enters a DataNet, in which order, and from when it counts.
//!
//! Rules:
//!
//! - A document is in a DataNet once, whoever contributes it: a copy is refused, naming the holder. A rejected
//!   contribution releases its documents.
//! - In an open DataNet a contribution is admitted at once, in a curated one when its owner approves it. Admission gives
//!   it a place in one order over all DataNets: of two holders of a passage the earlier one is paid.
//! - A manifest makes admitted contributions the DataNet's next version. Its owner may propose another in its place until
//!   it is active; the later one counts, so that content nobody can fetch holds up nothing for ever.
//! - A manifest is active, from the next epoch on, once more than two thirds of its DataNet's committee, by power, attest
//!   that they hold and have indexed it; the committee is that of the moment. Attestations that come later are recorded and change nothing: an honest validator
//!   that is late neither loses its place in its own order of operations nor anything else.

use super::committee::current_committee;
use super::event::Event;
use super::keys;
use super::records::*;
use super::run::Run;
use super::view::Read;
use crate::crypto::content_root;
use crate::ids::{Account, ContributionId, DataNetId, Hash32, ManifestId, ObjectId};
use crate::limits::MAX_MANIFEST_BYTES;
use crate::objects::{self, Contribution, DataNet, DatasetManifest};
use crate::refusal::Refusal;
use std::collections::{BTreeMap, BTreeSet};

/// Documents that one manifest version adds: it bounds the work of checking its content root.
pub const MAX_MANIFEST_DOCUMENTS: u64 = 65_536;
/// Contributors in a DataNet's active manifests: it bounds the work of dividing a base dividend.
pub const MAX_CONTRIBUTORS: u32 = 4096;

/// A refusal for a state that does not fit.
pub(super) fn state(what: &'static str, reason: impl Into<String>) -> Refusal {
    Refusal::State { what, reason: reason.into() }
}

/// A refusal for a field that does not fit.
pub(super) fn field(field: &'static str, reason: impl Into<String>) -> Refusal {
    Refusal::Field { field, reason: reason.into() }
}

fn unknown(kind: &'static str, id: impl Into<ObjectId>) -> Refusal {
    Refusal::Unknown { kind, id: id.into() }
}

impl Run<'_> {
    pub(super) fn datanet(&mut self, id: DataNetId, object: &DataNet) -> Result<(), Refusal> {
        if self.view.datanet(&id).is_some() {
            return Err(Refusal::Duplicate { id: id.into() });
        }
        self.pay_object_fee(&object.owner)?;
        let record = DataNetRecord {
            owner: object.owner,
            name: object.name.clone(),
            description: object.description.clone(),
            curated: object.admission == objects::Admission::Curated,
            licences: object.licences.clone(),
            max_contribution_bytes: object.max_contribution_bytes,
            max_known_basis_points: object.max_known_basis_points,
            height: self.ctx.height,
            version: 0,
            proposed: None,
            contributors: 0,
        };
        self.view.put(keys::datanet(&id), &record);
        self.events.push(Event::DataNetCreated { datanet: id });
        Ok(())
    }

    pub(super) fn contribution(&mut self, id: ContributionId, object: &Contribution) -> Result<(), Refusal> {
        if self.view.admission(&id).is_some() {
            return Err(Refusal::Duplicate { id: id.into() });
        }
        let datanet = self.view.datanet(&object.datanet).ok_or(unknown("DataNet", object.datanet))?;
        if !datanet.licences.contains(&object.licence) {
            return Err(field("licence", format!("the DataNet accepts {}", datanet.licences.join(", "))));
        }
        let bytes = object.documents.iter().fold(0, |sum: u64, document| sum.saturating_add(document.bytes));
        if bytes > datanet.max_contribution_bytes {
            let limit = datanet.max_contribution_bytes;
            return Err(Refusal::Oversize { what: "the contribution", got: bytes, limit });
        }
        self.check_previous(object)?;
        self.pay_object_fee(&object.contributor)?;
        for document in &object.documents {
            let key = keys::document(&object.datanet, &document.hash);
            if let Some(holder) = self.view.record::<ContributionId>(&key) {
                return Err(Refusal::Repeated { document: document.title.clone(), holder: holder.into() });
            }
            self.view.put(key, &id);
        }
        let record = ContributionRecord {
            contributor: object.contributor,
            datanet: object.datanet,
            credit: object.credit.clone(),
            title: object.title.clone(),
            source: object.source.clone(),
            language: object.language.clone(),
            licence: object.licence.clone(),
            previous: object.previous,
            documents: object.documents.clone(),
            height: self.ctx.height,
        };
        let admission = AdmissionRecord {
            contributor: object.contributor,
            datanet: object.datanet,
            documents: u32::try_from(object.documents.len()).unwrap_or(u32::MAX),
            bytes,
            state: Admission::Pending,
            manifest: None,
        };
        self.view.put(keys::contribution(&id), &record);
        if datanet.curated {
            self.view.put(keys::admission(&id), &admission);
            self.events.push(Event::ContributionPending { contribution: id, datanet: object.datanet });
        } else {
            self.admit(id, admission);
        }
        Ok(())
    }

    /// A new version of a contribution is by the same contributor, in the same DataNet.
    fn check_previous(&self, object: &Contribution) -> Result<(), Refusal> {
        let Some(previous) = object.previous else { return Ok(()) };
        let record = self.view.admission(&previous).ok_or(unknown("contribution", previous))?;
        if record.datanet != object.datanet {
            return Err(field("previous", "the contribution it replaces is in another DataNet"));
        }
        if record.contributor != object.contributor {
            let account = object.contributor;
            return Err(Refusal::Forbidden { account, reason: "only its contributor may replace a contribution" });
        }
        Ok(())
    }

    /// Gives a contribution the next place in the order of admission.
    fn admit(&mut self, id: ContributionId, mut record: AdmissionRecord) {
        let order: u64 = self.view.record(keys::NEXT_ORDER).unwrap_or_default();
        self.view.put(keys::NEXT_ORDER.to_vec(), &(order + 1));
        let datanet = record.datanet;
        record.state = Admission::Admitted { height: self.ctx.height, order };
        self.view.put(keys::admission(&id), &record);
        self.events.push(Event::ContributionAdmitted { contribution: id, datanet, order });
    }

    /// The pending contribution that the owner of its DataNet decides on.
    fn pending(&self, account: &Account, id: &ContributionId) -> Result<AdmissionRecord, Refusal> {
        let record = self.view.admission(id).ok_or(unknown("contribution", *id))?;
        let owner = self.view.datanet(&record.datanet).ok_or(unknown("DataNet", record.datanet))?.owner;
        if owner != *account {
            let reason = "only the owner of a DataNet decides on its contributions";
            return Err(Refusal::Forbidden { account: *account, reason });
        }
        match record.state {
            Admission::Pending => Ok(record),
            Admission::Admitted { height, .. } => {
                Err(state("the contribution", format!("it was admitted in epoch {height}")))
            }
            Admission::Rejected { height, .. } => {
                Err(state("the contribution", format!("it was rejected in epoch {height}")))
            }
        }
    }

    pub(super) fn approve(&mut self, account: &Account, id: ContributionId) -> Result<(), Refusal> {
        let record = self.pending(account, &id)?;
        self.admit(id, record);
        Ok(())
    }

    pub(super) fn reject(&mut self, account: &Account, id: ContributionId, reason: &str) -> Result<(), Refusal> {
        let mut record = self.pending(account, &id)?;
        let documents = self.view.contribution(&id).map(|offer| offer.documents).unwrap_or_default();
        for document in documents {
            self.view.remove(keys::document(&record.datanet, &document.hash));
        }
        record.state = Admission::Rejected { height: self.ctx.height, reason: reason.to_owned() };
        self.view.put(keys::admission(&id), &record);
        self.events.push(Event::ContributionRejected { contribution: id, datanet: record.datanet });
        Ok(())
    }

    pub(super) fn manifest(&mut self, id: ManifestId, object: &DatasetManifest) -> Result<(), Refusal> {
        if self.view.manifest_status(&id).is_some() {
            return Err(Refusal::Duplicate { id: id.into() });
        }
        let mut datanet = self.view.datanet(&object.datanet).ok_or(unknown("DataNet", object.datanet))?;
        if datanet.owner != object.owner {
            let reason = "only its owner publishes a DataNet's manifests";
            return Err(Refusal::Forbidden { account: object.owner, reason });
        }
        // Each one is as much work as its documents are many.
        let proposed = datanet.proposed.and_then(|id| self.view.manifest(&id));
        if proposed.is_some_and(|record| record.height == self.ctx.height) {
            return Err(Refusal::Full { limit: 1, unit: "manifest of a DataNet in one block" });
        }
        self.pay_object_fee(&object.owner)?;
        if let Some(superseded) = datanet.proposed {
            self.supersede(superseded, id, object.datanet);
        }
        let parent = self.check_parent(object, datanet.version)?;
        self.check_content(object, datanet.contributors, parent)?;
        for contribution in &object.added {
            self.set_manifest(contribution, Some(id));
        }
        let record = ManifestRecord {
            datanet: object.datanet,
            version: object.version,
            parent: object.parent,
            added: object.added.clone(),
            content_root: object.content_root,
            documents: object.documents,
            bytes: object.bytes,
            host: object.host.clone(),
            height: self.ctx.height,
        };
        datanet.proposed = Some(id);
        self.view.put(keys::datanet(&object.datanet), &datanet);
        self.view.put(keys::manifest(&id), &record);
        let status = ManifestStatus { state: ManifestState::Proposed, attested: BTreeSet::new() };
        self.view.put(keys::manifest_status(&id), &status);
        self.view.put(keys::proposed(&id), &());
        self.events.push(Event::ManifestProposed { manifest: id, datanet: object.datanet });
        Ok(())
    }

    /// A proposed manifest makes way for another.
    fn supersede(&mut self, id: ManifestId, by: ManifestId, datanet: DataNetId) {
        for contribution in self.view.manifest(&id).map(|record| record.added).unwrap_or_default() {
            self.set_manifest(&contribution, None);
        }
        if let Some(mut status) = self.view.manifest_status(&id) {
            status.state = ManifestState::Superseded { by };
            self.view.put(keys::manifest_status(&id), &status);
        }
        self.view.remove(keys::proposed(&id));
        self.events.push(Event::ManifestSuperseded { manifest: id, datanet });
    }

    fn set_manifest(&mut self, contribution: &ContributionId, manifest: Option<ManifestId>) {
        if let Some(mut record) = self.view.admission(contribution) {
            record.manifest = manifest;
            self.view.put(keys::admission(contribution), &record);
        }
    }

    /// The totals of the last active version, which a new one continues.
    fn check_parent(&self, object: &DatasetManifest, version: u32) -> Result<Parent, Refusal> {
        let last = self.view.manifest_at(&object.datanet, version);
        if object.version.checked_sub(1) != Some(version) {
            let reason = format!("the DataNet's last active version is {version}; this one says {}", object.version);
            return Err(field("version", reason));
        }
        if object.parent != last {
            let last = last.map_or("none".to_owned(), |id| id.to_string());
            return Err(field("parent", format!("the DataNet's last active manifest is {last}")));
        }
        let record = last.and_then(|id| self.view.manifest(&id));
        Ok(record.map_or(Parent::default(), |record| Parent {
            content_root: record.content_root,
            documents: record.documents,
            bytes: record.bytes,
        }))
    }

    /// What a manifest adds is admitted, new to its DataNet's manifests, and adds up to what the manifest says.
    fn check_content(&self, object: &DatasetManifest, contributors: u32, parent: Parent) -> Result<(), Refusal> {
        let added = self.check_added(object)?;
        let bytes = added.values().fold(0_u64, |sum, record| sum.saturating_add(record.bytes));
        if bytes > MAX_MANIFEST_BYTES {
            let what = "the documents that one manifest adds";
            return Err(Refusal::Oversize { what, got: bytes, limit: MAX_MANIFEST_BYTES });
        }
        let documents: u64 = added.values().map(|record| u64::from(record.documents)).sum();
        if documents > MAX_MANIFEST_DOCUMENTS {
            let what = "documents added by one manifest";
            return Err(Refusal::TooMany { what, got: documents, limit: MAX_MANIFEST_DOCUMENTS });
        }
        let accounts: BTreeSet<Account> = added.values().map(|record| record.contributor).collect();
        let is_new = |account: &&Account| self.view.get(&keys::contributor(&object.datanet, account)).is_none();
        let contributors = u64::from(contributors) + accounts.iter().filter(is_new).count() as u64;
        if contributors > u64::from(MAX_CONTRIBUTORS) {
            let what = "contributors of the DataNet";
            return Err(Refusal::TooMany { what, got: contributors, limit: u64::from(MAX_CONTRIBUTORS) });
        }
        let bytes = added.values().fold(parent.bytes, |sum, record| sum.saturating_add(record.bytes));
        expect("documents", object.documents, parent.documents.saturating_add(documents))?;
        expect("bytes", object.bytes, bytes)?;
        let hashes: Vec<Hash32> = object
            .added
            .iter()
            .filter_map(|id| self.view.contribution(id))
            .flat_map(|record| record.documents.into_iter().map(|document| document.hash))
            .collect();
        expect("content_root", object.content_root, content_root(&parent.content_root, &hashes))
    }

    fn check_added(&self, object: &DatasetManifest) -> Result<BTreeMap<ContributionId, AdmissionRecord>, Refusal> {
        let mut added = BTreeMap::new();
        for id in &object.added {
            let record = self.view.admission(id).ok_or(unknown("contribution", *id))?;
            if record.datanet != object.datanet {
                return Err(field("added", format!("contribution {id} is in another DataNet")));
            }
            if !matches!(record.state, Admission::Admitted { .. }) {
                return Err(state("the manifest", format!("contribution {id} is not admitted")));
            }
            if let Some(manifest) = record.manifest {
                return Err(state("the manifest", format!("contribution {id} is in manifest {manifest} already")));
            }
            added.insert(*id, record);
        }
        Ok(added)
    }

    pub(super) fn attest(&mut self, account: &Account, id: ManifestId) -> Result<(), Refusal> {
        let mut status = self.view.manifest_status(&id).ok_or(unknown("manifest", id))?;
        if self.ctx.validators.get(account).is_none() {
            return Err(Refusal::Forbidden { account: *account, reason: "only a validator attests" });
        }
        if !status.attested.insert(*account) {
            return Err(state("the manifest", "this validator has attested it already"));
        }
        self.view.put(keys::manifest_status(&id), &status);
        self.activate_if_attested(id);
        Ok(())
    }

    /// At a block's end: counts attestations of some proposed manifests again, of all of them in turn. Committees change,
    /// and with that who counts.
    pub(super) fn recount_attestations(&mut self) {
        let first = u8::try_from(self.ctx.height % 256).unwrap_or_default();
        let proposed: Vec<ManifestId> =
            self.view.scan(&keys::proposed_in(first)).into_keys().map(|key| ManifestId(keys::last_id(key))).collect();
        for id in proposed {
            self.activate_if_attested(id);
        }
    }

    /// Activates a proposed manifest once more than two thirds of its DataNet's committee have attested it.
    fn activate_if_attested(&mut self, id: ManifestId) {
        let Some(mut status) = self.view.manifest_status(&id).filter(|it| it.state == ManifestState::Proposed) else {
            return;
        };
        let Some(manifest) = self.view.manifest(&id) else { return };
        let committee = current_committee(&self.view, self.ctx, &manifest.datanet);
        let power = status.attested.iter().filter_map(|key| committee.get(key)).map(|member| member.power);
        if committee.is_quorum(power.sum()) {
            status.state = ManifestState::Active { from: self.ctx.height + 1 };
            self.view.put(keys::manifest_status(&id), &status);
            self.activate(id);
        }
    }

    /// A manifest becomes its DataNet's last version, and its contributors share in base dividends.
    fn activate(&mut self, id: ManifestId) {
        let Some(manifest) = self.view.manifest(&id) else { return };
        let Some(mut datanet) = self.view.datanet(&manifest.datanet) else { return };
        for contribution in &manifest.added {
            let Some(record) = self.view.admission(contribution) else { continue };
            let key = keys::contributor(&manifest.datanet, &record.contributor);
            let before = self.view.record::<u64>(&key);
            datanet.contributors += u32::from(before.is_none());
            self.view.put(key, &before.unwrap_or_default().saturating_add(record.bytes));
        }
        datanet.version = manifest.version;
        datanet.proposed = None;
        self.view.put(keys::datanet(&manifest.datanet), &datanet);
        self.view.put(keys::version(&manifest.datanet, manifest.version), &id);
        self.view.remove(keys::proposed(&id));
        let from = self.ctx.height + 1;
        self.events.push(Event::ManifestActive { manifest: id, datanet: manifest.datanet, from });
    }
}

/// What a manifest continues; all zero for the first.
#[derive(Clone, Copy, Default)]
struct Parent {
    content_root: Hash32,
    documents: u64,
    bytes: u64,
}

fn expect<T: PartialEq + std::fmt::Display>(name: &'static str, got: T, expected: T) -> Result<(), Refusal> {
    if got == expected {
        return Ok(());
    }
    Err(field(name, format!("the contributions make it {expected}; the manifest says {got}")))
}
