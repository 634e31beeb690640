//! The border: bytes from outside become [`Verified`] here, once, or are refused with a reason.

use crate::crypto::{self};
use crate::ids::{Hash32, ObjectId};
use crate::limits::MAX_ENVELOPE_BYTES;
use crate::objects::{Envelope, Object};
use crate::refusal::Refusal;
use crate::wire;
use borsh::{BorshDeserialize, BorshSerialize};
use std::io;

/// An envelope whose size, encoding, fields and signatures have been checked for one network, with the object in it.
///
/// It says nothing about the ledger: whether accounts can pay or ids are known is judged where the state is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    envelope: Envelope,
    object: Object,
    id: ObjectId,
}

impl Verified {
    /// Reads an envelope from the wire and checks all that needs no state.
    pub fn from_wire(bytes: &[u8], genesis: &Hash32) -> Result<Self, Refusal> {
        if bytes.len() > MAX_ENVELOPE_BYTES {
            return Err(Refusal::Oversize {
                what: "the envelope",
                got: bytes.len() as u64,
                limit: MAX_ENVELOPE_BYTES as u64,
            });
        }
        Self::check(wire::decode_envelope(bytes)?, genesis)
    }

    /// Checks all of an envelope that needs no state: bounds, strict encoding, fields, signers, signatures.
    pub fn check(envelope: Envelope, genesis: &Hash32) -> Result<Self, Refusal> {
        let object = wire::decode_object(envelope.kind, &envelope.payload)?;
        let signers = object.signers();
        let right_signers = signers.len() == envelope.signatures.len()
            && signers.iter().zip(&envelope.signatures).all(|(must, is)| must.0 == is.0);
        if !right_signers {
            let expected: Vec<String> = signers.iter().map(|(account, _)| account.to_string()).collect();
            return Err(Refusal::Signers { kind: envelope.kind, expected: expected.join(" and ") });
        }
        for ((signer, purpose), (_, signature)) in signers.iter().zip(&envelope.signatures) {
            if !crypto::verify(signer, *purpose, genesis, &envelope.payload, signature) {
                return Err(Refusal::Signature { signer: *signer });
            }
        }
        let id = envelope.id();
        Ok(Self { envelope, object, id })
    }

    /// An envelope from our own disk, whose signatures were checked before it was written there.
    pub fn from_disk(envelope: Envelope) -> Result<Self, Refusal> {
        let object = wire::decode_object(envelope.kind, &envelope.payload)?;
        let id = envelope.id();
        Ok(Self { envelope, object, id })
    }

    /// The exact bytes and signatures.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// What they say.
    pub fn object(&self) -> &Object {
        &self.object
    }

    /// The object's id.
    pub fn id(&self) -> ObjectId {
        self.id
    }

    /// The envelope alone.
    pub fn into_envelope(self) -> Envelope {
        self.envelope
    }
}

impl BorshSerialize for Verified {
    fn serialize<W: io::Write>(&self, writer: &mut W) -> io::Result<()> {
        self.envelope.serialize(writer)
    }
}

/// Reads an input log, which a node wrote after it had checked the signatures.
impl BorshDeserialize for Verified {
    fn deserialize_reader<R: io::Read>(reader: &mut R) -> io::Result<Self> {
        Self::from_disk(Envelope::deserialize_reader(reader)?).map_err(|error| io::Error::other(error.to_string()))
    }
}

/// Signs an object with its authors' keys, in the order of [`Object::signers`]. Used by whoever holds keys.
///
/// # Errors
/// The signers that are needed, when the keys given are not exactly theirs.
pub fn seal(object: &Object, keys: &[&crypto::SecretKey], genesis: &Hash32) -> Result<Envelope, Refusal> {
    let payload = wire::encode_object(object);
    let signers = object.signers();
    let right_keys =
        signers.len() == keys.len() && signers.iter().zip(keys).all(|((must, _), key)| key.account() == *must);
    if !right_keys {
        let expected: Vec<String> = signers.iter().map(|(account, _)| account.to_string()).collect();
        return Err(Refusal::Signers { kind: object.kind(), expected: expected.join(" and ") });
    }
    let sign =
        |((account, purpose), key): (&(_, _), &&crypto::SecretKey)| (*account, key.sign(*purpose, genesis, &payload));
    let signatures = signers.iter().zip(keys).map(sign).collect();
    Ok(Envelope { kind: object.kind(), payload, signatures })
}
