//! What a simulation leaves: a digest of everything that happened, counts of faults, and the event log if asked for.

use super::world::NodeIndex;
use crate::node::{Effect, Write};
use borsh::BorshSerialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// So many bytes are hashed together.
const ENOUGH: usize = 64 * 1024;

/// The record of one run.
#[derive(Debug)]
pub struct Journal {
    digest: blake3::Hasher,
    /// Bytes that wait for the digest: many together are hashed several times as fast.
    bytes: Vec<u8>,
    log: Option<String>,
    /// Faults injected, by kind.
    pub faults: BTreeMap<&'static str, u64>,
}

impl Journal {
    /// An empty one; with a log in words, if `logged`.
    pub fn new(logged: bool) -> Self {
        Self {
            digest: blake3::Hasher::new(),
            bytes: Vec::new(),
            log: logged.then(String::new),
            faults: BTreeMap::new(),
        }
    }

    /// A fault was injected.
    pub fn fault(&mut self, now_ms: u64, node: NodeIndex, kind: &'static str) {
        *self.faults.entry(kind).or_default() += 1;
        self.update(kind.as_bytes());
        self.note(now_ms, node, || format!("FAULT {kind}"));
    }

    /// A node asked for something. All of it enters the digest, of blocks only their id.
    pub fn effect(&mut self, now_ms: u64, node: NodeIndex, effect: &Effect) {
        self.update(&now_ms.to_le_bytes());
        self.update(&(node as u64).to_le_bytes());
        // Writing to memory does not fail.
        let _ = match effect {
            Effect::OfferBlock(block) => block.id().serialize(&mut self.bytes),
            Effect::Persist(Write::Commit(commit)) => (&commit.certificate, &commit.changes).serialize(&mut self.bytes),
            other => other.serialize(&mut self.bytes),
        };
        self.note(now_ms, node, || describe(effect));
    }

    fn update(&mut self, bytes: &[u8]) {
        if self.bytes.len() >= ENOUGH {
            self.digest.update(&self.bytes);
            self.bytes.clear();
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Writes a line of the log, if there is one.
    pub fn note(&mut self, now_ms: u64, node: NodeIndex, text: impl FnOnce() -> String) {
        if let Some(log) = &mut self.log {
            // Writing to a string does not fail.
            let _ = writeln!(log, "{now_ms} n{node} {}", text());
        }
    }

    /// The digest so far.
    pub fn digest(&self) -> [u8; 32] {
        *self.digest.clone().update(&self.bytes).finalize().as_bytes()
    }

    /// The log, if there is one.
    pub fn log(&self) -> Option<&str> {
        self.log.as_deref()
    }
}

fn describe(effect: &Effect) -> String {
    match effect {
        Effect::Persist(Write::Wal { height, index, entry }) => {
            format!("persist wal {height}/{index} {} bytes", entry.len())
        }
        Effect::Persist(Write::SignRecord(_)) => "persist sign record".to_owned(),
        Effect::Persist(Write::Pool(envelope)) => format!("persist pool {:?} {}", envelope.kind, envelope.id()),
        Effect::Persist(Write::Commit(commit)) => format!(
            "persist commit {} {} round {} with {} objects, {} settlements",
            commit.block.header.height,
            commit.certificate.block,
            commit.certificate.round,
            commit.block.body.envelopes.len(),
            commit.block.body.settlements.len(),
        ),
        Effect::PublishObject(envelope) => format!("publish {:?} {}", envelope.kind, envelope.id()),
        Effect::OfferBlock(block) => format!("offer block {} {}", block.header.height, block.id()),
        other => format!("{other:?}"),
    }
}
