//! WebSockets and event streams of clients that come through hyper: a later request of a connection, HTTP/2, or an
//! application's own server.

use std::sync::Arc;

use axum::Extension;
use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use denrei_proto::codes::Code;
use http::StatusCode;
use http::header::{CONNECTION, HeaderName, HeaderValue, UPGRADE};
use http::request::Parts;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_util::io::ReaderStream;

use crate::app::{App, Open};
use crate::facts::Facts;
use crate::front::Rewind;
use crate::identity::Identity;
use crate::link::Link;
use crate::refusal::Refusal;
use crate::transport::{sse, websocket};

/// `GET /ws`
pub(super) async fn websocket(
    State(app): State<Arc<App>>,
    Extension(identity): Extension<Identity>,
    request: Request,
) -> Response {
    let (mut parts, body) = request.into_parts();
    if !body.is_end_stream() {
        // hyper would hand the body over as the first frames.
        return Refusal::new(Code::InvalidMessage, "a request for a WebSocket has no body").into_response();
    }
    let mut opening = match websocket::open(&app, &Facts::of(&parts), identity) {
        Ok(opening) => opening,
        Err(error) => {
            let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::BAD_REQUEST);
            let refusal = Refusal::new(Code::InvalidMessage, error.sentence);
            return (status, error.header.map(|header| [header]), refusal.body()).into_response();
        }
    };
    if app.is_stopping() {
        return stopping();
    }
    let Some(upgrade) = parts.extensions.remove::<OnUpgrade>() else {
        return Refusal::new(Code::InvalidMessage, "this connection cannot become a WebSocket").into_response();
    };
    let Some(open) = take_over(&app, &mut parts) else { return full(&app) };
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
    response.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
    for (name, value) in opening.headers() {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    // hyper has sent the answer when the upgrade comes.
    opening.announced = true;
    tokio::spawn(async move {
        match upgrade.await {
            Ok(upgraded) => serve(open, upgraded, opening).await,
            Err(error) => tracing::debug!(%error, "a connection was lost before it became a WebSocket"),
        }
    });
    response
}

/// What an upgraded connection counts as: the front door has counted it, and for hyper it is about to end. One that an
/// application's own server has accepted is counted from now on; none when there are as many as there may be.
pub(super) fn take_over(app: &Arc<App>, parts: &mut Parts) -> Option<Open> {
    let open = parts.extensions.remove::<Open>().filter(|open| Arc::ptr_eq(open.app(), app));
    open.or_else(|| app.admit())
}

/// What hyper gives up.
pub(super) enum Unwrapped {
    /// A TCP socket, and bytes that were read behind the request.
    Socket(TcpStream, Vec<u8>),
    /// Anything else.
    Stream(Link),
}

/// Takes a plain socket out of hyper's hands: it costs what a native one costs.
pub(super) fn unwrap(upgraded: Upgraded) -> Unwrapped {
    let upgraded = match upgraded.downcast::<TokioIo<Rewind<TcpStream>>>() {
        Ok(parts) => {
            let (socket, mut early) = parts.io.into_inner().into_parts();
            early.splice(0..0, parts.read_buf);
            return Unwrapped::Socket(socket, early);
        }
        Err(upgraded) => upgraded,
    };
    let upgraded = match upgraded.downcast::<TokioIo<Rewind<TlsStream<TcpStream>>>>() {
        Ok(parts) => {
            let (stream, mut early) = parts.io.into_inner().into_parts();
            early.splice(0..0, parts.read_buf);
            return Unwrapped::Stream(Link::foreign(stream, early, Box::new(|bytes| bytes)));
        }
        Err(upgraded) => upgraded,
    };
    // `axum::serve` takes connections through hyper-util, which wraps them in a type of its own.
    let upgraded = match auto::upgrade::downcast::<TokioIo<TcpStream>>(upgraded) {
        Ok(parts) => return Unwrapped::Socket(parts.io.into_inner(), parts.read_buf.to_vec()),
        Err(upgraded) => upgraded,
    };
    match upgraded.downcast::<TokioIo<TcpStream>>() {
        Ok(parts) => Unwrapped::Socket(parts.io.into_inner(), parts.read_buf.to_vec()),
        Err(upgraded) => Unwrapped::Stream(Link::foreign(TokioIo::new(upgraded), Vec::new(), Box::new(|bytes| bytes))),
    }
}

async fn serve(open: Open, upgraded: Upgraded, opening: websocket::Opening) {
    let shard = open.app().hub.shard().clone();
    match unwrap(upgraded) {
        Unwrapped::Socket(socket, early) => websocket::serve_socket(open, socket, &shard, opening, early).await,
        Unwrapped::Stream(link) => websocket::serve_stream(open, link, &shard, opening).await,
    }
}

/// `GET /sse`
pub(super) async fn sse(
    State(app): State<Arc<App>>,
    Extension(identity): Extension<Identity>,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    stream(&app, identity, &Facts::of(&parts))
}

/// Answers with an event stream.
pub(super) fn stream(app: &Arc<App>, identity: Identity, facts: &Facts<'_>) -> Response {
    if app.is_stopping() {
        return stopping();
    }
    let opening = match sse::open(app, facts, identity) {
        Ok(opening) => opening,
        Err(refusal) => return refusal.into_response(),
    };
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let Some(open) = app.admit() else { return full(app) };
    tokio::spawn(sse::serve_stream(open, ours, opening));
    let mut response = (sse::HEADERS, Body::from_stream(ReaderStream::new(theirs))).into_response();
    if facts.minor_version < 2 {
        // Connection-specific fields are errors in HTTP/2 (RFC 9113 §8.2.2).
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("keep-alive"));
    }
    response
}

fn full(app: &App) -> Response {
    app.metrics.admission.count(Code::TooManyConnections);
    Refusal::later(Code::TooManyConnections, "the server has as many connections as it may").into_response()
}

fn stopping() -> Response {
    Refusal::later(Code::ShuttingDown, "the server is about to stop").into_response()
}

#[cfg(test)]
mod tests;
