//! A small network without a network: keys, blocks, honest validators with a naive search.

use protocol::block::{Block, Body, Certificate, Header};
use protocol::crypto::{SecretKey, Signature, attribution_commitment, content_root, document_hash};
use protocol::envelope::{Verified, seal};
use protocol::evidence::answer::Word;
use protocol::evidence::{Answer, Evidence, Frequencies, Holder, Influence, Partial, Span, fold_answer};
use protocol::fold::fold;
use protocol::genesis::{Genesis, GenesisValidator, Params};
use protocol::ids::*;
use protocol::influence::{Fisher, Rows, positive_sums, residual, score};
use protocol::ledger::records::{Admission as Admitted, ReceiptRecord, ReceiptState, Settlement};
use protocol::ledger::*;
use protocol::objects::*;
use protocol::refusal::Refusal;
use protocol::tree::Tree;
use protocol::words::words;
use std::collections::BTreeMap;

pub(crate) const VALIDATORS: u8 = 4;
pub(crate) const START: u128 = 1_000 * Drops::CREDIT.0;

/// A world at rest between two blocks. People are numbered from 100, validators from 0.
pub(crate) struct World {
    pub(crate) genesis: Genesis,
    pub(crate) state: State,
    pub(crate) tree: Tree,
    /// The text of every document.
    pub(crate) texts: BTreeMap<Hash32, String>,
    /// The rows and Fisher rows of models by influence.
    pub(crate) rows: BTreeMap<ModelId, (Rows, Fisher)>,
    /// Operations that were signed, so that several fit into one block.
    nonces: BTreeMap<Account, u64>,
    serial: u64,
    /// How many validators the genesis has.
    pub(crate) validators: u8,
    /// Who did not sign for the last block; none when the next one carries no certificate.
    pub(crate) absent: Option<Vec<u8>>,
}

pub(crate) fn key(number: u8) -> SecretKey {
    SecretKey::from_seed([number; 32])
}

pub(crate) fn who(number: u8) -> Account {
    key(number).account()
}

/// The validator with this number in the genesis' order is paid here.
pub(crate) fn payout(validator: u8) -> Account {
    who(200 + validator)
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(Params::devnet())
    }

    pub(crate) fn with(params: Params) -> Self {
        Self::with_validators(params, VALIDATORS)
    }

    pub(crate) fn with_validators(params: Params, count: u8) -> Self {
        let powers: Vec<u64> = (0..count).map(|number| 10 + u64::from(number)).collect();
        Self::with_powers(params, &powers)
    }

    pub(crate) fn with_powers(params: Params, powers: &[u64]) -> Self {
        let member = |(number, power): (u8, &u64)| GenesisValidator {
            key: who(number),
            payout: payout(number),
            power: *power,
            name: format!("validator-{number}"),
        };
        let mut validators: Vec<_> = (0..).zip(powers).map(member).collect();
        let count = u8::try_from(powers.len()).expect("a small set");
        validators.sort_by_key(|validator| validator.key);
        let mut accounts: Vec<_> = (100..120).map(|number| (who(number), Drops(START))).collect();
        accounts.sort();
        let genesis = Genesis { network: "ledger-test".into(), time_ms: 0, params, validators, accounts };
        genesis.check().expect("a sound genesis");
        let changes = genesis_changes(&genesis);
        let (mut state, mut tree) = (State::default(), Tree::default());
        state.apply(&changes);
        tree.update(0, &changes).expect("a first version");
        Self {
            genesis,
            state,
            tree,
            texts: BTreeMap::new(),
            rows: BTreeMap::new(),
            nonces: BTreeMap::new(),
            serial: 0,
            validators: count,
            absent: None,
        }
    }

    pub(crate) fn height(&self) -> u64 {
        self.state.height()
    }

    pub(crate) fn context(&self) -> Context {
        Context::next(&self.state).expect("a genesis was applied")
    }

    pub(crate) fn sign(&self, object: &Object, signers: &[u8]) -> Verified {
        let keys: Vec<SecretKey> = signers.iter().map(|number| key(*number)).collect();
        let keys: Vec<&SecretKey> = keys.iter().collect();
        let envelope = seal(object, &keys, &self.genesis.hash()).expect("the right signers");
        Verified::check(envelope, &self.genesis.hash()).expect("a sound object")
    }

    pub(crate) fn make_block(&self, objects: &[Verified], settlements: Vec<Vec<u8>>) -> Block {
        let header = Header {
            height: self.height() + 1,
            parent: BlockId::default(),
            time_ms: 0,
            proposer: Account::default(),
            state_root: Hash32::default(),
            validators: Hash32::default(),
            next_validators: Hash32::default(),
            beacon: document_hash(&self.height().to_be_bytes()),
            body: Hash32::default(),
        };
        let envelopes = objects.iter().map(|object| object.envelope().clone()).collect();
        Block { header, body: Body { last_commit: self.commit_of_last(), envelopes, settlements } }
    }

    /// A certificate by all of the last block's set but those who are absent. The ledger looks at the names alone.
    fn commit_of_last(&self) -> Option<Certificate> {
        let absent: Vec<Account> = self.absent.as_ref()?.iter().map(|number| who(*number)).collect();
        let set = self.state.last_validators().expect("a set");
        let signers = set.members().iter().map(|member| member.key).filter(|key| !absent.contains(key));
        let signatures = signers.map(|key| (key, Signature([0; 64]))).collect();
        Some(Certificate { height: self.height(), round: 0, block: BlockId::default(), signatures })
    }

    /// Carries out a block and checks that no money appeared or was lost.
    #[expect(clippy::result_large_err, reason = "a test looks at the whole reason")]
    pub(crate) fn try_block(
        &mut self,
        objects: &[Verified],
        settlements: Vec<Vec<u8>>,
    ) -> Result<Vec<Event>, BlockRefused> {
        let block = self.make_block(objects, settlements);
        let Executed { changes, events } = execute_block(&self.state, &block, objects)?;
        self.state.apply(&changes);
        let height = self.height();
        assert_eq!(height, block.header.height);
        self.tree.update(height, &changes).expect("the next version");
        let totals = audit(&self.state).unwrap_or_else(|mismatch| panic!("at height {height}: {mismatch}"));
        assert_eq!(totals.supply, self.genesis.supply());
        self.nonces.clear();
        Ok(events)
    }

    pub(crate) fn block(&mut self, objects: &[Verified]) -> Vec<Event> {
        self.try_block(objects, Vec::new()).expect("a block that holds")
    }

    pub(crate) fn refused(&self, object: &Verified) -> Option<Refusal> {
        let block = self.make_block(std::slice::from_ref(object), Vec::new());
        match execute_block(&self.state, &block, std::slice::from_ref(object)) {
            Ok(_) => None,
            Err(BlockRefused::Object { source, .. }) => Some(source),
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) fn idle(&mut self, blocks: u64) {
        for _ in 0..blocks {
            self.block(&[]);
        }
    }

    fn serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    // Objects.

    pub(crate) fn datanet_object(&mut self, owner: u8, admission: Admission) -> DataNet {
        let name = format!("net {}", self.serial());
        DataNet {
            owner: who(owner),
            name,
            description: "texts".into(),
            admission,
            licences: vec!["CC0-1.0".into()],
            max_contribution_bytes: 10_000,
            max_known_basis_points: 10_000,
        }
    }

    pub(crate) fn contribution_object(&mut self, by: u8, datanet: DataNetId, texts: &[&str]) -> Contribution {
        let mut documents = Vec::new();
        for text in texts {
            let hash = document_hash(text.as_bytes());
            self.texts.insert(hash, (*text).to_owned());
            documents.push(Document { title: "a page".into(), hash, bytes: text.len() as u64 });
        }
        Contribution {
            contributor: who(by),
            datanet,
            credit: format!("person {by}"),
            title: format!("work {}", self.serial()),
            source: String::new(),
            language: "en".into(),
            licence: "CC0-1.0".into(),
            origin: Origin::OwnWork,
            usage: UsagePolicy {
                ai_training: Permission::Allowed,
                ai_generative_training: Permission::Allowed,
                ai_inference: Permission::Allowed,
                data_mining: Permission::Allowed,
            },
            previous: None,
            documents,
        }
    }

    pub(crate) fn manifest_object(&self, owner: u8, datanet: DataNetId, added: &[ContributionId]) -> DatasetManifest {
        let version = self.state.datanet(&datanet).map_or(0, |record| record.version);
        let parent = self.state.manifest_at(&datanet, version);
        let last = parent.and_then(|id| self.state.manifest(&id));
        let (root, documents, bytes) =
            last.map_or((Hash32::default(), 0, 0), |last| (last.content_root, last.documents, last.bytes));
        let new: Vec<Document> =
            added.iter().filter_map(|id| self.state.contribution(id)).flat_map(|record| record.documents).collect();
        let hashes: Vec<Hash32> = new.iter().map(|document| document.hash).collect();
        DatasetManifest {
            owner: who(owner),
            datanet,
            version: version + 1,
            parent,
            added: added.to_vec(),
            content_root: content_root(&root, &hashes),
            documents: documents + new.len() as u64,
            bytes: bytes + new.iter().map(|document| document.bytes).sum::<u64>(),
            host: b"host".to_vec(),
        }
    }

    pub(crate) fn model_object(&mut self, builder: u8, lineage: &[(ManifestId, u32)]) -> ModelManifest {
        ModelManifest {
            builder: who(builder),
            name: format!("model {}", self.serial()),
            weights: Hash32([1; 32]),
            base: None,
            reserve_bp: 0,
            lineage: lineage
                .iter()
                .map(|(manifest, weight)| LineageEntry { manifest: *manifest, weight: *weight })
                .collect(),
            method: Method::Spans,
            price_in: Drops(1_000_000),
            price_out: Drops(7_000_001),
            checkpoint: None,
        }
    }

    pub(crate) fn receipt_object(&mut self, payer: u8, server: u8, model: ModelId, output: &str) -> Receipt {
        let record = self.state.model(&model).expect("a registered model");
        let (tokens_in, tokens_out) = (11, output.len() as u64);
        Receipt {
            payer: who(payer),
            server: who(server),
            model,
            prompt: Hash32([3; 32]),
            output: output.into(),
            tokens_in,
            tokens_out,
            fee: record.fee(tokens_in, tokens_out).expect("a small fee"),
            expiry: self.height() + 100,
            nonce: self.serial(),
            trace: None,
        }
    }

    pub(crate) fn receipt(&mut self, payer: u8, server: u8, model: ModelId, output: &str) -> Verified {
        let object = self.receipt_object(payer, server, model, output);
        self.sign(&Object::Receipt(object), &[payer, server])
    }

    pub(crate) fn operation(&mut self, account: u8, action: Action) -> Verified {
        let base = self.state.account(&who(account)).nonce;
        let nonce = self.nonces.entry(who(account)).or_insert(base);
        let operation = Operation { account: who(account), nonce: *nonce, fee: self.genesis.params.object_fee, action };
        *nonce += 1;
        self.sign(&Object::Operation(operation), &[account])
    }

    /// An operation that costs nothing, as the account's next.
    pub(crate) fn free_operation(&self, account: u8, action: Action) -> Verified {
        let nonce = self.state.account(&who(account)).nonce;
        self.sign(&Object::Operation(Operation { account: who(account), nonce, fee: Drops::ZERO, action }), &[account])
    }

    pub(crate) fn attest(&self, validator: u8, manifest: ManifestId) -> Verified {
        let nonce = self.state.account(&who(validator)).nonce;
        let action = Action::Attest { manifest };
        self.sign(
            &Object::Operation(Operation { account: who(validator), nonce, fee: Drops::ZERO, action }),
            &[validator],
        )
    }

    // Whole steps.

    pub(crate) fn found(&mut self, owner: u8, admission: Admission) -> DataNetId {
        let object = self.datanet_object(owner, admission);
        let signed = self.sign(&Object::DataNet(object), &[owner]);
        self.block(std::slice::from_ref(&signed));
        signed.id().into()
    }

    pub(crate) fn contribute(&mut self, by: u8, datanet: DataNetId, texts: &[&str]) -> ContributionId {
        let object = self.contribution_object(by, datanet, texts);
        let signed = self.sign(&Object::Contribution(object), &[by]);
        self.block(std::slice::from_ref(&signed));
        signed.id().into()
    }

    /// Publishes a manifest that every validator attests.
    pub(crate) fn publish(&mut self, owner: u8, datanet: DataNetId, added: &[ContributionId]) -> ManifestId {
        let signed = self.sign(&Object::DatasetManifest(self.manifest_object(owner, datanet, added)), &[owner]);
        self.block(std::slice::from_ref(&signed));
        let attestations: Vec<Verified> = (0..self.validators).map(|by| self.attest(by, signed.id().into())).collect();
        self.block(&attestations);
        signed.id().into()
    }

    pub(crate) fn register(&mut self, object: ModelManifest, builder: u8) -> ModelId {
        let signed = self.sign(&Object::ModelManifest(object), &[builder]);
        self.block(std::slice::from_ref(&signed));
        signed.id().into()
    }

    // Honest validators.

    /// What a naive search finds for one receipt in one DataNet's manifests.
    pub(crate) fn search(&self, output: &str, datanet: DataNetId, manifests: &[ManifestId]) -> Evidence {
        let folded = fold_answer(output).expect("a short answer");
        let (answer, text) = (Answer::of(&folded).expect("a short answer"), folded.text());
        let mut spans = Vec::new();
        let mut counts = vec![0_u64; answer.distinct_words()];
        let mut total = 0;
        for id in manifests.iter().flat_map(|id| self.state.manifest(id).expect("a manifest").added) {
            let Some(Admitted::Admitted { order, .. }) = self.state.admission(&id).map(|record| record.state) else {
                panic!("{id} is in a manifest and not admitted")
            };
            for (document, entry) in (0..).zip(self.state.contribution(&id).expect("a contribution").documents) {
                let content = fold(&self.texts[&entry.hash]);
                let content = content.text();
                let places: Vec<_> = words(content).collect();
                total += places.len() as u64;
                for place in &places {
                    let same = |word: &&Word| content[place.clone()] == text[word.start as usize..word.end as usize];
                    if let Some(word) = answer.words().iter().find(same) {
                        counts[word.distinct as usize] += 1;
                    }
                }
                for (from, first) in answer.words().iter().enumerate() {
                    for last in &answer.words()[from..] {
                        let passage = &text[first.start as usize..last.end as usize];
                        let found = places.iter().find(|place| {
                            content[place.start..].starts_with(passage)
                                && places.iter().any(|other| other.end == place.start + passage.len())
                        });
                        if let Some(place) = found {
                            let holder = Holder { order, contribution: id, document, offset: place.start as u64 };
                            spans.push(Span { start: first.start, end: last.end, holder });
                        }
                    }
                }
            }
        }
        let frequencies = Frequencies { words: total, counts };
        Partial::new(&answer, spans, &[], frequencies).into_evidence(&answer, datanet)
    }

    /// What influence says of one receipt in one DataNet, by the protocol's own slow arithmetic.
    fn influence(&self, id: &ReceiptId, output: &str, datanet: DataNetId, trace: &Trace) -> Evidence {
        let folded = fold_answer(output).expect("a short answer");
        let answer = Answer::of(&folded).expect("a short answer");
        let model = self.state.receipt(id).expect("a sealed receipt").model;
        let (rows, fisher) = &self.rows[&model];
        let header = self.state.model_rows(&model).and_then(|rows| rows.offer).expect("active rows").header;
        let product = fisher.product(&trace.solution.codes).expect("as many codes");
        let influence = match residual(&product, header.damping, header.tolerance, &trace.query, &trace.solution) {
            Err(_) => Influence::refused(),
            Ok(_) => {
                let scores: Vec<i128> =
                    rows.iter().map(|row| score(&row, &trace.solution).expect("as many codes")).collect();
                let sums = positive_sums(rows, &scores).expect("a score for each");
                let is_in = |id: &ContributionId| self.state.admission(id).is_some_and(|it| it.datanet == datanet);
                Influence::of_datanet(sums.into_iter().filter(|(id, _)| is_in(id)))
            }
        };
        Evidence { influence, ..Partial::empty(&answer).into_evidence(&answer, datanet) }
    }

    pub(crate) fn body(&self, work: &Work) -> AttributionBody {
        let find = |id: &ReceiptId| {
            let text = self.state.answer(id).expect("an open answer");
            match self.state.trace(id) {
                None => (*id, self.search(&text, work.datanet, &work.manifests)),
                Some(trace) => (*id, self.influence(id, &text, work.datanet, &trace)),
            }
        };
        AttributionBody { epoch: work.epoch, datanet: work.datanet, receipts: work.receipts.iter().map(find).collect() }
    }

    pub(crate) fn commit(&self, validator: u8, body: &AttributionBody) -> Verified {
        let commitment = attribution_commitment(&who(validator), body.epoch, &body.datanet, &body.root());
        let object =
            AttributionCommit { validator: who(validator), epoch: body.epoch, datanet: body.datanet, commitment };
        self.sign(&Object::AttributionCommit(object), &[validator])
    }

    pub(crate) fn reveal(&self, validator: u8, body: &AttributionBody) -> Verified {
        let object = AttributionReveal {
            validator: who(validator),
            epoch: body.epoch,
            datanet: body.datanet,
            root: body.root(),
        };
        self.sign(&Object::AttributionReveal(object), &[validator])
    }

    /// All that honest validators do for open work in one block.
    pub(crate) fn duties(&self, validators: &[u8]) -> (Vec<Verified>, Vec<Vec<u8>>) {
        let (mut objects, mut bodies) = (Vec::new(), Vec::new());
        for work in open_work(&self.state) {
            let body = self.body(&work);
            let said = |validator: &u8| self.state.said(work.epoch, &work.datanet, &who(*validator));
            let members: Vec<u8> =
                validators.iter().copied().filter(|by| work.committee.get(&who(*by)).is_some()).collect();
            match work.phase {
                Phase::Commit => {
                    let missing = members.iter().filter(|validator| said(validator).is_none());
                    objects.extend(missing.map(|validator| self.commit(*validator, &body)));
                }
                Phase::Reveal => {
                    let missing = members.iter().filter(|by| said(by).is_some_and(|said| said.root.is_none()));
                    objects.extend(missing.map(|validator| self.reveal(*validator, &body)));
                    bodies.push(body.to_bytes());
                }
                Phase::Agreed(root) => {
                    assert_eq!(root, body.root());
                    bodies.push(body.to_bytes());
                }
            }
        }
        (objects, bodies)
    }

    /// Blocks with honest validators until nothing is open.
    pub(crate) fn settle_all(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while !open_work(&self.state).is_empty() {
            let everybody: Vec<u8> = (0..self.validators).collect();
            let (objects, bodies) = self.duties(&everybody);
            events.extend(self.try_block(&objects, bodies).expect("honest duties"));
        }
        events
    }

    pub(crate) fn record(&self, receipt: &Verified) -> ReceiptRecord {
        self.state.receipt(&receipt.id().into()).expect("a sealed receipt")
    }

    pub(crate) fn settlement(&self, receipt: &Verified) -> Settlement {
        match self.record(receipt).state {
            ReceiptState::Settled(settlement) => settlement,
            other => panic!("not settled: {other:?}"),
        }
    }

    pub(crate) fn available(&self, number: u8) -> u128 {
        self.state.account(&who(number)).available.0
    }
}
