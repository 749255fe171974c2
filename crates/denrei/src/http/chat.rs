//! The chat over plain requests: each is one of its calls, with path, query and body as the payload.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};
use axum::{Extension, Router};
use denrei_proto::codes::Code;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{Method, StatusCode};
use serde_json::value::RawValue;

use super::body;
use crate::app::App;
use crate::chat::Caller;
use crate::facts::Facts;
use crate::identity::Identity;
use crate::rates::Asking;
use crate::refusal::Refusal;

const GET: MethodFilter = MethodFilter::GET;
const POST: MethodFilter = MethodFilter::POST;
const PUT: MethodFilter = MethodFilter::PUT;
const PATCH: MethodFilter = MethodFilter::PATCH;
const DELETE: MethodFilter = MethodFilter::DELETE;

/// Every path, and the call that each HTTP method is there.
const PATHS: &[(&str, &[(MethodFilter, &str)])] = &[
    ("/api/chat/rooms", &[(GET, "chat.rooms"), (POST, "chat.create")]),
    ("/api/chat/directory", &[(GET, "chat.directory")]),
    ("/api/chat/sync", &[(POST, "chat.sync")]),
    ("/api/chat/rooms/{room}", &[(GET, "chat.room"), (PATCH, "chat.update")]),
    ("/api/chat/rooms/{room}/join", &[(POST, "chat.join")]),
    ("/api/chat/rooms/{room}/leave", &[(POST, "chat.leave")]),
    ("/api/chat/rooms/{room}/members", &[(GET, "chat.members"), (POST, "chat.invite")]),
    ("/api/chat/rooms/{room}/members/{userId}", &[(DELETE, "chat.kick")]),
    ("/api/chat/rooms/{room}/members/{userId}/role", &[(PUT, "chat.setRole")]),
    ("/api/chat/rooms/{room}/members/{userId}/mute", &[(PUT, "chat.mute")]),
    ("/api/chat/rooms/{room}/bans", &[(GET, "chat.bans")]),
    ("/api/chat/rooms/{room}/bans/{userId}", &[(PUT, "chat.ban"), (DELETE, "chat.unban")]),
    ("/api/chat/rooms/{room}/messages", &[(GET, "chat.history"), (POST, "chat.send")]),
    ("/api/chat/rooms/{room}/read", &[(POST, "chat.markRead")]),
    ("/api/chat/rooms/{room}/delivered", &[(POST, "chat.markDelivered")]),
    ("/api/chat/rooms/{room}/unread", &[(POST, "chat.markUnread")]),
    ("/api/chat/rooms/{room}/typing", &[(POST, "chat.typing")]),
    ("/api/chat/rooms/{room}/stopTyping", &[(POST, "chat.stopTyping")]),
    (
        "/api/chat/rooms/{room}/messages/{messageId}",
        &[(GET, "chat.message"), (PATCH, "chat.edit"), (DELETE, "chat.delete")],
    ),
    ("/api/chat/rooms/{room}/messages/{messageId}/receipts", &[(GET, "chat.receipts")]),
    ("/api/chat/rooms/{room}/messages/{messageId}/reactions/{emoji}", &[(PUT, "chat.react"), (DELETE, "chat.unreact")]),
    ("/api/presence", &[(GET, "presence.get"), (PUT, "presence.set")]),
    ("/api/presence/contacts", &[(GET, "presence.contacts")]),
    ("/api/presence/contacts/{userId}", &[(PUT, "presence.addContact"), (DELETE, "presence.removeContact")]),
];

/// The paths of the chat.
pub(super) fn paths() -> impl Iterator<Item = &'static str> {
    PATHS.iter().map(|(path, _)| *path)
}

/// The requests of the chat.
pub(super) fn routes() -> Router<Arc<App>> {
    PATHS.iter().fold(Router::new(), |router, (path, methods)| {
        let at = methods.iter().fold(MethodRouter::new(), |at, (filter, call)| at.merge(route(*filter, call)));
        router.route(path, at)
    })
}

fn route(filter: MethodFilter, method: &'static str) -> MethodRouter<Arc<App>> {
    on(
        filter,
        move |State(app), Extension(identity), path: Result<Path<HashMap<String, String>>, PathRejection>, request| {
            serve(app, identity, method, path, request)
        },
    )
}

async fn serve(
    app: Arc<App>,
    identity: Identity,
    method: &'static str,
    path: Result<Path<HashMap<String, String>>, PathRejection>,
    request: Request,
) -> Result<Response, Refusal> {
    let asking = if method == "chat.send" { Asking::Publish("message") } else { Asking::Call };
    app.metrics.asked(0, if method == "chat.send" { "message" } else { "call" });
    app.limiter.pass(&identity, asking)?;
    let Path(named) = path.map_err(|_| Refusal::new(Code::InvalidName, "a name in the path is not UTF-8"))?;
    let (parts, body) = request.into_parts();
    let makes = parts.method == Method::POST && matches!(method, "chat.send" | "chat.create");
    let body = body::message(&app, body).await?;
    let facts = Facts::of(&parts);
    let said: Vec<_> = facts.pairs().filter(|(name, _)| name != "token").collect();
    let texts = said.iter().map(|(name, value)| (&**name, &**value));
    let payload = payload(texts.chain(named.iter().map(|(name, value)| (&**name, &**value))), &body.bytes)?;
    let caller = Caller { identity: &identity, connection: None };
    let (call, decision) = app.call(caller, method, &payload)?;
    app.decided(&identity, decision).await?;
    app.hub.relieved().await;
    let answer = app.chat()?.answer(&app, caller, call).await?;
    let status = if makes { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")], answer).into_response())
}

/// The payload of a call: the body's fields, then the query's, then those of the path, each before what stands earlier.
fn payload<'a>(texts: impl Iterator<Item = (&'a str, &'a str)>, body: &[u8]) -> Result<String, Refusal> {
    let mut fields: HashMap<&str, Box<RawValue>> = match body.trim_ascii().is_empty() {
        true => HashMap::new(),
        false => body::object(body)?,
    };
    for (name, value) in texts {
        // A room has one name, whatever the body says.
        if name == "room" {
            fields.remove("roomId");
        }
        fields.insert(name, RawValue::from_string(serde_json::json!(value).to_string()).expect("it is JSON"));
    }
    Ok(serde_json::to_string(&fields).expect("it was JSON"))
}
