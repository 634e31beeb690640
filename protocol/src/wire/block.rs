//! Blocks and certificates and their messages.

use super::fields::{Fault, fixed, from_signatures, required, to_signatures};
use super::{Wire, proto, schema};
use crate::block::{Block, Body, Certificate, Header};
use crate::ids::{Account, BlockId, Hash32};
use crate::objects::Envelope;

impl Wire for Block {
    type Message = proto::Block;
    const NAME: &'static str = "block";
    const SCHEMA: &'static schema::Message = &schema::BLOCK;

    fn to_wire(&self) -> proto::Block {
        let body = proto::Body {
            last_commit: self.body.last_commit.as_ref().map(Certificate::to_wire),
            envelopes: self.body.envelopes.iter().map(Envelope::to_wire).collect(),
            settlements: self.body.settlements.clone(),
        };
        proto::Block { header: Some(from_header(&self.header)), body: Some(body) }
    }

    fn from_wire(message: proto::Block) -> Result<Self, Fault> {
        let header = to_header(required("header", message.header)?)?;
        let body = required("body", message.body)?;
        let body = Body {
            last_commit: body.last_commit.map(Certificate::from_wire).transpose()?,
            envelopes: body.envelopes.into_iter().map(Envelope::from_wire).collect::<Result<_, Fault>>()?,
            settlements: body.settlements,
        };
        Ok(Self { header, body })
    }
}

pub(super) fn from_header(header: &Header) -> proto::Header {
    proto::Header {
        height: header.height,
        parent: header.parent.0.to_vec(),
        time_ms: header.time_ms,
        proposer: header.proposer.0.to_vec(),
        state_root: header.state_root.0.to_vec(),
        validators: header.validators.0.to_vec(),
        next_validators: header.next_validators.0.to_vec(),
        beacon: header.beacon.0.to_vec(),
        body: header.body.0.to_vec(),
    }
}

pub(super) fn to_header(message: proto::Header) -> Result<Header, Fault> {
    Ok(Header {
        height: message.height,
        parent: BlockId(fixed("parent", &message.parent)?),
        time_ms: message.time_ms,
        proposer: Account(fixed("proposer", &message.proposer)?),
        state_root: Hash32(fixed("state_root", &message.state_root)?),
        validators: Hash32(fixed("validators", &message.validators)?),
        next_validators: Hash32(fixed("next_validators", &message.next_validators)?),
        beacon: Hash32(fixed("beacon", &message.beacon)?),
        body: Hash32(fixed("body", &message.body)?),
    })
}

impl Wire for Certificate {
    type Message = proto::Certificate;
    const NAME: &'static str = "certificate";
    const SCHEMA: &'static schema::Message = &schema::CERTIFICATE;

    fn to_wire(&self) -> proto::Certificate {
        proto::Certificate {
            height: self.height,
            round: self.round,
            block: self.block.0.to_vec(),
            signatures: from_signatures(&self.signatures),
        }
    }

    fn from_wire(message: proto::Certificate) -> Result<Self, Fault> {
        Ok(Self {
            height: message.height,
            round: message.round,
            block: BlockId(fixed("block", &message.block)?),
            signatures: to_signatures(message.signatures)?,
        })
    }
}
