//! Blocks, of which run files are made, and how records lie in them.
//!
//! Every block has 4,096 bytes: 4,048 of content, the number of its file, its place in the file, and the BLAKE3 of all
//! that. So each block that is read is checked alone, and one that stands in another's place is found out too.
//!
//! Records lie in a block as: how many, as u16, then each with its key as the difference to the key before (the first
//! to 0) in LEB128, and what it has beside its key. Numbers of fixed width are little-endian; what remains of a block
//! is zero.

use protocol::ids::ContributionId;
use std::sync::LazyLock;

/// Bytes of a block.
pub(super) const BLOCK_BYTES: usize = 4096;
/// Bytes of a block's content.
pub(super) const CONTENT_BYTES: usize = BLOCK_BYTES - PLACE_BYTES - HASH_BYTES;
const PLACE_BYTES: usize = 16;
const HASH_BYTES: usize = 32;
const COUNT_BYTES: usize = 2;
/// Records of a block: none takes less than three bytes.
pub(super) const MAX_BLOCK_RECORDS: usize = CONTENT_BYTES / 3;

const _: () = assert!(MAX_BLOCK_RECORDS <= u16::MAX as usize, "a block's records can be counted");

/// What runs are made of. Records are ordered by their key first.
pub(super) trait Record: Copy + Ord {
    fn key(&self) -> u64;
    /// Appends what stands behind the key.
    fn put(&self, bytes: &mut Vec<u8>);
    /// Takes what stands behind the key from the front of `bytes`.
    fn take(key: u64, bytes: &mut &[u8]) -> Option<Self>;
}

/// One holder of one fingerprint. Those of one fingerprint are ordered the earliest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    pub(super) fingerprint: u64,
    /// The contribution's place in the order of admission.
    pub(super) order: u64,
    /// The first of its documents that holds the fingerprint.
    pub(super) document: u32,
    /// It was struck, but keeps its place among the earliest.
    pub(super) struck: bool,
}

/// Behind the fingerprint: the order, and twice the document plus one for who is struck, in LEB128.
impl Record for Entry {
    fn key(&self) -> u64 {
        self.fingerprint
    }

    fn put(&self, bytes: &mut Vec<u8>) {
        put_number(self.order, bytes);
        put_number(u64::from(self.document) << 1 | u64::from(self.struck), bytes);
    }

    fn take(fingerprint: u64, bytes: &mut &[u8]) -> Option<Self> {
        let (order, document) = (take_number(bytes)?, take_number(bytes)?);
        Some(Self { fingerprint, order, document: u32::try_from(document >> 1).ok()?, struck: document & 1 == 1 })
    }
}

/// A contribution that a run holds entries of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Contribution {
    /// Its place in the order of admission.
    pub(super) order: u64,
    pub(super) id: ContributionId,
}

/// Behind the order: the id.
impl Record for Contribution {
    fn key(&self) -> u64 {
        self.order
    }

    fn put(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.id.0);
    }

    fn take(order: u64, bytes: &mut &[u8]) -> Option<Self> {
        let (id, rest) = bytes.split_first_chunk()?;
        *bytes = rest;
        Some(Self { order, id: ContributionId(*id) })
    }
}

/// The block with this content, which is no longer than [`CONTENT_BYTES`].
pub(super) fn seal(content: &[u8], file: u64, place: u64) -> Vec<u8> {
    let mut block = Vec::with_capacity(BLOCK_BYTES);
    block.extend_from_slice(content);
    block.resize(CONTENT_BYTES, 0);
    block.extend_from_slice(&file.to_le_bytes());
    block.extend_from_slice(&place.to_le_bytes());
    block.extend_from_slice(block_hash(&block).as_bytes());
    block
}

/// The content of a block, if it is the one that was written at this place.
pub(super) fn unseal(block: &[u8; BLOCK_BYTES], file: u64, place: u64) -> Result<&[u8], &'static str> {
    let (hashed, hash) = block.split_at(CONTENT_BYTES + PLACE_BYTES);
    if block_hash(hashed).as_bytes() != hash {
        return Err("its hash is wrong");
    }
    let (content, placed) = hashed.split_at(CONTENT_BYTES);
    match placed == [file.to_le_bytes(), place.to_le_bytes()].as_flattened() {
        true => Ok(content),
        false => Err("it belongs to another place"),
    }
}

fn block_hash(bytes: &[u8]) -> blake3::Hash {
    static KEY: LazyLock<[u8; 32]> = LazyLock::new(|| blake3::derive_key("tributary v1 near block", b""));
    blake3::keyed_hash(&KEY, bytes)
}

/// The records of a block in the making.
#[derive(Default)]
pub(super) struct Filling {
    content: Vec<u8>,
    count: u16,
    first: u64,
    last: u64,
}

impl Filling {
    /// Appends a record, which is not below the one before. False, and nothing happens, when it does not fit.
    pub(super) fn push<R: Record>(&mut self, record: &R) -> bool {
        if self.count == 0 {
            self.content.resize(COUNT_BYTES, 0);
            self.first = record.key();
        }
        let before = self.content.len();
        put_number(record.key() - self.last, &mut self.content);
        record.put(&mut self.content);
        if self.content.len() > CONTENT_BYTES {
            self.content.truncate(before);
            return false;
        }
        self.last = record.key();
        self.count += 1;
        self.content[..COUNT_BYTES].copy_from_slice(&self.count.to_le_bytes());
        true
    }

    /// The first key and the content of what was pushed, if anything was; then it is empty again.
    pub(super) fn take(&mut self) -> Option<(u64, Vec<u8>)> {
        let Self { content, count, first, .. } = std::mem::take(self);
        (count > 0).then_some((first, content))
    }
}

/// The records of a block's content, ascending; at least one.
pub(super) fn records<R: Record>(content: &[u8]) -> Result<Vec<R>, &'static str> {
    let malformed = "a record is malformed";
    let (count, mut rest) = content.split_first_chunk().ok_or(malformed)?;
    let count = usize::from(u16::from_le_bytes(*count));
    let mut records: Vec<R> = Vec::with_capacity(count.min(MAX_BLOCK_RECORDS));
    let mut key = 0_u64;
    for _ in 0..count {
        key = take_number(&mut rest).and_then(|more| key.checked_add(more)).ok_or(malformed)?;
        records.push(R::take(key, &mut rest).ok_or(malformed)?);
    }
    match !records.is_empty() && records.is_sorted_by(|a, b| a < b) {
        true => Ok(records),
        false => Err("its records are out of order"),
    }
}

fn put_number(mut number: u64, bytes: &mut Vec<u8>) {
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            bytes.push(low & 0x7F);
            return;
        }
        bytes.push(low | 0x80);
    }
}

fn take_number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let byte = *bytes.split_off_first()?;
        let bits = u64::from(byte & 0x7F);
        number |= (bits << shift >> shift == bits).then_some(bits << shift)?;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry() -> impl Strategy<Value = Entry> {
        let number = || prop_oneof![any::<u64>(), 0_u64..300, Just(u64::MAX)];
        (number(), number(), any::<u32>(), any::<bool>()).prop_map(|(fingerprint, order, document, struck)| Entry {
            fingerprint,
            order,
            document,
            struck,
        })
    }

    fn contribution() -> impl Strategy<Value = Contribution> {
        (any::<u64>(), any::<[u8; 32]>()).prop_map(|(order, id)| Contribution { order, id: ContributionId(id) })
    }

    fn comes_out<R: Record + std::fmt::Debug>(mut list: Vec<R>, bytes_of_one: usize) {
        list.sort();
        list.dedup();
        let mut filling = Filling::default();
        let fits = list.iter().take_while(|record| filling.push(*record)).count();
        assert!(fits == list.len() || fits >= CONTENT_BYTES / bytes_of_one);
        let Some((first, content)) = filling.take() else { return assert!(list.is_empty()) };
        assert_eq!(first, list[0].key());
        let sealed = seal(&content, 3, 4);
        let sealed = sealed.first_chunk().unwrap();
        assert_eq!(records::<R>(unseal(sealed, 3, 4).unwrap()).unwrap(), &list[..fits]);
        assert!(unseal(sealed, 3, 5).is_err() && unseal(sealed, 2, 4).is_err());
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(
            entries in prop::collection::vec(entry(), 0..600),
            contributions in prop::collection::vec(contribution(), 0..150),
        ) {
            comes_out(entries, 26);
            comes_out(contributions, 43);
        }

        #[test]
        fn no_content_panics(content in prop::collection::vec(any::<u8>(), 0..CONTENT_BYTES), count in any::<u16>()) {
            for content in [&content[..], &[&count.to_le_bytes(), &content[..]].concat()] {
                let _ = (records::<Entry>(content), records::<Contribution>(content));
            }
        }
    }
}
