//! The front door: accepts connections, reads the first request's head itself, serves WebSockets and event streams
//! natively, and hands everything else to hyper.
//!
//! A connection that hyper has served keeps 18 to 31 KB for its life; one that is served from here keeps nothing but
//! its session.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use denrei_hub::ShardHandle;
use denrei_proto::codes::Code;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tower::ServiceExt;

use crate::app::{App, Open};
use crate::link::with_scratch;
use crate::refusal::Refusal;
use crate::socketio::channel::Arrival;
use crate::transport::{sse, websocket};

mod head;
mod rewind;

use head::First;
pub(crate) use rewind::Rewind;

/// Where the connections of a shard are served: on the runtime that its [`denrei_hub::Shard`] runs on.
#[derive(Clone, Debug)]
pub struct Place {
    /// The shard.
    pub shard: ShardHandle,
    /// Its runtime.
    pub runtime: Handle,
}

/// What every accepted connection needs.
#[derive(Clone)]
struct Door {
    app: Arc<App>,
    router: Router,
}

/// Accepts until the server stops.
pub(crate) async fn accept(app: Arc<App>, router: Router, listener: TcpListener, places: Vec<Place>) {
    let door = Arc::new(Door { app, router });
    // Its clones are the connections of a place: a shard knows of those only that have become sessions.
    let places: Vec<_> = places.into_iter().map(|place| (place, Arc::new(()))).collect();
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
    let Some(open) = door.app.admit_at(Some(load)) else {
        let full = Refusal::later(Code::TooManyConnections, "the server has as many connections as it may");
        return refuse(&stream, &head::response(&full, &[])).await;
    };
    // Boxed parts: the future of an idle session is the size of its largest part.
    let head_time = door.app.config.limits.head;
    let first = Box::pin(async {
        tokio::select! {
            biased;
            first = tokio::time::timeout(head_time, first(&door.app, &stream, from)) => first,
            // A client that has not asked for anything is owed nothing.
            () = door.app.stopped() => Ok(Err(io::ErrorKind::ConnectionAborted.into())),
        }
    })
    .await;
    match first {
        // A task of its own: this one has grown by what came before.
        Ok(Ok(First::WebSocket(opening, early))) => {
            tokio::spawn(websocket::serve_socket(open, stream, &shard, *opening, early));
        }
        Ok(Ok(First::Sse(opening, cors))) => {
            tokio::spawn(sse::serve_socket(open, stream, &shard, *opening, &cors));
        }
        Ok(Ok(First::SocketIo(upgrade, early))) => {
            let before = upgrade.agreed.response();
            upgrade.arrive(open, before, Arrival::Socket(stream, early), &shard);
        }
        Ok(Ok(First::Refused(response))) => refuse(&stream, &response).await,
        Ok(Ok(First::Other(prefix))) => {
            let body_time = door.app.config.limits.body;
            Box::pin(serve_http(door, Rewind::new(prefix, stream, body_time), from, open)).await;
        }
        // Gone, too slow to say what it wants, or too late.
        Ok(Err(_)) | Err(_) => {}
    }
}

/// Reads the first request's head and decides what it is.
async fn first(app: &App, stream: &TcpStream, from: SocketAddr) -> io::Result<First> {
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
                let first = head::decide(app, &scratch[..read], from.ip());
                if first.is_none() {
                    arrived.extend_from_slice(&scratch[..read]);
                }
                return Ok(first);
            }
            arrived.extend_from_slice(&scratch[..read]);
            io::Result::Ok(head::decide(app, &arrived, from.ip()))
        });
        if let Some(first) = step? {
            return Ok(first);
        }
    }
}

/// Answers, and closes when the peer has had the time to read it.
async fn refuse(stream: &TcpStream, response: &[u8]) {
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

/// Serves HTTP/1.1, or HTTP/2 with prior knowledge, until the peer goes or the server stops.
async fn serve_http(door: Arc<Door>, stream: Rewind, from: SocketAddr, open: Open) {
    let head_time = door.app.config.limits.head;
    let router = door.router.clone();
    let service = hyper::service::service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(ConnectInfo(from));
        // A WebSocket takes it over.
        request.extensions_mut().insert(open.clone());
        router.clone().oneshot(request.map(axum::body::Body::new))
    });
    let outcome = if stream.is_http2() {
        let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(20))
            .max_concurrent_streams(128)
            .max_header_list_size(head::LONGEST as u32)
            .initial_stream_window_size(64 * 1024)
            .initial_connection_window_size(256 * 1024);
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            outcome = connection.as_mut() => outcome,
            () = door.app.stopped() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    } else {
        let mut builder = hyper::server::conn::http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(head_time).max_buf_size(head::LONGEST);
        let connection = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            outcome = connection.as_mut() => outcome,
            () = door.app.stopped() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "an HTTP connection ended badly");
    }
}

#[cfg(test)]
mod tests;
