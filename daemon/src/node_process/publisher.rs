//! Objects on their way to gossip: whatever leaves within a few milliseconds travels as one message of its topic.
//!
//! A message costs each peer a frame, a hash, a lookup and a verdict, whatever it holds; a receipt alone is little more
//! than that. Who sends one object waits [`GATHER`] for company, who sends many fills messages.

use super::alive::PanicGuard;
use super::outside::topic_of;
use crate::metrics;
use crate::network::{NetworkHandle, Topic};
use protocol::limits::{MAX_GOSSIP_BATCH_BYTES, MAX_GOSSIP_ENVELOPES};
use protocol::objects::Envelope;
use protocol::wire;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

/// How long an object waits for others.
const GATHER: Duration = Duration::from_millis(3);
/// Objects that wait to leave. What does not fit is counted, and reaches others with the blocks that hold it.
const MAX_WAITING: usize = 8192;
/// Objects gathered at once: some messages full.
const MAX_GATHERED: usize = 4 * MAX_GOSSIP_ENVELOPES;

/// Takes objects from the driver without waiting.
pub struct Publisher(mpsc::Sender<Envelope>);

impl Publisher {
    /// Starts the task that gathers.
    pub fn start(network: NetworkHandle, runtime: &Handle, guard: PanicGuard) -> Self {
        let (sender, mut waiting) = mpsc::channel(MAX_WAITING);
        runtime.spawn(async move {
            let _guard = guard;
            let mut gathered = Vec::new();
            while waiting.recv_many(&mut gathered, MAX_GATHERED).await > 0 {
                if gathered.len() < MAX_GOSSIP_ENVELOPES {
                    tokio::time::sleep(GATHER).await;
                }
                while gathered.len() < MAX_GATHERED
                    && let Ok(envelope) = waiting.try_recv()
                {
                    gathered.push(envelope);
                }
                for (topic, envelopes) in messages(std::mem::take(&mut gathered)) {
                    // Gossip is best effort: what is lost here is counted there, and fetched by whoever misses it.
                    if let Err(error) = network.publish(topic, wire::encode_envelopes(envelopes)) {
                        tracing::debug!(topic = topic.as_str(), "not published: {error}");
                    }
                }
            }
        });
        Self(sender)
    }

    /// Gossips an object soon.
    pub fn publish(&self, envelope: Envelope) {
        if self.0.try_send(envelope).is_err() {
            metrics::refused("publish", "full");
        }
    }
}

/// Divides objects into messages of one topic each, within the bounds of a message, in the order in which they came.
fn messages(objects: Vec<Envelope>) -> Vec<(Topic, Vec<Envelope>)> {
    let mut by_topic: BTreeMap<Topic, Vec<Envelope>> = BTreeMap::new();
    for envelope in objects {
        by_topic.entry(topic_of(&envelope)).or_default().push(envelope);
    }
    let mut messages = Vec::new();
    for (topic, envelopes) in by_topic {
        let (mut message, mut bytes) = (Vec::new(), 0);
        for envelope in envelopes {
            let room = wire::gossip_room(&envelope);
            if message.len() == MAX_GOSSIP_ENVELOPES || !message.is_empty() && bytes + room > MAX_GOSSIP_BATCH_BYTES {
                messages.push((topic, std::mem::take(&mut message)));
                bytes = 0;
            }
            bytes += room;
            message.push(envelope);
        }
        messages.push((topic, message));
    }
    messages
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use protocol::crypto::{Kind, Signature};
    use protocol::ids::Account;

    fn envelope(kind: Kind, bytes: usize, serial: usize) -> Envelope {
        let signatures = vec![(Account([1; 32]), Signature([2; 64])); 1 + serial % 2];
        Envelope { kind, payload: [&serial.to_be_bytes()[..], &vec![7; bytes]].concat(), signatures }
    }

    proptest! {
        #[test]
        fn every_object_leaves_once_in_a_message_that_peers_accept(
            sizes in proptest::collection::vec((0_usize..3, prop_oneof![0_usize..600, 0_usize..16_000]), 1..600),
        ) {
            let kinds = [Kind::Receipt, Kind::Operation, Kind::AttributionReveal];
            let objects: Vec<Envelope> =
                sizes.into_iter().enumerate().map(|(i, (kind, bytes))| envelope(kinds[kind], bytes, i)).collect();
            let mut left = BTreeMap::new();
            for (topic, message) in messages(objects.clone()) {
                let bytes = wire::encode_envelopes(message.clone());
                prop_assert!(bytes.len() <= topic.limit_bytes());
                prop_assert_eq!(wire::decode_envelopes(&bytes), Ok(message.clone()));
                prop_assert!(message.iter().all(|each| topic_of(each) == topic));
                left.entry(topic).or_insert_with(Vec::new).extend(message);
            }
            for (topic, left) in left {
                let came: Vec<Envelope> = objects.iter().filter(|each| topic_of(each) == topic).cloned().collect();
                prop_assert_eq!(left, came);
            }
        }
    }

    #[test]
    fn the_largest_object_travels_alone() {
        let large = envelope(Kind::Contribution, protocol::limits::MAX_PAYLOAD_BYTES - 8, 0);
        let small = envelope(Kind::Contribution, 10, 1);
        let sent = messages(vec![small.clone(), large.clone(), small]);
        assert_eq!(sent.iter().map(|(_, message)| message.len()).collect::<Vec<_>>(), [1, 1, 1]);
        assert!(sent.iter().all(|(topic, message)| {
            let bytes = wire::encode_envelopes(message.clone());
            bytes.len() <= topic.limit_bytes() && wire::decode_envelopes(&bytes).is_ok()
        }));
    }
}
