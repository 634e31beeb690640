//! Single fields: fixed-size bytes, amounts, enumerations, required messages.

use super::proto;
use crate::block::VoteStep;
use crate::crypto::{Kind, Signature};
use crate::ids::Account;
use crate::objects::{Admission, Drops, Method, Origin, Permission};
use crate::refusal::Refusal;
use crate::wire::RoundCertKind;

/// Why bytes are refused, before it is known what the whole of them is called.
#[derive(Debug)]
pub(super) enum Fault {
    /// They are not an encoding of anything.
    Malformed(String),
    /// They pass a bound or break a rule.
    Refused(Refusal),
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Bytes of exactly one length: an id, a hash, a key, a signature.
pub(super) fn fixed<const N: usize>(name: &str, bytes: &[u8]) -> Result<[u8; N], Fault> {
    bytes.try_into().map_err(|_| match bytes.len() {
        0 => missing(name),
        got => Fault::Malformed(format!("{name} has {got} bytes instead of {N}")),
    })
}

/// The same, where empty means absent.
pub(super) fn optional<const N: usize>(name: &str, bytes: &[u8]) -> Result<Option<[u8; N]>, Fault> {
    if bytes.is_empty() { Ok(None) } else { fixed(name, bytes).map(Some) }
}

/// A message that must be there.
pub(super) fn required<T>(name: &str, message: Option<T>) -> Result<T, Fault> {
    message.ok_or_else(|| missing(name))
}

fn missing(name: &str) -> Fault {
    Fault::Malformed(format!("{name} is missing"))
}

/// An amount's bytes: big-endian without a leading zero.
pub(super) fn from_drops(amount: Drops) -> Vec<u8> {
    let bytes = amount.0.to_be_bytes();
    bytes[amount.0.leading_zeros() as usize / 8..].to_vec()
}

/// The amount that bytes are.
pub(super) fn to_drops(name: &str, bytes: &[u8]) -> Result<Drops, Fault> {
    let mut whole = [0; 16];
    if bytes.len() > whole.len() {
        return Err(Fault::Malformed(format!("{name} has {} bytes; an amount has at most 16", bytes.len())));
    }
    if bytes.first() == Some(&0) {
        return Err(Fault::Malformed(format!("{name} begins with a zero byte")));
    }
    whole[16 - bytes.len()..].copy_from_slice(bytes);
    Ok(Drops(u128::from_be_bytes(whole)))
}

/// Signatures with their signers.
pub(super) fn from_signatures(signatures: &[(Account, Signature)]) -> Vec<proto::Signature> {
    let message = |(signer, signature): &(Account, Signature)| proto::Signature {
        signer: signer.0.to_vec(),
        signature: signature.0.to_vec(),
    };
    signatures.iter().map(message).collect()
}

/// Signatures with their signers.
pub(super) fn to_signatures(signatures: Vec<proto::Signature>) -> Result<Vec<(Account, Signature)>, Fault> {
    let pair = |message: proto::Signature| {
        let signer = Account(fixed("signer", &message.signer)?);
        Ok((signer, Signature(fixed("signature", &message.signature)?)))
    };
    signatures.into_iter().map(pair).collect()
}

/// A domain enumeration and its number on the wire.
pub(super) trait Enumeration: Sized {
    fn number(self) -> i32;
    fn of_number(name: &str, number: i32) -> Result<Self, Fault>;
}

macro_rules! enumeration {
    ($domain:ident: $($variant:ident),+) => {
        impl Enumeration for $domain {
            fn number(self) -> i32 {
                (match self {
                    $(Self::$variant => proto::$domain::$variant,)+
                }) as i32
            }

            fn of_number(name: &str, number: i32) -> Result<Self, Fault> {
                match proto::$domain::try_from(number) {
                    $(Ok(proto::$domain::$variant) => Ok(Self::$variant),)+
                    Ok(proto::$domain::Unspecified) => Err(missing(name)),
                    Err(_) => Err(Fault::Malformed(format!("{name} is {number}, which has no meaning"))),
                }
            }
        }
    };
}

enumeration!(Kind: DataNet, Contribution, DatasetManifest, ModelManifest, Receipt, Operation, AttributionCommit,
    AttributionReveal, Evidence);
enumeration!(Admission: Open, Curated);
enumeration!(Origin: OwnWork, PublicDomain, Licensed);
enumeration!(Permission: Allowed, Constrained, NotAllowed);
enumeration!(Method: Spans, Influence);
enumeration!(VoteStep: Prevote, Precommit);
enumeration!(RoundCertKind: Precommit, Skip);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_has_one_form() {
        for amount in [0, 1, 255, 256, 1 << 64, u128::MAX - 1, u128::MAX] {
            let bytes = from_drops(Drops(amount));
            assert_eq!(to_drops("fee", &bytes).unwrap(), Drops(amount));
            assert!(bytes.first() != Some(&0));
            assert!(to_drops("fee", &[&[0][..], &bytes].concat()).is_err(), "{amount}");
        }
        assert!(to_drops("fee", &[1; 17]).is_err());
    }
}
