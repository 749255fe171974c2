//! A room's events over plain requests: publish, short poll, long poll (seed §2.2, §2.3).

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use denrei_hub::{Dialect, Extent, Keep, Message, Page, Position, RoomName, Seq};
use denrei_proto::codes::Code;
use http::header::{ACCEPT, ETAG, IF_NONE_MATCH};
use http::request::Parts;
use http::{HeaderName, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::{body, streams};
use crate::app::{App, Publish};
use crate::auth::Standing;
use crate::chat::{Caller, is_chat};
use crate::facts::Facts;
use crate::identity::Identity;
use crate::policy::Action;
use crate::rates::Asking;
use crate::refusal::Refusal;
use crate::wires;

/// The next position, on every answer to a poll.
const POSITION: HeaderName = HeaderName::from_static("denrei-position");

/// `POST /api/rooms/{room}/events`: answers 201 when the event is as durable as the room makes it.
pub(super) async fn publish(
    State(app): State<Arc<App>>,
    Extension(identity): Extension<Identity>,
    room: Result<Path<String>, PathRejection>,
    body: Body,
) -> Result<Response, Refusal> {
    let room = room_of(room)?;
    let body = body::message(&app, body).await?.bytes;
    let draft: Draft<'_> = body::object(&body)?;
    let payload = draft.payload.ok_or_else(|| Refusal::new(Code::InvalidField, "payload is missing"))?.get();
    let event = draft.event.as_deref().unwrap_or("message");
    let id = draft.id.as_deref();
    app.metrics.asked(0, event);
    let asked = Publish { room: room.as_str(), event, payload, id, from: None };
    if let Err(refusal) = app.limiter.pass(&identity, Asking::Publish(event)) {
        app.note_refused(&identity, asked, refusal.code);
        return Err(refusal);
    }
    let (draft, decision) = app.draft(&identity, asked)?;
    app.decided(&identity, decision).await?;
    if app.is_stopping() {
        return Err(Refusal::later(Code::ShuttingDown, "the server is about to stop"));
    }
    app.hub.relieved().await;
    let published = app.publish_and_wait(draft).await?;
    let Position { epoch, seq } = published.position;
    let body = serde_json::json!({
        "room": room.as_str(), "seq": seq.0, "epoch": epoch.as_str(), "duplicate": published.duplicate
    });
    Ok((StatusCode::CREATED, axum::Json(body)).into_response())
}

/// `GET /api/rooms/{room}/events?since=&limit=&wait=`
pub(super) async fn poll(
    State(app): State<Arc<App>>,
    Extension(identity): Extension<Identity>,
    room: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Refusal> {
    let (parts, _) = request.into_parts();
    let room = room_of(room)?;
    let query = Query::parse(&app, &Facts::of(&parts), None)?;
    answer(&app, &identity, &parts, &room, query, Shape::House).await
}

/// `GET /api/messages`: the seed's short poll (§2.2), of room `all` or `?room=`.
pub(super) async fn messages(
    State(app): State<Arc<App>>,
    Extension(identity): Extension<Identity>,
    request: Request,
) -> Result<Response, Refusal> {
    let (parts, _) = request.into_parts();
    let facts = Facts::of(&parts);
    let room = RoomName::parse(facts.parameter("room").as_deref().unwrap_or("all"))?;
    let query = Query { wait: None, ..Query::parse(&app, &facts, None)? };
    answer(&app, &identity, &parts, &room, query, Shape::House).await
}

/// `GET /api/events`: the seed's long poll (§2.3), or a stream for who asks for one.
pub(super) async fn events(
    State(app): State<Arc<App>>,
    Extension(identity): Extension<Identity>,
    request: Request,
) -> Result<Response, Refusal> {
    let (parts, _) = request.into_parts();
    let facts = Facts::of(&parts);
    let accept = parts.headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    if accept.is_some_and(|accept| accept.contains("text/event-stream")) {
        return Ok(streams::stream(&app, identity, &facts));
    }
    let room = RoomName::parse(facts.parameter("room").as_deref().unwrap_or("all"))?;
    let query = Query::parse(&app, &facts, Some(app.config.poll.wait))?;
    answer(&app, &identity, &parts, &room, query, Shape::Seed).await
}

/// What a poll asks for.
#[derive(Debug)]
struct Query {
    since: Option<Position>,
    limit: usize,
    wait: Option<Duration>,
}

/// Which fields the answer has.
#[derive(PartialEq)]
enum Shape {
    House,
    /// `lastEventId` besides.
    Seed,
}

impl Query {
    fn parse(app: &App, facts: &Facts<'_>, wait: Option<Duration>) -> Result<Self, Refusal> {
        let settings = &app.config.poll;
        let since = facts.parameter("since").filter(|since| !since.is_empty() && since != "null");
        let whole = |name: &str| match facts.parameter(name) {
            None => Ok(None),
            Some(text) => text
                .parse::<u32>()
                .map(Some)
                .map_err(|_| Refusal::new(Code::InvalidField, format!("{name} is a whole number, 0 or more"))),
        };
        let asked = whole("wait")?.map(|seconds| Duration::from_secs(seconds.into()).min(settings.wait));
        let limit = whole("limit")?.map_or(settings.limit, |limit| limit as usize);
        Ok(Self {
            since: since.map(|since| since.parse()).transpose()?,
            limit: limit.clamp(1, settings.most),
            wait: asked.or(wait).filter(|wait| !wait.is_zero()),
        })
    }
}

async fn answer(
    app: &App,
    identity: &Identity,
    parts: &Parts,
    room: &RoomName,
    query: Query,
    shape: Shape,
) -> Result<Response, Refusal> {
    app.metrics.asked(0, "poll");
    app.limiter.pass(identity, Asking::Poll)?;
    let caller = Caller { identity, connection: None };
    app.decided(identity, app.check(caller, Action::Read(room))).await?;
    let found = find(app, room, &query).await?;
    if let Standing::Over(refusal) = app.auth.standing(identity) {
        // It waited for long.
        return Err(refusal);
    }
    if query.wait.is_some() && is_chat(room) {
        // And may have been shown out.
        app.decided(identity, app.check(caller, Action::Read(room))).await?;
    }
    found.messages.iter().for_each(|message| app.hub.gave(message.event.as_str()));
    let next = found.next.to_string();
    if found.messages.is_empty() && !found.gap && query.wait.is_some() {
        return Ok((StatusCode::NO_CONTENT, [(POSITION, next)]).into_response());
    }
    let tag = format!("\"{next}:{}:{}\"", found.messages.len(), u8::from(found.gap));
    let known = parts.headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    if known.flat_map(|value| value.split(',')).any(|known| known.trim().trim_start_matches("W/") == tag) {
        return Ok((StatusCode::NOT_MODIFIED, [(POSITION, next), (ETAG, tag)]).into_response());
    }
    let headers = [
        (POSITION, next.clone()),
        (ETAG, tag),
        (http::header::CONTENT_TYPE, "application/json".to_owned()),
        (http::header::CACHE_CONTROL, "no-cache".to_owned()),
    ];
    Ok((headers, body(app, &found, &next, &shape)).into_response())
}

/// What a poll gives.
struct Found {
    messages: Vec<Arc<Message>>,
    next: Position,
    /// Events after `since` are lost, or it belongs to another epoch.
    gap: bool,
}

/// Reads what there is; when there is nothing, waits for the next event, within the query's time.
async fn find(app: &App, room: &RoomName, query: &Query) -> Result<Found, Refusal> {
    let Some(wait) = query.wait else { return look(app, room, query.since.as_ref(), query.limit).await };
    let deadline = Instant::now() + wait;
    let _waiting = app.metrics.wait();
    let mut since = query.since.clone();
    loop {
        // Watched first, read then: an event in between is found by one or the other.
        let mut watch = app.hub.watch(room).await?;
        if app.hub.class(room).keep == Keep::None {
            let waited = tokio::time::timeout_at(deadline, watch.next());
            let next = app.hub.read(room, Extent::Newest(1)).await?.position();
            let event = tokio::select! {
                event = waited => event.ok().flatten(),
                () = app.stopped() => None,
            };
            return Ok(Found { messages: event.into_iter().collect(), next, gap: false });
        }
        let from = match &since {
            Some(since) => since.clone(),
            // Without a position it waits from now.
            None => app.hub.read(room, Extent::Newest(1)).await?.position(),
        };
        let found = look(app, room, Some(&from), query.limit).await?;
        if !found.messages.is_empty() || found.gap {
            return Ok(found);
        }
        since = Some(found.next.clone());
        // Told of nothing, it looks again too: the log began another life.
        let told = tokio::select! {
            told = tokio::time::timeout_at(deadline, watch.next()) => told.is_ok(),
            () = app.stopped() => false,
        };
        if !told {
            return Ok(found);
        }
    }
}

async fn look(app: &App, room: &RoomName, since: Option<&Position>, limit: usize) -> Result<Found, Refusal> {
    let Some(since) = since else {
        let page = app.hub.read(room, Extent::Newest(limit)).await?;
        return Ok(Found { next: next(&page, page.head), messages: page.messages, gap: false });
    };
    let page = app.hub.read_after(room, since, limit).await?;
    if app.hub.class(room).keep == Keep::None {
        return Ok(Found { next: page.position(), messages: Vec::new(), gap: false });
    }
    if page.epoch != since.epoch || since.seq > page.head {
        // The place is of another life of the log: what is kept of this one is new.
        let page = app.hub.read(room, Extent::After(page.begin_anew(), limit)).await?;
        return Ok(Found { next: next(&page, page.head), messages: page.messages, gap: true });
    }
    let gap = page.first > since.seq.next();
    let place = if page.messages.is_empty() { page.head } else { since.seq };
    Ok(Found { next: next(&page, place), messages: page.messages, gap })
}

fn next(page: &Page, otherwise: Seq) -> Position {
    let seq = page.messages.last().map_or(otherwise, |last| last.seq);
    Position { epoch: page.epoch.clone(), seq }
}

fn body(app: &App, found: &Found, next: &str, shape: &Shape) -> Vec<u8> {
    let mut body = Vec::with_capacity(64 + found.messages.iter().map(|message| message.weight()).sum::<usize>());
    body.extend_from_slice(b"{\"events\":[");
    for (index, message) in found.messages.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        body.extend_from_slice(&app.hub.frame(message, wires::OBJECT, Dialect::default()));
    }
    // A position holds nothing that JSON would have to escape.
    body.extend_from_slice(format!("],\"next\":\"{next}\",\"gap\":{}", found.gap).as_bytes());
    if *shape == Shape::Seed {
        body.extend_from_slice(format!(",\"lastEventId\":\"{next}\"").as_bytes());
    }
    body.push(b'}');
    body
}

#[derive(Deserialize)]
struct Draft<'a> {
    event: Option<String>,
    #[serde(borrow, default, deserialize_with = "present")]
    payload: Option<&'a RawValue>,
    id: Option<String>,
}

/// A `null` that stands there is a payload, not an absent field.
fn present<'de: 'a, 'a, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

fn room_of(room: Result<Path<String>, PathRejection>) -> Result<RoomName, Refusal> {
    let Path(room) = room.map_err(|_| Refusal::new(Code::InvalidName, "the room's name is not UTF-8"))?;
    Ok(RoomName::parse(&room)?)
}
