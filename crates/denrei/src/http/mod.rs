//! Everything that is one request and one answer, and the streams of clients that come through hyper.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use denrei_proto::codes::Code;
use http::header::{HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, StatusCode};

use crate::admission;
use crate::app::App;
use crate::config::Config;
use crate::facts::Facts;
use crate::refusal::Refusal;

mod admin;
mod body;
mod channels;
mod chat;
mod events;
mod files;
mod forward;
mod health;
mod measure;
mod metrics;
mod socketio;
mod streams;
mod traces;

/// Templates of all paths, and what requests to them are counted as.
pub(crate) fn templates(config: &Config) -> Vec<(String, &'static str)> {
    const PATHS: [&str; 11] = [
        "/ws",
        "/sse",
        "/api/rooms/{room}/events",
        "/api/messages",
        "/api/events",
        "/api/admin/revocations",
        "/api/channels/{channel}",
        "/health",
        "/livez",
        "/readyz",
        "/metrics",
    ];
    let socketio = &config.socketio.path;
    let socketio = [socketio.clone(), format!("{socketio}{{*rest}}")].map(|path| (path, "/socket.io/"));
    PATHS
        .into_iter()
        .chain(chat::paths())
        .chain(traces::PATHS)
        .chain(files::PATHS)
        .map(|path| (path.to_owned(), path))
        .chain(socketio)
        .collect()
}

/// The routes of a server. All of them pass through [`admission`].
pub(crate) fn router(app: Arc<App>) -> Router {
    let api = Router::new()
        .route("/ws", get(streams::websocket))
        .route("/sse", get(streams::sse))
        .route("/api/rooms/{room}/events", get(events::poll).post(events::publish))
        .route("/api/messages", get(events::messages))
        .route("/api/events", get(events::events))
        .route("/api/admin/revocations", post(admin::revoke))
        .route("/api/channels/{channel}", post(channels::publish))
        .merge(chat::routes())
        .merge(traces::routes())
        .merge(files::routes())
        .layer(middleware::from_fn_with_state(Arc::clone(&app), identify));
    let mut router = Router::new()
        .merge(api)
        .merge(files::linked())
        .route("/health", get(health::health))
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(metrics::scrape));
    if app.config.socketio.enabled {
        // Whoever comes without a token may still bring one to a namespace.
        router = router
            .route(&app.config.socketio.path, any(socketio::serve))
            .route(&format!("{}{{*rest}}", app.config.socketio.path), any(socketio::serve));
    }
    router
        .method_not_allowed_fallback(async || Refusal::new(Code::MethodNotAllowed, "this path has other methods"))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), admit))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), measure::measure))
        .with_state(app)
}

/// What operators ask, for a listener of its own.
pub(crate) fn operators(app: Arc<App>) -> Router {
    Router::new()
        .route("/health", get(health::health))
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(metrics::scrape_apart))
        .fallback(not_found)
        .with_state(app)
}

/// What there is at a path that nothing is at: a refusal in the words of the API, for
/// [`Router::fallback`](axum::Router::fallback).
pub async fn not_found() -> Response {
    Refusal::new(Code::NotFound, "there is nothing at this path").into_response()
}

/// Lets in who may come in from where it comes from, and tells browsers so.
async fn admit(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let facts = Facts::of(&parts);
    if let Err(refusal) = admission::admit(&app.access(), &facts) {
        app.metrics.admission.count(refusal.code);
        return refusal.into_response();
    }
    let cors = admission::cors(&facts);
    let preflight = parts.method == Method::OPTIONS && facts.one("access-control-request-method").is_some();
    let mut response = if preflight {
        let allowed = [
            ("access-control-allow-methods", "GET, POST, PUT, PATCH, DELETE"),
            (
                "access-control-allow-headers",
                "authorization, baggage, content-digest, content-type, if-none-match, last-event-id, range, traceparent, \
                 tracestate, x-request-id",
            ),
            ("access-control-max-age", "600"),
        ];
        (StatusCode::NO_CONTENT, allowed).into_response()
    } else {
        next.run(Request::from_parts(parts, body)).await
    };
    for (name, value) in cors {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    response.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}

/// Whom a connection is from; unspecified in an application whose server does not say.
fn peer(parts: &Parts) -> IpAddr {
    let info = parts.extensions.get::<ConnectInfo<SocketAddr>>();
    info.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(from)| from.ip())
}

/// Finds out who sent it; handlers take the [`crate::Identity`] as an extension.
async fn identify(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let (facts, from) = (Facts::of(&parts), peer(&parts));
    let identity = admission::pass(&app, &facts, from).and_then(|()| admission::identify(&app, &facts, from));
    request = Request::from_parts(parts, body);
    match identity {
        Ok(identity) => {
            request.extensions_mut().insert(identity);
            next.run(request).await
        }
        Err(refusal) => refusal.into_response(),
    }
}
