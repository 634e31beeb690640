use crate::sim::ablation::Ablation;
use crate::sim::run::{Options, Outcome, run};
use crate::sim::scenario::{SCENARIOS, Scenario, find};

/// Seeds of each scenario; `sim` runs as many as there is time for.
const SEEDS: u64 = 8;
/// Seeds within which each ablation is caught.
const ABLATED_SEEDS: u64 = 40;

fn options(scenario: &'static Scenario, seed: u64, ablation: Option<Ablation>) -> Options {
    Options { scenario, seed, ablation, validators: None, logged: false }
}

fn keeps_every_promise(names: &[&str]) {
    for name in names {
        let scenario = find(name).unwrap();
        for seed in 0..SEEDS {
            let outcome = run(&options(scenario, seed, None));
            assert_eq!(
                outcome.violations,
                [],
                "replay: cargo run --release -p tributary-protocol --features sim --bin sim -- --seeds {seed}..{} \
                 --scenario {name} --log events.log",
                seed + 1
            );
            assert!(outcome.epochs > 5, "{name}, seed {seed}: {} epochs", outcome.epochs);
        }
    }
}

/// Scenarios are divided among tests, which may run side by side; none is left out.
const GROUPS: [&[&str]; 5] = [
    &["calm", "wan", "lossy", "partition", "crash"],
    &["disk", "lostlog", "clocks", "wiped", "equivocator"],
    &["withholder", "forger", "replayer", "spammer"],
    &["copycat", "amnesiac", "liar", "eclipse"],
    &["big", "churn", "everything"],
];

#[test]
fn no_scenario_is_left_out() {
    let mut tested: Vec<&str> = GROUPS.concat();
    let mut all: Vec<&str> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
    tested.sort_unstable();
    all.sort_unstable();
    assert_eq!(tested, all);
}

#[test]
fn promises_are_kept_over_bad_networks_and_power_cuts() {
    keeps_every_promise(GROUPS[0]);
}

#[test]
fn promises_are_kept_on_bad_disks_and_clocks() {
    keeps_every_promise(GROUPS[1]);
}

#[test]
fn promises_are_kept_among_forgers_and_spammers() {
    keeps_every_promise(GROUPS[2]);
}

#[test]
fn promises_are_kept_among_liars_and_parasites() {
    keeps_every_promise(GROUPS[3]);
}

#[test]
fn promises_are_kept_when_many_validators_and_all_faults_meet() {
    keeps_every_promise(GROUPS[4]);
}

#[test]
fn newcomers_vote_and_validators_leave() {
    let scenario = find("churn").unwrap();
    let outcomes: Vec<Outcome> = (0..SEEDS).map(|seed| run(&options(scenario, seed, None))).collect();
    for kind in ["bond: joins", "bond: more", "newcomer votes", "unbond: a part", "unbond: leaves"] {
        let times: u64 = outcomes.iter().filter_map(|outcome| outcome.faults.get(kind)).sum();
        assert!(times >= SEEDS, "{kind}: {times} times in {SEEDS} seeds");
    }
}

#[test]
fn whoever_signs_twice_is_tombstoned() {
    let scenario = find("equivocator").unwrap();
    let outcomes = (0..SEEDS).map(|seed| run(&options(scenario, seed, None)));
    let tombstoned: u64 = outcomes.filter_map(|outcome| outcome.faults.get("tombstoned").copied()).sum();
    assert!(tombstoned >= SEEDS, "{tombstoned} criminals in {SEEDS} seeds with two each");
}

/// Seeds that found something once, with what it was.
#[test]
fn seeds_that_once_failed() {
    let table = [
        // Three of ten validators had refused a block as too far ahead of their clocks, and kept to that when their clocks had
        // passed it: the others were locked on it for ever.
        ("everything", 5333),
    ];
    for (name, seed) in table {
        let outcome = run(&options(find(name).unwrap(), seed, None));
        assert_eq!(outcome.violations, [], "{name}, seed {seed}");
    }
}

/// What a checker sees when something that the design rests on is gone.
fn caught(ablation: Ablation, by: &[&str]) {
    let scenario = find(ablation.scenario()).unwrap();
    let outcomes = (0..ABLATED_SEEDS).map(|seed| run(&options(scenario, seed, Some(ablation))));
    let seen = outcomes.filter_map(|outcome| outcome.violations.into_iter().next());
    let seen = seen.map(|violation| violation.check).find(|check| by.contains(check));
    assert!(seen.is_some(), "nobody among {by:?} saw that {} is not there", ablation.as_str());
}

#[test]
fn a_node_without_its_log_is_caught() {
    caught(Ablation::NoWal, &["liveness", "signatures"]);
}

#[test]
fn a_node_without_its_last_sign_record_is_caught() {
    caught(Ablation::NoSignRecord, &["signatures"]);
}

#[test]
fn validators_without_locks_are_caught() {
    caught(Ablation::NoLock, &["agreement"]);
}

#[test]
fn a_disk_that_does_not_sync_is_caught() {
    caught(Ablation::NoFsync, &["durability", "signatures"]);
}

#[test]
fn attribution_without_a_commit_phase_is_caught() {
    caught(Ablation::NoCommitPhase, &["books"]);
}

#[test]
fn a_new_disk_without_quarantine_is_caught() {
    caught(Ablation::NoQuarantine, &["signatures"]);
}

/// Set in the processes that the test below starts.
const CHILD: &str = "TRIBUTARY_SIM_CHILD";

#[test]
#[expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "it compares processes")]
fn the_same_seed_gives_the_same_digest_in_any_process() {
    let outcome = |seed| run(&options(find("everything").unwrap(), seed, None));
    let digests = |outcomes: &[Outcome]| format!("{:?}", outcomes.iter().map(|o| o.digest).collect::<Vec<_>>());
    let here = digests(&[outcome(1), outcome(2)]);
    if std::env::var_os(CHILD).is_some() {
        println!("digests {here}");
        return;
    }
    assert_ne!(outcome(1).digest, outcome(2).digest);
    let name = "the_same_seed_gives_the_same_digest_in_any_process";
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args([name, "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(said.contains(&format!("digests {here}")), "{said}");
}
