//! Models by influence: rows that are drawn, offered, judged; receipts that carry query and solution; builders and servers
//! that cheat.

use super::world::*;
use protocol::crypto::{checkpoint_digest, influence_data, influence_seed, prompt_commitment};
use protocol::envelope::Verified;
use protocol::genesis::Params;
use protocol::ids::*;
use protocol::influence::*;
use protocol::ledger::records::{Role, RowsOffer, RowsState, Settlement};
use protocol::ledger::*;
use protocol::objects::*;
use protocol::refusal::Refusal;

const BUILDER: u8 = 105;
const PAYER: u8 = 110;
const SERVER: u8 = 111;
const BOND: u128 = 10 * Drops::CREDIT.0;
const ANSWER: &str = "glass harbour comet winter";

/// A network with one model by influence, whose seed is drawn.
struct Story {
    world: World,
    model: ModelId,
    net: DataNetId,
    contributions: [ContributionId; 3],
}

fn rows_of(rows: &[(ContributionId, u32, [i8; 2])]) -> Rows {
    let mut all = Rows::new(2).unwrap();
    for (contribution, scale, codes) in rows {
        let source = Source { example: Hash32([4; 32]), contribution: *contribution };
        all.push(Row { source, scale: *scale, codes }).unwrap();
    }
    all
}

fn by_influence(base: ModelManifest) -> ModelManifest {
    let file = Document { title: "base.gguf".into(), hash: Hash32([6; 32]), bytes: 5 };
    let checkpoint = Checkpoint { files: vec![file], window: 256, host: b"host".to_vec() };
    let weights = checkpoint_digest(&checkpoint);
    ModelManifest { weights, method: Method::Influence, checkpoint: Some(checkpoint), ..base }
}

impl Story {
    fn new() -> Self {
        Self::with(Params::devnet())
    }

    fn with(params: Params) -> Self {
        let mut world = World::with(params);
        let net = world.found(100, Admission::Open);
        let contributions = [(101, "barley river"), (102, "stone ferry"), (103, "seven barley")]
            .map(|(by, text)| world.contribute(by, net, &[text]));
        let manifest = world.publish(100, net, &contributions);
        let base = world.model_object(BUILDER, &[(manifest, 1)]);
        let object = by_influence(base);
        let weights = object.weights;
        let model = world.register(object, BUILDER);
        let rows = |world: &World| world.state.model_rows(&model).expect("a model by influence");
        assert_eq!((rows(&world).seed, rows(&world).state), (None, RowsState::Awaited));
        // Nobody knows the seed when the model is committed to: the beacon of the block after gives it.
        let beacon = world.make_block(&[], Vec::new()).header.beacon;
        world.idle(1);
        assert_eq!(rows(&world).seed, Some(influence_seed(&weights, &influence_data(&[manifest]), &beacon)));
        let [a, b, c] = contributions;
        let fisher = Fisher::new(rows_of(&[(a, 1, [127, 0]), (a, 1, [0, 127])])).unwrap();
        let rows =
            rows_of(&[(a, 2, [127, 1]), (b, 3, [-127, 0]), (a, 5, [127, -127]), (c, 0, [0, 0]), (b, 1, [0, -127])]);
        world.rows.insert(model, (rows, fisher));
        Self { world, model, net, contributions }
    }

    fn header(&self) -> Header {
        let (rows, fisher) = &self.world.rows[&self.model];
        let record = self.world.state.model_rows(&self.model).expect("a model by influence");
        Header {
            dimension: 2,
            exponent: 20,
            rows: rows.len() as u64,
            fisher_rows: fisher.rows().len() as u64,
            damping: Damping::ONE,
            tolerance: Tolerance::DEFAULT,
            checkpoint: self.world.state.model(&self.model).expect("registered").weights,
            layout: Hash32([8; 32]),
            seed: record.seed.unwrap_or_default(),
            rows_root: rows.root(),
            fisher_root: fisher.rows().root(),
        }
    }

    fn offer_of(&mut self, by: u8, header: Header) -> Verified {
        let (model, artifact) = (self.model, Hash32([9; 32]));
        let action =
            Action::OfferRows { model, header: Box::new(header), artifact, bytes: 1_000, host: b"host".to_vec() };
        self.world.operation(by, action)
    }

    fn offer(&mut self) -> Vec<Event> {
        let offer = self.offer_of(BUILDER, self.header());
        self.world.block(&[offer])
    }

    fn attest(&self, validator: u8) -> Verified {
        let (model, root) = (self.model, self.header().root());
        self.world.free_operation(validator, Action::AttestRows { model, root })
    }

    fn refute(&self, validator: u8, index: u64) -> Verified {
        let (model, root) = (self.model, self.header().root());
        let row = RowName { fisher: false, index };
        self.world.free_operation(validator, Action::RefuteRows { model, root, row })
    }

    fn state(&self) -> RowsState {
        self.world.state.model_rows(&self.model).expect("a model by influence").state
    }

    /// Up to a model whose receipts can be sealed, and a server that can answer for them.
    fn active() -> Self {
        Self::new().activated()
    }

    fn activated(mut self) -> Self {
        let story = &mut self;
        story.offer();
        let all: Vec<Verified> = (0..VALIDATORS).map(|by| story.attest(by)).collect();
        story.world.block(&all);
        let deposit = story.world.operation(SERVER, Action::Deposit { amount: Drops::CREDIT });
        story.world.block(&[deposit]);
        self
    }

    /// The honest trace: K + λ = 2 · 127², and two numbers divided by that.
    fn trace() -> Trace {
        Trace {
            prompt: "what shines".into(),
            salt: [1; 32],
            query: Query { scale: 1, codes: vec![32_767, -16_384] },
            solution: Solution { shift: 29, codes: vec![545_342_215, -272_679_429] },
        }
    }

    fn receipt(&mut self, trace: Option<Trace>) -> Verified {
        let mut object = self.world.receipt_object(PAYER, SERVER, self.model, ANSWER);
        object.prompt = prompt_commitment(&[1; 32], "what shines");
        object.trace = trace.map(Box::new);
        self.world.sign(&Object::Receipt(object), &[PAYER, SERVER])
    }

    fn sealed(&mut self, trace: Trace) -> Verified {
        let receipt = self.receipt(Some(trace));
        self.world.block(std::slice::from_ref(&receipt));
        receipt
    }
}

fn amounts(settlement: &Settlement, role: Role) -> Vec<(Option<ContributionId>, u128)> {
    let lines = settlement.lines.iter().filter(|line| line.role == role);
    lines.map(|line| (line.contribution, line.amount.0)).collect()
}

fn pending(world: &World, number: u8) -> u128 {
    world.state.account(&who(number)).pending.0
}

#[test]
fn influences_are_paid_and_deposits_come_back() {
    let mut story = Story::active();
    assert_eq!(story.world.available(BUILDER), START - 2 * story.world.genesis.params.object_fee.0, "the bond is back");
    let receipt = story.sealed(Story::trace());
    let fee = story.world.record(&receipt).fee;
    let locked = story.world.genesis.params.influence.penalty(fee);
    assert_eq!(locked, Drops(2 * fee.0));
    let server = |world: &World| world.state.server(&who(SERVER));
    assert_eq!(server(&story.world).locked, locked);
    let too_much = story.world.operation(SERVER, Action::Withdraw { amount: Drops(Drops::CREDIT.0 - locked.0 + 1) });
    assert!(matches!(story.world.refused(&too_much), Some(Refusal::State { .. })));
    story.world.settle_all();
    let settlement = story.world.settlement(&receipt);
    // Scores: 2·(127ξ₀+ξ₁), 5·127·(ξ₀−ξ₁) for the first; −3·127ξ₀ and −127ξ₁ for the second; nothing for the third.
    let (first, second) = (545_342_215_i128, -272_679_429_i128);
    let a = 2 * (127 * first + second) + 5 * 127 * (first - second);
    let b = -127 * second;
    let paid = amounts(&settlement, Role::Data);
    let data: u128 = paid.iter().map(|(_, amount)| amount).sum();
    assert!(data.abs_diff(fee.0 / 2) <= 1, "half of the fee");
    let (total, capped) = ((a + b).cast_unsigned(), data * 8_000 / 10_000);
    assert!(a.cast_unsigned() * data / total > capped, "the first is over the cap of a share");
    assert_eq!(paid.len(), 2);
    for (id, amount) in paid {
        let is_first = id == Some(story.contributions[0]);
        assert_eq!(amount, if is_first { capped } else { data - capped });
    }
    assert_eq!(settlement.covered_words, settlement.total_words);
    assert!(settlement.spans.is_empty() && amounts(&settlement, Role::Base).is_empty());
    let end = story.world.genesis.params.audit_end(story.world.record(&receipt).epoch);
    story.world.idle(end - 1 - story.world.height());
    assert_eq!(server(&story.world).locked, locked, "until the window is over");
    story.world.idle(1);
    assert_eq!(server(&story.world).locked, Drops::ZERO);
    let all = story.world.operation(SERVER, Action::Withdraw { amount: Drops::CREDIT });
    story.world.block(&[all]);
    assert!(story.world.state.scan(&[keys::SERVERS]).is_empty());
    assert!(story.world.state.scan(&[keys::AUDITS]).is_empty() && story.world.state.scan(&[keys::TRACES]).is_empty());
}

#[test]
fn a_builder_whose_rows_are_refuted_pays_those_he_wronged() {
    let mut story = Story::new();
    let before = story.world.available(BUILDER);
    story.offer();
    let held = |world: &World| world.state.model_rows(&story.model).expect("offered").bond;
    assert_eq!(held(&story.world), Drops(BOND));
    // One that attested before it heard of the row takes it back.
    let first = story.attest(0);
    story.world.block(&[first]);
    let refutations: Vec<Verified> = (0..2).map(|by| story.refute(by, 2)).collect();
    story.world.block(&refutations);
    assert_eq!(story.state(), RowsState::Offered);
    let replacement = story.offer_of(BUILDER, story.header());
    assert!(matches!(story.world.refused(&replacement), Some(Refusal::State { .. })), "he cannot withdraw it now");
    assert!(story.world.refused(&story.refute(0, 2)).is_some(), "nobody counts twice");
    assert!(story.world.refused(&story.attest(0)).is_some());
    assert!(matches!(story.world.refused(&story.refute(2, 5)), Some(Refusal::Field { field: "index", .. })));
    let treasury = story.world.state.treasury().0;
    let last = story.refute(2, 0);
    let events = story.world.block(&[last]);
    assert!(events.iter().any(|event| matches!(event, Event::RowsRefuted { amount: Drops(BOND), .. })));
    assert!(matches!(story.state(), RowsState::Refuted { .. }));
    let fees = story.world.genesis.params.object_fee.0;
    assert_eq!(story.world.available(BUILDER), before - fees - BOND);
    let paid: u128 = (101..=103).map(|number| pending(&story.world, number)).sum();
    assert_eq!(paid, BOND / 2, "the contributors have half of it");
    assert_eq!(story.world.state.treasury().0 - treasury, BOND / 2, "no accomplice gets the other half back");
    let again = story.offer_of(BUILDER, story.header());
    assert!(matches!(story.world.refused(&again), Some(Refusal::State { .. })));
    let receipt = story.receipt(Some(Story::trace()));
    assert!(matches!(story.world.refused(&receipt), Some(Refusal::State { .. })));
}

#[test]
fn a_server_whose_query_is_refuted_pays_those_it_wronged() {
    let mut story = Story::active();
    let mut trace = Story::trace();
    trace.query.codes = vec![-32_767, 16_384];
    trace.solution.codes = trace.solution.codes.iter().map(|code| -code).collect();
    let receipt = story.sealed(trace);
    let id: ReceiptId = receipt.id().into();
    let locked = story.world.genesis.params.influence.penalty(story.world.record(&receipt).fee);
    story.world.idle(1);
    let drawn = story.world.state.scan(&[keys::AUDITS]).into_values().next().map(<[u8]>::to_vec).expect("one audit");
    let drawn: records::AuditRecord = borsh::from_slice(&drawn).unwrap();
    assert_eq!(drawn.drawn, Some(true), "a devnet looks at all");
    let stranger = story.world.free_operation(PAYER, Action::RefuteQuery { receipt: id });
    assert!(matches!(story.world.refused(&stranger), Some(Refusal::Forbidden { .. })));
    let refute = |world: &World, by: u8| world.free_operation(by, Action::RefuteQuery { receipt: id });
    let two: Vec<Verified> = (0..2).map(|by| refute(&story.world, by)).collect();
    story.world.block(&two);
    assert_eq!(story.world.state.server(&who(SERVER)).forfeited, Drops::ZERO);
    assert!(story.world.refused(&refute(&story.world, 0)).is_some(), "nobody counts twice");
    let before: u128 = (101..=103).map(|number| pending(&story.world, number)).sum();
    let third = refute(&story.world, 2);
    let events = story.world.block(&[third]);
    assert!(events.contains(&Event::Forfeited { server: who(SERVER), receipt: id, amount: locked }));
    let after: u128 = (101..=103).map(|number| pending(&story.world, number)).sum();
    assert_eq!(after - before, locked.0 / 2, "the contributors have half of it");
    let server = story.world.state.server(&who(SERVER));
    let rest = Drops(Drops::CREDIT.0 - locked.0);
    assert_eq!((server.deposit, server.locked, server.forfeited), (rest, Drops::ZERO, locked));
    assert!(story.world.refused(&refute(&story.world, 3)).is_some(), "it is over");
    story.world.settle_all();
}

#[test]
fn a_solution_that_does_not_solve_pays_no_server() {
    let mut story = Story::active();
    let mut trace = Story::trace();
    // The tolerance is 2^-16 of the query's largest entry, some 8,300 units of the solution.
    trace.solution.codes[0] += 10_000;
    let receipt = story.sealed(trace);
    let locked = story.world.genesis.params.influence.penalty(story.world.record(&receipt).fee);
    story.world.settle_all();
    let settlement = story.world.settlement(&receipt);
    assert!(amounts(&settlement, Role::Serving).is_empty() && amounts(&settlement, Role::Data).is_empty());
    let base: u128 = amounts(&settlement, Role::Base).iter().map(|(_, amount)| amount).sum();
    let fee = story.world.record(&receipt).fee.0;
    assert!(base.abs_diff(fee * 65 / 100) <= 2, "{base} of {fee}");
    assert_eq!(story.world.state.server(&who(SERVER)).forfeited, locked);
}

#[test]
fn a_server_answers_until_the_last_moment_at_which_its_receipt_may_be_settled() {
    let mut params = Params::devnet();
    params.influence.audit_window = 1;
    let mut story = Story::with(params).activated();
    let mut trace = Story::trace();
    trace.solution.codes[0] += 10_000;
    let receipt = story.sealed(trace);
    story.world.idle(params.settle_timeout - 4);
    story.world.settle_all();
    assert!(amounts(&story.world.settlement(&receipt), Role::Serving).is_empty());
    let locked = params.influence.penalty(story.world.record(&receipt).fee);
    assert_eq!(story.world.state.server(&who(SERVER)).forfeited, locked);
}

#[test]
fn whoever_offers_other_rows_once_they_are_drawn_loses_the_bond() {
    let mut story = Story::new();
    let other = Header { exponent: 19, ..story.header() };
    let bonds = |story: &Story| {
        let start = START - 2 * story.world.genesis.params.object_fee.0;
        let spent = start - story.world.available(BUILDER);
        spent / BOND
    };
    // In the block after, nobody knows yet who will look at what.
    for (header, bond) in [(other.clone(), 1), (story.header(), 1)] {
        let offer = story.offer_of(BUILDER, header);
        story.world.block(&[offer]);
        assert_eq!(bonds(&story), bond);
    }
    story.world.idle(1);
    let drawn =
        |story: &Story| story.world.state.model_rows(&story.model).and_then(|rows| rows.offer).expect("offered");
    let first = drawn(&story);
    assert!(first.beacon.is_some());
    // The same rows again, from elsewhere: nothing is drawn anew, nothing costs, and what was said of them counts.
    let attest = story.attest(0);
    story.world.block(&[attest]);
    let (model, header) = (story.model, Box::new(story.header()));
    let action = Action::OfferRows { model, header, artifact: Hash32([9; 32]), bytes: 1_000, host: b"other".to_vec() };
    let offer = story.world.operation(BUILDER, action);
    story.world.block(&[offer]);
    assert_eq!(drawn(&story), RowsOffer { host: b"other".to_vec(), ..first });
    assert_eq!(story.world.state.model_rows(&story.model).expect("offered").attested.len(), 1);
    assert_eq!(bonds(&story), 1);
    // Other rows: the bond goes to those whose data it is, and to the treasury.
    let treasury = story.world.state.treasury().0;
    let offer = story.offer_of(BUILDER, other);
    story.world.block(&[offer]);
    assert_eq!(bonds(&story), 2);
    assert_eq!(story.world.state.treasury().0, treasury + BOND / 2 + story.world.genesis.params.object_fee.0);
    assert_eq!(drawn(&story).beacon, None);
    assert!(story.world.state.model_rows(&story.model).expect("offered").attested.is_empty());
}

#[test]
fn offers_and_receipts_that_do_not_fit_are_refused() {
    let mut story = Story::new();
    type Change = fn(&mut Header);
    let changes: [Change; 6] = [
        |header| header.checkpoint = Hash32([0; 32]),
        |header| header.seed = [0; 32],
        |header| header.damping = Damping::new(2, 1).unwrap(),
        |header| header.tolerance = Tolerance::new(257).unwrap(),
        |header| header.fisher_rows = 0,
        |header| header.dimension = 4_097,
    ];
    for (at, change) in changes.into_iter().enumerate() {
        let mut header = story.header();
        change(&mut header);
        let offer = story.offer_of(BUILDER, header);
        let refusal = story.world.refused(&offer);
        assert!(matches!(refusal, Some(Refusal::Field { .. } | Refusal::TooMany { .. })), "{at}: {refusal:?}");
        story.world.idle(1);
    }
    let stranger = story.offer_of(PAYER, story.header());
    assert!(matches!(story.world.refused(&stranger), Some(Refusal::Forbidden { .. })));
    let early = story.receipt(Some(Story::trace()));
    assert!(matches!(story.world.refused(&early), Some(Refusal::State { .. })));

    let mut story = Story::active();
    let without = story.receipt(None);
    assert!(matches!(story.world.refused(&without), Some(Refusal::Field { field: "trace", .. })));
    let mut short = Story::trace();
    short.query.codes.pop();
    short.solution.codes.pop();
    let short = story.receipt(Some(short));
    assert!(matches!(story.world.refused(&short), Some(Refusal::Field { field: "trace", .. })));
    let all = story.world.operation(SERVER, Action::Withdraw { amount: Drops::CREDIT });
    story.world.block(&[all]);
    let unbacked = story.receipt(Some(Story::trace()));
    assert!(matches!(story.world.refused(&unbacked), Some(Refusal::State { what: "the server", .. })));
    let manifest = story.world.state.active_manifests(&story.net)[0];
    let spans = story.world.model_object(BUILDER, &[(manifest, 1)]);
    story.model = story.world.register(spans, BUILDER);
    let foreign = story.receipt(Some(Story::trace()));
    assert!(matches!(story.world.refused(&foreign), Some(Refusal::Field { field: "trace", .. })));
}

#[test]
fn influences_of_contributions_elsewhere_settle_nothing() {
    let mut story = Story::active();
    story.sealed(Story::trace());
    let stranger = story.world.found(100, Admission::Open);
    let outside = story.world.contribute(104, stranger, &["a text elsewhere"]);
    story.world.idle(1);
    let work = open_work(&story.world.state).remove(0);
    let honest = story.world.body(&work);
    let mut others = honest.clone();
    others.receipts[0].1.influence.sums.insert(outside, 1);
    for (body, is_right) in [(others, false), (honest, true)] {
        let mut world = Story::active();
        world.sealed(Story::trace());
        // All validators agree on it, and it still has to hold.
        let commits: Vec<Verified> = (0..VALIDATORS).map(|by| world.world.commit(by, &body)).collect();
        let outside = world.world.found(100, Admission::Open);
        world.world.contribute(104, outside, &["a text elsewhere"]);
        world.world.block(&commits);
        while !matches!(open_work(&world.world.state)[0].phase, Phase::Reveal) {
            world.world.idle(1);
        }
        let reveals: Vec<Verified> = (0..VALIDATORS).map(|by| world.world.reveal(by, &body)).collect();
        let settled = world.world.try_block(&reveals, vec![body.to_bytes()]);
        assert_eq!(settled.is_ok(), is_right, "{settled:?}");
    }
}
