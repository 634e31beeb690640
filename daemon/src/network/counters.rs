//! What the network layer counts. Each name stands here once; the labels are the `as_str` words of the enums.

use metrics::{counter, gauge};

use super::names::{Protocol, Topic};

/// A publication that left for at least one peer.
pub(super) fn published(topic: Topic) {
    counter!("tributary_network_published_total", "topic" => topic.as_str()).increment(1);
}

/// A publication that did not leave, and why.
pub(super) fn publish_dropped(topic: Topic, reason: &'static str) {
    counter!("tributary_network_publish_dropped_total", "topic" => topic.as_str(), "reason" => reason).increment(1);
}

/// Gossip handed to the driver.
pub(super) fn gossip_received(topic: Topic) {
    counter!("tributary_network_gossip_received_total", "topic" => topic.as_str()).increment(1);
}

/// Gossip not handed to the driver, and why.
pub(super) fn gossip_dropped(topic: Topic, reason: &'static str) {
    counter!("tributary_network_gossip_dropped_total", "topic" => topic.as_str(), "reason" => reason).increment(1);
}

/// The driver's judgement of gossip; `reason` is empty for what was accepted.
pub(super) fn judged(topic: Topic, verdict: &'static str, reason: &'static str) {
    let topic = topic.as_str();
    counter!("tributary_network_verdicts_total", "topic" => topic, "verdict" => verdict, "reason" => reason)
        .increment(1);
}

/// A message that did not reach a peer over its own stream, and why.
pub(super) fn direct_dropped(reason: &'static str) {
    counter!("tributary_network_direct_dropped_total", "reason" => reason).increment(1);
}

/// A message that a peer sent straight to us.
pub(super) fn direct_received() {
    counter!("tributary_network_direct_received_total").increment(1);
}

/// A peer's request, and what became of it.
pub(super) fn request_in(protocol: Protocol, outcome: &'static str) {
    counter!("tributary_network_requests_in_total", "protocol" => protocol.as_str(), "outcome" => outcome).increment(1);
}

/// A request of ours, and what became of it.
pub(super) fn request_out(protocol: Protocol, outcome: &'static str) {
    counter!("tributary_network_requests_out_total", "protocol" => protocol.as_str(), "outcome" => outcome)
        .increment(1);
}

/// A peer's fault.
pub(super) fn strike(reason: &'static str) {
    counter!("tributary_network_strikes_total", "reason" => reason).increment(1);
}

/// A ban.
pub(super) fn ban(reason: &'static str) {
    counter!("tributary_network_bans_total", "reason" => reason).increment(1);
}

/// A connection that we ended or refused.
pub(super) fn turned_away(reason: &'static str) {
    counter!("tributary_network_turned_away_total", "reason" => reason).increment(1);
}

/// Gossip that a slow peer did not take in time.
pub(super) fn slow_peer(messages: usize) {
    counter!("tributary_network_slow_peer_messages_total").increment(messages as u64);
}

/// Peers that are ready.
pub(super) fn peers(count: usize) {
    gauge!("tributary_network_peers").set(u32::try_from(count).unwrap_or(u32::MAX));
}
