//! Namespace `/` where no application has taken it: rooms for a front-end that needs no server code.
//!
//! `join(room, since?, ack)`, `leave(room, ack)`, `publish(room, event, payload, {id}?, ack)`, `auth(token, ack)`; what is published comes
//! under the event's own name, with where it stands as its last argument.

use std::sync::Arc;

use bytes::Bytes;
use denrei_hub::{Dialect, Name, Position, Published, RoomName, Wire};
use denrei_proto::codes::Code;
use denrei_proto::engineio::Version;
use denrei_proto::socketio::{Args, Outgoing};
use denrei_store::chat::room_id;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::app::{App, Drafted, Publish};
use crate::dispatch::UnderWay;
use crate::policy::Decision;
use crate::rates::Asking;
use crate::refusal::Refusal;
use crate::session::{Owed, Session};
use crate::socketio::lane::Lane;
use crate::wires::{CHAT, Speech};

/// What takes a while: the client's next words wait for it.
pub(crate) struct Asked {
    ack: Option<u64>,
    what: What,
}

enum What {
    Join(RoomName, Option<Position>),
    /// To publish, until somebody has looked up whether the client may.
    Publish(Drafted, Decision),
}

/// The client has come.
pub(crate) fn enter(session: &Session, lane: &Lane) {
    // The name that others see as `from`; the engine's own id is a secret.
    let connected = match lane.version {
        Version::V4 => Outgoing::connect("/", session.outbox.client(), None),
        Version::V3 => Outgoing::connect_v3("/"),
    };
    lane.send(&connected);
}

/// Acts on an event of the client.
pub(crate) fn event(
    session: &mut Session,
    under_way: &UnderWay,
    lane: &Arc<Lane>,
    ack: Option<u64>,
    name: &str,
    args: &Args,
) -> Option<Asked> {
    let json = args.to_plain_json();
    let outcome = match name {
        "join" => match session.pass(Asking::Join).and_then(|()| join(&json)) {
            Ok((room, since)) => return Some(Asked { ack, what: What::Join(room, since) }),
            Err(refusal) => Err(refusal),
        },
        "leave" => leave(session, &json).map(|room| answer_with(lane, ack, &serde_json::json!({ "room": room }))),
        "publish" => match publish(session, &json) {
            Ok((draft, Decision::Now(Ok(())))) => {
                submit(session, under_way, lane, ack, draft);
                Ok(())
            }
            Ok((_, Decision::Now(refused))) => refused,
            Ok((draft, later)) => return Some(Asked { ack, what: What::Publish(draft, later) }),
            Err(refusal) => Err(refusal),
        },
        "auth" => authenticate(session, &json).map(|answer| answer_with(lane, ack, &answer)),
        _ => session
            .pass(Asking::Call)
            .and(Err(Refusal::new(Code::UnknownType, "this namespace knows join, leave, publish and auth"))),
    };
    if let Err(refusal) = outcome {
        refuse(lane, ack, &refusal);
    }
    None
}

/// Does what takes a while.
pub(crate) async fn answer(session: &mut Session, under_way: &UnderWay, lane: &Arc<Lane>, asked: Asked) {
    let Asked { ack, what } = asked;
    let (room, since) = match what {
        What::Join(room, since) => (room, since),
        What::Publish(draft, decision) => {
            return match session.app.decided(&session.identity, decision).await {
                Ok(()) => submit(session, under_way, lane, ack, draft),
                Err(refusal) => refuse(lane, ack, &refusal),
            };
        }
    };
    match session.join(&room, false).await {
        Ok(reader) => {
            let Position { epoch, seq } = reader.place();
            let payload = serde_json::json!({ "room": room.as_str(), "epoch": epoch.as_str(), "seq": seq.0 });
            // What the shard has still to send comes first: that the client is in the namespace, perhaps.
            session.outbox.shard().settled().await;
            if let Some(id) = ack {
                let args = Args::trusted(format!("[{payload}]").into(), Vec::new());
                lane.push(&Outgoing::ack("/", id, &args));
            }
            session.follow(&room, since);
        }
        Err(refusal) => refuse(lane, ack, &refusal),
    }
}

/// What is owed to a reader that pages the log.
pub(crate) fn owed(app: &App, wire: Wire, dialect: Dialect, owed: Owed<'_>) -> Bytes {
    match owed {
        Owed::Message(message) => app.hub.frame(message, wire, dialect),
        Owed::Gap(room, from, to) => {
            let (namespace, room) = match dialect {
                CHAT => ("/chat", room_id(room)),
                _ => ("/", room.as_str()),
            };
            let gap = serde_json::json!([{
                "room": room, "from": from, "to": to.seq.0, "epoch": to.epoch.as_str()
            }]);
            let args = Args::trusted(gap.to_string().into(), Vec::new());
            let deflate = app.config.websocket.deflate.unwrap_or_default();
            let packet = Outgoing::event(namespace, None, "gap", &args, None);
            Speech::of(wire).map_or_else(Bytes::new, |speech| speech.packet(&packet, &deflate))
        }
    }
}

fn arguments<'a, T: Deserialize<'a>>(json: &'a [u8], what: &str) -> Result<T, Refusal> {
    serde_json::from_slice(json).map_err(|_| Refusal::new(Code::InvalidField, what))
}

fn join(json: &[u8]) -> Result<(RoomName, Option<Position>), Refusal> {
    const WHAT: &str = "join takes the room's name and, to resume, a position";
    let (room, since) = match arguments::<Vec<Option<String>>>(json, WHAT)?.as_mut_slice() {
        [Some(room)] => (std::mem::take(room), None),
        [Some(room), since] => (std::mem::take(room), since.take()),
        _ => return Err(Refusal::new(Code::InvalidField, WHAT)),
    };
    Ok((RoomName::parse(&room)?, since.map(|since| since.parse()).transpose()?))
}

fn leave(session: &mut Session, json: &[u8]) -> Result<String, Refusal> {
    let [room]: [String; 1] = arguments(json, "leave takes the room's name")?;
    if !session.leave(&RoomName::parse(&room)?) {
        return Err(Refusal::new(Code::NotFound, "this connection has not joined the room"));
    }
    Ok(room)
}

/// A new token, before the old one expires.
fn authenticate(session: &mut Session, json: &[u8]) -> Result<serde_json::Value, Refusal> {
    session.pass(Asking::Call)?;
    let [token]: [String; 1] = arguments(json, "auth takes a token")?;
    session.authenticate(&token)?;
    Ok(serde_json::json!({ "userId": session.identity.user.as_ref().map(Name::as_str) }))
}

fn publish(session: &mut Session, json: &[u8]) -> Result<(Drafted, Decision), Refusal> {
    #[derive(Deserialize, Default)]
    struct Options {
        id: Option<String>,
    }
    const WHAT: &str = "publish takes the room's name, the event's name and the payload";
    let parts: Vec<&RawValue> = arguments(json, WHAT)?;
    let (room, event, payload, options) = match *parts {
        [room, event, payload] => (room, event, payload, Options::default()),
        [room, event, payload, options] => {
            let options = arguments(options.get().as_bytes(), "the options of publish are an object with an id")?;
            (room, event, payload, options)
        }
        _ => return Err(Refusal::new(Code::InvalidField, WHAT)),
    };
    let room: String = arguments(room.get().as_bytes(), WHAT)?;
    let event: String = arguments(event.get().as_bytes(), WHAT)?;
    let passed = session.pass(Asking::Publish(&event));
    let (from, id) = (Some(&*session.outbox), options.id.as_deref());
    let publish = Publish { room: &room, event: &event, payload: payload.get(), id, from };
    if let Err(refusal) = passed {
        session.app.note_refused(&session.identity, publish, refusal.code);
        return Err(refusal);
    }
    session.app.draft(&session.identity, publish)
}

fn submit(session: &Session, under_way: &UnderWay, lane: &Arc<Lane>, ack: Option<u64>, drafted: Drafted) {
    let (lane, done) = (Arc::clone(lane), under_way.begin(&session.app, &session.outbox));
    session.app.publish(drafted, move |published| {
        match published {
            Ok(Published { position: Position { epoch, seq }, duplicate }) => {
                let payload = serde_json::json!({ "seq": seq.0, "epoch": epoch.as_str(), "duplicate": duplicate });
                answer_with(&lane, ack, &payload);
            }
            Err(error) => refuse(&lane, ack, &error),
        }
        done();
    });
}

fn answer_with(lane: &Lane, ack: Option<u64>, payload: &serde_json::Value) {
    if let Some(id) = ack {
        let args = Args::trusted(format!("[{payload}]").into(), Vec::new());
        lane.send(&Outgoing::ack("/", id, &args));
    }
}

fn refuse(lane: &Lane, ack: Option<u64>, refusal: &Refusal) {
    match ack {
        Some(id) => {
            let args = Args::trusted(format!("[{}]", refusal.body()).into(), Vec::new());
            lane.send(&Outgoing::ack("/", id, &args));
        }
        None => tracing::debug!(%refusal, "an event without an ack was refused"),
    }
}
