//! The front door: accepts connections, agrees on keys where the listener has TLS, reads the first request's head itself,
//! serves WebSockets and event streams natively, and hands everything else to hyper.
//!
//! A connection that hyper has served keeps 18 to 31 KB for its life; one that is served from here keeps nothing but
//! its session.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use denrei_hub::ShardHandle;
use futures_util::future::join_all;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_rustls::server::TlsStream;

use crate::app::{App, Open};
use crate::link::{Link, with_scratch};
use crate::refusal::Refusal;
use crate::socketio::channel::Arrival;
use crate::tls::{self, Tls};
use crate::transport::{sse, websocket};

mod head;
mod http;
mod rewind;

use head::First;
pub(crate) use http::serve_operators;
pub(crate) use rewind::Rewind;

/// Where the connections of a shard are served: on the runtime that its [`denrei_hub::Shard`] runs on.
#[derive(Clone, Debug)]
pub struct Place {
    /// The shard.
    pub shard: ShardHandle,
    /// Its runtime.
    pub runtime: Handle,
}

/// Where connections come from: a socket that listens, in the clear or with TLS.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    pub(crate) tls: Option<Tls>,
}

impl Listener {
    /// One whose clients speak TLS.
    pub fn tls(socket: TcpListener, tls: Tls) -> Self {
        Self { socket, tls: Some(tls) }
    }
}

impl From<TcpListener> for Listener {
    fn from(socket: TcpListener) -> Self {
        Self { socket, tls: None }
    }
}

/// What every accepted connection needs.
struct Door {
    app: Arc<App>,
    router: Router,
    tls: Option<Tls>,
    /// Bounds how many are listened to after a no, so that they read it.
    farewells: Semaphore,
}

/// Who is at the other end of a connection.
#[derive(Clone, Copy)]
struct Peer {
    address: SocketAddr,
    secure: Secure,
}

/// Whether a connection is read by nobody on its way, as far as this server can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Secure {
    Yes,
    No,
}

/// Connections that are being told that they cannot be served; those above it are dropped without a word.
const FAREWELLS: usize = 256;

/// Accepts from all listeners until the server stops.
pub(crate) async fn accept(app: Arc<App>, router: Router, listeners: Vec<Listener>, places: Vec<Place>) {
    // Its clones are the connections of a place: a shard knows of those only that have become sessions.
    let places: Vec<_> = places.into_iter().map(|place| (place, Arc::new(()))).collect();
    let accepting = listeners.into_iter().map(|Listener { socket, tls }| {
        let (app, router, farewells) = (Arc::clone(&app), router.clone(), Semaphore::new(FAREWELLS));
        accept_from(socket, Arc::new(Door { app, router, tls, farewells }), &places)
    });
    join_all(accepting).await;
}

async fn accept_from(listener: TcpListener, door: Arc<Door>, places: &[(Place, Arc<()>)]) {
    // Nagle's algorithm made peers stall at 57 ms: writes are joined here, and sent at once. Linux hands the option down
    // from the listener, which saves every connection a call.
    let inherited = SockRef::from(&listener).set_tcp_nodelay(true).is_ok() && cfg!(target_os = "linux");
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = door.app.stopped() => return,
        };
        match accepted {
            Ok((stream, from)) => {
                let least = places.iter().min_by_key(|(_, load)| Arc::strong_count(load));
                let (place, load) = least.expect("a server has at least one place");
                let ready = if inherited { Ok(()) } else { stream.set_nodelay(true) };
                if let Err(error) = ready.and_then(|()| hand_over(&door, stream, from, place, load)) {
                    tracing::debug!(%error, "a connection was lost before it was served");
                }
            }
            Err(error) if is_the_peers(&error) => {}
            Err(error) => {
                // Out of files, most likely: the listener stays readable, and asking again at once would spin.
                tracing::warn!(%error, "no connection can be accepted now");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

fn is_the_peers(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Has a connection served where its shard runs, so that both are on one core.
fn hand_over(door: &Arc<Door>, stream: TcpStream, from: SocketAddr, place: &Place, load: &Arc<()>) -> io::Result<()> {
    let (door, shard, load) = (Arc::clone(door), place.shard.clone(), Arc::clone(load));
    if place.runtime.id() == Handle::current().id() {
        place.runtime.spawn(serve(door, stream, from, shard, load));
    } else {
        let stream = stream.into_std()?;
        place.runtime.spawn(async move {
            if let Ok(stream) = TcpStream::from_std(stream) {
                serve(door, stream, from, shard, load).await;
            }
        });
    }
    Ok(())
}

async fn serve(door: Arc<Door>, stream: TcpStream, from: SocketAddr, shard: ShardHandle, load: Arc<()>) {
    let counted = |refusal: &Refusal| door.app.metrics.admission.count(refusal.code);
    let open = match door.app.admit_from(from.ip(), load).inspect_err(counted) {
        Ok(open) => open,
        // In TLS it could not be said before a handshake, which is what is to be spared.
        Err(_) if door.tls.is_some() => return,
        Err(refusal) => return refuse(&door, &stream, &head::response(&refusal, &[])).await,
    };
    match &door.tls {
        None => serve_plain(&door, stream, from, shard, open).await,
        Some(tls) => Box::pin(serve_tls(&door, tls, stream, from, shard, open)).await,
    }
}

async fn serve_plain(door: &Arc<Door>, stream: TcpStream, address: SocketAddr, shard: ShardHandle, open: Open) {
    let peer = Peer { address, secure: Secure::No };
    // Boxed parts: the future of an idle session is the size of its largest part.
    match Box::pin(in_time(&door.app, first(&door.app, &stream, peer))).await {
        // A task of its own: this one has grown by what came before.
        Ok(First::WebSocket(opening, early)) => {
            tokio::spawn(websocket::serve_socket(open, stream, &shard, *opening, early));
        }
        Ok(First::Sse(opening, cors)) => {
            tokio::spawn(sse::serve_socket(open, stream, &shard, *opening, &cors));
        }
        Ok(First::SocketIo(upgrade, early)) => {
            let before = upgrade.agreed.response();
            upgrade.arrive(open, before, Arrival::Socket(stream, early), &shard);
        }
        Ok(First::Refused(response)) => refuse(door, &stream, &response).await,
        Ok(First::Other(prefix)) => {
            let http2 = prefix.starts_with(b"PRI ");
            let stream = Rewind::new(prefix, stream, door.app.limits().body);
            Box::pin(http::serve(door, stream, peer, open, http2)).await;
        }
        // Gone, too slow to say what it wants, or too late.
        Err(_) => {}
    }
}

async fn serve_tls(
    door: &Arc<Door>,
    tls: &Tls,
    stream: TcpStream,
    address: SocketAddr,
    shard: ShardHandle,
    open: Open,
) {
    let app = &door.app;
    let peer = Peer { address, secure: Secure::Yes };
    let agreeing = async {
        // The first byte of a handshake (RFC 8446 §5.1). Who speaks HTTP here has got the scheme wrong, and is told so.
        let mut first = [0];
        if stream.peek(&mut first).await? > 0 && first != [22] {
            return Ok(Err(stream));
        }
        tls.accept(stream).await.map(Ok)
    };
    let mut stream = match in_time(app, agreeing).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(stream)) => return refuse(door, &stream, &head::not_tls()).await,
        Err(error) => return tracing::debug!(%error, "a client did not agree on TLS"),
    };
    let patience = app.limits().body;
    if tls::is_http2(&stream) {
        return http::serve(door, Rewind::new(Vec::new(), stream, patience), peer, open, true).await;
    }
    let plainly = |stream, early| Link::foreign(stream, early, Box::new(|bytes| bytes));
    match in_time(app, first_of_tls(app, &mut stream, peer)).await {
        Ok(First::WebSocket(opening, early)) => {
            tokio::spawn(websocket::serve_stream(open, plainly(stream, early), &shard, *opening));
        }
        Ok(First::Sse(opening, cors)) => {
            tokio::spawn(sse::serve_tls(open, stream, &shard, *opening, &cors));
        }
        Ok(First::SocketIo(upgrade, early)) => {
            let before = upgrade.agreed.response();
            upgrade.arrive(open, before, Arrival::Stream(plainly(stream, early)), &shard);
        }
        Ok(First::Refused(response)) => {
            let farewell = async {
                stream.write_all(&response).await?;
                stream.shutdown().await
            };
            // Whether the peer took it or not, the connection ends.
            let _ = tokio::time::timeout(Duration::from_secs(2), farewell).await;
        }
        Ok(First::Other(prefix)) => {
            http::serve(door, Rewind::new(prefix, stream, patience), peer, open, false).await;
        }
        Err(_) => {}
    }
}

/// Bounds what a connection does before it has asked for something: it is owed nothing yet.
async fn in_time<T>(app: &App, first: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let patience = app.limits().head;
    tokio::select! {
        biased;
        first = tokio::time::timeout(patience, first) => first.map_err(io::Error::from)?,
        () = app.stopped() => Err(io::ErrorKind::ConnectionAborted.into()),
    }
}

/// Reads the first request's head and decides what it is.
async fn first(app: &App, stream: &TcpStream, peer: Peer) -> io::Result<First> {
    let mut arrived = Vec::new();
    loop {
        stream.readable().await?;
        let step = with_scratch(|scratch| {
            let read = match stream.try_read(scratch) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                read => read?,
            };
            if arrived.is_empty() {
                let first = head::decide(app, &scratch[..read], peer);
                if first.is_none() {
                    arrived.extend_from_slice(&scratch[..read]);
                }
                return Ok(first);
            }
            arrived.extend_from_slice(&scratch[..read]);
            io::Result::Ok(head::decide(app, &arrived, peer))
        });
        if let Some(first) = step? {
            return Ok(first);
        }
    }
}

/// The same of a TLS stream.
async fn first_of_tls(app: &App, stream: &mut TlsStream<TcpStream>, peer: Peer) -> io::Result<First> {
    let mut arrived = Vec::with_capacity(2048);
    loop {
        if stream.read_buf(&mut arrived).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(first) = head::decide(app, &arrived, peer) {
            return Ok(first);
        }
    }
}

/// Answers, and closes when the peer has had the time to read it; at once when many are being told a no.
async fn refuse(door: &Door, stream: &TcpStream, response: &[u8]) {
    let Ok(_permit) = door.farewells.try_acquire() else { return };
    let farewell = async {
        let mut rest = response;
        while !rest.is_empty() {
            stream.writable().await?;
            match stream.try_write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        SockRef::from(stream).shutdown(std::net::Shutdown::Write)?;
        loop {
            stream.readable().await?;
            match with_scratch(|scratch| stream.try_read(scratch)) {
                Ok(0) => return Ok(()),
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return io::Result::Err(error),
                _ => {}
            }
        }
    };
    // Whether the peer took it or not, the connection ends.
    let _ = Box::pin(tokio::time::timeout(Duration::from_secs(2), farewell)).await;
}

#[cfg(test)]
mod tests;
