//! What becomes of inputs and effects: the place to look when the core learns to say something new.

use super::attackers::Act;
use super::member::index_of;
use super::world::{Event, NodeIndex, Packet, World};
use crate::block::Block;
use crate::envelope::Verified;
use crate::ids::BlockId;
use crate::node::{Effect, Input, Node, Notice, Source, Timer, Verdict, Write};
use std::rc::Rc;

/// Milliseconds after which whoever asked a peer for a block asks the next one.
const FETCH_PATIENCE_MS: u64 = 2_000;
/// Milliseconds between two rounds of asking all peers.
const FETCH_RETRY_MS: u64 = 40;
/// How often a peer is asked for one block before it is given up.
const FETCH_ROUNDS: usize = 20;
/// Milliseconds after which a request for decided blocks has failed.
const ASK_PATIENCE_MS: u64 = 4_000;
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
            Event::Fetch { node, life, id, height, first, tries } => {
                self.asked_for_block(node, life, id, height, first, tries);
            }
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
                    Packet::Status(height) => Some(Input::PeerStatus { peer: self.peer(from), height }),
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
                self.journal.effect(self.now, index, &effect);
                match &mut crime {
                    None => {
                        self.checks.asked(index, &effect);
                        acts.push(Act::Do(effect));
                    }
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
        self.forget_lock(index);
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
        self.checks.settled_down(self.now, &self.members[index]);
    }

    fn persist(&mut self, index: NodeIndex, write: Write) {
        if self.members[index].is_honest() {
            self.checks.wrote(self.now, index, &write);
        }
        if let Write::Commit(commit) = &write {
            let height = commit.block.header.height;
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
            Effect::PublishObject(envelope) => match Verified::check(envelope, &self.genesis_hash) {
                Ok(object) => self.gossip(index, &Packet::Object(Rc::new(object))),
                Err(refusal) => self.checks.unsound_object(self.now, index, &refusal),
            },
            Effect::PublishConsensus(message) => {
                if self.members[index].is_honest() {
                    self.checks.published(self.now, index, &message);
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
            Effect::FetchBlock { id, height, peer } => {
                let first = index_of(&peer, self.members.len()).unwrap_or(0);
                self.ask_for_block(index, id, height, first, 0, 0);
            }
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

    /// Asks one peer after the other for a proposed block: first whoever is likely to have it.
    fn ask_for_block(
        &mut self,
        node: NodeIndex,
        id: BlockId,
        height: u64,
        first: NodeIndex,
        tries: usize,
        after_ms: u64,
    ) {
        if tries >= FETCH_ROUNDS * self.members.len() {
            return self.input_after(node, after_ms, Input::BlockMissing(id));
        }
        let peer = (first + tries) % self.members.len();
        let way = if peer == node { 0 } else { self.network.latency(node, peer) };
        let life = self.members[node].life;
        self.push(after_ms + way, Event::Fetch { node, life, id, height, first, tries });
    }

    fn asked_for_block(
        &mut self,
        node: NodeIndex,
        life: u32,
        id: BlockId,
        height: u64,
        first: NodeIndex,
        tries: usize,
    ) {
        let count = self.members.len();
        if self.members[node].life != life || self.members[node].height() >= height {
            return;
        }
        let peer = (first + tries) % count;
        let pause = if (tries + 1).is_multiple_of(count) { FETCH_RETRY_MS } else { 0 };
        if peer == node {
            return self.ask_for_block(node, id, height, first, tries + 1, pause);
        }
        if self.network.loses(node, peer) || self.network.loses(peer, node) || self.members[peer].node.is_none() {
            return self.ask_for_block(node, id, height, first, tries + 1, FETCH_PATIENCE_MS);
        }
        let back = self.network.latency(peer, node);
        let block = self.served(peer, &id, height);
        match block {
            Some(block) => {
                if std::mem::replace(&mut self.false_bodies, false) {
                    let mut altered = block.clone();
                    altered.body.settlements.push(vec![1]);
                    self.input_after(node, back, Input::Block(Box::new(altered)));
                    self.false_bodies = true;
                }
                // What does not have the right id and body, the driver asks the next peer for.
                let right = block.id() == id && block.header.body == block.body.hash();
                match right {
                    true => self.input_after(node, back + 1, Input::Block(Box::new(block))),
                    false => self.ask_for_block(node, id, height, first, tries + 1, back + pause),
                }
            }
            None => self.ask_for_block(node, id, height, first, tries + 1, back + pause),
        }
    }

    fn served(&mut self, peer: NodeIndex, id: &BlockId, height: u64) -> Option<Block> {
        let block = self.block_of(peer, id, height);
        let Some(mut crime) = self.members[peer].crime.take() else { return block };
        let mut dice = self.dice.clone();
        let block = crime.serves(&mut self.tools(peer, &mut dice), id, block);
        self.dice = dice;
        self.members[peer].crime = Some(crime);
        block
    }

    fn ask_for_blocks(&mut self, node: NodeIndex, peer: &crate::node::Peer, from: u64, count: u32) {
        let to = index_of(peer, self.members.len());
        match to.filter(|to| !self.network.loses(node, *to) && self.members[*to].node.is_some()) {
            Some(to) => {
                let (way, life) = (self.network.latency(node, to), self.members[node].life);
                self.push(way, Event::Ask { node, life, peer: to, from, count });
            }
            None => {
                let peer = peer.clone();
                self.input_after(node, ASK_PATIENCE_MS, Input::Blocks { peer, blocks: Vec::new() });
            }
        }
    }

    fn asked_for_blocks(&mut self, node: NodeIndex, life: u32, peer: NodeIndex, from: u64, count: u32) {
        if self.members[node].life != life {
            return;
        }
        let range = from..from.saturating_add(u64::from(count));
        let blocks = self.members[peer].disk.blocks().range(range);
        let mut blocks: Vec<_> = blocks.map(|(_, decided)| (decided.0.clone(), decided.1.clone())).collect();
        if let Some(mut crime) = self.members[peer].crime.take() {
            let mut dice = self.dice.clone();
            crime.serves_decided(&mut self.tools(peer, &mut dice), &mut blocks);
            self.dice = dice;
            self.members[peer].crime = Some(crime);
        }
        let way = self.network.latency(peer, node);
        let lost = self.network.loses(peer, node);
        let (after, blocks) = if lost { (ASK_PATIENCE_MS, Vec::new()) } else { (way, blocks) };
        self.input_after(node, after, Input::Blocks { peer: self.peer(peer), blocks });
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

    /// Ablation "no lock": with each round but the first, all that agreement wrote is gone.
    fn forget_lock(&mut self, index: NodeIndex) {
        if !self.forgets.locks {
            return;
        }
        let member = &mut self.members[index];
        let Some((height, Some(round))) = member.node.as_ref().map(Node::agreeing) else { return };
        if round > 0 && member.forgot != (height, round) {
            member.forgot = (height, round);
            member.power_off();
            member.disk.lose_memory();
            self.journal.fault(self.now, index, "forgotten lock");
            self.start_after(index, 1);
        }
    }

    /// A guest that has caught up starts again under its own key.
    fn let_guest_in(&mut self, index: NodeIndex) {
        let member = &mut self.members[index];
        let caught_up = |until: &u64| member.node.as_ref().is_some_and(|node: &Node| node.height() >= *until);
        if member.guest_until.as_ref().is_some_and(caught_up) {
            member.guest_until = None;
            member.power_off();
            self.start_after(index, 10);
        }
    }
}
