//! Committees: drawn by power, redrawn slowly, and of no consequence for what anybody but them is paid.

use super::world::*;
use proptest::prelude::*;
use protocol::block::{Validator, ValidatorSet};
use protocol::crypto::document_hash;
use protocol::genesis::{Params, StakeParams};
use protocol::ids::*;
use protocol::ledger::committee::{draw, turn};
use protocol::ledger::records::{AccountRecord, BeaconRecord, Line, PaidPassage, ReceiptState, Role};
use protocol::ledger::*;
use protocol::objects::*;
use protocol::refusal::Refusal;
use std::collections::BTreeSet;

fn set(powers: &[u64]) -> ValidatorSet {
    let member = |(number, power): (u8, &u64)| {
        let key = Account([number; 32]);
        Validator { key, payout: key, power: *power }
    };
    ValidatorSet::new((1..).zip(powers).map(member).collect())
}

fn params(committee_size: u32, redraw_epochs: u64) -> StakeParams {
    StakeParams { committee_size, redraw_epochs, ..StakeParams::devnet() }
}

fn beacon(period: u64) -> Hash32 {
    document_hash(&period.to_be_bytes())
}

fn beacons(period: u64) -> BeaconRecord {
    BeaconRecord { period, current: beacon(period), previous: beacon(period.wrapping_sub(1)) }
}

fn datanet(number: u64) -> DataNetId {
    DataNetId(document_hash(&number.to_be_bytes()).0)
}

fn members(set: &ValidatorSet) -> BTreeSet<Account> {
    set.members().iter().map(|member| member.key).collect()
}

/// Draws as the state goes on: the beacon of a period is kept at the end of its first block.
fn at(set: &ValidatorSet, params: &StakeParams, net: &DataNetId, height: u64) -> BTreeSet<Account> {
    let period = height.saturating_sub(1) / params.redraw_epochs;
    members(&draw(set, params, &beacons(period), net, height, |_| 0))
}

/// Over many draws of one place each validator is drawn as often as its power says, within four standard deviations.
#[test]
fn places_fall_in_proportion_to_power() {
    let powers = [1, 2, 3, 5, 8, 13, 21, 34, 55, 1_000_000_000_000, 0x0fff_ffff_ffff];
    for powers in [&powers[..9], &[1, 1, 1, 1][..], &[1 << 50, 3 << 50, 4 << 50][..], &powers[9..]] {
        let set = set(powers);
        let draws = 20_000_u64;
        let total: u128 = powers.iter().map(|power| u128::from(*power)).sum();
        let mut counts = vec![0_u64; powers.len()];
        for number in 0..draws {
            let chosen = draw(&set, &params(1, 100), &beacons(1), &datanet(number), 150, |_| 0);
            let [only] = chosen.members() else { panic!("one place") };
            counts[usize::from(only.key.0[0]) - 1] += 1;
        }
        for (power, count) in powers.iter().zip(counts) {
            // (count - n p)^2 <= 16 n p (1 - p) for p = power / total, in thousandths of draws; the least count is exact.
            let (power, draws) = (u128::from(*power), u128::from(draws));
            let mean = 1_000 * draws * power / total;
            let variance = 1_000_000 * draws * power / total * ((total - power) * 1_000 / total) / 1_000;
            let distance = (1_000 * u128::from(count)).abs_diff(mean).saturating_sub(1_000);
            assert!(distance * distance <= 16 * variance, "{power} of {powers:?}: {count} for {mean} thousandths");
        }
    }
}

#[test]
fn a_committee_holds_as_many_as_it_should_with_their_powers() {
    let all = set(&[5, 6, 7, 8, 9, 10]);
    for (size, expected) in [(0, 6), (4, 4), (5, 5), (6, 6), (7, 6)] {
        let chosen = draw(&all, &params(size, 100), &beacons(0), &datanet(1), 5, |_| 0);
        assert_eq!(chosen.members().len(), expected, "{size}");
        assert!(chosen.members().iter().all(|member| all.get(&member.key) == Some(member)));
    }
    // Another DataNet, another draw: over a few, everybody is somewhere.
    let somewhere: BTreeSet<Account> = (0..10).flat_map(|net| at(&all, &params(4, 100), &datanet(net), 5)).collect();
    assert_eq!(somewhere.len(), 6);
}

/// From one epoch to the next only those can come in or go out whose turn it is, each for one place, and over a period
/// everybody has one turn.
#[test]
fn committees_change_slowly_and_in_time() {
    let all = set(&(0..40).map(|number| 10 + number % 7).collect::<Vec<_>>());
    let params = params(8, 50);
    let (mut changed, mut most, mut kept) = (0, 0, 0);
    for net in (0..10).map(datanet) {
        let turns: Vec<u64> = all.members().iter().map(|member| turn(&params, &net, &member.key)).collect();
        assert!(turns.iter().all(|turn| *turn < 50));
        // From height 101 on, past the first beacons.
        for height in 101..300 {
            let (before, after) = (at(&all, &params, &net, height), at(&all, &params, &net, height + 1));
            // The beacon is kept at the end of the period's first block, so that a turn of 0 comes with the second.
            let now = |turn: &u64| (height + 1) % 50 == *turn.max(&1);
            let due = turns.iter().filter(|turn| now(turn)).count();
            let new = after.difference(&before).count();
            assert!(new <= due, "{new} came in at {height}, {due} were due");
            (changed, most) = (changed + new, most.max(new));
        }
        kept += at(&all, &params, &net, 150).intersection(&at(&all, &params, &net, 250)).count();
    }
    println!("{changed} places changed, at most {most} at once; {kept} of 80 held after two periods");
    // In a period a place changes hands when its holder draws worse, or somebody outside draws better: 8 x 0.8 + 32 x 0.2
    // times, for four periods of ten DataNets.
    assert!((400..=560).contains(&changed), "{changed}");
    assert!(most <= 3 && kept < 40, "{most} {kept}");
}

/// Whoever leaves changes the one place that was its own.
#[test]
fn whoever_leaves_gives_up_one_place() {
    let all = set(&[10; 20]);
    let params = params(6, 50);
    for net in (0..20).map(datanet) {
        let before = at(&all, &params, &net, 60);
        for leaver in all.members() {
            let rest = all.members().iter().filter(|member| *member != leaver).cloned().collect();
            let after = at(&ValidatorSet::new(rest), &params, &net, 60);
            let expected = usize::from(before.contains(&leaver.key));
            assert_eq!(before.difference(&after).count(), expected);
        }
    }
}

/// A key that was made after a beacon was known may have been made for it.
#[test]
fn newcomers_wait_for_a_later_beacon() {
    let all = set(&[10, 10, 10, 10, 10, 1_000_000]);
    let (params, rich) = (params(4, 50), Account([6; 32]));
    let is_in = |since: u64, height: u64| {
        let period = height.saturating_sub(1) / 50;
        let since = |key: &Account| if *key == rich { since } else { 0 };
        draw(&all, &params, &beacons(period), &datanet(3), height, since).get(&rich).is_some()
    };
    // The beacon of period 2 is that of block 100: bonded before, it stands in front from its turn on.
    let turn = turn(&params, &datanet(3), &rich);
    assert!(is_in(99, 100 + turn.max(1)));
    assert!(!is_in(100, 100 + turn.max(1)), "the proposer of block 100 knew its beacon");
    assert!(!is_in(99, 100 + turn.max(1) - 1), "before its turn the beacon of period 1 counts");
    assert!(is_in(100, 150 + turn.max(1)));
}

fn without_validators(lines: &[Line]) -> (Vec<Line>, u128) {
    let (validators, rest): (Vec<Line>, Vec<Line>) = lines.iter().partition(|line| line.role == Role::Validators);
    (rest, validators.iter().map(|line| line.amount.0).sum())
}

/// Words of which texts and answers are made: few, so that answers find much, and find it in several places.
const WORDS: [&str; 16] = [
    "the",
    "a",
    "of",
    "spring",
    "river",
    "ferry",
    "barley",
    "comet",
    "harbour",
    "lamp",
    "winter",
    "glass",
    "seven",
    "dawn",
    "breakwater",
    "swollen",
];

/// Which texts stand in which DataNets, how much each counts, what is asked of the model, and who validates.
#[derive(Clone, Debug)]
struct Play {
    /// For each DataNet the texts of its contributions, and its weight in the model's lineage.
    nets: Vec<(Vec<String>, u32)>,
    /// Answers, a list for each epoch.
    answers: Vec<Vec<String>>,
    powers: Vec<u64>,
    redraw_epochs: u64,
}

/// What people see of it: each receipt's evidence hash, passages, lines of all but validators, and what these got together;
/// accounts; the treasury.
type Seen = (Vec<(ObjectId, Hash32, Vec<PaidPassage>, Vec<Line>, u128)>, Vec<AccountRecord>, Drops);

impl Play {
    /// Plays it on committees of this size, 0 for all. Gives also the sizes that committees had.
    fn on(&self, committee_size: u32) -> (Seen, BTreeSet<usize>) {
        let stake = StakeParams { committee_size, redraw_epochs: self.redraw_epochs, ..StakeParams::devnet() };
        let mut world = World::with_powers(Params { stake, ..Params::devnet() }, &self.powers);
        let mut lineage = Vec::new();
        for (by, (texts, weight)) in (101..).zip(&self.nets) {
            let net = world.found(100, Admission::Open);
            let added: Vec<ContributionId> =
                (0..).zip(texts).map(|(more, text)| world.contribute(by + more, net, &[text])).collect();
            lineage.push((world.publish(100, net, &added), *weight));
        }
        let model = world.model_object(110, &lineage);
        let model = world.register(model, 110);
        let (mut outcome, mut sizes) = (Vec::new(), BTreeSet::new());
        for answers in &self.answers {
            let receipts: Vec<_> = answers.iter().map(|answer| world.receipt(111, 112, model, answer)).collect();
            world.block(&receipts);
            sizes.extend(open_work(&world.state).iter().map(|work| work.committee.members().len()));
            world.settle_all();
            for receipt in &receipts {
                let settlement = world.settlement(receipt);
                let (lines, validators) = without_validators(&settlement.lines);
                outcome.push((receipt.id(), settlement.evidence, settlement.spans, lines, validators));
            }
        }
        let people = (100..120).map(|number| world.state.account(&who(number))).collect();
        ((outcome, people, world.state.treasury()), sizes)
    }
}

fn text(words: std::ops::Range<usize>) -> impl Strategy<Value = String> {
    let words = prop::collection::vec(prop::sample::select(&WORDS[..]), words);
    words.prop_map(|words| words.join(" "))
}

/// A part of one of these texts in words of one's own.
fn answer(texts: Vec<String>) -> impl Strategy<Value = String> {
    let quote =
        (prop::sample::select(texts), any::<prop::sample::Index>(), 1_usize..10).prop_map(|(text, from, count)| {
            let words: Vec<&str> = text.split(' ').collect();
            let quoted = words.iter().skip(from.index(words.len())).take(count);
            quoted.copied().collect::<Vec<_>>().join(" ")
        });
    (text(0..3), prop::collection::vec(quote, 0..3), text(0..3))
        .prop_map(|(before, quotes, after)| [vec![before], quotes, vec![after, "end".to_owned()]].concat().join(" "))
}

fn plays() -> impl Strategy<Value = Play> {
    let nets = prop::collection::vec((prop::collection::vec(text(4..20), 1..3), 1_u32..6), 1..5);
    nets.prop_flat_map(|mut nets| {
        // No two texts are the same, but few words make many that have much in common.
        let texts = nets.iter_mut().flat_map(|(texts, _)| texts);
        (0..).zip(texts).for_each(|(number, text): (u32, &mut String)| *text = format!("{text} {number}"));
        let texts: Vec<String> = nets.iter().flat_map(|(texts, _)| texts.clone()).collect();
        let answers = prop::collection::vec(prop::collection::vec(answer(texts), 1..3), 1..4);
        let powers = prop::collection::vec(1_u64..1_000, 5..10);
        (Just(nets), answers, powers, 2_u64..12)
    })
    .prop_map(|(nets, answers, powers, redraw_epochs)| Play { nets, answers, powers, redraw_epochs })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    /// The same people, the same receipts; and how DataNets are divided among committees is nobody's business but theirs.
    #[test]
    fn payouts_do_not_depend_on_how_datanets_are_divided(play in plays(), size in 4_u32..10) {
        let size = size.min(u32::try_from(play.powers.len()).unwrap());
        let (whole, sizes) = play.on(0);
        prop_assert_eq!(sizes, BTreeSet::from([play.powers.len()]));
        let (divided, sizes) = play.on(size);
        prop_assert_eq!(sizes, BTreeSet::from([size as usize]));
        prop_assert_eq!(divided, whole);
    }
}

/// A world of nine with committees of four, and its work for one receipt.
fn sharded() -> (World, protocol::envelope::Verified, Work) {
    let stake = StakeParams { committee_size: 4, redraw_epochs: 3, ..StakeParams::devnet() };
    let params = Params { stake, agreed_timeout: 20, ..Params::devnet() };
    let mut world = World::with_validators(params, 9);
    let net = world.found(100, Admission::Open);
    let text = "seven grey geese flew over the frozen harbour towards the lighthouse";
    let a = world.contribute(101, net, &[text]);
    let manifest = world.publish(100, net, &[a]);
    let model = world.model_object(105, &[(manifest, 1)]);
    let model = world.register(model, 105);
    let receipt = world.receipt(110, 111, model, text);
    world.block(std::slice::from_ref(&receipt));
    let work = open_work(&world.state).remove(0);
    (world, receipt, work)
}

#[test]
fn only_the_committee_of_the_epoch_has_a_say_and_is_paid() {
    let (mut world, receipt, work) = sharded();
    let body = world.body(&work);
    let (inside, outside): (Vec<u8>, Vec<u8>) = (0..9).partition(|by| work.committee.get(&who(*by)).is_some());
    assert_eq!((inside.len(), outside.len()), (4, 5));
    for by in &outside {
        assert!(matches!(world.refused(&world.commit(*by, &body)), Some(Refusal::Forbidden { .. })));
    }
    let commits: Vec<_> = inside.iter().map(|by| world.commit(*by, &body)).collect();
    world.block(&commits);
    world.idle(1);
    // By now the DataNet's committee is another one, but this work keeps its own.
    assert_eq!(open_work(&world.state)[0].committee, work.committee);
    assert!(matches!(world.refused(&world.reveal(outside[0], &body)), Some(Refusal::Forbidden { .. })));
    let reveals: Vec<_> = inside.iter().map(|by| world.reveal(*by, &body)).collect();
    world.block(&reveals);
    // Agreed, and no proposer has the body: it waits beyond the time at which disagreement is refunded.
    world.idle(world.genesis.params.settle_timeout + 5);
    world.try_block(&[], vec![body.to_bytes()]).expect("agreed");
    let paid = |by: &u8| world.state.account(&payout(*by)).pending > Drops::ZERO;
    assert_eq!((0..9).filter(paid).collect::<Vec<u8>>(), inside);
    assert!(matches!(world.record(&receipt).state, ReceiptState::Settled(_)));
}

#[test]
fn what_is_agreed_and_never_settled_is_refunded_in_the_end() {
    let (mut world, receipt, work) = sharded();
    let before = world.available(110);
    let body = world.body(&work);
    let inside: Vec<u8> = (0..9).filter(|by| work.committee.get(&who(*by)).is_some()).collect();
    let commits: Vec<_> = inside.iter().map(|by| world.commit(*by, &body)).collect();
    world.block(&commits);
    world.idle(1);
    let reveals: Vec<_> = inside.iter().map(|by| world.reveal(*by, &body)).collect();
    world.block(&reveals);
    world.idle(work.epoch + 10 + 20 - world.height() - 1);
    assert!(matches!(world.record(&receipt).state, ReceiptState::Sealed { .. }));
    world.idle(1);
    assert_eq!(world.available(110), before + world.record(&receipt).fee.0);
}

#[test]
fn manifests_need_their_datanets_committee() {
    let stake = StakeParams { committee_size: 4, redraw_epochs: 1_000, ..StakeParams::devnet() };
    let mut world = World::with_validators(Params { stake, ..Params::devnet() }, 9);
    let net = world.found(100, Admission::Open);
    let a = world.contribute(101, net, &["a page that somebody wrote"]);
    let manifest = world.sign(&Object::DatasetManifest(world.manifest_object(100, net, &[a])), &[100]);
    world.block(std::slice::from_ref(&manifest));
    let id = ManifestId::from(manifest.id());
    let committee = current_committee(&world.state, &world.context(), &net);
    let (inside, outside): (Vec<u8>, Vec<u8>) = (0..9).partition(|by| committee.get(&who(*by)).is_some());
    for by in 0..9 {
        assert_eq!(unattested(&world.state, &who(by)).contains(&id), inside.contains(&by));
    }
    let is_active = |world: &World| world.state.datanet(&net).expect("a DataNet").version == 1;
    let others: Vec<_> = outside.iter().map(|by| world.attest(*by, id)).collect();
    world.block(&others);
    let most: Vec<_> = inside[..2].iter().map(|by| world.attest(*by, id)).collect();
    world.block(&most);
    assert!(!is_active(&world), "more than half of all, and half of those who count");
    let rest: Vec<_> = inside[2..].iter().map(|by| world.attest(*by, id)).collect();
    world.block(&rest);
    assert!(is_active(&world));
}
