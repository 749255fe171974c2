//! Counts and names requests.

use std::sync::Arc;
use std::time::Instant;

use axum::body::HttpBody;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::header::{HeaderName, HeaderValue};
use tracing::Instrument;

use crate::app::App;

/// The name of a request, in whoever's words came first.
const ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest that is taken from somebody else.
const LONGEST: usize = 128;

/// Sees a request through: it has a name, which the answer and the log tell, and is counted by its route.
pub(super) async fn measure(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let route = app.metrics.route(request.extensions().get::<MatchedPath>().map(MatchedPath::as_str));
    let method = request.method().clone();
    let id = request.headers().get(&ID).filter(|id| is_name(id)).cloned().unwrap_or_else(|| app.request_id());
    // What is handed on to another node has the same name there.
    request.headers_mut().insert(ID, id.clone());
    let name = id.to_str().unwrap_or_default();
    let span = tracing::info_span!("request", request = name);
    let asked = app.sampler.ask(&mut request, app.metrics.label(route), name);
    let answering = next.run(request).instrument(span.clone());
    let mut response = app.sampler.within(asked.as_ref(), answering).await;
    let (status, took) = (response.status().as_u16(), begun.elapsed());
    app.metrics.answered(route, method.as_str(), status, took);
    if let Some(asked) = asked {
        asked.answered(status);
    }
    span.in_scope(|| {
        let bytes = response.body().size_hint().exact();
        let (route, ms) = (app.metrics.label(route), took.as_millis() as u64);
        tracing::debug!(method = method.as_str(), route, status, ms, bytes, "a request was answered");
    });
    response.headers_mut().insert(ID, id);
    response
}

/// What may be repeated into headers and logs.
fn is_name(id: &HeaderValue) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(byte);
    (1..=LONGEST).contains(&id.len()) && id.as_bytes().iter().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_short_and_plain() {
        let is = |id: &str| is_name(&HeaderValue::from_str(id).unwrap());
        assert!(is("7c3a-4e.b_1:2/3+4="));
        for id in ["", "a b", "a\"b", "a;b", &"x".repeat(129)] {
            assert!(!is(id), "{id}");
        }
    }
}
