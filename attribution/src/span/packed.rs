//! Numbers of a fixed count of bits, one right after the other (see [`protocol::segment`]).

use super::SegmentError;
use super::sections::Sections;
use protocol::segment::{PADDING, Section};
use std::ops::Range;

/// A section's packed numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packed {
    section: Section,
    bits: u32,
    len: usize,
}

impl Packed {
    pub(super) fn new(section: Section, bits: u32, len: usize) -> Self {
        Self { section, bits, len }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// A number by its index, which is below the length.
    pub(super) fn get(&self, sections: &Sections, index: usize) -> Result<u32, SegmentError> {
        debug_assert!(index < self.len, "an index is beyond the list");
        let bit = index * self.bits as usize;
        let window = sections.get(self.section, bit / 8..bit / 8 + PADDING)?;
        // A section is as long as its header's counts say, so there are always eight bytes; numbers have at most 32 bits.
        let window = window.first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        Ok(u32::try_from(window >> (bit % 8) & ((1 << self.bits) - 1)).unwrap_or(u32::MAX))
    }

    /// Calls `take` with each number of a range.
    pub(super) fn each(
        &self,
        sections: &Sections,
        range: Range<usize>,
        mut take: impl FnMut(u32),
    ) -> Result<(), SegmentError> {
        range.into_iter().try_for_each(|index| self.get(sections, index).map(&mut take))
    }
}

/// Packs numbers that all fit the bits.
pub(super) fn pack(numbers: impl ExactSizeIterator<Item = u32>, bits: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity((numbers.len() * bits as usize).div_ceil(8) + PADDING);
    let (mut waiting, mut count) = (0_u64, 0);
    for number in numbers {
        debug_assert!(u64::from(number) >> bits == 0, "a number needs more bits");
        waiting |= u64::from(number) << count;
        count += bits;
        while count >= u8::BITS {
            let [lowest, ..] = waiting.to_le_bytes();
            bytes.push(lowest);
            waiting >>= u8::BITS;
            count -= u8::BITS;
        }
    }
    if count > 0 {
        let [lowest, ..] = waiting.to_le_bytes();
        bytes.push(lowest);
    }
    bytes.extend([0; PADDING]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use protocol::segment::{packed_bytes, packed_number};

    proptest! {
        #[test]
        fn what_goes_in_comes_out(bits in 0_u32..=32, numbers in prop::collection::vec(any::<u32>(), 0..200)) {
            let greatest = u32::MAX.checked_shr(u32::BITS - bits).unwrap_or(0);
            let numbers: Vec<u32> = numbers.into_iter().map(|number| number & greatest).collect();
            let packed = pack(numbers.iter().copied(), bits);
            prop_assert_eq!(packed.len() as u64, packed_bytes(numbers.len() as u64, bits));
            for (number, index) in numbers.into_iter().zip(0_u64..) {
                prop_assert_eq!(packed_number(&packed, bits, index), Some(number.into()));
            }
        }
    }
}
