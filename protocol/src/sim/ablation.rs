//! What is taken away to see whether the checkers see it: each of these breaks a promise that something keeps.

use super::world::Setup;

/// Something that the design rests on, gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ablation {
    /// The agreement's log is never written.
    NoWal,
    /// The last-sign record is never written, and a power cut takes the log.
    NoSignRecord,
    /// Nothing is synced: a power cut takes the latest writes, acknowledged or not.
    NoFsync,
}

impl Ablation {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::NoWal, Self::NoSignRecord, Self::NoFsync];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoWal => "no-wal",
            Self::NoSignRecord => "no-sign-record",
            Self::NoFsync => "no-fsync",
        }
    }

    /// The ablation of a name.
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|ablation| ablation.as_str() == name)
    }

    /// The scenario in which it hurts.
    pub fn scenario(self) -> &'static str {
        match self {
            Self::NoWal | Self::NoFsync | Self::NoSignRecord => "crash",
        }
    }

    pub(super) fn apply(self, setup: &mut Setup) {
        match self {
            Self::NoWal => setup.forgets.wal = true,
            Self::NoSignRecord => {
                setup.forgets.wal = true;
                setup.forgets.sign_record = true;
            }
            Self::NoFsync => setup.forgets.fsync = true,
        }
    }
}
