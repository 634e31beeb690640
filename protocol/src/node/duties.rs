//! What a validator owes besides votes: to hold and attest manifests, to attribute receipts, to commit to the result
//! and then reveal it.
//!
//! What is owed follows from the ledger alone, so [`Node::fulfil_duties`] may run at any time and any number of times,
//! and after a restart it finds again what was left undone. Attribution is a deterministic function of public objects:
//! done twice, it gives the same root.

use super::{Effect, Node, Write};
use crate::crypto::{attribution_commitment, attribution_root};
use crate::envelope::{Verified, seal};
use crate::evidence::Evidence;
use crate::ids::{DataNetId, Hash32, ManifestId, ReceiptId};
use crate::ledger::{self, AttributionBody, Phase, Read as _, Work as OpenWork, keys};
use crate::objects::{Action, AttributionCommit, AttributionReveal, Drops, Object, Operation};
use std::collections::{BTreeMap, BTreeSet};

/// Epochs between two looks at the committees that this node is on.
const DRAW_EPOCHS: u64 = 8;

/// An epoch's receipts against one DataNet.
type Work = (u64, DataNetId);

/// What is done and under way.
#[derive(Debug, Default)]
pub(super) struct Duties {
    /// Manifests whose content is being fetched.
    hosting: BTreeSet<ManifestId>,
    /// Manifests whose content is here and indexed.
    indexed: BTreeSet<ManifestId>,
    /// Work whose evidence is being computed.
    attributing: BTreeSet<Work>,
    /// Results: the root, and the bytes it is the hash of.
    results: BTreeMap<Work, (Hash32, Vec<u8>)>,
    /// Work committed to and work revealed, by objects that were sent and may still wait.
    committed: BTreeSet<Work>,
    revealed: BTreeSet<Work>,
    /// The height at which to look again for content that this node should have.
    next_draw: u64,
}

impl Duties {
    /// The result with this root.
    pub(super) fn body(&self, root: &Hash32) -> Option<&Vec<u8>> {
        self.results.values().find(|(own, _)| own == root).map(|(_, body)| body)
    }

    /// Results that a block may settle.
    pub(super) fn bodies(&self) -> BTreeMap<Work, Vec<u8>> {
        self.results.iter().map(|(work, (_, body))| (*work, body.clone())).collect()
    }
}

impl Node {
    /// A manifest's content is here, checked and indexed.
    pub(super) fn on_indexed(&mut self, manifest: ManifestId) {
        self.duties.hosting.remove(&manifest);
        self.duties.indexed.insert(manifest);
        self.fulfil_duties();
    }

    /// The evidence of an epoch's receipts in a DataNet.
    pub(super) fn on_attributed(&mut self, epoch: u64, datanet: DataNetId, evidence: Vec<(ReceiptId, Evidence)>) {
        let body = AttributionBody { epoch, datanet, receipts: evidence }.to_bytes();
        self.duties.attributing.remove(&(epoch, datanet));
        self.duties.results.insert((epoch, datanet), (attribution_root(&body), body));
        self.fulfil_duties();
    }

    /// Does whatever the ledger says is owed and can be done now.
    pub(super) fn fulfil_duties(&mut self) {
        self.host_manifests();
        self.attest_manifests();
        self.attribute();
        self.audit();
    }

    /// Manifests that are proposed or active are fetched and indexed: by a validator where it is on the committee or will be
    /// soon, by an observer all.
    fn host_manifests(&mut self) {
        let shared = self.genesis.params.stake.committee_size > 0 && self.set.get(&self.address).is_some();
        // Committees change slowly, and drawing them all is work.
        if shared && self.duties.next_draw > self.head.height {
            return;
        }
        self.duties.next_draw = self.head.height.saturating_add(DRAW_EPOCHS);
        let proposed = self.state.scan(&[keys::PROPOSED]).into_keys().map(|key| ManifestId(keys::last_id(key)));
        let active = self.state.scan(&[keys::VERSIONS]).into_values().filter_map(|id| borsh::from_slice(id).ok());
        let mut missing: Vec<ManifestId> = proposed
            .chain(active)
            .filter(|id| !self.duties.indexed.contains(id) && !self.duties.hosting.contains(id))
            .collect();
        if shared {
            let mut expected: BTreeMap<DataNetId, bool> = BTreeMap::new();
            missing.retain(|id| self.is_expected_to_host(id, &mut expected));
        }
        for manifest in missing {
            self.duties.hosting.insert(manifest);
            self.effect(Effect::Host(manifest));
        }
    }

    fn is_expected_to_host(&self, id: &ManifestId, known: &mut BTreeMap<DataNetId, bool>) -> bool {
        let (Some(manifest), Ok(context)) = (self.state.manifest(id), self.next_context()) else { return false };
        let datanet = manifest.datanet;
        let look = || ledger::is_expected(&self.state, &context, &datanet, &self.address);
        *known.entry(datanet).or_insert_with(look)
    }

    fn attest_manifests(&mut self) {
        if self.set.get(&self.address).is_none() {
            return;
        }
        let owed = ledger::unattested(&self.state, &self.address);
        if owed.is_empty() {
            return; // Nearly always, and then the pool need not be looked through.
        }
        let attests = |object: &Verified| match object.object() {
            Object::Operation(Operation { account, action: Action::Attest { manifest }, .. }) => {
                (*account == self.address).then_some(*manifest)
            }
            _ => None,
        };
        let sent: BTreeSet<ManifestId> = self.pool.iter().filter_map(attests).collect();
        for manifest in owed {
            if self.duties.indexed.contains(&manifest) && !sent.contains(&manifest) {
                let nonce = self.next_nonce(&self.address);
                let action = Action::Attest { manifest };
                self.send_own(Object::Operation(Operation { account: self.address, nonce, fee: Drops::ZERO, action }));
            }
        }
    }

    /// Evidence could not be had. It is owed still, and asked for again after the next epoch.
    pub(super) fn on_not_attributed(&mut self, epoch: u64, datanet: DataNetId) {
        self.duties.attributing.remove(&(epoch, datanet));
    }

    fn attribute(&mut self) {
        let open = ledger::open_work(&self.state);
        let names: BTreeSet<Work> = open.iter().map(|work| (work.epoch, work.datanet)).collect();
        for done in [&mut self.duties.attributing, &mut self.duties.committed, &mut self.duties.revealed] {
            done.retain(|work| names.contains(work));
        }
        self.duties.results.retain(|work, _| names.contains(work));
        for work in open {
            self.attend(work);
        }
    }

    fn attend(&mut self, work: OpenWork) {
        let name = (work.epoch, work.datanet);
        let is_member = work.committee.get(&self.address).is_some();
        // Whoever is not on the committee but has the content finds what was agreed on, so that its blocks can settle it.
        let may_settle = matches!(work.phase, Phase::Agreed(_)) && self.set.get(&self.address).is_some();
        if !is_member && !may_settle {
            return;
        }
        let ready = work.manifests.iter().all(|manifest| self.duties.indexed.contains(manifest));
        let Some((root, _)) = self.duties.results.get(&name) else {
            if ready && self.duties.attributing.insert(name) {
                let OpenWork { epoch, datanet, receipts, manifests, .. } = work;
                self.effect(Effect::Attribute { epoch, datanet, receipts, manifests });
            }
            return;
        };
        let (root, validator) = (*root, self.address);
        let (epoch, datanet) = name;
        if !is_member {
            return;
        }
        let said = self.state.said(epoch, &datanet, &validator);
        if said.is_none() && work.phase == Phase::Commit && !self.duties.committed.contains(&name) {
            let commitment = attribution_commitment(&validator, epoch, &datanet, &root);
            let commit = AttributionCommit { validator, epoch, datanet, commitment };
            if self.send_own(Object::AttributionCommit(commit)) {
                self.duties.committed.insert(name);
            }
        }
        // Who came too late to commit reveals all the same, unpaid, so that a quorum can agree.
        let owes_reveal = said.is_none_or(|said| said.root.is_none());
        if owes_reveal && work.phase != Phase::Commit && !self.duties.revealed.contains(&name) {
            let reveal = AttributionReveal { validator, epoch, datanet, root };
            if self.send_own(Object::AttributionReveal(reveal)) {
                self.duties.revealed.insert(name);
            }
        }
    }

    /// Signs an object of our own, keeps it and gossips it. Not taken now, it is owed still and comes again.
    pub(super) fn send_own(&mut self, object: Object) -> bool {
        let sealed = seal(&object, &[&self.key], &self.genesis_hash).and_then(Verified::from_disk);
        let Ok(object) = sealed else { return false };
        let envelope = object.envelope().clone();
        if self.take_object(object, true).is_err() {
            return false;
        }
        self.own.insert(envelope.id());
        self.persist(Write::Pool(envelope.clone()));
        self.effect(Effect::PublishObject(envelope));
        true
    }
}
