//! Steps of the tree that were made before in this thread, for the simulator alone: its nodes all make the same ones, and
//! hashing them anew for each was a third of its time.
//!
//! A step is found by the root that it starts from, its version and its changes, so a node whose ledger differs makes its
//! own. All trees of a simulation have grown from the same genesis: two with the same root have the same nodes.

use super::Step;
use crate::genesis::canonical;
use crate::ids::Hash32;
use crate::ledger::Changes;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::marker::PhantomData;

/// The root before, the version, and the hash of the changes.
type Name = (Hash32, u64, Hash32);

thread_local! {
    static STEPS: RefCell<Option<BTreeMap<Name, Step>>> = const { RefCell::new(None) };
}

/// As long as this lives, its thread remembers the steps that it makes.
#[derive(Debug)]
pub(crate) struct Memo(PhantomData<*const ()>);

impl Memo {
    /// Begins, in this thread, with nothing remembered.
    pub(crate) fn begin() -> Self {
        STEPS.set(Some(BTreeMap::new()));
        Self(PhantomData)
    }
}

impl Drop for Memo {
    fn drop(&mut self) {
        STEPS.set(None);
    }
}

/// The step as it is remembered, or as `make` makes it.
pub(super) fn remembered(
    root: Hash32,
    version: u64,
    changes: &Changes,
    make: impl FnOnce() -> anyhow::Result<Step>,
) -> anyhow::Result<Step> {
    STEPS.with_borrow_mut(|steps| {
        let Some(steps) = steps else { return make() };
        let name = (root, version, Hash32(blake3::hash(&canonical(changes)).into()));
        if let Some(step) = steps.get(&name) {
            return Ok(step.clone());
        }
        let step = make()?;
        steps.insert(name, step.clone());
        Ok(step)
    })
}
