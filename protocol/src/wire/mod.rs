//! The wire: domain types to bytes and back. The contract is `proto/tributary/v1`; its generated types stay in here.
//!
//! Rules:
//! - A domain value has exactly one encoding, and nothing else decodes to it: what was read is encoded again, and other
//!   bytes are refused. So an unknown field, another order, a longer varint or a spelled-out default cannot make a
//!   second form of one thing.
//! - Sizes are checked before anything is read, and counts before anything is allocated (`schema`).
//! - `decode_*` of bytes from outside gives a value whose stateless rules hold (`rules`), or a [`Refusal`] that says
//!   what was wrong. It never panics.
//! - `encode_*` does not judge: what is too large or breaks a rule is refused by whoever reads it.

mod block;
mod consensus;
mod evidence;
mod fields;
mod object;
mod rules;
mod schema;
mod sync;

pub use consensus::{
    ConsensusMessage, PolkaCert, RoundCert, RoundCertKind, RoundSignature, SignedProposal, SignedVote,
};
pub use sync::{Request, Response};

use crate::block::{Block, Certificate};
use crate::crypto::Kind;
use crate::limits::{
    MAX_BLOCK_WIRE_BYTES, MAX_CONSENSUS_BYTES, MAX_ENVELOPE_BYTES, MAX_GOSSIP_BATCH_BYTES, MAX_GOSSIP_BYTES,
    MAX_PAYLOAD_BYTES, MAX_REQUEST_BYTES, MAX_SMALL_OBJECT_BYTES, MAX_SYNC_BYTES,
};
use crate::objects::{
    AttributionCommit, AttributionReveal, Contribution, DataNet, DatasetManifest, Envelope, Evidence, ModelManifest,
    Object, Operation, Receipt,
};
use crate::refusal::Refusal;
use fields::Fault;
use object::Envelopes;
use prost::Message;

/// The types that prost makes of the contract.
#[expect(unreachable_pub, reason = "generated code; the module is private")]
mod proto {
    include!(concat!(env!("OUT_DIR"), "/tributary.v1.rs"));
}

/// A domain type and its message on the wire.
trait Wire: Sized {
    type Message: Message + Default;
    /// What people call it, in refusals.
    const NAME: &'static str;
    const SCHEMA: &'static schema::Message;

    fn to_wire(&self) -> Self::Message;
    fn from_wire(message: Self::Message) -> Result<Self, Fault>;
}

fn encode<T: Wire>(value: &T) -> Vec<u8> {
    value.to_wire().encode_to_vec()
}

/// The one value whose encoding is `bytes`.
fn decode<T: Wire>(bytes: &[u8]) -> Result<T, Refusal> {
    let refuse = |fault: Fault| match fault {
        Fault::Malformed(reason) => Refusal::Malformed { kind: T::NAME, reason },
        Fault::Refused(refusal) => refusal,
    };
    schema::check(T::SCHEMA, bytes).map_err(refuse)?;
    let message = T::Message::decode(bytes).map_err(|error| refuse(Fault::Malformed(error.to_string())))?;
    let value = T::from_wire(message).map_err(refuse)?;
    if encode(&value) != bytes {
        let reason = "not the canonical encoding: a default value is spelled out, or one choice is made twice";
        return Err(refuse(Fault::Malformed(reason.into())));
    }
    Ok(value)
}

fn within(what: &'static str, got: usize, limit: usize) -> Result<(), Refusal> {
    if got > limit {
        return Err(Refusal::Oversize { what, got: got as u64, limit: limit as u64 });
    }
    Ok(())
}

/// The bytes of an object: its envelope's payload.
pub fn encode_object(object: &Object) -> Vec<u8> {
    match object {
        Object::DataNet(object) => encode(object),
        Object::Contribution(object) => encode(object),
        Object::DatasetManifest(object) => encode(object),
        Object::ModelManifest(object) => encode(object),
        Object::Receipt(object) => encode(object),
        Object::Operation(object) => encode(object),
        Object::AttributionCommit(object) => encode(object),
        Object::AttributionReveal(object) => encode(object),
        Object::Evidence(object) => encode(object.as_ref()),
    }
}

/// The object that a payload is, if it keeps every rule that needs no state.
pub fn decode_object(kind: Kind, payload: &[u8]) -> Result<Object, Refusal> {
    payload_within(kind, payload)?;
    let object = match kind {
        Kind::DataNet => Object::DataNet(decode::<DataNet>(payload)?),
        Kind::Contribution => Object::Contribution(decode::<Contribution>(payload)?),
        Kind::DatasetManifest => Object::DatasetManifest(decode::<DatasetManifest>(payload)?),
        Kind::ModelManifest => Object::ModelManifest(decode::<ModelManifest>(payload)?),
        Kind::Receipt => Object::Receipt(decode::<Receipt>(payload)?),
        Kind::Operation => Object::Operation(decode::<Operation>(payload)?),
        Kind::AttributionCommit => Object::AttributionCommit(decode::<AttributionCommit>(payload)?),
        Kind::AttributionReveal => Object::AttributionReveal(decode::<AttributionReveal>(payload)?),
        Kind::Evidence => Object::Evidence(Box::new(decode::<Evidence>(payload)?)),
    };
    rules::check(&object)?;
    Ok(object)
}

fn payload_within(kind: Kind, payload: &[u8]) -> Result<(), Refusal> {
    let limit = match kind {
        Kind::Contribution | Kind::DatasetManifest | Kind::Receipt => MAX_PAYLOAD_BYTES,
        Kind::DataNet
        | Kind::ModelManifest
        | Kind::Operation
        | Kind::AttributionCommit
        | Kind::AttributionReveal
        | Kind::Evidence => MAX_SMALL_OBJECT_BYTES,
    };
    within("the payload", payload.len(), limit)
}

/// The bytes of an envelope.
pub fn encode_envelope(envelope: &Envelope) -> Vec<u8> {
    encode(envelope)
}

/// The envelope that bytes are. Its payload is bounded but not read: see [`decode_object`].
pub fn decode_envelope(bytes: &[u8]) -> Result<Envelope, Refusal> {
    within("the envelope", bytes.len(), MAX_ENVELOPE_BYTES)?;
    decode(bytes)
}

/// The most bytes that an envelope adds to a gossiped message; a few more than it does.
pub fn gossip_room(envelope: &Envelope) -> usize {
    // Tag and length of the envelope (4) and of its payload (4), and its kind (2).
    const FRAME: usize = 10;
    // Tags and lengths of a signature (6) around its 96 bytes.
    const SIGNATURE: usize = 102;
    envelope.payload.len().saturating_add(FRAME).saturating_add(envelope.signatures.len().saturating_mul(SIGNATURE))
}

/// The bytes of a gossiped message. Whoever makes one keeps to [`MAX_GOSSIP_BATCH_BYTES`] and
/// [`crate::limits::MAX_GOSSIP_ENVELOPES`], by [`gossip_room`].
pub fn encode_envelopes(envelopes: Vec<Envelope>) -> Vec<u8> {
    encode(&Envelopes(envelopes))
}

/// The envelopes of a gossiped message, at least one. Their payloads are bounded but not read.
pub fn decode_envelopes(bytes: &[u8]) -> Result<Vec<Envelope>, Refusal> {
    within("the gossiped message", bytes.len(), MAX_GOSSIP_BYTES)?;
    let Envelopes(envelopes) = decode(bytes)?;
    if envelopes.len() > 1 {
        within("the gossiped message of several envelopes", bytes.len(), MAX_GOSSIP_BATCH_BYTES)?;
    }
    Ok(envelopes)
}

/// The bytes of a block. The block's id is not made of these, see [`crate::block`].
pub fn encode_block(block: &Block) -> Vec<u8> {
    encode(block)
}

/// The block that bytes are. The payloads of its envelopes are bounded but not read.
pub fn decode_block(bytes: &[u8]) -> Result<Block, Refusal> {
    within("the block", bytes.len(), MAX_BLOCK_WIRE_BYTES)?;
    decode(bytes)
}

/// The bytes of a certificate.
pub fn encode_certificate(certificate: &Certificate) -> Vec<u8> {
    encode(certificate)
}

/// The certificate that bytes are. Whether it proves anything is another question: [`Certificate::verify`].
pub fn decode_certificate(bytes: &[u8]) -> Result<Certificate, Refusal> {
    within("the certificate", bytes.len(), MAX_CONSENSUS_BYTES)?;
    decode(bytes)
}

/// The bytes of a consensus message.
pub fn encode_consensus(message: &ConsensusMessage) -> Vec<u8> {
    encode(message)
}

/// The consensus message that bytes are. Its signatures are not checked here.
pub fn decode_consensus(bytes: &[u8]) -> Result<ConsensusMessage, Refusal> {
    within("the consensus message", bytes.len(), MAX_CONSENSUS_BYTES)?;
    decode(bytes)
}

/// The bytes of a request.
pub fn encode_request(request: &Request) -> Vec<u8> {
    encode(request)
}

/// The request that bytes are.
pub fn decode_request(bytes: &[u8]) -> Result<Request, Refusal> {
    within("the request", bytes.len(), MAX_REQUEST_BYTES)?;
    decode(bytes)
}

/// The bytes of an answer.
pub fn encode_response(response: &Response) -> Vec<u8> {
    encode(response)
}

/// The answer that bytes are. What it claims is for the asker to verify.
pub fn decode_response(bytes: &[u8]) -> Result<Response, Refusal> {
    within("the answer", bytes.len(), MAX_SYNC_BYTES)?;
    decode(bytes)
}
