//! The smallest number in any range of a list, fast.

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
    pub(super) fn new(list: &[u32]) -> Self {
        let mut levels: Vec<Vec<u32>> = Vec::new();
        loop {
            let below = levels.last().map_or(list, Vec::as_slice);
            if below.len() <= FAN_OUT {
                return Self { levels };
            }
            let minima = below.chunks(FAN_OUT).filter_map(|block| block.iter().min().copied()).collect();
            levels.push(minima);
        }
    }

    /// How many numbers it holds.
    pub(super) fn len(&self) -> usize {
        self.levels.iter().map(Vec::len).sum()
    }

    /// The smallest number of `list` in `range`; none in an empty one. `list` is the one it was made of.
    pub(super) fn smallest(&self, list: &[u32], range: Range<usize>) -> Option<u32> {
        let Range { mut start, mut end } = range;
        let mut smallest = None;
        let mut take = |numbers: &[u32]| smallest = smallest.into_iter().chain(numbers.iter().copied()).min();
        let mut below = list;
        for level in &self.levels {
            let (first, last) = (start.div_ceil(FAN_OUT), end / FAN_OUT);
            if first >= last {
                break;
            }
            take(&below[start..first * FAN_OUT]);
            take(&below[last * FAN_OUT..end]);
            (below, start, end) = (level, first, last);
        }
        take(&below[start..end]);
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
            let minima = Minima::new(&list);
            for (a, b) in bounds {
                let (a, b) = (a.index(list.len() + 1), b.index(list.len() + 1));
                let range = a.min(b)..a.max(b);
                prop_assert_eq!(minima.smallest(&list, range.clone()), list[range].iter().min().copied());
            }
        }
    }
}
