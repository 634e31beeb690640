//! Each node in a network namespace of its own, joined by a bridge, as machines by a switch: partitions are made by
//! taking links away, and where the system has `tc netem`, what a node sends is late.
//!
//! A node has two links: one to the bridge, for its peers, and one straight to us, for its API: so we see a node that
//! nobody else reaches. Needs the right to make namespaces; scripts/chaos gives a network namespace of our own, so that
//! nothing of the machine's network is touched and nothing is left behind.

use super::net::{before_start, configure};
use anyhow::Context as _;
use daemon::config::Config;
use daemon::devnet::Devnet;
use daemon::keys::dev_seed;
use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

/// The bridge that all nodes are at, and the one that a part of them is moved to.
const BRIDGES: [&str; 2] = ["tribbr0", "tribbr1"];

/// The namespaces of a network. They go when this does.
pub(crate) struct Namespaces {
    nodes: usize,
    /// Why what is sent is not late, if it should be.
    not_late: Option<String>,
}

fn space(i: usize) -> String {
    format!("trib{i}")
}

/// A node's address for its peers.
fn address(i: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, u8::try_from(i + 1).unwrap_or(u8::MAX))
}

/// The two ends of the link for a node's API: ours, and its own.
fn control(i: usize) -> [Ipv4Addr; 2] {
    [1, 2].map(|end| Ipv4Addr::new(10, 78, u8::try_from(i).unwrap_or(u8::MAX), end))
}

/// Runs `ip` or `tc`; the error is what it said.
fn run(program: &str, words: &str) -> anyhow::Result<()> {
    let output = Command::new(program).args(words.split(' ')).output();
    let output = output.with_context(|| format!("{program} (iproute2) is not there"))?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    anyhow::ensure!(output.status.success(), "{program} {words}: {said}");
    Ok(())
}

fn ip(words: &str) -> anyhow::Result<()> {
    run("ip", words)
}

impl Namespaces {
    /// Is it allowed here? The error says why not. Tried by making one.
    pub(crate) fn allowed() -> anyhow::Result<()> {
        ip("netns add tribtry")?;
        ip("netns del tribtry")
    }

    /// Makes them for a devnet that has not started, and moves its nodes there.
    pub(crate) fn make(devnet: &Devnet, delay: Duration) -> anyhow::Result<Self> {
        Self::allowed().context("no network namespaces here")?;
        let mut spaces = Self { nodes: devnet.len(), not_late: None };
        for bridge in BRIDGES {
            ip(&format!("link add {bridge} type bridge"))?;
            ip(&format!("link set {bridge} up"))?;
        }
        // For the listener and the hostile peer, who are here.
        ip(&format!("address add 10.77.0.254/24 dev {}", BRIDGES[0]))?;
        for i in 0..devnet.len() {
            let (space, [ours, its]) = (space(i), control(i));
            ip(&format!("netns add {space}"))?;
            ip(&format!("link add tribp{i} type veth peer name peers netns {space}"))?;
            ip(&format!("link add tribc{i} type veth peer name api netns {space}"))?;
            ip(&format!("link set tribp{i} master {} up", BRIDGES[0]))?;
            ip(&format!("address add {ours}/30 dev tribc{i}"))?;
            ip(&format!("link set tribc{i} up"))?;
            ip(&format!("-n {space} address add {}/24 dev peers", address(i)))?;
            ip(&format!("-n {space} address add {its}/30 dev api"))?;
            ["lo", "peers", "api"].iter().try_for_each(|link| ip(&format!("-n {space} link set {link} up")))?;
            if !delay.is_zero() {
                let netem = format!("-n {space} qdisc add dev peers root netem delay {}us", delay.as_micros());
                if let Err(error) = run("tc", &netem) {
                    spaces.not_late = Some(format!("{error:#}"));
                }
            }
            before_start(devnet, i, "under", &format!("ip netns exec {space}"))?;
        }
        move_in(devnet)?;
        Ok(spaces)
    }

    /// What is not as it was asked for.
    pub(crate) fn note(&self) -> Option<String> {
        let why = self.not_late.as_ref()?;
        Some(format!("NO LATENCY between these namespaces, only partitions: this system has no netem ({why})"))
    }

    /// Moves a group's links to the other bridge.
    pub(crate) fn part(&self, group: &[usize]) -> anyhow::Result<()> {
        group.iter().try_for_each(|i| ip(&format!("link set tribp{i} master {}", BRIDGES[1])))
    }

    /// Moves all back.
    pub(crate) fn heal(&self) -> anyhow::Result<()> {
        (0..self.nodes).try_for_each(|i| ip(&format!("link set tribp{i} master {}", BRIDGES[0])))
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        // What is not there needs no removal. Links go with their namespaces.
        for i in 0..self.nodes {
            let _ = ip(&format!("netns del {}", space(i)));
        }
        for bridge in BRIDGES {
            let _ = ip(&format!("link del {bridge}"));
        }
    }
}

/// Rewrites the nodes' addresses from loopback to their own.
fn move_in(devnet: &Devnet) -> anyhow::Result<()> {
    let listens = |i: usize| -> anyhow::Result<Vec<Multiaddr>> {
        let config = Config::load(devnet.home(i), [], &[])?;
        let own = |part| if matches!(part, Protocol::Ip4(_)) { Protocol::Ip4(address(i)) } else { part };
        Ok(config.network.listen.iter().map(|listen| listen.iter().map(own).collect()).collect())
    };
    let all: Vec<Vec<Multiaddr>> = (0..devnet.len()).map(listens).collect::<anyhow::Result<_>>()?;
    let named = |(j, addresses): (usize, &Vec<Multiaddr>)| -> Vec<Multiaddr> {
        let id = dev_seed(devnet.network(), &format!("{}/node", devnet.name(j))).node_keypair().public().to_peer_id();
        addresses.iter().map(|address| address.clone().with(Protocol::P2p(id))).collect()
    };
    for (i, listen) in all.iter().enumerate() {
        let others = all.iter().enumerate().filter(|(j, _)| *j != i);
        let (peers, [_, its]) = (others.flat_map(named).collect(), control(i));
        configure(devnet, i, |config| {
            config.network.listen.clone_from(listen);
            config.network.peers = peers;
            config.api.listen = SocketAddr::from((its, config.api.listen.port()));
        })?;
    }
    Ok(())
}
