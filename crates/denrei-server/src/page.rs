//! The pages at `/` and `/chat`, built into the binary.

use axum::Router;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderMap, IF_NONE_MATCH};
use http::{HeaderName, StatusCode};
use rust_embed::RustEmbed;

#[derive(RustEmbed)]
#[folder = "../../web/app/"]
struct Files;

/// Only what the binary serves may run, and it may talk to its own origin only. Images that chat messages name may come
/// from elsewhere, by https; no referrer is told.
const POLICY: &str = "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data: https:; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

pub(crate) fn routes() -> Router {
    Router::new()
        .route("/", get(async |headers: HeaderMap| file("index.html", &headers)))
        .route("/chat", get(async |headers: HeaderMap| file("chat.html", &headers)))
        .route("/app/{name}", get(async |Path(name): Path<String>, headers: HeaderMap| file(&name, &headers)))
        .fallback(denrei::not_found)
}

fn file(name: &str, request: &HeaderMap) -> Response {
    let Some(file) = Files::get(name) else { return StatusCode::NOT_FOUND.into_response() };
    let hash = file.metadata.sha256_hash();
    let tag = format!("\"{}\"", hash[..12].iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    let headers: [(HeaderName, &str); 4] = [
        (CONTENT_TYPE, media_type(name)),
        (CACHE_CONTROL, "no-cache"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (HeaderName::from_static("referrer-policy"), "no-referrer"),
    ];
    if request.get(IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        return (StatusCode::NOT_MODIFIED, headers, [(ETAG, tag)]).into_response();
    }
    (headers, [(ETAG, tag)], file.data).into_response()
}

fn media_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}
