//! What a person trusts besides the genesis: one height and its block, written `HEIGHT:HASH`.

use protocol::ids::BlockId;
use std::fmt;
use std::str::FromStr;

/// Days for which a trusted block may vouch for later ones, unless told otherwise. It must be less than validators'
/// stake stays bound after they leave.
pub const DEFAULT_TRUST_DAYS: u64 = 14;
/// Milliseconds of a day.
pub const DAY_MS: u64 = 86_400_000;

/// A height and the block decided there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The height; not 0.
    pub height: u64,
    /// The block's id.
    pub block: BlockId,
}

/// Why a text is no checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected HEIGHT:HASH, such as 1200:5f0c…, with a height of at least 1 and a block id of 64 hex digits")]
pub struct ParseCheckpointError;

impl FromStr for Checkpoint {
    type Err = ParseCheckpointError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (height, block) = text.split_once(':').ok_or(ParseCheckpointError)?;
        let height = height.parse().ok().filter(|height| *height > 0).ok_or(ParseCheckpointError)?;
        Ok(Self { height, block: block.parse().map_err(|_| ParseCheckpointError)? })
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.height, self.block)
    }
}

/// Milliseconds since 1970 by this machine's clock; only for how old trust is.
pub fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_reads_back_and_near_misses_do_not() {
        let text = format!("1200:{}", "5f".repeat(32));
        let checkpoint: Checkpoint = text.parse().unwrap();
        assert_eq!((checkpoint.height, checkpoint.to_string()), (1200, text.clone()));
        for wrong in ["", "1200", ":", "0:00", &text.replace("1200", "0"), &text.replace("1200", "-1"), &text[..60]] {
            assert_eq!(wrong.parse::<Checkpoint>(), Err(ParseCheckpointError), "{wrong}");
        }
    }
}
