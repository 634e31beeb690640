//! The HTTP API: JSON on one port, the same types as the client ([`types`]), OpenAPI at `/openapi.json`.
//!
//! - Reads come from one consistent snapshot of the disk, in threads that may block. Only what is nowhere on disk (an
//!   account's next nonce, the status) is asked of the core.
//! - A submission is checked here, once; `202` means that it is durable on this node, and `/v1/objects/{id}` follows it.
//! - A refusal is `{"error": {"code", "message"}}` with a status that fits, and is counted by its code.
//! - Everything has a bound: connections, requests at once, bytes of a body, time, rows of a list, listeners, uploads.
//!
//! There is no password: whoever reaches the port may ask and submit, which anybody may do on the network anyway. What
//! concerns the process, such as stopping it, is no matter of the API.

mod batch;
mod connections;
mod data;
mod earnings;
mod error;
mod explain;
mod files;
mod known;
mod light;
mod node;
mod objects;
mod openapi;
mod receipts;
pub mod types;
mod view;

pub use batch::{MAX_BATCH_BYTES, MAX_BATCH_RECEIPTS};
pub(crate) use objects::envelope;
pub use openapi::openapi_json;

use crate::metrics;
use crate::node_process::Services;
use anyhow::Context as _;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post, put};
use error::ApiError;
use objects::Dropped;
use protocol::node::Notice;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use storage::BlobStore;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

/// Requests that are worked on at once; one more is refused.
const MAX_REQUESTS: usize = 512;
/// How long a request may take, its body included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(55);
/// How long requests may still take when the node stops.
const DRAIN: Duration = Duration::from_secs(3);
/// Documents that are received at once: each is held in memory.
const MAX_UPLOADS: usize = 4;
/// Listeners to events at once.
const MAX_LISTENERS: usize = 64;
/// Bytes of the framework's own sentence about a request that it cannot read.
const MAX_REJECTION_BYTES: usize = 4096;
/// Documents and files that are sent at once: a request is over when its answer begins, and this is not.
const MAX_DOWNLOADS: usize = 256;
/// Proofs that are made at once.
const MAX_PROOFS: usize = 2;

/// What every request works with.
#[derive(Clone)]
struct Api {
    services: Services,
    dropped: Arc<Mutex<Dropped>>,
    requests: Arc<Semaphore>,
    uploads: Arc<Semaphore>,
    downloads: Arc<Semaphore>,
    batches: Arc<Semaphore>,
    listeners: Arc<Semaphore>,
    proofs: Arc<Semaphore>,
}

impl Api {
    fn new(services: Services) -> Self {
        let bound = |count| Arc::new(Semaphore::new(count));
        Self {
            services,
            dropped: Arc::new(Mutex::new(Dropped::default())),
            requests: bound(MAX_REQUESTS),
            uploads: bound(MAX_UPLOADS),
            downloads: bound(MAX_DOWNLOADS),
            batches: bound(batch::MAX_BATCHES),
            listeners: bound(MAX_LISTENERS),
            proofs: bound(MAX_PROOFS),
        }
    }

    /// The documents, for what comes by here.
    fn uploaded(&self) -> BlobStore {
        self.services.blobs.leaving(self.services.fetched_bytes)
    }

    /// Remembers what was dropped from the pool, so that whoever submitted it can learn why.
    async fn remember_dropped(self) {
        let mut notices = self.services.notices.subscribe();
        loop {
            match notices.recv().await {
                Ok(notice) => {
                    if let Notice::Dropped { id, refusal } = notice.as_ref() {
                        let mut dropped = self.dropped.lock().unwrap_or_else(PoisonError::into_inner);
                        dropped.insert(*id, refusal.clone());
                    }
                }
                Err(RecvError::Lagged(missed)) => tracing::warn!(missed, "the API missed notices"),
                Err(RecvError::Closed) => return,
            }
        }
    }
}

/// Serves the API until the node stops.
///
/// # Errors
/// The address cannot be listened on.
pub async fn serve(listener: TcpListener, services: Services, shutdown: CancellationToken) -> anyhow::Result<()> {
    tracing::info!(addr = %listener.local_addr()?, "API listening");
    let api = Api::new(services);
    let mut remembering = tokio::spawn(api.clone().remember_dropped());
    let server = connections::serve(listener, router(api), connections::LIMITS, shutdown.clone());
    let drained = async {
        shutdown.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        () = server => {}
        ended = &mut remembering => return Err(anyhow::anyhow!("the API's task that follows notices ended: {ended:?}")),
        () = drained => tracing::info!("requests that were still open are cut off"),
    }
    remembering.abort();
    Ok(())
}

/// Takes the API's port. A node does this before anything else, so that one whose port is taken never joins its network.
pub async fn bind(listen: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(listen).await.with_context(|| format!("the API cannot listen on {listen}"))
}

/// Every route with its handlers. A test holds that OpenAPI describes exactly these.
fn routes() -> Vec<(&'static str, MethodRouter<Api>)> {
    vec![
        ("/livez", get(node::livez)),
        ("/readyz", get(node::readyz)),
        ("/healthz", get(node::healthz)),
        ("/metrics", get(node::metrics_text)),
        ("/openapi.json", get(openapi::document)),
        ("/v1/status", get(node::status)),
        ("/v1/genesis", get(node::genesis)),
        ("/v1/validators", get(node::validators)),
        ("/v1/peers", get(node::peers)),
        ("/v1/accounts/{account}", get(node::account)),
        ("/v1/epochs", get(node::epochs)),
        ("/v1/epochs/{height}", get(node::epoch)),
        ("/v1/events", get(node::events)),
        ("/v1/objects", post(objects::submit)),
        ("/v1/objects/{id}", get(objects::show)),
        ("/v1/datanets", get(data::datanets)),
        ("/v1/datanets/{id}", get(data::datanet)),
        ("/v1/contributions", get(data::contributions)),
        ("/v1/contributions/{id}", get(data::contribution)),
        ("/v1/contributions/{id}/known", get(known::known)),
        ("/v1/manifests/{id}", get(data::manifest)),
        ("/v1/models", get(data::models)),
        ("/v1/models/{id}", get(data::model)),
        ("/v1/blobs", post(data::upload)),
        ("/v1/blobs/{hash}", get(data::blob)),
        ("/v1/files/{hash}", put(files::put)),
        ("/v1/light/{height}", get(light::light)),
        ("/v1/receipts", get(receipts::list).post(batch::submit)),
        ("/v1/receipts/{id}", get(receipts::show)),
        ("/v1/receipts/{id}/explain", get(explain::explain)),
        ("/v1/receipts/{id}/proof", get(receipts::proof)),
        ("/v1/earnings", get(earnings::all)),
        ("/v1/earnings/{account}", get(earnings::one)),
    ]
}

fn router(api: Api) -> Router {
    let mut router = Router::new();
    for (pattern, handlers) in routes() {
        let watched = Watched { pattern, requests: api.requests.clone() };
        router = router.route(pattern, handlers.layer(from_fn_with_state(watched, watch)));
    }
    router.fallback(nothing_here).method_not_allowed_fallback(other_method).with_state(api)
}

#[derive(Clone)]
struct Watched {
    pattern: &'static str,
    requests: Arc<Semaphore>,
}

/// Bounds a request and counts it by its route.
async fn watch(State(watched): State<Watched>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let response = match watched.requests.try_acquire() {
        // Health must be told even where everything else is refused.
        Err(_) if watched.pattern.starts_with("/v1/") => ApiError::busy(MAX_REQUESTS, "requests").into_response(),
        _permit if is_of_another_page(request.method(), request.headers()) => {
            let reason = "a web page of another address may not change anything here".to_owned();
            ApiError::new(StatusCode::FORBIDDEN, "forbidden", reason).into_response()
        }
        _permit => match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
            Ok(response) => in_our_form(response).await,
            Err(_) => {
                let reason = format!("the request took longer than {} seconds", REQUEST_TIMEOUT.as_secs());
                ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", reason).into_response()
            }
        },
    };
    metrics::api_request(watched.pattern, response.status().as_u16(), began.elapsed());
    response
}

/// Does a browser send this for a page that is not the API's own? Other programs name no page.
fn is_of_another_page(method: &Method, headers: &HeaderMap) -> bool {
    let named = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    if method.is_safe() {
        return false;
    }
    // A page's address whose name leads here all of a sudden passes for our own; but it has that name.
    let is_rebound = || named("host").is_some_and(|host| !is_literal(host));
    match (named("sec-fetch-site"), named("origin")) {
        (Some(_), _) | (None, Some(_)) if is_rebound() => true,
        (Some(site), _) => !["same-origin", "none"].contains(&site),
        (None, Some(origin)) => {
            let page = origin.split_once("://").map(|(_, host)| host);
            page.is_none_or(|page| named("host") != Some(page))
        }
        (None, None) => false,
    }
}

/// Is this host, with or without a port, an address or this machine's own name?
fn is_literal(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    };
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name == "localhost" || bare.parse::<std::net::IpAddr>().is_ok()
}

/// The framework refuses paths and queries that it cannot read in plain text; ours is one form for every error.
async fn in_our_form(response: Response) -> Response {
    let is_json = response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes() == b"application/json");
    if response.status() != StatusCode::BAD_REQUEST || is_json {
        return response;
    }
    let text = axum::body::to_bytes(response.into_body(), MAX_REJECTION_BYTES).await.unwrap_or_default();
    ApiError::malformed(String::from_utf8_lossy(&text)).into_response()
}

async fn nothing_here(uri: Uri) -> ApiError {
    let message = format!("there is nothing at {}; /openapi.json lists what there is", uri.path());
    ApiError::new(StatusCode::NOT_FOUND, "unknown", message)
}

async fn other_method(method: Method, uri: Uri) -> ApiError {
    let message = format!("{} does not take {method}; /openapi.json lists what there is", uri.path());
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_other_addresses_change_nothing() {
        let is_refused = |method: &Method, headers: &[(&'static str, &str)]| {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.insert(*name, value.parse().unwrap());
            }
            is_of_another_page(method, &map)
        };
        let host = ("host", "127.0.0.1:7370");
        for refused in [
            &[host, ("origin", "https://example.org")][..],
            &[host, ("origin", "null")],
            &[host, ("origin", "http://127.0.0.1:8080")],
            &[host, ("origin", "http://127.0.0.1:7370"), ("sec-fetch-site", "cross-site")],
            &[host, ("sec-fetch-site", "same-site")],
            &[("origin", "http://127.0.0.1:7370")],
            &[("host", "rebound.example:7370"), ("origin", "http://rebound.example:7370")],
            &[("host", "rebound.example"), ("origin", "http://rebound.example"), ("sec-fetch-site", "same-origin")],
        ] {
            assert!(is_refused(&Method::POST, refused) && is_refused(&Method::PUT, refused), "{refused:?}");
            assert!(!is_refused(&Method::GET, refused), "{refused:?}");
        }
        for taken in [
            &[host][..],
            &[host, ("origin", "http://127.0.0.1:7370")],
            &[host, ("origin", "https://node.example"), ("sec-fetch-site", "same-origin")],
            &[host, ("sec-fetch-site", "none")],
            &[("host", "localhost:7370"), ("origin", "http://localhost:7370")],
            &[("host", "[::1]:7370"), ("origin", "http://[::1]:7370"), ("sec-fetch-site", "same-origin")],
            &[("host", "node.example")],
        ] {
            assert!(!is_refused(&Method::POST, taken), "{taken:?}");
        }
    }
}
