//! Numbers of a fixed count of bits, one right after the other.

use std::ops::Range;

/// The most bits of a number.
const MAX_WIDTH: u32 = 32;

/// A list of numbers, each in as few bits as the greatest of them needs.
///
/// As bytes, number `i` takes the bits from `i * width` on, counted from the lowest bit of each byte.
#[derive(Clone, Debug)]
pub(super) struct Packed {
    width: u32,
    len: usize,
    /// With eight bytes more than needed, so that every number can be read as a part of a `u64`.
    bytes: Vec<u8>,
}

impl Packed {
    /// So many numbers, none of which is above `greatest`.
    pub(super) fn new(numbers: impl ExactSizeIterator<Item = u32>, greatest: u32) -> Self {
        let (width, len) = (u32::BITS - greatest.leading_zeros(), numbers.len());
        let mut bytes = Vec::with_capacity((len * width as usize).div_ceil(8) + size_of::<u64>());
        let (mut waiting, mut bits) = (0_u64, 0);
        for number in numbers {
            debug_assert!(number <= greatest, "a number is above the greatest");
            waiting |= u64::from(number) << bits;
            bits += width;
            while bits >= u8::BITS {
                let [lowest, ..] = waiting.to_le_bytes();
                bytes.push(lowest);
                waiting >>= u8::BITS;
                bits -= u8::BITS;
            }
        }
        bytes.extend(waiting.to_le_bytes());
        Self { width, len, bytes }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of memory that it holds.
    pub(super) fn memory_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// A number by its index, which is below the length.
    pub(super) fn get(&self, index: usize) -> u32 {
        debug_assert!(index < self.len, "an index is beyond the list");
        let bit = index * self.width as usize;
        let (bytes, _) = self.bytes[bit / 8..].split_first_chunk().expect("the list is padded");
        let mask = (1_u64 << self.width) - 1;
        let number = u64::from_le_bytes(*bytes) >> (bit % 8) & mask;
        u32::try_from(number).expect("no number has more than 32 bits")
    }

    /// The numbers of a range.
    pub(super) fn range(&self, range: Range<usize>) -> impl Iterator<Item = u32> {
        range.map(|index| self.get(index))
    }
}

// A number that begins within a byte ends within the eight bytes from there on.
const _: () = assert!(MAX_WIDTH + u8::BITS - 1 <= u64::BITS);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_goes_in_comes_out(width in 0_u32..=32, numbers in prop::collection::vec(any::<u32>(), 0..200)) {
            let greatest = u32::MAX.checked_shr(u32::BITS - width).unwrap_or(0);
            let numbers: Vec<u32> = numbers.into_iter().map(|number| number & greatest).collect();
            let packed = Packed::new(numbers.iter().copied(), greatest);
            prop_assert_eq!(packed.len(), numbers.len());
            prop_assert_eq!(packed.memory_bytes(), (numbers.len() * width as usize) / 8 + 8);
            prop_assert_eq!(packed.range(0..numbers.len()).collect::<Vec<_>>(), numbers);
        }
    }
}
