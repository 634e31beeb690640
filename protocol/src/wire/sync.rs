//! What one node asks of another, and the answers.
//!
//! An answer proves nothing by arriving: blocks are checked against their certificates and ids, slices against their
//! document's hash, by whoever asked.

use super::fields::{Fault, fixed, optional, required};
use super::{Wire, proto, schema, within};
use crate::block::{Block, Certificate};
use crate::ids::{BlockId, Hash32};
use crate::limits::{MAX_BLOB_BYTES, MAX_BLOCK_WIRE_BYTES, MAX_SYNC_BLOCKS};
use crate::refusal::Refusal;
use prost::Message;

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Decided blocks with their certificates.
    Blocks {
        /// The first height.
        from: u64,
        /// How many; 1 to [`MAX_SYNC_BLOCKS`]. The answer may hold fewer.
        count: u32,
    },
    /// A block that may not be decided yet.
    BlockById(BlockId),
    /// Where the other node stands.
    Status,
    /// A slice of a document.
    Blob {
        /// BLAKE3 of the whole.
        hash: Hash32,
        /// Where the slice begins.
        offset: u64,
        /// How long it is; at most [`MAX_BLOB_BYTES`]. It ends within the document.
        len: u64,
        /// How long the whole is.
        size: u64,
    },
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "one at a time, on its way to or from the network")]
pub enum Response {
    /// Decided blocks in ascending order.
    Blocks(Vec<(Block, Certificate)>),
    /// A block, or none where it is unknown.
    Block(Option<Block>),
    /// Where a node stands.
    Status {
        /// The last height it decided.
        height: u64,
        /// The block decided there; none at height 0.
        block: Option<BlockId>,
        /// Which network it is in.
        genesis: Hash32,
    },
    /// A slice with what proves it, or none where the document is not held.
    Blob(Option<Vec<u8>>),
}

impl Wire for Request {
    type Message = proto::Request;
    const NAME: &'static str = "request";
    const SCHEMA: &'static schema::Message = &schema::REQUEST;

    fn to_wire(&self) -> proto::Request {
        use proto::request::Request as Message;
        let request = match *self {
            Self::Blocks { from, count } => Message::Blocks(proto::BlocksRequest { from, count }),
            Self::BlockById(id) => Message::Block(proto::BlockRequest { id: id.0.to_vec() }),
            Self::Status => Message::Status(proto::StatusRequest {}),
            Self::Blob { hash, offset, len, size } => {
                Message::Blob(proto::BlobRequest { hash: hash.0.to_vec(), offset, len, size })
            }
        };
        proto::Request { request: Some(request) }
    }

    fn from_wire(message: proto::Request) -> Result<Self, Fault> {
        use proto::request::Request as Message;
        Ok(match required("request", message.request)? {
            Message::Blocks(proto::BlocksRequest { from, count }) => {
                if count == 0 {
                    return Err(Refusal::Field { field: "count", reason: "it asks for no block".into() }.into());
                }
                let got = u64::from(count);
                if got > MAX_SYNC_BLOCKS {
                    return Err(Refusal::TooMany { what: "blocks asked for", got, limit: MAX_SYNC_BLOCKS }.into());
                }
                Self::Blocks { from, count }
            }
            Message::Block(request) => Self::BlockById(BlockId(fixed("id", &request.id)?)),
            Message::Status(proto::StatusRequest {}) => Self::Status,
            Message::Blob(request) => to_blob_request(&request)?,
        })
    }
}

fn to_blob_request(message: &proto::BlobRequest) -> Result<Request, Fault> {
    let proto::BlobRequest { ref hash, offset, len, size } = *message;
    within("the slice asked for", usize::try_from(len).unwrap_or(usize::MAX), MAX_BLOB_BYTES)?;
    if offset.checked_add(len).is_none_or(|end| end > size) {
        let reason = format!("the slice of {len} bytes at {offset} ends beyond the document's {size}");
        return Err(Refusal::Field { field: "len", reason }.into());
    }
    Ok(Request::Blob { hash: Hash32(fixed("hash", hash)?), offset, len, size })
}

impl Wire for Response {
    type Message = proto::Response;
    const NAME: &'static str = "answer";
    const SCHEMA: &'static schema::Message = &schema::RESPONSE;

    fn to_wire(&self) -> proto::Response {
        use proto::response::Response as Message;
        let response = match self {
            Self::Blocks(blocks) => {
                let decided = |(block, certificate): &(Block, Certificate)| proto::DecidedBlock {
                    block: Some(block.to_wire()),
                    certificate: Some(certificate.to_wire()),
                };
                Message::Blocks(proto::BlocksResponse { blocks: blocks.iter().map(decided).collect() })
            }
            Self::Block(block) => Message::Block(proto::BlockResponse { block: block.as_ref().map(Block::to_wire) }),
            Self::Status { height, block, genesis } => Message::Status(proto::StatusResponse {
                height: *height,
                block: block.map(|id| id.0.to_vec()).unwrap_or_default(),
                genesis: genesis.0.to_vec(),
            }),
            Self::Blob(slice) => Message::Blob(proto::BlobResponse { slice: slice.clone() }),
        };
        proto::Response { response: Some(response) }
    }

    fn from_wire(message: proto::Response) -> Result<Self, Fault> {
        use proto::response::Response as Message;
        Ok(match required("response", message.response)? {
            Message::Blocks(answer) => {
                let decided = |decided: proto::DecidedBlock| {
                    let block = to_block(required("block", decided.block)?)?;
                    Ok((block, Certificate::from_wire(required("certificate", decided.certificate)?)?))
                };
                Self::Blocks(answer.blocks.into_iter().map(decided).collect::<Result<_, Fault>>()?)
            }
            Message::Block(answer) => Self::Block(answer.block.map(to_block).transpose()?),
            Message::Status(answer) => Self::Status {
                height: answer.height,
                block: optional("block", &answer.block)?.map(BlockId),
                genesis: Hash32(fixed("genesis", &answer.genesis)?),
            },
            Message::Blob(answer) => {
                within("the slice", answer.slice.as_ref().map_or(0, Vec::len), MAX_BLOB_BYTES)?;
                Self::Blob(answer.slice)
            }
        })
    }
}

/// A block inside an answer, under the same bound as one that travels alone.
fn to_block(message: proto::Block) -> Result<Block, Fault> {
    within("the block", message.encoded_len(), MAX_BLOCK_WIRE_BYTES)?;
    Block::from_wire(message)
}
