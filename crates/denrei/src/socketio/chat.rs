//! Namespace `/chat` where no application has taken it: the chat, in the words of Socket.IO's tutorials (seed §5.2, §6).
//!
//! Every method of the chat is an event of its short name, with the payload as its argument: `send({room, content}, ack)`.
//! Besides, `joinRoom`, `leaveRoom`, `openRoom` and `closeRoom` take a room's name and also begin or end to receive it, and
//! `message` is `send`.

use std::collections::BTreeMap;
use std::sync::Arc;

use denrei_hub::{Epoch, Name, Position, RoomName, Seq};
use denrei_proto::codes::Code;
use denrei_proto::engineio::Version;
use denrei_proto::socketio::{Args, Outgoing};
use denrei_store::chat::{NewMessage, Sent, room_id};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::app::App;
use crate::chat::{self, Call, Caller};
use crate::dispatch::UnderWay;
use crate::identity::Identity;
use crate::policy::Decision;
use crate::rates::Asking;
use crate::refusal::Refusal;
use crate::session::Session;
use crate::socketio::lane::Lane;
use crate::wires::CHAT;

pub(crate) const NAMESPACE: &str = "/chat";

/// What takes a while: the client's next words wait for it.
pub(crate) struct Asked {
    identity: Identity,
    ack: Option<u64>,
    what: What,
}

enum What {
    /// To receive what is for the user alone.
    Enter,
    /// To receive a room; to be a member of it too.
    Open {
        room: RoomName,
        since: Option<Position>,
        join: bool,
    },
    /// To be no member, and receive nothing more.
    Leave(RoomName),
    Call(Box<Call>, Decision),
}

/// The client has come.
pub(crate) fn enter(session: &Session, lane: &Lane, identity: &Identity) -> Asked {
    let connected = match lane.version {
        Version::V4 => Outgoing::connect(NAMESPACE, session.outbox.client(), None),
        Version::V3 => Outgoing::connect_v3(NAMESPACE),
    };
    lane.send(&connected);
    Asked { identity: identity.clone(), ack: None, what: What::Enter }
}

/// Acts on an event of the client, who is somebody here.
pub(crate) fn event(
    session: &mut Session,
    (identity, under_way, lane): (&mut Identity, &UnderWay, &Arc<Lane>),
    ack: Option<u64>,
    name: &str,
    args: &Args,
) -> Option<Asked> {
    let json = args.to_plain_json();
    let outcome = match name {
        "joinRoom" | "openRoom" => session.pass_as(identity, Asking::Join).and_then(|()| {
            let (room, since) = opened(&json)?;
            Ok(Some(What::Open { room, since, join: name == "joinRoom" }))
        }),
        "leaveRoom" => session.pass_as(identity, Asking::Call).and_then(|()| Ok(Some(What::Leave(named(&json)?)))),
        "closeRoom" => named(&json).map(|room| {
            session.leave_as(&room, CHAT);
            answer_with(lane, ack, b"{}");
            None
        }),
        "auth" => authenticate(session, identity, &json).map(|answer| {
            answer_with(lane, ack, &answer);
            // A guest may have become somebody.
            Some(What::Enter)
        }),
        _ => call(session, (identity, under_way, lane), ack, name, &json),
    };
    match outcome {
        Ok(what) => what.map(|what| Asked { identity: identity.clone(), ack, what }),
        Err(refusal) => {
            refuse(lane, ack, &refusal);
            None
        }
    }
}

/// Puts a message under way; everything else that the chat is asked waits for its answer.
fn call(
    session: &mut Session,
    (identity, under_way, lane): (&Identity, &UnderWay, &Arc<Lane>),
    ack: Option<u64>,
    name: &str,
    json: &[u8],
) -> Result<Option<What>, Refusal> {
    let method = match name {
        "message" | "send" => "chat.send".to_owned(),
        name if name.starts_with("presence.") => name.to_owned(),
        name => format!("chat.{name}"),
    };
    let asking = if method == "chat.send" { Asking::Publish("message") } else { Asking::Call };
    session.pass_as(identity, asking)?;
    let args: Vec<&RawValue> = arguments(json, "an event of this namespace takes one object")?;
    let payload = args.first().map_or("null", |payload| payload.get());
    let caller = Caller { identity, connection: Some(&session.outbox) };
    let (call, decision) = session.app.call(caller, &method, payload)?;
    let (call, decision) = match (call.into_message(), decision) {
        (Ok(message), Decision::Now(decision)) => {
            decision?;
            send(session, under_way, lane, ack, message)?;
            return Ok(None);
        }
        (Ok(message), decision) => (Call::of(message), decision),
        (Err(call), decision) => (call, decision),
    };
    Ok(Some(What::Call(Box::new(call), decision)))
}

fn send(
    session: &Session,
    under_way: &UnderWay,
    lane: &Arc<Lane>,
    ack: Option<u64>,
    message: NewMessage,
) -> Result<(), Refusal> {
    let (lane, done) = (Arc::clone(lane), under_way.begin(&session.app, &session.outbox));
    session.app.chat()?.send(message, move |sent: Result<Sent, Refusal>| {
        match sent {
            Ok(sent) => answer_with(&lane, ack, &chat::told(&sent)),
            Err(refusal) => refuse(&lane, ack, &refusal),
        }
        done();
    });
    Ok(())
}

/// Does what takes a while.
pub(crate) async fn answer(session: &mut Session, under_way: &UnderWay, lane: &Arc<Lane>, asked: Asked) {
    let Asked { identity, ack, what } = asked;
    let outcome = match what {
        What::Enter => return enter_own(session, &identity).await,
        What::Open { room, since, join } => open(session, lane, &identity, ack, &room, since, join).await,
        What::Leave(room) => leave(session, lane, &identity, ack, &room).await,
        What::Call(call, decision) => answer_call(session, under_way, lane, &identity, ack, *call, decision).await,
    };
    if let Err(refusal) = outcome {
        refuse(lane, ack, &refusal);
    }
}

/// Everybody who is somebody is in the room of their own (seed §5.2).
async fn enter_own(session: &mut Session, identity: &Identity) {
    let Some(own) = identity.user.as_ref().and_then(|user| RoomName::parse(&format!("user:{user}")).ok()) else {
        return;
    };
    match session.join_as(identity, &own, true, CHAT).await {
        Ok(_) => session.follow_as(&own, CHAT, None),
        Err(refusal) => tracing::debug!(%refusal, "a client is not in the room of its own"),
    }
}

async fn open(
    session: &mut Session,
    lane: &Lane,
    identity: &Identity,
    ack: Option<u64>,
    room: &RoomName,
    since: Option<Position>,
    join: bool,
) -> Result<(), Refusal> {
    let app = Arc::clone(&session.app);
    let outbox = Arc::clone(&session.outbox);
    let caller = Caller { identity, connection: Some(&outbox) };
    let (found, is_new) = ask(&app, caller, if join { "chat.join" } else { "chat.room" }, room).await?;
    session.join_as(identity, room, true, CHAT).await?;
    // What the shard has still to send comes first: that the client is in the namespace, perhaps.
    session.outbox.shard().settled().await;
    if let Some(ack) = ack {
        lane.push(&Outgoing::ack(NAMESPACE, ack, &good(&found)));
    }
    // What has come since the answer was made follows it.
    session.follow_as(room, CHAT, since.or_else(|| place(&found)));
    let chat = app.chat()?;
    if join && !is_new {
        chat.tell_arrival(room, caller);
    }
    chat.tell_readers(room.clone());
    Ok(())
}

async fn leave(
    session: &mut Session,
    lane: &Lane,
    identity: &Identity,
    ack: Option<u64>,
    room: &RoomName,
) -> Result<(), Refusal> {
    let app = Arc::clone(&session.app);
    let outbox = Arc::clone(&session.outbox);
    let caller = Caller { identity, connection: Some(&outbox) };
    if identity.user.is_some() {
        ask(&app, caller, "chat.leave", room).await?;
        session.leave_as(room, CHAT);
    } else if session.leave_as(room, CHAT) {
        app.chat()?.tell_departure(room, caller);
    } else {
        return Err(Refusal::new(Code::NotFound, "this connection has not joined the room"));
    }
    answer_with(lane, ack, b"{}");
    app.chat()?.tell_readers(room.clone());
    Ok(())
}

async fn ask(app: &App, caller: Caller<'_>, method: &str, room: &RoomName) -> Result<(bytes::Bytes, bool), Refusal> {
    let payload = serde_json::json!({ "room": room_id(room) }).to_string();
    let (call, decision) = app.call(caller, method, &payload)?;
    app.decided(caller.identity, decision).await?;
    app.chat()?.join(app, caller, call).await
}

async fn answer_call(
    session: &mut Session,
    under_way: &UnderWay,
    lane: &Arc<Lane>,
    identity: &Identity,
    ack: Option<u64>,
    call: Call,
    decision: Decision,
) -> Result<(), Refusal> {
    session.app.decided(identity, decision).await?;
    match call.into_message() {
        Ok(message) => send(session, under_way, lane, ack, message),
        Err(call) => {
            let caller = Caller { identity, connection: Some(&session.outbox) };
            let answer = session.app.chat()?.answer(&session.app, caller, call).await?;
            answer_with(lane, ack, &answer);
            Ok(())
        }
    }
}

/// A new token, before the old one expires.
fn authenticate(session: &mut Session, identity: &mut Identity, json: &[u8]) -> Result<Vec<u8>, Refusal> {
    session.pass_as(identity, Asking::Call)?;
    let [token]: [String; 1] = arguments(json, "auth takes a token")?;
    let new = Identity { address: identity.address, ..session.app.auth.verify(&token)? };
    if identity.user.is_some() && identity.user != new.user {
        return Err(Refusal::new(Code::Forbidden, "the token belongs to another user"));
    }
    session.answer_for(&new);
    *identity = new;
    Ok(serde_json::json!({ "userId": identity.user.as_ref().map(Name::as_str) }).to_string().into())
}

fn arguments<'a, T: Deserialize<'a>>(json: &'a [u8], what: &str) -> Result<T, Refusal> {
    serde_json::from_slice(json).map_err(|_| Refusal::new(Code::InvalidField, what))
}

/// Where a room stood that is told of.
fn place(room: &[u8]) -> Option<Position> {
    #[derive(Deserialize)]
    struct Place<'a> {
        epoch: &'a str,
        seq: u64,
    }
    let Place { epoch, seq } = serde_json::from_slice(room).ok()?;
    Some(Position { epoch: Epoch::parse(epoch).ok()?, seq: Seq(seq) })
}

/// A room, and where to begin in it.
fn opened(json: &[u8]) -> Result<(RoomName, Option<Position>), Refusal> {
    #[derive(Deserialize, Default)]
    struct Options {
        since: Option<String>,
    }
    const WHAT: &str = "this takes the room's name and, to resume, an object with since";
    let args: Vec<&RawValue> = arguments(json, WHAT)?;
    let (room, options) = match *args {
        [room] => (room, Options::default()),
        [room, options] => (room, arguments(options.get().as_bytes(), WHAT)?),
        _ => return Err(Refusal::new(Code::InvalidField, WHAT)),
    };
    let room: String = arguments(room.get().as_bytes(), WHAT)?;
    Ok((chat::room_name(&room)?, options.since.map(|since| since.parse()).transpose()?))
}

fn named(json: &[u8]) -> Result<RoomName, Refusal> {
    let [room]: [String; 1] = arguments(json, "this takes the room's name")?;
    chat::room_name(&room)
}

fn answer_with(lane: &Lane, ack: Option<u64>, object: &[u8]) {
    if let Some(id) = ack {
        lane.send(&Outgoing::ack(NAMESPACE, id, &good(object)));
    }
}

/// An answer that says that all is well.
fn good(object: &[u8]) -> Args {
    let ok = RawValue::from_string("\"ok\"".into()).expect("it is JSON");
    let mut fields: BTreeMap<&str, &RawValue> = serde_json::from_slice(object).unwrap_or_default();
    fields.insert("status", &ok);
    let object = serde_json::to_string(&fields).expect("it was JSON");
    Args::trusted(format!("[{object}]").into(), Vec::new())
}

fn refuse(lane: &Lane, ack: Option<u64>, refusal: &Refusal) {
    let mut body = serde_json::json!({
        "status": "error", "message": refusal.sentence, "code": refusal.code.as_str()
    });
    if let Some(advice) = refusal.code.advice() {
        body["advice"] = advice.into();
    }
    if let Some(after) = refusal.retry_after_ms {
        body["retryAfter"] = after.into();
    }
    let args = Args::trusted(format!("[{body}]").into(), Vec::new());
    match ack {
        Some(id) => lane.send(&Outgoing::ack(NAMESPACE, id, &args)),
        None => lane.send(&Outgoing::event(NAMESPACE, None, "error", &args, None)),
    }
}
