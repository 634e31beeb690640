//! Who was away, who found nothing or something else, and what follows.

use super::conservation::Random;
use super::world::*;
use protocol::crypto::attribution_commitment;
use protocol::envelope::Verified;
use protocol::genesis::{Params, StakeParams};
use protocol::ids::*;
use protocol::ledger::records::{DutyRecord, JailReason, SlashReason, ValidatorState};
use protocol::ledger::*;
use protocol::objects::*;
use protocol::refusal::Refusal;
use std::collections::BTreeMap;

const WINDOW: u64 = 10;

/// A window of ten blocks of which five may be missed.
fn strict() -> World {
    let stake = StakeParams {
        downtime_window: WINDOW,
        min_signed_bp: 5_000,
        downtime_slash_bp: 100,
        jail_epochs: 4,
        ..StakeParams::devnet()
    };
    let mut world = World::with(Params { stake, ..Params::devnet() });
    world.idle(1);
    world.absent = Some(Vec::new());
    world
}

fn jailings(events: &[Event]) -> Vec<(Account, JailReason)> {
    let jailed = |event: &Event| match event {
        Event::Jailed { validator, reason, .. } => Some((*validator, *reason)),
        _ => None,
    };
    events.iter().filter_map(jailed).collect()
}

fn is_in(world: &World, number: u8) -> bool {
    world.context().validators.get(&who(number)).is_some()
}

fn is_state(refusal: Option<Refusal>) -> bool {
    matches!(refusal, Some(Refusal::State { .. }))
}

fn unjail(world: &World, by: u8) -> Verified {
    world.free_operation(by, Action::Unjail)
}

#[test]
fn whoever_is_away_for_too_long_is_jailed_until_it_says_that_it_is_back() {
    let mut world = strict();
    world.absent = Some(vec![3]);
    for missed in 1..=5 {
        assert_eq!(world.block(&[]), []);
        assert_eq!(world.state.absences()[&who(3)].missed, missed);
    }
    let treasury = world.state.treasury().0;
    let events = world.block(&[]);
    let h = world.height();
    let lost = Drops(13 * Drops::CREDIT.0 / 100);
    assert_eq!(
        events,
        [
            Event::Jailed { validator: who(3), until: h + 4, reason: JailReason::Downtime },
            Event::Slashed { validator: who(3), amount: lost, reason: SlashReason::Downtime },
            Event::ValidatorsElected { height: h + 2 },
        ]
    );
    assert_eq!(world.state.treasury().0, treasury + lost.0);
    // It is in the set for one more block, then out; nothing more is counted against it.
    assert!(is_in(&world, 3));
    assert_eq!(world.block(&[]), []);
    assert!(!is_in(&world, 3));
    for _ in 0..2 {
        assert!(is_state(world.refused(&unjail(&world, 3))), "at {}", world.height() + 1);
        world.block(&[]);
    }
    assert_eq!(world.state.absences()[&who(3)].missed, 0);
    // At h + 4 it may, and is back two heights later, with what is left of its bond.
    assert_eq!(world.height(), h + 3);
    let ready = unjail(&world, 3);
    world.block(&[ready]);
    world.idle(1);
    assert_eq!(world.context().validators.get(&who(3)).map(|member| member.power), Some(12));
    assert!(is_state(world.refused(&unjail(&world, 3))));
    // What it missed before does not count again: it has all of its five misses.
    for _ in 0..6 {
        assert_eq!(jailings(&world.block(&[])), []);
    }
    assert_eq!(jailings(&world.block(&[])), [(who(3), JailReason::Downtime)]);
    assert_eq!(world.state.candidate(&who(3)).map(|record| record.jailings), Some(2));
}

#[test]
fn blocks_that_everybody_signed_write_nothing() {
    let mut world = strict();
    let block = world.make_block(&[], Vec::new());
    let changes = execute_block(&world.state, &block, &[]).expect("it holds").changes;
    assert_eq!(changes.into_keys().collect::<Vec<_>>(), [keys::HEIGHT.to_vec()]);
    // What was missed is forgotten when its height leaves the window.
    world.absent = Some(vec![1]);
    world.block(&[]);
    world.absent = Some(Vec::new());
    world.idle(WINDOW - 1);
    assert_eq!(world.state.absences()[&who(1)].missed, 1);
    world.idle(1);
    assert_eq!(world.state.absences(), BTreeMap::new());
    assert!(world.state.scan(&[keys::ABSENT]).is_empty());
}

#[test]
fn nobody_is_away_before_it_is_in_the_set() {
    let mut world = strict();
    let offer = Action::Bond { amount: Drops(5 * Drops::CREDIT.0), payout: who(150), name: "fifth".into() };
    let offer = world.operation(100, offer);
    world.absent = Some(vec![100]);
    world.block(&[offer]);
    let h = world.height();
    // It is in the set of h + 2, for which block h + 3 has the certificate.
    world.idle(2);
    assert_eq!(world.state.absences(), BTreeMap::new());
    world.idle(1);
    assert_eq!((world.height(), world.state.absences()[&who(100)].missed), (h + 3, 1));
}

#[test]
fn the_last_validator_is_not_jailed() {
    let stake = StakeParams { downtime_window: WINDOW, ..StakeParams::devnet() };
    let mut world = World::with_validators(Params { stake, ..Params::devnet() }, 1);
    world.idle(1);
    world.absent = Some(vec![0]);
    for _ in 0..20 {
        assert_eq!(jailings(&world.block(&[])), []);
    }
    assert!(is_in(&world, 0));
}

/// Random absences against a count over all of history.
#[test]
fn absences_are_counted_exactly() {
    for seed in 0..6 {
        println!("seed {seed}");
        let mut random = Random(seed);
        let mut world = strict();
        let mut history: Vec<(u64, Vec<u8>)> = Vec::new();
        let mut since = [0_u64; 4];
        let (mut jailed, mut returned) = (0, 0);
        for _ in 0..150 {
            // One of them is away more often than the others.
            let bad = u8::try_from(random.below(4)).expect("small");
            let absent: Vec<u8> = (0..4).filter(|by| random.below(10) < if *by == bad { 6 } else { 3 }).collect();
            let height = world.height();
            let set = world.state.last_validators().expect("a set");
            let member = |by: &u8| set.get(&who(*by)).is_some();
            let active =
                |by: &u8| world.state.candidate(&who(*by)).is_some_and(|it| it.state == ValidatorState::Active);
            let counted = absent.iter().copied().filter(|by| member(by) && active(by)).collect();
            history.push((height, counted));
            world.absent = Some(absent);
            let back: Vec<Verified> =
                (0..4).map(|by| unjail(&world, by)).filter(|it| world.refused(it).is_none()).collect();
            returned += back.len();
            // Whoever comes back in this block was no candidate when its absence is looked at... but is one then.
            for by in back.iter().filter_map(|it| match it.object() {
                Object::Operation(operation) => (0..4).find(|by| who(*by) == operation.account),
                _ => None,
            }) {
                assert!(!history.last().expect("pushed").1.contains(&by));
            }
            let events = world.block(&back);
            for by in 0..4_u8 {
                let recent = history.iter().filter(|(at, _)| at + WINDOW > height && *at >= since[usize::from(by)]);
                let missed = recent.filter(|(_, absent)| absent.contains(&by)).count() as u64;
                let is_jailed = jailings(&events).iter().any(|(key, _)| *key == who(by));
                let alone = (0..4).filter(|other| *other != by).all(|other| {
                    let record = world.state.candidate(&who(other)).expect("a record");
                    record.state != ValidatorState::Active
                });
                if is_jailed {
                    jailed += 1;
                    assert!(missed > 5);
                    since[usize::from(by)] = world.height() + 2;
                } else {
                    let counted = world.state.absences().get(&who(by)).map_or(0, |record| record.missed);
                    assert_eq!(counted, missed, "validator {by} at {height}");
                    assert!(missed <= 5 || alone, "validator {by} at {height}");
                }
            }
        }
        println!("{jailed} jailed, {returned} returned");
        assert!(jailed > 3 && returned > 3, "too quiet to show anything");
    }
}

// Duties.

const TEXT: &str = "seven grey geese flew over the frozen harbour towards the lighthouse";

/// A world with a model, where two failures of each kind are forgiven.
fn market() -> (World, ModelId) {
    let stake = StakeParams { max_missed_duties: 2, max_wrong_roots: 2, duty_window: 100_000, ..StakeParams::devnet() };
    let mut world = World::with(Params { stake, ..Params::devnet() });
    let net = world.found(100, Admission::Open);
    let a = world.contribute(101, net, &[TEXT]);
    let manifest = world.publish(100, net, &[a]);
    let model = world.model_object(105, &[(manifest, 1)]);
    let model = world.register(model, 105);
    (world, model)
}

/// What the fourth validator does about one receipt, while the others are honest.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fourth {
    Honest,
    Silent,
    CommitsOnly,
    Lies,
    LiesLate,
}

/// One receipt from seal to settlement.
fn round(world: &mut World, model: ModelId, fourth: Fourth) -> Vec<Event> {
    let receipt = world.receipt(110, 111, model, TEXT);
    world.block(&[receipt]);
    let work = open_work(&world.state).remove(0);
    let body = world.body(&work);
    let (validator, epoch, datanet, root) = (who(3), work.epoch, work.datanet, Hash32([9; 32]));
    let commitment = attribution_commitment(&validator, epoch, &datanet, &root);
    let lie = AttributionCommit { validator, epoch, datanet, commitment };
    let lie = world.sign(&Object::AttributionCommit(lie), &[3]);
    let revealed = AttributionReveal { validator, epoch, datanet, root };
    let revealed = world.sign(&Object::AttributionReveal(revealed), &[3]);

    let mut commits = [0, 1, 2].map(|by| world.commit(by, &body)).to_vec();
    commits.extend(match fourth {
        Fourth::Honest | Fourth::CommitsOnly => Some(world.commit(3, &body)),
        Fourth::Lies => Some(lie),
        Fourth::Silent | Fourth::LiesLate => None,
    });
    world.block(&commits);
    world.idle(1);
    let mut reveals = [0, 1, 2].map(|by| world.reveal(by, &body)).to_vec();
    reveals.extend(match fourth {
        Fourth::Honest => Some(world.reveal(3, &body)),
        Fourth::Lies | Fourth::LiesLate => Some(revealed),
        Fourth::Silent | Fourth::CommitsOnly => None,
    });
    world.block(&reveals);
    world.try_block(&[], vec![body.to_bytes()]).expect("the honest agree")
}

#[test]
fn what_is_owed_and_not_done_is_counted_and_then_jailed() {
    let table = [
        (Fourth::Honest, DutyRecord::default(), None),
        (
            Fourth::Silent,
            DutyRecord { missed_commits: 2, missed_blocks: 2, ..DutyRecord::default() },
            Some(JailReason::MissedDuties),
        ),
        (
            Fourth::CommitsOnly,
            DutyRecord { missed_reveals: 2, missed_blocks: 2, ..DutyRecord::default() },
            Some(JailReason::MissedDuties),
        ),
        (
            Fourth::Lies,
            DutyRecord { wrong_roots: 2, wrong_blocks: 2, ..DutyRecord::default() },
            Some(JailReason::WrongRoots),
        ),
        (
            Fourth::LiesLate,
            DutyRecord {
                missed_commits: 2,
                missed_blocks: 2,
                wrong_roots: 2,
                wrong_blocks: 2,
                ..DutyRecord::default()
            },
            Some(JailReason::WrongRoots),
        ),
    ];
    for (fourth, expected, reason) in table {
        let (mut world, model) = market();
        for _ in 0..2 {
            assert_eq!(jailings(&round(&mut world, model, fourth)), [], "{fourth:?}");
        }
        assert_eq!(world.state.failures(&who(3)), expected, "{fourth:?}");
        let events = round(&mut world, model, fourth);
        let expected: Vec<_> = reason.map(|reason| (who(3), reason)).into_iter().collect();
        assert_eq!(jailings(&events), expected, "{fourth:?}");
        for by in 0..3 {
            assert_eq!(world.state.failures(&who(by)), DutyRecord::default(), "{fourth:?}");
        }
        let paid = world.state.account(&payout(3));
        assert_eq!(paid.pending.0 + paid.available.0 > 0, fourth == Fourth::Honest, "{fourth:?}");
    }
}

#[test]
fn a_new_window_begins_from_nothing_and_refunds_count_against_nobody() {
    let stake = StakeParams { max_missed_duties: 1, duty_window: 30, ..StakeParams::devnet() };
    let (mut world, model) = market();
    let mut params = world.genesis.params;
    params.stake = stake;
    world.state.apply(&Changes::from([(keys::PARAMS.to_vec(), Some(borsh::to_vec(&params).expect("memory")))]));
    assert_eq!(jailings(&round(&mut world, model, Fourth::Silent)), []);
    let next = 30 - world.height() % 30;
    world.idle(next);
    assert_eq!(jailings(&round(&mut world, model, Fourth::Silent)), []);
    assert_eq!(world.state.failures(&who(3)).missed_blocks, 1);
    // Nobody found it: a refund, and nobody's fault.
    let receipt = world.receipt(110, 111, model, TEXT);
    world.block(std::slice::from_ref(&receipt));
    world.idle(params.settle_timeout);
    assert!(matches!(world.record(&receipt).state, ReceiptState::Refunded { .. }));
    assert_eq!(world.state.failures(&who(3)).missed_blocks, 1);
    assert_eq!(world.state.failures(&who(0)), DutyRecord::default());
}
