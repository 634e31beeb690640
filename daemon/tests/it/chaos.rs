//! Short trials of the example `chaos`: real processes under load, ill-treated in every way it knows. What must hold is
//! said, and asked from outside, in its own module; a trial that finds something else says so in its report.
//!
//! What is random comes from one seed, which each test prints; `TRIBUTARY_TEST_SEED` runs that seed again. Nothing here
//! waits for time to pass or asks how long something took: every wait is for a condition, with a deadline far beyond
//! what it takes.

use super::cli_node::PROGRAM;
use std::time::{Duration, SystemTime};
use trial::Fault::{Clock, Cut, Freeze, FullDisk, Hostile, Kill, KillSoon, Rolling, Rotate, Silence, Wipe};
use trial::net::Links;
use trial::{Fault, Plan};

#[path = "../../examples/chaos/trial/mod.rs"]
mod trial;

/// Runs a trial of four nodes; whatever does not hold fails the test.
fn holds(faults: &[Fault], links: Links) {
    let asked = std::env::var("TRIBUTARY_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let by_time = || SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| u64::from(since.subsec_nanos()));
    let seed = asked.unwrap_or_else(by_time);
    assert!(links.can_be_cut() || !faults.iter().any(|fault| fault.is_partition()), "partitions need relays");
    eprintln!("seed {seed}: TRIBUTARY_TEST_SEED={seed} runs it again");
    let plan = Plan {
        program: PROGRAM.into(),
        seed,
        nodes: 4,
        epoch_ms: 100,
        links,
        faults: faults.to_vec(),
        small_disk: false,
        talk: true,
    };
    let report = trial::run(&plan).expect("a network that can be ill-treated");
    eprintln!("{}", serde_json::to_string_pretty(&report).expect("a report"));
    assert!(report.violations.is_empty(), "seed {seed}: {:#?}\n{:#?}", report.violations, report.notes);
    assert_eq!(report.faults.values().sum::<u64>(), faults.len() as u64, "every fault was carried out");
}

/// Slow enough to be seen, fast enough for a test.
fn a_few_ms(_: usize, _: usize) -> Duration {
    Duration::from_millis(5)
}

const KILLED: &[Fault] = &[KillSoon, KillSoon, Kill];
const LATE: &[Fault] = &[Freeze, Clock, Freeze];
const FULL: &[Fault] = &[FullDisk, KillSoon];
const WIPED: &[Fault] = &[Wipe, Rolling];
const REPLACED: &[Fault] = &[Rotate, Rotate, KillSoon, Rotate, Rotate];
const ATTACKED: &[Fault] = &[Hostile, KillSoon];
const PARTED: &[Fault] = &[Silence, Cut, KillSoon];

#[test]
fn every_fault_is_tried() {
    let tried = [KILLED, LATE, FULL, WIPED, REPLACED, ATTACKED, PARTED].concat();
    let links = [Links::Direct, Links::Relayed(a_few_ms), Links::Namespaces(Duration::ZERO)];
    assert_eq!(links.map(Links::can_be_cut), [false, true, true]);
    assert!(Fault::ALL.iter().all(|fault| tried.contains(fault)), "{tried:?}");
}

#[test]
fn nothing_acknowledged_is_lost_when_nodes_are_killed_under_load() {
    holds(KILLED, Links::Direct);
}

#[test]
fn frozen_nodes_and_wrong_clocks_change_nothing() {
    holds(LATE, Links::Direct);
}

#[test]
fn a_full_disk_stops_a_node_and_room_brings_it_back() {
    holds(FULL, Links::Direct);
}

#[test]
fn a_wiped_node_comes_back_and_versions_roll() {
    holds(WIPED, Links::Direct);
}

/// In the end no validator is left that the genesis names, and proofs still lead from there.
#[test]
fn validators_are_replaced_one_after_another_under_load() {
    holds(REPLACED, Links::Direct);
}

#[test]
fn a_hostile_peer_under_load_changes_nothing() {
    holds(ATTACKED, Links::Direct);
}

#[test]
fn partitions_heal() {
    holds(PARTED, Links::Relayed(a_few_ms));
}
