//! Whatever people and validators do, no money appears or is lost, and everybody computes the same.

use super::world::*;
use protocol::envelope::Verified;
use protocol::genesis::{Params, StakeParams};
use protocol::ids::*;
use protocol::ledger::*;
use protocol::objects::*;
use protocol::tree::Tree;
use std::collections::{BTreeMap, BTreeSet};

/// SplitMix64: the same numbers from the same seed, for ever.
pub(super) struct Random(pub(super) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn person(&mut self) -> u8 {
        100 + u8::try_from(self.below(6)).expect("small")
    }

    fn words(&mut self, most: u64) -> String {
        const WORDS: [&str; 12] =
            ["barley", "river", "stone", "the", "a", "of", "comet", "ferry", "winter", "seven", "harbour", "glass"];
        let count = 1 + self.below(most);
        let words: Vec<&str> = (0..count).filter_map(|_| self.pick(&WORDS)).collect();
        words.join(" ")
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        let end = (from.len() as u64).max(1);
        from.get(usize::try_from(self.below(end)).expect("an index")).copied()
    }
}

/// Ids that some block accepted.
#[derive(Default)]
struct Known {
    datanets: Vec<(DataNetId, u8)>,
    contributions: Vec<(ContributionId, DataNetId)>,
    manifests: Vec<ManifestId>,
    models: Vec<ModelId>,
}

fn founded(world: &World, known: &mut Known, object: &Verified) {
    let number = |account: Account| (100..120).find(|number| who(*number) == account).expect("a person");
    match object.object() {
        Object::DataNet(datanet) => known.datanets.push((object.id().into(), number(datanet.owner))),
        Object::Contribution(contribution) => known.contributions.push((object.id().into(), contribution.datanet)),
        Object::DatasetManifest(_) => known.manifests.push(object.id().into()),
        Object::ModelManifest(_) => known.models.push(object.id().into()),
        _ => {}
    }
    assert!(world.height() > 0);
}

/// Something that somebody may try, sensible or not.
fn attempt(world: &mut World, known: &Known, random: &mut Random) -> Option<Verified> {
    let by = random.person();
    Some(match random.below(16) {
        12 => {
            // Small bonds of people, so that the first validators keep most of the power.
            let amount = Drops(u128::from(random.below(3)) * Drops::CREDIT.0 + u128::from(random.below(1_000)));
            let name = format!("person {}", random.person());
            world.operation(by, Action::Bond { amount, payout: who(random.person()), name })
        }
        13 => {
            let bond = world.state.candidate(&who(by)).map_or(1, |record| record.bond.0);
            let amount = if random.below(2) == 0 { bond } else { u128::from(random.next()) % bond.max(1) };
            world.operation(by, Action::Unbond { amount: Drops(amount.max(1)) })
        }
        14 => {
            // The first validators too, at times.
            let by = if random.below(20) == 0 { u8::try_from(random.below(4)).expect("small") } else { by };
            let age = random.below(8);
            let offence = super::offences::double_vote(world, by, world.height().saturating_sub(age).max(1));
            super::offences::report(world, random.person(), offence)
        }
        15 => {
            let by = if random.below(2) == 0 { u8::try_from(random.below(4)).expect("small") } else { by };
            world.free_operation(by, Action::Unjail)
        }
        0 => {
            let admission = if random.below(2) == 0 { Admission::Open } else { Admission::Curated };
            let object = world.datanet_object(by, admission);
            world.sign(&Object::DataNet(object), &[by])
        }
        1 | 2 => {
            let (datanet, _) = random.pick(&known.datanets)?;
            let texts = [random.words(30), random.words(10)];
            if texts[0] == texts[1] {
                return None;
            }
            let object = world.contribution_object(by, datanet, &[&texts[0], &texts[1]]);
            world.sign(&Object::Contribution(object), &[by])
        }
        3 => {
            let (datanet, owner) = random.pick(&known.datanets)?;
            let added: Vec<ContributionId> = known
                .contributions
                .iter()
                .filter(|(id, of)| {
                    *of == datanet && world.state.admission(id).is_some_and(|record| record.manifest.is_none())
                })
                .map(|(id, _)| *id)
                .collect();
            if added.is_empty() {
                return None;
            }
            let object = world.manifest_object(owner, datanet, &added);
            world.sign(&Object::DatasetManifest(object), &[owner])
        }
        4 => {
            let mut lineage = Vec::new();
            for _ in 0..=random.below(2) {
                lineage.push((random.pick(&known.manifests)?, 1 + u32::try_from(random.below(3)).expect("small")));
            }
            lineage.dedup_by_key(|entry| entry.0);
            let mut object = world.model_object(by, &lineage);
            object.base = random.pick(&known.models);
            object.reserve_bp = u32::try_from(random.below(10_001)).expect("small");
            object.price_out = Drops(u128::from(random.below(5)) * 999_999_999);
            world.sign(&Object::ModelManifest(object), &[by])
        }
        5 => {
            let (contribution, _) = random.pick(&known.contributions)?;
            let action = if random.below(3) == 0 {
                Action::Reject { contribution, reason: "no".into() }
            } else {
                Action::Approve { contribution }
            };
            let owner = world.state.admission(&contribution).and_then(|record| world.state.datanet(&record.datanet));
            let owner = (100..106).find(|number| Some(who(*number)) == owner.as_ref().map(|net| net.owner))?;
            world.operation(owner, action)
        }
        6 => {
            let amount = Drops(u128::from(random.next()) << random.below(20));
            world.operation(by, Action::Transfer { to: who(random.person()), amount })
        }
        _ => {
            let model = random.pick(&known.models)?;
            let answer = random.words(40);
            world.receipt(by, random.person(), model, &answer)
        }
    })
}

/// There always is a set; it is the one that the records make, if they make any; names and counts fit.
fn check_validators(world: &World) {
    let (records, next) = (world.state.candidates(), world.state.next_validators().expect("a set"));
    let elected = elect(&records, &world.genesis.params.stake);
    assert!(!next.members().is_empty());
    assert!(elected == next || elected.members().is_empty());
    let names = world.state.scan(&[keys::CANDIDATE_NAMES]).len();
    let count: u64 = world.state.record(keys::CANDIDATES).expect("a count");
    assert_eq!((names, count), (records.len(), records.len() as u64));
    let distinct: BTreeSet<&str> = records.values().map(|record| record.name.as_str()).collect();
    assert_eq!(distinct.len(), records.len());
}

/// Plays a world and gives its last root and how often each thing happened.
fn play(seed: u64, blocks: u64) -> (Hash32, BTreeMap<String, u64>) {
    let mut random = Random(seed);
    let stake = StakeParams {
        unbonding_epochs: 12,
        evidence_age: 6,
        downtime_window: 10,
        downtime_slash_bp: 70,
        jail_epochs: 3,
        duty_window: 20,
        max_missed_duties: 6,
        max_validators: 8,
        redraw_epochs: 6,
        committee_size: if seed.is_multiple_of(2) { 0 } else { 5 },
        ..StakeParams::devnet()
    };
    let params = Params { dispute_window: 3, settle_timeout: 6, agreed_timeout: 3, stake, ..Params::devnet() };
    let mut world = World::with(params);
    let mut known = Known::default();
    let mut seen: BTreeMap<String, u64> = BTreeMap::new();
    for _ in 0..blocks {
        // Some validators are away; sometimes too many.
        let able: Vec<u8> = (0..VALIDATORS).chain(100..106).collect();
        // At times there is a storm.
        let (away, silent) = if world.height() / 12 % 3 == 2 { (2, 2) } else { (6, 8) };
        let present: Vec<u8> = able.iter().copied().filter(|_| random.below(silent) > 0).collect();
        world.absent = Some(able.iter().copied().filter(|_| random.below(away) == 0).collect());
        let (mut candidates, bodies) = world.duties(&present);
        for manifest in known.manifests.clone() {
            let owed = |by: &&u8| unattested(&world.state, &who(**by)).contains(&manifest);
            candidates.extend(present.iter().filter(owed).map(|by| world.attest(*by, manifest)));
        }
        for _ in 0..random.below(6) {
            candidates.extend(attempt(&mut world, &known, &mut random));
        }
        let bodies: BTreeMap<(u64, DataNetId), Vec<u8>> = bodies
            .into_iter()
            .filter(|_| random.below(3) > 0)
            .map(|bytes| (AttributionBody::from_bytes(&bytes).expect("canonical"), bytes))
            .map(|(body, bytes)| ((body.epoch, body.datanet), bytes))
            .collect();
        let proposal = propose(&world.state, &world.context(), &candidates, &bodies, Limits::of(&world.genesis.params));
        let chosen: Vec<Verified> = proposal
            .envelopes
            .iter()
            .map(|envelope| Verified::check(envelope.clone(), &world.genesis.hash()).expect("sound"))
            .collect();
        check_reloaded(&world, &chosen, &proposal.settlements);
        let events = world.try_block(&chosen, proposal.settlements).expect("a proposal holds");
        check_validators(&world);
        for event in &events {
            *seen.entry(format!("{event:?}").split([' ', '{']).next().unwrap_or_default().to_owned()).or_default() += 1;
        }
        for object in &chosen {
            founded(&world, &mut known, object);
        }
    }
    println!("seed {seed}: {seen:?}");
    (world.tree.root(world.height()).expect("the latest"), seen)
}

/// The same block, carried out twice and on a state read back from bytes, does the same.
fn check_reloaded(world: &World, objects: &[Verified], settlements: &[Vec<u8>]) {
    let block = world.make_block(objects, settlements.to_vec());
    let first = execute_block(&world.state, &block, objects).expect("it holds");
    let reloaded = State::load(world.state.entries().clone()).expect("our own entries");
    let bytes = borsh::to_vec(&block).expect("memory");
    let block = borsh::from_slice(&bytes).expect("our own bytes");
    assert_eq!(execute_block(&reloaded, &block, objects).expect("it holds"), first);
    let mut scratch = Tree::default();
    let all = world.state.entries().iter().map(|(key, value)| (key.clone(), Some(value.clone()))).collect();
    let whole = scratch.update(0, &all).expect("a first version");
    assert_eq!(Ok(whole.root), world.tree.root(world.height()));
}

#[test]
fn random_worlds_conserve_money_and_repeat_exactly() {
    let mut all: BTreeMap<String, u64> = BTreeMap::new();
    for seed in 0..6 {
        println!("seed {seed}");
        let (root, seen) = play(seed, 80);
        assert_eq!(play(seed, 80), (root, seen.clone()), "seed {seed} does not repeat");
        for (what, count) in seen {
            *all.entry(what).or_default() += count;
        }
    }
    println!("{all:?}");
    let enough = [
        ("Settled", 50),
        ("Refunded", 5),
        ("Bonded", 20),
        ("Unbonding", 5),
        ("PaidBack", 4),
        ("Jailed", 5),
        ("Unjailed", 1),
        ("Slashed", 5),
        ("Tombstoned", 2),
        ("ValidatorsElected", 20),
    ];
    for (what, least) in enough {
        let count = all.get(what).copied().unwrap_or_default();
        assert!(count >= least, "the worlds are too quiet to show anything: {what} happened {count} times");
    }
}

#[test]
fn the_audit_notices_a_single_drop() {
    let mut world = World::new();
    let net = world.found(100, Admission::Open);
    let a = world.contribute(101, net, &["glass harbour comet winter"]);
    let manifest = world.publish(100, net, &[a]);
    let model = world.model_object(105, &[(manifest, 1)]);
    let model = world.register(model, 105);
    let receipts = [0; 2].map(|_| world.receipt(110, 111, model, "glass harbour comet winter"));
    world.block(&receipts[..1]);
    world.settle_all();
    world.block(&receipts[1..]);
    assert!(audit(&world.state).is_ok());
    let spoilt = |key: Vec<u8>, value: Vec<u8>| {
        let mut state = world.state.clone();
        state.apply(&Changes::from([(key, Some(value))]));
        audit(&state)
    };
    let bytes = |record: &dyn Fn() -> Vec<u8>| record();
    let mut account = world.state.account(&who(111));
    account.available.0 += 1;
    let minted = spoilt(keys::account(&who(111)), borsh::to_vec(&account).expect("memory"));
    assert!(matches!(minted, Err(Mismatch::Supply { .. })));
    account.pending.0 -= 1;
    let early = spoilt(keys::account(&who(111)), borsh::to_vec(&account).expect("memory"));
    assert!(matches!(early, Err(Mismatch::Pending { .. })));
    let mut record = world.record(&receipts[1]);
    record.fee.0 += 1;
    let fee = spoilt(keys::receipt(&receipts[1].id().into()), bytes(&|| borsh::to_vec(&record).expect("memory")));
    assert!(matches!(fee, Err(Mismatch::Escrow { .. })));
    let mut record = world.record(&receipts[0]);
    record.fee.0 += 1;
    let lines = spoilt(keys::receipt(&receipts[0].id().into()), borsh::to_vec(&record).expect("memory"));
    assert!(matches!(lines, Err(Mismatch::Lines { .. })));
}
