//! What is taken away to see whether the checkers see it: each of these breaks a promise that something keeps.

use super::world::Setup;

/// Something that the design rests on, gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ablation {
    /// The agreement's log is never written.
    NoWal,
    /// The last-sign record is never written, and a power cut takes the log.
    NoSignRecord,
    /// From the second round of a height on, every validator votes for whatever is proposed.
    NoLock,
    /// Nothing is synced: a power cut takes the latest writes, acknowledged or not.
    NoFsync,
    /// Whoever only copies learns honest roots before he has to commit.
    NoCommitPhase,
    /// A validator whose disk is new votes at once, before it has reached the height that it left.
    NoQuarantine,
}

impl Ablation {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::NoWal, Self::NoSignRecord, Self::NoLock, Self::NoFsync, Self::NoCommitPhase, Self::NoQuarantine];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoWal => "no-wal",
            Self::NoSignRecord => "no-sign-record",
            Self::NoLock => "no-lock",
            Self::NoFsync => "no-fsync",
            Self::NoCommitPhase => "no-commit-phase",
            Self::NoQuarantine => "no-quarantine",
        }
    }

    /// The ablation of a name.
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|ablation| ablation.as_str() == name)
    }

    /// The scenario in which it hurts.
    pub fn scenario(self) -> &'static str {
        match self {
            Self::NoWal | Self::NoFsync => "crash",
            Self::NoSignRecord => "lostlog",
            Self::NoLock => "lossy",
            Self::NoCommitPhase => "copycat",
            Self::NoQuarantine => "wiped",
        }
    }

    pub(super) fn apply(self, setup: &mut Setup) {
        match self {
            Self::NoWal => setup.forgets.wal = true,
            Self::NoSignRecord => setup.forgets.sign_record = true,
            Self::NoLock => setup.forgets.locks = true,
            Self::NoFsync => setup.forgets.fsync = true,
            Self::NoCommitPhase => setup.leaks_roots = true,
            Self::NoQuarantine => setup.forgets.quarantine = true,
        }
    }
}
