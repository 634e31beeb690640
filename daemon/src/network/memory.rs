//! Refuses connections while this process uses more memory than it may.

use std::{
    convert::Infallible,
    fs,
    task::{Context, Poll},
    time::Instant,
};

use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    swarm::{
        ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent,
        ToSwarm, dummy,
    },
};

use super::constants::MEMORY_MEASURE;

/// A connection came while memory was short.
#[derive(Debug, thiserror::Error)]
#[error("this process uses {used} bytes, and takes no connections above {limit}")]
pub(super) struct MemoryShort {
    used: u64,
    limit: u64,
}

/// Without a limit, or where the system does not tell what a process uses, everything is let through.
#[derive(Debug)]
pub(super) struct MemoryGuard {
    limit: Option<u64>,
    measured: Option<(Instant, u64)>,
}

impl MemoryGuard {
    pub(super) fn new(limit: Option<u64>) -> Self {
        MemoryGuard { limit, measured: None }
    }

    fn check(&mut self) -> Result<(), ConnectionDenied> {
        let Some(limit) = self.limit else { return Ok(()) };
        let now = Instant::now();
        let used = match self.measured {
            Some((at, used)) if now.saturating_duration_since(at) < MEMORY_MEASURE => used,
            _ => resident_bytes().unwrap_or(0),
        };
        self.measured = Some((now, used));
        if used > limit {
            return Err(ConnectionDenied::new(MemoryShort { used, limit }));
        }
        Ok(())
    }
}

/// The resident set, from the line `VmRSS:  1234 kB` of `/proc/self/status`.
fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

impl NetworkBehaviour for MemoryGuard {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.check()
    }

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.check().map(|()| dummy::ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.check().map(|()| dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn connections_are_refused_above_the_limit_only() {
        let used = resident_bytes().expect("Linux tells");
        assert!(used > 0);
        assert!(MemoryGuard::new(None).check().is_ok());
        assert!(MemoryGuard::new(Some(u64::MAX)).check().is_ok());
        assert!(MemoryGuard::new(Some(1)).check().is_err());
    }
}
