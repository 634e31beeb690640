//! Signatures that cost a hash, for the simulator alone: no other build contains them, and in a build that does they hold
//! only in a thread, and only as long, as somebody there keeps [`Cheap`].
//!
//! Anybody can make them for anybody. The simulator's attackers sign with their own keys or wrongly, never so.

use super::Signature;
use crate::ids::Account;
use std::cell::Cell;
use std::marker::PhantomData;

thread_local! {
    static USERS: Cell<u32> = const { Cell::new(0) };
}

/// As long as one of these lives, its thread signs and verifies cheaply.
#[derive(Debug)]
pub struct Cheap(PhantomData<*const ()>);

impl Cheap {
    /// Begins, in this thread.
    pub fn begin() -> Self {
        USERS.set(USERS.get() + 1);
        Self(PhantomData)
    }
}

impl Drop for Cheap {
    fn drop(&mut self) {
        USERS.set(USERS.get() - 1);
    }
}

/// Does this thread sign cheaply?
pub(super) fn is_on() -> bool {
    USERS.get() > 0
}

/// The signature of these bytes: a keyed hash of who signs and what.
pub(super) fn signature(signer: &Account, signed: &[u8]) -> Signature {
    let mut bytes = [0; 64];
    let mut hasher = blake3::Hasher::new_keyed(&signer.0);
    hasher.update(signed);
    hasher.finalize_xof().fill(&mut bytes);
    Signature(bytes)
}
