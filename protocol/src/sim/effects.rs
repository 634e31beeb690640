//! What becomes of inputs and effects: the place to look when the core learns to say something new.

use super::attackers::Act;
use super::requests::{Fetch, Want};
use super::world::{Event, NodeIndex, Packet, World};
use crate::envelope::Verified;
use crate::node::{Effect, Input, Node, Notice, Source, Timer, Verdict, Write};
use crate::wire::ConsensusMessage;
use std::rc::Rc;

/// Milliseconds that fetching and indexing a manifest takes.
const INDEXING_MS: u64 = 30;
/// Milliseconds that attribution takes.
const ATTRIBUTING_MS: u64 = 15;

impl World {
    pub(super) fn happen(&mut self, event: Event) {
        match event {
            Event::Packet { to, .. } | Event::Input { to, .. } => {
                let mut inputs: Vec<Input> = self.input_of(event).into_iter().collect();
                while self.members[to].batches
                    && let Some(more) = self.next_for(to)
                {
                    inputs.extend(self.input_of(more));
                }
                if !inputs.is_empty() {
                    self.inputs(to, inputs);
                }
            }
            Event::Wake { node, life, timer } => self.wake(node, life, timer),
            Event::Fetch { node, life, fetch } => self.asked_for_block(node, life, *fetch),
            Event::Ask { node, life, peer, from, count } => self.asked_for_blocks(node, life, peer, from, count),
            Event::Start(node) => self.start(node),
        }
    }

    /// The border: what arrives becomes an input, or is refused here.
    fn input_of(&mut self, event: Event) -> Option<Input> {
        match event {
            Event::Input { to, life, input } => (self.members[to].life == life).then_some(*input),
            Event::Packet { from, to, life, packet } => {
                if self.members[to].life != life || self.members[to].node.is_none() {
                    return None;
                }
                let token = self.token(from);
                match packet {
                    Packet::Object(object) => Some(Input::Object(object.as_ref().clone(), Source::Gossip(token))),
                    Packet::Unchecked(envelope) => {
                        match Verified::check(envelope.as_ref().clone(), &self.genesis_hash) {
                            Ok(object) => Some(Input::Object(object, Source::Gossip(token))),
                            Err(_) => {
                                self.journal.fault(self.now, to, "refused at the border");
                                None
                            }
                        }
                    }
                    Packet::Consensus(message) => {
                        let message = message.as_ref().clone();
                        Some(Input::Consensus { message, peer: self.peer(from), token })
                    }
                    Packet::Status(height) => Some(Input::PeerStatus { peer: self.peer(from), height, lowest: 1 }),
                }
            }
            _ => None,
        }
    }

    /// Gives a node inputs that its driver handles together, and carries out what it asks for.
    pub(super) fn inputs(&mut self, index: NodeIndex, inputs: Vec<Input>) {
        let mut acts = Vec::new();
        let mut crime = self.members[index].crime.take();
        let mut dice = self.dice.clone();
        for mut input in inputs {
            if let Some(crime) = &mut crime {
                let mut tools = self.tools(index, &mut dice);
                if !crime.hears(&mut tools, &mut input, &mut acts) {
                    continue;
                }
            }
            let now = self.members[index].clock.read(self.now);
            let Some(node) = self.members[index].node.as_mut() else { break };
            for effect in node.handle(now, input) {
                if self.checked {
                    self.journal.effect(self.now, index, &effect);
                }
                if self.members[index].honest {
                    self.checks.asked(self.now, index, &effect);
                }
                match &mut crime {
                    None => acts.push(Act::Do(effect)),
                    Some(crime) => crime.asked(&mut self.tools(index, &mut dice), effect, &mut acts),
                }
            }
        }
        if crime.is_some() {
            self.dice = dice;
            self.members[index].crime = crime;
        }
        self.carry_out_all(index, acts);
        self.let_guest_in(index);
    }

    /// In order; or, for a driver that gathers writes, all writes first and as one batch. Power may fail at any place.
    fn carry_out_all(&mut self, index: NodeIndex, acts: Vec<Act>) {
        let acts = match self.members[index].batches {
            false => acts,
            true => {
                let is_write = |act: &Act| matches!(act, Act::Do(Effect::Persist(_)));
                let (writes, rest): (Vec<Act>, Vec<Act>) = acts.into_iter().partition(is_write);
                writes.into_iter().chain(rest).collect()
            }
        };
        let mut dirty = false;
        for act in acts {
            if let Some(fuse) = &mut self.members[index].fuse {
                if *fuse == 0 {
                    self.journal.fault(self.now, index, "cut in the middle");
                    self.cut_power(index);
                    let after = self.dice.between(20, 2_500);
                    return self.start_after(index, after);
                }
                *fuse -= 1;
            }
            if self.members[index].node.is_none() {
                return;
            }
            if let Act::Do(Effect::Persist(write)) = act {
                self.persist(index, write);
                dirty = true;
                continue;
            }
            if dirty {
                self.members[index].disk.sync();
                dirty = false;
            }
            self.carry_out(index, act);
        }
        if dirty {
            self.members[index].disk.sync();
        }
        if self.checked {
            self.checks.settled_down(self.now, &self.members[index]);
        }
    }

    fn persist(&mut self, index: NodeIndex, write: Write) {
        if self.checked && self.members[index].is_honest() {
            self.checks.wrote(self.now, index, &write);
        }
        if let Write::Commit(commit) = &write {
            let height = commit.block.header.height;
            if let Some(watch) = &mut self.stopwatch {
                watch.committed(self.now, commit.certificate.block, commit.certificate.round);
            }
            self.members[index].offered.retain(|_, block| block.header.height >= height);
        }
        self.members[index].disk.write(write);
    }

    fn carry_out(&mut self, index: NodeIndex, act: Act) {
        match act {
            Act::Do(effect) => self.carry_out_effect(index, effect),
            Act::Gossip(packet) => self.gossip(index, &packet),
            Act::Send(to, packet) => self.send_if_possible(index, to, packet),
        }
    }

    fn carry_out_effect(&mut self, index: NodeIndex, effect: Effect) {
        match effect {
            // Carried out before, with what surrounds it.
            Effect::Persist(_) => {}
            Effect::PublishObject(_) if self.mute => {}
            Effect::PublishObject(envelope) => match Verified::check(envelope, &self.genesis_hash) {
                Ok(object) => self.gossip(index, &Packet::Object(Rc::new(object))),
                Err(refusal) => self.checks.unsound_object(self.now, index, &refusal),
            },
            Effect::PublishConsensus(message) => {
                if self.members[index].is_honest() {
                    self.checks.published(self.now, index, &message);
                }
                if let (Some(watch), ConsensusMessage::Proposal(proposal)) = (&mut self.stopwatch, &message) {
                    watch.proposed(self.now, proposal.block);
                }
                self.gossip(index, &Packet::Consensus(Rc::new(message)));
            }
            Effect::Judge(token, verdict) => {
                let from = usize::try_from(token.0 & 0x3ff).unwrap_or(0);
                let both_honest = self.members[index].is_honest() && self.members[from].is_honest();
                if let (true, Verdict::Reject(word)) = (both_honest, verdict) {
                    self.checks.rejected(self.now, index, from, word);
                }
            }
            Effect::Reply(token, result) => {
                if self.members[index].is_honest() {
                    self.checks.replied(index, token, &result);
                }
                self.replies.insert(token, result);
            }
            Effect::SetTimer(timer, at) => {
                self.members[index].timers.insert(timer, at);
                self.arm(index, timer);
            }
            Effect::CancelTimer(timer) => {
                self.members[index].timers.remove(&timer);
            }
            Effect::OfferBlock(block) => {
                self.members[index].offered.insert(block.id(), Rc::new(*block));
            }
            Effect::FetchBlock { id, height, peer, whole } => {
                let want = if whole { Want::Whole } else { Want::Short };
                self.ask_for_block(index, Fetch::of(id, height, &peer, want, self.members.len()), 0);
            }
            Effect::FetchParts { id, height, peer, missing } => {
                let want = Want::Parts(missing);
                self.ask_for_block(index, Fetch::of(id, height, &peer, want, self.members.len()), 0);
            }
            Effect::Ask { peer, question } => self.ask(index, peer, question),
            Effect::Answer { token, answer } => self.answer(index, token, answer),
            Effect::RequestBlocks { peer, from, count } => self.ask_for_blocks(index, &peer, from, count),
            Effect::Host(manifest) => self.input_after(index, INDEXING_MS, Input::Indexed { manifest }),
            Effect::Attribute { epoch, datanet, receipts, manifests } => {
                let evidence = match &self.members[index].node {
                    Some(node) => self.content.evidence(node.state(), &datanet, &receipts, &manifests),
                    None => return,
                };
                self.leak(index, epoch, datanet, &evidence);
                self.input_after(index, ATTRIBUTING_MS, Input::Attributed { epoch, datanet, evidence });
            }
            // Nobody makes models by influence in here.
            Effect::AuditRows { model, root, .. } => {
                self.input_after(index, ATTRIBUTING_MS, Input::RowsAudited { model, root, wrong: None });
            }
            Effect::AuditQuery { receipt } => {
                self.input_after(index, ATTRIBUTING_MS, Input::QueryAudited { receipt, is_wrong: false });
            }
            Effect::Tell(Notice::Equivocation { validator }) => self.checks.accused(self.now, index, &validator),
            Effect::Tell(_) => {}
            Effect::Halt(reason) => self.stop(index, &reason),
        }
    }

    /// The core refuses to go on.
    fn stop(&mut self, index: NodeIndex, reason: &str) {
        if self.members[index].is_honest() {
            self.checks.stopped(self.now, index, reason);
        }
        self.members[index].power_off();
        self.start_after(index, 3_000);
    }

    /// Sends to everybody.
    pub(super) fn gossip(&mut self, from: NodeIndex, packet: &Packet) {
        for to in (0..self.members.len()).filter(|to| *to != from) {
            self.send_if_possible(from, to, packet.clone());
        }
    }

    fn send_if_possible(&mut self, from: NodeIndex, to: NodeIndex, packet: Packet) {
        if self.members[to].node.is_none() {
            return;
        }
        let fate = self.network.fate(from, to);
        if let Some(after) = fate.again_ms {
            self.journal.fault(self.now, to, "duplicated");
            self.send(from, to, after, packet.clone());
        }
        match fate.after_ms {
            Some(after) => self.send(from, to, after, packet),
            None => self.journal.fault(self.now, to, "lost message"),
        }
    }

    fn wake(&mut self, node: NodeIndex, life: u32, timer: Timer) {
        let member = &mut self.members[node];
        let Some(at) = member.timers.get(&timer).copied().filter(|_| member.life == life) else { return };
        if member.clock.read(self.now) < at {
            return self.arm(node, timer);
        }
        member.timers.remove(&timer);
        self.input(node, Input::Timer(timer));
    }

    /// Ablation "no commit phase": whoever only copies learns a root before he has to commit.
    fn leak(
        &mut self,
        index: NodeIndex,
        epoch: u64,
        datanet: crate::ids::DataNetId,
        evidence: &[(crate::ids::ReceiptId, crate::evidence::Evidence)],
    ) {
        if self.leaks_roots && self.members[index].is_honest() {
            for member in &mut self.members {
                if let Some(crime) = &mut member.crime {
                    crime.leaked(epoch, datanet, evidence);
                }
            }
        }
    }

    /// A node without memory that has caught up and takes part again is like the others.
    fn let_guest_in(&mut self, index: NodeIndex) {
        let member = &mut self.members[index];
        let is_back =
            |until: &u64| member.node.as_ref().is_some_and(|node: &Node| node.height() >= *until && !node.is_silent());
        if member.guest_until.as_ref().is_some_and(is_back) {
            member.guest_until = None;
        }
    }
}
