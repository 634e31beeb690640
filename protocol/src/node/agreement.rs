//! Blocks: built, checked, decided, committed.

use super::hearing::{self, Hearing};
use super::{Commit, Effect, Head, Node, Notice, Peer, Timer, Token, Verdict, Write};
use crate::block::{Block, Body, Certificate, Header, VoteStep};
use crate::crypto;
use crate::envelope::Verified;
use crate::epoch::Out;
use crate::genesis::canonical;
use crate::ids::{BlockId, Hash32};
use crate::ledger::{self, Executed, Limits, Read as _};
use crate::limits::MAX_CLOCK_DRIFT_MS;
use crate::objects::{Evidence, Object};
use crate::wire::{ConsensusMessage, SignedVote};
use std::sync::Arc;

/// Milliseconds that late precommits have when a whole block waits already: a way around the world.
const GATHER_MS: u64 = 250;

impl Node {
    /// Begins the height after the head, with what was logged for it before a restart.
    pub(super) fn start_height(&mut self, now_ms: u64, log: &[Vec<u8>]) {
        let height = self.head.height + 1;
        self.resting = false;
        if self.is_silent() {
            return; // It follows by decided blocks alone.
        }
        self.begun.clear();
        self.executed.clear();
        self.effect(Effect::CancelTimer(Timer::Epoch));
        self.log_index = u32::try_from(log.len()).unwrap_or(u32::MAX);
        self.heard.forget_below(self.head.height);
        if let Err(reason) = self.host.start(height, log) {
            return self.halt(reason);
        }
        // Blocks of before a restart are offered again to whoever still lacks them.
        for block in self.host.blocks() {
            self.effects.push(Effect::OfferBlock(Box::new(block.clone())));
        }
        let early = self.blocks.begin(height);
        for proposal in self.host.take_bare_proposals() {
            self.want_block(now_ms, &proposal, Peer(Vec::new()));
        }
        for block in early {
            self.on_block(now_ms, block);
        }
    }

    /// The rest between two epochs is over.
    pub(super) fn on_epoch(&mut self, now_ms: u64) {
        if self.resting {
            self.start_height(now_ms, &[]);
        }
    }

    /// Begins the next epoch early when a whole block waits: at once when all validators have signed for the last one,
    /// else after a moment for the others, or those who are far away would be absent from every certificate.
    pub(super) fn hurry_if_full(&mut self, now_ms: u64) {
        // What fills the pool but no block is no reason to hurry.
        if !self.resting || self.head.objects == 0 {
            return;
        }
        let params = &self.genesis.params;
        let (objects, bytes) = self.pool.ready();
        if objects < params.max_block_envelopes as usize && (bytes as u64) < params.max_block_bytes / 2 {
            return;
        }
        let signed = self.head.certificate.as_ref().map_or(0, |certificate| certificate.signatures.len());
        let gathered = self.decided_ms.saturating_add(GATHER_MS);
        if signed >= self.last_set_size || now_ms >= gathered {
            self.start_height(now_ms, &[]);
        } else if gathered < self.epoch_at_ms {
            self.epoch_at_ms = gathered;
            self.effect(Effect::SetTimer(Timer::Epoch, gathered));
        }
    }

    /// A consensus message of a peer.
    pub(super) fn on_consensus(&mut self, now_ms: u64, message: &ConsensusMessage, peer: Peer, token: Token) {
        let (height, next) = (message.height(), self.head.height + 1);
        let name = hearing::name(message);
        let hearing = self.heard.hear(now_ms, &name, message);
        let verdict = match hearing {
            _ if height.saturating_add(1) < next => Verdict::Ignore("old"),
            // Who validates so far ahead is not known here, and agreement keeps nothing of it. The height is a hint all
            // the same, like any that a peer tells.
            _ if height > next + 1 || !self.host.is_near(message) => Verdict::Ignore("ahead"),
            Hearing::Known => Verdict::Ignore("known"),
            Hearing::TooMuch => Verdict::Ignore("toomuch"),
            Hearing::Again => Verdict::Accept,
            Hearing::New => match self.host.check_message(message) {
                Ok(()) => Verdict::Accept,
                Err(word) => Verdict::Reject(word),
            },
        };
        // Late precommits of the last height complete its certificate; nothing else of it is of use to anyone.
        let useless = height < next && verdict == Verdict::Accept && !self.add_late_precommit(message);
        let verdict = if useless { Verdict::Ignore("old") } else { verdict };
        self.effect(Effect::Judge(token, verdict));
        if height > next {
            self.on_peer_height(now_ms, peer.clone(), height - 1);
        }
        if verdict != Verdict::Accept {
            return;
        }
        self.heard.forward(now_ms, name, message);
        if height < next {
            self.hurry_if_full(now_ms); // It may have been the last signature that was waited for.
        }
        // What agreement dropped for being ahead of its round is taken when it comes again.
        if hearing == Hearing::New && height >= next || height == next {
            self.take_consensus(now_ms, message, peer);
        }
    }

    /// A message whose signatures hold.
    fn take_consensus(&mut self, now_ms: u64, message: &ConsensusMessage, peer: Peer) {
        match message {
            ConsensusMessage::Proposal(proposal) => self.want_block(now_ms, proposal, peer),
            ConsensusMessage::Vote(SignedVote { block: Some(id), .. }) => self.ask_again(id, peer),
            _ => {}
        }
        self.host.message(message);
        if self.resting && message.height() == self.head.height + 1 {
            self.begin_with_others(now_ms, message);
        }
    }

    /// A precommit that came after the decision: the next block's certificate shows who took part, not only who was
    /// fastest. Says whether it was of use.
    fn add_late_precommit(&mut self, message: &ConsensusMessage) -> bool {
        let (ConsensusMessage::Vote(vote), Some(certificate)) = (message, self.head.certificate.as_mut()) else {
            return false;
        };
        let is_of = vote.step == VoteStep::Precommit
            && vote.height == certificate.height
            && vote.round == certificate.round
            && vote.block == Some(certificate.block);
        match certificate.signatures.binary_search_by(|(signer, _)| signer.cmp(&vote.validator)) {
            Err(place) if is_of => {
                certificate.signatures.insert(place, (vote.validator, vote.signature));
                true
            }
            _ => false,
        }
    }

    /// Ends the rest between epochs when validators with more than a third of the power have begun: at least one of
    /// them is honest, and waiting longer would only make them wait.
    fn begin_with_others(&mut self, now_ms: u64, message: &ConsensusMessage) {
        match message {
            ConsensusMessage::Vote(vote) => self.begun.insert(vote.validator),
            ConsensusMessage::Proposal(proposal) => self.begun.insert(proposal.validator),
            ConsensusMessage::Polka(_) | ConsensusMessage::Round(_) => false,
        };
        let power = |key| self.set.get(key).map_or(0, |member| u128::from(member.power));
        let begun: u128 = self.begun.iter().map(power).sum();
        if begun * 3 > u128::from(self.set.total_power()) {
            self.start_height(now_ms, &[]);
        }
    }

    pub(super) fn check_block(&mut self, now_ms: u64, id: &BlockId, block: &Block) -> bool {
        if self.executed.contains_key(id) {
            return true;
        }
        let late = now_ms.saturating_add(MAX_CLOCK_DRIFT_MS);
        let result = if block.header.time_ms > late {
            Err(format!("its time lies more than {MAX_CLOCK_DRIFT_MS} ms ahead of this node's clock"))
        } else {
            self.execute(block)
        };
        match result {
            Ok(executed) => {
                self.executed.insert(*id, executed);
                true
            }
            Err(reason) => {
                self.effect(Effect::Tell(Notice::InvalidBlock { block: *id, reason }));
                false
            }
        }
    }

    /// Checks a block against the head and runs it through the ledger.
    fn execute(&mut self, block: &Block) -> Result<Arc<Executed>, String> {
        let (header, body) = (&block.header, &block.body);
        let expect = |holds: bool, what: &str| if holds { Ok(()) } else { Err(what.to_owned()) };
        expect(header.height == self.head.height + 1, "it is not of the next height")?;
        expect(header.parent == self.head.id, "its parent is not the last block")?;
        expect(header.time_ms > self.head.time_ms, "its time is not after its parent's")?;
        expect(header.state_root == self.head.state_root, "its state root is not that of the ledger")?;
        expect(header.validators == self.host.set_hash(header.height), "it names another validator set")?;
        expect(header.next_validators == self.next_set_hash(), "it names another validator set after it")?;
        expect(self.set.get(&header.proposer).is_some(), "its proposer is no validator")?;
        let body_bytes = canonical(body);
        expect(header.body == crypto::body_hash(&body_bytes), "its body is not the one that its header names")?;
        expect(header.beacon == beacon_of(body.last_commit.as_ref()), "its beacon is not that of its certificate")?;
        self.check_last_commit(body.last_commit.as_ref())?;
        let params = &self.genesis.params;
        expect(body_bytes.len() as u64 <= params.max_block_bytes, "it is larger than a block may be")?;
        expect(body.envelopes.len() <= params.max_block_envelopes as usize, "it holds more than a block may")?;
        let mut verified = Vec::with_capacity(body.envelopes.len());
        for envelope in &body.envelopes {
            // What waits in the pool was verified when it came in, if it is the same to the last byte.
            let known = self.pool.get(&envelope.id()).filter(|known| known.envelope() == envelope);
            let object = match known {
                Some(known) => known.clone(),
                None => Verified::check(envelope.clone(), &self.genesis_hash).map_err(|error| error.to_string())?,
            };
            verified.push(object);
        }
        let execute = || ledger::execute_block(&self.state, block, &verified).map(Arc::new);
        #[cfg(any(test, feature = "sim"))]
        let execute = || ledger::memo::executed(self.head.state_root, block.id(), execute);
        execute().map_err(|error| with_causes(&error))
    }

    /// The hash of the set that decides the height after the open one.
    fn next_set_hash(&self) -> Hash32 {
        self.host.set_hash(self.head.height + 2)
    }

    fn check_last_commit(&mut self, commit: Option<&Certificate>) -> Result<(), String> {
        match (commit, &self.head.certificate) {
            (None, None) => Ok(()),
            (Some(commit), Some(own)) if commit == own => Ok(()),
            (Some(commit), Some(_)) => {
                if commit.height != self.head.height || commit.block != self.head.id {
                    return Err("its certificate is not of its parent".to_owned());
                }
                self.host.check_certificate(commit)
            }
            (None, Some(_)) => Err("it lacks its parent's certificate".to_owned()),
            (Some(_), None) => Err("the first block has no parent to certify".to_owned()),
        }
    }

    /// Builds our own block for a round, or offers again the one we have.
    fn propose(&mut self, now_ms: u64, height: u64, round: u32) {
        if height != self.head.height + 1 || !self.host.may_propose(height, round) {
            return;
        }
        let own = self.host.own_block().filter(|block| self.executed.contains_key(&block.id())).cloned();
        let block = match own {
            Some(block) => block,
            None => self.build_block(now_ms),
        };
        let id = block.id();
        if self.check_block(now_ms, &id, &block) {
            self.effect(Effect::OfferBlock(Box::new(block.clone())));
            self.host.propose(round, block);
        }
    }

    fn build_block(&mut self, now_ms: u64) -> Block {
        let bodies = self.duties.bodies();
        let limits = Limits::of(&self.genesis.params);
        let proposal = match self.next_context() {
            Ok(context) => ledger::propose(&self.state, &context, self.pool.iter(), &bodies, limits),
            Err(_) => ledger::Proposal::default(),
        };
        self.drop_from_pool(proposal.refused);
        let body = Body {
            last_commit: self.head.certificate.clone(),
            envelopes: proposal.envelopes,
            settlements: proposal.settlements,
        };
        let header = Header {
            height: self.head.height + 1,
            parent: self.head.id,
            time_ms: now_ms.max(self.head.time_ms + 1),
            proposer: self.address,
            state_root: self.head.state_root,
            validators: self.host.set_hash(self.head.height + 1),
            next_validators: self.next_set_hash(),
            beacon: beacon_of(body.last_commit.as_ref()),
            body: body.hash(),
        };
        Block { header, body }
    }

    /// Carries out what agreement asked for, until it asks for nothing more.
    pub(super) fn settle_agreement(&mut self, now_ms: u64) {
        loop {
            let out = self.host.take_out();
            if out.is_empty() || self.halted {
                break;
            }
            for out in out {
                self.on_out(now_ms, out);
            }
        }
        if let Some(reason) = self.host.fatal().map(str::to_owned)
            && !self.halted
        {
            // Nothing that the core asked for after the failure may leave this node.
            self.halt(reason);
        }
    }

    fn on_out(&mut self, now_ms: u64, out: Out) {
        match out {
            // What was asked for before a decision in the same breath is of no use after it.
            Out::Wal { height, .. } if height <= self.head.height => {}
            Out::Wal { height, entry } => {
                let index = self.log_index;
                self.log_index = self.log_index.saturating_add(1);
                self.persist(Write::Wal { height, index, entry });
            }
            Out::Sign(record) => self.persist(Write::SignRecord(record)),
            Out::Publish(message) => self.effect(Effect::PublishConsensus(message)),
            Out::SetTimer(id, wait_ms) => {
                self.effect(Effect::SetTimer(Timer::Step(id), now_ms.saturating_add(wait_ms)));
            }
            Out::CancelTimer(id) => self.effect(Effect::CancelTimer(Timer::Step(id))),
            Out::GetValue { height, round } => self.propose(now_ms, height, round),
            Out::Offer(id) => {
                if let Some(block) = self.host.block(&id).cloned() {
                    self.effect(Effect::OfferBlock(Box::new(block)));
                }
            }
            Out::Equivocation(offence) => {
                self.effect(Effect::Tell(Notice::Equivocation { validator: offence.validator }));
                self.send_own(Object::Evidence(Box::new(Evidence { reporter: self.address, offence })));
            }
            Out::Silent { height, reason } => self.effect(Effect::Tell(Notice::Silent { height, reason })),
            Out::Decided(certificate) => self.on_decided(now_ms, certificate),
        }
    }

    fn on_decided(&mut self, now_ms: u64, certificate: Certificate) {
        if certificate.height != self.head.height + 1 {
            return;
        }
        let Some(block) = self.host.block(&certificate.block).cloned() else {
            return self.halt(format!("agreement decided block {}, which is not here", certificate.block));
        };
        // After a restart the decided block comes from the log, and was not run through the ledger yet.
        let executed = match self.executed.remove(&certificate.block) {
            Some(executed) => executed,
            None => match self.execute(&block) {
                Ok(executed) => executed,
                Err(reason) => return self.halt(format!("agreement decided a block that does not hold: {reason}")),
            },
        };
        self.commit(block, certificate, executed);
        (self.resting, self.decided_ms) = (true, now_ms);
        self.epoch_at_ms = now_ms.saturating_add(self.genesis.params.epoch_ms);
        self.effect(Effect::SetTimer(Timer::Epoch, self.epoch_at_ms));
        self.hurry_if_full(now_ms);
    }

    /// A decided block that was fetched, whose body and certificate belong to its header: checked in full, then committed.
    ///
    /// `certified` says that the certificate was checked against the set that the header names.
    pub(super) fn commit_fetched(
        &mut self,
        block: Block,
        certificate: Certificate,
        certified: bool,
    ) -> Result<(), String> {
        if block.header.height != self.head.height + 1 {
            return Err(format!("height {} was expected, {} came", self.head.height + 1, block.header.height));
        }
        if !certified {
            self.host.check_certificate(&certificate)?;
        }
        let executed = match self.executed.remove(&certificate.block) {
            Some(executed) => executed,
            None => self.execute(&block)?,
        };
        self.commit(block, certificate, executed);
        Ok(())
    }

    /// Makes a decided epoch durable and moves on: block, certificate, ledger and Merkle state in one write.
    fn commit(&mut self, block: Block, certificate: Certificate, executed: Arc<Executed>) {
        let executed = Arc::unwrap_or_clone(executed);
        let height = block.header.height;
        let update = match self.tree.update(height, &executed.changes) {
            Ok(update) => update,
            Err(error) => return self.halt(format!("the Merkle state cannot be updated: {error}")),
        };
        self.state.apply(&executed.changes);
        let fee = self.genesis.params.object_fee;
        let included = block.body.envelopes.iter().map(crate::objects::Envelope::id);
        let unpooled = included.filter(|id| self.pool.remove(id, fee).is_some()).collect();
        self.pool.reorder_all(|account| self.state.account(account).nonce);
        let objects = u32::try_from(block.body.envelopes.len()).unwrap_or(u32::MAX);
        self.head = Head {
            height,
            objects,
            id: certificate.block,
            time_ms: block.header.time_ms,
            state_root: update.root,
            certificate: Some(certificate.clone()),
        };
        let notice = Notice::Committed {
            height,
            block: certificate.block,
            round: certificate.round,
            objects,
            events: executed.events,
        };
        self.persist(Write::Commit(Box::new(Commit {
            block,
            certificate,
            changes: executed.changes,
            nodes: update.nodes,
            stale_nodes: update.stale,
            unpooled,
        })));
        self.effect(Effect::Tell(notice));
        self.executed.clear();
        self.know_sets();
        self.recall_by(self.head.time_ms);
        if height.is_multiple_of(super::POOL_SWEEP_EPOCHS) {
            self.sweep_pool();
            self.publish_own();
        }
        self.fulfil_duties();
    }
}

/// An error's sentence with those of its causes.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn beacon_of(certificate: Option<&Certificate>) -> Hash32 {
    crypto::beacon(&certificate.map(canonical).unwrap_or_default())
}
