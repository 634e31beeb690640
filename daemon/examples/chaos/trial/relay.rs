//! Links that can be made slow, silent or dead: one TCP relay for each ordered pair of nodes. Needs no privileges.
//!
//! Each node is told to listen over TCP alone and knows its peers only by the relays' addresses, so all that passes
//! between two nodes passes here. What goes from A to B waits as long as that way is slow, whoever of the two dialled.
//!
//! - A **silent** way loses nothing, as TCP loses nothing: what was sent arrives when the way is open again, because
//!   the sender's system repeats it until then. New connections come about only then as well.
//! - A **dead** way resets its connections, and refuses new ones.

use super::random::Random;
use anyhow::Context as _;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::Instant;

/// Bytes on the way in one direction of one connection: more than two systems' socket buffers hold.
const IN_FLIGHT: u32 = 8 * 1024 * 1024;
/// Bytes read at once.
const CHUNK: usize = 64 * 1024;
/// A way's delay varies by up to this part of it, in hundredths.
const JITTER_PERCENT: u64 = 10;

/// How it is to go from one node to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Everything arrives, this much later.
    Open(Duration),
    /// Nothing arrives for now.
    Silent,
    /// Connections are reset.
    Dead,
}

type Ways = BTreeMap<(usize, usize), watch::Sender<Way>>;

/// The relays between all nodes of a network.
pub(crate) struct Relay {
    ways: Ways,
    ports: BTreeMap<(usize, usize), u16>,
    carried: Arc<AtomicU64>,
    delay: fn(usize, usize) -> Duration,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Relay {
    /// Relays to the nodes that listen on these ports of loopback, all ways open with their delays.
    pub(crate) fn start(targets: &[u16], delay: fn(usize, usize) -> Duration, seed: u64) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let pairs = || (0..targets.len()).flat_map(|i| (0..targets.len()).map(move |j| (i, j))).filter(|(i, j)| i != j);
        let ways: Ways = pairs().map(|(i, j)| ((i, j), watch::Sender::new(Way::Open(delay(i, j))))).collect();
        let (mut ports, carried, mut random) = (BTreeMap::new(), Arc::new(AtomicU64::new(0)), Random::new(seed));
        for (i, j) in pairs() {
            let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
            ports.insert((i, j), listener.local_addr()?.port());
            let link = Link {
                target: SocketAddr::from((Ipv4Addr::LOCALHOST, targets[j])),
                there: ways.get(&(i, j)).context("a way")?.subscribe(),
                back: ways.get(&(j, i)).context("a way")?.subscribe(),
                carried: carried.clone(),
            };
            runtime.spawn(link.serve(listener, random.fork()));
        }
        Ok(Self { ways, ports, carried, delay, runtime: Some(runtime) })
    }

    /// The port at which node `i` reaches node `j`.
    pub(crate) fn port(&self, i: usize, j: usize) -> u16 {
        self.ports.get(&(i, j)).copied().unwrap_or_default()
    }

    /// Cuts every way between a node of `group` and one outside.
    pub(crate) fn part(&self, group: &[usize], how: Way) {
        for (_, way) in self.ways.iter().filter(|((i, j), _)| group.contains(i) != group.contains(j)) {
            way.send_replace(how);
        }
    }

    /// Opens every way again.
    pub(crate) fn heal(&self) {
        for ((i, j), way) in &self.ways {
            way.send_replace(Way::Open((self.delay)(*i, *j)));
        }
    }

    /// Bytes that have passed.
    pub(crate) fn carried(&self) -> u64 {
        self.carried.load(Ordering::Relaxed)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// From one node to another, and what comes back on the same connections.
#[derive(Clone)]
struct Link {
    target: SocketAddr,
    there: watch::Receiver<Way>,
    back: watch::Receiver<Way>,
    carried: Arc<AtomicU64>,
}

impl Link {
    async fn serve(self, listener: TcpListener, mut random: Random) {
        loop {
            // The system may be short of something for a moment.
            let Ok((stream, _)) = listener.accept().await else { continue };
            tokio::spawn(self.clone().connect(stream, random.fork()));
        }
    }

    async fn connect(mut self, from: TcpStream, mut random: Random) {
        // The handshake goes there and comes back before anything is sent.
        for way in [&mut self.there, &mut self.back] {
            let Some(delay) = open(way).await else { return };
            tokio::time::sleep(delay).await;
        }
        let Ok(to) = TcpStream::connect(self.target).await else { return };
        if from.set_nodelay(true).and_then(|()| to.set_nodelay(true)).is_err() {
            return;
        }
        let ((from_read, from_write), (to_read, to_write)) = (from.into_split(), to.into_split());
        let there = carry(from_read, to_write, self.there.clone(), self.carried.clone(), random.fork());
        let back = carry(to_read, from_write, self.back.clone(), self.carried.clone(), random.fork());
        let both = async { tokio::join!(there, back) };
        // Dropped halves close the connection, with a reset where something was still to be read.
        tokio::select! {
            _ = both => {}
            () = dead(self.there) => {}
            () = dead(self.back) => {}
        }
    }
}

/// Waits until the way is open, and says how slow it is; none if it is dead.
async fn open(way: &mut watch::Receiver<Way>) -> Option<Duration> {
    loop {
        match *way.borrow_and_update() {
            Way::Open(delay) => return Some(delay),
            Way::Dead => return None,
            Way::Silent => {}
        }
        way.changed().await.ok()?;
    }
}

async fn dead(mut way: watch::Receiver<Way>) {
    // An error says that the relay ends, and all its connections with it.
    let _ = way.wait_for(|way| *way == Way::Dead).await;
}

/// Carries bytes one way until their source ends.
async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut way: watch::Receiver<Way>,
    carried: Arc<AtomicU64>,
    mut random: Random,
) {
    let (sender, mut waiting) = mpsc::unbounded_channel::<(Instant, Vec<u8>, OwnedSemaphorePermit)>();
    // What bounds the channel.
    let room = Arc::new(Semaphore::new(IN_FLIGHT as usize));
    let read = async move {
        let mut buffer = vec![0; CHUNK];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            let Ok(permits) = u32::try_from(length) else { return };
            let Ok(permit) = room.clone().acquire_many_owned(permits).await else { return };
            let chunk = buffer.iter().take(length).copied().collect();
            if sender.send((Instant::now(), chunk, permit)).is_err() {
                return;
            }
        }
    };
    let write = async {
        while let Some((read_at, chunk, permit)) = waiting.recv().await {
            let Some(delay) = open(&mut way).await else { return };
            let jitter = delay * u32::try_from(random.next() % JITTER_PERCENT).unwrap_or(0) / 100;
            tokio::time::sleep_until(read_at + delay + jitter).await;
            // It may have been closed meanwhile.
            if open(&mut way).await.is_none() || to.write_all(&chunk).await.is_err() {
                return;
            }
            carried.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            drop(permit);
        }
        // The other direction may still have something to say.
        let _ = to.shutdown().await;
    };
    tokio::join!(read, write);
}
