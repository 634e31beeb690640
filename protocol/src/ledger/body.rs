//! The attribution body: what validators find for one (epoch, DataNet), agree on by hash, and put into a block.

use crate::crypto;
use crate::evidence::{Answer, Evidence};
use crate::genesis::{Params, canonical};
use crate::ids::{DataNetId, Hash32, ReceiptId};
use borsh::{BorshDeserialize, BorshSerialize};

/// Bytes of a block that are kept free for its header and its certificate.
pub const BLOCK_OVERHEAD_BYTES: u64 = 64 * 1024;

/// The evidence of one epoch's receipts in one DataNet.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct AttributionBody {
    /// The epoch that sealed the receipts.
    pub epoch: u64,
    /// The DataNet.
    pub datanet: DataNetId,
    /// Each receipt with its evidence in this DataNet, in the order of the epoch's block.
    pub receipts: Vec<(ReceiptId, Evidence)>,
}

impl AttributionBody {
    /// The canonical bytes, which validators agree on.
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical(self)
    }

    /// The body whose canonical bytes these are.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let body: Self = borsh::from_slice(bytes).ok()?;
        // Borsh may read a map's keys in any order; only one encoding is ours.
        (body.to_bytes() == bytes).then_some(body)
    }

    /// The root that validators commit to and reveal.
    pub fn root(&self) -> Hash32 {
        crypto::attribution_root(&self.to_bytes())
    }
}

/// What a body takes beside its receipts, its length in the block included.
const BODY_FRAME_BYTES: u64 = 8 + 32 + 4 + 4;
/// What a receipt takes in a body beside its spans and counts: its id, three lengths, one DataNet and its word count.
const RECEIPT_FRAME_BYTES: u64 = 32 + 4 + 4 + 4 + 32 + 8 + 4;
/// A span.
const SPAN_BYTES: u64 = 4 + 4 + 8 + 32 + 4 + 8;
/// A word's count.
const COUNT_BYTES: u64 = 8;

/// The most bytes that one DataNet's evidence for this answer can take in a block: its spans and earlier runs
/// together are no more than the answer has words.
pub fn evidence_bound(answer: &Answer<'_>) -> u64 {
    let (words, distinct) = (answer.words().len() as u64, answer.distinct_words() as u64);
    BODY_FRAME_BYTES + RECEIPT_FRAME_BYTES + words * SPAN_BYTES + distinct * COUNT_BYTES
}

/// The most [`evidence_bound`] of all receipts of a block together, over all their DataNets.
///
/// It is half of what a block can hold, and a block keeps as much room for settlements: what one block seals, another
/// can always settle.
pub fn evidence_budget(params: &Params) -> u64 {
    content_bytes(params) / 2
}

/// The most bytes of a block's envelopes and settlements together.
pub fn content_bytes(params: &Params) -> u64 {
    params.max_block_bytes.saturating_sub(BLOCK_OVERHEAD_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::{Frequencies, Holder, Span};
    use crate::ids::ContributionId;
    use std::collections::BTreeMap;

    fn body(text: &str) -> (AttributionBody, u64) {
        let answer = Answer::new(text).unwrap();
        let holder = Holder { order: 0, contribution: ContributionId([1; 32]), document: 0, offset: 0 };
        let spans = answer.words().iter().map(|word| Span { start: word.start, end: word.end, holder }).collect();
        let frequencies = Frequencies { words: 1000, counts: vec![1; answer.distinct_words()] };
        let evidence =
            Evidence { spans, earlier: Vec::new(), frequencies: BTreeMap::from([(DataNetId([2; 32]), frequencies)]) };
        evidence.check(&answer).unwrap();
        let receipts = vec![(ReceiptId([3; 32]), evidence)];
        (AttributionBody { epoch: 1, datanet: DataNetId([2; 32]), receipts }, evidence_bound(&answer))
    }

    #[test]
    fn the_largest_evidence_takes_exactly_its_bound() {
        for text in ["", "one", "a b c a", "x y z"] {
            let (body, bound) = body(text);
            assert_eq!(body.to_bytes().len() as u64 + 4, bound, "{text:?}");
        }
    }

    #[test]
    fn a_body_has_one_encoding() {
        let (body, _) = body("a b");
        let bytes = body.to_bytes();
        assert_eq!(AttributionBody::from_bytes(&bytes), Some(body));
        assert_eq!(AttributionBody::from_bytes(&[bytes.as_slice(), &[0]].concat()), None);
        for length in 0..bytes.len() {
            assert_eq!(AttributionBody::from_bytes(&bytes[..length]), None);
        }
    }
}
