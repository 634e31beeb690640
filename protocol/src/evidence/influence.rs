//! Evidence by influence: what contributions earn by how much their examples raised the likelihood of an answer.
//!
//! Rules:
//!
//! - What a contribution earns is the sum of the positive scores of its rows (see [`crate::influence`]). Of one DataNet the
//!   [`MAX_INFLUENCES`] contributions with the largest sums are named, of equal ones those with the smaller ids.
//! - Where the receipt's solution does not solve, it is **refused**: nobody earns by influence, and the server answers.
//! - Merging unites. A contribution is of one DataNet, so no two say anything of the same.

use super::{EvidenceError, MergeError};
use crate::ids::ContributionId;
use crate::limits::{MAX_INFLUENCES, MAX_LINEAGE};
use borsh::{BorshDeserialize, BorshSerialize};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// All sums together stay below this.
const MAX_SUM: u128 = 1 << 127;

/// What influence says of one answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Influence {
    /// Does the receipt's solution not solve for its query?
    pub refused: bool,
    /// What contributions earn, relative to each other; all above 0.
    pub sums: BTreeMap<ContributionId, u128>,
}

impl Influence {
    /// Of a receipt whose solution does not solve.
    pub fn refused() -> Self {
        Self { refused: true, sums: BTreeMap::new() }
    }

    /// Of one DataNet's contributions, with their sums of positive scores.
    pub fn of_datanet(sums: impl IntoIterator<Item = (ContributionId, u128)>) -> Self {
        let mut sums: Vec<(ContributionId, u128)> = sums.into_iter().filter(|(_, sum)| *sum > 0).collect();
        sums.sort_by_key(|(contribution, sum)| (std::cmp::Reverse(*sum), *contribution));
        sums.truncate(MAX_INFLUENCES);
        Self { refused: false, sums: sums.into_iter().collect() }
    }

    /// Does it say nothing at all?
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn merge(mut self, other: &Self) -> Result<Self, MergeError> {
        for (contribution, sum) in &other.sums {
            match self.sums.entry(*contribution) {
                Entry::Vacant(place) => _ = place.insert(*sum),
                Entry::Occupied(known) if known.get() == sum => {}
                Entry::Occupied(_) => return Err(MergeError::Influence { contribution: *contribution }),
            }
        }
        self.refused |= other.refused;
        if self.refused {
            self.sums.clear();
        }
        Ok(self)
    }

    pub(super) fn check(&self) -> Result<(), EvidenceError> {
        let total = self.sums.values().try_fold(0_u128, |total, sum| total.checked_add(*sum));
        let few = self.sums.len() <= MAX_INFLUENCES * MAX_LINEAGE;
        let sound = few && total.is_some_and(|total| total < MAX_SUM) && self.sums.values().all(|sum| *sum > 0);
        if sound && (!self.refused || self.sums.is_empty()) { Ok(()) } else { Err(EvidenceError::Influence) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: usize) -> ContributionId {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&(number as u64).to_be_bytes());
        ContributionId(id)
    }

    #[test]
    fn the_largest_sums_are_named_and_no_zero() {
        let many = (0..MAX_INFLUENCES + 10).map(|number| (id(number), (number / 2) as u128));
        let found = Influence::of_datanet(many);
        assert_eq!(found.sums.len(), MAX_INFLUENCES);
        assert_eq!(found.check(), Ok(()));
        // Of the two with the smallest sum that is named the one with the smaller id comes first.
        assert!(found.sums.contains_key(&id(10)) && !found.sums.contains_key(&id(9)));
        assert_eq!(Influence::of_datanet([(id(1), 0)]), Influence::default());
    }

    #[test]
    fn parts_unite_and_a_refusal_takes_all() {
        let (left, right) = (Influence::of_datanet([(id(1), 5)]), Influence::of_datanet([(id(2), 7)]));
        let both = left.clone().merge(&right).unwrap();
        assert_eq!(both, right.clone().merge(&left).unwrap());
        assert_eq!(both.clone().merge(&left).unwrap(), both);
        assert_eq!(both.sums.len(), 2);
        let refused = both.clone().merge(&Influence::refused()).unwrap();
        assert_eq!(refused, Influence::refused());
        assert_eq!(Influence::refused().merge(&both).unwrap(), refused);
        let other = Influence::of_datanet([(id(1), 6)]);
        assert_eq!(both.merge(&other), Err(MergeError::Influence { contribution: id(1) }));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let of = |refused, sums: &[(usize, u128)]| Influence {
            refused,
            sums: sums.iter().map(|(number, sum)| (id(*number), *sum)).collect(),
        };
        assert_eq!(of(false, &[(1, 1), (2, MAX_SUM - 2)]).check(), Ok(()));
        for wrong in [of(false, &[(1, 0)]), of(true, &[(1, 1)]), of(false, &[(1, 1), (2, MAX_SUM - 1)])] {
            assert_eq!(wrong.check(), Err(EvidenceError::Influence));
        }
    }
}
