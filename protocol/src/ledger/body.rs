//! The attribution body: what validators find for one (epoch, DataNet), agree on by hash, and put into a block.

use crate::crypto;
use crate::evidence::{Answer, Evidence};
use crate::genesis::{Params, canonical};
use crate::ids::{DataNetId, Hash32, ReceiptId};
use crate::limits::MAX_INFLUENCES;
use crate::objects::Method;
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
/// What a receipt takes in a body beside its spans and counts: its id, three lengths, one DataNet and its word count, and
/// that there are no influences.
const RECEIPT_FRAME_BYTES: u64 = 32 + 4 + 4 + 4 + 32 + 8 + 4 + 1 + 4;
/// A contribution's influence.
const INFLUENCE_BYTES: u64 = 32 + 16;
/// A span.
const SPAN_BYTES: u64 = 4 + 4 + 8 + 32 + 4 + 8;
/// A word's count.
const COUNT_BYTES: u64 = 8;

/// The most bytes that one DataNet's evidence for this answer can take in a block: its spans and earlier runs
/// together are no more than the answer has words, and of influences there is a number.
pub fn evidence_bound(answer: &Answer<'_>, method: Method) -> u64 {
    let (words, distinct) = (answer.words().len() as u64, answer.distinct_words() as u64);
    let found = match method {
        Method::Spans => words * SPAN_BYTES,
        Method::Influence => MAX_INFLUENCES as u64 * INFLUENCE_BYTES,
    };
    BODY_FRAME_BYTES + RECEIPT_FRAME_BYTES + found + distinct * COUNT_BYTES
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
    use crate::evidence::{Frequencies, Holder, Influence, Span};
    use crate::ids::ContributionId;
    use std::collections::BTreeMap;

    fn body(text: &str) -> (AttributionBody, u64) {
        let answer = Answer::new(text).unwrap();
        let holder = Holder { order: 0, contribution: ContributionId([1; 32]), document: 0, offset: 0 };
        let spans = answer.words().iter().map(|word| Span { start: word.start, end: word.end, holder }).collect();
        let frequencies = Frequencies { words: 1000, counts: vec![1; answer.distinct_words()] };
        let frequencies = BTreeMap::from([(DataNetId([2; 32]), frequencies)]);
        let evidence = Evidence { spans, earlier: Vec::new(), frequencies, influence: Influence::default() };
        evidence.check(&answer).unwrap();
        let receipts = vec![(ReceiptId([3; 32]), evidence)];
        (AttributionBody { epoch: 1, datanet: DataNetId([2; 32]), receipts }, evidence_bound(&answer, Method::Spans))
    }

    #[test]
    fn the_most_influences_take_exactly_their_bound() {
        let (mut body, _) = body("a b c a");
        let answer = Answer::new("a b c a").unwrap();
        let evidence = &mut body.receipts[0].1;
        evidence.spans.clear();
        let many = (0..MAX_INFLUENCES).map(|number| {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&(number as u64).to_be_bytes());
            (ContributionId(id), 1)
        });
        evidence.influence = Influence::of_datanet(many);
        evidence.check(&answer).unwrap();
        assert_eq!(body.to_bytes().len() as u64 + 4, evidence_bound(&answer, Method::Influence));
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
