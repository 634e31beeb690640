//! Names of things: 32-byte ids, account keys, and the addresses people read.
//!
//! An id is the BLAKE3 hash of an object's payload under the object's own domain (see [`crate::crypto`]); it never
//! depends on signatures, so re-signing cannot make a second name for one thing.
//!
//! In text, ids are 64 lower-case hex digits and accounts are bech32m (BIP-350) with the prefix `trib`.

use bech32::{Bech32m, Hrp};
use borsh::{BorshDeserialize, BorshSerialize};
use std::fmt;
use std::str::FromStr;

/// Why a text is not an id or an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseIdError {
    /// Not exactly 64 lower-case hex digits.
    #[error("expected 64 lower-case hex digits, got {got} characters that are not that")]
    Hex {
        /// How many characters there were.
        got: usize,
    },
    /// Not a bech32m address with our prefix and 32 bytes.
    #[error("not an account address: expected bech32m text that starts with `trib1` and holds 32 bytes")]
    Address,
}

/// Lower-case hex of `bytes`.
pub fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// The 32 bytes that exactly 64 lower-case hex digits spell.
pub fn from_hex32(text: &str) -> Result<[u8; 32], ParseIdError> {
    let error = ParseIdError::Hex { got: text.len() };
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return Err(error);
    }
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut out = [0; 32];
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        let (Some(high), Some(low)) = (value(pair[0]), value(pair[1])) else { return Err(error) };
        *byte = high << 4 | low;
    }
    Ok(out)
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
        pub struct $name(pub [u8; 32]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&to_hex(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), &to_hex(&self.0)[..12])
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;
            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                from_hex32(text).map(Self)
            }
        }
    };
}

id!(
    /// A BLAKE3 hash: of a document's bytes, of a content root, of an evidence body.
    Hash32
);
id!(
    /// Any object's id, before its kind matters.
    ObjectId
);
id!(
    /// A DataNet.
    DataNetId
);
id!(
    /// A contribution to a DataNet.
    ContributionId
);
id!(
    /// One immutable version of a DataNet's content.
    ManifestId
);
id!(
    /// A model.
    ModelId
);
id!(
    /// An inference receipt.
    ReceiptId
);
id!(
    /// A block, which is what an epoch's agreement decides.
    BlockId
);

macro_rules! from_object_id {
    ($($name:ident),*) => {$(
        impl From<ObjectId> for $name {
            fn from(id: ObjectId) -> Self {
                Self(id.0)
            }
        }
        impl From<$name> for ObjectId {
            fn from(id: $name) -> Self {
                Self(id.0)
            }
        }
    )*};
}
from_object_id!(DataNetId, ContributionId, ManifestId, ModelId, ReceiptId);

/// An account: an ed25519 public key. Shown as `trib1…`.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Account(pub [u8; 32]);

const ACCOUNT_PREFIX: Hrp = Hrp::parse_unchecked("trib");

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Encoding 32 bytes under a fixed prefix is far below bech32's length limit.
        f.write_str(&bech32::encode::<Bech32m>(ACCOUNT_PREFIX, &self.0).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Account({})", &to_hex(&self.0)[..12])
    }
}

impl FromStr for Account {
    type Err = ParseIdError;
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let checked =
            bech32::primitives::decode::CheckedHrpstring::new::<Bech32m>(text).map_err(|_| ParseIdError::Address)?;
        if checked.hrp() != ACCOUNT_PREFIX || text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(ParseIdError::Address);
        }
        let bytes: Vec<u8> = checked.byte_iter().collect();
        bytes.try_into().map(Self).map_err(|_| ParseIdError::Address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_ids_read_back_and_refuse_near_misses() {
        let account = Account([7; 32]);
        let text = account.to_string();
        assert!(text.starts_with("trib1"));
        assert_eq!(text.parse(), Ok(account));
        for wrong in ["", "trib1", &text.to_uppercase(), &text.replace("trib", "trix"), &format!("{text}q")] {
            assert_eq!(wrong.parse::<Account>(), Err(ParseIdError::Address), "{wrong}");
        }
        let id = Hash32([0xab; 32]);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!(id.to_string().to_uppercase().parse::<Hash32>().is_err());
        assert!("ab".parse::<Hash32>().is_err());
    }
}
