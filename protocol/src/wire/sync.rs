//! What one node asks of another, and the answers.
//!
//! An answer proves nothing by arriving: blocks are checked against their certificates and ids, slices against their
//! document's hash, by whoever asked.

use super::block::{from_header, to_header};
use super::fields::{Fault, fixed, optional, required};
use super::{Wire, proto, schema, within};
use crate::block::{Block, Certificate, CompactBlock, MissingParts, Parts};
use crate::genesis::canonical;
use crate::ids::{BlockId, Hash32, ObjectId};
use crate::light::{LightBlock, MAX_LIGHT_BLOCK_BYTES};
use crate::limits::{
    MAX_ASKED_OBJECTS, MAX_BLOB_BYTES, MAX_BLOCK_ENVELOPES, MAX_BLOCK_SETTLEMENTS, MAX_BLOCK_WIRE_BYTES,
    MAX_RECONCILE_BYTES, MAX_SYNC_BLOCKS,
};
use crate::node::{PoolAnswer, PoolQuestion};
use crate::objects::Envelope;
use crate::refusal::Refusal;
use crate::snapshot::{MAX_CHUNKS, MAX_LONE_CHUNK_BYTES};
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
    /// The same in short.
    CompactBlock(BlockId),
    /// Parts of a block.
    Parts {
        /// Which block.
        id: BlockId,
        /// Which parts.
        missing: MissingParts,
    },
    /// What waits in the other node's pool.
    Pool(PoolQuestion),
    /// Where the other node stands.
    Status,
    /// A decided header with what it takes to check it.
    Light(u64),
    /// Which whole states the other node serves.
    Snapshots,
    /// A chunk of one.
    Chunk {
        /// The snapshot's height.
        height: u64,
        /// The chunk's number.
        index: u32,
    },
    /// Objects in decided blocks; 1 to [`MAX_ASKED_OBJECTS`] ids.
    Decided(Vec<ObjectId>),
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
        /// The lowest height whose block it still has.
        lowest: u64,
    },
    /// A block in short, or none where it is unknown.
    CompactBlock(Option<CompactBlock>),
    /// Parts of a block; none where it is unknown.
    Parts(Parts),
    /// What waits in a node's pool.
    Pool(PoolAnswer),
    /// A slice with what proves it, or none where the document is not held.
    Blob(Option<Vec<u8>>),
    /// A light block, or none where its block is not here.
    Light(Option<Box<LightBlock>>),
    /// Whole states: height, and the depths of the chunks ([`crate::snapshot::Plan`]).
    Snapshots(Vec<(u64, Vec<u8>)>),
    /// The bytes of a chunk, or none where it is not here.
    Chunk(Option<Vec<u8>>),
    /// Those of the objects asked for that are here, as many as fit.
    Decided(Vec<Envelope>),
}

impl Wire for Request {
    type Message = proto::Request;
    const NAME: &'static str = "request";
    const SCHEMA: &'static schema::Message = &schema::REQUEST;

    fn to_wire(&self) -> proto::Request {
        use proto::request::Request as Message;
        let request = match self {
            Self::Blocks { from, count } => Message::Blocks(proto::BlocksRequest { from: *from, count: *count }),
            Self::BlockById(id) => Message::Block(proto::BlockRequest { id: id.0.to_vec() }),
            Self::CompactBlock(id) => Message::CompactBlock(proto::CompactBlockRequest { id: id.0.to_vec() }),
            Self::Parts { id, missing } => Message::Parts(proto::PartsRequest {
                id: id.0.to_vec(),
                envelopes: from_places(&missing.objects),
                settlements: from_places(&missing.settlements),
            }),
            Self::Pool(PoolQuestion::Reconcile(message)) => {
                Message::Reconcile(proto::ReconcileRequest { message: message.clone() })
            }
            Self::Pool(PoolQuestion::Objects(ids)) => {
                Message::Objects(proto::ObjectsRequest { ids: ids.iter().flat_map(|id| id.0).collect() })
            }
            Self::Status => Message::Status(proto::StatusRequest {}),
            Self::Light(height) => Message::Light(proto::LightRequest { height: *height }),
            Self::Snapshots => Message::Snapshots(proto::SnapshotsRequest {}),
            Self::Chunk { height, index } => Message::Chunk(proto::ChunkRequest { height: *height, index: *index }),
            Self::Decided(ids) => {
                Message::Decided(proto::DecidedRequest { ids: ids.iter().flat_map(|id| id.0).collect() })
            }
            Self::Blob { hash, offset, len, size } => {
                let (hash, offset, len, size) = (hash.0.to_vec(), *offset, *len, *size);
                Message::Blob(proto::BlobRequest { hash, offset, len, size })
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
            Message::CompactBlock(request) => Self::CompactBlock(BlockId(fixed("id", &request.id)?)),
            Message::Parts(request) => Self::Parts {
                id: BlockId(fixed("id", &request.id)?),
                missing: MissingParts {
                    objects: to_places("envelopes", &request.envelopes, MAX_BLOCK_ENVELOPES)?,
                    settlements: to_places("settlements", &request.settlements, MAX_BLOCK_SETTLEMENTS)?,
                },
            },
            Message::Reconcile(request) => {
                within("the message of reconciliation", request.message.len(), MAX_RECONCILE_BYTES)?;
                Self::Pool(PoolQuestion::Reconcile(request.message))
            }
            Message::Objects(request) => Self::Pool(PoolQuestion::Objects(to_ids(&request.ids)?)),
            Message::Decided(request) => Self::Decided(to_ids(&request.ids)?),
            Message::Status(proto::StatusRequest {}) => Self::Status,
            Message::Light(request) => Self::Light(request.height),
            Message::Snapshots(proto::SnapshotsRequest {}) => Self::Snapshots,
            Message::Chunk(proto::ChunkRequest { height, index }) => Self::Chunk { height, index },
            Message::Blob(request) => to_blob_request(&request)?,
        })
    }
}

/// A map of places: bit i of it is place i, the lowest bit of each byte first, and no zero bytes at its end.
fn from_places(places: &[u32]) -> Vec<u8> {
    let mut map = Vec::new();
    for place in places {
        let (byte, bit) = (*place as usize / 8, place % 8);
        if map.len() <= byte {
            map.resize(byte + 1, 0);
        }
        map[byte] |= 1 << bit;
    }
    map
}

fn to_places(name: &str, map: &[u8], limit: usize) -> Result<Vec<u32>, Fault> {
    within("a map of parts", map.len(), limit.div_ceil(8))?;
    if map.last() == Some(&0) {
        return Err(Fault::Malformed(format!("the map of {name} ends in a zero byte")));
    }
    let bits = map.iter().flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1 == 1));
    Ok((0_u32..).zip(bits).filter(|(_, set)| *set).map(|(place, _)| place).collect())
}

/// Hashes of 32 bytes, one after the other.
fn to_hashes(name: &str, bytes: &[u8], limit: usize) -> Result<Vec<[u8; 32]>, Fault> {
    within("a list of hashes", bytes.len(), limit * 32)?;
    let (hashes, rest) = bytes.as_chunks::<32>();
    if !rest.is_empty() {
        return Err(Fault::Malformed(format!("{name} has {} bytes, not a multiple of 32", bytes.len())));
    }
    Ok(hashes.to_vec())
}

/// Ids of objects that are asked for.
fn to_ids(bytes: &[u8]) -> Result<Vec<ObjectId>, Fault> {
    let ids = to_hashes("ids", bytes, MAX_ASKED_OBJECTS)?;
    if ids.is_empty() {
        return Err(Refusal::Field { field: "ids", reason: "it asks for no object".into() }.into());
    }
    Ok(ids.into_iter().map(ObjectId).collect())
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
            Self::CompactBlock(block) => {
                Message::CompactBlock(proto::CompactBlockResponse { block: block.as_ref().map(from_compact) })
            }
            Self::Parts(parts) => Message::Parts(proto::PartsResponse {
                envelopes: parts.envelopes.iter().map(Envelope::to_wire).collect(),
                settlements: parts.settlements.clone(),
            }),
            Self::Pool(PoolAnswer::Reconcile(message)) => {
                Message::Reconcile(proto::ReconcileResponse { message: message.clone() })
            }
            Self::Pool(PoolAnswer::Objects(envelopes)) => Message::Objects(proto::ObjectsResponse {
                envelopes: envelopes.iter().map(Envelope::to_wire).collect(),
            }),
            Self::Status { height, block, genesis, lowest } => Message::Status(proto::StatusResponse {
                lowest: *lowest,
                height: *height,
                block: block.map(|id| id.0.to_vec()).unwrap_or_default(),
                genesis: genesis.0.to_vec(),
            }),
            Self::Blob(slice) => Message::Blob(proto::BlobResponse { slice: slice.clone() }),
            Self::Light(block) => {
                let light_block = block.as_ref().map(|block| canonical(block.as_ref()));
                Message::Light(proto::LightResponse { light_block })
            }
            Self::Snapshots(offers) => {
                let offer = |(height, depths): &(u64, Vec<u8>)| proto::SnapshotOffer {
                    height: *height,
                    depths: depths.clone(),
                };
                Message::Snapshots(proto::SnapshotsResponse { snapshots: offers.iter().map(offer).collect() })
            }
            Self::Chunk(chunk) => Message::Chunk(proto::ChunkResponse { chunk: chunk.clone() }),
            Self::Decided(envelopes) => Message::Decided(proto::DecidedResponse {
                envelopes: envelopes.iter().map(Envelope::to_wire).collect(),
            }),
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
            Message::CompactBlock(answer) => Self::CompactBlock(answer.block.map(to_compact).transpose()?),
            Message::Parts(answer) => Self::Parts(Parts {
                envelopes: answer.envelopes.into_iter().map(Envelope::from_wire).collect::<Result<_, Fault>>()?,
                settlements: answer.settlements,
            }),
            Message::Reconcile(answer) => {
                within("the message of reconciliation", answer.message.len(), MAX_RECONCILE_BYTES)?;
                Self::Pool(PoolAnswer::Reconcile(answer.message))
            }
            Message::Objects(answer) => {
                let envelopes = answer.envelopes.into_iter().map(Envelope::from_wire).collect::<Result<_, Fault>>()?;
                Self::Pool(PoolAnswer::Objects(envelopes))
            }
            Message::Status(answer) => Self::Status {
                lowest: answer.lowest,
                height: answer.height,
                block: optional("block", &answer.block)?.map(BlockId),
                genesis: Hash32(fixed("genesis", &answer.genesis)?),
            },
            Message::Blob(answer) => {
                within("the slice", answer.slice.as_ref().map_or(0, Vec::len), MAX_BLOB_BYTES)?;
                Self::Blob(answer.slice)
            }
            Message::Light(answer) => Self::Light(answer.light_block.map(|bytes| to_light(&bytes)).transpose()?),
            Message::Snapshots(answer) => {
                let offer = |offer: proto::SnapshotOffer| {
                    within("the plan of the snapshot", offer.depths.len(), MAX_CHUNKS)?;
                    Ok((offer.height, offer.depths))
                };
                Self::Snapshots(answer.snapshots.into_iter().map(offer).collect::<Result<_, Fault>>()?)
            }
            Message::Chunk(answer) => {
                within("the chunk", answer.chunk.as_ref().map_or(0, Vec::len), MAX_LONE_CHUNK_BYTES)?;
                Self::Chunk(answer.chunk)
            }
            Message::Decided(answer) => {
                let envelopes = answer.envelopes.into_iter().map(Envelope::from_wire);
                Self::Decided(envelopes.collect::<Result<_, Fault>>()?)
            }
        })
    }
}

fn to_light(bytes: &[u8]) -> Result<Box<LightBlock>, Fault> {
    within("the light block", bytes.len(), MAX_LIGHT_BLOCK_BYTES)?;
    let malformed = |error: std::io::Error| Fault::Malformed(format!("the light block: {error}"));
    borsh::from_slice(bytes).map(Box::new).map_err(malformed)
}

/// A block inside an answer, under the same bound as one that travels alone.
fn to_block(message: proto::Block) -> Result<Block, Fault> {
    within("the block", message.encoded_len(), MAX_BLOCK_WIRE_BYTES)?;
    Block::from_wire(message)
}

fn from_compact(block: &CompactBlock) -> proto::CompactBlock {
    proto::CompactBlock {
        header: Some(from_header(&block.header)),
        last_commit: block.last_commit.as_ref().map(Certificate::to_wire),
        objects: block.objects.iter().flat_map(|id| id.0).collect(),
        settlements: block.settlements.iter().flat_map(|root| root.0).collect(),
    }
}

fn to_compact(message: proto::CompactBlock) -> Result<CompactBlock, Fault> {
    let objects = to_hashes("objects", &message.objects, MAX_BLOCK_ENVELOPES)?;
    let settlements = to_hashes("settlements", &message.settlements, MAX_BLOCK_SETTLEMENTS)?;
    Ok(CompactBlock {
        header: to_header(required("header", message.header)?)?,
        last_commit: message.last_commit.map(Certificate::from_wire).transpose()?,
        objects: objects.into_iter().map(ObjectId).collect(),
        settlements: settlements.into_iter().map(Hash32).collect(),
    })
}
