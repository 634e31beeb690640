//! The border: bytes from outside become [`Verified`] here, once, or are refused with a reason.

use crate::crypto::{self, Claim, Purpose, Signature};
use crate::ids::{Account, Hash32, ObjectId};
use crate::limits::MAX_ENVELOPE_BYTES;
use crate::objects::{Envelope, Evidence, Object};
use crate::refusal::Refusal;
use crate::wire;
use borsh::{BorshDeserialize, BorshSerialize};
use std::borrow::Cow;
use std::io;
use std::sync::Arc;

/// A claim with a payload that may have been made for it.
struct OwnClaim<'a> {
    signer: Account,
    purpose: Purpose,
    payload: Cow<'a, [u8]>,
    signature: Signature,
}

impl OwnClaim<'_> {
    fn claim(&self) -> Claim<'_> {
        let Self { signer, purpose, payload, signature } = self;
        Claim { signer: *signer, purpose: *purpose, payload, signature: *signature }
    }
}

/// An envelope whose size, encoding, fields and signatures have been checked for one network, with the object in it.
///
/// It says nothing about the ledger: whether accounts can pay or ids are known is judged where the state is.
///
/// It never changes, so copies share it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified(Arc<Contents>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Contents {
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
        let unsigned = Self::check_unsigned(envelope)?;
        for claim in unsigned.claims() {
            if !crypto::verify(&claim.signer, claim.purpose, genesis, &claim.payload, &claim.signature) {
                return Err(Refusal::Signature { signer: claim.signer });
            }
        }
        Ok(unsigned)
    }

    /// [`Verified::check`] of many envelopes, whose signatures are verified together: the same verdicts, in their order,
    /// in about half of the time.
    pub fn check_all(envelopes: Vec<Envelope>, genesis: &Hash32) -> Vec<Result<Self, Refusal>> {
        let mut results: Vec<Result<Self, Refusal>> = envelopes.into_iter().map(Self::check_unsigned).collect();
        let owned: Vec<Vec<OwnClaim<'_>>> =
            results.iter().map(|result| result.iter().flat_map(Self::claims).collect()).collect();
        let claims: Vec<Claim<'_>> = owned.iter().flatten().map(OwnClaim::claim).collect();
        let mut verdicts = crypto::verify_all(&claims, genesis).into_iter();
        // The first signature of each envelope that does not hold, if any.
        let false_signers: Vec<Option<Account>> = (owned.iter())
            .map(|claims| {
                let of_this: Vec<bool> = verdicts.by_ref().take(claims.len()).collect();
                claims.iter().zip(of_this).find(|(_, holds)| !holds).map(|(claim, _)| claim.signer)
            })
            .collect();
        drop(owned);
        for (result, signer) in results.iter_mut().zip(false_signers) {
            if let Some(signer) = signer {
                *result = Err(Refusal::Signature { signer });
            }
        }
        results
    }

    /// What the signatures of this envelope claim, and those inside: evidence is made of others' signatures.
    fn claims(&self) -> Vec<OwnClaim<'_>> {
        let signers = self.0.object.signers().into_iter().zip(&self.0.envelope.signatures);
        let payload = &self.0.envelope.payload;
        let mut claims: Vec<OwnClaim<'_>> = signers
            .map(|((signer, purpose), (_, signature))| OwnClaim {
                signer,
                purpose,
                payload: Cow::Borrowed(payload),
                signature: *signature,
            })
            .collect();
        if let Object::Evidence(evidence) = &self.0.object {
            let Evidence { offence, .. } = evidence.as_ref();
            let signer = offence.validator;
            claims.extend(offence.claims().map(|(purpose, payload, signature)| OwnClaim {
                signer,
                purpose,
                payload: Cow::Owned(payload),
                signature,
            }));
        }
        claims
    }

    /// All checks but those of the signatures themselves.
    fn check_unsigned(envelope: Envelope) -> Result<Self, Refusal> {
        let object = wire::decode_object(envelope.kind, &envelope.payload)?;
        let signers = object.signers();
        let right_signers = signers.len() == envelope.signatures.len()
            && signers.iter().zip(&envelope.signatures).all(|(must, is)| must.0 == is.0);
        if !right_signers {
            let expected: Vec<String> = signers.iter().map(|(account, _)| account.to_string()).collect();
            return Err(Refusal::Signers { kind: envelope.kind, expected: expected.join(" and ") });
        }
        let id = envelope.id();
        Ok(Self(Arc::new(Contents { envelope, object, id })))
    }

    /// An envelope from our own disk, whose signatures were checked before it was written there.
    pub fn from_disk(envelope: Envelope) -> Result<Self, Refusal> {
        let object = wire::decode_object(envelope.kind, &envelope.payload)?;
        let id = envelope.id();
        Ok(Self(Arc::new(Contents { envelope, object, id })))
    }

    /// The exact bytes and signatures.
    pub fn envelope(&self) -> &Envelope {
        &self.0.envelope
    }

    /// What they say.
    pub fn object(&self) -> &Object {
        &self.0.object
    }

    /// The object's id.
    pub fn id(&self) -> ObjectId {
        self.0.id
    }

    /// The envelope alone.
    pub fn into_envelope(self) -> Envelope {
        Arc::try_unwrap(self.0).map_or_else(|shared| shared.envelope.clone(), |own| own.envelope)
    }
}

impl BorshSerialize for Verified {
    fn serialize<W: io::Write>(&self, writer: &mut W) -> io::Result<()> {
        self.0.envelope.serialize(writer)
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
