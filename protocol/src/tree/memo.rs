//! Trees that were made before in this thread, for the simulator alone: its nodes all make the same ones, and making and
//! hashing them anew for each was a third of its time.
//!
//! A tree is found by the root that it starts from, its version and its changes, so a node whose ledger differs makes its
//! own. All trees of a simulation have grown from the same genesis: two with the same root have the same nodes.

use super::{Tree, TreeUpdate};
use crate::ids::Hash32;
use crate::ledger::Changes;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::marker::PhantomData;

/// Trees that are remembered; with more, all are forgotten.
const MAX_TREES: usize = 256;

/// The root before, and the version.
type Name = (Hash32, u64);

/// What changes made of a tree.
type Made = (Changes, Tree, TreeUpdate);

thread_local! {
    static TREES: RefCell<Option<BTreeMap<Name, Vec<Made>>>> = const { RefCell::new(None) };
}

/// As long as this lives, its thread remembers the trees that it makes.
#[derive(Debug)]
pub(crate) struct Memo(PhantomData<*const ()>);

impl Memo {
    /// Begins, in this thread, with nothing remembered.
    pub(crate) fn begin() -> Self {
        TREES.set(Some(BTreeMap::new()));
        Self(PhantomData)
    }
}

impl Drop for Memo {
    fn drop(&mut self) {
        TREES.set(None);
    }
}

/// What these changes made of the tree with this root, if that is remembered.
pub(super) fn recall(root: Hash32, version: u64, changes: &Changes) -> Option<(Tree, TreeUpdate)> {
    TREES.with_borrow(|trees| {
        let mut made = trees.as_ref()?.get(&(root, version))?.iter();
        made.find(|(of, ..)| of == changes).map(|(_, tree, update)| (tree.clone(), update.clone()))
    })
}

/// Remembers what these changes made of the tree with this root.
pub(super) fn remember(root: Hash32, version: u64, changes: &Changes, tree: &Tree, update: &TreeUpdate) {
    TREES.with_borrow_mut(|trees| {
        let Some(trees) = trees else { return };
        if trees.len() >= MAX_TREES {
            trees.clear();
        }
        trees.entry((root, version)).or_default().push((changes.clone(), tree.clone(), update.clone()));
    });
}
