//! `GET /metrics`.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use denrei_proto::codes::Code;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};

use crate::admission;
use crate::app::App;
use crate::facts::Facts;
use crate::metrics::{self, Format};
use crate::refusal::Refusal;

/// For everybody in development mode; else for scrapers with their token, and for the role `admin`.
pub(super) async fn scrape(State(app): State<Arc<App>>, request: Request) -> Result<Response, Refusal> {
    let (parts, _) = request.into_parts();
    let facts = Facts::of(&parts);
    if !app.access().development && !brings_token(&app, &facts) {
        let from = super::peer(&parts);
        admission::pass(&app, &facts, from)?;
        if !admission::identify(&app, &facts, from)?.has_role("admin") {
            return Err(Refusal::new(Code::Forbidden, "this takes the role admin, or the token for metrics"));
        }
    }
    Ok(page(app, Format::accepted(facts.one("accept"))).await)
}

/// The same on a listener of its own, where a token is asked for only if there is one.
pub(super) async fn scrape_apart(State(app): State<Arc<App>>, request: Request) -> Result<Response, Refusal> {
    let (parts, _) = request.into_parts();
    let facts = Facts::of(&parts);
    if app.config.metrics.token.is_some() && !brings_token(&app, &facts) {
        return Err(Refusal::new(Code::TokenMissing, "this takes the token for metrics"));
    }
    Ok(page(app, Format::accepted(facts.one("accept"))).await)
}

fn brings_token(app: &App, facts: &Facts<'_>) -> bool {
    let Some(token) = &app.config.metrics.token else { return false };
    let Some((scheme, brought)) = facts.one("authorization").and_then(|value| value.split_once(' ')) else {
        return false;
    };
    scheme.eq_ignore_ascii_case("bearer") && token.is(brought.trim())
}

/// One at a time: it looks at every connection. On a thread where nobody waits for a message.
async fn page(app: Arc<App>, format: Format) -> Response {
    let _turn = app.scrape.acquire().await;
    let reporting = Arc::clone(&app);
    match tokio::task::spawn_blocking(move || metrics::report(&reporting, format)).await {
        Ok(text) => ([(CONTENT_TYPE, format.content_type()), (CACHE_CONTROL, "no-store")], text).into_response(),
        Err(_) => Refusal::later(Code::Unavailable, "the metrics could not be written").into_response(),
    }
}
