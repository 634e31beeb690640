//! Keeps the configured peers connected.
//!
//! Each is dialled at the start and whenever it is lost, after a wait that doubles with each failure and starts anew
//! once the peer has shown itself to be one of our network. Addresses with `/p2p/<peer>` are grouped by peer and
//! dialled only while that peer is absent; an address without it stands for whoever answers there, so giving the
//! peer is better.

use std::time::Instant;

use libp2p::{
    Multiaddr, PeerId,
    multiaddr::Protocol,
    swarm::{
        ConnectionId,
        dial_opts::{DialOpts, PeerCondition},
    },
};

use super::constants::{REDIAL_FIRST, REDIAL_LAST};

/// The configured peers and how it goes with them.
#[derive(Debug)]
pub(super) struct Dialer {
    targets: Vec<Target>,
}

#[derive(Debug)]
struct Target {
    /// The peer that the configuration names.
    named: Option<PeerId>,
    /// Who answered last.
    seen: Option<PeerId>,
    /// Never empty.
    addresses: Vec<Multiaddr>,
    failures: u32,
    due: Instant,
    dialling: Option<ConnectionId>,
}

impl Target {
    fn is(&self, peer: &PeerId) -> bool {
        self.named.or(self.seen).as_ref() == Some(peer)
    }

    fn postpone(&mut self, now: Instant) {
        let doublings = self.failures.min(16);
        self.due = now + REDIAL_FIRST.saturating_mul(1 << doublings).min(REDIAL_LAST);
        self.failures = self.failures.saturating_add(1);
    }

    fn dial(&mut self) -> DialOpts {
        let dial = match self.named {
            Some(peer) => DialOpts::peer_id(peer)
                .condition(PeerCondition::DisconnectedAndNotDialing)
                .addresses(self.addresses.clone())
                .build(),
            None => DialOpts::from(self.addresses[0].clone()),
        };
        self.dialling = Some(dial.connection_id());
        dial
    }
}

impl Dialer {
    /// Is this peer one that the configuration names, or that answers where it says?
    pub(super) fn is_configured(&self, peer: &PeerId) -> bool {
        self.targets.iter().any(|target| target.is(peer))
    }

    /// All are due at once. An address that names ourselves is left out.
    pub(super) fn new(peers: &[Multiaddr], local: PeerId, now: Instant) -> Self {
        let mut targets: Vec<Target> = Vec::new();
        for address in peers {
            let named = named_peer(address);
            if named == Some(local) {
                continue;
            }
            let same = targets.iter_mut().find(|target| named.is_some() && target.named == named);
            match same {
                Some(target) => target.addresses.push(address.clone()),
                None => targets.push(Target {
                    named,
                    seen: None,
                    addresses: vec![address.clone()],
                    failures: 0,
                    due: now,
                    dialling: None,
                }),
            }
        }
        Dialer { targets }
    }

    /// The peers that the configuration names.
    pub(super) fn named(&self) -> impl Iterator<Item = PeerId> + '_ {
        self.targets.iter().filter_map(|target| target.named)
    }

    /// The dials to make now.
    pub(super) fn due(&mut self, now: Instant, is_connected: impl Fn(&PeerId) -> bool) -> Vec<DialOpts> {
        let absent = |target: &&mut Target| {
            let peer = target.named.or(target.seen);
            target.dialling.is_none() && target.due <= now && !peer.is_some_and(|peer| is_connected(&peer))
        };
        self.targets.iter_mut().filter(absent).map(Target::dial).collect()
    }

    pub(super) fn on_connected(&mut self, connection: ConnectionId, peer: PeerId) {
        for target in &mut self.targets {
            if target.dialling == Some(connection) {
                target.dialling = None;
                target.seen = Some(peer);
            }
        }
    }

    /// The peer says where it listens: one of our addresses may be its own, though it was the peer that dialled.
    pub(super) fn on_identified(&mut self, peer: PeerId, listens: &[Multiaddr]) {
        for target in self.targets.iter_mut().filter(|target| target.named.is_none()) {
            if target.addresses.iter().any(|address| listens.contains(address)) {
                target.seen = Some(peer);
            }
        }
    }

    /// The peer belongs to our network: its next loss is a first failure again.
    pub(super) fn on_ready(&mut self, peer: &PeerId) {
        for target in self.targets.iter_mut().filter(|target| target.is(peer)) {
            target.failures = 0;
        }
    }

    pub(super) fn on_dial_failed(&mut self, connection: ConnectionId, now: Instant) {
        for target in &mut self.targets {
            if target.dialling == Some(connection) {
                target.dialling = None;
                target.postpone(now);
            }
        }
    }

    pub(super) fn on_lost(&mut self, peer: &PeerId, now: Instant) {
        for target in self.targets.iter_mut().filter(|target| target.is(peer)) {
            target.postpone(now);
        }
    }

    /// The address leads back to ourselves: it is of no use.
    pub(super) fn on_own_address(&mut self, connection: ConnectionId) {
        self.targets.retain(|target| target.dialling != Some(connection));
    }
}

fn named_peer(address: &Multiaddr) -> Option<PeerId> {
    address.iter().find_map(|part| match part {
        Protocol::P2p(peer) => Some(peer),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn address(port: u16, peer: Option<PeerId>) -> Multiaddr {
        let address: Multiaddr = format!("/ip4/127.0.0.1/tcp/{port}").parse().expect("an address");
        match peer {
            Some(peer) => address.with(Protocol::P2p(peer)),
            None => address,
        }
    }

    #[test]
    fn waits_double_up_to_their_bound_and_start_anew_with_a_ready_peer() {
        let (peer, start) = (PeerId::random(), Instant::now());
        let mut dialer = Dialer::new(&[address(1, Some(peer))], PeerId::random(), start);
        let mut now = start;
        let mut waits = Vec::new();
        for _ in 0..9 {
            let dials = dialer.due(now, |_| false);
            assert_eq!(dials.len(), 1);
            assert!(dialer.due(now, |_| false).is_empty(), "one dial at a time");
            dialer.on_dial_failed(dials[0].connection_id(), now);
            let failed = now;
            while dialer.due(now, |_| true).is_empty() && dialer.targets[0].due > now {
                now += Duration::from_millis(50);
            }
            waits.push((now - failed).as_millis());
        }
        assert_eq!(waits, [250, 500, 1000, 2000, 4000, 8000, 15_000, 15_000, 15_000]);
        let dials = dialer.due(now, |_| false);
        dialer.on_connected(dials[0].connection_id(), peer);
        dialer.on_ready(&peer);
        dialer.on_lost(&peer, now);
        assert_eq!(dialer.targets[0].due, now + REDIAL_FIRST);
    }

    #[test]
    fn addresses_are_grouped_by_peer_and_a_present_peer_is_left_alone() {
        let (peer, local, now) = (PeerId::random(), PeerId::random(), Instant::now());
        let peers = [address(1, Some(peer)), address(2, Some(peer)), address(3, Some(local)), address(4, None)];
        let mut dialer = Dialer::new(&peers, local, now);
        assert_eq!(dialer.named().collect::<Vec<_>>(), [peer]);
        assert_eq!(dialer.due(now, |present| *present == peer).len(), 1, "the unnamed one");
        assert_eq!(dialer.due(now, |_| false).len(), 1, "the named one");
    }

    #[test]
    fn an_address_that_is_our_own_is_dropped() {
        let now = Instant::now();
        let mut dialer = Dialer::new(&[address(1, None)], PeerId::random(), now);
        let dials = dialer.due(now, |_| false);
        dialer.on_own_address(dials[0].connection_id());
        assert!(dialer.due(now + REDIAL_LAST, |_| false).is_empty());
    }
}
