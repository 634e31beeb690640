//! How things come to nodes: objects that gossip never brought, messages of agreement straight.

use super::hostile::counted;
use super::{Net, submit, until};
use daemon::supervisor::Ended;

/// A node that was down when an object was gossiped has it from another's pool. Epochs are so long that nothing is gossiped
/// again meanwhile, and the object cannot enter a block: the operation before it is missing.
#[test]
fn what_gossip_did_not_bring_comes_by_comparing_pools() {
    let mut net = Net::start(4, 10_000);
    assert_eq!(net.devnet.stop(3).unwrap(), Ended::Gracefully);
    let (alice, bob) = (net.key("alice"), net.key("bob").account());
    submit(&net.api(0), &net.transfer(&alice, 1, bob, 7)).unwrap();
    net.devnet.restart(3).unwrap();
    until("the object in node3's pool", || (net.api(3).status().unwrap().pool == 1).then_some(()));
    assert_eq!(counted(&net, 3, "tributary_reconciled_objects_total", &[]), 1.0);
    assert!(net.devnet.stop_all().iter().all(|(_, how)| *how == Ended::Gracefully));
}

/// Among validators that all see each other, agreement needs no gossip.
#[test]
fn agreement_among_connected_validators_goes_straight() {
    let net = Net::start(4, 50);
    let (alice, bob) = (net.key("alice"), net.key("bob").account());
    let ids: Vec<String> =
        (0..20).map(|nonce| submit(&net.api(0), &net.transfer(&alice, nonce, bob, 1)).unwrap()).collect();
    for id in &ids {
        assert!((1..4).all(|i| net.place(i, id) == net.place(0, id)));
    }
    let straight = |i| counted(&net, i, "tributary_network_direct_received_total", &[]);
    let gossiped = |i| counted(&net, i, "tributary_network_gossip_received_total", &["topic=\"consensus\""]);
    // From the moment that all have heard all straight, messages keep coming, and hardly any of them by gossip. Heights
    // that take long on a busy machine are gossiped too, so a quick one is waited for.
    until("an epoch without gossip of agreement", || {
        let before = (straight(1), gossiped(1));
        let height = net.height(1);
        until("another epoch", || (net.height(1) > height).then_some(()));
        (straight(1) >= before.0 + 5.0 && gossiped(1) <= before.1).then_some(())
    });
    super::same_chain(&net);
}
