//! What bytes can be admitted as a document.

use protocol::limits::MAX_DOCUMENT_BYTES;
use protocol::words::words;

/// Why bytes cannot be admitted as a document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// There is no word in it.
    #[error("the document holds no word")]
    Empty,
    /// It is not text.
    #[error("the document is not UTF-8: byte {at} is wrong")]
    NotUtf8 {
        /// The first byte that is wrong.
        at: usize,
    },
    /// It is too large.
    #[error("the document has {length} bytes; at most {MAX_DOCUMENT_BYTES} are allowed: cut it into several")]
    TooLarge {
        /// Its length in bytes.
        length: usize,
    },
}

impl DocumentError {
    /// The reason as one word, for logs, metrics and the API.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::NotUtf8 { .. } => "not_utf8",
            Self::TooLarge { .. } => "too_large",
        }
    }
}

/// The text of a document that can be admitted.
pub fn check_document(bytes: &[u8]) -> Result<&str, DocumentError> {
    if bytes.len() as u64 > MAX_DOCUMENT_BYTES {
        return Err(DocumentError::TooLarge { length: bytes.len() });
    }
    let text = std::str::from_utf8(bytes).map_err(|error| DocumentError::NotUtf8 { at: error.valid_up_to() })?;
    match words(text).next() {
        Some(_) => Ok(text),
        None => Err(DocumentError::Empty),
    }
}
