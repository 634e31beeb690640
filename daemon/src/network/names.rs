//! What travels, and under which names.
//!
//! Every name carries the network and its version, so that nodes of another network or another genesis share no
//! name with us: `/tributary/{network}/{genesis8}/{kind}/1` for topics and request protocols, and
//! `/tributary/{network}/{genesis8}/1` for what a node says it is.

use std::time::Duration;

use libp2p::{StreamProtocol, gossipsub::IdentTopic, gossipsub::TopicHash};

use super::{StartError, constants::*};

/// A kind of gossip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// What owners say of their data.
    Manifest,
    /// Operations on the ledger.
    Operation,
    /// Votes, proposals and certificates of the agreement.
    Consensus,
    /// Countersigned receipts.
    Receipt,
    /// Commitments and reveals of attribution.
    Attribution,
}

impl Topic {
    /// Every topic; a node listens to all of them.
    pub const ALL: [Topic; 5] =
        [Topic::Manifest, Topic::Operation, Topic::Consensus, Topic::Receipt, Topic::Attribution];

    /// The word for logs, metrics and the topic's full name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Topic::Manifest => "manifest",
            Topic::Operation => "op",
            Topic::Consensus => "consensus",
            Topic::Receipt => "receipt",
            Topic::Attribution => "attribution",
        }
    }

    /// The largest payload, in bytes.
    pub const fn limit_bytes(self) -> usize {
        match self {
            Topic::Manifest => MANIFEST_BYTES,
            Topic::Operation => OPERATION_BYTES,
            Topic::Consensus => CONSENSUS_BYTES,
            Topic::Receipt => RECEIPT_BYTES,
            Topic::Attribution => ATTRIBUTION_BYTES,
        }
    }
}

/// A kind of question to one peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// Blocks with their certificates, whole, in short or in parts.
    Block,
    /// What waits in a pool: compared, or objects by their ids.
    Object,
    /// A verified slice of a blob.
    Blob,
    /// How far a peer is.
    Status,
}

/// A rate of requests: a bucket of `burst` that refills with `per_second`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    pub(super) burst: u32,
    pub(super) per_second: u32,
}

impl Rate {
    /// How often we ask: half as often as a peer answers, since what waited on its way arrives all at once.
    const fn asked(self) -> Rate {
        Rate { burst: self.burst / 2, per_second: self.per_second / 2 }
    }

    /// What no honest peer sends, even one that counts wrong.
    pub(super) const fn flood(self) -> Rate {
        Rate { burst: self.burst * FLOOD, per_second: self.per_second * FLOOD }
    }
}

/// How many messages of agreement one peer may send straight to us. A validator says three or four things in an epoch, and
/// no epochs are shorter than some milliseconds. No more at once than a node that stalls for a second or two may find waiting: each
/// may be a certificate, whose signatures take milliseconds.
pub(super) const DIRECT_RATE: Rate = Rate { burst: 1024, per_second: 1024 };

impl Protocol {
    /// Every protocol; a node answers all of them.
    pub const ALL: [Protocol; 4] = [Protocol::Block, Protocol::Object, Protocol::Blob, Protocol::Status];

    /// The word for logs, metrics and the protocol's full name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Protocol::Block => "block",
            Protocol::Object => "object",
            Protocol::Blob => "blob",
            Protocol::Status => "status",
        }
    }

    /// The largest request, in bytes.
    pub const fn request_limit_bytes(self) -> usize {
        match self {
            Protocol::Block => BLOCK_REQUEST_BYTES,
            Protocol::Object => OBJECT_REQUEST_BYTES,
            Protocol::Blob => BLOB_REQUEST_BYTES,
            Protocol::Status => STATUS_REQUEST_BYTES,
        }
    }

    /// The largest response, in bytes.
    pub const fn response_limit_bytes(self) -> usize {
        match self {
            Protocol::Block => BLOCK_RESPONSE_BYTES,
            Protocol::Object => OBJECT_RESPONSE_BYTES,
            Protocol::Blob => BLOB_RESPONSE_BYTES,
            Protocol::Status => STATUS_RESPONSE_BYTES,
        }
    }

    /// How long an answer may take before it no longer counts.
    pub const fn deadline(self) -> Duration {
        match self {
            Protocol::Block | Protocol::Blob => Duration::from_secs(10),
            Protocol::Object | Protocol::Status => Duration::from_secs(5),
        }
    }

    /// How often one peer is answered.
    pub(super) const fn rate(self) -> Rate {
        match self {
            Protocol::Block => Rate { burst: 512, per_second: 256 },
            // A comparison takes some messages every few seconds, and each looks at the whole pool.
            Protocol::Object => Rate { burst: 64, per_second: 16 },
            Protocol::Blob => Rate { burst: 512, per_second: 256 },
            Protocol::Status => Rate { burst: 32, per_second: 8 },
        }
    }

    /// How often we ask one peer.
    pub(super) const fn asking_rate(self) -> Rate {
        self.rate().asked()
    }

    /// Requests of all peers that we may be answering at once; with the response's limit it bounds the memory.
    pub(super) const fn in_flight(self) -> usize {
        match self {
            Protocol::Block | Protocol::Object | Protocol::Status => 64,
            Protocol::Blob => 128,
        }
    }
}

/// The full names of one network.
#[derive(Debug, Clone)]
pub(super) struct Names {
    prefix: String,
    topics: [IdentTopic; Topic::ALL.len()],
    hashes: [TopicHash; Topic::ALL.len()],
}

impl Names {
    /// Refuses names that would not be one clean path segment.
    pub(super) fn new(network: &str, genesis8: &str) -> Result<Self, StartError> {
        for part in [network, genesis8] {
            let clean = part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
            if part.is_empty() || part.len() > NETWORK_NAME_BYTES || !clean {
                return Err(StartError::Name { name: part.to_owned() });
            }
        }
        let prefix = format!("/tributary/{network}/{genesis8}");
        let topics = Topic::ALL.map(|topic| IdentTopic::new(format!("{prefix}/{}/1", topic.as_str())));
        let hashes = topics.each_ref().map(IdentTopic::hash);
        Ok(Names { prefix, topics, hashes })
    }

    /// What a node of this network says it is.
    pub(super) fn identity(&self) -> String {
        format!("{}/1", self.prefix)
    }

    pub(super) fn topics(&self) -> &[IdentTopic] {
        &self.topics
    }

    pub(super) fn hash(&self, topic: Topic) -> TopicHash {
        self.hashes[topic as usize].clone()
    }

    pub(super) fn topic(&self, hash: &TopicHash) -> Option<Topic> {
        Topic::ALL.into_iter().find(|topic| &self.hashes[*topic as usize] == hash)
    }

    pub(super) fn protocol(&self, protocol: Protocol) -> Result<StreamProtocol, StartError> {
        self.stream(protocol.as_str())
    }

    /// The protocol of direct messages.
    pub(super) fn direct(&self) -> Result<StreamProtocol, StartError> {
        self.stream("direct")
    }

    fn stream(&self, kind: &str) -> Result<StreamProtocol, StartError> {
        let name = format!("{}/{kind}/1", self.prefix);
        StreamProtocol::try_from_owned(name.clone()).map_err(|_| StartError::Name { name })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_carry_the_network_and_its_genesis() {
        let names = Names::new("devnet", "0123abcd").expect("clean names");
        assert_eq!(names.identity(), "/tributary/devnet/0123abcd/1");
        assert_eq!(names.hash(Topic::Operation).as_str(), "/tributary/devnet/0123abcd/op/1");
        let block = names.protocol(Protocol::Block).expect("a clean name");
        assert_eq!(block.as_ref(), "/tributary/devnet/0123abcd/block/1");
        for topic in Topic::ALL {
            assert_eq!(names.topic(&names.hash(topic)), Some(topic));
        }
    }

    #[test]
    fn names_that_are_no_clean_segment_are_refused() {
        for name in ["", "a/b", "a b", "é", &"x".repeat(NETWORK_NAME_BYTES + 1)] {
            assert!(matches!(Names::new(name, "0123abcd"), Err(StartError::Name { .. })), "{name:?}");
            assert!(matches!(Names::new("devnet", name), Err(StartError::Name { .. })), "{name:?}");
        }
    }
}
