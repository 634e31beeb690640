//! People: they make a DataNet, contribute to it, publish it, put a model on it, and then pay for answers and send money
//! through whichever node they find running.

use super::dice::Dice;
use super::world::{NodeIndex, PEOPLE, World, person};
use crate::crypto::{SecretKey, content_root, document_hash, prompt_commitment};
use crate::ids::{ContributionId, DataNetId, Hash32, ManifestId, ModelId, ObjectId};
use crate::ledger::{Read as _, State};
use crate::objects::*;
use crate::refusal::Refusal;

/// People that contribute before the first manifest.
const AUTHORS: u64 = 3;
/// Prices of the one model.
const PRICE_IN: Drops = Drops(1_000_000);
/// Of its answers.
const PRICE_OUT: Drops = Drops(2_000_000);

const WORDS: [&str; 48] = [
    "river",
    "stone",
    "lantern",
    "quiet",
    "harbour",
    "copper",
    "winter",
    "garden",
    "letter",
    "thunder",
    "meadow",
    "silver",
    "window",
    "orchard",
    "candle",
    "bridge",
    "feather",
    "market",
    "shadow",
    "island",
    "velvet",
    "compass",
    "autumn",
    "whisper",
    "pebble",
    "mirror",
    "forest",
    "anchor",
    "saffron",
    "ribbon",
    "granite",
    "violin",
    "harvest",
    "ember",
    "glacier",
    "tapestry",
    "beacon",
    "cedar",
    "marble",
    "willow",
    "cobalt",
    "juniper",
    "parchment",
    "zephyr",
    "obsidian",
    "lattice",
    "meridian",
    "sundial",
];

/// What people have done so far.
pub struct Load {
    dice: Dice,
    datanet: Option<DataNetId>,
    /// Contributions, each with its only document.
    contributions: Vec<(ContributionId, Document)>,
    /// How many of them are in manifests.
    published: usize,
    manifests: Vec<ManifestId>,
    model: Option<ModelId>,
    receipts: u64,
    texts: Vec<String>,
    last: Option<(Object, Vec<SecretKey>)>,
}

impl Load {
    /// People who have done nothing yet.
    pub fn new(seed: u64) -> Self {
        Self {
            dice: Dice::new(seed, "load"),
            datanet: None,
            contributions: Vec::new(),
            published: 0,
            manifests: Vec::new(),
            model: None,
            receipts: 0,
            texts: Vec::new(),
            last: None,
        }
    }

    /// Can people pay for answers, everywhere?
    pub fn is_ready(&self, world: &World) -> bool {
        let knows = |state: &State| self.model.is_some_and(|model| state.model(&model).is_some());
        self.model.is_some() && world.members.iter().filter_map(|member| member.node.as_ref()).all(|n| knows(n.state()))
    }

    /// The model, once there is one.
    pub fn model(&self) -> Option<ModelId> {
        self.model
    }

    /// Somebody does something at a node that runs, if there is one.
    pub fn tick(&mut self, world: &mut World) {
        let up: Vec<NodeIndex> =
            world.honest().filter(|(_, member)| member.node.is_some()).map(|(index, _)| index).collect();
        let Some(at) = self.dice.pick(&up).copied() else { return };
        if self.prepare(world, at) {
            return;
        }
        match self.dice.roll(100) {
            0..60 => self.buy_answer(world, at),
            60..85 => self.transfer(world, at),
            85..92 => self.contribute_more(world, at),
            92..96 => self.publish_more(world, at),
            _ => self.say_again(world, at),
        }
    }

    /// Gives an object to a node. True when it is kept there now, or was before.
    fn give(&mut self, world: &mut World, at: NodeIndex, object: Object, keys: Vec<SecretKey>) -> Option<ObjectId> {
        let refs: Vec<&SecretKey> = keys.iter().collect();
        let answer = world.submit(at, &object, &refs);
        self.last = Some((object, keys));
        match answer? {
            Ok(id) | Err(Refusal::Duplicate { id }) => Some(id),
            Err(_) => None,
        }
    }

    /// Does what is missing before people can pay for answers. False when nothing is.
    fn prepare(&mut self, world: &mut World, at: NodeIndex) -> bool {
        let Some(node) = world.members[at].node.as_ref() else { return true };
        let state = node.state();
        let Some(datanet) = self.datanet else {
            self.datanet = self.give(world, at, Object::DataNet(datanet()), vec![person(0)]).map(Into::into);
            return true;
        };
        if state.datanet(&datanet).is_none() {
            return true;
        }
        if (self.contributions.len() as u64) < AUTHORS {
            self.contribute(world, at, datanet);
            return true;
        }
        let admitted = self.contributions.iter().all(|(id, _)| state.admission(id).is_some());
        if self.manifests.is_empty() {
            if admitted {
                self.publish(world, at, datanet);
            }
            return true;
        }
        let first = self.manifests[0];
        let is_active = state.manifest_at(&datanet, 1) == Some(first);
        let Some(model) = self.model else {
            if is_active {
                self.model = self.give(world, at, Object::ModelManifest(model(first)), vec![person(4)]).map(Into::into);
            }
            return true;
        };
        state.model(&model).is_none()
    }

    fn contribute(&mut self, world: &mut World, at: NodeIndex, datanet: DataNetId) {
        let author = 1 + self.contributions.len() as u64 % AUTHORS;
        let count = self.dice.between(24, 40);
        let words: Vec<&str> = (0..count).filter_map(|_| self.dice.pick(&WORDS).copied()).collect();
        let text = format!("{} {}.", words.join(" "), self.texts.len());
        let hash = document_hash(text.as_bytes());
        let document = Document { title: format!("tale {}", self.texts.len()), hash, bytes: text.len() as u64 };
        let object = contribution(&person(author), datanet, document.clone());
        if let Some(id) = self.give(world, at, Object::Contribution(object), vec![person(author)]) {
            world.content.documents.insert(hash, text.clone());
            self.texts.push(text);
            self.contributions.push((id.into(), document));
        }
    }

    /// A manifest of all that was admitted and is in none.
    fn publish(&mut self, world: &mut World, at: NodeIndex, datanet: DataNetId) {
        let Some(state) = world.members[at].node.as_ref().map(|node| node.state()) else { return };
        let parent = self.manifests.last().copied();
        let (root, documents, bytes) = match parent.map(|id| state.manifest(&id)) {
            None => (Hash32::default(), 0, 0),
            Some(Some(record)) => (record.content_root, record.documents, record.bytes),
            Some(None) => return,
        };
        let is_admitted =
            |(id, _): &&(ContributionId, Document)| state.admission(id).is_some_and(|record| record.manifest.is_none());
        let added: Vec<(ContributionId, Document)> =
            self.contributions[self.published..].iter().take_while(is_admitted).cloned().collect();
        if added.is_empty() {
            return;
        }
        let hashes: Vec<Hash32> = added.iter().map(|(_, document)| document.hash).collect();
        let manifest = DatasetManifest {
            owner: person(0).account(),
            datanet,
            version: u32::try_from(self.manifests.len()).unwrap_or(0) + 1,
            parent,
            added: added.iter().map(|(id, _)| *id).collect(),
            content_root: content_root(&root, &hashes),
            documents: documents + added.len() as u64,
            bytes: bytes + added.iter().map(|(_, document)| document.bytes).sum::<u64>(),
            host: vec![0],
        };
        if let Some(id) = self.give(world, at, Object::DatasetManifest(manifest), vec![person(0)]) {
            self.published += added.len();
            self.manifests.push(id.into());
        }
    }

    fn contribute_more(&mut self, world: &mut World, at: NodeIndex) {
        if let Some(datanet) = self.datanet.filter(|_| self.contributions.len() < 8) {
            self.contribute(world, at, datanet);
        }
    }

    fn publish_more(&mut self, world: &mut World, at: NodeIndex) {
        let Some(datanet) = self.datanet else { return };
        let state = world.members[at].node.as_ref().map(|node| node.state());
        let version = u32::try_from(self.manifests.len()).unwrap_or(0);
        let is_active = state.is_some_and(|state| state.manifest_at(&datanet, version).is_some());
        if is_active {
            self.publish(world, at, datanet);
        }
    }

    /// An answer that quotes somebody, and something of its own.
    fn answer(&mut self) -> String {
        let quoted = self.dice.pick(&self.texts).cloned().unwrap_or_default();
        let words: Vec<&str> = quoted.split(' ').collect();
        let from = self.dice.index(words.len().saturating_sub(6));
        let count = usize::try_from(self.dice.between(3, 12)).unwrap_or(3);
        let quote = words.iter().skip(from).take(count).copied().collect::<Vec<_>>().join(" ");
        let own: Vec<&str> = (0..self.dice.roll(5)).filter_map(|_| self.dice.pick(&WORDS).copied()).collect();
        format!("{quote} {}", own.join(" "))
    }

    /// One more receipt, valid until some epochs after `height`.
    pub fn receipt(&mut self, model: ModelId, payer: &SecretKey, server: &SecretKey, height: u64) -> Receipt {
        self.receipts += 1;
        let (tokens_in, tokens_out) = (self.dice.between(1, 200), self.dice.between(1, 400));
        let ahead = if self.dice.chance(100) { self.dice.between(1, 4) } else { 100 };
        Receipt {
            payer: payer.account(),
            server: server.account(),
            model,
            prompt: prompt_commitment(&[0; 32], "How was it?"),
            output: self.answer(),
            tokens_in,
            tokens_out,
            fee: ModelManifest::price(PRICE_IN, PRICE_OUT, tokens_in, tokens_out).unwrap_or_default(),
            expiry: height + ahead,
            nonce: self.receipts,
            trace: None,
        }
    }

    fn buy_answer(&mut self, world: &mut World, at: NodeIndex) {
        let Some(model) = self.model else { return };
        let (payer, server) = (person(self.dice.between(5, 7)), person(self.dice.between(8, PEOPLE - 1)));
        let height = world.members[at].height();
        let receipt = self.receipt(model, &payer, &server, height);
        self.give(world, at, Object::Receipt(receipt), vec![payer, server]);
    }

    fn transfer(&mut self, world: &mut World, at: NodeIndex) {
        let Some(node) = world.members[at].node.as_ref() else { return };
        let payer = person(self.dice.roll(PEOPLE));
        let nonce = node.next_nonce(&payer.account());
        let action = Action::Transfer {
            to: person(self.dice.roll(PEOPLE)).account(),
            amount: Drops(u128::from(self.dice.between(1, 1_000_000))),
        };
        let operation = Operation { account: payer.account(), nonce, fee: Drops(1_000_000), action };
        self.give(world, at, Object::Operation(operation), vec![payer]);
    }

    /// The same object again, at another node: it counts once.
    fn say_again(&mut self, world: &mut World, at: NodeIndex) {
        if let Some((object, keys)) = self.last.clone() {
            self.give(world, at, object, keys);
        }
    }
}

fn datanet() -> DataNet {
    DataNet {
        owner: person(0).account(),
        name: "tales".into(),
        description: "short ones".into(),
        admission: Admission::Open,
        licences: vec!["CC0-1.0".into()],
        max_contribution_bytes: 1 << 20,
        max_known_basis_points: 10_000,
    }
}

fn contribution(author: &SecretKey, datanet: DataNetId, document: Document) -> Contribution {
    Contribution {
        contributor: author.account(),
        datanet,
        credit: "Author".into(),
        title: document.title.clone(),
        source: "memory".into(),
        language: "en".into(),
        licence: "CC0-1.0".into(),
        origin: Origin::PublicDomain,
        usage: UsagePolicy {
            ai_training: Permission::Allowed,
            ai_generative_training: Permission::Allowed,
            ai_inference: Permission::Allowed,
            data_mining: Permission::Allowed,
        },
        previous: None,
        documents: vec![document],
    }
}

fn model(manifest: ManifestId) -> ModelManifest {
    ModelManifest {
        builder: person(4).account(),
        name: "teller".into(),
        weights: Hash32([5; 32]),
        base: None,
        reserve_bp: 0,
        lineage: vec![LineageEntry { manifest, weight: 1 }],
        method: Method::Spans,
        price_in: PRICE_IN,
        price_out: PRICE_OUT,
        checkpoint: None,
    }
}
