//! Files of models: checkpoints and artifacts, which are not text and may be larger than a document.

use super::Api;
use super::error::ApiError;
use super::objects::hash;
use super::types::{BlobTaken, ErrorDocument};
use super::view::blocking;
use axum::Json;
use axum::body::{Body, BodyDataStream};
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_LENGTH;
use futures::StreamExt as _;
use protocol::limits::MAX_ARTIFACT_BYTES;
use protocol::refusal::Refusal;

/// Takes a file of a model, at most 1 GiB, whose hash the path names.
#[utoipa::path(put, path = "/v1/files/{hash}", tag = "models",
    params(("hash" = String, Path, description = "BLAKE3 of its bytes")),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"), responses(
    (status = 200, description = "It is kept", body = BlobTaken),
    (status = 400, description = "Its bytes are not those of this hash, or their number is not announced", body = ErrorDocument),
    (status = 413, description = "Too large", body = ErrorDocument),
    (status = 503, description = "No room", body = ErrorDocument),
))]
pub(super) async fn put(
    State(api): State<Api>,
    Path(hash_text): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<BlobTaken>, ApiError> {
    let mut stream = body.into_data_stream();
    let taken = take(&api, &hash_text, &headers, &mut stream).await;
    // Whoever is still sending hears the answer only when it is done: a connection that is closed before is reset.
    let mut left = MAX_ARTIFACT_BYTES;
    while left > 0
        && let Some(Ok(chunk)) = stream.next().await
    {
        left = left.saturating_sub(chunk.len() as u64);
    }
    taken.map(Json)
}

async fn take(
    api: &Api,
    hash_text: &str,
    headers: &HeaderMap,
    stream: &mut BodyDataStream,
) -> Result<BlobTaken, ApiError> {
    let hash = hash(hash_text)?;
    let full = |_| ApiError::busy(super::MAX_UPLOADS, "uploads");
    let _permit = api.uploads.acquire().await.map_err(full)?;
    let bytes = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let bytes = bytes.ok_or_else(|| ApiError::malformed("a file is sent with its content-length".to_owned()))?;
    if bytes > MAX_ARTIFACT_BYTES {
        return Err(Refusal::Oversize { what: "the file", got: bytes, limit: MAX_ARTIFACT_BYTES }.into());
    }
    let taken = BlobTaken { hash: hash.to_string(), bytes };
    let blobs = api.uploaded();
    let known = blobs.clone();
    if blocking(move || Ok(known.settle(&hash)?)).await? == Some(bytes) {
        return Ok(taken);
    }
    let mut incoming = blocking(move || Ok(blobs.begin(hash, bytes)?)).await?;
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|error| ApiError::malformed(format!("the file broke off: {error}")))?;
        incoming = blocking(move || {
            incoming.write(&chunk)?;
            Ok(incoming)
        })
        .await?;
    }
    blocking(move || Ok(incoming.finish()?)).await?;
    Ok(taken)
}
