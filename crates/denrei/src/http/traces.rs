//! What operators ask to find out why somebody did not get a message, by the role `admin`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use denrei_hub::{Name, Traced};
use denrei_proto::codes::Code;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde::Deserialize;

use super::{admin, body};
use crate::app::App;
use crate::facts::Facts;
use crate::identity::Identity;
use crate::refusal::Refusal;
use crate::traces::{Traces, parse_place};

/// The paths of traces.
pub(super) const PATHS: [&str; 2] = ["/api/admin/traces", "/api/admin/traces/{id}"];

pub(super) fn routes() -> Router<Arc<App>> {
    let [all, one] = PATHS;
    Router::new().route(all, post(begin).get(list)).route(one, get(read).delete(end))
}

/// `POST /api/admin/traces`: `{room}`, `{userId}` or both, and `ttl` in ms.
async fn begin(
    State(app): State<Arc<App>>,
    Extension(identity): Extension<Identity>,
    body: Body,
) -> Result<Response, Refusal> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Asked {
        room: Option<String>,
        user_id: Option<String>,
        ttl: Option<u64>,
    }
    admin::operator(&identity)?;
    let body = body::message(&app, body).await?;
    let asked: Asked = body::object(&body.bytes)?;
    let parse = |name: Option<String>| name.map(|name| Name::parse(&name)).transpose();
    let traced = Traced { room: parse(asked.room)?, user: parse(asked.user_id)? };
    if traced.room.is_none() && traced.user.is_none() {
        return Err(Refusal::new(Code::InvalidField, "it takes a room, a userId, or both"));
    }
    let lasts = asked.ttl.map_or(Traces::LASTS, Duration::from_millis);
    if lasts.is_zero() || lasts > Traces::MOST {
        return Err(Refusal::new(Code::InvalidField, "ttl is 1 to 3600000 ms"));
    }
    let trace = app.traces.begin(&traced, lasts)?;
    Ok((StatusCode::CREATED, axum::Json(trace)).into_response())
}

/// `GET /api/admin/traces`.
async fn list(State(app): State<Arc<App>>, Extension(identity): Extension<Identity>) -> Result<Response, Refusal> {
    admin::operator(&identity)?;
    Ok(axum::Json(serde_json::json!({ "traces": app.traces.list() })).into_response())
}

/// `GET /api/admin/traces/{id}?after=&limit=&format=`.
async fn read(
    State(app): State<Arc<App>>,
    Extension(identity): Extension<Identity>,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Refusal> {
    admin::operator(&identity)?;
    let (parts, _) = request.into_parts();
    let facts = Facts::of(&parts);
    let after = match facts.parameter("after") {
        None => BTreeMap::new(),
        Some(after) => parse_place(&after)
            .ok_or_else(|| Refusal::new(Code::InvalidField, "after is what next was in an earlier answer"))?,
    };
    let limit = facts.parameter("limit").map_or(Ok(Traces::PAGE), |limit| limit.parse());
    let limit = limit.ok().filter(|limit| (1..=Traces::PAGE).contains(limit));
    let limit = limit.ok_or_else(|| Refusal::new(Code::InvalidField, "limit is 1 to 1000"))?;
    let text = match facts.parameter("format").as_deref() {
        None | Some("json") => false,
        Some("text") => true,
        Some(_) => return Err(Refusal::new(Code::InvalidField, "format is json or text")),
    };
    let account = app.traces.account(&path(id)?, &after, limit).ok_or_else(none)?.await;
    if !text {
        return Ok(axum::Json(account).into_response());
    }
    let mut lines = String::new();
    for line in &account.records {
        // Into a string nothing fails.
        let _ = writeln!(lines, "{line}");
    }
    for node in &account.missing {
        let _ = writeln!(lines, "{node} did not answer, or knows of no such trace yet");
    }
    Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], lines).into_response())
}

/// `DELETE /api/admin/traces/{id}`.
async fn end(
    State(app): State<Arc<App>>,
    Extension(identity): Extension<Identity>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Refusal> {
    admin::operator(&identity)?;
    if app.traces.end(&path(id)?) { Ok(StatusCode::NO_CONTENT.into_response()) } else { Err(none()) }
}

fn path(id: Result<Path<String>, PathRejection>) -> Result<String, Refusal> {
    id.map(|Path(id)| id).map_err(|_| none())
}

fn none() -> Refusal {
    Refusal::new(Code::NotFound, "there is no such trace, or it has ended")
}
