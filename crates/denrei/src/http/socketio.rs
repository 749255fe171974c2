//! `/socket.io/`: what clients of Socket.IO ask by HTTP, and their WebSockets that come through hyper.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use denrei_proto::engineio::{self, Ask, Method, Purpose, Rejection};
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, SET_COOKIE, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use hyper::upgrade::OnUpgrade;
use tokio::sync::oneshot;

use crate::admission;
use crate::app::App;
use crate::facts::Facts;
use crate::http::body::{self, Unread};
use crate::http::forward;
use crate::http::streams::{self, Unwrapped as Upgraded};
use crate::socketio::channel::Arrival;
use crate::socketio::connection::{self, Beginning};
use crate::socketio::desk::{self, Desk, Post, Visit};
use crate::socketio::opening;

/// Any request to `/socket.io/`.
pub(super) async fn serve(State(app): State<Arc<App>>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let facts = Facts::of(&parts);
    let name = facts.path.strip_prefix(&*app.config.socketio.path).unwrap_or_default();
    if parts.method == http::Method::GET
        && let Some(file) = app.client_files.answer(name, &parts.headers)
    {
        return file;
    }
    let ask = Ask::read(facts.pairs());
    let upgrade = facts.one("upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket"));
    let method = match (&parts.method, upgrade) {
        (&http::Method::GET, true) => Method::Upgrade,
        (&http::Method::GET, false) => Method::Get,
        (&http::Method::POST, _) => Method::Post,
        _ => Method::Other,
    };
    let purpose = match opening::purpose(&app, &ask, method) {
        Ok(purpose) => purpose,
        Err(Rejection::UnknownSession) => {
            // It may be one of another node: clients need not come back to the same one.
            let owner = ask.sid().and_then(|sid| desk::owner(&app.hub, sid));
            return match owner.filter(|_| !forward::is_forwarded(&parts)) {
                Some(owner) => forward::forward(&app, &owner, parts, body).await,
                None => reject(Rejection::UnknownSession, method),
            };
        }
        Err(rejection) => return reject(rejection, method),
    };
    if let Purpose::Open(_) = purpose
        && let Err(refusal) = admission::pass(&app, &facts, super::peer(&parts))
    {
        return refusal.into_response();
    }
    if let Purpose::Open(_) = purpose
        && let Err(message) = app.allow_request(&parts).await
    {
        return forbid(&message, method);
    }
    if method == Method::Upgrade {
        return match opening::Upgrade::new(&app, &Facts::of(&parts), super::peer(&parts), ask.wire(), purpose) {
            Ok(upgrade) => websocket(app, &mut parts, upgrade),
            Err(_) => reject(Rejection::BadRequest, method),
        };
    }
    match (purpose, method) {
        (Purpose::Open(_), _) => open(&app, &parts, ask.wire()).await,
        (Purpose::Continue(desk), Method::Get) => poll(&app, &parts.headers, &desk).await,
        (Purpose::Continue(desk), Method::Post) => post(&app, &parts.headers, &desk, body).await,
        (Purpose::Continue(_), _) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// A new session, and its first poll.
async fn open(app: &Arc<App>, parts: &Parts, wire: engineio::Wire) -> Response {
    let Some(open) = app.admit().filter(|_| !app.is_stopping()) else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let caller = opening::caller(app, &Facts::of(parts), super::peer(parts));
    let secure = if caller.handshake.is_secure() { "; Secure" } else { "" };
    let beginning = Beginning { open, wire, caller, channel: None };
    let desk = connection::begin(beginning, app.hub.shard());
    let mut response = poll(app, &parts.headers, &desk).await;
    if let Some(name) = &app.config.socketio.cookie
        && let Ok(cookie) =
            HeaderValue::from_str(&format!("{name}={}; Path=/; HttpOnly; SameSite=Lax{secure}", desk.sid))
    {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    response
}

async fn poll(app: &App, headers: &HeaderMap, desk: &Arc<Desk>) -> Response {
    let mut asked = Asked::new(desk, Visit::Poll);
    let told = (&mut asked.told).await;
    respond(app, headers, told)
}

async fn post(app: &Arc<App>, headers: &HeaderMap, desk: &Arc<Desk>, body: Body) -> Response {
    let binary = headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes() == b"application/octet-stream");
    // The session knows of it before its body is here: a second one would be one too many.
    let mut asked = Asked::new(desk, Visit::Post);
    let most = app.config.socketio.max_payload;
    let read = tokio::select! {
        biased;
        told = &mut asked.told => return respond(app, headers, told),
        read = body::read(app, body, most) => read,
    };
    let (post, _held) = match read {
        Ok(arrived) => (Post::Body { body: arrived.bytes.clone(), binary }, Some(arrived)),
        Err(Unread::TooBig) => (Post::TooBig, None),
        // The client cannot know what was taken of what it says: the session ends, as in Node.
        Err(unread) => return unread.refusal(most).into_response(),
    };
    desk.visit(Visit::Body(post));
    let told = (&mut asked.told).await;
    respond(app, headers, told)
}

/// The session's answer as the request's. Without one it has ended, and is not known any more.
fn respond(app: &App, headers: &HeaderMap, told: Result<engineio::Response, oneshot::error::RecvError>) -> Response {
    let Ok(response) = told else { return reject(Rejection::UnknownSession, Method::Get) };
    let status = StatusCode::from_u16(response.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut answer = (status, [(CACHE_CONTROL, "no-store")], Body::empty()).into_response();
    if !response.content_type.is_empty() {
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(response.content_type));
    }
    let body: Bytes = response.body.into();
    let compressed = app.config.socketio.compression.filter(|least| body.len() >= *least).and_then(|_| {
        let accepts = headers.get(http::header::ACCEPT_ENCODING)?.to_str().ok()?;
        opening::compress(accepts, &body)
    });
    match compressed {
        Some((coding, body)) => {
            answer.headers_mut().insert(http::header::CONTENT_ENCODING, HeaderValue::from_static(coding));
            *answer.body_mut() = body.into();
        }
        None => *answer.body_mut() = body.into(),
    }
    answer
}

/// A request that waits for the session's answer. Its client may go: then the session is woken to notice.
struct Asked {
    desk: Arc<Desk>,
    told: oneshot::Receiver<engineio::Response>,
}

impl Asked {
    fn new(desk: &Arc<Desk>, what: impl FnOnce(oneshot::Sender<engineio::Response>) -> Visit) -> Self {
        let (tell, told) = oneshot::channel();
        desk.visit(what(tell));
        Self { desk: Arc::clone(desk), told }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        // First the session can see it, then it is woken.
        self.told.close();
        self.desk.lane.outbox.wake();
    }
}

fn websocket(app: Arc<App>, parts: &mut Parts, agreed: opening::Upgrade) -> Response {
    let Some(upgrade) = parts.extensions.remove::<OnUpgrade>() else {
        return reject(Rejection::BadRequest, Method::Upgrade);
    };
    let Some(open) = streams::take_over(&app, parts) else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
    response.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
    for (name, value) in agreed.agreed.headers() {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    tokio::spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        let arrival = match streams::unwrap(upgraded) {
            Upgraded::Socket(socket, early) => Arrival::Socket(socket, early),
            Upgraded::Stream(link) => Arrival::Stream(link),
        };
        agreed.arrive(open, Vec::new(), arrival, app.hub.shard());
    });
    response
}

pub(super) fn reject(rejection: Rejection, method: Method) -> Response {
    refuse(rejection.status(), rejection.body(), rejection.message(), method)
}

fn forbid(message: &str, method: Method) -> Response {
    let rejection = Rejection::Forbidden;
    refuse(rejection.status(), rejection.body_saying(message), message, method)
}

/// A WebSocket is refused in plain words, as by Node.
fn refuse(status: u16, body: String, message: &str, method: Method) -> Response {
    if method == Method::Upgrade {
        let headers = [(CONNECTION, "close"), (CONTENT_TYPE, "text/html")];
        return (StatusCode::BAD_REQUEST, headers, message.to_owned()).into_response();
    }
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    (status, [(CONTENT_TYPE, "application/json")], body).into_response()
}
