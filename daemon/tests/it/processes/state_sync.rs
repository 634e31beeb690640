//! A node that joins long after the others forgot how it began.

use super::{Net, configure, submit, until};
use daemon::supervisor::Ended;
use protocol::objects::Drops;
use serde_json::Value;

/// Epochs between two snapshots.
const INTERVAL: u64 = 20;

fn epoch(net: &Net, i: usize, height: u64) -> Option<Value> {
    net.api(i).get(&format!("/v1/epochs/{height}")).ok()
}

/// A block that a person could have been told: the latest of node 0.
fn checkpoint(net: &Net) -> (u64, String) {
    let height = net.height(0);
    let light: Value = net.api(0).get(&format!("/v1/light/{height}")).unwrap();
    (height, format!("{height}:{}", light["block"].as_str().unwrap()))
}

#[test]
fn a_new_node_takes_over_a_state_that_is_proved_to_it_and_votes() {
    let mut net = Net::start_after(4, 100, |devnet| {
        for i in 0..4 {
            let home = devnet.home(i);
            configure(home, "# snapshot_interval = 1000", &format!("snapshot_interval = {INTERVAL}"));
            configure(home, "# archive = true", "archive = false");
            configure(home, "# keep_epochs = 10000", "keep_epochs = 10");
        }
    });
    let (alice, bob) = (net.key("alice"), net.key("bob").account());
    let paid = submit(&net.api(0), &net.transfer(&alice, 0, bob, 7)).unwrap();
    net.place(3, &paid);
    assert_eq!(net.devnet.stop(3).unwrap(), Ended::Gracefully);
    std::fs::remove_dir_all(net.devnet.home(3).join("data")).unwrap();
    until("the others prune their first blocks", || (0..3).all(|i| epoch(&net, i, 1).is_none()).then_some(()));
    assert!(net.api(0).get::<Value>(&format!("/v1/objects/{paid}")).is_err(), "its block is gone");

    let (trusted, text) = checkpoint(&net);
    configure(net.devnet.home(3), "# trust = \"HEIGHT:HASH\"", &format!("trust = \"{text}\""));
    net.devnet.restart(3).unwrap();
    let goal = net.height(0);
    until("node 3 in step", || (net.height(3) >= goal).then_some(()));
    assert!(epoch(&net, 3, trusted.saturating_sub(1)).is_none(), "it never had what came before");
    let first = (trusted..=goal).find(|height| epoch(&net, 3, *height).is_some()).unwrap();
    assert_eq!(first % INTERVAL, 0, "it begins with a snapshot's height");
    for height in first..=goal {
        assert_eq!(net.epoch(3, height)["state_root"], net.epoch(0, height)["state_root"], "{height}");
    }
    let shown = super::account(&net.api(3), bob);
    let expected = Drops(Drops::CREDIT.0 * 1_000_000 + 7);
    assert_eq!(shown["available"].as_str(), Some(expected.to_string().as_str()));
    let key = net.validator(3).account().to_string();
    let mut height = goal;
    until("an epoch that node 3 signed", || {
        height += 1;
        let signers = net.epoch(0, height)["signers"].clone();
        signers.as_array().unwrap().iter().any(|signer| signer.as_str() == Some(&key)).then_some(())
    });

    // With a database the trusted block is not needed any more, and does no harm.
    assert_eq!(net.devnet.stop(3).unwrap(), Ended::Gracefully);
    net.devnet.restart(3).unwrap();
    until("node 3 goes on", || (net.height(3) > height).then_some(()));
    assert!(net.devnet.stop_all().iter().all(|(_, how)| *how == Ended::Gracefully));
}
