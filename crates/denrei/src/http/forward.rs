//! A request for a session of another node goes on to that node: so a balancer may send clients where it likes.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use denrei_hub::{Node, random_number};
use denrei_proto::engineio::{Method, Rejection};
use http::header::{
    CONNECTION, HOST, HeaderName, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING,
    UPGRADE,
};
use http::request::Parts;
use http::{HeaderMap, Request, StatusCode, Uri, Version};
use hyper::upgrade::OnUpgrade;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::AsyncWriteExt;

use super::socketio::reject;
use super::streams;
use crate::app::App;

/// How long one side of a tunnel may take to end when the other has.
const FAREWELL: Duration = Duration::from_secs(5);

/// Names the node that has forwarded a request: it goes no further.
const FORWARDED: HeaderName = HeaderName::from_static("denrei-forwarded");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// What is between this node and the next only (RFC 9110 §7.6.1).
const HOPS: [HeaderName; 7] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
];

/// Whether another node has forwarded a request.
pub(super) fn is_forwarded(parts: &Parts) -> bool {
    parts.headers.contains_key(FORWARDED)
}

/// Has the owner of a session answer. An owner that cannot be reached has lost its sessions, as far as clients can tell:
/// they begin anew.
pub(super) async fn forward(app: &Arc<App>, owner: &Node, mut parts: Parts, body: Body) -> Response {
    let upgrade = parts.headers.get(UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    let method = if upgrade { Method::Upgrade } else { Method::Get };
    let taken = upgrade.then(|| parts.extensions.remove::<OnUpgrade>()).flatten();
    let Some(request) = request(app, owner, &parts, body, upgrade) else {
        return reject(Rejection::BadRequest, method);
    };
    // A poll is held for as long as the client may be silent.
    let patience = app.config.socketio.ping_interval + app.config.socketio.ping_timeout;
    let answer = tokio::select! {
        answer = tokio::time::timeout(patience, client().request(request)) => answer,
        () = cut(app) => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
    };
    let answer = match answer {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => {
            tracing::debug!(%error, node = %owner.id, "a request could not be forwarded");
            return reject(Rejection::UnknownSession, method);
        }
        Err(_) => return StatusCode::GATEWAY_TIMEOUT.into_response(),
    };
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        let (mut parts, body) = answer.into_parts();
        strip(&mut parts.headers);
        return Response::from_parts(parts, Body::new(body));
    }
    match taken {
        Some(taken) => tunnel(app, &mut parts, taken, answer),
        None => reject(Rejection::BadRequest, method),
    }
}

fn request(app: &App, owner: &Node, parts: &Parts, body: Body, upgrade: bool) -> Option<Request<Body>> {
    let path = parts.uri.path_and_query()?;
    let uri: Uri = format!("{}{path}", owner.address.as_deref()?).parse().ok()?;
    let mut request = Request::new(body);
    *request.method_mut() = parts.method.clone();
    *request.version_mut() = Version::HTTP_11;
    *request.uri_mut() = uri;
    let headers = request.headers_mut();
    headers.clone_from(&parts.headers);
    strip(headers);
    if upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    } else {
        headers.remove(UPGRADE);
    }
    // HTTP/2 names the host elsewhere.
    if let (None, Some(authority)) = (headers.get(HOST), parts.uri.authority()) {
        headers.insert(HOST, HeaderValue::from_str(authority.as_str()).ok()?);
    }
    headers
        .insert(FORWARDED, HeaderValue::from_str(app.hub.node().id.as_str()).unwrap_or(HeaderValue::from_static("1")));
    headers.append(FORWARDED_FOR, address(super::peer(parts)));
    Some(request)
}

fn address(peer: IpAddr) -> HeaderValue {
    HeaderValue::from_str(&peer.to_string()).unwrap_or(HeaderValue::from_static("unknown"))
}

fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .filter(|name| *name != UPGRADE)
        .collect();
    named.iter().for_each(|name| drop(headers.remove(name)));
    HOPS.iter().for_each(|name| drop(headers.remove(name)));
}

/// Carries the bytes of a WebSocket between its client and its owner, until one of them goes or this node stops.
fn tunnel<B>(app: &Arc<App>, parts: &mut Parts, taken: OnUpgrade, answer: Response<B>) -> Response {
    let Some(open) = streams::take_over(app, parts) else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    *response.headers_mut() = answer.headers().clone();
    let (app, owner) = (Arc::clone(app), hyper::upgrade::on(answer));
    tokio::spawn(async move {
        let _open = open;
        let (Ok(owner), Ok(client)) = tokio::join!(owner, taken) else { return };
        let (mut from_owner, mut to_owner) = tokio::io::split(TokioIo::new(owner));
        let (mut from_client, mut to_client) = tokio::io::split(TokioIo::new(client));
        let down = async {
            // Whether it ends well or badly, the other side is told.
            let _ = tokio::io::copy(&mut from_owner, &mut to_client).await;
            let _ = to_client.shutdown().await;
        };
        let up = async {
            let _ = tokio::io::copy(&mut from_client, &mut to_owner).await;
            let _ = to_owner.shutdown().await;
        };
        let (mut down, mut up) = (std::pin::pin!(down), std::pin::pin!(up));
        tokio::select! {
            // Who ends it, and why, they tell one another; who does not answer that is left.
            () = &mut down => drop(tokio::time::timeout(FAREWELL, up).await),
            () = &mut up => drop(tokio::time::timeout(FAREWELL, down).await),
            () = cut(&app) => {}
        }
    });
    response
}

/// Ends when what passes through this node is to come back by another one, because this one stops: not all at once.
async fn cut(app: &App) {
    app.stopped().await;
    let within = app.config.shutdown.reconnect_spread.min(app.config.shutdown.grace);
    let share = random_number() as f64 / u64::MAX as f64;
    tokio::time::sleep(within.mul_f64(share)).await;
}

fn client() -> &'static Client<HttpConnector, Body> {
    static CLIENT: OnceLock<Client<HttpConnector, Body>> = OnceLock::new();
    CLIENT.get_or_init(|| {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(Duration::from_secs(2)));
        // Shorter than a node keeps a connection that asks for nothing.
        let mut builder = Client::builder(TokioExecutor::new());
        builder.pool_timer(TokioTimer::new()).pool_idle_timeout(Duration::from_secs(5)).build(connector)
    })
}
