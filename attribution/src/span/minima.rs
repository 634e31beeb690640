//! The smallest place of any range of suffixes, fast: the minima of blocks, of blocks of blocks, and so on; 1/63 of the
//! suffixes in number.
//!
//! A query reads less than 2 * [`FAN_OUT`] numbers on each level, of which 2^31 suffixes have five.

use super::SegmentError;
use super::packed::Packed;
use super::sections::Sections;
use protocol::segment::{FAN_OUT, Section, minima_lengths};
use std::ops::Range;

/// The levels of a segment's minima.
#[derive(Debug)]
pub(super) struct Minima {
    /// Where each level stands in the section, in numbers. Level n + 1 sums up level n, and the first one the suffixes.
    levels: Vec<Range<usize>>,
}

impl Minima {
    pub(super) fn new(words: u64) -> Self {
        let mut end = 0;
        let level = |length| {
            let start = end;
            end += usize::try_from(length).unwrap_or(usize::MAX);
            start..end
        };
        Self { levels: minima_lengths(words).into_iter().map(level).collect() }
    }

    /// The smallest of the suffixes in `range`; none in an empty one.
    pub(super) fn smallest(
        &self,
        sections: &Sections,
        suffixes: Packed,
        range: Range<usize>,
    ) -> Result<Option<u32>, SegmentError> {
        let Range { mut start, mut end } = range;
        let mut smallest = None;
        let mut take = |number: u32| smallest = Some(smallest.unwrap_or(number).min(number));
        for depth in 0..=self.levels.len() {
            // The numbers of this level: the suffixes, or the minima above them.
            let mut least = |range: Range<usize>| match depth.checked_sub(1).map(|level| self.levels[level].start) {
                None => suffixes.each(sections, range, &mut take),
                Some(at) => {
                    let bytes = sections.get(Section::Minima, (at + range.start) * 4..(at + range.end) * 4)?;
                    bytes.as_chunks::<4>().0.iter().for_each(|number| take(u32::from_le_bytes(*number)));
                    Ok(())
                }
            };
            let (first, last) = (start.div_ceil(FAN_OUT), end / FAN_OUT);
            if first >= last || depth == self.levels.len() {
                least(start..end)?;
                break;
            }
            least(start..first * FAN_OUT)?;
            least(last * FAN_OUT..end)?;
            (start, end) = (first, last);
        }
        Ok(smallest)
    }
}

/// The section of minima of suffixes.
pub(super) fn minima(places: impl Iterator<Item = u32>, words: usize) -> Vec<u8> {
    let mut levels: Vec<Vec<u32>> = Vec::new();
    let mut below: Vec<u32> = Vec::with_capacity(words.div_ceil(FAN_OUT));
    if words > FAN_OUT {
        for (index, place) in places.enumerate() {
            match below.last_mut() {
                Some(least) if index % FAN_OUT != 0 => *least = place.min(*least),
                _ => below.push(place),
            }
        }
    }
    while !below.is_empty() {
        let next = below.chunks(FAN_OUT).filter_map(|block| block.iter().min().copied()).collect::<Vec<_>>();
        let more = below.len() > FAN_OUT;
        levels.push(std::mem::replace(&mut below, if more { next } else { Vec::new() }));
    }
    levels.into_iter().flatten().flat_map(u32::to_le_bytes).collect()
}
