//! Bytes on the wire.
//!
//! - A request is `length u32 big-endian ‖ bytes`.
//! - A response is `status u8 ‖ length u32 big-endian ‖ bytes`. Status 0 carries the answer; any other status is the
//!   code of a [`Refusal`] and carries nothing. So a peer that will not answer says why, instead of hanging up.
//! - A gossiped message is `salt [u8; 8] ‖ payload`, its id `BLAKE3(domain, topic ‖ salt ‖ payload)[..20]`.
//!   The salt is zero the first time, so that two nodes that publish the same object publish one message; who sends
//!   a payload again takes a new salt, because gossipsub drops for good what it has seen.
//!
//! Lengths are checked before anything is allocated for them, when sending as when receiving.

use std::{io, time::Duration};

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::{
    StreamProtocol,
    gossipsub::{Message, MessageId},
    request_response,
};

use super::{constants::*, names::Protocol};

/// Why a peer did not answer a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// It answers as many requests as it can.
    Busy,
    /// We ask too often.
    RateLimited,
    /// It does not have what was asked for.
    NotFound,
    /// It cannot make sense of the request.
    Malformed,
    /// The answer would exceed the protocol's limit.
    TooLarge,
    /// It gave the request up.
    Unanswered,
}

impl Refusal {
    const ALL: [Refusal; 6] = [
        Refusal::Busy,
        Refusal::RateLimited,
        Refusal::NotFound,
        Refusal::Malformed,
        Refusal::TooLarge,
        Refusal::Unanswered,
    ];

    /// The word for logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Refusal::Busy => "busy",
            Refusal::RateLimited => "rate_limited",
            Refusal::NotFound => "not_found",
            Refusal::Malformed => "malformed",
            Refusal::TooLarge => "too_large",
            Refusal::Unanswered => "unanswered",
        }
    }

    const fn code(self) -> u8 {
        match self {
            Refusal::Busy => 1,
            Refusal::RateLimited => 2,
            Refusal::NotFound => 3,
            Refusal::Malformed => 4,
            Refusal::TooLarge => 5,
            Refusal::Unanswered => 6,
        }
    }
}

/// What a request carries. A malformed one is reported like any other, because libp2p keeps to itself what it could
/// not read, and we must know who sends such things.
#[derive(Debug)]
pub(super) enum Question {
    Bytes(Vec<u8>),
    Malformed(FrameError),
}

/// What a response carries.
#[derive(Debug)]
pub(super) enum Answer {
    Bytes(Vec<u8>),
    Refused(Refusal),
}

/// A frame that breaks the format: the fault of who sent it.
#[derive(Debug, thiserror::Error, Clone, Copy, PartialEq, Eq)]
pub(super) enum FrameError {
    #[error("a frame announces {announced} bytes, the limit is {limit}")]
    TooLarge { announced: usize, limit: usize },
    #[error("a response has the unknown status {status}")]
    UnknownStatus { status: u8 },
    #[error("a refusal carries {bytes} bytes")]
    RefusalWithBytes { bytes: usize },
}

impl FrameError {
    /// The frame error inside of what libp2p reports, if that is what it was.
    pub(super) fn of(error: &io::Error) -> Option<FrameError> {
        error.get_ref().and_then(|inner| inner.downcast_ref()).copied()
    }
}

impl From<FrameError> for io::Error {
    fn from(error: FrameError) -> Self {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }
}

/// Reads and writes the frames of one protocol.
#[derive(Debug, Clone)]
pub(super) struct FrameCodec {
    request_limit: usize,
    response_limit: usize,
}

impl FrameCodec {
    pub(super) fn new(protocol: Protocol) -> Self {
        FrameCodec { request_limit: protocol.request_limit_bytes(), response_limit: protocol.response_limit_bytes() }
    }
}

impl request_response::Codec for FrameCodec {
    type Protocol = StreamProtocol;
    type Request = Question;
    type Response = Answer;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Question>
    where
        T: AsyncRead + Unpin + Send,
    {
        match read_bytes(io, self.request_limit).await {
            Ok(bytes) => Ok(Question::Bytes(bytes)),
            Err(error) => FrameError::of(&error).map(Question::Malformed).ok_or(error),
        }
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Answer>
    where
        T: AsyncRead + Unpin + Send,
    {
        let mut status = [0];
        io.read_exact(&mut status).await?;
        let bytes = read_bytes(io, self.response_limit).await?;
        match status[0] {
            0 => Ok(Answer::Bytes(bytes)),
            status => {
                let refusal = Refusal::ALL.into_iter().find(|refusal| refusal.code() == status);
                let refusal = refusal.ok_or(FrameError::UnknownStatus { status })?;
                if !bytes.is_empty() {
                    return Err(FrameError::RefusalWithBytes { bytes: bytes.len() }.into());
                }
                Ok(Answer::Refused(refusal))
            }
        }
    }

    async fn write_request<T>(&mut self, _: &StreamProtocol, io: &mut T, request: Question) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        match request {
            Question::Bytes(bytes) => write_bytes(io, self.request_limit, &bytes).await,
            Question::Malformed(fault) => Err(fault.into()),
        }
    }

    async fn write_response<T>(&mut self, _: &StreamProtocol, io: &mut T, answer: Answer) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        let (status, bytes) = match answer {
            Answer::Bytes(bytes) => (0, bytes),
            Answer::Refused(refusal) => (refusal.code(), Vec::new()),
        };
        io.write_all(&[status]).await?;
        write_bytes(io, self.response_limit, &bytes).await
    }
}

async fn read_bytes<T: AsyncRead + Unpin + Send>(io: &mut T, limit: usize) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    io.read_exact(&mut length).await?;
    let announced = u32::from_be_bytes(length) as usize;
    if announced > limit {
        return Err(FrameError::TooLarge { announced, limit }.into());
    }
    // Memory follows the bytes that came, not the length that was announced.
    let mut bytes = Vec::with_capacity(announced.min(FRAME_AHEAD_BYTES));
    io.take(u64::from(u32::from_be_bytes(length))).read_to_end(&mut bytes).await?;
    if bytes.len() < announced {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}

async fn write_bytes<T: AsyncWrite + Unpin + Send>(io: &mut T, limit: usize, bytes: &[u8]) -> io::Result<()> {
    let too_large = FrameError::TooLarge { announced: bytes.len(), limit };
    let length = u32::try_from(bytes.len()).map_err(|_| too_large)?;
    if bytes.len() > limit {
        return Err(too_large.into());
    }
    io.write_all(&length.to_be_bytes()).await?;
    io.write_all(bytes).await?;
    io.flush().await
}

/// libp2p's own patience with one request, longer than ours.
pub(super) fn transport_patience(protocol: Protocol) -> Duration {
    protocol.deadline() + REQUEST_GRACE
}

/// The salt of a payload's first publication.
pub(super) const FIRST_SALT: [u8; GOSSIP_SALT_BYTES] = [0; GOSSIP_SALT_BYTES];

/// A gossiped message: salt, then payload.
pub(super) fn gossip(salt: [u8; GOSSIP_SALT_BYTES], payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(GOSSIP_SALT_BYTES + payload.len());
    bytes.extend_from_slice(&salt);
    bytes.extend_from_slice(payload);
    bytes
}

/// The payload of a gossiped message, if it is long enough to have one.
pub(super) fn gossip_payload(mut message: Vec<u8>) -> Option<Vec<u8>> {
    if message.len() < GOSSIP_SALT_BYTES {
        return None;
    }
    message.drain(..GOSSIP_SALT_BYTES);
    Some(message)
}

/// `BLAKE3(domain, topic's length ‖ topic ‖ data)[..20]`.
pub(super) fn message_id(message: &Message) -> MessageId {
    digest("tributary v1 gossip message id", message.topic.as_str(), &message.data).to_vec().into()
}

/// Names a payload among our own publications.
pub(super) fn payload_id(topic: &str, payload: &[u8]) -> [u8; MESSAGE_ID_BYTES] {
    digest("tributary v1 gossip payload id", topic, payload)
}

fn digest(domain: &'static str, topic: &str, data: &[u8]) -> [u8; MESSAGE_ID_BYTES] {
    let mut hasher = blake3::Hasher::new_derive_key(domain);
    hasher.update(&(topic.len() as u64).to_le_bytes());
    hasher.update(topic.as_bytes());
    hasher.update(data);
    let mut id = [0; MESSAGE_ID_BYTES];
    hasher.finalize_xof().fill(&mut id);
    id
}

#[cfg(test)]
mod tests {
    use futures::io::Cursor;
    use libp2p::request_response::Codec;
    use proptest::prelude::*;

    use super::*;

    const NAME: StreamProtocol = StreamProtocol::new("/test");

    fn block_on<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(future)
    }

    fn read_request(bytes: &[u8]) -> io::Result<Question> {
        block_on(FrameCodec::new(Protocol::Status).read_request(&NAME, &mut Cursor::new(bytes)))
    }

    fn read_response(bytes: &[u8]) -> io::Result<Answer> {
        block_on(FrameCodec::new(Protocol::Status).read_response(&NAME, &mut Cursor::new(bytes)))
    }

    #[test]
    fn a_frame_may_be_as_long_as_its_limit_and_no_longer() {
        let limit = STATUS_REQUEST_BYTES;
        for (length, fits) in [(0, true), (1, true), (limit, true), (limit + 1, false)] {
            let mut written = Cursor::new(Vec::new());
            let mut codec = FrameCodec::new(Protocol::Status);
            let question = Question::Bytes(vec![7; length]);
            let wrote = block_on(codec.write_request(&NAME, &mut written, question));
            assert_eq!(wrote.is_ok(), fits, "writing {length}");
            let mut frame = u32::try_from(length).expect("small").to_be_bytes().to_vec();
            frame.resize(4 + length, 7);
            match read_request(&frame) {
                Ok(Question::Bytes(bytes)) => {
                    assert!(fits && bytes == vec![7; length] && written.into_inner() == frame);
                }
                Ok(Question::Malformed(fault)) => {
                    assert!(!fits && fault == FrameError::TooLarge { announced: length, limit });
                }
                Err(error) => panic!("{length}: {error}"),
            }
        }
    }

    #[test]
    fn every_refusal_survives_the_wire() {
        for refusal in Refusal::ALL {
            let mut written = Cursor::new(Vec::new());
            let mut codec = FrameCodec::new(Protocol::Status);
            block_on(codec.write_response(&NAME, &mut written, Answer::Refused(refusal))).expect("writes");
            match read_response(&written.into_inner()) {
                Ok(Answer::Refused(read)) => assert_eq!(read, refusal),
                other => panic!("{refusal:?} became {other:?}"),
            }
        }
    }

    #[test]
    fn frames_that_break_the_format_are_told_from_frames_that_were_cut_off() {
        let broken = |bytes: &[u8]| FrameError::of(&read_response(bytes).expect_err("not a response"));
        assert_eq!(broken(&[99, 0, 0, 0, 0]), Some(FrameError::UnknownStatus { status: 99 }));
        assert_eq!(broken(&[1, 0, 0, 0, 1, 5]), Some(FrameError::RefusalWithBytes { bytes: 1 }));
        assert_eq!(broken(&[]), None);
        assert_eq!(broken(&[0, 0, 0]), None);
        assert_eq!(broken(&[0, 0, 0, 0, 9, 1]), None);
    }

    #[test]
    fn gossip_ids_depend_on_topic_and_salt() {
        let id = |topic: &str, data: Vec<u8>| {
            let topic = libp2p::gossipsub::TopicHash::from_raw(topic);
            message_id(&Message { source: None, data, sequence_number: None, topic })
        };
        let first = id("a", gossip(FIRST_SALT, b"x"));
        assert_eq!(first.0.len(), MESSAGE_ID_BYTES);
        assert_eq!(first, id("a", gossip(FIRST_SALT, b"x")));
        assert_ne!(first, id("b", gossip(FIRST_SALT, b"x")));
        assert_ne!(first, id("a", gossip([1; GOSSIP_SALT_BYTES], b"x")));
    }

    proptest! {
        #[test]
        fn no_bytes_panic_the_readers(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = read_request(&bytes);
            let _ = read_response(&bytes);
            let _ = gossip_payload(bytes);
        }

        #[test]
        fn gossip_survives_its_frame(salt: [u8; GOSSIP_SALT_BYTES], payload: Vec<u8>) {
            prop_assert_eq!(gossip_payload(gossip(salt, &payload)), Some(payload));
        }
    }
}
