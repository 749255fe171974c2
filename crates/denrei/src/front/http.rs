//! Connections that hyper serves.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use http::header::{CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use hyper::ext::Protocol;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tower::ServiceExt;

use super::{Door, Peer, Rewind, head};
use crate::app::{App, Open};

/// Serves HTTP/1.1 or HTTP/2 until the peer goes or the server stops.
pub(super) async fn serve<S>(door: &Arc<Door>, stream: Rewind<S>, peer: Peer, open: Open, http2: bool)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let app = &door.app;
    let router = door.router.clone();
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer.address));
        request.extensions_mut().insert(peer.secure);
        // A WebSocket takes it over.
        request.extensions_mut().insert(open.clone());
        let router = router.clone();
        async move {
            if !is_websocket(&request) {
                return router.oneshot(request).await;
            }
            // It shares its connection, which stays counted for what else comes on it.
            request.extensions_mut().remove::<Open>();
            router.oneshot(as_upgrade(request)).await.map(as_stream)
        }
    });
    let outcome = if http2 {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(20))
            .max_concurrent_streams(128)
            .max_header_list_size(head::LONGEST as u32)
            .initial_stream_window_size(64 * 1024)
            .initial_connection_window_size(256 * 1024);
        if app.config.websocket.http2 {
            builder.enable_connect_protocol();
        }
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        until_stopped(app, connection, http2::Connection::graceful_shutdown).await
    } else {
        let head_time = app.limits().head;
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(head_time).max_buf_size(head::LONGEST);
        let connection = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
        until_stopped(app, connection, http1::UpgradeableConnection::graceful_shutdown).await
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "an HTTP connection ended badly");
    }
}

/// Drives a connection; when the server stops, to the end of what was asked.
async fn until_stopped<C: Future<Output = hyper::Result<()>>>(
    app: &App,
    connection: C,
    stop: impl FnOnce(Pin<&mut C>),
) -> hyper::Result<()> {
    let mut connection = pin!(connection);
    tokio::select! {
        outcome = connection.as_mut() => return outcome,
        () = app.stopped() => stop(connection.as_mut()),
    }
    connection.await
}

/// Serves what operators ask: few at a time, and each request in its time.
pub(crate) async fn serve_operators(router: Router, listener: TcpListener) {
    const MOST: usize = 64;
    let places = Arc::new(Semaphore::new(MOST));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let service = hyper_util::service::TowerToHyperService::new(router.clone());
        tokio::spawn(async move {
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(60)).max_buf_size(head::LONGEST);
            // Whether it ended well or not, it has ended.
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
            drop(place);
        });
    }
}

/// Whether a request asks for a WebSocket as a stream of HTTP/2 (RFC 8441 §4).
fn is_websocket<B>(request: &Request<B>) -> bool {
    let protocol = request.extensions().get::<Protocol>();
    request.method() == Method::CONNECT && protocol.is_some_and(|protocol| protocol.as_str() == "websocket")
}

/// The same as the routes know it from HTTP/1.1. What it proves there, HTTP/2 has no need of: any key will do.
fn as_upgrade<B>(mut request: Request<B>) -> Request<B> {
    *request.method_mut() = Method::GET;
    let headers = request.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_KEY, HeaderValue::from_static("AAAAAAAAAAAAAAAAAAAAAA=="));
    request
}

/// Their answer as HTTP/2 says it (RFC 8441 §5).
fn as_stream<B>(mut response: http::Response<B>) -> http::Response<B> {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        *response.status_mut() = StatusCode::OK;
    }
    for name in [CONNECTION, UPGRADE, SEC_WEBSOCKET_ACCEPT] {
        response.headers_mut().remove(name);
    }
    response
}
