//! The HTTP API.

use crate::node_process::Services;
use std::net::SocketAddr;
use tokio_util::sync::CancellationToken;

/// Serves the API until the node stops.
pub async fn serve(_listen: SocketAddr, _services: Services, shutdown: CancellationToken) -> anyhow::Result<()> {
    shutdown.cancelled().await;
    Ok(())
}
