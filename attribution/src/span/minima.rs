//! The smallest number in any range of a list, fast.

use super::packed::Packed;
use std::ops::Range;

/// How many numbers of one level are summed up by one number of the next.
const FAN_OUT: usize = 64;

/// For a list of numbers, the minima of its blocks, of blocks of blocks, and so on: 1/63 of the list's size.
///
/// A query reads less than 2 * [`FAN_OUT`] numbers on each level, of which a list of 2^31 numbers has five.
#[derive(Debug)]
pub(super) struct Minima {
    /// Level n + 1 holds the minima of the blocks of level n; level 0 those of the list's blocks.
    levels: Vec<Vec<u32>>,
}

impl Minima {
    pub(super) fn new(list: &Packed) -> Self {
        let mut levels: Vec<Vec<u32>> = Vec::new();
        if list.len() > FAN_OUT {
            let block = |start: usize| list.range(start..list.len().min(start + FAN_OUT)).min();
            levels.push((0..list.len()).step_by(FAN_OUT).filter_map(block).collect());
        }
        while let Some(below) = levels.last().filter(|below| below.len() > FAN_OUT) {
            let minima = below.chunks(FAN_OUT).filter_map(|block| block.iter().min().copied()).collect();
            levels.push(minima);
        }
        Self { levels }
    }

    /// How many numbers it holds.
    pub(super) fn len(&self) -> usize {
        self.levels.iter().map(Vec::len).sum()
    }

    /// The smallest number of `list` in `range`; none in an empty one. `list` is the one it was made of.
    pub(super) fn smallest(&self, list: &Packed, range: Range<usize>) -> Option<u32> {
        let Range { mut start, mut end } = range;
        let mut smallest = None;
        let mut take = |number: Option<u32>| smallest = smallest.into_iter().chain(number).min();
        for depth in 0..=self.levels.len() {
            // The numbers of this level: the list's, or those of the minima above it.
            let least = |range: Range<usize>| match depth.checked_sub(1) {
                None => list.range(range).min(),
                Some(level) => self.levels[level][range].iter().copied().min(),
            };
            let (first, last) = (start.div_ceil(FAN_OUT), end / FAN_OUT);
            if first >= last || depth == self.levels.len() {
                take(least(start..end));
                break;
            }
            take(least(start..first * FAN_OUT));
            take(least(last * FAN_OUT..end));
            (start, end) = (first, last);
        }
        smallest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_range_gives_its_smallest(
            list in prop::collection::vec(any::<u32>(), 0..9000),
            bounds in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 32),
        ) {
            let packed = Packed::new(list.iter().copied(), u32::MAX);
            let minima = Minima::new(&packed);
            for (a, b) in bounds {
                let (a, b) = (a.index(list.len() + 1), b.index(list.len() + 1));
                let range = a.min(b)..a.max(b);
                prop_assert_eq!(minima.smallest(&packed, range.clone()), list[range].iter().min().copied());
            }
        }
    }
}
