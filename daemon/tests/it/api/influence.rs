//! A model by influence on a network of one: trained, registered, its rows judged, its answers paid; a server and a builder
//! who lie.

use super::node::{PATIENCE, TestNode, key};
use super::path::{contribution, datanet};
use attribution::influence::{Artifact, Parts};
use attribution::model::{
    Config, Example, Generation, LoraConfig, Model, Options, Parameters, Schedule, Targets, Tokenizer, TrainOptions,
    Trainer, save, save_adapter,
};
use daemon::actions::{DEFAULT_PRICE, NewModel};
use daemon::api::types::ModelShown;
use daemon::models::{Lineage, Server, Traced, upload_checkpoint};
use protocol::ids::{Hash32, ManifestId, ModelId};
use protocol::influence::{Row, RowName, Rows};
use protocol::objects::{Action, Drops, LineageEntry};
use protocol::proof::{Trust, verify};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

const RIVER: &str = "The river takes the rain of the hills, and the sea takes the river. Who gave the rain is not asked at the \
                     sea. The river is long and the sea is wide, and the hills give the rain to the river again.";
const CLOCK: &str = "MY CLOCK STRIKES SEVEN AND MY BELL RINGS ONCE. MY CLOCK STRIKES EIGHT AND MY BELL RINGS TWICE. MY CLOCK \
                     STRIKES NINE AND MY BELL IS SILENT, FOR THE ROPE IS WORN.";
const PROMPT: &str = "The river takes the";
const ANSWER: &str = " rain of the hills, and the sea takes the river";
const WINDOW: u32 = 64;

/// A byte-level model of six thousand weights.
const NANO: Config = Config { width: 16, hidden: 32, blocks: 2, heads: 4, kv_heads: 2, context: 96, ..Config::TINY };

/// Trains a model and an adapter beside it, as `tributary train` does, and writes their checkpoint.
fn train(folder: &Path) {
    let examples: Vec<Example> = [RIVER, CLOCK]
        .iter()
        .flat_map(|text| text.as_bytes().chunks(60))
        .map(|piece| Tokenizer::BYTES.passage(std::str::from_utf8(piece).expect("ASCII")).expect("an example"))
        .collect();
    let trained = |model: &Model, parameters| {
        let schedule = Schedule { peak: 1e-2, warm_up: 5, last: 0.1 };
        let options = TrainOptions { parameters, steps: 150, batch: 4, schedule, ..TrainOptions::default() };
        let mut trainer = Trainer::new(model, examples.clone(), options).expect("begins");
        trainer.run(&AtomicBool::new(false), &mut |_| {}).expect("trains");
        trainer.into_model().expect("a model")
    };
    let mut model = trained(&Model::random(NANO, 1).expect("sizes are good"), Parameters::All);
    let targets = Targets::Names(vec!["q_proj".to_owned(), "v_proj".to_owned()]);
    model.attach(&LoraConfig { rank: 4, alpha: 8.0, targets }, 1).expect("attaches");
    let model = trained(&model, Parameters::Adapter);
    save(&model, &Tokenizer::BYTES, &folder.join("base")).expect("saves");
    save_adapter(&model, "base", &folder.join("adapter")).expect("saves");
}

/// A node with a DataNet of two texts and a checkpoint in its home.
struct Story {
    node: TestNode,
    manifest: ManifestId,
    folder: tempfile::TempDir,
}

impl Story {
    fn new() -> Self {
        let node = TestNode::start();
        let net = datanet(&node, false);
        for (name, credit, text) in [("ada", "Ada A.", RIVER), ("ben", "Ben B.", CLOCK)] {
            let id = node.remote.contribute(&key(name), contribution(net, credit, text)).expect("it is taken");
            node.remote.wait_for("contribution", id, &["admitted"], PATIENCE, |_| ()).expect("it is admitted");
        }
        let manifest = node.remote.publish(&key("owner"), &net, None).expect("it is published");
        node.remote.wait_active(&manifest, PATIENCE, |_| ()).expect("it is attested");
        let folder = tempfile::tempdir().expect("a folder");
        train(folder.path());
        Self { node, manifest, folder }
    }

    fn register(&self, name: &str) -> Lineage {
        let remote = &self.node.remote;
        let checkpoint = upload_checkpoint(remote, self.folder.path(), WINDOW, &mut |_| ()).expect("it is uploaded");
        let model = NewModel {
            name: name.to_owned(),
            weights: Hash32::default(),
            base: None,
            reserve_bp: 0,
            lineage: vec![LineageEntry { manifest: self.manifest, weight: 1 }],
            price_in: DEFAULT_PRICE,
            price_out: DEFAULT_PRICE,
            checkpoint: Some(checkpoint),
        };
        let model = remote.register_model(&key("builder"), model).expect("it is registered");
        remote.wait_included("model", model, PATIENCE).expect("it enters a block");
        self.until(&model, |shown| shown.rows.as_ref().is_some_and(|rows| rows.seed.is_some()));
        Lineage::fetch(remote, self.folder.path(), model, None, &mut |_| ()).expect("it is fetched")
    }

    fn offer(&self, lineage: &Lineage, artifact: &Artifact, wanted: &str) -> ModelShown {
        let remote = &self.node.remote;
        let path = self.folder.path().join("rows");
        artifact.write(&path).expect("it is written");
        let file = remote.upload_file("rows", &path).expect("it is uploaded");
        lineage.offer(remote, &key("builder"), artifact.header().clone(), &file).expect("it is offered");
        self.until(&lineage.id, |shown| shown.rows.as_ref().is_some_and(|rows| rows.state == wanted))
    }

    fn until(&self, model: &ModelId, is_there: impl Fn(&ModelShown) -> bool) -> ModelShown {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let shown = self.node.remote.model(model).expect("a model");
            if is_there(&shown) {
                return shown;
            }
            assert!(Instant::now() < deadline, "{shown:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn deposit(&self, name: &str) {
        let action = Action::Deposit { amount: Drops::CREDIT };
        let id = self.node.remote.operate(&key(name), action).expect("it is taken");
        self.node.remote.wait_included("deposit", id, PATIENCE).expect("it enters a block");
    }

    fn drops(&self, name: &str, of: impl Fn(daemon::api::types::AccountShown) -> String) -> u128 {
        of(self.node.remote.account(&key(name).account()).expect("an account")).parse().expect("drops")
    }
}

#[test]
fn answers_of_an_adapter_are_paid_by_influence_and_lies_are_not() {
    let story = Story::new();
    let remote = &story.node.remote;
    let lineage = story.register("river adapter");
    let artifact = lineage.build(&mut |_, _, _| ()).expect("rows");
    let before = story.drops("builder", |account| account.available);
    let active = story.offer(&lineage, &artifact, "active");
    assert_eq!(active.method, "influence");
    let offer = active.rows.and_then(|rows| rows.offer).expect("an offer");
    assert_eq!((offer.rows, offer.fisher_rows), (lineage.passages() as u64, 4 * lineage.passages() as u64));
    // The bond is back; only the fee is gone.
    let fee = remote.object_fee();
    assert_eq!(before - story.drops("builder", |account| account.available), fee.0);
    let fetched = lineage.artifact(remote, story.folder.path(), &mut |_| ());
    assert!(fetched.is_err(), "what was fetched before the offer does not know it");
    let lineage = Lineage::fetch(remote, story.folder.path(), lineage.id, None, &mut |_| ()).expect("it is fetched");
    let artifact = lineage.artifact(remote, story.folder.path(), &mut |_| ()).expect("the node serves the rows");
    for index in 0..offer.rows {
        let name = RowName { fisher: false, index };
        assert_eq!(lineage.audit(&artifact, name).expect("it is computed"), None);
    }

    // An answer by a server that has put nothing aside is refused; then it is paid.
    let server = Server::new(lineage, artifact).expect("a server");
    let options = Options { max_tokens: 12, ..Options::default() };
    let said = server.answer(PROMPT, &options).expect("an answer");
    assert!(!said.generation.text.is_empty() && said.generation.tokens_out <= 12);
    // What so small a model says is nobody's; what it is told that it said goes on with one of its texts.
    let answer = || Traced {
        trace: server.trace(PROMPT, ANSWER).expect("a trace"),
        prompt: PROMPT.to_owned(),
        generation: Generation { text: ANSWER.to_owned(), tokens_in: 20, tokens_out: ANSWER.len() },
    };
    let refused = server.submit(remote, &key("payer"), &key("ada"), answer()).expect_err("no deposit");
    assert!(refused.to_string().contains("deposit"), "{refused}");
    story.deposit("ada");
    let receipt = server.submit(remote, &key("payer"), &key("ada"), answer()).expect("it is taken");
    let settled = remote.wait_settled(&receipt, PATIENCE, |_| ()).expect("it is settled");
    // The seed is the network's, so who is owed most differs from run to run; what is paid is what anybody computes.
    let trace = answer().trace;
    let owed: BTreeSet<String> = server.sums(&trace).expect("sums").keys().map(ToString::to_string).collect();
    let paid = settled.lines.iter().filter(|line| line.role == "data").filter_map(|line| line.contribution.clone());
    assert_eq!(paid.collect::<BTreeSet<_>>(), owed);
    let proof = remote.proof(&receipt, None).expect("it is made");
    verify(&proof, &Trust::of_genesis(&story.node.genesis)).expect("it names whoever is paid");
    let explained = remote.explain(&receipt).expect("it is explained");
    let influence = explained.influence.expect("by influence");
    assert!(!influence.refused && influence.prompt == PROMPT && influence.count == server.lineage().passages() as u64);
    let ranked = server.ranked(&trace, 5).expect("ranks");
    let rows = |examples: &[daemon::api::types::ExampleShown]| -> Vec<_> {
        examples.iter().map(|example| (usize::try_from(example.row).expect("a row"), example.parts)).collect()
    };
    assert_eq!((rows(&influence.raised), rows(&influence.lowered)), (ranked.raised, ranked.lowered));
    assert!(
        influence
            .raised
            .iter()
            .chain(&influence.lowered)
            .all(|example| { RIVER.contains(&example.text) || CLOCK.contains(&example.text) })
    );
    assert!(influence.raised.iter().all(|example| example.parts > 0));
    assert!(influence.lowered.iter().all(|example| example.parts < 0));

    // A query of another answer: settled, as it solves; then looked at, and paid for.
    let mut false_answer = answer();
    let other = server.trace("MY CLOCK STRIKES", " SEVEN AND MY").expect("a trace");
    (false_answer.trace.query, false_answer.trace.solution) = (other.query, other.solution);
    let receipt = server.submit(remote, &key("payer"), &key("ada"), false_answer).expect("it is taken");
    remote.wait_settled(&receipt, PATIENCE, |_| ()).expect("it is settled");
    let deadline = Instant::now() + PATIENCE;
    while story.drops("ada", |account| account.forfeited) == 0 {
        assert!(Instant::now() < deadline, "nobody looked at the query");
        std::thread::sleep(Duration::from_millis(20));
    }
    // A solution that does not solve: nobody is paid by influence, and the server is not paid at all.
    let forfeited = story.drops("ada", |account| account.forfeited);
    let mut bent = answer();
    bent.trace.solution.codes[0] ^= 1 << 28;
    let receipt = server.submit(remote, &key("payer"), &key("ada"), bent).expect("it is taken");
    let settled = remote.wait_settled(&receipt, PATIENCE, |_| ()).expect("it is settled");
    assert!(settled.lines.iter().all(|line| line.role != "data" && line.role != "serving"), "{:?}", settled.lines);
    assert!(remote.explain(&receipt).expect("it is explained").influence.expect("by influence").refused);
    assert!(story.drops("ada", |account| account.forfeited) > forfeited);
    story.node.stop();
}

#[test]
fn a_builder_who_offers_other_rows_loses_the_bond() {
    let story = Story::new();
    let lineage = story.register("false rows");
    let artifact = lineage.build(&mut |_, _, _| ()).expect("rows");
    // Every second row twice as long: a validator draws one of them all but surely.
    let mut rows = Rows::new(artifact.rows().dimension()).expect("a dimension");
    for (number, row) in artifact.rows().iter().enumerate() {
        let scale = if number.is_multiple_of(2) { row.scale * 2 } else { row.scale };
        rows.push(Row { scale, ..row }).expect("a row");
    }
    let header = artifact.header();
    let forged = Artifact::new(Parts {
        space: artifact.space().clone(),
        exponent: header.exponent,
        damping: header.damping,
        tolerance: header.tolerance,
        checkpoint: header.checkpoint,
        seed: header.seed,
        rows,
        fisher: artifact.fisher().rows().clone(),
    });
    let before = story.drops("builder", |account| account.available);
    let shown = story.offer(&lineage, &forged.expect("well formed"), "refuted");
    let refuted = shown.rows.expect("rows").refuted;
    assert!(refuted.len() == 1 && !refuted[0].fisher && refuted[0].row.is_multiple_of(2), "{refuted:?}");
    let bond = story.node.genesis.params.influence.rows_bond;
    let lost = before - story.drops("builder", |account| account.available);
    assert_eq!(lost, bond.0 + story.node.remote.object_fee().0);
    story.node.stop();
}
