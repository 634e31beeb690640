//! Connections of the API. Whoever holds one must use it:
//!
//! - so many at once; further ones wait in the system's queue;
//! - the head of a request must come in time, and a connection between two requests ends as fast;
//! - an answer of which nothing is taken for a while ends with its connection.

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::future::Future as _;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;

/// How long nothing is accepted after the system refused, as it does where files run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// What connections may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Connections at once.
    pub(super) connections: u32,
    /// How long the head of a request may take, and the wait for it.
    pub(super) head: Duration,
    /// How long nobody may take anything of an answer.
    pub(super) write: Duration,
}

/// Each connection has a file; nodes raise their limit to what the system allows.
pub(super) const LIMITS: Limits =
    Limits { connections: 1024, head: Duration::from_secs(30), write: Duration::from_secs(30) };

/// Serves connections until told to stop, and then until those that are open have ended.
pub(super) async fn serve(listener: TcpListener, router: Router, limits: Limits, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(limits.connections as usize));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        match accepted {
            Ok((stream, place)) => {
                tokio::spawn(connection(stream, place, router.clone(), limits, stop.clone()));
            }
            Err(error) => {
                tracing::warn!("no API connection can be accepted: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    // All places are free when all connections have ended.
    let _ = places.acquire_many(limits.connections).await;
}

async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, place))
}

async fn connection(
    stream: TcpStream,
    _place: OwnedSemaphorePermit,
    router: Router,
    limits: Limits,
    stop: CancellationToken,
) {
    let io = TokioIo::new(Patient { stream, within: limits.write, stalled: None });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(limits.head);
    let mut serving = pin!(builder.serve_connection(io, TowerToHyperService::new(router)));
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!("an API connection ended: {error}");
    }
}

/// A stream whose writes end with an error when the other side takes nothing for so long.
struct Patient {
    stream: TcpStream,
    within: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    fn written<T>(&mut self, context: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.stalled = None;
            return result;
        }
        let within = self.within;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(within)));
        ready!(stalled.as_mut().poll(context));
        let reason = format!("nothing of the answer was taken for {} seconds", within.as_secs());
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, reason)))
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.written(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
    const SOON: Duration = Duration::from_secs(10);

    async fn start(connections: u32, stop: &CancellationToken) -> std::net::SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let large = || async { vec![0_u8; 64 << 20] };
        let router = Router::new().route("/", get(|| async { "here" })).route("/large", get(large));
        let limits = Limits { connections, head: Duration::from_millis(300), write: Duration::from_millis(300) };
        tokio::spawn(serve(listener, router, limits, stop.clone()));
        address
    }

    /// All that comes until the other side closes.
    async fn to_the_end(stream: &mut TcpStream) -> usize {
        let mut bytes = Vec::new();
        // Whether it ends in order or is cut off is no matter.
        let _ = tokio::time::timeout(SOON, stream.read_to_end(&mut bytes)).await.expect("the node closes it");
        bytes.len()
    }

    #[tokio::test]
    async fn whoever_says_nothing_loses_the_place_to_the_next() {
        let stop = CancellationToken::new();
        let address = start(2, &stop).await;
        let mut silent = [TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap()];
        silent[1].write_all(b"GET / HTTP/1.1\r\nhost:").await.unwrap();
        let mut third = TcpStream::connect(address).await.unwrap();
        third.write_all(REQUEST).await.unwrap();
        let mut answer = [0; 12];
        tokio::time::timeout(SOON, third.read_exact(&mut answer)).await.expect("it gets a place").unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
        for stream in &mut silent {
            to_the_end(stream).await;
        }
    }

    #[tokio::test]
    async fn connections_beyond_the_limit_wait() {
        let stop = CancellationToken::new();
        let address = start(1, &stop).await;
        let mut first = TcpStream::connect(address).await.unwrap();
        first.write_all(b"GET").await.unwrap();
        let mut second = TcpStream::connect(address).await.unwrap();
        second.write_all(REQUEST).await.unwrap();
        let early = tokio::time::timeout(Duration::from_millis(100), second.read_u8()).await;
        assert!(early.is_err(), "it is not served while another has the only place");
        drop(first);
        assert_eq!(tokio::time::timeout(SOON, second.read_u8()).await.expect("it is served").unwrap(), b'H');
    }

    #[tokio::test]
    async fn an_answer_that_nobody_takes_ends() {
        let stop = CancellationToken::new();
        let address = start(1, &stop).await;
        let mut idle = TcpStream::connect(address).await.unwrap();
        idle.write_all(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        tokio::time::sleep(Duration::from_millis(900)).await;
        assert!(to_the_end(&mut idle).await < 64 << 20, "the rest was not kept for it");
    }

    #[tokio::test]
    async fn it_ends_when_told_to() {
        let stop = CancellationToken::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut open = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let serving = tokio::spawn(serve(listener, Router::new(), LIMITS, stop.clone()));
        open.write_all(REQUEST).await.unwrap();
        assert_eq!(open.read_u8().await.unwrap(), b'H');
        stop.cancel();
        tokio::time::timeout(SOON, serving).await.expect("it ends").unwrap();
    }
}
