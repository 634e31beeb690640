//! A node's API, seen from the command line: blocking HTTP with JSON, no TLS (it listens on loopback unless told
//! otherwise, and whoever opens it to the world puts a proxy before it).
//!
//! An answer other than 2xx carries `{"error": {"code", "message"}}`, which becomes a [`ClientError::Refused`] with
//! the same code.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa::ToSchema;

/// How long a connection may take to open. Nodes are near: a longer wait tells nothing more.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a whole answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes of an answer: some hundred thousand rows of any list.
const MAX_ANSWER_BYTES: u64 = protocol::limits::MAX_ARTIFACT_BYTES;
/// Bytes of an answer that is no JSON, quoted in an error.
const QUOTED_BYTES: usize = 200;

/// What `GET /v1/status` answers: a node at a glance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// The node's version.
    pub version: String,
    /// The network's name.
    pub network: String,
    /// The genesis hash, 64 hex digits.
    pub genesis: String,
    /// The node's name on the network.
    pub peer_id: String,
    /// The last committed height, which is the epoch; 0 before the first.
    pub height: u64,
    /// The id of the block at that height, 64 hex digits; empty at height 0.
    pub block: String,
    /// Milliseconds between the decision of an epoch and the start of the next.
    pub epoch_ms: u64,
    /// The state's root after that height, 64 hex digits.
    pub state_root: String,
    /// Connected peers.
    pub peers: u64,
    /// Does this node vote?
    pub validator: bool,
    /// Objects that wait for a block.
    pub pool: u64,
    /// Does it fetch blocks that others have decided?
    pub syncing: bool,
}

/// Why a request has no result.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address cannot be used.
    #[error("{url:?} is no address of an API: {reason}")]
    Url {
        /// As given.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Nobody answers there.
    #[error("no answer from the node at {url}")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// What happened.
        #[source]
        source: Box<ureq::Error>,
    },
    /// The node said no.
    #[error("{message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// One word.
        code: String,
        /// The node's sentence.
        message: String,
    },
    /// What answers there is no Tributary node, or one of another version.
    #[error("{url} answered {status} with something that this version does not understand: {detail}")]
    Answer {
        /// What was asked for.
        url: String,
        /// The HTTP status.
        status: u16,
        /// What is wrong, or how the answer begins.
        detail: String,
    },
}

impl ClientError {
    /// One word.
    pub fn code(&self) -> &str {
        match self {
            Self::Url { .. } => "url",
            Self::Unreachable { .. } => "unreachable",
            Self::Refused { code, .. } => code,
            Self::Answer { .. } => "answer",
        }
    }

    /// What to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Url { .. } => Some("it looks like http://127.0.0.1:7370".to_owned()),
            Self::Unreachable { .. } => {
                Some("is the node running? Start it with `tributary start`, or name another with --api URL".to_owned())
            }
            Self::Refused { .. } => None,
            Self::Answer { .. } => Some("is it a Tributary node, and of this version?".to_owned()),
        }
    }
}

#[derive(Deserialize)]
struct ErrorDocument {
    error: ErrorBody,
}

#[derive(Deserialize)]
struct ErrorBody {
    code: String,
    message: String,
}

/// Speaks with one node.
#[derive(Clone, Debug)]
pub struct Client {
    base: String,
    agent: ureq::Agent,
}

impl Client {
    /// For the node at `url`, such as `http://127.0.0.1:7370`. Nothing is sent yet.
    pub fn new(url: &str) -> Result<Self, ClientError> {
        let wrong = |reason| ClientError::Url { url: url.to_owned(), reason };
        let host = url.strip_prefix("http://").ok_or_else(|| wrong("it must start with http://"))?;
        if host.trim_end_matches('/').is_empty() {
            return Err(wrong("it names no host"));
        }
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_global(Some(ANSWER_TIMEOUT))
            .user_agent(concat!("tributary/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Self { base: url.trim_end_matches('/').to_owned(), agent: config.into() })
    }

    /// The node's address, without a slash at its end.
    pub fn url(&self) -> &str {
        &self.base
    }

    /// What `GET path` answers. `path` starts with a slash.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let url = format!("{}{path}", self.base);
        let response = self.agent.get(&url).call();
        read(url, response)
    }

    /// What `POST path` with a JSON body answers.
    pub fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, ClientError> {
        let url = format!("{}{path}", self.base);
        let response = self.agent.post(&url).send_json(body);
        read(url, response)
    }

    /// What `POST path` answers to bytes as they are.
    pub fn post_bytes<T: DeserializeOwned>(&self, path: &str, bytes: &[u8]) -> Result<T, ClientError> {
        let url = format!("{}{path}", self.base);
        let response = self.agent.post(&url).content_type("application/octet-stream").send(bytes);
        read(url, response)
    }

    /// What `PUT path` answers to a file.
    pub fn put_file<T: DeserializeOwned>(&self, path: &str, file: std::fs::File) -> Result<T, ClientError> {
        let url = format!("{}{path}", self.base);
        let response = self.agent.put(&url).content_type("application/octet-stream").send(file);
        read(url, response)
    }

    /// What `GET path` answers, as it is: documents, proofs.
    pub fn get_bytes(&self, path: &str) -> Result<Vec<u8>, ClientError> {
        let url = format!("{}{path}", self.base);
        let response = self.agent.get(&url).call();
        let (status, bytes) = receive(&url, response)?;
        if !(200..300).contains(&status) {
            return Err(refusal(url, status, &bytes));
        }
        Ok(bytes)
    }

    /// The same as text: metrics, health.
    pub fn get_text(&self, path: &str) -> Result<String, ClientError> {
        self.get_bytes(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Is the node up and fit to serve? The error says what keeps it from it.
    pub fn ready(&self) -> Result<(), ClientError> {
        self.get_text("/readyz").map(|_| ())
    }

    /// The node at a glance.
    pub fn status(&self) -> Result<Status, ClientError> {
        self.get("/v1/status")
    }
}

type Response = Result<ureq::http::Response<ureq::Body>, ureq::Error>;

fn receive(url: &str, response: Response) -> Result<(u16, Vec<u8>), ClientError> {
    let unreachable = |source| ClientError::Unreachable { url: url.to_owned(), source: Box::new(source) };
    let mut response = response.map_err(unreachable)?;
    let bytes = response.body_mut().with_config().limit(MAX_ANSWER_BYTES).read_to_vec().map_err(unreachable)?;
    Ok((response.status().as_u16(), bytes))
}

fn read<T: DeserializeOwned>(url: String, response: Response) -> Result<T, ClientError> {
    let (status, bytes) = receive(&url, response)?;
    if !(200..300).contains(&status) {
        return Err(refusal(url, status, &bytes));
    }
    serde_json::from_slice(&bytes).map_err(|error| ClientError::Answer { url, status, detail: error.to_string() })
}

fn refusal(url: String, status: u16, bytes: &[u8]) -> ClientError {
    match serde_json::from_slice::<ErrorDocument>(bytes) {
        Ok(ErrorDocument { error }) => ClientError::Refused { status, code: error.code, message: error.message },
        Err(_) => {
            let quoted = String::from_utf8_lossy(&bytes[..bytes.len().min(QUOTED_BYTES)]).trim().to_owned();
            ClientError::Answer { url, status, detail: quoted }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_api_keep_their_code_and_strangers_are_quoted() {
        let error = refusal("u".into(), 400, br#"{"error":{"code":"nonce","message":"the next nonce is 3"}}"#);
        assert_eq!((error.code(), error.to_string()), ("nonce", "the next nonce is 3".to_owned()));
        let error = refusal("http://x/".into(), 502, b"<html>bad gateway");
        assert_eq!(error.code(), "answer");
        assert!(error.to_string().contains("<html>bad gateway"), "{error}");
    }

    #[test]
    fn an_address_is_checked_before_anything_is_sent() {
        assert_eq!(
            Client::new("http://127.0.0.1:1/").map(|client| client.url().to_owned()).ok().as_deref(),
            Some("http://127.0.0.1:1")
        );
        for wrong in ["127.0.0.1:7370", "https://example.org", "http://", "http:///"] {
            assert_eq!(
                Client::new(wrong).err().map(|error| error.code().to_owned()).as_deref(),
                Some("url"),
                "{wrong}"
            );
        }
    }
}
