//! What the ledger answered before in this thread, for the simulator alone: its nodes all carry out the same blocks and
//! look at the same objects after the same blocks.
//!
//! An answer is found by the root of the state that it follows from and by what was asked about. A block's id names its
//! body, if the caller checked that, and so the objects in it; an object's id names all of it that the ledger reads. So a
//! node whose ledger differs finds its own answers.

use super::Executed;
use crate::ids::{BlockId, Hash32, ObjectId};
use crate::refusal::Refusal;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;

/// Answers of one kind that are remembered; with more, all are forgotten.
const MAX_ANSWERS: usize = 4_096;

#[derive(Default)]
struct Answers {
    executed: BTreeMap<(BlockId, Hash32), Arc<Executed>>,
    checked: BTreeMap<(ObjectId, Hash32), Result<(), Refusal>>,
}

thread_local! {
    static ANSWERS: RefCell<Option<Answers>> = const { RefCell::new(None) };
}

/// As long as this lives, its thread remembers the ledger's answers.
#[derive(Debug)]
pub(crate) struct Memo(PhantomData<*const ()>);

impl Memo {
    /// Begins, in this thread, with nothing remembered.
    pub(crate) fn begin() -> Self {
        ANSWERS.set(Some(Answers::default()));
        Self(PhantomData)
    }
}

impl Drop for Memo {
    fn drop(&mut self) {
        ANSWERS.set(None);
    }
}

/// What a block does after the state with this root, as it is remembered or as `make` finds it. Only success is
/// remembered.
pub(crate) fn executed<E>(
    root: Hash32,
    block: BlockId,
    make: impl FnOnce() -> Result<Arc<Executed>, E>,
) -> Result<Arc<Executed>, E> {
    ANSWERS.with_borrow_mut(|answers| {
        let Some(Answers { executed, .. }) = answers else { return make() };
        if let Some(known) = executed.get(&(block, root)) {
            return Ok(known.clone());
        }
        let made = make()?;
        if executed.len() >= MAX_ANSWERS {
            executed.clear();
        }
        executed.insert((block, root), made.clone());
        Ok(made)
    })
}

/// Whether an object would be accepted after the state with this root, as it is remembered or as `make` finds it.
pub(crate) fn checked(
    root: Hash32,
    object: ObjectId,
    make: impl FnOnce() -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    ANSWERS.with_borrow_mut(|answers| {
        let Some(Answers { checked, .. }) = answers else { return make() };
        if checked.len() >= MAX_ANSWERS {
            checked.clear();
        }
        checked.entry((object, root)).or_insert_with(make).clone()
    })
}
