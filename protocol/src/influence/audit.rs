//! What an auditor compares: a row that was published, and the same gradient computed anew.
//!
//! Gradients differ in their last bits from one machine or batch to another, so that a code may round the other way; no
//! honest row has many of these. A builder who moved every code by one would change a score by as much as half of what
//! it typically is; with 1 % of the codes it is less than 2 %, and he cannot choose which will be looked at.
//!
//! - Every code is within 1 of the one computed.
//! - At most one in a hundred is different, rounded up: so one code of a short row may be.
//! - The scale is within 1e-4 of the one computed, or within 1, where it has fewer digits.
//! - A gradient at the very edge of the fixed point is zero on one machine and has scale 1 on another: a zero row agrees
//!   with any row of scale 1 at most.

use super::header::Header;
use super::rows::{Row, RowName};
use super::solution::Query;
use crate::crypto::row_draws;
use crate::ids::{Account, Hash32};
use crate::limits::ROWS_DRAWN;
use std::collections::BTreeSet;

/// One part in so many codes may be different.
const CODES_PER_DIFFERENT: usize = 100;
/// A scale may differ by one part in so many.
const SCALE_PARTS: u64 = 10_000;

/// How a published gradient differs from the one computed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence on each variant is its documentation, and names its fields")]
pub enum Disagreement {
    #[error("it is of another example or contribution")]
    Source,
    #[error("it has {claimed} codes, computed were {computed}")]
    Length { claimed: usize, computed: usize },
    #[error("its scale is {claimed}, computed was {computed}")]
    Scale { claimed: u32, computed: u32 },
    #[error("its code {at} is {claimed}, computed was {computed}")]
    Code { at: usize, claimed: i16, computed: i16 },
    #[error("{different} of its codes differ from those computed, of which {allowed} may")]
    Codes { different: usize, allowed: usize },
}

/// The rows of both kinds that a validator computes anew, by the beacon after they were offered: [`ROWS_DRAWN`] of each, or
/// fewer where one is drawn again.
pub fn drawn_rows(beacon: &Hash32, header: &Header, validator: &Account) -> BTreeSet<RowName> {
    let mut numbers = row_draws(beacon, &header.root(), validator);
    let mut next = |count: u64| {
        let mut bytes = [0; 8];
        numbers.fill(&mut bytes);
        // 2^64 is so much more than rows there are that none is drawn more often than another.
        u64::from_le_bytes(bytes) % count.max(1)
    };
    let mut drawn = BTreeSet::new();
    for (fisher, count) in [(false, header.rows), (true, header.fisher_rows)] {
        if count > 0 {
            drawn.extend((0..ROWS_DRAWN).map(|_| RowName { fisher, index: next(count) }));
        }
    }
    drawn
}

/// Is a published row the one that was computed?
pub fn audit(claimed: &Row<'_>, computed: &Row<'_>) -> Result<(), Disagreement> {
    if claimed.source != computed.source {
        return Err(Disagreement::Source);
    }
    let wide = |codes: &[i8]| codes.iter().map(|code| i16::from(*code)).collect::<Vec<_>>();
    compare((claimed.scale, &wide(claimed.codes)), (computed.scale, &wide(computed.codes)))
}

/// Is a receipt's query the gradient that was computed from its prompt and answer?
pub fn audit_query(claimed: &Query, computed: &Query) -> Result<(), Disagreement> {
    compare((claimed.scale, &claimed.codes), (computed.scale, &computed.codes))
}

fn compare(claimed: (u32, &[i16]), computed: (u32, &[i16])) -> Result<(), Disagreement> {
    let ((claimed_scale, claimed), (computed_scale, computed)) = (claimed, computed);
    if claimed.len() != computed.len() {
        return Err(Disagreement::Length { claimed: claimed.len(), computed: computed.len() });
    }
    let apart = u64::from(claimed_scale.abs_diff(computed_scale));
    if apart > 1 && apart * SCALE_PARTS > u64::from(computed_scale) {
        return Err(Disagreement::Scale { claimed: claimed_scale, computed: computed_scale });
    }
    if claimed_scale.min(computed_scale) == 0 {
        return Ok(());
    }
    let mut different = 0;
    for (at, (claimed, computed)) in claimed.iter().zip(computed).enumerate() {
        match claimed.abs_diff(*computed) {
            0 => (),
            1 => different += 1,
            _ => return Err(Disagreement::Code { at, claimed: *claimed, computed: *computed }),
        }
    }
    let allowed = claimed.len().div_ceil(CODES_PER_DIFFERENT);
    if different > allowed { Err(Disagreement::Codes { different, allowed }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::super::Source;
    use super::*;
    use crate::ids::{ContributionId, Hash32};

    #[test]
    fn rows_agree_within_what_rounding_does() {
        let codes = [100_i16; 250];
        let check = |claimed: (u32, &[i16]), computed: (u32, &[i16])| compare(claimed, computed);
        let changed = |count: usize, by: i16| {
            let mut changed = codes;
            changed[..count].iter_mut().for_each(|code| *code += by);
            changed
        };
        assert_eq!(check((5, &codes), (5, &codes)), Ok(()));
        assert_eq!(check((5, &changed(3, 1)), (5, &codes)), Ok(()));
        assert_eq!(check((5, &changed(3, -1)), (5, &codes)), Ok(()));
        let error = Err(Disagreement::Codes { different: 4, allowed: 3 });
        assert_eq!(check((5, &changed(4, 1)), (5, &codes)), error);
        let error = Err(Disagreement::Code { at: 0, claimed: 98, computed: 100 });
        assert_eq!(check((5, &changed(1, -2)), (5, &codes)), error);
        assert_eq!(check((5, &codes), (5, &codes[1..])), Err(Disagreement::Length { claimed: 250, computed: 249 }));
        for (claimed, computed, agree) in [
            (100_010, 100_000, true),
            (99_990, 100_000, true),
            (100_011, 100_000, false),
            (99_989, 100_000, false),
            (4, 5, true),
            (7, 5, false),
            (u32::MAX, 0, false),
            (0, u32::MAX, false),
        ] {
            assert_eq!(check((claimed, &codes), (computed, &codes)).is_ok(), agree, "{claimed} {computed}");
        }
    }

    #[test]
    fn a_zero_row_agrees_with_the_smallest_rows_only() {
        let (zero, smallest) = ((0, &[0_i16, 0][..]), (1, &[127_i16, 3][..]));
        assert_eq!(compare(zero, smallest), Ok(()));
        assert_eq!(compare(smallest, zero), Ok(()));
        assert!(compare((2, &[127, 3]), zero).is_err());
        assert!(compare(zero, (2, &[127, 3])).is_err());
    }

    #[test]
    fn a_row_of_another_example_does_not_agree() {
        let source = Source { example: Hash32([1; 32]), contribution: ContributionId([2; 32]) };
        let row = Row { source, scale: 5, codes: &[127, 2] };
        assert_eq!(audit(&row, &row), Ok(()));
        let other = Source { contribution: ContributionId([3; 32]), ..source };
        assert_eq!(audit(&Row { source: other, ..row }, &row), Err(Disagreement::Source));
        assert!(audit(&Row { codes: &[127, 4], ..row }, &row).is_err());
        let query = |scale, codes: &[i16]| Query { scale, codes: codes.to_vec() };
        assert_eq!(audit_query(&query(5, &[32_767, 4]), &query(5, &[32_767, 5])), Ok(()));
        assert!(audit_query(&query(5, &[32_767, 4]), &query(5, &[32_767, 6])).is_err());
    }
}
